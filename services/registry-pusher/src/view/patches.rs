//! What each event sets, gathered per row, so that a batch is one statement per table.

use super::state;
use eventlog::{Entry, ViewError};
use ids::BuildId;
use proto::{
    builder::v1::BuildAssembled,
    catalog::v1::ImageName,
    events::{BuildsEvent, ImageEvent, RepositoryEvent},
    registry::v1::{PublicationCommitted, PublicationOpened},
};
use serde::Serialize;
use sqlx::SqliteConnection;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Patches {
    images: BTreeMap<String, ImagePatch>,
    builds: BTreeMap<String, BuildPatch>,
    tags: BTreeMap<(String, String), TagPatch>,
    contents: BTreeSet<(String, String, String)>,
    places: BTreeMap<(String, String), i64>,
}

#[derive(Default, Serialize)]
struct ImagePatch {
    registry: Option<String>,
    path: Option<String>,
    tag: Option<String>,
    named_path: Option<String>,
    named_tag: Option<String>,
    moved: Option<i64>,
    placed: Option<i64>,
    cause: Option<i64>,
    traceparent: Option<String>,
}

#[derive(Default, Serialize)]
struct BuildPatch {
    image: String,
    queued: Option<i64>,
    revision: Option<u32>,
    requester: Option<String>,
    attempt: Option<u32>,
    engine: Option<String>,
    artifact: Option<String>,
    extra_tags: Option<Vec<String>>,
    state: Option<i64>,
    retryable: Option<bool>,
    target_path: Option<String>,
    digest: Option<String>,
    size: Option<i64>,
    os: Option<String>,
    architecture: Option<String>,
    cancelled: Option<i64>,
    cause: Option<i64>,
    ended_ms: Option<i64>,
    traceparent: Option<String>,
}

#[derive(Serialize)]
struct TagPatch {
    digest: String,
    build: String,
    actor: String,
    time_ms: i64,
    position: i64,
}

impl Patches {
    pub(super) async fn image(
        &mut self,
        view: &mut SqliteConnection,
        entry: &Entry,
        event: ImageEvent,
    ) -> Result<(), ViewError> {
        let image = &entry.stream.key;
        match event {
            ImageEvent::Created(created) => {
                let name = created.name.unwrap_or_default();
                let row = self.follow(entry);
                row.named_path = Some(name.path.clone());
                row.named_tag = Some(name.primary_tag.clone());
                self.name(image, name);
            }
            ImageEvent::Renamed(renamed) => {
                let (from, to) = (renamed.from.unwrap_or_default(), renamed.to.unwrap_or_default());
                if from.registry.is_empty() {
                    self.places.insert((image.clone(), from.path), 1);
                }
                self.follow(entry);
                self.name(image, to);
            }
            ImageEvent::Described(_) => (),
            ImageEvent::Deleted(deleted) => {
                self.follow(entry);
                self.write(view).await?;
                sqlx::query("UPDATE image SET deleted = ? WHERE id = ?")
                    .bind(entry.position.as_i64())
                    .bind(image)
                    .execute(&mut *view)
                    .await?;
                if deleted.purge {
                    leave(view, image).await?;
                }
            }
            ImageEvent::Purged(_) => {
                self.follow(entry);
                self.write(view).await?;
                leave(view, image).await?;
            }
        }
        Ok(())
    }

    /// The next thing to do about the image follows from this entry.
    fn follow(&mut self, entry: &Entry) -> &mut ImagePatch {
        let row = self.images.entry(entry.stream.key.clone()).or_default();
        row.cause = Some(entry.position.as_i64());
        row.traceparent = Some(entry.envelope.traceparent.clone());
        row
    }

    fn name(&mut self, image: &str, name: ImageName) {
        if name.registry.is_empty() {
            self.places.insert((image.to_owned(), name.path.clone()), 0);
        }
        let row = self.images.entry(image.to_owned()).or_default();
        row.registry = Some(name.registry);
        row.path = Some(name.path);
        row.tag = Some(name.primary_tag);
    }

    fn build(&mut self, entry: &Entry, build: Option<BuildId>) -> &mut BuildPatch {
        let row = self.builds.entry(build.unwrap_or_default().to_string()).or_default();
        row.image.clone_from(&entry.stream.key);
        row
    }

    pub(super) fn builds(&mut self, entry: &Entry, event: BuildsEvent) {
        match event {
            BuildsEvent::Queued(queued) => {
                let row = self.build(entry, queued.build);
                row.queued = Some(entry.position.as_i64());
                row.revision = Some(queued.revision);
                row.requester = Some(entry.envelope.actor.clone());
            }
            BuildsEvent::Assembled(assembled) => self.assembled(entry, assembled),
            BuildsEvent::CancelRequested(requested) => {
                self.build(entry, requested.build).cancelled = Some(entry.position.as_i64());
            }
            BuildsEvent::Started(_)
            | BuildsEvent::SourceFetched(_)
            | BuildsEvent::Failed(_)
            | BuildsEvent::Cancelled(_)
            | BuildsEvent::AttemptLost(_)
            | BuildsEvent::Lost(_) => (),
        }
    }

    fn assembled(&mut self, entry: &Entry, assembled: BuildAssembled) {
        let row = self.step(entry, assembled.build, state::ASSEMBLED);
        row.attempt = Some(assembled.attempt);
        row.revision = Some(assembled.revision);
        row.engine = Some(assembled.engine);
        row.artifact = Some(assembled.artifact);
        row.extra_tags = Some(assembled.tags);
        row.os = Some(assembled.os);
        row.architecture = Some(assembled.architecture);
    }

    /// The next thing to do about the build follows from this entry.
    fn step(&mut self, entry: &Entry, build: Option<BuildId>, state: i64) -> &mut BuildPatch {
        let row = self.build(entry, build);
        row.state = Some(state);
        row.cause = Some(entry.position.as_i64());
        row.traceparent = Some(entry.envelope.traceparent.clone());
        row
    }

    fn end(&mut self, entry: &Entry, build: Option<BuildId>, state: i64) -> &mut BuildPatch {
        let row = self.build(entry, build);
        row.state = Some(state);
        row.ended_ms = Some(entry.envelope.time_ms);
        row
    }

    pub(super) async fn repository(
        &mut self,
        view: &mut SqliteConnection,
        entry: &Entry,
        event: RepositoryEvent,
    ) -> Result<(), ViewError> {
        let image = &entry.stream.key;
        match event {
            RepositoryEvent::Opened(opened) => self.opened(entry, opened),
            RepositoryEvent::Committed(committed) => self.committed(entry, committed),
            RepositoryEvent::Aborted(aborted) => drop(self.end(entry, aborted.build, state::ABORTED)),
            RepositoryEvent::Refused(refused) => {
                self.end(entry, refused.build, state::REFUSED).retryable = Some(refused.retryable);
            }
            RepositoryEvent::Reopened(reopened) => drop(self.step(entry, reopened.build, state::OPEN)),
            RepositoryEvent::TagMoved(moved) => {
                let patch = TagPatch {
                    digest: moved.digest,
                    build: moved.build.unwrap_or_default().to_string(),
                    actor: entry.envelope.actor.clone(),
                    time_ms: entry.envelope.time_ms,
                    position: entry.position.as_i64(),
                };
                self.tags.insert((image.clone(), moved.tag), patch);
                self.follow(entry).moved = Some(entry.position.as_i64());
            }
            RepositoryEvent::TagsPlaced(placed) => {
                self.images.entry(image.clone()).or_default().placed = Some(placed.position.cast_signed());
            }
            RepositoryEvent::Relocated(relocated) => {
                let name = relocated.name.unwrap_or_default();
                let row = self.images.entry(image.clone()).or_default();
                row.named_path = Some(name.path.clone());
                row.named_tag = Some(name.primary_tag);
                self.write(view).await?;
                let published = "INSERT OR IGNORE INTO content SELECT ?, digest, image FROM tag WHERE image = ?";
                sqlx::query(published).bind(name.path).bind(image).execute(view).await?;
            }
            RepositoryEvent::Released(released) => {
                self.write(view).await?;
                for statement in [
                    "DELETE FROM content WHERE path = ?2",
                    // All that deleted images left there is gone with it: what comes next is others'.
                    "UPDATE place SET state = 2 WHERE path = ?2 AND (image = ?1 AND state = 1
                         OR image IN (SELECT id FROM image WHERE deleted IS NOT NULL))",
                    // Called so again meanwhile: then its tags have to come back.
                    "UPDATE image SET named_path = NULL WHERE id = ?1 AND path = ?2 AND deleted IS NULL",
                ] {
                    sqlx::query(statement)
                        .bind(image)
                        .bind(&released.path)
                        .execute(&mut *view)
                        .await?;
                }
            }
        }
        Ok(())
    }

    fn opened(&mut self, entry: &Entry, opened: PublicationOpened) {
        let row = self.step(entry, opened.build, state::OPEN);
        row.attempt = Some(opened.build_attempt);
        row.target_path = Some(opened.target.unwrap_or_default().path);
        row.engine = Some(opened.engine);
        row.artifact = Some(opened.artifact);
    }

    fn committed(&mut self, entry: &Entry, committed: PublicationCommitted) {
        let path = committed.target.unwrap_or_default().path;
        self.contents
            .insert((path, committed.digest.clone(), entry.stream.key.clone()));
        let row = self.end(entry, committed.build, state::COMMITTED);
        row.digest = Some(committed.digest);
        row.size = Some(committed.size_bytes);
        row.os = Some(committed.os);
        row.architecture = Some(committed.architecture);
    }

    /// Writes what was gathered so far.
    pub(super) async fn write(&mut self, view: &mut SqliteConnection) -> Result<(), ViewError> {
        let patches = std::mem::take(self);
        upsert(view, IMAGES, patches.images).await?;
        upsert(view, BUILDS, patches.builds).await?;
        upsert(view, TAGS, patches.tags).await?;
        upsert(view, CONTENTS, patches.contents).await?;
        upsert(view, PLACES, patches.places).await
    }
}

/// What the image has in the registry is to go.
async fn leave(view: &mut SqliteConnection, image: &str) -> Result<(), ViewError> {
    let leaving = "UPDATE place SET state = 1 WHERE image = ? AND state = 0";
    sqlx::query(leaving).bind(image).execute(view).await?;
    Ok(())
}

/// Rows go in as one JSON array of `[key, columns]`.
async fn upsert(
    view: &mut SqliteConnection,
    sql: &'static str,
    rows: impl IntoIterator<Item = impl Serialize>,
) -> Result<(), ViewError> {
    let rows: Vec<_> = rows.into_iter().collect();
    if !rows.is_empty() {
        sqlx::query(sql)
            .bind(serde_json::to_string(&rows)?)
            .execute(view)
            .await?;
    }
    Ok(())
}

// `WHERE true` tells SQLite that ON CONFLICT does not belong to a join.
const IMAGES: &str = "
    INSERT INTO image SELECT value->>0, value->>'$[1].registry', value->>'$[1].path', value->>'$[1].tag',
        value->>'$[1].named_path', value->>'$[1].named_tag', value->>'$[1].moved', value->>'$[1].placed',
        value->>'$[1].cause', value->>'$[1].traceparent', NULL
    FROM json_each(?) WHERE true
    ON CONFLICT (id) DO UPDATE SET registry = ifnull(excluded.registry, registry), path = ifnull(excluded.path, path),
        tag = ifnull(excluded.tag, tag), named_path = ifnull(excluded.named_path, named_path),
        named_tag = ifnull(excluded.named_tag, named_tag), moved = ifnull(excluded.moved, moved),
        placed = ifnull(excluded.placed, placed), cause = ifnull(excluded.cause, cause),
        traceparent = ifnull(excluded.traceparent, traceparent)";

const BUILDS: &str = "
    INSERT INTO build SELECT value->>0, value->>'$[1].image', value->>'$[1].queued', value->>'$[1].revision', value->>'$[1].requester',
        value->>'$[1].attempt', value->>'$[1].engine', value->>'$[1].artifact', value->>'$[1].extra_tags',
        value->>'$[1].state', value->>'$[1].retryable', value->>'$[1].target_path', value->>'$[1].digest',
        value->>'$[1].size', value->>'$[1].os', value->>'$[1].architecture', value->>'$[1].cancelled',
        value->>'$[1].cause', value->>'$[1].ended_ms', value->>'$[1].traceparent'
    FROM json_each(?) WHERE true
    ON CONFLICT (id) DO UPDATE SET queued = ifnull(excluded.queued, queued), revision = ifnull(excluded.revision, revision),
        requester = ifnull(excluded.requester, requester), attempt = ifnull(excluded.attempt, attempt),
        engine = ifnull(excluded.engine, engine), artifact = ifnull(excluded.artifact, artifact),
        extra_tags = ifnull(excluded.extra_tags, extra_tags), state = ifnull(excluded.state, state),
        retryable = ifnull(excluded.retryable, retryable), target_path = ifnull(excluded.target_path, target_path),
        digest = ifnull(excluded.digest, digest), size = ifnull(excluded.size, size), os = ifnull(excluded.os, os),
        architecture = ifnull(excluded.architecture, architecture), cancelled = ifnull(excluded.cancelled, cancelled),
        cause = ifnull(excluded.cause, cause),
        ended_ms = ifnull(excluded.ended_ms, ended_ms), traceparent = ifnull(excluded.traceparent, traceparent)";

const TAGS: &str = "
    INSERT OR REPLACE INTO tag SELECT value->>'$[0][0]', value->>'$[0][1]', value->>'$[1].digest',
        value->>'$[1].build', value->>'$[1].actor', value->>'$[1].time_ms', value->>'$[1].position'
    FROM json_each(?)";

const CONTENTS: &str = "
    INSERT OR IGNORE INTO content SELECT value->>0, value->>1, value->>2 FROM json_each(?)";

const PLACES: &str = "
    INSERT OR REPLACE INTO place SELECT value->>'$[0][0]', value->>'$[0][1]', value->>1 FROM json_each(?)";
