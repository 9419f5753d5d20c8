//! What the passes and the calls ask of the view.

use super::state;
use eventlog::{Position, View};
use ids::{BuildId, ImageId};
use proto::{catalog::v1::ImageName, registry::v1::PublicationOpened};
use sqlx::{FromRow, Row as _, sqlite::SqliteRow};
use std::collections::BTreeSet;

/// A build whose image the engine has, or had.
#[derive(Debug, Clone)]
pub(crate) struct Assembled {
    pub(crate) build: BuildId,
    pub(crate) image: ImageId,
    /// Its image's name now.
    pub(crate) name: ImageName,
    pub(crate) attempt: u32,
    pub(crate) revision: u32,
    pub(crate) requester: String,
    pub(crate) engine: String,
    pub(crate) artifact: String,
    pub(crate) os: String,
    pub(crate) architecture: String,
    extra_tags: Vec<String>,
    /// Where its publication goes, once that is open.
    target_path: Option<String>,
    /// Somebody wants it cancelled, or its image is gone: the entry that says so.
    pub(crate) doomed: Option<Position>,
    /// The entry that the next step follows from.
    pub(crate) cause: Position,
    pub(crate) traceparent: String,
    pub(crate) ended_ms: i64,
}

const ASSEMBLED: &str = "
    SELECT build.*, image.registry, image.path, image.tag, ifnull(build.cancelled, image.deleted) AS doomed
    FROM build JOIN image ON image.id = build.image";

impl FromRow<'_, SqliteRow> for Assembled {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let tags: String = row.try_get("extra_tags")?;
        Ok(Self {
            build: parsed(row, "id")?,
            image: parsed(row, "image")?,
            name: named(row)?,
            attempt: row.try_get("attempt")?,
            revision: row.try_get("revision")?,
            requester: row.try_get::<Option<_>, _>("requester")?.unwrap_or_default(),
            engine: row.try_get("engine")?,
            artifact: row.try_get("artifact")?,
            os: row.try_get("os")?,
            architecture: row.try_get("architecture")?,
            target_path: row.try_get("target_path")?,
            extra_tags: serde_json::from_str(&tags).unwrap_or_default(),
            doomed: row.try_get::<Option<i64>, _>("doomed")?.map(Position::from_i64),
            cause: Position::from_i64(row.try_get("cause")?),
            traceparent: row.try_get("traceparent")?,
            ended_ms: row.try_get::<Option<_>, _>("ended_ms")?.unwrap_or_default(),
        })
    }
}

fn parsed<T: std::str::FromStr>(row: &SqliteRow, column: &'static str) -> sqlx::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.try_get::<String, _>(column)?
        .parse()
        .map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn named(row: &SqliteRow) -> sqlx::Result<ImageName> {
    Ok(ImageName {
        registry: row.try_get("registry")?,
        path: row.try_get("path")?,
        primary_tag: row.try_get("tag")?,
    })
}

impl Assembled {
    /// Where its push is on its way to, or would be.
    pub(crate) fn target(&self) -> ImageName {
        let path = self.target_path.clone().unwrap_or_else(|| self.name.path.clone());
        ImageName {
            path,
            ..self.name.clone()
        }
    }

    /// The publication that this build would open now.
    pub(crate) fn opened(&self) -> PublicationOpened {
        let mut tags = vec![self.name.primary_tag.clone()];
        for tag in &self.extra_tags {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        PublicationOpened {
            build: Some(self.build),
            build_attempt: self.attempt,
            revision: self.revision,
            target: Some(self.name.clone()),
            engine: self.engine.clone(),
            artifact: self.artifact.clone(),
            tags,
            requester: self.requester.clone(),
        }
    }
}

/// Builds of one engine that should be published, or called off, oldest first.
pub(crate) async fn due(view: &View, engine: &str) -> sqlx::Result<Vec<Assembled>> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{ASSEMBLED} WHERE build.state IN (1, 2) AND build.engine = ? ORDER BY build.cause"
    )))
    .bind(engine)
    .fetch_all(view.rows())
    .await
}

/// One build of an image that was assembled: a certain one, or the newest.
pub(crate) async fn assembled(view: &View, image: ImageId, build: Option<BuildId>) -> sqlx::Result<Option<Assembled>> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{ASSEMBLED} WHERE build.image = ?1 AND build.id = ifnull(?2, build.id) AND build.artifact IS NOT NULL
         ORDER BY build.queued DESC LIMIT 1"
    )))
    .bind(image.to_string())
    .bind(build.map(|build| build.to_string()))
    .fetch_optional(view.rows())
    .await
}

/// Whether no build of the image was queued after this one.
pub(crate) async fn is_newest(view: &View, image: ImageId, build: BuildId) -> sqlx::Result<bool> {
    let newest: Option<String> =
        sqlx::query_scalar("SELECT id FROM build WHERE image = ? ORDER BY queued DESC LIMIT 1")
            .bind(image.to_string())
            .fetch_optional(view.rows())
            .await?;
    Ok(newest == Some(build.to_string()))
}

/// Which of these references in an engine, or builds, are of publications that no longer need them. A refused one
/// needs its artifact until `refused_before`.
pub(crate) async fn over(
    view: &View,
    candidates: &BTreeSet<String>,
    committed_before_ms: i64,
    refused_before_ms: i64,
) -> sqlx::Result<BTreeSet<String>> {
    let over = "(state = ?2 AND ended_ms < ?6) OR state = ?3
        OR (state = ?4 AND (NOT retryable OR ended_ms < ?5))";
    let found: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "SELECT artifact FROM build WHERE artifact IN (SELECT value FROM json_each(?1)) AND ({over})
         UNION SELECT id FROM build WHERE id IN (SELECT value FROM json_each(?1)) AND ({over})"
    )))
    .bind(serde_json::json!(candidates).to_string())
    .bind(state::COMMITTED)
    .bind(state::ABORTED)
    .bind(state::REFUSED)
    .bind(refused_before_ms)
    .bind(committed_before_ms)
    .fetch_all(view.rows())
    .await?;
    Ok(found.into_iter().collect())
}

/// An image whose tags in the registry do not follow the log yet.
#[derive(Debug, Clone)]
pub(crate) struct Unsettled {
    pub(crate) image: ImageId,
    pub(crate) name: ImageName,
    /// It is called otherwise than where its tags were last published.
    pub(crate) is_renamed: bool,
    /// Where the primary tag was then.
    pub(crate) named_tag: String,
    pub(crate) cause: Position,
    pub(crate) traceparent: String,
}

impl FromRow<'_, SqliteRow> for Unsettled {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let name = named(row)?;
        let named_path: Option<String> = row.try_get("named_path")?;
        let named_tag: Option<String> = row.try_get("named_tag")?;
        Ok(Self {
            image: parsed(row, "id")?,
            is_renamed: named_path.as_ref() != Some(&name.path) || named_tag.as_ref() != Some(&name.primary_tag),
            name,
            named_tag: named_tag.unwrap_or_default(),
            cause: Position::from_i64(row.try_get("cause")?),
            traceparent: row.try_get("traceparent")?,
        })
    }
}

pub(crate) async fn unsettled(view: &View) -> sqlx::Result<Vec<Unsettled>> {
    sqlx::query_as(
        "SELECT * FROM image WHERE registry = ''
         AND deleted IS NULL AND (named_path IS NOT path OR named_tag IS NOT tag OR moved > ifnull(placed, 0))",
    )
    .fetch_all(view.rows())
    .await
}

/// A tag of the log, and where its content lies.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(crate) struct Tagged {
    pub(crate) tag: String,
    pub(crate) digest: String,
    /// When it moved last.
    pub(crate) position: i64,
    /// Since the registry's tags were last placed.
    pub(crate) is_fresh: bool,
    /// Under the image's present path.
    pub(crate) is_here: bool,
    pub(crate) elsewhere: Option<String>,
}

pub(crate) async fn tags(view: &View, image: ImageId) -> sqlx::Result<Vec<Tagged>> {
    sqlx::query_as(
        "SELECT tag.tag, tag.digest, tag.position, tag.position > ifnull(image.placed, 0) AS is_fresh,
            EXISTS (SELECT 1 FROM content
                WHERE content.path = image.path AND content.digest = tag.digest AND content.image = image.id) AS is_here,
            (SELECT content.path FROM content
                WHERE content.digest = tag.digest AND content.image = image.id AND content.path <> image.path LIMIT 1)
                AS elsewhere
         FROM tag JOIN image ON image.id = tag.image WHERE tag.image = ? ORDER BY tag.tag",
    )
    .bind(image.to_string())
    .fetch_all(view.rows())
    .await
}

/// A path to be emptied and given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) image: ImageId,
    pub(crate) path: String,
    pub(crate) cause: Position,
    pub(crate) traceparent: String,
}

impl FromRow<'_, SqliteRow> for Leaving {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            image: parsed(row, "image")?,
            path: row.try_get("path")?,
            cause: Position::from_i64(row.try_get("cause")?),
            traceparent: row.try_get("traceparent")?,
        })
    }
}

/// Nothing is on its way to these paths, what is still wanted of them lies elsewhere, and nobody is called so.
pub(crate) async fn leaving(view: &View) -> sqlx::Result<Vec<Leaving>> {
    sqlx::query_as(
        "SELECT place.image, place.path, image.cause, image.traceparent
         FROM place JOIN image ON image.id = place.image
         WHERE place.state = 1
           AND (image.deleted IS NOT NULL
                OR named_path IS image.path AND named_tag IS image.tag AND NOT ifnull(moved > ifnull(placed, 0), 0))
           AND NOT EXISTS (SELECT 1 FROM build WHERE build.image = place.image
                AND (build.state = 2 AND build.target_path = place.path
                     OR build.state IN (1, 2) AND image.deleted IS NOT NULL))
           AND NOT EXISTS (SELECT 1 FROM image other
                WHERE other.path = place.path AND other.registry = '' AND other.deleted IS NULL)",
    )
    .fetch_all(view.rows())
    .await
}

/// Everything that was ever put under a path.
pub(crate) async fn contents(view: &View, path: &str) -> sqlx::Result<BTreeSet<String>> {
    let digests: Vec<String> = sqlx::query_scalar("SELECT digest FROM content WHERE path = ?")
        .bind(path)
        .fetch_all(view.rows())
        .await?;
    Ok(digests.into_iter().collect())
}

/// What a tag or a digest of an image stands for.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Published {
    pub(crate) path: String,
    pub(crate) digest: String,
    os: Option<String>,
    architecture: Option<String>,
}

impl Published {
    pub(crate) fn platform(&self) -> String {
        platform(self.os.as_deref(), self.architecture.as_deref())
    }
}

/// The log's tag table alone decides. Right after a rename it may still be the old path that can be pulled.
pub(crate) async fn resolve(view: &View, image: ImageId, tag_or_digest: &str) -> sqlx::Result<Option<Published>> {
    sqlx::query_as(
        "SELECT content.path, content.digest, build.os, build.architecture
         FROM content JOIN image ON image.id = content.image
         LEFT JOIN build ON build.image = content.image AND build.digest = content.digest
         WHERE content.image = ?1
           AND content.digest = ifnull((SELECT digest FROM tag WHERE image = ?1 AND tag = ?2), ?2)
         ORDER BY content.path = image.path DESC, content.path LIMIT 1",
    )
    .bind(image.to_string())
    .bind(tag_or_digest)
    .fetch_optional(view.rows())
    .await
}

/// A row of the list of tags.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Listed {
    pub(crate) tag: String,
    pub(crate) digest: String,
    pub(crate) actor: String,
    pub(crate) time_ms: i64,
    pub(crate) position: i64,
    pub(crate) size: Option<i64>,
    os: Option<String>,
    architecture: Option<String>,
}

impl Listed {
    pub(crate) fn platform(&self) -> String {
        platform(self.os.as_deref(), self.architecture.as_deref())
    }
}

/// By name, after a certain one.
pub(crate) async fn tag_page(view: &View, image: ImageId, after: &str, count: i64) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as(
        "SELECT tag.tag, tag.digest, ifnull(build.requester, tag.actor) AS actor, tag.time_ms, tag.position,
            build.size, build.os, build.architecture
         FROM tag LEFT JOIN build ON build.id = tag.build
         WHERE tag.image = ? AND tag.tag > ? ORDER BY tag.tag LIMIT ?",
    )
    .bind(image.to_string())
    .bind(after)
    .bind(count)
    .fetch_all(view.rows())
    .await
}

fn platform(os: Option<&str>, architecture: Option<&str>) -> String {
    match (os, architecture) {
        (Some(os), Some(architecture)) => format!("{os}/{architecture}"),
        _ => String::new(),
    }
}
