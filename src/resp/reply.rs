//! Replies out: typed writers of RESP2 or RESP3 bytes at the end of a buffer.
//!
//! Not here: whether and when the bytes are sent, and how a double is spelled (`value` knows; its text is handed in).
//! A writer cannot produce a frame within a frame: texts that stand on a line of their own lose their line ends.

use super::output::make_room;
use super::{Error, Output};
use bytes::Bytes;

/// The protocol version a client asked for with `HELLO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// What every connection speaks first.
    #[default]
    Resp2,
    /// After `HELLO 3`: maps, sets, doubles, booleans, pushes, one null.
    Resp3,
}

/// Writes one reply, in the client's protocol, to the end of a buffer.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    /// Where long strings go that need not be copied into `out`, if they may.
    long: Option<&'a mut Vec<(usize, Bytes)>>,
    protocol: Protocol,
    /// Deferred headers not yet written; they must be finished from the innermost out.
    open: u32,
}

/// Where a reply is written: a buffer of bytes, or an [`Output`], which takes long strings as they are.
#[derive(Debug)]
pub struct Out<'a> {
    bytes: &'a mut Vec<u8>,
    long: Option<&'a mut Vec<(usize, Bytes)>>,
}

impl<'a> From<&'a mut Vec<u8>> for Out<'a> {
    #[inline]
    fn from(bytes: &'a mut Vec<u8>) -> Out<'a> {
        Out { bytes, long: None }
    }
}

impl<'a> From<&'a mut Output> for Out<'a> {
    #[inline]
    fn from(output: &'a mut Output) -> Out<'a> {
        let (bytes, long) = output.parts();
        Out { bytes, long: Some(long) }
    }
}

/// Strings from here on, in bytes, are better sent from where they lie than copied into the replies.
pub const LONG_BYTES_MIN: usize = 64 * 1024;

/// The place of a header whose count is not known yet: what [`Reply::defer`] gives and `finish_…` takes.
#[derive(Debug)]
#[must_use = "a deferred header must be finished"]
pub struct Mark {
    at: usize,
    hole_bytes: usize,
    /// How many headers were open when this one was deferred.
    depth: u32,
}

/// Longest header: kind, 20 digits, CR LF.
const HEADER_BYTES_MAX: usize = 23;

impl<'a> Reply<'a> {
    /// A writer to the end of `out`.
    #[inline]
    pub fn new(out: impl Into<Out<'a>>, protocol: Protocol) -> Reply<'a> {
        let Out { bytes, long } = out.into();
        Reply { out: bytes, long, protocol, open: 0 }
    }

    /// The protocol written here.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Bytes in the buffer, earlier replies included.
    pub fn buffer_bytes(&self) -> usize {
        self.out.len()
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A status line; CR and LF in the text become blanks.
    #[inline]
    pub fn simple(&mut self, text: impl AsRef<[u8]>) {
        self.line(b'+', text.as_ref());
    }

    /// An error line; CR and LF at the text's end vanish, within it they become blanks.
    pub fn error(&mut self, error: &Error) {
        let text = error.as_bytes();
        let kept = text.iter().rposition(|byte| !is_line_end(*byte)).map_or(0, |last| last + 1);
        self.line(b'-', &text[..kept]);
    }

    /// A 64-bit integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        if (0..SMALL_MAX as i64).contains(&value) {
            self.header(b':', value as usize);
        } else {
            self.line_of_digits(b':', value);
        }
    }

    /// A string of bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        make_room(self.out, HEADER_BYTES_MAX + bytes.len() + 2);
        self.header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Whether [`Reply::bulk_long`] is worth it for a string of so many bytes: then it is not copied.
    #[inline]
    pub fn takes_long(&self, len: usize) -> bool {
        LONG_BYTES_MIN <= len && self.long.is_some()
    }

    /// A string that others hold too.
    pub fn bulk_long(&mut self, string: Bytes) {
        self.header(b'$', string.len());
        match &mut self.long {
            Some(long) if !string.is_empty() => long.push((self.out.len(), string)),
            _ => self.out.extend_from_slice(&string),
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// An element of another core's reply that contains a long string: what stands before it, it, what stands behind.
    pub fn raw_long(&mut self, before: &[u8], string: Bytes, behind: &[u8]) {
        self.out.extend_from_slice(before);
        match &mut self.long {
            Some(long) => long.push((self.out.len(), string)),
            None => self.out.extend_from_slice(&string),
        }
        self.out.extend_from_slice(behind);
    }

    /// The decimal digits of an integer, as a string.
    #[inline]
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value));
    }

    /// A string made by `format_args!`.
    pub fn bulk_text(&mut self, text: std::fmt::Arguments<'_>) {
        use std::io::Write;
        let mark = self.defer_about(10);
        let start = self.out.len();
        self.out.write_fmt(text).expect("writing to a vector cannot fail");
        let len = self.out.len() - start;
        self.out.extend_from_slice(b"\r\n");
        self.finish(mark, b'$', len);
    }

    /// The header of a string of `len` bytes; the caller sees to it that exactly `len` bytes and CR LF follow, here
    /// through [`Reply::raw`] or past this buffer.
    pub fn bulk_header(&mut self, len: usize) {
        self.header(b'$', len);
    }

    /// No value.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// No value where an array would stand.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// Begins an array; `len` elements follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// Begins a map; `pairs` times a key and a value follow. RESP2: a flat array.
    pub fn map(&mut self, pairs: usize) {
        let (kind, len) = self.map_header(pairs);
        self.header(kind, len);
    }

    /// Begins a set; `len` elements follow. RESP2: an array.
    pub fn set(&mut self, len: usize) {
        let kind = self.kind(b'~');
        self.header(kind, len);
    }

    /// Begins an out-of-band message; `len` elements follow. RESP2: an array.
    pub fn push(&mut self, len: usize) {
        let kind = self.kind(b'>');
        self.header(kind, len);
    }

    /// A double in the given spelling. RESP2: a string.
    pub fn double(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    /// True or false. RESP2: 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(match (self.protocol, value) {
            (Protocol::Resp2, false) => b":0\r\n",
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
            (Protocol::Resp3, true) => b"#t\r\n",
        });
    }

    /// A text for people, in a format of three letters (`txt`, `mkd`). RESP2: a string.
    pub fn verbatim(&mut self, format: &[u8; 3], text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text);
        }
        self.out.reserve(HEADER_BYTES_MAX + 4 + text.len() + 2);
        self.header(b'=', 4 + text.len());
        self.out.extend_from_slice(format);
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer of any size in its decimal digits. RESP2: a string.
    pub fn big_number(&mut self, digits: impl AsRef<[u8]>) {
        let digits = digits.as_ref();
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => self.line(b'(', digits),
        }
    }

    /// Bytes that are replies, or parts of one, already: as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Leaves room for a header whose count is not known yet. The elements follow; then one of the `finish_…`.
    pub fn defer(&mut self) -> Mark {
        self.defer_about(0)
    }

    /// As [`Reply::defer`], expecting about `len` (elements, twice the pairs of a RESP2 map): if its number of digits
    /// is right, nothing needs to be moved afterwards.
    pub fn defer_about(&mut self, len: usize) -> Mark {
        let mark =
            Mark { at: self.out.len(), hole_bytes: 4 + len.checked_ilog10().unwrap_or(0) as usize, depth: self.open };
        self.out.resize(mark.at + mark.hole_bytes, 0);
        self.open += 1;
        mark
    }

    /// Writes the header of an array of `len` elements at `mark`.
    pub fn finish_array(&mut self, mark: Mark, len: usize) {
        self.finish(mark, b'*', len);
    }

    /// Writes the header of a map of `pairs` at `mark`.
    pub fn finish_map(&mut self, mark: Mark, pairs: usize) {
        let (kind, len) = self.map_header(pairs);
        self.finish(mark, kind, len);
    }

    /// Writes the header of a set of `len` elements at `mark`.
    pub fn finish_set(&mut self, mark: Mark, len: usize) {
        let kind = self.kind(b'~');
        self.finish(mark, kind, len);
    }

    /// Writes the header of an out-of-band message of `len` elements at `mark`.
    pub fn finish_push(&mut self, mark: Mark, len: usize) {
        let kind = self.kind(b'>');
        self.finish(mark, kind, len);
    }

    /// Takes back everything since `mark`, so that an error can be said instead.
    pub fn cancel(&mut self, mark: Mark) {
        self.close(&mark);
        self.out.truncate(mark.at);
        if let Some(long) = &mut self.long {
            long.retain(|(at, _)| *at <= mark.at);
        }
    }

    /// An aggregate's first byte: RESP2 knows only arrays.
    fn kind(&self, resp3: u8) -> u8 {
        match self.protocol {
            Protocol::Resp2 => b'*',
            Protocol::Resp3 => resp3,
        }
    }

    fn map_header(&self, pairs: usize) -> (u8, usize) {
        match self.protocol {
            Protocol::Resp2 => (b'*', pairs * 2),
            Protocol::Resp3 => (b'%', pairs),
        }
    }

    fn close(&mut self, mark: &Mark) {
        assert!(mark.at + mark.hole_bytes <= self.out.len());
        assert!(mark.depth + 1 == self.open, "deferred headers are finished from the innermost out");
        self.open -= 1;
    }

    fn finish(&mut self, mark: Mark, kind: u8, len: usize) {
        self.close(&mark);
        let mut header = Vec::with_capacity(HEADER_BYTES_MAX);
        Reply::new(&mut header, self.protocol).header(kind, len);
        let behind_hole = mark.at + mark.hole_bytes;
        let behind_header = mark.at + header.len();
        let end = self.out.len();
        if behind_hole < behind_header {
            self.out.resize(end + (behind_header - behind_hole), 0);
        }
        self.out.copy_within(behind_hole..end, behind_header);
        self.out.truncate(end - behind_hole + behind_header);
        self.out[mark.at..behind_header].copy_from_slice(&header);
        if let Some(long) = &mut self.long {
            let behind = long.iter_mut().rev().take_while(|(at, _)| behind_hole <= *at);
            behind.for_each(|(at, _)| *at = *at - behind_hole + behind_header);
        }
    }

    /// `kind`, the number's digits, CR LF.
    #[inline]
    fn header(&mut self, kind: u8, number: usize) {
        if SMALL_MAX <= number {
            return self.line_of_digits(kind, number as u64);
        }
        // Eight bytes at once and the surplus cut off again: one check of capacity, no loop over digits.
        let digit = |value: usize| b'0' + value as u8;
        let (line, len) = if number < 10 {
            ([kind, digit(number), b'\r', b'\n', 0, 0, 0, 0], 4)
        } else if number < 100 {
            ([kind, digit(number / 10), digit(number % 10), b'\r', b'\n', 0, 0, 0], 5)
        } else {
            let (hundreds, rest) = (number / 100, number % 100);
            ([kind, digit(hundreds), digit(rest / 10), digit(rest % 10), b'\r', b'\n', 0, 0], 6)
        };
        let end = self.out.len() + len;
        self.out.extend_from_slice(&line);
        self.out.truncate(end);
    }

    #[inline(never)]
    fn line_of_digits(&mut self, kind: u8, number: impl itoa::Integer) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number);
        self.out.reserve(HEADER_BYTES_MAX);
        self.out.push(kind);
        self.out.extend_from_slice(digits.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// A line of text, from which no second line can grow.
    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        let start = self.out.len();
        self.out.extend_from_slice(text);
        for byte in &mut self.out[start..] {
            if is_line_end(*byte) {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Below this, headers are written without a loop.
const SMALL_MAX: usize = 1000;

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `write` writes in RESP2 and in RESP3.
    #[track_caller]
    fn check(write: impl Fn(&mut Reply), resp2: &str, resp3: &str) {
        for (protocol, expected) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
            let mut out = b"before".to_vec();
            write(&mut Reply::new(&mut out, protocol));
            let shown = out.escape_ascii().to_string();
            assert_eq!(shown.strip_prefix("before").expect("earlier replies stay"), expected, "{protocol:?}");
        }
    }

    #[track_caller]
    fn check_same(write: impl Fn(&mut Reply), expected: &str) {
        check(write, expected, expected);
    }

    #[test]
    fn lines() {
        check_same(|reply| reply.ok(), "+OK\\r\\n");
        check_same(|reply| reply.simple("PONG"), "+PONG\\r\\n");
        check_same(|reply| reply.simple("a\r\n+b"), "+a  +b\\r\\n");
        check_same(|reply| reply.error(&Error::SYNTAX), "-ERR syntax error\\r\\n");
        check_same(|reply| reply.error(&Error::new("ERR 'a\r\n+b'\r\n\n")), "-ERR \\'a  +b\\'\\r\\n");
        check_same(|reply| reply.error(&Error::new("\r\n")), "-\\r\\n");
        check_same(|reply| reply.error(&Error::new(b"ERR \xff".to_vec())), "-ERR \\xff\\r\\n");
    }

    #[test]
    fn numbers_of_every_width() {
        for value in [0, 1, 9, 10, 99, 100, 101, 999, 1000, 1001, 123_456_789, i64::MAX, -1, -10, i64::MIN] {
            let digits = value.to_string();
            check_same(|reply| reply.integer(value), &format!(":{digits}\\r\\n"));
            check_same(|reply| reply.bulk_integer(value), &format!("${}\\r\\n{digits}\\r\\n", digits.len()));
        }
        for len in [0, 1, 9, 10, 99, 100, 109, 999, 1000, 12345] {
            let text = "x".repeat(len);
            check_same(|reply| reply.bulk(&text), &format!("${len}\\r\\n{text}\\r\\n"));
            check_same(|reply| reply.bulk_text(format_args!("{text}")), &format!("${len}\\r\\n{text}\\r\\n"));
            check_same(|reply| reply.bulk_header(len), &format!("${len}\\r\\n"));
            check_same(|reply| reply.array(len), &format!("*{len}\\r\\n"));
            check(|reply| reply.map(len), &format!("*{}\\r\\n", 2 * len), &format!("%{len}\\r\\n"));
            check(|reply| reply.set(len), &format!("*{len}\\r\\n"), &format!("~{len}\\r\\n"));
            check(|reply| reply.push(len), &format!("*{len}\\r\\n"), &format!(">{len}\\r\\n"));
        }
    }

    #[test]
    fn types_that_differ_by_protocol() {
        check(|reply| reply.null(), "$-1\\r\\n", "_\\r\\n");
        check(|reply| reply.null_array(), "*-1\\r\\n", "_\\r\\n");
        check(|reply| reply.double("1.5"), "$3\\r\\n1.5\\r\\n", ",1.5\\r\\n");
        check(|reply| reply.boolean(true), ":1\\r\\n", "#t\\r\\n");
        check(|reply| reply.boolean(false), ":0\\r\\n", "#f\\r\\n");
        check(|reply| reply.verbatim(b"txt", "ab\r\n"), "$4\\r\\nab\\r\\n\\r\\n", "=8\\r\\ntxt:ab\\r\\n\\r\\n");
        check(|reply| reply.big_number("123"), "$3\\r\\n123\\r\\n", "(123\\r\\n");
        check_same(|reply| reply.raw(b":1\r\n"), ":1\\r\\n");
    }

    #[test]
    fn deferred_headers_fit_any_count() {
        for expected_len in [0, 1, 10, 100, 12345] {
            for len in [0, 1, 9, 10, 99, 100, 1000, 54321] {
                let body = format!("{}+OK\\r\\n", ":7\\r\\n".repeat(len));
                let finished = |finish: &dyn Fn(&mut Reply, Mark), resp2: &str, resp3: &str| {
                    let write = |reply: &mut Reply| {
                        let mark = reply.defer_about(expected_len);
                        (0..len).for_each(|_| reply.integer(7));
                        finish(reply, mark);
                        reply.ok();
                    };
                    check(write, &format!("{resp2}\\r\\n{body}"), &format!("{resp3}\\r\\n{body}"));
                };
                let array = format!("*{len}");
                finished(&|reply, mark| reply.finish_array(mark, len), &array, &array);
                finished(&|reply, mark| reply.finish_set(mark, len), &array, &format!("~{len}"));
                finished(&|reply, mark| reply.finish_push(mark, len), &array, &format!(">{len}"));
                finished(&|reply, mark| reply.finish_map(mark, len), &format!("*{}", 2 * len), &format!("%{len}"));
            }
        }
    }

    #[test]
    fn deferred_headers_nest_and_can_be_taken_back() {
        check_same(
            |reply| {
                let outer = reply.defer();
                for _ in 0..11 {
                    let inner = reply.defer();
                    reply.integer(1);
                    reply.finish_array(inner, 1);
                }
                let inner = reply.defer();
                reply.integer(1);
                reply.cancel(inner);
                reply.finish_array(outer, 11);
            },
            &format!("*11\\r\\n{}", "*1\\r\\n:1\\r\\n".repeat(11)),
        );
    }

    #[test]
    #[should_panic(expected = "from the innermost out")]
    fn deferred_headers_finished_in_the_wrong_order_are_a_broken_invariant() {
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, Protocol::Resp2);
        let outer = reply.defer();
        let _inner = reply.defer();
        reply.finish_array(outer, 1);
    }
}
