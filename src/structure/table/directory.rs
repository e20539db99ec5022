//! The directory: which segment is in charge of which hashes.
//!
//! `2^depth` words, indexed by the top `depth` bits of a key. A segment of depth `d` stands in `2^(depth - d)` words in
//! a row. When a segment has to be split beyond the depth, a directory twice as long takes over. It is filled in
//! slices, some words per insertion, so that no insertion pays for all: until it is complete, changes go to both.
//! What it is not: it does not own the blocks.

use super::segment::{Segment, empty_directory};
use std::ptr;

/// Bits of a key; the directory uses the upper ones.
pub(super) const KEY_BITS: u32 = 32;
/// Depth beyond which no segment is split: enough for 10^10 entries.
pub(super) const DEPTH_MAX: u32 = 24;
/// Words read of the old directory per slice.
const SLICE_WORDS: usize = 512;
/// Directories up to this depth are replaced at once.
const DEPTH_AT_ONCE: u32 = 9;

pub(super) struct Directory {
    /// `2^depth` words; the static empty directory while `segments_at_depth` is all zero.
    words: *mut Segment,
    /// `KEY_BITS - depth`.
    shift: u32,
    /// The directory that is going to take over.
    next: Option<Box<Next>>,
    segments_at_depth: [u32; DEPTH_MAX as usize + 1],
}

struct Next {
    words: Vec<Segment>,
    depth: u32,
}

// SAFETY: the words are owned by the directory alone; what they point to is the table's concern.
unsafe impl Send for Directory {}

impl Directory {
    pub(super) const fn new() -> Directory {
        Directory {
            words: empty_directory(),
            shift: KEY_BITS,
            next: None,
            segments_at_depth: [0; DEPTH_MAX as usize + 1],
        }
    }

    /// Makes a directory of some segments, which are in charge of all keys, in their order, out of the empty one.
    pub(super) fn open(&mut self, segments: &[Segment]) {
        assert!(!self.is_open());
        let depth = segments.iter().map(|segment| segment.depth()).max().expect("a segment at least");
        let mut words = Vec::with_capacity(1 << depth);
        for &segment in segments {
            words.resize(words.len() + (1 << (depth - segment.depth())), segment);
            self.segments_at_depth[segment.depth() as usize] += 1;
        }
        assert!(words.len() == 1 << depth);
        self.words = into_raw(words);
        self.shift = KEY_BITS - depth;
    }

    fn is_open(&self) -> bool {
        !ptr::eq(self.words, empty_directory())
    }

    #[inline(always)]
    pub(super) fn depth(&self) -> u32 {
        KEY_BITS - self.shift
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        1 << self.depth()
    }

    /// Index of the word for a key.
    #[inline(always)]
    pub(super) fn index(&self, key: u64) -> usize {
        key.wrapping_shr(self.shift) as usize
    }

    /// The segment in charge of a key (below `2^KEY_BITS`).
    #[inline(always)]
    pub(super) fn get(&self, key: u64) -> Segment {
        debug_assert!(key >> KEY_BITS == 0);
        // SAFETY: a key has KEY_BITS bits, so what the shift leaves of it is less than 2^depth.
        unsafe { *self.words.add(key.wrapping_shr(self.shift) as usize) }
    }

    /// The word at an index.
    #[inline(always)]
    pub(super) fn at(&self, index: usize) -> Segment {
        assert!(index < self.len());
        // SAFETY: in bounds, asserted above.
        unsafe { *self.words.add(index) }
    }

    /// Enters another block for the segment that is in charge of a key.
    pub(super) fn replace(&mut self, key: u64, segment: Segment) {
        debug_assert!(self.get(key).depth() == segment.depth());
        self.enter(key, segment);
    }

    /// Two segments take the place of the one in charge of `key`.
    pub(super) fn split(&mut self, key: u64, halves: [Segment; 2]) {
        let depth = self.get(key).depth();
        let [low, high] = halves;
        assert!(low.depth() == depth + 1 && high.depth() == depth + 1 && depth < DEPTH_MAX);
        if self.depth() <= depth {
            self.start_doubling();
            self.finish();
        } else if self.next.as_ref().is_some_and(|next| next.depth <= depth) {
            self.next = None;
        }
        let start = start_of(key, depth);
        self.enter(start, low);
        self.enter(start + width_of(depth + 1), high);
        self.segments_at_depth[depth as usize] -= 1;
        self.segments_at_depth[depth as usize + 1] += 2;
    }

    /// One segment takes the place of the one in charge of `key` and its neighbour of the same depth.
    pub(super) fn merge(&mut self, key: u64, segment: Segment) {
        let depth = self.get(key).depth();
        assert!(segment.depth() + 1 == depth);
        self.enter(key, segment);
        self.segments_at_depth[depth as usize] -= 2;
        self.segments_at_depth[depth as usize - 1] += 1;
        // One level more than needed is kept, so that splits and merges in turn do not move the directory.
        let unused = self.depth();
        if unused >= 2
            && self.next.is_none()
            && self.segments_at_depth[unused as usize] == 0
            && self.segments_at_depth[unused as usize - 1] == 0
        {
            self.start(unused - 1);
        }
    }

    /// Writes a segment's words, here and in the directory to come.
    fn enter(&mut self, key: u64, segment: Segment) {
        let start = start_of(key, segment.depth());
        let first = (start >> self.shift) as usize;
        let end = first + (1 << (self.depth() - segment.depth()));
        assert!(end <= self.len());
        // SAFETY: in bounds, asserted above; the directory is open, since segments are entered.
        unsafe { std::slice::from_raw_parts_mut(self.words.add(first), end - first) }.fill(segment);
        if let Some(next) = &mut self.next {
            let first = (start >> (KEY_BITS - next.depth)) as usize;
            let end = first + (1 << (next.depth - segment.depth()));
            let copied = next.words.len();
            next.words[first.min(copied)..end.min(copied)].fill(segment);
        }
    }

    /// Begins to move to a directory of twice the length, unless that goes on already.
    pub(super) fn start_doubling(&mut self) {
        let depth = self.depth() + 1;
        assert!(depth <= DEPTH_MAX);
        if self.next.as_ref().is_none_or(|next| next.depth != depth) {
            self.start(depth);
        }
    }

    fn start(&mut self, depth: u32) {
        assert!(self.is_open());
        self.next = Some(Box::new(Next { words: Vec::with_capacity(1 << depth), depth }));
        if depth <= DEPTH_AT_ONCE {
            self.finish();
        }
    }

    /// Whether `advance` has something to do.
    #[inline(always)]
    pub(super) fn is_moving(&self) -> bool {
        self.next.is_some()
    }

    /// Copies one slice into the directory to come, which takes over if that was the last.
    #[cold]
    pub(super) fn advance(&mut self) {
        let (len, depth) = (self.len(), self.depth());
        let Some(next) = &mut self.next else { return };
        // SAFETY: the directory is open, since it moves: `len` words.
        let words = unsafe { std::slice::from_raw_parts(self.words, len) };
        if next.depth > depth {
            let first = next.words.len() / 2;
            for &word in &words[first..len.min(first + SLICE_WORDS)] {
                next.words.push(word);
                next.words.push(word);
            }
        } else {
            let first = next.words.len() * 2;
            next.words.extend(words[first..len.min(first + SLICE_WORDS)].iter().step_by(2));
        }
        if next.words.len() == 1 << next.depth {
            let next = self.next.take().expect("just used");
            self.free();
            self.words = into_raw(next.words);
            self.shift = KEY_BITS - next.depth;
        }
    }

    fn finish(&mut self) {
        while self.is_moving() {
            self.advance();
        }
    }

    /// Bytes of heap.
    pub(super) fn memory_bytes(&self) -> usize {
        let next = self.next.as_ref().map_or(0, |next| next.words.capacity());
        (next + if self.is_open() { self.len() } else { 0 }) * size_of::<Segment>()
    }

    /// Number of segments.
    pub(super) fn segments(&self) -> usize {
        self.segments_at_depth.iter().map(|&of_depth| of_depth as usize).sum()
    }

    fn free(&mut self) {
        if self.is_open() {
            // SAFETY: made by `into_raw` from as many words.
            drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(self.words, self.len())) });
            self.words = empty_directory();
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.free();
    }
}

fn into_raw(words: Vec<Segment>) -> *mut Segment {
    Box::into_raw(words.into_boxed_slice()).cast()
}

/// Number of keys that a segment of the depth is in charge of.
pub(super) fn width_of(depth: u32) -> u64 {
    1 << (KEY_BITS - depth)
}

/// The first key of the segment of the depth that is in charge of `key`.
pub(super) fn start_of(key: u64, depth: u32) -> u64 {
    key & !(width_of(depth) - 1)
}
