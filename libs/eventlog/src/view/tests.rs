//! Who waits for a view, who is woken by it, and what is told when it breaks.

use super::*;
use crate::{Append, Envelope, EventLog as _, MemoryLog};
use futures::{FutureExt as _, future::join_all};
use tokio_util::sync::CancellationToken;

/// Whatever comes, it does this.
struct Stating(&'static str);

#[async_trait]
impl Projection for Stating {
    fn name(&self) -> &'static str {
        "stating"
    }

    fn schema(&self) -> &'static str {
        ""
    }

    fn reads(&self) -> &'static [&'static str] {
        &["thing"]
    }

    async fn apply(&self, view: &mut SqliteConnection, _: &[crate::Entry]) -> Result<(), ViewError> {
        sqlx::query(self.0).execute(view).await?;
        Ok(())
    }
}

#[tokio::test]
async fn some_hundreds_wait_and_the_next_is_sent_away_at_once() {
    let views = Views::new(Path::new("/nonexistent"));
    let view = views.open(Stating(""));
    let (one, long) = (Position(1), Duration::from_hours(1));
    let mut waiting = Box::pin(join_all((0..WAITING_MAX).map(|_| view.reach_among_many(one, long))));
    assert!(waiting.as_mut().now_or_never().is_none());
    let refused = view.reach_among_many(one, long).await.unwrap_err();
    assert_eq!(refused.to_string(), "256 calls wait for the view already, try again");
    assert!(view.reach_among_many(Position(0), long).await.is_ok());
    assert!(view.reach(one, long).now_or_never().is_none(), "our own work waits");

    drop(waiting);
    assert!(view.reach_among_many(one, long).now_or_never().is_none());
}

fn append(key: u32) -> Append {
    Append {
        stream: StreamId::new("thing", key),
        expected: Position(0),
        bytes: prost::Message::encode_to_vec(&Envelope::default()).into(),
    }
}

#[tokio::test]
async fn who_follows_one_thing_is_not_woken_by_another() {
    let log = Arc::new(MemoryLog::default());
    let folder = tempfile::tempdir().unwrap();
    let views = Views::new(folder.path());
    let view = views.open(Stating("SELECT 1"));
    let [any, one, other] = [None, Some("1"), Some("2")]
        .map(|key| key.map_or_else(|| view.applied(&["thing"]), |key| view.applied_to(&["thing"], key)));
    let elsewhere = view.applied_to(&["place"], "1");
    let story = async {
        let written = log.append(vec![append(1)]).await.unwrap();
        view.reach(written, Duration::from_secs(20)).await.unwrap();
        let mut one = one.clone();
        one.changed().await.unwrap();
    };
    tokio::select! {
        ended = views.run(Arc::new(log.clone()), watch::Sender::default(), CancellationToken::new()) => panic!("{ended:?}"),
        () = story => (),
    }
    let woken = [&any, &one, &other, &elsewhere].map(|bell| bell.has_changed().unwrap());
    assert_eq!(woken, [true, true, false, false]);
}

#[tokio::test]
async fn what_broke_a_view_is_for_those_who_operate_it() {
    let log = Arc::new(MemoryLog::default());
    let written = log.append(vec![append(1)]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let views = Views::new(folder.path());
    let view = views.open(Stating("INSERT INTO nowhere VALUES (1)"));
    let reached = tokio::select! {
        ended = views.run(Arc::new(log), watch::Sender::default(), CancellationToken::new()) => panic!("{ended:?}"),
        reached = view.reach(written, Duration::from_secs(20)) => reached,
    };
    assert_eq!(
        reached.unwrap_err().to_string(),
        "the view stopped at 0: the view's file can't be written"
    );
    let why = view.state().why.unwrap();
    assert!(why.contains("no such table: nowhere"), "{why}");
}
