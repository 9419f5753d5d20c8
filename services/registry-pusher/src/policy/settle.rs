//! Puts the registry's own tags where the log says they are, also after a rename.

use super::{CATCH_UP, Cause, Pusher, Resting};
use crate::{
    domain::{Command, Refused},
    registry::Manifest,
    view::{self, Tagged, Unsettled},
};
use aggregate::Refusal as _;
use anyhow::Context as _;
use eventlog::{ExecuteError, Position};
use futures::{StreamExt as _, stream};
use service::telemetry;
use std::collections::{BTreeMap, BTreeSet};
use tracing::Instrument as _;

/// Images that are settled at the same time.
const PARALLEL: usize = 4;

pub(super) async fn pass(pusher: &Pusher, resting: &Resting) -> anyhow::Result<()> {
    let unsettled = view::unsettled(&pusher.view).await?;
    let awake = unsettled.into_iter().filter(|image| !resting.contains(image.image));
    stream::iter(awake)
        .for_each_concurrent(PARALLEL, async |image| {
            let span = tracing::info_span!("settle", image = %image.image);
            telemetry::follow(&span, &image.traceparent);
            if let Err(error) = settle(pusher, &image).instrument(span).await {
                tracing::warn!(image = %image.image, "the registry's tags do not follow yet: {error:#}");
                resting.add(image.image);
            }
        })
        .await;
    Ok(())
}

async fn settle(pusher: &Pusher, image: &Unsettled) -> anyhow::Result<()> {
    let cause = Cause {
        position: image.cause,
        traceparent: &image.traceparent,
    };
    let path = &image.name.path;
    let mut everything = image.is_renamed;
    loop {
        let tags = view::tags(&pusher.view, image.image).await?;
        let mut manifests = bring(pusher, path, &tags).await?;
        everything |= !manifests.is_empty();
        for tagged in tags.iter().filter(|tagged| everything || tagged.is_fresh) {
            put(pusher, path, &tagged.tag, &tagged.digest, &mut manifests).await?;
        }
        let has_primary = tags.iter().any(|tagged| tagged.tag == image.name.primary_tag);
        if let Some(previous) = tags.iter().find(|tagged| tagged.tag == image.named_tag)
            && image.is_renamed
            && !has_primary
        {
            put(pusher, path, &image.name.primary_tag, &previous.digest, &mut manifests).await?;
        }
        if everything {
            let relocated = Command::RecordRelocated {
                name: image.name.clone(),
                previous_tag: image.named_tag.clone(),
                digests: tags.iter().map(|tagged| tagged.digest.clone()).collect::<BTreeSet<_>>(),
            };
            match pusher.execute(image.image, cause, relocated).await {
                Ok(_) => (),
                // A publication came between: the view will say so, and the next pass brings it along.
                Err(ExecuteError::Refused(refusal)) if refusal.reason() == Refused::NotAllThere.reason() => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let Some(position) = tags.iter().map(|tagged| Position::from_i64(tagged.position)).max() else {
            return Ok(());
        };
        let placed = Command::RecordPlaced { position: position.0 };
        let done = pusher.execute(image.image, cause, placed).await?;
        // Of two workers the one that knew less may have written to the registry last: it looks again.
        let ours = tags.iter().map(|tagged| (tagged.tag.as_str(), tagged.digest.as_str()));
        if done.state.tags().eq(ours) {
            return Ok(());
        }
        pusher.view.reach(done.position, CATCH_UP).await?;
        everything = true;
    }
}

/// Mounts what lies elsewhere, without moving a byte. Answers it by digest.
async fn bring(pusher: &Pusher, path: &str, tags: &[Tagged]) -> anyhow::Result<BTreeMap<String, Manifest>> {
    let mut manifests = BTreeMap::new();
    for tagged in tags.iter().filter(|tagged| !tagged.is_here) {
        if !manifests.contains_key(&tagged.digest) {
            let from = tagged
                .elsewhere
                .as_ref()
                .with_context(|| format!("{} lies nowhere", tagged.digest))?;
            let manifest = pusher.registry.mount(from, path, &tagged.digest).await?;
            manifests.insert(tagged.digest.clone(), manifest);
        }
    }
    Ok(manifests)
}

async fn put(
    pusher: &Pusher,
    path: &str,
    tag: &str,
    digest: &str,
    manifests: &mut BTreeMap<String, Manifest>,
) -> anyhow::Result<()> {
    if !manifests.contains_key(digest) {
        manifests.insert(digest.to_owned(), pusher.registry.manifest(path, digest).await?);
    }
    if let Some(manifest) = manifests.get(digest) {
        pusher.registry.put(path, tag, manifest).await?;
    }
    Ok(())
}
