//! Whether the engine is there, asked beside the builds: one that hangs takes its time to say so.

use super::Builder;
use crate::docker::Engine;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

const EVERY: Duration = Duration::from_mins(1);
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What is known of this builder's engine, and of the other builders.
#[derive(Clone, Default)]
pub(crate) struct Engines {
    own: Arc<watch::Sender<Own>>,
    doubt: Arc<Notify>,
    slots_elsewhere: Arc<AtomicUsize>,
}

#[derive(Default)]
pub(super) struct Own {
    /// With its version; none while it is in doubt.
    engine: Option<(Engine, String)>,
    trouble: Option<String>,
}

impl Engines {
    /// Why no build can start, in words for people.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.own.borrow().trouble.clone()
    }

    /// Builds that the other builders run at the same time.
    pub(crate) fn slots_elsewhere(&self) -> usize {
        self.slots_elsewhere.load(Ordering::Relaxed)
    }

    pub(super) fn hear_of_slots(&self, elsewhere: usize) {
        self.slots_elsewhere.store(elsewhere, Ordering::Relaxed);
    }

    /// The engine that answered last, and its version.
    pub(super) fn present(&self) -> Option<(Engine, String)> {
        self.own.borrow().engine.clone()
    }

    /// Asks the engine before the next build is given to it.
    pub(super) fn doubt(&self) {
        self.own.send_modify(|own| own.engine = None);
        self.doubt.notify_one();
    }

    /// Changes whenever the engine was asked.
    pub(super) fn changes(&self) -> watch::Receiver<Own> {
        self.own.subscribe()
    }

    fn found(&self, engine: Engine, version: String) {
        self.own.send_replace(Own {
            engine: Some((engine, version)),
            trouble: None,
        });
    }

    fn missed(&self, trouble: String) {
        if self.trouble().is_none() {
            tracing::warn!("builds wait: {trouble}");
        }
        self.own.send_replace(Own {
            engine: None,
            trouble: Some(trouble),
        });
    }
}

impl Builder {
    pub(super) async fn watch_engine(&self) {
        let mut known = None;
        loop {
            known = self.ask_engine(known).await;
            let wait = if known.is_some() { EVERY } else { RETRY_DELAY };
            // Either way it is asked again.
            let _ = timeout(wait, self.engines.doubt.notified()).await;
        }
    }

    async fn ask_engine(&self, known: Option<(Engine, String)>) -> Option<(Engine, String)> {
        if let Some((engine, version)) = known
            && engine.ping().await.is_ok()
        {
            self.engines.found(engine.clone(), version.clone());
            return Some((engine, version));
        }
        let host = Some(self.world.config.engine.host.as_str()).filter(|host| !host.is_empty());
        let connected = match Engine::connect(host).await {
            Ok(engine) => engine.version().await.map(|version| (engine, version)),
            Err(error) => Err(error),
        };
        match connected {
            Ok((engine, version)) => {
                self.engines.found(engine.clone(), version.clone());
                Some((engine, version))
            }
            Err(error) => {
                self.engines.missed(error.to_string());
                None
            }
        }
    }
}
