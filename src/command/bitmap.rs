//! The bitmap commands: strings as rows of bits.
//!
//! Replies, error texts and the order of checks are those of Redis 7.0.15; the operations `DIFF`, `DIFF1`, `ANDOR` and
//! `ONE` of `BITOP` came with Redis 8.2. The loops over bits are in `structure::bits`, the integers of `BITFIELD` in
//! `value::bitfield`.

use super::{Args, Command, CommandResult, Context, Flags, Group, Growth, KeyAccess, KeySpec, Keys, Run};
use crate::keyspace::{Event, Expiry};
use crate::resp::{Error, Reply};
use crate::structure::bits::{self, BitRange, Operation};
use crate::value::bitfield::{Field, Overflow};
use crate::value::number::parse_integer;
use crate::value::{INLINE_LEN_MAX, LongString, StringRef, Value};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("SETBIT", Run::Keyspace(setbit))
        .arity(4)
        .key()
        .flags(GROW)
        .grows(bit_growth)
        .access(KeyAccess::READ_CHANGE)
        .docs(Group::Bitmap, "2.2.0", "Sets or clears a bit of the string under a key, which grows where needed.")
        .syntax("key offset value:integer"),
    Command::new("GETBIT", Run::Keyspace(getbit))
        .arity(3)
        .key()
        .flags(READ_FAST)
        .docs(Group::Bitmap, "2.2.0", "Returns a bit of the string under a key.")
        .syntax("key offset"),
    Command::new("BITCOUNT", Run::Keyspace(bitcount))
        .arity(-2)
        .key()
        .flags(READ)
        .docs(Group::Bitmap, "2.6.0", "Counts the bits that are set in the string under a key, or in a part of it.")
        .complexity("O(N) where N is the length of the part")
        .syntax("key [start:integer end:integer [BYTE|BIT]@7.0.0]"),
    Command::new("BITPOS", Run::Keyspace(bitpos))
        .arity(-3)
        .key()
        .flags(READ)
        .docs(Group::Bitmap, "2.8.7", "Finds the first bit that is set, or clear, in the string under a key.")
        .complexity("O(N) where N is the length of the part that is searched")
        .syntax("key bit:integer [start:integer [end:integer [BYTE|BIT]@7.0.0]]"),
    Command::new("BITOP", Run::Keyspace(bitop))
        .arity(-4)
        .keys(Keys::Range { first: 2, last: -1, step: 1 })
        .key_specs(&[KeySpec::at(2, KeyAccess::OVERWRITE), KeySpec::from(3, -1, KeyAccess::READ)])
        .flags(GROW)
        .grows(combined_growth)
        .docs(Group::Bitmap, "2.6.0", "Combines strings bit by bit and puts the result under a key.")
        .complexity("O(N) where N is the sum of the lengths of the strings")
        .syntax("AND|OR|XOR|NOT|DIFF@8.2.0|DIFF1@8.2.0|ANDOR@8.2.0|ONE@8.2.0 destkey:key key [key ...]"),
    Command::new("BITFIELD", Run::Keyspace(bitfield))
        .arity(-2)
        .key()
        .flags(GROW)
        .access(KeyAccess::READ_CHANGE.union(KeyAccess::VARIABLE_FLAGS))
        .access_of(bitfield_access)
        .docs(Group::Bitmap, "3.2.0", "Reads and changes integers of any width within the string under a key.")
        .complexity("O(N) where N is the number of operations")
        .syntax(
            "key operation=[((GET encoding:string offset)|write=([OVERFLOW WRAP|SAT|FAIL] \
             write_operation=((SET encoding:string offset value:integer)|\
             (INCRBY encoding:string offset increment:integer)))) \
             [((GET encoding:string offset)|write=([OVERFLOW WRAP|SAT|FAIL] \
             write_operation=((SET encoding:string offset value:integer)|\
             (INCRBY encoding:string offset increment:integer)))) ...]]",
        ),
    Command::new("BITFIELD_RO", Run::Keyspace(bitfield_ro))
        .arity(-2)
        .key()
        .flags(READ_FAST)
        .docs(Group::Bitmap, "6.0.0", "Reads integers of any width within the string under a key.")
        .complexity("O(N) where N is the number of operations")
        .syntax("key [GET encoding:string offset [GET encoding:string offset ...]]"),
];

/// `BITFIELD` only reads if all its operations are `GET`.
fn bitfield_access(args: &Args<'_>) -> KeyAccess {
    let is_reading = args[2.min(args.len())..].chunks(3).all(|words| words[0].eq_ignore_ascii_case(b"GET"));
    if is_reading { KeyAccess::READ } else { KeyAccess::READ_CHANGE }
}

/// The offset of a bit. One that begins with `#` counts fields of `field` bits.
fn parse_offset(cx: &Context<'_>, word: &[u8], field: Option<Field>) -> Result<u64, Error> {
    let (digits, unit_bits) = match (field, word) {
        (Some(field), [b'#', digits @ ..]) => (digits, i64::from(field.bits())),
        _ => (word, 1),
    };
    let offset = parse_integer(digits).and_then(|number| number.checked_mul(unit_bits));
    let offset = offset.and_then(|offset| u64::try_from(offset).ok());
    offset.filter(|offset| offset / 8 < cx.config.proto_max_bulk_len).ok_or(Error::BIT_OFFSET)
}

fn integer(word: &[u8]) -> Result<i64, Error> {
    parse_integer(word).ok_or(Error::NOT_INTEGER)
}

// One bit

/// Up to where `SETBIT` writes.
fn bit_growth(args: &Args<'_>, _: &dyn Fn(&[u8]) -> usize) -> Option<Growth> {
    let offset = usize::try_from(parse_integer(args[2])?).ok()?;
    Some(Growth { key: 1, bytes: offset / 8 + 1 })
}

/// What `BITOP` makes is as long as the longest of what it combines.
fn combined_growth(args: &Args<'_>, bytes_of: &dyn Fn(&[u8]) -> usize) -> Option<Growth> {
    let bytes = args[3..].iter().map(|key| bytes_of(key)).max()?;
    Some(Growth { key: 2, bytes })
}

fn setbit(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let offset = parse_offset(cx, args[2], None)?;
    let bit = match parse_integer(args[3]) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(Error::BIT_VALUE),
    };
    let (index, mask) = ((offset / 8) as usize, 0x80 >> (offset % 8));
    let old = cx.keyspace.edit_string(cx.db, args[1], index + 1, Event::SETBIT, |text, is_longer| {
        let old = text[index] & mask != 0;
        text[index] = text[index] & !mask | if bit { mask } else { 0 };
        (old, u64::from(is_longer || old != bit))
    })?;
    reply.integer(i64::from(old));
    Ok(())
}

fn getbit(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let offset = parse_offset(cx, args[2], None)?;
    let mut digits = itoa::Buffer::new();
    let text = cx.keyspace.read_string(cx.db, args[1])?.map_or(&b""[..], |string| string.bytes(&mut digits));
    let byte = text.get((offset / 8) as usize).copied().unwrap_or(0);
    reply.integer(i64::from(byte >> (7 - offset % 8) & 1));
    Ok(())
}

// Ranges

/// The unit of a range's ends, in bits.
fn parse_unit(word: &[u8]) -> Result<u64, Error> {
    if word.eq_ignore_ascii_case(b"BIT") {
        Ok(1)
    } else if word.eq_ignore_ascii_case(b"BYTE") {
        Ok(8)
    } else {
        Err(Error::SYNTAX)
    }
}

/// The bits from `start` to `end`, both included, both counted from the end where negative and moved into the string
/// where outside. `None`: it is empty.
fn range_of(text: &[u8], start: i64, end: i64, unit_bits: u64) -> Option<BitRange> {
    let len = (8 * text.len() as u64 / unit_bits) as i64;
    let from_start = |index: i64| if index < 0 { index.saturating_add(len).max(0) } else { index };
    let (first, last) = (from_start(start), from_start(end).min(len - 1));
    let bits = |index: i64| index as u64 * unit_bits;
    (first <= last).then(|| BitRange { first: bits(first), last: bits(last) + unit_bits - 1 })
}

fn bitcount(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut digits = itoa::Buffer::new();
    // Without a key there is nothing wrong with the other arguments.
    let Some(string) = cx.keyspace.read_string(cx.db, args[1])? else {
        reply.integer(0);
        return Ok(());
    };
    let text = string.bytes(&mut digits);
    let count = match args {
        [_, _] => bits::count(text),
        [_, _, start, end] | [_, _, start, end, _] => {
            let (start, end) = (integer(start)?, integer(end)?);
            // Two negative ends are compared before anything else is looked at.
            if start < 0 && end < 0 && end < start {
                reply.integer(0);
                return Ok(());
            }
            let unit_bits = args.get(4).map_or(Ok(8), |word| parse_unit(word))?;
            range_of(text, start, end, unit_bits).map_or(0, |range| bits::count_range(text, range))
        }
        _ => return Err(Error::SYNTAX),
    };
    reply.integer(count as i64);
    Ok(())
}

fn bitpos(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let bit = match integer(args[2])? {
        0 => false,
        1 => true,
        _ => return Err(Error::fixed("ERR The bit argument must be 1 or 0.")),
    };
    let mut digits = itoa::Buffer::new();
    // Without a key all bits are clear.
    let Some(string) = cx.keyspace.read_string(cx.db, args[1])? else {
        reply.integer(if bit { -1 } else { 0 });
        return Ok(());
    };
    let text = string.bytes(&mut digits);
    let (start, end, unit_bits) = match args[3..] {
        [] => (0, None, 8),
        [start] => (integer(start)?, None, 8),
        [start, end] => (integer(start)?, Some(integer(end)?), 8),
        [start, end, unit] => {
            let start = integer(start)?;
            let unit_bits = parse_unit(unit)?;
            (start, Some(integer(end)?), unit_bits)
        }
        _ => return Err(Error::SYNTAX),
    };
    let position = match range_of(text, start, end.unwrap_or(-1), unit_bits) {
        None => None,
        Some(range) => match bits::find(text, range, bit) {
            // Without an end the string goes on with clear bits.
            None if !bit && end.is_none() => Some(8 * text.len() as u64),
            found => found,
        },
    };
    reply.integer(position.map_or(-1, |position| position as i64));
    Ok(())
}

// Several strings

fn bitop(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    const OPERATIONS: [(&str, Operation); 8] = [
        ("AND", Operation::And),
        ("OR", Operation::Or),
        ("XOR", Operation::Xor),
        ("NOT", Operation::Not),
        ("DIFF", Operation::Diff),
        ("DIFF1", Operation::Diff1),
        ("ANDOR", Operation::AndOr),
        ("ONE", Operation::One),
    ];
    let named = OPERATIONS.iter().find(|(name, _)| args[1].eq_ignore_ascii_case(name.as_bytes()));
    let &(name, operation) = named.ok_or(Error::SYNTAX)?;
    let (destination, keys) = (args[2], &args[3..]);
    if operation == Operation::Not && keys.len() != 1 {
        return Err(Error::fixed("ERR BITOP NOT must be called with a single source key."));
    }
    if matches!(operation, Operation::Diff | Operation::Diff1 | Operation::AndOr) && keys.len() < 2 {
        return Err(Error::new(format!("ERR BITOP {name} must be called with at least two source keys.")));
    }
    for key in keys {
        cx.keyspace.read_string(cx.db, key)?;
    }
    let mut digits = vec![itoa::Buffer::new(); keys.len()];
    let texts = keys.iter().zip(&mut digits).map(|(key, digits)| {
        let string = cx.keyspace.peek_string(cx.db, key).expect("read above");
        string.map_or(&b""[..], |string| string.bytes(digits))
    });
    let result = bits::combine(operation, &texts.collect::<Vec<_>>());
    let len = result.len();
    if result.is_empty() {
        cx.keyspace.delete(cx.db, destination);
    } else if len <= INLINE_LEN_MAX {
        cx.keyspace.put(cx.db, destination, Value::Raw(&result), Expiry::Clear, Event::SET);
    } else {
        cx.keyspace.put(cx.db, destination, Value::Long(LongString::new(result)), Expiry::Clear, Event::SET);
    }
    reply.integer(len as i64);
    Ok(())
}

// Fields

/// One operation of `BITFIELD`.
struct Step {
    field: Field,
    offset: u64,
    change: Option<Change>,
    overflow: Overflow,
}

enum Change {
    Set(i64),
    Add(i64),
}

fn parse_steps(cx: &Context<'_>, words: &Args<'_>) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::default();
    let mut rest = words;
    while let [word, tail @ ..] = rest {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let make: Option<fn(i64) -> Change> = match tail {
            [name, tail @ ..] if is("OVERFLOW") => {
                overflow = match name.to_ascii_uppercase().as_slice() {
                    b"WRAP" => Overflow::Wrap,
                    b"SAT" => Overflow::Saturate,
                    b"FAIL" => Overflow::Fail,
                    _ => return Err(Error::fixed("ERR Invalid OVERFLOW type specified")),
                };
                rest = tail;
                continue;
            }
            [_, _, ..] if is("GET") => None,
            [_, _, _, ..] if is("SET") => Some(Change::Set),
            [_, _, _, ..] if is("INCRBY") => Some(Change::Add),
            _ => return Err(Error::SYNTAX),
        };
        let field = Field::parse(tail[0]).ok_or(Error::fixed(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        ))?;
        let offset = parse_offset(cx, tail[1], Some(field))?;
        let change = make.map(|make| integer(tail[2]).map(make)).transpose()?;
        rest = &tail[2 + usize::from(change.is_some())..];
        steps.push(Step { field, offset, change, overflow });
    }
    Ok(steps)
}

fn bitfield(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let steps = parse_steps(cx, &args[2..])?;
    let ends = steps.iter().filter(|step| step.change.is_some());
    let Some(end) = ends.map(|step| step.offset + u64::from(step.field.bits())).max() else {
        return read_fields(cx, args[1], &steps, reply);
    };
    let len_min = end.div_ceil(8) as usize;
    let results = cx.keyspace.edit_string(cx.db, args[1], len_min, Event::SETBIT, |text, is_longer| {
        let mut changes = 0;
        let results = steps.iter().map(|step| {
            let old = step.field.read(text, step.offset);
            let ((new, overflows), result) = match step.change {
                None => return Some(old),
                Some(Change::Set(number)) => (step.field.convert(number, step.overflow), old),
                Some(Change::Add(increment)) => {
                    let sum = step.field.add(old, increment, step.overflow);
                    (sum, sum.0)
                }
            };
            if overflows && step.overflow == Overflow::Fail {
                return None;
            }
            step.field.write(text, step.offset, new);
            changes += u64::from(is_longer || old != new);
            Some(result)
        });
        let results: Vec<Option<i64>> = results.collect();
        (results, changes)
    })?;
    reply.array(results.len());
    for result in results {
        match result {
            Some(number) => reply.integer(number),
            None => reply.null(),
        }
    }
    Ok(())
}

fn bitfield_ro(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let steps = parse_steps(cx, &args[2..])?;
    if steps.iter().any(|step| step.change.is_some()) {
        return Err(Error::fixed("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read_fields(cx, args[1], &steps, reply)
}

fn read_fields(cx: &mut Context<'_>, key: &[u8], steps: &[Step], reply: &mut Reply<'_>) -> CommandResult {
    let mut digits = itoa::Buffer::new();
    let text = cx.keyspace.read_string(cx.db, key)?.map_or(&b""[..], |string: StringRef<'_>| string.bytes(&mut digits));
    reply.array(steps.len());
    for step in steps {
        reply.integer(step.field.read(text, step.offset));
    }
    Ok(())
}
