//! The platform's own tokens: signed with the key of a data folder, or that of a platform of separate processes.

use super::{
    Unknown,
    journal::{Created, Issued, Journal, Tokens},
    token::{Key, Rules, Token},
};
use anyhow::{Context as _, ensure};
use ed25519_dalek::{
    SigningKey,
    pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, spki::der::pem::LineEnding},
};
use eventlog::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;
use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::watch;

pub(super) const ISSUER: &str = "cooperage-local";
const AUDIENCE: &str = "cooperage";
/// A local token lives at most this long.
pub const LIFETIME_MAX: Duration = Duration::from_hours(90 * 24);
/// A token that was taken back is refused this soon.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'static str,
    aud: &'static str,
    sub: &'a str,
    jti: &'a str,
    iat: u64,
    exp: u64,
    admin: bool,
}

/// What checks them: the public key, and what the journal beside it says.
pub(super) struct Local {
    key: Key,
    pub(super) rules: Rules,
    journal: Journal,
    pub(super) tokens: watch::Sender<Tokens>,
}

impl Local {
    pub(super) fn open(public_key: &Path) -> anyhow::Result<Self> {
        let pem = fs::read(public_key).with_context(|| {
            format!(
                "the key that tokens are signed with can't be read: {}",
                public_key.display()
            )
        })?;
        let decoding =
            DecodingKey::from_ed_pem(&pem).context("the key that tokens are signed with is not Ed25519 in PEM")?;
        let journal = Journal::of(public_key);
        Ok(Self {
            key: Key {
                algorithm: Algorithm::EdDSA,
                decoding,
            },
            rules: Rules {
                issuer: ISSUER.to_owned(),
                audience: AUDIENCE.to_owned(),
                lifetime_seconds_max: LIFETIME_MAX.as_secs(),
                user: "sub".to_owned(),
                admin: Some(("admin".to_owned(), true.into())),
            },
            tokens: watch::Sender::new(journal.read()?),
            journal,
        })
    }

    /// Which token it is, if it was signed with the key. One of before there were ids has none.
    pub(super) fn identify(&self, token: &Token) -> Result<Issued, Unknown> {
        token.signed_by(&self.key)?;
        Ok(Issued {
            id: token.claims.get("jti").unwrap_or_default(),
            at: token.claims.get("iat").ok_or(Unknown::Iat)?,
        })
    }

    /// Follows the journal. When it can't be read any more, what was taken back stays so.
    pub(super) async fn follow(&self) {
        let mut seen = None;
        loop {
            let stamp = self.journal.stamp();
            if seen.replace(stamp) != Some(stamp)
                && let Err(error) = self.reload()
            {
                tracing::error!("{error:#}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) fn reload(&self) -> anyhow::Result<()> {
        self.tokens.send_replace(self.journal.read()?);
        Ok(())
    }
}

/// The private key.
pub struct LocalKey {
    private: PathBuf,
}

impl LocalKey {
    /// Opens the key of a data folder, and makes one if there is none.
    pub fn open(data: &Path) -> anyhow::Result<Self> {
        let folder = data.join("keys");
        fs::create_dir_all(&folder)?;
        Self::in_folder(&folder)
    }

    /// The same for a folder that holds the key itself.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let key = Self {
            private: folder.join("token.key"),
        };
        if !key.private.exists() {
            let signing = SigningKey::from_bytes(&rand::random());
            let private = signing.to_pkcs8_pem(LineEnding::LF).context("a key can't be made")?;
            let public = signing
                .verifying_key()
                .to_public_key_pem(LineEnding::LF)
                .context("a key can't be made")?;
            write_private(&key.public(), public.as_bytes())?;
            write_private(&key.private, private.as_bytes())?;
        }
        key.journal().make()?;
        Ok(key)
    }

    /// The file that [`super::Verifier`] reads.
    pub fn public(&self) -> PathBuf {
        self.private.with_extension("pub")
    }

    pub fn journal(&self) -> Journal {
        Journal::of(&self.private)
    }

    /// A token for a user, which is listed.
    pub fn create(
        &self,
        user: &str,
        admin: bool,
        lifetime: Duration,
        clock: &Clock,
    ) -> anyhow::Result<(String, Created)> {
        let (token, created) = self.make(user, admin, lifetime, clock)?;
        self.journal().created(created.clone())?;
        Ok((token, created))
    }

    /// A token for who has the key, made anew again and again, and so not listed.
    pub fn sign(&self, user: &str, admin: bool, lifetime: Duration, clock: &Clock) -> anyhow::Result<String> {
        Ok(self.make(user, admin, lifetime, clock)?.0)
    }

    fn make(&self, user: &str, admin: bool, lifetime: Duration, clock: &Clock) -> anyhow::Result<(String, Created)> {
        ensure!(access::is_user(user), access::MALFORMED_USER);
        ensure!(lifetime <= LIFETIME_MAX, "a token lives at most 90 days");
        let now = u64::try_from(clock.now_ms())?;
        // Its owner's others may have been taken back in this very second.
        let issued = self.journal().read()?.first_second(user).max(now / 1_000);
        let created = Created {
            id: ulid::Ulid::from_parts(now, rand::random()).to_string(),
            user: user.to_owned(),
            admin,
            issued,
            expires: issued + lifetime.as_secs(),
        };
        let claims = Claims {
            iss: ISSUER,
            aud: AUDIENCE,
            sub: user,
            jti: &created.id,
            iat: created.issued,
            exp: created.expires,
            admin,
        };
        let pem =
            fs::read(&self.private).with_context(|| format!("the key can't be read: {}", self.private.display()))?;
        let key = EncodingKey::from_ed_pem(&pem).context("the key is not Ed25519 in PEM")?;
        let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key)?;
        Ok((token, created))
    }
}

/// Writes a file that only its owner reads, whole or not at all.
pub fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}
