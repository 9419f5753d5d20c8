//! `cooper up` as people run it: a release build, in a process of its own, on a data folder.

use anyhow::{Context as _, bail, ensure};
use eventlog::Clock;
use proto::{
    builder::v1::build_service_client::BuildServiceClient,
    catalog::v1::{
        CreateImageRequest, CreateWorkspaceRequest, ListImagesRequest, access_service_client::AccessServiceClient,
        history_service_client::HistoryServiceClient, image_service_client::ImageServiceClient,
        workspace_service_client::WorkspaceServiceClient,
    },
    editor::v1::editor_service_client::EditorServiceClient,
    registry::v1::registry_service_client::RegistryServiceClient,
};
use service::auth::LocalKey;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tests::Child;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// Whose token the platform writes.
pub(crate) const USER: &str = "ada";
/// The largest log takes a while until its views are there for the first time.
const PATIENCE: Duration = Duration::from_mins(5);
const LARGEST_ANSWER: usize = 64 << 20;

/// The programs that are measured.
pub(crate) struct Programs {
    cooper: PathBuf,
}

impl Programs {
    /// Builds what is not built yet.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        if let Some(cooper) = env::var_os("COOPER") {
            return Ok(Self { cooper: cooper.into() });
        }
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--release", "--locked", "--quiet", "-p", "cooper"])
            .current_dir(&root)
            .stdin(Stdio::null())
            .status()?;
        ensure!(built.success(), "cooper can't be built");
        Ok(Self {
            cooper: root.join("target/release/cooper"),
        })
    }

    /// To be given the words of one command.
    pub(crate) fn command(&self) -> Command {
        Command::new(&self.cooper)
    }
}

#[derive(Clone)]
pub(crate) struct Token(MetadataValue<Ascii>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub(crate) type Link = InterceptedService<Channel, Token>;

/// The calls that are measured, over one connection.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) workspaces: WorkspaceServiceClient<Link>,
    pub(crate) images: ImageServiceClient<Link>,
    pub(crate) editor: EditorServiceClient<Link>,
    pub(crate) builds: BuildServiceClient<Link>,
    pub(crate) history: HistoryServiceClient<Link>,
    pub(crate) access: AccessServiceClient<Link>,
    pub(crate) registry: RegistryServiceClient<Link>,
}

impl Client {
    /// A workspace for what is measured.
    pub(crate) async fn workspace(&mut self) -> anyhow::Result<(String, u64)> {
        let request = CreateWorkspaceRequest {
            name: "bench".to_owned(),
            ..CreateWorkspaceRequest::default()
        };
        let created = self.workspaces.create_workspace(request).await?.into_inner();
        Ok((created.id, created.position))
    }

    /// An image in a workspace that was created at a position.
    pub(crate) async fn image(&mut self, workspace: &(String, u64), name: &str) -> anyhow::Result<(String, u64)> {
        let request = CreateImageRequest {
            workspace: workspace.0.clone(),
            name: name.to_owned(),
            ..CreateImageRequest::default()
        };
        let created = self
            .images
            .create_image(at_least(request, workspace.1)?)
            .await?
            .into_inner();
        Ok((created.id, created.position))
    }
}

/// A call that must see what was written at a position.
pub(crate) fn at_least<T>(message: T, position: u64) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("cooperage-at-least", position.to_string().parse()?);
    Ok(request)
}

pub(crate) struct Platform {
    child: Child,
    data: PathBuf,
    /// From the start of the process until it answered a call.
    pub(crate) ready_after: Duration,
}

impl Platform {
    pub(crate) async fn start(programs: &Programs, data: &Path) -> anyhow::Result<Self> {
        Self::with(programs, data, &[]).await
    }

    /// With settings as the environment has them.
    pub(crate) async fn with(programs: &Programs, data: &Path, settings: &[(&str, String)]) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut command = Command::new(&programs.cooper);
        command
            .args(["up", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("COOPERAGE_REGISTRY__HOST", "127.0.0.1:0")
            // A tool of the project is found from the program's own folder, wherever this is run.
            .env("USER", USER)
            .env("XDG_CONFIG_HOME", data.join("config"))
            .envs(settings.iter().map(|(name, value)| (name, value)));
        let mut child = Child::spawn("cooper up", &mut command)?;
        // The last line that it says then.
        while let Err(error) = child.says("Ctrl-C stops everything").await {
            if began.elapsed() > PATIENCE || child.ended()?.is_some() {
                return Err(error);
            }
        }
        let mut platform = Self {
            child,
            data: data.to_owned(),
            ready_after: Duration::ZERO,
        };
        platform
            .client()
            .await?
            .images
            .list_images(ListImagesRequest {
                page_size: 1,
                ..<_>::default()
            })
            .await?;
        platform.ready_after = began.elapsed();
        Ok(platform)
    }

    /// The address of what is printed under a name.
    fn printed(&self, name: &str) -> anyhow::Result<String> {
        let said = self.child.said();
        let line = said
            .iter()
            .find_map(|line| line.trim().strip_prefix(name).map(str::trim));
        Ok(line
            .with_context(|| format!("cooper up did not say where its {name} is"))?
            .to_owned())
    }

    /// `host:port`
    pub(crate) fn registry(&self) -> anyhow::Result<String> {
        let url = self.printed("registry")?;
        Ok(url.trim_start_matches("http://").to_owned())
    }

    /// The address that clients call.
    pub(crate) fn server(&self) -> anyhow::Result<String> {
        self.printed("server")
    }

    /// Over a connection of its own.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let token = fs::read_to_string(self.data.join("local.token")).context("there is no token")?;
        self.client_with(token.trim()).await
    }

    /// The token of somebody who sees everything.
    pub(crate) fn administrator(&self) -> anyhow::Result<String> {
        self.token("root", true)
    }

    pub(crate) fn token(&self, user: &str, is_administrator: bool) -> anyhow::Result<String> {
        let key = LocalKey::open(&self.data)?;
        key.sign(user, is_administrator, Duration::from_hours(1), &Clock::system())
    }

    pub(crate) async fn client_with(&self, token: &str) -> anyhow::Result<Client> {
        let channel = Endpoint::from_shared(self.server()?)?
            .tcp_nodelay(true)
            .connect()
            .await?;
        let token = Token(format!("Bearer {token}").parse()?);
        let link = InterceptedService::new(channel, token);
        Ok(Client {
            workspaces: WorkspaceServiceClient::new(link.clone()),
            images: ImageServiceClient::new(link.clone()).max_decoding_message_size(LARGEST_ANSWER),
            editor: EditorServiceClient::new(link.clone()),
            builds: BuildServiceClient::new(link.clone()),
            history: HistoryServiceClient::new(link.clone()),
            access: AccessServiceClient::new(link.clone()),
            registry: RegistryServiceClient::new(link),
        })
    }

    /// A command for people, against this platform.
    pub(crate) fn command(&self, programs: &Programs, token: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(&programs.cooper);
        command
            .env("COOPERAGE_SERVER", self.server()?)
            .env("COOPERAGE_TOKEN", token)
            .env("XDG_CONFIG_HOME", self.data.join("config"));
        Ok(command)
    }

    /// Where the platform's own NATS server listens.
    pub(crate) fn nats(&self) -> anyhow::Result<String> {
        let settings =
            fs::read_to_string(self.data.join("nats/nats.conf")).context("the NATS server has no settings")?;
        let listen = settings.lines().find_map(|line| line.strip_prefix("listen: "));
        let address = listen.context("the NATS server's settings do not say where it listens")?;
        Ok(format!("nats://{}", address.trim_matches('"')))
    }

    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let status = self.child.stop()?;
        if !status.success() && status.code() != Some(130) {
            bail!("cooper up ended with {status}");
        }
        Ok(())
    }

    /// kill -9, and the programs beside it go with it.
    pub(crate) fn kill(mut self) {
        self.child.kill();
    }

    /// Bytes that the process with the services had in memory at most while something went on, beyond what it had before.
    pub(crate) async fn grown<T>(&self, during: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<u64> {
        let folder = PathBuf::from(format!("/proc/{}", self.child.pid()));
        let status = |name| anyhow::Ok(kibibytes(&fs::read_to_string(folder.join("status"))?, name));
        // Forgets the peak of before.
        fs::write(folder.join("clear_refs"), "5")?;
        let before = status("VmRSS:")?;
        during.await?;
        Ok(status("VmHWM:")?.saturating_sub(before))
    }

    /// Bytes in memory of all its processes: shared pages counted once, and as `ps` adds them up.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let mut tree = vec![self.child.pid()];
        let parents = parents()?;
        let mut next = 0;
        while let Some(&parent) = tree.get(next) {
            tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        let mut memory = Memory::default();
        for pid in tree {
            // One that just ended holds none.
            let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
                continue;
            };
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let (pss, rss) = (kibibytes(&rollup, "Pss:"), kibibytes(&rollup, "Rss:"));
            memory.pss += pss;
            memory.rss += rss;
            memory.processes.push((name.trim().to_owned(), pss));
        }
        Ok(memory)
    }
}

/// In bytes.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) pss: u64,
    pub(crate) rss: u64,
    pub(crate) processes: Vec<(String, u64)>,
}

fn kibibytes(rollup: &str, name: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or_default() * 1024
}

/// Every process and its parent.
fn parents() -> anyhow::Result<Vec<(u32, u32)>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name, in parentheses, may hold anything.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    Ok(parents)
}
