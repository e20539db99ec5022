//! `cjson`: JSON as lua-cjson reads and writes it: arrays by their keys, `\/`, numbers of 14 digits, its error texts.
//!
//! What a script sets (`encode_max_depth`, …) holds until it ends: nothing of one script is seen by another.

use super::api;
use super::args;
use super::work::{Text, VALUE, Work, full};
use crate::sys::lua::{BYTES_PER_INSTRUCTION, Kind, Stack, Thrown};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::io::Write;

/// Functions by the number of each, from [`api::CJSON`] on.
const FUNCTIONS: &[&str] = &[
    "encode",
    "decode",
    "encode_sparse_array",
    "encode_max_depth",
    "decode_max_depth",
    "encode_number_precision",
    "encode_keep_buffer",
    "encode_invalid_numbers",
    "decode_invalid_numbers",
    "new",
];
/// How many there are.
pub const FUNCTION_COUNT: u32 = FUNCTIONS.len() as u32;
/// The depth that may be chosen; what Lua's stack and ours bear.
const DEPTH_MAX: i64 = 1000;
/// Largest number that is chosen …
const INTEGER_MAX: i64 = i32::MAX as i64;
/// … and of digits.
const PRECISION_MAX: i64 = 14;
/// Bytes that the escape of one may take.
const ESCAPED_LEN_MAX: usize = 6;
/// Room on Lua's stack for one level.
const LEVEL_ROOM: i32 = 4;

/// What numbers that are none become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Refused,
    Written,
    Null,
}

/// How a script reads and writes JSON.
#[derive(Debug, Clone)]
pub struct Choice {
    sparse_as_object: bool,
    sparse_ratio: i64,
    sparse_safe: i64,
    encode_depth: i64,
    decode_depth: i64,
    precision: i64,
    keeps_buffer: bool,
    encode_invalid: Invalid,
    decodes_invalid: bool,
}

impl Default for Choice {
    fn default() -> Choice {
        Choice {
            sparse_as_object: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth: DEPTH_MAX,
            decode_depth: DEPTH_MAX,
            precision: 14,
            keeps_buffer: true,
            encode_invalid: Invalid::Refused,
            decodes_invalid: true,
        }
    }
}

/// Sets its functions and names in the table on top.
pub fn build(stack: &mut Stack<'_>) {
    for (index, name) in FUNCTIONS.iter().enumerate() {
        stack.push_host_function(api::CJSON + index as u32);
        stack.set_field(-2, name);
    }
    stack.push_bytes("cjson");
    stack.set_field(-2, "_NAME");
    stack.push_bytes("2.1.0");
    stack.set_field(-2, "_VERSION");
    stack.push_null();
    stack.set_field(-2, "null");
}

/// A script calls the function of this number.
pub fn called(choice: &mut Choice, work: &mut Work<'_>, function: u32, stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    let arguments_max = if function == 2 { 3 } else { 1 };
    if (2..=8).contains(&function) && arguments_max < stack.len() {
        let name = FUNCTIONS[function as usize];
        return Err(args::wrong(stack, arguments_max + 1, name, "found too many arguments"));
    }
    match function {
        0 => encode(choice, work, stack),
        1 => decode(choice, work, stack),
        2 => {
            let is_object = boolean_option(stack, 1, choice.sparse_as_object, FUNCTIONS[2])?;
            let ratio = integer_option(stack, 2, choice.sparse_ratio, (0, INTEGER_MAX), FUNCTIONS[2])?;
            let safe = integer_option(stack, 3, choice.sparse_safe, (0, INTEGER_MAX), FUNCTIONS[2])?;
            (choice.sparse_as_object, choice.sparse_ratio, choice.sparse_safe) = (is_object, ratio, safe);
            stack.push_boolean(is_object);
            stack.push_number(ratio as f64);
            stack.push_number(safe as f64);
            Ok(3)
        }
        3 | 4 => {
            let depth = if function == 3 { &mut choice.encode_depth } else { &mut choice.decode_depth };
            let name = FUNCTIONS[function as usize];
            let chosen = integer_option(stack, 1, *depth, (1, INTEGER_MAX), name)?;
            *depth = chosen.min(DEPTH_MAX);
            stack.push_number(chosen as f64);
            Ok(1)
        }
        5 => {
            choice.precision = integer_option(stack, 1, choice.precision, (1, PRECISION_MAX), FUNCTIONS[5])?;
            stack.push_number(choice.precision as f64);
            Ok(1)
        }
        6 => {
            choice.keeps_buffer = boolean_option(stack, 1, choice.keeps_buffer, FUNCTIONS[6])?;
            stack.push_boolean(choice.keeps_buffer);
            Ok(1)
        }
        7 => {
            choice.encode_invalid = match stack.bytes(1) {
                Some(b"null") => Invalid::Null,
                _ => {
                    let is_on = choice.encode_invalid != Invalid::Refused;
                    match boolean_option(stack, 1, is_on, FUNCTIONS[7])? {
                        true => Invalid::Written,
                        false => Invalid::Refused,
                    }
                }
            };
            match choice.encode_invalid {
                Invalid::Null => stack.push_bytes("null"),
                chosen => stack.push_boolean(chosen == Invalid::Written),
            }
            Ok(1)
        }
        8 => {
            choice.decodes_invalid = boolean_option(stack, 1, choice.decodes_invalid, FUNCTIONS[8])?;
            stack.push_boolean(choice.decodes_invalid);
            Ok(1)
        }
        _ => {
            stack.push_table(0, FUNCTIONS.len() + 3);
            build(stack);
            Ok(1)
        }
    }
}

fn boolean_option(stack: &mut Stack<'_>, at: i32, now: bool, function: &str) -> Result<bool, Thrown> {
    match stack.kind(at) {
        Kind::None | Kind::Nil => Ok(now),
        Kind::Boolean => Ok(stack.boolean(at)),
        Kind::String if stack.bytes(at) == Some(b"on") => Ok(true),
        Kind::String if stack.bytes(at) == Some(b"off") => Ok(false),
        _ => {
            stack.spell(at);
            let word = String::from_utf8_lossy(stack.bytes(at).unwrap_or_default()).into_owned();
            Err(args::wrong(stack, at, function, &format!("invalid option '{word}'")))
        }
    }
}

fn integer_option(
    stack: &mut Stack<'_>,
    at: i32,
    now: i64,
    (min, max): (i64, i64),
    function: &str,
) -> Result<i64, Thrown> {
    let chosen = args::integer_or(stack, at, function, now)?;
    if chosen < min || max < chosen {
        let what = format!("expected integer between {min} and {max}");
        return Err(args::wrong(stack, at, function, &what));
    }
    Ok(chosen)
}

// Writing

fn encode(choice: &Choice, work: &mut Work<'_>, stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    if stack.len() != 1 {
        return Err(args::wrong(stack, 1, "encode", "expected 1 argument"));
    }
    let mut out = Text::new(stack, work);
    out.bytes.reserve(256);
    write_top(choice, stack, &mut out, 0)?;
    out.begin_value(stack, 0)?;
    out.push(stack);
    Ok(1)
}

/// Writes the value on top, which stays.
fn write_top(choice: &Choice, stack: &mut Stack<'_>, out: &mut Text<'_, '_>, depth: i64) -> Result<(), Thrown> {
    out.begin_value(stack, 0)?;
    match stack.kind(-1) {
        Kind::String => write_string(stack, out, -1)?,
        Kind::Number => {
            let number = stack.number(-1);
            write_number(choice, stack, &mut out.bytes, number)?;
        }
        Kind::Boolean => out.bytes.extend_from_slice(if stack.boolean(-1) { b"true" } else { b"false" }),
        Kind::Nil => out.bytes.extend_from_slice(b"null"),
        Kind::Pointer if stack.is_null(-1) => out.bytes.extend_from_slice(b"null"),
        Kind::Table => {
            let depth = depth + 1;
            if choice.encode_depth < depth || !stack.has_room(LEVEL_ROOM) {
                return Err(stack.throw(format!("Cannot serialise, excessive nesting ({depth})")));
            }
            match array_len(choice, stack, out.work)? {
                Some(len) => write_array(choice, stack, out, len, depth)?,
                None => write_object(choice, stack, out, depth)?,
            }
        }
        kind => return Err(stack.throw(format!("Cannot serialise {}: type not supported", kind.name()))),
    }
    Ok(())
}

/// Elements of the table on top, if it is an array.
fn array_len(choice: &Choice, stack: &mut Stack<'_>, work: &mut Work<'_>) -> Result<Option<i64>, Thrown> {
    let table = stack.len();
    let (mut highest, mut len, mut place) = (0_i64, 0_i64, 0);
    while let Some(next) = stack.push_pair(table, place) {
        place = next;
        // A string would be read as the number that it spells.
        let key = if stack.kind(-2) == Kind::Number { stack.number(-2) } else { 0.0 };
        stack.pop(2);
        if !((1.0..2_147_483_648.0).contains(&key) && key as i64 as f64 == key) {
            return Ok(None);
        }
        highest = highest.max(key as i64);
        len += 1;
        work.take(stack, 1)?;
    }
    let is_sparse =
        0 < choice.sparse_ratio && len.saturating_mul(choice.sparse_ratio) < highest && choice.sparse_safe < highest;
    if is_sparse {
        if !choice.sparse_as_object {
            return Err(stack.throw("Cannot serialise table: excessively sparse array"));
        }
        return Ok(None);
    }
    Ok((0 < highest).then_some(highest))
}

fn write_array(
    choice: &Choice,
    stack: &mut Stack<'_>,
    out: &mut Text<'_, '_>,
    len: i64,
    depth: i64,
) -> Result<(), Thrown> {
    let table = stack.len();
    out.bytes.push(b'[');
    for index in 1..=len {
        if 1 < index {
            out.bytes.push(b',');
        }
        stack.raw_get_index(table, index as i32);
        write_top(choice, stack, out, depth)?;
        stack.pop(1);
    }
    out.bytes.push(b']');
    Ok(())
}

fn write_object(choice: &Choice, stack: &mut Stack<'_>, out: &mut Text<'_, '_>, depth: i64) -> Result<(), Thrown> {
    let table = stack.len();
    out.bytes.push(b'{');
    let mut place = 0;
    let start = out.bytes.len();
    while let Some(next) = stack.push_pair(table, place) {
        place = next;
        if start < out.bytes.len() {
            out.bytes.push(b',');
        }
        match stack.kind(-2) {
            Kind::Number => {
                let number = stack.number(-2);
                out.bytes.push(b'"');
                write_number(choice, stack, &mut out.bytes, number)?;
                out.bytes.extend_from_slice(b"\":");
            }
            Kind::String => {
                write_string(stack, out, -2)?;
                out.bytes.push(b':');
            }
            kind => {
                let kind = kind.name();
                return Err(stack.throw(format!("Cannot serialise {kind}: table key must be a number or string")));
            }
        }
        write_top(choice, stack, out, depth)?;
        stack.pop(2);
    }
    out.bytes.push(b'}');
    Ok(())
}

fn write_number(choice: &Choice, stack: &mut Stack<'_>, out: &mut Vec<u8>, number: f64) -> Result<(), Thrown> {
    if number.is_finite() {
        write_general(out, number, choice.precision as usize);
        return Ok(());
    }
    match choice.encode_invalid {
        Invalid::Refused => return Err(stack.throw("Cannot serialise number: must not be NaN or Inf")),
        Invalid::Null => out.extend_from_slice(b"null"),
        Invalid::Written if number.is_nan() => out.extend_from_slice(b"nan"),
        Invalid::Written => out.extend_from_slice(if number < 0.0 { b"-inf" } else { b"inf" }),
    }
    Ok(())
}

/// Writes a finite number as C's `%.{digits}g`.
pub fn write_general(out: &mut Vec<u8>, number: f64, digits: usize) {
    let integer = number as i32;
    let is_integer = f64::from(integer) == number && number.abs() < 1e9;
    if is_integer && (integer != 0 || number.is_sign_positive()) && 9 < digits {
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
        return;
    }
    if let Some((figures, decimals)) = short_decimal(number).filter(|_| 9 < digits) {
        let (mut buffer, scale) = (itoa::Buffer::new(), POWERS_OF_TEN[decimals] as u32);
        if number < 0.0 {
            out.push(b'-');
        }
        out.extend_from_slice(buffer.format(figures / scale).as_bytes());
        out.push(b'.');
        let fraction = buffer.format(figures % scale).as_bytes();
        out.extend_from_slice(&b"0000"[..decimals - fraction.len()]);
        out.extend_from_slice(fraction);
        return;
    }
    // The shortest digits that read back as the number are those of C where there are no more of them than it would
    // write, and the number is no coarser than they are, as subnormal ones are; they are found many times faster than
    // digits to an exact length.
    let (mut short, mut exact) = ([0; SCIENTIFIC_LEN_MAX], [0; SCIENTIFIC_LEN_MAX]);
    let mut text = scientific(&mut short, format_args!("{:e}", number.abs()));
    if text.find('e').is_none_or(|len| digits + 1 < len) || number.is_subnormal() {
        text = scientific(&mut exact, format_args!("{:.*e}", digits - 1, number.abs()));
    }
    let (mantissa, exponent) = text.split_once('e').expect("a number in this form has an exponent");
    let exponent: i32 = exponent.parse().expect("an integer");
    let mut figures: SmallVec<[u8; SCIENTIFIC_LEN_MAX]> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    figures.truncate(figures.iter().rposition(|&figure| figure != b'0').map_or(1, |last| last + 1));
    if number.is_sign_negative() {
        out.push(b'-');
    }
    if exponent < -4 || digits as i32 <= exponent {
        out.extend_from_slice(&figures[..1]);
        if 1 < figures.len() {
            out.push(b'.');
            out.extend_from_slice(&figures[1..]);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.unsigned_abs()).as_bytes());
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.extend_from_slice(&figures);
    } else {
        let whole = exponent as usize + 1;
        if figures.len() <= whole {
            out.extend_from_slice(&figures);
            out.extend(std::iter::repeat_n(b'0', whole - figures.len()));
        } else {
            out.extend_from_slice(&figures[..whole]);
            out.push(b'.');
            out.extend_from_slice(&figures[whole..]);
        }
    }
}

/// What numbers with some decimals are integers by.
const POWERS_OF_TEN: [f64; PLAIN_LEN_MAX] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
/// Decimals that a short number has.
const SHORT_DECIMALS_MAX: usize = 4;

/// The digits of a number that has up to nine of them, and how many of those, as few as may be, stand behind the point,
/// up to four: a price, say. None: it is another one.
fn short_decimal(number: f64) -> Option<(u32, usize)> {
    let number = number.abs();
    (1..=SHORT_DECIMALS_MAX).find_map(|decimals| {
        let figures = (number * POWERS_OF_TEN[decimals] + 0.5) as u32;
        // A quotient is the double that is nearest to it, as that is which is read from these digits.
        let is_same = f64::from(figures) / POWERS_OF_TEN[decimals] == number;
        (is_same && 0 < figures && figures < 1_000_000_000).then_some((figures, decimals))
    })
}

/// So many digits of a number, with its point, are read at once: all their integers are doubles.
const PLAIN_LEN_MAX: usize = 15;
/// Room for a double with 17 digits, point, `e`, sign and an exponent of three digits.
const SCIENTIFIC_LEN_MAX: usize = 32;

fn scientific<'b>(buffer: &'b mut [u8; SCIENTIFIC_LEN_MAX], number: std::fmt::Arguments<'_>) -> &'b str {
    let mut free = &mut buffer[..];
    free.write_fmt(number).expect("it has room");
    let len = SCIENTIFIC_LEN_MAX - free.len();
    std::str::from_utf8(&buffer[..len]).expect("digits")
}

/// Writes the string at this position.
fn write_string(stack: &mut Stack<'_>, out: &mut Text<'_, '_>, at: i32) -> Result<(), Thrown> {
    let bytes = stack.bytes(at).unwrap_or_default();
    if out.has_room(bytes.len().saturating_mul(ESCAPED_LEN_MAX) + 2) {
        return match out.work.count(bytes.len() / BYTES_PER_INSTRUCTION) {
            Ok(()) => {
                write_escaped(&mut out.bytes, bytes);
                Ok(())
            }
            Err(text) => Err(api::push_ending(stack, text)),
        };
    }
    let escaped_len = |&byte: &u8| match escape(byte) {
        None => 1,
        Some(b"") => ESCAPED_LEN_MAX,
        Some(escape) => escape.len(),
    };
    let len = 2 + bytes.iter().map(escaped_len).sum::<usize>();
    out.begin_value(stack, len)?;
    write_escaped(&mut out.bytes, stack.bytes(at).unwrap_or_default());
    Ok(())
}

/// What stands for a byte in a string; empty: its number.
#[inline]
const fn escape(byte: u8) -> Option<&'static [u8]> {
    Some(match byte {
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        b'/' => b"\\/",
        8 => b"\\b",
        9 => b"\\t",
        10 => b"\\n",
        12 => b"\\f",
        13 => b"\\r",
        0..=31 | 127 => b"",
        _ => return None,
    })
}

/// Whether a byte has an escape.
static IS_ESCAPED: [bool; 256] = {
    let mut is_escaped = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        is_escaped[byte] = escape(byte as u8).is_some();
        byte += 1;
    }
    is_escaped
};

fn write_escaped(out: &mut Vec<u8>, mut bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    while let Some(plain) = bytes.iter().position(|&byte| IS_ESCAPED[usize::from(byte)]) {
        let byte = bytes[plain];
        let escape = escape(byte).unwrap_or_default();
        out.extend_from_slice(&bytes[..plain]);
        bytes = &bytes[plain + 1..];
        if escape.is_empty() {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(bytes);
    out.push(b'"');
}

// Reading

/// Whether a byte ends what of a string stands for itself.
static ENDS_PLAIN: [bool; 256] = {
    let mut ends_plain = [false; 256];
    ends_plain[b'"' as usize] = true;
    ends_plain[b'\\' as usize] = true;
    ends_plain[0] = true;
    ends_plain
};

/// What stands in a text; the names are those of error texts.
#[derive(Debug, Clone)]
enum Token<'a> {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Cow<'a, [u8]>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token<'_> {
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(what) => what,
        }
    }
}

/// A text being read.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the last token began.
    token_at: usize,
    depth: i64,
    /// Up to here its time is counted.
    counted: usize,
    choice: &'a Choice,
}

fn decode(choice: &Choice, work: &mut Work<'_>, stack: &mut Stack<'_>) -> Result<usize, Thrown> {
    if stack.len() != 1 {
        return Err(args::wrong(stack, 1, "decode", "expected 1 argument"));
    }
    args::string(stack, 1, "decode")?;
    stack.lend_bytes(1, |stack, bytes| decode_bytes(choice, work, stack, bytes))
}

fn decode_bytes(choice: &Choice, work: &mut Work<'_>, stack: &mut Stack<'_>, bytes: &[u8]) -> Result<usize, Thrown> {
    if 2 <= bytes.len() && (bytes[0] == 0 || bytes[1] == 0) {
        return Err(stack.throw("JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut reader = Reader { bytes, at: 0, token_at: 0, depth: 0, counted: 0, choice };
    let result = reader.push_all(stack, work);
    // What stands behind the last value, or before what is wrong, was looked through too.
    let end = reader.at.max(reader.token_at);
    stack.charge(end.saturating_sub(reader.counted) / BYTES_PER_INSTRUCTION);
    result
}

impl<'a> Reader<'a> {
    fn unexpected(&self, stack: &mut Stack<'_>, expected: &str, found: &Token<'_>) -> Thrown {
        stack.throw(format!("Expected {expected} but found {} at character {}", found.name(), self.token_at + 1))
    }

    /// Pushes what the text holds: one value.
    fn push_all(&mut self, stack: &mut Stack<'_>, work: &mut Work<'_>) -> Result<usize, Thrown> {
        let token = self.token();
        self.push(stack, work, token)?;
        match self.token() {
            Token::End => Ok(1),
            other => Err(self.unexpected(stack, "the end", &other)),
        }
    }

    fn deeper(&mut self, stack: &mut Stack<'_>) -> Result<(), Thrown> {
        self.depth += 1;
        if self.choice.decode_depth < self.depth || !stack.has_room(LEVEL_ROOM) {
            let text = format!("Found too many nested data structures ({}) at character {}", self.depth, self.at);
            return Err(stack.throw(text));
        }
        Ok(())
    }

    /// Pushes the value that begins with a token.
    fn push(&mut self, stack: &mut Stack<'_>, work: &mut Work<'_>, token: Token<'a>) -> Result<(), Thrown> {
        let read = self.at - std::mem::replace(&mut self.counted, self.at);
        work.take(stack, VALUE + read / BYTES_PER_INSTRUCTION)?;
        if stack.is_overdrawn() {
            return Err(full(stack));
        }
        match token {
            Token::String(string) => stack.push_bytes(string),
            Token::Number(number) => stack.push_number(number),
            Token::Boolean(value) => stack.push_boolean(value),
            Token::Null => stack.push_null(),
            Token::ObjectBegin => return self.push_object(stack, work),
            Token::ArrayBegin => return self.push_array(stack, work),
            other => return Err(self.unexpected(stack, "value", &other)),
        }
        Ok(())
    }

    fn push_object(&mut self, stack: &mut Stack<'_>, work: &mut Work<'_>) -> Result<(), Thrown> {
        self.deeper(stack)?;
        let mut token = self.token();
        // With room for one, to which an empty one would grow with the first: then the order of its keys is that of
        // Redis, which grows it from nothing.
        let fields = usize::from(!matches!(token, Token::ObjectEnd));
        stack.push_table(0, fields);
        let table = stack.len();
        if !matches!(token, Token::ObjectEnd) {
            loop {
                let Token::String(key) = token else {
                    return Err(self.unexpected(stack, "object key string", &token));
                };
                let colon = self.token();
                if !matches!(colon, Token::Colon) {
                    return Err(self.unexpected(stack, "colon", &colon));
                }
                stack.push_bytes(key);
                let value = self.token();
                self.push(stack, work, value)?;
                stack.raw_set(table);
                match self.token() {
                    Token::ObjectEnd => break,
                    Token::Comma => token = self.token(),
                    other => return Err(self.unexpected(stack, "comma or object end", &other)),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn push_array(&mut self, stack: &mut Stack<'_>, work: &mut Work<'_>) -> Result<(), Thrown> {
        self.deeper(stack)?;
        let mut token = self.token();
        // As above.
        let elements = usize::from(!matches!(token, Token::ArrayEnd));
        stack.push_table(elements, 0);
        let table = stack.len();
        if !matches!(token, Token::ArrayEnd) {
            let mut index = 1;
            loop {
                self.push(stack, work, token)?;
                stack.raw_set_index(table, index);
                index += 1;
                match self.token() {
                    Token::ArrayEnd => break,
                    Token::Comma => token = self.token(),
                    other => return Err(self.unexpected(stack, "comma or array end", &other)),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn token(&mut self) -> Token<'a> {
        // A zero byte ends a text, as it does in C.
        let mut first = self.bytes.get(self.at).copied().unwrap_or(0);
        while matches!(first, b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
            first = self.bytes.get(self.at).copied().unwrap_or(0);
        }
        self.token_at = self.at;
        let single = match first {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b':' => Token::Colon,
            b',' => Token::Comma,
            0 => return Token::End,
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => return self.number(),
            _ => return self.word(first),
        };
        self.at += 1;
        single
    }

    /// The token that begins with a letter, or with none that any has.
    #[inline(never)]
    fn word(&mut self, first: u8) -> Token<'a> {
        let rest = &self.bytes[self.at..];
        match first {
            b't' | b'f' | b'n' => {
                let words = [("true", Token::Boolean(true)), ("false", Token::Boolean(false)), ("null", Token::Null)];
                if let Some((word, token)) = words.into_iter().find(|(word, _)| rest.starts_with(word.as_bytes())) {
                    self.at += word.len();
                    return token;
                }
            }
            _ => {}
        }
        match first {
            b'+' | b'i' | b'I' | b'n' | b'N' if self.choice.decodes_invalid => match self.number() {
                Token::Error(_) => Token::Error("invalid token"),
                token => token,
            },
            _ => Token::Error("invalid token"),
        }
    }

    fn string(&mut self) -> Token<'a> {
        let start = self.at + 1;
        let rest = &self.bytes[start..];
        let plain = rest.iter().position(|&byte| ENDS_PLAIN[usize::from(byte)]).unwrap_or(rest.len());
        let mut at = start + plain;
        if self.bytes.get(at) == Some(&b'"') {
            self.at = at + 1;
            return Token::String(Cow::Borrowed(&self.bytes[start..at]));
        }
        let mut out = self.bytes[start..at].to_vec();
        loop {
            let Some(&byte) = self.bytes.get(at) else { return self.broken(at, "unexpected end of string") };
            match byte {
                b'"' => break,
                0 => return self.broken(at, "unexpected end of string"),
                b'\\' => {
                    let Some(&escape) = self.bytes.get(at + 1) else {
                        return self.broken(at, "invalid escape code");
                    };
                    let plain = match escape {
                        b'"' | b'\\' | b'/' => escape,
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'u' => {
                            let Some((code, len)) = self.code_point(at) else {
                                return self.broken(at, "invalid unicode escape code");
                            };
                            push_code_point(&mut out, code);
                            at += len;
                            continue;
                        }
                        _ => return self.broken(at, "invalid escape code"),
                    };
                    out.push(plain);
                    at += 2;
                    continue;
                }
                _ => out.push(byte),
            }
            at += 1;
        }
        self.at = at + 1;
        Token::String(Cow::Owned(out))
    }

    /// What is wrong at this place.
    fn broken(&mut self, at: usize, what: &'static str) -> Token<'a> {
        self.token_at = at;
        Token::Error(what)
    }

    /// The code point of the escape here, and its length: with its second half where it is a surrogate.
    fn code_point(&self, at: usize) -> Option<(u32, usize)> {
        let four = |at: usize| -> Option<u32> {
            let digits = self.bytes.get(at + 2..at + 6)?;
            digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
        };
        let high = four(at)?;
        if high & 0xf800 != 0xd800 {
            return Some((high, 6));
        }
        if high & 0x400 != 0 || self.bytes.get(at + 6..at + 8)? != b"\\u" {
            return None; // A second half alone, or a first one alone.
        }
        let low = four(at + 6)?;
        (low & 0xfc00 == 0xdc00).then(|| (((high & 0x3ff) << 10 | low & 0x3ff) + 0x1_0000, 12))
    }

    fn number(&mut self) -> Token<'a> {
        let rest = &self.bytes[self.at..];
        let (number, len) = plain_number(rest).unwrap_or_else(|| c_number(rest));
        if len == 0 || !self.choice.decodes_invalid && is_invalid_number(rest) {
            return Token::Error("invalid number");
        }
        self.at += len;
        Token::Number(number)
    }
}

/// Whether a number is none by the rules of JSON: a plus, a leading zero, hexadecimal, infinite.
fn is_invalid_number(text: &[u8]) -> bool {
    if text.first() == Some(&b'+') {
        return true;
    }
    let text = text.strip_prefix(b"-").unwrap_or(text);
    match text {
        [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
        [b'0'..=b'9', ..] => false,
        _ => true,
    }
}

/// The hexadecimal digits at the front, with a fraction and a power of two where there are, and their length.
fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let digits = |from: usize| text[from.min(text.len())..].iter().take_while(|digit| digit.is_ascii_hexdigit());
    let whole = digits(0).count();
    let fraction = if text.get(whole) == Some(&b'.') { digits(whole + 1).count() } else { 0 };
    if whole + fraction == 0 {
        return None;
    }
    let mantissa = digits(0).chain(digits(whole + 1).take(fraction));
    let value =
        mantissa.fold(0.0, |value, &digit| value * 16.0 + f64::from(char::from(digit).to_digit(16).unwrap_or(0)));
    let mut len = whole + if text.get(whole) == Some(&b'.') { 1 + fraction } else { 0 };
    let mut power = -4 * fraction as i32;
    if matches!(text.get(len), Some(b'p' | b'P')) {
        let sign = usize::from(matches!(text.get(len + 1), Some(b'-' | b'+')));
        let digits = text[(len + 1 + sign).min(text.len())..].iter().take_while(|byte| byte.is_ascii_digit());
        let exponent = digits.clone().fold(0i32, |sum, &digit| (sum * 10 + i32::from(digit - b'0')).min(1 << 20));
        if digits.count() != 0 {
            power += if text[len + 1] == b'-' { -exponent } else { exponent };
            len += 1 + sign + text[len + 1 + sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        }
    }
    Some((value * f64::from(power).exp2(), len))
}

/// The same as [`c_number`] of most numbers: an integer or a decimal fraction of few digits, without an exponent. Its
/// digits and the power of ten under them are doubles as they are, so that their quotient is the nearest to the number.
fn plain_number(text: &[u8]) -> Option<(f64, usize)> {
    let is_negative = text.first() == Some(&b'-');
    let body = &text[usize::from(is_negative)..];
    let (mut figures, mut point, mut len) = (0_u64, None, 0);
    while let Some(&byte) = body.get(len) {
        match byte {
            b'0'..=b'9' if len < PLAIN_LEN_MAX => figures = 10 * figures + u64::from(byte - b'0'),
            b'.' if point.is_none() && 0 < len && len < PLAIN_LEN_MAX => point = Some(len),
            b'0'..=b'9' | b'.' | b'e' | b'E' | b'x' | b'X' => return None,
            _ => break,
        }
        len += 1;
    }
    if len == 0 {
        return None;
    }
    let number = figures as f64 / POWERS_OF_TEN[point.map_or(0, |point| len - 1 - point)];
    Some((if is_negative { -number } else { number }, usize::from(is_negative) + len))
}

/// The number at the front as C's `strtod` reads it, and its length; 0: none.
fn c_number(text: &[u8]) -> (f64, usize) {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let negative = text.first() == Some(&b'-');
    let signed = |value: f64| if negative { -value } else { value };
    let body = &text[sign..];
    let starts = |word: &[u8]| body.len() >= word.len() && body[..word.len()].eq_ignore_ascii_case(word);
    for (word, value) in [(&b"infinity"[..], f64::INFINITY), (b"inf", f64::INFINITY), (b"nan", f64::NAN)] {
        if starts(word) {
            return (signed(value), sign + word.len());
        }
    }
    if starts(b"0x")
        && let Some((value, len)) = hexadecimal(&body[2..])
    {
        return (signed(value), sign + 2 + len);
    }
    let digits = |from: usize| body[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let mut len = whole;
    if body.get(whole) == Some(&b'.') {
        let fraction = digits(whole + 1);
        if 0 < whole + fraction {
            len = whole + 1 + fraction;
        }
    }
    if len == 0 {
        return (0.0, 0);
    }
    if matches!(body.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(body.get(len + 1), Some(b'-' | b'+')));
        let exponent = digits((len + 1 + sign).min(body.len()));
        if 0 < exponent {
            len += 1 + sign + exponent;
        }
    }
    let number = std::str::from_utf8(&body[..len]).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    (signed(number), sign + len)
}

fn push_code_point(out: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.extend_from_slice("\u{fffd}".as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn general(number: f64) -> String {
        let mut out = Vec::new();
        write_general(&mut out, number, 14);
        String::from_utf8(out).expect("digits")
    }

    #[test]
    fn plain_numbers_are_read_as_all_numbers_are() {
        let mut figures = 1_u64;
        while figures < 10_u64.pow(17) {
            let digits = figures.to_string();
            for point in 0..=digits.len() {
                let (whole, fraction) = digits.split_at(point);
                for text in [format!("{whole}.{fraction},"), format!("-0{whole}.{fraction}]"), format!("{digits} ")] {
                    let plain = plain_number(text.as_bytes());
                    assert_eq!(plain.is_none(), text.starts_with('.') || 16 < text.trim_start_matches('-').len());
                    let Some((number, len)) = plain else { continue };
                    let (expected, expected_len) = c_number(text.as_bytes());
                    assert_eq!((number.to_bits(), len), (expected.to_bits(), expected_len), "{text}");
                }
            }
            figures += 1 + figures / 97;
        }
        for text in ["0", "-0", "-0.0", "1.", "00.5", "1.5.2", "3-", "12:"] {
            let (number, len) = plain_number(text.as_bytes()).unwrap_or_else(|| c_number(text.as_bytes()));
            let (expected, expected_len) = c_number(text.as_bytes());
            assert_eq!((number.to_bits(), len), (expected.to_bits(), expected_len), "{text}");
        }
        for text in ["", "-", ".5", "1e5", "0x10", "1.e2", "1.5.2", "inf", "+1", "1234567890123456"] {
            assert_eq!(plain_number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn short_decimals_are_written_as_all_numbers_are() {
        let mut figures = 1_u32;
        while figures < 1_000_000_000 {
            for (decimals, &scale) in POWERS_OF_TEN.iter().enumerate().take(SHORT_DECIMALS_MAX + 1).skip(1) {
                let scale = scale as u32;
                let text = format!("{}.{:0decimals$}", figures / scale, figures % scale);
                let number: f64 = text.parse().expect("a number");
                let text = text.trim_end_matches('0').trim_end_matches('.');
                assert_eq!(general(number), text);
                assert_eq!(general(-number), format!("-{text}"));
                // Not such decimals, but the same in 14 digits.
                assert_eq!(general(number.next_up()), text);
                assert_eq!(general(number.next_down()), text);
            }
            figures += 1 + figures / 97;
        }
        for (number, text) in [(0.1 + 0.2, "0.3"), (0.00001, "1e-05"), (0.12345, "0.12345"), (-0.0, "-0")] {
            assert_eq!(general(number), text);
        }
        for (number, text) in [(5e-324, "4.9406564584125e-324"), (-1.5e-320, "-1.499983300774e-320")] {
            assert_eq!(general(number), text);
        }
    }
}
