//! `cooper image diff`: what changed between two revisions, and what changed under somebody's hands.

use crate::{
    client::{Session, Shell},
    failure::{Exit, Failure},
    output::{Style, Tone},
    reference::Reference,
};
use proto::editor::v1::{DiffRevisionsRequest, DiffRevisionsResponse};

/// So many lines beside a refusal; the whole is one command away.
const SHORT: usize = 30;

pub(crate) async fn diff(
    shell: &Shell,
    reference: &Reference,
    from: Option<u32>,
    to: Option<u32>,
) -> Result<(), Failure> {
    let session = shell.session().await?;
    let image = session.locate(reference).await?;
    let answer = between(&session, image, from, to).await?;
    if shell.output.is_json() {
        return shell.output.json(&answer);
    }
    let name = &reference.image;
    match (from, answer.to) {
        (None, 0) => {
            let nothing = format!("nothing is saved in {name} yet, so there is nothing to compare");
            shell.output.notice(nothing);
            return Ok(());
        }
        (Some(from), to) if from == to => {
            let sentence = format!("revision {to} is both sides of this: name two revisions");
            return Err(Failure::new(Exit::Usage, sentence));
        }
        (None, 1) => {
            let first = format!("revision 1 of {name} is its first, so all of it is new");
            shell.output.notice(first);
        }
        _ => {}
    }
    let text = rendered(shell.output.style, &answer);
    if text.is_empty() {
        let same = format!("revisions {} and {} are the same", answer.from, answer.to);
        shell.output.notice(same);
    }
    shell.output.raw(text.as_bytes())
}

async fn between(
    session: &Session,
    image: String,
    from: Option<u32>,
    to: Option<u32>,
) -> Result<DiffRevisionsResponse, Failure> {
    let request = DiffRevisionsRequest { image, from, to };
    session
        .call(async || session.editor().diff_revisions(request.clone()).await)
        .await
}

/// Shows what somebody else changed meanwhile, when that is why a save was refused.
pub(super) async fn say_overtaken(shell: &Shell, session: &Session, image: &str, seen: Option<u32>, refusal: &Failure) {
    let current = refusal.fact(&["current"]).and_then(|number| number.parse().ok());
    let (true, Some(seen), Some(current)) = (refusal.is("STALE_REVISION"), seen, current) else {
        return;
    };
    // What can't be shown is not what went wrong.
    let Ok(answer) = between(session, image.to_owned(), Some(seen), Some(current)).await else {
        return;
    };
    let text = rendered(shell.output.margin, &answer);
    for line in text.split_inclusive('\n').take(SHORT) {
        shell.output.aside(line.as_bytes());
    }
    if text.lines().count() > SHORT {
        shell
            .output
            .notice(format!("... and more: `cooper image diff {image} {seen} {current}`"));
    }
}

/// As `diff -u` writes it; settings are lines too.
fn rendered(style: Style, answer: &DiffRevisionsResponse) -> String {
    let mut settings = Vec::new();
    for change in &answer.changes {
        for (sign, value) in [('-', &change.before), ('+', &change.after)] {
            if !value.is_empty() {
                settings.push(format!("{sign}{}: {value}", change.field));
            }
        }
    }
    let dockerfile = answer.dockerfile.lines().map(str::to_owned).collect();
    let mut text = String::new();
    for (what, lines) in [("Dockerfile", dockerfile), ("settings", settings)] {
        if lines.is_empty() {
            continue;
        }
        for (sign, revision) in [("---", answer.from), ("+++", answer.to)] {
            text += &style.paint(Tone::Strong, &format!("{sign} {what}, revision {revision}"));
            text.push('\n');
        }
        for line in lines {
            let line = harmless(&line);
            text += &match line.as_bytes().first() {
                Some(b'-') => style.paint(Tone::Bad, &line),
                Some(b'+') => style.paint(Tone::Good, &line),
                Some(b'@') => style.paint(Tone::Busy, &line),
                _ => line,
            };
            text.push('\n');
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
    use proto::editor::v1::FieldChange;

    // covers R28
    #[test]
    fn a_difference_is_shown_as_diff_does() {
        let change = |field: &str, before: &str, after: &str| FieldChange {
            field: field.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        };
        let answer = DiffRevisionsResponse {
            from: 1,
            to: 2,
            dockerfile: "@@ -1 +1 @@\n-FROM a\u{1b}[2J\n+FROM b\n".to_owned(),
            changes: vec![change("target", "", "x"), change("build_args.A", "1", "2")],
        };
        assert_eq!(
            rendered(Style::PLAIN, &answer),
            "--- Dockerfile, revision 1\n+++ Dockerfile, revision 2\n@@ -1 +1 @@\n-FROM a [2J\n+FROM b\n\
             --- settings, revision 1\n+++ settings, revision 2\n+target: x\n-build_args.A: 1\n+build_args.A: 2\n"
        );
        assert_eq!(rendered(Style::PLAIN, &DiffRevisionsResponse::default()), "");
    }
}
