//! One database of one shard: its entries, what is counted about them, and the wheel that knows when they expire. Not
//! here: what time it is, statistics, events.
//!
//! # Who expires when
//!
//! The wheel holds records: the 48 bits of a key's hash that the table uses, filed for a time. A record says "look at
//! this key then", nothing more. What always holds, for an entry of a database that is at home (not on loan):
//!
//! 1. An entry with a deadline is armed, and for an armed entry a record waits that is due not later than its deadline
//!    word says. So whatever is due is found in time.
//! 2. A deadline that is put off needs no new record: the old one comes, finds the entry not due, and is filed again.
//!    Only an earlier one does. So a session that is prolonged with every request has one record, not thousands.
//! 3. For a container with a part that is to be removed (a field of a hash), a record waits that is due not later than
//!    [`Container::due_ms`]. It is filed when that time becomes earlier, and again when it has come and the parts due
//!    are gone. If a slice of time does not suffice for them, it waits outside the wheel until the next slice, since
//!    the wheel hands nothing out twice in a millisecond: see [`Database::file_due`].
//! 4. Records of keys that were removed, and those for which an earlier one was filed, stay until their time has come.
//!    If they become too many (a quarter of the keys, [`STALE_MIN`]), the wheel is made anew from the entries, step by
//!    step while the old one goes on working: see [`Rebuild`]. So where every key has a deadline, records take 10 bytes
//!    a key at most, and 18 while the wheel is made anew.

use super::HASH_MASK;
use super::access::aged_clock;
use super::entry::{Entries, EntriesDrain, Entry, EntryRef, SAMPLE_LEN_MAX};
use super::walk::Walk;
use crate::structure::table::Position;
use crate::structure::wheel::Wheel;
use crate::value::{Container, Removed};
use std::collections::VecDeque;

/// Fewer stale records than this are no reason to make a wheel anew (32 KiB).
const STALE_MIN: usize = 4096;

/// Entries and their sums.
pub(super) struct Database {
    pub(super) entries: Entries,
    /// Turned over when a walk begins …
    pub(super) epoch: bool,
    /// … that has not yet passed all entries.
    pub(super) walk: Option<Box<Walk>>,
    wheel: Wheel,
    /// Hashes of keys of which parts are due that the last slices have left: each has its turn in the next one.
    unfinished: VecDeque<u64>,
    rebuild: Option<Rebuild>,
    /// Its entries are lent by other keyspaces, whose wheels have their records.
    is_loan: bool,
    volatile_len: usize,
    /// Entries of which a part is to be removed some time.
    due_len: usize,
    /// Of the volatile entries, in unix ms.
    deadline_sum_ms: u128,
    /// Of all entries and of what their values have allocated.
    entry_bytes: usize,
}

/// A wheel being made anew. New records go to the new one already; the old one works until all entries have been looked
/// at, and is dropped then.
struct Rebuild {
    old: Wheel,
    /// Of the iteration over the entries.
    cursor: u64,
}

/// The record for a hash, and the hash of a record: the table looks at its upper 32 and lower 16 bits, others are 0.
fn record_of(hash: u64) -> u64 {
    debug_assert!(hash & !HASH_MASK == 0);
    (hash >> 32) << 16 | hash & 0xffff
}

fn hash_of_record(record: u64) -> u64 {
    (record >> 16) << 32 | record & 0xffff
}

/// What an entry adds to the sums.
#[derive(Clone, Copy)]
struct Share {
    bytes: usize,
    deadline_ms: Option<u64>,
    due_ms: Option<u64>,
}

impl Share {
    fn of(view: EntryRef<'_>) -> Share {
        Share { bytes: view.memory_bytes(), deadline_ms: view.deadline_ms(), due_ms: view.due_ms() }
    }
}

impl Default for Database {
    fn default() -> Database {
        Database {
            entries: Entries::default(),
            epoch: false,
            walk: None,
            wheel: Wheel::new(0),
            unfinished: VecDeque::new(),
            rebuild: None,
            is_loan: false,
            volatile_len: 0,
            due_len: 0,
            deadline_sum_ms: 0,
            entry_bytes: 0,
        }
    }
}

impl Database {
    /// For entries that other keyspaces lend.
    pub fn for_loans() -> Database {
        Database { is_loan: true, ..Database::default() }
    }

    /// Takes a table with room in the place of its own, if that was never used.
    pub fn make_room(&mut self, room: Entries) {
        if self.entries.table_bytes() == 0 {
            self.entries = room;
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn volatile_len(&self) -> usize {
        self.volatile_len
    }

    /// Mean time to live of the volatile entries in ms; 0 if there are none, or if their deadlines have come.
    pub fn avg_ttl_ms(&self, now_ms: u64) -> u64 {
        match self.deadline_sum_ms.checked_div(self.volatile_len as u128) {
            Some(mean_ms) => mean_ms.saturating_sub(now_ms.into()) as u64,
            None => 0,
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.entry_bytes + self.table_bytes()
    }

    /// Of the entries alone.
    pub fn entry_bytes(&self) -> usize {
        self.entry_bytes
    }

    /// Of what finds entries: the table, and the wheel.
    pub fn table_bytes(&self) -> usize {
        self.entries.table_bytes() + self.wheel_bytes()
    }

    /// Of the wheel alone.
    pub fn wheel_bytes(&self) -> usize {
        let old = self.rebuild.as_ref().map_or(0, |rebuild| rebuild.old.memory_bytes());
        self.wheel.memory_bytes() + old + self.unfinished.capacity() * size_of::<u64>()
    }

    /// To look around.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<(Position, EntryRef<'_>)> {
        self.entries.find(hash, key)
    }

    pub fn view(&self, position: Position) -> EntryRef<'_> {
        self.entries.view(position)
    }

    pub fn set_clock(&mut self, position: Position, clock: u32) {
        self.entries.entry_mut(position).set_clock(clock);
    }

    /// A step over about so many entries, from a cursor of [`Entries::scan`]: what is no longer fresh is written so.
    pub fn age_clocks(&mut self, cursor: u64, entries: usize, now_ms: u64) -> u64 {
        self.entries.scan_clocks(cursor, entries, |clock| aged_clock(clock, now_ms))
    }

    /// Changes an entry, whose key and deadline must stay.
    #[inline]
    pub fn change<R>(&mut self, position: Position, change: impl FnOnce(&mut Entry) -> R) -> R {
        self.before_change(position);
        let mut entry = self.entries.entry_mut(position);
        let before = Share::of(entry.view());
        let result = change(&mut entry);
        let after = Share::of(entry.view());
        debug_assert!(before.deadline_ms == after.deadline_ms && before.due_ms.is_none() && after.due_ms.is_none());
        entry.set_epoch(self.epoch);
        drop(entry);
        self.entry_bytes = self.entry_bytes - before.bytes + after.bytes;
        result
    }

    /// Changes an entry, whose key, which has this hash, must stay.
    #[inline]
    pub fn change_with_deadline<R>(
        &mut self,
        hash: u64,
        position: Position,
        now_ms: u64,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> R {
        self.before_change(position);
        let mut entry = self.entries.entry_mut(position);
        let before = Share::of(entry.view());
        let armed_until_ms = entry.view().armed_until_ms();
        let result = change(&mut entry);
        let after = Share::of(entry.view());
        if before.deadline_ms != after.deadline_ms
            && let Some(deadline_ms) = after.deadline_ms
            && !self.is_loan
            && armed_until_ms.is_none_or(|armed_until_ms| deadline_ms < armed_until_ms)
        {
            entry.set_armed(true);
            file(&mut self.wheel, deadline_ms, hash, now_ms);
        }
        entry.set_epoch(self.epoch);
        drop(entry);
        if before.deadline_ms != after.deadline_ms {
            self.discount_deadline(before.deadline_ms);
            self.count_deadline(after.deadline_ms);
        }
        self.due_changed(hash, before.due_ms, after.due_ms, now_ms);
        self.entry_bytes = self.entry_bytes - before.bytes + after.bytes;
        result
    }

    /// Adds an entry whose key, which has this hash, is not there yet.
    pub fn insert(&mut self, hash: u64, mut entry: Entry, now_ms: u64, hash_of: impl Fn(&[u8]) -> u64) {
        let share = Share::of(entry.view());
        self.count_deadline(share.deadline_ms);
        self.entry_bytes += share.bytes;
        // It may come from elsewhere, where it was armed, and of another epoch.
        entry.set_armed(false);
        entry.set_epoch(self.epoch);
        if let Some(deadline_ms) = share.deadline_ms
            && !self.is_loan
        {
            entry.set_armed(true);
            file(&mut self.wheel, deadline_ms, hash, now_ms);
        }
        self.due_changed(hash, None, share.due_ms, now_ms);
        self.entries.insert(hash, entry, hash_of);
    }

    pub fn remove(&mut self, position: Position) -> Entry {
        self.before_change(position);
        let entry = self.entries.remove(position);
        self.discount(entry.view());
        entry
    }

    /// The same of an entry whose deadline has come.
    pub fn remove_expired(&mut self, position: Position) -> Entry {
        let entry = self.entries.remove(position);
        self.left_expired(entry.view());
        self.discount(entry.view());
        entry
    }

    /// An entry has gone.
    fn discount(&mut self, view: EntryRef<'_>) {
        let share = Share::of(view);
        self.discount_deadline(share.deadline_ms);
        self.due_len -= usize::from(share.due_ms.is_some());
        self.entry_bytes -= share.bytes;
    }

    /// The value at a position, if it is a container of this type. The caller reports by [`Database::resized`] how much
    /// larger it has made it.
    pub fn container_mut<T: Container>(&mut self, position: Position) -> Option<&mut T> {
        self.before_change(position);
        self.entries.container_mut(position)
    }

    /// A container, which had `heap_bytes_before`, has `heap_bytes_after` now.
    #[inline]
    pub fn resized(&mut self, heap_bytes_before: usize, heap_bytes_after: usize) {
        self.entry_bytes = self.entry_bytes - heap_bytes_before + heap_bytes_after;
    }

    /// The time at which a part of the entry with this hash is to be removed was another before.
    #[inline]
    pub fn due_changed(&mut self, hash: u64, before_ms: Option<u64>, after_ms: Option<u64>, now_ms: u64) {
        if before_ms == after_ms {
            return;
        }
        self.due_len = self.due_len - usize::from(before_ms.is_some()) + usize::from(after_ms.is_some());
        if let Some(after_ms) = after_ms
            && !self.is_loan
            && before_ms.is_none_or(|before_ms| after_ms < before_ms)
        {
            file(&mut self.wheel, after_ms, hash, now_ms);
        }
    }

    /// Removes parts of an entry whose time has come, those of about `budget` allocations; the record that said so
    /// waits still, or has come and is to be filed again.
    pub fn remove_due(&mut self, position: Position, now_ms: u64, budget: usize) -> Removed {
        self.before_change(position);
        let mut entry = self.entries.entry_mut(position);
        let before = Share::of(entry.view());
        let removed = entry.remove_due(now_ms, budget);
        let after = Share::of(entry.view());
        drop(entry);
        self.due_len = self.due_len - usize::from(before.due_ms.is_some()) + usize::from(after.due_ms.is_some());
        self.entry_bytes = self.entry_bytes - before.bytes + after.bytes;
        removed
    }

    /// The record of an entry, which said that parts of it are due, has come: files it for those that are left.
    pub fn file_due(&mut self, hash: u64, position: Position, now_ms: u64) {
        match self.view(position).due_ms() {
            Some(due_ms) if due_ms <= now_ms => self.unfinished.push_back(hash),
            Some(due_ms) => file(&mut self.wheel, due_ms, hash, now_ms),
            None => {}
        }
    }

    // Eviction

    /// Where an entry with this hash is, of those for which `is_it` says yes.
    pub fn find_hash(&self, hash: u64, hash_of: impl Fn(&[u8]) -> u64) -> Option<Position> {
        self.entries.find_where(hash, |view| hash_of(view.key()) == hash).map(|(position, _)| position)
    }

    /// Where the entry is whose deadline comes as soon as any, as the wheel tells. Looks at up to `budget` records;
    /// those of entries that are gone leave the wheel. The one of the entry that is found has left it too: the entry
    /// has to go, or be filed again.
    pub fn take_soonest(&mut self, now_ms: u64, budget: usize, hash_of: impl Fn(&[u8]) -> u64) -> Option<Position> {
        for _ in 0..budget {
            let (record, end_ms) = self.wheel.take_soonest()?;
            let hash = hash_of_record(record);
            let is_meant = |view: EntryRef<'_>| hash_of(view.key()) == hash;
            let Some((position, view)) = self.entries.find_where(hash, is_meant) else { continue };
            let (deadline_ms, is_armed) = (view.deadline_ms(), view.armed_until_ms().is_some());
            if let Some(due_ms) = view.due_ms() {
                file(&mut self.wheel, due_ms, hash, now_ms); // The record may have been for a part of it.
            }
            match deadline_ms {
                Some(deadline_ms) if deadline_ms < end_ms => return Some(position),
                Some(deadline_ms) => file(&mut self.wheel, deadline_ms, hash, now_ms), // It was put off.
                None if is_armed => self.entries.entry_mut(position).set_armed(false),
                None => {}
            }
        }
        None
    }

    /// Visits up to `count` entries with a deadline by lot. If so few have one that a large sample of the table has
    /// none, the wheel helps, which knows the newest of each of its slots.
    pub fn sample_volatile(
        &self,
        seed: u64,
        count: usize,
        hash_of: impl Fn(&[u8]) -> u64,
        mut visit: impl FnMut(EntryRef<'_>),
    ) {
        // As many as it takes to meet so many, as far as one sample goes.
        let wanted = (count * self.len()).div_ceil(self.volatile_len.max(1));
        let mut left = count;
        self.entries.sample(seed, wanted.min(SAMPLE_LEN_MAX), |view| {
            if 0 < left && view.deadline_ms().is_some() {
                left -= 1;
                visit(view);
            }
        });
        if left < count {
            return;
        }
        self.wheel.sample(seed, count, |record| {
            let hash = hash_of_record(record);
            let is_meant = |view: EntryRef<'_>| view.deadline_ms().is_some() && hash_of(view.key()) == hash;
            if let Some((_, view)) = self.entries.find_where(hash, is_meant) {
                visit(view);
            }
        });
    }

    /// Takes everything out; gives with it how many bytes the entries had.
    pub fn take(&mut self) -> (EntriesDrain, Vec<Wheel>, usize) {
        let wheels = self.take_wheels();
        let drain = self.entries.take();
        let entry_bytes = self.entry_bytes;
        *self = self.empty_one();
        (drain, wheels, entry_bytes)
    }

    /// An empty database of the same kind.
    pub fn empty_one(&self) -> Database {
        Database { is_loan: self.is_loan, ..Database::default() }
    }

    /// Whether parts are due that the last slices have left.
    pub fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Looks again after a while for parts of an entry that are due now.
    pub fn put_off_due(&mut self, hash: u64, at_ms: u64, now_ms: u64) {
        file(&mut self.wheel, at_ms, hash, now_ms);
    }

    fn take_wheels(&mut self) -> Vec<Wheel> {
        let old = self.rebuild.take().map(|rebuild| rebuild.old);
        let wheels = [Some(self.wheel.take()), old];
        wheels.into_iter().flatten().filter(|wheel| !wheel.is_empty()).collect()
    }

    // Deadlines

    /// Entries of which a part is to be removed some time.
    #[cfg(test)]
    pub fn due_len(&self) -> usize {
        self.due_len
    }

    /// Records in the wheels, and beside them.
    #[cfg(test)]
    pub fn record_len(&self) -> usize {
        self.wheel.len() + self.unfinished.len() + self.rebuild.as_ref().map_or(0, |rebuild| rebuild.old.len())
    }

    /// Whether [`Database::take_soonest`] tells well; if not, a sample tells better.
    pub fn knows_soonest(&self) -> bool {
        self.rebuild.is_none() && self.wheel.knows_soonest()
    }

    /// A time before which nothing is due: then [`Database::expire`] should be called.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        // To be finished soon.
        let is_under_way = self.rebuild.is_some() || !self.unfinished.is_empty();
        if is_under_way { Some(0) } else { self.wheel.next_deadline_ms() }
    }

    /// Takes out entries whose deadline has come, as far as the budget goes: of about so many entries the memory is
    /// looked at. Adds wheels to be freed to `found`. True if there is more to do at this time.
    pub fn expire(&mut self, now_ms: u64, budget: usize, hash_of: impl Fn(&[u8]) -> u64, found: &mut Found) -> bool {
        let Found { expired, due: parts, wheels } = found;
        let before = expired.len();
        let entries = &mut self.entries;
        let mut look_up = |hash| look_up(entries, hash, now_ms, &hash_of, expired, parts);
        // Half of a slice at most, so that neither what is large nor what is new waits for all of the other.
        let turns = self.unfinished.len().min(budget.div_ceil(2));
        for hash in self.unfinished.drain(..turns) {
            if let Some(deadline_ms) = look_up(hash) {
                file(&mut self.wheel, deadline_ms, hash, now_ms);
            }
        }
        let mut due = |record| look_up(hash_of_record(record));
        let mut is_more = self.wheel.advance(now_ms, budget - turns, &mut due);
        if let Some(rebuild) = &mut self.rebuild {
            is_more |= rebuild.old.advance(now_ms, budget, &mut due);
        }
        for entry in &expired[before..] {
            self.left_expired(entry.view());
            self.discount(entry.view());
        }
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.cursor = self.entries.scan_armed(rebuild.cursor, budget, |view| {
                let hash = hash_of(view.key());
                for due_ms in view.deadline_ms().into_iter().chain(view.due_ms()) {
                    file(&mut self.wheel, due_ms, hash, now_ms);
                }
            });
            if rebuild.cursor == 0 {
                wheels.extend(self.rebuild.take().map(|rebuild| rebuild.old));
            } else {
                is_more = true;
            }
        } else if self.has_stale() {
            self.start_rebuild(now_ms, wheels);
            is_more = true;
        }
        is_more
    }

    /// Whether there are so many stale records that they are worth a look at every entry, which has not begun.
    pub fn has_stale(&self) -> bool {
        let stale_max = STALE_MIN.max(self.len() / 4);
        self.rebuild.is_none() && stale_max < self.wheel.len().saturating_sub(self.volatile_len + self.due_len)
    }

    /// Begins to make the wheel anew: it is full of stale records, or its time is ahead of the clock.
    pub fn start_rebuild(&mut self, now_ms: u64, wheels: &mut Vec<Wheel>) {
        let old = std::mem::replace(&mut self.wheel, Wheel::new(now_ms));
        // An earlier rebuild is given up: this one looks at every entry again.
        wheels.extend(self.rebuild.replace(Rebuild { old, cursor: 0 }).map(|rebuild| rebuild.old));
    }

    fn count_deadline(&mut self, deadline_ms: Option<u64>) {
        if let Some(deadline_ms) = deadline_ms {
            self.volatile_len += 1;
            self.deadline_sum_ms += u128::from(deadline_ms);
        }
    }

    fn discount_deadline(&mut self, deadline_ms: Option<u64>) {
        if let Some(deadline_ms) = deadline_ms {
            self.volatile_len -= 1;
            self.deadline_sum_ms -= u128::from(deadline_ms);
        }
    }
}

/// Files a record for a key with this hash.
#[inline]
fn file(wheel: &mut Wheel, deadline_ms: u64, hash: u64, now_ms: u64) {
    // An empty wheel may lag behind, or be ahead of a clock that was put back. Only at the right time is a record filed
    // in the right place, from which it need not be moved at once.
    if wheel.is_empty() {
        *wheel = Wheel::new(now_ms);
    }
    wheel.file(deadline_ms, record_of(hash));
}

/// What [`Database::expire`] finds.
#[derive(Default)]
pub(super) struct Found {
    /// Entries whose deadline has come.
    pub expired: Vec<Entry>,
    /// Keys of entries of which a part is due.
    pub due: Vec<Box<[u8]>>,
    /// Wheels to be freed.
    pub wheels: Vec<Wheel>,
}

/// Looks at the keys with this hash for which a record has come. Those that are due are taken out. For others the
/// record is to be filed again: the result says when.
fn look_up(
    entries: &mut Entries,
    hash: u64,
    now_ms: u64,
    hash_of: impl Fn(&[u8]) -> u64,
    expired: &mut Vec<Entry>,
    parts: &mut Vec<Box<[u8]>>,
) -> Option<u64> {
    while let Some((position, _)) = entries.find_where(hash, |view| view.is_expired(now_ms)) {
        expired.push(entries.remove(position));
    }
    // The record is that of any armed entry with this hash; practically always there is at most one. One that has no
    // deadline any more needs no record.
    let is_meant = |view: EntryRef<'_>| view.armed_until_ms().is_some() && hash_of(view.key()) == hash;
    let (mut next_ms, mut is_any_untimed) = (None, false);
    entries.find_where(hash, |view| {
        match view.due_ms() {
            Some(due_ms) if due_ms <= now_ms && hash_of(view.key()) == hash => parts.push(view.key().into()),
            Some(due_ms) if hash_of(view.key()) == hash => {
                next_ms = Some(next_ms.map_or(due_ms, |next_ms: u64| next_ms.min(due_ms)))
            }
            _ => {}
        }
        if is_meant(view) {
            match view.deadline_ms() {
                Some(deadline_ms) => {
                    next_ms = Some(next_ms.map_or(deadline_ms, |next_ms: u64| next_ms.min(deadline_ms)))
                }
                None => is_any_untimed = true,
            }
        }
        false
    });
    while is_any_untimed {
        match entries.find_where(hash, |view| is_meant(view) && view.deadline_ms().is_none()) {
            Some((position, _)) => entries.entry_mut(position).set_armed(false),
            None => is_any_untimed = false,
        }
    }
    next_ms
}
