//! One connection without its socket: what is to be written, what was asked and not answered, where replies end.
//!
//! Bytes and times come from outside. Requests are asked in order and answered in order, so a queue is all it takes to
//! tell which reply belongs to which request.

use crate::wire::reply::{Garbage, Kind, Reply, Scanner};
use std::collections::VecDeque;

/// What is kept of an output buffer when it was written out.
const OUT_BYTES_KEPT: usize = 256 * 1024;

/// A request between its making and its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub purpose: Purpose,
    pub planned_ns: u64,
    pub due_ns: u64,
    /// 0 until it is sent.
    pub sent_ns: u64,
    /// In cluster mode.
    pub kept: Option<Kept>,
}

/// A request that may have to be sent elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub bytes: Box<[u8]>,
    /// That of its first key; `None` if any node will do.
    pub slot: Option<u16>,
}

/// Why a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Part of the greeting.
    Greeting,
    /// `ASKING`, before a request that was redirected for once.
    Asking,
    /// A command of the mix, by index.
    Load(u16),
}

/// A reply to a request of a connection.
pub struct Answered<'a> {
    pub pending: Pending,
    pub reply: Reply<'a>,
}

/// What is to be written and what is to come.
#[derive(Debug, Default)]
pub struct Connection {
    out: Vec<u8>,
    written: usize,
    pending: VecDeque<Pending>,
    /// Requests at the end of `pending` that no byte was written of.
    unstamped: usize,
    scanner: Scanner,
    /// Messages that came unasked.
    pub pushes: u64,
}

impl Connection {
    /// Where to append a request's bytes, before [`Connection::push`] says what it is.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Says what the request appended last is.
    pub fn push(&mut self, pending: Pending) {
        self.pending.push_back(pending);
        self.unstamped += 1;
    }

    /// Requests that wait for their reply or to be sent.
    pub fn outstanding(&self) -> usize {
        self.pending.len()
    }

    /// When the oldest of them was sent; `None` if there is none or it was not sent.
    pub fn oldest_sent_ns(&self) -> Option<u64> {
        self.pending.front().map(|pending| pending.sent_ns).filter(|&sent_ns| 0 < sent_ns)
    }

    /// What is to be written now. Whatever was pushed before counts as sent at `now_ns`; tells of each by `sent`.
    pub fn poll_transmit(&mut self, now_ns: u64, mut sent: impl FnMut(&Pending)) -> &[u8] {
        let first = self.pending.len() - self.unstamped;
        for pending in self.pending.range_mut(first..) {
            if pending.sent_ns == 0 {
                pending.sent_ns = now_ns;
                sent(pending);
            }
        }
        self.unstamped = 0;
        &self.out[self.written..]
    }

    /// So many bytes were taken.
    pub fn handle_written(&mut self, bytes: usize) {
        self.written += bytes;
        assert!(self.written <= self.out.len());
        if self.written == self.out.len() {
            self.out.clear();
            self.out.shrink_to(OUT_BYTES_KEPT);
            self.written = 0;
        }
    }

    /// Whether something is to be written.
    pub fn has_output(&self) -> bool {
        self.written < self.out.len()
    }

    /// Takes bytes that came, up to the end of the next reply; `None` if they are used up.
    pub fn handle_bytes(&mut self, input: &mut &[u8]) -> Result<Option<Answered<'_>>, Garbage> {
        loop {
            match self.scanner.next(input)? {
                None => return Ok(None),
                Some(Kind::Push) => self.pushes += 1,
                Some(_) => break,
            }
        }
        match self.pending.front() {
            Some(pending) if 0 < pending.sent_ns => {}
            _ => return Err(Garbage("a reply that nobody asked for".into())),
        }
        let pending = self.pending.pop_front().expect("looked at");
        Ok(Some(Answered { pending, reply: self.scanner.last() }))
    }

    /// Ends the connection: what was outstanding comes back.
    pub fn take_outstanding(&mut self) -> VecDeque<Pending> {
        std::mem::take(self).pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(planned_ns: u64) -> Pending {
        Pending { purpose: Purpose::Load(0), planned_ns, due_ns: planned_ns, sent_ns: 0, kept: None }
    }

    #[test]
    fn replies_find_their_requests() {
        let mut connection = Connection::default();
        for planned_ns in [1, 2, 3] {
            connection.out().extend_from_slice(b"x");
            connection.push(pending(planned_ns));
        }
        let mut sent = Vec::new();
        assert_eq!(connection.poll_transmit(10, |pending| sent.push(pending.planned_ns)), b"xxx");
        assert_eq!(sent, [1, 2, 3]);
        connection.handle_written(2);
        assert!(connection.has_output());
        assert_eq!(connection.poll_transmit(11, |_| panic!("all were sent at 10")), b"x");
        connection.handle_written(1);

        let mut input = &b"+OK\r\n>1\r\n+push\r\n-ERR no\r\n"[..];
        let first = connection.handle_bytes(&mut input).unwrap().unwrap();
        assert_eq!((first.pending.planned_ns, first.pending.sent_ns, first.reply.kind), (1, 10, Kind::Value));
        let second = connection.handle_bytes(&mut input).unwrap().unwrap();
        assert_eq!((second.pending.planned_ns, second.reply.text), (2, &b"ERR no"[..]));
        assert!(connection.handle_bytes(&mut input).unwrap().is_none());
        assert_eq!((connection.pushes, connection.outstanding(), connection.oldest_sent_ns()), (1, 1, Some(10)));
        assert_eq!(connection.take_outstanding().len(), 1);
    }

    #[test]
    fn replies_nobody_asked_for_are_garbage() {
        let mut connection = Connection::default();
        assert!(connection.handle_bytes(&mut &b"+OK\r\n"[..]).is_err());
        connection.out().extend_from_slice(b"x");
        connection.push(pending(1));
        assert!(connection.handle_bytes(&mut &b"+OK\r\n"[..]).is_err(), "it was not sent yet");
    }
}
