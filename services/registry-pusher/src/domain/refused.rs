//! Why a repository turns a command down.

use aggregate::{Refusal, RefusalKind};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the image of this build is published already, it can't be cancelled any more")]
    AlreadyPublished,
    #[error("the image of this build is no longer kept, build it again")]
    ArtifactGone,
    #[error("the push of this build did not fail, there is nothing to retry")]
    NothingToRetry,
    /// Two builds of one image are never under way.
    #[error("a newer build of this image was started, build it again instead")]
    NewerBuild,
    #[error("no publication of this build was opened")]
    NoSuchPublication,
    #[error("the repository `{0}` was given back, nothing can be pushed there")]
    RepositoryReleased(String),
    #[error("a publication to `{0}` is still open")]
    PublicationOpen(String),
    #[error("a tag moved to content that is not under the new name yet")]
    NotAllThere,
}

impl Refusal for Refused {
    fn kind(&self) -> RefusalKind {
        match self {
            Self::NoSuchPublication => RefusalKind::NotFound,
            Self::NotAllThere => RefusalKind::Stale,
            Self::AlreadyPublished
            | Self::ArtifactGone
            | Self::NothingToRetry
            | Self::NewerBuild
            | Self::RepositoryReleased(_)
            | Self::PublicationOpen(_) => RefusalKind::WrongState,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::AlreadyPublished => "ALREADY_PUBLISHED",
            Self::ArtifactGone => "ARTIFACT_GONE",
            Self::NothingToRetry | Self::NewerBuild => "NOTHING_TO_RETRY",
            Self::NoSuchPublication => "NO_SUCH_PUBLICATION",
            Self::RepositoryReleased(_) => "REPOSITORY_RELEASED",
            Self::PublicationOpen(_) => "PUBLICATION_OPEN",
            Self::NotAllThere => "NOT_ALL_THERE",
        }
    }
}
