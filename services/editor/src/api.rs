//! EditorService.

mod reading;

use crate::{
    diff,
    domain::{Command, Refused, Spec},
    lint,
    repository::{self, Repositories},
    upload, view,
};
use ::context::Limits;
use access::Right;
use aggregate::Aggregate as _;
use eventlog::{Done, ExecuteError, Outcome, View, Writer};
use git::normalize;
use ids::ImageId;
use proto::editor::v1::{
    BuildSpec, CheckRepositoryRequest, CheckRepositoryResponse, ContextKind, DiffRevisionsRequest,
    DiffRevisionsResponse, GetSpecRequest, GetSpecResponse, LintDockerfileRequest, LintDockerfileResponse,
    ListRevisionsRequest, ListRevisionsResponse, RestoreRevisionRequest, RestoreRevisionResponse, SaveSpecRequest,
    SaveSpecResponse, UploadContextRequest, UploadContextResponse, UploadStart, editor_service_server::EditorService,
    upload_context_request::Part,
};
use service::{Call, Failure, World, invalid};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

/// Uploads at the same time, each with two threads and a few megabytes; others wait.
const UPLOADS: usize = 16;

pub(crate) struct EditorApi {
    world: World,
    view: View,
    writer: Writer,
    uploads: Arc<Semaphore>,
    repositories: Repositories,
}

impl EditorApi {
    pub(crate) fn new(world: &World, view: &View) -> Self {
        Self {
            world: world.clone(),
            view: view.clone(),
            writer: Writer::new(world.log.clone(), view.clone(), world.clock.clone()),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            repositories: Repositories::new(world),
        }
    }

    async fn admit<T>(&self, request: Request<T>) -> Result<(Call, T), Failure> {
        let call = self.world.admit(request.metadata(), &self.view).await?;
        Ok((call, request.into_inner()))
    }

    /// One question about rights and one append: a save waits for no view.
    async fn save(&self, request: Request<SaveSpecRequest>) -> Result<SaveSpecResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let spec = request
            .spec
            .ok_or_else(|| invalid("spec", "a save needs what to save"))?;
        let spec = self.with_source(spec)?;
        if request.validate_only {
            let diagnostics = lint::of_spec(&self.world, &spec).await;
            let first = save_command(spec, request.note, None);
            Spec::default().decide(first).map_err(refused)?;
            return Ok(SaveSpecResponse {
                diagnostics,
                ..SaveSpecResponse::default()
            });
        }
        let located = self
            .world
            .access
            .image(&call.caller, &request.image, Right::Write)
            .await?;
        self.keep_files(located.image, &spec).await?;
        let expected = request.expected_revision;
        let command = save_command(spec.clone(), request.note, expected);
        let request = call.request(&self.world, &request.request_id)?;
        // While the log writes it down.
        let (diagnostics, done) = tokio::join!(
            lint::of_spec(&self.world, &spec),
            self.execute(&request, located.image, command, expected)
        );
        let done = done?;
        Ok(SaveSpecResponse {
            position: done.position.0,
            revision: self.revision_of(&done).await?,
            created: done.outcome != Outcome::Unchanged,
            diagnostics,
        })
    }

    /// Whoever comes second is told who came first, and what that changed.
    async fn execute(
        &self,
        request: &eventlog::Request,
        image: ImageId,
        command: Command,
        expected: Option<u32>,
    ) -> Result<Done<Spec>, Failure> {
        let refusal = match self.writer.execute::<Spec>(request, &image, command).await {
            Err(ExecuteError::Refused(refusal)) => refusal,
            ended => return Ok(ended?),
        };
        let image = image.to_string();
        if let Some(expected) = expected.filter(|_| refusal.reason() == "STALE_REVISION")
            && let Some(current) = view::saved(&self.view, &image, None).await?
            && let Some(seen) = self.before(&image, expected).await?
        {
            return Err(refused(Refused::Overtaken {
                expected,
                current: current.number,
                actor: current.actor,
                changed: diff::names(&seen, &current.spec.unwrap_or_default()),
            }));
        }
        Err(ExecuteError::Refused(refusal).into())
    }

    /// Reads the address of the repository, as the builder will. In the half that is not used, http is nobody's danger.
    fn with_source(&self, mut spec: BuildSpec) -> Result<BuildSpec, Failure> {
        if let Some(git) = spec.git.as_mut().filter(|git| !git.url.is_empty()) {
            let is_unused = spec.context_kind != i32::from(ContextKind::GitRepository);
            let mut allowed = repository::allowed(&self.world);
            allowed.http |= is_unused;
            let source = normalize(&git.url, &git.r#ref, &git.directory, &allowed);
            *git = repository::written(source.map_err(|malformed| repository::malformed(&malformed))?);
        }
        Ok(spec)
    }

    /// Files that no revision needs yet may be about to be removed. From here on they are not, for a day.
    async fn keep_files(&self, image: ImageId, spec: &BuildSpec) -> Result<(), Failure> {
        let Some(context) = spec.context.as_ref().filter(|context| !context.digest.is_empty()) else {
            return Ok(());
        };
        let needed = view::needs(&self.view, &image.to_string(), &context.digest).await?;
        if needed || self.world.nats.blobs().keep(&context.digest).await? {
            return Ok(());
        }
        // In the words of the aggregate, so that nobody learns what is stored for others.
        Err(refused(Refused::ContextNotUploaded))
    }

    /// The number that a command led to. A repeated one is told what it was told before.
    async fn revision_of(&self, done: &Done<Spec>) -> Result<u32, Failure> {
        match done.outcome {
            Outcome::Written | Outcome::Unchanged => Ok(done.state.number()),
            Outcome::Repeated => {
                self.world.reach(&self.view, done.position).await?;
                let number = view::number_at(&self.view, done.position).await?;
                Ok(number.unwrap_or_else(|| done.state.number()))
            }
        }
    }

    async fn restore(&self, request: Request<RestoreRevisionRequest>) -> Result<RestoreRevisionResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self
            .world
            .access
            .image(&call.caller, &request.image, Right::Write)
            .await?;
        // Its files are kept, because it is.
        let old = self.revision(&located.image.to_string(), request.revision).await?;
        let command = Command::SaveRevision {
            spec: Box::new(old.spec.unwrap_or_default()),
            note: String::new(),
            expected_revision: request.expected_revision,
            restored_from: old.number,
        };
        let expected = request.expected_revision;
        let request = call.request(&self.world, &request.request_id)?;
        let done = self.execute(&request, located.image, command, expected).await?;
        Ok(RestoreRevisionResponse {
            position: done.position.0,
            revision: self.revision_of(&done).await?,
        })
    }

    async fn upload(
        &self,
        request: Request<Streaming<UploadContextRequest>>,
    ) -> Result<UploadContextResponse, Failure> {
        let (call, mut messages) = self.admit(request).await?;
        let start = start(messages.message().await?)?;
        let located = self
            .world
            .access
            .image(&call.caller, &start.image, Right::Write)
            .await?;
        let request = call.request(&self.world, &start.request_id)?;
        let _turn = self.uploads.acquire().await;
        let settings = &self.world.config.editor;
        let limits = Limits {
            bytes: settings.context_bytes_max,
            entries: settings.context_entries_max,
        };
        let context = upload::receive(messages, &self.world.ids, limits, self.world.nats.blobs()).await?;
        let command = Command::RecordContext {
            context: context.clone(),
        };
        let done = self.writer.execute::<Spec>(&request, &located.image, command).await?;
        let context = match done.outcome {
            Outcome::Written | Outcome::Unchanged => context,
            Outcome::Repeated => {
                self.world.reach(&self.view, done.position).await?;
                view::upload_at(&self.view, done.position).await?.unwrap_or(context)
            }
        };
        Ok(UploadContextResponse {
            position: done.position.0,
            context: Some(context),
        })
    }

    async fn check(&self, request: Request<CheckRepositoryRequest>) -> Result<CheckRepositoryResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        self.repositories.check(&call.caller.user, request).await
    }
}

fn save_command(spec: BuildSpec, note: String, expected_revision: Option<u32>) -> Command {
    Command::SaveRevision {
        spec: Box::new(spec),
        note,
        expected_revision,
        restored_from: 0,
    }
}

fn start(first: Option<UploadContextRequest>) -> Result<UploadStart, Failure> {
    match first.and_then(|message| message.part) {
        Some(Part::Start(start)) => Ok(start),
        Some(Part::Chunk(_)) | None => Err(invalid("start", "the first message names the image").into()),
    }
}

fn refused(refused: Refused) -> Failure {
    ExecuteError::Refused(Box::new(refused)).into()
}

#[tonic::async_trait]
impl EditorService for EditorApi {
    async fn save_spec(&self, request: Request<SaveSpecRequest>) -> Result<Response<SaveSpecResponse>, Status> {
        Ok(self.save(request).await.map(Response::new)?)
    }

    async fn get_spec(&self, request: Request<GetSpecRequest>) -> Result<Response<GetSpecResponse>, Status> {
        Ok(self.get(request).await.map(Response::new)?)
    }

    async fn list_revisions(
        &self,
        request: Request<ListRevisionsRequest>,
    ) -> Result<Response<ListRevisionsResponse>, Status> {
        Ok(self.list(request).await.map(Response::new)?)
    }

    async fn restore_revision(
        &self,
        request: Request<RestoreRevisionRequest>,
    ) -> Result<Response<RestoreRevisionResponse>, Status> {
        Ok(self.restore(request).await.map(Response::new)?)
    }

    async fn diff_revisions(
        &self,
        request: Request<DiffRevisionsRequest>,
    ) -> Result<Response<DiffRevisionsResponse>, Status> {
        Ok(self.diff(request).await.map(Response::new)?)
    }

    async fn lint_dockerfile(
        &self,
        request: Request<LintDockerfileRequest>,
    ) -> Result<Response<LintDockerfileResponse>, Status> {
        Ok(self.lint(request).await.map(Response::new)?)
    }

    async fn upload_context(
        &self,
        request: Request<Streaming<UploadContextRequest>>,
    ) -> Result<Response<UploadContextResponse>, Status> {
        Ok(self.upload(request).await.map(Response::new)?)
    }

    async fn check_repository(
        &self,
        request: Request<CheckRepositoryRequest>,
    ) -> Result<Response<CheckRepositoryResponse>, Status> {
        Ok(self.check(request).await.map(Response::new)?)
    }
}
