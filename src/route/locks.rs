//! Keys of one shard that are lent to a command running elsewhere, and who waits for them.
//!
//! A command or transaction that needs several shards and does not find their engines free (see
//! [`crate::shard::union`]) borrows: each owner hands over the entries it needs, or its whole keyspace (they leave its
//! engine), the work is done on one core as on a keyspace of its own, and everything goes home. Between handing over
//! and coming home a key, or the shard, is *held*: whatever else needs it waits here, in the order of arrival.
//!
//! Why nobody waits for ever. A borrower asks the shards one after the other, in rising order, and within a shard takes
//! all it needs at once or nothing: a circle of borrowers, each waiting for the next, would need a shard lower than
//! itself. Who has all runs without waiting for anything that waits in a queue, so every hold ends; the queue is first
//! come, first served among those that share a key, so everyone's turn comes. Visitors, who take no part in this, keep
//! away from keys that are held or waited for.
//!
//! A key can also be *read* for a while: its entry stays at home, and is written down bit by bit
//! ([`crate::command::long_reply`]). Who only reads passes; who changes the key, or may change any, waits as for one
//! that is held. A key may be read by several at once.
//!
//! What it costs those who do not borrow: [`Locks::is_free`], one branch.

use ahash::{AHashMap, AHashSet};
use std::collections::VecDeque;

/// How far into the queue those are looked for that may overtake. Everybody comes this far forward, since who holds a
/// key lets go of it; without a bound, n waiters for one key would cost n² looks.
const LOOKED_AT_MAX: usize = 64;

/// What a command needs of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// These keys (in every database: the lock is on the name).
    Keys(Vec<Vec<u8>>),
    /// The shard as a whole, with every entry at home.
    Everything,
}

/// The held keys of a shard, and the queue behind them.
#[derive(Debug)]
pub struct Locks<T> {
    held: AHashSet<Vec<u8>>,
    /// Keys that are read, and by how many.
    read: AHashMap<Vec<u8>, usize>,
    /// The whole shard is.
    holds_everything: bool,
    queue: VecDeque<(Need, T)>,
    /// How many in the queue need each key.
    wanted: AHashMap<Vec<u8>, usize>,
    /// How many in the queue need everything.
    wanting_everything: usize,
}

impl<T> Default for Locks<T> {
    fn default() -> Locks<T> {
        Locks {
            held: AHashSet::new(),
            read: AHashMap::new(),
            holds_everything: false,
            queue: VecDeque::new(),
            wanted: AHashMap::new(),
            wanting_everything: 0,
        }
    }
}

impl<T> Locks<T> {
    /// Whether nothing is held and nobody waits: then nothing here needs to be asked.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.held.is_empty() && self.read.is_empty() && self.queue.is_empty() && !self.holds_everything
    }

    /// Whether every entry is at home, be it that some are read, or waited for.
    pub fn is_all_home(&self) -> bool {
        self.held.is_empty() && !self.holds_everything
    }

    /// Whether the shard as a whole is not away.
    pub fn is_whole(&self) -> bool {
        !self.holds_everything
    }

    /// Whether a key is held, or read.
    pub fn is_held(&self, key: &[u8]) -> bool {
        self.holds_everything || self.held.contains(key) || self.read.contains_key(key)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether a newcomer with this need has to wait: a key is held, or somebody waits for it already.
    pub fn conflicts(&self, need: &Need) -> bool {
        match need {
            Need::Everything => !self.is_free(),
            Need::Keys(keys) => self.conflicts_with_keys(keys.iter().map(Vec::as_slice)),
        }
    }

    /// The same of keys.
    pub fn conflicts_with_keys<'a>(&self, mut keys: impl Iterator<Item = &'a [u8]>) -> bool {
        self.holds_everything
            || 0 < self.wanting_everything
            || keys.any(|key| self.is_held(key) || self.wanted.contains_key(key))
    }

    /// The same for one who changes nothing.
    pub fn conflicts_with_reader(&self, need: &Need) -> bool {
        match need {
            Need::Everything => self.holds_everything || !self.held.is_empty() || !self.queue.is_empty(),
            Need::Keys(keys) => {
                self.holds_everything
                    || 0 < self.wanting_everything
                    || keys.iter().any(|key| self.held.contains(key) || self.wanted.contains_key(key))
            }
        }
    }

    /// Whether a newcomer that changes things, or does not, has to wait.
    pub fn conflicts_with(&self, need: &Need, is_reader: bool) -> bool {
        if is_reader { self.conflicts_with_reader(need) } else { self.conflicts(need) }
    }

    /// Reads a key from now on. Nobody holds it.
    pub fn read(&mut self, key: &[u8]) {
        assert!(!self.holds_everything && !self.held.contains(key), "what is held is not read");
        *self.read.entry(key.to_vec()).or_default() += 1;
    }

    /// Reads it no more. Then [`Locks::next_ready`] until it has no more.
    pub fn end_reading(&mut self, key: &[u8]) {
        let readers = self.read.get_mut(key).expect("what ends has begun");
        *readers -= 1;
        if *readers == 0 {
            self.read.remove(key);
        }
    }

    /// Joins the queue.
    pub fn wait(&mut self, need: Need, waiter: T) {
        match &need {
            Need::Everything => self.wanting_everything += 1,
            Need::Keys(keys) => keys.iter().for_each(|key| *self.wanted.entry(key.clone()).or_default() += 1),
        }
        self.queue.push_back((need, waiter));
    }

    /// Holds what nobody holds.
    pub fn hold(&mut self, need: &Need) {
        assert!(!self.holds_everything, "a shard is held once");
        match need {
            Need::Everything => {
                assert!(self.held.is_empty() && self.read.is_empty(), "a shard is held when no key of it is");
                self.holds_everything = true;
            }
            Need::Keys(keys) => {
                for key in keys {
                    assert!(!self.read.contains_key(key) && self.held.insert(key.clone()), "a key is held once");
                }
            }
        }
    }

    /// Lets go of what was held. Then [`Locks::next_ready`] until it has no more.
    pub fn release(&mut self, need: &Need) {
        match need {
            Need::Everything => assert!(std::mem::take(&mut self.holds_everything), "what is released was held"),
            Need::Keys(keys) => {
                for key in keys {
                    assert!(self.held.remove(key), "what is released was held");
                }
            }
        }
    }

    /// Takes the first in the queue that need wait no longer, with what it needs. It runs, or holds that, before this
    /// is called again.
    pub fn next_ready(&mut self) -> Option<(Need, T)> {
        if self.holds_everything {
            return None;
        }
        let mut ahead: AHashSet<&[u8]> = AHashSet::new();
        let mut ready = None;
        for (at, (need, _)) in self.queue.iter().take(LOOKED_AT_MAX).enumerate() {
            match need {
                Need::Everything => {
                    if at == 0 && self.held.is_empty() && self.read.is_empty() {
                        ready = Some(0);
                    }
                    break; // Nobody overtakes one who needs everything.
                }
                Need::Keys(keys) => {
                    if keys.iter().all(|key| !self.is_held(key) && !ahead.contains(key.as_slice())) {
                        ready = Some(at);
                        break;
                    }
                    ahead.extend(keys.iter().map(|key| key.as_slice()));
                }
            }
        }
        let (need, waiter) = self.queue.remove(ready?).expect("an index into the queue");
        self.want_no_more(&need);
        Some((need, waiter))
    }

    /// Takes those out of the queue who do not wait on, in their order. Then [`Locks::next_ready`] until it has no
    /// more: others may have waited for them.
    pub fn dismiss(&mut self, waits_on: impl Fn(&T) -> bool) -> Vec<T> {
        let (staying, leaving) = std::mem::take(&mut self.queue).into_iter().partition(|(_, waiter)| waits_on(waiter));
        self.queue = staying;
        let leave = |(need, waiter): (Need, T)| {
            self.want_no_more(&need);
            waiter
        };
        VecDeque::into_iter(leaving).map(leave).collect()
    }

    /// One in the queue less needs this.
    fn want_no_more(&mut self, need: &Need) {
        match need {
            Need::Everything => self.wanting_everything -= 1,
            Need::Keys(keys) => {
                for key in keys {
                    let count = self.wanted.get_mut(key).expect("counted when it joined");
                    *count -= 1;
                    if *count == 0 {
                        self.wanted.remove(key);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    fn next(locks: &mut Locks<u32>) -> Option<u32> {
        locks.next_ready().map(|(_, waiter)| waiter)
    }

    #[test]
    fn waiters_of_a_key_come_in_order_and_others_pass() {
        let mut locks = Locks::default();
        assert!(locks.is_free());
        locks.hold(&Need::Keys(keys(&["a", "b"])));
        assert!(locks.conflicts(&Need::Keys(keys(&["b"]))));
        assert!(!locks.conflicts(&Need::Keys(keys(&["c"]))));
        assert!(locks.conflicts(&Need::Everything));
        locks.wait(Need::Keys(keys(&["a", "c"])), 1);
        locks.wait(Need::Keys(keys(&["c"])), 2);
        locks.wait(Need::Keys(keys(&["b"])), 3);
        assert!(locks.conflicts(&Need::Keys(keys(&["c"]))), "c is wanted by one who came earlier");
        assert_eq!(next(&mut locks), None);
        locks.release(&Need::Keys(keys(&["b"])));
        assert_eq!(next(&mut locks), Some(3));
        assert_eq!(next(&mut locks), None);
        locks.release(&Need::Keys(keys(&["a"])));
        assert_eq!(next(&mut locks), Some(1));
        assert_eq!(next(&mut locks), Some(2));
        assert!(locks.is_free());
    }

    #[test]
    fn one_who_needs_everything_is_not_overtaken() {
        let mut locks = Locks::default();
        locks.hold(&Need::Keys(keys(&["a"])));
        locks.wait(Need::Everything, 1);
        assert!(locks.conflicts(&Need::Keys(keys(&["z"]))), "or it would wait for ever");
        locks.wait(Need::Keys(keys(&["z"])), 2);
        assert_eq!(next(&mut locks), None);
        locks.release(&Need::Keys(keys(&["a"])));
        assert_eq!(next(&mut locks), Some(1));
        assert_eq!(next(&mut locks), Some(2));
        assert_eq!(next(&mut locks), None);
    }

    #[test]
    fn who_is_dismissed_keeps_nobody_waiting() {
        let mut locks = Locks::default();
        let held = Need::Keys(keys(&["a"]));
        locks.hold(&held);
        locks.wait(Need::Keys(keys(&["a", "b"])), 1);
        locks.wait(Need::Keys(keys(&["b"])), 2);
        locks.wait(Need::Everything, 3);
        locks.wait(Need::Keys(keys(&["c"])), 4);
        locks.wait(held.clone(), 5);
        assert_eq!(locks.dismiss(|waiter| [2, 5].contains(waiter)), [1, 3, 4]);
        assert!(!locks.conflicts(&Need::Keys(keys(&["c"]))), "nobody wants it, nor everything");
        assert_eq!(next(&mut locks), Some(2));
        assert_eq!(next(&mut locks), None);
        locks.release(&held);
        assert_eq!(next(&mut locks), Some(5));
        assert!(locks.is_free());
    }

    #[test]
    fn readers_pass_what_is_read_and_writers_wait() {
        let mut locks: Locks<u32> = Locks::default();
        let (a, b) = (Need::Keys(keys(&["a"])), Need::Keys(keys(&["b"])));
        locks.read(b"a");
        locks.read(b"a");
        assert!(!locks.is_free() && locks.is_held(b"a"));
        assert!(locks.conflicts(&a) && !locks.conflicts(&b) && locks.conflicts(&Need::Everything));
        for need in [&a, &b, &Need::Everything] {
            assert!(!locks.conflicts_with_reader(need));
        }
        locks.wait(a.clone(), 1);
        assert!(locks.conflicts_with_reader(&a), "or a writer would wait for ever");
        assert!(locks.conflicts_with_reader(&Need::Everything) && !locks.conflicts_with_reader(&b));
        locks.end_reading(b"a");
        assert_eq!(next(&mut locks), None);
        locks.end_reading(b"a");
        assert_eq!(next(&mut locks), Some(1));
        locks.read(b"a");
        locks.wait(Need::Everything, 2);
        assert!(locks.conflicts_with_reader(&b));
        assert_eq!(next(&mut locks), None);
        locks.end_reading(b"a");
        assert_eq!(next(&mut locks), Some(2));
        assert!(locks.is_free());
    }

    #[test]
    fn a_shard_that_is_held_as_a_whole_has_no_free_key() {
        let mut locks = Locks::default();
        locks.hold(&Need::Everything);
        assert!(!locks.is_free());
        assert!(locks.conflicts(&Need::Keys(keys(&["a"]))) && locks.conflicts(&Need::Everything));
        locks.wait(Need::Keys(keys(&["a"])), 1);
        locks.wait(Need::Everything, 2);
        locks.wait(Need::Keys(keys(&["b"])), 3);
        assert_eq!(next(&mut locks), None);
        locks.release(&Need::Everything);
        assert_eq!(next(&mut locks), Some(1));
        assert_eq!(next(&mut locks), Some(2));
        locks.hold(&Need::Everything);
        assert_eq!(next(&mut locks), None);
        locks.release(&Need::Everything);
        assert_eq!(next(&mut locks), Some(3));
        assert!(locks.is_free());
    }
}
