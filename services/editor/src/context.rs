//! Uploaded files: an archive is checked and written anew, so that what was checked is what an engine will read.
//!
//! What is stored is a piece of a tar, which the build completes: no `Dockerfile` in the root (the editor's goes
//! before it), and no end of the archive.

mod path;
mod reader;
mod writer;

use reader::{Entry, Kind, Reader};
use std::{
    collections::HashMap,
    io::{self, BufWriter, Read, Write},
};
use writer::Writer;

/// The editor's own takes this place.
const DOCKERFILE: &str = "Dockerfile";
/// Names of everything in an archive are kept while it is read. Usual ones have a hundred bytes.
const NAMES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Written at once: a message of the store.
const WRITE_BYTES: usize = 512 * 1024;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Of all files together.
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// What an archive holds, without its headers and directories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) files: u32,
    pub(crate) bytes: u64,
}

/// Why an archive can't be attached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextRefused {
    #[error("entry {entry} `{path}` leaves the context: give it a relative path without `..`")]
    PathEscapes { entry: u64, path: String },
    #[error("the link `{path}` leads to `{target}`, outside of the context: link to a file inside, or leave it out")]
    LinkEscapes { path: String, target: String },
    #[error("the hard link `{path}` leads to `{target}`, which is no file before it: put the file itself there")]
    LinkTarget { path: String, target: String },
    #[error("entry {entry} `{path}` is {kind}: a context takes regular files, directories and links")]
    EntryType {
        entry: u64,
        path: String,
        kind: &'static str,
    },
    #[error("`Dockerfile` is a directory, where the editor's Dockerfile goes: rename the directory")]
    DockerfileDirectory,
    #[error("the files have more than {limit} bytes, name what the build does not need in .dockerignore")]
    TooManyBytes { limit: u64 },
    #[error("there are more than {limit} entries, name what the build does not need in .dockerignore")]
    TooManyEntries { limit: u64 },
    #[error("the names have more than {limit} bytes, name what the build does not need in .dockerignore")]
    TooLongNames { limit: usize },
    #[error("entry {entry} `{path}` has a name that is too long or not UTF-8: rename it")]
    Name { entry: u64, path: String },
    #[error("`{path}` is in the archive twice: keep one of them")]
    Twice { path: String },
    #[error("`{path}` lies below `{parent}`, which is not a directory: rename one of them")]
    NotADirectory { path: String, parent: String },
    #[error("the archive is compressed with {format}: send it as a plain tar")]
    Compressed { format: &'static str },
    #[error("entry {entry} has no valid header: send a tar archive")]
    NotTar { entry: u64 },
    #[error("entry {entry} says two things about its name or its size: make the archive with a current tar")]
    Ambiguous { entry: u64 },
    #[error("the archive ends too early: send it again")]
    CutOff,
    #[error("something follows the end of the archive: send one archive")]
    Trailing,
    #[error("the archive can't be read to its end")]
    Read(#[source] io::Error),
    #[error("the archive can't be stored")]
    Write(#[source] io::Error),
}

impl ContextRefused {
    /// For programs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::PathEscapes { .. } => "CTX_PATH_ESCAPES",
            Self::LinkEscapes { .. } | Self::LinkTarget { .. } => "CTX_LINK_ESCAPES",
            Self::EntryType { .. } | Self::DockerfileDirectory => "CTX_ENTRY_TYPE",
            Self::TooManyBytes { .. } | Self::TooManyEntries { .. } | Self::TooLongNames { .. } => "CTX_TOO_LARGE",
            Self::Name { .. }
            | Self::Twice { .. }
            | Self::NotADirectory { .. }
            | Self::Compressed { .. }
            | Self::NotTar { .. }
            | Self::Ambiguous { .. }
            | Self::CutOff
            | Self::Trailing => "CTX_TAR_MALFORMED",
            Self::Read(_) | Self::Write(_) => "UPLOAD_INTERRUPTED",
        }
    }

    /// The limit that was exceeded.
    pub(crate) fn limit(&self) -> Option<u64> {
        match self {
            Self::TooManyBytes { limit } | Self::TooManyEntries { limit } => Some(*limit),
            Self::TooLongNames { limit } => Some(*limit as u64),
            _ => None,
        }
    }
}

/// Writes the entries in their order, in one form: relative names, no owners, no set-user-id; modes and times stay.
/// The same archive always gives the same bytes.
///
/// It blocks. What it holds in memory are the names.
pub(crate) fn canonicalize(from: impl Read, to: impl Write, limits: &Limits) -> Result<Summary, ContextRefused> {
    let mut rewrite = Rewrite {
        to: Writer::new(BufWriter::with_capacity(WRITE_BYTES, to)),
        limits: *limits,
        summary: Summary::default(),
        seen: HashMap::new(),
        names_bytes: 0,
    };
    let mut reader = Reader::new(from);
    while let Some(entry) = reader.next()? {
        rewrite.entry(&entry, &mut reader)?;
    }
    rewrite.to.flush().map_err(ContextRefused::Write)?;
    Ok(rewrite.summary)
}

/// One pass over an archive.
struct Rewrite<W: Write> {
    to: Writer<BufWriter<W>>,
    limits: Limits,
    summary: Summary,
    /// What was written, or stands above something that was.
    seen: HashMap<String, Seen>,
    names_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Without an entry of its own so far.
    ImpliedDirectory,
    Directory,
    File,
    Symlink,
}

impl<W: Write> Rewrite<W> {
    fn entry<R: Read>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), ContextRefused> {
        if entry.number > self.limits.entries {
            return Err(ContextRefused::TooManyEntries {
                limit: self.limits.entries,
            });
        }
        let Some(path) = path::entry(entry.number, &entry.path)? else {
            return Ok(());
        };
        if path == DOCKERFILE {
            return match entry.kind {
                Kind::Directory => Err(ContextRefused::DockerfileDirectory),
                Kind::File { size } => self.limit(size),
                Kind::Symlink { .. } | Kind::HardLink { .. } => Ok(()),
            };
        }
        self.parents(&path)?;
        let (mode, mtime) = (entry.mode, entry.mtime);
        let written = match &entry.kind {
            Kind::Directory => {
                self.remember(&path, Seen::Directory)?;
                return self.to.directory(&path, mode, mtime).map_err(ContextRefused::Write);
            }
            Kind::File { size } => {
                self.remember(&path, Seen::File)?;
                self.count(*size)?;
                return self.file(&path, entry, *size, reader);
            }
            Kind::Symlink { target } => {
                self.remember(&path, Seen::Symlink)?;
                let target = path::link(&path, target)?;
                self.to.symlink(&path, &target, mtime)
            }
            Kind::HardLink { target } => {
                let target = self.earlier_file(entry.number, &path, target)?;
                self.remember(&path, Seen::File)?;
                self.to.hard_link(&path, &target, mode, mtime)
            }
        };
        written.map_err(ContextRefused::Write)?;
        self.count(0)
    }

    fn file<R: Read>(
        &mut self,
        path: &str,
        entry: &Entry,
        size: u64,
        reader: &mut Reader<R>,
    ) -> Result<(), ContextRefused> {
        self.to
            .file(path, entry.mode, entry.mtime, size)
            .map_err(ContextRefused::Write)?;
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(WRITE_BYTES)];
        loop {
            match reader.content(&mut buffer)? {
                0 => break,
                read => self.to.content(&buffer[..read]).map_err(ContextRefused::Write)?,
            }
        }
        self.to.pad(size).map_err(ContextRefused::Write)
    }

    fn count(&mut self, size: u64) -> Result<(), ContextRefused> {
        self.summary.files += 1;
        self.summary.bytes = self.summary.bytes.saturating_add(size);
        self.limit(self.summary.bytes)
    }

    fn limit(&self, bytes: u64) -> Result<(), ContextRefused> {
        let limit = self.limits.bytes;
        if bytes > limit {
            return Err(ContextRefused::TooManyBytes { limit });
        }
        Ok(())
    }

    /// A hard link is another name of a file that stands before it in the archive.
    fn earlier_file(&self, entry: u64, path: &str, target: &[u8]) -> Result<String, ContextRefused> {
        let shown = || (path.to_owned(), String::from_utf8_lossy(target).into_owned());
        let Ok(inside) = path::entry(entry, target) else {
            let (path, target) = shown();
            return Err(ContextRefused::LinkEscapes { path, target });
        };
        inside
            .filter(|inside| self.seen.get(inside) == Some(&Seen::File))
            .ok_or_else(|| {
                let (path, target) = shown();
                ContextRefused::LinkTarget { path, target }
            })
    }

    /// Everything above an entry is a directory: nothing is written through a link.
    fn parents(&mut self, path: &str) -> Result<(), ContextRefused> {
        for parent in path::parents(path) {
            match self.seen.get(parent) {
                Some(Seen::Directory | Seen::ImpliedDirectory) => (),
                Some(Seen::File | Seen::Symlink) => {
                    return Err(ContextRefused::NotADirectory {
                        path: path.to_owned(),
                        parent: parent.to_owned(),
                    });
                }
                None if parent == DOCKERFILE => return Err(ContextRefused::DockerfileDirectory),
                None => self.remember(parent, Seen::ImpliedDirectory)?,
            }
        }
        Ok(())
    }

    fn remember(&mut self, path: &str, seen: Seen) -> Result<(), ContextRefused> {
        self.names_bytes += path.len();
        if self.names_bytes > NAMES_BYTES_MAX {
            return Err(ContextRefused::TooLongNames { limit: NAMES_BYTES_MAX });
        }
        match self.seen.insert(path.to_owned(), seen) {
            None => Ok(()),
            Some(Seen::ImpliedDirectory) if seen == Seen::Directory => Ok(()),
            Some(_) => Err(ContextRefused::Twice { path: path.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests;
