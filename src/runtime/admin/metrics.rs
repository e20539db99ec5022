//! `/metrics`: what `INFO` and the stages tell, in OpenMetrics' text, or in the older text of Prometheus for who does
//! not ask for the newer one.
//!
//! Where the meaning is the same, a metric has the name that redis_exporter gave it (`redis_…`), so that dashboards
//! made for that show this server as they are; what only this server has begins with `corering_`. Numbers are those of
//! `INFO`, by its fields: there is one place in which each is made up.

use super::names::{FIELDS, Kind, OF_CORES};
use super::totals::Totals;
use crate::command::latency::Sample;
use crate::stats::histogram::coarse_bounds;
use crate::stats::stages::Lane;
use Kind::{Counter, Gauge};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};

/// Commands whose stages have histograms of their own: those with the most calls.
const COMMANDS_MAX: usize = 8;
/// Databases that are told of though they are empty: the first.
const EMPTY_DATABASES_MAX: usize = 64;

/// Upper bounds of the buckets of histograms, in nanoseconds, and as they are written, in seconds.
const BOUNDS: [(u64, &str); 19] = [
    (1_000, "1e-06"),
    (2_500, "2.5e-06"),
    (5_000, "5e-06"),
    (10_000, "1e-05"),
    (25_000, "2.5e-05"),
    (50_000, "5e-05"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1.0"),
];

/// The text that a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own, 0.0.4.
    Prometheus,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 2] = [Format::OpenMetrics, Format::Prometheus];

    /// By the client's `Accept`, and its weights.
    pub fn accepted(accept: &str) -> Format {
        let weight = |wanted: &str| {
            let ranges = accept.split(',').map(|range| range.split(';').map(str::trim));
            let of = ranges.filter_map(|mut range| range.next()?.eq_ignore_ascii_case(wanted).then_some(range));
            let weights = of.map(|mut parameters| {
                let weight = parameters.find_map(|one| one.strip_prefix("q=").or_else(|| one.strip_prefix("Q=")));
                weight.map_or(1.0, |weight| weight.trim().parse::<f64>().unwrap_or(1.0))
            });
            weights.fold(0.0, f64::max)
        };
        let open = weight("application/openmetrics-text");
        if 0.0 < open && weight("text/plain") <= open { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What `INFO` does not tell.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Entries of the slow log.
    pub slow_log_len: usize,
    /// The newest one: its number, how long it took in microseconds.
    pub slow_log_last: Option<(u64, u64)>,
    /// Databases, those without keys included.
    pub databases: usize,
    /// Of each core, whether it told what stands here now, or before.
    pub answers: Vec<bool>,
    /// The last spike of each event.
    pub spikes: Vec<(&'static str, Sample)>,
}

/// The text, line by line.
struct Text {
    out: String,
    format: Format,
}

impl Text {
    fn put(&mut self, line: impl Display) {
        writeln!(self.out, "{line}").expect("a string takes any text");
    }

    /// Begins a metric; returns the name of its samples.
    fn family(&mut self, name: &str, kind: Kind, help: &str) -> String {
        let (word, suffix) = match (kind, self.format) {
            (Kind::Gauge, _) => ("gauge", ""),
            (Kind::Counter, _) => ("counter", "_total"),
            (Kind::Unknown, Format::OpenMetrics) => ("unknown", ""),
            (Kind::Unknown, Format::Prometheus) => ("untyped", ""),
            (Kind::Histogram, _) => ("histogram", ""),
            (Kind::Summary, _) => ("summary", ""),
        };
        let sample = format!("{name}{suffix}");
        let name = if self.format == Format::OpenMetrics { name } else { &sample };
        self.put(format_args!("# HELP {name} {help}"));
        self.put(format_args!("# TYPE {name} {word}"));
        sample
    }

    /// A metric with one sample.
    fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        let sample = self.family(name, kind, help);
        self.put(format_args!("{sample} {value}"));
    }
}

/// A label's value.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn number(value: &str) -> f64 {
    match value {
        "ok" => 1.0,
        value => value.trim_end_matches('%').parse().unwrap_or(0.0),
    }
}

/// `a=1,b=2`
fn parts(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(',').filter_map(|part| part.split_once('='))
}

fn part<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    parts(value).find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The lines of `INFO`: field, value.
pub fn fields(info: &str) -> BTreeMap<&str, &str> {
    info.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':')).collect()
}

/// A server that cannot answer now: it loads keys, or runs something long.
pub fn render_busy(format: Format, is_loading: bool) -> String {
    let mut text = Text { out: String::new(), format };
    text.single("redis_up", Gauge, "Whether the server answers.", f64::from(u8::from(is_loading)));
    text.single("redis_loading_dump_file", Gauge, "Whether keys are being loaded.", f64::from(u8::from(is_loading)));
    end(text)
}

fn end(mut text: Text) -> String {
    if text.format == Format::OpenMetrics {
        text.put("# EOF");
    }
    text.out
}

/// All metrics. `info`: the reply to `INFO everything`.
pub fn render(format: Format, info: &str, totals: &Totals, facts: &Facts) -> String {
    let fields = fields(info);
    let field = |name: &str| fields.get(name).copied().unwrap_or("");
    let mut text = Text { out: String::with_capacity(64 * 1024), format };
    let is_up = facts.answers.contains(&true);
    text.single("redis_up", Gauge, "Whether the server answers.", f64::from(u8::from(is_up)));
    let sample = text.family("redis_instance_info", Gauge, "What the server is.");
    let labels = [
        "role",
        "redis_version",
        "redis_build_id",
        "redis_mode",
        "os",
        "maxmemory_policy",
        "tcp_port",
        "run_id",
        "process_id",
        "master_replid",
    ];
    let labels = labels.map(|name| format!("{name}=\"{}\"", escaped(field(name)))).join(",");
    text.put(format_args!("{sample}{{{labels}}} 1"));
    let sample = text.family("corering_build_info", Gauge, "The version of Corering.");
    text.put(format_args!("{sample}{{version=\"{}\"}} 1", escaped(field("corering_version"))));
    for (name, metric, kind, help) in FIELDS {
        if let Some(value) = fields.get(name) {
            text.single(metric, *kind, help, number(value));
        }
    }
    let now_s = number(field("server_time_usec")) / 1e6;
    text.single(
        "redis_start_time_seconds",
        Gauge,
        "When the server started.",
        (now_s - number(field("uptime_in_seconds"))).round(),
    );
    text.single("redis_slowlog_length", Gauge, "Entries of the slow log.", facts.slow_log_len as f64);
    let (last_id, last_us) = facts.slow_log_last.unwrap_or_default();
    text.single("redis_slowlog_last_id", Gauge, "The number of the newest entry of the slow log.", last_id as f64);
    let help = "How long the newest entry of the slow log ran.";
    text.single("redis_last_slow_execution_duration_seconds", Gauge, help, last_us as f64 / 1e6);
    let sample = text.family("redis_latency_spike_last", Gauge, "When an event was slow last.");
    for (event, spike) in &facts.spikes {
        text.put(format_args!("{sample}{{event_name=\"{event}\"}} {}", spike.unix_s));
    }
    let sample = text.family("redis_latency_spike_duration_seconds", Gauge, "How long it took then.");
    for (event, spike) in &facts.spikes {
        text.put(format_args!("{sample}{{event_name=\"{event}\"}} {}", spike.milliseconds as f64 / 1e3));
    }
    write_commands(&mut text, &fields, totals);
    write_databases(&mut text, &fields, facts.databases);
    write_cores(&mut text, &fields);
    let help = "Whether the core answers; else what is told of it is what it told last.";
    let sample = text.family("corering_core_answers", Gauge, help);
    for (core, answers) in facts.answers.iter().enumerate() {
        text.put(format_args!("{sample}{{core=\"{core}\"}} {}", u8::from(*answers)));
    }
    write_stages(&mut text, totals);
    end(text)
}

/// Fields that begin with a word: the rest of their name, their value.
fn behind<'a>(fields: &'a BTreeMap<&'a str, &'a str>, start: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    fields.range(start..).map_while(move |(name, value)| Some((name.strip_prefix(start)?, *value)))
}

fn write_commands(text: &mut Text, fields: &BTreeMap<&str, &str>, totals: &Totals) {
    for (name, of, divisor, help) in [
        ("redis_commands", "calls", 1.0, "Calls of a command."),
        ("redis_commands_duration_seconds", "usec", 1e6, "Time that its calls ran."),
        ("redis_commands_rejected_calls", "rejected_calls", 1.0, "Calls that were refused."),
        ("redis_commands_failed_calls", "failed_calls", 1.0, "Calls that failed."),
    ] {
        let sample = text.family(name, Counter, help);
        for (command, value) in behind(fields, "cmdstat_") {
            let number = part(value, of).map_or(0.0, number) / divisor;
            text.put(format_args!("{sample}{{cmd=\"{}\"}} {number}", escaped(command)));
        }
    }
    let sample = text.family("redis_errors", Counter, "Errors replied, by their first word.");
    for (error, value) in behind(fields, "errorstat_") {
        let count = part(value, "count").map_or(0.0, number);
        text.put(format_args!("{sample}{{err=\"{}\"}} {count}", escaped(error)));
    }
    let sample = text.family("redis_latency_percentiles_usec", Kind::Summary, "How long calls of a command ran.");
    for (command, value) in behind(fields, "latency_percentiles_usec_") {
        let total = fields.get(format!("cmdstat_{command}").as_str()).copied().unwrap_or("");
        for (suffix, of) in [("sum", "usec"), ("count", "calls")] {
            let number = part(total, of).map_or(0.0, number);
            text.put(format_args!("{sample}_{suffix}{{cmd=\"{}\"}} {number}", escaped(command)));
        }
        for (percentile, microseconds) in parts(value) {
            let Ok(percent) = percentile.trim_start_matches('p').parse::<f64>() else { continue };
            let quantile = (percent * 1e7).round() / 1e9;
            let command = escaped(command);
            let microseconds = number(microseconds);
            text.put(format_args!("{sample}{{cmd=\"{command}\",quantile=\"{quantile:?}\"}} {microseconds}"));
        }
    }
    let name = text.family("redis_commands_latencies_usec", Kind::Histogram, "The same, in buckets.");
    for (command, counts) in totals.executions() {
        write_histogram(text, &name, &format!("cmd=\"{}\"", escaped(&command)), &counts, Unit::Microseconds);
    }
}

fn write_databases(text: &mut Text, fields: &BTreeMap<&str, &str>, databases: usize) {
    // `INFO` leaves out those without keys: when all are gone, a dashboard is to show 0, and not what was there last.
    let used = behind(fields, "db").filter_map(|(number, _)| number.parse::<usize>().ok());
    let shown: BTreeSet<usize> = (0..databases.min(EMPTY_DATABASES_MAX)).chain(used).collect();
    for (name, of, divisor, help) in [
        ("redis_db_keys", "keys", 1.0, "Keys of a database."),
        ("redis_db_keys_expiring", "expires", 1.0, "Keys with a deadline."),
        ("redis_db_avg_ttl_seconds", "avg_ttl", 1e3, "Mean time to those deadlines."),
    ] {
        let sample = text.family(name, Gauge, help);
        for db in &shown {
            let value = fields.get(format!("db{db}").as_str());
            let number = value.and_then(|value| part(value, of)).map_or(0.0, number) / divisor;
            text.put(format_args!("{sample}{{db=\"db{db}\"}} {number}"));
        }
    }
}

fn write_cores(text: &mut Text, fields: &BTreeMap<&str, &str>) {
    for (line, of, name, kind, divisor, help) in OF_CORES {
        let sample = text.family(name, *kind, help);
        // `core0`, not `core_ports` or what else may begin so.
        for core in 0.. {
            let Some(value) = fields.get(format!("{line}{core}").as_str()) else { break };
            let Some(number) = part(value, of).map(number) else { continue };
            text.put(format_args!("{sample}{{core=\"{core}\"}} {}", number / divisor));
        }
    }
}

/// In what a histogram's bounds and sum are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Microseconds,
}

/// Counts of two digits of one histogram.
type Counts = BTreeMap<u16, u64>;

fn write_histogram(text: &mut Text, name: &str, labels: &str, counts: &Counts, unit: Unit) {
    let nanoseconds = if unit == Unit::Seconds { 1e9 } else { 1e3 };
    let (mut seen, mut sum) = (0_u64, 0_f64);
    let mut counts = counts.iter().peekable();
    let mut add = |(place, count): (&u16, &u64)| {
        let (lowest, highest) = coarse_bounds(*place);
        sum += lowest.midpoint(highest) as f64 * *count as f64 / nanoseconds;
        seen += count;
        seen
    };
    let mut cumulated = 0;
    for (bound, le) in BOUNDS {
        // A bucket counts where it begins: a bound may be overstepped by a hundredth.
        while let Some(next) = counts.next_if(|(place, _)| coarse_bounds(**place).0 <= bound) {
            cumulated = add(next);
        }
        let microseconds = bound as f64 / 1e3;
        match unit {
            Unit::Seconds => text.put(format_args!("{name}_bucket{{{labels},le=\"{le}\"}} {cumulated}")),
            Unit::Microseconds => {
                text.put(format_args!("{name}_bucket{{{labels},le=\"{microseconds:?}\"}} {cumulated}"))
            }
        }
    }
    for next in counts {
        cumulated = add(next);
    }
    text.put(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {cumulated}"));
    text.put(format_args!("{name}_count{{{labels}}} {cumulated}"));
    text.put(format_args!("{name}_sum{{{labels}}} {sum}"));
}

fn write_stages(text: &mut Text, totals: &Totals) {
    let labels = |lane: Lane| format!("way=\"{}\",stage=\"{}\"", lane.way().name(), lane.stage().name());
    let name = text.family("corering_stage_seconds", Kind::Histogram, "Where the time of commands went, by stage.");
    for (lane, counts) in totals.by_lane() {
        write_histogram(text, &name, &labels(lane), &counts, Unit::Seconds);
    }
    let help = "The same of the commands with the most calls.";
    let name = text.family("corering_command_stage_seconds", Kind::Histogram, help);
    for (command, lane, counts) in totals.busiest(COMMANDS_MAX) {
        let labels = format!("cmd=\"{}\",{}", escaped(&command), labels(lane));
        write_histogram(text, &name, &labels, counts, Unit::Seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::lookup;
    use crate::stats::stages::{Stage, Way};

    const INFO: &str = "# Server\r\nredis_version:7.2.4\r\nos:Linux \"x\\y\"\r\nuptime_in_seconds:100\r\n\
        server_time_usec:1700000100000000\r\n# Clients\r\nconnected_clients:7\r\nused_memory:4096\r\n\
        rdb_last_bgsave_status:ok\r\naof_last_write_status:err\r\nkeyspace_hits:12\r\ntotal_error_replies:3\r\n\
        cmdstat_get:calls=5,usec=2500000,usec_per_call=500.00,rejected_calls=1,failed_calls=2\r\n\
        cmdstat_config|get:calls=1,usec=7,usec_per_call=7.00,rejected_calls=0,failed_calls=0\r\n\
        errorstat_WRONGTYPE:count=2\r\nlatency_percentiles_usec_get:p50=3.007,p99.9=4.015\r\n\
        db0:keys=6,expires=3,avg_ttl=2000\r\ndb10:keys=1,expires=0,avg_ttl=0\r\n\
        core0:cpu=3,clients=4,commands=50\r\ncore1:cpu=4,clients=3,commands=9\r\n\
        loop0:passes=8,busy_usec=1500000,stalls=1\r\nloop1:passes=9,busy_usec=0,stalls=0\r\n";

    fn totals() -> Totals {
        let mut totals = Totals::default();
        let get = lookup(b"get").expect("a row").id;
        let lane = Lane::of(Way::Local, Stage::Execute);
        [(900, 3), (2_600, 2), (3_000_000_000, 1)]
            .iter()
            .for_each(|&(ns, count)| totals.add_event(get, lane, ns, count));
        totals
    }

    #[test]
    fn both_texts_tell_the_same() {
        let spike = Sample { unix_s: 1_700_000_000, milliseconds: 30 };
        let facts = Facts {
            slow_log_len: 4,
            slow_log_last: Some((9, 2_500)),
            databases: 16,
            answers: vec![true, false],
            spikes: vec![("command", spike)],
        };
        let open = render(Format::OpenMetrics, INFO, &totals(), &facts);
        let lines: Vec<&str> = open.lines().collect();
        for line in [
            "redis_up 1",
            "# TYPE redis_connected_clients gauge",
            "redis_connected_clients 7",
            "redis_memory_used_bytes 4096",
            "redis_rdb_last_bgsave_status 1",
            "redis_aof_last_write_status 0",
            "# TYPE redis_keyspace_hits counter",
            "redis_keyspace_hits_total 12",
            "# TYPE redis_total_error_replies unknown",
            "redis_start_time_seconds 1700000000",
            "redis_slowlog_length 4",
            "redis_slowlog_last_id 9",
            "redis_last_slow_execution_duration_seconds 0.0025",
            "redis_latency_spike_last{event_name=\"command\"} 1700000000",
            "redis_latency_spike_duration_seconds{event_name=\"command\"} 0.03",
            "redis_latency_percentiles_usec_sum{cmd=\"get\"} 2500000",
            "redis_latency_percentiles_usec_count{cmd=\"get\"} 5",
            "redis_commands_total{cmd=\"get\"} 5",
            "redis_commands_total{cmd=\"config|get\"} 1",
            "redis_commands_duration_seconds_total{cmd=\"get\"} 2.5",
            "redis_commands_failed_calls_total{cmd=\"get\"} 2",
            "redis_errors_total{err=\"WRONGTYPE\"} 2",
            "redis_latency_percentiles_usec{cmd=\"get\",quantile=\"0.5\"} 3.007",
            "redis_latency_percentiles_usec{cmd=\"get\",quantile=\"0.999\"} 4.015",
            "redis_db_keys{db=\"db0\"} 6",
            "redis_db_keys{db=\"db10\"} 1",
            "redis_db_keys{db=\"db15\"} 0",
            "redis_db_keys_expiring{db=\"db15\"} 0",
            "redis_db_avg_ttl_seconds{db=\"db0\"} 2",
            "corering_core_commands_total{core=\"1\"} 9",
            "corering_core_busy_seconds_total{core=\"0\"} 1.5",
            "corering_stage_seconds_bucket{way=\"local\",stage=\"execute\",le=\"1e-06\"} 3",
            "corering_stage_seconds_bucket{way=\"local\",stage=\"execute\",le=\"5e-06\"} 5",
            "corering_stage_seconds_bucket{way=\"local\",stage=\"execute\",le=\"1.0\"} 5",
            "corering_stage_seconds_bucket{way=\"local\",stage=\"execute\",le=\"+Inf\"} 6",
            "redis_commands_latencies_usec_bucket{cmd=\"get\",le=\"2.5\"} 3",
            "redis_commands_latencies_usec_bucket{cmd=\"get\",le=\"5.0\"} 5",
            "redis_commands_latencies_usec_bucket{cmd=\"get\",le=\"1000000.0\"} 5",
            "redis_commands_latencies_usec_bucket{cmd=\"get\",le=\"+Inf\"} 6",
            "redis_commands_latencies_usec_count{cmd=\"get\"} 6",
            "corering_command_stage_seconds_count{cmd=\"get\",way=\"local\",stage=\"execute\"} 6",
        ] {
            assert!(lines.contains(&line), "{line} in\n{open}");
        }
        assert!(!open.contains("db=\"db16\""), "{open}");
        assert!(open.contains("os=\"Linux \\\"x\\\\y\\\"\""), "{open}");
        assert_eq!(lines.last(), Some(&"# EOF"));
        let plain = render(Format::Prometheus, INFO, &totals(), &facts);
        assert!(plain.contains("# TYPE redis_keyspace_hits_total counter\nredis_keyspace_hits_total 12\n"), "{plain}");
        assert!(plain.contains("# TYPE redis_total_error_replies untyped\n") && !plain.contains("EOF"));
        let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(samples(&open), samples(&plain));
    }

    #[test]
    fn the_text_is_the_one_asked_for() {
        let of_prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;\
                             q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [
            of_prometheus,
            "text/plain;q=0.5, Application/OpenMetrics-Text; version=1.0.0",
            "text/plain;q=0.9,application/openmetrics-text",
        ] {
            assert_eq!(Format::accepted(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in
            ["text/plain, application/openmetrics-text; version=1.0.0;q=0.5", "application/openmetrics-text;q=0"]
        {
            assert_eq!(Format::accepted(accept), Format::Prometheus, "{accept}");
        }
        assert_eq!(Format::accepted("*/*"), Format::Prometheus);
        assert_eq!(Format::accepted(""), Format::Prometheus);
        assert!(render_busy(Format::OpenMetrics, true).contains("redis_loading_dump_file 1\n# EOF\n"));
        assert!(render_busy(Format::Prometheus, false).contains("redis_up 0\n"));
    }
}
