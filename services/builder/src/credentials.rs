//! What was given with a build to be used by it alone: bounded, sealed while it waits, and gone when it has ended.

use anyhow::Context as _;
use chacha20poly1305::{
    Key, KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use eventlog::{LogError, Secrets};
use ids::{BuildId, WorkspaceId};
use prost::Message as _;
use proto::builder::v1::BuildCredentials;
use service::World;
use std::{fs, io::ErrorKind, path::Path};

const SECRETS_MAX: usize = 64;
/// As in Docker.
const SECRET_BYTES_MAX: usize = 500 * 1024;
/// A message of NATS has at most 1 MiB.
const BYTES_MAX: usize = 1000 * 1024;
const NONCE_BYTES: usize = 24;

/// Where they wait, sealed with the key of the builders.
#[derive(Clone)]
pub(crate) struct Vault {
    secrets: Secrets,
    cipher: XChaCha20Poly1305,
}

/// Why a build goes without what was given with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    #[error(
        "what was given with this build (secrets, passwords, tokens) is not kept any more: start it again with them"
    )]
    Gone,
    #[error(
        "this builder can't open what was given with the build: all builders need one key, builder.secrets_key, so give \
         it to them and start the build again"
    )]
    Sealed,
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Vault {
    pub(crate) fn open(world: &World) -> anyhow::Result<Self> {
        Ok(Self {
            secrets: world.nats.secrets(),
            cipher: XChaCha20Poly1305::new(&key(world)?),
        })
    }

    pub(crate) async fn keep(
        &self,
        workspace: WorkspaceId,
        build: BuildId,
        credentials: &BuildCredentials,
    ) -> Result<(), LogError> {
        let sealed = seal(&self.cipher, &owner(workspace, build), &credentials.encode_to_vec());
        self.secrets.put(&build.to_string(), sealed.into()).await
    }

    pub(crate) async fn get(&self, workspace: WorkspaceId, build: BuildId) -> Result<BuildCredentials, Missing> {
        let sealed = self.secrets.get(&build.to_string()).await?.ok_or(Missing::Gone)?;
        let opened = unseal(&self.cipher, &owner(workspace, build), &sealed).ok_or(Missing::Sealed)?;
        BuildCredentials::decode(&*opened).map_err(|_| Missing::Sealed)
    }

    pub(crate) async fn forget(&self, build: BuildId) -> Result<(), LogError> {
        self.secrets.remove(&build.to_string()).await
    }

    /// The builds that something is kept for.
    pub(crate) async fn list(&self) -> Result<Vec<BuildId>, LogError> {
        let ids = self.secrets.list().await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }
}

/// What is wrong with them, in words that tell none of them.
pub(crate) fn check(credentials: &BuildCredentials) -> Result<(), String> {
    let count = credentials.secrets.len();
    if count > SECRETS_MAX {
        return Err(format!("{count} secrets are too many, a build takes {SECRETS_MAX}"));
    }
    for (id, secret) in &credentials.secrets {
        if id.is_empty() {
            return Err("a secret needs an id".to_owned());
        }
        if secret.len() > SECRET_BYTES_MAX {
            let bytes = secret.len();
            return Err(format!(
                "the secret `{id}` has {bytes} bytes, it may have {SECRET_BYTES_MAX}"
            ));
        }
    }
    let bytes = credentials.encoded_len();
    if bytes > BYTES_MAX {
        return Err(format!("they have {bytes} bytes together, they may have {BYTES_MAX}"));
    }
    Ok(())
}

/// Every value that nobody should read in a log.
pub(crate) fn values(credentials: &BuildCredentials) -> impl Iterator<Item = &[u8]> {
    let secrets = credentials.secrets.values().map(|secret| &**secret);
    let passwords = credentials.registries.iter().map(|given| given.password.as_bytes());
    let git = credentials
        .git
        .iter()
        .flat_map(|given| [&given.token, &given.ssh_key, &given.passphrase]);
    let git = git.map(String::as_bytes).filter(|value| !value.is_empty());
    secrets.chain(passwords).chain(git)
}

/// Moved to another build or workspace, it can't be opened.
fn owner(workspace: WorkspaceId, build: BuildId) -> String {
    format!("{workspace}/{build}")
}

fn seal(cipher: &XChaCha20Poly1305, owner: &str, plain: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let payload = Payload {
        msg: plain,
        aad: owner.as_bytes(),
    };
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload);
    // It fails only for more than 256 GiB.
    [&nonce[..], &sealed.unwrap_or_default()].concat()
}

fn unseal(cipher: &XChaCha20Poly1305, owner: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, msg) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let aad = owner.as_bytes();
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg, aad }).ok()
}

/// The key that is configured, or the data folder's own, which is made if there is none.
fn key(world: &World) -> anyhow::Result<Key> {
    let configured: &Path = &world.config.builder.secrets_key;
    let own: &Path = &world.config.data.join("keys/secrets.key");
    let is_own = configured.as_os_str().is_empty();
    let path = if is_own { own } else { configured };
    let read = match fs::read_to_string(path) {
        Ok(text) => {
            let mut key = [0; 32];
            let bytes = base16ct::lower::decode(text.trim(), &mut key).ok().map(<[u8]>::len);
            (bytes == Some(key.len()))
                .then_some(key)
                .context("it is not 64 hexadecimal digits")
        }
        Err(error) if is_own && error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(world.config.data.join("keys"))?;
            make_key(path)
        }
        Err(error) => Err(error.into()),
    };
    let key = read.with_context(|| format!("the key for secrets can't be used: {}", path.display()))?;
    Ok(key.into())
}

/// Into a file that only its owner reads.
pub fn make_key(path: &Path) -> anyhow::Result<[u8; 32]> {
    let key: [u8; 32] = rand::random();
    service::auth::write_private(path, base16ct::lower::encode_string(&key).as_bytes())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ids::Ulid;
    use proto::builder::v1::RegistryCredential;
    use proto::editor::v1::GitCredential;

    fn given(secrets: &[(&str, usize)]) -> BuildCredentials {
        BuildCredentials {
            secrets: secrets
                .iter()
                .map(|(id, bytes)| ((*id).to_owned(), vec![b'x'; *bytes].into()))
                .collect(),
            ..BuildCredentials::default()
        }
    }

    // covers E9
    #[test]
    fn what_is_sealed_opens_only_for_its_own_build() {
        let cipher = XChaCha20Poly1305::new(&[7; 32].into());
        let workspace = WorkspaceId::from_ulid(Ulid::from_parts(1, 1));
        let build = |number| BuildId::from_ulid(Ulid::from_parts(2, number));
        let own = owner(workspace, build(1));
        let mut sealed = seal(&cipher, &own, b"correct horse");
        assert_ne!(sealed, seal(&cipher, &own, b"correct horse"), "a nonce is used once");
        assert!(!sealed.windows(7).any(|part| part == b"correct"));
        assert_eq!(unseal(&cipher, &own, &sealed).unwrap(), b"correct horse");

        assert_eq!(unseal(&cipher, &owner(workspace, build(2)), &sealed), None);
        let elsewhere = WorkspaceId::from_ulid(Ulid::from_parts(1, 2));
        assert_eq!(unseal(&cipher, &owner(elsewhere, build(1)), &sealed), None);
        let other = XChaCha20Poly1305::new(&[8; 32].into());
        assert_eq!(unseal(&other, &own, &sealed), None);
        assert_eq!(unseal(&cipher, &own, &sealed[..10]), None);
        *sealed.last_mut().unwrap() ^= 1;
        assert_eq!(unseal(&cipher, &own, &sealed), None);
    }

    #[test]
    fn too_much_is_refused_with_the_figures() {
        assert_eq!(check(&given(&[("a", SECRET_BYTES_MAX), ("b", 400 * 1024)])), Ok(()));
        let sentence = |credentials| check(&credentials).unwrap_err();
        assert_eq!(
            sentence(given(&[("a", SECRET_BYTES_MAX + 1)])),
            "the secret `a` has 512001 bytes, it may have 512000"
        );
        assert!(sentence(given(&[("a", SECRET_BYTES_MAX), ("b", SECRET_BYTES_MAX)])).contains("1024000"));
        let ids: Vec<String> = (0..=SECRETS_MAX).map(|id| id.to_string()).collect();
        let many: Vec<(&str, usize)> = ids.iter().map(|id| (id.as_str(), 1)).collect();
        assert_eq!(sentence(given(&many)), "65 secrets are too many, a build takes 64");
        assert_eq!(sentence(given(&[("", 1)])), "a secret needs an id");
    }

    #[test]
    fn nothing_that_shows_them_shows_them() {
        let credentials = BuildCredentials {
            secrets: [("id".to_owned(), "canary".into())].into(),
            registries: vec![RegistryCredential {
                password: "canary".to_owned(),
                ..RegistryCredential::default()
            }],
            git: Some(GitCredential {
                token: "canary".to_owned(),
                ..GitCredential::default()
            }),
        };
        assert_eq!(values(&credentials).filter(|value| *value == b"canary").count(), 3);
        let request = proto::builder::v1::StartBuildRequest {
            credentials: Some(credentials),
            ..Default::default()
        };
        assert!(!format!("{request:?}").contains("canary"), "{request:?}");
    }
}
