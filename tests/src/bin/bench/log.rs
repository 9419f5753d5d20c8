//! Data folders with a made-up log, made once and kept under `target/bench-data`.

use crate::{
    Bench,
    platform::{Platform, USER},
    report::say,
    story::{self, Step, Story},
};
use anyhow::{Context as _, ensure};
use eventlog::{ACCOUNTS, Append, EventLog as _, JetStreamLog, Nats, NatsConfig, Position, StreamId, server_config};
use service::Config;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tests::{Child, NatsServer, Port, program};
use tokio::{task::JoinSet, time::sleep};

/// To be raised whenever the story changes.
const EDITION: u32 = 1;
const WRITERS: usize = 256;
const PASSWORD: &str = "bench";
/// How long telling the world may take, once.
const PATIENCE: Duration = Duration::from_mins(10);

/// A data folder with a log of at least so many entries, views, and the events told to the world.
pub(crate) async fn folder(bench: &Bench, entries: usize) -> anyhow::Result<PathBuf> {
    let images = entries.div_ceil(story::ENTRIES);
    made(bench, &format!("{entries}-{EDITION}"), images, |number| {
        Story::new(number, USER)
    })
    .await
}

/// The same with fewer images, whose stories are longer, and many users.
pub(crate) async fn long_stories(bench: &Bench, entries: usize) -> anyhow::Result<PathBuf> {
    let images = entries.div_ceil(story::LONG_ENTRIES);
    made(bench, &format!("long-{entries}-{EDITION}"), images, Story::long).await
}

async fn made(bench: &Bench, name: &str, images: usize, story: fn(usize) -> Story) -> anyhow::Result<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench-data");
    let folder = target.join(name);
    if folder.exists() {
        return Ok(folder);
    }
    say(format_args!("  writing the log {name}, once"));
    let fresh = target.join(format!("{name}.new"));
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    let began = Instant::now();
    let committed = fill(&fresh, images, story).await?;
    say(format_args!("  written after {:.0} s", began.elapsed().as_secs_f64()));
    tell_the_world(bench, &fresh, committed).await?;
    say(format_args!(
        "  views made, and events published after {:.0} s",
        began.elapsed().as_secs_f64()
    ));
    fs::rename(&fresh, &folder)?;
    Ok(folder)
}

/// A copy, for what writes.
pub(crate) async fn copy(bench: &Bench, entries: usize) -> anyhow::Result<TempDir> {
    let from = folder(bench, entries).await?;
    let to = tempfile::Builder::new().prefix("cooperage-bench-").tempdir()?;
    NatsServer::copy_store(&from, to.path())?;
    Ok(to)
}

/// Writes the log with a server that does not wait for the disk. Answers the last entry that the world will be told of.
async fn fill(data: &Path, images: usize, story: fn(usize) -> Story) -> anyhow::Result<Position> {
    let port = Port::pick()?;
    let store = data.join("nats");
    fs::create_dir_all(&store)?;
    let settings = server_config(&port.address().to_string(), &store.to_string_lossy(), |_| {
        PASSWORD.to_owned()
    });
    let settings = settings.replace("sync_interval: always", "sync_interval: 1m");
    let file = data.join("fill.conf");
    fs::write(&file, settings)?;
    let mut server = Child::spawn("nats-server", Command::new(program("nats-server")).arg("-c").arg(&file))?;
    server.says("Server is ready").await?;

    let logs = Arc::new(logs(&format!("nats://{}", port.address())).await?);
    for number in 0..story::workspaces(images) {
        write(&logs, story::workspace(number, USER), Position(0)).await?;
    }
    let (next, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Position(0))));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (logs, next, last) = (logs.clone(), next.clone(), last.clone());
        writers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= images {
                    return anyhow::Ok(());
                }
                let committed = tell(&logs, story(number)).await?;
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                *last = committed.max(*last);
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    server.stop()?;
    fs::remove_file(file)?;
    let last = *last.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(last)
}

type Logs = HashMap<&'static str, JetStreamLog>;

async fn logs(url: &str) -> anyhow::Result<Logs> {
    let defaults = Config::defaults()?.nats;
    let mut logs = HashMap::new();
    for account in &ACCOUNTS {
        let config = NatsConfig {
            url: url.to_owned(),
            user: account.name.to_owned(),
            password: PASSWORD.to_owned(),
            replicas: defaults.replicas,
            log_bytes_max: defaults.log_bytes_max,
            output_bytes_max: defaults.output_bytes_max,
        };
        let nats = Nats::connect(&config).await?;
        nats.prepare(&config).await?;
        logs.insert(account.name, nats.log().await?);
    }
    Ok(logs)
}

async fn write(logs: &Logs, step: Step, expected: Position) -> anyhow::Result<Position> {
    let log = logs.get(step.account).context("no such account")?;
    Ok(log
        .append(vec![Append {
            stream: step.stream,
            expected,
            bytes: step.bytes,
        }])
        .await?)
}

/// Writes all of one image's story.
async fn tell(logs: &Logs, mut story: Story) -> anyhow::Result<Position> {
    let mut versions: HashMap<StreamId, Position> = HashMap::new();
    while let Some(step) = story.next() {
        let stream = step.stream.clone();
        let expected = versions.get(&stream).copied().unwrap_or_default();
        let position = write(logs, step, expected).await?;
        versions.insert(stream, position);
        story.written(position);
    }
    Ok(story.committed())
}

/// Runs the platform until its views are made, and `EVENTS` tells of the whole log.
async fn tell_the_world(bench: &Bench, data: &Path, committed: Position) -> anyhow::Result<()> {
    let platform = Platform::start(&bench.programs, data).await?;
    let nats = connect(&platform, data, "notifier").await?;
    let began = Instant::now();
    loop {
        let (last, _) = nats.feed().last().await?;
        if last.is_some_and(|(position, _)| position >= committed.0) {
            break;
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "the events are not published after {PATIENCE:?}"
        );
        sleep(Duration::from_millis(200)).await;
    }
    platform.stop()
}

/// A connection to the platform's own server, as one of its services.
pub(crate) async fn connect(platform: &Platform, data: &Path, account: &str) -> anyhow::Result<Nats> {
    let defaults = Config::defaults()?.nats;
    Nats::connect(&NatsConfig {
        url: platform.nats()?,
        user: account.to_owned(),
        password: fs::read_to_string(data.join(format!("keys/{account}.password")))?,
        replicas: defaults.replicas,
        log_bytes_max: defaults.log_bytes_max,
        output_bytes_max: defaults.output_bytes_max,
    })
    .await
}
