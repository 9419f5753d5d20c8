//! What the log says of workspaces, members, images and whom they are shared with, in four tables.

use crate::Grantee;
use async_trait::async_trait;
use eventlog::{Entry, Projection, ViewError};
use proto::events::{AccessEvent, ImageEvent, WorkspaceEvent};
use serde::Serialize;
use sqlx::SqliteConnection;

pub struct AccessProjection;

const SCHEMA: &str = "
    CREATE TABLE workspace (id TEXT PRIMARY KEY, name TEXT NOT NULL);
    CREATE INDEX workspace_name ON workspace (name);
    CREATE TABLE member (workspace TEXT NOT NULL, user TEXT NOT NULL, role INTEGER NOT NULL,
        PRIMARY KEY (workspace, user)) WITHOUT ROWID;
    CREATE INDEX member_user ON member (user);
    CREATE TABLE image (id TEXT PRIMARY KEY, workspace TEXT NOT NULL, registry TEXT NOT NULL, path TEXT NOT NULL,
        primary_tag TEXT NOT NULL, deleted INTEGER NOT NULL, position INTEGER NOT NULL);
    CREATE INDEX image_name ON image (path, registry);
    CREATE TABLE access (image TEXT NOT NULL, grantee TEXT NOT NULL, right INTEGER NOT NULL,
        PRIMARY KEY (image, grantee)) WITHOUT ROWID;
    CREATE INDEX access_grantee ON access (grantee);
";

/// A new image: most of what there is, so these are written many at a time.
#[derive(Serialize)]
struct Created {
    id: String,
    workspace: String,
    registry: String,
    path: String,
    primary_tag: String,
    position: i64,
}

#[async_trait]
impl Projection for AccessProjection {
    fn name(&self) -> &'static str {
        "access"
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn reads(&self) -> &'static [&'static str] {
        &["workspace", "image", "access"]
    }

    fn ignores(&self, entry: &Entry) -> bool {
        entry.tells_only("image", |event: &ImageEvent| matches!(event, ImageEvent::Described(_)))
    }

    async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError> {
        let mut created = Vec::new();
        for entry in batch {
            match entry.stream.category.as_str() {
                "workspace" => {
                    for event in entry.events()? {
                        workspace(view, &entry.stream.key, event).await?;
                    }
                }
                "image" => {
                    for event in entry.events()? {
                        if let ImageEvent::Created(event) = event {
                            let name = event.name.unwrap_or_default();
                            created.push(Created {
                                id: entry.stream.key.clone(),
                                workspace: event.workspace.unwrap_or_default().to_string(),
                                registry: name.registry,
                                path: name.path,
                                primary_tag: name.primary_tag,
                                position: entry.position.as_i64(),
                            });
                        } else {
                            insert(view, &mut created).await?;
                            image(view, &entry.stream.key, event).await?;
                        }
                    }
                }
                "access" => {
                    insert(view, &mut created).await?;
                    for event in entry.events()? {
                        access(view, &entry.stream.key, event).await?;
                    }
                }
                _ => (),
            }
        }
        insert(view, &mut created).await
    }
}

async fn insert(view: &mut SqliteConnection, created: &mut Vec<Created>) -> Result<(), ViewError> {
    if created.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO image SELECT value->>'id', value->>'workspace', value->>'registry', value->>'path',
         value->>'primary_tag', 0, value->>'position' FROM json_each(?)",
    )
    .bind(serde_json::to_string(created)?)
    .execute(view)
    .await?;
    created.clear();
    Ok(())
}

async fn image(view: &mut SqliteConnection, id: &str, event: ImageEvent) -> Result<(), ViewError> {
    match event {
        ImageEvent::Created(_) | ImageEvent::Described(_) | ImageEvent::Purged(_) => return Ok(()),
        ImageEvent::Renamed(event) => {
            let to = event.to.unwrap_or_default();
            sqlx::query("UPDATE image SET registry = ?, path = ?, primary_tag = ? WHERE id = ?")
                .bind(to.registry)
                .bind(to.path)
                .bind(to.primary_tag)
                .bind(id)
        }
        // Grants end with the image.
        ImageEvent::Deleted(_) => {
            sqlx::query("DELETE FROM access WHERE image = ?1; UPDATE image SET deleted = 1 WHERE id = ?1").bind(id)
        }
    }
    .execute(view)
    .await?;
    Ok(())
}

async fn access(view: &mut SqliteConnection, image: &str, event: AccessEvent) -> Result<(), ViewError> {
    let (grantee, right) = match &event {
        AccessEvent::Granted(event) => (&event.grantee, event.right),
        AccessEvent::Revoked(event) => (&event.grantee, 0),
    };
    // One that nobody is, is nobody's right.
    let Ok(grantee) = Grantee::try_from(grantee.as_ref()) else {
        return Ok(());
    };
    // What is granted after the image's end is void.
    sqlx::query(
        "DELETE FROM access WHERE image = ?1 AND grantee = ?2;
         INSERT INTO access SELECT ?1, ?2, ?3 FROM image WHERE id = ?1 AND deleted = 0 AND ?3 > 0",
    )
    .bind(image)
    .bind(grantee.to_string())
    .bind(right)
    .execute(view)
    .await?;
    Ok(())
}

async fn workspace(view: &mut SqliteConnection, id: &str, event: WorkspaceEvent) -> Result<(), ViewError> {
    let set_role = |user: String, role: i32| {
        sqlx::query("INSERT INTO member VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET role = excluded.role")
            .bind(id.to_owned())
            .bind(user)
            .bind(role)
    };
    let statement = match event {
        WorkspaceEvent::Created(event) => {
            sqlx::query("INSERT INTO workspace VALUES (?, ?)")
                .bind(id)
                .bind(event.name)
                .execute(&mut *view)
                .await?;
            set_role(event.owner, crate::Role::Owner as i32)
        }
        WorkspaceEvent::MemberAdded(event) => set_role(event.user, event.role),
        WorkspaceEvent::MemberRoleSet(event) => set_role(event.user, event.role),
        WorkspaceEvent::MemberRemoved(event) => sqlx::query("DELETE FROM member WHERE workspace = ? AND user = ?")
            .bind(id.to_owned())
            .bind(event.user),
    };
    statement.execute(view).await?;
    Ok(())
}
