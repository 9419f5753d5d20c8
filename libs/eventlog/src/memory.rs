//! The log in memory, for unit tests of what stands on it.

use crate::{Append, AppendError, Entries, Entry, EventLog, LogError, Position, RawEntries, RawEntry, StreamId, Which};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

#[derive(Default)]
pub struct MemoryLog {
    entries: Mutex<Vec<(StreamId, Bytes)>>,
    head: watch::Sender<u64>,
}

impl MemoryLog {
    fn entries(&self) -> MutexGuard<'_, Vec<(StreamId, Bytes)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, after: u64) -> Vec<Result<Entry, LogError>> {
        let skip = usize::try_from(after).unwrap_or(usize::MAX);
        let entries = self.entries();
        let rest = entries.iter().enumerate().skip(skip);
        rest.map(|(index, (stream, bytes))| {
            Ok(Entry::decode(Position(index as u64 + 1), stream.clone(), bytes.clone()))
        })
        .collect()
    }
}

fn version(entries: &[(StreamId, Bytes)], stream: &StreamId) -> Position {
    let last = entries.iter().rposition(|(other, _)| other == stream);
    Position(last.map_or(0, |index| index as u64 + 1))
}

#[async_trait]
impl EventLog for std::sync::Arc<MemoryLog> {
    async fn append(&self, appends: Vec<Append>) -> Result<Position, AppendError> {
        let mut entries = self.entries();
        let streams: BTreeSet<&StreamId> = appends.iter().map(|append| &append.stream).collect();
        let is_stale = |append: &Append| version(&entries, &append.stream) != append.expected;
        // A server takes a stream only once in a batch, because it checks each before any is written.
        if streams.len() < appends.len() || appends.iter().any(is_stale) {
            return Err(AppendError::Conflict);
        }
        entries.extend(appends.into_iter().map(|append| (append.stream, append.bytes)));
        let head = entries.len() as u64;
        drop(entries);
        self.head.send_replace(head);
        Ok(Position(head))
    }

    async fn version(&self, stream: &StreamId) -> Result<Position, LogError> {
        Ok(version(&self.entries(), stream))
    }

    async fn head(&self) -> Result<Position, LogError> {
        Ok(Position(self.entries().len() as u64))
    }

    async fn follow(&self, after: Position) -> Result<Entries, LogError> {
        let (log, head) = (self.clone(), self.head.subscribe());
        let chunks = futures::stream::unfold((log, head, after.0), async |(log, mut head, after)| {
            head.wait_for(|head| *head > after).await.ok()?;
            let entries = log.read(after);
            let after = after + entries.len() as u64;
            Some((futures::stream::iter(entries), (log, head, after)))
        });
        Ok(chunks.flatten().boxed())
    }

    async fn stored(&self, which: Which<'_>) -> Result<RawEntries, LogError> {
        let wanted = |stream: &StreamId| match which {
            Which::All => true,
            Which::Category(category) => stream.category == category,
            Which::Key(key) => stream.key == key,
        };
        let entries: Vec<_> = (1..)
            .zip(&*self.entries())
            .filter(|(_, (stream, _))| wanted(stream))
            .map(|(position, (stream, bytes))| {
                Ok(RawEntry {
                    position: Position(position),
                    stream: stream.to_string(),
                    bytes: bytes.clone(),
                })
            })
            .collect();
        Ok(futures::stream::iter(entries).boxed())
    }
}
