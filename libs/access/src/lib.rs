//! Who may do what: the one rule that every service asks, as a view of the log.
//!
//! What one may not see looks exactly like what does not exist.

mod asked;
mod grantee;
mod name;
mod projection;
mod visible;

pub use asked::{Asked, asking, asks};
pub use grantee::{Grantee, NoGrantee};
pub use name::{MalformedName, Name, is_tag};
pub use projection::AccessProjection;
pub use proto::catalog::v1::{Right, Role};
pub use visible::Visible;

use eventlog::{Behind, Position, View};
use ids::{ImageId, WorkspaceId};
use lru::LruCache;
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Grants that reach the user ?1.
macro_rules! to_user {
    () => {
        "(grantee IN ('everyone', 'user:' || ?1)
          OR grantee IN (SELECT 'workspace:' || workspace FROM member WHERE user = ?1))"
    };
}

/// Images that were found are remembered, because a query costs two thread hops.
const FOUND: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// As many workspaces of one name are told.
const AMBIGUOUS_TOLD: i64 = 10;
const USER_LENGTH_MAX: usize = 255;

/// Whether this can be a user: what a token calls its owner, in one word. What the platform does by itself, it does as
/// `system:...`.
pub fn is_user(text: &str) -> bool {
    let length = text.chars().count();
    (1..=USER_LENGTH_MAX).contains(&length)
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        && !text.starts_with("system:")
}

/// What is said of a user that can be none.
pub const MALFORMED_USER: &str =
    "a user is 1 to 255 characters, without spaces and control characters, and does not begin with `system:`";

/// Who calls, as the token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub user: String,
    /// A platform administrator sees everything and builds nothing.
    pub admin: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// Absent, or not visible: the same for both.
    #[error("no such image, or it is not shared with you")]
    NoSuchImage,
    #[error("no such workspace, or you are not a member of it")]
    NoSuchWorkspace,
    #[error("several of your workspaces are called `{name}`, use an id: {ids}")]
    AmbiguousWorkspace { name: String, ids: String },
    #[error("only an owner of the workspace may do this")]
    OwnerOnly,
    #[error("you may see this image but not change it, ask for write access")]
    NeedsWrite,
    #[error("you may not share this image, ask for manage access")]
    NeedsManage,
    #[error("only members of the image's workspace may do this")]
    MembersOnly,
    #[error("only an administrator of the platform may do this")]
    AdminOnly,
    /// Nobody knows who may do what by now.
    #[error(transparent)]
    Behind(#[from] Behind),
    #[error("the rights can't be read")]
    Unreadable(#[from] sqlx::Error),
}

/// An image that the caller may see, and what it may do with it.
#[derive(Debug, Clone)]
pub struct Located {
    pub image: ImageId,
    pub workspace: WorkspaceId,
    pub name: Name,
    pub right: Right,
    /// In its workspace, whatever else the caller may.
    pub is_member: bool,
    pub deleted: bool,
}

/// The rule, over a view of all workspaces, members and images.
#[derive(Clone)]
pub struct Access {
    view: View,
    internal_registry: String,
    found: Arc<Mutex<Found>>,
}

/// What users found under what they wrote, as long as the rows stay the same.
struct Found {
    at: (u64, Position),
    /// What is not there, too: it must not take longer than what may not be seen.
    rows: LruCache<(String, String), Option<ImageRow>>,
}

#[derive(Clone, sqlx::FromRow)]
struct ImageRow {
    id: String,
    workspace: String,
    registry: String,
    path: String,
    primary_tag: String,
    deleted: bool,
    role: Option<i32>,
    granted: Option<i32>,
}

impl Located {
    /// Whom it is shared with, and who could do what with it before, is told to whoever may manage it, to the members of its
    /// workspace, and to administrators.
    pub fn sees_grants(&self, caller: &Caller) -> bool {
        self.right >= Right::Manage || self.is_member || caller.admin
    }
}

impl Access {
    /// `internal_registry` is the `host[:port]` that stands for the cluster's own registry in a name.
    pub fn new(view: View, internal_registry: &str) -> Self {
        Self {
            view,
            internal_registry: internal_registry.to_owned(),
            found: Arc::new(Mutex::new(Found {
                at: <_>::default(),
                rows: LruCache::new(FOUND),
            })),
        }
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    pub fn internal_registry(&self) -> &str {
        &self.internal_registry
    }

    /// Finds a live image by id or name, and demands a right.
    pub async fn image(&self, caller: &Caller, reference: &str, needed: Right) -> Result<Located, Denied> {
        if needed != Right::Read {
            self.view.keeps_up()?;
        }
        let located = self.any_image(caller, reference).await?;
        if located.deleted {
            return Err(Denied::NoSuchImage);
        }
        demand(&located, needed)?;
        Ok(located)
    }

    /// The same for reading what happened: deleted images count, by id, or by name as long as no live one has it.
    pub async fn any_image(&self, caller: &Caller, reference: &str) -> Result<Located, Denied> {
        asked::asks(caller, reference);
        self.view.goes_on()?;
        let row = self.row(&caller.user, reference).await?;
        let (Ok(image), Ok(workspace)) = (row.id.parse(), row.workspace.parse()) else {
            return Err(Denied::NoSuchImage);
        };
        asked::finds(image, workspace);
        // Grants end with the image.
        let granted = row.granted.filter(|_| !row.deleted).and_then(right);
        let least = caller.admin.then_some(Right::Read);
        let right = right_of(row.role.and_then(role), granted)
            .max(least)
            .ok_or(Denied::NoSuchImage)?;
        Ok(Located {
            image,
            workspace,
            name: Name {
                registry: row.registry,
                path: row.path,
                primary_tag: row.primary_tag,
            },
            right,
            is_member: row.role.is_some(),
            deleted: row.deleted,
        })
    }

    async fn row(&self, user: &str, reference: &str) -> Result<ImageRow, Denied> {
        // Asked before the rows are: what changes in between is forgotten at once.
        let at = self.view.changed();
        let key = (user.to_owned(), reference.to_owned());
        let found = self.found(at).rows.get(&key).cloned();
        let row = if let Some(row) = found {
            row
        } else {
            let row = self.find(user, reference).await?;
            self.found(at).rows.put(key, row.clone());
            row
        };
        row.ok_or(Denied::NoSuchImage)
    }

    fn found(&self, at: (u64, Position)) -> MutexGuard<'_, Found> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.at != at {
            found.at = at;
            found.rows.clear();
        }
        found
    }

    async fn find(&self, user: &str, reference: &str) -> Result<Option<ImageRow>, Denied> {
        let by_id = reference.parse::<ImageId>();
        let name = Name::parse(reference, &self.internal_registry);
        let (condition, first, second) = match (&by_id, &name) {
            (Ok(id), _) => ("image.id = ?2 AND ?3 = ''", id.to_string(), String::new()),
            (_, Ok(name)) => (
                "image.registry = ?2 AND image.path = ?3",
                name.registry.clone(),
                name.path.clone(),
            ),
            _ => return Ok(None),
        };
        let row = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT image.*, member.role,
                 (SELECT max(right) FROM access WHERE access.image = image.id AND {}) AS granted
             FROM image LEFT JOIN member ON member.workspace = image.workspace AND member.user = ?1
             WHERE {condition}
             ORDER BY image.deleted, member.role IS NULL, image.position DESC LIMIT 1",
            to_user!()
        )))
        .bind(user)
        .bind(first)
        .bind(second)
        .fetch_optional(self.view.rows())
        .await?;
        Ok(row)
    }

    /// Finds a workspace by id, or by a name that only one of the caller's workspaces has, and demands a role.
    pub async fn workspace(&self, caller: &Caller, reference: &str, needed: Role) -> Result<WorkspaceId, Denied> {
        asked::asks(caller, reference);
        if needed == Role::Owner {
            self.view.keeps_up()?;
        }
        self.view.goes_on()?;
        let rows: Vec<(String, Option<i32>)> = sqlx::query_as(
            "SELECT workspace.id, member.role FROM workspace
             LEFT JOIN member ON member.workspace = workspace.id AND member.user = ?1
             WHERE (workspace.id = ?2 OR workspace.name = ?2) AND (member.role IS NOT NULL OR ?3)
             ORDER BY workspace.id = ?2 DESC, workspace.id LIMIT ?4",
        )
        .bind(&caller.user)
        .bind(reference)
        .bind(caller.admin)
        .bind(AMBIGUOUS_TOLD)
        .fetch_all(self.view.rows())
        .await?;
        let (id, role) = match &rows[..] {
            [] => return Err(Denied::NoSuchWorkspace),
            [one] => one,
            [first, ..] if first.0 == reference => first,
            several => {
                let ids: Vec<&str> = several.iter().map(|(id, _)| id.as_str()).collect();
                return Err(Denied::AmbiguousWorkspace {
                    name: reference.to_owned(),
                    ids: ids.join(", "),
                });
            }
        };
        asked::finds_workspace(id);
        if needed == Role::Owner && *role != Some(Role::Owner as i32) {
            return Err(Denied::OwnerOnly);
        }
        id.parse().map_err(|_| Denied::NoSuchWorkspace)
    }

    /// Finds a workspace of which the caller is a member, whatever else it may see.
    pub async fn membership(&self, caller: &Caller, reference: &str) -> Result<WorkspaceId, Denied> {
        let caller = Caller {
            admin: false,
            ..caller.clone()
        };
        self.workspace(&caller, reference, Role::Participant).await
    }

    /// Whether a user is an owner of a workspace now: what a build is judged by.
    pub async fn is_owner(&self, user: &str, workspace: WorkspaceId) -> Result<bool, Denied> {
        self.view.keeps_up()?;
        let role: Option<i32> = sqlx::query_scalar("SELECT role FROM member WHERE workspace = ? AND user = ?")
            .bind(workspace.to_string())
            .bind(user)
            .fetch_optional(self.view.rows())
            .await?;
        Ok(role == Some(Role::Owner as i32))
    }

    /// What the caller may see, and what it may do with it.
    pub async fn visible(&self, caller: &Caller) -> Result<Visible, Denied> {
        self.view.goes_on()?;
        let roles: Vec<(String, i32)> = sqlx::query_as("SELECT workspace, role FROM member WHERE user = ?")
            .bind(&caller.user)
            .fetch_all(self.view.rows())
            .await?;
        let grants: Vec<(String, String, i32)> = sqlx::query_as(concat!(
            "SELECT image.id, image.workspace, max(right) FROM access JOIN image ON image.id = access.image WHERE ",
            to_user!(),
            " GROUP BY image.id"
        ))
        .bind(&caller.user)
        .fetch_all(self.view.rows())
        .await?;
        Ok(Visible::new(caller.admin, roles, grants))
    }
}

/// The table of rights: a participant reads and writes, an owner does everything, and who was granted a right has it. An
/// administrator reads besides.
pub fn right_of(role: Option<Role>, granted: Option<Right>) -> Option<Right> {
    let member = match role {
        Some(Role::Owner) => Some(Right::Owner),
        Some(Role::Participant) => Some(Right::Write),
        Some(Role::Unspecified) | None => None,
    };
    member.max(granted)
}

fn role(number: i32) -> Option<Role> {
    Role::try_from(number).ok()
}

fn right(number: i32) -> Option<Right> {
    Right::try_from(number).ok()
}

fn demand(located: &Located, needed: Right) -> Result<(), Denied> {
    if located.right >= needed {
        return Ok(());
    }
    Err(match needed {
        Right::Owner => Denied::OwnerOnly,
        Right::Manage => Denied::NeedsManage,
        Right::Write | Right::Read | Right::Unspecified => Denied::NeedsWrite,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers R8
    #[test]
    fn a_right_is_the_most_of_role_and_grant() {
        let participant = Some(Role::Participant);
        assert_eq!(right_of(None, None), None);
        assert_eq!(right_of(Some(Role::Owner), Some(Right::Read)), Some(Right::Owner));
        assert_eq!(right_of(participant, Some(Right::Read)), Some(Right::Write));
        assert_eq!(right_of(participant, Some(Right::Manage)), Some(Right::Manage));
        assert_eq!(right_of(None, Some(Right::Manage)), Some(Right::Manage));
    }
}
