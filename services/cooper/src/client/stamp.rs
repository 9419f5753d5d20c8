//! What every call carries: who calls, what it must reflect, and how long it may take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tonic::{
    Request, Status,
    metadata::{AsciiMetadataValue, MetadataValue},
    service::Interceptor,
};

/// The longest that a call with one answer may take.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    bearer: Option<AsciiMetadataValue>,
    at_least: Arc<AtomicU64>,
    deadline: Option<Duration>,
}

impl Stamp {
    pub(crate) fn new(token: Option<&str>, position: u64) -> Self {
        let bearer = token.and_then(|token| {
            let mut value: AsciiMetadataValue = MetadataValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            bearer,
            at_least: Arc::new(AtomicU64::new(position)),
            deadline: Some(DEADLINE),
        }
    }

    /// For streams and uploads, which take as long as they take.
    pub(crate) fn without_deadline(mut self) -> Self {
        self.deadline = None;
        self
    }

    pub(crate) fn position(&self) -> u64 {
        self.at_least.load(Ordering::SeqCst)
    }

    /// Later calls reflect this position. It never goes back.
    pub(crate) fn raise(&self, position: u64) {
        self.at_least.fetch_max(position, Ordering::SeqCst);
    }

    pub(crate) fn begin_again(&self) {
        self.at_least.store(0, Ordering::SeqCst);
    }
}

impl Interceptor for Stamp {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        let position = self.position();
        if position > 0 {
            request.metadata_mut().insert(service::AT_LEAST, position.into());
        }
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(stamp: &Stamp) -> Request<()> {
        stamp.clone().call(Request::new(())).unwrap()
    }

    fn text<'a>(request: &'a Request<()>, key: &str) -> Option<&'a str> {
        request.metadata().get(key)?.to_str().ok()
    }

    #[test]
    fn a_call_carries_the_token_and_the_highest_position_seen() {
        let stamp = Stamp::new(Some("t0k3n"), 0);
        let first = sent(&stamp);
        assert_eq!(text(&first, "authorization"), Some("Bearer t0k3n"));
        assert_eq!(text(&first, service::AT_LEAST), None);

        stamp.raise(12);
        stamp.raise(9);
        assert_eq!(text(&sent(&stamp), service::AT_LEAST), Some("12"));
        assert_eq!(
            text(&sent(&stamp.clone().without_deadline()), service::AT_LEAST),
            Some("12")
        );
    }

    #[test]
    fn a_token_that_is_no_header_is_not_sent() {
        assert_eq!(text(&sent(&Stamp::new(Some("a\nb"), 0)), "authorization"), None);
    }

    #[test]
    fn only_streams_have_no_deadline() {
        let stamp = Stamp::new(None, 0);
        assert!(text(&sent(&stamp), "grpc-timeout").is_some());
        assert!(text(&sent(&stamp.without_deadline()), "grpc-timeout").is_none());
    }
}
