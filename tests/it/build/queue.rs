//! Who waits, for what, and for how long.

use super::{in_both_shapes, platform, save_hello};
use futures::future::join_all;
use proto::{
    builder::v1::{BuildPhase, GetQueueRequest, QueuedBuild},
    catalog::v1::BuildOutcome,
};
use std::time::Duration;
use tests::{BUSYBOX, Shape, User, busybox, reason};
use tokio::time::{sleep, timeout};
use tonic::Code;

in_both_shapes!(
    engine_a_full_queue_takes_no_more_of_its_workspace,
    engine_a_flood_of_one_workspace_does_not_hold_up_another,
    engine_a_build_waits_for_room_on_the_disk,
);

const WITHIN: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(50);

/// A build that goes on until it is cancelled, in its RUN step.
async fn busy(ada: &User, image: &str) -> anyhow::Result<String> {
    let now = std::time::UNIX_EPOCH.elapsed()?.as_nanos();
    ada.save(image, &format!("FROM {BUSYBOX}\nRUN echo {now} && sleep 600\n"), None)
        .await?;
    let started = ada.start(image).await?;
    ada.until(image, &started.id, |build| build.phase() == BuildPhase::Building)
        .await?;
    Ok(started.id)
}

async fn images(ada: &User, workspace: &str, name: &str, count: usize) -> anyhow::Result<Vec<String>> {
    let mut images = Vec::new();
    for number in 0..count {
        let image = ada.image(workspace, &format!("vision/{name}-{number}")).await?;
        save_hello(ada, &image, "one").await?;
        images.push(image);
    }
    Ok(images)
}

async fn waiting(ada: &User) -> anyhow::Result<Vec<QueuedBuild>> {
    let queue = ada.builds().get_queue(GetQueueRequest::default()).await?.into_inner();
    Ok(queue.builds.into_iter().filter(|build| build.place > 0).collect())
}

// covers E1
async fn engine_a_full_queue_takes_no_more_of_its_workspace(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let settings = [
        ("COOPERAGE_BUILDER__WORKSPACE_SLOTS", "1"),
        ("COOPERAGE_BUILDER__WAITING_MAX", "2"),
    ];
    let (_platform, ada, first) = platform(shape, &settings).await?;
    busy(&ada, &first).await?;
    let home = ada.tile(&first).await?.workspace;
    let images = images(&ada, &home, "flood", 8).await?;
    let asked = join_all(images.iter().map(|image| ada.start(image))).await;
    let refused: Vec<_> = asked.iter().filter_map(|asked| asked.as_ref().err()).collect();
    assert_eq!(refused.len(), 6, "{asked:?}");
    for status in refused {
        assert_eq!(
            (status.code(), reason(status).as_str()),
            (Code::ResourceExhausted, "QUEUE_FULL")
        );
    }
    let more = asked.iter().position(Result::is_err).map(|at| &images[at]).unwrap();
    let refused = ada.start(more).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "2 of 2 builds wait in this workspace; try again when some have begun, or cancel one"
    );
    let queue = waiting(&ada).await?;
    let reasons: Vec<_> = queue.iter().map(|build| build.reason.as_str()).collect();
    assert_eq!(reasons, ["1 of 1 slots of this workspace are busy"; 2]);
    assert_eq!(
        reason(&ada.start(&first).await.unwrap_err()),
        "BUILD_RUNNING",
        "that comes first"
    );

    // Others have slots and a queue of their own, and a build that is cancelled makes room.
    let elsewhere = ada.workspace("other").await?;
    let other = ada.image(&elsewhere, "other/tool").await?;
    save_hello(&ada, &other, "one").await?;
    assert_eq!(ada.build(&other).await?.outcome(), BuildOutcome::Succeeded);
    ada.cancel(&queue[0].image, &queue[0].build).await?;
    ada.start(more).await?;
    Ok(())
}

// covers E1
async fn engine_a_flood_of_one_workspace_does_not_hold_up_another(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let (_platform, ada, first) = platform(shape, &[("COOPERAGE_BUILDER__SLOTS", "1")]).await?;
    let running = busy(&ada, &first).await?;
    let home = ada.tile(&first).await?.workspace;
    let mut flood = Vec::new();
    for image in images(&ada, &home, "flood", 5).await? {
        flood.push((ada.start(&image).await?.id, image));
    }
    let elsewhere = ada.workspace("other").await?;
    let other = ada.image(&elsewhere, "other/tool").await?;
    save_hello(&ada, &other, "one").await?;
    let single = ada.start(&other).await?;
    let queue = waiting(&ada).await?;
    assert_eq!((queue.len(), &queue[0].build), (6, &single.id), "{queue:?}");
    assert_eq!(queue[0].reason, "1 of 1 slots are busy");
    assert_eq!(queue[0].expected_wait, None, "no build has ended yet");

    ada.cancel(&first, &running).await?;
    let single = ada.until(&other, &single.id, |_| false).await?;
    assert_eq!(single.outcome(), BuildOutcome::Succeeded, "{}", single.cause);
    let mut begun = Vec::new();
    for (build, image) in &flood {
        let ended = ada.until(image, build, |_| false).await?;
        assert_eq!(ended.outcome(), BuildOutcome::Succeeded, "{}", ended.cause);
        begun.push(ended.started);
    }
    let before = begun
        .iter()
        .filter(|at| at.map(|at| (at.seconds, at.nanos)) < single.started.map(|at| (at.seconds, at.nanos)));
    assert_eq!(before.count(), 0);

    busy(&ada, &first).await?;
    ada.start(&other).await?;
    let queue = waiting(&ada).await?;
    assert!(queue[0].expected_wait.is_some(), "{queue:?}");
    Ok(())
}

// covers E1
async fn engine_a_build_waits_for_room_on_the_disk(shape: Shape) -> anyhow::Result<()> {
    // More than there is of any disk.
    let (mut platform, ada, image) = platform(shape, &[("COOPERAGE_BUILDER__DISK_FREE_PERCENT_MIN", "101")]).await?;
    save_hello(&ada, &image, "one").await?;
    let queued = ada.start(&image).await?;
    let told = async {
        loop {
            let queue = waiting(&ada).await?;
            if let Some(build) = queue.into_iter().find(|build| build.reason.contains("disk")) {
                return anyhow::Ok(build.reason);
            }
            sleep(STEP).await;
        }
    };
    let told = timeout(WITHIN, told).await??;
    assert!(
        told.contains("% free, and builds wait for 101 % (builder.disk_free_percent_min)"),
        "{told}"
    );
    let row = ada.get(&image, &queued.id).await?;
    assert_eq!((row.phase(), row.attempt), (BuildPhase::Queued, 0));

    platform.kill("builder");
    platform.set("COOPERAGE_BUILDER__DISK_FREE_PERCENT_MIN", "0");
    platform.go_on().await?;
    let ended = ada.until(&image, &queued.id, |_| false).await?;
    assert_eq!(ended.outcome(), BuildOutcome::Succeeded, "{}", ended.cause);
    Ok(())
}
