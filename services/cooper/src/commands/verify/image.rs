//! The streams of one image: each entry is proved to be in the tree that was signed, without the others' entries.

use super::{trust::Trust, words};
use crate::{
    client::{Session, Shell},
    failure::{Exit, Failure},
};
use eventlog::{Entry, Position, StreamId};
use proto::{
    catalog::v1::{ImageName, SignedCheckpoints, StoredEntry, VerifyHistoryRequest, verify_history_response::Part},
    events::ImageEvent,
};
use transparency::{Checkpoint, Hash, follows, includes, leaf};

/// What a server takes.
const HELD_MAX: usize = 1_000;

pub(super) async fn verify(shell: &Shell, session: &Session, trust: &mut Trust, image: &str) -> Result<(), Failure> {
    // Of which key they are is known once the server has shown its own.
    let mut proving: Option<Proving> = None;
    let sizes = trust.held_sizes();
    let request = VerifyHistoryRequest {
        image: image.to_owned(),
        held_sizes: sizes[sizes.len().saturating_sub(HELD_MAX)..].to_vec(),
        ..VerifyHistoryRequest::default()
    };
    let mut parts = session
        .open(async || session.history().verify_history(request.clone()).await)
        .await?;
    while let Some(message) = parts.message().await? {
        match message.part {
            Some(Part::Checkpoints(signed)) => {
                let key = trust.key(shell, &signed.public_key)?;
                let newest = signed.notes.first().map(|note| key.open(note));
                let newest = newest
                    .ok_or_else(unproved)?
                    .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
                let held = trust.held(&key)?;
                go_on(shell, &held[held.len().saturating_sub(HELD_MAX)..], &newest, &signed)?;
                proving = Some(Proving::new(newest, image));
            }
            Some(Part::Entries(stored)) => {
                let proving = proving.as_mut().ok_or_else(unproved)?;
                for entry in &stored.entries {
                    proving.entry(shell, entry)?;
                }
            }
            Some(Part::Leaves(_)) | None => (),
        }
    }
    let proving = proving.ok_or_else(unproved)?;
    proving.ensure_meant(shell, image)?;
    trust.keep(&proving.newest);
    words::image(shell, &proving.newest, proving.proved, proving.unsigned)
}

fn unproved() -> Failure {
    Failure::new(
        Exit::Failed,
        "the server answers without a checkpoint, so nothing is proved",
    )
}

/// The newest checkpoint must go on from those that are held here.
fn go_on(shell: &Shell, held: &[Checkpoint], newest: &Checkpoint, signed: &SignedCheckpoints) -> Result<(), Failure> {
    for older in held {
        if older.size > newest.size {
            return Err(words::shorter(shell, older, newest));
        }
        let proof = signed.consistency.iter().find(|proof| proof.size == older.size);
        let path = proof.and_then(|proof| path(&proof.hashes));
        let goes_on = path.is_some_and(|path| follows(&older.root, older.size, &newest.root, newest.size, &path));
        if !goes_on {
            return Err(words::forked(shell, older, newest));
        }
    }
    Ok(())
}

struct Proving {
    newest: Checkpoint,
    /// What all streams are about; empty until it is known.
    key: String,
    /// What the image is called, as the entries tell; they begin with its creation.
    name: Option<ImageName>,
    last: u64,
    proved: u64,
    unsigned: u64,
}

impl Proving {
    fn new(newest: Checkpoint, image: &str) -> Self {
        Self {
            newest,
            key: image
                .strip_prefix("img_")
                .map_or_else(String::new, |_| image.to_owned()),
            name: None,
            last: 0,
            proved: 0,
            unsigned: 0,
        }
    }

    fn entry(&mut self, shell: &Shell, entry: &StoredEntry) -> Result<(), Failure> {
        let position = entry.position;
        let about = entry.stream.split_once('.').map_or("", |(_, key)| key);
        if self.key.is_empty() {
            about.clone_into(&mut self.key);
        }
        let is_first = self.last == 0;
        let is_next = position > self.last && about == self.key;
        self.last = position;
        self.learn_name(entry);
        if is_first && self.name.is_none() {
            return Err(words::another(shell, "they do not begin with the creation of an image"));
        }
        if is_next && position > self.newest.size {
            self.unsigned += 1;
            return Ok(());
        }
        let leaf = leaf(&entry.stream, &entry.content);
        let is_proved = is_next
            && path(&entry.path)
                .is_some_and(|path| includes(&self.newest.root, self.newest.size, position - 1, &leaf, &path));
        if !is_proved {
            return Err(words::unproved(shell, position, &self.newest));
        }
        self.proved += 1;
        Ok(())
    }
}

impl Proving {
    fn learn_name(&mut self, entry: &StoredEntry) {
        let Some(stream) = StreamId::parse(&entry.stream).filter(|stream| stream.category == "image") else {
            return;
        };
        let decoded = Entry::decode(Position(entry.position), stream, entry.content.clone());
        for event in decoded.events().unwrap_or_default() {
            match event {
                ImageEvent::Created(event) => self.name = event.name,
                ImageEvent::Renamed(event) => self.name = event.to,
                ImageEvent::Described(_) | ImageEvent::Deleted(_) | ImageEvent::Purged(_) => (),
            }
        }
    }

    /// A server that shows another image's entries proves nothing of the one that was asked for.
    fn ensure_meant(&self, shell: &Shell, asked: &str) -> Result<(), Failure> {
        let Some(name) = &self.name else {
            return Err(words::another(shell, "there are none"));
        };
        let is_meant = asked == self.key || access::Name::parse(asked, "").is_ok_and(|asked| asked.path == name.path);
        if is_meant {
            Ok(())
        } else {
            Err(words::another(shell, &format!("they are of {}", name.path)))
        }
    }
}

fn path(hashes: &[impl AsRef<[u8]>]) -> Option<Vec<Hash>> {
    hashes.iter().map(|hash| hash.as_ref().try_into().ok()).collect()
}
