//! How soon the history, the audit and "as of" answer on a long log, and how fast all of it goes out.

use crate::{
    Bench,
    figures::{Line, Ratio, Samples, float},
    log,
    platform::{Client, Platform},
    story,
};
use anyhow::ensure;
use prost_types::Timestamp;
use proto::catalog::v1::{
    GetImageAsOfRequest, GetImageHistoryRequest, QueryEventsRequest, get_image_as_of_request::At,
};
use serde_json::json;
use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

const SHORT: usize = 100_000;
const LONG: usize = 1_000_000;
const QUESTIONS: usize = 3_000;
const TYPES: [&str; 8] = [
    "image.created",
    "image.described",
    "image.deleted",
    "spec.saved",
    "build.queued",
    "build.failed",
    "image.published",
    "access.refused",
];

/// What was measured on one log.
struct Answers {
    history: Samples,
    audit: Samples,
    empty: usize,
    as_of: Samples,
    exported: usize,
    export: Duration,
}

pub(crate) async fn answers(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let short = on(bench, SHORT).await?;
    let long = on(bench, LONG).await?;
    let answer = |what: &str, goal: f64, short: &Samples, long: &Samples| {
        let ratio = Ratio {
            ours: long.percentile(99),
            theirs: short.percentile(99),
        };
        let figure = |samples: &Samples| format!("{:.1} ms (p50 {:.1} ms)", samples.percentile(99), samples.median());
        let absolute = Line {
            what: format!("{what}, p99 on {LONG} entries"),
            goal: format!("<= {goal} ms"),
            figure: figure(long),
            passed: long.percentile(99) <= goal,
            samples: long.count(),
            details: json!({ "ms": long.details() }),
        };
        let relative = Line {
            what: format!("the same against {SHORT} entries"),
            goal: "<= 1.5 x".to_owned(),
            figure: ratio.text("ms"),
            passed: ratio.value() <= 1.5,
            samples: short.count(),
            details: json!({ "ms": short.details() }),
        };
        [absolute, relative]
    };
    let mut lines = Vec::new();
    lines.extend(answer(
        "history of one image, first page",
        10.0,
        &short.history,
        &long.history,
    ));
    let what = format!(
        "audit by random filters ({} of {QUESTIONS} empty), first page",
        long.empty
    );
    lines.extend(answer(&what, 30.0, &short.audit, &long.audit));
    lines.extend(answer("one image as of a moment", 20.0, &short.as_of, &long.as_of));
    let rate = float(long.exported) / long.export.as_secs_f64();
    lines.push(Line {
        what: format!("`cooper audit --output json`: all {} events as lines", long.exported),
        goal: ">= 30000 events/s".to_owned(),
        figure: format!("{rate:.0} events/s"),
        passed: rate >= 30_000.0,
        samples: 1,
        details: json!({ "seconds": long.export.as_secs_f64() }),
    });
    Ok(lines)
}

async fn on(bench: &Bench, entries: usize) -> anyhow::Result<Answers> {
    let folder = log::long_stories(bench, entries).await?;
    let platform = Platform::start(&bench.programs, &folder).await?;
    let token = platform.administrator()?;
    let mut client = platform.client_with(&token).await?;
    let count = bench.samples(QUESTIONS);
    let images = entries / story::LONG_ENTRIES;
    let (mut history, mut audit, mut as_of) = (Vec::new(), Vec::new(), Vec::new());
    let mut empty = 0;
    for _ in 0..count {
        let image = story::image_id(rand::random_range(0..images)).to_string();
        let began = Instant::now();
        let request = GetImageHistoryRequest {
            image: image.clone(),
            ..GetImageHistoryRequest::default()
        };
        let answer = client.history.get_image_history(request).await?.into_inner();
        history.push(began.elapsed());
        ensure!(!answer.entries.is_empty(), "{image} has no history");

        let request = question(images);
        let began = Instant::now();
        let answer = client.history.query_events(request).await?.into_inner();
        audit.push(began.elapsed());
        empty += usize::from(answer.entries.is_empty());

        as_of.push(ask_as_of(&mut client, image, entries).await?);
    }
    let began = Instant::now();
    let mut command = platform.command(&bench.programs, &token)?;
    let mut child = command
        .args(["audit", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = child
        .stdout
        .take()
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines());
    let exported = lines.map_while(Result::ok).filter(|line| line.starts_with('{')).count();
    ensure!(child.wait()?.success(), "the audit can't be written");
    let export = began.elapsed();
    platform.stop()?;
    Ok(Answers {
        history: Samples::new(history),
        audit: Samples::new(audit),
        empty,
        as_of: Samples::new(as_of),
        exported,
        export,
    })
}

async fn ask_as_of(client: &mut Client, image: String, entries: usize) -> anyhow::Result<Duration> {
    let position = u64::try_from(rand::random_range(0..entries))?;
    let began = Instant::now();
    let at = if rand::random_bool(0.5) {
        At::Position(position)
    } else {
        At::Time(moment(entries / story::LONG_ENTRIES))
    };
    let answer = client
        .history
        .get_image_as_of(GetImageAsOfRequest { image, at: Some(at) })
        .await;
    let took = began.elapsed();
    // Half of the images were not there yet.
    ensure!(
        match &answer {
            Ok(answer) => answer.get_ref().image.is_some(),
            Err(status) => status.code() == tonic::Code::NotFound,
        },
        "an earlier image is not answered: {answer:?}"
    );
    Ok(took)
}

/// Some time in the story.
fn moment(images: usize) -> Timestamp {
    let entry = i64::try_from(rand::random_range(0..images * story::LONG_ENTRIES)).unwrap_or_default();
    Timestamp {
        seconds: (story::BEGAN_MS + entry * story::LONG_STEP_MS) / 1_000,
        nanos: 0,
    }
}

fn question(images: usize) -> QueryEventsRequest {
    let mut request = QueryEventsRequest {
        oldest_first: rand::random_bool(0.5),
        ..QueryEventsRequest::default()
    };
    if rand::random_bool(0.2) {
        request.image = story::image_id(rand::random_range(0..images)).to_string();
    }
    if rand::random_bool(0.5) {
        request.workspace = story::workspace_id(rand::random_range(0..images)).to_string();
    }
    if rand::random_bool(0.5) {
        request.actor = story::user(rand::random_range(0..story::USERS));
    }
    if rand::random_bool(0.5) {
        let types = TYPES.iter().filter(|_| rand::random_bool(0.25));
        request.types = types.map(|kind| (*kind).to_owned()).collect();
    }
    if rand::random_bool(0.3) {
        request.since = Some(moment(images));
    }
    if rand::random_bool(0.3) {
        request.until = Some(moment(images));
    }
    request
}
