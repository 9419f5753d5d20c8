//! `make bench`: every number that was promised, measured on the real parts against its goal.
//!
//! Rows are chosen by name (`make bench ARGS='save list'`; none means all). A whole run replaces its rows in
//! `bench/latest.json`; `--quick` takes a tenth of the samples, for trying, and keeps nothing.

mod build;
mod click;
mod docker;
mod figures;
mod git;
mod history;
mod lint;
mod list;
mod log;
mod platform;
mod queue;
mod raw;
mod report;
mod revoke;
mod save;
mod start;
mod story;
mod verify;

use anyhow::{Context as _, ensure};
use figures::Line;
use futures::future::BoxFuture;
use platform::Programs;
use report::Report;
use std::{env, path::Path};

/// What every row may use.
struct Bench {
    programs: Programs,
    quick: bool,
}

impl Bench {
    /// How many samples to take of what deserves `samples`.
    fn samples(&self, samples: usize) -> usize {
        if self.quick {
            samples.div_ceil(10).max(3)
        } else {
            samples
        }
    }
}

type Measure = for<'a> fn(&'a Bench) -> BoxFuture<'a, anyhow::Result<Vec<Line>>>;

struct Row {
    name: &'static str,
    measure: Measure,
}

const ROWS: &[Row] = &[
    Row {
        name: "click",
        measure: |bench| Box::pin(click::unchanged(bench)),
    },
    Row {
        name: "click-changed",
        measure: |bench| Box::pin(click::changed(bench)),
    },
    Row {
        name: "upload",
        measure: |bench| Box::pin(click::upload(bench)),
    },
    Row {
        name: "git",
        measure: |bench| Box::pin(git::directory_of_a_repository(bench)),
    },
    Row {
        name: "first-line",
        measure: |bench| Box::pin(click::first_line(bench)),
    },
    Row {
        name: "log-readers",
        measure: |bench| Box::pin(queue::readers(bench)),
    },
    Row {
        name: "queue",
        measure: |bench| Box::pin(queue::many(bench)),
    },
    Row {
        name: "flood",
        measure: |bench| Box::pin(queue::flood(bench)),
    },
    Row {
        name: "save",
        measure: |bench| Box::pin(save::one_at_a_time(bench)),
    },
    Row {
        name: "save-many",
        measure: |bench| Box::pin(save::many_at_a_time(bench)),
    },
    Row {
        name: "save-one",
        measure: |bench| Box::pin(save::all_on_one(bench)),
    },
    Row {
        name: "lint",
        measure: |bench| Box::pin(lint::nonsense(bench)),
    },
    Row {
        name: "list",
        measure: |bench| Box::pin(list::visible(bench)),
    },
    Row {
        name: "revoke",
        measure: |bench| Box::pin(revoke::revoked(bench)),
    },
    Row {
        name: "history",
        measure: |bench| Box::pin(history::answers(bench)),
    },
    Row {
        name: "rebuild",
        measure: |bench| Box::pin(start::rebuild(bench)),
    },
    Row {
        name: "rebuild-catalog",
        measure: |bench| Box::pin(start::rebuild_catalog(bench)),
    },
    Row {
        name: "start",
        measure: |bench| Box::pin(start::start(bench)),
    },
    Row {
        name: "start-million",
        measure: |bench| Box::pin(start::start_million(bench)),
    },
    Row {
        name: "memory",
        measure: |bench| Box::pin(start::memory(bench)),
    },
    Row {
        name: "verify",
        measure: |bench| Box::pin(verify::verify(bench)),
    },
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (options, names): (Vec<String>, Vec<String>) = env::args().skip(1).partition(|word| word.starts_with("--"));
    let known = ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(" ");
    ensure!(
        options.iter().all(|option| option == "--quick"),
        "usage: bench [--quick] [ROW...]; rows: {known}"
    );
    for name in &names {
        ensure!(
            ROWS.iter().any(|row| row.name == name),
            "there is no row `{name}`; there are {known}"
        );
    }
    let quick = !options.is_empty();
    let bench = Bench {
        programs: Programs::find()?,
        quick,
    };
    let mut report = Report::new();
    for row in ROWS
        .iter()
        .filter(|row| names.is_empty() || names.iter().any(|name| name == row.name))
    {
        report::say(format_args!("measuring {}", row.name));
        match (row.measure)(&bench)
            .await
            .with_context(|| format!("{} can't be measured", row.name))
        {
            Ok(lines) => report.add(row.name, lines),
            Err(error) => report.failed(row.name, &error),
        }
    }
    report.print();
    if !quick {
        report.keep(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/latest.json"))?;
    }
    report.verdict()
}
