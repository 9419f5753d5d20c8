//! What builds print: `buildlog.<build>`, in chunks that know at which byte of the build's log they begin, and which
//! attempt wrote them. Each is written behind the last one that its writer knows, so that an attempt which does not
//! know yet that it is over can't write into the log of the next one.

use super::messages;
use crate::{LogError, Nats, nats::OUTPUT};
use anyhow::anyhow;
use async_nats::{
    HeaderMap,
    jetstream::{Message, context::PublishErrorKind, message::StreamMessage, stream::RawMessageErrorKind},
};
use bytes::{Buf as _, Bytes};
use futures::{StreamExt as _, stream::BoxStream};
use std::fmt::Display;

const OFFSET: &str = "Cooperage-Offset";
const ATTEMPT: &str = "Cooperage-Attempt";
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// How often a chunk is written again because the log ends elsewhere.
const TRIES: usize = 5;

#[derive(Clone)]
pub struct Output(Nats);

/// A piece of a build's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputChunk {
    /// Where it begins, in bytes.
    pub offset: u64,
    pub text: Bytes,
}

/// Where a build's log ends, as one of its writers knows it; the first write finds it out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputEnd {
    /// Where the next byte goes.
    pub offset: u64,
    sequence: u64,
}

impl Output {
    pub(crate) fn new(nats: Nats) -> Self {
        Self(nats)
    }

    /// How many bytes a build has printed.
    pub async fn length(&self, build: impl Display) -> Result<u64, LogError> {
        let last = self.last(&subject(build)).await?;
        Ok(last.map_or(0, |last| end(&last).offset))
    }

    /// Writes the text of an attempt where the log ends, and answers the new end; `None` when a later attempt writes
    /// by now. Acknowledged: what is not, gets lost under load. After an error, the same again is written once.
    pub async fn write(
        &self,
        build: impl Display,
        mut at: OutputEnd,
        attempt: u32,
        mut text: Bytes,
    ) -> Result<Option<OutputEnd>, LogError> {
        let subject = subject(build);
        for _ in 0..TRIES {
            let mut headers = HeaderMap::new();
            headers.insert(OFFSET, at.offset.to_string());
            headers.insert(ATTEMPT, attempt.to_string());
            headers.insert(EXPECTED, at.sequence.to_string());
            let sent = self
                .0
                .context
                .publish_with_headers(subject.clone(), headers, text.clone());
            match sent.await.map_err(LogError::unavailable)?.await {
                Ok(stored) => {
                    let offset = at.offset + text.len() as u64;
                    let sequence = stored.sequence;
                    return Ok(Some(OutputEnd { offset, sequence }));
                }
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => (),
                Err(error) => return Err(LogError::unavailable(error)),
            }
            let Some(last) = self.last(&subject).await? else {
                // The oldest goes when the stream is full.
                at.sequence = 0;
                continue;
            };
            let writer = number(&last.headers, ATTEMPT).unwrap_or_default();
            if writer > u64::from(attempt) {
                return Ok(None);
            }
            let is_next = at.sequence == 0 || offset(&last.headers) == Some(at.offset);
            at = end(&last);
            // Ours, whose acknowledgement got lost.
            if is_next && writer == u64::from(attempt) && text.starts_with(&last.payload) {
                text.advance(last.payload.len());
                if text.is_empty() {
                    return Ok(Some(at));
                }
            }
        }
        Err(LogError::unavailable(anyhow!("{subject} has too many writers")))
    }

    async fn last(&self, subject: &str) -> Result<Option<StreamMessage>, LogError> {
        let stream = self
            .0
            .context
            .get_stream_no_info(OUTPUT)
            .await
            .map_err(LogError::unavailable)?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(LogError::unavailable(error)),
        }
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

fn end(message: &StreamMessage) -> OutputEnd {
    OutputEnd {
        offset: offset(&message.headers).unwrap_or_default() + message.payload.len() as u64,
        sequence: message.sequence,
    }
}

fn offset(headers: &HeaderMap) -> Option<u64> {
    number(headers, OFFSET)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
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
