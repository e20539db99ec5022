//! The wire format, and the only code that knows it: requests in, replies and error texts out. No sockets.

mod error;
mod reply;

pub use error::Error;
pub use reply::{Protocol, Reply};
