//! Log lines, traces and metrics of a process, and the trace context that goes through the log.

use crate::{Config, LogFormat};
use anyhow::Context as _;
use opentelemetry::{
    global,
    propagation::TextMapPropagator as _,
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource, metrics::SdkMeterProvider, propagation::TraceContextPropagator, trace::SdkTracerProvider,
};
use std::{collections::HashMap, io::IsTerminal as _, time::Duration};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

const SHUTDOWN: Duration = Duration::from_secs(2);
const TRACEPARENT: &str = "traceparent";

/// Exports what is left when the process ends.
pub struct Telemetry {
    tracer: SdkTracerProvider,
    meter: Option<SdkMeterProvider>,
}

impl Telemetry {
    /// Log lines on stderr. OTLP too when `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
    pub fn start(config: &Config, process: &str) -> anyhow::Result<Self> {
        let resource = Resource::builder().with_service_name(process.to_owned()).build();
        let exports = std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
        let mut tracer = SdkTracerProvider::builder().with_resource(resource.clone());
        let mut meter = None;
        if exports {
            let spans = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
            tracer = tracer.with_batch_exporter(spans);
            let metrics = opentelemetry_otlp::MetricExporter::builder().with_tonic().build()?;
            let provider = SdkMeterProvider::builder()
                .with_periodic_exporter(metrics)
                .with_resource(resource)
                .build();
            global::set_meter_provider(provider.clone());
            meter = Some(provider);
        }
        let tracer = tracer.build();

        let filter = EnvFilter::try_new(&config.log_filter).context("log_filter is not a filter")?;
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = match config.log_format {
            LogFormat::Human => lines
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false)
                .boxed(),
            LogFormat::Json => lines.json().boxed(),
        };
        // Without a collector there still are trace ids, so that an entry can be found in the logs.
        let spans = tracing_opentelemetry::layer().with_tracer(tracer.tracer("cooperage"));
        tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .with(spans.with_filter(EnvFilter::new("info")))
            .try_init()
            .context("telemetry was started twice")?;
        Ok(Self { tracer, meter })
    }

    pub fn stop(self) {
        if let Err(error) = self.tracer.shutdown_with_timeout(SHUTDOWN) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the last traces were not exported"
            );
        }
        if let Some(meter) = self.meter
            && let Err(error) = meter.shutdown()
        {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the last metrics were not exported"
            );
        }
    }
}

/// The current span as a W3C `traceparent`, or nothing.
pub fn traceparent() -> String {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT).unwrap_or_default()
}

/// Makes `span` part of the trace that a caller sent, if it sent one.
pub fn adopt(span: &Span, traceparent: &str) {
    let context = context(traceparent);
    if context.span().span_context().is_valid() {
        // It fails only when the span is disabled.
        let _ = span.set_parent(context);
    }
}

/// A span of work that an entry led to: of the same trace, and linked to what wrote the entry.
pub fn follow(span: &Span, traceparent: &str) {
    let context = context(traceparent);
    let cause = context.span().span_context().clone();
    if cause.is_valid() {
        span.add_link(cause);
        let _ = span.set_parent(context);
    }
}

/// The trace id of a W3C `traceparent`, or nothing.
pub fn trace_id(traceparent: &str) -> &str {
    traceparent.split('-').nth(1).unwrap_or_default()
}

fn context(traceparent: &str) -> opentelemetry::Context {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &carrier)
}
