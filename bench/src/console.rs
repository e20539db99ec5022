//! What is printed. A stream that nobody reads any more, or that is full, ends no measurement: what goes to the error
//! stream is lost then, and what goes to the output comes back as an error, once everything else is done.

use std::fmt::Arguments;
use std::io::Write;

/// Writes to the error stream, if somebody takes it: `complain(format_args!("…\n"))`.
pub fn complain(text: Arguments) {
    let mut stream = std::io::stderr().lock();
    // There is nowhere left to say that it failed.
    let _ = stream.write_fmt(text).and_then(|()| stream.flush());
}

/// Writes to the output.
pub fn say(text: Arguments) -> Result<(), String> {
    let mut stream = std::io::stdout().lock();
    stream.write_fmt(text).and_then(|()| stream.flush()).map_err(|error| format!("cannot write the output: {error}"))
}
