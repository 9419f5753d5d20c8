//! The journal over a log in memory, filled by the commands themselves.

use super::*;
use crate::{
    domain::{Builds, BuildsCommand},
    view::BuilderProjection,
};
use eventlog::{Clock, EventLog as _, MemoryLog, Request, Views, Writer};
use ids::{BuildId, ImageId, Ulid, WorkerId};
use proto::builder::v1::{BuildPhase, BuildQueued, BuildStep};
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const IMAGE: ImageId = ImageId::from_ulid(Ulid(1));

/// Asked for, begun, and failed with a step and a cause.
fn failed_build(number: u128, cause: &str) -> [BuildsCommand; 3] {
    let build = BuildId::from_ulid(Ulid::from(number));
    let step = BuildStep {
        name: format!("[1/1] RUN build {number}"),
        ..BuildStep::default()
    };
    [
        BuildsCommand::Queue {
            queued: BuildQueued {
                build: Some(build),
                revision: 1,
                ..BuildQueued::default()
            },
            published: None,
        },
        BuildsCommand::Start {
            build,
            attempt: 1,
            worker: WorkerId::default(),
            engine: String::new(),
            engine_version: String::new(),
            attached: Some(String::new()),
        },
        BuildsCommand::Fail {
            build,
            attempt: 1,
            phase: BuildPhase::Building,
            cause: cause.to_owned(),
            steps: vec![step],
        },
    ]
}

async fn with_builds(causes: &[&str], test: impl AsyncFnOnce(&View)) {
    let folder = tempfile::tempdir().unwrap();
    let views = Views::new(folder.path());
    let view = views.open(BuilderProjection);
    let log = Arc::new(MemoryLog::default());
    let clock = Clock::fixed(UNIX_EPOCH + Duration::from_secs(1_000));
    let writer = Writer::new(Arc::new(log.clone()), view.clone(), clock);
    let (ready, stop) = (watch::Sender::new(false), CancellationToken::new());
    let mut is_ready = ready.subscribe();
    let told = async {
        is_ready.wait_for(|ready| *ready).await.unwrap();
        let builds = causes
            .iter()
            .zip(1..)
            .map(|(cause, number)| failed_build(number, cause));
        for (command, id) in builds.flatten().zip(1_u128..) {
            let request = Request {
                actor: "ada".to_owned(),
                id: Ulid::from(id).to_string(),
                ..Request::default()
            };
            writer.execute::<Builds>(&request, &IMAGE, command).await.unwrap();
        }
        let head = log.head().await.unwrap();
        view.reach(head, Duration::from_secs(20)).await.unwrap();
        test(&view).await;
    };
    tokio::select! {
        ended = views.run(Arc::new(log.clone()), ready, stop) => ended.unwrap(),
        () = told => (),
    }
}

/// The numbers of the builds on each page.
async fn pages(view: &View, limit: i64) -> Vec<Vec<String>> {
    let (mut pages, mut before) = (vec![], i64::MAX);
    loop {
        let (rows, has_more) = journal(view, &IMAGE.to_string(), before, limit).await.unwrap();
        let number = |row: &Row| row.id.trim_start_matches("bld_").trim_start_matches('0').to_owned();
        pages.push(rows.iter().map(number).collect());
        let last = rows.last().map(|row| row.queued_at.cast_signed());
        match last.filter(|_| has_more) {
            Some(last) => before = last,
            None => return pages,
        }
    }
}

// covers R30
#[tokio::test]
async fn a_page_of_builds_ends_by_rows_or_by_bytes() {
    with_builds(&["no"; 5], async |view| {
        assert_eq!(pages(view, 2).await, [vec!["5", "4"], vec!["3", "2"], vec!["1"]]);
        assert_eq!(pages(view, 5).await, [["5", "4", "3", "2", "1"]]);
    })
    .await;
    let large = "x".repeat(PAGE_BYTES / 5);
    with_builds(&[&*large; 6], async |view| {
        assert_eq!(pages(view, 1_000).await, [vec!["6", "5", "4", "3"], vec!["2", "1"]]);
    })
    .await;
}

// covers R30, R32
#[tokio::test]
async fn one_build_has_its_steps_and_a_list_has_none() {
    with_builds(&["no"], async |view| {
        let image = IMAGE.to_string();
        let (listed, _) = journal(view, &image, i64::MAX, 10).await.unwrap();
        let steps = |row: &Row| row.build(0, "").steps.into_iter().map(|step| step.name).collect();
        let none: Vec<String> = steps(&listed[0]);
        assert!(none.is_empty(), "{none:?}");
        let newest = newest(view, &image).await.unwrap().unwrap();
        let one: Vec<String> = steps(&newest);
        assert_eq!(one, ["[1/1] RUN build 1"]);
        assert_eq!(listed[0].build(0, "").cause, "no");
    })
    .await;
}
