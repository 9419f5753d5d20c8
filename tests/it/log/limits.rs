//! Where the log ends: what is refused, what still goes, and how it heals.

use super::{
    contract::{entry, jetstream, read},
    tally::{Process, WITHIN, request},
};
use eventlog::{AppendError, EventLog, ExecuteError, LogError, Nats, OPERATOR, Position, Request};
use futures::future::join_all;
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tests::NatsServer;
use tokio::time::{interval, timeout};

const LIMIT: u32 = 400 * 1024;

#[tokio::test]
async fn a_nearly_full_log_keeps_the_rest_for_ends_and_cancels_and_heals_when_it_is_raised() {
    let mut server = NatsServer::with_operator().await.unwrap();
    server.log_bytes_max = i64::from(LIMIT);
    let folder = TempDir::new().unwrap();
    let log: Arc<dyn EventLog> = Arc::new(server.connect("catalog").await.unwrap().log().await.unwrap());
    let process = Process::start(log.clone(), folder.path()).await.unwrap();
    let urgent = || Request {
        urgent: true,
        // Entries of some size.
        traceparent: "x".repeat(4_000),
        ..request()
    };
    let known = request();
    let first = process.add_as(&known, "a", 1).await.unwrap();
    // Entries go in as long as users' commands are admitted.
    let mut written = 1;
    while log.admit().await.is_ok() {
        process.add_as(&urgent(), "a", 1).await.unwrap();
        written += 1;
        assert!(written < 200, "the log is never full");
    }
    let refused = process.add("a", 1).await.unwrap_err();
    let ExecuteError::Log(LogError::Full { used, limit }) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(*limit, u64::from(LIMIT));
    assert!(*used >= limit / 100 * 95 && used < limit, "{used} of {limit}");
    assert_eq!(
        refused.to_string(),
        format!("the event log is full ({used} of {limit} bytes), ask the operator to raise its limit")
    );
    let again = process.add_as(&known, "a", 1).await.unwrap();
    assert_eq!(again.0, first.0, "what took effect before is answered");
    // Ends and cancels still do, up to the very end, where they are told the same.
    let mut ends = 0;
    let full = loop {
        match process.add_as(&urgent(), "a", 1).await {
            Ok(_) => ends += 1,
            Err(full) => break full,
        }
    };
    assert!(ends >= 2, "{ends} ends found room");
    assert!(matches!(full, ExecuteError::Log(LogError::Full { .. })), "{full:?}");
    assert_eq!(log.head().await.unwrap(), Position(written + ends));

    let operator = server.operator().await.unwrap();
    let mut config = operator.get_stream("LOG").await.unwrap().cached_info().config.clone();
    config.max_bytes *= 4;
    operator.update_stream(config).await.unwrap();
    process.add_as(&urgent(), "a", 1).await.unwrap();
    let mut tick = interval(Duration::from_millis(20));
    let admitted = async {
        while process.add("a", 1).await.is_err() {
            tick.tick().await;
        }
    };
    timeout(WITHIN, admitted).await.unwrap();
    process.end().await;
    // A process with the old settings does not start on it.
    let unfit = server.connect("catalog").await.err().unwrap().to_string();
    assert_eq!(
        unfit,
        "the stream LOG may have 1638400 bytes and never shrinks: set nats.log_bytes_max to at least that, not 409600"
    );
}

// covers E9
#[tokio::test]
async fn only_the_operator_raises_limits_and_it_can_do_nothing_else() {
    let mut server = NatsServer::start().await.unwrap();
    server.log_bytes_max = 1 << 20;
    let before = server.connect("catalog").await.unwrap().log().await.unwrap();
    before.append(vec![entry("name", 0, "image")]).await.unwrap();

    let operator = Nats::connect(&server.config(OPERATOR).unwrap()).await.unwrap();
    let output = 1 << 28;
    let low = operator.grow(1 << 10, 1 << 10).await.unwrap();
    assert_eq!(low, (Some(1 << 20), Some(output)), "nothing shrinks");
    let high = operator.grow(1 << 21, output).await.unwrap();
    assert_eq!(high, (Some(1 << 21), Some(output)));
    let catalog = Nats::connect(&server.config("catalog").unwrap()).await.unwrap();
    assert!(catalog.grow(1 << 22, output).await.is_err());

    server.log_bytes_max = 1 << 21;
    let log = server.connect("catalog").await.unwrap().log().await.unwrap();
    assert_eq!(read(&log, 0, 1).await.len(), 1);
    let written = operator
        .log()
        .await
        .unwrap()
        .append(vec![entry("name", 1, "image")])
        .await;
    assert!(written.is_err());
    assert_eq!(log.head().await.unwrap(), Position(1));
}

#[tokio::test]
async fn an_entry_that_is_too_large_is_refused_with_the_figures() {
    let log = jetstream().await;
    let folder = TempDir::new().unwrap();
    let process = Process::start(log.shared(), folder.path()).await.unwrap();
    let large = Request {
        traceparent: "x".repeat(600 * 1024),
        ..request()
    };
    let refused = process.add_as(&large, "a", 1).await.unwrap_err().to_string();
    assert!(refused.ends_with("bytes, 524288 are allowed"), "{refused}");
    assert_eq!(log.head().await.unwrap(), Position(0));
    process.end().await;
}

// covers R7
#[tokio::test]
async fn more_batches_than_a_server_keeps_open_all_succeed_in_the_end() {
    const PROCESSES: usize = 3;
    const EACH: usize = 60;
    let server = NatsServer::start().await.unwrap();
    let mut logs = Vec::new();
    for _ in 0..PROCESSES {
        logs.push(server.connect("catalog").await.unwrap().log().await.unwrap());
    }
    let batches = (0..PROCESSES * EACH).map(|n| {
        let (log, name, image) = (&logs[n % PROCESSES], format!("name{n}"), format!("image{n}"));
        async move { log.append(vec![entry(&name, 0, &image), entry(&image, 0, &name)]).await }
    });
    for written in join_all(batches).await {
        written.unwrap();
    }
    let entries = read(&logs[0], 0, PROCESSES * EACH * 2).await;
    for pair in entries.chunks(2) {
        assert_eq!((&pair[0].1, &pair[0].2), (&pair[1].2, &pair[1].1));
    }
}

#[tokio::test]
async fn nothing_is_no_entry() {
    let log = jetstream().await;
    assert!(matches!(log.append(vec![]).await, Err(AppendError::Log(_))));
}
