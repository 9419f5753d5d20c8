//! One attempt of one build, from its start in the log to its end there.

mod log;
mod source;

use crate::{
    docker::{BuildInput, Engine, EngineError, Progress},
    domain::{Builds, BuildsCommand, BuildsRefused},
    policy::request,
    progress::Plain,
    view::{self, Row},
};
use anyhow::Context as _;
use eventlog::{ExecuteError, LogError, View, Writer};
use futures::StreamExt as _;
use ids::{BuildId, ImageId, WorkerId};
use log::BuildLog;
use proto::{
    builder::v1::{BuildAssembled, BuildPhase, BuildStep},
    editor::v1::{BuildSpec, ContextKind},
};
use service::{World, telemetry};
use source::{Source, SourceError};
use std::{path::PathBuf, pin::pin, time::Duration};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// How long the end of a build is tried to be written while the log is not reachable.
const END_PATIENCE: Duration = Duration::from_mins(2);
/// What can't be read now is not asked for again at once.
const FAILED_DELAY: Duration = Duration::from_secs(1);
const END_RETRY: Duration = Duration::from_millis(200);

pub(crate) struct Job {
    pub(crate) row: Row,
    pub(crate) worker: WorkerId,
    pub(crate) engine: Engine,
    pub(crate) engine_version: String,
    pub(crate) view: View,
    /// Where temporary folders go.
    pub(crate) work: PathBuf,
}

/// What all our images in an engine are called, until they are published.
pub(crate) fn artifact_prefix() -> &'static str {
    "cooperage-artifact/"
}

/// How an attempt went.
enum Ended {
    Assembled(BuildAssembled),
    Failed(BuildPhase, String),
    Cancelled,
    /// The engine died under it: another attempt may do better.
    Lost(String),
}

impl Ended {
    fn word(&self) -> &'static str {
        match self {
            Self::Assembled(_) => "assembled",
            Self::Failed(..) => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost(_) => "lost",
        }
    }
}

/// Runs an attempt. Whatever happens to it is in the log afterwards, or this process dies.
pub(crate) async fn run(world: &World, writer: &Writer, job: Job, cancel: CancellationToken) {
    let span = tracing::info_span!("build", build = job.row.id, attempt = job.row.attempt + 1);
    telemetry::follow(&span, &job.row.traceparent);
    let build = job.row.id.clone();
    let attempt = Attempt {
        world,
        writer,
        number: job.row.attempt + 1,
        job,
        cancel,
    };
    async {
        match attempt.run().await {
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
    cancel: CancellationToken,
}

impl Attempt<'_> {
    async fn run(&self) -> Result<(), ExecuteError> {
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
            worker: self.job.worker,
            engine: self.world.config.engine.name.clone(),
            engine_version: engine_version.clone(),
            is_local: spec.context_kind() != ContextKind::GitRepository,
        })
        .await?;

        let limit = self.world.config.builder.log_bytes_max;
        let mut log = BuildLog::open(self.world.nats.output(), &row.id, limit).await;
        let revision = row.revision;
        let number = self.number;
        log.write(&format!(
            "#0 building revision {revision} on engine {engine_version}, attempt {number}\n\n"
        ))
        .await;
        let mut plain = Plain::new();
        let ended = if is_owner {
            tokio::select! {
                ended = self.build_image(&spec, &mut log, &mut plain) => ended,
                () = self.cancel.cancelled() => Ended::Cancelled,
            }
        } else {
            let cause = format!("{} is not an owner of the workspace any more", row.requester);
            Ended::Failed(BuildPhase::Queued, cause)
        };
        telemetry::built(ended.word(), began.elapsed());
        log.write(&plain.finish()).await;
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
                log.write(&format!("#0 {notice}\n")).await;
            }
            log.write("\n").await;
        }

        let artifact = self.artifact();
        let mut progress = pin!(self.job.engine.build(self.input(spec, &artifact), tar));
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
                () = sleep_until(deadline) => return Ended::Failed(BuildPhase::Building, self.too_long()),
                () = sleep_until(last_output + idle) => {
                    let cause = format!("no output for {} minutes", settings.idle_minutes_max);
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
        Ended::Assembled(BuildAssembled {
            build: Some(self.build()),
            attempt: self.number,
            revision: row.revision,
            engine: self.world.config.engine.name.clone(),
            artifact,
            engine_image_id,
            os,
            architecture,
            steps: vec![],
            tags: row.options.tags.clone(),
        })
    }

    async fn end(&self, ended: Ended, mut log: BuildLog, plain: &Plain) -> Result<(), ExecuteError> {
        let steps = steps(plain);
        let (build, attempt) = (self.build(), self.number);
        let command = match ended {
            Ended::Assembled(assembled) => BuildsCommand::Assemble(BuildAssembled { steps, ..assembled }),
            Ended::Failed(phase, cause) => {
                log.write(&format!("ERROR: {cause}\n")).await;
                BuildsCommand::Fail {
                    build,
                    attempt,
                    phase,
                    cause,
                    steps,
                }
            }
            Ended::Cancelled => {
                log.write("CANCELLED\n").await;
                BuildsCommand::Cancel { build }
            }
            Ended::Lost(cause) => {
                log.write(&format!("LOST: {cause}\n")).await;
                BuildsCommand::Lose {
                    build,
                    attempt,
                    cause,
                    attempts_max: self.world.config.builder.attempts_max,
                }
            }
        };
        log.close().await;
        let assembled = matches!(command, BuildsCommand::Assemble(_));
        match self.command(command).await {
            Err(ExecuteError::Refused(refusal))
                if refusal.reason() == aggregate::Refusal::reason(&BuildsRefused::CancelRequested) =>
            {
                self.command(BuildsCommand::Cancel { build }).await?;
            }
            ended => return ended,
        }
        if assembled {
            let _ = self.job.engine.remove(&self.artifact()).await;
        }
        Ok(())
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

fn failed(error: &EngineError) -> Ended {
    match error {
        EngineError::Unreachable { .. } | EngineError::Lost { .. } => Ended::Lost(error.to_string()),
        EngineError::Failed(_)
        | EngineError::Context(_)
        | EngineError::OutOfDisk
        | EngineError::Refused { .. }
        | EngineError::BadHost { .. } => Ended::Failed(BuildPhase::Building, error.to_string()),
    }
}

fn steps(plain: &Plain) -> Vec<BuildStep> {
    let milliseconds = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    plain
        .steps()
        .into_iter()
        .map(|step| BuildStep {
            name: step.name,
            cached: step.cached,
            duration: Some(service::duration(milliseconds(step.duration))),
            error: step.error,
        })
        .collect()
}
