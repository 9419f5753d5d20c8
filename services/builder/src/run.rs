//! One attempt of one build, from its start in the log to its end there.

mod brief;
mod end;
mod given;
mod judge;
mod log;
mod mask;
mod memory;
mod place;
pub(crate) mod source;

use crate::{
    credentials::Vault,
    docker::{BuildInput, Engine},
    domain::{Builds, BuildsCommand},
    policy::{Lease, request},
    progress::{Plain, plain as plain_text},
    view::{self, Row},
};
use anyhow::Context as _;
use end::{Ended, failed};
use eventlog::{ExecuteError, LogError, View, Writer};
use futures::{FutureExt as _, future};
use ids::{BuildId, ImageId};
use judge::Unfit;
use log::BuildLog;
use mask::Mask;
use memory::Kills;
use place::place;
use proto::{
    builder::v1::{BuildAssembled, BuildCredentials, BuildPhase},
    editor::v1::{BuildSpec, ContextKind},
};
use service::{World, telemetry};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::Instrument as _;

/// How long the end of a build is tried to be written while the log is not reachable.
const END_PATIENCE: Duration = Duration::from_mins(2);
/// What can't be read now is not asked for again at once.
const FAILED_DELAY: Duration = Duration::from_secs(1);
const END_RETRY: Duration = Duration::from_millis(200);
/// Messages of the engine under way to a slow log; then the engine has to wait.
const QUEUE: usize = 64;

pub(crate) struct Job {
    pub(crate) row: Row,
    pub(crate) lease: Lease,
    pub(crate) engine: Engine,
    pub(crate) engine_version: String,
    /// It is on this machine.
    pub(crate) engine_is_here: bool,
    pub(crate) view: View,
    /// Where temporary folders go.
    pub(crate) work: PathBuf,
    pub(crate) vault: Vault,
}

/// What all our images in an engine are called, until they are published.
pub(crate) fn artifact_prefix() -> &'static str {
    "cooperage-artifact/"
}

/// Why an attempt should stop.
#[derive(Debug)]
pub(crate) enum Stop {
    Cancelled,
    /// It was ended in the log: somebody else has the build, or it is over.
    Over,
}

/// Runs an attempt. Whatever happens to it is in the log afterwards, or this process dies.
pub(crate) async fn run(world: &World, writer: &Writer, job: Job, stop: oneshot::Receiver<Stop>) {
    let span = tracing::info_span!("build", build = job.row.id, attempt = job.row.attempt + 1);
    telemetry::follow(&span, &job.row.traceparent);
    let build = job.row.id.clone();
    let attempt = Attempt {
        world,
        writer,
        number: job.row.attempt + 1,
        job,
    };
    async {
        match attempt.run(stop).await {
            Ok(()) => (),
            // Another worker was faster, or the build is over.
            Err(ExecuteError::Refused(refusal)) => tracing::debug!("build {build} is not ours: {refusal}"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "build {build} can't go on");
                sleep(FAILED_DELAY).await;
            }
        }
    }
    .instrument(span)
    .await;
}

struct Attempt<'a> {
    world: &'a World,
    writer: &'a Writer,
    job: Job,
    number: u32,
}

impl Attempt<'_> {
    async fn run(&self, stop: oneshot::Receiver<Stop>) -> Result<(), ExecuteError> {
        let row = &self.job.row;
        // What can't be read now is read at the next pass; the build stays queued.
        let unread = |error: anyhow::Error| ExecuteError::Log(LogError::Unavailable(error));
        let found = view::revision(&self.job.view, &row.image, Some(row.revision))
            .await
            .map_err(unread)?;
        let (_, mut spec) = found.context("the saved revision is not in the view").map_err(unread)?;
        let is_local = spec.context_kind() != ContextKind::GitRepository;
        let repeated = self.repeated(&mut spec).await.map_err(unread)?;
        let workspace = row.workspace.parse().unwrap_or_default();
        let is_owner = self.world.access.is_owner(&row.requester, workspace).await;
        let is_owner = is_owner.map_err(|denied| unread(denied.into()))?;
        let engine_version = &self.job.engine_version;
        let began = Instant::now();
        self.command(BuildsCommand::Start {
            build: self.build(),
            attempt: self.number,
            worker: self.job.lease.worker,
            engine: self.world.config.engine.name.clone(),
            engine_version: engine_version.clone(),
            attached: is_local.then(|| spec.context.clone().unwrap_or_default().digest),
        })
        .await?;

        let limit = self.world.config.builder.log_bytes_max;
        let (revision, number) = (row.revision, self.number);
        let mut log = BuildLog::new(self.world.nats.output(), &row.id, number, limit);
        if !row.cause.is_empty() {
            // Who was lost could not always tell.
            log.write(&format!("#0 attempt {} was lost: {}\n", row.attempt, row.cause))
                .await;
        }
        log.write(&format!(
            "#0 building revision {revision} on engine {engine_version}, attempt {number}\n\n"
        ))
        .await;
        let kills = Kills::from_now_on(self.job.engine_is_here);
        let mut plain = Plain::new(self.world.config.builder.log_bytes_per_second);
        let credentials = self.credentials().await;
        let mut mask = Mask::new(credentials.as_ref().unwrap_or(&BuildCredentials::default()));
        let ended = if is_owner {
            let building = Box::pin(self.build_image(&spec, &repeated, credentials, &mut log, &mut plain, &mut mask));
            let building = self.job.lease.during(building);
            tokio::select! {
                ended = building => ended.unwrap_or(Ended::Unseen(self.job.lease.patience())),
                Ok(stop) = stop => match stop {
                    Stop::Cancelled => Ended::Cancelled,
                    Stop::Over => Ended::Over,
                },
            }
        } else {
            let cause = format!("{} is not an owner of the workspace any more", row.requester);
            Ended::Failed(BuildPhase::Queued, cause)
        };
        telemetry::built(ended.word(), began.elapsed());
        let (ended, notice) = memory::explain(ended, kills.count());
        log.write(&mask.finish(&plain.finish())).await;
        // A Dockerfile in a repository is not here to be shown.
        let dockerfile = Some(&spec.dockerfile).filter(|_| is_local);
        let place = dockerfile
            .zip(plain.failed())
            .and_then(|(text, step)| place(text, step));
        log.write(&plain_text(&place.unwrap_or_default())).await;
        log.write(notice.unwrap_or_default()).await;
        let is_over = matches!(ended, Ended::Assembled(_) | Ended::Failed(..) | Ended::Cancelled);
        self.end(ended.hidden(&mask), log, &plain).await?;
        if row.options.has_credentials && is_over {
            self.forget().await;
        }
        Ok(())
    }

    async fn build_image(
        &self,
        spec: &BuildSpec,
        pins: &BTreeMap<String, String>,
        credentials: Result<BuildCredentials, Ended>,
        log: &mut BuildLog,
        plain: &mut Plain,
        mask: &mut Mask,
    ) -> Ended {
        let row = &self.job.row;
        let credentials = match credentials {
            Ok(credentials) => credentials,
            Err(ended) => return ended,
        };
        let settings = &self.world.config.builder;
        let deadline = Instant::now() + Duration::from_secs(settings.build_minutes_max * 60);
        let idle = Duration::from_secs(settings.idle_minutes_max * 60);

        let opened = self.opened(spec, credentials.git.as_ref(), log);
        let source = match timeout(deadline - Instant::now(), opened).await {
            Ok(Ok(source)) => source,
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::Failed(BuildPhase::Fetching, self.too_long()),
        };
        let judged = match self.judge(&source.dockerfile, spec, pins).await {
            Ok(judged) => judged,
            Err(Unfit::Refused(cause)) => return Ended::Failed(BuildPhase::Fetching, cause),
            Err(Unfit::Engine(error)) => return failed(&error),
            Err(Unfit::Rights(denied)) => return Ended::Lost(denied.to_string()),
        };
        let artifact = self.artifact();
        let context = context::assemble(&judged.dockerfile, source.files);
        let cache_from = self.cache_from().await;
        let input = self.input(spec, judged.arguments, credentials, cache_from, &artifact);
        // Apart from each other: the engine is answered also while the log waits for its server.
        let (to, mut from) = mpsc::channel(QUEUE);
        let building = self.job.engine.build(input, context, to);
        let telling = async {
            let mut last_output = Instant::now();
            loop {
                let flush = log.flush_at();
                tokio::select! {
                    next = from.recv() => match next {
                        Some(status) => {
                            last_output = Instant::now();
                            log.push(&mask.hide(&plain.render(&status))).await;
                        }
                        None => return Ok(()),
                    },
                    () = sleep_until(flush) => log.flush().await,
                    () = sleep_until(last_output + idle) => {
                        let minutes = settings.idle_minutes_max;
                        let cause = format!("no output for {minutes} minutes (builder.idle_minutes_max)");
                        return Err(Ended::Failed(BuildPhase::Building, cause));
                    }
                }
            }
        };
        // What was told before a build failed is written, too.
        let built = async { future::try_join(building.map(Ok), telling).await };
        let built = tokio::select! {
            built = built => built,
            error = self.job.engine.gone() => return failed(&error),
            () = sleep_until(deadline) => return Ended::Failed(BuildPhase::Building, self.too_long()),
        };
        let engine_image_id = match built {
            Ok((Ok(image), ())) => image,
            Ok((Err(error), ())) => return failed(&error),
            Err(ended) => return ended,
        };
        let (os, architecture) = match self.job.engine.image_platform(&artifact).await {
            Ok(platform) => platform,
            Err(error) => return failed(&error),
        };
        Ended::Assembled(Box::new(BuildAssembled {
            build: Some(self.build()),
            attempt: self.number,
            revision: row.revision,
            engine: self.world.config.engine.name.clone(),
            artifact,
            engine_image_id,
            os,
            architecture,
            steps: vec![],
            bases: vec![],
            tags: row.options.tags.clone(),
        }))
    }

    /// Writes to the log, and keeps trying while it is not reachable: the work is done, and must not be lost.
    async fn command(&self, command: BuildsCommand) -> Result<(), ExecuteError> {
        let image: ImageId = self.job.row.image.parse().unwrap_or_default();
        let request = request(self.world, &self.job.row);
        let patience = Instant::now() + END_PATIENCE;
        loop {
            match self.writer.execute::<Builds>(&request, &image, command.clone()).await {
                Ok(_) => return Ok(()),
                Err(
                    ExecuteError::Log(LogError::Unavailable(_) | LogError::OutcomeUnknown(_)) | ExecuteError::Contended,
                ) if Instant::now() < patience => {
                    sleep(END_RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn build(&self) -> BuildId {
        self.job.row.id.parse().unwrap_or_default()
    }

    /// The image's reference in the engine: of this attempt alone.
    fn artifact(&self) -> String {
        let image: ImageId = self.job.row.image.parse().unwrap_or_default();
        let build = self.build().ulid().to_string().to_lowercase();
        format!(
            "{}{}:{build}-{}",
            artifact_prefix(),
            image.ulid().to_string().to_lowercase(),
            self.number
        )
    }

    fn input(
        &self,
        spec: &BuildSpec,
        build_args: BTreeMap<String, String>,
        credentials: BuildCredentials,
        cache_from: Vec<String>,
        artifact: &str,
    ) -> BuildInput {
        let options = &self.job.row.options;
        BuildInput {
            tag: artifact.to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            build_args,
            labels: spec.labels.clone(),
            target: spec.target.clone(),
            platform: spec.platforms.first().cloned().unwrap_or_default(),
            no_cache: options.no_cache,
            pull: options.pull,
            credentials,
            cache_from,
        }
    }

    fn too_long(&self) -> String {
        let minutes = self.world.config.builder.build_minutes_max;
        format!("the build took longer than {minutes} minutes (builder.build_minutes_max)")
    }
}
