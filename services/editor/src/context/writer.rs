//! Writes tar in one form: GNU headers, nobody's files, the end left open.

use std::io::{self, Write};
use tar::{EntryType, Header};

pub(super) const BLOCK: usize = 512;
const ZEROS: [u8; BLOCK] = [0; BLOCK];
/// What GNU tar calls an entry that only carries a long name.
const LONG_NAME: &str = "././@LongLink";
const NAME_FIELD: usize = 100;

pub(super) struct Writer<W>(W);

impl<W: Write> Writer<W> {
    pub(super) fn new(to: W) -> Self {
        Self(to)
    }

    pub(super) fn directory(&mut self, path: &str, mode: u32, mtime: u64) -> io::Result<()> {
        self.header(&format!("{path}/"), "", &header(EntryType::Directory, mode, mtime, 0))
    }

    pub(super) fn symlink(&mut self, path: &str, target: &str, mtime: u64) -> io::Result<()> {
        self.header(path, target, &header(EntryType::Symlink, 0o777, mtime, 0))
    }

    pub(super) fn hard_link(&mut self, path: &str, target: &str, mode: u32, mtime: u64) -> io::Result<()> {
        self.header(path, target, &header(EntryType::Link, mode, mtime, 0))
    }

    /// Begins a file: its content and `pad` must follow.
    pub(super) fn file(&mut self, path: &str, mode: u32, mtime: u64, size: u64) -> io::Result<()> {
        self.header(path, "", &header(EntryType::Regular, mode, mtime, size))
    }

    pub(super) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    pub(super) fn pad(&mut self, size: u64) -> io::Result<()> {
        self.0.write_all(&ZEROS[..padding(size)])
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    /// A name that is too long for its field goes before, in an entry of its own.
    fn header(&mut self, path: &str, target: &str, header: &Header) -> io::Result<()> {
        for (name, kind) in [(target, EntryType::GNULongLink), (path, EntryType::GNULongName)] {
            if name.len() > NAME_FIELD {
                let size = name.len() as u64 + 1;
                self.0
                    .write_all(named(header_of_name(kind, size), LONG_NAME, "").as_bytes())?;
                self.0.write_all(name.as_bytes())?;
                self.0.write_all(&[0])?;
                self.pad(size)?;
            }
        }
        self.0.write_all(named(header.clone(), path, target).as_bytes())
    }
}

fn header(kind: EntryType, mode: u32, mtime: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(mtime);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn header_of_name(kind: EntryType, size: u64) -> Header {
    header(kind, 0, 0, size)
}

/// Fills in the bytes: `Header::set_path` has rules of its own.
fn named(mut header: Header, path: &str, target: &str) -> Header {
    if let Some(gnu) = header.as_gnu_mut() {
        fill(&mut gnu.name, path);
        fill(&mut gnu.linkname, target);
    }
    header.set_cksum();
    header
}

fn fill(field: &mut [u8; NAME_FIELD], text: &str) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}

/// How many bytes a content lacks to whole blocks.
pub(super) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    (BLOCK - over) % BLOCK
}
