//! Subscribe: what a caller may see, from any event on, for as long as it may.

use super::platform::{History, Notifier, Subscribers, image, next, workspace};
use eventlog::Position;
use proto::notifier::v1::SubscribeRequest;
use tests::NatsServer;
use tonic::Code;

fn all() -> SubscribeRequest {
    SubscribeRequest {
        after_position: Some(0),
        ..SubscribeRequest::default()
    }
}

fn live(workspace: String) -> SubscribeRequest {
    SubscribeRequest {
        workspace,
        follow: true,
        ..SubscribeRequest::default()
    }
}

/// Two teams with an image each.
async fn two_teams(history: &History) -> Position {
    history.founded(1, "ada").await;
    history.founded(2, "bob").await;
    history.created(1, 1, "ada/tool").await;
    history.created(2, 2, "bob/tool").await;
    history.described(1, "of ada").await
}

async fn refused(subscribers: &Subscribers, user: &str, written: Position, wanted: SubscribeRequest) -> (Code, String) {
    let status = subscribers.subscribe(user, written, wanted).await.unwrap_err();
    (status.code(), status.message().to_owned())
}

// covers E7, R8
#[tokio::test]
async fn a_subscriber_gets_what_it_may_see_of_what_it_asked_for() {
    let server = NatsServer::start().await.unwrap();
    let notifier = Notifier::of(&server);
    let history = History::of(&server).await;
    let written = two_teams(&history).await;
    let test = async |subscribers: Subscribers| {
        assert_eq!(subscribers.ids("ada", written, all()).await, ["1.0", "3.0", "5.0"]);
        assert_eq!(subscribers.ids("bob", written, all()).await, ["2.0", "4.0"]);
        assert_eq!(subscribers.ids("eve", written, all()).await, [""; 0]);
        let of_image = SubscribeRequest {
            image: "ada/tool".to_owned(),
            ..all()
        };
        assert_eq!(subscribers.ids("ada", written, of_image.clone()).await, ["3.0", "5.0"]);
        let types = SubscribeRequest {
            types: vec!["image.created".to_owned()],
            ..all()
        };
        assert_eq!(subscribers.ids("ada", written, types).await, ["3.0"]);
        let after = SubscribeRequest {
            after_position: Some(3),
            ..all()
        };
        assert_eq!(subscribers.ids("ada", written, after).await, ["5.0"]);
        let behind = SubscribeRequest {
            after_position: None,
            after_id: "1.0".to_owned(),
            ..all()
        };
        assert_eq!(subscribers.ids("ada", written, behind).await, ["3.0", "5.0"]);

        let unseen = refused(&subscribers, "eve", written, of_image.clone()).await;
        assert_eq!(
            unseen,
            (Code::NotFound, "no such image, or it is not shared with you".to_owned())
        );
        let absent = SubscribeRequest {
            image: "no/tool".to_owned(),
            ..all()
        };
        assert_eq!(refused(&subscribers, "eve", written, absent).await, unseen);
        let elsewhere = SubscribeRequest {
            image: image(1).to_string(),
            workspace: workspace(2).to_string(),
            ..all()
        };
        history.added(1, "bob").await;
        let written = history.described(1, "of both").await;
        assert_eq!(refused(&subscribers, "bob", written, elsewhere).await, unseen);
        let misspelt = SubscribeRequest {
            types: vec!["image.pusblished".to_owned()],
            ..all()
        };
        assert_eq!(
            refused(&subscribers, "ada", written, misspelt).await.0,
            Code::InvalidArgument
        );
        let beyond = SubscribeRequest {
            after_position: Some(1_000),
            ..all()
        };
        assert_eq!(refused(&subscribers, "ada", written, beyond).await.0, Code::Unavailable);
    };
    notifier.during(test).await;
}

// covers E7
#[tokio::test]
async fn a_follower_notices_nothing_of_a_restart_of_the_broker() {
    let mut server = NatsServer::start().await.unwrap();
    let notifier = Notifier::of(&server);
    let history = History::of(&server).await;
    let mut written = two_teams(&history).await;
    let test = async |subscribers: Subscribers| {
        let mut events = subscribers
            .subscribe("ada", written, live(String::new()))
            .await
            .unwrap();
        for round in 0..3 {
            written = history.described(1, &format!("{round}")).await;
            assert_eq!(next(&mut events).await.unwrap().id, format!("{written}.0"));
            server.restart().await.unwrap();
        }
        history.described(2, "not for ada").await;
        written = history.described(1, "at last").await;
        let event = next(&mut events).await.unwrap();
        assert_eq!((event.position, event.r#type.as_str()), (written.0, "image.described"));
        assert_eq!(
            event.data,
            "{\"name\":\"ada/tool\",\"description\":\"at last\",\"actor\":\"ada\"}"
        );
    };
    notifier.during(test).await;
}

// covers R8
#[tokio::test]
async fn rights_that_are_taken_away_cut_the_stream_and_new_ones_open_it() {
    let server = NatsServer::start().await.unwrap();
    let notifier = Notifier::of(&server);
    let history = History::of(&server).await;
    two_teams(&history).await;
    let written = history.added(1, "bob").await;
    let test = async |subscribers: Subscribers| {
        let mut of_ada = subscribers
            .subscribe("bob", written, live(workspace(1).to_string()))
            .await
            .unwrap();
        let mut of_all = subscribers
            .subscribe("bob", written, live(String::new()))
            .await
            .unwrap();
        let seen = history.described(1, "bob sees it").await;
        assert_eq!(next(&mut of_ada).await.unwrap().position, seen.0);
        assert_eq!(next(&mut of_all).await.unwrap().position, seen.0);

        history.removed(1, "bob").await;
        history.described(1, "bob does not").await;
        let own = history.described(2, "his own").await;
        assert_eq!(next(&mut of_ada).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(next(&mut of_all).await.unwrap().position, own.0);

        let back = history.added(1, "bob").await;
        assert_eq!(next(&mut of_all).await.unwrap().position, back.0);
    };
    notifier.during(test).await;
}
