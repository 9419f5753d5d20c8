//! What a batch of entries says, gathered until it is written.

use super::{
    Name, as_of,
    history::{self, Told},
    tile::{Fact, Tile},
};
use aggregate::Event as _;
use bytes::Bytes;
use eventlog::{Entry, LogError, ViewError};
use proto::{
    editor::v1::{BuildSpec, RevisionSaved},
    events::{AccessEvent, BuildsEvent, ImageEvent, RefusalEvent, RepositoryEvent, SpecEvent, WorkspaceEvent},
};
use sqlx::SqliteConnection;
use std::collections::{BTreeMap, BTreeSet};

/// What a batch says.
pub(super) struct Telling<'a> {
    pub(super) tiles: BTreeMap<String, Tile>,
    pub(super) touched: BTreeSet<String>,
    /// The last save of each image whose spec the batch changes.
    specs: BTreeMap<String, BuildSpec>,
    /// The number of the first row told.
    pub(super) first: i64,
    pub(super) told: Vec<Told<'a>>,
    /// Whole saves, by their rows.
    pub(super) saved: Vec<(i64, Bytes)>,
    pub(super) names: Vec<Name>,
}

impl<'a> Telling<'a> {
    pub(super) async fn new(
        view: &mut SqliteConnection,
        batch: &'a [Entry],
        tiles: BTreeMap<String, Tile>,
    ) -> Result<Self, ViewError> {
        Ok(Self {
            specs: last_specs(view, batch, &tiles).await?,
            tiles,
            first: history::next_row(view).await?,
            told: Vec::with_capacity(batch.len()),
            saved: Vec::new(),
            names: Vec::new(),
            touched: BTreeSet::new(),
        })
    }

    pub(super) fn next_row(&self) -> i64 {
        self.first + i64::try_from(self.told.len()).unwrap_or_default()
    }

    pub(super) fn about_workspace(&mut self, entry: &'a Entry, index: usize, event: &WorkspaceEvent) {
        self.told.push(Told {
            workspace: entry.stream.key.clone(),
            ..Told::new(entry, index, history::kind_of_workspace(event))
        });
    }

    pub(super) fn about_image(&mut self, entry: &'a Entry) -> Result<(), LogError> {
        let id = &entry.stream.key;
        let mut tile = self.tiles.remove(id).unwrap_or_default();
        match entry.stream.category.as_str() {
            "image" => {
                for (index, event) in entry.events::<ImageEvent>()?.iter().enumerate() {
                    let fact = self.fact(entry);
                    // Before it is created it has no workspace; and a purge is what follows a deletion, and counts.
                    let after_deletion = tile.deleted && !matches!(event, ImageEvent::Purged(_));
                    tile.image(&fact, event);
                    let told = Told::of(entry, index, history::kind_of_image(event), &tile);
                    self.told.push(Told { after_deletion, ..told });
                }
            }
            "spec" => {
                for (index, event) in entry.events::<SpecEvent>()?.into_iter().enumerate() {
                    let fact = self.fact(entry);
                    let mut told = Told::of(entry, index, history::kind_of_spec(&event), &tile);
                    tile.spec(&fact, &event);
                    if let SpecEvent::RevisionSaved(event) = event {
                        self.saved.push((fact.row, told.event.clone()));
                        self.save(event, &mut told, tile.deleted);
                    }
                    self.told.push(told);
                }
            }
            "builds" => {
                for (index, event) in entry.events::<BuildsEvent>()?.iter().enumerate() {
                    let kind = history::kind_of_builds(event);
                    tile.builds(&self.fact(entry), event);
                    self.told.extend(kind.map(|kind| Told::of(entry, index, kind, &tile)));
                }
            }
            "access" => {
                // They change no tile.
                for (index, event) in entry.events::<AccessEvent>()?.iter().enumerate() {
                    self.told
                        .push(Told::of(entry, index, history::kind_of_access(event), &tile));
                }
            }
            _ => {
                for (index, event) in entry.events::<RepositoryEvent>()?.iter().enumerate() {
                    let kind = history::kind_of_repository(event);
                    tile.repository(&self.fact(entry), event);
                    let mut told = kind.map(|kind| Told::of(entry, index, kind, &tile));
                    if let RepositoryEvent::Released(event) = event {
                        self.names.push(Name::released(entry, &event.registry, &event.path));
                        // Cleaning up is what follows a deletion, and counts.
                        told = told.map(|told| Told {
                            after_deletion: false,
                            ..told
                        });
                    }
                    self.told.extend(told);
                }
            }
        }
        self.tiles.insert(id.clone(), tile);
        if entry.stream.category != "access" {
            self.touched.insert(id.clone());
        }
        Ok(())
    }

    fn fact(&self, entry: &'a Entry) -> Fact<'a> {
        Fact {
            image: &entry.stream.key,
            position: entry.position,
            time_ms: entry.envelope.time_ms,
            actor: &entry.envelope.actor,
            row: self.next_row(),
        }
    }

    /// Tells what a save changed, and keeps it without its Dockerfile.
    fn save(&mut self, event: RevisionSaved, told: &mut Told<'_>, is_void: bool) {
        let (mut event, mut spec) = (event.clone(), event.spec.unwrap_or_default());
        told.changes = history::changes(self.specs.get(&told.image), &spec);
        let dockerfile = std::mem::take(&mut spec.dockerfile);
        event.spec = Some(spec.clone());
        told.event = SpecEvent::RevisionSaved(event).to_bytes().into();
        if !is_void {
            self.specs.insert(told.image.clone(), BuildSpec { dockerfile, ..spec });
        }
    }

    pub(super) fn refusals(&mut self, entry: &'a Entry) -> Result<(), LogError> {
        for (index, event) in entry.events::<RefusalEvent>()?.into_iter().enumerate() {
            let told = Told::new(entry, index, "access.refused");
            self.told.push(match event {
                RefusalEvent::Refused(event) => Told {
                    actor: event.actor,
                    image: event.image.map(|image| image.to_string()).unwrap_or_default(),
                    workspace: event
                        .workspace
                        .map(|workspace| workspace.to_string())
                        .unwrap_or_default(),
                    ..told
                },
                RefusalEvent::Others(_) => told,
            });
        }
        Ok(())
    }
}

/// The last saves of the images that a batch saves.
async fn last_specs(
    view: &mut SqliteConnection,
    batch: &[Entry],
    tiles: &BTreeMap<String, Tile>,
) -> Result<BTreeMap<String, BuildSpec>, ViewError> {
    let saving = batch.iter().filter(|entry| entry.stream.category == "spec");
    let last = saving.filter_map(|entry| Some((tiles.get(&entry.stream.key)?.saved?, &entry.stream.key)));
    let images: BTreeMap<i64, &String> = last.collect();
    if images.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<i64> = images.keys().copied().collect();
    let saves = as_of::saves(&mut *view, &rows).await?;
    let spec =
        |(row, saved): (i64, RevisionSaved)| Some(((*images.get(&row)?).clone(), saved.spec.unwrap_or_default()));
    Ok(saves.into_iter().filter_map(spec).collect())
}
