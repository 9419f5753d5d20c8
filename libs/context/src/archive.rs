//! Writes canonical tar: GNU headers, no owners, only what a build can see of a file.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

pub(super) const BLOCK: usize = 512;
/// Two blocks of zeros end an archive.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
/// The name that GNU tar gives to an entry which only carries a long name.
const LONG_NAME: &str = "././@LongLink";

/// Does not write the end by itself, so that archives can be joined.
pub struct Writer<W> {
    to: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub fn new(to: W) -> Self {
        Self {
            to,
            buffer: vec![0; 128 * 1024],
        }
    }

    pub fn directory(&mut self, path: &str, mode: u32, mtime: u64) -> io::Result<()> {
        self.header(&format!("{path}/"), None, EntryType::Directory, mode, mtime, 0)
    }

    pub fn symlink(&mut self, path: &str, target: &str, mtime: u64) -> io::Result<()> {
        self.header(path, Some(target), EntryType::Symlink, 0o777, mtime, 0)
    }

    pub fn hard_link(&mut self, path: &str, target: &str, mode: u32, mtime: u64) -> io::Result<()> {
        self.header(path, Some(target), EntryType::Link, mode, mtime, 0)
    }

    /// Takes exactly `size` bytes from `content`; `UnexpectedEof` when it has fewer.
    pub fn file(&mut self, path: &str, mode: u32, mtime: u64, size: u64, content: impl Read) -> io::Result<()> {
        self.header(path, None, EntryType::Regular, mode, mtime, size)?;
        self.content(size, content)
    }

    /// Writes the end.
    pub fn finish(mut self) -> io::Result<()> {
        self.to.write_all(&END)?;
        self.to.flush()
    }

    /// Leaves the archive open.
    pub fn flush(mut self) -> io::Result<()> {
        self.to.flush()
    }

    fn content(&mut self, size: u64, mut content: impl Read) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
            let read = match content.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.to.write_all(&self.buffer[..read])?;
            left -= read as u64;
        }
        self.to.write_all(&END[..padding(size)])
    }

    fn header(
        &mut self,
        path: &str,
        target: Option<&str>,
        kind: EntryType,
        mode: u32,
        mtime: u64,
        size: u64,
    ) -> io::Result<()> {
        if let Some(target) = target {
            self.long_name(target, EntryType::GNULongLink)?;
        }
        self.long_name(path, EntryType::GNULongName)?;
        self.to
            .write_all(block(path, target.unwrap_or_default(), kind, mode, mtime, size).as_bytes())
    }

    /// Names of more than 100 bytes go before, in an entry of their own.
    fn long_name(&mut self, name: &str, kind: EntryType) -> io::Result<()> {
        if name.len() <= 100 {
            return Ok(());
        }
        let size = name.len() as u64 + 1;
        self.to.write_all(block(LONG_NAME, "", kind, 0, 0, size).as_bytes())?;
        self.content(size, name.as_bytes().chain(&[0_u8][..]))
    }
}

fn block(path: &str, target: &str, kind: EntryType, mode: u32, mtime: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(mtime);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    if let Some(gnu) = header.as_gnu_mut() {
        fill(&mut gnu.name, path);
        fill(&mut gnu.linkname, target);
    }
    header.set_cksum();
    header
}

/// Bytes, not `set_path`: that one normalises by rules of its own.
fn fill(field: &mut [u8; 100], text: &str) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}

/// How many bytes are missing to a full block.
pub(super) fn padding(size: u64) -> usize {
    usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0)
}
