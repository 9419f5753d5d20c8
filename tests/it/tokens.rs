//! Who is let in: tokens of the platform's own key, which can be taken back, and of an outside issuer.

use axum::{Json, Router, routing::get};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use proto::catalog::v1::{ListWorkspacesRequest, WatchImagesRequest};
use serde_json::{Value, json};
use std::{
    fs,
    process::Command,
    time::{Duration, Instant, SystemTime},
};
use tests::{Home, Platform, Shape, User, binary, reason};
use tokio::net::TcpListener;
use tonic::{Code, Status};

async fn workspaces(user: &User) -> Result<usize, Status> {
    let listed = user
        .workspaces()
        .list_workspaces(ListWorkspacesRequest::default())
        .await?;
    Ok(listed.into_inner().workspaces.len())
}

/// `cooper token` on the platform's key, and what it says.
fn token(platform: &Platform, words: &[&str]) -> String {
    let mut command = Command::new(binary("cooper").unwrap());
    let keys = platform.data().join("keys");
    let output = command
        .arg("token")
        .args(words)
        .arg("--keys")
        .arg(keys)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn taken_back(shape: Shape) {
    let platform = Platform::start(shape).await.unwrap();
    let bob = platform
        .bearer(&token(&platform, &["create", "--user", "bob"]))
        .unwrap();
    let bobs_other = platform
        .bearer(&token(&platform, &["create", "--user", "bob"]))
        .unwrap();
    let workspace = bob.workspace("vision").await.unwrap();
    let mut tiles = bob
        .images()
        .watch_images(WatchImagesRequest { workspace })
        .await
        .unwrap()
        .into_inner();
    while !tiles.message().await.unwrap().unwrap().caught_up {}
    let listed = token(&platform, &["ls", "-q"]);
    let ids: Vec<&str> = listed.lines().collect();
    let [first, second] = ids[..] else {
        panic!("{listed}");
    };

    let begun = Instant::now();
    token(&platform, &["revoke", first]);
    let ended = tiles.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), reason(&ended).as_str()),
        (Code::Unauthenticated, "TOKEN_REVOKED")
    );
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let refused = workspaces(&bob).await.unwrap_err();
    assert_eq!(reason(&refused), "TOKEN_REVOKED");
    assert_eq!(
        refused.message(),
        "the token was taken back: ask for a new one and run `cooper login`"
    );
    assert_eq!(token(&platform, &["ls", "-q"]), second);
    assert_eq!(workspaces(&bobs_other).await.unwrap(), 1);

    token(&platform, &["revoke", "--user", "bob"]);
    while workspaces(&bobs_other).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is never refused");
    }
    // Every service of the platform follows, each by itself.
    while reason(&bobs_other.revision("vision/tool", None).await.unwrap_err()) != "TOKEN_REVOKED" {
        assert!(begun.elapsed() < Duration::from_secs(10), "the editor never refuses it");
    }
    let next = platform
        .bearer(&token(&platform, &["create", "--user", "bob"]))
        .unwrap();
    assert_eq!(workspaces(&next).await.unwrap(), 1);
}

#[tokio::test]
async fn a_token_is_taken_back_on_one_process() {
    taken_back(Shape::One).await;
}

#[tokio::test]
async fn a_token_is_taken_back_on_separate_processes() {
    taken_back(Shape::Many).await;
}

// covers R8, E16
#[tokio::test]
async fn an_outside_issuer_says_who_calls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let pem = fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../libs/service/src/auth/tests/ec.pem"
    ))
    .unwrap();
    let key = EncodingKey::from_ec_pem(&pem).unwrap();
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap()).unwrap();
    jwk["kid"] = json!("first");
    let app = Router::new().route("/keys", get(Json(json!({ "keys": [jwk] }))));
    let signed = |kid: &str, claims: &Value| {
        let mut head = Header::new(Algorithm::ES256);
        head.kid = Some(kid.to_owned());
        jsonwebtoken::encode(&head, claims, &key).unwrap()
    };
    let served = async { axum::serve(listener, app).await };
    let calls = async {
        let home = Home::with(&[catalog::SERVICE], |config| {
            let config = config.with("auth.issuer", &issuer)?;
            let config = config.with("auth.jwks_url", format!("{issuer}/keys"))?;
            config.with("auth.admin_claim", "groups=operators")
        });
        let home = home.await.unwrap();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let claims = json!({ "iss": issuer, "aud": "cooperage", "sub": "ada", "iat": now, "exp": now + 600 });
        let ada = home.bearer(&signed("first", &claims)).unwrap();
        ada.workspace("vision").await.unwrap();
        assert_eq!(workspaces(&ada).await.unwrap(), 1);
        // The same user, whoever says so.
        let local = home.user("ada").unwrap();
        local.saw(ada.saw(0));
        assert_eq!(workspaces(&local).await.unwrap(), 1);

        let with = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            claims
        };
        let mut operator = with("groups", json!(["staff", "operators"]));
        operator["sub"] = json!("olga");
        let operator = home.bearer(&signed("first", &operator)).unwrap();
        operator.saw(ada.saw(0));
        assert_eq!(workspaces(&operator).await.unwrap(), 1, "an administrator sees all");

        for (kid, claims, expected) in [
            ("second", claims.clone(), "TOKEN_KEY_UNKNOWN"),
            ("first", with("aud", json!("others")), "TOKEN_CLAIM_AUD"),
            ("first", with("sub", json!("system:builder")), "TOKEN_CLAIM_USER"),
            ("first", with("exp", json!(now + 86_400)), "TOKEN_TOO_LONG"),
        ] {
            let nobody = home.bearer(&signed(kid, &claims)).unwrap();
            let refused = workspaces(&nobody).await.unwrap_err();
            assert_eq!(
                (refused.code(), reason(&refused).as_str()),
                (Code::Unauthenticated, expected)
            );
        }
    };
    tokio::select! {
        () = calls => (),
        ended = served => panic!("{ended:?}"),
    }
}
