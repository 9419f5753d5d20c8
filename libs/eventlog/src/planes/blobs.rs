//! Uploaded contexts, by content: the same bytes are stored once.

use crate::{LogError, Nats, nats::CONTEXTS};
use anyhow::anyhow;
use async_nats::jetstream::object_store::{GetErrorKind, InfoErrorKind, ObjectMetadata, ObjectStore, UpdateMetadata};
use sha2::{Digest as _, Sha256};
use std::{
    fmt::Write as _,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, ReadBuf};

/// With `sync_interval: always` each chunk costs an fsync, so they are large.
const CHUNK_BYTES: usize = 512 * 1024;

#[derive(Clone)]
pub struct Blobs(Nats);

impl Blobs {
    pub(crate) fn new(nats: Nats) -> Self {
        Self(nats)
    }

    async fn bucket(&self) -> Result<ObjectStore, LogError> {
        self.0
            .context
            .get_object_store(CONTEXTS)
            .await
            .map_err(LogError::unavailable)
    }

    /// Stores what a reader yields, without ever holding it whole. `upload` is a name that nobody else uses.
    /// Answers `sha256:...` and the number of bytes.
    pub async fn put(&self, upload: &str, reader: impl AsyncRead + Send + Unpin) -> Result<(String, u64), LogError> {
        let mut hashing = Hashing {
            inner: reader,
            hash: Sha256::new(),
            bytes: 0,
        };
        let metadata = ObjectMetadata {
            name: upload.to_owned(),
            chunk_size: Some(CHUNK_BYTES),
            ..ObjectMetadata::default()
        };
        let bucket = self.bucket().await?;
        if let Err(error) = bucket.put(metadata, &mut hashing).await {
            // What is left of it is found by its name, and removed later.
            let _ = bucket.delete(upload).await;
            return Err(LogError::unavailable(error));
        }
        let digest = hashing
            .hash
            .finalize()
            .iter()
            .fold("sha256:".to_owned(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
        let kept = match bucket.info(&digest).await {
            Ok(_) => bucket.delete(upload).await.map_err(LogError::unavailable),
            Err(error) if error.kind() == InfoErrorKind::NotFound => {
                let renamed = UpdateMetadata {
                    name: digest.clone(),
                    ..UpdateMetadata::default()
                };
                bucket
                    .update_metadata(upload, renamed)
                    .await
                    .map(drop)
                    .map_err(LogError::unavailable)
            }
            Err(error) => Err(LogError::unavailable(error)),
        };
        kept.map(|()| (digest, hashing.bytes))
    }

    /// `None` when it is not, or no longer, stored.
    pub async fn get(&self, digest: &str) -> Result<Option<impl AsyncRead + Send + Unpin + use<>>, LogError> {
        match self.bucket().await?.get(digest).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.kind() == GetErrorKind::NotFound => Ok(None),
            Err(error) => Err(LogError::unavailable(error)),
        }
    }

    /// Removing what is not there is no error.
    pub async fn remove(&self, digest: &str) -> Result<(), LogError> {
        match self.bucket().await?.delete(digest).await {
            Err(error) if !error.to_string().contains("not found") => Err(LogError::Unavailable(anyhow!(error))),
            _ => Ok(()),
        }
    }
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: AsyncRead + Unpin> AsyncRead for Hashing<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        self.hash.update(read);
        self.bytes += read.len() as u64;
        polled
    }
}
