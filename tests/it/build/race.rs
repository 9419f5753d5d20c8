//! A cancel that meets the end of its build: the log decides, and everybody is told the same.

use super::{in_both_shapes, platform, save_hello};
use anyhow::Context as _;
use futures::future::try_join_all;
use proto::{
    builder::v1::{Build, BuildPhase, StreamLogRequest},
    catalog::v1::{BuildOutcome, GetImageHistoryRequest},
    notifier::v1::{SubscribeRequest, SubscribeResponse},
};
use std::{collections::BTreeMap, time::Duration};
use tests::{Shape, User, reason};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::Status;

in_both_shapes!(engine_a_cancel_that_meets_the_publication_has_one_outcome);

const IMAGES: usize = 3;
/// Of each image; more, until it has seen both outcomes of a race.
const ROUNDS: usize = 6;
const ROUNDS_MAX: usize = 30;
/// What a push that was called off left behind is gone by then.
const WITHIN: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(100);

/// When a build is cancelled.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Building,
    /// So many calls after the push began.
    Pushing(usize),
    /// The registry has all of it, and the log is about to be told.
    Pushed,
}

// covers E4, E5, E7, E18
async fn engine_a_cancel_that_meets_the_publication_has_one_outcome(shape: Shape) -> anyhow::Result<()> {
    let (platform, ada, first) = platform(shape, &[]).await?;
    let home = ada.tile(&first).await?.workspace;
    let mut images = vec![first];
    for number in 1..IMAGES {
        images.push(ada.image(&home, &format!("vision/tool-{number}")).await?);
    }
    let raced = try_join_all(images.iter().map(|image| race(&ada, image))).await?;

    let all = SubscribeRequest {
        after_position: Some(0),
        ..SubscribeRequest::default()
    };
    let mut told = Vec::new();
    let mut events = ada.events().subscribe(all).await?.into_inner();
    while let Some(event) = events.message().await? {
        told.push(event);
    }
    for (image, builds) in images.iter().zip(&raced) {
        let history = GetImageHistoryRequest {
            image: image.clone(),
            page_size: 1_000,
            ..GetImageHistoryRequest::default()
        };
        let history = ada.history().get_image_history(history).await?.into_inner().entries;
        let history: Vec<(String, String)> = history.into_iter().map(|row| (row.r#type, row.summary)).collect();
        let name = ada.tile(image).await?.name.unwrap_or_default();
        for (build, is_cancelled) in builds {
            let (ends, digests) = if *is_cancelled {
                (vec!["build.cancelled"], 0)
            } else {
                (vec!["build.succeeded", "image.published", "tag.moved"], 1)
            };
            assert_eq!(ends_of(build, &told), ends, "{build}: {told:#?}");
            let published = |(kind, summary): &&(String, String)| kind == "image.published" && summary.contains(build);
            assert_eq!(
                history.iter().filter(published).count(),
                digests,
                "{build}: {history:#?}"
            );
            let own = format!("b-{}-", build.trim_start_matches("bld_").to_lowercase());
            let gone = async {
                while *is_cancelled
                    && tags_in_registry(&platform.registry_host(), &name.path)
                        .await?
                        .contains(&own)
                {
                    sleep(STEP).await;
                }
                anyhow::Ok(())
            };
            let gone = timeout(WITHIN, gone).await;
            gone.with_context(|| format!("{own} stays in the registry"))??;
        }
    }
    Ok(())
}

/// Cancels one build of an image after the other, until both have been first. Answers which build was cancelled.
async fn race(ada: &User, image: &str) -> anyhow::Result<BTreeMap<String, bool>> {
    save_hello(ada, image, "good").await?;
    let good = ada.build(image).await?;
    assert_eq!(good.outcome(), BuildOutcome::Succeeded, "{}", good.cause);
    let mut former = ada.resolve(image).await?;
    let mut builds = BTreeMap::from([(good.id, false)]);
    let mut calls = 0;
    let (mut cancelled, mut published) = (0, 0);
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS && cancelled > 0 && published > 0 {
            break;
        }
        let moment = match round % 3 {
            0 => Moment::Pushing(calls),
            1 => Moment::Pushed,
            _ if round == 2 => Moment::Building,
            _ => Moment::Pushing(calls / 2),
        };
        save_hello(ada, image, &format!("round {round}")).await?;
        let started = ada.start(image).await?;
        until(ada, image, &started, moment).await?;
        let told = ada.cancel(image, &started.id).await;
        let ended = ada.until(image, &started.id, |_| false).await?;
        assert_one_end(&told, &ended, moment);
        let is_cancelled = ended.outcome() == BuildOutcome::Cancelled;
        let now = ada.resolve(image).await?;
        if is_cancelled {
            assert_eq!(now, former, "{moment:?}: a cancelled build is published");
            cancelled += usize::from(!matches!(moment, Moment::Building));
            calls += 2;
        } else {
            assert!(
                now.ends_with(&ended.digest) && now != former,
                "{moment:?}: {now}, {former}"
            );
            published += 1;
            calls /= 2;
        }
        former = now;
        let again = reason(&ada.cancel(image, &started.id).await.err().unwrap_or(Status::ok("")));
        let expected = if is_cancelled {
            ["", "BUILD_ENDED"]
        } else {
            ["ALREADY_PUBLISHED"; 2]
        };
        assert!(expected.contains(&&*again), "{moment:?}: {again}");
        builds.insert(started.id, is_cancelled);
    }
    assert!(
        cancelled > 0 && published > 0,
        "{cancelled} cancelled, {published} published"
    );
    Ok(builds)
}

fn assert_one_end(told: &Result<Build, Status>, ended: &Build, moment: Moment) {
    match (told, ended.outcome()) {
        (Ok(build), BuildOutcome::Cancelled) => {
            assert!(
                [BuildPhase::Cancelling, BuildPhase::Ended].contains(&build.phase()),
                "{moment:?}"
            );
            assert_ne!(build.outcome(), BuildOutcome::Succeeded, "{moment:?}");
            assert_eq!(ended.digest, "");
        }
        (Err(status), BuildOutcome::Succeeded) => assert_eq!(reason(status), "ALREADY_PUBLISHED", "{moment:?}"),
        (told, outcome) => panic!("{moment:?}: the canceller was told {told:?}, and it ended {outcome:?}"),
    }
}

async fn until(ada: &User, image: &str, started: &Build, moment: Moment) -> anyhow::Result<()> {
    match moment {
        Moment::Building => {
            ada.until(image, &started.id, |build| build.phase() == BuildPhase::Building)
                .await?;
        }
        Moment::Pushing(calls) => {
            ada.until(image, &started.id, |build| build.phase() == BuildPhase::Pushing)
                .await?;
            for _ in 0..calls {
                ada.get(image, &started.id).await?;
            }
        }
        Moment::Pushed => {
            let log = StreamLogRequest {
                image: image.to_owned(),
                build: started.id.clone(),
                offset: 0,
                follow: true,
            };
            let mut pieces = ada.builds().stream_log(log).await?.into_inner();
            let mut text = String::new();
            while !text.contains("@sha256:") {
                let Some(piece) = pieces.message().await? else { break };
                text.push_str(&String::from_utf8_lossy(&piece.text));
            }
        }
    }
    Ok(())
}

/// What the world was told of a build once it was over.
fn ends_of<'a>(build: &str, told: &'a [SubscribeResponse]) -> Vec<&'a str> {
    let is_end = |event: &&SubscribeResponse| {
        event.data.contains(build) && !["build.queued", "build.started"].contains(&event.r#type.as_str())
    };
    told.iter().filter(is_end).map(|event| event.r#type.as_str()).collect()
}

async fn tags_in_registry(host: &str, path: &str) -> anyhow::Result<String> {
    let mut connection = TcpStream::connect(host).await?;
    let question = format!("GET /v2/{path}/tags/list HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    connection.write_all(question.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    assert!(answer.contains("\"tags\":[\""), "{answer}");
    Ok(answer)
}
