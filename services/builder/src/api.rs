//! BuildService: a request becomes a command, a refusal a status.

mod queue;
mod stream;

use crate::{
    domain::{Builds, BuildsCommand},
    policy::Engines,
    view::{self, Row, Stage},
};
use access::{Located, Right};
use eventlog::{Output, StreamId, View, Writer};
use futures::stream::BoxStream;
use ids::{BuildId, ImageId, Ulid};
use proto::{
    builder::v1::{
        Build, CancelBuildRequest, CancelBuildResponse, GetBuildRequest, GetBuildResponse, GetQueueRequest,
        GetQueueResponse, ListBuildsRequest, ListBuildsResponse, StartBuildRequest, StartBuildResponse,
        StreamLogRequest, StreamLogResponse, WatchBuildRequest, WatchBuildResponse, build_service_server::BuildService,
    },
    catalog::v1::BuildOutcome,
};
use service::{Call, Failure, World, invalid, page, status, with_metadata};
use sha2::{Digest as _, Sha256};
use std::{cmp::Ordering, time::Duration};
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
    asked: queue::Asked,
}

impl Api {
    pub(crate) fn new(world: &World, view: &View, writer: &Writer, engines: &Engines) -> Self {
        Self {
            world: world.clone(),
            view: view.clone(),
            writer: writer.clone(),
            output: world.nats.output(),
            engines: engines.clone(),
            asked: queue::Asked::default(),
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

    async fn start(&self, request: Request<StartBuildRequest>) -> Result<StartBuildResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let command = call.request(&self.world, &request.request_id)?;
        let located = self
            .world
            .access
            .image(&call.caller, &request.image, Right::Owner)
            .await?;
        let image = located.image.to_string();
        let ulid = Ulid::from_string(&command.id).map_err(|_| invalid("request_id", "expected a ULID"))?;
        let build = build_id(located.image, ulid);
        // A repeated request is answered before anything else is judged.
        if let Some(row) = view::row(&self.view, &image, &build.to_string()).await? {
            return Ok(StartBuildResponse {
                position: row.queued_at,
                build: Some(self.show(&row)),
            });
        }
        let options = request.options.unwrap_or_default();
        if let Some(tag) = options.tags.iter().find(|tag| !access::is_tag(tag)) {
            return Err(invalid("options.tags", format!("`{tag}` is not a tag")).into());
        }
        let current = self.current_revision(&image, request.expected_revision).await?;
        let newest = self.newest(&located).await?;
        // One that has a build under way is told that.
        let _asking = match &newest {
            Some(row) if row.stage() != Stage::Ended => None,
            _ => Some(self.ask(located.workspace).await?),
        };
        let queue = BuildsCommand::Queue {
            build,
            workspace: located.workspace,
            revision: current,
            options,
            published: newest
                .filter(|row| row.stage() == Stage::Ended)
                .and_then(|row| row.id.parse().ok()),
        };
        let done = self.writer.execute::<Builds>(&command, &located.image, queue).await?;
        let row = match self.world.reach(&self.view, done.position).await {
            Ok(()) => self.find(&located, &build.to_string()).await?,
            // It is asked for, however late the view is to say so: after an error it would be asked for again.
            Err(_) => Row::asked(
                build,
                image,
                current,
                &call.caller.user,
                done.position,
                self.world.clock.now_ms(),
            ),
        };
        Ok(StartBuildResponse {
            position: done.position.0,
            build: Some(self.show(&row)),
        })
    }

    /// The newest build. Its push may be retried in the log already, and then it is under way.
    async fn newest(&self, located: &Located) -> Result<Option<Row>, Failure> {
        let image = located.image.to_string();
        let newest = view::newest(&self.view, &image).await?;
        if !newest.as_ref().is_some_and(|row| row.retryable) {
            return Ok(newest);
        }
        let published = StreamId::new("repository", located.image);
        let version = self.world.log.version(&published).await?;
        self.world.reach(&self.view, version).await?;
        Ok(view::newest(&self.view, &image).await?)
    }

    /// The one to build. Who saw a newer one than this view has, or any while it has none, was told so by somebody who
    /// is ahead of it: the log decides whether there is one.
    async fn current_revision(&self, image: &str, expected: Option<u32>) -> Result<u32, Failure> {
        let mut saved = view::revision(&self.view, image, None).await?;
        if saved.is_none() || expected > saved.as_ref().map(|(current, _)| *current) {
            let head = self.world.log.head().await?;
            self.world.reach(&self.view, head).await?;
            saved = view::revision(&self.view, image, None).await?;
        }
        let (current, _) = saved.ok_or_else(nothing_saved)?;
        let sentence = match expected.map(|expected| (expected, expected.cmp(&current))) {
            None | Some((_, Ordering::Equal)) => return Ok(current),
            Some((expected, Ordering::Less)) => {
                format!("revision {current} was saved since you looked (you had {expected}), look again")
            }
            Some((expected, Ordering::Greater)) => {
                format!("there is no revision {expected} yet, the current one is {current}, look again")
            }
        };
        let metadata = [("current", current.to_string())];
        Err(with_metadata(Code::Aborted, "STALE_REVISION", sentence, metadata).into())
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

/// A function of the image and the request that asked for it: the same again for a repeated request, and never shared by
/// two images, whose output, engine artifacts and publications are known by it.
fn build_id(image: ImageId, request: Ulid) -> BuildId {
    let hash = Sha256::new()
        .chain_update(image.to_string())
        .chain_update(request.to_string())
        .finalize();
    let mut chance = [0; 16];
    chance[6..].copy_from_slice(&hash[..10]);
    BuildId::from_ulid(Ulid::from_parts(request.timestamp_ms(), u128::from_be_bytes(chance)))
}

fn nothing_saved() -> Status {
    let sentence = "nothing is saved for this image yet: save a Dockerfile or a git repository first";
    status(Code::FailedPrecondition, "NOTHING_SAVED", sentence)
}

#[tonic::async_trait]
impl BuildService for Api {
    async fn start_build(&self, request: Request<StartBuildRequest>) -> Result<Response<StartBuildResponse>, Status> {
        Ok(self.start(request).await.map(Response::new)?)
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
