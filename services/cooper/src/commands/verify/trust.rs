//! What is believed: a key, and the checkpoints that it signed and that are held here.

use crate::{
    cli::VerifyArgs,
    client::{Home, Shell},
    failure::{Exit, Failure},
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use transparency::{Checkpoint, PublicKey};

/// Files in the folder of the server.
const KEY: &str = "checkpoint.pub";
const NEWEST: &str = "checkpoint";

pub(super) struct Trust {
    key: Option<PublicKey>,
    /// The texts of files with checkpoints, and their names.
    given: Vec<(String, String)>,
    home: Option<Home>,
}

impl Trust {
    /// A server's key is the one that is named, else the one that it showed first.
    pub(super) fn of_server(shell: &Shell, args: &VerifyArgs) -> Result<Self, Failure> {
        let home = Home::of(&shell.server()?);
        let kept = || home.as_ref().and_then(|home| home.kept(KEY));
        Ok(Self {
            key: match (&args.key, kept()) {
                (Some(key), _) => Some(read_key(key)?),
                (None, Some(kept)) => Some(parse_key(&kept)?),
                (None, None) => None,
            },
            given: given(&args.checkpoints)?,
            home,
        })
    }

    /// A data folder's key is the one that is named, else its own.
    pub(super) fn of_folder(shell: &Shell, args: &VerifyArgs, data: &Path) -> Result<Self, Failure> {
        let key = if let Some(key) = &args.key {
            read_key(key)?
        } else {
            let own = data.join("keys/checkpoint.pub");
            shell.output.notice(format!(
                "trusting the key of the folder itself, {}; --key names another",
                own.display()
            ));
            read_key(&own.to_string_lossy())?
        };
        let mut checkpoints = args.checkpoints.clone();
        let own = data.join("checkpoints");
        if checkpoints.is_empty() && own.exists() {
            shell.output.notice(format!(
                "trusting the checkpoints of the folder itself, {}; --checkpoint names those that were kept elsewhere",
                own.display()
            ));
            checkpoints.push(own);
        }
        Ok(Self {
            key: Some(key),
            given: given(&checkpoints)?,
            home: None,
        })
    }

    /// The key, if a server shows the one that is expected. The first one is kept.
    pub(super) fn key(&mut self, shell: &Shell, shown: &str) -> Result<PublicKey, Failure> {
        let shown = parse_key(shown)?;
        match &self.key {
            Some(key) if *key == shown => Ok(shown),
            Some(key) => {
                let (shown, key) = (shown.id(), key.id());
                let forget = match &self.home {
                    Some(home) => format!(": if it was set up anew, remove {}", home.path(KEY).display()),
                    None => String::new(),
                };
                let sentence = format!("the server signs with the key {shown}, and {key} is expected{forget}");
                Err(Failure::new(Exit::Failed, sentence))
            }
            None => {
                shell.output.notice(format!(
                    "trusting the key {}, which the server shows for the first time; --key names the one you know",
                    shown.id()
                ));
                if let Some(home) = &self.home {
                    // On a read-only home it is the first time again.
                    let _ = home.keep(KEY, &format!("{shown}\n"));
                }
                self.key = Some(shown.clone());
                Ok(shown)
            }
        }
    }

    /// The key of a folder.
    pub(super) fn own_key(&self) -> Result<PublicKey, Failure> {
        let missing = || Failure::new(Exit::Usage, "name the public key with --key");
        self.key.clone().ok_or_else(missing)
    }

    /// The checkpoints held here. The given ones must be good; the one that was kept may be of another key.
    pub(super) fn held(&self, key: &PublicKey) -> Result<Vec<Checkpoint>, Failure> {
        let mut held = Vec::new();
        for (name, text) in &self.given {
            let wrong = |error: String| Failure::new(Exit::Invalid, format!("{name}: {error}"));
            let opened = key.open_all(text).map_err(|error| wrong(error.to_string()))?;
            if opened.is_empty() {
                return Err(wrong("there is no checkpoint in it".to_owned()));
            }
            held.extend(opened);
        }
        let kept = self.home.as_ref().and_then(|home| home.kept(NEWEST));
        held.extend(kept.and_then(|note| key.open(&note).ok()));
        held.sort_by_key(|checkpoint| checkpoint.size);
        Ok(held)
    }

    /// Their sizes, whoever signed them: in ascending order.
    pub(super) fn held_sizes(&self) -> Vec<u64> {
        let kept = self.home.as_ref().and_then(|home| home.kept(NEWEST));
        let texts = self.given.iter().map(|(_, text)| text).chain(&kept);
        let mut sizes: Vec<u64> = texts.flat_map(|text| transparency::claimed_sizes(text)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// The next time the server must still have what this one tells of.
    pub(super) fn keep(&self, newest: &Checkpoint) {
        if let Some(home) = &self.home {
            let _ = home.keep(NEWEST, &newest.note);
        }
    }
}

fn given(checkpoints: &[PathBuf]) -> Result<Vec<(String, String)>, Failure> {
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => Ok((name, text)),
            Err(error) => Err(Failure::new(Exit::Invalid, format!("{name} can't be read: {error}"))),
        }
    };
    checkpoints.iter().map(read).collect()
}

/// The text of a key, or the name of a file with it.
fn read_key(given: &str) -> Result<PublicKey, Failure> {
    if let Ok(key) = given.parse() {
        return Ok(key);
    }
    let text = fs::read_to_string(given).map_err(|error| {
        Failure::new(
            Exit::Invalid,
            format!("{given} is neither a key nor a file with one: {error}"),
        )
    })?;
    parse_key(&text)
}

fn parse_key(text: &str) -> Result<PublicKey, Failure> {
    text.parse()
        .map_err(|error: transparency::NoteError| Failure::new(Exit::Invalid, error.to_string()))
}
