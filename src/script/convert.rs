//! Replies become Lua values, and Lua values replies, as Redis does both. Not here: who calls whom.
//!
//! | Reply | Lua | | Lua | Reply |
//! |---|---|---|---|---|
//! | integer | number | | number | integer, cut towards zero |
//! | string | string | | string | string |
//! | null | false (nil in RESP3) | | false, nil, function | null |
//! | status | `{ok=}` | | true | 1 (true in RESP3) |
//! | error | `{err=, ignore_error_stats_update=}` | | `{err=}`, `{ok=}` | error, status |
//! | array, set, map | table, `{set=}`, `{map=}` | | table | array up to the first nil |
//! | double, big number, verbatim | `{double=}`, `{big_number=}`, `{verbatim_string=}` | | the same | the same |

use super::args::cut;
use super::work::{TABLE, VALUE, Work};
use crate::resp::decode::{self, Head};
use crate::resp::{Error, Output, Protocol, Reply};
use crate::sys::lua::{BYTES_PER_INSTRUCTION, Kind, Stack, Thrown};
use crate::value::number::format_double;

/// Tables within tables of what a script returns.
const DEPTH_MAX: usize = 1000;
/// Values in what a script returns: a table that holds itself twice would have no end.
const REPLY_VALUES_MAX: usize = 1 << 24;
/// The same in bytes, as `proto-max-bulk-len` bounds one string.
const REPLY_BYTES_MAX: usize = 512 << 20;
/// Room on Lua's stack for one level.
const LEVEL_ROOM: i32 = 5;
/// What is told where there is too much of it.
const TOO_DEEP: Error = Error::fixed("ERR reached lua stack limit");

/// Pushes what a reply is to a script; less than that where the script may not take so much ([`Stack::is_overdrawn`]).
pub fn push_reply(stack: &mut Stack<'_>, reply: &[u8]) {
    if reply.is_empty() {
        return stack.push_boolean(false); // `CLIENT REPLY OFF`, where suites let scripts call it.
    }
    let end = push_element(stack, reply);
    assert!(end == reply.len() || stack.is_overdrawn(), "a command writes one reply");
}

/// Pushes the element at the front; its length.
fn push_element(stack: &mut Stack<'_>, bytes: &[u8]) -> usize {
    if stack.is_overdrawn() {
        stack.push_nil();
        return 0;
    }
    stack.make_room(LEVEL_ROOM);
    let (head, mut at) = decode::head(bytes).expect("our own replies are well-formed").expect("and whole");
    match head {
        Head::Integer(value) => stack.push_number(value as f64),
        Head::Bulk(string) => stack.push_bytes(string),
        Head::Null if bytes[0] == b'_' => stack.push_nil(),
        Head::Null => stack.push_boolean(false),
        Head::Simple(text) => {
            stack.push_table(0, 1);
            stack.push_bytes(text);
            stack.set_field(-2, "ok");
        }
        Head::Error(text) => push_counted_error(stack, text),
        Head::Boolean(value) => stack.push_boolean(value),
        Head::Double(text) => {
            stack.push_table(0, 1);
            let text = std::str::from_utf8(text).unwrap_or("nan");
            stack.push_number(text.parse().unwrap_or(f64::NAN));
            stack.set_field(-2, "double");
        }
        Head::BigNumber(digits) => {
            stack.push_table(0, 1);
            stack.push_bytes(digits);
            stack.set_field(-2, "big_number");
        }
        Head::Verbatim(format, text) => {
            stack.push_table(0, 1);
            stack.push_table(0, 2);
            stack.push_bytes(text);
            stack.set_field(-2, "string");
            stack.push_bytes(format);
            stack.set_field(-2, "format");
            stack.set_field(-2, "verbatim_string");
        }
        Head::Array(len) | Head::Push(len) => {
            stack.push_table(len, 0);
            for index in 0..len {
                at += push_element(stack, &bytes[at..]);
                stack.raw_set_index(-2, index as i32 + 1);
            }
        }
        Head::Set(len) => {
            stack.push_table(0, 1);
            stack.push_table(0, len);
            for _ in 0..len {
                at += push_element(stack, &bytes[at..]);
                stack.push_boolean(true);
                set_or_drop(stack);
            }
            stack.set_field(-2, "set");
        }
        Head::Map(pairs) => {
            stack.push_table(0, 1);
            stack.push_table(0, pairs);
            for _ in 0..pairs {
                at += push_element(stack, &bytes[at..]);
                at += push_element(stack, &bytes[at..]);
                set_or_drop(stack);
            }
            stack.set_field(-2, "map");
        }
        Head::Attribute(pairs) => {
            for _ in 0..2 * pairs {
                at += push_element(stack, &bytes[at..]);
                stack.pop(1);
            }
            at += push_element(stack, &bytes[at..]);
        }
    }
    at
}

/// Takes key and value into the table under them, unless the key can be none.
fn set_or_drop(stack: &mut Stack<'_>) {
    match stack.kind(-2) {
        Kind::Nil => stack.pop(2),
        _ => stack.raw_set(-3),
    }
}

/// Pushes the error of a command, which has been counted already.
pub fn push_counted_error(stack: &mut Stack<'_>, text: &[u8]) {
    stack.push_table(0, 2);
    stack.push_bytes(text);
    stack.set_field(-2, "err");
    stack.push_boolean(true);
    stack.set_field(-2, "ignore_error_stats_update");
}

/// Pushes an error of ours. `-CODE text` has its code; anything else gets `ERR`.
pub fn push_error(stack: &mut Stack<'_>, text: &[u8]) {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = text.iter().position(|byte| !is_end(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_end(byte)).map_or(start, |last| last + 1);
    let text = &text[start..end];
    let whole = match text.strip_prefix(b"-") {
        Some(rest) if rest.contains(&b' ') => rest.to_vec(),
        Some(rest) => [b"ERR ", rest].concat(),
        None => [b"ERR ", text].concat(),
    };
    stack.push_table(0, 1);
    stack.push_bytes(whole);
    stack.set_field(-2, "err");
}

/// An error that a script ends with, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its text, with the word that begins it.
    pub text: Vec<u8>,
    /// Where it was raised, if that is known.
    pub place: Option<(Vec<u8>, i64)>,
    /// It has been counted.
    pub is_counted: bool,
}

/// Tables whose `__index` is asked one after the other, as in Lua.
const INDEX_LOOPS_MAX: usize = 100;

/// Pushes a field of a table as Lua itself looks it up: by its metatable, where the table has none.
///
/// # Errors
/// What a function raises that is asked.
pub fn get_inherited(stack: &mut Stack<'_>, table: i32, name: &str) -> Result<(), Thrown> {
    stack.make_room(LEVEL_ROOM);
    stack.push_copy(table);
    for _ in 0..INDEX_LOOPS_MAX {
        let at = stack.len();
        if stack.kind(at) == Kind::Table {
            stack.get_field(at, name);
            if stack.kind(-1) != Kind::Nil {
                stack.replace(at);
                return Ok(());
            }
            stack.pop(1);
        }
        if !stack.push_metatable(at) {
            break;
        }
        stack.get_field(-1, "__index");
        if stack.kind(-1) == Kind::Function {
            stack.push_copy(at);
            stack.push_bytes(name);
            if stack.call(2, 1, 0).is_err() {
                return Err(Thrown);
            }
            stack.replace(at);
            stack.truncate(at);
            return Ok(());
        }
        stack.replace(at);
        stack.truncate(at);
    }
    stack.pop(1);
    stack.push_nil();
    Ok(())
}

/// The beginning of a text before the first zero byte: where C thinks that it ends.
pub fn before_zero(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

/// Reads the error at this position.
pub fn error_at(stack: &mut Stack<'_>, index: i32) -> Told {
    let index = if index < 0 { stack.len() + index + 1 } else { index };
    if let Some(text) = stack.bytes(index) {
        return Told { text: [b"ERR ", before_zero(text)].concat(), place: None, is_counted: false };
    }
    let mut field = |name: &str| {
        stack.get_field(index, name);
        let is_true = stack.boolean(-1);
        stack.spell(-1);
        let text = stack.bytes(-1).map(|text| before_zero(text).to_vec());
        stack.pop(1);
        (text, is_true)
    };
    let text = field("err").0.unwrap_or_else(|| b"ERR unknown error".to_vec());
    let line = field("line").0.and_then(|line| std::str::from_utf8(&line).ok()?.parse().ok());
    let place = field("source").0.zip(line);
    Told { text, place, is_counted: field("ignore_error_stats_update").1 }
}

/// Why a script's value is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwritten {
    /// There is too much of it.
    TooLarge,
    /// The script has to end, with this text.
    Ended(&'static str),
}

/// How a script's value is written.
pub struct Writer<'a> {
    reply: Reply<'a>,
    work: Work<'a>,
    /// The protocol that the script has chosen.
    script_protocol: Protocol,
    values: usize,
    start: usize,
}

impl<'a> Writer<'a> {
    /// A writer of one value, in the client's protocol.
    pub fn new(out: &'a mut Output, work: Work<'a>, protocol: Protocol, script_protocol: Protocol) -> Writer<'a> {
        let start = out.len();
        Writer { reply: Reply::new(out, protocol), work, script_protocol, values: 0, start }
    }

    /// Writes the value on top of the stack.
    ///
    /// # Errors
    /// What was written has to be taken back, and the stack is left anyhow.
    pub fn write(&mut self, stack: &mut Stack<'_>) -> Result<(), Unwritten> {
        self.write_top(stack, 0)
    }

    fn count(&mut self, instructions: usize) -> Result<(), Unwritten> {
        self.work.count(instructions).map_err(Unwritten::Ended)
    }

    fn is_full(&self) -> bool {
        REPLY_VALUES_MAX <= self.values || REPLY_BYTES_MAX <= self.reply.buffer_bytes() - self.start
    }

    fn write_top(&mut self, stack: &mut Stack<'_>, depth: usize) -> Result<(), Unwritten> {
        self.values += 1;
        if self.is_full() {
            return Err(Unwritten::TooLarge);
        }
        if DEPTH_MAX <= depth || !stack.has_room(LEVEL_ROOM) {
            stack.pop(1);
            self.reply.error(&TOO_DEEP);
            return Ok(());
        }
        self.count(VALUE)?;
        match stack.kind(-1) {
            Kind::String => {
                self.count(stack.raw_len(-1) / BYTES_PER_INSTRUCTION)?;
                self.reply.bulk(stack.bytes(-1).unwrap_or_default());
            }
            Kind::Number => self.reply.integer(cut(stack.number(-1))),
            Kind::Boolean if self.script_protocol == Protocol::Resp3 => self.reply.boolean(stack.boolean(-1)),
            Kind::Boolean if stack.boolean(-1) => self.reply.integer(1),
            Kind::Table => return self.write_table(stack, depth),
            _ => self.reply.null(),
        }
        stack.pop(1);
        Ok(())
    }

    fn write_table(&mut self, stack: &mut Stack<'_>, depth: usize) -> Result<(), Unwritten> {
        self.count(TABLE)?;
        let table = stack.len();
        let field = |stack: &mut Stack<'_>, name: &str, kind: Kind| {
            stack.truncate(table);
            stack.get_field(table, name);
            stack.kind(-1) == kind
        };
        if field(stack, "err", Kind::String) {
            let told = error_at(stack, table);
            let error = Error::new(told.text);
            self.reply.error(&error);
            self.work.tell_error(&error, told.is_counted);
        } else if field(stack, "ok", Kind::String) {
            self.reply.simple(before_zero(stack.bytes(-1).unwrap_or_default()));
        } else if field(stack, "double", Kind::Number) {
            self.reply.double(&format_double(stack.number(-1)));
        } else if field(stack, "map", Kind::Table) {
            let pairs = self.count_entries(stack)?;
            self.reply.map(pairs);
            self.write_entries(stack, depth, true)?;
        } else if field(stack, "set", Kind::Table) {
            let len = self.count_entries(stack)?;
            self.reply.set(len);
            self.write_entries(stack, depth, false)?;
        } else if field(stack, "big_number", Kind::String) {
            // Whatever it is: on one line.
            let mut digits = stack.bytes(-1).unwrap_or_default().to_vec();
            digits.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
            self.reply.big_number(&digits);
        } else if !(field(stack, "verbatim_string", Kind::Table) && self.write_verbatim(stack, table)) {
            stack.truncate(table);
            let mut len = 0;
            while is_there(stack, table, len + 1) {
                len += 1;
                self.count(1)?;
            }
            self.reply.array(len as usize);
            for index in 1..=len {
                stack.raw_get_index(table, index);
                self.write_top(stack, depth + 1)?;
            }
        }
        stack.truncate(table - 1);
        Ok(())
    }

    /// Writes the keys of the table on top, and their values.
    fn write_entries(&mut self, stack: &mut Stack<'_>, depth: usize, is_map: bool) -> Result<(), Unwritten> {
        let table = stack.len();
        stack.push_nil();
        while stack.next(table) {
            stack.push_copy(-2);
            self.write_top(stack, depth + 1)?;
            if is_map {
                self.write_top(stack, depth + 1)?;
            } else {
                stack.pop(1);
            }
        }
        Ok(())
    }

    /// Entries of the table on top.
    fn count_entries(&mut self, stack: &mut Stack<'_>) -> Result<usize, Unwritten> {
        let (table, mut len) = (stack.len(), 0);
        stack.push_nil();
        while stack.next(table) {
            stack.pop(1);
            len += 1;
            self.count(1)?;
        }
        Ok(len)
    }

    /// Writes the verbatim string whose table is on top. False: it is none.
    fn write_verbatim(&mut self, stack: &mut Stack<'_>, table: i32) -> bool {
        let inner = table + 1;
        stack.get_field(inner, "format");
        stack.get_field(inner, "string");
        let (Some(format), Some(text)) = (stack.bytes(-2), stack.bytes(-1)) else { return false };
        let mut letters = [b' '; 3];
        letters.iter_mut().zip(format).for_each(|(letter, &byte)| *letter = byte);
        self.reply.verbatim(&letters, text);
        true
    }
}

fn is_there(stack: &mut Stack<'_>, table: i32, index: i32) -> bool {
    stack.raw_get_index(table, index);
    let is_there = stack.kind(-1) != Kind::Nil;
    stack.pop(1);
    is_there
}
