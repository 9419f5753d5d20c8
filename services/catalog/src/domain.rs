//! Workspaces, images, the names that images hold, and whom images are shared with.

mod access;
mod image;
mod name;
mod workspace;

pub(crate) use access::{Access, AccessCommand};
pub(crate) use image::{Image, ImageCommand};
pub(crate) use name::{Name, NameCommand, NameKey};
pub(crate) use workspace::{Workspace, WorkspaceCommand};
