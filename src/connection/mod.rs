//! One client's connection, without the socket: bytes in, requests out, replies back in the order of the requests.
//!
//! A long argument does not pass through the input: when its length is known, its bytes go to a buffer of its own,
//! which becomes the value without being copied again. In the input an empty argument stands for it.
//!
//! ```text
//! socket ─▶ input   [ *3 $3 SET $1 k $0 ]      request
//!      └──▶ arriving        [ 512 MB ]         bodies: argument 2
//! ```

pub mod following;
mod replies;

pub use following::Following;
pub use replies::Replies;

use crate::resp::{Parser, SetAside, Span};
use crate::session::{CONNECTION_BYTES, Mode, Session};
use crate::value::LongString;
use std::collections::VecDeque;
use std::num::NonZeroU64;

const _: () = assert!(CONNECTION_BYTES == size_of::<Connection>() - size_of::<Session>());

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
    pub planned: u16,
    /// The last of them decides how the next is read, or whether it may run yet: nothing more is planned in this pass.
    pub planned_last: bool,
    /// The long argument that is being received, past the input.
    pub arriving: Option<Arriving>,
    /// Long arguments, by number, of the request at the front of the input, where empty ones stand for them. While it
    /// is planned, no other is.
    pub bodies: Vec<(u32, LongString)>,
    /// Requests that were planned but may not run before the client takes its replies; read again after this pass.
    pub held_back: Vec<u8>,
    /// When it was seen last, for the pace of its core.
    pub seen: u32,
    /// Since when whole commands have waited in its input, because of earlier ones: a reading of the core's clock. 0:
    /// none do.
    pub waits_since: u64,
    /// Of commands that went to other cores; none: nobody asked for it (`slowlog-stages`).
    pub sent: Option<Box<SentAway>>,
    /// Replies, in order.
    pub replies: Replies,
    /// The error after which the connection is closed, once the replies before it are written.
    pub protocol_error: Option<crate::resp::Error>,
    /// Listed among those whose replies wait for the log.
    pub is_listed_held: bool,
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
    /// How often its next command was put off because shards that it needs were busy.
    pub deferrals: u8,
    /// Waits for the end of `CLIENT PAUSE`.
    pub paused: bool,
    /// The socket ended or broke: nothing more is read, executed or sent.
    pub broken: bool,
    /// Something came since then, and was thrown away.
    pub lost_input: bool,
    /// Where its commands go …
    pub following: Following,
    /// … and the core to which it moves as soon as nothing of it is under way; nothing more is read until then.
    pub leaving_for: Option<u32>,
    /// What it counts for against `maxmemory-clients`, in bytes; 0 while that bounds nothing.
    pub counted_bytes: usize,
    /// When the output first passed the soft limit, Unix milliseconds.
    pub soft_limit_since_ms: Option<NonZeroU64>,
}

/// How long a command that went to another core took until then, for the slow log.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// The place of its reply.
    pub sequence: u32,
    /// Its stage `read`, in nanoseconds.
    pub read: u64,
    /// Its stage `queue`, in nanoseconds.
    pub queue: u64,
}

/// Those that are not answered, oldest first.
#[derive(Debug, Default)]
pub struct SentAway(VecDeque<Sent>);

impl SentAway {
    /// A command goes to another core.
    #[cold]
    pub fn note(&mut self, sent: Sent, replies: &Replies) {
        while self.0.front().is_some_and(|first| replies.are_filled_before(first.sequence.wrapping_add(1))) {
            self.0.pop_front();
        }
        self.0.push_back(sent);
    }

    /// What was noted of the command whose reply has this place.
    pub fn find(&self, sequence: u32) -> Option<Sent> {
        self.0.iter().find(|sent| sent.sequence == sequence).copied()
    }
}

impl Connection {
    /// A connection of a client that just arrived.
    pub fn new(session: Session) -> Connection {
        Connection {
            session,
            parser: Parser::new(),
            following: Following::default(),
            leaving_for: None,
            counted_bytes: 0,
            input: Vec::new(),
            input_start: 0,
            planned_bytes: 0,
            planned: 0,
            planned_last: false,
            arriving: None,
            bodies: Vec::new(),
            held_back: Vec::new(),
            seen: u32::MAX,
            waits_since: 0,
            sent: None,
            replies: Replies::default(),
            protocol_error: None,
            is_listed_held: false,
            sending: false,
            receiving: false,
            dirty: false,
            again: false,
            barrier: false,
            deferrals: 0,
            paused: false,
            broken: false,
            lost_input: false,
            soft_limit_since_ms: None,
        }
    }

    /// Bytes received, not consumed and not planned.
    pub fn unplanned_bytes(&self) -> usize {
        self.input.len() - self.input_start - self.planned_bytes
    }

    /// If the request at the front waits for a long argument, receives that past the input from now on.
    pub fn set_aside(&mut self) {
        if self.parser.wanted_bytes() < BODY_BYTES_MIN {
            return;
        }
        let front = self.input_start + self.planned_bytes;
        if let Some(aside) = self.parser.set_aside(&mut self.input, front, BODY_BYTES_MIN) {
            self.arriving = Some(Arriving::new(aside));
        }
    }

    /// Takes in what of `bytes` belongs to a long argument; `Some` is what is left of them, `None`: nothing is
    /// arriving.
    pub fn arrive<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let arriving = self.arriving.as_mut()?;
        let rest = arriving.take(bytes);
        if arriving.is_whole() {
            self.bodies.extend(self.arriving.take().map(Arriving::finish));
        }
        Some(rest)
    }

    /// Bytes of its long arguments, whole or still arriving.
    pub fn long_bytes(&self) -> usize {
        let whole: usize = self.bodies.iter().map(|(_, body)| body.heap_bytes()).sum();
        whole + self.arriving.as_ref().map_or(0, |arriving| arriving.bytes.capacity())
    }

    /// Whether commands may be read from it now.
    pub fn may_plan(&self) -> bool {
        self.arriving.is_none() && !self.is_held()
    }

    /// Whether its commands have to wait, whatever arrives.
    pub fn is_held(&self) -> bool {
        self.barrier
            || self.planned_last
            || self.paused
            || self.leaving_for.is_some()
            || self.broken
            || self.protocol_error.is_some()
            || self.session.mode.contains(Mode::CLOSE_AFTER_REPLY)
    }

    /// Frees the buffers that hold nothing: its client is not busy.
    pub fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        if self.held_back.is_empty() {
            self.held_back = Vec::new();
        }
        if self.bodies.is_empty() {
            self.bodies = Vec::new();
        }
        self.session.rest();
        self.replies.rest();
    }

    /// The request with long arguments, which was planned alone, may not run yet: it stays where it is, and is read
    /// again after this pass. Until then nothing else is.
    pub fn keep_planned(&mut self) {
        assert!(self.planned == 1);
        (self.planned, self.planned_bytes) = (0, 0);
        // If it is an error, it is found again.
        self.protocol_error = None;
        self.parser = Parser::new();
    }

    /// The planned commands ran: their bytes go. Frees or moves the buffer when that is cheap.
    pub fn consume_planned(&mut self) {
        if self.planned != 0 {
            self.bodies.clear();
        }
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

/// An argument of at least so many bytes is received to where it will stay.
pub const BODY_BYTES_MIN: usize = 64 * 1024;
/// From here on, in bytes, what an argument is received into grows by an eighth instead of doubling: nothing is copied
/// when such blocks grow.
const BODY_DOUBLING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A long argument on its way in. Its memory grows with what comes, whatever length was announced.
pub struct Arriving {
    index: u32,
    len: usize,
    bytes: Vec<u8>,
    /// Bytes of the line end behind it that are still to come.
    end_bytes: usize,
}

impl Arriving {
    /// Begins with what has come already.
    pub fn new(aside: SetAside) -> Arriving {
        let SetAside { index, len, bytes } = aside;
        let mut arriving = Arriving { index, len, bytes: Vec::new(), end_bytes: 2 };
        arriving.take(&bytes);
        arriving
    }

    /// Takes what belongs to it from the front of `bytes`; returns the rest.
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (own, rest) = bytes.split_at(bytes.len().min(self.len - self.bytes.len()));
        let needed = self.bytes.len() + own.len();
        if self.bytes.capacity() < needed {
            let more = self.bytes.len().min(BODY_DOUBLING_BYTES_MAX.max(self.bytes.len() / 8));
            let capacity = (self.bytes.len() + more).max(needed).min(self.len);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(own);
        if self.bytes.len() < self.len {
            return rest;
        }
        let end_bytes = rest.len().min(self.end_bytes);
        self.end_bytes -= end_bytes;
        &rest[end_bytes..]
    }

    /// Whether all of it is there, its line end too.
    pub fn is_whole(&self) -> bool {
        self.bytes.len() == self.len && self.end_bytes == 0
    }

    /// Bytes received.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of it that have yet to come.
    pub fn missing_bytes(&self) -> usize {
        self.len - self.bytes.len()
    }

    /// The argument, with its number.
    pub fn finish(self) -> (u32, LongString) {
        assert!(self.is_whole());
        (self.index, LongString::new(self.bytes))
    }
}

/// The arguments of a request: those that stand in its bytes, and those that were received past them.
#[inline]
pub fn arguments<'a, A>(spans: &[Span], request: &'a [u8], bodies: &'a [(u32, LongString)]) -> A
where
    A: FromIterator<&'a [u8]> + std::ops::DerefMut<Target = [&'a [u8]]>,
{
    let mut arguments: A = spans.iter().map(|span| span.of(request)).collect();
    for (index, body) in bodies {
        arguments[*index as usize] = body.as_bytes();
    }
    arguments
}

/// An input buffer larger than this is freed when it is empty.
const INPUT_KEPT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_within_a_size_class() {
        // Of the allocator's: the next one has 1,024 bytes, which with an idle client's other buffers is over a KiB.
        assert!(size_of::<Connection>() <= 896, "{}", size_of::<Connection>());
    }

    #[test]
    fn a_long_argument_arrives_beside_its_request_however_it_is_cut() {
        use crate::resp::Limits;
        let limits = Limits { bulk_bytes_max: 1 << 30, authenticated: true };
        let long: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
        let mut all = format!("*5\r\n$4\r\nMSET\r\n$1\r\na\r\n${}\r\n", long.len()).into_bytes();
        all.extend_from_slice(&long);
        all.extend_from_slice(format!("\r\n$1\r\nb\r\n${}\r\n", long.len()).as_bytes());
        all.extend_from_slice(&long);
        all.extend_from_slice(b"\r\n*1\r\n$4\r\nPING\r\n");
        for piece_bytes in [1000, 16 * 1024, 65_537, 199_999, 200_044, all.len()] {
            let mut c = Connection::new(Session::new(1, 0, 3, 0));
            let (mut spans, mut requests) = (Vec::new(), Vec::<Vec<Vec<u8>>>::new());
            for piece in all.chunks(piece_bytes) {
                let mut rest = piece;
                while !rest.is_empty() {
                    rest = match c.arrive(rest) {
                        Some(rest) => rest,
                        None => {
                            c.input.extend_from_slice(rest);
                            &[]
                        }
                    };
                    if c.arriving.is_some() {
                        continue;
                    }
                    while let Some(consumed) =
                        c.parser.parse(&mut c.input[c.input_start..], &limits, &mut spans).expect("no error")
                    {
                        let args: Vec<&[u8]> = arguments(&spans, &c.input[c.input_start..], &c.bodies);
                        requests.push(args.iter().map(|arg| arg.to_vec()).collect());
                        (c.planned, c.planned_bytes) = (1, consumed);
                        c.consume_planned();
                    }
                    c.set_aside();
                }
            }
            assert_eq!(requests.len(), 2, "{piece_bytes}");
            assert!(requests[0] == [&b"MSET"[..], b"a", &long, b"b", &long], "{piece_bytes}");
            assert_eq!(requests[1], [b"PING"]);
            assert_eq!((c.bodies.len(), c.unplanned_bytes()), (0, 0));
        }
    }

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
    fn a_request_with_a_long_argument_that_may_not_run_is_read_again_where_it_is() {
        use crate::resp::Limits;
        let limits = Limits { bulk_bytes_max: 1 << 20, authenticated: true };
        let mut c = Connection::new(Session::new(1, 0, 3, 0));
        let long = LongString::new(vec![b'x'; BODY_BYTES_MIN]);
        c.bodies.push((1, long.clone()));
        c.input.extend_from_slice(b"\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*1\r\n$4\r\nPI");
        let all = c.input.clone();
        let mut spans = Vec::new();
        for keeps_front in [true, true, false] {
            while spans.is_empty() {
                let front = c.planned_bytes;
                let consumed = c.parser.parse(&mut c.input[front..], &limits, &mut spans).ok().flatten();
                c.planned_bytes += consumed.expect("a whole request");
            }
            (c.planned, c.planned_last) = (1, true);
            let args: Vec<&[u8]> = arguments(&spans, &c.input[b"\r\n".len()..], &c.bodies);
            assert!(args == [&b"ECHO"[..], long.as_bytes()]);
            spans.clear();
            if keeps_front {
                c.keep_planned();
            }
            c.consume_planned();
            assert!(c.planned == 0 && !c.planned_last && c.held_back.is_empty());
            assert_eq!(keeps_front, c.input == all && !c.bodies.is_empty());
        }
        assert_eq!(&c.input[c.input_start..], b"*1\r\n$4\r\nPI");
    }

    #[test]
    fn an_error_behind_a_long_argument_that_may_not_be_told_yet_is_found_again() {
        use crate::resp::Limits;
        let limits = Limits { bulk_bytes_max: 1 << 20, authenticated: true };
        let mut c = Connection::new(Session::new(1, 0, 3, 0));
        c.bodies.push((1, LongString::new(vec![b'x'; BODY_BYTES_MIN])));
        c.input.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$x\r\n");
        for _ in 0..2 {
            c.protocol_error = c.parser.parse(&mut c.input, &limits, &mut Vec::new()).err();
            assert!(c.protocol_error.is_some() && !c.may_plan());
            (c.planned, c.planned_bytes) = (1, c.input.len());
            c.keep_planned();
            c.consume_planned();
            assert!(c.may_plan() && c.bodies.len() == 1 && c.input_start == 0 && !c.input.is_empty());
        }
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
