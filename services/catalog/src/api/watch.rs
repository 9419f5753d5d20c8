//! WatchImages: the tiles of a workspace as they are, then each that changes.

use super::image::ImageApi;
use crate::view;
use access::{Caller, Role};
use eventlog::Position;
use futures::stream::BoxStream;
use proto::catalog::v1::{WatchImagesRequest, WatchImagesResponse};
use service::Failure;
use std::collections::VecDeque;
use tokio::sync::watch;
use tonic::{Request, Status};

const BATCH: i64 = 200;

struct Watching {
    caller: Caller,
    workspace: String,
    seen: Position,
    caught_up: bool,
    ready: VecDeque<WatchImagesResponse>,
    changes: watch::Receiver<Position>,
}

impl ImageApi {
    pub(super) async fn watch(
        &self,
        request: Request<WatchImagesRequest>,
    ) -> Result<BoxStream<'static, Result<WatchImagesResponse, Status>>, Failure> {
        let call = self.world.admit(request.metadata(), &self.view).await?;
        let workspace = self
            .world
            .access
            .workspace(&call.caller, &request.into_inner().workspace, Role::Participant)
            .await?;
        let watching = Watching {
            caller: call.caller.clone(),
            workspace: workspace.to_string(),
            seen: Position::default(),
            caught_up: false,
            ready: VecDeque::new(),
            changes: self.view.applied(view::READS),
        };
        let api = Self {
            world: self.world.clone(),
            view: self.view.clone(),
            writer: self.writer.clone(),
            checks: self.checks.clone(),
        };
        let tiles = futures::stream::try_unfold((api, watching), |(api, mut watching)| async move {
            let next = api.next(&mut watching).await.map_err(Status::from)?;
            Ok(next.map(|next| (next, (api, watching))))
        });
        Ok(self.world.stream(&call, tiles))
    }

    async fn next(&self, watching: &mut Watching) -> Result<Option<WatchImagesResponse>, Failure> {
        loop {
            if let Some(response) = watching.ready.pop_front() {
                return Ok(Some(response));
            }
            watching.changes.mark_unchanged();
            self.view.goes_on()?;
            let position = self.view.position();
            // Membership may have ended since the last tile, and whatever woke this is to be judged by it.
            self.world.reach(self.world.access.view(), position).await?;
            self.world
                .access
                .workspace(&watching.caller, &watching.workspace, Role::Participant)
                .await?;
            let tiles = view::tiles_after(&self.view, &watching.workspace, watching.seen, BATCH).await?;
            for tile in &tiles {
                watching.seen = Position(tile.position);
                // What was deleted before the watch began is not news.
                if watching.caught_up || !tile.deleted {
                    let right = self.right_in(&watching.caller, tile).await?;
                    watching.ready.push_back(WatchImagesResponse {
                        image: Some(tile.image_for(right, self.world.access.internal_registry())),
                        position: tile.position,
                        caught_up: false,
                    });
                }
            }
            if !tiles.is_empty() {
                continue;
            }
            if !watching.caught_up {
                watching.caught_up = true;
                return Ok(Some(WatchImagesResponse {
                    image: None,
                    position: position.0,
                    caught_up: true,
                }));
            }
            if watching.changes.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}
