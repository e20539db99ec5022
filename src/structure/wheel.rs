//! A timing wheel: records that come back when their deadline has come, whenever in the next nine thousand years.
//!
//! Wanted: to the millisecond at any number of records; eight bytes a record; constant cost to file and to hand out;
//! no call that does more than its budget, whatever comes due at once; memory given back. Not wanted: cancellation (a
//! record whose reason has gone is handed out all the same, and the caller sees that it is stale), order among records
//! of the same millisecond, a clock (the time comes in as an argument).
//!
//! # Layout
//!
//! Time is a number of 48 bits, in ms, read as six digits to the base 256. A record lies at the level of the highest
//! digit in which its deadline differs from the wheel's time, in the slot that this digit of the deadline names:
//!
//! ```text
//! level      5        4        3        2        1        0
//! slot of  34.8 y   49.7 d   4.66 h   65.5 s   256 ms    1 ms
//! time      018      9c       6f       3d       a1       7e      ◄─ the wheel's time: all before it was handed out
//!            │        │        │        │        │        └ slot 7e..ff: due at this very millisecond
//!            │        │        │        │        └ slots a2..ff: in one of the next 94 quarter seconds
//!            ┆        ┆        ┆        └ slots 3e..ff, and so on
//!
//! slot     head ──▶ chunk of 8 to 512 words ──▶ chunk ──▶ …    the first one partly filled, the others full
//!          head  = address | size class | records in the first chunk      one word
//!          chunk = the head of the chunks behind it │ cell │ cell │ …
//! cell     63            48 47                                         0
//!         ┌────────────────┬────────────────────────────────────────────┐
//!         │ rest           │ record                                     │
//!         └────────────────┴────────────────────────────────────────────┘
//! ```
//!
//! When time reaches a slot of level 1 and above, its records are filed anew, at lower levels: a **cascade**. What the
//! slot does not say of a deadline is in the cell's `rest`: exactly at levels 0 to 2, its upper 16 bits above. From
//! level 3 on (deadlines beyond the next multiple of 4.66 hours) deadlines are so rounded down to 256 ms, from level 4
//! on to 65 s, and so on: a record may be handed out **early, but never late**. The caller, who has to look at the real
//! deadline anyway since it may have been put off, gives the record back with that deadline, and then it is near and
//! exact.
//!
//! # What always holds
//!
//! 1. At each level the used slots are those of the time's digit and above; the one of the digit itself only at level 0
//!    and, at others, until its cascade is done.
//! 2. A slot that time has reached is cascaded before anything of a lower level is handed out: it may hold something
//!    earlier.
//! 3. A record moves at most once per level: five times in centuries, twice in an hour. What is due by the time of its
//!    cascade is handed out at once.
//!
//! Jumps of the clock cost nothing: bitmaps name the used slots, and empty ones are never visited. A cascade of a
//! million records takes as many units of budget, and goes on in the next call where it stopped.
//!
//! # Costs
//!
//! A cell is 8 bytes; chunks of 4 KiB in full slots add 0.2 % for their links. A slot's last chunk is on average half
//! empty, and no larger than those before it together: at worst 1536 slots × 2 KiB. A level's slots take 2 KiB
//! while there are any records at all. Measured with deadlines spread over a second, a minute, an hour and a day:
//!
//! | records    | bytes a record | file a record | cascades and handing out, where a millisecond has many |
//! |------------|----------------|---------------|---------------------------------------------------------|
//! | 10,000     | 9.2 to 11.7    | 10 ns         |                                                         |
//! | 1,000,000  | 8.0 to 8.4     | 10 ns         | 13 ns                                                   |
//! | 10,000,000 | 8.02 to 8.07   | 10 to 23 ns   | 16 to 20 ns                                             |
//!
//! A call with a budget of 1000 takes 10 to 20 µs, 80 at worst.
#![allow(unsafe_code)]

use std::alloc::{self, Layout};
use std::{mem, ptr};

/// Bits of a record.
pub const RECORD_BITS: u32 = 48;
/// The latest deadline in ms; later ones are filed for this one (in the year 10889).
pub const DEADLINE_MS_MAX: u64 = (1 << 48) - 1;

const LEVELS: usize = 6;
const DIGIT_BITS: u32 = 8;
const SLOTS: usize = 1 << DIGIT_BITS;
const RECORD_MASK: u64 = (1 << RECORD_BITS) - 1;
/// How many chunks of a slot samples come from: each is a cache miss.
const SAMPLE_DEPTH: usize = 8;
const REST_BITS: u32 = 64 - RECORD_BITS;

/// A timing wheel of 48-bit records; see the module's page.
pub struct Wheel {
    /// All deadlines before this one have been handed out, in ms.
    time_ms: u64,
    len: usize,
    /// Bytes of all chunks.
    chunk_bytes: usize,
    /// Bit `slot` of a level: the slot is used.
    used: [[u64; SLOTS / 64]; LEVELS],
    slots: [Option<Box<[Stack; SLOTS]>>; LEVELS],
}

impl Wheel {
    /// An empty wheel, which has no memory of its own, at a time.
    pub const fn new(now_ms: u64) -> Wheel {
        Wheel {
            time_ms: if now_ms < DEADLINE_MS_MAX { now_ms } else { DEADLINE_MS_MAX },
            len: 0,
            chunk_bytes: 0,
            used: [[0; SLOTS / 64]; LEVELS],
            slots: [const { None }; LEVELS],
        }
    }

    /// Number of records, stale ones included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        self.chunk_bytes + self.slots.iter().flatten().count() * size_of::<[Stack; SLOTS]>()
    }

    /// Files a record to be handed out at a deadline; at the next millisecond if that has gone by.
    ///
    /// # Panics
    /// If the record has more than `RECORD_BITS` bits.
    #[inline]
    pub fn file(&mut self, deadline_ms: u64, record: u64) {
        assert!(record >> RECORD_BITS == 0);
        let deadline_ms = deadline_ms.min(DEADLINE_MS_MAX).max(self.time_ms);
        let level = ((deadline_ms ^ self.time_ms | 1).ilog2() / DIGIT_BITS) as usize;
        let slot = digit(deadline_ms, level);
        let cell = record | rest_of(deadline_ms, level) << RECORD_BITS;
        let slots = self.slots[level].get_or_insert_with(|| Box::new([const { Stack::EMPTY }; SLOTS]));
        slots[slot].push(cell, &mut self.chunk_bytes);
        self.used[level][slot / 64] |= 1 << (slot % 64);
        self.len += 1;
    }

    /// Hands out the records whose deadline is not after `now_ms`. If `due` returns a deadline, the record is filed
    /// again, for the next millisecond at the earliest: the one for a record that has come early, or whose deadline has
    /// been put off.
    ///
    /// At most `budget` records are handed out or filed anew by cascades. True if there is more to do at this time.
    pub fn advance(&mut self, now_ms: u64, budget: usize, mut due: impl FnMut(u64) -> Option<u64>) -> bool {
        let now_ms = now_ms.min(DEADLINE_MS_MAX - 1);
        let mut left = budget;
        while let Some((level, slot, start_ms)) = self.next_slot()
            && start_ms <= now_ms
        {
            self.time_ms = self.time_ms.max(start_ms);
            while self.is_used(level, slot) {
                if left == 0 {
                    return true;
                }
                left -= 1;
                let cell = self.pop(level, slot);
                let record = cell & RECORD_MASK;
                let deadline_ms = start_ms + time_of_rest(cell >> RECORD_BITS, level);
                self.len -= 1;
                if now_ms < deadline_ms {
                    self.file(deadline_ms, record);
                } else if let Some(deadline_ms) = due(record) {
                    self.file(deadline_ms.max(now_ms + 1), record);
                }
            }
        }
        self.time_ms = self.time_ms.max(now_ms + 1);
        if self.len == 0 {
            self.slots = [const { None }; LEVELS];
        }
        false
    }

    /// A time in ms before which nothing is due: a deadline, or where a cascade has to be done. `None` without records.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.next_slot().map(|(_, _, start_ms)| start_ms.max(self.time_ms))
    }

    /// The slot that has to be dealt with next, and its first millisecond.
    #[inline]
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        if self.len == 0 {
            return None;
        }
        // A slot that time has reached is cascaded first, from the highest level down.
        for level in (1..LEVELS).rev() {
            let slot = digit(self.time_ms, level);
            if self.is_used(level, slot) {
                return Some((level, slot, start_of(self.time_ms, level, slot)));
            }
        }
        // Then the lowest level has the earliest: its deadlines agree with the time in more digits.
        for level in 0..LEVELS {
            if let Some(slot) = self.first_used(level, digit(self.time_ms, level)) {
                return Some((level, slot, start_of(self.time_ms, level, slot)));
            }
        }
        unreachable!("records lie in slots from the time on")
    }

    #[inline]
    fn is_used(&self, level: usize, slot: usize) -> bool {
        self.used[level][slot / 64] >> (slot % 64) & 1 != 0
    }

    /// The first used slot of a level from `slot` on.
    #[inline]
    fn first_used(&self, level: usize, slot: usize) -> Option<usize> {
        let words = &self.used[level];
        let mut word = slot / 64;
        let mut bits = words[word] & u64::MAX << (slot % 64);
        while bits == 0 {
            word += 1;
            bits = *words.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// Takes a cell out of a used slot.
    #[inline]
    fn pop(&mut self, level: usize, slot: usize) -> u64 {
        let stack = &mut self.slots[level].as_mut().expect("a used slot has a level")[slot];
        let cell = stack.pop(&mut self.chunk_bytes);
        if stack.is_empty() {
            self.used[level][slot / 64] &= !(1 << (slot % 64));
        }
        cell
    }

    /// Whether [`Self::take_soonest`] tells well: the next slot is of a minute at most, or has one chunk.
    pub fn knows_soonest(&self) -> bool {
        let Some((level, slot, _)) = self.next_slot() else { return false };
        level < 2 || self.slots[level].as_ref().expect("a used slot has a level")[slot].behind().is_empty()
    }

    /// Takes a record out that is due as soon as any, as far as slots and their first chunks (of up to 511 records)
    /// tell. Gives with it the end of its slot, before which it is due.
    pub fn take_soonest(&mut self) -> Option<(u64, u64)> {
        let (level, slot, start_ms) = self.next_slot()?;
        let stack = &mut self.slots[level].as_mut().expect("a used slot has a level")[slot];
        let soonest = (1..=stack.count()).min_by_key(|&index| stack.cell(index) >> RECORD_BITS);
        stack.move_last(soonest.expect("a used slot has a cell"));
        let cell = self.pop(level, slot);
        self.len -= 1;
        Some((cell & RECORD_MASK, start_ms + (1 << (DIGIT_BITS * level as u32))))
    }

    /// Visits up to `count` records of a used slot by lot, those of one of its first [`SAMPLE_DEPTH`] chunks.
    pub fn sample(&self, seed: u64, count: usize, mut visit: impl FnMut(u64)) {
        let used = self.used.iter().flatten().map(|bits| bits.count_ones()).sum::<u32>();
        if used == 0 {
            return;
        }
        let mut lot = (seed as u32) % used;
        for (index, &word) in self.used.iter().flatten().enumerate() {
            if word.count_ones() <= lot {
                lot -= word.count_ones();
                continue;
            }
            let bits = (0..lot).fold(word, |bits, _| bits & (bits - 1));
            let (level, slot) = (index * 64 / SLOTS, index * 64 % SLOTS + bits.trailing_zeros() as usize);
            let mut stack = self.slots[level].as_ref().expect("a used slot has a level")[slot];
            for _ in 0..(seed >> 32) as usize % SAMPLE_DEPTH {
                stack = Some(stack.behind()).filter(|behind| !behind.is_empty()).unwrap_or(stack);
            }
            let first = (seed >> 40) as usize % stack.count();
            for index in 0..count.min(stack.count()) {
                visit(stack.cell(1 + (first + index) % stack.count()) & RECORD_MASK);
            }
            return;
        }
    }

    /// Takes all records out, as a wheel of their own that `free` gives back bit by bit.
    pub fn take(&mut self) -> Wheel {
        mem::replace(self, Wheel::new(self.time_ms))
    }

    /// Drops all records at once.
    pub fn clear(&mut self) {
        self.take();
    }

    /// Frees at most `chunks` chunks (of up to 511 records) without handing out their records. True if there are more.
    pub fn free(&mut self, chunks: usize) -> bool {
        for _ in 0..chunks {
            let Some((level, slot)) = (0..LEVELS).find_map(|level| self.first_used(level, 0).map(|slot| (level, slot)))
            else {
                break;
            };
            let stack = &mut self.slots[level].as_mut().expect("a used slot has a level")[slot];
            self.len -= stack.free_chunk(&mut self.chunk_bytes);
            if stack.is_empty() {
                self.used[level][slot / 64] &= !(1 << (slot % 64));
            }
        }
        if self.len == 0 {
            self.slots = [const { None }; LEVELS];
        }
        self.len != 0
    }
}

impl Drop for Wheel {
    fn drop(&mut self) {
        while self.free(usize::MAX) {}
        assert!(self.chunk_bytes == 0);
    }
}

/// The digit of a time at a level.
#[inline]
fn digit(time_ms: u64, level: usize) -> usize {
    (time_ms >> (DIGIT_BITS * level as u32)) as usize & (SLOTS - 1)
}

/// The first millisecond of a slot, of those that agree with the time in the digits above the level.
#[inline]
fn start_of(time_ms: u64, level: usize, slot: usize) -> u64 {
    let bits = DIGIT_BITS * level as u32;
    (time_ms >> bits & !(SLOTS as u64 - 1) | slot as u64) << bits
}

/// Bits of a deadline that neither slot nor rest hold.
#[inline]
fn lost_bits(level: usize) -> u32 {
    (DIGIT_BITS * level as u32).saturating_sub(REST_BITS)
}

/// What a cell holds of a deadline: the bits below the digit of the level, as far as there is room.
#[inline]
fn rest_of(deadline_ms: u64, level: usize) -> u64 {
    (deadline_ms & ((1 << (DIGIT_BITS * level as u32)) - 1)) >> lost_bits(level)
}

/// Milliseconds after the start of the slot.
#[inline]
fn time_of_rest(rest: u64, level: usize) -> u64 {
    rest << lost_bits(level)
}

/// The cells of a slot, in linked chunks: one packed pointer.
///
/// ```text
/// 63     57 56            48 47                              0
/// ┌────────┬────────────────┬────────────────────────────────┐
/// │ class  │ cells in it    │ address of the first chunk     │   empty: 0
/// └────────┴────────────────┴────────────────────────────────┘
/// ```
#[derive(Clone, Copy)]
struct Stack {
    word: *mut u64,
}

// SAFETY: the chunks belong to the wheel that holds the stack.
unsafe impl Send for Stack {}

const ADDRESS_MASK: usize = (1 << 48) - 1;
const COUNT_SHIFT: u32 = 48;
const COUNT_MASK: usize = 0x1ff;
const CLASS_SHIFT: u32 = 57;
/// Chunks have 8 << class words, the link included: 64 bytes to 4 KiB.
const CLASS_MAX: usize = 6;

impl Stack {
    const EMPTY: Stack = Stack { word: ptr::null_mut() };

    #[inline]
    fn is_empty(self) -> bool {
        self.word.is_null()
    }

    #[inline]
    fn count(self) -> usize {
        self.word.addr() >> COUNT_SHIFT & COUNT_MASK
    }

    #[inline]
    fn class(self) -> usize {
        self.word.addr() >> CLASS_SHIFT
    }

    #[inline]
    fn words(class: usize) -> usize {
        8 << class
    }

    fn layout(class: usize) -> Layout {
        Layout::array::<u64>(Stack::words(class)).expect("a chunk is at most 4 KiB")
    }

    /// Address of the first chunk; its word 0 is the link.
    #[inline]
    fn chunk(self) -> *mut u64 {
        self.word.map_addr(|address| address & ADDRESS_MASK)
    }

    /// The same first chunk with another number of cells.
    #[inline]
    fn with_count(self, count: usize) -> Stack {
        Stack { word: self.word.map_addr(|address| address & !(COUNT_MASK << COUNT_SHIFT) | count << COUNT_SHIFT) }
    }

    #[inline]
    fn push(&mut self, cell: u64, bytes: &mut usize) {
        if self.is_empty() || self.count() == Stack::words(self.class()) - 1 {
            self.add_chunk(bytes);
        }
        let count = self.count() + 1;
        // SAFETY: the first chunk has a free word, as just seen or made; `&mut self` keeps others away.
        unsafe { self.chunk().add(count).write(cell) };
        *self = self.with_count(count);
    }

    #[cold]
    fn add_chunk(&mut self, bytes: &mut usize) {
        let class = if self.is_empty() { 0 } else { (self.class() + 1).min(CLASS_MAX) };
        let layout = Stack::layout(class);
        // SAFETY: the layout is never empty.
        let chunk = unsafe { alloc::alloc(layout) }.cast::<u64>();
        if chunk.is_null() {
            alloc::handle_alloc_error(layout);
        }
        // Addresses of user space fit into 48 bits; with a wider one the packing would lose bits.
        assert!(chunk.addr() & !ADDRESS_MASK == 0);
        // SAFETY: the chunk is new and has at least 8 words.
        unsafe { chunk.cast::<Stack>().write(*self) };
        *self = Stack { word: chunk.map_addr(|address| address | class << CLASS_SHIFT) };
        *bytes += layout.size();
    }

    /// A cell of the first chunk, which has `count` of them from 1 on.
    #[inline]
    fn cell(self, index: usize) -> u64 {
        assert!(0 < index && index <= self.count());
        // SAFETY: the first chunk has `count` cells from word 1 on.
        unsafe { self.chunk().add(index).read() }
    }

    /// What is behind the first chunk; there is one.
    fn behind(self) -> Stack {
        assert!(!self.is_empty());
        // SAFETY: word 0 of a chunk is the link.
        unsafe { self.chunk().cast::<Stack>().read() }
    }

    /// A cell becomes the one that is taken next.
    fn move_last(&mut self, index: usize) {
        let (cell, last) = (self.cell(index), self.cell(self.count()));
        // SAFETY: both are cells of the first chunk, as just seen; `&mut self` keeps others away.
        unsafe {
            self.chunk().add(index).write(last);
            self.chunk().add(self.count()).write(cell);
        }
    }

    /// Takes a cell; there is one.
    #[inline]
    fn pop(&mut self, bytes: &mut usize) -> u64 {
        let count = self.count();
        assert!(0 < count);
        // SAFETY: the first chunk has `count` cells from word 1 on.
        let cell = unsafe { self.chunk().add(count).read() };
        if count == 1 {
            self.free_chunk(bytes);
        } else {
            *self = self.with_count(count - 1);
        }
        cell
    }

    /// Frees the first chunk and returns how many cells it had; there is one.
    #[cold]
    fn free_chunk(&mut self, bytes: &mut usize) -> usize {
        assert!(!self.is_empty());
        let (chunk, layout, count) = (self.chunk(), Stack::layout(self.class()), self.count());
        // SAFETY: word 0 of a chunk is the link, and the chunk was allocated with this layout.
        unsafe {
            *self = chunk.cast::<Stack>().read();
            alloc::dealloc(chunk.cast(), layout);
        }
        *bytes -= layout.size();
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const NOW: u64 = 1_795_000_000_000;

    #[test]
    fn the_soonest_are_taken_first_and_samples_are_records() {
        let mut wheel = Wheel::new(NOW);
        assert_eq!(wheel.take_soonest(), None);
        wheel.sample(7, 5, |_| panic!("there are none"));
        // Within one slot of level 2 (65 s) the order is exact as long as one chunk holds them.
        let deadline_ms = |record: u64| NOW + 1000 + record * 37 % 300 * 1000;
        for record in 1..=300 {
            wheel.file(deadline_ms(record), record);
        }
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..4000u64 {
            wheel.sample(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), 5, |record| {
                assert!((1..=300).contains(&record));
                seen.insert(record);
            });
        }
        assert!(200 < seen.len(), "only {} of 300 are ever seen", seen.len());
        let mut taken = Vec::new();
        while let Some((record, end_ms)) = wheel.take_soonest() {
            assert!(deadline_ms(record) < end_ms);
            taken.push(deadline_ms(record));
        }
        assert_eq!((taken.len(), wheel.len(), wheel.next_deadline_ms()), (300, 0, None));
        let latest_so_far = taken.iter().scan(0, |latest, &ms| {
            *latest = ms.max(*latest);
            Some(*latest)
        });
        // A slot may have several chunks: one is taken after the other.
        assert!(latest_so_far.zip(&taken).all(|(latest, &ms)| latest - ms < 65_536), "{taken:?}");
        assert!(taken[..20].iter().max() < taken[280..].iter().min());
    }

    /// By how much a record may come early that was filed at a time for a deadline.
    fn early_ms_max(filed_ms: u64, deadline_ms: u64) -> u64 {
        match ((filed_ms ^ deadline_ms) | 1).ilog2() / 8 {
            0..=2 => 0,
            level => (1 << (8 * level - 16)) - 1,
        }
    }

    /// A wheel with its model.
    struct Pair {
        wheel: Wheel,
        /// Time when it was filed, and deadline, by record.
        model: BTreeMap<u64, (u64, u64)>,
        now_ms: u64,
        next_record: u64,
        handed: usize,
    }

    impl Pair {
        fn new(now_ms: u64) -> Pair {
            Pair { wheel: Wheel::new(now_ms), model: BTreeMap::new(), now_ms, next_record: 0, handed: 0 }
        }

        fn file(&mut self, deadline_ms: u64) {
            // Records use all their bits.
            self.next_record += 1;
            let record = self.next_record.wrapping_mul(0x9e37_79b9_7f4a_7c15) & RECORD_MASK;
            self.wheel.file(deadline_ms, record);
            assert!(self.model.insert(record, (self.wheel.time_ms, deadline_ms)).is_none());
        }

        /// One call; whether there is more to do.
        fn advance(&mut self, now_ms: u64, budget: usize) -> bool {
            assert!(self.now_ms <= now_ms);
            self.now_ms = now_ms;
            let mut handed = 0;
            let time_ms = self.wheel.time_ms;
            let is_more = self.wheel.advance(now_ms, budget, |record| {
                handed += 1;
                let (filed_ms, deadline_ms) = self.model.remove(&record).expect("handed out twice");
                if deadline_ms <= now_ms {
                    return None;
                }
                let early_ms = deadline_ms - now_ms;
                assert!(early_ms <= early_ms_max(filed_ms, deadline_ms), "{early_ms} ms early");
                // Now it is near; how near depends on the wheel's time, which was this at least.
                self.model.insert(record, (time_ms, deadline_ms));
                Some(deadline_ms)
            });
            self.handed += handed;
            assert!(handed <= budget);
            if !is_more {
                let is_left = |&(filed_ms, deadline_ms)| now_ms < std::cmp::max(filed_ms, deadline_ms);
                assert!(self.model.values().all(is_left), "not handed out in time");
            }
            self.check();
            is_more
        }

        fn check(&self) {
            assert_eq!(self.wheel.len(), self.model.len());
            let next_ms = self.wheel.next_deadline_ms();
            assert_eq!(next_ms.is_some(), !self.model.is_empty());
            if let (Some(next_ms), Some(first_ms)) = (next_ms, self.model.values().map(|&(_, deadline)| deadline).min())
            {
                assert!(next_ms <= first_ms.max(self.wheel.time_ms), "the loop would sleep too long");
            }
            let slots = self.wheel.used.iter().flatten().map(|word| word.count_ones() as usize).sum::<usize>();
            // Doubled for chunks half empty, and a first small one for each slot.
            assert!(self.wheel.chunk_bytes <= 64 * slots + 16 * self.wheel.len() + 16 * self.wheel.len() / 7);
            if self.model.is_empty() && self.now_ms + 1 == self.wheel.time_ms {
                assert_eq!(self.wheel.memory_bytes(), 0);
            }
        }
    }

    #[test]
    fn records_come_at_their_millisecond() {
        let mut pair = Pair::new(NOW);
        let deadlines = [0, 1, 2, 200, 255, 256, 257, 300, 1000, 65_535, 65_536, 70_000, 3_600_000, 14_000_000];
        for ahead in deadlines {
            pair.file(NOW + ahead);
        }
        // One that has gone by comes with the next.
        pair.file(NOW - 1000);
        pair.file(0);
        let mut left = deadlines.len() + 2;
        for (index, ahead) in deadlines.into_iter().enumerate() {
            if index != 0 {
                pair.advance(NOW + ahead - 1, 1000);
                assert_eq!(pair.wheel.len(), left);
            }
            pair.advance(NOW + ahead, 1000);
            left -= if index == 0 { 3 } else { 1 };
            assert_eq!(pair.wheel.len(), left);
        }
        assert_eq!(pair.wheel.memory_bytes(), 0);
    }

    /// A loop that sleeps as long as the wheel says misses nothing and does not wake much.
    #[test]
    fn sleeping_until_the_next_deadline_is_exact() {
        let mut pair = Pair::new(NOW);
        let mut deadlines: Vec<u64> = (0..400).map(|n: u64| NOW + 1 + n * n * n * n % 50_000_000_000).collect();
        deadlines.iter().for_each(|&deadline_ms| pair.file(deadline_ms));
        deadlines.sort();
        let mut wakes = 0;
        while let Some(next_ms) = pair.wheel.next_deadline_ms() {
            // Whatever is handed out is due exactly now, or early because of its distance.
            pair.advance(next_ms, usize::MAX);
            wakes += 1;
        }
        assert_eq!(pair.now_ms, *deadlines.last().unwrap());
        assert!(wakes < 400 * 5, "{wakes}");
    }

    #[test]
    fn a_million_records_are_dealt_with_in_slices() {
        let count = if cfg!(miri) { 2000 } else { 1_000_000 };
        let mut wheel = Wheel::new(NOW);
        // All in the same second, an hour ahead.
        for record in 0..count {
            wheel.file(NOW + 3_600_000 + record % 1000, record);
        }
        assert!(wheel.memory_bytes() as u64 <= count * 8 + count / 4 + 4096, "{}", wheel.memory_bytes());
        let mut seen = vec![false; count as usize];
        let (mut calls, mut handed) = (0, 0);
        let mut now_ms = NOW + 3_599_000;
        while !wheel.is_empty() {
            let mut in_call = 0;
            let is_more = wheel.advance(now_ms, 500, |record| {
                assert!(NOW + 3_600_000 + record % 1000 <= now_ms);
                assert!(!mem::replace(&mut seen[record as usize], true));
                in_call += 1;
                None
            });
            assert!(in_call <= 500);
            handed += in_call;
            calls += 1;
            // Memory goes back along with the records, but for the last chunk of each slot of a cascade.
            assert!(wheel.memory_bytes() as u64 <= (count - handed) * 9 + 256 * 4096);
            if !is_more {
                now_ms += 1;
            }
        }
        // Once to level 1, once to level 0, once out: three units of budget a record.
        assert!(calls <= 3 * count / 500 + 3000, "{calls} calls");
        assert_eq!(wheel.memory_bytes(), 0);
    }

    #[test]
    fn bytes_per_record_are_few_for_scattered_deadlines() {
        let count = if cfg!(miri) { 2000 } else { 200_000 };
        let mut wheel = Wheel::new(NOW);
        let mut now_ms = NOW;
        for record in 0..count {
            // Three to sixty minutes ahead, filed over a while.
            wheel.file(now_ms + 180_000 + record * 7919 % 3_420_000, record);
            if record % 100 == 0 {
                now_ms += 1;
                wheel.advance(now_ms, 1000, |_| unreachable!());
            }
        }
        let bytes = wheel.memory_bytes() as f64 / count as f64;
        assert!(bytes < if cfg!(miri) { 24.0 } else { 9.0 }, "{bytes}");
        let mut old = wheel.take();
        assert!(wheel.is_empty() && wheel.memory_bytes() == 0 && wheel.next_deadline_ms().is_none());
        let mut bytes = old.memory_bytes();
        while old.free(3) {
            assert!(bytes <= old.memory_bytes() + 3 * 4096 && old.memory_bytes() < bytes);
            bytes = old.memory_bytes();
        }
        assert!(old.is_empty() && old.memory_bytes() == 0);
    }

    #[test]
    fn the_end_of_time_is_far_away_and_never_reached() {
        let mut wheel = Wheel::new(0);
        wheel.file(u64::MAX, 1);
        wheel.file(DEADLINE_MS_MAX, 2);
        assert!(!wheel.advance(u64::MAX, 100, |_| Some(u64::MAX)));
        assert_eq!(wheel.len(), 2);
        wheel.file(5, 3);
        assert_eq!(wheel.next_deadline_ms(), Some(DEADLINE_MS_MAX));
        wheel.clear();
        assert!(!wheel.advance(u64::MAX, 100, |_| unreachable!()));
    }

    #[test]
    #[should_panic]
    fn a_record_of_more_than_48_bits_is_refused() {
        Wheel::new(0).file(5, 1 << 48);
    }

    #[derive(Debug, Clone)]
    enum Step {
        File { ahead_ms: i64, count: u64, apart_ms: u64 },
        Advance { by_ms: u64, budget: usize },
        Boundary { bits: u32 },
        Take,
    }

    /// Milliseconds of all orders of magnitude.
    fn spans() -> impl Strategy<Value = u64> {
        (0..42u32, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1))
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            10 => (spans(), prop_oneof![8 => Just(1), 2 => 1..20u64, 1 => 1..600u64], spans()).prop_map(
                |(ahead, count, apart_ms)| {
                    Step::File { ahead_ms: ahead as i64 - 100, count, apart_ms: apart_ms / 600 }
                },
            ),
            8 => (spans(), 0..700usize).prop_map(|(by_ms, budget)| Step::Advance { by_ms, budget }),
            4 => (0..5u64, 0..50usize).prop_map(|(by_ms, budget)| Step::Advance { by_ms, budget }),
            2 => (8..40u32).prop_map(|bits| Step::Boundary { bits }),
            1 => Just(Step::Take),
        ];
        prop::collection::vec(step, 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 400 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn behaves_as_a_sorted_map(start_ms in prop_oneof![Just(NOW), Just(0), spans()], steps in steps()) {
            let mut pair = Pair::new(start_ms);
            for step in steps {
                match step {
                    Step::File { ahead_ms, count, apart_ms } => {
                        for index in 0..count {
                            pair.file(pair.now_ms.saturating_add_signed(ahead_ms) + index * apart_ms);
                        }
                    }
                    Step::Advance { by_ms, budget } => { pair.advance(pair.now_ms + by_ms, budget); }
                    // Up to the last millisecond before a cascade of many levels.
                    Step::Boundary { bits } => {
                        pair.advance(pair.now_ms | ((1 << bits) - 1), usize::MAX);
                    }
                    Step::Take => {
                        let old = pair.wheel.take();
                        prop_assert_eq!(old.len(), pair.model.len());
                        pair.model.clear();
                    }
                }
                pair.check();
            }
            // Some of the rest by sleeping, then all.
            for _ in 0..100 {
                let Some(next_ms) = pair.wheel.next_deadline_ms() else { break };
                pair.advance(next_ms.max(pair.now_ms), usize::MAX);
            }
            if let Some(last_ms) = pair.model.values().map(|&(_, deadline_ms)| deadline_ms).max() {
                pair.advance(last_ms.max(pair.now_ms + 1), usize::MAX);
            }
            prop_assert!(pair.model.is_empty());
            prop_assert_eq!(pair.wheel.memory_bytes(), 0);
        }
    }
}
