//! Whatever the world should be told, it should be told in `EVENTS`, once and in order.
//!
//! The stream itself says how far that got. As every event is written behind an expected sequence, and all replicas read
//! the same events from the same log, none repeats or re-orders what another wrote. A stream that was emptied is
//! filled again.

use crate::view::{Events, Place, READS, Scope};
use anyhow::ensure;
use eventlog::{Feed, FeedEvent, Position};
use service::{World, telemetry};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::sleep;
use tracing::Span;

const EVERY: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);
/// Events in one atomic batch; a server takes at most 1,000.
const BATCH: usize = 500;
/// Every publish is an fsync, and a batch costs as much as ten: events that come at a quick pace share one.
const PACE: Duration = Duration::from_millis(50);
/// Other publishers may come first, but not for ever: then something else is wrong, and a pause is due.
const RACES_MAX: usize = 50;

pub(crate) async fn publish(world: World, events: Events) -> anyhow::Result<()> {
    let publisher = Publisher {
        feed: world.nats.feed(),
        events,
        last: Mutex::default(),
    };
    tokio::select! {
        begun = publisher.begin(&world) => begun?,
        () = world.stop.cancelled() => return Ok(()),
    }
    let pass = || publisher.pass();
    service::reconcile(
        "publish events",
        publisher.events.view.clone(),
        READS,
        EVERY,
        world.stop.clone(),
        pass,
    )
    .await
}

struct Publisher {
    feed: Feed,
    events: Events,
    /// The last event in the stream, and its sequence, as long as nothing else is known.
    last: Mutex<Option<(Place, u64)>>,
}

impl Publisher {
    /// # Errors
    /// When the stream knows a later log than there is: what is written from now on would never be published.
    async fn begin(&self, world: &World) -> anyhow::Result<()> {
        loop {
            let known = async { anyhow::Ok((self.find().await?, world.log.head().await?)) };
            match known.await {
                Ok(((last, _), head)) => {
                    ensure!(
                        last == Place::default() || last.position <= head,
                        "the event log lost entries: it ends at {head}, and EVENTS tells of {last}. Restore the log, or \
                         purge EVENTS to accept the loss",
                        last = last.position
                    );
                    return Ok(());
                }
                Err(error) => tracing::warn!("the end of EVENTS is not known: {error:#}"),
            }
            sleep(RETRY).await;
        }
    }

    async fn find(&self) -> anyhow::Result<(Place, u64)> {
        let (last, sequence) = self.feed.last().await?;
        let place = last.map(|(position, index)| Place::of(Position(position), index));
        Ok((place.unwrap_or_default(), sequence))
    }

    async fn pass(&self) -> anyhow::Result<()> {
        for _ in 0..RACES_MAX {
            if self.advance().await? {
                return Ok(());
            }
        }
        anyhow::bail!("others publish to EVENTS all the time")
    }

    /// Whether everything is published now, or else another publisher came first.
    async fn advance(&self) -> anyhow::Result<bool> {
        loop {
            // Whatever goes wrong from here on, it is asked again.
            let known = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
            let (place, sequence) = match known {
                Some(known) => known,
                None => self.find().await?,
            };
            let through = self.events.view.position();
            let events = self.events.after(place, through, &Scope::All, BATCH).await?;
            let spans: Vec<Span> = events.iter().map(span).collect();
            let Some(published) = self.feed.publish(&events, sequence).await? else {
                return Ok(false);
            };
            drop(spans);
            let last = events.last().map_or(place, Place::from);
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((last, published));
            if events.len() < BATCH {
                if !events.is_empty() {
                    sleep(PACE).await;
                }
                return Ok(true);
            }
        }
    }
}

/// The last link of the trace that began with a click.
fn span(event: &FeedEvent) -> Span {
    let span = tracing::info_span!("publish event", id = event.id(), kind = event.kind);
    telemetry::follow(&span, &event.traceparent);
    span
}
