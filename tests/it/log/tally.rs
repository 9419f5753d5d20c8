//! A small aggregate and its view, to show what holds for all of them.

use async_trait::async_trait;
use eventlog::{Clock, Entry, EventLog, Outcome, Projection, Request, View, ViewError, Views, Writer};
use service::Ids;
use sqlx::SqliteConnection;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(super) const WITHIN: Duration = Duration::from_secs(20);
/// A tally refuses what would lead beyond.
pub(super) const LIMIT: u64 = 1_000_000;

/// Counts up to a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) total: u64,
    pub(super) additions: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added(pub(super) u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is too much")]
pub(super) struct TooMuch(pub(super) u64);

impl aggregate::Event for Added {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()?.parse().ok().map(Self)
    }
}

impl aggregate::Refusal for TooMuch {
    fn kind(&self) -> aggregate::RefusalKind {
        aggregate::RefusalKind::LimitReached
    }

    fn reason(&self) -> &'static str {
        "TOO_MUCH"
    }
}

impl aggregate::Aggregate for Tally {
    const CATEGORY: &'static str = "workspace";
    type Id = String;
    type Command = u64;
    type Event = Added;
    type Refusal = TooMuch;

    fn decide(&self, added: u64) -> Result<Vec<Added>, TooMuch> {
        match added {
            0 => Ok(vec![]),
            _ if self.total + added > LIMIT => Err(TooMuch(added)),
            _ => Ok(vec![Added(added)]),
        }
    }

    fn evolve(&mut self, event: &Added) {
        self.total += event.0;
        self.additions += 1;
    }
}

/// The totals, one row per tally. `needs` is the category that it must understand.
pub(super) struct Totals {
    pub(super) name: &'static str,
    pub(super) needs: &'static str,
}

pub(super) const TOTALS: Totals = Totals {
    name: "totals",
    needs: "workspace",
};

#[async_trait]
impl Projection for Totals {
    fn name(&self) -> &'static str {
        self.name
    }

    fn schema(&self) -> &'static str {
        "CREATE TABLE total (tally TEXT PRIMARY KEY, total INTEGER NOT NULL, additions INTEGER NOT NULL)"
    }

    fn reads(&self) -> &'static [&'static str] {
        &["workspace", "name"]
    }

    fn keeps(&self) -> &'static [&'static str] {
        &["workspace"]
    }

    async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError> {
        for entry in batch.iter().filter(|entry| entry.stream.category == self.needs) {
            for Added(added) in entry.events()? {
                sqlx::query(
                    "INSERT INTO total VALUES (?1, ?2, 1) ON CONFLICT DO UPDATE
                     SET total = total + ?2, additions = additions + 1",
                )
                .bind(&entry.stream.key)
                .bind(added.cast_signed())
                .execute(&mut *view)
                .await?;
            }
        }
        Ok(())
    }
}

/// What a service process has: views that are fed from the log, and a writer.
pub(super) struct Process {
    pub(super) view: View,
    pub(super) others: Vec<View>,
    pub(super) writer: Writer,
    pub(super) stop: CancellationToken,
    pub(super) feeding: JoinSet<anyhow::Result<()>>,
}

impl Process {
    pub(super) async fn start(log: Arc<dyn EventLog>, folder: &Path) -> anyhow::Result<Self> {
        Self::start_with(log, folder, TOTALS, []).await
    }

    /// With other projections beside the one that the writer stands on.
    pub(super) async fn start_with(
        log: Arc<dyn EventLog>,
        folder: &Path,
        totals: impl Projection,
        others: impl IntoIterator<Item = Totals>,
    ) -> anyhow::Result<Self> {
        let views = Views::new(folder);
        let view = views.open(totals);
        let others = others.into_iter().map(|other| views.open(other)).collect();
        let stop = CancellationToken::new();
        let (ready, mut is_ready) = watch::channel(false);
        let (feeder, stopping) = (log.clone(), stop.clone());
        let mut feeding = JoinSet::new();
        feeding.spawn(async move { views.run(feeder, ready, stopping).await });
        if is_ready.wait_for(|ready| *ready).await.is_err() {
            let ended = feeding.join_next().await;
            ended.transpose()?.transpose()?;
            anyhow::bail!("the views ended before they were ready");
        }
        let clock = Clock::fixed(UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        Ok(Self {
            writer: Writer::new(log, view.clone(), clock),
            view,
            others,
            stop,
            feeding,
        })
    }

    pub(super) async fn end(mut self) {
        self.stop.cancel();
        while self.feeding.join_next().await.is_some() {}
    }

    pub(super) async fn add(&self, tally: &str, added: u64) -> Result<(u64, Outcome), eventlog::ExecuteError> {
        self.add_as(&request(), tally, added).await
    }

    pub(super) async fn add_as(
        &self,
        request: &Request,
        tally: &str,
        added: u64,
    ) -> Result<(u64, Outcome), eventlog::ExecuteError> {
        let done = self.writer.execute::<Tally>(request, &tally.to_owned(), added).await?;
        Ok((done.position.0, done.outcome))
    }
}

/// A new one.
pub(super) fn request() -> Request {
    Request {
        actor: "ada".to_owned(),
        id: Ids::random().next().to_string(),
        ..Request::default()
    }
}
