//! Times, durations and pages, as the contract writes them.

use crate::{Failure, invalid};
use prost_types::{Duration, Timestamp};

const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;

/// Milliseconds since 1970, UTC; `None` for zero, which no entry has.
pub fn timestamp(time_ms: i64) -> Option<Timestamp> {
    (time_ms != 0).then(|| Timestamp {
        seconds: time_ms.div_euclid(1_000),
        nanos: i32::try_from(time_ms.rem_euclid(1_000) * 1_000_000).unwrap_or_default(),
    })
}

/// The other way, for a time that a caller sends.
pub fn milliseconds(field: &str, time: &Timestamp) -> Result<i64, Failure> {
    let seconds = time.seconds.checked_mul(1_000);
    let milliseconds = seconds.and_then(|seconds| seconds.checked_add(i64::from(time.nanos / 1_000_000)));
    Ok(milliseconds.ok_or_else(|| invalid(field, "not a time"))?)
}

pub fn duration(milliseconds: i64) -> Duration {
    Duration {
        seconds: milliseconds / 1_000,
        nanos: i32::try_from(milliseconds % 1_000 * 1_000_000).unwrap_or_default(),
    }
}

/// How many rows a page has. More than 1,000 is refused, with the figures.
pub fn page(page_size: u32) -> Result<i64, Failure> {
    match page_size {
        0 => Ok(i64::from(PAGE_DEFAULT)),
        1..=PAGE_MAX => Ok(i64::from(page_size)),
        _ => Err(invalid("page_size", format!("{page_size} rows, at most {PAGE_MAX} are allowed")).into()),
    }
}
