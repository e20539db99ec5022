//! A listpack: a sequence of short strings and integers in one run of bytes, in the format of Redis 5 and later.
//!
//! The bytes are exactly those of Redis, so that `DUMP` and snapshots copy them as they are. Wanted: a small hash, set,
//! sorted set, or a node of a list or stream in a single allocation, with a byte or two beside each element. Not
//! wanted: speed for long sequences (everything but the ends is found by walking), a guess at who needs it larger.
//!
//! # Layout
//!
//! ```text
//! ┌─────────────┬─────────┬─────────────────────────────┬─────────────────────────────┬─ ─ ─┬──────┐
//! │ all bytes 4 │ count 2 │ element: code, data, size   │ element: code, data, size   │     │ 0xff │
//! └─────────────┴─────────┴─────────────────────────────┴─────────────────────────────┴─ ─ ─┴──────┘
//!   numbers are little-endian; a count of 65535 says: so many or more, walk to know
//!
//! code and data                                    holds
//!   0iiiiiii                                       an integer from 0 to 127
//!   10llllll  bytes…                               a string of up to 63 bytes
//!   110iiiii iiiiiiii                              an integer of 13 bits, signed; the high bits come first
//!   1110llll llllllll  bytes…                      a string of up to 4095 bytes; the high bits come first
//!   11110000  length 4  bytes…                     a longer string
//!   11110001 / 2 / 3 / 4  2 / 3 / 4 / 8 bytes      an integer, signed
//!
//! size of code and data, to walk backwards: groups of seven bits, the highest first, all but the first marked by 0x80
//!   up to 127: 1 byte   16,382: 2   2,097,150: 3   268,435,454: 4   beyond: 5        (one less than would fit: Redis')
//! ```
//!
//! An element that is the text of an integer is stored as one, in the shortest code; text comes back the same, since
//! only the one canonical text of an integer counts ("-0" and "007" are strings). Foreign bytes may use longer codes
//! than needed, and strings for integers: they are read, compared and kept as they are.
//!
//! # Costs
//!
//! The allocation is the size class of the bytes, so growing an element at a time moves the bytes once in a while (the
//! classes are 1.2 apart), not each time. An insertion or removal moves what is behind it: containers convert at some
//! thousand bytes. The length is known at once below 65535 elements.

pub(in crate::structure) mod element;
#[cfg(test)]
mod tests;

use super::allocation::allocated_bytes;
pub use element::Element;
use element::{END, Encoded, backlen_bytes, decode, read_backlen, size_of, write_backlen};

/// Bytes before the first element.
const HEADER_BYTES: usize = 6;
/// The count that stands for itself and all larger ones.
const COUNT_UNKNOWN: u16 = u16::MAX;
/// A listpack is not made larger than this, in bytes, as in Redis: containers convert before ([`Listpack::can_add`]).
pub const LISTPACK_BYTES_MAX: usize = 1 << 30;
/// [`Listpack::push_all`] allocates no more than this ahead, in bytes.
const GROWTH_BYTES_MAX: usize = 4096;
/// Allocations up to this many bytes are not made smaller.
const SHRINK_BYTES_MIN: usize = 64;

/// Where an element begins. Holds until the listpack is changed before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u32);

impl Position {
    fn new(offset: usize) -> Position {
        Position(u32::try_from(offset).expect("a listpack has less than 2^32 bytes"))
    }

    fn offset(self) -> usize {
        self.0 as usize
    }
}

/// What the bytes of a listpack break: its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A listpack that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listpack {
    bytes: Vec<u8>,
}

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl Listpack {
    /// An empty one: 7 bytes.
    pub fn new() -> Listpack {
        Listpack { bytes: vec![7, 0, 0, 0, 0, 0, END] }
    }

    /// An empty one that will have about so many bytes.
    pub fn with_capacity(bytes: usize) -> Listpack {
        let mut listpack = Listpack { bytes: Vec::with_capacity(allocated_bytes(bytes.max(HEADER_BYTES + 1))) };
        listpack.bytes.extend_from_slice(&[7, 0, 0, 0, 0, 0, END]);
        listpack
    }

    /// Takes over bytes from outside, every one of which is looked at.
    ///
    /// # Errors
    /// They are not a whole listpack: a length points beyond the end, a size to walk back by is wrong, the count or the
    /// number of bytes is not what the header says. Nothing is allocated.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Listpack, Malformed> {
        let header: [u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES).ok_or(Malformed)?.try_into().expect("as many");
        let all_bytes = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let count = u16::from_le_bytes([header[4], header[5]]);
        if bytes.len() != all_bytes as usize || LISTPACK_BYTES_MAX < bytes.len() {
            return Err(Malformed);
        }
        let end = bytes.len() - 1;
        let (mut at, mut found) = (HEADER_BYTES, 0usize);
        while at < end {
            let size = size_of(&bytes[at..end]).ok_or(Malformed)?;
            let mut backlen = [0; 5];
            let backlen = write_backlen(size, &mut backlen);
            // The end mark is no part of an element.
            if end - at < size + backlen.len() || bytes[at + size..][..backlen.len()] != *backlen {
                return Err(Malformed);
            }
            at += size + backlen.len();
            found += 1;
        }
        if at != end || bytes[end] != END || (count != COUNT_UNKNOWN && usize::from(count) != found) {
            return Err(Malformed);
        }
        Ok(Listpack { bytes })
    }

    /// The bytes of a listpack of elements that stand side by side already, so many of them.
    pub fn frame(elements: &[u8], count: usize) -> Vec<u8> {
        let len = HEADER_BYTES + elements.len() + 1;
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&u32::try_from(len).expect("a node is shorter").to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(count).unwrap_or(COUNT_UNKNOWN).to_le_bytes());
        bytes.extend_from_slice(elements);
        bytes.push(END);
        bytes
    }

    /// Whether every `step`th element has a text that no other of them has.
    pub fn is_distinct(&self, step: usize) -> bool {
        let mut texts: Vec<(Option<i64>, &[u8])> = Vec::new();
        for element in self.iter().step_by(step) {
            texts.push(match element {
                Element::Integer(integer) => (Some(integer), b""),
                // Foreign bytes may have the text of an integer as a string.
                Element::Bytes(bytes) => match element::canonical_integer(bytes) {
                    Some(integer) => (Some(integer), b""),
                    None => (None, bytes),
                },
            });
        }
        texts.sort_unstable();
        texts.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// The bytes, in Redis' format.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of elements. Walks if there are 65535 or more, or have been.
    pub fn len(&self) -> usize {
        match self.count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES + 1
    }

    /// Bytes of the whole, header and end mark included.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of its allocation, the allocator's rounding included.
    pub fn heap_bytes(&self) -> usize {
        allocated_bytes(self.bytes.capacity())
    }

    /// Whether elements of so many bytes in all may be added: the whole stays within [`LISTPACK_BYTES_MAX`].
    pub fn can_add(&self, bytes: usize) -> bool {
        bytes <= LISTPACK_BYTES_MAX - self.bytes.len()
    }

    // Finding

    /// The first element.
    pub fn first(&self) -> Option<Position> {
        (!self.is_empty()).then_some(Position(HEADER_BYTES as u32))
    }

    /// The last element.
    pub fn last(&self) -> Option<Position> {
        self.before(self.end())
    }

    /// The element behind another.
    #[inline]
    pub fn next(&self, position: Position) -> Option<Position> {
        let next = self.behind(position.offset());
        (next < self.end()).then(|| Position::new(next))
    }

    /// The element before another.
    pub fn previous(&self, position: Position) -> Option<Position> {
        self.before(position.offset())
    }

    /// The element with an index from the front, or, if negative, from the back: -1 is the last one. Walks from the
    /// nearer end.
    pub fn position(&self, index: i64) -> Option<Position> {
        let count = self.count();
        let (mut backwards, mut steps) = match index {
            0.. => (false, index as u64),
            _ => (true, index.unsigned_abs() - 1),
        };
        if count != COUNT_UNKNOWN {
            let from_other_end = u64::from(count).checked_sub(steps)?.checked_sub(1)?;
            if from_other_end < steps {
                (backwards, steps) = (!backwards, from_other_end);
            }
        }
        let mut position = if backwards { self.last()? } else { self.first()? };
        for _ in 0..steps {
            position = if backwards { self.previous(position)? } else { self.next(position)? };
        }
        Some(position)
    }

    /// The element at a position.
    #[inline]
    pub fn at(&self, position: Position) -> Element<'_> {
        self.decode(position.offset()).0
    }

    /// The element with an index: see [`Listpack::position`].
    pub fn get(&self, index: i64) -> Option<Element<'_>> {
        self.position(index).map(|position| self.at(position))
    }

    /// All elements, front to back, or from both ends.
    pub fn iter(&self) -> Iter<'_> {
        Iter { listpack: self, front: HEADER_BYTES, back: self.end() }
    }

    /// The elements from a position on.
    pub fn iter_from(&self, position: Position) -> Iter<'_> {
        Iter { front: position.offset(), ..self.iter() }
    }

    /// The first element equal to these bytes, from a position on; after each one that is compared, `skip` elements are
    /// passed over: 1 looks at the fields of a hash only.
    pub fn find(&self, from: Option<Position>, sought: &[u8], skip: usize) -> Option<Position> {
        let mut at = from?.offset();
        let end = self.end();
        let integer = element::canonical_integer(sought);
        loop {
            let (element, size) = self.decode(at);
            let is_equal = match element {
                Element::Bytes(bytes) => bytes == sought,
                Element::Integer(stored) => integer == Some(stored),
            };
            if is_equal {
                return Some(Position::new(at));
            }
            at += size + backlen_bytes(size);
            for _ in 0..skip {
                if at < end {
                    at = self.behind(at);
                }
            }
            if end <= at {
                return None;
            }
        }
    }

    // Changing

    /// Adds an element at the end.
    pub fn push_back<'a>(&mut self, element: impl Into<Element<'a>>) {
        self.splice(self.end(), 0, 0, [element.into()]);
    }

    /// Adds an element at the front.
    pub fn push_front<'a>(&mut self, element: impl Into<Element<'a>>) {
        self.splice(HEADER_BYTES, 0, 0, [element.into()]);
    }

    /// Inserts before an element; gives the new one's position.
    pub fn insert_before<'a>(&mut self, position: Position, element: impl Into<Element<'a>>) -> Position {
        self.splice(position.offset(), 0, 0, [element.into()]);
        position
    }

    /// Inserts behind an element; gives the new one's position.
    pub fn insert_after<'a>(&mut self, position: Position, element: impl Into<Element<'a>>) -> Position {
        let at = self.behind(position.offset());
        self.splice(at, 0, 0, [element.into()]);
        Position::new(at)
    }

    /// Inserts several elements, which moves what is behind them only once: before the position, or at the end. Gives
    /// the first one's position.
    pub fn insert_all<const N: usize>(&mut self, position: Option<Position>, elements: [Element<'_>; N]) -> Position {
        let at = position.map_or(self.end(), Position::offset);
        self.splice(at, 0, 0, elements);
        Position::new(at)
    }

    /// Adds elements at the end, for containers that only grow: the allocation doubles, up to 4 KiB more at a time.
    pub fn push_all<'a>(&mut self, elements: impl IntoIterator<Item = Element<'a>>) {
        let count = self.count();
        let mut added = 0;
        for element in elements {
            let encoded = Encoded::of(element);
            let (at, bytes) = (self.end(), encoded.size() + backlen_bytes(encoded.size()));
            let len = self.bytes.len() + bytes;
            assert!(len <= LISTPACK_BYTES_MAX, "who adds has asked `can_add`");
            if self.bytes.capacity() < len {
                let more = self.bytes.capacity().min(GROWTH_BYTES_MAX);
                self.bytes.reserve_exact(allocated_bytes(len.max(self.bytes.capacity() + more)) - self.bytes.len());
            }
            self.bytes.resize(len, END);
            encoded.write(&mut self.bytes[at..at + bytes]);
            added += 1;
        }
        if count != COUNT_UNKNOWN {
            self.set_count(usize::from(count) + added);
        }
        self.write_byte_len();
    }

    /// Gives back what was allocated for growth.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to(allocated_bytes(self.bytes.len()));
    }

    /// Puts another element in the place of one; the position stays good.
    pub fn replace<'a>(&mut self, position: Position, element: impl Into<Element<'a>>) {
        let at = position.offset();
        self.splice(at, self.behind(at) - at, 1, [element.into()]);
    }

    /// Removes an element; gives the position of the one that follows, which is the same.
    pub fn remove(&mut self, position: Position) -> Option<Position> {
        self.remove_from(position, 1)
    }

    /// Removes up to `count` elements from a position on; gives the position of what follows.
    pub fn remove_from(&mut self, position: Position, count: usize) -> Option<Position> {
        let at = position.offset();
        let (mut behind, mut removed) = (at, 0);
        while removed < count && behind < self.end() {
            behind = self.behind(behind);
            removed += 1;
        }
        self.splice(at, behind - at, removed, []);
        (at < self.end()).then_some(position)
    }

    /// Removes up to `count` elements from an index (see [`Listpack::position`]) on. How many there were.
    pub fn remove_range(&mut self, index: i64, count: usize) -> usize {
        let Some(position) = self.position(index) else { return 0 };
        let mut removed = 0;
        let mut behind = position.offset();
        while removed < count && behind < self.end() {
            behind = self.behind(behind);
            removed += 1;
        }
        self.splice(position.offset(), behind - position.offset(), removed, []);
        removed
    }

    /// Takes the elements from a position on away, as a listpack of their own.
    pub fn split_off(&mut self, position: Position) -> Listpack {
        let at = position.offset();
        let mut tail = Listpack::with_capacity(HEADER_BYTES + self.bytes.len() - at);
        tail.bytes.truncate(HEADER_BYTES);
        tail.bytes.extend_from_slice(&self.bytes[at..]);
        tail.set_count(0);
        let count = tail.iter().count();
        tail.set_count(count);
        tail.write_byte_len();
        self.splice(at, self.end() - at, count, []);
        tail
    }

    /// Adds all elements of another at the end.
    pub fn append(&mut self, other: &Listpack) {
        let counts = (self.count(), other.count());
        let elements = &other.bytes[HEADER_BYTES..other.end()];
        let at = self.end();
        self.open(at, 0, elements.len());
        self.bytes[at..at + elements.len()].copy_from_slice(elements);
        match counts {
            (COUNT_UNKNOWN, _) | (_, COUNT_UNKNOWN) => self.set_count(usize::from(COUNT_UNKNOWN)),
            (own, others) => self.set_count(usize::from(own) + usize::from(others)),
        }
    }

    // Bytes

    /// Offset of the end mark.
    #[inline]
    fn end(&self) -> usize {
        self.bytes.len() - 1
    }

    #[inline]
    fn decode(&self, at: usize) -> (Element<'_>, usize) {
        decode(&self.bytes[at..]).expect("every element is whole: made here, or looked at when it came")
    }

    /// Offset behind an element.
    #[inline]
    fn behind(&self, at: usize) -> usize {
        let size = size_of(&self.bytes[at..]).expect("every element is whole: made here, or looked at when it came");
        at + size + backlen_bytes(size)
    }

    /// The element before an offset.
    fn before(&self, at: usize) -> Option<Position> {
        if at <= HEADER_BYTES {
            return None;
        }
        let (size, backlen_bytes) = read_backlen(&self.bytes[HEADER_BYTES..at]);
        Some(Position::new(at - backlen_bytes - size))
    }

    fn count(&self) -> u16 {
        u16::from_le_bytes([self.bytes[4], self.bytes[5]])
    }

    fn set_count(&mut self, count: usize) {
        let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.bytes[4..6].copy_from_slice(&count.to_le_bytes());
    }

    fn write_byte_len(&mut self) {
        assert!(self.bytes.len() <= LISTPACK_BYTES_MAX);
        let all_bytes = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&all_bytes.to_le_bytes());
    }

    /// Puts elements in the place of `old_bytes` bytes, which are `old_count` elements.
    #[inline]
    fn splice<const N: usize>(&mut self, at: usize, old_bytes: usize, old_count: usize, elements: [Element<'_>; N]) {
        let count = self.count();
        let encoded = elements.map(Encoded::of);
        let new_bytes = encoded.iter().map(|encoded| encoded.size() + backlen_bytes(encoded.size())).sum();
        self.open(at, old_bytes, new_bytes);
        let mut rest = &mut self.bytes[at..at + new_bytes];
        for encoded in &encoded {
            rest = encoded.write(rest);
        }
        debug_assert!(rest.is_empty());
        if count != COUNT_UNKNOWN {
            self.set_count(usize::from(count) - old_count + N);
        }
    }

    /// Makes `new_bytes` bytes of room in the place of `old_bytes`.
    fn open(&mut self, at: usize, old_bytes: usize, new_bytes: usize) {
        assert!(HEADER_BYTES <= at && at + old_bytes < self.bytes.len());
        let len_before = self.bytes.len();
        let len = len_before - old_bytes + new_bytes;
        assert!(len <= LISTPACK_BYTES_MAX, "who adds has asked `can_add`");
        if len_before < len {
            if self.bytes.capacity() < len {
                self.bytes.reserve_exact(allocated_bytes(len) - len_before);
            }
            self.bytes.resize(len, 0);
        }
        if new_bytes != old_bytes {
            self.bytes.copy_within(at + old_bytes..len_before, at + new_bytes);
        }
        if len < len_before {
            self.bytes.truncate(len);
            let wanted_bytes = allocated_bytes(len);
            if SHRINK_BYTES_MIN < self.bytes.capacity() && 2 * wanted_bytes <= self.bytes.capacity() {
                self.bytes.shrink_to(wanted_bytes);
            }
        }
        self.write_byte_len();
    }
}

impl<'a> IntoIterator for &'a Listpack {
    type Item = Element<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The elements between two positions.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    listpack: &'a Listpack,
    front: usize,
    back: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.back <= self.front {
            return None;
        }
        let (element, size) = self.listpack.decode(self.front);
        self.front += size + backlen_bytes(size);
        Some(element)
    }

    #[inline]
    fn nth(&mut self, count: usize) -> Option<Element<'a>> {
        for _ in 0..count {
            if self.front < self.back {
                self.front = self.listpack.behind(self.front);
            }
        }
        self.next()
    }
}

impl Iter<'_> {
    /// Where the element is that comes next from the front.
    pub fn front(&self) -> Option<Position> {
        (self.front < self.back).then(|| Position::new(self.front))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.back <= self.front {
            return None;
        }
        let position = self.listpack.before(self.back)?;
        self.back = position.offset();
        Some(self.listpack.at(position))
    }
}
