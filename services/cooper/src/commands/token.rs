//! `cooper token create`: signs with the key of a platform that is run from this machine.

use crate::{
    cli::TokenCommand,
    client::{Home, Shell, data_folders},
    failure::{Exit, Failure},
};
use eventlog::Clock;
use service::auth::LocalKey;
use std::path::{Path, PathBuf};

const OF_UP: &str = "`cooper up`: name its data folder with --data";

pub(crate) fn run(shell: &Shell, command: TokenCommand) -> Result<(), Failure> {
    let TokenCommand::Create {
        user,
        admin,
        expires,
        data,
        keys,
    } = command;
    let (folder, whose) = match (keys, data) {
        (Some(keys), _) => (keys, "`cooper admin nats-config`: name it with --keys"),
        (None, Some(data)) => (data.join("keys"), OF_UP),
        (None, None) => (known_folder(shell)?, OF_UP),
    };
    if !has_key(&folder) {
        let sentence = format!("{} has no token.key of {whose}", folder.display());
        return Err(Failure::new(Exit::Invalid, sentence));
    }
    let signed = LocalKey::in_folder(&folder).and_then(|key| key.sign(&user, admin, expires, &Clock::system()));
    let token = signed.map_err(|error| Failure::new(Exit::Invalid, format!("{error:#}")))?;
    if shell.output.is_json() {
        return shell
            .output
            .value(&serde_json::json!({ "user": user, "admin": admin, "token": token }));
    }
    shell.output.line(token)
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
