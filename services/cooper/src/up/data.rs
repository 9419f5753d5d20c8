//! The data folder, and its lock: of all who would write into the folder, one lives at a time.
//!
//! nats-server takes no lock on its store, and of two servers on one store each acknowledges what the other destroys.
//! So the children get the lock too, as their stdin, which they never read: it lives as long as the last of them, no
//! other program inherits it by accident, and a process with it there can be nothing but a child of a `cooper up`.

use super::ends;
use crate::failure::{Exit, Failure};
use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::time::{Instant, sleep};

const ROUND: Duration = Duration::from_millis(20);
/// How long a holder may be on its way out before it counts as one that stays.
const REFUSE_AFTER: Duration = Duration::from_millis(200);
/// How long a left-over child may take to end by itself.
const KILL_AFTER: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);

/// A data folder that is ours as long as this lives, and no longer than the last child that [`Data::lend`] lent it to.
#[derive(Debug)]
pub(super) struct Data {
    folder: PathBuf,
    lock: File,
}

/// A process that has the lock open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    pid: i32,
    /// It was lent the lock.
    is_child: bool,
}

impl Data {
    /// Takes the folder, which is made if it is not there. What a killed `cooper up` left running in it is ended.
    pub(super) async fn open(folder: &Path) -> Result<Self, Failure> {
        let mut data = Self::prepare(folder)
            .with_context(|| format!("the data folder {} can't be used", folder.display()))
            .map_err(ends(Exit::Unavailable))?;
        data.take().await?;
        Ok(data)
    }

    fn prepare(folder: &Path) -> anyhow::Result<Self> {
        make_private(folder)?;
        let folder = folder.canonicalize()?;
        for part in ["keys", "logs", "nats", "registry"] {
            make_private(&folder.join(part))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(folder.join("lock"))?;
        Ok(Self { folder, lock })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    /// The lock, as the stdin of a child.
    pub(super) fn lend(&self) -> anyhow::Result<Stdio> {
        Ok(self
            .lock
            .try_clone()
            .context("this process has too many files open")?
            .into())
    }

    async fn take(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        let mut told = Vec::new();
        loop {
            match self.lock.try_lock() {
                Ok(()) => {
                    return self.sign().map_err(ends(Exit::Unavailable));
                }
                Err(TryLockError::WouldBlock) => (),
                Err(TryLockError::Error(error)) => {
                    let sentence = format!("{} can't be locked: {error}", self.join("lock").display());
                    return Err(Failure::new(Exit::Unavailable, sentence));
                }
            }
            let holders = self.holders();
            let waited = began.elapsed();
            if let Some(owner) = self.owner(&holders)
                && waited > REFUSE_AFTER
            {
                return Err(self.taken(&format!("`cooper up` (process {owner})")));
            }
            if waited > PATIENCE {
                return Err(self.taken("a process that can't be seen from here"));
            }
            let signal = if waited > KILL_AFTER {
                Signal::SIGKILL
            } else {
                Signal::SIGTERM
            };
            for orphan in orphans(&holders) {
                if !told.contains(&(orphan, signal)) {
                    tracing::info!("ending {}, which a killed `cooper up` left behind", program(orphan));
                    told.push((orphan, signal));
                    // It may be gone by now, which is as well.
                    let _ = kill(Pid::from_raw(orphan), signal);
                }
            }
            sleep(ROUND).await;
        }
    }

    fn taken(&self, by: &str) -> Failure {
        let folder = self.folder.display();
        let sentence = format!("{folder} is in use by {by}: stop it, or choose another folder with --data");
        Failure::new(Exit::NotNow, sentence)
    }

    /// Says in the lock whose it is, for the sentence that refuses the next one.
    fn sign(&mut self) -> anyhow::Result<()> {
        self.lock.rewind()?;
        self.lock.set_len(0)?;
        Ok(write!(self.lock, "{}", std::process::id())?)
    }

    /// The process that signed the lock, if it still has it.
    fn owner(&mut self, holders: &[Holder]) -> Option<i32> {
        let mut text = String::new();
        self.lock
            .rewind()
            .and_then(|()| self.lock.read_to_string(&mut text))
            .ok()?;
        let owner = text.trim().parse().ok()?;
        holders
            .contains(&Holder {
                pid: owner,
                is_child: false,
            })
            .then_some(owner)
    }

    /// Every other process that has the lock open, as far as this user may see them.
    fn holders(&self) -> Vec<Holder> {
        let path = self.join("lock");
        let ours = std::process::id();
        let numbers = |folder: &Path| -> Vec<u32> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect()
        };
        let holder = |pid: u32| {
            let files = PathBuf::from(format!("/proc/{pid}/fd"));
            // By name, because to look at a file may hang where the file lies on a server that is gone.
            let is_lock = |file: u32| fs::read_link(files.join(file.to_string())).is_ok_and(|open| open == path);
            let is_child = is_lock(0);
            (is_child || numbers(&files).into_iter().any(is_lock)).then_some(Holder {
                pid: i32::try_from(pid).ok()?,
                is_child,
            })
        };
        numbers(Path::new("/proc"))
            .into_iter()
            .filter(|&pid| pid != ours)
            .filter_map(holder)
            .collect()
    }
}

/// Children of a process that is no more: none that has the lock is their parent.
fn orphans(holders: &[Holder]) -> Vec<i32> {
    let has_parent =
        |child: &Holder| parent(child.pid).is_some_and(|parent| holders.iter().any(|one| one.pid == parent));
    holders
        .iter()
        .filter(|holder| holder.is_child && !has_parent(holder))
        .map(|holder| holder.pid)
        .collect()
}

fn make_private(folder: &Path) -> anyhow::Result<()> {
    if !folder.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    Ok(())
}

/// The fourth word of `/proc/<pid>/stat`; the second is in parentheses, and may have any character in it.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn program(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} (process {pid})", name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::fs::PermissionsExt as _, process::Command};

    fn sleeper(data: &Data) -> std::process::Child {
        Command::new("sleep")
            .arg("60")
            .stdin(data.lend().unwrap())
            .spawn()
            .unwrap()
    }

    /// Leaves a child behind, as a killed process does: the shell in between ends at once.
    fn orphan(data: &Data) -> i32 {
        let shell = ["-c", "exec 3<&0; sleep 60 <&3 3<&- >/dev/null 2>&1 & echo $!"];
        let output = Command::new("sh")
            .args(shell)
            .stdin(data.lend().unwrap())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    #[tokio::test]
    async fn a_folder_is_private_and_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let data = Data::open(&path).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(
            fs::read_to_string(path.join("lock")).unwrap(),
            std::process::id().to_string()
        );
        drop(data);
        Data::open(&path).await.unwrap();
    }

    #[tokio::test]
    async fn the_lock_lives_as_long_as_the_last_child_and_a_left_over_child_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let data = Data::open(folder.path()).await.unwrap();
        let orphan = orphan(&data);
        drop(data);
        let began = Instant::now();
        let data = Data::open(folder.path()).await.unwrap();
        assert!(!Path::new(&format!("/proc/{orphan}/exe")).exists());
        assert!(began.elapsed() < KILL_AFTER, "it was asked politely");
        assert_eq!(data.holders(), []);
    }

    #[tokio::test]
    async fn a_child_whose_parent_lives_is_no_left_over() {
        let folder = tempfile::tempdir().unwrap();
        let data = Data::open(folder.path()).await.unwrap();
        let mut child = sleeper(&data);
        let pid = i32::try_from(child.id()).unwrap();
        let holder = Holder { pid, is_child: true };
        while data.holders() != [holder] {
            sleep(ROUND).await;
        }
        let us = Holder {
            pid: i32::try_from(std::process::id()).unwrap(),
            is_child: false,
        };
        assert_eq!(orphans(&[holder, us]), [0; 0]);
        assert_eq!(orphans(&[holder]), [pid]);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
