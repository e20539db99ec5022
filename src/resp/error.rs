//! What a client is told when a command fails. The texts are Redis' own: clients branch on them.

use std::borrow::Cow;

/// The text of an error reply, without the leading `-` and the line end: `ERR syntax error`. Bytes, not characters: some
/// texts repeat what the client sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Cow<'static, [u8]>);

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
        Error(Cow::Borrowed(text.as_bytes()))
    }

    /// An error with a text made for the occasion, prefix included.
    pub fn new(text: impl Into<Vec<u8>>) -> Error {
        Error(Cow::Owned(text.into()))
    }

    /// The text as it is written to a client, save that line ends in it become blanks there.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text for people: logs and tests.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The first word: `ERR`, `WRONGTYPE`, …; what `INFO errorstats` counts by.
    pub fn prefix(&self) -> &str {
        let word = self.0.split(|byte| *byte == b' ').next().unwrap_or_default();
        std::str::from_utf8(word).unwrap_or_default()
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Error({:?})", self.text())
    }
}
