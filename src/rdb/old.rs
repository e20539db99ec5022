//! Forms that Redis has given up, made into listpacks: ziplists (until 6.2) and zipmaps (until 2.4).
//!
//! ```text
//! ziplist  ┌─────────────┬────────────┬─────────┬───────────────────────────────────┬─ ─ ─┬──────┐
//!          │ all bytes 4 │ last one 4 │ count 2 │ entry: size before, code, data    │     │ 0xff │   little-endian
//!          └─────────────┴────────────┴─────────┴───────────────────────────────────┴─ ─ ─┴──────┘
//!   size of the entry before: 1 byte below 254, or 254 and 4 bytes
//!   00llllll  bytes…                          a string of up to 63 bytes
//!   01llllll llllllll  bytes…                 of up to 16,383; the high bits come first
//!   10000000  length 4 (big-endian)  bytes…   a longer one
//!   11000000 / 11010000 / 11100000  2 / 4 / 8 bytes     an integer, signed
//!   11110000 / 11111110             3 / 1 bytes         likewise
//!   1111iiii                                  an integer: i - 1, from 0 to 12
//!
//! zipmap   ┌─────────┬──────────────┬──────────────────────────────────┬─ ─ ─┬──────┐
//!          │ count 1 │ length, name │ length, unused 1, value, unused… │     │ 0xff │
//!          └─────────┴──────────────┴──────────────────────────────────┴─ ─ ─┴──────┘
//!   length: 1 byte below 254, or 254 and 4 bytes; a count of 254 says: so many or more
//! ```

use crate::structure::listpack::{Element, Listpack};

const END: u8 = 0xff;
/// In the place of a length or size: it stands in the four bytes behind.
const FOUR_BYTES: u8 = 254;
const ZIPLIST_HEADER_BYTES: usize = 10;
/// The count that stands for itself and all larger ones.
const ZIPLIST_COUNT_UNKNOWN: u16 = u16::MAX;
const ZIPMAP_COUNT_UNKNOWN: u8 = 254;

/// The first bytes, taken off.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn take_slice<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(first)
}

/// A length of one byte, or of four behind a mark.
fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    match take::<1>(bytes)? {
        [END] => None,
        [FOUR_BYTES] => Some(u32::from_le_bytes(take(bytes)?) as usize),
        [length] => Some(length.into()),
    }
}

/// The same in the shortest form: nobody has ever written another in a zipmap.
fn take_zipmap_length(bytes: &mut &[u8]) -> Option<usize> {
    let is_long = bytes.first() == Some(&FOUR_BYTES);
    take_length(bytes).filter(|&length| is_long == (usize::from(FOUR_BYTES) <= length))
}

/// The elements of a ziplist. `None`: it is not whole.
pub(super) fn ziplist(bytes: &[u8]) -> Option<Listpack> {
    let mut header = bytes.get(..ZIPLIST_HEADER_BYTES)?;
    let all_bytes = u32::from_le_bytes(take(&mut header)?) as usize;
    let last = u32::from_le_bytes(take(&mut header)?) as usize;
    let count = u16::from_le_bytes(take(&mut header)?);
    let (&end, body) = bytes[ZIPLIST_HEADER_BYTES..].split_last()?;
    if all_bytes != bytes.len() || end != END {
        return None;
    }
    let mut listpack = Listpack::with_capacity(bytes.len());
    let (mut rest, mut found, mut begins) = (body, 0usize, ZIPLIST_HEADER_BYTES);
    let mut size_before = 0;
    while !rest.is_empty() {
        begins = bytes.len() - 1 - rest.len();
        if take_length(&mut rest)? != size_before {
            return None;
        }
        let element = take_ziplist_element(&mut rest)?;
        if !listpack.can_add(element.len() + 16) {
            return None;
        }
        listpack.push_back(element);
        found += 1;
        size_before = bytes.len() - 1 - rest.len() - begins;
    }
    let is_counted = count == ZIPLIST_COUNT_UNKNOWN || usize::from(count) == found;
    (is_counted && last == begins).then_some(listpack)
}

fn take_ziplist_element<'a>(rest: &mut &'a [u8]) -> Option<Element<'a>> {
    let [code] = take(rest)?;
    let integer = match code {
        0..0x40 => return take_slice(rest, code.into()).map(Element::Bytes),
        0x40..0x80 => {
            let len = u16::from_be_bytes([code & 0x3f, take::<1>(rest)?[0]]);
            return take_slice(rest, len.into()).map(Element::Bytes);
        }
        0x80 => {
            let len = u32::from_be_bytes(take(rest)?);
            return take_slice(rest, len as usize).map(Element::Bytes);
        }
        0xc0 => i16::from_le_bytes(take(rest)?).into(),
        0xd0 => i32::from_le_bytes(take(rest)?).into(),
        0xe0 => i64::from_le_bytes(take(rest)?),
        0xf0 => {
            let [low, middle, high] = take(rest)?;
            (i32::from_le_bytes([0, low, middle, high]) >> 8).into()
        }
        0xfe => i8::from_le_bytes(take(rest)?).into(),
        0xf1..=0xfd => i64::from(code & 0x0f) - 1,
        _ => return None,
    };
    Some(Element::Integer(integer))
}

/// The fields and values of a zipmap, in turn. `None`: it is not whole.
pub(super) fn zipmap(bytes: &[u8]) -> Option<Listpack> {
    let (&count, rest) = bytes.split_first()?;
    let (&end, mut rest) = rest.split_last()?;
    if end != END {
        return None;
    }
    let mut listpack = Listpack::with_capacity(bytes.len());
    let mut found = 0usize;
    while !rest.is_empty() {
        let name_len = take_zipmap_length(&mut rest)?;
        let name = take_slice(&mut rest, name_len)?;
        let value_len = take_zipmap_length(&mut rest)?;
        let [unused] = take(&mut rest)?;
        let value = take_slice(&mut rest, value_len)?;
        take_slice(&mut rest, unused.into())?;
        if !listpack.can_add(name_len.checked_add(value_len)?.checked_add(32)?) {
            return None;
        }
        listpack.insert_all(None, [Element::Bytes(name), Element::Bytes(value)]);
        found += 1;
    }
    (ZIPMAP_COUNT_UNKNOWN <= count || usize::from(count) == found).then_some(listpack)
}
