//! One thread of a run: its connections, its share of the schedule, one epoll loop.
//!
//! A pass: send what is due, on connections that are free; write; wait for replies, no longer than until the next
//! request is due; read. Times of sending are taken right before the write, times of replies right after the read.
//!
//! A connection has as many *places* as may be outstanding on it. A free place is a token in its node's queue; in
//! a closed loop a free place is used at once, in an open loop when the schedule says so. Requests that are due while
//! no place is free stay in the schedule, which costs no memory, and are sent with their old planned time. In cluster
//! mode a request's key decides on its node, so requests for a busy node wait in that node's own queue.

use super::book::Book;
use super::connection::{Connection, Pending, Purpose};
use super::plan::{Extent, Pace, Plan, Shared};
use super::record::Record;
use crate::arrival::Schedule;
use crate::wire::cluster::{Redirection, SLOTS, SlotMap, redirection, slot};
use crate::wire::endpoint::Endpoint;
use crate::wire::reply::Kind;
use crate::wire::{append_request, control};
use crate::workload::Requests;
use rustix::event::{Timespec, epoll};
use socket2::Socket;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

/// Requests that are sent before replies are looked at again.
const BURST_MAX: usize = 4096;
/// Requests that wait for busy nodes of a cluster; beyond, the schedule waits.
const QUEUED_MAX: usize = 65_536;
/// Connections that a thread opens at the same time; a listener's backlog is short.
const CONNECTING_MAX: usize = 128;
/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;
/// Events taken at once.
const EVENTS: usize = 1024;
/// How long what was due before the end may still be sent.
const GRACE_NS: u64 = 200_000_000;
/// How often limits are checked and figures published.
const HOUSEKEEPING_NS: u64 = 50_000_000;
/// Pause before a closed connection is opened again: first, and at most.
const RETRY_NS: u64 = 10_000_000;
const RETRY_NS_MAX: u64 = 500_000_000;
/// A server that closes more connections than so many for each that there is, and these, is given up.
const CLOSES_MAX: u64 = 20;
const CLOSES_PER_CONNECTION_MAX: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    Connecting,
    Greeting,
    Ready,
}

/// A connection with its socket.
struct Link {
    connection: Connection,
    socket: Option<Socket>,
    state: State,
    node: usize,
    /// Tells events and tokens of this socket from those of the one before.
    generation: u32,
    greetings_left: usize,
    is_waiting_to_write: bool,
    is_dirty: bool,
    /// When its state changed, or, if it is down, when to try again.
    at_ns: u64,
    pause_ns: u64,
}

struct Token {
    link: usize,
    generation: u32,
    freed_ns: u64,
}

/// A request that waits for a place on its node.
struct Queued {
    pending: Pending,
    is_asking: bool,
}

struct Node {
    name: String,
    endpoint: Endpoint,
    tokens: VecDeque<Token>,
    queue: VecDeque<Queued>,
}

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

    fn connect_all(&mut self, scratch: &mut Scratch) {
        let until_ns = self.now_ns() + self.plan.timeout_ns.saturating_mul(2);
        while !self.shared.is_stopped() && self.links.iter().any(|link| link.state != State::Ready) {
            let now_ns = self.now_ns();
            if until_ns < now_ns {
                let missing = self.links.iter().filter(|link| link.state != State::Ready).count();
                let what = format!(
                    "{missing} of {} connections to {} are not there yet",
                    self.links.len(),
                    self.plan.endpoint
                );
                self.shared.fail(what);
            }
            self.reconnect(now_ns);
            self.check_limits(now_ns);
            self.flush();
            self.wait_and_read(20_000_000, scratch);
        }
        self.last_ready_ns = self.now_ns();
    }

    fn load(&mut self, scratch: &mut Scratch) {
        let mut housekeeping_ns = self.start_ns;
        let mut scheduled_from = None;
        let mut drain_until_ns = u64::MAX;
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
                let patience_ns = if self.shared.is_stopped() { 1_000_000_000 } else { self.plan.timeout_ns };
                drain_until_ns = now_ns.saturating_add(patience_ns);
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

    /// Whether there is a place for a request.
    fn has_place(&self) -> bool {
        if self.map.is_none() {
            return !self.nodes[0].tokens.is_empty();
        }
        self.queued < QUEUED_MAX && (self.schedule.is_some() || 0 < self.places)
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

    /// The moment at which the next request is planned, if that is not later than now.
    fn next_planned_ns(&mut self, now_ns: u64) -> Option<u64> {
        if !self.is_planning {
            return None;
        }
        match &self.schedule {
            None if self.map.is_some() && self.places == 0 => None,
            None => (now_ns < self.book.end_ns).then_some(now_ns),
            Some(schedule) => {
                let planned_ns = self.start_ns + schedule.next_ns();
                (planned_ns <= now_ns && planned_ns < self.book.end_ns).then_some(planned_ns)
            }
        }
    }

    /// The request planned for this moment is made: goes on to the next.
    fn consume(&mut self, planned_ns: u64) {
        if let Some(schedule) = &mut self.schedule {
            schedule.advance();
        } else if self.map.is_some() {
            self.places -= 1;
        }
        if let Some(quota) = &mut self.quota
            && self.book.begin_ns <= planned_ns
        {
            *quota -= 1;
            self.is_planning = 0 < *quota;
        }
    }

    /// Sends what is due where there is a place.
    fn dispatch(&mut self, now_ns: u64) {
        for node in 0..self.nodes.len() {
            while !self.nodes[node].queue.is_empty() {
                let Some(token) = self.take_token(node) else { break };
                let queued = self.nodes[node].queue.pop_front().expect("looked at");
                self.queued -= 1;
                self.assign(token, queued);
            }
        }
        if self.quota == Some(0) {
            self.is_planning = false;
        }
        for _ in 0..BURST_MAX {
            let Some(planned_ns) = self.next_planned_ns(now_ns) else { break };
            if self.map.is_some() {
                if QUEUED_MAX <= self.queued {
                    break;
                }
                self.consume(planned_ns);
                self.dispatch_by_slot(planned_ns, now_ns);
                continue;
            }
            let Some(token) = self.take_token(0) else { break };
            self.consume(planned_ns);
            let link = &mut self.links[token.link];
            let command = self.requests.append(link.connection.out()) as u16;
            let due_ns = if self.schedule.is_some() { planned_ns.max(token.freed_ns) } else { token.freed_ns };
            link.connection.push(Pending {
                purpose: Purpose::Load(command),
                planned_ns,
                due_ns,
                sent_ns: 0,
                bytes: None,
            });
            mark_dirty(link, token.link, &mut self.dirty);
        }
    }

    fn dispatch_by_slot(&mut self, planned_ns: u64, now_ns: u64) {
        self.request.clear();
        let command = self.requests.append(&mut self.request) as u16;
        let key = self.requests.first_key();
        let slot = if key.is_empty() { (now_ns % SLOTS as u64) as u16 } else { slot(key) };
        let map = self.map.as_ref().expect("in cluster mode");
        let node = map.owners[usize::from(slot)].map_or(0, usize::from);
        let bytes = Some(self.request.clone().into_boxed_slice());
        let pending = Pending { purpose: Purpose::Load(command), planned_ns, due_ns: planned_ns, sent_ns: 0, bytes };
        self.send_to(node, Queued { pending, is_asking: false });
    }

    /// Sends a request to a node, or lets it wait there.
    fn send_to(&mut self, node: usize, queued: Queued) {
        let token = if self.nodes[node].queue.is_empty() { self.take_token(node) } else { None };
        match token {
            Some(token) => self.assign(token, queued),
            None => {
                self.nodes[node].queue.push_back(queued);
                self.queued += 1;
            }
        }
    }

    fn assign(&mut self, token: Token, queued: Queued) {
        let Queued { mut pending, is_asking } = queued;
        let link = &mut self.links[token.link];
        if is_asking {
            append_request(&[b"ASKING"], link.connection.out());
            let asking = Pending { purpose: Purpose::Asking, bytes: None, sent_ns: 0, ..pending };
            link.connection.push(asking);
        }
        pending.due_ns = pending.due_ns.max(token.freed_ns);
        link.connection.out().extend_from_slice(pending.bytes.as_deref().expect("kept in cluster mode"));
        link.connection.push(pending);
        mark_dirty(link, token.link, &mut self.dirty);
    }

    fn take_token(&mut self, node: usize) -> Option<Token> {
        while let Some(token) = self.nodes[node].tokens.pop_front() {
            let link = &self.links[token.link];
            if link.generation == token.generation && link.state == State::Ready {
                return Some(token);
            }
        }
        None
    }

    fn flush(&mut self) {
        for at in std::mem::take(&mut self.dirty) {
            self.links[at].is_dirty = false;
            self.write(at);
        }
    }

    fn write(&mut self, at: usize) {
        let now_ns = self.now_ns();
        let link = &mut self.links[at];
        let Some(socket) = &link.socket else { return };
        let mut failed = None;
        loop {
            let book = &mut self.book;
            let bytes = link.connection.poll_transmit(now_ns, |pending| book.note_sent(pending));
            if bytes.is_empty() {
                break;
            }
            match (&mut &*socket).write(bytes) {
                Ok(written) => {
                    book.record.bytes_sent += written as u64;
                    link.connection.handle_written(written);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = failed {
            self.close(at, &control::plain(&error), now_ns);
            return;
        }
        let is_waiting = link.connection.has_output();
        if is_waiting != link.is_waiting_to_write {
            link.is_waiting_to_write = is_waiting;
            let flags = if is_waiting { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            epoll::modify(&self.epoll, socket, event_data(at, link.generation), flags).expect("it was added");
        }
    }

    fn wait_and_read(&mut self, wait_ns: u64, scratch: &mut Scratch) {
        let timeout = Timespec { tv_sec: (wait_ns / 1_000_000_000) as i64, tv_nsec: (wait_ns % 1_000_000_000) as _ };
        let count = match epoll::wait(&self.epoll, &mut scratch.events[..], Some(&timeout)) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => {
                self.shared.fail(format!("epoll: {error}"));
                0
            }
        };
        let woken_ns = self.now_ns();
        for event in &scratch.events[..count] {
            let (flags, data) = (event.flags, event.data.u64());
            let (at, generation) = ((data & 0xffff_ffff) as usize, (data >> 32) as u32);
            if self.links[at].generation != generation || self.links[at].socket.is_none() {
                continue;
            }
            if self.links[at].state == State::Connecting {
                self.greet(at);
                continue;
            }
            if flags.contains(epoll::EventFlags::OUT) {
                self.write(at);
            }
            let readable = epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            if flags.intersects(readable) && self.links[at].generation == generation {
                self.read(at, &mut scratch.input);
            }
        }
        if self.is_loading && 0 < count && self.book.is_measured(woken_ns) {
            self.book.record.busy_ns += self.now_ns() - woken_ns;
        }
    }

    /// The socket says that connecting is over: well or not.
    fn greet(&mut self, at: usize) {
        let now_ns = self.now_ns();
        let link = &mut self.links[at];
        let socket = link.socket.as_ref().expect("looked at");
        let error = socket.take_error().unwrap_or_else(Some);
        if let Some(error) = error {
            self.cannot_connect(at, &error, now_ns);
            return;
        }
        let (bytes, replies) = self.plan.greeting.requests();
        link.connection.out().extend_from_slice(&bytes);
        for _ in 0..replies {
            let pending = Pending { purpose: Purpose::Greeting, planned_ns: 0, due_ns: 0, sent_ns: 0, bytes: None };
            link.connection.push(pending);
        }
        link.greetings_left = replies;
        link.state = State::Greeting;
        link.at_ns = now_ns;
        // Writability was waited for; from now on it is asked for only when a write did not go through.
        link.is_waiting_to_write = true;
        self.write(at);
    }

    fn cannot_connect(&mut self, at: usize, error: &io::Error, now_ns: u64) {
        let is_backlog_full = error.kind() == ErrorKind::WouldBlock;
        if !self.is_loading && !is_backlog_full {
            let name = &self.nodes[self.links[at].node].name;
            self.shared.fail(format!("cannot connect to {name}: {}", control::plain(error)));
        }
        self.put_down(at, now_ns);
    }

    fn put_down(&mut self, at: usize, now_ns: u64) {
        let link = &mut self.links[at];
        link.socket = None;
        link.state = State::Down;
        link.generation = link.generation.wrapping_add(1);
        link.is_waiting_to_write = false;
        link.at_ns = now_ns + link.pause_ns;
        link.pause_ns = (2 * link.pause_ns).min(RETRY_NS_MAX);
    }

    /// A connection ended, by the server or because it is of no use any more.
    fn close(&mut self, at: usize, why: &str, now_ns: u64) {
        let name = self.nodes[self.links[at].node].name.clone();
        if self.links[at].state == State::Greeting && !self.is_loading {
            self.shared.fail(format!("{name} closed a connection before it answered the greeting: {why}"));
        }
        for pending in self.links[at].connection.take_outstanding() {
            self.book.note_lost(&pending);
            if matches!(pending.purpose, Purpose::Load(_)) {
                self.places += 1;
            }
        }
        self.book.record.connections_closed += 1;
        self.closes += 1;
        if CLOSES_PER_CONNECTION_MAX * self.links.len() as u64 + CLOSES_MAX < self.closes {
            self.shared.fail(format!("{name} keeps closing connections, {} times so far: {why}", self.closes));
        }
        self.put_down(at, now_ns);
        if self.map.is_some() {
            self.shared.want_map();
        }
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) {
        let socket = self.links[at].socket.as_ref().expect("looked at");
        let count = match (&mut &*socket).read(buffer) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(error) => return self.close(at, &control::plain(&error), self.now_ns()),
        };
        let now_ns = self.now_ns();
        if count == 0 {
            return self.close(at, "it closed the connection", now_ns);
        }
        self.book.record.bytes_received += count as u64;
        let link = &mut self.links[at];
        let mut input = &buffer[..count];
        let mut freed = 0;
        let mut redirected: Vec<(Pending, Redirection)> = Vec::new();
        let mut failed = None;
        loop {
            let answered = match link.connection.handle_bytes(&mut input) {
                Ok(Some(answered)) => answered,
                Ok(None) => break,
                Err(garbage) => {
                    failed = Some(format!("{} sent what is no reply: {garbage}", self.nodes[link.node].name));
                    break;
                }
            };
            let (pending, reply) = (answered.pending, answered.reply);
            match pending.purpose {
                Purpose::Load(command) => {
                    freed += 1;
                    if reply.kind == Kind::Error
                        && self.map.is_some()
                        && let Some(to) = redirection(reply.text, self.plan.endpoint.host().unwrap_or("127.0.0.1"))
                    {
                        redirected.push((pending, to));
                        continue;
                    }
                    self.book.note_reply(command, &pending, &reply, now_ns);
                    self.places += 1;
                }
                Purpose::Asking => {}
                Purpose::Greeting => {
                    if reply.kind == Kind::Error {
                        let text = String::from_utf8_lossy(reply.text).into_owned();
                        failed = Some(format!("{} refuses the greeting: {text}", self.nodes[link.node].name));
                        break;
                    }
                    link.greetings_left -= 1;
                    if link.greetings_left == 0 {
                        link.state = State::Ready;
                        link.pause_ns = RETRY_NS;
                        self.last_ready_ns = now_ns;
                        freed += self.plan.pipeline;
                    }
                }
            }
        }
        self.book.record.pushes += std::mem::take(&mut link.connection.pushes);
        for _ in 0..freed {
            let token = Token { link: at, generation: link.generation, freed_ns: now_ns };
            self.nodes[link.node].tokens.push_back(token);
        }
        if let Some(why) = failed {
            self.shared.fail(why);
        }
        for (pending, to) in redirected {
            self.redirect(pending, to);
        }
    }

    fn redirect(&mut self, pending: Pending, to: Redirection) {
        self.book.record.redirections += 1;
        let (address, slot) = match &to {
            Redirection::Moved { slot, address } => (address, Some(*slot)),
            Redirection::Ask { address } => (address, None),
        };
        let Some(node) = self.node_of(address) else {
            return self.shared.fail(format!("a redirection to {address} cannot be followed"));
        };
        if let Some(slot) = slot {
            let map = self.map.as_mut().expect("in cluster mode");
            map.owners[usize::from(slot)] = Some(node as u16);
            self.shared.want_map();
        }
        self.send_to(node, Queued { pending, is_asking: slot.is_none() });
    }

    /// The node with this address, which is connected to if it is new.
    fn node_of(&mut self, address: &str) -> Option<usize> {
        let map = self.map.as_mut().expect("in cluster mode");
        let node = usize::from(map.node(address)?);
        if node == self.nodes.len() {
            self.nodes.push(Node::new(address.to_string(), Endpoint::resolve(address).ok()?));
            let per_node = self.links.len().div_ceil(node);
            self.links.extend((0..per_node).map(|_| Link::new(node)));
        }
        Some(node)
    }

    fn reconnect(&mut self, now_ns: u64) {
        let busy = |link: &&Link| matches!(link.state, State::Connecting | State::Greeting);
        let mut room = CONNECTING_MAX.saturating_sub(self.links.iter().filter(busy).count());
        for at in 0..self.links.len() {
            if room == 0 || self.shared.is_stopped() {
                return;
            }
            let link = &mut self.links[at];
            if link.state != State::Down || now_ns < link.at_ns {
                continue;
            }
            room -= 1;
            match self.nodes[link.node].endpoint.connect() {
                Ok(socket) => {
                    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
                    if let Err(error) = epoll::add(&self.epoll, &socket, event_data(at, link.generation), flags) {
                        return self.shared.fail(format!("epoll: {error}"));
                    }
                    link.socket = Some(socket);
                    link.state = State::Connecting;
                    link.at_ns = now_ns;
                }
                Err(error) => self.cannot_connect(at, &error, now_ns),
            }
        }
    }

    /// Gives up what took too long.
    fn check_limits(&mut self, now_ns: u64) {
        let timeout_ns = self.plan.timeout_ns;
        for at in 0..self.links.len() {
            let link = &self.links[at];
            let name = &self.nodes[link.node].name;
            let is_late = |since_ns: u64| since_ns.saturating_add(timeout_ns) < now_ns;
            match link.state {
                State::Down => {}
                State::Connecting | State::Greeting if is_late(link.at_ns) => {
                    let what = if link.state == State::Connecting { "connecting" } else { "its greeting" };
                    if !self.is_loading {
                        let seconds = timeout_ns as f64 / 1e9;
                        self.shared.fail(format!("{name} does not answer {what} within {seconds} s"));
                    }
                    self.links[at].connection.take_outstanding();
                    self.put_down(at, now_ns);
                }
                State::Connecting | State::Greeting => {}
                State::Ready => {
                    if link.connection.oldest_sent_ns().is_some_and(is_late) {
                        if self.book.replies_ever == 0 {
                            let seconds = timeout_ns as f64 / 1e9;
                            self.shared.fail(format!("{name} answers no request within {seconds} s"));
                        }
                        for pending in self.links[at].connection.take_outstanding() {
                            self.book.note_unanswered(&pending, now_ns);
                            if matches!(pending.purpose, Purpose::Load(_)) {
                                self.places += 1;
                            }
                        }
                        self.close(at, "a reply took too long", now_ns);
                    }
                }
            }
        }
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

    /// Takes a new map of the cluster; what waits for nodes that lost its slot goes to their successors.
    fn take_map(&mut self, map: &SlotMap) {
        let nodes: Vec<Option<usize>> = map.nodes.iter().map(|name| self.node_of(name)).collect();
        let owners = map.owners.iter().map(|owner| {
            let node = nodes[usize::from((*owner)?)]?;
            Some(node as u16)
        });
        self.map.as_mut().expect("in cluster mode").owners = owners.collect();
        let waiting: Vec<Queued> = self.nodes.iter_mut().flat_map(|node| node.queue.drain(..)).collect();
        self.queued = 0;
        for queued in waiting {
            let bytes = queued.pending.bytes.as_deref().expect("kept in cluster mode");
            let node = first_key(bytes).and_then(|key| self.map.as_ref()?.owners[usize::from(slot(key))]);
            self.send_to(node.map_or(0, usize::from), queued);
        }
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
                self.book.note_unsent(planned_ns, now_ns);
                schedule.advance();
            }
        }
        for node in &mut self.nodes {
            for queued in node.queue.drain(..) {
                if queued.pending.sent_ns == 0 {
                    self.book.note_unsent(queued.pending.planned_ns, now_ns);
                } else {
                    self.book.note_unanswered(&queued.pending, now_ns);
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

impl Node {
    fn new(name: String, endpoint: Endpoint) -> Node {
        Node { name, endpoint, tokens: VecDeque::new(), queue: VecDeque::new() }
    }
}

impl Link {
    fn new(node: usize) -> Link {
        Link {
            connection: Connection::default(),
            socket: None,
            state: State::Down,
            node,
            generation: 0,
            greetings_left: 0,
            is_waiting_to_write: false,
            is_dirty: false,
            at_ns: 0,
            pause_ns: RETRY_NS,
        }
    }
}

fn mark_dirty(link: &mut Link, at: usize, dirty: &mut Vec<usize>) {
    if !link.is_dirty {
        link.is_dirty = true;
        dirty.push(at);
    }
}

fn event_data(link: usize, generation: u32) -> epoll::EventData {
    epoll::EventData::new_u64(link as u64 | u64::from(generation) << 32)
}

/// The part of `all` that thread `index` of `threads` has.
fn share(all: u64, index: usize, threads: usize) -> u64 {
    let (index, threads) = (index as u64, threads as u64);
    (all + threads - 1 - index) / threads
}

/// The second argument of a request that was kept: good enough to find the node of what waits.
fn first_key(request: &[u8]) -> Option<&[u8]> {
    let mut lines = request.split(|&byte| byte == b'\n');
    let key = lines.nth(4)?;
    key.strip_suffix(b"\r")
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

    #[test]
    fn the_key_of_a_request_is_found() {
        let mut request = Vec::new();
        append_request(&[b"GET", b"a key"], &mut request);
        assert_eq!(first_key(&request), Some(&b"a key"[..]));
        let mut alone = Vec::new();
        append_request(&[b"PING"], &mut alone);
        assert_eq!(first_key(&alone), None);
    }
}
