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
    /// The Docker Engine, if it is not the usual one.
    pub(super) engine: String,
    /// How this user types our name.
    pub(super) cooper: String,
}

impl Place {
    pub(super) fn new(address: SocketAddr, config: &Config, data: &Data) -> Self {
        Self {
            server: format!("http://{address}"),
            registry: config.registry.url.clone(),
            data: data.folder().to_owned(),
            engine: config.engine.host.clone(),
            cooper: typed(),
        }
    }
}

pub(super) fn ready(output: &Output, place: &Place, after: Duration) -> Result<(), Failure> {
    let head = output.style.paint(Tone::Strong, "Cooperage is ready");
    output.line(format!(
        "{head} after {:.2} s, at {}",
        after.as_secs_f64(),
        place.server
    ))
}

/// What one does with it, where everything is, and how it ends.
pub(super) fn next(output: &Output, place: &Place) -> Result<(), Failure> {
    let Place {
        server,
        registry,
        data,
        cooper,
        ..
    } = place;
    // The client's own default needs no words.
    let export = if server == "http://127.0.0.1:7070" {
        String::new()
    } else {
        format!("  export COOPERAGE_SERVER={server}\n")
    };
    output.line(format!(
        "\nIt listens at {server}, its registry is {registry}, all data is in {}.\n\
         Type in another terminal, for example:\n{export}  \
         {cooper} image ls\n  \
         {cooper} build -t tool .\n  \
         {cooper} --help\n\
         Ctrl-C stops everything; the data stays.",
        data.display(),
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
