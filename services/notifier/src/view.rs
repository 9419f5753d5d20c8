//! The public events of every entry, in order, and what must be known of the images to tell them.
//!
//! A batch loads the images that it touches, folds them in memory, and writes images and events with one statement each.

#[cfg(test)]
mod tests;

use crate::events::{self, Image, Told};
use access::{Right, Visible};
use async_trait::async_trait;
use eventlog::{Entry, FeedEvent, Position, Projection, View, ViewError};
use serde_json::Value;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct NotifierProjection;

/// What the world is told of.
pub(crate) const READS: &[&str] = &["workspace", "image", "access", "spec", "builds", "repository"];

const SCHEMA: &str = "
    CREATE TABLE image (id TEXT PRIMARY KEY, state TEXT NOT NULL);
    CREATE TABLE event (position INTEGER NOT NULL, idx INTEGER NOT NULL, type TEXT NOT NULL, workspace TEXT NOT NULL,
        image TEXT NOT NULL, time_ms INTEGER NOT NULL, traceparent TEXT NOT NULL, data TEXT NOT NULL,
        content TEXT NOT NULL, PRIMARY KEY (position, idx)) WITHOUT ROWID;
    CREATE INDEX event_image ON event (image, position, idx);
";

struct Row<'a> {
    position: i64,
    idx: i64,
    kind: &'static str,
    workspace: String,
    image: &'a str,
    time_ms: i64,
    traceparent: &'a str,
    data: String,
    content: String,
}

#[async_trait]
impl Projection for NotifierProjection {
    fn name(&self) -> &'static str {
        "notifier"
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn reads(&self) -> &'static [&'static str] {
        READS
    }

    async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError> {
        let mut images = load(view, batch).await?;
        let mut changed = BTreeSet::new();
        let mut rows = Vec::new();
        for entry in batch {
            let key = entry.stream.key.as_str();
            if entry.stream.category == "workspace" {
                add(&mut rows, entry, key, "", events::about_workspace(entry)?);
            } else if events::is_about_image(&entry.stream.category) {
                let image = images.entry(key).or_default();
                let told = events::about_image(image, entry)?;
                // An entry about an image that was never created is nobody's.
                if !image.workspace.is_empty() {
                    add(&mut rows, entry, &image.workspace, key, told);
                    // A new revision is told, and nothing of it is remembered.
                    if entry.stream.category != "spec" {
                        changed.insert(key);
                    }
                }
            }
        }
        store(view, &images, &changed).await?;
        insert(view, &rows).await
    }
}

fn add<'a>(rows: &mut Vec<Row<'a>>, entry: &'a Entry, workspace: &str, image: &'a str, told: Vec<Told>) {
    rows.extend((0..).zip(told).map(|(idx, told)| Row {
        position: entry.position.as_i64(),
        idx,
        kind: told.kind,
        workspace: workspace.to_owned(),
        image,
        time_ms: entry.envelope.time_ms,
        traceparent: &entry.envelope.traceparent,
        data: told.data,
        content: told.content,
    }));
}

async fn load<'a>(view: &mut SqliteConnection, batch: &'a [Entry]) -> Result<BTreeMap<&'a str, Image>, ViewError> {
    let about_images = batch
        .iter()
        .filter(|entry| events::is_about_image(&entry.stream.category));
    let ids: BTreeSet<&str> = about_images.map(|entry| entry.stream.key.as_str()).collect();
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT id, state FROM image WHERE id IN (SELECT value FROM json_each(?))")
            .bind(serde_json::to_string(&ids)?)
            .fetch_all(view)
            .await?;
    let mut images = BTreeMap::new();
    for (id, state) in rows {
        if let Some(id) = ids.get(id.as_str()) {
            images.insert(*id, serde_json::from_str(&state)?);
        }
    }
    Ok(images)
}

async fn store(
    view: &mut SqliteConnection,
    images: &BTreeMap<&str, Image>,
    changed: &BTreeSet<&str>,
) -> Result<(), ViewError> {
    if changed.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::with_capacity(changed.len());
    for id in changed {
        if let Some(image) = images.get(id) {
            rows.push((*id, serde_json::to_string(image)?));
        }
    }
    let then = "ON CONFLICT (id) DO UPDATE SET state = excluded.state";
    eventlog::insert(view, "INSERT INTO image", &rows, then, |row, (id, state)| {
        row.push_bind(id).push_bind(state);
    })
    .await
}

async fn insert(view: &mut SqliteConnection, rows: &[Row<'_>]) -> Result<(), ViewError> {
    eventlog::insert(view, "INSERT INTO event", rows, "", |row, event| {
        row.push_bind(event.position)
            .push_bind(event.idx)
            .push_bind(event.kind)
            .push_bind(&event.workspace)
            .push_bind(event.image)
            .push_bind(event.time_ms)
            .push_bind(event.traceparent)
            .push_bind(&event.data)
            .push_bind(&event.content);
    })
    .await
}

/// Behind which event something goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) position: Position,
    index: u32,
}

impl Place {
    pub(crate) fn of(position: Position, index: u32) -> Self {
        Self { position, index }
    }

    /// Behind all events of an entry.
    pub(crate) fn end(position: Position) -> Self {
        Self::of(position, u32::MAX)
    }

    /// Reads `8812.0`.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let (position, index) = id.split_once('.')?;
        Some(Self::of(Position(position.parse().ok()?), index.parse().ok()?))
    }
}

impl From<&FeedEvent> for Place {
    fn from(event: &FeedEvent) -> Self {
        Self::of(Position(event.position), event.index)
    }
}

/// Whose events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Visible(Visible),
    Image { id: String, sees_grants: bool },
}

/// Whom an image is shared with is told to fewer than what happens to it.
fn is_of_grants(kind: &str) -> bool {
    matches!(kind, "access.granted" | "access.revoked")
}

impl Scope {
    pub(crate) fn holds(&self, event: &FeedEvent) -> bool {
        match self {
            Self::All => true,
            Self::Visible(visible) => match visible.right(&event.workspace, &event.image) {
                Some(right) => {
                    !is_of_grants(&event.kind) || right >= Right::Manage || visible.is_inside(&event.workspace)
                }
                None => false,
            },
            Self::Image { id, sees_grants } => event.image == *id && (*sees_grants || !is_of_grants(&event.kind)),
        }
    }
}

/// Reads the events. The references in them are given `registry`, the host of the cluster's own.
#[derive(Clone)]
pub(crate) struct Events {
    pub(crate) view: View,
    registry: String,
}

type EventRow = (i64, u32, String, String, String, i64, String, String);

impl Events {
    pub(crate) fn new(view: &View, registry: &str) -> Self {
        Self {
            view: view.clone(),
            registry: registry.to_owned(),
        }
    }

    /// The first `limit` events behind a place, up to a position.
    pub(crate) async fn after(
        &self,
        place: Place,
        through: Position,
        scope: &Scope,
        limit: usize,
    ) -> sqlx::Result<Vec<FeedEvent>> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT position, idx, type, workspace, image, time_ms, traceparent, iif(content = '', data,
             json_insert(data, '$.reference', iif(substr(content, 1, 1) = '/', ",
        );
        query
            .push_bind(&self.registry)
            .push(" || content, content))) FROM event WHERE (position, idx) > (");
        query
            .push_bind(place.position.as_i64())
            .push(", ")
            .push_bind(place.index);
        query.push(") AND position <= ").push_bind(through.as_i64());
        match scope {
            Scope::All => (),
            Scope::Visible(visible) => {
                if let Some(workspaces) = visible.workspaces() {
                    query
                        .push(" AND (workspace IN (SELECT value FROM json_each(")
                        .push_bind(workspaces.collect::<Value>().to_string())
                        .push(")) OR image IN (SELECT value FROM json_each(")
                        .push_bind(visible.shared().collect::<Value>().to_string())
                        .push(")))");
                }
            }
            Scope::Image { id, .. } => {
                query.push(" AND image = ").push_bind(id);
            }
        }
        query
            .push(" ORDER BY position, idx LIMIT ")
            .push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows: Vec<EventRow> = query.build_query_as().fetch_all(self.view.rows()).await?;
        Ok(rows.into_iter().map(event).collect())
    }
}

fn event((position, index, kind, workspace, image, time_ms, traceparent, data): EventRow) -> FeedEvent {
    FeedEvent {
        position: Position::from_i64(position).0,
        index,
        kind,
        workspace,
        image,
        time_ms,
        traceparent,
        data,
    }
}
