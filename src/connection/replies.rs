//! Replies of one connection, in the order of its requests, whatever order they are made in.
//!
//! Replies of commands that run on the connection's core are written straight to the output. A command that went to
//! another core reserves a *place*: from then on replies wait behind it, those made here in `parked`.
//!
//! ```text
//! places:  [ waiting #7 ][ ready, parked 0..5 ][ waiting #9 ][ ready, parked 5..90 ]
//!             ▲ front: its reply goes straight to `output`, and every ready place behind it follows
//! ```

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
    pub output: Vec<u8>,
    places: VecDeque<Place>,
    parked: Vec<u8>,
    /// Sequence number of the place in front.
    front: u32,
    /// Replies made now are dropped (`CLIENT REPLY OFF` or `SKIP`).
    pub discard: bool,
    /// Bytes in flight.
    pub sending_bytes: usize,
}

impl Replies {
    /// Writes the reply of a request that ran here.
    #[inline]
    pub fn write<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
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

    /// Takes the next place for a reply that comes later; hand it to [`Replies::fill`].
    pub fn reserve(&mut self) -> u32 {
        self.places.push_back(Place::Waiting { discard: self.discard });
        self.front.wrapping_add(self.places.len() as u32 - 1)
    }

    /// The reply for a reserved place.
    pub fn fill(&mut self, sequence: u32, reply: &[u8]) {
        let at = sequence.wrapping_sub(self.front) as usize;
        let Some(&Place::Waiting { discard }) = self.places.get(at) else {
            panic!("a reserved place is filled once");
        };
        let reply = if discard { &[] } else { reply };
        if at != 0 {
            self.places[at] = Place::Ready { start: self.parked.len(), len: reply.len() };
            self.parked.extend_from_slice(reply);
            return;
        }
        self.output.extend_from_slice(reply);
        self.pop_front();
        while let Some(&Place::Ready { start, len }) = self.places.front() {
            self.output.extend_from_slice(&self.parked[start..start + len]);
            self.pop_front();
        }
        if self.places.is_empty() {
            if PARKED_KEPT_BYTES < self.parked.capacity() {
                self.parked = Vec::new();
            } else {
                self.parked.clear();
            }
        }
    }

    fn pop_front(&mut self) {
        self.places.pop_front();
        self.front = self.front.wrapping_add(1);
    }

    /// Requests whose replies are missing, or wait behind one that is.
    pub fn outstanding(&self) -> usize {
        self.places.len()
    }

    /// Bytes of replies held here or in flight.
    pub fn bytes(&self) -> usize {
        self.output.len() + self.parked.len() + self.sending_bytes
    }
}

/// A buffer of parked replies larger than this is freed when it is empty.
const PARKED_KEPT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

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
        replies.fill(fourth, b"four ");
        assert_eq!(replies.output, b"zero ");
        replies.fill(first, b"one ");
        assert_eq!(replies.output, b"zero one two ");
        replies.fill(third, b"three ");
        assert_eq!(replies.output, b"zero one two three four ");
        assert_eq!(replies.outstanding(), 0);
        let fifth = replies.reserve();
        replies.fill(fifth, b"five");
        assert_eq!(replies.output, b"zero one two three four five");
    }

    #[test]
    fn pushes_stay_behind_the_replies_before_them() {
        let mut replies = Replies { discard: true, ..Replies::default() };
        replies.push(b"push ");
        replies.discard = false;
        assert_eq!(replies.output, b"push ");
        let first = replies.reserve();
        replies.push(b"a");
        replies.push(b"b");
        replies.discard = true;
        write(&mut replies, b"no");
        replies.push(b"c ");
        replies.discard = false;
        let second = replies.reserve();
        replies.push(b"d");
        replies.fill(second, b"two ");
        assert_eq!(replies.output, b"push ");
        replies.fill(first, b"one ");
        assert_eq!(replies.output, b"push one abc two d");
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
        replies.fill(first, b"d");
        assert_eq!(replies.output, b"c");
    }
}
