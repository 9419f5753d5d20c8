//! Whom an image is shared with.

use ids::WorkspaceId;
use proto::catalog::v1::{Everyone, Grantee as Message, grantee::Kind};
use std::{fmt, str::FromStr};

/// A user, the members of a workspace, or whoever is signed in.
///
/// As text, which is its key in views and what people type, it is `everyone`, `workspace:ws_...` or `user:bob`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    User(String),
    Workspace(WorkspaceId),
    Everyone,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a user, a workspace's id (`ws_...`), or everyone")]
pub struct NoGrantee;

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user:{user}"),
            Self::Workspace(workspace) => write!(f, "workspace:{workspace}"),
            Self::Everyone => f.write_str("everyone"),
        }
    }
}

impl Grantee {
    /// For sentences: a user is called by the name alone.
    pub fn words(&self) -> String {
        match self {
            Self::User(user) => user.clone(),
            Self::Workspace(workspace) => format!("workspace {workspace}"),
            Self::Everyone => "everyone".to_owned(),
        }
    }
}

impl FromStr for Grantee {
    type Err = NoGrantee;

    fn from_str(text: &str) -> Result<Self, NoGrantee> {
        match text.split_once(':') {
            None if text == "everyone" => Ok(Self::Everyone),
            Some(("workspace", id)) => id.parse().map(Self::Workspace).map_err(|_| NoGrantee),
            Some(("user", user)) if !user.is_empty() => Ok(Self::User(user.to_owned())),
            _ => Err(NoGrantee),
        }
    }
}

impl TryFrom<Option<&Message>> for Grantee {
    type Error = NoGrantee;

    fn try_from(message: Option<&Message>) -> Result<Self, NoGrantee> {
        match message.and_then(|message| message.kind.as_ref()) {
            Some(Kind::User(user)) if !user.is_empty() => Ok(Self::User(user.clone())),
            Some(Kind::Workspace(id)) => id.parse().map(Self::Workspace).map_err(|_| NoGrantee),
            Some(Kind::Everyone(Everyone {})) => Ok(Self::Everyone),
            _ => Err(NoGrantee),
        }
    }
}

impl From<&Grantee> for Message {
    fn from(grantee: &Grantee) -> Self {
        let kind = match grantee {
            Grantee::User(user) => Kind::User(user.clone()),
            Grantee::Workspace(workspace) => Kind::Workspace(workspace.to_string()),
            Grantee::Everyone => Kind::Everyone(Everyone {}),
        };
        Self { kind: Some(kind) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers R123
    #[test]
    fn a_grantee_is_read_as_it_is_written() {
        for grantee in [
            Grantee::Everyone,
            Grantee::User("everyone".to_owned()),
            Grantee::User("ada:b@example.org".to_owned()),
            Grantee::Workspace(WorkspaceId::default()),
        ] {
            assert_eq!(grantee.to_string().parse(), Ok(grantee.clone()));
            assert_eq!(Grantee::try_from(Some(&Message::from(&grantee))), Ok(grantee));
        }
        for nobody in ["", "user:", "workspace:vision", "bob"] {
            assert_eq!(nobody.parse::<Grantee>(), Err(NoGrantee), "{nobody}");
        }
    }
}
