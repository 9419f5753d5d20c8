//! A token taken apart, and what its claims have to be. Nothing of it is believed before its signature was checked.

use super::{Bearer, Unknown};
use access::Caller;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};
use serde_json::value::{RawValue, Value};
use std::{collections::HashMap, fmt};

/// How far the issuer's clock may be ahead of ours.
const AHEAD_SECONDS_MAX: u64 = 60;

/// A public key with the one algorithm that it is for.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

pub(super) struct Token<'a> {
    head: Object,
    pub(super) claims: Object,
    algorithm: Algorithm,
    message: &'a str,
    signature: &'a str,
}

impl<'a> Token<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Unknown> {
        let (message, signature) = text.rsplit_once('.').ok_or(Unknown::Invalid)?;
        let (head, claims) = message.split_once('.').ok_or(Unknown::Invalid)?;
        let object = |part: &str| {
            let json = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Unknown::Invalid)?;
            serde_json::from_slice::<Object>(&json).map_err(|_| Unknown::Invalid)
        };
        let (head, claims) = (object(head)?, object(claims)?);
        let algorithm = match head.get::<String>("alg").as_deref() {
            Some("EdDSA") => Algorithm::EdDSA,
            Some("ES256") => Algorithm::ES256,
            Some("RS256") => Algorithm::RS256,
            _ => return Err(Unknown::Algorithm),
        };
        if head.has("crit") {
            return Err(Unknown::Critical);
        }
        Ok(Self {
            head,
            claims,
            algorithm,
            message,
            signature,
        })
    }

    /// Which of its issuer's keys it names. Keys that it brings along, or tells where to fetch, are not even read.
    pub(super) fn key_id(&self) -> Option<String> {
        self.head.get("kid")
    }

    /// The algorithm is the key's. What the token says of it can only be wrong.
    pub(super) fn signed_by(&self, key: &Key) -> Result<(), Unknown> {
        if self.algorithm != key.algorithm {
            return Err(Unknown::Algorithm);
        }
        let message = self.message.as_bytes();
        match crypto::verify(self.signature, message, &key.decoding, key.algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Unknown::Invalid),
        }
    }
}

/// What an issuer's tokens have to say.
pub(super) struct Rules {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) lifetime_seconds_max: u64,
    /// The claim that is the user.
    pub(super) user: String,
    /// The claim of an administrator, and what it is, or has in its list.
    pub(super) admin: Option<(String, Value)>,
}

impl Rules {
    /// `now` in seconds since 1970.
    pub(super) fn judge(&self, claims: &Object, now: u64) -> Result<Bearer, Unknown> {
        if claims.get("iss").is_none_or(|issuer: String| issuer != self.issuer) {
            return Err(Unknown::Iss);
        }
        let audience = claims.get("aud").ok_or(Unknown::Aud)?;
        if !is_or_has(&audience, &self.audience.as_str().into()) {
            return Err(Unknown::Aud);
        }
        let begun = |seconds: &u64| *seconds <= now.saturating_add(AHEAD_SECONDS_MAX);
        let issued = claims.get("iat").filter(begun).ok_or(Unknown::Iat)?;
        if claims.has("nbf") && !claims.get("nbf").is_some_and(|seconds| begun(&seconds)) {
            return Err(Unknown::Nbf);
        }
        let expires: u64 = claims.get("exp").ok_or(Unknown::Exp)?;
        let lifetime = expires.checked_sub(issued).ok_or(Unknown::Exp)?;
        if now > expires {
            return Err(Unknown::Expired);
        }
        if lifetime > self.lifetime_seconds_max {
            return Err(Unknown::TooLong);
        }
        claims.get::<String>("sub").ok_or(Unknown::Sub)?;
        let user: String = claims.get(&self.user).ok_or(Unknown::User)?;
        if !access::is_user(&user) {
            return Err(Unknown::User);
        }
        let is_admin =
            |(name, wanted): &(String, Value)| claims.get(name).is_some_and(|value| is_or_has(&value, wanted));
        let admin = self.admin.as_ref().is_some_and(is_admin);
        Ok(Bearer {
            caller: Caller { user, admin },
            until: i64::try_from(expires).unwrap_or(i64::MAX),
            local: None,
        })
    }
}

fn is_or_has(value: &Value, wanted: &Value) -> bool {
    value == wanted || value.as_array().is_some_and(|values| values.contains(wanted))
}

/// JSON in which no name stands twice, so that no two readers take different values. A value is parsed only when it is
/// asked for, as what it has to be; `serde_json` gives up on one that is nested deeper than 128.
pub(super) struct Object(HashMap<String, Box<RawValue>>);

impl Object {
    pub(super) fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object, A::Error> {
                let mut object = HashMap::new();
                while let Some((name, value)) = members.next_entry::<String, _>()? {
                    if object.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(Object(object))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
