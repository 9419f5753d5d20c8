//! Whether a Docker Engine is there for the builds. They wait for it, so its absence is only told.

use crate::{failure::Failure, output::Output};
use builder::docker::Engine;

/// An empty host is the one that the builder takes by itself.
pub(super) async fn check(output: &Output, host: &str) -> Result<(), Failure> {
    let asked = async {
        Engine::connect(Some(host).filter(|host| !host.is_empty()))
            .await?
            .ping()
            .await
    };
    if let Err(error) = asked.await {
        output.notice(format!("warning: {error}; builds wait until it answers"));
    }
    Ok(())
}
