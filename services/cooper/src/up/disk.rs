//! The disk of the data folder. A nats-server that met a full one takes no writes until it is started again, also when
//! there is room by then.

use super::data::Data;
use nix::sys::statvfs::statvfs;
use std::time::Duration;
use tokio::time::sleep;

const EVERY: Duration = Duration::from_secs(1);
/// With less than this, a write may have failed.
const FULL: u64 = 1024 * 1024;
const ROOM: u64 = 16 * 1024 * 1024;

/// Ends when the disk was full and has room again.
pub(super) async fn freed(data: &Data) {
    let mut was_full = false;
    loop {
        match room(data) {
            Some(bytes) if bytes < FULL && !was_full => {
                was_full = true;
                let folder = data.folder().display();
                tracing::error!("the disk of {folder} is full, so commands are refused: make room");
            }
            Some(bytes) if bytes >= ROOM && was_full => {
                tracing::info!("the disk has room again");
                return;
            }
            _ => sleep(EVERY).await,
        }
    }
}

/// Bytes that are free.
fn room(data: &Data) -> Option<u64> {
    let facts = statvfs(data.folder()).ok()?;
    Some(facts.blocks_available() * facts.fragment_size())
}
