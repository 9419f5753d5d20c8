//! `cooper history`: what happened to an image.

use super::{as_of, limit, pages, say_more};
use crate::{
    cli::HistoryArgs,
    client::Shell,
    failure::Failure,
    output::{Cell, Table, Tone, moment},
};
use proto::catalog::v1::{GetImageHistoryRequest, GetImageHistoryResponse, HistoryEntry};

/// The last characters of a ULID are chance.
const REQUEST: usize = 6;

// covers R21, R22, R23
pub(crate) async fn history(shell: &Shell, args: HistoryArgs) -> Result<(), Failure> {
    if let Some(moment) = args.as_of {
        return as_of::as_of(shell, &args.image, moment).await;
    }
    let session = shell.session().await?;
    let image = session.locate(&args.image).await?;
    let (entries, there_are_more) = pages(limit(shell, args.newest), async |page_size, page_token| {
        let request = GetImageHistoryRequest {
            image: image.clone(),
            page_size,
            page_token,
        };
        let answer = session
            .call(async || session.history().get_image_history(request.clone()).await)
            .await?;
        Ok((answer.entries, answer.next_page_token))
    })
    .await?;
    if entries.iter().any(|entry| entry.r#type == "image.deleted") && !shell.output.is_json() {
        shell
            .output
            .notice(format!("{} is deleted, its history stays", args.image.image));
    }
    let mut table = Table::new(&["POSITION", "WHEN", "WHO", "WHAT", "REQUEST", ""]);
    for entry in &entries {
        let summary = if entry.after_deletion {
            Cell::new(Tone::Faint, format!("{} (after the deletion: void)", entry.summary))
        } else {
            (&entry.summary).into()
        };
        let position = entry.position.to_string();
        let cells = [
            (&position).into(),
            moment(entry.time.as_ref()).into(),
            (&entry.actor).into(),
            Cell::new(Tone::Busy, &entry.r#type),
            Cell::new(Tone::Faint, request(entry)),
            summary,
        ];
        table.row(position, cells);
    }
    let rows = entries.len();
    let answer = GetImageHistoryResponse {
        entries,
        next_page_token: String::new(),
    };
    shell.output.list(&answer, &table, "nothing happened to this image")?;
    say_more(shell, rows, there_are_more);
    Ok(())
}

/// Enough of it to see what came of the same request.
fn request(entry: &HistoryEntry) -> &str {
    let id = &entry.request_id;
    &id[id.len().saturating_sub(REQUEST)..]
}
