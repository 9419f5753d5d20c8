//! Grows a view again beside the live one, compares the two, and has the new one take the place of a live one that is
//! not the same. Callers read the live one all the time, and see nothing in between.

use super::{Projection, View, ViewError, dump, file, run::BATCH, write::TakeOver};
use crate::{Entry, EventLog, LogError, Position};
use anyhow::anyhow;
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, SqliteConnection};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard, mpsc, oneshot},
    task::coop::unconstrained,
};

/// What a view grows from.
pub(super) struct Seed {
    pub(super) projection: Arc<dyn Projection>,
    pub(super) file: PathBuf,
    pub(super) writer: mpsc::Sender<TakeOver>,
    pub(super) one: Arc<Mutex<()>>,
}

/// How a rebuilt view compares with the live one.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// Where the two were compared.
    pub position: Position,
    /// In the rebuilt one.
    pub rows: u64,
    /// SHA-256 of the dump of the rebuilt one, in hexadecimal: the same wherever the same build is at this position.
    pub hash: String,
    pub differing: Vec<Differing>,
    /// The rebuilt one is the live one now.
    pub replaced: bool,
}

/// A table that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    pub table: String,
    pub live_rows: u64,
    pub rebuilt_rows: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("the view {0} is being rebuilt already: wait for that")]
    Running(&'static str),
    #[error("the process is stopping")]
    Stopping,
    #[error("the live view's file is damaged: stop the process, delete {}, and start it again", .0.display())]
    Damaged(PathBuf),
    #[error(transparent)]
    View(#[from] ViewError),
}

impl From<sqlx::Error> for RebuildError {
    fn from(error: sqlx::Error) -> Self {
        Self::View(error.into())
    }
}

/// The file beside the live one, which is gone when this is; and that nobody else makes another meanwhile.
pub(super) struct Beside {
    path: PathBuf,
    _one: OwnedMutexGuard<()>,
}

impl Beside {
    fn new(live: &Path, one: OwnedMutexGuard<()>) -> Result<Self, ViewError> {
        let path = live.with_extension("rebuilt");
        // A process that was killed left one.
        file::remove(&path)?;
        Ok(Self { path, _one: one })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Err(error) = file::remove(&self.path) {
            let path = self.path.display();
            tracing::warn!(error = &error as &dyn std::error::Error, "{path} is left");
        }
    }
}

impl View {
    /// Rebuilds this view from the log. `passed` hears how far it is.
    ///
    /// # Errors
    /// When the log or a file can't be read, or the log has an entry that this build does not know. The live view is as
    /// it was then.
    pub async fn rebuild(
        &self,
        log: &dyn EventLog,
        passed: impl Fn(Position) + Send + Sync,
    ) -> Result<Rebuilt, RebuildError> {
        let Seed {
            projection,
            file,
            writer,
            one,
        } = &*self.seed;
        let Ok(one) = one.clone().try_lock_owned() else {
            return Err(RebuildError::Running(self.name()));
        };
        let beside = Beside::new(file, one)?;
        let (mut rebuilt, start) = file::open(&**projection, beside.path()).await?;
        let mut live = file::read(file).await?;
        let saved = file::position(&mut live).await?;
        fill(log, &**projection, &mut rebuilt, start..=saved, &passed).await?;
        // From here on the live one holds still for this reader, and not long: its write-ahead log grows meanwhile.
        sqlx::query("BEGIN").execute(&mut live).await?;
        let position = file::position(&mut live).await?;
        fill(log, &**projection, &mut rebuilt, saved..=position, &passed).await?;
        let compared = compare(&mut live, &mut rebuilt).await;
        let compared = compared.map_err(|error| {
            if file::is_damaged(&error) {
                RebuildError::Damaged(file.clone())
            } else {
                error.into()
            }
        })?;
        live.close().await?;

        let replaced = !compared.differing.is_empty() || self.goes_on().is_err();
        if replaced {
            let (done, answer) = oneshot::channel();
            let order = TakeOver {
                beside,
                rebuilt,
                position,
                done,
            };
            writer.send(order).await.map_err(|_| RebuildError::Stopping)?;
            answer.await.map_err(|_| RebuildError::Stopping)??;
        } else {
            rebuilt.close().await?;
        }
        Ok(Rebuilt {
            position,
            rows: compared.rows,
            hash: compared.hash,
            differing: compared.differing,
            replaced,
        })
    }
}

struct Compared {
    rows: u64,
    hash: String,
    differing: Vec<Differing>,
}

/// A table that the live one lacks counts as empty.
async fn compare(live: &mut SqliteConnection, rebuilt: &mut SqliteConnection) -> sqlx::Result<Compared> {
    let (mut rows, mut hash, mut differing) = (0, Sha256::new(), Vec::new());
    for table in dump::tables(rebuilt).await? {
        let was = match table.sum(live).await {
            Err(error) if file::is_misshapen(&error) => dump::Sum::default(),
            was => was?,
        };
        let is = table.sum(rebuilt).await?;
        rows += is.rows;
        hash.update(&table.name);
        hash.update(is.hash);
        if was != is {
            differing.push(Differing {
                table: table.name,
                live_rows: was.rows,
                rebuilt_rows: is.rows,
            });
        }
    }
    let hash = base16ct::lower::encode_string(&hash.finalize());
    Ok(Compared { rows, hash, differing })
}

/// Applies what is behind the start, up to the end.
pub(super) async fn fill(
    log: &dyn EventLog,
    projection: &dyn Projection,
    writer: &mut SqliteConnection,
    range: std::ops::RangeInclusive<Position>,
    passed: &(impl Fn(Position) + Sync),
) -> Result<(), ViewError> {
    let (mut at, end) = range.into_inner();
    if at >= end {
        return Ok(());
    }
    let mut chunks = log.follow(at).await?.ready_chunks(BATCH);
    while at < end {
        let Some(chunk) = unconstrained(chunks.next()).await else {
            return Err(LogError::Unavailable(anyhow!("it was read up to {at} only")).into());
        };
        let mut batch: Vec<Entry> = chunk.into_iter().collect::<Result<_, _>>()?;
        batch.truncate(batch.partition_point(|entry| entry.position <= end));
        let Some(last) = batch.last() else { break };
        at = last.position;
        file::apply(projection, writer, &batch).await?;
        passed(at);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
