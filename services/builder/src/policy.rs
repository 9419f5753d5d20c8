//! Whenever a build waits and a slot is free, it should run; whenever one is not wanted any more, it should stop.

use crate::{
    docker::Engine,
    domain::{Builds, BuildsCommand},
    run::{Job, artifact_prefix, run},
    view::{self, Row, Stage},
};
use anyhow::Context as _;
use eventlog::{ExecuteError, Position, Request, View, Writer};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use ids::{BuildId, ImageId, WorkerId};
use service::World;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_mins(1);
const ENGINE_RETRY: Duration = Duration::from_secs(1);

/// What is known of the engine.
#[derive(Clone, Default)]
pub(crate) struct Engines(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    version: String,
    /// Why no build can start, in words for people.
    trouble: Option<String>,
}

impl Engines {
    /// Why no build can start, in words for people.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.known().trouble.clone()
    }

    fn version(&self) -> String {
        self.known().version.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The order in which waiting builds are taken: workspaces with the fewest running builds first, then by age.
pub(crate) fn in_turn(running: &[Row], waiting: Vec<Row>) -> Vec<Row> {
    let mut load: HashMap<String, usize> = HashMap::new();
    for row in running {
        *load.entry(row.workspace.clone()).or_default() += 1;
    }
    // Each waiting build of a workspace stands behind the ones that it has before it.
    let mut ordered: Vec<(usize, Row)> = waiting
        .into_iter()
        .map(|row| {
            let before = load.entry(row.workspace.clone()).or_default();
            *before += 1;
            (*before, row)
        })
        .collect();
    ordered.sort_by_key(|(before, row)| (*before, row.queued_at));
    ordered.into_iter().map(|(_, row)| row).collect()
}

/// This process's worker.
pub(crate) struct Builder {
    world: World,
    view: View,
    writer: Writer,
    engines: Engines,
}

/// Builds that this worker has taken, by id.
type Taken = HashMap<String, CancellationToken>;

impl Builder {
    pub(crate) fn new(world: &World, view: &View, writer: &Writer, engines: &Engines) -> Self {
        Self {
            world: world.clone(),
            view: view.clone(),
            writer: writer.clone(),
            engines: engines.clone(),
        }
    }

    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let worker = self.worker()?;
        let mut engine = self.engine().await;
        let (mut reaped, mut is_engine_reaped) = (false, false);
        let mut taken = Taken::new();
        let mut running: FuturesUnordered<BoxFuture<'_, String>> = FuturesUnordered::new();
        let mut changes = self.view.changes();
        loop {
            changes.mark_unchanged();
            if !reaped {
                reaped = self.reap(worker).await.inspect_err(warn).is_ok();
            }
            if engine.is_none() {
                engine = self.engine().await;
            }
            if let (true, false, Some(present)) = (reaped, is_engine_reaped, &engine) {
                is_engine_reaped = self.reap_artifacts(present).await.inspect_err(warn).is_ok();
            }
            if let (true, Some(present)) = (reaped, &engine) {
                let jobs = self.pass(worker, present, &mut taken).await;
                for (job, cancel) in jobs.inspect_err(warn).unwrap_or_default() {
                    let (world, writer) = (&self.world, &self.writer);
                    running.push(Box::pin(async move {
                        let build = job.row.id.clone();
                        run(world, writer, job, cancel).await;
                        build
                    }));
                }
            }
            let wait = if engine.is_none() || !reaped {
                ENGINE_RETRY
            } else {
                EVERY
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
                Some(build) = running.next() => {
                    taken.remove(&build);
                    // Whether the engine is still there is asked before the next build is taken.
                    engine = self.still_there(engine.take()).await;
                }
                () = tokio::time::sleep(wait) => engine = self.still_there(engine.take()).await,
                () = self.world.stop.cancelled() => return Ok(()),
            }
        }
    }

    /// One worker per data folder, the same after a restart: so it knows at once which attempts died with it.
    fn worker(&self) -> anyhow::Result<WorkerId> {
        let file = self.world.config.data.join("worker.id");
        if let Ok(text) = fs::read_to_string(&file) {
            return text
                .trim()
                .parse()
                .with_context(|| format!("{} does not hold a worker's id", file.display()));
        }
        let worker = WorkerId::from_ulid(self.world.ids.next());
        service::auth::write_private(&file, worker.to_string().as_bytes())?;
        Ok(worker)
    }

    async fn engine(&self) -> Option<Engine> {
        let host = Some(self.world.config.engine.host.as_str()).filter(|host| !host.is_empty());
        let connected = match Engine::connect(host).await {
            Ok(engine) => engine.facts().await.map(|facts| (engine, facts)),
            Err(error) => Err(error),
        };
        match connected {
            Ok((engine, facts)) => {
                let mut known = self.engines.known();
                known.trouble = None;
                known.version = facts.version;
                Some(engine)
            }
            Err(error) => {
                let trouble = error.to_string();
                if self.engines.trouble().is_none() {
                    tracing::warn!("builds wait: {trouble}");
                }
                self.engines.known().trouble = Some(trouble);
                None
            }
        }
    }

    async fn still_there(&self, engine: Option<Engine>) -> Option<Engine> {
        match engine {
            Some(engine) if engine.ping().await.is_ok() => Some(engine),
            _ => self.engine().await,
        }
    }

    /// What this worker had under way when it died is over, and leaves nothing behind.
    async fn reap(&self, worker: WorkerId) -> anyhow::Result<()> {
        for row in view::owned_by(&self.view, &worker.to_string()).await? {
            self.lose(&row, "the builder stopped in the middle of the build")
                .await?;
        }
        let work = self.work_folder();
        if work.exists() {
            fs::remove_dir_all(&work).with_context(|| format!("{} can't be emptied", work.display()))?;
        }
        fs::create_dir_all(&work).with_context(|| format!("{} can't be made", work.display()))?;
        Ok(())
    }

    fn work_folder(&self) -> PathBuf {
        self.world.config.data.join("work")
    }

    /// Images that an attempt left in the engine, and that no open publication needs.
    async fn reap_artifacts(&self, engine: &Engine) -> anyhow::Result<()> {
        let needed: Vec<String> = view::needed_artifacts(&self.view).await?;
        for artifact in engine.list_artifacts(artifact_prefix()).await? {
            let attempt = artifact
                .rsplit_once(':')
                .map(|(_, tag)| tag.to_owned())
                .unwrap_or_default();
            let is_ours = view::is_known_attempt(&self.view, &attempt).await?;
            if is_ours && !needed.contains(&attempt) {
                engine.remove(&artifact).await?;
            }
        }
        Ok(())
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

    /// What should be under way and is not, and the other way round.
    async fn pass(
        &self,
        worker: WorkerId,
        engine: &Engine,
        taken: &mut Taken,
    ) -> anyhow::Result<Vec<(Job, CancellationToken)>> {
        let rows = view::waiting_or_running(&self.view).await?;
        let mut unwanted = BTreeMap::new();
        for row in &rows {
            let is_unwanted = row.cancel_requested || view::image_deleted(&self.view, &row.image).await?;
            unwanted.insert(row.id.clone(), is_unwanted);
        }
        for row in rows.iter().filter(|row| unwanted[&row.id]) {
            match taken.get(&row.id) {
                Some(cancel) => cancel.cancel(),
                None if row.stage() == Stage::Queued || row.worker == worker.to_string() => {
                    let build: BuildId = row.id.parse()?;
                    self.command(row, BuildsCommand::Cancel { build }).await?;
                }
                None => (),
            }
        }
        for row in rows
            .iter()
            .filter(|row| row.stage() == Stage::Running && row.worker == worker.to_string())
        {
            if !taken.contains_key(&row.id) && !unwanted[&row.id] {
                self.lose(row, "the builder lost track of the build").await?;
            }
        }
        let is_free = |row: &Row| row.stage() == Stage::Queued && !taken.contains_key(&row.id) && !unwanted[&row.id];
        let (waiting, running): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_free);
        let slots = self.world.config.builder.slots.saturating_sub(taken.len());
        let mut jobs = Vec::new();
        for row in in_turn(&running, waiting).into_iter().take(slots) {
            let cancel = CancellationToken::new();
            taken.insert(row.id.clone(), cancel.clone());
            let job = Job {
                row,
                worker,
                engine: engine.clone(),
                engine_version: self.engines.version(),
                view: self.view.clone(),
                work: self.work_folder(),
            };
            jobs.push((job, cancel));
        }
        Ok(jobs)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(workspace: &str, queued_at: u64) -> Row {
        let mut row = Row::default();
        row.id = queued_at.to_string();
        workspace.clone_into(&mut row.workspace);
        row.queued_at = queued_at;
        row
    }

    // covers E1
    #[test]
    fn a_flood_of_one_workspace_does_not_hold_up_another() {
        let flood = (1..=5).map(|n| row("a", n)).chain([row("b", 6), row("b", 7)]);
        let ordered = in_turn(&[row("a", 0)], flood.collect());
        let ids: Vec<&str> = ordered.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["6", "1", "7", "2", "3", "4", "5"]);
    }
}
