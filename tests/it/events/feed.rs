//! The stream `EVENTS`, as a publisher writes it and the world reads it.

use super::platform::{outside, published};
use async_nats::HeaderValue;
use eventlog::FeedEvent;
use futures::StreamExt as _;
use tests::NatsServer;

fn event(position: u64, index: u32) -> FeedEvent {
    FeedEvent {
        position,
        index,
        kind: "image.described".to_owned(),
        workspace: "ws_1".to_owned(),
        image: "img_2".to_owned(),
        time_ms: 1_700_000_000_000,
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        data: "{\"description\":\"x\"}".to_owned(),
    }
}

// covers R79
#[tokio::test]
async fn events_are_published_behind_the_last_one_whole_batches_or_nothing() {
    let server = NatsServer::start().await.unwrap();
    let feed = server.connect("notifier").await.unwrap().feed();
    assert_eq!(feed.last().await.unwrap(), (None, 0));
    assert_eq!(feed.publish(&[], 0).await.unwrap(), Some(0));
    assert_eq!(feed.publish(&[event(3, 0)], 0).await.unwrap(), Some(1));
    assert_eq!(feed.last().await.unwrap(), (Some((3, 0)), 1));
    assert_eq!(
        feed.publish(&[event(3, 1), event(5, 0), event(6, 0)], 1).await.unwrap(),
        Some(4)
    );
    assert_eq!(feed.last().await.unwrap(), (Some((6, 0)), 4));

    // Another publisher was there first: nothing is written, neither of one nor of many.
    assert_eq!(feed.publish(&[event(7, 0)], 3).await.unwrap(), None);
    assert_eq!(feed.publish(&[event(7, 0), event(8, 0)], 0).await.unwrap(), None);
    assert_eq!(feed.last().await.unwrap(), (Some((6, 0)), 4));
    let ids: Vec<_> = published(&server, 4).await.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["3.0", "3.1", "5.0", "6.0"]);
}

// covers R79
#[tokio::test]
async fn of_many_publishers_of_the_same_events_one_writes_each() {
    let server = NatsServer::start().await.unwrap();
    let events: Vec<FeedEvent> = (1..=20).map(|position| event(position, 0)).collect();
    let publishers = (0..5).map(async |_| {
        let feed = server.connect("notifier").await.unwrap().feed();
        loop {
            let (last, sequence) = feed.last().await.unwrap();
            let done = last.map_or(0, |(position, _)| usize::try_from(position).unwrap());
            let Some(next) = events.get(done) else { return };
            feed.publish(std::slice::from_ref(next), sequence).await.unwrap();
        }
    });
    futures::future::join_all(publishers).await;
    let ids: Vec<_> = published(&server, 20).await.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, events.iter().map(FeedEvent::id).collect::<Vec<_>>());
    let feed = server.connect("notifier").await.unwrap().feed();
    assert_eq!(feed.last().await.unwrap(), (Some((20, 0)), 20));
}

// covers R79, E15
#[tokio::test]
async fn the_world_reads_cloud_events() {
    let server = NatsServer::start().await.unwrap();
    let feed = server.connect("notifier").await.unwrap().feed();
    feed.publish(&[event(3, 0)], 0).await.unwrap();
    let message = outside(&server).await.next().await.unwrap().unwrap();
    assert_eq!(message.subject.as_str(), "cooperage.events.ws_1.img_2.image.described");
    assert_eq!(&message.payload[..], b"{\"description\":\"x\"}");
    let headers = message.headers.as_ref().unwrap();
    for (name, value) in [
        ("ce-id", "3.0"),
        ("ce-type", "image.described"),
        ("ce-subject", "img_2"),
        ("content-type", "application/json"),
        ("Nats-Msg-Id", "3.0"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ] {
        assert_eq!(headers.get(name).map(HeaderValue::as_str), Some(value), "{name}");
    }
}
