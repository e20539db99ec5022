//! What a stream remembers of its producers, so that a message that is sent again is not added again.
//!
//! ```text
//! producers by their ids ─▶ the last messages of each, in the order in which they came: their ids (or a digest of
//!                           their fields and values), and the entry that each became
//! ```
//! A message is forgotten after a while, or when so many newer ones have come from its producer. How old it is, the id
//! of its entry says, as in Redis: snapshots tell no other time.

use crate::structure::allocation::allocated_bytes;
use crate::structure::listpack::Malformed;
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

impl IdempotencyLimits {
    /// Those of Redis where nothing else is said.
    pub const STOCK: IdempotencyLimits = IdempotencyLimits { duration_s: 100, messages_max: 100 };
    /// No message is remembered for longer.
    pub const DURATION_S_MAX: u32 = 86_400;
    /// Nor more of a producer.
    pub const MESSAGES_MAX: u32 = 10_000;

    /// The nearest that are allowed.
    pub fn nearest(duration_s: u64, messages_max: u64) -> IdempotencyLimits {
        IdempotencyLimits {
            duration_s: duration_s.clamp(1, Self::DURATION_S_MAX.into()) as u32,
            messages_max: messages_max.clamp(1, Self::MESSAGES_MAX.into()) as u32,
        }
    }

    /// Entries that are not younger are forgotten, unix ms.
    fn since_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(u64::from(self.duration_s) * 1000)
    }
}

/// A message that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: Box<[u8]>,
    /// The entry that it became.
    pub entry: Id,
}

/// One who sends messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Its id.
    pub id: Box<[u8]>,
    /// The last ones, from the oldest.
    pub messages: VecDeque<Message>,
}

/// See the page of this module.
#[derive(Debug, Clone)]
pub struct Idempotency {
    limits: IdempotencyLimits,
    /// By their ids.
    producers: Vec<Producer>,
    /// With so many producers those are looked for of whom nothing is left.
    look_at: usize,
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
        let producers = Vec::new();
        Idempotency { limits, producers, look_at: 0, heap_bytes: 0, messages: 0, added: 0, duplicates: 0 }
    }

    /// How much is remembered.
    pub fn limits(&self) -> IdempotencyLimits {
        self.limits
    }

    /// What comes from outside: producers in any order. Of too many messages the newest stay.
    ///
    /// # Errors
    /// A producer comes twice.
    pub fn from_parts(
        limits: IdempotencyLimits,
        mut producers: Vec<Producer>,
        added: u64,
        duplicates: u64,
    ) -> Result<Idempotency, Malformed> {
        producers.retain(|producer| !producer.messages.is_empty());
        producers.shrink_to_fit();
        producers.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        if producers.windows(2).any(|pair| pair[0].id == pair[1].id) {
            return Err(Malformed);
        }
        let (mut heap_bytes, mut messages) = (0, 0);
        for producer in &mut producers {
            let too_many = producer.messages.len().saturating_sub(limits.messages_max as usize);
            producer.messages.drain(..too_many);
            producer.messages.shrink_to_fit();
            messages += producer.messages.len();
            heap_bytes += allocated_bytes(producer.id.len());
            heap_bytes += producer.messages.iter().map(Message::heap_bytes).sum::<usize>();
        }
        Ok(Idempotency { limits, producers, look_at: 0, heap_bytes, messages, added, duplicates })
    }

    /// Changes that, and forgets all messages if it is another; as in Redis.
    pub fn set_limits(&mut self, limits: IdempotencyLimits) {
        if limits != self.limits {
            *self = Idempotency { added: self.added, duplicates: self.duplicates, ..Idempotency::new(limits) };
        }
    }

    /// Whether it says no more than that so much would be remembered.
    pub fn is_untouched(&self, limits: IdempotencyLimits) -> bool {
        self.limits == limits && self.producers.is_empty() && self.added == 0 && self.duplicates == 0
    }

    /// The producers that are known, by their ids.
    pub fn producers(&self) -> &[Producer] {
        &self.producers
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
        let since_ms = self.limits.since_ms(now_ms);
        let known = producer.messages.iter().rev().filter(|known| since_ms < known.entry.ms);
        known.filter(|known| *known.id == *message).map(|known| known.entry).next()
    }

    /// Remembers that a message became an entry.
    pub fn remember(&mut self, producer: &[u8], message: &[u8], entry: Id, now_ms: u64) {
        let at = match self.find_producer(producer) {
            Ok(at) => at,
            Err(mut at) => {
                if self.look_at <= self.producers.len() {
                    self.forget_old(now_ms);
                    self.look_at = 2 * self.producers.len();
                    at = self.find_producer(producer).expect_err("it was not there");
                }
                self.heap_bytes += allocated_bytes(producer.len());
                self.producers.insert(at, Producer { id: producer.into(), messages: VecDeque::new() });
                at
            }
        };
        self.added += 1;
        let message = Message { id: message.into(), entry };
        self.heap_bytes += message.heap_bytes();
        self.messages += 1;
        self.producers[at].messages.push_back(message);
        self.trim(at, now_ms);
    }

    /// Forgets messages of a producer that are old, or too many.
    fn trim(&mut self, at: usize, now_ms: u64) {
        let since_ms = self.limits.since_ms(now_ms);
        let messages = &mut self.producers[at].messages;
        while let Some(first) = messages.front()
            && (first.entry.ms <= since_ms || (self.limits.messages_max as usize) < messages.len())
        {
            self.heap_bytes -= first.heap_bytes();
            self.messages -= 1;
            messages.pop_front();
        }
    }

    /// Forgets what is old, and producers of whom nothing is left. Called when a producer comes and there are twice as
    /// many as there were then, so that those who stayed away do not pile up, and each look costs little.
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

    /// Gives back about `budget` allocations of what nobody needs any more. Whether there are more.
    pub(super) fn free_some(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            let Some(last) = self.producers.last_mut() else { return false };
            match last.messages.pop_back() {
                Some(message) => {
                    self.heap_bytes -= message.heap_bytes();
                    self.messages -= 1;
                }
                None => {
                    self.heap_bytes -= allocated_bytes(last.id.len());
                    self.producers.pop();
                }
            }
        }
        true
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
            known.remember(b"p", &[number as u8], Id::new(100_000 + number, 0), 100_000 + number);
        }
        known.remember(b"other", &[4], Id::new(100_009, 0), 100_009);
        assert_eq!((known.producers().len(), known.messages()), (2, 4));
        assert_eq!(known.find(b"p", &[1], 100_005), None);
        assert_eq!(known.find(b"p", &[4], 100_005), Some(Id::new(100_004, 0)));
        assert_eq!(known.find(b"other", &[4], 100_010), Some(Id::new(100_009, 0)));
        assert_eq!(known.find(b"nobody", &[4], 100_010), None);
        assert_eq!(known.find(b"p", &[4], 110_004), None);
        // A new producer is the occasion to forget those of whom nothing is left.
        known.remember(b"new", b"m", Id::new(120_000, 0), 120_000);
        assert_eq!((known.producers().len(), known.messages()), (1, 1));
        // Only another limit makes it forget.
        known.set_limits(LIMITS);
        assert_eq!((known.producers().len(), known.messages()), (1, 1));
        known.set_limits(IdempotencyLimits { duration_s: 11, ..LIMITS });
        assert_eq!((known.producers().len(), known.messages(), known.heap_bytes), (0, 0, empty));
        assert_eq!(known.added, 7);
    }

    #[test]
    fn what_comes_from_outside_is_what_was_remembered() {
        let mut known = Idempotency::new(LIMITS);
        for number in 0..5_u64 {
            known.remember(b"q", &[number as u8], Id::new(100_000 + number, 0), 100_000 + number);
        }
        known.remember(b"p", b"message", Id::new(100_009, 0), 100_009);
        let backwards: Vec<Producer> = known.producers().iter().rev().cloned().collect();
        let restored = |producers| Idempotency::from_parts(LIMITS, producers, known.added, 3);
        let mut back = restored(backwards.clone()).expect("sound");
        assert_eq!(back.producers(), known.producers());
        assert_eq!((back.heap_bytes, back.messages, back.added, back.duplicates), (known.heap_bytes, 4, 6, 3));
        assert_eq!(back.find(b"q", &[4], 100_005), Some(Id::new(100_004, 0)));
        assert!(restored([backwards.clone(), backwards].concat()).is_err(), "a producer comes twice");
        // Of more than may be, the newest; of a producer without messages, nothing.
        let message = |number: u64| Message { id: [number as u8].into(), entry: Id::new(number, 0) };
        let many = Producer { id: b"p"[..].into(), messages: (0..9).map(message).collect() };
        let none = Producer { id: b"q"[..].into(), messages: VecDeque::new() };
        let some = restored(vec![many, none]).expect("sound");
        assert_eq!((some.producers().len(), some.messages()), (1, 3));
        assert_eq!(some.producers()[0].messages[0].entry, Id::new(6, 0));
        while back.free_some(2) {}
        assert_eq!((back.heap_bytes, back.messages), (0, 0));
        assert_eq!(IdempotencyLimits::nearest(0, u64::MAX), IdempotencyLimits { duration_s: 1, messages_max: 10_000 });
    }
}
