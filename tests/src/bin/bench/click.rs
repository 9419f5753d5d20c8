//! From the click on BUILD until the image can be pulled, against the docker command doing the same.

use crate::{
    Bench,
    build::{Context, Image},
    docker::Docker,
    figures::{Line, Ratio, Samples, float, rounded},
    platform::Platform,
};
use rand::RngCore as _;
use serde_json::json;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const DOCKERFILE: &str = "FROM scratch\nCOPY small /small\nCOPY large /large\nENV TOOL=large\n";
const SMALL: usize = 4 << 10;
const UNCHANGED: usize = 1 << 20;
const CHANGED: usize = 100 << 20;
const UPLOADED: usize = 1 << 30;
const NAME: &str = "bench/tool";

struct Place {
    platform: Platform,
    image: Image,
    docker: Docker,
    context: Context,
    /// What the docker command pushes to.
    reference: String,
    folder: TempDir,
}

impl Place {
    async fn start(bench: &Bench, large: usize) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("cooperage-bench-").tempdir()?;
        let context = Context {
            folder: folder.path().join("context"),
            files: vec!["large", "small"],
            dockerfile: DOCKERFILE.to_owned(),
        };
        fs::create_dir(&context.folder)?;
        fs::write(context.folder.join("Dockerfile"), DOCKERFILE)?;
        fill(&context.folder.join("small"), SMALL)?;
        fill(&context.folder.join("large"), large)?;
        let docker = Docker::find().await?;
        let platform = Platform::start(&bench.programs, &folder.path().join("data")).await?;
        let mut image = Image::create(&platform, NAME).await?;
        let reference = format!("{}/{NAME}-by-docker:latest", platform.registry()?);
        // Both have done it before.
        image.save(&context).await?;
        image.click().await?;
        docker.build_and_push(&context.folder, &reference).await?;
        Ok(Self {
            platform,
            image,
            docker,
            context,
            reference,
            folder,
        })
    }

    async fn theirs(&self) -> anyhow::Result<Duration> {
        self.docker.build_and_push(&self.context.folder, &self.reference).await
    }

    /// New content, which neither way has seen.
    fn change(&self) -> anyhow::Result<()> {
        fill(&self.context.folder.join("large"), CHANGED)
    }

    async fn end(self) -> anyhow::Result<()> {
        self.docker.remove(&self.reference).await;
        self.platform.stop()?;
        self.folder.close()?;
        Ok(())
    }
}

/// Bytes that can't be compressed.
pub(crate) fn fill(file: &Path, bytes: usize) -> anyhow::Result<()> {
    let mut content = vec![0; bytes];
    let mut random: rand::rngs::SmallRng = rand::SeedableRng::seed_from_u64(rand::random());
    random.fill_bytes(&mut content);
    fs::write(file, content)?;
    Ok(())
}

pub(crate) async fn unchanged(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let mut place = Place::start(bench, UNCHANGED).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..bench.samples(40) {
        if pair % 2 == 0 {
            ours.push(place.image.click().await?);
            theirs.push(place.theirs().await?);
        } else {
            theirs.push(place.theirs().await?);
            ours.push(place.image.click().await?);
        }
    }
    place.end().await?;
    let what = "click -> pullable by digest, unchanged, against `docker build && docker push`";
    Ok(vec![line(what, 1.0, &Samples::new(ours), &Samples::new(theirs))])
}

pub(crate) async fn changed(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let mut place = Place::start(bench, CHANGED).await?;
    let (mut whole, mut after_upload, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..bench.samples(30) {
        if pair % 2 == 1 {
            place.change()?;
            theirs.push(place.theirs().await?);
        }
        place.change()?;
        let began = Instant::now();
        let uploaded = place.image.upload(&place.context).await?;
        let uploaded_at = Instant::now();
        place.image.save_with(&place.context, uploaded).await?;
        place.image.click().await?;
        whole.push(began.elapsed());
        after_upload.push(uploaded_at.elapsed());
        if pair % 2 == 0 {
            place.change()?;
            theirs.push(place.theirs().await?);
        }
    }
    place.end().await?;
    let theirs = Samples::new(theirs);
    let what = "the same, one file of 100 MiB changed: from the end of the upload";
    Ok(vec![
        line(what, 1.1, &Samples::new(after_upload), &theirs),
        line("the same, upload included", 1.25, &Samples::new(whole), &theirs),
    ])
}

fn line(what: &str, goal: f64, ours: &Samples, theirs: &Samples) -> Line {
    let ratio = Ratio {
        ours: ours.median(),
        theirs: theirs.median(),
    };
    Line {
        what: what.to_owned(),
        goal: format!("<= {goal:.2} x"),
        figure: ratio.text("ms"),
        passed: ratio.value() <= goal,
        samples: ours.count(),
        details: json!({ "click_ms": ours.details(), "docker_ms": theirs.details() }),
    }
}

pub(crate) async fn upload(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let folder = tempfile::Builder::new().prefix("cooperage-bench-").tempdir()?;
    let context = Context {
        folder: folder.path().to_owned(),
        files: vec!["large"],
        dockerfile: DOCKERFILE.to_owned(),
    };
    fill(&context.folder.join("large"), UPLOADED)?;
    let platform = Platform::start(&bench.programs, &folder.path().join("data")).await?;
    let mut image = Image::create(&platform, NAME).await?;
    let began = Instant::now();
    let grown = platform.grown(image.upload(&context)).await?;
    let took = began.elapsed().as_secs_f64();
    platform.stop()?;
    let mib = float(grown / 1024) / 1024.0;
    Ok(vec![Line {
        what: "context upload of 1 GiB: peak extra memory of the process".to_owned(),
        goal: "<= 64 MB".to_owned(),
        figure: format!("{mib:.0} MiB ({:.0} MiB/s)", 1024.0 / took),
        passed: grown <= 64_000_000,
        samples: 1,
        details: json!({ "grown_mib": rounded(mib), "seconds": rounded(took) }),
    }])
}

pub(crate) async fn first_line(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let mut place = Place::start(bench, UNCHANGED).await?;
    let mut taken = Vec::new();
    for _ in 0..bench.samples(50) {
        taken.push(place.image.first_line().await?);
    }
    place.end().await?;
    let taken = Samples::new(taken);
    Ok(vec![Line {
        what: "click -> first log line, idle, p99".to_owned(),
        goal: "<= 150 ms".to_owned(),
        figure: format!("{:.0} ms (p50 {:.0} ms)", taken.percentile(99), taken.median()),
        passed: taken.percentile(99) <= 150.0,
        samples: taken.count(),
        details: json!({ "first_line_ms": taken.details() }),
    }])
}
