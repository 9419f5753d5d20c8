//! A door to the engine that the tests run on: a socket of one test's own, which it can shut or hold without disturbing
//! anybody else.

use anyhow::{Context as _, bail};
use std::{
    env, fs,
    path::{Path, PathBuf},
    pin::pin,
    thread,
};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nobody listens, and every connection is broken.
    Shut,
    /// Who is connected stays so, and nobody gets an answer.
    Held,
}

pub struct EngineDoor {
    folder: TempDir,
    wanted: watch::Sender<State>,
    reached: watch::Receiver<State>,
}

impl EngineDoor {
    pub async fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("cooperage-door-").tempdir()?;
        let engine = env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let engine = engine.strip_prefix("unix://").map(PathBuf::from);
        let engine = engine.context("the engine of the tests must be at a unix socket")?;
        let (wanted, state) = watch::channel(State::Open);
        let (tell, reached) = watch::channel(State::Shut);
        let socket = folder.path().join("engine.sock");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // It ends with `wanted`.
        thread::spawn(move || runtime.block_on(keep(&socket, &engine, state, &tell)));
        let door = Self {
            folder,
            wanted,
            reached,
        };
        door.open().await?;
        Ok(door)
    }

    /// As `COOPERAGE_ENGINE__HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("engine.sock").display())
    }

    pub async fn open(&self) -> anyhow::Result<()> {
        self.turn(State::Open).await
    }

    /// As if the engine had died.
    pub async fn shut(&self) -> anyhow::Result<()> {
        self.turn(State::Shut).await
    }

    /// As if the engine had stopped to work, without an end.
    pub async fn hold(&self) -> anyhow::Result<()> {
        self.turn(State::Held).await
    }

    async fn turn(&self, wanted: State) -> anyhow::Result<()> {
        self.wanted.send_replace(wanted);
        let mut reached = self.reached.clone();
        if reached.wait_for(|state| *state == wanted).await.is_err() {
            bail!("nobody keeps the door");
        }
        Ok(())
    }
}

async fn keep(
    socket: &Path,
    engine: &Path,
    mut wanted: watch::Receiver<State>,
    reached: &watch::Sender<State>,
) -> anyhow::Result<()> {
    let mut listener: Option<UnixListener> = None;
    let mut visitors = JoinSet::new();
    loop {
        let state = *wanted.borrow_and_update();
        if state == State::Shut {
            listener = None;
            visitors.shutdown().await;
        } else if listener.is_none() {
            if socket.exists() {
                fs::remove_file(socket)?;
            }
            listener = Some(UnixListener::bind(socket)?);
        }
        reached.send_replace(state);
        let visitor = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = visitor => {
                let (client, _) = accepted?;
                visitors.spawn(lead(client, engine.to_owned(), wanted.clone()));
            }
            changed = wanted.changed() => if changed.is_err() { return Ok(()) },
            Some(_) = visitors.join_next() => (),
        }
    }
}

async fn lead(mut client: UnixStream, engine: PathBuf, mut wanted: watch::Receiver<State>) -> anyhow::Result<()> {
    let mut engine = UnixStream::connect(engine).await?;
    let mut copying = pin!(copy_bidirectional(&mut client, &mut engine));
    loop {
        let is_open = *wanted.borrow_and_update() == State::Open;
        tokio::select! {
            copied = &mut copying, if is_open => return Ok(copied.map(drop)?),
            changed = wanted.changed() => changed?,
        }
    }
}
