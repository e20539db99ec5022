//! A hash table whose entries are packed, some twenty together, into one run of bytes: the large form of hashes and
//! sets.
//!
//! Wanted: few bytes an entry (a set of ten-byte members in some 15, where a pointer to an allocation of its own takes
//! 26); no call that takes longer because the table is large; SCAN with its full guarantee and no state; uniformly
//! random entries; deadlines of entries that cost nothing where there are none; to be freed in slices. Not wanted:
//! addresses that stay, order, shrinking at any price, hashing by the caller (the table is keyed by a seed of its own).
//!
//! # Layout
//!
//! ```text
//! hash   63      56 55                          n        0
//!       ┌──────────┬────────────────────────────┬─────────┐
//!       │ mark     │ not used yet               │ address │      linear hashing: with n buckets, the low bits of the
//!       └──────────┴────────────────────────────┴─────────┘      hash; one bit less where that bucket is not split yet
//!
//! chunks   ┌───────┬───────┬───────┐      256 buckets each, so that neither growing nor freeing touches much at once
//!          └───┬───┴───────┴───────┘
//!              ▼
//! buckets  ┌───────┬───────┬─ ─ ─    ┌───────┬─ ─ ─   deadlines: of each bucket the first one or a time before it;
//!          └───┬───┴───────┴─ ─ ─    └───────┴─ ─ ─   there only if some entry of the chunk ever had one
//!              ▼
//! blob     ┌─────────┬─────────┬─────────┬─ ─ ─┬─────────┬─────────┬─ ─ ─┬──────────────────────┬──────────────┬─ ─
//!          │ count 2 │ mark    │ mark    │     │ sizes   │ sizes   │     │ key value [deadline] │ key value    │
//!          └─────────┴─────────┴─────────┴─ ─ ─┴─────────┴─────────┴─ ─ ─┴──────────────────────┴──────────────┴─ ─
//! sizes      a byte for the key:    timed (1) │ length (7)     timed: a deadline of 8 bytes stands behind the value
//!            one for the value, if entries have values:   0 (1) │ length (7)
//!            length 127: the bytes are longer than 126 and stand elsewhere; in their place 8 of address, 4 of length
//! ```
//!
//! A lookup compares the marks (one hash byte of each entry, some twenty side by side), adds up the sizes before the
//! one that fits, and compares the key: three lines of memory, one after the other, beside the chunk's address.
//!
//! # Growing and shrinking
//!
//! One bucket is split when the blobs have more than [`BUCKET_BYTES`] a bucket on average: the buckets are split in the
//! order of their numbers, whichever has become long, so an insertion splits one at most, and hashes its keys again. A
//! blob is as long as its entries (128 to 512 bytes, in the allocator's size classes), so that a bucket that waits
//! for its split wastes nothing. Removals merge the last bucket into the one that it was split from below a third of
//! that load. Nothing else ever moves. Measured in bytes, not in entries: long entries are few to a bucket, and what an
//! insertion moves stays the same.
//!
//! # SCAN
//!
//! A cursor is a bucket's address, counted up from the highest bit to the lowest, as in Redis' tables. In that order a
//! bucket of depth d is in charge of one interval of hashes, a split halves it, a merge joins two halves: the
//! cursor's interval is visited as a whole, so that what is there all the time is visited, some of it twice.
//!
//! # Random entries
//!
//! A random bucket and a random index below the highest count that any bucket has had: if there is such an entry it is
//! taken, else both are drawn again (some two or three times). So each entry is as likely as every other one.
//!
//! # Costs
//!
//! See `src/value/hash.rs` and `src/value/set.rs` for bytes beside Redis.

mod blob;
mod long;
#[cfg(test)]
mod tests;

use super::allocation::allocated_bytes;
use ahash::RandomState;
use blob::Blob;
use std::hash::{BuildHasher, Hasher};

/// Mean bytes of a bucket above which one is split.
const BUCKET_BYTES: usize = 256;
/// Mean bytes of a bucket below which one is merged.
const BUCKET_BYTES_MIN: usize = BUCKET_BYTES / 3;
/// Buckets of a chunk; a power of two.
const CHUNK_LEN: usize = 256;
/// No deadline.
const NEVER_MS: u64 = u64::MAX;
/// A scan looks at so many buckets for each entry it is asked for, lest it go on for ever in an empty table.
const SCAN_BUCKETS_PER_ENTRY: usize = 10;

/// An entry, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its value; empty in a table without values.
    pub value: &'a [u8],
    /// When it is to be removed, in unix ms.
    pub deadline_ms: Option<u64>,
}

/// Where an entry lies, until the next call that changes the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    bucket: usize,
    index: usize,
}

#[derive(Default)]
struct Chunk<const VALUES: bool> {
    blobs: Vec<Blob<VALUES>>,
    /// As many as blobs, or none if no entry has had a deadline.
    due_ms: Vec<u64>,
    /// The first of them, or a time before.
    first_due_ms: u64,
}

impl<const VALUES: bool> Chunk<VALUES> {
    fn heap_bytes(&self) -> usize {
        allocated_bytes(self.blobs.capacity() * size_of::<Blob<VALUES>>())
            + allocated_bytes(self.due_ms.capacity() * size_of::<u64>())
    }
}

/// A table of keys, with (`VALUES`) or without values; see the module's page.
pub struct Packed<const VALUES: bool> {
    chunks: Vec<Chunk<VALUES>>,
    buckets: usize,
    len: usize,
    timed_len: usize,
    /// No deadline comes before this.
    due_ms: u64,
    /// Of all blobs: what counts as load.
    blob_bytes: usize,
    /// Of blobs and of what is too long for them, as the allocator rounds it.
    allocated: usize,
    /// Of all chunks.
    chunk_bytes: usize,
    /// No bucket has more entries.
    count_max: usize,
    hasher: RandomState,
}

impl<const VALUES: bool> Packed<VALUES> {
    /// An empty table. `seed` must be random, lest somebody makes keys that collide.
    pub fn new(seed: u64) -> Packed<VALUES> {
        Packed {
            chunks: Vec::new(),
            buckets: 0,
            len: 0,
            timed_len: 0,
            due_ms: NEVER_MS,
            blob_bytes: 0,
            allocated: 0,
            chunk_bytes: 0,
            count_max: 0,
            hasher: RandomState::with_seeds(
                seed,
                seed.rotate_left(17),
                !seed,
                seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ),
        }
    }

    /// Number of entries, those whose deadline has come among them.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of entries with a deadline.
    pub fn timed_len(&self) -> usize {
        self.timed_len
    }

    /// Bytes of all allocations behind this struct, the allocator's rounding included.
    pub fn heap_bytes(&self) -> usize {
        allocated_bytes(self.chunks.capacity() * size_of::<Chunk<VALUES>>()) + self.chunk_bytes + self.allocated
    }

    // Finding

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let mut state = self.hasher.build_hasher();
        state.write(key);
        state.finish()
    }

    /// The bucket in charge of a hash.
    #[inline]
    fn bucket_of(&self, hash: u64) -> usize {
        let mask = self.buckets.next_power_of_two() - 1;
        let bucket = hash as usize & mask;
        if bucket < self.buckets { bucket } else { bucket & mask >> 1 }
    }

    #[inline]
    fn blob(&self, bucket: usize) -> &Blob<VALUES> {
        &self.chunks[bucket / CHUNK_LEN].blobs[bucket % CHUNK_LEN]
    }

    /// Where the entry with a key lies.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<Place> {
        if self.buckets == 0 {
            return None;
        }
        let hash = self.hash(key);
        let bucket = self.bucket_of(hash);
        let index = self.blob(bucket).find(mark_of(hash), key)?;
        Some(Place { bucket, index })
    }

    /// The entry at a place.
    #[inline]
    pub fn at(&self, place: Place) -> Entry<'_> {
        self.blob(place.bucket).entry(place.index)
    }

    /// The entry with a key.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<Entry<'_>> {
        self.find(key).map(|place| self.at(place))
    }

    /// Whether there is an entry with a key.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> + '_ {
        self.chunks.iter().flat_map(|chunk| &chunk.blobs).flat_map(|blob| blob.iter())
    }

    /// Entries in the order of [`Packed::iter`], about `budget` of them, from a place that an earlier call has given;
    /// 0 is the first. The place of what follows, as long as nothing is changed.
    pub fn walk(&self, place: usize, budget: usize, mut visit: impl FnMut(Entry<'_>)) -> usize {
        let (mut bucket, mut visited) = (place, 0);
        while bucket < self.buckets && visited < budget {
            let blob = self.blob(bucket);
            blob.iter().for_each(&mut visit);
            visited += blob.len();
            bucket += 1;
        }
        bucket
    }

    /// A random entry; `draw` gives random numbers.
    pub fn random(&self, mut draw: impl FnMut() -> u64) -> Option<Place> {
        if self.len == 0 {
            return None;
        }
        loop {
            let random = draw();
            let bucket = below(random as u32, self.buckets);
            let index = below((random >> 32) as u32, self.count_max);
            if index < self.blob(bucket).len() {
                return Some(Place { bucket, index });
            }
        }
    }

    /// One step of an iteration over about `budget` entries; cursor 0 begins, and 0 comes back when it ends. What is
    /// there all the time is visited.
    pub fn scan(&self, mut cursor: u64, budget: usize, mut visit: impl FnMut(Entry<'_>)) -> u64 {
        if self.len == 0 {
            return 0;
        }
        let (mut visited, mut buckets_left) = (0, budget.saturating_mul(SCAN_BUCKETS_PER_ENTRY).max(1));
        loop {
            let bucket = self.bucket_of(cursor);
            let blob = self.blob(bucket);
            blob.iter().for_each(&mut visit);
            visited += blob.len();
            buckets_left -= 1;
            // Of the hash bits that lead to this bucket: counted up, the highest last.
            cursor = (cursor | !self.mask_of(bucket)).reverse_bits().wrapping_add(1).reverse_bits();
            if cursor == 0 || budget <= visited || buckets_left == 0 {
                return cursor;
            }
        }
    }

    /// The bits of a hash that lead to a bucket.
    fn mask_of(&self, bucket: usize) -> u64 {
        let mask = self.buckets.next_power_of_two() - 1;
        // Not split yet: its other half would be beyond the last one.
        let is_whole = bucket <= mask >> 1 && self.buckets <= bucket + (mask >> 1) + 1;
        (if is_whole { mask >> 1 } else { mask }) as u64
    }

    // Changing

    /// Adds an entry. Its key is not there yet.
    pub fn insert(&mut self, entry: Entry<'_>) {
        let added = self.insert_or_find(entry);
        assert!(added.is_ok(), "the key is there");
    }

    /// Adds an entry unless its key is there.
    ///
    /// # Errors
    /// Where the key is: nothing was changed.
    pub fn insert_or_find(&mut self, entry: Entry<'_>) -> Result<(), Place> {
        if self.buckets == 0 {
            self.push_bucket();
        }
        let hash = self.hash(entry.key);
        let bucket = self.bucket_of(hash);
        if let Some(index) = self.blob(bucket).find(mark_of(hash), entry.key) {
            return Err(Place { bucket, index });
        }
        self.change(bucket, |blob| blob.push(mark_of(hash), entry));
        self.len += 1;
        if let Some(deadline_ms) = entry.deadline_ms {
            self.timed_len += 1;
            self.note_due(bucket, deadline_ms);
        }
        self.count_max = self.count_max.max(self.blob(bucket).len());
        if self.buckets * BUCKET_BYTES < self.blob_bytes {
            self.split();
        }
        Ok(())
    }

    /// Gives an entry another value.
    pub fn set_value(&mut self, place: Place, value: &[u8]) {
        assert!(VALUES);
        self.change(place.bucket, |blob| blob.set_value(place.index, value));
        if self.buckets * BUCKET_BYTES < self.blob_bytes {
            self.split();
        }
    }

    /// Sets or clears the deadline of an entry, in unix ms.
    pub fn set_deadline(&mut self, place: Place, deadline_ms: Option<u64>) {
        let had_one = self.at(place).deadline_ms.is_some();
        self.change(place.bucket, |blob| blob.set_deadline(place.index, deadline_ms));
        self.timed_len = self.timed_len - usize::from(had_one) + usize::from(deadline_ms.is_some());
        match deadline_ms {
            Some(deadline_ms) => self.note_due(place.bucket, deadline_ms),
            None => self.forget_due(),
        }
    }

    /// Removes an entry.
    pub fn remove(&mut self, place: Place) {
        let had_deadline = self.at(place).deadline_ms.is_some();
        self.change(place.bucket, |blob| blob.remove(place.index));
        self.len -= 1;
        self.timed_len -= usize::from(had_deadline);
        self.forget_due();
        if self.blob_bytes < self.buckets * BUCKET_BYTES_MIN {
            self.merge();
        }
    }

    /// Changes a blob, and keeps the sums.
    fn change<R>(&mut self, bucket: usize, change: impl FnOnce(&mut Blob<VALUES>) -> R) -> R {
        let blob = &mut self.chunks[bucket / CHUNK_LEN].blobs[bucket % CHUNK_LEN];
        let (len_before, allocated_before) = (blob.byte_len(), blob.allocated_bytes());
        let result = change(blob);
        let (len_after, allocated_after) = (blob.byte_len(), blob.allocated_bytes());
        self.blob_bytes = self.blob_bytes - len_before + len_after;
        self.allocated = self.allocated - allocated_before + allocated_after;
        result
    }

    /// Changes a chunk itself, and keeps the sums.
    fn change_chunk<R>(&mut self, chunk: usize, change: impl FnOnce(&mut Chunk<VALUES>) -> R) -> R {
        let chunk = &mut self.chunks[chunk];
        let bytes_before = chunk.heap_bytes();
        let result = change(chunk);
        self.chunk_bytes = self.chunk_bytes - bytes_before + chunk.heap_bytes();
        result
    }

    fn push_bucket(&mut self) {
        let index = self.buckets / CHUNK_LEN;
        if index == self.chunks.len() {
            self.chunks.push(Chunk { first_due_ms: NEVER_MS, ..Chunk::default() });
        }
        self.change_chunk(index, |chunk| {
            if 0 < index {
                // The first one grows; of the others there will be many, and all of them full but one.
                chunk.blobs.reserve_exact(CHUNK_LEN - chunk.blobs.len());
            } else if chunk.blobs.capacity() == chunk.blobs.len() {
                chunk.blobs.reserve_exact(chunk.blobs.len().max(1));
            }
            chunk.blobs.push(Blob::default());
            if !chunk.due_ms.is_empty() {
                chunk.due_ms.push(NEVER_MS);
            }
        });
        self.buckets += 1;
    }

    /// Splits the next bucket in the row.
    fn split(&mut self) {
        let upper = self.buckets;
        self.push_bucket();
        let bit = upper.next_power_of_two() >> usize::from(!upper.is_power_of_two());
        let lower = upper - bit;
        let old = self.change(lower, std::mem::take);
        let mut due = [NEVER_MS; 2];
        let hasher = &self.hasher;
        let halves = old.distribute(|entry| {
            let mut state = hasher.build_hasher();
            state.write(entry.key);
            let half = usize::from(state.finish() & bit as u64 != 0);
            due[half] = due[half].min(entry.deadline_ms.unwrap_or(NEVER_MS));
            half
        });
        for ((bucket, half), due_ms) in [lower, upper].into_iter().zip(halves).zip(due) {
            self.change(bucket, |blob| *blob = half);
            self.set_due(bucket, due_ms);
        }
    }

    /// Merges the last bucket into the one that it was split from.
    fn merge(&mut self) {
        if self.buckets <= 1 {
            return;
        }
        let upper = self.buckets - 1;
        let bit = upper.next_power_of_two() >> usize::from(!upper.is_power_of_two());
        let lower = upper - bit;
        let moved = self.change(upper, std::mem::take);
        self.change(lower, |blob| blob.append(moved));
        let due_ms = self.due_of(upper);
        self.change_chunk(upper / CHUNK_LEN, |chunk| {
            chunk.blobs.pop();
            chunk.due_ms.pop();
            if chunk.blobs.len() <= chunk.blobs.capacity() / 4 {
                chunk.blobs.shrink_to(chunk.blobs.len() * 2);
            }
        });
        if upper.is_multiple_of(CHUNK_LEN) {
            self.change_chunk(upper / CHUNK_LEN, |chunk| *chunk = Chunk::default());
            self.chunks.pop();
            if self.chunks.len() <= self.chunks.capacity() / 4 {
                self.chunks.shrink_to(self.chunks.len() * 2);
            }
        }
        self.buckets -= 1;
        if due_ms != NEVER_MS {
            self.note_due(lower, due_ms);
        }
        self.count_max = self.count_max.max(self.blob(lower).len());
    }

    // Deadlines

    /// A time in unix ms before which no entry's deadline comes. `None`: no entry has one.
    pub fn due_ms(&self) -> Option<u64> {
        (self.due_ms != NEVER_MS).then_some(self.due_ms)
    }

    fn due_of(&self, bucket: usize) -> u64 {
        self.chunks[bucket / CHUNK_LEN].due_ms.get(bucket % CHUNK_LEN).copied().unwrap_or(NEVER_MS)
    }

    /// A bucket's first deadline is this, or later.
    fn set_due(&mut self, bucket: usize, due_ms: u64) {
        let chunk = bucket / CHUNK_LEN;
        if self.chunks[chunk].due_ms.is_empty() {
            if due_ms == NEVER_MS {
                return;
            }
            self.change_chunk(chunk, |chunk| {
                // As many as there can be blobs, so that it grows as seldom.
                chunk.due_ms.reserve_exact(chunk.blobs.capacity());
                chunk.due_ms.resize(chunk.blobs.len(), NEVER_MS);
            });
        }
        let chunk = &mut self.chunks[chunk];
        chunk.due_ms[bucket % CHUNK_LEN] = due_ms;
        chunk.first_due_ms = chunk.first_due_ms.min(due_ms);
        self.due_ms = self.due_ms.min(due_ms);
    }

    /// An entry of the bucket gets this deadline.
    fn note_due(&mut self, bucket: usize, deadline_ms: u64) {
        if deadline_ms < self.due_of(bucket) {
            self.set_due(bucket, deadline_ms);
        }
        // What is noted of the bucket may be older than a time at which nothing had a deadline any more.
        self.due_ms = self.due_ms.min(deadline_ms);
    }

    /// A deadline is gone: what was noted of it stays until its time comes, unless it was the last.
    fn forget_due(&mut self) {
        if self.timed_len == 0 {
            self.due_ms = NEVER_MS;
        }
    }

    /// Removes entries whose deadline has come, those of about `budget` buckets at most; tells of each key before it
    /// goes. Afterwards [`Packed::due_ms`] says whether there are more.
    pub fn remove_due(&mut self, now_ms: u64, budget: usize, mut tell: impl FnMut(&[u8])) {
        if now_ms < self.due_ms {
            return;
        }
        let mut buckets_left = budget.max(1);
        for chunk in 0..self.chunks.len() {
            if now_ms < self.chunks[chunk].first_due_ms {
                continue;
            }
            for at in 0..self.chunks[chunk].due_ms.len() {
                if now_ms < self.chunks[chunk].due_ms[at] {
                    continue;
                }
                let bucket = chunk * CHUNK_LEN + at;
                let (removed, due_ms) = self.change(bucket, |blob| blob.remove_due(now_ms, &mut tell));
                self.len -= removed;
                self.timed_len -= removed;
                self.chunks[chunk].due_ms[at] = due_ms;
                buckets_left -= 1;
                if buckets_left == 0 {
                    // What was not looked at is due still, and the sums say so.
                    return self.merge_some(budget);
                }
            }
            self.chunks[chunk].first_due_ms = self.chunks[chunk].due_ms.iter().copied().min().unwrap_or(NEVER_MS);
        }
        self.due_ms = self.chunks.iter().map(|chunk| chunk.first_due_ms).min().unwrap_or(NEVER_MS);
        self.forget_due();
        self.merge_some(budget);
    }

    fn merge_some(&mut self, count: usize) {
        for _ in 0..count {
            if self.buckets * BUCKET_BYTES_MIN <= self.blob_bytes {
                break;
            }
            self.merge();
        }
        self.forget_due();
    }

    // The end

    /// Gives back about `budget` allocations of a table that is not used any more; whether there are more.
    pub fn free_some(&mut self, budget: usize) -> bool {
        let mut budget = budget as isize;
        while 0 < budget
            && let Some(chunk) = self.chunks.last_mut()
        {
            let Some(blob) = chunk.blobs.pop() else {
                self.chunk_bytes -= chunk.heap_bytes();
                self.chunks.pop();
                continue;
            };
            self.allocated -= blob.allocated_bytes();
            budget -= 1 + blob.long_len() as isize;
        }
        !self.chunks.is_empty()
    }
}

/// The byte of a hash that is kept beside an entry.
#[inline]
fn mark_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// A random number below `end`, from 32 random bits.
#[inline]
fn below(random: u32, end: usize) -> usize {
    ((u64::from(random) * end as u64) >> 32) as usize
}

impl<const VALUES: bool> Clone for Packed<VALUES> {
    /// A copy that shares nothing.
    fn clone(&self) -> Self {
        let mut copy = Packed { hasher: self.hasher.clone(), ..Packed::new(0) };
        self.iter().for_each(|entry| copy.insert(entry));
        copy
    }
}

impl<const VALUES: bool> std::fmt::Debug for Packed<VALUES> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Packed").field("len", &self.len).field("buckets", &self.buckets).finish_non_exhaustive()
    }
}
