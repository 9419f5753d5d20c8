//! The output of one vertex: cut into lines, each with the time since the vertex began.

use super::{clean::Clean, print::size};
use std::{collections::VecDeque, fmt::Write, mem};

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
    clean: Clean,
    /// A line was ended by a carriage return, to which a line end may belong.
    returned: bool,
    /// Bytes that were not taken, and not told of yet.
    dropped: usize,
    tail: VecDeque<String>,
}

impl Log {
    /// `after`: nanoseconds since the vertex began.
    pub(super) fn append(&mut self, after: i64, bytes: &[u8]) {
        self.tell_dropped();
        let text = self.decode(bytes);
        // Who writes over a line again and again shows progress, which has lines of its own here.
        for piece in text.split_inclusive(['\n', '\r']) {
            let returned = mem::replace(&mut self.returned, piece.ends_with('\r'));
            if (returned && piece == "\n") || (piece == "\r" && !self.open) {
                continue;
            }
            let line = piece.trim_end_matches(['\n', '\r']);
            if !self.open {
                let mut begun = format!("{} ", seconds(after));
                self.clean.begin_line(&mut begun);
                self.lines.push(begun);
            }
            if let Some(last) = self.lines.last_mut() {
                self.clean.text(line, last);
                self.open = line.len() == piece.len() && last.len() < LINE_MAX;
            }
            if !self.open {
                self.end_line();
            }
        }
    }

    /// Output of which only the size is told, where it is missing.
    pub(super) fn drop(&mut self, bytes: usize) {
        self.dropped += bytes;
        self.undecoded.clear();
    }

    pub(super) fn tell_dropped(&mut self) {
        if self.dropped == 0 {
            return;
        }
        if self.open {
            self.end_line();
        }
        let dropped = size(i64::try_from(mem::take(&mut self.dropped)).unwrap_or(i64::MAX));
        self.lines.push(format!("... {dropped} dropped: it came too fast"));
        self.end_line();
    }

    fn end_line(&mut self) {
        self.open = false;
        if let Some(last) = self.lines.last_mut() {
            self.clean.end_line(last);
            if self.tail.len() == TAIL_LINES {
                self.tail.pop_front();
            }
            self.tail.push_back(last.clone());
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
            self.clean.interrupt(out);
            out.push('\n');
        }
        self.shown = 0;
    }

    /// No more will come.
    pub(super) fn close(&mut self, out: &mut String) {
        self.leave(out);
        if self.open {
            self.end_line();
        }
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
