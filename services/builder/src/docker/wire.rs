//! Connections to the engine that nobody but their caller serves: each lives in the future that uses it, and is closed
//! when that ends or is dropped. The client library serves a session on a task that nobody can end.

use bollard::errors::Error;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    client::conn::http1,
    header::{CONNECTION, HOST, UPGRADE},
    http::request,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::{
    convert::Infallible,
    future::{Future, pending},
    io,
};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

type Socket = TokioIo<Either<UnixStream, TcpStream>>;

/// The version of the API is the engine's own: what is asked here is the same in all of them.
pub(super) fn post(path: &str) -> request::Builder {
    Request::post(path).header(HOST, "docker")
}

/// Sends a request, and goes on with the answer as `then` says.
pub(super) async fn exchange<B, T, F>(
    host: &str,
    request: Request<B>,
    then: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, Error>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Future<Output = Result<T, Error>>,
{
    let (mut sender, connection) = http1::handshake(dial(host).await?).await?;
    let served = async {
        // Whoever waits for the answer is told what went wrong with it.
        let _ = connection.with_upgrades().await;
        pending::<Infallible>().await
    };
    tokio::select! {
        answered = async { then(sender.send_request(request).await?).await } => answered,
        never = served => match never {},
    }
}

/// Makes a connection a tunnel for HTTP/2, in which the engine is the one that asks.
pub(super) async fn tunnel(host: &str, request: request::Builder) -> Result<Upgraded, Error> {
    let request = request
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "h2c")
        .body(Empty::<Bytes>::new())?;
    exchange(host, request, |answer| async {
        match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => Ok(hyper::upgrade::on(answer).await?),
            _ => Err(refused(answer).await),
        }
    })
    .await
}

/// What an answer says that is none.
pub(super) async fn refused(answer: Response<Incoming>) -> Error {
    #[derive(Deserialize)]
    struct Refused {
        message: String,
    }
    let status_code = answer.status().as_u16();
    match answer.into_body().collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            let message = serde_json::from_slice(&body).map_or_else(
                |_| String::from_utf8_lossy(&body).into_owned(),
                |Refused { message }| message,
            );
            Error::DockerResponseServerError { status_code, message }
        }
        Err(error) => error.into(),
    }
}

async fn dial(host: &str) -> io::Result<Socket> {
    let socket = match host.split_once("://") {
        Some(("unix", path)) => Either::Left(UnixStream::connect(path).await?),
        Some(("tcp" | "http", address)) => Either::Right(TcpStream::connect(address.trim_end_matches('/')).await?),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    Ok(TokioIo::new(socket))
}
