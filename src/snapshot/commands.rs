//! Entries as commands that make them: the base of a log where `aof-use-rdb-preamble` is `no`. Commands of Redis 7.0,
//! several elements each; only what it does not know takes newer ones: deadlines of fields, what streams remember of
//! producers, and what was given back to groups.
//!
//! | Value | Commands |
//! |---|---|
//! | string | `SET` |
//! | list, set, sorted set, hash | `RPUSH`, `SADD`, `ZADD`, `HMSET`, of up to [`ELEMENTS_MAX`] elements; `HPEXPIREAT` |
//! | stream | `XADD` for each entry, `XSETID`; `XGROUP CREATE`, `XGROUP CREATECONSUMER`, `XCLAIM` for what is pending, `XNACK` for what was given back; `XCFGSET`, `XIDMPRECORD` for messages of producers |
//! | with a deadline | `PEXPIREAT` behind them |

use crate::aof::record;
use crate::keyspace::EntryRef;
use crate::rdb;
use crate::structure::stream_log::Id;
use crate::value::ValueRef;
use crate::value::hash::Hash;
use crate::value::number::format_double;
use crate::value::stream::{GroupParts, Idempotency, IdempotencyLimits, Stream, entries_read_said};

/// Elements of one command, as Redis writes them.
const ELEMENTS_MAX: usize = 64;

/// A value that is being written, step by step as [`rdb::Encoding`] does it.
#[derive(Debug, Clone)]
pub struct Commands {
    /// Of a table: the cursor of its scan. Of a list or a sorted set: how many elements are written.
    at: u64,
    /// Of a stream: the id from which on entries are to be written; `None`: all of them are.
    next: Option<Id>,
    version: u16,
}

/// A command with elements, which is written when they are complete.
struct Elements<'a> {
    out: &'a mut Vec<u8>,
    name: &'a [u8],
    key: &'a [u8],
    arguments: usize,
    elements: usize,
    text: Vec<u8>,
}

impl<'a> Elements<'a> {
    fn new(out: &'a mut Vec<u8>, name: &'a [u8], key: &'a [u8]) -> Elements<'a> {
        Elements { out, name, key, arguments: 0, elements: 0, text: Vec::new() }
    }

    fn push(&mut self, arguments: &[&[u8]]) {
        arguments.iter().for_each(|argument| record::write_argument(&mut self.text, argument));
        self.arguments += arguments.len();
        self.elements += 1;
        if self.elements == ELEMENTS_MAX {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.elements != 0 {
            record::begin(self.out, self.arguments + 2);
            record::write_argument(self.out, self.name);
            record::write_argument(self.out, self.key);
            self.out.append(&mut self.text);
            (self.arguments, self.elements) = (0, 0);
        }
    }
}

impl Commands {
    /// Of an entry.
    pub fn begin(view: EntryRef<'_>) -> Commands {
        Commands { at: 0, next: Some(Id::MIN), version: rdb::version_of(view.value()) }
    }

    /// The version of the format of snapshots that knows as much.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Appends some more of the entry, about so many bytes. Whether there is more.
    pub fn step(&mut self, view: EntryRef<'_>, bytes: usize, out: &mut Vec<u8>) -> bool {
        let (key, end) = (view.key(), out.len().saturating_add(bytes));
        let mut digits = itoa::Buffer::new();
        let is_more = match view.value() {
            ValueRef::Integer(integer) => {
                record::write(out, &[b"SET", key, digits.format(integer).as_bytes()]);
                false
            }
            ValueRef::String(text) => {
                record::write(out, &[b"SET", key, text]);
                false
            }
            ValueRef::List(list) => self.step_ranks(list.len(), end, out, |start, count, out| {
                let mut elements = Elements::new(out, b"RPUSH", key);
                list.visit(start, count, |element| elements.push(&[element.bytes(&mut digits)]));
                elements.write();
            }),
            ValueRef::SortedSet(set) => self.step_ranks(set.len(), end, out, |start, count, out| {
                let mut elements = Elements::new(out, b"ZADD", key);
                set.visit(start, count, false, |member, score| {
                    elements.push(&[format_double(score).as_bytes(), member]);
                });
                elements.write();
            }),
            ValueRef::Set(set) => self.step_table(end, out, |cursor, out| {
                let mut elements = Elements::new(out, b"SADD", key);
                let next = set.scan(cursor, ELEMENTS_MAX, |member| elements.push(&[member.bytes(&mut digits)]));
                elements.write();
                next
            }),
            ValueRef::Hash(hash) => self.step_table(end, out, |cursor, out| write_fields(hash, key, cursor, out)),
            ValueRef::Stream(stream) => self.step_stream(stream, key, end, out),
            #[cfg(test)]
            ValueRef::Probe(_) => unreachable!("no command makes one"),
        };
        if !is_more {
            write_deadline(view, out);
        }
        is_more
    }

    /// Elements by their ranks.
    fn step_ranks(
        &mut self,
        len: usize,
        end: usize,
        out: &mut Vec<u8>,
        mut write: impl FnMut(usize, usize, &mut Vec<u8>),
    ) -> bool {
        while (self.at as usize) < len {
            let count = (len - self.at as usize).min(ELEMENTS_MAX);
            write(self.at as usize, count, out);
            self.at += count as u64;
            if end <= out.len() {
                break;
            }
        }
        (self.at as usize) < len
    }

    /// Elements by the cursor of a scan.
    fn step_table(&mut self, end: usize, out: &mut Vec<u8>, mut scan: impl FnMut(u64, &mut Vec<u8>) -> u64) -> bool {
        loop {
            self.at = scan(self.at, out);
            if self.at == 0 || end <= out.len() {
                return self.at != 0;
            }
        }
    }

    fn step_stream(&mut self, stream: &Stream, key: &[u8], end: usize, out: &mut Vec<u8>) -> bool {
        let (mut name_digits, mut value_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
        if let Some(next) = self.next {
            for entry in stream.log().range(next, Id::MAX) {
                let pairs = entry.pairs();
                record::begin(out, 3 + 2 * pairs.len());
                record::write_argument(out, b"XADD");
                record::write_argument(out, key);
                record::write_argument(out, entry.id.to_string().as_bytes());
                for (name, value) in pairs {
                    record::write_argument(out, name.bytes(&mut name_digits));
                    record::write_argument(out, value.bytes(&mut value_digits));
                }
                self.next = entry.id.next();
                if end <= out.len() {
                    return true;
                }
            }
            self.next = None;
        }
        let counters = stream.counters();
        if counters.len == 0 {
            // What makes a stream without entries.
            record::write(out, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
        }
        // A counter that has run beyond the greatest number, XSETID does not take.
        let added = counters.entries_added.min(i64::MAX as u64).to_string();
        let (last_id, max_deleted_id) = (counters.last_id.to_string(), counters.max_deleted_id.to_string());
        let (last_id, max_deleted_id) = (last_id.as_bytes(), max_deleted_id.as_bytes());
        let args: [&[u8]; 7] =
            [b"XSETID", key, last_id, b"ENTRIESADDED", added.as_bytes(), b"MAXDELETEDID", max_deleted_id];
        record::write(out, &args);
        stream.groups().for_each(|group| write_group(&group.parts(), key, out));
        if let Some(known) = stream.idempotency() {
            write_idempotency(known, key, out);
        }
        false
    }
}

/// The fields of one step of a scan. The next cursor.
fn write_fields(hash: &Hash, key: &[u8], cursor: u64, out: &mut Vec<u8>) -> u64 {
    let (mut name_digits, mut value_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut deadlines: Vec<(Vec<u8>, u64)> = Vec::new();
    let mut elements = Elements::new(out, b"HMSET", key);
    // At time 0 no deadline has come.
    let next = hash.scan(cursor, ELEMENTS_MAX, 0, |field| {
        let name = field.name.bytes(&mut name_digits);
        elements.push(&[name, field.value.bytes(&mut value_digits)]);
        deadlines.extend(field.deadline_ms.map(|deadline_ms| (name.to_vec(), deadline_ms)));
    });
    elements.write();
    for (name, deadline_ms) in deadlines {
        let deadline_ms = deadline_ms.to_string();
        record::write(out, &[b"HPEXPIREAT", key, deadline_ms.as_bytes(), b"FIELDS", b"1", &name]);
    }
    next
}

fn write_group(group: &GroupParts, key: &[u8], out: &mut Vec<u8>) {
    let last_id = group.last_id.to_string();
    let read = entries_read_said(group.entries_read).to_string();
    let args: [&[u8]; 7] =
        [b"XGROUP", b"CREATE", key, &group.name, last_id.as_bytes(), b"ENTRIESREAD", read.as_bytes()];
    record::write(out, &args);
    for consumer in &group.consumers {
        if consumer.pending.is_empty() {
            record::write(out, &[b"XGROUP", b"CREATECONSUMER", key, &group.name, &consumer.name]);
        }
        for id in &consumer.pending {
            let at = group.pending.binary_search_by_key(id, |(of, ..)| *of);
            let at = at.expect("what is pending for a consumer is pending for its group");
            let (_, delivered_ms, count) = group.pending[at];
            let (id, delivered_ms, count) = (id.to_string(), delivered_ms.to_string(), count.to_string());
            let args: [&[u8]; 12] = [
                b"XCLAIM",
                key,
                &group.name,
                &consumer.name,
                b"0",
                id.as_bytes(),
                b"TIME",
                delivered_ms.as_bytes(),
                b"RETRYCOUNT",
                count.as_bytes(),
                b"JUSTID",
                b"FORCE",
            ];
            record::write(out, &args);
        }
    }
    for id in &group.given_back {
        let at = group.pending.binary_search_by_key(id, |(of, ..)| *of).expect("it is pending for the group");
        let (id, count) = (id.to_string(), group.pending[at].2.to_string());
        let (id, count) = (id.as_bytes(), count.as_bytes());
        let args: [&[u8]; 10] = [b"XNACK", key, &group.name, b"FAIL", b"IDS", b"1", id, b"RETRYCOUNT", count, b"FORCE"];
        record::write(out, &args);
    }
}

/// What a stream remembers of its producers. How many messages there ever were is not said.
fn write_idempotency(known: &Idempotency, key: &[u8], out: &mut Vec<u8>) {
    let IdempotencyLimits { duration_s, messages_max } = known.limits();
    let (duration, messages) = (duration_s.to_string(), messages_max.to_string());
    let limits: [&[u8]; 6] =
        [b"XCFGSET", key, b"IDMP-DURATION", duration.as_bytes(), b"IDMP-MAXSIZE", messages.as_bytes()];
    record::write(out, &limits);
    for producer in known.producers() {
        for message in &producer.messages {
            let entry = message.entry.to_string();
            record::write(out, &[b"XIDMPRECORD", key, &producer.id, &message.id, entry.as_bytes()]);
        }
    }
}

/// The deadline of an entry, if it has one.
pub fn write_deadline(view: EntryRef<'_>, out: &mut Vec<u8>) {
    if let Some(deadline_ms) = view.deadline_ms() {
        record::write(out, &[b"PEXPIREAT", view.key(), deadline_ms.to_string().as_bytes()]);
    }
}
