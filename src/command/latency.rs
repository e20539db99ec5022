//! `LATENCY`: spikes of latency by event, newest and worst, and the histograms of commands.
//!
//! An event (`command`, `fast-command`, names of background work) has a ring of 160 seconds with the worst latency of
//! each; only what took at least `latency-monitor-threshold` milliseconds takes the lock. The histograms are another
//! thing: every core counts every call, see [`crate::stats`]; of them `LATENCY HISTOGRAM` tells the execution as Redis
//! does, `LATENCY STAGES` every stage of a command's time ([`crate::stats::stages`]). `LATENCY RESET` forgets spikes,
//! as in Redis; what is counted, `CONFIG RESETSTAT` forgets.
//!
//! ```text
//! LATENCY STAGES [command ...] [WINDOW seconds]          all commands; since the start or CONFIG RESETSTAT
//!
//! seconds   how many seconds it tells of: of a window fewer than asked for, where it is not known for as long
//! stages    command ─▶ local | forwarded ─▶ stage ─▶ calls, mean_nsec, p50_nsec … p99.99_nsec, max_nsec
//! ```
//! Names are maps, in RESP2 arrays of names and values. Only what was counted is told; where nothing was, the map is
//! empty. Numbers are nanoseconds, the upper ends of buckets: of two digits, but of three of `execute` since the
//! start.

use super::client::write_help;
use super::lookup::{self, CommandId, Row, find_by_id};
use super::{Args, Command, CommandResult, CoreView, Flags, Group, Part, Run, SessionView};
use crate::resp::{Error, Reply};
use crate::stats::histogram::Histogram;
use crate::stats::stages::{Lanes, Stage, WINDOW_SECONDS_MAX, Way};
use crate::stats::{StagesOf, Stats};
use crate::value::number::parse_integer;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard};

const ANY_STATE: Flags = Flags::LOADING.union(Flags::STALE);
const ADMIN: Flags = ANY_STATE.union(Flags::ADMIN).union(Flags::NOSCRIPT);
const EVERY_NODE: &[&str] = &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];

const fn row(name: &'static str, run: Run, since: &'static str, summary: &'static str) -> Command {
    Command::new(name, run).arity(2).flags(ADMIN).docs(Group::Server, since, summary).tips(EVERY_NODE)
}

/// The rows.
pub const COMMANDS: &[Command] = &[Command::new("LATENCY", Run::Container)
    .arity(-2)
    .docs(Group::Server, "2.8.13", "Commands about latency: spikes and histograms.")
    .complexity("Depends on subcommand.")
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    row("DOCTOR", Run::Session(doctor), "2.8.13", "Describes the spikes seen, and what to do about them."),
    row("GRAPH", Run::Session(graph), "2.8.13", "Draws the spikes of an event.").arity(3).syntax("event"),
    row("HELP", Run::Session(help), "2.8.13", "Describes the subcommands.").flags(ANY_STATE).tips(&[]),
    row(
        "HISTOGRAM",
        Run::Everywhere { check: check_histogram, part: histogram_part, merge: histogram_merge },
        "7.0.0",
        "Returns how many calls took how long, for some or all commands.",
    )
    .arity(-2)
    .complexity("O(N) where N is the number of commands with latencies")
    .syntax("[command [command ...]]"),
    row("HISTORY", Run::Session(history), "2.8.13", "Returns the spikes of an event: Unix time, milliseconds.")
        .arity(3)
        .syntax("event"),
    row(
        "LATEST",
        Run::Session(latest),
        "2.8.13",
        "Returns of every event its last spike: Unix time, milliseconds, worst of all time.",
    ),
    row("RESET", Run::Session(reset), "2.8.13", "Forgets the spikes of some or all events.")
        .arity(-2)
        .syntax("[event [event ...]]")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    row(
        "STAGES",
        Run::Everywhere { check: check_stages, part: stages_part, merge: stages_merge },
        "7.2.4",
        "Returns where the time of some or all commands went, since the start or in the last seconds.",
    )
    .arity(-2)
    .complexity("O(N*M) where N is the number of commands with latencies and M the number of seconds")
    .syntax("[command [command ...]] [WINDOW seconds]"),
];

/// Samples that an event keeps.
const SAMPLES_MAX: usize = 160;
/// Events that are kept; their names are ours, so that more would be a mistake.
const EVENTS_MAX: usize = 64;

/// The worst latency of an event within one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Unix time in seconds.
    pub unix_s: u64,
    /// Latency in milliseconds.
    pub milliseconds: u64,
}

/// What is remembered of one event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spikes {
    /// Oldest first, at most one a second.
    samples: VecDeque<Sample>,
    /// Worst latency since the last reset, in milliseconds.
    worst_ms: u64,
}

impl Spikes {
    fn add(&mut self, milliseconds: u64, unix_s: u64) {
        self.worst_ms = self.worst_ms.max(milliseconds);
        if let Some(last) = self.samples.back_mut().filter(|last| last.unix_s == unix_s) {
            last.milliseconds = last.milliseconds.max(milliseconds);
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { unix_s, milliseconds });
    }
}

/// The spikes of all events, shared by all cores.
#[derive(Default)]
pub struct LatencyMonitor(Mutex<BTreeMap<&'static str, Spikes>>);

impl LatencyMonitor {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Spikes>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Notes that an event took so long. The caller compared with `latency-monitor-threshold`.
    pub fn add(&self, event: &'static str, milliseconds: u64, unix_s: u64) {
        let mut events = self.lock();
        assert!(events.len() < EVENTS_MAX);
        events.entry(event).or_default().add(milliseconds, unix_s);
    }

    /// Every event, by name.
    pub fn events(&self) -> Vec<(&'static str, Spikes)> {
        self.lock().iter().map(|(event, spikes)| (*event, spikes.clone())).collect()
    }

    /// The last spike of every event, by name.
    pub fn last(&self) -> Vec<(&'static str, Sample)> {
        let last = |spikes: &Spikes| *spikes.samples.back().expect("an event begins with a sample");
        self.lock().iter().map(|(event, spikes)| (*event, last(spikes))).collect()
    }

    /// One event, if it ever happened.
    pub fn event(&self, name: &[u8]) -> Option<(&'static str, Spikes)> {
        self.lock().iter().find(|(event, _)| event.as_bytes() == name).map(|(event, spikes)| (*event, spikes.clone()))
    }

    /// Forgets some events, or without a name all; how many there were.
    pub fn reset(&self, names: &[&[u8]]) -> usize {
        let mut events = self.lock();
        let before = events.len();
        events.retain(|event, _| !names.is_empty() && !names.contains(&event.as_bytes()));
        before - events.len()
    }
}

fn latest(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let events = view.shared.latency.events();
    reply.array(events.len());
    for (event, spikes) in events {
        let last = spikes.samples.back().expect("an event begins with a sample");
        reply.array(4);
        reply.bulk(event);
        reply.integer(last.unix_s as i64);
        reply.integer(last.milliseconds as i64);
        reply.integer(spikes.worst_ms as i64);
    }
    Ok(())
}

fn history(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let spikes = view.shared.latency.event(args[2]).map(|(_, spikes)| spikes).unwrap_or_default();
    reply.array(spikes.samples.len());
    for sample in &spikes.samples {
        reply.array(2);
        reply.integer(sample.unix_s as i64);
        reply.integer(sample.milliseconds as i64);
    }
    Ok(())
}

fn reset(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(view.shared.latency.reset(&args[2..]) as i64);
    Ok(())
}

fn graph(view: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let Some((event, spikes)) = view.shared.latency.event(args[2]) else {
        return Err(Error::quoting("ERR No samples available for event '", args[2], "'"));
    };
    reply.verbatim(b"txt", draw(event, &spikes, view.now_ms / 1000));
    Ok(())
}

fn doctor(view: &mut SessionView<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let setting = Setting {
        threshold_ms: view.config.latency_monitor_threshold,
        slow_log_us: view.config.slowlog_log_slower_than,
    };
    reply.verbatim(b"txt", diagnose(&view.shared.latency.events(), setting, view.now_ms / 1000));
    Ok(())
}

fn help(_: &mut SessionView<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    write_help(args, SUBCOMMANDS, reply);
    Ok(())
}

// Drawing

/// Columns of a graph.
const COLUMNS: usize = 80;
/// Rows of a graph, above its labels.
const ROWS: usize = 4;
/// Heights within a row, lowest first; a column goes on below them as `|`.
const HEIGHTS: [char; 3] = ['_', 'o', '#'];

/// How long ago, with the largest unit that fits: `59s`, `3m`, `2h`, `5d`.
fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// One column per sample, from the lowest latency seen to the highest; under it, downwards, how long ago it was.
fn draw(event: &str, spikes: &Spikes, now_s: u64) -> String {
    let latencies = || spikes.samples.iter().map(|sample| sample.milliseconds);
    let (low, high) = (latencies().min().unwrap_or(0), latencies().max().unwrap_or(0));
    let mut out = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", spikes.worst_ms);
    out.extend(std::iter::repeat_n('-', COLUMNS));
    out.push('\n');

    let steps = ROWS * HEIGHTS.len();
    let spread = if high == low { 1.0 } else { (high - low) as f64 };
    let height = |sample: &Sample| {
        let step = (sample.milliseconds - low) as f64 * steps as f64 / spread;
        (step as usize).min(steps - 1)
    };
    let samples: Vec<Sample> = spikes.samples.iter().copied().collect();
    for (index, part) in samples.chunks(COLUMNS).enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let mut line = |cell: &dyn Fn(&Sample) -> char| {
            out.extend(part.iter().map(cell));
            out.push('\n');
        };
        for row in (0..ROWS).rev() {
            // How far the column rises above the bottom of this row.
            line(&|sample| match height(sample).checked_sub(row * HEIGHTS.len()) {
                None => ' ',
                Some(rise) => HEIGHTS.get(rise).copied().unwrap_or('|'),
            });
        }
        line(&|_| ' ');
        let label = |sample: &Sample| ago(now_s.saturating_sub(sample.unix_s));
        let letters = part.iter().map(|sample| label(sample).len()).max().unwrap_or(0);
        for letter in 0..letters {
            line(&|sample| label(sample).chars().nth(letter).unwrap_or(' '));
        }
    }
    out
}

// Diagnosing

/// Configuration that a diagnosis depends on.
#[derive(Clone, Copy)]
struct Setting {
    /// `latency-monitor-threshold`
    threshold_ms: u64,
    /// `slowlog-log-slower-than`
    slow_log_us: i64,
}

/// The numbers of one event: means are whole milliseconds, as the samples are.
struct Summary {
    count: u64,
    mean_ms: u64,
    deviation_ms: u64,
    period_s: f64,
}

fn summary(spikes: &Spikes, now_s: u64) -> Summary {
    let count = spikes.samples.len() as u64;
    let mean = |sum: u64| sum.checked_div(count).unwrap_or(0);
    let mean_ms = mean(spikes.samples.iter().map(|sample| sample.milliseconds).sum());
    let deviation_ms = mean(spikes.samples.iter().map(|sample| sample.milliseconds.abs_diff(mean_ms)).sum());
    let first_s = spikes.samples.front().map_or(now_s, |sample| sample.unix_s);
    let elapsed_s = now_s.saturating_sub(first_s);
    let period_s = if elapsed_s == 0 { 1.0 } else { elapsed_s as f64 / count as f64 };
    Summary { count, mean_ms, deviation_ms, period_s }
}

/// What to do about spikes, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Advice {
    SlowLogOff,
    SlowLogCoarse,
    SlowLog,
    LargeObjects,
    Scheduling,
    Disk,
    DiskShared,
    Fsync,
    Expiry,
    Eviction,
}

/// What the known events mean. Names are Redis'.
fn advice_for(event: &str, setting: Setting) -> Vec<Advice> {
    use Advice::*;
    match event {
        "command" => {
            let slow_log_ms = u64::try_from(setting.slow_log_us).ok().map(|us| us / 1000);
            let log = match slow_log_ms {
                None => Some(SlowLogOff),
                Some(slow_log_ms) => (slow_log_ms > setting.threshold_ms).then_some(SlowLogCoarse),
            };
            log.into_iter().chain([SlowLog, LargeObjects]).collect()
        }
        "fast-command" => vec![Scheduling],
        "aof-write-pending-fsync" => vec![Disk, DiskShared],
        "aof-write-alone"
        | "aof-write-active-child"
        | "aof-write"
        | "aof-fsync"
        | "aof-fstat"
        | "aof-rename"
        | "rdb-unlink-temp-file" => {
            vec![Disk, DiskShared]
        }
        "aof-fsync-always" => vec![Fsync, Disk],
        "expire-cycle" => vec![Expiry, LargeObjects],
        "eviction-cycle" | "eviction-del" => vec![Eviction, LargeObjects],
        _ => Vec::new(),
    }
}

fn advice_text(advice: Advice, setting: Setting) -> String {
    match advice {
        Advice::SlowLogOff => {
            format!("The slow log is off. 'CONFIG SET slowlog-log-slower-than {}' turns it on.", setting.threshold_ms * 1000)
        }
        Advice::SlowLogCoarse => format!(
            "The slow log misses commands that count as spikes here. Use 'CONFIG SET slowlog-log-slower-than {}'.",
            setting.threshold_ms * 1000
        ),
        Advice::SlowLog => "Read the slow log (SLOWLOG GET) for the commands that take too long.".into(),
        Advice::LargeObjects => "Deleting a large value takes time, be it by a command, its expiry or for want of memory. \
            Split very large values, or delete them with UNLINK."
            .into(),
        Advice::Scheduling => "Commands that cannot be slow were. Then the machine kept the core from running: look for \
            other processes on its CPUs, stolen time in a virtual machine, frequency scaling, and memory on another node."
            .into(),
        Advice::Disk => "The disk is slow. A local one with a file system made for it (no network storage) mends it.".into(),
        Advice::DiskShared => "Other processes may use the same disk: look for them with iotop or biotop.".into(),
        Advice::Fsync => "With 'appendfsync always' every write waits for the disk. With 'appendfsync everysec' none does, \
            and a crash of the machine may cost the last second."
            .into(),
        Advice::Expiry => "Many keys end at the same time. Spread their deadlines, for instance by a random part.".into(),
        Advice::Eviction => "Keys have to go for want of memory faster than they can. Raise 'maxmemory', or write less.".into(),
    }
}

/// The text of `LATENCY DOCTOR`.
fn diagnose(events: &[(&'static str, Spikes)], setting: Setting, now_s: u64) -> String {
    if events.is_empty() && setting.threshold_ms == 0 {
        return "I'm sorry, Dave, I can't do that. Latency monitoring is off here. \
            'CONFIG SET latency-monitor-threshold <milliseconds>' turns it on.\n"
            .to_string();
    }
    if events.is_empty() {
        return "Dave, no latency spike was observed so far: everything runs well. Sit down calmly.\n".to_string();
    }
    let mut out =
        "Dave, I have observed latency spikes in this server. You don't mind talking about it, do you?\n\n".to_string();
    let mut advices = Vec::new();
    for (number, (event, spikes)) in events.iter().enumerate() {
        let Summary { count, mean_ms, deviation_ms, period_s } = summary(spikes, now_s);
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{}. {event}: {count} latency spikes (average {mean_ms}ms, mean deviation {deviation_ms}ms, period \
             {period_s:.2} sec). Worst all time event {}ms.",
            number + 1,
            spikes.worst_ms
        );
        advices.extend(advice_for(event, setting));
    }
    advices.sort_unstable();
    advices.dedup();
    if !advices.is_empty() {
        out.push_str("\nI have some advice for you:\n\n");
    }
    for advice in advices {
        let _ = writeln!(out, "- {}", advice_text(advice, setting));
    }
    out
}

// Histograms

/// What a core knows of the commands asked for.
type Histograms = BTreeMap<CommandId, Histogram>;

/// The rows that `LATENCY HISTOGRAM` was asked for, in its order: of a container, its subcommands too. Unknown names
/// are left out.
fn rows_asked_for(names: &[&[u8]]) -> Vec<&'static Row> {
    let rows = names.iter().filter_map(|name| lookup::lookup_full_name(name));
    rows.flat_map(|row| std::iter::once(row).chain(row.subcommand_rows())).collect()
}

fn check_histogram(_: &SessionView<'_>, _: &Args<'_>) -> CommandResult {
    Ok(())
}

fn histogram_part(view: &mut CoreView<'_>, args: &Args<'_>) -> Part {
    Box::new(histograms(view.stats, &args[2..]))
}

fn histograms(stats: &Stats, names: &[&[u8]]) -> Histograms {
    let asked_for = rows_asked_for(names);
    let is_asked_for = |row: &Row| names.is_empty() || asked_for.iter().any(|asked| asked.id == row.id);
    let found = stats.histograms().filter(|(row, _)| is_asked_for(row));
    found.map(|(row, histogram)| (row.id, histogram)).collect()
}

fn histogram_merge(_: &mut SessionView<'_>, args: &Args<'_>, parts: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    let mut all = Histograms::new();
    for part in parts {
        let part: Box<Histograms> = part.downcast().expect("a part of this command");
        for (id, histogram) in *part {
            all.entry(id).or_default().merge(&histogram);
        }
    }
    let names = &args[2..];
    let order: Vec<CommandId> = match names {
        [] => all.keys().copied().collect(),
        names => rows_asked_for(names).iter().map(|row| row.id).filter(|id| all.contains_key(id)).collect(),
    };
    reply.map(order.len());
    for id in order {
        reply.bulk(find_by_id(id).full_name());
        write_histogram(&all[&id], reply);
    }
    Ok(())
}

fn write_histogram(histogram: &Histogram, reply: &mut Reply<'_>) {
    let steps = histogram.steps();
    reply.map(2);
    reply.bulk("calls");
    reply.integer(histogram.count() as i64);
    reply.bulk("histogram_usec");
    reply.map(steps.len());
    for (microseconds, count) in steps {
        reply.integer(microseconds as i64);
        reply.integer(count as i64);
    }
}

// Stages

/// What `LATENCY STAGES` was asked for.
struct Asked<'a> {
    names: &'a Args<'a>,
    /// Seconds; none: all since the start.
    window: Option<u64>,
}

impl Asked<'_> {
    fn parse<'a>(args: &'a Args<'a>) -> Result<Asked<'a>, Error> {
        let words = &args[2..];
        let Some(at) = words.iter().position(|word| word.eq_ignore_ascii_case(b"WINDOW")) else {
            return Ok(Asked { names: words, window: None });
        };
        let [seconds] = &words[at + 1..] else { return Err(Error::SYNTAX) };
        let seconds = parse_integer(seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let window = seconds.filter(|seconds| (1..=WINDOW_SECONDS_MAX).contains(seconds)).ok_or(BAD_WINDOW)?;
        Ok(Asked { names: &words[..at], window: Some(window) })
    }
}

const BAD_WINDOW: Error = Error::fixed("ERR WINDOW must be between 1 and 300 seconds");

/// What one core knows of the stages asked for, and of how many seconds.
struct StagesPart {
    seconds: u64,
    stages: Vec<StagesOf>,
}

fn check_stages(_: &SessionView<'_>, args: &Args<'_>) -> CommandResult {
    Asked::parse(args).map(|_| ())
}

fn stages_part(view: &mut CoreView<'_>, args: &Args<'_>) -> Part {
    let Asked { names, window } = Asked::parse(args).expect("checked before");
    let asked_for = rows_asked_for(names);
    let is_wanted = |id| names.is_empty() || asked_for.iter().any(|row| row.id == id);
    let stages = match window {
        None => view.stats.stages(is_wanted),
        Some(seconds) => view.stats.stages_within(seconds, is_wanted),
    };
    Box::new(StagesPart { seconds: view.stats.seconds_counted(window), stages })
}

fn stages_merge(_: &mut SessionView<'_>, args: &Args<'_>, parts: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    let mut seconds = 0;
    let mut all: BTreeMap<CommandId, Lanes> = BTreeMap::new();
    for part in parts {
        let part: Box<StagesPart> = part.downcast().expect("a part of this command");
        seconds = seconds.max(part.seconds);
        for (id, lanes) in part.stages {
            all.entry(id).or_default().merge(&lanes);
        }
    }
    let names = Asked::parse(args)?.names;
    let order: Vec<CommandId> = match names {
        [] => all.keys().copied().collect(),
        names => {
            let mut asked: Vec<CommandId> = rows_asked_for(names).iter().map(|row| row.id).collect();
            let mut told = std::collections::BTreeSet::new();
            asked.retain(|id| all.contains_key(id) && told.insert(*id));
            asked
        }
    };
    reply.map(2);
    reply.bulk("seconds");
    reply.integer(i64::try_from(seconds).unwrap_or(i64::MAX));
    reply.bulk("stages");
    reply.map(order.len());
    for id in order {
        reply.bulk(find_by_id(id).full_name());
        write_stages(&all[&id], reply);
    }
    Ok(())
}

/// The percentiles that are told, and their names.
const PERCENTILES: [(f64, &str); 5] =
    [(50.0, "p50_nsec"), (90.0, "p90_nsec"), (99.0, "p99_nsec"), (99.9, "p99.9_nsec"), (99.99, "p99.99_nsec")];

fn write_stages(lanes: &Lanes, reply: &mut Reply<'_>) {
    let of = |way: Way| -> Vec<(Stage, &Histogram)> {
        lanes.used().filter(|(lane, _)| lane.way() == way).map(|(lane, histogram)| (lane.stage(), histogram)).collect()
    };
    let ways: Vec<(Way, Vec<(Stage, &Histogram)>)> = Way::ALL.map(|way| (way, of(way))).into();
    let ways: Vec<_> = ways.into_iter().filter(|(_, stages)| !stages.is_empty()).collect();
    reply.map(ways.len());
    for (way, stages) in ways {
        reply.bulk(way.name());
        reply.map(stages.len());
        for (stage, histogram) in stages {
            reply.bulk(stage.name());
            reply.map(3 + PERCENTILES.len());
            let mut put = |name: &str, number: u64| {
                reply.bulk(name);
                reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
            };
            put("calls", histogram.count());
            put("mean_nsec", histogram.mean());
            let values = histogram.percentiles(&PERCENTILES.map(|(percentile, _)| percentile));
            PERCENTILES.iter().zip(values).for_each(|((_, name), value)| put(name, value));
            put("max_nsec", histogram.max());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::connection::double::{NOW_MS, Server};
    use crate::resp::Protocol;

    const NOW_S: u64 = NOW_MS / 1000;

    /// Latencies in milliseconds, one a second, the last one now.
    fn spikes(latencies: &[u64]) -> Spikes {
        let mut spikes = Spikes::default();
        let first_s = NOW_S + 1 - latencies.len() as u64;
        latencies.iter().enumerate().for_each(|(at, &latency)| spikes.add(latency, first_s + at as u64));
        spikes
    }

    #[test]
    fn a_second_keeps_its_worst_and_an_event_its_last_samples() {
        let mut spikes = Spikes::default();
        [30, 50, 40].iter().for_each(|&latency| spikes.add(latency, 7));
        assert_eq!(spikes.samples, [Sample { unix_s: 7, milliseconds: 50 }]);
        (8..300).for_each(|second| spikes.add(1, second));
        assert_eq!(spikes.samples.len(), SAMPLES_MAX);
        assert_eq!(spikes.samples[0].unix_s, 300 - SAMPLES_MAX as u64);
        assert_eq!(spikes.worst_ms, 50);
    }

    /// The picture is the one that a Redis 7.0 drew of these latencies.
    #[test]
    fn a_graph_looks_as_in_redis() {
        let drawn = draw("command", &spikes(&[10, 20, 15, 30, 100, 50, 60, 2, 90, 40, 21]), NOW_S);
        let dashes = "-".repeat(80);
        let expected = "command - high 100 ms, low 2 ms (all time high 100 ms)\n".to_string()
            + &dashes
            + "\n    #   o  \n    | o |  \n   _|#| |o \n_#o||||_||#\n           \n19876543210\n0ssssssssss\ns          \n";
        assert_eq!(drawn, expected);
        let flat = draw("command", &spikes(&[21]), NOW_S);
        assert!(flat.ends_with(&format!("{dashes}\n \n \n \n_\n \n0\ns\n")), "{flat}");
        let wide = draw("command", &spikes(&[5; 100]), NOW_S + 7300);
        let widths: Vec<usize> = wide.lines().map(str::len).collect();
        assert_eq!(widths[2..], [80, 80, 80, 80, 80, 80, 80, 0, 20, 20, 20, 20, 20, 20, 20]);
        assert!(wide.ends_with("22222222222222222222\nhhhhhhhhhhhhhhhhhhhh\n"), "{wide}");
        assert_eq!([59, 60, 3600, 86_400].map(ago), ["59s", "1m", "1h", "1d"]);
    }

    #[test]
    fn the_doctor_counts_as_redis_does() {
        let off = Setting { threshold_ms: 0, slow_log_us: 10_000 };
        let on = Setting { threshold_ms: 2, slow_log_us: 10_000 };
        assert!(diagnose(&[], off, NOW_S).starts_with("I'm sorry, Dave, I can't do that."));
        assert!(diagnose(&[], on, NOW_S).starts_with("Dave, no latency spike was observed"));
        let events = [("command", spikes(&[10, 20, 15, 30, 100, 50, 60, 2, 90, 40, 21]))];
        let text = diagnose(&events, on, NOW_S);
        let line = "1. command: 11 latency spikes (average 39ms, mean deviation 25ms, period 0.91 sec). \
            Worst all time event 100ms.\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("slowlog-log-slower-than 2000"), "{text}");
        let once = diagnose(&[("fast-command", spikes(&[21]))], on, NOW_S);
        assert!(
            once.contains("1. fast-command: 1 latency spikes (average 21ms, mean deviation 0ms, period 1.00 sec)"),
            "{once}"
        );
        let fine = Setting { threshold_ms: 100, slow_log_us: 10_000 };
        assert!(!diagnose(&events, fine, NOW_S).contains("slowlog-log-slower-than"));
        let no_log = Setting { threshold_ms: 100, slow_log_us: -1 };
        assert!(diagnose(&events, no_log, NOW_S).contains("The slow log is off."));
    }

    #[test]
    fn spikes_are_told_as_redis_tells_them() {
        let mut server = Server::new(1, 1, &[]);
        let mut say = |line: &str| server.say(COMMANDS, 1, line);
        assert_eq!(say("LATENCY LATEST"), "*0|");
        assert_eq!(say("LATENCY HISTORY command"), "*0|");
        assert_eq!(say("LATENCY GRAPH x"), "-ERR No samples available for event 'x'|");
        server.shared.latency.add("command", 30, NOW_S - 1);
        server.shared.latency.add("command", 20, NOW_S);
        server.shared.latency.add("fast-command", 5, NOW_S);
        let mut say = |line: &str| server.say(COMMANDS, 1, line);
        let latest = format!("*2|*4|$7|command|:{NOW_S}|:20|:30|*4|$12|fast-command|:{NOW_S}|:5|:5|");
        assert_eq!(say("LATENCY LATEST"), latest);
        assert_eq!(say("LATENCY HISTORY command"), format!("*2|*2|:{}|:30|*2|:{NOW_S}|:20|", NOW_S - 1));
        assert!(say("LATENCY GRAPH command").contains("command - high 30 ms, low 20 ms (all time high 30 ms)"));
        assert_eq!(say("LATENCY RESET x command command"), ":1|");
        assert_eq!(say("LATENCY RESET"), ":1|");
        assert_eq!(say("LATENCY LATEST"), "*0|");
        server.session(1).protocol = Protocol::Resp3;
        assert!(server.say(COMMANDS, 1, "LATENCY DOCTOR").starts_with("="));
    }

    #[test]
    fn histograms_of_all_cores_are_added() {
        let mut server = Server::new(2, 1, &[]);
        let id = |name: &str| lookup::lookup_full_name(name.as_bytes()).unwrap().id;
        server.stats[0].record(id("config|get"), 53_900);
        server.stats[1].record(id("config|get"), 700_000_000);
        server.stats[1].record(id("ping"), 1_003);
        let ping = "$4|ping|*4|$5|calls|:1|$14|histogram_usec|*2|:1|:1|";
        let get = "$10|config|get|*4|$5|calls|:2|$14|histogram_usec|*4|:66|:1|:1073741|:2|";
        let mut say = |line: &str| server.say(COMMANDS, 1, line);
        assert_eq!(say("LATENCY HISTOGRAM"), format!("*4|{ping}{get}"));
        assert_eq!(say("LATENCY HISTOGRAM nosuch set"), "*0|");
        assert_eq!(say("LATENCY HISTOGRAM config nosuch PING config|get"), format!("*6|{get}{ping}{get}"));
        server.session(1).protocol = Protocol::Resp3;
        let resp3 = "%1|$4|ping|%2|$5|calls|:1|$14|histogram_usec|%1|:1|:1|";
        assert_eq!(server.say(COMMANDS, 1, "LATENCY HISTOGRAM ping"), resp3);
    }

    #[test]
    fn stages_of_all_cores_are_added() {
        use crate::stats::stages::Lane;
        let mut server = Server::new(2, 1, &[]);
        let id = |name: &str| lookup::lookup_full_name(name.as_bytes()).unwrap().id;
        for (core, second) in [(0, 5), (1, 6)] {
            server.stats[core].turn(second);
            server.stats[core].record(id("get"), 1_000);
        }
        server.stats[0].record_stage(id("get"), Lane::of(Way::Forwarded, Stage::Hop), 201, 2);
        server.stats[0].turn(6);
        server.stats[1].turn(9);
        server.stats[1].record(id("config|get"), 700);
        server.stats[1].turn(10);
        let numbers = |calls: u64, nanoseconds: u64| {
            let value = |name: &str| format!("${}|{name}|:{nanoseconds}|", name.len());
            let middle: String = PERCENTILES.iter().map(|(_, name)| value(name)).collect();
            format!("$5|calls|:{calls}|{}{middle}{}", value("mean_nsec"), value("max_nsec"))
        };
        let execute = |calls, nanoseconds| format!("$7|execute|*16|{}", numbers(calls, nanoseconds));
        let hop = format!("$9|forwarded|*2|$3|hop|*16|{}", numbers(2, 201));
        let get = format!("$3|get|*4|$5|local|*2|{}{hop}", execute(2, 1_000));
        let config = format!("$10|config|get|*2|$5|local|*2|{}", execute(1, 700));
        let mut say = |line: &str| server.say(COMMANDS, 1, line);
        assert_eq!(
            say("LATENCY STAGES config GET get nosuch"),
            format!("*4|$7|seconds|:11|$6|stages|*4|{config}{get}")
        );
        assert_eq!(say("latency stages nosuch"), "*4|$7|seconds|:11|$6|stages|*0|");
        // Within a window: so many seconds before the one that runs, two digits.
        let of_config = say("LATENCY STAGES config|get WINDOW 1");
        let expected = "*4|$7|seconds|:1|$6|stages|*2|$10|config|get|*2|$5|local|*2|$7|execute|*16|$5|calls|:1|";
        assert!(of_config.starts_with(expected), "{of_config}");
        let of_get = say("LATENCY STAGES get WINDOW 4");
        assert!(of_get.contains("$7|execute|*16|$5|calls|:2|"), "{of_get}");
        assert!(of_get.contains("$8|p50_nsec|:100") || of_get.contains("$8|p50_nsec|:99"), "{of_get}");
        for wrong in ["0", "301", "-1", "x", "99999999999999999999", ""] {
            let answer = say(&format!("LATENCY STAGES get WINDOW {wrong}"));
            assert_eq!(answer, "-ERR WINDOW must be between 1 and 300 seconds|");
        }
        for wrong in ["WINDOW", "window 1 2", "get WINDOW"] {
            assert_eq!(say(&format!("LATENCY STAGES {wrong}")), "-ERR syntax error|");
        }
        server.session(1).protocol = Protocol::Resp3;
        let resp3 = server.say(COMMANDS, 1, "LATENCY STAGES config|get");
        let config =
            config.replace("config|get|*2|", "config|get|%1|").replace("local|*2|", "local|%1|").replace("*16", "%8");
        assert_eq!(resp3, format!("%2|$7|seconds|:11|$6|stages|%1|{config}"));
        assert_eq!(server.say(COMMANDS, 1, "LATENCY RESET"), ":0|");
        assert_eq!(server.say(COMMANDS, 1, "LATENCY STAGES config|get"), resp3);
        server.stats.iter_mut().for_each(Stats::reset);
        assert_eq!(server.say(COMMANDS, 1, "LATENCY STAGES"), "%2|$7|seconds|:1|$6|stages|%0|");
    }
}
