//! VerifyHistory: what is stored, and what proves that it is what was signed. The caller judges it, not we.

use super::history::HistoryApi;
use crate::{
    domain::Checkpoints,
    policy::{Signed, SignedState, tree},
};
use access::{Caller, Denied};
use aggregate::Aggregate as _;
use anyhow::Context as _;
use eventlog::{Entry, LogError, RawEntries, RawEntry, StreamId, Which};
use futures::{
    StreamExt as _, TryStreamExt as _, future,
    stream::{self, BoxStream},
};
use ids::ImageId;
use proto::{
    catalog::v1::{
        ConsistencyProof, KeptLeaves, LeafRange, SignedCheckpoints, StoredEntries, StoredEntry, VerifyHistoryRequest,
        VerifyHistoryResponse, verify_history_response::Part,
    },
    events::CheckpointEvent,
};
use service::{Failure, invalid, status};
use std::time::Duration;
use tonic::{Code, Request, Status};
use transparency::{Checkpoint, Hash, Nodes, PublicKey};

/// A message has at least so many bytes, and at most one entry more.
const BATCH_BYTES: usize = 512 * 1024;
const NOTES: usize = 1_000;
const HELD_MAX: usize = 1_000;
/// Each reads the log with a buffer of its own.
pub(super) const VERIFYING_MAX: usize = 8;
const LEAVES_MAX: u64 = 1 << 20;
const LEAVES: usize = 16_384;
/// How long the newest checkpoint that a caller saw may be on its way to this process.
const CATCH_UP: Duration = Duration::from_secs(5);

type Answers = BoxStream<'static, Result<VerifyHistoryResponse, Status>>;

impl HistoryApi {
    pub(super) async fn verify(&self, request: Request<VerifyHistoryRequest>) -> Result<Answers, Failure> {
        let call = self.world.admit(request.metadata(), &self.view).await?;
        let request = request.into_inner();
        if request.held_sizes.len() > HELD_MAX {
            return Err(invalid("held_sizes", format_args!("at most {HELD_MAX}")).into());
        }
        let Ok(place) = self.verifying.clone().try_acquire_owned() else {
            let sentence = format!("{VERIFYING_MAX} histories are being verified here already, try again later");
            return Err(status(Code::ResourceExhausted, "VERIFYING", sentence).into());
        };
        let answers = if request.image.is_empty() {
            if !call.caller.admin {
                let sentence = "only an administrator may verify the whole log, name an image";
                return Err(status(Code::PermissionDenied, "ADMIN_ONLY", sentence).into());
            }
            match request.leaves {
                Some(range) => self.leaves(&range).await?,
                None => self.whole().await?,
            }
        } else {
            let located = self.world.access.any_image(&call.caller, &request.image).await?;
            // Who may only read an image does not see all that its streams hold.
            if !located.is_member && !call.caller.admin {
                return Err(Denied::MembersOnly.into());
            }
            let answers = self.proofs(&located.image.to_string(), &request.held_sizes).await?;
            self.judged_again(&call.caller, located.image, answers)
        };
        let answers = answers.inspect(move |_| {
            let _held = &place;
        });
        Ok(self.world.stream(&call, answers))
    }

    /// Whoever reads slowly may be a member no more.
    fn judged_again(&self, caller: &Caller, image: ImageId, answers: Answers) -> Answers {
        let (access, caller) = (self.world.access.clone(), caller.clone());
        let judged = answers.and_then(move |answer| {
            let (access, caller) = (access.clone(), caller.clone());
            async move {
                let located = access.any_image(&caller, &image.to_string()).await;
                match located.map_err(Failure::from)? {
                    located if located.is_member || caller.admin => Ok(answer),
                    _ => Err(Failure::from(Denied::MembersOnly).into()),
                }
            }
        });
        judged.boxed()
    }

    /// The key, and the newest checkpoint once it is not older than what the caller holds.
    async fn signed(&self, held: u64) -> Result<(PublicKey, Checkpoint), Failure> {
        let mut signed = self.signed.clone();
        let is_settled = |signed: &Option<Signed>| match signed.as_ref().map(|signed| &signed.state) {
            Some(SignedState::UpTo(newest)) => newest.size >= held,
            Some(SignedState::Changed) => true,
            Some(SignedState::Growing) | None => false,
        };
        // A log that was cut never gets there: then the caller sees that it is shorter.
        let _ = tokio::time::timeout(CATCH_UP, signed.wait_for(is_settled)).await;
        let signed = signed.borrow().clone();
        let (code, reason, sentence) = match signed {
            Some(Signed {
                key,
                state: SignedState::UpTo(newest),
            }) => return Ok((key, newest)),
            Some(Signed {
                state: SignedState::Changed,
                ..
            }) => {
                let sentence = "the event log is not the one that was signed, ask an administrator to verify it";
                (Code::DataLoss, "LOG_CHANGED", sentence)
            }
            _ => {
                let sentence = "no checkpoint is signed yet, try again in a minute";
                (Code::FailedPrecondition, "NOT_SIGNED", sentence)
            }
        };
        Err(status(code, reason, sentence).into())
    }

    async fn proofs(&self, key: &str, held: &[u64]) -> Result<Answers, Failure> {
        let (public, newest) = self.signed(held.iter().copied().max().unwrap_or_default()).await?;
        let nodes = Nodes::read(&tree(&self.world), newest.size).context("the tree can't be read")?;
        let mut consistency = Vec::new();
        for &size in held.iter().filter(|&&size| size <= newest.size) {
            let path = nodes.consistency(size, newest.size).context("the tree can't be read")?;
            let hashes = hashes(&path);
            consistency.push(ConsistencyProof { size, hashes });
        }
        let first = Part::Checkpoints(SignedCheckpoints {
            public_key: public.to_string(),
            notes: vec![newest.note],
            consistency,
        });
        let stored = self.stored(Which::Key(key)).await?;
        let size = newest.size;
        let proved = batches(stored).map(move |batch| {
            let mut batch = batch?;
            for entry in &mut batch.entries {
                if entry.position <= size {
                    let path = nodes
                        .inclusion(entry.position - 1, size)
                        .context("the tree can't be read");
                    entry.path = hashes(&path.map_err(Failure::from)?);
                }
            }
            Ok(Part::Entries(batch))
        });
        Ok(answers(stream::once(async { Ok(first) }).chain(proved)))
    }

    async fn whole(&self) -> Result<Answers, Failure> {
        let mut signed = self.signed.clone();
        // The key is there with the service, whatever it signed.
        let known = signed.wait_for(Option::is_some).await;
        let public_key = known
            .context("nothing is signed here")?
            .as_ref()
            .map(|signed| signed.key.to_string())
            .unwrap_or_default();
        let mut notes = Vec::new();
        let mut stored = self.world.log.stored(Which::Category(Checkpoints::CATEGORY)).await?;
        while let Some(entry) = stored.try_next().await? {
            notes.extend(note(entry));
        }
        // The key comes also of a log that has lost all of them.
        let checkpoints: Vec<_> = std::iter::once(&[][..])
            .chain(notes.chunks(NOTES))
            .map(|notes| {
                Ok(Part::Checkpoints(SignedCheckpoints {
                    public_key: public_key.clone(),
                    notes: notes.to_vec(),
                    ..SignedCheckpoints::default()
                }))
            })
            .collect();
        let stored = self.stored(Which::All).await?;
        let entries = batches(stored).map(|batch| batch.map(Part::Entries));
        Ok(answers(stream::iter(checkpoints).chain(entries)))
    }

    /// What is stored by now: what is written meanwhile would have no end.
    async fn stored(&self, which: Which<'_>) -> Result<RawEntries, Failure> {
        let head = self.world.log.head().await?;
        let stored = self.world.log.stored(which).await?;
        let is_new = move |entry: &Result<RawEntry, LogError>| entry.as_ref().is_ok_and(|entry| entry.position > head);
        Ok(stored.take_while(move |entry| future::ready(!is_new(entry))).boxed())
    }

    async fn leaves(&self, range: &LeafRange) -> Result<Answers, Failure> {
        let (_, newest) = self.signed(range.end).await?;
        let is_kept = range.start <= range.end && range.end <= newest.size;
        if !is_kept || range.end - range.start > LEAVES_MAX {
            return Err(invalid("leaves", "this service keeps no such leaves").into());
        }
        let nodes = Nodes::read(&tree(&self.world), range.end).context("the tree can't be read")?;
        let leaves = nodes.leaves(range.start..range.end).context("the tree can't be read")?;
        let parts: Vec<_> = leaves
            .chunks(LEAVES)
            .map(|leaves| {
                let hashes = leaves.concat().into();
                Ok(Part::Leaves(KeptLeaves { hashes }))
            })
            .collect();
        Ok(answers(stream::iter(parts)))
    }
}

fn answers(parts: impl futures::Stream<Item = Result<Part, Status>> + Send + 'static) -> Answers {
    parts.map_ok(|part| VerifyHistoryResponse { part: Some(part) }).boxed()
}

fn hashes(path: &[Hash]) -> Vec<prost::bytes::Bytes> {
    path.iter().map(|hash| hash.to_vec().into()).collect()
}

/// The note of a checkpoint's entry, if it is one.
fn note(entry: RawEntry) -> Option<String> {
    let stream = StreamId::parse(&entry.stream)?;
    let CheckpointEvent::Signed(event) = Entry::decode(entry.position, stream, entry.bytes)
        .events()
        .ok()?
        .pop()?;
    Some(event.note)
}

fn batches(entries: RawEntries) -> impl futures::Stream<Item = Result<StoredEntries, Status>> + Send {
    stream::unfold(Some(entries), |open| async {
        let mut open = open?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES {
            match open.next().await {
                Some(Ok(entry)) => {
                    bytes += entry.stream.len() + entry.bytes.len();
                    entries.push(StoredEntry {
                        position: entry.position.0,
                        stream: entry.stream,
                        content: entry.bytes,
                        path: Vec::new(),
                    });
                }
                Some(Err(error)) => return Some((Err(Failure::from(error).into()), None)),
                None if entries.is_empty() => return None,
                None => return Some((Ok(StoredEntries { entries }), None)),
            }
        }
        Some((Ok(StoredEntries { entries }), Some(open)))
    })
}
