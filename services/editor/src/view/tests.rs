//! The view over a log in memory, filled by the commands themselves.

use super::*;
use crate::domain::{Command, Spec};
use eventlog::{Append, Clock, Done, Envelope, EventLog, MemoryLog, Outcome, Request, StreamId, Views, Writer};
use ids::{ImageId, Ulid};
use proto::{catalog::v1::ImageDeleted, editor::v1::ContextKind};
use sqlx::{AssertSqlSafe, Connection as _};
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

fn image(number: u128) -> ImageId {
    ImageId::from_ulid(Ulid::from(number))
}

fn dockerfile(text: &str, digest: &str) -> BuildSpec {
    let context = (!digest.is_empty()).then(|| files(digest));
    BuildSpec {
        context_kind: ContextKind::LocalFolder.into(),
        dockerfile: text.to_owned(),
        context,
        ..BuildSpec::default()
    }
}

fn files(digest: &str) -> UploadedContext {
    UploadedContext {
        digest: digest.to_owned(),
        size_bytes: 1_024,
        files: 2,
    }
}

fn save(text: &str, digest: &str) -> Command {
    Command::SaveRevision {
        spec: Box::new(dockerfile(text, digest)),
        note: text.lines().next().unwrap_or_default().to_owned(),
        expected_revision: None,
        restored_from: 0,
    }
}

struct Editor {
    log: Arc<MemoryLog>,
    view: View,
    writer: Writer,
}

impl Editor {
    async fn execute(&self, id: u128, image: ImageId, command: Command) -> Done<Spec> {
        let request = Request {
            actor: "ada".to_owned(),
            id: Ulid::from(id).to_string(),
            ..Request::default()
        };
        self.writer.execute::<Spec>(&request, &image, command).await.unwrap()
    }

    /// As the catalog writes it.
    async fn delete(&self, image: ImageId) {
        use aggregate::Event as _;
        let deleted = ImageEvent::Deleted(ImageDeleted::default());
        let envelope = Envelope {
            schema: 1,
            events: vec![deleted.to_bytes().into()],
            ..Envelope::default()
        };
        let append = Append {
            stream: StreamId::new("image", image),
            expected: Position(0),
            bytes: envelope.encode_to_vec().into(),
        };
        self.log.append(vec![append]).await.unwrap();
    }

    async fn caught_up(&self) -> &View {
        let head = self.log.head().await.unwrap();
        self.view.reach(head, Duration::from_secs(10)).await.unwrap();
        &self.view
    }
}

async fn with_editor(test: impl AsyncFnOnce(&Editor)) {
    let folder = tempfile::tempdir().unwrap();
    let views = Views::new(folder.path());
    let view = views.open(EditorProjection);
    let log = Arc::new(MemoryLog::default());
    let clock = Clock::fixed(UNIX_EPOCH + Duration::from_secs(1_000));
    let editor = Editor {
        log: log.clone(),
        writer: Writer::new(Arc::new(log.clone()), view.clone(), clock),
        view,
    };
    let (ready, stop) = (watch::Sender::new(false), CancellationToken::new());
    let mut is_ready = ready.subscribe();
    let tested = async {
        is_ready.wait_for(|ready| *ready).await.unwrap();
        test(&editor).await;
    };
    tokio::select! {
        ended = views.run(Arc::new(log), ready, stop) => ended.unwrap(),
        () = tested => (),
    }
}

// covers R28, E18
#[tokio::test]
async fn a_repeated_save_is_told_the_number_that_it_got() {
    with_editor(async |editor| {
        let first = editor.execute(1, image(1), save("FROM a\n", "")).await;
        editor.execute(2, image(1), save("FROM b\n", "")).await;
        let again = editor.execute(1, image(1), save("FROM a\n", "")).await;
        assert_eq!((again.outcome, again.position), (Outcome::Repeated, first.position));
        let view = editor.caught_up().await;
        assert_eq!(number_at(view, again.position).await.unwrap(), Some(1));
        assert_eq!(
            saved(view, &image(1).to_string(), None).await.unwrap().unwrap().number,
            2
        );
    })
    .await;
}

// covers R28
#[tokio::test]
async fn revisions_are_listed_newest_first_without_their_dockerfiles() {
    with_editor(async |editor| {
        for number in 1..=5 {
            editor
                .execute(number, image(1), save(&format!("FROM a:{number}\n"), ""))
                .await;
        }
        editor.execute(6, image(2), save("FROM other\n", "")).await;
        let view = editor.caught_up().await;
        let id = image(1).to_string();
        let (first, more) = page(view, &id, u32::MAX, 3).await.unwrap();
        assert_eq!(
            first.iter().map(|revision| revision.number).collect::<Vec<_>>(),
            [5, 4, 3]
        );
        assert!(more);
        let (rest, more) = page(view, &id, 3, 3).await.unwrap();
        assert_eq!(rest.iter().map(|revision| revision.number).collect::<Vec<_>>(), [2, 1]);
        assert!(!more);
        assert_eq!(
            rest[1],
            Revision {
                number: 1,
                spec: Some(dockerfile("", "")),
                note: "FROM a:1".to_owned(),
                actor: "ada".to_owned(),
                time: timestamp(1_000_000),
                restored_from: 0,
                diagnostics: Vec::new(),
            }
        );
        let whole = saved(view, &id, Some(2)).await.unwrap().unwrap();
        assert_eq!(whole.spec, Some(dockerfile("FROM a:2\n", "")));
        assert_eq!(saved(view, &id, Some(6)).await.unwrap(), None);
    })
    .await;
}

// covers R25
#[tokio::test]
async fn files_are_needed_by_any_revision_of_a_living_image() {
    with_editor(async |editor| {
        let digests = ["sha256:1", "sha256:2", "sha256:3"];
        for (index, owner) in [(1, image(1)), (2, image(1)), (3, image(2))] {
            let record = Command::RecordContext {
                context: files(digests[index - 1]),
            };
            let done = editor.execute(index as u128, owner, record).await;
            let view = editor.caught_up().await;
            assert_eq!(
                upload_at(view, done.position).await.unwrap(),
                Some(files(digests[index - 1]))
            );
        }
        let view = editor.caught_up().await;
        assert!(needed(view, &digests).await.unwrap().is_empty());
        editor.execute(4, image(1), save("FROM a\n", "sha256:1")).await;
        editor.execute(5, image(1), save("FROM b\n", "")).await;
        editor.execute(6, image(2), save("FROM c\n", "sha256:3")).await;
        let view = editor.caught_up().await;
        let both = BTreeSet::from(["sha256:1".to_owned(), "sha256:3".to_owned()]);
        assert_eq!(needed(view, &digests).await.unwrap(), both);
        assert!(needs(view, &image(1).to_string(), "sha256:1").await.unwrap());
        assert!(!needs(view, &image(1).to_string(), "sha256:3").await.unwrap());
        editor.delete(image(1)).await;
        let view = editor.caught_up().await;
        let one = BTreeSet::from(["sha256:3".to_owned()]);
        assert_eq!(needed(view, &digests).await.unwrap(), one);
    })
    .await;
}

// covers E7
#[tokio::test]
async fn rows_are_the_same_however_the_log_is_cut() {
    with_editor(async |editor| {
        let large = format!("FROM a\n{}", "# \u{1f40b} \"quoted\"\\\n".repeat(5_000));
        for number in 1..=60 {
            editor
                .execute(number, image(number % 3), save(&format!("{large}{number}"), ""))
                .await;
        }
        editor.delete(image(1)).await;
        let mut follower = editor.log.follow(Position(0)).await.unwrap();
        let mut entries = Vec::new();
        while entries.len() < 61 {
            entries.push(futures::StreamExt::next(&mut follower).await.unwrap().unwrap());
        }
        let whole = rows(&entries, 1_000).await;
        assert_eq!(whole.len(), 61);
        assert_eq!(rows(&entries, 1).await, whole);
        assert_eq!(rows(&entries, 7).await, whole);
    })
    .await;
}

/// Everything that batches of a size lead to.
async fn rows(entries: &[Entry], batch: usize) -> Vec<(i64, String, Vec<u8>)> {
    let mut view = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(SCHEMA)).execute(&mut view).await.unwrap();
    for batch in entries.chunks(batch) {
        EditorProjection.apply(&mut view, batch).await.unwrap();
    }
    sqlx::query_as("SELECT position, image, rest FROM revision UNION ALL SELECT 0, image, x'' FROM deleted ORDER BY 1")
        .fetch_all(&mut view)
        .await
        .unwrap()
}
