//! The whole platform, as people run it: one process, or five behind a gateway.

mod log;
mod parts;
mod rebuilt;

pub use parts::binary;

use crate::{Child, NatsServer, Port, User};
use anyhow::Context as _;
use eventlog::Clock;
use parts::{answers, gateway, registry, service};
use service::auth::LocalKey;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    path::PathBuf,
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

/// Each with the name of its place in the gateway's configuration.
pub const SERVICES: [(&str, &str); 5] = [
    ("catalog", "CATALOG"),
    ("editor", "EDITOR"),
    ("builder", "BUILDER"),
    ("registry-pusher", "REGISTRY"),
    ("notifier", "NOTIFIER"),
];

/// How full the disk of the machine is, is no matter of a test.
const OF_TESTS: [(&str, &str); 1] = [("COOPERAGE_BUILDER__DISK_FREE_PERCENT_MIN", "0")];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `cooper up`.
    One,
    /// The five binaries on one NATS server, behind nginx.
    Many,
}

pub struct Platform {
    parts: Parts,
    /// Where clients call.
    listen: Port,
    registry: Port,
    key: LocalKey,
    settings: Vec<(String, String)>,
    folder: TempDir,
    /// What its processes need to compare their views was taken from them.
    is_left: bool,
}

enum Parts {
    One(Option<Child>),
    Many(Box<Many>),
}

struct Many {
    nats: NatsServer,
    registry: Option<Child>,
    services: BTreeMap<&'static str, (Port, Option<Child>)>,
    gateway: Option<Child>,
}

impl Platform {
    pub async fn start(shape: Shape) -> anyhow::Result<Self> {
        Self::with(shape, &[]).await
    }

    /// With settings as the environment has them: `COOPERAGE_BUILDER__SLOTS`.
    pub async fn with(shape: Shape, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("cooperage-platform-").tempdir()?;
        let (listen, registry) = (Port::pick()?, Port::pick()?);
        let key = LocalKey::open(&folder.path().join("data"))?;
        let parts = match shape {
            Shape::One => Parts::One(None),
            Shape::Many => Parts::Many(Box::new(Many {
                nats: NatsServer::start().await?,
                registry: None,
                services: BTreeMap::new(),
                gateway: None,
            })),
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut platform = Self {
            parts,
            listen,
            registry,
            key,
            settings: OF_TESTS.iter().chain(settings).map(owned).collect(),
            folder,
            is_left: false,
        };
        platform.go_on().await?;
        Ok(platform)
    }

    /// The story takes from its processes what they need, so that nothing can be compared at its end.
    pub fn leave(&mut self) {
        self.is_left = true;
    }

    /// What is started from now on has another setting.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Starts whatever does not run, on the data of before, and waits until all of it answers.
    pub async fn go_on(&mut self) -> anyhow::Result<()> {
        self.launch().await?;
        self.ready().await
    }

    /// Starts whatever does not run, and leaves the services to themselves while they start.
    pub async fn launch(&mut self) -> anyhow::Result<()> {
        match &self.parts {
            Parts::One(_) => self.launch_one(),
            Parts::Many(_) => self.launch_many().await,
        }
    }

    /// Waits until everything that was started answers.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let address = self.address();
        match &mut self.parts {
            Parts::One(child) => {
                let running = child.as_ref().context("it was not started")?;
                if let Err(error) = running.says("Cooperage is ready").await {
                    // It may be started again, with other settings.
                    *child = None;
                    return Err(error);
                }
            }
            Parts::Many(many) => {
                for (port, _) in many.services.values() {
                    answers(&port.address().to_string()).await?;
                }
                answers(&address).await?;
            }
        }
        Ok(())
    }

    fn launch_one(&mut self) -> anyhow::Result<()> {
        if let Parts::One(Some(child)) = &mut self.parts
            && child.ended()?.is_none()
        {
            return Ok(());
        }
        let mut command = Command::new(binary("cooper")?);
        command
            .arg("up")
            .arg("--data")
            .arg(self.data())
            .args(["--listen", &self.address()])
            .env("COOPERAGE_REGISTRY__HOST", self.registry_host());
        command.envs(self.settings.iter().cloned());
        self.parts = Parts::One(Some(Child::spawn("cooper up", &mut command)?));
        Ok(())
    }

    async fn launch_many(&mut self) -> anyhow::Result<()> {
        let (settings, registry_host, address) = (self.of_services(), self.registry_host(), self.address());
        let (folder, data) = (self.folder.path().to_owned(), self.data());
        let Parts::Many(many) = &mut self.parts else {
            return Ok(());
        };
        if many.registry.is_none() {
            many.registry = Some(registry(&folder, &registry_host, true).await?);
        }
        for (name, _) in SERVICES {
            let (port, child) = match many.services.entry(name) {
                Entry::Occupied(occupied) => occupied.into_mut(),
                Entry::Vacant(vacant) => vacant.insert((Port::pick()?, None)),
            };
            if child.is_none() {
                *child = Some(service(name, &data.join(name), port, &settings)?);
            }
        }
        if many.gateway.is_none() {
            many.gateway = Some(gateway(&folder, &address, &many.services)?);
        }
        Ok(())
    }

    /// The settings of every service of the separate shape.
    fn of_services(&self) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        if let Parts::Many(many) = &self.parts {
            let path = |path: PathBuf| path.to_string_lossy().into_owned();
            let own = [
                ("COOPERAGE_NATS__URL", many.nats.url()),
                ("COOPERAGE_NATS__PASSWORDS", path(many.nats.passwords())),
                ("COOPERAGE_AUTH__PUBLIC_KEY", path(self.key.public())),
                ("COOPERAGE_REGISTRY__HOST", self.registry_host()),
                ("COOPERAGE_REGISTRY__URL", format!("http://{}", self.registry_host())),
            ];
            settings.extend(own.map(|(name, value)| (name.to_owned(), value)));
        }
        settings.extend(self.settings.iter().cloned());
        settings
    }

    /// Another process of a service of the separate shape, with a data folder of its own. Calls don't get to it.
    pub async fn another(&self, name: &'static str, folder: &str) -> anyhow::Result<Child> {
        let port = Port::pick()?;
        let child = service(name, &self.data().join(folder), &port, &self.of_services())?;
        answers(&port.address().to_string()).await?;
        Ok(child)
    }

    /// Where clients call: `host:port`.
    pub fn address(&self) -> String {
        self.listen.address().to_string()
    }

    pub fn registry_host(&self) -> String {
        self.registry.address().to_string()
    }

    /// The data folder; of the separate shape, the folder of all data folders.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Somebody with a token.
    pub fn user(&self, name: &str) -> anyhow::Result<User> {
        User::new(&self.address(), &self.token(name, false)?)
    }

    pub fn administrator(&self, name: &str) -> anyhow::Result<User> {
        User::new(&self.address(), &self.token(name, true)?)
    }

    /// Somebody with whatever stands there for a token.
    pub fn bearer(&self, token: &str) -> anyhow::Result<User> {
        User::new(&self.address(), token)
    }

    /// `cooper`, as somebody who has a home of their own.
    pub fn cooper(&self, name: &str) -> anyhow::Result<Command> {
        self.command(name, false)
    }

    /// `cooper`, as an administrator of the platform.
    pub fn administrators_cooper(&self, name: &str) -> anyhow::Result<Command> {
        self.command(name, true)
    }

    fn command(&self, name: &str, is_administrator: bool) -> anyhow::Result<Command> {
        let mut command = Command::new(binary("cooper")?);
        command
            .env("COOPERAGE_SERVER", format!("http://{}", self.address()))
            .env("COOPERAGE_TOKEN", self.token(name, is_administrator)?)
            .env("XDG_CONFIG_HOME", self.folder.path().join(name))
            .current_dir(self.folder.path());
        Ok(command)
    }

    /// Everything that somebody's commands did is seen by their calls from now on.
    pub fn saw_commands(&self, name: &str, user: &User) -> anyhow::Result<()> {
        let file = format!("{name}/cooperage/{}/position", self.address());
        user.saw(fs::read_to_string(self.folder.path().join(file))?.parse()?);
        Ok(())
    }

    fn token(&self, name: &str, is_administrator: bool) -> anyhow::Result<String> {
        self.key
            .sign(name, is_administrator, Duration::from_hours(1), &Clock::system())
    }

    /// kill -9 of `cooper up`, or of one service.
    pub fn kill(&mut self, service: &str) {
        match &mut self.parts {
            Parts::One(child) => *child = None,
            Parts::Many(many) => {
                if let Some((_, child)) = many.services.get_mut(service) {
                    *child = None;
                }
            }
        }
    }

    /// Asks the processes with services to end, and waits for that.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let children: Vec<&mut Option<Child>> = match &mut self.parts {
            Parts::One(child) => vec![child],
            Parts::Many(many) => many.services.values_mut().map(|(_, child)| child).collect(),
        };
        for child in children {
            if let Some(mut child) = child.take() {
                child.stop()?;
            }
        }
        Ok(())
    }

    /// The data folder of each process.
    pub fn data_folders(&self) -> Vec<PathBuf> {
        match &self.parts {
            Parts::One(_) => vec![self.data()],
            Parts::Many(_) => SERVICES.iter().map(|(name, _)| self.data().join(name)).collect(),
        }
    }

    /// Where each process that runs is called.
    fn processes(&self) -> Vec<String> {
        match &self.parts {
            Parts::One(child) => child.iter().map(|_| self.address()).collect(),
            Parts::Many(many) => {
                let running = many.services.values().filter(|(_, child)| child.is_some());
                running.map(|(port, _)| port.address().to_string()).collect()
            }
        }
    }

    /// The process of `cooper up`, or of one service.
    pub fn child(&self, service: &str) -> Option<&Child> {
        match &self.parts {
            Parts::One(child) => child.as_ref(),
            Parts::Many(many) => many.services.get(service)?.1.as_ref(),
        }
    }

    /// The NATS server of the separate shape.
    pub fn nats(&mut self) -> Option<&mut NatsServer> {
        match &mut self.parts {
            Parts::One(_) => None,
            Parts::Many(many) => Some(&mut many.nats),
        }
    }

    /// The registry of the separate shape.
    pub fn registry(&self) -> Option<&Child> {
        match &self.parts {
            Parts::One(_) => None,
            Parts::Many(many) => many.registry.as_ref(),
        }
    }

    /// kill -9 of the registry of the separate shape.
    pub fn kill_registry(&mut self) {
        if let Parts::Many(many) = &mut self.parts {
            many.registry = None;
        }
    }

    /// Starts the registry of the separate shape again: one that takes pushes, or one under maintenance, which takes none.
    pub async fn restart_registry(&mut self, takes_pushes: bool) -> anyhow::Result<()> {
        self.kill_registry();
        let (folder, host) = (self.folder.path().to_owned(), self.registry_host());
        if let Parts::Many(many) = &mut self.parts {
            many.registry = Some(registry(&folder, &host, takes_pushes).await?);
        }
        Ok(())
    }
}

/// Every story ends with each view being what the log says, and leaves nothing in the engine of the machine.
impl Drop for Platform {
    fn drop(&mut self) {
        let host = self.registry_host();
        let is_compared = !self.is_left && !std::thread::panicking();
        let processes = if is_compared { self.processes() } else { vec![] };
        let token = self.token("operator", true);
        let ending = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                if let Err(error) = crate::engine::forget(&host).await {
                    eprintln!("the engine was not cleaned: {error:#}");
                }
                rebuilt::ensure_same(&processes, &token?).await
            })
        });
        let ended = ending.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
        if let Err(error) = ended.map_err(|error| format!("{error:#}"))
            && is_compared
        {
            panic!("at the end of the story: {error}");
        }
    }
}
