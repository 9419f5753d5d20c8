//! The engine that has assembled images: it pushes them, and forgets them afterwards.

#[cfg(test)]
mod tests;

use bollard::{
    Docker,
    errors::Error as DockerError,
    models::PushImageInfo,
    query_parameters::{ListImagesOptions, PushImageOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder},
};
use futures::{Stream, StreamExt as _, stream};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a push may be silent. The engine reports while bytes move, and says when it waits to try again.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the engine may take to begin an answer.
const TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("the container engine does not answer")]
    Unreachable(#[source] DockerError),
    #[error("the container engine stopped in the middle of the push")]
    Lost,
    #[error("the push made no progress for {} seconds", IDLE_TIMEOUT.as_secs())]
    Stalled,
    #[error("the container engine no longer has the image, build it again")]
    ArtifactGone,
    #[error("the registry can't be reached from the container engine")]
    RegistryUnreachable(#[source] DockerError),
    #[error("the registry does not let the container engine push")]
    Denied(#[source] DockerError),
    #[error("no space is left for the push")]
    Full(#[source] DockerError),
    #[error("the container engine could not push: {0}")]
    Failed(String),
}

/// What an engine says of a registry that is away, or that has trouble of its own.
const UNREACHABLE: [&str; 11] = [
    "dial tcp",
    "connection refused",
    "connection reset",
    "EOF",
    "imeout",
    "deadline exceeded",
    " 429",
    " 500",
    " 502",
    " 503",
    " 504",
];

/// What a push says on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pushing {
    /// For the build's log.
    Line(String),
    /// Bytes of the layer that moves at the moment: how many of how many.
    Bytes(i64, i64),
    /// It is in the registry.
    Digest(String),
}

/// One engine, which may be restarted or replaced meanwhile.
#[derive(Clone)]
pub(crate) struct Engine {
    host: String,
    /// The client that spoke with it last, without trouble.
    client: Arc<Mutex<Option<Docker>>>,
}

impl Engine {
    /// `host` is `unix://...` or `tcp://...`; empty: `DOCKER_HOST`, or the usual socket.
    pub(crate) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            client: Arc::default(),
        }
    }

    fn client(&self) -> MutexGuard<'_, Option<Docker>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Docker, EngineError> {
        if let Some(docker) = &*self.client() {
            return Ok(docker.clone());
        }
        let docker = if self.host.is_empty() {
            Docker::connect_with_defaults()
        } else {
            Docker::connect_with_host(&self.host)
        };
        // The client speaks a newer version than an engine may know.
        let docker = docker
            .map_err(EngineError::Unreachable)?
            .with_timeout(TIMEOUT)
            .negotiate_version()
            .await
            .map_err(sorted)?;
        *self.client() = Some(docker.clone());
        Ok(docker)
    }

    fn failed(&self, error: DockerError) -> EngineError {
        // It may be another engine by now, which speaks another version.
        *self.client() = None;
        sorted(error)
    }

    /// Gives an image of the engine a second reference.
    pub(crate) async fn tag(&self, artifact: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        let docker = self.connect().await?;
        let named = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        docker
            .tag_image(artifact, Some(named))
            .await
            .map_err(|error| self.failed(error))
    }

    /// Pushes `repository:tag`. Dropping the stream stops the push.
    pub(crate) async fn push(
        &self,
        repository: &str,
        tag: &str,
    ) -> Result<impl Stream<Item = Result<Pushing, EngineError>> + use<>, EngineError> {
        let docker = self.connect().await?;
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let messages = docker.push_image(repository, Some(options), None);
        let messages = tokio_stream::StreamExt::timeout(messages, IDLE_TIMEOUT);
        let mut layers = Layers::default();
        let said = messages.map(move |message| match message {
            Ok(Ok(message)) => layers.read(message),
            Ok(Err(error)) => vec![Err(sorted(error))],
            Err(_) => vec![Err(EngineError::Stalled)],
        });
        Ok(said.flat_map(stream::iter))
    }

    /// Forgets a reference; the image goes with its last one. Absent is as good.
    pub(crate) async fn forget(&self, reference: &str) -> Result<(), EngineError> {
        let docker = self.connect().await?;
        match docker.remove_image(reference, None::<RemoveImageOptions>, None).await {
            Ok(_) | Err(DockerError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// All references of the engine's images.
    pub(crate) async fn references(&self) -> Result<BTreeSet<String>, EngineError> {
        let docker = self.connect().await?;
        let images = docker
            .list_images(None::<ListImagesOptions>)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(images.into_iter().flat_map(|image| image.repo_tags).collect())
    }
}

/// Counts the layers: the messages do not name theirs.
#[derive(Default)]
struct Layers {
    done: usize,
    is_retrying: bool,
}

impl Layers {
    fn read(&mut self, message: PushImageInfo) -> Vec<Result<Pushing, EngineError>> {
        let status = message.status.unwrap_or_default();
        let was_retrying = std::mem::replace(&mut self.is_retrying, status.starts_with("Retrying in"));
        if let Some(digest) = digest_in(&status) {
            return vec![Ok(Pushing::Line(status)), Ok(Pushing::Digest(digest))];
        }
        match status.as_str() {
            "" | "Preparing" | "Waiting" => Vec::new(),
            "Pushing" => {
                let progress = message
                    .progress_detail
                    .and_then(|progress| progress.current.zip(progress.total));
                progress
                    .map(|(current, total)| Ok(Pushing::Bytes(current, total)))
                    .into_iter()
                    .collect()
            }
            // It counts the seconds down.
            _ if was_retrying && self.is_retrying => Vec::new(),
            "Pushed" | "Layer already exists" => {
                self.done += 1;
                vec![Ok(Pushing::Line(format!("layer {}: {status}", self.done)))]
            }
            _ => vec![Ok(Pushing::Line(status))],
        }
    }
}

/// `b-01j..-1: digest: sha256:.. size: 736`, as every engine says at the end.
fn digest_in(status: &str) -> Option<String> {
    let (_, rest) = status.split_once("digest: ")?;
    let digest = rest.split_whitespace().next()?;
    digest.starts_with("sha256:").then(|| digest.to_owned())
}

/// Sorts the engine's errors by what one can do about them. The engine tells what the registry said as a sentence,
/// which differs between versions and image stores.
fn sorted(error: DockerError) -> EngineError {
    let message = match &error {
        DockerError::DockerStreamError { error } => error.clone(),
        DockerError::DockerResponseServerError { status_code: 404, .. } => return EngineError::ArtifactGone,
        DockerError::DockerResponseServerError { message, .. } => message.clone(),
        DockerError::IOError { .. } | DockerError::HyperResponseError { .. } => return EngineError::Lost,
        _ => return EngineError::Unreachable(error),
    };
    let says = |any: &[&str]| any.iter().any(|text| message.contains(text));
    if says(&["does not exist locally", "No such image", "tag does not exist"]) {
        EngineError::ArtifactGone
    } else if says(&["no space left"]) {
        EngineError::Full(error)
    } else if says(&[
        "denied",
        "unauthorized",
        "authorization failed",
        "authentication required",
        "no basic auth",
    ]) {
        EngineError::Denied(error)
    } else if says(&UNREACHABLE) {
        EngineError::RegistryUnreachable(error)
    } else {
        EngineError::Failed(message)
    }
}
