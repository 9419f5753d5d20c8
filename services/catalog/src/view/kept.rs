//! The catalog's own streams as they are, up to now or to an earlier moment.

use aggregate::Aggregate;
use eventlog::{Entry, Position, StreamId, View, ViewError};
use prost_types::Timestamp;
use std::fmt::Display;

/// The moment that an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AsOf {
    Now,
    /// Milliseconds since 1970. What happened in this one counts.
    Time(i64),
    /// The entry at it counts.
    Position(Position),
}

impl AsOf {
    pub(crate) fn time(time: &Timestamp) -> Self {
        Self::Time(time.seconds.saturating_mul(1_000) + i64::from(time.nanos / 1_000_000))
    }

    fn reflects(self, entry: &Entry) -> bool {
        match self {
            Self::Now => true,
            Self::Time(time_ms) => entry.envelope.time_ms <= time_ms,
            Self::Position(position) => entry.position <= position,
        }
    }
}

/// The entries of one stream of the catalog's.
pub(crate) async fn stream(
    view: &View,
    category: &'static str,
    key: impl Display + Send,
    as_of: AsOf,
) -> Result<Vec<Entry>, ViewError> {
    let mut entries = view.stream(&StreamId::new(category, key)).await?;
    entries.retain(|entry| as_of.reflects(entry));
    Ok(entries)
}

/// An aggregate of the catalog's.
pub(crate) async fn fold<A: Aggregate>(view: &View, id: &A::Id, as_of: AsOf) -> Result<A, ViewError> {
    let mut state = A::default();
    for entry in stream(view, A::CATEGORY, id, as_of).await? {
        for event in entry.events::<A::Event>()? {
            state.evolve(&event);
        }
    }
    Ok(state)
}
