//! A damaged view is put right, a stopped one goes on, and nobody disturbs another's rebuild.

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
