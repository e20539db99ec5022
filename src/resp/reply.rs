//! Typed writers of replies: RESP2 or RESP3 bytes appended to a buffer.

use super::Error;

/// The protocol version a client asked for with `HELLO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// What every connection speaks first.
    #[default]
    Resp2,
    /// After `HELLO 3`: maps, sets, doubles, booleans, pushes, one null.
    Resp3,
}

/// Writes one reply, in the client's protocol, to the end of a buffer.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    protocol: Protocol,
}

impl<'a> Reply<'a> {
    /// A writer to the end of `out`.
    pub fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> Reply<'a> {
        Reply { out, protocol }
    }

    /// The protocol written here.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// An error line; CR and LF in the text become spaces, so that nobody can inject a second reply.
    pub fn error(&mut self, error: &Error) {
        self.out.push(b'-');
        self.out.extend(error.as_bytes().iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
        self.out.extend_from_slice(b"\r\n");
    }
}
