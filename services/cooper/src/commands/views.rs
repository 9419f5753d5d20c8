//! `cooper admin views`: how far each view of each process is, and growing them again.

use super::admin::of_service;
use crate::{
    cli::ViewsCommand,
    client::{Session, Shell},
    failure::{Exit, Failure},
    output::{Cell, Table, Tone, object, plural},
};
use proto::admin::v1::{
    ListViewsRequest, ListViewsResponse, RebuildViewRequest, RebuildViewResponse, RebuiltView,
    rebuild_view_response::Step,
};
use serde_json::json;

/// Whose process is asked, as the gateway wants to know it.
const SERVICES: [(&str, &str); 5] = [
    ("catalog", "cooperage.catalog.v1"),
    ("editor", "cooperage.editor.v1"),
    ("builder", "cooperage.builder.v1"),
    ("registry", "cooperage.registry.v1"),
    ("notifier", "cooperage.notifier.v1"),
];

/// One process, and the services that it is.
struct Process {
    names: Vec<&'static str>,
    address: &'static str,
    has: ListViewsResponse,
}

pub(super) async fn run(shell: &Shell, command: Option<&ViewsCommand>) -> Result<(), Failure> {
    let session = shell.session().await?;
    let (processes, away) = processes(&session).await?;
    match command {
        None | Some(ViewsCommand::Ls) => list(shell, &processes)?,
        Some(ViewsCommand::Rebuild { name }) => rebuild(shell, &session, &processes, name.as_deref()).await?,
    }
    if away.is_empty() {
        return Ok(());
    }
    let sentence = format!(
        "nothing is known of the views of {}: they can't answer",
        away.join(", ")
    );
    Err(Failure::new(Exit::Unavailable, sentence))
}

/// Those that answer, and the services that don't.
async fn processes(session: &Session) -> Result<(Vec<Process>, Vec<&'static str>), Failure> {
    let (mut processes, mut away) = (Vec::<Process>::new(), Vec::new());
    for (name, address) in SERVICES {
        let request = of_service(address, ListViewsRequest {});
        // Not repeated: what is away at the moment is not waited for.
        let has = match session.admin().list_views(request).await.map_err(Failure::from) {
            Ok(has) => has.into_inner(),
            Err(failure) if failure.exit() == Exit::Unavailable => {
                away.push(name);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        match processes.iter_mut().find(|other| other.has.process == has.process) {
            Some(same) => same.names.push(name),
            None => processes.push(Process {
                names: vec![name],
                address,
                has,
            }),
        }
    }
    Ok((processes, away))
}

fn list(shell: &Shell, processes: &[Process]) -> Result<(), Failure> {
    let mut table = Table::new(&["VIEW", "POSITION", "STATUS", "PROCESS OF"]);
    let mut rows = Vec::new();
    for process in processes {
        for view in &process.has.views {
            let standing = if view.trouble.is_empty() {
                Cell::new(Tone::Good, "works")
            } else {
                Cell::new(Tone::Bad, &view.trouble)
            };
            let cells = [
                view.name.as_str().into(),
                view.position.to_string().into(),
                standing,
                process.names.join(", ").into(),
            ];
            table.row(&view.name, cells);
            let mut row = object(view);
            row["services"] = json!(process.names);
            rows.push(row);
        }
    }
    if shell.output.is_json() {
        return shell.output.value(&json!({ "views": rows }));
    }
    shell.output.list(&ListViewsResponse::default(), &table, "")
}

async fn rebuild(shell: &Shell, session: &Session, processes: &[Process], name: Option<&str>) -> Result<(), Failure> {
    let is_meant = |view: &str| name.is_none_or(|name| name == view);
    let (mut found, mut failed) = (false, Vec::new());
    for process in processes {
        for view in process.has.views.iter().filter(|view| is_meant(&view.name)) {
            found = true;
            match grow(shell, session, process.address, &view.name).await {
                Ok(rebuilt) => tell(shell, process, &view.name, &rebuilt)?,
                Err(failure) if failure.exit() == Exit::Interrupted => return Err(failure),
                Err(failure) => failed.push((&view.name, failure)),
            }
        }
    }
    match name {
        Some(name) if !found => {
            let sentence = format!("there is no view {name:?}: `cooper admin views` lists them");
            Err(Failure::new(Exit::NotFound, sentence))
        }
        _ => match failed.pop() {
            None => Ok(()),
            Some((name, last)) => {
                for (name, failure) in failed {
                    shell.output.urgent(&format!("{name} is not rebuilt: {failure}"));
                }
                Err(Failure::new(last.exit(), format!("{name} is not rebuilt: {last}")))
            }
        },
    }
}

async fn grow(shell: &Shell, session: &Session, address: &'static str, name: &str) -> Result<RebuiltView, Failure> {
    let shows_progress = shell.output.margin.terminal;
    let patient = session.patient();
    let request = RebuildViewRequest { name: name.to_owned() };
    let mut steps = patient
        .open(async || patient.admin().rebuild_view(of_service(address, request.clone())).await)
        .await?;
    let mut rebuilt = None;
    while let Some(RebuildViewResponse { step: Some(step) }) = steps.message().await? {
        match step {
            Step::Progress(progress) if shows_progress => {
                let at = format!("\rrebuilding {name}: {} of {}\x1b[K", progress.position, progress.head);
                shell.output.aside(at.as_bytes());
            }
            Step::Progress(_) => (),
            Step::Rebuilt(ended) => rebuilt = Some(ended),
        }
    }
    if shows_progress {
        shell.output.aside(b"\r\x1b[K");
    }
    rebuilt.ok_or_else(|| {
        Failure::new(
            Exit::Unavailable,
            format!("the server did not say how {name} ended, try again"),
        )
    })
}

fn tell(shell: &Shell, process: &Process, name: &str, rebuilt: &RebuiltView) -> Result<(), Failure> {
    if shell.output.is_json() {
        let mut row = object(rebuilt);
        row["name"] = json!(name);
        row["services"] = json!(process.names);
        return shell.output.value(&row);
    }
    let rows = plural(i64::try_from(rebuilt.rows).unwrap_or(i64::MAX), "row");
    let differing: Vec<_> = rebuilt
        .differing
        .iter()
        .map(|table| {
            let (name, live, rebuilt) = (&table.name, table.live_rows, table.rebuilt_rows);
            if live == rebuilt {
                format!("{name} had other values in its {live} rows")
            } else {
                format!("{name} had {live} rows instead of {rebuilt}")
            }
        })
        .collect();
    let outcome = match (&*differing, rebuilt.replaced) {
        ([], false) => "the same".to_owned(),
        ([], true) => "replaced, because it had stopped".to_owned(),
        (tables, _) => format!("replaced: {}", tables.join(", ")),
    };
    let digest = &rebuilt.hash[..rebuilt.hash.len().min(12)];
    shell.output.line(format!(
        "{name} of {}: {outcome} ({rows} at position {}, {digest})",
        process.names.join(", "),
        rebuilt.position
    ))
}
