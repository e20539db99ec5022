//! As much of HTTP/1.1 as scrapers, probes and browsers need of an admin port: `GET` and `HEAD` of a few paths, one
//! request to a connection. Whoever does otherwise is told so, or is gone.
//!
//! Everything has an end: a request head [`HEAD_BYTES_MAX`] bytes and [`REQUEST_MAX`], an answer [`ANSWER_MAX`] to be
//! taken, less where others wait (`Visitors` in `admin.rs`, which is told how far each is). Who comes when there are
//! too many is told so at once.
//!
//! Where a client reached the port by an address of this machine alone, it has to call the server so: a page from
//! elsewhere, whose name was made to mean this machine after the browser had loaded it, gets nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A request's line and headers take at most so many bytes: what browsers send is a tenth of it.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// How long a client may take to send its request, from its first byte or none.
pub const REQUEST_MAX: Duration = Duration::from_secs(5);
/// How long a client may take to receive the answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Without what follows a `?`, …
    pub path: String,
    /// … which is this.
    pub query: String,
    /// What it wants to be sent, in the words of its `Accept`.
    pub accept: String,
    /// How it calls the server, in lower case and without a port; empty if it does not say.
    pub host: String,
    /// The answer is wanted without its body.
    pub is_head: bool,
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's number for how it went.
    pub status: u16,
    /// `Content-Type`
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A line of text.
    pub fn text(status: u16, line: impl std::fmt::Display) -> Answer {
        Answer { status, content_type: "text/plain; charset=utf-8", body: format!("{line}\n").into_bytes() }
    }
}

/// What is to be done with what a client has sent so far.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Request(Request),
    Refused(Answer),
    Incomplete,
}

/// Reads a request's head.
fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Parsed::Incomplete,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Refused(Answer::text(431, "the request's head is too long"));
        }
        Err(error) => return Parsed::Refused(Answer::text(400, format_args!("this is no request: {error}"))),
    }
    let is_head = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Parsed::Refused(Answer::text(405, "only GET and HEAD are known here")),
    };
    let (named, target) = split_target(head.path.unwrap_or("/"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |name: &str| {
        let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map_or(String::new(), |header| String::from_utf8_lossy(header.value).to_ascii_lowercase())
    };
    let host = named.map_or_else(|| header("host"), str::to_ascii_lowercase);
    let (accept, host) = (header("accept"), without_port(&host).into());
    Parsed::Request(Request { path: path.into(), query: query.into(), accept, host, is_head })
}

/// How a target calls the server, if it does, and the path. `http://name/path` means `/path`, and goes before what
/// `Host` says (RFC 9112, 3.2.2).
fn split_target(target: &str) -> (Option<&str>, &str) {
    const SCHEME: &str = "http://";
    if !target.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME)) {
        return (None, target);
    }
    let rest = &target[SCHEME.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let path = &rest[end..];
    (Some(&rest[..end]), if path.is_empty() { "/" } else { path })
}

/// `localhost:80`, `127.0.0.1`, `[::1]:80`
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}

/// Whether a name cannot have been given by somebody else: `localhost`, or an address.
fn is_own_name(host: &str) -> bool {
    host.is_empty() || host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

/// An answer's bytes.
fn encode(answer: &Answer, is_head: bool) -> Vec<u8> {
    let Answer { status, content_type, body } = answer;
    let allow = if *status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let mut bytes = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}Cache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'\r\nConnection: close\r\n\r\n",
        reason(*status),
        body.len()
    )
    .into_bytes();
    if !is_head {
        bytes.extend_from_slice(body);
    }
    bytes
}

/// How far a client has taken its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nothing yet, or more of it than before.
    More,
    /// The kernel has all of it.
    All,
}

/// Serves one connection to its end: its request, what `answer` makes of it; `note` is told how that is taken.
///
/// # Errors
/// The connection broke, or its client was too slow.
pub fn serve(
    stream: &TcpStream,
    answer: impl FnOnce(&Request) -> Answer,
    mut note: impl FnMut(Taken),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let is_own = stream.local_addr()?.ip().is_loopback();
    let (answer, is_head) = match receive(stream)? {
        Parsed::Request(request) if is_own && !is_own_name(&request.host) => {
            (Answer::text(403, "on this address the server is called localhost"), request.is_head)
        }
        Parsed::Request(request) => (answer(&request), request.is_head),
        Parsed::Refused(refusal) => (refusal, false),
        Parsed::Incomplete => (Answer::text(408, "the request did not come in time"), false),
    };
    send(stream, &encode(&answer, is_head), ANSWER_MAX, &mut note)?;
    note(Taken::All);
    stream.shutdown(Shutdown::Write)?;
    linger(stream);
    Ok(())
}

/// Tells a client that there are too many of them, without waiting for what it wants.
///
/// # Errors
/// The connection broke.
pub fn refuse(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.write_all(&encode(&Answer::text(503, "too many clients of this port at once"), false))?;
    stream.shutdown(Shutdown::Write)
}

/// What is left of a time; `None`: nothing.
fn left(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// Receives a request until it is whole, too long or too late.
fn receive(mut stream: &TcpStream) -> io::Result<Parsed> {
    let deadline = Instant::now() + REQUEST_MAX;
    let mut bytes = Vec::new();
    let mut room = [0; 1024];
    loop {
        let Some(left) = left(deadline) else { return Ok(Parsed::Incomplete) };
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => bytes.extend_from_slice(&room[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        match parse(&bytes) {
            Parsed::Incomplete => {}
            parsed => return Ok(parsed),
        }
    }
}

/// Sends all of an answer, or fails when its client has not taken it in time.
fn send(mut stream: &TcpStream, mut bytes: &[u8], patience: Duration, mut note: impl FnMut(Taken)) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    while !bytes.is_empty() {
        note(Taken::More);
        stream.set_write_timeout(Some(left(deadline).ok_or(ErrorKind::TimedOut)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads what a client sent too much, so that the kernel does not answer it with a reset, which would take the answer
/// away from it. A little, and not for long.
fn linger(mut stream: &TcpStream) {
    const LINGER: Duration = Duration::from_millis(200);
    const BYTES_MAX: usize = 64 * 1024;
    let deadline = Instant::now() + LINGER;
    let (mut room, mut read) = ([0; 1024], 0);
    while let Some(left) = left(deadline)
        && read < BYTES_MAX
        && stream.set_read_timeout(Some(left)).is_ok()
        && let Ok(more @ 1..) = stream.read(&mut room)
    {
        read += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(bytes: &[u8]) -> Option<u16> {
        match parse(bytes) {
            Parsed::Request(_) => Some(200),
            Parsed::Refused(answer) => Some(answer.status),
            Parsed::Incomplete => None,
        }
    }

    #[test]
    fn requests_are_read_and_strange_ones_refused() {
        let request = b"GET /series.json?since=7 HTTP/1.1\r\nHost: x\r\nACCEPT: Text/HTML\r\n\r\n";
        let expected = Request {
            path: "/series.json".into(),
            query: "since=7".into(),
            accept: "text/html".into(),
            host: "x".into(),
            is_head: false,
        };
        assert_eq!(parse(request), Parsed::Request(expected.clone()));
        for cut in 0..request.len() {
            assert_eq!(status(&request[..cut]), None, "{cut}");
        }
        let absolute = b"GET http://Y:80/series.json?since=7 HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n";
        assert_eq!(parse(absolute), Parsed::Request(Request { host: "y".into(), ..expected }));
        assert_eq!(split_target("HTTP://[::1]:9121"), (Some("[::1]:9121"), "/"));
        assert_eq!(split_target("/http://a/"), (None, "/http://a/"));
        assert_eq!(status(b"HEAD / HTTP/1.0\r\n\r\n"), Some(200));
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"), Some(405));
        assert_eq!(status(b"*1\r\n$4\r\nPING\r\n"), Some(400));
        assert_eq!(status(b"\x16\x03\x01\x02\x00\x01"), Some(400));
        assert_eq!(status(b"GET / HTTP/9.9\r\n\r\n"), Some(400));
        assert_eq!(status(b"GET /\0 HTTP/1.1\r\n\r\n"), Some(400));
        let long = [b"GET /".as_slice(), &b"a".repeat(HEAD_BYTES_MAX)].concat();
        assert_eq!(status(&long), Some(431));
        let many = [b"GET / HTTP/1.1\r\n".as_slice(), &b"a: b\r\n".repeat(HEADERS_MAX + 1), b"\r\n"].concat();
        assert_eq!(status(&many), Some(431));
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let answer = Answer::text(200, "ok");
        let whole = String::from_utf8(encode(&answer, false)).unwrap();
        assert!(whole.starts_with("HTTP/1.1 200 OK\r\n") && whole.ends_with("\r\n\r\nok\n"), "{whole}");
        assert!(whole.contains("\r\nContent-Length: 3\r\n"));
        let head = String::from_utf8(encode(&answer, true)).unwrap();
        assert!(head.contains("\r\nContent-Length: 3\r\n") && head.ends_with("\r\n\r\n"));
        assert!(
            String::from_utf8(encode(&Answer::text(405, "no"), false)).unwrap().contains("\r\nAllow: GET, HEAD\r\n")
        );
    }

    #[test]
    fn a_name_from_elsewhere_is_known() {
        for (host, is_own) in [
            ("", true),
            ("LocalHost:9121", true),
            ("a.localhost", true),
            ("127.0.0.1:9121", true),
            ("[::1]:9121", true),
            ("[::1]", true),
            ("evil.example:9121", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("[evil", false),
        ] {
            let host = host.to_ascii_lowercase();
            assert_eq!(is_own_name(without_port(&host)), is_own, "{host}");
        }
    }

    /// A scraper that does not read.
    #[test]
    fn who_does_not_take_its_answer_is_given_up() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let deaf = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        // More than any socket keeps.
        let answer = vec![0; 256 << 20];
        let mut noted = 0;
        let note = |taken| noted += u32::from(taken == Taken::More);
        let error = send(&stream, &answer, Duration::from_millis(100), note).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "{error}");
        assert!(0 < noted, "it was told that it begins");
        drop(deaf);
        assert!(send(&stream, &answer, Duration::from_secs(60), |_| ()).is_err(), "it is gone");
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_sent_is_too_strange(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            start in proptest::sample::select(vec!["", "GET ", "GET / HTTP/1.1\r\n", "GET /? HTTP/1.1\r\nHost: ["]),
        ) {
            let request = [start.as_bytes(), &bytes, b"\r\n\r\n"].concat();
            if let Parsed::Request(request) = parse(&request) {
                is_own_name(&request.host);
            }
        }
    }
}
