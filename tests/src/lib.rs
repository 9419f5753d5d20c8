//! The real parts that the tests run on, each started on a free port in a folder of its own, and gone afterwards.

mod child;
mod collector;
mod door;
mod dump;
mod engine;
pub mod git;
mod home;
mod locked;
mod nats;
mod platform;
mod port;
mod raw;
mod user;

pub use child::{Child, program};
pub use collector::{Collector, Sent};
pub use door::EngineDoor;
pub use dump::dump;
pub use engine::{BUSYBOX, Ran, busybox, engine, fetch, files, pull, run};
pub use home::Home;
pub use locked::LockedRegistry;
pub use nats::NatsServer;
pub use platform::{Platform, SERVICES, Shape, binary};
pub use port::Port;
pub use raw::Raw;
pub use user::{User, archive, detail, reason, upload_of};
