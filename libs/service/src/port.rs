//! The one port of a process: gRPC, gRPC-web, health, reflection, and what HTTP there is.

use crate::{Config, Process, refusals::Refusals, telemetry};
use anyhow::Context as _;
use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
    serve::{Listener as _, ListenerExt as _},
};
use eventlog::View;
use futures::stream;
use serde::Serialize;
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Status, service::Routes, transport::Server};
use tonic_health::server::HealthReporter;
use tonic_web::GrpcWebLayer;
use tower_http::cors::CorsLayer;
use tracing::{Instrument as _, field::Empty};

/// A client has one connection, and each call on it and each stream that it follows is one of these.
const STREAMS_MAX: u32 = 4_000;
/// How long calls that are still open may take once the process stops.
const DRAIN: Duration = Duration::from_secs(2);

pub(crate) async fn serve(
    process: Process,
    config: &Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let mut routes = process.routes.add_service(health);
    if config.reflection {
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        routes = routes
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
    }
    let watched = process.health.clone();
    let exposed = ["grpc-status", "grpc-message", "grpc-status-details-bin"].map(HeaderName::from_static);
    let app = routes
        .prepare()
        .into_axum_router()
        .layer(middleware::from_fn_with_state(Arc::new(process.refusals), refusing))
        .layer(GrpcWebLayer::new())
        .reset_fallback()
        .route("/healthz", get(move || async move { Json(facts(&watched)) }))
        .fallback(unknown)
        .layer(middleware::from_fn(traced))
        .layer(CorsLayer::permissive().expose_headers(exposed));

    let listener = listener.tap_io(|tcp| {
        // Small messages must not wait for each other. Where that can't be set, they do.
        let _ = tcp.set_nodelay(true);
    });
    // It waits a little when this process has too many files open, and never fails.
    let accepted = stream::unfold(listener, |mut listener| async {
        let (tcp, _) = listener.accept().await;
        Some((Ok::<_, Infallible>(tcp), listener))
    });
    let served = Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(STREAMS_MAX)
        .add_routes(Routes::from(app))
        .serve_with_incoming_shutdown(accepted, stop.cancelled());
    let drained = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = served => served.context("the port can't be served"),
        () = report(reporter, process.health) => Ok(()),
        () = drained => Ok(()),
    }
}

/// One span per call, in the trace that the caller is in.
async fn traced(request: Request, next: Next) -> Response {
    let span = tracing::info_span!("call", path = request.uri().path(), trace_id = Empty);
    if let Some(traceparent) = request
        .headers()
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
    {
        telemetry::adopt(&span, traceparent);
    }
    span.record("trace_id", telemetry::trace_id(&telemetry::traceparent_of(&span)));
    let (path, began) = (request.uri().path().to_owned(), Instant::now());
    let response = next.run(request).instrument(span).await;
    telemetry::answered(path, began.elapsed());
    response
}

/// Takes note of what callers are refused.
async fn refusing(
    State(refusals): State<Arc<HashMap<&'static str, Refusals>>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let (response, asked) = access::asking(next.run(request)).await;
    // A call that is answered has its status behind the answer, and one that is refused has it here.
    if let (Some(status), Some(asked)) = (Status::from_header_map(response.headers()), asked)
        && let Some(refusals) = path.split('/').nth(1).and_then(|service| refusals.get(service))
    {
        refusals.note(&path, &status, asked);
    }
    response
}

async fn unknown(request: Request) -> Response {
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return Status::unimplemented("this server has no such call").into_http::<Body>();
    }
    (
        axum::http::StatusCode::NOT_FOUND,
        "nothing here; `cooper --help` says what there is\n",
    )
        .into_response()
}

/// How a service is, for those who operate it.
#[derive(Serialize)]
struct Facts {
    service: &'static str,
    view: &'static str,
    position: u64,
    /// Why its view stopped for good.
    halted: Option<String>,
    /// Why its view does not get on at the moment.
    troubled: Option<String>,
}

fn facts(health: &[(&'static str, View)]) -> Vec<Facts> {
    let one = |(service, view): &(&'static str, View)| {
        let state = view.state();
        Facts {
            service,
            view: view.name(),
            position: state.position.0,
            halted: state.halted.map(|halted| {
                let why = state.why.iter().map(|why| format!(": {why}"));
                why.fold(halted.to_string(), |halted, why| halted + &why)
            }),
            troubled: state.troubled.as_deref().map(str::to_owned),
        }
    };
    health.iter().map(one).collect()
}

/// Keeps each service's health in step with its view.
async fn report(reporter: HealthReporter, health: Vec<(&'static str, View)>) {
    let each = health.into_iter().map(|(service, view)| {
        let reporter = reporter.clone();
        async move {
            let mut changes = view.changes();
            let mut reported = None;
            loop {
                let state = changes.borrow_and_update().clone();
                let status = if state.halted.is_some() || state.troubled.is_some() {
                    tonic_health::ServingStatus::NotServing
                } else {
                    tonic_health::ServingStatus::Serving
                };
                if reported != Some(status) {
                    reporter.set_service_status(service, status).await;
                    reported = Some(status);
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        }
    });
    futures::future::join_all(each).await;
    std::future::pending::<()>().await;
}
