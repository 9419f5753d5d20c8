//! SaveSpec against what the log alone can do.

use crate::{
    Bench,
    figures::{Line, Ratio, Samples, float, rounded},
    platform::{Client, Platform, at_least},
    raw::Raw,
    story,
};
use anyhow::ensure;
use bytes::Bytes;
use eventlog::Position;
use proto::{
    editor::v1::{BuildSpec, ContextKind, GetSpecRequest, RevisionSaved, SaveSpecRequest},
    events::SpecEvent,
};
use serde_json::json;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic_types::StatusExt as _;

const CLIENTS: usize = 64;
/// Images that take turns when one save follows the other.
const IMAGES: usize = 20;
/// How long each half of a pair lasts when rates are compared.
const HALF: Duration = Duration::from_secs(1);
const WARM_UP: usize = 50;
const DOCKERFILE_LINES: usize = 30;

/// A Dockerfile of an ordinary size, and never the same.
pub(crate) fn spec(number: usize) -> BuildSpec {
    let line = |line: usize| format!("ENV SETTING_{line}=\"value {line} of revision {number}\"\n");
    let dockerfile = std::iter::once("FROM scratch\n".to_owned())
        .chain((0..DOCKERFILE_LINES).map(line))
        .collect();
    BuildSpec {
        context_kind: ContextKind::LocalFolder.into(),
        dockerfile,
        ..BuildSpec::default()
    }
}

fn request(image: &str, number: usize) -> SaveSpecRequest {
    SaveSpecRequest {
        image: image.to_owned(),
        spec: Some(spec(number)),
        ..SaveSpecRequest::default()
    }
}

/// As long as the entry of such a save.
fn payload() -> Bytes {
    let saved = SpecEvent::RevisionSaved(RevisionSaved {
        number: 1,
        spec: Some(spec(1_000)),
        ..<_>::default()
    });
    story::entry("ada", 1_750_000_000_000, ids::Ulid::from(7_u128), Position(1), &[saved])
}

struct Place {
    platform: Platform,
    images: Vec<String>,
    position: u64,
    _data: TempDir,
}

/// A platform with nothing on it but some images.
async fn place(bench: &Bench, images: usize) -> anyhow::Result<Place> {
    let data = tempfile::Builder::new().prefix("cooperage-bench-").tempdir()?;
    let platform = Platform::start(&bench.programs, data.path()).await?;
    let mut client = platform.client().await?;
    let workspace = client.workspace().await?;
    let (mut created, mut position) = (Vec::new(), 0);
    for number in 0..images {
        let (image, at) = client.image(&workspace, &format!("bench/save-{number}")).await?;
        created.push(image);
        position = at;
    }
    // The editor has to know them.
    client
        .editor
        .save_spec(at_least(request(&created[0], 0), position)?)
        .await?;
    Ok(Place {
        platform,
        images: created,
        position,
        _data: data,
    })
}

pub(crate) async fn one_at_a_time(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let place = place(bench, IMAGES).await?;
    let raw = Raw::start().await?;
    let (mut client, payload) = (place.platform.client().await?, payload());
    let (mut ours, mut theirs, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    let pairs = bench.samples(2_000);
    for pair in 0..WARM_UP + pairs {
        let ours_first = pair % 2 == 0;
        let before = if ours_first {
            None
        } else {
            Some(raw.publish(pair % IMAGES, payload.clone()).await?)
        };
        let save = request(&place.images[pair % IMAGES], pair + 1);
        let began = Instant::now();
        client.editor.save_spec(save).await?;
        let saved = began.elapsed();
        let published = match before {
            Some(published) => published,
            None => raw.publish(pair % IMAGES, payload.clone()).await?,
        };
        // What a call costs that asks for rights and rows, and writes nothing.
        let began = Instant::now();
        let image = place.images[pair % IMAGES].clone();
        client.editor.get_spec(GetSpecRequest { image, revision: None }).await?;
        if pair >= WARM_UP {
            ours.push(saved);
            theirs.push(published);
            reads.push(began.elapsed());
        }
    }
    place.platform.stop()?;
    let (ours, theirs, reads) = (Samples::new(ours), Samples::new(theirs), Samples::new(reads));
    let line = |percent, goal: f64| {
        let ratio = Ratio {
            ours: ours.percentile(percent),
            theirs: theirs.percentile(percent),
        };
        Line {
            what: format!("SaveSpec p{percent} against a raw publish of {} bytes", payload.len()),
            goal: format!("<= {goal} x"),
            figure: format!("{}; GetSpec {:.2}", ratio.text("ms"), reads.percentile(percent)),
            passed: ratio.value() <= goal,
            samples: ours.count(),
            details: json!({ "save_ms": ours.details(), "raw_ms": theirs.details(), "get_spec_ms": reads.details() }),
        }
    };
    Ok(vec![line(50, 2.0), line(99, 5.0)])
}

pub(crate) async fn many_at_a_time(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let place = place(bench, CLIENTS).await?;
    let raw = Raw::start().await?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(place.platform.client().await?);
    }
    let payload = payload();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..=bench.samples(30) {
        let (saves, publishes) = if pair % 2 == 0 {
            let saves = rate(&place, &clients, pair).await?;
            (saves, raw.rate(CLIENTS, &payload, HALF).await?)
        } else {
            let publishes = raw.rate(CLIENTS, &payload, HALF).await?;
            (rate(&place, &clients, pair).await?, publishes)
        };
        // The first pair warms up.
        if pair > 0 {
            ours.push(saves);
            theirs.push(publishes);
        }
    }
    place.platform.stop()?;
    let (ours, theirs) = (Samples::of(ours), Samples::of(theirs));
    let ratio = Ratio {
        ours: ours.median(),
        theirs: theirs.median(),
    };
    Ok(vec![Line {
        what: format!(
            "SaveSpec/s, {CLIENTS} clients on distinct images, against raw publishes with {CLIENTS} in flight"
        ),
        goal: ">= 0.5 x".to_owned(),
        figure: ratio.text("a second"),
        passed: ratio.value() >= 0.5,
        samples: ours.count(),
        details: json!({ "saves_per_second": ours.details(), "raw_per_second": theirs.details() }),
    }])
}

/// Saves a second, when every client saves its own image again and again.
async fn rate(place: &Place, clients: &[Client], round: usize) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut savers = JoinSet::new();
    for (client, image) in clients.iter().zip(&place.images) {
        let (mut editor, image) = (client.editor.clone(), image.clone());
        savers.spawn(async move {
            let mut done = 0;
            while began.elapsed() < HALF {
                done += 1;
                editor.save_spec(request(&image, round * 1_000_000 + done)).await?;
            }
            anyhow::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(saved) = savers.join_next().await {
        done += saved??;
    }
    Ok(float(done) / began.elapsed().as_secs_f64())
}

pub(crate) async fn all_on_one(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let place = place(bench, 1).await?;
    let each = bench.samples(50);
    let mut savers = JoinSet::new();
    for client in 0..CLIENTS {
        let mut editor = place.platform.client().await?.editor;
        let (image, position) = (place.images[0].clone(), place.position);
        savers.spawn(async move {
            let mut ended = Vec::new();
            for number in 0..each {
                let save = at_least(request(&image, (client + 1) * 1_000_000 + number), position)?;
                let began = Instant::now();
                let saved = editor.save_spec(save).await;
                let reason = saved.err().map(|status| {
                    let info = status.get_details_error_info();
                    info.map_or_else(|| status.to_string(), |info| info.reason)
                });
                ended.push((began.elapsed(), reason));
            }
            anyhow::Ok(ended)
        });
    }
    let mut ended = Vec::new();
    while let Some(saved) = savers.join_next().await {
        ended.extend(saved??);
    }
    place.platform.stop()?;
    ensure!(ended.len() == CLIENTS * each, "some calls did not end");
    let failures: Vec<&str> = ended.iter().filter_map(|(_, reason)| reason.as_deref()).collect();
    let contended = failures.iter().filter(|&&reason| reason == "CONTENDED").count();
    let others = failures.len() - contended;
    let percent = float(contended) * 100.0 / float(ended.len());
    let took = Samples::new(ended.iter().map(|(took, _)| *took));
    Ok(vec![Line {
        what: format!("{CLIENTS} clients on one image, {each} saves each"),
        goal: "all end, CONTENDED < 1 %".to_owned(),
        figure: format!(
            "{percent:.2} % contended, {others} failed otherwise, slowest {:.0} ms",
            took.max()
        ),
        passed: percent < 1.0 && others == 0,
        samples: ended.len(),
        details: json!({ "contended_percent": rounded(percent), "failures": failures, "save_ms": took.details() }),
    }])
}
