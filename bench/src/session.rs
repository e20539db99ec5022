//! From the command line to a run, and from what it recorded to what a report says of it.

use crate::cli::{AccessArguments, LoadArguments, PLANNED_MAX, WorkArguments};
use crate::clock;
use crate::console::complain;
use crate::engine::plan::{Extent, Pace, Plan};
use crate::engine::record::{Record, corrected};
use crate::engine::run::{Outcome, Progress, Watch, ask_map, run};
use crate::engine::server::{CpuTime, ServerInfo};
use crate::report::model::{Counts, Cpu, Distribution, FORMAT, Generator, Machine, Moment, Report, Row, Run};
use crate::report::number::{grouped, rate, significant, time};
use crate::wire::Greeting;
use crate::wire::control::Control;
use crate::wire::endpoint::Endpoint;
use crate::workload::Workload;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Points of a run over time.
const INTERVALS: f64 = 240.0;
/// The generator's own lateness is mentioned when it is this share of what is reported.
const LATENESS_SHARE: f64 = 0.2;
/// Its threads are near their limit when they are busy for this share of the time.
const BUSY_SHARE: f64 = 0.85;
/// CPU time that is known in steps of 10 ms is mentioned when it is less than so many of them.
const COARSE_CPU_S_MIN: f64 = 0.5;
/// The machine has too few CPUs when they wait for one for this share.
const RUN_QUEUE_SHARE: f64 = 0.05;

const OPEN: &str = "response time, from the moment at which a request was planned to its reply: waiting for a free connection is in it, nothing is left out";
const CLOSED: &str = "service time, from the sending of a request to its reply; in a closed loop nothing is sent while the server stalls, so stalls are under-represented";

/// What is the same for all runs of an action.
pub struct Session {
    pub greeting: Greeting,
    pub is_cluster: bool,
    pub timeout_s: f64,
    pub load: LoadArguments,
    pub workload: Arc<Workload>,
    pub is_quiet: bool,
    pub interrupted: Arc<AtomicBool>,
}

/// One run of a session.
pub struct Ask<'a> {
    pub name: String,
    pub server: &'a str,
    /// A process id, or `auto`.
    pub pid: Option<&'a str>,
    pub pace: Pace,
    pub warmup_s: f64,
    pub extent: Extent,
}

/// What came of it.
pub struct Measured {
    pub run: Run,
    pub failure: Option<String>,
    pub is_interrupted: bool,
}

impl Measured {
    /// Whether every request was answered, without an error.
    pub fn is_clean(&self) -> bool {
        self.run.counts.is_some_and(|counts| counts.answered == counts.planned && counts.error_replies == 0)
    }
}

impl Session {
    /// Takes what the command line says; what does not fit together comes back as a sentence.
    pub fn new(
        access: &AccessArguments,
        load: &LoadArguments,
        work: &WorkArguments,
        is_quiet: bool,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Session, String> {
        let mut said = work.said()?;
        said.retain(|(_, _, weight)| 0 < *weight);
        let mut workload = Workload::new(
            said,
            work.keys,
            work.key_prefix.clone(),
            work.key_distribution.clone(),
            work.value_size.clone(),
            work.ttl,
            work.seed,
        )?;
        // In a cluster always, whatever the commands: what `fill` writes is what any mix then asks for. Keys of a trace
        // are as they are, which only commands of several cannot do with.
        let takes_tags = || access.cluster && (!workload.has_trace() || workload.has_several_keys());
        if work.hash_tags.unwrap_or_else(takes_tags) {
            workload.tag_keys()?;
        }
        if load.connections < u32::from(load.threads) {
            return Err(format!("{} threads need as many connections, not {}", load.threads, load.connections));
        }
        if let Some(cpus) = &load.cpus {
            let there =
                rustix::thread::sched_getaffinity(None).map_err(|error| format!("sched_getaffinity: {error}"))?;
            if let Some(missing) = cpus.0.iter().find(|cpu| !there.is_set(**cpu)) {
                return Err(format!("CPU {missing} is none that this process may use"));
            }
        }
        Ok(Session {
            greeting: Greeting {
                user: access.user.clone(),
                password: access.password.clone(),
                database: access.db,
                is_resp3: access.resp == 3,
            },
            is_cluster: access.cluster,
            timeout_s: access.timeout.max(0.01),
            load: load.clone(),
            workload: Arc::new(workload),
            is_quiet,
            interrupted,
        })
    }

    /// Measures. An error means that there is nothing to tell.
    pub fn measure(&self, ask: &Ask) -> Result<Measured, String> {
        let endpoint = Endpoint::resolve(ask.server)?;
        let timeout = Duration::from_secs_f64(self.timeout_s);
        let mut control = Control::connect(&endpoint, &self.greeting, timeout)?;
        let server = ServerInfo::ask(&mut control);
        drop(control);
        let server_pid = server_pid(ask.pid, &endpoint, &server)?;
        let cluster = if self.is_cluster { Some(ask_map(&endpoint, &self.greeting, timeout)?) } else { None };
        let nodes = cluster.as_ref().map(|map| map.nodes.len());
        let seconds = if let Extent::TimeNs(time_ns) = ask.extent { time_ns as f64 / 1e9 } else { 24.0 };
        let plan = Plan {
            endpoint,
            greeting: self.greeting.clone(),
            cluster,
            connections: self.load.connections as usize,
            threads: usize::from(self.load.threads),
            pipeline: self.load.pipeline as usize,
            pace: ask.pace,
            warmup_ns: (ask.warmup_s * 1e9) as u64,
            extent: ask.extent,
            timeout_ns: (self.timeout_s * 1e9) as u64,
            workload: self.workload.clone(),
            interval_ns: interval_ns(seconds),
            spin_ns: u64::from(self.load.spin) * 1000,
            cpus: self.load.cpus.as_ref().map_or(Vec::new(), |cpus| cpus.0.clone()),
        };
        let is_shown = !self.is_quiet && std::io::stderr().is_terminal();
        let mut show = |progress: &Progress| {
            if is_shown {
                complain(format_args!("\r\x1b[2K{}", line(&ask.name, progress)));
            }
        };
        let mut watch = Watch { server_pid, interrupted: self.interrupted.clone(), on_progress: &mut show };
        let outcome = run(plan, &mut watch);
        if is_shown {
            complain(format_args!("\r\x1b[2K"));
        }
        let outcome = outcome?;
        let run = self.told(ask, &outcome, &server, nodes);
        Ok(Measured { run, failure: outcome.failure, is_interrupted: outcome.is_interrupted })
    }

    /// What a report says of a run.
    fn told(&self, ask: &Ask, outcome: &Outcome, server: &ServerInfo, nodes: Option<usize>) -> Run {
        let record = &outcome.record;
        let seconds = record.measured_ns as f64 / 1e9;
        let per_s = |count: u64| if 0.0 < seconds { Some(count as f64 / seconds) } else { None };
        let (is_open, offered_per_s) = match (ask.pace, ask.extent) {
            (Pace::Open(_, rate), extent) if 0.0 < rate.ramp_s => {
                // Of a rate that changes, the mean of the measured time.
                let all = |at_s: f64| {
                    let (mut low, mut high) = (0.0, PLANNED_MAX);
                    for _ in 0..80 {
                        let middle = (low + high) / 2.0;
                        if rate.seconds_of(middle) < at_s { low = middle } else { high = middle }
                    }
                    low
                };
                let begin_s = ask.warmup_s;
                let per_s = match extent {
                    Extent::TimeNs(time_ns) => {
                        let length_s = time_ns as f64 / 1e9;
                        (all(begin_s + length_s) - all(begin_s)) / length_s
                    }
                    Extent::Requests(count) => count as f64 / (rate.seconds_of(all(begin_s) + count as f64) - begin_s),
                };
                (true, Some(per_s))
            }
            (Pace::Open(_, rate), _) => (true, Some(rate.to_per_s)),
            (Pace::Closed, _) => (false, None),
        };
        let achieved_per_s = per_s(record.replies_in_time());
        let service = record.service();
        let mut rows = Vec::new();
        let (latency, other) = if is_open {
            (
                Distribution::of(&record.response()),
                ("service time, from the sending".to_string(), Distribution::of(&service)),
            )
        } else {
            let name = "response time, estimated: corrected for coordinated omission".to_string();
            (Distribution::of(&service), (name, Distribution::of(&corrected(&service))))
        };
        let nils = record.commands.iter().map(|command| command.nils).sum();
        let all = Row { name: "all".into(), per_s: achieved_per_s, nils: Some(nils), latency, other: Some(other) };
        rows.push(all);
        for (command, of) in self.workload.commands.iter().zip(&record.commands) {
            let (latency, other) = if is_open {
                let service = Distribution::of(&of.service);
                (Distribution::of(&of.response), Some(("service time, from the sending".to_string(), service)))
            } else {
                (Distribution::of(&of.service), None)
            };
            rows.push(Row {
                name: command.name.clone(),
                per_s: per_s(of.replies_in_time),
                nils: Some(of.nils),
                latency,
                other,
            });
        }
        let cpu = outcome.cpu.map(|(used, over_s): (CpuTime, f64)| Cpu {
            user_s: used.user_s,
            system_s: used.system_s,
            over_s,
            operations: record.replies_in_time(),
        });
        let threads = f64::from(self.load.threads);
        let share = |ns: u64| if 0.0 < seconds { ns as f64 / 1e9 / seconds / threads } else { 0.0 };
        let generator = Generator {
            threads: usize::from(self.load.threads),
            connections: self.load.connections as usize,
            busy: share(record.busy_ns),
            run_queue: share(record.run_queue_ns),
            lateness: Distribution::of(&record.lateness),
        };
        let counts = Counts {
            planned: record.planned(),
            answered: record.answered(),
            error_replies: record.errors(),
            unanswered: record.commands.iter().map(|command| command.unanswered).sum(),
            unsent: record.commands.iter().map(|command| command.unsent).sum(),
            lost: record.commands.iter().map(|command| command.lost).sum(),
            connections_closed: record.connections_closed,
            redirections: record.redirections,
            bytes_sent: record.bytes_sent,
            bytes_received: record.bytes_received,
        };
        let mut run = Run {
            name: ask.name.clone(),
            settings: self.settings(ask, server, nodes),
            latency_means: if is_open { OPEN } else { CLOSED }.into(),
            offered_per_s,
            achieved_per_s,
            seconds: Some(seconds),
            counts: Some(counts),
            rows,
            series: series(record, seconds),
            cpu,
            generator: Some(generator),
            errors: record.error_texts.iter().map(|(text, count)| (text.clone(), *count)).collect(),
            warnings: Vec::new(),
        };
        run.errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        run.warnings = warnings(&run, outcome);
        run
    }

    fn settings(&self, ask: &Ask, server: &ServerInfo, nodes: Option<usize>) -> Vec<(String, String)> {
        let mut settings: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: String| settings.push((name.into(), value));
        let software = server.software.clone().unwrap_or_else(|| "unknown".into());
        set("server", format!("{software} at {}", ask.server));
        if let Some(nodes) = nodes {
            set("cluster", format!("{nodes} nodes"));
        }
        let pace = match ask.pace {
            Pace::Closed => "closed loop".to_string(),
            Pace::Open(process, rate_of) => {
                let ramp = if 0.0 < rate_of.ramp_s {
                    format!(", from {} within {} s", rate(rate_of.from_per_s), significant(rate_of.ramp_s))
                } else {
                    String::new()
                };
                let process = format!("{process:?}").to_lowercase();
                format!("open loop, {} requests/s{ramp}, {process} arrivals", rate(rate_of.to_per_s))
            }
        };
        set("load", pace);
        let load = &self.load;
        let pipeline = if load.pipeline == 1 { "1 request".to_string() } else { format!("{} requests", load.pipeline) };
        set(
            "connections",
            format!(
                "{}, at most {pipeline} outstanding on each, RESP{}",
                load.connections,
                if self.greeting.is_resp3 { 3 } else { 2 }
            ),
        );
        set("warm-up", format!("{} s", significant(ask.warmup_s)));
        let sum: u64 = self.workload.commands.iter().map(|command| command.weight).sum();
        for command in &self.workload.commands {
            let share = 100.0 * command.weight as f64 / sum as f64;
            set(if sum == 0 { "" } else { "command" }, format!("{} ({share:.0} %)", command.text));
        }
        let trace = matches!(self.workload.distribution, crate::workload::keys::Distribution::Trace(_));
        let keys = if trace { String::new() } else { format!("{}, ", grouped(self.workload.keys)) };
        let tags = self
            .workload
            .tags
            .as_ref()
            .map_or(String::new(), |tags| format!(", with {} hash tags", grouped(tags.count())));
        set("keys", format!("{keys}{}{tags}", self.workload.distribution));
        set("values", self.workload.sizes.to_string());
        if let Some((low, high)) = self.workload.ttl_s {
            set("time to live", if low == high { format!("{low} s") } else { format!("{low}–{high} s") });
        }
        set("seed", self.workload.seed.to_string());
        settings
    }
}

/// Points over time: at least 0.1 s each.
fn interval_ns(seconds: f64) -> u64 {
    let wanted = (seconds / INTERVALS).max(0.1);
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];
    (steps.into_iter().find(|step| wanted <= *step * 1.001).unwrap_or(3_600.0) * 1e9) as u64
}

fn series(record: &Record, seconds: f64) -> Vec<Moment> {
    let interval_s = record.series.interval_ns() as f64 / 1e9;
    let mut moments = Vec::new();
    for (at, interval) in record.series.intervals().iter().enumerate() {
        let at_s = at as f64 * interval_s;
        let length_s = interval_s.min(seconds - at_s);
        // A scrap at the end tells no rate.
        if length_s < interval_s / 4.0 {
            break;
        }
        let us = |quantile: f64| {
            if interval.latency.is_empty() {
                None
            } else {
                Some(interval.latency.value_at_quantile(quantile) as f64 / 1e3)
            }
        };
        moments.push(Moment {
            at_s,
            per_s: interval.answered as f64 / length_s,
            p50_us: us(0.5),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: us(1.0),
        });
    }
    moments
}

fn server_pid(said: Option<&str>, endpoint: &Endpoint, server: &ServerInfo) -> Result<Option<u32>, String> {
    let Some(said) = said else { return Ok(None) };
    let pid = if said == "auto" {
        if !endpoint.is_local() {
            return Err(format!("{endpoint} is on another machine: its CPU time cannot be read"));
        }
        server.process_id.ok_or("the server does not tell its process: give its id")?
    } else {
        said.parse().map_err(|_| format!("`{said}` is no process id"))?
    };
    CpuTime::of_process(pid).map(|_| Some(pid))
}

/// What the reader should know before he believes the figures.
fn warnings(run: &Run, outcome: &Outcome) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(failure) = &outcome.failure {
        out.push(format!("given up before the end: {failure}"));
    }
    if outcome.is_interrupted {
        out.push("interrupted before the end".into());
    }
    let counts = run.counts.unwrap_or_default();
    let percent =
        |count: u64| format!("{} ({:.2} %)", grouped(count), 100.0 * count as f64 / counts.planned.max(1) as f64);
    if 0 < counts.unsent {
        out.push(format!(
            "{} requests were due but found no free connection before the end: the rate is more than this server, or these connections, can take. Their waiting so far is in the response times, a lower bound",
            percent(counts.unsent)
        ));
    }
    if 0 < counts.connections_closed {
        out.push(format!(
            "{} connections were closed by the server: what was left over may be for that, and not for the rate",
            grouped(counts.connections_closed)
        ));
    }
    if 0 < counts.unanswered {
        out.push(format!(
            "{} requests got no reply in time; their waiting is in the response times, a lower bound",
            percent(counts.unanswered)
        ));
    }
    if 0 < counts.lost {
        out.push(format!(
            "{} requests were lost with their connection; they are in no distribution",
            percent(counts.lost)
        ));
    }
    if 0 < counts.error_replies {
        out.push(format!(
            "{} requests were answered with an error; latencies are of errors too",
            percent(counts.error_replies)
        ));
    }
    if let Some((cpu, _)) = outcome.cpu.filter(|(cpu, _)| cpu.is_coarse && cpu.total_s() < COARSE_CPU_S_MIN) {
        out.push(format!(
            "the server's CPU time is known in steps of 10 ms alone, and was {:.0} ms: its figures are rough, measure longer",
            1e3 * cpu.total_s()
        ));
    }
    for row in &run.rows[1..] {
        // Those that were answered: in an open loop those that have a service time.
        let answered = row.other.as_ref().map_or(row.latency.count, |(_, service)| service.count).unwrap_or(0);
        if 100 < answered && row.nils == Some(answered) {
            out.push(format!("every {} found nothing: are the keys there? (corering-bench fill)", row.name));
        }
    }
    if let (Some(generator), Some(all)) = (&run.generator, run.rows.first()) {
        let is_open = run.offered_per_s.is_some();
        let late = [50.0, 99.0, 99.9].into_iter().find_map(|at| {
            let (own, told) = (generator.lateness.at(at)?, all.latency.at(at)?);
            (is_open && !all.latency.is_thin_at(at) && LATENESS_SHARE * told < own).then_some((at, own, told))
        });
        if let Some((at, own, told)) = late {
            out.push(format!(
                "the load generator itself was late: its own lateness is {} at p{at}, where {} is reported. Give it a CPU of its own, more threads, or --spin",
                time(own),
                time(told)
            ));
        }
        if BUSY_SHARE < generator.busy {
            out.push(format!("the load generator was busy for {:.0} % of the time: it may be the limit, not the server; use more threads", 100.0 * generator.busy));
        }
        if RUN_QUEUE_SHARE < generator.run_queue {
            out.push(format!("the load generator waited for a CPU for {:.0} % of the time: the machine is too small for it and the server", 100.0 * generator.run_queue));
        }
    }
    out
}

/// How a run is going, in a line.
fn line(name: &str, progress: &Progress) -> String {
    let of = match (progress.total_s, progress.requests) {
        (Some(total_s), _) => format!("{:.0}/{total_s:.0} s", progress.elapsed_s),
        (None, Some(requests)) => format!("{}/{}", grouped(progress.replies), grouped(requests)),
        (None, None) => format!("{:.0} s", progress.elapsed_s),
    };
    let phase = if progress.is_warmup { " warm-up" } else { "" };
    let at = |quantile: f64| {
        if progress.latency.is_empty() {
            "–".into()
        } else {
            time(progress.latency.value_at_quantile(quantile) as f64 / 1e3)
        }
    };
    let errors = if 0 < progress.error_replies {
        format!("  errors {}", grouped(progress.error_replies))
    } else {
        String::new()
    };
    format!(
        "{name}  {of}{phase}  {}/s  p50 {}  p99 {}  longest {}{errors}",
        rate(progress.replies_per_s),
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

/// A report without runs.
pub fn blank(title: String) -> Report {
    Report {
        format: FORMAT,
        title,
        date: clock::date_of(clock::unix_seconds()),
        tool: format!("corering-bench {}", env!("CARGO_PKG_VERSION")),
        ..Report::default()
    }
}

/// The machine this runs on.
pub fn machine() -> Machine {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Machine { cpu: model.map_or("unknown CPU", |(_, model)| model).trim().to_string(), cpus, kernel }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_round_and_few() {
        assert_eq!([1.0, 10.0, 60.0, 600.0].map(interval_ns), [100_000_000, 100_000_000, 500_000_000, 5_000_000_000]);
    }

    fn run_with(lateness_us: u64, generator: Generator) -> Vec<String> {
        let of = |us: u64| {
            let mut values = crate::engine::record::histogram();
            values.saturating_record_n(us * 1000, 100_000);
            Distribution::of(&values)
        };
        let run = Run {
            offered_per_s: Some(1.0),
            rows: vec![Row { latency: of(100), ..Row::default() }],
            generator: Some(Generator { lateness: of(lateness_us), ..generator }),
            ..Run::default()
        };
        let outcome = Outcome { record: Record::new(1, 1), cpu: None, failure: None, is_interrupted: false };
        warnings(&run, &outcome)
    }

    #[test]
    fn a_late_generator_says_so() {
        assert!(run_with(10, Generator::default()).is_empty());
        assert!(run_with(30, Generator::default())[0].contains("own lateness is 30.0 µs at p50"));
        assert!(run_with(10, Generator { busy: 0.95, ..Generator::default() })[0].contains("busy for 95 %"));
        assert!(
            run_with(10, Generator { run_queue: 0.3, ..Generator::default() })[0].contains("waited for a CPU for 30 %")
        );
    }
}
