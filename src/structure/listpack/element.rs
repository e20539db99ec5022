//! One element of a listpack: its codes, and the size behind it.

/// What ends a listpack, in the place of a code.
pub(in crate::structure) const END: u8 = 0xff;

const CODE_STRING_6: u8 = 0x80;
const CODE_INTEGER_13: u8 = 0xc0;
const CODE_STRING_12: u8 = 0xe0;
const CODE_STRING_32: u8 = 0xf0;
const CODE_INTEGER_16: u8 = 0xf1;
const CODE_INTEGER_24: u8 = 0xf2;
const CODE_INTEGER_32: u8 = 0xf3;
const CODE_INTEGER_64: u8 = 0xf4;

/// An element, as it is stored or to be stored. Bytes that are the text of an integer are stored as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element<'a> {
    /// An integer: its text is its decimal digits.
    Integer(i64),
    /// A string.
    Bytes(&'a [u8]),
}

impl<'a> Element<'a> {
    /// Its text; an integer's digits are written to `digits`.
    #[inline]
    pub fn bytes<'b>(self, digits: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Element::Integer(integer) => digits.format(integer).as_bytes(),
            Element::Bytes(bytes) => bytes,
        }
    }

    /// Its text, copied.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// The length of its text in bytes.
    pub fn len(self) -> usize {
        match self {
            Element::Integer(integer) => itoa::Buffer::new().format(integer).len(),
            Element::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether its text is empty.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The number, if its text is that of a signed 64-bit integer.
    pub fn integer(self) -> Option<i64> {
        match self {
            Element::Integer(integer) => Some(integer),
            Element::Bytes(bytes) => canonical_integer(bytes),
        }
    }

    /// Whether its text is this.
    pub fn is_text(self, text: &[u8]) -> bool {
        match self {
            Element::Integer(integer) => canonical_integer(text) == Some(integer),
            Element::Bytes(bytes) => bytes == text,
        }
    }
}

impl From<i64> for Element<'_> {
    fn from(integer: i64) -> Self {
        Element::Integer(integer)
    }
}

impl<'a> From<&'a [u8]> for Element<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Element::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Element<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Element::Bytes(bytes)
    }
}

/// The integer whose one canonical text this is: no plus, no leading zero, no "-0".
#[inline]
pub(in crate::structure) fn canonical_integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !is_negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if 9 < digit {
            return None;
        }
        // Nineteen digits are less than 2^64.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if is_negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// The element at the front of the bytes, and the size of its code and data. `None` if it is not whole, or if there is
/// none.
#[inline]
pub(in crate::structure) fn decode(bytes: &[u8]) -> Option<(Element<'_>, usize)> {
    let &first = bytes.first()?;
    let string = |head: usize, len: usize| {
        let size = head.checked_add(len)?;
        Some((Element::Bytes(bytes.get(head..size)?), size))
    };
    match first {
        0..CODE_STRING_6 => Some((Element::Integer(first.into()), 1)),
        CODE_STRING_6..CODE_INTEGER_13 => string(1, usize::from(first & 0x3f)),
        CODE_INTEGER_13..CODE_STRING_12 => {
            // The sign is the highest of thirteen bits.
            let bits = u16::from_be_bytes([first & 0x1f, *bytes.get(1)?]) << 3;
            Some((Element::Integer((bits as i16 >> 3).into()), 2))
        }
        CODE_STRING_12..CODE_STRING_32 => string(2, usize::from(u16::from_be_bytes([first & 0x0f, *bytes.get(1)?]))),
        CODE_STRING_32 => string(5, u32::from_le_bytes(*bytes.get(1..)?.first_chunk()?) as usize),
        CODE_INTEGER_16 => Some((Element::Integer(i16::from_le_bytes(*bytes.get(1..)?.first_chunk()?).into()), 3)),
        CODE_INTEGER_24 => {
            let [low, middle, high] = *bytes.get(1..)?.first_chunk()?;
            Some((Element::Integer((i32::from_le_bytes([0, low, middle, high]) >> 8).into()), 4))
        }
        CODE_INTEGER_32 => Some((Element::Integer(i32::from_le_bytes(*bytes.get(1..)?.first_chunk()?).into()), 5)),
        CODE_INTEGER_64 => Some((Element::Integer(i64::from_le_bytes(*bytes.get(1..)?.first_chunk()?)), 9)),
        _ => None,
    }
}

/// The size of code and data of the element at the front of the bytes. `None` if it is not whole, or if there is none.
#[inline]
pub(in crate::structure) fn size_of(bytes: &[u8]) -> Option<usize> {
    let &first = bytes.first()?;
    let size = match first {
        0..CODE_STRING_6 => 1,
        CODE_STRING_6..CODE_INTEGER_13 => 1 + usize::from(first & 0x3f),
        CODE_INTEGER_13..CODE_STRING_12 => 2,
        CODE_STRING_12..CODE_STRING_32 => 2 + usize::from(u16::from_be_bytes([first & 0x0f, *bytes.get(1)?])),
        CODE_STRING_32 => 5usize.checked_add(u32::from_le_bytes(*bytes.get(1..)?.first_chunk()?) as usize)?,
        CODE_INTEGER_16 => 3,
        CODE_INTEGER_24 => 4,
        CODE_INTEGER_32 => 5,
        CODE_INTEGER_64 => 9,
        _ => return None,
    };
    (size <= bytes.len()).then_some(size)
}

/// An element ready to be written.
pub(in crate::structure) struct Encoded<'a> {
    /// The code, with the length or the whole integer.
    head: [u8; 9],
    head_len: u8,
    body: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    pub(in crate::structure) fn of(element: Element<'a>) -> Encoded<'a> {
        match element {
            Element::Integer(integer) => Encoded::of_integer(integer),
            Element::Bytes(bytes) => match canonical_integer(bytes) {
                Some(integer) => Encoded::of_integer(integer),
                None => Encoded::of_string(bytes),
            },
        }
    }

    fn of_integer(integer: i64) -> Encoded<'a> {
        const BITS_24: i64 = 1 << 23;
        let mut head = [0; 9];
        let low: [u8; 8] = integer.to_le_bytes();
        let data_bytes = match integer {
            0..=127 => {
                head[0] = low[0];
                return Encoded { head, head_len: 1, body: &[] };
            }
            -4096..=4095 => {
                head[0] = CODE_INTEGER_13 | low[1] & 0x1f;
                head[1] = low[0];
                return Encoded { head, head_len: 2, body: &[] };
            }
            -0x8000..=0x7fff => {
                head[0] = CODE_INTEGER_16;
                2
            }
            _ if (-BITS_24..BITS_24).contains(&integer) => {
                head[0] = CODE_INTEGER_24;
                3
            }
            -0x8000_0000..=0x7fff_ffff => {
                head[0] = CODE_INTEGER_32;
                4
            }
            _ => {
                head[0] = CODE_INTEGER_64;
                8
            }
        };
        head[1..=data_bytes].copy_from_slice(&low[..data_bytes]);
        Encoded { head, head_len: 1 + data_bytes as u8, body: &[] }
    }

    fn of_string(bytes: &'a [u8]) -> Encoded<'a> {
        let mut head = [0; 9];
        let len = u32::try_from(bytes.len()).expect("who adds has asked `can_add`");
        let [b0, b1, ..] = len.to_le_bytes();
        let head_len = match len {
            0..64 => {
                head[0] = CODE_STRING_6 | b0;
                1
            }
            64..4096 => {
                head[..2].copy_from_slice(&[CODE_STRING_12 | b1, b0]);
                2
            }
            _ => {
                head[0] = CODE_STRING_32;
                head[1..5].copy_from_slice(&len.to_le_bytes());
                5
            }
        };
        Encoded { head, head_len, body: bytes }
    }

    /// Bytes of code and data.
    #[inline]
    pub(in crate::structure) fn size(&self) -> usize {
        usize::from(self.head_len) + self.body.len()
    }

    /// Writes all of it to the front of `into`; gives what remains of that.
    #[inline]
    pub(in crate::structure) fn write<'b>(&self, into: &'b mut [u8]) -> &'b mut [u8] {
        let (head, rest) = into.split_at_mut(self.head_len.into());
        head.copy_from_slice(&self.head[..self.head_len.into()]);
        let (body, rest) = rest.split_at_mut(self.body.len());
        body.copy_from_slice(self.body);
        let mut backlen = [0; 5];
        let backlen = write_backlen(self.size(), &mut backlen);
        let (behind, rest) = rest.split_at_mut(backlen.len());
        behind.copy_from_slice(backlen);
        rest
    }
}

/// How many bytes the size behind an element takes. The limits are Redis', one below what would fit.
#[inline]
pub(in crate::structure) fn backlen_bytes(size: usize) -> usize {
    match size {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// The size as it stands behind an element.
#[inline]
pub(in crate::structure) fn write_backlen(size: usize, into: &mut [u8; 5]) -> &[u8] {
    let count = backlen_bytes(size);
    for (at, byte) in into[..count].iter_mut().enumerate() {
        let mark = if at == 0 { 0 } else { 0x80 };
        *byte = (size >> (7 * (count - 1 - at))) as u8 & 0x7f | mark;
    }
    &into[..count]
}

/// The size at the end of the bytes, and how many bytes it takes.
pub(in crate::structure) fn read_backlen(bytes: &[u8]) -> (usize, usize) {
    let (mut size, mut count) = (0usize, 0);
    for &byte in bytes.iter().rev().take(5) {
        size |= usize::from(byte & 0x7f) << (7 * count);
        count += 1;
        if byte & 0x80 == 0 {
            return (size, count);
        }
    }
    unreachable!("every size is whole: written here, or looked at when it came");
}
