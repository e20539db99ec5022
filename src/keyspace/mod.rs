//! The keyspace of one shard: its databases, and the only way to their entries.
//!
//! Not here: commands, replies, clients, clocks (time comes in with [`Keyspace::begin`]), other shards.
//!
//! # For the runtime
//!
//! ```text
//! begin(now_ms, touch)           before every command; touch is false for CLIENT NO-TOUCH
//! hint(key, hash)                before begin, if the hash of the command's key is known already
//! hash(key)                      never 0, the same on all shards
//! prefetch_bucket, _entry        of the commands of a batch: first all buckets, then all entries
//! effects.take()                 after a command, while effects.listen(…) says that somebody wants them
//! expire_cycle(now_ms, n)        when next_deadline_ms() has come, until it is later: lag is what the caller makes it
//! free_some(n)                   when nobody waits, until it says false
//! evict(eviction, bytes, n)      when memory is short
//! ```
//!
//! # For command authors
//!
//! Names of databases are indices below [`Keyspace::databases`]. A lookup treats an entry whose deadline has come as
//! absent, and removes it (`expired`), except [`Keyspace::peek`], which cannot.
//!
//! | What for | Call | Hits, misses | Access clock |
//! |---|---|---|---|
//! | `GET`, `HGET`, `TOUCH`, … | [`read`](Keyspace::read), [`read_string`](Keyspace::read_string), [`read_container`](Keyspace::read_container) | counted | touched |
//! | `TTL`, `TYPE`, `EXISTS`, `OBJECT`, … | [`inspect`](Keyspace::inspect) | counted | – |
//! | a second look, several keys at once | [`peek`](Keyspace::peek) | – | – |
//! | before a write | [`contains`](Keyspace::contains), [`container_mut`](Keyspace::container_mut), … | – | touched |
//!
//! A `read` borrows the keyspace mutably. A command that needs several values at once reads each key first and peeks
//! afterwards.
//!
//! Writes count what they change ([`Keyspace::dirty`]) and note their event by themselves, unless their page says
//! otherwise; code that changes a container calls [`Keyspace::changed`] with its own event afterwards.
//!
//! ```text
//! strings       read_string → StringRef (Integer or Bytes); its bytes(&mut itoa::Buffer) writes digits on the stack
//!               set_string(db, key, bytes, Expiry::{Keep, Clear, At(ms)})    "int" if it is the text of an integer
//!               set_integer  append  set_range  resize_string  put(any Value)  put_long(a buffer, not copied)
//! containers    read_container::<List>(db, key)? → Option<&List>
//!               container_mut::<List>(db, key)?  → Option<ContainerMut<List>>, a &mut List that keeps the books
//!               put(db, key, list.into(), Expiry::Clear, EVENT)
//! keys          delete  take  adopt  rename  copy  relocate (MOVE)  set_deadline  deadline_ms
//! all keys      len  random  scan  for_each  flush  swap  begin_walk
//! ```
//!
//! Wrong types come back as [`WrongType`], which `?` turns into the reply.

pub mod access;
pub mod adviser;
mod database;
pub mod effects;
pub mod entry;
pub mod eviction;
mod expiry;
mod keys;
pub mod lhd;
pub mod records;
mod strings;
#[cfg(test)]
pub(crate) mod tests;
pub mod walk;
mod watch;

pub use crate::value::StringRef;
pub use access::AccessPolicy;
pub use effects::{Actor, Class, Effect, Effects, Event};
pub use entry::{Entry, EntryRef, SAMPLE_LEN_MAX};
pub use eviction::{Evicted, Eviction};
pub use keys::Passage;
pub use records::Records;
pub use strings::{Room, Saved};
pub use watch::Watches;

use crate::structure::table::Position;
use crate::structure::wheel::Wheel;
use crate::value::{Container, LongString, Value};
use adviser::Adviser;
use ahash::{AHashSet, RandomState};
use database::Database;
use entry::EntriesDrain;
use expiry::Due;
use lhd::{Lhd, VirtualTime};
use std::hash::{BuildHasher, Hasher};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// The key holds another type than the command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongType;

/// What becomes of a key's deadline when its value is overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It stays.
    Keep,
    /// The key has none afterwards.
    Clear,
    /// It is this, in unix ms, above 0.
    At(u64),
}

/// Counters for `INFO stats`; `CONFIG RESETSTAT` may reset them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyspaceStats {
    /// `keyspace_hits`
    pub hits: u64,
    /// `keyspace_misses`
    pub misses: u64,
    /// `expired_keys`
    pub expired: u64,
    /// `evicted_keys`
    pub evicted: u64,
    /// `expired_fields`
    pub expired_fields: u64,
    /// Values, and keys of flushed databases, that were freed after the command that removed them: `lazyfreed_objects`
    pub lazily_freed: u64,
}

/// How late keys went by themselves: below 1 ms, below 2, 4, 8, … ms, the last later than all before.
pub type ExpireLags = [u64; 20];

/// One database for `INFO keyspace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DatabaseStats {
    /// Keys, expired but not yet removed ones among them.
    pub len: usize,
    /// Keys with a deadline.
    pub volatile_len: usize,
    /// Mean time to live of those, in ms.
    pub avg_ttl_ms: u64,
    /// Bytes of what finds entries by key, …
    pub table_bytes: usize,
    /// … and by deadline.
    pub wheel_bytes: usize,
}

/// The keys of one shard.
pub struct Keyspace {
    databases: Vec<Database>,
    /// A walk is under way: see [`walk`].
    is_walked: bool,
    /// Flushed databases that are not recorded to their end.
    aside: Vec<Database>,
    hasher: RandomState,
    /// State of the randomness of LFU counters.
    random: u64,
    now_ms: u64,
    touch: bool,
    hint: Hint,
    next_hint: Hint,
    graveyard: Graveyard,
    /// No deadline comes before this; `u64::MAX`: no key has one.
    next_deadline_ms: u64,
    /// Until when deadlines were looked at last, unix ms.
    expired_until_ms: u64,
    /// The database whose deadlines are looked at first next time.
    expire_first_db: usize,
    /// Long arguments of the command that runs, each in a buffer of its own that may become a value as it is.
    arrived: Vec<LongString>,
    /// Those that may be evicted next.
    pool: eviction::Pool,
    /// What access clocks count.
    policy: AccessPolicy,
    /// An access after so many ms is noted in LRU clocks: what it takes to tell apart those that may go.
    clock_slack_ms: u64,
    /// Where the search for clocks that have become old goes on: database and cursor.
    aging: (usize, u64),
    /// What is known of entries; none: clocks count something else.
    lhd: Option<Box<Lhd>>,
    /// The time of such clocks, the same on all shards.
    virtual_time: VirtualTime,
    /// Learns what more memory would bring; none: nobody wants to know.
    adviser: Option<Box<Adviser>>,
    /// Whether reads leave what has expired in its place now (unix ms): while clients are paused. Asked only when a
    /// read meets such a key.
    pub keeps_expired: Box<dyn Fn(u64) -> bool + Send>,
    /// Keys, with their databases, whose values are being written down bit by bit: they neither expire nor are evicted.
    kept: Vec<(usize, Box<[u8]>)>,
    /// Hashes of keys that are not evicted now: those that a transaction uses.
    used_keys: AHashSet<u64>,
    /// All databases were emptied at once (`FLUSHALL`), after so many changes: what is on the disk is out of date.
    /// Whoever sees to that clears it.
    pub emptied_at: Option<u64>,
    /// `RESTORE` does not look at checksums (`DEBUG SET-SKIP-CHECKSUM-VALIDATION`).
    pub trusts_checksums: bool,
    /// What happened to keys.
    pub effects: Effects,
    /// Keys that clients watch: they go with the keyspace where that is lent as a whole.
    pub watches: Watches,
    /// What the log of writes has to be told.
    pub records: Records,
    /// Keys are loaded: nothing expires, since the file says what went, and no command runs but what comes from there.
    pub is_replaying: bool,
    /// Counters.
    pub stats: KeyspaceStats,
    /// How late keys went whose deadline nobody met before; reset with the counters.
    pub expire_lags: ExpireLags,
    /// Changes so far, as Redis counts them (`rdb_changes_since_last_save`).
    pub dirty: u64,
}

/// Hashes keys as the keyspace does, for whoever wants to know a hash before it looks.
#[derive(Clone)]
pub struct KeyHasher(RandomState);

impl KeyHasher {
    /// The hash of a key: never 0.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        hash_with(&self.0, key)
    }
}

/// A key, by where it lies, whose hash is known. Only compared, never read through.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Hint {
    start: usize,
    len: usize,
    hash: u64,
}

impl Hint {
    const NONE: Hint = Hint { start: 0, len: usize::MAX, hash: 0 };
}

/// An access after so many ms is noted in LRU clocks where nothing has to go: `OBJECT IDLETIME` tells seconds.
const CLOCK_SLACK_MS_MAX: u64 = 500;
/// The same where something may have to go, until it is known how old that is.
const CLOCK_SLACK_EVICTING_MS: u64 = 8;

/// Whoever looks at a container removes the parts that are due in so many allocations: a table of fields has some ten
/// in each. Others are passed over until their turn comes.
const DUE_ALLOCATIONS: usize = 100;
/// Allocations that a flush frees before it is answered: some tenths of a millisecond, …
const FREED_AT_ONCE: usize = 4000;
/// … and at a time, of each of the things that there are to free.
const FREED_PER_STEP: usize = 200;
/// Records that are freed at a time with a part of a wheel.
const WHEEL_CHUNK_LEN: usize = 511;

/// What is to be freed when nobody waits.
#[derive(Default)]
struct Graveyard {
    /// Heavy ones, freed from the last to the first, in slices.
    values: Vec<Value<'static>>,
    /// What the values have allocated.
    value_bytes: usize,
    drains: Vec<EntriesDrain>,
    wheels: Vec<Wheel>,
    /// Of the drained entries, until the last of them is gone.
    drained_bytes: usize,
}

impl Keyspace {
    /// An empty keyspace. `seed` must be random, lest somebody makes keys that collide, and the same on all shards.
    pub fn new(databases: usize, seed: u64) -> Keyspace {
        assert!(0 < databases);
        let mut state = seed;
        let mut next = || split_mix(&mut state);
        Keyspace {
            databases: (0..databases).map(|_| Database::default()).collect(),
            is_walked: false,
            aside: Vec::new(),
            hasher: RandomState::with_seeds(next(), next(), next(), next()),
            random: next(),
            now_ms: 0,
            touch: true,
            hint: Hint::NONE,
            next_hint: Hint::NONE,
            graveyard: Graveyard::default(),
            next_deadline_ms: u64::MAX,
            expired_until_ms: 0,
            expire_first_db: 0,
            arrived: Vec::new(),
            pool: eviction::Pool::default(),
            policy: AccessPolicy::default(),
            clock_slack_ms: CLOCK_SLACK_MS_MAX,
            aging: (0, 0),
            lhd: None,
            virtual_time: VirtualTime::default(),
            adviser: None,
            keeps_expired: Box::new(|_| false),
            kept: Vec::new(),
            used_keys: AHashSet::new(),
            emptied_at: None,
            trusts_checksums: false,
            effects: Effects::default(),
            watches: Watches::default(),
            records: Records::default(),
            is_replaying: false,
            stats: KeyspaceStats::default(),
            expire_lags: ExpireLags::default(),
            dirty: 0,
        }
    }

    /// Begins a command: what time it is (unix ms), and whether its lookups count as accesses.
    #[inline]
    pub fn begin(&mut self, now_ms: u64, touch: bool) {
        self.now_ms = now_ms;
        self.touch = touch;
        self.effects.reader = 0;
        self.hint = std::mem::replace(&mut self.next_hint, Hint::NONE);
    }

    /// Says the hash of a key of the command that begins next; 0 if it is not known. Lookups of exactly these bytes in
    /// memory use it.
    #[inline]
    pub fn hint(&mut self, key: &[u8], hash: u64) {
        debug_assert!(hash == 0 || hash == self.hash(key));
        self.next_hint = if hash == 0 { Hint::NONE } else { Hint { start: key.as_ptr().addr(), len: key.len(), hash } };
    }

    /// The hash of a key: never 0.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        hash_with(&self.hasher, key)
    }

    /// Hashes as this keyspace does.
    pub fn hasher(&self) -> KeyHasher {
        KeyHasher(self.hasher.clone())
    }

    /// The same, remembered if it was hinted at.
    #[inline]
    fn hash_of(&self, key: &[u8]) -> u64 {
        if self.hint.start == key.as_ptr().addr() && self.hint.len == key.len() {
            self.hint.hash
        } else {
            self.hash(key)
        }
    }

    /// Asks for the memory in which the hash will be looked up.
    #[inline]
    pub fn prefetch_bucket(&self, db: usize, hash: u64) {
        self.databases[db].entries().prefetch_bucket(hash);
    }

    /// Asks for the entry that most likely has this hash. Its bucket should have arrived.
    #[inline]
    pub fn prefetch_entry(&self, db: usize, hash: u64) {
        self.databases[db].entries().prefetch_entry(hash);
    }

    /// How many databases there are.
    pub fn databases(&self) -> usize {
        self.databases.len()
    }

    /// What time it is, unix ms.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    // Lookups

    /// A client reads a key: counted, and the access clock touched.
    #[inline]
    pub fn read(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let hash = self.hash_of(key);
        let Some(position) = self.read_position(db, hash, key) else {
            self.missed(db, key);
            self.advise_of_read(db, hash, None);
            return None;
        };
        self.stats.hits += 1;
        self.read_at(db, position);
        self.advise_of_read(db, hash, Some(position));
        Some(self.databases[db].view(position))
    }

    /// A client asks about a key, not for its value: counted, but no access.
    pub fn inspect(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let Some(position) = self.read_position(db, self.hash_of(key), key) else {
            self.missed(db, key);
            return None;
        };
        self.stats.hits += 1;
        Some(self.databases[db].view(position))
    }

    /// A client asks about what is kept of a key: counted, but no access, and no event if it is not there.
    pub fn examine(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let Some(position) = self.read_position(db, self.hash_of(key), key) else {
            self.stats.misses += 1;
            return None;
        };
        self.stats.hits += 1;
        Some(self.databases[db].view(position))
    }

    /// A look that nobody notices.
    #[inline]
    pub fn peek(&self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let (_, view) = self.databases[db].find(self.hash_of(key), key)?;
        (!view.is_expired(self.now_ms) || self.is_replaying).then_some(view)
    }

    /// Keeps a key from expiring and from being evicted until it is let go of. Who changes keys asks
    /// [`crate::route::locks`] first.
    pub fn keep(&mut self, db: usize, key: &[u8]) {
        self.kept.push((db, key.into()));
    }

    /// Lets go of a key that was kept.
    pub fn let_go(&mut self, db: usize, key: &[u8]) {
        let at = self.kept.iter().position(|(of, kept)| *of == db && **kept == *key);
        self.kept.swap_remove(at.expect("what is let go of was kept"));
    }

    /// Whether any key is kept.
    fn keeps_any(&self) -> bool {
        !self.kept.is_empty() || !self.used_keys.is_empty()
    }

    /// Whether a key is kept.
    fn is_kept(&self, db: usize, key: &[u8]) -> bool {
        self.kept.iter().any(|(of, kept)| *of == db && **kept == *key)
            || !self.used_keys.is_empty() && self.used_keys.contains(&self.hash(key))
    }

    /// Lets entries go as [`Keyspace::evict_some`] does, but none whose key has one of these hashes.
    pub fn evict_others(
        &mut self,
        eviction: Eviction,
        bytes: usize,
        keys_max: usize,
        used_keys: &mut AHashSet<u64>,
    ) -> Evicted {
        std::mem::swap(&mut self.used_keys, used_keys);
        let evicted = self.evict_some(eviction, bytes, keys_max);
        std::mem::swap(&mut self.used_keys, used_keys);
        evicted
    }

    /// A key that is kept, though its deadline may have come.
    pub fn peek_kept(&self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        self.databases[db].find(self.hash_of(key), key).map(|(_, view)| view)
    }

    /// Whether there is such a key, for a write: an access, but no hit.
    pub fn contains(&mut self, db: usize, key: &[u8]) -> bool {
        self.write_position(db, self.hash_of(key), key).is_some()
    }

    /// A client reads a container.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn read_container<T: Container>(&mut self, db: usize, key: &[u8]) -> Result<Option<&T>, WrongType> {
        let Some((hash, position)) = self.container_position::<T>(db, key) else {
            self.missed(db, key);
            self.advise_of_read(db, self.hash_of(key), None);
            return Ok(None);
        };
        self.stats.hits += 1;
        self.read_at(db, position);
        self.advise_of_read(db, hash, Some(position));
        self.databases[db].view(position).container().map(Some).ok_or(WrongType)
    }

    /// A look at a container that nobody notices.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn peek_container<T: Container>(&self, db: usize, key: &[u8]) -> Result<Option<&T>, WrongType> {
        match self.peek(db, key) {
            Some(view) => view.container().map(Some).ok_or(WrongType),
            None => Ok(None),
        }
    }

    /// A container, to be changed. Afterwards call [`Keyspace::changed`], or [`Keyspace::delete`] if it is empty.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn container_mut<T: Container>(
        &mut self,
        db: usize,
        key: &[u8],
    ) -> Result<Option<ContainerMut<'_, T>>, WrongType> {
        let Some((hash, position)) = self.container_position::<T>(db, key) else { return Ok(None) };
        self.container_at(db, hash, position)
    }

    /// The same for a command that Redis counts as a read of the key.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn read_container_mut<T: Container>(
        &mut self,
        db: usize,
        key: &[u8],
    ) -> Result<Option<ContainerMut<'_, T>>, WrongType> {
        let Some((hash, position)) = self.container_position::<T>(db, key) else {
            self.missed(db, key);
            return Ok(None);
        };
        self.stats.hits += 1;
        self.container_at(db, hash, position)
    }

    #[inline]
    fn container_at<T: Container>(
        &mut self,
        db: usize,
        hash: u64,
        position: Position,
    ) -> Result<Option<ContainerMut<'_, T>>, WrongType> {
        self.touch_at(db, position);
        self.advise_of_write(db, hash, position);
        let Keyspace { databases, next_deadline_ms, now_ms, .. } = self;
        let database = &mut databases[db];
        let container: &mut T = database.container_mut(position).ok_or(WrongType)?;
        let (heap_bytes_before, due_ms_before) = (container.heap_bytes(), container.due_ms());
        Ok(Some(ContainerMut {
            database,
            position,
            hash,
            heap_bytes_before,
            due_ms_before,
            next_deadline_ms,
            now_ms: *now_ms,
            container: PhantomData,
        }))
    }

    /// The key's hash and where it is, unless its deadline has come. Parts of the container whose time has come are
    /// removed first, and with the last of them the key.
    #[inline]
    fn container_position<T: Container>(&mut self, db: usize, key: &[u8]) -> Option<(u64, Position)> {
        let hash = self.hash_of(key);
        let position = self.live_position(db, hash, key)?;
        let due_ms = self.databases[db].view(position).container::<T>().and_then(T::due_ms);
        if due_ms.is_some_and(|due_ms| due_ms <= self.now_ms)
            && !self.is_replaying
            && let Due::RemovedAll(_) = self.remove_due_at(db, position, DUE_ALLOCATIONS)
        {
            return None;
        }
        Some((hash, position))
    }

    /// Counts a change of a key and notes its event.
    pub fn changed(&mut self, db: usize, key: &[u8], event: Event) {
        self.dirty += 1;
        self.effects.note(event, db, key);
    }

    /// The same for a command that counts as so many changes: pushes count each element, a trim may count none.
    pub fn changed_by(&mut self, db: usize, key: &[u8], event: Event, changes: u64) {
        self.dirty += changes;
        self.effects.note(event, db, key);
    }

    /// Where the key is, unless its deadline has come; then it is removed.
    #[inline]
    fn live_position(&mut self, db: usize, hash: u64, key: &[u8]) -> Option<Position> {
        let (position, view) = self.databases[db].find(hash, key)?;
        if view.is_expired(self.now_ms) && !self.is_replaying {
            self.expire_at(db, position);
            return None;
        }
        Some(position)
    }

    /// The same for a read, which during a pause of clients leaves what has expired, as Redis does.
    #[inline]
    fn read_position(&mut self, db: usize, hash: u64, key: &[u8]) -> Option<Position> {
        let (position, view) = self.databases[db].find(hash, key)?;
        if view.is_expired(self.now_ms) && !self.is_replaying {
            if !(self.keeps_expired)(self.now_ms) {
                self.expire_at(db, position);
            }
            return None;
        }
        Some(position)
    }

    /// The same for a write, which is an access.
    #[inline]
    fn write_position(&mut self, db: usize, hash: u64, key: &[u8]) -> Option<Position> {
        let position = self.live_position(db, hash, key)?;
        self.touch_at(db, position);
        self.advise_of_write(db, hash, position);
        Some(position)
    }

    /// A key is read.
    #[inline]
    fn read_at(&mut self, db: usize, position: Position) {
        if self.policy != AccessPolicy::Lrm {
            self.touch_at(db, position);
        }
    }

    #[inline]
    fn touch_at(&mut self, db: usize, position: Position) {
        if !self.touch {
            return;
        }
        let clock = self.databases[db].view(position).clock();
        let touched = self.touched_clock(db, clock);
        let database = &mut self.databases[db];
        // Most accesses find the clock as it should be, and leave the cache line clean.
        if touched != clock {
            database.set_clock(position, touched);
        }
    }

    /// The clock of a key that is used now.
    #[inline]
    fn touched_clock(&mut self, db: usize, clock: u32) -> u32 {
        match &mut self.lhd {
            None => self.policy.touched_clock(clock, self.now_ms, self.clock_slack_ms, || split_mix(&mut self.random)),
            Some(lhd) => lhd.touch(clock, self.databases[db].len()),
        }
    }

    /// The clock of a key with this hash that is made now.
    #[inline]
    fn new_clock(&mut self, db: usize, hash: u64) -> u32 {
        match &mut self.lhd {
            None => self.policy.new_clock(self.now_ms),
            Some(lhd) => lhd.enter(hash, self.databases[db].len()),
        }
    }

    /// Says whether entries may have to go for want of memory: then accesses are noted more exactly.
    pub fn set_evicting(&mut self, may_evict: bool) {
        self.clock_slack_ms = if may_evict { CLOCK_SLACK_EVICTING_MS } else { CLOCK_SLACK_MS_MAX };
    }

    /// Looks at the clocks of about so many entries, and writes those of LRU that are no longer fresh in the other
    /// count. True: all have been seen, and the next call begins anew. Each has to be seen every
    /// [`access::AGING_PERIOD_MS`].
    pub fn age_clocks(&mut self, entries: usize) -> bool {
        if !matches!(self.policy, AccessPolicy::Lru | AccessPolicy::Lrm) {
            self.aging = (0, 0);
            return true;
        }
        let (db, cursor) = self.aging;
        let cursor = self.databases[db].age_clocks(cursor, entries, self.now_ms);
        let next_db = (db + 1..self.databases.len()).find(|&db| 0 < self.databases[db].len());
        self.aging = match (cursor, next_db) {
            (0, Some(next_db)) => (next_db, 0),
            (0, None) => (0, 0),
            _ => (db, cursor),
        };
        self.aging == (0, 0)
    }

    // Advice

    /// Begins to learn what more memory would bring, or ends it.
    pub fn set_adviser(&mut self, adviser: Option<Adviser>) {
        self.adviser = adviser.map(Box::new);
    }

    /// Who learns it.
    pub fn adviser_mut(&mut self) -> Option<&mut Adviser> {
        self.adviser.as_deref_mut()
    }

    /// A key was read, and is there or not.
    #[inline]
    fn advise_of_read(&mut self, db: usize, hash: u64, position: Option<Position>) {
        if let Some(adviser) = &mut self.adviser
            && adviser.wants(hash)
        {
            let bytes = position.map(|position| self.databases[db].view(position).memory_bytes());
            adviser.read(hash, bytes, self.now_ms, &self.stats);
        }
    }

    /// A key was written, or is going to be.
    #[inline]
    fn advise_of_write(&mut self, db: usize, hash: u64, position: Position) {
        if let Some(adviser) = &mut self.adviser
            && adviser.wants(hash)
        {
            adviser.write(hash, self.databases[db].view(position).memory_bytes(), self.now_ms);
        }
    }

    /// What access clocks count.
    #[inline]
    pub fn policy(&self) -> AccessPolicy {
        self.policy
    }

    /// Access clocks count this from now on. Those of another kind mean nothing until their keys are used again.
    pub fn set_policy(&mut self, policy: AccessPolicy) {
        if policy == AccessPolicy::Lhd {
            self.lhd.get_or_insert_with(|| Box::new(Lhd::new(self.virtual_time.clone())));
        } else {
            self.lhd = None;
        }
        self.policy = policy;
    }

    /// The time that all shards have together.
    pub fn share_time(&mut self, time: &VirtualTime) {
        self.virtual_time = time.clone();
    }

    #[cold]
    fn missed(&mut self, db: usize, key: &[u8]) {
        self.stats.misses += 1;
        self.effects.note(Event::KEY_MISS, db, key);
    }

    // Sums

    /// Keys of a database, expired but not yet removed ones among them.
    pub fn len(&self, db: usize) -> usize {
        self.databases[db].len()
    }

    /// Keys of a database that have a deadline.
    pub fn volatile_len(&self, db: usize) -> usize {
        self.databases[db].volatile_len()
    }

    /// What `INFO keyspace` says of a database.
    pub fn database_stats(&self, db: usize) -> DatabaseStats {
        let database = &self.databases[db];
        DatabaseStats {
            len: database.len(),
            volatile_len: database.volatile_len(),
            avg_ttl_ms: database.avg_ttl_ms(self.now_ms),
            table_bytes: database.table_bytes() - database.wheel_bytes(),
            wheel_bytes: database.wheel_bytes(),
        }
    }

    /// Bytes of all entries and tables, allocator rounding and what waits to be freed included.
    pub fn memory_bytes(&self) -> usize {
        let databases = self.databases.iter().chain(&self.aside);
        databases.map(Database::memory_bytes).sum::<usize>() + self.graveyard.memory_bytes()
    }

    /// Bytes of all entries.
    pub fn entry_bytes(&self) -> usize {
        self.databases.iter().map(Database::entry_bytes).sum()
    }

    /// Bytes of the tables alone (`MEMORY STATS` calls them overhead).
    pub fn table_bytes(&self) -> usize {
        self.databases.iter().map(Database::table_bytes).sum()
    }

    // What waits to be freed

    /// Values and keys of flushed databases that wait to be freed (`lazyfree_pending_objects`).
    pub fn pending_free_len(&self) -> usize {
        let drained: usize = self.graveyard.drains.iter().map(EntriesDrain::len).sum();
        self.graveyard.values.len() + drained
    }

    /// Frees about `budget` allocations of a heavy value, or keys or deadlines of a flushed database. False when
    /// nothing is left.
    pub fn free_some(&mut self, budget: usize) -> bool {
        self.stats.lazily_freed += self.graveyard.free_some(budget) as u64;
        self.has_garbage()
    }

    /// Frees what takes no time, so that the memory of a small database is there again when its flush is answered. The
    /// rest is left to [`Keyspace::free_some`].
    pub fn free_at_once(&mut self) {
        for _ in 0..FREED_AT_ONCE / FREED_PER_STEP {
            if !self.has_garbage() {
                break;
            }
            self.graveyard.free_some(FREED_PER_STEP);
        }
    }

    /// Whether [`Keyspace::free_some`] has something to do.
    #[inline]
    pub fn has_garbage(&self) -> bool {
        let Graveyard { values, drains, wheels, .. } = &self.graveyard;
        !(values.is_empty() && wheels.is_empty() && drains.is_empty())
    }

    /// Drops an entry: now, or when nobody waits, if that may take long.
    pub fn discard(&mut self, entry: Entry) {
        self.graveyard.discard(entry);
    }

    /// The same for a value.
    pub fn discard_value(&mut self, value: Option<Value<'static>>) {
        if let Some(value) = value {
            self.graveyard.discard_value(value);
        }
    }
}

impl Graveyard {
    fn discard(&mut self, entry: Entry) {
        if entry.view().is_heavy()
            && let Some(value) = entry.into_value()
        {
            self.discard_value(value);
        }
    }

    fn discard_value(&mut self, value: Value<'static>) {
        if value.is_heavy() {
            self.value_bytes += value.heap_bytes();
            self.values.push(value);
        }
    }

    fn bury(&mut self, drain: EntriesDrain, wheels: Vec<Wheel>, entry_bytes: usize) {
        if drain.len() != 0 {
            self.drains.push(drain);
        }
        self.wheels.extend(wheels);
        self.drained_bytes += entry_bytes;
    }

    /// How many values and keys of flushed databases are gone now.
    fn free_some(&mut self, budget: usize) -> usize {
        if let Some(value) = self.values.last_mut() {
            let bytes_before = value.heap_bytes();
            let mut bytes_after = 0;
            let is_more = value.free_some(budget);
            if is_more {
                bytes_after = value.heap_bytes();
            } else {
                self.values.pop();
            }
            self.value_bytes = self.value_bytes - bytes_before + bytes_after;
            return usize::from(!is_more);
        } else if let Some(wheel) = self.wheels.last_mut() {
            if !wheel.free(budget.div_ceil(WHEEL_CHUNK_LEN)) {
                self.wheels.pop();
            }
        } else if let Some(mut drain) = self.drains.pop() {
            let (len_before, heavy_before) = (drain.len(), self.values.len());
            let is_more = drain.step(budget, |entry| {
                self.drained_bytes -= entry.view().memory_bytes();
                self.discard(entry);
            });
            // The heavy ones wait on, and count when they have gone.
            let freed = len_before - drain.len() - (self.values.len() - heavy_before);
            if is_more {
                self.drains.push(drain);
            }
            return freed;
        }
        0
    }

    fn append(&mut self, other: &mut Graveyard) {
        self.values.append(&mut other.values);
        self.drains.append(&mut other.drains);
        self.wheels.append(&mut other.wheels);
        self.drained_bytes += std::mem::take(&mut other.drained_bytes);
        self.value_bytes += std::mem::take(&mut other.value_bytes);
    }

    fn memory_bytes(&self) -> usize {
        let tables: usize = self.drains.iter().map(EntriesDrain::table_bytes).sum();
        let wheels: usize = self.wheels.iter().map(Wheel::memory_bytes).sum();
        self.value_bytes + tables + wheels + self.drained_bytes
    }
}

/// A container in its entry, to be changed at will; the sums follow when this is dropped.
pub struct ContainerMut<'a, T: Container> {
    database: &'a mut Database,
    position: Position,
    hash: u64,
    heap_bytes_before: usize,
    due_ms_before: Option<u64>,
    next_deadline_ms: &'a mut u64,
    now_ms: u64,
    container: PhantomData<&'a mut T>,
}

impl<T: Container> Deref for ContainerMut<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.database.view(self.position).container().expect("its type was seen when it was found")
    }
}

impl<T: Container> DerefMut for ContainerMut<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.database.container_mut(self.position).expect("its type was seen when it was found")
    }
}

impl<T: Container> Drop for ContainerMut<'_, T> {
    fn drop(&mut self) {
        let (heap_bytes_after, due_ms_after) = (self.heap_bytes(), self.due_ms());
        self.database.resized(self.heap_bytes_before, heap_bytes_after);
        if self.due_ms_before != due_ms_after {
            self.database.due_changed(self.hash, self.due_ms_before, due_ms_after, self.now_ms);
            *self.next_deadline_ms = due_ms_after.map_or(*self.next_deadline_ms, |ms| ms.min(*self.next_deadline_ms));
        }
    }
}

/// The bits of a hash that the table looks at. Others are 0, so that these 48 are all there is to know of it.
const HASH_MASK: u64 = 0xffff_ffff_0000_ffff;

#[inline]
fn hash_with(hasher: &RandomState, key: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(key);
    (state.finish() & HASH_MASK).max(1)
}

/// SplitMix64: the next random number.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
