//! What the system does, seen from outside and on the real parts.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod access;
mod audit;
mod build;
mod catalog;
mod editor;
mod events;
mod faults;
mod log;
mod operate;
mod proof;
mod registry;
mod tidy;
mod tokens;
mod up;
