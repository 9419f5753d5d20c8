//! What an event says of a build: never so much that it does not fit into an entry. The whole text stands in the log.
//!
//! `BuildKit` repeats a step's whole command in the step's name, in its error and in the cause, and a command may be as
//! long as a Dockerfile.

use crate::progress::{Plain, Step};
use proto::builder::v1::BuildStep;
use std::time::Duration;

/// Of a name, an error, a cause.
const TEXT_BYTES_MAX: usize = 1024;
/// Of all steps together.
const STEPS_BYTES_MAX: usize = 64 * 1024;
/// What a step has besides its texts.
const STEP_BYTES: usize = 32;

/// Both ends of a text that is too long: how a command begins, and how it went.
pub(super) fn brief(text: &str) -> String {
    const BETWEEN: &str = " … ";
    const TAIL: usize = TEXT_BYTES_MAX / 4;
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(TEXT_BYTES_MAX - TAIL - BETWEEN.len());
    let tail = text.ceil_char_boundary(text.len() - TAIL);
    format!("{}{BETWEEN}{}", &text[..head], &text[tail..])
}

pub(super) fn steps(plain: &Plain) -> Vec<BuildStep> {
    bounded(&plain.steps())
}

/// The first ones, as far as there is room. Those that failed are of the most interest, so they get theirs before.
fn bounded(steps: &[Step]) -> Vec<BuildStep> {
    let steps: Vec<BuildStep> = steps.iter().map(step).collect();
    let mut room = STEPS_BYTES_MAX;
    let mut kept = vec![false; steps.len()];
    for has_failed in [true, false] {
        for (step, kept) in steps.iter().zip(&mut kept) {
            if step.error.is_empty() == has_failed {
                continue;
            }
            let bytes = STEP_BYTES + step.name.len() + step.error.len();
            let Some(rest) = room.checked_sub(bytes) else { break };
            room = rest;
            *kept = true;
        }
    }
    let kept = steps.into_iter().zip(kept).filter(|(_, kept)| *kept);
    kept.map(|(step, _)| step).collect()
}

fn step(step: &Step) -> BuildStep {
    let milliseconds = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    BuildStep {
        name: brief(&step.name),
        cached: step.cached,
        duration: Some(service::duration(milliseconds(step.duration))),
        error: brief(&step.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use proto::builder::v1::BuildFailed;

    fn run(number: usize, text: &str, error: &str) -> Step {
        Step {
            name: format!("[{number}] RUN {text}"),
            cached: false,
            duration: Duration::from_secs(1),
            error: error.to_owned(),
        }
    }

    // covers R33
    #[test]
    fn a_long_text_keeps_both_ends() {
        assert_eq!(brief("exit code: 1"), "exit code: 1");
        let whole = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(brief(&whole), whole);

        let command = format!(
            "process \"{}\" did not complete successfully: exit code: 1",
            "é".repeat(100_000)
        );
        let brief = brief(&command);
        assert!(brief.len() <= TEXT_BYTES_MAX, "{}", brief.len());
        assert!(brief.starts_with("process \"ééé") && brief.contains("é … é"), "{brief}");
        assert!(
            brief.ends_with("did not complete successfully: exit code: 1"),
            "{brief}"
        );
    }

    // covers R33
    #[test]
    fn steps_of_any_number_and_size_fit_into_an_entry() {
        let long = "x".repeat(200 * 1024);
        for (steps, text) in [(3, &*long), (200, &*long), (50_000, "true")] {
            let mut all: Vec<Step> = (1..steps).map(|number| run(number, text, "")).collect();
            all.push(run(steps, text, &long));
            let kept = bounded(&all);
            let event = BuildFailed {
                cause: brief(&long),
                steps: kept.clone(),
                ..BuildFailed::default()
            };
            assert!(event.encoded_len() < 100 * 1024, "{steps}: {}", event.encoded_len());
            assert!(kept[0].name.starts_with("[1] RUN"), "{steps}: {}", kept[0].name);
            let last = kept.last().cloned().unwrap_or_default();
            assert!(
                last.name.starts_with(&format!("[{steps}] RUN")),
                "the one that failed: {}",
                last.name
            );
            assert!(last.error.contains(" … "), "{}", last.error);
        }
    }
}
