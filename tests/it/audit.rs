//! The audit, refused attempts, and images as they were, on a real log.

mod as_of;
mod refusals;

use proto::catalog::v1::{
    AddMemberRequest, CreateImageRequest, DeleteImageRequest, DescribeImageRequest, HistoryEntry, QueryEventsRequest,
    Role,
};
use tests::{Home, User, reason};
use tonic::{Code, Status};

async fn query(user: &User, request: QueryEventsRequest) -> Result<Vec<HistoryEntry>, Status> {
    Ok(user.history().query_events(request).await?.into_inner().entries)
}

fn of_type(kind: &str) -> QueryEventsRequest {
    QueryEventsRequest {
        types: vec![kind.to_owned()],
        ..QueryEventsRequest::default()
    }
}

fn types(entries: &[HistoryEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.r#type.as_str()).collect()
}

async fn describe(user: &User, image: &str, description: &str) -> Result<u64, Status> {
    let describe = DescribeImageRequest {
        image: image.to_owned(),
        description: description.to_owned(),
        ..DescribeImageRequest::default()
    };
    let described = user.images().describe_image(describe).await?.into_inner();
    Ok(user.saw(described.position))
}

/// ada and bob with a workspace and an image each; bob is a participant of ada's too.
async fn two_teams(home: &Home) -> (User, User, String, String) {
    let (ada, bob) = (home.user("ada").unwrap(), home.user("bob").unwrap());
    let vision = ada.workspace("vision").await.unwrap();
    let image = ada.image(&vision, "vision/tool").await.unwrap();
    let add = AddMemberRequest {
        workspace: vision.clone(),
        user: "bob".to_owned(),
        role: Role::Participant.into(),
        ..AddMemberRequest::default()
    };
    let added = ada.workspaces().add_member(add).await.unwrap().into_inner();
    bob.saw(ada.saw(added.position));
    let other = bob.workspace("other").await.unwrap();
    bob.image(&other, "other/tool").await.unwrap();
    ada.saw(bob.saw(0));
    (ada, bob, vision, image)
}

// covers E9, R21
#[tokio::test]
async fn the_audit_is_asked_in_any_combination_and_order() {
    let home = Home::start(&[catalog::SERVICE]).await.unwrap();
    let (ada, bob, vision, image) = two_teams(&home).await;
    for n in 0..5 {
        describe(&bob, &image, &format!("description {n}")).await.unwrap();
    }
    ada.saw(bob.saw(0));

    let all = query(&bob, QueryEventsRequest::default()).await.unwrap();
    let mut expected = vec!["image.described"; 5];
    expected.extend([
        "image.created",
        "workspace.created",
        "member.changed",
        "image.created",
        "workspace.created",
    ]);
    assert_eq!(types(&all), expected);
    let told = all.iter().map(|entry| entry.summary.as_str());
    let story: Vec<&str> = told.rev().take(6).collect();
    let expected = [
        "created the workspace vision with ada as an owner",
        "created as vision/tool",
        "let bob in as a participant",
        "created the workspace other with bob as an owner",
        "created as other/tool",
        "described as \"description 0\"",
    ];
    assert_eq!(story, expected);

    let narrow = QueryEventsRequest {
        workspace: "vision".to_owned(),
        actor: "bob".to_owned(),
        types: vec!["image.described".to_owned(), "image.created".to_owned()],
        since: all[3].time,
        oldest_first: true,
        ..QueryEventsRequest::default()
    };
    let found = query(&ada, narrow.clone()).await.unwrap();
    assert!(!found.is_empty() && found.is_sorted_by_key(|entry| (entry.position, entry.index)));
    for entry in &found {
        assert_eq!(
            (&*entry.r#type, &*entry.actor, &entry.workspace, &entry.image),
            ("image.described", "bob", &vision, &image)
        );
        assert!(
            entry.time.map(|time| (time.seconds, time.nanos)) >= all[3].time.map(|time| (time.seconds, time.nanos))
        );
    }
    let nothing = QueryEventsRequest {
        until: all.last().unwrap().time,
        since: None,
        ..narrow
    };
    assert_eq!(query(&ada, nothing).await.unwrap(), []);

    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let page = QueryEventsRequest {
            page_size: 3,
            page_token: token,
            ..QueryEventsRequest::default()
        };
        let page = bob.history().query_events(page).await.unwrap().into_inner();
        paged.extend(page.entries);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all);

    for wrong in [
        QueryEventsRequest {
            page_size: 1_001,
            ..QueryEventsRequest::default()
        },
        QueryEventsRequest {
            page_token: "nonsense".to_owned(),
            ..QueryEventsRequest::default()
        },
        QueryEventsRequest {
            actor: "x".repeat(300),
            ..QueryEventsRequest::default()
        },
        QueryEventsRequest {
            types: vec!["image.created".to_owned(); 100],
            ..QueryEventsRequest::default()
        },
        // A typing mistake is no all-clear.
        QueryEventsRequest {
            types: vec!["image.creatd".to_owned()],
            ..QueryEventsRequest::default()
        },
        QueryEventsRequest {
            since: service::timestamp(2_000),
            until: service::timestamp(1_000),
            ..QueryEventsRequest::default()
        },
    ] {
        let refused = query(&ada, wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
}

// covers E9, R8
#[tokio::test]
async fn one_is_told_of_ones_own_workspaces_and_an_administrator_of_all() {
    let home = Home::start(&[catalog::SERVICE]).await.unwrap();
    let (ada, bob, vision, image) = two_teams(&home).await;
    let (eve, root) = (home.user("eve").unwrap(), home.administrator("root").unwrap());
    for user in [&eve, &root] {
        user.saw(ada.saw(0));
    }
    let count = async |user: &User| query(user, QueryEventsRequest::default()).await.unwrap().len();
    assert_eq!(
        [
            count(&ada).await,
            count(&bob).await,
            count(&eve).await,
            count(&root).await
        ],
        [3, 5, 0, 5]
    );
    let of_image = QueryEventsRequest {
        image: image.clone(),
        ..QueryEventsRequest::default()
    };
    assert_eq!(types(&query(&bob, of_image.clone()).await.unwrap()), ["image.created"]);
    assert_eq!(types(&query(&root, of_image.clone()).await.unwrap()), ["image.created"]);
    let of_workspace = QueryEventsRequest {
        workspace: vision.clone(),
        ..QueryEventsRequest::default()
    };
    for (request, expected) in [(of_image, "NO_SUCH_IMAGE"), (of_workspace, "NO_SUCH_WORKSPACE")] {
        assert_eq!(reason(&query(&eve, request).await.unwrap_err()), expected);
    }
    // What is gone is still told.
    let delete = DeleteImageRequest {
        image: image.clone(),
        ..DeleteImageRequest::default()
    };
    let deleted = ada.images().delete_image(delete).await.unwrap().into_inner();
    bob.saw(ada.saw(deleted.position));
    let again = CreateImageRequest {
        workspace: vision,
        name: "vision/tool".to_owned(),
        ..CreateImageRequest::default()
    };
    let again = ada.images().create_image(again).await.unwrap().into_inner();
    bob.saw(ada.saw(again.position));
    let of_image = QueryEventsRequest {
        image,
        ..QueryEventsRequest::default()
    };
    let told = query(&bob, of_image).await.unwrap();
    assert_eq!(types(&told), ["image.deleted", "image.created"]);
}
