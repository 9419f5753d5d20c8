//! What was given to be used once, sealed by who stores it: `$KV.SECRETS.<id>`, removed after its use, and after a day at
//! the latest.

use crate::{
    LogError, Nats,
    nats::{REQUEST_TIMEOUT, SECRETS},
};
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio::time::timeout;

const SUBJECT: &str = "$KV.SECRETS.";

#[derive(Clone)]
pub struct Secrets(Nats);

impl Secrets {
    pub(crate) fn new(nats: Nats) -> Self {
        Self(nats)
    }

    /// In place of what was there under this id, which has no dots.
    pub async fn put(&self, id: &str, sealed: Bytes) -> Result<(), LogError> {
        let sent = self.0.context.publish(format!("{SUBJECT}{id}"), sealed).await;
        let stored = sent.map_err(LogError::unavailable)?.await;
        stored.map(drop).map_err(LogError::unavailable)
    }

    pub async fn get(&self, id: &str) -> Result<Option<Bytes>, LogError> {
        let stream = self.stream().await?;
        Ok(latest(&stream, id).await?.map(|(_, sealed)| sealed))
    }

    /// The server writes over the place where it was. One that is not there is no error.
    pub async fn remove(&self, id: &str) -> Result<(), LogError> {
        let stream = self.stream().await?;
        if let Some((sequence, _)) = latest(&stream, id).await? {
            stream.delete_message(sequence).await.map_err(LogError::unavailable)?;
        }
        Ok(())
    }

    /// The ids of all that is there.
    pub async fn list(&self) -> Result<Vec<String>, LogError> {
        let stream = self.stream().await?;
        let found = async {
            let subjects = stream.info_with_subjects(format!("{SUBJECT}>")).await?;
            let subjects: Vec<(String, usize)> = subjects.try_collect().await?;
            anyhow::Ok(subjects)
        };
        let found = timeout(REQUEST_TIMEOUT * 2, found)
            .await
            .map_err(LogError::unavailable)?;
        let subjects = found.map_err(LogError::Unavailable)?;
        let id = |(subject, _): (String, usize)| subject.strip_prefix(SUBJECT).map(str::to_owned);
        Ok(subjects.into_iter().filter_map(id).collect())
    }

    async fn stream(&self) -> Result<Stream<()>, LogError> {
        let stream = self.0.context.get_stream_no_info(SECRETS).await;
        stream.map_err(LogError::unavailable)
    }
}

async fn latest(stream: &Stream<()>, id: &str) -> Result<Option<(u64, Bytes)>, LogError> {
    match stream.get_last_raw_message_by_subject(&format!("{SUBJECT}{id}")).await {
        Ok(message) => Ok(Some((message.sequence, message.payload))),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(LogError::unavailable(error)),
    }
}
