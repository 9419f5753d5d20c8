//! The child's side: one job, one answer, and the archive.

use std::{
    env,
    io::{self, BufRead, Read, Write},
    process::{self, ExitCode},
    thread,
};

use git2::Repository;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{Answer, GitLimits, GitRefused, Job, Task, look, remote, tree};

pub(super) const ARGUMENT: &str = "__git-context";
/// Address space of the program itself, with what its allocators reserve.
const MEMORY: u64 = 2 << 30;
/// Processor time for the archive, after the deadline until which it begins.
const EXPORT_SECONDS: u64 = 300;
/// Of the index, and of what the host may send before it is told that it was too much.
const FILE_MARGIN: u64 = 64 << 20;

/// Does the child's work when the program was started for it. `main` of every program that fetches calls this before
/// anything else, and ends with the code that it answers.
pub fn child_main() -> Option<ExitCode> {
    (env::args().nth(1).as_deref() == Some(ARGUMENT)).then(|| match run() {
        Ok(()) => ExitCode::SUCCESS,
        // nobody reads; the exit code is all that can be told
        Err(_) => ExitCode::FAILURE,
    })
}

fn run() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line)?;
    confine(&job.limits)?;
    // the parent keeps this pipe open as long as it lives: its end is the only sign that a killed parent leaves
    thread::Builder::new().spawn(|| {
        let _ = io::stdin().lock().read(&mut [0]);
        process::exit(1);
    })?;
    let mut out = io::stdout().lock();
    let done = match job.task {
        Task::Fetch => work(&job),
        Task::Look => look::look(&job).map(|offer| (Answer::Offers(offer), None)),
    };
    let (said, archive) = done.unwrap_or_else(|refused| (Answer::Refused(refused), None));
    answer(&mut out, &said)?;
    match archive {
        Some((repository, export)) => tree::write(&repository, &export, &mut out),
        None => Ok(()),
    }
}

/// What a repository can cost at most, whatever is in it. The limits that have a sentence are reached before; what gets
/// here ends the process, as a hostile pack may that unpacks to more than it said.
fn confine(limits: &GitLimits) -> io::Result<()> {
    // The pack is mapped in overlapping windows, and a file of the context is in memory with what it is made of.
    let memory = MEMORY + 2 * limits.repository_bytes + 3 * limits.context.bytes;
    for (resource, most) in [
        (Resource::RLIMIT_AS, memory),
        (Resource::RLIMIT_CPU, limits.deadline.as_secs() + EXPORT_SECONDS),
        (Resource::RLIMIT_FSIZE, limits.repository_bytes + FILE_MARGIN),
        (Resource::RLIMIT_CORE, 0),
    ] {
        let (_, allowed) = getrlimit(resource)?;
        let most = most.min(allowed);
        setrlimit(resource, most, most)?;
    }
    Ok(())
}

type Archive = (Repository, tree::Export);

fn work(job: &Job) -> Result<(Answer, Option<Archive>), GitRefused> {
    let repository = Repository::init_bare(&job.repository)?;
    let commit = remote::fetch(job, &repository)?;
    let export = tree::export(&repository, commit, &job.source.directory, &job.limits.context)?;
    let answer = Answer::Fetched {
        commit: export.commit.clone(),
        tree: export.tree.clone(),
        notices: export.notices.clone(),
        dockerfile: export.dockerfile.clone(),
    };
    Ok((answer, Some((repository, export))))
}

fn answer(out: &mut impl Write, answer: &Answer) -> io::Result<()> {
    serde_json::to_writer(&mut *out, answer)?;
    out.write_all(b"\n")?;
    out.flush()
}
