//! Workspaces, images, the names that images hold, whom images are shared with, and what was signed over the log.

mod access;
mod checkpoint;
mod image;
mod name;
mod workspace;

pub(crate) use access::{Access, AccessCommand, By};
pub(crate) use checkpoint::{Checkpoints, KeepCheckpoint};
pub(crate) use image::{Image, ImageCommand};
pub(crate) use name::{Name, NameCommand, NameKey};
pub(crate) use workspace::{MemberChange, Workspace, WorkspaceCommand};
