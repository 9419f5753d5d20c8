//! Tells the story of one image, entry by entry.

use crate::events::{Image, Name, about_image};
use aggregate::Event;
use eventlog::{Entry, Envelope, Position, StreamId};
use ids::{BuildId, ImageId, Ulid, WorkspaceId};
use prost::Message as _;
use proto::{
    builder::v1::{BuildAssembled, BuildQueued, SourceFetched},
    catalog::v1::{ImageCreated, ImageDeleted, ImageName, ImageRenamed},
    editor::v1::{BuildSpec, RevisionSaved},
    events::{BuildsEvent, ImageEvent, RepositoryEvent, SpecEvent},
    registry::v1::{
        PublicationCommitted, PublicationOpened, PublicationRefused, RepositoryReleased, RepositoryRelocated, TagMoved,
    },
};

/// Entries about one image, as they come.
#[derive(Default)]
pub(crate) struct Story {
    pub(super) image: Image,
    pub(crate) entries: Vec<Entry>,
    told: Vec<String>,
}

pub(crate) fn image_id() -> ImageId {
    ImageId::from_ulid(Ulid::from(1u128))
}

pub(crate) fn workspace_id() -> WorkspaceId {
    WorkspaceId::from_ulid(Ulid::from(2u128))
}

pub(super) fn build_id(number: u32) -> BuildId {
    BuildId::from_ulid(Ulid::from(u128::from(number)))
}

pub(super) fn called(text: &str) -> Option<ImageName> {
    Name::parse(text, "localhost:5000").ok().as_ref().map(ImageName::from)
}

pub(crate) fn entry<E: Event>(position: u64, stream: StreamId, actor: &str, events: &[E]) -> Entry {
    let envelope = Envelope {
        schema: 1,
        time_ms: 1_700_000_000_000,
        actor: actor.to_owned(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        events: events.iter().map(|event| event.to_bytes().into()).collect(),
        ..Envelope::default()
    };
    Entry::decode(Position(position), stream, envelope.encode_to_vec().into())
}

impl Story {
    /// Ada has made an image.
    pub(crate) fn of(name: &str) -> Self {
        let created = ImageCreated {
            workspace: Some(workspace_id()),
            name: called(name),
            description: String::new(),
        };
        let mut story = Self::default();
        story.image(ImageEvent::Created(created));
        story
    }

    pub(crate) fn entry<E: Event>(&mut self, category: &str, actor: &str, events: &[E]) {
        let position = self.entries.len() as u64 + 1;
        let entry = entry(position, StreamId::new(category, image_id()), actor, events);
        for told in about_image(&mut self.image, &entry).unwrap() {
            let line = format!("{} {} {}", told.kind, told.data, told.content);
            self.told.push(line.trim_end().to_owned());
        }
        self.entries.push(entry);
    }

    pub(crate) fn image(&mut self, event: ImageEvent) {
        self.entry("image", "ada", &[event]);
    }

    pub(crate) fn build(&mut self, event: BuildsEvent) {
        self.entry("builds", "ada", &[event]);
    }

    pub(crate) fn repository(&mut self, events: &[RepositoryEvent]) {
        self.entry("repository", "system:registry-pusher", events);
    }

    pub(crate) fn save(&mut self, number: u32) {
        let saved = RevisionSaved {
            number,
            spec: Some(BuildSpec::default()),
            note: "better".to_owned(),
            restored_from: 0,
        };
        self.entry("spec", "ada", &[SpecEvent::RevisionSaved(saved)]);
    }

    /// A build as far as the registry-pusher goes on.
    pub(crate) fn assemble(&mut self, build: u32, revision: u32, target: &str) {
        let id = build_id(build);
        self.build(queued(id, revision));
        let build = Some(id);
        let fetched = SourceFetched {
            build,
            attempt: 1,
            commit: "c0ffee".to_owned(),
            tree: String::new(),
        };
        self.build(BuildsEvent::SourceFetched(fetched));
        self.build(BuildsEvent::Assembled(BuildAssembled {
            build,
            ..BuildAssembled::default()
        }));
        let opened = PublicationOpened {
            build,
            revision,
            target: called(target),
            ..PublicationOpened::default()
        };
        self.repository(&[RepositoryEvent::Opened(opened)]);
    }

    pub(crate) fn publish(&mut self, build: u32, revision: u32, target: &str) {
        self.assemble(build, revision, target);
        self.commit(build, revision, target);
    }

    pub(crate) fn commit(&mut self, build: u32, revision: u32, target: &str) {
        let digest = format!("sha256:{build}");
        let target = called(target);
        let tag = target.clone().unwrap().primary_tag;
        let build = Some(build_id(build));
        let committed = PublicationCommitted {
            build,
            digest: digest.clone(),
            size_bytes: 4_096,
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            revision,
            target,
            requester: "ada".to_owned(),
        };
        let moved = TagMoved {
            tag,
            digest,
            previous_digest: String::new(),
            build,
        };
        self.repository(&[RepositoryEvent::Committed(committed), RepositoryEvent::TagMoved(moved)]);
    }

    pub(crate) fn refuse(&mut self, build: u32, retryable: bool) {
        let refused = PublicationRefused {
            build: Some(build_id(build)),
            cause: "the registry is full".to_owned(),
            retryable,
        };
        self.repository(&[RepositoryEvent::Refused(refused)]);
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let renamed = ImageRenamed {
            from: called(from),
            to: called(to),
        };
        self.image(ImageEvent::Renamed(renamed));
    }

    pub(crate) fn relocate(&mut self, name: &str) {
        self.repository(&[RepositoryEvent::Relocated(RepositoryRelocated { name: called(name) })]);
    }

    pub(crate) fn delete(&mut self, name: &str, purge: bool) {
        self.image(ImageEvent::Deleted(ImageDeleted {
            purge,
            name: called(name),
        }));
    }

    pub(crate) fn release(&mut self, path: &str) {
        let released = RepositoryReleased {
            registry: String::new(),
            path: path.to_owned(),
        };
        self.repository(&[RepositoryEvent::Released(released)]);
    }

    /// What was told since it was last asked, ids shortened.
    pub(crate) fn told(&mut self) -> String {
        std::mem::take(&mut self.told)
            .join("\n")
            .replace("0000000000000000000000000", "")
    }
}

pub(super) fn queued(build: BuildId, revision: u32) -> BuildsEvent {
    BuildsEvent::Queued(BuildQueued {
        build: Some(build),
        workspace: Some(workspace_id()),
        revision,
        options: None,
        has_credentials: false,
        repeats: None,
    })
}
