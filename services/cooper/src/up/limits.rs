//! Where the log and the build output of a private server end: where the settings say, or where the disk has no more.
//!
//! A full disk shows only as time-outs, so the log must end well before it does.

use super::data::Data;
use crate::output::bytes;
use anyhow::Context as _;
use nix::sys::statvfs::statvfs;
use service::Config;
use std::path::Path;

/// What part of the free disk each may take at most. Views keep most of the log once more, and images lie there too.
const LOG_PART: i64 = 3;
const OUTPUT_PART: i64 = 8;

/// What is there already grows to where it may, and never shrinks: who sets less than that is told when the services
/// start.
pub(super) async fn settle(mut config: Config, data: &Data) -> anyhow::Result<Config> {
    let defaults = Config::defaults()?.nats;
    let free = free(data.folder())?;
    let (log_is_set, output_is_set) = (
        config.nats.log_bytes_max != defaults.log_bytes_max,
        config.nats.output_bytes_max != defaults.output_bytes_max,
    );
    if !log_is_set {
        config.nats.log_bytes_max = part(free, LOG_PART).min(defaults.log_bytes_max);
    }
    if !output_is_set {
        config.nats.output_bytes_max = part(free, OUTPUT_PART).min(defaults.output_bytes_max);
    }
    let (log, output) = service::grow(&config).await?;
    let settings = &mut config.nats;
    if log.is_none() && settings.log_bytes_max < defaults.log_bytes_max && !log_is_set {
        tracing::info!(
            "the disk has {} free, so the log may have {}, and build output {}: COOPERAGE_NATS__LOG_BYTES_MAX and \
             COOPERAGE_NATS__OUTPUT_BYTES_MAX say otherwise",
            bytes(free),
            bytes(settings.log_bytes_max),
            bytes(settings.output_bytes_max),
        );
    }
    if let Some(log) = log.filter(|_| !log_is_set) {
        settings.log_bytes_max = log;
    }
    if let Some(output) = output.filter(|_| !output_is_set) {
        settings.output_bytes_max = output;
    }
    Ok(config)
}

fn free(folder: &Path) -> anyhow::Result<i64> {
    let disk = statvfs(folder).with_context(|| format!("the disk of {} can't be looked at", folder.display()))?;
    Ok(i64::try_from(disk.blocks_available().saturating_mul(disk.fragment_size())).unwrap_or(i64::MAX))
}

/// A power of two, so that it is the same again at the next start, when a little more or less is free.
fn part(free: i64, of: i64) -> i64 {
    (free / of).checked_ilog2().map_or(1, |power| 1 << power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_round_and_fits() {
        const GB: i64 = 1_000_000_000;
        assert_eq!(part(3 * GB, LOG_PART), 512 << 20);
        assert_eq!(part(3 * GB + GB / 10, LOG_PART), 512 << 20);
        assert_eq!(part(3 * GB, OUTPUT_PART), 256 << 20);
        assert_eq!(part(0, LOG_PART), 1);
        for free in [1, GB, 17 * GB, i64::MAX] {
            assert!(part(free, LOG_PART) <= (free / LOG_PART).max(1));
        }
    }
}
