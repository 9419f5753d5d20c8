//! Build contexts as tar archives: made from a directory, checked when uploaded, assembled for the engine.
//! Every archive that leaves this module is canonical: one reader and one writer decide what an archive
//! says, so the engine never gets to read bytes that were checked by somebody else's understanding of them.

mod archive;
mod assemble;
mod canonical;
mod directory;
mod ignore;
mod path;
mod reader;
mod refused;

pub use archive::Writer;
pub use assemble::assemble;
pub use canonical::{Rewritten, canonicalize, leave_out};
pub use directory::tar_directory;
pub use ignore::{BadPattern, Ignore};
pub use path::link_stays_inside;
pub use refused::ContextRefused;

/// The Dockerfile's name in the root of every context.
pub const DOCKERFILE: &str = "Dockerfile";
/// The file that names what stays out of a context.
pub const DOCKERIGNORE: &str = ".dockerignore";

/// What an archive holds, without its own headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Regular files and links.
    pub files: u64,
    pub bytes: u64,
}

/// How much a context may be.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Of all files together, expanded.
    pub bytes: u64,
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 2 << 30,
            entries: 200_000,
        }
    }
}
