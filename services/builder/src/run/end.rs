//! How an attempt went, and what is written about that.

use super::{
    Attempt,
    brief::{brief, steps},
    log::BuildLog,
    mask::Mask,
};
use crate::{
    docker::EngineError,
    domain::{BuildsCommand, BuildsRefused},
    progress::{Plain, plain as plain_text},
};
use eventlog::{ExecuteError, LogError};
use proto::builder::v1::{BuildAssembled, BuildPhase};
use std::time::Duration;

/// How an attempt went.
pub(super) enum Ended {
    Assembled(Box<BuildAssembled>),
    Failed(BuildPhase, String),
    Cancelled,
    /// The engine died under it: another attempt may do better.
    Lost(String),
    /// It could not be shown for so long that its worker lives.
    Unseen(Duration),
    /// Nothing is left to be said.
    Over,
}

impl Ended {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Assembled(_) => "assembled",
            Self::Failed(..) => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost(_) | Self::Unseen(_) => "lost",
            Self::Over => "over",
        }
    }

    /// The engine may repeat what it was given.
    pub(super) fn hidden(self, mask: &Mask) -> Self {
        match self {
            Self::Failed(phase, cause) => Self::Failed(phase, mask.hidden(&cause)),
            Self::Lost(cause) => Self::Lost(mask.hidden(&cause)),
            ended => ended,
        }
    }
}

impl Attempt<'_> {
    pub(super) async fn end(&self, ended: Ended, mut log: BuildLog, plain: &Plain) -> Result<(), ExecuteError> {
        // The engine may have been faster than whoever stopped the attempt.
        let is_stopped = matches!(ended, Ended::Cancelled | Ended::Unseen(_) | Ended::Over);
        let written = match self.command_of(ended, &mut log, plain).await {
            Some(command) => {
                log.write("").await;
                self.command(command).await
            }
            None => Ok(()),
        };
        if is_stopped || matches!(written, Err(ExecuteError::Refused(_))) {
            let artifact = self.artifact();
            if let Err(error) = self.job.engine.remove(&artifact).await {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "{artifact} is left to the next reaping");
            }
        }
        match written {
            Err(ExecuteError::Refused(refusal))
                if refusal.reason() == aggregate::Refusal::reason(&BuildsRefused::CancelRequested) =>
            {
                let build = self.build();
                self.command(BuildsCommand::Cancel { build }).await
            }
            // Another attempt would come to the same end, so this one is told in a few words.
            Err(ExecuteError::Log(error @ LogError::TooLarge { .. })) => {
                let cause = format!("the end of the build can't be recorded: {error}");
                log.write(&format!("ERROR: {cause}\n")).await;
                let fail = BuildsCommand::Fail {
                    build: self.build(),
                    attempt: self.number,
                    phase: BuildPhase::Building,
                    cause,
                    steps: vec![],
                };
                self.command(fail).await
            }
            written => written,
        }
    }

    async fn command_of(&self, ended: Ended, log: &mut BuildLog, plain: &Plain) -> Option<BuildsCommand> {
        let (build, attempt, steps) = (self.build(), self.number, steps(plain));
        let cause = match ended {
            Ended::Assembled(assembled) => {
                let bases = plain.bases();
                return Some(BuildsCommand::Assemble(BuildAssembled {
                    steps,
                    bases,
                    ..*assembled
                }));
            }
            Ended::Failed(phase, cause) => {
                let cause = plain_text(&cause);
                log.write(&format!("ERROR: {cause}\n")).await;
                return Some(BuildsCommand::Fail {
                    build,
                    attempt,
                    phase,
                    cause: brief(&cause),
                    steps,
                });
            }
            Ended::Cancelled => {
                log.write("CANCELLED\n").await;
                return Some(BuildsCommand::Cancel { build });
            }
            Ended::Over => return None,
            Ended::Lost(cause) => cause,
            Ended::Unseen(time) => {
                let seconds = time.as_secs();
                format!("the builder could not show for {seconds} s that it lives, so it stopped")
            }
        };
        log.write(&format!("LOST: {cause}\n")).await;
        Some(BuildsCommand::Lose {
            build,
            attempt,
            cause: brief(&cause),
            attempts_max: self.world.config.builder.attempts_max,
        })
    }
}

pub(super) fn failed(error: &EngineError) -> Ended {
    match error {
        EngineError::Unreachable { .. } | EngineError::Lost { .. } | EngineError::Removed => {
            Ended::Lost(error.to_string())
        }
        // Whatever is wrong with files was found when they came. What can't be read now is ours to mend.
        EngineError::Context(cause) => {
            tracing::warn!(
                error = cause as &dyn std::error::Error,
                "the context could not be read to its end"
            );
            Ended::Lost("the files of the build could not be read to their end".to_owned())
        }
        EngineError::Failed(_) | EngineError::OutOfDisk | EngineError::Refused { .. } | EngineError::BadHost { .. } => {
            Ended::Failed(BuildPhase::Building, error.to_string())
        }
    }
}
