//! The proof: what is signed, what is proved with it, and that whatever is done to a log is found.

mod command;
mod damage;
mod signing;
