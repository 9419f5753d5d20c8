//! Turns a saved revision into an image: the queue, the engine, the logs, the journal.
//!
//! It owns the streams `builds.<image>`. Its part of a build ends with assembled, failed, cancelled or lost; what is
//! assembled is published by the registry-pusher.

mod api;
mod arguments;
mod credentials;
pub mod docker;
mod domain;
mod policy;
pub mod progress;
mod run;
mod view;

pub use credentials::make_key;

use eventlog::Writer;
use proto::builder::v1::build_service_server::BuildServiceServer;
use service::{Process, Service, World};

pub const SERVICE: Service = Service { name: "builder", start };

pub fn start(world: &World, process: Process) -> Process {
    let view = world.views.open(view::BuilderProjection);
    let writer = Writer::new(world.log.clone(), view.clone(), world.clock.clone());
    let engines = policy::Engines::default();
    let opened = credentials::Vault::open(world)
        .and_then(|vault| Ok((policy::Builder::new(world, &view, &writer, &engines, &vault)?, vault)));
    let (builder, vault) = match opened {
        Ok(opened) => opened,
        Err(error) => return process.running("open the builder", async { Err(error) }),
    };
    let api = api::Api::new(world, &view, &writer, &engines, &vault);
    let forget = policy::forget(world.clone(), view.clone(), vault);
    process
        .serving(&view, BuildServiceServer::new(api))
        .running("forget what ended builds were given", forget)
        .running("show that the builder lives", builder.clone().renew())
        .running("end what silent builders left", builder.clone().listen())
        .running("build what waits", builder.run())
}
