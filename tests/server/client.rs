//! A small RESP2/RESP3 client for tests: std only, blocking, keeps the raw bytes of every reply.
//!
//! It is not a client library: no pooling, no reconnecting, and it believes nothing that the server announces beyond
//! what has arrived.

use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a test waits for bytes before it calls the server hung: machines that test are shared, and some commands of
/// tests take seconds on a quiet one.
pub const READ_TIMEOUT_MS: u64 = 180_000;

/// Replies nested deeper than this are a server's fault.
const DEPTH_MAX: usize = 32;

/// One reply, as it stood on the wire.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `+text`
    Simple(Vec<u8>),
    /// `-text`
    Error(Vec<u8>),
    /// `:n`
    Integer(i64),
    /// `$n`
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    /// `*n`
    Array(Vec<Value>),
    /// `%n`
    Map(Vec<(Value, Value)>),
    /// `~n`
    Set(Vec<Value>),
    /// `>n`
    Push(Vec<Value>),
    /// `,text`: the text is kept, since tests compare digits
    Double(Vec<u8>),
    /// `#t`, `#f`
    Boolean(bool),
    /// `=n`: three letters of format, then the text
    Verbatim(Vec<u8>, Vec<u8>),
    /// `(text`
    BigNumber(Vec<u8>),
}

/// Text with everything but printable ASCII escaped, as redis-cli shows it.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => write!(text, "\\x{byte:02x}").expect("a string takes what is written"),
        }
    }
    text
}

/// A command as a line of a transcript: words that need it in quotes, long ones shortened.
pub fn show_command(arguments: &[Vec<u8>]) -> String {
    const SHOWN_MAX: usize = 120;
    let words: Vec<String> = arguments
        .iter()
        .map(|argument| {
            if argument.len() > SHOWN_MAX {
                return format!("\"{}…({} bytes)\"", escape(&argument[..SHOWN_MAX]), argument.len());
            }
            let plain = !argument.is_empty() && argument.iter().all(|b| b.is_ascii_graphic() && !b"\"'\\#".contains(b));
            if plain { escape(argument) } else { format!("\"{}\"", escape(argument)) }
        })
        .collect();
    words.join(" ")
}

impl fmt::Display for Value {
    /// The notation of the transcripts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list(f: &mut fmt::Formatter<'_>, open: &str, items: &[Value]) -> fmt::Result {
            write!(f, "{open}")?;
            for (index, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
            }
            write!(f, "]")
        }
        match self {
            Value::Simple(text) => write!(f, "+{}", escape(text)),
            Value::Error(text) => write!(f, "-{}", escape(text)),
            Value::Integer(number) => write!(f, ":{number}"),
            Value::Bulk(bytes) => write!(f, "\"{}\"", escape(bytes)),
            Value::NullBulk => write!(f, "nil"),
            Value::NullArray => write!(f, "nil[]"),
            Value::Null => write!(f, "nil(3)"),
            Value::Array(items) => list(f, "[", items),
            Value::Set(items) => list(f, "set[", items),
            Value::Push(items) => list(f, "push[", items),
            Value::Map(pairs) => {
                write!(f, "{{")?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key} => {value}", if index == 0 { "" } else { ", " })?;
                }
                write!(f, "}}")
            }
            Value::Double(text) => write!(f, ",{}", escape(text)),
            Value::Boolean(truth) => write!(f, "#{}", if *truth { 't' } else { 'f' }),
            Value::Verbatim(format, text) => write!(f, "{}\"{}\"", escape(format), escape(text)),
            Value::BigNumber(text) => write!(f, "({}", escape(text)),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The request as a multibulk.
pub fn encode<T: AsRef<[u8]>>(arguments: &[T]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let argument = argument.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The first whole reply in `bytes` and its length, `None` when it has not all arrived.
pub fn decode(bytes: &[u8]) -> Result<Option<(Value, usize)>, String> {
    let mut at = 0;
    match decode_at(bytes, &mut at, 0)? {
        Some(value) => Ok(Some((value, at))),
        None => Ok(None),
    }
}

/// The whole length of a bulk that has begun to arrive, so that a large one is not parsed again with every read.
fn bulk_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    match line(bytes, &mut at).and_then(|head| head.strip_prefix(b"$")).map(number) {
        Some(Ok(length)) => at + usize::try_from(length).unwrap_or(0) + 2,
        _ => 0,
    }
}

fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = &bytes[*at..];
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    *at += end + 2;
    Some(&rest[..end])
}

fn number(text: &[u8]) -> Result<i64, String> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("not a number in a reply: {}", escape(text)))
}

fn decode_at(bytes: &[u8], at: &mut usize, depth: usize) -> Result<Option<Value>, String> {
    if depth > DEPTH_MAX {
        return Err("reply nested too deep".into());
    }
    let Some(head) = line(bytes, at) else { return Ok(None) };
    let Some((&kind, rest)) = head.split_first() else { return Err("empty line where a reply should start".into()) };
    let items = |at: &mut usize, count: i64| -> Result<Option<Vec<Value>>, String> {
        let mut items = Vec::new();
        for _ in 0..count {
            match decode_at(bytes, at, depth + 1)? {
                Some(item) => items.push(item),
                None => return Ok(None),
            }
        }
        Ok(Some(items))
    };
    let body = |at: &mut usize, length: i64| -> Result<Option<Vec<u8>>, String> {
        let length = usize::try_from(length).map_err(|_| format!("negative length {length}"))?;
        let rest = &bytes[*at..];
        if rest.len() < length + 2 {
            return Ok(None);
        }
        if &rest[length..length + 2] != b"\r\n" {
            return Err("a bulk does not end in CRLF".into());
        }
        *at += length + 2;
        Ok(Some(rest[..length].to_vec()))
    };
    Ok(match kind {
        b'+' => Some(Value::Simple(rest.to_vec())),
        b'-' => Some(Value::Error(rest.to_vec())),
        b':' => Some(Value::Integer(number(rest)?)),
        b'_' => Some(Value::Null),
        b',' => Some(Value::Double(rest.to_vec())),
        b'(' => Some(Value::BigNumber(rest.to_vec())),
        b'#' if rest == b"t" || rest == b"f" => Some(Value::Boolean(rest == b"t")),
        b'$' if rest == b"-1" => Some(Value::NullBulk),
        b'*' if rest == b"-1" => Some(Value::NullArray),
        b'$' => body(at, number(rest)?)?.map(Value::Bulk),
        b'=' => match body(at, number(rest)?)? {
            Some(text) if text.len() >= 4 && text[3] == b':' => {
                Some(Value::Verbatim(text[..3].to_vec(), text[4..].to_vec()))
            }
            Some(text) => return Err(format!("verbatim string without a format: {}", escape(&text))),
            None => None,
        },
        b'*' => items(at, number(rest)?)?.map(Value::Array),
        b'~' => items(at, number(rest)?)?.map(Value::Set),
        b'>' => items(at, number(rest)?)?.map(Value::Push),
        b'%' => items(at, number(rest)? * 2)?.map(|flat| {
            let mut flat = flat.into_iter();
            let mut pairs = Vec::new();
            while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
                pairs.push((key, value));
            }
            Value::Map(pairs)
        }),
        _ => return Err(format!("a reply can't start with {:?}: {}", char::from(kind), escape(head))),
    })
}

/// One connection.
pub struct Client {
    /// The socket itself, for tests of half-open and slow connections.
    pub stream: TcpStream,
    pending: Vec<u8>,
}

impl Client {
    /// Connects to a server on loopback.
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(READ_TIMEOUT_MS)))?;
        stream.set_write_timeout(Some(Duration::from_millis(READ_TIMEOUT_MS)))?;
        Ok(Client { stream, pending: Vec::new() })
    }

    /// Writes bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next reply and its bytes. `Ok(None)` when the server has closed the connection.
    pub fn read_raw(&mut self) -> io::Result<Option<(Value, Vec<u8>)>> {
        let mut chunk = [0_u8; 64 * 1024];
        // Below this length it is known that the reply has not all arrived.
        let mut needed_len = 1;
        loop {
            if needed_len <= self.pending.len() {
                match decode(&self.pending).map_err(|text| io::Error::new(io::ErrorKind::InvalidData, text))? {
                    Some((value, length)) => {
                        let raw = self.pending.drain(..length).collect();
                        return Ok(Some((value, raw)));
                    }
                    None => needed_len = bulk_len(&self.pending).max(self.pending.len() + 1),
                }
            }
            match self.stream.read(&mut chunk) {
                Ok(0) if self.pending.is_empty() => return Ok(None),
                Ok(0) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed in the middle of a reply"));
                }
                Ok(length) => self.pending.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && self.pending.is_empty() => {
                    return Ok(None);
                }
                // A read with a timeout is not taken up again by the kernel when something interrupted it.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let text = format!("no reply for {READ_TIMEOUT_MS} ms");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next reply; a closed connection is an error.
    pub fn read(&mut self) -> io::Result<Value> {
        match self.read_raw()? {
            Some((value, _)) => Ok(value),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
        }
    }

    /// Sends one command and waits for its reply.
    pub fn call<T: AsRef<[u8]>>(&mut self, arguments: &[T]) -> io::Result<Value> {
        self.send_raw(&encode(arguments))?;
        self.read()
    }
}
