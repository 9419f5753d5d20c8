//! Signs of life: who watches hears of every one, and of the end of the connection; nobody is there for ever.

use eventlog::{LogError, Presence, Sign};
use futures::{StreamExt as _, stream::BoxStream};
use std::time::Duration;
use tests::NatsServer;
use tokio::time::{sleep, timeout};

const WITHIN: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(50);
const LEASE: Duration = Duration::from_secs(2);

async fn next(signs: &mut BoxStream<'static, Result<Sign, LogError>>) -> Result<Sign, LogError> {
    timeout(WITHIN, signs.next()).await.unwrap().unwrap()
}

fn sign(worker: &str, about: &'static str) -> Sign {
    Sign {
        worker: worker.to_owned(),
        lease: LEASE,
        about: about.into(),
    }
}

/// Until the connection is there again.
async fn renew(presence: &Presence, worker: &str) {
    let renewed = async {
        while presence.renew(worker, LEASE, "".into()).await.is_err() {
            sleep(STEP).await;
        }
    };
    timeout(WITHIN, renewed).await.unwrap();
}

// covers E2
#[tokio::test]
async fn a_sign_is_heard_at_once_and_forgotten_with_its_lease() {
    let server = NatsServer::with_operator().await.unwrap();
    let presence = server.connect("builder").await.unwrap().presence();
    presence.renew("wrk_1", LEASE, "one".into()).await.unwrap();
    let mut signs = server
        .connect("catalog")
        .await
        .unwrap()
        .presence()
        .watch()
        .await
        .unwrap();
    assert_eq!(next(&mut signs).await.unwrap(), sign("wrk_1", "one"));
    presence.renew("wrk_2", LEASE, "two".into()).await.unwrap();
    assert_eq!(next(&mut signs).await.unwrap(), sign("wrk_2", "two"));
    presence.renew("wrk_1", LEASE, "more".into()).await.unwrap();
    assert_eq!(next(&mut signs).await.unwrap(), sign("wrk_1", "more"));

    let operator = server.operator().await.unwrap();
    let forgotten = async {
        let bucket = operator.get_stream("KV_PRESENCE").await.unwrap();
        assert_eq!(bucket.cached_info().state.messages, 2, "one key for each worker");
        while bucket.get_info().await.unwrap().state.messages > 0 {
            sleep(STEP).await;
        }
    };
    timeout(WITHIN, forgotten).await.unwrap();
}

// covers E2
#[tokio::test]
async fn a_restart_ends_a_watch_and_empties_the_bucket_and_signs_go_on() {
    let mut server = NatsServer::start().await.unwrap();
    let presence = server.connect("builder").await.unwrap().presence();
    renew(&presence, "wrk_1").await;
    let mut signs = presence.watch().await.unwrap();
    next(&mut signs).await.unwrap();

    server.kill();
    assert!(
        next(&mut signs).await.is_err(),
        "who watches knows that signs may be missing"
    );
    let refused = presence.renew("wrk_1", LEASE, "".into()).await;
    assert!(matches!(refused, Err(LogError::Unavailable(_))), "{refused:?}");
    server.restart().await.unwrap();
    renew(&presence, "wrk_2").await;
    let mut signs = presence.watch().await.unwrap();
    assert_eq!(
        next(&mut signs).await.unwrap().worker,
        "wrk_2",
        "the first is forgotten"
    );
}
