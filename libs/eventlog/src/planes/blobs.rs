//! Uploaded contexts, by content: the same bytes are stored once.
//!
//! The bucket has the form of a NATS object store: `$O.contexts.C.<upload>` are the chunks of an object, and
//! `$O.contexts.M.<name>` is what is known of it; the name is its digest. Every change of the latter expects the
//! sequence that it was judged on, so `put`, `keep` and `remove` can't pass each other unseen: what was put or kept
//! after it was listed is not removed.

use crate::{
    LogError, Nats,
    nats::{CONTEXTS, REQUEST_TIMEOUT, reader},
};
use anyhow::anyhow;
use async_nats::jetstream::{
    consumer::pull,
    context::{PublishAckFuture, PublishErrorKind},
    message::PublishMessage,
    object_store::{ObjectInfo, ObjectOptions},
    stream::{RawMessageErrorKind, Stream},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use bytes::BytesMut;
use futures::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{HashSet, VecDeque},
    io,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};
use tokio_util::io::StreamReader;

/// With `sync_interval: always` each chunk costs an fsync, so they are large. A message may have 1 MiB.
const CHUNK_BYTES: usize = 512 * 1024;
/// Chunks on their way, to the server or from it.
const IN_FLIGHT: usize = 4;
/// How long a reader waits for the next chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPTS_MAX: usize = 8;

#[derive(Clone)]
pub struct Blobs(Nats);

/// An object as it was when it was listed.
#[derive(Debug, Clone)]
pub struct Stored {
    /// `sha256:...`
    pub digest: String,
    /// When it was put or kept last, by the server's clock: milliseconds since 1970.
    pub kept_ms: i64,
    sequence: u64,
    info: ObjectInfo,
}

/// What became of chunks that were stored under a digest.
enum Offered {
    Taken,
    /// The same bytes were there: these are one too many.
    Known,
    /// They may be in use.
    Unknown(LogError),
}

impl Blobs {
    pub(crate) fn new(nats: Nats) -> Self {
        Self(nats)
    }

    /// Stores what a reader yields, without ever holding it whole. `upload` is a ULID that nobody else uses.
    /// Answers `sha256:...` and the number of bytes.
    ///
    /// Nothing is left of what can't be read to its end. What is left when this future is dropped, `reap` removes.
    pub async fn put(&self, upload: &str, reader: impl AsyncRead + Send + Unpin) -> Result<String, LogError> {
        let stream = self.stream().await?;
        let info = match self.write(upload, reader).await {
            Ok(info) => info,
            Err(error) => {
                purge_chunks(&stream, upload).await?;
                return Err(LogError::Unavailable(error));
            }
        };
        match self.offer(&stream, &info).await {
            Offered::Taken => (),
            Offered::Known => purge_chunks(&stream, upload).await?,
            Offered::Unknown(error) => return Err(error),
        }
        Ok(info.name)
    }

    /// `None` when it is not, or no longer, stored.
    pub async fn get(&self, digest: &str) -> Result<Option<impl AsyncRead + Send + Unpin + use<>>, LogError> {
        let stream = self.stream().await?;
        let Some((_, info)) = find(&stream, digest).await? else {
            return Ok(None);
        };
        let chunks = if info.size == 0 {
            None
        } else {
            Some(chunks(&stream, &info).await?)
        };
        let state = (chunks, info.size, Sha256::new(), info.name);
        let pieces = futures::stream::try_unfold(state, async |(mut chunks, left, hash, digest)| {
            let Some(waiting) = chunks.as_mut().filter(|_| left > 0) else {
                return if digest_of(hash) == digest {
                    Ok(None)
                } else {
                    Err(damaged())
                };
            };
            let message = timeout(CHUNK_TIMEOUT, waiting.next()).await?;
            let chunk = message
                .ok_or(io::ErrorKind::UnexpectedEof)?
                .map_err(io::Error::other)?
                .message
                .payload;
            let left = left.checked_sub(chunk.len()).ok_or_else(damaged)?;
            Ok::<_, io::Error>(Some((chunk.clone(), (chunks, left, hash.chain_update(&chunk), digest))))
        });
        Ok(Some(StreamReader::new(Box::pin(pieces))))
    }

    /// Whether it is stored; if so, it counts as put now.
    pub async fn keep(&self, digest: &str) -> Result<bool, LogError> {
        let stream = self.stream().await?;
        for _ in 0..ATTEMPTS_MAX {
            let Some((sequence, info)) = find(&stream, digest).await? else {
                return Ok(false);
            };
            if self.publish(sequence, &info).await?.is_some() {
                return Ok(true);
            }
        }
        Err(contended(digest))
    }

    /// Everything that is stored.
    pub async fn list(&self) -> Result<Vec<Stored>, LogError> {
        let stream = self.stream().await?;
        let subject = format!("$O.{CONTEXTS}.M.>");
        let (mut pending, mut messages) = super::messages(&stream, &subject).await?;
        let mut all = Vec::new();
        while pending > 0 {
            let next = timeout(REQUEST_TIMEOUT, messages.next())
                .await
                .map_err(LogError::unavailable)?;
            let message = next.ok_or_else(|| LogError::Unavailable(anyhow!("the list broke off")))?;
            let message = message.map_err(LogError::unavailable)?;
            let known = message
                .info()
                .map_err(|error| LogError::Unavailable(anyhow::Error::from_boxed(error)))?;
            pending = known.pending;
            let info: ObjectInfo = serde_json::from_slice(&message.payload).map_err(LogError::unavailable)?;
            if !info.deleted {
                all.push(Stored {
                    digest: info.name.clone(),
                    kept_ms: known.published.unix_timestamp() * 1_000,
                    sequence: known.stream_sequence,
                    info,
                });
            }
        }
        Ok(all)
    }

    /// Removes an object, unless it was put or kept since it was listed. Answers whether it did.
    pub async fn remove(&self, stored: &Stored) -> Result<bool, LogError> {
        let stream = self.stream().await?;
        let gone = ObjectInfo {
            chunks: 0,
            size: 0,
            deleted: true,
            ..stored.info.clone()
        };
        let Some(sequence) = self.publish(stored.sequence, &gone).await? else {
            return Ok(false);
        };
        purge_chunks(&stream, &stored.info.nuid).await?;
        // Up to the mark that was just made: the next `put` may be behind it already.
        let purge = stream.purge().filter(subject_of(&stored.digest)).sequence(sequence + 1);
        purge.await.map_err(LogError::unavailable)?;
        Ok(true)
    }

    /// Removes what a killed process left: chunks of no object, of which the last came before a time.
    pub async fn reap(&self, before_ms: i64) -> Result<usize, LogError> {
        let stream = self.stream().await?;
        let prefix = format!("$O.{CONTEXTS}.C.");
        let found = stream
            .info_with_subjects(format!("{prefix}*"))
            .await
            .map_err(LogError::unavailable)?;
        let uploads: Vec<(String, usize)> = found.try_collect().await.map_err(LogError::unavailable)?;
        // Listed later than the chunks, so that what became an object in between is one.
        let used: HashSet<String> = self.list().await?.into_iter().map(|stored| stored.info.nuid).collect();
        let mut reaped = 0;
        for (subject, _) in uploads {
            let upload = subject.strip_prefix(&prefix).unwrap_or_default();
            if used.contains(upload) {
                continue;
            }
            let last = stream.get_last_raw_message_by_subject(&subject).await;
            if last.is_ok_and(|last| last.time.unix_timestamp() * 1_000 < before_ms) {
                purge_chunks(&stream, upload).await?;
                reaped += 1;
            }
        }
        Ok(reaped)
    }

    async fn stream(&self) -> Result<Stream<()>, LogError> {
        let stream = self.0.context.get_stream_no_info(format!("OBJ_{CONTEXTS}")).await;
        stream.map_err(LogError::unavailable)
    }

    async fn write(&self, upload: &str, reader: impl AsyncRead + Send + Unpin) -> anyhow::Result<ObjectInfo> {
        let mut under_way = VecDeque::with_capacity(IN_FLIGHT);
        let sent = self.send(upload, reader, &mut under_way).await;
        // Waited for also when the reader failed: they would arrive after they were purged.
        let mut arrived = Ok(());
        for acknowledgement in under_way {
            arrived = arrived.and(acknowledgement.await.map(drop));
        }
        let (hash, size, count) = sent?;
        arrived?;
        let hash = hash.finalize();
        Ok(ObjectInfo {
            name: digest_text(&hash),
            description: None,
            metadata: std::collections::HashMap::default(),
            headers: None,
            options: Some(ObjectOptions {
                link: None,
                max_chunk_size: Some(CHUNK_BYTES),
            }),
            bucket: CONTEXTS.to_owned(),
            nuid: upload.to_owned(),
            size,
            chunks: count,
            modified: None,
            digest: Some(format!("SHA-256={}", URL_SAFE.encode(hash))),
            deleted: false,
        })
    }

    /// Sends chunks until the reader's end. The last of them are still under way then.
    async fn send(
        &self,
        upload: &str,
        mut reader: impl AsyncRead + Send + Unpin,
        under_way: &mut VecDeque<PublishAckFuture>,
    ) -> anyhow::Result<(Sha256, usize, usize)> {
        let subject = format!("$O.{CONTEXTS}.C.{upload}");
        let (mut hash, mut size, mut count) = (Sha256::new(), 0, 0);
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
            let mut part = (&mut reader).take(CHUNK_BYTES as u64);
            while part.read_buf(&mut chunk).await? > 0 {}
            if chunk.is_empty() {
                return Ok((hash, size, count));
            }
            hash.update(&chunk);
            size += chunk.len();
            count += 1;
            if under_way.len() == IN_FLIGHT
                && let Some(oldest) = under_way.pop_front()
            {
                oldest.await?;
            }
            under_way.push_back(self.0.context.publish(subject.clone(), chunk.freeze()).await?);
        }
    }

    async fn offer(&self, stream: &Stream<()>, info: &ObjectInfo) -> Offered {
        for _ in 0..ATTEMPTS_MAX {
            let (sequence, known) = match latest(stream, &info.name).await {
                Ok(latest) => latest.map_or((0, None), |(sequence, known)| (sequence, Some(known))),
                Err(error) => return Offered::Unknown(error),
            };
            // Perhaps it was stored a moment ago, and only the answer got lost.
            if known
                .as_ref()
                .is_some_and(|known| known.nuid == info.nuid && !known.deleted)
            {
                return Offered::Taken;
            }
            let known = known.filter(|known| !known.deleted);
            let published = self.publish(sequence, known.as_ref().unwrap_or(info)).await;
            match (published, known) {
                (Ok(Some(_)), None) => return Offered::Taken,
                (Ok(Some(_)), Some(_)) => return Offered::Known,
                (Ok(None), _) => (),
                (Err(error), _) => tracing::debug!("storing {} again: {error}", info.name),
            }
        }
        Offered::Unknown(contended(&info.name))
    }

    /// Writes what is known of an object, in place of what was known at `sequence`. `None`: there is something newer.
    async fn publish(&self, sequence: u64, info: &ObjectInfo) -> Result<Option<u64>, LogError> {
        let message = PublishMessage::build()
            .payload(serde_json::to_vec(info).map_err(LogError::unavailable)?.into())
            .header("Nats-Rollup", "sub")
            .expected_last_subject_sequence(sequence);
        let published = async {
            self.0
                .context
                .send_publish(subject_of(&info.name), message)
                .await?
                .await
        };
        match published.await {
            Ok(acknowledgement) => Ok(Some(acknowledgement.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Err(error) => Err(LogError::unavailable(error)),
        }
    }
}

fn subject_of(name: &str) -> String {
    format!("$O.{CONTEXTS}.M.{}", URL_SAFE.encode(name))
}

/// What the stream's leader knows of an object, removed ones included.
async fn latest(stream: &Stream<()>, name: &str) -> Result<Option<(u64, ObjectInfo)>, LogError> {
    match stream.get_last_raw_message_by_subject(&subject_of(name)).await {
        Ok(message) => {
            let info = serde_json::from_slice(&message.payload).map_err(LogError::unavailable)?;
            Ok(Some((message.sequence, info)))
        }
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(LogError::unavailable(error)),
    }
}

async fn find(stream: &Stream<()>, name: &str) -> Result<Option<(u64, ObjectInfo)>, LogError> {
    Ok(latest(stream, name).await?.filter(|(_, info)| !info.deleted))
}

async fn purge_chunks(stream: &Stream<()>, upload: &str) -> Result<(), LogError> {
    let purge = stream.purge().filter(format!("$O.{CONTEXTS}.C.{upload}"));
    purge.await.map(drop).map_err(LogError::unavailable)
}

/// Pulled, so that a slow reader is not sent more than it takes.
async fn chunks(stream: &Stream<()>, info: &ObjectInfo) -> Result<pull::Stream, LogError> {
    let config = pull::Config {
        filter_subject: format!("$O.{CONTEXTS}.C.{}", info.nuid),
        inactive_threshold: CHUNK_TIMEOUT,
        ..reader()
    };
    let opened = async {
        let consumer = stream.create_consumer(config).await?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(IN_FLIGHT * 2)
            .expires(CHUNK_TIMEOUT)
            .messages();
        anyhow::Ok(messages.await?)
    };
    opened.await.map_err(LogError::Unavailable)
}

fn digest_of(hash: Sha256) -> String {
    digest_text(&hash.finalize())
}

fn digest_text(hash: &[u8]) -> String {
    format!("sha256:{}", base16ct::lower::encode_string(hash))
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the stored files are damaged")
}

fn contended(name: &str) -> LogError {
    LogError::Unavailable(anyhow!("too many others changed {name} at the same time"))
}
