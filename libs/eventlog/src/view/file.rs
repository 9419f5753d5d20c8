//! A view's SQLite file: its checkpoint, the entries it keeps, and the tables of its projection.

use super::{Projection, ViewError, ViewState, dump, insert};
use crate::{Entry, LogError, Position, StreamId};
use sha2::{Digest as _, Sha256};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

const SCHEMA: &str = "
    CREATE TABLE checkpoint (only INTEGER PRIMARY KEY CHECK (only = 0), position INTEGER NOT NULL);
    INSERT INTO checkpoint VALUES (0, 0);
    CREATE TABLE entry (position INTEGER PRIMARY KEY, stream TEXT NOT NULL, bytes BLOB NOT NULL);
    CREATE INDEX entry_stream ON entry (stream, position);
";
const READERS_MAX: u32 = 4;
/// Pages of the write-ahead log go to their places so often. A view that grows back writes the same ones again and
/// again: by default (after 1,000 pages) each would be moved ten times.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// From so many pages on, the writer moves them itself: only it comes to the end while it writes all the time.
const CHECKPOINT_PAGES: &str = "32000";
/// Kibibytes of pages that a writer keeps, as SQLite has it: enough for the inner pages of all indexes.
const CACHE: &str = "-8000";

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        // A lost tail grows back from the log.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging()
}

pub(super) fn readers(file: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        // A file does not go away as a server does, and asking costs each query a thread hop.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options(file).read_only(true))
}

/// Opens the file for writing, and its checkpoint. A file of another schema is dropped: it grows back.
pub(super) async fn open(projection: &dyn Projection, file: &Path) -> Result<(SqliteConnection, Position), ViewError> {
    let schema = schema(projection);
    let generation = generation(&schema, projection.keeps());
    let create = options(file)
        .create_if_missing(true)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("cache_size", CACHE);
    let mut writer = SqliteConnection::connect_with(&create).await?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut writer).await?;
    if found != generation {
        if found != 0 {
            tracing::info!(view = projection.name(), "the view has another shape, rebuilding it");
            writer.close().await?;
            remove(file)?;
            writer = SqliteConnection::connect_with(&create).await?;
        }
        let mut transaction = writer.begin().await?;
        sqlx::raw_sql(AssertSqlSafe(schema)).execute(&mut *transaction).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {generation}")))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
    }
    let position = position(&mut writer).await?;
    Ok((writer, position))
}

/// Opens the file for reading, apart from the other readers.
pub(super) async fn read(file: &Path) -> Result<SqliteConnection, ViewError> {
    Ok(SqliteConnection::connect_with(&options(file).read_only(true)).await?)
}

/// How far its rows are.
pub(super) async fn position(view: &mut SqliteConnection) -> Result<Position, ViewError> {
    let position = sqlx::query_scalar("SELECT position FROM checkpoint").fetch_one(view);
    Ok(Position::from_i64(position.await?))
}

pub(super) fn remove(file: &Path) -> Result<(), ViewError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(sqlx::Error::Io(error).into());
            }
            _ => (),
        }
    }
    Ok(())
}

/// Never zero, which is a new file.
fn generation(schema: &str, keeps: &[&str]) -> i64 {
    let hash = Sha256::new()
        .chain_update(schema)
        .chain_update(keeps.join(" "))
        .finalize();
    i64::from(u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]) >> 1) + 1
}

/// Applies a batch and moves the checkpoint, or does neither.
pub(super) async fn apply(
    projection: &dyn Projection,
    writer: &mut SqliteConnection,
    batch: &[Entry],
) -> Result<(), ViewError> {
    let Some(last) = batch.last() else { return Ok(()) };
    begin(writer).await?;
    let applied = write(projection, writer, batch, last.position).await;
    or_roll_back(writer, applied).await
}

/// Not as sqlx's transaction: where SQLite rolls back by itself, as a commit does on a full disk, that one stays open in
/// its books, and all that follows are savepoints that nobody ever commits.
async fn begin(writer: &mut SqliteConnection) -> Result<(), ViewError> {
    sqlx::query("BEGIN").execute(writer).await?;
    Ok(())
}

async fn or_roll_back(writer: &mut SqliteConnection, outcome: Result<(), ViewError>) -> Result<(), ViewError> {
    if outcome.is_err() {
        // It may be rolled back by now.
        let _ = sqlx::query("ROLLBACK").execute(writer).await;
    }
    outcome
}

/// Has the tables of another file that was made with the same projection, checkpoint and all, or those of before.
pub(super) async fn replace(
    projection: &dyn Projection,
    writer: &mut SqliteConnection,
    other: &Path,
) -> Result<(), ViewError> {
    let other = other.to_string_lossy();
    sqlx::query("ATTACH ? AS rebuilt")
        .bind(other.as_ref())
        .execute(&mut *writer)
        .await?;
    begin(writer).await?;
    let copied = copy(projection, writer).await;
    let copied = or_roll_back(writer, copied).await;
    sqlx::query("DETACH rebuilt").execute(writer).await?;
    copied
}

async fn copy(projection: &dyn Projection, writer: &mut SqliteConnection) -> Result<(), ViewError> {
    // Made anew, because one may be missing.
    for table in dump::tables(writer).await? {
        let drop = format!("DROP TABLE main.{:?}", table.name);
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *writer).await?;
    }
    let schema = schema(projection);
    sqlx::raw_sql(AssertSqlSafe(schema)).execute(&mut *writer).await?;
    for table in dump::tables(writer).await? {
        let name = table.name;
        let copy = format!("DELETE FROM main.{name:?}; INSERT INTO main.{name:?} SELECT * FROM rebuilt.{name:?}");
        sqlx::raw_sql(AssertSqlSafe(copy)).execute(&mut *writer).await?;
    }
    sqlx::query("COMMIT").execute(writer).await?;
    Ok(())
}

fn schema(projection: &dyn Projection) -> String {
    format!("{SCHEMA}{}", projection.schema())
}

async fn write(
    projection: &dyn Projection,
    writer: &mut SqliteConnection,
    batch: &[Entry],
    position: Position,
) -> Result<(), ViewError> {
    let keeps = projection.keeps();
    let kept: Vec<&Entry> = batch
        .iter()
        .filter(|entry| keeps.contains(&entry.stream.category.as_str()))
        .collect();
    insert(writer, "INSERT INTO entry", &kept, "", |row, entry| {
        row.push_bind(entry.position.as_i64())
            .push_bind(entry.stream.to_string())
            .push_bind(&entry.bytes[..]);
    })
    .await?;
    projection.apply(writer, batch).await?;
    move_checkpoint("UPDATE checkpoint SET position = ?; COMMIT", writer, position).await
}

/// Whether the file is no database any more: a damage that no other try heals.
pub(super) fn is_damaged(error: &sqlx::Error) -> bool {
    // Corrupt, not a database.
    is_one_of(error, &[11, 26])
}

/// Whether it lacks a table or a column that it should have.
pub(super) fn is_misshapen(error: &sqlx::Error) -> bool {
    // A statement that does not fit what is there.
    is_one_of(error, &[1])
}

pub(super) fn is_one_of(error: &sqlx::Error, codes: &[i64]) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let extended = code.and_then(|code| code.parse::<i64>().ok());
    extended.is_some_and(|code| codes.contains(&(code & 0xff)))
}

/// Moves the pages of the write-ahead log to their places, beside the writer: a commit that does it holds up all that is
/// to be written next.
pub(super) async fn settle(file: PathBuf, mut changes: watch::Receiver<ViewState>, ending: CancellationToken) {
    let mut beside = None;
    let settling = async {
        while changes.changed().await.is_ok() {
            if let Err(error) = checkpoint(&mut beside, &file).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the write-ahead log of {} stays as it is for now",
                    file.display()
                );
            }
            sleep(SETTLE_EVERY).await;
        }
    };
    ending.run_until_cancelled(settling).await;
    if let Some(beside) = beside {
        let _ = beside.close().await;
    }
}

async fn checkpoint(beside: &mut Option<SqliteConnection>, file: &Path) -> sqlx::Result<()> {
    let connection = match beside {
        Some(connection) => connection,
        None => beside.insert(SqliteConnection::connect_with(&options(file)).await?),
    };
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
        .execute(connection)
        .await?;
    Ok(())
}

/// Says that a view needs nothing of the log up to a position, which changes no rows.
pub(super) async fn pass(writer: &mut SqliteConnection, position: Position) -> Result<(), ViewError> {
    // Never back: a transaction that was cut off may be committed all the same.
    move_checkpoint("UPDATE checkpoint SET position = max(position, ?)", writer, position).await
}

async fn move_checkpoint(
    statements: &'static str,
    writer: &mut SqliteConnection,
    position: Position,
) -> Result<(), ViewError> {
    sqlx::query(statements).bind(position.as_i64()).execute(writer).await?;
    Ok(())
}

/// One kept entry.
pub(super) async fn read_entry(rows: &SqlitePool, position: Position) -> Result<Entry, ViewError> {
    let (stream, bytes): (String, Vec<u8>) = sqlx::query_as("SELECT stream, bytes FROM entry WHERE position = ?")
        .bind(position.as_i64())
        .fetch_one(rows)
        .await?;
    let stream = StreamId::parse(&stream).ok_or(LogError::UnknownEvent { position })?;
    Ok(Entry::decode(position, stream, bytes.into()))
}

/// The entries of one stream after a position, as this process knows them.
pub(crate) async fn read_stream(
    rows: &SqlitePool,
    stream: &StreamId,
    after: Position,
) -> Result<Vec<Entry>, ViewError> {
    let found: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT position, bytes FROM entry WHERE stream = ? AND position > ? ORDER BY position")
            .bind(stream.to_string())
            .bind(after.as_i64())
            .fetch_all(rows)
            .await?;
    let decode =
        |(position, bytes): (i64, Vec<u8>)| Entry::decode(Position::from_i64(position), stream.clone(), bytes.into());
    Ok(found.into_iter().map(decode).collect())
}
