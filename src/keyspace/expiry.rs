//! Deadlines: set, cleared, come.
//!
//! A key expires when somebody looks at it, or when its record in the database's wheel comes, whichever is first. Not
//! here: how records are kept right (see [`super::database`]), and who calls [`Keyspace::expire_cycle`] in time.

use super::database::{Database, Found};
use super::{Event, Keyspace, hash_with};
use crate::structure::table::Position;

/// If the clock goes back further than this, in ms, wheels are made anew at the new time; else deadlines wait for it to
/// come back.
const CLOCK_BACK_MS_MAX: u64 = 1000;

/// Parts of a container (fields) whose removal costs about as much as one look at an allocation.
const PARTS_PER_ALLOCATION: usize = 8;

/// When fields that are due are looked at again of a hash that is needed as it is, by a snapshot for example, in ms.
const PUT_OFF_MS: u64 = 100;

/// What became of parts that are due.
pub(super) enum Due {
    /// So many are gone, and may be not all.
    Removed(usize),
    /// So many are gone, and the entry with them.
    RemovedAll(usize),
    /// They stay for the time being: somebody needs the entry as it is.
    Stays,
}

impl Keyspace {
    /// Gives a key a deadline in unix ms; "expire". One that has come already removes the key: "del". Whether there was
    /// such a key.
    pub fn set_deadline(&mut self, db: usize, key: &[u8], deadline_ms: u64) -> bool {
        self.set_deadline_if(db, key, deadline_ms, |_| true)
    }

    /// The same if `allows` says yes to the present deadline. Whether there was such a key, and it did.
    pub fn set_deadline_if(
        &mut self,
        db: usize,
        key: &[u8],
        deadline_ms: u64,
        allows: impl FnOnce(Option<u64>) -> bool,
    ) -> bool {
        let hash = self.hash_of(key);
        let Some(position) = self.write_position(db, hash, key) else { return false };
        if !allows(self.databases[db].view(position).deadline_ms()) {
            return false;
        }
        if deadline_ms <= self.now_ms && !self.is_replaying {
            let entry = self.databases[db].remove(position);
            self.changed(db, key, Event::DEL);
            self.discard(entry);
            return true;
        }
        self.databases[db]
            .change_with_deadline(hash, position, self.now_ms, |entry| entry.set_deadline(Some(deadline_ms)));
        self.note_deadline(deadline_ms);
        self.changed(db, key, Event::EXPIRE);
        true
    }

    /// Takes a key's deadline away; "persist". Whether there was such a key, and it had one.
    pub fn persist(&mut self, db: usize, key: &[u8]) -> bool {
        let hash = self.hash_of(key);
        let Some(position) = self.write_position(db, hash, key) else { return false };
        if self.databases[db].view(position).deadline_ms().is_none() {
            return false;
        }
        self.databases[db].change_with_deadline(hash, position, self.now_ms, |entry| entry.set_deadline(None));
        if self.databases[db].has_stale() {
            self.next_deadline_ms = 0; // The time of their records may be far away.
        }
        self.changed(db, key, Event::PERSIST);
        true
    }

    /// A time in unix ms before which no deadline comes, and nothing else is to be done by [`Keyspace::expire_cycle`].
    #[inline]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        (self.next_deadline_ms != u64::MAX).then_some(self.next_deadline_ms)
    }

    /// The share of keys with a deadline whose deadline has come although they are still there, by a sample; 0 while
    /// nothing is due.
    pub fn stale_share(&self) -> f64 {
        if self.now_ms < self.next_deadline_ms {
            return 0.0;
        }
        let (mut stale, mut seen) = (0, 0);
        for database in &self.databases {
            database.sample_volatile(
                self.now_ms,
                super::SAMPLE_LEN_MAX,
                |key| hash_with(&self.hasher, key),
                |view| {
                    seen += 1;
                    stale += u32::from(view.is_expired(self.now_ms));
                },
            );
        }
        f64::from(stale) / f64::from(seen.max(1))
    }

    /// A key gets this deadline.
    #[inline]
    pub(super) fn note_deadline(&mut self, deadline_ms: u64) {
        self.next_deadline_ms = self.next_deadline_ms.min(deadline_ms);
    }

    /// Removes keys whose deadline has come ("expired"), as far as the budget goes: the memory of about so many entries
    /// is looked at, a µs each at worst. Returns how many were removed. Afterwards [`Keyspace::next_deadline_ms`] says
    /// whether there is more to do.
    pub fn expire_cycle(&mut self, now_ms: u64, budget: usize) -> usize {
        self.now_ms = now_ms;
        if now_ms + CLOCK_BACK_MS_MAX < self.expired_until_ms {
            for database in &mut self.databases {
                database.start_rebuild(now_ms, &mut self.graveyard.wheels);
            }
        }
        self.expired_until_ms = now_ms;
        let count = self.databases.len();
        let mut found = Found::default();
        let mut removed = 0;
        for step in 0..count {
            let db = (self.expire_first_db + step) % count;
            let hasher = &self.hasher;
            let mut is_more = self.databases[db].expire(now_ms, budget, |key| hash_with(hasher, key), &mut found);
            for entry in found.expired.drain(..) {
                removed += 1;
                self.stats.expired += 1;
                let lag_ms = now_ms.saturating_sub(entry.view().deadline_ms().unwrap_or(now_ms));
                let doublings = (u64::BITS - lag_ms.leading_zeros()) as usize;
                self.expire_lags[doublings.min(self.expire_lags.len() - 1)] += 1;
                self.effects.note(Event::EXPIRED, db, entry.view().key());
                self.records.removed(db, entry.view().key());
                self.graveyard.discard(entry);
            }
            let mut parts_left = budget;
            for key in found.due.drain(..) {
                let hash = hash_with(&self.hasher, &key);
                let Some((position, _)) = self.databases[db].find(hash, &key) else { continue };
                match self.remove_due_at(db, position, 1 + parts_left / PARTS_PER_ALLOCATION) {
                    Due::Removed(count) => {
                        parts_left = parts_left.saturating_sub(count);
                        self.databases[db].file_due(hash, position, now_ms);
                    }
                    Due::RemovedAll(count) => parts_left = parts_left.saturating_sub(count),
                    Due::Stays => {
                        self.databases[db].put_off_due(hash, now_ms + PUT_OFF_MS, now_ms);
                    }
                }
            }
            is_more |= self.databases[db].has_unfinished();
            self.graveyard.wheels.append(&mut found.wheels);
            if is_more {
                // The others come first next time.
                self.expire_first_db = (db + 1) % count;
                break;
            }
        }
        self.next_deadline_ms = self.databases.iter().filter_map(Database::next_deadline_ms).min().unwrap_or(u64::MAX);
        removed
    }

    /// Removes parts of an entry whose time has come; "hexpired", and "del" if nothing is left.
    #[cold]
    pub(super) fn remove_due_at(&mut self, db: usize, position: Position, budget: usize) -> Due {
        if !self.kept.is_empty() && self.is_kept(db, self.databases[db].view(position).key()) {
            return Due::Stays;
        }
        if self.databases[db].is_unrecorded_large(position) {
            let key: Box<[u8]> = self.databases[db].view(position).key().into();
            self.databases[db].record_next(&key);
            return Due::Stays;
        }
        let database = &mut self.databases[db];
        let removed = database.remove_due(position, self.now_ms, budget);
        let view = database.view(position);
        self.stats.expired_fields += removed.count as u64;
        if 0 < removed.count {
            self.effects.note(Event::HEXPIRED, db, view.key());
            if self.records.is_on && !removed.is_empty {
                let mut args: Vec<&[u8]> = vec![b"HDEL", view.key()];
                args.extend(removed.names.iter().map(|name| &**name));
                self.records.push(db, &[view.key()], &args);
            }
        }
        if removed.is_empty {
            let entry = database.remove(position);
            self.effects.note(Event::DEL, db, entry.view().key());
            self.records.removed(db, entry.view().key());
            self.discard(entry);
            return Due::RemovedAll(removed.count);
        }
        Due::Removed(removed.count)
    }

    /// Removes an entry whose deadline has come; "expired". Counts no change: the log of writes learns of it by the
    /// event.
    #[cold]
    pub(super) fn expire_at(&mut self, db: usize, position: Position) {
        if !self.kept.is_empty() && self.is_kept(db, self.databases[db].view(position).key()) {
            return; // It is not there for those who look, and goes when it is let go of.
        }
        let entry = self.databases[db].remove_expired(position);
        self.stats.expired += 1;
        self.effects.note(Event::EXPIRED, db, entry.view().key());
        self.records.removed(db, entry.view().key());
        self.discard(entry);
    }
}
