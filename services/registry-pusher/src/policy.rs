//! Whenever a build was assembled, its image should be on its way to the registry; and whenever tags, names or
//! images moved in the log, the registry should follow.

mod journal;
mod publish;
mod release;
mod settle;
mod sweep;
#[cfg(test)]
mod tests;

pub(crate) use sweep::ARTIFACT_KEPT;

use crate::{
    docker::Engine,
    domain::{Command, Repository},
    registry::Registry,
};
use eventlog::{Done, ExecuteError, Position, Request, View, Writer};
use ids::{BuildId, ImageId};
use service::{World, telemetry};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a pass lets an image rest on which it failed.
const REST: Duration = Duration::from_secs(10);
/// How long a pass waits for its own view.
const CATCH_UP: Duration = Duration::from_secs(10);

/// What all passes work with.
#[derive(Clone)]
pub(crate) struct Pusher {
    pub(crate) world: World,
    pub(crate) view: View,
    pub(crate) writer: Writer,
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
}

/// The entry that something follows from.
#[derive(Clone, Copy)]
struct Cause<'a> {
    position: Position,
    traceparent: &'a str,
}

impl Pusher {
    /// These are ends of what was begun before, so they are written even when the log is nearly full.
    async fn execute(
        &self,
        image: ImageId,
        cause: Cause<'_>,
        command: Command,
    ) -> Result<Done<Repository>, ExecuteError> {
        // The work has a span of its own in the trace of its cause.
        let own = telemetry::traceparent();
        let request = Request {
            actor: "system:registry-pusher".to_owned(),
            // A repeated command changes nothing, whatever its id is.
            id: self.world.ids.next().to_string(),
            traceparent: if own.is_empty() {
                cause.traceparent.to_owned()
            } else {
                own
            },
            cause: cause.position,
            judged_at: self.view.position(),
            urgent: true,
            ..Request::default()
        };
        self.writer.execute::<Repository>(&request, &image, command).await
    }

    /// `host/path`, as engines and nodes reach it.
    fn repository(&self, path: &str) -> String {
        format!("{}/{path}", self.world.config.registry.host)
    }
}

/// The tag under which an attempt of a build is pushed: nobody else moves it.
fn own_tag(build: BuildId, attempt: u32) -> String {
    format!("b-{}-{attempt}", build.ulid().to_string().to_lowercase())
}

/// The other way of `own_tag`.
fn build_of(tag: &str) -> Option<BuildId> {
    let (ulid, attempt) = tag.strip_prefix("b-")?.split_once('-')?;
    attempt.parse::<u32>().ok()?;
    ids::Ulid::from_string(&ulid.to_uppercase())
        .ok()
        .map(BuildId::from_ulid)
}

/// Images on which a pass failed a moment ago.
#[derive(Clone, Default)]
struct Resting(Arc<Mutex<HashMap<ImageId, Instant>>>);

impl Resting {
    fn add(&self, image: ImageId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(image, Instant::now());
    }

    fn contains(&self, image: ImageId) -> bool {
        let mut resting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|_, since| since.elapsed() < REST);
        resting.contains_key(&image)
    }
}

pub(crate) async fn publish(pusher: Pusher) -> anyhow::Result<()> {
    publish::run(pusher).await
}

pub(crate) async fn settle(pusher: Pusher) -> anyhow::Result<()> {
    let resting = Resting::default();
    let (view, stop) = (pusher.view.clone(), pusher.world.stop.clone());
    let pass = || settle::pass(&pusher, &resting);
    service::reconcile("settle tags", view, &["image", "repository"], REST, stop, pass).await
}

pub(crate) async fn release(pusher: Pusher) -> anyhow::Result<()> {
    let resting = Resting::default();
    let (view, stop) = (pusher.view.clone(), pusher.world.stop.clone());
    let pass = || release::pass(&pusher, &resting);
    service::reconcile("release repositories", view, &["image", "repository"], REST, stop, pass).await
}

pub(crate) async fn sweep(pusher: Pusher) -> anyhow::Result<()> {
    sweep::run(pusher).await
}
