//! One core's engine: its keys and its statistics, and the execution of commands on them. A command runs to completion:
//! no await, no lock, `now` handed in.

mod answering;
mod blocked;
pub mod held;
mod logged;
pub mod union;

pub use blocked::{Answer, Queued, Ticket};
pub use logged::commit_shared;

use crate::aof::log::Log;
use crate::command::long_reply::Slot;
use crate::command::lookup::Row;
use crate::command::{Args, CommandResult, Context, Flags, Run, key_positions};
use crate::config::{Config, KeyspaceEvents, MaxmemoryPolicy};
use crate::keyspace::access::AGING_PERIOD_MS;
use crate::keyspace::adviser::Adviser;
use crate::keyspace::eviction::Judge;
use crate::keyspace::{AccessPolicy, Actor, Class, Evicted, Eviction, Keyspace, SAMPLE_LEN_MAX};
use crate::pubsub::{Notifications, Pubsub};
use crate::resp::{Error, Output, Protocol, Reply};
use crate::route::SlotMap;
use crate::route::locks::{Locks, Need};
use crate::route::parcel::{RequestHeader, flags};
use crate::session::Watched;
use crate::stats::Stats;
use crate::stats::stages::Arrival;
use crate::sync::Flag;
use ahash::AHashSet;
use blocked::Blocked;
use held::Engine;
use std::sync::Arc;

/// Entries that active expiry looks at in one slice, times `active-expire-effort`: about 50 µs.
pub const EXPIRE_SLICE: usize = 200;
/// Keys of a flushed database that are freed in one slice.
pub const FREE_SLICE: usize = 200;
/// Deadlines are looked at no more often than this, so that many keys cost few wakes.
const TEND_PAUSE_MS: u64 = 10;
/// Entries whose access clocks are looked at in one slice; a slice every ms until all are seen.
const AGE_SLICE: usize = 256;

/// One core's engine.
///
/// It belongs to its core. While that core is in the kernel (asleep, or sending and receiving, most of its time) it
/// lets go of the engine, and a core with a command for it may run that command there at once, instead of waking the
/// owner with a message: see [`Held`].
pub struct Shard {
    /// Keys that are lent, and who waits for them.
    pub locks: Locks<Waiter>,
    /// The keys.
    pub keyspace: Keyspace,
    /// Keys that clients watch no more, while the watched keys are away with the keyspace.
    unwatched: Vec<Watched>,
    /// Those who want to know what happens to keys …
    pubsub: Arc<Pubsub>,
    /// … by subscription, of which events.
    notifications: Notifications,
    /// Clients that wait for keys.
    blocked: Blocked,
    /// The configuration in force here.
    pub config: Arc<Config>,
    /// Randomness of this shard.
    pub random: fastrand::Rng,
    /// This shard's number.
    pub index: usize,
    /// Shards of the server.
    pub shards: usize,
    /// Large values that a snapshot records before somebody changes them, by database and key.
    recordings: Vec<(usize, Vec<u8>)>,
    /// Who leaves when memory is short; none: nobody.
    pub eviction: Option<Eviction>,
    /// Where changes are logged.
    pub log: Arc<Log>,
    /// Up to where this shard's lane has to be synced before the last reply may leave; 0: it may leave at once.
    pub told: u64,
    upkeep: Upkeep,
}

/// What is known of the work that nobody asks for.
#[derive(Default)]
struct Upkeep {
    /// When it was last looked at.
    tended_ms: u64,
    /// Whether keys go by themselves.
    expires: bool,
    /// Something was left undone, for the next slice.
    is_unfinished: bool,
    /// When the clocks of entries are looked through again for those that have become old.
    age_ms: u64,
    /// A visitor who brings a deadline below this has to tell the owner, who else would sleep too long.
    told_ms: u64,
}

/// Somebody who waits for keys of this shard.
pub enum Waiter {
    /// A command of one of the owner's clients.
    Own {
        /// The client's connection.
        connection: u32,
        /// The place of its reply.
        sequence: u32,
        /// The command.
        row: &'static Row,
        /// Its client's choices.
        call: Call,
        /// Its arguments.
        args: Vec<Vec<u8>>,
        /// When it came.
        arrival: Arrival,
    },
    /// A command that a core sent.
    Sent {
        /// The sender.
        from: usize,
        /// As in the parcel.
        header: RequestHeader,
        /// Its arguments.
        args: Vec<Vec<u8>>,
        /// When it came: a reading of the clock.
        at: u64,
    },
    /// A command or transaction elsewhere that borrows.
    Borrower {
        /// Its core.
        from: usize,
        /// Its gathering there.
        gathering: u32,
        /// What it wants.
        request: Request,
    },
}

/// What a borrower wants of a shard.
#[derive(Debug, Clone)]
pub struct Request {
    /// The keys, or all.
    pub need: Need,
    /// Keys that its client watches: whether they are as they were is told with the loan; they are watched no more …
    pub watched: Vec<Watched>,
    /// … unless it may have to begin again: then its client's core says so when it has ended.
    pub keeps_watched: bool,
    /// The needed keys are to be watched, in this database, for a client with this flag.
    pub watches_in: Option<(usize, Flag)>,
    /// Its client waits anyhow, in a blocking command: it waits on where others are told that a script is busy.
    pub is_patient: bool,
    /// The client that tracks and reads the keys, 0: none.
    pub reader: u64,
}

impl Request {
    /// One of a client that neither waits nor watches.
    pub fn new(need: Need) -> Request {
        Request { need, watched: Vec::new(), keeps_watched: false, watches_in: None, is_patient: false, reader: 0 }
    }
}

impl Engine for Shard {
    #[inline]
    fn is_free(&self) -> bool {
        self.locks.is_free()
    }

    #[inline]
    fn is_quiet(&self) -> bool {
        self.locks.is_free() && !self.keyspace.is_walked()
    }
}

/// A core's hold on its own engine.
pub type Held = held::Held<Shard>;

impl Held {
    /// A look at it, unless a visitor has it; not held longer than the look.
    pub fn try_look(&mut self) -> Option<&mut Shard> {
        if self.try_take() { Some(&mut **self) } else { None }
    }
}

/// What a call needs beside its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Selected database.
    pub db: usize,
    /// The client's protocol.
    pub protocol: Protocol,
    /// False: access clocks stay (`CLIENT NO-TOUCH`).
    pub touch: bool,
    /// Who calls.
    pub actor: Actor,
    /// It comes from what is being loaded.
    pub is_replayed: bool,
}

impl Call {
    /// As a request of another core says.
    pub fn of(header: &RequestHeader) -> Call {
        let is_gathered = header.flags & flags::GATHER != 0;
        Call {
            db: header.db as usize,
            protocol: if header.flags & flags::RESP3 == 0 { Protocol::Resp2 } else { Protocol::Resp3 },
            touch: header.flags & flags::NO_TOUCH == 0,
            actor: Actor {
                client: header.client,
                call: if is_gathered { header.sequence } else { 0 },
                is_script: false,
            },
            is_replayed: false,
        }
    }
}

/// What access clocks have to count for the policy of eviction.
fn access_policy(config: &Config) -> AccessPolicy {
    match config.maxmemory_policy {
        MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
            AccessPolicy::Lfu { log_factor: config.lfu_log_factor, decay_minutes: config.lfu_decay_time }
        }
        MaxmemoryPolicy::AllkeysLrm | MaxmemoryPolicy::VolatileLrm => AccessPolicy::Lrm,
        MaxmemoryPolicy::AllkeysLhd => AccessPolicy::Lhd,
        _ => AccessPolicy::Lru,
    }
}

/// Keys that the advisers of all shards follow together, at most.
const ADVISED_KEYS_MAX: u64 = 2048;
/// One followed key for so many bytes of the limit: it takes some two thousand, models included.
const BYTES_PER_ADVISED_KEY: u64 = 1 << 17;
/// With fewer there is nothing to learn.
const ADVISED_KEYS_MIN: u64 = 64;

/// Who learns what more memory would bring, where there is enough of it.
fn adviser(config: &Config, shards: usize, seed: u64) -> Option<Adviser> {
    let keys = (config.maxmemory.bytes / BYTES_PER_ADVISED_KEY).min(ADVISED_KEYS_MAX);
    if keys < ADVISED_KEYS_MIN {
        return None;
    }
    let lfu = AccessPolicy::Lfu { log_factor: config.lfu_log_factor, decay_minutes: config.lfu_decay_time };
    let mut adviser = Adviser::new((keys as usize).div_ceil(shards), lfu, seed);
    let share = config.maxmemory.bytes / shards as u64;
    adviser.set_capacity(share, share);
    Some(adviser)
}

/// Who leaves when memory is short, by the policy.
fn eviction(config: &Config) -> Option<Eviction> {
    use MaxmemoryPolicy::*;
    let (judge, is_volatile) = match config.maxmemory_policy {
        Noeviction => return None,
        AllkeysLru | AllkeysLfu | AllkeysLrm | AllkeysLhd => (Judge::Access, false),
        VolatileLru | VolatileLfu | VolatileLrm => (Judge::Access, true),
        AllkeysRandom => (Judge::Lot, false),
        VolatileRandom => (Judge::Lot, true),
        VolatileTtl => (Judge::Deadline, true),
    };
    let samples = (config.maxmemory_samples as usize).min(SAMPLE_LEN_MAX);
    (config.maxmemory.bytes != 0).then_some(Eviction { judge, is_volatile, samples })
}

/// The events of `notify-keyspace-events`.
fn notifications(events: KeyspaceEvents) -> Notifications {
    const CLASSES: [(KeyspaceEvents, Class); 11] = [
        (KeyspaceEvents::GENERIC, Class::GENERIC),
        (KeyspaceEvents::STRING, Class::STRING),
        (KeyspaceEvents::LIST, Class::LIST),
        (KeyspaceEvents::SET, Class::SET),
        (KeyspaceEvents::HASH, Class::HASH),
        (KeyspaceEvents::ZSET, Class::SORTED_SET),
        (KeyspaceEvents::EXPIRED, Class::EXPIRED),
        (KeyspaceEvents::EVICTED, Class::EVICTED),
        (KeyspaceEvents::STREAM, Class::STREAM),
        (KeyspaceEvents::KEY_MISS, Class::KEY_MISS),
        (KeyspaceEvents::NEW, Class::NEW),
    ];
    let by_key = events.contains(KeyspaceEvents::KEYSPACE);
    let by_event = events.contains(KeyspaceEvents::KEYEVENT);
    let mut classes = Class::empty();
    if by_key || by_event {
        CLASSES.iter().filter(|(event, _)| events.contains(*event)).for_each(|(_, class)| classes |= *class);
    }
    Notifications { by_key, by_event, classes }
}

impl Shard {
    /// An engine without keys.
    pub fn new(
        index: usize,
        shards: usize,
        config: Arc<Config>,
        mut keyspace: Keyspace,
        seed: u64,
        pubsub: Arc<Pubsub>,
        log: Arc<Log>,
    ) -> Shard {
        let eviction = eviction(&config);
        keyspace.set_adviser(adviser(&config, shards, seed));
        let mut shard = Shard {
            locks: Locks::default(),
            keyspace,
            unwatched: Vec::new(),
            pubsub,
            notifications: Notifications::default(),
            blocked: Blocked::default(),
            config: config.clone(),
            random: fastrand::Rng::with_seed(seed ^ (index as u64 + 1)),
            index,
            shards,
            recordings: Vec::new(),
            eviction,
            log,
            told: 0,
            upkeep: Upkeep { expires: true, ..Upkeep::default() },
        };
        shard.configure(config);
        shard
    }

    /// Whether a key belongs here.
    pub fn owns(&self, key: &[u8]) -> bool {
        SlotMap::new(self.shards).shard_of(key) == self.index
    }

    /// When the shard wants to be looked after at the latest, Unix milliseconds; 0: at once.
    pub fn next_due_ms(&self) -> u64 {
        if self.upkeep.is_unfinished || self.keyspace.has_garbage() {
            return 0;
        }
        let deadline_ms = self.keyspace.next_deadline_ms().filter(|_| self.upkeep.expires);
        let deadline_ms = deadline_ms.map(|deadline_ms| deadline_ms.max(self.upkeep.tended_ms + TEND_PAUSE_MS));
        deadline_ms.map_or(self.upkeep.age_ms, |deadline_ms| deadline_ms.min(self.upkeep.age_ms))
    }

    /// Looks after the shard for a slice of time: removes keys whose deadline has come (unless `expires` is false),
    /// frees what waits to be freed. True if keys are left whose deadline has come.
    pub fn tend(&mut self, now_ms: u64, expires: bool) -> bool {
        // Entries that are away are out of reach, and come home with their deadlines.
        let expires_now = expires && !self.keyspace.is_replaying && self.locks.is_free();
        if expires_now {
            self.keyspace.effects.begin_command(Actor::default(), false);
            self.keyspace.expire_cycle(now_ms, EXPIRE_SLICE * self.config.active_expire_effort as usize);
            self.log_loose();
            if !self.keyspace.effects.is_empty() {
                self.settle();
            }
        }
        let is_late = expires_now && self.keyspace.next_deadline_ms().is_some_and(|next_ms| next_ms <= now_ms);
        let is_freeing = self.keyspace.has_garbage() && self.keyspace.free_some(FREE_SLICE);
        if self.upkeep.age_ms <= now_ms {
            self.keyspace.begin(now_ms, false);
            let is_done = self.keyspace.age_clocks(AGE_SLICE);
            self.upkeep.age_ms = now_ms + if is_done { AGING_PERIOD_MS } else { 1 };
        }
        self.upkeep.tended_ms = now_ms;
        self.upkeep.expires = expires;
        self.upkeep.is_unfinished = is_late || is_freeing;
        is_late
    }

    /// The owner lets go, and comes back at this time at the latest.
    pub fn leave(&mut self, back_ms: u64) {
        self.upkeep.told_ms = back_ms.min(self.keyspace.next_deadline_ms().unwrap_or(u64::MAX));
    }

    /// Whether a visitor has brought a deadline for which the owner has to come back sooner; told once.
    #[inline]
    pub fn wants_owner(&mut self) -> bool {
        match self.keyspace.next_deadline_ms() {
            Some(deadline_ms) if deadline_ms < self.upkeep.told_ms => {
                self.upkeep.told_ms = deadline_ms;
                self.upkeep.expires
            }
            _ => false,
        }
    }

    /// Takes a new configuration.
    pub fn configure(&mut self, config: Arc<Config>) {
        self.keyspace.set_policy(access_policy(&config));
        self.eviction = eviction(&config);
        self.keyspace.set_evicting(self.eviction.is_some());
        if config.maxmemory.bytes != self.config.maxmemory.bytes
            || config.maxmemory_policy != self.config.maxmemory_policy
        {
            self.keyspace.set_adviser(adviser(&config, self.shards, self.random.u64(..)));
        }
        self.keyspace.forget_candidates();
        self.notifications = notifications(config.notify_keyspace_events);
        self.config = config;
        self.listen();
    }

    /// Lets entries go until they had so many bytes, at most `keys_max` of them.
    pub fn evict(&mut self, now_ms: u64, bytes: usize, keys_max: usize) -> Evicted {
        let Some(eviction) = self.eviction else { return Evicted::default() };
        self.keyspace.begin(now_ms, false);
        let evicted = self.keyspace.evict_some(eviction, bytes, keys_max);
        self.log_loose();
        if !self.keyspace.effects.is_empty() {
            self.settle();
        }
        evicted
    }

    /// The same while a transaction or script runs that holds this engine. What it has used stays. What goes is logged
    /// and told of before what it does: it has nothing to do with that, and as well could have gone before.
    pub fn evict_within(
        &mut self,
        now_ms: u64,
        bytes: usize,
        keys_max: usize,
        used_keys: &mut AHashSet<u64>,
    ) -> Evicted {
        let Some(eviction) = self.eviction else { return Evicted::default() };
        let (records, effects) = (self.keyspace.records.set_aside(), self.keyspace.effects.take_all());
        self.keyspace.begin(now_ms, false);
        let evicted = self.keyspace.evict_others(eviction, bytes, keys_max, used_keys);
        self.log_loose();
        if !self.keyspace.effects.is_empty() {
            self.settle();
        }
        self.keyspace.records = records;
        effects.into_iter().for_each(|effect| self.keyspace.effects.push(effect));
        evicted
    }

    /// Says how much of the limit is used, so that the adviser knows how large this shard can be.
    pub fn note_room(&mut self, used_bytes: u64) {
        let (limit, shards) = (self.config.maxmemory.bytes, self.shards as u64);
        let now = self.keyspace.memory_bytes() as u64;
        if let Some(adviser) = self.keyspace.adviser_mut() {
            let room = limit.saturating_sub(used_bytes) / shards;
            adviser.set_capacity(now + room, limit / shards);
        }
    }

    /// How many entries may go.
    pub fn evictable_len(&self) -> usize {
        self.eviction.map_or(0, |eviction| self.keyspace.evictable_len(eviction))
    }

    /// Whether those who leave are drawn by lot.
    pub fn draws_lots(&self) -> bool {
        self.eviction.is_some_and(|eviction| eviction.judge == Judge::Lot)
    }

    /// Runs a command whose keys are all here, and writes its reply or error to `out`. True: it succeeded.
    #[inline]
    pub fn execute(
        &mut self,
        row: &'static Row,
        call: Call,
        args: &Args<'_>,
        now_ms: u64,
        stats: &mut Stats,
        out: &mut Output,
    ) -> bool {
        self.execute_or_leave(row, call, args, now_ms, stats, out, None)
    }

    /// The same, but the command may leave a long reply to be written bit by bit; then `out` is as it was.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "all that a command may see")]
    pub fn execute_or_leave(
        &mut self,
        row: &'static Row,
        call: Call,
        args: &Args<'_>,
        now_ms: u64,
        stats: &mut Stats,
        out: &mut Output,
        long_reply: Slot<'_>,
    ) -> bool {
        let Run::Keyspace(run) = row.command.run else {
            panic!("{} does not run on a keyspace", row.full_name());
        };
        let start = out.len();
        if self.keyspace.is_replaying && !call.is_replayed {
            fail(stats, row, &Error::LOADING, start, out);
            return false;
        }
        let mut reply = Reply::new(&mut *out, call.protocol);
        self.keyspace.begin(now_ms, call.touch);
        self.keyspace.effects.begin_command(call.actor, row.flags.contains(Flags::READONLY));
        let dirty = self.keyspace.dirty;
        let old_keys = if self.keyspace.records.is_on { self.keys_before(row) } else { None };
        let mut context = Context {
            keyspace: &mut self.keyspace,
            config: &self.config,
            random: &mut self.random,
            db: call.db,
            now_ms,
            shard: self.index,
            shards: self.shards,
            long_reply,
        };
        let succeeds = match run(&mut context, args, &mut reply) {
            Ok(()) => true,
            Err(error) => {
                fail(stats, row, &error, start, out);
                false
            }
        };
        if self.keyspace.records.is_on {
            self.log_call(row, call.db, args, dirty, old_keys, succeeds);
        }
        if !self.keyspace.effects.is_empty() {
            self.settle();
        }
        succeeds
    }

    /// Tells those who listen what has happened since they were told last. Whoever changes keys otherwise than by
    /// [`Shard::execute`] calls this before anybody else may look.
    #[cold]
    pub fn settle(&mut self) {
        for effect in self.keyspace.effects.take_all() {
            self.keyspace.note_watched(&effect);
            if !effect.is_told {
                self.pubsub.tell(&effect, self.notifications);
            }
            if effect.event.class == Class::DATABASE {
                self.blocked.note_all(effect.db, effect.rank);
            } else if effect.event.may_serve() {
                self.blocked.note(effect.db, &effect.key, effect.rank);
            }
        }
        self.listen(); // Perhaps nobody tracks any more.
    }

    /// Which events are told to subscribers.
    pub fn notifications(&self) -> Notifications {
        self.notifications
    }

    /// Has the keyspace note what somebody listens to: whoever begins to listen calls it on every shard.
    pub fn listen(&mut self) {
        let is_all = !self.keyspace.watches.is_empty() || !self.blocked.is_empty() || self.pubsub.tracking.is_used();
        self.keyspace.effects.listen(if is_all { Class::all() } else { self.notifications.classes });
    }

    // Snapshots

    /// A command is about to run. If it would change a large value that the snapshot under way has yet to record, that
    /// is recorded next, and the key is read until it is: the command waits as for any key that is read.
    #[cold]
    pub fn record_before(&mut self, row: &'static Row, db: usize, args: &Args<'_>) {
        let mut positions = Vec::new();
        if row.flags.contains(Flags::WRITE) && key_positions(row.command, args, &mut positions).is_ok() {
            positions.into_iter().for_each(|at| self.record_key(db, args[at]));
        }
    }

    /// The same of keys that are to be lent, in every database.
    #[cold]
    pub fn record_keys(&mut self, keys: &[Vec<u8>]) {
        for key in keys {
            (0..self.keyspace.databases()).for_each(|db| self.record_key(db, key));
        }
    }

    /// Whether a key holds a large value, in any database, that the snapshot under way has yet to record.
    pub fn has_to_record(&self, key: &[u8]) -> bool {
        (0..self.keyspace.databases()).any(|db| self.keyspace.is_unrecorded_large(db, key))
    }

    fn record_key(&mut self, db: usize, key: &[u8]) {
        let is_known = self.recordings.iter().any(|(of, known)| *of == db && known == key);
        if !is_known && self.locks.is_whole() && self.keyspace.is_unrecorded_large(db, key) {
            self.keyspace.record_next(db, key);
            self.locks.read(key);
            self.recordings.push((db, key.to_vec()));
        }
    }

    /// Values that were waited for and are recorded now are read no more. Whether there were any: then those who waited
    /// have their turn.
    pub fn end_recordings(&mut self) -> bool {
        let before = self.recordings.len();
        let Shard { recordings, keyspace, locks, .. } = self;
        recordings.retain(|(db, key)| {
            let is_left = keyspace.is_unrecorded_large(*db, key);
            if !is_left {
                locks.end_reading(key);
            }
            is_left
        });
        self.recordings.len() != before
    }

    // Watched keys

    /// How many keys clients watch here.
    pub fn watched_len(&self) -> usize {
        self.keyspace.watches.len()
    }

    /// A client watches a key from now on.
    pub fn watch(&mut self, db: usize, key: &[u8], flag: &Flag, now_ms: u64) -> Watched {
        // As in Redis: a key whose time is over counts as absent, and stays until somebody uses it.
        self.keyspace.begin(now_ms, false);
        let exists = self.keyspace.peek(db, key).is_some();
        let version = self.keyspace.watches.add(db, key, exists, flag);
        self.listen();
        Watched { db, key: key.to_vec(), version, flag: flag.clone() }
    }

    /// A client watches a key no more.
    pub fn unwatch(&mut self, watched: &Watched) {
        if self.locks.is_whole() {
            self.keyspace.watches.remove(watched.db, &watched.key, &watched.flag);
            self.listen();
        } else {
            self.unwatched.push(watched.clone());
        }
    }

    /// Whether a key that a client watches is as it was.
    pub fn is_unchanged(&mut self, watched: &Watched, now_ms: u64) -> bool {
        self.keyspace.begin(now_ms, false);
        self.keyspace.is_as_watched(watched.db, &watched.key, watched.version)
    }

    // Clients that wait for keys

    /// For how many keys clients wait here.
    pub fn blocking_len(&self) -> usize {
        self.blocked.len()
    }

    /// A client waits for those of its keys that are here. To be called while the keys are held.
    pub fn block(&mut self, ticket: &Arc<Ticket>) {
        let (map, index) = (SlotMap::new(self.shards), self.index);
        self.blocked.add(ticket, |key| map.shard_of(key) == index);
        self.listen();
    }

    /// A client waits no more.
    pub fn unblock(&mut self, ticket: &Arc<Ticket>) {
        self.blocked.remove(ticket);
        self.listen();
    }

    /// Who waits for keys that are to be lent.
    pub fn waiting_for(&self, need: &Need) -> Vec<Queued> {
        if self.blocked.is_empty() { Vec::new() } else { self.blocked.waiting_for(need) }
    }

    /// The call of a client for its key of this number was run where all that it needs is held. `is_over`: it waits no
    /// more. Those behind it have their turn.
    pub fn went_on(&mut self, ticket: &Arc<Ticket>, at: usize, rank: u64, is_over: bool) {
        self.blocked.go_on(ticket, at, rank, is_over);
    }

    /// The home of a client is to be told to run its call for the key of this number. False: it was told.
    pub fn knock(&mut self, ticket: &Arc<Ticket>, at: usize) -> bool {
        self.blocked.knock(ticket, at)
    }

    /// A client that was knocked at has found nothing for its key of this number.
    pub fn unknock(&mut self, ticket: &Arc<Ticket>, at: usize) {
        self.blocked.unknock(ticket, at);
        self.blocked.note(ticket.call.db, &ticket.wait.retries[at].key, 0);
    }

    /// Keys are home again: clients may wait for them, and have looked in vain while they were away.
    pub fn look_for_blocked(&mut self, keys: &[Vec<u8>]) {
        if !self.blocked.is_empty() {
            for key in keys {
                (0..self.keyspace.databases()).for_each(|db| self.blocked.note(db, key, 0));
            }
        }
    }

    /// Whether something happened to keys that clients wait for: then [`Shard::serve_first`] before the next command,
    /// until it has no more. While keys are loaded it waits: nobody takes away what the rest of a log builds upon.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.blocked.has_ready() && !self.keyspace.is_replaying
    }

    /// The rank of what happened first to such a key.
    pub fn ready_rank(&self) -> Option<u64> {
        self.blocked.ready_rank()
    }

    /// Serves the clients that wait for the key to which something happened first, in the order in which they came.
    pub fn serve_first(&mut self, now_ms: u64, stats: &mut Stats) -> Vec<Answer> {
        let mut answers = Vec::new();
        if self.keyspace.is_replaying {
            return answers;
        }
        if let Some((rank, db, key)) = self.blocked.next_ready() {
            self.keyspace.begin(now_ms, false);
            let mut from = 0;
            while let Some((ticket, at, is_tried)) = self.blocked.waiting(db, &key, from) {
                let value_type = self.keyspace.peek(db, &key).map(|entry| entry.value_type());
                // A key that is lent is not gone.
                if value_type.is_none() && (self.locks.is_held(&key) || !self.blocked.has_dependents(db, &key)) {
                    break;
                }
                if value_type != Some(ticket.wait.value_type) {
                    match &ticket.wait.orphaned {
                        Some(orphaned) if ticket.try_to_answer() => {
                            let mut reply = Output::default();
                            fail(stats, ticket.row, &orphaned.no_key, 0, &mut reply);
                            ticket.close();
                            self.blocked.remove(&ticket);
                            answers.push(Answer::Reply(ticket, reply));
                        }
                        Some(_) => {} // It is dropped from the queue.
                        None => from += 1,
                    }
                    continue;
                }
                if is_tried {
                    from += 1;
                    continue;
                }
                if self.needs_others(&ticket, at) {
                    answers.push(Answer::Needs(ticket, at, rank));
                    break;
                }
                if !ticket.try_to_answer() {
                    continue; // It is dropped from the queue.
                }
                match self.answer(&ticket, at, now_ms, stats) {
                    None => {
                        ticket.give_up();
                        from += 1;
                    }
                    Some(reply) => {
                        ticket.close();
                        self.blocked.remove(&ticket);
                        answers.push(Answer::Reply(ticket, reply));
                    }
                }
            }
            self.settle();
        }
        self.listen();
        answers
    }

    /// Whether the call for a key needs keys that are not here, or away.
    fn needs_others(&self, ticket: &Ticket, at: usize) -> bool {
        ticket.keys_of_call(at).any(|key| !self.owns(key) || self.locks.is_held(key))
    }

    /// Runs the call of a client that waits; `None`: there is nothing for it.
    fn answer(&mut self, ticket: &Ticket, at: usize, now_ms: u64, stats: &mut Stats) -> Option<Output> {
        let call = ticket.call;
        let mut out = Output::default();
        let args: Vec<&[u8]> = ticket.wait.retries[at].args.iter().map(Vec::as_slice).collect();
        let Run::Blocking(run) = ticket.row.command.run else {
            panic!("{} does not block", ticket.row.full_name());
        };
        self.keyspace.begin(now_ms, call.touch);
        let dirty = self.keyspace.dirty;
        let mut context = Context {
            keyspace: &mut self.keyspace,
            config: &self.config,
            random: &mut self.random,
            db: call.db,
            now_ms,
            shard: self.index,
            shards: self.shards,
            long_reply: None,
        };
        let result = run(&mut context, &args, &mut Reply::new(&mut out, call.protocol));
        if self.keyspace.records.is_on {
            self.log_call(ticket.row, call.db, &args, dirty, None, result.is_ok());
        }
        match result {
            Ok(None) => Some(out),
            Ok(Some(_)) => None,
            Err(error) => {
                let error = ticket.wait.orphaned.as_ref().map_or(&error, |orphaned| &orphaned.failed);
                fail(stats, ticket.row, error, 0, &mut out);
                Some(out)
            }
        }
    }

    // A keyspace that is lent as a whole

    /// Hands the whole keyspace out. Until it is back an empty one stands in its place.
    pub fn part_with_keyspace(&mut self) -> Box<Keyspace> {
        let stand_in = self.keyspace.sibling();
        Box::new(std::mem::replace(&mut self.keyspace, stand_in))
    }

    /// The keyspace is back.
    pub fn take_keyspace_back(&mut self, keyspace: Box<Keyspace>) {
        let mut stand_in = std::mem::replace(&mut self.keyspace, *keyspace);
        // Questions to all cores do not wait: DEBUG may have made keys meanwhile.
        for db in 0..stand_in.databases() {
            let mut keys = Vec::new();
            stand_in.for_each(db, |entry| keys.push(entry.key().to_vec()));
            for key in keys {
                if let Some(entry) = stand_in.take(db, &key)
                    && self.keyspace.peek(db, &key).is_none()
                {
                    self.keyspace.adopt(db, entry);
                }
            }
            stand_in.flush(db);
        }
        stand_in.effects.take_all();
        self.keyspace.set_policy(access_policy(&self.config));
        self.keyspace.absorb(&mut stand_in);
        self.log_loose();
        self.settle();
        for watched in std::mem::take(&mut self.unwatched) {
            self.keyspace.watches.remove(watched.db, &watched.key, &watched.flag);
        }
        self.listen();
    }
}

/// Replaces what was written since `start` by an error, and counts it.
#[cold]
pub fn fail(stats: &mut Stats, row: &'static Row, error: &Error, start: usize, out: &mut Output) {
    out.truncate(start);
    Reply::new(out, Protocol::Resp2).error(error);
    stats.failed(row.id, Some(error.prefix()));
}

/// What the code of a session command returns, written or counted the same way.
pub fn finish(result: CommandResult, stats: &mut Stats, row: &'static Row, start: usize, out: &mut Output) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            fail(stats, row, &error, start, out);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Expiry;
    use crate::keyspace::tests::put_timed_hash;

    const START_MS: u64 = 1_700_000_000_000;

    fn shard() -> Shard {
        let config = Arc::new(Config::default());
        let mut shard =
            Shard::new(0, 1, config, Keyspace::new(1, 1), 1, Arc::new(Pubsub::new(1)), Arc::new(Log::new(1, 1)));
        shard.keyspace.begin(START_MS, true);
        shard.tend(START_MS, true);
        shard
    }

    /// When a shard is due that has nothing to do but to look at access clocks.
    const AGING_MS: u64 = START_MS + AGING_PERIOD_MS;

    #[test]
    fn a_shard_is_due_when_a_deadline_comes_but_not_all_the_time() {
        let mut shard = shard();
        assert_eq!(shard.next_due_ms(), AGING_MS);
        shard.keyspace.set_string(0, b"k", b"v", Expiry::At(START_MS + 100));
        assert!(shard.next_due_ms() <= START_MS + 100);
        shard.tend(START_MS + 99, true);
        shard.keyspace.set_string(0, b"k2", b"v", Expiry::At(START_MS + 101));
        assert_eq!(shard.next_due_ms(), START_MS + 99 + TEND_PAUSE_MS);
        assert!(!shard.tend(START_MS + 109, true));
        assert_eq!((shard.keyspace.len(0), shard.next_due_ms()), (0, AGING_MS));
    }

    #[test]
    fn work_that_is_left_is_due_at_once() {
        let mut shard = shard();
        let keys = 3 * EXPIRE_SLICE as u32;
        for index in 0..keys {
            shard.keyspace.set_string(0, &index.to_le_bytes(), b"v", Expiry::At(START_MS + 1));
        }
        let mut slices = 1;
        while shard.tend(START_MS + 1, true) {
            assert_eq!(shard.next_due_ms(), 0);
            slices += 1;
        }
        assert!((3..10).contains(&slices), "{slices}");
        assert_eq!((shard.keyspace.len(0), shard.next_due_ms()), (0, AGING_MS));
        for index in 0..keys {
            shard.keyspace.set_string(0, &index.to_le_bytes(), b"v", Expiry::Clear);
        }
        shard.keyspace.flush(0);
        let freed = (0..).find(|_| {
            assert!([0, AGING_MS].contains(&shard.next_due_ms()));
            let is_done = shard.next_due_ms() != 0;
            shard.tend(START_MS + 2, true);
            is_done
        });
        assert!((2..10).contains(&freed.expect("it ends")));
    }

    #[test]
    fn fields_that_are_left_are_due_at_once_too() {
        let mut shard = shard();
        put_timed_hash(&mut shard.keyspace, b"hash", 10_000, START_MS + 1);
        shard.keyspace.set_string(0, b"other", b"v", Expiry::At(START_MS + 500));
        let mut slices = 1;
        while shard.tend(START_MS + 1, true) {
            assert_eq!(shard.next_due_ms(), 0);
            slices += 1;
        }
        assert_eq!((shard.keyspace.stats.expired_fields, shard.keyspace.len(0)), (10_000, 2));
        assert!((10_000 / EXPIRE_SLICE / 4..10_000 / EXPIRE_SLICE * 2).contains(&slices), "{slices}");
    }

    #[test]
    fn a_watched_key_whose_time_is_over_stays_until_it_is_used() {
        let mut shard = shard();
        let (first, second) = (Flag::default(), Flag::default());
        shard.keyspace.set_string(0, b"k", b"v", Expiry::At(START_MS + 10));
        let there = shard.watch(0, b"k", &first, START_MS);
        assert!(shard.is_unchanged(&there, START_MS + 9));
        assert!(!shard.is_unchanged(&there, START_MS + 10), "its time is over");
        let gone = shard.watch(0, b"k", &second, START_MS + 10);
        assert!(shard.is_unchanged(&gone, START_MS + 11) && !shard.is_unchanged(&there, START_MS + 11));
        assert_eq!((shard.keyspace.len(0), shard.keyspace.stats.expired), (1, 0));
        shard.tend(START_MS + 11, true);
        assert_eq!((shard.keyspace.len(0), shard.keyspace.stats.expired), (0, 1));
        assert!(shard.is_unchanged(&gone, START_MS + 12), "it was gone before");
        shard.unwatch(&there);
        assert!(shard.is_unchanged(&gone, START_MS + 12) && !second.is_raised());
    }

    #[test]
    fn nothing_goes_by_itself_when_it_is_not_to() {
        let mut shard = shard();
        shard.keyspace.set_string(0, b"k", b"v", Expiry::At(START_MS + 1));
        assert!(!shard.tend(START_MS + 100, false));
        assert_eq!((shard.keyspace.len(0), shard.next_due_ms()), (1, AGING_MS));
        shard.tend(START_MS + 200, true);
        assert_eq!(shard.keyspace.len(0), 0);
    }

    #[test]
    fn a_visitor_tells_the_owner_once_of_a_deadline_that_comes_sooner() {
        let mut shard = shard();
        shard.leave(START_MS + 100);
        shard.keyspace.set_string(0, b"far", b"v", Expiry::At(START_MS + 1000));
        assert!(!shard.wants_owner());
        shard.keyspace.set_string(0, b"near", b"v", Expiry::At(START_MS + 50));
        assert!(shard.wants_owner());
        assert!(!shard.wants_owner());
        shard.leave(START_MS + 100);
        shard.keyspace.set_string(0, b"later", b"v", Expiry::At(START_MS + 60));
        assert!(!shard.wants_owner(), "the owner knows of 50");
        shard.tend(START_MS, false);
        shard.keyspace.set_string(0, b"now", b"v", Expiry::At(START_MS + 1));
        assert!(!shard.wants_owner());
    }

    #[test]
    fn keys_set_anew_all_day_leave_no_heap_of_deadlines() {
        const DAY_MS: u64 = 86_400_000;
        let mut shard = shard();
        let mut bytes_max = 0;
        for now_ms in START_MS..START_MS + 1000 {
            shard.keyspace.begin(now_ms, true);
            for index in 0..100u32 {
                shard.keyspace.delete(0, &index.to_le_bytes());
                shard.keyspace.set_string(0, &index.to_le_bytes(), b"v", Expiry::At(now_ms + DAY_MS));
            }
            // As the core does ten times a second, although nothing is due today.
            if now_ms % 100 == 0 {
                while shard.tend(now_ms, true) || shard.next_due_ms() == 0 {}
            }
            bytes_max = bytes_max.max(shard.keyspace.table_bytes());
        }
        assert!(bytes_max < 1 << 18, "{bytes_max} bytes for a hundred keys");
        shard.keyspace.begin(START_MS + 2 * DAY_MS, true);
        while shard.tend(START_MS + 2 * DAY_MS, true) {}
        assert_eq!((shard.keyspace.len(0), shard.keyspace.stats.expired), (0, 100));
    }
}
