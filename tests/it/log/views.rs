//! Views: as good as rebuilt whatever happened, loud when the log lost something, halted only where they must.

use super::{
    contract::jetstream,
    tally::{Process, TOTALS, Totals, WITHIN},
};
use async_trait::async_trait;
use eventlog::{
    Append, AppendError, Behind, Entries, Entry, Envelope, EventLog, ExecuteError, JetStreamLog, LogError, Nats,
    NatsConfig, Position, Projection, RawEntries, StreamId, ViewError, Which,
};
use futures::StreamExt as _;
use sqlx::SqliteConnection;
use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tests::{Child, NatsServer, dump};

/// Fills a log, in batches and alone, and answers its end.
async fn fill(process: &Process, entries: u64) -> Position {
    let mut last = 0;
    for n in 0..entries {
        last = process.add(&format!("tally{}", n % 7), n + 1).await.unwrap().0;
    }
    Position(last)
}

#[tokio::test]
async fn a_rebuilt_view_equals_the_live_one() {
    let log = jetstream().await;
    let (live, rebuilt) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let process = Process::start(log.shared(), live.path()).await.unwrap();
    let end = fill(&process, 500).await;
    process.view.reach(end, WITHIN).await.unwrap();
    process.end().await;
    Process::start(log.shared(), rebuilt.path()).await.unwrap().end().await;
    let (live, rebuilt) = (dump(live.path()).await.unwrap(), dump(rebuilt.path()).await.unwrap());
    assert!(live.lines().count() > 500, "the kept entries are part of it");
    assert_eq!(live, rebuilt);
}

#[tokio::test]
async fn a_view_of_another_shape_grows_again_from_nothing() {
    struct Wider;

    #[async_trait]
    impl Projection for Wider {
        fn name(&self) -> &'static str {
            "totals"
        }

        fn reads(&self) -> &'static [&'static str] {
            TOTALS.reads()
        }

        fn schema(&self) -> &'static str {
            "CREATE TABLE wide (position INTEGER PRIMARY KEY)"
        }

        async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError> {
            for entry in batch {
                let insert = sqlx::query("INSERT INTO wide VALUES (?)").bind(entry.position.as_i64());
                insert.execute(&mut *view).await?;
            }
            Ok(())
        }
    }

    let log = jetstream().await;
    let folder = TempDir::new().unwrap();
    let process = Process::start(log.shared(), folder.path()).await.unwrap();
    fill(&process, 20).await;
    process.end().await;
    let process = Process::start_with(log.shared(), folder.path(), Wider, [])
        .await
        .unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM wide")
        .fetch_one(process.view.rows())
        .await
        .unwrap();
    assert_eq!(rows, 20);
    process.end().await;
}

// covers E2
#[tokio::test]
async fn rows_and_checkpoint_move_together_wherever_a_process_is_killed() {
    const KILLS: u64 = 12;
    let server = NatsServer::start().await.unwrap();
    let (writing, killed, whole) = (
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    let log: Arc<dyn EventLog> = Arc::new(server.connect("catalog").await.unwrap().log().await.unwrap());
    let writer = Process::start(log.clone(), writing.path()).await.unwrap();
    let end = fill(&writer, 30 * KILLS).await;
    let last = format!("applied {end}.");
    for _ in 0..KILLS {
        let mut child = Child::spawn("a process with a view", &mut again(&server, killed.path())).unwrap();
        let far_enough = |lines: &[String]| {
            let applied = lines.iter().filter(|line| line.starts_with("applied ")).count();
            applied > 12 || lines.contains(&last)
        };
        child.said_enough("how far it is", far_enough).await.unwrap();
        child.kill();
        if child.said().contains(&last) {
            break;
        }
    }
    let process = Process::start(log.clone(), killed.path()).await.unwrap();
    process.view.reach(end, WITHIN).await.unwrap();
    process.end().await;
    Process::start(log, whole.path()).await.unwrap().end().await;
    assert_eq!(dump(killed.path()).await.unwrap(), dump(whole.path()).await.unwrap());
    writer.end().await;
}

const CHILD: &str = "COOPERAGE_TEST_VIEW";

/// This test binary once more, as the process that is killed.
fn again(server: &NatsServer, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "log::views::a_process_of_its_own", "--nocapture"])
        .env(CHILD, folder)
        .env("COOPERAGE_TEST_NATS", server.url())
        .env("COOPERAGE_TEST_PASSWORD", server.config("catalog").unwrap().password);
    command
}

/// Nothing by itself: the process that the test above kills.
#[tokio::test]
async fn a_process_of_its_own() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let config = NatsConfig {
        url: std::env::var("COOPERAGE_TEST_NATS").unwrap(),
        user: "catalog".to_owned(),
        password: std::env::var("COOPERAGE_TEST_PASSWORD").unwrap(),
        replicas: 1,
        log_bytes_max: 0,
        output_bytes_max: 0,
    };
    let log = Nats::connect(&config).await.unwrap().log().await.unwrap();
    let log: Arc<dyn EventLog> = Arc::new(OneByOne(log));
    let process = Process::start_with(log, Path::new(&folder), Telling, []).await.unwrap();
    std::future::pending::<()>().await;
    drop(process);
}

/// Says what it is about to commit.
struct Telling;

#[async_trait]
impl Projection for Telling {
    fn name(&self) -> &'static str {
        TOTALS.name()
    }

    fn schema(&self) -> &'static str {
        TOTALS.schema()
    }

    fn reads(&self) -> &'static [&'static str] {
        TOTALS.reads()
    }

    fn keeps(&self) -> &'static [&'static str] {
        TOTALS.keeps()
    }

    async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError> {
        TOTALS.apply(view, batch).await?;
        for entry in batch {
            eprintln!("applied {}.", entry.position);
        }
        Ok(())
    }
}

/// A log whose entries arrive one at a time, so that each is a transaction.
struct OneByOne(JetStreamLog);

#[async_trait]
impl EventLog for OneByOne {
    async fn append(&self, entries: Vec<Append>) -> Result<Position, AppendError> {
        self.0.append(entries).await
    }

    async fn version(&self, stream: &StreamId) -> Result<Position, LogError> {
        self.0.version(stream).await
    }

    async fn head(&self) -> Result<Position, LogError> {
        self.0.head().await
    }

    async fn follow(&self, after: Position) -> Result<Entries, LogError> {
        let entries = self.0.follow(after).await?;
        let slowly = entries.then(|entry| async {
            tokio::task::yield_now().await;
            entry
        });
        Ok(slowly.boxed())
    }

    async fn stored(&self, which: Which<'_>) -> Result<RawEntries, LogError> {
        self.0.stored(which).await
    }
}

#[tokio::test]
async fn a_log_that_is_shorter_than_its_views_stops_them_with_the_loss() {
    let mut server = NatsServer::start().await.unwrap();
    let (folder, backup) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let log: Arc<dyn EventLog> = Arc::new(server.connect("catalog").await.unwrap().log().await.unwrap());
    let process = Process::start(log.clone(), folder.path()).await.unwrap();
    fill(&process, 30).await;
    server.stop().unwrap();
    NatsServer::copy_store(&server.store(), backup.path()).unwrap();
    server.restart().await.unwrap();
    fill(&process, 12).await;
    process.view.reach(Position(42), WITHIN).await.unwrap();
    // The operator puts back what was saved, under a process that lives.
    server.stop().unwrap();
    NatsServer::copy_store(backup.path(), &server.store()).unwrap();
    server.restart().await.unwrap();
    let sentence = "the event log lost 12 entries: it ends at 30, and the view";
    let mut process = process;
    let ended = tokio::time::timeout(WITHIN, process.feeding.join_next()).await.unwrap();
    let why = ended.unwrap().unwrap().unwrap_err().to_string();
    assert!(why.starts_with(sentence), "{why}");
    // And one that starts on the same folder does not even begin.
    let refused = Process::start(log, folder.path()).await.err().unwrap().to_string();
    assert!(refused.starts_with(sentence), "{refused}");
    assert!(refused.contains("totals has seen 42"), "{refused}");
}

#[tokio::test]
async fn an_unknown_event_halts_only_the_view_that_needs_it() {
    let log = jetstream().await;
    let folder = TempDir::new().unwrap();
    let other = Totals {
        name: "other",
        needs: "name",
    };
    let process = Process::start_with(log.shared(), folder.path(), other, [TOTALS])
        .await
        .unwrap();
    let known = process.add("known", 1).await.unwrap().0;
    for (bytes, schema) in [("not a number", 1), ("5", 99)] {
        let unknown = Envelope {
            schema,
            events: vec![bytes.into()],
            ..Envelope::default()
        };
        let append = Append {
            stream: StreamId::new("workspace", format!("from-the-future-{schema}")),
            expected: Position(0),
            bytes: prost::Message::encode_to_vec(&unknown).into(),
        };
        log.append(vec![append]).await.unwrap();
    }
    let last = process.add("known", 1).await.unwrap().0;
    // The view that does not read that category goes on, and so do the commands that stand on it.
    process.view.reach(Position(last), WITHIN).await.unwrap();
    assert_eq!(process.view.state().halted, None);
    // The other got as far as it understands, and says so at once to who waits for it.
    let halted = process.others[0].reach(Position(last), WITHIN).await;
    let Err(Behind::Halted { at, cause }) = halted else {
        panic!("{halted:?}");
    };
    assert_eq!(at, Position(known));
    assert!(
        cause.contains("an event that this build does not know, upgrade it"),
        "{cause}"
    );
    let additions: i64 = sqlx::query_scalar("SELECT additions FROM total")
        .fetch_one(process.others[0].rows())
        .await
        .unwrap();
    assert_eq!(additions, 1);
    // A command on that stream is told too, and writes nothing.
    let refused = process.add("from-the-future-1", 1).await;
    assert!(
        matches!(refused, Err(ExecuteError::Log(LogError::UnknownEvent { position })) if position.0 == known + 1),
        "{refused:?}"
    );
    process.end().await;
}

#[tokio::test]
async fn a_view_on_a_full_disk_waits_until_there_is_room_and_the_others_go_on() {
    /// Its file may not grow while there is no room.
    struct Confined(Arc<AtomicBool>);

    #[async_trait]
    impl Projection for Confined {
        fn name(&self) -> &'static str {
            "confined"
        }

        fn reads(&self) -> &'static [&'static str] {
            TOTALS.reads()
        }

        fn schema(&self) -> &'static str {
            "CREATE TABLE filler (position INTEGER PRIMARY KEY, bytes BLOB)"
        }

        async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError> {
            let pages = if self.0.load(Ordering::SeqCst) { 1_000_000 } else { 10 };
            let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            sqlx::query(limit).execute(&mut *view).await?;
            for entry in batch {
                let insert = sqlx::query("INSERT INTO filler VALUES (?, randomblob(9000))");
                insert.bind(entry.position.as_i64()).execute(&mut *view).await?;
            }
            Ok(())
        }
    }

    let log = jetstream().await;
    let folder = TempDir::new().unwrap();
    let room = Arc::new(AtomicBool::new(false));
    let confined = Confined(room.clone());
    let process = Process::start_with(log.shared(), folder.path(), confined, [TOTALS])
        .await
        .unwrap();
    let writing = TempDir::new().unwrap();
    let writer = Process::start(log.shared(), writing.path()).await.unwrap();
    let end = fill(&writer, 50).await;
    let mut state = process.view.changes();
    let troubled = state.wait_for(|state| state.troubled.is_some());
    let troubled = tokio::time::timeout(WITHIN, troubled).await.unwrap().unwrap().clone();
    assert!(troubled.troubled.as_ref().unwrap().contains("full"), "{troubled:?}");
    assert_eq!(troubled.halted, None);
    process.others[0].reach(end, WITHIN).await.unwrap();
    room.store(true, Ordering::SeqCst);
    process.view.reach(end, WITHIN).await.unwrap();
    assert_eq!(process.view.state().troubled, None);
    process.end().await;
    writer.end().await;
}

#[tokio::test]
async fn waiting_for_what_does_not_come_ends() {
    let log = jetstream().await;
    let folder = TempDir::new().unwrap();
    let process = Process::start(log.shared(), folder.path()).await.unwrap();
    let late = process.view.reach(Position(5), Duration::from_millis(50)).await;
    assert!(
        matches!(
            late,
            Err(Behind::Late {
                at: Position(0),
                wanted: Position(5)
            })
        ),
        "{late:?}"
    );
    process.end().await;
}
