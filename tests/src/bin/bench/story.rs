//! The life of an image in a made-up log: created, saved, built, broken, mended, published again.
//!
//! No build or publication is left open, and every tag is where it should be, so that the services have nothing to do.

mod long;

pub(crate) use long::{LONG_ENTRIES, LONG_STEP_MS, USERS, user};

use aggregate::Event;
use bytes::Bytes;
use eventlog::{Envelope, Position, StreamId};
use ids::{BuildId, ImageId, Ulid, WorkerId, WorkspaceId};
use prost::Message as _;
use proto::{
    builder::v1::{BuildAssembled, BuildFailed, BuildOptions, BuildPhase, BuildQueued, BuildStarted, BuildStep},
    catalog::v1::{ImageCreated, ImageName, MemberAdded, NameTaken, Role, WorkspaceCreated},
    editor::v1::{BuildSpec, ContextKind, RevisionSaved},
    events::{BuildsEvent, ImageEvent, NameEvent, RepositoryEvent, SpecEvent, WorkspaceEvent},
    registry::v1::{PublicationCommitted, PublicationOpened, TagMoved, TagsPlaced},
};
use sha2::{Digest as _, Sha256};

/// Entries of one image.
pub(crate) const ENTRIES: usize = 20;
const IMAGES_PER_WORKSPACE: usize = 200;
const ENGINE: &str = "local";
/// When it all began, in milliseconds since 1970.
pub(crate) const BEGAN_MS: i64 = 1_750_000_000_000;
const HOUR_MS: i64 = 3_600_000;

/// What is written next: by whom, and where.
pub(crate) struct Step {
    /// The NATS account whose category it is.
    pub(crate) account: &'static str,
    pub(crate) stream: StreamId,
    pub(crate) bytes: Bytes,
}

/// An id that is the same in every run.
fn ulid(kind: u128, number: usize) -> Ulid {
    Ulid::from_parts(BEGAN_MS.cast_unsigned(), kind << 64 | number as u128)
}

pub(crate) fn image_id(number: usize) -> ImageId {
    ImageId::from_ulid(ulid(1, number))
}

pub(crate) fn workspace_id(number: usize) -> WorkspaceId {
    WorkspaceId::from_ulid(ulid(2, number / IMAGES_PER_WORKSPACE))
}

pub(crate) fn workspaces(images: usize) -> usize {
    images.div_ceil(IMAGES_PER_WORKSPACE)
}

/// The SHA-256 of a text.
fn hex(text: &str) -> String {
    base16ct::lower::encode_string(&Sha256::digest(text))
}

/// An entry as the services write it.
pub(crate) fn entry<E: Event>(actor: &str, time_ms: i64, request: Ulid, cause: Position, events: &[E]) -> Bytes {
    let trace = request.0;
    let envelope = Envelope {
        schema: 1,
        time_ms,
        actor: actor.to_owned(),
        request_id: request.to_string(),
        traceparent: format!("00-{trace:032x}-{:016x}-01", trace & u128::from(u64::MAX)),
        cause: cause.0,
        judged_at: cause.0,
        events: events.iter().map(|event| Bytes::from(event.to_bytes())).collect(),
        ..Envelope::default()
    };
    envelope.encode_to_vec().into()
}

pub(crate) fn workspace(number: usize, owner: &str) -> Step {
    let created = WorkspaceEvent::Created(WorkspaceCreated {
        name: format!("team-{number}"),
        owner: owner.to_owned(),
    });
    let colleague = |n: usize| {
        let user = format!("colleague-{number}-{n}");
        WorkspaceEvent::MemberAdded(MemberAdded {
            user,
            role: Role::Participant.into(),
        })
    };
    let events = [created, colleague(1), colleague(2), colleague(3)];
    let id = workspace_id(number * IMAGES_PER_WORKSPACE);
    Step {
        account: "catalog",
        stream: StreamId::new("workspace", id),
        bytes: entry(owner, BEGAN_MS, ulid(3, number), Position(0), &events),
    }
}

/// One image, as far as its story was told.
pub(crate) struct Story {
    number: usize,
    /// How many entries it has.
    length: usize,
    image: ImageId,
    name: ImageName,
    owner: String,
    told: usize,
    last: Position,
    /// The last publication, whose tags have to be placed.
    committed: Position,
}

impl Story {
    pub(crate) fn new(number: usize, owner: &str) -> Self {
        let path = format!("team-{}/tool-{number:06}", number / IMAGES_PER_WORKSPACE);
        Self {
            number,
            length: ENTRIES,
            image: image_id(number),
            name: ImageName {
                registry: String::new(),
                path,
                primary_tag: "latest".to_owned(),
            },
            owner: owner.to_owned(),
            told: 0,
            last: Position(0),
            committed: Position(0),
        }
    }

    /// Where the last entry came to lie.
    pub(crate) fn written(&mut self, position: Position) {
        if matches!(self.told, 9 | 19) {
            self.committed = position;
        }
        self.last = position;
    }

    pub(crate) fn committed(&self) -> Position {
        self.committed
    }

    /// The next entry; none when all were told.
    pub(crate) fn next(&mut self) -> Option<Step> {
        self.told += 1;
        Some(match self.told {
            1 => {
                let repository = format!("/{}", self.name.path);
                let key = hex(&repository);
                let taken = NameEvent::Taken(NameTaken {
                    image: Some(self.image),
                    workspace: Some(workspace_id(self.number)),
                    registry: String::new(),
                    path: self.name.path.clone(),
                });
                let stream = StreamId::new("name", key);
                Step {
                    account: "catalog",
                    stream,
                    bytes: self.by_owner(&[taken]),
                }
            }
            2 => self.step(
                "catalog",
                "image",
                &[ImageEvent::Created(ImageCreated {
                    workspace: Some(workspace_id(self.number)),
                    name: Some(self.name.clone()),
                    description: format!("tool number {} of the team", self.number),
                })],
            ),
            3 => self.save(1),
            4 | 12 | 15 => self.queue(),
            5 | 13 | 16 => self.start(),
            6 | 17 => self.assemble(),
            7 | 18 => self.open(),
            // While the first build runs.
            8 => self.save(2),
            9 | 19 => self.commit(),
            10 | 20 => self.place(),
            11 => self.save(3),
            14 => self.fail(),
            told if told <= self.length => self.go_on(),
            _ => return None,
        })
    }

    fn time_ms(&self) -> i64 {
        let hours = i64::try_from((self.number * ENTRIES + self.told) % 1_000).unwrap_or_default();
        self.long_time_ms().unwrap_or(BEGAN_MS + hours * HOUR_MS)
    }

    fn request(&self) -> Ulid {
        ulid(4, self.number * 100 + self.told)
    }

    fn by_owner<E: Event>(&self, events: &[E]) -> Bytes {
        entry(&self.owner, self.time_ms(), self.request(), Position(0), events)
    }

    fn step<E: Event>(&self, account: &'static str, category: &str, events: &[E]) -> Step {
        let stream = StreamId::new(category, self.image);
        let bytes = if matches!(account, "catalog" | "editor") {
            self.by_owner(events)
        } else {
            entry(
                &format!("system:{account}"),
                self.time_ms(),
                self.request(),
                self.last,
                events,
            )
        };
        Step { account, stream, bytes }
    }

    /// The build that the story is at.
    fn build(&self) -> (Option<BuildId>, u32) {
        let (number, revision) = match self.told {
            0..=10 => (0, 1),
            11..=14 => (1, 3),
            _ => (2, 3),
        };
        (Some(self.nth_build(number)), revision)
    }

    fn nth_build(&self, number: usize) -> BuildId {
        BuildId::from_ulid(ulid(5, self.number * 10 + number))
    }

    fn save(&self, number: u32) -> Step {
        let dockerfile = format!(
            "FROM scratch\nLABEL org.opencontainers.image.title=\"tool-{}\"\nLABEL revision=\"{number}\"\n\
             ENV PATH=/usr/local/bin:/usr/bin:/bin\nCOPY bin/tool /usr/local/bin/tool\n\
             COPY share/ /usr/local/share/tool/\nWORKDIR /work\nENTRYPOINT [\"tool\"]\nCMD [\"--help\"]\n",
            self.number
        );
        let spec = BuildSpec {
            context_kind: ContextKind::LocalFolder.into(),
            dockerfile,
            ..BuildSpec::default()
        };
        let note = format!("the {number}. try");
        self.step(
            "editor",
            "spec",
            &[SpecEvent::RevisionSaved(RevisionSaved {
                number,
                spec: Some(spec),
                note,
                restored_from: 0,
            })],
        )
    }

    fn queue(&self) -> Step {
        let (build, revision) = self.build();
        let queued = BuildsEvent::Queued(BuildQueued {
            build,
            workspace: Some(workspace_id(self.number)),
            revision,
            options: Some(BuildOptions::default()),
            ..BuildQueued::default()
        });
        let bytes = self.by_owner(&[queued]);
        Step {
            account: "builder",
            stream: StreamId::new("builds", self.image),
            bytes,
        }
    }

    fn start(&self) -> Step {
        self.step(
            "builder",
            "builds",
            &[BuildsEvent::Started(BuildStarted {
                build: self.build().0,
                attempt: 1,
                worker: Some(WorkerId::from_ulid(ulid(6, 0))),
                engine: ENGINE.to_owned(),
                engine_version: "28.5.2".to_owned(),
            })],
        )
    }

    fn steps(error: &str) -> Vec<BuildStep> {
        let step = |name: &str, error: &str| BuildStep {
            name: name.to_owned(),
            cached: error.is_empty(),
            duration: None,
            error: error.to_owned(),
        };
        let last = step("[3/3] WORKDIR /work", error);
        vec![
            step("[1/3] COPY bin/tool /usr/local/bin/tool", ""),
            step("[2/3] COPY share/ /usr/local/share/tool/", ""),
            last,
        ]
    }

    fn artifact(&self) -> String {
        format!("cooperage-artifact/{}:1", self.image.ulid().to_string().to_lowercase())
    }

    fn assemble(&self) -> Step {
        let (build, revision) = self.build();
        self.step(
            "builder",
            "builds",
            &[BuildsEvent::Assembled(BuildAssembled {
                build,
                attempt: 1,
                revision,
                engine: ENGINE.to_owned(),
                artifact: self.artifact(),
                engine_image_id: self.digest(),
                os: "linux".to_owned(),
                architecture: "amd64".to_owned(),
                steps: Self::steps(""),
                bases: Vec::new(),
                tags: Vec::new(),
            })],
        )
    }

    fn fail(&self) -> Step {
        self.step(
            "builder",
            "builds",
            &[BuildsEvent::Failed(BuildFailed {
                build: self.build().0,
                attempt: 1,
                phase: BuildPhase::Building.into(),
                cause: "Dockerfile:5: \"/bin/tool\": not found".to_owned(),
                steps: Self::steps("\"/bin/tool\": not found"),
            })],
        )
    }

    fn open(&self) -> Step {
        let (build, revision) = self.build();
        self.step(
            "registry-pusher",
            "repository",
            &[RepositoryEvent::Opened(PublicationOpened {
                build,
                build_attempt: 1,
                revision,
                target: Some(self.name.clone()),
                engine: ENGINE.to_owned(),
                artifact: self.artifact(),
                tags: vec!["latest".to_owned()],
                requester: self.owner.clone(),
            })],
        )
    }

    fn digest(&self) -> String {
        self.digest_of(self.build().0.unwrap_or_default())
    }

    fn digest_of(&self, build: BuildId) -> String {
        format!("sha256:{}", hex(&format!("{} {build}", self.number)))
    }

    fn commit(&self) -> Step {
        let (build, revision) = self.build();
        let committed = RepositoryEvent::Committed(PublicationCommitted {
            build,
            digest: self.digest(),
            size_bytes: 12_345_678,
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            revision,
            target: Some(self.name.clone()),
            requester: self.owner.clone(),
        });
        let moved = RepositoryEvent::TagMoved(TagMoved {
            tag: "latest".to_owned(),
            digest: self.digest(),
            previous_digest: if revision == 1 {
                String::new()
            } else {
                self.digest_of(self.nth_build(0))
            },
            build,
        });
        self.step("registry-pusher", "repository", &[committed, moved])
    }

    fn place(&self) -> Step {
        let placed = RepositoryEvent::TagsPlaced(TagsPlaced {
            position: self.committed.0,
        });
        self.step("registry-pusher", "repository", &[placed])
    }
}
