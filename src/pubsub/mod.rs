//! Messages to clients that nobody asked for just now: published ones, what happens to keys, and what makes cached
//! values stale. Not here: sockets and buffers (`runtime::pubsub`), and what happens to keys (`keyspace::effects`).
//!
//! # Who holds what
//!
//! ```text
//!                        one for all cores                                core 1
//!   PUBLISH ch m ──▶ ┌ directory ───────────────┐                    ┌──────────────────────┐
//!   on any core      │ ch  ▶ core 0: 2, core 1: 5│   inbox of core 1  │ members              │
//!      ◀── :7 ────── │ patterns, shard channels │ ══▶ [m][m][…] ═══▶ │ ch ▶ connections      │──▶ 5 × m
//!                    └──────────────────────────┘     ⇡              └──────────────────────┘
//!   SET k (any core) ─▶ effects ─▶ tracking: k ▶ clients
//! ```
//! - [`Members`], one per core: which of *its* connections want a channel, a pattern, a shard channel. Nobody else
//!   looks at it, so handing out a message takes no lock.
//! - The directory in [`Pubsub`], one for all: per name, how many clients of each core want it. It is cut into stripes
//!   by the hash of the name, each behind a lock of its own that publishers share.
//! - An [`Inbox`] per core: what has to be handed to that core's clients, in order.
//! - [`Tracking`], one for all: which clients have read which keys.
//!
//! # Exact counts, exact order
//!
//! A publisher reads the directory and puts the message into the inboxes of the cores that it names, *under one hold of
//! the lock*; the sum of the counts is its reply. A subscriber changes the directory under the same lock, held alone,
//! and while it holds it its core first hands out everything in its inbox. So every message is either before a
//! subscription or after it, for the count and for the client alike: a client gets exactly the messages whose
//! publishers counted it, also while it leaves; what was published before its confirmation never comes behind it. No
//! publisher waits for another core: no question, no answer, one lock shared with other readers.
//!
//! Messages of one publisher reach every client in the order in which they were published, since inboxes are first in,
//! first out. A client's `PUBLISH` waits until the commands it sent before are answered, wherever their keys are: who
//! is told "it is there" finds it there. A core empties its inbox before it runs the commands of a pass, after every
//! command that put something into it, and before the pass ends; who sleeps is woken as for any other message.
//!
//! # What it costs when nobody listens
//!
//! `PUBLISH` reads two counters. A change of a key pays one test of a bit set ([`crate::keyspace::Effects`]); a core
//! pays one relaxed load and a branch per command to see whether its inbox is empty.
//!
//! # Between replies
//!
//! A message is a RESP3 push, or in RESP2 an array; it is written between whole replies and never inside one. It
//! comes behind replies that are still awaited from other cores: an invalidation must not overtake the reply with the
//! value that it makes stale. It is not a reply: `CLIENT REPLY OFF` does not stop it.
//!
//! # Slow subscribers
//!
//! Every message is checked against `client-output-buffer-limit pubsub` as it is written to a subscriber's buffer. Who
//! passes the limit is closed, at once or when the soft limit's seconds are over; publishers and other subscribers
//! notice nothing. Nobody waits for a subscriber's socket.
//!
//! # Keyspace notifications
//!
//! The shard hands every effect to [`Pubsub::tell`], in the one place where effects are taken (`Shard::settle`): after
//! the command that caused it and before anybody else may look at the keys. The messages go the way of `PUBLISH`.
//!
//! # Client-side caching
//!
//! A key is remembered for a client *before* its command reads it, and forgotten by the change that invalidates it,
//! which happens before that change is visible to anybody else. So between the two either the reader sees the new value
//! or is told. The message is in the inbox of the reader's core before the writer is answered, and that core empties
//! its inbox before it runs another command: who learned of the change by any other way and asks again gets the
//! invalidation first.

mod directory;
mod inbox;
mod members;
mod message;
mod tracking;

pub use inbox::Inbox;
pub use members::Members;
pub use message::{Delivery, Keys, Message, write_change, write_invalidation, write_message, write_redirect_broken};
pub use tracking::Tracking;

use crate::keyspace::{Class, Effect};
use crate::session::Audience;
use crate::structure::glob;
use directory::{Counts, Directory, Stripe};
use std::sync::Arc;

/// What all cores know of subscribers. See the module's page.
pub struct Pubsub {
    channels: Directory,
    patterns: Directory,
    shard_channels: Directory,
    inboxes: Box<[Inbox<Delivery>]>,
    /// Who has read which keys.
    pub tracking: Tracking,
}

/// Which channels keyspace notifications go to, and for which events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notifications {
    /// `K`: `__keyspace@<db>__:<key>` is told the event.
    pub by_key: bool,
    /// `E`: `__keyevent@<db>__:<event>` is told the key.
    pub by_event: bool,
    /// The events.
    pub classes: Class,
}

impl Pubsub {
    /// Of a server with so many cores, and no subscriber.
    pub fn new(cores: usize) -> Pubsub {
        Pubsub {
            channels: Directory::new(),
            patterns: Directory::of_one_stripe(),
            shard_channels: Directory::new(),
            inboxes: (0..cores).map(|_| Inbox::default()).collect(),
            tracking: Tracking::default(),
        }
    }

    fn directory(&self, audience: Audience) -> &Directory {
        match audience {
            Audience::Channel => &self.channels,
            Audience::Pattern => &self.patterns,
            Audience::Shard => &self.shard_channels,
        }
    }

    // Messages

    /// Publishes a message to a channel, or to a shard channel. Returns how many subscriptions it goes to.
    pub fn publish(&self, audience: Audience, channel: &[u8], payload: &[u8]) -> usize {
        let directory = self.directory(audience);
        let asks_patterns = audience == Audience::Channel && !self.patterns.is_empty();
        if directory.is_empty() && !asks_patterns {
            return 0;
        }
        let stripe = directory.read(channel);
        let mut counts = stripe.counts(channel).cloned().unwrap_or_default();
        let patterns = asks_patterns.then(|| self.patterns.read(b""));
        let mut matched = Vec::new();
        if let Some(patterns) = &patterns {
            for (pattern, of_pattern) in patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel)) {
                matched.push(pattern.clone());
                counts.add_all(of_pattern);
            }
        }
        if counts.is_empty() {
            return 0;
        }
        let message =
            Arc::new(Message { audience, channel: channel.into(), payload: payload.into(), patterns: matched.into() });
        // While the locks are held: see the module's page.
        for core in counts.cores() {
            self.inboxes[core].put(Delivery::Message(message.clone()));
        }
        counts.total()
    }

    /// To how many a message to a channel would go now.
    pub fn receivers(&self, audience: Audience, channel: &[u8]) -> usize {
        let mut counts = self.directory(audience).read(channel).counts(channel).cloned().unwrap_or_default();
        if audience == Audience::Channel && !self.patterns.is_empty() {
            let patterns = self.patterns.read(b"");
            let matched = patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel));
            matched.for_each(|(_, of_pattern)| counts.add_all(of_pattern));
        }
        counts.total()
    }

    /// Something happened to a key: those who subscribed to it, and those who have it in their caches, are told.
    pub fn tell(&self, effect: &Effect, notifications: Notifications) {
        if self.tracking.is_used() {
            self.tracking.note(effect, &self.inboxes);
        }
        let has_subscribers = !self.channels.is_empty() || !self.patterns.is_empty();
        if !notifications.classes.contains(effect.event.class) || !has_subscribers {
            return;
        }
        let name = effect.event.name.as_bytes();
        if notifications.by_key {
            let mut channel = format!("__keyspace@{}__:", effect.db).into_bytes();
            channel.extend_from_slice(&effect.key);
            self.publish(Audience::Channel, &channel, name);
        }
        if notifications.by_event {
            let channel = format!("__keyevent@{}__:{}", effect.db, effect.event.name);
            self.publish(Audience::Channel, channel.as_bytes(), &effect.key);
        }
    }

    // Subscriptions

    /// Keeps publishers to this name away while a subscription begins or ends. Before it does, the caller's core hands
    /// out its inbox.
    pub fn hold(&self, audience: Audience, name: &[u8]) -> Stripe<'_> {
        self.directory(audience).write(name)
    }

    /// How many names have a subscriber.
    pub fn names_len(&self, audience: Audience) -> usize {
        self.directory(audience).len()
    }

    /// How many clients are subscribed to a name.
    pub fn subscribers_len(&self, audience: Audience, name: &[u8]) -> usize {
        self.directory(audience).read(name).counts(name).map_or(0, Counts::total)
    }

    /// Shows every name that has a subscriber.
    pub fn for_each_name(&self, audience: Audience, mut visit: impl FnMut(&Arc<[u8]>)) {
        self.directory(audience).for_each(|name, _| visit(name));
    }

    // Inboxes

    /// Whether something waits for the clients of a core.
    #[inline]
    pub fn has_mail(&self, core: usize) -> bool {
        self.inboxes[core].has_mail()
    }

    /// Takes everything that waits for the clients of a core. False: nothing did.
    pub fn take(&self, core: usize, into: &mut Vec<Delivery>) -> bool {
        self.inboxes[core].take(into)
    }

    /// Has something handed to a client of a core.
    pub fn put(&self, core: usize, delivery: Delivery) {
        self.inboxes[core].put(delivery);
    }

    /// Forgets some of the keys that are remembered for caches beyond so many; 0: there is no limit.
    pub fn bound_tracking(&self, keys_max: usize) {
        self.tracking.enforce(keys_max, &self.inboxes);
    }

    /// Sends what clients that track whole prefixes have to be told of this pass.
    #[inline]
    pub fn broadcast(&self) {
        if self.tracking.has_broadcasts() {
            self.tracking.broadcast(&self.inboxes);
        }
    }
}

#[cfg(test)]
mod tests;
