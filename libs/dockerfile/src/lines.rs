//! Lines as BuildKit joins them: directives, comments, continuations. After its `frontend/dockerfile/parser/parser.go`.

use std::ops::Range;

/// BuildKit stops at a line with more bytes.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024 - 1;

/// The lines of a text with their ends, up to one that is too long.
pub(crate) struct Lines<'a> {
    text: &'a str,
    /// The byte at which the next line begins.
    pub(crate) at: usize,
    /// How many were taken.
    pub(crate) number: u32,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        // A byte-order mark is not part of the first line.
        let at = if text.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        };
        Self { text, at, number: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let line = rest.find('\n').map_or(rest, |end| &rest[..=end]);
        if line.strip_suffix('\n').unwrap_or(line).len() > LINE_BYTES_MAX {
            return None;
        }
        self.at += line.len();
        self.number += 1;
        Some(line)
    }
}

pub(crate) fn without_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

pub(crate) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// What is before the mark at its end that says that the line goes on.
fn continued(line: &str, escape: char) -> Option<&str> {
    let before = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!before.ends_with(escape)).then_some(before)
}

/// A line of an instruction.
#[derive(Debug, Clone, Copy)]
struct Part {
    in_text: usize,
    in_file: usize,
    line: u32,
}

/// An instruction's lines in one, as the engine reads them, and where each part of it is in the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joined {
    pub(crate) text: String,
    /// For the first and for every line that continues it.
    parts: Vec<Part>,
    pub(crate) lines: (u32, u32),
    /// The first empty line among those that continue it.
    pub(crate) empty_line: Option<usize>,
}

impl Joined {
    /// Starts at a line that is neither empty nor a comment, and takes those that continue it.
    pub(crate) fn read(first: &str, at: usize, lines: &mut Lines<'_>, escape: char) -> Option<Self> {
        let mut joined = Self {
            lines: (lines.number, lines.number),
            ..Self::default()
        };
        let mut goes_on = joined.push(first, at, escape);
        if !goes_on && joined.text.is_empty() {
            return None;
        }
        while goes_on {
            let at = lines.at;
            let Some(line) = lines.next() else { break };
            joined.lines.1 = lines.number;
            if is_comment(line) {
                continue;
            }
            let line = without_end(line);
            if line.trim_start().is_empty() {
                joined.empty_line.get_or_insert(at);
                continue;
            }
            goes_on = joined.push(line, at, escape);
        }
        Some(joined)
    }

    fn push(&mut self, line: &str, at: usize, escape: char) -> bool {
        let before = continued(line, escape);
        self.parts.push(Part {
            in_text: self.text.len(),
            in_file: at,
            line: self.lines.1,
        });
        self.text += before.unwrap_or(line);
        before.is_some()
    }

    /// The line on which a place of the text is, and how many of them are up to it.
    fn part(&self, place: usize) -> (Part, usize) {
        let until = self.parts.partition_point(|part| part.in_text <= place).max(1);
        let first = Part {
            in_text: 0,
            in_file: 0,
            line: self.lines.0,
        };
        (self.parts.get(until - 1).copied().unwrap_or(first), until)
    }

    /// Where in the file a part of the text is; it ends on the line on which it begins.
    pub(crate) fn place(&self, at: Range<usize>) -> Range<usize> {
        let (part, until) = self.part(at.start);
        let line_end = self.parts.get(until).map_or(self.text.len(), |next| next.in_text);
        let end = at.end.min(line_end).max(at.start);
        part.in_file + (at.start - part.in_text)..part.in_file + (end - part.in_text)
    }

    /// The number of the line on which a place of the text is.
    pub(crate) fn line(&self, place: usize) -> u32 {
        self.part(place).0.line
    }

    /// Whether another line follows the one that a place of the text is on.
    pub(crate) fn goes_on_after(&self, place: usize) -> bool {
        self.parts.last().is_some_and(|last| place < last.in_text)
    }

    /// The part of it behind a place, such as the instruction within ONBUILD.
    pub(crate) fn behind(&self, place: usize) -> Self {
        let (first, until) = self.part(place);
        let mut parts = vec![Part {
            in_text: 0,
            in_file: first.in_file + (place - first.in_text),
            line: first.line,
        }];
        parts.extend(self.parts.iter().skip(until).map(|part| Part {
            in_text: part.in_text - place,
            ..*part
        }));
        Self {
            text: self.text[place..].to_owned(),
            parts,
            lines: self.lines,
            empty_line: None,
        }
    }
}
