//! Attempts of signed-in users that were refused, as entries of `refusal.<service>`.
//!
//! The same attempt again within a minute is counted, and what is too much is only counted. Nobody waits for it to be
//! written, and what a process that is killed had not written yet is lost.

use crate::World;
use access::Asked;
use eventlog::{Clock, REFUSALS, Request, StreamId};
use ids::{ImageId, WorkspaceId};
use proto::{
    catalog::v1::{AccessRefused, OthersRefused},
    events::RefusalEvent,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Different attempts until the next entry: of all, and of one user.
const ATTEMPTS_MAX: usize = 1_000;
const ATTEMPTS_OF_ONE: usize = 100;
const REFERENCE_BYTES: usize = 256;
/// Events of one entry.
const EVENTS: usize = 100;

/// What the calls of one service were refused, until it is written.
#[derive(Clone)]
pub(crate) struct Refusals {
    tally: Arc<Mutex<Tally>>,
    clock: Clock,
}

#[derive(Default)]
struct Tally {
    attempts: HashMap<Attempt, Times>,
    others: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Attempt {
    actor: String,
    call: String,
    reason: String,
    reference: String,
    image: Option<ImageId>,
    workspace: Option<WorkspaceId>,
}

struct Times {
    count: u32,
    first_ms: i64,
}

impl Refusals {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            tally: Arc::default(),
            clock,
        }
    }

    /// Takes note if a call to `path` was refused for what its caller may not do or see.
    pub(crate) fn note(&self, path: &str, status: &Status, asked: Asked) {
        self.note_at(self.clock.now_ms(), path, status, asked);
    }

    fn note_at(&self, now_ms: i64, path: &str, status: &Status, asked: Asked) {
        let Some(reason) = reason(status) else { return };
        let mut reference = asked.reference;
        reference.truncate(reference.floor_char_boundary(REFERENCE_BYTES));
        let attempt = Attempt {
            actor: asked.user,
            call: path.rsplit('/').next().unwrap_or_default().to_owned(),
            reason,
            reference,
            image: asked.image,
            workspace: asked.workspace,
        };
        self.tally().note(attempt, now_ms);
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what there is every so often, and once more at the end.
    pub(crate) async fn write(self, service: &'static str, world: World) -> anyhow::Result<()> {
        let every = Duration::from_secs(world.config.audit.refusals_seconds.max(1));
        loop {
            let is_last = tokio::time::timeout(every, world.stop.cancelled()).await.is_ok();
            let events = std::mem::take(&mut *self.tally()).into_events();
            for events in events.chunks(EVENTS) {
                let request = Request {
                    actor: format!("system:{service}"),
                    id: world.ids.next().to_string(),
                    judged_at: world.access.view().position(),
                    ..Request::default()
                };
                let stream = StreamId::new(REFUSALS, service);
                let now_ms = world.clock.now_ms();
                if let Err(error) = eventlog::record(&*world.log, &stream, &request, now_ms, events).await {
                    tracing::warn!("{} refused attempts are not recorded yet: {error}", events.len());
                    self.tally().again(events);
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Why it counts as an attempt at what is not allowed. What may not be seen looks like what is not there.
fn reason(status: &Status) -> Option<String> {
    let hidden = match status.code() {
        Code::PermissionDenied => false,
        Code::NotFound => true,
        _ => return None,
    };
    let reason = status.get_details_error_info()?.reason;
    (!hidden || matches!(&*reason, "NO_SUCH_IMAGE" | "NO_SUCH_WORKSPACE")).then_some(reason)
}

impl Tally {
    fn note(&mut self, attempt: Attempt, now_ms: i64) {
        if let Some(times) = self.attempts.get_mut(&attempt) {
            times.count = times.count.saturating_add(1);
            return;
        }
        let of_one = self
            .attempts
            .keys()
            .filter(|other| other.actor == attempt.actor)
            .count();
        if self.attempts.len() >= ATTEMPTS_MAX || of_one >= ATTEMPTS_OF_ONE {
            self.others = self.others.saturating_add(1);
            return;
        }
        let times = Times {
            count: 1,
            first_ms: now_ms,
        };
        self.attempts.insert(attempt, times);
    }

    /// What could not be written counts again, among what came meanwhile.
    fn again(&mut self, events: &[RefusalEvent]) {
        for event in events {
            match event.clone() {
                RefusalEvent::Others(event) => self.others = self.others.saturating_add(event.times),
                RefusalEvent::Refused(event) => {
                    let first = event.first.unwrap_or_default();
                    let first_ms = first.seconds * 1_000 + i64::from(first.nanos / 1_000_000);
                    let attempt = Attempt {
                        actor: event.actor,
                        call: event.call,
                        reason: event.reason,
                        reference: event.reference,
                        image: event.image,
                        workspace: event.workspace,
                    };
                    let times = self.attempts.entry(attempt).or_insert(Times { count: 0, first_ms });
                    times.count = times.count.saturating_add(event.times);
                    times.first_ms = times.first_ms.min(first_ms);
                }
            }
        }
    }

    /// The first attempts first.
    fn into_events(self) -> Vec<RefusalEvent> {
        let mut attempts: Vec<_> = self.attempts.into_iter().collect();
        attempts.sort_by_key(|(_, times)| times.first_ms);
        let refused = attempts.into_iter().map(|(attempt, times)| {
            RefusalEvent::Refused(AccessRefused {
                actor: attempt.actor,
                call: attempt.call,
                reason: attempt.reason,
                reference: attempt.reference,
                image: attempt.image,
                workspace: attempt.workspace,
                times: times.count,
                first: crate::timestamp(times.first_ms),
            })
        });
        let others = (self.others > 0).then_some(RefusalEvent::Others(OthersRefused { times: self.others }));
        refused.chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status;

    fn asked(user: &str, reference: &str) -> Asked {
        Asked {
            user: user.to_owned(),
            reference: reference.to_owned(),
            ..Asked::default()
        }
    }

    fn denied() -> Status {
        status(Code::PermissionDenied, "OWNER_ONLY", "no")
    }

    fn told(refusals: &Refusals) -> (Vec<AccessRefused>, u32) {
        let (mut all, mut others) = (Vec::new(), 0);
        for event in std::mem::take(&mut *refusals.tally()).into_events() {
            match event {
                RefusalEvent::Refused(event) => all.push(event),
                RefusalEvent::Others(event) => others += event.times,
            }
        }
        (all, others)
    }

    // covers E9
    #[test]
    fn the_same_attempt_is_one_event_with_a_count() {
        let refusals = Refusals::new(Clock::system());
        for now_ms in 1..=3 {
            let path = "/cooperage.builder.v1.BuildService/StartBuild";
            refusals.note_at(now_ms, path, &denied(), asked("eve", "tool"));
        }
        refusals.note_at(4, "/x/StartBuild", &denied(), asked("bob", "tool"));
        let hidden = status(Code::NotFound, "NO_SUCH_IMAGE", "no");
        refusals.note_at(5, "/x/GetImage", &hidden, asked("eve", "tool"));
        for other in [
            status(Code::NotFound, "NO_SUCH_BUILD", "no"),
            status(Code::Aborted, "CONTENDED", "no"),
            Status::ok(""),
        ] {
            refusals.note_at(6, "/x/GetBuild", &other, asked("eve", "tool"));
        }
        let (all, others) = told(&refusals);
        let said: Vec<_> = all
            .iter()
            .map(|event| (&*event.actor, &*event.call, &*event.reason, event.times))
            .collect();
        let expected = [
            ("eve", "StartBuild", "OWNER_ONLY", 3),
            ("bob", "StartBuild", "OWNER_ONLY", 1),
            ("eve", "GetImage", "NO_SUCH_IMAGE", 1),
        ];
        assert_eq!(said, expected);
        assert_eq!(others, 0);
        assert_eq!(all[0].first, crate::timestamp(1));
        assert_eq!(told(&refusals).0, []);
    }

    // covers E9
    #[test]
    fn what_could_not_be_written_is_not_forgotten() {
        let refusals = Refusals::new(Clock::system());
        refusals.note_at(1_001, "/x/GetImage", &denied(), asked("eve", "tool"));
        let events = std::mem::take(&mut *refusals.tally()).into_events();
        refusals.note_at(2_002, "/x/GetImage", &denied(), asked("eve", "tool"));
        refusals.tally().again(&events);
        let (all, _) = told(&refusals);
        assert_eq!((all.len(), all[0].times, all[0].first), (1, 2, crate::timestamp(1_001)));
    }

    // covers E9
    #[test]
    fn a_flood_is_only_counted() {
        let refusals = Refusals::new(Clock::system());
        for number in 0..5_000 {
            refusals.note_at(number, "/x/GetImage", &denied(), asked("eve", &format!("{number}")));
        }
        refusals.note_at(0, "/x/GetImage", &denied(), asked("bob", &"\u{e9}".repeat(1_000)));
        for user in 0..2_000 {
            refusals.note_at(0, "/x/GetImage", &denied(), asked(&format!("user-{user}"), "tool"));
        }
        let (all, others) = told(&refusals);
        let of = |user: &str| all.iter().filter(|event| event.actor == user).count();
        assert_eq!((all.len(), of("eve"), of("bob")), (ATTEMPTS_MAX, ATTEMPTS_OF_ONE, 1));
        assert_eq!(others as usize, 7_001 - ATTEMPTS_MAX);
        assert!(all.iter().all(|event| event.reference.len() <= REFERENCE_BYTES));
    }
}
