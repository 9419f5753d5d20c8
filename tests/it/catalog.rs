//! The catalog on a real log: names, rights, tiles, history, and the promises of every mutation.

mod mutations;
mod names;
mod reading;
mod rights;

use aggregate::Event;
use eventlog::{Append, Envelope, EventLog as _, Position, StreamId};
use futures::StreamExt as _;
use prost::Message as _;
use proto::{catalog::v1::ImageName, events::RepositoryEvent, registry::v1::RepositoryReleased};
use std::time::Duration;
use tests::{Home, User};
use tonic::Status;

/// A catalog, and ada with a workspace.
struct Given {
    home: Home,
    ada: User,
    workspace: String,
}

async fn given() -> Given {
    let home = Home::start(&[catalog::SERVICE]).await.unwrap();
    let ada = home.user("ada").unwrap();
    let workspace = ada.workspace("vision").await.unwrap();
    Given { home, ada, workspace }
}

impl Given {
    /// Somebody else, with a workspace of their own, who has seen all that ada has.
    async fn stranger(&self, name: &str) -> (User, String) {
        let user = self.home.user(name).unwrap();
        user.saw(self.ada.saw(0));
        let workspace = user.workspace("elsewhere").await.unwrap();
        self.ada.saw(user.saw(0));
        (user, workspace)
    }

    async fn head(&self) -> u64 {
        let nats = self.home.server.connect("notifier").await.unwrap();
        nats.log().await.unwrap().head().await.unwrap().0
    }

    /// What the registry-pusher says when nothing is left under a path.
    async fn released(&self, image: &str, path: &str) -> Position {
        let released = RepositoryEvent::Released(RepositoryReleased {
            registry: String::new(),
            path: path.to_owned(),
        });
        let envelope = Envelope {
            schema: 1,
            time_ms: 1_700_000_000_000,
            actor: "system:registry-pusher".to_owned(),
            events: vec![released.to_bytes().into()],
            ..Envelope::default()
        };
        let log = self
            .home
            .server
            .connect("registry-pusher")
            .await
            .unwrap()
            .log()
            .await
            .unwrap();
        let stream = StreamId::new("repository", image);
        let append = Append {
            expected: log.version(&stream).await.unwrap(),
            stream,
            bytes: envelope.encode_to_vec().into(),
        };
        log.append(vec![append]).await.unwrap()
    }

    /// The same, and waits until the catalog has said that the name is free.
    async fn freed(&self, image: &str, path: &str) -> Position {
        let released = self.released(image, path).await;
        let log = self.home.server.connect("notifier").await.unwrap().log().await.unwrap();
        let mut entries = log.follow(released).await.unwrap();
        let next = tokio::time::timeout(Duration::from_secs(20), entries.next()).await;
        let next = next.expect("the name stays taken").unwrap().unwrap();
        assert_eq!(next.stream.category, "name");
        assert_eq!(next.envelope.cause(), released);
        next.position
    }
}

fn name(path: &str, tag: &str) -> ImageName {
    ImageName {
        registry: String::new(),
        path: path.to_owned(),
        primary_tag: tag.to_owned(),
    }
}

/// Everything that a caller can tell one status from another by.
fn bytes(status: &Status) -> (tonic::Code, String, Vec<u8>) {
    (status.code(), status.message().to_owned(), status.details().to_vec())
}
