//! Sends the files that go with an image: packed while they are sent, never whole in memory.

use crate::{
    client::{Session, Shell, request_id},
    failure::{Exit, Failure},
    output::{bytes, plural},
};
use proto::editor::v1::{
    UploadContextRequest, UploadContextResponse, UploadStart, UploadedContext, upload_context_request::Part,
};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Large enough that the chunks cost nothing, small enough that several are under way.
const CHUNK_BYTES: usize = 512 * 1024;
const CHUNKS_UNDER_WAY: usize = 4;
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How gzip, zstd, xz and bzip2 files begin.
const COMPRESSED: [&[u8]; 4] = [
    &[0x1f, 0x8b],
    &[0x28, 0xb5, 0x2f, 0xfd],
    &[0xfd, b'7', b'z', b'X', b'Z'],
    b"BZh",
];

/// Where the files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Directory(PathBuf),
    Tar(PathBuf),
    /// A tar.
    Stdin,
}

impl Source {
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdin);
        }
        let kind = path.metadata().map_err(|error| unreadable(path, &error))?;
        if kind.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let mut start = [0; 6];
        let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let length = file.read(&mut start).map_err(|error| unreadable(path, &error))?;
        if COMPRESSED.iter().any(|magic| start[..length].starts_with(magic)) {
            let sentence = format!("{} is compressed: unpack it, or give the plain tar", path.display());
            return Err(Failure::new(Exit::Invalid, sentence));
        }
        Ok(Self::Tar(path.to_owned()))
    }

    /// The Dockerfile of its root, if it has one. A stream can't be searched and then sent.
    pub(crate) fn dockerfile(&self) -> Result<Option<String>, Failure> {
        match self {
            Self::Directory(folder) => {
                let path = folder.join("Dockerfile");
                if path.is_file() {
                    read_text(&path).map(Some)
                } else {
                    Ok(None)
                }
            }
            Self::Tar(path) => dockerfile_in(path).map_err(|error| unreadable(path, &error)),
            Self::Stdin => Ok(None),
        }
    }

    /// Reads all files of a directory once, so that what can't be read is known before anything is made.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        let Self::Directory(folder) = self.clone() else {
            return Ok(());
        };
        let read = tokio::task::spawn_blocking(move || context::tar_directory(folder, io::sink()).map(drop));
        match read.await {
            Ok(Err(error)) => Err(unpackable(&error)),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    fn pack(self, mut chunks: Chunks) -> io::Result<()> {
        match self {
            Self::Directory(folder) => {
                context::tar_directory(folder, &mut chunks)?;
            }
            Self::Tar(path) => {
                io::copy(&mut File::open(path)?, &mut chunks)?;
            }
            Self::Stdin => {
                io::copy(&mut io::stdin().lock(), &mut chunks)?;
            }
        }
        chunks.flush()
    }
}

/// Reads a text file, or says why it can't be read.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    String::from_utf8(bytes).map_err(|_| Failure::new(Exit::Invalid, format!("{} is not UTF-8 text", path.display())))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let cause = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        _ => error.to_string(),
    };
    Failure::new(Exit::Invalid, format!("{} can't be read: {cause}", path.display()))
}

fn unpackable(error: &io::Error) -> Failure {
    Failure::new(Exit::Invalid, format!("the files can't be read: {error}"))
}

fn dockerfile_in(tar: &Path) -> io::Result<Option<String>> {
    let mut archive = tar::Archive::new(File::open(tar)?);
    for entry in archive.entries_with_seek()? {
        let mut entry = entry?;
        let path = entry.path()?;
        if path.strip_prefix("./").unwrap_or(&path) == Path::new("Dockerfile") {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// Uploads files for an image.
pub(crate) async fn upload(
    shell: &Shell,
    session: &Session,
    image: &str,
    source: &Source,
) -> Result<UploadedContext, Failure> {
    let start = UploadStart {
        request_id: request_id(),
        image: image.to_owned(),
    };
    let mut attempt = 1;
    let answer = loop {
        match Box::pin(attempted(shell, session, start.clone(), source.clone())).await {
            // What came from stdin is gone.
            Err(failure) if failure.exit() == Exit::Unavailable && *source != Source::Stdin && attempt < ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            ended => break ended?,
        }
    };
    session.saw(answer.position);
    let context = answer.context.unwrap_or_default();
    let files = plural(i64::from(context.files), "file");
    shell
        .output
        .notice(format!("attached {files}, {}", bytes(context.size_bytes)));
    Ok(context)
}

async fn attempted(
    shell: &Shell,
    session: &Session,
    start: UploadStart,
    source: Source,
) -> Result<UploadContextResponse, Failure> {
    let (sender, receiver) = mpsc::channel(CHUNKS_UNDER_WAY);
    let sent = Arc::new(AtomicU64::new(0));
    let first = UploadContextRequest {
        part: Some(Part::Start(start)),
    };
    // Cannot fail: the channel is empty and open.
    let _ = sender.send(first).await;
    let chunks = Chunks {
        buffer: Vec::with_capacity(CHUNK_BYTES),
        sender: sender.clone(),
        sent: sent.clone(),
    };
    let mut packed = pin!(tokio::task::spawn_blocking(move || source.pack(chunks)));
    let mut editor = session.patient().editor();
    let mut answer = pin!(editor.upload_context(ReceiverStream::new(receiver)));
    // This half stays open until the files are packed whole: a stream that ends says that it is complete.
    let mut open = Some(sender);
    let mut is_packing = true;
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    let shows_progress = shell.output.margin.terminal;
    let ended = loop {
        tokio::select! {
            answer = &mut answer => break answer.map(tonic::Response::into_inner).map_err(Failure::from),
            ended = &mut packed, if is_packing => {
                is_packing = false;
                match ended {
                    Ok(Ok(())) => drop(open.take()),
                    // The server does not listen any more: its answer says why.
                    Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
                    Ok(Err(error)) => break Err(unpackable(&error)),
                    Err(_) => break Err(Failure::new(Exit::Internal, "the files can't be packed: their thread died")),
                }
            }
            _ = ticks.tick(), if shows_progress => progress(shell, &sent, "\x1b[K"),
        }
    };
    if shows_progress {
        shell.output.aside(b"\r\x1b[K");
    }
    ended
}

fn progress(shell: &Shell, sent: &AtomicU64, rest: &str) {
    let sent = i64::try_from(sent.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
    shell
        .output
        .aside(format!("\rsending files: {}{rest}", bytes(sent)).as_bytes());
}

/// Cuts what is written into chunks, and waits while too many are under way.
struct Chunks {
    buffer: Vec<u8>,
    sender: mpsc::Sender<UploadContextRequest>,
    sent: Arc<AtomicU64>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES));
        let length = chunk.len() as u64;
        let message = UploadContextRequest {
            part: Some(Part::Chunk(chunk.into())),
        };
        self.sender
            .blocking_send(message)
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.sent.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks() -> (Chunks, mpsc::Receiver<UploadContextRequest>) {
        let (sender, receiver) = mpsc::channel(CHUNKS_UNDER_WAY);
        let chunks = Chunks {
            buffer: Vec::new(),
            sender,
            sent: Arc::default(),
        };
        (chunks, receiver)
    }

    #[test]
    fn what_is_written_is_cut_into_chunks() {
        let (mut chunks, mut receiver) = chunks();
        let written = vec![7; CHUNK_BYTES * 2 + 10];
        chunks.write_all(&written).unwrap();
        chunks.flush().unwrap();
        drop(chunks);
        let mut lengths = Vec::new();
        while let Some(message) = receiver.blocking_recv() {
            let Some(Part::Chunk(chunk)) = message.part else {
                panic!("not a chunk")
            };
            lengths.push(chunk.len());
        }
        assert_eq!(lengths, [CHUNK_BYTES, CHUNK_BYTES, 10]);
    }

    #[test]
    fn packing_ends_when_nobody_listens() {
        let (mut chunks, receiver) = chunks();
        drop(receiver);
        let error = chunks.write_all(&vec![7; CHUNK_BYTES]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_source_is_a_directory_a_tar_or_stdin() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Source::of(Path::new("-")).unwrap(), Source::Stdin);
        assert_eq!(
            Source::of(folder.path()).unwrap(),
            Source::Directory(folder.path().to_owned())
        );
        let absent = Source::of(&folder.path().join("absent")).unwrap_err();
        assert_eq!(absent.exit(), Exit::Invalid);
        let zipped = folder.path().join("files.tar.gz");
        std::fs::write(&zipped, [0x1f, 0x8b, 8, 0]).unwrap();
        assert!(Source::of(&zipped).unwrap_err().to_string().contains("is compressed"));
    }

    #[test]
    fn the_dockerfile_of_the_root_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::Directory(folder.path().to_owned());
        assert_eq!(source.dockerfile().unwrap(), None);
        std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        assert_eq!(source.dockerfile().unwrap().as_deref(), Some("FROM scratch\n"));

        let path = folder.path().join("files.tar");
        for (name, found) in [("./deep/Dockerfile", None), ("./Dockerfile", Some("FROM scratch\n"))] {
            let mut tar = tar::Builder::new(File::create(&path).unwrap());
            tar.append_path_with_name(folder.path().join("Dockerfile"), name)
                .unwrap();
            tar.finish().unwrap();
            assert_eq!(
                Source::Tar(path.clone()).dockerfile().unwrap().as_deref(),
                found,
                "{name}"
            );
        }
    }
}
