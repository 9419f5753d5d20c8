//! Git repositories as build contexts: fetched in a child process, exported without a work tree.
//!
//! libgit2 has no deadline that a slow server cannot stretch, and it parses what strangers send. In a process of
//! its own it can be ended at any moment, and what goes wrong there goes wrong there only. Nothing of a
//! repository is ever checked out or executed: the archive is written straight from its objects.

mod address;
mod child;
mod credential;
mod look;
mod parent;
mod refused;
mod remote;
mod source;
mod transport;
mod tree;

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

pub use child::child_main;
use context::Limits;

pub use credential::Credential;
pub use parent::{fetch, look};
pub use refused::GitRefused;
pub use source::{GitSource, MalformedSource, normalize};

#[derive(Debug, Clone)]
pub struct GitRequest {
    /// As [`normalize`] answers it.
    pub source: GitSource,
    pub allowed: Allowed,
    pub credential: Option<Credential>,
    pub limits: GitLimits,
    /// Where the repository lies while it is read.
    pub work_dir: PathBuf,
    /// A program whose `main` begins with [`child_main`]; `None`: the one that runs.
    pub program: Option<PathBuf>,
}

/// Where repositories may be, besides on public hosts over https.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Allowed {
    /// Not encrypted, so nobody knows that the commit is the one that the host has.
    pub http: bool,
    /// Hosts of this machine and of private networks.
    pub private_hosts: bool,
    /// The file with the keys of the hosts that are read over ssh; empty: none is.
    pub known_hosts: PathBuf,
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

/// What a repository offers to choose from, as a drop-down shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// As [`normalize`] answers it.
    pub source: GitSource,
    /// Without `refs/heads/`; empty when the host's HEAD is no branch.
    pub default_branch: String,
    pub branches: Listed,
    pub tags: Listed,
    /// What the asked ref leads to.
    pub commit: String,
    /// Those at or below the asked one that hold a Dockerfile; the root is empty.
    pub directories: Listed,
    /// What a user should know of what was left out; one sentence each.
    pub notices: Vec<String>,
}

/// In the order of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub names: Vec<String>,
    /// There are others.
    pub has_more: bool,
}

/// What the child is told, in one line on its standard input.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    task: Task,
    source: GitSource,
    credential: Option<Credential>,
    allowed: Allowed,
    limits: GitLimits,
    repository: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Task {
    Fetch,
    Look,
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
    Offers(Offer),
    Refused(GitRefused),
}
