//! What an attempt begins with: what was given with the build, its files, and what was built before.

use super::{
    Attempt,
    end::Ended,
    judge::normal,
    log::BuildLog,
    source::{self, Commit, Source, SourceError},
};
use crate::{credentials::Missing, domain::BuildsCommand, progress::plain, view};
use anyhow::Context as _;
use proto::{
    builder::v1::{BuildCredentials, BuildPhase, SourceFetched},
    editor::v1::{BuildSpec, GitCredential},
};
use std::collections::BTreeMap;

impl Attempt<'_> {
    /// What was given with the build; a later attempt gets the same.
    pub(super) async fn credentials(&self) -> Result<BuildCredentials, Ended> {
        let row = &self.job.row;
        if !row.options.has_credentials {
            return Ok(BuildCredentials::default());
        }
        let workspace = row.workspace.parse().unwrap_or_default();
        let given = self.job.vault.get(workspace, self.build()).await;
        given.map_err(|missing| match missing {
            Missing::Log(error) => Ended::Lost(error.to_string()),
            Missing::Gone | Missing::Sealed => Ended::Failed(BuildPhase::Fetching, missing.to_string()),
        })
    }

    pub(super) async fn forget(&self) {
        if let Err(error) = self.job.vault.forget(self.build()).await {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "what was given with a build goes at the next pass");
        }
    }

    /// The digests of the bases that the repeated build had; and its commit takes the place of the ref.
    pub(super) async fn repeated(&self, spec: &mut BuildSpec) -> anyhow::Result<BTreeMap<String, String>> {
        let row = &self.job.row;
        if row.repeats.is_empty() {
            return Ok(BTreeMap::new());
        }
        let before = view::row(&self.job.view, &row.image, &row.repeats).await?;
        let before = before.context("the build that is repeated is not in the view")?;
        if let Some(git) = spec.git.as_mut().filter(|_| !before.commit.is_empty()) {
            git.r#ref.clone_from(&before.commit);
        }
        let known = before.bases.into_iter().filter(|(_, digest)| !digest.is_empty());
        Ok(known.map(|(reference, digest)| (normal(&reference), digest)).collect())
    }

    /// The files, and of which commit they are.
    pub(super) async fn opened(
        &self,
        spec: &BuildSpec,
        credential: Option<&GitCredential>,
        log: &mut BuildLog,
    ) -> Result<Source, Ended> {
        let opened = source::open(self.world, spec, credential, &self.job.work).await;
        let source = opened.map_err(|error| match error {
            SourceError::Refused(cause) => Ended::Failed(BuildPhase::Fetching, cause),
            SourceError::Log(error) => Ended::Lost(error.to_string()),
        })?;
        if let Some(Commit { id, tree }) = &source.commit {
            let fetched = BuildsCommand::Fetched(SourceFetched {
                build: Some(self.build()),
                attempt: self.number,
                commit: id.clone(),
                tree: tree.clone(),
            });
            // It only tells where the build is.
            if let Err(error) = self.command(fetched).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the commit was not recorded");
            }
            log.write(&format!("#0 commit {id}\n")).await;
            for notice in &source.notices {
                log.write(&plain(&format!("#0 {notice}\n"))).await;
            }
            log.write("\n").await;
        }
        Ok(source)
    }

    /// The image that was published last has the layers of its steps, for an engine that has not. One that is not there
    /// is no error.
    pub(super) async fn cache_from(&self) -> Vec<String> {
        let registry = self.world.access.internal_registry();
        let published = view::published(&self.job.view, &self.job.row.image).await;
        let reference = published.ok().flatten().map(|row| row.reference(registry));
        let is_own = |reference: &String| reference.starts_with(&format!("{registry}/"));
        reference.into_iter().filter(is_own).collect()
    }
}
