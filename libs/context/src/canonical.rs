//! Checks an uploaded archive and writes it anew, so that what was checked is what the engine will read.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Read, Write},
};

use super::{
    ContextRefused, DOCKERFILE, DOCKERIGNORE, Ignore, Limits, Summary, Writer,
    archive::END,
    path::{entry_path, link_stays_inside, parents},
    reader::{Entry, Kind, Reader},
    refused::NAMES_MAX,
};

/// Above that, `.dockerignore` is not a list of patterns.
const IGNORE_MAX: u64 = 1024 * 1024;

/// What became of an archive.
#[derive(Debug)]
pub struct Rewritten {
    pub summary: Summary,
    /// Its `.dockerignore`, when something that it leaves out came before it: [`leave_out`] does the rest.
    pub late: Option<Ignore>,
}

/// Writes the entries in their order, without what `.dockerignore` leaves out, without a `Dockerfile` in the root (the
/// editor's takes its place) and without the end of the archive (see [`assemble`](super::assemble)). The same input
/// gives the same bytes.
///
/// Blocking; the memory that it takes grows with the number of entries only.
pub fn canonicalize(from: impl Read, to: impl Write, limits: &Limits) -> Result<Rewritten, ContextRefused> {
    rewrite(from, to, limits, Ignore::default())
}

/// Writes once more what [`canonicalize`] wrote, without what its `.dockerignore` came too late for.
pub fn leave_out(from: impl Read, to: impl Write, limits: &Limits, ignore: Ignore) -> Result<Summary, ContextRefused> {
    Ok(rewrite(from.chain(&END[..]), to, limits, ignore)?.summary)
}

fn rewrite(from: impl Read, to: impl Write, limits: &Limits, ignore: Ignore) -> Result<Rewritten, ContextRefused> {
    let mut rewrite = Rewrite {
        to: Writer::new(BufWriter::with_capacity(256 * 1024, to)),
        summary: Summary::default(),
        limits: *limits,
        ignore,
        is_late: false,
        entries: 0,
        seen: HashMap::new(),
        names: 0,
        pending: HashMap::new(),
    };
    rewrite.all(&mut Reader::new(from))?;
    rewrite.to.flush().map_err(ContextRefused::Write)?;
    Ok(Rewritten {
        summary: rewrite.summary,
        late: rewrite.is_late.then_some(rewrite.ignore),
    })
}

/// One pass over an archive.
struct Rewrite<W: Write> {
    to: Writer<BufWriter<W>>,
    summary: Summary,
    limits: Limits,
    ignore: Ignore,
    /// Something was written that `ignore` leaves out.
    is_late: bool,
    entries: u64,
    /// What has been written, or stands above something that has been.
    seen: HashMap<String, Seen>,
    /// Bytes of the names in `seen`.
    names: usize,
    /// Left out so far, and written when something below comes back in.
    pending: HashMap<String, (u32, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// No entry of its own yet.
    ImpliedDirectory,
    Directory,
    File,
    Symlink,
}

impl<W: Write> Rewrite<W> {
    fn all<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<(), ContextRefused> {
        while let Some(entry) = reader.next()? {
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(ContextRefused::TooManyEntries {
                    limit: self.limits.entries,
                });
            }
            if let Some(path) = entry_path(entry.number, &entry.path)? {
                self.entry(&path, &entry, reader)?;
            }
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, path: &str, entry: &Entry, reader: &mut Reader<R>) -> Result<(), ContextRefused> {
        if path == DOCKERFILE {
            return match entry.kind {
                Kind::Directory => Err(ContextRefused::DockerfileDirectory),
                _ => Ok(()),
            };
        }
        // checked also where it is left out: nobody should rely on `.dockerignore` for that
        let target = link_target(path, entry)?;
        if path == DOCKERIGNORE
            && let Kind::File { size } = entry.kind
        {
            return self.dockerignore(size, entry, reader);
        }
        if self.ignore.ignores(path) {
            if matches!(entry.kind, Kind::Directory) && self.ignore.may_keep_below(path) {
                self.pending.insert(path.to_owned(), (entry.mode, entry.mtime));
            }
            return Ok(());
        }
        self.above(path)?;
        self.note(path, &entry.kind)?;
        let (mode, mtime) = (entry.mode, entry.mtime);
        let written = match &entry.kind {
            Kind::Directory => self.to.directory(path, mode, mtime),
            Kind::Symlink { .. } => self.to.symlink(path, &target, mtime),
            Kind::HardLink { .. } => {
                if self.seen.get(&target) != Some(&Seen::File) {
                    return Err(ContextRefused::LinkTarget {
                        path: path.to_owned(),
                        target,
                    });
                }
                self.to.hard_link(path, &target, mode, mtime)
            }
            Kind::File { size } => return self.file(path, *size, entry, reader),
        };
        if !matches!(entry.kind, Kind::Directory) {
            self.summary.files += 1;
        }
        written.map_err(ContextRefused::Write)
    }

    fn file<R: Read>(
        &mut self,
        path: &str,
        size: u64,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), ContextRefused> {
        self.count(size)?;
        let mut content = Observed {
            from: reader.content(),
            failed: None,
            ended: false,
        };
        let written = self.to.file(path, entry.mode, entry.mtime, size, &mut content);
        match (written, content.failed, content.ended) {
            (Ok(()), ..) => Ok(()),
            (_, Some(error), _) => Err(ContextRefused::Read(error)),
            (_, _, true) => Err(ContextRefused::CutOff),
            (Err(error), ..) => Err(ContextRefused::Write(error)),
        }
    }

    /// From here on it counts, also where it leaves itself out.
    fn dockerignore<R: Read>(
        &mut self,
        size: u64,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), ContextRefused> {
        let text = read_ignore(size, reader)?;
        let ignore = Ignore::parse(&text)?;
        self.note(DOCKERIGNORE, &entry.kind)?;
        if !ignore.ignores(DOCKERIGNORE) {
            self.count(size)?;
            self.to
                .file(DOCKERIGNORE, entry.mode, entry.mtime, size, text.as_bytes())
                .map_err(ContextRefused::Write)?;
        }
        self.is_late = self.seen.iter().any(|(path, seen)| match seen {
            Seen::ImpliedDirectory => false,
            Seen::Directory => ignore.ignores(path) && !ignore.may_keep_below(path),
            Seen::File | Seen::Symlink => path != DOCKERIGNORE && ignore.ignores(path),
        });
        self.ignore = ignore;
        Ok(())
    }

    fn count(&mut self, size: u64) -> Result<(), ContextRefused> {
        self.summary.files += 1;
        self.summary.bytes = self.summary.bytes.saturating_add(size);
        if self.summary.bytes > self.limits.bytes {
            return Err(ContextRefused::TooLarge {
                limit: self.limits.bytes,
            });
        }
        Ok(())
    }

    /// Everything above an entry is a directory, and written if it was left out before.
    fn above(&mut self, path: &str) -> Result<(), ContextRefused> {
        for parent in parents(path) {
            match self.seen.get(parent) {
                Some(Seen::Directory | Seen::ImpliedDirectory) => continue,
                Some(Seen::File | Seen::Symlink) => {
                    return Err(ContextRefused::NotADirectory {
                        path: path.to_owned(),
                        parent: parent.to_owned(),
                    });
                }
                None if parent == DOCKERFILE => return Err(ContextRefused::DockerfileDirectory),
                None => {}
            }
            let seen = if let Some((mode, mtime)) = self.pending.remove(parent) {
                self.to.directory(parent, mode, mtime).map_err(ContextRefused::Write)?;
                Seen::Directory
            } else {
                Seen::ImpliedDirectory
            };
            self.remember(parent, seen)?;
        }
        Ok(())
    }

    fn note(&mut self, path: &str, kind: &Kind) -> Result<(), ContextRefused> {
        let now = match kind {
            Kind::Directory => Seen::Directory,
            Kind::File { .. } | Kind::HardLink { .. } => Seen::File,
            Kind::Symlink { .. } => Seen::Symlink,
        };
        match self.remember(path, now)? {
            None => Ok(()),
            Some(Seen::ImpliedDirectory) if now == Seen::Directory => Ok(()),
            Some(_) => Err(ContextRefused::Duplicate { path: path.to_owned() }),
        }
    }

    fn remember(&mut self, path: &str, seen: Seen) -> Result<Option<Seen>, ContextRefused> {
        self.names += path.len();
        if self.names > NAMES_MAX {
            return Err(ContextRefused::NamesTooLong);
        }
        Ok(self.seen.insert(path.to_owned(), seen))
    }
}

/// Where a link leads, inside the context; empty for what is none.
fn link_target(path: &str, entry: &Entry) -> Result<String, ContextRefused> {
    let (raw, inside) = match &entry.kind {
        Kind::File { .. } | Kind::Directory => return Ok(String::new()),
        Kind::Symlink { target } => {
            let text = std::str::from_utf8(target)
                .ok()
                .filter(|text| link_stays_inside(path, text));
            (target, text.map(str::to_owned))
        }
        Kind::HardLink { target } => (target, entry_path(entry.number, target).ok().flatten()),
    };
    inside.ok_or_else(|| ContextRefused::LinkEscapes {
        path: path.to_owned(),
        target: String::from_utf8_lossy(raw).into_owned(),
    })
}

fn read_ignore<R: Read>(size: u64, reader: &mut Reader<R>) -> Result<String, ContextRefused> {
    if size > IGNORE_MAX {
        return Err(ContextRefused::IgnoreUnreadable);
    }
    let mut text = Vec::new();
    reader.content().read_to_end(&mut text).map_err(ContextRefused::Read)?;
    if (text.len() as u64) < size {
        return Err(ContextRefused::CutOff);
    }
    String::from_utf8(text).map_err(|_| ContextRefused::IgnoreUnreadable)
}

/// Tells a reader's failure from a writer's, which `Writer` mixes.
struct Observed<R> {
    from: R,
    failed: Option<io::Error>,
    ended: bool,
}

impl<R: Read> Read for Observed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.from.read(buffer) {
            Ok(read) => {
                self.ended = read == 0;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.failed = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
