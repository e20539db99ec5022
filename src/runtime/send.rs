//! Replies on their way out: into their places, one send per connection and pass, and a bound on what a client may
//! leave unread.

use super::accept::CLOSING;
use super::core::Core;
use super::read::OUTSTANDING_MAX;
use super::spares::Spares;
use crate::config::Config;
use crate::connection::Connection;
use crate::resp::Output;
use crate::session::Mode;
use crate::stats::Stats;
use crate::sys::ring::{PIECES_MAX, Payload};
use bytes::Bytes;
use std::num::NonZeroU64;

/// Output buffers kept for reuse, and the largest kept.
pub(super) const SPARE_OUTPUTS: usize = 256;
const SPARE_OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// One send carries at most so much, so that others have their turn between two.
const SEND_BYTES_MAX: usize = 1024 * 1024;

/// Who has not authenticated may leave so much unread: errors, and HELLO.
const UNAUTHENTICATED_OUTPUT_BYTES_MAX: u64 = 1024;

impl Core {
    /// A reply that a client's place in the order waited for: bytes, and long strings among them.
    pub(super) fn fill(&mut self, index: u32, sequence: u32, reply: &[u8], long: Vec<(usize, Bytes)>) {
        self.connections[index as usize].replies.fill(sequence, reply, long);
        self.filled(index);
    }

    /// The same, of a reply that has a buffer of its own.
    pub(super) fn fill_with(&mut self, index: u32, sequence: u32, reply: Output) {
        self.connections[index as usize].replies.fill_with(sequence, reply);
        self.filled(index);
    }

    #[inline]
    fn filled(&mut self, index: u32) {
        let connection = &mut *self.connections[index as usize];
        list_once(&mut self.dirty, &mut connection.dirty, index);
        if connection.replies.outstanding() < OUTSTANDING_MAX && 0 < connection.unplanned_bytes() {
            list_once(&mut self.again, &mut connection.again, index);
        }
        if connection.broken || connection.session.mode.intersects(CLOSING) {
            self.closing.push(index);
        }
    }

    /// Queues what this pass made: one send per connection, messages to peers, wakes for those that sleep.
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        if self.clients_bytes_max != 0 {
            self.touched.extend_from_slice(&dirty);
            self.bound_clients();
        }
        for index in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            connection.dirty = false;
            if connection.broken || connection.replies.is_drained() {
                continue;
            }
            if passes_output_limit(connection, &self.config, self.now_ms, &mut self.stats) {
                connection.session.mode |= Mode::CLOSE_NOW;
                self.closing.push(index);
                continue;
            }
            if connection.replies.is_gated() && !self.open_gates(index) {
                continue;
            }
            let connection = &mut *self.connections[index as usize];
            if connection.sending {
                continue;
            }
            if !connection.replies.output.long().is_empty() || SEND_BYTES_MAX < connection.replies.output.len() {
                let output = std::mem::take(&mut connection.replies.output);
                connection.replies.pieces.push(output);
                self.send_pieces(index);
                continue;
            }
            let bytes = connection.replies.output.replace_bytes(self.spare_outputs.take());
            if connection.session.mode.intersects(CLOSING) {
                // Its end waits until they are gone.
                connection.sending = true;
                connection.replies.sending_bytes = bytes.len();
                self.ring.send(connection.session.fd, index, bytes);
                self.sends += 1;
                continue;
            }
            // Nearly always all of them fit into the socket. What if not: see `unsent`.
            self.stats.counters.net_output_bytes += bytes.len() as u64;
            self.stats.counters.writes_processed += 1;
            connection.session.output_bytes += bytes.len() as u64;
            connection.session.active_ms = self.now_ms;
            if 0 < connection.unplanned_bytes() {
                list_once(&mut self.again, &mut connection.again, index);
            }
            self.ring.send_at_once(connection.session.fd, index, bytes);
            if self.clients_bytes_max != 0 {
                self.touched.push(index);
            }
        }
        self.dirty = dirty;
        if 1 < self.map.shards() {
            let ring = &mut self.ring;
            let pubsub = &self.shared.pubsub;
            self.mailbox.flush(|core| pubsub.has_mail(core), |peer| ring.wake(peer));
        }
    }

    /// Queues a send of what leaves in pieces.
    #[cold]
    pub(super) fn send_pieces(&mut self, index: u32) {
        let connection = &mut *self.connections[index as usize];
        let taken = connection.replies.pieces.take(SEND_BYTES_MAX, PIECES_MAX);
        connection.sending = true;
        connection.replies.sending_bytes = taken.iter().map(Bytes::len).sum();
        self.ring.send_pieces(connection.session.fd, index, taken);
        self.sends += 1;
    }

    /// The socket had no room for all of a reply.
    #[cold]
    pub(super) fn unsent(&mut self, index: u32, result: Result<usize, i32>, bytes: Vec<u8>) {
        let connection = &mut *self.connections[index as usize];
        // It was counted as sent, and is counted again when it is.
        self.stats.counters.net_output_bytes -= bytes.len() as u64;
        self.stats.counters.writes_processed -= 1;
        connection.session.output_bytes -= bytes.len() as u64;
        self.sent(index, result, Payload::Buffer(bytes));
    }

    pub(super) fn sent(&mut self, index: u32, result: Result<usize, i32>, payload: Payload) {
        self.note_client(index);
        let connection = &mut *self.connections[index as usize];
        connection.sending = false;
        connection.session.active_ms = self.now_ms;
        connection.replies.sending_bytes = 0;
        match result {
            Ok(sent) => {
                self.stats.counters.net_output_bytes += sent as u64;
                self.stats.counters.writes_processed += 1;
                connection.session.output_bytes += sent as u64;
                if sent < payload.len() && !connection.broken {
                    put_back_unsent(connection, payload, sent);
                } else if let Payload::Buffer(bytes) = payload {
                    keep_output(&mut self.spare_outputs, bytes);
                }
            }
            Err(_) => self.cut_off(index),
        }
        let connection = &mut *self.connections[index as usize];
        if !connection.replies.pieces.is_empty() && !connection.broken {
            self.send_pieces(index); // What follows waits until all of them are gone.
        } else if !connection.replies.output.is_empty() {
            list_once(&mut self.dirty, &mut connection.dirty, index);
        } else if connection.session.mode.intersects(CLOSING) || connection.broken {
            self.closing.push(index);
        }
        let connection = &mut *self.connections[index as usize];
        if 0 < connection.unplanned_bytes() {
            list_once(&mut self.again, &mut connection.again, index);
        }
    }
}

/// Keeps an emptied output buffer for reuse, unless it is large or there are enough.
#[inline]
pub(super) fn keep_output(spare_outputs: &mut Spares<Vec<u8>>, mut bytes: Vec<u8>) {
    if bytes.capacity() <= SPARE_OUTPUT_BYTES_MAX {
        bytes.clear();
        spare_outputs.keep(bytes);
    }
}

/// What a send left unsent leaves next.
#[cold]
fn put_back_unsent(connection: &mut Connection, payload: Payload, mut sent: usize) {
    let pieces = match payload {
        Payload::Buffer(bytes) => vec![Bytes::from(bytes)],
        Payload::Pieces(pieces) => pieces,
    };
    let unsent: Vec<Bytes> = pieces
        .into_iter()
        .filter_map(|mut piece| {
            let gone = piece.split_to(piece.len().min(sent));
            sent -= gone.len();
            (!piece.is_empty()).then_some(piece)
        })
        .collect();
    connection.replies.pieces.put_back(unsent.into_iter());
}

/// Lists a connection, once: for a send at the end of the pass (`dirty`), or to be planned in the next (`again`).
#[inline]
pub(super) fn list_once(list: &mut Vec<u32>, listed: &mut bool, index: u32) {
    if !*listed {
        *listed = true;
        list.push(index);
    }
}

/// Unread replies that no limit counts, in bytes: Redis keeps as many in the client itself. So the smallest limit lets
/// an operator read the reply to the command that lifts it.
const OUTPUT_FREE_BYTES: u64 = 16 * 1024;

/// Whether a client has left more of its replies unread than it may, or for too long.
pub(super) fn passes_output_limit(
    connection: &mut Connection,
    config: &Config,
    now_ms: u64,
    stats: &mut Stats,
) -> bool {
    let unread = connection.replies.bytes() as u64;
    if unread <= OUTPUT_FREE_BYTES {
        connection.soft_limit_since_ms = None;
        return false;
    }
    let limits = &config.client_output_buffer_limit;
    // Who watches gets what others do, at their speed, and may not ask for less: where `normal` is unlimited, as by
    // default, the limit is that of subscribers.
    let mode = connection.session.mode;
    let is_watcher = mode.contains(Mode::MONITOR) && !limits.normal.is_limited();
    let is_normal = !is_watcher && !mode.contains(Mode::SUBSCRIBED);
    let limit = if is_normal { &limits.normal } else { &limits.pubsub };
    let is_unauthenticated = connection.session.mode.contains(Mode::UNAUTHENTICATED);
    let mut passes = is_unauthenticated && UNAUTHENTICATED_OUTPUT_BYTES_MAX < unread;
    passes |= 0 < limit.hard_bytes && limit.hard_bytes <= unread;
    if 0 < limit.soft_bytes && limit.soft_bytes <= unread {
        let since_ms = connection.soft_limit_since_ms.or(NonZeroU64::new(now_ms));
        connection.soft_limit_since_ms = since_ms;
        let soft_ms = limit.soft_seconds.saturating_mul(1000);
        passes |= since_ms.is_some_and(|since_ms| soft_ms < now_ms.saturating_sub(since_ms.get()));
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
