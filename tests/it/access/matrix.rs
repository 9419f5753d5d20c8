//! Every call of the contract, by everybody: the table of rights of `readings.md`.
//!
//! The calls are those that the descriptors have, so one that nobody says anything about here fails.

use super::{add_member, grant_to, remove_member};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, prost::Message as _};
use proto::catalog::v1::{Right, Role};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tests::{Platform, Raw, Shape, User, reason};
use tonic::{Code, Request, Status, codegen::http::uri::PathAndQuery};

/// What a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// A token.
    Token,
    /// A right on the image.
    Image(Right),
    /// READ of the image, and membership of its workspace, MANAGE, or an administrator.
    Insight,
    /// READ of the image, and membership of its workspace, or an administrator.
    Inside,
    /// A role in the workspace; to see it, an administrator needs none.
    Workspace(Role),
    /// A role in the workspace, whoever calls.
    Membership,
    /// An administrator of the platform.
    Administrator,
}

const READ: Takes = Takes::Image(Right::Read);
const WRITE: Takes = Takes::Image(Right::Write);
const MANAGE: Takes = Takes::Image(Right::Manage);
const OWNER: Takes = Takes::Image(Right::Owner);
const MEMBER: Takes = Takes::Workspace(Role::Participant);

/// What each call takes, and the request that it is called with. `$image`, `$workspace` are those of the story.
#[expect(clippy::too_many_lines, reason = "a table")]
fn expectations() -> BTreeMap<&'static str, (Takes, Value)> {
    let image = || json!({ "image": "$image" });
    let workspace = || json!({ "workspace": "$workspace" });
    let bob = || json!({ "workspace": "$workspace", "user": "zoe", "role": "ROLE_PARTICIPANT" });
    let build = || json!({ "image": "$image", "build": "bld_01ARZ3NDEKTSV4RRFFQ69G5FAV" });
    let zoe = || json!({ "image": "$image", "grantee": { "user": "zoe" }, "right": "RIGHT_READ" });
    let spec = json!({ "contextKind": "CONTEXT_KIND_LOCAL_FOLDER", "dockerfile": "FROM scratch\n" });
    BTreeMap::from([
        (
            "catalog.v1.WorkspaceService/CreateWorkspace",
            (Takes::Token, json!({ "name": "new" })),
        ),
        ("catalog.v1.WorkspaceService/ListWorkspaces", (Takes::Token, json!({}))),
        ("catalog.v1.WorkspaceService/GetWorkspace", (MEMBER, workspace())),
        (
            "catalog.v1.WorkspaceService/AddMember",
            (Takes::Workspace(Role::Owner), bob()),
        ),
        (
            "catalog.v1.WorkspaceService/SetMemberRole",
            (Takes::Workspace(Role::Owner), bob()),
        ),
        (
            "catalog.v1.WorkspaceService/RemoveMember",
            (
                Takes::Workspace(Role::Owner),
                json!({ "workspace": "$workspace", "user": "zoe" }),
            ),
        ),
        (
            "catalog.v1.ImageService/CreateImage",
            (Takes::Membership, json!({ "workspace": "$workspace", "name": "$new" })),
        ),
        ("catalog.v1.ImageService/GetImage", (READ, image())),
        ("catalog.v1.ImageService/ListImages", (MEMBER, workspace())),
        (
            "catalog.v1.ImageService/RenameImage",
            (WRITE, json!({ "image": "$image", "name": "$new" })),
        ),
        (
            "catalog.v1.ImageService/DescribeImage",
            (WRITE, json!({ "image": "$image", "description": "new" })),
        ),
        ("catalog.v1.ImageService/DeleteImage", (OWNER, image())),
        (
            "catalog.v1.ImageService/CheckName",
            (Takes::Token, json!({ "name": "$new" })),
        ),
        ("catalog.v1.ImageService/WatchImages", (MEMBER, workspace())),
        ("catalog.v1.AccessService/Grant", (MANAGE, zoe())),
        (
            "catalog.v1.AccessService/Revoke",
            (MANAGE, json!({ "image": "$image", "grantee": { "user": "zoe" } })),
        ),
        ("catalog.v1.AccessService/ListGrants", (READ, image())),
        ("catalog.v1.AccessService/CheckAccess", (Takes::Insight, image())),
        ("catalog.v1.HistoryService/GetImageHistory", (READ, image())),
        ("catalog.v1.HistoryService/VerifyHistory", (Takes::Inside, image())),
        ("catalog.v1.HistoryService/GetImageAsOf", (READ, image())),
        ("catalog.v1.HistoryService/QueryEvents", (MEMBER, workspace())),
        (
            "editor.v1.EditorService/SaveSpec",
            (WRITE, json!({ "image": "$image", "spec": spec })),
        ),
        ("editor.v1.EditorService/GetSpec", (READ, image())),
        ("editor.v1.EditorService/ListRevisions", (READ, image())),
        ("editor.v1.EditorService/DiffRevisions", (READ, image())),
        ("editor.v1.EditorService/LintDockerfile", (WRITE, image())),
        (
            "editor.v1.EditorService/RestoreRevision",
            (WRITE, json!({ "image": "$image", "revision": 1 })),
        ),
        (
            "editor.v1.EditorService/UploadContext",
            (WRITE, json!({ "start": { "image": "$image" } })),
        ),
        ("builder.v1.BuildService/RepeatBuild", (OWNER, build())),
        (
            "editor.v1.EditorService/CheckRepository",
            (Takes::Token, json!({ "git": { "url": "file:///etc" } })),
        ),
        (
            "builder.v1.BuildService/StartBuild",
            (OWNER, json!({ "image": "$image" })),
        ),
        ("builder.v1.BuildService/CancelBuild", (OWNER, build())),
        ("builder.v1.BuildService/GetBuild", (READ, build())),
        ("builder.v1.BuildService/ListBuilds", (READ, image())),
        ("builder.v1.BuildService/StreamLog", (READ, build())),
        ("builder.v1.BuildService/WatchBuild", (READ, build())),
        ("builder.v1.BuildService/GetQueue", (MEMBER, workspace())),
        ("registry.v1.RegistryService/ListTags", (READ, image())),
        ("registry.v1.RegistryService/InspectImage", (READ, image())),
        ("registry.v1.RegistryService/ResolveReference", (READ, image())),
        ("registry.v1.RegistryService/RetryPush", (OWNER, build())),
        ("notifier.v1.EventService/Subscribe", (READ, image())),
        ("admin.v1.AdminService/ListViews", (Takes::Administrator, json!({}))),
        (
            "admin.v1.AdminService/RebuildView",
            (Takes::Administrator, json!({ "name": "access" })),
        ),
    ])
}

/// Somebody, and what the story made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Anonymous,
    Stranger,
    FormerOwner,
    Reader,
    Administrator,
    Writer,
    Manager,
    Participant,
    Owner,
}

/// Whoever may end what the others need comes last.
const EVERYBODY: [Who; 9] = [
    Who::Anonymous,
    Who::Stranger,
    Who::FormerOwner,
    Who::Reader,
    Who::Administrator,
    Who::Writer,
    Who::Manager,
    Who::Participant,
    Who::Owner,
];

/// What somebody is told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// Whatever comes of it, it is not a matter of rights.
    Allowed,
    /// The same bytes as if it did not exist.
    Absent,
    Refused(&'static str),
    NoToken,
}

impl Who {
    fn right(self) -> Option<Right> {
        match self {
            Self::Anonymous | Self::Stranger | Self::FormerOwner => None,
            Self::Reader | Self::Administrator => Some(Right::Read),
            Self::Writer | Self::Participant => Some(Right::Write),
            Self::Manager => Some(Right::Manage),
            Self::Owner => Some(Right::Owner),
        }
    }

    fn role(self) -> Option<Role> {
        match self {
            Self::Participant => Some(Role::Participant),
            Self::Owner => Some(Role::Owner),
            _ => None,
        }
    }

    fn is_told(self, takes: Takes) -> Told {
        let right = self.right();
        match takes {
            _ if self == Self::Anonymous => Told::NoToken,
            Takes::Token => Told::Allowed,
            Takes::Administrator if self == Self::Administrator => Told::Allowed,
            Takes::Administrator => Told::Refused("ADMIN_ONLY"),
            Takes::Image(_) | Takes::Insight | Takes::Inside if right.is_none() => Told::Absent,
            Takes::Image(needed) if right >= Some(needed) => Told::Allowed,
            Takes::Image(Right::Owner) => Told::Refused("OWNER_ONLY"),
            Takes::Image(Right::Manage) => Told::Refused("NEEDS_MANAGE"),
            Takes::Image(_) => Told::Refused("NEEDS_WRITE"),
            Takes::Insight if self.role().is_some() || right >= Some(Right::Manage) => Told::Allowed,
            Takes::Insight if self == Self::Administrator => Told::Allowed,
            Takes::Insight => Told::Refused("NEEDS_MANAGE"),
            Takes::Inside if self.role().is_some() || self == Self::Administrator => Told::Allowed,
            Takes::Inside => Told::Refused("MEMBERS_ONLY"),
            Takes::Membership if self.role().is_some() => Told::Allowed,
            Takes::Workspace(Role::Owner) => match self.role() {
                Some(Role::Owner) => Told::Allowed,
                None if self != Self::Administrator => Told::Absent,
                _ => Told::Refused("OWNER_ONLY"),
            },
            Takes::Workspace(_) if self.role().is_some() || self == Self::Administrator => Told::Allowed,
            Takes::Membership | Takes::Workspace(_) => Told::Absent,
        }
    }
}

/// A workspace with an image, and everybody in it.
#[derive(Clone)]
struct Story {
    users: BTreeMap<Who, User>,
    workspace: String,
    image: String,
}

impl Story {
    async fn begin(platform: &Platform, number: usize) -> Self {
        let name = |who: Who| format!("{who:?}-{number}");
        let users: BTreeMap<Who, User> = EVERYBODY
            .into_iter()
            .map(|who| {
                let user = match who {
                    Who::Anonymous => platform.bearer(""),
                    Who::Administrator => platform.administrator(&name(who)),
                    _ => platform.user(&name(who)),
                };
                (who, user.unwrap())
            })
            .collect();
        let owner = &users[&Who::Owner];
        let workspace = owner.workspace(&format!("matrix-{number}")).await.unwrap();
        let image = owner
            .image(&workspace, &format!("matrix/story-{number}"))
            .await
            .unwrap();
        for (who, role) in [(Who::Participant, Role::Participant), (Who::FormerOwner, Role::Owner)] {
            add_member(owner, &workspace, &name(who), role).await.unwrap();
        }
        for (who, right) in [
            (Who::Reader, Right::Read),
            (Who::Writer, Right::Write),
            (Who::Manager, Right::Manage),
        ] {
            grant_to(owner, &image, &name(who), right).await.unwrap();
        }
        let last = remove_member(owner, &workspace, &name(Who::FormerOwner)).await.unwrap();
        for user in users.values() {
            user.saw(last);
        }
        Self {
            users,
            workspace,
            image,
        }
    }

    /// The same people before something that does not exist.
    fn of_nothing(&self) -> Self {
        Self {
            workspace: "ws_01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
            image: "img_01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
            ..self.clone()
        }
    }

    fn without_ids(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        text.replace(&self.image, "$image")
            .replace(&self.workspace, "$workspace")
    }

    async fn call(&self, who: Who, method: &MethodDescriptor, request: &Value, new: &str) -> Result<(), Status> {
        let text = request
            .to_string()
            .replace("$image", &self.image)
            .replace("$workspace", &self.workspace)
            .replace("$new", new);
        call(&self.users[&who], method, &text).await
    }
}

async fn call(user: &User, method: &MethodDescriptor, request: &str) -> Result<(), Status> {
    let mut json = serde_json::Deserializer::from_str(request);
    let message = DynamicMessage::deserialize(method.input(), &mut json).unwrap();
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).unwrap();
    let mut client = user.any();
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let messages = tokio_stream::once(message.encode_to_vec());
    // What is refused is refused before the first answer.
    client.streaming(Request::new(messages), path, Raw).await.map(drop)
}

fn told(outcome: Result<(), Status>) -> (Told, Vec<u8>) {
    let Err(status) = outcome else {
        return (Told::Allowed, Vec::new());
    };
    let told = match (status.code(), reason(&status).as_str()) {
        (Code::Unauthenticated, _) => Told::NoToken,
        (Code::NotFound, "NO_SUCH_IMAGE" | "NO_SUCH_WORKSPACE") => Told::Absent,
        (Code::PermissionDenied, "OWNER_ONLY") => Told::Refused("OWNER_ONLY"),
        (Code::PermissionDenied, "NEEDS_WRITE") => Told::Refused("NEEDS_WRITE"),
        (Code::PermissionDenied, "MEMBERS_ONLY") => Told::Refused("MEMBERS_ONLY"),
        (Code::PermissionDenied, "NEEDS_MANAGE") => Told::Refused("NEEDS_MANAGE"),
        (Code::PermissionDenied, "ADMIN_ONLY") => Told::Refused("ADMIN_ONLY"),
        (Code::PermissionDenied, other) => panic!("{other}: {status:?}"),
        (Code::Unknown | Code::Unimplemented | Code::Internal | Code::Unavailable, _) => panic!("{status:?}"),
        _ => Told::Allowed,
    };
    (told, [status.message().as_bytes(), status.details()].concat())
}

// covers R6, R8, R101, R122, R123, R124, R125
#[tokio::test]
async fn everybody_may_what_the_table_says() {
    let platform = Platform::start(Shape::One).await.unwrap();
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let expectations = expectations();
    let mut unmet: BTreeSet<&str> = expectations.keys().copied().collect();
    let methods: Vec<MethodDescriptor> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect();
    for (number, method) in methods.iter().enumerate() {
        let name = method.full_name().replace("cooperage.", "");
        let name = name
            .rsplit_once('.')
            .map(|(service, method)| format!("{service}/{method}"))
            .unwrap();
        let Some((takes, request)) = expectations.get(name.as_str()) else {
            panic!("nothing says who may call {name}");
        };
        unmet.remove(name.as_str());
        let story = Story::begin(&platform, number).await;
        for who in EVERYBODY {
            let new = format!("matrix/new-{number}-{}", format!("{who:?}").to_lowercase());
            let (told_it, bytes) = told(story.call(who, method, request, &new).await);
            assert_eq!(
                told_it,
                who.is_told(*takes),
                "{name} by {who:?}: {}",
                String::from_utf8_lossy(&bytes)
            );
            if told_it == Told::Absent {
                let nothing = story.of_nothing();
                let (_, of_nothing) = told(nothing.call(who, method, request, &new).await);
                assert_eq!(
                    story.without_ids(&bytes),
                    nothing.without_ids(&of_nothing),
                    "{name} by {who:?}"
                );
            }
        }
    }
    assert!(unmet.is_empty(), "no such call: {unmet:?}");
}
