//! One attempt of one build, from its start in the log to its end there.

mod brief;
mod end;
mod log;
mod memory;
mod place;
mod source;

use crate::{
    docker::{BuildInput, Engine, Progress},
    domain::{Builds, BuildsCommand},
    policy::{Lease, request},
    progress::{Plain, plain as plain_text},
    view::{self, Row},
};
use anyhow::Context as _;
use end::{Ended, failed};
use eventlog::{ExecuteError, LogError, View, Writer};
use futures::StreamExt as _;
use ids::{BuildId, ImageId};
use log::BuildLog;
use memory::Kills;
use place::place;
use proto::{
    builder::v1::{BuildAssembled, BuildPhase},
    editor::v1::{BuildSpec, ContextKind},
};
use service::{World, telemetry};
use source::{Source, SourceError};
use std::{path::PathBuf, pin::pin, time::Duration};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::Instrument as _;

/// How long the end of a build is tried to be written while the log is not reachable.
const END_PATIENCE: Duration = Duration::from_mins(2);
/// What can't be read now is not asked for again at once.
const FAILED_DELAY: Duration = Duration::from_secs(1);
const END_RETRY: Duration = Duration::from_millis(200);

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
        let (_, spec) = found.context("the saved revision is not in the view").map_err(unread)?;
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
            is_local: spec.context_kind() != ContextKind::GitRepository,
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
        let ended = if is_owner {
            let building = Box::pin(self.build_image(&spec, &mut log, &mut plain));
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
        log.write(&plain.finish()).await;
        // A Dockerfile in a repository is not here to be shown.
        let dockerfile = Some(&spec.dockerfile).filter(|_| spec.context_kind() == ContextKind::LocalFolder);
        let place = dockerfile
            .zip(plain.failed())
            .and_then(|(text, step)| place(text, step));
        log.write(&plain_text(&place.unwrap_or_default())).await;
        log.write(notice.unwrap_or_default()).await;
        self.end(ended, log, &plain).await
    }

    async fn build_image(&self, spec: &BuildSpec, log: &mut BuildLog, plain: &mut Plain) -> Ended {
        let row = &self.job.row;
        let settings = &self.world.config.builder;
        let deadline = Instant::now() + Duration::from_secs(settings.build_minutes_max * 60);
        let idle = Duration::from_secs(settings.idle_minutes_max * 60);

        let opened = timeout(
            deadline - Instant::now(),
            source::open(self.world, spec, &self.job.work),
        )
        .await;
        let source = match opened {
            Ok(Ok(source)) => source,
            Ok(Err(SourceError::Refused(cause))) => return Ended::Failed(BuildPhase::Fetching, cause),
            Ok(Err(SourceError::Log(error))) => return Ended::Lost(error.to_string()),
            Err(_) => return Ended::Failed(BuildPhase::Fetching, self.too_long()),
        };
        let Source { tar, commit, notices } = source;
        if let Some(commit) = commit {
            let fetched = BuildsCommand::Fetched {
                build: self.build(),
                attempt: self.number,
                commit: commit.clone(),
            };
            // It only tells where the build is.
            if let Err(error) = self.command(fetched).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the commit was not recorded");
            }
            log.write(&format!("#0 commit {commit}\n")).await;
            for notice in notices {
                log.write(&plain_text(&format!("#0 {notice}\n"))).await;
            }
            log.write("\n").await;
        }

        let artifact = self.artifact();
        let mut progress = pin!(self.job.engine.build(self.input(spec, &artifact), tar));
        let mut gone = pin!(self.job.engine.gone());
        let mut image = None;
        let mut last_output = Instant::now();
        loop {
            let flush = log.flush_at();
            tokio::select! {
                next = progress.next() => match next {
                    Some(Ok(Progress::Status(status))) => {
                        last_output = Instant::now();
                        log.push(&plain.render(&status)).await;
                    }
                    Some(Ok(Progress::Image(id))) => image = Some(id),
                    Some(Err(error)) => return failed(&error),
                    None => break,
                },
                () = sleep_until(flush) => log.flush().await,
                error = &mut gone => return failed(&error),
                () = sleep_until(deadline) => return Ended::Failed(BuildPhase::Building, self.too_long()),
                () = sleep_until(last_output + idle) => {
                    let minutes = settings.idle_minutes_max;
                    let cause = format!("no output for {minutes} minutes (builder.idle_minutes_max)");
                    return Ended::Failed(BuildPhase::Building, cause);
                }
            }
        }
        let Some(engine_image_id) = image else {
            return Ended::Lost("the engine ended the build without a result".to_owned());
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

    fn input(&self, spec: &BuildSpec, artifact: &str) -> BuildInput {
        let options = &self.job.row.options;
        let mut build_args = spec.build_args.clone();
        build_args.extend(options.build_args.clone());
        BuildInput {
            tag: artifact.to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            build_args,
            labels: spec.labels.clone(),
            target: spec.target.clone(),
            platform: spec.platforms.first().cloned().unwrap_or_default(),
            no_cache: options.no_cache,
            pull: options.pull,
        }
    }

    fn too_long(&self) -> String {
        let minutes = self.world.config.builder.build_minutes_max;
        format!("the build took longer than {minutes} minutes (builder.build_minutes_max)")
    }
}
