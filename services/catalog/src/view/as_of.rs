//! One image as it was: a fold over its rows of the history up to a moment.

use super::{
    AsOf,
    grants::Grants,
    history::HistoryRow,
    tile::{Fact, Tile},
};
use aggregate::Event as _;
use eventlog::{LogError, Position, View, ViewError};
use proto::{
    catalog::v1::{ImageDeleted, ImageGrant, TagThen},
    editor::v1::{Revision, RevisionSaved},
    events::{BuildsEvent, ImageEvent, RepositoryEvent, SpecEvent},
};
use service::timestamp;
use sqlx::SqliteExecutor;
use std::collections::{BTreeMap, HashMap};

/// An image at a moment.
#[derive(Debug, Default)]
pub(crate) struct Past {
    pub(crate) tile: Tile,
    pub(crate) revision: Option<Revision>,
    /// By name, without their references.
    pub(crate) tags: Vec<TagThen>,
    /// By grantee.
    pub(crate) grants: Vec<ImageGrant>,
    /// The last row that counts.
    pub(crate) position: i64,
    pub(crate) time_ms: i64,
}

/// `None` when it was not there yet.
pub(crate) async fn as_of(view: &View, image: &str, moment: AsOf) -> Result<Option<Past>, ViewError> {
    let (condition, bound) = match moment {
        AsOf::Now => ("position <= ?2", i64::MAX),
        AsOf::Position(position) => ("position <= ?2", position.as_i64()),
        // Clocks differ: it is the last entry that was written by then, and all before it.
        AsOf::Time(time_ms) => (
            "row <= (SELECT max(row) FROM history WHERE image = ?1 AND time_ms <= ?2)",
            time_ms,
        ),
    };
    let rows: Vec<HistoryRow> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT * FROM history WHERE image = ?1 AND category <> 'refusal' AND {condition} ORDER BY row"
    )))
    .bind(image)
    .bind(bound)
    .fetch_all(view.rows())
    .await?;
    let (mut tile, mut tags, mut grants) = (Tile::default(), Tags::default(), Grants::default());
    for row in &rows {
        fold(&mut tile, &mut tags, &mut grants, row)?;
    }
    if tile.deleted {
        // They end with the image.
        grants = Grants::default();
    }
    let Some(last) = rows.last().filter(|_| !tile.workspace.is_empty()) else {
        return Ok(None);
    };
    let saved = rows.iter().find(|row| Some(row.row) == tile.saved);
    let revision = match saved {
        Some(row) => saves(view.rows(), &[row.row])
            .await?
            .pop()
            .map(|(_, saved)| revision(row, saved)),
        None => None,
    };
    Ok(Some(Past {
        revision,
        grants: grants.into_list(),
        tags: tags.by_name.into_values().collect(),
        position: last.position,
        time_ms: last.time_ms,
        tile,
    }))
}

fn fold(tile: &mut Tile, tags: &mut Tags, grants: &mut Grants, row: &HistoryRow) -> Result<(), LogError> {
    fn read<E: aggregate::Event>(row: &HistoryRow) -> Result<E, LogError> {
        let position = Position::from_i64(row.position);
        E::from_bytes(&row.event).ok_or(LogError::UnknownEvent { position })
    }
    let fact = row.fact();
    match row.category.as_str() {
        "image" => {
            let event = read::<ImageEvent>(row)?;
            if matches!(
                &event,
                ImageEvent::Purged(_) | ImageEvent::Deleted(ImageDeleted { purge: true, .. })
            ) {
                *tags = Tags::default();
            }
            tile.image(&fact, &event);
        }
        "spec" => tile.spec(&fact, &read::<SpecEvent>(row)?),
        "builds" => tile.builds(&fact, &read::<BuildsEvent>(row)?),
        "repository" => {
            let event = read::<RepositoryEvent>(row)?;
            tile.repository(&fact, &event);
            // What comes after the deletion is void.
            if !row.after_deletion {
                tags.fold(&fact, &event);
            }
        }
        "access" => grants.fold(&row.actor, row.time_ms, read(row)?),
        _ => (),
    }
    Ok(())
}

/// Whole saves, by their rows.
pub(super) async fn saves(
    rows: impl SqliteExecutor<'_>,
    wanted: &[i64],
) -> Result<Vec<(i64, RevisionSaved)>, ViewError> {
    let found: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT row, event FROM saved WHERE row IN (SELECT value FROM json_each(?))")
            .bind(serde_json::to_string(wanted)?)
            .fetch_all(rows)
            .await?;
    let saved = |(row, bytes): (i64, Vec<u8>)| match SpecEvent::from_bytes(&bytes) {
        Some(SpecEvent::RevisionSaved(saved)) => Some((row, saved)),
        Some(SpecEvent::ContextUploaded(_)) | None => None,
    };
    Ok(found.into_iter().filter_map(saved).collect())
}

fn revision(row: &HistoryRow, saved: RevisionSaved) -> Revision {
    Revision {
        number: saved.number,
        spec: saved.spec,
        note: saved.note,
        actor: row.actor.clone(),
        time: timestamp(row.time_ms),
        restored_from: saved.restored_from,
        diagnostics: Vec::new(),
    }
}

/// Where tags point, and what is there.
#[derive(Default)]
struct Tags {
    by_name: BTreeMap<String, TagThen>,
    /// By build: who asked for it, its size, and what it runs on.
    contents: HashMap<String, (String, i64, String)>,
}

impl Tags {
    fn fold(&mut self, fact: &Fact<'_>, event: &RepositoryEvent) {
        match event {
            RepositoryEvent::Committed(event) => {
                let build = event.build.unwrap_or_default().to_string();
                let platform = format!("{}/{}", event.os, event.architecture);
                self.contents
                    .insert(build, (event.requester.clone(), event.size_bytes, platform));
            }
            RepositoryEvent::TagMoved(event) => {
                let content = self.contents.get(&event.build.unwrap_or_default().to_string());
                let (actor, size_bytes, platform) = content.cloned().unwrap_or_default();
                let tag = TagThen {
                    name: event.tag.clone(),
                    digest: event.digest.clone(),
                    size_bytes,
                    platforms: if platform.is_empty() {
                        Vec::new()
                    } else {
                        vec![platform]
                    },
                    actor: if actor.is_empty() { fact.actor.to_owned() } else { actor },
                    time: timestamp(fact.time_ms),
                    version: fact.position.0,
                    ..TagThen::default()
                };
                self.by_name.insert(event.tag.clone(), tag);
            }
            RepositoryEvent::Opened(_)
            | RepositoryEvent::Aborted(_)
            | RepositoryEvent::Refused(_)
            | RepositoryEvent::Reopened(_)
            | RepositoryEvent::TagsPlaced(_)
            | RepositoryEvent::Relocated(_)
            | RepositoryEvent::Released(_) => (),
        }
    }
}
