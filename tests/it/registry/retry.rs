//! A push that does not get through: it goes on by itself where waiting helps, and by hand where it does not.

use nix::sys::signal::Signal;
use proto::{
    builder::v1::{Build, BuildPhase},
    catalog::v1::{BuildOutcome, ImageStatus},
    registry::v1::RetryPushRequest,
};
use std::time::Duration;
use tests::{Platform, Shape, User, reason};
use tokio::time::interval;
use tonic::{Code, Status};

async fn given() -> anyhow::Result<(Platform, User, String)> {
    let platform = Platform::start(Shape::Many).await?;
    let ada = platform.user("ada")?;
    let workspace = ada.workspace("vision").await?;
    let image = ada.image(&workspace, "vision/tool").await?;
    let own = format!("of {image}");
    let context = ada.upload(&image, &[("own", own.as_bytes())]).await?;
    ada.save(&image, "FROM scratch\nCOPY own /own\n", Some(context)).await?;
    Ok((platform, ada, image))
}

async fn retry(user: &User, image: &str, build: &str) -> Result<(), Status> {
    let request = RetryPushRequest {
        image: image.to_owned(),
        build: build.to_owned(),
        ..RetryPushRequest::default()
    };
    user.saw(user.registry().retry_push(request).await?.into_inner().position);
    Ok(())
}

/// The only one, published, and with what it stands for in the registry.
async fn is_published(user: &User, image: &str, build: &Build) -> anyhow::Result<()> {
    assert_eq!(
        (build.outcome(), build.attempt),
        (BuildOutcome::Succeeded, 1),
        "{}",
        build.cause
    );
    assert_eq!(user.journal(image).await?.len(), 1, "nothing was built again");
    assert_eq!(user.tile(image).await?.status(), ImageStatus::Built);
    let reference = user.resolve(image).await?;
    assert!(reference.ends_with(&build.digest));
    tests::pull(&reference).await
}

// covers R5, R33, E2
#[tokio::test]
async fn engine_a_push_goes_on_when_the_registry_comes_back() -> anyhow::Result<()> {
    let (mut platform, ada, image) = given().await?;
    // It takes the connection and does not answer, so that the push is under way when it dies.
    let registry = platform.registry().map(|registry| registry.signal(Signal::SIGSTOP));
    registry.transpose()?;
    let started = ada.start(&image).await?;
    let pushing = ada
        .until(&image, &started.id, |build| build.phase() == BuildPhase::Pushing)
        .await?;
    assert_eq!(pushing.outcome(), BuildOutcome::InProgress, "{}", pushing.cause);
    platform.kill_registry();
    let mut tick = interval(Duration::from_millis(50));
    while !ada.log_so_far(&image, &started.id).await?.contains("trying again in") {
        tick.tick().await;
    }
    platform.go_on().await?;
    let ended = ada.until(&image, &started.id, |_| false).await?;
    is_published(&ada, &image, &ended).await
}

// covers R5, R33, E5, E18
#[tokio::test]
async fn engine_a_push_that_failed_is_retried_without_a_build() -> anyhow::Result<()> {
    let (mut platform, ada, image) = given().await?;
    // Where waiting does not help, the push fails at once.
    platform.restart_registry(false).await?;
    let failed = ada.build(&image).await?;
    assert_eq!(
        (failed.outcome(), failed.failed_phase(), failed.retryable),
        (BuildOutcome::Failed, BuildPhase::Pushing, true),
        "{}",
        failed.cause
    );
    assert_eq!(
        failed.cause,
        "the registry takes no pushes at the moment, it is read-only, retry the push when that is mended"
    );
    assert_eq!(ada.tile(&image).await?.status(), ImageStatus::NotBuilt);
    assert_eq!(reason(&ada.resolve(&image).await.unwrap_err()), "NOT_PUBLISHED");

    // Only an owner may, and only what failed.
    let eve = platform.user("eve")?;
    eve.saw(ada.saw(0));
    assert_eq!(
        reason(&retry(&eve, &image, &failed.id).await.unwrap_err()),
        "NO_SUCH_IMAGE"
    );
    platform.restart_registry(true).await?;
    retry(&ada, &image, &failed.id).await?;
    let ended = ada.until(&image, &failed.id, |_| false).await?;
    assert_eq!(ended.id, failed.id, "it is the same build");
    assert_eq!(ended.failed_phase(), BuildPhase::Unspecified, "it did not fail");
    is_published(&ada, &image, &ended).await?;
    let again = retry(&ada, &image, &failed.id).await.unwrap_err();
    assert_eq!(
        (again.code(), reason(&again).as_str()),
        (Code::FailedPrecondition, "NOTHING_TO_RETRY")
    );

    let log = ada.log(&image, &ended.id, 0).await?;
    let (error, reference) = (log.find("ERROR:"), log.rfind(&ended.digest));
    assert!(error.is_some() && error < reference, "the log tells of both: {log}");
    Ok(())
}
