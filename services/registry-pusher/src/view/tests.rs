//! The view as a function of the log, and the indices that its queries need.

use super::*;
use aggregate::Event as _;
use eventlog::{Append, Envelope, EventLog, MemoryLog, Position, StreamId, View, Views};
use ids::{BuildId, ImageId, Ulid, WorkspaceId};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;
use proto::{
    builder::v1::{BuildAssembled, BuildQueued, CancelRequested},
    catalog::v1::{ImageCreated, ImageDeleted, ImageName, ImagePurged, ImageRenamed},
    events::{BuildsEvent, ImageEvent, RepositoryEvent},
    registry::v1::{
        PublicationAborted, PublicationCommitted, PublicationOpened, PublicationRefused, PublicationReopened,
        RepositoryReleased, RepositoryRelocated, TagMoved, TagsPlaced,
    },
};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

fn build(number: u64) -> BuildId {
    BuildId::from_ulid(Ulid::from(u128::from(number)))
}

fn name(path: &str) -> ImageName {
    ImageName {
        registry: String::new(),
        path: path.to_owned(),
        primary_tag: "latest".to_owned(),
    }
}

fn image_event(kind: u8, number: u64, here: &str, there: &str) -> ImageEvent {
    let (from, to) = if kind == 1 { (here, there) } else { (there, here) };
    match kind {
        0 => ImageEvent::Created(ImageCreated {
            workspace: Some(WorkspaceId::default()),
            name: Some(name(here)),
            description: String::new(),
        }),
        1 | 2 => ImageEvent::Renamed(ImageRenamed {
            from: Some(name(from)),
            to: Some(name(to)),
        }),
        _ if number.is_multiple_of(3) => ImageEvent::Purged(ImagePurged {}),
        _ => ImageEvent::Deleted(ImageDeleted {
            purge: number.is_multiple_of(2),
            name: Some(name(here)),
        }),
    }
}

fn builds_event(kind: u8, number: u64) -> BuildsEvent {
    let build = Some(build(number));
    match kind {
        4 => BuildsEvent::Queued(BuildQueued {
            build,
            revision: 1,
            ..BuildQueued::default()
        }),
        5 => BuildsEvent::Assembled(BuildAssembled {
            build,
            attempt: 1,
            engine: "local".to_owned(),
            artifact: format!("artifact:{number}"),
            tags: vec!["v1".to_owned()],
            ..BuildAssembled::default()
        }),
        _ => BuildsEvent::CancelRequested(CancelRequested { build }),
    }
}

fn repository_event(kind: u8, number: u64, here: &str, there: &str) -> RepositoryEvent {
    let build = Some(build(number));
    match kind {
        7 => RepositoryEvent::Opened(PublicationOpened {
            build,
            target: Some(name(here)),
            engine: "local".to_owned(),
            artifact: format!("artifact:{number}"),
            ..PublicationOpened::default()
        }),
        8 => RepositoryEvent::Committed(PublicationCommitted {
            build,
            digest: format!("digest:{number}"),
            target: Some(name(here)),
            ..PublicationCommitted::default()
        }),
        9 => RepositoryEvent::Aborted(PublicationAborted { build }),
        10 => RepositoryEvent::Refused(PublicationRefused {
            build,
            ..PublicationRefused::default()
        }),
        11 => RepositoryEvent::Reopened(PublicationReopened { build }),
        12 => RepositoryEvent::TagMoved(TagMoved {
            tag: "latest".to_owned(),
            digest: format!("digest:{number}"),
            build,
            ..TagMoved::default()
        }),
        13 => RepositoryEvent::TagsPlaced(TagsPlaced { position: number }),
        14 => RepositoryEvent::Relocated(RepositoryRelocated {
            name: Some(name(there)),
        }),
        _ => RepositoryEvent::Released(RepositoryReleased {
            registry: String::new(),
            path: here.to_owned(),
        }),
    }
}

/// One entry of image 0 or 1, the event chosen by `kind`.
fn entry(position: u64, image: u64, number: u64, kind: u8) -> Entry {
    let (here, there) = (format!("team/{image}"), format!("team/{image}-new"));
    let (category, bytes) = match kind {
        0..=3 => ("image", image_event(kind, number, &here, &there).to_bytes()),
        4..=6 => ("builds", builds_event(kind, number).to_bytes()),
        _ => ("repository", repository_event(kind, number, &here, &there).to_bytes()),
    };
    let envelope = Envelope {
        schema: 1,
        time_ms: i64::try_from(position).unwrap() * 1_000,
        actor: "ada".to_owned(),
        events: vec![bytes.into()],
        ..Envelope::default()
    };
    let image = ImageId::from_ulid(Ulid::from(u128::from(image)));
    Entry::decode(
        Position(position),
        StreamId::new(category, image),
        envelope.encode_to_vec().into(),
    )
}

/// Every row of every table, after these entries came in batches of a certain size.
async fn rows(entries: &[Entry], batch: usize) -> Vec<String> {
    let mut view = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql(SCHEMA).execute(&mut view).await.unwrap();
    for entries in entries.chunks(batch) {
        RepositoryProjection.apply(&mut view, entries).await.unwrap();
    }
    let mut rows = Vec::new();
    for table in ["image", "build", "tag", "content", "place"] {
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)")
            .bind(table)
            .fetch_all(&mut view)
            .await
            .unwrap();
        let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
        let select = format!("SELECT {} FROM {table} ORDER BY 1", quoted.join(" || ',' || "));
        let found = sqlx::query(AssertSqlSafe(select)).fetch_all(&mut view).await.unwrap();
        rows.extend(found.iter().map(|row| format!("{table}: {}", row.get::<String, _>(0))));
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_do_not_depend_on_how_entries_arrive(events in vec((0..2u64, 0..3u64, 0..16u8), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let entries: Vec<_> = events
            .into_iter()
            .enumerate()
            .map(|(index, (image, number, kind))| entry(index as u64 + 1, image, number * 2 + image, kind))
            .collect();
        runtime.block_on(async {
            let one_by_one = rows(&entries, 1).await;
            prop_assert_eq!(&rows(&entries, 7).await, &one_by_one);
            prop_assert_eq!(&rows(&entries, 1_000).await, &one_by_one);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn what_is_looked_for_at_every_change_has_an_index() {
    let mut view = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql(SCHEMA).execute(&mut view).await.unwrap();
    for (query, index) in [
        (
            "SELECT 1 FROM build WHERE build.state IN (1, 2) AND build.engine = 'x' ORDER BY build.cause",
            "build_due",
        ),
        (
            "SELECT * FROM image WHERE registry = '' AND deleted IS NULL
             AND (named_path IS NOT path OR named_tag IS NOT tag OR moved > ifnull(placed, 0))",
            "image_unsettled",
        ),
        ("SELECT * FROM place WHERE place.state = 1", "place_leaving"),
    ] {
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
            .fetch_all(&mut view)
            .await
            .unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        assert!(plan.iter().any(|step| step.contains(index)), "{plan:?}");
    }
}

/// Asks a view that has these entries.
async fn asked<T>(entries: Vec<Entry>, question: impl AsyncFnOnce(&View) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn EventLog> = Arc::new(Arc::new(MemoryLog::default()));
    let views = Views::new(folder.path());
    let view = views.open(RepositoryProjection);
    let mut head = Position::default();
    for entry in entries {
        let expected = log.version(&entry.stream).await.unwrap();
        let append = Append {
            stream: entry.stream,
            expected,
            bytes: entry.bytes,
        };
        head = log.append(vec![append]).await.unwrap();
    }
    let answered = async {
        view.reach(head, Duration::from_secs(10)).await.unwrap();
        question(&view).await
    };
    tokio::select! {
        answer = answered => answer,
        fed = views.run(log.clone(), watch::Sender::default(), CancellationToken::new()) => panic!("{fed:?}"),
    }
}

#[tokio::test]
async fn a_build_is_due_until_its_publication_ended() {
    let all = [
        entry(1, 0, 0, 0),
        entry(2, 0, 2, 4),
        entry(3, 0, 2, 5),
        entry(4, 0, 2, 7),
        entry(5, 0, 2, 8),
    ];
    for (count, is_due) in [(2, false), (3, true), (4, true), (5, false)] {
        let due = asked(all[..count].to_vec(), async |view| due(view, "local").await.unwrap()).await;
        assert_eq!(due.len(), usize::from(is_due), "after {count} entries");
        if let Some(due) = due.first() {
            assert_eq!(due.target().path, "team/0");
            assert_eq!(
                (&due.opened().tags[..], &*due.requester),
                (&["latest".to_owned(), "v1".to_owned()][..], "ada")
            );
        }
    }
    let elsewhere = asked(all[..3].to_vec(), async |view| due(view, "other").await.unwrap().len()).await;
    assert_eq!(elsewhere, 0, "another engine has it");
    let mut cancelled = all[..4].to_vec();
    cancelled.push(entry(5, 0, 2, 6));
    let due = asked(cancelled, async |view| due(view, "local").await.unwrap()).await;
    assert_eq!(due.first().and_then(|due| due.doomed), Some(Position(5)));
}

#[tokio::test]
async fn what_an_engine_keeps_depends_on_how_the_publication_ended() {
    // Ended at second 4: committed, aborted, refused for good.
    for (kind, kept) in [(8, true), (9, false), (10, false)] {
        let entries = vec![
            entry(1, 0, 0, 0),
            entry(2, 0, 2, 5),
            entry(3, 0, 2, 7),
            entry(4, 0, 2, kind),
        ];
        let known = BTreeSet::from(["artifact:2".to_owned(), build(2).to_string(), "else:1".to_owned()]);
        let (soon, late) = asked(entries, async |view| {
            (
                over(view, &known, 4_000, 4_000).await.unwrap(),
                over(view, &known, 4_001, 4_001).await.unwrap(),
            )
        })
        .await;
        let both = BTreeSet::from(["artifact:2".to_owned(), build(2).to_string()]);
        assert_eq!(late, both);
        assert_eq!(soon.is_empty(), kept);
    }
}
