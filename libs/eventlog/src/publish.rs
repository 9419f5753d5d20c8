//! Acknowledged publishing to a stream: one message, or several as an atomic batch.

use crate::Nats;
use anyhow::anyhow;
use async_nats::{HeaderMap, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;

pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

/// What became of it.
pub(crate) enum Published {
    Stored {
        /// Of the last message.
        sequence: u64,
        /// One with the same id was there before.
        duplicate: bool,
    },
    Rejected(Rejection),
    /// It certainly did not arrive.
    NotSent(anyhow::Error),
    /// It may have been stored, now or later.
    Unknown {
        error: anyhow::Error,
        /// The server is there, and did not answer in time.
        is_late: bool,
    },
}

impl Published {
    /// Nobody knows, for a reason other than time.
    pub(crate) fn unknown(error: impl Into<anyhow::Error>) -> Self {
        Self::Unknown {
            error: error.into(),
            is_late: false,
        }
    }
}

#[derive(Clone, Deserialize)]
pub(crate) struct Rejection {
    pub(crate) err_code: u64,
    pub(crate) description: String,
}

/// What the server answers to a publish, single or the last of a batch.
#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<Rejection>,
}

impl Nats {
    /// All of them in this order, or none. A batch goes out back to back: the server gives up on one that dawdles.
    pub(crate) async fn publish(&self, mut messages: Vec<Message>) -> Published {
        if messages.len() > 1 {
            // Unique, and all that the server asks of it.
            let batch = self.client.new_inbox().replace('.', "");
            for (index, message) in messages.iter_mut().enumerate() {
                message.headers.insert("Nats-Batch-Id", batch.as_str());
                message.headers.insert("Nats-Batch-Sequence", (index + 1).to_string());
            }
        }
        let Some(mut last) = messages.pop() else {
            return Published::NotSent(anyhow!("nothing to write"));
        };
        if !messages.is_empty() {
            last.headers.insert("Nats-Batch-Commit", "1");
        }
        for message in messages {
            let sent = self
                .client
                .publish_with_headers(message.subject, message.headers, message.bytes);
            if let Err(error) = sent.await {
                return Published::NotSent(error.into());
            }
        }
        let lost = self.lost();
        let request = self.client.request_with_headers(last.subject, last.headers, last.bytes);
        let answered = tokio::select! {
            answered = request => answered,
            () = lost => return Published::unknown(anyhow!("the connection was lost")),
        };
        let answer = match answered {
            Ok(answer) => answer.payload,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => return Published::NotSent(error.into()),
            Err(error) => {
                return Published::Unknown {
                    is_late: error.kind() == RequestErrorKind::TimedOut,
                    error: error.into(),
                };
            }
        };
        match serde_json::from_slice(&answer) {
            Ok(Ack {
                error: Some(rejection), ..
            }) => Published::Rejected(rejection),
            Ok(Ack { seq, duplicate, .. }) => Published::Stored {
                sequence: seq,
                duplicate,
            },
            Err(error) => Published::unknown(error),
        }
    }
}
