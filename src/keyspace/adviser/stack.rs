//! The order of last uses, and how many bytes lie above a key in it: what LRU needs to have so that the next use of
//! that key is a hit.
//!
//! ```text
//! places, oldest first   │ k7 │ – │ k2 │ – │ – │ k9 │ k4 │ …free │      a key moves to the first free place when used
//! tree of sums           bytes of any prefix in log steps (Fenwick)
//! histogram              of the distances seen, 16 bins to a doubling
//! ```
//! Not here: who is sampled, and what a distance means.

use ahash::{AHashMap, RandomState};

/// Bins of a doubling of bytes, and all of them: up to 2^48 bytes.
const BINS_PER_DOUBLING: usize = 16;
const BINS: usize = 48 * BINS_PER_DOUBLING;
/// Places that there are at least before they are used up and put together.
const PLACES_MIN: usize = 256;

pub(super) struct Stack {
    places: Vec<Option<u64>>,
    /// By place, as a Fenwick tree.
    sums: Vec<u64>,
    next: usize,
    /// No place before this one is used.
    oldest: usize,
    keys: AHashMap<u64, (usize, usize)>,
    bytes: u64,
    histogram: Vec<f64>,
}

impl Default for Stack {
    fn default() -> Stack {
        Stack {
            places: vec![None; PLACES_MIN],
            sums: vec![0; PLACES_MIN + 1],
            next: 0,
            oldest: 0,
            // Hashes come in that are random already; the seeds are fixed so that a run can be repeated.
            keys: AHashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)),
            bytes: 0,
            histogram: vec![0.0; BINS],
        }
    }
}

fn bin_of(bytes: f64) -> usize {
    ((bytes.max(1.0).log2() * BINS_PER_DOUBLING as f64) as usize).min(BINS - 1)
}

/// The end of a bin, in bytes.
fn end_of(bin: usize) -> u64 {
    2f64.powf((bin + 1) as f64 / BINS_PER_DOUBLING as f64) as u64
}

impl Stack {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes used since this key was used last, its own included.
    pub fn distance(&self, hash: u64) -> Option<u64> {
        let (place, _) = *self.keys.get(&hash)?;
        Some(self.bytes - self.sum_before(place))
    }

    /// A read at this distance, if the key was known.
    pub fn count(&mut self, distance: Option<f64>) {
        if let Some(distance) = distance {
            self.histogram[bin_of(distance)] += 1.0;
        }
    }

    /// A key is used, and takes so many bytes.
    pub fn touch(&mut self, hash: u64, bytes: usize) {
        self.remove(hash);
        if self.next == self.places.len() {
            self.put_together();
        }
        let place = self.next;
        self.next += 1;
        self.places[place] = Some(hash);
        self.add(place, bytes as i64);
        self.bytes += bytes as u64;
        self.keys.insert(hash, (place, bytes));
    }

    /// The same for a key whose size is not known, if it is there.
    pub fn touch_known(&mut self, hash: u64) {
        if let Some(&(_, bytes)) = self.keys.get(&hash) {
            self.touch(hash, bytes);
        }
    }

    pub fn remove(&mut self, hash: u64) {
        if let Some((place, bytes)) = self.keys.remove(&hash) {
            self.places[place] = None;
            self.add(place, -(bytes as i64));
            self.bytes -= bytes as u64;
        }
    }

    /// Forgets the oldest until no more than so many bytes are left.
    pub fn trim(&mut self, bytes_max: u64) {
        while bytes_max < self.bytes {
            match self.places[self.oldest] {
                Some(hash) => self.remove(hash),
                None => self.oldest += 1,
            }
        }
    }

    pub fn retain(&mut self, wants: impl Fn(u64) -> bool) {
        let gone: Vec<u64> = self.keys.keys().copied().filter(|&hash| !wants(hash)).collect();
        gone.into_iter().for_each(|hash| self.remove(hash));
        self.put_together();
        self.keys.shrink_to_fit();
    }

    pub fn fade(&mut self) {
        self.histogram.iter_mut().for_each(|count| *count /= 2.0);
    }

    /// Hits of an LRU cache of so many bytes.
    pub fn hits_within(&self, bytes: u64) -> f64 {
        let bin = bin_of(bytes as f64);
        let share = ((bytes.max(1) as f64).log2() * BINS_PER_DOUBLING as f64).fract();
        self.histogram[..bin].iter().sum::<f64>() + share * self.histogram[bin]
    }

    /// Hits by bytes.
    pub fn curve(&self) -> Vec<(u64, f64)> {
        let mut sum = 0.0;
        let used = self.histogram.iter().enumerate().filter(|(_, count)| 0.0 < **count);
        used.map(|(bin, count)| {
            sum += count;
            (end_of(bin), sum)
        })
        .collect()
    }

    pub fn memory_bytes(&self) -> usize {
        self.places.capacity() * 16
            + self.sums.capacity() * 8
            + self.keys.capacity() * 25
            + self.histogram.capacity() * 8
    }

    fn add(&mut self, place: usize, bytes: i64) {
        let mut at = place + 1;
        while at < self.sums.len() {
            self.sums[at] = self.sums[at].wrapping_add_signed(bytes);
            at += at & at.wrapping_neg();
        }
    }

    fn sum_before(&self, place: usize) -> u64 {
        let (mut at, mut sum) = (place, 0u64);
        while at != 0 {
            sum = sum.wrapping_add(self.sums[at]);
            at &= at - 1;
        }
        sum
    }

    /// All used places move together; there are twice as many afterwards as are used.
    fn put_together(&mut self) {
        let len = (2 * self.keys.len()).max(PLACES_MIN);
        let used: Vec<u64> = self.places.iter().flatten().copied().collect();
        self.places = vec![None; len];
        self.sums = vec![0; len + 1];
        (self.next, self.oldest) = (used.len(), 0);
        for (place, hash) in used.into_iter().enumerate() {
            self.places[place] = Some(hash);
            let (at, bytes) = self.keys.get_mut(&hash).expect("a used place is a key's");
            *at = place;
            let bytes = *bytes;
            self.add(place, bytes as i64);
        }
    }
}
