//! Where in the Dockerfile a step stands that failed, as `docker build` shows it.
//!
//! The engine tells no lines, only the step's name: the instruction as it was written, but for its variables. What is
//! not found so, or stands there twice, is not shown.

use std::{fmt::Write as _, ops::RangeInclusive};

/// Lines that are shown before and after.
const AROUND: usize = 2;

/// `step` is named as in `[build 2/3] RUN make`. Ends with a line end.
pub(super) fn place(dockerfile: &str, step: &str) -> Option<String> {
    let (_, wanted) = step.split_once("] ")?;
    let wanted = words(wanted);
    let mut found = instructions(dockerfile)
        .into_iter()
        .filter(|(_, text)| words(text) == wanted);
    let (place, _) = found.next().filter(|_| found.next().is_none())?;
    let mut text = format!("Dockerfile:{}\n--------------------\n", place.start());
    for (at, line) in dockerfile.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        if at + AROUND >= *place.start() && at <= place.end() + AROUND {
            let mark = if place.contains(&at) { ">>>" } else { "   " };
            // Into a string: never fails.
            let _ = writeln!(text, "{at:4} | {mark} {line}");
        }
    }
    text.push_str("--------------------\n");
    Some(text)
}

/// With the lines on which they stand, counted from 1, and without comments between those.
fn instructions(dockerfile: &str) -> Vec<(RangeInclusive<usize>, String)> {
    let mut all = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in dockerfile.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (start, mut text) = open.take().unwrap_or((at, String::new()));
        if let Some(part) = line.strip_suffix('\\') {
            text.push_str(part);
            text.push(' ');
            open = Some((start, text));
        } else {
            text.push_str(line);
            all.push((start..=at, text));
        }
    }
    all
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers R25
    #[test]
    fn a_step_is_shown_with_its_lines() {
        let dockerfile =
            "# how\nFROM scratch AS a\nCOPY x /\nRUN make \\\n  # why\n  all\n\nFROM a\nRUN exit 3\nCOPY x /\n";
        assert_eq!(
            place(dockerfile, "[a 2/2] RUN make    all").unwrap(),
            "Dockerfile:4\n--------------------\n   2 |     FROM scratch AS a\n   3 |     COPY x /\n   4 | >>> RUN make \\\n   \
             5 | >>>   # why\n   6 | >>>   all\n   7 |     \n   8 |     FROM a\n--------------------\n"
        );
        let last = place(dockerfile, "[stage-1 2/3] RUN exit 3").unwrap();
        assert!(last.starts_with("Dockerfile:9\n"), "{last}");
        for unclear in ["[a 1/2] COPY x /", "[internal] load metadata", "RUN exit 3"] {
            assert_eq!(place(dockerfile, unclear), None, "{unclear}");
        }
    }
}
