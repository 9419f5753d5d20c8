//! What happens to a publication, and to the tags.

use super::*;
use aggregate::given;
use ids::Ulid;

pub(super) fn build(number: u64) -> BuildId {
    BuildId::from_ulid(Ulid::from(u128::from(number)))
}

pub(super) fn name(path: &str, primary_tag: &str) -> ImageName {
    ImageName {
        registry: String::new(),
        path: path.to_owned(),
        primary_tag: primary_tag.to_owned(),
    }
}

pub(super) fn publication(number: u64, revision: u32, tags: &[&str]) -> PublicationOpened {
    PublicationOpened {
        build: Some(build(number)),
        build_attempt: 1,
        revision,
        target: Some(name("team/tool", tags[0])),
        engine: "local".to_owned(),
        artifact: format!("artifact:{number}"),
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        requester: "ada".to_owned(),
    }
}

pub(super) fn content(number: u64, digest: &str) -> Content {
    Content {
        build: build(number),
        attempt: 1,
        digest: digest.to_owned(),
        size_bytes: 10,
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
    }
}

fn opened(number: u64, revision: u32, tags: &[&str]) -> RepositoryEvent {
    RepositoryEvent::Opened(publication(number, revision, tags))
}

fn committed(number: u64, revision: u32, digest: &str, primary_tag: &str) -> RepositoryEvent {
    RepositoryEvent::Committed(PublicationCommitted {
        build: Some(build(number)),
        digest: digest.to_owned(),
        size_bytes: 10,
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        revision,
        target: Some(name("team/tool", primary_tag)),
        requester: "ada".to_owned(),
    })
}

fn moved(tag: &str, previous: &str, digest: &str, number: u64) -> RepositoryEvent {
    RepositoryEvent::TagMoved(TagMoved {
        tag: tag.to_owned(),
        digest: digest.to_owned(),
        previous_digest: previous.to_owned(),
        build: Some(build(number)),
    })
}

fn aborted(number: u64) -> RepositoryEvent {
    RepositoryEvent::Aborted(PublicationAborted {
        build: Some(build(number)),
    })
}

fn refused(number: u64, retryable: bool) -> RepositoryEvent {
    RepositoryEvent::Refused(PublicationRefused {
        build: Some(build(number)),
        cause: "why".to_owned(),
        retryable,
    })
}

fn reopened(number: u64) -> RepositoryEvent {
    RepositoryEvent::Reopened(PublicationReopened {
        build: Some(build(number)),
    })
}

fn relocated(path: &str, primary_tag: &str) -> RepositoryEvent {
    RepositoryEvent::Relocated(RepositoryRelocated {
        name: Some(name(path, primary_tag)),
    })
}

fn released(path: &str) -> RepositoryEvent {
    RepositoryEvent::Released(RepositoryReleased {
        registry: String::new(),
        path: path.to_owned(),
    })
}

fn reopen(number: u64, artifact_kept: bool) -> Command {
    Command::Reopen {
        opened: publication(number, 1, &["latest"]),
        artifact_kept,
        is_newest: true,
    }
}

fn relocate(path: &str, primary_tag: &str, digests: &[&str]) -> Command {
    Command::RecordRelocated {
        name: name(path, primary_tag),
        previous_tag: "latest".to_owned(),
        digests: digests.iter().map(|&digest| digest.to_owned()).collect(),
    }
}

fn published() -> [RepositoryEvent; 3] {
    [
        opened(1, 1, &["latest"]),
        committed(1, 1, "one", "latest"),
        moved("latest", "", "one", 1),
    ]
}

// covers R5, R50
#[test]
fn a_commit_moves_all_tags_of_the_publication_in_one_entry() {
    given::<Repository>([opened(1, 1, &["latest", "v1"])])
        .when(Command::Commit(content(1, "one")))
        .then([
            committed(1, 1, "one", "latest"),
            moved("latest", "", "one", 1),
            moved("v1", "", "one", 1),
        ]);
}

#[test]
fn a_newer_build_moves_the_tag_and_says_from_where() {
    given::<Repository>(published().into_iter().chain([opened(2, 2, &["latest"])]))
        .when(Command::Commit(content(2, "two")))
        .then([committed(2, 2, "two", "latest"), moved("latest", "one", "two", 2)]);
}

#[test]
fn a_late_success_of_an_older_revision_is_published_and_moves_no_tag_back() {
    let history = [
        opened(1, 1, &["latest"]),
        opened(2, 2, &["latest"]),
        committed(2, 2, "two", "latest"),
        moved("latest", "", "two", 2),
    ];
    given::<Repository>(history)
        .when(Command::Commit(content(1, "one")))
        .then([committed(1, 1, "one", "latest")]);
}

#[test]
fn unchanged_content_does_not_move_the_tag_and_makes_it_of_the_newer_revision() {
    let same = [
        opened(2, 2, &["latest"]),
        opened(3, 1, &["latest"]),
        committed(2, 2, "one", "latest"),
    ];
    let history: Vec<_> = published().into_iter().chain(same).collect();
    given::<Repository>(history[..5].to_vec())
        .when(Command::Commit(content(2, "one")))
        .then([committed(2, 2, "one", "latest")]);
    given::<Repository>(history)
        .when(Command::Commit(content(3, "three")))
        .then([committed(3, 1, "three", "latest")]);
}

// covers E4
#[test]
fn a_cancel_ends_what_is_open_and_what_was_never_opened() {
    given::<Repository>([opened(1, 1, &["latest"])])
        .when(Command::Abort { build: build(1) })
        .then([aborted(1)]);
    given::<Repository>([])
        .when(Command::Abort { build: build(1) })
        .then([aborted(1)]);
    // And then nothing of the build appears any more.
    for command in [
        Command::Open(publication(1, 1, &["latest"])),
        Command::Commit(content(1, "one")),
        Command::Abort { build: build(1) },
    ] {
        given::<Repository>([opened(1, 1, &["latest"]), aborted(1)])
            .when(command)
            .then([]);
    }
}

// covers E4
#[test]
fn a_cancel_after_the_commit_is_told_so() {
    given::<Repository>(published())
        .when(Command::Abort { build: build(1) })
        .then_refused(&Refused::AlreadyPublished);
}

#[test]
fn an_older_attempt_commits_and_refuses_nothing() {
    let second = PublicationOpened {
        build_attempt: 2,
        ..publication(1, 1, &["latest"])
    };
    let history = [opened(1, 1, &["latest"]), RepositoryEvent::Opened(second.clone())];
    given::<Repository>(history[..1].to_vec())
        .when(Command::Open(second))
        .then(history[1..].to_vec());
    given::<Repository>(history.clone())
        .when(Command::Commit(content(1, "one")))
        .then([]);
    let refuse = Command::Refuse {
        build: build(1),
        attempt: 1,
        cause: "why".to_owned(),
        retryable: true,
    };
    given::<Repository>(history).when(refuse).then([]);
}

#[test]
fn a_refused_push_is_tried_again_as_long_as_the_engine_has_the_image() {
    let failed = [opened(1, 1, &["latest"]), refused(1, true)];
    given::<Repository>(failed.clone())
        .when(reopen(1, true))
        .then([reopened(1)]);
    given::<Repository>(failed.clone())
        .when(reopen(1, false))
        .then_refused(&Refused::ArtifactGone);
    let late = Command::Reopen {
        opened: publication(1, 1, &["latest"]),
        artifact_kept: true,
        is_newest: false,
    };
    given::<Repository>(failed)
        .when(late)
        .then_refused(&Refused::NewerBuild);
    given::<Repository>([opened(1, 1, &["latest"]), refused(1, false)])
        .when(reopen(1, true))
        .then_refused(&Refused::ArtifactGone);
    for history in [
        vec![],
        vec![opened(1, 1, &["latest"])],
        published().to_vec(),
        vec![aborted(1)],
    ] {
        given::<Repository>(history)
            .when(reopen(1, true))
            .then_refused(&Refused::NothingToRetry);
    }
    given::<Repository>([opened(1, 1, &["latest"]), refused(1, true), reopened(1)])
        .when(Command::Commit(content(1, "one")))
        .then([committed(1, 1, "one", "latest"), moved("latest", "", "one", 1)]);
}

#[test]
fn a_push_that_is_tried_again_after_a_rename_goes_to_the_new_name() {
    let elsewhere = PublicationOpened {
        target: Some(name("team/new", "latest")),
        ..publication(1, 1, &["latest"])
    };
    let reopen = Command::Reopen {
        opened: elsewhere.clone(),
        artifact_kept: true,
        is_newest: true,
    };
    given::<Repository>([opened(1, 1, &["latest"]), refused(1, true), released("team/tool")])
        .when(reopen)
        .then([reopened(1), RepositoryEvent::Opened(elsewhere)]);
}

#[test]
fn a_rename_is_done_when_all_tags_are_under_the_new_name() {
    given::<Repository>(published())
        .when(relocate("team/new", "latest", &[]))
        .then_refused(&Refused::NotAllThere);
    given::<Repository>(published())
        .when(relocate("team/new", "latest", &["one"]))
        .then([relocated("team/new", "latest")]);
    given::<Repository>(published().into_iter().chain([relocated("team/new", "latest")]))
        .when(relocate("team/new", "latest", &["one"]))
        .then([]);
    // Nothing was published: the rename is told all the same.
    given::<Repository>([])
        .when(relocate("team/new", "latest", &[]))
        .then([relocated("team/new", "latest")]);
}

#[test]
fn a_new_primary_tag_begins_where_the_old_one_is() {
    given::<Repository>(published())
        .when(relocate("team/tool", "stable", &["one"]))
        .then([relocated("team/tool", "stable"), moved("stable", "", "one", 1)]);
}

#[test]
fn a_push_under_way_keeps_its_target_and_moves_the_new_primary_tag_too() {
    let renamed = published().into_iter().chain([
        opened(2, 2, &["latest"]),
        relocated("team/new", "stable"),
        moved("stable", "", "one", 1),
    ]);
    given::<Repository>(renamed)
        .when(Command::Commit(content(2, "two")))
        .then([
            committed(2, 2, "two", "latest"),
            moved("latest", "one", "two", 2),
            moved("stable", "one", "two", 2),
        ]);
}

#[test]
fn a_path_is_given_back_once_nothing_goes_there_and_nothing_goes_there_again() {
    let release = || Command::RecordReleased {
        path: "team/tool".to_owned(),
    };
    given::<Repository>([opened(1, 1, &["latest"])])
        .when(release())
        .then_refused(&Refused::PublicationOpen("team/tool".to_owned()));
    given::<Repository>(published())
        .when(release())
        .then([released("team/tool")]);
    given::<Repository>([released("team/tool")]).when(release()).then([]);
    given::<Repository>([released("team/tool")])
        .when(Command::Open(publication(2, 2, &["latest"])))
        .then_refused(&Refused::RepositoryReleased("team/tool".to_owned()));
    // Unless it is called so again.
    given::<Repository>([released("team/tool"), relocated("team/tool", "latest")])
        .when(Command::Open(publication(2, 2, &["latest"])))
        .then([opened(2, 2, &["latest"])]);
}

#[test]
fn the_place_of_tags_only_goes_forward() {
    let placed = |position| RepositoryEvent::TagsPlaced(TagsPlaced { position });
    given::<Repository>([placed(7)])
        .when(Command::RecordPlaced { position: 9 })
        .then([placed(9)]);
    given::<Repository>([placed(7)])
        .when(Command::RecordPlaced { position: 7 })
        .then([]);
}
