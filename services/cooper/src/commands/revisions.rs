//! `cooper image revisions`, `dockerfile` and `restore`: what was saved before.

use super::{limit, pages, say_more};
use crate::{
    cli::Newest,
    client::{Shell, request_id},
    failure::Failure,
    output::{Cell, Table, Tone, ago, now},
    reference::Reference,
};
use proto::editor::v1::{ContextKind, ListRevisionsRequest, ListRevisionsResponse, RestoreRevisionRequest, Revision};

pub(crate) async fn revisions(shell: &Shell, reference: &Reference, newest: Newest) -> Result<(), Failure> {
    let session = shell.session().await?;
    let image = session.image(&session.locate(reference).await?).await?;
    let (revisions, there_are_more) = pages(limit(shell, newest), async |page_size, page_token| {
        let request = ListRevisionsRequest {
            image: image.id.clone(),
            page_size,
            page_token,
        };
        let answer = session
            .call(async || session.editor().list_revisions(request.clone()).await)
            .await?;
        Ok((answer.revisions, answer.next_page_token))
    })
    .await?;
    let now = now();
    let mut table = Table::new(&["REVISION", "SAVED", "BY", "", "NOTE"]);
    for revision in &revisions {
        let is_built = revision.number == image.built_revision;
        let built = if is_built {
            Cell::new(Tone::Good, "built")
        } else {
            "".into()
        };
        let cells = [
            revision.number.to_string().into(),
            ago(revision.time.as_ref(), now).into(),
            (&revision.actor).into(),
            built,
            note(revision).into(),
        ];
        table.row(revision.number.to_string(), cells);
    }
    let rows = revisions.len();
    let answer = ListRevisionsResponse {
        revisions,
        next_page_token: String::new(),
    };
    let name = &reference.image;
    shell.output.list(
        &answer,
        &table,
        &format!("nothing is saved yet: `cooper image edit {name}` begins"),
    )?;
    say_more(shell, rows, there_are_more);
    Ok(())
}

fn note(revision: &Revision) -> String {
    match (revision.restored_from, revision.note.as_str()) {
        (0, note) => note.to_owned(),
        (from, "") => format!("revision {from} again"),
        (from, note) => format!("revision {from} again: {note}"),
    }
}

pub(crate) async fn dockerfile(shell: &Shell, reference: &Reference, revision: Option<u32>) -> Result<(), Failure> {
    let session = shell.session().await?;
    let revision = session.revision(&session.locate(reference).await?, revision).await?;
    if shell.output.is_json() {
        return shell.output.json(&revision);
    }
    let spec = revision.spec.unwrap_or_default();
    if spec.context_kind() == ContextKind::GitRepository {
        shell
            .output
            .notice("this image is built from a git repository, not from this Dockerfile");
    }
    shell.output.raw(spec.dockerfile.as_bytes())?;
    if !spec.dockerfile.is_empty() && !spec.dockerfile.ends_with('\n') && shell.output.style.terminal {
        shell.output.line("")?;
    }
    Ok(())
}

pub(crate) async fn restore(
    shell: &Shell,
    reference: &Reference,
    revision: u32,
    expected_revision: Option<u32>,
) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = RestoreRevisionRequest {
        request_id: request_id(),
        image: session.locate(reference).await?,
        revision,
        expected_revision,
    };
    let done = session
        .change(async || session.editor().restore_revision(request.clone()).await)
        .await?;
    let name = &reference.image;
    let sentence = format!(
        "revision {} of {name} is what revision {revision} was: next, `cooper image build {name}`",
        done.revision
    );
    shell.output.answer(&done, &done.revision.to_string(), &sentence)
}
