//! Builds while the Docker Engine is away: nothing hangs, and everybody is told why.

use super::{in_both_shapes, platform, save_hello};
use proto::{
    builder::v1::{Build, BuildPhase, GetQueueRequest, StreamLogRequest},
    catalog::v1::BuildOutcome,
};
use tests::{BUSYBOX, EngineDoor, Shape, User, busybox};

in_both_shapes!(
    engine_a_build_waits_for_an_engine_that_is_away,
    engine_a_build_outlives_its_engine,
    engine_a_build_is_lost_with_its_engine,
    engine_that_hangs_does_not_hang_a_build,
);

const NO_ANSWER: &str = "does not answer";
const WENT_AWAY: &str = "the engine went away while it built";

// covers E1, E2
async fn engine_a_build_waits_for_an_engine_that_is_away(shape: Shape) -> anyhow::Result<()> {
    let door = EngineDoor::new().await?;
    door.shut().await?;
    let (_platform, ada, image) = platform(shape, &[("COOPERAGE_ENGINE__HOST", &door.host())]).await?;
    save_hello(&ada, &image, "one").await?;
    let queued = ada.start(&image).await?;
    let why = until_told(&ada, &queued.id).await?;
    let told = format!(
        "the engine at {} does not answer; start it, or name another one (since ",
        door.host()
    );
    assert!(why.starts_with(&told) && why.ends_with(" UTC)"), "{why}");
    let row = ada.get(&image, &queued.id).await?;
    assert_eq!((row.phase(), &row.cause), (BuildPhase::Queued, &why));

    let other = ada.image(&ada.tile(&image).await?.workspace, "vision/other").await?;
    save_hello(&ada, &other, "other").await?;
    let unwanted = ada.start(&other).await?;
    let cancelled = ada.cancel(&other, &unwanted.id).await?;
    assert_eq!(cancelled.outcome(), BuildOutcome::Cancelled, "without an engine, too");

    door.open().await?;
    let ended = ada.until(&image, &queued.id, |_| false).await?;
    assert_eq!(
        (ended.outcome(), ended.attempt),
        (BuildOutcome::Succeeded, 1),
        "{}",
        ended.cause
    );
    assert_eq!(ended.cause, "");
    Ok(())
}

// covers E1, E2, E3
async fn engine_a_build_outlives_its_engine(shape: Shape) -> anyhow::Result<()> {
    let (door, _platform, ada, image) = in_the_middle(shape, 2, 3).await?;
    let started = ada.journal(&image).await?.remove(0);
    door.shut().await?;
    let waiting = ada
        .until(&image, &started.id, |build| build.phase() == BuildPhase::Queued)
        .await?;
    assert_eq!((waiting.outcome(), waiting.attempt), (BuildOutcome::InProgress, 1));
    let why = until_told(&ada, &started.id).await?;
    assert!(why.contains(NO_ANSWER), "{why}");

    door.open().await?;
    let ended = ada.until(&image, &started.id, |_| false).await?;
    assert_eq!(
        (ended.outcome(), ended.attempt),
        (BuildOutcome::Succeeded, 2),
        "{}",
        ended.cause
    );
    let log = ada.log(&image, &started.id, 0).await?;
    assert!([WENT_AWAY, NO_ANSWER].iter().any(|why| log.contains(why)), "{log}");
    assert!(log.contains("attempt 2"), "{log}");
    Ok(())
}

// covers E2, E5
async fn engine_a_build_is_lost_with_its_engine(shape: Shape) -> anyhow::Result<()> {
    let (door, _platform, ada, image) = in_the_middle(shape, 1, 600).await?;
    door.shut().await?;
    let lost = ended(&ada, &image).await?;
    assert_eq!(lost.outcome(), BuildOutcome::Lost);
    assert!(
        [WENT_AWAY, NO_ANSWER].iter().any(|why| lost.cause.contains(why)),
        "{}",
        lost.cause
    );
    let log = ada.log(&image, &lost.id, 0).await?;
    assert!(log.ends_with(&format!("LOST: {}\n", lost.cause)), "{log}");

    save_hello(&ada, &image, "one").await?;
    let next = ada.start(&image).await?;
    door.open().await?;
    let next = ada.until(&image, &next.id, |_| false).await?;
    assert_eq!(next.outcome(), BuildOutcome::Succeeded, "{}", next.cause);
    Ok(())
}

// covers E2
async fn engine_that_hangs_does_not_hang_a_build(shape: Shape) -> anyhow::Result<()> {
    let (door, _platform, ada, image) = in_the_middle(shape, 1, 600).await?;
    door.hold().await?;
    let lost = ended(&ada, &image).await?;
    assert_eq!(lost.outcome(), BuildOutcome::Lost);
    assert!(lost.cause.contains(NO_ANSWER), "{}", lost.cause);
    Ok(())
}

/// A platform with a build in the middle of a step that takes some seconds.
async fn in_the_middle(
    shape: Shape,
    attempts_max: u32,
    seconds: u32,
) -> anyhow::Result<(EngineDoor, tests::Platform, User, String)> {
    busybox().await?;
    let door = EngineDoor::new().await?;
    let settings = [
        ("COOPERAGE_ENGINE__HOST", door.host()),
        ("COOPERAGE_BUILDER__ATTEMPTS_MAX", attempts_max.to_string()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (platform, ada, image) = platform(shape, &settings).await?;
    let now = std::time::UNIX_EPOCH.elapsed()?.as_nanos();
    // The shell puts it together, so that the words are not in the Dockerfile, which the log shows.
    let dockerfile = format!("FROM {BUSYBOX}\nRUN echo in the mid''dle {now} && sleep {seconds}\n");
    ada.save(&image, &dockerfile, None).await?;
    let started = ada.start(&image).await?;
    let log = StreamLogRequest {
        image: image.clone(),
        build: started.id,
        offset: 0,
        follow: true,
    };
    let mut pieces = ada.builds().stream_log(log).await?.into_inner();
    let mut said = String::new();
    while !said.contains("in the middle") {
        let piece = pieces.message().await?;
        let piece = piece.ok_or_else(|| anyhow::anyhow!("the build ended too soon:\n{said}"))?;
        said.push_str(&String::from_utf8_lossy(&piece.text));
    }
    Ok((door, platform, ada, image))
}

async fn ended(ada: &User, image: &str) -> anyhow::Result<Build> {
    let newest = ada.journal(image).await?.remove(0);
    Ok(ada.until(image, &newest.id, |_| false).await?)
}

/// Asks the queue until it knows that the engine is away. Answers why the build waits.
async fn until_told(ada: &User, build: &str) -> anyhow::Result<String> {
    loop {
        let queue = ada.builds().get_queue(GetQueueRequest::default()).await?.into_inner();
        let waiting = queue.builds.into_iter().find(|waiting| waiting.build == build);
        let waiting = waiting.ok_or_else(|| anyhow::anyhow!("it does not wait"))?;
        if waiting.reason.contains(NO_ANSWER) {
            return Ok(waiting.reason);
        }
    }
}
