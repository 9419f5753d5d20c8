//! Times, sizes and states in people's words.

use super::{Cell, Tone};
use jiff::{Timestamp, tz::TimeZone};
use proto::{
    builder::v1::{Build, BuildPhase},
    catalog::v1::{BuildOutcome, Image, ImageName, ImageStatus, Right, Role},
};

/// An image's name as people write it.
pub(crate) fn short_name(name: Option<&ImageName>) -> String {
    name.map(|name| access::Name::from(name).short()).unwrap_or_default()
}

pub(crate) fn name_of(image: &Image) -> String {
    short_name(image.name.as_ref())
}

pub(crate) fn status_word(status: ImageStatus) -> (Tone, &'static str) {
    match status {
        ImageStatus::Built => (Tone::Good, "built"),
        ImageStatus::NotBuilt => (Tone::Bad, "not built"),
        ImageStatus::Modified => (Tone::Changed, "modified"),
        ImageStatus::Unspecified => (Tone::Faint, "unknown"),
    }
}

pub(crate) fn status(image: &Image) -> Cell {
    let (tone, word) = if image.deleted {
        (Tone::Faint, "deleted")
    } else {
        status_word(image.status())
    };
    Cell::new(tone, word)
}

pub(crate) fn outcome_word(outcome: BuildOutcome) -> (Tone, &'static str) {
    match outcome {
        BuildOutcome::InProgress => (Tone::Busy, "in progress"),
        BuildOutcome::Succeeded => (Tone::Good, "succeeded"),
        BuildOutcome::Failed => (Tone::Bad, "failed"),
        BuildOutcome::Cancelled => (Tone::Changed, "cancelled"),
        BuildOutcome::Lost => (Tone::Bad, "lost"),
        BuildOutcome::Unspecified => (Tone::Faint, "unknown"),
    }
}

pub(crate) fn phase_word(phase: BuildPhase) -> &'static str {
    match phase {
        BuildPhase::Queued => "queued",
        BuildPhase::Fetching => "fetching",
        BuildPhase::Building => "building",
        BuildPhase::Pushing => "pushing",
        BuildPhase::Cancelling => "cancelling",
        BuildPhase::Ended => "ended",
        BuildPhase::Unspecified => "unknown",
    }
}

/// How a build stands, in one word.
pub(crate) fn standing(build: &Build) -> Cell {
    match (build.outcome(), build.phase()) {
        (BuildOutcome::InProgress, phase) => Cell::new(Tone::Busy, phase_word(phase)),
        (outcome, _) => {
            let (tone, word) = outcome_word(outcome);
            Cell::new(tone, word)
        }
    }
}

pub(crate) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Participant => "participant",
        Role::Unspecified => "unknown",
    }
}

pub(crate) fn right_word(right: Right) -> &'static str {
    match right {
        Right::Read => "read",
        Right::Write => "write",
        Right::Manage => "manage",
        Right::Owner => "owner",
        Right::Unspecified => "nothing",
    }
}

fn instant(time: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::try_from(eventlog::Clock::system().now()).unwrap_or_default()
}

/// `3 minutes ago`; nothing for no time.
pub(crate) fn ago(time: Option<&prost_types::Timestamp>, now: Timestamp) -> String {
    let Some(time) = time.and_then(instant) else {
        return String::new();
    };
    let seconds = now.as_second().saturating_sub(time.as_second());
    let (count, unit) = match seconds {
        ..1 => return "now".to_owned(),
        1..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        172_800..5_184_000 => (seconds / 86_400, "day"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{} ago", plural(count, unit))
}

/// The date and time here; nothing for no time.
pub(crate) fn moment(time: Option<&prost_types::Timestamp>) -> String {
    moment_in(time, TimeZone::system())
}

fn moment_in(time: Option<&prost_types::Timestamp>, zone: TimeZone) -> String {
    let Some(time) = time.and_then(instant) else {
        return String::new();
    };
    time.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// How long something took: `0.4 s`, `12.3 s`, `2 min 5 s`; nothing for nothing.
pub(crate) fn took(duration: Option<&prost_types::Duration>) -> String {
    let Some(duration) = duration else {
        return String::new();
    };
    let (seconds, tenths) = (duration.seconds, duration.nanos / 100_000_000);
    match seconds {
        ..60 => format!("{seconds}.{tenths} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// What is only guessed: `about 40 s`.
pub(crate) fn about(duration: &prost_types::Duration) -> String {
    match duration.seconds {
        ..5 => "a moment".to_owned(),
        seconds @ 5..120 => format!("about {seconds} s"),
        seconds @ 120..7_200 => format!("about {} min", seconds / 60),
        seconds => format!("about {} h", seconds / 3_600),
    }
}

/// `12.3 MB`, in powers of 1,000, as Docker counts.
pub(crate) fn bytes(count: i64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut rest = count;
    let mut tenths = 0;
    for unit in UNITS {
        tenths = rest % 1_000 / 100;
        rest /= 1_000;
        if rest < 1_000 {
            return format!("{rest}.{tenths} {unit}");
        }
    }
    format!("{rest}.{tenths} {}", UNITS[UNITS.len() - 1])
}

/// The first twelve digits, enough to tell contents apart by eye.
pub(crate) fn short_digest(digest: &str) -> String {
    match digest.split_once(':') {
        Some((_, hex)) if hex.len() > 12 => hex.chars().take(12).collect(),
        _ => digest.to_owned(),
    }
}

pub(crate) fn plural(count: i64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn the_past_is_told_in_its_largest_unit() {
        let now = Timestamp::constant(100_000_000, 0);
        for (seconds, words) in [
            (-5, "now"),
            (0, "now"),
            (1, "1 second ago"),
            (119, "119 seconds ago"),
            (120, "2 minutes ago"),
            (7_200, "2 hours ago"),
            (200_000, "2 days ago"),
            (63_072_000, "2 years ago"),
        ] {
            assert_eq!(ago(Some(&at(100_000_000 - seconds)), now), words);
        }
        assert_eq!(ago(None, now), "");
    }

    #[test]
    fn a_moment_is_a_date_and_a_time() {
        assert_eq!(
            moment_in(Some(&at(1_700_000_000)), TimeZone::UTC),
            "2023-11-14 22:13:20"
        );
    }

    #[test]
    fn durations_and_sizes_have_three_digits_at_most() {
        let took = |seconds, nanos| took(Some(&prost_types::Duration { seconds, nanos }));
        assert_eq!(took(0, 420_000_000), "0.4 s");
        assert_eq!(took(125, 0), "2 min 5 s");
        assert_eq!(took(7_380, 0), "2 h 3 min");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_250), "1.2 kB");
        assert_eq!(bytes(104_857_600), "104.8 MB");
        assert_eq!(bytes(2_147_483_648), "2.1 GB");
    }

    // covers R12, R13, R14
    #[test]
    fn the_status_words_are_green_red_and_orange() {
        assert_eq!(status_word(ImageStatus::Built), (Tone::Good, "built"));
        assert_eq!(status_word(ImageStatus::NotBuilt), (Tone::Bad, "not built"));
        assert_eq!(status_word(ImageStatus::Modified), (Tone::Changed, "modified"));
    }
}
