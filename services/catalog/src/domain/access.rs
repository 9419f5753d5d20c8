//! Whom an image is shared with, beside the members of its workspace.

use aggregate::{Aggregate, Refusal, RefusalKind};
use ids::ImageId;
use proto::{
    catalog::v1::{AccessGranted, AccessRevoked, Grantee, Right, grantee::Kind},
    events::AccessEvent,
};

/// So that all of them fit into one answer.
const GRANTS_MAX: usize = 1_000;

#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    grants: Vec<(Kind, Right)>,
}

#[derive(Debug, Clone)]
pub(crate) enum AccessCommand {
    Grant { by: By, grantee: Kind, right: Right },
    Revoke { by: By, grantee: Kind },
}

/// By what somebody may share the image.
#[derive(Debug, Clone)]
pub(crate) enum By {
    /// An owner of its workspace, or an administrator: judged elsewhere.
    Role,
    /// One of these has MANAGE: judged here, because a grant of a moment ago does not count.
    Grants(Vec<Kind>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessRefused {
    #[error("you may not share this image, ask for manage access")]
    NeedsManage,
    #[error("what can be granted is read, write or manage")]
    Right,
    #[error("everyone can be granted no more than read")]
    EveryoneReads,
    #[error("the image is not shared with them, so there is nothing to revoke")]
    NotGranted,
    #[error("the image is shared with {GRANTS_MAX} already, which is the most: share it with a workspace instead")]
    TooMany,
}

impl Refusal for AccessRefused {
    fn kind(&self) -> RefusalKind {
        match self {
            Self::Right | Self::EveryoneReads => RefusalKind::InvalidInput,
            Self::NeedsManage => RefusalKind::NotAllowed,
            Self::NotGranted => RefusalKind::NotFound,
            Self::TooMany => RefusalKind::LimitReached,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Right | Self::EveryoneReads => "INVALID_ARGUMENT",
            Self::NeedsManage => "NEEDS_MANAGE",
            Self::NotGranted => "NO_SUCH_GRANT",
            Self::TooMany => "TOO_MANY_GRANTS",
        }
    }

    fn field(&self) -> Option<&'static str> {
        matches!(self, Self::Right | Self::EveryoneReads).then_some("right")
    }
}

impl Access {
    pub(crate) fn grants(&self) -> &[(Kind, Right)] {
        &self.grants
    }

    fn right_of(&self, grantee: &Kind) -> Option<Right> {
        let found = self.grants.iter().find(|(present, _)| present == grantee);
        found.map(|(_, right)| *right)
    }

    fn may(&self, by: &By) -> Result<(), AccessRefused> {
        match by {
            By::Grants(kinds) if !kinds.iter().any(|kind| self.right_of(kind) == Some(Right::Manage)) => {
                Err(AccessRefused::NeedsManage)
            }
            By::Role | By::Grants(_) => Ok(()),
        }
    }

    fn forget(&mut self, grantee: &Kind) {
        self.grants.retain(|(present, _)| present != grantee);
    }
}

impl Aggregate for Access {
    const CATEGORY: &'static str = "access";
    type Id = ImageId;
    type Command = AccessCommand;
    type Event = AccessEvent;
    type Refusal = AccessRefused;

    fn decide(&self, command: AccessCommand) -> Result<Vec<AccessEvent>, AccessRefused> {
        match command {
            AccessCommand::Grant { by, grantee, right } => {
                self.may(&by)?;
                if matches!(right, Right::Unspecified | Right::Owner) {
                    return Err(AccessRefused::Right);
                }
                if matches!(grantee, Kind::Everyone(_)) && right != Right::Read {
                    return Err(AccessRefused::EveryoneReads);
                }
                match self.right_of(&grantee) {
                    Some(present) if present == right => return Ok(vec![]),
                    None if self.grants.len() == GRANTS_MAX => return Err(AccessRefused::TooMany),
                    _ => (),
                }
                Ok(vec![AccessEvent::Granted(AccessGranted {
                    grantee: Some(Grantee { kind: Some(grantee) }),
                    right: right.into(),
                })])
            }
            AccessCommand::Revoke { by, grantee } => {
                self.may(&by)?;
                if self.right_of(&grantee).is_none() {
                    return Err(AccessRefused::NotGranted);
                }
                Ok(vec![AccessEvent::Revoked(AccessRevoked {
                    grantee: Some(Grantee { kind: Some(grantee) }),
                })])
            }
        }
    }

    fn evolve(&mut self, event: &AccessEvent) {
        let (grantee, right) = match event {
            AccessEvent::Granted(event) => (&event.grantee, Some(event.right())),
            AccessEvent::Revoked(event) => (&event.grantee, None),
        };
        if let Some(kind) = grantee.as_ref().and_then(|grantee| grantee.kind.as_ref()) {
            self.forget(kind);
            self.grants.extend(right.map(|right| (kind.clone(), right)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aggregate::given;
    use proto::catalog::v1::Everyone;

    fn message(kind: &Kind) -> Grantee {
        Grantee {
            kind: Some(kind.clone()),
        }
    }

    const EVERYONE: Kind = Kind::Everyone(Everyone {});

    fn bob() -> Kind {
        Kind::User("bob".to_owned())
    }

    fn grant(grantee: Kind, right: Right) -> AccessCommand {
        AccessCommand::Grant {
            by: By::Role,
            grantee,
            right,
        }
    }

    fn granted(grantee: &Kind, right: Right) -> AccessEvent {
        AccessEvent::Granted(AccessGranted {
            grantee: Some(message(grantee)),
            right: right.into(),
        })
    }

    // covers R122, R125
    #[test]
    fn a_grant_takes_the_place_of_the_one_before() {
        given::<Access>([granted(&bob(), Right::Manage)])
            .when(grant(bob(), Right::Read))
            .then([granted(&bob(), Right::Read)]);
        given::<Access>([granted(&bob(), Right::Read)])
            .when(grant(bob(), Right::Read))
            .then([]);
    }

    // covers R125
    #[test]
    fn a_manager_whose_grant_is_gone_gives_it_to_nobody() {
        let again = || AccessCommand::Grant {
            by: By::Grants(vec![bob()]),
            grantee: bob(),
            right: Right::Manage,
        };
        let lowered = granted(&bob(), Right::Read);
        given::<Access>([granted(&bob(), Right::Manage)]).when(again()).then([]);
        given::<Access>([granted(&bob(), Right::Manage), lowered])
            .when(again())
            .then_refused(&AccessRefused::NeedsManage);
    }

    // covers R125
    #[test]
    fn what_was_not_granted_cannot_be_revoked() {
        let revoke = AccessCommand::Revoke {
            by: By::Role,
            grantee: bob(),
        };
        let revoked = AccessEvent::Revoked(AccessRevoked {
            grantee: Some(message(&bob())),
        });
        let read = granted(&bob(), Right::Read);
        given::<Access>([read.clone()])
            .when(revoke.clone())
            .then([revoked.clone()]);
        given::<Access>([read, revoked])
            .when(revoke)
            .then_refused(&AccessRefused::NotGranted);
    }

    // covers R122, R126
    #[test]
    fn nobody_becomes_an_owner_by_a_grant_and_everyone_only_reads() {
        given::<Access>([])
            .when(grant(bob(), Right::Owner))
            .then_refused(&AccessRefused::Right);
        given::<Access>([])
            .when(grant(EVERYONE, Right::Write))
            .then_refused(&AccessRefused::EveryoneReads);
        given::<Access>([])
            .when(grant(EVERYONE, Right::Read))
            .then([granted(&EVERYONE, Right::Read)]);
    }

    #[test]
    fn all_grants_fit_into_one_answer() {
        let user = |number: usize| Kind::User(format!("user-{number}"));
        let full = || (0..GRANTS_MAX).map(|number| granted(&user(number), Right::Read));
        given::<Access>(full())
            .when(grant(bob(), Right::Read))
            .then_refused(&AccessRefused::TooMany);
        given::<Access>(full())
            .when(grant(user(0), Right::Write))
            .then([granted(&user(0), Right::Write)]);
    }
}
