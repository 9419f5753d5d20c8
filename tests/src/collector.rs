//! A collector of traces, which stands outside our walls: it remembers what it is sent.

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use std::time::Duration;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

const PATIENCE: Duration = Duration::from_secs(30);

/// A span, and the service that sent it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub service: String,
    pub span: Span,
}

pub struct Collector {
    address: String,
    sent: watch::Receiver<Vec<Sent>>,
    _server: JoinSet<()>,
}

struct Receiver(watch::Sender<Vec<Sent>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send_modify(|sent| {
            for resource in request.into_inner().resource_spans {
                let attributes = resource.resource.unwrap_or_default().attributes;
                let service = attributes.into_iter().find(|attribute| attribute.key == "service.name");
                let service = service.and_then(|attribute| attribute.value?.value);
                let service = match service {
                    Some(Value::StringValue(name)) => name,
                    _ => String::new(),
                };
                let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                sent.extend(spans.map(|span| Sent {
                    service: service.clone(),
                    span,
                }));
            }
        });
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (sender, sent) = watch::channel(Vec::new());
        let serving = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Receiver(sender)))
            .serve_with_incoming(TcpIncoming::from(listener));
        let mut server = JoinSet::new();
        server.spawn(async move {
            if let Err(error) = serving.await {
                eprintln!("the collector ended: {error}");
            }
        });
        Ok(Self {
            address,
            sent,
            _server: server,
        })
    }

    /// What makes a process send its spans here, soon after they end.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.address)),
            ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
        ]
    }

    /// Waits until what was sent is as wanted, and answers it.
    pub async fn until(&self, wanted: impl Fn(&[Sent]) -> bool) -> anyhow::Result<Vec<Sent>> {
        let mut sent = self.sent.clone();
        let found = timeout(PATIENCE, sent.wait_for(|sent| wanted(sent))).await;
        match found {
            Ok(found) => Ok(found?.clone()),
            Err(_) => anyhow::bail!("the collector was sent no more than {:#?}", self.sent.borrow()),
        }
    }
}
