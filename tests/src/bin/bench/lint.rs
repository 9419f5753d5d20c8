//! How long the linter takes for a mebibyte of what is no Dockerfile.

use crate::{
    Bench,
    figures::{Line, Samples},
};
use dockerfile::{LintOptions, lint};
use serde_json::json;
use std::{hint::black_box, time::Instant};

const BYTES: usize = 1024 * 1024;
/// What looks like a Dockerfile for longest, a piece at a time.
const PIECES: &[&str] = &[
    "FROM ",
    "RUN ",
    "COPY ",
    "ENV ",
    "ARG ",
    "ONBUILD ",
    "WORKDIR ",
    "\n",
    "\\\n",
    "\"",
    "'",
    "$",
    "${",
    "}",
    ":-",
    "#",
    "<<EOF",
    "EOF\n",
    "--mount=",
    "--from=",
    "type=bind,",
    "[",
    "]",
    ",",
    "=",
    " AS ",
    "a",
    "scratch",
    "\u{e9}",
    " ",
];
/// What a line is repeated of that would be slow in a parser that looks back.
const LINES: &[&str] = &[
    "x\n",
    "FROM a AS b\n",
    "FROM a AS b\nENV A=1\n",
    "ENV A=${A}${A}x\n",
    "ENV A=${B#*x}\n",
    "RUN a \\\n",
    "RUN <<A <<B\n",
    "ONBUILD ",
    "${A:-",
    "COPY --from=b . /x\nRUN rm -rf /x\n",
    "[",
    "EXPOSE 1 # x\n",
];

pub(crate) async fn nonsense(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let (worst, all) = tokio::task::spawn_blocking({
        let random = bench.samples(50);
        move || {
            let random = (0..random).map(|_| ("random".to_owned(), random_pieces()));
            let repeated = LINES.iter().map(|line| ((*line).to_owned(), repeated(line)));
            let names = [("many names".to_owned(), many_names())];
            let measured = random.chain(repeated).chain(names).map(|(what, text)| {
                let began = Instant::now();
                black_box(lint(&text, &LintOptions::default()));
                (began.elapsed(), what)
            });
            let measured: Vec<_> = measured.collect();
            let worst = measured.iter().max().map(|(_, what)| what.clone()).unwrap_or_default();
            (worst, Samples::new(measured.into_iter().map(|(took, _)| took)))
        }
    })
    .await?;
    Ok(vec![Line {
        what: "1 MiB of nonsense linted, the slowest kind".to_owned(),
        goal: "< 100 ms".to_owned(),
        figure: format!("{:.1} ms (p50 {:.1} ms)", all.max(), all.median()),
        passed: all.max() < 100.0,
        samples: all.count(),
        details: json!({ "lint_ms": all.details(), "slowest": worst }),
    }])
}

/// Thousands that are declared, and as many that are not.
fn many_names() -> String {
    let declared: Vec<String> = (0..4_000).map(|number| format!("ARG AN_ARGUMENT_{number}")).collect();
    let used: Vec<String> = (0..4_000).map(|number| format!("$AN_ARGUMENT_{number}")).collect();
    let run = used.join("\\\n ");
    let labels: Vec<String> = (4_000..8_000)
        .map(|number| format!("LABEL l=$AN_ARGUMENT_{number}"))
        .collect();
    format!("{}\nFROM a\nRUN {run}\n{}\n", declared.join("\n"), labels.join("\n"))
}

fn random_pieces() -> String {
    let mut text = "FROM a\n".to_owned();
    while text.len() < BYTES {
        text += PIECES[rand::random_range(0..PIECES.len())];
    }
    text
}

fn repeated(line: &str) -> String {
    let lines = line.repeat(BYTES / line.len());
    format!("FROM a\n{lines}")
}
