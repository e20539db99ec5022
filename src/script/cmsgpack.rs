//! `cmsgpack`: values to MessagePack and back, with the encodings and error texts of lua-cmsgpack.

use super::work::{Text, VALUE, Work, full};
use super::{api, args};
use crate::sys::lua::{BYTES_PER_INSTRUCTION, Kind, Stack, Thrown};

/// Functions by the number of each, from [`api::CMSGPACK`] on.
const FUNCTIONS: &[&str] = &["pack", "unpack", "unpack_one", "unpack_limit"];
/// How many there are.
pub const FUNCTION_COUNT: u32 = FUNCTIONS.len() as u32;
/// Tables within tables that are packed; deeper ones become nil.
const PACK_DEPTH_MAX: usize = 16;
/// Containers within containers that are unpacked.
const UNPACK_DEPTH_MAX: usize = 1000;
/// Lua's stack has room for so many levels and results.
const LEVEL_ROOM: i32 = 4;

/// Sets its functions and names in the table on top.
pub fn build(stack: &mut Stack<'_>) {
    for (index, name) in FUNCTIONS.iter().enumerate() {
        stack.push_host_function(api::CMSGPACK + index as u32);
        stack.set_field(-2, name);
    }
    for (name, text) in [
        ("_NAME", "cmsgpack"),
        ("_VERSION", "lua-cmsgpack 0.4.0"),
        ("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
        ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ] {
        stack.push_bytes(text);
        stack.set_field(-2, name);
    }
}

/// A script calls the function of this number.
pub fn called(work: &mut Work<'_>, function: u32, stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    match function {
        0 => pack(work, stack),
        1 => unpack_from(work, stack, FUNCTIONS[1], 0, 0),
        2 => {
            let offset = args::integer_or(stack, 2, FUNCTIONS[2], 0)?;
            unpack_from(work, stack, FUNCTIONS[2], 1, offset)
        }
        _ => {
            let limit = i64::from(args::integer(stack, 2, FUNCTIONS[3])? as i32); // As C casts it.
            let offset = args::integer_or(stack, 3, FUNCTIONS[3], 0)?;
            unpack_from(work, stack, FUNCTIONS[3], limit, offset)
        }
    }
}

fn pack(work: &mut Work<'_>, stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    if stack.is_empty() {
        return Err(args::wrong(stack, 0, "pack", "MessagePack pack needs input."));
    }
    let mut out = Text::new(stack, work);
    for at in 1..=stack.len() {
        if !stack.has_room(LEVEL_ROOM) {
            return Err(stack.throw("Too many arguments for MessagePack pack."));
        }
        stack.push_copy(at);
        pack_top(stack, &mut out, 0)?;
    }
    out.begin_value(stack, 0)?;
    out.push(stack);
    Ok(1)
}

fn put(out: &mut Vec<u8>, kind: u8, number: &[u8]) {
    out.push(kind);
    out.extend_from_slice(number);
}

fn pack_integer(out: &mut Vec<u8>, value: i64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => put(out, 0xcc, &[value as u8]),
        0x100..=0xffff => put(out, 0xcd, &(value as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => put(out, 0xce, &(value as u32).to_be_bytes()),
        0x1_0000_0000.. => put(out, 0xcf, &value.to_be_bytes()),
        -32..=-1 => out.push(value as u8),
        -128..=-33 => put(out, 0xd0, &[value as u8]),
        -0x8000..=-129 => put(out, 0xd1, &(value as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => put(out, 0xd2, &(value as i32).to_be_bytes()),
        _ => put(out, 0xd3, &value.to_be_bytes()),
    }
}

fn pack_len(out: &mut Vec<u8>, len: usize, short: (u8, usize), kinds: [u8; 2]) {
    if len < short.1 {
        out.push(short.0 | len as u8);
    } else if len <= 0xffff {
        put(out, kinds[0], &(len as u16).to_be_bytes());
    } else {
        put(out, kinds[1], &(len as u32).to_be_bytes());
    }
}

/// Packs the value on top, and takes it away.
fn pack_top(stack: &mut Stack<'_>, text: &mut Text<'_, '_>, depth: usize) -> Result<(), Thrown> {
    let len = if stack.kind(-1) == Kind::String { stack.raw_len(-1) } else { 0 };
    text.begin_value(stack, len)?;
    let out = &mut text.bytes;
    match stack.kind(-1) {
        Kind::String => {
            let string = stack.bytes(-1).unwrap_or_default();
            match string.len() {
                len @ 32..=0xff => put(out, 0xd9, &[len as u8]),
                len => pack_len(out, len, (0xa0, 32), [0xda, 0xdb]),
            }
            out.extend_from_slice(string);
        }
        Kind::Boolean => out.push(if stack.boolean(-1) { 0xc3 } else { 0xc2 }),
        Kind::Number => {
            let number = stack.number(-1);
            let integer = args::cut(number);
            if integer as f64 == number {
                pack_integer(out, integer);
            } else if f64::from(number as f32) == number {
                put(out, 0xca, &(number as f32).to_be_bytes());
            } else {
                put(out, 0xcb, &number.to_be_bytes());
            }
        }
        Kind::Table if depth < PACK_DEPTH_MAX && stack.has_room(LEVEL_ROOM) => pack_table(stack, text, depth)?,
        _ => out.push(0xc0),
    }
    stack.pop(1);
    Ok(())
}

fn pack_table(stack: &mut Stack<'_>, text: &mut Text<'_, '_>, depth: usize) -> Result<(), Thrown> {
    let table = stack.len();
    let (mut len, mut highest, mut is_array) = (0_usize, 0_f64, true);
    stack.push_nil();
    while stack.next(table) {
        stack.pop(1);
        text.work.take(stack, 1)?;
        len += 1;
        let key = stack.number(-1);
        is_array &= stack.kind(-1) == Kind::Number && 0.0 < key && key.trunc() == key && key <= f64::from(i32::MAX);
        highest = highest.max(key);
    }
    if is_array && highest == len as f64 {
        pack_len(&mut text.bytes, len, (0x90, 16), [0xdc, 0xdd]);
        for index in 1..=len {
            stack.raw_get_index(table, index as i32);
            pack_top(stack, text, depth + 1)?;
        }
        return Ok(());
    }
    pack_len(&mut text.bytes, len, (0x80, 16), [0xde, 0xdf]);
    stack.push_nil();
    while stack.next(table) {
        stack.push_copy(-2);
        pack_top(stack, text, depth + 1)?;
        pack_top(stack, text, depth + 1)?;
    }
    Ok(())
}

/// What is wrong with packed bytes.
enum Malformed {
    Short,
    Bad,
    Memory,
    /// The error is on top of the stack.
    Thrown,
}

/// Packed bytes being read.
struct Source<'a, 'w> {
    bytes: &'a [u8],
    at: usize,
    /// Up to here its time is counted.
    counted: usize,
    work: &'a mut Work<'w>,
}

impl<'a> Source<'a, '_> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len).ok_or(Malformed::Short)?;
        let bytes = self.bytes.get(self.at..end).ok_or(Malformed::Short)?;
        self.at = end;
        Ok(bytes)
    }

    fn unsigned(&mut self, len: usize) -> Result<u64, Malformed> {
        Ok(self.take(len)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Pushes the next value.
    fn push(&mut self, stack: &mut Stack<'_>, depth: usize) -> Result<(), Malformed> {
        if UNPACK_DEPTH_MAX <= depth || !stack.has_room(LEVEL_ROOM) {
            return Err(Malformed::Bad);
        }
        let read = self.at - std::mem::replace(&mut self.counted, self.at);
        self.work.take(stack, VALUE + read / BYTES_PER_INSTRUCTION).map_err(|_| Malformed::Thrown)?;
        if stack.is_overdrawn() {
            return Err(Malformed::Memory);
        }
        let kind = self.take(1)?[0];
        match kind {
            0..=0x7f => stack.push_number(f64::from(kind)),
            0xe0..=0xff => stack.push_number(f64::from(kind as i8)),
            // From 2^63 on it is a negative number, as there.
            0xcc..=0xcf => stack.push_number(self.unsigned(1 << (kind - 0xcc))? as i64 as f64),
            0xd0 => stack.push_number(f64::from(self.unsigned(1)? as i8)),
            0xd1 => stack.push_number(f64::from(self.unsigned(2)? as i16)),
            0xd2 => stack.push_number(f64::from(self.unsigned(4)? as i32)),
            0xd3 => stack.push_number(self.unsigned(8)? as i64 as f64),
            0xc0 => stack.push_nil(),
            0xc2 => stack.push_boolean(false),
            0xc3 => stack.push_boolean(true),
            0xca => stack.push_number(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
            0xcb => stack.push_number(f64::from_bits(self.unsigned(8)?)),
            0xa0..=0xbf => stack.push_bytes(self.take(usize::from(kind & 0x1f))?),
            0xd9..=0xdb => {
                let len = self.unsigned(1 << (kind - 0xd9))? as usize;
                stack.push_bytes(self.take(len)?);
            }
            0x90..=0x9f => self.push_array(stack, usize::from(kind & 0xf), depth)?,
            0xdc | 0xdd => {
                let len = self.unsigned(2 << (kind - 0xdc))? as usize;
                self.push_array(stack, len, depth)?;
            }
            0x80..=0x8f => self.push_map(stack, usize::from(kind & 0xf), depth)?,
            0xde | 0xdf => {
                let len = self.unsigned(2 << (kind - 0xde))? as usize;
                self.push_map(stack, len, depth)?;
            }
            _ => return Err(Malformed::Bad),
        }
        Ok(())
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn push_array(&mut self, stack: &mut Stack<'_>, len: usize, depth: usize) -> Result<(), Malformed> {
        if self.left() < len {
            return Err(Malformed::Short); // Every element takes a byte.
        }
        stack.push_table(len, 0);
        for index in 1..=len {
            self.push(stack, depth + 1)?;
            stack.raw_set_index(-2, index as i32);
        }
        Ok(())
    }

    fn push_map(&mut self, stack: &mut Stack<'_>, len: usize, depth: usize) -> Result<(), Malformed> {
        if self.left() / 2 < len {
            return Err(Malformed::Short);
        }
        stack.push_table(0, len);
        for _ in 0..len {
            self.push(stack, depth + 1)?;
            if stack.kind(-1) == Kind::Nil || stack.kind(-1) == Kind::Number && stack.number(-1).is_nan() {
                return Err(Malformed::Bad); // No key of a table.
            }
            self.push(stack, depth + 1)?;
            stack.raw_set(-3);
        }
        Ok(())
    }
}

/// Unpacks so many values from this place on; none of both: all there are.
fn unpack_from(
    work: &mut Work<'_>,
    stack: &mut Stack<'_>,
    function: &str,
    limit: i64,
    offset: i64,
) -> Result<usize, Thrown> {
    args::string(stack, 1, function)?;
    stack.truncate(1);
    stack.lend_bytes(1, |stack, bytes| unpack_bytes(work, stack, bytes, limit, offset))
}

fn unpack_bytes(
    work: &mut Work<'_>,
    stack: &mut Stack<'_>,
    bytes: &[u8],
    limit: i64,
    offset: i64,
) -> Result<usize, Thrown> {
    let is_all = limit == 0 && offset == 0;
    let len = bytes.len();
    // Both are shown in 32 bits.
    let shown = offset as i32;
    let start = match usize::try_from(offset) {
        Ok(start) if 0 <= limit => start,
        _ => {
            let text = format!("Invalid request to unpack with offset of {shown} and limit of {len}.");
            return Err(stack.throw(text));
        }
    };
    if len < start {
        return Err(stack.throw(format!("Start offset {shown} greater than input length {len}.")));
    }
    let mut source = Source { bytes, at: start, counted: start, work };
    let mut results = 0;
    while 0 < source.left() && (is_all || (results as i64) < limit) {
        match source.push(stack, 0) {
            Ok(()) => results += 1,
            Err(Malformed::Short) => return Err(stack.throw("Missing bytes in input.")),
            Err(Malformed::Bad) => return Err(stack.throw("Bad data format in input.")),
            Err(Malformed::Memory) => return Err(full(stack)),
            Err(Malformed::Thrown) => return Err(Thrown),
        }
    }
    if !is_all {
        stack.push_number(if source.left() == 0 { -1.0 } else { source.at as f64 });
        stack.insert(2);
        results += 1;
    }
    Ok(results)
}
