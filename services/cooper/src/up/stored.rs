//! The log of a data folder that no platform runs on: its server alone.

use super::{data::Data, ends, nats};
use crate::failure::{Exit, Failure};
use anyhow::Context as _;
use eventlog::{JetStreamLog, Nats, NatsConfig};
use std::{fs, path::Path};

/// Reads the log with a server that lives no longer than that. It must be awaited on the thread of `main`.
pub(crate) async fn stored_log<T>(
    folder: &Path,
    read: impl AsyncFnOnce(JetStreamLog) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if !folder.join("nats/jetstream").is_dir() {
        let sentence = format!("{} is no data folder with a log", folder.display());
        return Err(Failure::new(Exit::Invalid, sentence));
    }
    let data = Data::open(folder).await?;
    let (server, address) = nats::start(&data).await?;
    let opened = async {
        let password = fs::read_to_string(data.join("keys/catalog.password"))?;
        let config = NatsConfig {
            url: format!("nats://{address}"),
            user: "catalog".to_owned(),
            password,
            replicas: 1,
            log_bytes_max: 0,
            output_bytes_max: 0,
        };
        Nats::connect(&config).await?.log().await
    };
    let answer = match opened.await.context("the log can't be opened") {
        Ok(log) => read(log).await,
        Err(error) => Err(ends(Exit::Unavailable)(error)),
    };
    server.stop().await;
    answer
}
