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
//! Every core counts for itself. What it counts goes into the histograms of the running second first; when that is over
//! they are added to those since the start, and kept for a while as a slice of two digits, by which any window of whole
//! seconds can be put together. Memory of slices is bounded: see [`SLICES_BYTES_MAX`].

use super::histogram::{Counter, Counts, Histogram, coarse_bounds};
use crate::command::lookup::CommandId;
use std::collections::VecDeque;
use std::sync::Arc;

/// The longest window, in seconds.
pub const WINDOW_SECONDS_MAX: u64 = 300;
/// Slices of one core take at most so much; the oldest goes before.
pub const SLICES_BYTES_MAX: usize = 512 << 10;

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
pub type Lanes = LanesOf<u64>;
/// The same of a second.
pub type SmallLanes = LanesOf<u32>;

/// Lanes with counters of some size.
#[derive(Debug, Clone)]
pub struct LanesOf<C>([Option<Box<Counts<C>>>; LANES]);

impl<C> Default for LanesOf<C> {
    fn default() -> LanesOf<C> {
        LanesOf([const { None }; LANES])
    }
}

impl<C: Counter> LanesOf<C> {
    /// What was counted in a lane.
    pub fn get(&self, lane: Lane) -> Option<&Counts<C>> {
        self.0[lane.index()].as_deref()
    }

    /// The place of a lane's histogram.
    #[inline]
    pub(super) fn slot(&mut self, lane: Lane) -> &mut Option<Box<Counts<C>>> {
        &mut self.0[lane.index()]
    }

    /// Adds a histogram to a lane.
    pub fn merge_into(&mut self, lane: Lane, other: &Counts<impl Counter>) {
        self.slot(lane).get_or_insert_default().merge(other);
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &LanesOf<impl Counter>) {
        for lane in Lane::all() {
            if let Some(histogram) = other.get(lane) {
                self.merge_into(lane, histogram);
            }
        }
    }

    /// The lanes in which something was counted, in their order.
    pub fn used(&self) -> impl Iterator<Item = (Lane, &Counts<C>)> {
        Lane::all().filter_map(|lane| Some((lane, self.get(lane)?)))
    }
}

/// What one lane of one command counted within a second, with two digits.
#[derive(Debug, Clone)]
pub struct Counted {
    /// The command.
    pub command: CommandId,
    /// The lane.
    pub lane: Lane,
    /// Bucket (see [`coarse_bounds`]) and count, in order; counts above 2^32 are counted as that.
    pub buckets: Box<[(u16, u32)]>,
}

impl Counted {
    /// Adds it to a histogram: to the middle of each bucket.
    pub fn add_to(&self, histogram: &mut Histogram) {
        for &(place, count) in &self.buckets {
            let (lowest, highest) = coarse_bounds(place);
            histogram.record_many(lowest.midpoint(highest), count.into());
        }
    }
}

/// One second of one core.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// Which second, by the core's steady clock.
    pub second: u64,
    /// What was counted in it.
    pub counted: Vec<Counted>,
}

impl Slice {
    pub(super) fn push(&mut self, command: CommandId, lane: Lane, histogram: &Counts<impl Counter>) {
        let narrow = |(place, count): (u16, u64)| (place, u32::try_from(count).unwrap_or(u32::MAX));
        let buckets = histogram.coarse_buckets().into_iter().map(narrow).collect();
        self.counted.push(Counted { command, lane, buckets });
    }

    fn bytes(&self) -> usize {
        let buckets = |counted: &Counted| size_of_val(&*counted.buckets);
        size_of::<Slice>() + self.counted.iter().map(|counted| size_of::<Counted>() + buckets(counted)).sum::<usize>()
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

    /// Keeps a second that is over, and drops what is too old or too much.
    pub(super) fn push(&mut self, slice: Slice) {
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
        self.slices.iter().filter(move |slice| now <= slice.second.saturating_add(seconds))
    }

    /// Slices from a second on.
    pub fn from(&self, second: u64) -> impl Iterator<Item = &Arc<Slice>> {
        let before = self.slices.partition_point(|slice| slice.second < second);
        self.slices.range(before..)
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

    fn slice(second: u64, events: u64) -> Slice {
        let mut histogram = Histogram::default();
        (0..events).for_each(|event| histogram.record(1 << (event % 30)));
        let mut slice = Slice { second, ..Slice::default() };
        slice.push(lookup(b"get").expect("a row").id, Lane::of(Way::Local, Stage::Execute), &histogram);
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
        assert_eq!(slices.from(18).map(|slice| slice.second).collect::<Vec<_>>(), [18, 19]);
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
        slice.push(lookup(b"get").expect("a row").id, Lane::of(Way::Local, Stage::Queue), &histogram);
        let mut back = Histogram::default();
        slice.counted[0].add_to(&mut back);
        assert_eq!(back.count(), 5);
        for percentile in [1.0, 40.0, 80.0, 100.0] {
            let (was, is) = (histogram.percentile(percentile) as f64, back.percentile(percentile) as f64);
            assert!((is - was).abs() <= was / 100.0, "{percentile}: {was} {is}");
        }
    }
}
