//! `cooper workspace`: which there are, and who is in them.

use super::pages;
use crate::{
    cli::{MemberCommand, RoleWord, WorkspaceCommand},
    client::{Session, Shell, request_id},
    failure::Failure,
    output::{Table, ago, moment, now, role_word},
};
use proto::catalog::v1::{
    AddMemberRequest, CreateWorkspaceRequest, ListWorkspacesRequest, ListWorkspacesResponse, RemoveMemberRequest, Role,
    SetMemberRoleRequest, Workspace,
};

pub(crate) async fn run(shell: &Shell, command: WorkspaceCommand) -> Result<(), Failure> {
    match command {
        WorkspaceCommand::Create { name } => create(shell, name).await,
        WorkspaceCommand::Ls => ls(shell).await,
        WorkspaceCommand::Show { workspace } => show(shell, workspace).await,
        WorkspaceCommand::Member(MemberCommand::Add { user, role }) => add(shell, user, role).await,
        WorkspaceCommand::Member(MemberCommand::Set { user, role }) => set(shell, user, role).await,
        WorkspaceCommand::Member(MemberCommand::Rm { user }) => remove(shell, user).await,
        WorkspaceCommand::Member(MemberCommand::Ls) => members(shell).await,
    }
}

async fn create(shell: &Shell, name: String) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = CreateWorkspaceRequest {
        request_id: request_id(),
        id: String::new(),
        name,
    };
    let done = session
        .change(async || session.workspaces().create_workspace(request.clone()).await)
        .await?;
    let sentence = format!(
        "workspace {} is made, and you are its owner ({})",
        request.name, done.id
    );
    shell.output.answer(&done, &done.id, &sentence)
}

/// All workspaces that the caller may see, by name.
pub(crate) async fn all(session: &Session) -> Result<Vec<Workspace>, Failure> {
    let (workspaces, _) = pages(None, async |page_size, page_token| {
        let request = ListWorkspacesRequest { page_size, page_token };
        let answer = session
            .call(async || session.workspaces().list_workspaces(request.clone()).await)
            .await?;
        Ok((answer.workspaces, answer.next_page_token))
    })
    .await?;
    Ok(workspaces)
}

async fn ls(shell: &Shell) -> Result<(), Failure> {
    let session = shell.session().await?;
    let workspaces = all(&session).await?;
    let now = now();
    let mut table = Table::new(&["NAME", "ID", "MEMBERS", "CREATED"]);
    for workspace in &workspaces {
        let created = workspace.created.as_ref().and_then(|mark| mark.time.as_ref());
        let members = workspace.members.len().to_string();
        let cells = [
            workspace.name.as_str().into(),
            workspace.id.as_str().into(),
            members.into(),
            ago(created, now).into(),
        ];
        table.row(&workspace.id, cells);
    }
    let answer = ListWorkspacesResponse {
        workspaces,
        next_page_token: String::new(),
    };
    shell.output.list(
        &answer,
        &table,
        "no workspace yet: make one with `cooper workspace create NAME`",
    )
}

async fn show(shell: &Shell, workspace: Option<String>) -> Result<(), Failure> {
    let session = shell.session().await?;
    let workspace = match workspace {
        Some(workspace) => workspace,
        None => session.workspace(shell).await?,
    };
    let workspace = session.workspace_called(&workspace).await?;
    if shell.output.is_json() {
        return shell.output.json(&workspace);
    }
    if shell.output.quiet {
        return shell.output.line(&workspace.id);
    }
    let mut facts = Table::new(&[]);
    facts.row("", ["workspace".into(), workspace.name.as_str().into()]);
    facts.row("", ["id".into(), workspace.id.as_str().into()]);
    if let Some(created) = &workspace.created {
        facts.row(
            "",
            [
                "created".into(),
                format!("{} by {}", moment(created.time.as_ref()), created.actor).into(),
            ],
        );
    }
    for (role, title) in [(Role::Owner, "owners"), (Role::Participant, "participants")] {
        let users: Vec<_> = workspace
            .members
            .iter()
            .filter(|member| member.role() == role)
            .map(|member| member.user.as_str())
            .collect();
        if !users.is_empty() {
            facts.row("", [title.into(), users.join(", ").into()]);
        }
    }
    shell.output.facts(&facts)
}

async fn add(shell: &Shell, user: String, role: RoleWord) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = AddMemberRequest {
        request_id: request_id(),
        workspace: session.workspace(shell).await?,
        user,
        role: Role::from(role).into(),
    };
    let done = session
        .change(async || session.workspaces().add_member(request.clone()).await)
        .await?;
    let sentence = format!("{} is a member now, as {}", request.user, role_word(role.into()));
    shell.output.answer(&done, &request.user, &sentence)
}

async fn set(shell: &Shell, user: String, role: RoleWord) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = SetMemberRoleRequest {
        request_id: request_id(),
        workspace: session.workspace(shell).await?,
        user,
        role: Role::from(role).into(),
    };
    let done = session
        .change(async || session.workspaces().set_member_role(request.clone()).await)
        .await?;
    let sentence = format!("{} is {} now", request.user, role_word(role.into()));
    shell.output.answer(&done, &request.user, &sentence)
}

async fn remove(shell: &Shell, user: String) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = RemoveMemberRequest {
        request_id: request_id(),
        workspace: session.workspace(shell).await?,
        user,
    };
    let done = session
        .change(async || session.workspaces().remove_member(request.clone()).await)
        .await?;
    let sentence = format!("{} is no member any more", request.user);
    shell.output.answer(&done, &request.user, &sentence)
}

async fn members(shell: &Shell) -> Result<(), Failure> {
    let session = shell.session().await?;
    let workspace = session.workspace_called(&session.workspace(shell).await?).await?;
    let mut table = Table::new(&["USER", "ROLE"]);
    for member in &workspace.members {
        table.row(
            &member.user,
            [member.user.as_str().into(), role_word(member.role()).into()],
        );
    }
    shell.output.list(&workspace, &table, "")
}
