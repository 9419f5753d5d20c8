//! `cooper`, the one command that people type.
//!
//! It holds no rule of the platform: it turns words into calls and answers into words.

mod cli;
mod client;
mod commands;
mod failure;
mod follow;
mod interrupt;
mod output;
mod reference;
mod secrets;
mod up;
mod upload;

use clap::Parser as _;
use cli::{Cli, Command};
use client::Shell;
use failure::{Exit, Failure};
use std::process::ExitCode;

/// The whole command, from the words that were typed to the exit code.
pub fn main() -> ExitCode {
    if let Some(code) = builder::git::child_main() {
        return code;
    }
    let Cli { global, command } = Cli::parse();
    let shell = Shell::new(global);
    match commanded(&shell, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            shell.output.failure(&failure);
            failure.exit().into()
        }
    }
}

fn commanded(shell: &Shell, command: Command) -> Result<(), Failure> {
    let mut runtime = match command {
        Command::Up(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("this machine starts no more threads: {error}")))?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = Box::pin(commands::run(shell, command)) => ended,
            () = interrupt::pressed() => Err(Failure::silent(Exit::Interrupted)),
        }
    });
    // A thread that reads from a terminal never ends, and nobody waits for it.
    runtime.shutdown_background();
    ended
}
