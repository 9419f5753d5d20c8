//! The registry-pusher as a process of its own, and a log in which the test plays the other services.

use super::server::{LOG_BYTES_MAX, OUTPUT_BYTES_MAX, TestNats, TestRegistry};
use crate::{SERVICE, docker::Engine};
use aggregate::Event;
use eventlog::{Append, Clock, Envelope, EventLog as _, JetStreamLog, Output, Position, StreamId};
use futures::StreamExt as _;
use ids::{BuildId, ImageId, Ulid, WorkspaceId};
use prost::Message as _;
use proto::{
    builder::v1::{BuildAssembled, BuildQueued},
    catalog::v1::{ImageCreated, ImageName, WorkspaceCreated},
    events::{BuildsEvent, ImageEvent, RepositoryEvent, WorkspaceEvent},
    registry::v1::registry_service_client::RegistryServiceClient,
};
use service::{Config, Ids, auth::LocalKey};
use std::time::Duration;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, transport::Channel};

const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Platform {
    pub(crate) registry: TestRegistry,
    nats: TestNats,
    catalog: JetStreamLog,
    builder: JetStreamLog,
    output: Output,
    data: TempDir,
    token: String,
    salt: u128,
    pub(crate) image: ImageId,
    pub(crate) path: String,
}

impl Platform {
    /// With a workspace of ada's, and an image in it.
    pub(crate) async fn start() -> Self {
        let (registry, nats) = (TestRegistry::start(), TestNats::start());
        let data = tempfile::tempdir().unwrap();
        let key = LocalKey::open(data.path()).unwrap();
        let builder = nats.connect("builder").await;
        let platform = Self {
            catalog: nats.connect("catalog").await.log().await.unwrap(),
            builder: builder.log().await.unwrap(),
            output: builder.output(),
            token: key
                .sign("ada", false, Duration::from_mins(10), &Clock::system())
                .unwrap(),
            salt: Ids::random().next().into(),
            image: ImageId::from_ulid(Ulid::from(1u128)),
            path: registry.unique(),
            registry,
            nats,
            data,
        };
        let workspace = WorkspaceId::from_ulid(Ulid::from(1u128));
        let created = WorkspaceEvent::Created(WorkspaceCreated {
            name: "blue".to_owned(),
            owner: "ada".to_owned(),
        });
        platform
            .write(&platform.catalog, StreamId::new("workspace", workspace), &created)
            .await;
        let created = ImageEvent::Created(ImageCreated {
            workspace: Some(workspace),
            name: Some(Self::name(&platform.path, "latest")),
            description: String::new(),
        });
        platform.write_image(&created).await;
        platform
    }

    pub(crate) fn name(path: &str, primary_tag: &str) -> ImageName {
        ImageName {
            registry: String::new(),
            path: path.to_owned(),
            primary_tag: primary_tag.to_owned(),
        }
    }

    async fn write(&self, log: &JetStreamLog, stream: StreamId, event: &impl Event) -> Position {
        let envelope = Envelope {
            schema: 1,
            time_ms: Clock::system().now_ms(),
            actor: "ada".to_owned(),
            request_id: Ulid::from(7u128).to_string(),
            events: vec![event.to_bytes().into()],
            ..Envelope::default()
        };
        let expected = log.version(&stream).await.unwrap();
        let bytes = envelope.encode_to_vec().into();
        log.append(vec![Append {
            stream,
            expected,
            bytes,
        }])
        .await
        .unwrap()
    }

    pub(crate) async fn write_image(&self, event: &ImageEvent) -> Position {
        self.write(&self.catalog, StreamId::new("image", self.image), event)
            .await
    }

    pub(crate) async fn write_builds(&self, event: &BuildsEvent) -> Position {
        self.write(&self.builder, StreamId::new("builds", self.image), event)
            .await
    }

    /// An id that no other test uses: they share the engine.
    pub(crate) fn unique(&self) -> Ulid {
        Ulid::from(self.salt)
    }

    /// A build of a revision, up to where the engine has its image.
    pub(crate) async fn assemble(&self, number: u64, revision: u32, artifact: &str) -> BuildId {
        // Other tests use the same engine.
        let build = BuildId::from_ulid(Ulid::from(self.salt + u128::from(number)));
        self.queue(build, revision).await;
        let assembled = BuildsEvent::Assembled(BuildAssembled {
            build: Some(build),
            attempt: 1,
            revision,
            engine: "local".to_owned(),
            artifact: artifact.to_owned(),
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            tags: vec!["v1".to_owned()],
            ..BuildAssembled::default()
        });
        self.write_builds(&assembled).await;
        build
    }

    pub(crate) async fn queue(&self, build: BuildId, revision: u32) {
        let queued = BuildsEvent::Queued(BuildQueued {
            build: Some(build),
            revision,
            ..BuildQueued::default()
        });
        self.write_builds(&queued).await;
    }

    /// Runs the service until the scenario is over.
    pub(crate) async fn during<T>(&self, scenario: impl AsyncFnOnce(RegistryServiceClient<Channel>) -> T) -> T {
        let config = Config::defaults()
            .and_then(|config| config.with("data", self.data.path()))
            .and_then(|config| config.with("nats.url", self.nats.url()))
            .and_then(|config| config.with("nats.passwords", self.nats.passwords()))
            .and_then(|config| config.with("nats.log_bytes_max", LOG_BYTES_MAX))
            .and_then(|config| config.with("nats.output_bytes_max", OUTPUT_BYTES_MAX))
            .and_then(|config| config.with("registry.host", self.registry.host()))
            .and_then(|config| config.with("registry.url", format!("http://{}", self.registry.host())))
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (ready, mut is_ready) = watch::channel(false);
        let stop = CancellationToken::new();
        let mut running = Box::pin(service::run(config, &[SERVICE], listener, ready, stop.clone()));
        let scenario = async {
            is_ready.wait_for(|ready| *ready).await.unwrap();
            let answer = scenario(RegistryServiceClient::connect(url).await.unwrap()).await;
            stop.cancel();
            answer
        };
        let answer = tokio::select! {
            answer = Box::pin(scenario) => answer,
            ran = &mut running => panic!("the service stopped: {ran:?}"),
        };
        running.await.unwrap();
        answer
    }

    /// A call of ada's, answered from a view that has this position.
    pub(crate) fn call<T>(&self, at_least: Position, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        request
            .metadata_mut()
            .insert(service::AT_LEAST, at_least.to_string().parse().unwrap());
        request
    }

    /// Everything that happened in the repository up to the entry with a certain event, and its position.
    pub(crate) async fn until(
        &self,
        mut is_last: impl FnMut(&RepositoryEvent) -> bool,
    ) -> (Vec<RepositoryEvent>, Position) {
        let happened = async {
            let mut entries = self.catalog.follow(Position(0)).await.unwrap();
            let mut events = Vec::new();
            while let Some(entry) = entries.next().await {
                let entry = entry.unwrap();
                if entry.stream.category == "repository" {
                    let new = entry.events::<RepositoryEvent>().unwrap();
                    let is_over = new.iter().any(&mut is_last);
                    events.extend(new);
                    if is_over {
                        return (events, entry.position);
                    }
                }
            }
            panic!("the log ended");
        };
        tokio::time::timeout(PATIENCE, happened)
            .await
            .expect("it happens in time")
    }

    pub(crate) async fn output(&self, build: BuildId) -> String {
        let mut text = String::new();
        let mut chunks = self.output.read(build, 0, false).await.unwrap();
        while let Some(chunk) = chunks.next().await {
            text.push_str(std::str::from_utf8(&chunk.unwrap().text).unwrap());
        }
        text
    }

    /// Takes out of the engine what a service that was stopped had no time for.
    pub(crate) async fn clean(self) {
        let engine = Engine::new("");
        for reference in engine.references().await.unwrap() {
            if reference.contains(&self.path) {
                engine.forget(&reference).await.unwrap();
            }
        }
    }
}
