//! What operators do with `cooper`, and what `deploy/` ships for them.

mod views;

use eventlog::{ACCOUNTS, Nats, NatsConfig};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};
use tests::{Child, Platform, Port, Shape, binary, program};

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn cooper(words: &[&str]) -> String {
    let output = Command::new(binary("cooper").unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The server's settings as `deploy/` has them, at another place.
fn shipped(folder: &Path, port: &Port) -> String {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nats.conf")).unwrap();
    let moved = text
        .replace("port: 4222", &format!("listen: {:?}", port.address().to_string()))
        .replace(
            "store_dir: /data",
            &format!("store_dir: \"{}\"", folder.join("store").display()),
        );
    assert_eq!(
        moved.lines().filter(|line| !text.contains(line)).count(),
        2,
        "both were replaced"
    );
    moved
}

// covers E10
#[tokio::test]
async fn the_accounts_that_are_made_let_each_service_in_and_nobody_else() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("secrets");
    let made = cooper(&["admin", "nats-config", folder.to_str().unwrap(), "-q"]);
    assert_eq!(made.lines().count(), ACCOUNTS.len() + 3, "{made}");

    let port = Port::pick().unwrap();
    let settings = folder.join("nats.conf");
    fs::write(&settings, shipped(home.path(), &port)).unwrap();
    let mut command = Command::new(program("nats-server"));
    let server = Child::spawn("nats-server", command.arg("-c").arg(settings)).unwrap();
    server.says("Server is ready").await.unwrap();
    for account in &ACCOUNTS {
        let file = folder.join(format!("{}.password", account.name));
        let config = NatsConfig {
            url: format!("nats://{}", port.address()),
            user: account.name.to_owned(),
            password: fs::read_to_string(file).unwrap(),
            replicas: 1,
            log_bytes_max: 32 << 30,
            output_bytes_max: 8 << 30,
        };
        Nats::connect(&config).await.unwrap().prepare(&config).await.unwrap();
        let stranger = NatsConfig {
            password: "guessed".to_owned(),
            ..config
        };
        assert!(Nats::connect(&stranger).await.is_err(), "{}", account.name);
    }
}

#[test]
fn a_token_needs_a_key_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let words = ["token", "create", "--keys", folder, "--user", "ada"];
    let refused = Command::new(binary("cooper").unwrap()).args(words).output().unwrap();
    assert_eq!(refused.status.code(), Some(65));
    assert_eq!(
        said(&refused),
        format!("error: {folder} has no token.key of `cooper admin nats-config`: name it with --keys\n")
    );
    cooper(&["admin", "nats-config", folder]);
    assert_eq!(cooper(&words).trim().split('.').count(), 3);
}

#[tokio::test]
async fn the_limits_of_a_private_log_grow_with_their_settings_and_never_shrink() {
    const LOG: &str = "COOPERAGE_NATS__LOG_BYTES_MAX";
    let mut platform = Platform::with(Shape::One, &[(LOG, "50000000")]).await.unwrap();
    platform.user("ada").unwrap().workspace("vision").await.unwrap();
    platform.stop().unwrap();

    platform.set(LOG, "60000000");
    platform.set("COOPERAGE_NATS__OUTPUT_BYTES_MAX", "600000000000");
    platform.go_on().await.unwrap();
    let mut ls = platform.cooper("ada").unwrap();
    let list = said(&ls.args(["workspace", "ls"]).output().unwrap());
    assert!(list.contains("vision"), "{list}");
    platform.stop().unwrap();

    platform.set(LOG, "50000000");
    let refused = platform.go_on().await.unwrap_err().to_string();
    assert!(
        refused.contains(
            "the stream LOG may have 60000000 bytes and never shrinks: set nats.log_bytes_max to at least that, not \
             50000000"
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn the_limits_of_a_server_apart_are_raised_by_its_operator() {
    const LOG: &str = "COOPERAGE_NATS__LOG_BYTES_MAX";
    let mut platform = Platform::with(Shape::Many, &[(LOG, "50000000")]).await.unwrap();
    platform.stop().unwrap();
    platform.set(LOG, "60000000");
    let mut catalog = Command::new(binary("catalog").unwrap());
    let nats = platform.nats().unwrap();
    let place = [("COOPERAGE_NATS__URL", nats.url()), (LOG, "60000000".to_owned())];
    let passwords = nats.passwords();
    let settings = |command: &mut Command| {
        command.envs(place.clone());
        command.env("COOPERAGE_NATS__PASSWORDS", &passwords);
    };
    settings(&mut catalog);
    catalog.env("COOPERAGE_DATA", platform.data().join("catalog"));
    catalog.env("COOPERAGE_LISTEN", "127.0.0.1:0");
    catalog.env("COOPERAGE_AUTH__PUBLIC_KEY", platform.data().join("keys/token.pub"));
    let refused = said(&catalog.output().unwrap());
    assert!(
        refused.contains(
            "the stream LOG ends at 50000000 bytes, and nats.log_bytes_max says 60000000: `cooper admin nats-limits` \
             raises it"
        ),
        "{refused}"
    );

    let mut raising = platform.cooper("ada").unwrap();
    settings(&mut raising);
    let raised = said(&raising.args(["admin", "nats-limits"]).output().unwrap());
    assert!(
        raised.contains("the log may have 60000000 bytes, and build output 8589934592"),
        "{raised}"
    );
    platform.go_on().await.unwrap();
}

#[tokio::test]
async fn a_command_waits_for_a_server_that_starts_again_and_for_no_other() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    let mut platform = Platform::with(Shape::One, &[("XDG_CONFIG_HOME", home)]).await.unwrap();
    platform.user("ada").unwrap().workspace("vision").await.unwrap();
    let ls = |platform: &Platform| {
        let mut ls = platform.cooper("ada").unwrap();
        ls.env("XDG_CONFIG_HOME", home).args(["workspace", "ls"]);
        ls
    };

    platform.kill("cooper");
    let waiting = Child::spawn("cooper workspace ls", &mut ls(&platform)).unwrap();
    platform.go_on().await.unwrap();
    waiting.says("vision").await.unwrap();

    platform.stop().unwrap();
    let asked = Instant::now();
    let refused = ls(&platform).output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(refused.status.code(), Some(69));
    assert!(said(&refused).contains("no server answers at"), "{}", said(&refused));
}

#[tokio::test]
async fn who_follows_events_is_told_from_where_on() {
    let platform = Platform::start(Shape::One).await.unwrap();
    let ada = platform.user("ada").unwrap();
    let workspace = ada.workspace("vision").await.unwrap();
    let mut follow = platform.cooper("ada").unwrap();
    let following = Child::spawn("cooper events", follow.args(["events", "--follow"])).unwrap();
    following.says("following from now on; Ctrl-C ends it").await.unwrap();
    ada.image(&workspace, "vision/tool").await.unwrap();
    following.says("image.created").await.unwrap();
}

#[tokio::test]
async fn the_status_of_each_service_comes_from_that_service() {
    for shape in [Shape::One, Shape::Many] {
        let mut platform = Platform::start(shape).await.unwrap();
        let mut status = platform.cooper("ada").unwrap();
        status.args(["admin", "status"]);
        let all = status.output().unwrap();
        assert_eq!(said(&all).matches("works").count(), 8, "{shape:?}: {}", said(&all));
        if shape == Shape::Many {
            platform.kill("notifier");
            let less = status.output().unwrap();
            assert_eq!(less.status.code(), Some(69));
            assert_eq!(said(&less).matches("works").count(), 7, "{}", said(&less));
        }
    }
}
