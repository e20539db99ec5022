//! When two replies count as the same.

use crate::client::Value;

/// How far apart two times may be: the servers get a command a moment after one another, which on a busy machine is
/// seconds. What the grammar gives a key to live is far more.
const APART_MS_MAX: i64 = 60_000;

/// The rule for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Byte for byte.
    Exact,
    /// An array, set or map in any order.
    AnyOrder,
    /// Numbers at most a little apart; −1 and −2 exactly.
    Time,
    /// Both null, or both not: which key is chance.
    Member,
    /// The same kind of reply.
    Kind,
    /// A payload of `DUMP`: of a set or hash that is a table the same bytes in any order, of a list the same type.
    Payload,
    /// A cursor, then elements in any order.
    Scan,
}

/// A reply and the bytes it came as.
pub type Reply = (Value, Vec<u8>);

fn sorted(items: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = items.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

fn is_null(value: &Value) -> bool {
    matches!(value, Value::Null | Value::NullBulk)
}

/// Whether two payloads may be of one value: the first byte is the type, the last eight are the checksum.
fn is_payload_of(theirs: &[u8], ours: &[u8]) -> bool {
    const SET: u8 = 2;
    const HASH: u8 = 4;
    const LIST: u8 = 18;
    let sorted = |payload: &[u8]| {
        let mut bytes = payload[..payload.len() - 8].to_vec();
        bytes.sort_unstable();
        bytes
    };
    match (theirs[0], ours[0]) {
        (SET, SET) | (HASH, HASH) => sorted(theirs) == sorted(ours),
        (LIST, LIST) => true,
        _ => false,
    }
}

/// Whether `ours` is an acceptable answer where the oracle gave `theirs`.
pub fn same(mode: Mode, theirs: &Reply, ours: &Reply) -> bool {
    if theirs.1 == ours.1 {
        return true;
    }
    match (mode, &theirs.0, &ours.0) {
        (Mode::Exact, ..) => false,
        // Whatever the mode, errors have one text.
        (_, Value::Error(_), _) | (_, _, Value::Error(_)) => false,
        (Mode::AnyOrder, Value::Array(a), Value::Array(b)) | (Mode::AnyOrder, Value::Set(a), Value::Set(b)) => {
            sorted(a) == sorted(b)
        }
        (Mode::AnyOrder, Value::Map(a), Value::Map(b)) => {
            let pairs = |map: &[(Value, Value)]| {
                let mut texts: Vec<String> = map.iter().map(|(key, value)| format!("{key} {value}")).collect();
                texts.sort();
                texts
            };
            pairs(a) == pairs(b)
        }
        (Mode::Time, Value::Integer(a), Value::Integer(b)) => {
            *a >= 0 && *b >= 0 && a.abs_diff(*b) <= APART_MS_MAX as u64
        }
        (Mode::Member, a, b) => is_null(a) == is_null(b) && std::mem::discriminant(a) == std::mem::discriminant(b),
        (Mode::Kind, a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        (Mode::Payload, Value::Bulk(a), Value::Bulk(b)) => is_payload_of(a, b),
        (Mode::Scan, Value::Array(a), Value::Array(b)) => match (a.as_slice(), b.as_slice()) {
            ([from, Value::Array(a)], [to, Value::Array(b)]) => from == to && sorted(a) == sorted(b),
            _ => false,
        },
        _ => false,
    }
}
