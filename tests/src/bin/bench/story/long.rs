//! Stories that go on: many users describe the image and save it, and time goes on with the log.

use super::{BEGAN_MS, ENTRIES, Step, Story};
use proto::{catalog::v1::ImageDescribed, events::ImageEvent};

/// Entries of one image.
pub(crate) const LONG_ENTRIES: usize = 50;
pub(crate) const USERS: usize = 500;
/// From one entry to the next.
pub(crate) const LONG_STEP_MS: i64 = 10_000;

pub(crate) fn user(number: usize) -> String {
    format!("user-{}", number % USERS)
}

impl Story {
    pub(crate) fn long(number: usize) -> Self {
        Self {
            length: LONG_ENTRIES,
            ..Self::new(number, &user(number))
        }
    }

    /// Where the other stories end, nothing is left open.
    pub(super) fn go_on(&mut self) -> Step {
        let told = self.told;
        self.owner = user(self.number * 7 + told);
        if told.is_multiple_of(3) {
            return self.save(u32::try_from(told / 3 - 3).unwrap_or_default());
        }
        let description = format!("tool number {} of the team, {told} times better", self.number);
        self.step(
            "catalog",
            "image",
            &[ImageEvent::Described(ImageDescribed { description })],
        )
    }

    pub(super) fn long_time_ms(&self) -> Option<i64> {
        let entry = i64::try_from(self.number * self.length + self.told).ok()?;
        (self.length > ENTRIES).then_some(BEGAN_MS + entry * LONG_STEP_MS)
    }
}
