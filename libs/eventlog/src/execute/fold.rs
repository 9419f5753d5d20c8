//! Folds: a stream's state, what tells a repeated request from a new one, and the judgement of a command on it.

use super::{ExecuteError, Request, Writer};
use crate::{Envelope, Position, StreamId, view::read_stream};
use aggregate::{Aggregate, Event as _, Refusal};
use async_trait::async_trait;
use std::{collections::VecDeque, marker::PhantomData, sync::Arc};

/// How many of a stream's last requests its fold remembers.
const REQUESTS: usize = 100;

#[derive(Clone)]
pub(super) struct Fold<A> {
    pub(super) state: A,
    pub(super) version: Position,
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
        // A request has one position, from whichever of its streams it is asked.
        let last = Position(position.0 + u64::from(envelope.following));
        self.requests
            .push_back((envelope.actor.clone(), envelope.request_id.clone(), last));
    }

    pub(super) fn known(&self, request: &Request) -> Option<Position> {
        let same = |(actor, id, _): &&(String, String, Position)| *actor == request.actor && *id == request.id;
        self.requests.iter().rev().find(same).map(|(_, _, position)| *position)
    }
}

/// How fresh a fold must be. A stale one costs another round, never a wrong answer.
#[derive(Clone, Copy)]
pub(super) enum Known {
    Cached,
    Newest,
}

pub(super) struct Judgement {
    pub(super) stream: StreamId,
    pub(super) version: Position,
    pub(super) known: Option<Position>,
    pub(super) verdict: Result<Vec<Vec<u8>>, Box<dyn Refusal>>,
}

/// A command on one stream, whatever its aggregate.
#[async_trait]
pub(super) trait Judge: Send + Sync {
    fn stream(&self) -> &StreamId;
    async fn judge(&self, writer: &Writer, request: &Request, known: Known) -> Result<Judgement, ExecuteError>;
    /// Brings the cached fold up to an entry that was just written behind a version.
    fn written(&self, writer: &Writer, behind: Position, position: Position, envelope: &Envelope);
}

pub(super) struct Typed<A: Aggregate> {
    stream: StreamId,
    command: A::Command,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Aggregate> Typed<A> {
    pub(super) fn new(id: &A::Id, command: A::Command) -> Self {
        Self {
            stream: StreamId::new(A::CATEGORY, id),
            command,
            aggregate: PhantomData,
        }
    }
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

    fn written(&self, writer: &Writer, behind: Position, position: Position, envelope: &Envelope) {
        let events: Option<Vec<A::Event>> = envelope
            .events
            .iter()
            .map(|bytes| A::Event::from_bytes(bytes))
            .collect();
        // Taken out, so that it is changed where it is, and not copied. One of another version was put there by somebody
        // who saw less: what lies between is not in it.
        let Some(mut fold) = writer.take::<A>(&self.stream).filter(|fold| fold.version == behind) else {
            return;
        };
        let Some(events) = events else { return };
        Arc::make_mut(&mut fold).entry(position, envelope, &events);
        writer.folds().known.put(self.stream.clone(), fold);
    }
}

impl Writer {
    fn cached<A: Aggregate>(&self, stream: &StreamId) -> Option<Arc<Fold<A>>> {
        self.folds().known.get(stream)?.clone().downcast().ok()
    }

    fn take<A: Aggregate>(&self, stream: &StreamId) -> Option<Arc<Fold<A>>> {
        self.folds().known.pop(stream)?.downcast().ok()
    }

    pub(super) async fn fold<A: Aggregate>(
        &self,
        stream: &StreamId,
        known: Known,
    ) -> Result<Arc<Fold<A>>, ExecuteError> {
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
        // Another caller may have got further meanwhile.
        let newer = self.cached::<A>(stream).filter(|cached| cached.version > fold.version);
        if newer.is_none() {
            self.folds().known.put(stream.clone(), fold.clone());
        }
        Ok(fold)
    }
}
