//! Text of configuration lines: words, quotes, numbers and units, read and written exactly as Redis does.
//!
//! Nothing here knows a directive. Values are bytes: a password may be any bytes.

/// One word of a line, quotes resolved.
pub type Word = Vec<u8>;

/// A quote opened and not closed, or a closing quote with something right behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnbalancedQuotes;

/// A line taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// The words before the comment.
    pub words: Vec<Word>,
    /// Where in the line the trailing comment begins (at its `#`).
    pub comment_at: Option<usize>,
}

/// Splits `line` into words. Double quotes know `\n \r \t \b \a \\ \" \xHH`, single quotes only `\'`.
///
/// An unquoted `#` at the beginning of a word ends the line once `comment_after` (asked with the first word) words
/// stand before it: stock Redis refuses such lines, which people write all the same. It is never asked to cut a line
/// that Redis accepts: the caller answers the number of words that the directive needs at least.
pub fn split(line: &[u8], comment_after: &dyn Fn(&[u8]) -> Option<usize>) -> Result<Line, UnbalancedQuotes> {
    let mut words: Vec<Word> = Vec::new();
    let mut at = 0;
    loop {
        while at < line.len() && is_space(line[at]) {
            at += 1;
        }
        let Some(&byte) = line.get(at) else { return Ok(Line { words, comment_at: None }) };
        if byte == b'#'
            && words.first().and_then(|first| comment_after(first)).is_some_and(|least| least <= words.len())
        {
            return Ok(Line { words, comment_at: Some(at) });
        }
        let (word, end) = read_word(line, at)?;
        assert!(at < end, "a word has at least one byte of text");
        words.push(word);
        at = end;
    }
}

/// Splits a line that has no comments: inline use, arguments holding several values.
pub fn split_words(line: &[u8]) -> Result<Vec<Word>, UnbalancedQuotes> {
    Ok(split(line, &|_| None)?.words)
}

/// Reads the word at `at`; returns it and the index behind it. A quote may open in the middle of a word (`a"b c"`).
fn read_word(line: &[u8], mut at: usize) -> Result<(Word, usize), UnbalancedQuotes> {
    let mut word = Word::new();
    while let Some(&byte) = line.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = read_quoted(line, at + 1, byte, &mut word)?;
                return match line.get(at) {
                    Some(&next) if !is_space(next) => Err(UnbalancedQuotes),
                    _ => Ok((word, at)),
                };
            }
            // Vertical tab and form feed separate words but do not end one: so it is in Redis.
            b' ' | b'\n' | b'\r' | b'\t' => return Ok((word, at)),
            _ => word.push(byte),
        }
        at += 1;
    }
    Ok((word, at))
}

/// Reads to the closing `quote`; returns the index behind it.
fn read_quoted(line: &[u8], mut at: usize, quote: u8, word: &mut Word) -> Result<usize, UnbalancedQuotes> {
    loop {
        let &byte = line.get(at).ok_or(UnbalancedQuotes)?;
        at += 1;
        if byte == quote {
            return Ok(at);
        }
        if byte != b'\\' {
            word.push(byte);
            continue;
        }
        let Some(&escaped) = line.get(at) else {
            word.push(byte);
            continue;
        };
        if quote == b'\'' {
            if escaped == b'\'' {
                word.push(b'\'');
                at += 1;
            } else {
                word.push(b'\\');
            }
            continue;
        }
        at += 1;
        match escaped {
            b'x' => match (line.get(at).and_then(hex_digit), line.get(at + 1).and_then(hex_digit)) {
                (Some(high), Some(low)) => {
                    word.push(high << 4 | low);
                    at += 2;
                }
                _ => word.push(b'x'),
            },
            b'n' => word.push(b'\n'),
            b'r' => word.push(b'\r'),
            b't' => word.push(b'\t'),
            b'b' => word.push(8),
            b'a' => word.push(7),
            other => word.push(other),
        }
    }
}

fn hex_digit(byte: &u8) -> Option<u8> {
    char::from(*byte).to_digit(16).map(|digit| digit as u8)
}

/// What C's `isspace` calls a space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Writes `bytes` in double quotes so that [`split`] reads them back unchanged.
pub fn quote(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            7 => out.extend(b"\\a"),
            8 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
    out.push(b'"');
    out
}

/// A signed 64-bit integer in its one canonical form: no `+`, no leading zeros, no spaces, no `-0`.
pub fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        [b'0'] if digits.len() == text.len() => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The multipliers of memory sizes: `k`, `m`, `g` are decimal, `kb`, `mb`, `gb` binary.
const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1000),
    ("kb", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1 << 30),
];

/// A memory size in bytes: digits and one of `UNITS` in any case. No digits at all are zero, as in Redis. Beyond 64
/// bits it is no size (Redis wraps around).
pub fn memory_bytes(text: &[u8]) -> Option<u64> {
    let digits_len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = text.split_at(digits_len);
    let &(_, factor) = UNITS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(unit))?;
    let count =
        digits.iter().try_fold(0u64, |count, digit| count.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    count.checked_mul(factor)
}

/// A memory size as a configuration file shows it: the largest binary unit that divides it.
pub fn format_memory(bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .rev()
        .find(|(name, factor)| matches!(*name, "gb" | "mb" | "kb") && 0 < bytes && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(line: &str, expected: Option<&[&str]>) {
        let words = split_words(line.as_bytes()).ok();
        let expected = expected.map(|words| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(words, expected, "{line:?}");
    }

    #[test]
    fn words_and_quotes() {
        check("", Some(&[]));
        check("  a\tb  c ", Some(&["a", "b", "c"]));
        check("save \"\"", Some(&["save", ""]));
        check(r#"a "b c" 'd e'"#, Some(&["a", "b c", "d e"]));
        check(r#""\x41\n\r\t\\\"\q\x4g""#, Some(&["A\n\r\t\\\"qx4g"]));
        check(r"'it\'s \n'", Some(&["it's \\n"]));
        check(r#"pre"fix ed""#, Some(&["prefix ed"]));
        check(r#""a"b"#, None);
        check(r#""a"#, None);
        check("'a", None);
        check(r#""a\"#, None);
        check("a#b #c", Some(&["a#b", "#c"]));
    }

    #[test]
    fn a_comment_ends_the_line_only_where_the_caller_allows_it() {
        let after = |first: &[u8]| (first == b"maxmemory").then_some(2);
        let line = split(b"maxmemory 4gb   # don't exceed", &after).unwrap();
        assert_eq!((line.words.len(), line.comment_at), (2, Some(16)));
        assert_eq!(split(b"maxmemory #4gb # x", &after).unwrap().words[1], b"#4gb");
        assert_eq!(split(b"maxmemory \"4gb\" \"# x\"", &after).unwrap().words.len(), 3);
        assert_eq!(split(b"user a #hash", &after).unwrap().words.len(), 3);
    }

    #[test]
    fn integers_are_canonical() {
        for (text, value) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(integer(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "-", "-0", "+1", "01", " 1", "1 ", "1.5", "0x1", "9223372036854775808", "--1"] {
            assert_eq!(integer(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn memory_units() {
        for (text, bytes) in [
            ("0", 0),
            ("", 0),
            ("kb", 0),
            ("12b", 12),
            ("1k", 1000),
            ("1kb", 1024),
            ("1M", 1_000_000),
            ("1MB", 1 << 20),
            ("2g", 2_000_000_000),
            ("2Gb", 2 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(memory_bytes(text.as_bytes()), Some(bytes), "{text}");
        }
        for text in ["-1", "+1", "1.5gb", "1t", "1 gb", "18446744073709551616", "18446744073709551615k"] {
            assert_eq!(memory_bytes(text.as_bytes()), None, "{text:?}");
        }
        for (bytes, text) in [(0, "0"), (1000, "1000"), (1024, "1kb"), (3 << 20, "3mb"), (1 << 40, "1024gb")] {
            assert_eq!(format_memory(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn quoted_bytes_come_back(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5)) {
            let line = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(&b' ');
            prop_assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert_eq!(split_words(&line).unwrap(), words);
        }

        #[test]
        fn any_line_is_read_without_a_panic(line in prop::collection::vec(
            prop_oneof![4 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\''), 1 => Just(b'\\'), 1 => Just(b'#'), 1 => Just(b' ')],
            0..80,
        )) {
            let _ = split(&line, &|_| Some(1));
            let _ = (integer(&line), memory_bytes(&line));
        }

        #[test]
        fn memory_comes_back(bytes in any::<u64>(), shift in 0u32..40) {
            let bytes = bytes >> 24 << shift.min(24);
            prop_assert_eq!(memory_bytes(format_memory(bytes).as_bytes()), Some(bytes));
        }
    }
}
