//! Replies, counted rather than kept: a scanner that finds where each ends, in constant memory.
//!
//! Bytes come in pieces of any size. A bulk's body is skipped as it comes; of nested replies only the number of values
//! still to come is known, which is enough: `*2 *2 :1 :2 :3` needs no stack. A server that announces lengths it does
//! not keep costs nothing but the time until the request is given up.

use std::fmt;

/// The longest line: types, lengths, numbers, short texts.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// The longest string that a server may announce.
pub const BULK_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// The most elements that an aggregate may announce, and that may be outstanding in all of a reply.
pub const ELEMENTS_MAX: u64 = 1 << 32;
/// What is kept of a line for people to read.
const TEXT_BYTES_MAX: usize = 256;

/// What a reply is, by its outermost value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anything that is a value.
    Value,
    /// Null, in any of its three forms.
    Nil,
    /// An error; its text is told.
    Error,
    /// What RESP3 sends unasked.
    Push,
}

/// A whole reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    pub kind: Kind,
    /// The begin of an error's text, without its mark.
    pub text: &'a [u8],
}

/// Bytes that are no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage(pub String);

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Finds the ends of replies in a stream of bytes.
#[derive(Debug, Default)]
pub struct Scanner {
    /// A line of which only the begin has come.
    line: Vec<u8>,
    /// Bytes of a bulk's body still to come.
    body_bytes: u64,
    /// Of the line end behind it: 2, 1 or 0 bytes to come.
    end_bytes: u8,
    /// Values still to come in this reply; 0 between replies.
    values: u64,
    /// Values of an attribute in front of the reply, still to come.
    attribute_values: u64,
    kind: Option<Kind>,
    last: Option<Kind>,
    text: Vec<u8>,
}

impl Scanner {
    /// Whether it stands between two replies.
    pub fn is_between(&self) -> bool {
        self.kind.is_none() && self.attribute_values == 0 && self.line.is_empty() && self.values == 0
    }

    /// Goes over `input`, which it shortens, to the end of a reply; `None` if there is none in it.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Kind>, Garbage> {
        loop {
            if 0 < self.body_bytes {
                let skipped = usize::try_from(self.body_bytes).map_or(input.len(), |left| left.min(input.len()));
                self.body_bytes -= skipped as u64;
                *input = &input[skipped..];
                if 0 < self.body_bytes {
                    return Ok(None);
                }
            }
            while 0 < self.end_bytes {
                let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
                if byte != [b'\n', b'\r'][usize::from(self.end_bytes - 1)] {
                    return Err(Garbage("a string does not end where its length says".into()));
                }
                *input = rest;
                self.end_bytes -= 1;
                if self.end_bytes == 0 && self.is_whole() {
                    return Ok(Some(self.finish()));
                }
            }
            let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
                if LINE_BYTES_MAX < self.line.len() + input.len() {
                    return Err(Garbage(format!("a line of more than {LINE_BYTES_MAX} bytes")));
                }
                self.line.extend_from_slice(input);
                *input = &[];
                return Ok(None);
            };
            let (piece, rest) = input.split_at(end + 1);
            *input = rest;
            if self.line.is_empty() {
                self.handle_line(piece)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(piece);
                self.handle_line(&line)?;
                line.clear();
                self.line = line;
            }
            if self.body_bytes == 0 && self.end_bytes == 0 && self.is_whole() {
                return Ok(Some(self.finish()));
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.kind.is_some() && self.values == 0
    }

    fn finish(&mut self) -> Kind {
        self.last = self.kind.take();
        self.last.expect("a whole reply has a kind")
    }

    /// The reply that [`Scanner::next`] found last.
    pub fn last(&self) -> Reply<'_> {
        Reply { kind: self.last.expect("a reply was found"), text: &self.text }
    }

    /// Takes a line with its end.
    fn handle_line(&mut self, line: &[u8]) -> Result<(), Garbage> {
        let shown = || String::from_utf8_lossy(&line[..line.len().min(40)]).escape_debug().to_string();
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(Garbage(format!("`{}` does not end with CR LF", shown())));
        };
        let Some((&mark, rest)) = line.split_first() else {
            return Err(Garbage("an empty line".into()));
        };
        let number = || {
            let number = std::str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok());
            number.ok_or_else(|| Garbage(format!("`{}` has no length", shown())))
        };
        let length = |max: u64| {
            let number = number()?;
            match u64::try_from(number) {
                Ok(length) if length <= max => Ok(Some(length)),
                Err(_) if number == -1 => Ok(None),
                _ => Err(Garbage(format!("`{}` announces an impossible length", shown()))),
            }
        };
        let mut children = 0;
        let mut kind = Kind::Value;
        match mark {
            b'+' | b':' | b',' | b'(' | b'#' => {}
            b'-' => kind = Kind::Error,
            b'_' => kind = Kind::Nil,
            b'$' | b'=' | b'!' => match length(BULK_BYTES_MAX)? {
                Some(bytes) => {
                    self.body_bytes = bytes;
                    self.end_bytes = 2;
                    if mark == b'!' {
                        kind = Kind::Error;
                    }
                }
                None => kind = Kind::Nil,
            },
            b'*' | b'~' => match length(ELEMENTS_MAX)? {
                Some(elements) => children = elements,
                None => kind = Kind::Nil,
            },
            b'>' => {
                children = length(ELEMENTS_MAX)?.unwrap_or(0);
                kind = Kind::Push;
            }
            b'%' => children = 2 * length(ELEMENTS_MAX)?.unwrap_or(0),
            b'|' => {
                let attribute = 2 * length(ELEMENTS_MAX)?.unwrap_or(0);
                // In front of a nested value it counts as further values, in front of the reply by itself.
                if self.kind.is_some() && self.attribute_values == 0 {
                    self.values = bounded(self.values + attribute)?;
                } else {
                    self.attribute_values = bounded(self.attribute_values + attribute)?;
                }
                return Ok(());
            }
            _ => return Err(Garbage(format!("`{}` is no reply", shown()))),
        }
        if 0 < self.attribute_values {
            self.attribute_values = bounded(self.attribute_values - 1 + children)?;
            return Ok(());
        }
        if self.kind.is_none() {
            self.kind = Some(kind);
            self.values = bounded(children)?;
            self.text.clear();
            if mark == b'-' {
                self.text.extend_from_slice(&rest[..rest.len().min(TEXT_BYTES_MAX)]);
            } else if mark == b'!' {
                self.text.extend_from_slice(b"(long error)");
            }
        } else {
            self.values = bounded(self.values - 1 + children)?;
        }
        Ok(())
    }
}

fn bounded(values: u64) -> Result<u64, Garbage> {
    if values <= ELEMENTS_MAX { Ok(values) } else { Err(Garbage("a reply of too many elements".into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kinds of the replies in `stream`, which comes in pieces of `piece` bytes.
    fn kinds(stream: &[u8], piece: usize) -> Result<Vec<(Kind, String)>, Garbage> {
        let mut scanner = Scanner::default();
        let mut found = Vec::new();
        for mut input in stream.chunks(piece) {
            while let Some(kind) = scanner.next(&mut input)? {
                found.push((kind, String::from_utf8_lossy(scanner.last().text).into_owned()));
            }
            assert!(input.is_empty());
        }
        assert!(scanner.is_between());
        Ok(found)
    }

    #[test]
    fn replies_end_where_they_end_however_they_come() {
        let stream: &[&[u8]] = &[
            b"+OK\r\n",
            b"-ERR no such thing\r\n",
            b":-5\r\n",
            b"$5\r\n\r\nab\r\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"_\r\n",
            b"*0\r\n",
            b"*2\r\n*2\r\n:1\r\n$1\r\na\r\n-ERR inner\r\n",
            b"%1\r\n+a\r\n*1\r\n%0\r\n",
            b"~1\r\n#t\r\n",
            b"|1\r\n+ttl\r\n*2\r\n:1\r\n:2\r\n$2\r\nab\r\n",
            b"*1\r\n|1\r\n+x\r\n+y\r\n:1\r\n",
            b">2\r\n+invalidate\r\n*0\r\n",
            b"!9\r\nERR long\n\r\n",
            b"=5\r\ntxt:a\r\n",
            b",1.5\r\n",
            b"(123\r\n",
        ];
        let whole = stream.concat();
        use Kind::{Error, Nil, Push, Value};
        let expected = [
            Value, Error, Value, Value, Value, Nil, Nil, Nil, Value, Value, Value, Value, Value, Value, Push, Error,
            Value, Value, Value,
        ];
        for piece in 1..=whole.len() {
            let found = kinds(&whole, piece).expect("replies");
            assert_eq!(found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), expected, "pieces of {piece}");
            assert_eq!(found[1].1, "ERR no such thing");
        }
    }

    #[test]
    fn garbage_is_told_from_replies() {
        let garbage: &[&[u8]] = &[
            b"HTTP/1.1 200 OK\r\n",
            b"\r\n",
            b"+OK\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"$99999999999999999999\r\n",
            b"$9999999999999\r\n",
            b"*9999999999999\r\n",
            b"%4294967296\r\n",
            b"$3\r\nabcd\r\n",
            b"$3\r\nabc\n\n",
            b"*2\r\n*4294967296\r\n",
        ];
        for bad in garbage {
            assert!(kinds(bad, 7).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        let mut scanner = Scanner::default();
        let long = vec![b'+'; LINE_BYTES_MAX + 1];
        assert!(scanner.next(&mut &long[..]).is_err());
    }

    #[test]
    fn an_endless_reply_costs_no_memory() {
        let mut scanner = Scanner::default();
        for _ in 0..100_000 {
            assert_eq!(scanner.next(&mut &b"*1\r\n"[..]), Ok(None));
        }
        assert!(scanner.line.capacity() < 1024);
    }
}
