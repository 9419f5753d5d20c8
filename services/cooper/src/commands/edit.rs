//! `cooper image edit`: the Dockerfile in the user's own editor.

use super::{diff::say_overtaken, save::answer};
use crate::{
    client::{Shell, request_id},
    failure::{Exit, Failure},
    interrupt,
    output::name_of,
    reference::Reference,
    upload::read_text,
};
use proto::editor::v1::{ContextKind, SaveSpecRequest};
use std::{env, fs, io::IsTerminal as _};

/// How `sh` ends when it finds no such program.
const NO_SUCH_COMMAND: i32 = 127;

pub(crate) async fn edit(shell: &Shell, reference: &Reference) -> Result<(), Failure> {
    let editor = editor(reference)?;
    let session = shell.session().await?;
    // By id: while somebody types, the name may go to another image.
    let image = session.image(&session.locate(reference).await?).await?.id;
    let seen = session.revision(&image, None).await?;
    let mut spec = seen.spec.unwrap_or_default();
    if spec.context_kind() == ContextKind::GitRepository {
        shell
            .output
            .notice("this image is built from a git repository: the Dockerfile here is used once that changes");
    }
    let (text, folder) = edited(&editor, &spec.dockerfile).await?;
    if text == spec.dockerfile && seen.number != 0 {
        shell.output.notice("nothing changed, nothing is saved");
        return Ok(());
    }
    spec.dockerfile = text;
    if spec.context_kind() == ContextKind::Unspecified {
        spec.set_context_kind(ContextKind::LocalFolder);
    }
    let request = SaveSpecRequest {
        request_id: request_id(),
        image,
        spec: Some(spec),
        note: String::new(),
        expected_revision: Some(seen.number),
        validate_only: false,
    };
    let saved = session
        .change(async || session.editor().save_spec(request.clone()).await)
        .await;
    match saved {
        Ok(saved) => {
            // It may be called otherwise by now.
            let name = session.image(&request.image).await.map(|image| name_of(&image));
            answer(shell, &name.unwrap_or_else(|_| reference.image.clone()), &saved)
        }
        Err(failure) => {
            say_overtaken(shell, &session, &request.image, request.expected_revision, &failure).await;
            // An hour of typing is not lost to a colleague's save.
            let kept = folder.keep().join("Dockerfile");
            Err(failure.advising(format!("your text is kept in {}", kept.display())))
        }
    }
}

/// As with git, the editor of last resort needs a terminal; one that was named may be a script.
fn editor(reference: &Reference) -> Result<String, Failure> {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
    match set("VISUAL").or_else(|| set("EDITOR")) {
        Some(editor) => Ok(editor),
        None if std::io::stdin().is_terminal() => Ok("vi".to_owned()),
        None => {
            let sentence = format!(
                "there is no terminal to edit in: set EDITOR, or give the Dockerfile to `cooper image save {} -f -`",
                reference.image
            );
            Err(Failure::new(Exit::Usage, sentence))
        }
    }
}

/// Lets the user edit a text, and answers it with the folder that it lies in.
async fn edited(editor: &str, text: &str) -> Result<(String, tempfile::TempDir), Failure> {
    let unwritable =
        |error: std::io::Error| Failure::new(Exit::Internal, format!("no temporary file can be written: {error}"));
    let folder = tempfile::Builder::new()
        .prefix("cooper-")
        .tempdir()
        .map_err(unwritable)?;
    let path = folder.path().join("Dockerfile");
    fs::write(&path, text).map_err(unwritable)?;
    // The editor has the terminal, and Ctrl-C with it.
    let _hold = interrupt::hold();
    // As git does: the variable may hold options.
    let mut shell = tokio::process::Command::new("sh");
    let ended = shell
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg(editor)
        .arg(&path)
        .status()
        .await;
    if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
        let what = match ended.ok().and_then(|status| status.code()) {
            Some(NO_SUCH_COMMAND) => "is not installed here",
            _ => "failed",
        };
        let sentence =
            format!("the editor `{editor}` {what}, and nothing is saved: set EDITOR to the one that you like");
        return Err(Failure::new(Exit::Failed, sentence));
    }
    Ok((read_text(&path)?, folder))
}
