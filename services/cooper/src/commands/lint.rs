//! `cooper image lint`, and what other commands say about a Dockerfile on the way.

use super::save::read_dockerfile;
use crate::{
    cli::LintArgs,
    client::{Session, Shell},
    failure::{Exit, Failure},
    output::{Style, Tone, plain},
};
use proto::editor::v1::{Diagnostic, LintDockerfileRequest, Severity};
use std::path::{Path, PathBuf};

/// So much is said beside another answer.
const SHORT: usize = 5;

/// The findings are the answer. They fail the command only where the Dockerfile can't be built.
pub(crate) async fn lint(shell: &Shell, args: LintArgs) -> Result<(), Failure> {
    let file = match (&args.image, args.file) {
        (Some(_), None) => None,
        (_, file) => Some(file.unwrap_or_else(|| PathBuf::from("Dockerfile"))),
    };
    let dockerfile = file.as_deref().map(read_dockerfile).transpose()?;
    let session = shell.session().await?;
    let image = match &args.image {
        Some(reference) => session.locate(reference).await?,
        None => String::new(),
    };
    let request = LintDockerfileRequest { image, dockerfile };
    let answer = session
        .call(async || session.editor().lint_dockerfile(request.clone()).await)
        .await?;
    let name = match file.as_deref() {
        Some(file) if file != Path::new("-") => file.display().to_string(),
        _ => "Dockerfile".to_owned(),
    };
    if shell.output.is_json() {
        shell.output.json(&answer)?;
    } else if answer.diagnostics.is_empty() {
        shell.output.notice("nothing is to be said about it");
    } else {
        for diagnostic in &answer.diagnostics {
            shell.output.line(line(shell.output.style, &name, diagnostic))?;
            if !diagnostic.hint.is_empty() && !shell.output.quiet {
                shell.output.line(format!("    {}", plain(&diagnostic.hint)))?;
            }
        }
    }
    if answer.diagnostics.iter().any(is_error) {
        // What is wrong was said.
        return Err(Failure::silent(Exit::Failed));
    }
    Ok(())
}

fn is_error(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity() == Severity::Error
}

/// As compilers write it, so that editors find the place.
fn line(style: Style, name: &str, diagnostic: &Diagnostic) -> String {
    let Diagnostic { line, column, .. } = diagnostic;
    let (tone, word) = match diagnostic.severity() {
        Severity::Error => (Tone::Bad, "error"),
        Severity::Warning => (Tone::Changed, "warning"),
        Severity::Info | Severity::Unspecified => (Tone::Faint, "info"),
    };
    let word = style.paint(tone, word);
    let (message, rule) = (plain(&diagnostic.message), plain(&diagnostic.rule));
    format!("{}:{line}:{column}: {word}: {message} [{rule}]", plain(name))
}

/// Says what is wrong, or probably is, beside the answer of another command: errors first, and not all of it.
pub(super) fn say(shell: &Shell, image: &str, diagnostics: &[Diagnostic]) {
    let counts = |diagnostic: &&Diagnostic| matches!(diagnostic.severity(), Severity::Error | Severity::Warning);
    let mut counted: Vec<&Diagnostic> = diagnostics.iter().filter(counts).collect();
    counted.sort_by_key(|diagnostic| !is_error(diagnostic));
    for diagnostic in counted.iter().take(SHORT) {
        let line = line(shell.output.margin, "Dockerfile", diagnostic);
        shell.output.aside(format!("{line}\n").as_bytes());
    }
    if let Some(more) = counted.len().checked_sub(SHORT).filter(|more| *more > 0) {
        shell
            .output
            .notice(format!("... and {more} more: `cooper image lint {image}`"));
    }
}

/// The same about what is saved, before it is built. What can't be asked for is no reason not to build.
pub(super) async fn say_of_saved(shell: &Shell, session: &Session, image: &str, name: &str) {
    if let Ok(revision) = session.revision(image, None).await
        && revision.number > 0
    {
        say(shell, name, &revision.diagnostics);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_as_compilers_write_it() {
        let mut diagnostic = Diagnostic {
            line: 4,
            column: 7,
            rule: "UnpinnedBase".to_owned(),
            message: "no\u{1b}tag".to_owned(),
            ..Diagnostic::default()
        };
        diagnostic.set_severity(Severity::Warning);
        let told = line(Style::PLAIN, "app/Dockerfile", &diagnostic);
        assert_eq!(told, "app/Dockerfile:4:7: warning: no tag [UnpinnedBase]");
    }
}
