//! Views built from the log. A view is disposable: delete its file and it grows back.
//!
//! The checkpoint moves in the transaction that writes the rows, so every entry is applied exactly once. A view's
//! rows are a function of the log alone: no clock, no arrival order.

pub mod dump;
mod file;
mod insert;
mod rebuild;
mod run;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use file::read_stream;
pub use insert::{Values, insert};
pub use rebuild::{Differing, RebuildError, Rebuilt};

use crate::{Entry, LogError, Position, StreamId};
use async_trait::async_trait;
use rebuild::Seed;
use sqlx::{SqliteConnection, SqlitePool};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, watch};
use write::TakeOver;

/// Calls that wait for a view at the same time. Behind one that does not get on, more would only pile up.
const WAITING_MAX: usize = 256;

/// What entries do to a view's tables.
#[async_trait]
pub trait Projection: Send + Sync + 'static {
    /// The name of the view and of its file.
    fn name(&self) -> &'static str;

    /// `CREATE TABLE` and `CREATE INDEX` statements. When they change, the view is rebuilt.
    fn schema(&self) -> &'static str;

    /// Categories whose entries the view keeps as they are, for the folds of the aggregates.
    fn keeps(&self) -> &'static [&'static str] {
        &[]
    }

    /// Categories of the entries that change its rows, beside those it keeps. What others say only moves the view's
    /// position.
    fn reads(&self) -> &'static [&'static str];

    /// Whether an entry of a category that it reads changes nothing all the same: such an entry costs no transaction.
    fn ignores(&self, _: &Entry) -> bool {
        false
    }

    /// Writes a batch, in order, in one transaction with the checkpoint. A statement costs a thread hop: write many
    /// rows with each.
    async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError>;
}

#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the view's file can't be written")]
    File(#[from] sqlx::Error),
    #[error("the view's rows can't be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// How far a view got, and whether it goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewState {
    pub position: Position,
    /// The end of the last batch that changed its rows.
    pub changed: Position,
    /// How often a rebuilt view took its place.
    pub generation: u64,
    /// Why it stopped for good, until this build is upgraded.
    pub halted: Option<Arc<str>>,
    /// What was behind that: for those who operate the service, and not for callers.
    pub why: Option<Arc<str>>,
    /// Why it does not get on at the moment. Not for callers either.
    pub troubled: Option<Arc<str>>,
}

/// A view that does not reach a position.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Behind {
    #[error("the view is at {at} and did not reach {wanted} in time, try again")]
    Late { at: Position, wanted: Position },
    #[error("the view is at {at} and can't be written at the moment, so it does not get to {wanted}: try again later")]
    Troubled { at: Position, wanted: Position },
    #[error("{WAITING_MAX} calls wait for the view already, try again")]
    Crowded,
    #[error("the view stopped at {at}: {cause}")]
    Halted { at: Position, cause: Arc<str> },
    #[error("the log ends at {head}, it has no position {wanted}")]
    Beyond { head: Position, wanted: Position },
}

/// Reads a view, and waits for it.
#[derive(Clone)]
pub struct View {
    name: &'static str,
    rows: SqlitePool,
    state: watch::Receiver<ViewState>,
    head: watch::Receiver<Position>,
    bells: Bells,
    /// For those who wait among many.
    places: Arc<Semaphore>,
    seed: Arc<Seed>,
}

/// Who wants to know of entries of some categories.
type Bells = Arc<Mutex<Vec<Bell>>>;

struct Bell {
    categories: &'static [&'static str],
    /// `None`: of whatever key.
    key: Option<String>,
    rings: watch::Sender<Position>,
}

impl View {
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where its rows are read.
    pub fn rows(&self) -> &SqlitePool {
        &self.rows
    }

    /// An entry that it keeps.
    pub async fn entry(&self, position: Position) -> Result<Entry, ViewError> {
        file::read_entry(&self.rows, position).await
    }

    /// The entries of a stream that it keeps.
    pub async fn stream(&self, stream: &StreamId) -> Result<Vec<Entry>, ViewError> {
        read_stream(&self.rows, stream, Position::default()).await
    }

    pub fn state(&self) -> ViewState {
        self.state.borrow().clone()
    }

    pub fn position(&self) -> Position {
        self.state.borrow().position
    }

    /// Whether it still follows the log, be it late.
    ///
    /// # Errors
    /// When it stopped for good.
    pub fn goes_on(&self) -> Result<(), Behind> {
        let state = self.state.borrow();
        match &state.halted {
            Some(cause) => Err(Behind::Halted {
                at: state.position,
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Whether it follows the log without trouble: what it says is what holds now.
    ///
    /// # Errors
    /// When it stopped, or can't be written at the moment.
    pub fn keeps_up(&self) -> Result<(), Behind> {
        self.goes_on()?;
        let state = self.state.borrow();
        match state.troubled {
            Some(_) => Err(Behind::Troubled {
                at: state.position,
                wanted: self.head(),
            }),
            None => Ok(()),
        }
    }

    /// Changes whenever entries of some categories were applied: for those who act on them, and on nothing else.
    pub fn applied(&self, categories: &'static [&'static str]) -> watch::Receiver<Position> {
        self.bell(categories, None)
    }

    /// The same for entries with one key: of those who follow one thing each, there may be thousands.
    pub fn applied_to(&self, categories: &'static [&'static str], key: &str) -> watch::Receiver<Position> {
        self.bell(categories, Some(key.to_owned()))
    }

    fn bell(&self, categories: &'static [&'static str], key: Option<String>) -> watch::Receiver<Position> {
        let (rings, applied) = watch::channel(self.position());
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|bell| !bell.rings.is_closed());
        bells.push(Bell { categories, key, rings });
        applied
    }

    /// Changes whenever a batch was applied.
    pub fn changes(&self) -> watch::Receiver<ViewState> {
        self.state.clone()
    }

    /// How often it was replaced, and the end of the last batch that changed its rows: as long as both stay the same, so do
    /// the rows.
    pub fn changed(&self) -> (u64, Position) {
        let state = self.state.borrow();
        (state.generation, state.changed)
    }

    /// The last position of the log that this process has seen.
    pub fn head(&self) -> Position {
        *self.head.borrow()
    }

    /// Waits until a position is in the rows. Fails at once when that can't happen.
    pub async fn reach(&self, wanted: Position, within: Duration) -> Result<(), Behind> {
        let mut state = self.state.clone();
        let reached = state.wait_for(|state| state.position >= wanted || state.halted.is_some());
        let Ok(Ok(state)) = tokio::time::timeout(within, reached).await else {
            let ViewState {
                position: at, troubled, ..
            } = self.state();
            return Err(match troubled {
                Some(_) => Behind::Troubled { at, wanted },
                None => Behind::Late { at, wanted },
            });
        };
        match &state.halted {
            Some(cause) if state.position < wanted => Err(Behind::Halted {
                at: state.position,
                cause: cause.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The same for those who may be any number: some hundreds of them wait, and the next is sent away at once.
    pub async fn reach_among_many(&self, wanted: Position, within: Duration) -> Result<(), Behind> {
        if self.position() >= wanted {
            return Ok(());
        }
        let _place = self.places.try_acquire().map_err(|_| Behind::Crowded)?;
        self.reach(wanted, within).await
    }
}

/// All views of a process: opened one by one, then fed together by one follower.
pub struct Views {
    folder: PathBuf,
    opened: Mutex<Vec<Opened>>,
    head: watch::Sender<Position>,
}

/// A view that is being written.
struct Opened {
    projection: Arc<dyn Projection>,
    file: PathBuf,
    rows: SqlitePool,
    state: watch::Sender<ViewState>,
    bells: Bells,
    orders: mpsc::Receiver<TakeOver>,
}

impl Views {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            opened: Mutex::default(),
            head: watch::Sender::default(),
        }
    }

    /// A view of the log, which begins to fill when `run` does.
    pub fn open(&self, projection: impl Projection) -> View {
        let file = self.folder.join(format!("{}.db", projection.name()));
        let rows = file::readers(&file);
        let (state, bells) = (watch::Sender::default(), Bells::default());
        let (writer, orders) = mpsc::channel(1);
        let projection: Arc<dyn Projection> = Arc::new(projection);
        let seed = Seed {
            projection: projection.clone(),
            file: file.clone(),
            writer,
            one: Arc::default(),
        };
        let view = View {
            name: projection.name(),
            rows: rows.clone(),
            state: state.subscribe(),
            head: self.head.subscribe(),
            bells: bells.clone(),
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            seed: Arc::new(seed),
        };
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(Opened {
            projection,
            file,
            rows,
            state,
            bells,
            orders,
        });
        view
    }
}
