//! Replies kept whole, for the few that are read: `INFO`, `CLUSTER SLOTS`, errors of a greeting.

use super::reply::Garbage;

/// The longest reply that is kept.
pub const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The deepest nesting.
pub const DEPTH_MAX: usize = 16;

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Nil,
    Integer(i64),
    /// Strings, statuses, and whatever else is text.
    Text(Vec<u8>),
    Error(String),
    /// Arrays, sets and pushes; of maps the keys and values in turn.
    List(Vec<Value>),
}

impl Value {
    /// A text, with what is no UTF-8 replaced.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn list(&self) -> Option<&[Value]> {
        match self {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// A whole number.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            Value::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The value behind a key of a map.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let pairs = self.list()?.chunks_exact(2);
        pairs.into_iter().find(|pair| pair[0].text().as_deref() == Some(name)).map(|pair| &pair[1])
    }
}

/// The value at the begin of `bytes` and how long it is; `None` if it is not whole yet.
pub fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, Garbage> {
    if REPLY_BYTES_MAX < bytes.len() {
        return Err(Garbage(format!("a reply of more than {REPLY_BYTES_MAX} bytes")));
    }
    let mut at = 0;
    Ok(parse_at(bytes, &mut at, 0)?.map(|value| (value, at)))
}

fn parse_at(bytes: &[u8], at: &mut usize, depth: usize) -> Result<Option<Value>, Garbage> {
    if DEPTH_MAX < depth {
        return Err(Garbage("a reply nested too deeply".into()));
    }
    let rest = &bytes[*at..];
    let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let Some((&mark, head)) = rest[..end].split_first() else { return Err(Garbage("an empty line".into())) };
    *at += end + 2;
    let head_text = String::from_utf8_lossy(head).into_owned();
    let length = || {
        let length: i64 = head_text.parse().map_err(|_| Garbage(format!("`{head_text}` is no length")))?;
        match usize::try_from(length) {
            Ok(length) if length <= REPLY_BYTES_MAX => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            _ => Err(Garbage(format!("`{head_text}` is an impossible length"))),
        }
    };
    let value = match mark {
        b'+' | b',' | b'(' | b'#' => Value::Text(head.to_vec()),
        b'-' => Value::Error(head_text),
        b'_' => Value::Nil,
        b':' => Value::Integer(head_text.parse().map_err(|_| Garbage(format!("`{head_text}` is no number")))?),
        b'$' | b'=' | b'!' => match length()? {
            None => Value::Nil,
            Some(length) => {
                let Some(body) = bytes.get(*at..*at + length + 2) else { return Ok(None) };
                *at += length + 2;
                Value::Text(body[..length].to_vec())
            }
        },
        b'*' | b'~' | b'>' | b'%' | b'|' => match length()? {
            None => Value::Nil,
            Some(length) => {
                let length = if mark == b'%' || mark == b'|' { 2 * length } else { length };
                // Grows with what has come, never by what was announced.
                let mut list = Vec::new();
                for _ in 0..length {
                    match parse_at(bytes, at, depth + 1)? {
                        Some(value) => list.push(value),
                        None => return Ok(None),
                    }
                }
                if mark == b'|' {
                    return parse_at(bytes, at, depth + 1);
                }
                Value::List(list)
            }
        },
        _ => return Err(Garbage(format!("`{}` is no reply", head_text.escape_debug()))),
    };
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let text = |text: &str| Value::Text(text.into());
        let cases = [
            ("+OK\r\n", text("OK")),
            ("$3\r\na\nb\r\n", text("a\nb")),
            ("*2\r\n:1\r\n*1\r\n$-1\r\n", Value::List(vec![Value::Integer(1), Value::List(vec![Value::Nil])])),
            ("%1\r\n+a\r\n:2\r\n", Value::List(vec![text("a"), Value::Integer(2)])),
            ("|1\r\n+x\r\n+y\r\n:7\r\n", Value::Integer(7)),
            ("-ERR no\r\n", Value::Error("ERR no".into())),
        ];
        for (wire, value) in cases {
            assert_eq!(parse(wire.as_bytes()), Ok(Some((value, wire.len()))));
            for len in 0..wire.len() {
                assert_eq!(parse(&wire.as_bytes()[..len]), Ok(None), "{wire:?} to {len}");
            }
        }
        let map = parse(b"%1\r\n+a\r\n:2\r\n").unwrap().unwrap().0;
        assert_eq!(map.field("a").and_then(Value::integer), Some(2));
    }

    #[test]
    fn hostile_values_are_refused() {
        let deep = "*1\r\n".repeat(DEPTH_MAX + 2);
        for bad in ["x\r\n", "$-7\r\n", "$99999999999\r\n", "*x\r\n", "\r\n", deep.as_str()] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(parse(b"*16777216\r\n"), Ok(None));
    }
}
