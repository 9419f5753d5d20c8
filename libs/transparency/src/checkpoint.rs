//! Checkpoints: who signed how the tree was, when it had so many entries. They are signed notes (C2SP `signed-note` and
//! `tlog-checkpoint`), so that other programs read them too.

use crate::{Hash, sha256};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use jiff::Timestamp;
use std::{fmt, str::FromStr};

/// The kind of key in a note: Ed25519.
const ED25519: u8 = 1;
/// What a signature line begins with.
const DASH: &str = "\u{2014} ";
const TIME: &str = "time ";

/// The tree as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many entries it has: the position of the last.
    pub size: u64,
    pub root: Hash,
    pub time: Timestamp,
    /// As it is kept and passed on.
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("this is no key: expected NAME+ID+BASE64, as in checkpoint.pub")]
    Key,
    #[error("this is no checkpoint: expected a signed note with an origin, a size, a root and a time")]
    Malformed,
    #[error("the checkpoint is not signed by the key {0}")]
    Unsigned(String),
}

/// Signs checkpoints. Its text is a secret.
pub struct SigningKey {
    secret: ed25519_dalek::SigningKey,
    public: PublicKey,
}

/// Knows the checkpoints of one log from those of others.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    fn new(key: VerifyingKey) -> Self {
        // The name is the origin of the log, and no two logs may share one.
        let hash = sha256([&key.as_bytes()[..]]);
        let name = format!("cooperage/{}", base16ct::lower::encode_string(&hash[..8]));
        Self { name, key }
    }

    fn coded(&self) -> Vec<u8> {
        [&[ED25519], &self.key.as_bytes()[..]].concat()
    }

    fn hash(&self) -> [u8; 4] {
        let hash = sha256([self.name.as_bytes(), b"\n", &self.coded()]);
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// What tells it from other keys, in hex.
    pub fn id(&self) -> String {
        base16ct::lower::encode_string(&self.hash())
    }

    /// The checkpoint of a note, if this key signed it.
    pub fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let (text, signatures) = note.split_once("\n\n").ok_or(NoteError::Malformed)?;
        let text = format!("{text}\n");
        let is_signed = signatures
            .lines()
            .filter_map(|line| line.strip_prefix(DASH))
            .any(|line| {
                let Some((name, coded)) = line.split_once(' ') else {
                    return false;
                };
                let coded = BASE64.decode(coded).unwrap_or_default();
                let Some((id, signature)) = coded.split_first_chunk::<4>() else {
                    return false;
                };
                let signature = Signature::from_slice(signature);
                name == self.name
                    && *id == self.hash()
                    && signature.is_ok_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok())
            });
        if !is_signed {
            return Err(NoteError::Unsigned(self.id()));
        }
        let mut lines = text.lines();
        let origin = lines.next();
        let size = lines.next().and_then(|line| line.parse().ok());
        let root = lines.next().and_then(|line| BASE64.decode(line).ok()?.try_into().ok());
        let time = lines.find_map(|line| line.strip_prefix(TIME)?.parse().ok());
        match (size, root, time) {
            (Some(size), Some(root), Some(time)) if origin == Some(&self.name) => Ok(Checkpoint {
                size,
                root,
                time,
                note: note.to_owned(),
            }),
            _ => Err(NoteError::Malformed),
        }
    }

    /// The checkpoints of a text with one note after another. All of them must be good.
    pub fn open_all(&self, text: &str) -> Result<Vec<Checkpoint>, NoteError> {
        notes(text).iter().map(|note| self.open(note)).collect()
    }
}

/// The sizes that the notes of a text tell of, whoever signed them.
pub fn claimed_sizes(text: &str) -> Vec<u64> {
    let size = |note: &String| note.lines().nth(1)?.parse().ok();
    notes(text).iter().filter_map(size).collect()
}

fn notes(text: &str) -> Vec<String> {
    let (mut notes, mut note, mut is_signed) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        let is_signature = line.starts_with(DASH);
        if is_signed && !is_signature {
            notes.push(std::mem::take(&mut note));
        }
        is_signed = is_signature;
        if !(note.is_empty() && line.is_empty()) {
            note.push_str(line);
            note.push('\n');
        }
    }
    if !note.is_empty() {
        notes.push(note);
    }
    notes
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, self.id(), BASE64.encode(self.coded()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        // The last part may hold a plus itself.
        let coded = text.trim().splitn(3, '+').nth(2).ok_or(NoteError::Key)?;
        let coded = BASE64.decode(coded).map_err(|_| NoteError::Key)?;
        let key = coded.strip_prefix(&[ED25519]).ok_or(NoteError::Key)?;
        let key = key.try_into().map_err(|_| NoteError::Key)?;
        let public = Self::new(VerifyingKey::from_bytes(key).map_err(|_| NoteError::Key)?);
        if public.to_string() != text.trim() {
            return Err(NoteError::Key);
        }
        Ok(public)
    }
}

impl SigningKey {
    /// The key of a seed, which must be chance.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = PublicKey::new(secret.verifying_key());
        Self { secret, public }
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub fn sign(&self, size: u64, root: Hash, time: Timestamp) -> Checkpoint {
        let name = &self.public.name;
        let text = format!("{name}\n{size}\n{}\n{TIME}{time}\n", BASE64.encode(root));
        let signature = self.secret.sign(text.as_bytes()).to_bytes();
        let coded = BASE64.encode([&self.public.hash()[..], &signature].concat());
        Checkpoint {
            size,
            root,
            time,
            note: format!("{text}\n{DASH}{name} {coded}\n"),
        }
    }

    /// What [`Self::from_str`] reads, for a file that nobody else may read.
    pub fn to_secret_text(&self) -> String {
        let coded = [&[ED25519], &self.secret.as_bytes()[..]].concat();
        let (name, id) = (&self.public.name, self.public.id());
        format!("PRIVATE+KEY+{name}+{id}+{}\n", BASE64.encode(coded))
    }
}

impl FromStr for SigningKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let coded = text.trim().splitn(5, '+').nth(4).ok_or(NoteError::Key)?;
        let coded = BASE64.decode(coded).map_err(|_| NoteError::Key)?;
        let seed = coded.strip_prefix(&[ED25519]).ok_or(NoteError::Key)?;
        let seed = seed.try_into().map_err(|_| NoteError::Key)?;
        Ok(Self::from_seed(seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn time() -> Timestamp {
        "2026-11-21T21:00:00Z".parse().unwrap()
    }

    // covers E11
    #[test]
    fn a_note_is_as_the_specification_has_it_and_is_read_back() {
        let key = key(7);
        let signed = key.sign(1_000, [5; 32], time());
        let lines: Vec<&str> = signed.note.lines().collect();
        let origin = &key.public().name;
        assert_eq!(
            lines[..5],
            [
                origin.as_str(),
                "1000",
                "BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=",
                "time 2026-11-21T21:00:00Z",
                ""
            ]
        );
        assert!(lines[5].starts_with(&format!("\u{2014} {origin} ")));
        assert_eq!(key.public().open(&signed.note), Ok(signed));
    }

    #[test]
    fn keys_are_read_back_from_their_text() {
        let key = key(3);
        let text = key.public().to_string();
        assert_eq!(text.parse::<PublicKey>().as_ref(), Ok(key.public()));
        let again: SigningKey = key.to_secret_text().parse().unwrap();
        assert_eq!(again.public(), key.public());
        for wrong in ["", "cooperage+1+2", &text[1..], &text.replace('A', "B")] {
            assert_eq!(wrong.parse::<PublicKey>(), Err(NoteError::Key), "{wrong}");
        }
    }

    #[test]
    fn whatever_is_changed_in_a_note_it_is_refused() {
        let key = key(1);
        let note = key.sign(12, [9; 32], time()).note;
        let unsigned = Err(NoteError::Unsigned(key.public().id()));
        for (from, to) in [
            ("\n12\n", "\n13\n"),
            ("CQ", "CA"),
            ("21:00", "22:00"),
            ("cooperage", "somebody"),
        ] {
            let changed = note.replacen(from, to, 1);
            assert_ne!(changed, note);
            assert_eq!(key.public().open(&changed), unsigned, "{changed}");
        }
        let others = self::key(2).sign(12, [9; 32], time()).note;
        assert_eq!(key.public().open(&others), unsigned);
        assert_eq!(key.public().open("nothing"), Err(NoteError::Malformed));
    }

    #[test]
    fn notes_stand_one_after_another_with_or_without_lines_between() {
        let key = key(1);
        let notes = [1, 2, 3].map(|size| key.sign(size, [9; 32], time()));
        let text = format!("{}{}\n\n{}", notes[0].note, notes[1].note, notes[2].note);
        assert_eq!(key.public().open_all(&text), Ok(notes.to_vec()));
        assert_eq!(claimed_sizes(&text), [1, 2, 3]);
        assert_eq!(key.public().open_all(""), Ok(Vec::new()));
        assert!(key.public().open_all(&format!("{text}more")).is_err());
    }
}
