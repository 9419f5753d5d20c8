//! A child process: what it says is kept, and it never outlives its handle.

use anyhow::{Context as _, bail};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};
use std::{
    io::{BufRead as _, BufReader, pipe},
    path::PathBuf,
    process::{self, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How long a child may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(5);
/// Lines shown of a child when a test fails.
const TAIL: usize = 40;

pub struct Child {
    name: String,
    process: process::Child,
    said: watch::Receiver<Vec<String>>,
    ending: Signal,
}

impl Child {
    pub fn spawn(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let (reader, writer) = pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let process = command.spawn().with_context(|| format!("{name} can't be started"))?;
        // The command holds the pipe's other end too, which must close when the child does.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (lines, said) = watch::channel(Vec::new());
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                lines.send_modify(|lines| lines.push(line));
            }
        });
        Ok(Self {
            name: name.to_owned(),
            process,
            said,
            ending: Signal::SIGKILL,
        })
    }

    /// One that has children of its own, and takes them along only when it is asked to end.
    #[must_use]
    pub fn asked_to_end(mut self) -> Self {
        self.ending = Signal::SIGTERM;
        self
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it says a line with this text.
    pub async fn says(&self, text: &str) -> anyhow::Result<()> {
        let wanted = |lines: &[String]| lines.iter().any(|line| line.contains(text));
        self.said_enough(&format!("`{text}`"), wanted).await
    }

    /// Waits until what it said so far is enough.
    pub async fn said_enough(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> anyhow::Result<()> {
        let mut said = self.said.clone();
        let heard = said.wait_for(|lines| wanted(lines));
        let heard = tokio::time::timeout(PATIENCE, heard).await;
        match heard.map(|heard| heard.is_ok()) {
            Ok(true) => Ok(()),
            Ok(false) => bail!("{} ended before it said {what}:\n{}", self.name, self.tail()),
            Err(_) => bail!("{} did not say {what} in time:\n{}", self.name, self.tail()),
        }
    }

    /// Everything it said so far.
    pub fn said(&self) -> Vec<String> {
        self.said.borrow().clone()
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Stops it, and waits until it stands still: a signal takes a moment to get to all threads.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let pid = Pid::from_raw(i32::try_from(self.pid())?);
        waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
        Ok(())
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(Pid::from_raw(i32::try_from(self.pid())?), signal)?;
        Ok(())
    }

    /// Asks it to end, and waits for that. Answers how it ended.
    pub fn stop(&mut self) -> anyhow::Result<process::ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        Ok(self.process.wait()?)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> anyhow::Result<Option<process::ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// Waits until it ends by itself.
    pub async fn ends(&mut self) -> anyhow::Result<process::ExitStatus> {
        let mut said = self.said.clone();
        // The pipe closes with the process and its children.
        let closed = async { while said.changed().await.is_ok() {} };
        if tokio::time::timeout(PATIENCE, closed).await.is_err() {
            bail!("{} does not end:\n{}", self.name, self.tail());
        }
        Ok(self.process.wait()?)
    }

    /// Whether whatever it started ended too: the pipe closes with the last who holds it.
    fn left_nothing(&self) -> bool {
        let until = Instant::now() + PATIENCE;
        while self.said.has_changed().is_ok() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(STEP);
        }
        true
    }

    fn tail(&self) -> String {
        let lines = self.said.borrow();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Ok(None) = self.ended() {
            let _ = self.signal(self.ending);
        }
        let _ = self.process.wait();
        let left_nothing = self.left_nothing();
        if std::thread::panicking() {
            eprintln!("--- the end of what {} said\n{}", self.name, self.tail());
        } else {
            assert!(left_nothing, "{} left a process behind", self.name);
        }
    }
}

/// A program of the project's own tools, else of the system.
pub fn program(name: &str) -> PathBuf {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/bin")).join(name);
    if own.exists() { own } else { PathBuf::from(name) }
}
