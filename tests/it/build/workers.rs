//! Two builders on one log and one engine: both work, and nothing is built twice when one of them falls silent.

use super::platform;
use nix::sys::signal::Signal;
use proto::{
    builder::v1::{Build, BuildPhase, GetQueueRequest, StreamLogRequest},
    catalog::v1::BuildOutcome,
    events::BuildsEvent,
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tests::{BUSYBOX, Child, Platform, Shape, User, busybox, engine};
use tokio::time::{sleep, timeout};

const LEASE: Duration = Duration::from_secs(5);
const SETTINGS: [(&str, &str); 2] = [
    ("COOPERAGE_BUILDER__LEASE_SECONDS", "5"),
    ("COOPERAGE_BUILDER__SLOTS", "1"),
];
const WITHIN: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(50);

/// A step that takes a while and says so, and is never cached.
fn slow(seconds: u64) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("FROM {BUSYBOX}\nRUN echo {now} && for n in $(seq {seconds}); do sleep 1 && echo slept-$n; done\n")
}

/// Two builders with one slot each, and a build in the middle of its RUN step on each.
struct Pair {
    ada: User,
    /// Of the builder that is killed or stopped. It ends before the platform does.
    second: Child,
    second_build: (String, String),
    first_build: (String, String),
    platform: Platform,
}

impl Pair {
    async fn start(first_seconds: u64, second_seconds: u64) -> anyhow::Result<Self> {
        busybox().await?;
        let (platform, ada, first) = platform(Shape::Many, &SETTINGS).await?;
        let first_build = running(&ada, &first, first_seconds).await?;
        // The other one is busy, so the next build is its.
        let second = platform.another("builder", "second-builder").await?;
        let home = ada.tile(&first).await?.workspace;
        let image = ada.image(&home, "vision/second").await?;
        let second_build = running(&ada, &image, second_seconds).await?;
        Ok(Self {
            ada,
            second,
            second_build: (image, second_build),
            first_build: (first, first_build),
            platform,
        })
    }

    /// Waits until the build of the second builder is ended by the first.
    async fn second_is_given_up(&self) -> anyhow::Result<()> {
        let silent = Instant::now();
        let (image, build) = &self.second_build;
        let lost = self
            .ada
            .until(image, build, |build| build.phase() == BuildPhase::Queued)
            .await?;
        assert_eq!(
            (lost.phase(), lost.cause.as_str()),
            (BuildPhase::Queued, "the builder gave no sign of life for 5 s")
        );
        assert!(silent.elapsed() < LEASE * 3, "{:?}", silent.elapsed());
        Ok(())
    }

    /// Frees the slot of the first builder.
    async fn first_has_time(&self) -> anyhow::Result<()> {
        let (image, build) = &self.first_build;
        self.ada.cancel(image, build).await?;
        let ended = self.ada.until(image, build, |_| false).await?;
        assert_eq!(ended.outcome(), BuildOutcome::Cancelled);
        Ok(())
    }

    async fn second_build_succeeds_in_attempt_2(&self) -> anyhow::Result<Build> {
        let (image, build) = &self.second_build;
        let ended = self.ada.until(image, build, |_| false).await?;
        let (outcome, attempt) = (ended.outcome(), ended.attempt);
        assert_eq!((outcome, attempt), (BuildOutcome::Succeeded, 2), "{}", ended.cause);
        assert_eq!(self.ada.journal(image).await?.len(), 1, "it is the same build");
        Ok(ended)
    }

    /// What the log says of an image's builds.
    async fn events(&self, image: &str) -> anyhow::Result<Vec<BuildsEvent>> {
        let mut events = Vec::new();
        for entry in self.platform.entries().await? {
            if (entry.stream.category.as_str(), entry.stream.key.as_str()) == ("builds", image) {
                events.extend(entry.events::<BuildsEvent>()?);
            }
        }
        Ok(events)
    }

    /// In the log itself: an attempt that was lost by one worker, and one that was assembled by the other.
    async fn was_tried_twice_and_ended_once(&mut self) -> anyhow::Result<()> {
        let image = self.second_build.0.clone();
        let events = self.events(&image).await?;
        let workers = workers(&events);
        assert_eq!(workers.iter().collect::<BTreeSet<_>>().len(), 2, "{events:?}");
        let ends: Vec<u32> = events
            .iter()
            .filter_map(|event| match event {
                BuildsEvent::AttemptLost(lost) => Some(lost.attempt),
                BuildsEvent::Assembled(assembled) => Some(assembled.attempt),
                BuildsEvent::Failed(_) | BuildsEvent::Cancelled(_) | BuildsEvent::Lost(_) => Some(0),
                BuildsEvent::Queued(_)
                | BuildsEvent::Started(_)
                | BuildsEvent::SourceFetched(_)
                | BuildsEvent::CancelRequested(_) => None,
            })
            .collect();
        assert_eq!(ends, [1, 2], "{events:?}");
        Ok(())
    }

    /// The name that an attempt of the second builder's build has in the engine.
    fn artifact(&self, attempt: u32) -> String {
        let ulid = |id: &str| id.split('_').next_back().unwrap_or_default().to_lowercase();
        let (image, build) = &self.second_build;
        format!("cooperage-artifact/{}:{}-{attempt}", ulid(image), ulid(build))
    }

    /// Both take a build again when there are two.
    async fn both_work(&mut self) -> anyhow::Result<()> {
        let images = [self.first_build.0.clone(), self.second_build.0.clone()];
        for image in &images {
            running(&self.ada, image, 600).await?;
        }
        let mut last = BTreeSet::new();
        for image in &images {
            last.extend(workers(&self.events(image).await?).pop());
        }
        assert_eq!(last.len(), 2, "{last:?}");
        Ok(())
    }
}

fn workers(events: &[BuildsEvent]) -> Vec<String> {
    let worker = |event: &BuildsEvent| match event {
        BuildsEvent::Started(started) => Some(started.worker.unwrap_or_default().to_string()),
        _ => None,
    };
    events.iter().filter_map(worker).collect()
}

/// Starts a build, and waits until it is in the middle of its RUN step.
async fn running(ada: &User, image: &str, seconds: u64) -> anyhow::Result<String> {
    ada.save(image, &slow(seconds), None).await?;
    let build = ada.start(image).await?.id;
    let follow = StreamLogRequest {
        image: image.to_owned(),
        build: build.clone(),
        offset: 0,
        follow: true,
    };
    let mut pieces = ada.builds().stream_log(follow).await?.into_inner();
    let mut text = String::new();
    while !text.contains("slept-1") {
        let piece = pieces.message().await?.unwrap_or_default();
        assert!(!piece.text.is_empty(), "the build ended: {text}");
        text.push_str(&String::from_utf8_lossy(&piece.text));
    }
    Ok(build)
}

async fn slots(ada: &User, wanted: u32) {
    let seen = async {
        let queue = || async { ada.builds().get_queue(GetQueueRequest::default()).await };
        while queue().await.unwrap().into_inner().slots != wanted {
            sleep(STEP).await;
        }
    };
    timeout(WITHIN, seen).await.unwrap();
}

/// Waits until an image is in the engine, or is not.
async fn engine_has(name: &str, wanted: bool) {
    let engine = engine().await.unwrap();
    let seen = async {
        while engine.inspect_image(name).await.is_ok() != wanted {
            sleep(STEP).await;
        }
    };
    let seen = timeout(WITHIN, seen).await;
    assert!(seen.is_ok(), "{name} in the engine: not {wanted}");
}

// covers E1, E2
#[tokio::test]
async fn engine_the_build_of_a_dead_builder_is_done_by_another() -> anyhow::Result<()> {
    let mut pair = Pair::start(600, 3).await?;
    slots(&pair.ada, 2).await;
    pair.second.kill();
    pair.second_is_given_up().await?;
    slots(&pair.ada, 1).await;
    pair.first_has_time().await?;
    let ended = pair.second_build_succeeds_in_attempt_2().await?;
    pair.was_tried_twice_and_ended_once().await?;

    let (image, build) = &pair.second_build;
    let log = pair.ada.log(image, build, 0).await?;
    let told = log.contains("attempt 1 was lost: the builder gave no sign of life for 5 s");
    assert!(told && log.contains("attempt 2"), "{log}");
    assert!(pair.ada.resolve(image).await?.ends_with(&ended.digest));
    Ok(())
}

// covers E2, E18
#[tokio::test]
async fn engine_a_builder_that_wakes_up_too_late_is_fenced() -> anyhow::Result<()> {
    let mut pair = Pair::start(600, 3).await?;
    pair.second.signal(Signal::SIGSTOP)?;
    pair.second_is_given_up().await?;
    // The engine did not stop with its client: there is an image that nobody may publish.
    engine_has(&pair.artifact(1), true).await;
    pair.first_has_time().await?;
    pair.second_build_succeeds_in_attempt_2().await?;
    let (image, build) = pair.second_build.clone();
    let (log, reference) = (pair.ada.log(&image, &build, 0).await?, pair.ada.resolve(&image).await?);

    pair.second.signal(Signal::SIGCONT)?;
    engine_has(&pair.artifact(1), false).await;
    pair.both_work().await?;
    pair.was_tried_twice_and_ended_once().await?;
    assert_eq!(
        pair.ada.log(&image, &build, 0).await?,
        log,
        "what it still wanted to say"
    );
    assert_eq!(pair.ada.resolve(&image).await?, reference);
    Ok(())
}

// covers E2, E18
#[tokio::test]
async fn engine_a_builder_that_wakes_up_during_the_next_attempt_does_not_disturb_it() -> anyhow::Result<()> {
    let mut pair = Pair::start(600, 12).await?;
    pair.second.signal(Signal::SIGSTOP)?;
    pair.second_is_given_up().await?;
    pair.first_has_time().await?;
    let (image, build) = pair.second_build.clone();
    let second = |build: &Build| build.attempt == 2 && build.phase() == BuildPhase::Building;
    pair.ada.until(&image, &build, second).await?;
    pair.second.signal(Signal::SIGCONT)?;
    pair.second_build_succeeds_in_attempt_2().await?;
    pair.was_tried_twice_and_ended_once().await?;
    let log = pair.ada.log(&image, &build, 0).await?;
    assert!(log.contains("attempt 2") && log.contains("slept-12"), "{log}");
    engine_has(&pair.artifact(1), false).await;
    Ok(())
}

// covers E2
#[tokio::test]
async fn engine_a_restart_of_the_logs_server_ends_no_build() -> anyhow::Result<()> {
    // Longer than a lease, from the restart on.
    let mut pair = Pair::start(16, 12).await?;
    if let Some(nats) = pair.platform.nats() {
        nats.restart().await?;
    }
    for (image, build) in [&pair.first_build, &pair.second_build] {
        let ended = pair.ada.until(image, build, |_| false).await?;
        let (outcome, attempt) = (ended.outcome(), ended.attempt);
        assert_eq!((outcome, attempt), (BuildOutcome::Succeeded, 1), "{}", ended.cause);
    }
    Ok(())
}
