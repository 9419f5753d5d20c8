//! What lives beside the log: build output, uploaded contexts, events for the world, secrets, and who lives.

mod blobs;
mod feed;
mod output;
mod presence;
mod secrets;

pub use blobs::{Blobs, Stored};
pub use feed::{Feed, FeedEvent};
pub use output::{Output, OutputChunk, OutputEnd};
pub use presence::{Presence, Sign};
pub use secrets::Secrets;

use crate::{
    LogError,
    nats::{REQUEST_TIMEOUT, reader},
};
use async_nats::jetstream::{consumer::pull, stream::Stream};
use std::time::Duration;

/// All messages of one subject, and those to come. It ends with its first error.
async fn messages<I>(stream: &Stream<I>, subject: &str) -> Result<(u64, pull::Stream), LogError> {
    let config = pull::Config {
        filter_subject: subject.to_owned(),
        ..reader()
    };
    let opened = async {
        let consumer = stream.create_consumer(config).await?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer
            .stream()
            .max_messages_per_batch(500)
            .heartbeat(Duration::from_secs(1))
            .expires(Duration::from_secs(10))
            .messages()
            .await?;
        anyhow::Ok((pending, messages))
    };
    tokio::time::timeout(REQUEST_TIMEOUT * 2, opened)
        .await
        .map_err(LogError::unavailable)?
        .map_err(LogError::Unavailable)
}
