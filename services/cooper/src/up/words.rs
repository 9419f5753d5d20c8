//! What `cooper up` says when it is ready.

use super::{data::Data, programs};
use crate::{
    failure::Failure,
    output::{Output, Tone},
};
use service::Config;
use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where everything is.
pub(super) struct Place {
    pub(super) server: String,
    pub(super) registry: String,
    pub(super) data: PathBuf,
    /// How this user types our name.
    pub(super) cooper: String,
}

impl Place {
    pub(super) fn new(address: SocketAddr, config: &Config, data: &Data) -> Self {
        Self {
            server: format!("http://{address}"),
            registry: config.registry.url.clone(),
            data: data.folder().to_owned(),
            cooper: typed(),
        }
    }
}

pub(super) fn ready(output: &Output, place: &Place, after: Duration) -> Result<(), Failure> {
    let cooper = &place.cooper;
    // The client's own default needs no words.
    let server = if place.server == "http://127.0.0.1:7070" {
        String::new()
    } else {
        format!(" --server {}", place.server)
    };
    let head = output.style.paint(Tone::Strong, "Cooperage is ready");
    output.line(format!(
        "{head} after {:.2} s\n  \
         server    {}\n  registry  {}\n  data      {}\n\
         Type in another terminal, for example:\n  \
         {cooper} workspace create team{server}\n  \
         {cooper} build -t tool .{server}\n  \
         {cooper} --help\n\
         Ctrl-C stops everything; the data stays.",
        after.as_secs_f64(),
        place.server,
        place.registry,
        place.data.display(),
    ))
}

/// `cooper` where the PATH leads to this program, else the way to it.
fn typed() -> String {
    let Ok(ours) = env::current_exe() else {
        return "cooper".to_owned();
    };
    if programs::in_path("cooper")
        .and_then(|found| found.canonicalize().ok())
        .as_deref()
        == Some(&ours)
    {
        return "cooper".to_owned();
    }
    let here = env::current_dir().unwrap_or_default();
    let shown = ours.strip_prefix(&here).map_or_else(|_| ours.clone(), Path::to_owned);
    shown.display().to_string()
}
