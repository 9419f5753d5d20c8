//! `cooper history` and `cooper audit`.

use super::{AsOf, Newest, as_of::time};
use crate::reference::Reference;
use clap::Args;
use prost_types::Timestamp;

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// By name, address or id.
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Reference,
    #[command(flatten)]
    pub(crate) newest: Newest,
    /// Show the whole image as it was then: a time (2026-11-20, 2026-11-20T13:00Z, 2h for two hours ago) or a position
    /// of the log.
    #[arg(long, value_name = "TIME|POSITION", conflicts_with = "last")]
    pub(crate) as_of: Option<AsOf>,
}

#[derive(Debug, Args)]
#[command(after_help = "--workspace W tells only of that workspace.")]
pub(crate) struct AuditArgs {
    /// Only what happened to this image.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<Reference>,
    /// Only what this user did, or a part of the platform, as in system:builder.
    #[arg(long, value_name = "U")]
    pub(crate) actor: Option<String>,
    /// Only events of this type, as in image.published or access.refused.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// From this time on: 2026-11-20, 2026-11-20T13:00Z, or 2h for two hours ago.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) since: Option<Timestamp>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) until: Option<Timestamp>,
    /// Begin with the oldest.
    #[arg(long)]
    pub(crate) oldest_first: bool,
    /// Only the first N; 0 for all [default: 100, all with --output json and -q].
    #[arg(short = 'n', long = "last", value_name = "N")]
    pub(crate) last: Option<usize>,
}
