//! What the log says of builds to publish, tags to place, and repositories to move or empty.
//!
//! Rows are patched: an event sets some columns, and all patches of a batch go into one statement per table.

mod patches;
mod queries;
#[cfg(test)]
mod tests;

pub(crate) use queries::{
    Assembled, Leaving, Published, Tagged, Unsettled, assembled, contents, due, is_newest, leaving, over, resolve,
    tag_page, tags, unsettled,
};

use async_trait::async_trait;
use eventlog::{Entry, Projection, ViewError};
use patches::Patches;
use proto::events::ImageEvent;
use sqlx::SqliteConnection;

pub(crate) struct RepositoryProjection;

/// How far a build's image got. NULL: the builder has it.
pub(crate) mod state {
    pub(crate) const ASSEMBLED: i64 = 1;
    pub(crate) const OPEN: i64 = 2;
    pub(crate) const COMMITTED: i64 = 3;
    pub(crate) const ABORTED: i64 = 4;
    pub(crate) const REFUSED: i64 = 5;
}

// A column that no event has set yet is NULL.
const SCHEMA: &str = "
    CREATE TABLE image (id TEXT PRIMARY KEY, registry TEXT, path TEXT, tag TEXT,
        -- The name under which its tags were last published.
        named_path TEXT, named_tag TEXT,
        -- The last move of a tag, and how far the registry's own tags follow.
        moved INTEGER, placed INTEGER,
        -- The entry that the next step follows from.
        cause INTEGER, traceparent TEXT,
        deleted INTEGER);
    CREATE INDEX image_path ON image (path);
    CREATE INDEX image_unsettled ON image (id)
        WHERE deleted IS NULL AND (named_path IS NOT path OR named_tag IS NOT tag OR moved > ifnull(placed, 0));
    CREATE TABLE build (id TEXT PRIMARY KEY, image TEXT, queued INTEGER, revision INTEGER, requester TEXT,
        attempt INTEGER, engine TEXT, artifact TEXT, extra_tags TEXT,
        state INTEGER, retryable INTEGER,
        target_path TEXT, digest TEXT, size INTEGER, os TEXT, architecture TEXT,
        -- Positions: of a cancel, and of the entry that the next step follows from.
        cancelled INTEGER, cause INTEGER,
        ended_ms INTEGER, traceparent TEXT);
    CREATE INDEX build_image ON build (image, queued);
    CREATE INDEX build_due ON build (engine, cause) WHERE state IN (1, 2);
    CREATE INDEX build_artifact ON build (artifact) WHERE artifact IS NOT NULL;
    CREATE TABLE tag (image TEXT, tag TEXT, digest TEXT NOT NULL, build TEXT, actor TEXT NOT NULL,
        time_ms INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (image, tag)) WITHOUT ROWID;
    -- What can be pulled, and where.
    CREATE TABLE content (path TEXT, digest TEXT, image TEXT, PRIMARY KEY (path, digest, image)) WITHOUT ROWID;
    CREATE INDEX content_image ON content (image, digest);
    -- Each path that an image ever had: 0 held, 1 to be emptied and given back, 2 given back.
    CREATE TABLE place (image TEXT, path TEXT, state INTEGER, PRIMARY KEY (image, path)) WITHOUT ROWID;
    CREATE INDEX place_leaving ON place (image, path) WHERE state = 1;
";

#[async_trait]
impl Projection for RepositoryProjection {
    fn name(&self) -> &'static str {
        "registry-pusher"
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn reads(&self) -> &'static [&'static str] {
        &["image", "builds", "repository"]
    }

    fn ignores(&self, entry: &Entry) -> bool {
        entry.tells_only("image", |event: &ImageEvent| matches!(event, ImageEvent::Described(_)))
    }

    fn keeps(&self) -> &'static [&'static str] {
        &["repository"]
    }

    async fn apply(&self, view: &mut SqliteConnection, batch: &[Entry]) -> Result<(), ViewError> {
        let mut patches = Patches::default();
        for entry in batch {
            match entry.stream.category.as_str() {
                "image" => {
                    for event in entry.events()? {
                        patches.image(view, entry, event).await?;
                    }
                }
                "builds" => {
                    for event in entry.events()? {
                        patches.builds(entry, event);
                    }
                }
                "repository" => {
                    for event in entry.events()? {
                        patches.repository(view, entry, event).await?;
                    }
                }
                _ => (),
            }
        }
        patches.write(view).await
    }
}
