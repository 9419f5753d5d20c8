//! One build: the context streams in, progress streams out, and dropping the stream ends both.

use std::{
    collections::BTreeMap,
    io,
    pin::pin,
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bollard::{
    body_try_stream,
    models::BuildInfoAux,
    query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion},
};
use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::{Engine, EngineError, dial};

/// Until the engine begins to answer, which it may do only after the whole context. Deadlines are the caller's.
const TIMEOUT: Duration = Duration::from_hours(24);
/// Messages under way to a slow reader; then the engine has to wait.
const QUEUE: usize = 64;

#[derive(Debug, Clone, Default)]
pub struct BuildInput {
    /// The reference that the image gets. Unique to the attempt: it also names the session with the engine.
    pub tag: String,
    /// Its name inside the context.
    pub dockerfile: String,
    pub build_args: BTreeMap<String, String>,
    /// The user's and the platform's.
    pub labels: BTreeMap<String, String>,
    /// Empty: the last stage.
    pub target: String,
    /// Empty: the engine's own.
    pub platform: String,
    pub no_cache: bool,
    pub pull: bool,
}

#[derive(Debug)]
pub enum Progress {
    /// See [`Plain`](crate::progress::Plain).
    Status(StatusResponse),
    /// The last message of a build that went well. Opaque: what it means depends on the engine's image store.
    Image(String),
}

impl Engine {
    /// Ends with [`Progress::Image`] or with an error, never without one of them.
    ///
    /// Each build has a thread with a runtime of its own. The engine learns of a cancelled build by its
    /// connections alone, and bollard serves the build's session on a task that nobody can end, so that in a
    /// shared runtime each build would leave a connection behind. They all end with this runtime.
    pub fn build<S>(
        &self,
        input: BuildInput,
        context: S,
    ) -> impl Stream<Item = Result<Progress, EngineError>> + Send + Unpin + use<S>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let (to, mut from) = mpsc::channel(QUEUE);
        let host = self.host.clone();
        let started = thread::Builder::new()
            .name("build".to_owned())
            .spawn(move || run(&host, input, context, &to));
        let mut ended = false;
        let lost = stream::once(async { Err(EngineError::Lost { source: None }) });
        if let Err(error) = started {
            tracing::error!(error = &error as &dyn std::error::Error, "no thread for a build");
        }
        stream::poll_fn(move |context| from.poll_recv(context))
            .chain(lost)
            .take_while(move |item| {
                let over = std::mem::replace(&mut ended, matches!(item, Ok(Progress::Image(_)) | Err(_)));
                std::future::ready(!over)
            })
            .boxed()
    }
}

fn run<S>(host: &str, input: BuildInput, context: S, to: &mpsc::Sender<Result<Progress, EngineError>>)
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async {
        tokio::select! {
            () = to.closed() => {}
            ended = forward(host, input, context, to) => {
                // nobody listens any more
                let _ = to.send(ended).await;
            }
        }
    });
    // not waiting for a file of the context that is being read
    runtime.shutdown_background();
}

/// How the build ended.
async fn forward<S>(
    host: &str,
    input: BuildInput,
    context: S,
    to: &mpsc::Sender<Result<Progress, EngineError>>,
) -> Result<Progress, EngineError>
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let docker = dial(host).await?.with_timeout(TIMEOUT);
    // what the engine says about a context that broke off is about the archive, not about the cause
    let broken = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&broken);
    let context = context.map_err(move |error| {
        let kind = error.kind();
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::from(kind)
    });
    let cause = || {
        broken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .map(EngineError::Context)
    };

    let mut items = pin!(docker.build_image(options(input), None, Some(body_try_stream(context))));
    let mut image = None;
    while let Some(item) = items.next().await {
        match item.map(|info| info.aux) {
            Ok(Some(BuildInfoAux::BuildKit(status))) => {
                if to.send(Ok(Progress::Status(status))).await.is_err() {
                    break;
                }
            }
            Ok(Some(BuildInfoAux::Default(id))) => image = id.id.or(image),
            Ok(None) => {}
            Err(error) => return Err(cause().unwrap_or_else(|| EngineError::from_build(error))),
        }
    }
    match image {
        Some(id) => Ok(Progress::Image(id)),
        None => Err(cause().unwrap_or(EngineError::Lost { source: None })),
    }
}

/// `networkmode` is never set: with `host` a RUN would see the host's sockets. Nor is `remote`: the engine
/// would fetch whatever it names.
fn options(input: BuildInput) -> BuildImageOptions {
    BuildImageOptions {
        t: Some(input.tag.clone()),
        dockerfile: input.dockerfile,
        buildargs: Some(input.build_args.into_iter().collect()),
        labels: Some(input.labels.into_iter().collect()),
        target: input.target,
        platform: input.platform,
        nocache: input.no_cache,
        pull: input.pull.then(|| "1".to_owned()),
        ..BuildImageOptionsBuilder::default()
            .version(BuilderVersion::BuilderBuildKit)
            .session(&session(&input.tag))
            .build()
    }
}

/// Two builds with one session id would get each other's answers.
fn session(tag: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let tag: String = tag
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    format!("{tag}-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
