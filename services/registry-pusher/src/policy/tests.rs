//! From an assembled build to what can be pulled, on the real parts.

mod retry;

use super::*;
use crate::testbed::{Platform, TestImage};
use proto::{
    builder::v1::CancelRequested,
    catalog::v1::{ImageDeleted, ImageRenamed},
    events::{BuildsEvent, ImageEvent, RepositoryEvent},
    registry::v1::{InspectImageRequest, ListTagsRequest, ResolveReferenceRequest, RetryPushRequest},
};
use tonic::Code;
use tonic_types::StatusExt as _;

fn resolve(image: &str, reference: &str) -> ResolveReferenceRequest {
    ResolveReferenceRequest {
        image: image.to_owned(),
        reference: reference.to_owned(),
    }
}

fn reason(status: &tonic::Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

fn is_placed(event: &RepositoryEvent) -> bool {
    matches!(event, RepositoryEvent::TagsPlaced(_))
}

fn committed(events: &[RepositoryEvent]) -> Vec<String> {
    let digest = |event: &RepositoryEvent| match event {
        RepositoryEvent::Committed(event) => Some(event.digest.clone()),
        _ => None,
    };
    events.iter().filter_map(digest).collect()
}

// covers R5, R39, R40, R41, R47, R50, R60, R78, R110
#[tokio::test]
async fn engine_image_is_published_and_answered_for() {
    let platform = Platform::start().await;
    let (path, host) = (platform.path.clone(), platform.registry.host().to_owned());
    let artifact = TestImage::build(format!("{path}:artifact"), "content").await.name;
    let registry = platform.registry.client();
    platform
        .during(async |mut api| {
            let build = platform.assemble(1, 3, &artifact).await;
            let (events, at) = platform.until(is_placed).await;
            let digest = committed(&events).pop().expect("it was committed");
            for tag in ["latest", "v1"] {
                assert_eq!(
                    registry.digest(&path, tag).await.unwrap(),
                    Some(digest.clone()),
                    "{tag}"
                );
            }
            let log = platform.output(build).await;
            let last = log.lines().next_back().unwrap_or_default();
            assert!(last.contains(&digest), "{log}");

            for (image, reference) in [
                (path.clone(), ""),
                (platform.image.to_string(), "v1"),
                (format!("{host}/{path}:latest"), ""),
                (path.clone(), digest.as_str()),
            ] {
                let resolved = api
                    .resolve_reference(platform.call(at, resolve(&image, reference)))
                    .await
                    .unwrap();
                assert_eq!(
                    resolved.get_ref().reference,
                    format!("{host}/{path}@{digest}"),
                    "{image} {reference}"
                );
                assert_eq!(resolved.get_ref().platform, "linux/amd64");
            }
            let absent = api
                .resolve_reference(platform.call(at, resolve(&path, "v9")))
                .await
                .unwrap_err();
            assert_eq!(
                (absent.code(), &*reason(&absent)),
                (Code::FailedPrecondition, "NOT_PUBLISHED")
            );
            let list = ListTagsRequest {
                image: path.clone(),
                page_size: 1,
                page_token: String::new(),
            };
            let first = api
                .list_tags(platform.call(at, list.clone()))
                .await
                .unwrap()
                .into_inner();
            assert_eq!(first.tags[0].reference, format!("{host}/{path}:latest"));
            assert_eq!(first.tags[0].actor, "ada");
            let next = ListTagsRequest {
                page_token: first.next_page_token,
                ..list
            };
            let second = api.list_tags(platform.call(at, next)).await.unwrap().into_inner();
            assert_eq!(second.tags[0].name, "v1");
            let inspect = InspectImageRequest {
                image: path.clone(),
                reference: String::new(),
            };
            let inspected = api
                .inspect_image(platform.call(at, inspect))
                .await
                .unwrap()
                .into_inner();
            assert_eq!(
                (inspected.entrypoint, inspected.cmd),
                (vec!["/file".to_owned()], vec!["--help".to_owned()])
            );
            assert_eq!(inspected.size_bytes, first.tags[0].size_bytes);
            assert!(inspected.created.is_some());
        })
        .await;
    platform.clean().await;
}

// covers R5, R50
#[tokio::test]
async fn engine_image_follows_its_name_and_goes_with_it() {
    let platform = Platform::start().await;
    let (path, host) = (platform.path.clone(), platform.registry.host().to_owned());
    let renamed = format!("{path}-new");
    let artifact = TestImage::build(format!("{path}:artifact"), "content").await.name;
    let registry = platform.registry.client();
    let absent = async |path: &str, digest: &str| {
        assert_eq!(registry.tags(path).await.unwrap(), [""; 0]);
        assert_eq!(registry.digest(path, digest).await.unwrap(), None);
    };
    platform
        .during(async |mut api| {
            platform.assemble(1, 3, &artifact).await;
            let digest = committed(&platform.until(is_placed).await.0)
                .pop()
                .expect("it was committed");

            let rename = ImageEvent::Renamed(ImageRenamed {
                from: Some(Platform::name(&path, "latest")),
                to: Some(Platform::name(&renamed, "stable")),
            });
            platform.write_image(&rename).await;
            let (_, at) = platform
                .until(|event| matches!(event, RepositoryEvent::Released(_)))
                .await;
            absent(&path, &digest).await;
            for tag in ["latest", "v1", "stable"] {
                assert_eq!(
                    registry.digest(&renamed, tag).await.unwrap(),
                    Some(digest.clone()),
                    "{tag}"
                );
            }
            let resolved = api
                .resolve_reference(platform.call(at, resolve(&renamed, "")))
                .await
                .unwrap();
            assert_eq!(resolved.get_ref().reference, format!("{host}/{renamed}@{digest}"));

            let name = Some(Platform::name(&renamed, "stable"));
            platform
                .write_image(&ImageEvent::Deleted(ImageDeleted { purge: true, name }))
                .await;
            platform
                .until(|event| matches!(event, RepositoryEvent::Released(event) if event.path == renamed))
                .await;
            absent(&renamed, &digest).await;
        })
        .await;
    platform.clean().await;
}

// covers E4
#[tokio::test]
async fn engine_push_is_called_off_and_leaves_nothing() {
    let platform = Platform::start().await;
    let path = platform.path.clone();
    let artifact = TestImage::build(format!("{path}:artifact"), "content").await.name;
    let build = platform.assemble(1, 1, &artifact).await;
    platform
        .write_builds(&BuildsEvent::CancelRequested(CancelRequested { build: Some(build) }))
        .await;
    platform
        .during(async |_| {
            let (events, _) = platform
                .until(|event| matches!(event, RepositoryEvent::Aborted(_)))
                .await;
            assert_eq!(events.len(), 1, "{events:?}");
        })
        .await;
    assert_eq!(platform.output(build).await, "CANCELLED\n");
    assert_eq!(platform.registry.client().tags(&path).await.unwrap(), [""; 0]);
    let left = Engine::new("").references().await.unwrap();
    assert!(!left.contains(&artifact), "{left:?}");
}

// covers E4
#[tokio::test]
async fn engine_push_is_stopped_in_the_middle() {
    let platform = Platform::start().await;
    let path = platform.path.clone();
    // Nothing that compresses, so that the push takes its time.
    let mut state = 1u64;
    let noise = (0..40_000_000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + u8::try_from(state >> 60).unwrap_or_default())
    });
    let artifact = TestImage::build(format!("{path}:artifact"), &noise.collect::<String>())
        .await
        .name;
    platform
        .during(async |_| {
            let build = platform.assemble(1, 1, &artifact).await;
            platform
                .until(|event| matches!(event, RepositoryEvent::Opened(_)))
                .await;
            platform
                .write_builds(&BuildsEvent::CancelRequested(CancelRequested { build: Some(build) }))
                .await;
            let is_end = |event: &RepositoryEvent| !matches!(event, RepositoryEvent::Opened(_));
            let (events, _) = platform.until(is_end).await;
            assert!(matches!(events.last(), Some(RepositoryEvent::Aborted(_))), "{events:?}");
        })
        .await;
    assert_eq!(platform.registry.client().tags(&path).await.unwrap(), [""; 0]);
    let left = Engine::new("").references().await.unwrap();
    assert!(!left.iter().any(|reference| reference.contains(&path)), "{left:?}");
}

// covers E2
#[tokio::test]
async fn engine_push_waits_for_a_registry_that_is_away() {
    let mut platform = Platform::start().await;
    let artifact = TestImage::build(format!("{}:artifact", platform.path), "content")
        .await
        .name;
    platform.registry.kill();
    let build = platform.assemble(1, 1, &artifact).await;
    let is_told = async |platform: &Platform| {
        while !platform.output(build).await.contains("trying again in 1 s") {}
    };
    platform.during(async |_| is_told(&platform).await).await;
    platform.registry.restart();
    let (events, _) = platform.during(async |_| platform.until(is_placed).await).await;
    assert_eq!(committed(&events).len(), 1, "{events:?}");
    platform.clean().await;
}

#[tokio::test]
async fn engine_without_the_image_is_said_so_and_nothing_is_retried() {
    let platform = Platform::start().await;
    platform
        .during(async |mut api| {
            let build = platform.assemble(1, 1, &format!("{}:gone", platform.path)).await;
            let (events, at) = platform
                .until(|event| matches!(event, RepositoryEvent::Refused(_)))
                .await;
            let Some(RepositoryEvent::Refused(refused)) = events.last() else {
                panic!("{events:?}")
            };
            assert_eq!(
                refused.cause,
                "the container engine no longer has the image, build it again"
            );
            assert!(!refused.retryable);
            assert!(
                platform
                    .output(build)
                    .await
                    .starts_with("ERROR: the container engine no longer has the image")
            );
            let retry = RetryPushRequest {
                image: platform.path.clone(),
                ..RetryPushRequest::default()
            };
            let gone = api.retry_push(platform.call(at, retry)).await.unwrap_err();
            assert_eq!(
                (gone.code(), reason(&gone).as_str()),
                (Code::FailedPrecondition, "ARTIFACT_GONE")
            );
        })
        .await;
}

// covers E2
#[tokio::test]
async fn engine_push_goes_on_after_a_restart_and_is_committed_once() {
    let platform = Platform::start().await;
    let artifact = TestImage::build(format!("{}:artifact", platform.path), "content")
        .await
        .name;
    platform
        .during(async |_| {
            platform.assemble(1, 1, &artifact).await;
            platform
                .until(|event| matches!(event, RepositoryEvent::Opened(_)))
                .await;
        })
        .await;
    let (events, _) = platform.during(async |_| platform.until(is_placed).await).await;
    assert_eq!(committed(&events).len(), 1, "{events:?}");
    let again = platform.during(async |_| platform.until(is_placed).await).await;
    assert_eq!(again.0, events, "a start on what is done writes nothing");
    platform.clean().await;
}

// covers E5
#[tokio::test]
async fn engine_push_of_an_older_revision_moves_no_tag_back() {
    let platform = Platform::start().await;
    let (path, registry) = (platform.path.clone(), platform.registry.client());
    let new = TestImage::build(format!("{path}:new"), "new").await.name;
    let old = TestImage::build(format!("{path}:old"), "old").await.name;
    platform
        .during(async |_| {
            platform.assemble(1, 2, &new).await;
            let (events, _) = platform.until(is_placed).await;
            let newest = committed(&events).pop();
            platform.assemble(2, 1, &old).await;
            let is_second =
                |event: &RepositoryEvent| matches!(event, RepositoryEvent::Committed(event) if event.revision == 1);
            let (events, _) = platform.until(is_second).await;
            assert_ne!(committed(&events).pop(), newest);
            assert_eq!(registry.digest(&path, "latest").await.unwrap(), newest);
        })
        .await;
    platform.clean().await;
}

#[test]
fn an_own_tag_tells_its_build() {
    let build = BuildId::from_ulid(ids::Ulid::from(77u128));
    assert_eq!(build_of(&own_tag(build, 2)), Some(build));
    assert!(access::is_tag(&own_tag(build, 2)));
    for other in ["latest", "b-1", "b-x-1", "b-00000000000000000000000025-x"] {
        assert_eq!(build_of(other), None, "{other}");
    }
}
