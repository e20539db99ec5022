//! What a client is subscribed to. Not here: who else is, and how messages reach it (`pubsub`).

use std::collections::BTreeSet;
use std::sync::Arc;

/// The three kinds of subscriptions; each has names of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// `SUBSCRIBE`: the channel of this name.
    Channel,
    /// `PSUBSCRIBE`: all channels that a pattern matches.
    Pattern,
    /// `SSUBSCRIBE`: the shard channel of this name.
    Shard,
}

impl Audience {
    /// All of them.
    pub const ALL: [Audience; 3] = [Audience::Channel, Audience::Pattern, Audience::Shard];
}

/// The names a client is subscribed to, in byte order. They are shared with those who look clients up by them.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions {
    names: [BTreeSet<Arc<[u8]>>; Audience::ALL.len()],
    name_bytes: usize,
}

impl Subscriptions {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(BTreeSet::is_empty)
    }

    /// How many of this kind.
    pub fn len(&self, audience: Audience) -> usize {
        self.names[audience as usize].len()
    }

    /// The number that a confirmation tells: channels and patterns together, shard channels apart.
    pub fn confirmed_len(&self, audience: Audience) -> usize {
        match audience {
            Audience::Channel | Audience::Pattern => self.len(Audience::Channel) + self.len(Audience::Pattern),
            Audience::Shard => self.len(Audience::Shard),
        }
    }

    /// Whether this is one of them.
    pub fn contains(&self, audience: Audience, name: &[u8]) -> bool {
        self.names[audience as usize].contains(name)
    }

    /// One more.
    pub fn insert(&mut self, audience: Audience, name: Arc<[u8]>) {
        self.name_bytes += name.len();
        assert!(self.names[audience as usize].insert(name), "a client joins once");
    }

    /// One less. False: it was none.
    pub fn remove(&mut self, audience: Audience, name: &[u8]) -> bool {
        let is_removed = self.names[audience as usize].remove(name);
        if is_removed {
            self.name_bytes -= name.len();
        }
        is_removed
    }

    /// All names of a kind.
    pub fn names(&self, audience: Audience) -> impl Iterator<Item = &Arc<[u8]>> {
        self.names[audience as usize].iter()
    }

    /// Memory behind them, in bytes, about.
    pub fn memory_bytes(&self) -> usize {
        let len: usize = self.names.iter().map(BTreeSet::len).sum();
        len * 3 * size_of::<Arc<[u8]>>() + self.name_bytes
    }
}
