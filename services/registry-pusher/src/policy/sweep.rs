//! Takes references of ended publications out of the engine, which a crash or a busy engine left there.

use super::{Pusher, build_of};
use crate::view;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::sleep;

const EVERY: Duration = Duration::from_mins(10);
/// How long a refused push can be tried again.
pub(crate) const ARTIFACT_KEPT: Duration = Duration::from_hours(24);
/// Docker takes an image's digests along with the last tag of their repository, so the tag that was pushed stays until
/// whoever pulled the image as it came out has a container of it.
const COMMITTED_KEPT: Duration = Duration::from_hours(1);
/// A push that is tried again in the last moment needs its artifact still.
const GRACE: Duration = Duration::from_hours(1);

pub(super) async fn run(pusher: Pusher) -> anyhow::Result<()> {
    loop {
        if let Err(error) = pass(&pusher).await {
            tracing::info!("the engine was not swept: {error:#}");
        }
        tokio::select! {
            () = sleep(EVERY) => (),
            () = pusher.world.stop.cancelled() => return Ok(()),
        }
    }
}

async fn pass(pusher: &Pusher) -> anyhow::Result<()> {
    let own = format!("{}/", pusher.world.config.registry.host);
    // What tells whose a reference is: the artifact's name, or the build of an own tag. Engines are shared with others.
    let mut candidates: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for reference in pusher.engine.references().await? {
        let tag = reference
            .rsplit_once(':')
            .filter(|_| reference.starts_with(&own))
            .map(|(_, tag)| tag);
        let key = tag
            .and_then(build_of)
            .map_or_else(|| reference.clone(), |build| build.to_string());
        candidates.entry(key).or_default().push(reference);
    }
    let now_ms = pusher.world.clock.now_ms();
    let refused_before_ms = now_ms - i64::try_from((ARTIFACT_KEPT + GRACE).as_millis())?;
    let committed_before_ms = now_ms - i64::try_from(COMMITTED_KEPT.as_millis())?;
    let keys: BTreeSet<String> = candidates.keys().cloned().collect();
    for key in view::over(&pusher.view, &keys, committed_before_ms, refused_before_ms).await? {
        for reference in candidates.remove(&key).unwrap_or_default() {
            // One may be in use; the others are not.
            if let Err(error) = pusher.engine.forget(&reference).await {
                tracing::info!(
                    error = &error as &dyn std::error::Error,
                    "{reference} stays in the engine for now"
                );
            }
        }
    }
    Ok(())
}
