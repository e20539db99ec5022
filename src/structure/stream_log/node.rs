//! A node of a stream: some hundred entries in one listpack, in Redis' format, so that `DUMP` and snapshots copy it.
//!
//! ```text
//! ┌───────┬─────────┬────────┬───────┬─ ─┬───┐   the master entry: entries that live, entries deleted, fields of the
//! │ lives │ deleted │ fields │ field │   │ 0 │   first entry of the node
//! └───────┴─────────┴────────┴───────┴─ ─┴───┘
//! ┌───────┬────┬─────┬────────┬───────┬───────┬─ ─┬───────┐   an entry: its id as differences to that of the node
//! │ flags │ ms │ seq │ fields │ field │ value │   │ count │   count: elements before it, to walk backwards
//! └───────┴────┴─────┴────────┴───────┴───────┴─ ─┴───────┘
//! ┌───────┬────┬─────┬───────┬─ ─┬───────┐                    the same with the fields of the master entry (flag 2):
//! │ flags │ ms │ seq │ value │   │ count │                    only the values
//! └───────┴────┴─────┴───────┴─ ─┴───────┘
//! ```
//! A deleted entry stays where it is, marked by flag 1; a node whose last living entry goes is dropped by its owner,
//! save where a trim to an id takes it.

use super::Id;
use crate::structure::listpack::{Element, Iter, Listpack, Malformed, Position};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// A node. The id that entries are counted from is its owner's business.
#[derive(Debug, Clone)]
pub(super) struct Node {
    listpack: Listpack,
    /// As in the master entry.
    live: u32,
    deleted: u32,
}

/// Room that the first node of a stream begins with, in bytes: a small entry or two.
const CAPACITY_BYTES_MIN: usize = 64;

const WHOLE: &str = "a node is whole: made here, or looked at when it came";

impl Node {
    /// An empty node for entries with these fields; it will have about so many bytes.
    pub(super) fn new<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, bytes: usize) -> Node {
        let mut listpack = Listpack::with_capacity(bytes.max(CAPACITY_BYTES_MIN));
        let fields = pairs.clone().count() as i64;
        let head = [0, 0, fields].map(Element::Integer);
        let names = pairs.map(|(field, _)| Element::Bytes(field));
        listpack.push_all(head.into_iter().chain(names).chain([Element::Integer(0)]));
        Node { listpack, live: 0, deleted: 0 }
    }

    /// A node of bytes from outside, for ids counted from `master`.
    ///
    /// # Errors
    /// It is not made as described above, or its ids do not rise from `master` on.
    pub(super) fn from_listpack(listpack: Listpack, master: Id) -> Result<Node, Malformed> {
        let mut elements = listpack.iter();
        let mut integer = || match elements.next() {
            Some(Element::Integer(number)) => Ok(number),
            _ => Err(Malformed),
        };
        let count = |number: i64| u32::try_from(number).map_err(|_| Malformed);
        let (live, deleted, fields) = (count(integer()?)?, count(integer()?)?, count(integer()?)?);
        for _ in 0..fields {
            elements.next().ok_or(Malformed)?;
        }
        if elements.next() != Some(Element::Integer(0)) {
            return Err(Malformed);
        }
        let (mut living, mut gone) = (0, 0);
        let mut last = None;
        while let Some(flags) = elements.next() {
            let mut integer = || match elements.next() {
                Some(Element::Integer(number)) => Ok(number),
                _ => Err(Malformed),
            };
            let Element::Integer(flags @ 0..=3) = flags else { return Err(Malformed) };
            let (ms, seq) = (integer()?, integer()?);
            let id = Id { ms: master.ms.wrapping_add(ms as u64), seq: master.seq.wrapping_add(seq as u64) };
            if id < master || last.is_some_and(|last| id <= last) {
                return Err(Malformed);
            }
            last = Some(id);
            let values = if flags & SAME_FIELDS == 0 { 2 * i64::from(count(integer()?)?) } else { i64::from(fields) };
            for _ in 0..values {
                elements.next().ok_or(Malformed)?;
            }
            let before = 3 + values + i64::from(flags & SAME_FIELDS == 0);
            if elements.next() != Some(Element::Integer(before)) {
                return Err(Malformed);
            }
            if flags & DELETED == 0 { living += 1 } else { gone += 1 }
        }
        if (live, deleted) != (living, gone) {
            return Err(Malformed);
        }
        Ok(Node { listpack, live, deleted })
    }

    pub(super) fn listpack(&self) -> &Listpack {
        &self.listpack
    }

    /// Entries that live.
    #[inline]
    pub(super) fn live(&self) -> u64 {
        self.live.into()
    }

    /// Entries, deleted ones too.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        u64::from(self.live) + u64::from(self.deleted)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.listpack.heap_bytes()
    }

    pub(super) fn byte_len(&self) -> usize {
        self.listpack.byte_len()
    }

    /// Nothing will be added any more.
    pub(super) fn seal(&mut self) {
        self.listpack.shrink();
    }

    /// Adds an entry at the end, with an id above all others.
    #[inline]
    pub(super) fn push<'a>(&mut self, master: Id, id: Id, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) {
        let fields = pairs.clone().count();
        let (mut names, _) = self.master();
        let is_same =
            names.len == fields && pairs.clone().all(|(field, _)| names.next().is_some_and(|name| name.is_text(field)));
        let ms = id.ms.wrapping_sub(master.ms) as i64;
        let seq = id.seq.wrapping_sub(master.seq) as i64;
        if is_same {
            let head = [SAME_FIELDS, ms, seq].map(Element::Integer);
            let values = pairs.map(|(_, value)| Element::Bytes(value));
            let count = Element::Integer(3 + fields as i64);
            self.listpack.push_all(head.into_iter().chain(values).chain([count]));
        } else {
            let head = [0, ms, seq, fields as i64].map(Element::Integer);
            let both = pairs.flat_map(|(field, value)| [Element::Bytes(field), Element::Bytes(value)]);
            let count = Element::Integer(4 + 2 * fields as i64);
            self.listpack.push_all(head.into_iter().chain(both).chain([count]));
        }
        self.live += 1;
        self.write_counts();
    }

    fn write_counts(&mut self) {
        let live = self.listpack.first().expect(WHOLE);
        self.listpack.replace(live, i64::from(self.live));
        let deleted = self.listpack.next(live).expect(WHOLE);
        if self.listpack.at(deleted) != Element::Integer(self.deleted.into()) {
            self.listpack.replace(deleted, i64::from(self.deleted));
        }
    }

    /// The fields of the master entry, and where the first entry begins.
    fn master(&self) -> (Names<'_>, Option<Position>) {
        let mut position = self.listpack.position(2).expect(WHOLE);
        let Element::Integer(len) = self.listpack.at(position) else { panic!("{WHOLE}") };
        let fields = self.listpack.next(position).expect(WHOLE);
        let names = Names { elements: self.listpack.iter_from(fields), len: len as usize };
        position = fields;
        for _ in 0..len {
            position = self.listpack.next(position).expect(WHOLE);
        }
        (names, self.listpack.next(position))
    }

    /// The first entry, deleted or not.
    pub(super) fn first(&self, master: Id) -> Option<Entry<'_>> {
        self.master().1.map(|position| self.entry(master, position))
    }

    /// The last entry, deleted or not.
    pub(super) fn last(&self, master: Id) -> Option<Entry<'_>> {
        let last = self.listpack.last().expect(WHOLE);
        self.ending_with(master, last)
    }

    fn ending_with(&self, master: Id, count: Position) -> Option<Entry<'_>> {
        let Element::Integer(before) = self.listpack.at(count) else { panic!("{WHOLE}") };
        if before == 0 {
            return None; // The end of the master entry.
        }
        let mut position = count;
        for _ in 0..before {
            position = self.listpack.previous(position).expect(WHOLE);
        }
        Some(self.entry(master, position))
    }

    /// The entry whose flags stand at a position.
    #[inline]
    fn entry(&self, master: Id, position: Position) -> Entry<'_> {
        let mut elements = self.listpack.iter_from(position);
        let mut integer = || match elements.next() {
            Some(Element::Integer(number)) => number,
            _ => panic!("{WHOLE}"),
        };
        let (flags, ms, seq) = (integer(), integer(), integer());
        let id = Id { ms: master.ms.wrapping_add(ms as u64), seq: master.seq.wrapping_add(seq as u64) };
        let is_same = flags & SAME_FIELDS != 0;
        let own = if is_same { 0 } else { integer() as usize };
        Entry { node: self, position, id, is_deleted: flags & DELETED != 0, is_same, own, elements }
    }

    /// The entry behind another.
    #[inline]
    pub(super) fn next(&self, master: Id, entry: &Entry<'_>) -> Option<Entry<'_>> {
        let mut elements = entry.elements.clone();
        let values = if entry.is_same { entry.len() } else { 2 * entry.own };
        let end = elements.nth(values);
        debug_assert!(matches!(end, Some(Element::Integer(_))));
        elements.front().map(|position| self.entry(master, position))
    }

    /// The entry before another.
    pub(super) fn previous(&self, master: Id, entry: &Entry<'_>) -> Option<Entry<'_>> {
        let count = self.listpack.previous(entry.position).expect(WHOLE);
        self.ending_with(master, count)
    }

    /// Marks the entries at these positions as deleted, which they are not yet.
    pub(super) fn delete(&mut self, positions: &[Position]) {
        for &position in positions {
            let Element::Integer(flags) = self.listpack.at(position) else { panic!("{WHOLE}") };
            assert!(flags & DELETED == 0);
            // As long as before, so that positions stay.
            self.listpack.replace(position, flags | DELETED);
        }
        let count = u32::try_from(positions.len()).expect("no more than there are entries");
        self.live -= count;
        self.deleted += count;
        // Last: the counts stand before all entries, and may change their length.
        self.write_counts();
    }
}

/// The fields of a master entry.
#[derive(Debug, Clone)]
struct Names<'a> {
    elements: Iter<'a>,
    len: usize,
}

impl<'a> Names<'a> {
    fn next(&mut self) -> Option<Element<'a>> {
        self.elements.next()
    }
}

/// An entry of a stream.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    node: &'a Node,
    pub(super) position: Position,
    /// Its id.
    pub id: Id,
    pub(super) is_deleted: bool,
    is_same: bool,
    /// How many fields, unless they are those of the master entry.
    own: usize,
    /// What comes behind the head.
    elements: Iter<'a>,
}

impl<'a> Entry<'a> {
    /// How many fields it has.
    pub fn len(&self) -> usize {
        if self.is_same { self.node.master().0.len } else { self.own }
    }

    /// Whether it has none: of bytes from outside alone.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fields and values, in the order in which they were added.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = (Element<'a>, Element<'a>)> + use<'a> {
        let names = self.is_same.then(|| self.node.master().0);
        let len = names.as_ref().map_or(self.own, |names| names.len);
        Pairs { names, elements: self.elements.clone(), left: len }
    }
}

struct Pairs<'a> {
    names: Option<Names<'a>>,
    elements: Iter<'a>,
    left: usize,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Element<'a>, Element<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let field = match &mut self.names {
            Some(names) => names.next(),
            None => self.elements.next(),
        };
        Some((field.expect(WHOLE), self.elements.next().expect(WHOLE)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Pairs<'_> {}
