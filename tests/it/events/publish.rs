//! The publisher: every event once, in order, whatever dies.

use super::platform::{History, Notifier, image, published, workspace};
use tests::NatsServer;

const ROUNDS: u128 = 4;
const EACH: u128 = 150;

// covers E7, R79
#[tokio::test]
async fn neither_a_restart_nor_a_second_replica_repeats_or_reorders() {
    let mut server = NatsServer::start().await.unwrap();
    let (first, second) = (Notifier::of(&server), Notifier::of(&server));
    let history = History::of(&server).await;
    history.founded(1, "ada").await;
    for number in 0..10 {
        history.created(number, 1, &format!("team/tool-{number}")).await;
    }
    for round in 0..ROUNDS {
        // Each round has new processes, which go on where the stream ends.
        let both = first.during(async |_| {
            second
                .during(async |_| {
                    for number in 0..EACH {
                        history.described(number % 10, &format!("{round}")).await;
                    }
                    // In the middle of what they do.
                    server.restart().await.unwrap();
                    history.described(0, "after the restart").await;
                })
                .await;
        });
        both.await;
    }
    let count = usize::try_from(1 + 10 + ROUNDS * (EACH + 1)).unwrap();
    let found = first.during(async |_| published(&server, count).await).await;
    let expected: Vec<String> = (1..=count).map(|position| format!("{position}.0")).collect();
    let ids: Vec<&str> = found.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids, expected);
    assert_eq!(
        found[0].0,
        format!("cooperage.events.{}.-.member.changed", workspace(1))
    );
    assert_eq!(
        found[1].0,
        format!("cooperage.events.{}.{}.image.created", workspace(1), image(0))
    );
    let feed = server.connect("notifier").await.unwrap().feed();
    assert_eq!(
        feed.last().await.unwrap(),
        (Some((count as u64, 0)), count as u64),
        "and nothing else"
    );
}

#[tokio::test]
async fn a_stream_that_tells_of_a_later_log_stops_the_publisher_with_a_sentence() {
    let server = NatsServer::start().await.unwrap();
    let history = History::of(&server).await;
    history.founded(1, "ada").await;
    let feed = server.connect("notifier").await.unwrap().feed();
    let lost = eventlog::FeedEvent {
        position: 8,
        index: 0,
        kind: "image.described".to_owned(),
        workspace: "ws_1".to_owned(),
        image: "img_1".to_owned(),
        time_ms: 1,
        traceparent: String::new(),
        data: "{}".to_owned(),
    };
    feed.publish(&[lost], 0).await.unwrap();
    let error = Notifier::of(&server).end().await.unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "the task publish events failed: the event log lost entries: it ends at 1, and EVENTS tells of 8. Restore the \
         log, or purge EVENTS to accept the loss"
    );
}
