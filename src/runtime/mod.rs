//! The real world: the only code that is async, names glommio, reads a clock or holds a socket.
#![allow(clippy::disallowed_methods, reason = "the real world has clocks and randomness")]

mod accept;
mod block;
mod clocks;
pub mod core;
mod crash;
mod cron;
mod crowd;
mod execute;
mod follow;
mod gathering;
mod hop;
mod host;
mod joint;
mod lend;
mod listen;
mod long;
mod machine;
pub mod mailbox;
mod memory_test;
mod monitor;
mod oom;
mod pace;
mod parking;
mod pubsub;
mod read;
mod room;
mod script;
mod send;
mod server;
mod signals;
mod slow;
mod spares;
mod supervise;
mod survey;
pub mod tasks;
mod visit;
mod walk;

pub use host::report as check_system;
pub use machine::resolve_directory;
pub use memory_test::test_memory;
pub use monitor::quote;
pub use server::serve;
