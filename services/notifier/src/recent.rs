//! The newest events in memory, so that a thousand subscribers who follow cost one read of the view, not a thousand.

use crate::view::{Events, Place, READS, Scope};
use eventlog::{Behind, FeedEvent};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Events kept. Who falls further behind reads the view.
const KEPT: usize = 4_096;
const PAGE: usize = 500;
const EVERY: Duration = Duration::from_mins(1);

/// All events behind `from`, as far as `reached`.
#[derive(Default)]
pub(crate) struct Recent {
    from: Place,
    pub(crate) reached: Place,
    events: VecDeque<Arc<FeedEvent>>,
    /// Why nothing will follow.
    pub(crate) halted: Option<Behind>,
}

impl Recent {
    /// The first `limit` events behind a place, and how far they reach. `None` when older ones are needed than are here.
    pub(crate) fn after(&self, place: Place, limit: usize) -> Option<(Vec<Arc<FeedEvent>>, Place)> {
        if place < self.from {
            return None;
        }
        let first = self.events.partition_point(|event| Place::from(&**event) <= place);
        let events: Vec<_> = self.events.range(first..).take(limit).cloned().collect();
        let reached = match events.last() {
            Some(last) if events.len() == limit => Place::from(&**last),
            _ => self.reached,
        };
        Some((events, reached))
    }

    fn push(&mut self, event: FeedEvent) {
        self.events.push_back(Arc::new(event));
        if self.events.len() > KEPT
            && let Some(oldest) = self.events.pop_front()
        {
            self.from = Place::from(&*oldest);
        }
    }
}

/// Keeps the newest events in step with the view.
pub(crate) async fn follow(
    events: Events,
    recent: watch::Sender<Recent>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // What was there at the start is read from the view.
    let start = Place::end(events.view.position());
    recent.send_modify(|recent| (recent.from, recent.reached) = (start, start));
    let pass = || async {
        loop {
            let state = events.view.state();
            let place = recent.borrow().reached;
            let page = events.after(place, state.position, &Scope::All, PAGE).await?;
            let is_last = page.len() < PAGE;
            recent.send_if_modified(|recent| {
                let news = !page.is_empty() || state.halted.is_some();
                recent.reached = match page.last() {
                    Some(last) if !is_last => Place::from(last),
                    _ => Place::end(state.position),
                };
                for event in page {
                    recent.push(event);
                }
                let at = state.position;
                recent.halted = state.halted.map(|cause| Behind::Halted { at, cause });
                news
            });
            if is_last {
                return Ok(());
            }
        }
    };
    service::reconcile("follow events", events.view.clone(), READS, EVERY, stop, pass).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventlog::Position;

    fn event(position: u64, index: u32) -> FeedEvent {
        FeedEvent {
            position,
            index,
            kind: "spec.saved".to_owned(),
            workspace: String::new(),
            image: String::new(),
            time_ms: 0,
            traceparent: String::new(),
            data: String::new(),
        }
    }

    fn ids(page: Option<(Vec<Arc<FeedEvent>>, Place)>) -> Option<(Vec<String>, Place)> {
        page.map(|(events, reached)| (events.iter().map(|event| event.id()).collect(), reached))
    }

    // covers E7
    #[test]
    fn a_page_may_end_within_an_entry_and_the_next_goes_on_there() {
        let mut recent = Recent::default();
        for (position, index) in [(3, 0), (3, 1), (5, 0)] {
            recent.push(event(position, index));
        }
        recent.reached = Place::end(Position(6));
        let within = Place::of(Position(3), 0);
        assert_eq!(
            ids(recent.after(Place::default(), 1)),
            Some((vec!["3.0".to_owned()], within))
        );
        let rest = vec!["3.1".to_owned(), "5.0".to_owned()];
        assert_eq!(ids(recent.after(within, 9)), Some((rest, recent.reached)));
    }

    #[test]
    fn who_fell_behind_what_is_kept_is_sent_to_the_view() {
        let mut recent = Recent::default();
        for position in 1..=u64::try_from(KEPT).unwrap() + 1 {
            recent.push(event(position, 0));
        }
        assert_eq!(recent.events.len(), KEPT);
        assert_eq!(ids(recent.after(Place::default(), 1)), None);
        assert!(recent.after(Place::of(Position(1), 0), 1).is_some());
    }
}
