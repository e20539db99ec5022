//! What a client is told when a command fails. The texts are Redis' own: clients branch on them.

use std::borrow::Cow;

/// The text of an error reply, without the leading `-` and the line end: `ERR syntax error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub Cow<'static, str>);

impl Error {
    /// The command expects another type than the key holds.
    pub const WRONG_TYPE: Error = Error::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// The options make no sense.
    pub const SYNTAX: Error = Error::fixed("ERR syntax error");
    /// An argument or a value is no signed 64-bit integer.
    pub const NOT_INTEGER: Error = Error::fixed("ERR value is not an integer or out of range");
    /// An argument or a value is no float.
    pub const NOT_FLOAT: Error = Error::fixed("ERR value is not a valid float");
    /// The command needs an existing key.
    pub const NO_SUCH_KEY: Error = Error::fixed("ERR no such key");
    /// An index lies outside.
    pub const OUT_OF_RANGE: Error = Error::fixed("ERR index out of range");
    /// Adding would leave the signed 64-bit range.
    pub const OVERFLOW: Error = Error::fixed("ERR increment or decrement would overflow");
    /// A string would grow beyond `proto-max-bulk-len`.
    pub const STRING_TOO_LONG: Error = Error::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

    /// An error with a fixed text, prefix included.
    pub const fn fixed(text: &'static str) -> Error {
        Error(Cow::Borrowed(text))
    }

    /// An error with a text made for the occasion, prefix included.
    pub fn new(text: impl Into<String>) -> Error {
        Error(Cow::Owned(text.into()))
    }

    /// The first word: `ERR`, `WRONGTYPE`, …; what `INFO errorstats` counts by.
    pub fn prefix(&self) -> &str {
        self.0.split(' ').next().unwrap_or("")
    }
}
