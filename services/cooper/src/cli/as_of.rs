//! An earlier moment, as people name it.

use super::token::lifetime;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use std::str::FromStr;

/// A time, or a position of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AsOf {
    Time(prost_types::Timestamp),
    Position(u64),
}

impl FromStr for AsOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        time(text).map(Self::Time)
    }
}

/// `2026-11-20T13:00:00Z`, `2026-11-20 13:00` and `2026-11-20` here, or `2h` for two hours ago.
pub(crate) fn time(text: &str) -> Result<prost_types::Timestamp, String> {
    time_in(text, eventlog::Clock::system().now(), TimeZone::system())
}

fn time_in(text: &str, now: std::time::SystemTime, zone: TimeZone) -> Result<prost_types::Timestamp, String> {
    if let Ok(ago) = lifetime(text) {
        return now
            .checked_sub(ago)
            .map(prost_types::Timestamp::from)
            .filter(|time| time.seconds >= 0)
            .ok_or_else(|| format!("{text} ago was nothing yet"));
    }
    let here = || text.parse::<DateTime>().and_then(|time| time.to_zoned(zone));
    let time: Timestamp = text
        .parse()
        .or_else(|_| here().map(|time| time.timestamp()))
        .map_err(|_| "expected a time, as in 2026-11-20, 2026-11-20T13:00Z, or 2h for two hours ago".to_owned())?;
    Ok(prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    // covers E10
    #[test]
    fn a_moment_is_a_time_a_while_ago_or_a_position() {
        assert_eq!("8812".parse(), Ok(AsOf::Position(8_812)));
        let now = UNIX_EPOCH + Duration::from_hours(48);
        let seconds = |text| time_in(text, now, TimeZone::UTC).map(|time| time.seconds);
        assert_eq!(seconds("1970-01-02"), Ok(86_400));
        assert_eq!(seconds("1970-01-02 01:00"), Ok(90_000));
        assert_eq!(seconds("1970-01-02T01:00:00+01:00"), Ok(86_400));
        assert_eq!(seconds("2h"), Ok(165_600));
        for wrong in ["", "yesterday", "2026-13-01", "-5", "99999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
