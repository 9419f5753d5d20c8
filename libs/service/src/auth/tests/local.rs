//! The platform's own tokens.

use super::{
    super::{LIFETIME_MAX, LocalKey, Unknown, Verifier},
    Signer, refused, said,
};
use crate::Config;
use eventlog::Clock;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use std::{
    fs,
    time::{Duration, UNIX_EPOCH},
};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_hours(1);

fn given() -> (TempDir, LocalKey, Verifier) {
    let data = tempfile::tempdir().unwrap();
    let key = LocalKey::open(data.path()).unwrap();
    let config = Config::defaults().and_then(|config| config.with("data", data.path()));
    let verifier = Verifier::open(&config.unwrap()).unwrap();
    (data, key, verifier)
}

fn seconds() -> u64 {
    u64::try_from(Clock::system().now_ms() / 1_000).unwrap()
}

// covers R8
#[tokio::test]
async fn only_a_living_token_of_our_own_key_says_who_calls() {
    let (_ours, key, mut verifier) = given();
    let (_others, other_key, _) = given();
    let now = Clock::system();

    let token = key.sign("ada", false, HOUR, &now).unwrap();
    assert_eq!(said(&verifier, &token).await, "ada");
    assert_eq!(verifier.check(None).await, Err(Unknown::Missing));
    assert_eq!(verifier.check(Some(&token)).await, Err(Unknown::Invalid));
    let foreign = other_key.sign("ada", true, HOUR, &now).unwrap();
    assert_eq!(refused(&verifier, &foreign).await, Some(Unknown::Invalid));
    let long_ago = Clock::fixed(UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    let old = key.sign("ada", false, HOUR, &long_ago).unwrap();
    assert_eq!(refused(&verifier, &old).await, Some(Unknown::Expired));

    assert_eq!(said(&verifier, &token).await, "ada", "a checked token is known again");
    verifier.clock = Clock::fixed(now.now() + HOUR * 2);
    assert_eq!(refused(&verifier, &token).await, Some(Unknown::Expired));
}

// covers E16
#[tokio::test]
async fn our_key_signs_in_its_own_way_and_not_for_ever() {
    let (data, key, verifier) = given();
    let private = fs::read(data.path().join("keys/token.key")).unwrap();
    let signer = Signer {
        id: "",
        algorithm: Algorithm::EdDSA,
        key: EncodingKey::from_ed_pem(&private).unwrap(),
        jwk: Value::Null,
    };
    let claims = |days: u64| {
        let (now, aud) = (seconds(), "cooperage");
        json!({ "iss": "cooperage-local", "aud": aud, "sub": "eve", "iat": now, "exp": now + days * 86_400, "admin": true })
    };
    assert_eq!(
        said(&verifier, &signer.sign(&claims(90))).await,
        "eve",
        "one of before there were ids"
    );
    assert_eq!(
        refused(&verifier, &signer.sign(&claims(91))).await,
        Some(Unknown::TooLong)
    );
    let public = fs::read(key.public()).unwrap();
    let forged = Signer {
        id: "",
        algorithm: Algorithm::HS256,
        key: EncodingKey::from_secret(&public),
        jwk: Value::Null,
    };
    assert_eq!(
        refused(&verifier, &forged.sign(&claims(1))).await,
        Some(Unknown::Algorithm)
    );
    let signed = signer.sign(&claims(1));
    let (message, _) = signed.rsplit_once('.').unwrap();
    assert_eq!(refused(&verifier, &format!("{message}.")).await, Some(Unknown::Invalid));
    assert!(key.sign("ada", false, LIFETIME_MAX + HOUR, &Clock::system()).is_err());
}

#[tokio::test]
async fn a_token_that_is_taken_back_is_refused_also_by_who_knew_it() {
    let (_data, key, verifier) = given();
    let clock = Clock::system();
    let (first, first_made) = key.create("ada", false, HOUR, &clock).unwrap();
    let (second, _) = key.create("ada", false, HOUR, &clock).unwrap();
    let others = key.sign("bob", false, HOUR, &clock).unwrap();
    assert_eq!(said(&verifier, &first).await, "ada");
    let bearer = verifier.check(Some(&format!("Bearer {first}"))).await.unwrap();
    let ended = verifier.revoked("ada", bearer.local.as_ref());

    let checks = async {
        assert!(key.journal().revoke(&first_made.id).unwrap());
        ended.await;
        assert_eq!(refused(&verifier, &first).await, Some(Unknown::Revoked));
        assert_eq!(said(&verifier, &second).await, "ada");
        assert!(!key.journal().revoke(&first_made.id).unwrap(), "it was already");
        assert!(key.journal().revoke("01J").is_err(), "a slip is told");

        let bearer = verifier.check(Some(&format!("Bearer {second}"))).await.unwrap();
        key.journal().revoke_all("ada", seconds()).unwrap();
        verifier.revoked("ada", bearer.local.as_ref()).await;
        assert_eq!(refused(&verifier, &second).await, Some(Unknown::Revoked));
        assert_eq!(said(&verifier, &others).await, "bob");
        let next = key.sign("ada", false, HOUR, &clock).unwrap();
        assert_eq!(
            said(&verifier, &next).await,
            "ada",
            "made in the same second, and later"
        );
    };
    tokio::select! {
        () = checks => (),
        () = verifier.keep() => (),
    }
}

#[tokio::test]
async fn what_was_taken_back_stays_so_when_the_list_is_lost() {
    let (data, key, _) = given();
    let (token, made) = key.create("ada", false, HOUR, &Clock::system()).unwrap();
    let list = data.path().join("keys/tokens");
    key.journal().revoke(&made.id).unwrap();
    let whole = fs::read_to_string(&list).unwrap();
    // A line without an end is being written.
    fs::write(&list, format!("{whole}{{\"revo")).unwrap();
    assert_eq!(key.journal().read().unwrap().created(), [made]);
    fs::write(&list, format!("{whole}nonsense\n")).unwrap();
    let error = key.journal().read().unwrap_err();
    assert!(format!("{error:#}").contains("tokens, line 3"), "{error:#}");

    fs::write(&list, whole).unwrap();
    let config = Config::defaults()
        .and_then(|config| config.with("data", data.path()))
        .unwrap();
    let verifier = Verifier::open(&config).unwrap();
    assert_eq!(refused(&verifier, &token).await, Some(Unknown::Revoked));
    fs::remove_file(&list).unwrap();
    assert!(verifier.local.as_ref().unwrap().reload().is_err());
    assert_eq!(refused(&verifier, &token).await, Some(Unknown::Revoked));
    let error = Verifier::open(&config)
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    assert!(error.contains("belongs beside the key for tokens"), "{error}");
}
