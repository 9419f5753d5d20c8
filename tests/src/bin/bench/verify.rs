//! Verifying a long log: every entry is read from it, hashed, and held against the checkpoints.

use crate::{
    Bench,
    figures::{Line, Samples, float},
    log,
    platform::{Platform, Programs, USER},
};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tokio::time::sleep;

const ENTRIES: usize = 1_000_000;
/// How long the tree may take to grow to its first checkpoint.
const PATIENCE: Duration = Duration::from_mins(3);
const NOT_NOW: i32 = 75;

pub(crate) async fn verify(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let folder = log::folder(bench, ENTRIES).await?;
    let platform = Platform::start(&bench.programs, &folder).await?;
    let (programs, server) = (&bench.programs, platform.server()?);
    let token = token(programs, &folder)?;
    let through_server = || {
        let words = ["verify", "--output", "json", "--server", &server];
        run(programs, &folder, &words, &token)
    };
    let began = Instant::now();
    while through_server()?.is_none() {
        ensure!(began.elapsed() < PATIENCE, "no checkpoint after {PATIENCE:?}");
        sleep(Duration::from_secs(1)).await;
    }
    let mut served = Vec::new();
    for _ in 0..bench.samples(5) {
        served.push(through_server()?.context("the checkpoint is gone")?);
    }
    platform.stop()?;
    let data = folder.to_string_lossy();
    let mut stored = Vec::new();
    for _ in 0..bench.samples(5) {
        let words = ["verify", "--output", "json", "--data", &data];
        stored.push(run(programs, &folder, &words, "")?.context("the checkpoint is gone")?);
    }
    Ok(vec![
        line("through the server", &served),
        line(
            "from the files of a stopped platform, with the start of their server",
            &stored,
        ),
    ])
}

fn line(how: &str, runs: &[(u64, Duration)]) -> Line {
    let entries = runs.first().map_or(0, |(entries, _)| *entries);
    let taken = Samples::new(runs.iter().map(|(_, taken)| *taken));
    let rate = float(entries) / taken.median() * 1_000.0;
    Line {
        what: format!("`cooper verify` of a log of {entries} entries, {how}"),
        goal: ">= 100000 entries/s".to_owned(),
        figure: format!("{rate:.0} entries/s ({:.2} s)", taken.median() / 1_000.0),
        passed: rate >= 100_000.0,
        samples: taken.count(),
        details: json!({ "verify_ms": taken.details() }),
    }
}

fn token(programs: &Programs, data: &Path) -> anyhow::Result<String> {
    let mut command = programs.command();
    command
        .args(["token", "create", "--admin", "--user", USER, "--data"])
        .arg(data);
    Ok(String::from_utf8(command.output()?.stdout)?.trim().to_owned())
}

/// How many entries were verified, and how long that took; None while there is no checkpoint.
fn run(programs: &Programs, data: &Path, words: &[&str], token: &str) -> anyhow::Result<Option<(u64, Duration)>> {
    let home = data.join("config");
    fs::create_dir_all(&home)?;
    let mut command = programs.command();
    command
        .args(words)
        .env("COOPERAGE_TOKEN", token)
        .env("XDG_CONFIG_HOME", home);
    let began = Instant::now();
    let ended = command.output()?;
    let taken = began.elapsed();
    if ended.status.code() == Some(NOT_NOW) {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "the log is not verified: {said}");
    let answer: Value = serde_json::from_slice(&ended.stdout)?;
    let entries = answer["entries"].as_u64().context("nothing was verified")?;
    Ok(Some((entries, taken)))
}
