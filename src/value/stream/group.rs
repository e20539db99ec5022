//! A group of consumers of a stream: how far it has read, who belongs to it, and what was delivered to whom and is not
//! acknowledged yet.
//!
//! ```text
//! pending    id ─▶ when, how often, whose number     all of the group, 40 bytes each
//! consumers  number ─▶ name, times, ids of its own   16 bytes for each id
//! by_time    when and id                             24 bytes each, once somebody has asked for the longest idle
//! ```
//! An entry that was given back (`XNACK`) is pending for nobody, delivered at time 0.

use crate::structure::allocation::allocated_bytes;
use crate::structure::listpack::Malformed;
use crate::structure::sorted_blocks::SortedBlocks;
use crate::structure::stream_log::Id;

/// A consumer within its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerNumber(u32);

/// The owner of what nobody owns.
const NOBODY: u32 = u32::MAX;

/// Nothing is delivered more often: commands know no larger number.
pub const DELIVERIES_MAX: u64 = i64::MAX as u64;

/// An entry that was delivered and is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// When it was delivered last, unix ms. What was given back was delivered in the first moments of 1970, in the
    /// order in which it was given back.
    order_ms: u64,
    /// How often.
    pub deliveries: u64,
    consumer: u32,
}

impl Pending {
    /// When it was delivered last, unix ms; 0: given back.
    pub fn delivered_ms(&self) -> u64 {
        if self.consumer == NOBODY { 0 } else { self.order_ms }
    }

    /// Whose it is; none if it was given back.
    pub fn consumer(&self) -> Option<ConsumerNumber> {
        (self.consumer != NOBODY).then_some(ConsumerNumber(self.consumer))
    }
}

/// One who reads on behalf of a group.
#[derive(Debug, Clone)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it was heard of last, unix ms.
    pub seen_ms: u64,
    /// When it got something last, unix ms; none: never.
    pub active_ms: Option<u64>,
    pending: SortedBlocks<Id, ()>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How much is pending for it.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    fn heap_bytes(&self) -> usize {
        allocated_bytes(size_of::<Consumer>()) + allocated_bytes(self.name.len()) + self.pending.heap_bytes()
    }
}

/// See the page of this module.
#[derive(Debug)]
pub struct Group {
    name: Box<[u8]>,
    /// The last entry that was delivered to anybody.
    pub last_id: Id,
    /// How many entries the stream had when that one was added, if that is known. As in Redis, who sets it to the
    /// greatest number and reads on makes it count on from the least.
    pub entries_read: Option<i64>,
    pending: SortedBlocks<Id, Pending>,
    /// By number.
    consumers: Vec<Option<Box<Consumer>>>,
    /// Numbers of consumers, by their names.
    by_name: Vec<u32>,
    consumer_bytes: usize,
    by_time: Option<SortedBlocks<(u64, Id), ()>>,
    /// How many were given back so far.
    given_back: u64,
}

/// What a group is made of, for those who write streams down.
#[derive(Debug, Clone, Default)]
pub struct GroupParts {
    /// Its name.
    pub name: Vec<u8>,
    /// See [`Group::last_id`].
    pub last_id: Id,
    /// See [`Group::entries_read`].
    pub entries_read: Option<i64>,
    /// What is pending: id, when it was delivered last (unix ms), how often.
    pub pending: Vec<(Id, u64, u64)>,
    /// Its consumers.
    pub consumers: Vec<ConsumerParts>,
    /// What is pending for nobody, in the order in which it was given back.
    pub given_back: Vec<Id>,
}

/// What a consumer is made of.
#[derive(Debug, Clone, Default)]
pub struct ConsumerParts {
    /// Its name.
    pub name: Vec<u8>,
    /// See [`Consumer::seen_ms`].
    pub seen_ms: u64,
    /// See [`Consumer::active_ms`].
    pub active_ms: Option<u64>,
    /// What is pending for it.
    pub pending: Vec<Id>,
}

/// How often something was delivered that is delivered again. As often as can be said is as often as can be: what was
/// given back as delivered too often does not begin anew.
pub fn delivered_again(deliveries: u64) -> u64 {
    deliveries.saturating_add(1).min(DELIVERIES_MAX)
}

/// The number that `ENTRIESREAD` takes for this count: what is not known, and what it refuses, is -1.
pub fn entries_read_said(entries_read: Option<i64>) -> i64 {
    entries_read.filter(|entries| 0 <= *entries).unwrap_or(-1)
}

impl Group {
    pub(super) fn new(name: &[u8], last_id: Id, entries_read: Option<i64>) -> Group {
        Group {
            name: name.into(),
            last_id,
            entries_read,
            pending: SortedBlocks::new(),
            consumers: Vec::new(),
            by_name: Vec::new(),
            consumer_bytes: 0,
            by_time: None,
            given_back: 0,
        }
    }

    /// A group of its parts.
    ///
    /// # Errors
    /// A name or an id twice, ids that do not rise, an id that is pending for a consumer but not for the group, or for
    /// two consumers, or that was given back and is not pending for the group alone. (What is, was given back, whether
    /// that is said or not.)
    pub(super) fn from_parts(parts: &GroupParts) -> Result<Group, Malformed> {
        let mut group = Group::new(&parts.name, parts.last_id, parts.entries_read);
        for &(id, delivered_ms, deliveries) in &parts.pending {
            if group.pending.last().is_some_and(|last| id <= group.pending.at(last).0) {
                return Err(Malformed);
            }
            group.pending.push_back(id, Pending { order_ms: delivered_ms, deliveries, consumer: NOBODY });
        }
        for consumer in &parts.consumers {
            let number = group.add_consumer(&consumer.name, consumer.seen_ms).ok_or(Malformed)?;
            for &id in &consumer.pending {
                let pending = *group.pending.get(id).ok_or(Malformed)?;
                if pending.consumer != NOBODY {
                    return Err(Malformed);
                }
                group.put(id, Pending { consumer: number.0, ..pending });
            }
            group.change_consumer(number, |added| added.active_ms = consumer.active_ms);
        }
        for &id in &parts.given_back {
            let pending = *group.pending.get(id).ok_or(Malformed)?;
            if pending.consumer != NOBODY {
                return Err(Malformed);
            }
            group.give_back(id, pending.deliveries);
        }
        Ok(group)
    }

    /// The parts of the group.
    pub fn parts(&self) -> GroupParts {
        let consumer = |consumer: &Consumer| ConsumerParts {
            name: consumer.name.to_vec(),
            seen_ms: consumer.seen_ms,
            active_ms: consumer.active_ms,
            pending: consumer.pending.iter().map(|(id, ())| id).collect(),
        };
        let mut given_back = Vec::new();
        if self.given_back_len() != 0 {
            let nobodys = self.pending().filter(|(_, pending)| pending.consumer == NOBODY);
            let mut in_order: Vec<(u64, Id)> = nobodys.map(|(id, pending)| (pending.order_ms, id)).collect();
            in_order.sort_unstable();
            given_back.extend(in_order.into_iter().map(|(_, id)| id));
        }
        GroupParts {
            name: self.name.to_vec(),
            last_id: self.last_id,
            entries_read: self.entries_read,
            pending: self.pending().map(|(id, pending)| (id, pending.delivered_ms(), pending.deliveries)).collect(),
            consumers: self.consumers().map(|(_, named)| consumer(named)).collect(),
            given_back,
        }
    }

    pub(super) fn duplicate(&self) -> Group {
        let consumers: Vec<Option<Box<Consumer>>> = self.consumers.clone();
        Group {
            name: self.name.clone(),
            pending: self.pending.clone(),
            consumer_bytes: consumers.iter().flatten().map(|consumer| consumer.heap_bytes()).sum(),
            consumers,
            by_name: self.by_name.clone(),
            by_time: self.by_time.clone(),
            ..*self
        }
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Bytes allocated, its own included.
    pub(super) fn heap_bytes(&self) -> usize {
        allocated_bytes(size_of::<Group>())
            + allocated_bytes(self.name.len())
            + self.pending.heap_bytes()
            + allocated_bytes(self.consumers.capacity() * size_of::<Option<Box<Consumer>>>())
            + allocated_bytes(self.by_name.capacity() * size_of::<u32>())
            + self.consumer_bytes
            + self.by_time.as_ref().map_or(0, SortedBlocks::heap_bytes)
    }

    /// Allocations, roughly.
    pub(super) fn allocations(&self) -> usize {
        2 * self.pending.blocks() + 2 * self.by_name.len()
    }

    /// Gives back about `budget` allocations of a group that nobody needs any more. Whether there are more.
    pub(super) fn free_some(&mut self, budget: usize) -> bool {
        const BLOCK_LEN_MAX: usize = crate::structure::sorted_blocks::BLOCK_LEN_MAX;
        if !self.pending.is_empty() {
            drop(self.pending.drain_some(budget * BLOCK_LEN_MAX));
            return true;
        }
        if let Some(by_time) = self.by_time.as_mut().filter(|by_time| !by_time.is_empty()) {
            drop(by_time.drain_some(budget * BLOCK_LEN_MAX));
            return true;
        }
        for _ in 0..budget {
            let Some(last) = self.consumers.last_mut() else { return false };
            if let Some(consumer) = last {
                let bytes_before = consumer.heap_bytes();
                drop(consumer.pending.drain_some(budget * BLOCK_LEN_MAX));
                self.consumer_bytes = self.consumer_bytes - bytes_before + consumer.heap_bytes();
                if !consumer.pending.is_empty() {
                    return true;
                }
                self.consumer_bytes -= consumer.heap_bytes();
            }
            self.consumers.pop();
        }
        true
    }

    // Consumers

    /// Its consumers, by their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = (ConsumerNumber, &Consumer)> + '_ {
        self.by_name.iter().map(|&number| (ConsumerNumber(number), self.consumer(ConsumerNumber(number))))
    }

    /// A consumer.
    pub fn consumer(&self, number: ConsumerNumber) -> &Consumer {
        self.consumers[number.0 as usize].as_ref().expect("a number is that of a consumer")
    }

    /// The name of the consumer that has something; empty if nobody has.
    pub fn owner(&self, pending: &Pending) -> &[u8] {
        pending.consumer().map_or(b"", |number| self.consumer(number).name())
    }

    fn find_name(&self, name: &[u8]) -> Result<usize, usize> {
        self.by_name.binary_search_by(|&number| self.consumer(ConsumerNumber(number)).name().cmp(name))
    }

    /// The consumer of a name.
    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerNumber> {
        self.find_name(name).ok().map(|at| ConsumerNumber(self.by_name[at]))
    }

    /// Adds a consumer, unless there is one of this name.
    pub fn add_consumer(&mut self, name: &[u8], now_ms: u64) -> Option<ConsumerNumber> {
        let Err(at) = self.find_name(name) else { return None };
        let consumer = Consumer { name: name.into(), seen_ms: now_ms, active_ms: None, pending: SortedBlocks::new() };
        self.consumer_bytes += consumer.heap_bytes();
        // Numbers are given again when there are fewer names than numbers.
        let free = (self.by_name.len() < self.consumers.len())
            .then(|| self.consumers.iter().position(Option::is_none).expect("there are fewer names"));
        let number = free.unwrap_or(self.consumers.len());
        if number == self.consumers.len() {
            self.consumers.push(None);
        }
        self.consumers[number] = Some(Box::new(consumer));
        let number = u32::try_from(number).expect("names alone would take more memory");
        assert!(number != NOBODY);
        self.by_name.insert(at, number);
        Some(ConsumerNumber(number))
    }

    /// Removes a consumer and all that is pending for it. How much that was; `None`: there is none of this name.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let at = self.find_name(name).ok()?;
        let number = ConsumerNumber(self.by_name[at]);
        let ids: Vec<Id> = self.consumer(number).pending.iter().map(|(id, ())| id).collect();
        for &id in &ids {
            self.acknowledge(id);
        }
        self.by_name.remove(at);
        let consumer = self.consumers[number.0 as usize].take().expect("found by its name");
        self.consumer_bytes -= consumer.heap_bytes();
        while self.consumers.last().is_some_and(Option::is_none) {
            self.consumers.pop();
        }
        Some(ids.len())
    }

    /// Changes a consumer.
    pub fn change_consumer<R>(&mut self, number: ConsumerNumber, change: impl FnOnce(&mut Consumer) -> R) -> R {
        let consumer = self.consumers[number.0 as usize].as_mut().expect("a number is that of a consumer");
        let bytes_before = consumer.heap_bytes();
        let result = change(consumer);
        self.consumer_bytes = self.consumer_bytes - bytes_before + consumer.heap_bytes();
        result
    }

    // What is pending

    /// How much is pending.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// How much of it is pending for nobody.
    pub fn given_back_len(&self) -> usize {
        self.pending_len() - self.consumers().map(|(_, consumer)| consumer.pending_len()).sum::<usize>()
    }

    /// What is pending under an id.
    pub fn find_pending(&self, id: Id) -> Option<&Pending> {
        self.pending.get(id)
    }

    /// All that is pending, by ids.
    pub fn pending(&self) -> impl Iterator<Item = (Id, &Pending)> + '_ {
        self.pending.iter()
    }

    /// What is pending from an id on.
    pub fn pending_from(&self, start: Id) -> impl Iterator<Item = (Id, &Pending)> + '_ {
        self.pending.iter_from(self.pending.ceiling(start))
    }

    /// The first and the last id that are pending.
    pub fn pending_ends(&self) -> Option<(Id, Id)> {
        let (first, last) = (self.pending.first()?, self.pending.last()?);
        Some((self.pending.at(first).0, self.pending.at(last).0))
    }

    /// What is pending for a consumer from an id on.
    pub fn pending_of(&self, number: ConsumerNumber, start: Id) -> impl Iterator<Item = (Id, &Pending)> + '_ {
        let ids = &self.consumer(number).pending;
        let all = ids.iter_from(ids.ceiling(start));
        all.map(|(id, ())| (id, self.pending.get(id).expect("it is pending for the group too")))
    }

    /// Notes a delivery: from now on the entry is pending for this consumer, whoever had it before.
    #[inline]
    pub fn deliver(&mut self, id: Id, consumer: ConsumerNumber, delivered_ms: u64, deliveries: u64) {
        self.put(id, Pending { order_ms: delivered_ms, deliveries, consumer: consumer.0 });
    }

    /// The entry is pending for nobody: given back.
    pub fn give_back(&mut self, id: Id, deliveries: u64) {
        self.given_back += 1;
        self.put(id, Pending { order_ms: self.given_back, deliveries, consumer: NOBODY });
    }

    /// The entry is pending no more. Whether it was.
    pub fn acknowledge(&mut self, id: Id) -> bool {
        let Some(old) = self.pending.remove(id) else { return false };
        self.disown(id, &old);
        true
    }

    /// Nothing before an id is pending any more.
    pub(super) fn forget_before(&mut self, end: Id) {
        while let Some((first, _)) = self.pending_ends()
            && first < end
        {
            self.acknowledge(first);
        }
    }

    fn put(&mut self, id: Id, pending: Pending) {
        let old = self.pending.insert(id, pending);
        if let (Some(old), Some(by_time)) = (&old, &mut self.by_time) {
            by_time.remove((old.order_ms, id));
        }
        if let Some(by_time) = &mut self.by_time {
            by_time.insert((pending.order_ms, id), ());
        }
        let had = old.and_then(|old| old.consumer());
        if had == pending.consumer() {
            return;
        }
        if let Some(number) = had {
            self.change_consumer(number, |consumer| consumer.pending.remove(id));
        }
        if let Some(number) = pending.consumer() {
            self.change_consumer(number, |consumer| consumer.pending.insert(id, ()));
        }
    }

    fn disown(&mut self, id: Id, old: &Pending) {
        if let Some(number) = old.consumer() {
            self.change_consumer(number, |consumer| consumer.pending.remove(id));
        }
        if let Some(by_time) = &mut self.by_time {
            by_time.remove((old.order_ms, id));
        }
    }

    /// Up to `count` entries that were delivered at this time or before, the longest idle first. The first question
    /// makes an index, which is kept from then on.
    pub fn longest_idle(&mut self, delivered_until_ms: u64, count: usize) -> Vec<Id> {
        let by_time = self.by_time.get_or_insert_with(|| {
            let mut keys: Vec<(u64, Id)> = self.pending.iter().map(|(id, pending)| (pending.order_ms, id)).collect();
            keys.sort_unstable();
            let mut by_time = SortedBlocks::new();
            keys.into_iter().for_each(|key| by_time.push_back(key, ()));
            by_time
        });
        let due =
            by_time.iter().map(|(key, ())| key).take_while(|(delivered_ms, _)| *delivered_ms <= delivered_until_ms);
        due.take(count).map(|(_, id)| id).collect()
    }

    /// What must be true of it.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let named: usize = self.by_name.len();
        assert_eq!(self.consumers.iter().flatten().count(), named);
        assert!(self.consumers().zip(self.consumers().skip(1)).all(|((_, a), (_, b))| a.name() < b.name()));
        for (id, pending) in self.pending() {
            if let Some(number) = pending.consumer() {
                assert!(self.consumer(number).pending.get(id).is_some());
            }
        }
        let owned: usize = self.consumers().map(|(_, consumer)| consumer.pending_len()).sum();
        assert_eq!(owned, self.pending().filter(|(_, pending)| pending.consumer().is_some()).count());
        assert_eq!(self.parts().given_back.len(), self.pending_len() - owned);
        let bytes: usize = self.consumers().map(|(_, consumer)| consumer.heap_bytes()).sum();
        assert_eq!(self.consumer_bytes, bytes);
        if let Some(by_time) = &self.by_time {
            assert_eq!(by_time.len(), self.pending.len());
            assert!(self.pending().all(|(id, pending)| by_time.get((pending.order_ms, id)).is_some()));
        }
    }
}
