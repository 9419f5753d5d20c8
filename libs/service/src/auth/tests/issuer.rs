//! An issuer on this machine that can be watched, changed and stopped.

use super::{super::Verifier, Signer};
use crate::Config;
use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use eventlog::Clock;
use serde_json::{Value, json};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

pub(super) struct Issuer {
    pub(super) name: String,
    pub(super) shown: Arc<Shown>,
    tasks: JoinSet<()>,
}

pub(super) struct Shown {
    /// None is an outage.
    keys: Mutex<Option<Value>>,
    fetches: AtomicUsize,
    /// While it is true, nothing is answered.
    stalled: watch::Sender<bool>,
}

impl Issuer {
    pub(super) async fn start(signers: &[Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = format!("http://{}/realm", listener.local_addr().unwrap());
        let shown = Arc::new(Shown {
            keys: Mutex::default(),
            fetches: AtomicUsize::default(),
            stalled: watch::Sender::default(),
        });
        let about = json!({ "issuer": name, "jwks_uri": format!("{name}/keys") });
        let routes = Router::new()
            .route("/realm/.well-known/openid-configuration", get(Json(about)))
            .route("/realm/keys", get(keys))
            .with_state(shown.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let issuer = Self { name, shown, tasks };
        issuer.shows(signers);
        issuer
    }

    pub(super) async fn of_all_kinds() -> Self {
        Self::start(&[Signer::ed25519(), Signer::p256(), Signer::rsa()]).await
    }

    pub(super) fn shows(&self, signers: &[Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk.clone()).collect();
        self.answers(Some(json!({ "keys": keys })));
    }

    pub(super) fn answers(&self, keys: Option<Value>) {
        *self.shown.keys.lock().unwrap() = keys;
    }

    pub(super) fn stalls(&self, stalled: bool) {
        self.shown.stalled.send_replace(stalled);
    }

    pub(super) fn fetches(&self) -> usize {
        self.shown.fetches.load(Ordering::SeqCst)
    }

    pub(super) fn config(&self) -> Config {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nowhere = std::env::temp_dir().join("cooperage-without-a-key");
        let config = Config::defaults().and_then(|config| config.with("auth.issuer", &self.name));
        config.and_then(|config| config.with("data", nowhere)).unwrap()
    }

    /// Who takes its tokens, and fetches its keys as soon as it needs to if `eager`.
    pub(super) fn verifier(&mut self, config: &Config, eager: bool) -> Arc<Verifier> {
        let mut verifier = Verifier::open(config).unwrap();
        if let Some(outside) = verifier.outside.as_mut().filter(|_| eager) {
            outside.keys.rest = std::time::Duration::ZERO;
        }
        let verifier = Arc::new(verifier);
        let keeping = verifier.clone();
        self.tasks.spawn(async move { keeping.keep().await });
        verifier
    }

    /// Those of a good token of `ada`'s that lives ten minutes.
    pub(super) fn claims(&self) -> Value {
        let now = now();
        json!({ "iss": self.name, "aud": "cooperage", "sub": "ada", "iat": now, "exp": now + 600 })
    }

    /// The same with one of them replaced, or taken away by null.
    pub(super) fn claims_with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value;
        }
        claims
    }
}

pub(super) fn now() -> i64 {
    Clock::system().now_ms() / 1_000
}

async fn keys(State(shown): State<Arc<Shown>>) -> Result<Json<Value>, StatusCode> {
    shown.fetches.fetch_add(1, Ordering::SeqCst);
    let mut stalled = shown.stalled.subscribe();
    let _ = stalled.wait_for(|stalled| !stalled).await;
    let keys = shown.keys.lock().unwrap().clone();
    keys.map(Json).ok_or(StatusCode::BAD_GATEWAY)
}
