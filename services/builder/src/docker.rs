//! The Docker Engine as the builder sees it: facts, builds, and the images that builds leave behind.

mod build;
mod error;
mod session;
mod system;
mod wire;

use std::{env, time::Duration};

use bollard::{
    Docker,
    query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder},
};
use tokio::time::sleep;

pub use build::BuildInput;
pub use error::EngineError;
pub use system::Facts;

pub(crate) use error::clean;

/// For everything but builds. An engine that is this slow is treated as one that does not answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// For a sign of life, which costs an engine nothing.
const SIGN_TIMEOUT: Duration = Duration::from_secs(10);
/// A large cache takes its time.
const PRUNE_TIMEOUT: Duration = Duration::from_mins(10);
const PULSE: Duration = Duration::from_secs(2);
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// A connection to one engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    host: String,
}

impl Engine {
    /// `None`: what `DOCKER_HOST` names, else the machine's own engine.
    pub async fn connect(host: Option<&str>) -> Result<Self, EngineError> {
        let host = host
            .map(str::to_owned)
            .or_else(|| env::var("DOCKER_HOST").ok())
            .unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let docker = dial(&host).await?.with_timeout(TIMEOUT);
        Ok(Self { docker, host })
    }

    pub async fn ping(&self) -> Result<(), EngineError> {
        let docker = self.docker.clone().with_timeout(SIGN_TIMEOUT);
        docker.ping().await.map(|_| ()).map_err(|error| self.failed(error))
    }

    /// Ends when the engine does not answer any more. A connection to one that hangs tells nothing.
    pub async fn gone(&self) -> EngineError {
        loop {
            sleep(PULSE).await;
            if let Err(error @ EngineError::Unreachable { .. }) = self.ping().await {
                return error;
            }
        }
    }

    /// The digest that a reference has in its registry now; none where that does not answer, or not to us.
    pub async fn digest(&self, reference: &str) -> Option<String> {
        let found = self.docker.inspect_registry_image(reference, None).await.ok()?;
        found.descriptor.digest
    }

    /// Operating system and architecture of an image.
    pub async fn image_platform(&self, tag: &str) -> Result<(String, String), EngineError> {
        let image = self
            .docker
            .inspect_image(tag)
            .await
            .map_err(|error| self.failed(error))?;
        Ok((image.os.unwrap_or_default(), image.architecture.unwrap_or_default()))
    }

    /// Takes the tag away, and the image with its last tag. One that is not there is no error.
    pub async fn remove(&self, tag: &str) -> Result<(), EngineError> {
        // forced, so that a stopped container of it does not keep the tag
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        match self.docker.remove_image(tag, Some(options), None).await {
            Ok(_) | Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The references of all images that begin with `prefix`.
    pub async fn list_artifacts(&self, prefix: &str) -> Result<Vec<String>, EngineError> {
        let all = ListImagesOptionsBuilder::default().build();
        let images = self
            .docker
            .list_images(Some(all))
            .await
            .map_err(|error| self.failed(error))?;
        let mut tags: Vec<String> = images
            .into_iter()
            .flat_map(|image| image.repo_tags)
            .filter(|tag| tag.starts_with(prefix))
            .collect();
        tags.sort_unstable();
        tags.dedup();
        Ok(tags)
    }

    fn failed(&self, error: bollard::errors::Error) -> EngineError {
        EngineError::from_call(&self.host, error)
    }
}

/// Engines refuse a client that is newer than they are, so the version is agreed upon first.
async fn dial(host: &str) -> Result<Docker, EngineError> {
    let docker = Docker::connect_with_host(host).map_err(|error| EngineError::from_call(host, error))?;
    docker
        .with_timeout(SIGN_TIMEOUT)
        .negotiate_version()
        .await
        .map_err(|error| EngineError::from_call(host, error))
}
