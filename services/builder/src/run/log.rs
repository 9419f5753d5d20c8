//! What an attempt prints: sent in chunks, by time and size, because each costs an fsync.

use bytes::Bytes;
use eventlog::Output;
use std::{fmt::Write as _, time::Duration};
use tokio::time::{Instant, sleep};

const CHUNK_BYTES: usize = 64 * 1024;
/// How long a line may wait for others.
const DELAY: Duration = Duration::from_millis(30);
/// How long the server may be away.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(100);
/// Without anything to send there is nothing to wait for.
const NEVER: Duration = Duration::from_hours(1);

pub(super) struct BuildLog {
    output: Output,
    build: String,
    offset: u64,
    pending: String,
    since: Option<Instant>,
    last_sent: Option<Instant>,
    limit: u64,
    dropped: u64,
    /// The server did not take it for too long.
    broken: bool,
}

impl BuildLog {
    /// Goes on where an attempt before it stopped.
    pub(super) async fn open(output: Output, build: &str, limit: u64) -> Self {
        let length = output.length(build).await;
        Self {
            broken: length.is_err(),
            offset: length.unwrap_or_default(),
            output,
            build: build.to_owned(),
            pending: String::new(),
            since: None,
            last_sent: None,
            limit,
            dropped: 0,
        }
    }

    /// When what waits must be sent at the latest.
    pub(super) fn flush_at(&self) -> Instant {
        self.since.map_or_else(|| Instant::now() + NEVER, |since| since + DELAY)
    }

    /// Sends at once after a silence, so that the first line is there at once; later, in chunks.
    pub(super) async fn push(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let room = self.limit.saturating_sub(self.offset + self.pending.len() as u64);
        if text.len() as u64 > room {
            self.dropped += text.len() as u64;
            return;
        }
        self.pending.push_str(text);
        self.since.get_or_insert_with(Instant::now);
        let after_silence = self.last_sent.is_none_or(|sent| sent.elapsed() > DELAY);
        if after_silence || self.pending.len() >= CHUNK_BYTES {
            self.flush().await;
        }
    }

    /// Sends at once, and past the limit: a few words of our own.
    pub(super) async fn write(&mut self, text: &str) {
        self.pending.push_str(text);
        self.flush().await;
    }

    pub(super) async fn flush(&mut self) {
        let text = std::mem::take(&mut self.pending);
        self.since = None;
        self.last_sent = Some(Instant::now());
        let mut rest = Bytes::from(text);
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(CHUNK_BYTES * 4));
            self.send(chunk).await;
        }
    }

    /// A restart of the server is no reason to give a build up, and a log that can't be written is none either. A chunk
    /// that stands there twice is shown once.
    async fn send(&mut self, chunk: Bytes) {
        let patience = Instant::now() + PATIENCE;
        while !self.broken {
            match self.output.write(&self.build, self.offset, chunk.clone()).await {
                Ok(offset) => {
                    self.offset = offset;
                    return;
                }
                Err(_) if Instant::now() < patience => sleep(RETRY).await,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the rest of the build's log is lost"
                    );
                    self.broken = true;
                }
            }
        }
    }

    pub(super) async fn close(&mut self) {
        if self.dropped > 0 {
            let (dropped, limit) = (self.dropped, self.limit);
            let _ = writeln!(self.pending, "... {dropped} bytes dropped, a log has at most {limit}");
        }
        self.flush().await;
    }
}
