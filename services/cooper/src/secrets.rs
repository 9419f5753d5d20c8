//! Secrets in files that only their owner reads: made once, and never shown.

use eventlog::{ACCOUNTS, OPERATOR};
use std::{collections::BTreeMap, fs, path::Path};

/// The secret of a name: made once, kept in `<name>.password`.
pub(crate) fn secret(folder: &Path, name: &str) -> anyhow::Result<String> {
    let file = folder.join(format!("{name}.password"));
    if let Ok(known) = fs::read_to_string(&file)
        && !known.trim().is_empty()
    {
        return Ok(known.trim().to_owned());
    }
    let secret = base16ct::lower::encode_string(&rand::random::<[u8; 24]>());
    service::auth::write_private(&file, secret.as_bytes())?;
    Ok(secret)
}

/// Who has a password at the NATS server.
pub(crate) fn accounts() -> impl Iterator<Item = &'static str> {
    ACCOUNTS.iter().map(|account| account.name).chain([OPERATOR])
}

/// Their passwords.
pub(crate) fn passwords(folder: &Path) -> anyhow::Result<impl Fn(&str) -> String + use<>> {
    let known = accounts().map(|name| Ok((name, secret(folder, name)?)));
    let known: BTreeMap<_, _> = known.collect::<anyhow::Result<_>>()?;
    Ok(move |name: &str| known.get(name).cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_secret_is_made_once() {
        let keys = tempfile::tempdir().unwrap();
        let first = secret(keys.path(), "catalog").unwrap();
        assert_eq!(first.len(), 48);
        assert_eq!(secret(keys.path(), "catalog").unwrap(), first);
        assert_ne!(secret(keys.path(), "editor").unwrap(), first);
    }

    #[test]
    fn each_account_has_its_own() {
        let keys = tempfile::tempdir().unwrap();
        let password = passwords(keys.path()).unwrap();
        assert_eq!(password("catalog"), secret(keys.path(), "catalog").unwrap());
        let all: BTreeSet<String> = accounts().map(password).collect();
        assert!(all.len() == accounts().count() && !all.contains(""));
    }
}
