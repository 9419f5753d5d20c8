//! `BuildKit`'s progress as text, the way `docker build --progress=plain` shows it, and as steps for the journal.
//! Follows buildkit's `util/progress/progressui`, but takes the time from the messages: the same messages
//! give the same text.

mod bases;
mod clean;
mod flow;
mod log;
mod print;
mod trace;

use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;

pub(crate) use clean::plain;
use print::Printer;
use proto::builder::v1::BaseImage;
use trace::{Trace, Vertex};

/// One step of a Dockerfile: `[2/3] RUN make`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub name: String,
    pub cached: bool,
    /// How long it worked; for one that did not end, up to the last message.
    pub duration: Duration,
    /// Empty when it went well.
    pub error: String,
}

/// One build's log.
#[derive(Debug)]
pub struct Plain {
    trace: Trace,
    printer: Printer,
}

impl Plain {
    /// `rate`: bytes of its steps' output per second. What comes faster for long is left out, and counted.
    pub fn new(rate: u64) -> Self {
        Self {
            trace: Trace::new(rate),
            printer: Printer::default(),
        }
    }

    /// What this message adds to the log; may be empty, and may end in the middle of a line.
    pub fn render(&mut self, message: &StatusResponse) -> String {
        self.trace.update(message);
        self.printer.print(&mut self.trace)
    }

    /// What stands after the last message: the end of an open line, and the last lines of what failed.
    pub fn finish(&mut self) -> String {
        self.printer.finish(&mut self.trace)
    }

    /// The steps that began, in the order of the log, without `BuildKit`'s own (`[internal] ...`, `exporting to image`).
    pub fn steps(&self) -> Vec<Step> {
        let begun = |vertex: &&Vertex| vertex.is_started() && is_step(&vertex.name);
        let mut steps: Vec<&Vertex> = self.trace.vertexes.iter().filter(begun).collect();
        steps.sort_by_key(|vertex| vertex.index.unwrap_or(u32::MAX));
        steps.into_iter().map(|vertex| self.step(vertex)).collect()
    }

    /// What the stages were made from.
    pub fn bases(&self) -> Vec<BaseImage> {
        let names = self.trace.vertexes.iter().map(|vertex| vertex.name.as_str());
        bases::bases(names)
    }

    /// The name of the step that failed.
    pub fn failed(&self) -> Option<&str> {
        let failed = |vertex: &&Vertex| is_step(&vertex.name) && !vertex.error.is_empty() && !vertex.is_cancelled();
        self.trace
            .vertexes
            .iter()
            .find(failed)
            .map(|vertex| vertex.name.as_str())
    }

    fn step(&self, vertex: &Vertex) -> Step {
        Step {
            name: vertex.name.clone(),
            cached: vertex.cached,
            duration: Duration::from_nanos(u64::try_from(vertex.worked(self.trace.now)).unwrap_or(0)),
            error: if vertex.is_cancelled() {
                "cancelled".to_owned()
            } else {
                crate::docker::clean(&vertex.error)
            },
        }
    }
}

/// `[2/3] RUN x`, `[stage 2/3] RUN x`, `[linux/amd64 stage 2/3] RUN x`
fn is_step(name: &str) -> bool {
    let number = name
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .and_then(|(inside, _)| inside.split(' ').next_back());
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    number
        .and_then(|number| number.split_once('/'))
        .is_some_and(|(step, of)| digits(step) && digits(of))
}

#[cfg(test)]
mod tests;
