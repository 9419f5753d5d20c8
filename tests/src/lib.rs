//! The real parts that the tests run on, each started on a free port in a folder of its own, and gone afterwards.

mod child;
mod dump;
mod nats;
mod port;

pub use child::{Child, program};
pub use dump::dump;
pub use nats::NatsServer;
pub use port::Port;
