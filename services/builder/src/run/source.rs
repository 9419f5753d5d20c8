//! Where the context of a build comes from: the editor's Dockerfile with its files, or a git repository.

use crate::context;
use bytes::Bytes;
use eventlog::LogError;
use futures::{StreamExt as _, stream::BoxStream};
use proto::editor::v1::{BuildSpec, ContextKind};
use service::World;
use std::{io, path::Path};

pub(super) struct Source {
    pub(super) tar: BoxStream<'static, io::Result<Bytes>>,
    /// Of a git context.
    pub(super) commit: Option<String>,
}

pub(super) enum SourceError {
    /// One sentence for the one who asked for the build.
    Refused(String),
    Log(LogError),
}

pub(super) async fn open(world: &World, spec: &BuildSpec, work: &Path) -> Result<Source, SourceError> {
    match spec.context_kind() {
        ContextKind::GitRepository => from_git(world, spec, work).await,
        ContextKind::LocalFolder | ContextKind::Unspecified => from_editor(world, spec).await,
    }
}

async fn from_editor(world: &World, spec: &BuildSpec) -> Result<Source, SourceError> {
    let Some(attached) = &spec.context else {
        let nothing = tokio::io::empty();
        return Ok(Source {
            tar: context::assemble(&spec.dockerfile, nothing).boxed(),
            commit: None,
        });
    };
    let stored = world.nats.blobs().get(&attached.digest).await.map_err(SourceError::Log)?;
    let stored = stored.ok_or_else(|| {
        SourceError::Refused("the attached files are not stored any more, upload them again and save".to_owned())
    })?;
    Ok(Source {
        tar: context::assemble(&spec.dockerfile, stored).boxed(),
        commit: None,
    })
}

async fn from_git(_world: &World, _spec: &BuildSpec, _work: &Path) -> Result<Source, SourceError> {
    Err(SourceError::Refused("this builder does not read git repositories yet, use a local folder".to_owned()))
}
