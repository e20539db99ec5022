//! `DUMP` and `RESTORE`: a value as a payload in Redis' format, and back.
//!
//! Not here: the format (`rdb`), and `MIGRATE`, which carries payloads from server to server.
//!
//! A payload is always looked through to its last byte, whatever `sanitize-dump-payload` says: that costs less than
//! what a broken value would.

use super::key_spec::KeyAccess;
use super::{
    Args, Categories, Command, CommandResult, Context, Flags, Group, Journal, Run, hash, list, long_reply, set,
    sorted_set, stream,
};
use crate::rdb::{Limits, payload};
use crate::resp::{Error, Reply};
use crate::value::ValueRef;
use crate::value::number::parse_integer;

const RESTORE_SYNTAX: &str = "key:key ttl:integer serialized-value:string [replace=REPLACE]@3.0.0 \
                              [absttl=ABSTTL]@5.0.0 [IDLETIME seconds:integer]@5.0.0 [FREQ frequency:integer]@5.0.0";
const RESTORE_COMPLEXITY: &str = "O(N) for the elements of the value, and O(N*log(N)) for those of a sorted set.";

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("DUMP", Run::Keyspace(dump))
        .arity(2)
        .key()
        .flags(Flags::READONLY)
        .docs(Group::Generic, "2.6.0", "Returns the value of a key as a payload for RESTORE.")
        .complexity("O(N) where N is the number of elements.")
        .syntax("key")
        .tips(&["nondeterministic_output"]),
    Command::new("RESTORE", Run::Keyspace(restore))
        .journal(Journal::State)
        .arity(-4)
        .key()
        .access(KeyAccess::OVERWRITE)
        .flags(Flags::WRITE.union(Flags::DENYOOM))
        .categories(Categories::DANGEROUS)
        .docs(Group::Generic, "2.6.0", "Creates a key with the value of a payload of DUMP.")
        .complexity(RESTORE_COMPLEXITY)
        .syntax(RESTORE_SYNTAX),
    Command::new("RESTORE-ASKING", Run::Keyspace(restore))
        .journal(Journal::State)
        .arity(-4)
        .key()
        .access(KeyAccess::OVERWRITE)
        .flags(Flags::WRITE.union(Flags::DENYOOM).union(Flags::ASKING))
        .categories(Categories::DANGEROUS.union(Categories::KEYSPACE))
        .system()
        .docs(Group::Server, "3.0.0", "The same, for a slot that is being imported.")
        .complexity(RESTORE_COMPLEXITY)
        .syntax(RESTORE_SYNTAX),
];

const INVALID_IDLE_TIME: Error = Error::fixed("ERR Invalid IDLETIME value, must be >= 0");
const INVALID_FREQUENCY: Error = Error::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255");
const INVALID_TTL: Error = Error::fixed("ERR Invalid TTL value, must be >= 0");
const WRONG_PAYLOAD: Error = Error::fixed("ERR DUMP payload version or checksum are wrong");
const BAD_FORMAT: Error = Error::fixed("ERR Bad data format");

fn dump(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match cx.keyspace.read(cx.db, args[1]) {
        None => reply.null(),
        Some(view)
            if long_reply::leave_payload(&mut cx.long_reply, elements(view.value()), cx.config.rdbcompression) => {}
        Some(view) => {
            let mut bytes = Vec::new();
            payload::write(view.value(), cx.config.rdbcompression, &mut bytes);
            if reply.takes_long(bytes.len()) {
                reply.bulk_long(bytes.into());
            } else {
                reply.bulk(&bytes);
            }
        }
    }
    Ok(())
}

/// How many parts a value has that are written one by one.
fn elements(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::List(list) => list.len(),
        ValueRef::Set(set) => set.len(),
        ValueRef::SortedSet(set) => set.len(),
        ValueRef::Hash(hash) => hash.len(),
        ValueRef::Stream(stream) => stream.len() as usize,
        _ => 1,
    }
}

/// What stands behind the payload.
#[derive(Default)]
struct Options {
    replace: bool,
    is_absolute: bool,
    idle_seconds: Option<i64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(words: &Args<'_>) -> Result<Options, Error> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || words.next().map(|number| parse_integer(number).ok_or(Error::NOT_INTEGER)).transpose();
            if word.eq_ignore_ascii_case(b"replace") {
                options.replace = true;
            } else if word.eq_ignore_ascii_case(b"absttl") {
                options.is_absolute = true;
            } else if word.eq_ignore_ascii_case(b"idletime") && options.frequency.is_none() {
                let seconds = number()?.ok_or(Error::SYNTAX)?;
                options.idle_seconds = Some(seconds).filter(|seconds| 0 <= *seconds);
                options.idle_seconds.ok_or(INVALID_IDLE_TIME)?;
            } else if word.eq_ignore_ascii_case(b"freq") && options.idle_seconds.is_none() {
                let frequency = number()?.ok_or(Error::SYNTAX)?;
                options.frequency = Some(u8::try_from(frequency).map_err(|_| INVALID_FREQUENCY)?);
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(options)
    }
}

fn restore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, payload) = (args[1], args[3]);
    let options = Options::parse(&args[4..])?;
    if !options.replace && cx.keyspace.contains(cx.db, key) {
        return Err(Error::BUSY_KEY);
    }
    let ttl_ms = parse_integer(args[2]).ok_or(Error::NOT_INTEGER)?;
    let ttl_ms = u64::try_from(ttl_ms).map_err(|_| INVALID_TTL)?;
    let opened = match cx.keyspace.trusts_checksums {
        true => payload::open_unchecked(payload),
        false => payload::open(payload),
    };
    let opened = opened.ok_or(WRONG_PAYLOAD)?;
    let mut text = Vec::new();
    let limits = limits(cx);
    let value = payload::read(opened, &limits, &mut text).map_err(|corrupt| {
        tracing::warn!("cannot restore a key from its payload: {}", corrupt.0);
        BAD_FORMAT
    })?;

    let deadline_ms = match (ttl_ms, options.is_absolute) {
        (0, _) => None,
        (at_ms, true) => Some(at_ms),
        // Redis counts on beyond the end of 64 bits, which makes it a time long ago.
        (ttl_ms, false) => Some((ttl_ms + cx.now_ms) as i64).map(|at_ms| u64::try_from(at_ms).unwrap_or(0)),
    };
    if !cx.keyspace.is_replaying && deadline_ms.is_some_and(|deadline_ms| deadline_ms <= cx.now_ms) {
        cx.keyspace.delete(cx.db, key);
        reply.ok();
        return Ok(());
    }
    let clock = cx.keyspace.policy().told_clock(cx.now_ms, options.idle_seconds, options.frequency);
    cx.keyspace.restore(cx.db, key, value, deadline_ms, clock);
    reply.ok();
    Ok(())
}

/// What the directives say about the forms of values.
pub fn limits(cx: &mut Context<'_>) -> Limits {
    Limits {
        hash: hash::limits(cx),
        set: set::limits(cx),
        sorted_set: sorted_set::limits(cx),
        list: list::fill(cx),
        idempotency: stream::idempotency_limits(cx),
    }
}
