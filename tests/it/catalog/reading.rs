//! Reading: one's own writes, lists, what changes, and what happened.

use super::{Given, given};
use eventlog::Clock;
use proto::catalog::v1::{
    AddMemberRequest, DeleteImageRequest, DescribeImageRequest, GetImageHistoryRequest, ImageStatus, ListImagesRequest,
    RemoveMemberRequest, Role, WatchImagesRequest, WatchImagesResponse,
};
use std::time::{Duration, Instant, SystemTime};
use tests::{User, detail, dump, reason};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

const WITHIN: Duration = Duration::from_secs(20);

async fn describe(given: &Given, image: &str, description: &str) -> u64 {
    let describe = DescribeImageRequest {
        image: image.to_owned(),
        description: description.to_owned(),
        ..DescribeImageRequest::default()
    };
    let described = given.ada.images().describe_image(describe).await.unwrap();
    given.ada.saw(described.into_inner().position)
}

// covers R11, R13, R16, R19, R21
#[tokio::test]
async fn one_reads_ones_own_writes() {
    let given = given().await;
    for n in 0..50 {
        let name = format!("vision/tool-{n}");
        let image = given.ada.image(&given.workspace, &name).await.unwrap();
        let text = format!("description {n}");
        describe(&given, &image, &text).await;
        let tile = given.ada.tile(&name).await.unwrap();
        assert_eq!(
            (tile.status(), tile.description, tile.id),
            (ImageStatus::NotBuilt, text, image)
        );
        let created = tile.created.unwrap();
        assert_eq!(created.actor, "ada");
        assert!(created.time.is_some() && tile.modified.is_none() && tile.built.is_none());
    }
}

#[tokio::test]
async fn a_position_that_the_log_does_not_have_fails_at_once() {
    let given = given().await;
    let head = given.head().await;
    given.ada.saw(head + 1_000);
    let asked = Instant::now();
    let behind = given.ada.workspace("another").await.unwrap_err();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(
        (behind.code(), reason(&behind).as_str()),
        (Code::Unavailable, "VIEW_BEHIND")
    );
    assert!(behind.message().contains("it has no position"), "{}", behind.message());
    let positions = [detail(&behind, "head"), detail(&behind, "wanted")];
    assert_eq!(positions, [head.to_string(), (head + 1_000).to_string()]);
}

// covers R9, R109
#[tokio::test]
async fn a_list_comes_in_pages_by_name() {
    let given = given().await;
    for n in [3, 1, 4, 0, 2] {
        given
            .ada
            .image(&given.workspace, &format!("vision/tool-{n}"))
            .await
            .unwrap();
    }
    let other = given.ada.workspace("other").await.unwrap();
    given.ada.image(&other, "other/tool").await.unwrap();
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let page = ListImagesRequest {
            workspace: given.workspace.clone(),
            page_size: 2,
            page_token: token,
            ..ListImagesRequest::default()
        };
        let page = given.ada.images().list_images(page).await.unwrap().into_inner();
        assert!(page.images.len() <= 2);
        found.extend(page.images.into_iter().map(|image| image.name.unwrap().path));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(found, (0..5).map(|n| format!("vision/tool-{n}")).collect::<Vec<_>>());
    let filtered = ListImagesRequest {
        name_contains: "tool-3".to_owned(),
        statuses: vec![ImageStatus::NotBuilt.into()],
        ..ListImagesRequest::default()
    };
    assert_eq!(
        given
            .ada
            .images()
            .list_images(filtered)
            .await
            .unwrap()
            .into_inner()
            .images
            .len(),
        1
    );
    let built = ListImagesRequest {
        statuses: vec![ImageStatus::Built.into()],
        ..ListImagesRequest::default()
    };
    assert_eq!(
        given
            .ada
            .images()
            .list_images(built)
            .await
            .unwrap()
            .into_inner()
            .images
            .len(),
        0
    );
    for wrong in [
        ListImagesRequest {
            page_size: 1_001,
            ..ListImagesRequest::default()
        },
        ListImagesRequest {
            page_token: "nonsense".to_owned(),
            ..ListImagesRequest::default()
        },
    ] {
        let refused = given.ada.images().list_images(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
}

async fn next(tiles: &mut Streaming<WatchImagesResponse>) -> Result<WatchImagesResponse, Status> {
    let next = timeout(WITHIN, tiles.message()).await;
    next.map_err(|_| Status::deadline_exceeded("nothing came"))??
        .ok_or_else(|| Status::cancelled("the stream ended"))
}

// covers R9, R11
#[tokio::test]
async fn a_watch_shows_the_tiles_and_then_each_that_changes() {
    let given = given().await;
    let first = given.ada.image(&given.workspace, "vision/one").await.unwrap();
    let (bob, _) = given.stranger("bob").await;
    let add = AddMemberRequest {
        workspace: given.workspace.clone(),
        user: "bob".to_owned(),
        role: Role::Participant.into(),
        ..AddMemberRequest::default()
    };
    bob.saw(
        given
            .ada
            .workspaces()
            .add_member(add)
            .await
            .unwrap()
            .into_inner()
            .position,
    );
    let watch = WatchImagesRequest {
        workspace: given.workspace.clone(),
    };
    let mut tiles = bob.images().watch_images(watch).await.unwrap().into_inner();
    assert_eq!(next(&mut tiles).await.unwrap().image.unwrap().id, first);
    let caught_up = next(&mut tiles).await.unwrap();
    assert!(caught_up.caught_up && caught_up.image.is_none());

    let second = given.ada.image(&given.workspace, "vision/two").await.unwrap();
    let tile = next(&mut tiles).await.unwrap();
    assert_eq!(tile.image.unwrap().id, second);
    let position = describe(&given, &first, "changed").await;
    let tile = next(&mut tiles).await.unwrap();
    assert_eq!(tile.position, position);
    let image = tile.image.unwrap();
    assert_eq!((image.id, image.description), (first.clone(), "changed".to_owned()));
    let delete = DeleteImageRequest {
        image: first.clone(),
        ..DeleteImageRequest::default()
    };
    given.ada.images().delete_image(delete).await.unwrap();
    let image = next(&mut tiles).await.unwrap().image.unwrap();
    assert!(image.deleted && image.id == first);

    // Who is no member any more sees nothing more.
    let remove = RemoveMemberRequest {
        workspace: given.workspace.clone(),
        user: "bob".to_owned(),
        ..RemoveMemberRequest::default()
    };
    given.ada.workspaces().remove_member(remove).await.unwrap();
    let ended = next(&mut tiles).await.unwrap_err();
    assert_eq!(reason(&ended), "NO_SUCH_WORKSPACE");
}

/// A watch that has shown all there is.
async fn watching(user: &User, workspace: &str) -> Streaming<WatchImagesResponse> {
    let watch = WatchImagesRequest {
        workspace: workspace.to_owned(),
    };
    let mut tiles = user.images().watch_images(watch).await.unwrap().into_inner();
    while !next(&mut tiles).await.unwrap().caught_up {}
    tiles
}

// covers R8
#[tokio::test]
async fn a_watch_ends_with_the_token_it_was_asked_with() {
    let given = given().await;
    // A token lives an hour.
    let left = Duration::from_secs(5);
    let now = SystemTime::UNIX_EPOCH + SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let clock = Clock::fixed(now + left - Duration::from_hours(1));
    let brief = given
        .home
        .bearer(&given.home.token("ada", false, &clock).unwrap())
        .unwrap();
    brief.saw(given.ada.saw(0));
    let mut tiles = watching(&brief, &given.workspace).await;
    let ended = next(&mut tiles).await.unwrap_err();
    assert_eq!(
        (ended.code(), reason(&ended).as_str()),
        (Code::Unauthenticated, "TOKEN_EXPIRED")
    );
    let request = ListImagesRequest::default();
    let again = brief.images().list_images(request).await.unwrap_err();
    assert_eq!(reason(&again), "TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_watch_does_not_seem_over_when_the_service_stops() {
    let mut given = given().await;
    let mut tiles = watching(&given.ada, &given.workspace).await;
    let (ended, stopped) = tokio::join!(next(&mut tiles), given.home.stop());
    stopped.unwrap();
    let ended = ended.unwrap_err();
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "STOPPING"));
}

#[tokio::test]
async fn hundreds_of_watches_share_a_connection() {
    let given = given().await;
    let mut all = Vec::new();
    for _ in 0..300 {
        all.push(watching(&given.ada, &given.workspace).await);
    }
    let image = given.ada.image(&given.workspace, "vision/tool").await.unwrap();
    for tiles in &mut all {
        assert_eq!(next(tiles).await.unwrap().image.unwrap().id, image);
    }
}

// covers R21, E9, E17
#[tokio::test]
async fn history_tells_everything_and_outlives_the_image() {
    let given = given().await;
    let image = given.ada.image(&given.workspace, "vision/tool").await.unwrap();
    for n in 0..5 {
        describe(&given, &image, &format!("description {n}")).await;
    }
    let delete = DeleteImageRequest {
        image: image.clone(),
        ..DeleteImageRequest::default()
    };
    let deleted = given
        .ada
        .images()
        .delete_image(delete)
        .await
        .unwrap()
        .into_inner()
        .position;
    given.ada.saw(deleted);
    for reference in [image.as_str(), "vision/tool"] {
        let (mut entries, mut token) = (Vec::new(), String::new());
        loop {
            let page = GetImageHistoryRequest {
                image: reference.to_owned(),
                page_size: 3,
                page_token: token,
            };
            let page = given.ada.history().get_image_history(page).await.unwrap().into_inner();
            entries.extend(page.entries);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let types: Vec<&str> = entries.iter().map(|entry| entry.r#type.as_str()).collect();
        let mut expected = vec!["image.deleted"];
        expected.extend(["image.described"; 5]);
        expected.push("image.created");
        assert_eq!(types, expected);
        assert!(entries.is_sorted_by(|newer, older| newer.position > older.position));
        for entry in &entries {
            assert!(
                entry.actor == "ada" && !entry.summary.is_empty() && entry.time.is_some(),
                "{entry:?}"
            );
            assert_eq!((entry.request_id.len(), entry.after_deletion), (26, false));
        }
    }
}

// covers E2
#[tokio::test]
async fn everything_is_there_after_a_restart_and_rebuilt_views_are_the_same() {
    let mut given = given().await;
    for n in 0..20 {
        let image = given
            .ada
            .image(&given.workspace, &format!("vision/tool-{n}"))
            .await
            .unwrap();
        describe(&given, &image, &format!("description {n}")).await;
    }
    let seen = given.ada.saw(0);
    given.home.stop().await.unwrap();
    given.home.go_on().await.unwrap();
    let ada = given.home.user("ada").unwrap();
    ada.saw(seen);
    assert_eq!(ada.tile("vision/tool-7").await.unwrap().description, "description 7");
    given.home.stop().await.unwrap();
    // Before the restart, the last entry may not have got to every view yet.
    let live = dump(&given.home.views()).await.unwrap();
    std::fs::remove_dir_all(given.home.views()).unwrap();
    given.home.go_on().await.unwrap();
    given.home.stop().await.unwrap();
    assert_eq!(dump(&given.home.views()).await.unwrap(), live);
}
