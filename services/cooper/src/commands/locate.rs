//! Which workspace and which image are meant.

use crate::{
    client::{Session, Shell},
    failure::{Exit, Failure},
    reference::Reference,
};
use proto::catalog::v1::{GetImageRequest, GetWorkspaceRequest, Image, ListWorkspacesRequest, Workspace};

impl Session {
    /// What the server's `image` fields take for a reference.
    pub(crate) async fn locate(&self, reference: &Reference) -> Result<String, Failure> {
        let _ = self.named.image.set(reference.image.clone());
        match &reference.workspace {
            None => Ok(reference.image.clone()),
            Some(workspace) => {
                let image = self.image(&reference.image).await?;
                // What is in another workspace than the address says is as absent as what is nowhere.
                let workspace = self
                    .workspace_called(workspace)
                    .await
                    .map_err(|_| no_such_image(reference))?;
                if image.workspace == workspace.id {
                    Ok(image.id)
                } else {
                    Err(no_such_image(reference))
                }
            }
        }
    }

    pub(crate) async fn image(&self, image: &str) -> Result<Image, Failure> {
        let request = GetImageRequest {
            image: image.to_owned(),
        };
        let answer = self
            .call(async || self.images().get_image(request.clone()).await)
            .await?;
        Ok(answer.image.unwrap_or_default())
    }

    pub(crate) async fn workspace_called(&self, workspace: &str) -> Result<Workspace, Failure> {
        let _ = self.named.workspace.set(workspace.to_owned());
        let request = GetWorkspaceRequest {
            workspace: workspace.to_owned(),
        };
        let answer = self
            .call(async || self.workspaces().get_workspace(request.clone()).await)
            .await?;
        Ok(answer.workspace.unwrap_or_default())
    }

    /// The workspace that was named, or the only one there is.
    pub(crate) async fn workspace(&self, shell: &Shell) -> Result<String, Failure> {
        let none = "you are in no workspace yet: make one with `cooper workspace create NAME`";
        let workspace = self.workspace_if_any(shell).await?;
        workspace.ok_or_else(|| Failure::new(Exit::Usage, none))
    }

    pub(crate) async fn workspace_if_any(&self, shell: &Shell) -> Result<Option<String>, Failure> {
        if let Some(named) = shell.global.workspace.as_ref().filter(|named| !named.is_empty()) {
            let _ = self.named.workspace.set(named.clone());
            return Ok(Some(named.clone()));
        }
        let request = ListWorkspacesRequest {
            page_size: 5,
            ..ListWorkspacesRequest::default()
        };
        let answer = self
            .call(async || self.workspaces().list_workspaces(request.clone()).await)
            .await?;
        match &answer.workspaces[..] {
            [only] => Ok(Some(only.id.clone())),
            [] => Ok(None),
            several => {
                let more = if answer.next_page_token.is_empty() { "" } else { ", ..." };
                let names: Vec<_> = several.iter().map(|workspace| workspace.name.as_str()).collect();
                let names = names.join(", ");
                let sentence = format!(
                    "you are in several workspaces ({names}{more}): say which with --workspace or COOPERAGE_WORKSPACE"
                );
                Err(Failure::new(Exit::Usage, sentence))
            }
        }
    }
}

/// In the words of the server.
fn no_such_image(reference: &Reference) -> Failure {
    let sentence = format!("no such image `{}`, or it is not shared with you", reference.image);
    Failure::new(Exit::NotFound, sentence)
}
