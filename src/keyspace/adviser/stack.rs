//! The order of last uses, and how many bytes lie above a key in it: what LRU needs to have so that the next use of
//! that key is a hit.
//!
//! ```text
//! places, oldest first   │ k7 │ – │ k2 │ – │ – │ k9 │ k4 │ …free │      a key moves to the first free place when used
//! tree of sums           bytes of any prefix in log steps (Fenwick)
//! histogram              of the distances seen, 16 bins to a doubling
//! ```
//! A key that is not known may have been used before the adviser began, or so long ago that it was forgotten: its
//! distance is more than all the bytes that are known, and nobody knows how much more. Such a read says nothing about
//! larger caches, and everything about smaller ones; the shares are estimated from both kinds as times to live are from
//! patients some of whom are still alive (Kaplan and Meier, 1958). So a young stack is not too pessimistic, only
//! ignorant of sizes that it has not seen yet. Where nobody writes what was not found, no size helps.
//!
//! Not here: who is sampled, and what a distance means.

use ahash::{AHashMap, RandomState};
use std::collections::VecDeque;

/// Bins of a doubling of bytes, and all of them: up to 2^48 bytes.
const BINS_PER_DOUBLING: usize = 16;
const BINS: usize = 48 * BINS_PER_DOUBLING;
/// A share is told if its standard error is not more than this, or if it lies between two that are twice this apart.
pub(super) const ERROR_MAX: f64 = 0.03;
/// Fewer reads than these tell nothing.
const READS_MIN: f64 = 4.0;
/// So many missed keys may be written yet.
const MISSED_MAX: usize = 64;
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
    /// Reads of unknown keys, by the bytes that were known.
    beyond: Vec<f64>,
    /// Reads that no size makes a hit.
    never: f64,
    /// Unknown keys that were not found, with the bin of the bytes that were known, oldest first.
    missed: VecDeque<(u64, usize)>,
}

/// How often LRU hits, by size.
pub(super) struct Shares {
    /// By bin: the share of the reads that are hits with less than the bin's bytes.
    below: Vec<f64>,
    /// Bins from here on tell of sizes that were not seen.
    known: usize,
    /// What larger ones give; none: that is not known.
    most: Option<f64>,
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
            beyond: vec![0.0; BINS],
            never: 0.0,
            missed: VecDeque::new(),
        }
    }
}

fn bin_of(bytes: f64) -> usize {
    ((bytes.max(1.0).log2() * BINS_PER_DOUBLING as f64) as usize).min(BINS - 1)
}

/// How uncertain a share is that is known from so many of so many reads.
fn variance_of(hits: f64, reads: f64) -> f64 {
    let share = (hits + 0.5) / (reads + 1.0);
    share * (1.0 - share) / reads
}

/// Whether the share of so many hits among so many reads is certain enough to be told.
pub(super) fn is_certain(hits: f64, reads: f64) -> bool {
    READS_MIN <= reads && variance_of(hits, reads).sqrt() <= ERROR_MAX
}

/// The end of a bin, in bytes.
fn end_of(bin: usize) -> u64 {
    2f64.powf((bin + 1) as f64 / BINS_PER_DOUBLING as f64) as u64
}

impl Shares {
    /// The share of the reads that are hits of a cache of so many bytes; none: that is not known yet.
    pub fn within(&self, bytes: u64) -> Option<f64> {
        let bin = bin_of(bytes as f64);
        if self.known <= bin {
            return self.most;
        }
        let share = ((bytes.max(1) as f64).log2() * BINS_PER_DOUBLING as f64).fract();
        Some(self.below[bin] + share * (self.below[bin + 1] - self.below[bin]))
    }

    /// Shares of hits by bytes.
    pub fn curve(&self) -> Vec<(u64, f64)> {
        let steps = (0..self.known).filter(|&bin| self.below[bin] < self.below[bin + 1]);
        steps.map(|bin| (end_of(bin), self.below[bin + 1])).collect()
    }
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

    /// A read at this distance, or of a key that is not known; followed is one key of so many, and it is there or not.
    pub fn count(&mut self, hash: u64, distance: Option<u64>, is_there: bool, rate: f64) {
        let bin = bin_of(distance.unwrap_or(self.bytes) as f64 / rate);
        match distance {
            Some(_) => self.histogram[bin] += 1.0,
            None if is_there => self.beyond[bin] += 1.0,
            None => {
                if self.forget_missed(hash).is_some() {
                    self.never += 1.0;
                }
                self.missed.push_back((hash, bin));
                if MISSED_MAX < self.missed.len() {
                    self.missed.pop_front();
                    self.never += 1.0;
                }
            }
        }
    }

    /// A key is written: if it was missed before, more memory might have kept it.
    pub fn write(&mut self, hash: u64, bytes: usize) {
        if let Some(bin) = self.forget_missed(hash) {
            self.beyond[bin] += 1.0;
        }
        self.touch(hash, bytes);
    }

    fn forget_missed(&mut self, hash: u64) -> Option<usize> {
        let at = self.missed.iter().rposition(|&(missed, _)| missed == hash)?;
        self.missed.remove(at).map(|(_, bin)| bin)
    }

    /// A read that is a miss at any size.
    pub fn count_never(&mut self) {
        self.never += 1.0;
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
        self.missed.retain(|&(hash, _)| wants(hash));
        self.put_together();
        self.keys.shrink_to_fit();
    }

    /// Every count times this.
    pub fn fade(&mut self, by: f64) {
        self.histogram.iter_mut().chain(&mut self.beyond).for_each(|count| *count *= by);
        self.never *= by;
    }

    /// What is known of all sizes.
    pub fn shares(&self) -> Shares {
        let counted: f64 = self.histogram.iter().chain(&self.beyond).sum();
        let may_hit = if counted == 0.0 { 0.0 } else { counted / (counted + self.never) };
        // Of the reads that some size makes a hit: those that tell of sizes from here on, and the share left to larger.
        let (mut telling, mut left, mut variance) = (counted, 1.0, 0.0);
        let (mut below, mut known) = (Vec::with_capacity(BINS + 1), BINS);
        below.push(0.0);
        for (bin, (&here, &beyond)) in self.histogram.iter().zip(&self.beyond).enumerate() {
            let told = telling - beyond / 2.0; // Half of them knew half of the bin.
            let error = variance_of(here, told);
            variance = left * left * error + (1.0 - here / told).powi(2) * variance;
            if told < READS_MIN || ERROR_MAX < may_hit * variance.sqrt() {
                known = bin;
                break;
            }
            left *= 1.0 - here / told;
            telling -= here + beyond;
            below.push(may_hit * (1.0 - left));
        }
        // Larger caches hit what smaller ones do, and at most all.
        let unseen = may_hit * left;
        let most = (0.0 < counted && unseen <= 2.0 * ERROR_MAX).then(|| below[known] + unseen / 2.0);
        Shares { below, known, most }
    }

    pub fn memory_bytes(&self) -> usize {
        self.places.capacity() * 16
            + self.sums.capacity() * 8
            + self.keys.capacity() * 25
            + (self.histogram.capacity() + self.beyond.capacity()) * 8
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
