//! Git repositories as build contexts: fetched in a child process, exported without a work tree.
//!
//! libgit2 has no deadline that a slow server cannot stretch, and it parses what strangers send. In a process of
//! its own it can be ended at any moment, and what goes wrong there goes wrong there only. Nothing of a
//! repository is ever checked out or executed: the archive is written straight from its objects.

mod address;
mod child;
mod parent;
mod refused;
mod remote;
mod source;
mod tree;

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

pub use child::child_main;
use context::Limits;

pub use parent::fetch;
pub use refused::GitRefused;
pub use source::{GitSource, MalformedSource, normalize};

#[derive(Debug, Clone)]
pub struct GitRequest {
    /// As [`normalize`] answers it.
    pub source: GitSource,
    /// Not encrypted, so nobody knows that the commit is the one that the host has.
    pub allow_http: bool,
    /// Addresses of this machine and of private networks, too; otherwise only public ones are dialled.
    pub allow_private: bool,
    pub limits: GitLimits,
    /// Where the repository lies while it is read.
    pub work_dir: PathBuf,
    /// A program whose `main` begins with [`child_main`]; `None`: the one that runs.
    pub program: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct GitLimits {
    /// As the host sends it.
    pub repository_bytes: u64,
    pub context: Limits,
    /// Until the archive begins.
    pub deadline: Duration,
}

impl Default for GitLimits {
    fn default() -> Self {
        Self {
            repository_bytes: 2 << 30,
            context: Limits::default(),
            deadline: Duration::from_mins(2),
        }
    }
}

pub struct GitContext {
    /// The full id of the commit that was fetched.
    pub commit: String,
    /// The id of the directory's tree: the same content has the same id, whatever else was committed.
    pub tree: String,
    /// What a user should know of what was left out; one sentence each.
    pub notices: Vec<String>,
    pub dockerfile: String,
    /// The other files, as [`context::assemble`] takes them. It holds the child process: dropping it ends the process
    /// and removes its files. An error that is read from it is a [`GitRefused`].
    pub tar: Box<dyn AsyncRead + Send + Unpin>,
}

/// What the child is told, in one line on its standard input.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    source: GitSource,
    allow_private: bool,
    limits: GitLimits,
    repository: PathBuf,
}

/// What the child answers, in one line on its standard output; after `Fetched` comes the archive.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Fetched {
        commit: String,
        tree: String,
        notices: Vec<String>,
        dockerfile: String,
    },
    Refused(GitRefused),
}
