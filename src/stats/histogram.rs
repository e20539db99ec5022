//! How many events took how long: the log-linear histogram that HdrHistogram calls "three significant digits".
//!
//! Every power of two is cut into 1024 equal buckets, so that a bucket is at most 1/1024 of its value wide; below 2048
//! ns a bucket is a nanosecond. Sixty-four neighbours are a chunk, which is there from its first event on: what takes
//! 60 to 250 ns costs three chunks of 512 bytes, and recording it one cache line of counters.
//!
//! What recording costs is that line: latencies of a load are all over some hundreds of buckets, and keys and values
//! drive them out of the caches. So a second is counted in a histogram of half the size, with counters of 32 bits.
//!
//! ```text
//! nanoseconds   0..1023   1024..2047   2048..4095   4096..8191   …   2^36-2^26..2^36
//! octave           0           1            2            3       …         26
//! bucket width     1           1            2            4       …       2^25
//! ```
//! Redis' own histograms have two digits: 128 buckets to a power of two. Each of those is a whole number of these, so
//! what clients expect of `LATENCY HISTOGRAM` and `INFO latencystats` follows from the finer counts to the last digit.

use crate::structure::cache::prefetch;

/// Nanoseconds above this are counted as this: 2^36, about 69 seconds.
pub const LATENCY_MAX: u64 = (1 << 36) - 1;
/// Buckets of an octave, as a power of two: three digits, …
const FINE_BITS: u32 = 10;
/// … and two.
const COARSE_BITS: u32 = 7;
/// Buckets of a chunk.
const CHUNK_BUCKETS: usize = 64;
/// Chunks up to [`LATENCY_MAX`].
const CHUNKS: usize = place(LATENCY_MAX, FINE_BITS) / CHUNK_BUCKETS + 1;
/// Memory is asked for by so many chunks.
const CHUNKS_AT_ONCE: usize = 4;
/// Of a histogram that is emptied for reuse so many chunks keep their memory.
const KEPT_CHUNKS_MAX: usize = 8;

/// The bucket of a latency, over all octaves of `1 << bits` buckets.
#[inline]
const fn place(nanoseconds: u64, bits: u32) -> usize {
    // The first two octaves have buckets of width 1.
    let doublings = (u64::BITS - bits - 1) - (nanoseconds | ((2 << bits) - 1)).leading_zeros();
    ((doublings as usize) << bits) + (nanoseconds >> doublings) as usize
}

/// The smallest latency of a bucket.
const fn lowest(place: usize, bits: u32) -> u64 {
    let octave = place >> bits;
    let width = 1 << bits;
    if octave == 0 { place as u64 } else { ((width + place % width) as u64) << (octave - 1) }
}

/// The largest latency of a bucket.
const fn highest(place: usize, bits: u32) -> u64 {
    lowest(place + 1, bits) - 1
}

/// The bucket of two digits in which a latency falls.
pub fn coarse_place(nanoseconds: u64) -> u16 {
    place(nanoseconds.min(LATENCY_MAX), COARSE_BITS) as u16
}

/// The smallest and the largest latency of a bucket of two digits.
pub fn coarse_bounds(place: u16) -> (u64, u64) {
    (lowest(place.into(), COARSE_BITS), highest(place.into(), COARSE_BITS))
}

/// How many events took how long, in nanoseconds.
pub type Histogram = Counts<u64>;
/// The same of a time so short that no count gets large: a count ends at the largest that there is.
pub type SmallHistogram = Counts<u32>;

/// The counter of a bucket.
pub trait Counter: Copy + Default + Into<u64> {
    /// So many more.
    fn add(&mut self, count: u64);
    /// So many less, 0 at least.
    fn take(&mut self, count: u64);
}

impl Counter for u64 {
    #[inline]
    fn add(&mut self, count: u64) {
        *self += count;
    }

    fn take(&mut self, count: u64) {
        *self = self.saturating_sub(count);
    }
}

impl Counter for u32 {
    #[inline]
    fn add(&mut self, count: u64) {
        *self = self.saturating_add(count.min(u32::MAX.into()) as u32);
    }

    fn take(&mut self, count: u64) {
        *self = self.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

/// A histogram with counters of some size.
#[derive(Debug, Clone)]
pub struct Counts<C> {
    /// Of each chunk where it is in `chunks`, plus one; 0: nothing fell into it.
    places: [u16; CHUNKS],
    chunks: Vec<[C; CHUNK_BUCKETS]>,
}

impl<C> Default for Counts<C> {
    fn default() -> Counts<C> {
        Counts { places: [0; CHUNKS], chunks: Vec::new() }
    }
}

impl<C: Counter> Counts<C> {
    /// Counts one event. Above [`LATENCY_MAX`] it counts as that, 0 as 1.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        self.record_many(nanoseconds, 1);
    }

    /// Counts so many events that took the same time.
    #[inline]
    pub fn record_many(&mut self, nanoseconds: u64, count: u64) {
        let place = place(nanoseconds.clamp(1, LATENCY_MAX), FINE_BITS);
        let mut at = self.places[place / CHUNK_BUCKETS];
        if at == 0 {
            at = self.open(place / CHUNK_BUCKETS);
        }
        self.chunks[at as usize - 1][place % CHUNK_BUCKETS].add(count);
    }

    /// Asks the processor for the counter of a latency that is to be recorded soon.
    #[inline]
    pub fn prefetch(&self, nanoseconds: u64) {
        let place = place(nanoseconds.clamp(1, LATENCY_MAX), FINE_BITS);
        let at = self.places[place / CHUNK_BUCKETS] as usize;
        if let Some(chunk) = at.checked_sub(1).and_then(|at| self.chunks.get(at)) {
            prefetch((&raw const chunk[place % CHUNK_BUCKETS]).cast());
        }
    }

    /// Forgets the events of another one, those that are still here.
    pub fn take_back_all(&mut self, other: &Counts<impl Counter>) {
        for (chunk, &from) in other.places.iter().enumerate().filter(|(_, from)| **from != 0) {
            let Some(at) = (self.places[chunk] as usize).checked_sub(1) else { continue };
            for (own, count) in self.chunks[at].iter_mut().zip(&other.chunks[from as usize - 1]) {
                own.take((*count).into());
            }
        }
    }

    #[cold]
    fn open(&mut self, chunk: usize) -> u16 {
        if self.chunks.len() == self.chunks.capacity() {
            self.chunks.reserve_exact(CHUNKS_AT_ONCE); // Not by doubling: there are many histograms.
        }
        self.chunks.push([C::default(); CHUNK_BUCKETS]);
        let at = self.chunks.len() as u16;
        self.places[chunk] = at;
        at
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Counts<impl Counter>) {
        for (chunk, &from) in other.places.iter().enumerate().filter(|(_, from)| **from != 0) {
            let at = if self.places[chunk] == 0 { self.open(chunk) } else { self.places[chunk] };
            let counts = &other.chunks[from as usize - 1];
            for (own, count) in self.chunks[at as usize - 1].iter_mut().zip(counts) {
                own.add((*count).into());
            }
        }
    }

    /// Forgets all events and keeps memory for the next ones.
    pub fn clear(&mut self) {
        self.places = [0; CHUNKS];
        self.chunks.clear();
        self.chunks.shrink_to(KEPT_CHUNKS_MAX);
    }

    /// The memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Counts<C>>() + self.chunks.capacity() * size_of::<[C; CHUNK_BUCKETS]>()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The buckets that are not empty, in order: smallest latency, largest latency (nanoseconds), count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let chunks = self.places.iter().enumerate().filter(|(_, at)| **at != 0);
        chunks.flat_map(|(chunk, &at)| {
            let counts = self.chunks[at as usize - 1].iter().map(|&count| count.into()).enumerate();
            counts.filter(|(_, count)| 0 < *count).map(move |(bucket, count)| {
                let place = chunk * CHUNK_BUCKETS + bucket;
                (lowest(place, FINE_BITS), highest(place, FINE_BITS), count)
            })
        })
    }

    /// The same counts with two digits, in order: bucket (see [`coarse_bounds`]), count.
    pub fn coarse_buckets(&self) -> Vec<(u16, u64)> {
        let mut coarse: Vec<(u16, u64)> = Vec::new();
        for (lowest, _, count) in self.buckets() {
            let place = coarse_place(lowest);
            match coarse.last_mut().filter(|(last, _)| *last == place) {
                Some((_, counted)) => *counted += count,
                None => coarse.push((place, count)),
            }
        }
        coarse
    }

    /// How many events were counted.
    pub fn count(&self) -> u64 {
        self.chunks.iter().flatten().map(|&count| count.into()).sum()
    }

    /// The mean, as far as the buckets tell it, in nanoseconds; 0 of none.
    pub fn mean(&self) -> u64 {
        let (mut sum, mut events) = (0_u128, 0_u64);
        for (lowest, highest, count) in self.buckets() {
            sum += u128::from(lowest.midpoint(highest)) * u128::from(count);
            events += count;
        }
        sum.checked_div(u128::from(events)).unwrap_or(0) as u64
    }

    /// The largest latency of the last bucket that is not empty, in nanoseconds; 0 of none.
    pub fn max(&self) -> u64 {
        self.buckets().last().map_or(0, |(_, highest, _)| highest)
    }

    /// The largest latency of the bucket that holds the percentile (0 to 100), in nanoseconds; for 0 its smallest.
    pub fn percentile(&self, percentile: f64) -> u64 {
        self.percentiles(&[percentile])[0]
    }

    /// The same of several percentiles, which rise, in one walk.
    pub fn percentiles(&self, percentiles: &[f64]) -> Vec<u64> {
        let total = self.count();
        let mut found = Vec::with_capacity(percentiles.len());
        let mut seen = 0;
        for (lowest, highest, count) in self.buckets() {
            seen += count;
            while let Some(&percentile) = percentiles.get(found.len()) {
                let rank = (percentile.min(100.0) / 100.0 * total as f64 + 0.5) as u64;
                if seen < rank.max(1) {
                    break;
                }
                found.push(if percentile == 0.0 { lowest } else { highest });
            }
        }
        found.resize(percentiles.len(), 0);
        found
    }

    /// Percentiles, in any order, as Redis tells them: by the bucket of two digits.
    pub fn percentiles_as_redis(&self, percentiles: &[f64]) -> Vec<u64> {
        let mut rising: Vec<(usize, f64)> = percentiles.iter().copied().enumerate().collect();
        rising.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        let found = self.percentiles(&rising.iter().map(|(_, percentile)| *percentile).collect::<Vec<_>>());
        let mut told = vec![0; percentiles.len()];
        for ((at, percentile), value) in rising.into_iter().zip(found) {
            let (lowest, highest) = coarse_bounds(coarse_place(value));
            told[at] = if self.is_empty() || percentile == 0.0 { lowest } else { highest };
        }
        told
    }

    /// The steps of `LATENCY HISTOGRAM`: a power of two in microseconds, and how many calls took no longer. A step that
    /// adds no call is left out.
    ///
    /// The numbers are those of HdrHistogram's walk by doublings of 1024 ns: a step includes the whole bucket of two
    /// digits its bound falls into, and is named by that bucket's end in whole microseconds (…, 8, 16, 33, 66, …,
    /// 541065). Redis counts everything from 2^29 ns on as the last step, 1073741; here further steps follow it.
    pub fn steps(&self) -> Vec<(u64, u64)> {
        /// Where Redis' histograms end.
        const LAST: u64 = 1 << 30;
        let mut steps = Vec::new();
        let mut buckets = self.buckets().peekable();
        let (mut bound, mut seen) = (1024, 0);
        while buckets.peek().is_some() {
            let end = if bound == LAST { LAST - 1 } else { coarse_bounds(coarse_place(bound)).1 };
            let before = seen;
            while let Some((_, _, count)) = buckets.next_if(|(lowest, ..)| *lowest <= end) {
                seen += count;
            }
            if before < seen {
                steps.push((end / 1000, seen));
            }
            bound *= 2;
        }
        steps
    }

    /// How many events took no longer than each of these bounds, which rise. A bucket belongs where it begins, so that
    /// a bound may be overstepped by a thousandth.
    pub fn cumulated(&self, bounds_ns: &[u64]) -> Vec<u64> {
        let mut buckets = self.buckets().peekable();
        let mut seen = 0;
        let count = |bound: &u64| {
            while let Some((_, _, count)) = buckets.next_if(|(lowest, ..)| lowest <= bound) {
                seen += count;
            }
            seen
        };
        bounds_ns.iter().map(count).collect()
    }

    /// The same counts as an HdrHistogram, for its file formats.
    pub fn to_hdr(&self) -> hdrhistogram::Histogram<u64> {
        let bounds = hdrhistogram::Histogram::new_with_bounds(1, LATENCY_MAX, 3);
        let mut histogram = bounds.expect("the bounds are fixed and valid");
        for (lowest, _, count) in self.buckets() {
            histogram.record_n(lowest, count).expect("a bucket lies within the bounds");
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(nanoseconds: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        nanoseconds.iter().for_each(|&value| histogram.record(value));
        histogram
    }

    #[test]
    fn buckets_cover_all_latencies_without_gaps() {
        for bits in [FINE_BITS, COARSE_BITS] {
            assert_eq!(lowest(0, bits), 0);
            for bucket in 0..=place(LATENCY_MAX, bits) {
                assert_eq!(place(lowest(bucket, bits), bits), bucket);
                assert_eq!(place(highest(bucket, bits), bits), bucket);
            }
            assert_eq!(highest(place(LATENCY_MAX, bits), bits), LATENCY_MAX);
        }
        assert_eq!(CHUNKS * CHUNK_BUCKETS, place(LATENCY_MAX, FINE_BITS) + 1);
    }

    /// The numbers are those of a Redis 7.0 that ran `DEBUG SLEEP`.
    #[test]
    fn steps_are_named_as_redis_names_them() {
        let steps = |values: &[u64]| histogram(values).steps();
        assert_eq!(steps(&[]), []);
        assert_eq!(steps(&[0]), [(1, 1)]);
        assert_eq!(steps(&[1031, 1032, 3007]), [(1, 1), (2, 2), (4, 3)]);
        assert_eq!(steps(&[53_900, 700_000_000, 300_000_000]), [(66, 1), (541_065, 2), (1_073_741, 3)]);
        let bounds: Vec<u64> = (10..30).map(|bit| 1 << bit).collect();
        let names: Vec<u64> = steps(&bounds).iter().map(|(name, _)| *name).collect();
        let expected =
            [1, 2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113, 4227, 8454, 16908, 33816, 67633, 135266, 270532];
        assert_eq!(names[..expected.len()], expected);
        assert_eq!(steps(&[1_000_000_000, 2_000_000_000, u64::MAX]).len(), 3);
    }

    #[test]
    fn percentiles_are_ends_of_buckets() {
        let latencies = histogram(&[300_000_000, 700_000_000, 1_000_000_000]);
        let as_redis = [1_002_438_655, 700_448_767, 299_892_736, 1_002_438_655];
        assert_eq!(latencies.percentiles_as_redis(&[99.0, 50.0, 0.0, 100.0]), as_redis);
        // A thousandth, not a hundredth, beside what was recorded.
        assert_eq!(latencies.percentiles(&[0.0, 50.0, 100.0]), [299_892_736, 700_448_767, 1_000_341_503]);
        assert_eq!(latencies.max(), 1_000_341_503);
        assert_eq!(histogram(&[]).percentiles(&[50.0, 99.0]), [0, 0]);
        assert_eq!(histogram(&[]).percentiles_as_redis(&[50.0]), [0]);
        assert_eq!(histogram(&[1000, 3000]).mean(), 2000);
    }

    #[test]
    fn bounds_cumulate_and_weights_count() {
        let mut latencies = histogram(&[500, 1_000, 1_001, 2_000_000]);
        latencies.record_many(40, 16);
        assert_eq!(latencies.cumulated(&[100, 1_000, 1_001, u64::MAX]), [16, 18, 19, 20]);
        latencies.clear();
        assert!(latencies.is_empty() && latencies.count() == 0 && latencies.max() == 0);
        latencies.record(7);
        assert_eq!(latencies.buckets().collect::<Vec<_>>(), [(7, 7, 1)]);
    }

    #[test]
    fn small_counters_count_alike_and_end_at_their_largest() {
        let mut small = SmallHistogram::default();
        [7, 900, 5_000, 5_000].iter().for_each(|&value| small.record(value));
        let mut large = histogram(&[1]);
        large.merge(&small);
        assert_eq!(large.buckets().collect::<Vec<_>>(), [(1, 1, 1), (7, 7, 1), (900, 900, 1), (5_000, 5_003, 2)]);
        assert!(small.bytes() < large.bytes());
        small.record_many(7, u64::from(u32::MAX));
        assert_eq!(small.count(), u64::from(u32::MAX) + 3);
        small.take_back_all(&large);
        assert_eq!(small.count(), u64::from(u32::MAX) - 1);
    }

    proptest! {
        #[test]
        fn histograms_agree_with_hdr(
            latencies in proptest::collection::vec(
                (0_u32..37, any::<u64>()).prop_map(|(bits, x)| x & ((1 << bits) - 1)),
                1..200,
            ),
            split in 0_usize..200,
        ) {
            let split = split.min(latencies.len());
            let mut ours = histogram(&latencies[..split]);
            ours.merge(&histogram(&latencies[split..]));
            let mut fine = hdrhistogram::Histogram::<u64>::new_with_bounds(1, LATENCY_MAX, 3).unwrap();
            let mut coarse = hdrhistogram::Histogram::<u64>::new_with_bounds(1, LATENCY_MAX, 2).unwrap();
            latencies.iter().for_each(|&latency| fine.record(latency.max(1)).unwrap());
            latencies.iter().for_each(|&latency| coarse.record(latency.max(1)).unwrap());
            prop_assert_eq!(ours.to_hdr(), fine.clone());
            prop_assert_eq!(ours.count(), latencies.len() as u64);
            let total = ours.steps().last().map(|(_, count)| *count);
            prop_assert_eq!(total, Some(latencies.len() as u64));
            let folded: u64 = ours.coarse_buckets().iter().map(|(_, count)| count).sum();
            prop_assert_eq!(folded, latencies.len() as u64);
            for (place, count) in ours.coarse_buckets() {
                prop_assert_eq!(coarse.count_at(coarse_bounds(place).0), count);
            }
            for percentile in [50.0, 90.0, 99.0, 99.9, 100.0] {
                let rank = ((percentile / 100.0 * latencies.len() as f64 + 0.5) as usize).max(1);
                let mut sorted = latencies.clone();
                sorted.sort_unstable();
                let value = sorted[rank - 1].max(1);
                prop_assert_eq!(ours.percentile(percentile), fine.highest_equivalent(value));
                prop_assert_eq!(ours.percentiles_as_redis(&[percentile])[0], coarse.highest_equivalent(value));
            }
        }
    }
}
