//! The log: one ordered history, appended to under optimistic concurrency.

use crate::Envelope;
use aggregate::Event;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::fmt;

/// A place in the log. A stream's version is the position of its last entry; zero means "no entry yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// As SQLite holds it.
    pub fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }

    pub fn from_i64(value: i64) -> Self {
        Self(value.cast_unsigned())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One aggregate's history: `image.img_01J...`. Fixed words, ids and hashes only, never user text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub category: String,
    pub key: String,
}

impl StreamId {
    pub fn new(category: &str, key: impl fmt::Display) -> Self {
        Self {
            category: category.to_owned(),
            key: key.to_string(),
        }
    }

    /// The other way of `to_string`.
    pub fn parse(text: &str) -> Option<Self> {
        let (category, key) = text.split_once('.')?;
        Some(Self::new(category, key))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.category, self.key)
    }
}

/// What one command wrote to one stream.
#[derive(Debug, Clone)]
pub struct Entry {
    pub position: Position,
    pub stream: StreamId,
    pub envelope: Envelope,
    /// The envelope as it is stored.
    pub bytes: Bytes,
}

impl Entry {
    /// Reads a stored envelope.
    pub fn decode(position: Position, stream: StreamId, bytes: Bytes) -> Self {
        Self {
            position,
            stream,
            envelope: Envelope::read(&bytes),
            bytes,
        }
    }

    /// The entry's events; an error when this build does not know one of them.
    pub fn events<E: Event>(&self) -> Result<Vec<E>, LogError> {
        let position = self.position;
        if !self.envelope.is_known() {
            return Err(LogError::UnknownEvent { position });
        }
        self.envelope
            .events
            .iter()
            .map(|bytes| E::from_bytes(bytes).ok_or(LogError::UnknownEvent { position }))
            .collect()
    }

    /// Whether it is of a category and holds such events, and nothing that this build does not know.
    pub fn tells_only<E: Event>(&self, category: &str, such: impl Fn(&E) -> bool) -> bool {
        self.stream.category == category && self.events::<E>().is_ok_and(|events| events.iter().all(such))
    }
}

/// An entry to be written, if `expected` is still the stream's version.
#[derive(Debug, Clone)]
pub struct Append {
    pub stream: StreamId,
    pub expected: Position,
    pub bytes: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the entry at {position} holds an event that this build does not know, upgrade it")]
    UnknownEvent { position: Position },
    #[error("event log not reachable, nothing was changed")]
    Unavailable(#[source] anyhow::Error),
    #[error("outcome unknown, repeat with the same request id{}", if .0.is::<Stuck>() { TO_DO } else { "" })]
    OutcomeUnknown(#[source] anyhow::Error),
    #[error("the event log is full ({used} of {limit} bytes), ask the operator to raise its limit")]
    Full { used: u64, limit: u64 },
    #[error("the event log lacks {missing} of its entries, ask an administrator to verify it")]
    Incomplete { missing: u64 },
    #[error("the entry has {bytes} bytes, {limit} are allowed")]
    TooLarge { bytes: usize, limit: usize },
}

/// The server is there and acknowledges nothing: one that met a full disk takes no writes until it is started again.
#[derive(Debug, thiserror::Error)]
#[error("the server of the log is connected and acknowledges nothing")]
pub(crate) struct Stuck;

const TO_DO: &str = ": the event log takes no writes, perhaps its disk is full; make room, then restart its server";

impl LogError {
    pub(crate) fn unavailable(error: impl Into<anyhow::Error>) -> Self {
        Self::Unavailable(error.into())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the stream moved on since it was read")]
    Conflict,
    #[error(transparent)]
    Log(#[from] LogError),
}

/// An entry as it is stored, whatever that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    pub position: Position,
    pub stream: String,
    pub bytes: Bytes,
}

/// Which of the stored entries to read.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    All,
    Category(&'a str),
    /// Those of all streams that are about one thing.
    Key(&'a str),
}

pub type RawEntries = BoxStream<'static, Result<RawEntry, LogError>>;
pub type Entries = BoxStream<'static, Result<Entry, LogError>>;

#[async_trait]
pub trait EventLog: Send + Sync {
    /// Writes all of `entries` or none of them. Answers the position of the last.
    async fn append(&self, entries: Vec<Append>) -> Result<Position, AppendError>;

    /// A stream's version, as the log itself knows it.
    async fn version(&self, stream: &StreamId) -> Result<Position, LogError>;

    /// The position of the log's last entry.
    async fn head(&self) -> Result<Position, LogError>;

    /// Every entry after a position, then those to come. The first error is the end: open it again from where
    /// it got to.
    async fn follow(&self, after: Position) -> Result<Entries, LogError>;

    /// What is stored by now, in its order. Gaps are for the reader to notice, except where it can't: what is about one
    /// thing is read only of a log that is whole.
    async fn stored(&self, which: Which<'_>) -> Result<RawEntries, LogError>;

    /// Refuses while the part of the log that is kept for ends and cancels is in use.
    async fn admit(&self) -> Result<(), LogError> {
        Ok(())
    }
}
