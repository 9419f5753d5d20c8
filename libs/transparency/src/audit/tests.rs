//! Whatever is done to a log before its last checkpoint is found, and the first wrong position is named.

use super::*;
use crate::SigningKey;
use proptest::{collection::vec, prelude::*, sample::Index};

type Stored = (u64, String, Vec<u8>);

#[derive(Debug, Clone)]
enum Mutation {
    ChangeBytes(Index, Index, u8),
    ChangeStream(Index),
    /// What belongs to the stream becomes part of the bytes.
    ShiftStream(Index),
    Remove(Index),
    /// The others stay where they are.
    Lose(Index),
    Insert(Index),
    Repeat(Index, Index),
    Swap(Index, Index),
    Truncate(Index),
}

fn mutations() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    prop_oneof![
        (place(), place(), 1..=255u8).prop_map(|(at, byte, flip)| Mutation::ChangeBytes(at, byte, flip)),
        place().prop_map(Mutation::ChangeStream),
        place().prop_map(Mutation::ShiftStream),
        place().prop_map(Mutation::Remove),
        place().prop_map(Mutation::Lose),
        place().prop_map(Mutation::Insert),
        (place(), place()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
        (place(), place()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        place().prop_map(Mutation::Truncate),
    ]
}

/// Entries that differ from each other, as their request ids do.
fn log(size: u64) -> Vec<Stored> {
    let entry = |position: u64| {
        (
            position,
            format!("image.img_{}", position % 7),
            position.to_be_bytes().to_vec(),
        )
    };
    (1..=size).map(entry).collect()
}

/// Numbers the entries again, as a publication into a new stream does.
fn renumber(log: &mut [Stored]) {
    for (position, entry) in (1..).zip(log) {
        entry.0 = position;
    }
}

impl Mutation {
    /// Changes one of the first `signed` entries. Answers the first position that is wrong then; None when nothing is.
    fn apply(&self, log: &mut Vec<Stored>, signed: usize) -> Option<u64> {
        let first = match *self {
            Self::ChangeBytes(at, byte, flip) => {
                let at = at.index(signed);
                let bytes = &mut log[at].2;
                let byte = byte.index(bytes.len());
                bytes[byte] ^= flip;
                at
            }
            Self::ChangeStream(at) => {
                let at = at.index(signed);
                log[at].1.push('0');
                at
            }
            Self::ShiftStream(at) => {
                let at = at.index(signed);
                let last = log[at].1.pop()?;
                log[at].2.insert(0, u8::try_from(last).ok()?);
                at
            }
            Self::Remove(at) => {
                let at = at.index(signed);
                log.remove(at);
                renumber(log);
                at
            }
            Self::Lose(at) => {
                let at = at.index(signed);
                log.remove(at);
                at
            }
            Self::Insert(at) => {
                let at = at.index(signed);
                log.insert(at, (0, "image.img_0".to_owned(), b"never written".to_vec()));
                renumber(log);
                at
            }
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(signed), to.index(signed));
                let entry = log[from].clone();
                log.insert(to, entry);
                renumber(log);
                // Beside itself it is the next one that is wrong.
                if from == to { to + 1 } else { to }
            }
            Self::Swap(one, other) => {
                let (one, other) = (one.index(signed), other.index(signed));
                log.swap(one, other);
                renumber(log);
                one.min(other)
            }
            Self::Truncate(at) => {
                let at = at.index(signed);
                log.truncate(at);
                at
            }
        };
        let is_same = matches!(self, Self::Swap(one, other) if one.index(signed) == other.index(signed));
        let shows = first < signed && !is_same;
        shows.then_some(first as u64 + 1)
    }
}

fn leaves(log: &[Stored]) -> Vec<Hash> {
    log.iter().map(|(_, stream, bytes)| leaf(stream, bytes)).collect()
}

fn checkpoints(log: &[Stored], sizes: &[u64]) -> Vec<Checkpoint> {
    let key = SigningKey::from_seed(&[1; 32]);
    let mut tree = Frontier::default();
    let mut signed = Vec::new();
    for leaf in leaves(log) {
        tree.push(leaf);
        if sizes.contains(&tree.size()) {
            signed.push(key.sign(tree.size(), tree.root(), jiff::Timestamp::UNIX_EPOCH));
        }
    }
    signed
}

fn audit(log: &[Stored], checkpoints: &[Checkpoint]) -> Result<(Option<Checkpoint>, u64), Box<Wrong>> {
    let mut audit = Audit::new(checkpoints.iter().cloned());
    for (position, stream, bytes) in log {
        audit.entry(*position, stream, bytes)?;
    }
    audit.end()
}

const SIZE: u64 = 120;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    // covers E11
    #[test]
    fn every_mutation_before_the_last_checkpoint_is_found_and_named(
        mutation in mutations(),
        sizes in vec(1..=SIZE, 1..6),
    ) {
        let mut log = log(SIZE);
        let kept = leaves(&log);
        let checkpoints = checkpoints(&log, &sizes);
        let last = checkpoints.last().unwrap().clone();
        let signed = usize::try_from(last.size).unwrap();
        prop_assert_eq!(audit(&log, &checkpoints).unwrap(), (Some(last), SIZE - signed as u64));

        let first = mutation.apply(&mut log, signed);
        // A swap with itself changes nothing.
        prop_assume!(first.is_some());
        let first = first.unwrap();
        let wrong = audit(&log, &checkpoints).unwrap_err();
        let wanted = wrong.wanted().unwrap();
        let range = usize::try_from(wanted.start).unwrap()..usize::try_from(wanted.end).unwrap();
        prop_assert_eq!(wrong.locate(&kept[range.clone()]), Some(first));
        prop_assert!(wrong.proved() < first && first <= wrong.at_latest());

        // Leaves that somebody made up are not believed.
        let mut others = kept[range].to_vec();
        others[0][0] ^= 1;
        prop_assert_eq!(wrong.locate(&others), None);
    }
}

#[test]
fn a_gap_is_noticed_where_nothing_is_signed_and_a_short_log_where_more_is() {
    let mut log = log(9);
    let signed = checkpoints(&log, &[4, 9]);
    log.remove(6);
    let wrong = audit(&log, &signed[..1]).unwrap_err();
    assert_eq!(
        (wrong.how, wrong.at_latest(), wrong.checkpoint),
        (How::Missing, 7, None)
    );
    log.truncate(6);
    let wrong = audit(&log, &signed).unwrap_err();
    assert_eq!((wrong.how, wrong.read, wrong.at_latest()), (How::Ends, 6, 7));
    assert_eq!(audit(&log, &signed[..1]).unwrap().1, 2);
}

#[test]
fn two_checkpoints_of_one_size_must_agree() {
    let log = log(5);
    let mut signed = checkpoints(&log, &[5]);
    signed.push(SigningKey::from_seed(&[1; 32]).sign(5, [0; 32], jiff::Timestamp::UNIX_EPOCH));
    let wrong = audit(&log, &signed).unwrap_err();
    assert_eq!((wrong.how, wrong.proved(), wrong.at_latest()), (How::Differs, 5, 5));
}
