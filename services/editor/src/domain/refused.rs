//! Why a save is turned down.

use super::rules::{DOCKERFILE_BYTES_MAX, NOTE_BYTES_MAX, REST_BYTES_MAX};
use aggregate::{Refusal, RefusalKind};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the current revision is {current}, and you looked at {expected}: look again, then save")]
    Stale { expected: u32, current: u32 },
    /// The same, told by whoever knows the revisions.
    #[error(
        "the current revision is {current}, saved by {actor}, and you looked at {expected} \
         (since then: {}): look again, then save",
        listed(changed)
    )]
    Overtaken {
        expected: u32,
        current: u32,
        actor: String,
        changed: Vec<String>,
    },
    #[error("there is no revision {revision}, the newest is {newest}")]
    NoSuchRevision { revision: u32, newest: u32 },
    #[error("the attached files are not stored for this image, or no longer: upload them, then save")]
    ContextNotUploaded,
    #[error("the Dockerfile has {bytes} bytes, at most {DOCKERFILE_BYTES_MAX} are allowed")]
    DockerfileTooLarge { bytes: usize },
    #[error("everything but the Dockerfile has {bytes} bytes, at most {REST_BYTES_MAX} are allowed")]
    SpecTooLarge { bytes: usize },
    #[error("the note has {bytes} bytes, at most {NOTE_BYTES_MAX} are allowed")]
    NoteTooLong { bytes: usize },
    #[error("choose where the build context comes from: a local folder or a git repository")]
    NoContextKind,
    #[error("the Dockerfile is empty: a build from a local folder needs one, such as `FROM scratch`")]
    NoDockerfile,
    #[error("a build from a git repository needs its URL")]
    NoUrl,
    /// In the words of whoever read the address.
    #[error("{sentence}")]
    Source { reason: &'static str, sentence: String },
    #[error("`{name}` is not the name of a build argument: letters, digits and `_`, not a digit first, at most 128")]
    ArgumentName { name: String },
    #[error("`{key}` is not the key of a label: it needs one, without spaces")]
    LabelKey { key: String },
    #[error("`{target}` is not the name of a stage: letters, digits, `.` `_` `-`, at most 128")]
    Target { target: String },
    #[error("`{platform}` is not a platform: write os/arch or os/arch/variant, such as linux/arm64")]
    Platform { platform: String },
    #[error("an image is built for one platform: name just one")]
    SeveralPlatforms,
    #[error("{} holds the character {character:?}, which is not text", called(field))]
    NotText { field: &'static str, character: char },
}

/// So many names fit into a sentence.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names {
        [] => "nothing that counts".to_owned(),
        [shown @ .., _] if shown.len() >= SHOWN => {
            format!("{} and {} more", names[..SHOWN].join(", "), names.len() - SHOWN)
        }
        all => all.join(", "),
    }
}

/// A field in the user's words.
fn called(field: &str) -> &'static str {
    match field {
        "spec.dockerfile" => "the Dockerfile",
        "spec.build_args" => "a build argument",
        "spec.labels" => "a label",
        _ => "the note",
    }
}

impl Refusal for Refused {
    fn kind(&self) -> RefusalKind {
        match self {
            Self::Stale { .. } | Self::Overtaken { .. } => RefusalKind::Stale,
            Self::NoSuchRevision { .. } => RefusalKind::NotFound,
            Self::ContextNotUploaded => RefusalKind::WrongState,
            Self::DockerfileTooLarge { .. } | Self::SpecTooLarge { .. } | Self::NoteTooLong { .. } => {
                RefusalKind::LimitReached
            }
            Self::NoContextKind
            | Self::NoDockerfile
            | Self::NoUrl
            | Self::Source { .. }
            | Self::ArgumentName { .. }
            | Self::LabelKey { .. }
            | Self::Target { .. }
            | Self::Platform { .. }
            | Self::SeveralPlatforms
            | Self::NotText { .. } => RefusalKind::InvalidInput,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Stale { .. } | Self::Overtaken { .. } => "STALE_REVISION",
            Self::NoSuchRevision { .. } => "NO_SUCH_REVISION",
            Self::ContextNotUploaded => "CONTEXT_NOT_UPLOADED",
            Self::DockerfileTooLarge { .. } => "DOCKERFILE_TOO_LARGE",
            Self::SpecTooLarge { .. } => "SPEC_TOO_LARGE",
            Self::NoteTooLong { .. } => "NOTE_TOO_LONG",
            Self::NoDockerfile => "DOCKERFILE_EMPTY",
            Self::NoUrl => "GIT_URL_MISSING",
            Self::Source { reason, .. } => reason,
            Self::NoContextKind
            | Self::ArgumentName { .. }
            | Self::LabelKey { .. }
            | Self::Target { .. }
            | Self::Platform { .. }
            | Self::SeveralPlatforms
            | Self::NotText { .. } => "INVALID_ARGUMENT",
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        let limit = |bytes: usize, limit: usize| vec![("bytes", bytes.to_string()), ("limit", limit.to_string())];
        match self {
            Self::Stale { expected, current } => vec![
                ("current", current.to_string()),
                ("expected_revision", expected.to_string()),
            ],
            Self::Overtaken {
                expected,
                current,
                actor,
                changed,
            } => vec![
                ("current", current.to_string()),
                ("expected_revision", expected.to_string()),
                ("actor", actor.clone()),
                ("changed", changed.join(",")),
            ],
            Self::NoSuchRevision { newest, .. } => vec![("current", newest.to_string())],
            Self::DockerfileTooLarge { bytes } => limit(*bytes, DOCKERFILE_BYTES_MAX),
            Self::SpecTooLarge { bytes } => limit(*bytes, REST_BYTES_MAX),
            Self::NoteTooLong { bytes } => limit(*bytes, NOTE_BYTES_MAX),
            _ => Vec::new(),
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::NoContextKind => Some("spec.context_kind"),
            Self::NoDockerfile => Some("spec.dockerfile"),
            Self::NoUrl | Self::Source { .. } => Some("spec.git"),
            Self::ArgumentName { .. } => Some("spec.build_args"),
            Self::LabelKey { .. } => Some("spec.labels"),
            Self::Target { .. } => Some("spec.target"),
            Self::Platform { .. } | Self::SeveralPlatforms => Some("spec.platforms"),
            Self::NotText { field, .. } => Some(field),
            Self::Stale { .. }
            | Self::Overtaken { .. }
            | Self::NoSuchRevision { .. }
            | Self::ContextNotUploaded
            | Self::DockerfileTooLarge { .. }
            | Self::SpecTooLarge { .. }
            | Self::NoteTooLong { .. } => None,
        }
    }
}
