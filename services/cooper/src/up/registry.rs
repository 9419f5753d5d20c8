//! The private registry: where it listens, and its settings.

use super::{
    child::{Child, Program},
    data::Data,
    ends, programs,
};
use crate::{
    failure::{Exit, Failure},
    secrets::secret,
};
use anyhow::Context as _;
use serde_json::json;
use std::{net::SocketAddr, path::Path};
use tokio::net::{TcpListener, lookup_host};

const ADVICE: &str = "`make setup` installs one, or name a registry that runs with --registry";

/// Starts the registry at `host:port`, and waits until it answers there. Port 0 is any free one.
pub(super) async fn start<'data>(data: &'data Data, host: &str) -> Result<(Child<'data>, SocketAddr), Failure> {
    let file = programs::find(&["docker-registry", "registry"], ADVICE)?;
    let address = free(host).await?;
    let settings = data.join("registry/config.yml");
    write_settings(data, address, &settings).map_err(ends(Exit::Unavailable))?;
    let program = Program {
        name: "the registry",
        file,
        words: vec!["serve".into(), settings.into()],
        // Version 3 looks for a collector of traces otherwise.
        variables: vec![("OTEL_TRACES_EXPORTER", "none".to_owned())],
        address,
        log: data.join("logs/registry.log"),
    };
    Ok((Child::start(program, data).await?, address))
}

/// Whether the address can be listened on. The registry does so a moment later.
async fn free(host: &str) -> Result<SocketAddr, Failure> {
    let unknown = format!("`{host}` is no address of this machine: set registry.host to HOST:PORT");
    let mut found = lookup_host(host)
        .await
        .map_err(|_| Failure::new(Exit::Invalid, &unknown))?;
    let address = found.next().ok_or_else(|| Failure::new(Exit::Invalid, &unknown))?;
    let listened = async { TcpListener::bind(address).await?.local_addr() };
    listened.await.map_err(|_| {
        let sentence = format!(
            "{address}, where the registry goes, can't be listened on: stop what listens there, choose another \
             address with COOPERAGE_REGISTRY__HOST, or name a registry that runs with --registry"
        );
        Failure::new(Exit::NotNow, sentence)
    })
}

/// JSON is YAML, and quotes what has to be.
fn write_settings(data: &Data, address: SocketAddr, file: &Path) -> anyhow::Result<()> {
    let folder = data.join("registry");
    let folder = folder.to_str().context("the data folder's name is not UTF-8")?;
    let settings = json!({
        "version": 0.1,
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "storage": { "filesystem": { "rootdirectory": folder }, "delete": { "enabled": true } },
        // An upload can go on after a restart of the registry.
        "http": { "addr": address.to_string(), "secret": secret(&data.join("keys"), "registry")? },
    });
    service::auth::write_private(file, format!("{settings:#}\n").as_bytes())
}
