//! The only write path: fold, decide, append.
//!
//! One law holds for every aggregate: a request that took effect answers its position when it is repeated, now or
//! after others came between, and writes nothing.

mod fold;
mod turns;

use crate::{Append, AppendError, Clock, Envelope, EventLog, LogError, Position, StreamId, View, ViewError};
use aggregate::{Aggregate, Refusal};
use fold::{Judge, Judgement, Known, Typed};
use lru::LruCache;
use std::{
    any::Any,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use turns::{Turn, Turns};

/// Two busy processes on one stream lose about every second race.
const ATTEMPTS_MAX: usize = 16;
const CATCH_UP: Duration = Duration::from_secs(3);
/// Folds kept in memory.
const FOLDS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// Who asks for what, and on which knowledge.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub actor: String,
    /// A ULID: the same one again is the same request.
    pub id: String,
    pub traceparent: String,
    /// The entry that led to this request; 0 when a caller did.
    pub cause: Position,
    /// How much of the others' history the caller's view had seen.
    pub judged_at: Position,
    /// The version of the first step's stream that the caller judged on.
    pub expected: Option<Position>,
    /// Ends and cancels go on when the log is nearly full.
    pub urgent: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error("{0}")]
    Refused(Box<dyn Refusal>),
    #[error("it changed since you looked (version {current}, you had {expected}), look again")]
    Stale { current: Position, expected: Position },
    #[error("too many others wrote at the same time, try again")]
    Contended,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the service's own copy of the log can't be read")]
    View(#[source] ViewError),
}

impl From<ViewError> for ExecuteError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Log(error) => Self::Log(error),
            error => Self::View(error),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Written,
    /// The request had taken effect before.
    Repeated,
    /// There was nothing to do.
    Unchanged,
}

/// What a command led to.
#[derive(Debug, Clone)]
pub struct Done<A> {
    pub position: Position,
    pub outcome: Outcome,
    /// The aggregate as it is now.
    pub state: A,
}

/// One command for one aggregate, to be judged together with others.
pub struct Step(Box<dyn Judge>);

pub fn step<A: Aggregate>(id: &A::Id, command: A::Command) -> Step {
    Step(Box::new(Typed::<A>::new(id, command)))
}

/// Executes commands on the aggregates of one service.
#[derive(Clone)]
pub struct Writer {
    log: Arc<dyn EventLog>,
    view: View,
    clock: Clock,
    folds: Arc<Mutex<Folds>>,
    turns: Arc<Turns>,
}

/// By stream, of one generation of the view's rows.
struct Folds {
    generation: u64,
    known: LruCache<StreamId, Arc<dyn Any + Send + Sync>>,
}

impl Writer {
    /// `view` must keep the categories of the aggregates that are written here.
    pub fn new(log: Arc<dyn EventLog>, view: View, clock: Clock) -> Self {
        Self {
            log,
            view,
            clock,
            folds: Arc::new(Mutex::new(Folds {
                generation: 0,
                known: LruCache::new(FOLDS),
            })),
            turns: Arc::default(),
        }
    }

    /// Executes one command.
    pub async fn execute<A: Aggregate>(
        &self,
        request: &Request,
        id: &A::Id,
        command: A::Command,
    ) -> Result<Done<A>, ExecuteError> {
        let step = step::<A>(id, command);
        let stream = step.0.stream().clone();
        // The turn is kept until the state is read, so that it is the one that this command led to.
        let (position, outcome, _turn) = self.run(request, &[step]).await?;
        let mut fold = self.fold::<A>(&stream, Known::Cached).await?;
        if fold.version < position {
            // It fell out of the cache meanwhile, and the view does not have the new entry yet.
            let reached = self.view.reach(position, CATCH_UP).await;
            reached.map_err(|behind| LogError::OutcomeUnknown(behind.into()))?;
            fold = self.fold::<A>(&stream, Known::Newest).await?;
        }
        Ok(Done {
            position,
            outcome,
            state: fold.state.clone(),
        })
    }

    /// Where a request took effect on an aggregate before; `None` when it is new, or unknown by now.
    pub async fn repeated<A: Aggregate>(
        &self,
        request: &Request,
        id: &A::Id,
    ) -> Result<Option<Position>, ExecuteError> {
        let fold = self.fold::<A>(&StreamId::new(A::CATEGORY, id), Known::Newest).await?;
        Ok(fold.known(request))
    }

    /// Executes several commands of one request: all of them take effect, or none.
    pub async fn execute_all(
        &self,
        request: &Request,
        steps: impl IntoIterator<Item = Step>,
    ) -> Result<Position, ExecuteError> {
        let steps: Vec<Step> = steps.into_iter().collect();
        Ok(self.run(request, &steps).await?.0)
    }

    async fn run(&self, request: &Request, steps: &[Step]) -> Result<(Position, Outcome, Turn), ExecuteError> {
        let mut full = None;
        if !request.urgent {
            match self.log.admit().await {
                Ok(()) => (),
                // What was written before is answered, however full the log is.
                Err(error @ LogError::Full { .. }) => full = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let streams = steps.iter().map(|step| step.0.stream()).collect();
        let turn = self.turns.take(streams).await.ok_or(ExecuteError::Contended)?;
        if turn.waited {
            // Others write here too, perhaps also in another process, where they only learn from the log what was
            // written. Who knew it sooner would win every time, and they would never get their turn.
            for step in steps {
                self.catch_up(step.0.stream()).await?;
            }
        }
        for attempt in 0..ATTEMPTS_MAX {
            let is_cached_enough = attempt == 0 && !turn.waited;
            let known = if is_cached_enough { Known::Cached } else { Known::Newest };
            let mut judgements = Vec::with_capacity(steps.len());
            for step in steps {
                judgements.push(step.0.judge(self, request, known).await?);
            }
            if let Some(position) = judgements.iter().filter_map(|judgement| judgement.known).max() {
                return Ok((position, Outcome::Repeated, turn));
            }
            let stale = request
                .expected
                .zip(judgements.first())
                .filter(|(expected, first)| *expected != first.version);
            if let Some((expected, first)) = stale {
                if self.is_stale(&judgements).await? {
                    continue;
                }
                let current = first.version;
                return Err(ExecuteError::Stale { current, expected });
            }
            let refused = judgements.iter().any(|judgement| judgement.verdict.is_err());
            let unchanged = judgements
                .iter()
                .all(|judgement| judgement.verdict.as_ref().is_ok_and(Vec::is_empty));
            if refused || unchanged {
                // Nothing is written, so the log would not notice that the fold is stale: ask it.
                if self.is_stale(&judgements).await? {
                    continue;
                }
                let version = judgements.iter().map(|judgement| judgement.version).max();
                let refusal = judgements.into_iter().find_map(|judgement| judgement.verdict.err());
                return refusal.map_or_else(
                    || Ok((version.unwrap_or_default(), Outcome::Unchanged, turn)),
                    |refusal| Err(ExecuteError::Refused(refusal)),
                );
            }
            if let Some(full) = full {
                return Err(full.into());
            }
            if let Some(position) = self.append(request, steps, judgements).await? {
                return Ok((position, Outcome::Written, turn));
            }
        }
        Err(ExecuteError::Contended)
    }

    /// `None` when another writer came first. The folds are caught up by then.
    async fn append(
        &self,
        request: &Request,
        steps: &[Step],
        judgements: Vec<Judgement>,
    ) -> Result<Option<Position>, ExecuteError> {
        let time_ms = self.clock.now_ms();
        let writing = |judgement: &Judgement| judgement.verdict.as_ref().is_ok_and(|events| !events.is_empty());
        let count = judgements.iter().filter(|judgement| writing(judgement)).count();
        let (mut appends, mut envelopes) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (step, judgement) in steps.iter().zip(judgements) {
            let events = judgement.verdict.unwrap_or_default();
            if events.is_empty() {
                continue;
            }
            let following = count - appends.len() - 1;
            let envelope = Envelope::new(request, time_ms, following, events);
            let behind = judgement.version;
            appends.push(Append {
                stream: judgement.stream,
                expected: judgement.version,
                bytes: envelope.write()?,
            });
            envelopes.push((step, behind, envelope));
        }
        match self.log.append(appends).await {
            Ok(position) => {
                // The entries of a batch stand next to each other.
                for (step, behind, envelope) in &envelopes {
                    let position = Position(position.0 - u64::from(envelope.following));
                    step.0.written(self, *behind, position, envelope);
                }
                Ok(Some(position))
            }
            Err(AppendError::Conflict) => {
                for step in steps {
                    self.catch_up(step.0.stream()).await?;
                }
                Ok(None)
            }
            Err(AppendError::Log(error)) => Err(error.into()),
        }
    }

    async fn is_stale(&self, judgements: &[Judgement]) -> Result<bool, ExecuteError> {
        let mut stale = false;
        for judgement in judgements {
            stale |= self.catch_up(&judgement.stream).await? > judgement.version;
        }
        Ok(stale)
    }

    /// Waits until this process has a stream's last entry, and answers its position.
    async fn catch_up(&self, stream: &StreamId) -> Result<Position, ExecuteError> {
        let version = self.log.version(stream).await?;
        self.reach(version).await?;
        Ok(version)
    }

    async fn reach(&self, position: Position) -> Result<(), ExecuteError> {
        let reached = self.view.reach(position, CATCH_UP).await;
        Ok(reached.map_err(|behind| LogError::Unavailable(behind.into()))?)
    }

    fn folds(&self) -> MutexGuard<'_, Folds> {
        let (generation, _) = self.view.changed();
        let mut folds = self.folds.lock().unwrap_or_else(PoisonError::into_inner);
        if folds.generation != generation {
            // They were made of rows that were replaced.
            folds.generation = generation;
            folds.known.clear();
        }
        folds
    }
}
