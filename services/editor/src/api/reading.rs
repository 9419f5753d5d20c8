//! What is saved, as it is asked for: revisions, what is between two of them, and what is to be said about one.

use super::{EditorApi, refused};
use crate::{
    diff,
    domain::{DOCKERFILE_BYTES_MAX, Refused},
    lint, view,
};
use access::Right;
use proto::editor::v1::{
    BuildSpec, ContextKind, DiffRevisionsRequest, DiffRevisionsResponse, GetSpecRequest, GetSpecResponse,
    LintDockerfileRequest, LintDockerfileResponse, ListRevisionsRequest, ListRevisionsResponse, Revision,
};
use service::{Failure, invalid, outage, page};
use tokio::task::spawn_blocking;
use tonic::Request;

impl EditorApi {
    pub(super) async fn get(&self, request: Request<GetSpecRequest>) -> Result<GetSpecResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self.world.access.any_image(&call.caller, &request.image).await?;
        let image = located.image.to_string();
        let mut revision = self.revision_or_draft(&image, request.revision).await?;
        if let Some(spec) = &revision.spec {
            revision.diagnostics = lint::of_spec(&self.world, spec).await;
        }
        Ok(GetSpecResponse {
            revision: Some(revision),
        })
    }

    async fn revision_or_draft(&self, image: &str, number: Option<u32>) -> Result<Revision, Failure> {
        match number {
            Some(0) => Ok(self.draft()),
            Some(number) => self.revision(image, number).await,
            None => Ok(view::saved(&self.view, image, None)
                .await?
                .unwrap_or_else(|| self.draft())),
        }
    }

    pub(super) async fn diff(&self, request: Request<DiffRevisionsRequest>) -> Result<DiffRevisionsResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self.world.access.any_image(&call.caller, &request.image).await?;
        let image = located.image.to_string();
        let after = match request.to {
            Some(0) => Revision::default(),
            to => self.revision_or_draft(&image, to).await?,
        };
        let before = match request.from.unwrap_or_else(|| after.number.saturating_sub(1)) {
            0 => Revision::default(),
            number => self.revision(&image, number).await?,
        };
        let (from, to) = (before.number, after.number);
        let (before, after) = (before.spec.unwrap_or_default(), after.spec.unwrap_or_default());
        let changes = diff::changes(&before, &after);
        let dockerfile = spawn_blocking(move || diff::unified(&before.dockerfile, &after.dockerfile)).await;
        Ok(DiffRevisionsResponse {
            from,
            to,
            dockerfile: dockerfile.map_err(|error| outage(&error))?,
            changes,
        })
    }

    pub(super) async fn lint(
        &self,
        request: Request<LintDockerfileRequest>,
    ) -> Result<LintDockerfileResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let bytes = request.dockerfile.as_ref().map_or(0, String::len);
        if bytes > DOCKERFILE_BYTES_MAX {
            return Err(refused(Refused::DockerfileTooLarge { bytes }));
        }
        let spec = match (request.image.as_str(), &request.dockerfile) {
            ("", None) => return Err(invalid("dockerfile", "a text or an image is needed").into()),
            ("", Some(_)) => BuildSpec::default(),
            (image, _) => {
                let located = self.world.access.image(&call.caller, image, Right::Write).await?;
                let revision = self.revision_or_draft(&located.image.to_string(), None).await?;
                revision.spec.unwrap_or_default()
            }
        };
        let diagnostics = match request.dockerfile {
            Some(text) => lint::of_text(&self.world, text, &spec).await,
            None => lint::of_spec(&self.world, &spec).await,
        };
        Ok(LintDockerfileResponse { diagnostics })
    }

    /// What the editor shows before the first save.
    fn draft(&self) -> Revision {
        Revision {
            spec: Some(BuildSpec {
                context_kind: ContextKind::LocalFolder.into(),
                dockerfile: self.world.config.editor.default_dockerfile.clone(),
                ..BuildSpec::default()
            }),
            ..Revision::default()
        }
    }

    pub(super) async fn revision(&self, image: &str, number: u32) -> Result<Revision, Failure> {
        if let Some(revision) = view::saved(&self.view, image, Some(number)).await? {
            return Ok(revision);
        }
        let newest = view::saved(&self.view, image, None).await?;
        Err(refused(Refused::NoSuchRevision {
            revision: number,
            newest: newest.map_or(0, |newest| newest.number),
        }))
    }

    pub(super) async fn list(&self, request: Request<ListRevisionsRequest>) -> Result<ListRevisionsResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self.world.access.any_image(&call.caller, &request.image).await?;
        let below = match &*request.page_token {
            "" => u32::MAX,
            token => token
                .parse()
                .map_err(|_| invalid("page_token", "not a token of this call"))?,
        };
        let rows = page(request.page_size)?;
        let (revisions, has_more) = view::page(&self.view, &located.image.to_string(), below, rows).await?;
        let next_page_token = match revisions.last() {
            Some(last) if has_more => last.number.to_string(),
            _ => String::new(),
        };
        Ok(ListRevisionsResponse {
            revisions,
            next_page_token,
        })
    }

    /// The spec of a revision; before the first there is nothing.
    pub(super) async fn before(&self, image: &str, number: u32) -> Result<Option<BuildSpec>, Failure> {
        if number == 0 {
            return Ok(Some(BuildSpec::default()));
        }
        let found = view::saved(&self.view, image, Some(number)).await?;
        Ok(found.and_then(|revision| revision.spec))
    }
}
