//! The checkpoints of one key: each is about more entries than the one before.

use aggregate::{Aggregate, Refusal, RefusalKind};
use proto::{catalog::v1::CheckpointSigned, events::CheckpointEvent};

#[derive(Debug, Clone, Default)]
pub(crate) struct Checkpoints {
    size: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct KeepCheckpoint {
    pub(crate) size: u64,
    pub(crate) note: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a checkpoint of {0} entries is signed already")]
pub(crate) struct SignedAlready(u64);

impl Refusal for SignedAlready {
    fn kind(&self) -> RefusalKind {
        RefusalKind::Stale
    }

    fn reason(&self) -> &'static str {
        "SIGNED_ALREADY"
    }
}

impl Aggregate for Checkpoints {
    const CATEGORY: &'static str = "checkpoint";
    /// The id of the key.
    type Id = String;
    type Command = KeepCheckpoint;
    type Event = CheckpointEvent;
    type Refusal = SignedAlready;

    fn decide(&self, KeepCheckpoint { size, note }: KeepCheckpoint) -> Result<Vec<CheckpointEvent>, SignedAlready> {
        if size <= self.size {
            return Err(SignedAlready(self.size));
        }
        Ok(vec![CheckpointEvent::Signed(CheckpointSigned { size, note })])
    }

    fn evolve(&mut self, CheckpointEvent::Signed(event): &CheckpointEvent) {
        self.size = event.size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aggregate::given;

    fn keep(size: u64) -> KeepCheckpoint {
        let note = format!("note of {size}");
        KeepCheckpoint { size, note }
    }

    fn signed(size: u64) -> CheckpointEvent {
        let note = format!("note of {size}");
        CheckpointEvent::Signed(CheckpointSigned { size, note })
    }

    #[test]
    fn checkpoints_only_grow() {
        given::<Checkpoints>([]).when(keep(3)).then([signed(3)]);
        given::<Checkpoints>([signed(3)]).when(keep(4)).then([signed(4)]);
        given::<Checkpoints>([signed(3), signed(9)])
            .when(keep(9))
            .then_refused(&SignedAlready(9));
    }
}
