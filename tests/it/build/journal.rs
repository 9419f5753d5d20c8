//! The journal and the logs.

use super::{in_both_shapes, platform, save_hello};
use futures::future::try_join_all;
use proto::catalog::v1::{BuildOutcome, ImageStatus};
use tests::{BUSYBOX, Shape, busybox};

in_both_shapes!(
    engine_a_log_is_the_same_for_every_reader,
    engine_a_save_during_a_build_stays_modified
);

// covers R30, R31, R32, R33, R34, R87, R88, E3
async fn engine_a_log_is_the_same_for_every_reader(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let (_platform, ada, image) = platform(shape, &[]).await?;
    let now = std::time::UNIX_EPOCH.elapsed()?.as_nanos();
    let dockerfile =
        format!("FROM {BUSYBOX}\nRUN echo first {now}\nRUN for n in $(seq 1 300); do echo line $n; done\n");
    ada.save(&image, &dockerfile, None).await?;
    let started = ada.start(&image).await?;
    let live = try_join_all((0..20).map(|_| ada.log(&image, &started.id, 0))).await?;
    let whole = ada.log(&image, &started.id, 0).await?;
    assert!(
        live.iter().all(|log| *log == whole),
        "a live reader saw something else than a later one"
    );
    assert!(
        whole.contains("RUN echo first") && whole.contains("line 300"),
        "{whole}"
    );
    let from = ada.log(&image, &started.id, 100).await?;
    assert_eq!(from, whole[100..]);

    let first = ada.until(&image, &started.id, |_| false).await?;
    assert_eq!(first.outcome(), BuildOutcome::Succeeded, "{}", first.cause);
    assert_eq!(
        ada.get(&image, &started.id).await?.log_bytes,
        i64::try_from(whole.len())?
    );
    assert!(first.started.is_some() && first.ended.is_some() && first.duration.is_some());
    let again = ada.build(&image).await?;
    assert!(ada.log(&image, &again.id, 0).await?.contains("CACHED"));
    assert!(
        !again.steps.is_empty() && again.steps.iter().skip(1).all(|step| step.cached),
        "{:?}",
        again.steps
    );
    assert_eq!(again.digest, first.digest);
    Ok(())
}

// covers R12, R14, R28, R29
async fn engine_a_save_during_a_build_stays_modified(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let (_platform, ada, image) = platform(shape, &[]).await?;
    let now = std::time::UNIX_EPOCH.elapsed()?.as_nanos();
    ada.save(&image, &format!("FROM {BUSYBOX}\nRUN echo {now} && sleep 1\n"), None)
        .await?;
    let started = ada.start(&image).await?;
    save_hello(&ada, &image, "later").await?;
    let ended = ada.until(&image, &started.id, |_| false).await?;
    assert_eq!(
        (ended.outcome(), ended.revision),
        (BuildOutcome::Succeeded, 1),
        "{}",
        ended.cause
    );
    let tile = ada.tile(&image).await?;
    assert_eq!(
        (tile.status(), tile.built_revision, tile.current_revision),
        (ImageStatus::Modified, 1, 2)
    );
    Ok(())
}
