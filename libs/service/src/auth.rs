//! Who calls: tokens of the platform's own key, and of an outside issuer. The algorithm belongs to the key, and is never
//! taken from the token.

mod journal;
mod keys;
mod local;
mod token;
mod unknown;

pub use journal::{Created, Issued, Journal, Tokens};
pub use local::{LIFETIME_MAX, LocalKey, write_private};
pub use unknown::Unknown;

use crate::Config;
use access::Caller;
use anyhow::{Context as _, ensure};
use eventlog::Clock;
use keys::Keys;
use local::Local;
use lru::LruCache;
use sha2::{Digest as _, Sha256};
use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};
use token::{Rules, Token};

const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Tokens whose signature was checked are remembered, because each check costs as much as the rest of a short call.
const CHECKED: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// Whoever sent a token that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    pub caller: Caller,
    /// The second in which the token is good for the last time, since 1970.
    pub until: i64,
    /// Which one it is of the local key's, which can be taken back.
    pub local: Option<Issued>,
}

/// Checks tokens.
pub struct Verifier {
    local: Option<Local>,
    outside: Option<Outside>,
    clock: Clock,
    /// By the hash of the token and of what its check rested on.
    checked: Mutex<LruCache<[u8; 32], Bearer>>,
}

/// An issuer that is not the platform.
struct Outside {
    rules: Rules,
    keys: Keys,
}

impl Verifier {
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let outside = Outside::of(config)?;
        let public_key = if config.auth.public_key.as_os_str().is_empty() {
            config.data.join("keys/token.pub")
        } else {
            config.auth.public_key.clone()
        };
        let is_alone = config.auth.public_key.as_os_str().is_empty() && !public_key.exists();
        let local = match &outside {
            Some(_) if is_alone => None,
            _ => Some(Local::open(&public_key)?),
        };
        if let Some(outside) = &outside {
            let issuer = &outside.rules.issuer;
            let key = public_key.display();
            if local.is_some() {
                tracing::info!("tokens are taken of {issuer}, and of the key {key}");
            } else {
                tracing::info!("tokens are taken of {issuer} alone: {key} is not there");
            }
        }
        Ok(Self {
            local,
            outside,
            clock: Clock::system(),
            checked: Mutex::new(LruCache::new(CHECKED)),
        })
    }

    /// Follows what was taken back, and the keys of the outside issuer, for ever.
    pub(crate) async fn keep(&self) {
        let local = async {
            if let Some(local) = &self.local {
                local.follow().await;
            }
        };
        let outside = async {
            if let Some(outside) = &self.outside {
                outside.keys.keep().await;
            }
        };
        tokio::join!(local, outside);
    }

    /// Who sent an `authorization` header.
    pub async fn check(&self, header: Option<&str>) -> Result<Bearer, Unknown> {
        let text = header
            .ok_or(Unknown::Missing)?
            .strip_prefix("Bearer ")
            .ok_or(Unknown::Invalid)?
            .trim();
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Unknown::TooLarge);
        }
        // What a key said that the issuer has withdrawn is asked again.
        let generation = self.outside.as_ref().map_or(0, |outside| outside.keys.generation());
        let hash = Sha256::new().chain_update(generation.to_le_bytes()).chain_update(text);
        let hash = hash.finalize().into();
        let known = self.checked().get(&hash).cloned();
        let bearer = if let Some(bearer) = known {
            bearer
        } else {
            let bearer = self.read(text).await?;
            self.checked().put(hash, bearer.clone());
            bearer
        };
        if self.clock.now_ms() / 1_000 > bearer.until {
            return Err(Unknown::Expired);
        }
        match (&self.local, &bearer.local) {
            (Some(local), Some(token)) if local.tokens.borrow().is_revoked(&bearer.caller.user, token) => {
                Err(Unknown::Revoked)
            }
            _ => Ok(bearer),
        }
    }

    async fn read(&self, text: &str) -> Result<Bearer, Unknown> {
        let token = Token::parse(text)?;
        let issuer: String = token.claims.get("iss").ok_or(Unknown::Iss)?;
        let now = || u64::try_from(self.clock.now_ms() / 1_000).unwrap_or_default();
        if let Some(local) = self.local.as_ref().filter(|local| local.rules.issuer == issuer) {
            let issued = local.identify(&token)?;
            let bearer = local.rules.judge(&token.claims, now())?;
            return Ok(Bearer {
                local: Some(issued),
                ..bearer
            });
        }
        let outside = self.outside.as_ref().filter(|outside| outside.rules.issuer == issuer);
        let outside = outside.ok_or(Unknown::Iss)?;
        token.signed_by(&outside.keys.find(token.key_id()).await?)?;
        outside.rules.judge(&token.claims, now())
    }

    /// Ends when a user's token is taken back.
    pub(crate) fn revoked(&self, user: &str, token: Option<&Issued>) -> impl Future<Output = ()> + Send + use<> {
        let watched = self.local.as_ref().zip(token).map(|(local, token)| {
            let (tokens, user, token) = (local.tokens.subscribe(), user.to_owned(), token.clone());
            (tokens, user, token)
        });
        async move {
            if let Some((mut tokens, user, token)) = watched
                && tokens.wait_for(|tokens| tokens.is_revoked(&user, &token)).await.is_ok()
            {
                return;
            }
            std::future::pending::<()>().await;
        }
    }

    fn checked(&self) -> MutexGuard<'_, LruCache<[u8; 32], Bearer>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outside {
    fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let auth = &config.auth;
        if auth.issuer.is_empty() {
            return Ok(None);
        }
        ensure!(
            !auth.audience.is_empty(),
            "auth.audience: what tokens of {} are for is missing",
            auth.issuer
        );
        let admin = match auth.admin_claim.as_str() {
            "" => None,
            claim => {
                let (name, value) = claim
                    .split_once('=')
                    .with_context(|| format!("auth.admin_claim: expected name=value, not {claim}"))?;
                Some((name.to_owned(), value.into()))
            }
        };
        Ok(Some(Self {
            rules: Rules {
                issuer: auth.issuer.clone(),
                audience: auth.audience.clone(),
                lifetime_seconds_max: auth.lifetime_minutes_max.saturating_mul(60),
                user: auth.user_claim.clone(),
                admin,
            },
            keys: Keys::new(&auth.issuer, &auth.jwks_url)?,
        }))
    }
}

#[cfg(test)]
mod tests;
