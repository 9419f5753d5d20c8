//! `cooper verify`: recomputes from what is stored whether the history is the one that was signed. It believes nobody
//! but the key and the checkpoints that are held here.

mod image;
mod trust;
mod whole;
mod words;

use crate::{
    cli::VerifyArgs,
    client::Shell,
    failure::{Exit, Failure},
};
use trust::Trust;

pub(crate) async fn verify(shell: &Shell, args: VerifyArgs) -> Result<(), Failure> {
    if let Some(data) = &args.data {
        let trust = Trust::of_folder(shell, &args, data)?;
        return whole::of_folder(shell, &trust, data).await;
    }
    let mut trust = Trust::of_server(shell, &args)?;
    let session = shell.session().await?.patient();
    match &args.image {
        Some(reference) => {
            let image = session.locate(reference).await?;
            let verified = image::verify(shell, &session, &mut trust, &image).await;
            // The service noticed by itself what is looked for here.
            let is_noticed = |failure: &Failure| failure.is("LOG_CHANGED") || failure.is("LOG_INCOMPLETE");
            verified.map_err(|failure| {
                if is_noticed(&failure) {
                    Failure::new(Exit::Failed, failure.to_string())
                } else {
                    failure
                }
            })
        }
        None => whole::of_server(shell, &session, &mut trust).await,
    }
}
