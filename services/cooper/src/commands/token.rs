//! `cooper token`: tokens that are signed with the key of a platform that is run from this machine.

use crate::{
    cli::{KeyFolder, TokenCommand},
    client::{Home, Shell, data_folders},
    failure::{Exit, Failure},
    output::{Table, moment, now},
};
use eventlog::Clock;
use prost_types::Timestamp;
use service::auth::{Created, Issued, LocalKey};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

const OF_UP: &str = "`cooper up`: name its data folder with --data";

pub(crate) fn run(shell: &Shell, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create {
            user,
            admin,
            expires,
            folder,
        } => create(shell, &key(shell, folder)?, &user, admin, expires),
        TokenCommand::Ls { folder } => ls(shell, &key(shell, folder)?),
        TokenCommand::Revoke { id, user, folder } => {
            let key = key(shell, folder)?;
            match (id, user) {
                (Some(id), _) => revoke(shell, &key, &id),
                (None, user) => revoke_all(shell, &key, &user.unwrap_or_default()),
            }
        }
    }
}

fn create(shell: &Shell, key: &LocalKey, user: &str, admin: bool, expires: Duration) -> Result<(), Failure> {
    let (token, created) = key
        .create(user, admin, expires, &Clock::system())
        .map_err(|error| invalid(&error))?;
    if shell.output.is_json() {
        return shell
            .output
            .value(&serde_json::json!({ "id": created.id, "user": user, "admin": admin, "token": token }));
    }
    shell.output.line(token)
}

fn ls(shell: &Shell, key: &LocalKey) -> Result<(), Failure> {
    let tokens = key.journal().read().map_err(|error| invalid(&error))?;
    let now = seconds();
    let is_good = |created: &&Created| {
        let issued = Issued {
            id: created.id.clone(),
            at: created.issued,
        };
        created.expires >= now && !tokens.is_revoked(&created.user, &issued)
    };
    let good: Vec<&Created> = tokens.created().iter().filter(is_good).collect();
    if shell.output.is_json() {
        return shell.output.value(&serde_json::json!({ "tokens": good }));
    }
    let mut table = Table::new(&["ID", "USER", "ADMIN", "MADE", "EXPIRES"]);
    for token in good {
        let admin = if token.admin { "yes" } else { "" };
        let cells = [
            token.id.as_str().into(),
            token.user.as_str().into(),
            admin.into(),
            at(token.issued).into(),
            at(token.expires).into(),
        ];
        table.row(&token.id, cells);
    }
    let empty = "no token that was made is good: make one with `cooper token create --user NAME`";
    shell.output.rows(&table, empty)
}

fn revoke(shell: &Shell, key: &LocalKey, id: &str) -> Result<(), Failure> {
    let sentence = if key.journal().revoke(id).map_err(|error| invalid(&error))? {
        format!("the token {id} is taken back")
    } else {
        format!("the token {id} was taken back already")
    };
    say(shell, id, &serde_json::json!({ "revoked": id }), &sentence)
}

fn revoke_all(shell: &Shell, key: &LocalKey, user: &str) -> Result<(), Failure> {
    key.journal()
        .revoke_all(user, seconds())
        .map_err(|error| invalid(&error))?;
    let sentence = format!("all tokens of {user} that were made until now are taken back");
    say(shell, user, &serde_json::json!({ "revokedUser": user }), &sentence)
}

fn say(shell: &Shell, word: &str, value: &serde_json::Value, sentence: &str) -> Result<(), Failure> {
    if shell.output.is_json() {
        return shell.output.value(value);
    }
    shell.output.line(if shell.output.quiet { word } else { sentence })
}

fn seconds() -> u64 {
    u64::try_from(now().as_second()).unwrap_or_default()
}

fn at(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    moment(Some(&Timestamp { seconds, nanos: 0 }))
}

fn invalid(error: &anyhow::Error) -> Failure {
    Failure::new(Exit::Invalid, format!("{error:#}"))
}

fn key(shell: &Shell, KeyFolder { data, keys }: KeyFolder) -> Result<LocalKey, Failure> {
    let (folder, whose) = match (keys, data) {
        (Some(keys), _) => (keys, "`cooper admin nats-config`: name it with --keys"),
        (None, Some(data)) => (data.join("keys"), OF_UP),
        (None, None) => (known_folder(shell)?, OF_UP),
    };
    if !has_key(&folder) {
        let sentence = format!("{} has no token.key of {whose}", folder.display());
        return Err(Failure::new(Exit::Invalid, sentence));
    }
    LocalKey::in_folder(&folder).map_err(|error| invalid(&error))
}

fn known_folder(shell: &Shell) -> Result<PathBuf, Failure> {
    let home = Home::of(&shell.server()?);
    let missing = || {
        let sentence = "no data folder of `cooper up` is known here: name it with --data, or ask who runs the server";
        Failure::new(Exit::Invalid, sentence)
    };
    data_folders(home.as_ref())
        .map(|data| data.join("keys"))
        .find(|folder| has_key(folder))
        .ok_or_else(missing)
}

/// Opening a key makes one where there is none, and nobody would take its tokens.
fn has_key(folder: &Path) -> bool {
    folder.join("token.key").is_file()
}
