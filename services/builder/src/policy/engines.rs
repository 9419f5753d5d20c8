//! Whether the engine is there and has room, asked beside the builds: one that hangs takes its time to say so.

use super::{Builder, preflight};
use crate::docker::{Engine, Facts};
use bytes::Bytes;
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};
use service::{Config, World};
use std::{path::Path, sync::Arc, time::Duration};
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
    others: Arc<watch::Sender<Vec<About>>>,
}

#[derive(Default)]
pub(super) struct Own {
    /// None while it is in doubt.
    engine: Option<Engine>,
    /// As it was last known.
    facts: Option<Arc<Facts>>,
    enforces: String,
    trouble: Option<String>,
    /// Since when, for people.
    since: String,
}

/// What a builder tells of its engine, with its signs of life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Builds that it takes at the same time now.
    pub(crate) slots: usize,
    /// Why it takes none, in words for people.
    pub(crate) trouble: String,
    /// What it is, and what it enforces.
    pub(crate) enforces: String,
}

impl About {
    pub(super) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }
}

impl Engines {
    /// This builder's.
    pub(crate) fn own(&self, config: &Config) -> About {
        let own = self.own.borrow();
        let trouble = own.trouble(config).unwrap_or_default();
        let takes_builds = own.facts.is_some() && trouble.is_empty();
        About {
            name: config.engine.name.clone(),
            version: own
                .facts
                .as_ref()
                .map(|facts| facts.version.clone())
                .unwrap_or_default(),
            slots: if takes_builds { config.builder.slots } else { 0 },
            trouble,
            enforces: own.enforces.clone(),
        }
    }

    /// Those of the other builders.
    pub(crate) fn others(&self) -> Vec<About> {
        self.others.borrow().clone()
    }

    /// Builds that the other builders run at the same time.
    pub(crate) fn slots_elsewhere(&self) -> usize {
        self.others.borrow().iter().map(|about| about.slots).sum()
    }

    /// Why no build can start, in words for people.
    pub(crate) fn trouble(&self, config: &Config) -> Option<String> {
        let trouble = self.own.borrow().trouble(config);
        trouble.filter(|_| self.slots_elsewhere() == 0)
    }

    pub(super) fn is_short_of_disk(&self, config: &Config) -> bool {
        self.own.borrow().short_of_disk(config).is_some()
    }

    pub(super) fn hear(&self, others: Vec<About>) {
        self.others.send_if_modified(|known| {
            let is_news = *known != others;
            *known = others;
            is_news
        });
    }

    /// The engine that answered last, and what it is.
    pub(crate) fn present(&self) -> Option<(Engine, Arc<Facts>)> {
        let own = self.own.borrow();
        own.engine.clone().zip(own.facts.clone())
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

    fn found(&self, engine: Engine) {
        self.own.send_modify(|own| {
            own.engine = Some(engine);
            own.trouble = None;
        });
    }

    fn missed(&self, world: &World, trouble: String) {
        self.own.send_modify(|own| {
            if own.trouble.is_none() {
                tracing::warn!("builds wait: {trouble}");
                own.since = time_of_day(world.clock.now_ms());
            }
            own.engine = None;
            own.trouble = Some(trouble);
        });
    }
}

impl Own {
    fn trouble(&self, config: &Config) -> Option<String> {
        let away = self
            .trouble
            .as_ref()
            .map(|trouble| format!("{trouble} (since {})", self.since));
        away.or_else(|| self.short_of_disk(config))
    }

    /// Of another machine's disk nothing is known.
    fn short_of_disk(&self, config: &Config) -> Option<String> {
        let root = self.facts.as_ref()?.root.as_ref()?;
        let (free, min) = (free_percent(root)?, config.builder.disk_free_percent_min);
        (free < min).then(|| {
            let root = root.display();
            format!(
                "the engine's disk has {free} % free, and builds wait for {min} % (builder.disk_free_percent_min): make \
                 room in {root}, `docker builder prune` removes build cache"
            )
        })
    }
}

/// As `df` counts: of what there is for everybody.
fn free_percent(folder: &Path) -> Option<u64> {
    let disk = statvfs(folder).ok()?;
    let (free, used) = (
        disk.blocks_available(),
        disk.blocks().saturating_sub(disk.blocks_free()),
    );
    (free * 100).checked_div(free + used)
}

fn time_of_day(now_ms: i64) -> String {
    let minutes = now_ms / 60_000;
    format!("{:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

impl Builder {
    /// Ends only with an engine that may not build.
    pub(super) async fn watch_engine(&self) -> anyhow::Result<()> {
        let mut known = None;
        loop {
            known = self.ask_engine(known).await?;
            let wait = if known.is_some() { EVERY } else { RETRY_DELAY };
            // Either way it is asked again.
            let _ = timeout(wait, self.engines.doubt.notified()).await;
        }
    }

    async fn ask_engine(&self, known: Option<Engine>) -> anyhow::Result<Option<Engine>> {
        if let Some(engine) = known
            && engine.ping().await.is_ok()
        {
            self.engines.found(engine.clone());
            return Ok(Some(engine));
        }
        let host = Some(self.world.config.engine.host.as_str()).filter(|host| !host.is_empty());
        let connected = match Engine::connect(host).await {
            Ok(engine) => engine.facts().await.map(|facts| (engine, facts)),
            Err(error) => Err(error),
        };
        match connected {
            Ok((engine, facts)) => {
                self.meet(facts)?;
                self.engines.found(engine.clone());
                Ok(Some(engine))
            }
            Err(error) => {
                self.engines.missed(&self.world, error.to_string());
                Ok(None)
            }
        }
    }

    /// An engine that may be another one than before.
    fn meet(&self, facts: Facts) -> anyhow::Result<()> {
        let settings = &self.world.config.builder;
        if settings.untrusted_builds {
            preflight::judge(&facts)?;
        }
        let enforces = preflight::enforce(&facts, settings);
        self.engines.own.send_modify(|own| {
            if own.facts.as_deref() != Some(&facts) || own.enforces != enforces {
                tracing::info!("builds run on {enforces}");
                if !settings.untrusted_builds {
                    tracing::warn!("{}", preflight::TRUST);
                }
            }
            own.facts = Some(Arc::new(facts));
            own.enforces = enforces;
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engines(root: &Path) -> Engines {
        let engines = Engines::default();
        engines.own.send_modify(|own| {
            own.facts = Some(Arc::new(Facts {
                root: Some(root.to_owned()),
                ..Facts::default()
            }));
        });
        engines
    }

    // covers E1
    #[test]
    fn no_build_starts_on_a_disk_that_is_nearly_full() {
        let folder = tempfile::tempdir().unwrap();
        let engines = engines(folder.path());
        let config = Config::defaults().unwrap();
        let with = |min: u64| config.with("builder.disk_free_percent_min", min).unwrap();
        let (none, all) = (with(0), with(101));
        assert_eq!((engines.trouble(&none), engines.own(&none).slots), (None, 2));
        assert!(engines.is_short_of_disk(&all));
        let told = engines.trouble(&all).unwrap();
        assert!(told.contains("% free, and builds wait for 101 %"), "{told}");
        assert_eq!(engines.own(&all).slots, 0);

        let other = About {
            slots: 2,
            ..About::default()
        };
        engines.hear(vec![About::from_bytes(&other.to_bytes())]);
        assert_eq!((engines.trouble(&all), engines.slots_elsewhere()), (None, 2));
    }

    #[test]
    fn a_time_is_told_as_on_a_clock() {
        assert_eq!(time_of_day(1_700_000_000_000), "22:13 UTC");
    }
}
