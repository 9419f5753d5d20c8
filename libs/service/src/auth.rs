//! Who calls: tokens, signed with Ed25519. The algorithm belongs to the key, and is never read from the token.

use access::Caller;
use anyhow::{Context as _, ensure};
use ed25519_dalek::{
    SigningKey,
    pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, spki::der::pem::LineEnding},
};
use eventlog::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use lru::LruCache;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    io::Write as _,
    num::NonZeroUsize,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

const ISSUER: &str = "cooperage-local";
const AUDIENCE: &str = "cooperage";
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Tokens whose signature was checked are remembered, because each check costs as much as the rest of a short call.
const CHECKED: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// A local token lives at most this long.
pub const LIFETIME_MAX: Duration = Duration::from_hours(90 * 24);

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: u64,
    exp: u64,
    #[serde(default)]
    admin: bool,
}

/// Why a token says nothing. Each is one sentence with what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("no token was sent: run `cooper login`, or set COOPERAGE_TOKEN")]
    Missing,
    #[error("the token expired: ask for a new one and run `cooper login`")]
    Expired,
    #[error("the token is not one of this platform: ask for a new one and run `cooper login`")]
    Invalid,
}

impl Unknown {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "TOKEN_MISSING",
            Self::Expired => "TOKEN_EXPIRED",
            Self::Invalid => "TOKEN_INVALID",
        }
    }
}

/// Whoever sent a token that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    pub caller: Caller,
    /// The second in which the token is good for the last time, since 1970.
    pub until: i64,
}

/// Checks tokens against one public key.
#[derive(Clone)]
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
    clock: Clock,
    /// By the hash of the token.
    checked: Arc<Mutex<LruCache<[u8; 32], Bearer>>>,
}

impl Verifier {
    pub fn open(public_key: &Path) -> anyhow::Result<Self> {
        let pem = fs::read(public_key).with_context(|| {
            format!(
                "the key that tokens are signed with can't be read: {}",
                public_key.display()
            )
        })?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "iat", "exp"]);
        // What the token says is what its owner is shown.
        validation.leeway = 0;
        Ok(Self {
            key: DecodingKey::from_ed_pem(&pem).context("the key that tokens are signed with is not Ed25519 in PEM")?,
            validation,
            clock: Clock::system(),
            checked: Arc::new(Mutex::new(LruCache::new(CHECKED))),
        })
    }

    /// Who sent an `authorization` header.
    pub fn check(&self, header: Option<&str>) -> Result<Bearer, Unknown> {
        let token = header
            .ok_or(Unknown::Missing)?
            .strip_prefix("Bearer ")
            .ok_or(Unknown::Invalid)?
            .trim();
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Unknown::Invalid);
        }
        let hash = Sha256::digest(token).into();
        let known = self.checked().get(&hash).cloned();
        if let Some(bearer) = known {
            let is_alive = self.clock.now_ms() / 1_000 <= bearer.until;
            return if is_alive { Ok(bearer) } else { Err(Unknown::Expired) };
        }
        let data =
            jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation).map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => Unknown::Expired,
                _ => Unknown::Invalid,
            })?;
        if !access::is_user(&data.claims.sub) {
            return Err(Unknown::Invalid);
        }
        let bearer = Bearer {
            caller: Caller {
                user: data.claims.sub,
                admin: data.claims.admin,
            },
            until: i64::try_from(data.claims.exp).unwrap_or(i64::MAX),
        };
        self.checked().put(hash, bearer.clone());
        Ok(bearer)
    }

    fn checked(&self) -> MutexGuard<'_, LruCache<[u8; 32], Bearer>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key that tokens are signed with: a data folder's, in local mode, or that of a platform of separate processes.
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
        Ok(key)
    }

    /// The file that a [`Verifier`] reads.
    pub fn public(&self) -> PathBuf {
        self.private.with_extension("pub")
    }

    /// A token for a user.
    pub fn sign(&self, user: &str, admin: bool, lifetime: Duration, clock: &Clock) -> anyhow::Result<String> {
        ensure!(access::is_user(user), access::MALFORMED_USER);
        ensure!(lifetime <= LIFETIME_MAX, "a token lives at most 90 days");
        let now = u64::try_from(clock.now_ms() / 1_000)?;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.to_owned(),
            iat: now,
            exp: now + lifetime.as_secs(),
            admin,
        };
        let pem =
            fs::read(&self.private).with_context(|| format!("the key can't be read: {}", self.private.display()))?;
        let key = EncodingKey::from_ed_pem(&pem).context("the key is not Ed25519 in PEM")?;
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key)?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cooperage-auth-{:x}", rand::random::<u64>()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn bearer(token: &str) -> String {
        format!("Bearer {token}")
    }

    // covers R8
    #[test]
    fn only_a_living_token_of_our_own_key_says_who_calls() {
        let (ours, others) = (folder(), folder());
        let key = LocalKey::open(&ours).unwrap();
        let verifier = Verifier::open(&key.public()).unwrap();
        let hour = Duration::from_hours(1);
        let now = Clock::system();

        let token = key.sign("ada", false, hour, &now).unwrap();
        let caller = || Caller {
            user: "ada".to_owned(),
            admin: false,
        };
        assert_eq!(
            verifier.check(Some(&bearer(&token))).map(|known| known.caller),
            Ok(caller())
        );
        assert_eq!(verifier.check(None), Err(Unknown::Missing));

        let mut later = verifier.clone();
        assert_eq!(
            later.check(Some(&bearer(&token))).map(|known| known.caller),
            Ok(caller()),
            "a checked token is known again"
        );
        let since = Duration::from_millis(u64::try_from(now.now_ms()).unwrap());
        later.clock = Clock::fixed(UNIX_EPOCH + since + hour * 2);
        assert_eq!(later.check(Some(&bearer(&token))), Err(Unknown::Expired));

        let foreign = LocalKey::open(&others).unwrap().sign("ada", true, hour, &now).unwrap();
        assert_eq!(verifier.check(Some(&bearer(&foreign))), Err(Unknown::Invalid));

        let long_ago = Clock::fixed(UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        let old = key.sign("ada", false, hour, &long_ago).unwrap();
        assert_eq!(verifier.check(Some(&bearer(&old))), Err(Unknown::Expired));
        fs::remove_dir_all(ours).unwrap();
        fs::remove_dir_all(others).unwrap();
    }

    #[test]
    fn the_algorithm_is_never_read_from_the_token() {
        let folder = folder();
        let key = LocalKey::open(&folder).unwrap();
        let verifier = Verifier::open(&key.public()).unwrap();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: "eve".to_owned(),
            iat: now,
            exp: now + 60,
            admin: true,
        };
        let public = fs::read(key.public()).unwrap();
        let forged = jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(&public)).unwrap();
        assert_eq!(verifier.check(Some(&bearer(&forged))), Err(Unknown::Invalid));
        // {"alg":"none"} and the claims, unsigned
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", forged.split('.').nth(1).unwrap());
        assert_eq!(verifier.check(Some(&bearer(&unsigned))), Err(Unknown::Invalid));
        fs::remove_dir_all(folder).unwrap();
    }
}
