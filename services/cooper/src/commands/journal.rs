//! `cooper image builds`, `logs`, `cancel` and `queue`: the builds of the past and the present.

use super::{build::get, limit, pages, say_more};
use crate::{
    cli::{LogsArgs, Newest, OfBuild},
    client::{Shell, Step, request_id},
    failure::{Exit, Failure},
    follow::{ASK_AGAIN, end_of, has_ended, log},
    output::{Cell, Table, Tone, about, ago, now, outcome_word, plural, short_digest, standing, took},
    reference::Reference,
};
use futures::TryStreamExt as _;
use proto::{
    builder::v1::{
        Build, CancelBuildRequest, CancelBuildResponse, GetQueueRequest, ListBuildsRequest, ListBuildsResponse,
        StreamLogRequest,
    },
    catalog::v1::BuildOutcome,
};
use std::pin::pin;
use tokio::time::sleep;

// covers R30, R32, R33, R34
pub(crate) async fn builds(shell: &Shell, reference: &Reference, newest: Newest) -> Result<(), Failure> {
    let session = shell.session().await?;
    let image = session.locate(reference).await?;
    let (builds, there_are_more) = pages(limit(shell, newest), async |page_size, page_token| {
        let request = ListBuildsRequest {
            image: image.clone(),
            page_size,
            page_token,
        };
        let answer = session
            .call(async || session.builds().list_builds(request.clone()).await)
            .await?;
        Ok((answer.builds, answer.next_page_token))
    })
    .await?;
    let now = now();
    let mut table = Table::new(&["BUILD", "STATUS", "REVISION", "STARTED", "TOOK", "BY", ""]);
    for build in &builds {
        let begun = build.started.as_ref().or(build.queued.as_ref());
        let cells = [
            (&build.id).into(),
            standing(build),
            build.revision.to_string().into(),
            ago(begun, now).into(),
            took(build.duration.as_ref()).into(),
            (&build.requester).into(),
            remark(build),
        ];
        table.row(&build.id, cells);
    }
    let rows = builds.len();
    let answer = ListBuildsResponse {
        builds,
        next_page_token: String::new(),
    };
    let name = &reference.image;
    shell.output.list(
        &answer,
        &table,
        &format!("nothing was built yet: `cooper image build {name}` begins"),
    )?;
    say_more(shell, rows, there_are_more);
    Ok(())
}

/// What is most worth knowing of a build: what came out of it, or why nothing did.
fn remark(build: &Build) -> Cell {
    match build.outcome() {
        BuildOutcome::Succeeded => Cell::new(Tone::Faint, short_digest(&build.digest)),
        _ if build.retryable => format!("{}; push-retry tries the push again", build.cause).into(),
        _ => (&build.cause).into(),
    }
}

// covers R31
pub(crate) async fn logs(shell: &Shell, args: LogsArgs) -> Result<(), Failure> {
    let session = shell.session().await?;
    let image = session.locate(&args.of.image).await?;
    let build = if args.of.id.is_empty() {
        // The newest now: it must not become another one when the stream is opened again.
        get(&session, &image, String::new()).await?.id
    } else {
        args.of.id
    };
    let mut request = StreamLogRequest {
        image,
        build,
        offset: args.from,
        follow: args.follow,
    };
    loop {
        let mut pieces = pin!(log(&session, request.clone()));
        loop {
            let step = match pieces.try_next().await {
                Ok(Some(step)) => step,
                Ok(None) => break,
                Err(failure) => {
                    let Some(first) = begins_later(&failure).filter(|_| request.offset == 0) else {
                        return Err(failure);
                    };
                    shell.output.notice(failure.to_string());
                    request.offset = first;
                    pieces.set(log(&session, request.clone()));
                    continue;
                }
            };
            if let Step::Said(piece) = step {
                request.offset = end_of(&piece);
                if shell.output.is_json() {
                    shell.output.json(&piece)?;
                } else {
                    shell.output.raw(&piece.text)?;
                }
            }
        }
        if !args.follow {
            return Ok(());
        }
        // A server that stops ends its streams too, and may be away for a while.
        match get(&session, &request.image, request.build.clone()).await {
            Ok(build) if has_ended(&build) => return Ok(()),
            Err(failure) if failure.exit() != Exit::Unavailable => return Err(failure),
            Ok(_) | Err(_) => {}
        }
        sleep(ASK_AGAIN).await;
    }
}

/// Where a log goes on whose beginning is gone.
fn begins_later(failure: &Failure) -> Option<i64> {
    let first = failure.fact(&["first"]).filter(|_| failure.is("POSITION_GONE"))?;
    first.parse().ok()
}

pub(crate) async fn cancel(shell: &Shell, of: OfBuild) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = CancelBuildRequest {
        request_id: request_id(),
        image: session.locate(&of.image).await?,
        build: of.id,
    };
    let done = match session
        .change(async || session.builds().cancel_build(request.clone()).await)
        .await
    {
        // As with `docker stop`, there is nothing left to do.
        Err(failure) if failure.is("BUILD_ENDED") || failure.is("ALREADY_PUBLISHED") => CancelBuildResponse {
            build: Some(get(&session, &request.image, request.build).await?),
            ..CancelBuildResponse::default()
        },
        done => done?,
    };
    let build = done.build.clone().unwrap_or_default();
    let sentence = match build.outcome() {
        _ if done.position == 0 => format!("{} had ended already: {}", build.id, outcome_word(build.outcome()).1),
        BuildOutcome::Cancelled => format!("{} is cancelled", build.id),
        _ => format!("{} is being cancelled", build.id),
    };
    shell.output.answer(&done, &build.id, &sentence)
}

pub(crate) async fn queue(shell: &Shell) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = GetQueueRequest {
        workspace: shell.global.workspace.clone().unwrap_or_default(),
    };
    let answer = session
        .call(async || session.builds().get_queue(request.clone()).await)
        .await?;
    let now = now();
    let mut table = Table::new(&["PLACE", "IMAGE", "BUILD", "QUEUED", "BEGINS IN", "WHY"]);
    for build in &answer.builds {
        let place = match build.place {
            0 => Cell::new(Tone::Busy, "runs"),
            place => place.to_string().into(),
        };
        let cells = [
            place,
            (&build.name).into(),
            (&build.build).into(),
            ago(build.queued.as_ref(), now).into(),
            build.expected_wait.as_ref().map(about).unwrap_or_default().into(),
            (&build.reason).into(),
        ];
        table.row(&build.build, cells);
    }
    shell.output.list(&answer, &table, "nothing waits and nothing runs")?;
    let slots = plural(i64::from(answer.slots), "slot");
    if !shell.output.is_json() {
        shell.output.notice(format!("{} of {slots} busy", answer.busy));
    }
    Ok(())
}
