//! `cooper up`: the whole platform in one process, with a NATS server and a registry of its own beside it.
//!
//! What is independent starts at the same time; what others need ends last.

mod child;
mod data;
mod disk;
mod engine;
mod limits;
mod nats;
mod programs;
mod registry;
mod stored;
mod token;
mod tour;
mod words;

use crate::{
    client::Announcement,
    failure::{Exit, Failure},
    interrupt,
    output::Output,
};
use anyhow::Context as _;
use child::Child;
use clap::Args;
use data::Data;
use eventlog::OPERATOR;
pub(crate) use stored::stored_log;

use service::{Config, Service, auth::LocalKey, telemetry::Telemetry};
use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use words::Place;

/// All of them. They know each other by the log alone.
const SERVICES: [Service; 5] = [
    catalog::SERVICE,
    editor::SERVICE,
    builder::SERVICE,
    registry_pusher::SERVICE,
    notifier::SERVICE,
];

/// How long the services may take to finish what they do.
const STOP_PATIENCE: Duration = Duration::from_secs(6);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder for all that is kept [default: COOPERAGE_DATA, or ./cooperage-data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes any free one [default: COOPERAGE_LISTEN, or 127.0.0.1:7070].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// A NATS server that runs already, instead of a private one.
    #[arg(long, value_name = "URL")]
    nats: Option<url::Url>,
    /// A registry that runs already, instead of a private one.
    #[arg(long, value_name = "URL")]
    registry: Option<url::Url>,
    /// Once it is ready, show what there is by running the commands for it.
    #[arg(long)]
    tour: bool,
}

/// Runs until Ctrl-C, or until a part fails.
///
/// It starts programs, so it must be awaited on the thread of `main`: see [`Child`].
pub(crate) async fn run(output: &Output, options: Options) -> Result<(), Failure> {
    let _hold = interrupt::hold();
    let mut signals = Signals::new().map_err(ends(Exit::Internal))?;
    let config = settings(&options).map_err(ends(Exit::Invalid))?;
    let telemetry = Telemetry::start(&config, "cooper").map_err(ends(Exit::Internal))?;
    let stop = CancellationToken::new();
    let mut platform = Box::pin(platform(output, config, options.tour, stop.clone()));
    let ended = loop {
        tokio::select! {
            ended = &mut platform => break ended,
            () = signals.next() => {}
        }
        if stop.is_cancelled() {
            break Err(Failure::silent(Exit::Interrupted));
        }
        output.notice("stopping; press Ctrl-C again to stop at once");
        stop.cancel();
    };
    // After a second Ctrl-C the programs are still there, and killed by this.
    drop(platform);
    telemetry.stop();
    ended
}

/// Settings as every service has them; what was typed goes over them.
fn settings(options: &Options) -> anyhow::Result<Config> {
    let mut config = Config::load()?;
    if let Some(data) = &options.data {
        config = config.with("data", data)?;
    }
    if let Some(listen) = options.listen {
        config = config.with("listen", listen)?;
    }
    if let Some(nats) = &options.nats {
        config = config.with("nats.url", nats.as_str())?;
    }
    if let Some(url) = &options.registry {
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"));
        let host = host.context("--registry takes an address like http://127.0.0.1:5000")?;
        let host = url
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        config = config
            .with("registry.host", host)?
            .with("registry.url", url.as_str().trim_end_matches('/'))?;
    }
    Ok(config)
}

async fn platform(output: &Output, config: Config, tour: bool, stop: CancellationToken) -> Result<(), Failure> {
    let began = Instant::now();
    let data = Data::open(&config.data).await?;
    let config = config.with("data", data.folder()).map_err(ends(Exit::Internal))?;
    let key = LocalKey::open(data.folder()).map_err(ends(Exit::Internal))?;
    token::write(&data, &key).map_err(ends(Exit::Internal))?;
    let listener = service::bind(&config)
        .await
        .map_err(|error| Failure::new(Exit::NotNow, error.to_string()))?;
    let mut address = listener
        .local_addr()
        .map_err(|error| ends(Exit::Internal)(error.into()))?;
    if address.ip().is_unspecified() {
        // Of all its addresses, the one for who is on this machine.
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let announcement = Announcement::new(address, data.folder());
    let (mut children, config) = tokio::select! {
        started = Children::start(config, &data) => started?,
        () = stop.cancelled() => return Ok(()),
    };
    tracing::debug!("NATS and the registry answer after {:?}", began.elapsed());

    let place = Place::new(address, &config, &data);
    let (ready, mut is_ready) = watch::channel(false);
    let beside = async {
        if is_ready.wait_for(|ready| *ready).await.is_err() {
            // The services ended, which is noticed where they run.
            return std::future::pending().await;
        }
        words::ready(output, &place, began.elapsed());
        let guide = async {
            if tour {
                tour::run(output, &place).await?;
                words::again(output, &place);
            }
            words::next(output, &place);
            Ok(())
        };
        let announced = async { Ok(announcement.keep().await) };
        let renewed = token::renew(&data, &key);
        tokio::try_join!(guide, engine::check(output, &place.engine), renewed, announced)
    };
    let ended = serve(config, listener, ready, &mut children, beside, stop).await;
    drop(announcement);
    children.stop().await;
    ended
}

/// Runs the services, and what goes on beside them, until some of it ends.
async fn serve(
    config: Config,
    listener: TcpListener,
    ready: watch::Sender<bool>,
    children: &mut Children<'_>,
    beside: impl Future<Output = Result<((), (), Infallible, Infallible), Failure>>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let is_ready = ready.subscribe();
    // Services that fail stop all that is theirs, and that must not be taken for a wish to end well.
    let mut services = Box::pin(service::run(config, &SERVICES, listener, ready, stop.child_token()));
    let failed = tokio::select! {
        ended = &mut services => return ended.map_err(ends(Exit::Internal)),
        failure = children.keep() => Err(failure),
        ended = beside => ended.map(|_| ()),
        () = stop.cancelled() => Ok(()),
    };
    stop.cancel();
    if !*is_ready.borrow() {
        // Nothing was begun that could be finished.
        return failed;
    }
    let ended = timeout(STOP_PATIENCE, services).await.unwrap_or(Ok(()));
    failed.and(ended.map_err(ends(Exit::Internal)))
}

/// The programs beside this one.
struct Children<'data> {
    nats: Option<Child<'data>>,
    registry: Option<Child<'data>>,
}

impl<'data> Children<'data> {
    /// Starts those that no other was named for. Answers the settings to reach them, too.
    async fn start(mut config: Config, data: &'data Data) -> Result<(Self, Config), Failure> {
        let defaults = Config::defaults().map_err(ends(Exit::Internal))?;
        let nats = async {
            if config.nats.url != defaults.nats.url {
                return Ok(None);
            }
            nats::start(data).await.map(Some)
        };
        let registry = async {
            if config.registry.url != defaults.registry.url {
                return Ok(None);
            }
            registry::start(data, &config.registry.host).await.map(Some)
        };
        let (nats, registry) = tokio::try_join!(nats, registry)?;
        if let Some((_, address)) = &nats {
            config.nats.url = format!("nats://{address}");
            config.nats.passwords = data.join("keys");
        }
        if let Some((_, address)) = &registry {
            config.registry.url = format!("http://{address}");
            if config.registry.host.ends_with(":0") {
                config.registry.host = address.to_string();
            }
        }
        if nats.is_some() {
            config = limits::settle(config, data).await.map_err(ends(Exit::Unavailable))?;
        } else if service::password_of(&config, OPERATOR).exists() {
            service::grow(&config).await.map_err(ends(Exit::Unavailable))?;
        }
        let children = Self {
            nats: nats.map(|(child, _)| child),
            registry: registry.map(|(child, _)| child),
        };
        Ok((children, config))
    }

    /// Starts again what dies, until one can't be started any more.
    async fn keep(&mut self) -> Failure {
        tokio::select! {
            failure = keep(&mut self.nats, disk::freed) => failure,
            failure = keep(&mut self.registry, async |_| std::future::pending().await) => failure,
        }
    }

    async fn stop(self) {
        tokio::join!(stop(self.nats), stop(self.registry));
    }
}

async fn keep(child: &mut Option<Child<'_>>, stale: impl AsyncFn(&Data)) -> Failure {
    match child {
        Some(child) => child.keep(stale).await,
        None => std::future::pending().await,
    }
}

async fn stop(child: Option<Child<'_>>) {
    if let Some(child) = child {
        child.stop().await;
    }
}

/// What asks a process to end: Ctrl-C, a service manager, a terminal that was closed.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            _ = hangup.recv() => (),
        }
    }
}

/// Ends with an exit code, for what went wrong.
fn ends(exit: Exit) -> impl Fn(anyhow::Error) -> Failure {
    move |error| Failure::new(exit, format!("{error:#}"))
}
