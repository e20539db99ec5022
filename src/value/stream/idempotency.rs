//! What a stream remembers of its producers, so that a message that is sent again is not added again.
//!
//! ```text
//! producers by their ids ─▶ the last messages of each, in the order in which they came: their ids (or a digest of
//! their
//!                           fields and values), the entry that each became, and when
//! ```
//! A message is forgotten after a while, or when so many newer ones have come from its producer.

use crate::structure::allocation::allocated_bytes;
use crate::structure::stream_log::Id;
use std::collections::VecDeque;

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyLimits {
    /// A message is forgotten after so many seconds.
    pub duration_s: u32,
    /// Messages of each producer.
    pub messages_max: u32,
}

/// A message that was added.
#[derive(Debug, Clone)]
struct Message {
    id: Box<[u8]>,
    entry: Id,
    added_ms: u64,
}

#[derive(Debug, Clone)]
struct Producer {
    id: Box<[u8]>,
    messages: VecDeque<Message>,
}

/// See the page of this module.
#[derive(Debug, Clone)]
pub struct Idempotency {
    limits: IdempotencyLimits,
    /// By their ids.
    producers: Vec<Producer>,
    heap_bytes: usize,
    messages: usize,
    /// Messages that were added, ever.
    pub added: u64,
    /// Messages that were not, since they had been.
    pub duplicates: u64,
}

impl Message {
    fn heap_bytes(&self) -> usize {
        size_of::<Message>() + allocated_bytes(self.id.len())
    }
}

impl Idempotency {
    /// Remembers nothing yet.
    pub fn new(limits: IdempotencyLimits) -> Idempotency {
        Idempotency { limits, producers: Vec::new(), heap_bytes: 0, messages: 0, added: 0, duplicates: 0 }
    }

    /// How much is remembered.
    pub fn limits(&self) -> IdempotencyLimits {
        self.limits
    }

    /// Changes that, and forgets all messages.
    pub fn set_limits(&mut self, limits: IdempotencyLimits) {
        *self = Idempotency { added: self.added, duplicates: self.duplicates, ..Idempotency::new(limits) };
    }

    /// How many producers are known.
    pub fn producers(&self) -> usize {
        self.producers.len()
    }

    /// How many messages are remembered.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes allocated, its own included; without the rounding of what grows.
    pub(super) fn heap_bytes(&self) -> usize {
        allocated_bytes(size_of::<Idempotency>())
            + allocated_bytes(self.producers.capacity() * size_of::<Producer>())
            + self.heap_bytes
    }

    fn find_producer(&self, id: &[u8]) -> Result<usize, usize> {
        self.producers.binary_search_by(|producer| (*producer.id).cmp(id))
    }

    /// The entry that a message became, if it is remembered.
    pub fn find(&self, producer: &[u8], message: &[u8], now_ms: u64) -> Option<Id> {
        let producer = &self.producers[self.find_producer(producer).ok()?];
        let since_ms = now_ms.saturating_sub(u64::from(self.limits.duration_s) * 1000);
        let known = producer.messages.iter().rev().take_while(|known| since_ms < known.added_ms);
        known.filter(|known| *known.id == *message).map(|known| known.entry).next()
    }

    /// Remembers that a message became an entry.
    pub fn remember(&mut self, producer: &[u8], message: &[u8], entry: Id, now_ms: u64) {
        let at = match self.find_producer(producer) {
            Ok(at) => at,
            Err(at) => {
                self.forget_old(now_ms);
                let at = self.find_producer(producer).expect_err("it was not there").min(at);
                self.heap_bytes += allocated_bytes(producer.len());
                self.producers.insert(at, Producer { id: producer.into(), messages: VecDeque::new() });
                at
            }
        };
        self.added += 1;
        let message = Message { id: message.into(), entry, added_ms: now_ms };
        self.heap_bytes += message.heap_bytes();
        self.messages += 1;
        self.producers[at].messages.push_back(message);
        self.trim(at, now_ms);
    }

    /// Forgets messages of a producer that are old, or too many.
    fn trim(&mut self, at: usize, now_ms: u64) {
        let since_ms = now_ms.saturating_sub(u64::from(self.limits.duration_s) * 1000);
        let messages = &mut self.producers[at].messages;
        while let Some(first) = messages.front()
            && (first.added_ms <= since_ms || (self.limits.messages_max as usize) < messages.len())
        {
            self.heap_bytes -= first.heap_bytes();
            self.messages -= 1;
            messages.pop_front();
        }
    }

    /// Forgets what is old, and producers of whom nothing is left. Called when a producer comes, so that those who
    /// stayed away do not pile up.
    fn forget_old(&mut self, now_ms: u64) {
        for at in 0..self.producers.len() {
            self.trim(at, now_ms);
        }
        let freed: usize = self
            .producers
            .iter()
            .filter(|producer| producer.messages.is_empty())
            .map(|producer| allocated_bytes(producer.id.len()))
            .sum();
        self.heap_bytes -= freed;
        self.producers.retain(|producer| !producer.messages.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: IdempotencyLimits = IdempotencyLimits { duration_s: 10, messages_max: 3 };

    #[test]
    fn messages_are_known_until_they_are_old_or_too_many() {
        let mut known = Idempotency::new(LIMITS);
        let empty = known.heap_bytes;
        for number in 0..5_u64 {
            known.remember(b"p", &[number as u8], Id::new(number + 1, 0), 100_000 + number);
        }
        known.remember(b"other", &[4], Id::new(9, 0), 100_009);
        assert_eq!((known.producers(), known.messages()), (2, 4));
        assert_eq!(known.find(b"p", &[1], 100_005), None);
        assert_eq!(known.find(b"p", &[4], 100_005), Some(Id::new(5, 0)));
        assert_eq!(known.find(b"other", &[4], 100_010), Some(Id::new(9, 0)));
        assert_eq!(known.find(b"nobody", &[4], 100_010), None);
        assert_eq!(known.find(b"p", &[4], 110_004), None);
        // A new producer is the occasion to forget those of whom nothing is left.
        known.remember(b"new", b"m", Id::new(10, 0), 120_000);
        assert_eq!((known.producers(), known.messages()), (1, 1));
        known.set_limits(LIMITS);
        assert_eq!((known.producers(), known.messages(), known.heap_bytes), (0, 0, empty));
    }
}
