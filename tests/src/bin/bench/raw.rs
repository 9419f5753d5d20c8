//! What our writes are compared with: acknowledged publishes to JetStream, and nothing else.
//!
//! To a server of its own with the settings of the platform's, into a stream with the settings of `LOG`.

use anyhow::Context as _;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tests::NatsServer;
use tokio::task::JoinSet;

pub(crate) struct Raw {
    _server: NatsServer,
    context: Context,
}

impl Raw {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let server = NatsServer::start().await?;
        server.connect("editor").await?;
        let config = server.config("editor")?;
        let client = async_nats::ConnectOptions::new()
            .user_and_password(config.user, config.password)
            .custom_inbox_prefix("_INBOX_editor")
            .connect(config.url)
            .await
            .context("the server for raw publishes does not answer")?;
        Ok(Self {
            _server: server,
            context: jetstream::new(client),
        })
    }

    /// One publish, and its acknowledgement.
    pub(crate) async fn publish(&self, key: usize, payload: Bytes) -> anyhow::Result<Duration> {
        let began = Instant::now();
        publish(&self.context, key, payload).await?;
        Ok(began.elapsed())
    }

    /// Publishes a second, with so many in flight for a while.
    pub(crate) async fn rate(&self, in_flight: usize, payload: &Bytes, during: Duration) -> anyhow::Result<f64> {
        let began = Instant::now();
        let mut publishers = JoinSet::new();
        for key in 0..in_flight {
            let (context, payload) = (self.context.clone(), payload.clone());
            publishers.spawn(async move {
                let mut done = 0_u32;
                while began.elapsed() < during {
                    publish(&context, key, payload.clone()).await?;
                    done += 1;
                }
                anyhow::Ok(done)
            });
        }
        let mut done = 0;
        while let Some(published) = publishers.join_next().await {
            done += published??;
        }
        Ok(f64::from(done) / began.elapsed().as_secs_f64())
    }
}

async fn publish(context: &Context, key: usize, payload: Bytes) -> anyhow::Result<()> {
    context.publish(format!("log.spec.{key}"), payload).await?.await?;
    Ok(())
}
