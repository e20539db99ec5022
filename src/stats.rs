//! What one core counts: calls, time and latency of every command, errors by their first word, bytes and clients. Plain
//! numbers, written by their core alone; a [`Snapshot`] is a copy of what somebody asked for, and the whole server is
//! the sum of its cores' snapshots.
//!
//! Not here: asking the other cores, and the clock. `INFO` and `LATENCY HISTOGRAM` print what this file formats.
//!
//! Latencies are histograms: [`histogram`]. Of every command there is one per stage of its time, apart for what ran
//! here and on another core: [`stages`]; what comes in is counted by the second first: [`running`]. How the loop itself
//! does is [`health`].

pub mod health;
pub mod histogram;
pub mod running;
pub mod stages;

use crate::command::lookup::{self, COMMAND_COUNT, CommandId, Row};
use bitflags::bitflags;
use health::Health;
use histogram::{GROUP_BUCKETS, Histogram, coarse_place_of};
use running::Running;
use stages::{Lane, Lanes, Slice, Slices, Stage, Way};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write;
use std::sync::Arc;

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
    /// Time they ran, in nanoseconds.
    command_nanoseconds,
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
    /// Keys that scripts found which began again: keyspaces have counted them, and count them once more …
    hits_taken_back,
    /// … and keys that they did not find.
    misses_taken_back,
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

/// How often and how long one command ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Times it ran, failures included.
    pub calls: u64,
    /// Time it ran, in nanoseconds.
    pub nanoseconds: u64,
    /// Times it was refused before it ran: arity, rights, memory.
    pub rejected: u64,
    /// Times it ran and replied with an error.
    pub failed: u64,
}

impl Calls {
    fn is_used(&self) -> bool {
        self.calls > 0 || self.rejected > 0 || self.failed > 0
    }

    fn merge(&mut self, other: &Calls) {
        self.calls += other.calls;
        self.nanoseconds += other.nanoseconds;
        self.rejected += other.rejected;
        self.failed += other.failed;
    }
}

/// What is counted of one command.
#[derive(Clone, Default)]
struct CommandStats {
    calls: Calls,
    /// Its stages before the running second; none while latency tracking was off.
    before: Option<Box<Lanes>>,
}

bitflags! {
    /// What of commands and errors is asked for: what nobody reads is not copied.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Wanted: u8 {
        /// How often which error was the reply.
        const ERRORS = 1 << 0;
        /// How often and how long every command ran.
        const CALLS = 1 << 1;
        /// The histograms of how long: by far the most.
        const LATENCIES = 1 << 2;
    }
}

/// What one core counted of commands and errors, or, merged, the server: as much of it as was [`Wanted`].
#[derive(Clone, Default)]
pub struct Snapshot {
    calls: BTreeMap<CommandId, Calls>,
    /// Of the stages the execution alone, wherever it was.
    latencies: BTreeMap<CommandId, Box<Histogram>>,
    errors: Errors,
}

impl Snapshot {
    /// Adds another core's.
    pub fn merge(&mut self, other: Snapshot) {
        for (id, calls) in other.calls {
            self.calls.entry(id).or_default().merge(&calls);
        }
        for (id, histogram) in other.latencies {
            match self.latencies.entry(id) {
                Entry::Vacant(place) => _ = place.insert(histogram),
                Entry::Occupied(mut sum) => sum.get_mut().merge(&histogram),
            }
        }
        for (prefix, count) in &other.errors.0 {
            self.errors.add(prefix, *count);
        }
    }

    /// The lines of `INFO commandstats`.
    pub fn info_commands(&self, out: &mut String) {
        for (id, calls) in &self.calls {
            let Calls { calls, nanoseconds, rejected, failed } = *calls;
            let microseconds = nanoseconds / 1000;
            let per_call = if calls == 0 { 0.0 } else { microseconds as f64 / calls as f64 };
            let name = safe_name(&lookup::find_by_id(*id).full_name());
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
        for (id, histogram) in &self.latencies {
            let found = histogram.percentiles_as_redis(percentiles);
            let values = percentiles.iter().zip(found).map(|(&percentile, nanoseconds)| {
                let digits = format!("{percentile:.6}");
                let digits = digits.trim_end_matches('0').trim_end_matches('.');
                format!("p{digits}={:.3}", nanoseconds as f64 / 1000.0)
            });
            let values = values.collect::<Vec<_>>().join(",");
            let name = safe_name(&lookup::find_by_id(*id).full_name());
            push_line(out, format_args!("latency_percentiles_usec_{name}:{values}"));
        }
    }

    /// The lines of `INFO errorstats`.
    pub fn info_errors(&self, out: &mut String) {
        for (prefix, count) in &self.errors.0 {
            push_line(out, format_args!("errorstat_{}:count={count}", safe_name(prefix)));
        }
    }
}

/// First words of errors that are counted by themselves; scripts can make up any number of them.
const ERRORS_MAX: usize = 128;
/// Counts the errors beyond [`ERRORS_MAX`].
const ERRORS_OVERFLOW: &str = "ERRORSTATS_OVERFLOW";

/// Count of errors by first word, sorted by the word.
#[derive(Clone, Default)]
struct Errors(Vec<(Box<str>, u64)>);

impl Errors {
    fn find(&self, prefix: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(word, _)| (**word).cmp(prefix))
    }

    fn add(&mut self, prefix: &str, count: u64) {
        let at = match self.find(prefix) {
            Ok(at) => at,
            Err(at) if self.0.len() < ERRORS_MAX => {
                self.0.insert(at, (prefix.into(), 0));
                at
            }
            Err(_) => self.find(ERRORS_OVERFLOW).unwrap_or_else(|at| {
                self.0.insert(at, (ERRORS_OVERFLOW.into(), 0));
                at
            }),
        };
        self.0[at].1 += count;
    }
}

/// Stages of one command: those in which something was counted.
pub type StagesOf = (CommandId, Lanes);

/// Everything that one core counts.
pub struct Stats {
    /// Counters outside commands.
    pub counters: Counters,
    /// How the core's loop does.
    pub health: Health,
    /// By command number.
    commands: Box<[CommandStats]>,
    errors: Errors,
    rates: Rates,
    is_tracking: bool,
    /// The running second, by the core's steady clock, …
    second: u64,
    /// … the one in which counting began, …
    since: u64,
    /// … how often it has begun anew before, …
    resets: u64,
    /// … those before, …
    slices: Slices,
    /// … and what is counted in it.
    running: Running,
    /// The command that took longest in the running pass, and how long.
    slowest: Option<(CommandId, u64)>,
    /// What the histograms of seconds before the running one take.
    before_bytes: usize,
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
        let commands = vec![CommandStats::default(); COMMAND_COUNT].into_boxed_slice();
        Stats { commands, ..Stats::empty(is_tracking) }
    }

    /// A copy for another core of what it wants to know of commands and errors.
    pub fn snapshot(&self, wanted: Wanted) -> Snapshot {
        let mut snapshot = Snapshot::default();
        if wanted.contains(Wanted::ERRORS) {
            snapshot.errors = self.errors.clone();
        }
        if wanted.contains(Wanted::CALLS) {
            let all = lookup::rows().iter().map(|row| (row.id, self.commands[row.id.index()].calls));
            snapshot.calls = all.filter(|(_, calls)| calls.is_used()).collect();
        }
        if wanted.contains(Wanted::LATENCIES) && self.is_tracking {
            snapshot.latencies = self.histograms().map(|(row, histogram)| (row.id, Box::new(histogram))).collect();
        }
        snapshot
    }

    fn empty(is_tracking: bool) -> Stats {
        Stats {
            counters: Counters::default(),
            health: Health::default(),
            commands: Box::default(),
            errors: Errors::default(),
            rates: Rates::default(),
            is_tracking,
            second: 0,
            since: 0,
            resets: 0,
            slices: Slices::default(),
            running: Running::default(),
            slowest: None,
            before_bytes: 0,
        }
    }

    /// `latency-tracking`: whether latencies go into histograms. Switched off, what is known of executions stays, as in
    /// Redis; other stages and the last seconds are forgotten, and their memory is freed.
    pub fn track_latency(&mut self, is_tracking: bool) {
        if is_tracking == self.is_tracking {
            return;
        }
        self.settle();
        self.running = Running::default();
        self.is_tracking = is_tracking;
        self.slices = Slices::since(self.second);
        if !is_tracking {
            let lanes = self.commands.iter_mut().filter_map(|stats| stats.before.as_deref_mut());
            self.before_bytes = lanes.fold(0, |bytes, lanes| {
                lanes.retain(|lane| lane.stage() == Stage::Execute);
                bytes + lanes.bytes()
            });
        }
    }

    /// Whether they do.
    pub fn is_tracking(&self) -> bool {
        self.is_tracking
    }

    /// A command ran for so long, on the core that read it.
    #[inline]
    pub fn record(&mut self, id: CommandId, nanoseconds: u64) {
        self.record_run(id, Way::Local, nanoseconds);
    }

    /// A command ran for so long.
    #[inline]
    pub fn record_run(&mut self, id: CommandId, way: Way, nanoseconds: u64) {
        self.counters.commands_processed += 1;
        self.counters.command_nanoseconds += nanoseconds;
        let stats = &mut self.commands[id.index()].calls;
        stats.calls += 1;
        stats.nanoseconds += nanoseconds;
        if self.slowest.is_none_or(|(_, slowest)| slowest < nanoseconds) {
            self.slowest = Some((id, nanoseconds));
        }
        self.record_stage(id, Lane::of(way, Stage::Execute), nanoseconds, 1);
    }

    /// So many calls of a command that ran on this core for so long, all together, and were counted, are to run once
    /// more. Their latencies stay where they were noted, if that has become a slice since; and counts may have been
    /// reset meanwhile.
    pub fn take_back(&mut self, id: CommandId, calls: u64, nanoseconds: u64, latencies: &Histogram) {
        let take = |count: &mut u64, taken: u64| *count = count.saturating_sub(taken);
        take(&mut self.counters.commands_processed, calls);
        take(&mut self.counters.command_nanoseconds, nanoseconds);
        let stats = &mut self.commands[id.index()];
        take(&mut stats.calls.calls, calls);
        take(&mut stats.calls.nanoseconds, nanoseconds);
        for (number, counts) in latencies.groups() {
            self.running.take_back(id, Lane::of(Way::Local, Stage::Execute), number, &counts);
        }
    }

    /// The same of errors, of a command if that is known, which was refused or failed. No prefix: by errors that are
    /// counted elsewhere.
    pub fn take_back_errors(&mut self, id: Option<CommandId>, is_refusal: bool, prefix: Option<&str>, errors: u64) {
        let take = |count: &mut u64| *count = count.saturating_sub(errors);
        if let Some(id) = id {
            let stats = &mut self.commands[id.index()].calls;
            take(if is_refusal { &mut stats.rejected } else { &mut stats.failed });
        }
        let Some(prefix) = prefix else { return };
        take(&mut self.counters.error_replies);
        if let Ok(at) = self.errors.find(prefix).or_else(|_| self.errors.find(ERRORS_OVERFLOW)) {
            let Errors(errors) = &mut self.errors;
            take(&mut errors[at].1);
            if errors[at].1 == 0 {
                errors.remove(at);
            }
        }
    }

    /// A stage of so many calls of a command took so long. Nothing while latencies are not tracked.
    #[inline]
    pub fn record_stage(&mut self, id: CommandId, lane: Lane, nanoseconds: u64, count: u64) {
        if !self.is_tracking {
            return;
        }
        while !self.running.record(id, lane, nanoseconds, count) {
            self.settle();
        }
    }

    /// Such a stage is to be recorded soon: its counter is brought near.
    #[inline]
    pub fn expect_stage(&self, id: CommandId, lane: Lane, nanoseconds: u64) {
        self.running.prefetch(id, lane, nanoseconds);
    }

    /// The time is now this second, by the core's steady clock. What was counted in another becomes a slice.
    ///
    /// Once a second, some microseconds: what it takes is the buckets that were hit, not those there are.
    pub fn turn(&mut self, second: u64) {
        if second <= self.second {
            return;
        }
        self.settle();
        self.second = second;
    }

    /// What is counted of the running second so far goes where it is kept.
    #[cold]
    fn settle(&mut self) {
        let mut slice = Slice { second: self.second, ..Slice::default() };
        let mut buckets: Vec<(u16, u64)> = Vec::new();
        self.running.take_all(|command, lane, groups| {
            let before = self.commands[command].before.get_or_insert_with(|| {
                self.before_bytes += size_of::<Lanes>();
                Box::default()
            });
            self.before_bytes -= before.get(lane).map_or(0, Histogram::bytes);
            let histogram = before.at(lane);
            for (number, counts) in groups {
                histogram.add(*number, counts);
                let first = usize::from(*number) * GROUP_BUCKETS;
                for (place, &count) in (first..).zip(counts).filter(|(_, count)| 0 < **count) {
                    let place = coarse_place_of(place, lane.digits());
                    match buckets.last_mut().filter(|(last, _)| *last == place) {
                        Some((_, counted)) => *counted += count,
                        None => buckets.push((place, count)),
                    }
                }
            }
            self.before_bytes += histogram.bytes();
            slice.push(lookup::rows()[command].id, lane, &buckets);
            buckets.clear();
        });
        if !slice.counted.is_empty() {
            self.slices.push(slice);
        }
    }

    /// What all that is known of latencies takes. It grows by what is measured, and is not the users' data: it does not
    /// count against `maxmemory`.
    pub fn latency_bytes(&self) -> usize {
        self.before_bytes + self.running.bytes() + self.slices.bytes()
    }

    /// How often counting has begun anew, by `CONFIG RESETSTAT`: on every core as often, if not at the same time.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// The slices from a second on that are kept, oldest first.
    pub fn slices_from(&self, second: u64) -> impl Iterator<Item = &Arc<Slice>> {
        self.slices.from(second, self.second)
    }

    /// A pass of the loop begins: none of its commands has run.
    #[inline]
    pub fn begin_pass(&mut self) {
        self.slowest = None;
    }

    /// The command that took longest in the running pass, and how long.
    pub fn slowest(&self) -> Option<(CommandId, u64)> {
        self.slowest
    }

    /// The stages of some commands since the start, by command.
    pub fn stages(&self, is_wanted: impl Fn(CommandId) -> bool) -> Vec<StagesOf> {
        self.sums(|id, _| is_wanted(id)).into_iter().collect()
    }

    /// What was counted in some lanes since the start.
    fn sums(&self, is_wanted: impl Fn(CommandId, Lane) -> bool) -> BTreeMap<CommandId, Lanes> {
        let mut sums: BTreeMap<CommandId, Lanes> = BTreeMap::new();
        let before =
            lookup::rows().iter().filter_map(|row| Some((row.id, self.commands[row.id.index()].before.as_deref()?)));
        for (id, lanes) in before {
            for (lane, histogram) in lanes.used().filter(|(lane, _)| is_wanted(id, *lane)) {
                sums.entry(id).or_default().at(lane).merge(histogram);
            }
        }
        for (of, counts) in self.running.groups() {
            let id = lookup::rows()[of.command].id;
            if is_wanted(id, of.lane) {
                sums.entry(id).or_default().at(of.lane).add(of.number, &counts);
            }
        }
        sums
    }

    /// The same of the last seconds, without the running one.
    pub fn stages_within(&self, seconds: u64, is_wanted: impl Fn(CommandId) -> bool) -> Vec<StagesOf> {
        let mut found: BTreeMap<CommandId, Lanes> = BTreeMap::new();
        for slice in self.slices.last(seconds, self.second) {
            for counted in slice.counted.iter().filter(|counted| is_wanted(counted.command)) {
                let lanes = found.entry(counted.command).or_default();
                counted.add_to(lanes.at(counted.lane));
            }
        }
        found.into_iter().collect()
    }

    /// How many seconds, the running one included, are counted since the start or `CONFIG RESETSTAT`; of a window of so
    /// many seconds before the running one, how many of it.
    pub fn seconds_counted(&self, window: Option<u64>) -> u64 {
        match window {
            None => self.second - self.since + 1,
            Some(window) => self.slices.known(self.second).min(window),
        }
    }

    /// A command replied with an error of this first word ([`Stats::record`] counts that it ran); none: the error has
    /// been counted as that of another command.
    #[cold]
    pub fn failed(&mut self, id: CommandId, prefix: Option<&str>) {
        self.commands[id.index()].calls.failed += 1;
        if let Some(prefix) = prefix {
            self.error(prefix);
        }
    }

    /// A command was refused with an error of this first word and did not run.
    #[cold]
    pub fn rejected(&mut self, id: CommandId, prefix: &str) {
        self.commands[id.index()].calls.rejected += 1;
        self.error(prefix);
    }

    /// An error of this first word was the reply to something that is no command's fault.
    #[cold]
    pub fn error(&mut self, prefix: &str) {
        self.counters.error_replies += 1;
        self.errors.add(prefix, 1);
    }

    /// How often and how long a command ran.
    pub fn command(&self, id: CommandId) -> Calls {
        self.commands[id.index()].calls
    }

    /// Commands whose execution was timed, with how long it took, wherever it was.
    pub fn histograms(&self) -> impl Iterator<Item = (&'static Row, Histogram)> {
        let sums = self.sums(|_, lane| lane.stage() == Stage::Execute);
        sums.into_iter().map(|(id, lanes)| {
            let mut sum = Histogram::default();
            lanes.used().for_each(|(_, histogram)| sum.merge(histogram));
            (lookup::find_by_id(id), sum)
        })
    }

    /// Takes the samples of the rates. Due every 100 ms; `now_us` may come from any steady clock.
    pub fn sample_rates(&mut self, now_us: u64) {
        self.rates.commands.sample(self.counters.commands_processed, now_us);
        self.rates.input.sample(self.counters.net_input_bytes, now_us);
        self.rates.output.sample(self.counters.net_output_bytes, now_us);
    }

    /// How fast the counters grow now.
    pub fn rates(&self) -> RatesNow {
        RatesNow {
            commands_per_second: self.rates.commands.per_second(),
            input_bytes_per_second: self.rates.input.per_second(),
            output_bytes_per_second: self.rates.output.per_second(),
        }
    }

    /// `CONFIG RESETSTAT`: forgets everything counted.
    pub fn reset(&mut self) {
        let (second, resets) = (self.second, self.resets + 1);
        let slices = Slices::since(second);
        *self = Stats { second, since: second, resets, slices, ..Stats::new(self.is_tracking) };
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

    fn errors_of(snapshot: &Snapshot) -> String {
        let mut lines = String::new();
        snapshot.info_errors(&mut lines);
        lines
    }

    #[test]
    fn errors_beyond_the_bound_are_counted_together() {
        let mut stats = Stats::default();
        (0..200).for_each(|index| stats.error(&format!("E{index:03}")));
        stats.error("E000");
        let mut snapshot = stats.snapshot(Wanted::ERRORS);
        let lines = errors_of(&snapshot);
        assert_eq!(lines.lines().count(), ERRORS_MAX + 1);
        assert!(lines.starts_with("errorstat_E000:count=2\r\nerrorstat_E001:count=1\r\n"));
        assert!(lines.ends_with("errorstat_ERRORSTATS_OVERFLOW:count=72\r\n"));
        assert_eq!(stats.counters.error_replies, 201);
        let mut other = Stats::default();
        other.error("A:B#\n");
        assert_eq!(errors_of(&other.snapshot(Wanted::ERRORS)), "errorstat_A_B__:count=1\r\n");
        snapshot.merge(other.snapshot(Wanted::ERRORS));
        assert!(errors_of(&snapshot).ends_with("errorstat_ERRORSTATS_OVERFLOW:count=73\r\n"));
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
        let latencies_of = |snapshot: &Snapshot, percentiles: &[f64]| {
            let mut lines = String::new();
            snapshot.info_latencies(percentiles, &mut lines);
            lines
        };
        let mut server = here.snapshot(Wanted::all());
        server.merge(there.snapshot(Wanted::all()));
        let mut commands = String::new();
        server.info_commands(&mut commands);
        assert_eq!(
            commands,
            format!("cmdstat_{name}:calls=3,usec=8,usec_per_call=2.67,rejected_calls=1,failed_calls=1\r\n")
        );
        let expected = format!("latency_percentiles_usec_{name}:p50=3.007,p99.9=3.007,p99.123457=3.007\r\n");
        assert_eq!(latencies_of(&server, &[50.0, 99.9, 99.123_456_7]), expected);
        assert_eq!(errors_of(&server), "errorstat_ERR:count=1\r\nerrorstat_NOAUTH:count=1\r\n");
        assert_eq!(here.counters.command_nanoseconds, 5_507);
        here.track_latency(false);
        assert_eq!(latencies_of(&here.snapshot(Wanted::all()), &[50.0]), "");
        assert_eq!(here.histograms().count(), 1);
        here.reset();
        here.record(row.id, 1);
        assert_eq!(here.histograms().count(), 0);
        let counters = Counters { commands_processed: 1, command_nanoseconds: 1, ..Counters::default() };
        assert_eq!(here.counters, counters);
    }

    #[test]
    fn what_nobody_wants_is_not_copied() {
        let get = lookup::lookup(b"get").expect("a row").id;
        let mut stats = Stats::default();
        stats.record(get, 1_000);
        stats.failed(get, Some("ERR"));
        let lens = |wanted| {
            let Snapshot { calls, latencies, errors } = stats.snapshot(wanted);
            (errors.0.len(), calls.len(), latencies.len())
        };
        assert_eq!(lens(Wanted::empty()), (0, 0, 0));
        assert_eq!(lens(Wanted::ERRORS), (1, 0, 0));
        assert_eq!(lens(Wanted::CALLS), (0, 1, 0));
        assert_eq!(lens(Wanted::LATENCIES), (0, 0, 1));
        assert_eq!(lens(Wanted::all()), (1, 1, 1));
    }

    const EXECUTE: Lane = Lane::of(Way::Local, Stage::Execute);
    const HOP: Lane = Lane::of(Way::Forwarded, Stage::Hop);

    fn counts(stages: &[StagesOf]) -> Vec<(CommandId, Lane, u64)> {
        let of = |(id, lanes): &StagesOf| lanes.used().map(|(lane, sum)| (*id, lane, sum.count())).collect::<Vec<_>>();
        stages.iter().flat_map(of).collect()
    }

    #[test]
    fn seconds_become_slices_and_nothing_is_lost() {
        let [get, set] = [b"get", b"set"].map(|name| lookup::lookup(name).expect("a row").id);
        let mut stats = Stats::default();
        stats.turn(100);
        stats.record(get, 1_000);
        stats.record_stage(get, HOP, 2_000, 3);
        stats.turn(101);
        stats.record(set, 1_000);
        stats.turn(101);
        stats.turn(103);
        stats.record(get, 5_000);
        let all = counts(&stats.stages(|_| true));
        assert_eq!(all, {
            let mut all = vec![(get, EXECUTE, 2), (get, HOP, 3), (set, EXECUTE, 1)];
            all.sort();
            all
        });
        assert_eq!(counts(&stats.stages(|id| id == set)), [(set, EXECUTE, 1)]);
        assert_eq!(counts(&stats.stages_within(1, |_| true)), []);
        assert_eq!(counts(&stats.stages_within(2, |_| true)), [(set, EXECUTE, 1)]);
        assert_eq!(counts(&stats.stages_within(3, |id| id == get)), [(get, EXECUTE, 1), (get, HOP, 3)]);
        assert_eq!((stats.seconds_counted(None), stats.seconds_counted(Some(2))), (104, 2));
        let bytes = stats.latency_bytes();
        (0..1000).for_each(|bits| stats.record(set, 1_000 + (bits % 100) * 1_000));
        assert!(bytes + 4_000 < stats.latency_bytes() && stats.latency_bytes() < bytes + 20_000);
        // What clients ask for in Redis' words is the execution alone, on whichever core.
        stats.record_run(get, Way::Forwarded, 9_000);
        let executions: Vec<u64> = stats.histograms().map(|(_, histogram)| histogram.count()).collect();
        assert_eq!(executions.iter().sum::<u64>(), 1_004);
        let snapshot = stats.snapshot(Wanted::all());
        assert_eq!(snapshot.latencies.values().map(|histogram| histogram.count()).sum::<u64>(), 1_004);
        assert_eq!(snapshot.calls[&get].calls, 3);
        stats.reset();
        assert!(stats.stages(|_| true).is_empty() && stats.stages_within(300, |_| true).is_empty());
        assert_eq!(stats.latency_bytes(), 0);
        assert_eq!((stats.seconds_counted(None), stats.seconds_counted(Some(300))), (1, 0));
        stats.track_latency(false);
        stats.record(get, 1);
        stats.record_stage(get, HOP, 1, 1);
        assert!(stats.stages(|_| true).is_empty());
    }

    #[test]
    fn what_is_switched_off_takes_no_memory() {
        let get = lookup::lookup(b"get").expect("a row").id;
        let mut stats = Stats::default();
        for second in 1..20 {
            stats.turn(second);
            stats.record(get, 1_000);
            for stage in Stage::ALL {
                stats.record_stage(get, Lane::of(Way::Forwarded, stage), 1 << second, 1);
            }
        }
        let all = stats.latency_bytes();
        stats.track_latency(false);
        let executions = [Way::Local, Way::Forwarded].map(|way| (get, Lane::of(way, Stage::Execute), 19));
        assert_eq!(counts(&stats.stages(|_| true)), executions);
        assert!(counts(&stats.stages_within(300, |_| true)).is_empty());
        assert!(4 * stats.latency_bytes() < all, "{} of {all}", stats.latency_bytes());
        stats.turn(50);
        stats.track_latency(true);
        assert_eq!(stats.seconds_counted(Some(300)), 0, "of what came before a window knows nothing");
        stats.record(get, 1_000);
        stats.turn(51);
        assert_eq!(counts(&stats.stages_within(300, |_| true)), [(get, EXECUTE, 1)]);
    }

    /// What a core takes for commands that are in use, all of them with latencies of every length in every stage.
    #[test]
    fn what_is_known_of_latencies_is_bounded() {
        let mut random = fastrand::Rng::with_seed(11);
        // From some power of two on, each octave as often as the others.
        let mut latency = |octaves: std::ops::Range<u32>| {
            let lowest = 1_u64 << random.u32(octaves);
            lowest + random.u64(..lowest)
        };
        let ids: Vec<CommandId> = lookup::rows().iter().map(|row| row.id).take(3).collect();
        let mut bytes = Vec::new();
        // As a load has them, 250 ns to 4 ms; and as none can, 64 ns to 68 s.
        for octaves in [8..22, 6..36] {
            let mut stats = Stats::default();
            let mut others_max = 0;
            for second in 1..=20 {
                for &id in &ids {
                    for lane in Lane::all() {
                        (0..250).for_each(|_| stats.record_stage(id, lane, latency(octaves.clone()), 1));
                    }
                }
                others_max = others_max.max(stats.latency_bytes() - stats.before_bytes);
                stats.turn(second);
            }
            let before: usize = stats.commands.iter().filter_map(|stats| Some(stats.before.as_deref()?.bytes())).sum();
            assert_eq!(stats.before_bytes, before);
            assert!(others_max <= stages::SLICES_BYTES_MAX + running::BLOCKS_MAX * 64, "{others_max}");
            let calls: u64 = stats.histograms().map(|(_, histogram)| histogram.count()).sum();
            assert_eq!(calls, 3 * 2 * 20 * 250);
            bytes.push(stats.before_bytes / ids.len());
        }
        assert!(bytes[0] <= 70_000 && bytes[1] <= 140_000, "{bytes:?} bytes for each command");
    }

    #[test]
    fn the_slowest_command_of_a_pass_is_known() {
        let [get, set] = [b"get", b"set"].map(|name| lookup::lookup(name).expect("a row").id);
        let mut stats = Stats::default();
        assert_eq!(stats.slowest(), None);
        stats.record(get, 10);
        stats.record(set, 30);
        stats.record(get, 20);
        assert_eq!(stats.slowest(), Some((set, 30)));
        stats.begin_pass();
        assert_eq!(stats.slowest(), None);
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
