//! The server: from a configuration to a running thread per core, and to its end.

use super::accept::Listener;
use super::core::{Core, Parts};
use super::machine::ThisMachine;
use super::mailbox::{Parking, connect};
use crate::command::lookup::{self, RenameError};
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::shard::Shard;
use crate::shared::Shared;
use crate::sys::{net, process, ring::Ring};
use crate::{log, memory};
use glommio::{LocalExecutorBuilder, Placement};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// File descriptors that are not for clients: rings, listeners, logs, files. Redis reserves as many.
pub(super) const RESERVED_FILES: u64 = 32;
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

/// Opens a port on every address of `bind`.
fn listen_tcp(config: &Config, port: u16, shared: bool, listeners: &mut Vec<Listener>) -> Result<(), String> {
    for name in &config.bind {
        let (name, required) = match name.strip_prefix('-') {
            Some(name) => (name, false),
            None => (name.as_str(), true),
        };
        let ip: Option<IpAddr> = match name {
            "*" => Some(IpAddr::from([0, 0, 0, 0])),
            "::*" => Some(IpAddr::from([0u16; 8])),
            "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
            name => name.parse().ok(),
        };
        let result = match ip {
            Some(ip) => net::listen_tcp(SocketAddr::new(ip, port), config.tcp_backlog as i32),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "not an IP address")),
        };
        match result {
            Ok(socket) => listeners.push(Listener { socket, shared }),
            Err(error) if !required && ADDRESS_MISSING.contains(&error.raw_os_error().unwrap_or(0)) => {}
            Err(error) => {
                return Err(format!(
                    "Could not create server TCP listening socket {name}:{port}: {error}. \
                     Failed listening on port {port} (TCP), aborting."
                ));
            }
        }
    }
    Ok(())
}

/// Opens the port that all cores share, and the unix socket.
fn listen(config: &Config) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    if config.port != 0 {
        listen_tcp(config, config.port, true, &mut listeners)?;
    }
    let path = &config.unixsocket;
    if !path.is_empty() {
        let mode = (config.unixsocketperm != 0).then_some(config.unixsocketperm);
        let socket = net::listen_unix(Path::new(path), mode, config.tcp_backlog as i32)
            .map_err(|error| format!("Failed opening Unix socket: bind: {path}: {error}"))?;
        listeners.push(Listener { socket, shared: true });
    }
    if listeners.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".into());
    }
    Ok(listeners)
}

/// What an optional address (`-::1`) may fail with: the host lacks the address or the family.
const ADDRESS_MISSING: &[i32] = &[libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT];

/// Raises the limit of open files for `maxclients`, or lowers `maxclients` to what the limit allows, and says so.
fn fit_maxclients(config: &mut Config) {
    let want = config.maxclients as u64 + RESERVED_FILES;
    let have = process::raise_open_files(want);
    if have < want {
        let before = config.maxclients;
        config.maxclients = have.saturating_sub(RESERVED_FILES).max(1) as _;
        tracing::warn!(
            "You requested maxclients of {before} requiring at least {want} max file descriptors. \
             Current maximum open files is {have}. maxclients has been reduced to {} to compensate for low ulimit. \
             If you need higher maxclients increase 'ulimit -n'.",
            config.maxclients
        );
    }
}

/// Says what about the host costs latency or safety.
fn warn_about_host(config: &Config) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if let Ok(somaxconn) = read("/proc/sys/net/core/somaxconn").trim().parse::<i64>()
        && somaxconn < config.tcp_backlog as i64
    {
        tracing::warn!(
            "The TCP backlog setting of {} cannot be enforced because /proc/sys/net/core/somaxconn is set to the lower value of {somaxconn}.",
            config.tcp_backlog
        );
    }
    if read("/sys/kernel/mm/transparent_hugepage/enabled").contains("[always]") {
        tracing::warn!(
            "transparent huge pages are always on: memory grows and page faults take longer; \
             echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        );
    }
    if config.maxmemory.bytes == 0 {
        tracing::warn!("maxmemory is not set: memory may grow until the system kills the server");
    }
}

/// Starts the operator's log where the configuration says.
fn start_log(config: &Config) -> Result<(), String> {
    let file = (!config.logfile.is_empty()).then(|| config.dir.join(&config.logfile));
    let syslog = config.syslog_enabled.then(|| (config.syslog_ident.clone(), config.syslog_facility));
    log::start(log::Options { level: config.loglevel, file, syslog })
        .map_err(|error| format!("Can't open the log file '{}': {error}", config.logfile))
}

/// Hexadecimal digits of a random name for this run of the server.
fn run_id() -> String {
    let mut random = fastrand::Rng::new();
    (0..40).map(|_| char::from_digit(random.u32(0..16), 16).expect("a digit below 16")).collect()
}

/// Runs a server until it is told to stop. Returns the exit code.
///
/// # Errors
/// Why it cannot start, in words for the operator.
pub fn serve(mut config: Config) -> Result<u8, String> {
    lookup::rename(&config.renamed_commands).map_err(|error| match error {
        RenameError::Unknown(name) => format!("No such command in rename-command: '{name}'"),
        RenameError::Taken(name) => format!("Target command name already exists: '{name}'"),
        RenameError::Late => panic!("commands are renamed before anything else"),
    })?;
    start_log(&config)?;
    process::disable_huge_pages();
    let pid = std::process::id();
    tracing::warn!("Corering is starting, version {}, pid={pid}", env!("CARGO_PKG_VERSION"));
    let cpus = choose_cpus(&config)?;
    let cores = cpus.len();
    fit_maxclients(&mut config);
    std::env::set_current_dir(&config.dir)
        .map_err(|error| format!("Can't chdir to '{}': {error}", config.dir.display()))?;
    let mut listeners = listen(&config)?;
    warn_about_host(&config);

    let now_ms =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let port = config.port;
    let bind = config.bind.join(" ");
    let databases = config.databases as usize;
    let mut shared = Shared::new(config, cpus.clone(), now_ms as u64, run_id());
    shared.machine = Box::new(ThisMachine);
    let shared = Arc::new(shared);
    let parking = Parking::new(cores);
    let seed = fastrand::u64(..);
    crate::value::seed_member_hash(fastrand::u64(..));
    let (ready, started) = std::sync::mpsc::channel::<Result<(), String>>();

    let config = shared.config();
    let shard =
        |index: usize| Mutex::new(Shard::new(index, cores, config.clone(), Keyspace::new(databases, seed), seed));
    // The engines live as long as the process.
    let shards: &'static [Mutex<Shard>] = Box::leak((0..cores).map(shard).collect::<Vec<_>>().into_boxed_slice());

    let hasher = shards[0].lock().expect("nobody holds it yet").keyspace.hasher();

    let mut threads = Vec::new();
    for (core, mailbox) in connect(cores, &parking).into_iter().enumerate() {
        let (shared, parking, ready) = (shared.clone(), parking.clone(), ready.clone());
        // The first core accepts for all and hands out evenly: a second server on the port must fail to bind, which
        // SO_REUSEPORT would hide, and one core accepts far more than any client opens.
        let mut listeners = if core == 0 { std::mem::take(&mut listeners) } else { Vec::new() };
        if shared.config().core_ports != 0 {
            let port =
                shared.config().core_ports.checked_add(core as u16).ok_or("core-ports ends beyond port 65535")?;
            listen_tcp(&shared.config(), port, false, &mut listeners)?;
        }
        let cpu = cpus[core];
        let hasher = hasher.clone();
        let thread = LocalExecutorBuilder::new(Placement::Fixed(cpu))
            .name(&format!("core-{core}"))
            .io_memory(GLOMMIO_IO_BYTES)
            .spawn(move || async move {
                let ring = match Ring::new() {
                    Ok(ring) => ring,
                    Err(error) => {
                        let _ = ready.send(Err(format!("core {core}: {error}")));
                        return;
                    }
                };
                parking.announce(core, ring.fd());
                let core = Core::new(Parts { core, mailbox, listeners, shards, hasher, shared, ring });
                let _ = ready.send(Ok(()));
                core.run().await;
            })
            .map_err(|error| {
                format!(
                    "cannot start core {core} on CPU {cpu}: {error}; io_uring may be forbidden here \
                     (kernel.io_uring_disabled, container seccomp) or locked memory too small (ulimit -l)"
                )
            })?;
        threads.push(thread);
    }
    drop(ready);
    for _ in 0..cores {
        started.recv().unwrap_or_else(|_| Err("a core ended before it served".into()))?;
    }
    memory::mark_startup();
    tracing::info!("Server initialized");
    tracing::info!("{cores} cores on CPUs {cpus:?}, one shard each, {databases} databases");
    tracing::info!("listening on {bind} port {port}, up to {} clients, PID: {pid}", shared.config().maxclients);
    tracing::info!("Ready to accept connections");
    super::signals::watch(&shared);
    for thread in threads {
        thread.join().map_err(|error| format!("a core failed: {error}"))?;
    }
    if !shared.config().unixsocket.is_empty() {
        let _ = std::fs::remove_file(&shared.config().unixsocket);
    }
    tracing::info!("Corering is now ready to exit, bye bye...");
    log::flush();
    Ok(shared.exit_code.load(Ordering::Relaxed))
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
