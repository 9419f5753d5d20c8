//! What a server's death does to writers and followers: nothing is lost, nothing is there twice, and they come back.

use super::{
    contract::{entry, plain, read, stream},
    tally::{Process, WITHIN, request},
};
use async_nats::jetstream::stream::Config;
use eventlog::{AppendError, EventLog, ExecuteError, JetStreamLog, LogError, Outcome, Position};
use futures::StreamExt as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tests::{NatsServer, dump};
use tokio::{sync::watch, task::JoinSet, time::timeout};

const BACK_WITHIN: Duration = Duration::from_secs(5);

async fn log_of(server: &NatsServer) -> JetStreamLog {
    server.connect("catalog").await.unwrap().log().await.unwrap()
}

/// Kills the server at random moments while `acknowledged` grows, and starts it again.
async fn kill_often(server: &mut NatsServer, mut acknowledged: watch::Receiver<u64>, times: u32) {
    let seed = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..times {
        let at = *acknowledged.borrow() + random.random_range(50..300);
        let reached = timeout(WITHIN, acknowledged.wait_for(|count| *count >= at)).await;
        reached.unwrap().unwrap();
        server.kill();
        server.restart().await.unwrap();
        let (back, before) = (Instant::now(), *acknowledged.borrow());
        let goes_on = timeout(WITHIN, acknowledged.wait_for(|count| *count > before + 1)).await;
        goes_on.unwrap().unwrap();
        assert!(
            back.elapsed() < BACK_WITHIN,
            "writing went on only after {:?}",
            back.elapsed()
        );
    }
}

/// Appends numbers to a stream of its own until told to stop; answers how many were acknowledged.
async fn write_numbers(
    log: JetStreamLog,
    key: String,
    acknowledged: watch::Sender<u64>,
    over: Arc<AtomicBool>,
) -> (String, u64) {
    let (mut version, mut next) = (0, 0);
    while !over.load(Ordering::SeqCst) {
        match log.append(vec![entry(&key, version, &next.to_string())]).await {
            Ok(position) => version = position.0,
            // It said that nothing was changed.
            Err(AppendError::Log(LogError::Unavailable(_))) => continue,
            Err(AppendError::Log(LogError::OutcomeUnknown(_))) => {
                let Ok(found) = log.version(&stream(&key)).await else {
                    continue;
                };
                if found.0 == version {
                    continue;
                }
                version = found.0;
            }
            Err(AppendError::Conflict) => {
                // Only after an outcome that it could not find out.
                version = log.version(&stream(&key)).await.unwrap().0;
            }
            Err(error) => panic!("{error:?}"),
        }
        next += 1;
        acknowledged.send_modify(|count| *count += 1);
    }
    (key, next)
}

// covers E2, E6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_in_the_log_once_however_often_the_server_is_killed() {
    let mut server = NatsServer::start().await.unwrap();
    let log = log_of(&server).await;
    let (acknowledged, counted) = watch::channel(0);
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for n in 0..16 {
        writers.spawn(write_numbers(
            log.clone(),
            format!("w{n}"),
            acknowledged.clone(),
            over.clone(),
        ));
    }
    kill_often(&mut server, counted, 8).await;
    over.store(true, Ordering::SeqCst);
    let written: HashMap<String, u64> = writers.join_all().await.into_iter().collect();
    let head = log.head().await.unwrap().0;
    assert_eq!(head, written.values().sum::<u64>());
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for (_, key, text) in read(&log, 0, usize::try_from(head).unwrap()).await {
        found.entry(key).or_default().push(text);
    }
    for (key, count) in written {
        let expected: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        assert_eq!(found.remove(&key).unwrap_or_default(), expected, "{key}");
    }
}

// covers E2, E18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_repeated_until_they_succeed_take_effect_once() {
    let mut server = NatsServer::start().await.unwrap();
    let (folder, rebuilt) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let log: Arc<dyn EventLog> = Arc::new(log_of(&server).await);
    let process = Arc::new(Process::start(log.clone(), folder.path()).await.unwrap());
    let (acknowledged, counted) = watch::channel(0);
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for n in 0..12 {
        let (process, acknowledged, over) = (process.clone(), acknowledged.clone(), over.clone());
        clients.spawn(async move {
            let mut done = 0_u64;
            while !over.load(Ordering::SeqCst) {
                let request = request();
                // Four streams, so that some wait for each other.
                while let Err(error) = process.add_as(&request, &format!("tally{}", n % 4), 1).await {
                    assert!(
                        matches!(
                            error,
                            ExecuteError::Contended
                                | ExecuteError::Log(LogError::Unavailable(_) | LogError::OutcomeUnknown(_))
                        ),
                        "{error:?}"
                    );
                }
                done += 1;
                acknowledged.send_modify(|count| *count += 1);
            }
            done
        });
    }
    kill_often(&mut server, counted, 8).await;
    over.store(true, Ordering::SeqCst);
    let done: u64 = clients.join_all().await.into_iter().sum();
    let head = log.head().await.unwrap();
    assert_eq!(head.0, done);
    process.view.reach(head, WITHIN).await.unwrap();
    Arc::into_inner(process).unwrap().end().await;
    Process::start(log, rebuilt.path()).await.unwrap().end().await;
    assert_eq!(dump(folder.path()).await.unwrap(), dump(rebuilt.path()).await.unwrap());
}

#[tokio::test]
async fn a_follower_ends_soon_after_its_server_and_goes_on_where_it_was() {
    let mut server = NatsServer::start().await.unwrap();
    let log = log_of(&server).await;
    log.append(vec![entry("a", 0, "1")]).await.unwrap();
    let mut entries = log.follow(Position(0)).await.unwrap();
    assert_eq!(plain(&entries.next().await.unwrap().unwrap()).0, 1);
    let killed = Instant::now();
    server.restart().await.unwrap();
    let end = timeout(WITHIN, entries.next()).await.unwrap();
    assert!(matches!(end, Some(Err(LogError::Unavailable(_)))), "{end:?}");
    assert!(killed.elapsed() < BACK_WITHIN, "silent for {:?}", killed.elapsed());
    log.append(vec![entry("a", 1, "2")]).await.unwrap();
    let mut entries = log.follow(Position(1)).await.unwrap();
    assert_eq!(plain(&entries.next().await.unwrap().unwrap()).2, "2");
}

#[tokio::test]
async fn without_a_server_a_command_is_refused_soon_and_nothing_was_changed() {
    let mut server = NatsServer::start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let log: Arc<dyn EventLog> = Arc::new(log_of(&server).await);
    let process = Process::start(log.clone(), folder.path()).await.unwrap();
    process.add("a", 1).await.unwrap();
    server.kill();
    // The first may have left before the connection broke.
    let first = request();
    loop {
        match process.add_as(&first, "a", 1).await {
            Err(ExecuteError::Log(LogError::Unavailable(_))) => break,
            Err(ExecuteError::Log(LogError::OutcomeUnknown(_))) => (),
            answer => panic!("{answer:?}"),
        }
    }
    let asked = Instant::now();
    let calls = futures::future::join_all((0..20).map(|_| process.add("a", 1))).await;
    // Those that queue for one stream do not add up.
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    for call in calls {
        let error = call.unwrap_err();
        assert!(
            matches!(error, ExecuteError::Log(LogError::Unavailable(_))),
            "{error:?}"
        );
    }
    server.restart().await.unwrap();
    let back = Instant::now();
    process.add_as(&first, "a", 1).await.unwrap();
    assert!(back.elapsed() < BACK_WITHIN, "{:?}", back.elapsed());
    assert_eq!(log.head().await.unwrap(), Position(2));
    process.end().await;
}

#[tokio::test]
async fn an_entry_whose_answer_was_late_is_there_once() {
    let server = NatsServer::start().await.unwrap();
    let folder = TempDir::new().unwrap();
    let log: Arc<dyn EventLog> = Arc::new(log_of(&server).await);
    let process = Process::start(log.clone(), folder.path()).await.unwrap();
    process.add("a", 1).await.unwrap();
    server.freeze().unwrap();
    let request = request();
    let mut adding = Box::pin(process.add_as(&request, "a", 2));
    // Longer than the patience of one request: the second try is under way when the server wakes.
    let early = timeout(Duration::from_secs(4), &mut adding).await;
    server.go_on().unwrap();
    let answer = match early {
        Ok(answer) => answer,
        Err(_) => adding.as_mut().await,
    };
    drop(adding);
    let position = match answer {
        Ok((position, _)) => position,
        // The question before the write got no answer in time: the client repeats it.
        Err(ExecuteError::Log(LogError::Unavailable(_))) => process.add_as(&request, "a", 2).await.unwrap().0,
        Err(error) => panic!("{error:?}"),
    };
    assert_eq!(
        process.add_as(&request, "a", 2).await.unwrap(),
        (position, Outcome::Repeated)
    );
    assert_eq!((position, log.head().await.unwrap()), (2, Position(2)));
    process.end().await;
}

#[tokio::test]
async fn a_log_that_does_not_answer_leaves_the_outcome_unknown_in_bounded_time() {
    let server = NatsServer::start().await.unwrap();
    let log = log_of(&server).await;
    server.freeze().unwrap();
    let asked = Instant::now();
    let unknown = log.append(vec![entry("a", 0, "1")]).await;
    assert!(
        matches!(unknown, Err(AppendError::Log(LogError::OutcomeUnknown(_)))),
        "{unknown:?}"
    );
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    server.go_on().unwrap();
    // Whatever arrived late, it is there once.
    let again = log.append(vec![entry("a", 0, "1")]).await;
    assert!(
        matches!(again, Ok(Position(1)) | Err(AppendError::Conflict)),
        "{again:?}"
    );
    assert_eq!(log.head().await.unwrap(), Position(1));
}

// covers E9
#[tokio::test]
async fn a_gap_in_the_log_is_an_error_and_never_skipped() {
    let server = NatsServer::with_operator().await.unwrap();
    let operator = server.operator().await.unwrap();
    // A stream that somebody made to allow what ours forbids.
    let tampered = Config {
        name: "LOG".to_owned(),
        subjects: vec!["log.>".to_owned()],
        ..Config::default()
    };
    let made = operator.create_stream(tampered).await.unwrap();
    let refused = server.connect("catalog").await.err().unwrap().to_string();
    assert!(
        refused.contains("LOG") && refused.contains("deny_delete is false"),
        "{refused}"
    );
    let nats = eventlog::Nats::connect(&server.config("catalog").unwrap())
        .await
        .unwrap();
    let log = nats.log().await.unwrap();
    for n in 0..5 {
        log.append(vec![entry("a", n, &n.to_string())]).await.unwrap();
    }
    made.delete_message(3).await.unwrap();
    let mut entries = log.follow(Position(0)).await.unwrap();
    for _ in 0..2 {
        entries.next().await.unwrap().unwrap();
    }
    let gap = entries.next().await.unwrap().unwrap_err();
    let cause = format!("{:#}", anyhow::Error::from(gap));
    assert!(cause.contains("the log has a gap: 4 follows 2"), "{cause}");
}
