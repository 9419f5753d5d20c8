//! Every mutation: a repeat is the same request, and who judged on an older version is told so.

use super::given;
use proto::catalog::v1::{
    AddMemberRequest, CreateImageRequest, CreateWorkspaceRequest, DeleteImageRequest, DescribeImageRequest,
    RemoveMemberRequest, RenameImageRequest, Role, SetMemberRoleRequest,
};
use service::Ids;
use tests::{User, detail, reason};
use tonic::{Code, Status};

/// Each mutation of the catalog, in an order in which each finds what it needs.
const MUTATIONS: [&str; 8] = [
    "create workspace",
    "add member",
    "set role",
    "remove member",
    "create image",
    "describe",
    "rename",
    "delete",
];

struct Client {
    user: User,
    workspace: String,
    image: String,
}

impl Client {
    async fn mutate(&self, mutation: &str, request_id: &str) -> Result<u64, Status> {
        let (request_id, workspace, image) = (request_id.to_owned(), self.workspace.clone(), self.image.clone());
        let (user, role) = ("bob".to_owned(), Role::Participant.into());
        let (mut workspaces, mut images) = (self.user.workspaces(), self.user.images());
        let position = match mutation {
            "create workspace" => {
                let request = CreateWorkspaceRequest {
                    request_id,
                    id: workspace,
                    name: "mine".to_owned(),
                };
                workspaces.create_workspace(request).await?.into_inner().position
            }
            "add member" => {
                let request = AddMemberRequest {
                    request_id,
                    workspace,
                    user,
                    role,
                };
                workspaces.add_member(request).await?.into_inner().position
            }
            "set role" => {
                let request = SetMemberRoleRequest {
                    request_id,
                    workspace,
                    user,
                    role: Role::Owner.into(),
                };
                workspaces.set_member_role(request).await?.into_inner().position
            }
            "remove member" => {
                let request = RemoveMemberRequest {
                    request_id,
                    workspace,
                    user,
                };
                workspaces.remove_member(request).await?.into_inner().position
            }
            "create image" => {
                let request = CreateImageRequest {
                    request_id,
                    id: image,
                    workspace,
                    name: "vision/tool".to_owned(),
                    ..CreateImageRequest::default()
                };
                images.create_image(request).await?.into_inner().position
            }
            "describe" => {
                let request = DescribeImageRequest {
                    request_id,
                    image,
                    description: "new".to_owned(),
                    expected_version: 0,
                };
                images.describe_image(request).await?.into_inner().position
            }
            "rename" => {
                let request = RenameImageRequest {
                    request_id,
                    image,
                    name: "vision/renamed".to_owned(),
                    expected_version: 0,
                };
                images.rename_image(request).await?.into_inner().position
            }
            _ => {
                let request = DeleteImageRequest {
                    request_id,
                    image,
                    purge: true,
                    expected_version: 0,
                };
                images.delete_image(request).await?.into_inner().position
            }
        };
        self.user.saw(position);
        Ok(position)
    }
}

// covers E18
#[tokio::test]
async fn a_repeated_mutation_answers_its_position_and_writes_nothing() {
    let mut given = given().await;
    let ids = Ids::random();
    let mut client = Client {
        user: given.ada.clone(),
        workspace: format!("ws_{}", ids.next()),
        image: format!("img_{}", ids.next()),
    };
    let mut journal = Vec::new();
    for mutation in MUTATIONS {
        let request_id = ids.next().to_string();
        let position = client.mutate(mutation, &request_id).await.unwrap();
        // At once, and after all that came between.
        journal.push((mutation, request_id, position));
        let head = given.head().await;
        assert_eq!(position, head, "{mutation}");
        for (mutation, request_id, position) in &journal {
            let again = client
                .mutate(mutation, request_id)
                .await
                .map_err(|error| format!("{mutation}: {error}"));
            assert_eq!(again.unwrap(), *position, "{mutation}");
        }
        assert_eq!(given.head().await, head, "repeats after `{mutation}` wrote");
    }
    // And after a restart, by a process that has nothing in memory.
    given.home.stop().await.unwrap();
    given.home.go_on().await.unwrap();
    client.user = given.home.user("ada").unwrap();
    for (mutation, request_id, position) in &journal {
        assert_eq!(
            client.mutate(mutation, request_id).await.unwrap(),
            *position,
            "{mutation}"
        );
    }
    assert_eq!(given.head().await, journal.last().unwrap().2);
}

#[tokio::test]
async fn a_request_id_that_is_none_is_refused() {
    let given = given().await;
    let client = Client {
        user: given.ada.clone(),
        workspace: String::new(),
        image: String::new(),
    };
    let refused = client.mutate("create workspace", "again").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("request_id"), "{}", refused.message());
}

// covers E6
#[tokio::test]
async fn who_judged_on_an_older_version_is_told_the_current_one() {
    let given = given().await;
    let image = given.ada.image(&given.workspace, "vision/tool").await.unwrap();
    let old = given.ada.tile(&image).await.unwrap().version;
    let describe = |version: u64, text: &str| {
        let request = DescribeImageRequest {
            image: image.clone(),
            description: text.to_owned(),
            expected_version: version,
            ..DescribeImageRequest::default()
        };
        let mut images = given.ada.images();
        async move {
            images
                .describe_image(request)
                .await
                .map(|described| described.into_inner().position)
        }
    };
    let current = describe(old, "first").await.unwrap();
    given.ada.saw(current);
    assert_eq!(given.ada.tile(&image).await.unwrap().version, current);
    let head = given.head().await;
    let mut refused = vec![describe(old, "second").await.unwrap_err()];
    let rename = RenameImageRequest {
        image: image.clone(),
        name: "vision/other".to_owned(),
        expected_version: old,
        ..RenameImageRequest::default()
    };
    refused.push(given.ada.images().rename_image(rename).await.unwrap_err());
    let delete = DeleteImageRequest {
        image: image.clone(),
        expected_version: old,
        ..DeleteImageRequest::default()
    };
    refused.push(given.ada.images().delete_image(delete).await.unwrap_err());
    for refused in refused {
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::Aborted, "STALE_REVISION")
        );
        assert_eq!(detail(&refused, "current"), current.to_string());
    }
    assert_eq!(given.head().await, head);
    assert_eq!(given.ada.tile(&image).await.unwrap().description, "first");
}

// covers E6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixty_four_writers_on_one_version_one_wins_and_without_a_version_all_do() {
    let given = given().await;
    let image = given.ada.image(&given.workspace, "vision/tool").await.unwrap();
    let version = given.ada.tile(&image).await.unwrap().version;
    let describe = |text: String, expected_version: u64| {
        let request = DescribeImageRequest {
            image: image.clone(),
            description: text,
            expected_version,
            ..DescribeImageRequest::default()
        };
        let mut images = given.ada.images();
        async move {
            images
                .describe_image(request)
                .await
                .map(|described| described.into_inner().position)
        }
    };
    let answers = futures::future::join_all((0..64).map(|n| describe(n.to_string(), version))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for refused in answers.into_iter().filter_map(Result::err) {
        assert_eq!(reason(&refused), "STALE_REVISION", "{refused:?}");
    }
    let answers = futures::future::join_all((0..64).map(|n| describe(format!("free {n}"), 0))).await;
    let mut positions: Vec<u64> = answers.into_iter().map(Result::unwrap).collect();
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 64);
}
