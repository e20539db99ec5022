//! Values on their way in.

use super::read::{Source, blob, byte, length, string, time_ms};
use super::{Corrupt, NODE_PACKED, NODE_PLAIN, VERSION_VALKEY, kind, old, stream};
use crate::structure::intset::Intset;
use crate::structure::listpack::Listpack;
use crate::value::hash::{self, Deadline, Hash};
use crate::value::list::{Fill, List};
use crate::value::number::parse_double;
use crate::value::set::{self, Set};
use crate::value::sorted_set::{self, SortedSet};
use crate::value::stream::IdempotencyLimits;
use crate::value::{INLINE_LEN_MAX, LongString, Value};

/// What the directives say about the forms of values.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of hashes.
    pub hash: hash::Limits,
    /// Of sets.
    pub set: set::Limits,
    /// Of sorted sets.
    pub sorted_set: sorted_set::Limits,
    /// Of lists.
    pub list: Fill,
    /// What streams remember of producers where nothing else is said.
    pub idempotency: IdempotencyLimits,
}

/// No deadline of a field is later, unix ms: Redis has 48 bits for it.
const FIELD_DEADLINE_MS_MAX: u64 = (1 << 48) - 2;

/// Reads a value with its type. A short string stays in `text`, from where it is copied to its place.
///
/// # Errors
/// It is none.
pub fn decode<'a>(
    source: &mut impl Source,
    version: u16,
    limits: &Limits,
    text: &'a mut Vec<u8>,
) -> Result<Value<'a>, Corrupt> {
    let kind = byte(source)?;
    decode_as(kind, source, version, limits, text)
}

/// Reads a value of a type.
///
/// # Errors
/// It is none, or the type is unknown.
pub fn decode_as<'a>(
    kind: u8,
    source: &mut impl Source,
    version: u16,
    limits: &Limits,
    text: &'a mut Vec<u8>,
) -> Result<Value<'a>, Corrupt> {
    Ok(match kind {
        kind::STRING => {
            string(source, text)?;
            match crate::value::number::parse_integer(text) {
                Some(integer) => Value::Integer(integer),
                None if text.len() <= INLINE_LEN_MAX => Value::String(text),
                None => Value::Long(LongString::new(std::mem::take(text))),
            }
        }
        kind::LIST => strings_list(source, limits, text)?.into(),
        kind::LIST_ZIPLIST => {
            let mut list = List::new();
            let elements = old::ziplist(&blob(source)?).ok_or(Corrupt("Ziplist integrity check failed."))?;
            list.append_listpack(&elements, limits.list);
            filled_list(list)?.into()
        }
        kind::LIST_ZIPLISTS | kind::LIST_NODES => nodes_list(kind, source, limits)?.into(),
        kind::SET => strings_set(source, limits, text)?.into(),
        kind::SET_INTSET => {
            let integers = Intset::from_bytes(blob(source)?).map_err(|_| Corrupt("Intset integrity check failed."))?;
            if integers.is_empty() {
                return Err(Corrupt::EMPTY);
            }
            Set::of_integers(integers, &limits.set).into()
        }
        kind::SET_LISTPACK => {
            const BROKEN: Corrupt = Corrupt("Set listpack integrity check failed.");
            let members = Listpack::from_bytes(blob(source)?).map_err(|_| BROKEN)?;
            let mut digits = itoa::Buffer::new();
            let first = members.iter().next().ok_or(Corrupt::EMPTY)?;
            let mut set = Set::for_member(first.bytes(&mut digits), &limits.set);
            if !members.iter().all(|member| set.add_element(member, &limits.set)) {
                return Err(BROKEN);
            }
            set.into()
        }
        kind::SORTED_SET | kind::SORTED_SET_TEXTS => members_sorted_set(kind, source, limits, text)?.into(),
        kind::SORTED_SET_ZIPLIST => {
            let broken = Corrupt("Zset ziplist integrity check failed.");
            let pairs = old::ziplist(&blob(source)?).ok_or(broken)?;
            SortedSet::from_listpack(filled(pairs)?, limits.sorted_set).ok_or(broken)?.into()
        }
        kind::SORTED_SET_LISTPACK => {
            let broken = Corrupt("Zset listpack integrity check failed.");
            let pairs = Listpack::from_bytes(blob(source)?).map_err(|_| broken)?;
            SortedSet::from_listpack(filled(pairs)?, limits.sorted_set).ok_or(broken)?.into()
        }
        kind::HASH => fields_hash(kind, source, limits, text)?.into(),
        kind::HASH_DEADLINES => fields_hash(kind, source, limits, text)?.into(),
        kind::HASH_VALKEY if version == VERSION_VALKEY => fields_hash(kind, source, limits, text)?.into(),
        kind::HASH_ZIPMAP => {
            let broken = Corrupt("Zipmap integrity check failed.");
            let pairs = old::zipmap(&blob(source)?).ok_or(broken)?;
            Hash::of_pairs(&pairs, &limits.hash).ok_or(broken)?.into()
        }
        kind::HASH_ZIPLIST => {
            let broken = Corrupt("Hash ziplist integrity check failed.");
            let pairs = old::ziplist(&blob(source)?).ok_or(broken)?;
            Hash::from_listpack(filled(pairs)?, &limits.hash).ok_or(broken)?.into()
        }
        kind::HASH_LISTPACK => {
            let broken = Corrupt("Hash listpack integrity check failed.");
            let pairs = Listpack::from_bytes(blob(source)?).map_err(|_| broken)?;
            Hash::from_listpack(filled(pairs)?, &limits.hash).ok_or(broken)?.into()
        }
        kind::HASH_LISTPACK_DEADLINES => listpack_hash_with_deadlines(source, limits)?.into(),
        kind::STREAM_OLD | kind::STREAM | kind::STREAM_ACTIVE | kind::STREAM_PRODUCERS | kind::STREAM_GIVEN_BACK => {
            stream::read(kind, limits.idempotency, source)?.into()
        }
        _ => return Err(Corrupt("Unknown RDB encoding type")),
    })
}

/// Elements, of which there are some: Redis once wrote values without any.
fn filled(elements: Listpack) -> Result<Listpack, Corrupt> {
    if elements.is_empty() { Err(Corrupt::EMPTY) } else { Ok(elements) }
}

// Lists

fn filled_list(list: List) -> Result<List, Corrupt> {
    if list.is_empty() { Err(Corrupt::EMPTY) } else { Ok(list) }
}

fn strings_list(source: &mut impl Source, limits: &Limits, text: &mut Vec<u8>) -> Result<List, Corrupt> {
    let mut list = List::new();
    for _ in 0..length(source)? {
        string(source, text)?;
        list.push_back(&text[..], limits.list);
    }
    filled_list(list)
}

fn nodes_list(kind: u8, source: &mut impl Source, limits: &Limits) -> Result<List, Corrupt> {
    let broken = Corrupt("Quicklist integrity check failed.");
    let mut list = List::new();
    for _ in 0..length(source)? {
        let form = if kind == kind::LIST_NODES { length(source)? } else { NODE_PACKED };
        let node = blob(source)?;
        if node.is_empty() {
            return Err(broken);
        }
        match form {
            NODE_PLAIN => list.push_back(&node[..], limits.list),
            NODE_PACKED if kind == kind::LIST_NODES => {
                list.append_listpack(&Listpack::from_bytes(node).map_err(|_| broken)?, limits.list);
            }
            NODE_PACKED => list.append_listpack(&old::ziplist(&node).ok_or(broken)?, limits.list),
            _ => return Err(broken),
        }
    }
    filled_list(list)
}

// Sets

fn strings_set(source: &mut impl Source, limits: &Limits, text: &mut Vec<u8>) -> Result<Set, Corrupt> {
    let count = length(source)?;
    if count == 0 {
        return Err(Corrupt::EMPTY);
    }
    string(source, text)?;
    let mut set = Set::for_member(text, &limits.set);
    set.add(text, &limits.set);
    for _ in 1..count {
        string(source, text)?;
        if !set.add(text, &limits.set) {
            return Err(Corrupt("Duplicate set members detected"));
        }
    }
    Ok(set)
}

fn members_sorted_set(
    kind: u8,
    source: &mut impl Source,
    limits: &Limits,
    text: &mut Vec<u8>,
) -> Result<SortedSet, Corrupt> {
    let mut set = SortedSet::gathering();
    for _ in 0..length(source)? {
        string(source, text)?;
        let score = if kind == kind::SORTED_SET { f64::from_le_bytes(source.array()?) } else { text_score(source)? };
        if score.is_nan() {
            return Err(Corrupt("Zset with NAN score detected"));
        }
        let mut is_new = false;
        set.update(text, limits.sorted_set, |old| {
            is_new = old.is_none();
            Some(score)
        });
        if !is_new {
            return Err(Corrupt("Zset dup elements detected"));
        }
    }
    if set.is_empty() { Err(Corrupt::EMPTY) } else { Ok(set.settle(limits.sorted_set)) }
}

/// A score as it was written before version 8: a length of one byte and digits, or one of three numbers without.
fn text_score(source: &mut impl Source) -> Result<f64, Corrupt> {
    Ok(match byte(source)? {
        255 => f64::NEG_INFINITY,
        254 => f64::INFINITY,
        253 => f64::NAN,
        len => {
            let mut text = Vec::new();
            source.read(len.into(), &mut text)?;
            parse_double(&text).ok_or(Corrupt("a score that is no number"))?
        }
    })
}

// Hashes

fn fields_hash(kind: u8, source: &mut impl Source, limits: &Limits, value: &mut Vec<u8>) -> Result<Hash, Corrupt> {
    let first_ms = if kind == kind::HASH_DEADLINES { time_ms(source)? } else { 0 };
    let mut hash = Hash::new();
    let mut name = Vec::new();
    for _ in 0..length(source)? {
        let mut deadline = Deadline::Clear;
        if kind == kind::HASH_DEADLINES {
            let behind_first = length(source)?;
            if behind_first != 0 {
                let first_ms = u64::try_from(first_ms).ok();
                deadline = field_deadline(first_ms.and_then(|first_ms| first_ms.checked_add(behind_first - 1)))?;
            }
        }
        string(source, &mut name)?;
        string(source, value)?;
        if kind == kind::HASH_VALKEY {
            let deadline_ms = time_ms(source)?;
            if deadline_ms != -1 {
                deadline = field_deadline(u64::try_from(deadline_ms).ok())?;
            }
        }
        // At time 0 no deadline has come: a field that was there is not new.
        if !hash.set(&name, value, deadline, 0, &limits.hash) {
            return Err(Corrupt("Hash with dup fields detected"));
        }
    }
    if hash.is_empty() { Err(Corrupt::EMPTY) } else { Ok(hash) }
}

fn field_deadline(deadline_ms: Option<u64>) -> Result<Deadline, Corrupt> {
    let is_possible = |deadline_ms: &u64| (1..=FIELD_DEADLINE_MS_MAX).contains(deadline_ms);
    deadline_ms.filter(is_possible).map(Deadline::At).ok_or(Corrupt("a field's deadline that cannot be"))
}

fn listpack_hash_with_deadlines(source: &mut impl Source, limits: &Limits) -> Result<Hash, Corrupt> {
    let broken = Corrupt("Hash listpack integrity check failed.");
    // When the first field is due: the listpack says it too.
    time_ms(source)?;
    let triples = Listpack::from_bytes(blob(source)?).map_err(|_| broken)?;
    let mut hash = Hash::new();
    let (mut name_digits, mut value_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut elements = triples.iter();
    while let Some(name) = elements.next() {
        let (value, deadline) = (elements.next().ok_or(broken)?, elements.next().ok_or(broken)?);
        let deadline = match deadline.integer().ok_or(broken)? {
            0 => Deadline::Clear,
            deadline_ms => field_deadline(u64::try_from(deadline_ms).ok())?,
        };
        let (name, value) = (name.bytes(&mut name_digits), value.bytes(&mut value_digits));
        if !hash.set(name, value, deadline, 0, &limits.hash) {
            return Err(broken);
        }
    }
    if hash.is_empty() { Err(Corrupt::EMPTY) } else { Ok(hash) }
}
