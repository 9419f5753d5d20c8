//! What the user called the image and the workspace.
//!
//! The server answers the same for all that one may not see, so only this side can say what there is none of.

use crate::failure::Failure;
use std::sync::OnceLock;
use tonic::Status;

#[derive(Default)]
pub(crate) struct Named {
    pub(crate) image: OnceLock<String>,
    pub(crate) workspace: OnceLock<String>,
}

impl Named {
    pub(super) fn failure(&self, status: Status) -> Failure {
        let failure = Failure::from(status);
        for (reason, what, name) in [
            ("NO_SUCH_IMAGE", "no such image", &self.image),
            ("NO_SUCH_WORKSPACE", "no such workspace", &self.workspace),
        ] {
            if let (true, Some(name)) = (failure.is(reason), name.get()) {
                return failure.naming(what, name);
            }
        }
        failure
    }
}
