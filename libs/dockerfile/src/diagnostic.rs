//! What is found in a Dockerfile, and where.

use std::{collections::BTreeMap, ops::Range};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It builds, and could be better.
    Info,
    /// It builds, and probably not what is meant.
    Warning,
    /// It does not build here.
    Error,
}

/// Lines and columns count from 1, columns in characters; the end is behind the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub line: u32,
    pub column: u32,
    pub end_line: u32,
    pub end_column: u32,
    pub severity: Severity,
    /// As Docker's own build checks are called, where it has the same.
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

/// A diagnostic by bytes of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) at: Range<usize>,
    pub(crate) severity: Severity,
    pub(crate) rule: &'static str,
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl Problem {
    pub(crate) fn new(
        severity: Severity,
        rule: &'static str,
        at: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            at,
            severity,
            rule,
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub(crate) fn error(
        rule: &'static str,
        at: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, rule, at, message, hint)
    }
}

/// Lines and columns for bytes, in one pass: a line may be long, and many problems on it.
pub(crate) fn placed(text: &str, problems: Vec<Problem>) -> Vec<Diagnostic> {
    let mut places: BTreeMap<usize, (u32, u32)> = problems
        .iter()
        .flat_map(|problem| [problem.at.start, problem.at.end])
        .map(|at| (at, (0, 0)))
        .collect();
    let (mut line, mut column, mut from) = (1, 1, 0);
    for (at, place) in &mut places {
        let at = text.floor_char_boundary(*at);
        for c in text[from..at].chars() {
            (line, column) = match c {
                '\n' => (line + 1, 1),
                // A byte-order mark is nothing that one sees.
                '\u{feff}' if line == 1 && column == 1 => (line, column),
                _ => (line, column + 1),
            };
        }
        from = at;
        *place = (line, column);
    }
    let place = |at: usize| places.get(&at).copied().unwrap_or_default();
    let placed = problems.into_iter().map(|problem| {
        let ((line, column), (end_line, end_column)) = (place(problem.at.start), place(problem.at.end));
        Diagnostic {
            line,
            column,
            end_line,
            end_column,
            severity: problem.severity,
            rule: problem.rule,
            message: problem.message,
            hint: problem.hint,
        }
    });
    placed.collect()
}
