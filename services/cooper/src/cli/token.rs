//! `cooper token`: words about tokens that a key on this machine signs.

use clap::{Args, Subcommand};
use std::{path::PathBuf, time::Duration};

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for a user.
    Create {
        /// What the user is called: one word, of at most 255 characters.
        #[arg(long, value_name = "U")]
        user: String,
        /// An administrator of the platform, who sees everything and builds nothing.
        #[arg(long)]
        admin: bool,
        /// How long it lives, as in 12h or 30d; at most 90 days.
        #[arg(long, value_name = "D", value_parser = lifetime, default_value = "30d")]
        expires: Duration,
        #[command(flatten)]
        folder: KeyFolder,
    },
    /// List the tokens that were made and are good.
    Ls {
        #[command(flatten)]
        folder: KeyFolder,
    },
    /// Take a token back. It is refused within a second, and what is open by it ends.
    Revoke {
        /// As `cooper token ls` lists it.
        #[arg(value_name = "ID", required_unless_present = "user")]
        id: Option<String>,
        /// All tokens of a user that were made until now. The one that `cooper up` keeps for who runs it is made anew when
        /// it starts.
        #[arg(long, value_name = "U", conflicts_with = "id")]
        user: Option<String>,
        #[command(flatten)]
        folder: KeyFolder,
    },
}

/// Where the key is.
#[derive(Debug, Args)]
pub(crate) struct KeyFolder {
    /// The data folder of `cooper up` [default: the one of the server, or ./cooperage-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The folder of `cooper admin nats-config`, instead of a data folder.
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    pub(crate) keys: Option<PathBuf>,
}

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
