//! Feeds all views of a process from one follower of the log.

use super::{ViewState, Views, file, write::Writing};
use crate::{Entry, EventLog, LogError, Position};
use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, coop::unconstrained},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// At most this many entries in one transaction. A view that grows back touches the same pages again and again, so with
/// a tenth of it that takes twice as long.
pub(super) const BATCH: usize = 10_000;
/// Batches that wait for a slow view.
const QUEUE: usize = 2;
/// A transaction costs as much as hundreds of rows, so entries that come at a quick pace share one: the quicker they
/// come, the more.
const PACE: Duration = Duration::from_millis(3);
const PACE_MAX: Duration = Duration::from_millis(25);
const EASY: u32 = 4;
/// So many are worth a transaction: who is behind does not dawdle.
const PLENTY: u32 = 200;
const REOPEN_DELAY: Duration = Duration::from_millis(100);
/// At the start, a log that answers and gives none of what it says it has for so long is damaged.
const STUCK: Duration = Duration::from_mins(1);

pub(super) type Batch = Arc<Vec<Entry>>;

impl Views {
    /// Opens every view and brings it to where the log is now; `ready` is told then. Goes on until told to stop.
    ///
    /// # Errors
    /// When a view is ahead of the log, or the log does not give what it says it has: it lost entries, and nothing must
    /// be written to it.
    pub async fn run(
        &self,
        log: Arc<dyn EventLog>,
        ready: watch::Sender<bool>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let opened = std::mem::take(&mut *self.opened.lock().unwrap_or_else(PoisonError::into_inner));
        let head = log.head().await.context("the log's end is not known")?;
        self.head.send_replace(head);
        let mut from = head;
        let mut tasks = JoinSet::new();
        let mut queues = Vec::new();
        let mut states = Vec::new();
        let ending = CancellationToken::new();
        for view in opened {
            let name = view.projection.name();
            let (writer, position) = file::open(&*view.projection, &view.file)
                .await
                .with_context(|| format!("the view {name} can't be opened"))?;
            ensure_whole(head, name, position)?;
            from = from.min(position);
            let (sender, receiver) = mpsc::channel(QUEUE);
            view.state.send_modify(|state| state.position = position);
            states.push(view.state.subscribe());
            queues.push(sender);
            let writing = Writing::new(view, writer, position);
            tasks.spawn(writing.run(log.clone(), receiver, ending.clone()));
        }
        let caught_up = async {
            for state in &mut states {
                catch_up(&*log, state, head, STUCK).await?;
            }
            ready.send_replace(true);
            std::future::pending().await
        };
        let outcome = tokio::select! {
            lost = self.feed(&*log, from, queues) => lost,
            stuck = caught_up => stuck,
            () = stop.cancelled() => Ok(()),
            Some(ended) = tasks.join_next() => ended.context("a view's writer panicked"),
        };
        // A transaction that is still being written would meet whoever opens the same files next.
        ending.cancel();
        while tasks.join_next().await.is_some() {}
        outcome
    }

    /// The checkpoint is the only cursor, so a broken stream is simply opened again. It ends only with a log that
    /// came back shorter than it was.
    async fn feed(
        &self,
        log: &dyn EventLog,
        mut from: Position,
        queues: Vec<mpsc::Sender<Batch>>,
    ) -> anyhow::Result<()> {
        loop {
            if let Err(error) = self.follow(log, &mut from, &queues).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "lost the log at {from}, opening it again"
                );
            }
            sleep(REOPEN_DELAY).await;
            if let Ok(head) = log.head().await {
                ensure_whole(head, "of this process", from)?;
            }
        }
    }

    async fn follow(
        &self,
        log: &dyn EventLog,
        from: &mut Position,
        queues: &[mpsc::Sender<Batch>],
    ) -> Result<(), LogError> {
        let mut chunks = log.follow(*from).await?.ready_chunks(BATCH);
        // Tokio would make the stream look empty after 128 entries, and a transaction costs as much as hundreds of rows.
        while let Some(chunk) = unconstrained(chunks.next()).await {
            let next = Instant::now() + pause(chunk.len());
            let (mut batch, mut failed) = (Vec::with_capacity(chunk.len()), None);
            for entry in chunk {
                match entry {
                    Ok(entry) => batch.push(entry),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            if let Some(last) = batch.last() {
                *from = last.position;
                self.head.send_if_modified(|head| {
                    let newer = last.position > *head;
                    *head = last.position.max(*head);
                    newer
                });
                let batch = Arc::new(batch);
                for queue in queues {
                    // A view that ended takes the process down with it, in `run`.
                    let _ = queue.send(batch.clone()).await;
                }
            }
            failed.map_or(Ok(()), Err)?;
            sleep_until(next).await;
        }
        Ok(())
    }
}

/// Until the next transaction, after one with so many entries.
fn pause(entries: usize) -> Duration {
    match u32::try_from(entries) {
        Ok(entries) if entries < PLENTY => (PACE * (1 + entries / EASY)).min(PACE_MAX),
        _ => Duration::ZERO,
    }
}

/// Waits until a view is where the log was at the start.
async fn catch_up(
    log: &dyn EventLog,
    state: &mut watch::Receiver<ViewState>,
    head: Position,
    stuck: Duration,
) -> anyhow::Result<()> {
    loop {
        let before = state.borrow().position;
        let reached = state.wait_for(|state| state.position >= head || state.halted.is_some());
        if timeout(stuck, reached).await.is_ok() {
            return Ok(());
        }
        let ViewState { position, troubled, .. } = state.borrow().clone();
        let is_stuck = position == before && troubled.is_none() && log.head().await.is_ok();
        ensure!(
            !is_stuck,
            "the event log says that it ends at {head}, and gives nothing behind {position}: it is damaged. Restore it; \
             `cooper verify --data` tells from which position on"
        );
    }
}

fn ensure_whole(head: Position, view: &str, seen: Position) -> anyhow::Result<()> {
    ensure!(
        seen <= head,
        "the event log lost {lost} entries: it ends at {head}, and the view {view} has seen {seen}. Restore the log, \
         or delete the views to accept the loss",
        lost = seen.0 - head.0
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryLog;

    // covers E9
    #[tokio::test]
    async fn a_log_that_gives_nothing_of_what_it_has_is_damaged() {
        let log = Arc::new(MemoryLog::default());
        let (head, stuck) = (Position(288), Duration::from_millis(1));
        let (tell, mut state) = watch::channel(ViewState {
            position: Position(287),
            ..ViewState::default()
        });
        let damaged = catch_up(&log, &mut state, head, stuck).await.unwrap_err().to_string();
        assert!(
            damaged.contains("ends at 288, and gives nothing behind 287"),
            "{damaged}"
        );

        // A full disk is no fault of the log.
        tell.send_modify(|state| state.troubled = Some("full".into()));
        let waits = timeout(50 * stuck, catch_up(&log, &mut state, head, stuck)).await;
        assert!(waits.is_err());
        tell.send_modify(|state| state.position = head);
        catch_up(&log, &mut state, head, stuck).await.unwrap();
    }
}
