//! A leaf: some forty members with their scores, in order, in one block without gaps between them.
//!
//! ```text
//!  0      4      8     10     12             12+8n      12+9n      12+10n              used        block end
//! ┌──────┬──────┬──────┬──────┬───────────────┬──────────┬──────────┬───────────────────┬──────────┐
//! │ next │ prev │ n    │ used │ n scores      │ n finger-│ n lengths│ the members' bytes│ free     │
//! │ u32  │ u32  │ u16  │ u16  │ f64, rising   │ prints u8│ u8       │ one behind another│          │
//! └──────┴──────┴──────┴──────┴───────────────┴──────────┴──────────┴───────────────────┴──────────┘
//! length   0..=127  so many bytes stand here
//!          255      the member is longer: four bytes stand here, its number in the arena of long members
//! ```
//!
//! What is looked for lies together: a score is searched among scores (eight to a cache line), a member among
//! fingerprints (64 to a line), and only what is found is compared. A member's place is the sum of the lengths before
//! it. Inserting moves at most a block's bytes, some twenty nanoseconds.
//!
//! A block has the allocator's next size: it grows by an eighth to a fifth a time, and about 6 % of it are free.
//!
//! Not here: members longer than a leaf can hold, other leaves, what is to be done when a block is too large.

use crate::structure::allocation::allocated_bytes;
use std::ops::Range;

/// Longest member that stands in a leaf, in bytes.
pub(super) const INLINE_LEN_MAX: usize = 127;

/// What the length of a longer one says.
const LONG: u8 = 255;
/// Bytes of its number.
const LONG_BYTES: usize = 4;
/// Bytes before the scores.
const HEADER_BYTES: usize = 12;
/// Bytes of an entry besides its member's.
pub(super) const ENTRY_BYTES: usize = 10;
/// No leaf.
pub(super) const NONE: u32 = u32::MAX;

/// A member as it is stored in a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    /// Its bytes.
    Inline(&'a [u8]),
    /// Its number in the arena of long members.
    Long(u32),
}

/// A block; the empty one is nothing but a placeholder.
#[derive(Default)]
pub(super) struct Leaf(Box<[u8]>);

/// Entries of a leaf, as they lie in its block.
#[derive(Clone, Copy)]
struct Sections<'a> {
    scores: &'a [u8],
    fingerprints: &'a [u8],
    lengths: &'a [u8],
    bytes: &'a [u8],
}

/// Bytes that an entry of this length has among the members' bytes.
#[inline(always)]
fn stored_bytes(length: u8) -> u16 {
    if length == LONG { LONG_BYTES as u16 } else { u16::from(length) }
}

/// Bytes that entries of these lengths have there. Without checks for overflow, which there is none of in a block, so
/// that many are added at a time.
#[inline(always)]
fn stored_bytes_of(lengths: &[u8]) -> usize {
    usize::from(lengths.iter().fold(0u16, |sum, &length| sum.wrapping_add(stored_bytes(length))))
}

impl Leaf {
    /// A leaf without entries and neighbours.
    pub fn new() -> Leaf {
        Leaf::build(&[])
    }

    fn build(parts: &[Sections<'_>]) -> Leaf {
        let len: usize = parts.iter().map(|part| part.lengths.len()).sum();
        let bytes: usize = parts.iter().map(|part| part.bytes.len()).sum();
        let used = HEADER_BYTES + ENTRY_BYTES * len + bytes;
        let mut leaf = Leaf(vec![0; allocated_bytes(used)].into_boxed_slice());
        leaf.set_counts(len, used);
        leaf.set_next(NONE);
        leaf.set_prev(NONE);
        let mut at = HEADER_BYTES;
        for section in 0..4 {
            for part in parts {
                let from = [part.scores, part.fingerprints, part.lengths, part.bytes][section];
                leaf.0[at..at + from.len()].copy_from_slice(from);
                at += from.len();
            }
        }
        assert!(at == used);
        leaf
    }

    #[inline(always)]
    fn u16_at(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.0[at], self.0[at + 1]]))
    }

    #[inline(always)]
    fn u32_at(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    fn set_counts(&mut self, len: usize, used: usize) {
        assert!(len <= used && used <= self.0.len());
        self.0[8..10].copy_from_slice(&u16::try_from(len).expect("a leaf is small").to_le_bytes());
        self.0[10..12].copy_from_slice(&u16::try_from(used).expect("a leaf is small").to_le_bytes());
    }

    /// Entries.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.u16_at(8)
    }

    /// Bytes in use.
    #[inline(always)]
    pub fn used_bytes(&self) -> usize {
        self.u16_at(10)
    }

    /// Bytes of the block.
    #[inline(always)]
    pub fn block_bytes(&self) -> usize {
        self.0.len()
    }

    /// The leaf behind this one, or [`NONE`].
    #[inline(always)]
    pub fn next(&self) -> u32 {
        self.u32_at(0)
    }

    /// The leaf before it, or [`NONE`].
    #[inline(always)]
    pub fn prev(&self) -> u32 {
        self.u32_at(4)
    }

    pub fn set_next(&mut self, next: u32) {
        self.0[..4].copy_from_slice(&next.to_le_bytes());
    }

    pub fn set_prev(&mut self, prev: u32) {
        self.0[4..8].copy_from_slice(&prev.to_le_bytes());
    }

    fn fingerprints_range(&self) -> Range<usize> {
        let (start, len) = (HEADER_BYTES + 8 * self.len(), self.len());
        start..start + len
    }

    #[inline(always)]
    fn lengths(&self) -> &[u8] {
        let len = self.len();
        &self.0[HEADER_BYTES + 9 * len..HEADER_BYTES + 10 * len]
    }

    /// Where the members' bytes begin.
    #[inline(always)]
    fn bytes_start(&self) -> usize {
        HEADER_BYTES + ENTRY_BYTES * self.len()
    }

    fn sections(&self, entries: Range<usize>) -> Sections<'_> {
        let fingerprints = self.fingerprints_range().start;
        let bytes = self.offset(entries.start)..self.offset(entries.end);
        Sections {
            scores: &self.0[HEADER_BYTES + 8 * entries.start..HEADER_BYTES + 8 * entries.end],
            fingerprints: &self.0[fingerprints + entries.start..fingerprints + entries.end],
            lengths: &self.lengths()[entries],
            bytes: &self.0[bytes],
        }
    }

    /// The score of an entry.
    #[inline(always)]
    pub fn score(&self, index: usize) -> f64 {
        debug_assert!(index < self.len());
        let at = HEADER_BYTES + 8 * index;
        f64::from_le_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Gives an entry another score, which leaves it in its place.
    pub fn set_score(&mut self, index: usize, score: f64) {
        let at = HEADER_BYTES + 8 * index;
        self.0[at..at + 8].copy_from_slice(&score.to_le_bytes());
    }

    /// The number of entries at the beginning whose scores are as `is_before` says.
    #[inline]
    pub fn partition_scores(&self, is_before: impl Fn(f64) -> bool) -> usize {
        let len = self.len();
        let (scores, _) = self.0[HEADER_BYTES..HEADER_BYTES + 8 * len].as_chunks::<8>();
        scores.partition_point(|score| is_before(f64::from_le_bytes(*score)))
    }

    /// Indices of the entries with a fingerprint.
    #[inline]
    pub fn matches(&self, fingerprint: u8) -> impl Iterator<Item = usize> + '_ {
        memchr::memchr_iter(fingerprint, &self.0[self.fingerprints_range()])
    }

    /// Where the bytes of an entry begin; for `len`, where those of the last end.
    #[inline]
    pub fn offset(&self, index: usize) -> usize {
        self.bytes_start() + stored_bytes_of(&self.lengths()[..index])
    }

    /// Bytes that an entry has among the members' bytes.
    #[inline]
    pub fn stored_bytes(&self, index: usize) -> usize {
        usize::from(stored_bytes(self.lengths()[index]))
    }

    /// The member of an entry whose bytes begin at `offset`.
    #[inline]
    pub fn stored_at(&self, index: usize, offset: usize) -> Stored<'_> {
        let length = self.lengths()[index];
        if length == LONG {
            Stored::Long(self.u32_at(offset))
        } else {
            Stored::Inline(&self.0[offset..offset + usize::from(length)])
        }
    }

    /// The member of an entry.
    pub fn stored(&self, index: usize) -> Stored<'_> {
        self.stored_at(index, self.offset(index))
    }

    /// The index, in a range of entries, of the first whose member is not as `is_before` says.
    pub fn partition_members(&self, range: Range<usize>, mut is_before: impl FnMut(Stored<'_>) -> bool) -> usize {
        let (mut first, mut end) = (range.start, range.end);
        let mut first_offset = self.offset(first);
        while first < end {
            let middle = first.midpoint(end);
            let offset = first_offset + stored_bytes_of(&self.lengths()[first..middle]);
            if is_before(self.stored_at(middle, offset)) {
                first = middle + 1;
                first_offset = offset + self.stored_bytes(middle);
            } else {
                end = middle;
            }
        }
        first
    }

    /// Puts an entry in before the one at `index`.
    pub fn insert(&mut self, index: usize, score: f64, fingerprint: u8, member: Stored<'_>) {
        let number;
        let (length, bytes): (u8, &[u8]) = match member {
            Stored::Inline(bytes) => {
                assert!(bytes.len() <= INLINE_LEN_MAX);
                (bytes.len() as u8, bytes)
            }
            Stored::Long(of_member) => {
                number = of_member.to_le_bytes();
                (LONG, &number)
            }
        };
        let (len, used) = (self.len(), self.used_bytes());
        let used_after = used + ENTRY_BYTES + bytes.len();
        let offset = self.offset(index);
        if self.0.len() < used_after {
            let mut larger = vec![0; allocated_bytes(used_after)];
            larger[..used].copy_from_slice(&self.0[..used]);
            self.0 = larger.into_boxed_slice();
        }
        let fingerprints = HEADER_BYTES + 8 * len;
        let lengths = fingerprints + len;
        let start = lengths + len;
        let block = &mut self.0[..used_after];
        // From the back to the front: each part goes as far as what is put in before it is long.
        block.copy_within(offset..used, offset + 10 + bytes.len());
        block.copy_within(start..offset, start + 10);
        block.copy_within(lengths + index..start, lengths + index + 10);
        block.copy_within(fingerprints + index..lengths + index, fingerprints + index + 9);
        block.copy_within(HEADER_BYTES + 8 * index..fingerprints + index, HEADER_BYTES + 8 * index + 8);
        block[HEADER_BYTES + 8 * index..][..8].copy_from_slice(&score.to_le_bytes());
        block[fingerprints + index + 8] = fingerprint;
        block[lengths + index + 9] = length;
        block[offset + 10..][..bytes.len()].copy_from_slice(bytes);
        self.set_counts(len + 1, used_after);
    }

    /// Takes an entry out; the block is made smaller when a quarter of it is free.
    pub fn remove(&mut self, index: usize) {
        let (len, used) = (self.len(), self.used_bytes());
        let offset = self.offset(index);
        let stored = self.stored_bytes(index);
        let fingerprints = HEADER_BYTES + 8 * len;
        let lengths = fingerprints + len;
        let start = lengths + len;
        let block = &mut self.0[..used];
        block.copy_within(HEADER_BYTES + 8 * index + 8..fingerprints + index, HEADER_BYTES + 8 * index);
        block.copy_within(fingerprints + index + 1..lengths + index, fingerprints + index - 8);
        block.copy_within(lengths + index + 1..start, lengths + index - 9);
        block.copy_within(start..offset, start - 10);
        block.copy_within(offset + stored..used, offset - 10);
        let used_after = used - ENTRY_BYTES - stored;
        self.set_counts(len - 1, used_after);
        let fitting = allocated_bytes(used_after);
        if fitting <= self.0.len() / 4 * 3 {
            self.0 = self.0[..fitting].into();
        }
    }

    /// Takes the entries from `index` on out, as a leaf without neighbours.
    pub fn split_off(&mut self, index: usize) -> Leaf {
        let right = Leaf::build(&[self.sections(index..self.len())]);
        let mut left = Leaf::build(&[self.sections(0..index)]);
        left.set_next(self.next());
        left.set_prev(self.prev());
        *self = left;
        right
    }

    /// The entries of two leaves, without neighbours.
    pub fn joined(&self, right: &Leaf) -> Leaf {
        Leaf::build(&[self.sections(0..self.len()), right.sections(0..right.len())])
    }

    /// The index at which a block of two halves of the same size would be divided.
    pub fn middle(&self) -> usize {
        let half = (self.used_bytes() - HEADER_BYTES) / 2;
        let mut bytes = 0;
        let index = self.lengths().iter().position(|&length| {
            bytes += ENTRY_BYTES + usize::from(stored_bytes(length));
            half < bytes
        });
        index.unwrap_or(0).clamp(1, self.len() - 1)
    }
}
