//! The doors: a client comes in on a listener and gets a home; it leaves when it closes, breaks, is told to, or the
//! server stops.

use super::core::Core;
use super::listen::{Door, DoorState};
use super::mailbox::Control;
use super::send::list_once;
use crate::command::count_durability;
use crate::connection::Connection;
use crate::resp::{Error, Protocol, Reply};
use crate::session::{Mode, Session};
use crate::sys::net;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A door that this core accepts on.
pub struct Listener {
    door: Arc<Door>,
    /// An accept is in flight. One that failed is tried again by [`Core::tend_doors`], not at once: what is lacking
    /// (descriptors, memory) does not come back that soon.
    armed: bool,
}

/// Failed accepts are logged once in so many milliseconds, with their count.
const ACCEPT_LOG_MS: u64 = 1000;

/// Accepts that failed and were not logged yet.
#[derive(Default)]
pub struct AcceptFailures {
    count: u64,
    last: Option<io::Error>,
    logged_ms: Option<u64>,
}

impl AcceptFailures {
    fn note(&mut self, error: io::Error) {
        self.count += 1;
        self.last = Some(error);
    }

    /// What to log now, if anything.
    fn take(&mut self, steady_ms: u64) -> Option<String> {
        if self.logged_ms.is_some_and(|logged_ms| steady_ms < logged_ms + ACCEPT_LOG_MS) {
            return None;
        }
        let error = self.last.take()?;
        self.logged_ms = Some(steady_ms);
        let times = std::mem::take(&mut self.count);
        let times = if times == 1 { String::new() } else { format!(" ({times} times)") };
        Some(format!("Accepting client connection: {error}{times}"))
    }
}

/// Errors of an accept that speak of one connection: the next one may well succeed.
fn is_of_connection(error: i32) -> bool {
    matches!(error, libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO)
}

/// States in which a connection is to be looked at once its replies are sent.
pub(super) const CLOSING: Mode = Mode::CLOSE_AFTER_REPLY.union(Mode::CLOSE_NOW).union(Mode::INPUT_ENDED);

impl Core {
    /// Begins to accept on the doors that are new.
    pub(super) fn take_doors(&mut self) {
        for door in self.doors.take_fresh(self.core) {
            let free = self.listeners.iter().position(Option::is_none);
            let index = free.unwrap_or(self.listeners.len());
            if free.is_none() {
                self.listeners.push(None);
            }
            self.ring.accept(door.fd(), index as u32);
            self.listeners[index] = Some(Listener { door, armed: true });
        }
    }

    /// Tries again where accepting failed, and lets go of closed doors.
    pub(super) fn tend_doors(&mut self) {
        for (index, slot) in self.listeners.iter_mut().enumerate() {
            let Some(listener) = slot.as_mut().filter(|listener| !listener.armed) else { continue };
            match listener.door.state() {
                DoorState::Open => {
                    listener.armed = true;
                    self.ring.accept(listener.door.fd(), index as u32);
                }
                DoorState::Closing => {}
                DoorState::Closed => *slot = None,
            }
        }
        if let Some(text) = self.accept_failures.take(self.clocks.steady_ms()) {
            tracing::warn!("{text}");
        }
    }

    pub(super) fn accepted(&mut self, index: u32, socket: Result<RawFd, i32>, armed: bool) {
        let listener = self.listeners[index as usize].as_mut().expect("it stays while an accept is in flight");
        listener.armed = armed;
        match socket {
            Ok(socket) => {
                let home = listener.door.home.unwrap_or_else(|| {
                    let clients = |core: &usize| self.shared.clients_of_core[*core].load(Ordering::Relaxed);
                    (0..self.shared.cores).min_by_key(clients).expect("there is a core")
                });
                self.shared.clients_of_core[home].fetch_add(1, Ordering::Relaxed);
                if home == self.core {
                    self.serve(socket);
                } else {
                    self.mailbox.control(home, Control::Serve { socket, listener: index });
                }
            }
            Err(error) => {
                // EINVAL: the door was closed, and is perhaps open again by now.
                let is_news = error != libc::EINVAL && listener.door.state() == DoorState::Open;
                if is_news && !self.shared.stopping.load(Ordering::Relaxed) {
                    self.accept_failures.note(io::Error::from_raw_os_error(error));
                }
                if !is_of_connection(error) {
                    return;
                }
            }
        }
        let listener = self.listeners[index as usize].as_mut().expect("as above");
        if !armed && listener.door.state() == DoorState::Open && !self.shared.stopping.load(Ordering::Relaxed) {
            listener.armed = true;
            self.ring.accept(listener.door.fd(), index);
        }
    }

    /// Takes a new client in, or refuses it.
    pub(super) fn serve(&mut self, socket: RawFd) {
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
        self.stats.counters.connections_received += 1;
        let mut session = Session::new(self.shared.next_client(), self.core, socket, self.now_ms);
        session.peer = ends.peer.into();
        session.local = ends.local.into();
        session.is_node = self.config.core_ports != 0
            && usize::from(ends.port).checked_sub(self.config.core_ports.into()) == Some(self.core);
        session.mode.set(Mode::UNIX_SOCKET, ends.unix);
        session.mode.set(Mode::UNAUTHENTICATED, !self.config.requirepass.bytes().is_empty());
        session.index = self.connections.vacant_key() as u32;
        let index = self.connections.insert(Box::new(Connection::new(session)));
        self.connections[index].receiving = true;
        self.ring.receive(socket, index as u32);
    }

    /// The client sent its last byte. What it sent before still runs; then the connection ends.
    pub(super) fn end_of_input(&mut self, index: u32) {
        let connection = &mut *self.connections[index as usize];
        connection.session.mode |= Mode::INPUT_ENDED;
        self.closing.push(index);
    }

    /// The client is gone, as a receive or a send has found out. What it sent before still runs, as in Redis, which has
    /// run by then what it had read; the replies go nowhere.
    pub(super) fn cut_off(&mut self, index: u32) {
        let connection = &mut *self.connections[index as usize];
        connection.replies.forget_unsent();
        if !connection.broken && 0 < connection.unplanned_bytes() {
            list_once(&mut self.again, &mut connection.again, index);
        }
        self.end_of_input(index);
    }

    /// Ends a connection at the end of this pass, whatever is pending.
    pub(super) fn close_soon(&mut self, index: u32) {
        let connection = &mut *self.connections[index as usize];
        if !connection.broken {
            connection.broken = true;
            net::shutdown(connection.session.fd);
        }
        self.closing.push(index);
    }

    /// Ends connections that are to be ended, as far as their operations in flight allow.
    pub(super) fn close_closing(&mut self) {
        let mut closing = std::mem::take(&mut self.closing);
        closing.sort_unstable();
        closing.dedup();
        let mut left = Vec::new();
        for index in closing.drain(..) {
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            if connection.session.mode.contains(Mode::INPUT_ENDED) && self.waits.contains_key(&index) {
                // Who waits and says no more is gone, as in Redis: what it waits for, and what it sent behind, is void.
                if connection.sending {
                    continue; // Its completion brings it back here.
                }
                if !connection.replies.output.is_empty() {
                    left.push(index);
                    continue;
                }
                connection.broken = true;
                net::shutdown(connection.session.fd);
            }
            if connection.broken || connection.session.mode.contains(Mode::CLOSE_NOW) {
                self.cancel_wait(index, None);
            }
            let connection = &mut self.connections[index as usize];
            let mode = connection.session.mode;
            let replied = connection.replies.outstanding() == 0
                && connection.replies.is_drained()
                && !connection.sending
                && !connection.barrier;
            // Whole commands that came before the end of the input still run.
            let read = mode.contains(Mode::CLOSE_AFTER_REPLY) || !connection.again;
            if !connection.broken
                && (mode.contains(Mode::CLOSE_NOW)
                    || (mode.intersects(Mode::CLOSE_AFTER_REPLY | Mode::INPUT_ENDED) && replied && read))
            {
                connection.broken = true;
                if connection.sending || !connection.replies.is_drained() {
                    net::abort(connection.session.fd);
                } else {
                    net::shutdown(connection.session.fd);
                }
            } else if !connection.broken && !read {
                left.push(index);
                continue;
            }
            if !connection.broken {
                continue;
            }
            // At once: from now on it is nobody's receiver. A transaction on its way may still subscribe it again.
            if !self.tell_no_more(index) {
                left.push(index);
                continue;
            }
            let connection = &*self.connections[index as usize];
            if connection.receiving || connection.sending || connection.barrier || 0 < connection.replies.outstanding()
            {
                continue; // Their completions bring it back here.
            }
            if self.ring.is_sending_at_once(index) {
                left.push(index); // Its socket, and its place, are still spoken of.
                continue;
            }
            self.connections[index as usize].session.unwatch();
            self.tell_unwatched(index);
            self.owe_nothing(index);
            let connection = self.connections.remove(index as usize);
            self.forget_client(&connection);
            count_durability(&self.shared, connection.session.durability, None);
            if connection.session.mode.contains(Mode::MONITOR) {
                self.shared.monitors.fetch_sub(1, Ordering::Relaxed);
            }
            if connection.lost_input {
                net::reset(connection.session.fd);
            } else {
                net::close(connection.session.fd);
            }
            self.shared.clients.fetch_sub(1, Ordering::Relaxed);
            self.shared.clients_of_core[self.core].fetch_sub(1, Ordering::Relaxed);
        }
        self.closing.append(&mut left);
    }

    /// The server stops: replies that are ready are sent, then everything is closed.
    pub(super) fn close_all(&mut self) {
        for (index, listener) in std::mem::take(&mut self.listeners).into_iter().enumerate() {
            let Some(listener) = listener else { continue };
            // At once: an accept under way keeps the socket listening for a while after its last descriptor is closed.
            net::shutdown(listener.door.fd());
            if listener.armed {
                self.ring.cancel_accept(index as u32);
            }
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
