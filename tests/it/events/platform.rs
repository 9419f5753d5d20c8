//! A notifier on a real server, a log to tell of, and somebody outside who listens.

use aggregate::Event;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use eventlog::{Append, Envelope, EventLog, JetStreamLog, Position, StreamId};
use futures::StreamExt as _;
use ids::{ImageId, Ulid, WorkspaceId};
use prost::Message as _;
use proto::{
    catalog::v1::{ImageCreated, ImageDescribed, ImageName, MemberAdded, MemberRemoved, Role, WorkspaceCreated},
    events::{ImageEvent, WorkspaceEvent},
    notifier::v1::{SubscribeRequest, SubscribeResponse, event_service_client::EventServiceClient},
};
use service::{Config, auth::LocalKey};
use std::time::Duration;
use tempfile::TempDir;
use tests::NatsServer;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming, transport::Channel};

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn workspace(number: u128) -> WorkspaceId {
    WorkspaceId::from_ulid(Ulid::from(number))
}

pub(super) fn image(number: u128) -> ImageId {
    ImageId::from_ulid(Ulid::from(number))
}

/// Writes what the catalog would.
pub(super) struct History(JetStreamLog);

impl History {
    pub(super) async fn of(server: &NatsServer) -> Self {
        Self(server.connect("catalog").await.unwrap().log().await.unwrap())
    }

    async fn write<E: Event>(&self, stream: StreamId, event: E) -> Position {
        let envelope = Envelope {
            schema: 1,
            time_ms: 1_700_000_000_000,
            actor: "ada".to_owned(),
            events: vec![event.to_bytes().into()],
            ..Envelope::default()
        };
        let append = Append {
            expected: self.0.version(&stream).await.unwrap(),
            stream,
            bytes: envelope.encode_to_vec().into(),
        };
        self.0.append(vec![append]).await.unwrap()
    }

    pub(super) async fn workspace(&self, number: u128, event: WorkspaceEvent) -> Position {
        self.write(StreamId::new("workspace", workspace(number)), event).await
    }

    pub(super) async fn founded(&self, number: u128, owner: &str) -> Position {
        let created = WorkspaceCreated {
            name: format!("team-{number}"),
            owner: owner.to_owned(),
        };
        self.workspace(number, WorkspaceEvent::Created(created)).await
    }

    pub(super) async fn added(&self, number: u128, user: &str) -> Position {
        let added = MemberAdded {
            user: user.to_owned(),
            role: Role::Participant.into(),
        };
        self.workspace(number, WorkspaceEvent::MemberAdded(added)).await
    }

    pub(super) async fn removed(&self, number: u128, user: &str) -> Position {
        let removed = MemberRemoved { user: user.to_owned() };
        self.workspace(number, WorkspaceEvent::MemberRemoved(removed)).await
    }

    pub(super) async fn created(&self, number: u128, of: u128, path: &str) -> Position {
        let created = ImageCreated {
            workspace: Some(workspace(of)),
            name: Some(ImageName {
                registry: String::new(),
                path: path.to_owned(),
                primary_tag: "latest".to_owned(),
            }),
            description: String::new(),
        };
        self.write(StreamId::new("image", image(number)), ImageEvent::Created(created))
            .await
    }

    pub(super) async fn described(&self, number: u128, text: &str) -> Position {
        let described = ImageDescribed {
            description: text.to_owned(),
        };
        self.write(StreamId::new("image", image(number)), ImageEvent::Described(described))
            .await
    }
}

/// One notifier, with a data folder of its own.
pub(super) struct Notifier {
    data: TempDir,
    config: Config,
}

impl Notifier {
    pub(super) fn of(server: &NatsServer) -> Self {
        let data = tempfile::Builder::new()
            .prefix("cooperage-notifier-")
            .tempdir()
            .unwrap();
        // The notifier checks tokens against it.
        LocalKey::open(data.path()).unwrap();
        let config = Config::defaults().unwrap();
        let config = config.with("data", data.path()).unwrap();
        let config = config.with("nats.url", server.url()).unwrap();
        let config = config.with("nats.passwords", server.passwords()).unwrap();
        let nats = server.config("notifier").unwrap();
        let config = config.with("nats.log_bytes_max", nats.log_bytes_max).unwrap();
        let config = config.with("nats.output_bytes_max", nats.output_bytes_max).unwrap();
        Self { data, config }
    }

    /// Runs until `test` is over, and is gone then as after a kill.
    pub(super) async fn during<T>(&self, test: impl AsyncFnOnce(Subscribers) -> T) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ready = watch::Sender::new(false);
        let mut is_ready = ready.subscribe();
        let stop = CancellationToken::new();
        let running = service::run(self.config.clone(), &[notifier::SERVICE], listener, ready, stop);
        let test = async {
            is_ready.wait_for(|ready| *ready).await.unwrap();
            let channel = Channel::from_shared(format!("http://{address}")).unwrap();
            let client = EventServiceClient::new(channel.connect().await.unwrap());
            let key = LocalKey::open(self.data.path()).unwrap();
            test(Subscribers { client, key }).await
        };
        let (running, test) = (Box::pin(running), Box::pin(test));
        tokio::select! {
            ended = running => panic!("the notifier ended: {ended:?}"),
            result = test => result,
        }
    }

    /// How it ends by itself.
    pub(super) async fn end(&self) -> anyhow::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (ready, stop) = (watch::Sender::new(false), CancellationToken::new());
        service::run(self.config.clone(), &[notifier::SERVICE], listener, ready, stop).await
    }
}

pub(super) struct Subscribers {
    client: EventServiceClient<Channel>,
    key: LocalKey,
}

impl Subscribers {
    /// A subscription of a user, which sees at least what was written up to `written`.
    pub(super) async fn subscribe(
        &self,
        user: &str,
        written: Position,
        wanted: SubscribeRequest,
    ) -> Result<Streaming<SubscribeResponse>, Status> {
        let token = self
            .key
            .sign(user, false, Duration::from_mins(1), &eventlog::Clock::system())
            .unwrap();
        let mut request = Request::new(wanted);
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
            .metadata_mut()
            .insert(service::AT_LEAST, written.to_string().parse().unwrap());
        Ok(self.client.clone().subscribe(request).await?.into_inner())
    }

    /// All ids that a subscription without `follow` gets.
    pub(super) async fn ids(&self, user: &str, written: Position, wanted: SubscribeRequest) -> Vec<String> {
        let events = self.subscribe(user, written, wanted).await.unwrap();
        events.map(|event| event.unwrap().id).collect().await
    }
}

/// The next event of a subscription, which must come.
pub(super) async fn next(events: &mut Streaming<SubscribeResponse>) -> Result<SubscribeResponse, Status> {
    let next = tokio::time::timeout(PATIENCE, events.message()).await;
    next.expect("no event came")?
        .ok_or_else(|| Status::cancelled("the stream ended"))
}

/// The first `count` messages of the stream, as (subject, ce-id), read by a client that knows nothing of us.
pub(super) async fn published(server: &NatsServer, count: usize) -> Vec<(String, String)> {
    let messages = outside(server).await.take(count).map(|message| {
        let message = message.unwrap();
        let id = message.headers.as_ref().unwrap().get("ce-id").unwrap().to_string();
        (message.subject.to_string(), id)
    });
    tokio::time::timeout(PATIENCE, messages.collect())
        .await
        .expect("too few events were published")
}

pub(super) async fn outside(server: &NatsServer) -> pull::Stream {
    let config = server.config("editor").unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password(config.user, config.password);
    let client = options
        .custom_inbox_prefix("_INBOX_editor")
        .connect(config.url)
        .await
        .unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("EVENTS").await.unwrap();
    let consumer = pull::Config {
        ack_policy: AckPolicy::None,
        ..pull::Config::default()
    };
    stream
        .create_consumer(consumer)
        .await
        .unwrap()
        .messages()
        .await
        .unwrap()
}
