//! What the log itself says of builds: nothing was built twice, whoever died meanwhile.

use anyhow::{Context as _, bail, ensure};
use eventlog::Entry;
use ids::{BuildId, Ulid};
use proto::{
    builder::v1::{AttemptLost, BuildQueued, BuildStarted},
    events::{BuildsEvent, RepositoryEvent},
    registry::v1::PublicationCommitted,
};
use std::collections::BTreeMap;

/// How far a build got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Running,
    Assembled,
    Open,
    Published,
    Lost,
}

#[derive(Debug)]
pub(super) struct Story {
    pub(super) image: String,
    pub(super) stage: Stage,
    /// How many attempts were started.
    pub(super) attempts: u32,
}

impl Story {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Published | Stage::Lost)
    }

    /// Of the attempt that may speak for the build, and of no other.
    fn turn(&mut self, from: Stage, attempt: u32, to: Stage) -> anyhow::Result<()> {
        ensure!(self.stage == from && self.attempts == attempt, "not after {self:?}");
        self.stage = to;
        Ok(())
    }
}

/// By id.
pub(super) type Stories = BTreeMap<String, Story>;

/// Reads how each build went. An error when something did not follow from what was before it: so at most one build of
/// an image is under way, at most one attempt of it runs, and it comes to one end, once.
///
/// Nobody cancels here, and nothing fails but by a death.
pub(super) fn stories(entries: &[Entry], attempts_max: u32) -> anyhow::Result<Stories> {
    let mut stories = Stories::new();
    for entry in entries {
        match entry.stream.category.as_str() {
            "builds" => {
                for event in entry.events()? {
                    let told = built(&mut stories, &entry.stream.key, &event, attempts_max);
                    told.with_context(|| format!("at {}: {event:?}", entry.position))?;
                }
            }
            "repository" => {
                for event in entry.events()? {
                    let told = published(&mut stories, &event);
                    told.with_context(|| format!("at {}: {event:?}", entry.position))?;
                }
            }
            _ => (),
        }
    }
    Ok(stories)
}

fn story(stories: &mut Stories, build: Option<BuildId>) -> anyhow::Result<&mut Story> {
    let known = stories.get_mut(&build.unwrap_or_default().to_string());
    known.context("nobody asked for this build")
}

fn built(stories: &mut Stories, image: &str, event: &BuildsEvent, attempts_max: u32) -> anyhow::Result<()> {
    match event {
        BuildsEvent::Queued(queued) => {
            let active = stories
                .iter()
                .find(|(_, story)| story.image == image && !story.is_over());
            ensure!(active.is_none(), "while {active:?}");
            let story = Story {
                image: image.to_owned(),
                stage: Stage::Waiting,
                attempts: 0,
            };
            let before = stories.insert(queued.build.unwrap_or_default().to_string(), story);
            ensure!(before.is_none(), "after {before:?}");
        }
        BuildsEvent::Started(started) => {
            ensure!(started.attempt <= attempts_max, "{attempts_max} are allowed");
            let story = story(stories, started.build)?;
            story.turn(Stage::Waiting, started.attempt - 1, Stage::Running)?;
            story.attempts = started.attempt;
        }
        BuildsEvent::SourceFetched(fetched) => {
            story(stories, fetched.build)?.turn(Stage::Running, fetched.attempt, Stage::Running)?;
        }
        BuildsEvent::Assembled(assembled) => {
            story(stories, assembled.build)?.turn(Stage::Running, assembled.attempt, Stage::Assembled)?;
        }
        BuildsEvent::AttemptLost(lost) => {
            story(stories, lost.build)?.turn(Stage::Running, lost.attempt, Stage::Waiting)?;
        }
        BuildsEvent::Lost(lost) => {
            ensure!(lost.attempt == attempts_max, "{attempts_max} are allowed");
            story(stories, lost.build)?.turn(Stage::Running, lost.attempt, Stage::Lost)?;
        }
        BuildsEvent::Failed(_) | BuildsEvent::CancelRequested(_) | BuildsEvent::Cancelled(_) => {
            bail!("nothing led to this")
        }
    }
    Ok(())
}

fn published(stories: &mut Stories, event: &RepositoryEvent) -> anyhow::Result<()> {
    match event {
        RepositoryEvent::Opened(opened) => {
            story(stories, opened.build)?.turn(Stage::Assembled, opened.build_attempt, Stage::Open)?;
        }
        RepositoryEvent::Committed(committed) => {
            let story = story(stories, committed.build)?;
            story.turn(Stage::Open, story.attempts, Stage::Published)?;
        }
        RepositoryEvent::Aborted(_) | RepositoryEvent::Refused(_) | RepositoryEvent::Reopened(_) => {
            bail!("nothing led to this")
        }
        RepositoryEvent::TagMoved(_)
        | RepositoryEvent::TagsPlaced(_)
        | RepositoryEvent::Relocated(_)
        | RepositoryEvent::Released(_) => (),
    }
    Ok(())
}

#[test]
fn a_story_in_which_something_happens_twice_is_not_told() {
    let build = Some(BuildId::from_ulid(Ulid::from(1_u128)));
    let started = |attempt| {
        BuildsEvent::Started(BuildStarted {
            build,
            attempt,
            ..BuildStarted::default()
        })
    };
    let queued = || {
        BuildsEvent::Queued(BuildQueued {
            build,
            ..BuildQueued::default()
        })
    };
    let lost = |attempt| {
        BuildsEvent::AttemptLost(AttemptLost {
            build,
            attempt,
            ..AttemptLost::default()
        })
    };
    let committed = || {
        RepositoryEvent::Committed(PublicationCommitted {
            build,
            ..PublicationCommitted::default()
        })
    };
    let told = |events: &[BuildsEvent]| {
        let mut stories = Stories::new();
        let told = events
            .iter()
            .try_for_each(|event| built(&mut stories, "image", event, 2));
        told.map(|()| stories)
    };

    let mut stories = told(&[queued(), started(1), lost(1), started(2)]).unwrap();
    let story = stories.values_mut().next().unwrap();
    assert_eq!((story.stage, story.attempts), (Stage::Running, 2));
    story.stage = Stage::Open;
    published(&mut stories, &committed()).unwrap();
    assert!(published(&mut stories, &committed()).is_err(), "published twice");

    assert!(
        told(&[queued(), started(1), started(2)]).is_err(),
        "two attempts at a time"
    );
    assert!(
        told(&[queued(), started(1), lost(2)]).is_err(),
        "an end of another attempt"
    );
    assert!(
        told(&[queued(), started(1), lost(1), started(2), lost(2), started(3)]).is_err(),
        "too many attempts"
    );
    assert!(told(&[queued(), queued()]).is_err(), "two builds of one image");
}
