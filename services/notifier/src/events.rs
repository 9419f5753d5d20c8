//! What the world is told of an entry: a fold over everybody's entries about one image, pure and in log order.
//!
//! An entry about an image after its deletion is void, and so is one about a build after its end.

mod data;
mod repository;
#[cfg(test)]
pub(crate) mod tests;

use access::{Name, Role};
use data::Data;
use eventlog::{Entry, LogError};
use ids::BuildId;
use proto::{
    catalog::v1::{Everyone, ImageName, grantee},
    editor::v1::{BuildSpec, ContextKind},
    events::{AccessEvent, BuildsEvent, ImageEvent, SpecEvent, WorkspaceEvent},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// Every type of the contract, those of later issues too: what a subscriber may ask for.
pub(crate) const TYPES: [&str; 22] = [
    "image.created",
    "image.renamed",
    "image.described",
    "image.deleted",
    "image.purged",
    "spec.saved",
    "build.queued",
    "build.started",
    "build.succeeded",
    "build.failed",
    "build.cancelled",
    "build.lost",
    "push.failed",
    "image.published",
    "tag.moved",
    "tag.deleted",
    "tag.restored",
    "access.granted",
    "access.revoked",
    "member.changed",
    "auto_rebuild.changed",
    "webhook.disabled",
];

/// One public event, but for its place in the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) kind: &'static str,
    pub(crate) data: String,
    /// `registry/path@sha256:...`, without a registry the cluster's own: what `reference` in the data is made of, when
    /// it is sent. Its host belongs to the deployment, not to the log.
    pub(crate) content: String,
}

/// What must be known of an image to tell the world about it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Image {
    /// Empty: it was never created.
    pub(crate) workspace: String,
    name: Name,
    /// The name by which the world knows it.
    told: Name,
    renamed_by: String,
    published: Option<Content>,
    /// Those that may still come to an end.
    builds: BTreeMap<String, Build>,
    deleted: bool,
    /// Deleted, and its content is to go.
    purging: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    name: Name,
    digest: String,
    revision: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Build {
    revision: u32,
    requester: String,
    commit: String,
    /// Its push failed, and may be tried again.
    failed: bool,
}

/// Whether an entry of this category is about an image, which its stream's key names.
pub(crate) fn is_about_image(category: &str) -> bool {
    matches!(category, "image" | "access" | "spec" | "builds" | "repository")
}

/// What the world is told of an entry about an image.
pub(crate) fn about_image(image: &mut Image, entry: &Entry) -> Result<Vec<Told>, LogError> {
    let actor = &entry.envelope.actor;
    let told = match entry.stream.category.as_str() {
        "image" => each(entry.events()?, |event| image.image(actor, event)),
        "access" => each(entry.events()?, |event| image.access(actor, &event)),
        "spec" => each(entry.events()?, |event| image.spec(actor, event)),
        "builds" => each(entry.events()?, |event| image.builds(actor, event)),
        "repository" => image.repository(entry.events()?),
        _ => Vec::new(),
    };
    Ok(told)
}

/// What the world is told of an entry about a workspace.
pub(crate) fn about_workspace(entry: &Entry) -> Result<Vec<Told>, LogError> {
    Ok(each(entry.events()?, |event| {
        let (user, role) = match event {
            WorkspaceEvent::Created(event) => (event.owner, Role::Owner),
            WorkspaceEvent::MemberAdded(event) => (event.user.clone(), event.role()),
            WorkspaceEvent::MemberRoleSet(event) => (event.user.clone(), event.role()),
            // Without a role, one is not a member.
            WorkspaceEvent::MemberRemoved(event) => (event.user, Role::Unspecified),
        };
        let role = if role == Role::Unspecified {
            ""
        } else {
            role.as_str_name()
        };
        let data = Data::new()
            .with("user", user)
            .with("role", role)
            .with("actor", &*entry.envelope.actor);
        Some(data.told("member.changed"))
    }))
}

fn each<E>(events: Vec<E>, tell: impl FnMut(E) -> Option<Told>) -> Vec<Told> {
    events.into_iter().filter_map(tell).collect()
}

impl Image {
    fn image(&mut self, actor: &str, event: ImageEvent) -> Option<Told> {
        if self.deleted {
            self.purging |= matches!(event, ImageEvent::Purged(_));
            return None;
        }
        match event {
            // Only a deleted image is purged so.
            ImageEvent::Purged(_) => None,
            ImageEvent::Created(event) => {
                self.workspace = event.workspace.unwrap_or_default().to_string();
                self.name = name(event.name.as_ref());
                self.told = self.name.clone();
                let data = self.named().with("description", event.description).with("actor", actor);
                Some(data.told("image.created"))
            }
            ImageEvent::Renamed(event) => {
                self.name = name(event.to.as_ref());
                actor.clone_into(&mut self.renamed_by);
                // What was pushed to another registry is not in this one.
                self.published
                    .take_if(|content| content.name.registry != self.name.registry);
                // Else only once it can be pulled there.
                (self.published.is_none() && self.told != self.name).then(|| self.renamed())
            }
            ImageEvent::Described(event) => {
                let data = self.named().with("description", event.description).with("actor", actor);
                Some(data.told("image.described"))
            }
            ImageEvent::Deleted(event) => {
                let data = self.named().with("purge", event.purge).with("actor", actor);
                self.deleted = true;
                self.purging = event.purge;
                self.builds.clear();
                Some(data.told_of("image.deleted", self.content()))
            }
        }
    }

    fn access(&self, actor: &str, event: &AccessEvent) -> Option<Told> {
        if self.deleted {
            return None;
        }
        let (kind, grantee, right) = match event {
            AccessEvent::Granted(event) => ("access.granted", &event.grantee, event.right().as_str_name()),
            AccessEvent::Revoked(event) => ("access.revoked", &event.grantee, ""),
        };
        let data = match grantee.as_ref()?.kind.as_ref()? {
            grantee::Kind::User(user) => json!({ "user": user }),
            grantee::Kind::Workspace(workspace) => json!({ "workspace": workspace }),
            grantee::Kind::Everyone(Everyone {}) => json!({ "everyone": {} }),
        };
        let data = Data::new()
            .with("grantee", data)
            .with("right", right)
            .with("actor", actor);
        Some(data.told(kind))
    }

    fn spec(&self, actor: &str, event: SpecEvent) -> Option<Told> {
        if self.deleted {
            return None;
        }
        match event {
            SpecEvent::ContextUploaded(_) => None,
            SpecEvent::RevisionSaved(event) => {
                let kind = event
                    .spec
                    .as_ref()
                    .map_or(ContextKind::Unspecified, BuildSpec::context_kind);
                let data = Data::new()
                    .with("revision", event.number)
                    .with("contextKind", kind.as_str_name())
                    .with("note", event.note)
                    .with("restoredFrom", event.restored_from)
                    .with("actor", actor);
                Some(data.told("spec.saved"))
            }
        }
    }

    fn builds(&mut self, actor: &str, event: BuildsEvent) -> Option<Told> {
        if self.deleted {
            return None;
        }
        match event {
            BuildsEvent::Queued(event) => {
                let id = event.build.unwrap_or_default();
                let build = Build {
                    revision: event.revision,
                    requester: actor.to_owned(),
                    ..Build::default()
                };
                let data = build.data(id);
                self.builds.insert(id.to_string(), build);
                Some(data.told("build.queued"))
            }
            BuildsEvent::Started(event) => {
                let data = self.build(event.build)?;
                let data = data.with("attempt", event.attempt).with("engine", event.engine);
                Some(data.told("build.started"))
            }
            BuildsEvent::SourceFetched(event) => {
                let id = event.build.unwrap_or_default().to_string();
                self.builds.get_mut(&id)?.commit = event.commit;
                None
            }
            BuildsEvent::Failed(event) => {
                let data = self
                    .end(event.build)?
                    .with("attempt", event.attempt)
                    .with("phase", event.phase().as_str_name())
                    .with("cause", event.cause);
                Some(data.told("build.failed"))
            }
            BuildsEvent::Cancelled(event) => Some(self.end(event.build)?.told("build.cancelled")),
            BuildsEvent::Lost(event) => {
                let data = self.end(event.build)?;
                let data = data.with("attempt", event.attempt).with("cause", event.cause);
                Some(data.told("build.lost"))
            }
            BuildsEvent::Assembled(_) | BuildsEvent::CancelRequested(_) | BuildsEvent::AttemptLost(_) => None,
        }
    }

    fn renamed(&mut self) -> Told {
        let previous = std::mem::replace(&mut self.told, self.name.clone());
        let data = self
            .named()
            .with("previousName", previous.short())
            .with("actor", &*self.renamed_by);
        data.told_of("image.renamed", self.content())
    }

    fn named(&self) -> Data {
        Data::new().with("name", self.name.short())
    }

    /// What can be pulled now, or nothing.
    fn content(&self) -> String {
        self.published
            .as_ref()
            .map(|content| pull(&content.name, &content.digest))
            .unwrap_or_default()
    }

    /// `None` when the build has ended.
    fn build(&self, id: Option<BuildId>) -> Option<Data> {
        let id = id.unwrap_or_default();
        Some(self.builds.get(&id.to_string())?.data(id))
    }

    fn end(&mut self, id: Option<BuildId>) -> Option<Data> {
        let id = id.unwrap_or_default();
        Some(self.builds.remove(&id.to_string())?.data(id))
    }
}

impl Build {
    fn data(&self, id: BuildId) -> Data {
        Data::new()
            .with("build", id.to_string())
            .with("revision", self.revision)
            .with("requester", &*self.requester)
    }
}

fn name(name: Option<&ImageName>) -> Name {
    name.map(Name::from).unwrap_or_default()
}

fn pull(name: &Name, digest: &str) -> String {
    format!("{}@{digest}", name.repository())
}
