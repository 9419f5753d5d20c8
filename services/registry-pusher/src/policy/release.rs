//! Empties repositories that nobody is called after any more, and gives them back.

use super::{CATCH_UP, Cause, Pusher, Resting};
use crate::{
    domain::Command,
    view::{self, Leaving},
};
use anyhow::ensure;
use service::telemetry;
use tracing::Instrument as _;

pub(super) async fn pass(pusher: &Pusher, resting: &Resting) -> anyhow::Result<()> {
    for leaving in view::leaving(&pusher.view).await? {
        if resting.contains(leaving.image) {
            continue;
        }
        let span = tracing::info_span!("release", image = %leaving.image);
        telemetry::follow(&span, &leaving.traceparent);
        if let Err(error) = release(pusher, &leaving).instrument(span).await {
            tracing::warn!(image = %leaving.image, "`{}` is not empty yet: {error:#}", leaving.path);
            resting.add(leaving.image);
        }
    }
    Ok(())
}

async fn release(pusher: &Pusher, leaving: &Leaving) -> anyhow::Result<()> {
    // What is removed does not come back, so this is decided on all that the log has.
    let head = pusher.world.log.head().await?;
    pusher.view.reach(head, CATCH_UP).await?;
    if !view::leaving(&pusher.view).await?.contains(leaving) {
        return Ok(());
    }
    empty(pusher, &leaving.path).await?;
    let cause = Cause {
        position: leaving.cause,
        traceparent: &leaving.traceparent,
    };
    let released = Command::RecordReleased {
        path: leaving.path.clone(),
    };
    let done = pusher.execute(leaving.image, cause, released).await?;
    pusher.view.reach(done.position, CATCH_UP).await?;
    Ok(())
}

/// The registry lists tags only, and the log knows the rest.
async fn empty(pusher: &Pusher, path: &str) -> anyhow::Result<()> {
    let mut digests = view::contents(&pusher.view, path).await?;
    for tag in pusher.registry.tags(path).await? {
        digests.extend(pusher.registry.digest(path, &tag).await?);
    }
    for digest in digests {
        pusher.registry.remove(path, &digest).await?;
    }
    // A registry whose disk was full lists tags that lead to nothing.
    let mut left = 0;
    for tag in pusher.registry.tags(path).await? {
        left += usize::from(pusher.registry.digest(path, &tag).await?.is_some());
    }
    ensure!(left == 0, "{left} tags are left");
    Ok(())
}
