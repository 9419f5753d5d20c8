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
use output::{Format, Output};
use std::process::ExitCode;

/// The whole command, from the words that were typed to the exit code.
pub fn main() -> ExitCode {
    if let Some(code) = git::child_main() {
        return code;
    }
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    let shell = Shell::new(global);
    match commanded(&shell, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            shell.output.failure(&failure);
            failure.exit().into()
        }
    }
}

/// Help, or what is wrong with the words. Nobody knows yet how it should be written, but by the words themselves.
fn misunderstood(error: &clap::Error) -> ExitCode {
    let words: Vec<_> = std::env::args().collect();
    let is_json =
        words.iter().any(|word| word == "--output=json") || words.windows(2).any(|pair| pair == ["--output", "json"]);
    if !is_json || !error.use_stderr() {
        error.exit();
    }
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = first.trim_start_matches("error: ").split_whitespace().collect();
    let sentence = words.join(" ");
    let failure = Failure::new(Exit::Usage, sentence);
    Output::new(Format::Json, false, true).failure(&failure);
    failure.exit().into()
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
