//! One client's connection, without the socket: bytes in, requests out, replies back in the order of the requests.

mod replies;

pub use replies::Replies;

use crate::resp::Parser;
use crate::session::{Mode, Session};

/// One client's connection.
pub struct Connection {
    /// What is remembered of the client.
    pub session: Session,
    /// The incremental parser of its requests.
    pub parser: Parser,
    /// Bytes received and not yet consumed, from `input_start` on.
    pub input: Vec<u8>,
    /// Where the unconsumed bytes begin.
    pub input_start: usize,
    /// Unconsumed bytes that belong to commands planned in this pass.
    pub planned_bytes: usize,
    /// Commands planned in this pass.
    pub planned: usize,
    /// The last of them decides how the next is read, or whether it may run yet: nothing more is planned in this pass.
    pub planned_last: bool,
    /// Requests that were planned but may not run before the client takes its replies; read again after this pass.
    pub held_back: Vec<u8>,
    /// Replies, in order.
    pub replies: Replies,
    /// The error after which the connection is closed, once the replies before it are written.
    pub protocol_error: Option<crate::resp::Error>,
    /// A send is in flight.
    pub sending: bool,
    /// Receiving is armed in the ring.
    pub receiving: bool,
    /// Listed for a flush at the end of the pass.
    pub dirty: bool,
    /// Listed to be planned again although nothing arrived: input is left.
    pub again: bool,
    /// A command that involves several cores is under way; later ones wait.
    pub barrier: bool,
    /// Waits for the end of `CLIENT PAUSE`.
    pub paused: bool,
    /// The socket ended or broke: nothing more is read, executed or sent.
    pub broken: bool,
    /// What it counts for against `maxmemory-clients`, in bytes; 0 while that bounds nothing.
    pub counted_bytes: usize,
    /// When the output first passed the soft limit, Unix milliseconds.
    pub soft_limit_since_ms: Option<u64>,
}

impl Connection {
    /// A connection of a client that just arrived.
    pub fn new(session: Session) -> Connection {
        Connection {
            session,
            parser: Parser::new(),
            counted_bytes: 0,
            input: Vec::new(),
            input_start: 0,
            planned_bytes: 0,
            planned: 0,
            planned_last: false,
            held_back: Vec::new(),
            replies: Replies::default(),
            protocol_error: None,
            sending: false,
            receiving: false,
            dirty: false,
            again: false,
            barrier: false,
            paused: false,
            broken: false,
            soft_limit_since_ms: None,
        }
    }

    /// Bytes received, not consumed and not planned.
    pub fn unplanned_bytes(&self) -> usize {
        self.input.len() - self.input_start - self.planned_bytes
    }

    /// Whether commands may be read from it now.
    pub fn may_plan(&self) -> bool {
        !self.barrier
            && !self.planned_last
            && !self.paused
            && !self.broken
            && self.protocol_error.is_none()
            && !self.session.mode.contains(Mode::CLOSE_AFTER_REPLY)
    }

    /// The planned commands ran: their bytes go. Frees or moves the buffer when that is cheap.
    pub fn consume_planned(&mut self) {
        self.planned = 0;
        self.planned_last = false;
        self.input_start += std::mem::take(&mut self.planned_bytes);
        assert!(self.input_start <= self.input.len());
        if self.input_start == self.input.len() {
            self.input_start = 0;
            if INPUT_KEPT_BYTES < self.input.capacity() {
                self.input = Vec::new();
            } else {
                self.input.clear();
            }
        } else if self.input.len() / 2 < self.input_start {
            self.input.drain(..self.input_start);
            self.input_start = 0;
        }
        if !self.held_back.is_empty() {
            // What the parser knows of an incomplete request at the end is read again, behind these.
            self.parser = Parser::new();
            let start = self.input_start;
            self.input.splice(start..start, self.held_back.drain(..));
        }
    }
}

/// An input buffer larger than this is freed when it is empty.
const INPUT_KEPT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consuming_keeps_the_rest() {
        let mut c = Connection::new(Session::new(1, 0, 3, 0));
        c.input.extend_from_slice(b"abcdef");
        for (step, rest) in [(2, &b"cdef"[..]), (2, b"ef"), (2, b"")] {
            c.planned_bytes = step;
            c.consume_planned();
            assert_eq!(&c.input[c.input_start..], rest);
        }
        assert_eq!((c.input_start, c.input.len()), (0, 0));
    }

    #[test]
    fn what_is_held_back_is_read_before_the_half_request_behind_it() {
        use crate::resp::Limits;
        let limits = Limits { bulk_bytes_max: 1 << 20, authenticated: true };
        let mut c = Connection::new(Session::new(1, 0, 3, 0));
        let mut spans = Vec::new();
        c.input.extend_from_slice(b"*1\r\n$4\r\nPI");
        assert_eq!(c.parser.parse(&mut c.input, &limits, &mut spans).ok(), Some(None));
        c.held_back.extend_from_slice(b"*1\r\n$6\r\nDBSIZE\r\n");
        c.consume_planned();
        c.input.extend_from_slice(b"NG\r\n");
        for name in [&b"DBSIZE"[..], b"PING"] {
            spans.clear();
            let consumed = c.parser.parse(&mut c.input[c.input_start..], &limits, &mut spans).ok().flatten().unwrap();
            assert_eq!(spans[0].of(&c.input[c.input_start..]), name);
            c.input_start += consumed;
        }
    }
}
