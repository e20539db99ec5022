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
//!   given back        in type 27: length, then the ids (16 bytes each), in the order in which they were given back:
//!                     those that are pending for the group, since time 0, but for no consumer
//! limits              since type 26: seconds, messages of a producer                                     (lengths)
//! producers           since type 26: length, then for each: its id, messages: length, then for each from the
//!                     oldest: its id, the entry's id                              (strings, an id among lengths)
//! messages            since type 26: how many were ever added, how many were duplicates                  (lengths)
//! ```
//! An id among lengths is two of them, milliseconds and sequence number; in 16 bytes both are big-endian. Written is
//! the first type that knows all that the stream says: 19, which Redis 7.0 reads, where nobody uses what came later
//! (when a consumer was active last is not in it).
//!
//! Redis 8.6 writes type 26 of every stream. What says no more than is so anyway counts as nothing said, so that the
//! stream can be written for older servers. Type 27 has to say limits also of a stream that has none of its own: those
//! of Redis.

use super::read::{Source, blob, length, string, time_ms};
use super::{Corrupt, kind, write};
use crate::structure::listpack::Listpack;
use crate::structure::stream_log::{Id, StreamLog};
use crate::value::stream::{
    ConsumerParts, Counters, DELIVERIES_MAX, GroupParts, Idempotency, IdempotencyLimits, Message, Producer, Stream,
};
use std::collections::VecDeque;

/// When a consumer was active that never was: -1.
const NEVER_MS: u64 = u64::MAX;
/// What Redis writes where it does not know how many entries a group has read.
const UNKNOWN: u64 = u64::MAX;

const NODE: Corrupt = Corrupt("Stream listpack integrity check failed.");
const COUNTERS: Corrupt = Corrupt("Stream counters contradict its entries");
const GROUP: Corrupt = Corrupt("Stream consumer group integrity check failed.");
const PRODUCERS: Corrupt = Corrupt("Duplicate stream producer detected");

fn write_id(out: &mut Vec<u8>, id: Id) {
    write::length(out, id.ms);
    write::length(out, id.seq);
}

fn read_id(source: &mut impl Source) -> Result<Id, Corrupt> {
    Ok(Id { ms: length(source)?, seq: length(source)? })
}

/// Appends nodes from the one with this number on, until the output is `end` bytes long; the counters and groups behind
/// the last. The number of the node that comes next; `None`: all is written.
pub fn write_from(
    of_kind: u8,
    stream: &Stream,
    first: usize,
    compress: bool,
    end: usize,
    out: &mut Vec<u8>,
) -> Option<usize> {
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
        write_group(of_kind, &group.parts(), compress, out);
    }
    if kind::STREAM_PRODUCERS <= of_kind {
        match stream.idempotency() {
            Some(known) => write_idempotency(known, compress, out),
            None => write_idempotency(&Idempotency::new(IdempotencyLimits::STOCK), compress, out),
        }
    }
    None
}

fn write_idempotency(known: &Idempotency, compress: bool, out: &mut Vec<u8>) {
    let IdempotencyLimits { duration_s, messages_max } = known.limits();
    write::length(out, duration_s.into());
    write::length(out, messages_max.into());
    write::length(out, known.producers().len() as u64);
    for producer in known.producers() {
        write::string(out, &producer.id, compress);
        write::length(out, producer.messages.len() as u64);
        for message in &producer.messages {
            write::string(out, &message.id, compress);
            write_id(out, message.entry);
        }
    }
    write::length(out, known.added);
    write::length(out, known.duplicates);
}

fn write_group(of_kind: u8, group: &GroupParts, compress: bool, out: &mut Vec<u8>) {
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
        if kind::STREAM_ACTIVE <= of_kind {
            write::time_ms(out, consumer.active_ms.unwrap_or(NEVER_MS));
        }
        write::length(out, consumer.pending.len() as u64);
        consumer.pending.iter().for_each(|id| out.extend_from_slice(&id.to_bytes()));
    }
    if of_kind == kind::STREAM_GIVEN_BACK {
        write::length(out, group.given_back.len() as u64);
        group.given_back.iter().for_each(|id| out.extend_from_slice(&id.to_bytes()));
    }
}

/// Reads a stream of one of its types. `configured`: what is remembered of producers where the stream says nothing.
///
/// # Errors
/// It is none.
pub fn read(of_kind: u8, configured: IdempotencyLimits, source: &mut impl Source) -> Result<Stream, Corrupt> {
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
    if kind::STREAM_PRODUCERS <= of_kind {
        let known = read_idempotency(source)?;
        let unsaid = if of_kind == kind::STREAM_GIVEN_BACK { IdempotencyLimits::STOCK } else { configured };
        if !known.is_untouched(unsaid) {
            stream.restore_idempotency(known);
        }
    }
    Ok(stream)
}

fn read_idempotency(source: &mut impl Source) -> Result<Idempotency, Corrupt> {
    let limits = IdempotencyLimits::nearest(length(source)?, length(source)?);
    let mut producers = Vec::new();
    for _ in 0..length(source)? {
        let (id, mut messages) = (blob(source)?.into_boxed_slice(), VecDeque::new());
        for _ in 0..length(source)? {
            messages.push_back(Message { id: blob(source)?.into_boxed_slice(), entry: read_id(source)? });
        }
        messages.shrink_to_fit();
        producers.push(Producer { id, messages });
    }
    let (added, duplicates) = (length(source)?, length(source)?);
    Idempotency::from_parts(limits, producers, added, duplicates).map_err(|_| PRODUCERS)
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
        let id = Id::from_bytes(source.array()?);
        group.pending.push((id, time(source)?, length(source)?.min(DELIVERIES_MAX)));
    }
    for _ in 0..length(source)? {
        let mut name = Vec::new();
        string(source, &mut name)?;
        let seen_ms = time(source)?;
        let active_ms = match of_kind {
            kind::STREAM_OLD | kind::STREAM => Some(seen_ms),
            _ => u64::try_from(time_ms(source)?).ok(), // -1: never.
        };
        let mut consumer = ConsumerParts { name, seen_ms, active_ms, pending: Vec::new() };
        for _ in 0..length(source)? {
            consumer.pending.push(Id::from_bytes(source.array()?));
        }
        group.consumers.push(consumer);
    }
    if of_kind == kind::STREAM_GIVEN_BACK {
        for _ in 0..length(source)? {
            group.given_back.push(Id::from_bytes(source.array()?));
        }
    }
    Ok(group)
}
