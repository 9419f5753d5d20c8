//! Subscribe: the public events from a place on, as far as the caller may see them.
//!
//! They come from the view, where each stands before it is published: so a subscriber reads its own writes, notices
//! nothing of a restart of the broker, and resumes at any event. Nothing is buffered for one that is slow: it falls
//! behind, and then reads what it missed page by page.

use crate::{
    events::TYPES,
    recent::Recent,
    view::{Events, Place, Scope},
};
use access::{Caller, Denied, Role, Visible};
use eventlog::{Behind, FeedEvent, Position, View};
use futures::{TryStreamExt as _, stream, stream::BoxStream};
use proto::notifier::v1::{SubscribeRequest, SubscribeResponse, event_service_server::EventService};
use service::{Call, Failure, World, invalid, timestamp};
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// Events that are taken from the view at a time.
const PAGE: usize = 250;

pub(crate) struct EventApi {
    world: World,
    events: Events,
    recent: watch::Receiver<Recent>,
}

impl EventApi {
    pub(crate) fn new(world: &World, events: &Events, recent: watch::Receiver<Recent>) -> Self {
        Self {
            world: world.clone(),
            events: events.clone(),
            recent,
        }
    }

    fn view(&self) -> &View {
        &self.events.view
    }

    async fn open(&self, request: Request<SubscribeRequest>) -> Result<(Call, Subscription), Failure> {
        let call = self.world.admit(request.metadata(), self.view()).await?;
        let request = request.into_inner();
        if let Some(unknown) = request.types.iter().find(|wanted| !TYPES.contains(&wanted.as_str())) {
            return Err(invalid(
                "types",
                format!("`{unknown}` is not an event, such as `image.published`"),
            )
            .into());
        }
        let after = match (request.after_position, request.after_id.as_str()) {
            (None, "") => None,
            (Some(position), "") => Some(Place::end(Position(position))),
            (None, id) => {
                let place = Place::parse(id);
                Some(place.ok_or_else(|| invalid("after_id", "expected an event's id, such as `8812.0`"))?)
            }
            (Some(_), _) => return Err(invalid("after_id", "not together with after_position").into()),
        };
        if let Some(after) = after {
            self.world.reach(self.view(), after.position).await?;
        }
        let now = self.view().position();
        let mut subscription = Subscription {
            world: self.world.clone(),
            events: self.events.clone(),
            recent: self.recent.clone(),
            caller: call.caller.clone(),
            wanted: Wanted::default(),
            types: request.types,
            scope: Scope::Visible(Visible::default()),
            place: after.unwrap_or(Place::end(now)),
            until: (!request.follow).then_some(now),
        };
        subscription.want(&request.image, &request.workspace).await?;
        subscription.judge(now).await?;
        Ok((call, subscription))
    }
}

#[tonic::async_trait]
impl EventService for EventApi {
    type SubscribeStream = BoxStream<'static, Result<SubscribeResponse, Status>>;

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let (call, subscription) = self.open(request).await?;
        let pages = stream::try_unfold(subscription, |mut subscription| async move {
            let page = subscription.next().await?;
            Ok::<_, Status>(page.map(|page| (page, subscription)))
        });
        let responses = pages
            .map_ok(|page| stream::iter(page.into_iter().map(Ok)))
            .try_flatten();
        Ok(Response::new(self.world.stream(&call, responses)))
    }
}

/// What was asked for, by ids: names may change hands.
#[derive(Default)]
struct Wanted {
    image: Option<String>,
    workspace: Option<String>,
}

struct Subscription {
    world: World,
    events: Events,
    recent: watch::Receiver<Recent>,
    caller: Caller,
    wanted: Wanted,
    types: Vec<String>,
    /// What of it the caller may see.
    scope: Scope,
    /// What it got is behind it.
    place: Place,
    /// Where it ends, if it does.
    until: Option<Position>,
}

impl Subscription {
    async fn want(&mut self, image: &str, workspace: &str) -> Result<(), Failure> {
        let access = &self.world.access;
        if !workspace.is_empty() {
            let found = access.workspace(&self.caller, workspace, Role::Participant).await?;
            self.wanted.workspace = Some(found.to_string());
        }
        if !image.is_empty() {
            // A deleted one too: what happened to it can still be read, and its end be seen.
            let found = access.any_image(&self.caller, image).await?;
            self.wanted.image = Some(found.image.to_string());
        }
        Ok(())
    }

    /// What the caller may see, as of a position at least.
    async fn judge(&mut self, position: Position) -> Result<(), Failure> {
        let access = &self.world.access;
        self.world.reach(access.view(), position).await?;
        self.scope = match (&self.wanted.image, &self.wanted.workspace) {
            (Some(image), workspace) => {
                let found = access.any_image(&self.caller, image).await?;
                if workspace
                    .as_ref()
                    .is_some_and(|wanted| *wanted != found.workspace.to_string())
                {
                    return Err(Denied::NoSuchImage.into());
                }
                Scope::Image {
                    id: image.clone(),
                    sees_grants: found.sees_grants(&self.caller),
                }
            }
            (None, Some(workspace)) => {
                let found = access.workspace(&self.caller, workspace, Role::Participant).await?;
                let visible = access.visible(&self.caller).await?;
                Scope::Visible(visible.within(&found.to_string()).without_shared())
            }
            (None, None) => Scope::Visible(access.visible(&self.caller).await?),
        };
        Ok(())
    }

    /// The next events, at least one; `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<SubscribeResponse>>, Failure> {
        loop {
            let through = match self.until {
                Some(until) => until,
                None => self.news().await?,
            };
            if self.place >= Place::end(through) {
                return Ok(None);
            }
            let page = self.page(through).await?;
            if !page.is_empty() {
                return Ok(Some(page.iter().map(|event| response(event)).collect()));
            }
        }
    }

    /// Waits for events behind what was delivered.
    async fn news(&mut self) -> Result<Position, Failure> {
        let place = self.place;
        let news = self
            .recent
            .wait_for(|recent| recent.reached > place || recent.halted.is_some());
        let Ok(recent) = news.await else {
            // Nothing is published any more, because the service stops, which ends this.
            return std::future::pending().await;
        };
        match &recent.halted {
            Some(halted) if recent.reached <= place => Err(Behind::clone(halted).into()),
            _ => Ok(recent.reached.position),
        }
    }

    async fn page(&mut self, through: Position) -> Result<Vec<Arc<FeedEvent>>, Failure> {
        let recent = match self.until {
            Some(_) => None,
            None => self.recent.borrow().after(self.place, PAGE),
        };
        let (mut page, reached) = if let Some((page, reached)) = recent {
            // Nothing else changes what somebody may see.
            let changes =
                |event: &Arc<FeedEvent>| matches!(&*event.kind, "member.changed" | "access.granted" | "access.revoked");
            if page.iter().any(changes) {
                self.judge(reached.position).await?;
            }
            (page, reached)
        } else {
            self.judge(through).await?;
            let page = self.events.after(self.place, through, &self.scope, PAGE).await?;
            let last = page.last().filter(|_| page.len() == PAGE);
            let reached = last.map_or(Place::end(through), Place::from);
            (page.into_iter().map(Arc::new).collect(), reached)
        };
        self.place = reached;
        page.retain(|event| self.scope.holds(event) && self.wants(&event.kind));
        Ok(page)
    }

    fn wants(&self, kind: &String) -> bool {
        self.types.is_empty() || self.types.contains(kind)
    }
}

fn response(event: &FeedEvent) -> SubscribeResponse {
    SubscribeResponse {
        id: event.id(),
        r#type: event.kind.clone(),
        subject: event.image.clone(),
        workspace: event.workspace.clone(),
        time: timestamp(event.time_ms),
        data: event.data.clone(),
        traceparent: event.traceparent.clone(),
        position: event.position,
    }
}
