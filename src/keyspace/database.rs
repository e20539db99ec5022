//! One database of one shard: its entries, and what is counted about them. Not here: time, statistics, events.

use super::entry::{Entries, EntriesDrain, Entry, EntryRef};
use crate::structure::table::Position;
use crate::value::Container;

/// Entries and their sums.
#[derive(Default)]
pub(super) struct Database {
    entries: Entries,
    volatile_len: usize,
    /// Of the volatile entries, in unix ms.
    deadline_sum_ms: u128,
    /// Of all entries and of what their values have allocated.
    entry_bytes: usize,
}

/// What an entry adds to the sums.
#[derive(Clone, Copy)]
struct Share {
    bytes: usize,
    deadline_ms: Option<u64>,
}

impl Share {
    fn of(view: EntryRef<'_>) -> Share {
        Share { bytes: view.memory_bytes(), deadline_ms: view.deadline_ms() }
    }
}

impl Database {
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
        self.entry_bytes + self.entries.table_bytes()
    }

    /// Of the table alone.
    pub fn table_bytes(&self) -> usize {
        self.entries.table_bytes()
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

    /// Changes an entry, whose key must stay.
    #[inline]
    pub fn change<R>(&mut self, position: Position, change: impl FnOnce(&mut Entry) -> R) -> R {
        let mut entry = self.entries.entry_mut(position);
        let before = Share::of(entry.view());
        let result = change(&mut entry);
        let after = Share::of(entry.view());
        drop(entry);
        if before.deadline_ms != after.deadline_ms {
            self.discount_deadline(before.deadline_ms);
            self.count_deadline(after.deadline_ms);
        }
        self.entry_bytes = self.entry_bytes - before.bytes + after.bytes;
        result
    }

    /// Adds an entry whose key is not there yet.
    pub fn insert(&mut self, hash: u64, entry: Entry, hash_of: impl Fn(&[u8]) -> u64) {
        let share = Share::of(entry.view());
        self.count_deadline(share.deadline_ms);
        self.entry_bytes += share.bytes;
        self.entries.insert(hash, entry, hash_of);
    }

    pub fn remove(&mut self, position: Position) -> Entry {
        let entry = self.entries.remove(position);
        let share = Share::of(entry.view());
        self.discount_deadline(share.deadline_ms);
        self.entry_bytes -= share.bytes;
        entry
    }

    /// The value at a position, if it is a container of this type. The caller reports by [`Database::resized`] how much
    /// larger it has made it.
    pub fn container_mut<T: Container>(&mut self, position: Position) -> Option<&mut T> {
        self.entries.container_mut(position)
    }

    /// A container, which had `heap_bytes_before`, has `heap_bytes_after` now.
    pub fn resized(&mut self, heap_bytes_before: usize, heap_bytes_after: usize) {
        self.entry_bytes = self.entry_bytes - heap_bytes_before + heap_bytes_after;
    }

    /// Takes everything out; gives with it how many bytes the entries had.
    pub fn take(&mut self) -> (EntriesDrain, usize) {
        let entry_bytes = self.entry_bytes;
        let drain = self.entries.take();
        *self = Database::default();
        (drain, entry_bytes)
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
