//! Starting on a long log, growing the views back, and the memory that all of it takes.

use crate::{
    Bench,
    figures::{Line, Samples, float, rounded},
    log,
    platform::{Platform, USER},
    story,
};
use anyhow::Context as _;
use eventlog::{EventLog as _, Position};
use futures::StreamExt as _;
use proto::{
    builder::v1::ListBuildsRequest,
    catalog::v1::{DescribeImageRequest, GetImageRequest},
    editor::v1::GetSpecRequest,
};
use serde_json::json;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

const LONG: usize = 200_000;
const LONGER: usize = 1_000_000;
const READS: usize = 1_000;
/// Commands that were executed when the process is killed.
const WRITES: usize = 20;

pub(crate) async fn rebuild(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let folder = log::folder(bench, LONG).await?;
    let (mut with_views, mut without) = (Vec::new(), Vec::new());
    let mut entries = 0;
    for _ in 0..bench.samples(5) {
        with_views.push(clean(bench, &folder).await?);
        fs::remove_dir_all(folder.join("views"))?;
        let platform = Platform::start(&bench.programs, &folder).await?;
        without.push(platform.ready_after);
        entries = log::connect(&platform, &folder, "catalog")
            .await?
            .log()
            .await?
            .head()
            .await?
            .0;
        platform.stop()?;
    }
    let (with_views, without) = (Samples::new(with_views), Samples::new(without));
    let rate = |milliseconds: f64| float(entries) / milliseconds * 1_000.0;
    let (whole, net) = (rate(without.median()), rate(without.median() - with_views.median()));
    Ok(vec![Line {
        what: format!("rebuild of all views from {entries} entries"),
        goal: ">= 40000 entries/s".to_owned(),
        figure: format!(
            "{net:.0} entries/s ({:.2} s from start to ready: {whole:.0} entries/s)",
            without.median() / 1e3
        ),
        passed: net >= 40_000.0,
        samples: without.count(),
        details: json!({ "ready_without_views_ms": without.details(), "ready_with_views_ms": with_views.details() }),
    }])
}

pub(crate) async fn rebuild_catalog(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let folder = log::long_stories(bench, LONGER).await?;
    let (mut with_view, mut without, mut replays) = (Vec::new(), Vec::new(), Vec::new());
    let mut entries = 0;
    for _ in 0..bench.samples(3) {
        with_view.push(clean(bench, &folder).await?);
        fs::remove_file(folder.join("views/catalog.db"))?;
        let platform = Platform::start(&bench.programs, &folder).await?;
        without.push(platform.ready_after);
        let log = log::connect(&platform, &folder, "catalog").await?.log().await?;
        let head = log.head().await?;
        let began = Instant::now();
        let mut replay = log.follow(Position::default()).await?;
        let mut at = Position::default();
        while at < head {
            at = replay.next().await.context("the log ended")??.position;
        }
        replays.push(began.elapsed());
        entries = head.0;
        platform.stop()?;
    }
    let [with_view, without, replays] = [with_view, without, replays].map(Samples::new);
    let took = without.median() - with_view.median();
    let (rate, ratio) = (float(entries) / took * 1_000.0, replays.median() / took);
    Ok(vec![Line {
        what: format!("rebuild of the catalog's view from {entries} entries, against their raw replay"),
        goal: ">= 40000 entries/s, >= 0.15 x".to_owned(),
        figure: format!("{rate:.0} entries/s, {ratio:.2} x"),
        passed: rate >= 40_000.0 && ratio >= 0.15,
        samples: without.count(),
        details: json!({
            "ready_without_view_ms": without.details(), "ready_with_view_ms": with_view.details(),
            "replay_ms": replays.details(),
        }),
    }])
}

/// Starts and stops.
async fn clean(bench: &Bench, folder: &Path) -> anyhow::Result<Duration> {
    let platform = Platform::start(&bench.programs, folder).await?;
    let after = platform.ready_after;
    platform.stop()?;
    Ok(after)
}

/// Starts, writes, kills, starts again.
async fn killed(bench: &Bench, folder: &Path, round: usize) -> anyhow::Result<Duration> {
    let platform = Platform::start(&bench.programs, folder).await?;
    let mut client = platform.client().await?;
    for number in 0..WRITES {
        let describe = DescribeImageRequest {
            image: story::image_id(number).to_string(),
            description: format!("before kill {round} of a {USER}"),
            ..DescribeImageRequest::default()
        };
        client.images.describe_image(describe).await?;
    }
    platform.kill();
    clean(bench, folder).await
}

async fn starts(bench: &Bench, folder: &Path) -> anyhow::Result<(Samples, Samples)> {
    let (mut after_stop, mut after_kill) = (Vec::new(), Vec::new());
    clean(bench, folder).await?;
    for round in 0..bench.samples(9) {
        after_stop.push(clean(bench, folder).await?);
        after_kill.push(killed(bench, folder, round).await?);
    }
    Ok((Samples::new(after_stop), Samples::new(after_kill)))
}

fn seconds(what: String, goal: f64, taken: &Samples) -> Line {
    Line {
        what,
        goal: format!("<= {goal} s"),
        figure: format!(
            "{:.2} s (slowest {:.2} s)",
            taken.median() / 1_000.0,
            taken.max() / 1_000.0
        ),
        passed: taken.median() <= goal * 1_000.0,
        samples: taken.count(),
        details: json!({ "ready_ms": taken.details() }),
    }
}

pub(crate) async fn start(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let (stopped, killed) = starts(bench, &log::folder(bench, LONG).await?).await?;
    let images = LONG / story::ENTRIES;
    Ok(vec![
        seconds(
            format!("`cooper up` on {images} images ({LONG} entries): start to ready"),
            1.0,
            &stopped,
        ),
        seconds("the same after kill -9".to_owned(), 2.0, &killed),
    ])
}

pub(crate) async fn start_million(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let (stopped, killed) = starts(bench, &log::folder(bench, LONGER).await?).await?;
    Ok(vec![
        seconds(
            format!("`cooper up` on {LONGER} entries: start to ready"),
            5.0,
            &stopped,
        ),
        seconds("the same after kill -9".to_owned(), 5.0, &killed),
    ])
}

pub(crate) async fn memory(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let folder = log::folder(bench, LONG).await?;
    let platform = Platform::start(&bench.programs, &folder).await?;
    let before = platform.memory()?;
    let mut client = platform.client().await?;
    for _ in 0..READS {
        let image = story::image_id(rand::random_range(0..LONG / story::ENTRIES)).to_string();
        match rand::random_range(0..3) {
            0 => drop(client.images.get_image(GetImageRequest { image }).await?),
            1 => drop(client.editor.get_spec(GetSpecRequest { image, revision: None }).await?),
            _ => drop(
                client
                    .builds
                    .list_builds(ListBuildsRequest {
                        image,
                        ..<_>::default()
                    })
                    .await?,
            ),
        }
    }
    let after = platform.memory()?;
    platform.stop()?;
    let mib = |bytes: u64| float(bytes / 1024) / 1024.0;
    let each = after
        .processes
        .iter()
        .map(|(name, pss)| format!("{name} {:.0}", mib(*pss)));
    Ok(vec![Line {
        what: format!("resident memory of all processes, {LONG} entries, after {READS} random reads"),
        goal: "<= 300 MB".to_owned(),
        figure: format!(
            "{:.0} MiB (rss {:.0}; {})",
            mib(after.pss),
            mib(after.rss),
            each.collect::<Vec<_>>().join(", ")
        ),
        passed: after.pss <= 300_000_000,
        samples: 1,
        details: json!({
            "pss_mib": rounded(mib(after.pss)), "rss_mib": rounded(mib(after.rss)),
            "pss_before_reads_mib": rounded(mib(before.pss)),
        }),
    }])
}
