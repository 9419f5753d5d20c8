//! Whose turn it is: writers of one process on one stream queue up, so that they don't race each other to the log.

use crate::StreamId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::OwnedMutexGuard;

/// Locks in the table before those that nobody holds are dropped.
const LOCKS: usize = 4_096;
/// How long a writer queues at most. Behind a log that does not answer, each of those before it takes seconds.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<StreamId, Weak<tokio::sync::Mutex<()>>>>);

/// The right to write to some streams, until it is dropped.
pub(super) struct Turn {
    _guards: Vec<OwnedMutexGuard<()>>,
    /// Others came before.
    pub(super) waited: bool,
}

impl Turns {
    /// `None` when it did not come in time.
    pub(super) async fn take(&self, mut streams: Vec<&StreamId>) -> Option<Turn> {
        // In one order everywhere, so that nobody waits in a circle.
        streams.sort();
        streams.dedup();
        let locks = self.locks(&streams);
        let queueing = async {
            let (mut guards, mut waited) = (Vec::with_capacity(locks.len()), false);
            for lock in locks {
                let guard = if let Ok(guard) = lock.clone().try_lock_owned() {
                    guard
                } else {
                    waited = true;
                    lock.lock_owned().await
                };
                guards.push(guard);
            }
            Turn {
                _guards: guards,
                waited,
            }
        };
        tokio::time::timeout(PATIENCE, queueing).await.ok()
    }

    fn locks(&self, streams: &[&StreamId]) -> Vec<Arc<tokio::sync::Mutex<()>>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() > LOCKS {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let mut lock = |stream: &StreamId| {
            locks.get(stream).and_then(Weak::upgrade).unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(stream.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        streams.iter().map(|stream| lock(stream)).collect()
    }
}
