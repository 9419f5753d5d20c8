//! One image as its tile shows it: a fold over everybody's entries about it.

use access::{Name, Right};
use eventlog::Position;
use proto::{
    catalog::v1::{BuildOutcome, BuildSummary, Image, ImageName, ImageStatus, Mark, Origin, Published},
    events::{BuildsEvent, ImageEvent, RepositoryEvent, SpecEvent},
};
use serde::{Deserialize, Serialize};
use service::timestamp;

/// What an event is folded with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fact<'a> {
    pub(super) image: &'a str,
    pub(super) position: Position,
    pub(super) time_ms: i64,
    pub(super) actor: &'a str,
    /// Its row in the history.
    pub(super) row: i64,
}

/// Kept as JSON in the view; `prost` types don't, so this is their content in plain fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tile {
    pub(crate) id: String,
    pub(crate) workspace: String,
    registry: String,
    path: String,
    primary_tag: String,
    pub(crate) description: String,
    pub(crate) deleted: bool,
    pub(crate) purged: bool,
    created: Did,
    modified: Did,
    built: Did,
    pub(crate) current_revision: u32,
    built_revision: u32,
    published: Content,
    last_build: String,
    last_outcome: i32,
    active_build: String,
    /// The last entry that changed anything of this.
    pub(crate) position: u64,
    /// The image's own last entry.
    pub(crate) version: u64,
    /// The row of the last save.
    pub(super) saved: Option<i64>,
}

/// Who, and when; nobody at zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Did {
    actor: String,
    time_ms: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    registry: String,
    path: String,
    /// Empty: nothing can be pulled.
    digest: String,
    time_ms: i64,
}

impl Did {
    fn by(fact: &Fact<'_>) -> Self {
        Self {
            actor: fact.actor.to_owned(),
            time_ms: fact.time_ms,
        }
    }

    fn mark(&self) -> Option<Mark> {
        (self.time_ms != 0).then(|| Mark {
            actor: self.actor.clone(),
            time: timestamp(self.time_ms),
        })
    }
}

impl Tile {
    /// What the list is ordered by and searched in.
    pub(crate) fn sort_name(&self) -> String {
        self.name().short()
    }

    pub(crate) fn name(&self) -> Name {
        Name {
            registry: self.registry.clone(),
            path: self.path.clone(),
            primary_tag: self.primary_tag.clone(),
        }
    }

    /// Never a stored decision, and never dependent on the last build.
    pub(crate) fn status(&self) -> ImageStatus {
        if self.built.time_ms == 0 {
            ImageStatus::NotBuilt
        } else if self.built_revision == self.current_revision {
            ImageStatus::Built
        } else {
            ImageStatus::Modified
        }
    }

    fn set_name(&mut self, name: Option<&ImageName>) {
        let name = name.cloned().unwrap_or_default();
        let leaves_registry = !self.registry.is_empty() || !name.registry.is_empty();
        if self.registry != name.registry && leaves_registry {
            // What was pushed there is not here.
            self.published = Content::default();
        }
        self.registry = name.registry;
        self.path = name.path;
        self.primary_tag = name.primary_tag;
    }

    pub(crate) fn image(&mut self, fact: &Fact<'_>, event: &ImageEvent) {
        match event {
            ImageEvent::Created(event) => {
                fact.image.clone_into(&mut self.id);
                self.workspace = event.workspace.unwrap_or_default().to_string();
                self.set_name(event.name.as_ref());
                self.description.clone_from(&event.description);
                self.created = Did::by(fact);
            }
            ImageEvent::Renamed(event) => self.set_name(event.to.as_ref()),
            ImageEvent::Described(event) => self.description.clone_from(&event.description),
            ImageEvent::Deleted(event) => {
                self.deleted = true;
                self.purged = event.purge;
            }
            ImageEvent::Purged(_) => self.purged = true,
        }
        self.version = fact.position.0;
        self.position = fact.position.0;
    }

    pub(crate) fn spec(&mut self, fact: &Fact<'_>, event: &SpecEvent) {
        if self.deleted {
            return;
        }
        match event {
            SpecEvent::ContextUploaded(_) => (),
            SpecEvent::RevisionSaved(event) => {
                self.current_revision = event.number;
                self.modified = Did::by(fact);
                self.saved = Some(fact.row);
                self.position = fact.position.0;
            }
        }
    }

    pub(crate) fn builds(&mut self, fact: &Fact<'_>, event: &BuildsEvent) {
        if self.deleted {
            return;
        }
        let (build, outcome) = match event {
            BuildsEvent::Queued(event) => {
                let build = event.build.unwrap_or_default().to_string();
                self.active_build.clone_from(&build);
                (build, BuildOutcome::InProgress)
            }
            BuildsEvent::Failed(event) => (event.build.unwrap_or_default().to_string(), BuildOutcome::Failed),
            BuildsEvent::Cancelled(event) => (event.build.unwrap_or_default().to_string(), BuildOutcome::Cancelled),
            BuildsEvent::Lost(event) => (event.build.unwrap_or_default().to_string(), BuildOutcome::Lost),
            BuildsEvent::Started(_)
            | BuildsEvent::SourceFetched(_)
            | BuildsEvent::Assembled(_)
            | BuildsEvent::CancelRequested(_)
            | BuildsEvent::AttemptLost(_) => return,
        };
        self.outcome(fact, build, outcome);
    }

    pub(crate) fn repository(&mut self, fact: &Fact<'_>, event: &RepositoryEvent) {
        match event {
            // Both are about what lies in the registry, whether or not the image is still listed.
            RepositoryEvent::Released(event) => {
                if (&event.registry, &event.path) == (&self.published.registry, &self.published.path) {
                    self.published = Content::default();
                    self.position = fact.position.0;
                }
            }
            _ if self.deleted => (),
            RepositoryEvent::Committed(event) => {
                let target = event.target.clone().unwrap_or_default();
                if event.revision >= self.built_revision {
                    self.built_revision = event.revision;
                    self.published = Content {
                        registry: target.registry,
                        path: target.path,
                        digest: event.digest.clone(),
                        time_ms: fact.time_ms,
                    };
                    self.built = Did {
                        actor: event.requester.clone(),
                        time_ms: fact.time_ms,
                    };
                }
                self.outcome(
                    fact,
                    event.build.unwrap_or_default().to_string(),
                    BuildOutcome::Succeeded,
                );
            }
            RepositoryEvent::Aborted(event) => {
                self.outcome(
                    fact,
                    event.build.unwrap_or_default().to_string(),
                    BuildOutcome::Cancelled,
                );
            }
            RepositoryEvent::Refused(event) => {
                self.outcome(fact, event.build.unwrap_or_default().to_string(), BuildOutcome::Failed);
            }
            RepositoryEvent::Reopened(event) => {
                let build = event.build.unwrap_or_default().to_string();
                if self.last_build == build {
                    self.active_build.clone_from(&build);
                    self.outcome(fact, build, BuildOutcome::InProgress);
                }
            }
            RepositoryEvent::Relocated(event) => {
                let name = event.name.clone().unwrap_or_default();
                if !self.published.digest.is_empty() {
                    self.published.registry = name.registry;
                    self.published.path = name.path;
                    self.position = fact.position.0;
                }
            }
            RepositoryEvent::Opened(_) | RepositoryEvent::TagMoved(_) | RepositoryEvent::TagsPlaced(_) => (),
        }
    }

    /// The newest build is the one to warn about, and only it can be under way.
    fn outcome(&mut self, fact: &Fact<'_>, build: String, outcome: BuildOutcome) {
        self.position = fact.position.0;
        if outcome != BuildOutcome::InProgress && self.active_build == build {
            self.active_build.clear();
        }
        if outcome == BuildOutcome::InProgress || self.last_build == build {
            self.last_build = build;
            self.last_outcome = outcome as i32;
        }
    }

    /// As the contract has it, for a caller with a right.
    pub(crate) fn image_for(&self, right: Right, internal_registry: &str) -> Image {
        let name = self.name();
        let reference = format!("{}:{}", name.pull_repository(internal_registry), name.primary_tag);
        let published = (!self.published.digest.is_empty()).then(|| {
            let host = if self.published.registry.is_empty() {
                internal_registry
            } else {
                &self.published.registry
            };
            Published {
                reference: format!("{host}/{}@{}", self.published.path, self.published.digest),
                time: timestamp(self.published.time_ms),
            }
        });
        let origin = if self.built.time_ms == 0 {
            Origin::Unspecified
        } else {
            Origin::Build
        };
        Image {
            id: self.id.clone(),
            workspace: self.workspace.clone(),
            name: Some(ImageName::from(&name)),
            description: self.description.clone(),
            status: self.status().into(),
            published,
            created: self.created.mark(),
            modified: self.modified.mark(),
            built: self.built.mark(),
            current_revision: self.current_revision,
            built_revision: self.built_revision,
            last_build: (!self.last_build.is_empty()).then(|| BuildSummary {
                id: self.last_build.clone(),
                outcome: self.last_outcome,
            }),
            active_build: self.active_build.clone(),
            origin: origin.into(),
            my_rights: right.into(),
            version: self.version,
            deleted: self.deleted,
            reference,
        }
    }
}
