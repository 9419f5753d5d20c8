//! The token of the user who runs this, which `cooper` finds by itself: an ordinary user's, in `local.token`.

use super::{data::Data, ends};
use crate::failure::{Exit, Failure};
use eventlog::Clock;
use service::auth::{LIFETIME_MAX, LocalKey, write_private};
use std::{convert::Infallible, env, time::Duration};

const RENEWED_EVERY: Duration = Duration::from_hours(24);

/// Writes a new one, so that it is never an old one that expires.
pub(super) fn write(data: &Data, key: &LocalKey) -> anyhow::Result<()> {
    let user = env::var("USER").ok().filter(|user| !user.is_empty());
    let token = key.sign(
        user.as_deref().unwrap_or("local"),
        false,
        LIFETIME_MAX,
        &Clock::system(),
    )?;
    write_private(&data.join("local.token"), token.as_bytes())
}

/// Keeps it fresh as long as the platform runs.
pub(super) async fn renew(data: &Data, key: &LocalKey) -> Result<Infallible, Failure> {
    loop {
        tokio::time::sleep(RENEWED_EVERY).await;
        write(data, key).map_err(ends(Exit::Internal))?;
    }
}
