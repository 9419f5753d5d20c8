//! kill -9 of every process at random moments, under a client that keeps a journal of what it was told.

mod client;
mod disk;
mod full_log;
mod left;
mod story;

use client::{Journal, client};
use proto::catalog::v1::BuildOutcome;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use story::Stage;
use tests::{Platform, SERVICES, Shape, User};
use tokio::time::{Instant, sleep, timeout};

/// In each, every process is killed twice: at work, and while it starts again.
const ROUNDS: usize = 10;
/// How long everybody works before the next one is killed, at most.
const LIFE_OF_ONE: Duration = Duration::from_secs(4);
const LIFE_OF_MANY: Duration = Duration::from_millis(600);
/// How long what was begun may take to its end once nobody is killed any more.
const WITHIN: Duration = Duration::from_mins(1);
/// The server that holds the log of the separate shape.
const NATS: &str = "nats-server";

#[tokio::test]
async fn engine_nothing_acknowledged_is_lost_or_doubled_in_one_process() {
    killed_again_and_again(Shape::One).await.unwrap();
}

#[tokio::test]
async fn engine_nothing_acknowledged_is_lost_or_doubled_in_five() {
    killed_again_and_again(Shape::Many).await.unwrap();
}

// covers E2, E4, E6, E18
async fn killed_again_and_again(shape: Shape) -> anyhow::Result<()> {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let temporary = tempfile::tempdir()?;
    let mut platform = Platform::with(shape, &[("TMPDIR", &temporary.path().to_string_lossy())]).await?;
    let ada = platform.user("ada")?;
    let workspace = ada.workspace("vision").await?;

    let over = Arc::new(AtomicBool::new(false));
    let client = client(ada.clone(), workspace, over.clone(), chance.random());
    let killing = async {
        kill_all_again_and_again(&mut platform, shape, &mut chance).await?;
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (journal, ()) = tokio::try_join!(client, killing)?;
    assert!(
        !journal.builds.is_empty(),
        "nothing was acknowledged, so nothing was shown"
    );
    timeout(WITHIN, nothing_is_lost_or_doubled(&ada, &journal)).await??;

    let attempts_max = service::Config::defaults()?.builder.attempts_max;
    let stories = story::stories(&platform.entries().await?, attempts_max)?;
    let asked: BTreeSet<&String> = journal.builds.iter().map(|(_, build)| build).collect();
    assert_eq!(
        stories.keys().collect::<BTreeSet<_>>(),
        asked,
        "builds in the log, and acknowledged"
    );
    for (build, story) in &stories {
        assert!(story.is_over(), "{build}: {story:?}");
    }
    let tried = stories.values().map(|story| story.attempts).sum::<u32>();
    let lost = stories.values().filter(|story| story.stage == Stage::Lost).count();
    eprintln!("{} builds, {tried} attempts, {lost} lost", stories.len());

    left::nothing_beside_the_log(&mut platform).await?;
    left::nothing_in_the_engine(&mut platform, &stories).await?;
    assert_eq!(left::entries(temporary.path()), 0, "temporary files are left");
    Ok(())
}

/// Some are killed at work, some when they begin to start, some when they almost have.
async fn kill_all_again_and_again(platform: &mut Platform, shape: Shape, chance: &mut StdRng) -> anyhow::Result<()> {
    let (mut targets, life) = match shape {
        Shape::One => (vec!["cooper"], LIFE_OF_ONE),
        Shape::Many => (
            SERVICES.iter().map(|(name, _)| *name).chain([NATS]).collect(),
            LIFE_OF_MANY,
        ),
    };
    // As long as the last start of a service took.
    let mut start = life;
    for _ in 0..ROUNDS {
        targets.shuffle(chance);
        for target in &targets {
            sleep(life.mul_f64(chance.random())).await;
            kill(platform, target).await?;
            sleep(start.mul_f64(chance.random())).await;
            kill(platform, target).await?;
            let began = Instant::now();
            platform.ready().await?;
            if *target != NATS {
                start = began.elapsed();
            }
        }
    }
    Ok(())
}

/// It is started again at once.
async fn kill(platform: &mut Platform, target: &str) -> anyhow::Result<()> {
    if let Some(nats) = platform.nats().filter(|_| target == NATS) {
        return nats.restart().await;
    }
    platform.kill(target);
    platform.launch().await
}

/// What the client was told is what there is, and each build is finished or says why it is lost.
async fn nothing_is_lost_or_doubled(ada: &User, journal: &Journal) -> anyhow::Result<()> {
    for (image, build) in &journal.builds {
        let ended = ada.until(image, build, |_| false).await?;
        let told = matches!(ended.outcome(), BuildOutcome::Succeeded)
            || (matches!(ended.outcome(), BuildOutcome::Lost) && !ended.cause.is_empty());
        assert!(
            told,
            "the build {build} ended as {:?}: {}",
            ended.outcome(),
            ended.cause
        );
    }
    for (image, saves) in &journal.saves {
        let revisions = ada.revisions(image).await?.len();
        assert_eq!(
            revisions, *saves as usize,
            "acknowledged saves of {image} and its revisions"
        );
    }
    Ok(())
}
