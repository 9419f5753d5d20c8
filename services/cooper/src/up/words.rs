//! What `cooper up` says when it is ready.

use super::{data::Data, programs};
use crate::output::{Output, Tone};
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

/// Says so with one write, for programs that wait for it and go on reading.
pub(super) fn ready(output: &Output, place: &Place, after: Duration) {
    let head = output.style.paint(Tone::Strong, "Cooperage is ready");
    says(
        output,
        &format!("{head} after {:.2} s\n{}", after.as_secs_f64(), table(place)),
    );
}

fn table(place: &Place) -> String {
    let Place {
        server, registry, data, ..
    } = place;
    format!(
        "  server    {server}\n  registry  {registry}\n  data      {}",
        data.display()
    )
}

/// After the tour, whose words have pushed the first ones away.
pub(super) fn again(output: &Output, place: &Place) {
    says(output, &format!("\nCooperage goes on\n{}", table(place)));
}

/// What one does with it, and how it ends.
pub(super) fn next(output: &Output, place: &Place) {
    let Place { server, cooper, .. } = place;
    // The client's own default needs no words.
    let export = match server.as_str() {
        "http://127.0.0.1:7070" => String::new(),
        _ => format!("  export COOPERAGE_SERVER={server}\n"),
    };
    let words = format!(
        "Type in another terminal, for example:\n{export}  \
         {cooper} image ls\n  \
         {cooper} build -t tool .\n  \
         {cooper} --help\n\
         Ctrl-C stops everything; the data stays."
    );
    says(output, &words);
}

/// The platform goes on also when nobody reads what it says.
fn says(output: &Output, words: &str) {
    let _ = output.line(words);
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
    match ours.strip_prefix(&here) {
        Ok(below) => Path::new(".").join(below).display().to_string(),
        Err(_) => ours.display().to_string(),
    }
}
