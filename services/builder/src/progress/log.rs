//! The output of one vertex: cut into lines, each with the time since the vertex began.

use std::{collections::VecDeque, fmt::Write};

/// A longer line is cut in two, so that output without line ends is not kept whole.
const LINE_MAX: usize = 64 * 1024;
/// What is repeated at the end when the vertex failed.
const TAIL_LINES: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Log {
    /// Not shown yet, but for the first `shown` bytes.
    lines: Vec<String>,
    /// The last line may go on.
    open: bool,
    shown: usize,
    /// The beginning of a character of several bytes.
    undecoded: Vec<u8>,
    tail: VecDeque<String>,
}

impl Log {
    /// `after`: nanoseconds since the vertex began.
    pub(super) fn append(&mut self, after: i64, bytes: &[u8]) {
        let text = self.decode(bytes);
        for piece in text.split_inclusive('\n') {
            let line = piece.strip_suffix('\n').unwrap_or(piece);
            match self.lines.last_mut() {
                Some(last) if self.open => last.push_str(line),
                _ => self.lines.push(format!("{} {line}", seconds(after))),
            }
            let length = self.lines.last().map_or(0, String::len);
            self.open = line.len() == piece.len() && length < LINE_MAX;
            if !self.open {
                if self.tail.len() == TAIL_LINES {
                    self.tail.pop_front();
                }
                self.tail.extend(self.lines.last().cloned());
            }
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.lines.len() > 1 || self.lines.first().is_some_and(|line| line.len() > self.shown)
    }

    /// Writes what is new. An open line stays for its rest.
    pub(super) fn show(&mut self, index: u32, out: &mut String) {
        let last = self.lines.len().saturating_sub(1);
        for (at, line) in self.lines.iter().enumerate() {
            if at == 0 && self.shown > 0 {
                out.push_str(&line[self.shown..]);
            } else {
                let _ = write!(out, "#{index} {line}");
            }
            if at != last || !self.open {
                out.push('\n');
            }
        }
        self.shown = 0;
        if self.open {
            self.lines.drain(..last);
            self.shown = self.lines.first().map_or(0, String::len);
        } else {
            self.lines.clear();
        }
    }

    /// Something else is shown next. An open line is shown from its beginning when it is this one's turn again.
    pub(super) fn leave(&mut self, out: &mut String) {
        if self.shown > 0 {
            out.push('\n');
        }
        self.shown = 0;
    }

    /// No more will come.
    pub(super) fn close(&mut self, out: &mut String) {
        self.leave(out);
        if self.open {
            self.tail.extend(self.lines.drain(..));
        }
        self.open = false;
        self.lines.clear();
    }

    pub(super) fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }

    /// A character that came in two messages is held back until it is whole; what is no text is shown as such.
    fn decode(&mut self, bytes: &[u8]) -> String {
        self.undecoded.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = &self.undecoded[..];
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(invalid) = error.error_len() else {
                        rest = after;
                        break;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[invalid..];
                }
            }
        }
        self.undecoded = rest.to_vec();
        text
    }
}

/// Always about four digits, as Docker prints them.
fn seconds(nanos: i64) -> String {
    let seconds = as_seconds(nanos);
    let digits = if seconds < 10.0 {
        3
    } else {
        usize::from(seconds < 100.0) + 1
    };
    format!("{seconds:.digits$}")
}

/// Exact to the microsecond for a century; the log shows milliseconds.
pub(super) fn as_seconds(nanos: i64) -> f64 {
    std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)).as_secs_f64()
}
