//! How long a token lives, in words.

use std::time::Duration;

/// `90s`, `15m`, `12h` or `30d`.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number and s, m, h or d, as in 12h".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let seconds = count
        .checked_mul(seconds)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_and_a_unit() {
        assert_eq!(lifetime("12h"), Ok(Duration::from_hours(12)));
        assert_eq!(lifetime("30d"), Ok(Duration::from_hours(720)));
        for wrong in [
            "",
            "h",
            "12",
            "0d",
            "-1d",
            "1y",
            "99999999999999999999d",
            "18446744073709551615d",
            "1é",
        ] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
