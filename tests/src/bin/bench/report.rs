//! The table, and the file in which a whole run is kept.

use crate::{docker, figures::Line};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::{
    fmt, fs,
    io::{self, Write as _},
    path::Path,
    thread,
};

pub(crate) struct Report {
    lines: Vec<(&'static str, Line)>,
    /// Rows that could not be measured.
    failed: Vec<&'static str>,
}

/// A line on stdout. One that nobody reads is no failure.
pub(crate) fn say(text: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            lines: Vec::new(),
            failed: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, row: &'static str, lines: Vec<Line>) {
        for line in lines {
            say(format_args!("  {}: {}", line.what, line.figure));
            self.lines.push((row, line));
        }
    }

    pub(crate) fn failed(&mut self, row: &'static str, error: &anyhow::Error) {
        say(format_args!("  {error:#}"));
        self.failed.push(row);
    }

    pub(crate) fn print(&self) {
        let mut table = vec![["row", "what", "goal", "measured", "", "samples"].map(str::to_owned)];
        for (row, line) in &self.lines {
            let verdict = if line.passed { "pass" } else { "FAIL" };
            let samples = line.samples.to_string();
            let cells = [*row, &line.what, &line.goal, &line.figure, verdict, &samples];
            table.push(cells.map(str::to_owned));
        }
        for row in &self.failed {
            table.push([*row, "could not be measured", "", "", "FAIL", "0"].map(str::to_owned));
        }
        let width = |column: usize| {
            table
                .iter()
                .map(|cells| cells[column].chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..6).map(width).collect();
        say("");
        for cells in &table {
            let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            say(padded.collect::<Vec<_>>().join("  ").trim_end());
        }
        if let Some(programs) = docker::known() {
            say(format_args!("\nthe docker command: {programs}"));
        }
    }

    /// Replaces the rows of this run in a file. It says nothing of the machine but its number of processors.
    pub(crate) fn keep(&self, file: &Path) -> anyhow::Result<()> {
        let kept: Value = match fs::read(file) {
            Ok(kept) => serde_json::from_slice(&kept).with_context(|| format!("{} is not JSON", file.display()))?,
            Err(_) => json!({}),
        };
        let is_measured = |row: &Value| self.lines.iter().any(|(name, _)| row["row"] == *name);
        let old = kept["rows"].as_array().cloned().unwrap_or_default();
        let mut rows: Vec<Value> = old.into_iter().filter(|row| !is_measured(row)).collect();
        for (row, line) in &self.lines {
            rows.push(json!({
                "row": row, "what": line.what, "goal": line.goal, "measured": line.figure, "passed": line.passed,
                "samples": line.samples, "details": line.details,
            }));
        }
        let place = |row: &Value| crate::ROWS.iter().position(|known| row["row"] == known.name);
        rows.sort_by_key(place);
        let docker = docker::known().map_or(kept["docker"].clone(), Value::from);
        let processors = thread::available_parallelism().map_or(0, usize::from);
        let whole = json!({ "processors": processors, "docker": docker, "rows": rows });
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, format!("{whole:#}\n")).with_context(|| format!("{} can't be written", file.display()))
    }

    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        ensure!(
            self.failed.is_empty(),
            "some rows could not be measured: {}",
            self.failed.join(" ")
        );
        Ok(())
    }
}
