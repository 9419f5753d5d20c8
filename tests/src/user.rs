//! Somebody who calls the platform, and always reads their own writes.

use futures::StreamExt as _;
use proto::{
    admin::v1::admin_service_client::AdminServiceClient,
    builder::v1::{
        Build, CancelBuildRequest, GetBuildRequest, ListBuildsRequest, StartBuildRequest, StreamLogRequest,
        WatchBuildRequest, build_service_client::BuildServiceClient,
    },
    catalog::v1::{
        CreateImageRequest, CreateWorkspaceRequest, GetImageRequest, Image, access_service_client::AccessServiceClient,
        history_service_client::HistoryServiceClient, image_service_client::ImageServiceClient,
        workspace_service_client::WorkspaceServiceClient,
    },
    editor::v1::{
        BuildSpec, ContextKind, GetSpecRequest, ListRevisionsRequest, Revision, SaveSpecRequest, SaveSpecResponse,
        UploadContextRequest, UploadStart, UploadedContext, editor_service_client::EditorServiceClient,
        upload_context_request::Part,
    },
    notifier::v1::event_service_client::EventServiceClient,
    registry::v1::{ResolveReferenceRequest, registry_service_client::RegistryServiceClient},
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tonic_types::StatusExt as _;

type Port = InterceptedService<Channel, Stamp>;

/// What every call carries.
#[derive(Clone)]
pub struct Stamp {
    token: String,
    at_least: Arc<AtomicU64>,
}

impl Interceptor for Stamp {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let text = |text: String| {
            text.parse::<AsciiMetadataValue>()
                .map_err(|error| Status::internal(error.to_string()))
        };
        if !self.token.is_empty() {
            request
                .metadata_mut()
                .insert("authorization", text(format!("Bearer {}", self.token))?);
        }
        let at_least = self.at_least.load(Ordering::SeqCst).to_string();
        request.metadata_mut().insert("cooperage-at-least", text(at_least)?);
        Ok(request)
    }
}

#[derive(Clone)]
pub struct User {
    channel: Channel,
    stamp: Stamp,
}

/// The `ErrorInfo.reason` of a status.
pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// What the status says besides, such as the id of the build that runs.
pub fn detail(status: &Status, key: &str) -> String {
    let info = status.get_details_error_info();
    info.and_then(|info| info.metadata.get(key).cloned())
        .unwrap_or_default()
}

/// A tar with these files.
pub fn archive(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        archive.append_data(&mut header, path, *content)?;
    }
    archive.into_inner()
}

/// The messages of an upload.
pub fn upload_of(image: &str, archive: &[u8]) -> impl Iterator<Item = UploadContextRequest> {
    const CHUNK: usize = 256 * 1024;
    let start = Part::Start(UploadStart {
        image: image.to_owned(),
        ..UploadStart::default()
    });
    let chunks = archive.chunks(CHUNK).map(|chunk| Part::Chunk(chunk.to_vec().into()));
    let parts = std::iter::once(start).chain(chunks);
    parts.map(|part| UploadContextRequest { part: Some(part) })
}

impl User {
    pub fn new(address: &str, token: &str) -> anyhow::Result<Self> {
        Ok(Self {
            channel: Channel::from_shared(format!("http://{address}"))?.connect_lazy(),
            stamp: Stamp {
                token: token.to_owned(),
                at_least: Arc::default(),
            },
        })
    }

    /// Later calls reflect this position.
    pub fn saw(&self, position: u64) -> u64 {
        self.stamp.at_least.fetch_max(position, Ordering::SeqCst).max(position)
    }

    fn port(&self) -> Port {
        InterceptedService::new(self.channel.clone(), self.stamp.clone())
    }

    /// For calls of any name.
    pub fn any(&self) -> tonic::client::Grpc<Port> {
        tonic::client::Grpc::new(self.port())
    }

    pub fn admin(&self) -> AdminServiceClient<Port> {
        AdminServiceClient::new(self.port())
    }

    pub fn workspaces(&self) -> WorkspaceServiceClient<Port> {
        WorkspaceServiceClient::new(self.port())
    }

    pub fn images(&self) -> ImageServiceClient<Port> {
        ImageServiceClient::new(self.port())
    }

    pub fn access(&self) -> AccessServiceClient<Port> {
        AccessServiceClient::new(self.port())
    }

    pub fn history(&self) -> HistoryServiceClient<Port> {
        HistoryServiceClient::new(self.port())
    }

    pub fn editor(&self) -> EditorServiceClient<Port> {
        EditorServiceClient::new(self.port())
    }

    pub fn builds(&self) -> BuildServiceClient<Port> {
        BuildServiceClient::new(self.port())
    }

    pub fn registry(&self) -> RegistryServiceClient<Port> {
        RegistryServiceClient::new(self.port())
    }

    pub fn events(&self) -> EventServiceClient<Port> {
        EventServiceClient::new(self.port())
    }

    /// A new workspace of this user; its id.
    pub async fn workspace(&self, name: &str) -> Result<String, Status> {
        let request = CreateWorkspaceRequest {
            name: name.to_owned(),
            ..CreateWorkspaceRequest::default()
        };
        let created = self.workspaces().create_workspace(request).await?.into_inner();
        self.saw(created.position);
        Ok(created.id)
    }

    /// A new image; its id.
    pub async fn image(&self, workspace: &str, name: &str) -> Result<String, Status> {
        let request = CreateImageRequest {
            workspace: workspace.to_owned(),
            name: name.to_owned(),
            ..CreateImageRequest::default()
        };
        let created = self.images().create_image(request).await?.into_inner();
        self.saw(created.position);
        Ok(created.id)
    }

    pub async fn tile(&self, image: &str) -> Result<Image, Status> {
        let request = GetImageRequest {
            image: image.to_owned(),
        };
        Ok(self
            .images()
            .get_image(request)
            .await?
            .into_inner()
            .image
            .unwrap_or_default())
    }

    /// Saves a Dockerfile; with files, those.
    pub async fn save(
        &self,
        image: &str,
        dockerfile: &str,
        context: Option<UploadedContext>,
    ) -> Result<SaveSpecResponse, Status> {
        let spec = BuildSpec {
            context_kind: ContextKind::LocalFolder.into(),
            dockerfile: dockerfile.to_owned(),
            context,
            ..BuildSpec::default()
        };
        self.save_spec(image, spec).await
    }

    pub async fn save_spec(&self, image: &str, spec: BuildSpec) -> Result<SaveSpecResponse, Status> {
        let request = SaveSpecRequest {
            image: image.to_owned(),
            spec: Some(spec),
            ..SaveSpecRequest::default()
        };
        let saved = self.editor().save_spec(request).await?.into_inner();
        self.saw(saved.position);
        Ok(saved)
    }

    /// Uploads a tar with these files.
    pub async fn upload(&self, image: &str, files: &[(&str, &[u8])]) -> Result<UploadedContext, Status> {
        let archive = archive(files).map_err(|error| Status::internal(error.to_string()))?;
        self.send(image, &archive).await
    }

    /// Uploads whatever this is.
    pub async fn send(&self, image: &str, archive: &[u8]) -> Result<UploadedContext, Status> {
        let messages: Vec<_> = upload_of(image, archive).collect();
        let uploaded = self
            .editor()
            .upload_context(futures::stream::iter(messages))
            .await?
            .into_inner();
        self.saw(uploaded.position);
        Ok(uploaded.context.unwrap_or_default())
    }

    /// A saved revision; without a number, the newest.
    pub async fn revision(&self, image: &str, number: Option<u32>) -> Result<Revision, Status> {
        let request = GetSpecRequest {
            image: image.to_owned(),
            revision: number,
        };
        let found = self.editor().get_spec(request).await?.into_inner();
        Ok(found.revision.unwrap_or_default())
    }

    /// Newest first.
    pub async fn revisions(&self, image: &str) -> Result<Vec<Revision>, Status> {
        let request = ListRevisionsRequest {
            image: image.to_owned(),
            page_size: 1_000,
            ..ListRevisionsRequest::default()
        };
        Ok(self.editor().list_revisions(request).await?.into_inner().revisions)
    }

    /// Presses BUILD; the build as it was queued.
    pub async fn start(&self, image: &str) -> Result<Build, Status> {
        let request = StartBuildRequest {
            image: image.to_owned(),
            ..StartBuildRequest::default()
        };
        let started = self.builds().start_build(request).await?.into_inner();
        self.saw(started.position);
        Ok(started.build.unwrap_or_default())
    }

    /// Presses BUILD, and waits for the end.
    pub async fn build(&self, image: &str) -> Result<Build, Status> {
        let started = self.start(image).await?;
        self.until(image, &started.id, |_| false).await
    }

    /// Watches a build until it is as wanted, or has ended.
    pub async fn until(&self, image: &str, build: &str, wanted: impl Fn(&Build) -> bool) -> Result<Build, Status> {
        let request = WatchBuildRequest {
            image: image.to_owned(),
            build: build.to_owned(),
        };
        let mut rows = self.builds().watch_build(request).await?.into_inner();
        let mut last = Build::default();
        while let Some(row) = rows.message().await? {
            self.saw(row.position);
            last = row.build.unwrap_or_default();
            if wanted(&last) {
                break;
            }
        }
        Ok(last)
    }

    pub async fn cancel(&self, image: &str, build: &str) -> Result<Build, Status> {
        let request = CancelBuildRequest {
            image: image.to_owned(),
            build: build.to_owned(),
            ..CancelBuildRequest::default()
        };
        let cancelled = self.builds().cancel_build(request).await?.into_inner();
        self.saw(cancelled.position);
        Ok(cancelled.build.unwrap_or_default())
    }

    pub async fn get(&self, image: &str, build: &str) -> Result<Build, Status> {
        let request = GetBuildRequest {
            image: image.to_owned(),
            build: build.to_owned(),
        };
        Ok(self
            .builds()
            .get_build(request)
            .await?
            .into_inner()
            .build
            .unwrap_or_default())
    }

    /// Newest first.
    pub async fn journal(&self, image: &str) -> Result<Vec<Build>, Status> {
        let request = ListBuildsRequest {
            image: image.to_owned(),
            ..ListBuildsRequest::default()
        };
        Ok(self.builds().list_builds(request).await?.into_inner().builds)
    }

    /// A build's log from an offset to its end.
    pub async fn log(&self, image: &str, build: &str, offset: i64) -> Result<String, Status> {
        self.read_log(image, build, offset, true).await
    }

    /// A build's log, as far as it is there.
    pub async fn log_so_far(&self, image: &str, build: &str) -> Result<String, Status> {
        self.read_log(image, build, 0, false).await
    }

    async fn read_log(&self, image: &str, build: &str, offset: i64, follow: bool) -> Result<String, Status> {
        let request = StreamLogRequest {
            image: image.to_owned(),
            build: build.to_owned(),
            offset,
            follow,
        };
        let mut pieces = self.builds().stream_log(request).await?.into_inner();
        let mut text = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            assert_eq!(
                piece.offset,
                offset + i64::try_from(text.len()).unwrap_or(i64::MAX),
                "a log has a gap"
            );
            text.extend_from_slice(&piece.text);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The exact pull reference.
    pub async fn resolve(&self, image: &str) -> Result<String, Status> {
        let request = ResolveReferenceRequest {
            image: image.to_owned(),
            ..ResolveReferenceRequest::default()
        };
        Ok(self.registry().resolve_reference(request).await?.into_inner().reference)
    }
}
