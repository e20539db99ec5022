//! The hash table of the keyspace: from a hash to a 48-bit payload, in eight bytes an entry and no pause at any size.
//!
//! Wanted: lookups of two cache misses at most before the entry itself, both of which can be asked for ahead of time;
//! about ten bytes an entry at *every* size, never twice as many because a power of two has just been passed; no call
//! that takes longer because the table is large; SCAN with its full guarantee and no state; cheap random entries;
//! memory given back in small steps; nothing at all for an empty table. Not wanted: keys, comparison and hashing (the
//! caller's), shrinking at any price, threads, and defence against hashes that an attacker can compute (the caller keys
//! them; hostile ones make a table slow, but neither endless nor much larger).
//!
//! # Layout
//!
//! ```text
//! hash   63                        32 31          16 15          0
//!       ┌────────────────────────────┬──────────────┬─────────────┐
//!       │ x, made into the key       │ not used     │ tag         │   tag 0 counts as 1
//!       └────────────────────────────┴──────────────┴─────────────┘
//!                    │ key = x - 5/16 x(1-x)               │
//!                    ▼ top `depth` bits                    │
//! directory  ┌────┬────┬────┬────┬────┬────┬────┬────┐     │     2^depth words: block address, homes, local depth
//!            │ A  │ A  │ B  │ C  │ D  │ D  │ D  │ D  │     │     (a segment of a lower depth stands in several)
//!            └────┴────┴────┴─┬──┴────┴────┴────┴────┘     │
//!                             ▼                            ▼ home = tag * homes >> 16
//! block C    ┌────────┬────────┬────────┬────────┬────────┬────────┬────────┬────────┬────────┐
//!            │ b0     │ b1     │ b2     │ b3 home│ b4     │ …      │ last   │ stash  │ stash  │   64 bytes each
//!            └────────┴────────┴────────┴────────┴────────┴────────┴────────┴────────┴────────┘
//!                                        └──── looked up ──┘
//! bucket     8 slots of 8 bytes:  tag (16) │ payload (45, a multiple of 8) │ ahead (3)
//! ```
//!
//! A **segment** is in charge of the keys that begin with certain bits, and is one block of 2 to 111 buckets. Within it
//! a slot's place depends on the tag alone, so a block can grow from one size class to the next (… 64, 79, 95, 111)
//! without a look at any entry. Only when a block of 111 is full it is split in two, which takes one more bit of the
//! key; `ahead` has it for three entries out of four, the others are hashed again.
//!
//! An entry lies in its **home** bucket or in the one to the right; both tags of eight are compared at once, without a
//! branch between them. A new entry goes to the emptier of both. If both are full, entries are shifted between their
//! two buckets, up to five buckets to either side; if that fails too, the entry goes to the **stash**, two buckets at
//! the end of the block, and the home is *marked* so that lookups go on there. The mark costs no memory: it is the
//! order of the last two slots of a full bucket. 4 % of the homes of a large table are marked, 0.8 % of the entries in
//! a stash. When the stash is full too, the block grows, on average at a load of 0.94 (64 buckets) to 0.92 (111).
//!
//! Should growing not help (more than 16 entries of one tag and key), an entry becomes a **stray**, in a list with full
//! hashes that is searched front to back. A block is never made larger than 2.5 times what its entries need, and no
//! segment is split deeper than a directory of a MiB, or of eight bytes an entry, allows; so hostile hashes cost time,
//! and a MiB. That much serves those who insert in the order of another table's walk: all entries begin alike then,
//! and the directory has the length that it will have at the end from the beginning on.
//!
//! # Arithmetic
//!
//! A split leaves some 410 entries for a block of 64 buckets; growing through 79, 95 and 111 to the next split at some
//! 815, a block is filled to 0.75 to 0.93, 0.85 on average: 8 / 0.85 bytes = 9.4, with the allocator's rounding and a
//! directory of two to four words a segment 9.6 bytes an entry. If keys were hashes all segments would grow at the same
//! time, and the table as a whole would swing between 8.5 and 10.6 bytes, with waves of work, and half of the
//! allocator's pages half empty in between. So the density of keys falls from 16/11 at one end to 16/21 at the other:
//! nearly a factor of two, one whole cycle of growth. At any time every stage is equally frequent.
//!
//! False matches: a home is shared by up to 65536 / 108 = 607 tags, the two buckets have some 14 entries of about three
//! homes: of two lookups for absent keys in a hundred one entry is looked at in vain.
//!
//! Who knows how many entries are to come makes room for them all ([`Table::with_room`]): that takes the same segments,
//! by the density of keys, and then nothing has to grow.
//!
//! # Memory given back
//!
//! Below a load of 0.70 (11.5 bytes an entry) every sixteenth removal makes one step at a *hand* that goes round all
//! segments: the block there is made smaller, or the segment merged with its neighbour if both have at most 620 entries
//! together. A split comes at some 815, so merging and splitting do not chase each other. The directory is replaced by
//! one of half the length when its last two levels are unused.
//!
//! The directory is the only thing that grows with the number of segments; it too is replaced in slices of 512 words
//! per insertion, begun when the first block at full depth reaches 95 buckets, long before it must be split.
//!
//! # SCAN
//!
//! The order of an iteration is (first key of the segment, tag). A cursor says: segment of this depth and first key,
//! all smaller tags done. The guarantee, "what is there all the time is visited", follows from three facts:
//! 1. Growing and shrinking a block, and shifting within it, change neither key nor tag of anything.
//! 2. A split in two halves the segment of the cursor: the iteration goes on in the first half at the same tag, and
//!    begins the second half, where larger tags are left to do, at tag 0: some entries are visited twice, none never.
//! 3. A merge makes the segment of the cursor part of a larger one. If the part was its end, the rest has been done,
//!    and only larger tags are visited. If not, nothing can be told apart and the whole segment is visited.
//!
//! Case 3 is done in one step, whatever the budget (some nine hundred entries at most), so every step moves the cursor
//! to a larger (key, tag), and the iteration ends however often segments are split and merged.
//!
//! Who wants everything exactly once, and can wait for whole segments, asks for a *survey*: its position is the first
//! key of a segment, and all smaller keys are done. A split does not change what that says; of a merged segment the
//! entries with smaller keys, which are hashed again to tell, are passed over.
//!
//! # Costs
//!
//! Nanoseconds of CPU per operation, 64-byte entries with 8-byte keys, one thread of a shared virtual machine (2 cores,
//! 2 MiB of L2; minimum of 5 runs, 1 of 20 million), beside `hashbrown::HashTable` 0.17 with the same entries:
//!
//! | operation                       | 100 thousand | hashbrown | 2 million | hashbrown | 20 million | hashbrown |
//! |---------------------------------|-------------:|----------:|----------:|----------:|-----------:|----------:|
//! | find, independent lookups       |           15 |        13 |        63 |        62 |        101 |        89 |
//! | find, each waits for the last   |           16 |        17 |        60 |        67 |        104 |       121 |
//! | find, 16 at a time, prefetched  |           12 |         – |        30 |         – |         55 |         – |
//! | absent, independent             |           12 |        11 |        20 |        21 |         58 |        42 |
//! | absent, each waits for the last |           12 |        18 |        20 |        44 |         58 |       124 |
//! | insert, from empty              |           92 |        30 |       139 |       104 |        229 |       127 |
//! | remove one, insert another      |           45 |        30 |       162 |       119 |        257 |       200 |
//! | remove, until empty             |           58 |        16 |       107 |        49 |        162 |        77 |
//! | random entry                    |            8 |         – |        19 |         – |         62 |         – |
//! | scan, per entry, budget 10      |            4 |         – |         5 |         – |          5 |         – |
//! | bytes an entry                  |          9.6 |      11.8 |       9.6 |      18.9 |        9.6 |      15.1 |
//!
//! Of the insertions into 20 million, 1 in 130 makes a block grow (2 to 8 µs), 1 in 500 splits one (8 to 65 µs, with
//! two hundred entries hashed again). With the entries' own memory and the kernel's fresh pages, the longest insertion
//! of 20 million takes 0.15 ms (`cargo bench --bench growth`), and 6 ms where the kernel makes huge pages. Hashbrown's
//! longest insertion moves everything.
#![allow(unsafe_code)]

mod directory;
mod segment;
#[cfg(test)]
mod tests;

use crate::structure::cache::prefetch;
use directory::{DEPTH_MAX, Directory, KEY_BITS, start_of, width_of};
use segment::{
    CLASS_BUCKETS, PAYLOAD_MASK, SLOTS, Segment, SlotList, TAG_BITS, class_of, first_tag_of, home_of, is_half_unknown,
    slot_of, tag_of_slot, to_half, to_whole,
};

/// Largest payload: 48 bits, of which the lower three are 0.
pub const PAYLOAD_MAX: u64 = PAYLOAD_MASK;

/// Bits of a `scan` cursor; the ones above are never set and never looked at.
pub const CURSOR_BITS: u32 = TAG_BITS + DEPTH_MAX + 1;

/// Bits of a `locator`.
pub const LOCATOR_BITS: u32 = DEPTH_MAX + TAG_BITS;

/// Words of a directory that no number of entries has to justify: those of some twenty million.
const DIRECTORY_WORDS_FREE: usize = 1 << 17;
/// Load, in percent, that a segment is made for when it is split, merged or shrunk.
const LOAD_PERCENT_AIM: usize = 86;
/// Load of the whole table, in percent, below which removals shrink it.
const LOAD_PERCENT_MIN: usize = 70;
/// A block is not made larger for entries that would fill it to less than this: they go to the overflow list.
const LOAD_PERCENT_WORTH: usize = 40;
/// Two segments are merged if together they have at most so many entries.
const MERGED_LEN_MAX: usize = 620;
/// Removals per step of shrinking.
const REMOVALS_PER_STEP: usize = 16;
/// How many slots further a split looks for entries that it will have to hash, to bring them in.
const REHASH_AHEAD: usize = 40;
/// For fewer entries no room is made beforehand.
const ROOM_LEN_MIN: usize = 4096;
/// Where it is, segments are made for so many entries at most: some get a few more than others.
const ROOM_SEGMENT_LEN_MAX: f64 = 720.0;
/// Draws of a random slot before the next entry on the way is taken.
const DRAWS_MAX: usize = 100;

/// Where an entry lies, until the next call that changes the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Index into the directory, or `IN_OVERFLOW`.
    place: u32,
    /// Bucket × 8 + slot, or the index into the overflow list.
    index: u32,
}

const IN_OVERFLOW: u32 = u32::MAX;

/// A bucket in the round that [`Table::place_after`] makes over all of them; the default is the first. It stays one
/// when the table changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Some key of the segment.
    key: u64,
    bucket: usize,
}

/// A hash table of 48-bit payloads; see the module's page.
pub struct Table {
    directory: Directory,
    len: usize,
    /// Buckets of all blocks; 0 is a table without memory.
    buckets: usize,
    /// Bytes of all blocks, as the allocator rounds them.
    block_bytes: usize,
    /// Entries below which removals shrink the table: `LOAD_PERCENT_MIN`.
    len_min: usize,
    /// The first key of the segment at which shrinking goes on.
    hand: u64,
    /// Entries that no segment has room for: more than 16 with one and the same hash. In practice empty.
    overflow: Vec<Stray>,
}

#[derive(Clone, Copy)]
struct Stray {
    hash: u64,
    payload: u64,
}

/// The tag of a hash: its low 16 bits, never 0.
#[inline(always)]
fn tag_of(hash: u64) -> u16 {
    (hash as u16).max(1)
}

/// The key of a hash: by this the directory is indexed.
#[inline(always)]
fn key_of(hash: u64) -> u64 {
    let x = hash >> 32;
    // x(1 - x), in units of 2^-64; 5/16 of it is taken off.
    let product = x.wrapping_mul(x ^ 0xffff_ffff);
    x.wrapping_sub((product >> 34).wrapping_add(product >> 36))
}

/// The share of hashes whose keys are smaller: the inverse of [`key_of`].
fn share_below(key: u64) -> f64 {
    // 5/16 x² + 11/16 x = k, for x and k between 0 and 1.
    let key = key as f64 / width_of(0) as f64;
    ((121.0 + 320.0 * key).sqrt() - 11.0) / 10.0
}

/// Whether the table can hold this.
#[inline(always)]
fn is_payload(payload: u64) -> bool {
    payload != 0 && payload & !PAYLOAD_MASK == 0
}

/// Bytes that the allocator takes for a block of so many buckets.
fn bytes_of(buckets: usize) -> usize {
    let bytes = buckets * SLOTS * 8;
    if bytes.is_power_of_two() { bytes } else { bytes + 64 }
}

/// The class whose load is nearest below the aim.
fn class_for(len: usize) -> usize {
    class_of((len * 100).div_ceil(SLOTS * LOAD_PERCENT_AIM))
}

/// Whether so many entries may ask for a block of the class.
fn is_worth(len: usize, class: usize) -> bool {
    CLASS_BUCKETS[class] as usize * SLOTS * LOAD_PERCENT_WORTH <= len * 100
}

impl Table {
    /// An empty table, which has no memory of its own.
    pub const fn new() -> Table {
        Table {
            directory: Directory::new(),
            len: 0,
            buckets: 0,
            block_bytes: 0,
            len_min: 0,
            hand: 0,
            overflow: Vec::new(),
        }
    }

    /// An empty table with the blocks that about so many entries will fill, for one who is about to insert them: it
    /// would grow to the same otherwise, and move each of them several times. Few make little difference: then it has
    /// no memory of its own.
    pub fn with_room(len: usize) -> Table {
        let mut table = Table::new();
        if len < ROOM_LEN_MIN {
            return table;
        }
        let mut segments = Vec::new();
        let mut start = 0;
        while start < width_of(0) {
            let expected = |depth| len as f64 * (share_below(start + width_of(depth)) - share_below(start));
            let is_fine = |&depth: &u32| start == start_of(start, depth) && expected(depth) <= ROOM_SEGMENT_LEN_MAX;
            let depth = (0..DEPTH_MAX).find(is_fine).unwrap_or(DEPTH_MAX);
            let segment = Segment::allocate(class_for(expected(depth) as usize), depth);
            table.account(segment);
            segments.push(segment);
            start += width_of(depth);
        }
        table.directory.open(&segments);
        table
    }

    /// Number of entries.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of heap that the table takes, entries not included.
    pub fn memory_bytes(&self) -> usize {
        self.block_bytes + self.directory.memory_bytes() + self.overflow.capacity() * size_of::<Stray>()
    }

    /// Brings both cache lines in which the hash can lie towards the processor.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        let segment = self.directory.get(key_of(hash));
        let line = segment.address(home_of(tag_of(hash), segment.homes())).cast::<u8>();
        prefetch(line);
        prefetch(line.wrapping_add(64));
    }

    /// The payload of the first slot with the tag of the hash: very likely the entry, worth a prefetch of its own.
    #[inline(always)]
    pub fn first_match(&self, hash: u64) -> Option<u64> {
        self.get(hash, |_| true)
    }

    /// The payload for which `equal` says yes among those with the tag of the hash.
    #[inline(always)]
    pub fn get(&self, hash: u64, equal: impl FnMut(u64) -> bool) -> Option<u64> {
        self.find_with_payload(hash, equal).map(|(_, payload)| payload)
    }

    /// Where the payload lies for which `equal` says yes among those with the tag of the hash.
    #[inline(always)]
    pub fn find(&self, hash: u64, equal: impl FnMut(u64) -> bool) -> Option<Position> {
        self.find_with_payload(hash, equal).map(|(position, _)| position)
    }

    /// `find` and `payload` in one.
    #[inline(always)]
    pub fn find_with_payload(&self, hash: u64, mut equal: impl FnMut(u64) -> bool) -> Option<(Position, u64)> {
        let key = key_of(hash);
        let segment = self.directory.get(key);
        // SAFETY: the directory's blocks are alive, and `equal` has no access to the table but by `&self`.
        if let Some((index, payload)) = unsafe { segment.find(tag_of(hash), &mut equal) } {
            return Some((Position { place: self.directory.index(key) as u32, index: index as u32 }, payload));
        }
        if self.overflow.is_empty() { None } else { self.find_in_overflow(hash, &mut equal) }
    }

    /// Forty bits by which an entry is found again without its key: what of its hash decides where it lies. Two keys
    /// share theirs with a probability of 10^-12.
    #[inline(always)]
    pub fn locator(hash: u64) -> u64 {
        key_of(hash) >> (KEY_BITS - DEPTH_MAX) << TAG_BITS | tag_of(hash) as u64
    }

    /// `find_with_payload` by a locator.
    ///
    /// # Panics
    /// If the locator has more than `LOCATOR_BITS` bits.
    pub fn find_by_locator(&self, locator: u64, mut equal: impl FnMut(u64) -> bool) -> Option<(Position, u64)> {
        assert!(locator >> LOCATOR_BITS == 0);
        let key = locator >> TAG_BITS << (KEY_BITS - DEPTH_MAX);
        let segment = self.directory.get(key);
        // SAFETY: the directory's blocks are alive, and `equal` has no access to the table but by `&self`.
        if let Some((index, payload)) = unsafe { segment.find(locator as u16, &mut equal) } {
            return Some((Position { place: self.directory.index(key) as u32, index: index as u32 }, payload));
        }
        let mut strays = self.overflow.iter();
        let index = strays.position(|stray| Table::locator(stray.hash) == locator && equal(stray.payload))?;
        Some((Position { place: IN_OVERFLOW, index: index as u32 }, self.overflow[index].payload))
    }

    #[cold]
    fn find_in_overflow(&self, hash: u64, equal: &mut dyn FnMut(u64) -> bool) -> Option<(Position, u64)> {
        // A tag of 0 is known as 1.
        let is_same = |other: u64| other >> TAG_BITS == hash >> TAG_BITS && tag_of(other) == tag_of(hash);
        let index = self.overflow.iter().position(|stray| is_same(stray.hash) && equal(stray.payload))?;
        Some((Position { place: IN_OVERFLOW, index: index as u32 }, self.overflow[index].payload))
    }

    /// The payload at a position.
    ///
    /// # Panics
    /// If there is no entry: the position was kept over a change of the table.
    #[inline]
    pub fn payload(&self, position: Position) -> u64 {
        if position.place == IN_OVERFLOW {
            return self.overflow[position.index as usize].payload;
        }
        // SAFETY: `segment_at` gives a live block and checks the index.
        let payload = unsafe { self.segment_at(position).slot(position.index as usize) } & PAYLOAD_MASK;
        assert!(payload != 0);
        payload
    }

    /// Enters another payload for the same entry: it has been moved.
    ///
    /// # Panics
    /// If there is no entry at the position, or the payload is none.
    #[inline]
    pub fn set_payload(&mut self, position: Position, payload: u64) {
        assert!(is_payload(payload));
        assert!(self.payload(position) != 0);
        if position.place == IN_OVERFLOW {
            self.overflow[position.index as usize].payload = payload;
            return;
        }
        // SAFETY: `segment_at` gives a live block and checks the index; `&mut self` keeps others away.
        unsafe { self.segment_at(position).set_payload(position.index as usize, payload) }
    }

    /// The segment of a position; its index lies within the block.
    #[inline(always)]
    fn segment_at(&self, position: Position) -> Segment {
        let segment = self.directory.at(position.place as usize);
        assert!((position.index as usize) < segment.buckets() * SLOTS);
        segment
    }

    /// Adds an entry. The caller knows that it is not there yet.
    ///
    /// `rehash` gives the hash of a payload of the table; its tag need not be right. Few insertions need it, those for
    /// some 200 entries, and for at most nine hundred. It is never asked for the new payload.
    ///
    /// # Panics
    /// If the payload is 0, above `PAYLOAD_MAX` or no multiple of 8.
    #[inline]
    pub fn insert(&mut self, hash: u64, payload: u64, mut rehash: impl FnMut(u64) -> u64) {
        assert!(is_payload(payload));
        let key = key_of(hash);
        let segment = self.directory.get(key);
        let slot = slot_of(tag_of(hash), payload, key, segment.depth());
        self.len += 1;
        // SAFETY: a table with buckets has a directory of live blocks; `&mut self` keeps others away.
        if self.buckets == 0 || !unsafe { segment.insert(slot) } {
            self.insert_by_growing(hash, slot, &mut rehash);
        }
        if !self.overflow.is_empty() {
            self.adopt_stray();
        }
        if self.directory.is_moving() {
            self.directory.advance();
        }
    }

    #[cold]
    #[inline(never)]
    fn insert_by_growing(&mut self, hash: u64, slot: u64, rehash: &mut dyn FnMut(u64) -> u64) {
        let mut rest = Vec::new();
        if self.buckets == 0 {
            let segment = Segment::build(0, 0, &[slot], &mut rest);
            self.account(segment);
            self.directory.open(&[segment]);
            return;
        }
        let key = key_of(hash);
        let old = self.directory.get(key);
        let depth = old.depth();
        let mut list = SlotList::new();
        // SAFETY: the directory's blocks are alive.
        unsafe { old.collect(&mut list, |slot| slot) };
        list.push(slot);
        let slots = list.as_slice();

        for class in class_of(old.buckets()) + 1..CLASS_BUCKETS.len() {
            if !is_worth(slots.len(), class) {
                break;
            }
            let segment = Segment::build(class, depth, slots, &mut rest);
            if rest.is_empty() {
                self.account(segment);
                self.directory.replace(key, segment);
                self.free(old);
                // The last class but one: the next directory is begun before it is needed.
                if class + 2 >= CLASS_BUCKETS.len() && depth == self.directory.depth() && self.may_split(depth) {
                    self.directory.start_doubling();
                }
                return;
            }
            rest.clear();
            // SAFETY: just built, and known to nobody.
            unsafe { segment.free() };
        }
        if is_worth(slots.len(), CLASS_BUCKETS.len() - 1) && self.may_split(depth) {
            self.split(hash, old, slots, rehash);
        } else {
            self.overflow.push(Stray { hash, payload: slot & PAYLOAD_MASK });
        }
    }

    /// Whether a segment of the depth may be split. With hashes that deserve the name the depth exceeds the binary
    /// logarithm of the number of segments by two at most; more are needed where entries come in the order of their
    /// hashes. This holds up a directory that would explode because all hashes begin alike.
    fn may_split(&self, depth: u32) -> bool {
        depth < DEPTH_MAX && (2 << depth) <= self.len.max(DIRECTORY_WORDS_FREE)
    }

    /// Replaces a segment by two. `slots` are its slots and, at the end, the one with the hash `new_hash`.
    fn split(&mut self, new_hash: u64, old: Segment, slots: &[u64], rehash: &mut dyn FnMut(u64) -> u64) {
        let depth = old.depth() + 1;
        let mut lists = [SlotList::new(), SlotList::new()];
        for (index, &slot) in slots.iter().enumerate() {
            if let Some(&ahead) = slots.get(index + REHASH_AHEAD)
                && is_half_unknown(ahead)
            {
                prefetch(std::ptr::without_provenance((ahead & PAYLOAD_MASK) as usize));
            }
            let slot = if is_half_unknown(slot) {
                let key = key_of(rehash(slot & PAYLOAD_MASK));
                slot_of(tag_of_slot(slot), slot & PAYLOAD_MASK, key, depth - 1)
            } else {
                slot
            };
            let (half, slot) = to_half(slot);
            lists[half].push(slot);
        }
        let new_payload = slots[slots.len() - 1] & PAYLOAD_MASK;
        let halves = lists.map(|list| {
            let slots = list.as_slice();
            let mut rest = Vec::new();
            let segment = self.arrange(class_for(slots.len()), depth, slots, &mut rest);
            for slot in rest {
                let payload = slot & PAYLOAD_MASK;
                let hash = if payload == new_payload { new_hash } else { rehash(payload) };
                // A caller whose payloads do not say their tags gives the rest of the hash.
                let tag = tag_of_slot(slot);
                let hash = if tag_of(hash) == tag { hash } else { hash & !0xffff | u64::from(tag) };
                self.overflow.push(Stray { hash, payload });
            }
            self.account(segment);
            segment
        });
        self.directory.split(key_of(new_hash), halves);
        self.free(old);
    }

    /// Builds a block of the class or, as long as entries find no room in it and it is worth it, of a larger one.
    /// What finds no room at all goes to `rest`.
    fn arrange(&self, mut class: usize, depth: u32, slots: &[u64], rest: &mut Vec<u64>) -> Segment {
        loop {
            let segment = Segment::build(class, depth, slots, rest);
            class += 1;
            if rest.is_empty() || CLASS_BUCKETS.len() <= class || !is_worth(slots.len(), class) {
                return segment;
            }
            rest.clear();
            // SAFETY: just built, and known to nobody.
            unsafe { segment.free() };
        }
    }

    fn account(&mut self, segment: Segment) {
        self.buckets += segment.buckets();
        self.block_bytes += bytes_of(segment.buckets());
        self.len_min = self.buckets * SLOTS * LOAD_PERCENT_MIN / 100;
    }

    /// Frees the block of a segment that the directory does not know any more.
    fn free(&mut self, segment: Segment) {
        self.buckets -= segment.buckets();
        self.block_bytes -= bytes_of(segment.buckets());
        self.len_min = self.buckets * SLOTS * LOAD_PERCENT_MIN / 100;
        // SAFETY: by contract of this function it is alive and out of the directory.
        unsafe { segment.free() };
    }

    /// Takes an entry out and returns its payload. Positions found before are void.
    ///
    /// # Panics
    /// If there is no entry: the position was kept over a change of the table.
    #[inline]
    pub fn remove(&mut self, position: Position) -> u64 {
        let payload = self.payload(position);
        if position.place == IN_OVERFLOW {
            self.overflow.swap_remove(position.index as usize);
            self.trim_overflow();
        } else {
            // SAFETY: a live block and, since there is a payload, a used slot; `&mut self` keeps others away.
            unsafe { self.segment_at(position).remove(position.index as usize) };
        }
        self.len -= 1;
        if self.len < self.len_min || self.len == 0 || !self.overflow.is_empty() {
            self.maintain();
        }
        if self.directory.is_moving() {
            self.directory.advance();
        }
        payload
    }

    /// Gives memory of the overflow list back.
    fn trim_overflow(&mut self) {
        if self.overflow.len() * 4 < self.overflow.capacity() {
            self.overflow.shrink_to(self.overflow.len() * 2);
        }
    }

    /// Perhaps there is room by now for one of those in the overflow list.
    #[cold]
    fn adopt_stray(&mut self) {
        let Some(stray) = self.overflow.pop() else { return };
        let key = key_of(stray.hash);
        let segment = self.directory.get(key);
        let slot = slot_of(tag_of(stray.hash), stray.payload, key, segment.depth());
        // SAFETY: a live block; `&mut self` keeps others away.
        if !unsafe { segment.insert(slot) } {
            self.overflow.push(stray);
            let middle = self.len % self.overflow.len();
            let last = self.overflow.len() - 1;
            self.overflow.swap(middle, last);
        }
        self.trim_overflow();
    }

    /// One step of giving memory back, if it is time for one.
    #[cold]
    fn maintain(&mut self) {
        if self.len == 0 {
            if self.directory.segments() == 1 {
                *self = Table::new();
                return;
            }
        } else {
            self.adopt_stray();
        }
        if self.len < REMOVALS_PER_STEP * SLOTS || self.len.is_multiple_of(REMOVALS_PER_STEP) {
            self.shrink_step();
        }
    }

    /// Makes the segment at the hand smaller, or merges it with its neighbour, and moves the hand on.
    fn shrink_step(&mut self) {
        let segment = self.directory.get(self.hand);
        let depth = segment.depth();
        let start = start_of(self.hand, depth);
        let mut list = SlotList::new();
        let mut rest = Vec::new();
        self.hand = (start + width_of(depth)) % width_of(0);
        // SAFETY: blocks of the directory are alive.
        let len = unsafe { segment.count() };
        if 0 < depth {
            let neighbour = self.directory.get(start ^ width_of(depth));
            // SAFETY: as above.
            if neighbour.depth() == depth && len + unsafe { neighbour.count() } <= MERGED_LEN_MAX {
                let half = (start >> (KEY_BITS - depth)) as usize & 1;
                // SAFETY: as above.
                unsafe {
                    segment.collect(&mut list, |slot| to_whole(half, slot));
                    neighbour.collect(&mut list, |slot| to_whole(1 - half, slot));
                }
                let merged = self.arrange(class_for(list.as_slice().len()), depth - 1, list.as_slice(), &mut rest);
                self.hand = (start_of(start, depth - 1) + width_of(depth - 1)) % width_of(0);
                if rest.is_empty() {
                    self.account(merged);
                    self.directory.merge(start, merged);
                    self.free(segment);
                    self.free(neighbour);
                } else {
                    // SAFETY: just built, and known to nobody.
                    unsafe { merged.free() };
                }
                return;
            }
        }
        let class = class_for(len);
        if class < class_of(segment.buckets()) {
            // SAFETY: blocks of the directory are alive.
            unsafe { segment.collect(&mut list, |slot| slot) };
            let smaller = self.arrange(class, depth, list.as_slice(), &mut rest);
            if rest.is_empty() && smaller.buckets() < segment.buckets() {
                self.account(smaller);
                self.directory.replace(start, smaller);
                self.free(segment);
            } else {
                // SAFETY: just built, and known to nobody.
                unsafe { smaller.free() };
            }
        }
    }

    /// One step of an iteration, with the guarantee of SCAN: whatever is in the table from the first step (`cursor` 0)
    /// to the last (which returns 0) is visited at least once, whatever is inserted and removed between the steps.
    ///
    /// A step visits about `budget` entries; up to a segment (some nine hundred) more where segments have been merged
    /// since the last one. Any cursor is taken; bits above `CURSOR_BITS` are ignored.
    pub fn scan(&self, cursor: u64, budget: usize, mut visit: impl FnMut(u64)) -> u64 {
        let Cursor { start: mut key, mut depth, mut tag } = Cursor::decode(cursor);
        let mut left = budget.max(1);
        loop {
            let segment = self.directory.get(key);
            let start = start_of(key, segment.depth());
            let width = width_of(segment.depth());
            let homes = segment.homes();
            // Merged since: the cursor speaks of a part of this segment, which cannot be told from the rest. The
            // segment is done in one go, and from its beginning unless the part was the last.
            let is_merged = segment.depth() < depth && (start < key || 0 < tag);
            if is_merged && key + width_of(depth) != start + width {
                tag = 0;
            }
            let mut home = home_of(tag.min(u16::MAX as u32) as u16, homes);
            while home < homes {
                let visited = self.visit_home(segment, start, home, tag, &mut visit);
                left = left.saturating_sub(visited);
                home += 1;
                tag = first_tag_of(home, homes);
                if left == 0 && !is_merged && home < homes {
                    return Cursor { start, depth: segment.depth(), tag }.encode();
                }
            }
            key = start + width;
            if key == width_of(0) {
                return 0;
            }
            tag = 0;
            depth = segment.depth();
            if left == 0 {
                return Cursor { start: key, depth, tag }.encode();
            }
        }
    }

    /// Visits what a scan from this cursor on comes to after about so many steps of the smallest budget: the entries of
    /// one bucket. For who has them brought towards the processor: neither complete nor exact, and nothing at the end.
    #[inline]
    pub fn look_ahead(&self, cursor: u64, buckets: usize, mut visit: impl FnMut(u64)) {
        if self.buckets == 0 {
            return;
        }
        let Cursor { start: key, tag, .. } = Cursor::decode(cursor);
        let mut segment = self.directory.get(key);
        let mut bucket = home_of(tag.min(u16::MAX as u32) as u16, segment.homes()) + buckets;
        if segment.homes() < bucket {
            bucket -= segment.homes() + 1;
            let next = start_of(key, segment.depth()) + width_of(segment.depth());
            if next == width_of(0) {
                return;
            }
            segment = self.directory.get(next);
        }
        if bucket <= segment.homes() {
            // SAFETY: a live block, a bucket of it; `&self` keeps those who would write away.
            let slots = unsafe { segment.bucket(bucket) }.slots;
            slots.iter().take_while(|&&slot| slot != 0).for_each(|slot| visit(slot & PAYLOAD_MASK));
        }
    }

    /// One step of an iteration that visits what is in the table from the first step (`position` 0) to the last (which
    /// returns 0) exactly once, and nothing twice, whatever is inserted and removed between the steps: it goes by whole
    /// segments, so that a position says which keys have been, however segments are split and merged meanwhile.
    ///
    /// A step visits at least `budget` entries, as far as there are any, and up to a segment (some nine hundred) more.
    /// `rehash` gives the hash of a payload of the table; it is asked of entries of merged segments.
    ///
    /// # Panics
    /// The position is none that a step returned.
    pub fn survey(&self, position: u64, budget: usize, rehash: impl Fn(u64) -> u64, mut visit: impl FnMut(u64)) -> u64 {
        assert!(position < width_of(0));
        let (mut key, mut visited) = (position, 0);
        loop {
            let segment = self.directory.get(key);
            let start = start_of(key, segment.depth());
            let homes = segment.homes();
            // Merged since: what belongs to smaller keys has been visited.
            let mut visit_new = |payload: u64| {
                if start == key || key <= key_of(rehash(payload)) {
                    visit(payload);
                }
            };
            for home in 0..homes {
                visited += self.visit_home(segment, start, home, 0, &mut visit_new);
            }
            key = start + width_of(segment.depth());
            if key == width_of(0) {
                return 0;
            }
            if budget <= visited {
                return key;
            }
        }
    }

    /// Visits the entries at home in bucket `home` whose tags are not below `tag`.
    #[inline]
    fn visit_home(&self, segment: Segment, start: u64, home: usize, tag: u32, visit: &mut impl FnMut(u64)) -> usize {
        let mut visited = 0;
        // SAFETY: a live block; home < homes.
        unsafe {
            segment.visit_home(home, |slot| {
                if tag <= tag_of_slot(slot) as u32 {
                    visit(slot & PAYLOAD_MASK);
                    visited += 1;
                }
            })
        }
        for stray in &self.overflow {
            let of_stray = tag_of(stray.hash);
            if start_of(key_of(stray.hash), segment.depth()) == start
                && home_of(of_stray, segment.homes()) == home
                && tag <= of_stray as u32
            {
                visit(stray.payload);
                visited += 1;
            }
        }
        visited
    }

    /// Visits every entry.
    pub fn for_each(&self, visit: impl FnMut(u64)) {
        let end = self.scan(0, usize::MAX, visit);
        assert!(end == 0);
    }

    /// A random entry; `seed` is a random number.
    ///
    /// Within a segment every entry has the same probability, and a segment has that of its share of all hashes. With
    /// some 650 entries a segment its share of the entries differs from that by 4 % (one standard deviation).
    pub fn random(&self, seed: u64) -> Option<u64> {
        let mut random = seed;
        if let Some(index) = self.random_stray(&mut random) {
            return Some(self.overflow[index].payload);
        }
        for _ in 0..DRAWS_MAX {
            let (_, segment, bucket, bits) = self.random_bucket(&mut random);
            // SAFETY: a live block, a bucket of it.
            let slot = unsafe { segment.bucket(bucket) }.slots[bits % SLOTS];
            if slot != 0 {
                return Some(slot & PAYLOAD_MASK);
            }
        }
        let mut payloads = [0];
        (self.sample(next_random(&mut random), &mut payloads) != 0).then_some(payloads[0])
    }

    /// Asks for the memory where [`Table::sample`] with this seed begins to look.
    pub fn prefetch_sample(&self, seed: u64) {
        if self.len != 0 {
            let (_, segment, bucket, _) = self.random_bucket(&mut { seed });
            let line = segment.address(bucket).cast::<u8>();
            prefetch(line);
            prefetch(line.wrapping_add(64));
        }
    }

    /// Fills `payloads` with different random entries and returns their number, at least 1 unless the table is empty;
    /// less than asked for if the table has not as many, or some that no segment has room for. They are neighbours in
    /// the table, from one or two cache lines, and each entry has about the same probability to be among them.
    pub fn sample(&self, seed: u64, payloads: &mut [u64]) -> usize {
        if self.len == 0 || payloads.is_empty() {
            return 0;
        }
        let mut random = seed;
        if let Some(index) = self.random_stray(&mut random) {
            let strays = self.overflow[index..].iter().chain(&self.overflow[..index]);
            return payloads.iter_mut().zip(strays).map(|(to, stray)| *to = stray.payload).count();
        }
        let (mut key, mut segment, mut bucket, mut bits) = self.random_bucket(&mut random);
        for _ in 1..DRAWS_MAX {
            // SAFETY: a live block, a bucket of it.
            if unsafe { segment.bucket(bucket) }.slots[0] != 0 {
                break;
            }
            (key, segment, bucket, bits) = self.random_bucket(&mut random);
        }
        // From that bucket on round the whole table, as far as needed.
        let (first_bucket, mut filled) = (bucket, 0);
        let first_key = start_of(key, segment.depth());
        let mut is_round = false;
        loop {
            // SAFETY: as above.
            let in_bucket = unsafe { segment.bucket(bucket) };
            let used = in_bucket.used();
            for turn in 0..used {
                payloads[filled] = in_bucket.slots[(bits + turn) % used] & PAYLOAD_MASK;
                filled += 1;
                if filled == payloads.len() {
                    return filled;
                }
            }
            bucket += 1;
            if bucket == segment.buckets() {
                bucket = 0;
                key = (start_of(key, segment.depth()) + width_of(segment.depth())) % width_of(0);
                segment = self.directory.get(key);
                is_round = key == first_key;
            }
            if is_round && bucket == first_bucket {
                break;
            }
        }
        for (to, stray) in payloads[filled..].iter_mut().zip(&self.overflow) {
            *to = stray.payload;
            filled += 1;
        }
        filled
    }

    /// The next place of the round; the first one is the end of a round. Who goes round an unchanging table sees every
    /// entry once; entries that move meanwhile may be missed, or seen twice.
    #[inline]
    pub fn place_after(&self, place: Place) -> Place {
        let segment = self.directory.get(place.key);
        if place.bucket + 1 < segment.buckets() {
            return Place { bucket: place.bucket + 1, ..place };
        }
        let key = start_of(place.key, segment.depth()) + width_of(segment.depth());
        Place { key: key % width_of(0), bucket: 0 }
    }

    /// Asks for the cache line of a place.
    #[inline]
    pub fn prefetch_place(&self, place: Place) {
        prefetch(self.directory.get(place.key).address(place.bucket).cast());
    }

    /// Visits what lies at a place, up to eight entries (with the strays at the first place): the locator, good for
    /// [`Table::find_by_locator`] until the segment is split, and the payload.
    #[inline]
    pub fn visit_place(&self, place: Place, mut visit: impl FnMut(u64, u64)) {
        let segment = self.directory.get(place.key);
        if self.buckets != 0 && place.bucket < segment.buckets() {
            let key = place.key >> (KEY_BITS - DEPTH_MAX) << TAG_BITS;
            // SAFETY: a live block, a bucket of it.
            let bucket = unsafe { segment.bucket(place.bucket) };
            for slot in bucket.slots.into_iter().take_while(|slot| *slot != 0) {
                visit(key | u64::from(tag_of_slot(slot)), slot & PAYLOAD_MASK);
            }
        }
        if place == Place::default() {
            self.overflow.iter().for_each(|stray| visit(Table::locator(stray.hash), stray.payload));
        }
    }

    /// Asks for both cache lines in which an entry with this locator can lie.
    #[inline]
    pub fn prefetch_located(&self, locator: u64) {
        let segment = self.directory.get(locator >> TAG_BITS << (KEY_BITS - DEPTH_MAX));
        let line = segment.address(home_of(locator as u16, segment.homes())).cast::<u8>();
        prefetch(line);
        prefetch(line.wrapping_add(64));
    }

    /// Index of a stray, with the probability that strays have among all entries.
    fn random_stray(&self, random: &mut u64) -> Option<usize> {
        if self.overflow.is_empty() {
            return None;
        }
        let index = ((next_random(random) as u128 * self.len as u128) >> 64) as usize;
        (index < self.overflow.len()).then_some(index)
    }

    /// A segment by its share of the hashes, one of its buckets, and some random bits.
    #[inline]
    fn random_bucket(&self, random: &mut u64) -> (u64, Segment, usize, usize) {
        let bits = next_random(random);
        let key = key_of(bits);
        let segment = self.directory.get(key);
        let bucket = (bits as u16 as usize * segment.buckets()) >> 16;
        (key, segment, bucket, (bits >> 16) as u16 as usize)
    }

    /// Takes everything out, to be freed bit by bit; the table is empty afterwards.
    pub fn take(&mut self) -> Drain {
        Drain { table: std::mem::take(self), key: 0, bucket: 0 }
    }

    /// Frees the blocks from a key on.
    fn free_blocks(&mut self, mut key: u64) {
        while self.buckets != 0 && key < width_of(0) {
            let segment = self.directory.get(key);
            key = start_of(key, segment.depth()) + width_of(segment.depth());
            self.free(segment);
        }
    }
}

impl Default for Table {
    fn default() -> Table {
        Table::new()
    }
}

impl Drop for Table {
    /// Frees the blocks. What the payloads stand for is the caller's concern.
    fn drop(&mut self) {
        self.free_blocks(0);
        assert!(self.buckets == 0);
    }
}

/// The former content of a table, which leaves it in steps.
pub struct Drain {
    table: Table,
    /// The first key of the segment that is next; those before are freed.
    key: u64,
    bucket: usize,
}

impl Drain {
    /// Number of entries that are still there.
    pub fn len(&self) -> usize {
        self.table.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.table.len == 0
    }

    /// Bytes of heap, those of the directory included until the end.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    /// Hands out about `budget` entries (at most 8 more) and frees blocks that have become empty. False after the last.
    pub fn step(&mut self, budget: usize, mut take: impl FnMut(u64)) -> bool {
        let mut left = budget.max(1);
        let table = &mut self.table;
        while left != 0 {
            if let Some(stray) = table.overflow.pop() {
                take(stray.payload);
                table.len -= 1;
                left -= 1;
                continue;
            }
            if table.buckets == 0 {
                break;
            }
            let segment = table.directory.get(self.key);
            // SAFETY: blocks from `key` on are alive; `bucket` is an index of this one, checked below.
            let bucket = unsafe { segment.bucket(self.bucket) };
            for &slot in &bucket.slots[..bucket.used()] {
                take(slot & PAYLOAD_MASK);
                table.len -= 1;
                left = left.saturating_sub(1);
            }
            self.bucket += 1;
            if self.bucket == segment.buckets() {
                self.key = start_of(self.key, segment.depth()) + width_of(segment.depth());
                self.bucket = 0;
                table.free(segment);
            }
        }
        table.buckets != 0 || !table.overflow.is_empty()
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.table.free_blocks(self.key);
    }
}

/// Where an iteration stands: what lies below `start`, or in the segment of this depth there with a tag below `tag`,
/// has been visited.
///
/// ```text
/// 63                41 40                          16 15        0
/// ┌───────────────────┬─────────────────────────────┬────────────┐
/// │ 0                 │ upper `depth` bits of the   │ tag        │
/// │                   │ key, a 1, zeros (25 bits)   │            │
/// └───────────────────┴─────────────────────────────┴────────────┘
/// ```
struct Cursor {
    start: u64,
    depth: u32,
    /// 0 to 65536; never the latter in an encoded cursor.
    tag: u32,
}

impl Cursor {
    fn decode(cursor: u64) -> Cursor {
        let tag = (cursor & 0xffff) as u32;
        let marked = cursor >> TAG_BITS & ((2 << DEPTH_MAX) - 1);
        if marked == 0 {
            return Cursor { start: 0, depth: 0, tag };
        }
        let depth = DEPTH_MAX - marked.trailing_zeros();
        let start = (marked & (marked - 1)) << (KEY_BITS - DEPTH_MAX - 1);
        Cursor { start, depth, tag }
    }

    fn encode(&self) -> u64 {
        let marked = self.start >> (KEY_BITS - DEPTH_MAX - 1) | 1 << (DEPTH_MAX - self.depth);
        marked << TAG_BITS | self.tag as u64
    }
}

/// SplitMix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
