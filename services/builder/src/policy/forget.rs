//! Whenever a build has ended, what was given with it should be gone.

use crate::{credentials::Vault, view};
use eventlog::View;
use service::World;
use std::time::Duration;
use tokio::time::sleep;

/// The builder that ends a build forgets at once; what it could not, or nobody builds any more, goes then.
const EVERY: Duration = Duration::from_mins(1);

pub(crate) async fn forget(world: World, view: View, vault: Vault) -> anyhow::Result<()> {
    loop {
        if let Err(error) = pass(&view, &vault).await {
            tracing::warn!(policy = "forget what was given", "{error:#}");
        }
        if world.stop.run_until_cancelled(sleep(EVERY)).await.is_none() {
            return Ok(());
        }
    }
}

/// What the view does not know yet may be queued a moment later.
async fn pass(view: &View, vault: &Vault) -> anyhow::Result<()> {
    for build in vault.list().await? {
        if view::has_ended(view, build).await? {
            vault.forget(build).await?;
        }
    }
    Ok(())
}
