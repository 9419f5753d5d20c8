//! Whenever a build waits and a slot is free, it should run; whenever one is not wanted any more, it should stop.

mod engines;
mod forget;
mod lease;
mod preflight;
mod reap;
mod silence;
mod turns;

pub(crate) use engines::{About, Engines};
pub(crate) use forget::forget;
pub(crate) use lease::Lease;
pub(crate) use turns::Turns;

use crate::{
    credentials::Vault,
    domain::{Builds, BuildsCommand},
    run::{Job, Stop, run},
    view::{self, Row, Stage},
};
use anyhow::Context as _;
use eventlog::{ExecuteError, Position, Request, View, Writer};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use ids::{BuildId, ImageId, WorkerId};
use service::World;
use std::{collections::HashMap, fs, time::Duration};
use tokio::sync::oneshot;

const EVERY: Duration = Duration::from_mins(1);
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// This process's worker.
#[derive(Clone)]
pub(crate) struct Builder {
    world: World,
    view: View,
    writer: Writer,
    engines: Engines,
    lease: Lease,
    vault: Vault,
}

/// Builds that this worker has taken, by id.
type Taken = HashMap<String, Attempt>;

struct Attempt {
    number: u32,
    stop: Option<oneshot::Sender<Stop>>,
}

/// What a pass led to.
#[derive(Default)]
struct Passed {
    jobs: Vec<(Job, oneshot::Receiver<Stop>)>,
    /// Nothing failed: until something happens there is nothing more to do.
    is_whole: bool,
}

impl Attempt {
    fn stop(&mut self, why: Stop) {
        if let Some(stop) = self.stop.take() {
            // It may have ended meanwhile.
            let _ = stop.send(why);
        }
    }
}

impl Builder {
    pub(crate) fn new(
        world: &World,
        view: &View,
        writer: &Writer,
        engines: &Engines,
        vault: &Vault,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            lease: Lease::new(worker(world)?, world.config.builder.lease_seconds)?,
            world: world.clone(),
            view: view.clone(),
            writer: writer.clone(),
            engines: engines.clone(),
            vault: vault.clone(),
        })
    }

    /// Shows that this worker lives, and what it could do.
    pub(crate) async fn renew(self) -> anyhow::Result<()> {
        let presence = self.world.nats.presence();
        let about = || self.engines.own(&self.world.config).to_bytes();
        self.lease.keep(&presence, about, &self.world.stop).await;
        Ok(())
    }

    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stop = self.world.stop.clone();
        let all = async { tokio::join!(self.sweep(), self.build_what_waits()) };
        let ended = tokio::select! {
            ended = self.watch_engine() => Some(ended),
            _ = all => None,
            () = stop.cancelled() => None,
        };
        ended.unwrap_or(Ok(()))
    }

    /// Waits for nothing but for the log and the view: an engine that hangs holds up no build that runs, and no cancel.
    async fn build_what_waits(&self) {
        while self.reap().await.inspect_err(warn).is_err() {
            tokio::time::sleep(RETRY_DELAY).await;
        }
        let mut taken = Taken::new();
        let mut running: FuturesUnordered<BoxFuture<'_, String>> = FuturesUnordered::new();
        let mut changes = self.view.applied(&["builds", "image"]);
        let mut terms = self.lease.terms();
        let mut engines = self.engines.changes();
        loop {
            changes.mark_unchanged();
            engines.mark_unchanged();
            let passed = self.pass(&mut taken).await.inspect_err(warn);
            let Passed { jobs, is_whole } = passed.unwrap_or_default();
            for (job, stop) in jobs {
                let (world, writer) = (&self.world, &self.writer);
                running.push(Box::pin(async move {
                    let build = job.row.id.clone();
                    run(world, writer, job, stop).await;
                    build
                }));
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                // The lease is held again.
                _ = terms.changed() => (),
                _ = engines.changed() => (),
                Some(build) = running.next() => {
                    taken.remove(&build);
                    // It may have ended because the engine did.
                    self.engines.doubt();
                }
                () = tokio::time::sleep(if is_whole { EVERY } else { RETRY_DELAY }) => (),
            }
        }
    }

    async fn cancel(&self, row: &Row) -> anyhow::Result<()> {
        let build: BuildId = row.id.parse()?;
        self.command(row, BuildsCommand::Cancel { build }).await
    }

    async fn lose(&self, row: &Row, cause: &str) -> anyhow::Result<()> {
        let lose = BuildsCommand::Lose {
            build: row.id.parse()?,
            attempt: row.attempt,
            cause: cause.to_owned(),
            attempts_max: self.world.config.builder.attempts_max,
        };
        self.command(row, lose).await
    }

    /// Over already is as good as done.
    async fn command(&self, row: &Row, command: BuildsCommand) -> anyhow::Result<()> {
        let image: ImageId = row.image.parse()?;
        match self
            .writer
            .execute::<Builds>(&request(&self.world, row), &image, command)
            .await
        {
            Ok(_) | Err(ExecuteError::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What should be under way and is not, and the other way round. A build whose end can't be written keeps no other
    /// one waiting.
    async fn pass(&self, taken: &mut Taken) -> anyhow::Result<Passed> {
        let own = self.lease.worker.to_string();
        let rows = view::waiting_or_running(&self.view).await?;
        for (build, attempt) in taken.iter_mut() {
            let row = rows.iter().find(|row| row.id == *build);
            if row.is_none_or(|row| is_over(row, attempt.number, &own)) {
                attempt.stop(Stop::Over);
            }
        }
        let deleted = view::deleted_images(&self.view).await?;
        let is_unwanted = |row: &Row| row.cancel_requested || deleted.contains(&row.image);
        let mut is_whole = true;
        for row in rows.iter().filter(|row| is_unwanted(row)) {
            match taken.get_mut(&row.id) {
                Some(attempt) => attempt.stop(Stop::Cancelled),
                None if row.stage() == Stage::Queued || row.worker == own => {
                    is_whole &= self.cancel(row).await.inspect_err(warn).is_ok();
                }
                None => (),
            }
        }
        for row in rows
            .iter()
            .filter(|row| row.stage() == Stage::Running && row.worker == own)
        {
            if !taken.contains_key(&row.id) && !is_unwanted(row) {
                let lost = self.lose(row, "the builder lost track of the build").await;
                is_whole &= lost.inspect_err(warn).is_ok();
            }
        }
        let is_free = |row: &Row| row.stage() == Stage::Queued && !taken.contains_key(&row.id) && !is_unwanted(row);
        let (waiting, running): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_free);
        let mut jobs = Vec::new();
        let Some((engine, facts)) = self.engines.present().filter(|_| self.lease.is_held()) else {
            return Ok(Passed { jobs, is_whole });
        };
        let config = &self.world.config;
        if self.engines.is_short_of_disk(config) {
            // Nobody tells when there is room again.
            return Ok(Passed { jobs, is_whole: false });
        }
        let free = config.builder.slots.saturating_sub(taken.len());
        if free == 0 || waiting.is_empty() {
            return Ok(Passed { jobs, is_whole });
        }
        let begun = view::begun(&self.view).await?;
        let slots = config.builder.slots + self.engines.slots_elsewhere();
        for row in Turns::new(config, slots, &begun, &running, waiting).take(free) {
            let (stop, stopped) = oneshot::channel();
            let attempt = Attempt {
                number: row.attempt + 1,
                stop: Some(stop),
            };
            taken.insert(row.id.clone(), attempt);
            let job = Job {
                row,
                lease: self.lease.clone(),
                engine: engine.clone(),
                engine_version: facts.version.clone(),
                engine_is_here: facts.root.is_some(),
                view: self.view.clone(),
                work: self.work_folder(),
                vault: self.vault.clone(),
            };
            jobs.push((job, stopped));
        }
        Ok(Passed { jobs, is_whole })
    }
}

/// Whether the log says so of an attempt of ours; one that has not begun there is not over.
fn is_over(row: &Row, number: u32, own: &str) -> bool {
    let is_ours = row.stage() == Stage::Running && row.worker == own;
    row.attempt > number || (row.attempt == number && !is_ours)
}

/// One worker per data folder, the same after a restart: so it knows at once which attempts died with it.
fn worker(world: &World) -> anyhow::Result<WorkerId> {
    let file = world.config.data.join("worker.id");
    if let Ok(text) = fs::read_to_string(&file) {
        return text
            .trim()
            .parse()
            .with_context(|| format!("{} does not hold a worker's id", file.display()));
    }
    let worker = WorkerId::from_ulid(world.ids.next());
    service::auth::write_private(&file, worker.to_string().as_bytes())?;
    Ok(worker)
}

fn warn(error: &anyhow::Error) {
    tracing::warn!(policy = "build what waits", "{error:#}");
}

/// A request that a build led to.
pub(crate) fn request(world: &World, row: &Row) -> Request {
    Request {
        actor: "system:builder".to_owned(),
        id: world.ids.next().to_string(),
        traceparent: row.traceparent.clone(),
        cause: Position(row.queued_at),
        judged_at: world.access.view().position(),
        urgent: true,
        ..Request::default()
    }
}
