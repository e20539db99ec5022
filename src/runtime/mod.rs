//! The real world: the only code that is async, names glommio, reads a clock or holds a socket.

pub mod core;
mod lend;
pub mod mailbox;
mod monitor;
mod server;
mod signals;
mod slow;

pub use monitor::quote;
pub use server::serve;
