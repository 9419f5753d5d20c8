//! Whenever there is a new checkpoint, it should be in the file beside the log, and where the operator wants it.

use super::Signed;
use anyhow::{Context as _, ensure};
use reqwest::{Client, Url, header::CONTENT_TYPE};
use service::World;
use std::{
    io::SeekFrom,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    fs::OpenOptions,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    sync::watch,
    time::sleep,
};

const RETRY_DELAY: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

enum Destination {
    /// One note after another.
    File(PathBuf),
    /// The body of a POST.
    Address(Client, Url),
}

/// A destination that is away gets the newest checkpoint when it is back: that one tells of all before it.
pub(crate) async fn deliver_checkpoints(
    world: World,
    mut signed: watch::Receiver<Option<Signed>>,
) -> anyhow::Result<()> {
    let mut destinations = vec![Destination::File(world.config.data.join("checkpoints"))];
    destinations.extend(Destination::parse(&world.config.catalog.checkpoints_to)?);
    let deliver = async {
        loop {
            let newest = match &*signed.borrow_and_update() {
                Some(signed) => signed.newest().map(|newest| newest.note.clone()),
                None => None,
            };
            let mut is_everywhere = true;
            for destination in &destinations {
                if let Some(note) = &newest
                    && let Err(error) = destination.take(note).await
                {
                    tracing::warn!("a checkpoint is not delivered, trying again: {error:#}");
                    is_everywhere = false;
                }
            }
            tokio::select! {
                changed = signed.changed() => if changed.is_err() { return Ok(()) },
                () = sleep(RETRY_DELAY), if !is_everywhere => (),
            }
        }
    };
    world.stop.run_until_cancelled(deliver).await.unwrap_or(Ok(()))
}

impl Destination {
    fn parse(setting: &str) -> anyhow::Result<Option<Self>> {
        if setting.is_empty() {
            return Ok(None);
        }
        if !setting.starts_with("http://") && !setting.starts_with("https://") {
            return Ok(Some(Self::File(setting.into())));
        }
        let address = setting
            .parse()
            .with_context(|| format!("catalog.checkpoints_to is no address: {setting}"))?;
        let client = Client::builder().timeout(ANSWER_WITHIN).build()?;
        Ok(Some(Self::Address(client, address)))
    }

    async fn take(&self, note: &str) -> anyhow::Result<()> {
        match self {
            Self::File(path) => append(path, note)
                .await
                .with_context(|| format!("{} can't be written", path.display())),
            Self::Address(client, address) => {
                let post = client
                    .post(address.clone())
                    .header(CONTENT_TYPE, "text/plain; charset=utf-8");
                let answer = post.body(note.to_owned()).send().await?;
                ensure!(answer.status().is_success(), "{address} answered {}", answer.status());
                Ok(())
            }
        }
    }
}

/// Appends a note, unless it is the last one already: after a start it is delivered again.
async fn append(path: &Path, note: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).open(path).await?;
    let length = file.metadata().await?.len();
    let mut last = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(note.len() as u64 + 1)))
        .await?;
    file.read_to_end(&mut last).await?;
    if !last.ends_with(format!("{note}\n").as_bytes()) {
        // An empty line between them is for the eye.
        file.write_all(format!("{note}\n").as_bytes()).await?;
        file.sync_data().await?;
    }
    Ok(())
}
