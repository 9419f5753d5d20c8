//! A push that is tried again by hand, and a build that was started meanwhile: never are both under way.

use super::{TestImage, reason};
use crate::testbed::Platform;
use ids::{BuildId, Ulid};
use proto::{events::RepositoryEvent, registry::v1::RetryPushRequest};

// covers R33, E5
#[tokio::test]
async fn engine_a_retry_knows_of_a_newer_build_at_once_and_repeats_its_answer_after_it() {
    let mut platform = Platform::start().await;
    let artifact = TestImage::build(format!("{}:artifact", platform.path), "content")
        .await
        .name;
    platform.registry.restart_read_only();
    platform
        .during(async |mut api| {
            let build = platform.assemble(1, 1, &artifact).await;
            let refused = |count: usize| {
                let mut left = count;
                let is_refused = move |event: &RepositoryEvent| {
                    left -= usize::from(matches!(event, RepositoryEvent::Refused(_)));
                    left == 0
                };
                platform.until(is_refused)
            };
            let retry = |request_id: u128| RetryPushRequest {
                request_id: Ulid::from(request_id).to_string(),
                image: platform.path.clone(),
                build: build.to_string(),
            };
            let (_, at) = refused(1).await;
            let retried = api.retry_push(platform.call(at, retry(1))).await.unwrap();
            let (_, at) = refused(2).await;

            // Nobody told the view to wait for this build: the retry itself asks the log for it.
            let newer = BuildId::from_ulid(platform.unique());
            platform.queue(newer, 1).await;
            let late = api.retry_push(platform.call(at, retry(2))).await.unwrap_err();
            assert_eq!(
                (reason(&late).as_str(), late.message()),
                (
                    "NOTHING_TO_RETRY",
                    "a newer build of this image was started, build it again instead"
                )
            );
            let again = api.retry_push(platform.call(at, retry(1))).await.unwrap();
            assert_eq!(
                again.get_ref(),
                retried.get_ref(),
                "the same request has the same answer"
            );
        })
        .await;
    platform.clean().await;
}
