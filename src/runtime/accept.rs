//! The doors: a client comes in on a listener and gets a home; it leaves when it closes, breaks, is told to, or the
//! server stops.

use super::core::Core;
use super::mailbox::Control;
use crate::connection::Connection;
use crate::resp::{Error, Protocol, Reply};
use crate::session::{Mode, Session};
use crate::sys::net;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

/// A socket that this core accepts on.
pub struct Listener {
    /// The listening socket.
    pub socket: RawFd,
    /// True: connections are shared among all cores; false: they stay here.
    pub shared: bool,
}

/// States in which a connection is to be looked at once its replies are sent.
pub(super) const CLOSING: Mode = Mode::CLOSE_AFTER_REPLY.union(Mode::CLOSE_NOW).union(Mode::INPUT_ENDED);

impl Core {
    pub(super) fn accepted(&mut self, listener: u32, socket: Result<RawFd, i32>, armed: bool) {
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
    pub(super) fn serve(&mut self, socket: RawFd) {
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

    /// The client sent its last byte. What it sent before still runs; then the connection ends.
    pub(super) fn end_of_input(&mut self, index: u32) {
        let connection = &mut *self.connections[index as usize];
        connection.session.mode |= Mode::INPUT_ENDED;
        self.closing.push(index);
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
    pub(super) fn close_all(&mut self) {
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
