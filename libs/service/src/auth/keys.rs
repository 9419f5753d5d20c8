//! The keys of an outside issuer (a JWK set), fetched now and then and when a token names an unknown one.
//!
//! One task fetches, at most once in 30 s, whoever asks. The keys that are known stay when that fails.

use super::{Unknown, token::Key};
use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, crypto,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use reqwest::{Client, redirect::Policy};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::HashMap, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};
use url::{Host, Url};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const BYTES_MAX: usize = 256 * 1024;
const KEYS_MAX: usize = 100;
const KEY_ID_BYTES_MAX: usize = 256;
/// 2048 bits; the crate takes at most 4096.
const RSA_BYTES_MIN: usize = 256;
const REST: Duration = Duration::from_secs(30);
const RENEW_EVERY: Duration = Duration::from_mins(10);

pub(super) struct Keys {
    client: Client,
    issuer: Url,
    name: String,
    /// Where they are, unless the issuer tells.
    address: Option<Url>,
    known: watch::Sender<Known>,
    wanted: Notify,
    /// Between two fetches, at least.
    pub(super) rest: Duration,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, Key>,
    /// Fetches that have ended, well or not.
    fetches: u64,
    failed: bool,
    /// None while they are fetched.
    rests_until: Option<Instant>,
}

impl Known {
    fn missing(&self) -> Unknown {
        if self.failed {
            Unknown::KeysUnavailable
        } else {
            Unknown::KeyUnknown
        }
    }
}

impl Keys {
    /// `address` may be empty.
    pub(super) fn new(issuer: &str, address: &str) -> anyhow::Result<Self> {
        let place = secure(issuer).context("auth.issuer")?;
        let address = match address {
            "" => None,
            address => Some(secure(address).context("auth.jwks_url")?),
        };
        let client = Client::builder()
            .timeout(ANSWER_WITHIN)
            .redirect(Policy::none())
            .build()?;
        Ok(Self {
            client,
            issuer: place,
            name: issuer.to_owned(),
            address,
            known: watch::Sender::default(),
            wanted: Notify::new(),
            rest: REST,
        })
    }

    /// Moves on whenever keys may have changed.
    pub(super) fn generation(&self) -> u64 {
        self.known.borrow().fetches
    }

    /// Who names a known key never waits, who names another for one fetch at most.
    pub(super) async fn find(&self, id: Option<String>) -> Result<Key, Unknown> {
        let id = id
            .filter(|id| id.len() <= KEY_ID_BYTES_MAX)
            .ok_or(Unknown::KeyUnknown)?;
        let fetches = {
            let known = self.known.borrow();
            if let Some(key) = known.keys.get(&id) {
                return Ok(key.clone());
            }
            match known.rests_until {
                Some(until) if Instant::now() < until => return Err(known.missing()),
                Some(_) => self.wanted.notify_one(),
                None => (),
            }
            known.fetches
        };
        let mut fetched = self.known.subscribe();
        let fetched = fetched.wait_for(|known| known.fetches > fetches).await;
        let known = fetched.map_err(|_| Unknown::KeysUnavailable)?;
        known.keys.get(&id).cloned().ok_or_else(|| known.missing())
    }

    /// Fetches them for ever.
    pub(super) async fn keep(&self) {
        loop {
            self.known.send_modify(|known| known.rests_until = None);
            let rests_until = Instant::now() + self.rest;
            let fetched = self.fetch().await;
            let failed = fetched.is_err();
            self.known.send_modify(|known| {
                match fetched {
                    Ok(keys) => known.keys = keys,
                    Err(error) => {
                        let left = known.keys.len();
                        tracing::warn!(
                            "the keys of {} can't be fetched, {left} are known: {error:#}",
                            self.name
                        );
                    }
                }
                known.failed = failed;
                known.fetches += 1;
                known.rests_until = Some(rests_until);
            });
            sleep_until(rests_until).await;
            if !failed {
                tokio::select! {
                    () = self.wanted.notified() => (),
                    () = sleep(RENEW_EVERY) => (),
                }
            }
        }
    }

    async fn fetch(&self) -> anyhow::Result<HashMap<String, Key>> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let address = match &self.address {
            Some(address) => address.clone(),
            None => self.discover().await?,
        };
        let set: Set = self.get(address.clone()).await?;
        ensure!(set.keys.len() <= KEYS_MAX, "{address} has more than {KEYS_MAX} keys");
        // A key of a kind that is unknown here says nothing about the others.
        let keys = set
            .keys
            .into_iter()
            .filter_map(|jwk| usable(&serde_json::from_value(jwk).ok()?));
        let keys: HashMap<_, _> = keys.collect();
        ensure!(
            !keys.is_empty(),
            "{address} has no key with a `kid` for EdDSA (Ed25519), ES256 or RS256 (2048 bits)"
        );
        Ok(keys)
    }

    /// Where the issuer says that its keys are, in the manner of OpenID Connect Discovery.
    async fn discover(&self) -> anyhow::Result<Url> {
        #[derive(Deserialize)]
        struct Discovered {
            issuer: String,
            jwks_uri: String,
        }
        let about = format!("{}/.well-known/openid-configuration", self.name.trim_end_matches('/'));
        let discovered: Discovered = self.get(about.parse()?).await?;
        ensure!(
            discovered.issuer == self.name,
            "{about} is of the issuer {:?}, auth.issuer has to be the same",
            discovered.issuer
        );
        let address = secure(&discovered.jwks_uri).context(about)?;
        ensure!(
            address.scheme() == "https" || self.issuer.scheme() == "http",
            "an issuer with https has its keys at {address}"
        );
        Ok(address)
    }

    async fn get<T: DeserializeOwned>(&self, address: Url) -> anyhow::Result<T> {
        let mut answer = self.client.get(address.clone()).send().await?;
        ensure!(answer.status().is_success(), "{address} answered {}", answer.status());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            ensure!(
                body.len() + chunk.len() <= BYTES_MAX,
                "{address} answered more than {BYTES_MAX} bytes"
            );
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).with_context(|| format!("{address} answered something else"))
    }
}

/// What comes in the clear could come from anybody, but for this machine.
fn secure(address: &str) -> anyhow::Result<Url> {
    let url: Url = address.parse().with_context(|| format!("{address} is no address"))?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        _ => bail!("{address} has to begin with https://, or be on this machine"),
    }
}

/// A key for signatures with its id, and the algorithm that follows from its kind.
fn usable(jwk: &Jwk) -> Option<(String, Key)> {
    let common = &jwk.common;
    let for_signatures = common
        .public_key_use
        .as_ref()
        .is_none_or(|it| *it == PublicKeyUse::Signature)
        && common
            .key_operations
            .as_ref()
            .is_none_or(|all| all.contains(&KeyOperations::Verify));
    let bytes = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_or(0, |bytes| bytes.len());
    let (algorithm, named, is_whole) = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA, bytes(&key.x) == 32)
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            let is_whole = bytes(&key.x) == 32 && bytes(&key.y) == 32;
            (Algorithm::ES256, KeyAlgorithm::ES256, is_whole)
        }
        AlgorithmParameters::RSA(key) => (Algorithm::RS256, KeyAlgorithm::RS256, bytes(&key.n) >= RSA_BYTES_MIN),
        _ => return None,
    };
    let is_named_so = common.key_algorithm.is_none_or(|it| it == named);
    let id = common.key_id.clone().filter(|id| id.len() <= KEY_ID_BYTES_MAX)?;
    if !for_signatures || !is_whole || !is_named_so {
        return None;
    }
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    // Of a key that is a point of no curve, this tells.
    crypto::verify("", b"", &decoding, algorithm).ok()?;
    Some((id, Key { algorithm, decoding }))
}
