//! The real world: the only code that is async, names glommio, reads a clock or holds a socket.
#![allow(clippy::disallowed_methods, reason = "the real world has clocks and randomness")]

pub mod core;
mod lend;
mod machine;
pub mod mailbox;
mod monitor;
mod pace;
mod server;
mod signals;
mod slow;
mod walk;

pub use machine::resolve_directory;
pub use monitor::quote;
pub use server::serve;
