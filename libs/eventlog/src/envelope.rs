//! How an entry is stored: who did what, when, why, and the events.

use crate::{LogError, Position, Request};
use bytes::Bytes;
use prost::Message;

/// A message may have 1 MiB; a view copies whole entries into statements.
pub const ENTRY_BYTES_MAX: usize = 512 * 1024;

/// The schema that this build writes, and the newest that it reads.
const SCHEMA: u32 = 1;

/// One command's facts on one stream. Fields are only ever added.
#[derive(Clone, PartialEq, Message)]
pub struct Envelope {
    #[prost(uint32, tag = "1")]
    pub schema: u32,
    /// Milliseconds since 1970, UTC.
    #[prost(int64, tag = "2")]
    pub time_ms: i64,
    /// The `sub` of the token, or `system:<service>`.
    #[prost(string, tag = "3")]
    pub actor: String,
    /// A ULID.
    #[prost(string, tag = "4")]
    pub request_id: String,
    /// W3C trace context, or empty.
    #[prost(string, tag = "5")]
    pub traceparent: String,
    /// The entry that led to this one; 0 when a caller did.
    #[prost(uint64, tag = "6")]
    pub cause: u64,
    /// How much of the others' history the decision had seen.
    #[prost(uint64, tag = "7")]
    pub judged_at: u64,
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub events: Vec<Bytes>,
    /// How many entries of the same request stand behind this one: the last of them is the request's position.
    #[prost(uint32, tag = "9")]
    pub following: u32,
}

impl Envelope {
    pub(crate) fn new(request: &Request, time_ms: i64, following: usize, events: Vec<Vec<u8>>) -> Self {
        Self {
            schema: SCHEMA,
            time_ms,
            actor: request.actor.clone(),
            request_id: request.id.clone(),
            traceparent: request.traceparent.clone(),
            cause: request.cause.0,
            judged_at: request.judged_at.0,
            events: events.into_iter().map(Bytes::from).collect(),
            following: u32::try_from(following).unwrap_or_default(),
        }
    }

    pub(crate) fn write(&self) -> Result<Bytes, LogError> {
        let bytes = self.encoded_len();
        if bytes > ENTRY_BYTES_MAX {
            return Err(LogError::TooLarge {
                bytes,
                limit: ENTRY_BYTES_MAX,
            });
        }
        Ok(self.encode_to_vec().into())
    }

    /// What can't be read is an envelope of no known schema: it stops those who need its events, and no others.
    pub(crate) fn read(bytes: &Bytes) -> Self {
        Self::decode(bytes.clone()).unwrap_or_default()
    }

    pub(crate) fn is_known(&self) -> bool {
        (1..=SCHEMA).contains(&self.schema)
    }

    pub fn cause(&self) -> Position {
        Position(self.cause)
    }
}
