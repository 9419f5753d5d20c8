//! What builds print: `buildlog.<build>`, in chunks that know at which byte of the build's log they begin.

use super::messages;
use crate::{LogError, Nats, nats::OUTPUT};
use anyhow::anyhow;
use async_nats::{
    HeaderMap,
    jetstream::{Message, message::StreamMessage, stream::RawMessageErrorKind},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use std::fmt::Display;

const OFFSET: &str = "Cooperage-Offset";

#[derive(Clone)]
pub struct Output(Nats);

/// A piece of a build's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputChunk {
    /// Where it begins, in bytes.
    pub offset: u64,
    pub text: Bytes,
}

impl Output {
    pub(crate) fn new(nats: Nats) -> Self {
        Self(nats)
    }

    /// Where the next byte of a build's log goes: 0 for one that has printed nothing.
    pub async fn length(&self, build: impl Display) -> Result<u64, LogError> {
        let stream = self
            .0
            .context
            .get_stream_no_info(OUTPUT)
            .await
            .map_err(LogError::unavailable)?;
        match stream.get_last_raw_message_by_subject(&subject(build)).await {
            Ok(message) => Ok(length(&message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(0),
            Err(error) => Err(LogError::unavailable(error)),
        }
    }

    /// Writes text at an offset, and answers the next one. Acknowledged: what is not, gets lost under load.
    pub async fn write(&self, build: impl Display, offset: u64, text: Bytes) -> Result<u64, LogError> {
        let next = offset + text.len() as u64;
        let mut headers = HeaderMap::new();
        headers.insert(OFFSET, offset.to_string());
        let sent = self.0.context.publish_with_headers(subject(build), headers, text).await;
        sent.map_err(LogError::unavailable)?
            .await
            .map_err(LogError::unavailable)?;
        Ok(next)
    }

    /// A build's log from an offset on. Without `follow` it ends with what is there now; with it, never: whoever
    /// ends a build has written its log before, so a reader knows from the journal when it has all. The first error
    /// is the end: open it again at the next offset.
    pub async fn read(
        &self,
        build: impl Display,
        offset: u64,
        follow: bool,
    ) -> Result<BoxStream<'static, Result<OutputChunk, LogError>>, LogError> {
        let stream = self
            .0
            .context
            .get_stream_no_info(OUTPUT)
            .await
            .map_err(LogError::unavailable)?;
        let (pending, messages) = messages(&stream, &subject(build)).await?;
        let chunks = messages.map(|message| chunk(&message.map_err(LogError::unavailable)?));
        let chunks = if follow {
            chunks.boxed()
        } else {
            chunks.take(usize::try_from(pending).unwrap_or(usize::MAX)).boxed()
        };
        // Where the reader is: a chunk whose acknowledgement was lost stands there twice.
        let mut at = offset;
        Ok(chunks
            .filter_map(move |chunk| {
                let fresh = chunk.map(|chunk| after(chunk, at)).transpose();
                if let Some(Ok(chunk)) = &fresh {
                    at = chunk.offset + chunk.text.len() as u64;
                }
                std::future::ready(fresh)
            })
            .boxed())
    }
}

fn subject(build: impl Display) -> String {
    format!("buildlog.{build}")
}

fn length(message: &StreamMessage) -> u64 {
    offset(&message.headers).unwrap_or_default() + message.payload.len() as u64
}

fn offset(headers: &HeaderMap) -> Option<u64> {
    headers.get(OFFSET)?.as_str().parse().ok()
}

fn chunk(message: &Message) -> Result<OutputChunk, LogError> {
    let headers = message.headers.as_ref();
    let malformed = || LogError::Unavailable(anyhow!("a chunk of build output has no offset"));
    Ok(OutputChunk {
        offset: headers.and_then(offset).ok_or_else(malformed)?,
        text: message.payload.clone(),
    })
}

/// The part of a chunk that lies at or after an offset.
fn after(mut chunk: OutputChunk, offset: u64) -> Option<OutputChunk> {
    let skip = offset.saturating_sub(chunk.offset);
    if skip >= chunk.text.len() as u64 {
        return None;
    }
    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.text.len());
    chunk.offset += skip as u64;
    chunk.text = chunk.text.slice(skip..);
    Some(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_may_begin_in_the_middle_of_a_chunk() {
        let chunk = OutputChunk {
            offset: 10,
            text: Bytes::from_static(b"hello"),
        };
        let rest = after(chunk.clone(), 12).map(|chunk| (chunk.offset, chunk.text));
        assert_eq!(rest, Some((12, Bytes::from_static(b"llo"))));
        assert_eq!(after(chunk, 15), None);
    }
}
