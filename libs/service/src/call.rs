//! What every call begins with: who calls, and how much of the log it must see.

use crate::{Failure, World, auth::Issued, invalid, telemetry};
use access::Caller;
use eventlog::{Behind, Position, Request, View};
use std::{str::FromStr, time::Duration};
use tonic::metadata::MetadataMap;

/// The metadata with a position that the answer must reflect.
pub const AT_LEAST: &str = "cooperage-at-least";
const CATCH_UP: Duration = Duration::from_secs(5);

/// A call that may be answered: its caller is known, and the views are far enough.
#[derive(Debug, Clone)]
pub struct Call {
    pub caller: Caller,
    /// When its token has expired, in milliseconds since 1970.
    pub(crate) expires_ms: i64,
    /// Its token, if that can be taken back.
    pub(crate) token: Option<Issued>,
    traceparent: String,
    judged_at: Position,
}

impl World {
    /// Admits a call to a service that answers from `view`.
    pub async fn admit(&self, metadata: &MetadataMap, view: &View) -> Result<Call, Failure> {
        let mut call = self.known(metadata).await?;
        if let Some(wanted) = text(metadata, AT_LEAST) {
            let wanted = wanted
                .parse()
                .map_err(|_| invalid(AT_LEAST, "not a position of the log"))?;
            for view in [view, self.access.view()] {
                self.exists(view, Position(wanted)).await?;
                view.reach_among_many(Position(wanted), CATCH_UP).await?;
            }
            call.judged_at = self.access.view().position();
        }
        Ok(call)
    }

    /// Admits a call that no view answers, and that is of use just when one stopped.
    pub(crate) async fn known(&self, metadata: &MetadataMap) -> Result<Call, Failure> {
        let bearer = self.auth.check(text(metadata, "authorization")).await?;
        access::asks(&bearer.caller, "");
        Ok(Call {
            caller: bearer.caller,
            expires_ms: bearer.until.saturating_add(1).saturating_mul(1_000),
            token: bearer.local,
            traceparent: telemetry::traceparent(),
            judged_at: self.access.view().position(),
        })
    }

    /// Waits for a view. A position that the log does not have is an error at once.
    pub async fn reach(&self, view: &View, wanted: Position) -> Result<(), Failure> {
        self.exists(view, wanted).await?;
        Ok(view.reach(wanted, CATCH_UP).await?)
    }

    async fn exists(&self, view: &View, wanted: Position) -> Result<(), Failure> {
        if view.position().max(view.head()) >= wanted {
            return Ok(());
        }
        let head = self.log.head().await?;
        if wanted > head {
            return Err(Behind::Beyond { head, wanted }.into());
        }
        Ok(())
    }
}

impl Call {
    /// The request of a mutation. Without an id of the client's own, a retry is a new request.
    pub fn request(&self, world: &World, id: &str) -> Result<Request, Failure> {
        let id = if id.is_empty() {
            world.ids.next().to_string()
        } else {
            let parsed = ids::Ulid::from_str(id).map_err(|_| invalid("request_id", "expected a ULID, or nothing"))?;
            parsed.to_string()
        };
        Ok(Request {
            actor: self.caller.user.clone(),
            id,
            traceparent: self.traceparent.clone(),
            judged_at: self.judged_at,
            ..Request::default()
        })
    }
}

fn text<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata.get(key)?.to_str().ok()
}
