//! The connections of a thread: opened, greeted, written, read, closed and opened again.

use super::super::connection::{Connection, Pending, Purpose};
use super::dispatch::Token;
use super::{Scratch, Worker};
use crate::wire::cluster::{Redirection, redirection};
use crate::wire::control;
use crate::wire::reply::Kind;
use rustix::event::{Timespec, epoll};
use socket2::Socket;
use std::io::{self, ErrorKind, Read, Write};

/// Connections that a thread opens at the same time; a listener's backlog is short.
const CONNECTING_MAX: usize = 128;
/// Pause before a closed connection is opened again: first, and at most.
const RETRY_NS: u64 = 10_000_000;
const RETRY_NS_MAX: u64 = 500_000_000;
/// A server that closes more connections than so many for each that there is, and these, is given up.
const CLOSES_MAX: u64 = 20;
const CLOSES_PER_CONNECTION_MAX: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Down,
    Connecting,
    Greeting,
    Ready,
}

/// A connection with its socket.
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) socket: Option<Socket>,
    pub(super) state: State,
    pub(super) node: usize,
    /// Tells events and tokens of this socket from those of the one before.
    pub(super) generation: u32,
    pub(super) greetings_left: usize,
    pub(super) is_waiting_to_write: bool,
    pub(super) is_dirty: bool,
    /// When its state changed, or, if it is down, when to try again.
    pub(super) at_ns: u64,
    pub(super) pause_ns: u64,
}

impl Link {
    pub(super) fn new(node: usize) -> Link {
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

pub(super) fn mark_dirty(link: &mut Link, at: usize, dirty: &mut Vec<usize>) {
    if !link.is_dirty {
        link.is_dirty = true;
        dirty.push(at);
    }
}

impl Worker {
    pub(super) fn connect_all(&mut self, scratch: &mut Scratch) {
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

    pub(super) fn flush(&mut self) {
        for at in std::mem::take(&mut self.dirty) {
            self.links[at].is_dirty = false;
            self.write(at);
        }
    }

    pub(super) fn write(&mut self, at: usize) {
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

    pub(super) fn wait_and_read(&mut self, wait_ns: u64, scratch: &mut Scratch) {
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
    pub(super) fn greet(&mut self, at: usize) {
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
            let pending = Pending { purpose: Purpose::Greeting, planned_ns: 0, due_ns: 0, sent_ns: 0, kept: None };
            link.connection.push(pending);
        }
        link.greetings_left = replies;
        link.state = State::Greeting;
        link.at_ns = now_ns;
        // Writability was waited for; from now on it is asked for only when a write did not go through.
        link.is_waiting_to_write = true;
        self.write(at);
    }

    pub(super) fn cannot_connect(&mut self, at: usize, error: &io::Error, now_ns: u64) {
        let is_backlog_full = error.kind() == ErrorKind::WouldBlock;
        if !self.is_loading && !is_backlog_full {
            let name = &self.nodes[self.links[at].node].name;
            self.shared.fail(format!("cannot connect to {name}: {}", control::plain(error)));
        }
        self.put_down(at, now_ns);
    }

    pub(super) fn put_down(&mut self, at: usize, now_ns: u64) {
        let link = &mut self.links[at];
        link.socket = None;
        link.state = State::Down;
        link.generation = link.generation.wrapping_add(1);
        link.is_waiting_to_write = false;
        link.at_ns = now_ns + link.pause_ns;
        link.pause_ns = (2 * link.pause_ns).min(RETRY_NS_MAX);
    }

    /// A connection ended, by the server or because it is of no use any more.
    pub(super) fn close(&mut self, at: usize, why: &str, now_ns: u64) {
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

    pub(super) fn read(&mut self, at: usize, buffer: &mut [u8]) {
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

    pub(super) fn reconnect(&mut self, now_ns: u64) {
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
    pub(super) fn check_limits(&mut self, now_ns: u64) {
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
}

fn event_data(link: usize, generation: u32) -> epoll::EventData {
    epoll::EventData::new_u64(link as u64 | u64::from(generation) << 32)
}
