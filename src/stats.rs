//! What one core counts: calls, time and latency of every command, errors by their first word, bytes and clients. Plain
//! numbers, written by their core alone; a snapshot is a clone, the whole server is the sum of its cores' snapshots.
//!
//! Not here: asking the other cores, and the clock. `INFO` and `LATENCY HISTOGRAM` print what this file formats.
//!
//! A latency goes into a bucket of a log-linear histogram, the one HdrHistogram calls "two significant digits": every
//! power of two is cut into 128 equal buckets, so that a bucket is at most 1/128 of its value wide. The powers of two
//! ("octaves") of one command are allocated when they are first hit, 1 KiB each; a command that was never called has
//! none.
//!
//! ```text
//! nanoseconds   0..127   128..255   256..511   512..1023   …   2^36-128..2^36
//! octave           0         1          2          3       …        29
//! bucket width     1         1          2          4       …       2^28
//! ```

use crate::command::lookup::{self, COMMAND_COUNT, CommandId, Row};
use std::fmt::Write;

/// Makes the struct and its sum of one list of fields.
macro_rules! counters {
    ($($(#[$meta:meta])* $field:ident,)*) => {
        /// Counters of one core, or, merged, of the server. All of them count events since the start or
        /// `CONFIG RESETSTAT`.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$meta])* pub $field: u64,)*
        }

        impl Counters {
            /// Adds another core's counters.
            pub fn merge(&mut self, other: &Counters) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

counters! {
    /// Clients accepted.
    connections_received,
    /// Clients refused because of `maxclients`.
    rejected_connections,
    /// Commands run, those that failed included.
    commands_processed,
    /// Commands sent to the core that owns their keys.
    commands_forwarded,
    /// Commands run on another core's shard while its owner was away.
    commands_visiting,
    /// Scripts that began again with every shard: they used keys that they had not named.
    scripts_widened,
    /// Connections that moved to the core of their keys.
    connections_moved,
    /// Passes of the core's loop.
    passes,
    /// Sleeping cores woken.
    wakes,
    /// System calls of the ring.
    ring_enters,
    /// Bytes read from clients.
    net_input_bytes,
    /// Bytes written to clients.
    net_output_bytes,
    /// Receptions that brought bytes.
    reads_processed,
    /// Sendings that took bytes.
    writes_processed,
    /// Error replies of any kind.
    error_replies,
    /// Keys found by reading commands.
    keyspace_hits,
    /// Keys not found by reading commands.
    keyspace_misses,
    /// Keys that ended by their deadline.
    expired_keys,
    /// Times that removing expired keys stopped for want of time.
    expired_time_cap_reached,
    /// Time spent on removing expired keys, in nanoseconds.
    expire_nanoseconds,
    /// Keys removed for want of memory.
    evicted_keys,
    /// Clients closed for want of memory.
    evicted_clients,
    /// Clients closed because they sent too much without an end.
    query_buffer_limit_disconnections,
    /// Clients closed because they did not read their replies.
    output_buffer_limit_disconnections,
    /// Authentications that failed.
    denied_authentications,
}

/// How many differences a [`Rate`] averages.
const RATE_SAMPLES: usize = 16;

/// How fast a counter grows: the mean of its last 16 samples, taken every 100 ms or so.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rate {
    /// Growth per second, one per sample.
    samples: [u64; RATE_SAMPLES],
    next: usize,
    last_value: u64,
    last_us: u64,
}

impl Rate {
    /// Notes the counter's value at a time in microseconds; the first call only sets the base. A counter that was set
    /// back counts as standing still.
    pub fn sample(&mut self, value: u64, now_us: u64) {
        let elapsed_us = now_us.saturating_sub(self.last_us);
        if self.last_us > 0 && elapsed_us > 0 {
            let growth = value.saturating_sub(self.last_value);
            let per_second = u128::from(growth) * 1_000_000 / u128::from(elapsed_us);
            self.samples[self.next] = u64::try_from(per_second).unwrap_or(u64::MAX);
            self.next = (self.next + 1) % RATE_SAMPLES;
        }
        self.last_value = value;
        self.last_us = now_us;
    }

    /// Growth per second.
    pub fn per_second(&self) -> u64 {
        let sum: u128 = self.samples.iter().map(|&sample| u128::from(sample)).sum();
        (sum / RATE_SAMPLES as u128) as u64
    }
}

/// The rates of `INFO stats`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    commands: Rate,
    input: Rate,
    output: Rate,
}

/// Rates of one core, or, merged, of the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RatesNow {
    /// `instantaneous_ops_per_sec`
    pub commands_per_second: u64,
    /// For `instantaneous_input_kbps`.
    pub input_bytes_per_second: u64,
    /// For `instantaneous_output_kbps`.
    pub output_bytes_per_second: u64,
}

impl RatesNow {
    /// Adds another core's rates.
    pub fn merge(&mut self, other: RatesNow) {
        self.commands_per_second += other.commands_per_second;
        self.input_bytes_per_second += other.input_bytes_per_second;
        self.output_bytes_per_second += other.output_bytes_per_second;
    }

    /// Bytes per second as `INFO` prints them: KiB with two digits.
    pub fn kilobytes(bytes_per_second: u64) -> String {
        format!("{:.2}", bytes_per_second as f64 / 1024.0)
    }
}

/// Nanoseconds above this are counted as this: 2^36, about 69 seconds.
pub const LATENCY_MAX: u64 = (1 << 36) - 1;
/// Buckets of an octave.
const OCTAVE_BUCKETS: usize = 128;
const OCTAVE_BITS: u32 = OCTAVE_BUCKETS.trailing_zeros();
/// Octaves up to [`LATENCY_MAX`].
const OCTAVES: usize = place(LATENCY_MAX) / OCTAVE_BUCKETS + 1;

/// The bucket of a latency, over all octaves.
#[inline]
const fn place(nanoseconds: u64) -> usize {
    // Values below 256 have buckets of width 1, in the octaves 0 and 1.
    let doublings = (u64::BITS - OCTAVE_BITS - 1) - (nanoseconds | 0xff).leading_zeros();
    (doublings as usize) * OCTAVE_BUCKETS + (nanoseconds >> doublings) as usize
}

/// The smallest latency of a bucket.
const fn lowest(place: usize) -> u64 {
    let octave = place / OCTAVE_BUCKETS;
    if octave == 0 { place as u64 } else { ((OCTAVE_BUCKETS + place % OCTAVE_BUCKETS) as u64) << (octave - 1) }
}

/// The largest latency of a bucket.
const fn highest(place: usize) -> u64 {
    lowest(place + 1) - 1
}

/// How many calls took how long.
#[derive(Clone, Default)]
pub struct Histogram {
    octaves: [Option<Box<[u64; OCTAVE_BUCKETS]>>; OCTAVES],
}

impl Histogram {
    /// Counts one latency. Above [`LATENCY_MAX`] it counts as that, 0 as 1.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        let place = place(nanoseconds.clamp(1, LATENCY_MAX));
        let octave = &mut self.octaves[place / OCTAVE_BUCKETS];
        octave.get_or_insert_with(|| Box::new([0; OCTAVE_BUCKETS]))[place % OCTAVE_BUCKETS] += 1;
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        for (own, other) in self.octaves.iter_mut().zip(&other.octaves) {
            let Some(other) = other else { continue };
            let own = own.get_or_insert_with(|| Box::new([0; OCTAVE_BUCKETS]));
            for (own, other) in own.iter_mut().zip(other.iter()) {
                *own += other;
            }
        }
    }

    /// The buckets that are not empty, in order: smallest latency, largest latency (nanoseconds), count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let octaves = self.octaves.iter().enumerate().filter_map(|(index, octave)| Some((index, octave.as_deref()?)));
        octaves.flat_map(|(octave, counts)| {
            let counted = counts.iter().enumerate().filter(|(_, count)| **count > 0);
            counted.map(move |(bucket, &count)| {
                let place = octave * OCTAVE_BUCKETS + bucket;
                (lowest(place), highest(place), count)
            })
        })
    }

    /// How many latencies were counted.
    pub fn count(&self) -> u64 {
        self.buckets().map(|(_, _, count)| count).sum()
    }

    /// The largest latency of the bucket that holds the percentile (0 to 100), in nanoseconds; for 0 its smallest.
    pub fn percentile(&self, percentile: f64) -> u64 {
        let total = self.count();
        let rank = (percentile.min(100.0) / 100.0 * total as f64 + 0.5) as u64;
        let mut seen = 0;
        for (lowest, highest, count) in self.buckets() {
            seen += count;
            if rank.max(1) <= seen {
                return if percentile == 0.0 { lowest } else { highest };
            }
        }
        0
    }

    /// The steps of `LATENCY HISTOGRAM`: a power of two in microseconds, and how many calls took no longer. A step that
    /// adds no call is left out.
    ///
    /// The numbers are those of HdrHistogram's walk by doublings of 1024 ns: a step includes the whole bucket its bound
    /// falls into, and is named by that bucket's end in whole microseconds (…, 8, 16, 33, 66, …, 541065). Redis counts
    /// everything from 2^29 ns on as the last step, 1073741; here further steps follow it.
    pub fn steps(&self) -> Vec<(u64, u64)> {
        /// Where Redis' histograms end.
        const LAST: u64 = 1 << 30;
        let mut steps = Vec::new();
        let mut buckets = self.buckets().peekable();
        let (mut bound, mut seen) = (1024, 0);
        while buckets.peek().is_some() {
            let end = if bound == LAST { LAST - 1 } else { highest(place(bound)) };
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

    /// The same counts as an HdrHistogram, for its file formats.
    pub fn to_hdr(&self) -> hdrhistogram::Histogram<u64> {
        let bounds = hdrhistogram::Histogram::new_with_bounds(1, LATENCY_MAX, 2);
        let mut histogram = bounds.expect("the bounds are fixed and valid");
        for (lowest, _, count) in self.buckets() {
            histogram.record_n(lowest, count).expect("a bucket lies within the bounds");
        }
        histogram
    }
}

/// What is counted of one command.
#[derive(Clone, Default)]
pub struct CommandStats {
    /// Times it ran, failures included.
    pub calls: u64,
    /// Time it ran, in nanoseconds.
    pub nanoseconds: u64,
    /// Times it was refused before it ran: arity, rights, memory.
    pub rejected: u64,
    /// Times it ran and replied with an error.
    pub failed: u64,
    /// How long it ran; none while latency tracking was off.
    pub histogram: Option<Box<Histogram>>,
}

impl CommandStats {
    fn is_used(&self) -> bool {
        self.calls > 0 || self.rejected > 0 || self.failed > 0
    }

    fn merge(&mut self, other: &CommandStats) {
        self.calls += other.calls;
        self.nanoseconds += other.nanoseconds;
        self.rejected += other.rejected;
        self.failed += other.failed;
        if let Some(histogram) = &other.histogram {
            self.histogram.get_or_insert_default().merge(histogram);
        }
    }
}

/// First words of errors that are counted by themselves; scripts can make up any number of them.
const ERRORS_MAX: usize = 128;
/// Counts the errors beyond [`ERRORS_MAX`].
const ERRORS_OVERFLOW: &str = "ERRORSTATS_OVERFLOW";

/// Everything that one core counts, or, merged, the server. A clone is a snapshot that can be sent to another core.
#[derive(Clone)]
pub struct Stats {
    /// Counters outside commands.
    pub counters: Counters,
    /// By command number.
    commands: Box<[CommandStats]>,
    /// Count by first word, sorted by the word.
    errors: Vec<(Box<str>, u64)>,
    rates: Rates,
    is_tracking: bool,
}

impl Default for Stats {
    /// Nothing counted yet, latencies tracked.
    fn default() -> Stats {
        Stats::new(true)
    }
}

impl Stats {
    /// Nothing counted yet. `is_tracking`: `latency-tracking`.
    pub fn new(is_tracking: bool) -> Stats {
        Stats {
            counters: Counters::default(),
            commands: vec![CommandStats::default(); COMMAND_COUNT].into_boxed_slice(),
            errors: Vec::new(),
            rates: Rates::default(),
            is_tracking,
        }
    }

    /// `latency-tracking`: whether latencies go into histograms. What they hold stays.
    pub fn track_latency(&mut self, is_tracking: bool) {
        self.is_tracking = is_tracking;
    }

    /// A command ran for so long.
    #[inline]
    pub fn record(&mut self, id: CommandId, nanoseconds: u64) {
        self.counters.commands_processed += 1;
        let stats = &mut self.commands[id.index()];
        stats.calls += 1;
        stats.nanoseconds += nanoseconds;
        if self.is_tracking {
            stats.histogram.get_or_insert_default().record(nanoseconds);
        }
    }

    /// A command replied with an error of this first word ([`Stats::record`] counts that it ran); none: the error has
    /// been counted as that of another command.
    #[cold]
    pub fn failed(&mut self, id: CommandId, prefix: Option<&str>) {
        self.commands[id.index()].failed += 1;
        if let Some(prefix) = prefix {
            self.error(prefix);
        }
    }

    /// A command was refused with an error of this first word and did not run.
    #[cold]
    pub fn rejected(&mut self, id: CommandId, prefix: &str) {
        self.commands[id.index()].rejected += 1;
        self.error(prefix);
    }

    /// An error of this first word was the reply to something that is no command's fault.
    #[cold]
    pub fn error(&mut self, prefix: &str) {
        self.counters.error_replies += 1;
        self.add_errors(prefix, 1);
    }

    fn add_errors(&mut self, prefix: &str, count: u64) {
        let find = |errors: &[(Box<str>, u64)], prefix: &str| errors.binary_search_by(|(word, _)| (**word).cmp(prefix));
        let at = match find(&self.errors, prefix) {
            Ok(at) => at,
            Err(at) if self.errors.len() < ERRORS_MAX => {
                self.errors.insert(at, (prefix.into(), 0));
                at
            }
            Err(_) => find(&self.errors, ERRORS_OVERFLOW).unwrap_or_else(|at| {
                self.errors.insert(at, (ERRORS_OVERFLOW.into(), 0));
                at
            }),
        };
        self.errors[at].1 += count;
    }

    /// What is counted of a command.
    pub fn command(&self, id: CommandId) -> &CommandStats {
        &self.commands[id.index()]
    }

    /// Commands whose latencies were counted, with them.
    pub fn histograms(&self) -> impl Iterator<Item = (&'static Row, &Histogram)> {
        lookup::rows().iter().filter_map(|row| Some((row, self.commands[row.id.index()].histogram.as_deref()?)))
    }

    /// Takes the samples of the rates. Due every 100 ms; `now_us` may come from any steady clock.
    pub fn sample_rates(&mut self, now_us: u64) {
        self.rates.commands.sample(self.counters.commands_processed, now_us);
        self.rates.input.sample(self.counters.net_input_bytes, now_us);
        self.rates.output.sample(self.counters.net_output_bytes, now_us);
    }

    /// How fast the counters grow now. Of one core: [`Stats::merge`] does not add rates, [`RatesNow::merge`] does.
    pub fn rates(&self) -> RatesNow {
        RatesNow {
            commands_per_second: self.rates.commands.per_second(),
            input_bytes_per_second: self.rates.input.per_second(),
            output_bytes_per_second: self.rates.output.per_second(),
        }
    }

    /// Adds another core's counts.
    pub fn merge(&mut self, other: &Stats) {
        self.counters.merge(&other.counters);
        for (own, other) in self.commands.iter_mut().zip(&other.commands) {
            own.merge(other);
        }
        for (prefix, count) in &other.errors {
            self.add_errors(prefix, *count);
        }
    }

    /// `CONFIG RESETSTAT`: forgets everything counted.
    pub fn reset(&mut self) {
        *self = Stats::new(self.is_tracking);
    }

    /// The lines of `INFO commandstats`.
    pub fn info_commands(&self, out: &mut String) {
        for row in lookup::rows() {
            let stats = &self.commands[row.id.index()];
            if !stats.is_used() {
                continue;
            }
            let microseconds = stats.nanoseconds / 1000;
            let per_call = if stats.calls == 0 { 0.0 } else { microseconds as f64 / stats.calls as f64 };
            let (name, calls, rejected, failed) =
                (safe_name(&row.full_name()), stats.calls, stats.rejected, stats.failed);
            push_line(
                out,
                format_args!(
                    "cmdstat_{name}:calls={calls},usec={microseconds},usec_per_call={per_call:.2},\
                     rejected_calls={rejected},failed_calls={failed}"
                ),
            );
        }
    }

    /// The lines of `INFO latencystats`; none while latency tracking is off.
    pub fn info_latencies(&self, percentiles: &[f64], out: &mut String) {
        if !self.is_tracking {
            return;
        }
        for (row, histogram) in self.histograms() {
            let microseconds = |percentile: f64| histogram.percentile(percentile) as f64 / 1000.0;
            let values = percentiles.iter().map(|&percentile| {
                let digits = format!("{percentile:.6}");
                let digits = digits.trim_end_matches('0').trim_end_matches('.');
                format!("p{digits}={:.3}", microseconds(percentile))
            });
            let values = values.collect::<Vec<_>>().join(",");
            push_line(out, format_args!("latency_percentiles_usec_{}:{values}", safe_name(&row.full_name())));
        }
    }

    /// The lines of `INFO errorstats`.
    pub fn info_errors(&self, out: &mut String) {
        for (prefix, count) in &self.errors {
            push_line(out, format_args!("errorstat_{}:count={count}", safe_name(prefix)));
        }
    }
}

fn push_line(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(line);
    out.push_str("\r\n");
}

/// A name that cannot be taken for other fields of `INFO`.
fn safe_name(name: &str) -> String {
    name.replace(['#', ':', '\n', '\r'], "_")
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
        assert_eq!(lowest(0), 0);
        for bucket in 0..OCTAVES * OCTAVE_BUCKETS {
            assert_eq!(place(lowest(bucket)), bucket);
            assert_eq!(place(highest(bucket)), bucket);
        }
        assert_eq!(highest(OCTAVES * OCTAVE_BUCKETS - 1), LATENCY_MAX);
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
        let shown = |percentile| format!("{:.3}", latencies.percentile(percentile) as f64 / 1000.0);
        assert_eq!(shown(0.0), "299892.736");
        assert_eq!(shown(50.0), "700448.767");
        assert_eq!(shown(99.0), "1002438.655");
        assert_eq!(shown(100.0), "1002438.655");
        assert_eq!(histogram(&[]).percentile(50.0), 0);
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
            let mut reference = hdrhistogram::Histogram::<u64>::new_with_bounds(1, LATENCY_MAX, 2).unwrap();
            latencies.iter().for_each(|&latency| reference.record(latency.max(1)).unwrap());
            prop_assert_eq!(ours.to_hdr(), reference.clone());
            prop_assert_eq!(ours.count(), latencies.len() as u64);
            let total = ours.steps().last().map(|(_, count)| *count);
            prop_assert_eq!(total, Some(latencies.len() as u64));
            for percentile in [50.0, 90.0, 99.0, 99.9, 100.0] {
                let rank = ((percentile / 100.0 * latencies.len() as f64 + 0.5) as usize).max(1);
                let mut sorted = latencies.clone();
                sorted.sort_unstable();
                prop_assert_eq!(ours.percentile(percentile), reference.highest_equivalent(sorted[rank - 1].max(1)));
            }
        }
    }

    #[test]
    fn errors_beyond_the_bound_are_counted_together() {
        let mut stats = Stats::default();
        (0..200).for_each(|index| stats.error(&format!("E{index:03}")));
        stats.error("E000");
        let mut lines = String::new();
        stats.info_errors(&mut lines);
        assert_eq!(lines.lines().count(), ERRORS_MAX + 1);
        assert!(lines.starts_with("errorstat_E000:count=2\r\nerrorstat_E001:count=1\r\n"));
        assert!(lines.ends_with("errorstat_ERRORSTATS_OVERFLOW:count=72\r\n"));
        assert_eq!(stats.counters.error_replies, 201);
        let mut other = Stats::default();
        other.error("A:B#\n");
        stats.merge(&other);
        let mut lines = String::new();
        other.info_errors(&mut lines);
        assert_eq!(lines, "errorstat_A_B__:count=1\r\n");
        let mut lines = String::new();
        stats.info_errors(&mut lines);
        assert!(lines.ends_with("errorstat_ERRORSTATS_OVERFLOW:count=73\r\n"));
    }

    #[test]
    fn a_command_is_counted_over_cores() {
        let row = lookup::lookup(b"ping").expect("a row");
        let name = row.full_name();
        let mut here = Stats::default();
        here.record(row.id, 2_500);
        here.record(row.id, 3_007);
        here.failed(row.id, Some("ERR"));
        let mut there = Stats::default();
        there.rejected(row.id, "NOAUTH");
        there.record(row.id, 3_000);
        here.merge(&there);
        let (mut commands, mut latencies, mut errors) = (String::new(), String::new(), String::new());
        here.info_commands(&mut commands);
        here.info_latencies(&[50.0, 99.9, 99.123_456_7], &mut latencies);
        here.info_errors(&mut errors);
        assert_eq!(
            commands,
            format!("cmdstat_{name}:calls=3,usec=8,usec_per_call=2.67,rejected_calls=1,failed_calls=1\r\n")
        );
        let expected = format!("latency_percentiles_usec_{name}:p50=3.007,p99.9=3.007,p99.123457=3.007\r\n");
        assert_eq!(latencies, expected);
        assert_eq!(errors, "errorstat_ERR:count=1\r\nerrorstat_NOAUTH:count=1\r\n");
        here.track_latency(false);
        let mut latencies = String::new();
        here.info_latencies(&[50.0], &mut latencies);
        assert_eq!(latencies, "");
        assert_eq!(here.histograms().count(), 1);
        here.reset();
        here.record(row.id, 1);
        assert_eq!(here.histograms().count(), 0);
        assert_eq!(here.counters, Counters { commands_processed: 1, ..Counters::default() });
    }

    #[test]
    fn rates_are_means_of_sixteen_samples() {
        let mut rate = Rate::default();
        rate.sample(1_000, 50_000);
        assert_eq!(rate.per_second(), 0);
        for tick in 1..=8 {
            rate.sample(1_000 + tick * 16, 50_000 + tick * 100_000);
        }
        assert_eq!(rate.per_second(), 80);
        for tick in 9..=30 {
            rate.sample(1_000 + tick * 16, 50_000 + tick * 100_000);
        }
        assert_eq!(rate.per_second(), 160);
        rate.sample(0, 60_000_000);
        assert_eq!(rate.per_second(), 150);
        rate.sample(u64::MAX, 60_000_001);
        assert_eq!(RatesNow::kilobytes(1536), "1.50");
    }
}
