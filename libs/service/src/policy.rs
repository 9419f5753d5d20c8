//! Policies: "what should be under way and is not?", asked whenever the view moved or time passed.

use eventlog::View;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Runs an idempotent pass once the view is there, then whenever entries of the categories `on` were applied to it, and
/// at least `every` so often. A pass that fails is repeated.
pub async fn reconcile<F>(
    name: &'static str,
    view: View,
    on: &'static [&'static str],
    every: Duration,
    stop: CancellationToken,
    mut pass: impl FnMut() -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut changes = view.applied(on);
    loop {
        changes.mark_unchanged();
        let passed = tokio::select! {
            passed = pass() => passed,
            () = stop.cancelled() => return Ok(()),
        };
        let wait = match passed {
            Ok(()) => every,
            Err(error) => {
                tracing::warn!(policy = name, "{error:#}");
                RETRY_DELAY.min(every)
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep(wait) => (),
            () = stop.cancelled() => return Ok(()),
        }
    }
}
