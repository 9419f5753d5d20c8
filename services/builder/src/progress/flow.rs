//! How much output a build may have: a bucket that fills by time, as the messages tell it.

/// Seconds' worth of output that may come at once.
const BURST_SECONDS: i64 = 4;
/// An empty bucket gives nothing until it holds a second's worth: output in pieces, not in crumbs.
const AGAIN_SECONDS: i64 = 1;

#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Bytes per second.
    rate: i64,
    bytes: i64,
    /// Nanoseconds.
    at: i64,
    is_dry: bool,
}

impl Flow {
    pub(super) fn new(rate: u64) -> Self {
        let rate = i64::try_from(rate)
            .unwrap_or(i64::MAX / BURST_SECONDS)
            .min(i64::MAX / BURST_SECONDS);
        Self {
            rate,
            bytes: rate * BURST_SECONDS,
            ..Self::default()
        }
    }

    /// Whether this much may be printed now.
    pub(super) fn takes(&mut self, now: i64, bytes: usize) -> bool {
        let passed = i128::from((now - self.at).max(0));
        let earned = i128::from(self.rate) * passed / 1_000_000_000;
        let full = i128::from(self.rate * BURST_SECONDS);
        self.bytes = i64::try_from((i128::from(self.bytes) + earned).min(full)).unwrap_or_default();
        self.at = self.at.max(now);
        if self.is_dry && self.bytes < self.rate * AGAIN_SECONDS {
            return false;
        }
        self.bytes = self.bytes.saturating_sub_unsigned(bytes as u64);
        self.is_dry = self.bytes < 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const CHUNK: usize = 10_000;

    /// Chunks that are taken of those that come evenly within so many seconds.
    fn taken(flow: &mut Flow, from: i64, seconds: i64, chunks: i64) -> usize {
        let at = |n: i64| from + seconds * SECOND * n / chunks;
        (0..chunks).filter(|n| flow.takes(at(*n), CHUNK)).count()
    }

    // covers E3
    #[test]
    fn a_flood_is_cut_to_the_rate_and_what_is_within_it_is_not() {
        let mut flow = Flow::new(1_000_000);
        let start = 1_700_000_000 * SECOND;
        assert_eq!(taken(&mut flow, start, 60, 6_000), 6_000, "just the rate");
        let flood = taken(&mut flow, start + 60 * SECOND, 60, 600_000) * CHUNK;
        assert!((60_000_000..66_000_000).contains(&flood), "{flood}");
        let later = start + 200 * SECOND;
        assert_eq!(taken(&mut flow, later, 1, 390), 390, "a burst after a rest");
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let mut flow = Flow::new(10);
        assert!(flow.takes(SECOND, 41));
        assert!(!flow.takes(0, 1) && !flow.takes(SECOND, 1));
        assert!(flow.takes(3 * SECOND, 1));
    }
}
