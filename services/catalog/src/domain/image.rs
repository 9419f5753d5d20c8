//! An image's own facts: where it belongs, what it is called and described as, and its end.

use aggregate::{Aggregate, Refusal, RefusalKind};
use ids::{ImageId, WorkspaceId};
use proto::{
    catalog::v1::{ImageCreated, ImageDeleted, ImageDescribed, ImageName, ImagePurged, ImageRenamed},
    events::ImageEvent,
};

const DESCRIPTION_LENGTH_MAX: usize = 4_096;

#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    name: Option<ImageName>,
    description: String,
    deleted: bool,
    /// Its content went with it, or afterwards.
    purged: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum ImageCommand {
    Create {
        workspace: WorkspaceId,
        name: ImageName,
        description: String,
    },
    /// `from` is the name that the old name's release was prepared for.
    Rename {
        from: ImageName,
        to: ImageName,
    },
    Describe {
        description: String,
    },
    Delete {
        name: ImageName,
        purge: bool,
    },
    /// Of a deleted image.
    Purge,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageRefused {
    #[error("an image with this id exists, choose another id")]
    Exists,
    #[error("no such image, or it is not shared with you")]
    NoSuchImage,
    #[error("the description has {0} characters, at most {DESCRIPTION_LENGTH_MAX} are allowed")]
    DescriptionTooLong(usize),
    #[error("the image has another name by now, look again")]
    Renamed,
}

impl Refusal for ImageRefused {
    fn kind(&self) -> RefusalKind {
        match self {
            Self::Exists => RefusalKind::AlreadyExists,
            Self::NoSuchImage => RefusalKind::NotFound,
            Self::DescriptionTooLong(_) => RefusalKind::InvalidInput,
            Self::Renamed => RefusalKind::Stale,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Exists => "IMAGE_EXISTS",
            Self::NoSuchImage => "NO_SUCH_IMAGE",
            Self::DescriptionTooLong(_) => "INVALID_ARGUMENT",
            Self::Renamed => "STALE_REVISION",
        }
    }

    fn field(&self) -> Option<&'static str> {
        matches!(self, Self::DescriptionTooLong(_)).then_some("description")
    }
}

impl Image {
    /// Created, and not deleted.
    pub(crate) fn is_live(&self) -> bool {
        self.name.is_some() && !self.deleted
    }
}

fn check(description: &str) -> Result<(), ImageRefused> {
    match description.chars().count() {
        0..=DESCRIPTION_LENGTH_MAX => Ok(()),
        length => Err(ImageRefused::DescriptionTooLong(length)),
    }
}

impl Aggregate for Image {
    const CATEGORY: &'static str = "image";
    type Id = ImageId;
    type Command = ImageCommand;
    type Event = ImageEvent;
    type Refusal = ImageRefused;

    fn decide(&self, command: ImageCommand) -> Result<Vec<ImageEvent>, ImageRefused> {
        if let ImageCommand::Create {
            workspace,
            name,
            description,
        } = command
        {
            check(&description)?;
            return match self.name {
                Some(_) => Err(ImageRefused::Exists),
                None => Ok(vec![ImageEvent::Created(ImageCreated {
                    workspace: Some(workspace),
                    name: Some(name),
                    description,
                })]),
            };
        }
        if let ImageCommand::Purge = command {
            return match self {
                Self { deleted: false, .. } => Err(ImageRefused::NoSuchImage),
                Self { purged: true, .. } => Ok(vec![]),
                _ => Ok(vec![ImageEvent::Purged(ImagePurged {})]),
            };
        }
        let current = self
            .name
            .as_ref()
            .filter(|_| !self.deleted)
            .ok_or(ImageRefused::NoSuchImage)?;
        match command {
            ImageCommand::Create { .. } | ImageCommand::Purge => Ok(vec![]),
            ImageCommand::Rename { from, .. } if from != *current => Err(ImageRefused::Renamed),
            ImageCommand::Rename { from, to } if from == to => Ok(vec![]),
            ImageCommand::Rename { from, to } => Ok(vec![ImageEvent::Renamed(ImageRenamed {
                from: Some(from),
                to: Some(to),
            })]),
            ImageCommand::Describe { description } => {
                check(&description)?;
                if description == self.description {
                    return Ok(vec![]);
                }
                Ok(vec![ImageEvent::Described(ImageDescribed { description })])
            }
            ImageCommand::Delete { name, .. } if name != *current => Err(ImageRefused::Renamed),
            ImageCommand::Delete { name, purge } => Ok(vec![ImageEvent::Deleted(ImageDeleted {
                purge,
                name: Some(name),
            })]),
        }
    }

    fn evolve(&mut self, event: &ImageEvent) {
        match event {
            ImageEvent::Created(event) => {
                self.name.clone_from(&event.name);
                self.description.clone_from(&event.description);
            }
            ImageEvent::Renamed(event) => self.name.clone_from(&event.to),
            ImageEvent::Described(event) => self.description.clone_from(&event.description),
            ImageEvent::Deleted(event) => {
                self.deleted = true;
                self.purged = event.purge;
            }
            ImageEvent::Purged(_) => self.purged = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aggregate::given;

    fn name(path: &str) -> ImageName {
        ImageName {
            registry: String::new(),
            path: path.to_owned(),
            primary_tag: "latest".to_owned(),
        }
    }

    fn created() -> ImageEvent {
        ImageEvent::Created(ImageCreated {
            workspace: Some(WorkspaceId::default()),
            name: Some(name("a")),
            description: "old".to_owned(),
        })
    }

    // covers R17
    #[test]
    fn a_rename_that_was_prepared_for_another_name_is_refused() {
        let rename = |from: &str| ImageCommand::Rename {
            from: name(from),
            to: name("b"),
        };
        let renamed = ImageEvent::Renamed(ImageRenamed {
            from: Some(name("a")),
            to: Some(name("b")),
        });
        given::<Image>([created()]).when(rename("a")).then([renamed.clone()]);
        given::<Image>([created(), renamed])
            .when(rename("a"))
            .then_refused(&ImageRefused::Renamed);
    }

    // covers R15, R84
    #[test]
    fn a_deleted_image_is_purged_once() {
        let deleted = |purge| {
            ImageEvent::Deleted(ImageDeleted {
                purge,
                name: Some(name("a")),
            })
        };
        let purged = ImageEvent::Purged(ImagePurged {});
        given::<Image>([created()])
            .when(ImageCommand::Purge)
            .then_refused(&ImageRefused::NoSuchImage);
        given::<Image>([created(), deleted(false)])
            .when(ImageCommand::Purge)
            .then([purged.clone()]);
        given::<Image>([created(), deleted(false), purged])
            .when(ImageCommand::Purge)
            .then([]);
        given::<Image>([created(), deleted(true)])
            .when(ImageCommand::Purge)
            .then([]);
    }

    // covers R15, R18
    #[test]
    fn nothing_happens_to_a_deleted_image() {
        let deleted = ImageEvent::Deleted(ImageDeleted {
            purge: false,
            name: Some(name("a")),
        });
        let describe = ImageCommand::Describe {
            description: "new".to_owned(),
        };
        given::<Image>([created(), deleted])
            .when(describe.clone())
            .then_refused(&ImageRefused::NoSuchImage);
        given::<Image>([created()])
            .when(describe)
            .then([ImageEvent::Described(ImageDescribed {
                description: "new".to_owned(),
            })]);
    }
}
