//! Requests as they arrive: whole, cut, inline, wrong.

use super::*;

const LIMITS: Limits = Limits { bulk_bytes_max: 512 << 20, authenticated: true };
const STRANGER: Limits = Limits { bulk_bytes_max: 512 << 20, authenticated: false };

/// What a stream of bytes means: its requests, and how it ends.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    requests: Vec<Vec<Vec<u8>>>,
    error: Option<String>,
}

/// Feeds `pieces` one after another, as a connection would.
fn hear(pieces: &[&[u8]], limits: &Limits) -> Heard {
    let mut parser = Parser::new();
    let mut args = Vec::new();
    let mut buf: Vec<u8> = Vec::new();
    let mut requests = Vec::new();
    for piece in pieces {
        buf.extend_from_slice(piece);
        let mut from = 0;
        loop {
            // Other connections use the same vector in between.
            args.clear();
            args.resize(9, Span { start: 1, len: 2 });
            match parser.parse(&mut buf[from..], limits, &mut args) {
                Ok(Some(consumed)) => {
                    assert!(0 < consumed && consumed <= buf.len() - from);
                    requests.push(args.iter().map(|span| span.of(&buf[from..]).to_vec()).collect());
                    from += consumed;
                    assert_eq!(parser.kept.capacity(), 0);
                    assert_eq!(parser.wanted_bytes(), 0);
                }
                Ok(None) => break,
                Err(error) => return Heard { requests, error: Some(error.text().into_owned()) },
            }
        }
        buf.drain(..from);
    }
    Heard { requests, error: None }
}

/// `input` at once means `expected`: words by blanks, requests by `|`, an error after `!`; and so it does byte by
/// byte.
#[track_caller]
fn check(input: &[u8], expected: &str) {
    check_with(&LIMITS, input, expected);
}

#[track_caller]
fn check_with(limits: &Limits, input: &[u8], expected: &str) {
    let show = |heard: Heard| {
        let mut shown: Vec<String> = heard
            .requests
            .iter()
            .map(|request| request.iter().map(|arg| arg.escape_ascii().to_string()).collect::<Vec<_>>().join(" "))
            .collect();
        if let Some(error) = heard.error {
            shown.push(format!("!{}", error.strip_prefix("ERR Protocol error: ").expect("a protocol error")));
        }
        shown.join("|")
    };
    assert_eq!(show(hear(&[input], limits)), expected);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(show(hear(&bytes, limits)), expected, "byte by byte");
}

#[test]
fn a_parser_is_small() {
    assert!(size_of::<Parser>() <= 64);
}

#[test]
fn multibulk_requests() {
    check(b"*1\r\n$4\r\nPING\r\n", "PING");
    check(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", "SET key value|GET key");
    check(b"*1\r\n$0\r\n\r\n", "");
    check(b"*2\r\n$0\r\n\r\n$12\r\n\0\r\n*1\r\n$9\xff23\r\n", " \\x00\\r\\n*1\\r\\n$9\\xff23");
    check(b"*0\r\n*-1\r\n*-5\r\n*-9223372036854775808\r\n*1\r\n$4\r\nPING\r\n", "||||PING");
    check(b"*1\rX$4\rYPINGab*1\r\n$1\r\nx\r\n", "PING|x");
    check(b"*2147483647\r\n", "");
    check(b"*1\r\n$536870912\r\n", "");
}

#[test]
fn lengths_of_every_width() {
    for len in [0, 1, 9, 10, 99, 100, 999, 1000, 9999, 10000, 100_000] {
        let value = vec![b'v'; len];
        let mut input = format!("*1\r\n${len}\r\n").into_bytes();
        input.extend_from_slice(&value);
        input.extend_from_slice(b"\r\n");
        assert_eq!(hear(&[&input], &LIMITS).requests, vec![vec![value]]);
    }
    for count in [1, 9, 10, 99, 100, 999, 1000, 4321] {
        let mut input = format!("*{count}\r\n").into_bytes();
        for _ in 0..count {
            input.extend_from_slice(b"$1\r\nx\r\n");
        }
        assert_eq!(hear(&[&input], &LIMITS).requests, vec![vec![b"x".to_vec(); count]]);
    }
}

#[test]
fn multibulk_errors() {
    for count in [
        "",
        "-0",
        "01",
        "+1",
        " 1",
        "1 ",
        "2147483648",
        "-9223372036854775809",
        "1\n$4",
        "x",
        ":",
        "/",
        "1:",
        "1/",
        "12:",
        "12/",
        "1000:",
    ] {
        check(format!("*{count}\r\n").as_bytes(), "!invalid multibulk length");
        check(format!("*{count}\r\nabcdefgh").as_bytes(), "!invalid multibulk length");
    }
    for len in [
        "",
        "-1",
        "04",
        "-0",
        "536870913",
        "99999999999999999999",
        "1\n",
        "4x",
        ":",
        "/",
        "1:",
        "1/",
        "12:",
        "12/",
        "1000:",
    ] {
        check(format!("*1\r\n${len}\r\n").as_bytes(), "!invalid bulk length");
        check(format!("*1\r\n${len}\r\nabcdefgh").as_bytes(), "!invalid bulk length");
    }
    check(b"*1\r\nX\r\n", "!expected '$', got 'X'");
    check(b"*1\r\nX12\r\nabcdefgh", "!expected '$', got 'X'");
    check(b"*1\r\n1\r\nabcdefgh", "!expected '$', got '1'");
    check(b"*1\r\n\r\n", "!expected '$', got '\r'"); // Becomes a blank when written.
    check(b"*1\r\nX", "");
    check(b"*1\0\r\n$4\r\nPING\r\n", "");
}

#[test]
fn limits_before_authentication() {
    check_with(&STRANGER, b"*10\r\n", "");
    check_with(&STRANGER, b"*11\r\n$1\r\nx\r\n", "!unauthenticated multibulk length");
    check_with(&STRANGER, b"*1\r\n$16384\r\n", "");
    check_with(&STRANGER, b"*1\r\n$16385\r\n", "!unauthenticated bulk length");
    check_with(&STRANGER, b"*1\r\n$999999999999\r\n", "!invalid bulk length");
    check_with(&STRANGER, b"a b c d e f g h i j k l\r\n", "a b c d e f g h i j k l");
}

#[test]
fn inline_requests() {
    check(b"PING\r\n", "PING");
    check(b"PING\nPING\r\r\n\r\n\n  \t\r\n*1\r\n$1\r\nx\r\n", "PING|PING||||x");
    check(b"  SET\tkey   value \r\n", "SET key value");
    check(b"ECHO \"a\\x41\\n\\r\\t\\b\\a\\q\\x4\" x\r\n", "ECHO aA\\n\\r\\t\\x08\\x07qx4 x");
    check(b"ECHO 'a\\'b\\n' x\r\n", "ECHO a'b\\\\n x".replace("a'b", "a\\'b").as_str());
    check(b"ECHO fo\"o b\" c'd e' \"\" ''\r\n", "ECHO foo b cd e  ");
    check(b"\x0bECHO a\x0bb \"c\"\x0b\"d\"\r\n", "ECHO a\\x0bb c d");
    check(b"+OK\r\n$4\r\n", "+OK|$4");
    check(b"PING\0x\r\nPING\r\n", "");
}

#[test]
fn inline_errors() {
    for line in ["\"a\"b", "\"a", "'a", "'a'b", "\"a\\\"", "\"a\\", "a\"", "\"\"\"\""] {
        check(format!("ECHO {line}\r\n").as_bytes(), "!unbalanced quotes in request");
    }
}

#[test]
fn lines_have_a_greatest_length() {
    let line =
        |head: &str, len: usize, tail: &str| [head.as_bytes(), &vec![b'1'; len - head.len()], tail.as_bytes()].concat();
    let error = |input: &[u8]| hear(&[input], &LIMITS).error;
    for (head, text) in
        [("*", "ERR Protocol error: too big mbulk count string"), ("a", "ERR Protocol error: too big inline request")]
    {
        assert_eq!(error(&line(head, LINE_BYTES_MAX, "")), None);
        assert_eq!(error(&line(head, LINE_BYTES_MAX + 1, "")).as_deref(), Some(text));
        assert_eq!(error(&line(head, LINE_BYTES_MAX + 1, "\r\n")).as_deref(), Some(text));
    }
    let bulk = |tail: &[u8]| [b"*1\r\n", tail].concat();
    assert_eq!(error(&bulk(&line("$", LINE_BYTES_MAX, ""))), None);
    let text = "ERR Protocol error: too big bulk count string";
    assert_eq!(error(&bulk(&line("$", LINE_BYTES_MAX + 1, ""))).as_deref(), Some(text));
    assert_eq!(error(&bulk(&line("x", LINE_BYTES_MAX + 1, "\r\n"))).as_deref(), Some(text));
    assert_eq!(hear(&[&line("a", LINE_BYTES_MAX, "\n")], &LIMITS).requests.len(), 1);
}

/// What is wanted of the parser, said again as simply as can be: the whole stream at once, one byte after another.
mod reference {
    use super::{Heard, Limits};

    pub fn hear(mut bytes: &[u8], limits: &Limits) -> Heard {
        let mut requests = Vec::new();
        loop {
            match request(&mut bytes, limits) {
                Ok(args) => requests.push(args),
                Err(None) => return Heard { requests, error: None },
                Err(Some(text)) => return Heard { requests, error: Some(format!("ERR Protocol error: {text}")) },
            }
        }
    }

    /// One request taken off the front; `Err(None)` if it is incomplete.
    fn request(bytes: &mut &[u8], limits: &Limits) -> Result<Vec<Vec<u8>>, Option<String>> {
        if bytes.is_empty() {
            return Err(None);
        }
        if bytes[0] != b'*' {
            let line = take_line(bytes, b'\n', 1, "too big inline request")?;
            return words(line.strip_suffix(b"\r").unwrap_or(line)).ok_or(Some("unbalanced quotes in request".into()));
        }
        let line = take_line(bytes, b'\r', 2, "too big mbulk count string")?;
        let count =
            number(&line[1..]).filter(|count| *count <= 2147483647).ok_or(Some("invalid multibulk length".into()))?;
        if !limits.authenticated && count > 10 {
            return Err(Some("unauthenticated multibulk length".into()));
        }
        let mut args = Vec::new();
        for _ in 0..count {
            let line = take_line(bytes, b'\r', 2, "too big bulk count string")?;
            if line.first() != Some(&b'$') {
                let got = String::from_utf8_lossy(&[*line.first().unwrap_or(&b'\r')]).into_owned();
                return Err(Some(format!("expected '$', got '{got}'")));
            }
            let len = number(&line[1..]).filter(|len| *len >= 0 && *len <= limits.bulk_bytes_max as i128);
            let len = len.ok_or(Some("invalid bulk length".into()))?;
            if !limits.authenticated && len > 16384 {
                return Err(Some("unauthenticated bulk length".into()));
            }
            if (bytes.len() as i128) < len + 2 {
                return Err(None);
            }
            args.push(bytes[..len as usize].to_vec());
            *bytes = &bytes[len as usize + 2..];
        }
        Ok(args)
    }

    /// The bytes before `terminator`; it and what belongs to it, `end_bytes` together, are taken as well.
    fn take_line<'a>(
        bytes: &mut &'a [u8],
        terminator: u8,
        end_bytes: usize,
        too_long: &str,
    ) -> Result<&'a [u8], Option<String>> {
        for (index, byte) in bytes.iter().enumerate() {
            if index > 65536 {
                return Err(Some(too_long.into()));
            }
            if *byte == terminator {
                if bytes.len() < index + end_bytes {
                    return Err(None);
                }
                let line = &bytes[..index];
                *bytes = &bytes[index + end_bytes..];
                return Ok(line);
            }
            if *byte == 0 {
                return Err(if bytes.len() > 65536 { Some(too_long.into()) } else { None });
            }
        }
        Err(if bytes.len() > 65536 { Some(too_long.into()) } else { None })
    }

    /// A number whose canonical spelling is exactly this, within 64 bits.
    fn number(text: &[u8]) -> Option<i128> {
        let number: i128 = std::str::from_utf8(text).ok()?.parse().ok()?;
        let canonical = number.to_string().as_bytes() == text && i64::try_from(number).is_ok();
        canonical.then_some(number)
    }

    /// A state machine over single bytes with an end mark.
    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        #[derive(PartialEq)]
        enum State {
            Between,
            Plain,
            Double,
            Single,
            Closed,
        }
        let mut state = State::Between;
        let mut words: Vec<Vec<u8>> = Vec::new();
        let mut rest = line;
        loop {
            let byte = rest.first().copied();
            let space = byte.is_none_or(|byte| b" \t\n\x0b\x0c\r".contains(&byte));
            let mut taken = 1;
            match state {
                State::Closed if !space => return None,
                State::Between | State::Closed if space => state = State::Between,
                State::Plain if byte.is_none_or(|byte| b" \t\n\r".contains(&byte)) => state = State::Between,
                State::Between | State::Plain => {
                    if state == State::Between {
                        words.push(Vec::new());
                    }
                    state = match byte? {
                        b'"' => State::Double,
                        b'\'' => State::Single,
                        plain => {
                            words.last_mut()?.push(plain);
                            State::Plain
                        }
                    };
                }
                State::Single | State::Double => {
                    let quote = if state == State::Single { b'\'' } else { b'"' };
                    let text = std::str::from_utf8(rest.get(2..4).unwrap_or(b"")).unwrap_or("");
                    let hex = u8::from_str_radix(text, 16).ok().filter(|_| text.len() == 2 && !text.starts_with('+'));
                    let (decoded, len) = match (byte?, rest.get(1)) {
                        (b'\\', Some(b'x')) if quote == b'"' && hex.is_some() => (hex, 4),
                        (b'\\', Some(escaped)) if quote == b'"' => {
                            let letters = b"nrtba".iter().position(|letter| letter == escaped);
                            (Some(letters.map_or(*escaped, |index| b"\n\r\t\x08\x07"[index])), 2)
                        }
                        (b'\\', Some(b'\'')) if quote == b'\'' => (Some(b'\''), 2),
                        (byte, _) if byte == quote => (None, 1),
                        (byte, _) => (Some(byte), 1),
                    };
                    taken = len;
                    match decoded {
                        Some(byte) => words.last_mut()?.push(byte),
                        None => state = State::Closed,
                    }
                }
                State::Closed => unreachable!("the next byte is a space or it is not"),
            }
            if byte.is_none() {
                return Some(words);
            }
            rest = &rest[taken..];
        }
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    fn bytes_of(alphabet: &'static [u8], len_max: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(select(alphabet.to_vec()), 0..len_max)
    }

    fn argument() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            8 => prop::collection::vec(any::<u8>(), 0..20),
            1 => prop::collection::vec(any::<u8>(), 90..110),
            1 => prop::collection::vec(any::<u8>(), 990..1010),
        ]
    }

    fn multibulk() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(argument(), 0..24).prop_map(|args| {
            let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
            for arg in &args {
                bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
                bytes.extend_from_slice(arg);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes
        })
    }

    fn inline() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![bytes_of(b"ab \t\"'\\xn41\r\x0b+", 40), bytes_of(b"ab  ", 40)];
        (line, any::<bool>()).prop_map(|(line, cr)| [&line[..], if cr { b"\r\n" } else { b"\n" }].concat())
    }

    /// Requests, some of them spoilt.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            4 => multibulk(),
            3 => inline(),
            1 => bytes_of(b"*$/0123456789:-\r\n\r\n ab\"\0", 30),
            1 => Just(b"*1\r\n$20000\r\n".to_vec()),
            1 => (65530..65545usize, select(b"*$a".to_vec())).prop_map(|(len, kind)| {
                let head: &[u8] = if kind == b'$' { b"*1\r\n$" } else { &[kind] };
                [head, &vec![b'1'; len - 1], b"\r\n"].concat()
            }),
        ];
        let spoilt = prop::collection::vec((any::<Index>(), select(b"*$/0129:-\r\n \0\"'x".to_vec())), 0..3);
        (prop::collection::vec(part, 0..8), spoilt).prop_map(|(parts, spoilt)| {
            let mut bytes = parts.concat();
            for (index, byte) in spoilt {
                if !bytes.is_empty() {
                    let at = index.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            bytes
        })
    }

    fn cut<'a>(bytes: &'a [u8], at: &[Index]) -> Vec<&'a [u8]> {
        let mut at: Vec<usize> = at.iter().map(|index| index.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    proptest! {
        #[test]
        fn bytes_mean_the_same_however_they_are_cut(
            bytes in stream(),
            at in prop::collection::vec(any::<Index>(), 0..40),
            authenticated: bool,
        ) {
            let limits = Limits { authenticated, ..LIMITS };
            let expected = reference::hear(&bytes, &limits);
            prop_assert_eq!(&hear(&[&bytes], &limits), &expected);
            prop_assert_eq!(&hear(&cut(&bytes, &at), &limits), &expected);
        }

        #[test]
        fn short_streams_byte_by_byte(
            bytes in prop_oneof![multibulk(), inline(), bytes_of(b"*$/019:-\r\n\r\n \"'\\\0a", 40)],
        ) {
            let expected = reference::hear(&bytes, &LIMITS);
            prop_assert_eq!(hear(&bytes.chunks(1).collect::<Vec<_>>(), &LIMITS), expected);
        }
    }
}

/// Feeds `bytes` in pieces of 16 KiB, and asserts that what has to be read again is bounded whatever has arrived.
fn check_linear(bytes: &mut [u8], argument_count: usize) {
    let mut parser = Parser::new();
    let mut args = Vec::new();
    let len = bytes.len();
    let mut calls_that_read = 0;
    for arrived in (0..len).step_by(16 * 1024).skip(1) {
        calls_that_read += (parser.wanted_bytes <= arrived) as usize;
        assert_eq!(parser.parse(&mut bytes[..arrived], &LIMITS, &mut args), Ok(None));
        let read_again = if parser.position != 0 { arrived - parser.position as usize } else { 0 };
        assert!(parser.position != 0 || argument_count <= REREAD_ARGUMENTS_MAX);
        assert!(read_again <= 32 || arrived < parser.wanted_bytes);
    }
    if argument_count <= REREAD_ARGUMENTS_MAX {
        assert!(calls_that_read <= 2);
    }
    assert_eq!(parser.parse(bytes, &LIMITS, &mut args), Ok(Some(len)));
    assert_eq!(args.len(), argument_count);
}

#[test]
fn a_request_of_many_arguments_in_many_pieces_is_read_once() {
    let mut bytes = [b"*100000\r\n".to_vec(), b"$3\r\nabc\r\n".repeat(100_000)].concat();
    check_linear(&mut bytes, 100_000);
}

#[test]
fn a_long_argument_in_many_pieces_is_not_looked_at() {
    let mut bytes = [&b"*2\r\n$3\r\nabc\r\n$10000000\r\n"[..], &vec![b'x'; 10_000_000], b"\r\n"].concat();
    check_linear(&mut bytes, 2);
}

#[test]
fn what_is_wanted_is_said_when_it_is_known() {
    let mut parser = Parser::new();
    let mut args = Vec::new();
    let mut input = b"*2\r\n$3\r\nGET\r\n$1000\r\nabc".to_vec();
    assert_eq!(parser.parse(&mut input, &LIMITS, &mut args), Ok(None));
    assert_eq!(parser.wanted_bytes(), input.len() - 3 + 1000 + 2);
    let mut parser = Parser::new();
    assert_eq!(parser.parse(&mut b"*2\r\n$3".to_vec(), &LIMITS, &mut args), Ok(None));
    assert_eq!(parser.wanted_bytes(), 0);
}

#[test]
fn a_long_line_in_many_pieces_is_searched_once() {
    for head in [&b"*"[..], b"x", b"*1\r\n$"] {
        let mut bytes = [head, &[b'1'; 10_000]].concat();
        let mut parser = Parser::new();
        let mut args = Vec::new();
        for arrived in head.len()..bytes.len() {
            assert_eq!(parser.parse(&mut bytes[..arrived], &LIMITS, &mut args), Ok(None));
            let searched = parser.position as usize + parser.searched_bytes as usize;
            assert!(arrived - searched <= REREAD_LINE_BYTES_MAX + head.len(), "{arrived} {searched}");
        }
    }
}
