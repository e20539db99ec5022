//! Lengths and strings on their way in. Nothing is allocated for bytes that are not there.

use super::Corrupt;
use crate::structure::lzf;

/// Where the bytes come from: a payload, or a file that is read piece by piece.
pub trait Source {
    /// Appends the next bytes. What is not there is not allocated for, however many are asked for.
    ///
    /// # Errors
    /// There are not so many.
    fn read(&mut self, len: u64, into: &mut Vec<u8>) -> Result<(), Corrupt>;

    /// The next few bytes.
    ///
    /// # Errors
    /// There are not so many.
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt>;
}

impl Source for &[u8] {
    fn read(&mut self, len: u64, into: &mut Vec<u8>) -> Result<(), Corrupt> {
        let len = usize::try_from(len).map_err(|_| Corrupt::SHORT)?;
        let (bytes, rest) = self.split_at_checked(len).ok_or(Corrupt::SHORT)?;
        into.extend_from_slice(bytes);
        *self = rest;
        Ok(())
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (bytes, rest) = self.split_first_chunk().ok_or(Corrupt::SHORT)?;
        *self = rest;
        Ok(*bytes)
    }
}

/// The next byte.
///
/// # Errors
/// There is none.
#[inline]
pub fn byte(source: &mut impl Source) -> Result<u8, Corrupt> {
    source.array().map(|[byte]| byte)
}

/// A length, or the form of a string that is none of bytes.
enum Length {
    Of(u64),
    Form(u8),
}

#[inline]
fn length_or_form(source: &mut impl Source) -> Result<Length, Corrupt> {
    let first = byte(source)?;
    Ok(match first {
        0..0x40 => Length::Of(first.into()),
        0x40..0x80 => Length::Of(u16::from_be_bytes([first & 0x3f, byte(source)?]).into()),
        0x80 => Length::Of(u32::from_be_bytes(source.array()?).into()),
        0x81 => Length::Of(u64::from_be_bytes(source.array()?)),
        0x82..0xc0 => return Err(Corrupt("a length of an unknown form")),
        _ => Length::Form(first & 0x3f),
    })
}

/// A length, or a number like one.
///
/// # Errors
/// There is none.
#[inline]
pub fn length(source: &mut impl Source) -> Result<u64, Corrupt> {
    match length_or_form(source)? {
        Length::Of(length) => Ok(length),
        Length::Form(_) => Err(Corrupt("a string where a length should stand")),
    }
}

/// A string, into a buffer that is emptied before.
///
/// # Errors
/// There is none.
pub fn string(source: &mut impl Source, into: &mut Vec<u8>) -> Result<(), Corrupt> {
    into.clear();
    append_string(source, into)
}

/// A string, behind what is in the buffer.
///
/// # Errors
/// There is none.
#[inline]
pub fn append_string(source: &mut impl Source, into: &mut Vec<u8>) -> Result<(), Corrupt> {
    let integer: i64 = match length_or_form(source)? {
        Length::Of(length) => return source.read(length, into),
        Length::Form(0) => i8::from_le_bytes(source.array()?).into(),
        Length::Form(1) => i16::from_le_bytes(source.array()?).into(),
        Length::Form(2) => i32::from_le_bytes(source.array()?).into(),
        Length::Form(3) => {
            let (packed_len, len) = (length(source)?, length(source)?);
            let start = into.len();
            source.read(packed_len, into)?;
            let len = usize::try_from(len).map_err(|_| Corrupt::SHORT)?;
            let text = lzf::expand(&into[start..], len).ok_or(Corrupt("Invalid LZF compressed string"))?;
            if start == 0 {
                *into = text;
            } else {
                into.truncate(start);
                into.extend_from_slice(&text);
            }
            return Ok(());
        }
        Length::Form(_) => return Err(Corrupt("a string of an unknown form")),
    };
    into.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    Ok(())
}

/// A string in a buffer of its own.
///
/// # Errors
/// There is none.
pub fn blob(source: &mut impl Source) -> Result<Vec<u8>, Corrupt> {
    let mut bytes = Vec::new();
    string(source, &mut bytes)?;
    Ok(bytes)
}

/// A time, unix ms; negative: none.
///
/// # Errors
/// There is none.
pub fn time_ms(source: &mut impl Source) -> Result<i64, Corrupt> {
    source.array().map(i64::from_le_bytes)
}
