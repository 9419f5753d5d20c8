//! The catalog's own streams as they are, up to now or to an earlier moment.

use aggregate::Aggregate;
use eventlog::{Entry, Position, StreamId, View, ViewError};
use ids::{ImageId, WorkspaceId};
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

/// Up to where the entries about an image count. Clocks differ: a time is the last entry that was written by then, about
/// the image or in its workspace, and all before it.
pub(crate) async fn until(
    view: &View,
    image: ImageId,
    workspace: WorkspaceId,
    moment: AsOf,
) -> Result<Position, ViewError> {
    let time_ms = match moment {
        AsOf::Now => return Ok(Position(u64::MAX)),
        AsOf::Position(position) => return Ok(position),
        AsOf::Time(time_ms) => time_ms,
    };
    let about_image: Option<i64> =
        sqlx::query_scalar("SELECT max(position) FROM history WHERE image = ? AND time_ms <= ?")
            .bind(image.to_string())
            .bind(time_ms)
            .fetch_one(view.rows())
            .await?;
    let members = until_of(view, workspace, time_ms).await?;
    Ok(about_image.map(Position::from_i64).unwrap_or_default().max(members))
}

/// Up to where the entries of a workspace count by themselves: what happens to another one's image says nothing of it.
pub(crate) async fn until_of(view: &View, workspace: WorkspaceId, time_ms: i64) -> Result<Position, ViewError> {
    let members = view.stream(&StreamId::new("workspace", workspace)).await?;
    let by_then = members.iter().rev().find(|entry| entry.envelope.time_ms <= time_ms);
    Ok(by_then.map(|entry| entry.position).unwrap_or_default())
}

/// The entries of one stream of the catalog's, up to a position.
pub(super) async fn stream(
    view: &View,
    category: &'static str,
    key: impl Display + Send,
    until: Position,
) -> Result<Vec<Entry>, ViewError> {
    let mut entries = view.stream(&StreamId::new(category, key)).await?;
    entries.retain(|entry| entry.position <= until);
    Ok(entries)
}

/// An aggregate of the catalog's.
pub(crate) async fn fold<A: Aggregate>(view: &View, id: &A::Id, until: Position) -> Result<A, ViewError> {
    let mut state = A::default();
    for entry in stream(view, A::CATEGORY, id, until).await? {
        for event in entry.events::<A::Event>()? {
            state.evolve(&event);
        }
    }
    Ok(state)
}
