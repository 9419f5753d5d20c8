//! One step of the tour: a command, written as people type it, run, and expected to end as it should.

use super::super::{ends, programs, words::Place};
use crate::{
    failure::{Exit, Failure},
    output::{Output, Tone},
};
use anyhow::Context as _;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
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
        self.types("cooper", words)?;
        let status = self.run(self.command(words)).await?;
        status
            .success()
            .then_some(())
            .ok_or_else(|| stopped("cooper", words, status))
    }

    /// Runs a command that must find that the build fails.
    pub(super) async fn cooper_fails(&self, words: &[&str]) -> Result<(), Failure> {
        self.types("cooper", words)?;
        let status = self.run(self.command(words)).await?;
        let is_as_it_should = status.code() == Some(i32::from(Exit::Failed as u8));
        is_as_it_should
            .then_some(())
            .ok_or_else(|| stopped("cooper", words, status))
    }

    /// Runs a command for the line that it answers.
    pub(super) async fn cooper_answers(&self, words: &[&str]) -> Result<String, Failure> {
        self.types("cooper", words)?;
        let mut command = self.command(words);
        let ended = command
            .stderr(Stdio::inherit())
            .output()
            .await
            .context("it can't be started")
            .map_err(ends(Exit::Internal))?;
        let answer = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
        self.output.line(&answer)?;
        ended
            .status
            .success()
            .then_some(answer)
            .ok_or_else(|| stopped("cooper", words, ended.status))
    }

    /// Asks without a word whether there is something.
    pub(super) async fn finds(&self, words: &[&str]) -> Result<bool, Failure> {
        let mut command = self.command(words);
        let ended = command
            .output()
            .await
            .context("it can't be started")
            .map_err(ends(Exit::Internal))?;
        match ended.status.code() {
            Some(0) => Ok(true),
            Some(code) if code == i32::from(Exit::NotFound as u8) => Ok(false),
            _ => {
                self.output.aside(&ended.stderr);
                Err(stopped("cooper", words, ended.status))
            }
        }
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
        let status = self.run(command).await?;
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

    /// On our own terminal, so that Ctrl-C is for both.
    async fn run(&self, mut command: Command) -> Result<ExitStatus, Failure> {
        let started = command.stdin(Stdio::null()).kill_on_drop(true).status();
        let status = started
            .await
            .context("it can't be started")
            .map_err(ends(Exit::Internal))?;
        if status.code() == Some(i32::from(Exit::Interrupted as u8)) {
            // We are told too, and stop everything.
            std::future::pending::<()>().await;
        }
        Ok(status)
    }

    fn types(&self, program: &str, words: &[&str]) -> Result<(), Failure> {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let line = format!("$ {program} {}", words.join(" "));
        self.output.line(self.output.style.paint(Tone::Busy, &line))
    }
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
