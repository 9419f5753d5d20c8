//! `cooper up` where its data is not as it should be: it says so with the figures, and what can go on does.

use eventlog::{Append, Envelope, EventLog as _, Nats, Position, StreamId};
use prost::Message as _;
use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    time::Duration,
};
use tests::{Child, NatsServer, Platform, Shape, User, binary, reason};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{interval, timeout},
};

const WITHIN: Duration = Duration::from_secs(20);

async fn given() -> (Platform, User, String) {
    let platform = Platform::start(Shape::One).await.unwrap();
    let ada = platform.user("ada").unwrap();
    let workspace = ada.workspace("vision").await.unwrap();
    let image = ada.image(&workspace, "vision/tool").await.unwrap();
    (platform, ada, image)
}

/// `cooper up` once more, on the same data, anywhere else.
fn another(platform: &Platform) -> Command {
    let mut command = Command::new(binary("cooper").unwrap());
    command
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(platform.data())
        .env("COOPERAGE_REGISTRY__HOST", "127.0.0.1:0")
        .stdin(Stdio::null());
    command
}

async fn save(user: &User, image: &str, number: usize) -> u64 {
    let dockerfile = format!("FROM scratch\n# {number}\n");
    user.save(image, &dockerfile, None).await.unwrap().position
}

#[tokio::test]
async fn a_second_one_on_the_same_data_is_refused_and_does_not_disturb_the_first() {
    let (platform, ada, image) = given().await;
    save(&ada, &image, 1).await;
    let second = another(&platform).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(75), "{said}");
    let first = platform.child("cooper").unwrap();
    let sentence = format!(
        "is in use by `cooper up` (process {}): stop it, or choose another folder",
        first.pid()
    );
    assert!(said.contains(&sentence), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    save(&ada, &image, 2).await;
    assert_eq!(ada.revisions(&image).await.unwrap().len(), 2);
    // What was written is in the log of the first, which nobody else has opened.
    let mut platform = platform;
    platform.stop().unwrap();
    platform.go_on().await.unwrap();
    assert_eq!(ada.revisions(&image).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_older_log_under_newer_views_is_a_loud_stop_with_the_figures() {
    let (mut platform, ada, image) = given().await;
    let (store, backup) = (platform.data().join("nats/jetstream"), tempfile::tempdir().unwrap());
    let kept = save(&ada, &image, 1).await;
    platform.stop().unwrap();
    NatsServer::copy_store(&store, backup.path()).unwrap();
    platform.go_on().await.unwrap();
    let mut newest = 0;
    for number in 2..=6 {
        newest = save(&ada, &image, number).await;
    }
    platform.stop().unwrap();
    NatsServer::copy_store(backup.path(), &store).unwrap();

    let mut refused = Child::spawn("cooper up", &mut another(&platform)).unwrap();
    let ended = refused.ends().await.unwrap();
    let said = refused.said().join("\n");
    assert!(!ended.success(), "{said}");
    let figures = format!("the event log lost {} entries: it ends at {kept}", newest - kept);
    assert!(
        said.contains(&figures) && said.contains(&format!("has seen {newest}")),
        "{said}"
    );
    assert!(
        said.contains("Restore the log, or delete the views to accept the loss"),
        "{said}"
    );
    assert!(!said.contains("Cooperage is ready"), "{said}");

    // Who accepts it goes on from there; and nobody is told that a lost position is only late.
    fs::remove_dir_all(platform.data().join("views")).unwrap();
    platform.go_on().await.unwrap();
    let lost = ada.revisions(&image).await.unwrap_err();
    assert_eq!(reason(&lost), "VIEW_BEHIND");
    assert_eq!(
        lost.message(),
        format!("the log ends at {kept}, it has no position {newest}")
    );
    let again = platform.user("ada").unwrap();
    assert_eq!(again.revisions(&image).await.unwrap().len(), 1);
    assert_eq!(save(&again, &image, 2).await, kept + 1);
}

#[tokio::test]
async fn an_event_that_this_build_does_not_know_stops_only_the_views_that_read_it() {
    let (mut platform, ada, image) = given().await;
    let known = save(&ada, &image, 1).await;
    let unknown = from_the_future(&platform, "builds", &image).await;
    // What reads it stops, and can't be compared.
    platform.leave();
    assert_eq!(unknown, Position(known + 1));
    for is_restarted in [false, true] {
        if is_restarted {
            platform.stop().unwrap();
            platform.go_on().await.unwrap();
        }
        let health = halted_views(&platform, &["builder", "catalog"]).await;
        for (view, (position, cause)) in &health {
            assert_eq!(*position, known, "{view}");
            assert!(cause.contains(&format!(
                "the entry at {unknown} holds an event that this build does not know, upgrade it"
            )));
        }
        assert!(!health.contains_key("editor"), "{health:?}");

        // What stands on the others goes on.
        let revisions = ada.revisions(&image).await.unwrap().len();
        save(&ada, &image, revisions + 1).await;
        assert_eq!(ada.revisions(&image).await.unwrap().len(), revisions + 1);
        // Who needs what is not there is told at once why, and others still read what there was.
        let refused = timeout(WITHIN, ada.tile(&image)).await.unwrap().unwrap_err();
        assert_eq!(reason(&refused), "VIEW_BEHIND");
        assert!(
            refused.message().contains("this build does not know, upgrade it"),
            "{}",
            refused.message()
        );
        let tile = platform.user("ada").unwrap().tile(&image).await.unwrap();
        assert_eq!(tile.current_revision, 1);
    }
}

/// Writes what a newer build would, as the service that owns the category.
async fn from_the_future(platform: &Platform, category: &str, key: &str) -> Position {
    let account = eventlog::ACCOUNTS
        .iter()
        .find(|account| account.categories.contains(&category))
        .unwrap();
    let config = platform.nats_config(account.name).unwrap();
    let log = Nats::connect(&config).await.unwrap().log().await.unwrap();
    let envelope = Envelope {
        schema: 1,
        events: vec![vec![0xfa, 0x3e, 0x01, b'?'].into()],
        ..Envelope::default()
    };
    let stream = StreamId::new(category, key);
    let append = Append {
        expected: log.version(&stream).await.unwrap(),
        stream,
        bytes: envelope.encode_to_vec().into(),
    };
    log.append(vec![append]).await.unwrap()
}

/// As `/healthz` tells it, once it names these: view, where it stopped, and why.
async fn halted_views(platform: &Platform, wanted: &[&str]) -> BTreeMap<String, (u64, String)> {
    let mut tick = interval(Duration::from_millis(20));
    let told = async {
        loop {
            tick.tick().await;
            let halted: BTreeMap<String, (u64, String)> = healthz(platform)
                .await
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|facts| {
                    let why = facts["halted"].as_str()?.to_owned();
                    Some((facts["view"].as_str()?.to_owned(), (facts["position"].as_u64()?, why)))
                })
                .collect();
            if wanted.iter().all(|view| halted.contains_key(*view)) {
                break halted;
            }
        }
    };
    timeout(WITHIN, told).await.expect("nobody is told")
}

async fn healthz(platform: &Platform) -> serde_json::Value {
    let mut connection = TcpStream::connect(platform.address()).await.unwrap();
    let ask = format!(
        "GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        platform.address()
    );
    connection.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}
