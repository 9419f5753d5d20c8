//! One image's repository: its publications, the tags that they move, and where its contents lie.
//!
//! A build is published at most once, and what is published is decided here: a cancel and a commit meet in this
//! stream, and the registry's own tags only follow it.

mod command;
#[cfg(test)]
mod laws;
mod refused;
#[cfg(test)]
mod scenarios;

pub(crate) use command::{Command, Content};
pub(crate) use refused::Refused;

use aggregate::Aggregate;
use ids::{BuildId, ImageId};
use proto::{
    catalog::v1::ImageName,
    events::RepositoryEvent,
    registry::v1::{
        PublicationAborted, PublicationCommitted, PublicationOpened, PublicationRefused, PublicationReopened,
        RepositoryReleased, RepositoryRelocated, TagMoved, TagsPlaced,
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// Keyed by path alone: all of it lies in the cluster's own registry.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Repository {
    publications: BTreeMap<BuildId, Publication>,
    tags: BTreeMap<String, Tagged>,
    /// Path and digest of everything that can be pulled.
    contents: BTreeSet<(String, String)>,
    /// Paths that were given back.
    released: BTreeSet<String>,
    /// The name under which all tags were last published; absent before the first rename.
    name: Option<ImageName>,
    placed: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Publication {
    stage: Stage,
    attempt: u32,
    revision: u32,
    target: ImageName,
    /// The tags to move; empty once it has ended for good.
    tags: Vec<String>,
    requester: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    Committed,
    Aborted,
    Refused { retryable: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tagged {
    digest: String,
    build: BuildId,
    /// Of the build that it came from.
    revision: u32,
}

impl Repository {
    pub(crate) fn stage(&self, build: BuildId) -> Option<Stage> {
        Some(self.publications.get(&build)?.stage)
    }

    /// Where an open publication goes.
    pub(crate) fn target(&self, build: BuildId) -> Option<&ImageName> {
        Some(&self.open(build)?.target)
    }

    /// Every tag and its digest.
    pub(crate) fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags
            .iter()
            .map(|(tag, tagged)| (tag.as_str(), tagged.digest.as_str()))
    }

    fn open(&self, build: BuildId) -> Option<&Publication> {
        self.publications
            .get(&build)
            .filter(|publication| publication.stage == Stage::Open)
    }

    fn publish(&self, content: Content) -> Result<Vec<RepositoryEvent>, Refused> {
        let build = content.build;
        if !self.publications.contains_key(&build) {
            return Err(Refused::NoSuchPublication);
        }
        let Some(publication) = self.open(build).filter(|open| open.attempt == content.attempt) else {
            return Ok(Vec::new());
        };
        let mut events = vec![RepositoryEvent::Committed(PublicationCommitted {
            build: Some(build),
            digest: content.digest.clone(),
            size_bytes: content.size_bytes,
            os: content.os,
            architecture: content.architecture,
            revision: publication.revision,
            target: Some(publication.target.clone()),
            requester: publication.requester.clone(),
        })];
        for tag in &publication.tags {
            let previous = self.tags.get(tag);
            // A late success of an older revision never moves a tag back.
            if previous.is_none_or(|tagged| tagged.revision <= publication.revision && tagged.digest != content.digest)
            {
                events.push(RepositoryEvent::TagMoved(TagMoved {
                    tag: tag.clone(),
                    digest: content.digest.clone(),
                    previous_digest: previous.map(|previous| previous.digest.clone()).unwrap_or_default(),
                    build: Some(build),
                }));
            }
        }
        Ok(events)
    }

    fn reopen(
        &self,
        opened: PublicationOpened,
        artifact_kept: bool,
        is_newest: bool,
    ) -> Result<Vec<RepositoryEvent>, Refused> {
        let known = self
            .publications
            .get(&opened.build.unwrap_or_default())
            .ok_or(Refused::NothingToRetry)?;
        let Stage::Refused { retryable } = known.stage else {
            return Err(Refused::NothingToRetry);
        };
        if !is_newest {
            return Err(Refused::NewerBuild);
        }
        if !retryable || !artifact_kept {
            return Err(Refused::ArtifactGone);
        }
        let target = opened.target.clone().unwrap_or_default();
        if self.released.contains(&target.path) {
            return Err(Refused::RepositoryReleased(target.path));
        }
        let mut events = vec![RepositoryEvent::Reopened(PublicationReopened { build: opened.build })];
        if target != known.target {
            events.push(RepositoryEvent::Opened(opened));
        }
        Ok(events)
    }

    fn relocate(
        &self,
        name: ImageName,
        previous_tag: &str,
        digests: &BTreeSet<String>,
    ) -> Result<Vec<RepositoryEvent>, Refused> {
        let lies_there = |tagged: &Tagged| self.contents.contains(&(name.path.clone(), tagged.digest.clone()));
        if !self
            .tags
            .values()
            .all(|tagged| digests.contains(&tagged.digest) || lies_there(tagged))
        {
            return Err(Refused::NotAllThere);
        }
        let known = self.name.as_ref() == Some(&name) && !self.released.contains(&name.path);
        if known && self.tags.values().all(lies_there) {
            return Ok(Vec::new());
        }
        let mut events = vec![RepositoryEvent::Relocated(RepositoryRelocated {
            name: Some(name.clone()),
        })];
        // A new primary tag begins where the old one is, so that the image stays published.
        if let Some(previous) = self.tags.get(previous_tag)
            && !self.tags.contains_key(&name.primary_tag)
        {
            events.push(RepositoryEvent::TagMoved(TagMoved {
                tag: name.primary_tag,
                digest: previous.digest.clone(),
                previous_digest: String::new(),
                build: Some(previous.build),
            }));
        }
        Ok(events)
    }

    fn release(&self, path: String) -> Result<Vec<RepositoryEvent>, Refused> {
        let goes_there = |publication: &Publication| publication.target.path == path;
        if self
            .publications
            .values()
            .any(|publication| publication.stage == Stage::Open && goes_there(publication))
        {
            return Err(Refused::PublicationOpen(path));
        }
        if self.released.contains(&path) {
            return Ok(Vec::new());
        }
        let registry = String::new();
        Ok(vec![RepositoryEvent::Released(RepositoryReleased { registry, path })])
    }

    /// Tags that have this digest already don't move, but are of the newer revision from now on.
    fn confirm(&mut self, build: BuildId, digest: &str) {
        let Some(publication) = self.publications.get(&build) else {
            return;
        };
        for tag in &publication.tags {
            if let Some(tagged) = self.tags.get_mut(tag).filter(|tagged| tagged.digest == digest) {
                tagged.revision = tagged.revision.max(publication.revision);
            }
        }
    }

    fn turn(&mut self, build: Option<BuildId>, stage: Stage) {
        // A build that was cancelled before it could be opened has an end only.
        let publication = self
            .publications
            .entry(build.unwrap_or_default())
            .or_insert_with(|| Publication {
                stage,
                attempt: 0,
                revision: 0,
                target: ImageName::default(),
                tags: Vec::new(),
                requester: String::new(),
            });
        publication.stage = stage;
        if matches!(stage, Stage::Committed | Stage::Aborted) {
            // Every build leaves one of these, so it is kept small.
            publication.target = ImageName::default();
            publication.tags = Vec::new();
            publication.requester = String::new();
        }
    }
}

impl Aggregate for Repository {
    const CATEGORY: &'static str = "repository";
    type Id = ImageId;
    type Command = Command;
    type Event = RepositoryEvent;
    type Refusal = Refused;

    fn decide(&self, command: Command) -> Result<Vec<RepositoryEvent>, Refused> {
        match command {
            Command::Open(opened) => {
                let build = opened.build.unwrap_or_default();
                let path = opened.target.clone().unwrap_or_default().path;
                match self.publications.get(&build) {
                    Some(known) if known.stage != Stage::Open || known.attempt >= opened.build_attempt => {
                        Ok(Vec::new())
                    }
                    _ if self.released.contains(&path) => Err(Refused::RepositoryReleased(path)),
                    _ => Ok(vec![RepositoryEvent::Opened(opened)]),
                }
            }
            Command::Commit(content) => self.publish(content),
            Command::Abort { build } => match self.stage(build) {
                None | Some(Stage::Open) => Ok(vec![RepositoryEvent::Aborted(PublicationAborted {
                    build: Some(build),
                })]),
                Some(Stage::Committed) => Err(Refused::AlreadyPublished),
                Some(Stage::Aborted | Stage::Refused { .. }) => Ok(Vec::new()),
            },
            Command::Refuse {
                build,
                attempt,
                cause,
                retryable,
            } => match self.open(build) {
                Some(open) if open.attempt == attempt => {
                    let build = Some(build);
                    Ok(vec![RepositoryEvent::Refused(PublicationRefused {
                        build,
                        cause,
                        retryable,
                    })])
                }
                _ => Ok(Vec::new()),
            },
            Command::Reopen {
                opened,
                artifact_kept,
                is_newest,
            } => self.reopen(opened, artifact_kept, is_newest),
            Command::RecordPlaced { position } if position > self.placed => {
                Ok(vec![RepositoryEvent::TagsPlaced(TagsPlaced { position })])
            }
            Command::RecordPlaced { .. } => Ok(Vec::new()),
            Command::RecordRelocated {
                name,
                previous_tag,
                digests,
            } => self.relocate(name, &previous_tag, &digests),
            Command::RecordReleased { path } => self.release(path),
        }
    }

    fn evolve(&mut self, event: &RepositoryEvent) {
        match event.clone() {
            RepositoryEvent::Opened(opened) => {
                let publication = Publication {
                    stage: Stage::Open,
                    attempt: opened.build_attempt,
                    revision: opened.revision,
                    target: opened.target.unwrap_or_default(),
                    tags: opened.tags,
                    requester: opened.requester,
                };
                self.publications.insert(opened.build.unwrap_or_default(), publication);
            }
            RepositoryEvent::Committed(committed) => {
                self.confirm(committed.build.unwrap_or_default(), &committed.digest);
                self.contents
                    .insert((committed.target.unwrap_or_default().path, committed.digest));
                self.turn(committed.build, Stage::Committed);
            }
            RepositoryEvent::Aborted(aborted) => self.turn(aborted.build, Stage::Aborted),
            RepositoryEvent::Refused(refused) => {
                self.turn(
                    refused.build,
                    Stage::Refused {
                        retryable: refused.retryable,
                    },
                );
            }
            RepositoryEvent::Reopened(reopened) => self.turn(reopened.build, Stage::Open),
            RepositoryEvent::TagMoved(moved) => {
                let build = moved.build.unwrap_or_default();
                let revision = self
                    .publications
                    .get(&build)
                    .map_or(0, |publication| publication.revision);
                self.tags.insert(
                    moved.tag,
                    Tagged {
                        digest: moved.digest,
                        build,
                        revision,
                    },
                );
            }
            RepositoryEvent::TagsPlaced(placed) => self.placed = placed.position,
            RepositoryEvent::Relocated(relocated) => {
                let name = relocated.name.unwrap_or_default();
                self.released.remove(&name.path);
                self.contents.extend(
                    self.tags
                        .values()
                        .map(|tagged| (name.path.clone(), tagged.digest.clone())),
                );
                // What is still on its way moves the new primary tag too.
                for publication in self
                    .publications
                    .values_mut()
                    .filter(|publication| !publication.tags.is_empty())
                {
                    if !publication.tags.contains(&name.primary_tag) {
                        publication.tags.push(name.primary_tag.clone());
                    }
                }
                self.name = Some(name);
            }
            RepositoryEvent::Released(released) => {
                self.contents.retain(|(path, _)| *path != released.path);
                self.released.insert(released.path);
            }
        }
    }
}
