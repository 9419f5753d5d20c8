//! Builds that are not wanted any more, and builds whose builder dies.

use super::{in_both_shapes, platform, save_hello};
use proto::{
    builder::v1::BuildPhase,
    catalog::v1::{BuildOutcome, ImageStatus},
};
use tests::{BUSYBOX, Shape, busybox, detail, reason};

in_both_shapes!(
    engine_a_cancelled_build_leaves_nothing,
    engine_a_waiting_build_is_cancelled_at_once,
    engine_a_build_survives_its_builder,
);

/// A step that takes a while, and is never cached.
fn slow(seconds: u32) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("FROM {BUSYBOX}\nRUN echo begun {now} && sleep {seconds} && echo ended\n")
}

// covers R31, R34, E3, E4
async fn engine_a_cancelled_build_leaves_nothing(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let (_platform, ada, image) = platform(shape, &[]).await?;
    save_hello(&ada, &image, "one").await?;
    ada.build(&image).await?;
    let before = ada.resolve(&image).await?;

    ada.save(&image, &slow(600), None).await?;
    let started = ada.start(&image).await?;
    ada.until(&image, &started.id, |build| build.phase() == BuildPhase::Building)
        .await?;
    let second = ada.start(&image).await.unwrap_err();
    assert_eq!(
        (reason(&second), detail(&second, "build")),
        ("BUILD_RUNNING".to_owned(), started.id.clone())
    );

    let cancelling = ada.cancel(&image, &started.id).await?;
    assert!([BuildPhase::Cancelling, BuildPhase::Ended].contains(&cancelling.phase()));
    let ended = ada.until(&image, &started.id, |_| false).await?;
    assert_eq!(ended.outcome(), BuildOutcome::Cancelled);
    assert_eq!(ada.resolve(&image).await?, before);
    assert_eq!(ada.tile(&image).await?.status(), ImageStatus::Modified);
    assert!(
        ada.log(&image, &started.id, 0).await?.contains("CANCELLED"),
        "the log stays after a cancel"
    );
    assert_eq!(
        reason(&ada.cancel(&image, &before_last(&ada, &image).await?).await.unwrap_err()),
        "ALREADY_PUBLISHED"
    );
    Ok(())
}

async fn before_last(ada: &tests::User, image: &str) -> anyhow::Result<String> {
    Ok(ada.journal(image).await?[1].id.clone())
}

// covers E1, E4
async fn engine_a_waiting_build_is_cancelled_at_once(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let (_platform, ada, busy) = platform(shape, &[("COOPERAGE_BUILDER__SLOTS", "1")]).await?;
    ada.save(&busy, &slow(600), None).await?;
    let running = ada.start(&busy).await?;
    ada.until(&busy, &running.id, |build| build.phase() == BuildPhase::Building)
        .await?;

    let home = ada.tile(&busy).await?.workspace;
    let waiting = ada.image(&home, "vision/waiting").await?;
    save_hello(&ada, &waiting, "one").await?;
    let queued = ada.start(&waiting).await?;
    let queue = ada
        .builds()
        .get_queue(proto::builder::v1::GetQueueRequest::default())
        .await?
        .into_inner();
    let mine = queue
        .builds
        .iter()
        .find(|build| build.build == queued.id)
        .cloned()
        .unwrap_or_default();
    assert_eq!((mine.place, mine.reason.as_str()), (1, "1 of 1 slots are busy"));
    assert_eq!(mine.name, "vision/waiting");

    let ended = ada.cancel(&waiting, &queued.id).await?;
    assert_eq!(ended.outcome(), BuildOutcome::Cancelled);
    ada.cancel(&busy, &running.id).await?;
    let ended = ada.until(&busy, &running.id, |_| false).await?;
    assert_eq!(ended.outcome(), BuildOutcome::Cancelled);
    Ok(())
}

// covers E2
async fn engine_a_build_survives_its_builder(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let (mut platform, ada, image) = platform(shape, &[]).await?;
    ada.save(&image, &slow(2), None).await?;
    let started = ada.start(&image).await?;
    ada.until(&image, &started.id, |build| build.phase() == BuildPhase::Building)
        .await?;
    platform.kill("builder");
    platform.go_on().await?;

    let ended = ada.until(&image, &started.id, |_| false).await?;
    assert_eq!(
        (ended.outcome(), ended.attempt),
        (BuildOutcome::Succeeded, 2),
        "{}",
        ended.cause
    );
    assert_eq!(ada.journal(&image).await?.len(), 1, "it is the same build");
    Ok(())
}
