//! An image at a time or a position is what the platform said then.

use super::describe;
use aggregate::Event;
use eventlog::{Append, Clock, Envelope, EventLog as _, StreamId};
use ids::{BuildId, Ulid};
use prost::Message as _;
use proto::{
    builder::v1::{BuildFailed, BuildPhase, BuildQueued},
    catalog::v1::{
        DeleteImageRequest, GetImageAsOfRequest, GetImageAsOfResponse, GrantRequest, Image, ImageName, ImageStatus,
        ListGrantsRequest, ListGrantsResponse, RenameImageRequest, RevokeRequest, Right, get_image_as_of_request::At,
    },
    editor::v1::{BuildSpec, ContextKind, GetSpecRequest, GitSource, Revision},
    events::{BuildsEvent, RepositoryEvent},
    registry::v1::{PublicationCommitted, TagMoved},
};
use service::timestamp;
use tests::{Home, User, reason};
use tonic::{Code, Status};

/// What was to be seen at a position.
struct Seen {
    at: u64,
    image: Image,
    revision: Revision,
    grants: ListGrantsResponse,
    tags: Vec<(String, String)>,
}

struct Story {
    home: Home,
    ada: User,
    image: String,
    tags: Vec<(String, String)>,
    seen: Vec<Seen>,
}

impl Story {
    async fn look(&mut self) {
        let get = GetSpecRequest {
            image: self.image.clone(),
            revision: None,
        };
        let list = ListGrantsRequest {
            image: self.image.clone(),
        };
        let seen = Seen {
            at: self.ada.saw(0),
            image: self.ada.tile(&self.image).await.unwrap(),
            revision: self
                .ada
                .editor()
                .get_spec(get)
                .await
                .unwrap()
                .into_inner()
                .revision
                .unwrap(),
            grants: self.ada.access().list_grants(list).await.unwrap().into_inner(),
            tags: self.tags.clone(),
        };
        self.seen.push(seen);
    }

    /// What another service says of the image.
    async fn told<E: Event>(&mut self, account: &str, category: &str, events: &[E]) {
        let log = self.home.server.connect(account).await.unwrap().log().await.unwrap();
        let envelope = Envelope {
            schema: 1,
            time_ms: Clock::system().now_ms(),
            actor: format!("system:{account}"),
            events: events.iter().map(|event| event.to_bytes().into()).collect(),
            ..Envelope::default()
        };
        let stream = StreamId::new(category, &self.image);
        let append = Append {
            expected: log.version(&stream).await.unwrap(),
            stream,
            bytes: envelope.encode_to_vec().into(),
        };
        self.ada.saw(log.append(vec![append]).await.unwrap().0);
        self.look().await;
    }

    async fn built(&mut self, number: u128, revision: u32, path: &str) {
        let build = Some(BuildId::from_ulid(Ulid::from(number)));
        let queued = BuildQueued {
            build,
            revision,
            ..BuildQueued::default()
        };
        self.told("builder", "builds", &[BuildsEvent::Queued(queued)]).await;
        let digest = format!("sha256:{number:064x}");
        let committed = PublicationCommitted {
            build,
            digest: digest.clone(),
            revision,
            size_bytes: 1_000,
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            target: Some(ImageName {
                path: path.to_owned(),
                ..ImageName::default()
            }),
            requester: "ada".to_owned(),
        };
        let moved = TagMoved {
            tag: "latest".to_owned(),
            digest: digest.clone(),
            build,
            ..TagMoved::default()
        };
        self.tags = vec![("latest".to_owned(), digest)];
        let events = [RepositoryEvent::Committed(committed), RepositoryEvent::TagMoved(moved)];
        self.told("registry-pusher", "repository", &events).await;
    }
}

async fn as_of(user: &User, image: &str, at: At) -> Result<GetImageAsOfResponse, Status> {
    let request = GetImageAsOfRequest {
        image: image.to_owned(),
        at: Some(at),
    };
    Ok(user.history().get_image_as_of(request).await?.into_inner())
}

fn spec(dockerfile: &str) -> BuildSpec {
    BuildSpec {
        context_kind: ContextKind::LocalFolder.into(),
        dockerfile: dockerfile.to_owned(),
        ..BuildSpec::default()
    }
}

async fn story() -> Story {
    let home = Home::start(&[catalog::SERVICE, editor::SERVICE]).await.unwrap();
    let ada = home.user("ada").unwrap();
    let workspace = ada.workspace("vision").await.unwrap();
    let image = ada.image(&workspace, "vision/tool").await.unwrap();
    let mut story = Story {
        home,
        ada: ada.clone(),
        image: image.clone(),
        tags: Vec::new(),
        seen: Vec::new(),
    };
    story.look().await;
    describe(&ada, &image, "a tool").await.unwrap();
    story.look().await;
    ada.save_spec(&image, spec("FROM scratch\nLABEL one=1\n"))
        .await
        .unwrap();
    story.look().await;
    story.built(1, 1, "vision/tool").await;
    let grant = GrantRequest {
        image: image.clone(),
        grantee: Some((&access::Grantee::User("bob".to_owned())).into()),
        right: Right::Write.into(),
        ..GrantRequest::default()
    };
    ada.saw(ada.access().grant(grant.clone()).await.unwrap().into_inner().position);
    story.look().await;
    let git = BuildSpec {
        context_kind: ContextKind::GitRepository.into(),
        git: Some(GitSource {
            url: "https://git.example.org/tool".to_owned(),
            ..GitSource::default()
        }),
        ..spec("FROM scratch\nLABEL one=1\n")
    };
    ada.save_spec(&image, git).await.unwrap();
    story.look().await;
    let failed = BuildsEvent::Failed(BuildFailed {
        build: Some(BuildId::from_ulid(Ulid::from(2))),
        phase: BuildPhase::Fetching.into(),
        cause: "nobody answers".to_owned(),
        ..BuildFailed::default()
    });
    let queued = BuildsEvent::Queued(BuildQueued {
        build: Some(BuildId::from_ulid(Ulid::from(2))),
        revision: 2,
        ..BuildQueued::default()
    });
    story.told("builder", "builds", &[queued, failed]).await;
    let rename = RenameImageRequest {
        image: image.clone(),
        name: "vision/other:2".to_owned(),
        ..RenameImageRequest::default()
    };
    ada.saw(ada.images().rename_image(rename).await.unwrap().into_inner().position);
    story.look().await;
    story.built(3, 2, "vision/other").await;
    let revoke = RevokeRequest {
        image: image.clone(),
        grantee: grant.grantee,
        ..RevokeRequest::default()
    };
    ada.saw(ada.access().revoke(revoke).await.unwrap().into_inner().position);
    story.look().await;
    story
}

// covers E5, E10, R12, R13, R14, R22, R23
#[tokio::test]
async fn at_each_position_an_image_is_what_it_was() {
    let mut story = story().await;
    let ada = story.ada.clone();
    let delete = DeleteImageRequest {
        image: story.image.clone(),
        ..DeleteImageRequest::default()
    };
    ada.saw(ada.images().delete_image(delete).await.unwrap().into_inner().position);
    // By its id, and by the name that nobody has taken since.
    for reference in [story.image.clone(), "vision/other".to_owned()] {
        for seen in &story.seen {
            let past = as_of(&ada, &reference, At::Position(seen.at)).await.unwrap();
            assert_eq!(past.image.as_ref(), Some(&seen.image));
            assert_eq!(past.revision.unwrap_or_default().number, seen.revision.number);
            assert_eq!(past.grants, seen.grants.grants);
            let tags: Vec<_> = past
                .tags
                .iter()
                .map(|tag| (tag.name.clone(), tag.digest.clone()))
                .collect();
            assert_eq!(tags, seen.tags);
            assert!(past.position <= seen.at && past.time.is_some());
        }
    }
    let statuses: Vec<ImageStatus> = story.seen.iter().map(|seen| seen.image.status()).collect();
    let changes = statuses.chunk_by(|one, next| one == next).map(|same| same[0]);
    let expected = [
        ImageStatus::NotBuilt,
        ImageStatus::Built,
        ImageStatus::Modified,
        ImageStatus::Built,
    ];
    assert_eq!(changes.collect::<Vec<_>>(), expected);
    for seen in story.seen.iter().filter(|seen| seen.revision.number > 0) {
        let past = as_of(&ada, &story.image, At::Position(seen.at)).await.unwrap();
        assert_eq!(past.revision, Some(seen.revision.clone()), "with its Dockerfile");
    }
    // And all the same after the views have grown back.
    let head = ada.saw(0);
    story.home.stop().await.unwrap();
    std::fs::remove_dir_all(story.home.views()).unwrap();
    story.home.go_on().await.unwrap();
    let ada = story.home.user("ada").unwrap();
    ada.saw(head);
    for seen in &story.seen {
        let past = as_of(&ada, &story.image, At::Position(seen.at)).await.unwrap();
        assert_eq!(past.image.as_ref(), Some(&seen.image));
    }
    let last = as_of(&ada, &story.image, At::Position(head)).await.unwrap();
    assert!(last.image.unwrap().deleted && last.grants.is_empty());
}

// covers E10
#[tokio::test]
async fn a_time_is_as_good_as_a_position() {
    let story = story().await;
    let ada = &story.ada;
    let last = story.seen.last().unwrap();
    let by_position = as_of(ada, &story.image, At::Position(last.at)).await.unwrap();
    let time = by_position.time.unwrap();
    assert_eq!(as_of(ada, &story.image, At::Time(time)).await.unwrap(), by_position);
    let tomorrow = At::Time(timestamp((time.seconds + 86_400) * 1_000).unwrap());
    assert_eq!(as_of(ada, &story.image, tomorrow).await.unwrap(), by_position);

    let before = as_of(ada, &story.image, At::Position(1)).await.unwrap_err();
    assert_eq!((before.code(), &*reason(&before)), (Code::NotFound, "NOT_CREATED_YET"));
    assert!(before.message().contains("at position 1"), "{}", before.message());
    let epoch = At::Time(timestamp(1).unwrap());
    assert_eq!(
        reason(&as_of(ada, &story.image, epoch).await.unwrap_err()),
        "NOT_CREATED_YET"
    );
    let beyond = as_of(ada, &story.image, At::Position(last.at + 1_000))
        .await
        .unwrap_err();
    assert_eq!(reason(&beyond), "VIEW_BEHIND");

    // The past of an image is for whoever may see it now.
    let eve = story.home.user("eve").unwrap();
    eve.saw(ada.saw(0));
    let hidden = as_of(&eve, &story.image, At::Position(last.at)).await.unwrap_err();
    let absent = as_of(&eve, "no/such", At::Position(last.at)).await.unwrap_err();
    assert_eq!((hidden.code(), hidden.message()), (absent.code(), absent.message()));
}
