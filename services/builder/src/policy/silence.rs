//! Whenever a builder has fallen silent, its attempts should end, so that others try again.
//!
//! Silence is measured on this process's monotonic clock, and only over a time in which every sign came through: the
//! watch was not interrupted, and this worker heard its own signs in it, through the same server. It is judged only
//! when an own sign arrives: what others sent before that has arrived, too.

use super::{About, Builder, warn};
use crate::view;
use eventlog::{LogError, Sign};
use futures::StreamExt as _;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tokio::time::{Instant, sleep};

const REOPEN_DELAY: Duration = Duration::from_millis(500);

impl Builder {
    pub(crate) async fn listen(self) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                heard = self.hear() => if let Err(error) = heard {
                    tracing::debug!(error = &error as &dyn std::error::Error, "the other builders can't be heard");
                },
                () = self.world.stop.cancelled() => return Ok(()),
            }
            sleep(REOPEN_DELAY).await;
        }
    }

    async fn hear(&self) -> Result<(), LogError> {
        let mut signs = self.world.nats.presence().watch().await?;
        let own = self.lease.worker.to_string();
        let mut heard = Heard::new(self.lease.length, Instant::now());
        while let Some(sign) = signs.next().await {
            let (sign, now) = (sign?, Instant::now());
            if sign.worker == own {
                heard.own(now);
                let ended = self.end_silent(&own, &mut heard, now).await;
                let _ = ended.inspect_err(warn);
            } else {
                heard.other(&sign, now);
            }
            self.engines.hear(heard.builders());
        }
        Ok(())
    }

    async fn end_silent(&self, own: &str, heard: &mut Heard, now: Instant) -> anyhow::Result<()> {
        let mut rows = view::running(&self.view).await?;
        rows.retain(|row| row.worker != own);
        let working = rows.iter().map(|row| row.worker.as_str()).collect();
        for (worker, lease) in heard.silent(&working, now) {
            let cause = format!("the builder gave no sign of life for {} s", lease.as_secs());
            for row in rows.iter().filter(|row| row.worker == worker) {
                tracing::warn!(build = row.id, attempt = row.attempt, "{cause}: {worker}");
                self.lose(row, &cause).await?;
            }
        }
        Ok(())
    }
}

/// What was heard, and when.
struct Heard {
    /// Of those who were never heard.
    lease: Duration,
    /// Since when every sign came through.
    since: Instant,
    own: Instant,
    others: HashMap<String, Other>,
}

struct Other {
    at: Instant,
    lease: Duration,
    about: About,
}

impl Heard {
    fn new(lease: Duration, now: Instant) -> Self {
        Self {
            lease,
            since: now,
            own: now,
            others: HashMap::new(),
        }
    }

    fn own(&mut self, now: Instant) {
        // Whatever kept our own signs away may have kept theirs.
        if now - self.own > self.lease * 2 / 3 {
            self.since = now;
        }
        self.own = now;
    }

    fn other(&mut self, sign: &Sign, now: Instant) {
        let other = Other {
            at: now,
            lease: sign.lease,
            about: About::from_bytes(&sign.about),
        };
        self.others.insert(sign.worker.clone(), other);
    }

    /// Which of the workers with attempts under way were silent for their whole lease. One that was never heard may be
    /// so for a lease from now on.
    fn silent(&mut self, working: &BTreeSet<&str>, now: Instant) -> Vec<(String, Duration)> {
        for worker in working {
            self.others.entry((*worker).to_owned()).or_insert(Other {
                at: now,
                lease: self.lease,
                about: About::default(),
            });
        }
        let since = self.since;
        let is_silent = |other: &Other| now - other.at.max(since) > other.lease;
        self.others
            .retain(|worker, other| working.contains(worker.as_str()) || !is_silent(other));
        let silent = self.others.iter().filter(|(_, other)| is_silent(other));
        silent.map(|(worker, other)| (worker.clone(), other.lease)).collect()
    }

    fn builders(&self) -> Vec<About> {
        self.others.values().map(|other| other.about.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    struct Story {
        start: Instant,
        heard: Heard,
    }

    impl Story {
        fn new() -> Self {
            let start = Instant::now();
            let heard = Heard::new(LEASE, start);
            Self { start, heard }
        }

        fn at(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }

        fn sign(&mut self, worker: &str, second: u64) {
            let sign = Sign {
                worker: worker.to_owned(),
                lease: LEASE,
                about: r#"{"slots":2}"#.into(),
            };
            self.heard.other(&sign, self.at(second));
        }

        /// Our own sign arrives; who of those that work is silent then?
        fn own(&mut self, second: u64, working: &[&str]) -> Vec<String> {
            let now = self.at(second);
            self.heard.own(now);
            let silent = self.heard.silent(&working.iter().copied().collect(), now);
            silent.into_iter().map(|(worker, _)| worker).collect()
        }
    }

    // covers E2
    #[test]
    fn one_is_silent_after_a_whole_lease_without_a_sign() {
        let mut story = Story::new();
        story.sign("b", 4);
        for second in [5, 10, 15, 19] {
            assert!(story.own(second, &["b"]).is_empty(), "{second}");
        }
        assert_eq!(story.own(20, &["b"]), ["b"]);
        story.sign("b", 21);
        assert!(story.own(25, &["b"]).is_empty());
    }

    #[test]
    fn one_that_was_never_heard_has_a_lease_from_when_its_work_is_seen() {
        let mut story = Story::new();
        for second in (0..60).step_by(5) {
            assert!(story.own(second, &[]).is_empty());
        }
        for second in [60, 65, 70, 75] {
            assert!(story.own(second, &["b"]).is_empty(), "{second}");
        }
        assert_eq!(story.own(80, &["b"]), ["b"]);
    }

    #[test]
    fn silence_does_not_count_while_our_own_signs_were_missing() {
        let mut story = Story::new();
        story.sign("b", 4);
        story.own(5, &["b"]);
        // This process slept, or the server did.
        for second in [30, 35, 40, 45] {
            assert!(story.own(second, &["b"]).is_empty(), "{second}");
        }
        assert_eq!(story.own(50, &["b"]), ["b"]);
    }

    #[test]
    fn slots_of_the_silent_do_not_count() {
        let mut story = Story::new();
        let slots = |story: &Story| story.heard.builders().iter().map(|about| about.slots).sum::<usize>();
        story.sign("b", 1);
        story.sign("c", 2);
        story.own(5, &[]);
        assert_eq!(slots(&story), 4);
        for second in [10, 15, 20] {
            story.sign("c", second);
            story.own(second, &[]);
        }
        assert_eq!(slots(&story), 2);
    }
}
