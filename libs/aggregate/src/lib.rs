//! The pure core: state, commands, events. No I/O, no clock, no randomness.
//!
//! A decision reads only the state; what it needs from outside is looked up before, and put into the command.

use std::{error::Error, fmt};

/// A fact, as written in the `.proto` files.
pub trait Event: Clone + PartialEq + fmt::Debug + Send + Sync + 'static {
    fn to_bytes(&self) -> Vec<u8>;

    /// `None` when the bytes hold a kind of event that this build does not know.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// Why a command was turned down. Nothing was changed.
pub trait Refusal: Error + Send + Sync + 'static {
    fn kind(&self) -> RefusalKind;

    /// Stable and in capitals, for programs: `NAME_TAKEN`.
    fn reason(&self) -> &'static str;

    /// What a program needs to react, such as the current revision.
    fn metadata(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The field of the request that is wrong, for `InvalidInput`.
    fn field(&self) -> Option<&'static str> {
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request makes no sense, whatever the state.
    InvalidInput,
    NotFound,
    /// Visible to the caller, and not allowed.
    NotAllowed,
    AlreadyExists,
    /// The caller judged on an older state: look again.
    Stale,
    /// Not now.
    WrongState,
    /// A limit, named in the message.
    LimitReached,
}

/// A consistency boundary: one stream of the log. The implementing type is the state itself.
pub trait Aggregate: Default + Clone + Send + Sync + 'static {
    /// First token of the aggregate's stream: `image` in `image.img_01J...`.
    const CATEGORY: &'static str;
    type Id: fmt::Display + Clone + Send + Sync;
    type Command: Clone + Send + Sync;
    type Event: Event;
    type Refusal: Refusal;

    /// Judges a command. Deciding nothing (an empty list) is a success that writes nothing.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// Folds a fact into the state. Facts already happened, so this cannot fail.
    fn evolve(&mut self, event: &Self::Event);

    fn replay<'a>(events: impl IntoIterator<Item = &'a Self::Event>) -> Self
    where
        Self::Event: 'a,
    {
        let mut state = Self::default();
        for event in events {
            state.evolve(event);
        }
        state
    }
}

/// Starts a scenario: `given::<Image>([..]).when(command).then([..])`.
pub fn given<A: Aggregate>(history: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given(history.into_iter().collect())
}

pub struct Given<A: Aggregate>(Vec<A::Event>);

#[must_use]
pub struct When<A: Aggregate>(Result<Vec<A::Event>, A::Refusal>);

impl<A: Aggregate> Given<A> {
    pub fn when(self, command: A::Command) -> When<A> {
        When(A::replay(&self.0).decide(command))
    }
}

impl<A: Aggregate> When<A> {
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) {
        match self.0 {
            Ok(events) => assert_eq!(events, expected.into_iter().collect::<Vec<_>>()),
            Err(refusal) => panic!("refused: {refusal}"),
        }
    }

    #[track_caller]
    pub fn then_refused(self, expected: &A::Refusal)
    where
        A::Refusal: PartialEq,
    {
        match self.0 {
            Ok(events) => panic!("not refused: {events:?}"),
            Err(refusal) => assert_eq!(&refusal, expected),
        }
    }
}
