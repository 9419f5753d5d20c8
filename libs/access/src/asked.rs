//! What a call asked the rule last: so that who records a refusal can tell whose and of what it was.

use crate::Caller;
use ids::{ImageId, WorkspaceId};
use std::cell::RefCell;

/// The last question of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub user: String,
    /// The image or workspace, as the caller wrote it.
    pub reference: String,
    /// What it turned out to be, whether the caller may see it or not: that is for the members of its workspace.
    pub image: Option<ImageId>,
    pub workspace: Option<WorkspaceId>,
}

tokio::task_local! {
    static ASKED: RefCell<Option<Asked>>;
}

/// Answers a call, and says what it asked last.
pub async fn asking<T>(call: impl Future<Output = T>) -> (T, Option<Asked>) {
    let noted = async {
        let answer = call.await;
        (answer, ASKED.with(RefCell::take))
    };
    ASKED.scope(RefCell::default(), noted).await
}

/// Outside of calls nobody wants to know.
fn note(asked: impl FnOnce(&mut Option<Asked>)) {
    let _ = ASKED.try_with(|last| asked(&mut last.borrow_mut()));
}

/// Somebody calls, and asks for something of this name; of no name, it is not known yet.
pub fn asks(caller: &Caller, reference: &str) {
    note(|last| {
        *last = Some(Asked {
            user: caller.user.clone(),
            reference: reference.to_owned(),
            ..Asked::default()
        });
    });
}

pub(crate) fn finds(image: ImageId, workspace: WorkspaceId) {
    note(|last| {
        if let Some(asked) = last {
            asked.image = Some(image);
            asked.workspace = Some(workspace);
        }
    });
}

pub(crate) fn finds_workspace(id: &str) {
    note(|last| {
        if let Some(asked) = last {
            asked.workspace = id.parse().ok();
        }
    });
}
