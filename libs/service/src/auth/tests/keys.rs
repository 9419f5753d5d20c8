//! What the keys of an outside issuer go through: changes, outages, floods.

use super::{
    super::{LocalKey, Unknown, Verifier},
    Signer,
    issuer::Issuer,
    message, refused, said,
};
use eventlog::Clock;
use serde_json::{Value, json};
use std::{pin::pin, time::Duration};

// covers E16
#[tokio::test]
async fn keys_change_under_way_and_old_ones_are_taken_no_more() {
    let mut issuer = Issuer::start(&[Signer::ed25519()]).await;
    let config = issuer.config();
    let verifier = issuer.verifier(&config, true);
    let old = Signer::ed25519().sign(&issuer.claims());
    assert_eq!(said(&verifier, &old).await, "ada");
    issuer.shows(&[Signer::p256()]);
    assert_eq!(said(&verifier, &old).await, "ada", "nobody knows yet");
    assert_eq!(said(&verifier, &Signer::p256().sign(&issuer.claims())).await, "ada");
    assert_eq!(said(&verifier, &old).await, "TOKEN_KEY_UNKNOWN");
}

// covers E16
#[tokio::test]
async fn an_issuer_that_is_away_takes_no_keys_with_it() {
    let mut issuer = Issuer::start(&[]).await;
    issuer.answers(None);
    let config = issuer.config();
    let verifier = issuer.verifier(&config, true);
    let token = Signer::ed25519().sign(&issuer.claims());
    assert_eq!(refused(&verifier, &token).await, Some(Unknown::KeysUnavailable));
    issuer.shows(&[Signer::ed25519()]);
    while refused(&verifier, &token).await == Some(Unknown::KeysUnavailable) {}
    assert_eq!(
        said(&verifier, &token).await,
        "ada",
        "it is asked again until it answers"
    );

    let unknown = Signer::of_seed("unknown", [9; 32]).sign(&issuer.claims());
    let much = json!({ "keys": [Signer::p256().jwk], "about": "x".repeat(300_000) });
    for answer in [None, Some(json!({ "keys": [] })), Some(json!("no keys")), Some(much)] {
        issuer.shows(&[Signer::ed25519()]);
        while refused(&verifier, &unknown).await == Some(Unknown::KeysUnavailable) {}
        issuer.answers(answer.clone());
        assert_eq!(
            refused(&verifier, &unknown).await,
            Some(Unknown::KeysUnavailable),
            "{answer:?}"
        );
        assert_eq!(said(&verifier, &token).await, "ada", "{answer:?}");
    }
}

// covers E16
#[tokio::test]
async fn ten_thousand_unknown_keys_are_one_fetch_and_nobody_else_waits() {
    let mut issuer = Issuer::of_all_kinds().await;
    let config = issuer.config();
    let verifier = issuer.verifier(&config, false);
    let good = Signer::ed25519().sign(&issuer.claims());
    assert_eq!(said(&verifier, &good).await, "ada");
    let claims = issuer.claims().to_string();
    for number in 0..10_000 {
        let head = json!({ "alg": "EdDSA", "kid": format!("{number}") }).to_string();
        let token = format!("{}.c2lnbmVk", message(&head, &claims));
        assert_eq!(refused(&verifier, &token).await, Some(Unknown::KeyUnknown));
    }
    assert_eq!(issuer.fetches(), 1);
    assert_eq!(said(&verifier, &Signer::p256().sign(&issuer.claims())).await, "ada");

    // While a slow issuer is asked, too.
    let mut slow = Issuer::start(&[Signer::ed25519()]).await;
    let config = slow.config();
    let verifier = slow.verifier(&config, true);
    let good = Signer::ed25519().sign(&slow.claims());
    assert_eq!(said(&verifier, &good).await, "ada");
    slow.stalls(true);
    let unknown = Signer::of_seed("unknown", [9; 32]).sign(&slow.claims());
    let mut waiting = pin!(refused(&verifier, &unknown));
    assert!(futures::poll!(&mut waiting).is_pending());
    // Not the same token, which is remembered.
    let other = Signer::ed25519().sign(&slow.claims_with("sub", json!("bob")));
    assert_eq!(said(&verifier, &other).await, "bob");
    assert!(futures::poll!(&mut waiting).is_pending());
    slow.stalls(false);
    assert_eq!(waiting.await, Some(Unknown::KeyUnknown));
    assert_eq!(slow.fetches(), 2);
}

#[tokio::test]
async fn the_platforms_own_tokens_are_taken_beside_it_if_there_is_a_key() {
    let data = tempfile::tempdir().unwrap();
    let key = LocalKey::open(data.path()).unwrap();
    let local = key
        .sign("root", true, Duration::from_hours(1), &Clock::system())
        .unwrap();
    let mut issuer = Issuer::of_all_kinds().await;
    let config = issuer.config();
    let alone = issuer.verifier(&config, false);
    let config = issuer.config().with("data", data.path()).unwrap();
    let both = issuer.verifier(&config, false);
    let outside = Signer::ed25519().sign(&issuer.claims());
    assert_eq!(
        (said(&both, &local).await.as_str(), said(&both, &outside).await.as_str()),
        ("root", "ada")
    );
    assert_eq!(said(&alone, &local).await, "TOKEN_CLAIM_ISS");
    assert_eq!(said(&alone, &outside).await, "ada");
}

#[tokio::test]
async fn what_comes_in_the_clear_comes_from_this_machine() {
    let issuer = Issuer::start(&[]).await;
    for (key, value, sentence) in [
        ("auth.issuer", "http://issuer.example", "has to begin with https://"),
        ("auth.issuer", "issuer.example", "is no address"),
        ("auth.jwks_url", "http://10.0.0.1/keys", "has to begin with https://"),
        ("auth.jwks_url", "file:///etc/passwd", "has to begin with https://"),
        ("auth.admin_claim", "cooperage-admins", "expected name=value"),
        ("auth.audience", "", "is missing"),
    ] {
        let opened = Verifier::open(&issuer.config().with(key, value).unwrap());
        let error = opened.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(
            error.starts_with(key) && error.contains(sentence),
            "{key}={value}: {error}"
        );
    }
}

// covers E16
#[tokio::test]
async fn keys_for_something_else_are_no_keys() {
    let with = |jwk: &Value, name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    let (ed, ec, rsa) = (Signer::ed25519().jwk, Signer::p256().jwk, Signer::rsa().jwk);
    for (what, signer, jwk) in [
        ("encryption", Signer::ed25519(), with(&ed, "use", json!("enc"))),
        ("signing only", Signer::ed25519(), with(&ed, "key_ops", json!(["sign"]))),
        ("another algorithm", Signer::rsa(), with(&rsa, "alg", json!("PS256"))),
        (
            "a secret",
            Signer::ed25519(),
            json!({ "kty": "oct", "k": ed["x"], "kid": "ed" }),
        ),
        ("another curve", Signer::p256(), with(&ec, "crv", json!("P-384"))),
        ("a point elsewhere", Signer::p256(), with(&ec, "y", ec["x"].clone())),
        ("a short key", Signer::ed25519(), with(&ed, "x", json!("AAAA"))),
        ("1024 bits", Signer::rsa(), with(&rsa, "n", json!("x".repeat(171)))),
        ("no name", Signer::ed25519(), with(&ed, "kid", Value::Null)),
    ] {
        let mut issuer = Issuer::start(&[]).await;
        let other = Signer::of_seed("other", [8; 32]);
        issuer.answers(Some(json!({ "keys": [jwk, other.jwk, "what is this?"] })));
        let config = issuer.config();
        let verifier = issuer.verifier(&config, false);
        let claims = issuer.claims();
        assert_eq!(
            said(&verifier, &other.sign(&claims)).await,
            "ada",
            "the others are good, beside {what}"
        );
        assert_eq!(
            said(&verifier, &signer.sign(&claims)).await,
            "TOKEN_KEY_UNKNOWN",
            "{what}"
        );
    }
}
