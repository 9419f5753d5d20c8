//! Makes the archive of a directory for an upload: what `docker build` would send.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{ContextRefused, DOCKERFILE, DOCKERIGNORE, Ignore, Summary, Writer, link_stays_inside};

/// Writes a whole archive: sorted, without owners, `.dockerignore` honoured, whatever the directory's own order.
///
/// Blocking. Errors name the file.
pub fn tar_directory(directory: PathBuf, to: impl Write) -> io::Result<Summary> {
    if !directory.is_dir() {
        return Err(refused(&format!(
            "'{}' is not a directory; name the one that holds the files",
            directory.display()
        )));
    }
    let ignore = match fs::read_to_string(directory.join(DOCKERIGNORE)) {
        Ok(text) => Ignore::parse(&text).map_err(|error| refused(&error.to_string()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ignore::default(),
        Err(error) => return Err(at(DOCKERIGNORE, &error)),
    };
    let to = Writer::new(BufWriter::with_capacity(256 * 1024, to));
    let mut walk = Walk {
        root: directory,
        ignore,
        to,
        summary: Summary::default(),
        pending: Vec::new(),
    };
    // first, so that whoever reads the archive as it streams knows what is left out
    if walk.root.join(DOCKERIGNORE).is_file() {
        walk.entry(DOCKERIGNORE)?;
    }
    walk.directory("")?;
    walk.to.finish()?;
    Ok(walk.summary)
}

struct Walk<W> {
    root: PathBuf,
    ignore: Ignore,
    to: Writer<W>,
    summary: Summary,
    /// The ignored directories above, written as soon as something below them is not ignored.
    pending: Vec<(String, u32, u64)>,
}

impl<W: Write> Walk<W> {
    fn directory(&mut self, path: &str) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(path)).map_err(|error| at(path, &error))? {
            let name = entry.map_err(|error| at(path, &error))?.file_name();
            let name = name.into_string().map_err(|name| {
                refused(&format!(
                    "the name of '{}' is not UTF-8; rename it",
                    Path::new(path).join(name).display()
                ))
            })?;
            names.push(name);
        }
        names.sort_unstable();
        for name in names {
            let below = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            if below != DOCKERIGNORE {
                self.entry(&below)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str) -> io::Result<()> {
        let ignored = !self.ignore.is_empty() && self.ignore.ignores(path);
        let file = self.root.join(path);
        let about = match fs::symlink_metadata(&file) {
            Ok(about) => about,
            // gone since the directory was read
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(path, &error)),
        };
        let (mode, mtime) = (about.mode() & 0o777, u64::try_from(about.mtime()).unwrap_or(0));
        if about.is_dir() {
            if ignored && !self.ignore.may_keep_below(path) {
                return Ok(());
            }
            let outer = self.pending.len();
            if ignored {
                self.pending.push((path.to_owned(), mode, mtime));
            } else {
                self.above()?;
                self.to.directory(path, mode, mtime)?;
            }
            self.directory(path)?;
            // those that nothing came back into
            self.pending.truncate(outer);
            return Ok(());
        }
        // a socket is nobody's content; Docker leaves it out, too
        if ignored || about.file_type().is_socket() {
            return Ok(());
        }
        if !about.is_file() && !about.is_symlink() {
            return Err(refused(&format!(
                "'{path}' is a device or a named pipe; name it in .dockerignore"
            )));
        }
        self.above()?;
        self.summary.files += 1;
        if about.is_symlink() {
            return self.link(path, &file, mtime);
        }
        let size = about.len();
        let content = File::open(&file).map_err(|error| at(path, &error))?;
        self.summary.bytes += size;
        self.to
            .file(path, mode, mtime, size, content)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    refused(&format!("'{path}' became shorter while it was read; try again"))
                }
                _ => error,
            })
    }

    fn link(&mut self, path: &str, file: &Path, mtime: u64) -> io::Result<()> {
        let target = fs::read_link(file).map_err(|error| at(path, &error))?;
        let target = target.to_string_lossy();
        // the Dockerfile itself is read before, as the text that it leads to
        if path != DOCKERFILE && !link_stays_inside(path, &target) {
            let outside = ContextRefused::LinkEscapes {
                path: path.to_owned(),
                target: target.into_owned(),
            };
            return Err(refused(&outside.to_string()));
        }
        self.to.symlink(path, &target, mtime)
    }

    fn above(&mut self) -> io::Result<()> {
        for (path, mode, mtime) in self.pending.drain(..) {
            self.to.directory(&path, mode, mtime)?;
        }
        Ok(())
    }
}

fn refused(sentence: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, sentence.to_owned())
}

/// The operating system's words, with the file that it does not name.
fn at(path: &str, error: &io::Error) -> io::Error {
    let path = if path.is_empty() { "." } else { path };
    io::Error::new(
        error.kind(),
        format!("'{path}' cannot be read: {error}; correct its rights or name it in .dockerignore"),
    )
}

#[cfg(test)]
mod tests;
