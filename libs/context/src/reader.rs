//! Reads uploaded tar strictly: what two readers could understand differently is refused (CVE-2025-62518).

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::{
    ContextRefused,
    archive::{BLOCK, padding},
};

/// Long names and PAX records; more is an attack.
const EXTENSION_MAX: u64 = 1024 * 1024;
/// Zeros after the end: as much as a tape's blocking factor makes.
const TRAILER_MAX: usize = 1024 * 1024;

pub(super) struct Reader<R> {
    from: R,
    /// Counts the entries from 1.
    number: u64,
    /// Content of the current entry that was not read yet.
    left: u64,
    padding: usize,
}

pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) mtime: u64,
}

pub(super) enum Kind {
    File { size: u64 },
    Directory,
    Symlink { target: Vec<u8> },
    HardLink { target: Vec<u8> },
}

/// What entries before an entry say about it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            number: 0,
            left: 0,
            padding: 0,
        }
    }

    /// The content of the entry that `next` answered.
    pub(super) fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    pub(super) fn next(&mut self) -> Result<Option<Entry>, ContextRefused> {
        let mut extension = Extension::default();
        loop {
            self.skip()?;
            self.number += 1;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header.entry_size().map_err(|_| self.not_tar())?;
            let kind = header.entry_type();
            (self.left, self.padding) = (size, padding(size));
            match kind {
                EntryType::GNULongName => set(&mut extension.path, self.long_name(size)?, self.number)?,
                EntryType::GNULongLink => set(&mut extension.target, self.long_name(size)?, self.number)?,
                EntryType::XHeader => self.records(size, &mut extension)?,
                EntryType::XGlobalHeader => {
                    // `git archive` writes its commit there; names and sizes for all entries would be a trick
                    let mut global = Extension::default();
                    self.records(size, &mut global)?;
                    if global.path.is_some() || global.target.is_some() || global.size.is_some() {
                        return Err(ContextRefused::Ambiguous { entry: self.number });
                    }
                }
                _ => return self.entry(&header, kind, size, extension).map(Some),
            }
        }
    }

    fn entry(
        &self,
        header: &Header,
        kind: EntryType,
        size: u64,
        extension: Extension,
    ) -> Result<Entry, ContextRefused> {
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let target = || {
            extension
                .target
                .clone()
                .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
                .unwrap_or_default()
        };
        if extension.size.is_some_and(|other| other != size) {
            return Err(ContextRefused::Ambiguous { entry: self.number });
        }
        let kind = match kind {
            // before POSIX a directory was a file whose name ends with a slash
            EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular => Kind::File { size },
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink { target: target() },
            EntryType::Link => Kind::HardLink { target: target() },
            other => {
                return Err(ContextRefused::EntryType {
                    entry: self.number,
                    path: String::from_utf8_lossy(&path).into_owned(),
                    kind: name(other),
                });
            }
        };
        if size > 0 && !matches!(kind, Kind::File { .. }) {
            return Err(ContextRefused::Ambiguous { entry: self.number });
        }
        Ok(Entry {
            number: self.number,
            path,
            kind,
            mode: header.mode().unwrap_or(0o644) & 0o777,
            mtime: header.mtime().unwrap_or(0),
        })
    }

    /// `None` after the last entry.
    fn header(&mut self) -> Result<Option<Header>, ContextRefused> {
        let block = self.block()?;
        if block == [0; BLOCK] {
            if self.block()? != [0; BLOCK] {
                return Err(self.not_tar());
            }
            return self.trailer().map(|()| None);
        }
        if self.number == 1
            && let Some(format) = compression(&block)
        {
            return Err(ContextRefused::Compressed { format });
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        let sum: u32 = block[..148]
            .iter()
            .chain(&[b' '; 8])
            .chain(&block[156..])
            .map(|byte| u32::from(*byte))
            .sum();
        if header.cksum().ok() != Some(sum) {
            return Err(self.not_tar());
        }
        Ok(Some(header))
    }

    fn block(&mut self) -> Result<[u8; BLOCK], ContextRefused> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.from.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Err(ContextRefused::CutOff),
                // too short for a block, so perhaps too short for a tar at all
                Ok(0) => {
                    return Err(compression(&block)
                        .map_or(ContextRefused::CutOff, |format| ContextRefused::Compressed { format }));
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ContextRefused::Read(error)),
            }
        }
        Ok(block)
    }

    fn trailer(&mut self) -> Result<(), ContextRefused> {
        let mut buffer = [0; 8192];
        let mut total = 0;
        loop {
            match self.from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => {
                    total += read;
                    if total > TRAILER_MAX || buffer[..read].iter().any(|byte| *byte != 0) {
                        return Err(ContextRefused::Trailing);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ContextRefused::Read(error)),
            }
        }
    }

    fn skip(&mut self) -> Result<(), ContextRefused> {
        let rest = self.left + self.padding as u64;
        (self.left, self.padding) = (0, 0);
        match io::copy(&mut (&mut self.from).take(rest), &mut io::sink()) {
            Ok(skipped) if skipped == rest => Ok(()),
            Ok(_) => Err(ContextRefused::CutOff),
            Err(error) => Err(ContextRefused::Read(error)),
        }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ContextRefused> {
        if size > EXTENSION_MAX {
            return Err(ContextRefused::Ambiguous { entry: self.number });
        }
        let mut bytes = Vec::new();
        self.content().read_to_end(&mut bytes).map_err(ContextRefused::Read)?;
        if bytes.len() as u64 != size {
            return Err(ContextRefused::CutOff);
        }
        Ok(bytes)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, ContextRefused> {
        let mut name = self.extension(size)?;
        if name.pop_if(|last| *last == 0).is_none() || name.contains(&0) {
            return Err(ContextRefused::Ambiguous { entry: self.number });
        }
        Ok(name)
    }

    /// PAX: `<length> <key>=<value>\n`, the length counting itself.
    fn records(&mut self, size: u64, into: &mut Extension) -> Result<(), ContextRefused> {
        let bytes = self.extension(size)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or(ContextRefused::Ambiguous { entry: self.number })?;
            match key {
                "path" => set(&mut into.path, value.to_vec(), self.number)?,
                "linkpath" => set(&mut into.target, value.to_vec(), self.number)?,
                "size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    set(
                        &mut into.size,
                        size.ok_or(ContextRefused::Ambiguous { entry: self.number })?,
                        self.number,
                    )?;
                }
                key if key.starts_with("GNU.sparse") => {
                    return Err(ContextRefused::EntryType {
                        entry: self.number,
                        path: String::new(),
                        kind: "a sparse file",
                    });
                }
                // owners, times and extended attributes are not part of a context
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }

    fn not_tar(&self) -> ContextRefused {
        ContextRefused::NotTar { entry: self.number }
    }
}

/// Reads to the end of the current entry's content.
pub(super) struct Content<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.0.from).take(self.0.left).read(buffer)?;
        self.0.left -= read as u64;
        Ok(read)
    }
}

/// Said twice is ambiguous.
fn set<T>(field: &mut Option<T>, value: T, entry: u64) -> Result<(), ContextRefused> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(ContextRefused::Ambiguous { entry }),
    }
}

fn record(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((
        std::str::from_utf8(&record[..equals]).ok()?,
        &record[equals + 1..],
        &bytes[length..],
    ))
}

fn compression(block: &[u8; BLOCK]) -> Option<&'static str> {
    match block {
        [0x1f, 0x8b, ..] => Some("gzip"),
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some("xz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        [b'P', b'K', 3, 4, ..] => Some("zip"),
        _ => None,
    }
}

fn name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a named pipe",
        EntryType::GNUSparse => "a sparse file",
        _ => "of an unknown type",
    }
}
