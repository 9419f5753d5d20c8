//! HistoryService.

use super::read_token;
use crate::{
    policy::Signed,
    view::{self, HistoryRow},
};
use eventlog::View;
use futures::stream::BoxStream;
use proto::catalog::v1::{
    GetImageHistoryRequest, GetImageHistoryResponse, HistoryEntry, VerifyHistoryRequest, VerifyHistoryResponse,
    history_service_server::HistoryService,
};
use service::{Failure, World, invalid, page, telemetry, timestamp};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

pub(crate) struct HistoryApi {
    pub(super) world: World,
    pub(super) view: View,
    pub(super) signed: watch::Receiver<Option<Signed>>,
}

impl HistoryApi {
    pub(crate) fn new(world: &World, view: &View, signed: watch::Receiver<Option<Signed>>) -> Self {
        Self {
            world: world.clone(),
            view: view.clone(),
            signed,
        }
    }

    async fn image(&self, request: Request<GetImageHistoryRequest>) -> Result<GetImageHistoryResponse, Failure> {
        let call = self.world.admit(request.metadata(), &self.view).await?;
        let request = request.into_inner();
        let located = self.world.access.any_image(&call.caller, &request.image).await?;
        let before = match read_token::<2>(&request.page_token)? {
            None => (i64::MAX, i64::MAX),
            Some([position, index]) => {
                let parse = |text: String| {
                    text.parse()
                        .map_err(|_| invalid("page_token", "not a token of this call"))
                };
                (parse(position)?, parse(index)?)
            }
        };
        let limit = page(request.page_size)?;
        let rows = view::image_history(&self.view, &located.image.to_string(), before, limit).await?;
        let is_full = i64::try_from(rows.len()).is_ok_and(|length| length == limit);
        let next_page_token = match rows.last() {
            Some(last) if is_full => format!("{}\n{}", last.position, last.idx),
            _ => String::new(),
        };
        Ok(GetImageHistoryResponse {
            entries: rows.into_iter().map(entry).collect(),
            next_page_token,
        })
    }
}

fn entry(row: HistoryRow) -> HistoryEntry {
    HistoryEntry {
        position: row.position.cast_unsigned(),
        time: timestamp(row.time_ms),
        actor: row.actor,
        r#type: row.r#type,
        summary: row.summary,
        request_id: row.request_id,
        cause: row.cause.cast_unsigned(),
        trace_id: telemetry::trace_id(&row.traceparent).to_owned(),
        after_deletion: row.after_deletion,
    }
}

#[tonic::async_trait]
impl HistoryService for HistoryApi {
    async fn get_image_history(
        &self,
        request: Request<GetImageHistoryRequest>,
    ) -> Result<Response<GetImageHistoryResponse>, Status> {
        Ok(self.image(request).await.map(Response::new)?)
    }

    type VerifyHistoryStream = BoxStream<'static, Result<VerifyHistoryResponse, Status>>;

    async fn verify_history(
        &self,
        request: Request<VerifyHistoryRequest>,
    ) -> Result<Response<Self::VerifyHistoryStream>, Status> {
        Ok(self.verify(request).await.map(Response::new)?)
    }
}
