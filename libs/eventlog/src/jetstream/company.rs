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
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::{
        Mutex as Turn, Semaphore,
        oneshot::{self, error::TryRecvError},
    },
    time::{Instant, sleep_until},
};

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// From this many on, a batch is quicker.
const MANY: usize = 12;
/// Far below what a server takes.
const MANY_MAX: usize = 200;

pub(super) struct Company {
    nats: Nats,
    batches: Semaphore,
    waiting: Mutex<Waiting>,
    lead: Turn<()>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    members: Vec<Member>,
}

struct Member {
    number: u64,
    entry: Append,
    answer: oneshot::Sender<Published>,
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
    ///
    /// After the deadline it is not begun any more, and whoever stops waiting takes theirs along.
    pub(super) async fn publish_one(&self, entry: &Append, deadline: Instant) -> Published {
        let (answer, mut answered) = oneshot::channel();
        let number = self.join(entry.clone(), answer);
        let _lead = tokio::select! {
            biased;
            answer = &mut answered => return answer.unwrap_or_else(|_| left()),
            lead = self.lead.lock() => lead,
            () = sleep_until(deadline) => {
                if self.leave(number) {
                    return Published::NotSent(anyhow!("the ones before it have no answer yet"));
                }
                return answered.await.unwrap_or_else(|_| left());
            }
        };
        loop {
            match answered.try_recv() {
                Ok(answer) => return answer,
                Err(TryRecvError::Closed) => return left(),
                Err(TryRecvError::Empty) => self.publish_group(self.group()).await,
            }
        }
    }

    fn join(&self, entry: Append, answer: oneshot::Sender<Published>) -> u64 {
        let mut waiting = self.waiting();
        waiting.next += 1;
        let number = waiting.next;
        waiting.members.push(Member { number, entry, answer });
        number
    }

    /// Whether it still waited.
    fn leave(&self, number: u64) -> bool {
        let mut waiting = self.waiting();
        let before = waiting.members.len();
        waiting.members.retain(|member| member.number != number);
        waiting.members.len() < before
    }

    /// Those that go next; nobody who gave up is among them.
    fn group(&self) -> Vec<Member> {
        let members = &mut self.waiting().members;
        members.retain(|member| !member.answer.is_closed());
        let later = members.split_off(members.len().min(MANY_MAX));
        mem::replace(members, later)
    }

    async fn publish_group(&self, group: Vec<Member>) {
        let (entries, answers): (Vec<Append>, Vec<_>) =
            group.into_iter().map(|member| (member.entry, member.answer)).unzip();
        let tell = |each: &dyn Fn(usize) -> Published, answers: Vec<oneshot::Sender<Published>>| {
            for (index, answer) in answers.into_iter().enumerate() {
                // Who gave up meanwhile is not told.
                let _ = answer.send(each(index));
            }
        };
        if !self.nats.is_connected() {
            // It would be sent later, by surprise.
            return tell(&|_| Published::NotSent(anyhow!("not connected")), answers);
        }
        if entries.len() >= MANY {
            match self.publish(&entries).await {
                Published::Stored { sequence, .. } => {
                    let before = sequence - entries.len() as u64;
                    let stored = |index: usize| Published::Stored {
                        sequence: before + 1 + index as u64,
                        duplicate: false,
                    };
                    return tell(&stored, answers);
                }
                // One of them is in the way, and it is not known which.
                Published::Rejected(_) => (),
                Published::NotSent(error) => {
                    return tell(&|_| Published::NotSent(anyhow!("{error:#}")), answers);
                }
                Published::Unknown { error, is_late } => {
                    let unknown = |_| Published::Unknown {
                        error: anyhow!("{error:#}"),
                        is_late,
                    };
                    return tell(&unknown, answers);
                }
            }
        }
        let alone = entries.iter().zip(answers).map(async |(entry, answer)| {
            let _ = answer.send(self.nats.publish(vec![message(entry)]).await);
        });
        join_all(alone).await;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever led went away in the middle.
fn left() -> Published {
    Published::unknown(anyhow!("no answer"))
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
