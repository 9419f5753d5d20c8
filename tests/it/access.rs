//! Sharing: who may do what with an image beside the members of its workspace, now and then.

mod matrix;

use proto::{
    catalog::v1::{
        AddMemberRequest, CheckAccessRequest, DeleteImageRequest, DescribeImageRequest, Everyone,
        GetImageHistoryRequest, GetImageRequest, GrantRequest, Grantee, ListGrantsRequest, ListImagesRequest,
        RemoveMemberRequest, RevokeRequest, Right, Role, check_access_request::AsOf, grantee::Kind,
    },
    notifier::v1::SubscribeRequest,
};
use tests::{Platform, Shape, User, reason};
use tonic::Status;

async fn add_member(owner: &User, workspace: &str, user: &str, role: Role) -> Result<u64, Status> {
    let add = AddMemberRequest {
        workspace: workspace.to_owned(),
        user: user.to_owned(),
        role: role.into(),
        ..AddMemberRequest::default()
    };
    let added = owner.workspaces().add_member(add).await?.into_inner();
    Ok(owner.saw(added.position))
}

async fn remove_member(owner: &User, workspace: &str, user: &str) -> Result<u64, Status> {
    let remove = RemoveMemberRequest {
        workspace: workspace.to_owned(),
        user: user.to_owned(),
        ..RemoveMemberRequest::default()
    };
    let removed = owner.workspaces().remove_member(remove).await?.into_inner();
    Ok(owner.saw(removed.position))
}

fn to_bob() -> Kind {
    Kind::User("bob".to_owned())
}

async fn grant(user: &User, image: &str, kind: Kind, right: Right) -> Result<u64, Status> {
    let grant = GrantRequest {
        image: image.to_owned(),
        grantee: Some(Grantee { kind: Some(kind) }),
        right: right.into(),
        ..GrantRequest::default()
    };
    let granted = user.access().grant(grant).await?.into_inner();
    Ok(user.saw(granted.position))
}

async fn grant_to(user: &User, image: &str, to: &str, right: Right) -> Result<u64, Status> {
    grant(user, image, Kind::User(to.to_owned()), right).await
}

async fn revoke(user: &User, image: &str, kind: Kind) -> Result<u64, Status> {
    let revoke = RevokeRequest {
        image: image.to_owned(),
        grantee: Some(Grantee { kind: Some(kind) }),
        ..RevokeRequest::default()
    };
    let revoked = user.access().revoke(revoke).await?.into_inner();
    Ok(user.saw(revoked.position))
}

async fn right(user: &User, image: &str) -> Result<Right, Status> {
    let get = GetImageRequest {
        image: image.to_owned(),
    };
    let answer = user.images().get_image(get).await?.into_inner();
    Ok(answer.image.unwrap_or_default().my_rights())
}

async fn describe(user: &User, image: &str) -> Result<u64, Status> {
    let describe = DescribeImageRequest {
        image: image.to_owned(),
        description: "changed".to_owned(),
        ..DescribeImageRequest::default()
    };
    let described = user.images().describe_image(describe).await?.into_inner();
    Ok(user.saw(described.position))
}

async fn listed(user: &User, list: ListImagesRequest) -> Vec<String> {
    let answer = user.images().list_images(list).await.unwrap().into_inner();
    let path = |image: proto::catalog::v1::Image| image.name.unwrap_or_default().path;
    answer.images.into_iter().map(path).collect()
}

async fn shared_with(user: &User, image: &str) -> Vec<(Kind, Right)> {
    let list = ListGrantsRequest {
        image: image.to_owned(),
    };
    let answer = user.access().list_grants(list).await.unwrap().into_inner();
    let pair = |grant: proto::catalog::v1::ImageGrant| (grant.grantee.clone().unwrap().kind.unwrap(), grant.right());
    answer.grants.into_iter().map(pair).collect()
}

/// Ada, who owns a workspace with an image, and Bob, who is in one of his own.
struct Given {
    platform: Platform,
    ada: User,
    workspace: String,
    image: String,
    bob: User,
    of_bob: String,
}

async fn given() -> Given {
    let platform = Platform::start(Shape::One).await.unwrap();
    let (ada, bob) = (platform.user("ada").unwrap(), platform.user("bob").unwrap());
    let workspace = ada.workspace("vision").await.unwrap();
    let image = ada.image(&workspace, "vision/tool").await.unwrap();
    let of_bob = bob.workspace("sound").await.unwrap();
    bob.image(&of_bob, "sound/tool").await.unwrap();
    Given {
        platform,
        ada,
        workspace,
        image,
        bob,
        of_bob,
    }
}

// covers R109, R122, R123, R124, R125
#[tokio::test]
async fn what_is_shared_is_seen_changed_and_passed_on_as_far_as_it_was_granted() {
    let given = given().await;
    let (ada, bob, image) = (&given.ada, &given.bob, given.image.as_str());
    assert_eq!(reason(&right(bob, image).await.unwrap_err()), "NO_SUCH_IMAGE");

    bob.saw(grant(ada, image, to_bob(), Right::Read).await.unwrap());
    assert_eq!(right(bob, "vision/tool").await.unwrap(), Right::Read);
    assert_eq!(reason(&describe(bob, image).await.unwrap_err()), "NEEDS_WRITE");

    bob.saw(grant(ada, image, to_bob(), Right::Write).await.unwrap());
    ada.saw(describe(bob, image).await.unwrap());
    assert_eq!(
        reason(&bob.build(image).await.unwrap_err()),
        "OWNER_ONLY",
        "who may change it may not build it"
    );
    let carol = Kind::User("carol".to_owned());
    let refused = grant(bob, image, carol.clone(), Right::Read).await.unwrap_err();
    assert_eq!(reason(&refused), "NEEDS_MANAGE");

    bob.saw(grant(ada, image, to_bob(), Right::Manage).await.unwrap());
    ada.saw(grant(bob, image, carol.clone(), Right::Manage).await.unwrap());
    let all = vec![(to_bob(), Right::Manage), (carol, Right::Manage)];
    assert_eq!(shared_with(ada, image).await, all);
    let owner = grant(bob, image, to_bob(), Right::Owner).await.unwrap_err();
    assert_eq!(reason(&owner), "INVALID_ARGUMENT");
}

// covers R109
#[tokio::test]
async fn lists_show_mine_and_what_is_shared_with_me() {
    let given = given().await;
    let (ada, bob) = (&given.ada, &given.bob);
    let of = |workspace: &str, with_shared, shared_only| ListImagesRequest {
        workspace: workspace.to_owned(),
        with_shared,
        shared_only,
        ..ListImagesRequest::default()
    };
    assert_eq!(listed(bob, of("", false, false)).await, ["sound/tool"]);
    bob.saw(grant(ada, &given.image, to_bob(), Right::Read).await.unwrap());
    // One's own is not shared with oneself.
    bob.saw(grant(bob, "sound/tool", to_bob(), Right::Manage).await.unwrap());
    let both = ["sound/tool", "vision/tool"];
    assert_eq!(listed(bob, of("", false, false)).await, both);
    assert_eq!(listed(bob, of(&given.of_bob, false, false)).await, ["sound/tool"]);
    assert_eq!(listed(bob, of(&given.of_bob, true, false)).await, both);
    assert_eq!(listed(bob, of("", false, true)).await, ["vision/tool"]);
    // To see one image is not to see the workspace.
    let foreign = bob.images().list_images(of(&given.workspace, true, false)).await;
    assert_eq!(reason(&foreign.unwrap_err()), "NO_SUCH_WORKSPACE");
}

// covers R122, R125
#[tokio::test]
async fn a_workspace_is_shared_with_as_long_as_one_is_in_it() {
    let given = given().await;
    let (ada, bob, image) = (&given.ada, &given.bob, given.image.as_str());
    let carol = given.platform.user("carol").unwrap();
    let workspace = Kind::Workspace(given.of_bob.clone());
    grant(ada, image, workspace.clone(), Right::Write).await.unwrap();
    bob.saw(ada.saw(0));
    assert_eq!(right(bob, image).await.unwrap(), Right::Write);

    carol.saw(
        add_member(bob, &given.of_bob, "carol", Role::Participant)
            .await
            .unwrap(),
    );
    assert_eq!(right(&carol, image).await.unwrap(), Right::Write);
    assert_eq!(shared_with(&carol, image).await, [(workspace.clone(), Right::Write)]);
    carol.saw(remove_member(bob, &given.of_bob, "carol").await.unwrap());
    assert_eq!(reason(&right(&carol, image).await.unwrap_err()), "NO_SUCH_IMAGE");

    // A name is one of the caller's own workspaces.
    let by_name = Kind::Workspace("sound".to_owned());
    let foreign = grant(ada, image, by_name, Right::Read).await.unwrap_err();
    assert_eq!(reason(&foreign), "NO_SUCH_WORKSPACE");
}

// covers R122, R126
#[tokio::test]
async fn everyone_reads_what_an_administrator_opens() {
    let given = given().await;
    let (ada, image) = (&given.ada, given.image.as_str());
    let (root, dora) = (
        given.platform.administrator("root").unwrap(),
        given.platform.user("dora").unwrap(),
    );
    let everyone = Kind::Everyone(Everyone {});
    let refused = grant(ada, image, everyone.clone(), Right::Read).await.unwrap_err();
    assert_eq!(reason(&refused), "ADMIN_ONLY");
    root.saw(ada.saw(0));
    let refused = grant(&root, image, everyone.clone(), Right::Write).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_ARGUMENT");
    let refused = grant(&root, image, to_bob(), Right::Read).await.unwrap_err();
    assert_eq!(reason(&refused), "NEEDS_MANAGE", "an administrator is no manager");

    dora.saw(grant(&root, image, everyone.clone(), Right::Read).await.unwrap());
    assert_eq!(right(&dora, image).await.unwrap(), Right::Read);
    ada.saw(root.saw(0));
    dora.saw(revoke(ada, image, everyone).await.unwrap());
    assert_eq!(reason(&right(&dora, image).await.unwrap_err()), "NO_SUCH_IMAGE");
}

// covers R125
#[tokio::test]
async fn a_revoked_right_is_gone_and_what_is_open_by_it_ends() {
    let given = given().await;
    let (ada, bob, image) = (&given.ada, &given.bob, given.image.as_str());
    bob.saw(grant(ada, image, to_bob(), Right::Write).await.unwrap());
    let subscribe = SubscribeRequest {
        image: image.to_owned(),
        follow: true,
        ..SubscribeRequest::default()
    };
    let mut events = bob.events().subscribe(subscribe).await.unwrap().into_inner();
    ada.saw(describe(bob, image).await.unwrap());
    let seen = events.message().await.unwrap().unwrap();
    assert_eq!(seen.r#type, "image.described");

    bob.saw(revoke(ada, image, to_bob()).await.unwrap());
    assert_eq!(reason(&describe(bob, image).await.unwrap_err()), "NO_SUCH_IMAGE");
    assert_eq!(reason(&events.message().await.unwrap_err()), "NO_SUCH_IMAGE");
    let again = revoke(ada, image, to_bob()).await.unwrap_err();
    assert_eq!(reason(&again), "NO_SUCH_GRANT");
}

// covers R125, E18
#[tokio::test]
async fn who_gives_up_a_right_of_its_own_is_answered_when_it_asks_again() {
    let given = given().await;
    let (ada, bob, image) = (&given.ada, &given.bob, given.image.as_str());
    bob.saw(grant(ada, image, to_bob(), Right::Manage).await.unwrap());
    let give_up = RevokeRequest {
        request_id: ids::Ulid::from(7u128).to_string(),
        image: image.to_owned(),
        grantee: Some(Grantee { kind: Some(to_bob()) }),
    };
    let done = bob
        .access()
        .revoke(give_up.clone())
        .await
        .unwrap()
        .into_inner()
        .position;
    bob.saw(done);
    let again = bob.access().revoke(give_up).await.unwrap().into_inner().position;
    assert_eq!(again, done);

    ada.saw(add_member(ada, &given.workspace, "bob", Role::Owner).await.unwrap());
    let leave = RemoveMemberRequest {
        request_id: ids::Ulid::from(8u128).to_string(),
        workspace: given.workspace.clone(),
        user: "ada".to_owned(),
    };
    let done = ada
        .workspaces()
        .remove_member(leave.clone())
        .await
        .unwrap()
        .into_inner();
    ada.saw(done.position);
    let again = ada.workspaces().remove_member(leave).await.unwrap().into_inner();
    assert_eq!(again, done);
}

// covers R123, R125
#[tokio::test]
async fn whom_it_is_shared_with_is_no_reader_s_business() {
    let given = given().await;
    let (ada, bob, image) = (&given.ada, &given.bob, given.image.as_str());
    let carol = Kind::User("carol".to_owned());
    grant(ada, image, carol.clone(), Right::Write).await.unwrap();
    grant(ada, image, to_bob(), Right::Read).await.unwrap();
    let dora = given.platform.user("dora").unwrap();
    add_member(ada, &given.workspace, "dora", Role::Participant)
        .await
        .unwrap();
    for (user, sees_all) in [(bob, false), (&dora, true), (ada, true)] {
        user.saw(ada.saw(0));
        let grants = shared_with(user, image).await;
        assert_eq!(grants.contains(&(carol.clone(), Right::Write)), sees_all);
        let history = GetImageHistoryRequest {
            image: image.to_owned(),
            ..GetImageHistoryRequest::default()
        };
        let history = user.history().get_image_history(history).await.unwrap().into_inner();
        let told = history.entries.iter().any(|entry| entry.r#type == "access.granted");
        assert_eq!(told, sees_all);
        for image in [image, ""] {
            let subscribe = SubscribeRequest {
                image: image.to_owned(),
                after_position: Some(0),
                ..SubscribeRequest::default()
            };
            let mut events = user.events().subscribe(subscribe).await.unwrap().into_inner();
            let mut told = false;
            while let Some(event) = events.message().await.unwrap() {
                told |= event.r#type == "access.granted";
            }
            assert_eq!(told, sees_all);
        }
    }
}

// covers R125, E17
#[tokio::test]
async fn grants_end_with_the_image() {
    let given = given().await;
    let (ada, bob, image) = (&given.ada, &given.bob, given.image.as_str());
    grant(ada, image, to_bob(), Right::Manage).await.unwrap();
    let delete = DeleteImageRequest {
        image: image.to_owned(),
        ..DeleteImageRequest::default()
    };
    let deleted = ada.images().delete_image(delete).await.unwrap().into_inner();
    bob.saw(deleted.position);
    let of_deleted = CheckAccessRequest {
        image: image.to_owned(),
        user: "bob".to_owned(),
        ..CheckAccessRequest::default()
    };
    let refused = bob.access().check_access(of_deleted).await.unwrap_err();
    assert_eq!(reason(&refused), "NO_SUCH_IMAGE");
    // The name's next image is another one.
    ada.saw(deleted.position);
    let next = ada.image(&given.workspace, "vision/tool").await.unwrap();
    bob.saw(ada.saw(0));
    assert_eq!(reason(&right(bob, &next).await.unwrap_err()), "NO_SUCH_IMAGE");
}

// covers E10
#[tokio::test]
async fn who_could_do_what_on_a_day_is_answered_afterwards() {
    let given = given().await;
    let (ada, bob, image) = (&given.ada, &given.bob, given.image.as_str());
    let before = ada.saw(0);
    let shared = grant(ada, image, Kind::Workspace(given.of_bob.clone()), Right::Read)
        .await
        .unwrap();
    let raised = grant(ada, image, to_bob(), Right::Manage).await.unwrap();
    let owner = add_member(ada, &given.workspace, "bob", Role::Owner).await.unwrap();
    remove_member(ada, &given.workspace, "bob").await.unwrap();
    revoke(ada, image, to_bob()).await.unwrap();
    bob.saw(ada.saw(0));
    let check = async |user: &User, who: &str, as_of: Option<u64>| {
        let check = CheckAccessRequest {
            image: image.to_owned(),
            user: who.to_owned(),
            as_of: as_of.map(AsOf::Position),
        };
        let answer = user.access().check_access(check).await?.into_inner();
        Ok::<_, Status>((answer.right(), answer.reasons.len()))
    };
    for (as_of, expected) in [
        (Some(before), (Right::Unspecified, 0)),
        (Some(shared), (Right::Read, 1)),
        (Some(raised), (Right::Manage, 2)),
        (Some(owner), (Right::Owner, 3)),
        (None, (Right::Read, 1)),
    ] {
        assert_eq!(check(ada, "bob", as_of).await.unwrap(), expected, "{as_of:?}");
    }
    // Ada and Bob as owners, Bob and his workspace by grants.
    assert_eq!(check(ada, "", Some(owner)).await.unwrap(), (Right::Unspecified, 4));
    assert_eq!(check(bob, "bob", None).await.unwrap(), (Right::Read, 1));
    assert_eq!(reason(&check(bob, "ada", None).await.unwrap_err()), "NEEDS_MANAGE");
    let beyond = check(ada, "bob", Some(1_000_000)).await.unwrap_err();
    assert_eq!(reason(&beyond), "VIEW_BEHIND");
}
