//! Where the time comes from: the machine, or a test.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Wall-clock time. It dates entries; nothing is ever ordered or fenced by it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where time enters")]
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    pub fn fixed(at: SystemTime) -> Self {
        Self(Arc::new(move || at))
    }

    pub fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// Milliseconds since 1970, UTC.
    pub fn now_ms(&self) -> i64 {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
