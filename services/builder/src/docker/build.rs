//! One build: the context streams in, progress streams out, and dropping the future ends both.

use super::{
    Engine, EngineError, session,
    wire::{exchange, post, refused},
};
use bollard::{
    errors::Error,
    models::{BuildInfo, BuildInfoAux, ErrorDetail},
};
use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    Response,
    body::{Frame, Incoming},
    header::CONTENT_TYPE,
};
use proto::builder::v1::BuildCredentials;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io, process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{io::AsyncBufReadExt as _, sync::mpsc};
use tokio_util::io::StreamReader;
use url::form_urlencoded::Serializer;

#[derive(Clone, Default)]
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
    /// Images whose layers are taken where the same step was run for them.
    pub cache_from: Vec<String>,
    /// What the engine may ask for.
    pub credentials: BuildCredentials,
}

impl Engine {
    /// Builds, and tells `to` what the engine says meanwhile. Answers the image's id: opaque, what it means depends on
    /// the engine's image store.
    ///
    /// The engine learns of a cancelled build by its connections alone; all of them are closed when this future is
    /// dropped. It has to be polled all the time, since it answers the engine, too: whoever takes what it tells waits for
    /// others elsewhere.
    pub async fn build<S>(
        &self,
        input: BuildInput,
        context: S,
        to: mpsc::Sender<StatusResponse>,
    ) -> Result<String, EngineError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let id = session_id(&input.tag);
        let query = query(&input, &id);
        let session = session::open(&self.host, &id, input.credentials).await;
        let session = session.map_err(|error| self.failed(error))?;

        // what the engine says about a context that broke off is about the archive, not about the cause
        let broken = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&broken);
        let context = context.map_err(move |error| {
            let kind = error.kind();
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            io::Error::from(kind)
        });
        let built = async {
            let request = post(&format!("/build?{}", query?))
                .header(CONTENT_TYPE, "application/x-tar")
                .body(StreamBody::new(context.map_ok(Frame::data)))?;
            exchange(&self.host, request, |answer| read(answer, to)).await
        };
        let built = tokio::select! {
            built = built => built,
            never = session => match never {},
        };
        let cause = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (built, cause) {
            (Ok(Some(image)), _) => Ok(image),
            (_, Some(cause)) => Err(EngineError::Context(cause)),
            (Ok(None), None) => Err(EngineError::Lost { source: None }),
            (Err(error), None) => Err(EngineError::from_build(error)),
        }
    }
}

/// The image's id is the last that an engine says of a build that went well.
async fn read(answer: Response<Incoming>, to: mpsc::Sender<StatusResponse>) -> Result<Option<String>, Error> {
    if !answer.status().is_success() {
        return Err(refused(answer).await);
    }
    let body = answer.into_body().into_data_stream().map_err(io::Error::other);
    let mut lines = StreamReader::new(body).lines();
    let mut image = None;
    while let Some(line) = lines.next_line().await? {
        let said: BuildInfo = serde_json::from_str(&line)?;
        if let Some(ErrorDetail {
            message: Some(error), ..
        }) = said.error_detail
        {
            return Err(Error::DockerStreamError { error });
        }
        match said.aux {
            // Whether anybody listens is not the engine's concern.
            Some(BuildInfoAux::BuildKit(status)) => drop(to.send(status).await),
            Some(BuildInfoAux::Default(id)) => image = id.id.or(image),
            None => (),
        }
    }
    Ok(image)
}

/// `networkmode` is never set: with `host` a RUN would see the host's sockets. Nor is `remote`: the engine
/// would fetch whatever it names.
fn query(input: &BuildInput, session: &str) -> Result<String, Error> {
    fn json(value: &impl Serialize) -> Result<String, Error> {
        Ok(serde_json::to_string(value)?)
    }
    // So that the image can be built upon by an engine that did not build it.
    let mut build_args = input.build_args.clone();
    build_args.insert("BUILDKIT_INLINE_CACHE".to_owned(), "1".to_owned());
    let mut query = Serializer::new(String::new());
    query
        .append_pair("version", "2")
        .append_pair("session", session)
        .append_pair("t", &input.tag)
        .append_pair("dockerfile", &input.dockerfile)
        .append_pair("buildargs", &json(&build_args)?)
        .append_pair("labels", &json(&input.labels)?)
        .append_pair("cachefrom", &json(&input.cache_from)?)
        .append_pair("target", &input.target)
        .append_pair("platform", &input.platform);
    for (name, is_set) in [("nocache", input.no_cache), ("pull", input.pull)] {
        if is_set {
            query.append_pair(name, "1");
        }
    }
    Ok(query.finish())
}

/// Two builds with one session id would get each other's answers.
fn session_id(tag: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let tag: String = tag
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    format!("{tag}-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
