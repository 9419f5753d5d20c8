//! An upload on its way: from the client's messages through the rewriter into the store, never whole in memory.
//!
//! Rewriting and storing run on threads of their own, which outlive the call: when the client goes away they find
//! that the pieces stop without an end, and leave nothing behind.

use anyhow::anyhow;
use bytes::Bytes;
use context::{ContextRefused, Limits, Rewritten, Summary, canonicalize, leave_out};
use eventlog::{Blobs, LogError};
use futures::{Stream, StreamExt as _};
use proto::editor::v1::{UploadContextRequest, UploadedContext, upload_context_request::Part};
use service::{Failure, Ids, invalid, outage, status, with_metadata};
use std::{
    io::{self, Write},
    time::Duration,
};
use tokio::{
    io::AsyncRead,
    runtime::Handle,
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};
use tokio_util::io::{StreamReader, SyncIoBridge};
use tonic::{Code, Status};

const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Pieces that wait on each side of the rewriter.
const WAITING: usize = 2;
/// How long a client may send nothing, and how long it may send in all.
const IDLE: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_hours(6);

/// Only what has an end is whole.
enum Piece {
    Bytes(Bytes),
    End,
}

/// Takes the rest of an upload, after its first message.
pub(crate) async fn receive(
    messages: impl Stream<Item = Result<UploadContextRequest, Status>>,
    ids: &Ids,
    limits: Limits,
    blobs: Blobs,
) -> Result<UploadedContext, Failure> {
    let (sender, received) = mpsc::channel(WAITING);
    let first = rewrite(until_end(received), move |from, to| canonicalize(from, to, &limits));
    let first = Storing::begin(first, &blobs, ids);
    let fed = timeout(LONGEST, feed(messages, sender))
        .await
        .unwrap_or_else(|_| Err(too_slow()));
    // The client's own end comes first: without it, the others can't have a good one.
    fed?;
    let (Rewritten { summary, late }, digest) = first.end().await?;
    let Some(ignore) = late else {
        return Ok(uploaded(summary, digest));
    };
    // What `.dockerignore` came too late for is stored by now. No revision will have it, so it is removed in time.
    let stored = blobs.get(&digest).await?;
    let stored = stored.ok_or_else(|| anyhow!("what was just stored is gone"))?;
    let second = rewrite(stored, move |from, to| leave_out(from, to, &limits, ignore));
    let (summary, digest) = Storing::begin(second, &blobs, ids).end().await?;
    Ok(uploaded(summary, digest))
}

fn uploaded(summary: Summary, digest: String) -> UploadedContext {
    UploadedContext {
        digest,
        size_bytes: i64::try_from(summary.bytes).unwrap_or(i64::MAX),
        files: u32::try_from(summary.files).unwrap_or(u32::MAX),
    }
}

/// An archive that is rewritten, and stored as it is.
struct Storing<T> {
    rewriting: JoinHandle<Result<T, ContextRefused>>,
    storing: JoinHandle<Result<String, LogError>>,
}

impl<T> Storing<T> {
    fn begin(
        (rewriting, archive): (
            JoinHandle<Result<T, ContextRefused>>,
            impl AsyncRead + Send + Unpin + 'static,
        ),
        blobs: &Blobs,
        ids: &Ids,
    ) -> Self {
        let (name, blobs, runtime) = (ids.next().to_string(), blobs.clone(), Handle::current());
        Self {
            rewriting,
            storing: spawn_blocking(move || runtime.block_on(blobs.put(&name, archive))),
        }
    }

    /// What the rewriter says, and the digest of what is stored.
    async fn end(self) -> Result<(T, String), Failure> {
        let rewritten = self.rewriting.await.map_err(|error| outage(&error))?;
        let stored = self.storing.await.map_err(|error| outage(&error))?;
        match (rewritten, stored) {
            (Ok(rewritten), Ok(digest)) => Ok((rewritten, digest)),
            (Ok(_) | Err(ContextRefused::Write(_)), Err(error)) => Err(error.into()),
            (Err(refused), _) => Err(refusal(&refused).into()),
        }
    }
}

/// Reads an archive, and yields it as it is stored.
fn rewrite<R, T, F>(
    from: R,
    with: F,
) -> (
    JoinHandle<Result<T, ContextRefused>>,
    impl AsyncRead + Send + Unpin + use<R, T, F>,
)
where
    R: AsyncRead + Send + Unpin + 'static,
    T: Send + 'static,
    F: FnOnce(SyncIoBridge<R>, &mut Sending) -> Result<T, ContextRefused> + Send + 'static,
{
    let (sender, rewritten) = mpsc::channel(WAITING);
    let from = SyncIoBridge::new(from);
    let rewriting = spawn_blocking(move || {
        let mut to = Sending(sender);
        let ended = with(from, &mut to)?;
        to.send(Piece::End).map_err(ContextRefused::Write)?;
        Ok(ended)
    });
    (rewriting, until_end(rewritten))
}

/// Passes the client's chunks on, until its end or until nobody wants more.
async fn feed(
    messages: impl Stream<Item = Result<UploadContextRequest, Status>>,
    to: mpsc::Sender<Piece>,
) -> Result<(), Status> {
    let mut messages = std::pin::pin!(messages);
    loop {
        let next = tokio::select! {
            next = timeout(IDLE, messages.next()) => next,
            // A refusal ends the other side before its time, and says why.
            () = to.closed() => return Ok(()),
        };
        let message = next.map_err(|_| too_slow())?;
        let piece = match message.transpose()?.map(|message| message.part) {
            None => Piece::End,
            Some(Some(Part::Chunk(bytes))) if bytes.len() <= CHUNK_BYTES_MAX => Piece::Bytes(bytes),
            Some(Some(Part::Chunk(bytes))) => {
                let sentence = format!("{} bytes, at most {CHUNK_BYTES_MAX} are allowed", bytes.len());
                return Err(invalid("chunk", sentence));
            }
            Some(Some(Part::Start(_)) | None) => return Err(invalid("chunk", "only the first message has no chunk")),
        };
        let is_end = matches!(piece, Piece::End);
        if to.send(piece).await.is_err() || is_end {
            return Ok(());
        }
    }
}

/// Reads pieces. Where they stop without an end, it fails.
fn until_end(pieces: mpsc::Receiver<Piece>) -> impl AsyncRead + Send + Unpin {
    let bytes = futures::stream::try_unfold(pieces, async |mut pieces| match pieces.recv().await {
        Some(Piece::Bytes(bytes)) => Ok(Some((bytes, pieces))),
        Some(Piece::End) => Ok(None),
        None => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
    });
    StreamReader::new(Box::pin(bytes))
}

/// Writes pieces, from a thread that may wait.
struct Sending(mpsc::Sender<Piece>);

impl Sending {
    fn send(&self, piece: Piece) -> io::Result<()> {
        self.0
            .blocking_send(piece)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(Piece::Bytes(Bytes::copy_from_slice(bytes)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn too_slow() -> Status {
    let sentence = "the upload got stuck or took too long, nothing was kept: send it again";
    status(Code::DeadlineExceeded, "UPLOAD_INTERRUPTED", sentence)
}

fn refusal(refused: &ContextRefused) -> Status {
    let sentence = refused.to_string();
    match refused {
        ContextRefused::Read(_) | ContextRefused::Write(_) => status(Code::Cancelled, refused.reason(), sentence),
        _ => match refused.limit() {
            Some(limit) => with_metadata(
                Code::ResourceExhausted,
                refused.reason(),
                sentence,
                [("limit", limit.to_string())],
            ),
            None => status(Code::InvalidArgument, refused.reason(), sentence),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use proto::editor::v1::UploadStart;
    use tokio::io::AsyncReadExt as _;

    const LIMITS: Limits = Limits {
        bytes: 1_000_000,
        entries: 10,
    };

    fn message(part: Part) -> UploadContextRequest {
        UploadContextRequest { part: Some(part) }
    }

    fn chunks(bytes: &[u8]) -> Vec<Result<UploadContextRequest, Status>> {
        let chunks = bytes
            .chunks(1_000)
            .map(|chunk| Ok(message(Part::Chunk(Bytes::copy_from_slice(chunk)))));
        chunks.collect()
    }

    fn archive() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5_000);
        tar.append_data(&mut header, "a", &[b'x'; 5_000][..]).unwrap();
        tar.into_inner().unwrap()
    }

    /// What happens to what a client sends.
    async fn uploaded(
        messages: impl Stream<Item = Result<UploadContextRequest, Status>>,
    ) -> (
        Result<(), Status>,
        Result<Rewritten, ContextRefused>,
        io::Result<Vec<u8>>,
    ) {
        let (sender, received) = mpsc::channel(WAITING);
        let (rewritten, mut archive) = rewrite(until_end(received), |from, to| canonicalize(from, to, &LIMITS));
        let mut stored = Vec::new();
        let (fed, read) = tokio::join!(feed(messages, sender), archive.read_to_end(&mut stored));
        (fed, rewritten.await.unwrap(), read.map(|_| stored))
    }

    #[tokio::test]
    async fn an_archive_arrives_in_pieces_of_any_size() {
        let (fed, summary, stored) = uploaded(stream::iter(chunks(&archive()))).await;
        assert!(fed.is_ok());
        assert_eq!(summary.unwrap().summary, Summary { files: 1, bytes: 5_000 });
        assert_eq!(stored.unwrap().len(), 512 + 5_120);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_has_stored_nothing() {
        let mut sent = chunks(&archive()[..3_000]);
        sent.push(Err(Status::cancelled("the client went away")));
        let (fed, rewritten, stored) = uploaded(stream::iter(sent)).await;
        assert_eq!(fed.unwrap_err().code(), Code::Cancelled);
        assert!(matches!(rewritten, Err(ContextRefused::Read(_))));
        assert_eq!(stored.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);

        // Also when all of the archive was there, but not its end.
        let mut sent = chunks(&archive());
        sent.push(Err(Status::cancelled("the client went away")));
        assert!(uploaded(stream::iter(sent)).await.2.is_err());
    }

    #[tokio::test]
    async fn a_refusal_does_not_wait_for_the_rest() {
        let endless = stream::repeat_with(|| Ok(message(Part::Chunk(Bytes::from_static(&[b'x'; 1_024])))));
        let (fed, rewritten, stored) = uploaded(endless).await;
        assert!(fed.is_ok());
        assert!(stored.is_err());
        let status = refusal(&rewritten.unwrap_err());
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "entry 1 has no valid header; upload a tar archive");
    }

    #[tokio::test]
    async fn chunks_are_small_and_nothing_else_follows_the_start() {
        let large = message(Part::Chunk(vec![0; CHUNK_BYTES_MAX + 1].into()));
        let (fed, ..) = uploaded(stream::iter([Ok(large)])).await;
        assert_eq!(
            fed.unwrap_err().message(),
            "chunk: 1048577 bytes, at most 1048576 are allowed"
        );
        let (fed, ..) = uploaded(stream::iter([Ok(message(Part::Start(UploadStart::default())))])).await;
        assert_eq!(fed.unwrap_err().code(), Code::InvalidArgument);
    }
}
