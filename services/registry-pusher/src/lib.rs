//! Puts assembled images into the registry, moves tags, and answers what can be pulled.
//!
//! It owns the streams `repository.<image>`. What is published is decided there; the registry's own tags follow.

mod api;
mod docker;
mod domain;
mod policy;
mod registry;
#[cfg(test)]
mod testbed;
mod view;

use api::Api;
use docker::Engine;
use eventlog::Writer;
use policy::Pusher;
use proto::registry::v1::registry_service_server::RegistryServiceServer;
use registry::Registry;
use service::{Process, Service, World};

pub const SERVICE: Service = Service {
    name: "registry-pusher",
    start,
};

pub fn start(world: &World, process: Process) -> Process {
    let registry = match Registry::open(&world.config.registry.url) {
        Ok(registry) => registry,
        Err(error) => return process.running("open the registry", async { Err(error) }),
    };
    let view = world.views.open(view::RepositoryProjection);
    let writer = Writer::new(world.log.clone(), view.clone(), world.clock.clone());
    let pusher = Pusher {
        world: world.clone(),
        view: view.clone(),
        writer: writer.clone(),
        engine: Engine::new(&world.config.engine.host),
        registry: registry.clone(),
    };
    let api = Api {
        world: world.clone(),
        view: view.clone(),
        writer,
        registry,
    };
    process
        .serving(&view, RegistryServiceServer::new(api))
        .running("publish builds", policy::publish(pusher.clone()))
        .running("settle tags", policy::settle(pusher.clone()))
        .running("release repositories", policy::release(pusher.clone()))
        .running("sweep the engine", policy::sweep(pusher))
}
