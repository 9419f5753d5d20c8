//! Events for the world: `cooperage.events.<workspace>.<image>.<type>`, CloudEvents 1.0 in binary mode.

use super::messages;
use crate::{LogError, Nats, nats::EVENTS};
use anyhow::anyhow;
use async_nats::{
    HeaderMap,
    jetstream::{Message, message::PublishMessage, stream::Stream},
};
use futures::{StreamExt as _, stream::BoxStream};

/// One public event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEvent {
    /// Log position, and index among the public events of that entry.
    pub position: u64,
    pub index: u32,
    /// `image.published`
    pub kind: String,
    pub workspace: String,
    pub image: String,
    pub time_ms: i64,
    pub traceparent: String,
    /// proto3 JSON.
    pub data: String,
}

impl FeedEvent {
    /// `ce-id`, also what the server de-duplicates by.
    pub fn id(&self) -> String {
        format!("{}.{}", self.position, self.index)
    }

    fn subject(&self) -> String {
        format!("cooperage.events.{}.{}.{}", self.workspace, self.image, self.kind)
    }
}

#[derive(Clone)]
pub struct Feed(Nats);

impl Feed {
    pub(crate) fn new(nats: Nats) -> Self {
        Self(nats)
    }

    /// The last event in the stream, and the stream's last sequence: where a publisher goes on.
    pub async fn last(&self) -> Result<Option<(FeedEvent, u64)>, LogError> {
        let stream = self.0.context.get_stream(EVENTS).await.map_err(LogError::unavailable)?;
        let last = stream.cached_info().state.last_sequence;
        if last == 0 {
            return Ok(None);
        }
        let message = stream.get_raw_message(last).await.map_err(LogError::unavailable)?;
        let event = event(&message.subject, &message.headers, &message.payload)?;
        Ok(Some((event, last)))
    }

    /// Publishes behind `expected`, so that of two publishers one fails. Answers the event's sequence.
    pub async fn publish(&self, event: &FeedEvent, expected: u64) -> Result<u64, LogError> {
        let mut message = PublishMessage::build()
            .expected_last_sequence(expected)
            .message_id(event.id())
            .payload(event.data.clone().into());
        for (name, value) in [
            ("ce-specversion", "1.0".to_owned()),
            ("ce-id", event.id()),
            ("ce-source", "cooperage".to_owned()),
            ("ce-type", event.kind.clone()),
            ("ce-subject", event.image.clone()),
            ("ce-time", timestamp(event.time_ms).to_string()),
            ("ce-workspace", event.workspace.clone()),
            ("content-type", "application/json".to_owned()),
            ("traceparent", event.traceparent.clone()),
        ] {
            if !value.is_empty() {
                message = message.header(name, value);
            }
        }
        let sent = self.0.context.send_publish(event.subject(), message).await;
        let ack = sent
            .map_err(LogError::unavailable)?
            .await
            .map_err(LogError::unavailable)?;
        Ok(ack.sequence)
    }

    /// Events from a log position on. Empty `workspace` or `image`: all. Without `follow` it ends with the
    /// present. The first error is the end: open it again.
    pub async fn read(
        &self,
        workspace: &str,
        image: &str,
        after: u64,
        follow: bool,
    ) -> Result<BoxStream<'static, Result<FeedEvent, LogError>>, LogError> {
        let any = |token: &str| {
            if token.is_empty() {
                "*".to_owned()
            } else {
                token.to_owned()
            }
        };
        let subject = format!("cooperage.events.{}.{}.>", any(workspace), any(image));
        let stream = self.0.context.get_stream(EVENTS).await.map_err(LogError::unavailable)?;
        let (pending, messages) = messages(&stream, &subject, first_after(&stream, after).await?).await?;
        let events = messages.map(|message| {
            let message: Message = message.map_err(LogError::unavailable)?;
            event(
                &message.subject,
                message.headers.as_ref().unwrap_or(&HeaderMap::new()),
                &message.payload,
            )
        });
        let events = if follow {
            events.boxed()
        } else {
            events.take(usize::try_from(pending).unwrap_or(usize::MAX)).boxed()
        };
        Ok(events)
    }
}

/// The sequence of the first event after a log position. Both only grow, so it is searched by halves.
async fn first_after(stream: &Stream, position: u64) -> Result<u64, LogError> {
    let state = &stream.cached_info().state;
    let (mut low, mut high) = (state.first_sequence.max(1), state.last_sequence + 1);
    while low < high {
        let middle = low.midpoint(high);
        let message = stream.get_raw_message(middle).await.map_err(LogError::unavailable)?;
        if event(&message.subject, &message.headers, &message.payload)?.position > position {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

fn event(subject: &str, headers: &HeaderMap, payload: &[u8]) -> Result<FeedEvent, LogError> {
    let header = |name: &str| {
        headers
            .get(name)
            .map(|value| value.as_str().to_owned())
            .unwrap_or_default()
    };
    let parsed = || {
        let id = header("ce-id");
        let (position, index) = id.split_once('.')?;
        Some(FeedEvent {
            position: position.parse().ok()?,
            index: index.parse().ok()?,
            kind: header("ce-type"),
            workspace: header("ce-workspace"),
            image: header("ce-subject"),
            time_ms: milliseconds(&header("ce-time"))?,
            traceparent: header("traceparent"),
            data: String::from_utf8(payload.to_vec()).ok()?,
        })
    };
    parsed().ok_or_else(|| LogError::Unavailable(anyhow!("a message on {subject} is not one of our events")))
}

fn timestamp(time_ms: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(time_ms.rem_euclid(1_000) * 1_000_000).unwrap_or_default();
    prost_types::Timestamp {
        seconds: time_ms.div_euclid(1_000),
        nanos,
    }
}

fn milliseconds(text: &str) -> Option<i64> {
    let time: prost_types::Timestamp = text.parse().ok()?;
    Some(time.seconds * 1_000 + i64::from(time.nanos / 1_000_000))
}
