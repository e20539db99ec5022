//! Keys come from a file: at the start, and for `DEBUG RELOAD` (`reload.rs`).
//!
//! ```text
//!   reader: blocks ─▶ batches: keys and the bytes of their values ─┬─▶ a thread: decodes, enters into shard 0
//!                     (nothing decoded)                            └─▶ a thread: decodes, enters into shard 1
//! ```
//! Bytes are copied once, into a batch that all threads read, each its own keys of it. The place of a key in the table
//! is a cache miss, in a large keyspace always: those of some keys are asked for together. How many keys are to come
//! stands in the file: the tables are made for so many, and need not grow.
//!
//! Clients are connected meanwhile and told `-LOADING`. The threads take a shard's engine for some keys at a time, as
//! visitors do, so its core answers. How many shards the file's writer had does not matter: keys go where they belong.

use super::aof_load;
use super::aof_place::LogFiles;
use super::core::unix_ms;
use super::libraries::LibraryReader;
use super::progress::Reporter;
use super::snapshot::remove_left_in;
use crate::command::persistence::value_limits;
use crate::config::Appendfsync;
use crate::keyspace::{Room, Saved};
use crate::rdb::file::Access;
use crate::rdb::load::{Fault, Item, KeyHead, Reader};
use crate::rdb::{Corrupt, decode_as};
use crate::route::SlotMap;
use crate::shard::Shard;
use crate::shared::Shared;
use crate::shared::persistence::obstacle;
use crate::sys::disk::{File, How};
use parking_lot::Mutex;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// A batch leaves when it has so many bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// Batches that wait for a shard; the reader waits beyond.
const BATCHES_WAITING_MAX: usize = 4;
/// A key takes so many bytes in a file at least: its type, and the lengths of an empty key and an empty string. So a
/// file cannot promise more than it is long.
const SAVED_BYTES_MIN: u64 = 3;
/// Keys without a value are told of, up to so many.
const EMPTY_TOLD_MAX: u64 = 10;
/// Keys that are entered while an engine is held: some 20 µs.
const KEYS_AT_ONCE: usize = 64;

/// What was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    /// Keys.
    pub keys: u64,
    /// Keys that had expired.
    pub expired: u64,
    /// Keys whose value was empty: Redis once wrote such.
    pub empty: u64,
    /// Milliseconds it took.
    pub milliseconds: u64,
    /// Bytes of the file that are read: another thing may follow.
    pub bytes: u64,
}

/// What becomes of a key that is there and in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duplicates {
    /// That is an error.
    Refused,
    /// It becomes that of the file.
    Replaced,
}

/// How keys are loaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Keys, and libraries, of which there are some already.
    pub duplicates: Duplicates,
    /// Keys whose time has come are loaded too: what follows may say otherwise.
    pub keeps_expired: bool,
    /// The file is one of several: who loads them tells how far that is.
    pub is_part: bool,
}

/// Keys and the bytes of their values on their way, of all shards.
#[derive(Default)]
struct Batch {
    keys: Vec<u8>,
    values: Vec<u8>,
}

/// Those of one shard.
struct Share {
    batch: Arc<Batch>,
    version: u16,
    keys: Vec<Loading>,
}

struct Loading {
    db: usize,
    head: KeyHead,
    key: Range<usize>,
    value: Range<usize>,
}

/// What the threads count, and what they fail for.
#[derive(Default)]
struct Tally {
    keys: AtomicU64,
    empty: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// How often `key-load-delay` is looked at while it is 0, in keys.
const LOOK_KEYS: u32 = 1024;

/// Makes loading as slow as `key-load-delay` says, for tests.
#[derive(Default)]
pub(super) struct Delay {
    us: i32,
    keys: u32,
}

impl Delay {
    /// A key is read.
    pub(super) fn wait(&mut self, shared: &Shared) {
        if self.us != 0 || self.keys.is_multiple_of(LOOK_KEYS) {
            self.us = shared.config().key_load_delay;
        }
        self.keys = self.keys.wrapping_add(1);
        let us = match self.us {
            0 => return,
            us if 0 < us => us.unsigned_abs(),
            us => u32::from(self.keys.is_multiple_of(us.unsigned_abs())),
        };
        if us != 0 {
            std::thread::sleep(Duration::from_micros(us.into()));
        }
    }
}

/// Loads a file into the shards.
///
/// # Errors
/// Why not, for the operator. Some keys may have been loaded.
pub(super) fn load(path: &Path, engines: &[&Mutex<Shard>], shared: &Shared, manner: Manner) -> Result<Loaded, String> {
    let started = Instant::now();
    let named = |fault: &dyn std::fmt::Display| format!("{fault} (file {})", path.display());
    let file = File::open(path, How::Read).map_err(|error| named(&error))?;
    let loading = &shared.persistence.loading;
    let now_ms = unix_ms();
    let file_bytes = file.len().unwrap_or(0);
    if !manner.is_part {
        loading.begin(now_ms, file_bytes);
    }
    let config = shared.config();
    let mut reader = Reader::open(file, config.rdbchecksum).map_err(|fault| named(&fault))?;
    let tally = Tally::default();
    let expired = std::thread::scope(|scope| {
        let mut senders = Vec::new();
        for &engine in engines {
            let (sender, receiver) = sync_channel(BATCHES_WAITING_MAX);
            senders.push(sender);
            let tally = &tally;
            scope.spawn(move || take_shares(engine, &receiver, manner, now_ms, tally));
        }
        let mut distributor = Distributor {
            map: SlotMap::new(engines.len()),
            engines,
            file_bytes,
            batch: Batch::default(),
            shares: engines.iter().map(|_| Vec::new()).collect(),
            senders,
            databases: config.databases as usize,
            now_ms,
            expired: 0,
            libraries: None,
            manner,
        };
        distributor.run(&mut reader, shared).map_err(|fault| match fault {
            Stop::Fault(fault) => format!("{} at byte {}", named(&fault), reader.offset()),
            Stop::Library(why) => named(&format_args!("Failed loading a library of functions: {why}")),
            Stop::Elsewhere => String::new(),
        })?;
        Ok::<u64, String>(distributor.expired)
    });
    if let Some(failure) = tally.failure.lock().take() {
        return Err(named(&failure));
    }
    let loaded = Loaded {
        keys: tally.keys.load(Ordering::Relaxed),
        expired: expired?,
        empty: tally.empty.load(Ordering::Relaxed),
        milliseconds: started.elapsed().as_millis() as u64,
        bytes: reader.offset(),
    };
    loading.keys.store(loaded.keys, Ordering::Relaxed);
    loading.expired.store(loaded.expired, Ordering::Relaxed);
    if loaded.empty != 0 {
        tracing::info!(
            "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}.",
            loaded.keys,
            loaded.expired,
            loaded.empty
        );
    } else {
        tracing::info!("Done loading RDB, keys loaded: {}, keys expired: {}.", loaded.keys, loaded.expired);
    }
    Ok(loaded)
}

/// Why the reader stops.
enum Stop {
    Fault(Fault),
    /// A library that cannot be.
    Library(String),
    /// A thread has failed and says why.
    Elsewhere,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

struct Distributor<'e> {
    map: SlotMap,
    engines: &'e [&'e Mutex<Shard>],
    file_bytes: u64,
    batch: Batch,
    /// By shard: what of the batch is its.
    shares: Vec<Vec<Loading>>,
    senders: Vec<SyncSender<Share>>,
    databases: usize,
    now_ms: u64,
    expired: u64,
    manner: Manner,
    libraries: Option<LibraryReader>,
}

impl Distributor<'_> {
    fn run(&mut self, reader: &mut Reader<File>, shared: &Shared) -> Result<(), Stop> {
        let (version, mut db, mut delay) = (reader.version(), 0, Delay::default());
        loop {
            let Batch { keys, values } = &mut self.batch;
            let (key_start, value_start) = (keys.len(), values.len());
            match reader.next_behind(keys, values)? {
                Item::End => break,
                Item::Key(head) => {
                    delay.wait(shared);
                    let is_over = head.deadline_ms.is_some_and(|deadline_ms| deadline_ms < self.now_ms as i64);
                    if is_over && !self.manner.keeps_expired {
                        self.expired += 1;
                        keys.truncate(key_start);
                        values.truncate(value_start);
                        continue;
                    }
                    let (key, value) = (key_start..keys.len(), value_start..values.len());
                    let shard = self.map.shard_of(&keys[key.clone()]);
                    self.shares[shard].push(Loading { db, head, key, value });
                    if BATCH_BYTES <= keys.len() + values.len() {
                        self.send(version)?;
                        shared.persistence.loading.note(reader.offset());
                    }
                }
                Item::Database(number) => {
                    db = usize::try_from(number).ok().filter(|&db| db < self.databases).ok_or({
                        Fault::Corrupt(Corrupt(
                            "FATAL: Data file was created with a Redis server configured to handle more databases. \
                             Exiting",
                        ))
                    })?;
                }
                Item::Aux(name, text) => say(shared, &name, &String::from_utf8_lossy(&text), self.now_ms),
                Item::Sizes(keys, _) => self.make_room(db, keys.min(self.file_bytes / SAVED_BYTES_MIN)),
                Item::Library(code) => {
                    let reader = self.libraries.get_or_insert_with(LibraryReader::new);
                    reader.load(shared, &code, self.manner.duplicates == Duplicates::Refused).map_err(Stop::Library)?;
                }
                // As in Redis: who goes on without it loses it with the next snapshot.
                Item::ModuleAux(name) => return Err(Fault::ModuleAux(name).into()),
            }
        }
        self.send(version)?;
        shared.persistence.loading.note(reader.offset());
        Ok(())
    }

    /// So many keys of a database are to come.
    fn make_room(&self, db: usize, keys: u64) {
        let keys = usize::try_from(keys).unwrap_or(usize::MAX) / self.engines.len();
        for engine in self.engines {
            let room = Room::new(keys);
            engine.lock().keyspace.make_room(db, room);
        }
    }

    fn send(&mut self, version: u16) -> Result<(), Stop> {
        let batch = Arc::new(std::mem::take(&mut self.batch));
        self.batch.values.reserve(BATCH_BYTES);
        for (keys, sender) in self.shares.iter_mut().zip(&self.senders) {
            if !keys.is_empty() {
                let next = Vec::with_capacity(keys.len());
                let share = Share { batch: batch.clone(), version, keys: std::mem::replace(keys, next) };
                sender.send(share).map_err(|_| Stop::Elsewhere)?;
            }
        }
        Ok(())
    }
}

/// Says what a file says about itself, as Redis does.
fn say(shared: &Shared, name: &[u8], text: &str, now_ms: u64) {
    match name {
        b"redis-ver" => tracing::info!("Loading RDB produced by version {text}"),
        b"ctime" => {
            let age = text.parse::<u64>().ok().map(|made| (now_ms / 1000).saturating_sub(made));
            tracing::info!("RDB age {} seconds", age.unwrap_or(0));
        }
        b"used-mem" => {
            let bytes = text.parse::<u64>().unwrap_or(0);
            shared.persistence.loading.used_bytes.store(bytes, Ordering::Relaxed);
            tracing::info!("RDB memory usage when created {:.2} Mb", bytes as f64 / (1 << 20) as f64);
        }
        b"aof-base" if text == "1" => tracing::info!("RDB is base AOF"),
        _ => {}
    }
}

/// Enters keys into a shard, batch after batch.
fn take_shares(engine: &Mutex<Shard>, receiver: &Receiver<Share>, manner: Manner, now_ms: u64, tally: &Tally) {
    let hasher = engine.lock().keyspace.hasher();
    let mut text = Vec::new();
    let mut hashes = Vec::with_capacity(KEYS_AT_ONCE);
    while let Ok(Share { batch, version, keys }) = receiver.recv() {
        for some in keys.chunks(KEYS_AT_ONCE) {
            hashes.clear();
            hashes.extend(some.iter().map(|loading| hasher.hash(&batch.keys[loading.key.clone()])));
            let mut shard = engine.lock();
            let limits = value_limits(&mut shard);
            let policy = shard.keyspace.policy();
            shard.keyspace.begin(now_ms, false);
            for (Loading { db, .. }, &hash) in some.iter().zip(&hashes) {
                shard.keyspace.prefetch_bucket(*db, hash);
            }
            let mut entered = 0;
            for (Loading { db, head, key, value }, &hash) in some.iter().zip(&hashes) {
                let (key, mut value) = (&batch.keys[key.clone()], &batch.values[value.clone()]);
                let decoded = decode_as(head.kind, &mut value, version, &limits, &mut text);
                let value = match decoded {
                    Ok(value) => value,
                    Err(Corrupt::EMPTY) => {
                        if tally.empty.fetch_add(1, Ordering::Relaxed) < EMPTY_TOLD_MAX {
                            tracing::info!("skipping empty key: {}", key.escape_ascii());
                        }
                        continue;
                    }
                    Err(corrupt) => {
                        let what =
                            format!("Internal error in RDB reading: key '{}': {}", key.escape_ascii(), corrupt.0);
                        tally.failure.lock().get_or_insert(what);
                        return;
                    }
                };
                let (idle_seconds, frequency) = match head.access {
                    Access::Unknown => (None, None),
                    Access::Idle(seconds) => (Some(i64::try_from(seconds).unwrap_or(i64::MAX)), None),
                    Access::Frequency(counter) => (None, Some(counter)),
                };
                let clock = policy.told_clock(now_ms, idle_seconds, frequency);
                // Before 1970 is as good as then.
                let deadline_ms = head.deadline_ms.map(|deadline_ms| u64::try_from(deadline_ms).unwrap_or(0));
                let replaces = manner.duplicates == Duplicates::Replaced;
                let is_new = shard.keyspace.load(*db, Saved { hash, key, value, deadline_ms, clock }, replaces);
                entered += u64::from(is_new || replaces);
                if !is_new && manner.duplicates == Duplicates::Refused {
                    let what = format!("RDB has duplicated key '{}' in DB {db}", key.escape_ascii());
                    tally.failure.lock().get_or_insert(what);
                    return;
                }
            }
            tally.keys.fetch_add(entered, Ordering::Relaxed);
        }
    }
}

/// Loads the append-only file, and has changes recorded from then on.
fn open_log(shared: &Arc<Shared>, engines: &[&Mutex<Shard>], log_files: &LogFiles) -> Result<(), String> {
    let config = shared.config();
    let (directory, manifest) = aof_load::open(&config, shared, engines)?;
    shared.log.set_always(config.appendfsync == Appendfsync::Always);
    shared.log.set_unsynced(config.appendfsync == Appendfsync::No);
    log_files.begin(directory, manifest)
}

/// Loads what the last run has left, if it has.
///
/// # Errors
/// Why the server must not start: it would seem to have lost its keys.
pub(super) fn load_at_start(
    shared: &Arc<Shared>,
    engines: &[&Mutex<Shard>],
    log_files: &LogFiles,
) -> Result<(), String> {
    let reporter = Reporter::start(shared);
    if shared.config().appendonly {
        open_log(shared, engines, log_files)?;
    } else {
        load_snapshot(shared, engines)?;
    }
    drop(reporter);
    remove_left_in(&shared.config().dir);
    // Not before: nobody may be told that there is nothing by a server that is about to give up.
    shared.persistence.set_obstacle(obstacle::LOADING, false);
    Ok(())
}

fn load_snapshot(shared: &Shared, engines: &[&Mutex<Shard>]) -> Result<(), String> {
    let config = shared.config();
    let path = config.dir.join(&config.dbfilename);
    let result = match path.try_exists() {
        Ok(false) => Ok(()),
        _ => {
            let manner = Manner { duplicates: Duplicates::Refused, keeps_expired: false, is_part: false };
            load(&path, engines, shared, manner).map(|loaded| {
                let seconds = loaded.milliseconds as f64 / 1000.0;
                tracing::info!("DB loaded from disk: {seconds:.3} seconds");
            })
        }
    };
    result.map_err(|why| {
        tracing::error!("Terminating server after rdb file reading failure.");
        format!("Fatal error loading the DB: {why}. Exiting.")
    })
}
