//! What the world is told of publications, tags and places in the registry.

use super::{Content, Image, Told, data::Data, name, pull};
use access::Name;
use ids::BuildId;
use proto::{builder::v1::BuildPhase, events::RepositoryEvent, registry::v1::PublicationCommitted};

impl Image {
    pub(super) fn repository(&mut self, events: Vec<RepositoryEvent>) -> Vec<Told> {
        let mut told = Vec::new();
        for event in events {
            match event {
                // About what lies in the registry, whether or not the image is still listed.
                RepositoryEvent::Released(event) => told.extend(self.released(&event.registry, &event.path)),
                _ if self.deleted => (),
                RepositoryEvent::Committed(event) => match self.committed(event) {
                    Some(events) => told.extend(events),
                    // The build had ended, so nothing of this entry counts.
                    None => return told,
                },
                RepositoryEvent::Aborted(event) => {
                    told.extend(self.end(event.build).map(|data| data.told("build.cancelled")));
                }
                RepositoryEvent::Refused(event) => {
                    told.extend(self.refused(event.build, &event.cause, event.retryable));
                }
                RepositoryEvent::TagMoved(event) => {
                    let at = self.published.as_ref().map_or(&self.name, |content| &content.name);
                    let data = Data::new()
                        .with(
                            "name",
                            Name {
                                primary_tag: event.tag.clone(),
                                ..at.clone()
                            }
                            .short(),
                        )
                        .with("tag", &*event.tag)
                        .with("digest", &*event.digest)
                        .with("previousDigest", event.previous_digest)
                        .with("build", event.build.map(|id| id.to_string()).unwrap_or_default());
                    told.push(data.told_of("tag.moved", pull(at, &event.digest)));
                    let primary = &self.name.primary_tag;
                    if let Some(content) = self.published.as_mut().filter(|_| event.tag == *primary) {
                        content.digest = event.digest;
                    }
                }
                RepositoryEvent::Relocated(event) => {
                    let name = name(event.name.as_ref());
                    let is_current = name == self.name;
                    if let Some(content) = &mut self.published {
                        content.name = name;
                    }
                    // One that was overtaken by another rename is not worth telling.
                    if is_current && self.told != self.name {
                        told.push(self.renamed());
                    }
                }
                RepositoryEvent::Opened(_) | RepositoryEvent::Reopened(_) | RepositoryEvent::TagsPlaced(_) => (),
            }
        }
        told
    }

    fn committed(&mut self, event: PublicationCommitted) -> Option<Vec<Told>> {
        let id = event.build.unwrap_or_default();
        let build = self.builds.remove(&id.to_string())?;
        let target = name(event.target.as_ref());
        let common = |data: Data| {
            data.with("digest", &*event.digest)
                .with("platform", format!("{}/{}", event.os, event.architecture))
                // As proto3 JSON writes 64 bits.
                .with("sizeBytes", event.size_bytes.to_string())
        };
        let content = pull(&target, &event.digest);
        let succeeded = common(build.data(id).with("commit", &*build.commit));
        let mut told = vec![succeeded.told_of("build.succeeded", content.clone())];
        // A late success of an older revision is not what anybody should run.
        if self
            .published
            .as_ref()
            .is_none_or(|content| event.revision >= content.revision)
        {
            if target.repository() != self.name.repository() {
                // It was opened before a rename, and follows later.
                self.told = target.clone();
            }
            let published = common(Data::new().with("name", target.short()).and(build.data(id)));
            told.push(published.told_of("image.published", content));
            self.published = Some(Content {
                name: target,
                digest: event.digest,
                revision: event.revision,
            });
        }
        Some(told)
    }

    /// The push failed; the build too, which the world is told once.
    fn refused(&mut self, build: Option<BuildId>, cause: &str, retryable: bool) -> Vec<Told> {
        let id = build.unwrap_or_default();
        let Some(build) = self.builds.get_mut(&id.to_string()) else {
            return Vec::new();
        };
        let failed = |data: Data| data.with("cause", cause).with("retryable", retryable);
        let mut told = vec![failed(build.data(id)).told("push.failed")];
        if !build.failed {
            let data = build.data(id).with("phase", BuildPhase::Pushing.as_str_name());
            told.push(failed(data).told("build.failed"));
        }
        build.failed = true;
        if !retryable {
            self.builds.remove(&id.to_string());
        }
        told
    }

    fn released(&mut self, registry: &str, path: &str) -> Option<Told> {
        let is = |name: &Name| name.registry == registry && name.path == path;
        self.published.take_if(|content| is(&content.name));
        let purged = self.purging && is(&self.name);
        self.purging &= !purged;
        purged.then(|| self.named().told("image.purged"))
    }
}
