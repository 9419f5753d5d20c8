//! A click on BUILD, as a client sees it: upload, save, start, the log, the end, and what can be pulled then.

use crate::platform::{Client, Platform, at_least};
use anyhow::{Context as _, bail, ensure};
use proto::{
    builder::v1::{StartBuildRequest, StreamLogRequest, WatchBuildRequest},
    catalog::v1::BuildOutcome,
    editor::v1::{
        BuildSpec, ContextKind, SaveSpecRequest, UploadContextRequest, UploadStart, UploadedContext,
        upload_context_request::Part,
    },
};
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;

const CHUNK: usize = 1 << 20;
/// Chunks on the way between the disk and the server.
const CHUNKS: usize = 4;

/// A folder to build from, as both ways of building it get it.
pub(crate) struct Context {
    pub(crate) folder: PathBuf,
    pub(crate) files: Vec<&'static str>,
    pub(crate) dockerfile: String,
}

/// One image on a platform, with a connection of its own.
pub(crate) struct Image {
    client: Client,
    registry: String,
    id: String,
    /// What its next call must see.
    position: u64,
    revision: u32,
}

impl Image {
    pub(crate) async fn create(platform: &Platform, name: &str) -> anyhow::Result<Self> {
        let mut client = platform.client().await?;
        let workspace = client.workspace().await?;
        let (id, position) = client.image(&workspace, name).await?;
        Ok(Self {
            client,
            registry: platform.registry()?,
            id,
            position,
            revision: 0,
        })
    }

    /// Sends the files, and saves a revision that is built from them.
    pub(crate) async fn save(&mut self, context: &Context) -> anyhow::Result<()> {
        let uploaded = self.upload(context).await?;
        self.save_with(context, uploaded).await
    }

    pub(crate) async fn upload(&mut self, context: &Context) -> anyhow::Result<UploadedContext> {
        let (chunks, parts) = mpsc::channel(CHUNKS);
        let start = UploadStart {
            image: self.id.clone(),
            ..UploadStart::default()
        };
        chunks
            .send(UploadContextRequest {
                part: Some(Part::Start(start)),
            })
            .await?;
        let (folder, files) = (context.folder.clone(), context.files.clone());
        let mut sender = JoinSet::new();
        sender.spawn_blocking(move || archive(&folder, &files, chunks));
        let request = at_least(ReceiverStream::new(parts), self.position)?;
        let answer = self.client.editor.upload_context(request).await?.into_inner();
        while let Some(sent) = sender.join_next().await {
            sent??;
        }
        self.position = answer.position;
        answer.context.context("the upload was not answered with its digest")
    }

    pub(crate) async fn save_with(&mut self, context: &Context, uploaded: UploadedContext) -> anyhow::Result<()> {
        let spec = BuildSpec {
            context_kind: ContextKind::LocalFolder.into(),
            dockerfile: context.dockerfile.clone(),
            context: Some(uploaded),
            ..BuildSpec::default()
        };
        self.save_spec(spec).await
    }

    pub(crate) async fn save_spec(&mut self, spec: BuildSpec) -> anyhow::Result<()> {
        let save = SaveSpecRequest {
            image: self.id.clone(),
            spec: Some(spec),
            ..SaveSpecRequest::default()
        };
        let saved = self
            .client
            .editor
            .save_spec(at_least(save, self.position)?)
            .await?
            .into_inner();
        self.position = self.position.max(saved.position);
        self.revision = saved.revision;
        Ok(())
    }

    async fn start(&mut self) -> anyhow::Result<String> {
        let start = StartBuildRequest {
            image: self.id.clone(),
            expected_revision: Some(self.revision),
            ..StartBuildRequest::default()
        };
        let started = self
            .client
            .builds
            .start_build(at_least(start, self.position)?)
            .await?
            .into_inner();
        self.position = started.position;
        Ok(started.build.context("the build has no id")?.id)
    }

    /// Waits until what was built can be pulled by its digest.
    async fn published(&mut self, build: String) -> anyhow::Result<()> {
        let watch = WatchBuildRequest {
            image: self.id.clone(),
            build,
        };
        let mut changes = self
            .client
            .builds
            .watch_build(at_least(watch, self.position)?)
            .await?
            .into_inner();
        while let Some(change) = changes.message().await? {
            let build = change.build.unwrap_or_default();
            match build.outcome() {
                BuildOutcome::InProgress | BuildOutcome::Unspecified => (),
                BuildOutcome::Succeeded => {
                    self.position = self.position.max(change.position);
                    return is_there(&self.registry, &build.reference).await;
                }
                outcome => bail!("the build ended as {}: {}", outcome.as_str_name(), build.cause),
            }
        }
        bail!("the build was no longer told of")
    }

    /// From the click until the image can be pulled by its digest.
    pub(crate) async fn click(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let build = self.start().await?;
        self.published(build).await?;
        Ok(began.elapsed())
    }

    /// From the click until the first bytes of its log. Then it is let end.
    pub(crate) async fn first_line(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let build = self.start().await?;
        let follow = StreamLogRequest {
            image: self.id.clone(),
            build: build.clone(),
            offset: 0,
            follow: true,
        };
        let mut log = self
            .client
            .builds
            .stream_log(at_least(follow, self.position)?)
            .await?
            .into_inner();
        loop {
            let part = log.message().await?.context("the log ended before its first line")?;
            if !part.text.is_empty() {
                break;
            }
        }
        let elapsed = began.elapsed();
        self.published(build).await?;
        Ok(elapsed)
    }
}

/// Reads files into a tar, and the tar into messages.
fn archive(folder: &Path, files: &[&str], chunks: mpsc::Sender<UploadContextRequest>) -> anyhow::Result<()> {
    let mut archive = tar::Builder::new(Chunks {
        chunks,
        buffer: Vec::with_capacity(CHUNK),
    });
    for name in files {
        archive.append_file(name, &mut File::open(folder.join(name))?)?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

struct Chunks {
    chunks: mpsc::Sender<UploadContextRequest>,
    buffer: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..fits]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        let part = UploadContextRequest {
            part: Some(Part::Chunk(chunk.into())),
        };
        self.chunks
            .blocking_send(part)
            .map_err(|_| io::Error::other("the server takes no more"))
    }
}

/// Asks the registry for the manifest, as a node that pulls it would.
async fn is_there(registry: &str, reference: &str) -> anyhow::Result<()> {
    let (repository, digest) = reference.split_once('@').context("what was built has no digest")?;
    let path = repository
        .split_once('/')
        .context("what was built is in no registry")?
        .1;
    let mut connection = TcpStream::connect(registry).await?;
    let question = format!(
        "HEAD /v2/{path}/manifests/{digest} HTTP/1.1\r\nHost: {registry}\r\nConnection: close\r\nAccept: {}\r\n\r\n",
        [
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.index.v1+json",
        ]
        .join(", ")
    );
    connection.write_all(question.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let status = answer.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "{reference} can't be pulled: {status}");
    Ok(())
}
