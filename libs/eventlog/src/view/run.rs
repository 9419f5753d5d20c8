//! Feeds all views of a process from one follower of the log.

use super::{Opened, ViewError, ViewState, Views, file};
use crate::{Entry, EventLog, LogError, Position};
use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use sqlx::{Connection as _, SqliteConnection};
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// At most this many entries in one transaction.
const BATCH: usize = 1_000;
/// Batches that wait for a slow view.
const QUEUE: usize = 4;
const REOPEN_DELAY: Duration = Duration::from_millis(100);
const RETRY_DELAY: Duration = Duration::from_secs(1);

type Batch = Arc<Vec<Entry>>;

impl Views {
    /// Opens every view and brings it to where the log is now; `ready` is told then. Goes on until told to stop.
    ///
    /// # Errors
    /// When a view is ahead of the log: the log lost entries, and nothing must be written to it.
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
            let (writer, position) = file::open(&view)
                .await
                .with_context(|| format!("the view {name} can't be opened"))?;
            ensure_whole(head, name, position)?;
            from = from.min(position);
            let (sender, receiver) = mpsc::channel(QUEUE);
            view.state.send_modify(|state| state.position = position);
            states.push(view.state.subscribe());
            queues.push(sender);
            tasks.spawn(write(view, writer, position, receiver, ending.clone()));
        }
        let caught_up = async {
            for state in &mut states {
                let reached = state.wait_for(|state| state.position >= head || state.halted.is_some());
                if reached.await.is_err() {
                    return;
                }
            }
            ready.send_replace(true);
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            lost = self.feed(&*log, from, queues) => lost,
            () = caught_up => Ok(()),
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
        while let Some(chunk) = chunks.next().await {
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
        }
        Ok(())
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

/// Applies what arrives. An entry that can't be understood halts this view, and no other.
async fn write(
    view: Opened,
    mut writer: SqliteConnection,
    mut position: Position,
    mut batches: mpsc::Receiver<Batch>,
    ending: CancellationToken,
) {
    while let Some(Some(batch)) = ending.run_until_cancelled(batches.recv()).await {
        let fresh = batch.partition_point(|entry| entry.position <= position);
        if view.state.borrow().halted.is_some() {
            continue;
        }
        if apply(&view, &mut writer, &batch[fresh..], &ending).await
            && let Some(last) = batch.last()
        {
            position = position.max(last.position);
        }
    }
    // The follower ended, so the process does.
    let _ = writer.close().await;
    view.rows.close().await;
}

/// Whether the batch is in the view. A file that can't be written is tried again until it can.
async fn apply(view: &Opened, writer: &mut SqliteConnection, batch: &[Entry], ending: &CancellationToken) -> bool {
    let name = view.projection.name();
    loop {
        let error = match file::apply(view, writer, batch).await {
            Ok(()) => {
                if let Some(last) = batch.last() {
                    view.state.send_replace(ViewState {
                        position: last.position,
                        ..ViewState::default()
                    });
                }
                return true;
            }
            Err(error) => error,
        };
        match &error {
            ViewError::Log(_) if batch.len() > 1 => {
                // Everything before the entry that stops the view still counts.
                for entry in batch {
                    if !Box::pin(apply(view, writer, std::slice::from_ref(entry), ending)).await {
                        return false;
                    }
                }
                return true;
            }
            ViewError::File(cause) if may_heal(cause) => {
                let cause = cause.to_string();
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    view = name,
                    "the view does not get on"
                );
                view.state.send_if_modified(|state| {
                    let news = state.troubled.as_deref() != Some(&cause);
                    state.troubled = Some(cause.as_str().into());
                    news
                });
                if ending.run_until_cancelled(sleep(RETRY_DELAY)).await.is_none() {
                    return false;
                }
            }
            ViewError::Log(_) | ViewError::Json(_) | ViewError::File(_) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    view = name,
                    "the view stopped"
                );
                view.state
                    .send_modify(|state| state.halted = Some(error.to_string().into()));
                return false;
            }
        }
    }
}

/// A full disk can be freed. A statement that fails on its own will fail again: that view is broken.
fn may_heal(error: &sqlx::Error) -> bool {
    // Busy, read-only, I/O error, full, can't open.
    const CODES: [i64; 5] = [5, 8, 10, 13, 14];
    match error {
        sqlx::Error::Database(error) => {
            let extended = error.code().and_then(|code| code.parse::<i64>().ok());
            extended.is_some_and(|code| CODES.contains(&(code & 0xff)))
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        _ => false,
    }
}
