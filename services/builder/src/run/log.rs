//! What an attempt prints: sent in chunks, by time and size, because each costs an fsync.

use bytes::{Buf as _, Bytes, BytesMut};
use eventlog::{Output, OutputEnd};
use std::time::Duration;
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
    at_line_start: bool,
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
            at_line_start: true,
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
        let (kept, dropped) = text.split_at(self.room(text));
        self.dropped += dropped.len() as u64;
        if kept.is_empty() {
            return;
        }
        self.add(kept);
        self.since.get_or_insert_with(Instant::now);
        let after_silence = self.last_sent.is_none_or(|sent| sent.elapsed() > DELAY);
        if after_silence || self.pending.len() >= CHUNK_BYTES {
            self.flush().await;
        }
    }

    /// Sends at once, and past the limit: a few words of our own.
    pub(super) async fn write(&mut self, text: &str) {
        if self.dropped > 0 {
            let end = if self.at_line_start { "" } else { "\n" };
            let (dropped, limit) = (std::mem::take(&mut self.dropped), self.limit);
            self.add(&format!(
                "{end}... {dropped} bytes dropped: a log has at most {limit} (builder.log_bytes_max)\n"
            ));
        }
        self.add(text);
        self.flush().await;
    }

    /// How much of a text has room: all, else its whole lines, and nothing after a gap.
    fn room(&self, text: &str) -> usize {
        let taken = self.end.offset + self.pending.len() as u64;
        let room = usize::try_from(self.limit.saturating_sub(taken)).unwrap_or(usize::MAX);
        match text.get(..text.floor_char_boundary(room)) {
            _ if self.dropped > 0 => 0,
            Some(all) if all.len() == text.len() => text.len(),
            fits => fits.and_then(|fits| fits.rfind('\n')).map_or(0, |end| end + 1),
        }
    }

    fn add(&mut self, text: &str) {
        self.pending.extend_from_slice(text.as_bytes());
        if !text.is_empty() {
            self.at_line_start = text.ends_with('\n');
        }
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

    // covers E3
    #[tokio::test]
    async fn what_has_no_room_is_told_once_and_the_end_is_there() {
        let server = NatsServer::start().await.unwrap();
        let output = server.connect("builder").await.unwrap().output();
        let mut log = BuildLog::new(output.clone(), "build", 1, 20);
        log.push("1234567\n12").await;
        log.push("34567\nlong line\nnext\n").await;
        log.push("ab\n").await;
        log.write("ERROR: no\n").await;
        log.write("more\n").await;
        let chunks = output.read("build", 0, false).await.unwrap();
        let text: Vec<_> = chunks.map_ok(|chunk| chunk.text).try_collect().await.unwrap();
        let told = "... 18 bytes dropped: a log has at most 20 (builder.log_bytes_max)\n";
        assert_eq!(
            String::from_utf8(text.concat()).unwrap(),
            format!("1234567\n1234567\n{told}ERROR: no\nmore\n")
        );
    }
}
