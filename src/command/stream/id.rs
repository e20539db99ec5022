//! Ids of entries as clients write them, and as they are told.

use crate::resp::{Error, Reply};
use crate::value::number::parse_integer;
use crate::value::stream::{ID_TEXT_BYTES_MAX, Id};

pub(super) const INVALID_ID: Error = Error::fixed("ERR Invalid stream ID specified as stream command argument");
const INVALID_START: Error = Error::fixed("ERR invalid start ID for the interval");
const INVALID_END: Error = Error::fixed("ERR invalid end ID for the interval");

/// A word of more bytes is no id.
const WORD_BYTES_MAX: usize = 127;

/// A word as C sees it: up to the first NUL.
pub(super) fn c_text(word: &[u8]) -> &[u8] {
    &word[..memchr::memchr(0, word).unwrap_or(word.len())]
}

/// A number as Redis reads it in an id: an integer, or what C's `strtoull` makes of the word.
fn parse_number(text: &[u8]) -> Option<u64> {
    if let Some(integer) = parse_integer(text) {
        return u64::try_from(integer).ok();
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let text = &text[text.iter().take_while(|byte| is_space(byte)).count()..];
    let (is_negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        (b'+', digits) => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if is_negative { number.wrapping_neg() } else { number })
}

/// `ms-seq`, or `ms` alone with this sequence number. None if it is `ms-*` and `takes_any_seq`.
fn parse(word: &[u8], missing_seq: u64, takes_any_seq: bool) -> Result<(u64, Option<u64>), Error> {
    if WORD_BYTES_MAX < word.len() {
        return Err(INVALID_ID);
    }
    let text = c_text(word);
    let (ms, seq) = match memchr::memchr(b'-', text) {
        None => (text, Some(missing_seq)),
        Some(at) => match &text[at + 1..] {
            b"*" if takes_any_seq => (&text[..at], None),
            seq => (&text[..at], Some(parse_number(seq).ok_or(INVALID_ID)?)),
        },
    };
    Ok((parse_number(ms).ok_or(INVALID_ID)?, seq))
}

/// An id that names an entry: no `-` and no `+`.
///
/// # Errors
/// It is none.
pub(super) fn parse_strict(word: &[u8], missing_seq: u64) -> Result<Id, Error> {
    let (ms, seq) = parse(word, missing_seq, false)?;
    Ok(Id::new(ms, seq.expect("asked for")))
}

/// The id for a new entry: the milliseconds, and the sequence number unless that is to be found (`ms-*`).
pub(super) fn parse_new(word: &[u8]) -> Result<(u64, Option<u64>), Error> {
    parse(word, 0, true)
}

/// An id, `-` for the first or `+` for the last there is.
pub(super) fn parse_any(word: &[u8], missing_seq: u64) -> Result<Id, Error> {
    match c_text(word) {
        b"-" => Ok(Id::MIN),
        b"+" => Ok(Id::MAX),
        _ => parse_strict(word, missing_seq),
    }
}

/// An end of an interval, and whether it is excluded: `(` before it.
fn parse_end(word: &[u8], missing_seq: u64) -> Result<(Id, bool), Error> {
    match word {
        [b'(', id @ ..] if !id.is_empty() => Ok((parse_strict(id, missing_seq)?, true)),
        _ => Ok((parse_any(word, missing_seq)?, false)),
    }
}

/// The first id of an interval.
pub(super) fn parse_start(word: &[u8]) -> Result<Id, Error> {
    let (id, is_excluded) = parse_end(word, 0)?;
    if is_excluded { id.next().ok_or(INVALID_START) } else { Ok(id) }
}

/// The last id of an interval.
pub(super) fn parse_stop(word: &[u8]) -> Result<Id, Error> {
    let (id, is_excluded) = parse_end(word, u64::MAX)?;
    if is_excluded { id.previous().ok_or(INVALID_END) } else { Ok(id) }
}

/// Tells an id.
#[inline]
pub(super) fn reply_id(reply: &mut Reply<'_>, id: Id) {
    reply.bulk(id.write(&mut [0; ID_TEXT_BYTES_MAX]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_c_does() {
        let read = |word: &str| parse_strict(word.as_bytes(), 7).ok().map(|id| id.to_string());
        for (word, id) in [
            ("5", "5-7"),
            ("5-3", "5-3"),
            ("18446744073709551615-18446744073709551615", "18446744073709551615-18446744073709551615"),
            (" 5", "5-7"),
            ("+5-+3", "5-3"),
            ("007-00", "7-0"),
            ("1--0", "1-0"),
            ("1--9223372036854775809", "1-9223372036854775807"),
            ("5\x00junk", "5-7"),
        ] {
            assert_eq!(read(word).as_deref(), Some(id), "{word:?}");
        }
        for word in
            ["", "-", "+", "-5", "5-", "1--1", "18446744073709551616", "5 ", "a", "5-*", "*", "0x1", &"0".repeat(128)]
        {
            assert_eq!(read(word), None, "{word:?}");
        }
        assert_eq!(parse_new(b"5-*"), Ok((5, None)));
        assert_eq!(parse_new(b"5"), Ok((5, Some(0))));
    }

    #[test]
    fn ends_of_intervals() {
        assert_eq!(parse_start(b"-"), Ok(Id::MIN));
        assert_eq!(parse_stop(b"+"), Ok(Id::MAX));
        assert_eq!(parse_start(b"(5"), Ok(Id::new(5, 1)));
        assert_eq!(parse_stop(b"(5"), Ok(Id::new(5, u64::MAX - 1)));
        assert_eq!(parse_stop(b"(5-0"), Ok(Id::new(4, u64::MAX)));
        assert_eq!(parse_start(b"(18446744073709551615-18446744073709551615"), Err(INVALID_START));
        assert_eq!(parse_stop(b"(0-0"), Err(INVALID_END));
        assert_eq!(parse_start(b"(-"), Err(INVALID_ID));
        assert_eq!(parse_start(b"("), Err(INVALID_ID));
    }
}
