//! Tokens of an outside issuer, table by table: the algorithm, the key, the claims, the lifetime, the size.

use super::{
    super::Verifier,
    Signer,
    issuer::{Issuer, now},
    message, said,
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use std::sync::Arc;

async fn given() -> (Issuer, Arc<Verifier>) {
    let mut issuer = Issuer::of_all_kinds().await;
    let config = issuer.config();
    let verifier = issuer.verifier(&config, false);
    (issuer, verifier)
}

/// Tells all that is wrong at once.
async fn assert_said(verifier: &Verifier, table: impl IntoIterator<Item = (&str, String, &str)>) {
    let mut wrong = Vec::new();
    for (what, token, expected) in table {
        let said = said(verifier, &token).await;
        if said != expected {
            wrong.push(format!("{what}: {said}, and not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// covers E16
#[tokio::test]
async fn the_algorithm_is_that_of_the_key() {
    let (issuer, verifier) = given().await;
    let (ed, ec, rsa) = (Signer::ed25519(), Signer::p256(), Signer::rsa());
    let claims = issuer.claims();
    let text = claims.to_string();
    let head = |alg: Value, kid: &str| json!({ "alg": alg, "kid": kid }).to_string();
    let unsigned = |alg: &str| format!("{}.", message(&head(alg.into(), "rsa"), &text));
    let modulus = rsa.jwk["n"].as_str().unwrap().to_owned();
    let by_public_key = |secret: &[u8]| {
        let message = message(&head("HS256".into(), "rsa"), &text);
        let secret = EncodingKey::from_secret(secret);
        let signature = crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    };
    let of_another = Signer::of_seed("ed", [8; 32]);
    let table = [
        ("EdDSA", ed.sign(&claims), "ada"),
        ("ES256", ec.sign(&claims), "ada"),
        ("RS256", rsa.sign(&claims), "ada"),
        ("none", unsigned("none"), "TOKEN_ALG"),
        ("None", unsigned("None"), "TOKEN_ALG"),
        ("RS256 without a signature", unsigned("RS256"), "TOKEN_INVALID"),
        (
            "HS256 with the public key",
            by_public_key(modulus.as_bytes()),
            "TOKEN_ALG",
        ),
        (
            "no algorithm",
            ed.sign_text(&json!({ "kid": "ed" }).to_string(), &text),
            "TOKEN_ALG",
        ),
        ("a number", ed.sign_text(&head(8.into(), "ed"), &text), "TOKEN_ALG"),
        (
            "another of the list",
            ed.sign_text(&head("RS256".into(), "ed"), &text),
            "TOKEN_ALG",
        ),
        (
            "a key of another kind",
            ed.sign_text(&head("EdDSA".into(), "ec"), &text),
            "TOKEN_ALG",
        ),
        ("another key of its kind", of_another.sign(&claims), "TOKEN_INVALID"),
    ];
    assert_said(&verifier, table).await;
}

// covers E16
#[tokio::test]
async fn a_token_names_a_key_and_brings_none() {
    let (issuer, verifier) = given().await;
    let ed = Signer::ed25519();
    let mallory = Signer::of_seed("mallory", [9; 32]);
    let claims = issuer.claims().to_string();
    let with = |signer: &Signer, name: &str, value: Value| {
        let mut head = signer.head();
        head[name] = value;
        signer.sign_text(&head.to_string(), &claims)
    };
    let elsewhere = || json!(format!("{}/keys", issuer.name));
    let impostor = Signer::of_seed("ed", [9; 32]);
    let table = [
        ("a known key", ed.sign_text(&ed.head().to_string(), &claims), "ada"),
        (
            "what else it says is not read",
            with(&ed, "jku", json!("https://elsewhere.example/keys")),
            "ada",
        ),
        ("a path", with(&ed, "kid", json!("../../dev/null")), "TOKEN_KEY_UNKNOWN"),
        ("a query", with(&ed, "kid", json!("' OR 1=1")), "TOKEN_KEY_UNKNOWN"),
        (
            "a long one",
            with(&ed, "kid", json!("k".repeat(4_096))),
            "TOKEN_KEY_UNKNOWN",
        ),
        ("a number", with(&ed, "kid", json!(1)), "TOKEN_KEY_UNKNOWN"),
        (
            "its own key",
            with(&mallory, "jwk", mallory.jwk.clone()),
            "TOKEN_KEY_UNKNOWN",
        ),
        (
            "its own key by a known name",
            with(&impostor, "jwk", impostor.jwk.clone()),
            "TOKEN_INVALID",
        ),
        (
            "keys elsewhere",
            with(&mallory, "jku", elsewhere()),
            "TOKEN_KEY_UNKNOWN",
        ),
        (
            "a certificate elsewhere",
            with(&mallory, "x5u", elsewhere()),
            "TOKEN_KEY_UNKNOWN",
        ),
        ("an extension", with(&ed, "crit", json!(["exp"])), "TOKEN_CRIT"),
        ("an unencoded payload", with(&ed, "crit", json!(["b64"])), "TOKEN_CRIT"),
        ("no extension", with(&ed, "crit", json!([])), "TOKEN_CRIT"),
    ];
    assert_said(&verifier, table).await;
    assert_eq!(issuer.fetches(), 1, "nothing that a token says is fetched");
}

// covers E16
#[tokio::test]
async fn each_claim_is_there_and_of_its_type() {
    let (issuer, verifier) = given().await;
    let ed = Signer::ed25519();
    let at = now();
    let with = |name: &str, value: Value| ed.sign(&issuer.claims_with(name, value));
    // What no JSON value can hold.
    let exp = |text: &str| {
        let claims = issuer.claims_with("exp", json!("HERE")).to_string();
        ed.sign_text(&ed.head().to_string(), &claims.replace("\"HERE\"", text))
    };
    let table = [
        (
            "one of several audiences",
            with("aud", json!(["others", "cooperage"])),
            "ada",
        ),
        ("since a minute ahead", with("nbf", json!(at + 50)), "ada"),
        (
            "exp in quotes",
            with("exp", json!((at + 600).to_string())),
            "TOKEN_CLAIM_EXP",
        ),
        (
            "exp with a fraction",
            exp(&format!("{}.5", at + 600)),
            "TOKEN_CLAIM_EXP",
        ),
        ("exp as a float", exp(&format!("{}.0", at + 600)), "TOKEN_CLAIM_EXP"),
        ("exp below zero", exp("-1"), "TOKEN_CLAIM_EXP"),
        ("exp beyond all", exp("1e400"), "TOKEN_CLAIM_EXP"),
        ("exp null", exp("null"), "TOKEN_CLAIM_EXP"),
        ("no exp", with("exp", Value::Null), "TOKEN_CLAIM_EXP"),
        ("exp before iat", with("exp", json!(at - 1)), "TOKEN_CLAIM_EXP"),
        ("iat in quotes", with("iat", json!(at.to_string())), "TOKEN_CLAIM_IAT"),
        ("iat ahead", with("iat", json!(at + 300)), "TOKEN_CLAIM_IAT"),
        ("no iat", with("iat", Value::Null), "TOKEN_CLAIM_IAT"),
        ("nbf in quotes", with("nbf", json!("9999999999")), "TOKEN_CLAIM_NBF"),
        ("nbf ahead", with("nbf", json!(at + 300)), "TOKEN_CLAIM_NBF"),
        (
            "iss with a slash",
            with("iss", json!(format!("{}/", issuer.name))),
            "TOKEN_CLAIM_ISS",
        ),
        ("iss as a list", with("iss", json!([issuer.name])), "TOKEN_CLAIM_ISS"),
        ("no iss", with("iss", Value::Null), "TOKEN_CLAIM_ISS"),
        (
            "the platform's own iss",
            with("iss", json!("cooperage-local")),
            "TOKEN_CLAIM_ISS",
        ),
        (
            "other audiences",
            with("aud", json!(["others", "cooperage-2"])),
            "TOKEN_CLAIM_AUD",
        ),
        (
            "aud in a list in a list",
            with("aud", json!([["cooperage"]])),
            "TOKEN_CLAIM_AUD",
        ),
        ("no aud", with("aud", Value::Null), "TOKEN_CLAIM_AUD"),
        ("no sub", with("sub", Value::Null), "TOKEN_CLAIM_SUB"),
        ("sub as a number", with("sub", json!(7)), "TOKEN_CLAIM_SUB"),
        ("two words", with("sub", json!("ada lovelace")), "TOKEN_CLAIM_USER"),
        ("nobody", with("sub", json!("")), "TOKEN_CLAIM_USER"),
        ("the platform", with("sub", json!("system:builder")), "TOKEN_CLAIM_USER"),
    ];
    assert_said(&verifier, table).await;
}

// covers E16
#[tokio::test]
async fn a_token_lives_as_long_as_the_setting_lets_it() {
    let (issuer, verifier) = given().await;
    let ed = Signer::ed25519();
    let lives = |from: i64, to: i64| {
        let mut claims = issuer.claims_with("iat", json!(now() + from));
        claims["exp"] = json!(now() + to);
        ed.sign(&claims)
    };
    let table = [
        ("a quarter of an hour", lives(-1, 899), "ada"),
        ("a second more", lives(-1, 900), "TOKEN_TOO_LONG"),
        ("ten years", lives(0, 10 * 365 * 86_400), "TOKEN_TOO_LONG"),
        (
            "for ever",
            ed.sign(&issuer.claims_with("exp", json!(u64::MAX))),
            "TOKEN_TOO_LONG",
        ),
        ("until before", lives(-100, -5), "TOKEN_EXPIRED"),
    ];
    assert_said(&verifier, table).await;
}

// covers E16
#[tokio::test]
async fn a_token_is_small_and_says_each_thing_once() {
    let (issuer, verifier) = given().await;
    let ed = Signer::ed25519();
    let (head, claims) = (ed.head().to_string(), issuer.claims().to_string());
    let also = |more: &str| ed.sign_text(&head, &claims.replacen('{', &format!("{{{more},"), 1));
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let good = ed.sign(&issuer.claims());
    let parts: Vec<&str> = good.split('.').collect();
    let deep = |depth: usize| {
        let claims = issuer.claims_with("aud", json!("HERE")).to_string();
        ed.sign_text(&head, &claims.replace("\"HERE\"", &nested(depth)))
    };
    let table = [
        ("7 KB", also(&format!("\"about\":\"{}\"", "x".repeat(5_000))), "ada"),
        (
            "1 MB",
            also(&format!("\"about\":\"{}\"", "x".repeat(1_000_000))),
            "TOKEN_TOO_LARGE",
        ),
        ("10,000 deep", deep(10_000), "TOKEN_TOO_LARGE"),
        ("2,500 deep", deep(2_500), "TOKEN_CLAIM_AUD"),
        (
            "2,500 deep where nobody looks",
            also(&format!("\"about\":{}", nested(2_500))),
            "ada",
        ),
        ("two owners", also("\"sub\":\"eve\""), "TOKEN_INVALID"),
        (
            "two owners, once escaped",
            also("\"s\\u0075b\":\"eve\""),
            "TOKEN_INVALID",
        ),
        (
            "two algorithms",
            ed.sign_text(&head.replacen('{', "{\"alg\":\"none\",", 1), &claims),
            "TOKEN_INVALID",
        ),
        ("two parts", parts[..2].join("."), "TOKEN_INVALID"),
        ("four parts", format!("{good}.x"), "TOKEN_INVALID"),
        (
            "padding",
            format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
            "TOKEN_INVALID",
        ),
        ("a list", ed.sign_text(&head, "[]"), "TOKEN_INVALID"),
        ("nothing", String::new(), "TOKEN_INVALID"),
    ];
    assert_said(&verifier, table).await;
}

#[tokio::test]
async fn another_claim_may_be_the_user_and_one_makes_an_administrator() {
    let mut issuer = Issuer::start(&[Signer::ed25519()]).await;
    let config = issuer.config().with("auth.user_claim", "email");
    let config = config.and_then(|config| config.with("auth.admin_claim", "groups=cooperage-admins"));
    let verifier = issuer.verifier(&config.unwrap(), false);
    let ed = Signer::ed25519();
    let mut claims = issuer.claims_with("email", json!("ada@example.org"));
    for (groups, expected) in [
        (json!(["staff", "cooperage-admins"]), true),
        (json!("cooperage-admins"), true),
        (json!(["cooperage-admins-2"]), false),
        (json!({ "cooperage-admins": true }), false),
        (json!([["cooperage-admins"]]), false),
    ] {
        claims["groups"] = groups;
        let token = format!("Bearer {}", ed.sign(&claims));
        let caller = verifier.check(Some(&token)).await.unwrap().caller;
        assert_eq!(
            (caller.user.as_str(), caller.admin),
            ("ada@example.org", expected),
            "{claims}"
        );
    }
    claims["admin"] = json!(true);
    claims["groups"] = json!([]);
    let token = format!("Bearer {}", ed.sign(&claims));
    assert!(
        !verifier.check(Some(&token)).await.unwrap().caller.admin,
        "only the platform's own say it so"
    );
    assert_eq!(said(&verifier, &ed.sign(&issuer.claims())).await, "TOKEN_CLAIM_USER");
}
