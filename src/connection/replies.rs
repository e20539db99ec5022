//! Replies of one connection, in the order of its requests, whatever order they are made in.
//!
//! Replies of commands that run on the connection's core are written straight to the output. A command that went to
//! another core reserves a *place*: from then on replies wait behind it, those made here in `parked`.
//!
//! ```text
//! places:  [ waiting #7 ][ ready, parked 0..5 ][ waiting #9 ][ ready, parked 5..90 ]
//!             ▲ front: its reply goes straight to `output`, and every ready place behind it follows
//! ```

use crate::aof::log::Gate;
use crate::mutant::Mutant;
use crate::resp::Output;
use bytes::Bytes;
use std::collections::VecDeque;

/// A place in the order of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Not yet answered; `discard`: the client wants no reply.
    Waiting { discard: bool },
    /// Answered; the bytes stand in `parked`.
    Ready { start: usize, len: usize },
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Replies {
    /// Replies in order, not yet handed to the socket.
    pub output: Output,
    places: VecDeque<Place>,
    parked: Output,
    /// Sequence number of the place in front.
    front: u32,
    /// Replies made now are dropped (`CLIENT REPLY OFF` or `SKIP`).
    pub discard: bool,
    /// Bytes in flight.
    pub sending_bytes: usize,
    /// Bytes of the next reply, which is being put together elsewhere.
    pub gathered_bytes: usize,
    /// What is sent bit by bit, since it is much or holds long strings: it leaves before `output`.
    pub pieces: Pieces,
    /// What waits for the log; none, as nearly always: nothing.
    behind: Option<Box<Behind>>,
}

/// Replies that wait for the log.
#[derive(Debug, Default)]
struct Behind {
    /// What the replies in `output`, or the next ones, wait for.
    gate: Gate,
    /// Replies before those, with what they wait for.
    held: VecDeque<(Gate, Output)>,
    /// Bytes of those.
    bytes: usize,
}

impl Replies {
    /// Writes the reply of a request that ran here.
    #[inline]
    pub fn write<T>(&mut self, write: impl FnOnce(&mut Output) -> T) -> T {
        if self.places.is_empty() && !self.discard {
            return write(&mut self.output);
        }
        let buffer = if self.places.is_empty() { &mut self.output } else { &mut self.parked };
        let start = buffer.len();
        let result = write(buffer);
        if self.discard {
            buffer.truncate(start);
        }
        if !self.places.is_empty() {
            self.places.push_back(Place::Ready { start, len: self.parked.len() - start });
        }
        result
    }

    /// Writes something that is no reply (a push): now, or behind the replies that are still missing. It is never
    /// discarded.
    pub fn push(&mut self, message: &[u8]) {
        let Some(last) = self.places.back_mut() else { return self.output.extend_from_slice(message) };
        let end = self.parked.len();
        self.parked.extend_from_slice(message);
        match last {
            Place::Ready { start, len } if *start + *len == end => *len += message.len(),
            _ => self.places.push_back(Place::Ready { start: end, len: message.len() }),
        }
    }

    /// Whether replies wait for something before they may leave.
    #[inline]
    pub fn is_gated(&self) -> bool {
        self.behind.as_ref().is_some_and(|behind| !behind.gate.is_open() || !behind.held.is_empty())
    }

    /// What the replies in `output`, or the next ones, wait for.
    pub fn gate_mut(&mut self) -> &mut Gate {
        &mut self.behind.get_or_insert_default().gate
    }

    /// Puts the output behind its gate.
    pub fn hold(&mut self) {
        if !self.output.is_empty() {
            let output = std::mem::take(&mut self.output);
            let behind = self.behind.get_or_insert_default();
            behind.bytes += output.total_bytes();
            behind.held.push_back((std::mem::take(&mut behind.gate), output));
        }
    }

    /// The first output whose gate is open.
    pub fn release(&mut self, is_met: impl FnOnce(&Gate) -> bool) -> Option<Output> {
        let behind = self.behind.as_mut()?;
        if !is_met(&behind.held.front()?.0) {
            return None;
        }
        let (_, output) = behind.held.pop_front()?;
        behind.bytes -= output.total_bytes();
        if behind.held.is_empty() && behind.gate.is_open() {
            self.behind = None;
        }
        Some(output)
    }

    /// Whether the first output that waits may leave.
    pub fn may_release(&self, is_met: impl FnOnce(&Gate) -> bool) -> bool {
        self.first_gate().is_some_and(is_met)
    }

    /// What the first output waits for.
    pub fn first_gate(&self) -> Option<&Gate> {
        self.behind.as_ref()?.held.front().map(|(gate, _)| gate)
    }

    /// Whether nothing waits to be sent.
    pub fn is_drained(&self) -> bool {
        self.output.is_empty() && self.first_gate().is_none()
    }

    /// Drops what is ready to be sent: nobody takes it.
    pub fn forget_unsent(&mut self) {
        self.output = Output::default();
        self.pieces = Pieces::default();
    }

    /// Takes the next place for a reply that comes later; hand it to [`Replies::fill`].
    pub fn reserve(&mut self) -> u32 {
        self.places.push_back(Place::Waiting { discard: self.discard });
        self.front.wrapping_add(self.places.len() as u32 - 1)
    }

    /// The reply for a reserved place: bytes, and long strings among them.
    pub fn fill(&mut self, sequence: u32, reply: &[u8], long: Vec<(usize, Bytes)>) {
        let at = sequence.wrapping_sub(self.front) as usize;
        let Some(&Place::Waiting { discard }) = self.places.get(at) else {
            panic!("a reserved place is filled once");
        };
        let (reply, long) = if discard { (&[][..], Vec::new()) } else { (reply, long) };
        if at != 0 && Mutant::RepliesOvertake.is_on() {
            self.output.append_parts(reply, long);
            self.places[at] = Place::Ready { start: self.parked.len(), len: 0 };
            return;
        }
        if at != 0 {
            self.places[at] = Place::Ready { start: self.parked.len(), len: reply.len() };
            self.parked.append_parts(reply, long);
            return;
        }
        self.output.append_parts(reply, long);
        self.advance();
    }

    /// The same, of a reply that has a buffer of its own: it is not copied if nothing else waits to be sent.
    pub fn fill_with(&mut self, sequence: u32, reply: Output) {
        let at = sequence.wrapping_sub(self.front) as usize;
        if at == 0 && self.output.is_empty() && matches!(self.places.front(), Some(Place::Waiting { discard: false })) {
            self.output = reply;
            return self.advance();
        }
        let mut reply = reply;
        let long = reply.take_long(0, reply.len());
        self.fill(sequence, reply.bytes(), long);
    }

    /// The place in front has its reply in the output: those behind it that are ready follow.
    fn advance(&mut self) {
        self.pop_front();
        while let Some(&Place::Ready { start, len }) = self.places.front() {
            let long = self.parked.take_long(start, start + len);
            self.output.append_parts(&self.parked.bytes()[start..start + len], long);
            self.pop_front();
        }
        if self.places.is_empty() {
            self.parked.clear_keeping(PARKED_KEPT_BYTES);
        }
    }

    /// Frees the buffers that hold nothing.
    pub fn rest(&mut self) {
        if self.output.is_empty() {
            self.output = Output::default();
        }
        if self.pieces.is_empty() {
            self.pieces = Pieces::default();
        }
        if self.places.is_empty() {
            self.places = VecDeque::new();
            self.parked = Output::default();
        }
    }

    fn pop_front(&mut self) {
        self.places.pop_front();
        self.front = self.front.wrapping_add(1);
    }

    /// The number of the place that comes next.
    pub fn next_place(&self) -> u32 {
        self.front.wrapping_add(self.places.len() as u32)
    }

    /// Whether the replies of all places before this one are there.
    pub fn are_filled_before(&self, place: u32) -> bool {
        place.wrapping_sub(self.front) as i32 <= 0
    }

    /// Requests whose replies are missing, or wait behind one that is.
    pub fn outstanding(&self) -> usize {
        self.places.len()
    }

    /// The same, with the room that buffers have beyond.
    pub fn held_bytes(&self) -> usize {
        self.behind_bytes()
            + self.output.held_bytes()
            + self.parked.held_bytes()
            + self.sending_bytes
            + self.pieces.bytes
    }

    /// Bytes of replies held here or in flight.
    #[inline]
    pub fn bytes(&self) -> usize {
        if !self.output.long().is_empty() || !self.parked.long().is_empty() {
            return self.bytes_with_long();
        }
        let queued = self.gathered_bytes + self.sending_bytes + self.pieces.bytes + self.behind_bytes();
        self.output.len() + self.parked.len() + queued
    }

    #[inline]
    fn behind_bytes(&self) -> usize {
        self.behind.as_ref().map_or(0, |behind| behind.bytes)
    }

    /// How many of them belong to long strings that somebody else holds too.
    pub fn shared_bytes(&self) -> usize {
        let long = self.output.long().iter().chain(self.parked.long()).map(|(_, string)| string);
        let shared = long.chain(&self.pieces.queue).filter(|string| !string.is_unique());
        shared.map(Bytes::len).sum()
    }

    #[cold]
    fn bytes_with_long(&self) -> usize {
        let own = self.output.total_bytes() + self.parked.total_bytes();
        own + self.gathered_bytes + self.sending_bytes + self.pieces.bytes + self.behind_bytes()
    }
}

/// Output in pieces, some of which others hold too.
#[derive(Debug, Default)]
pub struct Pieces {
    queue: VecDeque<Bytes>,
    bytes: usize,
}

impl Pieces {
    /// Whether nothing is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes that are left.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends all of an output.
    pub fn push(&mut self, output: Output) {
        for piece in output.into_pieces() {
            self.bytes += piece.len();
            self.queue.push_back(piece);
        }
    }

    /// Puts back what was taken and not sent.
    pub fn put_back(&mut self, pieces: impl DoubleEndedIterator<Item = Bytes>) {
        for piece in pieces.rev() {
            self.bytes += piece.len();
            self.queue.push_front(piece);
        }
    }

    /// Takes at most so many bytes, in so many pieces, from the front.
    pub fn take(&mut self, bytes_max: usize, pieces_max: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut left = bytes_max;
        while 0 < left && taken.len() < pieces_max {
            let Some(front) = self.queue.front_mut() else { break };
            let piece = if front.len() <= left {
                self.queue.pop_front().expect("looked at above")
            } else {
                front.split_to(left)
            };
            left -= piece.len();
            self.bytes -= piece.len();
            taken.push(piece);
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        taken
    }
}

/// A buffer of parked replies larger than this is freed when it is empty.
const PARKED_KEPT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Protocol, Reply};

    fn write(replies: &mut Replies, text: &[u8]) {
        replies.write(|out| out.extend_from_slice(text));
    }

    #[test]
    fn replies_leave_in_request_order() {
        let mut replies = Replies::default();
        write(&mut replies, b"zero ");
        let first = replies.reserve();
        write(&mut replies, b"two ");
        let third = replies.reserve();
        let fourth = replies.reserve();
        replies.fill(fourth, b"four ", Vec::new());
        assert_eq!(replies.output.bytes(), b"zero ");
        replies.fill(first, b"one ", Vec::new());
        assert_eq!(replies.output.bytes(), b"zero one two ");
        replies.fill(third, b"three ", Vec::new());
        assert_eq!(replies.output.bytes(), b"zero one two three four ");
        assert_eq!(replies.outstanding(), 0);
        let fifth = replies.reserve();
        replies.fill(fifth, b"five", Vec::new());
        assert_eq!(replies.output.bytes(), b"zero one two three four five");
    }

    #[test]
    fn pushes_stay_behind_the_replies_before_them() {
        let mut replies = Replies { discard: true, ..Replies::default() };
        replies.push(b"push ");
        replies.discard = false;
        assert_eq!(replies.output.bytes(), b"push ");
        let first = replies.reserve();
        replies.push(b"a");
        replies.push(b"b");
        replies.discard = true;
        write(&mut replies, b"no");
        replies.push(b"c ");
        replies.discard = false;
        let second = replies.reserve();
        replies.push(b"d");
        replies.fill(second, b"two ", Vec::new());
        assert_eq!(replies.output.bytes(), b"push ");
        replies.fill(first, b"one ", Vec::new());
        assert_eq!(replies.output.bytes(), b"push one abc two d");
        assert_eq!(replies.outstanding(), 0);
    }

    #[test]
    fn unwanted_replies_vanish_in_every_order() {
        let mut replies = Replies { discard: true, ..Replies::default() };
        write(&mut replies, b"a");
        let first = replies.reserve();
        write(&mut replies, b"b");
        replies.discard = false;
        write(&mut replies, b"c");
        replies.fill(first, b"d", Vec::new());
        assert_eq!(replies.output.bytes(), b"c");
    }

    /// A reply with a long string in it.
    fn long(before: &[u8], string: &'static [u8], behind: &[u8]) -> Output {
        let mut output = Output::default();
        Reply::new(&mut output, Protocol::Resp2).raw_long(before, Bytes::from_static(string), behind);
        output
    }

    fn sent(replies: &mut Replies, bytes_max: usize) -> Vec<u8> {
        replies.pieces.push(std::mem::take(&mut replies.output));
        let mut sent = Vec::new();
        while !replies.pieces.is_empty() {
            let taken = replies.pieces.take(bytes_max, 2);
            assert!(!taken.is_empty() && taken.iter().map(Bytes::len).sum::<usize>() <= bytes_max);
            if sent.len() % 3 == 1 {
                replies.pieces.put_back(taken.into_iter()); // As after a send that was cut short.
                sent.extend(replies.pieces.take(1, 1).concat());
            } else {
                sent.extend(taken.concat());
            }
        }
        assert_eq!(replies.bytes(), 0);
        sent
    }

    #[test]
    fn long_strings_keep_their_places_in_every_order() {
        for bytes_max in [1, 2, 3, 7, 100] {
            let mut replies = Replies::default();
            replies.write(|out| out.append(long(b"<", b"zero", b"> ")));
            let first = replies.reserve();
            replies.write(|out| out.append(long(b"<", b"two", b"> ")));
            let third = replies.reserve();
            replies.discard = true;
            replies.write(|out| out.append(long(b"<", b"unwanted", b"> ")));
            let unwanted = replies.reserve();
            replies.discard = false;
            write(&mut replies, b"four ");
            replies.fill_with(unwanted, long(b"<", b"unwanted", b"> "));
            replies.fill_with(third, long(b"<", b"three", b"> "));
            assert_eq!(replies.bytes(), b"<zero> <two> <three> four ".len());
            replies.fill_with(first, long(b"<", b"one", b"> "));
            assert_eq!(replies.outstanding(), 0);
            assert_eq!(sent(&mut replies, bytes_max), b"<zero> <one> <two> <three> four ");
            let last = replies.reserve();
            replies.fill_with(last, long(b"<", b"last", b">"));
            assert_eq!(sent(&mut replies, bytes_max), b"<last>");
        }
    }
}
