//! One step of the tour: a command, written as people type it, run, and expected to end as it should.

use super::super::{ends, programs, words::Place};
use crate::{
    failure::{Exit, Failure},
    output::{Output, Tone},
};
use anyhow::Context as _;
use nix::sys::signal::Signal;
use std::{
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{self, ExitStatus, Stdio},
};
use tokio::process::Command;

pub(super) struct Guide<'a> {
    output: &'a Output,
    place: &'a Place,
    /// This program.
    cooper: PathBuf,
    token: String,
}

impl<'a> Guide<'a> {
    pub(super) fn new(output: &'a Output, place: &'a Place) -> Result<Self, Failure> {
        let token = place.data.join("local.token");
        Ok(Self {
            output,
            place,
            cooper: env::current_exe()
                .context("this program is gone")
                .map_err(ends(Exit::Internal))?,
            token: fs::read_to_string(&token)
                .with_context(|| format!("{} can't be read", token.display()))
                .map_err(ends(Exit::Internal))?,
        })
    }

    pub(super) fn says(&self, what: &str) -> Result<(), Failure> {
        self.output.line(format!(
            "\n{}",
            self.output.style.paint(Tone::Strong, &format!("# {what}"))
        ))
    }

    pub(super) fn shows(&self, file: &Path, text: &str) -> Result<(), Failure> {
        self.types("cat", &[&super::shown(file)])?;
        self.output.line(text.trim_end())
    }

    /// Runs a command that must succeed.
    pub(super) async fn cooper(&self, words: &[&str]) -> Result<(), Failure> {
        self.cooper_ends(words, &[Exit::Done]).await
    }

    /// Runs a command that must end in one of these ways.
    pub(super) async fn cooper_ends(&self, words: &[&str], ways: &[Exit]) -> Result<(), Failure> {
        self.types("cooper", words)?;
        let status = on_our_terminal(self.command(words)).await?;
        ways.iter()
            .any(|way| is(status, *way))
            .then_some(())
            .ok_or_else(|| stopped("cooper", words, status))
    }

    /// Runs a command for the line that it answers.
    pub(super) async fn cooper_answers(&self, words: &[&str]) -> Result<String, Failure> {
        self.types("cooper", words)?;
        let ended = heard(self.command(words).stderr(Stdio::inherit())).await?;
        let answer = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
        self.output.line(&answer)?;
        is(ended.status, Exit::Done)
            .then_some(answer)
            .ok_or_else(|| stopped("cooper", words, ended.status))
    }

    /// Asks without a word for something that may be there.
    pub(super) async fn asks(&self, words: &[&str]) -> Result<Option<serde_json::Value>, Failure> {
        let asked = heard(self.command(words).args(["--output", "json"])).await?;
        if is(asked.status, Exit::Done) {
            return Ok(serde_json::from_slice(&asked.stdout).ok());
        }
        if is(asked.status, Exit::NotFound) {
            return Ok(None);
        }
        self.output.aside(&asked.stderr);
        Err(stopped("cooper", words, asked.status))
    }

    pub(super) async fn docker(&self, words: &[&str]) -> Result<(), Failure> {
        self.types("docker", words)?;
        let docker = programs::in_path("docker")
            .context("there is no docker command here")
            .map_err(ends(Exit::Unavailable))?;
        let mut command = Command::new(docker);
        command.args(words);
        if !self.place.engine.is_empty() {
            command.env("DOCKER_HOST", &self.place.engine);
        }
        let status = on_our_terminal(command).await?;
        status
            .success()
            .then_some(())
            .ok_or_else(|| stopped("docker", words, status))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.cooper);
        command
            .args(words)
            .env("COOPERAGE_SERVER", &self.place.server)
            .env("COOPERAGE_TOKEN", &self.token)
            .env_remove("COOPERAGE_WORKSPACE");
        command
    }

    fn types(&self, program: &str, words: &[&str]) -> Result<(), Failure> {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let line = format!("$ {program} {}", words.join(" "));
        self.output.line(self.output.style.paint(Tone::Busy, &line))
    }
}

/// So that Ctrl-C is for both.
async fn on_our_terminal(mut command: Command) -> Result<ExitStatus, Failure> {
    let ended = command.stdin(Stdio::null()).kill_on_drop(true).status().await;
    let status = ended
        .context("a command can't be started")
        .map_err(ends(Exit::Internal))?;
    Ok(outlast_interrupt(status).await)
}

async fn heard(command: &mut Command) -> Result<process::Output, Failure> {
    let ended = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let ended = ended
        .context("a command can't be started")
        .map_err(ends(Exit::Internal))?;
    outlast_interrupt(ended.status).await;
    Ok(ended)
}

/// Ctrl-C is for us, too: we stop everything, and who waits here with it.
async fn outlast_interrupt(status: ExitStatus) -> ExitStatus {
    if is(status, Exit::Interrupted) || status.signal() == Some(Signal::SIGINT as i32) {
        std::future::pending::<()>().await;
    }
    status
}

fn is(status: ExitStatus, way: Exit) -> bool {
    status.code() == Some(i32::from(way as u8))
}

fn stopped(program: &str, words: &[&str], status: ExitStatus) -> Failure {
    let sentence = format!(
        "the tour stopped, because `{program} {}` ended with {status}: what it said is above",
        words.join(" ")
    );
    Failure::new(Exit::Failed, sentence)
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@=,+".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_can_be_typed() {
        assert_eq!(quoted("tour/hello@sha256:12"), "tour/hello@sha256:12");
        assert_eq!(quoted("greet better"), "'greet better'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
