//! Builds that wait for each other, and readers that follow one.

use crate::{
    Bench,
    docker::Docker,
    figures::{Line, Ratio, Samples, float},
    platform::{Client, Platform, at_least},
};
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use proto::{
    builder::v1::{Build, GetBuildRequest, StartBuildRequest, StreamLogRequest, WatchBuildRequest},
    catalog::v1::{BuildOutcome, CreateWorkspaceRequest},
    editor::v1::{BuildSpec, ContextKind, SaveSpecRequest},
};
use serde_json::json;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tests::{BUSYBOX, busybox};
use tokio::task::JoinSet;

const WORKSPACES: usize = 10;
const BUILDS: usize = 100;
const FLOOD: usize = 500;
/// Calls under way at the same time.
const CALLS: usize = 20;
const READERS: [(usize, f64); 3] = [(1, 50.0), (100, 100.0), (1_000, 500.0)];
const READERS_PER_CONNECTION: usize = 100;
const LINES: usize = 50;
/// Until the first line: then every reader should be there, of whom so many come in a second at least.
const LEAD_SECONDS: usize = 5;
const READERS_PER_SECOND: usize = 50;

/// Images with something to build, in a workspace of their own.
async fn images(client: &Client, name: &str, dockerfiles: Vec<String>) -> anyhow::Result<Vec<(String, u64)>> {
    let request = CreateWorkspaceRequest {
        name: name.to_owned(),
        ..CreateWorkspaceRequest::default()
    };
    let created = client.workspaces.clone().create_workspace(request).await?.into_inner();
    let workspace = &(created.id, created.position);
    let image = |(number, dockerfile): (usize, String)| {
        let (mut client, name) = (client.clone(), format!("{name}/tool-{number}"));
        async move {
            let (image, position) = client.image(workspace, &name).await?;
            let spec = BuildSpec {
                context_kind: ContextKind::LocalFolder.into(),
                dockerfile,
                ..BuildSpec::default()
            };
            let save = SaveSpecRequest {
                image: image.clone(),
                spec: Some(spec),
                ..SaveSpecRequest::default()
            };
            let saved = client.editor.save_spec(at_least(save, position)?).await?.into_inner();
            anyhow::Ok((image, saved.position))
        }
    };
    let all = stream::iter(dockerfiles.into_iter().enumerate().map(image));
    all.buffered(CALLS).try_collect().await
}

/// A build that does nothing, and that no other one is like.
fn nothing(number: usize) -> String {
    format!("FROM scratch\nLABEL number=\"{number} {}\"\n", rand::random::<u64>())
}

async fn start(client: &Client, (image, position): &(String, u64)) -> anyhow::Result<Build> {
    let start = StartBuildRequest {
        image: image.clone(),
        ..StartBuildRequest::default()
    };
    let started = client.builds.clone().start_build(at_least(start, *position)?).await?;
    started.into_inner().build.context("the build has no id")
}

async fn ended(client: &Client, build: &Build) -> anyhow::Result<Build> {
    let watch = WatchBuildRequest {
        image: build.image.clone(),
        build: build.id.clone(),
    };
    let mut changes = client.builds.clone().watch_build(watch).await?.into_inner();
    while let Some(change) = changes.message().await? {
        let build = change.build.unwrap_or_default();
        if !matches!(build.outcome(), BuildOutcome::InProgress | BuildOutcome::Unspecified) {
            ensure!(
                build.outcome() == BuildOutcome::Succeeded,
                "a build failed: {}",
                build.cause
            );
            return Ok(build);
        }
    }
    anyhow::bail!("the build was no longer told of")
}

pub(crate) async fn many(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let folder = tempfile::Builder::new().prefix("cooperage-bench-").tempdir()?;
    let platform = Platform::start(&bench.programs, &folder.path().join("data")).await?;
    let client = platform.client().await?;
    let each = bench.samples(BUILDS) / WORKSPACES;
    let mut all = Vec::new();
    for workspace in 0..WORKSPACES {
        let dockerfiles = (0..each).map(nothing).collect();
        all.extend(images(&client, &format!("queue-{workspace}"), dockerfiles).await?);
    }
    let began = Instant::now();
    let started = try_join_all(all.iter().map(|image| start(&client, image))).await?;
    try_join_all(started.iter().map(|build| ended(&client, build))).await?;
    let ours = began.elapsed();
    platform.stop()?;

    let docker = Docker::find().await?;
    let contexts: Vec<_> = (0..all.len())
        .map(|number| folder.path().join(format!("context-{number}")))
        .collect();
    for (number, context) in contexts.iter().enumerate() {
        fs::create_dir(context)?;
        fs::write(context.join("Dockerfile"), nothing(number))?;
    }
    let reference = |number: usize| format!("cooperage-bench/queue:{number}");
    let build = |(number, context): (usize, &std::path::PathBuf)| {
        let (docker, context) = (&docker, context.clone());
        async move { docker.build(Path::new(&context), &reference(number)).await }
    };
    let began = Instant::now();
    let builds = stream::iter(contexts.iter().enumerate().map(build));
    builds.buffer_unordered(2).try_collect::<Vec<_>>().await?;
    let theirs = began.elapsed();
    for number in 0..contexts.len() {
        docker.remove(&reference(number)).await;
    }
    let ratio = Ratio {
        ours: ours.as_secs_f64() * 1_000.0,
        theirs: theirs.as_secs_f64() * 1_000.0,
    };
    Ok(vec![Line {
        what: format!(
            "{} queued builds of {WORKSPACES} workspaces on 2 slots, pushed, against as many `docker build`, 2 at a time",
            all.len()
        ),
        goal: "<= 1.10 x".to_owned(),
        figure: ratio.text("ms"),
        passed: ratio.value() <= 1.1,
        samples: all.len(),
        details: json!({ "ours_ms": ratio.ours, "docker_ms": ratio.theirs }),
    }])
}

pub(crate) async fn flood(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let folder = tempfile::Builder::new().prefix("cooperage-bench-").tempdir()?;
    let count = bench.samples(FLOOD);
    let settings = [("COOPERAGE_BUILDER__WAITING_MAX", FLOOD.to_string())];
    let platform = Platform::with(&bench.programs, &folder.path().join("data"), &settings).await?;
    let client = platform.client().await?;
    let all = images(&client, "flood", (0..count).map(nothing).collect()).await?;
    let single = images(&client, "single", vec![nothing(0)]).await?;
    let mut flood = Vec::new();
    for some in all.chunks(CALLS) {
        flood.extend(try_join_all(some.iter().map(|image| start(&client, image))).await?);
    }
    let asked = start(&client, &single[0]).await?;
    let single = ended(&client, &asked).await?;
    for build in &mut flood {
        let get = GetBuildRequest {
            image: build.image.clone(),
            build: build.id.clone(),
        };
        let now = client.builds.clone().get_build(get).await?.into_inner().build;
        *build = now.unwrap_or_default();
    }
    platform.kill();

    let waited = milliseconds(single.started) - milliseconds(single.queued);
    let slot = flood
        .iter()
        .filter(|build| build.outcome() == BuildOutcome::Succeeded)
        .map(|build| milliseconds(build.ended) - milliseconds(build.started));
    let slot = Samples::of(slot);
    let waiting = flood.iter().filter(|build| build.started.is_none()).count();
    Ok(vec![Line {
        what: format!("{count} builds of one workspace wait; the wait of another's single build"),
        goal: "<= 1 slot time".to_owned(),
        figure: format!(
            "{waited:.0} ms, a slot {:.0} ms (p50; p99 {:.0} ms), {waiting} still waited",
            slot.median(),
            slot.percentile(99)
        ),
        passed: waited <= slot.percentile(99),
        samples: slot.count(),
        details: json!({ "waited_ms": waited, "slot_ms": slot.details(), "waiting": waiting }),
    }])
}

fn milliseconds(time: Option<prost_types::Timestamp>) -> f64 {
    let time = time.unwrap_or_default();
    let seconds = u32::try_from(time.seconds).unwrap_or_default();
    f64::from(seconds) * 1_000.0 + f64::from(time.nanos) / 1_000_000.0
}

/// The clock that a step of a build can read, too: it has hundredths of seconds there.
#[derive(Clone, Copy)]
struct Uptime {
    seconds: f64,
    at: Instant,
}

impl Uptime {
    fn read() -> anyhow::Result<f64> {
        let text = fs::read_to_string("/proc/uptime")?;
        let seconds = text.split_whitespace().next().context("no uptime")?;
        Ok(seconds.parse()?)
    }

    /// At a tick.
    fn find() -> anyhow::Result<Self> {
        let before = Self::read()?;
        loop {
            let (seconds, at) = (Self::read()?, Instant::now());
            if seconds.total_cmp(&before).is_ne() {
                return Ok(Self { seconds, at });
            }
        }
    }

    fn now(self) -> f64 {
        self.seconds + self.at.elapsed().as_secs_f64()
    }
}

pub(crate) async fn readers(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    busybox().await?;
    let folder = tempfile::Builder::new().prefix("cooperage-bench-").tempdir()?;
    let platform = Platform::start(&bench.programs, &folder.path().join("data")).await?;
    let uptime = Uptime::find()?;
    let mut lines = Vec::new();
    for (count, goal) in READERS {
        let samples = read_by(&platform, count, uptime).await?;
        lines.push(Line {
            what: format!("log line written in the build -> at the reader, {count} readers, p99"),
            goal: format!("<= {goal:.0} ms"),
            figure: format!("{:.0} ms (p50 {:.0} ms)", samples.percentile(99), samples.median()),
            passed: samples.percentile(99) <= goal,
            samples: samples.count(),
            details: json!({ "latency_ms": samples.details() }),
        });
    }
    platform.stop()?;
    Ok(lines)
}

async fn read_by(platform: &Platform, count: usize, uptime: Uptime) -> anyhow::Result<Samples> {
    let client = platform.client().await?;
    let lead = LEAD_SECONDS + count / READERS_PER_SECOND;
    let dockerfile = format!(
        "FROM {BUSYBOX}\nRUN echo {} && sleep {lead} && for n in $(seq {LINES}); do \
         read up rest < /proc/uptime; echo \"at $up\"; sleep 0.1; done\n",
        rand::random::<u64>()
    );
    let image = images(&client, &format!("readers-{count}"), vec![dockerfile]).await?;
    let build = start(&client, &image[0]).await?;
    let mut readers = JoinSet::new();
    let mut connection = client.clone();
    for number in 0..count {
        if number % READERS_PER_CONNECTION == 0 {
            connection = platform.client().await?;
        }
        readers.spawn(follow(connection.clone(), build.clone(), uptime));
    }
    let mut latencies = Vec::new();
    while let Some(read) = readers.join_next().await {
        let read = read??;
        ensure!(read.len() == LINES, "a reader saw {} of {LINES} lines", read.len());
        latencies.extend(read);
    }
    ended(&client, &build).await?;
    ensure!(float(latencies.len()) >= float(count), "nobody read anything");
    Ok(Samples::new(latencies))
}

/// How late each line was.
async fn follow(client: Client, build: Build, uptime: Uptime) -> anyhow::Result<Vec<Duration>> {
    let follow = StreamLogRequest {
        image: build.image,
        build: build.id,
        offset: 0,
        follow: true,
    };
    let mut pieces = client.builds.clone().stream_log(follow).await?.into_inner();
    let (mut latencies, mut line) = (Vec::new(), String::new());
    while let Some(piece) = pieces.message().await? {
        let now = uptime.now();
        line.push_str(&String::from_utf8_lossy(&piece.text));
        while let Some((whole, rest)) = line.split_once('\n') {
            let told = whole.rsplit_once(" at ").and_then(|(_, at)| at.parse::<f64>().ok());
            latencies.extend(told.map(|told| Duration::from_secs_f64((now - told).max(0.0))));
            line = rest.to_owned();
        }
    }
    Ok(latencies)
}
