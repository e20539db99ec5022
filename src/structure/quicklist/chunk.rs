//! A chunk of a quicklist: some elements side by side in one buffer, with room at either end.
//!
//! Not here: how chunks make a list, and how large they become ([`super::Fill`] is handed in).
#![deny(unsafe_code)]

use super::{Fill, Node, Sought};
use crate::structure::allocation::allocated_bytes;
use crate::structure::listpack::Element;
use crate::structure::listpack::element::{Encoded, backlen_bytes, decode, read_backlen, size_of};
use crate::structure::lzf;

/// Bytes that a listpack has around its elements: limits are those of Redis, which count them.
pub(super) const LISTPACK_FRAME_BYTES: usize = 7;

/// Says in the place of `start` that the buffer is the text of one element, as it is.
const PLAIN: u16 = u16::MAX;
/// Says there that the buffer is compressed.
const COMPRESSED: u16 = u16::MAX - 1;
/// The most room at the front that can be said.
const START_MAX: usize = COMPRESSED as usize - 1;

/// Fewer bytes are not compressed, nor where fewer are saved.
const COMPRESS_BYTES_MIN: usize = 48;
const COMPRESS_GAIN_BYTES_MIN: usize = 8;

/// Buffers up to this many bytes are not made smaller.
const SHRINK_BYTES_MIN: usize = 64;

/// An element on its way into a chunk.
pub(super) enum Item<'a> {
    /// With code and size, as in a listpack; the sum of their bytes.
    Packed(Encoded<'a>, usize),
    /// A text too long for that, alone in its chunk.
    Plain(&'a [u8]),
}

impl<'a> Item<'a> {
    pub(super) fn of(element: Element<'a>, fill: Fill) -> Item<'a> {
        match element {
            Element::Bytes(bytes) if fill.plain_len_min <= bytes.len() => Item::Plain(bytes),
            _ => {
                let encoded = Encoded::of(element);
                let size = encoded.size();
                Item::Packed(encoded, size + backlen_bytes(size))
            }
        }
    }
}

/// See the page of [`super`] for its layout.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    bytes: Box<[u8]>,
    end: u32,
    start: u16,
    count: u16,
}

impl Chunk {
    /// A chunk with one element; room for `capacity` bytes if that is more than it needs.
    pub(super) fn with(item: &Item<'_>, capacity: usize) -> Chunk {
        let mut chunk = Chunk::default();
        match item {
            Item::Packed(encoded, bytes) => {
                chunk.bytes = buffer((*bytes).max(capacity));
                chunk.push_back(encoded, *bytes);
            }
            Item::Plain(text) => {
                chunk.bytes = (*text).into();
                (chunk.start, chunk.count) = (PLAIN, 1);
            }
        }
        chunk
    }

    /// A chunk of elements that are encoded already, each of which was looked at.
    pub(super) fn of_encoded(elements: &[u8], count: usize) -> Chunk {
        let mut bytes = buffer(elements.len());
        bytes[..elements.len()].copy_from_slice(elements);
        let end = u32::try_from(elements.len()).expect("a listpack has less than 2^32 bytes");
        Chunk { bytes, end, start: 0, count: u16::try_from(count).expect("who hands it over has counted") }
    }

    /// The number of elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.count.into()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The text of the only element, if it is kept as it is.
    #[inline]
    pub(super) fn plain(&self) -> Option<&[u8]> {
        (self.start == PLAIN).then_some(&*self.bytes)
    }

    /// The elements as they are encoded; nothing for a plain one. Not of a compressed chunk.
    #[inline]
    pub(super) fn encoded(&self) -> &[u8] {
        debug_assert!(!self.is_compressed());
        if self.start == PLAIN { &[] } else { &self.bytes[self.start.into()..self.end as usize] }
    }

    /// How many bytes these are, or will be when it is expanded.
    #[inline]
    fn encoded_len(&self) -> usize {
        match self.start {
            PLAIN => 0,
            COMPRESSED => self.end as usize,
            start => self.end as usize - usize::from(start),
        }
    }

    // Compression

    #[inline]
    pub(super) fn is_compressed(&self) -> bool {
        self.start == COMPRESSED
    }

    /// Compresses the elements, if that saves memory. A plain one stays as it is: it would take seconds.
    pub(super) fn compress(&mut self) {
        if self.start >= COMPRESSED || self.encoded_len() < COMPRESS_BYTES_MIN {
            return;
        }
        let compressed = lzf::compress(self.encoded(), COMPRESS_GAIN_BYTES_MIN);
        let Some(compressed) = compressed.filter(|bytes| allocated_bytes(bytes.len()) < self.heap_bytes()) else {
            return self.seal();
        };
        self.end = self.encoded_len() as u32;
        (self.bytes, self.start) = (compressed.into_boxed_slice(), COMPRESSED);
    }

    /// Undoes that.
    pub(super) fn expand(&mut self) {
        if self.is_compressed() {
            *self = self.expanded();
        }
    }

    pub(super) fn into_expanded(mut self) -> Chunk {
        self.expand();
        self
    }

    #[cold]
    fn expanded(&self) -> Chunk {
        let elements = lzf::expand(&self.bytes, self.end as usize).expect("it was compressed here");
        Chunk::of_encoded(&elements, self.len())
    }

    /// The chunk itself, or an expanded copy of a compressed one, which is put where it can stay for a while.
    #[inline]
    pub(super) fn whole<'a>(&'a self, expanded: &'a mut Option<Chunk>) -> &'a Chunk {
        if self.is_compressed() { expanded.insert(self.expanded()) } else { self }
    }

    /// For those who write lists down.
    pub(super) fn node(&self) -> Node<'_> {
        match self.plain() {
            Some(text) => Node::Plain(text),
            None => Node::Packed(self.encoded(), self.len()),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        allocated_bytes(self.bytes.len())
    }

    /// Whether another element may join these.
    #[inline]
    pub(super) fn takes(&self, item: &Item<'_>, fill: Fill) -> bool {
        match item {
            Item::Plain(_) => false,
            Item::Packed(_, bytes) => {
                self.start != PLAIN
                    && self.len() < fill.count_max
                    && self.encoded_len() + bytes + LISTPACK_FRAME_BYTES <= fill.bytes_max
            }
        }
    }

    /// Whether all elements of two chunks may be one, with room to spare so that they are not split at once.
    pub(super) fn may_join(&self, other: &Chunk, fill: Fill) -> bool {
        let bytes = self.encoded_len() + other.encoded_len() + LISTPACK_FRAME_BYTES;
        self.start != PLAIN
            && other.start != PLAIN
            && 2 * bytes <= fill.bytes_max
            && self.len() + other.len() <= fill.count_max.div_ceil(2)
    }

    // Reading

    /// All elements, front to back, or from both ends.
    #[inline]
    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { rest: self.encoded(), plain: self.plain() }
    }

    /// The elements from an index on, or, from behind, those before it.
    pub(super) fn iter_from(&self, index: usize) -> Iter<'_> {
        match self.plain() {
            Some(_) if index != 0 => Iter { rest: &[], plain: None },
            Some(_) => self.iter(),
            None => Iter { rest: &self.encoded()[self.offset(index)..], plain: None },
        }
    }

    /// The elements before an index.
    pub(super) fn iter_until(&self, index: usize) -> Iter<'_> {
        match self.plain() {
            Some(_) if index == 0 => Iter { rest: &[], plain: None },
            Some(_) => self.iter(),
            None => Iter { rest: &self.encoded()[..self.offset(index)], plain: None },
        }
    }

    /// Where an element begins among the encoded bytes; their end for the index behind the last one. Walks from the
    /// nearer end.
    fn offset(&self, index: usize) -> usize {
        assert!(index <= self.len());
        let encoded = self.encoded();
        if index <= self.len() / 2 {
            (0..index).fold(0, |at, _| at + step(&encoded[at..]))
        } else {
            (index..self.len()).fold(encoded.len(), |at, _| at - step_back(&encoded[..at]))
        }
    }

    // Changing the ends

    #[inline]
    pub(super) fn push_back(&mut self, encoded: &Encoded<'_>, bytes: usize) {
        if self.bytes.len() - (self.end as usize) < bytes {
            self.make_room_behind(bytes);
        }
        let end = self.end as usize;
        encoded.write(&mut self.bytes[end..end + bytes]);
        self.end = (end + bytes) as u32;
        self.count += 1;
    }

    #[inline]
    pub(super) fn push_front(&mut self, encoded: &Encoded<'_>, bytes: usize) {
        if usize::from(self.start) < bytes {
            self.make_room_before(bytes);
        }
        let start = usize::from(self.start) - bytes;
        encoded.write(&mut self.bytes[start..start + bytes]);
        self.start = start as u16;
        self.count += 1;
    }

    pub(super) fn pop_front(&mut self) {
        self.count -= 1;
        if self.count == 0 {
            *self = Chunk::default();
        } else {
            self.start += step(self.encoded()) as u16;
            self.shrink(Room::Behind);
        }
    }

    pub(super) fn pop_back(&mut self) {
        self.count -= 1;
        if self.count == 0 {
            *self = Chunk::default();
        } else {
            self.end -= step_back(self.encoded()) as u32;
            self.shrink(Room::Before);
        }
    }

    // Changing the middle. None of these is for a plain chunk.

    /// Inserts before the element with an index.
    pub(super) fn insert(&mut self, index: usize, encoded: &Encoded<'_>, bytes: usize) {
        let at = self.offset(index);
        self.splice(at, 0, bytes);
        let at = usize::from(self.start) + at;
        encoded.write(&mut self.bytes[at..at + bytes]);
        self.count += 1;
    }

    /// Puts another element in the place of one.
    pub(super) fn replace(&mut self, index: usize, encoded: &Encoded<'_>, bytes: usize) {
        let at = self.offset(index);
        let old_bytes = step(&self.encoded()[at..]);
        self.splice(at, old_bytes, bytes);
        let at = usize::from(self.start) + at;
        encoded.write(&mut self.bytes[at..at + bytes]);
    }

    /// Bytes that the element with an index takes.
    pub(super) fn element_bytes(&self, index: usize) -> usize {
        step(&self.encoded()[self.offset(index)..])
    }

    /// Removes `count` elements from an index on, which are there. All of them leave an empty chunk.
    pub(super) fn remove(&mut self, index: usize, count: usize) {
        assert!(index + count <= self.len());
        if count == self.len() {
            *self = Chunk::default();
            return;
        }
        let (first, behind) = (self.offset(index), self.offset(index + count));
        self.splice(first, behind - first, 0);
        self.count -= count as u16;
        self.shrink(Room::Behind);
    }

    /// Takes the elements from an index on away.
    pub(super) fn split_off(&mut self, index: usize) -> Chunk {
        let tail = &self.encoded()[self.offset(index)..];
        let tail_bytes = tail.len() as u32;
        let tail = Chunk::of_encoded(tail, self.len() - index);
        self.end -= tail_bytes;
        self.count = index as u16;
        self.shrink(Room::Behind);
        tail
    }

    /// Adds all elements of another chunk at the end.
    pub(super) fn append(&mut self, other: &Chunk) {
        let bytes = other.encoded().len();
        if self.bytes.len() - (self.end as usize) < bytes {
            self.make_room_behind(bytes);
        }
        let end = self.end as usize;
        self.bytes[end..end + bytes].copy_from_slice(other.encoded());
        self.end += bytes as u32;
        self.count += other.count;
    }

    /// Removes up to `count` elements with this text, from the front, or from behind. How many there were.
    pub(super) fn remove_equal(&mut self, sought: Sought<'_>, count: usize, from_behind: bool) -> usize {
        if let Some(plain) = self.plain() {
            let removed = usize::from(sought.is(Element::Bytes(plain)) && 0 < count);
            if removed != 0 {
                *self = Chunk::default();
            }
            return removed;
        }
        let equal = self.iter().filter(|element| sought.is(*element)).count();
        let removed = equal.min(count);
        if removed == 0 {
            return 0;
        }
        if removed == self.len() {
            *self = Chunk::default();
            return removed;
        }
        // The equal ones that stay are those at the other end.
        let mut spared = if from_behind { equal - removed } else { 0 };
        let mut left = removed;
        let (start, end) = (usize::from(self.start), self.end as usize);
        let (mut read, mut write) = (start, start);
        while read < end && left != 0 {
            let (element, size) = whole(&self.bytes[read..end]);
            let bytes = size + backlen_bytes(size);
            let is_equal = sought.is(element);
            if is_equal && spared == 0 {
                left -= 1;
            } else {
                spared -= usize::from(is_equal);
                self.bytes.copy_within(read..read + bytes, write);
                write += bytes;
            }
            read += bytes;
        }
        self.bytes.copy_within(read..end, write);
        self.end = (write + end - read) as u32;
        self.count -= removed as u16;
        self.shrink(Room::Behind);
        removed
    }

    /// Gives back room that is not needed while no element joins.
    pub(super) fn seal(&mut self) {
        if self.start != PLAIN && allocated_bytes(self.encoded().len()) < self.heap_bytes() {
            self.relocate(self.encoded().len(), Room::Behind);
        }
    }

    // Room

    /// Makes `new` bytes of room in the place of `old` bytes at an offset among the encoded ones; the shorter side
    /// moves.
    fn splice(&mut self, at: usize, old: usize, new: usize) {
        let behind_len = self.encoded().len() - at - old;
        if new == old {
            return;
        }
        if new < old {
            let less = old - new;
            let start = usize::from(self.start);
            if at < behind_len && start + less <= START_MAX {
                self.bytes.copy_within(start..start + at, start + less);
                self.start += less as u16;
            } else {
                self.bytes.copy_within(start + at + old..self.end as usize, start + at + new);
                self.end -= less as u32;
            }
            return;
        }
        let more = new - old;
        if at < behind_len && more <= self.start.into() {
            let start = usize::from(self.start);
            self.bytes.copy_within(start..start + at, start - more);
            self.start -= more as u16;
            return;
        }
        if self.bytes.len() - (self.end as usize) < more {
            self.make_room_behind(more);
        }
        let start = usize::from(self.start);
        self.bytes.copy_within(start + at + old..self.end as usize, start + at + new);
        self.end += more as u32;
    }

    /// Moves all room behind the elements, in a larger buffer if it is less than `bytes`.
    #[cold]
    fn make_room_behind(&mut self, bytes: usize) {
        let needed = self.encoded().len() + bytes;
        if needed <= self.bytes.len() {
            self.bytes.copy_within(usize::from(self.start)..self.end as usize, 0);
            (self.start, self.end) = (0, self.end - u32::from(self.start));
        } else {
            self.relocate(with_slack(needed), Room::Behind);
        }
    }

    /// The same before the elements.
    #[cold]
    fn make_room_before(&mut self, bytes: usize) {
        let len = self.encoded().len();
        let capacity = self.bytes.len();
        if len + bytes <= capacity {
            let start = (capacity - len).min(START_MAX);
            self.bytes.copy_within(usize::from(self.start)..self.end as usize, start);
            (self.start, self.end) = (start as u16, (start + len) as u32);
        } else {
            self.relocate(with_slack(len + bytes), Room::Before);
        }
        assert!(bytes <= self.start.into(), "an element that joins others is short");
    }

    /// Moves to a buffer of so many bytes.
    fn relocate(&mut self, capacity: usize, room: Room) {
        let mut bytes = buffer(capacity);
        let encoded = self.encoded();
        let start = match room {
            Room::Behind => 0,
            Room::Before => (bytes.len() - encoded.len()).min(START_MAX),
        };
        let end = start + encoded.len();
        bytes[start..end].copy_from_slice(encoded);
        (self.bytes, self.start, self.end) = (bytes, start as u16, end as u32);
    }

    /// Moves to a smaller buffer when three quarters of this one are empty.
    fn shrink(&mut self, room: Room) {
        let len = self.encoded().len();
        if SHRINK_BYTES_MIN < self.bytes.len() && 4 * len <= self.bytes.len() {
            self.relocate(with_slack(len), room);
        }
    }
}

/// Where a buffer has its room.
#[derive(Clone, Copy)]
enum Room {
    Before,
    Behind,
}

/// A buffer of at least so many bytes: an allocation is used to its end.
fn buffer(bytes: usize) -> Box<[u8]> {
    vec![0; allocated_bytes(bytes)].into_boxed_slice()
}

/// So many bytes and some more, so that elements that join one by one move the others once in a while only.
fn with_slack(bytes: usize) -> usize {
    bytes + bytes / 8
}

/// Bytes of the element at the front.
#[inline]
fn step(encoded: &[u8]) -> usize {
    let size = size_of(encoded).expect("every element is whole: made here, or looked at when it came");
    size + backlen_bytes(size)
}

/// Bytes of the element at the back.
#[inline]
fn step_back(encoded: &[u8]) -> usize {
    let (size, backlen_bytes) = read_backlen(encoded);
    size + backlen_bytes
}

/// The element at the front, and the size of its code and data.
#[inline]
fn whole(encoded: &[u8]) -> (Element<'_>, usize) {
    decode(encoded).expect("every element is whole: made here, or looked at when it came")
}

/// Elements side by side.
#[derive(Debug, Clone, Default)]
pub(super) struct Iter<'a> {
    rest: &'a [u8],
    plain: Option<&'a [u8]>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.rest.is_empty() {
            return self.plain.take().map(Element::Bytes);
        }
        let (element, size) = whole(self.rest);
        self.rest = &self.rest[size + backlen_bytes(size)..];
        Some(element)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return self.plain.take().map(Element::Bytes);
        }
        let (before, last) = self.rest.split_at(self.rest.len() - step_back(self.rest));
        self.rest = before;
        Some(whole(last).0)
    }
}
