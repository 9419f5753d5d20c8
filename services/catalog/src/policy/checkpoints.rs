//! Whenever enough was written since the last checkpoint, or it is long ago, there should be a new one.
//!
//! It follows the log beside the views and keeps the tree in a file, which can be deleted: it grows back from the log,
//! and is held against the checkpoints that it meets there.

use crate::domain::{Checkpoints, KeepCheckpoint};
use aggregate::Aggregate as _;
use anyhow::{Context as _, ensure};
use eventlog::{Entry, ExecuteError, Position, Request, StreamId, View, Writer};
use futures::StreamExt as _;
use jiff::Timestamp;
use proto::events::CheckpointEvent;
use service::{World, auth::write_private};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};
use transparency::{Checkpoint, Nodes, PublicKey, SigningKey, leaf};

const REOPEN_DELAY: Duration = Duration::from_secs(1);
const CATCH_UP: Duration = Duration::from_secs(5);
/// Entries that are hashed between two writes to the file.
const CHUNK: usize = 1_000;

/// What is signed by now, for those who prove something with it.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) key: PublicKey,
    pub(crate) state: SignedState,
}

#[derive(Clone)]
pub(crate) enum SignedState {
    /// There is no checkpoint, or the tree has to grow back to it.
    Growing,
    /// The newest.
    UpTo(Checkpoint),
    /// The log is not the one that was signed.
    Changed,
}

impl Signed {
    pub(crate) fn newest(&self) -> Option<&Checkpoint> {
        match &self.state {
            SignedState::UpTo(newest) => Some(newest),
            SignedState::Growing | SignedState::Changed => None,
        }
    }
}

/// Where the tree lies.
pub(crate) fn tree(world: &World) -> PathBuf {
    world.config.data.join("views/log.tree")
}

pub(crate) async fn sign_checkpoints(
    world: World,
    view: View,
    writer: Writer,
    signed: watch::Sender<Option<Signed>>,
) -> anyhow::Result<()> {
    let key = key(&world)?;
    let stop = world.stop.clone();
    let signer = Signer {
        stream: StreamId::new(Checkpoints::CATEGORY, key.public().id()),
        key,
        world,
        view,
        writer,
        signed,
    };
    loop {
        match stop.run_until_cancelled(signer.follow()).await {
            None => return Ok(()),
            Some(Err(error)) if error.is::<Tampered>() => {
                tracing::error!("{error}: no checkpoint is signed any more; `cooper verify` says more");
                signer.tell(SignedState::Changed);
                stop.cancelled().await;
            }
            Some(Err(error)) => tracing::warn!("no checkpoint is signed for a moment: {error:#}"),
            Some(Ok(())) => (),
        }
        stop.run_until_cancelled(sleep(REOPEN_DELAY)).await;
    }
}

/// The key that is configured, or the data folder's own, which is made if there is none.
fn key(world: &World) -> anyhow::Result<SigningKey> {
    let configured: &Path = &world.config.catalog.checkpoint_key;
    let own: &Path = &world.config.data.join("keys/checkpoint.key");
    fs::create_dir_all(world.config.data.join("keys"))?;
    let is_own = configured.as_os_str().is_empty();
    let path = if is_own { own } else { configured };
    let read = match fs::read_to_string(path) {
        Ok(text) => text.parse().map_err(anyhow::Error::from),
        Err(error) if is_own && error.kind() == ErrorKind::NotFound => {
            let key = SigningKey::from_seed(&rand::random());
            write_private(path, key.to_secret_text().as_bytes()).map(|()| key)
        }
        Err(error) => Err(error.into()),
    };
    let key: SigningKey = read.with_context(|| format!("the key for checkpoints can't be used: {}", path.display()))?;
    // For whoever verifies.
    fs::write(own.with_extension("pub"), format!("{}\n", key.public()))?;
    Ok(key)
}

/// The log is not the one that was signed.
#[derive(Debug, thiserror::Error)]
#[error("the first {0} entries of the log are not those that were signed")]
struct Tampered(u64);

struct Signer {
    world: World,
    view: View,
    writer: Writer,
    key: SigningKey,
    stream: StreamId,
    signed: watch::Sender<Option<Signed>>,
}

/// How far the tree is, and what of it is signed.
struct Progress {
    nodes: Nodes,
    /// The size of the newest checkpoint.
    signed: u64,
    /// The last entry that is not a checkpoint itself: an idle platform stays idle.
    last: u64,
    /// When the first such entry came that is not signed.
    since: Option<Instant>,
    /// Before here, signing does not pay: the end of the log when the tree began to follow it.
    head: u64,
}

impl Signer {
    async fn follow(&self) -> anyhow::Result<()> {
        let newest = self.newest().await?;
        let mut progress = Progress {
            nodes: self.open(newest.as_ref())?,
            signed: newest.as_ref().map_or(0, |newest| newest.size),
            last: 0,
            since: None,
            head: self.world.log.head().await?.0,
        };
        let size = progress.nodes.size();
        ensure!(
            size <= progress.head,
            "the event log lost entries: {size} are signed, and it ends at {}",
            progress.head
        );
        // While the tree grows back, it proves nothing.
        let whole = newest.filter(|_| size == progress.signed);
        self.tell(whole.map_or(SignedState::Growing, SignedState::UpTo));
        let wait = Duration::from_secs(self.world.config.catalog.checkpoint_seconds);
        let mut chunks = self.world.log.follow(Position(size)).await?.ready_chunks(CHUNK);
        loop {
            let due = progress.since.map(|since| since + wait);
            let until_due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                chunk = chunks.next() => {
                    for entry in chunk.context("the log ended")? {
                        self.entry(&mut progress, &entry?).await?;
                    }
                    progress.nodes.flush()?;
                }
                () = until_due => self.sign(&mut progress).await?,
            }
        }
    }

    /// The newest checkpoint in the log.
    async fn newest(&self) -> anyhow::Result<Option<Checkpoint>> {
        let position = self.world.log.version(&self.stream).await?;
        if position == Position::default() {
            return Ok(None);
        }
        self.view.reach(position, CATCH_UP).await?;
        self.checkpoint(&self.view.entry(position).await?)
    }

    /// The checkpoint that an entry holds.
    fn checkpoint(&self, entry: &Entry) -> anyhow::Result<Option<Checkpoint>> {
        if entry.stream != self.stream {
            return Ok(None);
        }
        let CheckpointEvent::Signed(event) = entry.events()?.pop().context("an entry without an event")?;
        let opened = self.key.public().open(&event.note);
        opened.map(Some).map_err(|_| Tampered(entry.position.0).into())
    }

    /// The tree up to the newest checkpoint: what was written after it may be lost. One that does not fit grows anew.
    fn open(&self, newest: Option<&Checkpoint>) -> anyhow::Result<Nodes> {
        let path = tree(&self.world);
        if let Some(newest) = newest {
            match Nodes::open(&path, newest.size) {
                Ok(nodes) if nodes.root() == newest.root => return Ok(nodes),
                Ok(_) => tracing::warn!("{} is not the tree that was signed, making it again", path.display()),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => (),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Nodes::open(&path, 0)?)
    }

    async fn entry(&self, progress: &mut Progress, entry: &Entry) -> anyhow::Result<()> {
        progress.nodes.push(leaf(&entry.stream.to_string(), &entry.bytes));
        if entry.stream.category != Checkpoints::CATEGORY {
            progress.last = entry.position.0;
            progress.since.get_or_insert_with(Instant::now);
        }
        if let Some(met) = self.checkpoint(entry)? {
            progress.nodes.flush()?;
            if progress.nodes.frontier_of(met.size)?.root() != met.root {
                return Err(Tampered(met.size).into());
            }
            progress.signed = progress.signed.max(met.size);
            if progress.signed == met.size {
                self.tell(SignedState::UpTo(met));
            }
        }
        if progress.last <= progress.signed {
            progress.since = None;
        }
        let (size, signed) = (progress.nodes.size(), progress.signed);
        if size >= signed + self.world.config.catalog.checkpoint_entries && size >= progress.head {
            self.sign(progress).await?;
        }
        Ok(())
    }

    async fn sign(&self, progress: &mut Progress) -> anyhow::Result<()> {
        let size = progress.nodes.size();
        let is_catching_up = size < progress.head;
        progress.since = is_catching_up.then(Instant::now);
        if is_catching_up || progress.last <= progress.signed {
            return Ok(());
        }
        // What is signed must be in the file after a power failure, too.
        progress.nodes.flush()?;
        let file = progress.nodes.file()?;
        spawn_blocking(move || file.sync_data()).await??;
        let time = Timestamp::from_millisecond(self.world.clock.now_ms())?;
        let checkpoint = self.key.sign(size, progress.nodes.root(), time);
        let request = Request {
            actor: "system:catalog".to_owned(),
            id: self.world.ids.next().to_string(),
            judged_at: Position(size),
            urgent: true,
            ..Request::default()
        };
        let keep = KeepCheckpoint {
            size,
            note: checkpoint.note.clone(),
        };
        let kept = self
            .writer
            .execute::<Checkpoints>(&request, &self.stream.key, keep)
            .await;
        match kept {
            // Another process signed at the same time: its checkpoint comes with the log.
            Ok(_) | Err(ExecuteError::Refused(_)) => (),
            Err(error) => return Err(error.into()),
        }
        progress.signed = size;
        Ok(())
    }

    fn tell(&self, state: SignedState) {
        let key = self.key.public().clone();
        self.signed.send_replace(Some(Signed { key, state }));
    }
}
