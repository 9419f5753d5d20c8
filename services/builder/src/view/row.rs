//! One row of the journal: a fold over the builder's and the registry-pusher's entries about a build.

use eventlog::{Entry, Position};
use ids::BuildId;
use proto::{
    builder::v1::{BaseImage, Build, BuildOptions, BuildPhase, BuildStep},
    catalog::v1::BuildOutcome,
    events::{BuildsEvent, RepositoryEvent},
};
use serde::{Deserialize, Serialize};
use service::{duration, timestamp};
use std::collections::BTreeMap;

/// Where a build is, as far as its builder is concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    #[default]
    Queued = 1,
    Running = 2,
    /// Its publication is open.
    Pushing = 3,
    Ended = 4,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Publication {
    #[default]
    None,
    Open,
    Committed,
    Aborted,
    Refused,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Work {
    #[default]
    Queued,
    Running,
    Assembled,
    Failed,
    Cancelled,
    Lost,
}

/// Kept as JSON in the view.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) image: String,
    pub(crate) workspace: String,
    pub(crate) revision: u32,
    pub(crate) requester: String,
    pub(crate) traceparent: String,
    /// The position at which it was asked for: its place in the queue.
    pub(crate) queued_at: u64,
    /// The position at which its last attempt began; 0 before the first.
    pub(crate) started_at: u64,
    /// The last entry that changed this row.
    pub(crate) position: u64,
    pub(crate) attempt: u32,
    pub(crate) worker: String,
    pub(crate) cancel_requested: bool,
    pub(crate) publication: Publication,
    pub(crate) options: Options,
    /// The build that this one repeats; empty: none.
    #[serde(default)]
    pub(crate) repeats: String,
    work: Work,
    fetched: bool,
    queued_ms: i64,
    pub(crate) started_ms: i64,
    /// How long its attempt had a slot, if it came to an end of its own.
    slot_ms: i64,
    ended_ms: i64,
    pub(crate) cause: String,
    pub(crate) commit: String,
    #[serde(default)]
    pub(crate) tree: String,
    digest: String,
    repository: String,
    pub(crate) retryable: bool,
    failed_phase: i32,
    engine_version: String,
    /// A list of builds goes without these.
    #[serde(default)]
    steps: Vec<Step>,
    #[serde(default)]
    /// Reference -> digest.
    pub(crate) bases: BTreeMap<String, String>,
}

/// What the build was asked with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Options {
    pub(crate) no_cache: bool,
    pub(crate) pull: bool,
    pub(crate) build_args: BTreeMap<String, String>,
    pub(crate) tags: Vec<String>,
    /// Secrets and passwords, which are kept elsewhere.
    #[serde(default)]
    pub(crate) has_credentials: bool,
}

impl From<&Options> for BuildOptions {
    fn from(options: &Options) -> Self {
        Self {
            no_cache: options.no_cache,
            pull: options.pull,
            build_args: options.build_args.clone(),
            tags: options.tags.clone(),
        }
    }
}

impl From<BuildOptions> for Options {
    fn from(options: BuildOptions) -> Self {
        Self {
            no_cache: options.no_cache,
            pull: options.pull,
            build_args: options.build_args,
            tags: options.tags,
            has_credentials: false,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    name: String,
    cached: bool,
    duration_ms: i64,
    error: String,
}

fn steps(steps: &[BuildStep]) -> Vec<Step> {
    let one = |step: &BuildStep| {
        let duration = step.duration.unwrap_or_default();
        Step {
            name: step.name.clone(),
            cached: step.cached,
            duration_ms: duration.seconds * 1_000 + i64::from(duration.nanos / 1_000_000),
            error: step.error.clone(),
        }
    };
    steps.iter().map(one).collect()
}

pub(super) fn build_of(event: &BuildsEvent) -> Option<BuildId> {
    match event {
        BuildsEvent::Queued(event) => event.build,
        BuildsEvent::Started(event) => event.build,
        BuildsEvent::SourceFetched(event) => event.build,
        BuildsEvent::Assembled(event) => event.build,
        BuildsEvent::Failed(event) => event.build,
        BuildsEvent::CancelRequested(event) => event.build,
        BuildsEvent::Cancelled(event) => event.build,
        BuildsEvent::AttemptLost(event) => event.build,
        BuildsEvent::Lost(event) => event.build,
    }
}

pub(super) fn published_build_of(event: &RepositoryEvent) -> Option<BuildId> {
    match event {
        RepositoryEvent::Opened(event) => event.build,
        RepositoryEvent::Committed(event) => event.build,
        RepositoryEvent::Aborted(event) => event.build,
        RepositoryEvent::Refused(event) => event.build,
        RepositoryEvent::Reopened(event) => event.build,
        RepositoryEvent::TagMoved(_)
        | RepositoryEvent::TagsPlaced(_)
        | RepositoryEvent::Relocated(_)
        | RepositoryEvent::Released(_) => None,
    }
}

impl Row {
    /// A build that is in the log and not yet in the view.
    pub(crate) fn asked(
        build: BuildId,
        image: String,
        revision: u32,
        requester: &str,
        position: Position,
        now_ms: i64,
    ) -> Self {
        Self {
            id: build.to_string(),
            image,
            revision,
            requester: requester.to_owned(),
            queued_at: position.0,
            position: position.0,
            queued_ms: now_ms,
            ..Self::default()
        }
    }

    /// With a cancel that is in the log and not yet in the view.
    pub(crate) fn asked_to_stop(mut self) -> Self {
        self.cancel_requested = true;
        self
    }

    pub(super) fn builds(&mut self, entry: &Entry, event: &BuildsEvent) {
        let time_ms = entry.envelope.time_ms;
        self.position = entry.position.0;
        match event {
            BuildsEvent::Queued(event) => {
                self.id = event.build.unwrap_or_default().to_string();
                self.image.clone_from(&entry.stream.key);
                self.workspace = event.workspace.unwrap_or_default().to_string();
                self.revision = event.revision;
                self.options = event.options.clone().unwrap_or_default().into();
                self.options.has_credentials = event.has_credentials;
                self.repeats = event.repeats.map(|build| build.to_string()).unwrap_or_default();
                self.requester.clone_from(&entry.envelope.actor);
                self.traceparent.clone_from(&entry.envelope.traceparent);
                self.queued_at = entry.position.0;
                self.queued_ms = time_ms;
            }
            BuildsEvent::Started(event) => {
                self.work = Work::Running;
                self.fetched = false;
                self.attempt = event.attempt;
                self.worker = event.worker.unwrap_or_default().to_string();
                self.engine_version.clone_from(&event.engine_version);
                self.started_at = entry.position.0;
                self.started_ms = time_ms;
                self.cause.clear();
            }
            BuildsEvent::SourceFetched(event) => {
                self.fetched = true;
                self.commit.clone_from(&event.commit);
                self.tree.clone_from(&event.tree);
            }
            BuildsEvent::Assembled(event) => {
                self.work = Work::Assembled;
                self.slot_ms = time_ms - self.started_ms;
                self.publication = Publication::Open;
                self.steps = steps(&event.steps);
                let bases = event.bases.iter();
                self.bases = bases
                    .map(|base| (base.reference.clone(), base.digest.clone()))
                    .collect();
            }
            BuildsEvent::Failed(event) => {
                self.slot_ms = time_ms - self.started_ms;
                self.end(Work::Failed, time_ms, &event.cause);
                self.failed_phase = event.phase;
                self.steps = steps(&event.steps);
            }
            BuildsEvent::CancelRequested(_) => self.cancel_requested = true,
            BuildsEvent::Cancelled(_) => self.end(Work::Cancelled, time_ms, ""),
            BuildsEvent::AttemptLost(event) => {
                self.work = Work::Queued;
                self.cause.clone_from(&event.cause);
            }
            BuildsEvent::Lost(event) => self.end(Work::Lost, time_ms, &event.cause),
        }
    }

    pub(super) fn publication(&mut self, entry: &Entry, event: &RepositoryEvent) {
        self.position = entry.position.0;
        let time_ms = entry.envelope.time_ms;
        match event {
            RepositoryEvent::Opened(_) => self.publication = Publication::Open,
            RepositoryEvent::Reopened(_) => {
                self.publication = Publication::Open;
                self.ended_ms = 0;
                self.retryable = false;
                self.failed_phase = 0;
                self.cause.clear();
            }
            RepositoryEvent::Committed(event) => {
                let target = event.target.clone().unwrap_or_default();
                self.publication = Publication::Committed;
                self.digest.clone_from(&event.digest);
                self.repository = access::Name::from(&target).repository();
                self.ended_ms = time_ms;
            }
            RepositoryEvent::Aborted(_) => {
                self.publication = Publication::Aborted;
                self.ended_ms = time_ms;
            }
            RepositoryEvent::Refused(event) => {
                self.publication = Publication::Refused;
                self.cause.clone_from(&event.cause);
                self.retryable = event.retryable;
                self.failed_phase = BuildPhase::Pushing.into();
                self.ended_ms = time_ms;
            }
            RepositoryEvent::TagMoved(_)
            | RepositoryEvent::TagsPlaced(_)
            | RepositoryEvent::Relocated(_)
            | RepositoryEvent::Released(_) => (),
        }
    }

    fn end(&mut self, work: Work, time_ms: i64, cause: &str) {
        self.work = work;
        self.ended_ms = time_ms;
        cause.clone_into(&mut self.cause);
    }

    pub(crate) fn stage(&self) -> Stage {
        match (self.work, self.publication) {
            (Work::Queued, _) => Stage::Queued,
            (Work::Running, _) => Stage::Running,
            (Work::Assembled, Publication::None | Publication::Open) => Stage::Pushing,
            _ => Stage::Ended,
        }
    }

    /// The journal row of readings.md: derived, and never written.
    pub(crate) fn outcome(&self) -> BuildOutcome {
        match (self.work, self.publication) {
            (Work::Queued | Work::Running, _) | (Work::Assembled, Publication::None | Publication::Open) => {
                BuildOutcome::InProgress
            }
            (Work::Assembled, Publication::Committed) => BuildOutcome::Succeeded,
            (Work::Assembled, Publication::Aborted) | (Work::Cancelled, _) => BuildOutcome::Cancelled,
            (Work::Assembled, Publication::Refused) | (Work::Failed, _) => BuildOutcome::Failed,
            (Work::Lost, _) => BuildOutcome::Lost,
        }
    }

    pub(crate) fn queued_ms(&self) -> i64 {
        self.queued_ms
    }

    fn phase(&self) -> BuildPhase {
        match self.stage() {
            Stage::Ended => BuildPhase::Ended,
            _ if self.cancel_requested => BuildPhase::Cancelling,
            Stage::Queued => BuildPhase::Queued,
            Stage::Running if self.fetched => BuildPhase::Building,
            Stage::Running => BuildPhase::Fetching,
            Stage::Pushing => BuildPhase::Pushing,
        }
    }

    /// What was published, by digest; empty until then.
    pub(crate) fn reference(&self, internal_registry: &str) -> String {
        match (self.digest.as_str(), self.repository.starts_with('/')) {
            ("", _) => String::new(),
            (digest, true) => format!("{internal_registry}{}@{digest}", self.repository),
            (digest, false) => format!("{}@{digest}", self.repository),
        }
    }

    /// As the contract has it. `now_ms` makes the duration of a running build grow.
    pub(crate) fn build(&self, now_ms: i64, internal_registry: &str) -> Build {
        let end = if self.ended_ms == 0 { now_ms } else { self.ended_ms };
        let elapsed = (self.started_ms != 0).then(|| duration((end - self.started_ms).max(0)));
        Build {
            id: self.id.clone(),
            image: self.image.clone(),
            revision: self.revision,
            requester: self.requester.clone(),
            queued: timestamp(self.queued_ms),
            started: timestamp(self.started_ms),
            ended: timestamp(self.ended_ms),
            duration: elapsed,
            outcome: self.outcome().into(),
            phase: self.phase().into(),
            cause: self.cause.clone(),
            attempt: self.attempt,
            commit: self.commit.clone(),
            digest: self.digest.clone(),
            retryable: self.retryable,
            steps: self
                .steps
                .iter()
                .map(|step| BuildStep {
                    name: step.name.clone(),
                    cached: step.cached,
                    duration: Some(duration(step.duration_ms)),
                    error: step.error.clone(),
                })
                .collect(),
            log_bytes: None,
            reference: self.reference(internal_registry),
            engine_version: self.engine_version.clone(),
            failed_phase: self.failed_phase,
            bases: self
                .bases
                .iter()
                .map(|(reference, digest)| BaseImage {
                    reference: reference.clone(),
                    digest: digest.clone(),
                })
                .collect(),
            tree: self.tree.clone(),
            options: Some((&self.options).into()),
            repeats: self.repeats.clone(),
        }
    }
}
