//! One segment: a block of cache-line buckets, and the packed word by which the directory knows it.
//!
//! What it is not: it does not know hashes beyond the tag, it never touches an entry, it does not count.
//!
//! ```text
//! word    63      56 55    48 47                          6 5     0
//!        ┌──────────┬────────┬─────────────────────────────┬───────┐
//!        │ homes    │ others │ address of bucket 0         │ depth │   others = 1 + buckets of the stash
//!        └──────────┴────────┴─────────────────────────────┴───────┘
//! slot    63            48 47                           3 2       0
//!        ┌────────────────┬──────────────────────────────┬─────────┐
//!        │ tag, never 0   │ payload, never 0             │ ahead   │   empty slot = 0
//!        └────────────────┴──────────────────────────────┴─────────┘
//! bucket  8 slots = one cache line, used slots first:  s0 s1 s2 s3 s4 0 0 0
//! block   homes + 1 buckets and the stash:             b0 b1 b2 … b(homes) stash stash
//! ```
//!
//! The home of a tag is `tag * homes >> 16`. What always holds for an entry with home `h`:
//! 1. it lies in bucket `h`, in bucket `h + 1`, or in the stash;
//! 2. if it lies in the stash, bucket `h` is full and marked.
//!
//! A bucket is marked by the order of its last two slots: the tag of slot 6 is not less than that of slot 7. That says
//! something of full buckets only, and (2) asks no more; a removal from a marked bucket therefore takes an entry back
//! from the stash. Two equal tags have no order: such a bucket counts as marked, and its stash is looked at in vain.
//! All that is decided by tags: nothing here, except what the caller's closures do, touches an entry.

#![allow(unsafe_code)]

use super::directory::KEY_BITS;
use std::alloc::{self, Layout};
use std::ptr;

/// Slots of a bucket: 8 × 8 bytes is one cache line.
pub(super) const SLOTS: usize = 8;
/// Bits of a slot that hold the payload.
pub(super) const PAYLOAD_MASK: u64 = (1 << 48) - 8;
/// Bits of the tag.
pub(super) const TAG_BITS: u32 = 16;

const BUCKET_BYTES: usize = 64;
const HOMES_SHIFT: u32 = 56;
const TAIL_SHIFT: u32 = 48;
const BLOCK_MASK: usize = 0x0000_ffff_ffff_ffc0;
const DEPTH_MASK: usize = 0x3f;

const _: () = assert!(usize::BITS == 64, "payloads, pointers and packed words need 64 bits");

/// Buckets of a block, per size class. A block grows class by class; a full block of the last class is split.
///
/// The allocator (mimalloc) has four size classes per doubling. Powers of two up to 4 KiB lie there on their natural
/// alignment; for the others it adds 63 bytes to find a 64-byte boundary, so they ask for one bucket less than the
/// allocator's class holds. It ends before the class of 8 KiB, of which only seven fit into a page of 64 KiB.
pub(super) const CLASS_BUCKETS: [u8; 19] =
    [2, 4, 5, 6, 8, 11, 13, 16, 19, 23, 27, 32, 39, 47, 55, 64, 79, 95, BUCKETS_MAX as u8];
/// Buckets of the largest block.
pub(super) const BUCKETS_MAX: usize = 111;
/// Slots of the largest block.
const SEGMENT_SLOTS_MAX: usize = BUCKETS_MAX * SLOTS;

/// The smallest class of at least so many buckets; the last one where there is none.
pub(super) fn class_of(buckets: usize) -> usize {
    CLASS_BUCKETS.iter().position(|&of_class| buckets <= of_class as usize).unwrap_or(CLASS_BUCKETS.len() - 1)
}

/// Buckets of the stash in a block of so many buckets. Blocks of few buckets fill well without.
fn stash_of(buckets: usize) -> usize {
    match buckets {
        0..8 => 0,
        8..36 => 1,
        _ => 2,
    }
}

/// How many buckets to either side an insertion may shift entries.
const REACH: usize = 5;

/// Eight slots in one cache line, used ones first.
#[repr(C, align(64))]
pub(super) struct Bucket {
    pub(super) slots: [u64; SLOTS],
}

/// A set of slots of one bucket, or of two in a row: bit `n` stands for slot `n`.
#[derive(Clone)]
pub(super) struct SlotSet(u32);

impl SlotSet {
    /// The lowest slot of a set that is not empty.
    #[inline(always)]
    pub(super) fn first(&self) -> usize {
        debug_assert!(self.0 != 0);
        self.0.trailing_zeros() as usize
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

impl Iterator for SlotSet {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// The tags of eight slots, for comparison all at once.
#[derive(Clone, Copy)]
struct Tags {
    #[cfg(target_arch = "x86_64")]
    lanes: std::arch::x86_64::__m128i,
    #[cfg(not(target_arch = "x86_64"))]
    lanes: [u16; SLOTS],
}

/// The outcome of a comparison: all ones in the lanes where it holds.
type Lanes = Tags;

#[cfg(target_arch = "x86_64")]
impl Tags {
    #[inline(always)]
    fn of(bucket: &Bucket) -> Tags {
        use std::arch::x86_64::*;
        let pairs = bucket.slots.as_ptr().cast::<__m128>();
        // SAFETY: a bucket is 64 bytes, aligned to 64: four aligned vectors, and SSE2 belongs to x86_64.
        unsafe {
            // The upper halves of the slots, then the upper halves of those.
            let upper = |pair: usize| {
                let (first, second) = (_mm_load_ps(pairs.add(pair).cast()), _mm_load_ps(pairs.add(pair + 1).cast()));
                _mm_srai_epi32::<16>(_mm_castps_si128(_mm_shuffle_ps::<0b11_01_11_01>(first, second)))
            };
            Tags { lanes: _mm_packs_epi32(upper(0), upper(2)) }
        }
    }

    #[inline(always)]
    fn equal(self, tag: u16) -> Lanes {
        use std::arch::x86_64::*;
        // SAFETY: SSE2 belongs to x86_64.
        Tags { lanes: unsafe { _mm_cmpeq_epi16(self.lanes, _mm_set1_epi16(tag as i16)) } }
    }

    #[inline(always)]
    fn at_home(self, home: usize, homes: usize) -> Lanes {
        use std::arch::x86_64::*;
        // SAFETY: SSE2 belongs to x86_64.
        unsafe {
            // The high half of the product of 16 by 16 bits is `home_of`. Empty slots are not at home anywhere.
            let of_tags = _mm_mulhi_epu16(self.lanes, _mm_set1_epi16(homes as i16));
            let equal = _mm_cmpeq_epi16(of_tags, _mm_set1_epi16(home as i16));
            Tags { lanes: _mm_andnot_si128(self.equal(0).lanes, equal) }
        }
    }

    /// Slots 0 to 7 from `first`, 8 to 15 from `second`.
    #[inline(always)]
    fn set(first: Lanes, second: Lanes) -> SlotSet {
        use std::arch::x86_64::*;
        // SAFETY: SSE2 belongs to x86_64.
        SlotSet(unsafe { _mm_movemask_epi8(_mm_packs_epi16(first.lanes, second.lanes)) as u32 })
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Tags {
    #[inline(always)]
    fn of(bucket: &Bucket) -> Tags {
        Tags { lanes: bucket.slots.map(tag_of_slot) }
    }

    fn map(self, holds: impl Fn(u16) -> bool) -> Lanes {
        Tags { lanes: self.lanes.map(|tag| if holds(tag) { u16::MAX } else { 0 }) }
    }

    #[inline(always)]
    fn equal(self, tag: u16) -> Lanes {
        self.map(|of_slot| of_slot == tag)
    }

    #[inline(always)]
    fn at_home(self, home: usize, homes: usize) -> Lanes {
        self.map(|of_slot| of_slot != 0 && home_of(of_slot, homes) == home)
    }

    #[inline(always)]
    fn set(first: Lanes, second: Lanes) -> SlotSet {
        let bits = |lanes: [u16; SLOTS]| (0..SLOTS).map(|slot| (lanes[slot] as u32 & 1) << slot).sum::<u32>();
        SlotSet(bits(first.lanes) | bits(second.lanes) << SLOTS)
    }
}

/// A slot for an entry in a segment of the depth.
///
/// `ahead` holds the two bits of the key after those by which the segment was chosen, as `1bb`. A split uses up one,
/// and leaves `01b`, then `001`: nothing known. Half of the entries of a segment have come since it was split last, a
/// quarter before that, so three quarters of a split need not look at the entries.
#[inline(always)]
pub(super) fn slot_of(tag: u16, payload: u64, key: u64, depth: u32) -> u64 {
    let ahead = 4 | key.wrapping_shr(KEY_BITS.wrapping_sub(2).wrapping_sub(depth)) & 3;
    (tag as u64) << (64 - TAG_BITS) | payload | ahead
}

/// Whether a slot does not know in which half of its segment it will be.
pub(super) fn is_half_unknown(slot: u64) -> bool {
    slot & 0b110 == 0
}

/// In which half of its segment a slot will be, and the slot as it will be there; the half must be known.
pub(super) fn to_half(slot: u64) -> (usize, u64) {
    debug_assert!(!is_half_unknown(slot));
    let (half, ahead) = if slot & 0b100 != 0 { (slot >> 1 & 1, 0b010 | slot & 1) } else { (slot & 1, 0b001) };
    (half as usize, slot & !0b111 | ahead)
}

/// A slot of one half as it will be in the whole.
pub(super) fn to_whole(half: usize, slot: u64) -> u64 {
    let half = half as u64;
    let ahead = match slot & 0b111 {
        ahead @ 0b100.. => 0b100 | half << 1 | ahead >> 1 & 1,
        ahead @ 0b010.. => 0b100 | half << 1 | ahead & 1,
        _ => 0b010 | half,
    };
    slot & !0b111 | ahead
}

/// The tag of a slot; 0 for an empty one.
#[inline(always)]
pub(super) fn tag_of_slot(slot: u64) -> u16 {
    (slot >> (64 - TAG_BITS)) as u16
}

/// The bucket, out of `homes`, in which a tag is at home.
#[inline(always)]
pub(super) fn home_of(tag: u16, homes: usize) -> usize {
    (tag as usize).wrapping_mul(homes) >> TAG_BITS
}

/// The smallest tag that is at home in bucket `home` or above; 65536 for `home == homes`.
pub(super) fn first_tag_of(home: usize, homes: usize) -> u32 {
    ((home << TAG_BITS).div_ceil(homes)) as u32
}

impl Bucket {
    /// A full bucket has no free slot. Used slots come first, so the last one tells.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.slots[SLOTS - 1] != 0
    }

    /// Number of used slots.
    #[inline(always)]
    pub(super) fn used(&self) -> usize {
        SlotSet(self.with_tag(0).0 | 1 << SLOTS).first()
    }

    /// Whether entries that are at home here lie in the stash. Said by the order of the last two tags of a full
    /// bucket; "yes" without meaning it if these are equal, and have no order.
    #[inline(always)]
    pub(super) fn is_marked(&self) -> bool {
        let [.., before_last, last] = self.slots;
        // Full and before_last >= last: an empty last slot makes the left side the largest tag.
        tag_of_slot(last).wrapping_sub(1) < tag_of_slot(before_last)
    }

    /// Arranges a full bucket so that `is_marked` says so, or not.
    fn set_marked(&mut self, marked: bool) {
        debug_assert!(self.is_full());
        if self.is_marked() != marked {
            self.slots.swap(SLOTS - 2, SLOTS - 1);
        }
    }

    /// Overwrites a slot of a full bucket.
    fn overwrite(&mut self, index: usize, slot: u64) {
        let marked = self.is_marked();
        self.slots[index] = slot;
        self.set_marked(marked);
    }

    /// Puts a slot into the first free one, behind `used` others.
    #[inline(always)]
    fn place(&mut self, used: usize, slot: u64) {
        self.slots[used] = slot;
        if used == SLOTS - 1 {
            self.set_marked(false);
        }
    }

    /// Empties a slot; the last used one takes its place.
    #[inline(always)]
    fn close(&mut self, hole: usize) {
        let last = self.used() - 1;
        self.slots[hole] = self.slots[last];
        self.slots[last] = 0;
    }

    /// Slots that carry the tag; for tag 0 the empty ones.
    #[inline(always)]
    fn with_tag(&self, tag: u16) -> SlotSet {
        let lanes = Tags::of(self).equal(tag);
        SlotSet(Tags::set(lanes, lanes).0 & 0xff)
    }

    /// Used slots whose tag is at home in bucket `home` of `homes`.
    #[inline(always)]
    fn with_home(&self, home: usize, homes: usize) -> SlotSet {
        let lanes = Tags::of(self).at_home(home, homes);
        SlotSet(Tags::set(lanes, lanes).0 & 0xff)
    }
}

/// A segment as the directory knows it: block address, number of homes and local depth in one word.
///
/// It is a plain copy of that word, without a lifetime: every method that follows the address is unsafe, and asks
/// that the block be alive and not borrowed otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    word: *mut u8,
}

// SAFETY: a word is only a value; the table that owns the block is what may or may not be shared.
unsafe impl Sync for Segment {}
// SAFETY: as above.
unsafe impl Send for Segment {}

impl Segment {
    /// A zeroed block of the class. The caller owns it until `free`.
    pub(super) fn allocate(class: usize, depth: u32) -> Segment {
        let buckets = CLASS_BUCKETS[class] as usize;
        let tail = 1 + stash_of(buckets);
        let layout = Segment::layout(buckets);
        // SAFETY: the layout is never empty.
        let block = unsafe { alloc::alloc_zeroed(layout) };
        if block.is_null() {
            alloc::handle_alloc_error(layout);
        }
        // Addresses of user space fit into 48 bits; with a wider one the packing would lose bits.
        assert!(block.addr() & !BLOCK_MASK == 0);
        assert!(depth as usize <= DEPTH_MASK);
        let bits = (buckets - tail) << HOMES_SHIFT | tail << TAIL_SHIFT | depth as usize;
        Segment { word: block.map_addr(|address| address | bits) }
    }

    /// A segment of one home and depth 0 over a block that nobody writes to.
    pub(super) const fn over(block: &'static [Bucket; 2]) -> Segment {
        let bits = 1 << HOMES_SHIFT | 1 << TAIL_SHIFT;
        Segment { word: (&raw const *block).cast::<u8>().wrapping_add(bits).cast_mut() }
    }

    fn layout(buckets: usize) -> Layout {
        Layout::from_size_align(buckets * BUCKET_BYTES, BUCKET_BYTES).expect("a block is at most 8 KiB")
    }

    /// Number of buckets in which tags can be at home.
    #[inline(always)]
    pub(super) fn homes(self) -> usize {
        self.word.addr() >> HOMES_SHIFT
    }

    /// Number of buckets of the block.
    #[inline(always)]
    pub(super) fn buckets(self) -> usize {
        self.homes() + (self.word.addr() >> TAIL_SHIFT & 0xff)
    }

    /// Hash bits that the directory uses to tell this segment from the others.
    #[inline(always)]
    pub(super) fn depth(self) -> u32 {
        (self.word.addr() & DEPTH_MASK) as u32
    }

    /// Address of a bucket; an index below `buckets`, which the caller has to keep to before following it.
    #[inline(always)]
    pub(super) fn address(self, bucket: usize) -> *mut Bucket {
        self.word.map_addr(|address| address & BLOCK_MASK).wrapping_add(bucket.wrapping_mul(BUCKET_BYTES)).cast()
    }

    /// # Safety
    /// The block is alive, nobody writes to it while the reference lives, `bucket < buckets`.
    #[inline(always)]
    pub(super) unsafe fn bucket<'a>(self, bucket: usize) -> &'a Bucket {
        debug_assert!(bucket < self.buckets());
        // SAFETY: by contract.
        unsafe { &*self.address(bucket) }
    }

    /// # Safety
    /// The block is alive, nobody else reads or writes it while the reference lives, `bucket < buckets`.
    #[inline(always)]
    unsafe fn bucket_mut<'a>(self, bucket: usize) -> &'a mut Bucket {
        debug_assert!(bucket < self.buckets());
        // SAFETY: by contract.
        unsafe { &mut *self.address(bucket) }
    }

    /// Reads the slot at `index` = bucket × 8 + slot.
    ///
    /// # Safety
    /// The block is alive; `index` lies within it.
    #[inline(always)]
    pub(super) unsafe fn slot(self, index: usize) -> u64 {
        // SAFETY: by contract.
        unsafe { self.bucket(index / SLOTS).slots[index % SLOTS] }
    }

    /// Writes a payload into a used slot, under the same tag.
    ///
    /// # Safety
    /// The block is alive and not borrowed; `index` lies within it.
    #[inline(always)]
    pub(super) unsafe fn set_payload(self, index: usize, payload: u64) {
        // SAFETY: by contract.
        let slot = unsafe { &mut self.bucket_mut(index / SLOTS).slots[index % SLOTS] };
        *slot = *slot & !PAYLOAD_MASK | payload;
    }

    /// Number of entries.
    ///
    /// # Safety
    /// The block is alive.
    pub(super) unsafe fn count(self) -> usize {
        // SAFETY: all buckets of a live block.
        (0..self.buckets()).map(|bucket| unsafe { self.bucket(bucket).used() }).sum()
    }

    /// The first slot under the tag for whose payload `equal` says yes, as bucket × 8 + slot, with the payload.
    ///
    /// # Safety
    /// The block is alive and `equal` does not change it.
    #[inline(always)]
    pub(super) unsafe fn find(self, tag: u16, mut equal: impl FnMut(u64) -> bool) -> Option<(usize, u64)> {
        let home = home_of(tag, self.homes());
        // SAFETY: home < homes, and at least one bucket comes after the last home.
        let (bucket, right) = unsafe { (self.bucket(home), self.bucket(home.wrapping_add(1))) };
        // Both at once: which of them has the entry is anybody's guess, and a wrong one costs more than a second line.
        for index in Tags::set(Tags::of(bucket).equal(tag), Tags::of(right).equal(tag)) {
            // SAFETY: a slot of one of both buckets, which lie side by side.
            let payload = unsafe { *self.address(home).cast::<u64>().add(index) } & PAYLOAD_MASK;
            if equal(payload) {
                return Some((home.wrapping_mul(SLOTS).wrapping_add(index), payload));
            }
        }
        if bucket.is_marked() {
            // SAFETY: by contract of this function.
            return unsafe { self.find_in_stash(tag, &mut equal) };
        }
        None
    }

    /// # Safety
    /// As for `find`.
    #[cold]
    #[inline(never)]
    unsafe fn find_in_stash(self, tag: u16, equal: &mut impl FnMut(u64) -> bool) -> Option<(usize, u64)> {
        for index in self.stash() {
            // SAFETY: a bucket of the block.
            let bucket = unsafe { self.bucket(index) };
            for slot in bucket.with_tag(tag) {
                let payload = bucket.slots[slot] & PAYLOAD_MASK;
                if equal(payload) {
                    return Some((index * SLOTS + slot, payload));
                }
            }
        }
        None
    }

    /// The buckets behind those in which entries lie by their tags.
    #[inline(always)]
    pub(super) fn stash(self) -> std::ops::Range<usize> {
        self.homes() + 1..self.buckets()
    }

    /// Puts a slot (tag and payload) in. False, and nothing done, if there is no room for it within reach.
    ///
    /// # Safety
    /// The block is alive and not borrowed.
    #[inline(always)]
    pub(super) unsafe fn insert(self, slot: u64) -> bool {
        let home = home_of(tag_of_slot(slot), self.homes());
        // SAFETY: home < homes, and at least one bucket comes after the last home.
        let (bucket, right) = unsafe { (self.bucket(home), self.bucket(home.wrapping_add(1))) };
        let empty = Tags::set(Tags::of(bucket).equal(0), Tags::of(right).equal(0)).0;
        let in_home = SlotSet(empty | 1 << SLOTS).first();
        let in_right = SlotSet(empty >> SLOTS | 1 << SLOTS).first();
        let (to, used) = if in_right < in_home { (home.wrapping_add(1), in_right) } else { (home, in_home) };
        if used < SLOTS {
            // SAFETY: one of these two.
            unsafe { self.bucket_mut(to) }.place(used, slot);
            return true;
        }
        // SAFETY: by contract.
        unsafe { self.insert_by_shifting(home, slot) }
    }

    /// Puts a slot in whose home and the bucket after it are full: makes room by shifting entries between their two
    /// buckets, to the right or to the left, or else takes a slot of the stash.
    ///
    /// # Safety
    /// The block is alive and not borrowed.
    #[cold]
    #[inline(never)]
    unsafe fn insert_by_shifting(self, home: usize, slot: u64) -> bool {
        let homes = self.homes();
        let mut to_right = [0u8; REACH];
        let mut to_left = [0u8; REACH];
        let (mut is_right_open, mut is_left_open) = (true, true);
        for distance in 0..REACH {
            // Entries of bucket `from` that are at home there may go on to the next; nothing is in the last bucket.
            let from = home + 1 + distance;
            is_right_open = is_right_open && from < homes;
            if is_right_open {
                // SAFETY: from + 1 <= homes < buckets.
                let (bucket, next) = unsafe { (self.bucket(from), self.bucket(from + 1)) };
                let set = bucket.with_home(from, homes);
                is_right_open = !set.is_empty();
                to_right[distance] = set.0.trailing_zeros() as u8;
                if is_right_open && !next.is_full() {
                    // SAFETY: buckets up to from + 1 exist.
                    unsafe { self.shift(slot, (home + 1..=from).zip(&to_right), from + 1) };
                    return true;
                }
            }
            // Those that came from the bucket before may go back.
            is_left_open = is_left_open && distance < home;
            if is_left_open {
                let from = home - distance;
                // SAFETY: 0 < from < homes.
                let (bucket, next) = unsafe { (self.bucket(from), self.bucket(from - 1)) };
                let set = bucket.with_home(from - 1, homes);
                is_left_open = !set.is_empty();
                to_left[distance] = set.0.trailing_zeros() as u8;
                if is_left_open && !next.is_full() {
                    // SAFETY: buckets from - 1 to home exist.
                    unsafe { self.shift(slot, (from..=home).rev().zip(&to_left), from - 1) };
                    return true;
                }
            }
        }
        for index in self.stash() {
            // SAFETY: a bucket of the block.
            let bucket = unsafe { self.bucket_mut(index) };
            if !bucket.is_full() {
                bucket.place(bucket.used(), slot);
                // SAFETY: home < homes.
                unsafe { self.bucket_mut(home) }.set_marked(true);
                return true;
            }
        }
        false
    }

    /// Puts `slot` into the first bucket of the way instead of an entry that goes to the second instead of … up to
    /// bucket `end`, which has room.
    ///
    /// # Safety
    /// The block is alive and not borrowed; all buckets exist.
    unsafe fn shift<'a>(self, slot: u64, way: impl Iterator<Item = (usize, &'a u8)>, end: usize) {
        let mut carried = slot;
        for (index, &of_index) in way {
            // SAFETY: by contract.
            let bucket = unsafe { self.bucket_mut(index) };
            let next = bucket.slots[of_index as usize];
            bucket.overwrite(of_index as usize, carried);
            carried = next;
        }
        // SAFETY: by contract.
        let bucket = unsafe { self.bucket_mut(end) };
        bucket.place(bucket.used(), carried);
    }

    /// Takes the entry out of the slot at `index` = bucket × 8 + slot. Other entries may move.
    ///
    /// # Safety
    /// The block is alive and not borrowed; `index` is a used slot of it.
    #[inline]
    pub(super) unsafe fn remove(self, index: usize) {
        let (at, hole) = (index / SLOTS, index % SLOTS);
        // SAFETY: by contract.
        let bucket = unsafe { self.bucket_mut(at) };
        if bucket.is_marked() || self.homes() < at {
            // SAFETY: by contract.
            return unsafe { self.remove_with_stash(at, hole) };
        }
        bucket.close(hole);
    }

    /// `remove` where the stash is concerned.
    ///
    /// # Safety
    /// As for `remove`.
    #[cold]
    #[inline(never)]
    unsafe fn remove_with_stash(self, at: usize, hole: usize) {
        let homes = self.homes();
        // SAFETY: by contract.
        let bucket = unsafe { self.bucket_mut(at) };
        if homes < at {
            let home = home_of(tag_of_slot(bucket.slots[hole]), homes);
            bucket.close(hole);
            // SAFETY: by contract.
            unsafe { self.unmark(home) };
            return;
        }
        for index in self.stash() {
            // SAFETY: a bucket of the block, other than `bucket`.
            let stash = unsafe { self.bucket_mut(index) };
            let set = stash.with_home(at, homes);
            if !set.is_empty() {
                bucket.overwrite(hole, stash.slots[set.first()]);
                stash.close(set.first());
                // SAFETY: by contract.
                unsafe { self.unmark(at) };
                return;
            }
        }
        bucket.close(hole);
    }

    /// Takes the mark off a full home bucket unless entries that are at home there lie in the stash.
    ///
    /// # Safety
    /// The block is alive and not borrowed; bucket `home` is full.
    unsafe fn unmark(self, home: usize) {
        let homes = self.homes();
        // SAFETY: buckets of the block.
        let is_empty = self.stash().all(|index| unsafe { self.bucket(index) }.with_home(home, homes).is_empty());
        if is_empty {
            // SAFETY: home < homes.
            unsafe { self.bucket_mut(home) }.set_marked(false);
        }
    }

    /// Visits the slots of all entries at home in a bucket.
    ///
    /// # Safety
    /// The block is alive and `visit` does not change it; `home < homes`.
    #[inline]
    pub(super) unsafe fn visit_home(self, home: usize, mut visit: impl FnMut(u64)) {
        let homes = self.homes();
        let mut visit_bucket = |index| {
            // SAFETY: a bucket of the block.
            let bucket = unsafe { self.bucket(index) };
            for slot in bucket.with_home(home, homes) {
                visit(bucket.slots[slot]);
            }
        };
        visit_bucket(home);
        visit_bucket(home + 1);
        // SAFETY: home < homes.
        if unsafe { self.bucket(home) }.is_marked() {
            self.stash().for_each(visit_bucket);
        }
    }

    /// Appends all slots to `into`, in the order of buckets, after a change.
    ///
    /// # Safety
    /// The block is alive.
    pub(super) unsafe fn collect(self, into: &mut SlotList, change: impl Fn(u64) -> u64) {
        for index in 0..self.buckets() {
            // SAFETY: an existing bucket.
            let bucket = unsafe { self.bucket(index) };
            for &slot in &bucket.slots[..bucket.used()] {
                into.push(change(slot));
            }
        }
    }

    /// A new block of the class with these slots; those for which it has no room are added to `rest`.
    pub(super) fn build(class: usize, depth: u32, slots: &[u64], rest: &mut Vec<u64>) -> Segment {
        let segment = Segment::allocate(class, depth);
        let homes = segment.homes();
        let mut used = [0u8; BUCKETS_MAX + 1];
        let mut place = |slot: u64| {
            let home = home_of(tag_of_slot(slot), homes);
            let to = home + (used[home + 1] < used[home]) as usize;
            let of_bucket = used[to] as usize;
            if of_bucket < SLOTS {
                // SAFETY: the block is new, alive and ours; home + 1 is a bucket of it.
                unsafe { *segment.address(to).cast::<u64>().add(of_bucket) = slot };
                used[to] += 1;
            } else {
                rest.push(slot);
            }
        };
        slots.iter().for_each(|&slot| place(slot));
        for (home, &of_home) in used[..homes].iter().enumerate() {
            if of_home as usize == SLOTS {
                // SAFETY: as above.
                unsafe { segment.bucket_mut(home) }.set_marked(false);
            }
        }
        // SAFETY: as above.
        rest.retain(|&slot| !unsafe { segment.insert(slot) });
        segment
    }

    /// Gives the block back.
    ///
    /// # Safety
    /// The block came from `allocate`, is alive, and nobody uses it afterwards.
    pub(super) unsafe fn free(self) {
        // SAFETY: allocated with this layout.
        unsafe { alloc::dealloc(self.address(0).cast(), Segment::layout(self.buckets())) }
    }
}

/// Slots on their way from one block to another: on the stack, because two segments at most take part.
pub(super) struct SlotList {
    slots: [u64; SlotList::LEN_MAX],
    len: usize,
}

impl SlotList {
    /// A full segment and one entry more; two segments that are merged have fewer.
    const LEN_MAX: usize = SEGMENT_SLOTS_MAX + SLOTS;

    pub(super) fn new() -> SlotList {
        SlotList { slots: [0; SlotList::LEN_MAX], len: 0 }
    }

    pub(super) fn push(&mut self, slot: u64) {
        self.slots[self.len] = slot;
        self.len += 1;
    }

    pub(super) fn as_slice(&self) -> &[u64] {
        &self.slots[..self.len]
    }
}

/// Two buckets that stay empty: what a table without memory looks into.
pub(super) static EMPTY_BLOCK: [Bucket; 2] = [const { Bucket { slots: [0; SLOTS] } }; 2];

/// The directory of a table without memory.
pub(super) static EMPTY_DIRECTORY: [Segment; 1] = [Segment::over(&EMPTY_BLOCK)];

/// Address of the empty directory, in the type of a directory that may be written to; nobody does.
pub(super) const fn empty_directory() -> *mut Segment {
    ptr::from_ref(&EMPTY_DIRECTORY).cast_mut().cast()
}
