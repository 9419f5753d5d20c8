//! What asks for a build: a saved revision, or a build of before once more.

use super::Api;
use crate::{
    arguments, credentials,
    domain::{Builds, BuildsCommand},
    run::source,
    view::{self, Row, Stage},
};
use access::{Located, Right};
use eventlog::{ExecuteError, Position, StreamId};
use ids::{BuildId, ImageId, Ulid};
use proto::{
    builder::v1::{
        BuildCredentials, BuildOptions, BuildQueued, RepeatBuildRequest, RepeatBuildResponse, StartBuildRequest,
        StartBuildResponse,
    },
    catalog::v1::BuildOutcome,
    editor::v1::{BuildSpec, ContextKind, GitCredential},
};
use service::{Call, Failure, invalid, status, with_metadata};
use sha2::{Digest as _, Sha256};
use std::cmp::Ordering;
use tonic::{Code, Request, Status};

/// What is asked for.
struct Wanted {
    revision: u32,
    options: BuildOptions,
    credentials: BuildCredentials,
    repeats: Option<BuildId>,
}

impl Api {
    pub(super) async fn start(&self, request: Request<StartBuildRequest>) -> Result<StartBuildResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let (located, build) = self.asked(&call, &request.image, &request.request_id).await?;
        let image = located.image.to_string();
        // A repeated request is answered before anything else is judged.
        if let Some(row) = view::row(&self.view, &image, &build.to_string()).await? {
            return Ok(StartBuildResponse {
                position: row.queued_at,
                build: Some(self.show(&row)),
                unchanged: false,
            });
        }
        let options = request.options.unwrap_or_default();
        if let Some(tag) = options.tags.iter().find(|tag| !access::is_tag(tag)) {
            return Err(invalid("options.tags", format!("`{tag}` is not a tag")).into());
        }
        arguments::check(&options.build_args, &self.world.config.builder)
            .map_err(|wrong| status(Code::InvalidArgument, wrong.reason(), wrong.to_string()))?;
        let revision = self.current_revision(&image, request.expected_revision).await?;
        let credentials = request.credentials.unwrap_or_default();
        if request.if_changed
            && let Some(row) = self
                .unchanged(&located, revision, &options, credentials.git.as_ref())
                .await?
        {
            return Ok(StartBuildResponse {
                position: row.position,
                build: Some(self.show(&row)),
                unchanged: true,
            });
        }
        let wanted = Wanted {
            revision,
            options,
            credentials,
            repeats: None,
        };
        let (position, row) = self.ask(&call, &request.request_id, &located, build, wanted).await?;
        Ok(StartBuildResponse {
            position: position.0,
            build: Some(self.show(&row)),
            unchanged: false,
        })
    }

    pub(super) async fn repeat(&self, request: Request<RepeatBuildRequest>) -> Result<RepeatBuildResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let (located, build) = self.asked(&call, &request.image, &request.request_id).await?;
        let image = located.image.to_string();
        if let Some(row) = view::row(&self.view, &image, &build.to_string()).await? {
            return Ok(RepeatBuildResponse {
                position: row.queued_at,
                build: Some(self.show(&row)),
            });
        }
        let before = self.find(&located, &request.build).await?;
        if before.outcome() != BuildOutcome::Succeeded {
            let sentence = "only a build that succeeded can be repeated";
            return Err(status(Code::FailedPrecondition, "NOT_PUBLISHED", sentence).into());
        }
        let wanted = Wanted {
            revision: before.revision,
            // Its tags are where they were moved to since.
            options: BuildOptions {
                tags: vec![],
                ..(&before.options).into()
            },
            credentials: request.credentials.unwrap_or_default(),
            repeats: before.id.parse().ok(),
        };
        let (position, row) = self.ask(&call, &request.request_id, &located, build, wanted).await?;
        Ok(RepeatBuildResponse {
            position: position.0,
            build: Some(self.show(&row)),
        })
    }

    /// The image, and the id that the build has.
    async fn asked(&self, call: &Call, image: &str, request: &str) -> Result<(Located, BuildId), Failure> {
        let command = call.request(&self.world, request)?;
        let located = self.world.access.image(&call.caller, image, Right::Owner).await?;
        let ulid = Ulid::from_string(&command.id).map_err(|_| invalid("request_id", "expected a ULID"))?;
        let build = build_id(located.image, ulid);
        Ok((located, build))
    }

    async fn ask(
        &self,
        call: &Call,
        request: &str,
        located: &Located,
        build: BuildId,
        wanted: Wanted,
    ) -> Result<(Position, Row), Failure> {
        let command = call.request(&self.world, request)?;
        let given = &wanted.credentials;
        credentials::check(given).map_err(|wrong| invalid("credentials", wrong))?;
        let has_credentials = *given != BuildCredentials::default();
        let newest = self.newest(located).await?;
        // One that has a build under way is told that.
        let _asking = match &newest {
            Some(row) if row.stage() != Stage::Ended => None,
            _ => Some(self.room_for(located.workspace).await?),
        };
        let queued = BuildQueued {
            build: Some(build),
            workspace: Some(located.workspace),
            revision: wanted.revision,
            options: Some(wanted.options),
            has_credentials,
            repeats: wanted.repeats,
        };
        let published = newest.filter(|row| row.stage() == Stage::Ended);
        let queue = BuildsCommand::Queue {
            queued,
            published: published.and_then(|row| row.id.parse().ok()),
        };
        if has_credentials {
            self.vault.keep(located.workspace, build, given).await?;
        }
        let queued = self.writer.execute::<Builds>(&command, &located.image, queue).await;
        if has_credentials && matches!(queued, Err(ExecuteError::Refused(_))) {
            // What fails here goes after a day.
            let _ = self.vault.forget(build).await;
        }
        let position = queued?.position;
        let row = match self.world.reach(&self.view, position).await {
            Ok(()) => self.find(located, &build.to_string()).await?,
            // It is asked for, however late the view is to say so: after an error it would be asked for again.
            Err(_) => Row::asked(
                build,
                located.image.to_string(),
                wanted.revision,
                &call.caller.user,
                position,
                self.world.clock.now_ms(),
            ),
        };
        Ok((position, row))
    }

    /// The build that is published, if a build now would be made of the same. What can't be told is another.
    async fn unchanged(
        &self,
        located: &Located,
        revision: u32,
        options: &BuildOptions,
        credential: Option<&GitCredential>,
    ) -> Result<Option<Row>, Failure> {
        let image = located.image.to_string();
        let Some(row) = view::published(&self.view, &image).await? else {
            return Ok(None);
        };
        let is_asked_the_same = row.revision == revision && row.options.build_args == options.build_args;
        if !is_asked_the_same || options.no_cache || !options.tags.is_empty() {
            return Ok(None);
        }
        let Some((_, spec)) = view::revision(&self.view, &image, Some(revision)).await? else {
            return Ok(None);
        };
        let is_same = self.is_same_context(&row, &spec, credential).await && self.are_same_bases(&row).await;
        Ok(is_same.then_some(row))
    }

    async fn is_same_context(&self, row: &Row, spec: &BuildSpec, credential: Option<&GitCredential>) -> bool {
        if spec.context_kind() != ContextKind::GitRepository {
            // The attached files are part of the revision.
            return true;
        }
        let opened = source::open(&self.world, spec, credential, &self.world.config.data.join("work")).await;
        let tree = opened.ok().and_then(|source| source.commit).map(|commit| commit.tree);
        tree.is_some_and(|tree| tree == row.tree)
    }

    async fn are_same_bases(&self, row: &Row) -> bool {
        let Some((engine, _)) = self.engines.present() else {
            return row.bases.is_empty();
        };
        for (reference, digest) in &row.bases {
            if engine.digest(reference).await.as_ref() != Some(digest) {
                return false;
            }
        }
        true
    }

    /// The newest build. Its push may be retried in the log already, and then it is under way.
    async fn newest(&self, located: &Located) -> Result<Option<Row>, Failure> {
        let image = located.image.to_string();
        let newest = view::newest(&self.view, &image).await?;
        if !newest.as_ref().is_some_and(|row| row.retryable) {
            return Ok(newest);
        }
        let published = StreamId::new("repository", located.image);
        let version = self.world.log.version(&published).await?;
        self.world.reach(&self.view, version).await?;
        Ok(view::newest(&self.view, &image).await?)
    }

    /// The one to build. Who saw a newer one than this view has, or any while it has none, was told so by somebody who
    /// is ahead of it: the log decides whether there is one.
    async fn current_revision(&self, image: &str, expected: Option<u32>) -> Result<u32, Failure> {
        let mut saved = view::revision(&self.view, image, None).await?;
        if saved.is_none() || expected > saved.as_ref().map(|(current, _)| *current) {
            let head = self.world.log.head().await?;
            self.world.reach(&self.view, head).await?;
            saved = view::revision(&self.view, image, None).await?;
        }
        let (current, _) = saved.ok_or_else(nothing_saved)?;
        let sentence = match expected.map(|expected| (expected, expected.cmp(&current))) {
            None | Some((_, Ordering::Equal)) => return Ok(current),
            Some((expected, Ordering::Less)) => {
                format!("revision {current} was saved since you looked (you had {expected}), look again")
            }
            Some((expected, Ordering::Greater)) => {
                format!("there is no revision {expected} yet, the current one is {current}, look again")
            }
        };
        let metadata = [("current", current.to_string())];
        Err(with_metadata(Code::Aborted, "STALE_REVISION", sentence, metadata).into())
    }
}

/// A function of the image and the request that asked for it: the same again for a repeated request, and never shared by
/// two images, whose output, engine artifacts and publications are known by it.
fn build_id(image: ImageId, request: Ulid) -> BuildId {
    let hash = Sha256::new()
        .chain_update(image.to_string())
        .chain_update(request.to_string())
        .finalize();
    let mut chance = [0; 16];
    chance[6..].copy_from_slice(&hash[..10]);
    BuildId::from_ulid(Ulid::from_parts(request.timestamp_ms(), u128::from_be_bytes(chance)))
}

fn nothing_saved() -> Status {
    let sentence = "nothing is saved for this image yet: save a Dockerfile or a git repository first";
    status(Code::FailedPrecondition, "NOTHING_SAVED", sentence)
}
