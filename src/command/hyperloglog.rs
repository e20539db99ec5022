//! The HyperLogLog commands: counting different things in a string of bounded length.
//!
//! Replies, error texts and the strings themselves, byte for byte, are those of Redis 7.0.15. The bytes are the
//! business of `structure::hyperloglog`.

use super::{Args, Command, CommandResult, Context, Flags, Group, KeyAccess, KeySpec, Keys, Run};
use crate::keyspace::{Event, Expiry};
use crate::resp::{Error, Reply};
use crate::structure::hyperloglog::{self as hll, Corrupt, Encoding, REGISTERS};
use crate::value::{StringRef, Value};

const READ: Flags = Flags::READONLY;
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);
const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("PFADD", Run::Keyspace(pfadd))
        .arity(-2)
        .key()
        .flags(GROW.union(Flags::FAST))
        .access(KeyAccess::ADD)
        .docs(Group::HyperLogLog, "2.8.9", "Adds elements to a HyperLogLog.")
        .complexity("O(1) for each element")
        .syntax("key [element [element ...]]"),
    Command::new("PFCOUNT", Run::Keyspace(pfcount))
        .arity(-2)
        .keys(ALL)
        .key_specs(&[KeySpec::from(1, -1, KeyAccess::RW.union(KeyAccess::ACCESS))])
        .flags(READ.union(Flags::MAY_REPLICATE))
        .docs(Group::HyperLogLog, "2.8.9", "Returns about how many different elements several HyperLogLogs saw.")
        .complexity("O(1) with a small constant for one key, O(N) with a large one for N keys")
        .syntax("key [key ...]"),
    Command::new("PFMERGE", Run::Keyspace(pfmerge))
        .arity(-2)
        .keys(ALL)
        .key_specs(&[
            KeySpec::at(1, KeyAccess::RW.union(KeyAccess::ACCESS).union(KeyAccess::INSERT)),
            KeySpec::from(2, -1, KeyAccess::READ),
        ])
        .flags(GROW)
        .docs(Group::HyperLogLog, "2.8.9", "Makes a HyperLogLog of all that several ones saw.")
        .complexity("O(N) where N is the number of HyperLogLogs, with a large constant")
        .syntax("destkey:key [sourcekey:key [sourcekey:key ...]]"),
    Command::new("PFDEBUG", Run::Keyspace(pfdebug))
        .arity(3)
        .keys(Keys::Range { first: 2, last: 2, step: 1 })
        .key_specs(&[KeySpec::at(2, KeyAccess::RW.union(KeyAccess::ACCESS))])
        .flags(GROW.union(Flags::ADMIN))
        .system()
        .docs(Group::HyperLogLog, "2.8.9", "Shows how a HyperLogLog is kept.")
        .complexity("O(N) where N is the number of registers")
        .syntax("subcommand key"),
    Command::new("PFSELFTEST", Run::Keyspace(pfselftest))
        .arity(1)
        .flags(Flags::ADMIN)
        .system()
        .docs(Group::HyperLogLog, "2.8.9", "Tries the HyperLogLog out.")
        .complexity("O(N) where N is the number of registers")
        .syntax(""),
];

const CORRUPT: Error = Error::fixed("INVALIDOBJ Corrupted HLL object detected");

impl From<Corrupt> for Error {
    fn from(_: Corrupt) -> Error {
        CORRUPT
    }
}

/// What a string is. Integers are none.
fn encoding(string: StringRef<'_>) -> Result<Encoding, Error> {
    match string {
        StringRef::Bytes(bytes) => hll::encoding(bytes).ok_or(Error::NOT_HYPERLOGLOG),
        StringRef::Integer(_) => Err(Error::NOT_HYPERLOGLOG),
    }
}

/// A copy of the HyperLogLog under a key, for a write. `None`: there is no key.
fn copy_for_write(cx: &mut Context<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let Some(string) = cx.keyspace.string_for_write(cx.db, key)? else { return Ok(None) };
    encoding(string)?;
    Ok(Some(string.to_vec()))
}

/// Puts a HyperLogLog under its key. The deadline stays.
fn store(cx: &mut Context<'_>, key: &[u8], string: &[u8], changes: u64) {
    cx.keyspace.put(cx.db, key, Value::Raw(string), Expiry::Keep, Event::PFADD);
    cx.keyspace.dirty += changes - 1;
}

/// Makes a string "raw", as Redis does with each that it might change.
fn make_raw(cx: &mut Context<'_>, key: &[u8]) -> CommandResult {
    cx.keyspace.edit_string(cx.db, key, 0, Event::PFADD, |_, _| ((), 0))?;
    Ok(())
}

fn pfadd(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, elements) = (args[1], &args[2..]);
    let found = cx.keyspace.string_for_write(cx.db, key)?.map(encoding).transpose()?;
    if let Some(Encoding::Dense) = found {
        let changes = cx.keyspace.edit_string(cx.db, key, 0, Event::PFADD, |string, _| {
            let raise = |element: &&&[u8]| {
                let (index, value) = hll::observation(element);
                hll::raise_dense(string, index, value)
            };
            let changes = elements.iter().filter(raise).count() as u64;
            if changes != 0 {
                hll::invalidate(string);
            }
            (changes, changes)
        })?;
        reply.integer(i64::from(changes != 0));
        return Ok(());
    }
    let mut string = copy_for_write(cx, key)?.unwrap_or_else(hll::new);
    let mut changes = u64::from(found.is_none());
    let mut result: CommandResult = Ok(());
    for element in elements {
        let (index, value) = hll::observation(element);
        match hll::raise(&mut string, index, value, cx.config.hll_sparse_max_bytes) {
            Ok(is_raised) => changes += u64::from(is_raised),
            Err(corrupt) => {
                result = Err(corrupt.into());
                break;
            }
        }
    }
    if changes == 0 {
        make_raw(cx, key)?;
    } else {
        hll::invalidate(&mut string);
        store(cx, key, &string, changes);
    }
    result?;
    reply.integer(i64::from(changes != 0));
    Ok(())
}

fn pfcount(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if let [_, key] = args {
        return count_one(cx, key, reply);
    }
    let mut registers = [0; REGISTERS];
    for key in &args[1..] {
        let Some(string) = cx.keyspace.read_string(cx.db, key)? else { continue };
        encoding(string)?;
        if let StringRef::Bytes(bytes) = string {
            hll::merge_into(&mut registers, bytes)?;
        }
    }
    reply.integer(hll::count_registers(&registers) as i64);
    Ok(())
}

/// Counts, unless that was done since the last change; what comes out is remembered in the string.
fn count_one(cx: &mut Context<'_>, key: &[u8], reply: &mut Reply<'_>) -> CommandResult {
    let Some(string) = cx.keyspace.read_string(cx.db, key)? else {
        reply.integer(0);
        return Ok(());
    };
    encoding(string)?;
    let StringRef::Bytes(bytes) = string else { unreachable!("an integer is no HyperLogLog") };
    let cached = hll::cached(bytes);
    let counted = cached.map_or_else(|| hll::count(bytes), Ok);
    if cached.is_some() {
        make_raw(cx, key)?;
    } else if let Ok(cardinality) = counted {
        cx.keyspace.edit_string(cx.db, key, 0, Event::PFADD, |string, _| {
            hll::cache(string, cardinality);
            ((), 0)
        })?;
        cx.keyspace.changed(cx.db, key, Event::SILENT);
    }
    reply.integer(counted? as i64);
    Ok(())
}

fn pfmerge(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut registers = [0; REGISTERS];
    let mut is_dense = false;
    for key in &args[1..] {
        let Some(string) = cx.keyspace.read_string(cx.db, key)? else { continue };
        is_dense |= encoding(string)? == Encoding::Dense;
        if let StringRef::Bytes(bytes) = string {
            hll::merge_into(&mut registers, bytes)?;
        }
    }
    let destination = args[1];
    let mut string = copy_for_write(cx, destination)?.unwrap_or_else(hll::new);
    if is_dense {
        hll::make_dense(&mut string)?;
    }
    for (index, &value) in registers.iter().enumerate().filter(|(_, value)| **value != 0) {
        hll::raise(&mut string, index, value, cx.config.hll_sparse_max_bytes)?;
    }
    hll::invalidate(&mut string);
    store(cx, destination, &string, 1);
    reply.ok();
    Ok(())
}

fn pfdebug(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (word, key) = (args[1], args[2]);
    let found = copy_for_write(cx, key)?;
    let mut string = found.ok_or(Error::fixed("ERR The specified key does not exist"))?;
    make_raw(cx, key)?;
    let is_sparse = hll::encoding(&string) == Some(Encoding::Sparse);
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    if is("GETREG") || is("TODENSE") {
        if is_sparse {
            hll::make_dense(&mut string)?;
            cx.keyspace.put(cx.db, key, Value::Raw(&string), Expiry::Keep, Event::PFADD);
        }
        if is("TODENSE") {
            reply.integer(i64::from(is_sparse));
            return Ok(());
        }
        let mut registers = [0; REGISTERS];
        hll::merge_into(&mut registers, &string)?;
        reply.array(REGISTERS);
        registers.iter().for_each(|value| reply.integer(i64::from(*value)));
    } else if is("DECODE") {
        if !is_sparse {
            return Err(Error::fixed("ERR HLL encoding is not sparse"));
        }
        let runs = hll::runs(&string)?.map(|run| match run.value {
            0 if run.is_long() => format!("Z:{}", run.len),
            0 => format!("z:{}", run.len),
            value => format!("v:{},{}", value, run.len),
        });
        reply.bulk(runs.collect::<Vec<_>>().join(" "));
    } else if is("ENCODING") {
        reply.simple(if is_sparse { "sparse" } else { "dense" });
    } else {
        return Err(Error::quoting("ERR Unknown PFDEBUG subcommand '", word, "'"));
    }
    Ok(())
}

fn pfselftest(cx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    hll::self_test(|| cx.random.u64(..)).map_err(|error| Error::new(format!("TESTFAILED {error}")))?;
    reply.ok();
    Ok(())
}
