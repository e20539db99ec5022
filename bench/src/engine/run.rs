//! Runs a plan: starts the threads, lets them begin at one moment, watches, and adds up what they recorded.

use super::plan::{Extent, Plan, Shared};
use super::record::Record;
use super::server::CpuTime;
use super::worker::Worker;
use crate::clock::Clock;
use crate::wire::Greeting;
use crate::wire::cluster::SlotMap;
use crate::wire::control::Control;
use crate::wire::endpoint::Endpoint;
use crate::wire::value::Value;
use hdrhistogram::Histogram;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How long the one that watches sleeps at most.
const WATCH_NS: u64 = 100_000_000;
/// How often it tells of progress.
const PROGRESS_NS: u64 = 1_000_000_000;
/// Between being connected and the begin, so that every thread is there.
const HEAD_START_NS: u64 = 5_000_000;
/// File descriptors that are not connections.
const DESCRIPTORS: u64 = 64;

/// How a run is going.
pub struct Progress {
    /// Since the load began; negative in no case.
    pub elapsed_s: f64,
    pub is_warmup: bool,
    /// When the measured time will be over, if it is limited by time.
    pub total_s: Option<f64>,
    /// Requests that are wanted, if the run is limited by them, and replies so far.
    pub requests: Option<u64>,
    pub replies: u64,
    /// Since the last time.
    pub replies_per_s: f64,
    pub latency: Histogram<u64>,
    pub error_replies: u64,
}

/// What came of a run.
pub struct Outcome {
    pub record: Record,
    /// What the server's process used within the measured time, and how long that was.
    pub cpu: Option<(CpuTime, f64)>,
    /// Why it was given up. What was recorded until then is there.
    pub failure: Option<String>,
    pub is_interrupted: bool,
}

/// What watches over a run.
pub struct Watch<'a> {
    /// A process on this machine whose CPU time is of interest.
    pub server_pid: Option<u32>,
    /// Set when the user wants an end.
    pub interrupted: Arc<AtomicBool>,
    pub on_progress: &'a mut dyn FnMut(&Progress),
}

/// Runs a plan to its end. An error means that nothing was measured.
pub fn run(plan: Plan, watch: &mut Watch) -> Result<Outcome, String> {
    raise_descriptors(plan.connections as u64 * plan.cluster.as_ref().map_or(1, |map| map.nodes.len() as u64))?;
    let plan = Arc::new(plan);
    let shared = Arc::new(Shared::new(Clock::start()));
    let (ready_in, ready_out) = channel();
    let mut threads = Vec::new();
    let mut begins = Vec::new();
    for index in 0..plan.threads {
        let worker = Worker::new(plan.clone(), shared.clone(), index)?;
        let (begin_in, begin_out) = channel();
        let ready = ready_in.clone();
        let cpu = (!plan.cpus.is_empty()).then(|| plan.cpus[index % plan.cpus.len()]);
        let thread = std::thread::Builder::new().name(format!("load-{index}")).spawn(move || {
            if let Some(cpu) = cpu {
                let mut set = CpuSet::new();
                set.set(cpu);
                // A CPU that is not there is found before; one that is taken away meanwhile changes no result.
                let _ = sched_setaffinity(None, &set);
            }
            worker.run(ready, begin_out)
        });
        threads.push(thread.map_err(|error| format!("cannot start a thread: {error}"))?);
        begins.push(begin_in);
    }
    drop(ready_in);

    let mut are_ready = 0;
    while are_ready < plan.threads && !shared.is_stopped() {
        match ready_out.recv_timeout(Duration::from_nanos(WATCH_NS)) {
            Ok(()) => are_ready += 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if watch.interrupted.load(Ordering::Relaxed) {
            shared.stop();
        }
    }
    let start_ns = shared.clock.now_ns() + HEAD_START_NS;
    if !shared.is_stopped() {
        for begin in &begins {
            // A thread that is gone already has said why.
            let _ = begin.send(start_ns);
        }
    }
    drop(begins);

    let cpu = follow(&plan, &shared, watch, start_ns, || threads.iter().all(|thread| thread.is_finished()));
    let mut record = Record::new(plan.workload.commands.len(), plan.interval_ns);
    for thread in threads {
        match thread.join() {
            Ok(part) => record.add(&part),
            Err(_) => shared.fail("a thread of the load generator panicked".into()),
        }
    }
    let failure = shared.failure();
    if let Some(failure) = &failure
        && record.planned() == 0
    {
        return Err(failure.clone());
    }
    Ok(Outcome { record, cpu, failure, is_interrupted: watch.interrupted.load(Ordering::Relaxed) })
}

/// Watches until every thread is finished; comes back with the CPU time of the server's process.
fn follow(
    plan: &Plan,
    shared: &Shared,
    watch: &mut Watch,
    start_ns: u64,
    is_finished: impl Fn() -> bool,
) -> Option<(CpuTime, f64)> {
    let begin_ns = start_ns + plan.warmup_ns;
    let end_ns = match plan.extent {
        Extent::TimeNs(time_ns) => begin_ns + time_ns,
        Extent::Requests(_) => u64::MAX,
    };
    let read_cpu = || watch.server_pid.and_then(|pid| CpuTime::of_process(pid).ok());
    let mut before: Option<(CpuTime, u64)> = None;
    let mut after: Option<(CpuTime, u64)> = None;
    let mut progress_ns = start_ns + PROGRESS_NS;
    let mut replies_then = 0;
    let mut told_ns = start_ns;
    while !is_finished() {
        let now_ns = shared.clock.now_ns();
        if before.is_none() && begin_ns <= now_ns {
            before = read_cpu().map(|cpu| (cpu, now_ns));
        }
        if after.is_none() && end_ns <= now_ns {
            after = read_cpu().map(|cpu| (cpu, now_ns));
        }
        if watch.interrupted.load(Ordering::Relaxed) && !shared.is_stopped() {
            shared.stop();
            after = after.or_else(|| read_cpu().map(|cpu| (cpu, now_ns)));
        }
        if progress_ns <= now_ns {
            let replies = shared.replies.load(Ordering::Relaxed);
            (watch.on_progress)(&Progress {
                elapsed_s: (now_ns - start_ns) as f64 / 1e9,
                is_warmup: now_ns < begin_ns,
                total_s: (end_ns < u64::MAX).then(|| (end_ns - start_ns) as f64 / 1e9),
                requests: if let Extent::Requests(requests) = plan.extent { Some(requests) } else { None },
                replies,
                replies_per_s: (replies - replies_then) as f64 / ((now_ns - told_ns) as f64 / 1e9),
                latency: shared.take_recent(),
                error_replies: shared.error_replies.load(Ordering::Relaxed),
            });
            replies_then = replies;
            told_ns = now_ns;
            progress_ns = now_ns + PROGRESS_NS;
        }
        if plan.cluster.is_some() && shared.take_map_wish() {
            // The map of who answers first will do; if nobody does, it is asked for again.
            match ask_map(&plan.endpoint, &plan.greeting, Duration::from_nanos(plan.timeout_ns)) {
                Ok(map) => shared.set_map(map),
                Err(_) => shared.want_map(),
            }
        }
        let mut until_ns = (now_ns + WATCH_NS).min(progress_ns);
        for moment_ns in [begin_ns, end_ns] {
            if now_ns < moment_ns {
                until_ns = until_ns.min(moment_ns);
            }
        }
        // Short steps while nothing is known of the end, so that a run by count ends soon after its last reply.
        let step_ns = if end_ns == u64::MAX { 5_000_000 } else { WATCH_NS };
        std::thread::sleep(Duration::from_nanos(until_ns.saturating_sub(now_ns).min(step_ns)));
    }
    let now_ns = shared.clock.now_ns();
    let (before, after) = (before?, after.or_else(|| read_cpu().map(|cpu| (cpu, now_ns)))?);
    Some((after.0.since(&before.0), (after.1 - before.1) as f64 / 1e9))
}

/// Asks a node for the map of the cluster: by `CLUSTER SLOTS`, which all know, or else by `CLUSTER SHARDS`.
pub fn ask_map(endpoint: &Endpoint, greeting: &Greeting, timeout: Duration) -> Result<SlotMap, String> {
    let mut control = Control::connect(endpoint, greeting, timeout)?;
    let host = endpoint.host().unwrap_or("127.0.0.1").to_string();
    match control.call(&[b"CLUSTER", b"SLOTS"])? {
        Value::Error(_) => match control.call(&[b"CLUSTER", b"SHARDS"])? {
            Value::Error(text) => Err(format!("{endpoint} tells no map of a cluster: {text}")),
            shards => SlotMap::of_shards(&shards, &host),
        },
        slots => SlotMap::of_slots(&slots, &host),
    }
}

/// Lets this process have as many connections as it needs.
fn raise_descriptors(connections: u64) -> Result<(), String> {
    let needed = connections + DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = limit.maximum.map_or(needed, |maximum| needed.min(maximum));
        let wanted = Rlimit { current: Some(raised), maximum: limit.maximum };
        if raised < needed || setrlimit(Resource::Nofile, wanted).is_err() {
            return Err(format!("{connections} connections need {needed} file descriptors: raise `ulimit -n`"));
        }
    }
    Ok(())
}
