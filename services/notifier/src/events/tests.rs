//! Stories of one image, and what the world is told of them.

mod story;

pub(crate) use story::{Story, entry, image_id, workspace_id};

use super::*;
use eventlog::{Envelope, Position, StreamId};
use insta::assert_snapshot;
use prost::Message as _;
use proto::{
    builder::v1::{AttemptLost, BuildCancelled, BuildFailed, BuildLost, BuildPhase, BuildStarted, CancelRequested},
    catalog::v1::{ImageDescribed, ImagePurged, MemberAdded, MemberRemoved, WorkspaceCreated},
    events::RepositoryEvent,
    registry::v1::{PublicationAborted, PublicationCommitted, PublicationReopened, TagMoved},
};
use story::{build_id, called, queued};

// covers R11, R15, R79
#[test]
fn from_creation_to_the_digest() {
    let mut story = Story::of("team/tool");
    story.image(ImageEvent::Described(ImageDescribed {
        description: "a \"tool\"".to_owned(),
    }));
    story.save(1);
    story.assemble(7, 1, "team/tool");
    story.build(BuildsEvent::Started(BuildStarted {
        build: Some(build_id(7)),
        attempt: 1,
        engine: "local".to_owned(),
        ..BuildStarted::default()
    }));
    story.commit(7, 1, "team/tool");
    assert_snapshot!(story.told(), @r#"
    image.created {"name":"team/tool","actor":"ada"}
    image.described {"name":"team/tool","description":"a \"tool\"","actor":"ada"}
    spec.saved {"revision":1,"contextKind":"CONTEXT_KIND_UNSPECIFIED","note":"better","actor":"ada"}
    build.queued {"build":"bld_7","revision":1,"requester":"ada"}
    build.started {"build":"bld_7","revision":1,"requester":"ada","attempt":1,"engine":"local"}
    build.succeeded {"build":"bld_7","revision":1,"requester":"ada","commit":"c0ffee","digest":"sha256:7","platform":"linux/amd64","sizeBytes":"4096"} /team/tool@sha256:7
    image.published {"name":"team/tool","build":"bld_7","revision":1,"requester":"ada","digest":"sha256:7","platform":"linux/amd64","sizeBytes":"4096"} /team/tool@sha256:7
    tag.moved {"name":"team/tool","tag":"latest","digest":"sha256:7","build":"bld_7"} /team/tool@sha256:7
    "#);
}

// covers R36
#[test]
fn a_build_that_fails_says_why_and_where() {
    let mut story = Story::of("team/tool");
    story.build(queued(build_id(7), 3));
    story.told();
    story.build(BuildsEvent::Failed(BuildFailed {
        build: Some(build_id(7)),
        attempt: 1,
        phase: BuildPhase::Building.into(),
        cause: "RUN make returned 2".to_owned(),
        steps: Vec::new(),
    }));
    assert_snapshot!(story.told(), @r#"build.failed {"build":"bld_7","revision":3,"requester":"ada","attempt":1,"phase":"BUILD_PHASE_BUILDING","cause":"RUN make returned 2"}"#);
}

// covers E2, E4
#[test]
fn a_push_that_failed_may_still_succeed_once() {
    let mut story = Story::of("team/tool");
    story.assemble(7, 1, "team/tool");
    story.told();
    story.refuse(7, true);
    assert_snapshot!(story.told(), @r#"
    push.failed {"build":"bld_7","revision":1,"requester":"ada","cause":"the registry is full","retryable":true}
    build.failed {"build":"bld_7","revision":1,"requester":"ada","phase":"BUILD_PHASE_PUSHING","cause":"the registry is full","retryable":true}
    "#);
    story.repository(&[RepositoryEvent::Reopened(PublicationReopened {
        build: Some(build_id(7)),
    })]);
    story.refuse(7, true);
    assert_snapshot!(story.told(), @r#"push.failed {"build":"bld_7","revision":1,"requester":"ada","cause":"the registry is full","retryable":true}"#);
    story.commit(7, 1, "team/tool");
    assert_snapshot!(story.told(), @r#"
    build.succeeded {"build":"bld_7","revision":1,"requester":"ada","commit":"c0ffee","digest":"sha256:7","platform":"linux/amd64","sizeBytes":"4096"} /team/tool@sha256:7
    image.published {"name":"team/tool","build":"bld_7","revision":1,"requester":"ada","digest":"sha256:7","platform":"linux/amd64","sizeBytes":"4096"} /team/tool@sha256:7
    tag.moved {"name":"team/tool","tag":"latest","digest":"sha256:7","build":"bld_7"} /team/tool@sha256:7
    "#);
    story.refuse(7, false);
    assert_eq!(story.told(), "");
}

// covers E4
#[test]
fn nothing_is_told_of_a_build_after_its_cancel() {
    let mut story = Story::of("team/tool");
    story.assemble(7, 1, "team/tool");
    story.build(BuildsEvent::CancelRequested(CancelRequested {
        build: Some(build_id(7)),
    }));
    story.told();
    story.repository(&[RepositoryEvent::Aborted(PublicationAborted {
        build: Some(build_id(7)),
    })]);
    assert_snapshot!(story.told(), @r#"build.cancelled {"build":"bld_7","revision":1,"requester":"ada"}"#);
    story.build(BuildsEvent::Cancelled(BuildCancelled {
        build: Some(build_id(7)),
    }));
    story.build(BuildsEvent::Started(BuildStarted {
        build: Some(build_id(7)),
        attempt: 2,
        ..BuildStarted::default()
    }));
    story.refuse(7, true);
    story.commit(7, 1, "team/tool");
    assert_eq!(story.told(), "");
}

// covers E2
#[test]
fn a_lost_build_is_final_and_a_lost_attempt_is_not() {
    let mut story = Story::of("team/tool");
    story.build(queued(build_id(7), 1));
    story.told();
    let cause = "the worker died".to_owned();
    story.build(BuildsEvent::AttemptLost(AttemptLost {
        build: Some(build_id(7)),
        attempt: 1,
        cause: cause.clone(),
    }));
    story.build(BuildsEvent::Lost(BuildLost {
        build: Some(build_id(7)),
        attempt: 2,
        cause: cause.clone(),
    }));
    story.build(BuildsEvent::Lost(BuildLost {
        build: Some(build_id(7)),
        attempt: 3,
        cause,
    }));
    assert_snapshot!(story.told(), @r#"build.lost {"build":"bld_7","revision":1,"requester":"ada","attempt":2,"cause":"the worker died"}"#);
}

#[test]
fn a_late_success_of_an_older_revision_is_not_what_anybody_should_run() {
    let mut story = Story::of("team/tool");
    story.assemble(7, 1, "team/tool");
    story.refuse(7, true);
    story.publish(8, 2, "team/tool");
    story.told();
    let committed = PublicationCommitted {
        build: Some(build_id(7)),
        digest: "sha256:7".to_owned(),
        revision: 1,
        target: called("team/tool"),
        ..PublicationCommitted::default()
    };
    story.repository(&[RepositoryEvent::Committed(committed)]);
    let told = story.told();
    assert!(
        told.starts_with("build.succeeded") && !told.contains("image.published"),
        "{told}"
    );
    story.delete("team/tool", false);
    assert!(
        story.told().contains("/team/tool@sha256:8"),
        "what was published stays what can be pulled"
    );
}

// covers R17
#[test]
fn a_rename_is_told_when_the_new_reference_can_be_pulled() {
    let mut story = Story::of("team/tool");
    story.told();
    story.rename("team/tool", "team/first");
    assert_snapshot!(story.told(), @r#"image.renamed {"name":"team/first","previousName":"team/tool","actor":"ada"}"#);

    story.publish(7, 1, "team/first");
    story.told();
    story.rename("team/first", "team/second");
    assert_eq!(story.told(), "");
    // Overtaken before it was done.
    story.rename("team/second", "team/third");
    story.relocate("team/second");
    assert_eq!(story.told(), "");
    story.relocate("team/third");
    assert_snapshot!(story.told(), @r#"image.renamed {"name":"team/third","previousName":"team/first","actor":"ada"} /team/third@sha256:7"#);

    story.rename("team/third", "team/third:2");
    assert_eq!(story.told(), "");
    story.relocate("team/third:2");
    assert_snapshot!(story.told(), @r#"image.renamed {"name":"team/third:2","previousName":"team/third","actor":"ada"} /team/third@sha256:7"#);

    // There and back again, before anybody could know.
    story.rename("team/third:2", "team/fourth");
    story.rename("team/fourth", "team/third:2");
    story.relocate("team/third:2");
    assert_eq!(story.told(), "");
}

// covers R17
#[test]
fn a_push_that_was_under_way_during_a_rename_is_told_where_it_went_and_where_it_moved() {
    let mut story = Story::of("team/tool");
    story.assemble(7, 1, "team/tool");
    story.rename("team/tool", "team/other");
    story.told();
    story.commit(7, 1, "team/tool");
    assert!(story.told().contains("image.published {\"name\":\"team/tool\""));
    story.relocate("team/other");
    assert_snapshot!(story.told(), @r#"image.renamed {"name":"team/other","previousName":"team/tool","actor":"ada"} /team/other@sha256:7"#);
}

#[test]
fn a_push_to_the_new_name_does_not_hide_the_rename() {
    let mut story = Story::of("team/tool");
    story.publish(7, 1, "team/tool");
    story.rename("team/tool", "team/other");
    story.publish(8, 2, "team/other");
    story.told();
    story.relocate("team/other");
    assert_snapshot!(story.told(), @r#"image.renamed {"name":"team/other","previousName":"team/tool","actor":"ada"} /team/other@sha256:8"#);
}

// covers R15, R84
#[test]
fn nothing_is_told_of_an_image_after_its_end() {
    let mut story = Story::of("team/tool");
    story.publish(7, 1, "team/tool");
    story.assemble(8, 2, "team/tool");
    story.told();
    story.delete("team/tool", false);
    assert_snapshot!(story.told(), @r#"image.deleted {"name":"team/tool","actor":"ada"} /team/tool@sha256:7"#);
    story.save(3);
    story.build(queued(build_id(9), 3));
    story.commit(8, 2, "team/tool");
    story.repository(&[RepositoryEvent::Aborted(PublicationAborted {
        build: Some(build_id(8)),
    })]);
    story.rename("team/tool", "team/ghost");
    story.release("team/tool");
    assert_eq!(story.told(), "");
}

// covers R84
#[test]
fn a_purge_is_told_when_nothing_is_left_under_the_name() {
    let mut story = Story::of("team/old");
    story.publish(7, 1, "team/old");
    story.rename("team/old", "team/tool");
    story.relocate("team/tool");
    story.told();
    story.delete("team/tool", true);
    assert_snapshot!(story.told(), @r#"image.deleted {"name":"team/tool","purge":true,"actor":"ada"} /team/tool@sha256:7"#);
    story.release("team/old");
    assert_eq!(story.told(), "");
    story.release("team/tool");
    story.release("team/tool");
    assert_snapshot!(story.told(), @r#"image.purged {"name":"team/tool"}"#);

    let mut story = Story::of("team/tool");
    story.delete("team/tool", false);
    story.told();
    story.image(ImageEvent::Purged(ImagePurged {}));
    story.release("team/tool");
    assert_snapshot!(story.told(), @r#"image.purged {"name":"team/tool"}"#);
}

#[test]
fn a_tag_that_moves_by_itself_is_told_with_where_it_was() {
    let mut story = Story::of("team/tool");
    story.publish(7, 1, "team/tool");
    story.told();
    let moved = TagMoved {
        tag: "1.0".to_owned(),
        digest: "sha256:7".to_owned(),
        previous_digest: "sha256:6".to_owned(),
        build: None,
    };
    story.repository(&[RepositoryEvent::TagMoved(moved)]);
    assert_snapshot!(story.told(), @r#"tag.moved {"name":"team/tool:1.0","tag":"1.0","digest":"sha256:7","previousDigest":"sha256:6"} /team/tool@sha256:7"#);
}

// covers R8
#[test]
fn members_come_change_and_go() {
    let owner = WorkspaceCreated {
        name: "team".to_owned(),
        owner: "ada".to_owned(),
    };
    let bob = MemberAdded {
        user: "bob".to_owned(),
        role: Role::Participant.into(),
    };
    let events = [
        WorkspaceEvent::Created(owner),
        WorkspaceEvent::MemberAdded(bob),
        WorkspaceEvent::MemberRemoved(MemberRemoved { user: "bob".to_owned() }),
    ];
    let entry = entry(1, StreamId::new("workspace", workspace_id()), "ada", &events);
    let told = about_workspace(&entry).unwrap();
    let told: Vec<_> = told
        .into_iter()
        .map(|told| format!("{} {}", told.kind, told.data))
        .collect();
    assert_snapshot!(told.join("\n"), @r#"
    member.changed {"user":"ada","role":"ROLE_OWNER","actor":"ada"}
    member.changed {"user":"bob","role":"ROLE_PARTICIPANT","actor":"ada"}
    member.changed {"user":"bob","actor":"ada"}
    "#);
}

#[test]
fn an_event_that_this_build_does_not_know_is_an_error_even_after_the_end() {
    let mut story = Story::of("team/tool");
    story.delete("team/tool", false);
    let envelope = Envelope {
        schema: 1,
        events: vec![bytes()],
        ..Envelope::default()
    };
    let stream = StreamId::new("image", image_id());
    let unknown = Entry::decode(Position(9), stream, envelope.encode_to_vec().into());
    assert!(matches!(
        about_image(&mut story.image, &unknown),
        Err(LogError::UnknownEvent { position: Position(9) })
    ));
}

/// Field 99, empty.
fn bytes() -> prost::bytes::Bytes {
    vec![0x9a, 0x06, 0x00].into()
}
