//! The index against the rows themselves: random questions, page by page, over a log in memory.

use super::*;
use crate::view::CatalogProjection;
use aggregate::Event as _;
use eventlog::{Append, Envelope, EventLog, MemoryLog, Position, StreamId, Views};
use ids::{ImageId, Ulid, WorkspaceId};
use prost::Message as _;
use proto::{
    catalog::v1::{ImageCreated, ImageDescribed, ImageName, ImageRenamed},
    events::ImageEvent,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const IMAGES: u128 = 40;
const WORKSPACES: u128 = 7;
const ACTORS: u32 = 25;
const BEGAN_MS: i64 = 1_000_000;

fn entry(rng: &mut StdRng, number: usize, image: u128, is_new: bool) -> Append {
    let id = ImageId::from_ulid(Ulid::from(image));
    let name = || ImageName {
        path: format!("tool-{image}"),
        primary_tag: "latest".to_owned(),
        ..ImageName::default()
    };
    let events: Vec<ImageEvent> = if is_new {
        vec![ImageEvent::Created(ImageCreated {
            workspace: Some(WorkspaceId::from_ulid(Ulid::from(image % WORKSPACES))),
            name: Some(name()),
            description: String::new(),
        })]
    } else {
        let rename = || {
            ImageEvent::Renamed(ImageRenamed {
                from: Some(name()),
                to: Some(name()),
            })
        };
        let describe = || ImageEvent::Described(ImageDescribed::default());
        // One is rare, and far back.
        (0..rng.random_range(1..20))
            .map(|_| {
                if number < 300 && rng.random_ratio(1, 50) {
                    rename()
                } else {
                    describe()
                }
            })
            .collect()
    };
    // Clocks differ a little, and time stands still for a while.
    let step = i64::try_from(number / 3).unwrap_or_default();
    let envelope = Envelope {
        schema: 1,
        time_ms: BEGAN_MS + step + rng.random_range(-50..50),
        actor: format!("user-{}", rng.random_range(0..ACTORS)),
        events: events.iter().map(|event| event.to_bytes().into()).collect(),
        ..Envelope::default()
    };
    Append {
        stream: StreamId::new("image", id),
        expected: Position(0),
        bytes: envelope.encode_to_vec().into(),
    }
}

fn is_answer(row: &HistoryRow, question: &Question) -> bool {
    let any = |values: &Vec<String>, value: &String| values.contains(value);
    question.image.as_ref().is_none_or(|image| row.image == *image)
        && question.workspaces.as_ref().is_none_or(|all| any(all, &row.workspace))
        && question.actor.as_ref().is_none_or(|actor| row.actor == *actor)
        && (question.types.is_empty() || any(&question.types, &row.r#type))
        && question.since_ms.is_none_or(|since| row.time_ms >= since)
        && question.until_ms.is_none_or(|until| row.time_ms < until)
}

fn question(rng: &mut StdRng, last_ms: i64) -> Question {
    let workspace = |number: u128| WorkspaceId::from_ulid(Ulid::from(number)).to_string();
    let time = |rng: &mut StdRng| rng.random_range(BEGAN_MS - 100..last_ms + 100);
    let mut question = Question {
        oldest_first: rng.random_bool(0.5),
        limit: rng.random_range(1..=1_000),
        ..Question::default()
    };
    if rng.random_ratio(1, 5) {
        let image = rng.random_range(0..IMAGES + 2);
        question.image = Some(ImageId::from_ulid(Ulid::from(image)).to_string());
    }
    if rng.random_bool(0.5) {
        let count = rng.random_range(0..3);
        let all = (0..count).map(|_| workspace(rng.random_range(0..WORKSPACES + 1)));
        question.workspaces = Some(all.collect());
    }
    if rng.random_bool(0.5) {
        question.actor = Some(format!("user-{}", rng.random_range(0..ACTORS + 2)));
    }
    for kind in ["image.created", "image.renamed", "image.described", "image.deleted"] {
        if rng.random_ratio(1, 4) {
            question.types.push(kind.to_owned());
        }
    }
    if rng.random_ratio(1, 3) {
        question.since_ms = Some(time(rng));
    }
    if rng.random_ratio(1, 3) {
        question.until_ms = Some(time(rng));
    }
    question
}

// covers E9
#[tokio::test]
async fn any_combination_finds_exactly_the_rows_that_answer_it() {
    let mut rng = StdRng::seed_from_u64(7);
    let log = Arc::new(MemoryLog::default());
    let folder = tempfile::tempdir().unwrap();
    let views = Views::new(folder.path());
    let view = views.open(CatalogProjection);
    let mut last = vec![Position(0); usize::try_from(IMAGES).unwrap()];
    let mut head = Position(0);
    // More than one chunk, and rows behind the last granule.
    for number in 0..8_000 {
        let image = rng.random_range(0..IMAGES);
        let of = &mut last[usize::try_from(image).unwrap()];
        let mut append = entry(&mut rng, number, image, *of == Position(0));
        append.expected = *of;
        head = log.append(vec![append]).await.unwrap();
        *of = head;
    }
    let asked = async {
        view.reach(head, Duration::from_mins(2)).await.unwrap();
        let all: Vec<HistoryRow> = sqlx::query_as("SELECT * FROM history ORDER BY row")
            .fetch_all(view.rows())
            .await
            .unwrap();
        assert!(
            i64::try_from(all.len()).unwrap() > CHUNK + GRANULE,
            "{} rows",
            all.len()
        );
        let last_ms = all.iter().map(|row| row.time_ms).max().unwrap();
        let mut empty = 0;
        for _ in 0..300 {
            let mut question = question(&mut rng, last_ms);
            let mut expected: Vec<i64> = all
                .iter()
                .filter(|row| is_answer(row, &question))
                .map(|row| row.row)
                .collect();
            if !question.oldest_first {
                expected.reverse();
            }
            empty += usize::from(expected.is_empty());
            let mut found = Vec::new();
            // A small page is asked for again and again: ten times tell enough.
            for _ in 0..10 {
                let page = ask(&view, &question).await.unwrap();
                assert!(page.rows.len() <= question.limit);
                found.extend(page.rows.into_iter().map(|row| row.row));
                question.behind = page.more_behind;
                if question.behind.is_none() {
                    break;
                }
            }
            if question.behind.is_some() {
                expected.truncate(found.len());
            }
            assert_eq!(found, expected, "{question:?}");
        }
        assert!((20..280).contains(&empty), "{empty} questions had no answer");
    };
    tokio::select! {
        ended = views.run(Arc::new(log.clone()), watch::Sender::default(), CancellationToken::new()) => panic!("{ended:?}"),
        () = asked => (),
    }
}
