//! Tiles, workspaces, names and history, as the log tells them.
//!
//! A batch loads the tiles that it touches, folds them in memory, and writes them back with one statement.

mod as_of;
mod audit;
mod grants;
mod history;
mod kept;
mod queries;
mod telling;
mod tile;

pub(crate) use as_of::{Past, as_of};
pub(crate) use audit::{Question, ask};
pub(crate) use grants::grants;
pub(crate) use history::{HistoryRow, KINDS, image_history};
pub(crate) use kept::{AsOf, fold, until, until_of};
pub(crate) use queries::{Filter, NameState, name_state, owned, released_names, tile, tiles, tiles_after, workspaces};
pub(crate) use tile::Tile;

use async_trait::async_trait;
use eventlog::{Entry, Projection, ViewError, insert};
use proto::{
    catalog::v1::Role,
    events::{NameEvent, WorkspaceEvent},
};
use sqlx::SqliteConnection;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};
use telling::Telling;

pub(crate) struct CatalogProjection;

const TILES: &str = "
    CREATE TABLE image (id TEXT PRIMARY KEY, workspace TEXT NOT NULL, name TEXT NOT NULL, status INTEGER NOT NULL,
        deleted INTEGER NOT NULL, position INTEGER NOT NULL, tile TEXT NOT NULL);
    CREATE INDEX image_name ON image (name, id) WHERE deleted = 0;
    CREATE INDEX image_workspace ON image (workspace, name, id) WHERE deleted = 0;
    CREATE INDEX image_position ON image (position);

    CREATE TABLE workspace (id TEXT PRIMARY KEY, name TEXT NOT NULL, actor TEXT NOT NULL, time_ms INTEGER NOT NULL,
        version INTEGER NOT NULL);
    CREATE TABLE member (workspace TEXT NOT NULL, user TEXT NOT NULL, role INTEGER NOT NULL,
        PRIMARY KEY (workspace, user)) WITHOUT ROWID;
    CREATE INDEX member_user ON member (user);

    CREATE TABLE name (key TEXT PRIMARY KEY, registry TEXT NOT NULL, path TEXT NOT NULL, state INTEGER NOT NULL,
        workspace TEXT NOT NULL, cause INTEGER NOT NULL, traceparent TEXT NOT NULL);
    CREATE INDEX name_path ON name (path, registry);
    CREATE INDEX name_released ON name (state) WHERE state = 4;
";

/// Whatever changes a tile.
pub(crate) const READS: &[&str] = &["workspace", "image", "name", "access", "spec", "builds", "repository"];

#[async_trait]
impl Projection for CatalogProjection {
    fn name(&self) -> &'static str {
        "catalog"
    }

    fn schema(&self) -> &'static str {
        static SCHEMA: LazyLock<String> = LazyLock::new(|| format!("{TILES}{}", history::SCHEMA));
        &SCHEMA
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "workspace",
            "image",
            "name",
            "access",
            "spec",
            "builds",
            "repository",
            "refusal",
        ]
    }

    fn keeps(&self) -> &'static [&'static str] {
        &["workspace", "image", "name", "access", "checkpoint"]
    }

    async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError> {
        let tiles = load(view, batch).await?;
        let mut telling = Telling::new(view, batch, tiles).await?;
        for entry in batch {
            match entry.stream.category.as_str() {
                "image" | "spec" | "builds" | "repository" | "access" => telling.about_image(entry)?,
                "name" => {
                    for event in entry.events::<NameEvent>()? {
                        telling.names.push(Name::of(entry, &event));
                    }
                }
                "workspace" => {
                    for (index, event) in entry.events::<WorkspaceEvent>()?.into_iter().enumerate() {
                        telling.about_workspace(entry, index, &event);
                        workspace(view, entry, event).await?;
                    }
                }
                "refusal" => telling.refusals(entry)?,
                _ => (),
            }
        }
        store(view, &telling.tiles, &telling.touched).await?;
        Name::store(view, &telling.names).await?;
        history::store(view, telling.first, &telling.told, &telling.saved).await?;
        audit::seal(view, telling.first, telling.next_row()).await
    }
}

/// The tiles of all images that a batch is about.
async fn load(view: &mut SqliteConnection, batch: &[Entry]) -> Result<BTreeMap<String, Tile>, ViewError> {
    let about_images = batch.iter().filter(|entry| {
        matches!(
            entry.stream.category.as_str(),
            "image" | "spec" | "builds" | "repository" | "access"
        )
    });
    let ids: BTreeSet<&str> = about_images.map(|entry| entry.stream.key.as_str()).collect();
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT id, tile FROM image WHERE id IN (SELECT value FROM json_each(?))")
            .bind(serde_json::to_string(&ids)?)
            .fetch_all(view)
            .await?;
    let parse = |(id, tile): (String, String)| Ok((id, serde_json::from_str(&tile)?));
    rows.into_iter().map(parse).collect()
}

async fn store(
    view: &mut SqliteConnection,
    tiles: &BTreeMap<String, Tile>,
    touched: &BTreeSet<String>,
) -> Result<(), ViewError> {
    let mut rows = Vec::with_capacity(touched.len());
    for id in touched {
        // An entry about an image that was never created is nobody's.
        if let Some(tile) = tiles.get(id).filter(|tile| !tile.workspace.is_empty()) {
            rows.push((id, tile, serde_json::to_string(tile)?));
        }
    }
    let then = "ON CONFLICT (id) DO UPDATE SET name = excluded.name, status = excluded.status,
        deleted = excluded.deleted, position = excluded.position, tile = excluded.tile";
    insert(view, "INSERT INTO image", &rows, then, |row, (id, tile, text)| {
        row.push_bind(id)
            .push_bind(&tile.workspace)
            .push_bind(tile.sort_name())
            .push_bind(tile.status() as i32)
            .push_bind(tile.deleted)
            .push_bind(tile.position.cast_signed())
            .push_bind(text);
    })
    .await
}

/// A row of `name`; `state` as in [`NameState`].
struct Name {
    key: String,
    registry: String,
    path: String,
    state: i32,
    workspace: String,
    cause: i64,
    traceparent: String,
}

impl Name {
    fn of(entry: &Entry, event: &NameEvent) -> Self {
        let (registry, path, workspace, state) = match event {
            NameEvent::Taken(event) => (
                event.registry.clone(),
                event.path.clone(),
                event.workspace.unwrap_or_default().to_string(),
                NameState::Held,
            ),
            NameEvent::Kept(_) => (String::new(), String::new(), String::new(), NameState::Kept),
            NameEvent::Releasing(_) => (String::new(), String::new(), String::new(), NameState::Releasing),
            NameEvent::Released(_) => (String::new(), String::new(), String::new(), NameState::Free),
        };
        Self {
            key: entry.stream.key.clone(),
            registry,
            path,
            state: state as i32,
            workspace,
            cause: entry.position.as_i64(),
            traceparent: entry.envelope.traceparent.clone(),
        }
    }

    /// The registry-pusher says that nothing is left there.
    fn released(entry: &Entry, registry: &str, path: &str) -> Self {
        Self {
            key: crate::domain::NameKey::of(&format!("{registry}/{path}")).to_string(),
            registry: registry.to_owned(),
            path: path.to_owned(),
            state: NameState::Emptied as i32,
            workspace: String::new(),
            cause: entry.position.as_i64(),
            traceparent: entry.envelope.traceparent.clone(),
        }
    }

    /// In order: what a name was called stays, and only one that is being released can be emptied.
    async fn store(view: &mut SqliteConnection, names: &[Self]) -> Result<(), ViewError> {
        let then = "ON CONFLICT (key) DO UPDATE SET state = excluded.state, cause = excluded.cause,
             traceparent = excluded.traceparent,
             workspace = iif(excluded.workspace = '', name.workspace, excluded.workspace)
             WHERE excluded.state <> 4 OR name.state = 3";
        insert(view, "INSERT INTO name", names, then, |row, name| {
            row.push_bind(&name.key)
                .push_bind(&name.registry)
                .push_bind(&name.path)
                .push_bind(name.state)
                .push_bind(&name.workspace)
                .push_bind(name.cause)
                .push_bind(&name.traceparent);
        })
        .await
    }
}

async fn workspace(view: &mut SqliteConnection, entry: &Entry, event: WorkspaceEvent) -> Result<(), ViewError> {
    let id = &entry.stream.key;
    let set_role = |user: String, role: i32| {
        sqlx::query("INSERT INTO member VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET role = excluded.role")
            .bind(id)
            .bind(user)
            .bind(role)
    };
    let statement = match event {
        WorkspaceEvent::Created(event) => {
            sqlx::query("INSERT INTO workspace VALUES (?, ?, ?, ?, 0)")
                .bind(id)
                .bind(event.name)
                .bind(&entry.envelope.actor)
                .bind(entry.envelope.time_ms)
                .execute(&mut *view)
                .await?;
            set_role(event.owner, Role::Owner as i32)
        }
        WorkspaceEvent::MemberAdded(event) => set_role(event.user, event.role),
        WorkspaceEvent::MemberRoleSet(event) => set_role(event.user, event.role),
        WorkspaceEvent::MemberRemoved(event) => sqlx::query("DELETE FROM member WHERE workspace = ? AND user = ?")
            .bind(id)
            .bind(event.user),
    };
    statement.execute(&mut *view).await?;
    sqlx::query("UPDATE workspace SET version = ? WHERE id = ?")
        .bind(entry.position.as_i64())
        .bind(id)
        .execute(view)
        .await?;
    Ok(())
}
