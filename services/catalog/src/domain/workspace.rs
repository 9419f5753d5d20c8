//! A workspace: who its members are. It always has an owner.

use aggregate::{Aggregate, Refusal, RefusalKind};
use ids::WorkspaceId;
use proto::{
    catalog::v1::{MemberAdded, MemberRemoved, MemberRoleSet, Role, WorkspaceCreated},
    events::WorkspaceEvent,
};
use std::collections::BTreeMap;

const NAME_LENGTH_MAX: usize = 64;

#[derive(Debug, Clone, Default)]
pub(crate) struct Workspace {
    exists: bool,
    members: BTreeMap<String, Role>,
}

#[derive(Debug, Clone)]
pub(crate) enum WorkspaceCommand {
    Create {
        name: String,
        owner: String,
    },
    /// Only an owner may: judged here, because a right of a moment ago does not count.
    Change {
        by: String,
        change: MemberChange,
    },
    /// Changes nothing: for what only an owner may do elsewhere.
    Confirm {
        owner: String,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum MemberChange {
    Add { user: String, role: Role },
    SetRole { user: String, role: Role },
    Remove { user: String },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WorkspaceRefused {
    #[error("a workspace's name has 1 to {NAME_LENGTH_MAX} characters, no control characters, and no spaces around it")]
    Name,
    #[error("a member needs a user and a role")]
    Member,
    #[error("a workspace with this id exists, choose another id")]
    Exists,
    #[error("no such workspace, or you are not a member of it")]
    NoSuchWorkspace,
    #[error("only an owner of the workspace may do this")]
    OwnerOnly,
    #[error("`{0}` is a member already, change the role instead")]
    IsMember(String),
    #[error("`{0}` is not a member of this workspace")]
    NotMember(String),
    #[error("`{0}` is the last owner, make somebody else an owner first")]
    LastOwner(String),
}

impl Refusal for WorkspaceRefused {
    fn kind(&self) -> RefusalKind {
        match self {
            Self::Name | Self::Member => RefusalKind::InvalidInput,
            Self::Exists | Self::IsMember(_) => RefusalKind::AlreadyExists,
            Self::NoSuchWorkspace | Self::NotMember(_) => RefusalKind::NotFound,
            Self::OwnerOnly => RefusalKind::NotAllowed,
            Self::LastOwner(_) => RefusalKind::WrongState,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Name | Self::Member => "INVALID_ARGUMENT",
            Self::Exists => "WORKSPACE_EXISTS",
            Self::OwnerOnly => "OWNER_ONLY",
            Self::IsMember(_) => "IS_MEMBER",
            Self::NoSuchWorkspace => "NO_SUCH_WORKSPACE",
            Self::NotMember(_) => "NO_SUCH_MEMBER",
            Self::LastOwner(_) => "LAST_OWNER",
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::Name => Some("name"),
            Self::Member => Some("user"),
            _ => None,
        }
    }
}

fn is_name(text: &str) -> bool {
    let length = text.chars().count();
    (1..=NAME_LENGTH_MAX).contains(&length) && text.trim() == text && !text.contains(char::is_control)
}

impl Workspace {
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, Role)> {
        self.members.iter().map(|(user, role)| (user.as_str(), *role))
    }

    fn role_of(&self, user: &str) -> Result<Role, WorkspaceRefused> {
        self.members
            .get(user)
            .copied()
            .ok_or_else(|| WorkspaceRefused::NotMember(user.to_owned()))
    }

    fn is_last_owner(&self, user: &str) -> bool {
        let mut owners = self.members.iter().filter(|(_, role)| **role == Role::Owner);
        owners.next().is_some_and(|(owner, _)| owner == user) && owners.next().is_none()
    }
}

impl Aggregate for Workspace {
    const CATEGORY: &'static str = "workspace";
    type Id = WorkspaceId;
    type Command = WorkspaceCommand;
    type Event = WorkspaceEvent;
    type Refusal = WorkspaceRefused;

    fn decide(&self, command: WorkspaceCommand) -> Result<Vec<WorkspaceEvent>, WorkspaceRefused> {
        if let WorkspaceCommand::Create { name, owner } = command {
            return if self.exists {
                Err(WorkspaceRefused::Exists)
            } else if !is_name(&name) {
                Err(WorkspaceRefused::Name)
            } else {
                Ok(vec![WorkspaceEvent::Created(WorkspaceCreated { name, owner })])
            };
        }
        let (by, change) = match command {
            WorkspaceCommand::Create { .. } => return Ok(vec![]),
            WorkspaceCommand::Change { by, change } => (by, Some(change)),
            WorkspaceCommand::Confirm { owner } => (owner, None),
        };
        match self.members.get(&by) {
            Some(Role::Owner) => (),
            Some(_) => return Err(WorkspaceRefused::OwnerOnly),
            // Absent, or not visible: the same for both.
            None => return Err(WorkspaceRefused::NoSuchWorkspace),
        }
        change.map_or_else(|| Ok(vec![]), |change| self.change(change))
    }

    fn evolve(&mut self, event: &WorkspaceEvent) {
        match event {
            WorkspaceEvent::Created(event) => {
                self.exists = true;
                self.members.insert(event.owner.clone(), Role::Owner);
            }
            WorkspaceEvent::MemberAdded(event) => {
                self.members.insert(event.user.clone(), event.role());
            }
            WorkspaceEvent::MemberRoleSet(event) => {
                self.members.insert(event.user.clone(), event.role());
            }
            WorkspaceEvent::MemberRemoved(event) => {
                self.members.remove(&event.user);
            }
        }
    }
}

impl Workspace {
    fn change(&self, change: MemberChange) -> Result<Vec<WorkspaceEvent>, WorkspaceRefused> {
        match change {
            MemberChange::Add { user, role } => {
                if user.is_empty() || role == Role::Unspecified {
                    return Err(WorkspaceRefused::Member);
                }
                match self.members.get(&user) {
                    Some(present) if *present == role => Ok(vec![]),
                    Some(_) => Err(WorkspaceRefused::IsMember(user)),
                    None => Ok(vec![WorkspaceEvent::MemberAdded(MemberAdded {
                        user,
                        role: role.into(),
                    })]),
                }
            }
            MemberChange::SetRole { user, role } => {
                if role == Role::Unspecified {
                    return Err(WorkspaceRefused::Member);
                }
                if self.role_of(&user)? == role {
                    return Ok(vec![]);
                }
                if self.is_last_owner(&user) {
                    return Err(WorkspaceRefused::LastOwner(user));
                }
                Ok(vec![WorkspaceEvent::MemberRoleSet(MemberRoleSet {
                    user,
                    role: role.into(),
                })])
            }
            MemberChange::Remove { user } => {
                self.role_of(&user)?;
                if self.is_last_owner(&user) {
                    return Err(WorkspaceRefused::LastOwner(user));
                }
                Ok(vec![WorkspaceEvent::MemberRemoved(MemberRemoved { user })])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aggregate::given;

    fn created() -> WorkspaceEvent {
        WorkspaceEvent::Created(WorkspaceCreated {
            name: "vision".to_owned(),
            owner: "ada".to_owned(),
        })
    }

    fn added(user: &str, role: Role) -> WorkspaceEvent {
        WorkspaceEvent::MemberAdded(MemberAdded {
            user: user.to_owned(),
            role: role.into(),
        })
    }

    fn by_ada(change: MemberChange) -> WorkspaceCommand {
        WorkspaceCommand::Change {
            by: "ada".to_owned(),
            change,
        }
    }

    // covers R8, R125
    #[test]
    fn who_is_an_owner_no_more_changes_nothing_however_late_it_is_noticed() {
        let eve = || {
            by_ada(MemberChange::Add {
                user: "eve".to_owned(),
                role: Role::Owner,
            })
        };
        let lowered = WorkspaceEvent::MemberRoleSet(MemberRoleSet {
            user: "ada".to_owned(),
            role: Role::Participant.into(),
        });
        given::<Workspace>([created(), added("bob", Role::Owner), lowered])
            .when(eve())
            .then_refused(&WorkspaceRefused::OwnerOnly);
        let removed = WorkspaceEvent::MemberRemoved(MemberRemoved { user: "ada".to_owned() });
        given::<Workspace>([created(), added("bob", Role::Owner), removed])
            .when(eve())
            .then_refused(&WorkspaceRefused::NoSuchWorkspace);
    }

    // covers R6, R8
    #[test]
    fn the_last_owner_stays() {
        let leave = by_ada(MemberChange::Remove { user: "ada".to_owned() });
        let last = WorkspaceRefused::LastOwner("ada".to_owned());
        given::<Workspace>([created(), added("bob", Role::Participant)])
            .when(leave.clone())
            .then_refused(&last);
        given::<Workspace>([created()])
            .when(by_ada(MemberChange::SetRole {
                user: "ada".to_owned(),
                role: Role::Participant,
            }))
            .then_refused(&last);
        given::<Workspace>([created(), added("bob", Role::Owner)])
            .when(leave)
            .then([WorkspaceEvent::MemberRemoved(MemberRemoved { user: "ada".to_owned() })]);
    }

    #[test]
    fn adding_a_member_twice_changes_nothing() {
        let again = by_ada(MemberChange::Add {
            user: "bob".to_owned(),
            role: Role::Participant,
        });
        given::<Workspace>([created(), added("bob", Role::Participant)])
            .when(again)
            .then([]);
    }
}
