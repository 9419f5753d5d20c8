//! What there is to choose from in a git repository, asked of its host for a drop-down.

use crate::domain::Refused;
use eventlog::ExecuteError;
use git::{Allowed, Credential, GitLimits, GitRefused, GitRequest, GitSource, normalize};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use proto::editor::v1::{self as contract, CheckRepositoryRequest, CheckRepositoryResponse};
use service::{Failure, World, status};
use std::{fs, num::NonZeroU32, path::PathBuf, time::Duration};
use tokio::sync::Semaphore;
use tonic::Code;

/// How often a user may ask in a minute: each time the server dials out.
const CHECKS: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// Users who are remembered as such that asked, before those are forgotten who waited.
const CHECKERS: usize = 10_000;
/// At the same time, each with a process; others wait.
const PROCESSES: usize = 4;
/// A repository that is larger is not looked into.
const REPOSITORY_BYTES_MAX: u64 = 256 << 20;
/// Before a client that waits for half a minute gives up.
const DEADLINE: Duration = Duration::from_secs(20);

/// What repositories this platform may be built from.
pub(crate) fn allowed(world: &World) -> Allowed {
    let settings = &world.config.builder;
    Allowed {
        http: settings.git_http,
        private_hosts: settings.git_private_hosts,
        known_hosts: settings.git_known_hosts.clone(),
    }
}

pub(crate) fn malformed(malformed: &git::MalformedSource) -> Failure {
    ExecuteError::Refused(Box::new(Refused::Source {
        reason: malformed.reason(),
        sentence: malformed.to_string(),
    }))
    .into()
}

pub(crate) fn written(source: GitSource) -> contract::GitSource {
    contract::GitSource {
        url: source.url,
        r#ref: source.reference,
        directory: source.directory,
    }
}

pub(crate) struct Repositories {
    allowed: Allowed,
    entries_max: u64,
    work: PathBuf,
    asked: DefaultKeyedRateLimiter<String>,
    turns: Semaphore,
}

impl Repositories {
    pub(crate) fn new(world: &World) -> Self {
        let work = world.config.data.join("repositories");
        // of a process that was killed
        let _ = fs::remove_dir_all(&work);
        Self {
            allowed: allowed(world),
            entries_max: world.config.editor.context_entries_max,
            work,
            asked: RateLimiter::keyed(Quota::per_minute(CHECKS)),
            turns: Semaphore::new(PROCESSES),
        }
    }

    pub(crate) async fn check(
        &self,
        user: &String,
        request: CheckRepositoryRequest,
    ) -> Result<CheckRepositoryResponse, Failure> {
        self.may_ask(user)?;
        let asked = request.git.unwrap_or_default();
        let source = normalize(&asked.url, &asked.r#ref, &asked.directory, &self.allowed);
        let source = source.map_err(|error| malformed(&error))?;
        let given = request.credential.unwrap_or_default();
        let _turn = self.turns.acquire().await;
        tokio::fs::create_dir_all(&self.work)
            .await
            .map_err(anyhow::Error::from)?;
        let limits = GitLimits {
            repository_bytes: REPOSITORY_BYTES_MAX,
            context: ::context::Limits {
                entries: self.entries_max,
                ..::context::Limits::default()
            },
            deadline: DEADLINE,
        };
        let offer = git::look(GitRequest {
            source,
            allowed: self.allowed.clone(),
            credential: Credential::given(given.user, given.token, given.ssh_key, given.passphrase),
            limits,
            work_dir: self.work.clone(),
            program: None,
        });
        let offer = offer.await.map_err(|error| refused(&error))?;
        Ok(CheckRepositoryResponse {
            git: Some(written(offer.source)),
            default_branch: offer.default_branch,
            branches: offer.branches.names,
            has_more_branches: offer.branches.has_more,
            tags: offer.tags.names,
            has_more_tags: offer.tags.has_more,
            commit: offer.commit,
            directories: offer.directories.names,
            has_more_directories: offer.directories.has_more,
            notices: offer.notices,
        })
    }

    fn may_ask(&self, user: &String) -> Result<(), Failure> {
        if self.asked.len() > CHECKERS {
            self.asked.retain_recent();
        }
        self.asked.check_key(user).map_err(|_| {
            let sentence = format!("{CHECKS} repositories can be checked in a minute: try again in a moment");
            status(Code::ResourceExhausted, "TOO_MANY_CHECKS", sentence).into()
        })
    }
}

fn refused(refused: &GitRefused) -> Failure {
    let code = match refused {
        GitRefused::Source(error) => return malformed(error),
        GitRefused::NotFound { .. }
        | GitRefused::NotFoundWith { .. }
        | GitRefused::NotGit { .. }
        | GitRefused::Empty { .. }
        | GitRefused::NoSuchReference { .. }
        | GitRefused::NoSuchDirectory { .. } => Code::NotFound,
        // not a permission of ours, which the audit would tell
        GitRefused::LoginRefused { .. }
        | GitRefused::NoKey { .. }
        | GitRefused::BadKey { .. }
        | GitRefused::NotPublic { .. }
        | GitRefused::Unreachable { .. }
        | GitRefused::Certificate { .. }
        | GitRefused::HostKey { .. }
        | GitRefused::TimedOut { .. }
        | GitRefused::Redirected { .. }
        | GitRefused::NoDockerfile { .. }
        | GitRefused::DockerfileTooLarge { .. }
        | GitRefused::DockerfileNoText
        | GitRefused::TooLarge { .. }
        | GitRefused::Context { .. }
        | GitRefused::Broken { .. }
        | GitRefused::Worker { .. } => Code::FailedPrecondition,
    };
    status(code, refused.reason(), refused.to_string()).into()
}
