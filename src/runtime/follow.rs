//! Connections that follow their keys: one whose commands go overwhelmingly to one other core moves there, socket and
//! all, and no command of it crosses cores any more (`connection-steering`).
//!
//! ```text
//!   core 0                                                     core 1
//!   4 of 5 commands to core 1 ─▶ reads no more of the client,
//!                                stops receiving
//!   replies owed come, are sent ─▶ nothing is under way
//!                                ─▶ out of core 0's tables ═▶  into core 1's tables ─▶ receives
//!                                   [ session, input, parser ]  reads what had come meanwhile
//! ```
//! When a client moves is [`crate::connection::following`]'s to say, and whether it may [`crate::shared::Steering`]'s:
//! not to a core that is busy, not many at once, not while all cores are asked about their clients (`CLIENT LIST`,
//! `CLIENT KILL`, `INFO`), so that each is found exactly once.
//!
//! A client moves at a quiet moment only: no reply is owed, waited for or being sent, no command waits behind others,
//! no long argument is arriving, none of its operations is in the ring. It keeps its place while other cores know it
//! by that: in `MULTI`, with watched keys, subscriptions, `MONITOR` or tracking, waiting, or as the target of another
//! client's `REDIRECT`. A client of a core's own port (`core-ports`) has chosen its core.
//!
//! What the client sent travels unread, or waits in the socket; replies have left before. So both keep their order.

use super::accept::CLOSING;
use super::core::Core;
use super::mailbox::Control;
use super::send::list_once;
use crate::connection::Connection;
use crate::mutant::Mutant;
use crate::session::Mode;
use crate::sys::process::{self, CpuOf};
use std::sync::atomic::Ordering;

/// States with which a client may move: those that are about itself alone.
const MOVABLE: Mode = Mode::UNIX_SOCKET.union(Mode::NO_EVICT).union(Mode::NO_TOUCH);

/// Whether other cores know a client by its place, or will while it does what it does now.
fn is_rooted(connection: &Connection) -> bool {
    let session = &connection.session;
    !MOVABLE.contains(session.mode)
        || session.is_node
        || session.is_target
        || !session.watched.is_empty()
        || !session.unwatched.is_empty()
        || session.subscriptions.is_some()
        || session.unsubscribed.is_some()
        || session.tracking.is_some()
}

/// Whether something of a client is under way: a command, a reply, an operation.
fn is_under_way(connection: &Connection) -> bool {
    connection.receiving
        || connection.sending
        || connection.dirty
        || connection.again
        || connection.barrier
        || connection.paused
        || connection.planned != 0
        || connection.replies.outstanding() != 0
        || connection.replies.bytes() != 0
        || connection.arriving.is_some()
        || !connection.bodies.is_empty()
        || !connection.held_back.is_empty()
        || connection.protocol_error.is_some()
}

impl Core {
    /// Begins to see off the clients that this pass found to belong elsewhere, and sends those on their way with whom
    /// nothing is under way any more.
    #[inline]
    pub(super) fn see_off(&mut self) {
        if !self.followers.is_empty() || !self.leavers.is_empty() {
            self.see_off_some();
        }
    }

    #[cold]
    fn see_off_some(&mut self) {
        for (index, to) in std::mem::take(&mut self.followers) {
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            let is_staying = is_rooted(connection) || connection.broken || connection.leaving_for.is_some();
            // What arrives in pieces, or waits, has to be read on.
            let is_waiting = connection.barrier || connection.paused || connection.arriving.is_some();
            if is_staying || is_waiting || !connection.receiving || !self.shared.steering.admits(self.core, to) {
                continue;
            }
            connection.leaving_for = Some(to as u32);
            self.ring.cancel_receive(index);
            self.leavers.push(index);
        }
        let mut leavers = std::mem::take(&mut self.leavers);
        leavers.retain(|&index| !self.is_seen_off(index));
        self.leavers.append(&mut leavers);
    }

    /// Whether a client may leave as soon as what this pass made is on its way: nothing else would end the sleep.
    pub(super) fn has_ready_leavers(&self) -> bool {
        let is_ready =
            |index: &u32| self.connections.get(*index as usize).is_some_and(|connection| !is_under_way(connection));
        self.leavers.iter().any(is_ready)
    }

    /// Whether a client that is leaving has left, or stays after all.
    fn is_seen_off(&mut self, index: u32) -> bool {
        let Some(connection) = self.connections.get_mut(index as usize) else { return true };
        if connection.leaving_for.is_none() {
            return true; // It is another one's place by now.
        }
        if connection.broken || connection.session.mode.intersects(CLOSING) || is_rooted(connection) {
            self.keep(index);
            return true;
        }
        if is_under_way(connection) || self.ring.has_quick_sends() {
            return false;
        }
        if self.shared.steering.gate.begin_move() {
            self.send_off(index);
        } else {
            self.keep(index);
        }
        true
    }

    /// A client stays: what it sent meanwhile is read.
    fn keep(&mut self, index: u32) {
        let connection = &mut *self.connections[index as usize];
        connection.leaving_for = None;
        list_once(&mut self.again, &mut connection.again, index); // Receives again, too.
    }

    fn send_off(&mut self, index: u32) {
        self.owe_nothing(index);
        let mut connection = self.connections.remove(index as usize);
        connection.waits_since = 0; // By this core's clock.
        let to = connection.leaving_for.take().expect("one that leaves knows where to") as usize;
        self.forget_client(&connection);
        connection.counted_bytes = 0;
        connection.following.moved();
        self.shared.clients_of_core[self.core].fetch_sub(1, Ordering::Relaxed);
        self.shared.clients_of_core[to].fetch_add(1, Ordering::Relaxed);
        self.stats.counters.connections_moved += 1;
        self.mailbox.control(to, Control::Adopt(connection));
    }

    /// A client of another core is this one's from now on.
    pub(super) fn adopt(&mut self, mut connection: Box<Connection>) {
        let index = self.connections.vacant_key() as u32;
        let session = &mut connection.session;
        (session.core, session.index) = (self.core, index);
        connection.receiving = false;
        if 0 < connection.unplanned_bytes() && !Mutant::MovedInputWaits.is_on() {
            list_once(&mut self.again, &mut connection.again, index);
        }
        let at = self.connections.insert(connection);
        assert_eq!(at, index as usize);
        self.receive_if_wanted(index);
        self.note_client(index);
        self.shared.steering.gate.end_move();
    }

    /// Says how busy this core was since it said so last.
    pub(super) fn tell_load(&mut self, steady_ms: u64) {
        let (user, system) = process::cpu_seconds(CpuOf::Thread);
        let cpu_us = ((user + system) * 1e6) as u64;
        let (before_us, before_ms) = std::mem::replace(&mut self.load_sample, (cpu_us, steady_ms));
        let wall_us = (steady_ms - before_ms).max(1) * 1000;
        let load = (cpu_us.saturating_sub(before_us) * 1000 / wall_us).min(1000);
        self.shared.steering.note_load(self.core, load as u32, self.connections.len());
    }
}
