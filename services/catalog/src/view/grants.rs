//! Whom an image is shared with, and who said so: a fold over `access.<image>`.

use super::kept::stream;
use crate::domain::Access;
use access::Grantee;
use aggregate::Aggregate as _;
use eventlog::{Position, View, ViewError};
use ids::ImageId;
use proto::{
    catalog::v1::{ImageGrant, Mark},
    events::AccessEvent,
};
use service::timestamp;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<Grantee, ImageGrant>);

impl Grants {
    pub(super) fn fold(&mut self, actor: &str, time_ms: i64, event: AccessEvent) {
        match event {
            AccessEvent::Granted(event) => {
                if let Ok(grantee) = Grantee::try_from(event.grantee.as_ref()) {
                    let grant = ImageGrant {
                        grantee: event.grantee,
                        right: event.right,
                        granted: Some(Mark {
                            actor: actor.to_owned(),
                            time: timestamp(time_ms),
                        }),
                    };
                    self.0.insert(grantee, grant);
                }
            }
            AccessEvent::Revoked(event) => {
                if let Ok(grantee) = Grantee::try_from(event.grantee.as_ref()) {
                    self.0.remove(&grantee);
                }
            }
        }
    }

    /// By grantee.
    pub(super) fn into_list(self) -> Vec<ImageGrant> {
        self.0.into_values().collect()
    }
}

/// The grants of an image that is there, as they are now.
pub(crate) async fn grants(view: &View, image: ImageId) -> Result<Vec<ImageGrant>, ViewError> {
    let mut grants = Grants::default();
    for entry in stream(view, Access::CATEGORY, image, Position(u64::MAX)).await? {
        for event in entry.events()? {
            grants.fold(&entry.envelope.actor, entry.envelope.time_ms, event);
        }
    }
    Ok(grants.into_list())
}
