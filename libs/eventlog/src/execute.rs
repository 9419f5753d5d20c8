//! The only write path: fold, decide, append.
//!
//! One law holds for every aggregate: a request that took effect answers its position when it is repeated, now or
//! after others came between, and writes nothing.

use crate::{
    Append, AppendError, Clock, Envelope, EventLog, LogError, Position, StreamId, View, ViewError, view::read_stream,
};
use aggregate::{Aggregate, Event as _, Refusal};
use async_trait::async_trait;
use lru::LruCache;
use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    marker::PhantomData,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

const ATTEMPTS_MAX: usize = 1000;
const CATCH_UP: Duration = Duration::from_secs(3);
/// Folds kept in memory.
const FOLDS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// How many of a stream's last requests its fold remembers.
const REQUESTS: usize = 100;

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
    Step(Box::new(Typed::<A> {
        stream: StreamId::new(A::CATEGORY, id),
        command,
        aggregate: PhantomData,
    }))
}

/// Executes commands on the aggregates of one service.
#[derive(Clone)]
pub struct Writer {
    log: Arc<dyn EventLog>,
    view: View,
    clock: Clock,
    folds: Arc<Mutex<LruCache<StreamId, Arc<dyn Any + Send + Sync>>>>,
    locks: Arc<Mutex<HashMap<StreamId, Weak<tokio::sync::Mutex<()>>>>>,
}

/// A stream's state, and what tells a repeated request from a new one.
#[derive(Clone)]
struct Fold<A> {
    state: A,
    version: Position,
    requests: VecDeque<(String, String, Position)>,
}

impl<A: Aggregate> Default for Fold<A> {
    fn default() -> Self {
        Self {
            state: A::default(),
            version: Position::default(),
            requests: VecDeque::new(),
        }
    }
}

impl<A: Aggregate> Fold<A> {
    fn entry(&mut self, position: Position, envelope: &Envelope, events: &[A::Event]) {
        for event in events {
            self.state.evolve(event);
        }
        self.version = position;
        if self.requests.len() == REQUESTS {
            self.requests.pop_front();
        }
        self.requests
            .push_back((envelope.actor.clone(), envelope.request_id.clone(), position));
    }

    fn known(&self, request: &Request) -> Option<Position> {
        let same = |(actor, id, _): &&(String, String, Position)| *actor == request.actor && *id == request.id;
        self.requests.iter().rev().find(same).map(|(_, _, position)| *position)
    }
}

/// How fresh a fold must be. A stale one costs another round, never a wrong answer.
#[derive(Clone, Copy)]
enum Known {
    Cached,
    Newest,
}

struct Judgement {
    stream: StreamId,
    version: Position,
    known: Option<Position>,
    verdict: Result<Vec<Vec<u8>>, Box<dyn Refusal>>,
}

#[async_trait]
trait Judge: Send + Sync {
    fn stream(&self) -> &StreamId;
    async fn judge(&self, writer: &Writer, request: &Request, known: Known) -> Result<Judgement, ExecuteError>;
    fn version(&self, writer: &Writer) -> Position;
    /// Brings the cached fold up to an entry that was just written.
    fn written(&self, writer: &Writer, position: Position, envelope: &Envelope);
}

struct Typed<A: Aggregate> {
    stream: StreamId,
    command: A::Command,
    aggregate: PhantomData<fn() -> A>,
}

#[async_trait]
impl<A: Aggregate> Judge for Typed<A> {
    fn stream(&self) -> &StreamId {
        &self.stream
    }

    async fn judge(&self, writer: &Writer, request: &Request, known: Known) -> Result<Judgement, ExecuteError> {
        let fold = writer.fold::<A>(&self.stream, known).await?;
        let verdict = fold.state.decide(self.command.clone());
        Ok(Judgement {
            stream: self.stream.clone(),
            version: fold.version,
            known: fold.known(request),
            verdict: verdict
                .map(|events| events.iter().map(aggregate::Event::to_bytes).collect())
                .map_err(|refusal| Box::new(refusal) as Box<dyn Refusal>),
        })
    }

    fn version(&self, writer: &Writer) -> Position {
        writer.cached::<A>(&self.stream).map(|f| f.version).unwrap_or_default()
    }

    fn written(&self, writer: &Writer, position: Position, envelope: &Envelope) {
        let events: Option<Vec<A::Event>> = envelope
            .events
            .iter()
            .map(|bytes| A::Event::from_bytes(bytes))
            .collect();
        let (Some(mut fold), Some(events)) = (writer.cached::<A>(&self.stream), events) else {
            return;
        };
        Arc::make_mut(&mut fold).entry(position, envelope, &events);
        writer.folds().put(self.stream.clone(), fold);
    }
}

impl Writer {
    /// `view` must keep the categories of the aggregates that are written here.
    pub fn new(log: Arc<dyn EventLog>, view: View, clock: Clock) -> Self {
        Self {
            log,
            view,
            clock,
            folds: Arc::new(Mutex::new(LruCache::new(FOLDS))),
            locks: Arc::default(),
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
        let (position, outcome) = self.run(request, &[step]).await?;
        let state = self.fold::<A>(&stream, Known::Cached).await?.state.clone();
        Ok(Done {
            position,
            outcome,
            state,
        })
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

    async fn run(&self, request: &Request, steps: &[Step]) -> Result<(Position, Outcome), ExecuteError> {
        if !request.urgent {
            self.log.admit().await?;
        }
        // Writers of this process queue up, so that they don't race each other to the log.
        let _turns = self.turns(steps).await;
        for step in steps {
            let v = step.0.version(self);
            let _ = self.view.reach(v, CATCH_UP).await;
        }
        for attempt in 0..ATTEMPTS_MAX {
            let known = if attempt == 0 { Known::Cached } else { Known::Newest };
            let mut judgements = Vec::with_capacity(steps.len());
            for step in steps {
                judgements.push(step.0.judge(self, request, known).await?);
            }
            if let Some(position) = judgements.iter().filter_map(|judgement| judgement.known).max() {
                return Ok((position, Outcome::Repeated));
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
                    || Ok((version.unwrap_or_default(), Outcome::Unchanged)),
                    |refusal| Err(ExecuteError::Refused(refusal)),
                );
            }
            if let Some(position) = self.append(request, steps, judgements).await? {
                eprintln!("ATTEMPTS {attempt}");
                return Ok((position, Outcome::Written));
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
        let (mut appends, mut envelopes) = (Vec::new(), Vec::new());
        for (step, judgement) in steps.iter().zip(judgements) {
            let events = judgement.verdict.unwrap_or_default();
            if events.is_empty() {
                continue;
            }
            let envelope = Envelope::new(request, time_ms, events);
            appends.push(Append {
                stream: judgement.stream,
                expected: judgement.version,
                bytes: envelope.write()?,
            });
            envelopes.push((step, envelope));
        }
        let count = envelopes.len() as u64;
        match self.log.append(appends).await {
            Ok(position) => {
                // The entries of a batch stand next to each other.
                for (index, (step, envelope)) in envelopes.iter().enumerate() {
                    let position = Position(position.0 + 1 + index as u64 - count);
                    step.0.written(self, position, envelope);
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
        self.view
            .reach(version, CATCH_UP)
            .await
            .map_err(|behind| LogError::Unavailable(behind.into()))?;
        Ok(version)
    }

    fn folds(&self) -> MutexGuard<'_, LruCache<StreamId, Arc<dyn Any + Send + Sync>>> {
        self.folds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cached<A: Aggregate>(&self, stream: &StreamId) -> Option<Arc<Fold<A>>> {
        self.folds().get(stream)?.clone().downcast().ok()
    }

    async fn fold<A: Aggregate>(&self, stream: &StreamId, known: Known) -> Result<Arc<Fold<A>>, ExecuteError> {
        let cached = self.cached::<A>(stream);
        if let (Some(fold), Known::Cached) = (&cached, known) {
            return Ok(fold.clone());
        }
        let mut fold = cached.unwrap_or_default();
        let entries = read_stream(self.view.rows(), stream, fold.version).await?;
        if !entries.is_empty() {
            let folded = Arc::make_mut(&mut fold);
            for entry in &entries {
                folded.entry(entry.position, &entry.envelope, &entry.events()?);
            }
        }
        self.folds().put(stream.clone(), fold.clone());
        Ok(fold)
    }

    async fn turns(&self, steps: &[Step]) -> Vec<tokio::sync::OwnedMutexGuard<()>> {
        let mut streams: Vec<&StreamId> = steps.iter().map(|step| step.0.stream()).collect();
        streams.sort();
        streams.dedup();
        let locks: Vec<_> = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            if locks.len() > FOLDS.get() {
                locks.retain(|_, lock| lock.strong_count() > 0);
            }
            let lock = |stream: &StreamId, locks: &mut HashMap<_, Weak<_>>| {
                locks.get(stream).and_then(Weak::upgrade).unwrap_or_else(|| {
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    locks.insert(stream.clone(), Arc::downgrade(&lock));
                    lock
                })
            };
            streams.into_iter().map(|stream| lock(stream, &mut locks)).collect()
        };
        let mut turns = Vec::with_capacity(locks.len());
        for lock in locks {
            turns.push(lock.lock_owned().await);
        }
        turns
    }
}
