//! Rebuilds every view of a platform beside the live one, and tells which were not the same.

use crate::User;
use futures::{StreamExt as _, future::join_all};
use proto::admin::v1::{
    ListViewsRequest, RebuildViewRequest, RebuildViewResponse, RebuiltView, ViewStanding, rebuild_view_response::Step,
};
use std::time::Duration;
use tonic::Status;

/// What a story took away from a process, such as its log, that process can't compare with.
const PATIENCE: Duration = Duration::from_secs(10);

/// Each view that differs, with its tables. A view that is in trouble when the story ends says so itself.
pub(super) async fn differing(processes: Vec<User>) -> Vec<(String, RebuiltView)> {
    let each = processes.iter().map(|process| async {
        let compared = tokio::time::timeout(PATIENCE, compared(process)).await;
        compared.ok().and_then(Result::ok).unwrap_or_default()
    });
    let compared = join_all(each).await.into_iter().flatten();
    compared.filter(|(_, rebuilt)| !rebuilt.differing.is_empty()).collect()
}

async fn compared(process: &User) -> Result<Vec<(String, RebuiltView)>, Status> {
    let views = process
        .admin()
        .list_views(ListViewsRequest {})
        .await?
        .into_inner()
        .views;
    let mut compared = Vec::new();
    for ViewStanding { name, .. } in views.into_iter().filter(|view| view.trouble.is_empty()) {
        let request = RebuildViewRequest { name: name.clone() };
        let mut steps = process.admin().rebuild_view(request).await?.into_inner();
        while let Some(RebuildViewResponse { step }) = steps.next().await.transpose()? {
            if let Some(Step::Rebuilt(rebuilt)) = step {
                compared.push((name.clone(), rebuilt));
            }
        }
    }
    Ok(compared)
}
