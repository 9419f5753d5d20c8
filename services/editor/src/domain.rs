//! One image's build spec: the revisions that were saved, and the files that were uploaded for it.
//!
//! Numbers have no gap, and a save that changes nothing is none.

mod refused;
mod rules;

pub(crate) use refused::Refused;
pub(crate) use rules::DOCKERFILE_BYTES_MAX;

use aggregate::Aggregate;
use ids::ImageId;
use proto::{
    editor::v1::{BuildSpec, ContextKind, ContextUploaded, RevisionSaved, UploadedContext},
    events::SpecEvent,
};
use std::{collections::VecDeque, sync::Arc};

/// A state remembers this many uploads; an older one that no save took is uploaded again.
const UPLOADS: usize = 100;

/// What a save is judged by. It is copied for every command, so what is large is shared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spec {
    number: u32,
    /// Whole, because a save keeps the half that its kind does not use.
    current: Arc<BuildSpec>,
    uploads: Arc<VecDeque<UploadedContext>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Command {
    SaveRevision {
        /// Its context is known by the digest alone.
        spec: Box<BuildSpec>,
        note: String,
        /// The revision that the user saw.
        expected_revision: Option<u32>,
        /// The revision that `spec` is taken from as it was; 0: none.
        restored_from: u32,
    },
    RecordContext {
        context: UploadedContext,
    },
}

impl Aggregate for Spec {
    const CATEGORY: &'static str = "spec";
    type Id = ImageId;
    type Command = Command;
    type Event = SpecEvent;
    type Refusal = Refused;

    fn decide(&self, command: Command) -> Result<Vec<SpecEvent>, Refused> {
        match command {
            Command::RecordContext { context } => {
                if self.uploads.contains(&context) {
                    return Ok(vec![]);
                }
                Ok(vec![SpecEvent::ContextUploaded(ContextUploaded {
                    context: Some(context),
                })])
            }
            Command::SaveRevision {
                spec,
                note,
                expected_revision,
                restored_from,
            } => {
                rules::check_note(&note)?;
                let spec = match restored_from {
                    0 => self.edited(*spec, expected_revision)?,
                    revision => self.restored(*spec, revision, expected_revision)?,
                };
                if self.number > 0 && *self.current == spec {
                    return Ok(vec![]);
                }
                Ok(vec![SpecEvent::RevisionSaved(RevisionSaved {
                    number: self.number + 1,
                    spec: Some(spec),
                    note,
                    restored_from,
                })])
            }
        }
    }

    fn evolve(&mut self, event: &SpecEvent) {
        match event {
            SpecEvent::ContextUploaded(event) => {
                let uploads = Arc::make_mut(&mut self.uploads);
                if uploads.len() == UPLOADS {
                    uploads.pop_front();
                }
                uploads.extend(event.context.clone());
            }
            SpecEvent::RevisionSaved(event) => {
                self.number = event.number;
                self.current = Arc::new(event.spec.clone().unwrap_or_default());
            }
        }
    }
}

impl Spec {
    /// The current revision; 0 while nothing was saved.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// What the user wrote, as it will stand in the log.
    fn edited(&self, spec: BuildSpec, expected: Option<u32>) -> Result<BuildSpec, Refused> {
        let spec = self.with_other_half(rules::normal(spec));
        rules::check(&spec)?;
        self.expect(expected)?;
        self.attached(spec)
    }

    /// What was saved once was checked then, and comes back as it was.
    fn restored(&self, spec: BuildSpec, revision: u32, expected: Option<u32>) -> Result<BuildSpec, Refused> {
        self.expect(expected)?;
        if revision > self.number {
            return Err(Refused::NoSuchRevision {
                revision,
                newest: self.number,
            });
        }
        Ok(spec)
    }

    fn expect(&self, expected: Option<u32>) -> Result<(), Refused> {
        match expected {
            Some(expected) if expected != self.number => Err(Refused::Stale {
                expected,
                current: self.number,
            }),
            _ => Ok(()),
        }
    }

    /// Keeps the half that the spec's kind does not use, where the user left it out.
    fn with_other_half(&self, mut spec: BuildSpec) -> BuildSpec {
        let current = &*self.current;
        if spec.context_kind() == ContextKind::LocalFolder {
            spec.git = spec.git.or_else(|| current.git.clone());
        } else {
            if spec.dockerfile.is_empty() {
                spec.dockerfile.clone_from(&current.dockerfile);
            }
            spec.context = spec.context.or_else(|| current.context.clone());
        }
        spec
    }

    /// Looks up the attached files, which must have been uploaded for this image.
    fn attached(&self, mut spec: BuildSpec) -> Result<BuildSpec, Refused> {
        if let Some(wanted) = &spec.context {
            let mut known = self.uploads.iter().chain(&self.current.context);
            let found = known.find(|known| known.digest == wanted.digest);
            spec.context = Some(found.ok_or(Refused::ContextNotUploaded)?.clone());
        }
        Ok(spec)
    }
}

#[cfg(test)]
mod tests;
