//! GetQueue: what waits, in which order, and why.

use super::Api;
use crate::{
    policy,
    view::{self, Row, Stage},
};
use access::{Denied, Role};
use proto::builder::v1::{GetQueueRequest, GetQueueResponse, QueuedBuild};
use service::{Failure, timestamp};
use tonic::Request;

impl Api {
    /// Places count everybody's builds; those of others show no image.
    pub(super) async fn queue(&self, request: Request<GetQueueRequest>) -> Result<GetQueueResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let access = &self.world.access;
        let mut visible = access.visible(&call.caller).await?;
        if !request.workspace.is_empty() {
            let one = access
                .workspace(&call.caller, &request.workspace, Role::Participant)
                .await?;
            visible = visible.within(&one.to_string()).without_shared();
        }
        let is_visible = |row: &Row| visible.right(&row.workspace, &row.image).is_some();
        let rows = view::waiting_or_running(&self.view).await?;
        let slots = self.world.config.builder.slots + self.engines.slots_elsewhere();
        let (running, waiting): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.stage() == Stage::Running);
        let busy = running.len();
        let reason = self.engines.trouble().unwrap_or_else(|| {
            if busy >= slots {
                format!("{busy} of {slots} slots are busy")
            } else {
                "it is about to start".to_owned()
            }
        });
        let ordered = policy::in_turn(&running, waiting);
        let running = running.iter().map(|row| (row, 0, ""));
        let waiting = ordered
            .iter()
            .enumerate()
            .map(|(index, row)| (row, index + 1, reason.as_str()));
        let mut builds = Vec::new();
        for (row, place, reason) in running.chain(waiting).filter(|(row, ..)| is_visible(row)) {
            let name = match access.any_image(&call.caller, &row.image).await {
                Ok(image) => image.name.short(),
                // The view of the rights may be a moment behind.
                Err(Denied::NoSuchImage) => String::new(),
                Err(denied) => return Err(denied.into()),
            };
            builds.push(QueuedBuild {
                build: row.id.clone(),
                image: row.image.clone(),
                place: u32::try_from(place).unwrap_or(u32::MAX),
                reason: reason.to_owned(),
                queued: timestamp(row.queued_ms()),
                name,
            });
        }
        Ok(GetQueueResponse {
            builds,
            slots: u32::try_from(slots).unwrap_or(u32::MAX),
            busy: u32::try_from(busy).unwrap_or(u32::MAX),
        })
    }
}
