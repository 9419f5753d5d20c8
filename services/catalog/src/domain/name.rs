//! Who holds a repository name: unique on the whole platform, because the log judges each taking.

use aggregate::{Aggregate, Refusal, RefusalKind};
use ids::{ImageId, WorkspaceId};
use proto::{
    catalog::v1::{NameKept, NameReleased, NameReleasing, NameTaken},
    events::NameEvent,
};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The hash of a normalised repository: a name never stands in a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameKey(String);

impl NameKey {
    /// `repository` is `registry/path`, with an empty registry for the internal one.
    pub(crate) fn of(repository: &str) -> Self {
        Self(base16ct::lower::encode_string(&Sha256::digest(repository)))
    }

    pub(crate) fn from_stream(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl fmt::Display for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Name {
    holder: Holder,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Holder {
    #[default]
    Free,
    Image(ImageId, WorkspaceId),
    /// The content of the deleted image is still there.
    Workspace(WorkspaceId, ImageId),
    /// The content is being removed.
    Releasing,
}

#[derive(Debug, Clone)]
pub(crate) enum NameCommand {
    Take {
        image: ImageId,
        workspace: WorkspaceId,
        registry: String,
        path: String,
    },
    /// The image is gone, its content is not.
    Keep { image: ImageId },
    /// The image is gone or has another name, and the content goes.
    Release { image: ImageId },
    /// The image was deleted before, and its content goes now.
    Purge { image: ImageId, workspace: WorkspaceId },
    /// The content is gone.
    Free,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameRefused {
    /// Says nothing of who holds it.
    #[error("the name `{0}` is taken, choose another")]
    Taken(String),
    #[error("the name `{0}` is being given back, and what was under it removed: try again in a moment")]
    Releasing(String),
    #[error("the name of this image was given to a newer one, and its content with it: purge the newer one")]
    Inherited,
    #[error("the image has another name by now, look again")]
    NotHolder,
}

impl Refusal for NameRefused {
    fn kind(&self) -> RefusalKind {
        match self {
            Self::Taken(_) | Self::Releasing(_) => RefusalKind::AlreadyExists,
            Self::Inherited => RefusalKind::WrongState,
            Self::NotHolder => RefusalKind::Stale,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Taken(_) | Self::Releasing(_) => "NAME_TAKEN",
            Self::Inherited => "NAME_REUSED",
            Self::NotHolder => "STALE_REVISION",
        }
    }
}

impl Name {
    fn held_by(&self, image: ImageId) -> Result<WorkspaceId, NameRefused> {
        match self.holder {
            Holder::Image(holder, workspace) if holder == image => Ok(workspace),
            _ => Err(NameRefused::NotHolder),
        }
    }
}

impl Aggregate for Name {
    const CATEGORY: &'static str = "name";
    type Id = NameKey;
    type Command = NameCommand;
    type Event = NameEvent;
    type Refusal = NameRefused;

    fn decide(&self, command: NameCommand) -> Result<Vec<NameEvent>, NameRefused> {
        match command {
            NameCommand::Take {
                image,
                workspace,
                registry,
                path,
            } => {
                let host = if registry.is_empty() { "" } else { "/" };
                let name = || format!("{registry}{host}{path}");
                match self.holder {
                    Holder::Free => (),
                    Holder::Workspace(keeper, _) if keeper == workspace => (),
                    Holder::Image(..) | Holder::Workspace(..) => return Err(NameRefused::Taken(name())),
                    // Whoever took it now would see its content vanish.
                    Holder::Releasing => return Err(NameRefused::Releasing(name())),
                }
                Ok(vec![NameEvent::Taken(NameTaken {
                    image: Some(image),
                    workspace: Some(workspace),
                    registry,
                    path,
                })])
            }
            NameCommand::Keep { image } => {
                self.held_by(image)?;
                Ok(vec![NameEvent::Kept(NameKept {})])
            }
            NameCommand::Release { image } => {
                self.held_by(image)?;
                Ok(vec![NameEvent::Releasing(NameReleasing {})])
            }
            NameCommand::Purge { image, workspace } => match self.holder {
                Holder::Workspace(_, last) if last == image => Ok(vec![NameEvent::Releasing(NameReleasing {})]),
                Holder::Image(_, home) | Holder::Workspace(home, _) if home == workspace => Err(NameRefused::Inherited),
                // It went, or goes, with that of a newer image; else nobody elsewhere could have the name.
                Holder::Image(..) | Holder::Workspace(..) | Holder::Releasing | Holder::Free => Ok(vec![]),
            },
            NameCommand::Free if self.holder == Holder::Releasing => Ok(vec![NameEvent::Released(NameReleased {})]),
            NameCommand::Free => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &NameEvent) {
        self.holder = match (event, self.holder) {
            (NameEvent::Taken(event), _) => {
                Holder::Image(event.image.unwrap_or_default(), event.workspace.unwrap_or_default())
            }
            (NameEvent::Kept(_), Holder::Image(image, workspace)) => Holder::Workspace(workspace, image),
            (NameEvent::Kept(_), holder) => holder,
            (NameEvent::Releasing(_), _) => Holder::Releasing,
            (NameEvent::Released(_), _) => Holder::Free,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aggregate::given;
    use ids::Ulid;

    fn image(n: u128) -> ImageId {
        ImageId::from_ulid(Ulid::from(n))
    }

    fn workspace(n: u128) -> WorkspaceId {
        WorkspaceId::from_ulid(Ulid::from(n))
    }

    fn take(n: u128, home: u128) -> NameCommand {
        NameCommand::Take {
            image: image(n),
            workspace: workspace(home),
            registry: String::new(),
            path: "team/tool".to_owned(),
        }
    }

    fn taken(n: u128, home: u128) -> NameEvent {
        NameEvent::Taken(NameTaken {
            image: Some(image(n)),
            workspace: Some(workspace(home)),
            registry: String::new(),
            path: "team/tool".to_owned(),
        })
    }

    // covers R7
    #[test]
    fn a_held_name_is_taken_for_everybody() {
        given::<Name>([]).when(take(1, 1)).then([taken(1, 1)]);
        let refused = NameRefused::Taken("team/tool".to_owned());
        given::<Name>([taken(1, 1)]).when(take(2, 1)).then_refused(&refused);
        given::<Name>([taken(1, 1)]).when(take(2, 2)).then_refused(&refused);
    }

    // covers R7, R15, R84
    #[test]
    fn what_a_deleted_image_left_behind_stays_in_its_workspace() {
        let kept = [taken(1, 1), NameEvent::Kept(NameKept {})];
        given::<Name>(kept.clone())
            .when(take(2, 2))
            .then_refused(&NameRefused::Taken("team/tool".to_owned()));
        given::<Name>(kept).when(take(2, 1)).then([taken(2, 1)]);
    }

    // covers R15, R84
    #[test]
    fn only_the_last_image_of_a_name_can_be_purged_afterwards() {
        let kept = || NameEvent::Kept(NameKept {});
        let purge = |n| NameCommand::Purge {
            image: image(n),
            workspace: workspace(1),
        };
        let again = [taken(1, 1), kept(), taken(2, 1)];
        given::<Name>([taken(1, 1), kept()])
            .when(purge(1))
            .then([NameEvent::Releasing(NameReleasing {})]);
        given::<Name>(again.clone())
            .when(purge(1))
            .then_refused(&NameRefused::Inherited);
        given::<Name>(again.into_iter().chain([kept()]))
            .when(purge(1))
            .then_refused(&NameRefused::Inherited);
    }

    // covers R17
    #[test]
    fn a_name_is_free_again_only_when_its_content_is_gone() {
        let releasing = [taken(1, 1), NameEvent::Releasing(NameReleasing {})];
        given::<Name>(releasing.clone())
            .when(take(2, 1))
            .then_refused(&NameRefused::Releasing("team/tool".to_owned()));
        let released = NameEvent::Released(NameReleased {});
        given::<Name>(releasing.clone())
            .when(NameCommand::Free)
            .then([released.clone()]);
        given::<Name>(releasing.into_iter().chain([released]))
            .when(take(2, 2))
            .then([taken(2, 2)]);
    }

    #[test]
    fn a_late_release_does_not_free_what_somebody_took() {
        given::<Name>([taken(1, 1)]).when(NameCommand::Free).then([]);
        given::<Name>([taken(1, 1)])
            .when(NameCommand::Keep { image: image(2) })
            .then_refused(&NameRefused::NotHolder);
    }
}
