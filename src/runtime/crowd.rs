//! `maxmemory-clients`: what all clients together may take for what they send, what they queue and what they do not
//! read. Beyond it the largest is closed, then the next.
//!
//! Counted are the clients whose buffers changed in a pass, when there is a limit; each core publishes its sum. While
//! all together are too large, each publishes its largest client too, and closes it when no other core can have a
//! larger one: a core that has not said so yet may, if its sum is larger, and is woken. Commands with long arguments
//! are counted before they run. `CLIENT NO-EVICT` spares.

use super::core::Core;
use super::mailbox::Control;
use crate::connection::Connection;
use crate::session::{CONNECTION_BYTES, Mode};
use crate::shared::Crowd;
use std::sync::atomic::Ordering;

/// A smaller limit counts as this one, as in Redis: somebody has to be able to lift it.
const CLIENTS_BYTES_MIN: u64 = 128 << 10;

/// What a client takes, in bytes: `tot-mem` in `CLIENT LIST`, and the room that its buffers have beyond what they hold.
fn bytes_of(connection: &Connection) -> usize {
    // What a listing filled in is of another moment.
    crate::command::client_session_bytes(&connection.session)
        + CONNECTION_BYTES
        + connection.input.capacity()
        + connection.held_back.capacity()
        + connection.long_bytes()
        + connection.replies.held_bytes()
}

fn may_be_closed(connection: &Connection) -> bool {
    !connection.broken && !connection.session.mode.intersects(Mode::NO_EVICT | Mode::CLOSE_NOW)
}

impl Core {
    /// A client's buffers have changed, or will.
    #[inline]
    pub(super) fn note_client(&mut self, index: u32) {
        if self.clients_bytes_max != 0 {
            self.touched.push(index);
        }
    }

    /// By how much all clients together are too large: what is about to be freed.
    pub(super) fn clients_excess_bytes(&self) -> u64 {
        if self.clients_bytes_max == 0 {
            return 0;
        }
        let sum: u64 = self.shared.crowds.iter().map(|crowd| crowd.sum.load(Ordering::Relaxed)).sum();
        sum.saturating_sub(self.clients_bytes_max)
    }

    /// A client is gone.
    pub(super) fn forget_client(&mut self, connection: &Connection) {
        self.clients_bytes -= connection.counted_bytes;
    }

    /// The limit may have changed.
    pub(super) fn take_clients_limit(&mut self) {
        self.clients_bytes_max = match self.config.maxmemory_clients.bytes(self.config.maxmemory.bytes) {
            0 => 0,
            bytes => bytes.max(CLIENTS_BYTES_MIN),
        };
        if self.clients_bytes_max != 0 {
            self.touched.extend(self.connections.iter().map(|(index, _)| index as u32));
        }
    }

    /// Counts those that changed, and closes the largest while all together are too large.
    #[inline]
    pub(super) fn bound_clients(&mut self) {
        if self.clients_bytes_max != 0 {
            self.count_clients();
        }
    }

    /// Before a command runs: with a long argument, which afterwards is a value and no longer its client's.
    #[inline]
    pub(super) fn bound_arguments(&mut self, index: u32) {
        if self.clients_bytes_max != 0 && !self.connections[index as usize].bodies.is_empty() {
            self.note_client(index);
            self.count_clients();
        }
    }

    #[cold]
    fn count_clients(&mut self) {
        for index in std::mem::take(&mut self.touched) {
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            let bytes = if may_be_closed(connection) || connection.session.mode.contains(Mode::NO_EVICT) {
                bytes_of(connection)
            } else {
                0 // It is being closed.
            };
            self.clients_bytes = self.clients_bytes - connection.counted_bytes + bytes;
            connection.counted_bytes = bytes;
        }
        let crowds = &self.shared.crowds;
        crowds[self.core].sum.store(self.clients_bytes as u64, Ordering::Relaxed);
        while self.clients_bytes_max < crowds.iter().map(|crowd| crowd.sum.load(Ordering::Relaxed)).sum() {
            let candidates = self.connections.iter_mut().filter(|(_, connection)| may_be_closed(connection));
            let largest = candidates.max_by_key(|(_, connection)| connection.counted_bytes);
            let bytes = largest.as_ref().map_or(0, |(_, connection)| connection.counted_bytes);
            crowds[self.core].largest.store(bytes as u64, Ordering::Relaxed);
            let others = crowds.iter().enumerate().filter(|&(core, _)| core != self.core);
            let larger = others.map(|(core, crowd)| (crowd.largest_at_most(), core)).max();
            if let Some((most, core)) = larger
                && (bytes as u64) < most
            {
                self.mailbox.control(core, Control::Sooner); // It is that core's turn.
                return;
            }
            let Some((index, connection)) = largest else { return };
            tracing::info!(
                "Evicting client: id={} addr={} {bytes} bytes",
                connection.session.id,
                connection.session.peer
            );
            connection.session.mode |= Mode::CLOSE_NOW;
            connection.counted_bytes = 0;
            self.clients_bytes -= bytes;
            crowds[self.core].sum.store(self.clients_bytes as u64, Ordering::Relaxed);
            self.stats.counters.evicted_clients += 1;
            self.closing.push(index as u32);
        }
        crowds[self.core].largest.store(Crowd::UNKNOWN, Ordering::Relaxed);
    }
}
