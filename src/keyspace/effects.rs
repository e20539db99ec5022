//! What happened to keys, for those who want to know: WATCH, client-side caching, keyspace notifications, blocked
//! clients, the log of writes. Not here: who they are, and what they do about it.
//!
//! Every change of a key is noted where it is made, under the name Redis' keyspace notifications give it. A note costs
//! one test of a bit set unless somebody listens to its class; only then is the key copied.

use bitflags::bitflags;
use std::cell::Cell;

bitflags! {
    /// Kinds of events; the first ones as `notify-keyspace-events` knows them, by their letter.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Class: u32 {
        /// `g`: commands for any type.
        const GENERIC = 1 << 0;
        /// `$`: strings.
        const STRING = 1 << 1;
        /// `l`: lists.
        const LIST = 1 << 2;
        /// `s`: sets.
        const SET = 1 << 3;
        /// `h`: hashes.
        const HASH = 1 << 4;
        /// `z`: sorted sets.
        const SORTED_SET = 1 << 5;
        /// `x`: a key's deadline has come.
        const EXPIRED = 1 << 6;
        /// `e`: a key was removed to free memory.
        const EVICTED = 1 << 7;
        /// `t`: streams.
        const STREAM = 1 << 8;
        /// `m`: a key was looked up in vain. No change.
        const KEY_MISS = 1 << 9;
        /// `n`: a key came into being. Comes beside the event that says how.
        const NEW = 1 << 10;
        /// A whole database was emptied or swapped; the key is empty. Not among the notifications.
        const DATABASE = 1 << 11;
        /// A change of which Redis tells only those who watch the key or have it in their caches.
        const SILENT = 1 << 12;
        /// A script of a client that tracks reads a key. No change, and told to nobody: it stands among the script's
        /// changes, in order, so that the key is remembered behind those before it.
        const READ = 1 << 13;
    }
}

/// Something that happens to keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The name in keyspace notifications.
    pub name: &'static str,
    /// Its kind.
    pub class: Class,
    /// It concerns what hangs on the key, not its value: no WATCH breaks.
    pub is_aside: bool,
}

/// The names are Redis'; a new command adds its own here.
#[allow(missing_docs)]
impl Event {
    pub const DEL: Event = Event::new("del", Class::GENERIC);
    pub const EXPIRE: Event = Event::new("expire", Class::GENERIC);
    pub const PERSIST: Event = Event::new("persist", Class::GENERIC);
    pub const RENAME_FROM: Event = Event::new("rename_from", Class::GENERIC);
    pub const RENAME_TO: Event = Event::new("rename_to", Class::GENERIC);
    pub const COPY_TO: Event = Event::new("copy_to", Class::GENERIC);
    pub const MOVE_FROM: Event = Event::new("move_from", Class::GENERIC);
    pub const MOVE_TO: Event = Event::new("move_to", Class::GENERIC);

    pub const RESTORE: Event = Event::new("restore", Class::GENERIC);
    pub const SET: Event = Event::new("set", Class::STRING);
    pub const APPEND: Event = Event::new("append", Class::STRING);
    pub const SETRANGE: Event = Event::new("setrange", Class::STRING);
    pub const SETBIT: Event = Event::new("setbit", Class::STRING);
    pub const INCRBY: Event = Event::new("incrby", Class::STRING);
    pub const INCRBYFLOAT: Event = Event::new("incrbyfloat", Class::STRING);

    pub const PFADD: Event = Event::new("pfadd", Class::STRING);

    pub const SADD: Event = Event::new("sadd", Class::SET);
    pub const SREM: Event = Event::new("srem", Class::SET);
    pub const SPOP: Event = Event::new("spop", Class::SET);
    pub const SINTERSTORE: Event = Event::new("sinterstore", Class::SET);
    pub const SUNIONSTORE: Event = Event::new("sunionstore", Class::SET);
    pub const SDIFFSTORE: Event = Event::new("sdiffstore", Class::SET);

    pub const HSET: Event = Event::new("hset", Class::HASH);
    pub const HDEL: Event = Event::new("hdel", Class::HASH);
    pub const HINCRBY: Event = Event::new("hincrby", Class::HASH);
    pub const HINCRBYFLOAT: Event = Event::new("hincrbyfloat", Class::HASH);
    pub const HEXPIRE: Event = Event::new("hexpire", Class::HASH);
    pub const HPERSIST: Event = Event::new("hpersist", Class::HASH);
    pub const HEXPIRED: Event = Event::new("hexpired", Class::HASH);
    pub const LPUSH: Event = Event::new("lpush", Class::LIST);
    pub const RPUSH: Event = Event::new("rpush", Class::LIST);
    pub const LPOP: Event = Event::new("lpop", Class::LIST);
    pub const RPOP: Event = Event::new("rpop", Class::LIST);
    pub const LINSERT: Event = Event::new("linsert", Class::LIST);
    pub const LSET: Event = Event::new("lset", Class::LIST);
    pub const LREM: Event = Event::new("lrem", Class::LIST);
    pub const LTRIM: Event = Event::new("ltrim", Class::LIST);

    pub const XADD: Event = Event::new("xadd", Class::STREAM);
    pub const XTRIM: Event = Event::new("xtrim", Class::STREAM);
    pub const XDEL: Event = Event::new("xdel", Class::STREAM);
    pub const XNACK: Event = Event::new("xnack", Class::STREAM);
    pub const XSETID: Event = Event::aside("xsetid", Class::STREAM);
    pub const XGROUP_CREATE: Event = Event::aside("xgroup-create", Class::STREAM);
    pub const XGROUP_CREATE_STREAM: Event = Event::new("xgroup-create", Class::STREAM);
    pub const XGROUP_SETID: Event = Event::aside("xgroup-setid", Class::STREAM);
    pub const XGROUP_DESTROY: Event = Event::aside("xgroup-destroy", Class::STREAM);
    pub const XGROUP_CREATECONSUMER: Event = Event::aside("xgroup-createconsumer", Class::STREAM);
    pub const XGROUP_DELCONSUMER: Event = Event::aside("xgroup-delconsumer", Class::STREAM);

    pub const EXPIRED: Event = Event::new("expired", Class::EXPIRED);
    pub const EVICTED: Event = Event::new("evicted", Class::EVICTED);
    pub const KEY_MISS: Event = Event::new("keymiss", Class::KEY_MISS);
    pub const NEW: Event = Event::new("new", Class::NEW);
    pub const SILENT: Event = Event::new("", Class::SILENT);
    pub const READ: Event = Event::new("", Class::READ);

    /// Every key of the database is gone.
    pub const FLUSHED: Event = Event::new("flushed", Class::DATABASE);
    /// The database has the content of another one.
    pub const SWAPPED: Event = Event::new("swapped", Class::DATABASE);
}

impl Event {
    /// An event with its name in notifications.
    pub const fn new(name: &'static str, class: Class) -> Event {
        Event { name, class, is_aside: false }
    }

    /// One that leaves the value as it is.
    const fn aside(name: &'static str, class: Class) -> Event {
        Event { name, class, is_aside: true }
    }

    /// Whether the key (or the database) is another than before: what breaks a WATCH and a client's cache.
    pub fn is_change(self) -> bool {
        !self.is_aside && self.may_serve()
    }

    /// Whether one who waits for the key should look again.
    pub fn may_serve(self) -> bool {
        !Class::KEY_MISS.union(Class::NEW).union(Class::READ).contains(self.class)
    }
}

/// Whose call changes keys. The default is nobody's: what happens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actor {
    /// The client's id.
    pub client: u64,
    /// Which of its calls, as far as 32 bits tell.
    pub call: u32,
    /// A script does it for the client.
    pub is_script: bool,
}

thread_local! {
    /// Events of this thread so far. Whatever one command, transaction or script changes, on however many keyspaces,
    /// one thread changes.
    static NOTED: Cell<u64> = const { Cell::new(0) };
}

/// One event on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What happened.
    pub event: Event,
    /// By whom.
    pub by: Actor,
    /// The client whose read has found the key's time over, 0: none.
    pub reader: u64,
    /// Those who subscribe to it or track its key know of it already.
    pub is_told: bool,
    /// The place among the events of its command, transaction or script, which may have keys in several keyspaces.
    pub rank: u64,
    /// In which database.
    pub db: usize,
    /// To which key.
    pub key: Box<[u8]>,
}

/// The events since they were last taken, in the order in which they happened.
#[derive(Debug, Default)]
pub struct Effects {
    /// Who runs a command now.
    pub actor: Actor,
    /// The client for whom keys are read now, 0: none.
    pub reader: u64,
    listened: Class,
    log: Vec<Effect>,
}

impl Effects {
    /// A client runs a command, `reads`: one that only reads.
    #[inline]
    pub fn begin_command(&mut self, actor: Actor, reads: bool) {
        self.actor = actor;
        self.reader = if reads { actor.client } else { 0 };
    }

    /// The rank of the next event of this thread.
    pub fn next_rank() -> u64 {
        NOTED.get()
    }

    /// A client has read a key, if somebody listens: see [`Class::READ`].
    pub fn note_read(&mut self, db: usize, key: &[u8]) {
        self.note(Event::READ, db, key);
    }

    /// From now on exactly the events of these classes are kept.
    pub fn listen(&mut self, classes: Class) {
        self.listened = classes;
    }

    /// The classes somebody listens to.
    pub fn listened(&self) -> Class {
        self.listened
    }

    /// Notes an event, if somebody listens.
    #[inline]
    pub fn note(&mut self, event: Event, db: usize, key: &[u8]) {
        if self.listened.intersects(event.class) {
            self.keep(event, db, key);
        }
    }

    #[cold]
    fn keep(&mut self, event: Event, db: usize, key: &[u8]) {
        // Time, and want of memory, are nobody's doing, whoever stumbles upon the key.
        let is_own = !Class::EXPIRED.union(Class::EVICTED).contains(event.class);
        let by = if is_own { self.actor } else { Actor::default() };
        let reader = if event.class == Class::EXPIRED { self.reader } else { 0 };
        let rank = NOTED.get();
        NOTED.set(rank + 1);
        self.log.push(Effect { event, by, reader, is_told: false, rank, db, key: key.into() });
    }

    /// Hands over the events. To be called after each command while somebody listens.
    pub fn take(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.log.drain(..)
    }

    /// Hands over the events all at once, for whoever looks at the keyspace meanwhile.
    pub fn take_all(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.log)
    }

    /// The events of which nobody was told yet; they stand behind the others.
    pub fn untold(&mut self) -> impl Iterator<Item = &mut Effect> {
        let first = self.log.partition_point(|effect| effect.is_told);
        self.log[first..].iter_mut()
    }

    /// Adds an event that happened elsewhere to a key of this keyspace.
    pub fn push(&mut self, effect: Effect) {
        self.log.push(effect);
    }

    /// Takes over the events of others, after the own ones.
    pub fn append(&mut self, others: &mut Effects) {
        self.log.append(&mut others.log);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Those that came after so many.
    pub fn after(&mut self, len: usize) -> &mut [Effect] {
        &mut self.log[len..]
    }
}
