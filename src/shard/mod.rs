//! One core's engine: its keys and its statistics, and the execution of commands on them. A command runs to completion:
//! no await, no lock, `now` handed in.

use crate::command::lookup::Row;
use crate::command::{Args, CommandResult, Context, Run};
use crate::config::{Config, MaxmemoryPolicy};
use crate::keyspace::{AccessPolicy, Keyspace};
use crate::resp::{Error, Protocol, Reply};
use crate::route::SlotMap;
use crate::route::locks::Locks;
use crate::route::parcel::{RequestHeader, flags};
use crate::stats::Stats;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};

/// Entries that active expiry looks at in one slice: at most about 0.2 ms.
const EXPIRE_SLICE: usize = 200;
/// Keys of a flushed database that are freed in one slice.
const FREE_SLICE: usize = 200;

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
    /// The configuration in force here.
    pub config: Arc<Config>,
    /// Randomness of this shard.
    pub random: fastrand::Rng,
    /// This shard's number.
    pub index: usize,
    /// Shards of the server.
    pub shards: usize,
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
    },
    /// A command that a core sent.
    Sent {
        /// The sender.
        from: usize,
        /// As in the parcel.
        header: RequestHeader,
        /// Its arguments.
        args: Vec<Vec<u8>>,
    },
    /// A command elsewhere that borrows these keys.
    Borrower {
        /// Its core.
        from: usize,
        /// Its gathering there.
        gathering: u32,
        /// The keys.
        keys: Vec<Vec<u8>>,
    },
}

/// A core's hold on an engine: taken for a pass, let go in the kernel.
pub struct Held {
    cell: &'static Mutex<Shard>,
    guard: Option<MutexGuard<'static, Shard>>,
}

impl Held {
    /// A core's own engine, not held yet.
    pub fn new(cell: &'static Mutex<Shard>) -> Held {
        Held { cell, guard: None }
    }

    /// Takes hold. Waits for a visitor to finish its commands, a few microseconds.
    #[inline]
    pub fn take(&mut self) {
        if self.guard.is_none() {
            self.guard = Some(self.cell.lock().expect("a panic ends the process"));
        }
    }

    /// Whether it is held now.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.guard.is_some()
    }

    /// Lets go: until [`Held::take`] nothing of the engine may be touched.
    #[inline]
    pub fn let_go(&mut self) {
        self.guard = None;
    }
}

impl Deref for Held {
    type Target = Shard;

    #[inline]
    fn deref(&self) -> &Shard {
        self.guard.as_ref().expect("held during a pass")
    }
}

impl DerefMut for Held {
    #[inline]
    fn deref_mut(&mut self) -> &mut Shard {
        self.guard.as_mut().expect("held during a pass")
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
}

impl Call {
    /// As a request of another core says.
    pub fn of(header: &RequestHeader) -> Call {
        Call {
            db: header.db as usize,
            protocol: if header.flags & flags::RESP3 == 0 { Protocol::Resp2 } else { Protocol::Resp3 },
            touch: header.flags & flags::NO_TOUCH == 0,
        }
    }
}

/// What access clocks have to count for the policy of eviction.
fn access_policy(config: &Config) -> AccessPolicy {
    match config.maxmemory_policy {
        MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
            AccessPolicy::Lfu { log_factor: config.lfu_log_factor, decay_minutes: config.lfu_decay_time }
        }
        _ => AccessPolicy::Lru,
    }
}

impl Shard {
    /// An engine without keys.
    pub fn new(index: usize, shards: usize, config: Arc<Config>, mut keyspace: Keyspace, seed: u64) -> Shard {
        keyspace.policy = access_policy(&config);
        Shard {
            locks: Locks::default(),
            keyspace,
            config,
            random: fastrand::Rng::with_seed(seed ^ (index as u64 + 1)),
            index,
            shards,
        }
    }

    /// Whether a key belongs here.
    pub fn owns(&self, key: &[u8]) -> bool {
        SlotMap::new(self.shards).shard_of(key) == self.index
    }

    /// When the shard wants to be looked after at the latest, Unix milliseconds; 0: at once.
    pub fn next_due_ms(&self, expires: bool) -> Option<u64> {
        if self.keyspace.pending_free_len() != 0 {
            return Some(0);
        }
        if expires { self.keyspace.next_deadline_ms() } else { None }
    }

    /// Looks after the shard for a slice of time: removes keys whose deadline has come, frees what waits to be freed.
    pub fn tend(&mut self, now_ms: u64, expires: bool) {
        if expires && self.locks.is_free() {
            self.keyspace.expire_cycle(now_ms, EXPIRE_SLICE);
        }
        if self.keyspace.pending_free_len() != 0 {
            self.keyspace.free_some(FREE_SLICE);
        }
    }

    /// Takes a new configuration.
    pub fn configure(&mut self, config: Arc<Config>) {
        self.keyspace.policy = access_policy(&config);
        self.config = config;
    }

    /// What is due ten times a second.
    pub fn cron(&mut self) {}

    /// Runs a command whose keys are all here, and writes its reply or error to `out`. True: it succeeded.
    #[inline]
    pub fn execute(
        &mut self,
        row: &'static Row,
        call: Call,
        args: &Args<'_>,
        now_ms: u64,
        stats: &mut Stats,
        out: &mut Vec<u8>,
    ) -> bool {
        let Run::Keyspace(run) = row.command.run else {
            panic!("{} does not run on a keyspace", row.full_name());
        };
        let start = out.len();
        let mut reply = Reply::new(out, call.protocol);
        self.keyspace.begin(now_ms, call.touch);
        let mut context = Context {
            keyspace: &mut self.keyspace,
            config: &self.config,
            random: &mut self.random,
            db: call.db,
            now_ms,
            shard: self.index,
            shards: self.shards,
        };
        match run(&mut context, args, &mut reply) {
            Ok(()) => true,
            Err(error) => {
                fail(stats, row, &error, start, out);
                false
            }
        }
    }
}

/// Replaces what was written since `start` by an error, and counts it.
#[cold]
pub fn fail(stats: &mut Stats, row: &'static Row, error: &Error, start: usize, out: &mut Vec<u8>) {
    out.truncate(start);
    Reply::new(out, Protocol::Resp2).error(error);
    stats.failed(row.id, error.prefix());
}

/// What the code of a session command returns, written or counted the same way.
pub fn finish(result: CommandResult, stats: &mut Stats, row: &'static Row, start: usize, out: &mut Vec<u8>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            fail(stats, row, &error, start, out);
            false
        }
    }
}
