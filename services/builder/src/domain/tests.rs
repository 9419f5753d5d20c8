//! What may happen to a build, and in which order.

use super::*;
use aggregate::given;
use ids::Ulid;
use proptest::prelude::*;

fn build(n: u128) -> BuildId {
    BuildId::from_ulid(Ulid::from(n))
}

fn queue(n: u128) -> BuildsCommand {
    BuildsCommand::Queue {
        queued: BuildQueued {
            build: Some(build(n)),
            revision: 1,
            ..BuildQueued::default()
        },
        published: None,
    }
}

fn start(n: u128, attempt: u32) -> BuildsCommand {
    BuildsCommand::Start {
        build: build(n),
        attempt,
        worker: WorkerId::default(),
        engine: "local".to_owned(),
        engine_version: "28".to_owned(),
        attached: None,
    }
}

fn assemble(n: u128, attempt: u32) -> BuildsCommand {
    BuildsCommand::Assemble(BuildAssembled {
        build: Some(build(n)),
        attempt,
        ..BuildAssembled::default()
    })
}

fn fail(n: u128, attempt: u32) -> BuildsCommand {
    BuildsCommand::Fail {
        build: build(n),
        attempt,
        phase: BuildPhase::Building,
        cause: "exit code 1".to_owned(),
        steps: vec![],
    }
}

fn lose(n: u128, attempt: u32) -> BuildsCommand {
    BuildsCommand::Lose {
        build: build(n),
        attempt,
        cause: "the builder died".to_owned(),
        attempts_max: 2,
    }
}

/// Decides each command on the history of those before; a refused one leaves no trace.
fn history(commands: impl IntoIterator<Item = BuildsCommand>) -> Vec<BuildsEvent> {
    let mut events = vec![];
    for command in commands {
        events.extend(Builds::replay(&events).decide(command).unwrap_or_default());
    }
    events
}

// covers R29, R30
#[test]
fn a_second_build_is_told_which_one_runs() {
    for before in [
        vec![queue(1)],
        vec![queue(1), start(1, 1)],
        vec![queue(1), start(1, 1), assemble(1, 1)],
    ] {
        given::<Builds>(history(before))
            .when(queue(2))
            .then_refused(&BuildsRefused::Running(build(1)));
    }
    let ended = history([queue(1), start(1, 1), fail(1, 1)]);
    assert!(Builds::replay(&ended).decide(queue(2)).is_ok());
}

// covers E2
#[test]
fn a_dead_worker_costs_an_attempt_and_then_the_build() {
    let lost_once = history([queue(1), start(1, 1), lose(1, 1)]);
    assert!(matches!(lost_once.last(), Some(BuildsEvent::AttemptLost(_))));
    given::<Builds>(lost_once.clone())
        .when(assemble(1, 1))
        .then_refused(&BuildsRefused::Fenced);
    let lost_twice = history([queue(1), start(1, 1), lose(1, 1), start(1, 2), lose(1, 2)]);
    assert!(matches!(lost_twice.last(), Some(BuildsEvent::Lost(_))));
}

// covers E4
#[test]
fn after_a_cancel_was_asked_for_nothing_is_assembled() {
    let cancelling = history([queue(1), start(1, 1), BuildsCommand::RequestCancel { build: build(1) }]);
    given::<Builds>(cancelling.clone())
        .when(assemble(1, 1))
        .then_refused(&BuildsRefused::CancelRequested);
    given::<Builds>(cancelling)
        .when(BuildsCommand::Cancel { build: build(1) })
        .then([BuildsEvent::Cancelled(BuildCancelled { build: Some(build(1)) })]);
}

#[test]
fn a_waiting_build_is_cancelled_at_once() {
    let waiting = history([queue(1)]);
    given::<Builds>(waiting)
        .when(BuildsCommand::RequestCancel { build: build(1) })
        .then([
            BuildsEvent::CancelRequested(CancelRequested { build: Some(build(1)) }),
            BuildsEvent::Cancelled(BuildCancelled { build: Some(build(1)) }),
        ]);
}

fn any_command() -> impl Strategy<Value = BuildsCommand> {
    (0..7, 1..4u128, 1..4u32).prop_map(|(kind, n, attempt)| match kind {
        0 => queue(n),
        1 => start(n, attempt),
        2 => assemble(n, attempt),
        3 => fail(n, attempt),
        4 => BuildsCommand::RequestCancel { build: build(n) },
        5 => BuildsCommand::Cancel { build: build(n) },
        _ => lose(n, attempt),
    })
}

proptest! {
    // covers E2, E4, E18
    #[test]
    fn every_build_ends_at_most_once_and_no_attempt_speaks_after_its_end(
        commands in prop::collection::vec(any_command(), 0..40)
    ) {
        let mut running = None;
        let mut open = None;
        for event in history(commands) {
            match event {
                BuildsEvent::Queued(event) => {
                    prop_assert_eq!(open, None);
                    open = event.build;
                }
                BuildsEvent::Started(event) => {
                    prop_assert_eq!(running, None);
                    prop_assert_eq!(open, event.build);
                    running = event.build;
                }
                BuildsEvent::Assembled(_) | BuildsEvent::Failed(_) | BuildsEvent::Lost(_) => {
                    prop_assert!(running.is_some());
                    running = None;
                    // An open publication keeps it active: these commands never say that it ended.
                    if !matches!(event, BuildsEvent::Assembled(_)) {
                        open = None;
                    }
                }
                BuildsEvent::AttemptLost(_) => running = None,
                BuildsEvent::Cancelled(_) => {
                    prop_assert!(open.is_some());
                    running = None;
                    open = None;
                }
                BuildsEvent::SourceFetched(_) | BuildsEvent::CancelRequested(_) => (),
            }
        }
    }
}
