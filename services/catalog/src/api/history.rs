//! HistoryService.

use super::{access::told_grants, read_token, verify::VERIFYING_MAX};
use crate::{
    policy::Signed,
    view::{self, AsOf, HistoryRow, Past, Question},
};
use access::Role;
use eventlog::{Position, View};
use futures::stream::BoxStream;
use proto::catalog::v1::{
    GetImageAsOfRequest, GetImageAsOfResponse, GetImageHistoryRequest, GetImageHistoryResponse, HistoryEntry,
    QueryEventsRequest, QueryEventsResponse, TagThen, VerifyHistoryRequest, VerifyHistoryResponse,
    get_image_as_of_request::At, history_service_server::HistoryService,
};
use service::{Failure, World, invalid, milliseconds, page, status, telemetry, timestamp};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};
use tonic::{Code, Request, Response, Status};

/// Longer than any name or id: nobody is called so.
const WORD_MAX: usize = 256;
const TYPES_MAX: usize = 64;

pub(crate) struct HistoryApi {
    pub(super) world: World,
    pub(super) view: View,
    pub(super) signed: watch::Receiver<Option<Signed>>,
    pub(super) verifying: Arc<Semaphore>,
}

impl HistoryApi {
    pub(crate) fn new(world: &World, view: &View, signed: watch::Receiver<Option<Signed>>) -> Self {
        Self {
            world: world.clone(),
            view: view.clone(),
            signed,
            verifying: Arc::new(Semaphore::new(VERIFYING_MAX)),
        }
    }

    async fn image(&self, request: Request<GetImageHistoryRequest>) -> Result<GetImageHistoryResponse, Failure> {
        let call = self.world.admit(request.metadata(), &self.view).await?;
        let request = request.into_inner();
        let located = self.world.access.any_image(&call.caller, &request.image).await?;
        let before = row_of(&request.page_token)?.unwrap_or(i64::MAX);
        let limit = page(request.page_size)?;
        let (image, with_grants) = (located.image.to_string(), located.sees_grants(&call.caller));
        let rows = view::image_history(&self.view, &image, with_grants, before, limit).await?;
        let is_full = i64::try_from(rows.len()).is_ok_and(|length| length == limit);
        let next_page_token = rows.last().filter(|_| is_full).map(|last| last.row.to_string());
        Ok(GetImageHistoryResponse {
            entries: rows.into_iter().map(entry).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        })
    }

    async fn as_of(&self, request: Request<GetImageAsOfRequest>) -> Result<GetImageAsOfResponse, Failure> {
        let call = self.world.admit(request.metadata(), &self.view).await?;
        let request = request.into_inner();
        let moment = match request.at {
            Some(At::Position(position)) => {
                self.world.reach(&self.view, Position(position)).await?;
                AsOf::Position(Position(position))
            }
            Some(At::Time(time)) => AsOf::Time(milliseconds("time", &time)?),
            None => AsOf::Now,
        };
        let located = self.world.access.any_image(&call.caller, &request.image).await?;
        let Some(past) = view::as_of(&self.view, &located.image.to_string(), moment).await? else {
            let when = match moment {
                AsOf::Position(position) => format!("at position {position}"),
                AsOf::Time(_) | AsOf::Now => "at that time".to_owned(),
            };
            let sentence = format!("the image was not there yet {when}: its history says when it was created");
            return Err(status(Code::NotFound, "NOT_CREATED_YET", sentence).into());
        };
        let internal = self.world.access.internal_registry();
        let Past {
            tile,
            revision,
            tags,
            grants,
            position,
            time_ms,
        } = past;
        let repository = tile.name().pull_repository(internal);
        let referred = |tag: TagThen| TagThen {
            reference: format!("{repository}:{}", tag.name),
            ..tag
        };
        Ok(GetImageAsOfResponse {
            image: Some(tile.image_for(located.right, internal)),
            revision,
            tags: tags.into_iter().map(referred).collect(),
            grants: told_grants(&self.world.access, &call.caller, &located, grants).await?,
            position: position.cast_unsigned(),
            time: timestamp(time_ms),
        })
    }

    async fn query(&self, request: Request<QueryEventsRequest>) -> Result<QueryEventsResponse, Failure> {
        let call = self.world.admit(request.metadata(), &self.view).await?;
        let request = request.into_inner();
        let access = &self.world.access;
        let image = match request.image.as_str() {
            "" => None,
            image => Some(access.any_image(&call.caller, image).await?.image.to_string()),
        };
        let workspaces = match request.workspace.as_str() {
            "" => {
                let visible = access.visible(&call.caller).await?;
                visible.workspaces().map(|all| all.map(str::to_owned).collect())
            }
            workspace => {
                let one = access.workspace(&call.caller, workspace, Role::Participant).await?;
                Some(vec![one.to_string()])
            }
        };
        if request.actor.len() > WORD_MAX {
            return Err(invalid("actor", format!("longer than {WORD_MAX} bytes")).into());
        }
        if request.types.len() > TYPES_MAX || request.types.iter().any(|kind| kind.len() > WORD_MAX) {
            return Err(invalid("types", format!("at most {TYPES_MAX}, as in image.created")).into());
        }
        if let Some(unknown) = request.types.iter().find(|kind| !view::KINDS.contains(&kind.as_str())) {
            let sentence = format!("`{unknown}` is no type of event; there are {}", view::KINDS.join(", "));
            return Err(invalid("types", sentence).into());
        }
        let time = |field, time: Option<_>| time.map(|time| milliseconds(field, &time)).transpose();
        let question = Question {
            image,
            workspaces,
            actor: (!request.actor.is_empty()).then_some(request.actor),
            types: request.types,
            since_ms: time("since", request.since)?,
            until_ms: time("until", request.until)?,
            oldest_first: request.oldest_first,
            behind: row_of(&request.page_token)?,
            limit: usize::try_from(page(request.page_size)?).unwrap_or_default(),
        };
        if let (Some(since), Some(until)) = (question.since_ms, question.until_ms)
            && until <= since
        {
            return Err(invalid("until", "not later than since: nothing lies between them").into());
        }
        let found = view::ask(&self.view, &question).await?;
        Ok(QueryEventsResponse {
            entries: found.rows.into_iter().map(entry).collect(),
            next_page_token: found.more_behind.map(|row| row.to_string()).unwrap_or_default(),
        })
    }
}

fn row_of(token: &str) -> Result<Option<i64>, Failure> {
    let Some([row]) = read_token(token)? else {
        return Ok(None);
    };
    let row = row.parse().ok().filter(|row| *row >= 0);
    Ok(Some(
        row.ok_or_else(|| invalid("page_token", "not a token of this call"))?,
    ))
}

fn entry(row: HistoryRow) -> HistoryEntry {
    HistoryEntry {
        position: row.position.cast_unsigned(),
        time: timestamp(row.time_ms),
        summary: row.summary(),
        actor: row.actor,
        r#type: row.r#type,
        request_id: row.request_id,
        cause: row.cause.cast_unsigned(),
        trace_id: telemetry::trace_id(&row.traceparent).to_owned(),
        after_deletion: row.after_deletion,
        index: u32::try_from(row.idx).unwrap_or_default(),
        image: row.image,
        workspace: row.workspace,
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

    async fn get_image_as_of(
        &self,
        request: Request<GetImageAsOfRequest>,
    ) -> Result<Response<GetImageAsOfResponse>, Status> {
        Ok(self.as_of(request).await.map(Response::new)?)
    }

    async fn query_events(
        &self,
        request: Request<QueryEventsRequest>,
    ) -> Result<Response<QueryEventsResponse>, Status> {
        Ok(self.query(request).await.map(Response::new)?)
    }

    type VerifyHistoryStream = BoxStream<'static, Result<VerifyHistoryResponse, Status>>;

    async fn verify_history(
        &self,
        request: Request<VerifyHistoryRequest>,
    ) -> Result<Response<Self::VerifyHistoryStream>, Status> {
        Ok(self.verify(request).await.map(Response::new)?)
    }
}
