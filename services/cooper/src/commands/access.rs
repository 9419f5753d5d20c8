//! `cooper share` and `cooper acl`: who may do what with an image.

use crate::{
    cli::{AclCommand, AsOf, RightWord, ShareArgs, Who},
    client::{Session, Shell, request_id},
    failure::Failure,
    output::{Cell, Table, Tone, moment, right_word, role_word},
    reference::Reference,
};
use proto::catalog::v1::{
    CheckAccessRequest, GrantRequest, Grantee, ListGrantsRequest, ListWorkspacesRequest, RevokeRequest, Right, Role,
    check_access_request, grantee::Kind,
};
use std::collections::BTreeMap;

pub(crate) async fn share(shell: &Shell, args: ShareArgs) -> Result<(), Failure> {
    let session = shell.session().await?;
    let Who(grantee) = args.with;
    let right = Right::from(args.right);
    let request = GrantRequest {
        request_id: request_id(),
        image: session.locate(&args.image).await?,
        grantee: Some(grantee.clone()),
        right: right.into(),
    };
    let done = session
        .change(async || session.access().grant(request.clone()).await)
        .await?;
    let may = match args.right {
        RightWord::Read => "see, pull and run",
        RightWord::Write => "see, pull and change",
        RightWord::Manage => "see, pull, change and share",
    };
    let sentence = format!("{} may {may} {} now", words(Some(&grantee)), args.image.image);
    shell.output.answer(&done, &request.image, &sentence)
}

pub(crate) async fn run(shell: &Shell, command: AclCommand) -> Result<(), Failure> {
    match command {
        AclCommand::Ls { image } => ls(shell, &image).await,
        AclCommand::Revoke { image, from } => revoke(shell, &image, from).await,
        AclCommand::Check { image, user, as_of } => check(shell, &image, user, as_of).await,
    }
}

async fn ls(shell: &Shell, image: &Reference) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = ListGrantsRequest {
        image: session.locate(image).await?,
    };
    let answer = session
        .call(async || session.access().list_grants(request.clone()).await)
        .await?;
    let names = workspace_names(&session).await?;
    let mut table = Table::new(&["SHARED WITH", "RIGHT", "BY", "SINCE"]);
    for grant in &answer.grants {
        let granted = grant.granted.clone().unwrap_or_default();
        let who = named(grant.grantee.as_ref(), &names);
        let cells = [
            Cell::new(Tone::Strong, &who),
            right_word(grant.right()).into(),
            granted.actor.into(),
            moment(granted.time.as_ref()).into(),
        ];
        table.row(who, cells);
    }
    let nobody = format!(
        "{} is shared with nobody beside its workspace, as far as you may see: `cooper share {} USER read` shares it",
        image.image, image.image
    );
    shell.output.list(&answer, &table, &nobody)
}

async fn revoke(shell: &Shell, image: &Reference, Who(grantee): Who) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = RevokeRequest {
        request_id: request_id(),
        image: session.locate(image).await?,
        grantee: Some(grantee.clone()),
    };
    let done = session
        .change(async || session.access().revoke(request.clone()).await)
        .await?;
    let sentence = format!("{} is no longer shared with {}", image.image, words(Some(&grantee)));
    shell.output.answer(&done, &request.image, &sentence)
}

async fn check(shell: &Shell, image: &Reference, user: Option<String>, as_of: Option<AsOf>) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = CheckAccessRequest {
        image: session.locate(image).await?,
        user: user.unwrap_or_default(),
        as_of: as_of.map(|as_of| match as_of {
            AsOf::Time(time) => check_access_request::AsOf::Time(time),
            AsOf::Position(position) => check_access_request::AsOf::Position(position),
        }),
    };
    let answer = session
        .call(async || session.access().check_access(request.clone()).await)
        .await?;
    let names = workspace_names(&session).await?;
    let mut table = Table::new(&["WHO", "MAY", "BECAUSE"]);
    for reason in &answer.reasons {
        let who = named(reason.grantee.as_ref(), &names);
        let because = match reason.role() {
            Role::Unspecified => "the image is shared with them".to_owned(),
            role => format!("{} of the image's workspace", role_word(role)),
        };
        let cells = [
            Cell::new(Tone::Strong, &who),
            right_word(reason.right()).into(),
            because.into(),
        ];
        table.row(who, cells);
    }
    let then = if request.as_of.is_some() { "could then" } else { "may" };
    let nobody = match request.user.as_str() {
        "" => format!("nobody {then} do anything with it"),
        user => format!("{user} {then} do nothing with it"),
    };
    shell.output.list(&answer, &table, &nobody)
}

/// Those that the caller knows.
pub(super) async fn workspace_names(session: &Session) -> Result<BTreeMap<String, String>, Failure> {
    let request = ListWorkspacesRequest {
        page_size: 1_000,
        ..ListWorkspacesRequest::default()
    };
    let answer = session
        .call(async || session.workspaces().list_workspaces(request.clone()).await)
        .await?;
    let named = answer.workspaces.into_iter();
    Ok(named.map(|workspace| (workspace.id, workspace.name)).collect())
}

pub(super) fn named(grantee: Option<&Grantee>, names: &BTreeMap<String, String>) -> String {
    match grantee.and_then(|grantee| grantee.kind.as_ref()) {
        Some(Kind::Workspace(id)) if names.contains_key(id) => format!("workspace {} ({id})", names[id]),
        _ => words(grantee),
    }
}

fn words(grantee: Option<&Grantee>) -> String {
    match grantee.and_then(|grantee| grantee.kind.as_ref()) {
        // By a name that only the server knows as an id.
        Some(Kind::Workspace(workspace)) => format!("workspace {workspace}"),
        _ => access::Grantee::try_from(grantee).map_or_else(|_| String::new(), |grantee| grantee.words()),
    }
}
