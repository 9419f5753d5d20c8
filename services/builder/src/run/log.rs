//! What an attempt prints: sent in chunks, by time and size, because each costs an fsync.

use bytes::{Buf as _, Bytes, BytesMut};
use eventlog::{Output, OutputEnd};
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
    attempt: u32,
    end: OutputEnd,
    /// Printed, and not acknowledged yet.
    pending: BytesMut,
    since: Option<Instant>,
    last_sent: Option<Instant>,
    limit: u64,
    dropped: u64,
    /// The server did not take it for too long, or it is another attempt's by now.
    broken: bool,
}

impl BuildLog {
    /// Goes on where an attempt before it stopped.
    pub(super) fn new(output: Output, build: &str, attempt: u32, limit: u64) -> Self {
        Self {
            output,
            build: build.to_owned(),
            attempt,
            end: OutputEnd::default(),
            pending: BytesMut::new(),
            since: None,
            last_sent: None,
            limit,
            dropped: 0,
            broken: false,
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
        let room = self.limit.saturating_sub(self.end.offset + self.pending.len() as u64);
        if text.len() as u64 > room {
            self.dropped += text.len() as u64;
            return;
        }
        self.pending.extend_from_slice(text.as_bytes());
        self.since.get_or_insert_with(Instant::now);
        let after_silence = self.last_sent.is_none_or(|sent| sent.elapsed() > DELAY);
        if after_silence || self.pending.len() >= CHUNK_BYTES {
            self.flush().await;
        }
    }

    /// Sends at once, and past the limit: a few words of our own.
    pub(super) async fn write(&mut self, text: &str) {
        self.pending.extend_from_slice(text.as_bytes());
        self.flush().await;
    }

    /// A restart of the server is no reason to give a build up, and a log that can't be written is none either. What
    /// waits stays until it is acknowledged: a cancel drops whoever sends it in the middle, and it must neither be
    /// missing then nor stand there twice.
    pub(super) async fn flush(&mut self) {
        self.since = None;
        self.last_sent = Some(Instant::now());
        let mut patience = Instant::now() + PATIENCE;
        while !self.pending.is_empty() && !self.broken {
            let size = self.pending.len().min(CHUNK_BYTES * 4);
            let chunk = Bytes::copy_from_slice(&self.pending[..size]);
            match self.output.write(&self.build, self.end, self.attempt, chunk).await {
                Ok(Some(end)) => {
                    self.end = end;
                    self.pending.advance(size);
                    patience = Instant::now() + PATIENCE;
                }
                Ok(None) => self.broken = true,
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
        if self.broken {
            self.pending.clear();
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

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::NatsServer;
    use futures::TryStreamExt as _;
    use tokio::task::yield_now;

    // covers E3, E4
    #[tokio::test]
    async fn what_a_cancel_drops_on_its_way_stands_there_once() {
        let server = NatsServer::start().await.unwrap();
        let output = server.connect("builder").await.unwrap().output();
        for moment in 1..20 {
            let build = format!("build-{moment}");
            let mut log = BuildLog::new(output.clone(), &build, 1, 1_000);
            log.write("begun\n").await;
            let cancelled = async {
                for _ in 0..moment {
                    yield_now().await;
                }
            };
            tokio::select! {
                biased;
                () = log.write("on its way\n") => (),
                () = cancelled => (),
            }
            log.write("CANCELLED\n").await;

            let chunks = output.read(&build, 0, false).await.unwrap();
            let text: Vec<_> = chunks.map_ok(|chunk| chunk.text).try_collect().await.unwrap();
            assert_eq!(text.concat(), b"begun\non its way\nCANCELLED\n", "{moment}");
        }
    }
}
