//! Log lines, traces and metrics of a process, and the trace context that goes through the log.

use crate::{Config, LogFormat};
use anyhow::Context as _;
use opentelemetry::{
    KeyValue, global,
    metrics::Histogram,
    propagation::TextMapPropagator as _,
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    Resource, metrics::SdkMeterProvider, propagation::TraceContextPropagator, trace::SdkTracerProvider,
};
use std::{collections::HashMap, io::IsTerminal as _, sync::LazyLock, time::Duration};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    EnvFilter, Layer, filter::LevelFilter, layer::SubscriberExt as _, registry::LookupSpan,
    util::SubscriberInitExt as _,
};

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
        tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .with(spans(&tracer))
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

/// Without a collector there still are trace ids: they stand in the entries, and in the log lines of calls.
fn spans<S>(tracer: &SdkTracerProvider) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    // Every call has spans, and none of these is worth its time.
    let spans = tracing_opentelemetry::layer()
        .with_tracked_inactivity(false)
        .with_threads(false)
        .with_location(false);
    spans
        .with_tracer(tracer.tracer("cooperage"))
        .with_filter(LevelFilter::INFO)
}

/// Counts a call by its path, with the time until its answer began.
pub(crate) fn answered(path: String, after: Duration) {
    static CALLS: LazyLock<Histogram<f64>> = LazyLock::new(|| seconds("cooperage.call.duration"));
    CALLS.record(after.as_secs_f64(), &[KeyValue::new("path", path)]);
}

/// Counts an attempt of a build by how it ended, with the time that it took until its publication.
pub fn built(outcome: &'static str, after: Duration) {
    static BUILDS: LazyLock<Histogram<f64>> = LazyLock::new(|| seconds("cooperage.build.duration"));
    BUILDS.record(after.as_secs_f64(), &[KeyValue::new("outcome", outcome)]);
}

fn seconds(name: &'static str) -> Histogram<f64> {
    global::meter("cooperage").f64_histogram(name).with_unit("s").build()
}

/// The current span as a W3C `traceparent`, or nothing.
pub fn traceparent() -> String {
    traceparent_of(&Span::current())
}

pub(crate) fn traceparent_of(span: &Span) -> String {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove(TRACEPARENT).unwrap_or_default()
}

/// Makes `span` part of the trace that a caller sent, if it sent one. Before anything else is done with the span.
pub fn adopt(span: &Span, traceparent: &str) {
    let context = context(traceparent);
    if context.span().span_context().is_valid() {
        // It fails only when the span is disabled.
        let _ = span.set_parent(context);
    }
}

/// A span of work that an entry led to: of the same trace, and linked to what wrote the entry. Before anything else is
/// done with the span.
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

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::{SpanId, trace::SpanContext};
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SpanData, SpanExporter},
    };
    use std::sync::{Arc, Mutex};

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// The SDK has one too, behind a feature that would compile it a second time for the tests.
    #[derive(Debug, Clone, Default)]
    struct Exported(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Exported {
        async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(spans);
            Ok(())
        }
    }

    /// The spans that were exported of what `test` does, and what it answers.
    fn exported<T>(test: impl FnOnce() -> T) -> (Vec<SpanData>, T) {
        let exporter = Exported::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone());
        let subscriber = tracing_subscriber::registry().with(spans(&provider.build()));
        let answer = tracing::subscriber::with_default(subscriber, test);
        let spans = exporter.0.lock().unwrap().clone();
        (spans, answer)
    }

    fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
        spans.iter().find(|span| span.name == name).unwrap()
    }

    fn read(traceparent: &str) -> SpanContext {
        context(traceparent).span().span_context().clone()
    }

    // covers E15
    #[test]
    fn one_trace_leads_from_the_caller_to_the_work_that_an_entry_led_to() {
        let (spans, written) = exported(|| {
            let call = tracing::info_span!("call");
            adopt(&call, CALLER);
            let written = call.in_scope(traceparent);
            drop(call);

            // Later, in a policy that is in the middle of something else.
            let _pass = tracing::info_span!("pass").entered();
            let work = tracing::info_span!("work");
            follow(&work, &written);
            work.in_scope(|| tracing::info_span!("push").in_scope(|| ()));
            written
        });
        let (caller, call, work) = (read(CALLER), named(&spans, "call"), named(&spans, "work"));
        assert_eq!(call.span_context.trace_id(), caller.trace_id());
        assert_eq!(call.parent_span_id, caller.span_id());
        assert_eq!(read(&written).span_id(), call.span_context.span_id());
        assert_eq!(trace_id(&written), caller.trace_id().to_string());

        assert_eq!(work.span_context.trace_id(), caller.trace_id());
        assert_eq!(work.parent_span_id, call.span_context.span_id());
        let links: Vec<SpanId> = work.links.iter().map(|link| link.span_context.span_id()).collect();
        assert_eq!(links, [call.span_context.span_id()]);
        assert_eq!(named(&spans, "push").span_context.trace_id(), caller.trace_id());
        assert_ne!(named(&spans, "pass").span_context.trace_id(), caller.trace_id());
    }

    // covers E15
    #[test]
    fn a_span_that_nobody_entered_is_exported_too() {
        let (spans, ()) = exported(|| follow(&tracing::info_span!("publish"), CALLER));
        assert_eq!(named(&spans, "publish").links.len(), 1);
    }

    #[test]
    fn without_a_trace_or_with_nonsense_a_new_one_begins() {
        let (spans, written) = exported(|| {
            let call = tracing::info_span!("call");
            adopt(&call, "00-nonsense");
            follow(&call, "");
            call.in_scope(traceparent)
        });
        let call = named(&spans, "call");
        assert_eq!(call.parent_span_id, SpanId::INVALID);
        assert_eq!(call.links.len(), 0);
        assert_eq!(read(&written).span_id(), call.span_context.span_id());
    }

    #[test]
    fn without_telemetry_there_is_no_trace() {
        assert_eq!(traceparent(), "");
        assert_eq!(trace_id(""), "");
    }
}
