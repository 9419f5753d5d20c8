//! AdminService: the views of this process, for those who operate it.

use crate::{Failure, World, outage, status};
use access::{Caller, Denied};
use eventlog::{Differing, EventLog, Position, RebuildError, Rebuilt, View, ViewError};
use futures::{
    FutureExt as _,
    stream::{self, BoxStream, Stream},
};
use proto::admin::v1::{
    DifferingTable, ListViewsRequest, ListViewsResponse, RebuildProgress, RebuildViewRequest, RebuildViewResponse,
    RebuiltView, ViewStanding, admin_service_server::AdminService, rebuild_view_response::Step,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};
use tonic::{Code, Request, Response, Status};

/// Between two words of progress.
const EVERY: Duration = Duration::from_millis(200);

pub(crate) struct AdminApi {
    world: World,
    /// Each once.
    views: Vec<View>,
    process: String,
}

impl AdminApi {
    pub(crate) fn new(world: World, views: impl IntoIterator<Item = View>) -> Self {
        let mut each: Vec<View> = Vec::new();
        for view in views {
            if each.iter().all(|other| other.name() != view.name()) {
                each.push(view);
            }
        }
        Self {
            process: world.ids.next().to_string(),
            world,
            views: each,
        }
    }

    async fn rebuild(
        &self,
        request: Request<RebuildViewRequest>,
    ) -> Result<BoxStream<'static, Result<RebuildViewResponse, Status>>, Failure> {
        let call = self.world.known(request.metadata()).await?;
        administrators_only(&call.caller)?;
        let name = request.into_inner().name;
        let Some(view) = self.views.iter().find(|view| view.name() == name) else {
            let names: Vec<_> = self.views.iter().map(View::name).collect();
            let sentence = format!("this process has no view {name:?}, it has {}", names.join(", "));
            return Err(status(Code::NotFound, "NO_SUCH_VIEW", sentence).into());
        };
        let answers = grow(view.clone(), self.world.log.clone());
        Ok(self.world.stream(&call, answers))
    }
}

/// How far it is, now and then, and how it ended. Whoever stops reading stops the rebuilding.
fn grow(view: View, log: Arc<dyn EventLog>) -> impl Stream<Item = Result<RebuildViewResponse, Status>> {
    let (passed, at) = watch::channel(Position::default());
    let growing = view.clone();
    let ending = async move {
        let passed = |position| {
            passed.send_replace(position);
        };
        growing.rebuild(&*log, passed).await
    };
    stream::unfold(Some((ending.boxed(), at)), move |under_way| {
        let head = view.head();
        async move {
            let (mut ending, at) = under_way?;
            let (step, under_way) = tokio::select! {
                ended = &mut ending => (ended.map(rebuilt).map_err(failed), None),
                () = sleep(EVERY) => {
                    let position = at.borrow().0;
                    let progress = RebuildProgress { position, head: head.0 };
                    (Ok(Step::Progress(progress)), Some((ending, at)))
                }
            };
            Some((step.map(|step| RebuildViewResponse { step: Some(step) }), under_way))
        }
    })
}

fn rebuilt(rebuilt: Rebuilt) -> Step {
    let table = |table: Differing| DifferingTable {
        name: table.table,
        live_rows: table.live_rows,
        rebuilt_rows: table.rebuilt_rows,
    };
    Step::Rebuilt(RebuiltView {
        position: rebuilt.position.0,
        rows: rebuilt.rows,
        hash: rebuilt.hash,
        differing: rebuilt.differing.into_iter().map(table).collect(),
        replaced: rebuilt.replaced,
    })
}

fn failed(error: RebuildError) -> Status {
    match error {
        RebuildError::Running(_) => status(Code::FailedPrecondition, "REBUILDING", error.to_string()),
        RebuildError::Damaged(_) => status(Code::DataLoss, "VIEW_DAMAGED", error.to_string()),
        RebuildError::Stopping => status(Code::Unavailable, "STOPPING", error.to_string()),
        RebuildError::View(ViewError::Log(error)) => Failure::from(error).into(),
        RebuildError::View(error) => outage(&error),
    }
}

fn administrators_only(caller: &Caller) -> Result<(), Failure> {
    if caller.admin {
        Ok(())
    } else {
        Err(Denied::AdminOnly.into())
    }
}

fn standing(view: &View) -> ViewStanding {
    let state = view.state();
    ViewStanding {
        name: view.name().to_owned(),
        position: state.position.0,
        trouble: state
            .halted
            .or(state.troubled)
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
    }
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn list_views(&self, request: Request<ListViewsRequest>) -> Result<Response<ListViewsResponse>, Status> {
        let call = self.world.known(request.metadata()).await?;
        administrators_only(&call.caller)?;
        Ok(Response::new(ListViewsResponse {
            process: self.process.clone(),
            views: self.views.iter().map(standing).collect(),
        }))
    }

    type RebuildViewStream = BoxStream<'static, Result<RebuildViewResponse, Status>>;

    async fn rebuild_view(
        &self,
        request: Request<RebuildViewRequest>,
    ) -> Result<Response<Self::RebuildViewStream>, Status> {
        Ok(Response::new(self.rebuild(request).await?))
    }
}
