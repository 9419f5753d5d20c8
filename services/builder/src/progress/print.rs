//! Decides which vertex is shown when, as Docker does, so that the output of parallel steps stays readable.

use std::fmt::Write;

use super::{
    log::as_seconds,
    trace::{Status, Trace, Vertex},
};

/// How long one vertex is shown at least before another that is as busy takes its place.
const ANTI_FLICKER: f64 = 5.0;
/// What was not shown for so long comes next.
const MAX_DELAY: f64 = 10.0;
/// A status is shown again after so much time, or so much progress.
const STATUS_EVERY: i64 = 5_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Printer {
    current: Option<usize>,
    not_first: bool,
    last_index: u32,
}

impl Printer {
    pub(super) fn print(&mut self, trace: &mut Trace) -> String {
        let mut out = String::new();
        let before = self.current;
        let visible = |at: &usize| !trace.vertexes[*at].hidden && trace.vertexes[*at].has_news();
        let (mut completed, rest): (Vec<usize>, Vec<usize>) = trace
            .updated
            .iter()
            .copied()
            .filter(visible)
            .partition(|at| trace.vertexes[*at].is_completed());

        // what has ended is shown first, and of that the one that is shown already
        completed.sort_by_key(|at| (Some(*at) != before, trace.vertexes[*at].end()));
        for at in &completed {
            self.vertex(trace, *at, &mut out);
        }
        if rest.is_empty() {
            let open = |at: &usize| {
                let vertex = &trace.vertexes[*at];
                vertex.is_started() && !vertex.is_completed() && !vertex.hidden && vertex.has_news()
            };
            if !before.is_some_and(|at| open(&at))
                && let Some(at) = (0..trace.vertexes.len()).find(open)
            {
                self.vertex(trace, at, &mut out);
            }
            return out;
        }
        if let Some(at) = before.filter(|at| rest.contains(at)) {
            self.vertex(trace, at, &mut out);
        }
        if let Some(at) = next(trace, before, &rest, &completed) {
            self.vertex(trace, at, &mut out);
        }
        out
    }

    pub(super) fn finish(&mut self, trace: &mut Trace) -> String {
        let mut out = String::new();
        if let Some(vertex) = self.current.take().and_then(|at| trace.vertexes.get_mut(at)) {
            vertex.log.tell_dropped();
            vertex.log.show(vertex.index.unwrap_or_default(), &mut out);
            vertex.log.leave(&mut out);
        }
        for vertex in trace
            .vertexes
            .iter_mut()
            .filter(|vertex| !vertex.error.is_empty() && !vertex.is_cancelled())
        {
            vertex.log.close(&mut String::new());
            let _ = writeln!(out, "------\n > {}:", vertex.name);
            for line in vertex.log.tail() {
                let _ = writeln!(out, "{line}");
            }
            out.push_str("------\n");
        }
        out
    }

    fn vertex(&mut self, trace: &mut Trace, at: usize, out: &mut String) {
        if self.current != Some(at) {
            if let Some(old) = self.current.and_then(|at| trace.vertexes.get_mut(at)) {
                old.log.leave(out);
                old.count = 0;
                let _ = writeln!(out, "#{} ...", old.index.unwrap_or_default());
            }
            if self.not_first {
                out.push('\n');
            }
            self.not_first = true;
        }
        trace.updated.remove(&at);
        let vertex = &mut trace.vertexes[at];
        let index = *vertex.index.get_or_insert_with(|| {
            self.last_index += 1;
            self.last_index
        });
        if self.current != Some(at) {
            let _ = writeln!(out, "#{index} {}", vertex.name);
        }
        let mut open = false;
        for status in vertex
            .statuses
            .iter_mut()
            .filter(|status| status.updated && status.started.is_some())
        {
            open |= print_status(status, index, out);
        }
        for warning in vertex.warnings.drain(..) {
            let _ = writeln!(out, "#{index} WARN: {warning}");
        }
        if vertex.is_completed() {
            vertex.log.tell_dropped();
        }
        vertex.log.show(index, out);
        self.current = Some(at);
        if vertex.is_completed() && !open {
            self.current = None;
            vertex.count = 0;
            vertex.log.close(out);
            print_end(vertex, index, out);
            vertex.ended = Some((vertex.cached, vertex.error.clone()));
        }
    }
}

/// Which of those that go on is shown now; `None`: the current one stays.
fn next(trace: &Trace, before: Option<usize>, rest: &[usize], completed: &[usize]) -> Option<usize> {
    let waited = |at: usize| as_seconds(trace.now - trace.vertexes[at].since).max(0.001);
    let speed = |at: usize| f64::from(trace.vertexes[at].count) / waited(at);
    let too_long = |at: &usize| Some(*at) != before && waited(*at) > MAX_DELAY;
    let busiest = rest
        .iter()
        .copied()
        .reduce(|one, other| if speed(other) > speed(one) { other } else { one });

    let Some(current) = before.filter(|at| !completed.contains(at)) else {
        return rest.iter().copied().find(too_long).or(busiest);
    };
    if let Some(at) = rest.iter().copied().find(too_long) {
        return Some(at);
    }
    let all: f64 = rest
        .iter()
        .chain(Some(&current).filter(|at| !rest.contains(at)))
        .map(|at| speed(*at))
        .sum();
    let share = speed(current) / all;
    busiest.filter(|at| *at != current && ANTI_FLICKER / (1.0 - share) < waited(current))
}

/// Whether it is shown and goes on.
fn print_status(status: &mut Status, index: u32, out: &mut String) -> bool {
    status.updated = false;
    if let Some((current, at)) = status.shown.filter(|_| status.completed.is_none()) {
        // five per cent
        let progressed = status.total > 0 && (status.current - current).saturating_mul(20) >= status.total;
        if !progressed && status.at - at < STATUS_EVERY {
            return false;
        }
    }
    status.shown = Some((status.current, status.at));
    let _ = write!(out, "#{index} {}", status.id);
    if status.total != 0 {
        let _ = write!(out, " {} / {}", size(status.current), size(status.total));
    } else if status.current != 0 {
        let _ = write!(out, " {}", size(status.current));
    }
    let took = as_seconds(status.completed.unwrap_or(status.at) - status.started.unwrap_or(status.at));
    if took > 0.01 {
        let _ = write!(out, " {took:.1}s");
    }
    out.push_str(if status.completed.is_some() { " done\n" } else { "\n" });
    status.completed.is_none()
}

fn print_end(vertex: &Vertex, index: u32, out: &mut String) {
    let _ = if vertex.is_cancelled() {
        writeln!(out, "#{index} CANCELED")
    } else if !vertex.error.is_empty() {
        writeln!(out, "#{index} ERROR: {}", vertex.error)
    } else if vertex.cached {
        writeln!(out, "#{index} CACHED")
    } else {
        writeln!(out, "#{index} DONE {:.1}s", as_seconds(vertex.worked(0)))
    };
}

/// `32B`, `1.05kB`, `2.10MB`
pub(super) fn size(bytes: i64) -> String {
    for (unit, name) in [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")] {
        if bytes >= unit {
            let hundredths = (i128::from(bytes) * 100 + i128::from(unit) / 2) / i128::from(unit);
            return format!("{}.{:02}{name}", hundredths / 100, hundredths % 100);
        }
    }
    format!("{bytes}B")
}
