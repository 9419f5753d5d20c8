//! The one place that writes to the terminal: answers to stdout, everything else to stderr.

mod json;
mod style;
mod table;
mod words;

pub(crate) use json::{object, object_of};
pub(crate) use style::{Style, Tone};
pub(crate) use table::{Cell, Table, plain};
pub(crate) use words::*;

use crate::failure::Failure;
use clap::ValueEnum;
use std::io::{self, Write as _};

/// How answers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    // proto3 JSON.
    Json,
}

/// What is written, and how.
pub(crate) struct Output {
    pub(crate) format: Format,
    /// Only ids and names.
    pub(crate) quiet: bool,
    /// How stdout is coloured.
    pub(crate) style: Style,
    /// How stderr is coloured.
    pub(crate) margin: Style,
    stdout: io::Stdout,
    stderr: io::Stderr,
}

impl Output {
    pub(crate) fn new(format: Format, quiet: bool, no_color: bool) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        Self {
            format,
            quiet,
            style: Style::of(&stdout, no_color),
            margin: Style::of(&stderr, no_color),
            stdout,
            stderr,
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes a line to stdout.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(text.as_ref().as_bytes())?;
        stdout.write_all(b"\n")?;
        Ok(stdout.flush()?)
    }

    /// Writes bytes as they are to stdout.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// Writes bytes as they are to stderr: a build's log, while the answer is still to come.
    pub(crate) fn aside(&self, bytes: &[u8]) {
        if !self.quiet {
            let mut stderr = self.stderr.lock();
            // Whoever closed it does not want to know.
            let _ = stderr.write_all(bytes).and_then(|()| stderr.flush());
        }
    }

    /// Says something beside the answer, on stderr.
    pub(crate) fn notice(&self, text: impl AsRef<str>) {
        self.aside(format!("{}\n", plain(text.as_ref())).as_bytes());
    }

    /// The same in a colour.
    pub(crate) fn toned_notice(&self, tone: Tone, text: impl AsRef<str>) {
        let text = self.margin.paint(tone, &plain(text.as_ref()));
        self.aside(format!("{text}\n").as_bytes());
    }

    /// Says on stderr what has to be said with `-q` too.
    pub(crate) fn urgent(&self, text: &str) {
        // Whoever closed it does not want to know.
        let _ = writeln!(self.stderr.lock(), "{}", plain(text));
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        let sentence = plain(&failure.to_string());
        if !sentence.is_empty() && self.is_json() {
            // One line, as on stdout in a pipe.
            let _ = writeln!(self.stderr.lock(), "{}", failure.to_json());
        } else if !sentence.is_empty() {
            let error = self.margin.paint(Tone::Bad, "error:");
            let _ = writeln!(self.stderr.lock(), "{error} {sentence}");
        }
    }

    /// Writes a message as JSON.
    pub(crate) fn json(&self, message: &impl prost::Name) -> Result<(), Failure> {
        self.value(&object(message))
    }

    pub(crate) fn value(&self, value: &serde_json::Value) -> Result<(), Failure> {
        // On a terminal for the eye, in a pipe one line per message.
        let text = if self.style.terminal {
            format!("{value:#}")
        } else {
            value.to_string()
        };
        self.line(text)
    }

    /// The answer of one call: all of it for a program, one word with `-q`, else a sentence.
    pub(crate) fn answer(&self, message: &impl prost::Name, word: &str, sentence: &str) -> Result<(), Failure> {
        match (self.format, self.quiet) {
            (Format::Json, _) => self.json(message),
            (Format::Table, true) => self.line(word),
            (Format::Table, false) => self.line(plain(sentence)),
        }
    }

    /// The answer of a list. When it has no rows, a notice says so, and what to do.
    pub(crate) fn list(&self, message: &impl prost::Name, table: &Table, empty: &str) -> Result<(), Failure> {
        if self.is_json() {
            return self.json(message);
        }
        self.rows(table, empty)
    }

    /// The same for people only.
    pub(crate) fn rows(&self, table: &Table, empty: &str) -> Result<(), Failure> {
        if self.quiet {
            return table.keys().try_for_each(|key| self.line(key));
        }
        if table.is_empty() {
            self.notice(empty);
            return Ok(());
        }
        self.raw(table.render(self.style, self.style.width()).as_bytes())
    }

    /// The facts of one thing, whole: somebody may want to copy them.
    pub(crate) fn facts(&self, facts: &Table) -> Result<(), Failure> {
        self.raw(facts.render(self.style, None).as_bytes())
    }
}
