//! What a push says, at the end of its build's log. It is complete before the entry that ends the publication: so a
//! reader knows from the journal when it has all.

use bytes::Bytes;
use eventlog::{Output, OutputEnd};
use ids::BuildId;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Each message is flushed to disk, so lines are gathered.
const EVERY: Duration = Duration::from_millis(250);

pub(super) struct Journal {
    output: Output,
    build: BuildId,
    /// Of the build: what it printed stands before.
    attempt: u32,
    end: OutputEnd,
    text: String,
    flushed: Instant,
}

impl Journal {
    pub(super) fn new(output: Output, build: BuildId, attempt: u32) -> Self {
        Self {
            output,
            build,
            attempt,
            end: OutputEnd::default(),
            text: String::new(),
            flushed: Instant::now(),
        }
    }

    pub(super) fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Until there is something to write; for ever if there is nothing.
    pub(super) async fn due(&self) {
        if self.text.is_empty() {
            std::future::pending::<()>().await;
        } else {
            sleep_until(self.flushed + EVERY).await;
        }
    }

    /// A log that can't be written does not stop a push: the text is kept for the next time.
    pub(super) async fn flush(&mut self) {
        if self.text.is_empty() {
            return;
        }
        self.flushed = Instant::now();
        let text = Bytes::from(self.text.clone());
        let written = self.output.write(self.build, self.end, self.attempt, text);
        match written.await {
            Ok(end) => {
                self.end = end.unwrap_or(self.end);
                self.text.clear();
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the build's log can't be written"
                );
            }
        }
    }
}
