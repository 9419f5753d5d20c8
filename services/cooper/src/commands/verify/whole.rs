//! The whole log: every entry is hashed here, and the tree held against every checkpoint that there is.

use super::{trust::Trust, words};
use crate::{
    client::{Session, Shell},
    failure::{Exit, Failure},
    up::stored_log,
};
use eventlog::{Entry, EventLog as _, JetStreamLog, LogError, StreamId, Which};
use futures::TryStreamExt as _;
use proto::{
    catalog::v1::{LeafRange, VerifyHistoryRequest, verify_history_response::Part},
    events::CheckpointEvent,
};
use std::path::Path;
use transparency::{Audit, Checkpoint, Hash, Nodes, PublicKey, Wrong};

pub(super) async fn of_server(shell: &Shell, session: &Session, trust: &mut Trust) -> Result<(), Failure> {
    let request = VerifyHistoryRequest::default();
    let mut parts = session
        .open(async || session.history().verify_history(request.clone()).await)
        .await?;
    let mut checkpoints: Vec<Checkpoint> = Vec::new();
    let mut key = None;
    let mut audit: Option<Audit> = None;
    let mut wrong = None;
    'reading: while let Some(message) = parts.message().await? {
        match message.part {
            Some(Part::Checkpoints(signed)) => {
                let shown = trust.key(shell, &signed.public_key)?;
                if key.is_none() {
                    checkpoints = trust.held(&shown)?;
                }
                let key = key.insert(shown);
                checkpoints.extend(signed.notes.iter().filter_map(|note| key.open(note).ok()));
            }
            Some(Part::Entries(stored)) => {
                let audit = audit.get_or_insert_with(|| Audit::new(std::mem::take(&mut checkpoints)));
                for entry in &stored.entries {
                    if let Err(found) = audit.entry(entry.position, &entry.stream, &entry.content) {
                        wrong = Some(found);
                        break 'reading;
                    }
                }
            }
            Some(Part::Leaves(_)) | None => (),
        }
    }
    drop(parts);
    let audit = audit.unwrap_or_else(|| Audit::new(checkpoints));
    let ended = match wrong {
        Some(wrong) => Err(wrong),
        None => audit.end(),
    };
    match ended {
        Ok((newest, unsigned)) => {
            if let Some(newest) = &newest {
                trust.keep(newest);
            }
            words::whole(shell, newest.as_ref(), unsigned)
        }
        Err(wrong) => {
            // Without them the answer is less exact, and no less true.
            let leaves = kept_leaves(session, &wrong).await.unwrap_or_default();
            Err(words::wrong(shell, &wrong, wrong.locate(&leaves)))
        }
    }
}

async fn kept_leaves(session: &Session, wrong: &Wrong) -> Result<Vec<Hash>, Failure> {
    let Some(range) = wrong.wanted() else {
        return Ok(Vec::new());
    };
    let request = VerifyHistoryRequest {
        leaves: Some(LeafRange {
            start: range.start,
            end: range.end,
        }),
        ..VerifyHistoryRequest::default()
    };
    let mut parts = session
        .open(async || session.history().verify_history(request.clone()).await)
        .await?;
    let mut leaves = Vec::new();
    while let Some(message) = parts.message().await? {
        if let Some(Part::Leaves(kept)) = message.part {
            leaves.extend_from_slice(kept.hashes.as_chunks().0);
        }
    }
    Ok(leaves)
}

pub(super) async fn of_folder(shell: &Shell, trust: &Trust, data: &Path) -> Result<(), Failure> {
    let key = trust.own_key()?;
    let mut checkpoints = trust.held(&key)?;
    let ended = stored_log(data, async |log| {
        checkpoints.extend(in_log(&log, &key).await.map_err(|error| unreadable(0, error))?);
        let mut audit = Audit::new(checkpoints);
        let read = read(&log, &mut audit).await;
        Ok(match read.map_err(|error| unreadable(audit.read(), error))? {
            Some(wrong) => Err(wrong),
            None => audit.end(),
        })
    })
    .await?;
    match ended {
        Ok((newest, unsigned)) => words::whole(shell, newest.as_ref(), unsigned),
        Err(wrong) => {
            let located = wrong.wanted().and_then(|range| {
                let tree = Nodes::read(&data.join("views/log.tree"), range.end).ok()?;
                wrong.locate(&tree.leaves(range).ok()?)
            });
            Err(words::wrong(shell, &wrong, located))
        }
    }
}

/// The checkpoints that the log itself holds. What the key did not sign says nothing.
async fn in_log(log: &JetStreamLog, key: &PublicKey) -> Result<Vec<Checkpoint>, LogError> {
    let mut checkpoints = Vec::new();
    let mut stored = log.stored(Which::Category("checkpoint")).await?;
    while let Some(entry) = stored.try_next().await? {
        let Some(stream) = StreamId::parse(&entry.stream) else {
            continue;
        };
        let events = Entry::decode(entry.position, stream, entry.bytes).events();
        for CheckpointEvent::Signed(event) in events.unwrap_or_default() {
            checkpoints.extend(key.open(&event.note));
        }
    }
    Ok(checkpoints)
}

/// Answers what is wrong, if that shows before the end.
async fn read(log: &JetStreamLog, audit: &mut Audit) -> Result<Option<Box<Wrong>>, LogError> {
    let mut stored = log.stored(Which::All).await?;
    while let Some(entry) = stored.try_next().await? {
        if let Err(wrong) = audit.entry(entry.position.0, &entry.stream, &entry.bytes) {
            return Ok(Some(wrong));
        }
    }
    Ok(None)
}

/// A server may also choke on files that are damaged.
fn unreadable(read: u64, error: LogError) -> Failure {
    let error = anyhow::Error::new(error);
    let cause = error.root_cause();
    Failure::new(
        Exit::Unavailable,
        format!("the log can't be read behind position {read}: {cause}"),
    )
}
