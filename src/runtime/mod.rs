//! The real world: the only code that is async, names glommio, reads a clock or holds a socket.
#![allow(clippy::disallowed_methods, reason = "the real world has clocks and randomness")]

mod accept;
pub mod core;
mod cron;
mod execute;
mod gathering;
mod hop;
mod lend;
mod machine;
pub mod mailbox;
mod monitor;
mod pace;
mod read;
mod send;
mod server;
mod signals;
mod slow;
mod visit;
mod walk;

pub use machine::resolve_directory;
pub use monitor::quote;
pub use server::serve;
