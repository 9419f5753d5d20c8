//! Workspaces, images, and the names that images hold.

mod image;
mod name;
mod workspace;

pub use image::{Image, ImageCommand, ImageRefused};
pub use name::{Name, NameCommand, NameKey, NameRefused};
pub use workspace::{Workspace, WorkspaceCommand, WorkspaceRefused};
