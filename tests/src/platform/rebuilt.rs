//! Rebuilds every view of a platform beside the live one, and tells which were not the same.

use crate::User;
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, future::try_join_all};
use proto::admin::v1::{ListViewsRequest, RebuildViewRequest, RebuildViewResponse, rebuild_view_response::Step};
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// Fails when a view of one of these processes is not what the log says, or can't be compared.
pub(super) async fn ensure_same(processes: &[String], token: &str) -> anyhow::Result<()> {
    let compared = try_join_all(processes.iter().map(|address| compare(address, token)));
    timeout(PATIENCE, compared)
        .await
        .context("the views are not compared in time")??;
    Ok(())
}

async fn compare(address: &str, token: &str) -> anyhow::Result<()> {
    let process = User::new(address, token)?;
    let views = process
        .admin()
        .list_views(ListViewsRequest {})
        .await?
        .into_inner()
        .views;
    ensure!(!views.is_empty(), "a process without a view");
    for view in views {
        ensure!(view.trouble.is_empty(), "{} is in trouble: {}", view.name, view.trouble);
        let request = RebuildViewRequest {
            name: view.name.clone(),
        };
        let mut steps = process.admin().rebuild_view(request).await?.into_inner();
        let mut rebuilt = None;
        while let Some(RebuildViewResponse { step }) = steps.next().await.transpose()? {
            if let Some(Step::Rebuilt(ended)) = step {
                rebuilt = Some(ended);
            }
        }
        let rebuilt = rebuilt.with_context(|| format!("{} was not compared", view.name))?;
        ensure!(
            rebuilt.differing.is_empty(),
            "{} is not what the log says: {rebuilt:?}",
            view.name
        );
    }
    Ok(())
}
