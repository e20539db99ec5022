//! `INFO`: the state of the server as lines of text that people, dashboards and health checks read.
//!
//! Every core reports its numbers; their sums become the lines. The sections and fields are those of Redis 7, in its
//! order, with fields that later versions added; a field that has no meaning here (forks, Lua, replication) has the
//! value that says so. `# Corering` is our own.
//!
//! Beyond Redis, which answers an unknown section with nothing: the name of a field (`INFO evicted_keys`) gets its
//! line.

use super::client::memory_bytes;
use super::lookup::find_by_id;
use super::{Args, Categories, Command, CommandResult, CoreView, Flags, Group, Part, Run, SessionView};
use crate::keyspace::adviser::{Advice, FACTORS};
use crate::keyspace::{DatabaseStats, ExpireLags, KeyspaceStats};
use crate::memory;
use crate::resp::Reply;
use crate::session::{Audience, Mode};
use crate::shared::Shared;
use crate::stats::health::Health;
use crate::stats::{Counters, RatesNow, Snapshot, Wanted};
use crate::sys::process::{self, CpuOf};
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// The version of Redis that clients are told they talk to.
pub const REDIS_VERSION: &str = "7.2.4";

/// What `redis_build_id` says: a number of the version, 16 hexadecimal digits.
pub fn build_id() -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(env!("CARGO_PKG_VERSION").as_bytes()))
}

/// The rows.
pub const COMMANDS: &[Command] =
    &[Command::new("INFO", Run::Everywhere { check: |_, _| Ok(()), part: report, merge: answer })
        .arity(-1)
        .flags(Flags::LOADING.union(Flags::STALE))
        .categories(Categories::DANGEROUS)
        .docs(Group::Server, "1.0.0", "Tells the state of the server in lines of text.")
        .syntax("[section [section ...]]")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])];

/// A section: its title, whether plain `INFO` shows it, what it needs of the counts of commands and errors, whether it
/// needs what the adviser has learnt, its lines. Monitoring asks often, and mostly for the plain `INFO`: cores gather
/// no more than is needed.
struct Section {
    title: &'static str,
    is_default: bool,
    needs: Wanted,
    needs_advice: bool,
    write: fn(&Server<'_>, &mut Lines),
}

const fn section(title: &'static str, write: fn(&Server<'_>, &mut Lines)) -> Section {
    Section { title, is_default: true, needs: Wanted::empty(), needs_advice: false, write }
}

/// In the order of the reply.
const SECTIONS: &[Section] = &[
    section("Server", write_server),
    section("Clients", write_clients),
    section("Memory", write_memory),
    section("Persistence", write_persistence),
    section("Stats", write_stats),
    section("Replication", write_replication),
    section("CPU", write_cpu),
    section("Modules", |_, _| ()),
    Section { is_default: false, needs_advice: true, ..section("Eviction", write_eviction) },
    Section { is_default: false, needs: Wanted::CALLS, ..section("Commandstats", write_commandstats) },
    Section { needs: Wanted::ERRORS, ..section("Errorstats", write_errorstats) },
    Section { is_default: false, needs: Wanted::LATENCIES, ..section("Latencystats", write_latencystats) },
    section("Cluster", |server, lines| lines.put("cluster_enabled", u8::from(server.view.session.is_node))),
    section("Keyspace", write_keyspace),
    section("Corering", write_corering),
];

/// What was asked for.
struct Selection<'a> {
    /// Of [`SECTIONS`], by index.
    sections: [bool; SECTIONS.len()],
    /// Words that are no section: fields, perhaps.
    fields: Vec<&'a [u8]>,
}

impl Selection<'_> {
    fn parse<'a>(args: &'a Args<'a>) -> Selection<'a> {
        let mut selection = Selection { sections: [false; SECTIONS.len()], fields: Vec::new() };
        let default = [&b"default"[..]];
        let words = if args.len() < 2 { &default[..] } else { &args[1..] };
        for word in words {
            let lower = word.to_ascii_lowercase();
            let mut known = false;
            for (selected, section) in selection.sections.iter_mut().zip(SECTIONS) {
                let named = match lower.as_slice() {
                    b"all" | b"everything" => true,
                    b"default" => section.is_default,
                    name => section.title.as_bytes().eq_ignore_ascii_case(name),
                };
                *selected |= named;
                known |= named;
            }
            if !known {
                selection.fields.push(word);
            }
        }
        selection
    }

    fn needs_advice(&self) -> bool {
        !self.fields.is_empty()
            || self.sections.iter().zip(SECTIONS).any(|(selected, section)| *selected && section.needs_advice)
    }

    /// Of the counts of commands and errors.
    fn needs(&self) -> Wanted {
        if !self.fields.is_empty() {
            return Wanted::all();
        }
        let selected = self.sections.iter().zip(SECTIONS).filter(|(selected, _)| **selected);
        selected.map(|(_, section)| section.needs).collect()
    }
}

/// What one core tells, here and to `MEMORY`.
#[derive(Clone)]
pub(super) struct Report {
    counters: Counters,
    health: Health,
    rates: RatesNow,
    /// Of commands and errors.
    counts: Snapshot,
    keyspace: KeyspaceStats,
    expire_lags: ExpireLags,
    stale_share: f64,
    pub databases: Vec<DatabaseStats>,
    /// Of the process, before the report was made.
    pub used_bytes: u64,
    /// Entries and tables.
    keyspace_bytes: usize,
    pub table_bytes: usize,
    dirty: u64,
    pending_free_len: usize,
    clients: usize,
    /// Of those, which watch keys, and the keys watched on this core's shard.
    watching_clients: usize,
    watched_len: usize,
    /// Of those, which have subscriptions.
    subscribed_clients: usize,
    /// Those that wait, and the keys that some wait for.
    blocked_clients: usize,
    blocking_len: usize,
    pub client_bytes: usize,
    /// Of those, bytes of values in replies that are keys' values still, or others' replies.
    pub client_shared_bytes: usize,
    /// Largest input and output of a client.
    input_bytes_max: usize,
    output_bytes_max: usize,
    /// CPU seconds of the core's thread: system, user.
    cpu_seconds: (f64, f64),
    /// What more memory would bring; only where it is asked for, and where there is a limit.
    advice: Option<Advice>,
}

impl Report {
    /// Of the core that is asked, with so much of the counts of commands and errors.
    pub fn of(view: &mut CoreView<'_>, wanted: Wanted) -> Report {
        let used_bytes = memory::used_bytes();
        let keyspace = &view.shard.keyspace;
        let mut report = Report {
            used_bytes,
            counters: view.stats.counters,
            health: view.stats.health,
            rates: view.stats.rates(),
            counts: view.stats.snapshot(wanted),
            keyspace: keyspace.stats,
            expire_lags: keyspace.expire_lags,
            stale_share: keyspace.stale_share(),
            databases: (0..keyspace.databases()).map(|db| keyspace.database_stats(db)).collect(),
            keyspace_bytes: keyspace.memory_bytes(),
            table_bytes: keyspace.table_bytes(),
            dirty: keyspace.dirty,
            pending_free_len: keyspace.pending_free_len(),
            clients: 0,
            watching_clients: 0,
            subscribed_clients: 0,
            watched_len: view.shard.watched_len(),
            blocked_clients: 0,
            blocking_len: view.shard.blocking_len(),
            client_bytes: 0,
            client_shared_bytes: 0,
            input_bytes_max: 0,
            output_bytes_max: 0,
            cpu_seconds: process::cpu_seconds(CpuOf::Thread),
            advice: None,
        };
        view.clients.for_each(&mut |session| {
            report.clients += 1;
            report.subscribed_clients += usize::from(session.mode.contains(Mode::SUBSCRIBED));
            report.blocked_clients += usize::from(session.is_blocked || session.mode.contains(Mode::BLOCKED));
            report.watching_clients += usize::from(!session.watched.is_empty());
            report.client_bytes += memory_bytes(session);
            report.input_bytes_max = report.input_bytes_max.max(session.query_bytes as usize);
            report.output_bytes_max = report.output_bytes_max.max(session.pending_bytes);
        });
        // What keys hold too is theirs; what only replies share is counted with the data.
        report.client_shared_bytes = view.clients.shared_bytes().min(report.client_bytes);
        report
    }
}

fn report(view: &mut CoreView<'_>, args: &Args<'_>) -> Part {
    let selection = Selection::parse(args);
    let mut report = Report::of(view, selection.needs());
    if selection.needs_advice() {
        report.advice = view.shard.keyspace.adviser_mut().map(|adviser| adviser.advice());
    }
    Box::new(report)
}

/// A core's part once more, for who keeps it.
pub fn copied(part: &Part) -> Part {
    Box::new(part.downcast_ref::<Report>().expect("a part of INFO").clone())
}

/// All reports and their sums.
struct Server<'a> {
    view: &'a SessionView<'a>,
    reports: Vec<Report>,
    counters: Counters,
    rates: RatesNow,
    keyspace: KeyspaceStats,
    counts: Snapshot,
}

impl<'a> Server<'a> {
    fn new(view: &'a SessionView<'a>, mut reports: Vec<Report>) -> Server<'a> {
        let mut counters = Counters::default();
        let mut rates = RatesNow::default();
        let mut keyspace = KeyspaceStats::default();
        let mut counts = Snapshot::default();
        for report in &mut reports {
            counters.merge(&report.counters);
            rates.merge(report.rates);
            keyspace.hits += report.keyspace.hits;
            keyspace.misses += report.keyspace.misses;
            keyspace.expired += report.keyspace.expired;
            keyspace.evicted += report.keyspace.evicted;
            keyspace.expired_fields += report.keyspace.expired_fields;
            keyspace.lazily_freed += report.keyspace.lazily_freed;
            counts.merge(std::mem::take(&mut report.counts));
        }
        Server { view, reports, counters, rates, keyspace, counts }
    }

    fn sum(&self, of: impl Fn(&Report) -> usize) -> usize {
        self.reports.iter().map(of).sum()
    }

    fn max(&self, of: impl Fn(&Report) -> usize) -> usize {
        self.reports.iter().map(of).max().unwrap_or(0)
    }

    fn uptime_seconds(&self) -> u64 {
        self.view.now_ms.saturating_sub(self.view.shared.started_ms) / 1000
    }
}

fn answer(view: &mut SessionView<'_>, args: &Args<'_>, parts: Vec<Part>, reply: &mut Reply<'_>) -> CommandResult {
    let selection = Selection::parse(args);
    let reports = parts.into_iter().map(|part| *part.downcast::<Report>().expect("a part of INFO")).collect();
    let server = Server::new(view, reports);
    let mut lines = Lines::default();
    for (_, section) in selection.sections.iter().zip(SECTIONS).filter(|(selected, _)| **selected) {
        if !lines.text.is_empty() {
            lines.text.push_str("\r\n");
        }
        lines.title(section.title);
        (section.write)(&server, &mut lines);
    }
    if !selection.fields.is_empty() {
        let mut all = Lines::default();
        SECTIONS.iter().for_each(|section| (section.write)(&server, &mut all));
        for line in all.text.split_inclusive("\r\n") {
            let name = line.split_once(':').map_or(line, |(name, _)| name);
            if selection.fields.iter().any(|field| field.eq_ignore_ascii_case(name.as_bytes())) {
                lines.text.push_str(line);
            }
        }
    }
    reply.verbatim(b"txt", lines.text);
    Ok(())
}

/// The text of the reply.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn title(&mut self, title: &str) {
        write!(self.text, "# {title}\r\n").expect("a string takes any text");
    }

    fn put(&mut self, name: &str, value: impl Display) {
        write!(self.text, "{name}:{value}\r\n").expect("a string takes any text");
    }

    /// Fields that are always 0 here.
    fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.put(name, 0));
    }

    /// A number of bytes, and again for people.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.put(name, bytes);
        self.put(&format!("{name}_human"), human(bytes));
    }
}

/// A number of bytes in the unit that suits it: `0B`, `894.97K`, `23.54G`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let power = (bytes.ilog2() / 10).min(UNITS.len() as u32);
    format!("{:.2}{}", bytes as f64 / (1u64 << (10 * power)) as f64, UNITS[power as usize - 1])
}

/// One number divided by another, 0 where there is nothing to divide by.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn difference(a: u64, b: u64) -> i64 {
    a as i64 - b as i64
}

fn write_server(server: &Server<'_>, lines: &mut Lines) {
    let SessionView { config, shared, now_ms, .. } = server.view;
    let (system, release, machine) = process::uname();
    #[allow(clippy::disallowed_methods, reason = "server_time_usec is in microseconds, the loop's time is not")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    lines.put("redis_version", REDIS_VERSION);
    lines.put("redis_git_sha1", "00000000");
    lines.put("redis_git_dirty", 0);
    lines.put("redis_build_id", build_id());
    lines.put("server_name", "corering");
    lines.put("corering_version", env!("CARGO_PKG_VERSION"));
    lines.put("redis_mode", server.view.session.server_mode());
    lines.put("os", format_args!("{system} {release} {machine}"));
    lines.put("arch_bits", usize::BITS);
    lines.put("monotonic_clock", "POSIX clock_gettime");
    lines.put("multiplexing_api", "io_uring");
    lines.put("process_id", std::process::id());
    lines.put("process_supervised", shared.supervised);
    lines.put("run_id", &shared.run_id);
    lines.put("tcp_port", super::cluster::own_port(server.view).unwrap_or(config.port));
    lines.put("server_time_usec", now.as_micros());
    lines.put("uptime_in_seconds", server.uptime_seconds());
    lines.put("uptime_in_days", server.uptime_seconds() / (24 * 3600));
    lines.put("hz", config.hz);
    lines.put("configured_hz", config.hz);
    lines.put("lru_clock", (now_ms / 1000) & 0xff_ffff);
    lines.put("executable", &shared.executable);
    lines.put("config_file", config.file.as_deref().unwrap_or_else(|| "".as_ref()).display());
    lines.put("io_threads_active", 0);
    let mut listeners = 0;
    let mut listener = |name: &str, binds: String, rest: String| {
        lines.put(&format!("listener{listeners}"), format_args!("name={name}{binds}{rest}"));
        listeners += 1;
    };
    if config.port != 0 {
        let binds = config.bind.iter().map(|address| format!(",bind={address}")).collect();
        listener("tcp", binds, format!(",port={}", config.port));
    }
    if !config.unixsocket.is_empty() {
        listener("unix", format!(",bind={}", config.unixsocket), String::new());
    }
}

fn write_clients(server: &Server<'_>, lines: &mut Lines) {
    lines.put("connected_clients", server.sum(|report| report.clients));
    lines.put("cluster_connections", 0);
    lines.put("maxclients", server.view.config.maxclients);
    lines.put("client_recent_max_input_buffer", server.max(|report| report.input_bytes_max));
    lines.put("client_recent_max_output_buffer", server.max(|report| report.output_bytes_max));
    lines.put("blocked_clients", server.sum(|report| report.blocked_clients));
    lines.put("total_blocking_keys", server.sum(|report| report.blocking_len));
    lines.put("tracking_clients", server.view.shared.pubsub.tracking.clients_len());
    lines.put("pubsub_clients", server.sum(|report| report.subscribed_clients));
    lines.put("watching_clients", server.sum(|report| report.watching_clients));
    lines.put("total_watched_keys", server.sum(|report| report.watched_len));
    lines.zeros(&["clients_in_timeout_table", "total_blocking_keys_on_nokey"]);
}

/// The server's memory, in bytes: for `INFO memory` and `MEMORY STATS`.
pub(super) struct Memory {
    /// All blocks in use.
    pub used: u64,
    pub peak: u64,
    /// In use before there was any data.
    pub startup: u64,
    /// Held from the system by the allocator, but for what the kernel has taken back since it was freed.
    pub active: u64,
    /// In main memory, of the whole process.
    pub resident: u64,
    /// Tables, clients, scripts, and what does not count against `maxmemory`.
    pub overhead: u64,
}

impl Memory {
    /// `table_bytes` as the cores said, and `client_bytes` without what is shared.
    /// `used` is what was in use before anybody was asked.
    pub fn now(used: u64, table_bytes: u64, client_bytes: u64, shared: &Shared) -> Memory {
        let scripts = &shared.scripts;
        let script_bytes = scripts.vm_bytes() + (scripts.totals().1 + scripts.library_bytes()) as u64;
        let startup = memory::startup_bytes();
        let resident = process::resident_bytes().unwrap_or(0);
        Memory {
            used,
            peak: memory::peak_bytes(),
            startup,
            active: memory::held_bytes().min(resident).max(used),
            resident,
            overhead: startup + table_bytes + client_bytes + script_bytes + shared.uncounted_bytes(),
        }
    }

    /// What is left for keys and values.
    pub fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead)
    }

    /// The dataset's share of all that came after the start, in hundredths.
    pub fn dataset_percent(&self) -> f64 {
        100.0 * ratio(self.dataset(), self.used.saturating_sub(self.startup)).min(1.0)
    }
}

fn write_memory(server: &Server<'_>, lines: &mut Lines) {
    let config = server.view.config;
    let client_bytes = server.sum(|report| report.client_bytes) as u64;
    let shared_bytes = server.sum(|report| report.client_shared_bytes) as u64;
    let used = server.reports.iter().map(|report| report.used_bytes).min().expect("there is a core");
    let table_bytes = server.sum(|report| report.table_bytes) as u64;
    let memory = Memory::now(used, table_bytes, client_bytes - shared_bytes, server.view.shared);
    let Memory { used, peak, startup, active, resident, overhead } = memory;
    lines.bytes("used_memory", used);
    lines.bytes("used_memory_rss", resident);
    lines.bytes("used_memory_peak", peak);
    lines.put("used_memory_peak_perc", format_args!("{:.2}%", 100.0 * ratio(used, peak)));
    lines.put("used_memory_overhead", overhead);
    lines.put("used_memory_startup", startup);
    lines.put("used_memory_dataset", memory.dataset());
    lines.put("used_memory_dataset_perc", format_args!("{:.2}%", memory.dataset_percent()));
    lines.put("allocator_allocated", used);
    lines.put("allocator_active", active);
    lines.put("allocator_resident", resident);
    lines.bytes("total_system_memory", process::memory_bytes());
    // One Lua of each core runs scripts and functions alike.
    let scripts = &server.view.shared.scripts;
    let (cached, script_bytes, _) = scripts.totals();
    let (vm_bytes, libraries) = (scripts.vm_bytes(), scripts.libraries());
    let library_bytes = scripts.library_bytes();
    lines.bytes("used_memory_lua", vm_bytes);
    lines.put("used_memory_vm_eval", vm_bytes);
    lines.put("used_memory_scripts_eval", script_bytes);
    lines.put("number_of_cached_scripts", cached);
    lines.put("number_of_functions", libraries.values().map(|library| library.functions.len()).sum::<usize>());
    lines.put("number_of_libraries", libraries.len());
    lines.put("used_memory_vm_functions", 0);
    lines.bytes("used_memory_vm_total", vm_bytes);
    lines.put("used_memory_functions", library_bytes);
    lines.bytes("used_memory_scripts", (script_bytes + library_bytes) as u64);
    lines.bytes("maxmemory", config.maxmemory.bytes);
    lines.put("maxmemory_policy", config.maxmemory_policy);
    lines.put("allocator_frag_ratio", format_args!("{:.2}", ratio(active, used)));
    lines.put("allocator_frag_bytes", difference(active, used));
    lines.put("allocator_rss_ratio", format_args!("{:.2}", ratio(resident, active)));
    lines.put("allocator_rss_bytes", difference(resident, active));
    lines.put("rss_overhead_ratio", "1.00");
    lines.put("rss_overhead_bytes", 0);
    lines.put("mem_fragmentation_ratio", format_args!("{:.2}", ratio(resident, used)));
    lines.put("mem_fragmentation_bytes", difference(resident, used));
    lines.put("mem_not_counted_for_evict", server.view.shared.uncounted_bytes());
    lines.zeros(&["mem_replication_backlog", "mem_total_replication_buffers", "mem_clients_slaves"]);
    lines.put("mem_clients_normal", client_bytes);
    lines.put("mem_clients_shared", shared_bytes); // Of those: values that keys hold too, or other replies.
    lines.zeros(&["mem_cluster_links"]);
    lines.put("mem_aof_buffer", server.view.shared.log.buffer_bytes());
    lines.zeros(&["mem_overhead_db_hashtable_rehashing"]);
    lines.put("mem_allocator", memory::allocator_name());
    lines.put("active_defrag_running", 0);
    lines.put("lazyfree_pending_objects", server.sum(|report| report.pending_free_len));
    lines.put("lazyfreed_objects", server.keyspace.lazily_freed);
}

fn write_persistence(server: &Server<'_>, lines: &mut Lines) {
    let SessionView { shared, now_ms, .. } = server.view;
    let changes = server.reports.iter().map(|report| report.dirty).sum::<u64>();
    super::persistence::write_info(&mut lines.text, shared, changes, *now_ms);
    let log = &shared.log;
    let rewrites = log.rewrites();
    let status = |is_ok| if is_ok { "ok" } else { "err" };
    // Also while it waits for something else to begin.
    let is_enabled = log.is_on() || server.view.config.appendonly;
    lines.put("aof_enabled", u8::from(is_enabled));
    lines.put("aof_rewrite_in_progress", u8::from(rewrites.is_under_way()));
    lines.put("aof_rewrite_scheduled", u8::from(rewrites.is_scheduled()));
    lines.put("aof_last_rewrite_time_sec", rewrites.last_seconds);
    lines.put(
        "aof_current_rewrite_time_sec",
        rewrites.since_ms.map_or(-1, |since_ms| now_ms.saturating_sub(since_ms) as i64 / 1000),
    );
    lines.put("aof_last_bgrewrite_status", status(rewrites.is_ok));
    lines.put("aof_rewrites", rewrites.count);
    lines.put("aof_rewrites_consecutive_failures", rewrites.failures);
    lines.put("aof_last_write_status", status(log.error().is_none()));
    lines.zeros(&["aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size"]);
    if is_enabled {
        lines.put("aof_current_size", log.bytes());
        lines.put("aof_base_size", log.base_bytes());
        lines.put("aof_pending_rewrite", u8::from(rewrites.is_scheduled()));
        lines.put("aof_buffer_length", log.pending_bytes());
        lines.put("aof_pending_bio_fsync", log.syncing());
        lines.put("aof_delayed_fsync", log.delayed());
    }
    super::persistence::write_loading(&mut lines.text, shared, *now_ms);
}

fn write_stats(server: &Server<'_>, lines: &mut Lines) {
    let Server { counters, rates, keyspace, .. } = server;
    let busy_seconds: f64 = server.reports.iter().map(|report| report.cpu_seconds.0 + report.cpu_seconds.1).sum();
    lines.put("total_connections_received", counters.connections_received);
    lines.put("total_commands_processed", counters.commands_processed);
    lines.put("instantaneous_ops_per_sec", rates.commands_per_second);
    lines.put("total_net_input_bytes", counters.net_input_bytes);
    lines.put("total_net_output_bytes", counters.net_output_bytes);
    lines.zeros(&["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    lines.put("instantaneous_input_kbps", RatesNow::kilobytes(rates.input_bytes_per_second));
    lines.put("instantaneous_output_kbps", RatesNow::kilobytes(rates.output_bytes_per_second));
    lines.put("instantaneous_input_repl_kbps", "0.00");
    lines.put("instantaneous_output_repl_kbps", "0.00");
    lines.put("rejected_connections", counters.rejected_connections);
    lines.zeros(&["sync_full", "sync_partial_ok", "sync_partial_err"]);
    lines.put("expired_subkeys", keyspace.expired_fields);
    lines.put("expired_fields", keyspace.expired_fields);
    lines.put("expired_keys", keyspace.expired);
    let volatile = |report: &Report| report.databases.iter().map(|database| database.volatile_len as f64).sum::<f64>();
    let stale: f64 = server.reports.iter().map(|report| report.stale_share * volatile(report)).sum();
    let all: f64 = server.reports.iter().map(volatile).sum();
    lines.put("expired_stale_perc", format_args!("{:.2}", 100.0 * stale / all.max(1.0)));
    lines.put("expired_time_cap_reached_count", counters.expired_time_cap_reached);
    lines.put("expire_cycle_cpu_milliseconds", counters.expire_nanoseconds / 1_000_000);
    lines.put("evicted_keys", keyspace.evicted);
    lines.put("evicted_clients", counters.evicted_clients);
    let (exceeded_ms, exceeded_now_ms) = server.view.shared.budget.exceeded_ms(server.view.now_ms);
    lines.put("evicted_scripts", server.view.shared.scripts.totals().2);
    lines.put("total_eviction_exceeded_time", exceeded_ms);
    lines.put("current_eviction_exceeded_time", exceeded_now_ms);
    lines.put("keyspace_hits", keyspace.hits.saturating_sub(server.counters.hits_taken_back));
    lines.put("keyspace_misses", keyspace.misses.saturating_sub(server.counters.misses_taken_back));
    let pubsub = &server.view.shared.pubsub;
    lines.put("pubsub_channels", pubsub.names_len(Audience::Channel));
    lines.put("pubsub_patterns", pubsub.names_len(Audience::Pattern));
    lines.put("pubsubshard_channels", pubsub.names_len(Audience::Shard));
    lines.put("tracking_total_keys", pubsub.tracking.keys_len());
    lines.put("tracking_total_items", pubsub.tracking.items_len());
    lines.put("tracking_total_prefixes", pubsub.tracking.prefixes_len());
    lines.zeros(&[
        "latest_fork_usec",
        "total_forks",
        "migrate_cached_sockets",
        "slave_expires_tracked_keys",
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
        "unexpected_error_replies",
    ]);
    lines.put("total_error_replies", counters.error_replies);
    lines.put("dump_payload_sanitizations", 0);
    lines.put("total_reads_processed", counters.reads_processed);
    lines.put("total_writes_processed", counters.writes_processed);
    lines.zeros(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    lines.put("client_query_buffer_limit_disconnections", counters.query_buffer_limit_disconnections);
    lines.put("client_output_buffer_limit_disconnections", counters.output_buffer_limit_disconnections);
    lines.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    lines.put("eventloop_cycles", counters.passes);
    lines.put("eventloop_duration_sum", (busy_seconds * 1e6) as u64);
    lines.put("eventloop_duration_cmd_sum", counters.command_nanoseconds / 1000);
    lines.put("acl_access_denied_auth", counters.denied_authentications);
    lines.zeros(&["acl_access_denied_cmd", "acl_access_denied_key", "acl_access_denied_channel"]);
}

fn write_replication(server: &Server<'_>, lines: &mut Lines) {
    lines.put("role", "master");
    lines.put("connected_slaves", 0);
    lines.put("master_failover_state", "no-failover");
    // Made from the run's id, since it must be as unlikely to occur twice, but not be the same.
    let id = xxhash_rust::xxh3::xxh3_128(server.view.shared.run_id.as_bytes());
    let rest = xxhash_rust::xxh3::xxh3_64(server.view.shared.run_id.as_bytes()) as u32;
    lines.put("master_replid", format_args!("{id:032x}{rest:08x}"));
    lines.put("master_replid2", "0".repeat(40));
    lines.put("master_repl_offset", 0);
    lines.put("second_repl_offset", -1);
    lines.put("repl_backlog_active", 0);
    lines.put("repl_backlog_size", server.view.config.repl_backlog_size);
    lines.zeros(&["repl_backlog_first_byte_offset", "repl_backlog_histlen"]);
}

fn write_cpu(server: &Server<'_>, lines: &mut Lines) {
    let mut put = |suffix: &str, (system, user): (f64, f64)| {
        lines.put(&format!("used_cpu_sys{suffix}"), format_args!("{system:.6}"));
        lines.put(&format!("used_cpu_user{suffix}"), format_args!("{user:.6}"));
    };
    put("", process::cpu_seconds(CpuOf::Process));
    put("_children", process::cpu_seconds(CpuOf::Children));
    // There is no main thread that serves; the first core stands for it.
    put("_main_thread", server.reports[0].cpu_seconds);
}

/// What the adviser has learnt, as ratios in percent.
fn write_eviction(server: &Server<'_>, lines: &mut Lines) {
    let limit = server.view.config.maxmemory.bytes;
    lines.put("maxmemory_policy_in_force", server.view.config.maxmemory_policy);
    let KeyspaceStats { hits, misses, .. } = server.keyspace;
    lines.put("hit_perc", format_args!("{:.2}", 100.0 * ratio(hits, hits + misses)));
    let Some(advice) = Advice::sum(server.reports.iter().map(|report| report.advice.clone())) else { return };
    let advice = advice.anchored(server.view.config.maxmemory_policy.name());
    lines.put("advised_keys", advice.keys);
    lines.put("advised_reads", advice.reads as u64);
    lines.put("advised_sampled_reads", advice.sampled_reads as u64);
    for (policy, hits) in advice.policies() {
        let known = FACTORS.iter().zip(hits).filter_map(|(factor, hits)| Some((factor, advice.ratio(hits)?)));
        let ratios: Vec<String> = known.map(|(factor, ratio)| format!("{factor}={:.2}", 100.0 * ratio)).collect();
        lines.put(&format!("advised_hit_perc_{policy}"), ratios.join(","));
    }
    for (name, wanted) in [("advised_maxmemory_95", 0.95), ("advised_maxmemory_99", 0.99)] {
        lines.put(name, advice.limit_for(wanted, limit).unwrap_or(0));
    }
}

fn write_commandstats(server: &Server<'_>, lines: &mut Lines) {
    server.counts.info_commands(&mut lines.text);
}

fn write_errorstats(server: &Server<'_>, lines: &mut Lines) {
    server.counts.info_errors(&mut lines.text);
}

fn write_latencystats(server: &Server<'_>, lines: &mut Lines) {
    server.counts.info_latencies(&server.view.config.latency_tracking_info_percentiles.0, &mut lines.text);
}

fn write_keyspace(server: &Server<'_>, lines: &mut Lines) {
    let reports = match super::cluster::own_core(server.view) {
        Some(core) => &server.reports[core..=core],
        None => &server.reports[..],
    };
    for db in 0..reports[0].databases.len() {
        let shards = || reports.iter().map(|report| &report.databases[db]);
        let keys: usize = shards().map(|shard| shard.len).sum();
        let expires: usize = shards().map(|shard| shard.volatile_len).sum();
        if keys == 0 {
            continue;
        }
        let ttl_ms: u128 = shards().map(|shard| u128::from(shard.avg_ttl_ms) * shard.volatile_len as u128).sum();
        let avg_ttl_ms = ttl_ms.checked_div(expires as u128).unwrap_or(0);
        lines.put(&format!("db{db}"), format_args!("keys={keys},expires={expires},avg_ttl={avg_ttl_ms}"));
    }
}

fn write_corering(server: &Server<'_>, lines: &mut Lines) {
    let shared = server.view.shared;
    let Counters { commands_processed, commands_forwarded, commands_visiting, wakes, ring_enters, .. } =
        server.counters;
    let cpus: Vec<String> = shared.cpus.iter().map(usize::to_string).collect();
    let hops = commands_forwarded + commands_visiting;
    lines.put("cores", shared.cores);
    lines.put("cpus", cpus.join(","));
    lines.put("monitors", shared.monitors.load(Ordering::Relaxed));
    lines.put("keyspace_bytes", server.sum(|report| report.keyspace_bytes));
    lines.put("commands_local", commands_processed.saturating_sub(hops));
    lines.put("commands_forwarded", commands_forwarded);
    lines.put("commands_visiting", commands_visiting);
    lines.put("scripts_widened", server.counters.scripts_widened);
    lines.put("connections_moved", server.counters.connections_moved);
    lines.put("hop_perc", format_args!("{:.2}%", 100.0 * ratio(hops, commands_processed).min(1.0)));
    let mut lags = Vec::new();
    for (doublings, bound) in (0..ExpireLags::default().len()).map(|doublings| (doublings, 1u64 << doublings)) {
        let keys: u64 = server.reports.iter().map(|report| report.expire_lags[doublings]).sum();
        // The first always: a field without a value is none to who parses them.
        if doublings == 0 || keys != 0 {
            lags.push(format!("{bound}={keys}"));
        }
    }
    lines.put("expire_lag_below_ms", lags.join(","));
    lines.put("wakes", wakes);
    lines.put("ring_enters", ring_enters);
    for (core, report) in server.reports.iter().enumerate() {
        let Counters { commands_processed, commands_forwarded, commands_visiting, .. } = report.counters;
        let keys: usize = report.databases.iter().map(|database| database.len).sum();
        lines.put(
            &format!("core{core}"),
            format_args!(
                "cpu={},clients={},keys={keys},bytes={},commands={commands_processed},ops_per_sec={},\
                 forwarded={commands_forwarded},visiting={commands_visiting},wakes={},ring_enters={},cpu_seconds={:.3}",
                shared.cpus[core],
                report.clients,
                report.keyspace_bytes,
                report.rates.commands_per_second,
                report.counters.wakes,
                report.counters.ring_enters,
                report.cpu_seconds.0 + report.cpu_seconds.1,
            ),
        );
    }
    for (core, report) in server.reports.iter().enumerate() {
        lines.put(&format!("loop{core}"), loop_line(&report.counters, &report.health));
    }
}

/// How a core's loop does. Times are in microseconds; what the last stall was follows if there was one.
fn loop_line(counters: &Counters, health: &Health) -> String {
    let us = |nanoseconds: u64| nanoseconds / 1000;
    let mut line = format!(
        "passes={},busy_usec={},parked_usec={},longest_pass_usec={},run_queue_usec={},stalls={}",
        counters.passes,
        us(health.busy_nanoseconds),
        us(health.parked_nanoseconds),
        us(health.longest_nanoseconds),
        us(health.delayed_nanoseconds),
        health.stalls,
    );
    if let Some(stall) = health.last_stall {
        let command = stall.command.map_or("-".into(), |command| find_by_id(command).full_name());
        write!(
            line,
            ",last_stall_time={},last_stall_usec={},last_stall_command={command},last_stall_run_queue_usec={}",
            stall.unix_ms / 1000,
            us(stall.nanoseconds),
            us(stall.delayed_nanoseconds),
        )
        .expect("a string takes any text");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::connection::double::{NOW_MS, Server as Double};
    use super::*;
    use crate::keyspace::Expiry;

    fn info(server: &mut Double, line: &str) -> String {
        let reply = server.say(COMMANDS, 1, line);
        assert!(reply.starts_with('$'), "{reply}");
        reply.split_once('|').unwrap().1.strip_suffix('|').unwrap().to_string()
    }

    fn titles(text: &str) -> Vec<&str> {
        text.split('|').filter_map(|line| line.strip_prefix("# ")).collect()
    }

    #[track_caller]
    fn field<'a>(text: &'a str, name: &str) -> &'a str {
        let line = text.split('|').find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no field {name} in {text}"))
    }

    #[test]
    fn sections_stand_in_their_order_whatever_was_asked() {
        let mut server = Double::new(2, 1, &[]);
        let default = [
            "Server",
            "Clients",
            "Memory",
            "Persistence",
            "Stats",
            "Replication",
            "CPU",
            "Modules",
            "Errorstats",
            "Cluster",
            "Keyspace",
            "Corering",
        ];
        let all: Vec<&str> = SECTIONS.iter().map(|section| section.title).collect();
        assert_eq!(titles(&info(&mut server, "INFO")), default);
        assert_eq!(titles(&info(&mut server, "INFO default")), default);
        assert_eq!(titles(&info(&mut server, "INFO all")), all);
        assert_eq!(titles(&info(&mut server, "INFO EVERYTHING")), all);
        assert_eq!(titles(&info(&mut server, "INFO keyspace cpu CPU foo")), ["CPU", "Keyspace"]);
        assert_eq!(info(&mut server, "INFO cluster"), "# Cluster|cluster_enabled:0|");
        assert_eq!(info(&mut server, "INFO modules keyspace"), "# Modules||# Keyspace|");
        assert_eq!(info(&mut server, "INFO foo"), "");
    }

    #[test]
    fn every_line_is_a_field_and_every_field_occurs_once() {
        let mut server = Double::new(2, 3, &[("unixsocket", "/tmp/s")]);
        server.stats[1].error("ERR");
        let text = info(&mut server, "INFO everything");
        let mut names = std::collections::BTreeSet::new();
        for line in text.split('|').filter(|line| !line.is_empty() && !line.starts_with("# ")) {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line}"));
            // As in Redis, where there is no file.
            assert_eq!(value.is_empty(), name == "config_file", "{line}");
            assert!(names.insert(name.to_string()), "{name} occurs twice");
        }
    }

    /// What the monitoring agents in the field ask for.
    #[test]
    fn agents_find_their_fields() {
        let mut server = Double::new(2, 3, &[]);
        let text = info(&mut server, "INFO everything");
        for name in "uptime_in_seconds process_id connected_clients blocked_clients maxclients tracking_clients \
            clients_in_timeout_table pubsub_clients watching_clients total_watched_keys total_blocking_keys \
            total_blocking_keys_on_nokey client_recent_max_input_buffer client_recent_max_output_buffer allocator_active \
            allocator_allocated allocator_resident allocator_frag_ratio allocator_frag_bytes allocator_rss_ratio \
            allocator_rss_bytes used_memory used_memory_rss used_memory_peak used_memory_lua used_memory_vm_eval \
            used_memory_scripts_eval used_memory_overhead used_memory_startup used_memory_dataset used_memory_vm_functions \
            used_memory_functions used_memory_scripts number_of_cached_scripts number_of_functions number_of_libraries \
            maxmemory mem_fragmentation_ratio mem_fragmentation_bytes mem_clients_normal mem_clients_slaves \
            mem_cluster_links mem_aof_buffer mem_replication_backlog mem_not_counted_for_evict lazyfree_pending_objects \
            lazyfreed_objects active_defrag_running active_defrag_hits loading async_loading rdb_changes_since_last_save \
            rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status aof_enabled aof_rewrite_in_progress \
            aof_last_bgrewrite_status aof_last_write_status current_eviction_exceeded_time total_eviction_exceeded_time \
            evicted_keys evicted_clients evicted_scripts expired_keys expired_subkeys expired_stale_perc \
            expired_time_cap_reached_count expire_cycle_cpu_milliseconds keyspace_hits keyspace_misses pubsub_channels \
            pubsub_patterns pubsubshard_channels latest_fork_usec tracking_total_keys tracking_total_items \
            tracking_total_prefixes eventloop_cycles eventloop_duration_sum eventloop_duration_cmd_sum \
            instantaneous_ops_per_sec instantaneous_input_kbps total_connections_received total_commands_processed \
            total_net_input_bytes total_net_output_bytes total_reads_processed total_writes_processed \
            total_error_replies rejected_connections unexpected_error_replies used_cpu_sys used_cpu_user \
            used_cpu_sys_children used_cpu_user_children used_cpu_sys_main_thread used_cpu_user_main_thread \
            client_query_buffer_limit_disconnections client_output_buffer_limit_disconnections acl_access_denied_auth \
            acl_access_denied_cmd acl_access_denied_key acl_access_denied_channel connected_slaves repl_backlog_active \
            repl_backlog_size repl_backlog_first_byte_offset repl_backlog_histlen master_repl_offset second_repl_offset \
            sync_full sync_partial_ok sync_partial_err slave_expires_tracked_keys io_threads_active \
            migrate_cached_sockets redis_version redis_mode arch_bits run_id role master_replid tcp_port os"
            .split_whitespace()
        {
            assert!(!field(&text, name).is_empty(), "{name}");
        }
        assert_eq!(field(&text, "master_replid").len(), 40);
        assert_ne!(field(&text, "master_replid"), field(&text, "run_id"));
    }

    #[test]
    fn a_plain_info_gathers_no_latencies() {
        let needs = |words: &[&str]| {
            let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            Selection::parse(&args).needs()
        };
        assert_eq!(needs(&["INFO"]), Wanted::ERRORS);
        assert_eq!(needs(&["INFO", "default", "stats"]), Wanted::ERRORS);
        assert_eq!(needs(&["INFO", "server", "stats"]), Wanted::empty());
        assert_eq!(needs(&["INFO", "commandstats"]), Wanted::CALLS);
        assert_eq!(needs(&["INFO", "latencystats"]), Wanted::LATENCIES);
        assert_eq!(needs(&["INFO", "everything"]), Wanted::all());
        assert_eq!(needs(&["INFO", "evicted_keys"]), Wanted::all());
    }

    #[test]
    fn numbers_are_sums_over_cores() {
        let mut server = Double::new(3, 7, &[("maxclients", "50"), ("maxmemory", "1000")]);
        for (index, shard) in server.shards.iter_mut().enumerate() {
            let count = index as u64 + 1;
            server.stats[index].counters.connections_received = count;
            server.stats[index].counters.commands_processed = 10 * count;
            server.stats[index].counters.commands_forwarded = count;
            server.stats[index].counters.wakes = 100 * count;
            shard.keyspace.stats.hits = count;
            shard.keyspace.expire_lags[3] = [0, 3, 2][index];
            shard.keyspace.begin(NOW_MS, true);
            for key in 0..count {
                let expiry = if key == 0 { Expiry::At(NOW_MS + 1000 * count) } else { Expiry::Clear };
                shard.keyspace.set_string(0, format!("{index}.{key}").as_bytes(), b"value", expiry);
            }
        }
        server.shards[1].keyspace.set_string(5, b"k", b"v", Expiry::Clear);
        let slow = super::super::lookup::lookup_full_name(b"get").unwrap().id;
        server.stats[1].health.note_stall(1_700_000_000_999, 20_000_000, Some((slow, 19_000_000)), 5_000);
        server.stats[2].health.parked_nanoseconds = 7_999;
        server.stats[0].error("WRONGTYPE");
        server.stats[2].error("WRONGTYPE");
        server.session(4).query_bytes = 26;
        server.session(6).pending_bytes = 1000;

        let text = info(&mut server, "INFO everything");
        for (name, value) in [
            ("connected_clients", "7"),
            ("maxclients", "50"),
            ("client_recent_max_input_buffer", "26"),
            ("client_recent_max_output_buffer", "1000"),
            ("total_connections_received", "6"),
            ("total_commands_processed", "60"),
            ("keyspace_hits", "6"),
            ("rdb_changes_since_last_save", "7"),
            ("errorstat_WRONGTYPE", "count=2"),
            ("total_error_replies", "2"),
            ("db0", "keys=6,expires=3,avg_ttl=2000"),
            ("db5", "keys=1,expires=0,avg_ttl=0"),
            ("uptime_in_seconds", "100"),
            ("maxmemory_human", "1000B"),
            ("cores", "3"),
            ("cpus", "0,1,2"),
            ("commands_local", "54"),
            ("commands_forwarded", "6"),
            ("hop_perc", "10.00%"),
            ("wakes", "600"),
            ("expire_lag_below_ms", "1=0,8=5"),
        ] {
            assert_eq!(field(&text, name), value, "{name}");
        }
        let stall =
            "last_stall_time=1700000000,last_stall_usec=20000,last_stall_command=get,last_stall_run_queue_usec=5";
        let healthy = "passes=0,busy_usec=0,parked_usec=7,longest_pass_usec=0,run_queue_usec=0,stalls=";
        assert_eq!(field(&text, "loop1"), format!("{healthy}1,{stall}").replace("parked_usec=7", "parked_usec=0"));
        assert_eq!(field(&text, "loop2"), format!("{healthy}0"));
        assert!(field(&text, "core1").starts_with("cpu=1,clients=3,keys=3,bytes="), "{}", field(&text, "core1"));
        let number = |name| field(&text, name).parse::<u64>().unwrap();
        assert!(number("used_memory") <= number("used_memory_peak"));
        assert!(0 < number("mem_clients_normal") && 0 < number("used_memory_rss"));
        assert_eq!(text.split('|').filter(|line| line.starts_with("db")).count(), 2);
    }

    #[test]
    fn a_field_can_be_asked_for_by_its_name() {
        let mut server = Double::new(2, 1, &[]);
        assert_eq!(info(&mut server, "INFO Evicted_Keys"), "evicted_keys:0|");
        assert_eq!(info(&mut server, "INFO role foo evicted_keys"), "evicted_keys:0|role:master|");
        assert_eq!(info(&mut server, "INFO cluster role"), "# Cluster|cluster_enabled:0|role:master|");
        assert_eq!(info(&mut server, "INFO evicted"), "");
    }

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (916_448, "894.97K"),
            (25_276_502_016, "23.54G"),
            (1 << 50, "1.00P"),
            (u64::MAX, "16384.00P"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
