//! The event log, its writers and its views: the same on the memory log and on a real server, and under faults.

mod company;
mod contract;
mod faults;
mod limits;
mod output;
mod permissions;
mod presence;
mod tally;
mod views;
mod writer;
