//! Who lives: `$KV.PRESENCE.<worker>`, a key that its worker writes again and again, in the memory of the server.
//!
//! A single server forgets the whole bucket when it restarts, so that a key is not there proves nothing: whoever
//! observes measures the silence between two signs by their own clock. The time-to-live only clears the dead away.

use super::messages;
use crate::{
    LogError, Nats,
    nats::{PRESENCE, presence_bucket},
};
use anyhow::anyhow;
use async_nats::{
    HeaderMap,
    jetstream::{Message, context::PublishErrorKind},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use std::{fmt::Display, time::Duration};

const SUBJECT: &str = "$KV.PRESENCE.";
/// Whole seconds.
const TTL: &str = "Nats-TTL";

#[derive(Clone)]
pub struct Presence(Nats);

/// A worker lived when it sent this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    pub worker: String,
    /// How long it may be silent after this.
    pub lease: Duration,
    /// What it tells of itself.
    pub about: Bytes,
}

impl Presence {
    pub(crate) fn new(nats: Nats) -> Self {
        Self(nats)
    }

    /// Shows that a worker lives. Fails at once when there is no connection, and does not send it later. A lease has
    /// at least one second.
    pub async fn renew(&self, worker: impl Display, lease: Duration, about: Bytes) -> Result<(), LogError> {
        let lost = self.0.lost();
        let renewed = async {
            if !self.put(&worker, lease, about.clone()).await? {
                let bucket = presence_bucket(self.0.replicas);
                let created = self.0.context.get_or_create_stream(bucket).await;
                created.map_err(LogError::unavailable)?;
                self.put(&worker, lease, about).await?;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            () = lost => Err(LogError::unavailable(anyhow!("the connection was lost"))),
            renewed = renewed => renewed,
        }
    }

    /// Whether there is a bucket to put it into.
    async fn put(&self, worker: impl Display, lease: Duration, about: Bytes) -> Result<bool, LogError> {
        let mut headers = HeaderMap::new();
        headers.insert(TTL, lease.as_secs().to_string());
        let sent = self
            .0
            .context
            .publish_with_headers(format!("{SUBJECT}{worker}"), headers, about);
        match sent.await.map_err(LogError::unavailable)?.await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => Ok(false),
            Err(error) => Err(LogError::unavailable(error)),
        }
    }

    /// The last sign of each worker that the bucket has, then those to come. The first error is the end, and comes soon
    /// after the connection broke: without one, every sign came through.
    pub async fn watch(&self) -> Result<BoxStream<'static, Result<Sign, LogError>>, LogError> {
        let lost = self.0.lost();
        let bucket = self
            .0
            .context
            .get_stream_no_info(PRESENCE)
            .await
            .map_err(LogError::unavailable)?;
        let (_, messages) = messages(&bucket, &format!("{SUBJECT}>")).await?;
        let signs = messages.map(|message| sign(&message.map_err(LogError::unavailable)?));
        let end = async { Err(LogError::unavailable(anyhow!("the connection was lost"))) };
        Ok(signs.take_until(lost).chain(futures::stream::once(end)).boxed())
    }
}

fn sign(message: &Message) -> Result<Sign, LogError> {
    let malformed = || LogError::Unavailable(anyhow!("{} is not a sign of life", message.subject));
    let ttl = message.headers.as_ref().and_then(|headers| headers.get(TTL));
    let seconds = ttl.and_then(|ttl| ttl.as_str().parse().ok());
    Ok(Sign {
        worker: message.subject.strip_prefix(SUBJECT).ok_or_else(malformed)?.to_owned(),
        lease: Duration::from_secs(seconds.ok_or_else(malformed)?),
        about: message.payload.clone(),
    })
}
