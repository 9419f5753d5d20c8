//! This process and the NATS server: who it is there, and how long it waits for it.

use crate::Config;
use anyhow::Context as _;
use eventlog::{Nats, NatsConfig, OPERATOR, Unfit};
use std::{fs, path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep};

/// How long a starting process waits for the server.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(100);

/// A connection of one service, with every stream there.
pub(crate) async fn connect(config: &Config, account: &str) -> anyhow::Result<Nats> {
    let nats = settings(config, account)?;
    patiently(|| async {
        let connection = Nats::connect(&nats).await?;
        connection.prepare(&nats).await?;
        Ok(connection)
    })
    .await
}

/// Lets the log and the build output grow to where the settings say, as the operator. Answers where those that are there
/// end then.
pub async fn grow(config: &Config) -> anyhow::Result<(Option<i64>, Option<i64>)> {
    let nats = settings(config, OPERATOR)?;
    let (log, output) = (nats.log_bytes_max, nats.output_bytes_max);
    patiently(|| async { Nats::connect(&nats).await?.grow(log, output).await }).await
}

/// Where an account's password is.
pub fn password_of(config: &Config, account: &str) -> PathBuf {
    let folder = if config.nats.passwords.as_os_str().is_empty() {
        config.data.join("keys")
    } else {
        config.nats.passwords.clone()
    };
    folder.join(format!("{account}.password"))
}

fn settings(config: &Config, account: &str) -> anyhow::Result<NatsConfig> {
    let file = password_of(config, account);
    let password = fs::read_to_string(&file).with_context(|| {
        format!(
            "the password of the NATS account {account} can't be read: {}",
            file.display()
        )
    })?;
    Ok(NatsConfig {
        url: config.nats.url.clone(),
        user: account.to_owned(),
        password: password.trim().to_owned(),
        replicas: config.nats.replicas,
        log_bytes_max: config.nats.log_bytes_max,
        output_bytes_max: config.nats.output_bytes_max,
    })
}

// No `AsyncFn`: who spawns this would have to know of its future that it can be sent.
async fn patiently<T, F: Future<Output = anyhow::Result<T>>>(attempt: impl Fn() -> F) -> anyhow::Result<T> {
    let patience = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(error) if !error.is::<Unfit>() && Instant::now() < patience => {
                tracing::debug!("waiting for NATS: {error:#}");
                sleep(RETRY).await;
            }
            ended => return ended,
        }
    }
}
