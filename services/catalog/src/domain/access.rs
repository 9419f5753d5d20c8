//! Whom an image is shared with, beside the members of its workspace.

use access::{Grantee, Right};
use aggregate::{Aggregate, Refusal, RefusalKind};
use ids::ImageId;
use proto::{
    catalog::v1::{AccessGranted, AccessRevoked},
    events::AccessEvent,
};
use std::collections::BTreeMap;

/// So that all of them fit into one answer.
const GRANTS_MAX: usize = 1_000;

#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    grants: BTreeMap<Grantee, Right>,
}

#[derive(Debug, Clone)]
pub(crate) enum AccessCommand {
    Grant { grantee: Grantee, right: Right },
    Revoke { grantee: Grantee },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessRefused {
    #[error("what can be granted is read, write or manage")]
    Right,
    #[error("everyone can be granted no more than read")]
    EveryoneReads,
    #[error("the image is not shared with {0}")]
    NotGranted(Grantee),
    #[error("the image is shared with {GRANTS_MAX} already, which is the most: share it with a workspace instead")]
    TooMany,
}

impl Refusal for AccessRefused {
    fn kind(&self) -> RefusalKind {
        match self {
            Self::Right | Self::EveryoneReads => RefusalKind::InvalidInput,
            Self::NotGranted(_) => RefusalKind::NotFound,
            Self::TooMany => RefusalKind::LimitReached,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Right | Self::EveryoneReads => "INVALID_ARGUMENT",
            Self::NotGranted(_) => "NO_SUCH_GRANT",
            Self::TooMany => "TOO_MANY_GRANTS",
        }
    }

    fn field(&self) -> Option<&'static str> {
        matches!(self, Self::Right | Self::EveryoneReads).then_some("right")
    }
}

impl Access {
    pub(crate) fn grants(&self) -> impl Iterator<Item = (&Grantee, Right)> {
        self.grants.iter().map(|(grantee, right)| (grantee, *right))
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
            AccessCommand::Grant { grantee, right } => {
                if matches!(right, Right::Unspecified | Right::Owner) {
                    return Err(AccessRefused::Right);
                }
                if grantee == Grantee::Everyone && right != Right::Read {
                    return Err(AccessRefused::EveryoneReads);
                }
                match self.grants.get(&grantee) {
                    Some(present) if *present == right => return Ok(vec![]),
                    None if self.grants.len() == GRANTS_MAX => return Err(AccessRefused::TooMany),
                    _ => (),
                }
                Ok(vec![AccessEvent::Granted(AccessGranted {
                    grantee: Some((&grantee).into()),
                    right: right.into(),
                })])
            }
            AccessCommand::Revoke { grantee } => {
                if !self.grants.contains_key(&grantee) {
                    return Err(AccessRefused::NotGranted(grantee));
                }
                Ok(vec![AccessEvent::Revoked(AccessRevoked {
                    grantee: Some((&grantee).into()),
                })])
            }
        }
    }

    fn evolve(&mut self, event: &AccessEvent) {
        match event {
            AccessEvent::Granted(event) => {
                if let Ok(grantee) = Grantee::try_from(event.grantee.as_ref()) {
                    self.grants.insert(grantee, event.right());
                }
            }
            AccessEvent::Revoked(event) => {
                if let Ok(grantee) = Grantee::try_from(event.grantee.as_ref()) {
                    self.grants.remove(&grantee);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aggregate::given;

    fn bob() -> Grantee {
        Grantee::User("bob".to_owned())
    }

    fn grant(grantee: Grantee, right: Right) -> AccessCommand {
        AccessCommand::Grant { grantee, right }
    }

    fn granted(grantee: &Grantee, right: Right) -> AccessEvent {
        AccessEvent::Granted(AccessGranted {
            grantee: Some(grantee.into()),
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
    fn what_was_not_granted_cannot_be_revoked() {
        let revoke = AccessCommand::Revoke { grantee: bob() };
        let revoked = AccessEvent::Revoked(AccessRevoked {
            grantee: Some((&bob()).into()),
        });
        let read = granted(&bob(), Right::Read);
        given::<Access>([read.clone()])
            .when(revoke.clone())
            .then([revoked.clone()]);
        given::<Access>([read, revoked])
            .when(revoke)
            .then_refused(&AccessRefused::NotGranted(bob()));
    }

    // covers R122, R126
    #[test]
    fn nobody_becomes_an_owner_by_a_grant_and_everyone_only_reads() {
        given::<Access>([])
            .when(grant(bob(), Right::Owner))
            .then_refused(&AccessRefused::Right);
        given::<Access>([])
            .when(grant(Grantee::Everyone, Right::Write))
            .then_refused(&AccessRefused::EveryoneReads);
        given::<Access>([])
            .when(grant(Grantee::Everyone, Right::Read))
            .then([granted(&Grantee::Everyone, Right::Read)]);
    }

    #[test]
    fn all_grants_fit_into_one_answer() {
        let user = |number: usize| Grantee::User(format!("user-{number}"));
        let full = || (0..GRANTS_MAX).map(|number| granted(&user(number), Right::Read));
        given::<Access>(full())
            .when(grant(bob(), Right::Read))
            .then_refused(&AccessRefused::TooMany);
        given::<Access>(full())
            .when(grant(user(0), Right::Write))
            .then([granted(&user(0), Right::Write)]);
    }
}
