//! Where the context of a build comes from: the editor's Dockerfile with its files, or a git repository.

use context::Limits;
use eventlog::LogError;
use git::{Allowed, Credential, GitLimits, GitRefused, GitRequest};
use proto::editor::v1::{BuildSpec, ContextKind, GitCredential};
use service::World;
use std::path::Path;
use tokio::io::AsyncRead;

pub(crate) struct Source {
    /// As it is written; what the engine gets of it is judged first.
    pub(crate) dockerfile: String,
    /// The other files, as [`context::assemble`] takes them.
    pub(crate) files: Box<dyn AsyncRead + Send + Unpin>,
    /// Of a git context.
    pub(crate) commit: Option<Commit>,
    /// What was left out of it, a sentence each.
    pub(crate) notices: Vec<String>,
}

pub(crate) struct Commit {
    pub(crate) id: String,
    /// Of the directory.
    pub(crate) tree: String,
}

pub(crate) enum SourceError {
    /// One sentence for the one who asked for the build.
    Refused(String),
    Log(LogError),
}

pub(crate) async fn open(
    world: &World,
    spec: &BuildSpec,
    credential: Option<&GitCredential>,
    work: &Path,
) -> Result<Source, SourceError> {
    match spec.context_kind() {
        ContextKind::GitRepository => from_git(world, spec, credential, work).await,
        ContextKind::LocalFolder | ContextKind::Unspecified => from_editor(world, spec).await,
    }
}

async fn from_editor(world: &World, spec: &BuildSpec) -> Result<Source, SourceError> {
    let files: Box<dyn AsyncRead + Send + Unpin> = match &spec.context {
        None => Box::new(tokio::io::empty()),
        Some(attached) => {
            let stored = world.nats.blobs().get(&attached.digest).await;
            let gone = "the attached files are not stored any more, upload them again and save";
            Box::new(
                stored
                    .map_err(SourceError::Log)?
                    .ok_or_else(|| SourceError::Refused(gone.to_owned()))?,
            )
        }
    };
    Ok(Source {
        dockerfile: spec.dockerfile.clone(),
        files,
        commit: None,
        notices: vec![],
    })
}

async fn from_git(
    world: &World,
    spec: &BuildSpec,
    credential: Option<&GitCredential>,
    work: &Path,
) -> Result<Source, SourceError> {
    let wanted = spec.git.clone().unwrap_or_default();
    let refused = |refused: GitRefused| SourceError::Refused(refused.to_string());
    let settings = &world.config.builder;
    // What a directory may be that is uploaded, one in a repository may be.
    let context = Limits {
        bytes: world.config.editor.context_bytes_max,
        entries: world.config.editor.context_entries_max,
    };
    let allowed = Allowed {
        http: settings.git_http,
        private_hosts: settings.git_private_hosts,
        known_hosts: settings.git_known_hosts.clone(),
    };
    let request = GitRequest {
        source: git::normalize(&wanted.url, &wanted.r#ref, &wanted.directory, &allowed)
            .map_err(|malformed| refused(malformed.into()))?,
        allowed,
        credential: credential
            .cloned()
            .and_then(|given| Credential::given(given.user, given.token, given.ssh_key, given.passphrase)),
        limits: GitLimits {
            context,
            ..GitLimits::default()
        },
        work_dir: work.to_owned(),
        program: None,
    };
    let context = git::fetch(request).await.map_err(refused)?;
    Ok(Source {
        commit: Some(Commit {
            id: context.commit,
            tree: context.tree,
        }),
        notices: context.notices,
        dockerfile: context.dockerfile,
        files: context.tar,
    })
}
