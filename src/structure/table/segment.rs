//! One segment: a block of cache-line buckets, and the packed word by which the directory knows it.
//!
//! What it is not: it does not know hashes beyond the tag, it never touches an entry, it does not count.
//!
//! ```text
//! word    63      56 55    48 47                          6 5     0
//!        ┌──────────┬────────┬─────────────────────────────┬───────┐
//!        │ homes    │   0    │ address of bucket 0         │ depth │
//!        └──────────┴────────┴─────────────────────────────┴───────┘
//! slot    63            48 47                                     0
//!        ┌────────────────┬────────────────────────────────────────┐
//!        │ tag, never 0   │ payload, never 0                       │   empty slot = 0
//!        └────────────────┴────────────────────────────────────────┘
//! bucket  8 slots = one cache line, used slots first:  s0 s1 s2 s3 s4 0 0 0
//! block   homes + 1 buckets:                           b0 b1 b2 … b(homes)
//! ```
//!
//! The home of a tag is `tag * homes >> 16`. What always holds for an entry with home `h`:
//! 1. it lies in bucket `h` or in bucket `h + 1`;
//! 2. it lies in `h + 1` only while bucket `h` is full.
//!
//! So a search that meets a free slot in the home bucket is over after one cache line. An insertion into two full
//! buckets shifts one entry that is at home in `h + 1` a bucket to the right, and so on up to the first bucket with a
//! free slot; a removal from a full bucket takes back what had been shifted out of it. Both need only tags. By (2)
//! an entry lies as far left as it can, so an insertion fails exactly if no arrangement within rule (1) exists.

#![allow(unsafe_code)]

use std::alloc::{self, Layout};
use std::ptr;

/// Slots of a bucket: 8 × 8 bytes is one cache line.
pub(super) const SLOTS: usize = 8;
/// Bits of a slot that hold the payload.
pub(super) const PAYLOAD_MASK: u64 = (1 << 48) - 1;
/// Bits of the tag.
pub(super) const TAG_BITS: u32 = 16;

const BUCKET_BYTES: usize = 64;
const HOMES_SHIFT: u32 = 56;
const BLOCK_MASK: usize = 0x0000_ffff_ffff_ffc0;
const DEPTH_MASK: usize = 0x3f;

const _: () = assert!(usize::BITS == 64, "payloads, pointers and packed words need 64 bits");

/// Buckets of a block, per size class. A block grows class by class; a full block of the last class is split.
///
/// The allocator (mimalloc) has four size classes per doubling. Powers of two up to 4 KiB lie there on their natural
/// alignment; for the others it adds 63 bytes to find a 64-byte boundary, so they ask for one bucket less than the
/// allocator's class holds.
pub(super) const CLASS_BUCKETS: [u8; 20] =
    [2, 4, 5, 6, 8, 11, 13, 16, 19, 23, 27, 32, 39, 47, 55, 64, 79, 95, 111, BUCKETS_MAX as u8];
/// Buckets of the largest block.
pub(super) const BUCKETS_MAX: usize = 127;
/// Slots of the largest block.
const SEGMENT_SLOTS_MAX: usize = BUCKETS_MAX * SLOTS;

/// The smallest class of at least so many buckets; the last one where there is none.
pub(super) fn class_of(buckets: usize) -> usize {
    CLASS_BUCKETS.iter().position(|&of_class| buckets <= of_class as usize).unwrap_or(CLASS_BUCKETS.len() - 1)
}

/// Eight slots in one cache line, used ones first.
#[repr(C, align(64))]
pub(super) struct Bucket {
    pub(super) slots: [u64; SLOTS],
}

/// A set of slots of one bucket: bit `4 * slot + 3` stands for `slot`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotSet(u32);

impl SlotSet {
    /// The lowest slot of the set; `SLOTS` if it is empty.
    #[inline(always)]
    pub(super) fn first(self) -> usize {
        self.0.trailing_zeros() as usize >> 2
    }

    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn without(self, other: SlotSet) -> SlotSet {
        SlotSet(self.0 & !other.0)
    }
}

impl Iterator for SlotSet {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.first();
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// The tag of a slot; 0 for an empty one.
#[inline(always)]
pub(super) fn tag_of_slot(slot: u64) -> u16 {
    (slot >> (64 - TAG_BITS)) as u16
}

/// The bucket, out of `homes`, in which a tag is at home.
#[inline(always)]
pub(super) fn home_of(tag: u16, homes: usize) -> usize {
    (tag as usize * homes) >> TAG_BITS
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
        self.with_tag(0).first()
    }

    /// Slots that carry the tag; for tag 0 the empty ones.
    #[inline(always)]
    pub(super) fn with_tag(&self, tag: u16) -> SlotSet {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::*;
            // SAFETY: SSE2 belongs to x86_64.
            unsafe {
                let tag = _mm_set1_epi16(tag as i16);
                self.gather(|lanes| _mm_cmpeq_epi16(lanes, tag))
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        self.gather(|of_slot| of_slot == tag)
    }

    /// Used slots whose tag is at home in bucket `home` of `homes`.
    #[inline(always)]
    pub(super) fn with_home(&self, home: usize, homes: usize) -> SlotSet {
        #[cfg(target_arch = "x86_64")]
        let set = {
            use std::arch::x86_64::*;
            // SAFETY: SSE2 belongs to x86_64.
            unsafe {
                let homes = _mm_set1_epi16(homes as i16);
                let home = _mm_set1_epi16(home as i16);
                // The high half of the 16 × 16 bit product is `home_of`.
                self.gather(|lanes| _mm_cmpeq_epi16(_mm_mulhi_epu16(lanes, homes), home))
            }
        };
        #[cfg(not(target_arch = "x86_64"))]
        let set = self.gather(|of_slot| home_of(of_slot, homes) == home);
        set.without(self.with_tag(0))
    }

    /// Applies a comparison of 16-bit lanes and keeps the answer of the lanes that are tags.
    ///
    /// # Safety
    /// None beyond SSE2, which belongs to x86_64.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn gather(&self, compare: impl Fn(std::arch::x86_64::__m128i) -> std::arch::x86_64::__m128i) -> SlotSet {
        use std::arch::x86_64::*;
        let lanes = self.slots.as_ptr().cast::<__m128i>();
        // SAFETY: a bucket is 64 bytes, aligned to 64: four aligned vectors. The tag is lane 3 or 7 of its vector;
        // packing two vectors makes a byte of each lane, so that the tags are bytes 3, 7, 11 and 15.
        unsafe {
            let low = _mm_packs_epi16(compare(_mm_load_si128(lanes)), compare(_mm_load_si128(lanes.add(1))));
            let high = _mm_packs_epi16(compare(_mm_load_si128(lanes.add(2))), compare(_mm_load_si128(lanes.add(3))));
            let bits = _mm_movemask_epi8(low) as u32 | (_mm_movemask_epi8(high) as u32) << 16;
            SlotSet(bits & 0x8888_8888)
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    fn gather(&self, compare: impl Fn(u16) -> bool) -> SlotSet {
        let mut bits = 0;
        for (index, &slot) in self.slots.iter().enumerate() {
            bits |= (compare(tag_of_slot(slot)) as u32) << (4 * index + 3);
        }
        SlotSet(bits)
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
        let layout = Segment::layout(buckets);
        // SAFETY: the layout is never empty.
        let block = unsafe { alloc::alloc_zeroed(layout) };
        if block.is_null() {
            alloc::handle_alloc_error(layout);
        }
        // Addresses of user space fit into 48 bits; with a wider one the packing would lose bits.
        assert!(block.addr() & !BLOCK_MASK == 0);
        assert!(depth as usize <= DEPTH_MASK);
        Segment { word: block.map_addr(|address| address | (buckets - 1) << HOMES_SHIFT | depth as usize) }
    }

    /// A segment of one home and depth 0 over a block that nobody writes to.
    pub(super) const fn over(block: &'static [Bucket; 2]) -> Segment {
        Segment { word: (&raw const *block).cast::<u8>().wrapping_add(1 << HOMES_SHIFT).cast_mut() }
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
        self.homes() + 1
    }

    /// Hash bits that the directory uses to tell this segment from the others.
    #[inline(always)]
    pub(super) fn depth(self) -> u32 {
        (self.word.addr() & DEPTH_MASK) as u32
    }

    /// Address of a bucket; index 0 to `homes`, which the caller has to keep to before following it.
    #[inline(always)]
    pub(super) fn address(self, bucket: usize) -> *mut Bucket {
        self.word.map_addr(|address| address & BLOCK_MASK).wrapping_add(bucket * BUCKET_BYTES).cast()
    }

    /// # Safety
    /// The block is alive, nobody writes to it while the reference lives, `bucket <= homes`.
    #[inline(always)]
    pub(super) unsafe fn bucket<'a>(self, bucket: usize) -> &'a Bucket {
        debug_assert!(bucket <= self.homes());
        // SAFETY: by contract.
        unsafe { &*self.address(bucket) }
    }

    /// # Safety
    /// The block is alive, nobody else reads or writes it while the reference lives, `bucket <= homes`.
    #[inline(always)]
    unsafe fn bucket_mut<'a>(self, bucket: usize) -> &'a mut Bucket {
        debug_assert!(bucket <= self.homes());
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
        // SAFETY: home < homes.
        let bucket = unsafe { self.bucket(home) };
        for slot in bucket.with_tag(tag) {
            let payload = bucket.slots[slot] & PAYLOAD_MASK;
            if equal(payload) {
                return Some((home * SLOTS + slot, payload));
            }
        }
        if !bucket.is_full() {
            return None;
        }
        // SAFETY: home + 1 <= homes.
        let bucket = unsafe { self.bucket(home + 1) };
        for slot in bucket.with_tag(tag) {
            let payload = bucket.slots[slot] & PAYLOAD_MASK;
            if equal(payload) {
                return Some(((home + 1) * SLOTS + slot, payload));
            }
        }
        None
    }

    /// Puts a slot (tag and payload) in. False, and nothing done, if no arrangement has room for it.
    ///
    /// # Safety
    /// The block is alive and not borrowed.
    #[inline(always)]
    pub(super) unsafe fn insert(self, slot: u64) -> bool {
        let home = home_of(tag_of_slot(slot), self.homes());
        // SAFETY: home < homes.
        let bucket = unsafe { self.bucket_mut(home) };
        if !bucket.is_full() {
            bucket.slots[bucket.used()] = slot;
            return true;
        }
        // SAFETY: by contract; home + 1 <= homes.
        unsafe { self.insert_right(home + 1, slot) }
    }

    /// Puts a slot into bucket `first`, and shifts entries to the right if that is full.
    ///
    /// # Safety
    /// The block is alive and not borrowed; the slot's home is `first` or the full bucket before it.
    #[inline(never)]
    unsafe fn insert_right(self, first: usize, slot: u64) -> bool {
        let homes = self.homes();
        let mut movable = [0u8; BUCKETS_MAX];
        let mut end = first;
        loop {
            // SAFETY: end <= homes, see below.
            let bucket = unsafe { self.bucket(end) };
            if !bucket.is_full() {
                break;
            }
            // Only what is at home here may lie one further right. Nothing is at home in the last bucket.
            let set = bucket.with_home(end, homes);
            if set.is_empty() {
                return false;
            }
            movable[end] = set.first() as u8;
            end += 1;
        }
        let mut carried = slot;
        for index in first..end {
            // SAFETY: end <= homes.
            let bucket = unsafe { self.bucket_mut(index) };
            std::mem::swap(&mut carried, &mut bucket.slots[movable[index] as usize]);
        }
        // SAFETY: end <= homes.
        let bucket = unsafe { self.bucket_mut(end) };
        bucket.slots[bucket.used()] = carried;
        true
    }

    /// Takes the entry out of the slot at `index` = bucket × 8 + slot. Other entries may move.
    ///
    /// # Safety
    /// The block is alive and not borrowed; `index` is a used slot of it.
    #[inline]
    pub(super) unsafe fn remove(self, index: usize) {
        let homes = self.homes();
        let (mut home, mut hole) = (index / SLOTS, index % SLOTS);
        loop {
            // SAFETY: `home` is the index of a bucket: at first by contract, then as checked below.
            let bucket = unsafe { self.bucket_mut(home) };
            if bucket.is_full() && home < homes {
                // SAFETY: home + 1 <= homes, and a different bucket than the borrowed one.
                let right = unsafe { self.bucket(home + 1) };
                let set = right.with_home(home, homes);
                if !set.is_empty() {
                    let from = set.first();
                    bucket.slots[hole] = right.slots[from];
                    (home, hole) = (home + 1, from);
                    continue;
                }
            }
            let last = bucket.used() - 1;
            bucket.slots[hole] = bucket.slots[last];
            bucket.slots[last] = 0;
            return;
        }
    }

    /// Appends all slots to `into`, in the order of buckets.
    ///
    /// # Safety
    /// The block is alive.
    pub(super) unsafe fn collect(self, into: &mut SlotList) {
        for index in 0..self.buckets() {
            // SAFETY: an existing bucket.
            let bucket = unsafe { self.bucket(index) };
            for &slot in &bucket.slots[..bucket.used()] {
                into.push(slot);
            }
        }
    }

    /// A new block of the class with these slots; those for which it has no room are added to `rest`.
    pub(super) fn build(class: usize, depth: u32, slots: &[u64], rest: &mut Vec<u64>) -> Segment {
        let segment = Segment::allocate(class, depth);
        for &slot in slots {
            // SAFETY: the block is new, alive and ours.
            if !unsafe { segment.insert(slot) } {
                rest.push(slot);
            }
        }
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

/// Asks the processor to bring the cache line in. Never faults, whatever the address.
#[inline(always)]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; any address is allowed.
    unsafe {
        use std::arch::x86_64::*;
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Two buckets that stay empty: what a table without memory looks into.
pub(super) static EMPTY_BLOCK: [Bucket; 2] = [const { Bucket { slots: [0; SLOTS] } }; 2];

/// The directory of a table without memory.
pub(super) static EMPTY_DIRECTORY: [Segment; 1] = [Segment::over(&EMPTY_BLOCK)];

/// Address of the empty directory, in the type of a directory that may be written to; nobody does.
pub(super) const fn empty_directory() -> *mut Segment {
    ptr::from_ref(&EMPTY_DIRECTORY).cast_mut().cast()
}
