//! The docker command that we are compared with: pinned, and named in the report.

use anyhow::{Context as _, bail};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::OnceLock,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::process::Command;

/// The pinned client, which `deploy/engines.sh fetch` brings.
const PINNED: &str = ".tools/engines/28.5/usr";
static KNOWN: OnceLock<String> = OnceLock::new();

/// Client, builder and engine, once they were used.
pub(crate) fn known() -> Option<&'static str> {
    KNOWN.get().map(String::as_str)
}

pub(crate) struct Docker {
    program: PathBuf,
    config: TempDir,
}

impl Docker {
    pub(crate) async fn find() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        let fetched = Command::new(root.join("deploy/engines.sh")).arg("fetch").output().await;
        let pinned = root.join(PINNED).join("bin/docker");
        let program = if pinned.exists() {
            pinned
        } else {
            let why = fetched.map_or_else(|error| error.to_string(), |output| said(&output));
            crate::report::say(format_args!(
                "  the pinned docker command is not here, taking the machine's: {why}"
            ));
            PathBuf::from("docker")
        };
        let config = tempfile::Builder::new().prefix("cooperage-bench-").tempdir()?;
        let plugins = root.join(PINNED).join("libexec/docker/cli-plugins");
        let settings = json!({ "cliPluginsExtraDirs": [plugins] });
        fs::write(config.path().join("config.json"), settings.to_string())?;
        let docker = Self { program, config };
        let version = docker
            .run(&["version", "--format", "{{.Client.Version}}, engine {{.Server.Version}}"])
            .await;
        let builder = docker.run(&["buildx", "version"]).await;
        let builder = builder.unwrap_or_else(|_| "the one built in".to_owned());
        // `github.com/docker/buildx 0.29.1+ds1 commit`
        let builder = builder.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        let _ = KNOWN.set(format!("client {}, builder {builder}", version?.trim()));
        Ok(docker)
    }

    async fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .args(words)
            .env("DOCKER_CONFIG", self.config.path())
            .env("DOCKER_BUILDKIT", "1")
            .output()
            .await
            .with_context(|| format!("{} can't be started", self.program.display()))?;
        if !output.status.success() {
            bail!("docker {} failed: {}", words.join(" "), said(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `docker build && docker push`
    pub(crate) async fn build_and_push(&self, folder: &Path, reference: &str) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.build(folder, reference).await?;
        self.run(&["push", reference]).await?;
        Ok(began.elapsed())
    }

    /// `docker build`
    pub(crate) async fn build(&self, folder: &Path, reference: &str) -> anyhow::Result<()> {
        let folder = folder.to_string_lossy();
        self.run(&["build", "--tag", reference, &folder]).await?;
        Ok(())
    }

    /// Removes the image from the engine. The engine itself limits its cache.
    pub(crate) async fn remove(&self, reference: &str) {
        let _ = self.run(&["image", "rm", "--force", reference]).await;
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
