//! Streams: a log of entries with its counters, and the groups of consumers that read it.
//!
//! ```text
//! Stream, 8 bytes, in its entry ──▶ counters, groups by name ──▶ Group: see `group.rs`
//!                                   log ──▶ nodes: see `structure::stream_log`
//! ```
//! Not here: what time it is, and who waits for entries.

mod group;
mod idempotency;
#[cfg(test)]
mod tests;

use super::{Container, HEAVY_ALLOCATIONS_MIN};
use crate::structure::allocation::allocated_bytes;
pub use crate::structure::listpack::{Listpack, Malformed};
pub use crate::structure::stream_log::{
    ENTRY_BYTES_MAX, Entry, ID_TEXT_BYTES_MAX, Id, Keep, Limits, StreamLog, Thorough,
};
pub use group::{
    Consumer, ConsumerNumber, ConsumerParts, DELIVERIES_MAX, Group, GroupParts, Pending, delivered_again,
    entries_read_said,
};
pub use idempotency::{Idempotency, IdempotencyLimits, Message, Producer};

/// A stream.
#[derive(Debug)]
pub struct Stream {
    inner: Box<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    log: StreamLog,
    /// The highest id that ever was, or that a client set.
    last_id: Id,
    /// The highest id that was deleted (not trimmed).
    max_deleted_id: Id,
    /// How many entries there ever were.
    entries_added: u64,
    /// By their names.
    #[allow(clippy::vec_box, reason = "a group that comes between others moves pointers, not groups")]
    groups: Vec<Box<Group>>,
    group_bytes: usize,
    /// Once a producer has asked for it.
    idempotency: Option<Box<Idempotency>>,
}

/// What is known of a stream as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Entries that live.
    pub len: u64,
    /// The id of the first of them; `0-0` if there is none.
    pub first_id: Id,
    /// The highest id that ever was, or that a client set.
    pub last_id: Id,
    /// The highest id that was deleted (not trimmed).
    pub max_deleted_id: Id,
    /// How many entries there ever were.
    pub entries_added: u64,
}

impl Counters {
    /// Whether an entry behind an id, or the one with it, was deleted while entries before it live.
    pub fn has_tombstones_from(&self, start: Id) -> bool {
        self.len != 0
            && self.max_deleted_id != Id::MIN
            && self.first_id <= self.max_deleted_id
            && start <= self.max_deleted_id
    }

    /// How many entries the stream had when the one with this id was added. `None`: nobody knows.
    pub fn entries_until(&self, id: Id) -> Option<i64> {
        let added = self.entries_added as i64;
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= self.last_id || id == self.last_id {
            return Some(added);
        }
        if self.last_id < id {
            return None;
        }
        if self.max_deleted_id == Id::MIN || self.max_deleted_id < self.first_id {
            // Nothing was deleted between those that live.
            let before_first = added.wrapping_sub(self.len as i64);
            match id.cmp(&self.first_id) {
                std::cmp::Ordering::Less => return Some(before_first),
                std::cmp::Ordering::Equal => return Some(before_first.wrapping_add(1)),
                std::cmp::Ordering::Greater => {}
            }
        }
        None
    }

    /// How many entries a group has yet to read. `None`: nobody knows.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_tombstones_from(group.last_id) => read,
            _ => self.entries_until(group.last_id)?,
        };
        Some((self.entries_added as i64).wrapping_sub(read))
    }
}

/// What becomes of what is pending when its entry is removed, and of the entry when something is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// It stays pending.
    Keep,
    /// It is pending no more.
    Delete,
    /// The entry stays unless every group has got it and has it not pending.
    Respect,
}

/// How entries are handed out to a group.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// Who gets them.
    pub consumer: ConsumerNumber,
    /// At most so many; 0: all.
    pub count: usize,
    /// They are not pending afterwards.
    pub is_acknowledged: bool,
    /// Unix ms.
    pub now_ms: u64,
}

impl Stream {
    /// An empty stream.
    pub fn new() -> Stream {
        Stream { inner: Box::default() }
    }

    /// A stream of entries and counters from outside.
    ///
    /// # Errors
    /// The counters contradict the entries.
    pub fn from_log(log: StreamLog, counters: Counters) -> Result<Stream, Malformed> {
        let Counters { len, last_id, max_deleted_id, entries_added, .. } = counters;
        let is_sound = len == log.len() && log.last_id().is_none_or(|last| last <= last_id);
        if !is_sound {
            return Err(Malformed);
        }
        let inner = Inner { log, last_id, max_deleted_id, entries_added, ..Inner::default() };
        Ok(Stream { inner: Box::new(inner) })
    }

    /// Entries that live.
    pub fn len(&self) -> u64 {
        self.inner.log.len()
    }

    /// Whether no entry lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries.
    pub fn log(&self) -> &StreamLog {
        &self.inner.log
    }

    /// The highest id that ever was.
    pub fn last_id(&self) -> Id {
        self.inner.last_id
    }

    /// What is known of it as a whole.
    pub fn counters(&self) -> Counters {
        self.inner.counters()
    }

    /// Sets what `XSETID` sets; `None`: as it is.
    pub fn set_counters(&mut self, last_id: Id, entries_added: Option<u64>, max_deleted_id: Option<Id>) {
        self.inner.last_id = last_id;
        self.inner.entries_added = entries_added.unwrap_or(self.inner.entries_added);
        self.inner.max_deleted_id = max_deleted_id.unwrap_or(self.inner.max_deleted_id);
    }

    /// The id that an entry gets now (unix ms) if nobody chooses one. `None`: there are none left.
    pub fn next_id(&self, now_ms: u64) -> Option<Id> {
        let last_id = self.inner.last_id;
        if last_id.ms < now_ms { Some(Id::new(now_ms, 0)) } else { last_id.next() }
    }

    /// Adds an entry, with an id above [`Stream::last_id`] and no more than [`ENTRY_BYTES_MAX`] bytes.
    pub fn push<'a>(&mut self, id: Id, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, limits: Limits) {
        let inner = &mut *self.inner;
        assert!(inner.last_id < id);
        inner.log.push(id, pairs, limits);
        inner.last_id = id;
        inner.entries_added = inner.entries_added.wrapping_add(1);
    }

    /// Deletes an entry. Whether there was one.
    pub fn delete(&mut self, id: Id) -> bool {
        let inner = &mut *self.inner;
        let is_deleted = inner.log.delete(id);
        if is_deleted {
            inner.max_deleted_id = inner.max_deleted_id.max(id);
        }
        is_deleted
    }

    /// Removes entries at the front. How many there were, and what is to be freed at leisure, if anything.
    ///
    /// Where references are respected, entries that have to stay are passed over.
    pub fn trim(&mut self, keep: Keep, thorough: Thorough, references: References) -> (u64, Option<Stream>) {
        if references == References::Respect && !self.inner.groups.is_empty() {
            return (self.trim_acknowledged(keep, thorough), None);
        }
        let (removed, log) = self.inner.log.trim(keep, thorough);
        if references == References::Delete && removed != 0 {
            let first_id = if self.is_empty() { Id::MAX } else { self.inner.log.first_id() };
            let Inner { groups, group_bytes, .. } = &mut *self.inner;
            for group in groups {
                let bytes_before = group.heap_bytes();
                group.forget_before(first_id);
                *group_bytes = *group_bytes - bytes_before + group.heap_bytes();
            }
        }
        let is_any = log.nodes_len() != 0;
        (removed, is_any.then(|| Stream { inner: Box::new(Inner { log, ..Inner::default() }) }))
    }

    /// The same for entries that no group needs any more. With whole nodes, up to the first that one needs.
    fn trim_acknowledged(&mut self, keep: Keep, thorough: Thorough) -> u64 {
        let (mut left, mut going) = (self.len(), Vec::new());
        for entry in self.inner.log.range(Id::MIN, Id::MAX) {
            let stays = match keep {
                Keep::Last(len) => left <= len,
                Keep::From(id) => id <= entry.id,
            };
            let is_needed = !self.is_acknowledged_by_all(entry.id);
            let is_enough = match thorough {
                Thorough::Exactly => false,
                Thorough::WholeNodes(limit) => is_needed || limit != 0 && limit <= going.len() as u64,
            };
            if stays || is_enough {
                break;
            }
            if !is_needed {
                going.push(entry.id);
                left -= 1;
            }
        }
        going.iter().filter(|id| self.delete(**id)).count() as u64
    }

    // Producers

    /// What is remembered of producers, if one has asked for it.
    pub fn idempotency(&self) -> Option<&Idempotency> {
        self.inner.idempotency.as_deref()
    }

    /// Changes what is remembered of producers; the first to ask decides how much that may be.
    pub fn change_idempotency<R>(
        &mut self,
        limits: IdempotencyLimits,
        change: impl FnOnce(&mut Idempotency) -> R,
    ) -> R {
        change(self.inner.idempotency.get_or_insert_with(|| Box::new(Idempotency::new(limits))))
    }

    /// What is remembered of producers is this, which comes from outside.
    pub fn restore_idempotency(&mut self, known: Idempotency) {
        self.inner.idempotency = Some(Box::new(known));
    }

    // Groups

    /// Its groups, by their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Group> + '_ {
        self.inner.groups.iter().map(|group| &**group)
    }

    /// The group of a name.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.inner.find_group(name).ok().map(|at| &*self.inner.groups[at])
    }

    /// Adds a group, unless there is one of this name. Whether it did.
    pub fn add_group(&mut self, name: &[u8], last_id: Id, entries_read: Option<i64>) -> bool {
        self.inner.insert_group(Group::new(name, last_id, entries_read))
    }

    /// Adds a group that comes from outside.
    ///
    /// # Errors
    /// Its parts contradict each other, or there is one of this name.
    pub fn restore_group(&mut self, parts: &GroupParts) -> Result<(), Malformed> {
        if self.inner.insert_group(Group::from_parts(parts)?) { Ok(()) } else { Err(Malformed) }
    }

    /// Removes a group; gives what is to be freed at leisure.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Stream> {
        let at = self.inner.find_group(name).ok()?;
        let group = self.inner.groups.remove(at);
        let group_bytes = group.heap_bytes();
        self.inner.group_bytes -= group_bytes;
        Some(Stream { inner: Box::new(Inner { groups: vec![group], group_bytes, ..Inner::default() }) })
    }

    /// Changes the group of a name, in view of the entries and the counters. `None`: there is no such group.
    pub fn change_group<R>(
        &mut self,
        name: &[u8],
        change: impl FnOnce(&mut Group, &StreamLog, Counters) -> R,
    ) -> Option<R> {
        let at = self.inner.find_group(name).ok()?;
        let counters = self.counters();
        let Inner { log, groups, group_bytes, .. } = &mut *self.inner;
        let group = &mut groups[at];
        let bytes_before = group.heap_bytes();
        let result = change(group, log, counters);
        *group_bytes = *group_bytes - bytes_before + group.heap_bytes();
        Some(result)
    }

    /// Whether something is pending for nobody: given back.
    pub fn has_given_back(&self) -> bool {
        self.groups().any(|group| group.given_back_len() != 0)
    }

    /// Whether an entry is of interest to no group: delivered to each, and pending for none.
    pub fn is_acknowledged_by_all(&self, id: Id) -> bool {
        self.groups().all(|group| id <= group.last_id && group.find_pending(id).is_none())
    }

    /// An id is pending for no group any more. Whether it was for one.
    pub fn forget_pending(&mut self, id: Id) -> bool {
        let mut was_pending = false;
        let Inner { groups, group_bytes, .. } = &mut *self.inner;
        for group in groups {
            let bytes_before = group.heap_bytes();
            was_pending |= group.acknowledge(id);
            *group_bytes = *group_bytes - bytes_before + group.heap_bytes();
        }
        was_pending
    }
}

impl Group {
    /// Hands out entries that nobody of the group has got yet, as long as `visit` takes them. How many there were.
    pub fn read_new(
        &mut self,
        log: &StreamLog,
        counters: &Counters,
        delivery: Delivery,
        mut visit: impl FnMut(&Entry<'_>) -> bool,
    ) -> usize {
        let Some(start) = self.last_id.next() else { return 0 };
        let mut handed_out = 0;
        for entry in log.range(start, Id::MAX) {
            if !visit(&entry) {
                break;
            }
            self.entries_read = match self.entries_read {
                Some(read) if !counters.has_tombstones_from(entry.id) => Some(read.wrapping_add(1)),
                // The counter may be wrong: another is looked for.
                _ if counters.entries_added != 0 => counters.entries_until(entry.id),
                read => read,
            };
            self.last_id = entry.id;
            if !delivery.is_acknowledged {
                self.deliver(entry.id, delivery.consumer, delivery.now_ms, 1);
            }
            handed_out += 1;
            if handed_out == delivery.count {
                break;
            }
        }
        handed_out
    }
}

impl Inner {
    fn counters(&self) -> Counters {
        let Inner { log, last_id, max_deleted_id, entries_added, .. } = self;
        let (len, first_id) = (log.len(), log.first_id());
        Counters { len, first_id, last_id: *last_id, max_deleted_id: *max_deleted_id, entries_added: *entries_added }
    }

    fn find_group(&self, name: &[u8]) -> Result<usize, usize> {
        self.groups.binary_search_by(|group| group.name().cmp(name))
    }

    fn insert_group(&mut self, group: Group) -> bool {
        let Err(at) = self.find_group(group.name()) else { return false };
        self.group_bytes += group.heap_bytes();
        self.groups.insert(at, Box::new(group));
        true
    }
}

impl Default for Stream {
    fn default() -> Stream {
        Stream::new()
    }
}

impl Container for Stream {
    fn encoding_name(&self) -> &'static str {
        "stream"
    }

    fn heap_bytes(&self) -> usize {
        let Inner { log, groups, group_bytes, idempotency, .. } = &*self.inner;
        allocated_bytes(size_of::<Inner>())
            + idempotency.as_ref().map_or(0, |idempotency| idempotency.heap_bytes())
            + log.heap_bytes()
            + allocated_bytes(groups.capacity() * size_of::<Box<Group>>())
            + group_bytes
    }

    fn duplicate(&self) -> Self {
        let Inner { log, last_id, max_deleted_id, entries_added, groups, idempotency, .. } = &*self.inner;
        let groups: Vec<Box<Group>> = groups.iter().map(|group| Box::new(group.duplicate())).collect();
        let group_bytes = groups.iter().map(|group| group.heap_bytes()).sum();
        let (last_id, max_deleted_id, entries_added) = (*last_id, *max_deleted_id, *entries_added);
        let (log, idempotency) = (log.clone(), idempotency.clone());
        let inner = Inner { log, last_id, max_deleted_id, entries_added, groups, group_bytes, idempotency };
        Stream { inner: Box::new(inner) }
    }

    fn is_heavy(&self) -> bool {
        let groups: usize = self.groups().map(Group::allocations).sum();
        let messages = self.idempotency().map_or(0, Idempotency::messages);
        HEAVY_ALLOCATIONS_MIN < self.log().nodes_len() + groups + messages
    }

    fn free_some(&mut self, budget: usize) -> bool {
        let Inner { log, groups, group_bytes, idempotency, .. } = &mut *self.inner;
        if log.free_some(budget) {
            return true;
        }
        if idempotency.as_mut().is_some_and(|known| known.free_some(budget)) {
            return true;
        }
        let Some(group) = groups.last_mut() else { return false };
        let bytes_before = group.heap_bytes();
        let is_more = group.free_some(budget);
        *group_bytes = *group_bytes - bytes_before + group.heap_bytes();
        if !is_more {
            *group_bytes -= group.heap_bytes();
            groups.pop();
        }
        !groups.is_empty()
    }
}
