//! The private NATS server: its settings, and which versions will do.

use super::{
    child::{Child, Program},
    data::Data,
    ends, programs,
};
use crate::{
    failure::{Exit, Failure},
    secrets::passwords,
};
use anyhow::Context as _;
use std::{net::SocketAddr, path::Path, process::Stdio};
use tokio::{net::TcpListener, process::Command};

/// The first with atomic batches.
const LEAST: (u32, u32) = (2, 12);
const ADVICE: &str = "`make setup` fetches one, or install nats-server 2.12 or newer";
/// Where the server's garbage collector begins to work hard. It lives well below that with a million entries, and
/// without a limit lets twice as much lie around.
const MEMORY: &str = "192MiB";

/// Starts the server on a free port of this machine's own, and waits until it answers there.
pub(super) async fn start(data: &Data) -> Result<(Child<'_>, SocketAddr), Failure> {
    let file = programs::find(&["nats-server"], ADVICE)?;
    let address = free_port().await.map_err(ends(Exit::Unavailable))?;
    let settings = data.join("nats/nats.conf");
    write_settings(data, address, &settings).map_err(ends(Exit::Unavailable))?;
    check_version(&file).await?;
    let program = Program {
        name: "nats-server",
        file,
        words: vec!["-c".into(), settings.into()],
        variables: vec![("GOMEMLIMIT", MEMORY.to_owned())],
        address,
        log: data.join("logs/nats.log"),
    };
    Ok((Child::start(program, data).await?, address))
}

/// The port is free now, and the server has it a moment later.
async fn free_port() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("this machine has no free port")?;
    Ok(listener.local_addr()?)
}

fn write_settings(data: &Data, address: SocketAddr, file: &Path) -> anyhow::Result<()> {
    let passwords = passwords(&data.join("keys"))?;
    let store = data.join("nats");
    let store = store.to_str().context("the data folder's name is not UTF-8")?;
    let text = eventlog::server_config(&address.to_string(), store, passwords);
    service::auth::write_private(file, text.as_bytes())
}

/// Asked before it opens the store, because an older one would not only lack what we need, but write in its own way.
async fn check_version(file: &Path) -> Result<(), Failure> {
    let asked = Command::new(file)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    let asked = asked
        .with_context(|| format!("{} can't be started", file.display()))
        .map_err(ends(Exit::Unavailable))?;
    let said = String::from_utf8_lossy(&asked.stdout);
    if version(&said).is_some_and(|version| version >= LEAST) {
        return Ok(());
    }
    let sentence = format!("{} is {}, which is too old: {ADVICE}", file.display(), said.trim());
    Err(Failure::new(Exit::Unavailable, sentence))
}

/// `nats-server: v2.15.1`
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.trim().rsplit_once('v')?.1.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_server_says() {
        assert_eq!(version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(version("nats-server: v2.12.0-RC.1"), Some((2, 12)));
        assert_eq!(version("no such thing"), None);
    }
}
