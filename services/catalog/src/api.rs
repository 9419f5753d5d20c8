//! The calls of the catalog: a request becomes a command, a refusal a status.

mod access;
mod history;
mod image;
mod verify;
mod watch;
mod workspace;

pub(crate) use access::AccessApi;
pub(crate) use history::HistoryApi;
pub(crate) use image::ImageApi;
pub(crate) use workspace::WorkspaceApi;

use service::{Failure, invalid};

/// A page token is the key of the last row, as text. What we did not write is refused.
fn read_token<const N: usize>(token: &str) -> Result<Option<[String; N]>, Failure> {
    if token.is_empty() {
        return Ok(None);
    }
    let parts: Vec<String> = token.split('\n').map(str::to_owned).collect();
    let parts = parts
        .try_into()
        .map_err(|_| invalid("page_token", "not a token that this call gave"))?;
    Ok(Some(parts))
}
