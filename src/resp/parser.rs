//! Requests in: finds the arguments of one request at the front of a receive buffer, without copying them.
//!
//! Not here: sockets, the growth of the buffer, the meaning of a command. An argument is a [`Span`] into the caller's
//! buffer; only the text of inline commands is rewritten, in place, because quotes and escapes shrink it.
//!
//! ```text
//! *3\r\n $3\r\nSET\r\n $3\r\nkey\r\n $5\r\nvalue\r\n   a multibulk request; what follows a line's \r and an argument
//!            └─┘         └─┘         └───┘         is not looked at, as in Redis: `*1\rX$4\rYPINGab` is PING
//! SET key "a value" 'b c'\r\n                       an inline request: all that does not begin with `*`
//! └─┘ └─┘  └─────┘   └─┘
//! ```
//!
//! Cost is linear in the bytes however they are cut. A request with few arguments is read again from its front when
//! more bytes arrive, which costs a few nanoseconds and keeps idle connections without heap; one with many arguments
//! is suspended, and its spans are kept by exchanging vectors with the caller. A bulk's bytes are never looked at.
//!
//! Conditions and texts of errors are those of Redis 7.0.15. One deviation: Redis notices a line longer than
//! [`LINE_BYTES_MAX`] only if a read ends inside it; here the length alone decides, so that the same bytes always have
//! the same meaning.

use super::Error;

/// Longest line (inline request or length line) before its terminator; Redis' `PROTO_INLINE_MAX_SIZE`.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Longest multibulk request in bytes, its lines included.
pub const REQUEST_BYTES_MAX: usize = u32::MAX as usize;

/// Most arguments of a request: Redis' `INT_MAX`. Nothing is allocated by the announced count.
pub const ARGUMENTS_MAX: i64 = i32::MAX as i64;

/// Most arguments of a request from a client that has yet to authenticate.
pub const UNAUTHENTICATED_ARGUMENTS_MAX: i64 = 10;

/// Longest argument, in bytes, from a client that has yet to authenticate.
pub const UNAUTHENTICATED_BULK_BYTES_MAX: i64 = 16 * 1024;

/// An unfinished request with at most this many arguments read so far is read again from its front instead of being
/// suspended: cheaper than the allocation that would keep its spans.
const REREAD_ARGUMENTS_MAX: usize = 8;

/// … and whose pending line was searched for at most this many bytes, so that reading again stays linear.
const REREAD_LINE_BYTES_MAX: usize = 64;

/// One argument's place in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte from the front of the buffer that was parsed.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The argument's bytes, given the buffer that was parsed.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..self.start as usize + self.len as usize]
    }
}

/// What a client may send now. Checked when a length line is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest argument in bytes: `proto-max-bulk-len`, which is at least 1 MiB; below 1000 it would not be noticed.
    pub bulk_bytes_max: u64,
    /// Whether the client has authenticated, or need not.
    pub authenticated: bool,
}

/// Where the reading of a connection's current request stands.
#[derive(Debug, Default)]
pub struct Parser {
    /// Spans of a suspended request; while `parse` runs on one, the caller's vector lies here instead. Empty and
    /// without heap at all other times.
    kept: Vec<Span>,
    /// Bytes the buffer must hold before reading on can make progress; 0 when unknown.
    wanted_bytes: usize,
    /// Offset of the line to read next in a suspended request; 0 when the request is (re)read from its front.
    position: u32,
    /// Arguments still to come in a suspended request.
    remaining: u32,
    /// Bytes of the line at `position` that are known to hold no terminator.
    searched_bytes: u32,
    /// The argument whose bytes have yet to come, while that is what is waited for.
    pending: Option<Pending>,
}

/// An argument whose length is known and whose bytes are not all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    /// Its number.
    index: u32,
    /// Offset of its length line.
    line: u32,
    /// Its place.
    span: Span,
}

/// An argument that the caller receives past the parser; see [`Parser::set_aside`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its number.
    pub index: u32,
    /// Its length. Two more bytes follow it, which nobody looks at.
    pub len: usize,
    /// What of it (and of the two bytes behind it) had come already.
    pub bytes: Vec<u8>,
}

/// Outcome of looking for the end of a line.
enum Line {
    /// Offset of the terminator.
    EndsAt(usize),
    /// Not there yet; this many bytes need not be searched again.
    Unfinished { searched_bytes: usize },
    /// More than [`LINE_BYTES_MAX`] without a terminator.
    TooLong,
}

impl Parser {
    /// Ready for a connection's first request.
    pub const fn new() -> Parser {
        Parser { kept: Vec::new(), wanted_bytes: 0, position: 0, remaining: 0, searched_bytes: 0, pending: None }
    }

    /// Parses one request from the front of `buf`.
    ///
    /// `Ok(Some(consumed))`: a whole request; `args` holds its arguments, none for `*0`, `*-1` and blank inline lines.
    /// Its bytes must not be parsed a second time: quotes of an inline request are decoded now.
    ///
    /// `Ok(None)`: incomplete; call again with the same bytes at the front and more behind them (`args` means nothing
    /// until then).
    ///
    /// `Err`: the text for the client, whose connection must then be closed.
    #[inline]
    pub fn parse(&mut self, buf: &mut [u8], limits: &Limits, args: &mut Vec<Span>) -> Result<Option<usize>, Error> {
        if buf.len() < self.wanted_bytes {
            return Ok(None);
        }
        self.pending = None;
        // Spans are 32 bits wide: what lies behind the first 4 GiB waits, and no request may reach there.
        let visible_bytes = buf.len().min(REQUEST_BYTES_MAX);
        let buf = &mut buf[..visible_bytes];
        if self.position != 0 {
            return self.resume(buf, limits, args);
        }
        args.clear();
        match buf.first() {
            None => Ok(None),
            Some(b'*') => match short_length(buf, 0) {
                // A count below 1000 that is above what a stranger may send takes the careful way.
                Some((count, next)) if limits.authenticated || (count as i64) <= UNAUTHENTICATED_ARGUMENTS_MAX => {
                    self.arguments(buf, limits, args, next, count)
                }
                _ => self.first_line(buf, limits, args),
            },
            Some(_) => self.inline(buf, args),
        }
    }

    /// Bytes that must be in the buffer, counted from its front, before another call can make progress; 0 when that is
    /// not known. A client announced them: grow towards them by steps, never reserve them at once.
    pub fn wanted_bytes(&self) -> usize {
        self.wanted_bytes
    }

    /// Takes an argument of at least `len_min` bytes, the one that [`Parser::parse`] is waiting for, out of the
    /// request, so that it can be received to where it will stay. In the buffer, an empty one stands for it: when the
    /// caller has received it whole, it parses on as if nothing had happened, and puts the bytes in their place itself.
    ///
    /// `buf` is the buffer that was parsed from `front` on, with nothing behind the request's bytes.
    pub fn set_aside(&mut self, buf: &mut Vec<u8>, front: usize, len_min: usize) -> Option<SetAside> {
        let pending = self.pending.filter(|pending| len_min <= pending.span.len as usize)?;
        self.pending = None;
        let bytes = buf.split_off(front + pending.span.start as usize);
        buf.truncate(front + pending.line as usize);
        buf.extend_from_slice(b"$0\r\n\r\n");
        (self.wanted_bytes, self.searched_bytes) = (0, 0);
        Some(SetAside { index: pending.index, len: pending.span.len as usize, bytes })
    }

    /// Reads the first line of a multibulk request in full, then its arguments.
    #[cold]
    #[inline(never)]
    fn first_line(&mut self, buf: &mut [u8], limits: &Limits, args: &mut Vec<Span>) -> Result<Option<usize>, Error> {
        let end = match line_end(buf, 0, self.searched_bytes as usize, b'\r') {
            Line::EndsAt(end) if end + 2 <= buf.len() => end,
            Line::EndsAt(end) => return Ok(self.reread(end + 2, end)),
            Line::Unfinished { searched_bytes } => return Ok(self.reread(0, searched_bytes)),
            Line::TooLong => return self.fail(Error::fixed("ERR Protocol error: too big mbulk count string")),
        };
        let count = match parse_integer(&buf[1..end]) {
            Some(count) if count <= ARGUMENTS_MAX => count,
            _ => return self.fail(Error::fixed("ERR Protocol error: invalid multibulk length")),
        };
        if !limits.authenticated && UNAUTHENTICATED_ARGUMENTS_MAX < count {
            return self.fail(Error::fixed("ERR Protocol error: unauthenticated multibulk length"));
        }
        self.arguments(buf, limits, args, end + 2, u32::try_from(count).unwrap_or(0))
    }

    /// Takes up a suspended request.
    #[cold]
    #[inline(never)]
    fn resume(&mut self, buf: &mut [u8], limits: &Limits, args: &mut Vec<Span>) -> Result<Option<usize>, Error> {
        std::mem::swap(args, &mut self.kept);
        let (position, remaining) = (self.position as usize, self.remaining);
        self.arguments(buf, limits, args, position, remaining)
    }

    /// Reads `remaining` arguments from `position` on.
    #[inline]
    fn arguments(
        &mut self,
        buf: &mut [u8],
        limits: &Limits,
        args: &mut Vec<Span>,
        mut position: usize,
        mut remaining: u32,
    ) -> Result<Option<usize>, Error> {
        while 0 < remaining {
            let (len, start) = match short_length(buf, position) {
                // Below 1000 bytes no limit can be exceeded: `proto-max-bulk-len` is at least 1 MiB.
                Some((len, start)) if buf.get(position) == Some(&b'$') => (len as usize, start),
                _ => match self.length_line(buf, limits, args, position, remaining)? {
                    Some(found) => found,
                    None => return Ok(None),
                },
            };
            let end = start + len + 2; // Cannot overflow: `len` is at most `bulk_bytes_max`, an i64.
            if buf.len() < end {
                let span = Span { start: start as u32, len: len as u32 };
                let pending = Pending { index: args.len() as u32, line: position as u32, span };
                let outcome = self.suspend(args, position, remaining, end, 0);
                self.pending = Some(pending);
                return outcome;
            }
            args.push(Span { start: start as u32, len: len as u32 });
            position = end;
            remaining -= 1;
        }
        self.finish();
        Ok(Some(position))
    }

    /// Reads any `$` line: `Some((len, start))` of the bulk behind it, `None` if the line is incomplete.
    #[cold]
    #[inline(never)]
    fn length_line(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        args: &mut Vec<Span>,
        position: usize,
        remaining: u32,
    ) -> Result<Option<(usize, usize)>, Error> {
        let searched = if position == self.position as usize { self.searched_bytes as usize } else { 0 };
        let end = match line_end(buf, position, searched, b'\r') {
            Line::EndsAt(end) if end + 2 <= buf.len() => end,
            Line::EndsAt(end) => {
                self.suspend(args, position, remaining, end + 2, end - position)?;
                return Ok(None);
            }
            Line::Unfinished { searched_bytes } => {
                self.suspend(args, position, remaining, 0, searched_bytes)?;
                return Ok(None);
            }
            Line::TooLong => return self.fail(Error::fixed("ERR Protocol error: too big bulk count string")),
        };
        if buf[position] != b'$' {
            let mut text = b"ERR Protocol error: expected '$', got '?'".to_vec();
            let got_at = text.len() - 2;
            text[got_at] = buf[position];
            return self.fail(Error::new(text));
        }
        let len = match parse_integer(&buf[position + 1..end]) {
            Some(len) if 0 <= len && len as u64 <= limits.bulk_bytes_max => len,
            _ => return self.fail(Error::fixed("ERR Protocol error: invalid bulk length")),
        };
        if !limits.authenticated && UNAUTHENTICATED_BULK_BYTES_MAX < len {
            return self.fail(Error::fixed("ERR Protocol error: unauthenticated bulk length"));
        }
        Ok(Some((len as usize, end + 2)))
    }

    /// Reads an inline request: a line of words.
    #[inline(never)]
    fn inline(&mut self, buf: &mut [u8], args: &mut Vec<Span>) -> Result<Option<usize>, Error> {
        let newline = match line_end(buf, 0, self.searched_bytes as usize, b'\n') {
            Line::EndsAt(newline) => newline,
            Line::Unfinished { searched_bytes } => return Ok(self.reread(0, searched_bytes)),
            Line::TooLong => return self.fail(Error::fixed("ERR Protocol error: too big inline request")),
        };
        let line = &mut buf[..newline];
        let line = match line {
            [line @ .., b'\r'] => line,
            line => line,
        };
        if !split_words(line, args) {
            return self.fail(Error::fixed("ERR Protocol error: unbalanced quotes in request"));
        }
        self.finish();
        Ok(Some(newline + 1))
    }

    /// Remembers an unfinished request, none of whose arguments is kept.
    fn reread(&mut self, wanted_bytes: usize, searched_bytes: usize) -> Option<usize> {
        self.wanted_bytes = wanted_bytes;
        self.position = 0;
        self.searched_bytes = searched_bytes as u32;
        None
    }

    /// Remembers an unfinished request whose line at `position` is the next to read.
    #[cold]
    #[inline(never)]
    fn suspend(
        &mut self,
        args: &mut Vec<Span>,
        position: usize,
        remaining: u32,
        wanted_bytes: usize,
        searched_bytes: usize,
    ) -> Result<Option<usize>, Error> {
        // The line at `position` and what is wanted must come to an end within the greatest request.
        if REQUEST_BYTES_MAX < wanted_bytes.max(position + 2 * LINE_BYTES_MAX) {
            return self.fail(Error::fixed("ERR Protocol error: invalid bulk length"));
        }
        let fresh = self.position == 0;
        if fresh && args.len() <= REREAD_ARGUMENTS_MAX && searched_bytes <= REREAD_LINE_BYTES_MAX {
            return Ok(self.reread(wanted_bytes, 0));
        }
        std::mem::swap(args, &mut self.kept);
        assert!(0 < position);
        self.position = position as u32;
        self.remaining = remaining;
        self.wanted_bytes = wanted_bytes;
        self.searched_bytes = searched_bytes as u32;
        Ok(None)
    }

    /// Back to the start, for the next request.
    #[inline]
    fn finish(&mut self) {
        if self.position != 0 {
            self.kept = Vec::new(); // The caller's former vector: the caller holds the longer one now.
            self.position = 0;
        }
        self.wanted_bytes = 0;
        self.searched_bytes = 0;
        self.pending = None;
    }

    #[cold]
    #[inline(never)]
    fn fail<T>(&mut self, error: Error) -> Result<T, Error> {
        *self = Parser::new();
        Err(error)
    }
}

/// Reads a length line `?D\r\n`, `?DD\r\n` or `?DDD\r\n` without a leading zero at `position`: the number, and the
/// offset behind the line. `None` says nothing more than "take the careful way".
#[inline(always)]
pub(super) fn short_length(buf: &[u8], position: usize) -> Option<(u32, usize)> {
    // Eight bytes are there unless this is the very last, shortest argument of the buffer.
    let head: &[u8; 8] = buf.get(position..)?.first_chunk()?;
    let first = head[1].wrapping_sub(b'1');
    if 9 <= first {
        return None;
    }
    let mut number = first as u32 + 1;
    if head[2] == b'\r' {
        return Some((number, position + 4));
    }
    let digit = head[2].wrapping_sub(b'0');
    if 10 <= digit {
        return None;
    }
    number = number * 10 + digit as u32;
    if head[3] == b'\r' {
        return Some((number, position + 5));
    }
    let digit = head[3].wrapping_sub(b'0');
    if 10 <= digit || head[4] != b'\r' {
        return None;
    }
    Some((number * 10 + digit as u32, position + 6))
}

/// Looks for `terminator` in the line that begins at `from`, of which `searched_bytes` were searched before. A NUL
/// hides all that follows it, as in Redis, where lines are C strings: such a line never ends.
fn line_end(buf: &[u8], from: usize, searched_bytes: usize, terminator: u8) -> Line {
    let line = &buf[from..];
    let window = &line[..line.len().min(LINE_BYTES_MAX + 1)];
    let searched_bytes = match memchr::memchr2(terminator, 0, &window[searched_bytes..]) {
        Some(offset) if window[searched_bytes + offset] == terminator => {
            return Line::EndsAt(from + searched_bytes + offset);
        }
        Some(offset) => searched_bytes + offset,
        None => window.len(),
    };
    if LINE_BYTES_MAX < line.len() { Line::TooLong } else { Line::Unfinished { searched_bytes } }
}

/// The strict integer of the wire: no sign but `-`, no leading zero, nothing around it, within 64 bits.
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'0'] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.first().is_none_or(|first| *first == b'0') {
        return None;
    }
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if 10 <= digit {
            return None;
        }
        // Counted downwards: the negative side reaches one further.
        value = value.checked_mul(10)?.checked_sub(digit as i64)?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Splits an inline line into words, decoding quotes in place: a word's text is written over its own beginning, which
/// it never outgrows. False if quotes are unbalanced or a closing quote touches the next word.
fn split_words(line: &mut [u8], args: &mut Vec<Span>) -> bool {
    let mut read = 0;
    loop {
        while read < line.len() && is_space(line[read]) {
            read += 1;
        }
        if read == line.len() {
            return true;
        }
        let start = read;
        let mut write;
        // A word's plain part; vertical tab and form feed belong to it, though they separate words before one.
        let quote = loop {
            match line.get(read) {
                None | Some(b' ' | b'\n' | b'\r' | b'\t') => break None,
                Some(quote @ (b'"' | b'\'')) => break Some(*quote),
                Some(_) => read += 1,
            }
        };
        write = read;
        if let Some(quote) = quote {
            read += 1;
            loop {
                let (byte, length) = match &line[read..] {
                    [] => return false,
                    [b'\\', b'x', high, low, ..]
                        if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
                    {
                        (hex_digit(*high) << 4 | hex_digit(*low), 4)
                    }
                    [b'\\', escaped, ..] if quote == b'"' => (unescape(*escaped), 2),
                    [b'\\', b'\'', ..] if quote == b'\'' => (b'\'', 2),
                    [byte, ..] if *byte == quote => break,
                    [byte, ..] => (*byte, 1),
                };
                line[write] = byte;
                write += 1;
                read += length;
            }
            read += 1;
            if line.get(read).is_some_and(|next| !is_space(*next)) {
                return false;
            }
        }
        args.push(Span { start: start as u32, len: (write - start) as u32 });
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests;
