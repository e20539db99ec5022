//! Lengths and strings on their way out.

use crate::structure::listpack::Element;
use crate::structure::lzf;
use crate::value::number::parse_integer;

/// Strings up to this length are not compressed: Redis' rdb.c.
const PLAIN_LEN_MAX: usize = 20;
/// Longer ones are not either: compressing so much takes some milliseconds, in which nobody else is served.
const COMPRESSED_LEN_MAX: usize = 1 << 20;
/// Bytes that compressing must win.
const GAIN_MIN: usize = 4;
/// Texts up to this length may be integers of 32 bits.
const INTEGER_TEXT_LEN_MAX: usize = 11;

/// Writes a length, or a number like one.
pub fn length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Writes a string, in the shortest of its forms.
pub fn string(out: &mut Vec<u8>, text: &[u8], compress: bool) {
    if text.len() <= INTEGER_TEXT_LEN_MAX
        && let Some(integer) = parse_integer(text)
        && short_integer(out, integer)
    {
        return;
    }
    if compress
        && (PLAIN_LEN_MAX + 1..=COMPRESSED_LEN_MAX).contains(&text.len())
        && let Some(packed) = lzf::compress(text, GAIN_MIN)
    {
        out.push(0xc3);
        length(out, packed.len() as u64);
        length(out, text.len() as u64);
        out.extend_from_slice(&packed);
        return;
    }
    length(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Writes the text of an integer.
pub fn integer(out: &mut Vec<u8>, integer: i64) {
    if !short_integer(out, integer) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(integer).as_bytes();
        length(out, digits.len() as u64);
        out.extend_from_slice(digits);
    }
}

/// Writes an element as a string.
pub fn element(out: &mut Vec<u8>, element: Element<'_>, compress: bool) {
    match element {
        Element::Integer(number) => integer(out, number),
        Element::Bytes(text) => string(out, text, compress),
    }
}

/// Writes an integer as such, if 32 bits hold it.
fn short_integer(out: &mut Vec<u8>, integer: i64) -> bool {
    if let Ok(byte) = i8::try_from(integer) {
        out.extend_from_slice(&[0xc0, byte as u8]);
    } else if let Ok(short) = i16::try_from(integer) {
        out.push(0xc1);
        out.extend_from_slice(&short.to_le_bytes());
    } else if let Ok(long) = i32::try_from(integer) {
        out.push(0xc2);
        out.extend_from_slice(&long.to_le_bytes());
    } else {
        return false;
    }
    true
}

/// Writes a time, unix ms.
pub fn time_ms(out: &mut Vec<u8>, time_ms: u64) {
    out.extend_from_slice(&time_ms.to_le_bytes());
}
