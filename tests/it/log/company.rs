//! Appends that meet on their way: they go together, and each of them ends as it would alone.

use super::contract::{entry, read, stream};
use eventlog::{AppendError, EventLog as _, JetStreamLog, LogError, Position};
use futures::{FutureExt as _, future::join_all};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tests::NatsServer;

const MANY: usize = 100;

async fn log_of(server: &NatsServer) -> JetStreamLog {
    server.connect("catalog").await.unwrap().log().await.unwrap()
}

/// Appends to as many streams at once.
async fn append_at_once(log: &JetStreamLog, keys: &[String]) -> Vec<Result<Position, AppendError>> {
    join_all(keys.iter().map(|key| log.append(vec![entry(key, 0, key)]))).await
}

// covers E6
#[tokio::test]
async fn each_of_many_is_told_where_it_is() {
    let server = NatsServer::start().await.unwrap();
    let log = log_of(&server).await;
    let keys: Vec<String> = (0..MANY).map(|number| number.to_string()).collect();
    let mut positions = BTreeSet::new();
    for (key, written) in keys.iter().zip(append_at_once(&log, &keys).await) {
        let position = written.unwrap();
        assert_eq!(log.version(&stream(key)).await.unwrap(), position, "{key}");
        positions.insert(position.0);
    }
    assert_eq!(positions, (1..=MANY as u64).collect());
}

// covers E6
#[tokio::test]
async fn of_many_a_conflict_is_its_own_only() {
    let server = NatsServer::start().await.unwrap();
    let log = log_of(&server).await;
    log.append(vec![entry("50", 0, "earlier")]).await.unwrap();
    let keys: Vec<String> = (0..MANY).map(|number| number.to_string()).collect();
    for (key, written) in keys.iter().zip(append_at_once(&log, &keys).await) {
        match written {
            Ok(position) => assert_eq!(log.version(&stream(key)).await.unwrap(), position, "{key}"),
            Err(AppendError::Conflict) => assert_eq!(key, "50"),
            Err(error) => panic!("{key}: {error}"),
        }
    }
    assert_eq!(log.head().await.unwrap(), Position(MANY as u64));
}

// covers E6
#[tokio::test]
async fn who_gives_up_while_it_waits_is_not_written_later() {
    let server = NatsServer::start().await.unwrap();
    let log = log_of(&server).await;
    server.freeze().unwrap();
    let mut first = Box::pin(log.append(vec![entry("first", 0, "1")]));
    assert!(first.as_mut().now_or_never().is_none());
    let mut given_up = Box::pin(log.append(vec![entry("given-up", 0, "2")]));
    assert!(given_up.as_mut().now_or_never().is_none());
    drop(given_up);
    server.go_on().unwrap();
    first.await.unwrap();
    log.append(vec![entry("next", 0, "3")]).await.unwrap();
    let there = read(&log, 0, 2).await;
    let keys: Vec<&str> = there.iter().map(|(_, key, _)| key.as_str()).collect();
    assert_eq!(keys, ["first", "next"]);
}

// covers E2
#[tokio::test]
async fn many_that_get_no_answer_are_told_what_one_is_told_and_as_soon() {
    let server = NatsServer::start().await.unwrap();
    let log = log_of(&server).await;
    let keys: Vec<String> = (0..MANY).map(|number| number.to_string()).collect();
    server.freeze().unwrap();
    let asked = Instant::now();
    let answers = append_at_once(&log, &keys).await;
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    for answer in answers {
        let Err(AppendError::Log(error @ (LogError::OutcomeUnknown(_) | LogError::Unavailable(_)))) = answer else {
            panic!("{answer:?}");
        };
        assert!(error.to_string().contains("perhaps its disk is full"), "{error:?}");
    }
    server.go_on().unwrap();
}
