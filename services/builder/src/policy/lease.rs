//! This worker's lease. It is renewed every third of its length, and work stops when that failed for two thirds: so it
//! has stopped when the lease is over and others take it.

use anyhow::ensure;
use bytes::Bytes;
use eventlog::Presence;
use ids::WorkerId;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

const SECONDS_MIN: u64 = 3;
const RETRY: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub(crate) struct Lease {
    pub(crate) worker: WorkerId,
    pub(super) length: Duration,
    /// Cancelled while the lease is not held. When it is again, that is another term.
    term: Arc<watch::Sender<CancellationToken>>,
}

impl Lease {
    pub(crate) fn new(worker: WorkerId, seconds: u64) -> anyhow::Result<Self> {
        ensure!(
            seconds >= SECONDS_MIN,
            "builder.lease_seconds is {seconds}, it must be at least {SECONDS_MIN}"
        );
        let none = CancellationToken::new();
        none.cancel();
        Ok(Self {
            worker,
            length: Duration::from_secs(seconds),
            term: Arc::new(watch::Sender::new(none)),
        })
    }

    /// How long it may not be renewed before work stops.
    pub(crate) fn patience(&self) -> Duration {
        self.length * 2 / 3
    }

    pub(super) fn is_held(&self) -> bool {
        !self.term.borrow().is_cancelled()
    }

    /// Changes when the lease is held again.
    pub(super) fn terms(&self) -> watch::Receiver<CancellationToken> {
        self.term.subscribe()
    }

    /// Works as soon as the lease is held and as long as it is. `None`: it could not be renewed.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut terms = self.terms();
        let term = terms.wait_for(|term| !term.is_cancelled()).await.ok()?.clone();
        tokio::select! {
            biased;
            () = term.cancelled() => None,
            done = work => Some(done),
        }
    }

    /// Renews it until told to stop.
    pub(super) async fn keep(&self, presence: &Presence, about: impl Fn() -> Bytes, stop: &CancellationToken) {
        let (mut next, mut until) = (Instant::now(), Instant::now());
        loop {
            let renewal = async {
                sleep_until(next).await;
                let asked = Instant::now();
                let renewed = presence.renew(self.worker, self.length, about()).await;
                renewed.map(|()| asked)
            };
            tokio::select! {
                // After a sleep of the whole process, the lease is over before it is renewed.
                biased;
                () = stop.cancelled() => return,
                () = sleep_until(until), if self.is_held() => {
                    tracing::warn!("no sign of life came through for {} s, builds stop", self.patience().as_secs());
                    self.term.borrow().cancel();
                }
                renewed = renewal => match renewed {
                    // Others count from when it arrived, which was later.
                    Ok(asked) => {
                        next = asked + self.length / 3;
                        until = asked + self.patience();
                        if !self.is_held() {
                            self.term.send_replace(CancellationToken::new());
                        }
                    }
                    Err(error) => {
                        tracing::debug!(error = &error as &dyn std::error::Error, "the lease was not renewed");
                        next = Instant::now() + RETRY;
                    }
                },
            }
        }
    }
}
