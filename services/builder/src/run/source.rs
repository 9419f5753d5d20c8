//! Where the context of a build comes from: the editor's Dockerfile with its files, or a git repository.

use bytes::Bytes;
use context::Limits;
use eventlog::LogError;
use futures::{StreamExt as _, stream::BoxStream};
use git::{GitLimits, GitRefused, GitRequest};
use proto::editor::v1::{BuildSpec, ContextKind};
use service::World;
use std::{io, path::Path};
use tokio_util::io::ReaderStream;

const READ_BYTES: usize = 256 * 1024;

pub(super) struct Source {
    pub(super) tar: BoxStream<'static, io::Result<Bytes>>,
    /// Of a git context.
    pub(super) commit: Option<String>,
    /// What was left out of it, a sentence each.
    pub(super) notices: Vec<String>,
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
            notices: vec![],
        });
    };
    let stored = world
        .nats
        .blobs()
        .get(&attached.digest)
        .await
        .map_err(SourceError::Log)?;
    let stored = stored.ok_or_else(|| {
        SourceError::Refused("the attached files are not stored any more, upload them again and save".to_owned())
    })?;
    Ok(Source {
        tar: context::assemble(&spec.dockerfile, stored).boxed(),
        commit: None,
        notices: vec![],
    })
}

async fn from_git(world: &World, spec: &BuildSpec, work: &Path) -> Result<Source, SourceError> {
    let wanted = spec.git.clone().unwrap_or_default();
    let refused = |refused: GitRefused| SourceError::Refused(refused.to_string());
    let settings = &world.config.builder;
    // What a directory may be that is uploaded, one in a repository may be.
    let context = Limits {
        bytes: world.config.editor.context_bytes_max,
        entries: world.config.editor.context_entries_max,
    };
    let request = GitRequest {
        source: git::normalize(&wanted.url, &wanted.r#ref, &wanted.directory, settings.git_http)
            .map_err(|malformed| refused(malformed.into()))?,
        allow_http: settings.git_http,
        allow_private: settings.git_private_hosts,
        limits: GitLimits {
            context,
            ..GitLimits::default()
        },
        work_dir: work.to_owned(),
        program: None,
    };
    let context = git::fetch(request).await.map_err(refused)?;
    Ok(Source {
        commit: Some(context.commit),
        notices: context.notices,
        tar: ReaderStream::with_capacity(context.tar, READ_BYTES).boxed(),
    })
}
