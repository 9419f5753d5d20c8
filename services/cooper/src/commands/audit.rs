//! `cooper audit`: what happened on the platform. For programs, all of it goes out page by page.

use crate::{
    cli::AuditArgs,
    client::{Session, Shell},
    failure::{Exit, Failure},
    output::{Cell, Table, Tone, moment, object},
};
use proto::catalog::v1::{HistoryEntry, QueryEventsRequest, QueryEventsResponse};
use std::fmt::Write as _;
use tokio::task::spawn_blocking;

const PAGE_SIZE: u32 = 1_000;
/// How many rows people get without asking.
const FIRST: usize = 100;

pub(crate) async fn audit(shell: &Shell, args: AuditArgs) -> Result<(), Failure> {
    let session = shell.session().await?;
    let is_for_programs = shell.output.is_json() || shell.output.quiet;
    let limit = match args.last {
        Some(0) => None,
        Some(last) => Some(last),
        None if is_for_programs => None,
        None => Some(FIRST),
    };
    let request = QueryEventsRequest {
        image: match &args.image {
            Some(image) => session.locate(image).await?,
            None => String::new(),
        },
        workspace: shell.global.workspace.clone().unwrap_or_default(),
        actor: args.actor.unwrap_or_default(),
        types: args.types,
        since: args.since,
        until: args.until,
        oldest_first: args.oldest_first,
        ..QueryEventsRequest::default()
    };
    let (rows, there_are_more) = if is_for_programs {
        tell_all(shell, &session, request, limit).await?
    } else {
        show(shell, &session, request, limit).await?
    };
    if there_are_more && !is_for_programs {
        let which = if args.oldest_first { "oldest" } else { "newest" };
        shell.output.notice(format!(
            "the {rows} {which}; `-n 0` lists all, and `--output json` as lines"
        ));
    }
    Ok(())
}

async fn page(
    session: &Session,
    request: &QueryEventsRequest,
    missing: Option<usize>,
) -> Result<QueryEventsResponse, Failure> {
    let size = missing.and_then(|missing| u32::try_from(missing).ok());
    let request = QueryEventsRequest {
        page_size: size.map_or(PAGE_SIZE, |size| size.min(PAGE_SIZE)),
        ..request.clone()
    };
    session
        .call(async || session.history().query_events(request.clone()).await)
        .await
}

/// A line for each event, as they come: while one page is written, the next is on its way.
async fn tell_all(
    shell: &Shell,
    session: &Session,
    mut request: QueryEventsRequest,
    limit: Option<usize>,
) -> Result<(usize, bool), Failure> {
    let mut rows = 0;
    let is_json = shell.output.is_json();
    let mut answer = page(session, &request, limit).await?;
    loop {
        rows += answer.entries.len();
        let missing = limit.map(|limit| limit.saturating_sub(rows));
        let is_last = answer.next_page_token.is_empty() || missing == Some(0);
        let there_are_more = !answer.next_page_token.is_empty();
        request.page_token = answer.next_page_token;
        let lines = spawn_blocking(move || lines(&answer.entries, is_json));
        let next = async {
            if is_last {
                return Ok(None);
            }
            page(session, &request, missing).await.map(Some)
        };
        let (lines, next) = tokio::join!(lines, next);
        let lines = lines.map_err(|error| Failure::new(Exit::Failed, format!("a page can't be written: {error}")))?;
        shell.output.raw(lines.as_bytes())?;
        match next? {
            Some(next) => answer = next,
            None => return Ok((rows, there_are_more)),
        }
    }
}

fn lines(entries: &[HistoryEntry], is_json: bool) -> String {
    let mut lines = String::new();
    for entry in entries {
        let _ = if is_json {
            writeln!(lines, "{}", object(entry))
        } else {
            writeln!(lines, "{}.{}", entry.position, entry.index)
        };
    }
    lines
}

async fn show(
    shell: &Shell,
    session: &Session,
    request: QueryEventsRequest,
    limit: Option<usize>,
) -> Result<(usize, bool), Failure> {
    let (entries, there_are_more) = super::pages(limit, async |page_size, page_token| {
        let request = QueryEventsRequest {
            page_token,
            ..request.clone()
        };
        let answer = page(session, &request, Some(page_size as usize)).await?;
        Ok((answer.entries, answer.next_page_token))
    })
    .await?;
    let mut table = Table::new(&["POSITION", "WHEN", "WHO", "WHAT", "IMAGE", ""]);
    for entry in &entries {
        let tone = if entry.r#type == "access.refused" {
            Tone::Bad
        } else {
            Tone::Busy
        };
        let cells = [
            entry.position.to_string().into(),
            moment(entry.time.as_ref()).into(),
            (&entry.actor).into(),
            Cell::new(tone, &entry.r#type),
            Cell::new(Tone::Faint, &entry.image),
            (&entry.summary).into(),
        ];
        table.row(format!("{}.{}", entry.position, entry.index), cells);
    }
    let rows = entries.len();
    let answer = QueryEventsResponse {
        entries,
        next_page_token: String::new(),
    };
    shell.output.list(
        &answer,
        &table,
        "nothing of that kind happened, as far as you may see it",
    )?;
    Ok((rows, there_are_more))
}
