//! What the calls and the policies ask of the view.

use super::{Row, Stage};
use eventlog::View;
use ids::BuildId;
use prost::Message as _;
use proto::editor::v1::BuildSpec;
use std::collections::BTreeSet;

/// So many of the last builds tell who had turns, and how long builds take.
const BEGUN: i64 = 200;
/// A page ends at this size, however many rows it may have: a client takes 4 MiB.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

fn parse(rows: &[String]) -> anyhow::Result<Vec<Row>> {
    rows.iter().map(|row| Ok(serde_json::from_str(row)?)).collect()
}

/// One build of an image.
pub(crate) async fn row(view: &View, image: &str, build: &str) -> anyhow::Result<Option<Row>> {
    let rows: Vec<String> = sqlx::query_scalar("SELECT row FROM build WHERE id = ? AND image = ?")
        .bind(build)
        .bind(image)
        .fetch_all(view.rows())
        .await?;
    Ok(parse(&rows)?.pop())
}

/// The newest build of an image.
pub(crate) async fn newest(view: &View, image: &str) -> anyhow::Result<Option<Row>> {
    let rows: Vec<String> = sqlx::query_scalar("SELECT row FROM build WHERE image = ? ORDER BY queued_at DESC LIMIT 1")
        .bind(image)
        .fetch_all(view.rows())
        .await?;
    Ok(parse(&rows)?.pop())
}

/// An image's builds without their steps and bases, newest first, those asked for before a position; and whether there are more.
pub(crate) async fn journal(view: &View, image: &str, before: i64, limit: i64) -> anyhow::Result<(Vec<Row>, bool)> {
    let mut rows: Vec<String> = sqlx::query_scalar(
        "SELECT json_remove(row, '$.steps', '$.bases') FROM build WHERE image = ? AND queued_at < ?
         ORDER BY queued_at DESC LIMIT ?",
    )
    .bind(image)
    .bind(before)
    .bind(limit + 1)
    .fetch_all(view.rows())
    .await?;
    let all = rows.len();
    rows.truncate(usize::try_from(limit)?);
    let mut bytes = 0;
    let fits = |row: &&String| {
        let first = bytes == 0;
        bytes += row.len();
        first || bytes <= PAGE_BYTES
    };
    let page = rows.iter().take_while(fits).count();
    rows.truncate(page);
    Ok((parse(&rows)?, page < all))
}

/// Every build that has not ended, oldest first.
async fn active(view: &View) -> anyhow::Result<Vec<Row>> {
    let rows: Vec<String> = sqlx::query_scalar("SELECT row FROM build WHERE stage < 4 ORDER BY queued_at")
        .fetch_all(view.rows())
        .await?;
    parse(&rows)
}

/// What the builder has to do with: waiting and running.
pub(crate) async fn waiting_or_running(view: &View) -> anyhow::Result<Vec<Row>> {
    let mut rows = active(view).await?;
    rows.retain(|row| row.stage() < Stage::Pushing);
    Ok(rows)
}

/// A build that had its turn.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    pub(crate) workspace: String,
    pub(crate) image: String,
    /// How long it had a slot, once that is known.
    pub(crate) slot_ms: Option<i64>,
}

/// The last builds that had their turns, oldest first.
pub(crate) async fn begun(view: &View) -> anyhow::Result<Vec<Begun>> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT row->>'workspace', image, row->>'slot_ms' FROM build WHERE started_at > 0
         ORDER BY started_at DESC LIMIT ?",
    )
    .bind(BEGUN)
    .fetch_all(view.rows())
    .await?;
    let begun = |(workspace, image, slot_ms): (String, String, i64)| Begun {
        workspace,
        image,
        slot_ms: Some(slot_ms).filter(|ms| *ms > 0),
    };
    Ok(rows.into_iter().rev().map(begun).collect())
}

/// How many builds wait in a workspace.
pub(crate) async fn waiting(view: &View, workspace: &str) -> anyhow::Result<usize> {
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM build WHERE stage = 1 AND row->>'workspace' = ?")
        .bind(workspace)
        .fetch_one(view.rows())
        .await?;
    Ok(usize::try_from(waiting)?)
}

/// What any worker has under way.
pub(crate) async fn running(view: &View) -> anyhow::Result<Vec<Row>> {
    let mut rows = active(view).await?;
    rows.retain(|row| row.stage() == Stage::Running);
    Ok(rows)
}

/// A saved revision's spec with its number; the newest when no number is given.
pub(crate) async fn revision(
    view: &View,
    image: &str,
    number: Option<u32>,
) -> anyhow::Result<Option<(u32, BuildSpec)>> {
    let found: Option<(u32, Vec<u8>)> = sqlx::query_as(
        "SELECT number, spec FROM revision WHERE image = ?1 AND (?2 IS NULL OR number = ?2)
         ORDER BY number DESC LIMIT 1",
    )
    .bind(image)
    .bind(number)
    .fetch_optional(view.rows())
    .await?;
    Ok(found
        .map(|(number, spec)| Ok::<_, prost::DecodeError>((number, BuildSpec::decode(&*spec)?)))
        .transpose()?)
}

/// Images that are gone while builds of them wait or run; those end with them.
pub(crate) async fn deleted_images(view: &View) -> anyhow::Result<BTreeSet<String>> {
    let deleted: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT image.id FROM build JOIN image ON image.id = build.image WHERE build.stage < 4 AND image.deleted",
    )
    .fetch_all(view.rows())
    .await?;
    Ok(deleted.into_iter().collect())
}

/// The builds whose images are needed, as the tags of the artifacts have them: those under way, of any worker, and those
/// with a publication that is open or may be opened again. Earlier attempts of theirs count, too: their images have the
/// same content, and an engine that removes one may lose the other.
pub(crate) async fn needed_artifacts(view: &View) -> anyhow::Result<BTreeSet<String>> {
    let rows: Vec<String> = sqlx::query_scalar("SELECT row FROM build WHERE stage IN (2, 3) OR row->>'retryable'")
        .fetch_all(view.rows())
        .await?;
    Ok(parse(&rows)?.iter().map(|row| tag_of(&row.id)).collect())
}

/// Whether an artifact's tag is of a build that this log knows: engines are shared with other installations.
pub(crate) async fn is_known_attempt(view: &View, tag: &str) -> anyhow::Result<bool> {
    let build = tag.split('-').next().unwrap_or_default().to_uppercase();
    let known: Option<i64> = sqlx::query_scalar("SELECT 1 FROM build WHERE id = 'bld_' || ?")
        .bind(build)
        .fetch_optional(view.rows())
        .await?;
    Ok(known.is_some())
}

/// The last build of an image whose publication was committed.
pub(crate) async fn published(view: &View, image: &str) -> anyhow::Result<Option<Row>> {
    let row: Option<String> = sqlx::query_scalar(
        "SELECT row FROM build WHERE image = ? AND row->>'publication' = 'Committed' ORDER BY queued_at DESC LIMIT 1",
    )
    .bind(image)
    .fetch_optional(view.rows())
    .await?;
    Ok(parse(row.as_slice())?.pop())
}

/// Whether the view knows that a build is over, as far as its builder is concerned.
pub(crate) async fn has_ended(view: &View, build: BuildId) -> anyhow::Result<bool> {
    let ended: Option<i64> = sqlx::query_scalar("SELECT 1 FROM build WHERE id = ? AND stage > 2")
        .bind(build.to_string())
        .fetch_optional(view.rows())
        .await?;
    Ok(ended.is_some())
}

fn tag_of(build: &str) -> String {
    build.trim_start_matches("bld_").to_lowercase()
}

#[cfg(test)]
mod tests;
