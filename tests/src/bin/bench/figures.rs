//! Samples and what is said of them.

use serde_json::{Value, json};
use std::time::Duration;

/// One line of the table.
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) goal: String,
    pub(crate) figure: String,
    pub(crate) passed: bool,
    pub(crate) samples: usize,
    /// Everything that the figure was made from.
    pub(crate) details: Value,
}

/// Durations in milliseconds, sorted.
#[derive(Debug, Clone)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn new(durations: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(durations.into_iter().map(|duration| duration.as_secs_f64() * 1_000.0))
    }

    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// The smallest value that so many percent of the samples do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn details(&self) -> Value {
        json!({
            "samples": self.count(),
            "min": rounded(self.percentile(0)),
            "p50": rounded(self.median()),
            "p90": rounded(self.percentile(90)),
            "p99": rounded(self.percentile(99)),
            "max": rounded(self.max()),
        })
    }
}

/// Our counts are far below what an `f64` holds exactly.
pub(crate) fn float(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::INFINITY, f64::from)
}

/// Three digits are more than a measurement has.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Ours against theirs: how many times as long, or as many.
pub(crate) struct Ratio {
    pub(crate) ours: f64,
    pub(crate) theirs: f64,
}

impl Ratio {
    pub(crate) fn value(&self) -> f64 {
        self.ours / self.theirs
    }

    pub(crate) fn text(&self, unit: &str) -> String {
        let digits = if self.theirs < 10.0 { 2 } else { 0 };
        format!(
            "{:.2} x ({:.digits$} against {:.digits$} {unit})",
            self.value(),
            self.ours,
            self.theirs
        )
    }
}
