//! Streams on their way in and out.
//!
//! ```text
//! nodes             length, then for each: its master's id (16 bytes, big-endian, a string), its listpack (a string)
//! counters          len, last id, and since type 19: first id, highest deleted id, entries ever added    (lengths)
//! groups            length, then for each:
//!   group             name, last id, and since type 19: entries read
//!   pending           length, then for each: id (16 bytes), time of delivery (8 bytes), deliveries (a length)
//!   consumers         length, then for each: name, time seen (8 bytes), since type 21: time active (8 bytes),
//!                     pending: length, then the ids (16 bytes each)
//! ```
//! An id among lengths is two of them, milliseconds and sequence number; in 16 bytes both are big-endian. Written is
//! type 19, which Redis 7.0 reads: when a consumer was active last is not in it.

use super::read::{Source, blob, length, string, time_ms};
use super::{Corrupt, kind, write};
use crate::structure::listpack::Listpack;
use crate::structure::stream_log::{Id, StreamLog};
use crate::value::stream::{ConsumerParts, Counters, GroupParts, Stream};

/// What Redis writes where it does not know how many entries a group has read.
const UNKNOWN: u64 = u64::MAX;

const NODE: Corrupt = Corrupt("Stream listpack integrity check failed.");
const COUNTERS: Corrupt = Corrupt("Stream counters contradict its entries");
const GROUP: Corrupt = Corrupt("Stream consumer group integrity check failed.");

fn write_id(out: &mut Vec<u8>, id: Id) {
    write::length(out, id.ms);
    write::length(out, id.seq);
}

fn read_id(source: &mut impl Source) -> Result<Id, Corrupt> {
    Ok(Id { ms: length(source)?, seq: length(source)? })
}

/// Appends nodes from the one with this number on, until the output is `end` bytes long; the counters and groups behind
/// the last. The number of the node that comes next; `None`: all is written.
pub fn write_from(stream: &Stream, first: usize, compress: bool, end: usize, out: &mut Vec<u8>) -> Option<usize> {
    if first == 0 {
        write::length(out, stream.log().nodes_len() as u64);
    }
    for (next, (master, node)) in stream.log().nodes().enumerate().skip(first) {
        if first < next && end <= out.len() {
            return Some(next);
        }
        write::string(out, &master.to_bytes(), false);
        write::string(out, node.as_bytes(), compress);
    }
    let Counters { len, first_id, last_id, max_deleted_id, entries_added } = stream.counters();
    write::length(out, len);
    write_id(out, last_id);
    write_id(out, first_id);
    write_id(out, max_deleted_id);
    write::length(out, entries_added);
    write::length(out, stream.groups().len() as u64);
    for group in stream.groups() {
        write_group(&group.parts(), compress, out);
    }
    None
}

fn write_group(group: &GroupParts, compress: bool, out: &mut Vec<u8>) {
    write::string(out, &group.name, compress);
    write_id(out, group.last_id);
    write::length(out, group.entries_read.map_or(UNKNOWN, |entries| entries as u64));
    write::length(out, group.pending.len() as u64);
    for &(id, delivered_ms, deliveries) in &group.pending {
        out.extend_from_slice(&id.to_bytes());
        write::time_ms(out, delivered_ms);
        write::length(out, deliveries);
    }
    write::length(out, group.consumers.len() as u64);
    for consumer in &group.consumers {
        write::string(out, &consumer.name, compress);
        write::time_ms(out, consumer.seen_ms);
        write::length(out, consumer.pending.len() as u64);
        consumer.pending.iter().for_each(|id| out.extend_from_slice(&id.to_bytes()));
    }
}

/// Reads a stream of one of its types.
///
/// # Errors
/// It is none.
pub fn read(of_kind: u8, source: &mut impl Source) -> Result<Stream, Corrupt> {
    let mut log = StreamLog::new();
    for _ in 0..length(source)? {
        let master =
            blob(source)?.try_into().map_err(|_| Corrupt("Stream node key entry is not the size of a stream ID"))?;
        let node = Listpack::from_bytes(blob(source)?).map_err(|_| NODE)?;
        log.push_node(Id::from_bytes(master), node).map_err(|_| NODE)?;
    }
    let (len, last_id) = (length(source)?, read_id(source)?);
    let mut counters = Counters { len, first_id: log.first_id(), last_id, max_deleted_id: Id::MIN, entries_added: len };
    if of_kind != kind::STREAM_OLD {
        read_id(source)?; // The first id follows from the entries.
        counters.max_deleted_id = read_id(source)?;
        counters.entries_added = length(source)?;
    }
    let mut stream = Stream::from_log(log, counters).map_err(|_| COUNTERS)?;
    for _ in 0..length(source)? {
        let parts = read_group(of_kind, &stream, source)?;
        stream.restore_group(&parts).map_err(|_| contradiction(&parts))?;
    }
    Ok(stream)
}

/// What is wrong with a group that was refused, in the words of Redis' log.
fn contradiction(parts: &GroupParts) -> Corrupt {
    let mut names: Vec<&[u8]> = parts.consumers.iter().map(|consumer| &consumer.name[..]).collect();
    let mut ids: Vec<Id> = parts.consumers.iter().flat_map(|consumer| consumer.pending.iter().copied()).collect();
    names.sort_unstable();
    ids.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        Corrupt("Duplicate stream consumer detected")
    } else if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        Corrupt("Stream consumer PEL entry already has a consumer assigned")
    } else {
        GROUP
    }
}

fn read_group(of_kind: u8, stream: &Stream, source: &mut impl Source) -> Result<GroupParts, Corrupt> {
    let time = |source: &mut _| time_ms(source).map(|time_ms| u64::try_from(time_ms).unwrap_or(0));
    let mut group = GroupParts { name: blob(source)?, last_id: read_id(source)?, ..GroupParts::default() };
    group.entries_read = match of_kind {
        // It is known of a group that has read nothing or all.
        kind::STREAM_OLD => stream.counters().entries_until(group.last_id),
        _ => match length(source)? {
            UNKNOWN => None,
            entries => Some(entries as i64), // Below 0 if it was counted beyond the end of 64 bits.
        },
    };
    for _ in 0..length(source)? {
        group.pending.push((Id::from_bytes(source.array()?), time(source)?, length(source)?));
    }
    for _ in 0..length(source)? {
        let mut name = Vec::new();
        string(source, &mut name)?;
        let seen_ms = time(source)?;
        let active_ms = match of_kind {
            kind::STREAM_ACTIVE => u64::try_from(time_ms(source)?).ok(), // -1: never.
            _ => Some(seen_ms),
        };
        let mut consumer = ConsumerParts { name, seen_ms, active_ms, pending: Vec::new() };
        for _ in 0..length(source)? {
            consumer.pending.push(Id::from_bytes(source.array()?));
        }
        group.consumers.push(consumer);
    }
    Ok(group)
}
