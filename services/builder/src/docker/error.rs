//! What can go wrong with the engine, told apart by who has to do something about it.

use std::io;

use bollard::errors::Error;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum EngineError {
    /// The user's error, in the words of the engine.
    #[error("{0}")]
    Failed(String),
    /// What the context itself said when it could not be read on; the engine never learns the cause.
    #[error(transparent)]
    Context(io::Error),
    #[error("no space left for the build; free some on the engine's disk, then build again")]
    OutOfDisk,
    #[error("'{host}' names no engine; write unix:///path/to/socket or tcp://host:port")]
    BadHost { host: String },
    #[error("the engine at {host} does not answer; start it, or name another one")]
    Unreachable {
        host: String,
        #[source]
        source: Error,
    },
    #[error("the engine went away while it built; build again when it is back")]
    Lost {
        #[source]
        source: Option<Error>,
    },
    /// It has one record for equal images, and loses a new one when an old one is removed in the same moment.
    #[error("the engine removed an image with the same content while it wrote this one; build again")]
    Removed,
    /// A call that makes no sense to the engine.
    #[error("the engine refused: {message}")]
    Refused { status: u16, message: String },
}

impl EngineError {
    /// Of a call that is no build.
    pub(super) fn from_call(host: &str, error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => Self::Refused {
                status: status_code,
                message: clean(&message),
            },
            Error::UnsupportedURISchemeError { .. } => Self::BadHost { host: host.to_owned() },
            source => Self::Unreachable {
                host: host.to_owned(),
                source,
            },
        }
    }

    /// Of a build that the engine had begun.
    pub(super) fn from_build(error: Error) -> Self {
        match error {
            Error::DockerStreamError { error } => Self::from_message(&error),
            // what is wrong with the request is wrong with what the user gave: a tag, an argument, a platform
            Error::DockerResponseServerError {
                status_code: 400..500,
                message,
            } => Self::Failed(clean(&message)),
            Error::DockerResponseServerError { message, .. } => Self::from_message(&message),
            source => Self::Lost { source: Some(source) },
        }
    }

    fn from_message(message: &str) -> Self {
        if message.contains("no space left on device") {
            Self::OutOfDisk
        } else if message.contains("failed to get digest sha256:") && message.contains("/imagedb/") {
            Self::Removed
        } else {
            Self::Failed(clean(message))
        }
    }
}

/// Without the layers of software that the message passed.
pub(crate) fn clean(message: &str) -> String {
    const NOISE: [&str; 6] = [
        "failed to solve with frontend dockerfile.v0: ",
        "failed to solve: ",
        "failed to create LLB definition: ",
        "failed to build LLB: ",
        "failed to compute cache key: ",
        "failed to load cache key: ",
    ];
    let mut message = message.trim().to_owned();
    while let Some((before, rest)) = message.split_once("rpc error: code = ")
        && let Some((_, after)) = rest.split_once(" desc = ")
    {
        message = format!("{before}{after}");
    }
    let mut text = message.as_str();
    while let Some(rest) = NOISE.iter().find_map(|noise| text.strip_prefix(noise)) {
        text = rest;
    }
    // `failed to calculate checksum of ref <id>::<id>: "/x": not found`
    let checksum = text.strip_prefix("failed to calculate checksum of ref ");
    if let Some((_, rest)) = checksum.and_then(|rest| rest.split_once(": ")) {
        text = rest;
    }
    match text.strip_suffix(" not found: not found") {
        Some(name) => format!("{name}: not found"),
        None => base_image(text).unwrap_or_else(|| text.to_owned()),
    }
}

/// `failed to do request: Head "https://<registry>/v2/<name>/manifests/<tag>": <cause>`
fn base_image(text: &str) -> Option<String> {
    let (_, request) = text.split_once("failed to do request: Head \"https://")?;
    let (url, cause) = request.split_once("\": ")?;
    let (registry, rest) = url.split_once("/v2/")?;
    let (name, tag) = rest.split_once("/manifests/")?;
    Some(format!(
        "the base image {name}:{tag} could not be fetched from {registry}: {cause}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_lost_of_its_own_is_not_the_users_error() {
        let message = "failed to get digest sha256:b22f: open /var/lib/docker/image/overlay2/imagedb/content/sha256/b22f: \
                       no such file or directory";
        assert!(matches!(EngineError::from_message(message), EngineError::Removed));
    }

    #[test]
    fn a_message_loses_the_layers_that_it_passed() {
        let cases = [
            (
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 2: unknown instruction: FOO",
                "dockerfile parse error line 2: unknown instruction: FOO",
            ),
            (
                "failed to solve: rpc error: code = Unknown desc = failed to compute cache key: \"/x\" not found: not found",
                "\"/x\": not found",
            ),
            (
                "failed to compute cache key: failed to calculate checksum of ref a::b: \"/x\": not found",
                "\"/x\": not found",
            ),
            (
                "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3",
                "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3",
            ),
            (
                "failed to solve: x:9: failed to resolve source metadata for registry.example/library/x:9: failed to do request: Head \"https://registry.example/v2/library/x/manifests/9\": dial tcp: no such host",
                "the base image library/x:9 could not be fetched from registry.example: dial tcp: no such host",
            ),
        ];
        for (message, sentence) in cases {
            assert_eq!(clean(message), sentence);
        }
    }

    #[test]
    fn a_full_disk_is_not_the_users_error() {
        let error = EngineError::from_build(Error::DockerStreamError {
            error: "write /x: no space left on device".to_owned(),
        });
        assert!(matches!(error, EngineError::OutOfDisk), "{error}");
    }
}
