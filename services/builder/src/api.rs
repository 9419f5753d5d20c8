//! BuildService: a request becomes a command, a refusal a status.

mod queue;
mod start;
mod stream;

use crate::{
    credentials::Vault,
    domain::{Builds, BuildsCommand},
    policy::Engines,
    view::{self, Row, Stage},
};
use access::{Located, Right};
use eventlog::{Output, View, Writer};
use futures::stream::BoxStream;
use ids::BuildId;
use proto::{
    builder::v1::{
        Build, CancelBuildRequest, CancelBuildResponse, GetBuildRequest, GetBuildResponse, GetQueueRequest,
        GetQueueResponse, ListBuildsRequest, ListBuildsResponse, RepeatBuildRequest, RepeatBuildResponse,
        StartBuildRequest, StartBuildResponse, StreamLogRequest, StreamLogResponse, WatchBuildRequest,
        WatchBuildResponse, build_service_server::BuildService,
    },
    catalog::v1::BuildOutcome,
};
use service::{Call, Failure, World, invalid, page, status};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Request, Response, Status};

/// How long a cancel waits for the publication that decides about it.
const DECISION_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub(crate) struct Api {
    world: World,
    view: View,
    writer: Writer,
    output: Output,
    engines: Engines,
    asking: queue::Asked,
    vault: Vault,
}

impl Api {
    pub(crate) fn new(world: &World, view: &View, writer: &Writer, engines: &Engines, vault: &Vault) -> Self {
        Self {
            world: world.clone(),
            view: view.clone(),
            writer: writer.clone(),
            output: world.nats.output(),
            engines: engines.clone(),
            asking: queue::Asked::default(),
            vault: vault.clone(),
        }
    }

    async fn admit<T>(&self, request: Request<T>) -> Result<(Call, T), Failure> {
        let call = self.world.admit(request.metadata(), &self.view).await?;
        Ok((call, request.into_inner()))
    }

    /// The build that a request names; the newest when it names none.
    async fn find(&self, located: &Located, build: &str) -> Result<Row, Failure> {
        let image = located.image.to_string();
        let found = if build.is_empty() {
            view::newest(&self.view, &image).await
        } else {
            view::row(&self.view, &image, build).await
        };
        let none = || match build {
            "" => status(
                Code::NotFound,
                "NO_SUCH_BUILD",
                "this image was never built, build it first",
            ),
            _ => status(
                Code::NotFound,
                "NO_SUCH_BUILD",
                "no such build of this image, `image builds` lists them",
            ),
        };
        Ok(found?.ok_or_else(none)?)
    }

    fn show(&self, row: &Row) -> Build {
        let mut build = row.build(self.world.clock.now_ms(), self.world.access.internal_registry());
        if let Some(trouble) = self
            .engines
            .trouble(&self.world.config)
            .filter(|_| row.stage() == Stage::Queued)
        {
            build.cause = trouble;
        }
        build
    }

    async fn cancel(&self, request: Request<CancelBuildRequest>) -> Result<CancelBuildResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let command = eventlog::Request {
            urgent: true,
            ..call.request(&self.world, &request.request_id)?
        };
        let located = self
            .world
            .access
            .image(&call.caller, &request.image, Right::Owner)
            .await?;
        let row = self.find(&located, &request.build).await?;
        if row.outcome() == BuildOutcome::Succeeded {
            return Err(already_published().into());
        }
        if row.stage() == Stage::Ended && !row.cancel_requested {
            let sentence = "the build has ended, there is nothing to cancel";
            return Err(status(Code::FailedPrecondition, "BUILD_ENDED", sentence).into());
        }
        let build: BuildId = row.id.parse().map_err(|error| invalid("build", error))?;
        let cancel = BuildsCommand::RequestCancel { build };
        let done = self.writer.execute::<Builds>(&command, &located.image, cancel).await?;
        let row = match self.world.reach(&self.view, done.position).await {
            Ok(()) => self.decided(self.find(&located, &row.id).await?).await?,
            Err(_) => row.asked_to_stop(),
        };
        if row.outcome() == BuildOutcome::Succeeded {
            return Err(already_published().into());
        }
        Ok(CancelBuildResponse {
            position: row.position.max(done.position.0),
            build: Some(self.show(&row)),
        })
    }

    /// Once assembled, the publication decides whether a cancel came in time: mostly at once, so whoever asked is told.
    async fn decided(&self, mut row: Row) -> Result<Row, Failure> {
        let patience = Instant::now() + DECISION_PATIENCE;
        let mut changes = self.journal_changes(&row.image);
        while row.stage() == Stage::Pushing {
            let changed = self.changed(&mut changes, &row, row.position);
            let Some(newer) = timeout_at(patience, changed).await.unwrap_or(Ok(None))? else {
                break;
            };
            row = newer;
        }
        Ok(row)
    }

    async fn get(&self, request: Request<GetBuildRequest>) -> Result<GetBuildResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self.world.access.any_image(&call.caller, &request.image).await?;
        let row = self.find(&located, &request.build).await?;
        let mut build = self.show(&row);
        // The journal answers also while the server with the logs does not.
        build.log_bytes = self.output.length(&row.id).await.ok().map(u64::cast_signed);
        Ok(GetBuildResponse { build: Some(build) })
    }

    async fn list(&self, request: Request<ListBuildsRequest>) -> Result<ListBuildsResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self.world.access.any_image(&call.caller, &request.image).await?;
        let before = match request.page_token.as_str() {
            "" => i64::MAX,
            token => token
                .parse()
                .map_err(|_| invalid("page_token", "not a token that this call gave"))?,
        };
        let limit = page(request.page_size)?;
        let (rows, has_more) = view::journal(&self.view, &located.image.to_string(), before, limit).await?;
        let next = rows.last().filter(|_| has_more);
        Ok(ListBuildsResponse {
            builds: rows.iter().map(|row| self.show(row)).collect(),
            next_page_token: next.map(|row| row.queued_at.to_string()).unwrap_or_default(),
        })
    }
}

fn already_published() -> Status {
    let sentence = "the build is published already, there is nothing to cancel";
    status(Code::FailedPrecondition, "ALREADY_PUBLISHED", sentence)
}

#[tonic::async_trait]
impl BuildService for Api {
    async fn start_build(&self, request: Request<StartBuildRequest>) -> Result<Response<StartBuildResponse>, Status> {
        Ok(self.start(request).await.map(Response::new)?)
    }

    async fn repeat_build(
        &self,
        request: Request<RepeatBuildRequest>,
    ) -> Result<Response<RepeatBuildResponse>, Status> {
        Ok(self.repeat(request).await.map(Response::new)?)
    }

    async fn cancel_build(
        &self,
        request: Request<CancelBuildRequest>,
    ) -> Result<Response<CancelBuildResponse>, Status> {
        Ok(self.cancel(request).await.map(Response::new)?)
    }

    async fn get_build(&self, request: Request<GetBuildRequest>) -> Result<Response<GetBuildResponse>, Status> {
        Ok(self.get(request).await.map(Response::new)?)
    }

    async fn list_builds(&self, request: Request<ListBuildsRequest>) -> Result<Response<ListBuildsResponse>, Status> {
        Ok(self.list(request).await.map(Response::new)?)
    }

    type StreamLogStream = BoxStream<'static, Result<StreamLogResponse, Status>>;

    async fn stream_log(&self, request: Request<StreamLogRequest>) -> Result<Response<Self::StreamLogStream>, Status> {
        Ok(self.log(request).await.map(Response::new)?)
    }

    type WatchBuildStream = BoxStream<'static, Result<WatchBuildResponse, Status>>;

    async fn watch_build(
        &self,
        request: Request<WatchBuildRequest>,
    ) -> Result<Response<Self::WatchBuildStream>, Status> {
        Ok(self.watch(request).await.map(Response::new)?)
    }

    async fn get_queue(&self, request: Request<GetQueueRequest>) -> Result<Response<GetQueueResponse>, Status> {
        Ok(self.queue(request).await.map(Response::new)?)
    }
}
