//! Some services in the process of the test, on a server of their own: quick to start, to stop and to start again.

use crate::{NatsServer, User};
use anyhow::Context as _;
use eventlog::Clock;
use service::{Config, Service, auth::LocalKey};
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub struct Home {
    running: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    services: &'static [Service],
    address: SocketAddr,
    config: Config,
    key: LocalKey,
    data: TempDir,
    /// What the services write to.
    pub server: NatsServer,
}

impl Home {
    pub async fn start(services: &'static [Service]) -> anyhow::Result<Self> {
        Self::with(services, Ok).await
    }

    /// With other settings.
    pub async fn with(
        services: &'static [Service],
        settings: impl FnOnce(Config) -> anyhow::Result<Config>,
    ) -> anyhow::Result<Self> {
        let server = NatsServer::start().await?;
        let data = tempfile::Builder::new().prefix("cooperage-home-").tempdir()?;
        let key = LocalKey::open(data.path())?;
        let limits = server.config(services.first().context("a home needs a service")?.name)?;
        let config = Config::defaults()?
            .with("data", data.path())?
            .with("nats.url", server.url())?
            .with("nats.passwords", server.passwords())?
            .with("nats.log_bytes_max", limits.log_bytes_max)?
            .with("nats.output_bytes_max", limits.output_bytes_max)?;
        let config = settings(config)?;
        let mut home = Self {
            running: JoinSet::new(),
            stop: CancellationToken::new(),
            services,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            config,
            key,
            data,
            server,
        };
        home.go_on().await?;
        Ok(home)
    }

    /// Starts the services on the data of before.
    pub async fn go_on(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        self.address = listener.local_addr()?;
        self.stop = CancellationToken::new();
        let (ready, mut is_ready) = watch::channel(false);
        let (config, services, stop) = (self.config.clone(), self.services, self.stop.clone());
        self.running
            .spawn(async move { service::run(config, services, listener, ready, stop).await });
        if is_ready.wait_for(|ready| *ready).await.is_err() {
            self.ended().await?;
            anyhow::bail!("the services ended before they were ready");
        }
        Ok(())
    }

    /// Ends the services in order.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.ended().await
    }

    /// How the services ended, once they do.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        self.running.join_next().await.transpose()?.transpose()?;
        Ok(())
    }

    pub fn views(&self) -> PathBuf {
        self.data.path().join("views")
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn token(&self, name: &str, is_administrator: bool, clock: &Clock) -> anyhow::Result<String> {
        self.key.sign(name, is_administrator, Duration::from_hours(1), clock)
    }

    /// Somebody with a token.
    pub fn user(&self, name: &str) -> anyhow::Result<User> {
        self.bearer(&self.token(name, false, &Clock::system())?)
    }

    pub fn administrator(&self, name: &str) -> anyhow::Result<User> {
        self.bearer(&self.token(name, true, &Clock::system())?)
    }

    /// Somebody with whatever stands there for a token.
    pub fn bearer(&self, token: &str) -> anyhow::Result<User> {
        User::new(&self.address.to_string(), token)
    }
}
