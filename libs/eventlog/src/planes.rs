//! What lives beside the log: build output, uploaded contexts, and events for the world.

mod blobs;
mod feed;
mod output;

pub use blobs::{Blobs, Stored};
pub use feed::{Feed, FeedEvent};
pub use output::{Output, OutputChunk};

use crate::{LogError, nats::REQUEST_TIMEOUT};
use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, pull},
    stream::Stream,
};
use std::time::Duration;

/// Messages of one subject from a sequence on, and those to come. It ends with its first error.
async fn messages<I>(stream: &Stream<I>, subject: &str, from: u64) -> Result<(u64, pull::Stream), LogError> {
    let config = pull::Config {
        filter_subject: subject.to_owned(),
        deliver_policy: if from == 0 {
            DeliverPolicy::All
        } else {
            DeliverPolicy::ByStartSequence { start_sequence: from }
        },
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: Duration::from_secs(30),
        ..pull::Config::default()
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
