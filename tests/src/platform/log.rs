//! The platform's log, as it can be read without any service.

use super::{Parts, Platform};
use anyhow::Context as _;
use eventlog::{Entry, EventLog as _, Nats, NatsConfig, Position};
use futures::TryStreamExt as _;
use std::fs;

impl Platform {
    /// How the account of a service connects.
    pub fn nats_config(&self, account: &str) -> anyhow::Result<NatsConfig> {
        if let Parts::Many(many) = &self.parts {
            return many.nats.config(account);
        }
        let settings = fs::read_to_string(self.data().join("nats/nats.conf"))?;
        let listen = settings.lines().find_map(|line| line.strip_prefix("listen: "));
        let address = listen.context("the private server listens nowhere")?.trim_matches('"');
        Ok(NatsConfig {
            url: format!("nats://{address}"),
            user: account.to_owned(),
            password: fs::read_to_string(self.data().join(format!("keys/{account}.password")))?,
            replicas: 1,
            log_bytes_max: 0,
            output_bytes_max: 0,
        })
    }

    /// Everything that is in the log by now, in its order.
    pub async fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let log = Nats::connect(&self.nats_config("catalog")?).await?.log().await?;
        let head = log.head().await?;
        let mut entries = Vec::new();
        if head == Position::default() {
            return Ok(entries);
        }
        let mut stored = log.follow(Position::default()).await?;
        while let Some(entry) = stored.try_next().await? {
            let is_last = entry.position >= head;
            entries.push(entry);
            if is_last {
                break;
            }
        }
        Ok(entries)
    }
}
