//! Tokens that are taken, and many more that are not.

mod issuer;
mod keys;
mod local;
mod outside;

use super::{Unknown, Verifier};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey as _};
use jsonwebtoken::{Algorithm, EncodingKey, crypto, jwk::Jwk};
use serde_json::{Value, json};

/// A key of an issuer, with its id.
struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
    /// Its public half, as issuers show it.
    jwk: Value,
}

impl Signer {
    fn ed25519() -> Self {
        Self::of_seed("ed", [7; 32])
    }

    /// What follows from the seed is a key like any other.
    fn of_seed(id: &'static str, seed: [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(&seed);
        let x = BASE64_URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        Self {
            id,
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_der(key.to_pkcs8_der().unwrap().as_bytes()),
            jwk: json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": id }),
        }
    }

    fn p256() -> Self {
        let key = EncodingKey::from_ec_pem(include_bytes!("tests/ec.pem")).unwrap();
        Self::of("ec", Algorithm::ES256, key)
    }

    fn rsa() -> Self {
        let key = EncodingKey::from_rsa_pem(include_bytes!("tests/rsa.pem")).unwrap();
        Self::of("rsa", Algorithm::RS256, key)
    }

    fn of(id: &'static str, algorithm: Algorithm, key: EncodingKey) -> Self {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
        jwk["kid"] = id.into();
        Self {
            id,
            algorithm,
            key,
            jwk,
        }
    }

    fn head(&self) -> Value {
        json!({ "alg": format!("{:?}", self.algorithm), "kid": self.id })
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_text(&self.head().to_string(), &claims.to_string())
    }

    /// Signs whatever it is.
    fn sign_text(&self, head: &str, claims: &str) -> String {
        let message = message(head, claims);
        let signature = crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

fn message(head: &str, claims: &str) -> String {
    let encoded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}", encoded(head), encoded(claims))
}

/// Whose token it is, or the reason why it is none.
async fn said(verifier: &Verifier, token: &str) -> String {
    let bearer = verifier.check(Some(&format!("Bearer {token}"))).await;
    bearer.map_or_else(|unknown| unknown.reason().to_owned(), |bearer| bearer.caller.user)
}

async fn refused(verifier: &Verifier, token: &str) -> Option<Unknown> {
    verifier.check(Some(&format!("Bearer {token}"))).await.err()
}
