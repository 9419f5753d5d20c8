//! What happened, for those who react to it: the stream `EVENTS`, and Subscribe.
//!
//! It writes nothing to the log yet: what it tells is a projection of everybody's entries. `docs/events.md` is its
//! contract.

mod api;
mod events;
mod policy;
mod recent;
mod view;

use api::EventApi;
use proto::notifier::v1::event_service_server::EventServiceServer;
use service::{Process, Service, World};
use tokio::sync::watch;
use view::{Events, NotifierProjection};

pub const SERVICE: Service = Service {
    name: "notifier",
    start,
};

pub fn start(world: &World, process: Process) -> Process {
    let view = world.views.open(NotifierProjection);
    let events = Events::new(&view, world.access.internal_registry());
    let (recent, newest) = watch::channel(recent::Recent::default());
    process
        .serving(&view, EventServiceServer::new(EventApi::new(world, &events, newest)))
        .running(
            "follow events",
            recent::follow(events.clone(), recent, world.stop.clone()),
        )
        .running("publish events", policy::publish(world.clone(), events))
}
