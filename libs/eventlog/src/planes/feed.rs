//! Events for the world: `cooperage.events.<workspace>.<image>.<type>`, CloudEvents 1.0 in binary mode.
//!
//! Only written here: others read the stream with their own clients.

use crate::{
    LogError, Nats,
    nats::EVENTS,
    publish::{Message, Published},
};
use anyhow::anyhow;
use async_nats::{HeaderMap, jetstream::stream::RawMessageErrorKind};

const ALL: &str = "cooperage.events.>";
const ID: &str = "ce-id";
const EXPECTED: &str = "Nats-Expected-Last-Sequence";
const WRONG_LAST_SEQUENCE: u64 = 10071;

/// One public event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEvent {
    /// Log position, and index among the public events of that entry.
    pub position: u64,
    pub index: u32,
    /// `image.published`
    pub kind: String,
    pub workspace: String,
    /// Empty for what concerns a workspace.
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
        let image = if self.image.is_empty() { "-" } else { &self.image };
        format!("cooperage.events.{}.{image}.{}", self.workspace, self.kind)
    }

    /// After the NATS binding of CloudEvents: attributes are prefixed, but for the content type. The trace context goes
    /// twice: as the extension, and where those look who know W3C only.
    fn headers(&self) -> HeaderMap {
        let attributes = [
            ("ce-specversion", "1.0".to_owned()),
            (ID, self.id()),
            ("ce-source", "cooperage".to_owned()),
            ("ce-type", self.kind.clone()),
            ("ce-subject", self.image.clone()),
            ("ce-time", timestamp(self.time_ms).to_string()),
            ("ce-workspace", self.workspace.clone()),
            ("ce-traceparent", self.traceparent.clone()),
            ("traceparent", self.traceparent.clone()),
            ("content-type", "application/json".to_owned()),
            ("Nats-Msg-Id", self.id()),
        ];
        let mut headers = HeaderMap::new();
        // An attribute that is not there has no header.
        for (name, value) in attributes.into_iter().filter(|(_, value)| !value.is_empty()) {
            headers.insert(name, value);
        }
        headers
    }
}

#[derive(Clone)]
pub struct Feed(Nats);

impl Feed {
    pub(crate) fn new(nats: Nats) -> Self {
        Self(nats)
    }

    /// Position and index of the last event in the stream, and the stream's last sequence: where a publisher goes on. No
    /// event: nothing was published yet, or everything was purged.
    pub async fn last(&self) -> Result<(Option<(u64, u32)>, u64), LogError> {
        let stream = self.0.context.get_stream(EVENTS).await.map_err(LogError::unavailable)?;
        let sequence = stream.cached_info().state.last_sequence;
        let message = match stream.get_last_raw_message_by_subject(ALL).await {
            Ok(message) => message,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok((None, sequence)),
            Err(error) => return Err(LogError::unavailable(error)),
        };
        let id = message.headers.get(ID).and_then(|id| id.as_str().split_once('.'));
        let id = id.and_then(|(position, index)| Some((position.parse().ok()?, index.parse().ok()?)));
        let foreign = || LogError::Unavailable(anyhow!("message {sequence} of {EVENTS} is not one of our events"));
        Ok((Some(id.ok_or_else(foreign)?), sequence))
    }

    /// Publishes events behind the sequence `expected`: all of them in this order, or none. Answers the sequence of the
    /// last, or `None` when something else is there already, such as the same events from another publisher.
    ///
    /// After an error nobody knows whether they are there: ask `last`.
    pub async fn publish(&self, events: &[FeedEvent], expected: u64) -> Result<Option<u64>, LogError> {
        let Some(last) = events.last() else {
            return Ok(Some(expected));
        };
        // Several go as one atomic batch: with an fsync per message, that is ten times as fast as a window of them.
        let message = |(index, event): (usize, &FeedEvent)| {
            let mut headers = event.headers();
            if index == 0 {
                headers.insert(EXPECTED, expected.to_string());
            }
            Message {
                subject: event.subject(),
                headers,
                bytes: event.data.clone().into(),
            }
        };
        match self.0.publish(events.iter().enumerate().map(message).collect()).await {
            // It was stored within the last two minutes, and is not the stream's last: somebody emptied the stream.
            Published::Stored { duplicate: true, .. } => Err(LogError::Unavailable(anyhow!(
                "{EVENTS} was emptied, it takes the event {} again in two minutes",
                last.id()
            ))),
            Published::Stored { sequence, .. } => Ok(Some(sequence)),
            Published::Rejected(rejection) if rejection.err_code == WRONG_LAST_SEQUENCE => Ok(None),
            Published::Rejected(rejection) => {
                let refused =
                    anyhow!(rejection.description).context(format!("{EVENTS} refused the event {}", last.id()));
                Err(LogError::Unavailable(refused))
            }
            Published::NotSent(error) | Published::Unknown { error, .. } => Err(LogError::Unavailable(error)),
        }
    }
}

fn timestamp(time_ms: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(time_ms.rem_euclid(1_000) * 1_000_000).unwrap_or_default();
    prost_types::Timestamp {
        seconds: time_ms.div_euclid(1_000),
        nanos,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> FeedEvent {
        FeedEvent {
            position: 8_812,
            index: 1,
            kind: "image.published".to_owned(),
            workspace: "ws_1".to_owned(),
            image: "img_2".to_owned(),
            time_ms: 1_700_000_000_042,
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            data: "{}".to_owned(),
        }
    }

    fn header(event: &FeedEvent, name: &str) -> Option<String> {
        event.headers().get(name).map(|value| value.as_str().to_owned())
    }

    // covers R79
    #[test]
    fn a_message_is_a_cloud_event_of_the_nats_binding() {
        let event = event();
        assert_eq!(event.subject(), "cooperage.events.ws_1.img_2.image.published");
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "8812.1"),
            ("ce-source", "cooperage"),
            ("ce-type", "image.published"),
            ("ce-subject", "img_2"),
            ("ce-time", "2023-11-14T22:13:20.042Z"),
            ("ce-workspace", "ws_1"),
            ("ce-traceparent", &event.traceparent),
            ("traceparent", &event.traceparent),
            ("content-type", "application/json"),
            ("Nats-Msg-Id", "8812.1"),
        ] {
            assert_eq!(header(&event, name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn what_concerns_a_workspace_has_no_image() {
        let event = FeedEvent {
            kind: "member.changed".to_owned(),
            image: String::new(),
            traceparent: String::new(),
            ..event()
        };
        assert_eq!(event.subject(), "cooperage.events.ws_1.-.member.changed");
        assert_eq!(header(&event, "ce-subject"), None);
        assert_eq!(header(&event, "traceparent"), None);
    }
}
