//! Streams that outlive their connection: opened again where they broke.

use super::is_worth_repeating;
use crate::failure::{Exit, Failure};
use futures::{Stream, stream};
use std::time::{Duration, Instant};
use tonic::Streaming;

const PAUSE: Duration = Duration::from_millis(500);
/// A stream that was open for so long had no trouble, also when nothing was said on it.
const STEADY: Duration = Duration::from_secs(5);
/// How long a server may stay away.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a lasting stream yields.
#[derive(Debug)]
pub(crate) enum Step<T> {
    /// It was opened, or opened again: the server begins anew from the cursor.
    Opened,
    Said(T),
}

/// What it means when the server ends a stream in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// There is no more.
    Final,
    /// The server stops, and another will go on.
    Never,
}

struct State<C, T, O, A> {
    end: End,
    cursor: C,
    open: O,
    advance: A,
    stream: Option<Streaming<T>>,
    opened: Instant,
    trouble_since: Option<Instant>,
}

/// Reads a stream to its end. `advance` moves the cursor over a message, and `open` begins after the cursor.
pub(crate) fn lasting<C, T, O, A>(
    end: End,
    cursor: C,
    open: O,
    advance: A,
) -> impl Stream<Item = Result<Step<T>, Failure>>
where
    O: AsyncFn(&C) -> Result<Streaming<T>, Failure>,
    A: Fn(&mut C, &T),
{
    let state = State {
        end,
        cursor,
        open,
        advance,
        stream: None,
        opened: Instant::now(),
        trouble_since: None,
    };
    stream::try_unfold(state, |mut state| async move {
        let step = state.step().await?;
        Ok(step.map(|step| (step, state)))
    })
}

impl<C, T, O, A> State<C, T, O, A>
where
    O: AsyncFn(&C) -> Result<Streaming<T>, Failure>,
    A: Fn(&mut C, &T),
{
    async fn step(&mut self) -> Result<Option<Step<T>>, Failure> {
        loop {
            let Some(stream) = &mut self.stream else {
                match (self.open)(&self.cursor).await {
                    Ok(stream) => {
                        self.stream = Some(stream);
                        self.opened = Instant::now();
                        return Ok(Some(Step::Opened));
                    }
                    Err(failure) => self.bear(failure).await?,
                }
                continue;
            };
            match stream.message().await {
                Ok(Some(message)) => {
                    self.trouble_since = None;
                    (self.advance)(&mut self.cursor, &message);
                    return Ok(Some(Step::Said(message)));
                }
                Ok(None) if self.end == End::Final => return Ok(None),
                Ok(None) => {
                    self.stream = None;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(status) => {
                    self.stream = None;
                    if self.opened.elapsed() > STEADY {
                        self.trouble_since = None;
                    }
                    let is_transient = is_worth_repeating(&status);
                    let failure = Failure::from(status);
                    if !is_transient {
                        return Err(failure);
                    }
                    self.bear(failure).await?;
                }
            }
        }
    }

    /// Waits a little after a failure that may pass, unless it has lasted too long.
    async fn bear(&mut self, failure: Failure) -> Result<(), Failure> {
        let since = *self.trouble_since.get_or_insert_with(Instant::now);
        let may_pass = matches!(failure.exit(), Exit::Unavailable | Exit::Internal) && !failure.is_beyond();
        if !may_pass || since.elapsed() > PATIENCE {
            return Err(failure);
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}
