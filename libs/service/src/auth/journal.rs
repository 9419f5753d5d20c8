//! `tokens`, the file beside the key: which tokens were made with it, and which were taken back, in order.
//!
//! It only grows, in place, so that who has it mounted by itself sees what is added.

use super::write_private;
use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Entry {
    Created(Created),
    Revoked {
        id: String,
    },
    /// All tokens of a user that were issued up to and in this second.
    RevokedAll {
        user: String,
        until: u64,
    },
}

/// A token that was made. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    pub id: String,
    pub user: String,
    pub admin: bool,
    pub issued: u64,
    pub expires: u64,
}

/// What tells a token of the local key from others of its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    pub id: String,
    pub at: u64,
}

/// What the file says.
#[derive(Debug, Default)]
pub struct Tokens {
    created: Vec<Created>,
    revoked: HashSet<String>,
    revoked_until: HashMap<String, u64>,
}

impl Tokens {
    pub fn created(&self) -> &[Created] {
        &self.created
    }

    pub fn is_revoked(&self, user: &str, token: &Issued) -> bool {
        self.revoked.contains(&token.id) || self.revoked_until.get(user).is_some_and(|until| token.at <= *until)
    }

    /// The first second in which a token may be issued that was not taken back already.
    pub(super) fn first_second(&self, user: &str) -> u64 {
        self.revoked_until.get(user).map_or(0, |until| until + 1)
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Created(created) => self.created.push(created),
            Entry::Revoked { id } => {
                self.revoked.insert(id);
            }
            Entry::RevokedAll { user, until } => {
                let known = self.revoked_until.entry(user).or_default();
                *known = until.max(*known);
            }
        }
    }
}

pub struct Journal {
    file: PathBuf,
}

impl Journal {
    /// The journal of the key whose public or private half is named.
    pub fn of(key: &Path) -> Self {
        Self {
            file: key.with_file_name("tokens"),
        }
    }

    /// Makes an empty one if there is none.
    pub(super) fn make(&self) -> anyhow::Result<()> {
        if self.file.exists() {
            return Ok(());
        }
        write_private(&self.file, b"")
    }

    /// Changes whenever something was added.
    pub(super) fn stamp(&self) -> Option<(u64, std::time::SystemTime)> {
        let metadata = fs::metadata(&self.file).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    }

    pub fn read(&self) -> anyhow::Result<Tokens> {
        let file = self.file.display();
        let text = fs::read_to_string(&self.file).with_context(|| {
            format!("which tokens were taken back can't be read: `tokens` belongs beside the key for tokens, {file}")
        })?;
        let mut tokens = Tokens::default();
        // What has no end is being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for (index, line) in whole.lines().enumerate() {
            let entry = serde_json::from_str(line)
                .with_context(|| format!("which tokens were taken back can't be read: {file}, line {}", index + 1))?;
            tokens.apply(entry);
        }
        Ok(tokens)
    }

    pub(super) fn created(&self, created: Created) -> anyhow::Result<()> {
        self.append(&Entry::Created(created))
    }

    /// Takes one token back. Answers false if it was already.
    pub fn revoke(&self, id: &str) -> anyhow::Result<bool> {
        let tokens = self.read()?;
        let is_known = tokens.created.iter().any(|created| created.id == id);
        ensure!(
            is_known,
            "there is no token {id} of this key: `cooper token ls` lists them"
        );
        let is_news = !tokens.revoked.contains(id);
        if is_news {
            self.append(&Entry::Revoked { id: id.to_owned() })?;
        }
        Ok(is_news)
    }

    /// Takes all of a user's tokens back that were issued until now, also those that are not listed.
    pub fn revoke_all(&self, user: &str, now: u64) -> anyhow::Result<()> {
        ensure!(access::is_user(user), access::MALFORMED_USER);
        self.append(&Entry::RevokedAll {
            user: user.to_owned(),
            until: now,
        })
    }

    /// A whole line, or nothing.
    fn append(&self, entry: &Entry) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let append = || {
            let mut file = fs::OpenOptions::new().append(true).open(&self.file)?;
            let length = file.metadata()?.len();
            let written = file.write_all(&line).and_then(|()| file.sync_data());
            if written.is_err() {
                // A full disk may have taken the beginning of it.
                file.set_len(length)?;
            }
            written
        };
        append().with_context(|| format!("{} can't be written", self.file.display()))
    }
}
