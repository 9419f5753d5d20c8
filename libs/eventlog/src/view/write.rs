//! Writes one view. What it can't understand halts it, and no other; a file that can't be written it tries again.

use super::{
    Opened, ViewError, ViewState, file,
    rebuild::{self, Beside},
    run::{BATCH, Batch},
};
use crate::{Entry, EventLog, LogError, Position};
use futures::StreamExt as _;
use sqlx::{Connection as _, SqliteConnection};
use std::{
    collections::HashSet,
    pin::pin,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::coop::unconstrained,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How far the checkpoint may stay behind while nothing changes the rows.
const PASSED_MAX: u64 = 1_000;

pub(super) struct Writing {
    view: Opened,
    writer: SqliteConnection,
    position: Position,
    /// Where the checkpoint is.
    saved: Position,
}

/// A view that was grown beside the live one shall take its place.
pub(super) struct TakeOver {
    pub(super) beside: Beside,
    pub(super) rebuilt: SqliteConnection,
    /// Where the rebuilt one is.
    pub(super) position: Position,
    pub(super) done: oneshot::Sender<Result<(), ViewError>>,
}

enum Work {
    Batch(Batch),
    TakeOver(TakeOver),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Applied {
    All,
    /// Not now: perhaps later.
    Troubled,
    /// Never, by this build.
    Halted,
}

impl Writing {
    pub(super) fn new(view: Opened, writer: SqliteConnection, position: Position) -> Self {
        Self {
            view,
            writer,
            position,
            saved: position,
        }
    }

    /// Applies what arrives, until nothing more does.
    pub(super) async fn run(
        mut self,
        log: Arc<dyn EventLog>,
        mut batches: mpsc::Receiver<Batch>,
        ending: CancellationToken,
    ) {
        let settling = file::settle(self.view.file.clone(), self.view.state.subscribe(), ending.clone());
        let writing = async {
            let mut given = self.position;
            while let Some(Some(work)) = ending.run_until_cancelled(self.next(&mut batches)).await {
                let batch = match work {
                    Work::Batch(batch) => batch,
                    Work::TakeOver(order) => {
                        let taking = self.take_over(&*log, order, &mut batches, given);
                        given = ending.run_until_cancelled(taking).await.unwrap_or(given);
                        continue;
                    }
                };
                given = batch.last().map_or(given, |entry| entry.position);
                let fresh = batch.partition_point(|entry| entry.position <= self.position);
                if self.is_halted() || self.apply(&batch[fresh..]).await != Applied::Troubled {
                    continue;
                }
                if let Some(healed) = ending.run_until_cancelled(self.heal(&*log, &mut batches, given)).await {
                    given = healed;
                }
            }
        };
        tokio::join!(writing, settling);
        // The follower ended, so the process does. What is not saved is passed again at the next start.
        let _ = file::pass(&mut self.writer, self.position).await;
        let _ = self.writer.close().await;
        self.view.rows.close().await;
    }

    async fn next(&mut self, batches: &mut mpsc::Receiver<Batch>) -> Option<Work> {
        tokio::select! {
            batch = batches.recv() => batch.map(Work::Batch),
            Some(order) = self.view.orders.recv() => Some(Work::TakeOver(order)),
        }
    }

    /// What arrives meanwhile is let go, because the other views would wait for this one, and read from the log again.
    /// Answers how far that was.
    async fn take_over(
        &mut self,
        log: &dyn EventLog,
        order: TakeOver,
        batches: &mut mpsc::Receiver<Batch>,
        mut given: Position,
    ) -> Position {
        let TakeOver {
            beside,
            mut rebuilt,
            position,
            done,
        } = order;
        // It does not say what holds now.
        let say = |troubled: Option<&str>| {
            let troubled = troubled.map(Arc::from);
            self.view.state.send_modify(|state| state.troubled = troubled);
        };
        say(Some("the rebuilt view takes its place"));
        let (projection, reached) = (&*self.view.projection, given.max(self.position));
        let taken = {
            let writer = &mut self.writer;
            let mut taking = pin!(async {
                // No reader may see less than before.
                rebuild::fill(log, projection, &mut rebuilt, position..=reached, &|_| ()).await?;
                rebuilt.close().await?;
                file::replace(projection, writer, beside.path()).await
            });
            loop {
                tokio::select! {
                    taken = &mut taking => break taken,
                    Some(batch) = batches.recv() => given = batch.last().map_or(given, |entry| entry.position),
                }
            }
        };
        say(None);
        if taken.is_ok() {
            self.saved = reached;
            self.view.state.send_modify(|state| state.generation += 1);
            self.moved(reached, true);
            self.ring(&[]);
        }
        drop(beside);
        // Who asked may be gone.
        let _ = done.send(taken);
        self.heal(log, batches, given).await
    }

    fn is_halted(&self) -> bool {
        self.view.state.borrow().halted.is_some()
    }

    /// Tries until the view has all that it was given. What arrives meanwhile is let go, because the other views
    /// would wait for this one, and read from the log again. Answers how far that was.
    async fn heal(&mut self, log: &dyn EventLog, batches: &mut mpsc::Receiver<Batch>, mut given: Position) -> Position {
        while self.position < given && !self.is_halted() {
            if let Err(error) = self.catch_up(log, given).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the log can't be read again yet"
                );
            }
            if self.position >= given {
                break;
            }
            let pause = sleep(RETRY_DELAY);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    batch = batches.recv() => match batch {
                        Some(batch) => given = batch.last().map_or(given, |entry| entry.position),
                        None => return given,
                    },
                }
            }
        }
        given
    }

    async fn catch_up(&mut self, log: &dyn EventLog, given: Position) -> Result<(), LogError> {
        let mut chunks = log.follow(self.position).await?.ready_chunks(BATCH);
        while self.position < given
            && let Some(chunk) = unconstrained(chunks.next()).await
        {
            let batch: Vec<Entry> = chunk.into_iter().collect::<Result<_, _>>()?;
            if self.apply(&batch).await != Applied::All {
                break;
            }
        }
        Ok(())
    }

    async fn apply(&mut self, batch: &[Entry]) -> Applied {
        let Some(last) = batch.last() else {
            return Applied::All;
        };
        let projection = &self.view.projection;
        let (reads, keeps) = (projection.reads(), projection.keeps());
        let changes = batch.iter().any(|entry| {
            let category = &entry.stream.category.as_str();
            keeps.contains(category) || (reads.contains(category) && !projection.ignores(entry))
        });
        if !changes && last.position.0 - self.saved.0 < PASSED_MAX {
            self.moved(last.position, false);
            return Applied::All;
        }
        match file::apply(&**projection, &mut self.writer, batch).await {
            Ok(()) => {
                self.saved = last.position;
                self.moved(last.position, changes);
                self.ring(batch);
                Applied::All
            }
            Err(ViewError::Log(_)) if batch.len() > 1 => {
                // Everything before the entry that stops the view still counts.
                for entry in batch {
                    let applied = Box::pin(self.apply(std::slice::from_ref(entry))).await;
                    if applied != Applied::All {
                        return applied;
                    }
                }
                Applied::All
            }
            Err(error) => self.failed(&error),
        }
    }

    fn moved(&mut self, position: Position, changed: bool) {
        self.position = position;
        self.view.state.send_modify(|state| {
            *state = ViewState {
                position,
                changed: if changed { position } else { state.changed },
                generation: state.generation,
                ..ViewState::default()
            };
        });
    }

    /// Wakes those who act on some of these entries; without any, everybody.
    fn ring(&self, batch: &[Entry]) {
        // There may be thousands of bells, and a thousand entries.
        let streams: HashSet<(&str, &str)> = batch
            .iter()
            .map(|entry| (entry.stream.category.as_str(), entry.stream.key.as_str()))
            .collect();
        let categories: HashSet<&str> = streams.iter().map(|(category, _)| *category).collect();
        for bell in &*self.view.bells.lock().unwrap_or_else(PoisonError::into_inner) {
            let concerns = bell.categories.iter().any(|category| match &bell.key {
                Some(key) => streams.contains(&(*category, key.as_str())),
                None => categories.contains(category),
            });
            if batch.is_empty() || concerns {
                bell.rings.send_replace(self.position);
            }
        }
    }

    fn failed(&self, error: &ViewError) -> Applied {
        let (name, reported) = (self.view.projection.name(), error as &dyn std::error::Error);
        if let ViewError::File(cause) = error
            && may_heal(cause)
        {
            tracing::error!(error = reported, view = name, "the view does not get on");
            let cause = cause
                .as_database_error()
                .map_or_else(|| cause.to_string(), |error| error.message().to_owned());
            self.view.state.send_if_modified(|state| {
                let news = state.troubled.as_deref() != Some(&cause);
                state.troubled = Some(cause.as_str().into());
                news
            });
            return Applied::Troubled;
        }
        tracing::error!(error = reported, view = name, "the view stopped");
        let why = reported.source().map(|why| why.to_string().into());
        self.view.state.send_modify(|state| {
            state.halted = Some(error.to_string().into());
            state.why = why;
        });
        self.ring(&[]);
        Applied::Halted
    }
}

/// A full disk can be freed. A statement that fails on its own will fail again: that view is broken.
fn may_heal(error: &sqlx::Error) -> bool {
    // Busy, read-only, I/O error, full, can't open.
    const CODES: [i64; 5] = [5, 8, 10, 13, 14];
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        error => file::is_one_of(error, &CODES),
    }
}
