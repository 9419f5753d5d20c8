//! `cooper image revisions`, `dockerfile`, `diff` and `restore`: what was saved before.

use super::{limit, pages, say_more};
use crate::{
    cli::Newest,
    client::{Shell, request_id},
    failure::{Exit, Failure},
    output::{Cell, Style, Table, Tone, ago, now},
    reference::Reference,
};
use proto::editor::v1::{
    BuildSpec, ContextKind, ListRevisionsRequest, ListRevisionsResponse, RestoreRevisionRequest, Revision,
};
use similar::{ChangeTag, TextDiff};
use std::fmt::Write as _;

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

pub(crate) async fn diff(
    shell: &Shell,
    reference: &Reference,
    from: Option<u32>,
    to: Option<u32>,
) -> Result<(), Failure> {
    let session = shell.session().await?;
    let image = session.locate(reference).await?;
    let to = session.revision(&image, to).await?;
    let name = &reference.image;
    match (from, to.number) {
        (None, 0) => {
            shell.output.notice(format!(
                "nothing is saved in {name} yet, so there is nothing to compare"
            ));
            return Ok(());
        }
        (None, 1) => shell
            .output
            .notice(format!("revision 1 of {name} is its first, so all of it is new")),
        _ => {}
    }
    let from = match from.unwrap_or(to.number.saturating_sub(1)) {
        // The draft is nobody's revision: what was before the first is nothing.
        0 => Revision::default(),
        number => session.revision(&image, Some(number)).await?,
    };
    if from.number == to.number {
        let sentence = format!("revision {} is both sides of this: name two revisions", to.number);
        return Err(Failure::new(Exit::Usage, sentence));
    }
    let (before, after) = (
        from.spec.clone().unwrap_or_default(),
        to.spec.clone().unwrap_or_default(),
    );
    let title = |what: &str, number: u32| format!("{what}, revision {number}");
    let mut text = String::new();
    for (what, before, after) in [
        ("Dockerfile", before.dockerfile.clone(), after.dockerfile.clone()),
        ("settings", settings(&before), settings(&after)),
    ] {
        text += &unified(
            shell.output.style,
            &title(what, from.number),
            &title(what, to.number),
            &before,
            &after,
        );
    }
    if text.is_empty() {
        shell
            .output
            .notice(format!("revisions {} and {} are the same", from.number, to.number));
    }
    shell.output.raw(text.as_bytes())
}

/// Everything but the Dockerfile, one setting per line.
fn settings(spec: &BuildSpec) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            // Into a string: never fails.
            let _ = writeln!(text, "{key}: {value}");
        }
    };
    match spec.context_kind() {
        ContextKind::LocalFolder => line("context", "local folder"),
        ContextKind::GitRepository => line("context", "git repository"),
        ContextKind::Unspecified => {}
    }
    if let Some(git) = &spec.git {
        line("git", &git.url);
        line("git ref", &git.r#ref);
        line("git directory", &git.directory);
    }
    if let Some(context) = &spec.context {
        line("files", &context.digest);
    }
    for (key, value) in &spec.build_args {
        line("build argument", &format!("{key}={value}"));
    }
    line("target", &spec.target);
    for platform in &spec.platforms {
        line("platform", platform);
    }
    for (key, value) in &spec.labels {
        line("label", &format!("{key}={value}"));
    }
    text
}

fn unified(style: Style, from: &str, to: &str, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let diff = TextDiff::from_lines(before, after);
    let mut text = style.paint(Tone::Strong, &format!("--- {from}\n+++ {to}"));
    text.push('\n');
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        text += &style.paint(Tone::Busy, &hunk.header().to_string());
        text.push('\n');
        for change in hunk.iter_changes() {
            let line = harmless(change.value().trim_end_matches(['\r', '\n']));
            let line = format!("{}{line}", change.tag());
            text += &match change.tag() {
                ChangeTag::Delete => style.paint(Tone::Bad, &line),
                ChangeTag::Insert => style.paint(Tone::Good, &line),
                ChangeTag::Equal => line,
            };
            text.push('\n');
            if change.missing_newline() {
                text += "\\ no line end at the end of the file\n";
            }
        }
    }
    text
}

/// Without what would steer the terminal; a tab is part of the text.
fn harmless(line: &str) -> String {
    line.chars()
        .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_as_diff_does() {
        let text = unified(Style::PLAIN, "a", "b", "FROM old\nRUN x\n", "FROM new\nRUN x\n");
        assert_eq!(text, "--- a\n+++ b\n@@ -1,2 +1,2 @@\n-FROM old\n+FROM new\n RUN x\n");
        assert_eq!(unified(Style::PLAIN, "a", "b", "same", "same"), "");
    }

    #[test]
    fn every_setting_is_a_line() {
        let mut spec = BuildSpec {
            build_args: [("A".to_owned(), "1".to_owned())].into(),
            platforms: vec!["linux/amd64".to_owned()],
            ..BuildSpec::default()
        };
        spec.set_context_kind(ContextKind::LocalFolder);
        assert_eq!(
            settings(&spec),
            "context: local folder\nbuild argument: A=1\nplatform: linux/amd64\n"
        );
    }
}
