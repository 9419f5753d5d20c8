//! `cooper history IMAGE --as-of`: the whole image as it was.

use super::{access, show::facts};
use crate::{
    cli::AsOf,
    client::Shell,
    failure::Failure,
    output::{Cell, Tone, moment, right_word},
    reference::Reference,
};
use proto::{
    catalog::v1::{GetImageAsOfRequest, Image, Right, get_image_as_of_request::At},
    editor::v1::ContextKind,
};

// covers E10
pub(crate) async fn as_of(shell: &Shell, reference: &Reference, moment_asked: AsOf) -> Result<(), Failure> {
    let session = shell.session().await?;
    let request = GetImageAsOfRequest {
        image: session.locate(reference).await?,
        at: Some(match moment_asked {
            AsOf::Time(time) => At::Time(time),
            AsOf::Position(position) => At::Position(position),
        }),
    };
    let answer = session
        .call(async || session.history().get_image_as_of(request.clone()).await)
        .await?;
    if shell.output.is_json() {
        return shell.output.json(&answer);
    }
    let image = Image {
        // That is of now.
        my_rights: Right::Unspecified.into(),
        ..answer.image.unwrap_or_default()
    };
    if shell.output.quiet {
        return shell.output.line(&image.id);
    }
    let names = access::workspace_names(&session).await?;
    let workspace = names.get(&image.workspace).unwrap_or(&image.workspace);
    let revision = answer.revision.unwrap_or_default();
    let mut table = facts(&image, workspace, &revision, None);
    let mut fact = |title: &str, value: Cell| table.row("", [Cell::new(Tone::Faint, title), value]);
    for tag in &answer.tags {
        fact("tag", format!("{} at {}", tag.reference, tag.digest).into());
    }
    for grant in &answer.grants {
        let who = access::named(grant.grantee.as_ref(), &names);
        fact("shared with", format!("{who} ({})", right_word(grant.right())).into());
    }
    let then = format!("position {}, {}", answer.position, moment(answer.time.as_ref()));
    fact("as of", Cell::new(Tone::Strong, then));
    shell.output.facts(&table)?;
    let spec = revision.spec.unwrap_or_default();
    if spec.context_kind() == ContextKind::LocalFolder {
        shell.output.line("")?;
        shell.output.raw(spec.dockerfile.as_bytes())?;
    }
    Ok(())
}
