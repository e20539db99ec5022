//! The walk of a snapshot: every entry as it was at one moment, written down while commands go on changing them.
//!
//! Not here: what an entry is written down as ([`Recorder`]), which moment it is and who walks when (the runtime),
//! files.
//!
//! # How
//!
//! Each database has an *epoch*, one bit, and each entry the epoch in which it was recorded or made. Between walks all
//! entries of a database have its epoch. A walk begins by turning the database's over: from then on an entry of the
//! other epoch is one that was there at that moment, is as it was, and has yet to be recorded.
//!
//! ```text
//!                                    epoch 0 │ walk begins: epoch 1                    the walk has passed all
//!   a   was there, nobody changes it    0    │   0 ──────────▶ the walk: recorded, 1        1
//!   b   was there, is changed           0    │   0 ─▶ recorded ahead, 1 ─▶ changed          1
//!   c   was there, is removed           0    │   0 ─▶ recorded ahead ─▶ gone
//!   d   is made                              │   1: not part of it                          1
//! ```
//! The walk goes over the table as SCAN does, which visits what is there all the time at least once, however the table
//! grows meanwhile; the bit makes that exactly once. [`Database`] sees every change, since nobody else reaches its
//! entries: `before_change` stands before each, and costs one branch while there is no walk. Entries that leave for
//! other cores (loans, overlays of a union) are removed from their table, and so recorded before. Nothing has to be
//! recorded of an entry whose deadline has come: whoever reads a snapshot drops it.
//!
//! Nearly every entry is a cache miss, several where it is longer than a line, and each takes longer than writing a
//! small entry down: the walk asks for those of the buckets ahead while it writes ([`Entries::scan_epoch`]).
//!
//! A whole database that is flushed is put aside with its walk, and freed when the walk has passed. One that is swapped
//! takes its walk along. A keyspace that is lent as a whole is walked on when it is home.
//!
//! # Large values
//!
//! Recording a value of [`LARGE_BYTES_MIN`] or more may take longer than others should wait, so the walk does it slice
//! by slice. Who would change or remove a large value that is not recorded yet had better wait until it is: the shard
//! asks [`Keyspace::is_unrecorded_large`], has the value recorded next by [`Keyspace::record_next`], and makes the
//! command wait as for a key that is read. Where nobody asked, the value is recorded at once, whatever that takes: a
//! snapshot is never wrong for want of patience. Such are calls on keyspaces that are lent as a whole, clients that
//! waited for the key in a blocking command, and values that expire while they are being recorded.

use super::Keyspace;
use super::database::Database;
use super::entry::{Entries, EntryRef};
use crate::structure::table::Position;
use crate::value::ValueRef;
use std::collections::VecDeque;

/// Values that take so many bytes are recorded in slices: others take less than a millisecond.
pub const LARGE_BYTES_MIN: usize = 128 * 1024;

/// Entries that a look at the table counts for, whether they are there or not.
const ENTRIES_PER_LOOK: usize = 8;

/// Writes entries of one database down.
pub trait Recorder: Send {
    /// An entry as a whole. Returns about how many bytes were written.
    fn record(&mut self, view: EntryRef<'_>) -> usize;

    /// Begins with an entry that is recorded in slices; others may be recorded as a whole between them.
    fn begin(&mut self, view: EntryRef<'_>);

    /// The next slice of the entry begun, of about so many bytes. Returns how many were written or looked at, and
    /// whether there is more.
    fn step(&mut self, view: EntryRef<'_>, bytes: usize) -> (usize, bool);

    /// All entries are recorded.
    fn end(&mut self);
}

/// How much of a walk is done at a time, at most about.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// Entries looked at.
    pub entries: usize,
    /// Bytes written.
    pub bytes: usize,
}

/// A walk over one database.
pub(super) struct Walk {
    /// None: it was given up, and entries are only brought to the epoch.
    recorder: Option<Box<dyn Recorder>>,
    cursor: u64,
    /// The key of the entry that is being recorded in slices.
    large: Option<Box<[u8]>>,
    /// Keys of large entries that somebody waits for.
    wanted: VecDeque<Box<[u8]>>,
}

/// Whether recording it may take long.
fn is_large(view: EntryRef<'_>) -> bool {
    match view.value() {
        ValueRef::Integer(_) => false,
        ValueRef::String(text) => LARGE_BYTES_MIN <= text.len(),
        _ => LARGE_BYTES_MIN <= view.memory_bytes(),
    }
}

impl Walk {
    fn new(recorder: Box<dyn Recorder>) -> Walk {
        Walk { recorder: Some(recorder), cursor: 0, large: None, wanted: VecDeque::new() }
    }

    /// Records the whole of an entry that is about to be changed, or what is missing of it.
    fn record_at_once(&mut self, view: EntryRef<'_>) {
        let Some(recorder) = &mut self.recorder else { return };
        if self.large.as_deref() == Some(view.key()) {
            while recorder.step(view, usize::MAX).1 {}
            self.large = None;
        } else {
            recorder.record(view);
        }
    }

    /// A slice. Whether there is more.
    fn step(&mut self, entries: &mut Entries, epoch: bool, slice: Slice, hash_of: impl Fn(&[u8]) -> u64) -> bool {
        let (mut looked, mut written) = (0, 0);
        while looked < slice.entries && written < slice.bytes {
            if self.recorder.is_some() && self.step_large(entries, epoch, slice.bytes, &mut written, &hash_of) {
                continue;
            }
            let (mut large, mut is_cut) = (None, false);
            let next = entries.scan_epoch(self.cursor, epoch, |view| {
                let Some(recorder) = &mut self.recorder else { return true };
                if large.is_some() || slice.bytes <= written {
                    is_cut = true; // It is met again: the cursor stays.
                    return false;
                }
                if is_large(view) {
                    large = Some(view.key().into());
                    is_cut = true;
                    return false;
                }
                written += recorder.record(view);
                true
            });
            looked += ENTRIES_PER_LOOK;
            if let Some(key) = large {
                self.wanted.push_front(key);
            } else if !is_cut {
                self.cursor = next;
                if next == 0 {
                    return false;
                }
            }
        }
        true
    }

    /// A slice of the large entry whose turn it is. False: there is none.
    fn step_large(
        &mut self,
        entries: &mut Entries,
        epoch: bool,
        bytes_max: usize,
        written: &mut usize,
        hash_of: impl Fn(&[u8]) -> u64,
    ) -> bool {
        let recorder = self.recorder.as_mut().expect("somebody to record");
        let key = match self.large.take() {
            Some(key) => key,
            None => loop {
                let Some(key) = self.wanted.pop_front() else { return false };
                if let Some((_, view)) = entries.find(hash_of(&key), &key)
                    && view.epoch() != epoch
                {
                    recorder.begin(view);
                    break key;
                }
            },
        };
        let (position, view) = entries.find(hash_of(&key), &key).expect("whoever removes it records the rest of it");
        let (bytes, is_more) = recorder.step(view, bytes_max - *written);
        *written += bytes;
        if is_more {
            self.large = Some(key);
        } else {
            entries.entry_mut(position).set_epoch(epoch);
        }
        true
    }
}

impl Database {
    /// Begins a walk over what is there now.
    ///
    /// # Panics
    /// There is one already.
    fn begin_walk(&mut self, recorder: impl FnOnce() -> Box<dyn Recorder>) {
        assert!(self.walk.is_none(), "one walk at a time");
        if 0 < self.len() {
            self.epoch = !self.epoch;
            self.walk = Some(Box::new(Walk::new(recorder())));
        }
    }

    /// A slice of the walk. Whether there is more.
    fn step_walk(&mut self, slice: Slice, hash_of: impl Fn(&[u8]) -> u64) -> bool {
        let Some(walk) = &mut self.walk else { return false };
        if walk.step(&mut self.entries, self.epoch, slice, hash_of) {
            return true;
        }
        if let Some(mut recorder) = self.walk.take().and_then(|walk| walk.recorder) {
            recorder.end();
        }
        false
    }

    /// Whether something of it is yet to be recorded.
    fn is_recorded_from(&self) -> bool {
        self.walk.as_ref().is_some_and(|walk| walk.recorder.is_some())
    }

    /// The entry at a position is about to be changed, or to leave.
    #[inline]
    pub(super) fn before_change(&mut self, position: Position) {
        if self.walk.is_some() {
            self.record_ahead(position);
        }
    }

    #[cold]
    fn record_ahead(&mut self, position: Position) {
        let (epoch, view) = (self.epoch, self.entries.view(position));
        if view.epoch() != epoch {
            self.walk.as_mut().expect("seen before").record_at_once(view);
            self.entries.entry_mut(position).set_epoch(epoch);
        }
    }

    /// An entry whose deadline had come has left. If it was being recorded, that is brought to an end.
    pub(super) fn left_expired(&mut self, view: EntryRef<'_>) {
        if let Some(walk) = &mut self.walk
            && walk.large.as_deref() == Some(view.key())
        {
            walk.record_at_once(view);
        }
    }

    /// Whether the entry at a position is large and not recorded yet.
    pub(super) fn is_unrecorded_large(&self, position: Position) -> bool {
        if !self.is_recorded_from() {
            return false;
        }
        let view = self.entries.view(position);
        view.epoch() != self.epoch && is_large(view)
    }

    /// Has an entry recorded before others.
    pub(super) fn record_next(&mut self, key: &[u8]) {
        if let Some(walk) = &mut self.walk
            && walk.large.as_deref() != Some(key)
            && !walk.wanted.iter().any(|wanted| **wanted == *key)
        {
            walk.wanted.push_back(key.into());
        }
    }
}

impl Keyspace {
    /// Begins a walk: what is there now is recorded, with a recorder for each database that has keys.
    ///
    /// # Panics
    /// There is one already: see [`Keyspace::is_walked`].
    pub fn begin_walk(&mut self, mut recorder: impl FnMut(usize) -> Box<dyn Recorder>) {
        assert!(!self.is_walked, "one walk at a time");
        self.is_walked = true;
        for (db, database) in self.databases.iter_mut().enumerate() {
            database.begin_walk(|| recorder(db));
        }
    }

    /// Whether a walk is under way, be it given up.
    #[inline]
    pub fn is_walked(&self) -> bool {
        self.is_walked
    }

    /// A slice of the walk. Whether there is more.
    pub fn step_walk(&mut self, slice: Slice) -> bool {
        if !self.is_walked {
            return false;
        }
        let hasher = &self.hasher;
        let hash_of = |key: &[u8]| super::hash_with(hasher, key);
        // What was put aside first: then it can be freed.
        while let Some(mut aside) = self.aside.pop() {
            if aside.step_walk(slice, hash_of) {
                self.aside.push(aside);
                return true;
            }
            let (drain, wheels, entry_bytes) = aside.take();
            self.graveyard.bury(drain, wheels, entry_bytes);
        }
        let is_waited_for = |database: &Database| database.walk.as_ref().is_some_and(|walk| !walk.wanted.is_empty());
        let first = self.databases.iter().position(is_waited_for).unwrap_or(0);
        let count = self.databases.len();
        if (first..first + count).any(|db| self.databases[db % count].step_walk(slice, hash_of)) {
            return true;
        }
        self.is_walked = false;
        false
    }

    /// Gives a walk up: nothing more is recorded. It has yet to be brought to its end, which takes less time then.
    pub fn give_up_walk(&mut self) {
        for mut aside in self.aside.drain(..) {
            let (drain, wheels, entry_bytes) = aside.take();
            self.graveyard.bury(drain, wheels, entry_bytes);
        }
        for walk in self.databases.iter_mut().filter_map(|database| database.walk.as_mut()) {
            walk.recorder = None;
            walk.large = None;
            walk.wanted.clear();
        }
    }

    /// Whether a key holds a large value that is not recorded yet: who would change it had better wait.
    pub fn is_unrecorded_large(&self, db: usize, key: &[u8]) -> bool {
        let database = &self.databases[db];
        database.is_recorded_from()
            && database.find(self.hash_of(key), key).is_some_and(|(position, _)| database.is_unrecorded_large(position))
    }

    /// Has a key's value recorded before others.
    pub fn record_next(&mut self, db: usize, key: &[u8]) {
        self.databases[db].record_next(key);
    }

    /// Puts a database aside that is flushed before all of it is recorded, and an empty one in its place.
    pub(super) fn put_aside(&mut self, db: usize) -> bool {
        let database = &mut self.databases[db];
        if !database.is_recorded_from() {
            return false;
        }
        let empty = database.empty_one();
        self.aside.push(std::mem::replace(database, empty));
        true
    }
}

#[cfg(test)]
mod tests;
