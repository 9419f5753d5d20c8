//! Reads what a build is given for itself alone: from files, variables and stdin.

use crate::{
    cli::{CredentialArgs, SecretFrom},
    failure::{Exit, Failure},
};
use proto::builder::v1::{BuildCredentials, RegistryCredential};
use std::{env, fs, io::Read as _, os::unix::ffi::OsStringExt as _};

pub(crate) fn read(args: &CredentialArgs) -> Result<BuildCredentials, Failure> {
    let mut given = BuildCredentials::default();
    for secret in &args.secrets {
        let id = &secret.id;
        let value = match &secret.from {
            SecretFrom::File(file) => fs::read(file).map_err(|error| {
                let file = file.display();
                invalid(format!("the secret `{id}` can't be read from {file}: {error}"))
            })?,
            SecretFrom::Variable(name) => env::var_os(name)
                .ok_or_else(|| {
                    invalid(format!(
                        "the secret `{id}` has no value: the variable {name} is not set"
                    ))
                })?
                .into_vec(),
        };
        given.secrets.insert(id.clone(), value.into());
    }
    if let Some(user) = &args.user {
        given.registries.push(RegistryCredential {
            host: args.registry.clone().unwrap_or_default(),
            user: user.clone(),
            password: line("password")?,
        });
    }
    given.git = args.git.read()?;
    Ok(given)
}

/// All of stdin but for the line's end.
fn line(what: &str) -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| invalid(format!("the {what} on stdin can't be read: {error}")))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(invalid(format!("there is no {what} on stdin"))),
        line => Ok(line.to_owned()),
    }
}

fn invalid(sentence: String) -> Failure {
    Failure::new(Exit::Invalid, sentence)
}
