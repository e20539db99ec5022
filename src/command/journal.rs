//! What the append-only file is told of a command: its effect, in commands that Redis 7.0 knows, each with keys of one
//! shard. (What Redis 7.0 could not hold is told in newer ones: then it refuses the log.) See the page of
//! [`crate::aof`]. Not here: how records reach the disk.
//!
//! A row says how it is recorded ([`Journal`]); code that knows better says it itself, by
//! [`crate::keyspace::records::Records::say`].

use super::key_spec::accesses;
use super::lookup::Row;
use super::{Args, Flags, Gather, KeyAccess, Keys, Spread, key_positions};
use crate::keyspace::Keyspace;
use crate::rdb::payload;
use crate::route::SlotMap;
use crate::value::ValueRef;
use smallvec::SmallVec;

/// How what a command did is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// As it was called, where Redis 7.0 has it; else as `State`.
    Call,
    /// For each key that it may change: how it is now.
    State,
    /// As it was called if it has just so many arguments; else as `State`.
    CallOf(usize),
    /// The deadline of its key as it is now.
    Deadline,
    /// As it was called; it leaves nothing of what was there, in any database.
    FlushAll,
}

/// The newest version whose commands are written as they are called.
const WRITTEN_SINCE: (u32, u32) = (7, 0);

/// Whether Redis 7.0 has a command of that version.
fn is_old(since: &str) -> bool {
    let mut numbers = since.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) <= WRITTEN_SINCE,
        _ => false,
    }
}

/// Records what a command did that has just run in `keyspace`, if anything was changed since `dirty` was read there.
/// `shards`: of the server.
#[inline(never)]
pub fn record_if_changed(
    keyspace: &mut Keyspace,
    row: &Row,
    db: usize,
    args: &Args<'_>,
    shards: usize,
    dirty: u64,
    succeeds: bool,
) {
    // One on all keys is told of in any case: what it found on one shard it may not have found on another.
    let is_on_all = succeeds && matches!(row.command.keys, Keys::None) && row.command.flags.contains(Flags::WRITE);
    if keyspace.dirty != dirty || is_on_all {
        record(keyspace, row, db, args, shards);
    }
    keyspace.records.end_command();
}

/// Records what a command did that has just run in `keyspace` and changed something there. `shards`: of the server.
fn record(keyspace: &mut Keyspace, row: &Row, db: usize, args: &Args<'_>, shards: usize) {
    if keyspace.records.take_said() {
        return;
    }
    let command = row.command;
    if matches!(command.keys, Keys::None) {
        let is_flush_all = command.journal == Journal::FlushAll;
        if command.flags.contains(Flags::WRITE) {
            keyspace.records.push_global(db, is_flush_all, args);
        }
        return;
    }
    let map = SlotMap::new(shards);
    let mut positions = Vec::new();
    if key_positions(command, args, &mut positions).is_err() || positions.is_empty() {
        return;
    }
    if command.journal == Journal::Deadline {
        return positions.iter().for_each(|&at| write_deadline(keyspace, db, args[at]));
    }
    let is_call = match command.journal {
        Journal::Call | Journal::FlushAll => is_old(command.since),
        Journal::CallOf(argc) => args.len() == argc,
        Journal::State | Journal::Deadline => false,
    };
    let shard = map.shard_of(args[positions[0]]);
    let is_together = shards == 1 || positions.iter().all(|&at| map.shard_of(args[at]) == shard);
    // Keys that follow from what others hold are not named.
    let is_derived = 1 < shards && command.derived.is_some_and(|derived| (derived.is_used)(args));
    if is_call && is_together && !is_derived {
        let keys: SmallVec<[&[u8]; 4]> = positions.iter().map(|&at| args[at]).collect();
        return keyspace.records.push(db, &keys, args);
    }
    if is_call
        && !is_together
        && let Spread::Split(Gather::Ok | Gather::Sum) = command.spread
        && let Keys::Range { first, last: -1, step } = command.keys
    {
        return write_split(keyspace, map, db, args, first as usize, step as usize);
    }
    let mut written: Vec<&[u8]> = Vec::new();
    for (&at, access) in positions.iter().zip(accesses(command, args, &positions)) {
        if !access.intersects(KeyAccess::RO.union(KeyAccess::NOT_KEY)) && !written.contains(&args[at]) {
            written.push(args[at]);
        }
    }
    written.into_iter().for_each(|key| write_state(keyspace, db, key));
}

/// Each shard's part of a call.
fn write_split(keyspace: &mut Keyspace, map: SlotMap, db: usize, args: &Args<'_>, first: usize, step: usize) {
    let shards: Vec<usize> = args[first..].chunks(step).map(|chunk| map.shard_of(chunk[0])).collect();
    let mut sorted = shards.clone();
    sorted.sort_unstable();
    sorted.dedup();
    for shard in sorted {
        let mut part: Vec<&[u8]> = args[..first].to_vec();
        for (chunk, _) in args[first..].chunks(step).zip(&shards).filter(|(_, of)| **of == shard) {
            part.extend_from_slice(chunk);
        }
        let keys: SmallVec<[&[u8]; 4]> = part[first..].iter().step_by(step).copied().collect();
        keyspace.records.push(db, &keys, &part);
    }
}

/// How a key is now.
pub fn write_state(keyspace: &mut Keyspace, db: usize, key: &[u8]) {
    if !keyspace.records.is_on {
        return;
    }
    let mut records = std::mem::take(&mut keyspace.records);
    let mut digits = itoa::Buffer::new();
    match keyspace.peek(db, key) {
        None => records.push(db, &[key], &[b"UNLINK", key]),
        Some(entry) => {
            let deadline_ms = entry.deadline_ms();
            let deadline = digits.format(deadline_ms.unwrap_or(0)).as_bytes();
            let mut text = itoa::Buffer::new();
            let mut bytes = Vec::new();
            let text = match entry.value() {
                ValueRef::Integer(integer) => Some(text.format(integer).as_bytes()),
                _ => entry.string().ok().map(|string| {
                    bytes.extend_from_slice(string.bytes(&mut text));
                    &bytes[..]
                }),
            };
            match (text, deadline_ms) {
                (Some(text), Some(_)) => records.push(db, &[key], &[b"SET", key, text, b"PXAT", deadline]),
                (Some(text), None) => records.push(db, &[key], &[b"SET", key, text]),
                (None, _) => {
                    let mut dump = Vec::new();
                    payload::write(entry.value(), false, &mut dump);
                    records.push(db, &[key], &[b"RESTORE", key, deadline, &dump, b"REPLACE", b"ABSTTL"]);
                }
            }
        }
    }
    keyspace.records = records;
}

/// The deadline of a key as it is now.
fn write_deadline(keyspace: &mut Keyspace, db: usize, key: &[u8]) {
    let deadline = keyspace.peek(db, key).map(|entry| entry.deadline_ms());
    let mut digits = itoa::Buffer::new();
    match deadline {
        None => keyspace.records.push(db, &[key], &[b"UNLINK", key]),
        Some(None) => keyspace.records.push(db, &[key], &[b"PERSIST", key]),
        Some(Some(ms)) => {
            let ms = digits.format(ms).as_bytes();
            keyspace.records.push(db, &[key], &[b"PEXPIREAT", key, ms]);
        }
    }
}
