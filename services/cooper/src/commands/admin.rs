//! `cooper admin`: for those who operate the platform.

use super::{nats_config, views};
use crate::{
    cli::AdminCommand,
    client::{Session, Shell},
    failure::{Exit, Failure},
    output::{Cell, Table, Tone, plural},
};
use proto::builder::v1::GetQueueRequest;
use serde_json::json;
use service::Config;
use tonic::{Request, metadata::MetadataValue};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

/// Every service of the contract, as health names it.
const SERVICES: [&str; 8] = [
    "cooperage.catalog.v1.WorkspaceService",
    "cooperage.catalog.v1.ImageService",
    "cooperage.catalog.v1.AccessService",
    "cooperage.catalog.v1.HistoryService",
    "cooperage.editor.v1.EditorService",
    "cooperage.builder.v1.BuildService",
    "cooperage.registry.v1.RegistryService",
    "cooperage.notifier.v1.EventService",
];

pub(crate) async fn run(shell: &Shell, command: &AdminCommand) -> Result<(), Failure> {
    match command {
        AdminCommand::Status => status(shell).await,
        AdminCommand::Views { command } => Box::pin(views::run(shell, command.as_ref())).await,
        AdminCommand::NatsConfig(args) => nats_config::run(shell, args),
        AdminCommand::NatsLimits => nats_limits(shell).await,
    }
}

/// With the settings of the services, and the operator's password beside theirs.
async fn nats_limits(shell: &Shell) -> Result<(), Failure> {
    let failed = |error: anyhow::Error| Failure::new(Exit::Unavailable, format!("{error:#}"));
    let config = Config::load().map_err(failed)?;
    let (log, output) = service::grow(&config).await.map_err(failed)?;
    if shell.output.is_json() {
        return shell
            .output
            .value(&json!({ "logBytesMax": log, "outputBytesMax": output }));
    }
    let (Some(log), Some(output)) = (log, output) else {
        shell
            .output
            .notice("there is no log yet: the first service that starts makes it as its settings say");
        return Ok(());
    };
    shell
        .output
        .line(format!("the log may have {log} bytes, and build output {output}"))
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
    // Health is told to anybody, and the queue to users; whoever is none is not told of engines.
    let queue = session.builds().get_queue(GetQueueRequest::default()).await;
    let engines = queue.map(|queue| queue.into_inner().engines).unwrap_or_default();
    if shell.output.is_json() {
        let services: Vec<_> = standing
            .iter()
            .map(|(service, _, word)| json!({ "service": service, "status": word }))
            .collect();
        let engines: Vec<_> = engines
            .iter()
            .map(|engine| {
                json!({ "name": engine.name, "version": engine.version, "slots": engine.slots,
                    "trouble": engine.trouble, "enforces": engine.enforces })
            })
            .collect();
        shell
            .output
            .value(&json!({ "services": services, "engines": engines }))?;
    } else if !shell.output.quiet {
        shell.output.raw(table.render(shell.output.style, None).as_bytes())?;
        for engine in &engines {
            let slots = plural(i64::from(engine.slots), "slot");
            let about = [&engine.trouble, &engine.enforces].map(String::as_str);
            let about: Vec<_> = about.into_iter().filter(|text| !text.is_empty()).collect();
            shell
                .output
                .line(format!("\nengine {}: {slots}; {}", engine.name, about.join("; ")))?;
        }
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

async fn health(session: &Session, service: &'static str) -> Result<(Tone, &'static str), Failure> {
    let asked = HealthCheckRequest {
        service: service.to_owned(),
    };
    // Not repeated: what is away at the moment is what is asked for.
    match session
        .health()
        .check(of_service(service, asked))
        .await
        .map_err(Failure::from)
    {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok((Tone::Good, "works")),
        Ok(_) => Ok((Tone::Bad, "does not answer")),
        Err(failure) if failure.exit() == Exit::NotFound => Ok((Tone::Bad, "is not there")),
        Err(failure) if failure.exit() == Exit::Unavailable => Ok((Tone::Bad, "is not reachable")),
        Err(failure) => Err(failure),
    }
}

/// Each process knows its own services, and a gateway sees no bodies.
pub(super) fn of_service<T>(service: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let whose = MetadataValue::from_static(service);
    request.metadata_mut().insert("cooperage-service", whose);
    request
}
