//! What all cores see: counters that must be one, logs that only slow commands touch, and requests to the whole
//! server (shut down, pause). Everything here is off the hot path, or one relaxed load on it.

mod budget;
mod gate;
mod links;
pub mod persistence;
pub mod scripts;
mod steering;

pub use budget::{Budget, Crowd};
pub use links::Links;
pub use scripts::Scripts;
pub use steering::Steering;

use crate::aof::log::Log;
use crate::command::latency::LatencyMonitor;
use crate::command::slowlog::SlowLog;
use crate::config::{Config, Machine, NoMachine, Supervised};
use crate::pubsub::Pubsub;
use persistence::Persistence;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// State of the whole server.
pub struct Shared {
    /// 40 hexadecimal digits, new at every start.
    pub run_id: String,
    /// When the server started, Unix milliseconds.
    pub started_ms: u64,
    /// Cores (and shards).
    pub cores: usize,
    /// The CPUs the cores are pinned to.
    pub cpus: Vec<usize>,
    /// Who watches over the process.
    pub supervised: Supervised,
    /// The program's own path.
    pub executable: String,
    /// What changes of the configuration ask of the machine; [`NoMachine`] until the runtime sets its own.
    pub machine: Box<dyn Machine>,
    /// Makes every core look at [`Shared::stopping`] at once, asleep or not; does nothing until the runtime sets it.
    pub alarm: Box<dyn Fn() + Send + Sync>,
    config: Mutex<Arc<Config>>,
    next_client: AtomicU64,
    /// Clients connected now, over all cores: what `maxclients` bounds.
    pub clients: AtomicUsize,
    /// Clients per core, for handing out new ones evenly.
    pub clients_of_core: Vec<AtomicUsize>,
    /// How often each core has looked after itself: several times a second, unless it is stuck.
    pub beats_of_core: Vec<AtomicU64>,
    /// What each core's histograms of latencies take, in bytes: it does not count against `maxmemory`.
    latency_bytes_of_core: Vec<AtomicU64>,
    /// Clients in `MONITOR`, over all cores.
    pub monitors: AtomicUsize,
    /// `CLIENT PAUSE`: until when (Unix milliseconds; 0: not paused) …
    pub pause_until_ms: AtomicU64,
    /// … and whether for all commands (2) or writes only (1).
    pub pause_mode: AtomicU8,
    /// Set once: every core ends its loop.
    pub stopping: AtomicBool,
    /// Cores that serve no more.
    pub ended: AtomicUsize,
    /// Exit code of the process once stopped.
    pub exit_code: AtomicU8,
    /// Commands that took long.
    pub slow_log: SlowLog,
    /// Spikes of latency.
    pub latency: LatencyMonitor,
    /// What clients take, by core; counted only while `maxmemory-clients` bounds it.
    pub crowds: Box<[Crowd]>,
    /// Who gives when memory is short.
    pub budget: Budget,
    /// Connections that move between cores.
    pub steering: Steering,
    /// Subscribers of all cores.
    pub pubsub: Arc<Pubsub>,
    /// The append-only file.
    pub log: Arc<Log>,
    /// Saving and loading.
    pub persistence: Persistence,
    /// Scripts and functions of all cores.
    pub scripts: Scripts,
    /// Keys that clients who wait would fill out of others.
    pub links: Links,
    /// `DEBUG SET-ACTIVE-EXPIRE 0` clears it.
    pub active_expire: AtomicBool,
}

impl Shared {
    /// The state of a server that starts now.
    pub fn new(config: Config, cpus: Vec<usize>, now_ms: u64, run_id: String) -> Shared {
        let cores = cpus.len();
        Shared {
            run_id,
            started_ms: now_ms,
            cores,
            supervised: Supervised::No,
            cpus,
            executable: std::env::current_exe().map_or_else(|_| String::new(), |path| path.display().to_string()),
            machine: Box::new(NoMachine),
            alarm: Box::new(|| {}),
            config: Mutex::new(Arc::new(config)),
            next_client: AtomicU64::new(1),
            clients: AtomicUsize::new(0),
            clients_of_core: (0..cores).map(|_| AtomicUsize::new(0)).collect(),
            beats_of_core: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            latency_bytes_of_core: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            monitors: AtomicUsize::new(0),
            pause_until_ms: AtomicU64::new(0),
            pause_mode: AtomicU8::new(0),
            stopping: AtomicBool::new(false),
            ended: AtomicUsize::new(0),
            exit_code: AtomicU8::new(0),
            slow_log: SlowLog::default(),
            latency: LatencyMonitor::default(),
            crowds: (0..cores).map(|_| Crowd::default()).collect(),
            budget: Budget::new(cores),
            steering: Steering::new(cores),
            pubsub: Arc::new(Pubsub::new(cores)),
            log: Arc::new(Log::new(cores, now_ms as u32 ^ std::process::id())),
            persistence: Persistence::new(cores, now_ms),
            scripts: Scripts::default(),
            links: Links::default(),
            active_expire: AtomicBool::new(true),
        }
    }

    /// The newest configuration.
    pub fn config(&self) -> Arc<Config> {
        self.config.lock().expect("no holder of this lock panics").clone()
    }

    /// Replaces the configuration by what `change` makes of the newest one.
    ///
    /// # Errors
    /// Those of `change`; then nothing is replaced.
    pub fn change_config<E>(&self, change: impl FnOnce(&Config) -> Result<Config, E>) -> Result<(), E> {
        let mut config = self.config.lock().expect("no holder of this lock panics");
        *config = Arc::new(change(&config)?);
        Ok(())
    }

    /// Counts a client in, unless so many are connected already. [`Shared::clients`] is counted down when it leaves.
    pub fn admit_client(&self, clients_max: usize) -> bool {
        let one_more = |clients| (clients < clients_max).then_some(clients + 1);
        self.clients.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// A core's histograms take so many bytes now. To be told before anybody learns that it forgot some: until then, as
    /// much of what is in use would not count.
    pub fn note_latencies(&self, core: usize, bytes: usize) {
        self.latency_bytes_of_core[core].store(bytes as u64, Ordering::Relaxed);
    }

    /// What is in memory and does not count against `maxmemory`, in bytes: what a snapshot under way holds, for which
    /// no key has to go, as in Redis, where a child has it; what the log has yet to write, which leaves with the next
    /// write, and grows by every key that goes; histograms of latencies, which grow with what is measured.
    pub fn uncounted_bytes(&self) -> u64 {
        let latencies: u64 = self.latency_bytes_of_core.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum();
        let snapshot = self.persistence.uncounted_bytes(self.latency_bytes_of_core.len());
        snapshot + self.log.buffer_bytes() + latencies
    }

    /// A new client's id.
    pub fn next_client(&self) -> u64 {
        self.next_client.fetch_add(1, Ordering::Relaxed)
    }

    /// What was to be kept could not be: the process' exit code says so.
    pub fn fail_end(&self) {
        let _ = self.exit_code.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Asks every core to end, with the process' exit code.
    pub fn stop(&self, exit_code: u8) {
        self.exit_code.store(exit_code, Ordering::Relaxed);
        self.stopping.store(true, Ordering::Release);
        (self.alarm)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_raises_the_alarm_when_there_is_something_to_see() {
        let mut shared = Shared::new(Config::default(), vec![0], 1, String::new());
        let (send, raised) = std::sync::mpsc::channel();
        shared.alarm = Box::new(move || send.send(()).expect("somebody listens"));
        assert!(raised.try_recv().is_err());
        shared.stop(3);
        assert!(shared.stopping.load(Ordering::Relaxed) && raised.try_recv().is_ok());
        assert_eq!(shared.exit_code.load(Ordering::Relaxed), 3);
    }
}
