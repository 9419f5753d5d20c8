//! Why something cannot be a context: one sentence each, and what to do.

use std::io;

use thiserror::Error;

use super::BadPattern;

/// All names together: they are kept in memory. Usual contexts have a hundred bytes per entry.
pub(super) const NAMES_MAX: usize = 64 * 1024 * 1024;

/// Why an archive cannot be a context.
#[derive(Debug, Error)]
pub enum ContextRefused {
    #[error("entry {entry} '{path}' leaves the context; give it a relative path without '..'")]
    PathEscapes { entry: u64, path: String },
    #[error("entry {entry} '{path}' has a name that is not UTF-8, or is too long; rename it")]
    Name { entry: u64, path: String },
    #[error("the link '{path}' leads to '{target}', outside of the context; name it in .dockerignore or link inside")]
    LinkEscapes { path: String, target: String },
    #[error("the hard link '{path}' leads to '{target}', which is no file before it; put the file itself there")]
    LinkTarget { path: String, target: String },
    #[error("entry {entry} '{path}' is {kind}; a context takes regular files, directories and links")]
    EntryType {
        entry: u64,
        path: String,
        kind: &'static str,
    },
    #[error("'{path}' is in the archive twice; keep one of them")]
    Duplicate { path: String },
    #[error("'{path}' lies below '{parent}', which is not a directory; rename one of them")]
    NotADirectory { path: String, parent: String },
    #[error("'Dockerfile' is a directory; the editor's Dockerfile takes this place, so rename the directory")]
    DockerfileDirectory,
    #[error("the context has more than {limit} bytes; name what the build does not need in .dockerignore")]
    TooLarge { limit: u64 },
    #[error("the context has more than {limit} entries; name what the build does not need in .dockerignore")]
    TooManyEntries { limit: u64 },
    #[error("the names in the context take more than 64 MiB; shorten them or name what is not needed in .dockerignore")]
    NamesTooLong,
    #[error(transparent)]
    Ignore(#[from] BadPattern),
    #[error("the .dockerignore is not a text of at most 1 MiB; correct it")]
    IgnoreUnreadable,
    #[error("the archive is compressed with {format}; upload it uncompressed")]
    Compressed { format: &'static str },
    #[error("entry {entry} has no valid header; upload a tar archive")]
    NotTar { entry: u64 },
    #[error("entry {entry} says two things about its name or size; make the archive with a current tar")]
    Ambiguous { entry: u64 },
    #[error("the archive ends too early; upload it again")]
    CutOff,
    #[error("there is something after the end of the archive; upload one archive only")]
    Trailing,
    #[error("the archive could not be read to its end; upload it again")]
    Read(#[source] io::Error),
    #[error("the context could not be stored; try again")]
    Write(#[source] io::Error),
}

impl ContextRefused {
    /// A fixed word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PathEscapes { .. } => "CTX_PATH_ESCAPES",
            Self::LinkEscapes { .. } | Self::LinkTarget { .. } => "CTX_LINK_ESCAPES",
            Self::EntryType { .. } | Self::DockerfileDirectory => "CTX_ENTRY_TYPE",
            Self::TooLarge { .. } | Self::TooManyEntries { .. } | Self::NamesTooLong => "CTX_TOO_LARGE",
            Self::Ignore(_) | Self::IgnoreUnreadable => "CTX_IGNORE",
            Self::Name { .. }
            | Self::Duplicate { .. }
            | Self::NotADirectory { .. }
            | Self::Compressed { .. }
            | Self::NotTar { .. }
            | Self::Ambiguous { .. }
            | Self::Trailing
            | Self::CutOff => "CTX_TAR_MALFORMED",
            Self::Read(_) | Self::Write(_) => "UPLOAD_INTERRUPTED",
        }
    }

    /// The limit that was exceeded.
    pub fn limit(&self) -> Option<u64> {
        match self {
            Self::TooLarge { limit } | Self::TooManyEntries { limit } => Some(*limit),
            Self::NamesTooLong => Some(NAMES_MAX as u64),
            _ => None,
        }
    }
}
