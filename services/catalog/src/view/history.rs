//! What happened, one row per event in the order of the log: the history of each image, and what the audit searches.
//!
//! A row keeps its event as it is stored, but for the Dockerfile of a revision. Its sentence is made when it is read.

mod changes;
mod sentence;

pub(super) use changes::changes;

use super::tile::{Fact, Tile};
use bytes::Bytes;
use eventlog::{Entry, Position, View, ViewError, insert};
use proto::events::{AccessEvent, BuildsEvent, ImageEvent, RepositoryEvent, SpecEvent, WorkspaceEvent};
use sqlx::SqliteConnection;

/// Rows are numbered from 0 without a gap. `granule` and `bits` are the index of those that are there in full granules.
pub(super) const SCHEMA: &str = "
    CREATE TABLE history (row INTEGER PRIMARY KEY, image TEXT NOT NULL, workspace TEXT NOT NULL,
        position INTEGER NOT NULL, idx INTEGER NOT NULL, time_ms INTEGER NOT NULL, actor TEXT NOT NULL,
        category TEXT NOT NULL, type TEXT NOT NULL, event BLOB NOT NULL, changes TEXT NOT NULL,
        request_id TEXT NOT NULL, cause INTEGER NOT NULL, traceparent TEXT NOT NULL, after_deletion INTEGER NOT NULL);
    CREATE INDEX history_image ON history (image);
    CREATE TABLE saved (row INTEGER PRIMARY KEY, event BLOB NOT NULL);
    CREATE TABLE granule (granule INTEGER PRIMARY KEY, since_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL);
    CREATE TABLE bits (dimension INTEGER NOT NULL, value TEXT NOT NULL, chunk INTEGER NOT NULL, bits BLOB NOT NULL,
        PRIMARY KEY (dimension, value, chunk)) WITHOUT ROWID;
";

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct HistoryRow {
    pub(crate) row: i64,
    pub(crate) image: String,
    pub(crate) workspace: String,
    pub(crate) position: i64,
    pub(crate) idx: i64,
    pub(crate) time_ms: i64,
    pub(crate) actor: String,
    pub(crate) category: String,
    pub(crate) r#type: String,
    pub(crate) event: Vec<u8>,
    pub(crate) changes: String,
    pub(crate) request_id: String,
    pub(crate) cause: i64,
    pub(crate) traceparent: String,
    pub(crate) after_deletion: bool,
}

impl HistoryRow {
    pub(crate) fn summary(&self) -> String {
        sentence::of(&self.category, &self.event, &self.changes)
    }

    pub(super) fn fact(&self) -> Fact<'_> {
        Fact {
            image: &self.image,
            position: Position::from_i64(self.position),
            time_ms: self.time_ms,
            actor: &self.actor,
            row: self.row,
        }
    }
}

/// A row to be written. Its number is its place among them.
pub(super) struct Told<'a> {
    pub(super) entry: &'a Entry,
    pub(super) index: usize,
    pub(super) image: String,
    pub(super) workspace: String,
    pub(super) actor: String,
    pub(super) kind: &'static str,
    pub(super) event: Bytes,
    pub(super) changes: String,
    pub(super) after_deletion: bool,
}

impl<'a> Told<'a> {
    /// Of an entry's event, as it is stored.
    pub(super) fn new(entry: &'a Entry, index: usize, kind: &'static str) -> Self {
        Self {
            entry,
            index,
            image: String::new(),
            workspace: String::new(),
            actor: entry.envelope.actor.clone(),
            kind,
            event: entry.envelope.events.get(index).cloned().unwrap_or_default(),
            changes: String::new(),
            after_deletion: false,
        }
    }

    /// Of an event about an image.
    pub(super) fn of(entry: &'a Entry, index: usize, kind: &'static str, tile: &Tile) -> Self {
        Self {
            image: entry.stream.key.clone(),
            workspace: tile.workspace.clone(),
            after_deletion: tile.deleted,
            ..Self::new(entry, index, kind)
        }
    }
}

pub(super) fn kind_of_image(event: &ImageEvent) -> &'static str {
    match event {
        ImageEvent::Created(_) => "image.created",
        ImageEvent::Renamed(_) => "image.renamed",
        ImageEvent::Described(_) => "image.described",
        ImageEvent::Deleted(_) => "image.deleted",
        ImageEvent::Purged(_) => "image.purged",
    }
}

pub(super) fn kind_of_spec(event: &SpecEvent) -> &'static str {
    match event {
        SpecEvent::ContextUploaded(_) => "spec.context_uploaded",
        SpecEvent::RevisionSaved(_) => "spec.saved",
    }
}

/// What is only bookkeeping of a build has no row.
pub(super) fn kind_of_builds(event: &BuildsEvent) -> Option<&'static str> {
    Some(match event {
        BuildsEvent::Queued(_) => "build.queued",
        BuildsEvent::Started(_) => "build.started",
        BuildsEvent::Failed(_) => "build.failed",
        BuildsEvent::CancelRequested(_) => "build.cancel_requested",
        BuildsEvent::Cancelled(_) => "build.cancelled",
        BuildsEvent::AttemptLost(_) => "build.attempt_lost",
        BuildsEvent::Lost(_) => "build.lost",
        BuildsEvent::SourceFetched(_) | BuildsEvent::Assembled(_) => return None,
    })
}

pub(super) fn kind_of_repository(event: &RepositoryEvent) -> Option<&'static str> {
    Some(match event {
        RepositoryEvent::Committed(_) => "image.published",
        RepositoryEvent::Aborted(_) => "build.cancelled",
        RepositoryEvent::Refused(_) => "push.failed",
        RepositoryEvent::Reopened(_) => "push.retried",
        RepositoryEvent::TagMoved(_) => "tag.moved",
        RepositoryEvent::Relocated(_) => "repository.relocated",
        RepositoryEvent::Released(_) => "repository.released",
        RepositoryEvent::Opened(_) | RepositoryEvent::TagsPlaced(_) => return None,
    })
}

pub(super) fn kind_of_access(event: &AccessEvent) -> &'static str {
    match event {
        AccessEvent::Granted(_) => "access.granted",
        AccessEvent::Revoked(_) => "access.revoked",
    }
}

pub(super) fn kind_of_workspace(event: &WorkspaceEvent) -> &'static str {
    match event {
        WorkspaceEvent::Created(_) => "workspace.created",
        WorkspaceEvent::MemberAdded(_) | WorkspaceEvent::MemberRoleSet(_) | WorkspaceEvent::MemberRemoved(_) => {
            "member.changed"
        }
    }
}

/// All of these, and refusals.
pub(crate) const KINDS: [&str; 25] = [
    "workspace.created",
    "member.changed",
    "image.created",
    "image.renamed",
    "image.described",
    "image.deleted",
    "image.purged",
    "image.published",
    "spec.saved",
    "spec.context_uploaded",
    "build.queued",
    "build.started",
    "build.failed",
    "build.cancel_requested",
    "build.cancelled",
    "build.attempt_lost",
    "build.lost",
    "push.failed",
    "push.retried",
    "tag.moved",
    "repository.relocated",
    "repository.released",
    "access.granted",
    "access.revoked",
    "access.refused",
];

/// The number of the next row.
pub(super) async fn next_row(view: &mut SqliteConnection) -> Result<i64, ViewError> {
    let next = sqlx::query_scalar("SELECT ifnull(max(row) + 1, 0) FROM history");
    Ok(next.fetch_one(view).await?)
}

/// Writes rows from the number `first` on, and whole saves by the numbers of theirs.
pub(super) async fn store(
    view: &mut SqliteConnection,
    first: i64,
    told: &[Told<'_>],
    saved: &[(i64, Bytes)],
) -> Result<(), ViewError> {
    insert(view, "INSERT INTO saved", saved, "", |values, (row, event)| {
        values.push_bind(*row).push_bind(&event[..]);
    })
    .await?;
    let rows: Vec<(i64, &Told<'_>)> = (first..).zip(told).collect();
    insert(view, "INSERT INTO history", &rows, "", |values, (row, told)| {
        let envelope = &told.entry.envelope;
        values
            .push_bind(*row)
            .push_bind(&told.image)
            .push_bind(&told.workspace)
            .push_bind(told.entry.position.as_i64())
            .push_bind(i64::try_from(told.index).unwrap_or_default())
            .push_bind(envelope.time_ms)
            .push_bind(&told.actor)
            .push_bind(&told.entry.stream.category)
            .push_bind(told.kind)
            .push_bind(&told.event[..])
            .push_bind(&told.changes)
            .push_bind(&envelope.request_id)
            .push_bind(envelope.cause().as_i64())
            .push_bind(&envelope.traceparent)
            .push_bind(told.after_deletion);
    })
    .await
}

/// Newest first, those before a row. Who was refused is for the audit.
/// `with_grants`: also whom the image was shared with.
pub(crate) async fn image_history(
    view: &View,
    image: &str,
    with_grants: bool,
    before: i64,
    limit: i64,
) -> sqlx::Result<Vec<HistoryRow>> {
    sqlx::query_as(
        "SELECT * FROM history WHERE image = ? AND (? OR category <> 'access') AND row < ? AND category <> 'refusal'
         ORDER BY row DESC LIMIT ?",
    )
    .bind(image)
    .bind(with_grants)
    .bind(before)
    .bind(limit)
    .fetch_all(view.rows())
    .await
}
