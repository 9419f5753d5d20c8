//! A disk that fills up under the platform and is freed again: nothing acknowledged is lost, and everybody is told.

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::Uid,
};
use proto::{builder::v1::BuildPhase, catalog::v1::BuildOutcome};
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tests::{BUSYBOX, NatsServer, Platform, Shape, User, busybox, reason};
use tokio::time::timeout;
use tonic::{Code, Status};

const WITHIN: Duration = Duration::from_secs(20);

/// A small disk, mounted over a folder. Only this test and what it starts see it: it goes with the last of them.
struct Disk(PathBuf);

impl Disk {
    /// Puts a folder onto a disk of its own, with what it holds. `None` for who may not mount.
    fn under(folder: &Path, bytes: u64) -> anyhow::Result<Option<Self>> {
        if !Uid::effective().is_root() {
            eprintln!("SKIPPED: only root can mount a small disk");
            return Ok(None);
        }
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let before = tempfile::tempdir()?;
        NatsServer::copy_store(folder, before.path())?;
        let size = format!("size={bytes},mode=0700");
        mount(
            Some("tmpfs"),
            folder,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )?;
        let disk = Self(folder.to_owned());
        for entry in fs::read_dir(before.path())? {
            let (from, to) = (entry?.path(), folder);
            let to = to.join(from.file_name().unwrap_or_default());
            if from.is_dir() {
                NatsServer::copy_store(&from, &to)?;
            } else {
                fs::copy(from, to)?;
            }
        }
        Ok(Some(disk))
    }

    /// Leaves no byte.
    fn fill(&self) -> anyhow::Result<()> {
        let mut filler = OpenOptions::new().append(true).create(true).open(self.filler())?;
        for bytes in [64 * 1024, 512, 1] {
            let block = vec![0; bytes];
            loop {
                match filler.write(&block) {
                    Ok(_) => (),
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// What somebody who saves different texts was told of each: its revision, or nothing certain.
#[derive(Default)]
struct Told(Vec<(String, Option<u32>)>);

impl Told {
    /// Saves another text, which a refusal must explain.
    async fn save(&mut self, user: &User, image: &str) -> Result<(), Status> {
        let text = format!("FROM scratch\n# {}: {}\n", self.0.len(), "x".repeat(1_000));
        let saved = timeout(WITHIN, user.save(image, &text, None)).await;
        let saved = saved.expect("a command hangs on a full disk");
        self.0.push((text, saved.as_ref().ok().map(|saved| saved.revision)));
        saved.map(drop)
    }

    async fn until_refused(&mut self, user: &User, image: &str) -> Status {
        for _ in 0..100 {
            if let Err(refused) = self.save(user, image).await {
                return refused;
            }
        }
        panic!("nothing is refused on a full disk");
    }

    async fn until_saved(&mut self, user: &User, image: &str) {
        let since = Instant::now();
        while let Err(refused) = self.save(user, image).await {
            assert!(since.elapsed() < WITHIN, "{refused:?}");
        }
    }

    /// Every text is there once if that was acknowledged, else at most once, and nothing else is.
    async fn is_true(&self, user: &User, image: &str, first: u32) -> anyhow::Result<()> {
        let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let newest = user.revisions(image).await?[0].number;
        for number in first..=newest {
            let spec = user.revision(image, Some(number)).await?.spec.unwrap_or_default();
            found.entry(spec.dockerfile).or_default().push(number);
        }
        for (text, told) in &self.0 {
            let there = found.remove(text).unwrap_or_default();
            match told {
                Some(revision) => assert_eq!(there, [*revision]),
                None => assert!(there.len() <= 1, "{there:?}"),
            }
        }
        assert!(found.is_empty(), "{found:?}");
        Ok(())
    }
}

// covers E2, E6
#[tokio::test]
async fn engine_a_disk_that_fills_up_and_is_freed_loses_nothing_and_needs_no_help() -> anyhow::Result<()> {
    busybox().await?;
    let mut platform = Platform::start(Shape::One).await?;
    let ada = platform.user("ada")?;
    let workspace = ada.workspace("vision").await?;
    let image = ada.image(&workspace, "vision/tool").await?;
    let now = std::time::UNIX_EPOCH.elapsed()?.as_nanos();
    ada.save(&image, &format!("FROM {BUSYBOX}\nRUN echo {now} && sleep 3\n"), None)
        .await?;
    platform.stop()?;
    let Some(disk) = Disk::under(&platform.data(), 64 << 20)? else {
        return Ok(());
    };
    platform.go_on().await?;
    let build = ada.start(&image).await?;
    ada.until(&image, &build.id, |build| build.phase() == BuildPhase::Building)
        .await?;

    disk.fill()?;
    let mut told = Told::default();
    let refused = told.until_refused(&ada, &image).await;
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    // Which of the two a full disk meets first is chance; what broke is for operators.
    let sentence = match reason(&refused).as_str() {
        "VIEW_BEHIND" => "can't be written at the moment",
        "LOG_UNAVAILABLE" => "perhaps its disk is full",
        _ => panic!("{refused:?}"),
    };
    assert!(refused.message().contains(sentence), "{}", refused.message());
    // Who has seen nothing newer reads what there was, and a build is under way until its end can be written.
    let reader = platform.user("ada")?;
    assert_eq!(reader.tile(&image).await?.active_build, build.id);
    assert_eq!(reader.get(&image, &build.id).await?.outcome(), BuildOutcome::InProgress);
    let seen = reader.revisions(&image).await?.len();
    assert!((1..=1 + told.0.len()).contains(&seen), "{seen}");

    disk.free()?;
    told.until_saved(&ada, &image).await;
    let ended = timeout(WITHIN, ada.until(&image, &build.id, |_| false)).await??;
    assert_eq!(
        (ended.outcome(), ended.attempt),
        (BuildOutcome::Succeeded, 1),
        "{}",
        ended.cause
    );
    tests::pull(&ada.resolve(&image).await?).await?;
    told.is_true(&ada, &image, 2).await?;
    super::left::nothing_beside_the_log(&mut platform).await
}

// covers E2, E6
#[tokio::test]
async fn a_full_disk_of_the_log_alone_is_told_with_what_to_do() -> anyhow::Result<()> {
    let mut platform = Platform::start(Shape::Many).await?;
    let ada = platform.user("ada")?;
    let workspace = ada.workspace("vision").await?;
    let image = ada.image(&workspace, "vision/tool").await?;
    let nats = platform.nats().unwrap();
    nats.stop()?;
    let Some(disk) = Disk::under(&nats.store(), 16 << 20)? else {
        return Ok(());
    };
    nats.restart().await?;

    let mut told = Told::default();
    told.until_saved(&ada, &image).await;
    disk.fill()?;
    let refused = told.until_refused(&ada, &image).await;
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unavailable, "LOG_UNAVAILABLE")
    );
    assert_eq!(
        refused.message(),
        "outcome unknown, repeat with the same request id: the event log takes no writes, perhaps its disk is full; \
         make room, then restart its server"
    );
    assert_eq!(ada.tile(&image).await?.id, image, "reads go on");

    disk.free()?;
    platform.nats().unwrap().restart().await?;
    told.until_saved(&ada, &image).await;
    told.is_true(&ada, &image, 1).await
}
