//! Which workspaces and images exist, who holds which name, how each tile stands, and what happened to it.
//!
//! It owns the streams `workspace.<id>`, `image.<id>`, `name.<key>`, `access.<image>` and `checkpoint.<key id>`. Status
//! and history are projections of everybody's entries: nobody writes them.

mod api;
mod domain;
mod policy;
mod view;

use api::{AccessApi, HistoryApi, ImageApi, WorkspaceApi};
use eventlog::Writer;
use proto::catalog::v1::{
    access_service_server::AccessServiceServer, history_service_server::HistoryServiceServer,
    image_service_server::ImageServiceServer, workspace_service_server::WorkspaceServiceServer,
};
use service::{Process, Service, World};
use tokio::sync::watch;

pub const SERVICE: Service = Service { name: "catalog", start };

pub fn start(world: &World, process: Process) -> Process {
    let view = world.views.open(view::CatalogProjection);
    let writer = Writer::new(world.log.clone(), view.clone(), world.clock.clone());
    let images = ImageApi::new(world, &view, &writer);
    let workspaces = WorkspaceApi::new(world, &view, &writer);
    let access = AccessApi::new(world, &view, &writer);
    let (sign, signed) = watch::channel(None);
    let history = HistoryApi::new(world, &view, signed.clone());
    process
        .serving(&view, ImageServiceServer::new(images))
        .serving(&view, WorkspaceServiceServer::new(workspaces))
        .serving(&view, AccessServiceServer::new(access))
        .serving(&view, HistoryServiceServer::new(history))
        .running(
            "free released names",
            policy::free_released_names(world.clone(), view.clone(), writer.clone()),
        )
        .running(
            "sign checkpoints",
            policy::sign_checkpoints(world.clone(), view, writer, sign),
        )
        .running(
            "deliver checkpoints",
            policy::deliver_checkpoints(world.clone(), signed),
        )
}
