//! `cooper share` and `cooper acl`.

use super::AsOf;
use crate::reference::Reference;
use clap::{Args, Subcommand, ValueEnum};
use proto::catalog::v1::{Everyone, Grantee, Right, grantee::Kind};
use std::str::FromStr;

#[derive(Debug, Args)]
pub(crate) struct ShareArgs {
    /// By name, address or id.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Reference,
    /// A user; or workspace:NAME for all its members, ws_... for those of a workspace that is not yours, or everyone.
    #[arg(value_name = "USER")]
    pub(crate) with: Who,
    /// What they may do with it.
    #[arg(value_name = "RIGHT", value_enum)]
    pub(crate) right: RightWord,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AclCommand {
    /// List whom an image is shared with.
    #[command(visible_alias = "list")]
    Ls {
        /// By name, address or id.
        #[arg(value_name = "IMAGE")]
        image: Reference,
    },
    /// Share an image no more.
    Revoke {
        /// By name, address or id.
        #[arg(value_name = "IMAGE")]
        image: Reference,
        /// A user, workspace:NAME, ws_..., or everyone.
        #[arg(value_name = "USER")]
        from: Who,
    },
    /// Tell who may do what with an image and why: members of its workspace, and whom it is shared with.
    Check {
        /// By name, address or id.
        #[arg(value_name = "IMAGE")]
        image: Reference,
        /// Only what this user may do [default: everybody].
        #[arg(value_name = "USER", value_parser = user)]
        user: Option<String>,
        /// As it was then: a time (2026-11-20, 2026-11-20T13:00Z, 2h for two hours ago) or a position of the log.
        #[arg(long, value_name = "TIME|POSITION")]
        as_of: Option<AsOf>,
    },
}

/// One user, of whom rights can be told.
fn user(text: &str) -> Result<String, String> {
    match text.parse::<Who>()?.0.kind {
        Some(Kind::User(user)) => Ok(user),
        _ => Err("expected a user: without one, everybody is told".to_owned()),
    }
}

/// Whom to share with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Who(pub(crate) Grantee);

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = match text.split_once(':') {
            None if text == "everyone" => Kind::Everyone(Everyone {}),
            None if text.parse::<ids::WorkspaceId>().is_ok() => Kind::Workspace(text.to_owned()),
            Some(("workspace", workspace)) if !workspace.is_empty() => Kind::Workspace(workspace.to_owned()),
            Some(("user", user)) if !user.is_empty() => Kind::User(user.to_owned()),
            _ if text.is_empty() => return Err("expected a user".to_owned()),
            _ => Kind::User(text.to_owned()),
        };
        Ok(Self(Grantee { kind: Some(kind) }))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RightWord {
    /// See, pull and run it.
    Read,
    /// Change it too: edit, rename, tag; not build.
    Write,
    /// Share it too.
    Manage,
}

impl From<RightWord> for Right {
    fn from(word: RightWord) -> Self {
        match word {
            RightWord::Read => Self::Read,
            RightWord::Write => Self::Write,
            RightWord::Manage => Self::Manage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers R122
    #[test]
    fn whom_to_share_with_is_told_by_the_word() {
        let who = |text: &str| text.parse::<Who>().unwrap().0.kind.unwrap();
        assert_eq!(who("bob"), Kind::User("bob".to_owned()));
        assert_eq!(who("auth0|bob:1"), Kind::User("auth0|bob:1".to_owned()));
        assert_eq!(who("user:everyone"), Kind::User("everyone".to_owned()));
        assert_eq!(who("everyone"), Kind::Everyone(Everyone {}));
        assert_eq!(who("workspace:vision"), Kind::Workspace("vision".to_owned()));
        let id = ids::WorkspaceId::default().to_string();
        assert_eq!(who(&id), Kind::Workspace(id));
        assert!("".parse::<Who>().is_err());
        assert_eq!(user("user:bob"), Ok("bob".to_owned()));
        assert!(user("everyone").is_err());
    }
}
