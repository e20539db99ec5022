//! The server: from a configuration to a running thread per core, and to its end.

use super::admin;
use super::admin::board::Board;
use super::aof_place::LogFiles;
use super::core::{Core, Parts};
use super::host;
use super::listen::Doors;
use super::load::load_at_start;
use super::machine::ThisMachine;
use super::mailbox::connect;
use super::oom::OomScore;
use super::parking::Parking;
use super::supervise::{PidFile, Supervisor};
use crate::command::lookup;
use crate::config::{Config, Supervised, reason};
use crate::keyspace::Keyspace;
use crate::keyspace::lhd::VirtualTime;
use crate::shard::Shard;
use crate::shared::Shared;
use crate::shared::persistence::obstacle;
use crate::sys::background::{self, Forked, Outcome, Starter};
use crate::sys::process;
use crate::sys::ring::{Alarm, Ring};
use crate::{log, memory};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// File descriptors that are not for clients: listeners, logs, files. Redis reserves as many.
const RESERVED_FILES: u64 = 32;
/// Those of a core beyond: its own ring, four that glommio opens per executor, and its doors (`core-ports`).
const RESERVED_FILES_OF_CORE: u64 = 24;
/// The same of the admin port, with the files it reads.
const RESERVED_FILES_OF_ADMIN: u64 = super::admin::THREADS_MAX as u64 + 8;
/// Memory that glommio registers for its own direct I/O, per core. The network does not use it.
const GLOMMIO_IO_BYTES: usize = 512 * 1024;

/// The CPUs the server runs on: `server-cpulist` where given, else those this process may use; one per shard.
///
/// # Errors
/// A list that names no CPU this process may use, or fewer than `shards`… the text says which.
fn choose_cpus(config: &Config) -> Result<Vec<usize>, String> {
    let mut cpus: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    if cpus.is_empty() {
        return Err("cannot tell which CPUs this process may use".into());
    }
    let list = &config.server_cpulist;
    if !list.is_empty() {
        let wanted = parse_cpulist(list)
            .ok_or_else(|| format!("server-cpulist '{list}' is no list of CPUs such as 0,2,4-7 or 0-7:2"))?;
        let allowed: Vec<usize> = wanted.iter().copied().filter(|cpu| cpus.contains(cpu)).collect();
        if allowed.is_empty() {
            return Err(format!("server-cpulist '{list}' names no CPU that this process may use ({cpus:?})"));
        }
        cpus = allowed;
    }
    let shards = if config.shards == 0 { cpus.len() } else { config.shards as usize };
    if crate::route::SHARDS_MAX < shards {
        return Err(format!("shards {shards} is more than {}", crate::route::SHARDS_MAX));
    }
    if cpus.len() < shards {
        tracing::warn!(
            "{shards} shards share {} CPUs: cores that share a CPU take turns, which costs latency",
            cpus.len()
        );
    }
    Ok((0..shards).map(|shard| cpus[shard % cpus.len()]).collect())
}

/// `0,2,4-7`, `0-7:2` (every second), as taskset writes CPU lists.
fn parse_cpulist(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (range, step) = match part.trim().split_once(':') {
            Some((range, step)) => (range, step.parse().ok().filter(|&step| 0 < step)?),
            None => (part.trim(), 1usize),
        };
        let (first, last): (usize, usize) = match range.split_once('-') {
            Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
            None => (range.parse().ok()?, range.parse().ok()?),
        };
        if last < first || 4096 <= last {
            return None;
        }
        cpus.extend((first..=last).step_by(step));
    }
    Some(cpus)
}

/// File descriptors that are not for clients in a server with so many cores.
pub(super) fn files_reserved(config: &Config, cores: usize) -> u64 {
    let of_admin = if config.admin_port == 0 { 0 } else { RESERVED_FILES_OF_ADMIN };
    RESERVED_FILES + RESERVED_FILES_OF_CORE * cores as u64 + of_admin
}

/// Raises the limit of open files for `maxclients`, or lowers `maxclients` to what the limit allows, and says so.
/// Returns the limit.
///
/// # Errors
/// The limit leaves no room for a client.
fn fit_maxclients(config: &mut Config, cores: usize) -> Result<u64, String> {
    let reserved = files_reserved(config, cores);
    let want = config.maxclients as u64 + reserved;
    let have = process::raise_open_files(want);
    if have < want {
        let before = config.maxclients;
        if have <= reserved {
            return Err(format!(
                "Your current 'ulimit -n' of {have} is not enough for the server to start. \
                 Please increase your open file limit to at least {}. Exiting.",
                reserved + 1
            ));
        }
        config.maxclients = (have - reserved) as u32;
        tracing::warn!(
            "You requested maxclients of {before} requiring at least {want} max file descriptors. \
             Current maximum open files is {have}. maxclients has been reduced to {} to compensate for low ulimit. \
             If you need higher maxclients increase 'ulimit -n'.",
            config.maxclients
        );
    }
    Ok(have)
}

/// Starts the operator's log where the configuration says.
fn start_log(config: &Config, file: Option<PathBuf>) -> Result<(), String> {
    let syslog = config.syslog_enabled.then(|| (config.syslog_ident.clone(), config.syslog_facility));
    log::start(log::Options { level: config.loglevel, file, syslog })
        .map_err(|error| format!("Can't open the log file '{}': {}", config.logfile, reason(&error)))
}

/// Hexadecimal digits of a random name for this run of the server.
fn run_id() -> String {
    let mut random = fastrand::Rng::new();
    (0..40).map(|_| char::from_digit(random.u32(0..16), 16).expect("a digit below 16")).collect()
}

/// Runs a server until it is told to stop. Returns the exit code: of the server, or, where it goes to the background,
/// of the process that started it.
///
/// # Errors
/// Why it cannot start, in words for the operator.
pub fn serve(config: Config) -> Result<u8, String> {
    lookup::rename(&config.renamed_commands).map_err(|error| error.to_string())?;
    std::env::set_current_dir(&config.dir)
        .map_err(|error| format!("Can't chdir to '{}': {}", config.dir.display(), reason(&error)))?;
    let supervisor = Arc::new(Supervisor::find(config.supervised, &|name| std::env::var_os(name)));
    if supervisor.kind() == Supervised::Upstart {
        background::stop_until_continued();
    }
    if !config.daemonize || supervisor.kind() != Supervised::No {
        return run(config, supervisor, None);
    }
    match background::fork().map_err(|error| format!("cannot go to the background: {error}"))? {
        Forked::Parent(Outcome::Serves) => Ok(0),
        Forked::Parent(Outcome::Failed(why)) => Err(why),
        Forked::Child(starter) => {
            let mut starter = Some(starter);
            let result = run(config, supervisor, Some(&mut starter));
            if let (Err(why), Some(starter)) = (&result, starter) {
                starter.failed(why);
            }
            result
        }
    }
}

/// What is left in the file system when the process ends, and where clients come in.
pub(super) struct Traces {
    doors: Arc<Doors>,
    pidfile: Option<PidFile>,
}

impl Traces {
    /// Takes them away.
    pub fn remove(&self) {
        self.doors.close();
        if let Some(pidfile) = &self.pidfile {
            pidfile.remove();
        }
    }
}

/// Runs a server in this process. `starter` is taken and told when it serves.
fn run(mut config: Config, supervisor: Arc<Supervisor>, starter: Option<&mut Option<Starter>>) -> Result<u8, String> {
    let log_file = (!config.logfile.is_empty()).then(|| config.dir.join(&config.logfile));
    start_log(&config, log_file.clone())?;
    super::crash::watch(log_file.as_deref());
    host::prepare(&config)?;
    let pid = std::process::id();
    tracing::warn!("Corering is starting, version {}, pid={pid}", env!("CARGO_PKG_VERSION"));
    match &config.file {
        Some(file) => tracing::info!("Configuration loaded from {}", file.display()),
        None => tracing::info!("no configuration file was given: what is not on the command line has its default"),
    }
    supervisor.log();
    supervisor.status("Starting");
    let cpus = choose_cpus(&config)?;
    let cores = cpus.len();
    let files_max = fit_maxclients(&mut config, cores)?;
    let doors = Arc::new(Doors::open(&config, cores)?);
    let admin_doors = admin::open(&config).inspect_err(|_| doors.close())?;
    let board = (!admin_doors.is_empty()).then(|| Arc::new(Board::new(cores)));
    let is_background = starter.is_some();

    let now_ms =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let databases = config.databases as usize;
    let mut shared = Shared::new(config, cpus.clone(), now_ms as u64, run_id());
    shared.supervised = supervisor.kind();
    let oom = OomScore::default();
    if let Err(why) = oom.apply(&shared.config()) {
        tracing::warn!("{why}");
    }
    let log_files = LogFiles::default();
    shared.machine = Box::new(ThisMachine { doors: doors.clone(), cores, oom, log_files: log_files.clone() });
    let alarms = (0..cores).map(|_| Alarm::new().map(Arc::new)).collect::<std::io::Result<Vec<_>>>();
    let alarms = alarms.map_err(|error| format!("cannot make an event descriptor: {error}"))?;
    shared.alarm = Box::new({
        let alarms = alarms.clone();
        move || alarms.iter().for_each(|alarm| alarm.raise())
    });
    let shared = Arc::new(shared);
    log_files.attach(&shared);
    let config = shared.config();
    shared.persistence.set_obstacle(obstacle::LOADING, true);
    let (threads, engines) =
        start_cores(&shared, &doors, &alarms, &log_files, board.as_ref()).inspect_err(|_| doors.close())?;
    memory::mark_startup();
    let pidfile = PidFile::path(&config, is_background).and_then(|path| PidFile::create(&path));
    let traces = Arc::new(Traces { doors, pidfile });
    super::signals::watch(&shared, &traces);
    super::give_back::watch(&shared);
    if let Some(board) = board {
        let started = admin::start(&shared, board, admin_doors);
        started
            .map_err(|error| format!("cannot start a thread for admin-port: {}", reason(&error)))
            .inspect_err(|_| traces.remove())?;
        tracing::info!("metrics and the live page are on {} port {}", config.admin_bind.join(" "), config.admin_port);
    }
    tracing::info!("{cores} cores on CPUs {cpus:?}, one shard each, {databases} databases");
    say_where(&config, cores, files_max);
    tracing::info!("Server initialized");
    load_at_start(&shared, &engines, &log_files).inspect_err(|_| traces.remove())?;
    host::warn(&config);
    if !config.unixsocket.is_empty() {
        tracing::info!("The server is now ready to accept connections at {}", config.unixsocket);
    }
    tracing::info!("Ready to accept connections");
    supervisor.ready();
    supervisor.watch(&shared, &|name| std::env::var_os(name));
    if let Some(starter) = starter.and_then(Option::take) {
        starter.succeeded();
    }
    for thread in threads {
        thread.join().map_err(|error| format!("a core failed: {error}"))?;
    }
    supervisor.stopping();
    traces.remove();
    tracing::warn!("Corering is now ready to exit, bye bye...");
    log::flush();
    Ok(shared.exit_code.load(Ordering::Relaxed))
}

/// Says where clients find the server, and how many: also those that are told that keys are loaded.
fn say_where(config: &Config, cores: usize, files_max: u64) {
    tracing::info!("Running mode=standalone, port={}.", config.port);
    if config.port != 0 {
        let last = config.core_ports.saturating_add(cores as u16 - 1);
        let own = if config.core_ports == 0 {
            String::new()
        } else {
            format!("; each core by itself on {}-{last}", config.core_ports)
        };
        tracing::info!("listening on {} port {}{own}", config.bind.join(" "), config.port);
    }
    let memory = match config.maxmemory.bytes {
        0 => "no limit of memory".to_string(),
        bytes => format!("{bytes} bytes of memory"),
    };
    tracing::info!(
        "up to {} clients, {files_max} open files, {memory}, PID: {}",
        config.maxclients,
        std::process::id()
    );
}

/// The engines of all cores, which live as long as the process.
type Engines = Vec<&'static Mutex<Shard>>;

/// Starts a pinned thread per core; comes back when all of them serve.
fn start_cores(
    shared: &Arc<Shared>,
    doors: &Arc<Doors>,
    alarms: &[Arc<Alarm>],
    log_files: &LogFiles,
    board: Option<&Arc<Board>>,
) -> Result<(Vec<ExecutorJoinHandle<()>>, Engines), String> {
    let config = shared.config();
    let cores = shared.cores;
    let parking = Arc::new(Parking::new(cores));
    let seed = fastrand::u64(..);
    crate::value::seed_member_hash(fastrand::u64(..));
    let (ready, started) = std::sync::mpsc::channel::<Result<(), String>>();
    let databases = config.databases as usize;
    let virtual_time = VirtualTime::default();
    let shard = |index: usize| {
        let mut keyspace = Keyspace::new(databases, seed);
        keyspace.share_time(&virtual_time);
        let pausing = shared.clone();
        keyspace.keeps_expired = Box::new(move |now_ms| now_ms < pausing.pause_until_ms.load(Ordering::Relaxed));
        Mutex::new(Shard::new(index, cores, config.clone(), keyspace, seed, shared.pubsub.clone(), shared.log.clone()))
    };
    // The engines live as long as the process.
    let shards: &'static [Mutex<Shard>] = Box::leak((0..cores).map(shard).collect::<Vec<_>>().into_boxed_slice());
    let hasher = shards[0].lock().keyspace.hasher();
    let mut threads = Vec::new();
    for (core, mailbox) in connect(cores, &parking).into_iter().enumerate() {
        let (shared, parking, ready) = (shared.clone(), parking.clone(), ready.clone());
        let (log_files, board) = (log_files.clone(), board.cloned());
        let (doors, hasher, alarm) = (doors.clone(), hasher.clone(), alarms[core].clone());
        let cpu = shared.cpus[core];
        // Not `Placement::Fixed`: that panics where there is no /sys, as in some containers.
        let thread = LocalExecutorBuilder::new(Placement::Unbound)
            .name(&format!("core-{core}"))
            .io_memory(GLOMMIO_IO_BYTES)
            .spawn(move || async move {
                if let Err(error) = process::pin_thread(&[cpu]) {
                    let _ = ready.send(Err(format!("core {core} cannot run on CPU {cpu}: {error}")));
                    return;
                }
                let mut ring = match Ring::new() {
                    Ok(ring) => ring,
                    Err(error) => {
                        let _ = ready.send(Err(format!("core {core}: {error}")));
                        return;
                    }
                };
                ring.watch(&alarm);
                parking.announce(core, ring.fd());
                let core = Core::new(Parts { core, mailbox, doors, shards, hasher, shared, ring, log_files, board });
                let _ = ready.send(Ok(()));
                core.run().await;
            })
            .map_err(|error| {
                format!(
                    "cannot start core {core}: {error}; io_uring may be forbidden here \
                     (kernel.io_uring_disabled, container seccomp) or locked memory too small (ulimit -l)"
                )
            })?;
        threads.push(thread);
    }
    drop(ready);
    for _ in 0..cores {
        started.recv().unwrap_or_else(|_| Err("a core ended before it served".into()))?;
    }
    Ok((threads, shards.iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::parse_cpulist;

    #[test]
    fn cpu_lists_read_as_taskset_writes_them() {
        assert_eq!(parse_cpulist("0"), Some(vec![0]));
        assert_eq!(parse_cpulist("0,2,4-6"), Some(vec![0, 2, 4, 5, 6]));
        assert_eq!(parse_cpulist("0-7:2"), Some(vec![0, 2, 4, 6]));
        for wrong in ["", "a", "3-1", "1-", "0-7:0", "99999"] {
            assert_eq!(parse_cpulist(wrong), None, "{wrong}");
        }
    }
}
