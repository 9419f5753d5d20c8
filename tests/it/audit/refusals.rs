//! What users were refused is told too.

use super::{describe, of_type, query, two_teams};
use eventlog::{EventLog as _, Position, REFUSALS};
use futures::StreamExt as _;
use proto::{
    catalog::v1::{
        AddMemberRequest, GetImageHistoryRequest, GetImageRequest, GrantRequest, HistoryEntry, QueryEventsRequest,
        Right, Role,
    },
    editor::v1::GetSpecRequest,
    events::RefusalEvent,
};
use std::time::Duration;
use tests::{Home, User, reason};
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(20);
const SERVICES: &[service::Service] = &[catalog::SERVICE, editor::SERVICE];

async fn home() -> Home {
    Home::with(SERVICES, |config| config.with("audit.refusals_seconds", 1))
        .await
        .unwrap()
}

/// Waits until so many attempts are recorded, and lets a user see them.
async fn recorded(home: &Home, attempts: u32, user: &User) {
    let log = home.server.connect("notifier").await.unwrap().log().await.unwrap();
    let mut stored = log.follow(Position(0)).await.unwrap();
    let counted = async {
        let mut count = 0;
        while count < attempts {
            let entry = stored.next().await.unwrap().unwrap();
            if entry.stream.category == REFUSALS {
                for event in entry.events().unwrap() {
                    match event {
                        RefusalEvent::Refused(event) => count += event.times,
                        RefusalEvent::Others(event) => count += event.times,
                    }
                }
                user.saw(entry.position.0);
            }
        }
    };
    timeout(WITHIN, counted).await.expect("nothing was recorded");
}

async fn refused(user: &User) -> Vec<HistoryEntry> {
    query(user, of_type("access.refused")).await.unwrap()
}

// covers E9
#[tokio::test]
async fn refused_attempts_are_told_once_with_their_number() {
    let home = home().await;
    let (ada, bob, vision, image) = two_teams(&home).await;
    let (eve, root) = (home.user("eve").unwrap(), home.administrator("root").unwrap());
    for user in [&eve, &root] {
        user.saw(ada.saw(0));
    }
    // Seen, and not allowed.
    let add = AddMemberRequest {
        workspace: vision.clone(),
        user: "eve".to_owned(),
        role: Role::Owner.into(),
        ..AddMemberRequest::default()
    };
    let denied = bob.workspaces().add_member(add).await.unwrap_err();
    assert_eq!(reason(&denied), "OWNER_ONLY");
    recorded(&home, 1, &ada).await;
    let told = refused(&ada).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&*told[0].actor, &told[0].workspace), ("bob", &vision));
    assert_eq!(
        told[0].summary,
        format!("was refused: AddMember on {vision} (OWNER_ONLY)")
    );

    // Not seen, and all the same for those to know whose it is.
    let get = GetImageRequest { image: image.clone() };
    for _ in 0..3 {
        let hidden = eve.images().get_image(get.clone()).await.unwrap_err();
        assert_eq!(reason(&hidden), "NO_SUCH_IMAGE");
    }
    let spec = GetSpecRequest {
        image: "vision/tool".to_owned(),
        ..GetSpecRequest::default()
    };
    eve.editor().get_spec(spec).await.unwrap_err();
    // bob's, and four of eve's.
    recorded(&home, 5, &root).await;
    let told = refused(&root).await;
    let of_eve = told.iter().filter(|entry| entry.actor == "eve");
    let (mut looked, mut read) = (0, 0);
    for entry in of_eve {
        assert_eq!((&entry.image, &entry.workspace), (&image, &vision));
        let said = entry.summary.as_str();
        // They may have met the end of the second.
        let times = said
            .split_once("), ")
            .map_or(1, |(_, times)| times[..1].parse().unwrap());
        if said.starts_with(&format!("was refused: GetImage on {image} (NO_SUCH_IMAGE)")) {
            looked += times;
        } else {
            assert_eq!(said, "was refused: GetSpec on vision/tool (NO_SUCH_IMAGE)");
            read += times;
        }
    }
    assert_eq!((looked, read), (3, 1));
    assert_eq!(refused(&eve).await, []);
    assert_eq!(refused(&ada).await, told);
}

// covers E9
#[tokio::test]
async fn a_refused_change_of_an_image_is_for_the_audit_and_not_its_history() {
    let mut home = home().await;
    let (ada, _, vision, image) = two_teams(&home).await;
    let grant = GrantRequest {
        image: image.clone(),
        grantee: Some((&access::Grantee::User("eve".to_owned())).into()),
        right: Right::Read.into(),
        ..GrantRequest::default()
    };
    let granted = ada.access().grant(grant).await.unwrap().into_inner();
    let eve = home.user("eve").unwrap();
    eve.saw(ada.saw(granted.position));
    let denied = describe(&eve, "vision/tool", "mine").await.unwrap_err();
    assert_eq!(reason(&denied), "NEEDS_WRITE");
    // What is not written yet is when the service stops.
    home.stop().await.unwrap();
    home.go_on().await.unwrap();
    let (ada, bob) = (home.user("ada").unwrap(), home.user("bob").unwrap());
    recorded(&home, 1, &bob).await;
    ada.saw(bob.saw(0));
    let told = refused(&bob).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&*told[0].actor, &told[0].image, &told[0].workspace, &*told[0].summary),
        (
            "eve",
            &image,
            &vision,
            "was refused: DescribeImage on vision/tool (NEEDS_WRITE)"
        )
    );
    let history = GetImageHistoryRequest {
        image: image.clone(),
        ..GetImageHistoryRequest::default()
    };
    let history = ada.history().get_image_history(history).await.unwrap().into_inner();
    let kinds: Vec<&str> = history.entries.iter().map(|entry| entry.r#type.as_str()).collect();
    assert_eq!(kinds, ["access.granted", "image.created"]);
    // The image is shared with eve, its workspace's audit is not.
    let eve = home.user("eve").unwrap();
    eve.saw(bob.saw(0));
    let of_image = QueryEventsRequest {
        image,
        ..QueryEventsRequest::default()
    };
    assert_eq!(query(&eve, of_image).await.unwrap(), []);
}
