//! The journal and the logs.

use super::{in_both_shapes, platform, save_hello};
use futures::future::try_join_all;
use proto::{
    builder::v1::{BuildPhase, StartBuildRequest},
    catalog::v1::{BuildOutcome, ImageStatus},
};
use tests::{BUSYBOX, Shape, busybox, detail, reason};
use tonic::Code;

in_both_shapes!(
    engine_a_log_is_the_same_for_every_reader,
    engine_a_save_during_a_build_stays_modified,
    engine_a_long_command_that_fails_is_told_in_short,
    a_build_is_of_the_revision_that_was_seen,
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
        Some(i64::try_from(whole.len())?)
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

// covers R30, R33, E5
async fn engine_a_long_command_that_fails_is_told_in_short(shape: Shape) -> anyhow::Result<()> {
    busybox().await?;
    let (_platform, ada, image) = platform(shape, &[]).await?;
    // A line may have 64 KiB, and a command any number of lines.
    let long = "x".repeat(50 * 1024);
    let dockerfile = format!(
        "FROM {BUSYBOX}\nRUN [\"false\", {}\"\"]\n",
        format!("\"{long}\", \\\n").repeat(4)
    );
    ada.save(&image, &dockerfile, None).await?;
    let failed = ada.build(&image).await?;
    assert_eq!(
        (failed.outcome(), failed.attempt, failed.failed_phase()),
        (BuildOutcome::Failed, 1, BuildPhase::Building),
        "{}",
        failed.cause
    );
    assert!(
        failed.cause.len() <= 1024 && failed.cause.contains("xxx … xxx") && failed.cause.ends_with("exit code: 1"),
        "{}",
        failed.cause
    );
    let step = failed.steps.last().cloned().unwrap_or_default();
    assert!(
        step.name.starts_with("[2/2] RUN [\"false\"") && step.name.len() <= 1024,
        "{}",
        step.name
    );
    let log = ada.log(&image, &failed.id, 0).await?;
    assert!(log.contains(&long), "the log has the whole command");

    let listed = ada.journal(&image).await?;
    assert_eq!((listed.len(), &listed[0].cause), (1, &failed.cause));
    assert!(listed[0].steps.is_empty(), "a list goes without steps");
    Ok(())
}

// covers R28, R29
async fn a_build_is_of_the_revision_that_was_seen(shape: Shape) -> anyhow::Result<()> {
    let (platform, ada, image) = platform(shape, &[]).await?;
    save_hello(&ada, &image, "one").await?;
    save_hello(&ada, &image, "two").await?;
    let of = |expected| StartBuildRequest {
        image: image.clone(),
        expected_revision: Some(expected),
        ..StartBuildRequest::default()
    };
    for (expected, sentence) in [
        (1, "revision 2 was saved since you looked (you had 1), look again"),
        (3, "there is no revision 3 yet, the current one is 2, look again"),
    ] {
        let refused = ada.builds().start_build(of(expected)).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused), detail(&refused, "current")),
            (Code::Aborted, "STALE_REVISION".to_owned(), "2".to_owned())
        );
        assert_eq!(refused.message(), sentence);
    }

    // Somebody who was told of the revision, and does not say by which position.
    let told = platform.user("ada")?;
    let seen = save_hello(&ada, &image, "three").await?;
    let started = told.builds().start_build(of(seen)).await?.into_inner();
    assert_eq!(started.build.unwrap_or_default().revision, seen);
    Ok(())
}
