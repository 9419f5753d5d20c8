//! The log in the JetStream stream `LOG`: subjects `log.<category>.<key>`, positions are stream sequences.

mod company;
mod stored;

use crate::{
    Append, AppendError, Entries, Entry, EventLog, LogError, Nats, Position, RawEntries, StreamId, Which,
    log::Stuck,
    nats::{LOG, REQUEST_TIMEOUT, reader},
    publish::Published,
};
use anyhow::anyhow;
use async_nats::jetstream::{
    Message,
    consumer::{Consumer, DeliverPolicy, pull},
    stream::{Info, RawMessageErrorKind, Stream},
};
use async_trait::async_trait;
use bytes::Bytes;
use company::Company;
use futures::StreamExt as _;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

const SUBJECT: &str = "log.";
/// How long a dead broker can go unnoticed, roughly.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long an append may try before it answers that it can't tell.
const APPEND_TIMEOUT: Duration = Duration::from_secs(8);
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// A server takes 50 open batches per stream, and drops the rest.
const OPEN_BATCHES: usize = 40;
/// Entries on their way to one who reads from far back, and their bytes.
const FETCH: usize = 20_000;
const FETCH_BYTES: usize = 32 << 20;
/// How old the knowledge of the log's size may be.
const USAGE_AGE: Duration = Duration::from_secs(1);

/// What an entry takes besides its bytes, roughly: subject, header, record.
const OVERHEAD: usize = 128;

const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];
const BATCH_INCOMPLETE: u64 = 10176;
const MAX_BYTES: u64 = 10077;

#[derive(Clone)]
pub struct JetStreamLog {
    nats: Nats,
    stream: Stream,
    company: Arc<Company>,
    usage: Arc<Mutex<Option<(Instant, u64, i64)>>>,
}

impl JetStreamLog {
    pub(crate) async fn open(nats: Nats) -> anyhow::Result<Self> {
        Ok(Self {
            stream: nats.context.get_stream(LOG).await?,
            company: Arc::new(Company::new(nats.clone())),
            nats,
            usage: Arc::default(),
        })
    }

    /// What was published while the connection is down would be sent later, by surprise.
    async fn connected(&self, deadline: Instant) -> bool {
        while !self.nats.is_connected() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(RETRY_DELAY).await;
        }
        true
    }

    /// Asks again when the connection breaks before the answer: what only reads may be repeated.
    async fn ask<T, F: Future<Output = T>>(&self, question: impl Fn() -> F) -> Result<T, LogError> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        while self.connected(deadline).await {
            let lost = self.nats.lost();
            tokio::select! {
                answer = question() => return Ok(answer),
                () = lost => (),
            }
        }
        Err(LogError::unavailable(anyhow!("not connected")))
    }

    async fn info(&self) -> Result<Info, LogError> {
        self.ask(|| self.stream.get_info())
            .await?
            .map_err(LogError::unavailable)
    }

    /// After an ambiguous failure: is the stream's last entry the one that we wrote?
    async fn wrote(&self, entry: &Append) -> Result<Option<Position>, LogError> {
        let last = self.last(&entry.stream).await?;
        Ok(last
            .filter(|(_, bytes)| *bytes == entry.bytes)
            .map(|(position, _)| position))
    }

    /// Asked of the stream's leader, so that it is never behind.
    async fn last(&self, stream: &StreamId) -> Result<Option<(Position, Bytes)>, LogError> {
        let subject = format!("{SUBJECT}{stream}");
        match self
            .ask(|| self.stream.get_last_raw_message_by_subject(&subject))
            .await?
        {
            Ok(message) => Ok(Some((Position(message.sequence), message.payload))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(LogError::unavailable(error)),
        }
    }
}

#[async_trait]
impl EventLog for JetStreamLog {
    async fn append(&self, entries: Vec<Append>) -> Result<Position, AppendError> {
        let Some(last) = entries.last() else {
            return Err(LogError::unavailable(anyhow!("nothing to write")).into());
        };
        let start = Instant::now();
        let mut unknown = None;
        loop {
            // What never left is soon refused; what may have arrived is worth finding out.
            let deadline = start
                + if unknown.is_some() {
                    APPEND_TIMEOUT
                } else {
                    REQUEST_TIMEOUT
                };
            let failure = if self.connected(deadline).await {
                let published = match &entries[..] {
                    [one] => self.company.publish_one(one, deadline.into()).await,
                    _ => self.company.publish(&entries).await,
                };
                match published {
                    Published::Stored { sequence, .. } => {
                        self.grew(&entries);
                        return Ok(Position(sequence));
                    }
                    Published::Rejected(error) if WRONG_LAST_SEQUENCE.contains(&error.err_code) => {
                        if unknown.is_none() {
                            return Err(AppendError::Conflict);
                        }
                        // Perhaps what stands in our way is our own, of a moment ago.
                        match self.wrote(last).await {
                            Ok(Some(position)) => return Ok(position),
                            Ok(None) => return Err(AppendError::Conflict),
                            Err(error) => error.into(),
                        }
                    }
                    Published::Rejected(error) if error.err_code == BATCH_INCOMPLETE || unknown.is_some() => {
                        anyhow!(error.description)
                    }
                    Published::Rejected(error) if error.err_code == MAX_BYTES => {
                        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = None;
                        let (used, limit) = self.usage().await?;
                        return Err(LogError::Full { used, limit }.into());
                    }
                    Published::Rejected(error) => {
                        let refused = anyhow!("the log refused the entry: {}", error.description);
                        return Err(LogError::Unavailable(refused).into());
                    }
                    Published::NotSent(error) => error,
                    Published::Unknown { error, is_late } => {
                        // Written again, it either succeeds or meets itself.
                        unknown = Some((error, is_late));
                        anyhow!("no answer")
                    }
                }
            } else {
                anyhow!("not connected")
            };
            let deadline = start
                + if unknown.is_some() {
                    APPEND_TIMEOUT
                } else {
                    REQUEST_TIMEOUT
                };
            if Instant::now() >= deadline {
                return Err(match unknown {
                    Some((error, true)) if self.nats.is_connected() => LogError::OutcomeUnknown(error.context(Stuck)),
                    Some((error, _)) => LogError::OutcomeUnknown(error),
                    None => LogError::Unavailable(failure),
                }
                .into());
            }
            sleep(RETRY_DELAY).await;
        }
    }

    async fn version(&self, stream: &StreamId) -> Result<Position, LogError> {
        Ok(self
            .last(stream)
            .await?
            .map(|(position, _)| position)
            .unwrap_or_default())
    }

    async fn head(&self) -> Result<Position, LogError> {
        Ok(Position(self.info().await?.state.last_sequence))
    }

    /// A plain ephemeral consumer without acknowledgements: async-nats' ordered one stays silent for 15 s after
    /// the server died, this one for about two heartbeats.
    async fn follow(&self, after: Position) -> Result<Entries, LogError> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: after.0 + 1,
            },
            ..reader()
        };
        let lost = self.nats.lost();
        let (_, messages) = self.reading(config).await?;
        let mut previous = after;
        let mut checked = move |message: Message| {
            let entry = read(&message);
            if let Ok(entry) = &entry {
                if entry.position.0 != previous.0 + 1 {
                    return Err(LogError::Unavailable(anyhow!(
                        "the log has a gap: {} follows {previous}, entries were lost on the way or tampered with",
                        entry.position
                    )));
                }
                previous = entry.position;
            }
            entry
        };
        let entries = messages.map(move |message| message.map_err(LogError::unavailable).and_then(&mut checked));
        let end = async { Err(LogError::unavailable(anyhow!("the connection was lost"))) };
        Ok(entries.take_until(lost).chain(futures::stream::once(end)).boxed())
    }

    async fn stored(&self, which: Which<'_>) -> Result<RawEntries, LogError> {
        self.read_stored(which).await
    }

    async fn admit(&self) -> Result<(), LogError> {
        let (used, limit) = self.usage().await?;
        if limit > 0 && used >= limit / 20 * 19 {
            return Err(LogError::Full { used, limit });
        }
        Ok(())
    }
}

impl JetStreamLog {
    async fn reading(&self, config: pull::Config) -> Result<(Consumer<pull::Config>, pull::Stream), LogError> {
        let opened = async {
            let consumer = self.stream.create_consumer(config).await?;
            let messages = consumer
                .stream()
                .max_messages_per_batch(FETCH)
                .max_bytes_per_batch(FETCH_BYTES)
                .heartbeat(HEARTBEAT)
                .expires(HEARTBEAT * 10)
                .messages()
                .await?;
            anyhow::Ok((consumer, messages))
        };
        timeout(REQUEST_TIMEOUT * 2, opened)
            .await
            .map_err(LogError::unavailable)?
            .map_err(LogError::Unavailable)
    }

    /// What is known of the log's size keeps up with what is written here.
    fn grew(&self, entries: &[Append]) {
        let bytes: usize = entries.iter().map(|entry| entry.bytes.len() + OVERHEAD).sum();
        if let Some((_, used, _)) = &mut *self.usage.lock().unwrap_or_else(PoisonError::into_inner) {
            *used += bytes as u64;
        }
    }

    /// Bytes used and allowed. A limit of zero is none.
    async fn usage(&self) -> Result<(u64, u64), LogError> {
        let known = *self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let (used, limit) = match known {
            Some((at, used, limit)) if at.elapsed() < USAGE_AGE => (used, limit),
            _ => {
                let info = self.info().await?;
                let (used, limit) = (info.state.bytes, info.config.max_bytes);
                *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), used, limit));
                (used, limit)
            }
        };
        Ok((used, u64::try_from(limit).unwrap_or_default()))
    }
}

fn read(message: &Message) -> Result<Entry, LogError> {
    let info = message
        .info()
        .map_err(|error| LogError::Unavailable(anyhow::Error::from_boxed(error)))?;
    let position = Position(info.stream_sequence);
    let stream = message
        .subject
        .strip_prefix(SUBJECT)
        .and_then(StreamId::parse)
        .ok_or(LogError::UnknownEvent { position })?;
    Ok(Entry::decode(position, stream, message.payload.clone()))
}
