//! Names: unique on the whole platform, and nobody inherits another's content.

use super::{bytes, given, name};
use futures::future::join_all;
use proto::catalog::v1::{CheckNameRequest, DeleteImageRequest, RenameImageRequest};
use tests::{User, reason};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

async fn is_free(user: &User, workspace: &str, name: &str) -> bool {
    let check = CheckNameRequest {
        name: name.to_owned(),
        workspace: workspace.to_owned(),
    };
    user.images().check_name(check).await.unwrap().into_inner().free
}

async fn rename(user: &User, image: &str, name: &str) -> Result<u64, Status> {
    let rename = RenameImageRequest {
        image: image.to_owned(),
        name: name.to_owned(),
        ..RenameImageRequest::default()
    };
    let position = user.images().rename_image(rename).await?.into_inner().position;
    Ok(user.saw(position))
}

async fn delete(user: &User, image: &str, purge: bool) -> Result<u64, Status> {
    let delete = DeleteImageRequest {
        image: image.to_owned(),
        purge,
        ..DeleteImageRequest::default()
    };
    let position = user.images().delete_image(delete).await?.into_inner().position;
    Ok(user.saw(position))
}

// covers R1, R7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_simultaneous_creations_of_one_name_one_wins() {
    let given = given().await;
    let (bob, elsewhere) = given.stranger("bob").await;
    let before = given.head().await;
    let homes = [(&given.ada, &given.workspace), (&bob, &elsewhere)];
    let creations = (0..100).map(|n| homes[n % 2].0.image(homes[n % 2].1, "vision/tool"));
    let answers = join_all(creations).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 99));
    let losers: Vec<Status> = lost.into_iter().map(Result::unwrap_err).collect();
    for loser in &losers {
        assert_eq!(
            (loser.code(), reason(loser).as_str()),
            (Code::AlreadyExists, "NAME_TAKEN")
        );
        // They learn nothing of who has it.
        assert_eq!(bytes(loser), bytes(&losers[0]));
    }
    assert!(
        !losers[0].message().contains("ada") && !losers[0].message().contains("ws_"),
        "{}",
        losers[0].message()
    );
    // One name, one image, and nothing of the others.
    assert_eq!(given.head().await, before + 2);
}

// covers R1, R7, R9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_simultaneous_creations_of_distinct_names_all_succeed() {
    let given = given().await;
    let names: Vec<String> = (0..100).map(|n| format!("vision/tool-{n}")).collect();
    let images = join_all(names.iter().map(|name| given.ada.image(&given.workspace, name))).await;
    let images: std::collections::BTreeSet<String> = images.into_iter().map(Result::unwrap).collect();
    assert_eq!(images.len(), 100);
    for name in &names {
        assert!(images.contains(&given.ada.tile(name).await.unwrap().id));
    }
}

// covers R7, R60
#[tokio::test]
async fn a_tag_and_the_own_registry_make_no_other_name() {
    let given = given().await;
    let host = given.home.config().registry.host.clone();
    let image = given.ada.image(&given.workspace, "x/y").await.unwrap();
    for same in [
        "x/y".to_owned(),
        "x/y:1".to_owned(),
        format!("{host}/x/y"),
        format!("{host}/x/y:2"),
    ] {
        let taken = given.ada.image(&given.workspace, &same).await.unwrap_err();
        assert_eq!(reason(&taken), "NAME_TAKEN", "{same}");
        assert!(!is_free(&given.ada, &given.workspace, &same).await);
        assert_eq!(given.ada.tile(&same).await.unwrap().id, image, "{same}");
    }
    assert!(is_free(&given.ada, &given.workspace, "x/z").await);
    let tagged = given
        .ada
        .image(&given.workspace, &format!("{host}/x/tagged:v2"))
        .await
        .unwrap();
    assert_eq!(
        given.ada.tile(&tagged).await.unwrap().name,
        Some(name("x/tagged", "v2"))
    );
}

// covers R17
#[tokio::test]
async fn a_name_that_was_renamed_away_is_free_only_when_its_content_is_gone() {
    let given = given().await;
    let image = given.ada.image(&given.workspace, "vision/old").await.unwrap();
    let (bob, elsewhere) = given.stranger("bob").await;
    rename(&given.ada, &image, "vision/new").await.unwrap();
    bob.saw(given.ada.saw(0));
    assert_eq!(
        given.ada.tile(&image).await.unwrap().name,
        Some(name("vision/new", "latest"))
    );
    assert_eq!(
        reason(&given.ada.tile("vision/old").await.unwrap_err()),
        "NO_SUCH_IMAGE"
    );
    for (user, workspace) in [(&given.ada, &given.workspace), (&bob, &elsewhere)] {
        let taken = user.image(workspace, "vision/old").await.unwrap_err();
        assert_eq!(reason(&taken), "NAME_TAKEN");
    }
    bob.saw(given.freed(&image, "vision/old").await.0);
    assert!(is_free(&bob, &elsewhere, "vision/old").await);
    bob.image(&elsewhere, "vision/old").await.unwrap();
    // A late word about the old content takes nothing from the new holder.
    let late = given.released(&image, "vision/old").await;
    given.ada.saw(late.0);
    assert!(!is_free(&given.ada, &given.workspace, "vision/old").await);
}

// covers R17
#[tokio::test]
async fn a_rename_takes_the_new_name_or_changes_nothing() {
    let given = given().await;
    let image = given.ada.image(&given.workspace, "vision/one").await.unwrap();
    given.ada.image(&given.workspace, "vision/two").await.unwrap();
    let before = given.head().await;
    assert_eq!(
        reason(&rename(&given.ada, &image, "vision/two").await.unwrap_err()),
        "NAME_TAKEN"
    );
    assert_eq!(given.head().await, before);
    // Another tag is the same repository; the same name is nothing at all.
    rename(&given.ada, &image, "vision/one:v2").await.unwrap();
    assert_eq!(
        given.ada.tile("vision/one").await.unwrap().name,
        Some(name("vision/one", "v2"))
    );
    assert_eq!(given.head().await, before + 1);
    rename(&given.ada, &image, "vision/one:v2").await.unwrap();
    assert_eq!(given.head().await, before + 1);
}

// covers R15, R18, R84
#[tokio::test]
async fn a_deleted_image_leaves_its_name_to_its_workspace() {
    let given = given().await;
    let image = given.ada.image(&given.workspace, "vision/tool").await.unwrap();
    let (bob, elsewhere) = given.stranger("bob").await;
    bob.saw(delete(&given.ada, &image, false).await.unwrap());
    assert_eq!(reason(&given.ada.tile(&image).await.unwrap_err()), "NO_SUCH_IMAGE");
    assert!(!is_free(&bob, &elsewhere, "vision/tool").await);
    assert_eq!(
        reason(&bob.image(&elsewhere, "vision/tool").await.unwrap_err()),
        "NAME_TAKEN"
    );
    assert!(is_free(&given.ada, &given.workspace, "vision/tool").await);
    let again = given.ada.image(&given.workspace, "vision/tool").await.unwrap();
    assert_ne!(again, image);
    assert_eq!(given.ada.tile("vision/tool").await.unwrap().id, again);
}

// covers R15, R18
#[tokio::test]
async fn a_purged_name_is_nobodys_until_its_content_is_gone() {
    let given = given().await;
    let image = given.ada.image(&given.workspace, "vision/tool").await.unwrap();
    delete(&given.ada, &image, true).await.unwrap();
    assert!(!is_free(&given.ada, &given.workspace, "vision/tool").await);
    let taken = given.ada.image(&given.workspace, "vision/tool").await.unwrap_err();
    assert_eq!(reason(&taken), "NAME_TAKEN");
    let (bob, elsewhere) = given.stranger("bob").await;
    bob.saw(given.freed(&image, "vision/tool").await.0);
    bob.image(&elsewhere, "vision/tool").await.unwrap();
}

// covers R15, R18, R84
#[tokio::test]
async fn a_deleted_image_is_purged_later_unless_a_newer_one_has_its_name() {
    let given = given().await;
    let old = given.ada.image(&given.workspace, "vision/tool").await.unwrap();
    delete(&given.ada, &old, false).await.unwrap();
    let new = given.ada.image(&given.workspace, "vision/tool").await.unwrap();
    let refused = delete(&given.ada, &old, true).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "NAME_REUSED")
    );
    delete(&given.ada, &new, false).await.unwrap();
    // No live image is called so.
    let purged = delete(&given.ada, "vision/tool", true).await.unwrap();
    assert_eq!(delete(&given.ada, &new, true).await.unwrap(), purged);
    let (bob, elsewhere) = given.stranger("bob").await;
    bob.saw(given.freed(&new, "vision/tool").await.0);
    bob.image(&elsewhere, "vision/tool").await.unwrap();
}

#[tokio::test]
async fn a_name_that_can_t_be_is_refused_with_the_place() {
    let given = given().await;
    let refused = async |name: &str| given.ada.image(&given.workspace, name).await.unwrap_err();
    let external = refused("quay.io/x/y").await;
    assert_eq!(
        (external.code(), reason(&external).as_str()),
        (Code::FailedPrecondition, "EXTERNAL_REGISTRY")
    );
    assert!(external.message().contains("`quay.io`"), "{}", external.message());
    let long = "x".repeat(129);
    for (name, sentence) in [
        ("vision/Tool", "`T` at character 8"),
        ("vision/t ol", "` ` at character 9"),
        ("vision/täl", "`ä` at character 9"),
        ("vision//tool", "`` is not a name"),
        ("-vision/tool", "`-vision` is not a name"),
        ("vision/tool:", "`` is not a tag"),
        ("vision/tool:a b", "`a b` is not a tag"),
        ("", "an image needs a name"),
        (long.as_str(), "129 characters, at most 128"),
        ("vision/tool@sha256:00", "given without one"),
    ] {
        let refused = refused(name).await;
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}: {refused:?}");
        assert!(refused.message().contains(sentence), "{name}: {}", refused.message());
        let violations = refused.get_details_bad_request().unwrap().field_violations;
        assert_eq!(
            violations.first().map(|violation| violation.field.as_str()),
            Some("name"),
            "{name}"
        );
    }
}

// covers R7
#[tokio::test]
async fn nobody_finds_out_by_checking_which_names_there_are() {
    let given = given().await;
    let check = async |user: &User| {
        let check = CheckNameRequest {
            name: "vision/tool".to_owned(),
            workspace: String::new(),
        };
        user.images().check_name(check).await
    };
    let mut refused = None;
    // Far more than can be checked in the time that it takes.
    for _ in 0..1_000 {
        if let Err(status) = check(&given.ada).await {
            refused = Some(status);
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_CHECKS")
    );
    let (bob, _) = given.stranger("bob").await;
    check(&bob).await.unwrap();
}
