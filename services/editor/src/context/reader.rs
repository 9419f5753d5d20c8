//! Reads tar strictly: what two readers could understand in two ways is refused (CVE-2025-62518).
//!
//! Not `tar::Archive`, which holds long names of any length in memory and lets sizes contradict each other.

use super::{
    ContextRefused,
    writer::{BLOCK, padding},
};
use std::io::{self, Read};
use tar::{EntryType, Header};

/// Long names and PAX records of one entry; more is an attack.
const EXTENSION_BYTES_MAX: u64 = 1024 * 1024;
/// Of all entries together: a hundred thousand with a few records each need a tenth of it.
const EXTENSIONS_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Headers before that of an entry: a long name, a long target, records of its own and of all.
const EXTENSIONS_MAX: usize = 8;
/// Zeros after the end: as much as the blocking factor of a tape makes.
const TRAILER_BYTES_MAX: usize = 1024 * 1024;

pub(super) struct Reader<R> {
    from: R,
    begun: bool,
    /// Entries so far, with the one that is being read.
    number: u64,
    extensions_bytes: u64,
    /// Content of the current entry that was not read yet, and what fills its last block.
    left: u64,
    padding: usize,
}

pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    /// Seconds since 1970.
    pub(super) mtime: u64,
}

pub(super) enum Kind {
    File { size: u64 },
    Directory,
    Symlink { target: Vec<u8> },
    HardLink { target: Vec<u8> },
}

/// What goes before an entry and is about it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            begun: false,
            number: 0,
            extensions_bytes: 0,
            left: 0,
            padding: 0,
        }
    }

    /// The next entry. What was not read of the one before is passed over.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ContextRefused> {
        let mut extension = Extension::default();
        self.number += 1;
        for _ in 0..=EXTENSIONS_MAX {
            self.pass()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header.entry_size().map_err(|_| self.not_tar())?;
            (self.left, self.padding) = (size, padding(size));
            match header.entry_type() {
                EntryType::GNULongName => {
                    let name = self.long_name(size)?;
                    self.set(&mut extension.path, name)?;
                }
                EntryType::GNULongLink => {
                    let name = self.long_name(size)?;
                    self.set(&mut extension.target, name)?;
                }
                EntryType::XHeader => self.records(size, &mut extension)?,
                EntryType::XGlobalHeader => {
                    // `git archive` puts its commit there. A name or a size for all entries would be a trick.
                    let mut global = Extension::default();
                    self.records(size, &mut global)?;
                    if global.path.is_some() || global.target.is_some() || global.size.is_some() {
                        return Err(self.ambiguous());
                    }
                }
                kind => return self.entry(&header, kind, size, extension).map(Some),
            }
        }
        Err(self.ambiguous())
    }

    /// Reads on in the content of the current entry; 0 at its end.
    pub(super) fn content(&mut self, buffer: &mut [u8]) -> Result<usize, ContextRefused> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        match self.read(&mut buffer[..wanted])? {
            0 => Err(ContextRefused::CutOff),
            read => {
                self.left -= read as u64;
                Ok(read)
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
        if extension.size.is_some_and(|other| other != size) {
            return Err(self.ambiguous());
        }
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let target = || {
            let named = || header.link_name_bytes().unwrap_or_default().into_owned();
            extension.target.clone().unwrap_or_else(named)
        };
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous if extension.sparse => {
                return Err(self.entry_type(&path, EntryType::GNUSparse));
            }
            // Before POSIX, a directory was a file whose name ends with a slash.
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File { size },
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink { target: target() },
            EntryType::Link => Kind::HardLink { target: target() },
            other => return Err(self.entry_type(&path, other)),
        };
        if size > 0 && !matches!(kind, Kind::File { .. }) {
            return Err(self.ambiguous());
        }
        Ok(Entry {
            number: self.number,
            path,
            kind,
            mode: header.mode().unwrap_or(0o644) & 0o777,
            mtime: header.mtime().unwrap_or_default(),
        })
    }

    /// `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, ContextRefused> {
        let block = self.block()?;
        if block == [0; BLOCK] {
            if self.block()? != [0; BLOCK] {
                return Err(self.not_tar());
            }
            return self.trailer().map(|()| None);
        }
        let format = compression(&block).filter(|_| !self.begun);
        if let Some(format) = format {
            return Err(ContextRefused::Compressed { format });
        }
        self.begun = true;
        let header = Header::from_byte_slice(&block).clone();
        let bytes = block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]);
        let sum: u32 = bytes.map(|byte| u32::from(*byte)).sum();
        if header.cksum().ok() != Some(sum) {
            return Err(self.not_tar());
        }
        Ok(Some(header))
    }

    fn block(&mut self) -> Result<[u8; BLOCK], ContextRefused> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..])? {
                0 => {
                    // Too short for a block, so perhaps no tar at all.
                    let format = compression(&block).filter(|_| !self.begun);
                    return Err(format.map_or(ContextRefused::CutOff, |format| ContextRefused::Compressed { format }));
                }
                read => filled += read,
            }
        }
        Ok(block)
    }

    fn trailer(&mut self) -> Result<(), ContextRefused> {
        let mut buffer = [0; 8 * 1024];
        let mut total = 0;
        loop {
            let read = self.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            total += read;
            if total > TRAILER_BYTES_MAX || buffer[..read].iter().any(|byte| *byte != 0) {
                return Err(ContextRefused::Trailing);
            }
        }
    }

    fn pass(&mut self) -> Result<(), ContextRefused> {
        let rest = self.left.saturating_add(self.padding as u64);
        (self.left, self.padding) = (0, 0);
        let passed = io::copy(&mut (&mut self.from).take(rest), &mut io::sink()).map_err(ContextRefused::Read)?;
        if passed < rest {
            Err(ContextRefused::CutOff)
        } else {
            Ok(())
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ContextRefused> {
        loop {
            match self.from.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                read => return read.map_err(ContextRefused::Read),
            }
        }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ContextRefused> {
        self.extensions_bytes = self.extensions_bytes.saturating_add(size);
        if size > EXTENSION_BYTES_MAX || self.extensions_bytes > EXTENSIONS_BYTES_MAX {
            return Err(self.ambiguous());
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += self.content(&mut bytes[filled..])?;
        }
        Ok(bytes)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, ContextRefused> {
        let mut name = self.extension(size)?;
        if name.pop_if(|last| *last == 0).is_none() || name.contains(&0) {
            return Err(self.ambiguous());
        }
        Ok(name)
    }

    /// PAX: `<length> <key>=<value>\n`, the length counting itself. Owners and attributes are not part of a context.
    fn records(&mut self, size: u64, into: &mut Extension) -> Result<(), ContextRefused> {
        let bytes = self.extension(size)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or_else(|| self.ambiguous())?;
            match key {
                "path" => self.set(&mut into.path, value.to_vec())?,
                "linkpath" => self.set(&mut into.target, value.to_vec())?,
                "size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.set(&mut into.size, size.ok_or_else(|| self.ambiguous())?)?;
                }
                key => into.sparse |= key.starts_with("GNU.sparse"),
            }
            rest = after;
        }
        Ok(())
    }

    /// What is said twice is ambiguous.
    fn set<T>(&self, field: &mut Option<T>, value: T) -> Result<(), ContextRefused> {
        match field.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.ambiguous()),
        }
    }

    fn not_tar(&self) -> ContextRefused {
        ContextRefused::NotTar { entry: self.number }
    }

    fn ambiguous(&self) -> ContextRefused {
        ContextRefused::Ambiguous { entry: self.number }
    }

    fn entry_type(&self, path: &[u8], kind: EntryType) -> ContextRefused {
        ContextRefused::EntryType {
            entry: self.number,
            path: String::from_utf8_lossy(path).into_owned(),
            kind: match kind {
                EntryType::Char | EntryType::Block => "a device",
                EntryType::Fifo => "a named pipe",
                EntryType::GNUSparse => "a sparse file",
                _ => "of an unknown type",
            },
        }
    }
}

fn record(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let (record, after) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((
        std::str::from_utf8(&record[..equals]).ok()?,
        &record[equals + 1..],
        after,
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
