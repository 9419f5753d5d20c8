//! Whatever dead attempts left behind should go: those of this worker in the log, its folder, images in the engine.

use super::{Builder, warn};
use crate::{
    docker::{Engine, Facts},
    run::artifact_prefix,
    view,
};
use anyhow::Context as _;
use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

/// How long a pass over the engine waits for its own view.
const CATCH_UP: Duration = Duration::from_secs(10);
const SWEEP_EVERY: Duration = Duration::from_mins(10);

impl Builder {
    /// What this worker had under way when it died is over, and leaves nothing behind.
    pub(super) async fn reap(&self) -> anyhow::Result<()> {
        let own = self.lease.worker.to_string();
        for row in view::running(&self.view).await? {
            if row.worker == own {
                self.lose(&row, "the builder stopped in the middle of the build")
                    .await?;
            }
        }
        let work = self.work_folder();
        if work.exists() {
            fs::remove_dir_all(&work).with_context(|| format!("{} can't be emptied", work.display()))?;
        }
        fs::create_dir_all(&work).with_context(|| format!("{} can't be made", work.display()))?;
        Ok(())
    }

    pub(super) fn work_folder(&self) -> PathBuf {
        self.world.config.data.join("work")
    }

    /// Dead builders, too, leave images in the engine.
    pub(super) async fn sweep(&self) {
        let mut changes = self.engines.changes();
        loop {
            changes.mark_unchanged();
            let swept = match self.engines.present() {
                Some((engine, facts)) => {
                    self.prune_cache(&engine, &facts).await;
                    self.reap_artifacts(&engine).await.inspect_err(warn).is_ok()
                }
                None => false,
            };
            self.reap_folders();
            if swept {
                tokio::time::sleep(SWEEP_EVERY).await;
            } else {
                // Also when it was asked and is still there.
                let _ = changes.changed().await;
            }
        }
    }

    /// What a build used within the time, and fits, is kept.
    async fn prune_cache(&self, engine: &Engine, facts: &Facts) {
        let settings = &self.world.config.builder;
        let hours = Some(settings.cache_hours_max).filter(|hours| *hours > 0);
        let bytes = Some(settings.cache_bytes_max).filter(|bytes| *bytes > 0 && facts.bounds_cache);
        for (hours, bytes) in [(hours, None), (None, bytes)] {
            if hours.is_none() && bytes.is_none() {
                continue;
            }
            match engine.prune_cache(hours, bytes).await {
                Ok(0) => (),
                Ok(freed) => tracing::info!("{freed} bytes of build cache are pruned"),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the build cache is not pruned"
                ),
            }
        }
    }

    /// Folders that no build can need any more: each goes with its build, unless that could not be done.
    fn reap_folders(&self) {
        let minutes = self.world.config.builder.build_minutes_max * 2;
        let oldest = Duration::from_secs(minutes * 60);
        for entry in fs::read_dir(self.work_folder()).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| modified.elapsed().ok());
            if age.is_some_and(|age| age > oldest) {
                let path = entry.path();
                let removed = if path.is_dir() {
                    fs::remove_dir_all(&path)
                } else {
                    fs::remove_file(&path)
                };
                if let Err(error) = removed {
                    tracing::warn!(error = &error as &dyn std::error::Error, "{} stays", path.display());
                }
            }
        }
    }

    /// Images that attempts left in the engine, and that neither an attempt under way nor a publication needs.
    ///
    /// The engine is shared with other builders: whatever lies in it was begun in the log before it was listed, so a
    /// view that has the log's end of after that knows who needs it.
    async fn reap_artifacts(&self, engine: &Engine) -> anyhow::Result<()> {
        let artifacts = engine.list_artifacts(artifact_prefix()).await?;
        if artifacts.is_empty() {
            return Ok(());
        }
        let head = self.world.log.head().await?;
        self.view.reach(head, CATCH_UP).await?;
        let needed: BTreeSet<String> = view::needed_artifacts(&self.view).await?;
        for artifact in artifacts {
            let attempt = artifact.rsplit_once(':').map(|(_, tag)| tag).unwrap_or_default();
            let build = attempt.split('-').next().unwrap_or_default();
            if !needed.contains(build) && view::is_known_attempt(&self.view, attempt).await? {
                // One that is in use now goes at the next pass, and keeps no other.
                if let Err(error) = engine.remove(&artifact).await {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "{artifact} stays in the engine for now"
                    );
                }
            }
        }
        Ok(())
    }
}
