//! What holds whatever happens, in whatever order.

use super::{
    scenarios::{build, content, name, publication},
    *,
};
use crate::view::RepositoryProjection;
use eventlog::{Clock, EventLog, MemoryLog, Outcome, Request, Views, Writer};
use ids::Ulid;
use proptest::{collection::vec, prelude::*};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const TAGS: [&str; 3] = ["latest", "v1", "v2"];
const BUILDS: u64 = 4;

/// Each build is pinned to one revision, as in life.
fn revision(number: u64) -> u32 {
    u32::try_from(number % 3).unwrap() + 1
}

fn commands() -> impl Strategy<Value = Command> {
    let digest = prop_oneof!["one", "two", "three"];
    let path = prop_oneof![Just("team/tool"), Just("team/new")];
    prop_oneof![
        4 => (0..BUILDS, 1..3usize).prop_map(|(number, tags)| {
            Command::Open(publication(number, revision(number), &TAGS[..tags]))
        }),
        4 => (0..BUILDS, digest).prop_map(|(number, digest)| Command::Commit(content(number, &digest))),
        2 => (0..BUILDS).prop_map(|number| Command::Abort { build: build(number) }),
        2 => (0..BUILDS, any::<bool>()).prop_map(|(number, retryable)| Command::Refuse {
            build: build(number), attempt: 1, cause: "why".to_owned(), retryable,
        }),
        1 => (0..BUILDS, any::<bool>(), any::<bool>()).prop_map(|(number, artifact_kept, is_newest)| Command::Reopen {
            opened: publication(number, revision(number), &TAGS[..1]), artifact_kept, is_newest,
        }),
        1 => (0..9u64).prop_map(|position| Command::RecordPlaced { position }),
        1 => path.clone().prop_map(|path| Command::RecordRelocated {
            name: name(path, "latest"),
            previous_tag: "latest".to_owned(),
            digests: ["one", "two", "three"].map(str::to_owned).into(),
        }),
        1 => path.prop_map(|path| Command::RecordReleased { path: path.to_owned() }),
    ]
}

/// What the commands led to; refusals lead to nothing.
fn history(commands: Vec<Command>) -> Vec<RepositoryEvent> {
    let (mut state, mut history) = (Repository::default(), Vec::new());
    for command in commands {
        for event in state.decide(command).unwrap_or_default() {
            state.evolve(&event);
            history.push(event);
        }
    }
    history
}

fn build_of(event: &RepositoryEvent) -> Option<BuildId> {
    match event {
        RepositoryEvent::Opened(event) => event.build,
        RepositoryEvent::Committed(event) => event.build,
        RepositoryEvent::Aborted(event) => event.build,
        RepositoryEvent::Refused(event) => event.build,
        RepositoryEvent::Reopened(event) => event.build,
        RepositoryEvent::TagMoved(_)
        | RepositoryEvent::TagsPlaced(_)
        | RepositoryEvent::Relocated(_)
        | RepositoryEvent::Released(_) => None,
    }
}

proptest! {
    // covers E4
    #[test]
    fn a_build_is_committed_or_aborted_at_most_once_and_then_nothing_of_it_appears(
        commands in vec(commands(), 0..60),
    ) {
        let history = history(commands);
        for number in 0..BUILDS {
            let own: Vec<_> = history.iter().filter(|event| build_of(event) == Some(build(number))).collect();
            let is_end = |event: &&&RepositoryEvent| {
                matches!(event, RepositoryEvent::Committed(_) | RepositoryEvent::Aborted(_))
            };
            let ends = own.iter().filter(is_end).count();
            prop_assert!(ends <= 1);
            prop_assert!(ends == 0 || own.last().is_some_and(|last| is_end(&last)));
        }
    }

    #[test]
    fn a_tag_is_where_the_newest_revision_among_its_commits_put_it(commands in vec(commands(), 0..60)) {
        let history = history(commands);
        let mut tags: BTreeMap<String, (u32, String)> = BTreeMap::new();
        let mut revisions = BTreeMap::new();
        for event in &history {
            match event {
                RepositoryEvent::Committed(event) => {
                    revisions.insert(event.build, event.revision);
                }
                RepositoryEvent::TagMoved(event) => {
                    let revision = revisions[&event.build];
                    let (previous, digest) = tags.get(&event.tag).cloned().unwrap_or_default();
                    prop_assert!(revision >= previous, "{} went back from {previous} to {revision}", event.tag);
                    prop_assert_eq!(&digest, &event.previous_digest);
                    tags.insert(event.tag.clone(), (revision, event.digest.clone()));
                }
                _ => (),
            }
        }
        let folded = Repository::replay(&history);
        let digests: Vec<_> = tags.iter().map(|(tag, (_, digest))| (tag.as_str(), digest.as_str())).collect();
        prop_assert_eq!(folded.tags().collect::<Vec<_>>(), digests);
    }

    #[test]
    fn nothing_is_published_where_the_path_was_given_back(commands in vec(commands(), 0..60)) {
        let mut released = BTreeSet::new();
        for event in history(commands) {
            match event {
                RepositoryEvent::Released(event) => {
                    released.insert(event.path);
                }
                RepositoryEvent::Relocated(event) => {
                    released.remove(&event.name.unwrap_or_default().path);
                }
                RepositoryEvent::Committed(event) => {
                    prop_assert!(!released.contains(&event.target.unwrap_or_default().path));
                }
                _ => (),
            }
        }
    }

    // covers E4
    #[test]
    fn of_a_cancel_and_a_commit_exactly_one_counts(cancel_first in any::<bool>(), is_open in any::<bool>()) {
        let (cancel, commit) = (Command::Abort { build: build(1) }, Command::Commit(content(1, "one")));
        let mut commands = if cancel_first { vec![cancel, commit] } else { vec![commit, cancel] };
        if is_open {
            commands.insert(0, Command::Open(publication(1, 1, &["latest"])));
        }
        let events = history(commands);
        let committed = events.iter().any(|event| matches!(event, RepositoryEvent::Committed(_)));
        let aborted = events.iter().any(|event| matches!(event, RepositoryEvent::Aborted(_)));
        prop_assert!(committed != aborted);
        prop_assert_eq!(committed, is_open && !cancel_first);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_repeated_request_answers_its_position_and_writes_nothing(
        commands in vec(commands(), 1..12),
        repeated in any::<prop::sample::Index>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(repeat(commands, repeated))?;
    }
}

async fn repeat(commands: Vec<Command>, repeated: prop::sample::Index) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn EventLog> = Arc::new(Arc::new(MemoryLog::default()));
    let views = Views::new(folder.path());
    let view = views.open(RepositoryProjection);
    let writer = Writer::new(
        log.clone(),
        view,
        Clock::fixed(SystemTime::UNIX_EPOCH + Duration::from_secs(1)),
    );
    let image = ImageId::from_ulid(Ulid::from(1u128));
    let request = |index: usize| Request {
        actor: "ada".to_owned(),
        id: Ulid::from(index as u128 + 1).to_string(),
        ..Request::default()
    };
    let scenario = async {
        let mut took_effect = Vec::new();
        for (index, command) in commands.into_iter().enumerate() {
            if let Ok(done) = writer
                .execute::<Repository>(&request(index), &image, command.clone())
                .await
                && done.outcome == Outcome::Written
            {
                took_effect.push((index, command, done.position));
            }
        }
        let head = log.head().await.unwrap();
        if took_effect.is_empty() {
            return Ok(());
        }
        let (index, command, position) = repeated.get(&took_effect).clone();
        let again = writer
            .execute::<Repository>(&request(index), &image, command)
            .await
            .unwrap();
        prop_assert_eq!((again.outcome, again.position), (Outcome::Repeated, position));
        prop_assert_eq!(log.head().await.unwrap(), head);
        Ok(())
    };
    let stop = CancellationToken::new();
    let feeding = views.run(log.clone(), watch::Sender::default(), stop.clone());
    tokio::select! {
        ended = scenario => ended,
        fed = feeding => panic!("the view stopped: {fed:?}"),
    }
}
