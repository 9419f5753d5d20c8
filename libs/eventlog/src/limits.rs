//! Where the log and the build output end: as the settings said when they were made, and later if who may raises it.

use crate::{
    Nats,
    nats::{LOG, OUTPUT},
};
use anyhow::Context as _;
use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind},
    stream::Config,
};
use std::cmp::Ordering;

/// The account that may raise limits, and no service has: who changes a stream can also make it forget.
pub const OPERATOR: &str = "operator";

/// The streams with a limit, and the setting that each has it from.
const LIMITED: [(&str, &str); 2] = [(LOG, "nats.log_bytes_max"), (OUTPUT, "nats.output_bytes_max")];

/// A server that does not fit to this build and its settings. Waiting does not help here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

impl Unfit {
    pub(crate) fn drifted(name: &str, drift: &[String]) -> Self {
        let drift = drift.join(", ");
        Self(format!(
            "the stream {name} is not as this build and its settings expect, refusing to start: {drift}"
        ))
    }

    /// A limit that is not as it was set.
    pub(crate) fn limited(found: &Config, wanted: &Config) -> Option<Self> {
        let (name, setting) = limited(wanted)?;
        let (found, wanted) = (found.max_bytes, wanted.max_bytes);
        let sentence = match end(found).cmp(&end(wanted)) {
            Ordering::Equal => return None,
            Ordering::Less => format!(
                "the stream {name} ends at {found} bytes, and {setting} says {wanted}: `cooper admin nats-limits` \
                 raises it"
            ),
            Ordering::Greater => format!(
                "the stream {name} may have {found} bytes and never shrinks: set {setting} to at least that, not {wanted}"
            ),
        };
        Some(Self(sentence))
    }

    /// Why a stream can't be made, if time does not mend it.
    pub(crate) fn unmade(error: &CreateStreamError, wanted: &Config) -> Option<Self> {
        let (name, setting) = limited(wanted)?;
        let has_no_room = matches!(error.kind(), CreateStreamErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::STORAGE_RESOURCES_EXCEEDED);
        has_no_room.then(|| {
            Self(format!(
                "the NATS server has no room for the {} bytes of the stream {name}: raise its max_file_store, or lower \
                 {setting}",
                wanted.max_bytes
            ))
        })
    }
}

fn limited(stream: &Config) -> Option<(&'static str, &'static str)> {
    LIMITED.into_iter().find(|(name, _)| *name == stream.name)
}

/// The server writes "no limit" in its own way.
fn end(bytes: i64) -> i64 {
    if bytes > 0 { bytes } else { i64::MAX }
}

impl Nats {
    /// Lets the log and the build output grow to so many bytes, as [`OPERATOR`]. Answers where those that are there end
    /// then: what was higher before stays so.
    pub async fn grow(&self, log_bytes: i64, output_bytes: i64) -> anyhow::Result<(Option<i64>, Option<i64>)> {
        let log_ends = self.grow_stream(LOG, log_bytes).await?;
        Ok((log_ends, self.grow_stream(OUTPUT, output_bytes).await?))
    }

    async fn grow_stream(&self, name: &str, wanted: i64) -> anyhow::Result<Option<i64>> {
        let is_absent = |kind: GetStreamErrorKind| matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND);
        let found = match self.context.get_stream(name).await {
            Ok(stream) => stream.cached_info().config.clone(),
            Err(error) if is_absent(error.kind()) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("the stream {name} can't be looked at")),
        };
        let before = found.max_bytes;
        if end(before) >= end(wanted) {
            return Ok(Some(before));
        }
        let raised = Config {
            max_bytes: wanted,
            ..found
        };
        let updated = self.context.update_stream(&raised).await;
        if let Some(unfit) = updated.as_ref().err().and_then(|error| Unfit::unmade(error, &raised)) {
            return Err(unfit.into());
        }
        updated.with_context(|| format!("the stream {name} can't be raised from {before} to {wanted} bytes"))?;
        tracing::info!("the stream {name} may have {wanted} bytes now, and not {before} any more");
        Ok(Some(wanted))
    }
}
