//! What is built: the build specs of images, their revisions, and the files that go with them.
//!
//! It owns the streams `spec.<image>`, and the store of uploaded files.

mod api;
mod diff;
mod domain;
mod lint;
mod policy;
mod repository;
mod upload;
mod view;

use api::EditorApi;
use proto::editor::v1::editor_service_server::EditorServiceServer;
use service::{Process, Service, World};

pub const SERVICE: Service = Service { name: "editor", start };

pub fn start(world: &World, process: Process) -> Process {
    let view = world.views.open(view::EditorProjection);
    let editor = EditorApi::new(world, &view);
    process.serving(&view, EditorServiceServer::new(editor)).running(
        "remove unneeded files",
        policy::remove_unneeded_files(world.clone(), view),
    )
}
