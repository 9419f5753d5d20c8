//! How long after an event was written it is visible in a list of tiles.

use crate::{
    Bench,
    figures::{Line, Samples, float},
    log,
    platform::{Platform, USER, at_least},
    story,
};
use anyhow::ensure;
use eventlog::{Append, EventLog as _, JetStreamLog, Position, StreamId};
use ids::Ulid;
use proto::{
    catalog::v1::{ImageDescribed, ListImagesRequest},
    events::ImageEvent,
};
use serde_json::json;
use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

const ENTRIES: usize = 200_000;
const PER_SECOND: usize = 500;
/// Images that are described in turn: one a second each.
const IMAGES: usize = 500;
const PAUSE: Duration = Duration::from_millis(2);
const TILES: u32 = 50;

pub(crate) async fn visible(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let data = log::copy(bench, ENTRIES).await?;
    let platform = Platform::start(&bench.programs, data.path()).await?;
    let writer = Arc::new(log::connect(&platform, data.path(), "catalog").await?.log().await?);
    // The copy and the views that grew back are not on the disk yet: the first entry that is would wait for them all.
    ensure!(Command::new("sync").status()?.success(), "the disk is not in order");
    let stop = CancellationToken::new();
    let mut poller = JoinSet::new();
    poller.spawn(poll(platform.client().await?.images, stop.clone()));
    let began = Instant::now();
    let count = bench.samples(PER_SECOND * 30);
    let written = write(&writer, count).await?;
    let rate = float(count) / began.elapsed().as_secs_f64();
    let last = written.iter().map(|(_, position)| *position).max().unwrap_or_default();
    // A list that must reflect the last one has been told; then the poller has it, too.
    let all = ListImagesRequest {
        page_size: 1,
        ..ListImagesRequest::default()
    };
    platform
        .client()
        .await?
        .images
        .list_images(at_least(all, last.0)?)
        .await?;
    sleep(Duration::from_millis(500)).await;
    stop.cancel();
    let mut answers = Vec::new();
    while let Some(polled) = poller.join_next().await {
        answers.extend(polled??);
    }
    platform.stop()?;
    ensure!(
        answers.last().is_some_and(|(_, position)| *position >= last),
        "the list did not get there"
    );
    let lag = |(written, position): &(Instant, Position)| {
        let first = answers.partition_point(|(_, seen)| seen < position);
        answers[first].0.saturating_duration_since(*written)
    };
    let lags = Samples::new(written.iter().map(lag));
    Ok(vec![Line {
        what: format!("event written -> visible in ListImages, p99 at {PER_SECOND} events/s"),
        goal: "<= 20 ms".to_owned(),
        figure: format!(
            "{:.1} ms (p50 {:.1} ms; {rate:.0} events/s written)",
            lags.percentile(99),
            lags.median()
        ),
        passed: lags.percentile(99) <= 20.0,
        samples: lags.count(),
        details: json!({ "lag_ms": lags.details(), "lists": answers.len() }),
    }])
}

/// Writes events at a steady rate, whether or not the earlier ones were acknowledged. Answers when each of them was.
async fn write(log: &Arc<JetStreamLog>, count: usize) -> anyhow::Result<Vec<(Instant, Position)>> {
    let mut images = Vec::new();
    for number in 0..IMAGES {
        let stream = StreamId::new("image", story::image_id(number));
        let version = log.version(&stream).await?;
        images.push((stream, Arc::new(Mutex::new(version))));
    }
    let mut tick = interval(Duration::from_secs(1) / u32::try_from(PER_SECOND)?);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut writers = JoinSet::new();
    for number in 0..count {
        tick.tick().await;
        let (stream, version) = images[number % IMAGES].clone();
        let log = log.clone();
        writers.spawn(async move {
            let described = ImageEvent::Described(ImageDescribed {
                description: format!("the {number}. words"),
            });
            let bytes = story::entry(
                USER,
                1_760_000_000_000,
                Ulid::from(number as u128),
                Position(0),
                &[described],
            );
            let mut version = version.lock().await;
            *version = log
                .append(vec![Append {
                    stream,
                    expected: *version,
                    bytes,
                }])
                .await?;
            anyhow::Ok((Instant::now(), *version))
        });
    }
    let mut written = Vec::with_capacity(count);
    while let Some(acknowledged) = writers.join_next().await {
        written.push(acknowledged??);
    }
    Ok(written)
}

/// Lists tiles again and again. Answers which position was visible when.
async fn poll(
    mut images: proto::catalog::v1::image_service_client::ImageServiceClient<crate::platform::Link>,
    stop: CancellationToken,
) -> anyhow::Result<Vec<(Instant, Position)>> {
    let mut answers: Vec<(Instant, Position)> = Vec::new();
    while !stop.is_cancelled() {
        let list = ListImagesRequest {
            page_size: TILES,
            ..ListImagesRequest::default()
        };
        let answer = images.list_images(list).await?.into_inner();
        answers.push((Instant::now(), Position(answer.position)));
        sleep(PAUSE).await;
    }
    Ok(answers)
}
