//! Facts on which nobody decides anything: written behind whatever the stream holds.

use crate::{Append, AppendError, Envelope, EventLog, Position, Request, StreamId};
use aggregate::Event;

/// Others of the same service write to the stream too; each gets through soon.
const ATTEMPTS_MAX: usize = 16;

/// Writes one entry. It is not repeated when its outcome is unknown, and not written to a log that is nearly full.
pub async fn record<E: Event>(
    log: &dyn EventLog,
    stream: &StreamId,
    request: &Request,
    time_ms: i64,
    events: &[E],
) -> Result<Position, AppendError> {
    log.admit().await?;
    let events = events.iter().map(Event::to_bytes).collect();
    let bytes = Envelope::new(request, time_ms, 0, events).write()?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let append = Append {
            stream: stream.clone(),
            expected: log.version(stream).await?,
            bytes: bytes.clone(),
        };
        match log.append(vec![append]).await {
            Err(AppendError::Conflict) if attempts < ATTEMPTS_MAX => (),
            ended => return ended,
        }
    }
}
