//! Appends that meet on their way go together: a server that flushes every message to the disk takes an atomic batch of
//! any size as quickly as some ten messages.

use super::{OPEN_BATCHES, SUBJECT};
use crate::{
    Append, Nats,
    publish::{Message, Published},
};
use anyhow::anyhow;
use async_nats::HeaderMap;
use futures::future::join_all;
use std::{
    mem,
    sync::{Mutex, PoisonError},
};
use tokio::sync::{Mutex as Turn, Semaphore, oneshot};

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// From this many on, a batch is quicker.
const MANY: usize = 12;
/// Far below what a server takes.
const MANY_MAX: usize = 200;

type Waiting = (Append, oneshot::Sender<Published>);

pub(super) struct Company {
    nats: Nats,
    batches: Semaphore,
    waiting: Mutex<Vec<Waiting>>,
    lead: Turn<()>,
}

impl Company {
    pub(super) fn new(nats: Nats) -> Self {
        Self {
            nats,
            batches: Semaphore::new(OPEN_BATCHES),
            waiting: Mutex::default(),
            lead: Turn::default(),
        }
    }

    /// All of them, or none.
    pub(super) async fn publish(&self, entries: &[Append]) -> Published {
        // Never closed.
        let _permit = self.batches.acquire().await.ok();
        self.nats.publish(entries.iter().map(message).collect()).await
    }

    /// One, with those of others that wait by then. Whoever gets the lead writes for all.
    pub(super) async fn publish_one(&self, entry: &Append) -> Published {
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push((entry.clone(), answer));
        let _lead = tokio::select! {
            biased;
            answer = &mut answered => return answer.unwrap_or_else(|_| left()),
            lead = self.lead.lock() => lead,
        };
        if let Ok(answer) = answered.try_recv() {
            return answer;
        }
        let group = {
            let mut waiting = self.waiting();
            let count = waiting.len().min(MANY_MAX);
            let later = waiting.split_off(count);
            mem::replace(&mut *waiting, later)
        };
        self.publish_group(group).await;
        answered.try_recv().unwrap_or_else(|_| left())
    }

    async fn publish_group(&self, group: Vec<Waiting>) {
        let (entries, answers): (Vec<Append>, Vec<_>) = group.into_iter().unzip();
        if entries.len() >= MANY {
            match self.publish(&entries).await {
                Published::Stored { sequence, .. } => {
                    let first = sequence + 1 - entries.len() as u64;
                    for (sequence, answer) in (first..).zip(answers) {
                        let _ = answer.send(Published::Stored {
                            sequence,
                            duplicate: false,
                        });
                    }
                    return;
                }
                // One of them is in the way, and it is not known which.
                Published::Rejected(_) => (),
                Published::NotSent(error) | Published::Unknown(error) => {
                    tracing::debug!("{} appends got no answer: {error:#}", entries.len());
                    // Each of them finds out.
                    return;
                }
            }
        }
        let alone = entries.iter().zip(answers).map(async |(entry, answer)| {
            let _ = answer.send(self.nats.publish(vec![message(entry)]).await);
        });
        join_all(alone).await;
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever led went away in the middle.
fn left() -> Published {
    Published::Unknown(anyhow!("no answer"))
}

fn message(entry: &Append) -> Message {
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED, entry.expected.0.to_string());
    Message {
        subject: format!("{SUBJECT}{}", entry.stream),
        headers,
        bytes: entry.bytes.clone(),
    }
}
