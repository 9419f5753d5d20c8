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
mod tests {
    use super::*;
    use crate::{Append, Envelope, MemoryLog, StreamId, Views};
    use async_trait::async_trait;
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    const LONG: Duration = Duration::from_secs(20);

    /// How many entries each stream has.
    struct Counting {
        is_broken: Arc<AtomicBool>,
    }

    #[async_trait]
    impl Projection for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        fn schema(&self) -> &'static str {
            "CREATE TABLE count (stream TEXT PRIMARY KEY, entries INTEGER) WITHOUT ROWID;
             CREATE TABLE seen (stream TEXT, position INTEGER);"
        }

        fn reads(&self) -> &'static [&'static str] {
            &["thing"]
        }

        async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError> {
            for entry in batch {
                if self.is_broken.load(Ordering::Relaxed) {
                    let position = entry.position;
                    return Err(LogError::UnknownEvent { position }.into());
                }
                let stream = entry.stream.to_string();
                sqlx::query("INSERT INTO count VALUES (?, 1) ON CONFLICT DO UPDATE SET entries = entries + 1")
                    .bind(&stream)
                    .execute(&mut *view)
                    .await?;
                sqlx::query("INSERT INTO seen VALUES (?, ?)")
                    .bind(&stream)
                    .bind(entry.position.as_i64())
                    .execute(&mut *view)
                    .await?;
            }
            Ok(())
        }
    }

    struct Given {
        log: Arc<MemoryLog>,
        view: View,
        views: Arc<Views>,
        folder: tempfile::TempDir,
        is_broken: Arc<AtomicBool>,
    }

    impl Given {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let views = Arc::new(Views::new(folder.path()));
            let is_broken = Arc::new(AtomicBool::default());
            let view = views.open(Counting {
                is_broken: is_broken.clone(),
            });
            Self {
                log: Arc::new(MemoryLog::default()),
                view,
                views,
                folder,
                is_broken,
            }
        }

        async fn write(&self, key: u32) -> Position {
            let stream = StreamId::new("thing", key);
            let append = Append {
                expected: self.log.version(&stream).await.unwrap(),
                stream,
                bytes: prost::Message::encode_to_vec(&Envelope::default()).into(),
            };
            self.log.append(vec![append]).await.unwrap()
        }

        /// Follows the log while a story goes on.
        async fn during<T>(&self, story: impl Future<Output = T>) -> T {
            let (log, ready) = (Arc::new(self.log.clone()), watch::Sender::default());
            tokio::select! {
                ended = self.views.run(log, ready, CancellationToken::new()) => panic!("{ended:?}"),
                told = story => told,
            }
        }

        async fn counted(&self) -> Vec<(String, i64)> {
            let rows = sqlx::query_as("SELECT * FROM count ORDER BY 1").fetch_all(self.view.rows());
            rows.await.unwrap()
        }

        /// Behind the back of the view.
        async fn damage(&self, statement: &'static str) {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("counting.db"));
            let mut file = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::query(statement).execute(&mut file).await.unwrap();
            file.close().await.unwrap();
        }
    }

    // covers E9
    #[tokio::test]
    async fn a_view_that_is_not_what_the_log_says_is_put_right_and_goes_on() {
        let given = Given::new();
        let story = async {
            for key in [1, 2, 1] {
                given.view.reach(given.write(key).await, LONG).await.unwrap();
            }
            let first = given.view.rebuild(&given.log, |_| ()).await.unwrap();
            assert_eq!(
                (first.position, &*first.differing, first.replaced),
                (Position(3), &[][..], false)
            );

            given
                .damage("UPDATE count SET entries = 7 WHERE stream = 'thing.2'")
                .await;
            given.damage("DROP TABLE seen").await;
            let second = given.view.rebuild(&given.log, |_| ()).await.unwrap();
            let differs = |table: &str, live_rows, rebuilt_rows| Differing {
                table: table.to_owned(),
                live_rows,
                rebuilt_rows,
            };
            assert_eq!(second.differing, [differs("count", 2, 2), differs("seen", 0, 3)]);
            assert!(second.replaced);
            assert_eq!(second.hash, first.hash, "the log is the same");

            given.view.reach(given.write(2).await, LONG).await.unwrap();
            let counts = [("thing.1".to_owned(), 2), ("thing.2".to_owned(), 2)];
            assert_eq!(given.counted().await, counts);
            let third = given.view.rebuild(&given.log, |_| ()).await.unwrap();
            assert!(!third.replaced, "{third:?}");
        };
        given.during(story).await;
        let left = std::fs::read_dir(given.folder.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(
            left.iter().all(|name| !name.to_string_lossy().contains("rebuilt")),
            "{left:?}"
        );
    }

    /// The live one is not touched before whoever asked first is answered, though they left.
    #[tokio::test]
    async fn nobody_rebuilds_while_a_view_waits_to_take_over() {
        let given = Given::new();
        given.write(1).await;
        let mut opened = given.views.opened.lock().unwrap().pop().unwrap();
        file::open(&*opened.projection, &opened.file).await.unwrap();
        given.damage("INSERT INTO count VALUES ('thing.9', 9)").await;
        let waiting = tokio::select! {
            ended = given.view.rebuild(&given.log, |_| ()) => panic!("{ended:?}"),
            order = opened.orders.recv() => order.unwrap(),
        };
        let second = given.view.rebuild(&given.log, |_| ()).await.unwrap_err();
        assert!(matches!(second, RebuildError::Running("counting")), "{second:?}");
        drop(waiting);
        tokio::select! {
            ended = given.view.rebuild(&given.log, |_| ()) => panic!("{ended:?}"),
            order = opened.orders.recv() => assert!(order.is_some()),
        }
    }

    // covers E9
    #[tokio::test]
    async fn a_view_that_stopped_goes_on_when_it_can_be_rebuilt() {
        let given = Given::new();
        let story = async {
            given.view.reach(given.write(1).await, LONG).await.unwrap();
            given.is_broken.store(true, Ordering::Relaxed);
            let last = given.write(1).await;
            assert!(given.view.reach(last, LONG).await.is_err());
            let again = given.view.rebuild(&given.log, |_| ()).await.unwrap_err();
            assert!(matches!(again, RebuildError::View(ViewError::Log(_))), "{again:?}");
            assert!(given.view.goes_on().is_err());

            given.is_broken.store(false, Ordering::Relaxed);
            assert!(given.view.rebuild(&given.log, |_| ()).await.unwrap().replaced);
            given.view.reach(last, LONG).await.unwrap();
            assert_eq!(given.counted().await, [("thing.1".to_owned(), 2)]);
        };
        given.during(story).await;
    }
}
