//! The process: reads the command line, measures, writes, and ends with a status that says how it went.

use clap::Parser;
use corering_bench::arrival::Rate;
use corering_bench::cli::{
    Action, Arguments, CompareArguments, FillArguments, LoadArguments, MeasureArguments, OutputArguments, PLANNED_MAX,
    ReportArguments, RunArguments, SweepArguments, WorkArguments,
};
use corering_bench::compare::{ComparePlan, compare};
use corering_bench::console::{complain, say};
use corering_bench::engine::plan::{Extent, Pace};
use corering_bench::report::files::Places;
use corering_bench::report::model::Report;
use corering_bench::report::{import, number, text};
use corering_bench::session::{Ask, Session, blank, machine};
use corering_bench::signals;
use corering_bench::sweep::{SweepPlan, sweep};
use corering_bench::workload::keys::Distribution;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Clean = 0,
    Imperfect = 1,
    Usage = 2,
    GivenUp = 3,
    Files = 4,
    Interrupted = 130,
}

/// Why there is nothing to show, in a sentence, and how to end.
type Failed = (End, String);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let interrupted = signals::watch(End::Interrupted as i32).unwrap_or_else(|error| {
        complain(format_args!("corering-bench: {error}\n"));
        Arc::default()
    });
    let end = arguments.action.output().map_or(Ok(()), OutputArguments::check).map_err(usage);
    let end = end.and_then(|()| match arguments.action {
        Action::Run(run) => run_once(&run, &interrupted),
        Action::Sweep(arguments) => run_sweep(&arguments, &interrupted),
        Action::Compare(arguments) => run_compare(&arguments, &interrupted),
        Action::Fill(arguments) => run_fill(&arguments, &interrupted),
        Action::Report(arguments) => make_report(&arguments),
    });
    let end = end.unwrap_or_else(|(end, why)| {
        complain(format_args!("corering-bench: {why}\n"));
        end
    });
    ExitCode::from(if interrupted.load(Ordering::Relaxed) { End::Interrupted } else { end } as u8)
}

fn usage(why: String) -> Failed {
    (End::Usage, why)
}

fn given_up(why: String) -> Failed {
    (End::GivenUp, why)
}

fn files(why: String) -> Failed {
    (End::Files, why)
}

/// The measured time; `rate` is the highest that is planned, if any is.
fn extent(duration_s: f64, warmup_s: f64, rate: Option<f64>) -> Result<Extent, Failed> {
    if duration_s < 0.001 {
        return Err(usage("a measured time is at least 1 ms".into()));
    }
    if PLANNED_MAX < rate.unwrap_or(0.0) * (duration_s + warmup_s) {
        return Err(usage(format!("that would be more than {} requests", number::grouped(PLANNED_MAX as u64))));
    }
    Ok(Extent::TimeNs((duration_s * 1e9) as u64))
}

fn session(measure: &MeasureArguments, interrupted: &Arc<AtomicBool>) -> Result<Session, Failed> {
    let MeasureArguments { access, load, work, output } = measure;
    Session::new(access, load, work, output.is_quiet(), interrupted.clone()).map_err(usage)
}

fn run_once(arguments: &RunArguments, interrupted: &Arc<AtomicBool>) -> Result<End, Failed> {
    let session = session(&arguments.measure, interrupted)?;
    let pace = match arguments.rate {
        None => Pace::Closed,
        Some(rate) => {
            let ramp_s = arguments.ramp.unwrap_or(0.0);
            let from_per_s = if 0.0 < ramp_s { arguments.ramp_from } else { rate };
            Pace::Open(arguments.arrivals, Rate { from_per_s, to_per_s: rate, ramp_s })
        }
    };
    let extent = match arguments.requests {
        Some(requests) => Extent::Requests(requests),
        None => extent(arguments.duration, arguments.warmup, arguments.rate)?,
    };
    let title = arguments.measure.output.title.clone();
    let name = match arguments.rate {
        Some(rate) => format!("{} at {}/s", arguments.target.server, number::short(rate)),
        None => format!("{}, closed loop", arguments.target.server),
    };
    let ask = Ask {
        name: title.clone().unwrap_or_else(|| name.clone()),
        server: &arguments.target.server,
        pid: arguments.target.server_pid.as_deref(),
        pace,
        warmup_s: arguments.warmup,
        extent,
    };
    let measured = session.measure(&ask).map_err(given_up)?;
    let mut report = blank(title.unwrap_or(name));
    report.machine = Some(machine());
    let is_clean = measured.is_clean();
    report.runs.push(measured.run);
    finish(&report, &arguments.measure.output, measured.failure, is_clean)
}

fn run_sweep(arguments: &SweepArguments, interrupted: &Arc<AtomicBool>) -> Result<End, Failed> {
    let session = session(&arguments.measure, interrupted)?;
    let highest = arguments.rates.iter().copied().fold(0.0, f64::max);
    extent(arguments.duration, arguments.warmup, Some(highest))?;
    if arguments.of_peak.iter().any(|percent| !(0.0..=1_000.0).contains(percent)) {
        return Err(usage("--of-peak wants percentages up to 1000".into()));
    }
    let plan = SweepPlan {
        server: &arguments.target.server,
        pid: arguments.target.server_pid.as_deref(),
        rates: arguments.rates.clone(),
        of_peak: arguments.of_peak.clone(),
        process: arguments.arrivals,
        p99_max_us: arguments.p99_max.map(|seconds| seconds * 1e6),
        warmup_s: arguments.warmup,
        duration_s: arguments.duration,
    };
    let swept = sweep(&session, &plan).map_err(given_up)?;
    let title = arguments.measure.output.title.clone();
    let mut report = blank(title.unwrap_or_else(|| format!("{}, rising rates", arguments.target.server)));
    report.machine = Some(machine());
    report.runs = swept.runs;
    report.sweep = Some(swept.sweep);
    finish(&report, &arguments.measure.output, swept.failure, swept.is_clean)
}

fn run_compare(arguments: &CompareArguments, interrupted: &Arc<AtomicBool>) -> Result<End, Failed> {
    let session = session(&arguments.measure, interrupted)?;
    extent(arguments.duration, arguments.warmup, arguments.rate)?;
    if !(0.5..1.0).contains(&arguments.confidence) {
        return Err(usage("--confidence is from 0.5 to below 1".into()));
    }
    let plan = ComparePlan {
        servers: [&arguments.a, &arguments.b],
        pids: [arguments.pid_a.as_deref(), arguments.pid_b.as_deref()],
        rounds: arguments.rounds as usize,
        confidence: arguments.confidence,
        pace: arguments.rate.map_or(Pace::Closed, |rate| Pace::Open(arguments.arrivals, Rate::steady(rate))),
        warmup_s: arguments.warmup,
        duration_s: arguments.duration,
    };
    let compared = compare(&session, &plan).map_err(given_up)?;
    let title = arguments.measure.output.title.clone();
    let mut report = blank(title.unwrap_or_else(|| format!("{} and {}", arguments.a, arguments.b)));
    report.machine = Some(machine());
    report.runs = compared.runs;
    report.comparison = compared.comparison;
    finish(&report, &arguments.measure.output, compared.failure, compared.is_clean)
}

fn run_fill(arguments: &FillArguments, interrupted: &Arc<AtomicBool>) -> Result<End, Failed> {
    let set = if arguments.ttl.is_some() { "SET {key} {value} EX {ttl}" } else { "SET {key} {value}" };
    let work = WorkArguments {
        mix: None,
        command: vec![arguments.command.clone().unwrap_or_else(|| set.into())],
        ratio: Vec::new(),
        name: Vec::new(),
        keys: arguments.keys,
        key_prefix: arguments.key_prefix.clone(),
        key_distribution: Distribution::Sequential,
        hash_tags: arguments.hash_tags,
        value_size: arguments.value_size.clone(),
        ttl: arguments.ttl,
        seed: arguments.seed,
    };
    let load = LoadArguments {
        connections: arguments.connections,
        threads: 1,
        pipeline: arguments.pipeline,
        spin: 0,
        cpus: None,
    };
    let session = Session::new(&arguments.access, &load, &work, arguments.quiet, interrupted.clone()).map_err(usage)?;
    let ask = Ask {
        name: "fill".into(),
        server: &arguments.server,
        pid: None,
        pace: Pace::Closed,
        warmup_s: 0.0,
        extent: Extent::Requests(arguments.keys),
    };
    let measured = session.measure(&ask).map_err(given_up)?;
    let counts = measured.run.counts.unwrap_or_default();
    let mut said = Ok(());
    if !arguments.quiet {
        let per_s = number::rate(measured.run.achieved_per_s.unwrap_or(0.0));
        let seconds = number::significant(measured.run.seconds.unwrap_or(0.0));
        let written = number::grouped(counts.answered - counts.error_replies);
        said = say(format_args!("{written} keys in {seconds} s, {per_s}/s\n"));
    }
    for (error, count) in &measured.run.errors {
        complain(format_args!("corering-bench: error × {}: {error}\n", number::grouped(*count)));
    }
    if let Some(failure) = &measured.failure {
        return Err(given_up(failure.clone()));
    }
    said.map_err(files)?;
    Ok(if measured.is_clean() { End::Clean } else { End::Imperfect })
}

fn make_report(arguments: &ReportArguments) -> Result<End, Failed> {
    let mut report = blank(arguments.output.title.clone().unwrap_or_else(|| "Latency report".into()));
    for said in &arguments.files {
        // A name may stand in front, but a file whose name has an equals sign is a file.
        let (name, path) = match said.split_once('=') {
            Some((name, path)) if !Path::new(said).exists() => (Some(name), path),
            _ => (None, said.as_str()),
        };
        let mut runs = import::read(Path::new(path)).map_err(files)?;
        let is_one = runs.len() == 1;
        for run in &mut runs {
            if let Some(name) = name {
                run.name = if is_one { name.to_string() } else { format!("{name}: {}", run.name) };
            }
        }
        report.runs.append(&mut runs);
    }
    finish(&report, &arguments.output, None, true)
}

/// Shows and writes a report, and says how it went.
fn finish(report: &Report, output: &OutputArguments, failure: Option<String>, is_clean: bool) -> Result<End, Failed> {
    let is_quiet = output.is_quiet();
    if is_quiet {
        for warning in report.runs.iter().flat_map(|run| &run.warnings) {
            complain(format_args!("warning: {warning}\n"));
        }
    }
    let said = if is_quiet { Ok(()) } else { say(format_args!("{}", text::report(report))) };
    let mut places = output.out.as_deref().map(Places::folder).unwrap_or_default();
    let own = [
        (&mut places.html, &output.html),
        (&mut places.json, &output.json),
        (&mut places.csv, &output.csv),
        (&mut places.series_csv, &output.series_csv),
        (&mut places.hgrm_prefix, &output.hgrm),
    ];
    for (place, said) in own {
        if said.is_some() {
            place.clone_from(said);
        }
    }
    let written = places.write(report).map_err(files)?;
    said.map_err(files)?;
    if !is_quiet && !written.is_empty() {
        let first = output.html.clone().or_else(|| output.out.as_ref().map(|folder| folder.join("report.html")));
        let first = first.unwrap_or_else(|| written[0].clone());
        say(format_args!("\nwritten: {} and {} more\n", first.display(), written.len() - 1)).map_err(files)?;
    }
    match failure {
        Some(failure) => Err(given_up(failure)),
        None if is_clean => Ok(End::Clean),
        None => Ok(End::Imperfect),
    }
}
