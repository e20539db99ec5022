//! Keys come from a file: at the start, and for `DEBUG RELOAD` (`reload.rs`).
//!
//! ```text
//!   reader: blocks ─▶ keys and the bytes of their values ─┬─▶ batches ─▶ a thread: decodes, enters into shard 0
//!                     (nothing decoded)                   └─▶ batches ─▶ a thread: decodes, enters into shard 1
//! ```
//! Clients are connected meanwhile and told `-LOADING`. The threads take a shard's engine for some keys at a time, as
//! visitors do, so its core answers. How many shards the file's writer had does not matter: keys go where they belong.

use super::aof_load;
use super::aof_place::LogFiles;
use super::core::unix_ms;
use super::libraries::LibraryReader;
use super::progress::Reporter;
use crate::command::persistence::value_limits;
use crate::config::Appendfsync;
use crate::rdb::file::Access;
use crate::rdb::load::{Fault, Item, KeyHead, Reader};
use crate::rdb::{Corrupt, decode_as};
use crate::route::SlotMap;
use crate::shard::Shard;
use crate::shared::Shared;
use crate::shared::persistence::obstacle;
use crate::sys::disk::{File, How};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// A batch leaves when it has so many bytes …
const BATCH_BYTES: usize = 256 * 1024;
/// … or keys.
const BATCH_KEYS: usize = 1024;
/// Batches that wait for a shard; the reader waits beyond.
const BATCHES_WAITING_MAX: usize = 4;
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

/// Keys of one shard, on their way.
#[derive(Default)]
struct Batch {
    version: u16,
    /// Keys and values, one after the other.
    bytes: Vec<u8>,
    keys: Vec<Loading>,
}

struct Loading {
    db: usize,
    head: KeyHead,
    key_len: usize,
    value_len: usize,
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
    if !manner.is_part {
        loading.begin(now_ms, file.len().unwrap_or(0));
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
            scope.spawn(move || take_batches(engine, &receiver, manner, now_ms, tally));
        }
        let mut distributor = Distributor {
            map: SlotMap::new(engines.len()),
            batches: engines.iter().map(|_| Batch::default()).collect(),
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

struct Distributor {
    map: SlotMap,
    batches: Vec<Batch>,
    senders: Vec<SyncSender<Batch>>,
    databases: usize,
    now_ms: u64,
    expired: u64,
    manner: Manner,
    libraries: Option<LibraryReader>,
}

impl Distributor {
    fn run(&mut self, reader: &mut Reader<File>, shared: &Shared) -> Result<(), Stop> {
        let (mut key, mut value, mut db) = (Vec::new(), Vec::new(), 0);
        let (version, mut delay) = (reader.version(), Delay::default());
        loop {
            match reader.next(&mut key, &mut value)? {
                Item::End => break,
                Item::Key(head) => {
                    delay.wait(shared);
                    let is_over = head.deadline_ms.is_some_and(|deadline_ms| deadline_ms < self.now_ms as i64);
                    if is_over && !self.manner.keeps_expired {
                        self.expired += 1;
                        continue;
                    }
                    let shard = self.map.shard_of(&key);
                    let batch = &mut self.batches[shard];
                    batch.version = version;
                    batch.bytes.extend_from_slice(&key);
                    batch.bytes.extend_from_slice(&value);
                    batch.keys.push(Loading { db, head, key_len: key.len(), value_len: value.len() });
                    if BATCH_BYTES <= batch.bytes.len() || BATCH_KEYS <= batch.keys.len() {
                        self.send(shard)?;
                        shared.persistence.loading.note(reader.offset());
                    }
                    if BATCH_BYTES < value.capacity() {
                        value = Vec::new();
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
                Item::Sizes(..) => {}
                Item::Library(code) => {
                    let reader = self.libraries.get_or_insert_with(LibraryReader::new);
                    reader.load(shared, &code, self.manner.duplicates == Duplicates::Refused).map_err(Stop::Library)?;
                }
                Item::ModuleAux(name) => {
                    tracing::warn!("The RDB file contains AUX module data I can't load: no matching module '{name}'");
                }
            }
        }
        (0..self.batches.len()).try_for_each(|shard| self.send(shard))?;
        shared.persistence.loading.note(reader.offset());
        Ok(())
    }

    fn send(&mut self, shard: usize) -> Result<(), Stop> {
        let batch = std::mem::take(&mut self.batches[shard]);
        self.senders[shard].send(batch).map_err(|_| Stop::Elsewhere)
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
fn take_batches(engine: &Mutex<Shard>, receiver: &Receiver<Batch>, manner: Manner, now_ms: u64, tally: &Tally) {
    let mut text = Vec::new();
    while let Ok(batch) = receiver.recv() {
        let mut rest = &batch.bytes[..];
        for keys in batch.keys.chunks(KEYS_AT_ONCE) {
            let mut shard = engine.lock();
            let limits = value_limits(&mut shard);
            let policy = shard.keyspace.policy();
            shard.keyspace.begin(now_ms, false);
            let mut entered = 0;
            for Loading { db, head, key_len, value_len } in keys {
                let (key, behind) = rest.split_at(*key_len);
                let (mut value, behind) = behind.split_at(*value_len);
                rest = behind;
                let decoded = decode_as(head.kind, &mut value, batch.version, &limits, &mut text);
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
                let is_new = shard.keyspace.load(*db, key, value, deadline_ms, clock, replaces);
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
