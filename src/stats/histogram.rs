//! How many events took how long: the log-linear histogram that HdrHistogram calls "three significant digits".
//!
//! Every power of two is cut into 1024 equal buckets, so that a bucket is at most 1/1024 of its value wide; below 2048
//! ns a bucket is a nanosecond. A histogram of two digits has 128 to a power of two.
//!
//! ```text
//! nanoseconds   0..1023   1024..2047   2048..4095   4096..8191   …   2^36-2^26..2^36
//! octave           0           1            2            3       …         26
//! bucket width     1           1            2            4       …       2^25
//! ```
//! Redis' own histograms have two digits: each of its buckets is a whole number of these, so what clients expect of
//! `LATENCY HISTOGRAM` and `INFO latencystats` follows from the finer counts to the last digit.
//!
//! Fifteen neighbours are a group, which is there from its first event on, with counters of as many bytes as the
//! largest of them needs: 1, 2, 4 or 8. There are many histograms, for every command and stage, and most have few
//! events in most of their buckets. So a group costs 19 bytes at first; one of all latencies from 100 ns to a minute
//! with up to 255 events in each bucket 36 KB, of two digits 5 KB.
//!
//! That is for keeping and for asking. Events come in too quickly for it: see [`super::running`].

/// Nanoseconds above this are counted as this: 2^36, about 69 seconds.
pub const LATENCY_MAX: u64 = (1 << 36) - 1;
/// Buckets of a group: with its key, counters of 32 bits fill a cache line (see [`super::running`]).
pub(super) const GROUP_BUCKETS: usize = 15;

/// Buckets of an octave, as a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Digits {
    /// As Redis has them.
    Two = 7,
    /// As they are told where that is what is asked for.
    Three = 10,
}

const FINE_BITS: u32 = Digits::Three as u32;
const COARSE_BITS: u32 = Digits::Two as u32;

/// The bucket of a latency, over all octaves of `1 << bits` buckets.
#[inline]
const fn place(nanoseconds: u64, bits: u32) -> usize {
    // The first two octaves have buckets of width 1.
    let doublings = (u64::BITS - bits - 1) - (nanoseconds | ((2 << bits) - 1)).leading_zeros();
    ((doublings as usize) << bits) + (nanoseconds >> doublings) as usize
}

/// The bucket of an event: what is above [`LATENCY_MAX`] counts as that, 0 as 1.
#[inline]
pub(super) fn place_of(nanoseconds: u64, digits: Digits) -> usize {
    place(nanoseconds.clamp(1, LATENCY_MAX), digits as u32)
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

/// The bucket of two digits that a bucket belongs to.
pub(super) fn coarse_place_of(place: usize, digits: Digits) -> u16 {
    match digits {
        Digits::Two => place as u16,
        Digits::Three => coarse_place(lowest(place, FINE_BITS)),
    }
}

/// The smallest and the largest latency of a bucket of two digits.
pub fn coarse_bounds(place: u16) -> (u64, u64) {
    (lowest(place.into(), COARSE_BITS), highest(place.into(), COARSE_BITS))
}

/// The counters of a group.
pub(super) type Group<C> = [C; GROUP_BUCKETS];

/// Groups whose counters have the same width, in no order.
#[derive(Debug, Clone)]
struct Shelf<C>(Vec<Group<C>>);

impl<C> Default for Shelf<C> {
    fn default() -> Shelf<C> {
        Shelf(Vec::new())
    }
}

impl<C: Copy + Default + Into<u64> + TryFrom<u64>> Shelf<C> {
    fn get(&self, at: usize) -> Group<u64> {
        self.0[at].map(Into::into)
    }

    /// Such counters, if all counts are small enough for them.
    fn narrow(counts: &Group<u64>) -> Option<Group<C>> {
        let mut group = [C::default(); GROUP_BUCKETS];
        for (narrow, &count) in group.iter_mut().zip(counts) {
            *narrow = C::try_from(count).ok()?;
        }
        Some(group)
    }

    /// Writes counts into a group that is there. False: some are too large.
    fn set(&mut self, at: usize, counts: &Group<u64>) -> bool {
        Shelf::narrow(counts).map(|group| self.0[at] = group).is_some()
    }

    /// Adds a group; where it is now. `None`: some counts are too large.
    fn push(&mut self, counts: &Group<u64>) -> Option<usize> {
        let group = Shelf::narrow(counts)?;
        grow(&mut self.0);
        self.0.push(group);
        Some(self.0.len() - 1)
    }

    /// Takes a group out, into whose place the last one moves.
    fn remove(&mut self, at: usize) {
        self.0.swap_remove(at);
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Group<C>>()
    }
}

/// Makes room for one more; not by doubling: there are many histograms.
fn grow<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact(1 + items.len() / 8);
    }
}

/// Which group, and where it is.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Its first bucket, divided by [`GROUP_BUCKETS`].
    number: u16,
    /// The shelf in the upper two bits, where it is there in the others.
    at: u16,
}

const AT_BITS: u32 = 14;
const _: () = assert!(place(LATENCY_MAX, FINE_BITS) / GROUP_BUCKETS < 1 << AT_BITS);

impl Place {
    fn new(number: u16, shelf: usize, at: usize) -> Place {
        Place { number, at: ((shelf << AT_BITS) | at) as u16 }
    }

    fn shelf(self) -> usize {
        (self.at >> AT_BITS).into()
    }

    fn at(self) -> usize {
        usize::from(self.at) & ((1 << AT_BITS) - 1)
    }
}

/// How many events took how long, in nanoseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    digits: Digits,
    /// In the order of their numbers.
    places: Vec<Place>,
    bytes: Shelf<u8>,
    shorts: Shelf<u16>,
    words: Shelf<u32>,
    longs: Shelf<u64>,
}

impl Default for Histogram {
    /// Of three digits.
    fn default() -> Histogram {
        Histogram::of(Digits::Three)
    }
}

impl Histogram {
    /// An empty one.
    pub fn of(digits: Digits) -> Histogram {
        let (bytes, shorts, words, longs) = Default::default();
        Histogram { digits, places: Vec::new(), bytes, shorts, words, longs }
    }

    /// Counts one event. Above [`LATENCY_MAX`] it counts as that, 0 as 1.
    pub fn record(&mut self, nanoseconds: u64) {
        self.record_many(nanoseconds, 1);
    }

    /// Counts so many events that took the same time.
    pub fn record_many(&mut self, nanoseconds: u64, count: u64) {
        let place = place_of(nanoseconds, self.digits);
        let mut counts = [0; GROUP_BUCKETS];
        counts[place % GROUP_BUCKETS] = count;
        self.add((place / GROUP_BUCKETS) as u16, &counts);
    }

    /// Adds counts to a group.
    pub(super) fn add(&mut self, number: u16, counts: &Group<u64>) {
        let index = match self.places.binary_search_by_key(&number, |place| place.number) {
            Ok(index) => index,
            Err(index) => {
                let (shelf, at) = self.put(counts);
                grow(&mut self.places);
                return self.places.insert(index, Place::new(number, shelf, at));
            }
        };
        let place = self.places[index];
        let mut sums = self.group(place);
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        let fits = match place.shelf() {
            0 => self.bytes.set(place.at(), &sums),
            1 => self.shorts.set(place.at(), &sums),
            2 => self.words.set(place.at(), &sums),
            _ => self.longs.set(place.at(), &sums),
        };
        if !fits {
            self.widen(index, &sums);
        }
    }

    /// Puts a group onto the first shelf that has room for its counts: which, and where it is there.
    fn put(&mut self, counts: &Group<u64>) -> (usize, usize) {
        let narrow = self.bytes.push(counts).map(|at| (0, at)).or_else(|| Some((1, self.shorts.push(counts)?)));
        let wide =
            narrow.or_else(|| Some((2, self.words.push(counts)?))).or_else(|| Some((3, self.longs.push(counts)?)));
        wide.expect("the last shelf has room for any count")
    }

    /// Moves a group, whose counts are these now, to where they have room.
    #[cold]
    fn widen(&mut self, index: usize, counts: &Group<u64>) {
        let old = self.places[index];
        let last = match old.shelf() {
            0 => (self.bytes.remove(old.at()), self.bytes.0.len()).1,
            1 => (self.shorts.remove(old.at()), self.shorts.0.len()).1,
            2 => (self.words.remove(old.at()), self.words.0.len()).1,
            _ => unreachable!("the last shelf has room for any count"),
        };
        if last != old.at() {
            let moved = Place::new(0, old.shelf(), last).at;
            let moved = self.places.iter_mut().find(|place| place.at == moved).expect("every group has a place");
            moved.at = old.at;
        }
        let (shelf, at) = self.put(counts);
        self.places[index] = Place::new(old.number, shelf, at);
    }

    fn group(&self, place: Place) -> Group<u64> {
        match place.shelf() {
            0 => self.bytes.get(place.at()),
            1 => self.shorts.get(place.at()),
            2 => self.words.get(place.at()),
            _ => self.longs.get(place.at()),
        }
    }

    /// The groups, in order.
    pub(super) fn groups(&self) -> impl Iterator<Item = (u16, Group<u64>)> + '_ {
        self.places.iter().map(|&place| (place.number, self.group(place)))
    }

    /// Adds another histogram; one of other digits by the middles of its buckets.
    pub fn merge(&mut self, other: &Histogram) {
        if self.digits == other.digits {
            other.groups().for_each(|(number, counts)| self.add(number, &counts));
        } else {
            other.buckets().for_each(|(lowest, highest, count)| self.record_many(lowest.midpoint(highest), count));
        }
    }

    /// How exact it is.
    pub fn digits(&self) -> Digits {
        self.digits
    }

    /// The memory it takes.
    pub fn bytes(&self) -> usize {
        let shelves = self.bytes.bytes() + self.shorts.bytes() + self.words.bytes() + self.longs.bytes();
        size_of::<Histogram>() + self.places.capacity() * size_of::<Place>() + shelves
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The buckets that are not empty, in order: smallest latency, largest latency (nanoseconds), count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let bits = self.digits as u32;
        self.groups().flat_map(move |(number, counts)| {
            let counts = counts.into_iter().enumerate().filter(|(_, count)| 0 < *count);
            counts.map(move |(bucket, count)| {
                let place = usize::from(number) * GROUP_BUCKETS + bucket;
                (lowest(place, bits), highest(place, bits), count)
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
        self.groups().map(|(_, counts)| counts.iter().sum::<u64>()).sum()
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
    }

    #[test]
    fn counters_become_wider_with_what_they_count() {
        let mut latencies = Histogram::default();
        let mut counts = [0; 5];
        for round in 0..40_u32 {
            // Groups of their own, so that one that moves leaves its place to another.
            for (at, count) in counts.iter_mut().enumerate().skip(round as usize % 3) {
                let more = 1 << (round % 33);
                latencies.record_many(100 * (at as u64 + 1), more);
                *count += more;
            }
        }
        let expected: Vec<(u64, u64, u64)> = (1..).zip(counts).map(|(at, count)| (100 * at, 100 * at, count)).collect();
        assert_eq!(latencies.buckets().collect::<Vec<_>>(), expected);
        let mut sum = histogram(&[100, 5_000]);
        sum.merge(&latencies);
        assert_eq!(
            (sum.count(), sum.buckets().next()),
            (2 + counts.iter().sum::<u64>(), Some((100, 100, 1 + counts[0])))
        );
    }

    #[test]
    fn two_digits_are_within_a_hundredth() {
        let mut coarse = Histogram::of(Digits::Two);
        let values = [1, 200, 5_000, 70_123, 3_000_000_000, u64::MAX];
        values.iter().for_each(|&value| coarse.record(value));
        for (value, (lowest, highest, count)) in values.into_iter().zip(coarse.buckets()) {
            let value = value.min(LATENCY_MAX);
            assert!((lowest..=highest).contains(&value) && (highest - lowest) * 100 <= value && count == 1, "{value}");
            assert_eq!((lowest, highest), coarse_bounds(coarse_place(value)));
        }
        let mut fine = Histogram::default();
        fine.merge(&coarse);
        assert_eq!(fine.coarse_buckets(), coarse.coarse_buckets());
    }

    /// What the module's page says of memory.
    #[test]
    fn histograms_are_small() {
        let mut sizes = Vec::new();
        for digits in [Digits::Three, Digits::Two] {
            let mut all = Histogram::of(digits);
            all.record(100);
            assert!(all.bytes() < size_of::<Histogram>() + 40, "{}", all.bytes());
            let bits = digits as u32;
            for bucket in place(100, bits)..place(60_000_000_000, bits) {
                all.record_many(lowest(bucket, bits), 254);
            }
            sizes.push(all.bytes());
        }
        assert!(sizes[0] <= 40_000 && sizes[1] <= 6_000, "{sizes:?}");
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
