//! Whatever files no revision of a living image is built from should be gone a day after they were uploaded.
//!
//! A save or an upload at the same moment is safe: each of them *keeps* the files first, and the store removes
//! nothing that was kept since it was listed. The list is made before the view is asked, and the view has everything
//! that was written until then. So what keeps its files before the list is younger than a day in it, and what does
//! so after the list makes the removal void.

use crate::view;
use anyhow::Context as _;
use eventlog::View;
use service::World;
use std::time::Duration;

const EVERY: Duration = Duration::from_hours(1);
const RETRY: Duration = Duration::from_mins(1);
const KEPT: Duration = Duration::from_hours(24);
const CATCH_UP: Duration = Duration::from_secs(30);

/// By the clock alone: no entry makes files older.
pub(crate) async fn remove_unneeded_files(world: World, view: View) -> anyhow::Result<()> {
    loop {
        let wait = match pass(&world, &view).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!("unneeded files can't be removed: {error:#}");
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => (),
            () = world.stop.cancelled() => return Ok(()),
        }
    }
}

async fn pass(world: &World, view: &View) -> anyhow::Result<()> {
    let blobs = world.nats.blobs();
    let before_ms = world.clock.now_ms() - i64::try_from(KEPT.as_millis())?;
    let mut old = blobs.list().await?;
    old.retain(|stored| stored.kept_ms < before_ms);
    if !old.is_empty() {
        let head = world.log.head().await?;
        view.reach(head, CATCH_UP).await.context("the view is not up to date")?;
        let digests: Vec<&str> = old.iter().map(|stored| stored.digest.as_str()).collect();
        let needed = view::needed(view, &digests).await?;
        for stored in old.iter().filter(|stored| !needed.contains(&stored.digest)) {
            if blobs.remove(stored).await? {
                tracing::info!(digest = stored.digest, "removed files that nothing is built from");
            }
        }
    }
    blobs.reap(before_ms).await?;
    Ok(())
}
