//! What all threads of a run share: the plan, which nobody changes, and what they tell each other on the way.

use super::record::histogram;
use crate::arrival::{Process, Rate};
use crate::clock::Clock;
use crate::wire::Greeting;
use crate::wire::cluster::SlotMap;
use crate::wire::endpoint::Endpoint;
use crate::workload::Workload;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How requests follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each place of each connection sends again as soon as it has its reply.
    Closed,
    /// By a schedule, whatever the server does. The rate is that of all threads.
    Open(Process, Rate),
}

/// When the measured time ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    TimeNs(u64),
    Requests(u64),
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub endpoint: Endpoint,
    pub greeting: Greeting,
    /// Where slots are, if the server is to be treated as a cluster.
    pub cluster: Option<SlotMap>,
    /// Of all threads; in a cluster of all nodes too, but every thread has at least one to each node.
    pub connections: usize,
    pub threads: usize,
    /// Requests outstanding on a connection at most.
    pub pipeline: usize,
    pub pace: Pace,
    pub warmup_ns: u64,
    pub extent: Extent,
    /// How long to wait for a connection, a greeting, a reply.
    pub timeout_ns: u64,
    pub workload: Arc<Workload>,
    /// Of the line over time.
    pub interval_ns: u64,
    /// So shortly before a request is due, threads look again and again instead of sleeping.
    pub spin_ns: u64,
    /// CPUs for the threads in turn; empty: any.
    pub cpus: Vec<usize>,
}

/// What threads tell each other and the one that watches them.
pub struct Shared {
    pub clock: Clock,
    stop: AtomicBool,
    failure: Mutex<Option<String>>,
    /// Replies since the begin, those of the warm-up among them.
    pub replies: AtomicU64,
    pub error_replies: AtomicU64,
    /// Latencies since somebody looked.
    recent: Mutex<Histogram<u64>>,
    /// The newest map of the cluster, and how many there were.
    map: Mutex<Option<SlotMap>>,
    map_version: AtomicU64,
    is_map_wanted: AtomicBool,
}

impl Shared {
    pub fn new(clock: Clock) -> Shared {
        Shared {
            clock,
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
            replies: AtomicU64::new(0),
            error_replies: AtomicU64::new(0),
            recent: Mutex::new(histogram()),
            map: Mutex::new(None),
            map_version: AtomicU64::new(0),
            is_map_wanted: AtomicBool::new(false),
        }
    }

    /// Asks all threads to end early.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether they were asked to.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Gives the run up. The first reason is kept.
    pub fn fail(&self, why: String) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(why);
        self.stop();
    }

    /// Why the run was given up.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds latencies that [`Shared::take_recent`] tells; empties `latencies`.
    pub fn add_recent(&self, latencies: &mut Histogram<u64>) {
        if let Ok(mut recent) = self.recent.try_lock() {
            recent.add(&*latencies).expect("same bounds");
            latencies.reset();
        }
    }

    /// Latencies since the last call.
    pub fn take_recent(&self) -> Histogram<u64> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *recent, histogram())
    }

    /// Asks for a new map of the cluster.
    pub fn want_map(&self) {
        self.is_map_wanted.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked since the last call.
    pub fn take_map_wish(&self) -> bool {
        self.is_map_wanted.swap(false, Ordering::Relaxed)
    }

    /// Publishes a new map.
    pub fn set_map(&self, map: SlotMap) {
        *self.map.lock().unwrap_or_else(PoisonError::into_inner) = Some(map);
        self.map_version.fetch_add(1, Ordering::Release);
    }

    /// The newest map, if it is newer than `seen`, which it brings up to date.
    pub fn newer_map(&self, seen: &mut u64) -> Option<SlotMap> {
        let version = self.map_version.load(Ordering::Acquire);
        if version == *seen {
            return None;
        }
        *seen = version;
        self.map.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
