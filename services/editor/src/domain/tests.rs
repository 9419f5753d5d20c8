//! Scenarios and laws of a spec.

use super::*;
use aggregate::given;
use proptest::prelude::*;
use proto::editor::v1::GitSource;

fn dockerfile(text: &str) -> BuildSpec {
    BuildSpec {
        context_kind: ContextKind::LocalFolder.into(),
        dockerfile: text.to_owned(),
        ..BuildSpec::default()
    }
}

fn git(url: &str, directory: &str) -> BuildSpec {
    BuildSpec {
        context_kind: ContextKind::GitRepository.into(),
        git: Some(GitSource {
            url: url.to_owned(),
            r#ref: String::new(),
            directory: directory.to_owned(),
        }),
        ..BuildSpec::default()
    }
}

fn save(spec: BuildSpec) -> Command {
    save_after(None, spec)
}

fn save_after(expected_revision: Option<u32>, spec: BuildSpec) -> Command {
    Command::SaveRevision {
        spec: Box::new(spec),
        note: String::new(),
        expected_revision,
        restored_from: 0,
    }
}

fn saved(number: u32, spec: BuildSpec) -> SpecEvent {
    SpecEvent::RevisionSaved(RevisionSaved {
        number,
        spec: Some(spec),
        note: String::new(),
        restored_from: 0,
    })
}

fn files(digest: &str) -> UploadedContext {
    UploadedContext {
        digest: digest.to_owned(),
        size_bytes: 1_024,
        files: 2,
    }
}

fn uploaded(digest: &str) -> SpecEvent {
    SpecEvent::ContextUploaded(ContextUploaded {
        context: Some(files(digest)),
    })
}

fn with_files(spec: BuildSpec, context: UploadedContext) -> BuildSpec {
    BuildSpec {
        context: Some(context),
        ..spec
    }
}

/// As a client names them.
fn by_digest(digest: &str) -> UploadedContext {
    UploadedContext {
        digest: digest.to_owned(),
        ..UploadedContext::default()
    }
}

fn refusal(spec: BuildSpec) -> Refused {
    Spec::default().decide(save(spec)).unwrap_err()
}

// covers R28
#[test]
fn saves_are_numbered_and_an_old_text_is_a_new_revision() {
    let (a, b) = (dockerfile("FROM a\n"), dockerfile("FROM b\n"));
    given::<Spec>([]).when(save(a.clone())).then([saved(1, a.clone())]);
    given::<Spec>([saved(1, a.clone()), saved(2, b)])
        .when(save(a.clone()))
        .then([saved(3, a)]);
}

// covers R28
#[test]
fn a_save_that_changes_nothing_is_no_revision() {
    let a = dockerfile("FROM a\n");
    given::<Spec>([saved(1, a.clone())])
        .when(Command::SaveRevision {
            spec: Box::new(a),
            note: "only the note differs".to_owned(),
            expected_revision: Some(1),
            restored_from: 0,
        })
        .then([]);
}

// covers E6
#[test]
fn the_slower_of_two_editors_is_told_the_current_revision() {
    let (a, b) = (dockerfile("FROM a\n"), dockerfile("FROM b\n"));
    let stale = Refused::Stale {
        expected: 1,
        current: 2,
    };
    let history = [saved(1, a.clone()), saved(2, b.clone())];
    given::<Spec>(history.clone())
        .when(save_after(Some(1), a))
        .then_refused(&stale);
    // Also when both wrote the same: neither may believe that it was alone.
    given::<Spec>(history).when(save_after(Some(1), b)).then_refused(&stale);
    assert_eq!(aggregate::Refusal::reason(&stale), "STALE_REVISION");
    assert_eq!(aggregate::Refusal::metadata(&stale)[0], ("current", "2".to_owned()));
    assert_eq!(
        stale.to_string(),
        "the current revision is 2, and you looked at 1: look again, then save"
    );
    given::<Spec>([])
        .when(save_after(Some(0), dockerfile("FROM a\n")))
        .then([saved(1, dockerfile("FROM a\n"))]);
}

// covers R24, R25, R26
#[test]
fn switching_the_kind_of_context_keeps_the_other_half() {
    let local = with_files(dockerfile("FROM a\n"), files("sha256:1"));
    let both = BuildSpec {
        dockerfile: local.dockerfile.clone(),
        context: local.context.clone(),
        ..git("https://example.com/r.git", "docker")
    };
    let to_git = save(git("https://example.com/r.git", "docker"));
    given::<Spec>([uploaded("sha256:1"), saved(1, local)])
        .when(to_git)
        .then([saved(2, both.clone())]);
    given::<Spec>([saved(1, both.clone())])
        .when(save(dockerfile("FROM b\n")))
        .then([saved(
            2,
            BuildSpec {
                git: both.git.clone(),
                ..dockerfile("FROM b\n")
            },
        )]);
    // The half that is in use is the user's to fill.
    given::<Spec>([saved(1, both)])
        .when(save(dockerfile("")))
        .then_refused(&Refused::NoDockerfile);
}

// covers R25
#[test]
fn attached_files_are_those_that_were_uploaded_for_the_image() {
    let spec = |context| with_files(dockerfile("FROM a\n"), context);
    given::<Spec>([uploaded("sha256:1")])
        .when(save(spec(by_digest("sha256:1"))))
        .then([saved(1, spec(files("sha256:1")))]);
    given::<Spec>([uploaded("sha256:1")])
        .when(save(spec(by_digest("sha256:2"))))
        .then_refused(&Refused::ContextNotUploaded);
}

#[test]
fn the_state_forgets_uploads_that_nobody_saved_and_keeps_the_current_one() {
    let spec = with_files(dockerfile("FROM a\n"), files("sha256:0"));
    let more = (1..=UPLOADS).map(|n| uploaded(&format!("sha256:{n}")));
    let history = [uploaded("sha256:0"), saved(1, spec.clone())].into_iter().chain(more);
    let state = Spec::replay(&history.collect::<Vec<_>>());
    assert_eq!(state.uploads.len(), UPLOADS);
    let changed = BuildSpec {
        target: "test".to_owned(),
        ..spec
    };
    assert!(state.decide(save(changed)).is_ok());
}

#[test]
fn the_same_upload_twice_is_recorded_once() {
    let record = |digest| Command::RecordContext { context: files(digest) };
    given::<Spec>([]).when(record("sha256:1")).then([uploaded("sha256:1")]);
    given::<Spec>([uploaded("sha256:1")]).when(record("sha256:1")).then([]);
}

// covers R28
#[test]
fn a_restored_revision_is_exactly_the_old_one() {
    let old = with_files(dockerfile("FROM a\n"), files("sha256:forgotten"));
    let restore = |restored_from| Command::SaveRevision {
        spec: Box::new(old.clone()),
        note: String::new(),
        expected_revision: None,
        restored_from,
    };
    let history = [saved(1, old.clone()), saved(2, git("https://example.com/r", ""))];
    given::<Spec>(history.clone())
        .when(restore(1))
        .then([SpecEvent::RevisionSaved(RevisionSaved {
            number: 3,
            spec: Some(old.clone()),
            note: String::new(),
            restored_from: 1,
        })]);
    given::<Spec>(history)
        .when(restore(3))
        .then_refused(&Refused::NoSuchRevision { revision: 3, newest: 2 });
}

// covers R27
#[test]
fn a_dockerfile_is_text_of_at_most_256_kib() {
    let longest = "#".repeat(256 * 1_024);
    given::<Spec>([])
        .when(save(dockerfile(&longest)))
        .then([saved(1, dockerfile(&longest))]);
    let refused = refusal(dockerfile(&format!("{longest}#")));
    assert_eq!(refused, Refused::DockerfileTooLarge { bytes: 262_145 });
    assert_eq!(
        refused.to_string(),
        "the Dockerfile has 262145 bytes, at most 262144 are allowed"
    );
    assert_eq!(refusal(dockerfile(" \n")), Refused::NoDockerfile);
    let nul = Refused::NotText {
        field: "spec.dockerfile",
        character: '\0',
    };
    assert_eq!(refusal(dockerfile("FROM a\0")), nul);
    assert_eq!(refusal(BuildSpec::default()), Refused::NoContextKind);
    assert_eq!(refusal(git("", "")), Refused::NoUrl);
}

#[test]
fn arguments_stages_and_platforms_have_dockers_form() {
    let with = |change: fn(&mut BuildSpec)| {
        let mut spec = dockerfile("FROM a\n");
        change(&mut spec);
        Spec::default().decide(save(spec)).err()
    };
    let good = with(|spec| {
        spec.build_args.insert("_V1".to_owned(), "x y".to_owned());
        spec.labels.insert("org.example/a".to_owned(), String::new());
        spec.target = "build-1".to_owned();
        spec.platforms = vec!["linux/arm/v7".to_owned()];
    });
    assert_eq!(good, None);
    let bad = with(|spec| drop(spec.build_args.insert("1V".to_owned(), String::new())));
    assert!(matches!(bad, Some(Refused::ArgumentName { .. })));
    let bad = with(|spec| drop(spec.build_args.insert("A".repeat(129), String::new())));
    assert!(matches!(bad, Some(Refused::ArgumentName { .. })));
    let bad = with(|spec| drop(spec.labels.insert("a b".to_owned(), String::new())));
    assert!(matches!(bad, Some(Refused::LabelKey { .. })));
    let bad = with(|spec| spec.target = "a b".to_owned());
    assert!(matches!(bad, Some(Refused::Target { .. })));
    for platform in ["linux", "linux/", "linux/arm/v7/x", "Linux/amd64", "linux/amd 64"] {
        let mut spec = dockerfile("FROM a\n");
        spec.platforms = vec![platform.to_owned()];
        assert!(matches!(refusal(spec), Refused::Platform { .. }), "{platform}");
    }
    let bad = with(|spec| spec.platforms = vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()]);
    assert_eq!(bad, Some(Refused::SeveralPlatforms));
    let bad = with(|spec| drop(spec.labels.insert("a".to_owned(), "x".repeat(64 * 1_024))));
    assert_eq!(bad, Some(Refused::SpecTooLarge { bytes: 65_537 }));
}

fn any_command() -> impl Strategy<Value = Command> {
    let digest = prop::sample::select(vec!["sha256:1", "sha256:2", "sha256:3"]);
    let text = prop::sample::select(vec!["", "FROM a\n", "FROM b\n", "bad\0"]);
    let url = prop::sample::select(vec!["", "https://example.com/r", "file:///r"]);
    let context = prop::option::of(digest.clone().prop_map(by_digest));
    let spec = (text, url, context, 0..3i32).prop_map(|(text, url, context, context_kind)| BuildSpec {
        context_kind,
        dockerfile: text.to_owned(),
        context,
        ..git(url, "")
    });
    prop_oneof![
        1 => digest.prop_map(|digest| Command::RecordContext { context: files(digest) }),
        4 => (spec, prop::option::weighted(0.2, 0..6u32)).prop_map(|(spec, expected)| save_after(expected, spec)),
    ]
}

fn revision(events: &[SpecEvent]) -> Option<&RevisionSaved> {
    events.iter().find_map(|event| match event {
        SpecEvent::RevisionSaved(saved) => Some(saved),
        SpecEvent::ContextUploaded(_) => None,
    })
}

proptest! {
    // covers R28, E6, E18
    #[test]
    fn numbers_have_no_gap_and_a_repeated_save_writes_nothing(
        commands in prop::collection::vec(any_command(), 1..40)
    ) {
        let mut state = Spec::default();
        for command in commands {
            let before = format!("{state:?}");
            let decided = state.decide(command.clone());
            prop_assert_eq!(&before, &format!("{state:?}"), "a decision changes nothing");
            let Ok(events) = decided else { continue };
            if let Some(saved) = revision(&events) {
                prop_assert_eq!(saved.number, state.number() + 1);
            }
            for event in &events {
                state.evolve(event);
            }
            let again = match command {
                Command::SaveRevision { spec, note, .. } => Command::SaveRevision {
                    spec, note, expected_revision: Some(state.number()), restored_from: 0,
                },
                record @ Command::RecordContext { .. } => record,
            };
            prop_assert_eq!(state.decide(again), Ok(vec![]));
        }
    }

    #[test]
    fn what_was_saved_can_be_saved_again(commands in prop::collection::vec(any_command(), 1..40)) {
        let mut state = Spec::default();
        for command in commands {
            for event in state.decide(command).unwrap_or_default() {
                if let SpecEvent::RevisionSaved(saved) = &event {
                    prop_assert!(rules::check(saved.spec.as_ref().unwrap_or(&BuildSpec::default())).is_ok());
                }
                state.evolve(&event);
            }
            if state.number() > 0 {
                prop_assert_eq!(state.decide(save((*state.current).clone())), Ok(vec![]));
            }
        }
    }
}
