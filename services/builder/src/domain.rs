//! The builds of one image: at most one is active, at most one attempt of it runs.
//!
//! The builder's part ends with one of assembled, failed, cancelled, lost. What becomes of an assembled image is
//! decided on the registry-pusher's stream.

use aggregate::{Aggregate, Refusal, RefusalKind};
use ids::{BuildId, ImageId, WorkerId};
use proto::{
    builder::v1::{
        AttemptLost, BuildAssembled, BuildCancelled, BuildFailed, BuildLost, BuildPhase, BuildQueued, BuildStarted,
        BuildStep, CancelRequested, SourceFetched,
    },
    events::BuildsEvent,
};

#[derive(Debug, Clone, Default)]
pub(crate) struct Builds {
    last: Option<Last>,
}

/// The newest build.
#[derive(Debug, Clone)]
struct Last {
    build: BuildId,
    stage: Stage,
    /// How many attempts were started.
    attempts: u32,
    cancel_requested: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Queued,
    Running,
    Assembled,
    Ended,
}

#[derive(Debug, Clone)]
pub(crate) enum BuildsCommand {
    Queue {
        queued: BuildQueued,
        /// The build whose publication has ended, as far as the view knows.
        published: Option<BuildId>,
    },
    Start {
        build: BuildId,
        attempt: u32,
        worker: WorkerId,
        engine: String,
        engine_version: String,
        /// The context needs no fetching: the digest of the attached files, if there are any.
        attached: Option<String>,
    },
    Fetched(SourceFetched),
    Assemble(BuildAssembled),
    Fail {
        build: BuildId,
        attempt: u32,
        phase: BuildPhase,
        cause: String,
        steps: Vec<BuildStep>,
    },
    RequestCancel {
        build: BuildId,
    },
    /// The worker stopped; or nothing had to be stopped.
    Cancel {
        build: BuildId,
    },
    /// The worker of an attempt is gone.
    Lose {
        build: BuildId,
        attempt: u32,
        cause: String,
        attempts_max: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildsRefused {
    #[error("a build of this image is running ({0}), attach to it or cancel it")]
    Running(BuildId),
    #[error("no such build of this image")]
    NoSuchBuild,
    #[error("the build {0} has ended, there is nothing to cancel")]
    Ended(BuildId),
    /// Somebody else does this build, or nobody any more.
    #[error("this attempt of the build is over")]
    Fenced,
    #[error("the build was cancelled")]
    CancelRequested,
}

impl Refusal for BuildsRefused {
    fn kind(&self) -> RefusalKind {
        match self {
            Self::NoSuchBuild => RefusalKind::NotFound,
            Self::Running(_) | Self::Ended(_) | Self::Fenced | Self::CancelRequested => RefusalKind::WrongState,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Running(_) => "BUILD_RUNNING",
            Self::NoSuchBuild => "NO_SUCH_BUILD",
            Self::Ended(_) => "BUILD_ENDED",
            Self::Fenced => "FENCED",
            Self::CancelRequested => "CANCEL_REQUESTED",
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Running(build) | Self::Ended(build) => vec![("build", build.to_string())],
            _ => vec![],
        }
    }
}

impl Builds {
    fn newest(&self, build: BuildId) -> Result<&Last, BuildsRefused> {
        self.last
            .as_ref()
            .filter(|last| last.build == build)
            .ok_or(BuildsRefused::NoSuchBuild)
    }

    /// The attempt that may speak for the build.
    fn running(&self, build: BuildId, attempt: u32) -> Result<&Last, BuildsRefused> {
        let is_current = |last: &&Last| last.stage == Stage::Running && last.attempts == attempt;
        self.newest(build).ok().filter(is_current).ok_or(BuildsRefused::Fenced)
    }

    fn idle(&self, published: Option<BuildId>) -> Result<(), BuildsRefused> {
        let Some(last) = &self.last else { return Ok(()) };
        let is_active = match last.stage {
            Stage::Queued | Stage::Running => true,
            Stage::Assembled => published != Some(last.build),
            Stage::Ended => false,
        };
        if is_active {
            Err(BuildsRefused::Running(last.build))
        } else {
            Ok(())
        }
    }

    fn request_cancel(&self, build: BuildId) -> Result<Vec<BuildsEvent>, BuildsRefused> {
        let last = self.newest(build)?;
        if last.stage == Stage::Ended {
            return Err(BuildsRefused::Ended(build));
        }
        if last.cancel_requested {
            return Ok(vec![]);
        }
        let mut events = vec![BuildsEvent::CancelRequested(CancelRequested { build: Some(build) })];
        if last.stage == Stage::Queued {
            // Nobody works on it, so nothing has to stop.
            events.push(BuildsEvent::Cancelled(BuildCancelled { build: Some(build) }));
        }
        Ok(events)
    }

    fn lose(
        &self,
        build: BuildId,
        attempt: u32,
        cause: String,
        attempts_max: u32,
    ) -> Result<Vec<BuildsEvent>, BuildsRefused> {
        let last = self.running(build, attempt)?;
        let build = Some(build);
        Ok(vec![if last.cancel_requested {
            BuildsEvent::Cancelled(BuildCancelled { build })
        } else if attempt < attempts_max {
            BuildsEvent::AttemptLost(AttemptLost { build, attempt, cause })
        } else {
            BuildsEvent::Lost(BuildLost { build, attempt, cause })
        }])
    }
}

impl Aggregate for Builds {
    const CATEGORY: &'static str = "builds";
    type Id = ImageId;
    type Command = BuildsCommand;
    type Event = BuildsEvent;
    type Refusal = BuildsRefused;

    fn decide(&self, command: BuildsCommand) -> Result<Vec<BuildsEvent>, BuildsRefused> {
        match command {
            BuildsCommand::Queue { queued, published } => {
                self.idle(published)?;
                Ok(vec![BuildsEvent::Queued(queued)])
            }
            BuildsCommand::Start {
                build,
                attempt,
                worker,
                engine,
                engine_version,
                attached,
            } => {
                let last = self.newest(build)?;
                if last.stage != Stage::Queued || attempt != last.attempts + 1 {
                    return Err(BuildsRefused::Fenced);
                }
                let build = Some(build);
                let mut events = vec![BuildsEvent::Started(BuildStarted {
                    build,
                    attempt,
                    worker: Some(worker),
                    engine,
                    engine_version,
                })];
                if let Some(tree) = attached {
                    events.push(BuildsEvent::SourceFetched(SourceFetched {
                        build,
                        attempt,
                        commit: String::new(),
                        tree,
                    }));
                }
                Ok(events)
            }
            BuildsCommand::Fetched(fetched) => {
                self.running(fetched.build.unwrap_or_default(), fetched.attempt)?;
                Ok(vec![BuildsEvent::SourceFetched(fetched)])
            }
            BuildsCommand::Assemble(assembled) => {
                let last = self.running(assembled.build.unwrap_or_default(), assembled.attempt)?;
                if last.cancel_requested {
                    return Err(BuildsRefused::CancelRequested);
                }
                Ok(vec![BuildsEvent::Assembled(assembled)])
            }
            BuildsCommand::Fail {
                build,
                attempt,
                phase,
                cause,
                steps,
            } => {
                let last = self.running(build, attempt)?;
                if last.cancel_requested {
                    return Err(BuildsRefused::CancelRequested);
                }
                Ok(vec![BuildsEvent::Failed(BuildFailed {
                    build: Some(build),
                    attempt,
                    phase: phase.into(),
                    cause,
                    steps,
                })])
            }
            BuildsCommand::RequestCancel { build } => self.request_cancel(build),
            BuildsCommand::Cancel { build } => match self.newest(build)?.stage {
                Stage::Queued | Stage::Running => {
                    Ok(vec![BuildsEvent::Cancelled(BuildCancelled { build: Some(build) })])
                }
                Stage::Assembled | Stage::Ended => Ok(vec![]),
            },
            BuildsCommand::Lose {
                build,
                attempt,
                cause,
                attempts_max,
            } => self.lose(build, attempt, cause, attempts_max),
        }
    }

    fn evolve(&mut self, event: &BuildsEvent) {
        if let BuildsEvent::Queued(event) = event {
            self.last = Some(Last {
                build: event.build.unwrap_or_default(),
                stage: Stage::Queued,
                attempts: 0,
                cancel_requested: false,
            });
            return;
        }
        let Some(last) = &mut self.last else { return };
        match event {
            BuildsEvent::Queued(_) | BuildsEvent::SourceFetched(_) => (),
            BuildsEvent::Started(event) => {
                last.stage = Stage::Running;
                last.attempts = event.attempt;
            }
            BuildsEvent::Assembled(_) => last.stage = Stage::Assembled,
            BuildsEvent::CancelRequested(_) => last.cancel_requested = true,
            BuildsEvent::AttemptLost(_) => last.stage = Stage::Queued,
            BuildsEvent::Failed(_) | BuildsEvent::Cancelled(_) | BuildsEvent::Lost(_) => last.stage = Stage::Ended,
        }
    }
}

#[cfg(test)]
mod tests;
