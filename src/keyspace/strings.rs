//! Strings under keys: read, set, changed in place.

use super::entry::{Entries, Entry};
use super::{AccessPolicy, EntryRef, Event, Expiry, Keyspace, WrongType, hash_with};
use crate::structure::table::Position;
use crate::value::number::parse_integer;
use crate::value::{INLINE_LEN_MAX, LongString, StringRef, Value};

/// The table of a database to come: made while nobody waits for the keyspace.
pub struct Room(Entries);

impl Room {
    /// For about so many keys.
    pub fn new(keys: usize) -> Room {
        Room(Entries::with_room(keys))
    }
}

/// What a file says of a key.
#[derive(Debug)]
pub struct Saved<'k> {
    /// That of the key.
    pub hash: u64,
    /// The key.
    pub key: &'k [u8],
    /// Its value.
    pub value: Value<'k>,
    /// Unix ms.
    pub deadline_ms: Option<u64>,
    /// Its access clock, if that is known.
    pub clock: Option<u32>,
}

impl Keyspace {
    /// A client reads a string.
    ///
    /// # Errors
    /// The key holds something else.
    #[inline]
    pub fn read_string(&mut self, db: usize, key: &[u8]) -> Result<Option<StringRef<'_>>, WrongType> {
        self.read(db, key).map(EntryRef::string).transpose()
    }

    /// A look at a string that nobody notices.
    ///
    /// # Errors
    /// The key holds something else.
    #[inline]
    pub fn peek_string(&self, db: usize, key: &[u8]) -> Result<Option<StringRef<'_>>, WrongType> {
        self.peek(db, key).map(EntryRef::string).transpose()
    }

    /// A string that is kept in a buffer of its own, as those above [`INLINE_LEN_MAX`] are. Nobody notices the look.
    pub fn long_string(&self, db: usize, key: &[u8]) -> Option<&LongString> {
        self.peek(db, key)?.long_string()
    }

    /// A string, for a write: an access, but no hit.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn string_for_write(&mut self, db: usize, key: &[u8]) -> Result<Option<StringRef<'_>>, WrongType> {
        let Some(position) = self.write_position(db, self.hash_of(key), key) else { return Ok(None) };
        self.databases[db].view(position).string().map(Some)
    }

    /// `SET`: whatever the key held. Text of an integer is stored as one.
    #[inline]
    pub fn set_string(&mut self, db: usize, key: &[u8], bytes: &[u8], expiry: Expiry) {
        if let Some(string) = self.take_arrived(bytes) {
            return self.put(db, key, Value::Long(string), expiry, Event::SET);
        }
        let value = match parse_integer(bytes) {
            Some(integer) => Value::Integer(integer),
            None => Value::String(bytes),
        };
        self.put(db, key, value, expiry, Event::SET);
    }

    /// The next command's long arguments: those that it stores as they are are not copied. To be taken away again after
    /// it, with none.
    pub fn bring(&mut self, arrived: Vec<LongString>) {
        self.arrived = arrived;
    }

    /// The buffer that these bytes came in, if they are all of it.
    #[inline]
    fn take_arrived(&mut self, bytes: &[u8]) -> Option<LongString> {
        if bytes.len() <= INLINE_LEN_MAX || self.arrived.is_empty() {
            return None;
        }
        let is_it = |string: &LongString| std::ptr::eq(string.as_bytes(), bytes);
        self.arrived.iter().position(is_it).map(|at| self.arrived.swap_remove(at))
    }

    /// `SET` of a string that came as a buffer of its own, which is not copied if it is long.
    pub fn set_long_string(&mut self, db: usize, key: &[u8], buffer: Vec<u8>, expiry: Expiry) {
        if buffer.len() <= INLINE_LEN_MAX {
            self.set_string(db, key, &buffer, expiry);
        } else {
            self.put(db, key, Value::Long(LongString::new(buffer)), expiry, Event::SET);
        }
    }

    /// Stores the integer that `INCR` and the like have computed. The deadline stays.
    pub fn set_integer(&mut self, db: usize, key: &[u8], integer: i64) {
        self.put(db, key, Value::Integer(integer), Expiry::Keep, Event::INCRBY);
    }

    /// Puts a value under a key, whatever it held: "set" and the like, then "expire" if it got a deadline.
    #[inline]
    pub fn put(&mut self, db: usize, key: &[u8], value: Value<'_>, expiry: Expiry, event: Event) {
        self.put_silently(db, key, value, expiry);
        self.changed(db, key, event);
        if let Expiry::At(_) = expiry {
            self.effects.note(Event::EXPIRE, db, key);
        }
    }

    /// The same without counting a change and without an event, but for "new".
    #[inline]
    pub(super) fn put_silently(&mut self, db: usize, key: &[u8], value: Value<'_>, expiry: Expiry) {
        let hash = self.hash_of(key);
        let Some(position) = self.live_position(db, hash, key) else {
            let deadline_ms = match expiry {
                Expiry::At(deadline_ms) => Some(deadline_ms),
                Expiry::Keep | Expiry::Clear => None,
            };
            let clock = self.new_clock(db, hash);
            let entry = Entry::new(key, value, deadline_ms, clock);
            self.insert_new(db, hash, entry);
            return;
        };
        // As in Redis: the value is new, so it was used just now; but how often the key was used stays.
        let clock = self.databases[db].view(position).clock();
        let clock = match self.policy {
            AccessPolicy::Lru | AccessPolicy::Lrm => self.policy.new_clock(self.now_ms),
            AccessPolicy::Lfu { .. } | AccessPolicy::Lhd if self.touch => self.touched_clock(db, clock),
            AccessPolicy::Lfu { .. } | AccessPolicy::Lhd => clock,
        };
        let old = self.databases[db].change_with_deadline(hash, position, self.now_ms, |entry| {
            match expiry {
                Expiry::Keep => {}
                Expiry::Clear => entry.set_deadline(None),
                Expiry::At(deadline_ms) => entry.set_deadline(Some(deadline_ms)),
            }
            entry.set_clock(clock);
            entry.set_value(value)
        });
        self.advise_of_write(db, hash, position);
        if let Expiry::At(deadline_ms) = expiry {
            self.note_deadline(deadline_ms);
        }
        if let Some(due_ms) = self.databases[db].view(position).due_ms() {
            self.note_deadline(due_ms);
        }
        self.discard_value(old);
    }

    /// `APPEND`: the new length.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn append(&mut self, db: usize, key: &[u8], bytes: &[u8]) -> Result<usize, WrongType> {
        let Some(position) = self.write_position(db, self.hash_of(key), key) else {
            let value = parse_integer(bytes).map_or(Value::String(bytes), Value::Integer);
            self.put(db, key, value, Expiry::Clear, Event::APPEND);
            return Ok(bytes.len());
        };
        let len_before = self.databases[db].view(position).string()?.len();
        let len = len_before + bytes.len();
        self.resize_at(db, position, len, |text| text[len_before..].copy_from_slice(bytes));
        self.changed(db, key, Event::APPEND);
        Ok(len)
    }

    /// `SETRANGE` with bytes to write (none is no change, which the command's code answers): the new length. The
    /// caller has compared `offset + bytes.len()` with the limit.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn set_range(&mut self, db: usize, key: &[u8], offset: usize, bytes: &[u8]) -> Result<usize, WrongType> {
        assert!(!bytes.is_empty());
        let end = offset + bytes.len();
        self.edit_string(db, key, end, Event::SETRANGE, |text, _| {
            text[offset..end].copy_from_slice(bytes);
            (text.len(), 1)
        })
    }

    /// Edits a string's bytes in place (`SETBIT`, `BITFIELD`, `SETRANGE`): it becomes "raw" and, by zero bytes, at
    /// least `len_min` long. A key that does not exist begins empty. The caller has compared `len_min` with the limit.
    /// `edit` is told whether the string is new or longer than it was, and says how many changes it made: with none
    /// there is no event either, as in Redis, although a string may have become longer.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn edit_string<R>(
        &mut self,
        db: usize,
        key: &[u8],
        len_min: usize,
        event: Event,
        edit: impl FnOnce(&mut [u8], bool) -> (R, u64),
    ) -> Result<R, WrongType> {
        let found = self.write_position(db, self.hash_of(key), key);
        let position = found.unwrap_or_else(|| {
            let hash = self.hash_of(key);
            let clock = self.new_clock(db, hash);
            let entry = Entry::new(key, Value::Raw(b""), None, clock);
            self.insert_new(db, hash, entry);
            self.databases[db].find(hash, key).expect("inserted just now").0
        });
        let len_before = self.databases[db].view(position).string()?.len();
        let len = len_before.max(len_min);
        let is_longer = found.is_none() || len_before < len;
        let (result, changes) = self.resize_at(db, position, len, |text| edit(text, is_longer));
        if changes != 0 {
            self.changed(db, key, event);
            self.dirty += changes - 1;
        }
        Ok(result)
    }

    fn resize_at<R>(&mut self, db: usize, position: Position, len: usize, change: impl FnOnce(&mut [u8]) -> R) -> R {
        self.databases[db].change(position, |entry| change(entry.resize_string(len)))
    }

    /// Adds an entry whose key, which has this hash, is not there; "new".
    pub(super) fn insert_new(&mut self, db: usize, hash: u64, entry: Entry) {
        self.effects.note(Event::NEW, db, entry.view().key());
        if let Some(adviser) = &mut self.adviser
            && adviser.wants(hash)
        {
            adviser.write(hash, entry.view().memory_bytes(), self.now_ms);
        }
        self.insert_known(db, hash, entry);
    }

    /// Many keys are about to be loaded into a database. Nothing happens where some were.
    pub fn make_room(&mut self, db: usize, room: Room) {
        self.databases[db].make_room(room.0);
    }

    /// A key comes from a file: no event, no change counted. `replaces`: over the one that is there already. False:
    /// there was one.
    pub fn load(&mut self, db: usize, saved: Saved<'_>, replaces: bool) -> bool {
        let Saved { hash, key, value, deadline_ms, clock } = saved;
        let old = self.databases[db].find(hash, key).map(|(position, _)| position);
        if old.is_some() && !replaces {
            return false;
        }
        if let Some(position) = old {
            let entry = self.databases[db].remove(position);
            self.discard(entry);
        }
        let clock = clock.unwrap_or_else(|| self.new_clock(db, hash));
        self.insert_known(db, hash, Entry::new(key, value, deadline_ms, clock));
        old.is_none()
    }

    /// The same without the event.
    pub(super) fn insert_known(&mut self, db: usize, hash: u64, entry: Entry) {
        for due_ms in entry.view().deadline_ms().into_iter().chain(entry.view().due_ms()) {
            self.note_deadline(due_ms);
        }
        let hasher = &self.hasher;
        self.databases[db].insert(hash, entry, self.now_ms, |key| hash_with(hasher, key));
    }
}
