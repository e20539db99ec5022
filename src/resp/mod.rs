//! The wire format, and the only code that knows it: requests in, replies and error texts out. No sockets.

pub mod decode;
mod error;
mod output;
pub mod parser;
mod reply;

pub use decode::{element_len, header};
pub use error::{Error, counted_word};
pub use output::Output;
pub use parser::{LINE_BYTES_MAX, Limits, Parser, SetAside, Span};
pub use reply::{LONG_BYTES_MIN, Mark, Out, Protocol, Reply};
