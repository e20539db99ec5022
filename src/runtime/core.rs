//! One core's loop. A pass: take everything the ring completed, read every whole command of every connection, execute
//! (prefetching ahead), take what other cores sent, hand them what is theirs, fill one send per connection, and enter
//! the kernel once for all of it.
//!
//! ```text
//!        ┌────────────────────────────── one pass ──────────────────────────────────┐
//!  ring ─▶ events ─▶ plan (parse, look up, route) ─▶ run here ──▶ replies ─▶ sends ─▶ enter ─┐
//!        │  peers ─▶ requests ─▶ run ─▶ replies to them   └▶ requests to peers ─▶ flush      │
//!        └──────────────────────────────────────────────────────────────────────────┘◀┘
//! ```

use super::lend::{Borrowing, Loan};
use super::mailbox::{Control, Mailbox, Message};
use super::pace::Pace;
use super::walk::Walk;
use crate::command::lookup::{self, Row};
use crate::command::{
    Args, Clients, CoreView, Flags, Gather, Keys, Part, Run, SessionView, Spread, key_positions, slowlog,
};
use crate::config::Config;
use crate::connection::Connection;
use crate::keyspace::{KeyHasher, Keyspace};
use crate::resp::{Error, Limits, Protocol, Reply, Span};
use crate::route::locks::Need;
use crate::route::parcel::{ArgSlices, Parcel, ReplyHeader, RequestHeader, flags};
use crate::route::{Place, SlotMap, gather, place};
use crate::session::{Mode, Session};
use crate::shard::{Call, Held, Shard, Waiter, fail, finish};
use crate::shared::Shared;
use crate::stats::Stats;
use crate::sys::net;
use crate::sys::ring::{Buffer, Event, Ring};
use slab::Slab;
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Commands of one connection in one pass; the rest waits for the next, so that one pipeline does not starve others.
const COMMANDS_PER_PASS_MAX: usize = 512;
/// Replies a connection may be owed by other cores before its reading pauses.
const OUTSTANDING_MAX: usize = 4096;
/// Commands whose memory is prefetched before the first of them runs.
const PREFETCH_COMMANDS: usize = 16;
/// Unsent replies at which a client's commands wait until it reads.
const OUTPUT_PAUSE_BYTES: usize = 16 * 1024 * 1024;
/// Unread input at which a client that may not run commands is no longer received from.
const INPUT_PAUSE_BYTES: usize = 32 * 1024 * 1024;
/// How often rates are sampled, and the end of a pause is looked for.
const SAMPLE_MS: u64 = 100;
/// With `dynamic-hz`, clients are looked at more often rather than more than so many at a time.
const CLIENTS_PER_CRON: usize = 200;
/// Clients looked at each time, however few there are.
const CLIENTS_PER_CRON_MIN: usize = 5;
/// The most often that clients are looked at, times a second.
const HZ_MAX: usize = 500;
/// Output buffers kept for reuse, and the largest kept.
const SPARE_OUTPUTS: usize = 256;
const SPARE_OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// A socket that this core accepts on.
pub struct Listener {
    /// The listening socket.
    pub socket: RawFd,
    /// True: connections are shared among all cores; false: they stay here.
    pub shared: bool,
}

/// Where a planned command's bytes are.
#[derive(Clone, Copy)]
enum Source {
    /// In a receive buffer of the ring.
    Buffer(Buffer),
    /// In the connection's own input.
    Input,
}

/// What a planned command is.
#[derive(Clone, Copy)]
enum What {
    /// A row of the table, with the word count it was found by.
    Row(&'static Row),
    /// A container with a word that is none of its subcommands, or none at all.
    UnknownSubcommand(&'static Row),
    /// No row has this name.
    Unknown,
    /// The connection's protocol error.
    ProtocolError,
}

/// A command read from a connection, to be run in this pass.
struct Planned {
    connection: u32,
    source: Source,
    /// Offset of the request in its source.
    base: usize,
    first_span: u32,
    span_count: u32,
    what: What,
    /// The shard of its only key; `None`: not decided by one key.
    place: Place,
    /// Hash of its first key, where it has one and it is here.
    hash: u64,
}

/// A command that waits for several cores.
pub(super) struct Gathering {
    pub(super) connection: u32,
    pub(super) sequence: u32,
    pub(super) row: &'static Row,
    pub(super) args: Arc<Vec<Vec<u8>>>,
    /// Contributions still to come.
    pub(super) missing: usize,
    pub(super) kind: Kind,
    /// When it began, as the clock reads.
    pub(super) started: u64,
}

/// What it waits for.
pub(super) enum Kind {
    /// Entries of several shards.
    Borrowing(Borrowing),
    /// One shard after the other.
    Walk(Walk),
    /// Finished replies of shards.
    Replies { how: Gather, replies: Vec<Option<Vec<u8>>>, key_shards: Vec<u16> },
    /// Contributions of every core.
    Parts(Vec<Option<Part>>),
    /// The reply is there already; every core has to acknowledge first.
    Acknowledged { reply: Vec<u8> },
}

/// Everything of one core.
pub struct Core {
    pub(super) core: usize,
    pub(super) map: SlotMap,
    ring: Ring,
    pub(super) mailbox: Mailbox,
    connections: Slab<Box<Connection>>,
    listeners: Vec<Listener>,
    /// Held while commands run on it, let go in between.
    pub(super) shard: Held,
    /// Counters and latencies of this core.
    pub(super) stats: Stats,
    /// Unix time in milliseconds, read at the beginning of the pass and after slow commands.
    pub(super) now_ms: u64,
    /// Hashes keys as every shard does.
    hasher: KeyHasher,
    /// The engines of all cores, to visit.
    shards: &'static [Mutex<Shard>],
    /// Engines of other cores that this one holds for a window of commands.
    visited: Vec<Option<MutexGuard<'static, Shard>>>,
    shared: Arc<Shared>,
    config: Arc<Config>,
    pub(super) gatherings: Slab<Gathering>,
    /// The keyspace that borrowed entries are put into; empty between uses.
    pub(super) overlay: Option<Box<Keyspace>>,
    /// Borrowers of this core that got what they waited for and have yet to go on.
    pub(super) ready: VecDeque<(u32, Loan)>,
    /// They are going on right now.
    pub(super) going_on: bool,
    planned: Vec<Planned>,
    spans: Vec<Span>,
    request_spans: Vec<Span>,
    used_buffers: Vec<Buffer>,
    /// Connections with input to plan.
    again: Vec<u32>,
    /// Connections with output to send.
    dirty: Vec<u32>,
    /// Connections that planned something in this pass.
    active: Vec<u32>,
    /// Connections to look at for closing.
    closing: Vec<u32>,
    /// Connections waiting for the end of `CLIENT PAUSE`.
    paused: Vec<u32>,
    spare_outputs: Vec<Vec<u8>>,
    pub(super) clock: quanta::Clock,
    /// When rates are sampled next …
    sample_due_ms: u64,
    /// … and timeouts and limits of some clients looked at, from this connection on.
    cron_due_ms: u64,
    cron_next: usize,
    /// When the shard wants to be looked after at the latest.
    shard_due_ms: Option<u64>,
    /// How fast requests come in.
    pace: Pace,
    /// Receives completed in this pass.
    receives: u32,
    /// Sends queued in this pass: completions that are sure to come at once.
    sends: usize,
    /// Commands that take this long are recorded as slow.
    slow_nanoseconds: u64,
}

/// What a core is made of.
pub struct Parts {
    /// Its number.
    pub core: usize,
    /// Its ends of the rings between cores.
    pub mailbox: Mailbox,
    /// The sockets it accepts on.
    pub listeners: Vec<Listener>,
    /// Hashes keys as every shard does.
    pub hasher: KeyHasher,
    /// The engines of all cores.
    pub shards: &'static [Mutex<Shard>],
    /// What all cores see.
    pub shared: Arc<Shared>,
    /// The ring, made on this core's thread.
    pub ring: Ring,
}

pub(super) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

impl Core {
    /// Assembles a core.
    pub fn new(parts: Parts) -> Core {
        let config = parts.shared.config();
        Core {
            core: parts.core,
            map: SlotMap::new(parts.shared.cores),
            ring: parts.ring,
            mailbox: parts.mailbox,
            connections: Slab::new(),
            listeners: parts.listeners,
            shard: Held::new(&parts.shards[parts.core]),
            shards: parts.shards,
            stats: Stats::new(config.latency_tracking),
            now_ms: 0,
            hasher: parts.hasher,
            visited: (0..parts.shards.len()).map(|_| None).collect(),
            shared: parts.shared,
            gatherings: Slab::new(),
            overlay: None,
            ready: VecDeque::new(),
            going_on: false,
            planned: Vec::new(),
            spans: Vec::new(),
            request_spans: Vec::new(),
            used_buffers: Vec::new(),
            again: Vec::new(),
            dirty: Vec::new(),
            active: Vec::new(),
            closing: Vec::new(),
            paused: Vec::new(),
            spare_outputs: Vec::new(),
            clock: quanta::Clock::new(),
            sample_due_ms: 0,
            cron_due_ms: 0,
            cron_next: 0,
            shard_due_ms: None,
            pace: Pace::default(),
            receives: 0,
            sends: 0,
            slow_nanoseconds: super::slow::threshold_nanoseconds(&config),
            config,
        }
    }

    /// Serves until the server stops. The executor's other tasks run between passes when there are any.
    pub async fn run(mut self) {
        for (index, listener) in self.listeners.iter().enumerate() {
            self.ring.accept(listener.socket, index as u32);
        }
        while !self.shared.stopping.load(Ordering::Acquire) {
            self.pass();
            self.rest();
        }
        self.shard.take();
        self.close_all();
    }

    /// One pass over everything that is ready.
    fn pass(&mut self) {
        let now_ms = unix_ms();
        if now_ms < self.now_ms {
            // The clock was set back: nothing waits until it is as late as it was.
            (self.sample_due_ms, self.cron_due_ms, self.shard_due_ms) = (0, 0, Some(0));
        }
        self.now_ms = now_ms;
        self.stats.counters.passes += 1;
        while let Some(event) = self.ring.next_event() {
            match event {
                Event::Accepted { listener, socket, armed } => self.accepted(listener, socket, armed),
                Event::Received { index, data, armed } => self.received(index, data, armed),
                Event::Sent { index, result, bytes } => self.sent(index, result, bytes),
                Event::Woken => {}
            }
        }
        self.read_mail();
        self.plan_again();
        self.run_planned();
        for buffer in self.used_buffers.drain(..) {
            self.ring.give_back(buffer);
        }
        if self.sample_due_ms <= self.now_ms {
            self.sample();
        }
        if self.cron_due_ms <= self.now_ms {
            self.cron();
        }
        if self.shard_due_ms.is_some_and(|due_ms| due_ms <= self.now_ms) {
            self.tend();
        }
        self.let_go();
        self.flush();
        self.close_closing();
    }

    /// Enters the kernel: asleep if nothing is left to do.
    fn rest(&mut self) {
        self.pace.note(std::mem::take(&mut self.receives), self.clock.now());
        let sends = std::mem::take(&mut self.sends);
        let now_ms = self.now_ms;
        let due_ms = self.due_ms();
        let busy = due_ms <= now_ms || !self.again.is_empty() || !self.closing.is_empty();
        if busy || !self.mailbox.park() {
            self.ring.enter(None, 0, 1);
            return;
        }
        let wait = Duration::from_millis(due_ms.saturating_sub(now_ms).max(1));
        self.ring.enter(Some(wait), sends, self.pace.batch());
        self.mailbox.unpark();
    }

    /// When there is something to do although nobody asks.
    fn due_ms(&self) -> u64 {
        self.cron_due_ms.min(self.sample_due_ms).min(self.shard_due_ms.unwrap_or(u64::MAX))
    }

    // Connections

    fn accepted(&mut self, listener: u32, socket: Result<RawFd, i32>, armed: bool) {
        match socket {
            Ok(socket) => {
                let mut home = self.core;
                if self.listeners[listener as usize].shared {
                    let clients = |core: &usize| self.shared.clients_of_core[*core].load(Ordering::Relaxed);
                    home = (0..self.shared.cores).min_by_key(clients).expect("there is a core");
                }
                self.shared.clients_of_core[home].fetch_add(1, Ordering::Relaxed);
                if home == self.core {
                    self.serve(socket);
                } else {
                    self.mailbox.control(home, Control::Serve { socket, listener });
                }
            }
            Err(error) => {
                let error = std::io::Error::from_raw_os_error(error);
                tracing::warn!("cannot accept a connection: {error}");
            }
        }
        if !armed && !self.shared.stopping.load(Ordering::Relaxed) {
            self.ring.accept(self.listeners[listener as usize].socket, listener);
        }
    }

    /// Takes a new client in, or refuses it.
    fn serve(&mut self, socket: RawFd) {
        self.stats.counters.connections_received += 1;
        let refuse = |core: &mut Core, error: &Error| {
            core.stats.counters.rejected_connections += 1;
            core.shared.clients_of_core[core.core].fetch_sub(1, Ordering::Relaxed);
            let mut line = Vec::new();
            Reply::new(&mut line, Protocol::Resp2).error(error);
            net::refuse(socket, &line);
        };
        let ends = net::prepare(socket, self.config.tcp_keepalive);
        if self.config.protected_mode && self.config.requirepass.bytes().is_empty() && !ends.loopback {
            return refuse(self, &Error::PROTECTED_MODE);
        }
        if !self.shared.admit_client(self.config.maxclients as usize) {
            return refuse(self, &Error::MAX_CLIENTS);
        }
        let mut session = Session::new(self.shared.next_client(), self.core, socket, self.now_ms);
        session.peer = ends.peer;
        session.local = ends.local;
        session.mode.set(Mode::UNIX_SOCKET, ends.unix);
        session.mode.set(Mode::UNAUTHENTICATED, !self.config.requirepass.bytes().is_empty());
        let index = self.connections.insert(Box::new(Connection::new(session)));
        self.connections[index].receiving = true;
        self.ring.receive(socket, index as u32);
    }

    fn received(&mut self, index: u32, data: Result<Option<Buffer>, i32>, armed: bool) {
        let connection = &mut *self.connections[index as usize];
        connection.receiving = armed;
        self.receives += 1;
        match data {
            Ok(Some(buffer)) => {
                let bytes = self.ring.bytes(buffer);
                self.stats.counters.net_input_bytes += bytes.len() as u64;
                connection.session.input_bytes += bytes.len() as u64;
                connection.session.active_ms = self.now_ms;
                let unplanned = connection.unplanned_bytes();
                if connection.broken {
                    self.ring.give_back(buffer);
                } else if unplanned == 0 && connection.may_plan() {
                    self.used_buffers.push(buffer);
                    self.plan(index, Source::Buffer(buffer));
                } else {
                    connection.input.extend_from_slice(bytes);
                    self.ring.give_back(buffer);
                    if self.config.client_query_buffer_limit < (unplanned as u64).saturating_add(1) {
                        self.stats.counters.query_buffer_limit_disconnections += 1;
                        let session = &connection.session;
                        tracing::warn!(
                            "closing client {} {}: its query buffer passed the limit",
                            session.id,
                            session.peer
                        );
                        self.close_soon(index);
                        return;
                    }
                    self.plan(index, Source::Input);
                }
                let connection = &mut *self.connections[index as usize];
                if armed && is_stalled(connection) && INPUT_PAUSE_BYTES < connection.unplanned_bytes() {
                    self.ring.cancel_receive(index);
                }
            }
            Ok(None) => {
                connection.receiving = false;
                self.end_of_input(index);
                return;
            }
            // ENOBUFS: all buffers were in use; ECANCELED: reading was paused. Anything else ends the connection.
            Err(libc::ENOBUFS) | Err(libc::ECANCELED) => connection.receiving = false,
            Err(_) => {
                connection.receiving = false;
                self.close_soon(index);
                return;
            }
        }
        if !armed {
            self.receive_if_wanted(index);
        }
    }

    /// Arms receiving again, unless the client has to be slowed down.
    fn receive_if_wanted(&mut self, index: u32) {
        let connection = &mut *self.connections[index as usize];
        if connection.receiving || connection.broken {
            return;
        }
        if is_stalled(connection) && INPUT_PAUSE_BYTES < connection.unplanned_bytes() {
            return;
        }
        connection.receiving = true;
        self.ring.receive(connection.session.fd, index);
    }

    /// The client sent its last byte. What it sent before still runs; then the connection ends.
    fn end_of_input(&mut self, index: u32) {
        let connection = &mut *self.connections[index as usize];
        connection.session.mode |= Mode::INPUT_ENDED;
        self.closing.push(index);
    }

    /// Ends a connection at the end of this pass, whatever is pending.
    fn close_soon(&mut self, index: u32) {
        let connection = &mut *self.connections[index as usize];
        if !connection.broken {
            connection.broken = true;
            net::shutdown(connection.session.fd);
        }
        self.closing.push(index);
    }

    fn sent(&mut self, index: u32, result: Result<usize, i32>, mut bytes: Vec<u8>) {
        let connection = &mut *self.connections[index as usize];
        connection.sending = false;
        connection.session.active_ms = self.now_ms;
        connection.replies.sending_bytes = 0;
        match result {
            Ok(sent) => {
                self.stats.counters.net_output_bytes += sent as u64;
                connection.session.output_bytes += sent as u64;
                if sent < bytes.len() && !connection.broken {
                    bytes.drain(..sent);
                    connection.sending = true;
                    connection.replies.sending_bytes = bytes.len();
                    self.ring.send(connection.session.fd, index, bytes);
                    return;
                }
            }
            Err(_) => self.close_soon(index),
        }
        if bytes.capacity() <= SPARE_OUTPUT_BYTES_MAX && self.spare_outputs.len() < SPARE_OUTPUTS {
            bytes.clear();
            self.spare_outputs.push(bytes);
        }
        let connection = &mut *self.connections[index as usize];
        if !connection.replies.output.is_empty() {
            mark_dirty(&mut self.dirty, &mut connection.dirty, index);
        } else if connection.session.mode.intersects(CLOSING) || connection.broken {
            self.closing.push(index);
        }
        if 0 < connection.unplanned_bytes() && !connection.again {
            connection.again = true;
            self.again.push(index);
        }
    }

    // Reading commands

    fn plan_again(&mut self) {
        let mut again = std::mem::take(&mut self.again);
        for index in again.drain(..) {
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            if 0 < connection.planned {
                self.again.push(index); // What it planned in this pass may change how the rest is read.
                continue;
            }
            connection.again = false;
            if 0 < connection.unplanned_bytes() {
                self.plan(index, Source::Input);
            }
            self.receive_if_wanted(index);
        }
    }

    /// Reads the whole commands at the front of a connection's unplanned bytes.
    fn plan(&mut self, index: u32, source: Source) {
        let connection = &mut **self.connections.get_mut(index as usize).expect("planned connections are open");
        let limits = Limits {
            bulk_bytes_max: self.config.proto_max_bulk_len,
            authenticated: !connection.session.mode.contains(Mode::UNAUTHENTICATED),
        };
        let start = match source {
            Source::Buffer(_) => 0,
            Source::Input => connection.input_start + connection.planned_bytes,
        };
        let mut at = start;
        let mut blocked = !connection.may_plan();
        let mut held_back = None;
        let bytes: &mut [u8] = match source {
            Source::Buffer(buffer) => self.ring.bytes_mut(buffer),
            Source::Input => &mut connection.input,
        };
        let end = bytes.len();
        while at < end && !blocked {
            if COMMANDS_PER_PASS_MAX <= connection.planned {
                break;
            }
            if OUTSTANDING_MAX <= connection.replies.outstanding() || OUTPUT_PAUSE_BYTES <= connection.replies.bytes() {
                blocked = true; // Looked at again when replies went.
                break;
            }
            let consumed = match connection.parser.parse(&mut bytes[at..], &limits, &mut self.request_spans) {
                Ok(None) => {
                    blocked = true; // Incomplete: wait for more bytes.
                    break;
                }
                Ok(Some(consumed)) => consumed,
                Err(error) => {
                    connection.protocol_error = Some(error);
                    self.planned.push(Planned {
                        connection: index,
                        source,
                        base: at,
                        first_span: 0,
                        span_count: 0,
                        what: What::ProtocolError,
                        place: Place::Anywhere,
                        hash: 0,
                    });
                    connection.planned += 1;
                    at = end;
                    blocked = true;
                    break;
                }
            };
            if self.request_spans.is_empty() {
                at += consumed;
                continue;
            }
            let request = &bytes[at..at + consumed];
            let what = match lookup::lookup(self.request_spans[0].of(request)) {
                None => What::Unknown,
                Some(row) if !row.subcommands.is_empty() => match self.request_spans.get(1) {
                    None => What::Row(row),
                    Some(word) => match lookup::lookup_sub(row, word.of(request)) {
                        Some(row) => What::Row(row),
                        None => What::UnknownSubcommand(row),
                    },
                },
                Some(row) => What::Row(row),
            };
            let mut planned = Planned {
                connection: index,
                source,
                base: at,
                first_span: self.spans.len() as u32,
                span_count: self.request_spans.len() as u32,
                what,
                place: Place::Anywhere,
                hash: 0,
            };
            if let What::Row(row) = what {
                if self.shared.pause_mode.load(Ordering::Relaxed) != 0 && is_paused(&self.shared, row, self.now_ms) {
                    connection.paused = true;
                    self.paused.push(index);
                    // It is read again when the pause ends. An inline request was decoded in place, so that its bytes
                    // mean something else now: it waits in the other form.
                    held_back = Some((consumed, encode_request(&self.request_spans, request)));
                    break;
                }
                if row.accepts(self.request_spans.len()) {
                    match row.command.keys {
                        Keys::Range { first: 1, last: 1, .. } => {
                            let key = self.request_spans[1].of(request);
                            let shard = self.map.shard_of(key);
                            planned.place = Place::One(shard);
                            planned.hash = self.hasher.hash(key);
                        }
                        // Those that ask all cores, and those that may change how requests are read.
                        Keys::None => {
                            blocked = match row.run {
                                Run::Session(_) => row.flags.contains(Flags::ADMIN),
                                Run::Container => false,
                                Run::Keyspace(_) => 1 < self.map.shards(),
                                Run::Everywhere { .. } => true,
                            };
                        }
                        _ => {
                            let args: ArgSlices<'_> = self.request_spans.iter().map(|span| span.of(request)).collect();
                            planned.place = place(self.map, row.command, &args);
                            // Later commands of this client may not overtake one that several cores work on.
                            blocked = planned.place == Place::Several;
                        }
                    }
                }
            }
            self.spans.append(&mut self.request_spans);
            self.planned.push(planned);
            connection.planned += 1;
            at += consumed;
            // The command may be an AUTH, after which other limits hold for what follows.
            blocked |= !limits.authenticated;
            connection.planned_last = blocked;
        }
        match source {
            Source::Buffer(buffer) => {
                let mut rest = &self.ring.bytes(buffer)[at..];
                if let Some((consumed, encoded)) = held_back {
                    connection.input.extend_from_slice(&encoded);
                    rest = &rest[consumed..];
                }
                connection.input.extend_from_slice(rest);
            }
            Source::Input => {
                connection.planned_bytes += at - start;
                if let Some((consumed, encoded)) = held_back {
                    connection.input.splice(at..at + consumed, encoded);
                }
            }
        }
        if 0 < connection.planned {
            self.active.push(index);
        }
        // Whole commands may be left: look again after this pass.
        if at < end && !connection.again && (!blocked || connection.planned != 0) && connection.protocol_error.is_none()
        {
            connection.again = true;
            self.again.push(index);
        }
    }

    // Running commands

    fn run_planned(&mut self) {
        if self.planned.is_empty() {
            return;
        }
        let mut planned = std::mem::take(&mut self.planned);
        let mut clock = self.clock.raw();
        let mut window = 0;
        for at in 0..planned.len() {
            if at == window {
                // Buckets of the next window, then entries of this one, whose buckets were asked for before.
                let next = (window + PREFETCH_COMMANDS).min(planned.len());
                let after = (next + PREFETCH_COMMANDS).min(planned.len());
                self.hold(&planned[window..next]);
                if window == 0 {
                    self.prefetch(&planned[..next], Keyspace::prefetch_bucket);
                }
                self.prefetch(&planned[next..after], Keyspace::prefetch_bucket);
                self.prefetch(&planned[window..next], Keyspace::prefetch_entry);
                window = next;
            }
            clock = self.run_one(&planned[at], clock);
        }
        self.visited.iter_mut().for_each(|visited| *visited = None);
        planned.clear();
        self.planned = planned;
        self.spans.clear();
        for index in std::mem::take(&mut self.active) {
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            connection.consume_planned();
            connection.session.active_ms = self.now_ms;
        }
    }

    /// Lets visitors in, between commands. A server with one shard never has any.
    fn let_go(&mut self) {
        if !self.shard.is_held() {
            return;
        }
        self.shard_due_ms = self.shard.next_due_ms();
        if 1 < self.map.shards() {
            let back_ms = self.due_ms();
            self.shard.leave(back_ms);
            self.shard.let_go();
        }
    }

    /// Takes hold of the engines that a window of commands needs: the own one, and those of other cores unless their
    /// owners are at work longer than it takes to send a message. Only ever tries for those, so that nobody waits for
    /// one who waits.
    fn hold(&mut self, window: &[Planned]) {
        if self.map.shards() == 1 {
            return self.shard.take();
        }
        self.visited.iter_mut().for_each(|visited| *visited = None);
        self.shard.let_go();
        self.shard.take();
        for command in window {
            let Place::One(shard) = command.place else { continue };
            if shard == self.core || self.visited[shard].is_some() {
                continue;
            }
            for _ in 0..VISIT_SPINS {
                if let Ok(peer) = self.shards[shard].try_lock() {
                    if peer.locks.is_free() {
                        self.visited[shard] = Some(peer);
                    }
                    break;
                }
                std::hint::spin_loop();
            }
        }
    }

    /// Asks for memory that a window of commands will need, wherever their keys are and this core may look.
    fn prefetch(&self, window: &[Planned], ask: impl Fn(&Keyspace, usize, u64)) {
        for command in window {
            let Place::One(shard) = command.place else { continue };
            if command.hash == 0 {
                continue;
            }
            let db = self.connections[command.connection as usize].session.db;
            if shard == self.core {
                ask(&self.shard.keyspace, db, command.hash);
            } else if let Some(peer) = &self.visited[shard] {
                ask(&peer.keyspace, db, command.hash);
            }
        }
    }

    /// Runs one planned command; `started` and the result are readings of the clock.
    fn run_one(&mut self, planned: &Planned, started: u64) -> u64 {
        let connection =
            &mut **self.connections.get_mut(planned.connection as usize).expect("planned connections are open");
        if connection.broken || connection.session.mode.intersects(Mode::CLOSE_NOW | Mode::CLOSE_AFTER_REPLY) {
            return started;
        }
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let request = &bytes[planned.base..];
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let slices = || -> ArgSlices<'_> { spans.iter().map(|span| span.of(request)).collect() };
        if OUTPUT_PAUSE_BYTES <= connection.replies.bytes() || !connection.held_back.is_empty() {
            if matches!(planned.what, What::ProtocolError) {
                // Its bytes are read again behind the others.
                connection.protocol_error = None;
                let end = match planned.source {
                    Source::Buffer(_) => bytes.len(),
                    Source::Input => connection.input_start + connection.planned_bytes,
                };
                connection.held_back.extend_from_slice(&bytes[planned.base..end]);
            } else {
                connection.held_back.append(&mut encode_request(spans, request));
            }
            return started;
        }

        if !connection.session.mode.is_empty() {
            advance_reply_mode(&mut connection.session);
            connection.replies.discard = discards(connection.session.mode);
        }
        let What::Row(row) = planned.what else {
            if matches!(planned.what, What::Unknown) && is_cross_protocol(slices()[0]) {
                tracing::warn!(
                    "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to \
                     Redis. This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise \
                     your Redis instance. Connection from {} aborted.",
                    connection.session.peer
                );
                connection.replies.output.clear(); // Not a word to them.
                connection.session.mode |= Mode::CLOSE_NOW;
                self.closing.push(planned.connection);
                return self.clock.raw();
            }
            let error = match planned.what {
                What::ProtocolError => {
                    connection.session.mode |= Mode::CLOSE_AFTER_REPLY;
                    self.closing.push(planned.connection);
                    connection.protocol_error.clone().expect("planned together")
                }
                What::UnknownSubcommand(row) => Error::unknown_subcommand(row.name, slices()[1]),
                _ => Error::unknown_command(&slices()),
            };
            connection.replies.write(|out| Reply::new(out, Protocol::Resp2).error(&error));
            self.stats.error(error.prefix());
            mark_dirty(&mut self.dirty, &mut connection.dirty, planned.connection);
            return self.clock.raw();
        };
        if (!connection.session.mode.is_empty() || !row.accepts(spans.len()))
            && let Some(error) = refused(&connection.session, row, spans.len())
        {
            connection.replies.write(|out| Reply::new(out, Protocol::Resp2).error(&error));
            self.stats.rejected(row.id, error.prefix());
            mark_dirty(&mut self.dirty, &mut connection.dirty, planned.connection);
            return self.clock.raw();
        }
        let is_shown = !row.flags.intersects(Flags::SKIP_MONITOR.union(Flags::ADMIN));
        if self.shared.monitors.load(Ordering::Relaxed) != 0 && is_shown {
            let line = super::monitor::line(&connection.session, &slowlog::redacted(row, &slices()));
            feed_monitors(&mut self.mailbox, &mut self.connections, &mut self.dirty, &self.shared, self.core, line);
            return self.run_row(planned, row, started);
        }
        self.run_row(planned, row, started)
    }

    /// Runs a command whose client may run it.
    #[inline]
    fn run_row(&mut self, planned: &Planned, row: &'static Row, started: u64) -> u64 {
        let connection =
            &mut **self.connections.get_mut(planned.connection as usize).expect("planned connections are open");
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let request = &bytes[planned.base..];
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let session = &mut connection.session;
        session.last_command = Some(row.id.index() as u16);
        session.commands += 1;
        match row.command.run {
            Run::Keyspace(_) => {
                let args: ArgSlices<'_> = spans.iter().map(|span| span.of(request)).collect();
                let to = match (planned.place, row.command.spread) {
                    (Place::One(shard), _) => shard,
                    _ if self.map.shards() == 1 => 0,
                    (Place::Anywhere, Spread::Owner) => self.core,
                    _ => {
                        drop(args);
                        return self.spread(planned, row, started);
                    }
                };
                let call = call_of(session);
                if to != self.core {
                    // Only if nothing this client sent before is still on its way there.
                    if let Some(peer) = &mut self.visited[to]
                        && row.is_quick
                        && connection.replies.outstanding() == 0
                    {
                        peer.keyspace.hint(args[1], planned.hash);
                        connection
                            .replies
                            .write(|out| peer.execute(row, call, &args, self.now_ms, &mut self.stats, out));
                        if peer.wants_owner() {
                            self.mailbox.control(to, Control::Sooner);
                        }
                        mark_dirty(&mut self.dirty, &mut connection.dirty, planned.connection);
                        let ended = self.clock.raw();
                        let nanoseconds = self.clock.delta_as_nanos(started, ended);
                        self.stats.record(row.id, nanoseconds);
                        self.stats.counters.commands_visiting += 1;
                        if self.slow_nanoseconds <= nanoseconds {
                            let kept = || slowlog::kept(row, &args);
                            super::slow::record(
                                &self.shared,
                                &self.config,
                                row,
                                kept,
                                nanoseconds,
                                Some(&connection.session),
                            );
                        }
                        return ended;
                    }
                    // What comes after must not overtake this one.
                    let header = RequestHeader {
                        target: planned.connection,
                        sequence: connection.replies.reserve(),
                        command: row.id.index() as u16,
                        db: call.db as u16,
                        flags: flags_of(call),
                    };
                    self.mailbox.request(to, header, &args);
                    self.stats.counters.commands_forwarded += 1;
                    return self.clock.raw();
                }
                if !self.shard.locks.is_free()
                    && let need = need_of(row, &args)
                    && self.shard.locks.conflicts(&need)
                {
                    let sequence = connection.replies.reserve();
                    let args = args.iter().map(|arg| arg.to_vec()).collect();
                    self.shard
                        .locks
                        .wait(need, Waiter::Own { connection: planned.connection, sequence, row, call, args });
                    return self.clock.raw();
                }
                if planned.hash != 0 {
                    self.shard.keyspace.hint(args[1], planned.hash);
                }
                connection.replies.write(|out| self.shard.execute(row, call, &args, self.now_ms, &mut self.stats, out));
                mark_dirty(&mut self.dirty, &mut connection.dirty, planned.connection);
                let ended = self.clock.raw();
                let nanoseconds = self.clock.delta_as_nanos(started, ended);
                self.stats.record(row.id, nanoseconds);
                if self.slow_nanoseconds <= nanoseconds {
                    super::slow::record(
                        &self.shared,
                        &self.config,
                        row,
                        || slowlog::kept(row, &args),
                        nanoseconds,
                        Some(&connection.session),
                    );
                    self.now_ms = unix_ms();
                }
                ended
            }
            Run::Session(_) => self.run_session(planned, row, started),
            Run::Everywhere { check, .. } => {
                let args: ArgSlices<'_> = spans.iter().map(|span| span.of(request)).collect();
                let view = SessionView {
                    session,
                    config: &self.config,
                    shared: &self.shared,
                    now_ms: self.now_ms,
                    reconfigured: false,
                };
                if let Err(error) = check(&view, &args) {
                    connection.replies.write(|out| fail(&mut self.stats, row, &error, out.len(), out));
                    mark_dirty(&mut self.dirty, &mut connection.dirty, planned.connection);
                    return self.clock.raw();
                }
                let owned: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
                drop(args);
                self.ask_everywhere(planned.connection, row, owned, started);
                self.clock.raw()
            }
            Run::Container => {
                let error = Error::wrong_arity(&row.full_name());
                connection.replies.write(|out| Reply::new(out, Protocol::Resp2).error(&error));
                mark_dirty(&mut self.dirty, &mut connection.dirty, planned.connection);
                self.clock.raw()
            }
        }
    }

    /// Runs a command on what is remembered of its client.
    fn run_session(&mut self, planned: &Planned, row: &'static Row, started: u64) -> u64 {
        let Run::Session(run) = row.command.run else { panic!("{} is no session command", row.full_name()) };
        let connection =
            &mut **self.connections.get_mut(planned.connection as usize).expect("planned connections are open");
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let request = &bytes[planned.base..];
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let args: ArgSlices<'_> = spans.iter().map(|span| span.of(request)).collect();
        let mut view = SessionView {
            session: &mut connection.session,
            config: &self.config,
            shared: &self.shared,
            now_ms: self.now_ms,
            reconfigured: false,
        };
        let stats = &mut self.stats;
        let mut held_back = Vec::new();
        // CLIENT REPLY decides about its own reply too.
        connection.replies.discard = false;
        connection.replies.write(|out| {
            let start = out.len();
            let protocol = view.session.protocol;
            let result = run(&mut view, &args, &mut Reply::new(out, protocol));
            finish(result, stats, row, start, out);
            if view.reconfigured {
                held_back.extend_from_slice(&out[start..]);
                out.truncate(start);
            }
            if discards(view.session.mode) {
                out.truncate(start);
            }
        });
        let reconfigured = view.reconfigured;
        let ended = self.clock.raw();
        let nanoseconds = self.clock.delta_as_nanos(started, ended);
        self.stats.record(row.id, nanoseconds);
        if self.slow_nanoseconds <= nanoseconds {
            super::slow::record(
                &self.shared,
                &self.config,
                row,
                || slowlog::kept(row, &args),
                nanoseconds,
                Some(&connection.session),
            );
        }
        drop(args);
        mark_dirty(&mut self.dirty, &mut connection.dirty, planned.connection);
        if connection.session.mode.intersects(CLOSING) {
            self.closing.push(planned.connection);
        }
        if reconfigured {
            self.reconfigure(planned.connection, row, held_back, started);
        }
        ended
    }

    // Commands that involve several cores

    /// Sends the parts of a command to the shards that share it; their replies are merged later.
    fn spread(&mut self, planned: &Planned, row: &'static Row, started: u64) -> u64 {
        let connection =
            &mut **self.connections.get_mut(planned.connection as usize).expect("planned connections are open");
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let request = &bytes[planned.base..];
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let args: ArgSlices<'_> = spans.iter().map(|span| span.of(request)).collect();
        let shards = self.map.shards();
        let (how, parts, key_shards) = match row.command.spread {
            Spread::Split(how) => {
                let Keys::Range { first, last: -1, step } = row.command.keys else {
                    panic!("{} splits keys that are no range to the end", row.full_name());
                };
                let (first, step) = (first as usize, step as usize);
                let mut parts: Vec<Option<ArgSlices<'_>>> = (0..shards).map(|_| None).collect();
                let mut key_shards = Vec::new();
                let mut at = first;
                while at < args.len() {
                    let shard = self.map.shard_of(args[at]);
                    key_shards.push(shard as u16);
                    let part = parts[shard].get_or_insert_with(|| ArgSlices::from_slice(&args[..first]));
                    part.extend_from_slice(&args[at..(at + step).min(args.len())]);
                    at += step;
                }
                if !(args.len() - first).is_multiple_of(step) {
                    // A key without its value: the command's own code words the error, on any one shard.
                    parts = (0..shards).map(|shard| (shard == self.core).then(|| args.clone())).collect();
                }
                (how, parts, key_shards)
            }
            Spread::Every(how) => (how, (0..shards).map(|_| Some(args.clone())).collect(), Vec::new()),
            Spread::Cursor => {
                let shard = cursor_shard(&args, shards);
                let call = call_of(&connection.session);
                let owned: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
                drop(args);
                let sequence = connection.replies.reserve();
                connection.barrier = true;
                let gathering = self.gatherings.insert(Gathering {
                    connection: planned.connection,
                    sequence,
                    row,
                    kind: Kind::Walk(Walk::new(call, shard, &owned)),
                    args: Arc::new(owned),
                    missing: 0,
                    started,
                });
                self.walk(gathering as u32);
                return self.clock.raw();
            }
            Spread::Owner => {
                let mut keys = Vec::new();
                key_positions(row.command, &args, &mut keys).expect("checked when it was planned");
                let call = call_of(&connection.session);
                let owned: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
                drop(args);
                let sequence = connection.replies.reserve();
                connection.barrier = true;
                let kind = Kind::Borrowing(Borrowing::new(self.map, call, &owned, &keys));
                let gathering = self.gatherings.insert(Gathering {
                    connection: planned.connection,
                    sequence,
                    row,
                    args: Arc::new(owned),
                    missing: 0,
                    kind,
                    started,
                });
                self.borrow(gathering as u32);
                return self.clock.raw();
            }
        };
        let session = &connection.session;
        let call = call_of(session);
        // What the slow log will show, should it come to that.
        let kept = if self.slow_nanoseconds == u64::MAX { Vec::new() } else { slowlog::kept(row, &args) };
        let missing = parts.iter().flatten().count();
        let sequence = connection.replies.reserve();
        connection.barrier = true;
        let gathering = self.gatherings.insert(Gathering {
            connection: planned.connection,
            sequence,
            row,
            args: Arc::new(kept),
            missing,
            kind: Kind::Replies { how, replies: (0..shards).map(|_| None).collect(), key_shards },
            started,
        });
        let mut own = None;
        for (shard, part) in parts.iter().enumerate() {
            let Some(part) = part else { continue };
            if shard == self.core {
                if !self.shard.locks.is_free()
                    && let need = need_of(row, part)
                    && self.shard.locks.conflicts(&need)
                {
                    // It waits like a request of another core would; its answer comes the same way.
                    let header = RequestHeader {
                        target: gathering as u32,
                        sequence: 0,
                        command: row.id.index() as u16,
                        db: call.db as u16,
                        flags: flags_of(call) | flags::GATHER,
                    };
                    let args = part.iter().map(|arg| arg.to_vec()).collect();
                    self.shard.locks.wait(need, Waiter::Sent { from: self.core, header, args });
                    continue;
                }
                let mut out = Vec::new();
                self.shard.execute(row, call, part, self.now_ms, &mut self.stats, &mut out);
                own = Some(out);
            } else {
                let header = RequestHeader {
                    target: gathering as u32,
                    sequence: 0,
                    command: row.id.index() as u16,
                    db: call.db as u16,
                    flags: flags_of(call) | flags::GATHER,
                };
                self.mailbox.request(shard, header, part);
            }
        }
        drop(parts);
        drop(args);
        if let Some(own) = own {
            self.own_part(gathering as u32, own);
        }
        self.clock.raw()
    }

    /// This core's own reply for a command that several shards share.
    pub(super) fn own_part(&mut self, gathering: u32, reply: Vec<u8>) {
        if matches!(self.gatherings[gathering as usize].kind, Kind::Walk(_)) {
            return self.walked(gathering, &reply);
        }
        self.gathered(gathering as usize, self.core, |kind, core| match kind {
            Kind::Replies { replies, .. } => replies[core] = Some(reply),
            _ => panic!("a reply for a gathering of something else"),
        });
    }

    /// Asks every core for its part of a command.
    fn ask_everywhere(&mut self, index: u32, row: &'static Row, args: Vec<Vec<u8>>, started: u64) {
        let args = Arc::new(args);
        let cores = self.map.shards();
        let connection = &mut *self.connections[index as usize];
        connection.barrier = true;
        let sequence = connection.replies.reserve();
        let (db, client) = (connection.session.db, connection.session.id);
        let gathering = self.gatherings.insert(Gathering {
            connection: index,
            sequence,
            row,
            args: args.clone(),
            missing: cores,
            kind: Kind::Parts((0..cores).map(|_| None).collect()),
            started,
        });
        for core in (0..cores).filter(|&core| core != self.core) {
            let args = args.clone();
            let command = row.id.index() as u16;
            self.mailbox.control(core, Control::Ask { gathering: gathering as u32, command, db, client, args });
        }
        let part = self.part(row, db, client, &args);
        self.gathered(gathering, self.core, |kind, core| match kind {
            Kind::Parts(parts) => parts[core] = Some(part),
            _ => panic!("a part for a gathering of replies"),
        });
    }

    /// Holds a reply back until every core took the new configuration.
    fn reconfigure(&mut self, index: u32, row: &'static Row, reply: Vec<u8>, started: u64) {
        let cores = self.map.shards();
        let connection = &mut *self.connections[index as usize];
        connection.barrier = true;
        let sequence = connection.replies.reserve();
        let gathering = self.gatherings.insert(Gathering {
            connection: index,
            sequence,
            row,
            args: Arc::default(),
            missing: cores,
            kind: Kind::Acknowledged { reply },
            started,
        });
        for core in (0..cores).filter(|&core| core != self.core) {
            self.mailbox.control(core, Control::Reconfigure { gathering: gathering as u32 });
        }
        self.take_config();
        self.gathered(gathering, self.core, |_, _| {});
    }

    /// This core's part of a command that asks all of them.
    fn part(&mut self, row: &'static Row, db: usize, client: u64, args: &[Vec<u8>]) -> Part {
        let Run::Everywhere { part, .. } = row.command.run else {
            panic!("{} does not ask every core", row.full_name());
        };
        self.shard.take();
        let args: ArgSlices<'_> = args.iter().map(|arg| arg.as_slice()).collect();
        let now_ms = self.now_ms;
        let mut clients = ClientsOfCore { connections: &mut self.connections, closing: &mut self.closing };
        self.shard.keyspace.begin(now_ms, true);
        part(
            &mut CoreView {
                shard: &mut self.shard,
                stats: &mut self.stats,
                clients: &mut clients,
                config: &self.config,
                shared: &self.shared,
                core: self.core,
                db,
                client,
                now_ms,
            },
            &args,
        )
    }

    /// Takes in what one core contributed; the last contribution makes the reply.
    fn gathered(&mut self, gathering: usize, core: usize, take: impl FnOnce(&mut Kind, usize)) {
        let waiting = &mut self.gatherings[gathering];
        take(&mut waiting.kind, core);
        waiting.missing -= 1;
        if 0 < waiting.missing {
            return;
        }
        let done = self.gatherings.remove(gathering);
        let connection = &mut *self.connections[done.connection as usize];
        let protocol = connection.session.protocol;
        let mut out = Vec::new();
        // Of a command that was split only what the slow log shows is left.
        let row_splits = matches!(done.kind, Kind::Replies { .. });
        match done.kind {
            Kind::Replies { how, replies, key_shards } => {
                gather::merge(how, &replies, &key_shards, &mut Reply::new(&mut out, protocol));
            }
            Kind::Acknowledged { reply } => out = reply,
            Kind::Borrowing(_) | Kind::Walk(_) => panic!("these count no contributions"),
            Kind::Parts(parts) => {
                let Run::Everywhere { merge, .. } = done.row.command.run else {
                    panic!("parts of a command that asks nobody");
                };
                let parts = parts.into_iter().map(|part| part.expect("every core answered")).collect();
                let args: ArgSlices<'_> = done.args.iter().map(|arg| arg.as_slice()).collect();
                let mut view = SessionView {
                    session: &mut connection.session,
                    config: &self.config,
                    shared: &self.shared,
                    now_ms: self.now_ms,
                    reconfigured: false,
                };
                let result = merge(&mut view, &args, parts, &mut Reply::new(&mut out, protocol));
                assert!(!view.reconfigured, "a merge does not change the configuration");
                finish(result, &mut self.stats, done.row, 0, &mut out);
            }
        }
        let nanoseconds = self.clock.delta_as_nanos(done.started, self.clock.raw());
        if !matches!(done.row.command.run, Run::Session(_)) {
            self.stats.record(done.row.id, nanoseconds);
            if self.slow_nanoseconds <= nanoseconds {
                let session = Some(&self.connections[done.connection as usize].session);
                let kept = || match row_splits {
                    true => done.args.to_vec(),
                    false => {
                        let args: ArgSlices<'_> = done.args.iter().map(|arg| arg.as_slice()).collect();
                        slowlog::kept(done.row, &args)
                    }
                };
                super::slow::record(&self.shared, &self.config, done.row, kept, nanoseconds, session);
            }
        }
        self.finish_gathering(done.connection, done.sequence, &out);
    }

    /// Answers a command that several cores worked on; its client's next commands may run.
    pub(super) fn finish_gathering(&mut self, index: u32, sequence: u32, reply: &[u8]) {
        let connection = &mut *self.connections[index as usize];
        connection.barrier = false;
        if 0 < connection.unplanned_bytes() && !connection.again {
            connection.again = true;
            self.again.push(index);
        }
        self.fill(index, sequence, reply);
    }

    /// A reply that a client's place in the order waited for.
    pub(super) fn fill(&mut self, index: u32, sequence: u32, reply: &[u8]) {
        let connection = &mut *self.connections[index as usize];
        connection.replies.fill(sequence, reply);
        mark_dirty(&mut self.dirty, &mut connection.dirty, index);
        if connection.replies.outstanding() < OUTSTANDING_MAX && 0 < connection.unplanned_bytes() && !connection.again {
            connection.again = true;
            self.again.push(index);
        }
        if connection.broken || connection.session.mode.intersects(CLOSING) {
            self.closing.push(index);
        }
    }

    // Messages of other cores

    fn read_mail(&mut self) {
        for from in 0..self.map.shards() {
            // Bounded, so that a busy peer cannot keep this core from its own clients.
            for _ in 0..MESSAGES_PER_PASS_MAX {
                match self.mailbox.receive(from) {
                    None => break,
                    Some(Message::Requests(parcel)) => self.run_requests(from, parcel),
                    Some(Message::Replies(parcel)) => self.take_replies(from, parcel),
                    Some(Message::Control(control)) => self.obey(from, *control),
                }
            }
        }
    }

    /// Runs the commands of other cores' clients.
    fn run_requests(&mut self, from: usize, parcel: Parcel) {
        self.shard.take();
        let mut ahead = 0;
        let mut ahead_args = ArgSlices::new();
        let mut args = ArgSlices::new();
        let mut offset = 0;
        let mut started = self.clock.raw();
        while let Some((header, next)) = parcel.request(offset, &mut args) {
            if ahead <= offset {
                ahead = offset;
                for _ in 0..PREFETCH_COMMANDS {
                    let Some((header, next)) = parcel.request(ahead, &mut ahead_args) else { break };
                    if let Some(key) = ahead_args.get(1) {
                        let hash = self.hasher.hash(key);
                        self.shard.keyspace.prefetch_bucket(header.db as usize, hash);
                    }
                    ahead = next;
                }
            }
            let row = lookup::find_by_index(header.command as usize);
            if !self.shard.locks.is_free()
                && let need = need_of(row, &args)
                && self.shard.locks.conflicts(&need)
            {
                let args = args.iter().map(|arg| arg.to_vec()).collect();
                self.shard.locks.wait(need, Waiter::Sent { from, header, args });
                offset = next;
                continue;
            }
            let call = Call::of(&header);
            let reply =
                ReplyHeader { target: header.target, sequence: header.sequence, flags: header.flags & flags::GATHER };
            let (shard, stats, now_ms) = (&mut self.shard, &mut self.stats, self.now_ms);
            self.mailbox.reply(from, reply, |out| {
                if shard.execute(row, call, &args, now_ms, stats, out) { 0 } else { flags::FAILED }
            });
            let ended = self.clock.raw();
            let nanoseconds = self.clock.delta_as_nanos(started, ended);
            // Parts of a spread command are counted where the command came in.
            if header.flags & flags::GATHER == 0 {
                self.stats.record(row.id, nanoseconds);
            }
            if self.slow_nanoseconds <= nanoseconds && header.flags & flags::GATHER == 0 {
                super::slow::record(&self.shared, &self.config, row, || slowlog::kept(row, &args), nanoseconds, None);
            }
            started = ended;
            offset = next;
        }
        drop(args);
        drop(ahead_args);
        self.mailbox.recycle(parcel);
    }

    /// Hands replies of another core to the clients and gatherings that wait for them.
    fn take_replies(&mut self, from: usize, parcel: Parcel) {
        let mut offset = 0;
        while let Some((header, resp, next)) = parcel.reply(offset) {
            offset = next;
            if header.flags & flags::GATHER != 0 {
                if matches!(self.gatherings[header.target as usize].kind, Kind::Walk(_)) {
                    self.walked(header.target, resp);
                    continue;
                }
                let resp = resp.to_vec();
                self.gathered(header.target as usize, from, |kind, core| match kind {
                    Kind::Replies { replies, .. } => replies[core] = Some(resp),
                    _ => panic!("a reply for a gathering of parts"),
                });
                continue;
            }
            self.fill(header.target, header.sequence, resp);
        }
        self.mailbox.recycle(parcel);
    }

    fn obey(&mut self, from: usize, control: Control) {
        match control {
            Control::Serve { socket, .. } => self.serve(socket),
            Control::Ask { gathering, command, db, client, args } => {
                let part = self.part(lookup::find_by_index(command as usize), db, client, &args);
                self.mailbox.control(from, Control::Answer { gathering, part });
            }
            Control::Answer { gathering, part } => {
                self.gathered(gathering as usize, from, |kind, core| match kind {
                    Kind::Parts(parts) => parts[core] = Some(part),
                    Kind::Acknowledged { .. } => {}
                    Kind::Replies { .. } | Kind::Borrowing(_) | Kind::Walk(_) => {
                        panic!("a part for a gathering of replies")
                    }
                });
            }
            Control::Lend { gathering, keys } => {
                if let Some(loan) = self.lend(from, gathering, keys) {
                    self.mailbox.control(from, Control::Lent { gathering, loan });
                }
            }
            Control::Lent { gathering, loan } => self.borrowed(gathering, loan),
            Control::Home(loan) => self.come_home(loan),
            Control::Reconfigure { gathering } => {
                self.take_config();
                self.mailbox.control(from, Control::Answer { gathering, part: Box::new(()) });
            }
            Control::Sooner => self.shard.take(), // Letting go of it tells when to be back.
            Control::Monitor(line) => {
                for (index, connection) in self.connections.iter_mut() {
                    if connection.session.mode.contains(Mode::MONITOR) {
                        connection.replies.write(|out| out.extend_from_slice(&line));
                        mark_dirty(&mut self.dirty, &mut connection.dirty, index as u32);
                    }
                }
            }
        }
    }

    /// Takes the newest configuration.
    fn take_config(&mut self) {
        self.shard.take();
        let had_password = !self.config.requirepass.is_empty();
        self.config = self.shared.config();
        self.slow_nanoseconds = super::slow::threshold_nanoseconds(&self.config);
        self.stats.track_latency(self.config.latency_tracking);
        self.shard.configure(self.config.clone());
        self.overlay = None; // The next one has the new settings of the keyspace.
        self.cron_due_ms = 0; // By the new `hz`.
        if had_password && self.config.requirepass.is_empty() {
            // Nobody has to AUTH any more. Who came before a password was set need not either, as in Redis.
            for (_, connection) in self.connections.iter_mut() {
                connection.session.mode.remove(Mode::UNAUTHENTICATED);
            }
        }
    }

    // The end of a pass

    /// What is looked at ten times a second, whatever `hz` says.
    fn sample(&mut self) {
        let now_ms = self.now_ms;
        self.sample_due_ms = now_ms + SAMPLE_MS;
        // Whether keys go by themselves may have changed, and there is tidying to do that no deadline asks for.
        self.shard_due_ms = Some(0);
        let counters = &mut self.stats.counters;
        counters.wakes += std::mem::take(&mut self.mailbox.wakes);
        counters.ring_enters += std::mem::take(&mut self.ring.enters);
        self.stats.sample_rates(now_ms * 1000);
        if self.core == 0 {
            crate::memory::used_bytes(); // Notes the peak.
        }
        if self.shared.pause_mode.load(Ordering::Relaxed) == 0
            || self.shared.pause_until_ms.load(Ordering::Relaxed) <= now_ms
        {
            for index in self.paused.drain(..) {
                let Some(connection) = self.connections.get_mut(index as usize) else { continue };
                connection.paused = false;
                if !connection.again {
                    connection.again = true;
                    self.again.push(index);
                }
            }
        }
    }

    /// What is looked at `hz` times a second.
    fn cron(&mut self) {
        let hz = cron_hz(&self.config, self.connections.len());
        self.cron_due_ms = self.now_ms + (1000 / hz) as u64;
        // As in Redis, every client is looked at once a second, so that many clients do not cause pauses.
        let slots = self.connections.capacity();
        let visits = slots.div_ceil(hz).max(CLIENTS_PER_CRON_MIN).min(slots);
        for _ in 0..visits {
            let index = if self.cron_next < slots { self.cron_next } else { 0 };
            self.cron_next = index + 1;
            self.look_at_client(index);
        }
    }

    /// Does a slice of the work on the keys that nobody asks for.
    fn tend(&mut self) {
        self.shard.take();
        let started = self.clock.raw();
        // As in Redis, nothing changes while clients are paused.
        let is_paused = self.shared.pause_mode.load(Ordering::Relaxed) != 0
            && self.now_ms < self.shared.pause_until_ms.load(Ordering::Relaxed);
        let expires = self.shared.active_expire.load(Ordering::Relaxed) && !is_paused;
        if self.shard.tend(self.now_ms, expires) {
            self.stats.counters.expired_time_cap_reached += 1;
        }
        self.stats.counters.expire_nanoseconds += self.clock.delta_as_nanos(started, self.clock.raw());
    }

    /// Closes a client that was silent too long or does not read its replies.
    fn look_at_client(&mut self, index: usize) {
        let now_ms = self.now_ms;
        let timeout_ms = self.config.timeout as u64 * 1000;
        let Some(connection) = self.connections.get_mut(index) else { return };
        let close = passes_output_limit(connection, &self.config, now_ms, &mut self.stats);
        let session = &mut connection.session;
        let idle = !session.mode.contains(Mode::MONITOR) && session.active_ms + timeout_ms < now_ms;
        if close || 0 < timeout_ms && idle {
            session.mode |= Mode::CLOSE_NOW;
            self.closing.push(index as u32);
        }
    }

    /// Queues what this pass made: one send per connection, messages to peers, wakes for those that sleep.
    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        // One reply alone goes out by a system call of its own: a send through the ring would complete at once and end
        // the sleep that follows, so a server with one busy client would enter the kernel twice as often.
        let alone = dirty.len() == 1;
        for index in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            connection.dirty = false;
            if connection.broken || connection.replies.output.is_empty() {
                continue;
            }
            if passes_output_limit(connection, &self.config, self.now_ms, &mut self.stats) {
                connection.session.mode |= Mode::CLOSE_NOW;
                self.closing.push(index);
                continue;
            }
            if connection.sending {
                continue;
            }
            if alone && let Ok(sent) = net::send_now(connection.session.fd, &connection.replies.output) {
                self.stats.counters.net_output_bytes += sent as u64;
                connection.session.output_bytes += sent as u64;
                if sent == connection.replies.output.len() {
                    let mut bytes = std::mem::take(&mut connection.replies.output);
                    if bytes.capacity() <= SPARE_OUTPUT_BYTES_MAX && self.spare_outputs.len() < SPARE_OUTPUTS {
                        bytes.clear();
                        self.spare_outputs.push(bytes);
                    }
                    if connection.session.mode.intersects(CLOSING) {
                        self.closing.push(index);
                    }
                    continue;
                }
                connection.replies.output.drain(..sent);
            }
            let empty = self.spare_outputs.pop().unwrap_or_default();
            let bytes = std::mem::replace(&mut connection.replies.output, empty);
            connection.sending = true;
            connection.replies.sending_bytes = bytes.len();
            self.ring.send(connection.session.fd, index, bytes);
            self.sends += 1;
        }
        self.dirty = dirty;
        if 1 < self.map.shards() {
            let ring = &mut self.ring;
            self.mailbox.flush(|peer| ring.wake(peer));
        }
    }

    /// Ends connections that are to be ended, as far as their operations in flight allow.
    fn close_closing(&mut self) {
        let mut closing = std::mem::take(&mut self.closing);
        closing.sort_unstable();
        closing.dedup();
        let mut left = Vec::new();
        for index in closing.drain(..) {
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            let mode = connection.session.mode;
            let replied = connection.replies.outstanding() == 0
                && connection.replies.output.is_empty()
                && !connection.sending
                && !connection.barrier;
            // Whole commands that came before the end of the input still run.
            let read = mode.contains(Mode::CLOSE_AFTER_REPLY) || !connection.again;
            if !connection.broken
                && (mode.contains(Mode::CLOSE_NOW)
                    || (mode.intersects(Mode::CLOSE_AFTER_REPLY | Mode::INPUT_ENDED) && replied && read))
            {
                connection.broken = true;
                net::shutdown(connection.session.fd);
            } else if !connection.broken && !read {
                left.push(index);
                continue;
            }
            if !connection.broken {
                continue;
            }
            if connection.receiving || connection.sending || connection.barrier || 0 < connection.replies.outstanding()
            {
                continue; // Their completions bring it back here.
            }
            let connection = self.connections.remove(index as usize);
            if connection.session.mode.contains(Mode::MONITOR) {
                self.shared.monitors.fetch_sub(1, Ordering::Relaxed);
            }
            net::close(connection.session.fd);
            self.shared.clients.fetch_sub(1, Ordering::Relaxed);
            self.shared.clients_of_core[self.core].fetch_sub(1, Ordering::Relaxed);
        }
        self.closing = left;
    }

    /// The server stops: replies that are ready are sent, then everything is closed.
    fn close_all(&mut self) {
        for (index, listener) in self.listeners.iter().enumerate() {
            self.ring.cancel_accept(index as u32);
            net::close(listener.socket);
        }
        self.flush();
        self.ring.forget_events();
        self.ring.enter(None, 0, 1);
        for (_, connection) in self.connections.iter() {
            net::shutdown(connection.session.fd);
        }
        self.ring.forget_events();
        self.ring.enter(None, 0, 1);
    }
}

/// How many times a second clients are looked at.
fn cron_hz(config: &Config, clients: usize) -> usize {
    let mut hz = config.hz as usize;
    while config.dynamic_hz && CLIENTS_PER_CRON * hz < clients && hz < HZ_MAX {
        hz = (hz * 2).min(HZ_MAX);
    }
    hz
}

/// Whether a client has left more of its replies unread than it may, or for too long.
fn passes_output_limit(connection: &mut Connection, config: &Config, now_ms: u64, stats: &mut Stats) -> bool {
    let limit = &config.client_output_buffer_limit.normal;
    let held = connection.replies.bytes() as u64;
    let mut passes = 0 < limit.hard_bytes && limit.hard_bytes <= held;
    if 0 < limit.soft_bytes && limit.soft_bytes <= held {
        let since_ms = *connection.soft_limit_since_ms.get_or_insert(now_ms);
        passes |= limit.soft_seconds.saturating_mul(1000) < now_ms.saturating_sub(since_ms);
    } else {
        connection.soft_limit_since_ms = None;
    }
    if passes && !connection.broken && !connection.session.mode.contains(Mode::CLOSE_NOW) {
        let session = &connection.session;
        stats.counters.output_buffer_limit_disconnections += 1;
        tracing::warn!("closing client {} {}: its output buffer passed the limit", session.id, session.peer);
    }
    passes
}

/// What a command needs of the shard it runs on.
fn need_of(row: &'static Row, args: &Args<'_>) -> Need {
    let mut positions = Vec::new();
    if matches!(row.command.keys, Keys::None) || key_positions(row.command, args, &mut positions).is_err() {
        return Need::Everything;
    }
    Need::Keys(positions.into_iter().map(|at| args[at].to_vec()).collect())
}

fn call_of(session: &Session) -> Call {
    Call { db: session.db, protocol: session.protocol, touch: !session.mode.contains(Mode::NO_TOUCH) }
}

pub(super) fn flags_of(call: Call) -> u32 {
    let resp3 = if call.protocol == Protocol::Resp3 { flags::RESP3 } else { 0 };
    let no_touch = if call.touch { 0 } else { flags::NO_TOUCH };
    resp3 | no_touch
}

/// States in which a connection is to be looked at once its replies are sent.
const CLOSING: Mode = Mode::CLOSE_AFTER_REPLY.union(Mode::CLOSE_NOW).union(Mode::INPUT_ENDED);
/// How often a core looks whether another's engine is free before it sends a message instead: a few microseconds, about
/// what the message would cost.
const VISIT_SPINS: usize = 60;
/// Messages of one core taken in one pass.
const MESSAGES_PER_PASS_MAX: usize = 16;

/// Lists a connection for a send at the end of the pass, once.
#[inline]
fn mark_dirty(dirty: &mut Vec<u32>, listed: &mut bool, index: u32) {
    if !*listed {
        *listed = true;
        dirty.push(index);
    }
}

/// Whether a client's next command has to wait: for others, for other cores, or for the client to take its replies.
fn is_stalled(connection: &Connection) -> bool {
    !connection.may_plan()
        || OUTSTANDING_MAX <= connection.replies.outstanding()
        || OUTPUT_PAUSE_BYTES <= connection.replies.bytes()
}

/// A request as an array of bulks.
fn encode_request(spans: &[Span], request: &[u8]) -> Vec<u8> {
    let mut encoded = format!("*{}\r\n", spans.len()).into_bytes();
    for span in spans {
        encoded.extend_from_slice(format!("${}\r\n", span.len).as_bytes());
        encoded.extend_from_slice(span.of(request));
        encoded.extend_from_slice(b"\r\n");
    }
    encoded
}

/// Words that a browser sends first when a web page makes it talk to this port: the connection is closed at once, as
/// Redis does.
fn is_cross_protocol(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// `CLIENT REPLY SKIP` covers exactly the next command.
fn advance_reply_mode(session: &mut Session) {
    let skips = session.mode.contains(Mode::REPLY_SKIP_NEXT);
    session.mode.remove(Mode::REPLY_SKIP_NEXT);
    session.mode.set(Mode::REPLY_SKIP, skips);
}

/// Why a client in a special state, or with too few arguments, may not run this command.
fn refused(session: &Session, row: &'static Row, argc: usize) -> Option<Error> {
    if !row.accepts(argc) {
        return Some(Error::wrong_arity(&row.full_name()));
    }
    if session.mode.contains(Mode::UNAUTHENTICATED) && !row.command.flags.contains(Flags::NO_AUTH) {
        return Some(Error::NOT_AUTHENTICATED);
    }
    None
}

fn discards(mode: Mode) -> bool {
    mode.intersects(Mode::REPLY_OFF | Mode::REPLY_SKIP)
}

/// Whether `CLIENT PAUSE` holds this command back.
fn is_paused(shared: &Shared, row: &'static Row, now_ms: u64) -> bool {
    if shared.pause_until_ms.load(Ordering::Relaxed) <= now_ms {
        return false;
    }
    let all = shared.pause_mode.load(Ordering::Relaxed) == 2;
    let writes = row.command.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE);
    // CLIENT itself must stay usable, or nobody could unpause.
    (all && !row.command.flags.contains(Flags::ALLOW_BUSY)) || writes
}

/// The shard that a SCAN cursor points into.
fn cursor_shard(args: &Args<'_>, shards: usize) -> usize {
    let cursor = args.get(1).and_then(|arg| std::str::from_utf8(arg).ok()).and_then(|text| text.parse::<u64>().ok());
    cursor.map_or(0, |cursor| (cursor % shards as u64) as usize)
}

/// Shows a command to every client in `MONITOR`.
fn feed_monitors(
    mailbox: &mut Mailbox,
    connections: &mut Slab<Box<Connection>>,
    dirty: &mut Vec<u32>,
    shared: &Shared,
    core: usize,
    line: bytes::Bytes,
) {
    for to in (0..shared.cores).filter(|&to| to != core) {
        mailbox.control(to, Control::Monitor(line.clone()));
    }
    for (index, connection) in connections.iter_mut() {
        if connection.session.mode.contains(Mode::MONITOR) {
            connection.replies.write(|out| out.extend_from_slice(&line));
            mark_dirty(dirty, &mut connection.dirty, index as u32);
        }
    }
}

/// The clients of this core, for listings and kills.
struct ClientsOfCore<'a> {
    connections: &'a mut Slab<Box<Connection>>,
    closing: &'a mut Vec<u32>,
}

impl Clients for ClientsOfCore<'_> {
    fn for_each(&mut self, visit: &mut dyn FnMut(&mut Session)) {
        for (index, connection) in self.connections.iter_mut() {
            if connection.broken {
                continue;
            }
            connection.session.query_bytes = connection.input.len() - connection.input_start;
            connection.session.pending_bytes = connection.replies.bytes();
            visit(&mut connection.session);
            if connection.session.mode.contains(Mode::CLOSE_NOW) {
                self.closing.push(index as u32);
            }
        }
    }
}
