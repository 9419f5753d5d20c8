//! No back door on the machine: nobody gets in without credentials, and nobody writes what is not theirs.

use async_nats::{
    Client, ConnectOptions, Event,
    jetstream::{
        self,
        consumer::push,
        stream::{Config, Republish},
    },
};
use eventlog::{ACCOUNTS, Account, EventLog as _, OutputEnd, REFUSALS};
use serde_json::json;
use std::time::Duration;
use tests::NatsServer;
use tokio::{sync::mpsc, time::timeout};

const WITHIN: Duration = Duration::from_secs(10);

/// Somebody with the password of a service, and whatever the server complains about.
struct Intruder {
    client: Client,
    complaints: mpsc::UnboundedReceiver<String>,
}

impl Intruder {
    async fn with_password_of(server: &NatsServer, account: &str) -> Self {
        let config = server.config(account).unwrap();
        let (sender, complaints) = mpsc::unbounded_channel();
        let client = ConnectOptions::with_user_and_password(config.user, config.password)
            .custom_inbox_prefix(format!("_INBOX_{account}"))
            .request_timeout(Some(WITHIN))
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    let _ = sender.send(error.to_string());
                }
                std::future::ready(())
            })
            .connect(config.url)
            .await
            .unwrap();
        Self { client, complaints }
    }

    async fn is_refused(&mut self, what: &str) {
        let complaint = timeout(WITHIN, self.complaints.recv()).await;
        let complaint = complaint.unwrap_or_else(|_| panic!("{what} was allowed")).unwrap();
        assert!(
            complaint.to_lowercase().contains("permissions violation") && complaint.contains(what),
            "{what}: {complaint}"
        );
    }

    async fn may_not_publish(&mut self, subject: &str) {
        self.client.publish(subject.to_owned(), "forged".into()).await.unwrap();
        self.is_refused(&format!("Publish to \"{subject}\"")).await;
    }

    async fn may_not_subscribe(&mut self, subject: &str) {
        let _subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.is_refused(&format!("Subscription to \"{subject}\"")).await;
    }

    /// What the JetStream API answers.
    async fn ask(&self, subject: &str, body: serde_json::Value) -> serde_json::Value {
        let answer = self
            .client
            .request(subject.to_owned(), body.to_string().into())
            .await
            .unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }
}

#[tokio::test]
async fn nobody_connects_without_the_password_of_a_service() {
    let server = NatsServer::start().await.unwrap();
    server.connect("catalog").await.unwrap();
    let nobody = ConnectOptions::new().connect(server.url()).await;
    assert!(nobody.is_err());
    for account in &ACCOUNTS {
        let guessed = ConnectOptions::with_user_and_password(account.name.to_owned(), "guessed".to_owned());
        assert!(guessed.connect(server.url()).await.is_err());
        let other = server.config("catalog").unwrap().password;
        if account.name != "catalog" {
            let borrowed = ConnectOptions::with_user_and_password(account.name.to_owned(), other);
            assert!(borrowed.connect(server.url()).await.is_err());
        }
    }
}

/// A subject that a pattern of the permissions matches.
fn example(pattern: &str) -> String {
    pattern.replace(['>', '*'], "x")
}

/// What it writes to the log: its categories, and one stream for what it refused.
fn categories(account: &Account) -> impl Iterator<Item = String> + '_ {
    let own = account.categories.iter().map(|category| format!("log.{category}.x"));
    own.chain([format!("log.{REFUSALS}.{}", account.name)])
}

// covers E9
#[tokio::test]
async fn each_service_writes_only_what_is_its_own() {
    let server = NatsServer::start().await.unwrap();
    let log = server.connect("catalog").await.unwrap().log().await.unwrap();
    let mut written = 0;
    for account in &ACCOUNTS {
        let mut intruder = Intruder::with_password_of(&server, account.name).await;
        for subject in categories(account) {
            let ack = intruder.ask(&subject, json!("its own")).await;
            assert_eq!(ack["stream"], "LOG", "{}: {subject}: {ack}", account.name);
            written += 1;
        }
        for other in ACCOUNTS.iter().filter(|other| other.name != account.name) {
            for subject in categories(other) {
                intruder.may_not_publish(&subject).await;
            }
            for plane in other.planes.iter().filter(|plane| !account.planes.contains(plane)) {
                intruder.may_not_publish(&example(plane)).await;
            }
        }
        intruder.may_not_publish("log.new-category.x").await;
        // Nor does anybody hear what is meant for others, or answer in their place.
        for subject in ["log.>", ">", "$JS.API.>", "_INBOX.>"] {
            intruder.may_not_subscribe(subject).await;
        }
        let neighbour = if account.name == "catalog" { "editor" } else { "catalog" };
        intruder.may_not_subscribe(&format!("_INBOX_{neighbour}.>")).await;
        intruder.may_not_publish(&format!("_INBOX_{neighbour}.x")).await;
    }
    assert_eq!(log.head().await.unwrap().0, written);
}

// covers E9
#[tokio::test]
async fn nobody_changes_what_was_written() {
    let server = NatsServer::start().await.unwrap();
    server.connect("catalog").await.unwrap();
    for account in &ACCOUNTS {
        let mut intruder = Intruder::with_password_of(&server, account.name).await;
        for stream in ["LOG", "BUILDLOG", "EVENTS", "OBJ_contexts", "KV_PRESENCE", "KV_SECRETS"] {
            for call in ["DELETE", "UPDATE", "MSG.DELETE", "PURGE", "SNAPSHOT", "RESTORE"] {
                let subject = format!("$JS.API.STREAM.{call}.{stream}");
                if !account.planes.contains(&subject.as_str()) {
                    intruder.may_not_publish(&subject).await;
                }
            }
        }
        intruder.may_not_publish("$JS.API.ACCOUNT.PURGE.LOG").await;
        intruder.may_not_publish("$SYS.REQ.SERVER.PING").await;
    }
}

/// What the server would write by itself on somebody's behalf.
#[tokio::test]
async fn nobody_makes_the_server_write_for_them() {
    let server = NatsServer::start().await.unwrap();
    let log = server.connect("catalog").await.unwrap().log().await.unwrap();
    let nats = server.connect("builder").await.unwrap();
    let output = nats.output();
    let written = output.write("x", OutputEnd::default(), 1, "forged".into());
    written.await.unwrap();
    let mut builder = Intruder::with_password_of(&server, "builder").await;

    // A stream that copies another, and sends each of its messages to the log.
    let copying = Config {
        name: "COPY".to_owned(),
        mirror: Some(jetstream::stream::Source {
            name: "BUILDLOG".to_owned(),
            ..jetstream::stream::Source::default()
        }),
        republish: Some(Republish {
            source: ">".to_owned(),
            destination: "log.image.x".to_owned(),
            headers_only: false,
        }),
        ..Config::default()
    };
    let body = serde_json::to_string(&copying).unwrap();
    builder
        .client
        .publish("$JS.API.STREAM.CREATE.COPY", body.into())
        .await
        .unwrap();
    builder.is_refused("$JS.API.STREAM.CREATE.COPY").await;

    // A consumer that delivers there.
    let pushing = push::Config {
        deliver_subject: "log.image.x".to_owned(),
        ..push::Config::default()
    };
    let body = json!({ "stream_name": "BUILDLOG", "config": pushing, "action": "create" });
    let made = builder.ask("$JS.API.CONSUMER.CREATE.BUILDLOG", body).await;
    let info = format!("$JS.API.CONSUMER.INFO.BUILDLOG.{}", made["name"].as_str().unwrap());
    for seq in 1..=20 {
        // The server has had every occasion: it does not count its own streams as listeners.
        let ack = builder.ask("log.builds.x", json!("its own")).await;
        assert_eq!(ack["seq"], seq, "{ack}");
        let state = builder.ask(&info, json!({})).await;
        assert_eq!(state["delivered"]["consumer_seq"], 0, "{state}");
    }
    assert_eq!(log.head().await.unwrap().0, 20);
}
