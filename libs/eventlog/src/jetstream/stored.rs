//! Reads what is stored by now, as it is: for those who ask whether it is what was written.

use super::{JetStreamLog, SUBJECT};
use crate::{LogError, Position, RawEntries, RawEntry, Which, nats::reader};
use anyhow::anyhow;
use async_nats::jetstream::{
    Message,
    consumer::{Consumer, DeliverPolicy, pull},
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// After so long without an entry the server is asked whether it has more.
const QUIET: Duration = Duration::from_secs(1);
/// How long a server may take for the next entry that it says it has.
const PATIENCE: Duration = Duration::from_secs(20);

struct Reading {
    consumer: Consumer<pull::Config>,
    messages: pull::Stream,
    /// Ends with the connection.
    lost: BoxFuture<'static, ()>,
    /// How many the server said that there are.
    promised: u64,
    given: u64,
    has_ended: bool,
    is_part: bool,
}

impl JetStreamLog {
    pub(super) async fn read_stored(&self, which: Which<'_>) -> Result<RawEntries, LogError> {
        if let Which::Key(_) = which {
            let state = self.info().await?.state;
            if state.messages < state.last_sequence {
                let missing = state.last_sequence - state.messages;
                return Err(LogError::Incomplete { missing });
            }
        }
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            filter_subject: match which {
                Which::All => String::new(),
                Which::Category(category) => format!("{SUBJECT}{category}.>"),
                Which::Key(key) => format!("{SUBJECT}*.{key}"),
            },
            ..reader()
        };
        let lost = self.nats.lost().boxed();
        let (consumer, messages) = self.reading(config).await?;
        let promised = consumer.cached_info().num_pending;
        let reading = Reading {
            consumer,
            messages,
            lost,
            promised,
            given: 0,
            has_ended: promised == 0,
            is_part: matches!(which, Which::Key(_)),
        };
        let entries = stream::unfold(Some(reading), |reading| async {
            let mut reading = reading?;
            match reading.next().await.transpose()? {
                Ok(entry) => Some((Ok(entry), Some(reading))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(entries.boxed())
    }
}

impl Reading {
    /// The next entry. A server that lost some of them may say that it has more than come.
    async fn next(&mut self) -> Result<Option<RawEntry>, LogError> {
        let since = Instant::now();
        while !self.has_ended {
            let next = tokio::select! {
                next = timeout(QUIET, self.messages.next()) => next,
                () = &mut self.lost => return Err(LogError::unavailable(anyhow!("the connection was lost"))),
            };
            match next {
                Ok(Some(message)) => {
                    let (entry, is_last) = raw(&message.map_err(LogError::unavailable)?)?;
                    self.has_ended = is_last;
                    self.given += 1;
                    return Ok(Some(entry));
                }
                Ok(None) => self.has_ended = true,
                Err(_) => {
                    let info = self.consumer.get_info().await.map_err(LogError::unavailable)?;
                    self.has_ended = info.num_pending == 0;
                    if since.elapsed() > PATIENCE {
                        return Err(LogError::unavailable(anyhow!(
                            "the server says that it has {} more entries, and gives none",
                            info.num_pending
                        )));
                    }
                }
            }
        }
        if self.is_part && self.given < self.promised {
            let missing = self.promised - self.given;
            return Err(LogError::Incomplete { missing });
        }
        Ok(None)
    }
}

fn raw(message: &Message) -> Result<(RawEntry, bool), LogError> {
    let info = message
        .info()
        .map_err(|error| LogError::Unavailable(anyhow::Error::from_boxed(error)))?;
    let subject = message.subject.as_str();
    let entry = RawEntry {
        position: Position(info.stream_sequence),
        stream: subject.strip_prefix(SUBJECT).unwrap_or(subject).to_owned(),
        bytes: message.payload.clone(),
    };
    Ok((entry, info.pending == 0))
}
