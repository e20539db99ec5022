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

/// `input` at once means `expected`: words by blanks, requests by `|`, an error after `!`; and so it does byte by byte.
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
    for count in ["", "-0", "01", "+1", " 1", "1 ", "2147483648", "-9223372036854775809", "1\n$4", "x"] {
        check(format!("*{count}\r\n").as_bytes(), "!invalid multibulk length");
    }
    for len in ["", "-1", "04", "-0", "536870913", "99999999999999999999", "1\n", "4x"] {
        check(format!("*1\r\n${len}\r\n").as_bytes(), "!invalid bulk length");
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
