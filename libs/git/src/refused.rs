//! Why a repository cannot be a context. It crosses a process boundary, so causes are text.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::MalformedSource;
use context::ContextRefused;

#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum GitRefused {
    #[error(transparent)]
    Source(#[from] MalformedSource),
    #[error("the git host {host} has no public address; name one that is reachable from everywhere")]
    NotPublic { host: String },
    #[error("could not reach the git host {host}: {cause}")]
    Unreachable { host: String, cause: String },
    #[error("the certificate of the git host {host} is not valid; correct the address, or the host")]
    Certificate { host: String },
    #[error("the git host {host} did not send the repository within {seconds} seconds; try again")]
    TimedOut { host: String, seconds: u64 },
    #[error("the git host {host} leads elsewhere, to {to}; write the address that is meant")]
    Redirected { host: String, to: String },
    #[error(
        "there is no repository at {url}, or it wants a login; correct the address, or give a token with --git-token-stdin"
    )]
    NotFound { url: String },
    #[error("there is no repository at {url} that the given {login} may read; correct the address, or give another")]
    NotFoundWith { url: String, login: String },
    #[error("the git host {host} refused the {login}; give one that may read the repository")]
    LoginRefused { host: String, login: String },
    #[error("the git host {host} is read over ssh, and that takes a key; give one that may read the repository")]
    NoKey { host: String },
    #[error("the ssh key for the git host {host} can't be read: {cause}; give it as ssh-keygen writes it")]
    BadKey { host: String, cause: String },
    #[error(
        "the key of the git host {host} is not among the known ones of this platform; ask its operators to add it, if it is the right one"
    )]
    HostKey { host: String },
    #[error("what answers at {url} is no git server with the smart HTTP protocol; write the address to clone from")]
    NotGit { url: String },
    #[error("the repository {url} is empty; push a commit first")]
    Empty { url: String },
    #[error("the repository {url} has no branch, tag or full commit id '{reference}'; correct it")]
    NoSuchReference { url: String, reference: String },
    #[error("the repository has no directory '{directory}' at commit {commit}; correct it")]
    NoSuchDirectory { directory: String, commit: String },
    #[error(
        "there is no file '{path}' in the repository at commit {commit}; add it, or name the directory that has one"
    )]
    NoDockerfile { path: String, commit: String },
    /// In the words of the editor.
    #[error("the Dockerfile has {bytes} bytes, at most {limit} are allowed")]
    DockerfileTooLarge { bytes: usize, limit: usize },
    #[error("the Dockerfile is no text in UTF-8; write it anew")]
    DockerfileNoText,
    #[error("the repository is larger than {limit} bytes, and the download was stopped there; use a smaller one")]
    TooLarge { limit: u64 },
    /// What is wrong with the directory as a context.
    #[error("{sentence}")]
    Context { reason: String, sentence: String },
    #[error("the repository could not be read: {cause}")]
    Broken { cause: String },
    #[error("the repository could not be fetched: {cause}; try again")]
    Worker { cause: String },
}

impl GitRefused {
    /// A fixed word for programs.
    pub fn reason(&self) -> &str {
        match self {
            Self::Source(malformed) => malformed.reason(),
            Self::NoSuchReference { .. } => "GIT_REF",
            Self::NoSuchDirectory { .. } => "GIT_SUBDIR",
            Self::NotPublic { .. } => "GIT_HOST_NOT_PUBLIC",
            Self::Unreachable { .. } => "GIT_HOST_UNREACHABLE",
            Self::Certificate { .. } => "GIT_HOST_CERTIFICATE",
            Self::TimedOut { .. } => "GIT_TIMEOUT",
            Self::Redirected { .. } => "GIT_REDIRECT",
            Self::NotFound { .. } | Self::NotFoundWith { .. } | Self::NotGit { .. } => "GIT_NOT_FOUND",
            Self::LoginRefused { .. } | Self::NoKey { .. } | Self::BadKey { .. } => "GIT_LOGIN",
            Self::HostKey { .. } => "GIT_HOST_KEY",
            Self::Empty { .. } => "GIT_EMPTY",
            Self::NoDockerfile { .. } => "GIT_NO_DOCKERFILE",
            Self::DockerfileTooLarge { .. } => "DOCKERFILE_TOO_LARGE",
            Self::DockerfileNoText => "DOCKERFILE_NO_TEXT",
            Self::TooLarge { .. } => "GIT_TOO_LARGE",
            Self::Context { reason, .. } => reason,
            Self::Broken { .. } => "GIT_BROKEN",
            Self::Worker { .. } => "GIT_WORKER",
        }
    }
}

impl From<ContextRefused> for GitRefused {
    fn from(refused: ContextRefused) -> Self {
        Self::Context {
            reason: refused.reason().to_owned(),
            sentence: refused.to_string(),
        }
    }
}

/// Errors of libgit2 that have no better name here.
impl From<git2::Error> for GitRefused {
    fn from(error: git2::Error) -> Self {
        Self::Broken {
            cause: error.message().to_owned(),
        }
    }
}
