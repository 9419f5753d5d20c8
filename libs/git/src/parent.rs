//! The parent's side: starts the child, reads its answer, and leaves nothing of it behind.

use std::{
    env, io,
    path::{self, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use tokio_util::io::{ReaderStream, StreamReader};
use url::Url;

use super::{Answer, GitContext, GitRefused, GitRequest, Job, Offer, Task, child, normalize};

/// Folders of children begin with it.
const PREFIX: &str = "git-";
/// More is no answer of our child.
const ANSWER_MAX: u64 = 4 << 20;
const CHUNK: usize = 256 * 1024;
/// All that a child may know of its surroundings. No proxy, no configuration, no credentials.
const ENVIRONMENT: [&str; 4] = ["PATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Fetches the commit that the request names now. Dropping the future or the context's archive ends the child.
pub async fn fetch(request: GitRequest) -> Result<GitContext, GitRefused> {
    let (worker, answer, archive) = ask(request, Task::Fetch).await?;
    let Answer::Fetched {
        commit,
        tree,
        notices,
        dockerfile,
    } = answer
    else {
        return Err(unexpected());
    };
    let end = stream::once(worker.end());
    let bytes = ReaderStream::with_capacity(archive, CHUNK).chain(end).boxed();
    Ok(GitContext {
        commit,
        tree,
        notices,
        dockerfile,
        tar: Box::new(StreamReader::new(bytes)),
    })
}

/// Lists what there is to choose from in a repository. Dropping the future ends the child.
pub async fn look(request: GitRequest) -> Result<Offer, GitRefused> {
    match ask(request, Task::Look).await? {
        (_, Answer::Offers(offer), _) => Ok(offer),
        _ => Err(unexpected()),
    }
}

async fn ask(request: GitRequest, task: Task) -> Result<(Worker, Answer, BufReader<ChildStdout>), GitRefused> {
    let GitRequest {
        source,
        mut allowed,
        credential,
        limits,
        work_dir,
        program,
    } = request;
    // also when it was stored by an older version, with other rules
    let source = normalize(&source.url, &source.reference, &source.directory, &allowed)?;
    let host = Url::parse(&source.url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    if !allowed.known_hosts.as_os_str().is_empty() {
        // the child works elsewhere
        allowed.known_hosts = path::absolute(&allowed.known_hosts).map_err(|error| worker(&error))?;
    }
    let directory = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempdir_in(work_dir)
        .map_err(|error| worker(&error))?;
    let job = Job {
        task,
        source,
        credential,
        allowed,
        limits,
        repository: directory.path().join("repository"),
    };
    let mut worker = Worker::start(program, directory)?;
    let answered = timeout(limits.deadline, worker.ask(&job)).await;
    let answered = answered.map_err(|_| GitRefused::TimedOut {
        host,
        seconds: limits.deadline.as_secs(),
    })?;
    match answered.map_err(|error| self::worker(&error))? {
        (Answer::Refused(refused), _) => Err(refused),
        (answer, archive) => Ok((worker, answer, archive)),
    }
}

struct Worker {
    child: Child,
    directory: Option<TempDir>,
}

impl Worker {
    fn start(program: Option<PathBuf>, directory: TempDir) -> Result<Self, GitRefused> {
        let program = match program {
            Some(program) => program,
            None => env::current_exe().map_err(|error| worker(&error))?,
        };
        let child = Command::new(program)
            .arg(child::ARGUMENT)
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, env::var_os(name)?))))
            // no configuration of whoever runs the builder
            .env("HOME", directory.path())
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| worker(&error))?;
        Ok(Self {
            child,
            directory: Some(directory),
        })
    }

    async fn ask(&mut self, job: &Job) -> io::Result<(Answer, BufReader<ChildStdout>)> {
        let mut line = serde_json::to_vec(job)?;
        line.push(b'\n');
        // stays open: see the child
        if let Some(stdin) = &mut self.child.stdin {
            stdin.write_all(&line).await?;
            stdin.flush().await?;
        }
        let stdout = self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut stdout = BufReader::with_capacity(CHUNK, stdout);
        let mut line = Vec::new();
        (&mut stdout).take(ANSWER_MAX).read_until(b'\n', &mut line).await?;
        let answer =
            serde_json::from_slice(&line).map_err(|_| io::Error::other("its process ended without an answer"))?;
        Ok((answer, stdout))
    }

    /// After the archive. An archive that ended early looks like a whole one, but for the exit code.
    async fn end(mut self) -> io::Result<Bytes> {
        let status = self.child.wait().await?;
        if status.success() {
            return Ok(Bytes::new());
        }
        let cause = "its process ended in the middle".to_owned();
        Err(io::Error::other(GitRefused::Worker { cause }))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        // its folder can be removed for good only when nobody writes to it any more: a millisecond, as a rule
        for _ in 0..200 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(Err(error)) = self.directory.take().map(TempDir::close) {
            tracing::warn!(error = &error as &dyn std::error::Error, "a git folder was left behind");
        }
    }
}

fn unexpected() -> GitRefused {
    worker(&io::Error::other("its process did something else"))
}

fn worker(error: &io::Error) -> GitRefused {
    GitRefused::Worker {
        cause: error.to_string(),
    }
}
