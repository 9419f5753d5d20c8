//! What the world is told: the stream `EVENTS` and Subscribe, over a real server, and what happens when that dies.

mod feed;
mod platform;
mod publish;
mod subscribe;
