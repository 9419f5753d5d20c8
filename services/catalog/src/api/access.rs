//! AccessService.

use crate::{
    domain::{Access, AccessCommand, By, Image, Workspace, WorkspaceCommand},
    view::{self, AsOf},
};
use ::access::{Caller, Denied, Grantee, Located, MALFORMED_USER, NoGrantee, Right, Role, is_user, right_of};
use eventlog::{Position, View, Writer, step};
use proto::catalog::v1::{
    AccessReason, CheckAccessRequest, CheckAccessResponse, GrantRequest, GrantResponse, Grantee as GranteeMessage,
    ImageGrant, ListGrantsRequest, ListGrantsResponse, RevokeRequest, RevokeResponse,
    access_service_server::AccessService, check_access_request, grantee::Kind,
};
use service::{Call, Failure, World, invalid, milliseconds};
use tonic::{Request, Response, Status};

pub(crate) struct AccessApi {
    world: World,
    view: View,
    writer: Writer,
}

impl AccessApi {
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

    /// Whoever is meant. A workspace's name is looked for among the caller's own; an id may be anybody's, as a user may.
    async fn grantee(&self, call: &Call, message: Option<GranteeMessage>) -> Result<Kind, Failure> {
        match message.and_then(|message| message.kind) {
            Some(Kind::Workspace(text)) => {
                let id = match text.parse() {
                    Ok(id) => id,
                    Err(_) => self.world.access.membership(&call.caller, &text).await?,
                };
                // As we write it, however it was typed.
                Ok(Kind::Workspace(id.to_string()))
            }
            Some(kind @ Kind::Everyone(_)) => Ok(kind),
            Some(Kind::User(user)) if is_user(&user) => Ok(Kind::User(user)),
            Some(Kind::User(_)) => Err(invalid("user", MALFORMED_USER).into()),
            None => Err(invalid("grantee", NoGrantee).into()),
        }
    }

    /// What only those may do who manage the image; with everyone, only administrators.
    async fn change(
        &self,
        call: &Call,
        request_id: &str,
        image: &str,
        is_administrators: bool,
        change: impl FnOnce(By) -> AccessCommand,
    ) -> Result<u64, Failure> {
        let command = call.request(&self.world, request_id)?;
        let access = &self.world.access;
        let needed = if is_administrators { Right::Read } else { Right::Manage };
        let located = match access.image(&call.caller, image, needed).await {
            Ok(located) => located,
            Err(denied) => {
                // Whoever gave up a right of its own is answered when it asks again.
                let known = match image.parse() {
                    Ok(id) => self.writer.repeated::<Access>(&command, &id).await?,
                    Err(_) => None,
                };
                return known.map(|position| position.0).ok_or_else(|| denied.into());
            }
        };
        if is_administrators {
            let change = step::<Access>(&located.image, change(By::Role));
            return Ok(self.writer.execute_all(&command, [change]).await?.0);
        }
        let steps = if located.right == Right::Owner {
            let owner = call.caller.user.clone();
            vec![
                step::<Access>(&located.image, change(By::Role)),
                step::<Workspace>(&located.workspace, WorkspaceCommand::Confirm { owner }),
            ]
        } else {
            let own = access.visible(&call.caller).await?;
            let mut grantees = vec![Kind::User(call.caller.user.clone())];
            grantees.extend(own.memberships().map(|id| Kind::Workspace(id.to_owned())));
            vec![step::<Access>(&located.image, change(By::Grants(grantees)))]
        };
        Ok(self.writer.execute_all(&command, steps).await?.0)
    }

    async fn grant_to(&self, request: Request<GrantRequest>) -> Result<GrantResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let right = request.right();
        let grantee = self.grantee(&call, request.grantee).await?;
        let is_everyone = matches!(grantee, Kind::Everyone(_));
        if is_everyone && !call.caller.admin {
            // One who may not even see it is told nothing else than of what is not there.
            self.world
                .access
                .image(&call.caller, &request.image, Right::Read)
                .await?;
            return Err(Denied::AdminOnly.into());
        }
        let grant = |by| AccessCommand::Grant { by, grantee, right };
        let position = self
            .change(&call, &request.request_id, &request.image, is_everyone, grant)
            .await?;
        Ok(GrantResponse { position })
    }

    async fn revoke_from(&self, request: Request<RevokeRequest>) -> Result<RevokeResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let grantee = self.grantee(&call, request.grantee).await?;
        let is_administrators = matches!(grantee, Kind::Everyone(_)) && call.caller.admin;
        let revoke = |by| AccessCommand::Revoke { by, grantee };
        let position = self
            .change(&call, &request.request_id, &request.image, is_administrators, revoke)
            .await?;
        Ok(RevokeResponse { position })
    }

    async fn list(&self, request: Request<ListGrantsRequest>) -> Result<ListGrantsResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let access = &self.world.access;
        let located = access.image(&call.caller, &request.image, Right::Read).await?;
        let grants = view::grants(&self.view, located.image).await?;
        Ok(ListGrantsResponse {
            grants: told_grants(access, &call.caller, &located, grants).await?,
        })
    }

    async fn check(&self, request: Request<CheckAccessRequest>) -> Result<CheckAccessResponse, Failure> {
        let (call, request) = self.admit(request).await?;
        let located = self.world.access.any_image(&call.caller, &request.image).await?;
        if request.user != call.caller.user && !located.sees_grants(&call.caller) {
            return Err(Denied::NeedsManage.into());
        }
        let as_of = match request.as_of {
            None => AsOf::Now,
            Some(check_access_request::AsOf::Time(time)) => AsOf::Time(milliseconds("time", &time)?),
            Some(check_access_request::AsOf::Position(position)) => {
                self.world.reach(&self.view, Position(position)).await?;
                AsOf::Position(Position(position))
            }
        };
        let until = view::until(&self.view, located.image, located.workspace, as_of).await?;
        let reasons = self.reasons(&located, &request.user, as_of, until).await?;
        let right = if request.user.is_empty() {
            Right::Unspecified
        } else {
            reasons
                .iter()
                .map(AccessReason::right)
                .max()
                .unwrap_or(Right::Unspecified)
        };
        Ok(CheckAccessResponse {
            right: right.into(),
            reasons,
        })
    }

    /// Why a user, or whoever it is, had a right on an image.
    async fn reasons(
        &self,
        located: &Located,
        user: &str,
        as_of: AsOf,
        until: Position,
    ) -> Result<Vec<AccessReason>, Failure> {
        let mut reasons = Vec::new();
        let image: Image = view::fold(&self.view, &located.image, until).await?;
        if !image.is_live() {
            return Ok(reasons);
        }
        let home: Workspace = view::fold(&self.view, &located.workspace, until).await?;
        for (member, role) in home.members() {
            if user.is_empty() || user == member {
                let right = right_of(Some(role), None).unwrap_or(Right::Unspecified);
                reasons.push(AccessReason {
                    grantee: Some(GranteeMessage {
                        kind: Some(Kind::User(member.to_owned())),
                    }),
                    right: right.into(),
                    role: role.into(),
                });
            }
        }
        let access: Access = view::fold(&self.view, &located.image, until).await?;
        for (kind, right) in access.grants() {
            let reaches = user.is_empty()
                || match kind {
                    Kind::Everyone(_) => true,
                    Kind::User(name) => name == user,
                    Kind::Workspace(id) => match id.parse() {
                        Ok(id) => {
                            let until = match as_of {
                                AsOf::Time(time_ms) => view::until_of(&self.view, id, time_ms).await?,
                                AsOf::Now | AsOf::Position(_) => until,
                            };
                            let workspace: Workspace = view::fold(&self.view, &id, until).await?;
                            workspace.members().any(|(member, _)| member == user)
                        }
                        Err(_) => false,
                    },
                };
            if reaches {
                reasons.push(AccessReason {
                    grantee: Some(GranteeMessage {
                        kind: Some(kind.clone()),
                    }),
                    right: (*right).into(),
                    role: Role::Unspecified.into(),
                });
            }
        }
        Ok(reasons)
    }
}

/// All grants for whoever may manage the image or is in its workspace; for others those that reach them.
pub(super) async fn told_grants(
    access: &::access::Access,
    caller: &Caller,
    located: &Located,
    mut grants: Vec<ImageGrant>,
) -> Result<Vec<ImageGrant>, Failure> {
    if located.sees_grants(caller) {
        return Ok(grants);
    }
    let visible = access.visible(caller).await?;
    grants.retain(|grant| match Grantee::try_from(grant.grantee.as_ref()) {
        Ok(Grantee::Everyone) => true,
        Ok(Grantee::User(user)) => user == caller.user,
        Ok(Grantee::Workspace(workspace)) => visible
            .workspaces()
            .is_none_or(|mut own| own.any(|id| id == workspace.to_string())),
        Err(_) => false,
    });
    Ok(grants)
}

#[tonic::async_trait]
impl AccessService for AccessApi {
    async fn grant(&self, request: Request<GrantRequest>) -> Result<Response<GrantResponse>, Status> {
        Ok(self.grant_to(request).await.map(Response::new)?)
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        Ok(self.revoke_from(request).await.map(Response::new)?)
    }

    async fn list_grants(&self, request: Request<ListGrantsRequest>) -> Result<Response<ListGrantsResponse>, Status> {
        Ok(self.list(request).await.map(Response::new)?)
    }

    async fn check_access(
        &self,
        request: Request<CheckAccessRequest>,
    ) -> Result<Response<CheckAccessResponse>, Status> {
        Ok(self.check(request).await.map(Response::new)?)
    }
}
