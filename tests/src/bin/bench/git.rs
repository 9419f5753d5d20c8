//! A build from one directory of a large repository, against cloning it and building with the docker command.

use crate::{
    Bench,
    build::Image,
    click::fill,
    docker::Docker,
    figures::{Line, Ratio, Samples},
    platform::Platform,
};
use anyhow::ensure;
use proto::editor::v1::{BuildSpec, ContextKind, GitSource};
use serde_json::json;
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use tests::git::GitServer;

const DOCKERFILE: &str = "FROM scratch\nCOPY . /app\n";
const DIRECTORY: &str = "services/app";
const DIRECTORY_BYTES: usize = 1 << 20;
const FILES: usize = 100;
const FILE_BYTES: usize = 2 << 20;
pub(crate) async fn directory_of_a_repository(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let folder = tempfile::Builder::new().prefix("cooperage-bench-").tempdir()?;
    let server = GitServer::start();
    let dockerfile = format!("{DIRECTORY}/Dockerfile");
    server.commit(&[(&dockerfile, DOCKERFILE), ("other/README", "")]);
    for number in 0..FILES {
        fill(&server.repository().join(format!("other/{number}")), FILE_BYTES)?;
    }
    let docker = Docker::find().await?;
    let settings = ["COOPERAGE_BUILDER__GIT_HTTP", "COOPERAGE_BUILDER__GIT_PRIVATE_HOSTS"];
    let settings = settings.map(|name| (name, "true".to_owned()));
    let platform = Platform::with(&bench.programs, &folder.path().join("data"), &settings).await?;
    let mut image = Image::create(&platform, "bench/git").await?;
    let spec = BuildSpec {
        context_kind: ContextKind::GitRepository.into(),
        git: Some(GitSource {
            url: server.url(),
            directory: DIRECTORY.to_owned(),
            ..GitSource::default()
        }),
        ..BuildSpec::default()
    };
    image.save_spec(spec).await?;
    let reference = format!("{}/bench/git-by-docker:latest", platform.registry()?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // the first pair is not counted
    for pair in 0..=bench.samples(20) {
        // content that neither way has seen
        fill(&server.repository().join(DIRECTORY).join("file"), DIRECTORY_BYTES)?;
        server.commit(&[]);
        let clone = folder.path().join(format!("clone-{pair}"));
        let (our_time, their_time) = if pair % 2 == 0 {
            let first = image.click().await?;
            (first, cloned(&server, &clone, &docker, &reference).await?)
        } else {
            let first = cloned(&server, &clone, &docker, &reference).await?;
            (image.click().await?, first)
        };
        if pair > 0 {
            ours.push(our_time);
            theirs.push(their_time);
        }
    }
    docker.remove(&reference).await;
    platform.stop()?;
    folder.close()?;
    let (ours, theirs) = (Samples::new(ours), Samples::new(theirs));
    let ratio = Ratio {
        ours: ours.median(),
        theirs: theirs.median(),
    };
    Ok(vec![Line {
        what:
            "1 MiB of a repository of 200 MiB -> pullable, against `git clone --depth 1 && docker build && docker push`"
                .to_owned(),
        goal: "<= 1.00 x".to_owned(),
        figure: ratio.text("ms"),
        passed: ratio.value() <= 1.0,
        samples: ours.count(),
        details: json!({ "click_ms": ours.details(), "docker_ms": theirs.details() }),
    }])
}

async fn cloned(server: &GitServer, to: &Path, docker: &Docker, reference: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let cloned = Command::new("git")
        .args(["clone", "--quiet", "--depth", "1", &server.url()])
        .arg(to)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .status()?;
    ensure!(cloned.success(), "git clone failed");
    let elapsed = began.elapsed();
    let built = docker.build_and_push(&to.join(DIRECTORY), reference).await?;
    std::fs::remove_dir_all(to)?;
    Ok(elapsed + built)
}
