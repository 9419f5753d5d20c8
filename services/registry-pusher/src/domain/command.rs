//! What can be asked of a repository.

use ids::BuildId;
use proto::{catalog::v1::ImageName, registry::v1::PublicationOpened};
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
pub(crate) enum Command {
    Open(PublicationOpened),
    /// The manifest and all that it names are in the registry.
    Commit(Content),
    /// Ends a publication that is open, or prevents one.
    Abort {
        build: BuildId,
    },
    Refuse {
        build: BuildId,
        attempt: u32,
        cause: String,
        retryable: bool,
    },
    /// A refused push once more, to where the image is called now. `artifact_kept`: the engine should still have it.
    /// `is_newest`: no other build of the image was started since.
    Reopen {
        opened: PublicationOpened,
        artifact_kept: bool,
        is_newest: bool,
    },
    RecordPlaced {
        position: u64,
    },
    /// These can be pulled under the name now. `previous_tag` was the primary one.
    RecordRelocated {
        name: ImageName,
        previous_tag: String,
        digests: BTreeSet<String>,
    },
    RecordReleased {
        path: String,
    },
}

/// What a push left in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) build: BuildId,
    pub(crate) attempt: u32,
    pub(crate) digest: String,
    pub(crate) size_bytes: i64,
    pub(crate) os: String,
    pub(crate) architecture: String,
}
