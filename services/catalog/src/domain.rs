//! Workspaces, images, and the names that images hold.

mod image;
mod name;
mod workspace;

pub(crate) use image::{Image, ImageCommand};
pub(crate) use name::{Name, NameCommand, NameKey};
pub(crate) use workspace::{Workspace, WorkspaceCommand};
