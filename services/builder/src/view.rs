//! The journal of builds, what waits and runs, and the revisions that builds are made from.
//!
//! A batch loads the rows that it touches, folds them in memory, and writes them back with one statement.

mod queries;
mod row;

pub(crate) use queries::{
    Begun, begun, deleted_images, has_ended, is_known_attempt, journal, needed_artifacts, newest, published, revision,
    row, running, waiting, waiting_or_running,
};
pub(crate) use row::{Row, Stage};

use async_trait::async_trait;
use eventlog::{Entry, Projection, ViewError, insert};
use ids::BuildId;
use prost::Message as _;
use proto::events::{BuildsEvent, ImageEvent, RepositoryEvent, SpecEvent};
use serde::Serialize;
use sqlx::SqliteConnection;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct BuilderProjection;

const SCHEMA: &str = "
    CREATE TABLE build (id TEXT NOT NULL, image TEXT NOT NULL, queued_at INTEGER NOT NULL, stage INTEGER NOT NULL,
        started_at INTEGER NOT NULL, position INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (id, image));
    CREATE INDEX build_journal ON build (image, queued_at);
    CREATE INDEX build_active ON build (stage, queued_at) WHERE stage < 4;
    CREATE INDEX build_started ON build (started_at) WHERE started_at > 0;

    CREATE TABLE image (id TEXT PRIMARY KEY, workspace TEXT NOT NULL, deleted INTEGER NOT NULL);

    CREATE TABLE revision (image TEXT NOT NULL, number INTEGER NOT NULL, spec BLOB NOT NULL,
        PRIMARY KEY (image, number)) WITHOUT ROWID;
";

#[async_trait]
impl Projection for BuilderProjection {
    fn name(&self) -> &'static str {
        "builder"
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn reads(&self) -> &'static [&'static str] {
        &["builds", "repository", "image", "spec"]
    }

    fn ignores(&self, entry: &Entry) -> bool {
        entry.tells_only("image", |event: &ImageEvent| {
            matches!(event, ImageEvent::Renamed(_) | ImageEvent::Described(_))
        })
    }

    fn keeps(&self) -> &'static [&'static str] {
        &["builds"]
    }

    async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError> {
        let mut changes = Changes::default();
        for entry in batch {
            match entry.stream.category.as_str() {
                "builds" => changes.builds.push((entry, entry.events()?)),
                "repository" => changes.publications.push((entry, entry.events()?)),
                "image" => {
                    for event in entry.events::<ImageEvent>()? {
                        changes.image(&entry.stream.key, &event);
                    }
                }
                "spec" => {
                    for event in entry.events::<SpecEvent>()? {
                        if let SpecEvent::RevisionSaved(saved) = event {
                            let spec = saved.spec.unwrap_or_default().encode_to_vec();
                            changes.revisions.push((entry.stream.key.clone(), saved.number, spec));
                        }
                    }
                }
                _ => (),
            }
        }
        changes.store(view).await
    }
}

/// What a batch says, sorted by table.
#[derive(Default)]
struct Changes<'a> {
    builds: Vec<(&'a Entry, Vec<BuildsEvent>)>,
    publications: Vec<(&'a Entry, Vec<RepositoryEvent>)>,
    images: BTreeMap<String, ImageRow>,
    revisions: Vec<(String, u32, Vec<u8>)>,
}

#[derive(Default, Serialize)]
struct ImageRow {
    id: String,
    workspace: String,
    deleted: bool,
}

impl Changes<'_> {
    fn image(&mut self, id: &str, event: &ImageEvent) {
        let workspace = match event {
            ImageEvent::Created(event) => event.workspace.unwrap_or_default().to_string(),
            ImageEvent::Deleted(_) => String::new(),
            ImageEvent::Renamed(_) | ImageEvent::Described(_) | ImageEvent::Purged(_) => return,
        };
        let row = self.images.entry(id.to_owned()).or_default();
        id.clone_into(&mut row.id);
        row.deleted |= workspace.is_empty();
        if !workspace.is_empty() {
            row.workspace = workspace;
        }
    }

    async fn store(self, view: &mut SqliteConnection) -> Result<(), ViewError> {
        if !self.images.is_empty() {
            let rows: Vec<&ImageRow> = self.images.values().collect();
            sqlx::query(
                "INSERT INTO image SELECT value->>'id', value->>'workspace', value->>'deleted' FROM json_each(?)
                 WHERE true ON CONFLICT (id) DO UPDATE SET deleted = max(deleted, excluded.deleted)",
            )
            .bind(serde_json::to_string(&rows)?)
            .execute(&mut *view)
            .await?;
        }
        insert(
            view,
            "INSERT INTO revision",
            &self.revisions,
            "",
            |row, (image, number, spec)| {
                row.push_bind(image).push_bind(number).push_bind(&spec[..]);
            },
        )
        .await?;
        self.store_builds(view).await
    }

    async fn store_builds(&self, view: &mut SqliteConnection) -> Result<(), ViewError> {
        let in_builds = self
            .builds
            .iter()
            .flat_map(|(_, events)| events.iter().filter_map(row::build_of));
        let in_publications = self
            .publications
            .iter()
            .flat_map(|(_, events)| events.iter().filter_map(row::published_build_of));
        let ids: BTreeSet<String> = in_builds
            .chain(in_publications)
            .map(|build: BuildId| build.to_string())
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let mut rows = load(view, &ids).await?;
        // The order of the log, over both categories.
        let builds = self
            .builds
            .iter()
            .map(|(entry, events)| (entry.position, Either::Builds(entry, events)));
        let publications = self
            .publications
            .iter()
            .map(|(entry, events)| (entry.position, Either::Publications(entry, events)));
        let mut entries: Vec<_> = builds.chain(publications).collect();
        entries.sort_by_key(|(position, _)| *position);
        for (_, entry) in entries {
            match entry {
                Either::Builds(entry, events) => {
                    for event in events {
                        if let Some(build) = row::build_of(event) {
                            rows.entry(key(entry, build)).or_default().builds(entry, event);
                        }
                    }
                }
                Either::Publications(entry, events) => {
                    for event in events {
                        if let Some(build) = row::published_build_of(event) {
                            rows.entry(key(entry, build)).or_default().publication(entry, event);
                        }
                    }
                }
            }
        }
        store_rows(view, &rows).await
    }
}

fn key(entry: &Entry, build: BuildId) -> Key {
    (entry.stream.key.clone(), build.to_string())
}

enum Either<'a> {
    Builds(&'a Entry, &'a [BuildsEvent]),
    Publications(&'a Entry, &'a [RepositoryEvent]),
}

/// An image and its build.
type Key = (String, String);

async fn load(view: &mut SqliteConnection, ids: &BTreeSet<String>) -> Result<BTreeMap<Key, Row>, ViewError> {
    let found: Vec<(String, String, String)> =
        sqlx::query_as("SELECT image, id, row FROM build WHERE id IN (SELECT value FROM json_each(?))")
            .bind(serde_json::to_string(ids)?)
            .fetch_all(view)
            .await?;
    let parse = |(image, id, row): (String, String, String)| Ok(((image, id), serde_json::from_str(&row)?));
    found.into_iter().map(parse).collect()
}

async fn store_rows(view: &mut SqliteConnection, rows: &BTreeMap<Key, Row>) -> Result<(), ViewError> {
    let mut texts = Vec::with_capacity(rows.len());
    for ((image, id), row) in rows {
        texts.push((id, image, row, serde_json::to_string(row)?));
    }
    let then = "ON CONFLICT (id, image) DO UPDATE SET stage = excluded.stage, started_at = excluded.started_at,
        position = excluded.position, row = excluded.row";
    insert(
        view,
        "INSERT INTO build",
        &texts,
        then,
        |columns, (id, image, row, text)| {
            columns
                .push_bind(id)
                .push_bind(image)
                .push_bind(row.queued_at.cast_signed())
                .push_bind(row.stage() as i32)
                .push_bind(row.started_at.cast_signed())
                .push_bind(row.position.cast_signed())
                .push_bind(text);
        },
    )
    .await
}
