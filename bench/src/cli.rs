//! The command line: what can be said, and what it means. Help comes from here, and manual pages and completions,
//! which `tests/pages.rs` of the server makes.

use crate::arrival::Process;
use crate::workload::keys::Distribution;
use crate::workload::size::Sizes;
use crate::workload::{Said, parse_mix};
use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueHint};
use std::path::PathBuf;

/// The most requests that a schedule may hold, so that the end of a run can be reckoned up in seconds.
pub const PLANNED_MAX: f64 = 2e9;

const MORE: &str = "\
Places in commands: {key} {value} {value:SIZE} {int:LOW:HIGH} {seq} {ttl} {ttl_ms}; {{ and }} for braces.
Sizes: 64, 16-1024, lognormal:MEDIAN:SIGMA[:MAX], 64:9,1k:1. Times: 10, 10s, 500ms, 2m. Rates: 20000, 20k, 1.5M.

Examples:
  corering-bench fill --keys 1m --value-size 64
  corering-bench run --rate 50k --arrivals poisson --duration 30s --mix get:9,set:1 --keys 1m --out results
  corering-bench run --connections 200 --pipeline 16 --command 'SET {key} {value} EX {ttl}' --ttl 60-120
  corering-bench sweep --of-peak 10,25,50,75,90 --duration 10s --out sweep
  corering-bench compare --a 127.0.0.1:6379 --b 127.0.0.1:6380 --pid-a 71 --pid-b 72 --rounds 10 --duration 2s
  corering-bench report memtier.json redis-benchmark.csv latency.hgrm --html report.html

Exit status:
  0    measured, and every request was answered without an error
  1    measured, but some requests got an error, or no answer
  2    the command line is wrong
  3    given up: the server is not there, does not answer, or does not speak RESP; what was measured is written
  4    a file cannot be read or written
  130  interrupted; what was measured is written";

/// Load generator and latency reports for servers that speak the protocol of Redis.
///
/// In an open loop (--rate) requests are sent by a schedule, whatever the server does, and response times count from
/// the planned moment: a stall is seen as users would see it, without coordinated omission. Without --rate the loop is
/// closed: each connection sends again when it has its reply.
#[derive(Debug, Parser)]
#[command(name = "corering-bench", version, after_help = MORE, max_term_width = 110)]
pub struct Arguments {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Measure one load
    Run(RunArguments),
    /// Measure at rising rates, and find the knee
    Sweep(SweepArguments),
    /// Measure two servers in turns, and say whether they differ
    Compare(CompareArguments),
    /// Write every key once
    Fill(FillArguments),
    /// Turn results of this and other tools into one report
    Report(ReportArguments),
}

impl Action {
    /// Where results go, if there are any.
    pub fn output(&self) -> Option<&OutputArguments> {
        match self {
            Action::Run(run) => Some(&run.measure.output),
            Action::Sweep(sweep) => Some(&sweep.measure.output),
            Action::Compare(compare) => Some(&compare.measure.output),
            Action::Fill(_) => None,
            Action::Report(report) => Some(&report.output),
        }
    }
}

/// How to speak to a server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct AccessArguments {
    /// User, for AUTH
    #[arg(long, requires = "password")]
    pub user: Option<String>,
    /// Password, for AUTH; better in CORERING_BENCH_PASSWORD, since command lines can be seen by others
    #[arg(long, env = "CORERING_BENCH_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Database, for SELECT
    #[arg(long, default_value_t = 0)]
    pub db: u32,
    /// Version of the protocol
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=3), default_value_t = 2)]
    pub resp: u8,
    /// Send each command to the node that has its key, and follow redirections
    #[arg(long, conflicts_with = "db")]
    pub cluster: bool,
    /// How long to wait for a connection, a reply, and for what is outstanding at the end
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "10s")]
    pub timeout: f64,
}

/// How the load is made.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Load")]
pub struct LoadArguments {
    /// Connections, of all threads together
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub connections: u32,
    /// Threads; one is enough for some hundred thousand requests per second
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Requests outstanding on a connection at most
    #[arg(short = 'P', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pipeline: u32,
    /// So many microseconds before a request is due, stop sleeping: more exact, and takes the CPU
    #[arg(long, value_name = "µs", default_value_t = 0)]
    pub spin: u32,
    /// CPUs for the threads in turn, such as 2,3 or 4-7
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    pub cpus: Option<CpuList>,
}

/// What is asked.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Workload")]
pub struct WorkArguments {
    /// Known commands and weights, such as get:9,set:1 [default: get:9,set:1]
    #[arg(long, conflicts_with = "command", value_name = "LIST")]
    pub mix: Option<String>,
    /// A command with places to fill; may be given several times
    #[arg(long, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// Weight of each --command, in their order
    #[arg(long, value_name = "N", requires = "command")]
    pub ratio: Vec<u32>,
    /// Name of each --command in tables, in their order
    #[arg(long, value_name = "NAME", requires = "command")]
    pub name: Vec<String>,
    /// Number of keys
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "100000")]
    pub keys: u64,
    /// What keys begin with
    #[arg(long, value_name = "TEXT", default_value = "key:")]
    pub key_prefix: String,
    /// uniform, zipf:THETA, sequential or trace:FILE (a key in each line, and perhaps the value's size)
    #[arg(long, value_name = "WHICH", default_value = "uniform")]
    pub key_distribution: Distribution,
    /// Put a hash tag before keys, {7}key:…, so that those of a command are in one slot [default: yes in cluster mode,
    /// else no; the keys of a trace have none]
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes",
        value_parser = BoolishValueParser::new())]
    pub hash_tags: Option<bool>,
    /// Size of values in bytes
    #[arg(long, value_name = "SIZES", default_value = "64")]
    pub value_size: Sizes,
    /// Seconds to live: a number, or a range such as 60-120; SET of a mix then has EX
    #[arg(long, value_name = "SECONDS", value_parser = parse_ttl)]
    pub ttl: Option<(u64, u64)>,
    /// Seed of all that is random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Where results go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Results")]
pub struct OutputArguments {
    /// Folder for all forms: report.html, result.json, result.csv, series.csv, latency_*.hgrm
    #[arg(short, long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// The report as a page; here and below, - is the output, and then nothing else is
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// The report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// A line for each command
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// A line for each interval
    #[arg(long, value_name = "FILE")]
    pub series_csv: Option<PathBuf>,
    /// Percentile distributions: what their paths begin with
    #[arg(long, value_name = "PREFIX")]
    pub hgrm: Option<PathBuf>,
    /// Title of the report
    #[arg(long)]
    pub title: Option<String>,
    /// Print nothing but warnings and errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// What every measurement can be told.
#[derive(Debug, Clone, Args)]
pub struct MeasureArguments {
    #[command(flatten)]
    pub access: AccessArguments,
    #[command(flatten)]
    pub load: LoadArguments,
    #[command(flatten)]
    pub work: WorkArguments,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// The one server that is measured.
#[derive(Debug, Clone, Args)]
pub struct TargetArguments {
    /// HOST:PORT, [IPV6]:PORT or unix:PATH
    #[arg(short, long, default_value = "127.0.0.1:6379")]
    pub server: String,
    /// Process on this machine whose CPU time is told: its id, or `auto` to ask the server
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    pub target: TargetArguments,
    /// Open loop: requests per second of all connections together
    #[arg(short, long, value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// How requests of an open loop are spaced
    #[arg(long, value_enum, default_value_t = Process::Constant, requires = "rate")]
    pub arrivals: Process,
    /// Let the rate rise for so long, from --ramp-from
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "rate")]
    pub ramp: Option<f64>,
    /// Where a ramp begins
    #[arg(long, value_name = "RATE", value_parser = parse_rate_or_zero, requires = "ramp", default_value = "0")]
    pub ramp_from: f64,
    /// Load before measuring
    #[arg(short, long, value_name = "TIME", value_parser = parse_time, default_value = "1s")]
    pub warmup: f64,
    /// How long to measure
    #[arg(short, long, value_name = "TIME", value_parser = parse_time, default_value = "10s")]
    pub duration: f64,
    /// Measure so many requests instead
    #[arg(short = 'n', long, value_name = "N", value_parser = parse_count, conflicts_with = "duration")]
    pub requests: Option<u64>,
    #[command(flatten)]
    pub measure: MeasureArguments,
}

#[derive(Debug, Args)]
pub struct SweepArguments {
    #[command(flatten)]
    pub target: TargetArguments,
    /// Rates, such as 10k,20k,40k
    #[arg(long, value_delimiter = ',', value_parser = parse_rate, conflicts_with = "of_peak", value_name = "LIST")]
    pub rates: Vec<f64>,
    /// Measure a closed loop first, then these percentages of its throughput
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "10,25,50,60,70,80,90,100,110")]
    pub of_peak: Vec<f64>,
    /// How requests are spaced
    #[arg(long, value_enum, default_value_t = Process::Poisson)]
    pub arrivals: Process,
    /// A rate is held if its p99 is not longer [default: ten times that of the lowest rate]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub p99_max: Option<f64>,
    /// Load before measuring, at each rate
    #[arg(short, long, value_name = "TIME", value_parser = parse_time, default_value = "1s")]
    pub warmup: f64,
    /// How long to measure at each rate
    #[arg(short, long, value_name = "TIME", value_parser = parse_time, default_value = "10s")]
    pub duration: f64,
    #[command(flatten)]
    pub measure: MeasureArguments,
}

#[derive(Debug, Args)]
pub struct CompareArguments {
    /// The one that is known: HOST:PORT, [IPV6]:PORT or unix:PATH
    #[arg(long)]
    pub a: String,
    /// The one that is compared with it
    #[arg(long)]
    pub b: String,
    /// Process of A on this machine, for its CPU time: its id, or `auto` to ask the server
    #[arg(long, value_name = "PID")]
    pub pid_a: Option<String>,
    /// Process of B likewise
    #[arg(long, value_name = "PID")]
    pub pid_b: Option<String>,
    /// Rounds of A, B and A again
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// Share of the intervals, 0 to 1
    #[arg(long, default_value_t = 0.95)]
    pub confidence: f64,
    /// Open loop: requests per second of all connections together
    #[arg(short, long, value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// How requests of an open loop are spaced
    #[arg(long, value_enum, default_value_t = Process::Poisson, requires = "rate")]
    pub arrivals: Process,
    /// Load before measuring, each time
    #[arg(short, long, value_name = "TIME", value_parser = parse_time, default_value = "500ms")]
    pub warmup: f64,
    /// How long to measure, each time
    #[arg(short, long, value_name = "TIME", value_parser = parse_time, default_value = "3s")]
    pub duration: f64,
    #[command(flatten)]
    pub measure: MeasureArguments,
}

#[derive(Debug, Args)]
pub struct FillArguments {
    /// HOST:PORT, [IPV6]:PORT or unix:PATH
    #[arg(short, long, default_value = "127.0.0.1:6379")]
    pub server: String,
    /// Number of keys
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "100000")]
    pub keys: u64,
    /// What keys begin with
    #[arg(long, value_name = "TEXT", default_value = "key:")]
    pub key_prefix: String,
    /// Size of values in bytes
    #[arg(long, value_name = "SIZES", default_value = "64")]
    pub value_size: Sizes,
    /// Seconds to live: a number, or a range such as 60-120
    #[arg(long, value_name = "SECONDS", value_parser = parse_ttl)]
    pub ttl: Option<(u64, u64)>,
    /// Put a hash tag before keys, {7}key:…, so that those of a command are in one slot [default: yes in cluster mode,
    /// else no, as with `run`]
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes",
        value_parser = BoolishValueParser::new())]
    pub hash_tags: Option<bool>,
    /// Another command than SET {key} {value}
    #[arg(long)]
    pub command: Option<String>,
    /// Connections
    #[arg(short, long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub connections: u32,
    /// Requests outstanding on a connection at most
    #[arg(short = 'P', long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pipeline: u32,
    /// Seed of the values
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub access: AccessArguments,
}

#[derive(Debug, Args)]
pub struct ReportArguments {
    /// result.json, redis-benchmark's CSV, memtier_benchmark's JSON, .hgrm and .txt, HDR logs; NAME=FILE names a run
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<String>,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// CPUs by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

/// As the name of a file: the output.
pub const STDOUT: &str = "-";

impl OutputArguments {
    /// Whether nothing but warnings and errors is said beside the files: also where one of them is the output.
    pub fn is_quiet(&self) -> bool {
        self.quiet || self.forms().any(|(_, path)| path.as_os_str() == STDOUT)
    }

    /// Whether files that are asked for can be told apart: a sentence where not.
    pub fn check(&self) -> Result<(), String> {
        let mut piped = self.forms().filter(|(_, path)| path.as_os_str() == STDOUT).map(|(option, _)| option);
        if let (Some(first), Some(second)) = (piped.next(), piped.next()) {
            return Err(format!("{first} - and {second} -: only one of them can be the output"));
        }
        for (option, what, path) in [("--out", "a folder", &self.out), ("--hgrm", "what paths begin with", &self.hgrm)]
        {
            if path.as_ref().is_some_and(|path| path.as_os_str() == STDOUT) {
                return Err(format!("{option} wants {what}, and writes several files: - is none"));
            }
        }
        Ok(())
    }

    /// The forms that are one file each.
    fn forms(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let all =
            [("--html", &self.html), ("--json", &self.json), ("--csv", &self.csv), ("--series-csv", &self.series_csv)];
        all.into_iter().filter_map(|(option, path)| Some((option, path.as_ref()?)))
    }
}

impl WorkArguments {
    /// The commands, their names and weights.
    pub fn said(&self) -> Result<Vec<Said>, String> {
        if self.command.is_empty() {
            let mut said = parse_mix(self.mix.as_deref().unwrap_or("get:9,set:1"))?;
            if self.ttl.is_some() {
                for (_, text, _) in said.iter_mut().filter(|(_, text, _)| text == "SET {key} {value}") {
                    text.push_str(" EX {ttl}");
                }
            }
            return Ok(said);
        }
        for (what, count) in [("--ratio", self.ratio.len()), ("--name", self.name.len())] {
            if 0 < count && count != self.command.len() {
                return Err(format!(
                    "{} --command, but {count} {what}: want one for each, or none",
                    self.command.len()
                ));
            }
        }
        let all = self.command.iter().enumerate().map(|(at, text)| {
            let weight = self.ratio.get(at).copied().unwrap_or(1);
            (self.name.get(at).cloned(), text.clone(), u64::from(weight))
        });
        Ok(all.collect())
    }
}

/// Seconds from `10`, `10s`, `500ms`, `2m`, `1h`, `50us`.
pub fn parse_time(text: &str) -> Result<f64, String> {
    let (number, factor) = split_unit(text)?;
    let factor = match factor {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err(format!("`{text}` is no time: want 10, 10s, 500ms, 2m or 1h")),
    };
    let seconds = number * factor;
    if seconds <= 7.0 * 86_400.0 { Ok(seconds) } else { Err(format!("`{text}` is longer than a week")) }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match parse_rate_or_zero(text)? {
        rate if 0.0 < rate => Ok(rate),
        _ => Err("a rate is more than 0".into()),
    }
}

fn parse_rate_or_zero(text: &str) -> Result<f64, String> {
    let (number, unit) = split_unit(text.trim_end_matches("/s"))?;
    let rate = match unit {
        "" => number,
        "k" | "K" => number * 1e3,
        "m" | "M" => number * 1e6,
        _ => return Err(format!("`{text}` is no rate: want 20000, 20k or 1.5M")),
    };
    if rate <= 1e9 { Ok(rate) } else { Err(format!("`{text}` is more than a request per nanosecond")) }
}

fn parse_count(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "m" | "M" => 1e6,
        "g" | "G" => 1e9,
        _ => return Err(format!("`{text}` is no number: want 100000, 100k or 1m")),
    };
    let count = number * factor;
    if (1.0..=1e12).contains(&count) { Ok(count.round() as u64) } else { Err(format!("`{text}`: want 1 to 10^12")) }
}

/// A number that is not negative, and what stands behind it.
fn split_unit(text: &str) -> Result<(f64, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| format!("`{text}` does not begin with a number"))?;
    Ok((number, &text[end..]))
}

fn parse_ttl(text: &str) -> Result<(u64, u64), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u64>().ok().filter(|ttl| (1..=10_000_000_000).contains(ttl));
    match (number(low), number(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        _ => Err(format!("`{text}` is no time to live: want seconds, or a range such as 60-120")),
    }
}

fn parse_cpus(text: &str) -> Result<CpuList, String> {
    let mut cpus = Vec::new();
    for item in text.split(',') {
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|cpu| *cpu < 1024);
        match (number(low), number(high)) {
            (Some(low), Some(high)) if low <= high => cpus.extend(low..=high),
            _ => return Err(format!("`{item}` is no CPU: want 2,3 or 4-7")),
        }
    }
    Ok(CpuList(cpus))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Action, String> {
        let words = std::iter::once("corering-bench").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.action).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
        for good in [
            "run",
            "run --rate 50k --arrivals poisson --ramp 5s --ramp-from 1k -d 30s -w 0",
            "run -n 1m -P 16 -c 200 -t 2 --cpus 0,2-3 --mix get:9,set:1",
            "sweep --rates 10k,20k --p99-max 1ms",
            "compare --a x:1 --b y:2 --rounds 5",
            "fill --keys 1m --ttl 60-120",
            "report a.json b=c.csv --html x.html",
        ] {
            assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
        }
        for bad in [
            "",
            "run --arrivals poisson",
            "run --rate 0",
            "run --rate 5x",
            "run -d 5 -n 5",
            "run --duration -1",
            "run --mix get --command GET",
            "run --ratio 5",
            "run --keys 0",
            "run --ttl 0",
            "run --ttl 9-5",
            "run --value-size 9-5",
            "run --cpus x",
            "run --resp 4",
            "run --cluster --db 3",
            "run -c 0",
            "compare --a x",
            "report",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!(["10", "1.5s", "500ms", "2m"].map(|text| parse_time(text).unwrap()), [10.0, 1.5, 0.5, 120.0]);
        assert_eq!(["5", "20k", "1.5M", "7k/s"].map(|text| parse_rate(text).unwrap()), [5.0, 2e4, 1.5e6, 7e3]);
        assert_eq!(["5", "2k", "1m"].map(|text| parse_count(text).unwrap()), [5, 2_000, 1_000_000]);
        assert_eq!(parse_cpus("0,4-6"), Ok(CpuList(vec![0, 4, 5, 6])));
    }

    #[test]
    fn one_form_can_be_the_output() {
        let output = |line: &str| match parse(&format!("report x {line}")).unwrap() {
            Action::Report(report) => report.output,
            _ => unreachable!("it says report"),
        };
        for (line, takes) in [("--json -", true), ("--csv - --json x", true), ("--html x", false), ("", false)] {
            assert_eq!((output(line).check(), output(line).is_quiet()), (Ok(()), takes), "{line}");
        }
        for bad in ["--json - --csv -", "--out -", "--hgrm -"] {
            assert!(output(bad).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn weights_belong_to_their_commands() {
        let said = |arguments: &[&str]| {
            let words = ["corering-bench", "run"].iter().chain(arguments);
            match Arguments::try_parse_from(words).unwrap().action {
                Action::Run(run) => run.measure.work.said(),
                _ => unreachable!("it says run"),
            }
        };
        let two = said(&["--command", "GET {key}", "--ratio", "3", "--command", "PING", "--ratio", "1"]).unwrap();
        assert_eq!(two[0], (None, "GET {key}".into(), 3));
        assert!(said(&["--command", "GET {key}", "--command", "PING", "--ratio", "1"]).is_err());
        assert_eq!(said(&["--mix", "set", "--ttl", "9"]).unwrap()[0].1, "SET {key} {value} EX {ttl}");
    }
}
