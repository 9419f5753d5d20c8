//! The event log, the commands written to it, the views read from it, and the planes beside it.
//!
//! This is the only crate that knows NATS.

mod clock;
mod envelope;
mod execute;
mod jetstream;
mod limits;
mod log;
mod memory;
mod nats;
mod planes;
mod publish;
mod record;
mod view;

pub use clock::Clock;
pub use envelope::{ENTRY_BYTES_MAX, Envelope};
pub use execute::{Done, ExecuteError, Outcome, Request, Step, Writer, step};
pub use jetstream::JetStreamLog;
pub use limits::{OPERATOR, Unfit};
pub use log::{
    Append, AppendError, Entries, Entry, EventLog, LogError, Position, RawEntries, RawEntry, StreamId, Which,
};
pub use memory::MemoryLog;
pub use nats::{ACCOUNTS, Account, Nats, NatsConfig, REFUSALS, server_accounts, server_config};
pub use planes::{Blobs, Feed, FeedEvent, Output, OutputChunk, OutputEnd, Presence, Secrets, Sign, Stored};
pub use record::record;
pub use view::{
    Behind, Differing, Projection, RebuildError, Rebuilt, Values, View, ViewError, ViewState, Views, dump, insert,
};
