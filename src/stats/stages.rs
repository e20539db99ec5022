//! Where a command's time goes: the stages between the ring and the ring, and what every second of them looked like.
//!
//! ```text
//!            taken off        parsed        its turn              answered     safe on disk      with the kernel
//! local      the ring ─ read ────┼── queue ────┼────── execute ───────┼─ durability ─┼─── write ────────┤
//! forwarded           ─ read ────┼── queue ────┼─ hop ─ execute ─ return ┼─ durability ─┼── write ──────┤
//!                                             leaves     other core    is back
//! ```
//! | Stage | From … to |
//! |---|---|
//! | `read` | its bytes are looked at; all whole commands that came with them are parsed, looked up and given their shard |
//! | `queue` | … it begins to run, or leaves for another core. What it waited for before it could be read, because of earlier commands of its client, counts too, and so does what it waits for keys that somebody holds |
//! | `hop` | it leaves the core that read it; it begins to run on the core that owns its keys, for which it may have waited there |
//! | `execute` | it begins; its reply is made |
//! | `return` | its reply is made; the core of its client has it |
//! | `durability` | its reply is made; the log is as safe as `appendfsync` promises. Only of replies that waited |
//! | `write` | its reply is complete (and safe); the kernel has it |
//!
//! *Local* is what ran on the core that read it, be it on its own shard or on a visit; *forwarded* is what went to
//! another core. A command on several shards is local, and its `execute` ends with its answer; while it borrows what it
//! needs of them it is in `queue`. What blocks (`BLPOP`) does not wait in any stage.
//!
//! Keys are held by a script, transaction or command on several shards that uses them, by a long reply that is being
//! written, and by a snapshot that has to write a large value before it changes. So what waits for them waits for this
//! server's own doing: `execute`, and what `INFO commandstats` adds up, is the running alone, as in Redis; the slow
//! log, which is to tell why a client waited, takes both together, and of those that *only* waited one in each pass of
//! a core, so that what they waited for is not lost among them.
//!
//! What is exact and what is not: `execute` is taken of every call. `read`, `queue` and `write` are shared by
//! neighbours: commands of the same name, of one reading, that began within a microsecond of each other. `write` of
//! replies that had to wait for their socket, or for those before them, is taken of every one, and ends when the kernel
//! has all of it. Of others it is known by itself only if the core does not go to sleep at the end of the pass. If it
//! does, it is known only if the kernel is asked, which costs an entry into it: that is done where the pass had much to
//! send, and else of one sleep in sixteen, which is counted sixteenfold. So a single quick call may show sixteen
//! writes, or none. What nobody sees is that a socket had no room for a small reply, if it was the first to find none:
//! those behind it are seen.
//!
//! Every core counts for itself. What it counts goes into the table of the running second first ([`super::running`]);
//! when that is over, or the table is full, it is added to the histograms since the start, and kept for a while as a
//! slice of two digits, by which any window of whole seconds can be put together. Memory of slices is bounded: see
//! [`SLICES_BYTES_MAX`]. Histograms since the start have three digits of `execute`, which is what a command costs
//! wherever it runs, and two of the other stages, of which there are up to ten: with three they would take seven times
//! as much.

use super::histogram::{Digits, Histogram, coarse_bounds};
use crate::command::lookup::CommandId;
use std::collections::VecDeque;
use std::sync::Arc;

/// The longest window, in seconds.
pub const WINDOW_SECONDS_MAX: u64 = 300;
/// Slices of one core take at most so much; the oldest goes before.
pub const SLICES_BYTES_MAX: usize = 256 << 10;

/// How a command came to its turn that has to wait on then: somebody holds keys that it needs.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Its stages `read` and `queue` until then, in nanoseconds; none: nobody noted them.
    pub before: Option<(u64, u64)>,
    /// When that was: a reading of the clock.
    pub at: u64,
}

/// Who ran a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The core that read it.
    Local,
    /// Another core.
    Forwarded,
}

/// A part of a command's time; see the module's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Bytes to commands.
    Read,
    /// Waiting for its turn.
    Queue,
    /// The way to another core.
    Hop,
    /// Running.
    Execute,
    /// The way back.
    Return,
    /// Waiting for the disk.
    Durability,
    /// The reply's way to the kernel.
    Write,
}

impl Way {
    /// All of them.
    pub const ALL: [Way; 2] = [Way::Local, Way::Forwarded];

    /// As replies and metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Way::Local => "local",
            Way::Forwarded => "forwarded",
        }
    }
}

impl Stage {
    /// All of them, in a command's order.
    pub const ALL: [Stage; 7] =
        [Stage::Read, Stage::Queue, Stage::Hop, Stage::Execute, Stage::Return, Stage::Durability, Stage::Write];

    /// As replies and metrics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Read => "read",
            Stage::Queue => "queue",
            Stage::Hop => "hop",
            Stage::Execute => "execute",
            Stage::Return => "return",
            Stage::Durability => "durability",
            Stage::Write => "write",
        }
    }
}

/// How many lanes there are.
pub const LANES: usize = Way::ALL.len() * Stage::ALL.len();

/// A stage of local commands, or of forwarded ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane(u8);

impl Lane {
    /// Of a stage and who ran it.
    pub const fn of(way: Way, stage: Stage) -> Lane {
        Lane((way as usize * Stage::ALL.len() + stage as usize) as u8)
    }

    /// All of them: the local ones first, in a command's order.
    pub fn all() -> impl Iterator<Item = Lane> {
        (0..LANES as u8).map(Lane)
    }

    pub(super) const fn from_index(index: u8) -> Lane {
        assert!((index as usize) < LANES);
        Lane(index)
    }

    /// How exactly it is counted.
    #[inline]
    pub const fn digits(self) -> Digits {
        const OF_THREE: u32 =
            1 << Lane::of(Way::Local, Stage::Execute).0 | 1 << Lane::of(Way::Forwarded, Stage::Execute).0;
        if OF_THREE >> self.0 & 1 != 0 { Digits::Three } else { Digits::Two }
    }

    /// As an index into arrays of [`LANES`] elements.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Who ran it.
    pub const fn way(self) -> Way {
        Way::ALL[self.index() / Stage::ALL.len()]
    }

    /// Which part of its time.
    pub const fn stage(self) -> Stage {
        Stage::ALL[self.index() % Stage::ALL.len()]
    }
}

/// A histogram per lane, where something was counted.
#[derive(Debug, Clone, Default)]
pub struct Lanes([Option<Box<Histogram>>; LANES]);

impl Lanes {
    /// What was counted in a lane.
    pub fn get(&self, lane: Lane) -> Option<&Histogram> {
        self.0[lane.index()].as_deref()
    }

    /// A lane's histogram, as exact as it is kept.
    pub fn at(&mut self, lane: Lane) -> &mut Histogram {
        self.0[lane.index()].get_or_insert_with(|| Box::new(Histogram::of(lane.digits())))
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Lanes) {
        other.used().for_each(|(lane, histogram)| self.at(lane).merge(histogram));
    }

    /// Forgets lanes.
    pub(super) fn retain(&mut self, is_kept: impl Fn(Lane) -> bool) {
        Lane::all().filter(|lane| !is_kept(*lane)).for_each(|lane| self.0[lane.index()] = None);
    }

    /// The lanes in which something was counted, in their order.
    pub fn used(&self) -> impl Iterator<Item = (Lane, &Histogram)> {
        Lane::all().filter_map(|lane| Some((lane, self.get(lane)?)))
    }

    /// The memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Lanes>() + self.used().map(|(_, histogram)| histogram.bytes()).sum::<usize>()
    }
}

/// Buckets of two digits (see [`coarse_bounds`]) with their counts, in order: as the distance to the one before and as
/// the count, seven bits to a byte. Most are neighbours with few events, and take two bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buckets(Box<[u8]>);

impl Buckets {
    /// The bucket and its count, which is above 0.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        let (mut bytes, mut place) = (self.0.iter().copied(), 0);
        std::iter::from_fn(move || {
            place += number(&mut bytes)? as u16;
            Some((place, number(&mut bytes)?))
        })
    }
}

impl FromIterator<(u16, u32)> for Buckets {
    /// Of buckets that rise.
    fn from_iter<I: IntoIterator<Item = (u16, u32)>>(buckets: I) -> Buckets {
        let (mut bytes, mut last) = (Vec::new(), 0);
        for (place, count) in buckets {
            push_number(u32::from(place - last), &mut bytes);
            push_number(count, &mut bytes);
            last = place;
        }
        Buckets(bytes.into())
    }
}

fn push_number(mut number: u32, bytes: &mut Vec<u8>) {
    while 0x80 <= number {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<u32> {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes.next()?;
        number |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    Some(number)
}

/// What one lane of one command counted within a second, with two digits.
#[derive(Debug, Clone)]
pub struct Counted {
    /// The command.
    pub command: CommandId,
    /// The lane.
    pub lane: Lane,
    /// How many events in which bucket; counts above 2^32 are counted as that.
    pub buckets: Buckets,
}

impl Counted {
    /// Adds it to a histogram: to the middle of each bucket.
    pub fn add_to(&self, histogram: &mut Histogram) {
        for (place, count) in self.buckets.iter() {
            let (lowest, highest) = coarse_bounds(place);
            histogram.record_many(lowest.midpoint(highest), count.into());
        }
    }
}

/// One second of one core, or a part of it where much was counted.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// Which second, by the core's steady clock.
    pub second: u64,
    /// What was counted in it.
    pub counted: Vec<Counted>,
}

impl Slice {
    /// Adds counts of a lane, by bucket of two digits, in order.
    pub(super) fn push(&mut self, command: CommandId, lane: Lane, buckets: &[(u16, u64)]) {
        let narrow = |&(place, count): &(u16, u64)| (place, u32::try_from(count).unwrap_or(u32::MAX));
        self.counted.push(Counted { command, lane, buckets: buckets.iter().map(narrow).collect() });
    }

    fn bytes(&self) -> usize {
        let buckets: usize = self.counted.iter().map(|counted| counted.buckets.0.len()).sum();
        size_of::<Slice>() + self.counted.capacity() * size_of::<Counted>() + buckets
    }
}

/// The last seconds of one core.
#[derive(Debug, Clone, Default)]
pub struct Slices {
    /// Oldest first.
    slices: VecDeque<Arc<Slice>>,
    bytes: usize,
    /// The first second of which nothing was dropped.
    since: u64,
}

impl Slices {
    /// None, from this second on.
    pub(super) fn since(second: u64) -> Slices {
        Slices { since: second, ..Slices::default() }
    }

    /// Keeps a second, or a part of it, and drops what is too old or too much.
    pub(super) fn push(&mut self, mut slice: Slice) {
        slice.counted.shrink_to_fit();
        let second = slice.second;
        self.bytes += slice.bytes();
        self.slices.push_back(Arc::new(slice));
        while let Some(oldest) = self.slices.front()
            && (SLICES_BYTES_MAX < self.bytes || oldest.second + WINDOW_SECONDS_MAX < second)
        {
            self.bytes -= oldest.bytes();
            self.since = self.since.max(oldest.second + 1);
            self.slices.pop_front();
        }
    }

    /// The memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Slices of the last seconds before `now`, a second that is not over.
    pub fn last(&self, seconds: u64, now: u64) -> impl Iterator<Item = &Arc<Slice>> {
        let is_meant = move |second: u64| second < now && now <= second.saturating_add(seconds);
        self.slices.iter().filter(move |slice| is_meant(slice.second))
    }

    /// Slices from a second on, before `now`, a second that is not over.
    pub fn from(&self, second: u64, now: u64) -> impl Iterator<Item = &Arc<Slice>> {
        let before = |end: u64| self.slices.partition_point(|slice| slice.second < end);
        self.slices.range(before(second)..before(now.max(second)))
    }

    /// How many seconds before `now` are known of.
    pub fn known(&self, now: u64) -> u64 {
        now.saturating_sub(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::lookup;

    #[test]
    fn lanes_are_numbered_and_named() {
        let lanes: Vec<(Way, Stage)> = Lane::all().map(|lane| (lane.way(), lane.stage())).collect();
        assert_eq!(lanes.len(), LANES);
        for (index, (way, stage)) in lanes.into_iter().enumerate() {
            assert_eq!(Lane::of(way, stage).index(), index);
        }
        assert_eq!(Lane::of(Way::Forwarded, Stage::Hop).way().name(), "forwarded");
        assert_eq!(Lane::of(Way::Forwarded, Stage::Hop).stage().name(), "hop");
    }

    #[test]
    fn buckets_take_two_bytes_where_they_are_near_and_few() {
        let buckets = [(0, 1), (1, 127), (2, 128), (1000, u32::MAX), (u16::MAX, 1)];
        let packed: Buckets = buckets.into_iter().collect();
        assert_eq!((packed.iter().collect::<Vec<_>>(), packed.0.len()), (buckets.to_vec(), 2 + 2 + 3 + 7 + 4));
        assert_eq!(Buckets::default().iter().next(), None);
    }

    fn slice(second: u64, events: u64) -> Slice {
        let mut histogram = Histogram::default();
        (0..events).for_each(|event| histogram.record(1 << (event % 30)));
        let mut slice = Slice { second, ..Slice::default() };
        slice.push(
            lookup(b"get").expect("a row").id,
            Lane::of(Way::Local, Stage::Execute),
            &histogram.coarse_buckets(),
        );
        slice
    }

    #[test]
    fn a_window_is_of_whole_seconds() {
        let mut slices = Slices::since(10);
        (10..20).for_each(|second| slices.push(slice(second, 1)));
        let seconds =
            |slices: &Slices, window, now| -> Vec<u64> { slices.last(window, now).map(|slice| slice.second).collect() };
        assert_eq!(seconds(&slices, 3, 20), [17, 18, 19]);
        assert_eq!(seconds(&slices, 3, 22), [19]);
        assert_eq!(seconds(&slices, u64::MAX, 20).len(), 10);
        assert_eq!(slices.known(20), 10);
        assert_eq!(slices.from(18, 20).map(|slice| slice.second).collect::<Vec<_>>(), [18, 19]);
        assert_eq!(
            (seconds(&slices, 3, 19), slices.from(18, 19).count()),
            (vec![16, 17, 18], 1),
            "the last is not over"
        );
        slices.push(slice(10 + WINDOW_SECONDS_MAX + 1, 1));
        assert_eq!(slices.slices.front().unwrap().second, 11, "what no window reaches is dropped");
        assert_eq!(slices.known(400), 389);
    }

    #[test]
    fn slices_take_no_more_than_they_may() {
        let mut slices = Slices::since(0);
        let one = slice(0, 30).bytes();
        let mut wide = slice(0, 30);
        let many = SLICES_BYTES_MAX / one / 10;
        (0..many).for_each(|_| wide.counted.push(wide.counted[0].clone()));
        for second in 0..100 {
            slices.push(Slice { second, ..wide.clone() });
            assert!(slices.bytes <= SLICES_BYTES_MAX, "{}", slices.bytes);
        }
        let kept = slices.slices.len() as u64;
        assert!((2..100).contains(&kept), "{kept}");
        assert_eq!(slices.known(100), kept);
        let counted: usize = slices.slices.iter().map(|slice| slice.bytes()).sum();
        assert_eq!(counted, slices.bytes);
    }

    #[test]
    fn a_slice_gives_back_what_it_took_within_a_hundredth() {
        let mut histogram = Histogram::default();
        [100, 5_000, 5_001, 70_000, 3_000_000_000].iter().for_each(|&latency| histogram.record(latency));
        let mut slice = Slice::default();
        slice.push(lookup(b"get").expect("a row").id, Lane::of(Way::Local, Stage::Queue), &histogram.coarse_buckets());
        let mut back = Histogram::default();
        slice.counted[0].add_to(&mut back);
        assert_eq!(back.count(), 5);
        for percentile in [1.0, 40.0, 80.0, 100.0] {
            let (was, is) = (histogram.percentile(percentile) as f64, back.percentile(percentile) as f64);
            assert!((is - was).abs() <= was / 100.0, "{percentile}: {was} {is}");
        }
    }
}
