//! Who may do what, and what one may not see: the same bytes as what does not exist.

use super::{bytes, given};
use eventlog::Clock;
use proto::catalog::v1::{
    AddMemberRequest, CreateImageRequest, DeleteImageRequest, DescribeImageRequest, GetImageHistoryRequest,
    GetWorkspaceRequest, ListImagesRequest, ListWorkspacesRequest, RemoveMemberRequest, RenameImageRequest, Right,
    Role, SetMemberRoleRequest, WatchImagesRequest,
};
use std::time::{Duration, UNIX_EPOCH};
use tests::{User, reason};
use tonic::{Code, Status};

async fn add(owner: &User, workspace: &str, user: &str, role: Role) -> Result<u64, Status> {
    let add = AddMemberRequest {
        workspace: workspace.to_owned(),
        user: user.to_owned(),
        role: role.into(),
        ..AddMemberRequest::default()
    };
    let position = owner.workspaces().add_member(add).await?.into_inner().position;
    Ok(owner.saw(position))
}

async fn set(owner: &User, workspace: &str, user: &str, role: Role) -> Result<u64, Status> {
    let set = SetMemberRoleRequest {
        workspace: workspace.to_owned(),
        user: user.to_owned(),
        role: role.into(),
        ..SetMemberRoleRequest::default()
    };
    let position = owner.workspaces().set_member_role(set).await?.into_inner().position;
    Ok(owner.saw(position))
}

async fn remove(owner: &User, workspace: &str, user: &str) -> Result<u64, Status> {
    let remove = RemoveMemberRequest {
        workspace: workspace.to_owned(),
        user: user.to_owned(),
        ..RemoveMemberRequest::default()
    };
    let position = owner.workspaces().remove_member(remove).await?.into_inner().position;
    Ok(owner.saw(position))
}

async fn describe(user: &User, image: &str, description: &str) -> Result<u64, Status> {
    let describe = DescribeImageRequest {
        image: image.to_owned(),
        description: description.to_owned(),
        ..DescribeImageRequest::default()
    };
    let position = user.images().describe_image(describe).await?.into_inner().position;
    Ok(user.saw(position))
}

async fn delete(user: &User, image: &str) -> Result<u64, Status> {
    let delete = DeleteImageRequest {
        image: image.to_owned(),
        ..DeleteImageRequest::default()
    };
    Ok(user.images().delete_image(delete).await?.into_inner().position)
}

#[tokio::test]
async fn a_missing_wrong_or_expired_token_gets_one_sentence() {
    let given = given().await;
    let other = super::given().await;
    let long_ago = Clock::fixed(UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    let expired = given.home.token("ada", false, &long_ago).unwrap();
    let foreign = other.home.token("ada", true, &Clock::system()).unwrap();
    let good = given.home.token("ada", false, &Clock::system()).unwrap();
    let truncated = &good[..good.len() - 3];
    for (token, expected, sentence) in [
        ("", "TOKEN_MISSING", "no token was sent"),
        (expired.as_str(), "TOKEN_EXPIRED", "the token expired"),
        (foreign.as_str(), "TOKEN_INVALID", "not one of this platform"),
        (truncated, "TOKEN_INVALID", "not one of this platform"),
        ("nonsense", "TOKEN_INVALID", "not one of this platform"),
    ] {
        let nobody = given.home.bearer(token).unwrap();
        let refused = nobody.tile("vision/tool").await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::Unauthenticated, expected)
        );
        assert!(
            refused.message().starts_with(sentence) || refused.message().contains(sentence),
            "{refused:?}"
        );
        let refused = nobody.workspace("mine").await.unwrap_err();
        assert_eq!(reason(&refused), expected);
    }
}

// covers R6
#[tokio::test]
async fn an_owner_has_each_name_once_and_what_is_ambiguous_is_told_with_the_ids() {
    let given = given().await;
    let again = given.ada.workspace("vision").await.unwrap_err();
    assert_eq!(
        (again.code(), reason(&again).as_str()),
        (Code::AlreadyExists, "WORKSPACE_EXISTS")
    );
    assert!(again.message().contains(&given.workspace), "{}", again.message());
    for wrong in ["", " vision", "a\tb", &"x".repeat(65)] {
        let refused = given.ada.workspace(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong:?}");
    }
    let bob = given.home.user("bob").unwrap();
    let other = bob.workspace("vision").await.unwrap();
    for wrong in ["", "a da", "a\nda"] {
        let refused = add(&bob, &other, wrong, Role::Participant).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong:?}");
    }
    given
        .ada
        .saw(add(&bob, &other, "ada", Role::Participant).await.unwrap());
    let ambiguous = given.ada.image("vision", "vision/tool").await.unwrap_err();
    assert_eq!(reason(&ambiguous), "AMBIGUOUS_WORKSPACE");
    for id in [&given.workspace, &other] {
        assert!(ambiguous.message().contains(id), "{}", ambiguous.message());
    }
}

// covers R6, R8
#[tokio::test]
async fn what_one_may_not_see_looks_like_what_is_not_there() {
    let given = given().await;
    let image = given.ada.image(&given.workspace, "vision/tool").await.unwrap();
    let (bob, _) = given.stranger("bob").await;
    let absent = "img_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for (hidden, absent) in [(image.as_str(), absent), ("vision/tool", "vision/other")] {
        let pairs = [
            (bob.tile(hidden).await.unwrap_err(), bob.tile(absent).await.unwrap_err()),
            (
                describe(&bob, hidden, "mine").await.unwrap_err(),
                describe(&bob, absent, "mine").await.unwrap_err(),
            ),
            (
                delete(&bob, hidden).await.unwrap_err(),
                delete(&bob, absent).await.unwrap_err(),
            ),
            (
                rename(&bob, hidden).await.unwrap_err(),
                rename(&bob, absent).await.unwrap_err(),
            ),
            (
                history(&bob, hidden).await.unwrap_err(),
                history(&bob, absent).await.unwrap_err(),
            ),
        ];
        for (hidden, absent) in pairs {
            assert_eq!(
                (hidden.code(), reason(&hidden).as_str()),
                (Code::NotFound, "NO_SUCH_IMAGE")
            );
            assert_eq!(bytes(&hidden), bytes(&absent));
        }
    }
    let absent = "ws_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for (hidden, absent) in [
        (workspace(&bob, &given.workspace).await, workspace(&bob, absent).await),
        (list(&bob, &given.workspace).await, list(&bob, absent).await),
        (watch(&bob, &given.workspace).await, watch(&bob, absent).await),
        (create(&bob, &given.workspace).await, create(&bob, absent).await),
    ] {
        let (hidden, absent) = (hidden.unwrap_err(), absent.unwrap_err());
        assert_eq!(reason(&hidden), "NO_SUCH_WORKSPACE");
        assert_eq!(bytes(&hidden), bytes(&absent));
    }
    // Nor does it stand in a list.
    let all = bob
        .images()
        .list_images(ListImagesRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(all.images, []);
}

async fn rename(user: &User, image: &str) -> Result<(), Status> {
    let rename = RenameImageRequest {
        image: image.to_owned(),
        name: "vision/mine".to_owned(),
        ..RenameImageRequest::default()
    };
    user.images().rename_image(rename).await.map(drop)
}

async fn history(user: &User, image: &str) -> Result<(), Status> {
    let history = GetImageHistoryRequest {
        image: image.to_owned(),
        ..GetImageHistoryRequest::default()
    };
    user.history().get_image_history(history).await.map(drop)
}

async fn workspace(user: &User, workspace: &str) -> Result<(), Status> {
    let get = GetWorkspaceRequest {
        workspace: workspace.to_owned(),
    };
    user.workspaces().get_workspace(get).await.map(drop)
}

async fn list(user: &User, workspace: &str) -> Result<(), Status> {
    let list = ListImagesRequest {
        workspace: workspace.to_owned(),
        ..ListImagesRequest::default()
    };
    user.images().list_images(list).await.map(drop)
}

async fn watch(user: &User, workspace: &str) -> Result<(), Status> {
    let watch = WatchImagesRequest {
        workspace: workspace.to_owned(),
    };
    user.images().watch_images(watch).await.map(drop)
}

async fn create(user: &User, workspace: &str) -> Result<(), Status> {
    let create = CreateImageRequest {
        workspace: workspace.to_owned(),
        name: "vision/theirs".to_owned(),
        ..CreateImageRequest::default()
    };
    user.images().create_image(create).await.map(drop)
}

// covers R6, R8, R101
#[tokio::test]
async fn a_participant_writes_an_owner_deletes_an_administrator_reads() {
    let given = given().await;
    let image = given.ada.image(&given.workspace, "vision/tool").await.unwrap();
    let (bob, _) = given.stranger("bob").await;
    bob.saw(
        add(&given.ada, &given.workspace, "bob", Role::Participant)
            .await
            .unwrap(),
    );
    assert_eq!(bob.tile(&image).await.unwrap().my_rights(), Right::Write);
    given.ada.saw(describe(&bob, &image, "by bob").await.unwrap());
    let refused = delete(&bob, &image).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "OWNER_ONLY")
    );
    let refused = add(&bob, &given.workspace, "carol", Role::Participant)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "OWNER_ONLY");

    let root = given.home.administrator("root").unwrap();
    root.saw(given.ada.saw(0));
    let tile = root.tile(&image).await.unwrap();
    assert_eq!((tile.my_rights(), tile.description.as_str()), (Right::Read, "by bob"));
    assert_eq!(
        reason(&describe(&root, &image, "by root").await.unwrap_err()),
        "NEEDS_WRITE"
    );
    assert_eq!(reason(&delete(&root, &image).await.unwrap_err()), "OWNER_ONLY");
    let all = root
        .workspaces()
        .list_workspaces(ListWorkspacesRequest::default())
        .await
        .unwrap();
    assert_eq!(all.into_inner().workspaces.len(), 2);

    // The right follows the role of now.
    bob.saw(set(&given.ada, &given.workspace, "bob", Role::Owner).await.unwrap());
    assert_eq!(bob.tile(&image).await.unwrap().my_rights(), Right::Owner);
    bob.saw(remove(&given.ada, &given.workspace, "bob").await.unwrap());
    assert_eq!(reason(&bob.tile(&image).await.unwrap_err()), "NO_SUCH_IMAGE");
}

// covers R8
#[tokio::test]
async fn a_workspace_always_has_an_owner() {
    let given = given().await;
    for refused in [
        remove(&given.ada, &given.workspace, "ada").await.unwrap_err(),
        set(&given.ada, &given.workspace, "ada", Role::Participant)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::FailedPrecondition, "LAST_OWNER")
        );
    }
    add(&given.ada, &given.workspace, "bob", Role::Owner).await.unwrap();
    remove(&given.ada, &given.workspace, "ada").await.unwrap();
    assert_eq!(
        reason(&workspace(&given.ada, &given.workspace).await.unwrap_err()),
        "NO_SUCH_WORKSPACE"
    );
}
