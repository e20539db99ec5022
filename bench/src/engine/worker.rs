//! One thread of a run: its connections, its share of the schedule, one epoll loop.
//!
//! A pass: send what is due, on connections that are free; write; wait for replies, no longer than until the next
//! request is due; read. Times of sending are taken right before the write, times of replies right after the read.
//!
//! A connection has as many *places* as may be outstanding on it. A free place is a token in its node's queue; in
//! a closed loop a free place is used at once, in an open loop when the schedule says so. Requests that are due while
//! no place is free stay in the schedule, which costs no memory, and are sent with their old planned time. In cluster
//! mode a request's key decides on its node, so requests for a busy node wait in that node's own queue.

mod dispatch;
mod links;

use self::dispatch::Node;
use self::links::{Link, State};
use super::book::Book;
use super::connection::Purpose;
use super::plan::{Extent, Pace, Plan, Shared};
use super::record::Record;
use crate::arrival::Schedule;
use crate::wire::cluster::SlotMap;
use crate::wire::endpoint::Endpoint;
use crate::workload::Requests;
use rustix::event::epoll;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;
/// Events taken at once.
const EVENTS: usize = 1024;
/// How long what was due before the end may still be sent.
const GRACE_NS: u64 = 200_000_000;
/// How long replies are waited for when the run was told to end.
const STOPPED_DRAIN_NS: u64 = 1_000_000_000;
/// How often limits are checked and figures published.
const HOUSEKEEPING_NS: u64 = 50_000_000;

/// Memory of a thread that outlives no pass.
struct Scratch {
    input: Vec<u8>,
    events: Vec<epoll::Event>,
}

/// A thread's part of a run.
pub struct Worker {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    book: Book,
    epoll: OwnedFd,
    links: Vec<Link>,
    nodes: Vec<Node>,
    /// Of a cluster.
    map: Option<SlotMap>,
    map_version: u64,
    requests: Requests,
    schedule: Option<Schedule>,
    start_ns: u64,
    /// Requests that may still be planned within the measured time, if they are counted.
    quota: Option<u64>,
    is_planning: bool,
    /// Free places of a closed loop in cluster mode, where they belong to no connection.
    places: usize,
    queued: usize,
    dirty: Vec<usize>,
    request: Vec<u8>,
    closes: u64,
    last_ready_ns: u64,
    is_loading: bool,
}

impl Worker {
    /// Thread `index`, with its sockets still to be connected.
    pub fn new(plan: Arc<Plan>, shared: Arc<Shared>, index: usize) -> Result<Worker, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
        let own = share(plan.connections as u64, index, plan.threads).max(1) as usize;
        let mut nodes = Vec::new();
        match &plan.cluster {
            None => nodes.push(Node::new(plan.endpoint.to_string(), plan.endpoint.clone())),
            Some(map) => {
                for name in &map.nodes {
                    nodes.push(Node::new(name.clone(), Endpoint::resolve(name)?));
                }
            }
        }
        let per_node = own.div_ceil(nodes.len());
        let links = (0..per_node * nodes.len()).map(|at| Link::new(at % nodes.len())).collect();
        let schedule = match plan.pace {
            Pace::Closed => None,
            Pace::Open(process, rate) => {
                let seed = plan.workload.seed ^ (index as u64).wrapping_mul(0xd134_2543_de82_ef95);
                Some(Schedule::new(process, rate, index, plan.threads, seed))
            }
        };
        let quota = match plan.extent {
            Extent::TimeNs(_) => None,
            Extent::Requests(requests) => Some(share(requests, index, plan.threads)),
        };
        let requests = plan.workload.requests(index, plan.threads);
        Ok(Worker {
            book: Book::new(&plan, 0),
            epoll,
            links,
            nodes,
            map: plan.cluster.clone(),
            map_version: 0,
            requests,
            schedule,
            start_ns: 0,
            quota,
            is_planning: true,
            places: own * plan.pipeline,
            queued: 0,
            dirty: Vec::new(),
            request: Vec::new(),
            closes: 0,
            last_ready_ns: 0,
            is_loading: false,
            plan,
            shared,
        })
    }

    /// Connects, tells `ready`, waits for the moment to begin, loads, and comes back with what it recorded.
    pub fn run(mut self, ready: Sender<()>, begin: Receiver<u64>) -> Record {
        // Timers are late by 50 µs otherwise. Where this is refused, lateness says so.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let none = epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        let mut scratch = Scratch { input: vec![0; READ_BYTES], events: vec![none; EVENTS] };
        self.connect_all(&mut scratch);
        if ready.send(()).is_err() || self.shared.is_stopped() {
            return self.book.record;
        }
        let Ok(start_ns) = begin.recv() else { return self.book.record };
        self.start_ns = start_ns;
        let pushes = std::mem::take(&mut self.book.record.pushes);
        self.book = Book::new(&self.plan, start_ns);
        self.book.record.pushes = pushes;
        self.is_loading = true;
        self.load(&mut scratch);
        self.finish()
    }

    fn load(&mut self, scratch: &mut Scratch) {
        let mut housekeeping_ns = self.start_ns;
        let mut scheduled_from = None;
        let mut drain_until_ns = u64::MAX;
        let mut stopped_at_ns = u64::MAX;
        loop {
            let now_ns = self.now_ns();
            if scheduled_from.is_none() && self.book.begin_ns <= now_ns {
                scheduled_from = Some(run_queue_ns());
            }
            if housekeeping_ns <= now_ns {
                self.keep_house(now_ns);
                housekeeping_ns = now_ns + HOUSEKEEPING_NS;
            }
            if self.shared.is_stopped() && now_ns < self.book.end_ns && self.is_planning {
                self.book.end_ns = now_ns.max(self.book.begin_ns);
            }
            if self.start_ns <= now_ns {
                self.dispatch(now_ns);
            }
            self.flush();
            // What was due before the end is still sent for a moment: a few that were due at once are not left over.
            if self.is_planning && self.book.end_ns <= now_ns {
                let is_grace_over = self.book.end_ns.saturating_add(GRACE_NS) <= now_ns;
                if is_grace_over || (self.queued == 0 && self.next_planned_ns(now_ns).is_none()) {
                    self.stop_planning(now_ns);
                }
            }
            if !self.is_planning && drain_until_ns == u64::MAX {
                if let Some(from) = scheduled_from.flatten() {
                    self.book.record.run_queue_ns = run_queue_ns().unwrap_or(from).saturating_sub(from);
                }
                drain_until_ns = now_ns.saturating_add(self.plan.timeout_ns);
            }
            // Who wants to end, also while replies are waited for, is not kept for as long.
            if !self.is_planning && self.shared.is_stopped() {
                stopped_at_ns = stopped_at_ns.min(now_ns);
                drain_until_ns = drain_until_ns.min(stopped_at_ns.saturating_add(STOPPED_DRAIN_NS));
            }
            let is_over = !self.is_planning && (self.is_idle() || drain_until_ns <= now_ns);
            if is_over || (self.shared.is_stopped() && self.shared.failure().is_some()) {
                break;
            }
            let wait_ns = self.wait_ns(housekeeping_ns);
            let from_ns = now_ns;
            let to_ns = self.now_ns();
            if self.book.is_measured(from_ns) {
                self.book.record.busy_ns += to_ns - from_ns;
            }
            self.wait_and_read(wait_ns, scratch);
        }
    }

    fn is_idle(&self) -> bool {
        self.queued == 0 && self.links.iter().all(|link| link.connection.outstanding() == 0)
    }

    /// Nanoseconds until something is to be done that no socket tells.
    fn wait_ns(&self, housekeeping_ns: u64) -> u64 {
        let now_ns = self.now_ns();
        let mut until_ns = housekeeping_ns;
        if now_ns < self.start_ns {
            until_ns = until_ns.min(self.start_ns);
        } else if self.is_planning {
            let end_ns = self.book.end_ns;
            until_ns = until_ns.min(if now_ns < end_ns { end_ns } else { end_ns + GRACE_NS });
            match &self.schedule {
                None if self.has_place() => return 0,
                Some(schedule) if self.map.is_some() || !self.nodes[0].tokens.is_empty() => {
                    let planned_ns = self.start_ns + schedule.next_ns();
                    if planned_ns < now_ns + self.plan.spin_ns {
                        return 0;
                    }
                    until_ns = until_ns.min(planned_ns);
                }
                _ => {}
            }
        }
        until_ns.saturating_sub(now_ns)
    }

    fn now_ns(&self) -> u64 {
        self.shared.clock.now_ns()
    }

    fn keep_house(&mut self, now_ns: u64) {
        self.check_limits(now_ns);
        self.reconnect(now_ns);
        if self.links.iter().any(|link| link.state == State::Ready) {
            self.last_ready_ns = now_ns;
        } else if self.last_ready_ns.saturating_add(self.plan.timeout_ns) < now_ns {
            self.shared.fail(format!(
                "{} is gone: no connection for {} s",
                self.plan.endpoint,
                self.plan.timeout_ns as f64 / 1e9
            ));
        }
        if self.map.is_some()
            && let Some(map) = self.shared.newer_map(&mut self.map_version)
        {
            self.take_map(&map);
        }
        self.book.publish(&self.shared);
    }

    /// The measured time is over: nothing more is sent, and what was due but had no place is noted.
    fn stop_planning(&mut self, now_ns: u64) {
        self.is_planning = false;
        if let Some(schedule) = &mut self.schedule {
            loop {
                let planned_ns = self.start_ns + schedule.next_ns();
                if self.book.end_ns <= planned_ns {
                    break;
                }
                self.book.note_unsent(self.requests.draw() as u16, planned_ns, now_ns);
                schedule.advance();
            }
        }
        for node in &mut self.nodes {
            for queued in node.queue.drain(..) {
                match queued.pending.purpose {
                    Purpose::Load(command) if queued.pending.sent_ns == 0 => {
                        self.book.note_unsent(command, queued.pending.planned_ns, now_ns);
                    }
                    _ => self.book.note_unanswered(&queued.pending, now_ns),
                }
            }
        }
        self.queued = 0;
    }

    fn finish(mut self) -> Record {
        let now_ns = self.now_ns();
        if self.is_planning {
            self.book.end_ns = self.book.end_ns.min(now_ns.max(self.book.begin_ns));
            self.stop_planning(now_ns);
        }
        for link in &mut self.links {
            for pending in link.connection.take_outstanding() {
                self.book.note_unanswered(&pending, now_ns);
            }
        }
        let end_ns = if self.book.end_ns == u64::MAX { self.book.last_reply_ns } else { self.book.end_ns };
        self.book.record.measured_ns = end_ns.saturating_sub(self.book.begin_ns);
        self.book.publish(&self.shared);
        self.book.record
    }
}

/// The part of `all` that thread `index` of `threads` has.
fn share(all: u64, index: usize, threads: usize) -> u64 {
    let (index, threads) = (index as u64, threads as u64);
    (all + threads - 1 - index) / threads
}

/// Nanoseconds that this thread waited for a CPU so far, if the kernel tells.
fn run_queue_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for all in [0, 1, 7, 100] {
            for threads in [1, 2, 3, 8] {
                assert_eq!((0..threads).map(|index| share(all, index, threads)).sum::<u64>(), all);
            }
        }
    }
}
