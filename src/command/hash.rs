//! The hash commands; those on deadlines of fields are in `expiry.rs`.
//!
//! What Redis 7.0 has answers as Redis 7.0.15 does, in replies, error texts, the order of checks and, in small hashes,
//! the order of fields. `HSCAN NOVALUES` is that of Redis 7.4.

use super::long_reply::{self, What};
use super::scan::{self, Scan};
use super::set::{DRAW_FACTOR, RANDOM_COUNT_MAX, RANGE, for_distinct, reply_element};
use super::{Args, Command, CommandResult, Context, Flags, Group, KeyAccess, Run};
use crate::keyspace::{Event, Expiry};
use crate::resp::{Error, Protocol, Reply};
use crate::structure::listpack::Element;
use crate::value::hash::{Deadline, Field, Hash, Limits};
use crate::value::number::{Extended, parse_integer};
use ahash::AHashSet;

mod expiry;
pub use expiry::COMMANDS as EXPIRY_COMMANDS;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const GROW_FAST: Flags = Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST);

const UNORDERED: &[&str] = &["nondeterministic_output_order"];
const RANDOM: &[&str] = &["nondeterministic_output"];
const OF_ALL_FIELDS: &str = "O(N) where N is the size of the hash.";
const OF_GIVEN_FIELDS: &str = "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with multiple \
     field/value pairs.";

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("HSET", Run::Keyspace(hset))
        .arity(-4)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::CHANGE)
        .docs(Group::Hash, "2.0.0", "Gives fields of a hash values.")
        .complexity(OF_GIVEN_FIELDS)
        .syntax("key field value [field value ...]"),
    Command::new("HMSET", Run::Keyspace(hmset))
        .arity(-4)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::CHANGE)
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs")
        .docs(Group::Hash, "2.0.0", "Gives fields of a hash values.")
        .complexity("O(N) where N is the number of fields being set.")
        .syntax("key field value [field value ...]"),
    Command::new("HSETNX", Run::Keyspace(hsetnx))
        .arity(4)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::ADD)
        .docs(Group::Hash, "2.0.0", "Gives a field of a hash a value if it has none.")
        .syntax("key field value"),
    Command::new("HGET", Run::Keyspace(hget))
        .arity(3)
        .key()
        .flags(READ_FAST)
        .docs(Group::Hash, "2.0.0", "Returns the value of a field of a hash.")
        .syntax("key field"),
    Command::new("HMGET", Run::Keyspace(hmget))
        .arity(-3)
        .key()
        .flags(READ_FAST)
        .docs(Group::Hash, "2.0.0", "Returns the values of fields of a hash.")
        .complexity("O(N) where N is the number of fields being requested.")
        .syntax("key field [field ...]"),
    Command::new("HGETALL", Run::Keyspace(hgetall))
        .arity(2)
        .key()
        .flags(READ)
        .docs(Group::Hash, "2.0.0", "Returns all fields of a hash with their values.")
        .complexity(OF_ALL_FIELDS)
        .syntax("key")
        .tips(UNORDERED),
    Command::new("HKEYS", Run::Keyspace(hkeys))
        .arity(2)
        .key()
        .flags(READ)
        .docs(Group::Hash, "2.0.0", "Returns all fields of a hash.")
        .complexity(OF_ALL_FIELDS)
        .syntax("key")
        .tips(UNORDERED),
    Command::new("HVALS", Run::Keyspace(hvals))
        .arity(2)
        .key()
        .flags(READ)
        .docs(Group::Hash, "2.0.0", "Returns all values of a hash.")
        .complexity(OF_ALL_FIELDS)
        .syntax("key")
        .tips(UNORDERED),
    Command::new("HDEL", Run::Keyspace(hdel))
        .arity(-3)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::DROP)
        .docs(Group::Hash, "2.0.0", "Removes fields from a hash.")
        .complexity("O(N) where N is the number of fields to be removed.")
        .syntax("key field [field ...]"),
    Command::new("HEXISTS", Run::Keyspace(hexists))
        .arity(3)
        .key()
        .flags(READ_FAST)
        .access(KeyAccess::RO)
        .docs(Group::Hash, "2.0.0", "Says whether a hash has a field.")
        .syntax("key field"),
    Command::new("HLEN", Run::Keyspace(hlen))
        .arity(2)
        .key()
        .flags(READ_FAST)
        .access(KeyAccess::RO)
        .docs(Group::Hash, "2.0.0", "Returns the number of fields of a hash.")
        .syntax("key"),
    Command::new("HSTRLEN", Run::Keyspace(hstrlen))
        .arity(3)
        .key()
        .flags(READ_FAST)
        .access(KeyAccess::RO)
        .docs(Group::Hash, "3.2.0", "Returns the length of the value of a field of a hash.")
        .syntax("key field"),
    Command::new("HINCRBY", Run::Keyspace(hincrby))
        .arity(4)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::READ_CHANGE)
        .docs(Group::Hash, "2.0.0", "Adds to the integer in a field of a hash.")
        .syntax("key field increment:integer"),
    Command::new("HINCRBYFLOAT", Run::Keyspace(hincrbyfloat))
        .arity(4)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::READ_CHANGE)
        .docs(Group::Hash, "2.6.0", "Adds to the float in a field of a hash.")
        .syntax("key field increment:double"),
    Command::new("HRANDFIELD", Run::Keyspace(hrandfield))
        .arity(-2)
        .key()
        .flags(READ)
        .docs(Group::Hash, "6.2.0", "Returns random fields of a hash.")
        .complexity("O(N) where N is the number of fields returned")
        .syntax("key [count [WITHVALUES]]")
        .tips(RANDOM),
    Command::new("HSCAN", Run::Keyspace(hscan))
        .arity(-3)
        .key()
        .flags(READ)
        .docs(Group::Hash, "2.8.0", "Iterates over the fields of a hash.")
        .complexity("O(1) for every call. O(N) for a complete iteration, where N is the number of fields.")
        .syntax("key cursor [MATCH pattern] [COUNT count] [NOVALUES@7.4.0]")
        .tips(RANDOM),
];

/// What the directives say now, and a seed for a table that may be made.
pub(super) fn limits(cx: &mut Context<'_>) -> Limits {
    Limits {
        listpack_len_max: cx.config.hash_max_listpack_entries,
        listpack_bytes_max: cx.config.hash_max_listpack_value,
        seed: cx.random.u64(..),
    }
}

fn reply_value(reply: &mut Reply<'_>, value: Option<Element<'_>>) {
    match value {
        Some(value) => reply_element(reply, value),
        None => reply.null(),
    }
}

// Writes

/// Changes the hash under a key, which is made if there is none, and notes the event if `change` says that there was
/// something to note.
fn change<R>(
    cx: &mut Context<'_>,
    key: &[u8],
    event: Event,
    change: impl FnOnce(&mut Hash) -> (R, bool),
) -> Result<R, Error> {
    let Some(mut hash) = cx.keyspace.container_mut::<Hash>(cx.db, key)? else {
        let mut hash = Hash::new();
        let (result, _) = change(&mut hash);
        if !hash.is_empty() {
            cx.keyspace.put(cx.db, key, hash.into(), Expiry::Clear, event);
        }
        return Ok(result);
    };
    let (result, is_changed) = change(&mut hash);
    drop(hash);
    if is_changed {
        cx.keyspace.changed(cx.db, key, event);
    }
    Ok(result)
}

/// Sets all fields; how many of them are new.
fn set_all(cx: &mut Context<'_>, args: &Args<'_>, command: &str) -> Result<usize, Error> {
    let (pairs, rest) = args[2..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Error::wrong_arity(command));
    }
    let (limits, now_ms) = (limits(cx), cx.now_ms);
    let added = change(cx, args[1], Event::HSET, |hash| {
        let longest_bytes = args[2..].iter().map(|word| word.len()).max().unwrap_or(0);
        hash.prepare(longest_bytes, args[2..].iter().map(|word| word.len() + 16).sum(), &limits);
        let set = |&&[name, value]: &&[&[u8]; 2]| hash.set(name, value, Deadline::Clear, now_ms, &limits);
        (pairs.iter().filter(set).count(), true)
    })?;
    cx.keyspace.dirty += pairs.len() as u64 - 1;
    Ok(added)
}

fn hset(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let added = set_all(cx, args, "hset")?;
    reply.integer(added as i64);
    Ok(())
}

fn hmset(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_all(cx, args, "hmset")?;
    reply.ok();
    Ok(())
}

fn hsetnx(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (limits, now_ms) = (limits(cx), cx.now_ms);
    let (name, value) = (args[2], args[3]);
    let is_set = change(cx, args[1], Event::HSET, |hash| {
        let is_new = hash.get(name, now_ms).is_none();
        if is_new {
            hash.set(name, value, Deadline::Clear, now_ms, &limits);
        }
        (is_new, is_new)
    })?;
    reply.integer(is_set.into());
    Ok(())
}

fn hdel(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, now_ms) = (args[1], cx.now_ms);
    let Some(mut hash) = cx.keyspace.container_mut::<Hash>(cx.db, key)? else {
        reply.integer(0);
        return Ok(());
    };
    let removed = args[2..].iter().filter(|name| hash.remove(name, now_ms)).count();
    let is_empty = hash.is_empty();
    drop(hash);
    if 0 < removed {
        cx.keyspace.changed_by(cx.db, key, Event::HDEL, removed as u64);
    }
    if is_empty {
        cx.keyspace.delete(cx.db, key);
    }
    reply.integer(removed as i64);
    Ok(())
}

fn hincrby(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let increment = parse_integer(args[3]).ok_or(Error::NOT_INTEGER)?;
    let (limits, now_ms, name) = (limits(cx), cx.now_ms, args[2]);
    let add = |hash: &mut Hash| -> Result<i64, Error> {
        let old = match hash.get(name, now_ms) {
            Some(value) => value.integer().ok_or(Error::fixed("ERR hash value is not an integer"))?,
            None => 0,
        };
        let new = old.checked_add(increment).ok_or(Error::OVERFLOW)?;
        hash.set(name, itoa::Buffer::new().format(new).as_bytes(), Deadline::Keep, now_ms, &limits);
        Ok(new)
    };
    let new = change(cx, args[1], Event::HINCRBY, |hash| {
        let new = add(hash);
        let is_changed = new.is_ok();
        (new, is_changed)
    })??;
    reply.integer(new);
    Ok(())
}

fn hincrbyfloat(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let increment = Extended::parse(args[3]).ok_or(Error::NOT_FLOAT)?;
    if !increment.is_finite() {
        return Err(Error::NOT_FINITE);
    }
    let (limits, now_ms, name) = (limits(cx), cx.now_ms, args[2]);
    let add = |hash: &mut Hash| -> Result<Vec<u8>, Error> {
        let old = match hash.get(name, now_ms) {
            Some(Element::Integer(integer)) => Extended::from_integer(integer),
            Some(Element::Bytes(bytes)) => {
                Extended::parse(bytes).ok_or(Error::fixed("ERR hash value is not a float"))?
            }
            None => Extended::ZERO,
        };
        let new = old.add(increment).filter(|sum| sum.is_finite()).ok_or(Error::INCREMENT_NOT_FINITE)?;
        let mut text = Vec::new();
        new.write_human(&mut text);
        hash.set(name, &text, Deadline::Keep, now_ms, &limits);
        Ok(text)
    };
    let text = change(cx, args[1], Event::HINCRBYFLOAT, |hash| {
        let text = add(hash);
        let is_changed = text.is_ok();
        (text, is_changed)
    })??;
    reply.bulk(&text);
    Ok(())
}

// Reads

fn hget(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = cx.now_ms;
    let hash = cx.keyspace.read_container::<Hash>(cx.db, args[1])?;
    reply_value(reply, hash.and_then(|hash| hash.get(args[2], now_ms)));
    Ok(())
}

fn hmget(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = cx.now_ms;
    let hash = cx.keyspace.read_container::<Hash>(cx.db, args[1])?;
    reply.array(args.len() - 2);
    for name in &args[2..] {
        reply_value(reply, hash.and_then(|hash| hash.get(name, now_ms)));
    }
    Ok(())
}

fn hexists(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = cx.now_ms;
    let hash = cx.keyspace.read_container::<Hash>(cx.db, args[1])?;
    reply.integer(hash.is_some_and(|hash| hash.get(args[2], now_ms).is_some()).into());
    Ok(())
}

fn hstrlen(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = cx.now_ms;
    let hash = cx.keyspace.read_container::<Hash>(cx.db, args[1])?;
    reply.integer(hash.and_then(|hash| hash.get(args[2], now_ms)).map_or(0, Element::len) as i64);
    Ok(())
}

fn hlen(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let hash = cx.keyspace.read_container::<Hash>(cx.db, args[1])?;
    reply.integer(hash.map_or(0, Hash::len) as i64);
    Ok(())
}

fn hgetall(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = cx.now_ms;
    let Some(hash) = cx.keyspace.read_container::<Hash>(cx.db, args[1])? else {
        reply.map(0);
        return Ok(());
    };
    if !hash.is_due(now_ms)
        && long_reply::leave(&mut cx.long_reply, hash.len(), What::Fields { names: true, values: true })
    {
        return Ok(());
    }
    let mark = reply.defer_about(hash.len());
    let mut pairs = 0;
    for field in hash.iter(now_ms) {
        write_field(reply, &field, true, true);
        pairs += 1;
    }
    reply.finish_map(mark, pairs);
    Ok(())
}

fn hkeys(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply_all(cx, args[1], true, reply)
}

fn hvals(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply_all(cx, args[1], false, reply)
}

/// The parts of a field that are asked for.
#[inline]
pub(super) fn write_field(reply: &mut Reply<'_>, field: &Field<'_>, names: bool, values: bool) {
    if names {
        reply_element(reply, field.name);
    }
    if values {
        reply_element(reply, field.value);
    }
}

/// The names of all fields, or their values.
fn reply_all(cx: &mut Context<'_>, key: &[u8], names: bool, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = cx.now_ms;
    let Some(hash) = cx.keyspace.read_container::<Hash>(cx.db, key)? else {
        reply.array(0);
        return Ok(());
    };
    let what = What::Fields { names, values: !names };
    if !hash.is_due(now_ms) && long_reply::leave(&mut cx.long_reply, hash.len(), what) {
        return Ok(());
    }
    let mark = reply.defer_about(hash.len());
    let mut len = 0;
    for field in hash.iter(now_ms) {
        write_field(reply, &field, names, !names);
        len += 1;
    }
    reply.finish_array(mark, len);
    Ok(())
}

fn hrandfield(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now_ms = cx.now_ms;
    let random = &mut *cx.random;
    let Some(count) = args.get(2) else {
        match cx.keyspace.read_container::<Hash>(cx.db, args[1])? {
            Some(hash) => match live_random(hash, now_ms, random) {
                Some(field) => reply_element(reply, field.name),
                None => reply.null(),
            },
            None => reply.null(),
        }
        return Ok(());
    };
    let count = parse_integer(count).ok_or(Error::NOT_INTEGER)?;
    if count == i64::MIN {
        return Err(RANGE);
    }
    let with_values = match args[3..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(Error::SYNTAX),
    };
    if with_values && (i64::MAX as u64) / 2 < count.unsigned_abs() {
        return Err(Error::VALUE_OUT_OF_RANGE);
    }
    let Some(hash) = cx.keyspace.read_container::<Hash>(cx.db, args[1])? else {
        reply.array(0);
        return Ok(());
    };
    let is_flat = reply.protocol() == Protocol::Resp2;
    let reply_field = |reply: &mut Reply<'_>, field: Field<'_>| {
        if with_values && !is_flat {
            reply.array(2);
        }
        reply_element(reply, field.name);
        if with_values {
            reply_element(reply, field.value);
        }
    };
    let header = |len: usize| if with_values && is_flat { 2 * len } else { len };
    let wanted = count.unsigned_abs() as usize;
    if count < 0 {
        if RANDOM_COUNT_MAX < wanted {
            return Err(Error::VALUE_OUT_OF_RANGE);
        }
        let mark = reply.defer_about(header(wanted));
        let mut len = 0;
        while len < wanted
            && let Some(field) = live_random(hash, now_ms, random)
        {
            reply_field(reply, field);
            len += 1;
        }
        reply.finish_array(mark, header(len));
        return Ok(());
    }
    // Expired fields are counted where they exist.
    let live_len = if hash.timed_len() == 0 { hash.len() } else { hash.iter(now_ms).count() };
    if live_len <= wanted {
        reply.array(header(live_len));
        hash.iter(now_ms).for_each(|field| reply_field(reply, field));
    } else if live_len < wanted.saturating_mul(DRAW_FACTOR) {
        reply.array(header(wanted));
        for_distinct(live_len, wanted, || random.u64(..), hash.iter(now_ms), |field| reply_field(reply, field));
    } else {
        reply.array(header(wanted));
        let mut drawn: AHashSet<Vec<u8>> = AHashSet::with_capacity(wanted);
        while drawn.len() < wanted
            && let Some(field) = live_random(hash, now_ms, random)
        {
            if drawn.insert(field.name.to_vec()) {
                reply_field(reply, field);
            }
        }
    }
    Ok(())
}

/// A random field whose deadline has not come. `None` if there is none.
fn live_random<'a>(hash: &'a Hash, now_ms: u64, random: &mut fastrand::Rng) -> Option<Field<'a>> {
    /// Draws before the live fields are counted.
    const DRAWS_MAX: usize = 100;
    for _ in 0..DRAWS_MAX {
        let field = hash.random(|| random.u64(..))?;
        if field.deadline_ms.is_none_or(|deadline_ms| now_ms < deadline_ms) {
            return Some(field);
        }
    }
    let live_len = hash.iter(now_ms).count();
    hash.iter(now_ms).nth(random.usize(..live_len.max(1)))
}

fn hscan(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let cursor = scan::cursor(args[2])?;
    let now_ms = cx.now_ms;
    let Some(hash) = cx.keyspace.read_container::<Hash>(cx.db, args[1])? else {
        scan::reply_empty(reply);
        return Ok(());
    };
    let scan = Scan::parse(&args[3..], true)?;
    scan.reply(reply, |reply| {
        let (mut len, mut digits) = (0, itoa::Buffer::new());
        let next = hash.scan(cursor, scan.count, now_ms, |field| {
            let name = field.name.bytes(&mut digits);
            if scan.pattern.matches(name) {
                reply.bulk(name);
                len += 1;
                if !scan.no_values {
                    reply_element(reply, field.value);
                    len += 1;
                }
            }
        });
        (len, next)
    });
    Ok(())
}
