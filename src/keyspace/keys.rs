//! What may happen to a key whatever it holds: removed, renamed, copied, moved; and all keys of a database at once.

use super::database::Database;
use super::entry::Entry;
use super::{EntryRef, Event, Keyspace, SAMPLE_LEN_MAX};
use crate::value::Value;

/// Keys whose time is over that a search for a random one removes; the next one is taken as it is. Else a million of
/// them would keep everybody waiting.
const RANDOM_REMOVED_MAX: usize = 1000;

/// What became of a key that was to go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It did.
    Done,
    /// There is no such key.
    NoSource,
    /// There is a key already where it should have gone.
    Occupied,
}

impl Keyspace {
    /// Removes a key; "del". Whether there was one. What takes long to free is freed later.
    pub fn delete(&mut self, db: usize, key: &[u8]) -> bool {
        let Some(entry) = self.take(db, key) else { return false };
        self.changed(db, key, Event::DEL);
        self.discard(entry);
        true
    }

    /// Removes a key whose container has become empty; "del". The change that emptied it is counted already.
    pub fn delete_emptied(&mut self, db: usize, key: &[u8]) {
        let entry = self.take(db, key).expect("its container was changed just now");
        self.effects.note(Event::DEL, db, key);
        self.discard(entry);
    }

    /// Removes a key to free memory; "evicted". Counts no change: the log of writes learns of it by the event.
    pub fn evict(&mut self, db: usize, key: &[u8]) -> bool {
        if self.is_kept(db, key) || self.is_unrecorded_large(db, key) {
            return false;
        }
        let Some(entry) = self.take(db, key) else { return false };
        self.stats.evicted += 1;
        self.effects.note(Event::EVICTED, db, key);
        self.records.removed(db, key);
        self.discard(entry);
        true
    }

    /// Takes a key out: no event, no change counted. To lend it to another shard, or to look at it after its removal.
    pub fn take(&mut self, db: usize, key: &[u8]) -> Option<Entry> {
        let position = self.live_position(db, self.hash_of(key), key)?;
        Some(self.databases[db].remove(position))
    }

    /// Puts an entry in, over the one that has its key: no event, no change counted.
    pub fn adopt(&mut self, db: usize, entry: Entry) {
        let hash = self.hash(entry.view().key());
        let old = self.databases[db].find(hash, entry.view().key()).map(|(position, _)| position);
        if let Some(position) = old {
            let old = self.databases[db].remove(position);
            self.discard(old);
        }
        self.insert_known(db, hash, entry);
    }

    /// `RESTORE`: a key anew, with all that belongs to it, over the one that has its name.
    pub fn restore(&mut self, db: usize, key: &[u8], value: Value<'_>, deadline_ms: Option<u64>, clock: Option<u32>) {
        if let Some(old) = self.take(db, key) {
            self.discard(old);
        }
        let hash = self.hash(key);
        let clock = clock.unwrap_or_else(|| self.new_clock(db, hash));
        self.insert_new(db, hash, Entry::new(key, value, deadline_ms, clock));
        self.changed(db, key, Event::RESTORE);
    }

    /// `RENAME` (`replace`) and `RENAMENX`: value and deadline get another key. Under its own name a key stays as it
    /// is, which RENAME calls done and RENAMENX occupied.
    pub fn rename(&mut self, db: usize, from: &[u8], to: &[u8], replace: bool) -> Passage {
        if !self.contains(db, from) {
            return Passage::NoSource;
        }
        if from == to {
            return if replace { Passage::Done } else { Passage::Occupied };
        }
        if !replace && self.contains(db, to) {
            return Passage::Occupied;
        }
        let old = self.take(db, to);
        let entry = self.take(db, from).expect("seen above");
        self.insert_new(db, self.hash(to), entry.with_key(to));
        self.changed(db, from, Event::RENAME_FROM);
        self.effects.note(Event::RENAME_TO, db, to);
        if let Some(old) = old {
            self.discard(old);
        }
        Passage::Done
    }

    /// `COPY`: a second key, maybe in another database, with a value that shares nothing with the first, and its
    /// deadline. The two places differ.
    pub fn copy(&mut self, from: (usize, &[u8]), to: (usize, &[u8]), replace: bool) -> Passage {
        assert!(from != to);
        if self.read(from.0, from.1).is_none() {
            return Passage::NoSource;
        }
        if !replace && self.contains(to.0, to.1) {
            return Passage::Occupied;
        }
        let clock = self.new_clock(to.0, self.hash(to.1));
        let copy = Entry::duplicate(self.peek(from.0, from.1).expect("read above"), to.1, clock);
        if let Some(old) = self.take(to.0, to.1) {
            self.discard(old);
        }
        self.insert_new(to.0, self.hash(to.1), copy);
        self.changed(to.0, to.1, Event::COPY_TO);
        Passage::Done
    }

    /// `MOVE`: the same key in another database.
    pub fn relocate(&mut self, key: &[u8], from_db: usize, to_db: usize) -> Passage {
        assert!(from_db != to_db);
        if !self.contains(from_db, key) {
            return Passage::NoSource;
        }
        if self.contains(to_db, key) {
            return Passage::Occupied;
        }
        let entry = self.take(from_db, key).expect("seen above");
        self.insert_new(to_db, self.hash(key), entry);
        self.changed(from_db, key, Event::MOVE_FROM);
        self.effects.note(Event::MOVE_TO, to_db, key);
        Passage::Done
    }

    // All keys of a database

    /// A random key, none if there are none. Expired ones it meets are removed, some of them. `random` gives random
    /// numbers.
    pub fn random(&mut self, db: usize, mut random: impl FnMut() -> u64) -> Option<EntryRef<'_>> {
        let mut removed = 0;
        loop {
            let view = self.databases[db].entries().random(random())?;
            let hash = self.hash(view.key());
            let is_expired = view.is_expired(self.now_ms);
            let position = self.databases[db].find(hash, view.key()).expect("it is there").0;
            let is_kept = || self.is_kept(db, self.databases[db].view(position).key());
            if !is_expired || removed == RANDOM_REMOVED_MAX || is_kept() {
                return Some(self.databases[db].view(position));
            }
            self.expire_at(db, position);
            removed += 1;
        }
    }

    /// Visits up to `count` (at most [`SAMPLE_LEN_MAX`]) random entries, expired ones too; they are neighbours in the
    /// table, so one call touches little memory besides the entries.
    pub fn sample(&self, db: usize, seed: u64, count: usize, visit: impl FnMut(EntryRef<'_>)) {
        self.databases[db].entries().sample(seed, count.min(SAMPLE_LEN_MAX), visit);
    }

    /// One step of an iteration over about `count` entries, from cursor 0 until it returns 0: what is there all the
    /// time is visited at least once. Expired entries are passed over.
    pub fn scan(&self, db: usize, cursor: u64, count: usize, mut visit: impl FnMut(EntryRef<'_>)) -> u64 {
        self.databases[db].entries().scan(cursor, count, |view| {
            if !view.is_expired(self.now_ms) {
                visit(view);
            }
        })
    }

    /// One step of an iteration over at least `budget` entries, from position 0 until it returns 0: what is there all
    /// the time is visited exactly once, nothing twice. Expired entries are passed over.
    ///
    /// # Panics
    /// The position is none that a step returned.
    pub fn survey(&self, db: usize, position: u64, budget: usize, mut visit: impl FnMut(EntryRef<'_>)) -> u64 {
        let hash_of = |key: &[u8]| self.hash(key);
        self.databases[db].entries().survey(position, budget, hash_of, |view| {
            if !view.is_expired(self.now_ms) {
                visit(view);
            }
        })
    }

    /// Visits every entry of a database once, but those that are expired.
    pub fn for_each(&self, db: usize, mut visit: impl FnMut(EntryRef<'_>)) {
        self.databases[db].entries().for_each(|view| {
            if !view.is_expired(self.now_ms) {
                visit(view);
            }
        });
    }

    /// Empties a database and returns how many keys it had. They are freed later, by [`Keyspace::free_some`].
    pub fn flush(&mut self, db: usize) -> usize {
        let len = self.databases[db].len();
        self.dirty += len as u64;
        self.effects.note(Event::FLUSHED, db, b"");
        self.forget_candidates();
        if !self.put_aside(db) {
            let (drain, wheels, entry_bytes) = self.databases[db].take();
            self.graveyard.bury(drain, wheels, entry_bytes);
        }
        self.note_watched_database(db);
        len
    }

    /// Swaps the contents of two databases. Not counted as a change, since every shard does it for one call.
    pub fn swap(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        self.databases.swap(a, b);
        self.effects.note(Event::SWAPPED, a, b"");
        self.effects.note(Event::SWAPPED, b, b"");
        self.note_watched_database(a);
        self.note_watched_database(b);
    }
}

impl Keyspace {
    /// Hands over every entry of this name, whatever its database. They come back by [`Keyspace::adopt`].
    pub fn lend(&mut self, key: &[u8], mut lend: impl FnMut(usize, Entry)) {
        for db in 0..self.databases() {
            if let Some(entry) = self.take(db, key) {
                lend(db, entry);
            }
        }
    }

    /// Takes an entry out if its deadline has come; "expired".
    pub fn drop_if_expired(&mut self, db: usize, key: &[u8]) {
        self.live_position(db, self.hash_of(key), key);
    }

    /// An empty keyspace with the same databases, hashes and listeners, for entries on loan. Their deadlines stay with
    /// their owners: nothing expires here but what is looked at.
    pub fn sibling(&self) -> Keyspace {
        let mut sibling = Keyspace::new(self.databases(), 0);
        sibling.hasher = self.hasher.clone();
        sibling.databases = (0..self.databases()).map(|_| Database::for_loans()).collect();
        sibling.share_time(&self.virtual_time);
        sibling.set_policy(self.policy);
        sibling.trusts_checksums = self.trusts_checksums;
        sibling.effects.listen(self.effects.listened());
        sibling.records.is_on = self.records.is_on;
        sibling
    }

    /// Takes over what a sibling counted and what happened there; it must hold no keys any more.
    pub fn absorb(&mut self, sibling: &mut Keyspace) {
        assert!((0..sibling.databases()).all(|db| sibling.len(db) == 0), "borrowed entries went home");
        let stats = std::mem::take(&mut sibling.stats);
        self.stats.hits += stats.hits;
        self.stats.misses += stats.misses;
        self.stats.expired += stats.expired;
        self.stats.evicted += stats.evicted;
        self.stats.expired_fields += stats.expired_fields;
        self.stats.lazily_freed += stats.lazily_freed;
        self.dirty += std::mem::take(&mut sibling.dirty);
        self.effects.append(&mut sibling.effects);
        self.records.append(&mut sibling.records);
        self.graveyard.append(&mut sibling.graveyard);
    }
}
