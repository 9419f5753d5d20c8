//! The log at its limit while builds run: users' commands are refused, and what was begun still ends.

use nix::sys::signal::Signal;
use proto::{
    builder::v1::BuildPhase,
    catalog::v1::{BuildOutcome, DescribeImageRequest, GetImageHistoryRequest},
};
use std::time::Duration;
use tests::{BUSYBOX, Platform, Shape, User, busybox, reason};
use tokio::time::{interval, timeout};
use tonic::{Code, Status};

const LIMIT: &str = "1000000";
const WITHIN: Duration = Duration::from_secs(20);

/// A step that runs for a moment, and is never cached.
fn slow(seconds: u32) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("FROM {BUSYBOX}\nRUN echo begun {now} && sleep {seconds}\n")
}

async fn describe(user: &User, image: &str) -> Result<(), Status> {
    let request = DescribeImageRequest {
        image: image.to_owned(),
        description: "in other words".to_owned(),
        ..DescribeImageRequest::default()
    };
    user.saw(user.images().describe_image(request).await?.into_inner().position);
    Ok(())
}

/// What happened to an image, oldest first.
async fn history(user: &User, image: &str) -> Result<Vec<String>, Status> {
    let all = GetImageHistoryRequest {
        image: image.to_owned(),
        page_size: 1_000,
        ..GetImageHistoryRequest::default()
    };
    let entries = user.history().get_image_history(all).await?.into_inner().entries;
    Ok(entries.into_iter().rev().map(|entry| entry.r#type).collect())
}

// covers R33, E2, E4, E9
#[tokio::test]
async fn engine_what_was_begun_ends_on_a_full_log_that_takes_nothing_new() -> anyhow::Result<()> {
    busybox().await?;
    let settings = [
        ("COOPERAGE_NATS__LOG_BYTES_MAX", LIMIT),
        // The builder stands still below, however long that takes here, and is not given up for it.
        ("COOPERAGE_BUILDER__LEASE_SECONDS", "600"),
    ];
    let platform = Platform::with(Shape::Many, &settings).await?;
    let ada = platform.user("ada")?;
    let workspace = ada.workspace("vision").await?;
    let [tool, other, filler] = ["vision/tool", "vision/other", "vision/filler"];
    for name in [tool, other, filler] {
        ada.image(&workspace, name).await?;
    }
    ada.save(tool, &slow(0), None).await?;
    ada.build(tool).await?;
    let whole = history(&ada, tool).await?;

    // Two builds run, and their builder does not get to say so before the log is full.
    ada.save(tool, &slow(2), None).await?;
    ada.save(other, &slow(600), None).await?;
    let (running, endless) = (ada.start(tool).await?, ada.start(other).await?);
    for (image, build) in [(other, &endless), (tool, &running)] {
        ada.until(image, &build.id, |build| build.phase() == BuildPhase::Building)
            .await?;
    }
    let builder = platform.child("builder").unwrap();
    builder.signal(Signal::SIGSTOP)?;
    assert_eq!(
        ada.tile(tool).await?.active_build,
        running.id,
        "it ended too early to show anything"
    );

    let mut saves = 0;
    let full = loop {
        match ada
            .save(filler, &format!("FROM scratch\n#{}{saves}\n", "x".repeat(10_000)), None)
            .await
        {
            Ok(_) => saves += 1,
            Err(full) => break full,
        }
        assert!(saves < 100, "the log is never full");
    };
    assert_eq!(
        (full.code(), reason(&full).as_str()),
        (Code::ResourceExhausted, "LOG_FULL")
    );
    assert!(
        full.message().contains(&format!("of {LIMIT} bytes")) && full.message().contains("raise its limit"),
        "{}",
        full.message()
    );
    assert!(saves > 80, "only {saves} saves fitted");
    // Whatever the other services knew a moment ago.
    let mut tick = interval(Duration::from_millis(50));
    let refused = async {
        loop {
            match describe(&ada, filler).await {
                Err(refused) => break refused,
                Ok(()) => tick.tick().await,
            };
        }
    };
    assert_eq!(reason(&timeout(WITHIN, refused).await?), "LOG_FULL");
    assert_eq!(ada.revisions(filler).await?.len(), saves, "reads go on");

    builder.signal(Signal::SIGCONT)?;
    ada.cancel(other, &endless.id).await?;
    let cancelled = ada.until(other, &endless.id, |_| false).await?;
    assert_eq!(cancelled.outcome(), BuildOutcome::Cancelled, "{}", cancelled.cause);
    let ended = ada.until(tool, &running.id, |_| false).await?;
    assert_eq!(
        (ended.outcome(), ended.attempt),
        (BuildOutcome::Succeeded, 1),
        "{}",
        ended.cause
    );
    let reference = ada.resolve(tool).await?;
    assert!(reference.ends_with(&ended.digest), "{reference}");
    tests::pull(&reference).await?;
    assert!(
        ada.log(tool, &ended.id, 0).await?.contains(&ended.digest),
        "its log is whole"
    );
    assert_eq!(reason(&ada.start(tool).await.unwrap_err()), "LOG_FULL");

    // The second build left what the first did.
    let twice: Vec<String> = whole.iter().chain(&whole[1..]).cloned().collect();
    assert_eq!(history(&ada, tool).await?, twice);
    Ok(())
}
