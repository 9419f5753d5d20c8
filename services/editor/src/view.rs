//! Revisions and uploads as the log tells them, and which stored files are still needed.

use async_trait::async_trait;
use eventlog::{Entry, Position, Projection, View, ViewError, insert};
use prost::Message as _;
use proto::{
    editor::v1::{BuildSpec, Revision, RevisionSaved, UploadedContext},
    events::{ImageEvent, SpecEvent},
};
use service::timestamp;
use sqlx::SqliteConnection;
use std::collections::BTreeSet;

pub(crate) struct EditorProjection;

/// A spec without its Dockerfile, for lists; whole, it is in the entry that the view keeps.
const SCHEMA: &str = "
    CREATE TABLE revision (position INTEGER PRIMARY KEY, image TEXT NOT NULL, number INTEGER NOT NULL,
        note TEXT NOT NULL, actor TEXT NOT NULL, time_ms INTEGER NOT NULL, restored_from INTEGER NOT NULL,
        context TEXT NOT NULL, rest BLOB NOT NULL);
    CREATE UNIQUE INDEX revision_number ON revision (image, number);
    CREATE INDEX revision_context ON revision (context, image) WHERE context != '';
    CREATE TABLE upload (position INTEGER PRIMARY KEY, image TEXT NOT NULL, digest TEXT NOT NULL,
        size_bytes INTEGER NOT NULL, files INTEGER NOT NULL);
    CREATE TABLE deleted (image TEXT PRIMARY KEY) WITHOUT ROWID;
";
/// A page ends at this size, however many rows it may have: a client takes 4 MiB.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

struct RevisionRow<'a> {
    position: i64,
    image: &'a str,
    number: u32,
    note: String,
    actor: &'a str,
    time_ms: i64,
    restored_from: u32,
    context: String,
    /// Protobuf.
    rest: Vec<u8>,
}

struct UploadRow<'a> {
    position: i64,
    image: &'a str,
    digest: String,
    size_bytes: i64,
    files: u32,
}

#[async_trait]
impl Projection for EditorProjection {
    fn name(&self) -> &'static str {
        "editor"
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn reads(&self) -> &'static [&'static str] {
        &["spec", "image"]
    }

    fn ignores(&self, entry: &Entry) -> bool {
        entry.tells_only("image", |event: &ImageEvent| {
            matches!(
                event,
                ImageEvent::Created(_) | ImageEvent::Renamed(_) | ImageEvent::Described(_)
            )
        })
    }

    fn keeps(&self) -> &'static [&'static str] {
        &["spec"]
    }

    async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError> {
        let (mut revisions, mut uploads, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        for entry in batch {
            match entry.stream.category.as_str() {
                "spec" => {
                    for event in entry.events()? {
                        match event {
                            SpecEvent::RevisionSaved(event) => revisions.push(revision(entry, event)),
                            SpecEvent::ContextUploaded(event) => {
                                let context = event.context.unwrap_or_default();
                                uploads.push(UploadRow {
                                    position: entry.position.as_i64(),
                                    image: &entry.stream.key,
                                    digest: context.digest,
                                    size_bytes: context.size_bytes,
                                    files: context.files,
                                });
                            }
                        }
                    }
                }
                "image" => {
                    for event in entry.events()? {
                        match event {
                            ImageEvent::Deleted(_) => deleted.push(&entry.stream.key),
                            ImageEvent::Created(_)
                            | ImageEvent::Renamed(_)
                            | ImageEvent::Described(_)
                            | ImageEvent::Purged(_) => (),
                        }
                    }
                }
                _ => (),
            }
        }
        insert(view, "INSERT INTO revision", &revisions, "", |row, saved| {
            row.push_bind(saved.position)
                .push_bind(saved.image)
                .push_bind(saved.number)
                .push_bind(&saved.note)
                .push_bind(saved.actor)
                .push_bind(saved.time_ms)
                .push_bind(saved.restored_from)
                .push_bind(&saved.context)
                .push_bind(&saved.rest);
        })
        .await?;
        insert(view, "INSERT INTO upload", &uploads, "", |row, upload| {
            row.push_bind(upload.position)
                .push_bind(upload.image)
                .push_bind(&upload.digest)
                .push_bind(upload.size_bytes)
                .push_bind(upload.files);
        })
        .await?;
        insert(view, "INSERT OR IGNORE INTO deleted", &deleted, "", |row, image| {
            row.push_bind(image);
        })
        .await
    }
}

fn revision(entry: &Entry, event: RevisionSaved) -> RevisionRow<'_> {
    let mut spec = event.spec.unwrap_or_default();
    spec.dockerfile.clear();
    RevisionRow {
        position: entry.position.as_i64(),
        image: &entry.stream.key,
        number: event.number,
        note: event.note,
        actor: &entry.envelope.actor,
        time_ms: entry.envelope.time_ms,
        restored_from: event.restored_from,
        context: spec
            .context
            .as_ref()
            .map(|context| context.digest.clone())
            .unwrap_or_default(),
        rest: spec.encode_to_vec(),
    }
}

#[derive(sqlx::FromRow)]
struct Found {
    number: u32,
    note: String,
    actor: String,
    time_ms: i64,
    restored_from: u32,
    rest: Vec<u8>,
}

impl From<Found> for Revision {
    fn from(found: Found) -> Self {
        Self {
            number: found.number,
            // We wrote these bytes; a view with others is rebuilt.
            spec: Some(BuildSpec::decode(&*found.rest).unwrap_or_default()),
            note: found.note,
            actor: found.actor,
            time: timestamp(found.time_ms),
            restored_from: found.restored_from,
            diagnostics: Vec::new(),
        }
    }
}

/// A revision, whole; without a number, the newest.
pub(crate) async fn saved(view: &View, image: &str, number: Option<u32>) -> Result<Option<Revision>, ViewError> {
    let position: Option<i64> = sqlx::query_scalar(
        "SELECT position FROM revision
         WHERE image = ?1 AND number = coalesce(?2, (SELECT max(number) FROM revision WHERE image = ?1))",
    )
    .bind(image)
    .bind(number)
    .fetch_optional(view.rows())
    .await?;
    let Some(position) = position else { return Ok(None) };
    let entry = view.entry(Position::from_i64(position)).await?;
    let whole = entry.events()?.into_iter().find_map(|event| match event {
        SpecEvent::RevisionSaved(saved) => Some(Revision {
            number: saved.number,
            spec: saved.spec,
            note: saved.note,
            actor: entry.envelope.actor.clone(),
            time: timestamp(entry.envelope.time_ms),
            restored_from: saved.restored_from,
            diagnostics: Vec::new(),
        }),
        SpecEvent::ContextUploaded(_) => None,
    });
    Ok(whole)
}

/// Revisions below a number, newest first, without their Dockerfiles. The flag tells whether there are more.
pub(crate) async fn page(view: &View, image: &str, below: u32, rows: i64) -> sqlx::Result<(Vec<Revision>, bool)> {
    let found: Vec<Found> = sqlx::query_as(
        "SELECT number, note, actor, time_ms, restored_from, rest FROM revision
         WHERE image = ? AND number < ? ORDER BY number DESC LIMIT ?",
    )
    .bind(image)
    .bind(below)
    .bind(rows + 1)
    .fetch_all(view.rows())
    .await?;
    let all = found.len();
    let mut bytes = 0;
    let fits = |found: &Found| {
        let first = bytes == 0;
        bytes += found.rest.len() + found.note.len();
        first || bytes <= PAGE_BYTES
    };
    let rows = usize::try_from(rows).unwrap_or_default();
    let page: Vec<Revision> = found
        .into_iter()
        .take(rows)
        .take_while(fits)
        .map(Revision::from)
        .collect();
    let has_more = page.len() < all;
    Ok((page, has_more))
}

/// The revision that an entry saved.
pub(crate) async fn number_at(view: &View, position: Position) -> sqlx::Result<Option<u32>> {
    sqlx::query_scalar("SELECT number FROM revision WHERE position = ?")
        .bind(position.as_i64())
        .fetch_optional(view.rows())
        .await
}

/// The upload that an entry recorded.
pub(crate) async fn upload_at(view: &View, position: Position) -> sqlx::Result<Option<UploadedContext>> {
    let found: Option<(String, i64, u32)> =
        sqlx::query_as("SELECT digest, size_bytes, files FROM upload WHERE position = ?")
            .bind(position.as_i64())
            .fetch_optional(view.rows())
            .await?;
    Ok(found.map(|(digest, size_bytes, files)| UploadedContext {
        digest,
        size_bytes,
        files,
    }))
}

/// Whether a revision of the image is built from these files, so that they are kept.
pub(crate) async fn needs(view: &View, image: &str, digest: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM revision WHERE context = ? AND image = ? AND context != '')")
        .bind(digest)
        .bind(image)
        .fetch_one(view.rows())
        .await
}

/// Those of the files that a revision of a living image is built from.
pub(crate) async fn needed(view: &View, digests: &[&str]) -> Result<BTreeSet<String>, ViewError> {
    let needed: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT context FROM revision WHERE context IN (SELECT value FROM json_each(?)) AND context != ''
         AND image NOT IN (SELECT image FROM deleted)",
    )
    .bind(serde_json::to_string(digests)?)
    .fetch_all(view.rows())
    .await?;
    Ok(needed.into_iter().collect())
}

#[cfg(test)]
mod tests;
