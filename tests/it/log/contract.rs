//! What every log does: the same tests on the one in memory and on the one in JetStream.

use bytes::Bytes;
use eventlog::{Append, AppendError, Entry, EventLog, Position, StreamId, Which};
use futures::{StreamExt as _, future::join_all};
use std::{ops::Deref, sync::Arc};

/// A log, and whatever has to live as long.
pub(super) struct Opened<G> {
    log: Arc<dyn EventLog>,
    _guard: G,
}

impl<G> Opened<G> {
    pub(super) fn shared(&self) -> Arc<dyn EventLog> {
        self.log.clone()
    }
}

impl<G> Deref for Opened<G> {
    type Target = dyn EventLog;

    fn deref(&self) -> &Self::Target {
        &*self.log
    }
}

pub(super) fn memory() -> Opened<()> {
    Opened {
        log: Arc::new(Arc::new(eventlog::MemoryLog::default())),
        _guard: (),
    }
}

pub(super) async fn jetstream() -> Opened<tests::NatsServer> {
    let server = tests::NatsServer::start().await.unwrap();
    let nats = server.connect("catalog").await.unwrap();
    Opened {
        log: Arc::new(nats.log().await.unwrap()),
        _guard: server,
    }
}

macro_rules! on_every_log {
    ($($(#[$comment:meta])* $test:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(&*super::memory()).await;
            })+
        }
        mod jetstream {
            $(#[tokio::test]
            async fn $test() {
                super::$test(&*super::jetstream().await).await;
            })+
        }
    };
}

on_every_log! {
    an_entry_is_written_only_behind_the_version_it_expects,
    a_batch_is_written_whole_or_not_at_all,
    one_stream_twice_in_a_batch_is_a_conflict,
    of_a_hundred_batches_for_one_name_one_wins,
    a_hundred_batches_for_distinct_names_all_succeed,
    a_follower_gets_what_was_and_what_comes_in_order,
    what_is_stored_is_read_whole_or_by_category_or_by_key,
}

pub(super) fn stream(key: &str) -> StreamId {
    StreamId::new("workspace", key)
}

pub(super) fn entry(key: &str, expected: u64, text: &str) -> Append {
    Append {
        stream: stream(key),
        expected: Position(expected),
        bytes: Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// The next entries of a log, as (position, key, text).
pub(super) async fn read(log: &dyn EventLog, after: u64, count: usize) -> Vec<(u64, String, String)> {
    let entries = log.follow(Position(after)).await.unwrap().take(count);
    entries.map(|entry| plain(&entry.unwrap())).collect().await
}

pub(super) fn plain(entry: &Entry) -> (u64, String, String) {
    let text = String::from_utf8_lossy(&entry.bytes).into_owned();
    (entry.position.0, entry.stream.key.clone(), text)
}

fn is_conflict(answer: &Result<Position, AppendError>) -> bool {
    matches!(answer, Err(AppendError::Conflict))
}

// covers E6
async fn an_entry_is_written_only_behind_the_version_it_expects(log: &dyn EventLog) {
    assert_eq!(log.append(vec![entry("a", 0, "first")]).await.unwrap(), Position(1));
    assert!(is_conflict(&log.append(vec![entry("a", 0, "late")]).await));
    assert!(is_conflict(&log.append(vec![entry("a", 7, "ahead")]).await));
    assert_eq!(log.append(vec![entry("b", 0, "other")]).await.unwrap(), Position(2));
    assert_eq!(log.append(vec![entry("a", 1, "second")]).await.unwrap(), Position(3));
    assert_eq!(log.version(&stream("a")).await.unwrap(), Position(3));
    assert_eq!(log.version(&stream("b")).await.unwrap(), Position(2));
    assert_eq!(log.version(&stream("c")).await.unwrap(), Position(0));
    assert_eq!(log.head().await.unwrap(), Position(3));
}

async fn a_batch_is_written_whole_or_not_at_all(log: &dyn EventLog) {
    let written = log.append(vec![entry("a", 0, "1"), entry("b", 0, "2")]).await;
    assert_eq!(written.unwrap(), Position(2));
    // The stale one may stand first, last, or between.
    for stale in 0..3 {
        let mut batch = vec![entry("c", 0, "never"), entry("d", 0, "never")];
        batch.insert(stale, entry("a", 0, "never"));
        assert!(is_conflict(&log.append(batch).await), "stale at {stale}");
    }
    assert_eq!(log.version(&stream("c")).await.unwrap(), Position(0));
    assert_eq!(log.head().await.unwrap(), Position(2));
    let next = log
        .append(vec![entry("c", 0, "3"), entry("a", 1, "4"), entry("d", 0, "5")])
        .await;
    assert_eq!(next.unwrap(), Position(5));
    let texts: Vec<String> = read(log, 0, 5).await.into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["1", "2", "3", "4", "5"]);
}

async fn one_stream_twice_in_a_batch_is_a_conflict(log: &dyn EventLog) {
    let twice = log.append(vec![entry("a", 0, "1"), entry("a", 0, "2")]).await;
    assert!(is_conflict(&twice), "{twice:?}");
    assert_eq!(log.head().await.unwrap(), Position(0));
}

// covers R7
async fn of_a_hundred_batches_for_one_name_one_wins(log: &dyn EventLog) {
    let batches = (0..100).map(|n| {
        log.append(vec![
            entry("name", 0, &n.to_string()),
            entry(&format!("own{n}"), 0, "own"),
        ])
    });
    let answers = join_all(batches).await;
    let won = answers.iter().filter(|answer| answer.is_ok()).count();
    let lost = answers.iter().filter(|answer| is_conflict(answer)).count();
    assert_eq!((won, lost), (1, 99));
    assert_eq!(log.head().await.unwrap(), Position(2));
}

async fn a_hundred_batches_for_distinct_names_all_succeed(log: &dyn EventLog) {
    let batches = (0..100).map(|n| {
        let (name, image) = (format!("name{n}"), format!("image{n}"));
        async move {
            let batch = vec![entry(&name, 0, &image), entry(&image, 0, &name)];
            log.append(batch).await.unwrap()
        }
    });
    let mut positions = join_all(batches).await;
    positions.sort_unstable();
    assert_eq!(positions, (1..=100).map(|n| Position(n * 2)).collect::<Vec<_>>());
    // The entries of a batch stand next to each other.
    for pair in read(log, 0, 200).await.chunks(2) {
        assert_eq!((&pair[0].1, &pair[0].2), (&pair[1].2, &pair[1].1));
    }
}

// covers E7
async fn a_follower_gets_what_was_and_what_comes_in_order(log: &dyn EventLog) {
    for n in 0..5 {
        log.append(vec![entry("a", n, &n.to_string())]).await.unwrap();
    }
    let mut entries = log.follow(Position(3)).await.unwrap();
    for position in [4, 5] {
        assert_eq!(plain(&entries.next().await.unwrap().unwrap()).0, position);
    }
    for n in 5..50 {
        log.append(vec![entry("a", n, &n.to_string())]).await.unwrap();
        let next = plain(&entries.next().await.unwrap().unwrap());
        assert_eq!(next, (n + 1, "a".to_owned(), n.to_string()));
    }
    // Another one, from the end, waits for what is to come.
    let mut latest = log.follow(Position(50)).await.unwrap();
    log.append(vec![entry("b", 0, "b")]).await.unwrap();
    assert_eq!(plain(&latest.next().await.unwrap().unwrap()).0, 51);
}

// covers E11
async fn what_is_stored_is_read_whole_or_by_category_or_by_key(log: &dyn EventLog) {
    let stored = async |which| {
        let entries = log.stored(which).await.unwrap();
        let plain = entries.map(|entry| {
            entry
                .map(|entry| (entry.position.0, entry.stream, entry.bytes))
                .unwrap()
        });
        plain.collect::<Vec<_>>().await
    };
    assert_eq!(stored(Which::All).await, []);
    let other = Append {
        stream: StreamId::new("image", "a"),
        ..entry("a", 0, "2")
    };
    log.append(vec![entry("a", 0, "1"), other, entry("b", 0, "3")])
        .await
        .unwrap();
    let all = ["workspace.a", "image.a", "workspace.b"];
    let all: Vec<_> = (1..)
        .zip(all)
        .map(|(n, stream): (u64, _)| (n, stream.to_owned(), Bytes::from(n.to_string())))
        .collect();
    assert_eq!(stored(Which::All).await, all);
    assert_eq!(stored(Which::Key("a")).await, all[..2]);
    assert_eq!(stored(Which::Key("b")).await, all[2..]);
    assert_eq!(stored(Which::Category("image")).await, all[1..2]);
    assert_eq!(stored(Which::Category("name")).await, []);
}
