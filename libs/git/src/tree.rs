//! Writes a commit's directory as an archive, straight from the objects. Runs in the child only.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use git2::{Commit, ObjectType, Oid, Repository, Tree, TreeEntry};

use super::{GitRefused, Listed};
use context::{ContextRefused, DOCKERFILE, DOCKERIGNORE, Ignore, Limits, Writer, link_stays_inside};

const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;
/// Longer is no path, and no list of patterns.
const TEXT_MAX: usize = 1024 * 1024;
/// What the editor takes, too.
const DOCKERFILE_BYTES_MAX: usize = 256 * 1024;

/// What is written, all of it checked: after the answer that it can be, there is no refusing any more.
pub(super) struct Export {
    pub(super) commit: String,
    pub(super) tree: String,
    pub(super) notices: Vec<String>,
    pub(super) dockerfile: String,
    /// Of every entry: the commit's.
    mtime: u64,
    items: Vec<Item>,
}

struct Item {
    path: String,
    kind: Kind,
}

enum Kind {
    Directory,
    File { id: Oid, size: u64, mode: u32 },
    Link { target: String },
}

pub(super) fn export(
    repository: &Repository,
    commit: Oid,
    directory: &str,
    limits: &Limits,
) -> Result<Export, GitRefused> {
    let commit = repository.find_commit(commit)?;
    let id = commit.id().to_string();
    let tree = directory_of(repository, &commit, directory)?;
    let Some(dockerfile) = dockerfile_of(&tree) else {
        let path = if directory.is_empty() {
            DOCKERFILE.to_owned()
        } else {
            format!("{directory}/{DOCKERFILE}")
        };
        return Err(GitRefused::NoDockerfile { path, commit: id });
    };
    let (bytes, _) = repository.odb()?.read_header(dockerfile.id())?;
    if bytes > DOCKERFILE_BYTES_MAX {
        let limit = DOCKERFILE_BYTES_MAX;
        return Err(GitRefused::DockerfileTooLarge { bytes, limit });
    }
    let dockerfile = short_text(repository, dockerfile.id())?.ok_or(GitRefused::DockerfileNoText)?;
    let mut walk = Walk {
        repository,
        ignore: ignore(repository, &tree)?,
        limits,
        items: Vec::new(),
        entries: 0,
        bytes: 0,
        pending: Vec::new(),
        notices: Vec::new(),
    };
    walk.tree(&tree, "")?;
    let (items, notices) = (walk.items, walk.notices);
    let mtime = u64::try_from(commit.time().seconds()).unwrap_or(0);
    Ok(Export {
        commit: id,
        tree: tree.id().to_string(),
        notices,
        dockerfile,
        mtime,
        items,
    })
}

pub(super) fn write(repository: &Repository, export: &Export, to: impl Write) -> io::Result<()> {
    let mut writer = Writer::new(BufWriter::with_capacity(256 * 1024, to));
    let mtime = export.mtime;
    for Item { path, kind } in export.items.iter().filter(|item| item.path != DOCKERFILE) {
        match kind {
            Kind::Directory => writer.directory(path, 0o755, mtime)?,
            Kind::Link { target } => writer.symlink(path, target, mtime)?,
            Kind::File { id, size, mode } => {
                let blob = repository.find_blob(*id).map_err(io::Error::other)?;
                writer.file(path, *mode, mtime, *size, blob.content())?;
            }
        }
    }
    writer.flush()
}

/// The directories at or below one that hold a Dockerfile, of the first so many entries.
pub(super) fn dockerfiles(
    repository: &Repository,
    commit: Oid,
    directory: &str,
    entries_max: u64,
) -> Result<Listed, GitRefused> {
    let commit = repository.find_commit(commit)?;
    let mut found = Listed::default();
    let mut entries = 0;
    let mut waiting = vec![(directory.to_owned(), directory_of(repository, &commit, directory)?)];
    while let Some((path, tree)) = waiting.pop() {
        entries += tree.len() as u64;
        if entries > entries_max {
            found.has_more = true;
            break;
        }
        if dockerfile_of(&tree).is_some() {
            found.push(&path);
        }
        for entry in tree.iter().rev() {
            // what is no text is no directory that could be named
            if let (0o040_000, Ok(name)) = (entry.filemode(), entry.name())
                && path.len() + name.len() < PATH_MAX
            {
                let separator = if path.is_empty() { "" } else { "/" };
                waiting.push((format!("{path}{separator}{name}"), repository.find_tree(entry.id())?));
            }
        }
    }
    Ok(found)
}

/// Refused also where a file or a link has that name.
fn directory_of<'a>(repository: &'a Repository, commit: &Commit<'a>, directory: &str) -> Result<Tree<'a>, GitRefused> {
    let root = commit.tree()?;
    if directory.is_empty() {
        return Ok(root);
    }
    match root.get_path(Path::new(directory)) {
        Ok(entry) if entry.kind() == Some(ObjectType::Tree) => Ok(repository.find_tree(entry.id())?),
        _ => Err(GitRefused::NoSuchDirectory {
            directory: directory.to_owned(),
            commit: commit.id().to_string(),
        }),
    }
}

/// A file of that name, no link.
fn dockerfile_of<'a>(tree: &'a Tree<'_>) -> Option<TreeEntry<'a>> {
    let entry = tree.get_name(DOCKERFILE)?;
    matches!(entry.filemode(), 0o100_000..0o120_000).then_some(entry)
}

fn ignore(repository: &Repository, tree: &Tree<'_>) -> Result<Ignore, GitRefused> {
    let Some(entry) = tree
        .get_name(DOCKERIGNORE)
        .filter(|entry| entry.kind() == Some(ObjectType::Blob))
    else {
        return Ok(Ignore::default());
    };
    let text = short_text(repository, entry.id())?.ok_or(ContextRefused::IgnoreUnreadable)?;
    Ok(Ignore::parse(&text).map_err(ContextRefused::from)?)
}

/// `None`: not short, or no text.
fn short_text(repository: &Repository, id: Oid) -> Result<Option<String>, GitRefused> {
    if repository.odb()?.read_header(id)?.0 > TEXT_MAX {
        return Ok(None);
    }
    let blob = repository.find_blob(id)?;
    Ok(std::str::from_utf8(blob.content()).ok().map(str::to_owned))
}

struct Walk<'a> {
    repository: &'a Repository,
    ignore: Ignore,
    limits: &'a Limits,
    items: Vec<Item>,
    /// Looked at. A few trees that contain each other many times can mean billions.
    entries: u64,
    bytes: u64,
    /// The ignored directories above, kept as soon as something below them is.
    pending: Vec<String>,
    notices: Vec<String>,
}

impl Walk<'_> {
    fn tree(&mut self, tree: &Tree<'_>, above: &str) -> Result<(), GitRefused> {
        let mut entries: Vec<TreeEntry<'_>> = tree.iter().collect();
        // git sorts a directory as if its name ended with a slash
        entries.sort_by(|one, other| one.name_bytes().cmp(other.name_bytes()));
        for entry in entries {
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(ContextRefused::TooManyEntries {
                    limit: self.limits.entries,
                }
                .into());
            }
            let path = self.path(above, entry.name_bytes())?;
            self.entry(&entry, path)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &TreeEntry<'_>, path: String) -> Result<(), GitRefused> {
        let ignored = self.ignore.ignores(&path);
        let kind = match entry.filemode() {
            0o040_000 => return self.directory(entry.id(), &path, ignored),
            0o160_000 => {
                if !ignored {
                    self.notices
                        .push(format!("submodules are not fetched: '{path}' is left out"));
                }
                return Ok(());
            }
            _ if ignored => return Ok(()),
            0o120_000 => Kind::Link {
                target: self.target(entry.id(), &path)?,
            },
            mode => {
                let size = self.repository.odb()?.read_header(entry.id())?.0 as u64;
                self.bytes = self.bytes.saturating_add(size);
                if self.bytes > self.limits.bytes {
                    return Err(ContextRefused::TooLarge {
                        limit: self.limits.bytes,
                    }
                    .into());
                }
                Kind::File {
                    id: entry.id(),
                    size,
                    mode: if mode & 0o111 == 0 { 0o644 } else { 0o755 },
                }
            }
        };
        self.keep(path, kind);
        Ok(())
    }

    fn directory(&mut self, id: Oid, path: &str, ignored: bool) -> Result<(), GitRefused> {
        if ignored && !self.ignore.may_keep_below(path) {
            return Ok(());
        }
        let outer = self.pending.len();
        if ignored {
            self.pending.push(path.to_owned());
        } else {
            self.keep(path.to_owned(), Kind::Directory);
        }
        let tree = self.repository.find_tree(id)?;
        self.tree(&tree, path)?;
        self.pending.truncate(outer);
        Ok(())
    }

    fn keep(&mut self, path: String, kind: Kind) {
        let above = self.pending.drain(..).map(|path| Item {
            path,
            kind: Kind::Directory,
        });
        self.items.extend(above);
        self.items.push(Item { path, kind });
    }

    /// Trees are written by strangers, and only git's own tools keep to its rules for names.
    fn path(&self, above: &str, name: &[u8]) -> Result<String, GitRefused> {
        let shown = String::from_utf8_lossy(name);
        let path = if above.is_empty() {
            shown.into_owned()
        } else {
            format!("{above}/{shown}")
        };
        let special = matches!(name, b"" | b"." | b"..") || name.eq_ignore_ascii_case(b".git");
        let separators = name.contains(&b'/') || name.contains(&0);
        if special || separators {
            return Err(ContextRefused::PathEscapes {
                entry: self.entries,
                path,
            }
            .into());
        }
        if std::str::from_utf8(name).is_err() || name.len() > NAME_MAX || path.len() > PATH_MAX {
            return Err(ContextRefused::Name {
                entry: self.entries,
                path,
            }
            .into());
        }
        Ok(path)
    }

    fn target(&self, id: Oid, path: &str) -> Result<String, GitRefused> {
        let target = short_text(self.repository, id)?.unwrap_or_default();
        if link_stays_inside(path, &target) {
            Ok(target)
        } else {
            Err(ContextRefused::LinkEscapes {
                path: path.to_owned(),
                target,
            }
            .into())
        }
    }
}

#[cfg(test)]
mod tests;
