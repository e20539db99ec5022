//! Values on their way out, step by step where they are large.

use super::{NODE_PACKED, NODE_PLAIN, VERSION, VERSION_FIELD_DEADLINES, VERSION_GIVEN_BACK, VERSION_PRODUCERS};
use super::{kind, stream, write};
use crate::structure::listpack::{Element, Listpack};
use crate::value::ValueRef;
use crate::value::hash::{Field, Hash};
use crate::value::list::Node;
use crate::value::set::Set;
use crate::value::sorted_set::SortedSet;

/// Elements that are written before the bytes are counted again.
const ELEMENTS_PER_LOOK: usize = 64;

/// A value that is being written.
///
/// ```text
/// let mut encoding = Encoding::begin(value, compress, &mut out);      // the type
/// while encoding.step(value, 65_536, &mut out) { … }                  // the same value, unchanged meanwhile
/// ```
#[derive(Debug, Clone)]
pub struct Encoding {
    kind: u8,
    compress: bool,
    place: Place,
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// What stands before the elements, or the whole value.
    Beginning,
    /// Of a table: the cursor of its scan. Of a list: the index of an element. Of a stream: that of a node. Of a
    /// sorted set: how many are left.
    At(u64),
}

/// Appends a value with its type. Gives the version of the format that knows it.
pub fn encode(value: ValueRef<'_>, compress: bool, out: &mut Vec<u8>) -> u16 {
    let mut encoding = Encoding::begin(value, compress, out);
    while encoding.step(value, usize::MAX, out) {}
    encoding.version()
}

/// Bytes that a value takes, its type not counted.
pub fn saved_bytes(value: ValueRef<'_>, compress: bool) -> usize {
    const BYTES_PER_STEP: usize = 1 << 16;
    let mut out = Vec::new();
    let mut encoding = Encoding::begin(value, compress, &mut out);
    let mut bytes = 0;
    loop {
        out.clear();
        let is_more = encoding.step(value, BYTES_PER_STEP, &mut out);
        bytes += out.len();
        if !is_more {
            return bytes;
        }
    }
}

impl Encoding {
    /// Writes the type of a value. `compress`: as `rdbcompression` says.
    pub fn begin(value: ValueRef<'_>, compress: bool, out: &mut Vec<u8>) -> Encoding {
        let kind = kind_of(value);
        out.push(kind);
        Encoding { kind, compress, place: Place::Beginning }
    }

    /// The version that knows its type.
    pub fn version(&self) -> u16 {
        version_of_kind(self.kind)
    }

    /// Appends some more of the value, about so many bytes, a whole string or node at least. Whether there is more.
    pub fn step(&mut self, value: ValueRef<'_>, bytes: usize, out: &mut Vec<u8>) -> bool {
        let end = out.len().saturating_add(bytes);
        match value {
            ValueRef::Integer(integer) => write::integer(out, integer),
            ValueRef::String(text) => write::string(out, text, self.compress),
            ValueRef::List(list) => {
                let mut index = match self.place {
                    Place::Beginning => {
                        write::length(out, list.node_count() as u64);
                        0
                    }
                    Place::At(index) => index as usize,
                };
                while let Some(len) = list.with_node(index, |node| self.write_node(node, out)) {
                    index += len;
                    if end <= out.len() {
                        break;
                    }
                }
                self.place = Place::At(index as u64);
                return index < list.len();
            }
            ValueRef::Set(set) => return self.step_set(set, end, out),
            ValueRef::SortedSet(set) => return self.step_sorted_set(set, end, out),
            ValueRef::Hash(hash) => return self.step_hash(hash, end, out),
            ValueRef::Stream(log) => {
                let first = if let Place::At(node) = self.place { node as usize } else { 0 };
                let next = stream::write_from(self.kind, log, first, self.compress, end, out);
                self.place = Place::At(next.unwrap_or(0) as u64);
                return next.is_some();
            }
            #[cfg(test)]
            ValueRef::Probe(_) => unreachable!("no command makes one"),
        }
        false
    }

    fn write_node(&self, node: Node<'_>, out: &mut Vec<u8>) {
        match node {
            Node::Plain(text) => {
                write::length(out, NODE_PLAIN);
                write::string(out, text, self.compress);
            }
            Node::Packed(elements, count) => {
                write::length(out, NODE_PACKED);
                write::string(out, &Listpack::frame(elements, count), self.compress);
            }
        }
    }

    fn step_set(&mut self, set: &Set, end: usize, out: &mut Vec<u8>) -> bool {
        if let Some(integers) = set.intset() {
            write::string(out, integers.as_bytes(), self.compress);
            return false;
        }
        let compress = self.compress;
        self.step_table(set.len(), end, out, |cursor, out| {
            set.scan(cursor, ELEMENTS_PER_LOOK, |member| write::element(out, member, compress))
        })
    }

    fn step_sorted_set(&mut self, set: &SortedSet, end: usize, out: &mut Vec<u8>) -> bool {
        if let Some(listpack) = set.as_listpack() {
            write::string(out, listpack.as_bytes(), self.compress);
            return false;
        }
        let mut left = match self.place {
            Place::Beginning => {
                write::length(out, set.len() as u64);
                set.len()
            }
            Place::At(left) => left as usize,
        };
        // From the highest: inserted at the front of an ordered list they are in place at once.
        while 0 < left && out.len() < end {
            let count = left.min(ELEMENTS_PER_LOOK);
            left -= count;
            set.visit(left, count, true, |member, score| {
                write::string(out, member, self.compress);
                out.extend_from_slice(&score.to_le_bytes());
            });
        }
        self.place = Place::At(left as u64);
        0 < left
    }

    fn step_hash(&mut self, hash: &Hash, end: usize, out: &mut Vec<u8>) -> bool {
        let compress = self.compress;
        match self.kind {
            kind::HASH_LISTPACK => {
                let pairs = hash.listpack().cloned().unwrap_or_else(|| without_deadlines(hash));
                write::string(out, pairs.as_bytes(), compress);
                false
            }
            kind::HASH_LISTPACK_DEADLINES => {
                let fields = in_order_of_deadlines(hash);
                write::time_ms(out, fields.first().and_then(|field| field.deadline_ms).unwrap_or(0));
                let mut triples = Listpack::new();
                for Field { name, value, deadline_ms } in fields {
                    triples.insert_all(None, [name, value, Element::Integer(deadline_ms.unwrap_or(0) as i64)]);
                }
                write::string(out, triples.as_bytes(), compress);
                false
            }
            kind::HASH => self.step_table(hash.len(), end, out, |cursor, out| {
                hash.scan(cursor, ELEMENTS_PER_LOOK, 0, |field| {
                    write::element(out, field.name, compress);
                    write::element(out, field.value, compress);
                })
            }),
            _ => {
                let first_ms = hash.first_deadline_ms();
                if let Place::Beginning = self.place {
                    write::time_ms(out, first_ms);
                }
                self.step_table(hash.len(), end, out, |cursor, out| {
                    hash.scan(cursor, ELEMENTS_PER_LOOK, 0, |field| {
                        // Counted from the first one, so that it takes few bytes; 0 is none.
                        write::length(out, field.deadline_ms.map_or(0, |deadline_ms| deadline_ms - first_ms + 1));
                        write::element(out, field.name, compress);
                        write::element(out, field.value, compress);
                    })
                })
            }
        }
    }

    /// How many elements there are, then the elements, by the cursor of a scan.
    fn step_table(
        &mut self,
        len: usize,
        end: usize,
        out: &mut Vec<u8>,
        mut scan: impl FnMut(u64, &mut Vec<u8>) -> u64,
    ) -> bool {
        let mut cursor = match self.place {
            Place::Beginning => {
                write::length(out, len as u64);
                0
            }
            Place::At(cursor) => cursor,
        };
        loop {
            cursor = scan(cursor, out);
            if cursor == 0 || end <= out.len() {
                self.place = Place::At(cursor);
                return cursor != 0;
            }
        }
    }
}

/// The version that knows all that a value says: the oldest.
pub fn version_of(value: ValueRef<'_>) -> u16 {
    version_of_kind(kind_of(value))
}

/// The version that knows a type, of those that are written.
fn version_of_kind(kind: u8) -> u16 {
    match kind {
        kind::HASH_DEADLINES | kind::HASH_LISTPACK_DEADLINES => VERSION_FIELD_DEADLINES,
        kind::STREAM_PRODUCERS => VERSION_PRODUCERS,
        kind::STREAM_GIVEN_BACK => VERSION_GIVEN_BACK,
        _ => VERSION,
    }
}

fn kind_of(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Integer(_) | ValueRef::String(_) => kind::STRING,
        ValueRef::List(_) => kind::LIST_NODES,
        ValueRef::Set(set) if set.intset().is_some() => kind::SET_INTSET,
        ValueRef::Set(_) => kind::SET,
        ValueRef::SortedSet(set) if set.as_listpack().is_some() => kind::SORTED_SET_LISTPACK,
        ValueRef::SortedSet(_) => kind::SORTED_SET,
        ValueRef::Stream(stream) if stream.has_given_back() => kind::STREAM_GIVEN_BACK,
        ValueRef::Stream(stream) if stream.idempotency().is_some() => kind::STREAM_PRODUCERS,
        ValueRef::Stream(_) => kind::STREAM,
        ValueRef::Hash(hash) => match (hash.is_table(), hash.timed_len() != 0) {
            (false, false) => kind::HASH_LISTPACK,
            (false, true) => kind::HASH_LISTPACK_DEADLINES,
            (true, false) => kind::HASH,
            (true, true) => kind::HASH_DEADLINES,
        },
        #[cfg(test)]
        ValueRef::Probe(_) => unreachable!("no command makes one"),
    }
}

/// The fields and values of a hash that has had deadlines.
fn without_deadlines(hash: &Hash) -> Listpack {
    let mut pairs = Listpack::new();
    for field in hash.iter(0) {
        pairs.insert_all(None, [field.name, field.value]);
    }
    pairs
}

/// Redis 7.4 keeps small hashes so, and takes them over as they are: those without a deadline last.
fn in_order_of_deadlines(hash: &Hash) -> Vec<Field<'_>> {
    let mut fields: Vec<Field<'_>> = hash.iter(0).collect();
    fields.sort_by_key(|field| field.deadline_ms.unwrap_or(u64::MAX));
    fields
}
