//! What every service shares: settings, the life of a process, the one port, who calls, and what went wrong.

mod admin;
pub mod auth;
mod call;
mod config;
mod nats;
mod policy;
mod port;
mod process;
mod refusals;
mod status;
mod stream;
pub mod telemetry;
mod time;

pub use call::{AT_LEAST, Call};
pub use config::{BuilderSettings, Config, LogFormat};
pub use nats::{grow, password_of};
pub use policy::reconcile;
pub use process::{Ids, Process, Service, World, bind, main, run, stop_on_signal};
pub use status::{Failure, invalid, outage, status, with_metadata};
pub use time::{duration, milliseconds, page, timestamp};

/// Entries are made on one thread and dropped on another: a view that grows back spends a third of its time in the
/// system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
