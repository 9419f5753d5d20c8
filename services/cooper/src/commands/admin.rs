//! `cooper admin`: for those who operate the platform.

use crate::{
    cli::AdminCommand,
    client::{Session, Shell},
    failure::{Exit, Failure},
    output::{Cell, Table, Tone},
};
use serde_json::json;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

/// Every service of the contract, as health names it.
const SERVICES: [&str; 7] = [
    "cooperage.catalog.v1.WorkspaceService",
    "cooperage.catalog.v1.ImageService",
    "cooperage.catalog.v1.HistoryService",
    "cooperage.editor.v1.EditorService",
    "cooperage.builder.v1.BuildService",
    "cooperage.registry.v1.RegistryService",
    "cooperage.notifier.v1.EventService",
];

pub(crate) async fn run(shell: &Shell, command: &AdminCommand) -> Result<(), Failure> {
    match command {
        AdminCommand::Status => status(shell).await,
    }
}

async fn status(shell: &Shell) -> Result<(), Failure> {
    let session = shell.session().await?;
    let mut table = Table::new(&["SERVICE", "STATUS"]);
    let mut standing = Vec::new();
    for service in SERVICES {
        let (tone, word) = health(&session, service).await?;
        table.row(service, [service.into(), Cell::new(tone, word)]);
        standing.push((service, tone, word));
    }
    if shell.output.is_json() {
        let services: Vec<_> = standing
            .iter()
            .map(|(service, _, word)| json!({ "service": service, "status": word }))
            .collect();
        shell.output.value(&json!({ "services": services }))?;
    } else if !shell.output.quiet {
        shell.output.raw(table.render(shell.output.style, None).as_bytes())?;
    }
    let bad: Vec<_> = standing
        .iter()
        .filter(|(_, tone, _)| *tone != Tone::Good)
        .map(|(service, ..)| *service)
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    let sentence = format!("{} can't answer: see the log of the server", bad.join(", "));
    Err(Failure::new(Exit::Unavailable, sentence))
}

async fn health(session: &Session, service: &str) -> Result<(Tone, &'static str), Failure> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    match session
        .call(async || session.health().check(request.clone()).await)
        .await
    {
        Ok(answer) if answer.status() == ServingStatus::Serving => Ok((Tone::Good, "works")),
        Ok(_) => Ok((Tone::Bad, "does not answer")),
        Err(failure) if failure.exit() == Exit::NotFound => Ok((Tone::Bad, "is not there")),
        Err(failure) => Err(failure),
    }
}
