//! The view over a log in memory.

use super::*;
use crate::{
    events::tests::{Story, entry, image_id, workspace_id},
    recent::{self, Recent},
};
use eventlog::{Append, EventLog, MemoryLog, StreamId, Views};
use proto::{catalog::v1::MemberAdded, events::WorkspaceEvent};
use sqlx::{AssertSqlSafe, Connection as _};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

fn story() -> Vec<Entry> {
    let mut story = Story::of("team/tool");
    story.publish(7, 1, "team/tool");
    story.publish(8, 2, "team/tool");
    let member = WorkspaceEvent::MemberAdded(MemberAdded {
        user: "bob".to_owned(),
        role: 1,
    });
    let position = story.entries.len() as u64 + 1;
    let workspace = StreamId::new("workspace", workspace_id());
    story.entries.push(entry(position, workspace, "ada", &[member]));
    story.entries
}

async fn append(log: &Arc<MemoryLog>, entries: Vec<Entry>) {
    for entry in entries {
        let append = Append {
            expected: log.version(&entry.stream).await.unwrap(),
            stream: entry.stream,
            bytes: entry.bytes,
        };
        log.append(vec![append]).await.unwrap();
    }
}

/// Every row there is, in order.
async fn rows(batches: usize) -> Vec<(i64, i64, String, String, String)> {
    let mut view = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(SCHEMA)).execute(&mut view).await.unwrap();
    for batch in story().chunks(batches) {
        NotifierProjection.apply(&mut view, batch).await.unwrap();
    }
    sqlx::query_as(
        "SELECT position, idx, type, data, content FROM event UNION ALL SELECT 0, 0, id, state, '' FROM image
         ORDER BY 1, 2",
    )
    .fetch_all(&mut view)
    .await
    .unwrap()
}

// covers E7
#[tokio::test]
async fn rows_are_the_same_however_the_log_is_cut() {
    let one_by_one = rows(1).await;
    assert!(one_by_one.len() > 10);
    assert_eq!(rows(3).await, one_by_one);
    assert_eq!(rows(1_000).await, one_by_one);
}

// covers R79, E7
#[tokio::test]
async fn events_are_read_from_any_place_with_references_of_this_deployment() {
    let folder = tempfile::tempdir().unwrap();
    let views = Views::new(folder.path());
    let view = views.open(NotifierProjection);
    let log = Arc::new(MemoryLog::default());
    let entries = story();
    let through = Position(entries.len() as u64);
    append(&log, entries).await;
    let read = async {
        view.reach(through, Duration::from_secs(10)).await.unwrap();
        let events = Events::new(&view, "registry.example:5000");
        let all = events.after(Place::default(), through, &Scope::All, 100).await.unwrap();
        let published = all.iter().find(|event| event.kind == "image.published").unwrap();
        assert!(
            published
                .data
                .ends_with(",\"reference\":\"registry.example:5000/team/tool@sha256:7\"}")
        );
        assert_eq!(published.workspace, workspace_id().to_string());
        assert!(all.is_sorted_by_key(Place::from));

        for (index, event) in all.iter().enumerate() {
            let rest = events
                .after(Place::from(event), through, &Scope::All, 100)
                .await
                .unwrap();
            assert_eq!(rest, all[index + 1..]);
        }
        let first = events.after(Place::default(), through, &Scope::All, 2).await.unwrap();
        assert_eq!(first, all[..2]);

        let of_image = Scope::Image {
            id: image_id().to_string(),
            sees_grants: true,
        };
        let found = events.after(Place::default(), through, &of_image, 100).await.unwrap();
        assert_eq!(found.len(), all.len() - 1, "all but the new member");
        let of_others = Scope::Visible(Visible::default().within("ws_other"));
        assert_eq!(
            events.after(Place::default(), through, &of_others, 100).await.unwrap(),
            []
        );
        let of_ours = Scope::Visible(Visible::default().within(&workspace_id().to_string()));
        assert_eq!(
            events.after(Place::default(), through, &of_ours, 100).await.unwrap(),
            all
        );
    };
    let (ready, stop) = (watch::Sender::new(false), CancellationToken::new());
    tokio::select! {
        ended = views.run(Arc::new(log.clone()), ready, stop) => ended.unwrap(),
        () = read => (),
    }
}

// covers E7
#[tokio::test]
async fn what_is_new_is_in_memory_too() {
    let folder = tempfile::tempdir().unwrap();
    let views = Views::new(folder.path());
    let view = views.open(NotifierProjection);
    let log = Arc::new(MemoryLog::default());
    let (recent, mut newest) = watch::channel(Recent::default());
    let stop = CancellationToken::new();
    let following = async {
        // As a process does: the view is there before anybody follows it.
        view.reach(Position(1), Duration::from_secs(10)).await.unwrap();
        recent::follow(Events::new(&view, "localhost"), recent, stop.clone())
            .await
            .unwrap();
        pending::<()>().await;
    };
    let mut entries = story();
    let later = entries.split_off(1);
    append(&log, entries).await;
    let read = async {
        let start = Place::end(Position(1));
        newest.wait_for(|recent| recent.reached == start).await.unwrap();
        assert!(
            newest.borrow().after(Place::default(), 9).is_none(),
            "older ones are in the view"
        );
        let end = Position(later.len() as u64 + 1);
        append(&log, later).await;
        let recent = newest
            .wait_for(|recent| recent.reached == Place::end(end))
            .await
            .unwrap();
        let (events, _) = recent.after(start, 100).unwrap();
        assert_eq!(events.last().map(|event| event.kind.as_str()), Some("member.changed"));
    };
    tokio::select! {
        ended = views.run(Arc::new(log.clone()), watch::Sender::new(false), stop.clone()) => ended.unwrap(),
        () = following => (),
        () = read => (),
    }
}
