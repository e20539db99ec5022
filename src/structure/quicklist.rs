//! A quicklist: a sequence of short strings and integers, as long as memory allows, that is cheap at both ends.
//!
//! Wanted: little more than the bytes of the elements; pushing and popping at either end without moving the others; an
//! index found in logarithmic time; nothing that takes long because the list is long. Not here: keys, replies, time.
//!
//! # Layout
//!
//! Elements lie side by side in chunks, encoded as in a listpack ([`super::listpack`]), so that snapshots copy them as
//! they are. Redis links its chunks; here they hang in a counted tree, except for the first and the last, which are at
//! hand. A list of one chunk has neither a tree nor a last chunk: its only allocation is the chunk's buffer.
//!
//! ```text
//! Quicklist, 32 bytes, in its entry
//! ┌───────────┬───────┐        ┌──────────────────────┬───────────┬─────────┐
//! │ head   24 │ large ├───────▶│ tree of the others   │ tail   24 │ removed │
//! └─────┬─────┴───────┘        └──────────┬───────────┴─────┬─────┴─────────┘
//!       ▼                                 ▼                 ▼
//!     chunk                      up to 64 chunks a leaf   chunk
//!
//! chunk: buffer 16, end 4, start 2, count 2
//! ┌──────┬────────────┬────────────┬────────────┬──────┐
//! │ room │ code, data,│ code, data,│ code, data,│ room │   start, end: of the elements within the buffer
//! │      │ size       │ size       │ size       │      │   start 65535: the buffer is the text of one long element
//! └──────┴────────────┴────────────┴────────────┴──────┘
//!   start 65534: the buffer is what LZF made of the elements, end: how many bytes they are
//! ```
//!
//! A listpack has its elements behind a header, so that every push or pop at the front moves all of them. Here there is
//! room on both sides: a queue moves its elements once in a while, when one side has no room left and the other has.
//!
//! # Compression
//!
//! Between the ends nobody looks, so the chunks there may be kept compressed ([`super::lzf`]): those that have at least
//! as many others on either side as [`Fill::compressed`] says. The first and the last never are. Who reads a compressed
//! chunk expands a copy, which goes when the visit ends; who changes it expands it and compresses what has become of
//! it. Limits count the bytes before compression. A chunk that comes near an end because others went stays compressed
//! until it is the first or the last.
//!
//! # Costs
//!
//! | What | Time |
//! |---|---|
//! | push, pop, look at either end | constant |
//! | find, set, insert, remove at an index | logarithmic in chunks, linear in one chunk |
//! | cut off an end | logarithmic; what is cut off as a whole is handed out, to be freed at leisure |
//! | remove or find equal elements | linear |
#![deny(unsafe_code)]

mod chunk;
#[cfg(test)]
mod tests;
mod tree;

use super::allocation::allocated_bytes;
use super::listpack::element::canonical_integer;
pub use super::listpack::{Element, Listpack};
use chunk::{Chunk, Item, LISTPACK_FRAME_BYTES};
use tree::{End, Removed, Tree};

/// How much a chunk may hold. An element that is larger on its own gets a chunk of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    count_max: usize,
    bytes_max: usize,
    plain_len_min: usize,
    /// Chunks at either end that are not compressed; 0: none is.
    compress_depth: usize,
}

/// Bytes of a chunk that is limited by its elements, and of one where nothing is said.
const BYTES_MAX: usize = 8 * 1024;
/// Bytes of the largest chunk that may be asked for.
const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// The most elements a chunk may have.
const COUNT_MAX: usize = (1 << 15) - 1;
/// Texts from this length on are kept as they are: a listpack could not hold them.
const PLAIN_LEN_MIN: usize = 1 << 30;
/// Room that a chunk begins with in a list that has filled others.
const CHUNK_BYTES_MIN: usize = 1024;

impl Default for Fill {
    fn default() -> Fill {
        Fill { count_max: COUNT_MAX, bytes_max: BYTES_MAX, plain_len_min: PLAIN_LEN_MIN, compress_depth: 0 }
    }
}

impl Fill {
    /// As `list-max-listpack-size` says it: so many elements (0 counts as 1), or, from -1 to -5, 4, 8, 16, 32, 64 KiB.
    pub fn of_directive(size: i32) -> Fill {
        match size {
            0.. => Fill { count_max: (size as usize).clamp(1, COUNT_MAX), ..Fill::default() },
            _ => Fill { bytes_max: CHUNK_BYTES_MAX >> (5 - size.unsigned_abs().min(5)), ..Fill::default() },
        }
    }

    /// The same, and chunks with so many others on either side are compressed, as `list-compress-depth` says it; 0:
    /// none.
    pub fn compressed(self, depth: usize) -> Fill {
        Fill { compress_depth: depth, ..self }
    }
}

/// A text to be compared with elements.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    text: &'a [u8],
    integer: Option<i64>,
}

impl<'a> Sought<'a> {
    /// Prepares the comparison.
    pub fn new(text: &'a [u8]) -> Sought<'a> {
        Sought { text, integer: canonical_integer(text) }
    }

    /// Whether an element has this text.
    #[inline]
    pub fn is(self, element: Element<'_>) -> bool {
        match element {
            Element::Integer(integer) => self.integer == Some(integer),
            Element::Bytes(bytes) => bytes == self.text,
        }
    }
}

/// A chunk, for those who write lists down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node<'a> {
    /// The text of one long element.
    Plain(&'a [u8]),
    /// Elements as a listpack has them between its header and its end mark, and how many.
    Packed(&'a [u8], usize),
}

/// See the page of this module.
#[derive(Debug, Default)]
pub struct Quicklist {
    head: Chunk,
    large: Option<Box<Large>>,
}

/// What a list of several chunks has besides the first, which is never empty then, nor is the last.
#[derive(Debug, Default)]
struct Large {
    middle: Tree,
    tail: Chunk,
    removed: Removed,
}

impl Large {
    /// Adds a chunk beside the first or the last one. The chunk that has now enough others on that side is compressed.
    fn push(&mut self, end: End, mut chunk: Chunk, fill: Fill) {
        if fill.compress_depth == 1 {
            chunk.compress(); // Before it is counted.
        }
        self.middle.push(end, chunk);
        // With the first and the last there are two more.
        if let Some(beyond) = fill.compress_depth.checked_sub(2)
            && 2 * beyond + 3 <= self.middle.chunks()
        {
            self.middle.compress(end, beyond + 1);
        }
    }
}

impl Quicklist {
    /// An empty list, which allocates nothing.
    pub fn new() -> Quicklist {
        Quicklist::default()
    }

    /// The number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.large {
            None => self.head.len(),
            Some(large) => self.head.len() + large.middle.len() as usize + large.tail.len(),
        }
    }

    /// Whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// Bytes allocated, the allocator's rounding included.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        let head_bytes = self.head.heap_bytes();
        match &self.large {
            None => head_bytes,
            Some(large) => {
                let own_bytes = allocated_bytes(size_of::<Large>());
                let chunk_bytes = large.middle.heap_bytes() + large.tail.heap_bytes();
                head_bytes + own_bytes + chunk_bytes + large.removed.heap_bytes()
            }
        }
    }

    /// A copy that shares nothing.
    pub fn duplicate(&self) -> Quicklist {
        let large = self.large.as_ref().map(|large| {
            Box::new(Large { middle: large.middle.duplicate(), tail: large.tail.clone(), removed: Removed::default() })
        });
        Quicklist { head: self.head.clone(), large }
    }

    // Reading

    /// The first element.
    #[inline]
    pub fn front(&self) -> Option<Element<'_>> {
        self.head.iter().next()
    }

    /// The last element.
    #[inline]
    pub fn back(&self) -> Option<Element<'_>> {
        self.large.as_ref().map_or(&self.head, |large| &large.tail).iter().next_back()
    }

    /// Looks at the element with an index.
    pub fn with<R>(&self, index: usize, look: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        if self.len() <= index {
            return None;
        }
        let (chunk, within) = self.find(index);
        let mut expanded = None;
        chunk.whole(&mut expanded).iter_from(within).next().map(look)
    }

    /// Visits up to `count` elements from an index on, towards the end.
    pub fn visit(&self, first: usize, count: usize, mut visit: impl FnMut(Element<'_>)) {
        let mut left = count;
        self.visit_parts(first, |part| {
            let mut seen = 0;
            part.take(left).for_each(|element| {
                seen += 1;
                visit(element);
            });
            left -= seen;
            left != 0
        });
    }

    /// Visits up to `count` elements from an index on, towards the front.
    pub fn visit_back(&self, last: usize, count: usize, mut visit: impl FnMut(Element<'_>)) {
        let mut left = count;
        self.visit_parts_back(last, |part| {
            let mut seen = 0;
            part.rev().take(left).for_each(|element| {
                seen += 1;
                visit(element);
            });
            left -= seen;
            left != 0
        });
    }

    /// Visits elements from an index on, towards the end, until `visit` says that it is enough.
    pub fn visit_until(&self, first: usize, mut visit: impl FnMut(Element<'_>) -> bool) {
        self.visit_parts(first, |mut part| !part.any(&mut visit));
    }

    /// Visits elements from an index on, towards the front, until `visit` says that it is enough.
    pub fn visit_back_until(&self, last: usize, mut visit: impl FnMut(Element<'_>) -> bool) {
        self.visit_parts_back(last, |part| !part.rev().any(&mut visit));
    }

    /// Visits all elements.
    pub fn for_each(&self, visit: impl FnMut(Element<'_>)) {
        self.visit(0, usize::MAX, visit);
    }

    /// The elements from an index on, chunk by chunk, for as long as `visit` wants more.
    #[inline]
    fn visit_parts(&self, first: usize, mut visit: impl FnMut(chunk::Iter<'_>) -> bool) {
        let (mut next, len) = (first, self.len());
        while next < len {
            let (chunk, within) = self.find(next);
            let mut expanded = None;
            if !visit(chunk.whole(&mut expanded).iter_from(within)) {
                return;
            }
            next += chunk.len() - within;
        }
    }

    /// The elements up to an index, chunk by chunk from the last, each front to back.
    #[inline]
    fn visit_parts_back(&self, last: usize, mut visit: impl FnMut(chunk::Iter<'_>) -> bool) {
        let mut end = self.len().min(last.saturating_add(1));
        while 0 < end {
            let (chunk, within) = self.find(end - 1);
            let mut expanded = None;
            if !visit(chunk.whole(&mut expanded).iter_until(within + 1)) {
                return;
            }
            end -= within + 1;
        }
    }

    /// Visits all chunks, front to back.
    pub fn for_each_node(&self, mut visit: impl FnMut(Node<'_>)) {
        let mut visit = |chunk: &Chunk| visit(chunk.whole(&mut None).node());
        if !self.head.is_empty() {
            visit(&self.head);
        }
        if let Some(large) = &self.large {
            large.middle.for_each(&mut visit);
            visit(&large.tail);
        }
    }

    /// The number of chunks.
    pub fn node_count(&self) -> usize {
        match &self.large {
            _ if self.is_empty() => 0,
            None => 1,
            Some(large) => 2 + large.middle.chunks(),
        }
    }

    /// Looks at the chunk that begins with the element of an index, and tells how many elements it has; `None` behind
    /// the last one.
    pub fn with_node(&self, index: usize, look: impl FnOnce(Node<'_>)) -> Option<usize> {
        if self.len() <= index {
            return None;
        }
        let (chunk, within) = self.find(index);
        assert!(within == 0, "chunks are asked for one after the other");
        look(chunk.whole(&mut None).node());
        Some(chunk.len())
    }

    /// The chunk that has the element with an index, and the element's index in it.
    fn find(&self, index: usize) -> (&Chunk, usize) {
        let Some(index) = index.checked_sub(self.head.len()) else { return (&self.head, index) };
        let large = self.large.as_ref().expect("who asks has seen the length");
        match (index as u64).checked_sub(large.middle.len()) {
            None => large.middle.find(index as u64),
            Some(index) => (&large.tail, index as usize),
        }
    }

    // The ends

    /// Adds an element at the end.
    #[inline]
    pub fn push_back<'a>(&mut self, element: impl Into<Element<'a>>, fill: Fill) {
        let item = Item::of(element.into(), fill);
        let last = self.large.as_mut().map_or(&mut self.head, |large| &mut large.tail);
        match &item {
            Item::Packed(encoded, bytes) if last.takes(&item, fill) => last.push_back(encoded, *bytes),
            _ => self.begin_tail(&item, fill),
        }
    }

    /// Adds an element at the front.
    #[inline]
    pub fn push_front<'a>(&mut self, element: impl Into<Element<'a>>, fill: Fill) {
        let item = Item::of(element.into(), fill);
        match &item {
            Item::Packed(encoded, bytes) if self.head.takes(&item, fill) => self.head.push_front(encoded, *bytes),
            _ => self.begin_head(&item, fill),
        }
    }

    #[cold]
    fn begin_tail(&mut self, item: &Item<'_>, fill: Fill) {
        if self.head.is_empty() {
            self.head = Chunk::with(item, 0);
            return;
        }
        let chunk = Chunk::with(item, CHUNK_BYTES_MIN);
        match &mut self.large {
            None => {
                self.head.seal();
                self.large = Some(Box::new(Large { tail: chunk, ..Large::default() }));
            }
            Some(large) => {
                let mut full = std::mem::replace(&mut large.tail, chunk);
                full.seal();
                large.push(End::Back, full, fill);
            }
        }
    }

    #[cold]
    fn begin_head(&mut self, item: &Item<'_>, fill: Fill) {
        if self.head.is_empty() {
            self.head = Chunk::with(item, 0);
            return;
        }
        let mut full = std::mem::replace(&mut self.head, Chunk::with(item, CHUNK_BYTES_MIN));
        full.seal();
        match &mut self.large {
            None => self.large = Some(Box::new(Large { tail: full, ..Large::default() })),
            Some(large) => large.push(End::Front, full, fill),
        }
    }

    /// Removes the first element, if there is one.
    #[inline]
    pub fn pop_front(&mut self) {
        if self.head.is_empty() {
            return;
        }
        self.head.pop_front();
        if self.head.is_empty() {
            self.refill_head();
        }
    }

    /// Removes the last element, if there is one.
    #[inline]
    pub fn pop_back(&mut self) {
        match &mut self.large {
            None if self.head.is_empty() => {}
            None => self.head.pop_back(),
            Some(large) => {
                large.tail.pop_back();
                if large.tail.is_empty() {
                    self.refill_tail();
                }
            }
        }
    }

    /// Puts the next chunk in the place of the first, which is empty.
    #[cold]
    fn refill_head(&mut self) {
        let Some(large) = &mut self.large else { return };
        match large.middle.pop(End::Front) {
            Some(chunk) => self.head = chunk.into_expanded(),
            None => {
                self.head = std::mem::take(&mut large.tail);
                self.large = None;
            }
        }
    }

    /// The same for the last one.
    #[cold]
    fn refill_tail(&mut self) {
        let Some(large) = &mut self.large else { return };
        match large.middle.pop(End::Back) {
            Some(chunk) => large.tail = chunk.into_expanded(),
            None => self.large = None,
        }
    }

    // The middle

    /// Puts another element in the place of the one with an index, which is there.
    pub fn set<'a>(&mut self, index: usize, element: impl Into<Element<'a>>, fill: Fill) {
        let item = Item::of(element.into(), fill);
        self.change(index, fill, |chunk, index, more| match &item {
            _ if chunk.len() == 1 => *chunk = Chunk::with(&item, 0),
            Item::Packed(encoded, bytes)
                if chunk.encoded().len() - chunk.element_bytes(index) + bytes + LISTPACK_FRAME_BYTES
                    <= fill.bytes_max =>
            {
                chunk.replace(index, encoded, *bytes);
            }
            _ => {
                chunk.remove(index, 1);
                insert(chunk, index, &item, fill, more);
            }
        });
    }

    /// Inserts an element before the one with an index, or at the end if the index is the length.
    pub fn insert<'a>(&mut self, index: usize, element: impl Into<Element<'a>>, fill: Fill) {
        assert!(index <= self.len());
        let element = element.into();
        if index == 0 {
            return self.push_front(element, fill);
        }
        if index == self.len() {
            return self.push_back(element, fill);
        }
        let item = Item::of(element, fill);
        // Behind the element before it, unless only the next chunk has room.
        let (chunk, before) = self.find(index - 1);
        let is_at_end = before + 1 == chunk.len();
        if is_at_end && !chunk.takes(&item, fill) && self.find(index).0.takes(&item, fill) {
            self.change(index, fill, |chunk, index, more| insert(chunk, index, &item, fill, more));
        } else {
            self.change(index - 1, fill, |chunk, index, more| insert(chunk, index + 1, &item, fill, more));
        }
    }

    /// Removes the element with an index, which is there.
    pub fn remove(&mut self, index: usize, fill: Fill) {
        self.change(index, fill, |chunk, index, _| chunk.remove(index, 1));
    }

    /// Removes up to `count` elements with this text, from the front, or from behind. How many there were.
    pub fn remove_equal(&mut self, sought: Sought<'_>, count: usize, from_behind: bool, fill: Fill) -> usize {
        let mut removed = 0;
        // Elements that were looked at and stay.
        let mut passed = 0;
        while removed < count && passed < self.len() {
            let index = if from_behind { self.len() - 1 - passed } else { passed };
            let (chunk, within) = self.find(index);
            // A chunk that was joined with one before may have been looked at in part.
            let left = if from_behind { within + 1 } else { chunk.len() - within };
            let mut expanded = None;
            let whole = chunk.whole(&mut expanded);
            let mut part = if from_behind { whole.iter_until(within + 1) } else { whole.iter_from(within) };
            if !part.any(|element| sought.is(element)) {
                passed += left;
                continue;
            }
            let wanted = count - removed;
            let gone = self.change(index, fill, |chunk, _, _| chunk.remove_equal(sought, wanted, from_behind));
            removed += gone;
            passed += left - gone;
        }
        removed
    }

    /// Removes up to `count` elements at the front. What is large enough to be freed at leisure is handed out.
    pub fn cut_front(&mut self, count: usize) -> Option<Quicklist> {
        self.cut(End::Front, count)
    }

    /// Removes up to `count` elements at the end; likewise.
    pub fn cut_back(&mut self, count: usize) -> Option<Quicklist> {
        self.cut(End::Back, count)
    }

    fn cut(&mut self, end: End, count: usize) -> Option<Quicklist> {
        let count = count.min(self.len());
        let mut removed = Removed::default();
        let Some(large) = &mut self.large else {
            cut_chunk(&mut self.head, end, count, &mut removed);
            return None;
        };
        let (first, last) = match end {
            End::Front => (&mut self.head, &mut large.tail),
            End::Back => (&mut large.tail, &mut self.head),
        };
        let in_middle = count.saturating_sub(first.len());
        let in_last = in_middle.saturating_sub(large.middle.len() as usize);
        cut_chunk(first, end, count.min(first.len()), &mut removed);
        large.middle.cut(end, in_middle as u64, &mut removed);
        cut_chunk(last, end, in_last, &mut removed);
        if self.head.is_empty() {
            self.refill_head();
        }
        if self.large.as_ref().is_some_and(|large| large.tail.is_empty()) {
            self.refill_tail();
        }
        (HEAVY_CHUNKS_MIN <= removed.chunks())
            .then(|| Quicklist { large: Some(Box::new(Large { removed, ..Large::default() })), ..Quicklist::new() })
    }

    /// Changes the chunk that has the element with an index: see [`Tree::change`].
    fn change<R>(
        &mut self,
        index: usize,
        fill: Fill,
        change: impl FnOnce(&mut Chunk, usize, &mut Vec<Chunk>) -> R,
    ) -> R {
        assert!(index < self.len());
        let mut more = Vec::new();
        let Some(behind_head) = index.checked_sub(self.head.len()) else {
            let result = change(&mut self.head, index, &mut more);
            if self.head.is_empty() {
                self.refill_head();
            } else if !more.is_empty() {
                self.add_behind_head(more, fill);
            }
            return result;
        };
        let large = self.large.as_mut().expect("there are more elements than those of the head");
        let Some(in_tail) = (behind_head as u64).checked_sub(large.middle.len()) else {
            return large.middle.change(behind_head as u64, fill, change);
        };
        let result = change(&mut large.tail, in_tail as usize, &mut more);
        if large.tail.is_empty() {
            self.refill_tail();
        } else if let Some(last) = more.pop() {
            let first = std::mem::replace(&mut large.tail, last);
            [first].into_iter().chain(more).for_each(|chunk| large.push(End::Back, chunk, fill));
        }
        result
    }

    fn add_behind_head(&mut self, mut more: Vec<Chunk>, fill: Fill) {
        let large = self.large.get_or_insert_with(|| {
            let tail = more.pop().expect("there is more");
            Box::new(Large { tail, ..Large::default() })
        });
        more.into_iter().rev().for_each(|chunk| large.push(End::Front, chunk, fill));
    }

    // From outside, and away

    /// Adds the elements of a listpack at the end, as they are if they are no more than a chunk may hold.
    pub fn append_listpack(&mut self, listpack: &Listpack, fill: Fill) {
        let (bytes, count) = (listpack.as_bytes(), listpack.len());
        if CHUNK_BYTES_MAX < bytes.len() || COUNT_MAX < count || count == 0 {
            listpack.iter().for_each(|element| self.push_back(element, fill));
            return;
        }
        let encoded = &bytes[LISTPACK_FRAME_BYTES - 1..bytes.len() - 1];
        let chunk = Chunk::of_encoded(encoded, count);
        match &mut self.large {
            None if self.head.is_empty() => self.head = chunk,
            None => self.large = Some(Box::new(Large { tail: chunk, ..Large::default() })),
            Some(large) => {
                let full = std::mem::replace(&mut large.tail, chunk);
                large.push(End::Back, full, fill);
            }
        }
    }

    /// Allocations, those of the tree's nodes not counted.
    fn chunks(&self) -> usize {
        self.large.as_ref().map_or(1, |large| 2 + large.middle.chunks() + large.removed.chunks())
    }

    /// Whether dropping it may take long.
    pub fn is_heavy(&self) -> bool {
        self.chunks() >= HEAVY_CHUNKS_MIN
    }

    /// Frees up to `budget` chunks of a list that nobody needs any more. Whether some are left.
    pub fn free_some(&mut self, budget: usize) -> bool {
        self.head = Chunk::default();
        let Some(large) = &mut self.large else { return false };
        large.tail = Chunk::default();
        let len = large.middle.len();
        if len != 0 {
            large.middle.cut(End::Front, len, &mut large.removed);
        }
        let more = large.removed.free_some(budget);
        if !more {
            self.large = None;
        }
        more
    }

    /// What must be true of it.
    #[cfg(test)]
    fn check(&self) {
        let Some(large) = &self.large else { return };
        assert!(!self.head.is_empty() && !large.tail.is_empty() && large.removed.is_empty());
        assert!(!self.head.is_compressed() && !large.tail.is_compressed());
        large.middle.check();
    }
}

/// What has fewer chunks is freed at once.
const HEAVY_CHUNKS_MIN: usize = 100;

/// Removes elements at an end of a chunk; all of them leave it empty.
fn cut_chunk(chunk: &mut Chunk, end: End, count: usize, removed: &mut Removed) {
    if count == chunk.len() {
        if count != 0 {
            removed.push(std::mem::take(chunk));
        }
    } else if count != 0 {
        let first = if end == End::Front { 0 } else { chunk.len() - count };
        chunk.remove(first, count);
    }
}

/// Inserts an element before the one with an index; a chunk that has no room is split there.
fn insert(chunk: &mut Chunk, index: usize, item: &Item<'_>, fill: Fill, more: &mut Vec<Chunk>) {
    match item {
        Item::Packed(encoded, bytes) if chunk.takes(item, fill) => return chunk.insert(index, encoded, *bytes),
        _ => {}
    }
    if index == chunk.len() {
        more.push(Chunk::with(item, 0));
        return;
    }
    if index == 0 {
        more.push(std::mem::replace(chunk, Chunk::with(item, 0)));
        return;
    }
    let mut behind = chunk.split_off(index);
    match item {
        Item::Packed(encoded, bytes) if chunk.takes(item, fill) => chunk.push_back(encoded, *bytes),
        Item::Packed(encoded, bytes) if behind.takes(item, fill) => behind.push_front(encoded, *bytes),
        _ => more.push(Chunk::with(item, 0)),
    }
    more.push(behind);
}
