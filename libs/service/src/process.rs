//! A process: any number of services on one port, from settings to shutdown.

use crate::{Config, admin::AdminApi, auth::Verifier, nats, port, refusals::Refusals, telemetry::Telemetry};
use access::{Access, AccessProjection};
use anyhow::Context as _;
use eventlog::{Clock, EventLog, Nats, View, Views};
use futures::future::BoxFuture;
use ids::Ulid;
use proto::admin::v1::admin_service_server::AdminServiceServer;
use std::{collections::HashMap, convert::Infallible, fs, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    body::Body,
    codegen::http::{Request, Response},
    server::NamedService,
    service::Routes,
};

/// How long the rest may take once the process is told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Everything that a service is allowed to touch.
#[derive(Clone)]
pub struct World {
    pub log: Arc<dyn EventLog>,
    /// This service's own connection: output, contexts, events for the world.
    pub nats: Nats,
    pub views: Arc<Views>,
    pub access: Access,
    pub auth: Arc<Verifier>,
    pub clock: Clock,
    pub ids: Ids,
    pub config: Arc<Config>,
    pub stop: CancellationToken,
}

/// Where ids come from: chance, or a test.
#[derive(Clone)]
pub struct Ids(Arc<dyn Fn() -> Ulid + Send + Sync>);

impl Ids {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where chance enters")]
    pub fn random() -> Self {
        Self(Arc::new(Ulid::generate))
    }

    pub fn next(&self) -> Ulid {
        (self.0)()
    }
}

/// One of the five: its name is also that of its NATS account.
#[derive(Clone, Copy)]
pub struct Service {
    pub name: &'static str,
    pub start: fn(&World, Process) -> Process,
}

type Task = (&'static str, BoxFuture<'static, anyhow::Result<()>>);

/// What a process answers, and what it does in the background.
#[derive(Default)]
pub struct Process {
    pub(crate) routes: Routes,
    pub(crate) health: Vec<(&'static str, View)>,
    /// By the gRPC service whose calls they are of.
    pub(crate) refusals: HashMap<&'static str, Refusals>,
    tasks: Vec<Task>,
}

impl Process {
    /// Answers calls of a gRPC service, which is healthy as long as `view` goes on.
    #[must_use]
    pub fn serving<S>(mut self, view: &View, service: S) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self.health.push((S::NAME, view.clone()));
        self
    }

    /// Runs a task beside the others. The first that fails stops the process.
    #[must_use]
    pub fn running(
        mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> Self {
        self.tasks.push((name, Box::pin(task)));
        self
    }
}

impl Process {
    /// Answers those who operate it.
    fn administered(mut self, world: World, refusals: Refusals) -> Self {
        const NAME: &str = AdminServiceServer::<AdminApi>::NAME;
        self.refusals.insert(NAME, refusals);
        let (access, views) = (world.access.clone(), self.health.iter().map(|(_, view)| view.clone()));
        let admin = AdminApi::new(world, views);
        self.serving(access.view(), AdminServiceServer::new(admin))
    }
}

/// The whole of a service binary's `main`.
pub async fn main(service: Service) -> anyhow::Result<()> {
    let config = Config::load()?;
    let telemetry = Telemetry::start(&config, service.name)?;
    let stop = CancellationToken::new();
    let (ready, _) = watch::channel(false);
    let services = [service];
    let _lock = lock(&config.data)?;
    let served = async {
        let listener = bind(&config).await?;
        tokio::select! {
            ended = run(config, &services, listener, ready, stop.clone()) => ended,
            signalled = stop_on_signal(stop.clone()) => signalled,
        }
    };
    let ended = served.await;
    telemetry.stop();
    ended
}

/// A worker is a data folder, and views have one writer: so a folder has one process.
fn lock(data: &Path) -> anyhow::Result<fs::File> {
    fs::create_dir_all(data).with_context(|| format!("the folder {} can't be made", data.display()))?;
    let file = fs::File::create(data.join("lock"))?;
    file.try_lock().with_context(|| {
        let data = data.display();
        format!("another process works in {data}, give each its own folder (COOPERAGE_DATA)")
    })?;
    Ok(file)
}

/// Runs services in this process until one fails or `stop` is cancelled. `ready` turns true when calls are answered.
pub async fn run(
    config: Config,
    services: &[Service],
    listener: TcpListener,
    ready: watch::Sender<bool>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // The HTTP clients in here are built without a provider of their own; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Arc::new(config);
    let folder = config.data.join("views");
    fs::create_dir_all(&folder).with_context(|| format!("the folder {} can't be made", folder.display()))?;
    let views = Arc::new(Views::new(&folder));
    let access = Access::new(views.open(AccessProjection), &config.registry.host);
    let auth = Arc::new(Verifier::open(&config)?);

    let mut process = Process::default();
    process.health.push(("access", access.view().clone()));
    let mut first = None;
    for service in services {
        let nats = nats::connect(&config, service.name).await?;
        let log: Arc<dyn EventLog> = Arc::new(nats.log().await?);
        let world = World {
            log,
            nats,
            views: views.clone(),
            access: access.clone(),
            auth: auth.clone(),
            clock: Clock::system(),
            ids: Ids::random(),
            config: config.clone(),
            stop: stop.clone(),
        };
        let others = process.health.len();
        process = (service.start)(&world, process);
        let refusals = Refusals::new(world.clock.clone());
        for (name, _) in &process.health[others..] {
            process.refusals.insert(name, refusals.clone());
        }
        first.get_or_insert_with(|| (world.clone(), refusals.clone()));
        process = process.running("record refusals", refusals.write(service.name, world));
    }
    let (world, refusals) = first.context("a process needs a service")?;
    let follower = world.log.clone();
    process = process.administered(world, refusals);

    let (caught_up, mut is_caught_up) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for (name, task) in std::mem::take(&mut process.tasks) {
        let mut is_caught_up = is_caught_up.clone();
        tasks.spawn(async move {
            // Nothing acts on a view that is still being built.
            if is_caught_up.wait_for(|ready| *ready).await.is_ok() {
                task.await.with_context(|| format!("the task {name} failed"))?;
            }
            Ok(())
        });
    }
    let (feeding, stopping) = (views.clone(), stop.clone());
    tasks.spawn(async move { feeding.run(follower, caught_up, stopping).await });
    let stopping = stop.clone();
    tasks.spawn(async move {
        stopping.run_until_cancelled(auth.keep()).await;
        Ok(())
    });
    let stopping = stop.clone();
    tasks.spawn(async move {
        if is_caught_up.wait_for(|ready| *ready).await.is_err() {
            return Ok(());
        }
        ready.send_replace(true);
        port::serve(process, &config, listener, stopping).await
    });
    supervise(tasks, stop).await
}

/// The first failure stops everything; the rest get to finish what they were doing.
async fn supervise(mut tasks: JoinSet<anyhow::Result<()>>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    let stopped = stop.clone();
    let late = async {
        stopped.cancelled().await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::pin!(late);
    loop {
        tokio::select! {
            finished = tasks.join_next() => match finished {
                None => return outcome,
                Some(finished) => {
                    let finished = finished.context("a task panicked").and_then(|finished| finished);
                    if finished.is_err() {
                        stop.cancel();
                    }
                    outcome = outcome.and(finished);
                }
            },
            () = &mut late => return outcome,
        }
    }
}

/// Binds before anything else starts, so that a test can ask for port 0 and read the answer.
pub async fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    TcpListener::bind(config.listen).await.with_context(|| {
        format!(
            "{} is taken by another program, choose another with --listen",
            config.listen
        )
    })
}

/// Ends when everything was told to stop and should have.
pub async fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    tracing::info!("stopping");
    stop.cancel();
    tokio::time::sleep(STOP_PATIENCE + Duration::from_secs(1)).await;
    Ok(())
}
