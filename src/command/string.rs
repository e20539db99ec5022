//! The string commands.
//!
//! What Redis 7.0 has answers as Redis 7.0.15 does, in replies, error texts and the order of checks. The newer ones
//! follow the documentation and the public test suites of those who brought them: `SET IFEQ|IFNE|IFDEQ|IFDNE`, `DELEX`,
//! `DIGEST` and `MSETEX` Redis 8.4, `INCREX` Redis 8.8 (with `NX|XX` of Valkey 9.2), `DELIFEQ` Valkey 9.0.
//!
//! `GET` and `SET` without options are what a cache mostly does; they look up once and write once.

use super::key_spec::Find;
use super::{
    Args, Command, CommandResult, Context, Flags, Gather, Group, Growth, Journal, KeyAccess, KeySpec, Keys, Run, Spread,
};
use crate::keyspace::{Event, Expiry, Keyspace};
use crate::resp::{Error, Reply};
use crate::value::number::{self, Extended};
use crate::value::{StringRef, Value};
use bytes::Bytes;
use std::cmp::Ordering;
use xxhash_rust::xxh3::xxh3_64;

mod lcs;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.union(Flags::FAST);

const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("GET", Run::Keyspace(get))
        .arity(2)
        .key()
        .flags(READ_FAST)
        .docs(Group::String, "1.0.0", "Returns the string under a key.")
        .syntax("key"),
    Command::new("SET", Run::Keyspace(set))
        .journal(Journal::CallOf(3))
        .arity(-3)
        .key()
        .flags(GROW)
        .access(KeyAccess::READ_CHANGE.union(KeyAccess::VARIABLE_FLAGS))
        .access_of(set_access)
        .docs(Group::String, "1.0.0", "Puts a string under a key, whatever was there, if a condition holds.")
        .syntax(
            "key value \
             [NX|XX|IFEQ ifeq-value|IFNE ifne-value|IFDEQ ifdeq-digest|IFDNE ifdne-digest] [GET] \
             [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
        ),
    Command::new("GETSET", Run::Keyspace(getset))
        .arity(3)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::READ_CHANGE)
        .deprecated("6.2.0", "`SET` with the `!GET` argument")
        .docs(Group::String, "1.0.0", "Puts a string under a key and returns the one that was there.")
        .syntax("key value"),
    Command::new("GETDEL", Run::Keyspace(getdel))
        .arity(2)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::TAKE)
        .docs(Group::String, "6.2.0", "Returns the string under a key and deletes the key.")
        .syntax("key"),
    Command::new("GETEX", Run::Keyspace(getex))
        .journal(Journal::Deadline)
        .arity(-2)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::READ_CHANGE)
        .docs(Group::String, "6.2.0", "Returns the string under a key and changes when the key expires.")
        .syntax(
            "key \
             [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]",
        ),
    Command::new("SETNX", Run::Keyspace(setnx))
        .arity(3)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::OW.union(KeyAccess::INSERT))
        .docs(Group::String, "1.0.0", "Puts a string under a key that does not exist yet.")
        .syntax("key value"),
    Command::new("SETEX", Run::Keyspace(setex))
        .journal(Journal::State)
        .arity(4)
        .key()
        .flags(GROW)
        .access(KeyAccess::OVERWRITE)
        .docs(Group::String, "2.0.0", "Puts a string under a key that expires after some seconds.")
        .syntax("key seconds value"),
    Command::new("PSETEX", Run::Keyspace(psetex))
        .journal(Journal::State)
        .arity(4)
        .key()
        .flags(GROW)
        .access(KeyAccess::OVERWRITE)
        .docs(Group::String, "2.6.0", "Puts a string under a key that expires after some milliseconds.")
        .syntax("key milliseconds value"),
    Command::new("MGET", Run::Keyspace(mget))
        .arity(-2)
        .keys(Keys::Range { first: 1, last: -1, step: 1 })
        .flags(READ_FAST)
        .spread(Spread::Split(Gather::ByKey))
        .docs(Group::String, "1.0.0", "Returns the strings under several keys.")
        .complexity("O(N) where N is the number of keys")
        .syntax("key [key ...]")
        .tips(&["request_policy:multi_shard"]),
    Command::new("MSET", Run::Keyspace(mset))
        .arity(-3)
        .keys(PAIRS)
        .flags(GROW)
        .access(KeyAccess::OVERWRITE)
        .spread(Spread::Split(Gather::Ok))
        .docs(Group::String, "1.0.1", "Puts strings under several keys.")
        .complexity("O(N) where N is the number of keys")
        .syntax("key value [key value ...]")
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
    Command::new("MSETNX", Run::Keyspace(msetnx))
        .arity(-3)
        .keys(PAIRS)
        .flags(GROW)
        .access(KeyAccess::OW.union(KeyAccess::INSERT))
        .docs(Group::String, "1.0.1", "Puts strings under several keys if none of them exists yet.")
        .complexity("O(N) where N is the number of keys")
        .syntax("key value [key value ...]")
        .tips(&["request_policy:multi_shard", "response_policy:agg_min"]),
    Command::new("MSETEX", Run::Keyspace(msetex))
        .arity(-4)
        .keys(Keys::Custom(msetex_keys))
        .key_specs(&[KeySpec::counted(1, KeyAccess::OVERWRITE).find(Find::Count { step: 2 })])
        .flags(GROW.union(Flags::MOVABLEKEYS))
        .docs(Group::String, "8.4.0", "Puts strings under several keys, with one deadline, if a condition holds.")
        .complexity("O(N) where N is the number of keys")
        .syntax(
            "numkeys key value [key value ...] [NX|XX] \
             [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
        )
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
    Command::new("INCR", Run::Keyspace(incr))
        .arity(2)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::READ_CHANGE)
        .docs(Group::String, "1.0.0", "Adds one to the integer under a key.")
        .syntax("key"),
    Command::new("DECR", Run::Keyspace(decr))
        .arity(2)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::READ_CHANGE)
        .docs(Group::String, "1.0.0", "Takes one from the integer under a key.")
        .syntax("key"),
    Command::new("INCRBY", Run::Keyspace(incrby))
        .arity(3)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::READ_CHANGE)
        .docs(Group::String, "1.0.0", "Adds to the integer under a key.")
        .syntax("key increment"),
    Command::new("DECRBY", Run::Keyspace(decrby))
        .arity(3)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::READ_CHANGE)
        .docs(Group::String, "1.0.0", "Takes from the integer under a key.")
        .syntax("key decrement"),
    Command::new("INCRBYFLOAT", Run::Keyspace(incrbyfloat))
        .journal(Journal::State)
        .arity(3)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::READ_CHANGE)
        .docs(Group::String, "2.6.0", "Adds to the number under a key, which may have decimals.")
        .syntax("key increment:double"),
    Command::new("INCREX", Run::Keyspace(increx))
        .arity(-2)
        .key()
        .flags(GROW_FAST)
        .docs(Group::String, "8.8.0", "Adds to the number under a key within bounds and changes when the key expires.")
        .syntax(
            "key [NX|XX] [BYFLOAT increment|BYINT increment] [LBOUND lowerbound] [UBOUND upperbound] [SATURATE] \
             [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST] [ENX]",
        ),
    Command::new("APPEND", Run::Keyspace(append))
        .arity(3)
        .key()
        .flags(GROW_FAST)
        .access(KeyAccess::ADD)
        .docs(Group::String, "2.0.0", "Appends to the string under a key.")
        .complexity("O(N) where N is the length of what is appended")
        .syntax("key value"),
    Command::new("STRLEN", Run::Keyspace(strlen))
        .arity(2)
        .key()
        .flags(READ_FAST)
        .access(KeyAccess::RO)
        .docs(Group::String, "2.2.0", "Returns the length of the string under a key.")
        .syntax("key"),
    Command::new("SETRANGE", Run::Keyspace(setrange))
        .arity(4)
        .key()
        .flags(GROW)
        .grows(range_growth)
        .docs(Group::String, "2.2.0", "Overwrites part of the string under a key, which grows where needed.")
        .complexity("O(N) where N is the length of the value; growing the string may copy it")
        .syntax("key offset value"),
    Command::new("GETRANGE", Run::Keyspace(getrange))
        .arity(4)
        .key()
        .flags(READ)
        .docs(Group::String, "2.4.0", "Returns part of the string under a key.")
        .complexity("O(N) where N is the length of the part")
        .syntax("key start end"),
    Command::new("SUBSTR", Run::Keyspace(getrange))
        .arity(4)
        .key()
        .flags(READ)
        .deprecated("2.0.0", "`GETRANGE`")
        .docs(Group::String, "1.0.0", "Returns part of the string under a key; an old name of GETRANGE.")
        .complexity("O(N) where N is the length of the part")
        .syntax("key start end"),
    Command::new("LCS", Run::Keyspace(lcs))
        .arity(-3)
        .keys(Keys::Range { first: 1, last: 2, step: 1 })
        .flags(READ)
        .docs(Group::String, "7.0.0", "Finds the longest common subsequence of the strings under two keys.")
        .complexity("O(N*M) where N and M are the lengths of the strings")
        .syntax("key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]"),
    Command::new("DELIFEQ", Run::Keyspace(delifeq))
        .arity(3)
        .key()
        .flags(WRITE)
        .access(KeyAccess::REMOVE)
        .docs(Group::String, "Valkey 9.0.0", "Deletes a key if it holds a given string.")
        .syntax("key value"),
    Command::new("DELEX", Run::Keyspace(delex))
        .arity(-2)
        .key()
        .flags(WRITE_FAST)
        .access(KeyAccess::REMOVE)
        .docs(Group::String, "8.4.0", "Deletes a key if its string or the digest of it is, or is not, a given one.")
        .complexity("O(1) for IFEQ and IFNE, O(N) for IFDEQ and IFDNE where N is the length of the string")
        .syntax("key [IFEQ ifeq-value|IFNE ifne-value|IFDEQ ifdeq-digest|IFDNE ifdne-digest]"),
    Command::new("DIGEST", Run::Keyspace(digest))
        .arity(2)
        .key()
        .flags(READ_FAST)
        .docs(Group::String, "8.4.0", "Returns the XXH3 hash of the string under a key in hexadecimal.")
        .complexity("O(N) where N is the length of the string")
        .syntax("key"),
];

/// `SET` tells of the old string with `GET`, and of what it is like with a condition on it.
fn set_access(args: &Args<'_>) -> KeyAccess {
    const READING: [&[u8]; 5] = [b"GET", b"IFEQ", b"IFNE", b"IFDEQ", b"IFDNE"];
    let options = args.iter().skip(3);
    let is_reading = options.into_iter().any(|word| READING.iter().any(|option| word.eq_ignore_ascii_case(option)));
    if is_reading { KeyAccess::READ_CHANGE } else { KeyAccess::OVERWRITE }
}

// Reading

#[inline]
fn get(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let string = cx.keyspace.read_string(cx.db, args[1])?;
    if is_sent_long(reply, string) {
        reply_long(cx, args[1], reply);
    } else {
        reply_string(reply, string);
    }
    Ok(())
}

fn getdel(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if read_and_reply(cx, args[1], reply)? {
        cx.keyspace.delete(cx.db, args[1]);
    }
    Ok(())
}

fn getex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let options = Options::parse(&args[2..], Takes { persist: true, ..Takes::default() })?;
    let key = args[1];
    if cx.keyspace.read_string(cx.db, key)?.is_none() {
        reply.null();
        return Ok(());
    }
    // Only now, as in Redis: without a key there is nothing wrong with any deadline.
    let deadline_ms = options.deadline.unix_ms(cx.now_ms, "getex")?;
    let string = cx.keyspace.peek_string(cx.db, key)?;
    if is_sent_long(reply, string) {
        reply_long(cx, key, reply);
    } else {
        reply_string(reply, string);
    }
    if let Some(deadline_ms) = deadline_ms {
        cx.keyspace.set_deadline(cx.db, key, deadline_ms);
    } else if let Deadline::Persist = options.deadline {
        cx.keyspace.persist(cx.db, key);
    }
    Ok(())
}

fn mget(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(args.len() - 1);
    for key in &args[1..] {
        let string = cx.keyspace.read_string(cx.db, key).unwrap_or(None);
        if is_sent_long(reply, string) {
            reply_long(cx, key, reply);
        } else {
            reply_string(reply, string);
        }
    }
    Ok(())
}

fn strlen(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let string = cx.keyspace.read_string(cx.db, args[1])?;
    reply.integer(string.map_or(0, |string| string.len() as i64));
    Ok(())
}

/// `GETRANGE` and `SUBSTR`.
fn getrange(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let start = parse_integer(args[2])?;
    let end = parse_integer(args[3])?;
    let mut digits = itoa::Buffer::new();
    let text = match cx.keyspace.read_string(cx.db, args[1])? {
        Some(string) => string.bytes(&mut digits),
        None => b"",
    };
    // Bytes start ..= end, both counted from the end where negative and moved into the string where outside. Two
    // negative ones are compared before that, so that -1 -100 is empty, though 0 -100 is the first byte.
    let len = text.len() as i64;
    let crossed = start < 0 && end < 0 && end < start;
    let from_start = |index: i64| if index < 0 { (len + index).max(0) } else { index };
    let (first, last) = (from_start(start), from_start(end).min(len - 1));
    let range = if crossed || last < first { 0..0 } else { first as usize..last as usize + 1 };
    if reply.takes_long(range.len()) {
        reply.bulk_long(shared(cx, args[1]).slice(range));
    } else {
        reply.bulk(&text[range]);
    }
    Ok(())
}

fn digest(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match cx.keyspace.read_string(cx.db, args[1])? {
        Some(string) => reply.bulk(digest_text(string.bytes(&mut itoa::Buffer::new()))),
        None => reply.null(),
    }
    Ok(())
}

/// Reads a string and writes it, or null; whether there is one.
fn read_and_reply(cx: &mut Context<'_>, key: &[u8], reply: &mut Reply<'_>) -> Result<bool, Error> {
    let string = cx.keyspace.read_string(cx.db, key)?;
    let is_there = string.is_some();
    if is_sent_long(reply, string) {
        reply_long(cx, key, reply);
    } else {
        reply_string(reply, string);
    }
    Ok(is_there)
}

/// Whether a string is so long that it is to be sent from where it lies.
#[inline]
fn is_sent_long(reply: &Reply<'_>, string: Option<StringRef<'_>>) -> bool {
    matches!(string, Some(StringRef::Bytes(bytes)) if reply.takes_long(bytes.len()))
}

/// Writes a long string that was just read, without copying it.
#[cold]
fn reply_long(cx: &Context<'_>, key: &[u8], reply: &mut Reply<'_>) {
    reply.bulk_long(shared(cx, key));
}

/// A long string that was just read.
fn shared(cx: &Context<'_>, key: &[u8]) -> Bytes {
    cx.keyspace.long_string(cx.db, key).expect("no other string is so long").to_shared()
}

/// Writes a string or null.
#[inline]
fn reply_string(reply: &mut Reply<'_>, string: Option<StringRef<'_>>) {
    match string {
        Some(StringRef::Bytes(bytes)) => reply.bulk(bytes),
        Some(StringRef::Integer(integer)) => reply.bulk_integer(integer),
        None => reply.null(),
    }
}

/// The XXH3 hash of 64 bits, without a seed, as 16 hexadecimal digits.
fn digest_text(bytes: &[u8]) -> [u8; DIGEST_LEN] {
    let hash = xxh3_64(bytes);
    std::array::from_fn(|i| b"0123456789abcdef"[(hash >> (60 - 4 * i) & 15) as usize])
}

/// Hexadecimal digits of a digest.
const DIGEST_LEN: usize = 16;

fn lcs(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key_a, key_b) = (args[1], args[2]);
    let types = [key_a, key_b].map(|key| cx.keyspace.read_string(cx.db, key).err());
    if types != [None, None] {
        return Err(Error::fixed("ERR The specified keys must contain string values"));
    }
    let (mut wants_len, mut wants_indexes, mut wants_match_len, mut match_len_min) = (false, false, false, 0);
    let mut rest = &args[3..];
    while let [option, tail @ ..] = rest {
        rest = tail;
        if option.eq_ignore_ascii_case(b"IDX") {
            wants_indexes = true;
        } else if option.eq_ignore_ascii_case(b"LEN") {
            wants_len = true;
        } else if option.eq_ignore_ascii_case(b"WITHMATCHLEN") {
            wants_match_len = true;
        } else if option.eq_ignore_ascii_case(b"MINMATCHLEN")
            && let [value, tail @ ..] = rest
        {
            match_len_min = parse_integer(value)?;
            rest = tail;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    if wants_indexes && wants_len {
        return Err(Error::fixed("ERR If you want both the length and indexes, please just use IDX."));
    }

    let keyspace: &Keyspace = cx.keyspace;
    let (mut digits_a, mut digits_b) = (itoa::Buffer::new(), itoa::Buffer::new());
    let string_a = keyspace.peek_string(cx.db, key_a)?;
    let string_b = keyspace.peek_string(cx.db, key_b)?;
    let a = string_a.map_or(&b""[..], |string| string.bytes(&mut digits_a));
    let b = string_b.map_or(&b""[..], |string| string.bytes(&mut digits_b));
    if (LCS_LEN_MAX..).contains(&a.len().max(b.len())) {
        return Err(Error::fixed("ERR String too long for LCS"));
    }
    // The limit of Redis, whose table has 32-bit numbers: ours takes a sixteenth at most.
    let table_bytes = (a.len() as u128 + 1) * (b.len() as u128 + 1) * 4;
    if u128::from(cx.config.proto_max_bulk_len) < table_bytes {
        return Err(Error::fixed("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"));
    }
    let no_memory = |_| Error::fixed("ERR Insufficient memory, failed allocating transient memory for LCS");
    if wants_len {
        reply.integer(lcs::length(a, b).map_err(no_memory)? as i64);
        return Ok(());
    }
    let stretches = lcs::stretches(a, b).map_err(no_memory)?;
    let len: usize = stretches.iter().map(|stretch| stretch.len).sum();
    if !wants_indexes {
        reply.bulk_header(len);
        for stretch in stretches.iter().rev() {
            reply.raw(&a[stretch.a_start..stretch.a_start + stretch.len]);
        }
        reply.raw(b"\r\n");
        return Ok(());
    }
    let is_shown = |stretch: &&lcs::Stretch| match_len_min <= stretch.len as i64;
    reply.map(2);
    reply.bulk("matches");
    reply.array(stretches.iter().filter(is_shown).count());
    for stretch in stretches.iter().filter(is_shown) {
        reply.array(2 + usize::from(wants_match_len));
        for start in [stretch.a_start, stretch.b_start] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + stretch.len - 1) as i64);
        }
        if wants_match_len {
            reply.integer(stretch.len as i64);
        }
    }
    reply.bulk("len");
    reply.integer(len as i64);
    Ok(())
}

/// From this length on Redis refuses to count in 32 bits.
const LCS_LEN_MAX: usize = u32::MAX as usize - 1;

// Writing

#[inline]
fn set(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if let [_, key, value] = args {
        cx.keyspace.set_string(cx.db, key, value, Expiry::Clear);
        reply.ok();
        return Ok(());
    }
    set_with_options(cx, args, reply)
}

fn set_with_options(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let takes = Takes { exists: true, compare: true, get: true, keep: true, ..Takes::default() };
    let options = Options::parse(&args[3..], takes)?;
    let (key, value) = (args[1], args[2]);
    let expiry = options.expiry(cx.now_ms, "set")?;
    if options.get {
        read_and_reply(cx, key, reply)?;
    }
    let holds = options.condition.holds(cx, key)?;
    if holds {
        cx.keyspace.set_string(cx.db, key, value, expiry);
    }
    match (options.get, holds) {
        (true, _) => {}
        (false, true) => reply.ok(),
        (false, false) => reply.null(),
    }
    Ok(())
}

fn getset(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    read_and_reply(cx, args[1], reply)?;
    cx.keyspace.set_string(cx.db, args[1], args[2], Expiry::Clear);
    Ok(())
}

fn setnx(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let is_new = !cx.keyspace.contains(cx.db, args[1]);
    if is_new {
        cx.keyspace.set_string(cx.db, args[1], args[2], Expiry::Clear);
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

fn setex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_for(cx, args, Unit::Seconds, "setex", reply)
}

fn psetex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_for(cx, args, Unit::Milliseconds, "psetex", reply)
}

fn set_for(cx: &mut Context<'_>, args: &Args<'_>, unit: Unit, command: &str, reply: &mut Reply<'_>) -> CommandResult {
    let deadline_ms = deadline_ms(args[2], unit, Some(cx.now_ms), command)?;
    cx.keyspace.set_string(cx.db, args[1], args[3], Expiry::At(deadline_ms));
    reply.ok();
    Ok(())
}

fn mset(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let pairs = pairs(&args[1..]).ok_or_else(|| Error::wrong_arity("mset"))?;
    for [key, value] in pairs {
        cx.keyspace.set_string(cx.db, key, value, Expiry::Clear);
    }
    reply.ok();
    Ok(())
}

fn msetnx(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let pairs = pairs(&args[1..]).ok_or_else(|| Error::wrong_arity("msetnx"))?;
    set_all(cx, pairs, &Condition::Missing, Expiry::Clear, reply)
}

fn msetex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let count = msetex_count(args[1]).ok_or(Error::fixed("ERR invalid numkeys value"))?;
    let (data, rest) =
        args[2..].split_at_checked(2 * count).ok_or(Error::fixed("ERR wrong number of key-value pairs"))?;
    let options = Options::parse(rest, Takes { exists: true, keep: true, ..Takes::default() })?;
    let expiry = options.expiry(cx.now_ms, "msetex")?;
    let pairs = pairs(data).expect("an even number of words was split off");
    set_all(cx, pairs, &options.condition, expiry, reply)
}

/// The number of pairs that a client announces, up to the greatest `int` of C, so that twice as many can be counted.
fn msetex_count(word: &[u8]) -> Option<usize> {
    let count = number::parse_integer(word)?;
    (0 < count && count <= i64::from(i32::MAX)).then_some(count as usize)
}

fn msetex_keys(args: &Args<'_>, positions: &mut Vec<usize>) {
    let count = args.get(1).and_then(|word| msetex_count(word)).unwrap_or(0);
    if 2 * count + 2 <= args.len() {
        positions.extend((0..count).map(|pair| 2 + 2 * pair));
    }
}

/// Sets all keys if the condition, which is about existence, holds for each of them; replies whether.
fn set_all(
    cx: &mut Context<'_>,
    pairs: &[[&[u8]; 2]],
    condition: &Condition<'_>,
    expiry: Expiry,
    reply: &mut Reply<'_>,
) -> CommandResult {
    for [key, _] in pairs {
        if !condition.holds(cx, key)? {
            reply.integer(0);
            return Ok(());
        }
    }
    for [key, value] in pairs {
        cx.keyspace.set_string(cx.db, key, value, expiry);
    }
    reply.integer(1);
    Ok(())
}

/// Keys with their values; `None` if a value is missing.
fn pairs<'b, 'a>(words: &'b [&'a [u8]]) -> Option<&'b [[&'a [u8]; 2]]> {
    match words.as_chunks() {
        (pairs, []) => Some(pairs),
        _ => None,
    }
}

fn append(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, value) = (args[1], args[2]);
    // A key that does not exist is not compared with the limit: the value alone came in under it.
    if let Some(string) = cx.keyspace.peek_string(cx.db, key)? {
        check_len(cx, string.len() as u64, value)?;
    }
    let len = cx.keyspace.append(cx.db, key, value)?;
    reply.integer(len as i64);
    Ok(())
}

/// Up to where `SETRANGE` writes.
fn range_growth(args: &Args<'_>, _: &dyn Fn(&[u8]) -> usize) -> Option<Growth> {
    let offset = usize::try_from(parse_integer(args[2]).ok()?).ok()?;
    let bytes = offset.checked_add(args[3].len())?;
    (!args[3].is_empty()).then_some(Growth { key: 1, bytes })
}

fn setrange(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let offset = parse_integer(args[2])?;
    let offset = u64::try_from(offset).map_err(|_| Error::OFFSET_OUT_OF_RANGE)?;
    let (key, value) = (args[1], args[3]);
    let old_len = cx.keyspace.string_for_write(cx.db, key)?.map_or(0, StringRef::len);
    if value.is_empty() {
        reply.integer(old_len as i64);
        return Ok(());
    }
    check_len(cx, offset, value)?;
    let len = cx.keyspace.set_range(cx.db, key, offset as usize, value)?;
    reply.integer(len as i64);
    Ok(())
}

/// Whether a string may have `value` from `offset` on.
fn check_len(cx: &Context<'_>, offset: u64, value: &[u8]) -> CommandResult {
    let len = offset.checked_add(value.len() as u64);
    let fits = len.is_some_and(|len| len <= cx.config.proto_max_bulk_len);
    if fits { Ok(()) } else { Err(Error::STRING_TOO_LONG) }
}

fn delifeq(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    delete_if(cx, args[1], &Condition::Equal(args[2]), reply)
}

fn delex(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, word, operand) = match *args {
        [_, key] => {
            let deleted = cx.keyspace.delete(cx.db, key);
            reply.integer(i64::from(deleted));
            return Ok(());
        }
        [_, key, word, operand] => (key, word, operand),
        _ => return Err(Error::wrong_arity("delex")),
    };
    // Checked in this order: with no such key, no condition is wrong.
    match cx.keyspace.string_for_write(cx.db, key) {
        Ok(None) => {
            reply.integer(0);
            Ok(())
        }
        Ok(Some(_)) => {
            let condition = Condition::comparison(word, operand)
                .ok_or(Error::fixed("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"))?;
            delete_if(cx, key, &condition, reply)
        }
        Err(_) => Err(Error::fixed("ERR Key should be of string type if conditions are specified")),
    }
}

/// Deletes a string if it exists and a comparison holds; replies whether.
fn delete_if(cx: &mut Context<'_>, key: &[u8], condition: &Condition<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let deleted = match cx.keyspace.string_for_write(cx.db, key)? {
        Some(string) => condition.holds_for(string)? && cx.keyspace.delete(cx.db, key),
        None => false,
    };
    reply.integer(i64::from(deleted));
    Ok(())
}

// Counting

fn incr(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    add(cx, args[1], 1, reply)
}

fn decr(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    add(cx, args[1], -1, reply)
}

fn incrby(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    add(cx, args[1], parse_integer(args[2])?, reply)
}

fn decrby(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let decrement = parse_integer(args[2])?;
    add(cx, args[1], decrement.checked_neg().ok_or(Error::DECREMENT_OVERFLOW)?, reply)
}

#[inline]
fn add(cx: &mut Context<'_>, key: &[u8], increment: i64, reply: &mut Reply<'_>) -> CommandResult {
    let old = integer_under(cx, key)?.unwrap_or(0);
    let new = old.checked_add(increment).ok_or(Error::OVERFLOW)?;
    cx.keyspace.set_integer(cx.db, key, new);
    reply.integer(new);
    Ok(())
}

fn incrbyfloat(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let key = args[1];
    let old = float_under(cx, key)?.unwrap_or(Extended::ZERO);
    let increment = Extended::parse(args[2]).ok_or(Error::NOT_FLOAT)?;
    let new = old.add(increment).filter(|sum| sum.is_finite()).ok_or(Error::INCREMENT_NOT_FINITE)?;
    let mut text = Vec::new();
    new.write_human(&mut text);
    cx.keyspace.put(cx.db, key, Value::String(&text), Expiry::Keep, Event::INCRBYFLOAT);
    reply.bulk(&text);
    Ok(())
}

fn integer_under(cx: &mut Context<'_>, key: &[u8]) -> Result<Option<i64>, Error> {
    match cx.keyspace.string_for_write(cx.db, key)? {
        Some(string) => string.integer().map(Some).ok_or(Error::NOT_INTEGER),
        None => Ok(None),
    }
}

fn float_under(cx: &mut Context<'_>, key: &[u8]) -> Result<Option<Extended>, Error> {
    match cx.keyspace.string_for_write(cx.db, key)? {
        Some(StringRef::Integer(integer)) => Ok(Some(Extended::from_integer(integer))),
        Some(StringRef::Bytes(bytes)) => Extended::parse(bytes).map(Some).ok_or(Error::NOT_FLOAT),
        None => Ok(None),
    }
}

fn increx(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let options = Increx::parse(&args[2..])?;
    let key = args[1];
    if options.is_float {
        let increment = options.increment.map_or(Ok(Extended::from_integer(1)), |word| float(word, "Increment"))?;
        if !increment.is_finite() {
            return Err(Error::fixed("ERR BYFLOAT increment cannot be Infinity"));
        }
        let lower = options.lower.map_or(Ok(Extended::MAX.negated()), |word| float(word, "LBOUND"))?;
        let upper = options.upper.map_or(Ok(Extended::MAX), |word| float(word, "UBOUND"))?;
        if lower.compare(upper) == Ordering::Greater {
            return Err(BOUNDS_CROSSED);
        }
        let deadline_ms = options.timing.unix_ms(cx.now_ms, "increx")?;
        let found = float_under(cx, key)?;
        let old = found.unwrap_or(Extended::ZERO);
        if !old.is_finite() {
            return Err(Error::fixed("ERR value cannot be Infinity"));
        }
        let sum = old.add(increment).expect("a sum of finite numbers is a number");
        let is_below = sum.compare(lower) == Ordering::Less;
        let is_above = upper.compare(sum) == Ordering::Less;
        let new = match (is_below, is_above) {
            _ if options.condition_fails(found.is_some()) => None,
            (false, false) => Some(sum),
            _ if !options.saturate => None,
            (true, _) => Some(lower),
            (_, true) => Some(upper),
        };
        let applied = match new {
            Some(new) => new.add(old.negated()).filter(|applied| applied.is_finite()),
            None => Some(Extended::ZERO),
        };
        let applied = applied.ok_or(Error::fixed("ERR applied increment would be Infinity"))?;
        let texts = [new.unwrap_or(old), applied].map(|number| {
            let mut text = Vec::new();
            number.write_human(&mut text);
            String::from_utf8(text).expect("digits, a sign, a point")
        });
        if new.is_some() {
            let value = Value::String(texts[0].as_bytes());
            options.store(cx, key, value, deadline_ms, Event::INCRBYFLOAT);
        }
        reply.array(2);
        texts.iter().for_each(|text| reply.double(text));
    } else {
        let increment = options.increment.map_or(Ok(1), |word| integer(word, "Increment"))?;
        let lower = options.lower.map_or(Ok(i64::MIN), |word| integer(word, "LBOUND"))?;
        let upper = options.upper.map_or(Ok(i64::MAX), |word| integer(word, "UBOUND"))?;
        if upper < lower {
            return Err(BOUNDS_CROSSED);
        }
        let deadline_ms = options.timing.unix_ms(cx.now_ms, "increx")?;
        let found = integer_under(cx, key)?;
        let old = found.unwrap_or(0);
        let sum = i128::from(old) + i128::from(increment);
        let clamped = sum.clamp(i128::from(lower), i128::from(upper)) as i64;
        let is_done = !options.condition_fails(found.is_some()) && (i128::from(clamped) == sum || options.saturate);
        let new = if is_done { clamped } else { old };
        let applied = new.checked_sub(old).ok_or(Error::fixed("ERR applied increment would overflow"))?;
        if is_done {
            options.store(cx, key, Value::Integer(new), deadline_ms, Event::INCRBY);
        }
        reply.array(2);
        reply.integer(new);
        reply.integer(applied);
    }
    Ok(())
}

const BOUNDS_CROSSED: Error = Error::fixed("ERR LBOUND can't be greater than UBOUND");

fn integer(word: &[u8], name: &str) -> Result<i64, Error> {
    number::parse_integer(word).ok_or_else(|| Error::new(format!("ERR {name} is not an integer or out of range")))
}

fn float(word: &[u8], name: &str) -> Result<Extended, Error> {
    Extended::parse(word).ok_or_else(|| Error::new(format!("ERR {name} is not a valid float")))
}

fn parse_integer(word: &[u8]) -> Result<i64, Error> {
    number::parse_integer(word).ok_or(Error::NOT_INTEGER)
}

// Options

/// Which options a command takes, besides `EX`, `PX`, `EXAT` and `PXAT`.
#[derive(Default)]
struct Takes {
    /// `NX`, `XX`
    exists: bool,
    /// `IFEQ`, `IFNE`, `IFDEQ`, `IFDNE`
    compare: bool,
    /// `GET`
    get: bool,
    /// `KEEPTTL`
    keep: bool,
    /// `PERSIST`
    persist: bool,
}

/// When a key is to expire, in the client's words.
#[derive(Clone, Copy)]
enum Deadline<'a> {
    Unsaid,
    Keep,
    Persist,
    /// `EX`, `PX`
    After(Unit, &'a [u8]),
    /// `EXAT`, `PXAT`
    At(Unit, &'a [u8]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// What must be true of a key.
#[derive(Clone, Copy)]
enum Condition<'a> {
    Always,
    Missing,
    Exists,
    Equal(&'a [u8]),
    NotEqual(&'a [u8]),
    DigestEqual(&'a [u8]),
    DigestNotEqual(&'a [u8]),
}

/// The options of `SET` and those like it.
struct Options<'a> {
    condition: Condition<'a>,
    get: bool,
    deadline: Deadline<'a>,
}

impl<'a> Options<'a> {
    /// As in Redis an option may be repeated (the last one counts), but not contradicted. Comparisons are not repeated.
    fn parse(words: &[&'a [u8]], takes: Takes) -> Result<Options<'a>, Error> {
        let mut options = Options { condition: Condition::Always, get: false, deadline: Deadline::Unsaid };
        let mut rest = words;
        while let [word, tail @ ..] = rest {
            rest = tail;
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if takes.exists && is("NX") && matches!(options.condition, Condition::Always | Condition::Missing) {
                options.condition = Condition::Missing;
            } else if takes.exists && is("XX") && matches!(options.condition, Condition::Always | Condition::Exists) {
                options.condition = Condition::Exists;
            } else if takes.get && is("GET") {
                options.get = true;
            } else if takes.keep && is("KEEPTTL") && matches!(options.deadline, Deadline::Unsaid | Deadline::Keep) {
                options.deadline = Deadline::Keep;
            } else if takes.persist && is("PERSIST") && matches!(options.deadline, Deadline::Unsaid | Deadline::Persist)
            {
                options.deadline = Deadline::Persist;
            } else if let [operand, tail @ ..] = rest {
                if let Some(deadline) = options.deadline.said(word, operand) {
                    options.deadline = deadline;
                } else if takes.compare
                    && let Condition::Always = options.condition
                    && let Some(comparison) = Condition::comparison(word, operand)
                {
                    options.condition = comparison;
                } else {
                    return Err(Error::SYNTAX);
                }
                rest = tail;
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(options)
    }

    /// What becomes of the deadline when the key is set; `command` in lower case.
    fn expiry(&self, now_ms: u64, command: &str) -> Result<Expiry, Error> {
        Ok(match (self.deadline.unix_ms(now_ms, command)?, self.deadline) {
            (Some(deadline_ms), _) => Expiry::At(deadline_ms),
            (None, Deadline::Keep) => Expiry::Keep,
            (None, _) => Expiry::Clear,
        })
    }
}

impl<'a> Deadline<'a> {
    /// What `EX`, `PX`, `EXAT` or `PXAT` says, unless it contradicts what was said before.
    fn said(self, word: &[u8], operand: &'a [u8]) -> Option<Deadline<'a>> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let said = if is("EX") {
            Deadline::After(Unit::Seconds, operand)
        } else if is("PX") {
            Deadline::After(Unit::Milliseconds, operand)
        } else if is("EXAT") {
            Deadline::At(Unit::Seconds, operand)
        } else if is("PXAT") {
            Deadline::At(Unit::Milliseconds, operand)
        } else {
            return None;
        };
        let agrees = match (self, said) {
            (Deadline::Unsaid, _) => true,
            (Deadline::After(before, _), Deadline::After(now, _)) => before == now,
            (Deadline::At(before, _), Deadline::At(now, _)) => before == now,
            _ => false,
        };
        agrees.then_some(said)
    }

    /// The deadline in unix ms, if one was said; `command`, in lower case, is whom an error is about.
    fn unix_ms(self, now_ms: u64, command: &str) -> Result<Option<u64>, Error> {
        match self {
            Deadline::After(unit, word) => deadline_ms(word, unit, Some(now_ms), command).map(Some),
            Deadline::At(unit, word) => deadline_ms(word, unit, None, command).map(Some),
            Deadline::Unsaid | Deadline::Keep | Deadline::Persist => Ok(None),
        }
    }
}

/// A deadline in unix ms from a client's number, counted from `base_ms` or from 1970. It must be positive and count in
/// milliseconds as an `i64`; `command` is whom the error is about.
fn deadline_ms(word: &[u8], unit: Unit, base_ms: Option<u64>, command: &str) -> Result<u64, Error> {
    let number = parse_integer(word)?;
    let factor = match unit {
        Unit::Seconds => 1000,
        Unit::Milliseconds => 1,
    };
    let base_ms = base_ms.map_or(0, |ms| ms as i64);
    let deadline_ms = number.checked_mul(factor).and_then(|ms| ms.checked_add(base_ms));
    match deadline_ms {
        Some(deadline_ms) if 0 < number => Ok(deadline_ms as u64),
        _ => Err(Error::invalid_expire(command)),
    }
}

impl<'a> Condition<'a> {
    fn comparison(word: &[u8], operand: &'a [u8]) -> Option<Condition<'a>> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("IFEQ") {
            Some(Condition::Equal(operand))
        } else if is("IFNE") {
            Some(Condition::NotEqual(operand))
        } else if is("IFDEQ") {
            Some(Condition::DigestEqual(operand))
        } else if is("IFDNE") {
            Some(Condition::DigestNotEqual(operand))
        } else {
            None
        }
    }

    /// Whether it holds for what is under a key. A comparison demands a string, if anything.
    fn holds(&self, cx: &mut Context<'_>, key: &[u8]) -> Result<bool, Error> {
        match self {
            Condition::Always => Ok(true),
            Condition::Missing => Ok(!cx.keyspace.contains(cx.db, key)),
            Condition::Exists => Ok(cx.keyspace.contains(cx.db, key)),
            _ => match cx.keyspace.string_for_write(cx.db, key)? {
                Some(string) => self.holds_for(string),
                None => Ok(matches!(self, Condition::NotEqual(_) | Condition::DigestNotEqual(_))),
            },
        }
    }

    /// Whether it holds for a string that is there.
    fn holds_for(&self, string: StringRef<'_>) -> Result<bool, Error> {
        let mut digits = itoa::Buffer::new();
        let text = string.bytes(&mut digits);
        let has_digest = |digest: &[u8]| match digest.len() {
            DIGEST_LEN => Ok(digest_text(text).eq_ignore_ascii_case(digest)),
            _ => Err(Error::fixed("ERR must be exactly 16 hexadecimal characters")),
        };
        match self {
            Condition::Always | Condition::Exists => Ok(true),
            Condition::Missing => Ok(false),
            Condition::Equal(operand) => Ok(text == *operand),
            Condition::NotEqual(operand) => Ok(text != *operand),
            Condition::DigestEqual(digest) => has_digest(digest),
            Condition::DigestNotEqual(digest) => has_digest(digest).map(|is| !is),
        }
    }
}

/// The options of `INCREX`, numbers still in the client's words.
struct Increx<'a> {
    condition: Condition<'a>,
    is_float: bool,
    increment: Option<&'a [u8]>,
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    saturate: bool,
    timing: Deadline<'a>,
    only_without_deadline: bool,
}

impl<'a> Increx<'a> {
    /// Nothing may be said twice.
    fn parse(words: &[&'a [u8]]) -> Result<Increx<'a>, Error> {
        let mut options = Increx {
            condition: Condition::Always,
            is_float: false,
            increment: None,
            lower: None,
            upper: None,
            saturate: false,
            timing: Deadline::Unsaid,
            only_without_deadline: false,
        };
        let mut rest = words;
        while let [word, tail @ ..] = rest {
            rest = tail;
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            let is_timeless = matches!(options.timing, Deadline::Unsaid);
            if is("NX") && matches!(options.condition, Condition::Always) {
                options.condition = Condition::Missing;
            } else if is("XX") && matches!(options.condition, Condition::Always) {
                options.condition = Condition::Exists;
            } else if is("SATURATE") && !options.saturate {
                options.saturate = true;
            } else if is("PERSIST") && is_timeless && !options.only_without_deadline {
                options.timing = Deadline::Persist;
            } else if is("ENX") && !options.only_without_deadline && !matches!(options.timing, Deadline::Persist) {
                options.only_without_deadline = true;
            } else if let [operand, tail @ ..] = rest {
                rest = tail;
                if is("BYINT") && options.increment.is_none() {
                    options.increment = Some(operand);
                } else if is("BYFLOAT") && options.increment.is_none() {
                    options.increment = Some(operand);
                    options.is_float = true;
                } else if is("LBOUND") && options.lower.is_none() {
                    options.lower = Some(operand);
                } else if is("UBOUND") && options.upper.is_none() {
                    options.upper = Some(operand);
                } else if is_timeless && let Some(timing) = options.timing.said(word, operand) {
                    options.timing = timing;
                } else {
                    return Err(Error::SYNTAX);
                }
            } else {
                return Err(Error::SYNTAX);
            }
        }
        if options.only_without_deadline && matches!(options.timing, Deadline::Unsaid) {
            return Err(Error::fixed("ERR ENX flag requires an expiration"));
        }
        Ok(options)
    }

    fn condition_fails(&self, exists: bool) -> bool {
        match self.condition {
            Condition::Missing => exists,
            Condition::Exists => !exists,
            _ => false,
        }
    }

    /// Stores the new number. A deadline that has come already removes the key instead.
    fn store(&self, cx: &mut Context<'_>, key: &[u8], value: Value<'_>, deadline_ms: Option<u64>, event: Event) {
        let has_deadline = || cx.keyspace.peek(cx.db, key).is_some_and(|entry| entry.deadline_ms().is_some());
        let expiry = match deadline_ms {
            Some(_) if self.only_without_deadline && has_deadline() => Expiry::Keep,
            Some(deadline_ms) if deadline_ms <= cx.now_ms && !cx.keyspace.is_replaying => {
                cx.keyspace.delete(cx.db, key);
                return;
            }
            Some(deadline_ms) => Expiry::At(deadline_ms),
            None if matches!(self.timing, Deadline::Persist) => Expiry::Clear,
            None => Expiry::Keep,
        };
        cx.keyspace.put(cx.db, key, value, expiry, event);
    }
}

#[cfg(test)]
mod tests;
