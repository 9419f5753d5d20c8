//! WorkspaceService.

use super::read_token;
use crate::{
    domain::{MemberChange, Workspace, WorkspaceCommand},
    view,
};
use access::{Denied, MALFORMED_USER, Role, is_user};
use eventlog::{View, Writer};
use ids::{Ulid, WorkspaceId};
use proto::catalog::v1::{
    AddMemberRequest, AddMemberResponse, CreateWorkspaceRequest, CreateWorkspaceResponse, GetWorkspaceRequest,
    GetWorkspaceResponse, ListWorkspacesRequest, ListWorkspacesResponse, RemoveMemberRequest, RemoveMemberResponse,
    SetMemberRoleRequest, SetMemberRoleResponse, workspace_service_server::WorkspaceService,
};
use service::{Call, Failure, World, invalid, page, status};
use tonic::{Code, Request, Response, Status};

pub(crate) struct WorkspaceApi {
    world: World,
    view: View,
    writer: Writer,
}

impl WorkspaceApi {
    pub(crate) fn new(world: &World, view: &View, writer: &Writer) -> Self {
        Self {
            world: world.clone(),
            view: view.clone(),
            writer: writer.clone(),
        }
    }

    async fn admit<T>(&self, request: Request<T>) -> Result<(Call, T), Failure> {
        let call = self.world.admit(request.metadata(), &self.view).await?;
        Ok((call, request.into_inner()))
    }

    async fn create(&self, request: Request<CreateWorkspaceRequest>) -> Result<CreateWorkspaceResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let command = call.request(&self.world, &request.request_id)?;
        let id: WorkspaceId = if request.id.is_empty() {
            let ulid = Ulid::from_string(&command.id).map_err(|_| invalid("request_id", "expected a ULID"))?;
            WorkspaceId::from_ulid(ulid)
        } else {
            request.id.parse().map_err(|error| invalid("id", error))?
        };
        if let Some(other) = view::owned(&self.view, &call.caller.user, &request.name, &id.to_string()).await? {
            // By the view alone: what matters are the ids, and two at once do no harm.
            let sentence = format!("you own a workspace called `{}` already: {other}", request.name);
            return Err(status(Code::AlreadyExists, "WORKSPACE_EXISTS", sentence).into());
        }
        let create = WorkspaceCommand::Create {
            name: request.name,
            owner: call.caller.user,
        };
        let done = self.writer.execute::<Workspace>(&command, &id, create).await?;
        Ok(CreateWorkspaceResponse {
            position: done.position.0,
            id: id.to_string(),
        })
    }

    async fn get(&self, request: Request<GetWorkspaceRequest>) -> Result<GetWorkspaceResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let id = self
            .world
            .access
            .workspace(&call.caller, &request.workspace, Role::Participant)
            .await?
            .to_string();
        let mut found = view::workspaces(&self.view, None, Some(&id), "", 1).await?;
        let workspace = found.pop().ok_or(Denied::NoSuchWorkspace)?;
        Ok(GetWorkspaceResponse {
            workspace: Some(workspace),
        })
    }

    async fn list(&self, request: Request<ListWorkspacesRequest>) -> Result<ListWorkspacesResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let limit = page(request.page_size)?;
        let [after] = read_token(&request.page_token)?.unwrap_or_default();
        let user = (!call.caller.admin).then_some(call.caller.user.as_str());
        let workspaces = view::workspaces(&self.view, user, None, &after, limit).await?;
        let is_full = i64::try_from(workspaces.len()).is_ok_and(|length| length == limit);
        let next_page_token = workspaces
            .last()
            .filter(|_| is_full)
            .map(|last| last.id.clone())
            .unwrap_or_default();
        Ok(ListWorkspacesResponse {
            workspaces,
            next_page_token,
        })
    }

    /// What only an owner may do with the members.
    async fn change(
        &self,
        call: &Call,
        request_id: &str,
        workspace: &str,
        change: MemberChange,
    ) -> Result<u64, Failure> {
        let command = call.request(&self.world, request_id)?;
        let access = &self.world.access;
        let id = match workspace.parse() {
            // The workspace itself judges: so whoever gave up a right of its own is answered when it asks again.
            Ok(id) if !call.caller.admin => {
                // Only so that a refusal is recorded with what it was about.
                let _ = access.workspace(&call.caller, workspace, Role::Participant).await;
                id
            }
            _ if call.caller.admin => access.workspace(&call.caller, workspace, Role::Owner).await?,
            _ => access.workspace(&call.caller, workspace, Role::Participant).await?,
        };
        let change = WorkspaceCommand::Change {
            by: call.caller.user.clone(),
            change,
        };
        let done = self.writer.execute::<Workspace>(&command, &id, change).await?;
        Ok(done.position.0)
    }

    async fn add(&self, request: Request<AddMemberRequest>) -> Result<AddMemberResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        if !is_user(&request.user) {
            return Err(invalid("user", MALFORMED_USER).into());
        }
        let role = request.role();
        let add = MemberChange::Add {
            user: request.user,
            role,
        };
        let position = self.change(&call, &request.request_id, &request.workspace, add).await?;
        Ok(AddMemberResponse { position })
    }

    async fn set_role(&self, request: Request<SetMemberRoleRequest>) -> Result<SetMemberRoleResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let role = request.role();
        let set = MemberChange::SetRole {
            user: request.user,
            role,
        };
        let position = self.change(&call, &request.request_id, &request.workspace, set).await?;
        Ok(SetMemberRoleResponse { position })
    }

    async fn remove(&self, request: Request<RemoveMemberRequest>) -> Result<RemoveMemberResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let remove = MemberChange::Remove { user: request.user };
        let position = self
            .change(&call, &request.request_id, &request.workspace, remove)
            .await?;
        Ok(RemoveMemberResponse { position })
    }
}

#[tonic::async_trait]
impl WorkspaceService for WorkspaceApi {
    async fn create_workspace(
        &self,
        request: Request<CreateWorkspaceRequest>,
    ) -> Result<Response<CreateWorkspaceResponse>, Status> {
        Ok(self.create(request).await.map(Response::new)?)
    }

    async fn get_workspace(
        &self,
        request: Request<GetWorkspaceRequest>,
    ) -> Result<Response<GetWorkspaceResponse>, Status> {
        Ok(self.get(request).await.map(Response::new)?)
    }

    async fn list_workspaces(
        &self,
        request: Request<ListWorkspacesRequest>,
    ) -> Result<Response<ListWorkspacesResponse>, Status> {
        Ok(self.list(request).await.map(Response::new)?)
    }

    async fn add_member(&self, request: Request<AddMemberRequest>) -> Result<Response<AddMemberResponse>, Status> {
        Ok(self.add(request).await.map(Response::new)?)
    }

    async fn set_member_role(
        &self,
        request: Request<SetMemberRoleRequest>,
    ) -> Result<Response<SetMemberRoleResponse>, Status> {
        Ok(self.set_role(request).await.map(Response::new)?)
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        Ok(self.remove(request).await.map(Response::new)?)
    }
}
