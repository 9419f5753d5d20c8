//! What the tests start and build: servers of their own, on ports that the system picks, and small images.

mod image;
mod platform;
mod server;

pub(crate) use image::TestImage;
pub(crate) use platform::Platform;
pub(crate) use server::TestRegistry;
