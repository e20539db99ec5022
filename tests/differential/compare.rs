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
    /// Exact, but for how long something is idle and when it was delivered: in maps by their fields' names, in entries
    /// of groups by their place.
    Idle,
}

/// A reply and the bytes it came as.
pub type Reply = (Value, Vec<u8>);

fn sorted(items: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = items.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

/// Fields that tell a time, or one that has passed.
const TIMES: &[&[u8]] = &[b"idle", b"inactive", b"seen-time", b"active-time"];

fn is_time(field: &Value) -> bool {
    matches!(field, Value::Bulk(name) if TIMES.contains(&name.as_slice()))
}

/// Whether it is what is known of a delivered entry: its id, perhaps its consumer, a time, how often it was delivered.
fn is_delivered(items: &[Value]) -> bool {
    matches!(items, [Value::Bulk(_), .., Value::Integer(_), Value::Integer(_)] if [3, 4].contains(&items.len()))
}

fn is_near(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Integer(a), Value::Integer(b)) => *a >= 0 && *b >= 0 && a.abs_diff(*b) <= APART_MS_MAX as u64,
        _ => false,
    }
}

/// The rule of [`Mode::Idle`].
fn same_but_idle(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => (0..a.len()).all(|at| {
            let tells_time = at.checked_sub(1).is_some_and(|before| is_time(&a[before]));
            let tells_delivery = is_delivered(a) && at + 2 == a.len();
            (tells_time || tells_delivery) && is_near(&a[at], &b[at]) || same_but_idle(&a[at], &b[at])
        }),
        (Value::Map(a), Value::Map(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .all(|(a, b)| a.0 == b.0 && (is_time(&a.0) && is_near(&a.1, &b.1) || same_but_idle(&a.1, &b.1))),
        _ => theirs == ours,
    }
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
        (Mode::Time, theirs, ours) => is_near(theirs, ours),
        (Mode::Idle, theirs, ours) => same_but_idle(theirs, ours),
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
