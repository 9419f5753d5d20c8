//! The write path: the law of repeated requests, staleness, and many writers on one stream.

use super::{
    contract::{jetstream, memory, read, stream},
    tally::{LIMIT, Process, Tally, TooMuch, WITHIN, request},
};
use eventlog::{EventLog, ExecuteError, MemoryLog, Outcome, Position, Request, StreamId, step};
use futures::future::join_all;
use proptest::prelude::*;
use std::{collections::HashMap, sync::Arc};
use tempfile::TempDir;

struct Started {
    process: Process,
    log: Arc<dyn EventLog>,
    folder: TempDir,
}

async fn started() -> Started {
    let log: Arc<dyn EventLog> = Arc::new(Arc::new(MemoryLog::default()));
    let folder = TempDir::new().unwrap();
    let process = Process::start(log.clone(), folder.path()).await.unwrap();
    Started { process, log, folder }
}

/// What a client may do next.
#[derive(Debug, Clone)]
enum Next {
    /// Request number `request` adds to tally number `tally`. The same number again is a repeat.
    Add { request: usize, tally: usize, added: u64 },
    /// One request that adds to both tallies.
    Both { request: usize, added: u64 },
    /// The process starts again, with nothing in memory.
    Restart,
}

fn next() -> impl Strategy<Value = Next> {
    // Some are refused, some change nothing.
    let added = prop_oneof![6 => 1..10_u64, 1 => Just(0), 1 => Just(LIMIT + 1)];
    prop_oneof![
        12 => (0..12_usize, 0..2_usize, added).prop_map(|(request, tally, added)| Next::Add { request, tally, added }),
        4 => (12..16_usize, 1..10_u64).prop_map(|(request, added)| Next::Both { request, added }),
        1 => Just(Next::Restart),
    ]
}

fn tally(number: usize) -> String {
    format!("tally{number}")
}

/// The law: a request that took effect answers its position when it is repeated, and writes nothing.
async fn the_law_holds(steps: Vec<Next>) -> Result<(), TestCaseError> {
    let Started {
        mut process,
        log,
        folder,
    } = started().await;
    let requests: Vec<Request> = (0..16).map(|_| request()).collect();
    let mut effects: HashMap<(usize, Option<usize>), u64> = HashMap::new();
    for step_taken in steps {
        let head = log.head().await.unwrap().0;
        let (key, answer) = match step_taken {
            Next::Restart => {
                process.end().await;
                process = Process::start(log.clone(), folder.path()).await.unwrap();
                continue;
            }
            Next::Add {
                request,
                tally: number,
                added,
            } => {
                let answer = process.add_as(&requests[request], &tally(number), added).await;
                if let Err(error) = &answer {
                    let is_right = added > LIMIT && !effects.contains_key(&(request, Some(number)));
                    prop_assert!(is_right, "{error:?}");
                    prop_assert_eq!(log.head().await.unwrap().0, head);
                    continue;
                }
                let (position, outcome) = answer.unwrap();
                if outcome == Outcome::Unchanged {
                    prop_assert!(added == 0 && !effects.contains_key(&(request, Some(number))));
                    prop_assert_eq!(log.head().await.unwrap().0, head);
                    continue;
                }
                ((request, Some(number)), position)
            }
            Next::Both { request, added } => {
                let steps = [0, 1].map(|number| step::<Tally>(&tally(number), added));
                let position = process.writer.execute_all(&requests[request], steps).await.unwrap();
                ((request, None), position.0)
            }
        };
        if let Some(known) = effects.get(&key) {
            prop_assert_eq!(answer, *known);
            prop_assert_eq!(log.head().await.unwrap().0, head, "a repeat wrote");
        } else {
            prop_assert!(answer > head, "a new request wrote nothing");
            prop_assert_eq!(answer, log.head().await.unwrap().0);
            effects.insert(key, answer);
        }
    }
    process.end().await;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    // covers E18
    #[test]
    fn a_repeated_request_answers_its_position_and_writes_nothing(steps in prop::collection::vec(next(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(the_law_holds(steps))?;
    }
}

// covers E18
#[tokio::test]
async fn a_part_of_a_batch_that_is_repeated_alone_answers_the_position_of_the_whole() {
    let Started {
        process,
        log,
        folder: _folder,
    } = started().await;
    let request = request();
    let steps = ["a", "b", "c"].map(|key| step::<Tally>(&key.to_owned(), 1));
    let position = process.writer.execute_all(&request, steps).await.unwrap();
    for key in ["a", "b", "c"] {
        let again = process.add_as(&request, key, 1).await.unwrap();
        assert_eq!(again, (position.0, Outcome::Repeated));
    }
    assert_eq!(log.head().await.unwrap(), Position(3));
    process.end().await;
}

// covers E18
#[tokio::test]
async fn a_hundred_copies_of_a_request_at_once_write_one_entry() {
    let log = jetstream().await;
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let processes = [
        Process::start(log.shared(), first.path()).await.unwrap(),
        Process::start(log.shared(), second.path()).await.unwrap(),
    ];
    let request = request();
    let copies = (0..100).map(|n| processes[n % 2].add_as(&request, "a", 5));
    let answers = join_all(copies).await;
    assert!(
        answers.iter().all(|answer| answer.as_ref().unwrap().0 == 1),
        "{answers:?}"
    );
    assert_eq!(log.head().await.unwrap(), Position(1));
    for process in processes {
        process.end().await;
    }
}

// covers E6
#[tokio::test]
async fn who_judged_on_an_older_version_is_told_the_newer_one() {
    let Started {
        process, folder, log, ..
    } = started().await;
    process.add("a", 1).await.unwrap();
    let other_folder = TempDir::new().unwrap();
    let other = Process::start(log.clone(), other_folder.path()).await.unwrap();
    other.add("a", 1).await.unwrap();
    let stale = Request {
        expected: Some(Position(1)),
        ..request()
    };
    // This process has not folded the other's entry yet, or has just: both must see it.
    let refused = process.add_as(&stale, "a", 1).await;
    assert!(
        matches!(
            refused,
            Err(ExecuteError::Stale {
                current: Position(2),
                expected: Position(1)
            })
        ),
        "{refused:?}"
    );
    let fresh = Request {
        expected: Some(Position(2)),
        ..request()
    };
    assert_eq!(process.add_as(&fresh, "a", 1).await.unwrap(), (3, Outcome::Written));
    // Its repeat is judged on what it was, not on what it expects now.
    assert_eq!(process.add_as(&fresh, "a", 1).await.unwrap(), (3, Outcome::Repeated));
    process.end().await;
    other.end().await;
    drop(folder);
}

#[tokio::test]
async fn a_refusal_is_never_given_on_a_stale_fold() {
    let log = memory();
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let one = Process::start(log.shared(), first.path()).await.unwrap();
    let other = Process::start(log.shared(), second.path()).await.unwrap();
    one.add("a", LIMIT - 10).await.unwrap();
    for _ in 0..10 {
        // Each refusal is decided after the other's entry, though no follower had to be waited for.
        other.add("a", 1).await.unwrap();
    }
    let refused = one.add("a", 1).await;
    assert!(matches!(&refused, Err(ExecuteError::Refused(why)) if why.to_string() == TooMuch(1).to_string()));
    one.end().await;
    other.end().await;
}

#[tokio::test]
async fn who_writes_sees_the_state_it_made() {
    let Started {
        process,
        folder: _folder,
        ..
    } = started().await;
    let ids: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    // More streams at once than folds are kept.
    let written = ids.iter().map(|id| async {
        let request = request();
        process.writer.execute::<Tally>(&request, id, 3).await.unwrap().state
    });
    for state in join_all(written).await {
        assert_eq!((state.total, state.additions), (3, 1));
    }
    process.end().await;
}

/// 64 writers in two processes on one stream: everybody gets through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_of_two_processes_on_one_stream_all_get_through() {
    const WRITERS: usize = 64;
    const EACH: usize = 8;
    let log = jetstream().await;
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let processes = [
        Arc::new(Process::start(log.shared(), first.path()).await.unwrap()),
        Arc::new(Process::start(log.shared(), second.path()).await.unwrap()),
    ];
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..WRITERS {
        let process = processes[n % 2].clone();
        writers.spawn(async move {
            let mut contended = 0;
            for _ in 0..EACH {
                match process.add("a", 1).await {
                    Ok((_, outcome)) => assert_eq!(outcome, Outcome::Written),
                    Err(ExecuteError::Contended) => contended += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            contended
        });
    }
    let contended: usize = writers.join_all().await.into_iter().sum();
    let calls = WRITERS * EACH;
    assert!(contended * 100 < calls, "{contended} of {calls} calls were contended");
    let written = calls - contended;
    assert_eq!(log.head().await.unwrap(), Position(written as u64));
    for process in &processes {
        process.view.reach(Position(written as u64), WITHIN).await.unwrap();
        let total: i64 = sqlx::query_scalar("SELECT total FROM total")
            .fetch_one(process.view.rows())
            .await
            .unwrap();
        assert_eq!(total, i64::try_from(written).unwrap());
    }
}

#[tokio::test]
async fn a_batch_of_requests_keeps_its_place_in_every_stream() {
    let log = memory();
    let folder = TempDir::new().unwrap();
    let process = Process::start(log.shared(), folder.path()).await.unwrap();
    let steps = ["a", "b"].map(|key| step::<Tally>(&key.to_owned(), 7));
    process.writer.execute_all(&request(), steps).await.unwrap();
    let entries = read(&*log, 0, 2).await;
    assert_eq!((entries[0].1.as_str(), entries[1].1.as_str()), ("a", "b"));
    assert_eq!(log.version(&stream("a")).await.unwrap(), Position(1));
    assert_eq!(
        log.version(&StreamId::new("workspace", "b")).await.unwrap(),
        Position(2)
    );
    process.end().await;
}
