//! Replies read back: where an element ends and what it begins with, without building a tree.
//!
//! For merging the partial replies of shards, for tests and for tools. Total: any bytes are either a whole element,
//! the beginning of one, or malformed; nothing is allocated, and nesting costs no stack. Not here: requests (see
//! `parser`), and the streamed strings and aggregates of RESP3, which no server of this family sends.

use super::parser::{parse_integer, short_length};

/// Bytes that no reply begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("malformed reply")
    }
}

impl std::error::Error for Malformed {}

/// What an element is: a scalar whole, of an aggregate the count of what follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Head<'a> {
    /// `+`
    Simple(&'a [u8]),
    /// `-`, or RESP3's `!`
    Error(&'a [u8]),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(&'a [u8]),
    /// RESP3 `=`: the format's three letters, and the text.
    Verbatim(&'a [u8], &'a [u8]),
    /// RESP3 `,` as it is spelled.
    Double(&'a [u8]),
    /// RESP3 `#`
    Boolean(bool),
    /// RESP3 `(` as it is spelled.
    BigNumber(&'a [u8]),
    /// `$-1`, `*-1`, RESP3 `_`
    Null,
    /// `*` and this many elements.
    Array(usize),
    /// RESP3 `%` and this many pairs.
    Map(usize),
    /// RESP3 `~` and this many elements.
    Set(usize),
    /// RESP3 `>` and this many elements.
    Push(usize),
    /// RESP3 `|` and this many pairs; the element they are about follows and belongs to this one.
    Attribute(usize),
}

impl Head<'_> {
    /// How many elements follow that belong to this one; `None` if more than can be counted.
    fn children(&self) -> Option<usize> {
        match *self {
            Head::Array(len) | Head::Set(len) | Head::Push(len) => Some(len),
            Head::Map(pairs) => pairs.checked_mul(2),
            Head::Attribute(pairs) => pairs.checked_mul(2)?.checked_add(1),
            _ => Some(0),
        }
    }
}

/// The element's own part at the front of `bytes`, and its length: for an aggregate that of its first line. `Ok(None)`
/// if it is incomplete.
pub fn head(bytes: &[u8]) -> Result<Option<(Head<'_>, usize)>, Malformed> {
    let Some(&kind) = bytes.first() else { return Ok(None) };
    let (line, next) = match kind {
        b'$' | b'*' => match short_length(bytes, 0) {
            // Requests are forgiven this; a reply is not.
            Some((_, next)) if bytes[next - 1] != b'\n' => return Err(Malformed),
            Some((len, next)) if kind == b'$' => return blob(kind, bytes, next, len as usize),
            Some((len, next)) => return Ok(Some((Head::Array(len as usize), next))),
            None => match line(bytes)? {
                Some(found) => found,
                None => return Ok(None),
            },
        },
        b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_' | b'!' | b'=' | b'%' | b'~' | b'>' | b'|' => {
            match line(bytes)? {
                Some(found) => found,
                None => return Ok(None),
            }
        }
        _ => return Err(Malformed),
    };
    let head = match kind {
        b'+' => Head::Simple(line),
        b'-' => Head::Error(line),
        b',' => Head::Double(line),
        b'(' => Head::BigNumber(line),
        b':' => Head::Integer(parse_integer(line).ok_or(Malformed)?),
        b'#' => match line {
            b"t" => Head::Boolean(true),
            b"f" => Head::Boolean(false),
            _ => return Err(Malformed),
        },
        b'_' if line.is_empty() => Head::Null,
        b'$' | b'*' if line == b"-1" => Head::Null,
        b'$' | b'=' | b'!' => return blob(kind, bytes, next, count(line)?),
        b'*' => Head::Array(count(line)?),
        b'%' => Head::Map(count(line)?),
        b'~' => Head::Set(count(line)?),
        b'>' => Head::Push(count(line)?),
        b'|' => Head::Attribute(count(line)?),
        _ => return Err(Malformed),
    };
    Ok(Some((head, next)))
}

/// The first line of an element that begins with a number: its kind, the number (the value of `:`, the bytes of `$`,
/// the elements of `*`; -1 for all nulls) and the line's length in bytes. `None` for other kinds, and if the line is
/// incomplete or malformed.
pub fn header(bytes: &[u8]) -> Option<(u8, i64, usize)> {
    let kind = *bytes.first()?;
    if !matches!(kind, b':' | b'$' | b'*' | b'_' | b'!' | b'=' | b'%' | b'~' | b'>' | b'|') {
        return None;
    }
    let (text, len) = line(bytes).ok()??;
    let number = if kind == b'_' && text.is_empty() { -1 } else { parse_integer(text)? };
    Some((kind, number, len))
}

/// Length in bytes of the whole element at the front of `bytes`; `Ok(None)` if it is incomplete. Linear in that
/// length.
pub fn scan(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut position = 0;
    let mut pending: usize = 1;
    while 0 < pending {
        let Some((head, len)) = head(&bytes[position..])? else { return Ok(None) };
        position += len;
        let children = head.children().ok_or(Malformed)?;
        pending = (pending - 1).checked_add(children).ok_or(Malformed)?;
    }
    Ok(Some(position))
}

/// As [`scan`], for bytes that are known to be replies: `None` if they are incomplete or malformed.
pub fn element_len(bytes: &[u8]) -> Option<usize> {
    scan(bytes).ok().flatten()
}

/// The elements that stand one behind the other in a slice. Ends at the first that is incomplete or malformed; then
/// [`Elements::rest`] is not empty.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The elements in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Elements<'a> {
        Elements { rest: bytes }
    }

    /// The elements within the aggregate at the front of `bytes` (keys and values of a map alternate), and whatever is
    /// behind it; with its head. None within a scalar. `None` if not even the head is there.
    pub fn within(bytes: &'a [u8]) -> Option<(Head<'a>, Elements<'a>)> {
        let (head, len) = head(bytes).ok().flatten()?;
        Some((head, Elements { rest: &bytes[len..] }))
    }

    /// What has not been walked over.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (element, rest) = self.rest.split_at(element_len(self.rest)?);
        self.rest = rest;
        Some(element)
    }
}

/// The text of the line at the front, without its first byte and its end, and its whole length.
fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some(end) = memchr::memchr2(b'\r', b'\n', bytes) else { return Ok(None) };
    match bytes[end..] {
        [b'\r', b'\n', ..] => Ok(Some((&bytes[1..end], end + 2))),
        [b'\r'] => Ok(None),
        _ => Err(Malformed),
    }
}

fn count(text: &[u8]) -> Result<usize, Malformed> {
    parse_integer(text).and_then(|number| usize::try_from(number).ok()).ok_or(Malformed)
}

/// A string of `len` bytes from `start` on, and its end.
fn blob(kind: u8, bytes: &[u8], start: usize, len: usize) -> Result<Option<(Head<'_>, usize)>, Malformed> {
    let end = start.checked_add(len).and_then(|end| end.checked_add(2)).ok_or(Malformed)?;
    let Some(body) = bytes.get(start..end) else { return Ok(None) };
    let Some(body) = body.strip_suffix(b"\r\n") else { return Err(Malformed) };
    let head = match (kind, body) {
        (b'$', body) => Head::Bulk(body),
        (b'!', body) => Head::Error(body),
        (_, [_, _, _, b':', text @ ..]) => Head::Verbatim(&body[..3], text),
        _ => return Err(Malformed),
    };
    Ok(Some((head, end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Protocol, Reply};
    use proptest::prelude::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Head) {
        let (head, len) = head(bytes).expect("well-formed").expect("complete");
        assert_eq!(head, expected);
        if head.children() == Some(0) {
            assert_eq!(len, bytes.len());
        }
        for cut in 0..bytes.len() {
            assert_eq!(scan(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn heads() {
        check(b"+OK\r\n", Head::Simple(b"OK"));
        check(b"-ERR x\r\n", Head::Error(b"ERR x"));
        check(b"!5\r\nERR x\r\n", Head::Error(b"ERR x"));
        check(b":-9223372036854775808\r\n", Head::Integer(i64::MIN));
        check(b"$0\r\n\r\n", Head::Bulk(b""));
        check(b"$3\r\na\r\n\r\n", Head::Bulk(b"a\r\n"));
        check(format!("$1234\r\n{}\r\n", "x".repeat(1234)).as_bytes(), Head::Bulk("x".repeat(1234).as_bytes()));
        check(b"=6\r\ntxt:ab\r\n", Head::Verbatim(b"txt", b"ab"));
        check(b",1.5\r\n", Head::Double(b"1.5"));
        check(b"#t\r\n", Head::Boolean(true));
        check(b"#f\r\n", Head::Boolean(false));
        check(b"(12345678901234567890\r\n", Head::BigNumber(b"12345678901234567890"));
        check(b"$-1\r\n", Head::Null);
        check(b"*-1\r\n", Head::Null);
        check(b"_\r\n", Head::Null);
        check(b"*0\r\n", Head::Array(0));
        check(b"*2\r\n:1\r\n:2\r\n", Head::Array(2));
        check(b"%1\r\n:1\r\n*1\r\n:2\r\n", Head::Map(1));
        check(b"~1\r\n:1\r\n", Head::Set(1));
        check(b">1\r\n:1\r\n", Head::Push(1));
        check(b"|1\r\n+a\r\n:1\r\n$1\r\nx\r\n", Head::Attribute(1));
    }

    #[test]
    fn headers() {
        assert_eq!(header(b":-12\r\n"), Some((b':', -12, 6)));
        assert_eq!(header(b"$3\r\nab"), Some((b'$', 3, 4)));
        assert_eq!(header(b"*12345\r\n"), Some((b'*', 12345, 8)));
        assert_eq!(header(b"%1\r\n"), Some((b'%', 1, 4)));
        for (null, len) in [(&b"$-1\r\n"[..], 5), (b"*-1\r\n", 5), (b"_\r\n", 3)] {
            assert_eq!(header(null), Some((null[0], -1, len)));
        }
        for other in [&b"+OK\r\n"[..], b"-ERR\r\n", b",1\r\n", b"#t\r\n", b"", b"*1", b"*1\r", b"*x\r\n"] {
            assert_eq!(header(other), None);
        }
    }

    #[test]
    fn malformed_replies() {
        let malformed: &[&[u8]] = &[
            b"x\r\n",
            b"\r\n",
            b"+a\n",
            b"+a\rb",
            b":\r\n",
            b":01\r\n",
            b":9223372036854775808\r\n",
            b"$-2\r\n",
            b"$9223372036854775807\r\n",
            b"$1\r\nxyz",
            b"*-2\r\n",
            b"*?\r\n",
            b"#x\r\n",
            b"_x\r\n",
            b"=2\r\nab\r\n",
            b"%9223372036854775807\r\n",
            b"*2\r\n*9223372036854775807\r\n*9223372036854775807\r\n*9223372036854775807\r\n",
        ];
        for bytes in malformed {
            // Some are told by arithmetic alone, before their bytes are there: both answers refuse them.
            let long = [bytes, &b"xxxxxxxx"[..]].concat();
            assert!(!matches!(scan(&long), Ok(Some(_))), "{}", bytes.escape_ascii());
            assert_eq!(element_len(&long), None);
        }
        assert_eq!(scan(b"$1\r\nxyz"), Err(Malformed));
        // Whether a line's end is looked at must not depend on what follows.
        assert_eq!(scan(b"$2\r-12\r\n"), Err(Malformed));
        assert_eq!(scan(b"*2\r-"), Err(Malformed));
        assert_eq!(scan(b"*1\r\nx"), Err(Malformed));
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let bytes = [b"*1\r\n".repeat(1_000_000), b":1\r\n".to_vec()].concat();
        assert_eq!(element_len(&bytes), Some(bytes.len()));
    }

    #[test]
    fn elements_of_an_aggregate() {
        let bytes = b"*3\r\n:1\r\n*2\r\n+a\r\n+b\r\n$1\r\nx\r\n+behind\r\n";
        let (head, elements) = Elements::within(bytes).expect("complete");
        assert_eq!(head, Head::Array(3));
        let elements: Vec<&[u8]> = elements.take(3).collect();
        assert_eq!(elements, [&b":1\r\n"[..], b"*2\r\n+a\r\n+b\r\n", b"$1\r\nx\r\n"]);
        let mut elements = Elements::new(b"+a\r\n+b");
        assert_eq!(elements.next(), Some(&b"+a\r\n"[..]));
        assert_eq!(elements.next(), None);
        assert_eq!(elements.rest(), b"+b");
    }

    /// A reply made of every type, written and read back.
    #[derive(Debug, Clone)]
    enum Tree {
        Simple(String),
        Integer(i64),
        Bulk(Vec<u8>),
        Double(f64),
        Boolean(bool),
        Null,
        Verbatim(Vec<u8>),
        Array(Vec<Tree>),
        Map(Vec<(Tree, Tree)>),
        Set(Vec<Tree>),
    }

    impl Tree {
        fn write(&self, reply: &mut Reply) {
            match self {
                Tree::Simple(text) => reply.simple(text),
                Tree::Integer(value) => reply.integer(*value),
                Tree::Bulk(bytes) => reply.bulk(bytes),
                Tree::Double(value) => reply.double(&value.to_string()),
                Tree::Boolean(value) => reply.boolean(*value),
                Tree::Null => reply.null(),
                Tree::Verbatim(text) => reply.verbatim(b"txt", text),
                Tree::Array(items) => {
                    reply.array(items.len());
                    items.iter().for_each(|item| item.write(reply));
                }
                Tree::Set(items) => {
                    let mark = reply.defer();
                    items.iter().for_each(|item| item.write(reply));
                    reply.finish_set(mark, items.len());
                }
                Tree::Map(pairs) => {
                    let mark = reply.defer();
                    for (key, value) in pairs {
                        key.write(reply);
                        value.write(reply);
                    }
                    reply.finish_map(mark, pairs.len());
                }
            }
        }
    }

    fn any_tree() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Tree::Simple),
            any::<i64>().prop_map(Tree::Integer),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Tree::Bulk),
            prop::collection::vec(any::<u8>(), 990..1010).prop_map(Tree::Bulk),
            any::<f64>().prop_map(Tree::Double),
            any::<bool>().prop_map(Tree::Boolean),
            Just(Tree::Null),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Tree::Verbatim),
        ];
        leaf.prop_recursive(4, 64, 12, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..12).prop_map(Tree::Array),
                prop::collection::vec(inner.clone(), 0..12).prop_map(Tree::Set),
                prop::collection::vec((inner.clone(), inner), 0..6).prop_map(Tree::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(tree in any_tree(), behind in prop::collection::vec(any::<u8>(), 0..9)) {
            for protocol in [Protocol::Resp2, Protocol::Resp3] {
                let mut bytes = Vec::new();
                tree.write(&mut Reply::new(&mut bytes, protocol));
                let len = bytes.len();
                bytes.extend_from_slice(&behind);
                prop_assert_eq!(scan(&bytes), Ok(Some(len)));
                prop_assert_eq!(scan(&bytes[..len - 1]), Ok(None));
            }
        }

        #[test]
        fn any_bytes_have_an_answer(
            bytes in prop::collection::vec(prop::sample::select(b"+-:$*_,#!=(%~>|0123456789\r\nx".to_vec()), 0..60),
        ) {
            if let Some(len) = element_len(&bytes) {
                prop_assert!(0 < len && len <= bytes.len());
                // The answer depends on the element alone.
                prop_assert_eq!(element_len(&bytes[..len]), Some(len));
                prop_assert_eq!(scan(&bytes[..len - 1]), Ok(None));
            }
        }
    }
}
