//! What the system does, seen from outside and on the real parts.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod build;
mod events;
mod log;
mod tidy;
