//! What a build is given for itself alone. Values never stand on the command line, which others on the machine can read.

use super::GitLogin;
use clap::Args;
use std::{path::PathBuf, str::FromStr};

#[derive(Debug, Default, Args)]
pub(crate) struct CredentialArgs {
    /// A secret for `RUN --mount=type=secret,id=ID`, from a file or a variable; nothing keeps it after the build.
    #[arg(long = "secret", value_name = "id=ID,src=FILE|env=VARIABLE")]
    pub(crate) secrets: Vec<SecretSource>,
    /// Who logs in at the registry of the base images.
    #[arg(short = 'u', long = "username", value_name = "USER", requires = "password_stdin")]
    pub(crate) user: Option<String>,
    /// Take the password of that user from stdin.
    #[arg(long, requires = "user", conflicts_with = "token_stdin")]
    pub(crate) password_stdin: bool,
    /// The registry that the password is for [default: Docker Hub].
    #[arg(long, value_name = "HOST", requires = "user")]
    pub(crate) registry: Option<String>,
    #[command(flatten)]
    pub(crate) git: GitLogin,
}

/// Where a secret is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretSource {
    pub(crate) id: String,
    pub(crate) from: SecretFrom,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretFrom {
    File(PathBuf),
    Variable(String),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum MalformedSecret {
    #[error("it needs an id, as in id=ID,src=FILE")]
    Nameless,
    #[error("expected src=FILE or env=VARIABLE besides the id")]
    Sourceless,
    #[error("`{0}` is none of id=, src=, env=")]
    Unknown(String),
}

impl FromStr for SecretSource {
    type Err = MalformedSecret;

    /// As docker has it: `type=` says nothing that the rest does not, and an id alone is a variable's name.
    fn from_str(text: &str) -> Result<Self, MalformedSecret> {
        let (mut id, mut from) = (None, None);
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("id", name)) if !name.is_empty() => id = Some(name.to_owned()),
                Some(("src" | "source", file)) if !file.is_empty() => from = Some(SecretFrom::File(file.into())),
                Some(("env", name)) if !name.is_empty() => from = Some(SecretFrom::Variable(name.to_owned())),
                Some(("type", "file" | "env")) => {}
                _ => return Err(MalformedSecret::Unknown(part.to_owned())),
            }
        }
        let id = id.ok_or(MalformedSecret::Nameless)?;
        let named = || std::env::var_os(&id).map(|_| SecretFrom::Variable(id.clone()));
        let from = from.or_else(named).ok_or(MalformedSecret::Sourceless)?;
        Ok(Self { id, from })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_a_file_or_a_variable() {
        let parsed = |text: &str| text.parse::<SecretSource>();
        let of = |from| SecretSource {
            id: "npm".to_owned(),
            from,
        };
        let file = of(SecretFrom::File("/a/b=c".into()));
        assert_eq!(parsed("id=npm,src=/a/b=c").unwrap(), file);
        assert_eq!(parsed("type=file,source=/a/b=c,id=npm").unwrap(), file);
        assert_eq!(
            parsed("id=npm,env=TOKEN").unwrap(),
            of(SecretFrom::Variable("TOKEN".to_owned()))
        );
        assert_eq!(parsed("id=HOME").unwrap().from, SecretFrom::Variable("HOME".to_owned()));
        assert_eq!(parsed("src=/a").unwrap_err(), MalformedSecret::Nameless);
        assert_eq!(parsed("id=no_such_variable").unwrap_err(), MalformedSecret::Sourceless);
        assert_eq!(
            parsed("id=npm,value=x").unwrap_err(),
            MalformedSecret::Unknown("value=x".to_owned())
        );
    }
}
