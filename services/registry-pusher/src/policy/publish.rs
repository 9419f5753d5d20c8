//! Pushes what builds assembled, several at a time, and lets the log decide what counts.

use super::{CATCH_UP, Cause, Pusher, journal::Journal, own_tag};
use crate::{
    docker::{EngineError, Pushing},
    domain::{Command, Content, Stage},
    registry::RegistryError,
    view::{self, Assembled},
};
use eventlog::ExecuteError;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use ids::BuildId;
use proto::catalog::v1::ImageName;
use service::telemetry;
use std::{collections::HashMap, pin::pin, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Images that are pushed at the same time.
const PARALLEL: usize = 4;
/// Waits before each new try while the registry or the engine is away.
const BACK_OFF: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(6),
    Duration::from_secs(15),
    Duration::from_secs(30),
];
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How often the log of a long push tells how far it is.
const PROGRESS: Duration = Duration::from_secs(2);
/// How long a push that is called off may go on, to get to an end that is known.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// How long after that a manifest may still arrive.
const LATE: Duration = Duration::from_secs(5);
/// In case a change of the view went by unnoticed.
const EVERY: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the push was called off")]
    Stopped,
}

impl Trouble {
    /// Whether waiting may help.
    fn may_pass(&self) -> bool {
        match self {
            Self::Stopped => false,
            Self::Engine(error) => match error {
                EngineError::Unreachable(_)
                | EngineError::Lost
                | EngineError::Stalled
                | EngineError::RegistryUnreachable(_)
                | EngineError::Failed(_) => true,
                EngineError::ArtifactGone | EngineError::Denied(_) | EngineError::Full(_) => false,
            },
            Self::Registry(error) => match error {
                RegistryError::Unreachable(_) | RegistryError::Absent(_) => true,
                RegistryError::Denied(_)
                | RegistryError::Full(_)
                | RegistryError::ReadOnly(_)
                | RegistryError::Odd(_) => false,
            },
        }
    }

    /// Whether the engine still has the image.
    fn is_retryable(&self) -> bool {
        !matches!(self, Self::Engine(EngineError::ArtifactGone))
    }
}

pub(super) async fn run(pusher: Pusher) -> anyhow::Result<()> {
    let engine = pusher.world.config.engine.name.clone();
    let mut changes = pusher.view.applied(&["builds", "image", "repository"]);
    let mut underway: HashMap<BuildId, CancellationToken> = HashMap::new();
    let mut publications: FuturesUnordered<BoxFuture<'_, BuildId>> = FuturesUnordered::new();
    loop {
        changes.mark_unchanged();
        let due = view::due(&pusher.view, &engine).await.unwrap_or_else(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "what to publish can't be read"
            );
            Vec::new()
        });
        for assembled in due {
            match underway.get(&assembled.build) {
                Some(stop) if assembled.doomed.is_some() => stop.cancel(),
                // A cancel waits for nobody.
                None if assembled.doomed.is_some() || underway.len() < PARALLEL => {
                    let stop = CancellationToken::new();
                    underway.insert(assembled.build, stop.clone());
                    publications.push(publication(&pusher, assembled, stop).boxed());
                }
                Some(_) | None => (),
            }
        }
        tokio::select! {
            Some(build) = publications.next() => { underway.remove(&build); }
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            () = sleep(EVERY) => (),
            () = pusher.world.stop.cancelled() => return Ok(()),
        }
    }
}

async fn publication(pusher: &Pusher, assembled: Assembled, stop: CancellationToken) -> BuildId {
    let build = assembled.build;
    let span = tracing::info_span!("publish", %build, image = %assembled.image);
    telemetry::follow(&span, &assembled.traceparent);
    let publication = Publication { pusher, assembled };
    if let Err(error) = publication.carry_out(stop).instrument(span).await {
        // The next round takes it up again, from what the log says.
        tracing::warn!(%build, "the publication did not get on: {error:#}");
        sleep(RETRY_DELAY).await;
    }
    build
}

struct Publication<'a> {
    pusher: &'a Pusher,
    assembled: Assembled,
}

impl Publication<'_> {
    async fn carry_out(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let output = self.pusher.world.nats.output();
        let mut journal = Journal::new(output, self.assembled.build, self.assembled.attempt);
        if self.assembled.doomed.is_some() {
            return self.abort(&self.assembled.target(), journal).await;
        }
        let opened = self.execute(Command::Open(self.assembled.opened())).await?;
        let Some(target) = opened.state.target(self.assembled.build) else {
            // Ended meanwhile, which this process's view did not know.
            self.pusher.view.reach(opened.position, CATCH_UP).await?;
            return Ok(());
        };
        match self.push(target, &mut journal, &stop).await {
            Ok(content) => self.commit(target, content, journal).await,
            Err(Trouble::Stopped) => {
                self.abort(target, journal).await?;
                // What the engine had sent by then may have arrived only now.
                sleep(LATE).await;
                self.withdraw(target).await;
                Ok(())
            }
            Err(trouble) => self.refuse(target, &trouble, journal).await,
        }
    }

    /// Pushes, again and again while it may help.
    async fn push(
        &self,
        target: &ImageName,
        journal: &mut Journal,
        stop: &CancellationToken,
    ) -> Result<Content, Trouble> {
        let mut waits = BACK_OFF.iter();
        loop {
            let trouble = match self.attempt(target, journal, stop).await {
                Ok(content) => return Ok(content),
                Err(trouble) => self.diagnosed(target, trouble).await,
            };
            let Some(wait) = waits.next().filter(|_| trouble.may_pass()) else {
                return Err(trouble);
            };
            tracing::info!(
                error = &trouble as &dyn std::error::Error,
                "trying again in {} s",
                wait.as_secs()
            );
            journal.line(&format!("{trouble}, trying again in {} s", wait.as_secs()));
            journal.flush().await;
            tokio::select! {
                () = sleep(*wait) => (),
                () = stop.cancelled() => return Err(Trouble::Stopped),
            }
        }
    }

    /// What the engine says of the registry, in the registry's own words where it has any.
    async fn diagnosed(&self, target: &ImageName, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Engine(EngineError::RegistryUnreachable(_) | EngineError::Failed(_)) => {
                let probed = self.pusher.registry.probe(&target.path).await;
                probed.err().map_or(trouble, Trouble::Registry)
            }
            trouble => trouble,
        }
    }

    async fn attempt(
        &self,
        target: &ImageName,
        journal: &mut Journal,
        stop: &CancellationToken,
    ) -> Result<Content, Trouble> {
        let (engine, repository) = (&self.pusher.engine, self.pusher.repository(&target.path));
        // Not stopped in the middle: the engine might still tag what was forgotten meanwhile.
        engine
            .tag(&self.assembled.artifact, &repository, &self.own_tag())
            .await?;
        let mut pushing = pin!(engine.push(&repository, &self.own_tag()).await?);
        let mut digest = None;
        let mut told = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    // The manifest may be on its way. What has arrived can be withdrawn; what comes later can't.
                    let _ = timeout(STOP_GRACE, async { while pushing.next().await.is_some() {} }).await;
                    return Err(Trouble::Stopped);
                }
                said = pushing.next() => match said.transpose()? {
                    Some(Pushing::Line(line)) => journal.line(&line),
                    Some(Pushing::Bytes(current, total)) => if told.elapsed() >= PROGRESS {
                        told = Instant::now();
                        journal.line(&format!("Pushing {} of {}", megabytes(current), megabytes(total)));
                    },
                    Some(Pushing::Digest(pushed)) => digest = Some(pushed),
                    None => break,
                },
                () = journal.due() => journal.flush().await,
            }
        }
        // An engine that dies says nothing, and its stream just ends.
        let digest = digest.ok_or(EngineError::Lost)?;
        // What the engine says is only believed when the registry has it.
        let size_bytes = self.pusher.registry.size_bytes(&target.path, &digest).await?;
        Ok(Content {
            build: self.assembled.build,
            attempt: self.assembled.attempt,
            digest,
            size_bytes,
            os: self.assembled.os.clone(),
            architecture: self.assembled.architecture.clone(),
        })
    }

    /// From here on a cancel comes too late, unless the log has it already.
    async fn commit(&self, target: &ImageName, content: Content, mut journal: Journal) -> anyhow::Result<()> {
        journal.flush().await;
        let done = self.execute(Command::Commit(content)).await?;
        if done.state.stage(self.assembled.build) == Some(Stage::Aborted) {
            self.withdraw(target).await;
            self.forget(target, true).await;
        }
        // What is committed is swept up later: somebody may be pulling it on this very engine.
        self.pusher.view.reach(done.position, CATCH_UP).await?;
        Ok(())
    }

    async fn refuse(&self, target: &ImageName, trouble: &Trouble, mut journal: Journal) -> anyhow::Result<()> {
        tracing::warn!(error = trouble as &dyn std::error::Error, "the push failed");
        journal.line(&format!("ERROR: {trouble}"));
        journal.flush().await;
        let retryable = trouble.is_retryable();
        let refuse = Command::Refuse {
            build: self.assembled.build,
            attempt: self.assembled.attempt,
            cause: if retryable {
                format!("{trouble}, retry the push when that is mended")
            } else {
                trouble.to_string()
            },
            retryable,
        };
        let done = self.execute(refuse).await?;
        self.forget(target, !retryable).await;
        self.pusher.view.reach(done.position, CATCH_UP).await?;
        Ok(())
    }

    /// The push was stopped before: once this is in the log, nothing of the build appears any more.
    async fn abort(&self, target: &ImageName, mut journal: Journal) -> anyhow::Result<()> {
        self.withdraw(target).await;
        self.forget(target, true).await;
        journal.line("CANCELLED");
        journal.flush().await;
        let position = match self
            .execute(Command::Abort {
                build: self.assembled.build,
            })
            .await
        {
            Ok(done) => done.position,
            // A commit came first, of another worker.
            Err(ExecuteError::Refused(_)) => self.pusher.view.head(),
            Err(error) => return Err(error.into()),
        };
        self.pusher.view.reach(position, CATCH_UP).await?;
        Ok(())
    }

    /// Takes the build's own tag out of the registry. The engine may have got as far as that.
    async fn withdraw(&self, target: &ImageName) {
        let tag = self.own_tag();
        let withdrawn = async {
            if self.pusher.registry.digest(&target.path, &tag).await?.is_some() {
                let unique = self.pusher.world.ids.next().to_string();
                self.pusher.registry.untag(&target.path, &tag, &unique).await?;
            }
            Ok::<_, RegistryError>(())
        };
        if let Err(error) = withdrawn.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the tag {tag} may still be in the registry"
            );
        }
    }

    /// Takes the build's references out of the engine. What is left is swept up later.
    async fn forget(&self, target: &ImageName, artifact_too: bool) {
        let pushed = format!("{}:{}", self.pusher.repository(&target.path), self.own_tag());
        let references = [Some(&pushed), Some(&self.assembled.artifact).filter(|_| artifact_too)];
        for reference in references.into_iter().flatten() {
            if let Err(error) = self.pusher.engine.forget(reference).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "{reference} stays in the engine for now"
                );
            }
        }
    }

    async fn execute(&self, command: Command) -> Result<eventlog::Done<crate::domain::Repository>, ExecuteError> {
        let assembled = &self.assembled;
        let cause = Cause {
            position: assembled.doomed.unwrap_or(assembled.cause),
            traceparent: &assembled.traceparent,
        };
        self.pusher.execute(assembled.image, cause, command).await
    }

    fn own_tag(&self) -> String {
        own_tag(self.assembled.build, self.assembled.attempt)
    }
}

fn megabytes(bytes: i64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}
