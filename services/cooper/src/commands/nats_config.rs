//! `cooper admin nats-config`: what the services of a platform of separate processes show each other, as files.
//!
//! Passwords and the keys are secrets: what is there stays, unless `--force` makes them anew. The rest follows
//! from them, and is written again each time, so that another version's accounts reach a server that has its passwords.

use crate::{
    cli::NatsConfigArgs,
    client::Shell,
    failure::{Exit, Failure},
    secrets::{accounts, passwords},
};
use anyhow::Context as _;
use eventlog::ACCOUNTS;
use service::auth::{LocalKey, write_private};
use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt as _, chown},
    path::{Path, PathBuf},
};

const ACCOUNTS_FILE: &str = "accounts.conf";
const KEY: &str = "token.key";
const PUBLIC: &str = "token.pub";
/// Which tokens were made, and which taken back.
const TOKENS: &str = "tokens";
/// Seals what is given with builds; all builders have it.
const SEAL: &str = "secrets.key";
const HEAD: &str =
    "# Written by `cooper admin nats-config`, which writes it again: change nothing here. nats.conf includes it.\n\n";

pub(crate) fn run(shell: &Shell, args: &NatsConfigArgs) -> Result<(), Failure> {
    let folder = &args.folder;
    let made = write(folder, args.force)
        .and_then(|made| give(folder, args.owner).map(|()| made))
        .map_err(|error| Failure::new(Exit::Invalid, format!("{error:#}")))?;
    if shell.output.is_json() {
        let folder = folder.display().to_string();
        return shell
            .output
            .value(&serde_json::json!({ "folder": folder, "made": made }));
    }
    if shell.output.quiet {
        return made.iter().try_for_each(|name| shell.output.line(name));
    }
    let folder = folder.display();
    let (made, kept) = match made.len() {
        0 => (
            "nothing".to_owned(),
            "; all secrets were there, `--force` replaces them",
        ),
        all if all == secrets(&args.folder).count() => (made.join(", "), ""),
        _ => (made.join(", "), "; the other secrets were there"),
    };
    shell.output.notice(format!("made {made} in {folder}{kept}"));
    shell.output.line(format!(
        "The NATS server includes {ACCOUNTS_FILE}. Each service needs its own password, {PUBLIC} and {TOKENS}, builders {SEAL},\n\
         and no more.\n\
         A token for somebody: cooper token create --keys {folder} --user NAME"
    ))
}

/// The files that nobody else can make again.
fn secrets(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let passwords = accounts().map(|name| format!("{name}.password"));
    passwords
        .chain([KEY.to_owned(), SEAL.to_owned()])
        .map(|name| folder.join(name))
}

/// Answers the names of the secrets that it made.
fn write(folder: &Path, force: bool) -> anyhow::Result<Vec<String>> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the folder {} can't be made", folder.display()))?;
    let public = folder.join(PUBLIC);
    // Which tokens were taken back says nothing of another key's.
    let stale = secrets(folder).chain([public.clone(), folder.join(TOKENS)]);
    for file in stale.filter(|file| force && file.exists()) {
        fs::remove_file(&file).with_context(|| format!("{} can't be replaced", file.display()))?;
    }
    // The key for tokens may be kept elsewhere, and only its public half here.
    let is_elsewhere = |file: &Path| file.ends_with(KEY) && public.exists();
    let mut made = Vec::new();
    for file in secrets(folder) {
        if !file.exists() && !is_elsewhere(&file) {
            let name = file.file_name().unwrap_or_default();
            made.push(name.to_string_lossy().into_owned());
        }
    }
    if made.iter().any(|name| name == KEY) || folder.join(KEY).exists() {
        // A folder of before tokens could be taken back has no list of them.
        LocalKey::in_folder(folder)?;
    }
    if made.iter().any(|name| name == SEAL) {
        builder::make_key(&folder.join(SEAL))?;
    }
    let accounts = eventlog::server_accounts(passwords(folder)?);
    write_private(&folder.join(ACCOUNTS_FILE), format!("{HEAD}{accounts}").as_bytes())?;
    Ok(made)
}

/// Lets the services' user read what they need: not the key that signs tokens, nor the operator's password.
fn give(folder: &Path, owner: Option<u32>) -> anyhow::Result<()> {
    let Some(owner) = owner else {
        return Ok(());
    };
    let given = ACCOUNTS.iter().map(|account| format!("{}.password", account.name));
    for file in given
        .chain([PUBLIC.to_owned(), TOKENS.to_owned(), SEAL.to_owned()])
        .map(|name| folder.join(name))
    {
        chown(&file, Some(owner), None)
            .with_context(|| format!("{} can't be given to user {owner}, which takes root", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventlog::Clock;
    use service::{Config, auth::Verifier};
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, time::Duration};

    fn contents(folder: &Path) -> BTreeMap<String, String> {
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        };
        fs::read_dir(folder).unwrap().map(read).collect()
    }

    #[test]
    fn everything_is_made_once_and_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("secrets");
        assert_eq!(write(&folder, false).unwrap().len(), 8);
        let first = contents(&folder);
        let names: Vec<&str> = first.keys().map(String::as_str).collect();
        let expected = [
            "accounts.conf",
            "builder.password",
            "catalog.password",
            "editor.password",
            "notifier.password",
            "operator.password",
            "registry-pusher.password",
            "secrets.key",
            "token.key",
            "token.pub",
            "tokens",
        ];
        assert_eq!(names, expected);
        for name in expected {
            let mode = fs::metadata(folder.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        for name in accounts() {
            let password = &first[&format!("{name}.password")];
            assert!(first["accounts.conf"].contains(password), "{name}");
        }

        assert_eq!(write(&folder, false).unwrap(), [""; 0]);
        assert_eq!(contents(&folder), first);

        fs::remove_file(folder.join("editor.password")).unwrap();
        fs::write(folder.join("accounts.conf"), "of an older version").unwrap();
        fs::remove_file(folder.join(TOKENS)).unwrap();
        assert_eq!(write(&folder, false).unwrap(), ["editor.password"]);
        let mended = contents(&folder);
        assert_eq!(mended["catalog.password"], first["catalog.password"]);
        assert_eq!(mended[TOKENS], "");
        assert!(mended["accounts.conf"].contains(&mended["editor.password"]));
    }

    #[test]
    fn only_force_replaces_secrets() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), false).unwrap();
        let first = contents(folder.path());
        assert_eq!(write(folder.path(), true).unwrap().len(), 8);
        for (name, content) in contents(folder.path()) {
            if name == TOKENS {
                continue;
            }
            assert_ne!(content, first[&name], "{name}");
        }
    }

    // covers R8
    #[tokio::test]
    async fn its_tokens_are_taken_by_who_has_the_public_half() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), false).unwrap();
        let public = folder.path().join("token.pub");
        let config = Config::defaults().and_then(|config| config.with("auth.public_key", public));
        let verifier = Verifier::open(&config.unwrap()).unwrap();
        let key = LocalKey::in_folder(folder.path()).unwrap();
        let signed = key.sign("ada", false, Duration::from_hours(1), &Clock::system());
        let bearer = verifier.check(Some(&format!("Bearer {}", signed.unwrap()))).await;
        assert_eq!(bearer.unwrap().caller.user, "ada");

        // The key may be kept elsewhere.
        fs::remove_file(folder.path().join("token.key")).unwrap();
        let before = contents(folder.path());
        assert_eq!(write(folder.path(), false).unwrap(), [""; 0]);
        assert_eq!(contents(folder.path()), before);
    }
}
