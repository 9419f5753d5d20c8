//! A nats-server with the settings of a private one: passwords, permissions, every message on the disk.

use crate::{Child, Port, child::program};
use eventlog::{ACCOUNTS, Nats, NatsConfig, OPERATOR, server_config};
use nix::sys::signal::Signal;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

pub struct NatsServer {
    // The child ends before its folder goes.
    child: Option<Child>,
    folder: TempDir,
    port: Port,
    /// Where a test's log ends.
    pub log_bytes_max: i64,
}

impl NatsServer {
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(String::new()).await
    }

    /// With somebody who may do everything, as an operator of a server of their own may.
    pub async fn with_operator() -> anyhow::Result<Self> {
        Self::with("    { user: root, password: root }\n".to_owned()).await
    }

    async fn with(more_users: String) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("cooperage-nats-").tempdir()?;
        let port = Port::pick()?;
        fs::create_dir(folder.path().join("keys"))?;
        let password = |account: &str| format!("{account}-{:032x}", rand::random::<u128>());
        let accounts = ACCOUNTS.iter().map(|account| account.name).chain([OPERATOR]);
        let passwords: Vec<(&str, String)> = accounts.map(|account| (account, password(account))).collect();
        for (account, password) in &passwords {
            fs::write(folder.path().join(format!("keys/{account}.password")), password)?;
        }
        let of = |account: &str| {
            let known = passwords.iter().find(|(name, _)| *name == account);
            known.map(|(_, password)| password.clone()).unwrap_or_default()
        };
        let store = folder.path().join("store");
        let config = server_config(&port.address().to_string(), &store.to_string_lossy(), of);
        let config = config.replacen("users: [\n", &format!("users: [\n{more_users}"), 1);
        fs::write(folder.path().join("nats.conf"), config)?;
        let mut server = Self {
            folder,
            port,
            child: None,
            log_bytes_max: 1 << 30,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Starts it again on what it had stored; one that still runs is killed first.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let child = Child::spawn(
            "nats-server",
            Command::new(program("nats-server"))
                .arg("-c")
                .arg(self.folder.path().join("nats.conf")),
        )?;
        child.says("Server is ready").await?;
        self.child = Some(child);
        Ok(())
    }

    /// kill -9
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Lets it finish what it does.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.stop()?;
        }
        Ok(())
    }

    /// It stays connected and answers nothing until it is told to go on.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.child.as_ref().map_or(Ok(()), Child::freeze)
    }

    pub fn go_on(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.child.as_ref().map_or(Ok(()), |child| child.signal(signal))
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.port.address())
    }

    /// The folder with a file per account.
    pub fn passwords(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// Where the streams lie.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub fn config(&self, account: &str) -> anyhow::Result<NatsConfig> {
        Ok(NatsConfig {
            url: self.url(),
            user: account.to_owned(),
            password: fs::read_to_string(self.passwords().join(format!("{account}.password")))?,
            replicas: 1,
            log_bytes_max: self.log_bytes_max,
            output_bytes_max: 1 << 28,
        })
    }

    /// A connection of one service, with every stream there.
    pub async fn connect(&self, account: &str) -> anyhow::Result<Nats> {
        let config = self.config(account)?;
        let nats = Nats::connect(&config).await?;
        nats.prepare(&config).await?;
        Ok(nats)
    }

    /// What the operator does to streams.
    pub async fn operator(&self) -> anyhow::Result<async_nats::jetstream::Context> {
        let options = async_nats::ConnectOptions::with_user_and_password("root".to_owned(), "root".to_owned());
        Ok(async_nats::jetstream::new(options.connect(self.url()).await?))
    }

    /// Copies what is stored, or puts a copy back. The server must not run.
    pub fn copy_store(from: &Path, to: &Path) -> anyhow::Result<()> {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                Self::copy_store(&entry.path(), &target)?;
            } else {
                fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    }
}
