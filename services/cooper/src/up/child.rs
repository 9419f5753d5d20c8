//! A program that runs beside us: started, waited for, started again when it dies, and ended with us.

use super::{data::Data, programs};
use crate::failure::{Exit, Failure};
use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    marker::PhantomData,
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    process::Command,
    time::{Instant, sleep, timeout},
};

const POLL: Duration = Duration::from_millis(5);
/// How long a program may take until it answers. A log of many millions of entries is read for a while.
const START_PATIENCE: Duration = Duration::from_mins(2);
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// A program that lived this long is started again without delay.
const STEADY: Duration = Duration::from_secs(10);
const DELAY_MAX: Duration = Duration::from_secs(3);
/// Starts in a row that fail before everything is stopped.
const ATTEMPTS: u32 = 5;
/// A log that grew larger begins anew when the program is started.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
const LOG_LINES_TOLD: usize = 3;

/// What to run.
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) file: PathBuf,
    pub(super) words: Vec<OsString>,
    pub(super) variables: Vec<(&'static str, String)>,
    /// Where it answers once it is ready.
    pub(super) address: SocketAddr,
    /// Where its output goes.
    pub(super) log: PathBuf,
}

/// A program that runs.
///
/// Linux ends it when the *thread* that started it ends, so that must be one that never does: the one that runs
/// `main`. The marker keeps futures that have a child in them on that thread.
pub(super) struct Child<'data> {
    program: Program,
    data: &'data Data,
    process: tokio::process::Child,
    started: Instant,
    stays: PhantomData<*const ()>,
}

impl<'data> Child<'data> {
    /// Starts a program, and waits until it answers.
    pub(super) async fn start(program: Program, data: &'data Data) -> Result<Self, Failure> {
        let process = launch(&program, data).await?;
        Ok(Self {
            program,
            data,
            process,
            started: Instant::now(),
            stays: PhantomData,
        })
    }

    /// Starts the program again whenever it dies, and when `stale` ends. Answers when that can't be done any more.
    pub(super) async fn keep(&mut self, stale: impl AsyncFn(&Data)) -> Failure {
        let mut deaths = 0;
        loop {
            let ended = tokio::select! {
                ended = self.process.wait() => ended,
                () = stale(self.data) => self.end().await,
            };
            let ended = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            deaths = if self.started.elapsed() > STEADY { 0 } else { deaths + 1 };
            tracing::warn!("{} ended ({ended}), starting it again", self.program.name);
            let mut failures = 0;
            loop {
                sleep(delay(deaths + failures)).await;
                match launch(&self.program, self.data).await {
                    Ok(process) => {
                        self.process = process;
                        self.started = Instant::now();
                        break;
                    }
                    Err(failure) if failures + 1 == ATTEMPTS => return failure,
                    Err(failure) => tracing::warn!("{failure}"),
                }
                failures += 1;
            }
        }
    }

    pub(super) async fn stop(mut self) {
        let _ = self.end().await;
    }

    /// Ends the program: asked first, killed after a while.
    async fn end(&mut self) -> io::Result<ExitStatus> {
        // The id is gone once the process has been waited for, so that this never meets a stranger.
        if let Some(id) = self.process.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        if let Ok(ended) = timeout(STOP_PATIENCE, self.process.wait()).await {
            return ended;
        }
        tracing::warn!("{} does not end, killing it", self.program.name);
        // It may have ended just now.
        let _ = self.process.start_kill();
        self.process.wait().await
    }
}

fn delay(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        _ => (Duration::from_millis(50) * 2_u32.saturating_pow(failures)).min(DELAY_MAX),
    }
}

async fn launch(program: &Program, data: &Data) -> Result<tokio::process::Child, Failure> {
    let failed = |error: anyhow::Error| {
        let sentence = format!("{} can't be started: {error:#}", program.file.display());
        Failure::new(Exit::Unavailable, sentence)
    };
    let (log, begins) = open_log(program).map_err(failed)?;
    let mut process = spawn(program, data, log).map_err(failed)?;
    let answers = async {
        while TcpStream::connect(program.address).await.is_err() {
            sleep(POLL).await;
        }
    };
    let end = tokio::select! {
        ended = process.wait() => ended.map_or_else(|error| error.to_string(), |status| format!("ended with {status}")),
        () = answers => return Ok(process),
        () = sleep(START_PATIENCE) => format!("does not answer at {}", program.address),
    };
    let said = last_lines(program, begins);
    let log = program.log.display();
    let sentence = format!("{} can't work, it {end}: {said} (its log is {log})", program.name);
    Err(Failure::new(Exit::Unavailable, sentence))
}

/// `setpriv` of util-linux asks the kernel to end the program with us, and becomes the program. (To ask by ourselves,
/// between fork and exec, takes unsafe code.) Where it is missing, the next `cooper up` ends what was left.
fn spawn(program: &Program, data: &Data, log: File) -> anyhow::Result<tokio::process::Child> {
    let mut command = match programs::in_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(&program.file);
            command
        }
        None => Command::new(&program.file),
    };
    command
        .args(&program.words)
        // Variables of ours that happen to mean something to it are none of its business.
        .env_clear()
        .envs(program.variables.iter().map(|(name, value)| (name, value)))
        .current_dir(data.folder())
        .stdin(data.lend()?)
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log))
        // Ctrl-C is for us: we end it when the services no longer need it.
        .process_group(0)
        .kill_on_drop(true);
    Ok(command.spawn()?)
}

/// Its log, and where in it this start begins.
fn open_log(program: &Program) -> anyhow::Result<(File, u64)> {
    let path = &program.log;
    if path.metadata().is_ok_and(|facts| facts.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("old.log"))?;
    }
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| path.display().to_string())?;
    let begins = log.metadata()?.len();
    Ok((log, begins))
}

/// What it said last, as one line.
fn last_lines(program: &Program, begins: u64) -> String {
    let mut text = Vec::new();
    let read = File::open(&program.log).and_then(|mut log| {
        log.seek(SeekFrom::Start(begins))?;
        log.take(64 * 1024).read_to_end(&mut text)
    });
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match read {
        Ok(_) if !lines.is_empty() => lines[lines.len().saturating_sub(LOG_LINES_TOLD)..].join(" | "),
        _ => "it said nothing".to_owned(),
    }
}
