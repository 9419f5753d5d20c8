//! The words of `cooper verify`.

use crate::reference::Reference;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// By name, address or id; without it the whole log, which takes an administrator.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Option<Reference>,
    /// Checkpoints that were kept elsewhere, in one file or several.
    #[arg(long = "checkpoint", value_name = "FILE")]
    pub(crate) checkpoints: Vec<PathBuf>,
    /// The public key, as it is or in a file [default: the one that the server showed first].
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The data folder of a `cooper up` that does not run, or a copy of it, instead of a server.
    #[arg(long, value_name = "DIR", conflicts_with = "image")]
    pub(crate) data: Option<PathBuf>,
}
