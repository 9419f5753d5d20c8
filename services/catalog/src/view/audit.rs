//! The audit: rows of the history by any combination of image, workspace, actor, type and time.
//!
//! Rows are numbered, so which of them a value has is a bitmap: a question is a few intersections, and costs the same
//! whether or not anything answers it. Bitmaps are made of 4,096 rows at a time, as soon as so many are there; the rows
//! behind them are looked at one by one.

#[cfg(test)]
mod tests;

use super::history::HistoryRow;
use eventlog::{View, ViewError, insert};
use roaring::RoaringTreemap;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use std::{collections::BTreeMap, io, ops::Range};

/// So many rows become bits together.
const GRANULE: i64 = 4_096;
/// So many rows share a bitmap.
const CHUNK: i64 = 16 * GRANULE;
/// Chunks whose bitmaps are read with one statement.
const CHUNKS: i64 = 16;
/// Bitmaps tell times only roughly: then so many rows are looked at with one statement,
const SLAB: usize = 1_024;
/// and so many for one page, however many answer.
const LOOKED_MAX: usize = 65_536;

/// What a row may be asked for, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Dimension {
    Workspace = 0,
    Actor = 1,
    Type = 2,
}

/// What is wanted. `None` and no types ask for nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) image: Option<String>,
    /// Any of these.
    pub(crate) workspaces: Option<Vec<String>>,
    pub(crate) actor: Option<String>,
    /// Any of these.
    pub(crate) types: Vec<String>,
    pub(crate) since_ms: Option<i64>,
    pub(crate) until_ms: Option<i64>,
    pub(crate) oldest_first: bool,
    /// The row behind which to go on.
    pub(crate) behind: Option<i64>,
    pub(crate) limit: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rows: Vec<HistoryRow>,
    /// The last row that was looked at, when there may be more behind it.
    pub(crate) more_behind: Option<i64>,
}

/// Answers one page.
pub(crate) async fn ask(view: &View, question: &Question) -> anyhow::Result<Found> {
    let count: i64 = sqlx::query_scalar("SELECT ifnull(max(row) + 1, 0) FROM history")
        .fetch_one(view.rows())
        .await?;
    let within = match (question.behind, question.oldest_first) {
        (None, _) => 0..count,
        (Some(row), true) => row + 1..count,
        (Some(row), false) => 0..row.min(count),
    };
    let mut search = Search {
        view,
        question,
        found: Found::default(),
        looked: 0,
    };
    if question.image.is_some() {
        search.read(&Rows::Span(within)).await?;
        return Ok(search.found);
    }
    let sealed = count / GRANULE * GRANULE;
    let behind = sealed.max(within.start)..within.end;
    let indexed = within.start..within.end.min(sealed);
    if question.oldest_first {
        search.indexed(indexed).await?;
        // One that cost enough goes on there before it comes to the newest.
        if search.found.more_behind.is_none() {
            search.read(&Rows::Span(behind)).await?;
        }
    } else {
        search.read(&Rows::Span(behind)).await?;
        search.indexed(indexed).await?;
    }
    Ok(search.found)
}

struct Search<'a> {
    view: &'a View,
    question: &'a Question,
    found: Found,
    looked: usize,
}

/// Where to look, in the order of the question.
enum Rows {
    Span(Range<i64>),
    These(Vec<i64>),
}

impl Search<'_> {
    fn missing(&self) -> usize {
        self.question.limit - self.found.rows.len()
    }

    /// Adds the rows that answer the question. Full, the page says where it ended.
    async fn read(&mut self, rows: &Rows) -> sqlx::Result<()> {
        let missing = self.missing();
        if missing == 0 || matches!(rows, Rows::Span(span) if span.is_empty()) {
            return Ok(());
        }
        let question = self.question;
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM history WHERE ");
        match rows {
            Rows::Span(span) => {
                query.push("row >= ").push_bind(span.start);
                query.push(" AND row < ").push_bind(span.end);
            }
            Rows::These(rows) => {
                let rows = serde_json::json!(rows).to_string();
                query
                    .push("row IN (SELECT value FROM json_each(")
                    .push_bind(rows)
                    .push("))");
            }
        }
        for (column, value) in [("image", &question.image), ("actor", &question.actor)] {
            if let Some(value) = value {
                query.push(format_args!(" AND {column} = ")).push_bind(value);
            }
        }
        let types = (!question.types.is_empty()).then_some(&question.types);
        for (column, values) in [("workspace", question.workspaces.as_ref()), ("type", types)] {
            if let Some(values) = values {
                query
                    .push(format_args!(" AND {column} IN (SELECT value FROM json_each("))
                    .push_bind(serde_json::json!(values).to_string())
                    .push("))");
            }
        }
        for (condition, time_ms) in [
            (" AND time_ms >= ", question.since_ms),
            (" AND time_ms < ", question.until_ms),
        ] {
            if let Some(time_ms) = time_ms {
                query.push(condition).push_bind(time_ms);
            }
        }
        query
            .push(if question.oldest_first {
                " ORDER BY row LIMIT "
            } else {
                " ORDER BY row DESC LIMIT "
            })
            .push_bind(i64::try_from(missing).unwrap_or(i64::MAX));
        let found: Vec<HistoryRow> = query.build_query_as().fetch_all(self.view.rows()).await?;
        self.found.rows.extend(found);
        if self.missing() == 0 {
            self.found.more_behind = self.found.rows.last().map(|row| row.row);
        }
        Ok(())
    }

    /// Looks at rows that have bits, some chunks at a time.
    async fn indexed(&mut self, within: Range<i64>) -> anyhow::Result<()> {
        let times = self.times().await?;
        let mut rest = within;
        while self.missing() > 0 && !rest.is_empty() {
            let (first, last) = (rest.start / CHUNK, (rest.end - 1) / CHUNK);
            let (first, last) = if self.question.oldest_first {
                (first, last.min(first + CHUNKS - 1))
            } else {
                (first.max(last - CHUNKS + 1), last)
            };
            let window = rest.start.max(first * CHUNK)..rest.end.min((last + 1) * CHUNK);
            if self.question.oldest_first {
                rest.start = window.end;
            } else {
                rest.end = window.start;
            }
            let candidates = self.candidates(window, times.as_ref()).await?;
            self.look(candidates).await?;
            if self.found.more_behind.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Reads candidates until the page is full, or has cost enough.
    async fn look(&mut self, candidates: RoaringTreemap) -> sqlx::Result<()> {
        let is_exact = self.question.since_ms.is_none() && self.question.until_ms.is_none();
        let mut rest: Box<dyn Iterator<Item = u64> + Send> = if self.question.oldest_first {
            Box::new(candidates.into_iter())
        } else {
            Box::new(candidates.into_iter().rev())
        };
        while self.missing() > 0 {
            let slab = if is_exact { self.missing() } else { SLAB };
            let rows: Vec<i64> = rest.by_ref().take(slab).map(u64::cast_signed).collect();
            if rows.is_empty() {
                return Ok(());
            }
            self.looked += rows.len();
            let last = rows.last().copied();
            self.read(&Rows::These(rows)).await?;
            if self.looked >= LOOKED_MAX && self.missing() > 0 {
                self.found.more_behind = last;
                return Ok(());
            }
        }
        Ok(())
    }
    /// Which rows of a window the bitmaps do not rule out.
    async fn candidates(&self, window: Range<i64>, times: Option<&RoaringTreemap>) -> anyhow::Result<RoaringTreemap> {
        let mut candidates = span(window.clone());
        if let Some(times) = times {
            candidates &= times;
        }
        let question = self.question;
        let actor = question.actor.as_ref().map(std::slice::from_ref);
        let types = (!question.types.is_empty()).then_some(&question.types[..]);
        let clauses = [
            (Dimension::Workspace, question.workspaces.as_deref()),
            (Dimension::Actor, actor),
            (Dimension::Type, types),
        ];
        let clauses: Vec<_> = clauses
            .into_iter()
            .filter_map(|(dimension, values)| Some((dimension, values?)))
            .collect();
        if clauses.is_empty() || candidates.is_empty() {
            return Ok(candidates);
        }
        let wanted = clauses
            .iter()
            .flat_map(|(dimension, values)| values.iter().map(|value| (*dimension as i64, value.as_str())));
        let wanted = serde_json::to_string(&wanted.collect::<Vec<_>>())?;
        let chunks = window.start / CHUNK..(window.end - 1) / CHUNK + 1;
        let stored = stored(wanted, chunks).fetch_all(self.view.rows()).await?;
        let mut of_clauses: BTreeMap<i64, RoaringTreemap> = BTreeMap::new();
        for (dimension, _, _, bits) in stored {
            *of_clauses.entry(dimension).or_default() |= RoaringTreemap::deserialize_from(&bits[..])?;
        }
        let nothing = RoaringTreemap::new();
        for (dimension, _) in clauses {
            candidates &= of_clauses.get(&(dimension as i64)).unwrap_or(&nothing);
        }
        Ok(candidates)
    }

    /// Rows that may be of the wanted times: the granules that reach into them.
    async fn times(&self) -> sqlx::Result<Option<RoaringTreemap>> {
        let (since, until) = (self.question.since_ms, self.question.until_ms);
        if since.is_none() && until.is_none() {
            return Ok(None);
        }
        let granules: Vec<i64> =
            sqlx::query_scalar("SELECT granule FROM granule WHERE until_ms >= ? AND since_ms < ? ORDER BY granule")
                .bind(since.unwrap_or(i64::MIN))
                .bind(until.unwrap_or(i64::MAX))
                .fetch_all(self.view.rows())
                .await?;
        let mut rows = RoaringTreemap::new();
        for granule in granules {
            rows |= span(granule * GRANULE..(granule + 1) * GRANULE);
        }
        Ok(Some(rows))
    }
}

fn span(rows: Range<i64>) -> RoaringTreemap {
    let mut span = RoaringTreemap::new();
    span.insert_range(rows.start.cast_unsigned()..rows.end.cast_unsigned());
    span
}

type Bits = (i64, String, i64, Vec<u8>);

/// The bitmaps of some (dimension, value), as JSON, in some chunks.
fn stored(
    wanted: String,
    chunks: Range<i64>,
) -> sqlx::query::QueryAs<'static, Sqlite, Bits, sqlx::sqlite::SqliteArguments> {
    sqlx::query_as(
        "SELECT bits.* FROM json_each(?) AS wanted CROSS JOIN bits
         ON dimension = wanted.value->>0 AND bits.value = wanted.value->>1 AND chunk >= ? AND chunk < ?",
    )
    .bind(wanted)
    .bind(chunks.start)
    .bind(chunks.end)
}

/// Makes bits of the granules that became full by the rows from `first` up to `next`.
pub(super) async fn seal(view: &mut SqliteConnection, first: i64, next: i64) -> Result<(), ViewError> {
    for granule in first / GRANULE..next / GRANULE {
        let chunk = granule * GRANULE / CHUNK;
        let rows: Vec<(i64, String, String, String, i64)> = sqlx::query_as(
            "SELECT row, workspace, actor, type, time_ms FROM history WHERE row >= ? AND row < ? ORDER BY row",
        )
        .bind(granule * GRANULE)
        .bind((granule + 1) * GRANULE)
        .fetch_all(&mut *view)
        .await?;
        let (mut since_ms, mut until_ms) = (i64::MAX, i64::MIN);
        let mut fresh: BTreeMap<(i64, String), RoaringTreemap> = BTreeMap::new();
        for (row, workspace, actor, kind, time_ms) in rows {
            (since_ms, until_ms) = (since_ms.min(time_ms), until_ms.max(time_ms));
            let values = [
                (Dimension::Workspace, workspace),
                (Dimension::Actor, actor),
                (Dimension::Type, kind),
            ];
            for (dimension, value) in values {
                fresh
                    .entry((dimension as i64, value))
                    .or_default()
                    .insert(row.cast_unsigned());
            }
        }
        let wanted = serde_json::to_string(&fresh.keys().collect::<Vec<_>>())?;
        for (dimension, value, _, bits) in stored(wanted, chunk..chunk + 1).fetch_all(&mut *view).await? {
            *fresh.entry((dimension, value)).or_default() |=
                RoaringTreemap::deserialize_from(&bits[..]).map_err(broken)?;
        }
        let mut rows = Vec::with_capacity(fresh.len());
        for ((dimension, value), bits) in fresh {
            let mut bytes = Vec::with_capacity(bits.serialized_size());
            bits.serialize_into(&mut bytes).map_err(broken)?;
            rows.push((dimension, value, chunk, bytes));
        }
        let then = "ON CONFLICT (dimension, value, chunk) DO UPDATE SET bits = excluded.bits";
        insert(
            view,
            "INSERT INTO bits",
            &rows,
            then,
            |row, (dimension, value, chunk, bits)| {
                row.push_bind(*dimension)
                    .push_bind(value)
                    .push_bind(*chunk)
                    .push_bind(&bits[..]);
            },
        )
        .await?;
        sqlx::query("INSERT INTO granule VALUES (?, ?, ?)")
            .bind(granule)
            .bind(since_ms)
            .bind(until_ms)
            .execute(&mut *view)
            .await?;
    }
    Ok(())
}

fn broken(error: io::Error) -> ViewError {
    sqlx::Error::Decode(error.into()).into()
}
