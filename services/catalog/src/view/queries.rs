//! What the calls ask of the view.

use super::Tile;
use access::Visible;
use eventlog::{Position, View};
use proto::catalog::v1::{ImageStatus, Member, Role, Workspace};
use service::timestamp;

/// How a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameState {
    Free = 0,
    Held = 1,
    Kept = 2,
    Releasing = 3,
    /// Its content is gone, and nobody has said yet that it is free.
    Emptied = 4,
}

pub(crate) struct ReleasedName {
    pub(crate) key: String,
    pub(crate) cause: Position,
    pub(crate) traceparent: String,
}

pub(crate) async fn released_names(view: &View) -> sqlx::Result<Vec<ReleasedName>> {
    let rows: Vec<(String, i64, String)> =
        sqlx::query_as("SELECT key, cause, traceparent FROM name WHERE state = 4 ORDER BY cause")
            .fetch_all(view.rows())
            .await?;
    let released = |(key, cause, traceparent)| ReleasedName {
        key,
        cause: Position::from_i64(cause),
        traceparent,
    };
    Ok(rows.into_iter().map(released).collect())
}

/// How a name stands, and the workspace that keeps it.
pub(crate) async fn name_state(view: &View, key: &str) -> sqlx::Result<(NameState, String)> {
    let row: Option<(i32, String)> = sqlx::query_as("SELECT state, workspace FROM name WHERE key = ?")
        .bind(key)
        .fetch_optional(view.rows())
        .await?;
    let (state, workspace) = row.unwrap_or_default();
    let state = match state {
        0 => NameState::Free,
        1 => NameState::Held,
        2 => NameState::Kept,
        3 => NameState::Releasing,
        _ => NameState::Emptied,
    };
    Ok((state, workspace))
}

pub(crate) async fn tile(view: &View, image: &str) -> anyhow::Result<Option<Tile>> {
    let row: Option<String> = sqlx::query_scalar("SELECT tile FROM image WHERE id = ?")
        .bind(image)
        .fetch_optional(view.rows())
        .await?;
    Ok(row.as_deref().map(serde_json::from_str).transpose()?)
}

/// Which tiles to list.
pub(crate) struct Filter {
    pub(crate) visible: Visible,
    pub(crate) statuses: Vec<ImageStatus>,
    pub(crate) name_contains: String,
}

/// Live tiles by name, those after a (name, id).
pub(crate) async fn tiles(
    view: &View,
    filter: &Filter,
    after: &(String, String),
    limit: i64,
) -> anyhow::Result<Vec<Tile>> {
    let statuses: Vec<i32> = filter.statuses.iter().map(|status| *status as i32).collect();
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT tile FROM image WHERE deleted = 0 AND (name, id) > (?1, ?2)
         AND (?3 IS NULL OR workspace IN (SELECT value FROM json_each(?3)) OR id IN (SELECT value FROM json_each(?4)))
         AND (?5 = '[]' OR status IN (SELECT value FROM json_each(?5)))
         AND instr(name, ?6) > 0 ORDER BY name, id LIMIT ?7",
    )
    .bind(&after.0)
    .bind(&after.1)
    .bind(filter.visible.workspaces().map(to_json))
    .bind(to_json(filter.visible.shared()))
    .bind(serde_json::to_string(&statuses)?)
    .bind(&filter.name_contains)
    .bind(limit)
    .fetch_all(view.rows())
    .await?;
    rows.iter().map(|tile| Ok(serde_json::from_str(tile)?)).collect()
}

fn to_json<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    ids.collect::<serde_json::Value>().to_string()
}

/// Tiles of a workspace that changed after a position, deleted ones too, oldest change first.
pub(crate) async fn tiles_after(
    view: &View,
    workspace: &str,
    after: Position,
    limit: i64,
) -> anyhow::Result<Vec<Tile>> {
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT tile FROM image WHERE position > ? AND workspace = ? ORDER BY position LIMIT ?")
            .bind(after.as_i64())
            .bind(workspace)
            .bind(limit)
            .fetch_all(view.rows())
            .await?;
    rows.iter().map(|tile| Ok(serde_json::from_str(tile)?)).collect()
}

/// Workspaces with their members, by id. `user`: only where that user is a member. `only`: just this one.
pub(crate) async fn workspaces(
    view: &View,
    user: Option<&str>,
    only: Option<&str>,
    after: &str,
    limit: i64,
) -> anyhow::Result<Vec<Workspace>> {
    #[derive(serde::Deserialize)]
    struct Row {
        user: String,
        role: i32,
    }
    let rows: Vec<(String, String, String, i64, i64, String)> = sqlx::query_as(
        "SELECT id, name, actor, time_ms, version,
             (SELECT json_group_array(json_object('user', user, 'role', role)) FROM
                 (SELECT user, role FROM member WHERE workspace = id ORDER BY user))
         FROM workspace WHERE id > ?1 AND (?2 IS NULL OR id = ?2)
         AND (?3 IS NULL OR EXISTS (SELECT 1 FROM member WHERE workspace = id AND user = ?3))
         ORDER BY id LIMIT ?4",
    )
    .bind(after)
    .bind(only)
    .bind(user)
    .bind(limit)
    .fetch_all(view.rows())
    .await?;
    let parse = |(id, name, actor, time_ms, version, members): (String, String, String, i64, i64, String)| {
        let members: Vec<Row> = serde_json::from_str(&members)?;
        Ok(Workspace {
            id,
            name,
            created: Some(proto::catalog::v1::Mark {
                actor,
                time: timestamp(time_ms),
            }),
            members: members
                .into_iter()
                .map(|Row { user, role }| Member { user, role })
                .collect(),
            version: version.cast_unsigned(),
        })
    };
    rows.into_iter().map(parse).collect()
}

/// Another workspace of this name that the user owns.
pub(crate) async fn owned(view: &View, user: &str, name: &str, except: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "SELECT id FROM member JOIN workspace ON id = workspace
         WHERE user = ? AND role = ? AND name = ? AND id <> ? LIMIT 1",
    )
    .bind(user)
    .bind(Role::Owner as i32)
    .bind(name)
    .bind(except)
    .fetch_optional(view.rows())
    .await
}
