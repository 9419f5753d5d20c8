//! What happened to an image, one row per event, in sentences.

use super::Tile;
use access::Name;
use eventlog::{Entry, View, ViewError};
use proto::{
    catalog::v1::ImageName,
    editor::v1::ContextKind,
    events::{BuildsEvent, ImageEvent, RepositoryEvent, SpecEvent},
};
use sqlx::SqliteConnection;

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct HistoryRow {
    pub(crate) image: String,
    pub(crate) position: i64,
    pub(crate) idx: i64,
    pub(crate) time_ms: i64,
    pub(crate) actor: String,
    pub(crate) r#type: String,
    pub(crate) summary: String,
    pub(crate) request_id: String,
    pub(crate) cause: i64,
    pub(crate) traceparent: String,
    pub(crate) after_deletion: bool,
}

fn row(entry: &Entry, index: usize, tile: &Tile, kind: &str, summary: String) -> HistoryRow {
    HistoryRow {
        image: entry.stream.key.clone(),
        position: entry.position.as_i64(),
        idx: i64::try_from(index).unwrap_or_default(),
        time_ms: entry.envelope.time_ms,
        actor: entry.envelope.actor.clone(),
        r#type: kind.to_owned(),
        summary,
        request_id: entry.envelope.request_id.clone(),
        cause: entry.envelope.cause().as_i64(),
        traceparent: entry.envelope.traceparent.clone(),
        after_deletion: tile.deleted,
    }
}

fn called(name: Option<&ImageName>) -> String {
    name.map(Name::from).map_or_else(String::new, |name| name.short())
}

pub(super) fn of_image(entry: &Entry, index: usize, event: &ImageEvent, tile: &Tile) -> HistoryRow {
    let (kind, summary) = match event {
        ImageEvent::Created(event) => ("image.created", format!("created as {}", called(event.name.as_ref()))),
        ImageEvent::Renamed(event) => (
            "image.renamed",
            format!(
                "renamed from {} to {}",
                called(event.from.as_ref()),
                called(event.to.as_ref())
            ),
        ),
        ImageEvent::Described(_) => ("image.described", "description changed".to_owned()),
        ImageEvent::Deleted(event) if event.purge => ("image.deleted", "deleted with its content".to_owned()),
        ImageEvent::Deleted(_) => ("image.deleted", "deleted, its content is kept".to_owned()),
        ImageEvent::Purged(_) => ("image.purged", "content removed".to_owned()),
    };
    let mut row = row(entry, index, tile, kind, summary);
    row.after_deletion &= !matches!(event, ImageEvent::Purged(_));
    row
}

pub(super) fn of_spec(entry: &Entry, index: usize, event: &SpecEvent, tile: &Tile) -> HistoryRow {
    let (kind, summary) = match event {
        SpecEvent::ContextUploaded(event) => {
            let context = event.context.clone().unwrap_or_default();
            let plural = if context.files == 1 { "" } else { "s" };
            (
                "spec.context_uploaded",
                format!("uploaded {} file{plural}, {} bytes", context.files, context.size_bytes),
            )
        }
        SpecEvent::RevisionSaved(event) => {
            let spec = event.spec.clone().unwrap_or_default();
            let source = match (spec.context_kind(), &spec.git) {
                (ContextKind::GitRepository, Some(git)) => format!("from {}", git.url),
                _ if spec.context.is_some() => "a Dockerfile with files".to_owned(),
                _ => "a Dockerfile".to_owned(),
            };
            let restored = match event.restored_from {
                0 => String::new(),
                number => format!(", restored from revision {number}"),
            };
            let note = if event.note.is_empty() {
                String::new()
            } else {
                format!(": {}", event.note)
            };
            (
                "spec.saved",
                format!("saved revision {} ({source}{restored}){note}", event.number),
            )
        }
    };
    row(entry, index, tile, kind, summary)
}

/// What is only bookkeeping of a build has no row.
pub(super) fn of_builds(entry: &Entry, index: usize, event: &BuildsEvent, tile: &Tile) -> Option<HistoryRow> {
    let (kind, summary) = match event {
        BuildsEvent::Queued(event) => {
            let build = event.build.unwrap_or_default();
            (
                "build.queued",
                format!("asked for build {build} of revision {}", event.revision),
            )
        }
        BuildsEvent::Started(event) => {
            let build = event.build.unwrap_or_default();
            (
                "build.started",
                format!("build {build} started on {} (attempt {})", event.engine, event.attempt),
            )
        }
        BuildsEvent::Failed(event) => (
            "build.failed",
            format!("build {} failed: {}", event.build.unwrap_or_default(), event.cause),
        ),
        BuildsEvent::CancelRequested(event) => (
            "build.cancel_requested",
            format!("asked to cancel build {}", event.build.unwrap_or_default()),
        ),
        BuildsEvent::Cancelled(event) => (
            "build.cancelled",
            format!("build {} was cancelled", event.build.unwrap_or_default()),
        ),
        BuildsEvent::AttemptLost(event) => (
            "build.attempt_lost",
            format!(
                "attempt {} of build {} was lost: {}",
                event.attempt,
                event.build.unwrap_or_default(),
                event.cause
            ),
        ),
        BuildsEvent::Lost(event) => (
            "build.lost",
            format!("build {} was lost: {}", event.build.unwrap_or_default(), event.cause),
        ),
        BuildsEvent::SourceFetched(_) | BuildsEvent::Assembled(_) => return None,
    };
    Some(row(entry, index, tile, kind, summary))
}

pub(super) fn of_repository(entry: &Entry, index: usize, event: &RepositoryEvent, tile: &Tile) -> Option<HistoryRow> {
    let (kind, summary) = match event {
        RepositoryEvent::Committed(event) => (
            "image.published",
            format!("build {} published {}", event.build.unwrap_or_default(), event.digest),
        ),
        RepositoryEvent::Aborted(event) => (
            "build.cancelled",
            format!(
                "build {} was cancelled before it was published",
                event.build.unwrap_or_default()
            ),
        ),
        RepositoryEvent::Refused(event) => (
            "push.failed",
            format!(
                "the push of build {} failed: {}",
                event.build.unwrap_or_default(),
                event.cause
            ),
        ),
        RepositoryEvent::Reopened(event) => (
            "push.retried",
            format!("asked to push build {} again", event.build.unwrap_or_default()),
        ),
        RepositoryEvent::TagMoved(event) => ("tag.moved", format!("tag {} points to {}", event.tag, event.digest)),
        RepositoryEvent::Relocated(event) => (
            "repository.relocated",
            format!("can be pulled as {}", called(event.name.as_ref())),
        ),
        RepositoryEvent::Released(event) => ("repository.released", format!("nothing is left under {}", event.path)),
        RepositoryEvent::Opened(_) | RepositoryEvent::TagsPlaced(_) => return None,
    };
    let mut row = row(entry, index, tile, kind, summary);
    // Cleaning up is what follows a deletion, and counts.
    row.after_deletion &= !matches!(event, RepositoryEvent::Released(_));
    Some(row)
}

pub(super) async fn store(view: &mut SqliteConnection, rows: &[HistoryRow]) -> Result<(), ViewError> {
    eventlog::insert(view, "INSERT INTO history", rows, "", |row, told| {
        row.push_bind(&told.image)
            .push_bind(told.position)
            .push_bind(told.idx)
            .push_bind(told.time_ms)
            .push_bind(&told.actor)
            .push_bind(&told.r#type)
            .push_bind(&told.summary)
            .push_bind(&told.request_id)
            .push_bind(told.cause)
            .push_bind(&told.traceparent)
            .push_bind(told.after_deletion);
    })
    .await
}

/// Newest first, those before a (position, index).
pub(crate) async fn image_history(
    view: &View,
    image: &str,
    before: (i64, i64),
    limit: i64,
) -> sqlx::Result<Vec<HistoryRow>> {
    sqlx::query_as(
        "SELECT * FROM history WHERE image = ? AND (position, idx) < (?, ?) ORDER BY position DESC, idx DESC LIMIT ?",
    )
    .bind(image)
    .bind(before.0)
    .bind(before.1)
    .bind(limit)
    .fetch_all(view.rows())
    .await
}
