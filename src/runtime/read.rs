//! From bytes to commands: what a client sent is taken from the ring, and the whole requests in it are looked up, given
//! their place among the shards, and planned for this pass.

use super::core::Core;
use super::send::list_once;
use crate::command::lookup::{self, Row};
use crate::command::{Args, Flags, Joint, Keys, Run};
use crate::connection::{Arriving, Connection, arguments};
use crate::resp::{Limits, Span};
use crate::route::parcel::ArgSlices;
use crate::route::{Place, place};
use crate::session::{Mode, Session};
use crate::shared::Shared;
use crate::sys::ring::{BURST_BUFFERS, Buffer, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS};
use std::sync::atomic::Ordering;

/// Commands of one connection in one pass; the rest waits for the next, so that one pipeline does not starve others.
const COMMANDS_PER_PASS_MAX: u16 = 512;

/// Replies a connection may be owed by other cores before its reading pauses.
pub(super) const OUTSTANDING_MAX: usize = 4096;

/// Unsent replies at which a client's commands wait until it reads.
pub(super) const OUTPUT_PAUSE_BYTES: usize = 16 * 1024 * 1024;

/// Unread input at which a client that sends faster than its commands run is no longer received from.
const INPUT_PAUSE_BYTES: usize = 32 * 1024 * 1024;
/// The same where memory is limited: what waits here counts, though it is not needed yet. The system keeps the rest.
const INPUT_PAUSE_LIMITED_BYTES: usize = 64 * 1024;
/// What all cores can receive in one pass is at most this part of a limit, down to [`crate::sys::ring::FILL_BYTES_MIN`]
/// a buffer: all of it may have to wait.
const RECEIVED_PART: u64 = 16;

/// Where a planned command's bytes are.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// In a receive buffer of the ring.
    Buffer(Buffer),
    /// In the connection's own input.
    Input,
}

/// What a planned command is.
#[derive(Clone, Copy)]
pub(super) enum What {
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
#[derive(Clone, Copy)]
pub(super) struct Planned {
    pub(super) connection: u32,
    pub(super) source: Source,
    /// Offset of the request in its source.
    pub(super) base: usize,
    pub(super) first_span: u32,
    pub(super) span_count: u32,
    pub(super) what: What,
    /// The shard of its only key; `None`: not decided by one key.
    pub(super) place: Place,
    /// Hash of its first key, where it has one and it is here.
    pub(super) hash: u64,
    /// The reading that it came with.
    pub(super) batch: u32,
}

impl Core {
    pub(super) fn received(&mut self, index: u32, data: Result<Option<Buffer>, i32>, armed: bool) {
        self.note_client(index);
        let is_limited = self.has_limit();
        let connection = &mut *self.connections[index as usize];
        connection.receiving = armed;
        self.receives += 1;
        self.pace.see(&mut connection.seen);
        match data {
            Ok(Some(buffer)) => {
                let bytes = self.ring.bytes(buffer);
                self.stats.counters.net_input_bytes += bytes.len() as u64;
                self.stats.counters.reads_processed += 1;
                connection.session.input_bytes += bytes.len() as u64;
                connection.session.active_ms = self.now_ms;
                let unplanned = connection.unplanned_bytes() + connection.arriving.as_ref().map_or(0, Arriving::bytes);
                if connection.broken {
                    connection.lost_input = true;
                    self.ring.give_back(buffer);
                } else if let Some(rest) = connection.arrive(bytes) {
                    connection.input.extend_from_slice(rest);
                    self.ring.give_back(buffer);
                    if self.config.client_query_buffer_limit <= unplanned as u64 {
                        return self.close_for_input(index);
                    }
                    if self.connections[index as usize].arriving.is_none() {
                        self.plan(index, Source::Input);
                    }
                } else if unplanned == 0 && connection.may_plan() {
                    self.used_buffers.push(buffer);
                    self.plan(index, Source::Buffer(buffer));
                } else {
                    connection.input.extend_from_slice(bytes);
                    self.ring.give_back(buffer);
                    if self.config.client_query_buffer_limit <= unplanned as u64 {
                        return self.close_for_input(index);
                    }
                    self.plan(index, Source::Input);
                }
                let connection = &mut *self.connections[index as usize];
                if armed && is_behind(connection, is_limited) {
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
                self.cut_off(index);
                return;
            }
        }
        if !armed {
            self.receive_if_wanted(index);
        }
    }

    /// Ends a connection that sends without an end.
    #[cold]
    fn close_for_input(&mut self, index: u32) {
        self.stats.counters.query_buffer_limit_disconnections += 1;
        let session = &self.connections[index as usize].session;
        tracing::warn!("closing client {} {}: its query buffer passed the limit", session.id, session.peer);
        self.close_soon(index);
    }

    /// Arms receiving again, unless the client has to be slowed down.
    pub(super) fn receive_if_wanted(&mut self, index: u32) {
        let is_limited = self.has_limit();
        let connection = &mut *self.connections[index as usize];
        if connection.receiving || connection.broken || connection.leaving_for.is_some() {
            return;
        }
        if is_behind(connection, is_limited) {
            return;
        }
        connection.receiving = true;
        let socket = connection.session.fd;
        if is_limited && is_ahead(connection) {
            self.ring.receive_once(socket, index);
        } else {
            self.ring.receive(socket, index);
        }
    }

    pub(super) fn plan_again(&mut self) {
        let mut again = std::mem::take(&mut self.again);
        if !again.is_empty() {
            self.timing.begin_reading(self.clock.raw());
        }
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
    pub(super) fn plan(&mut self, index: u32, source: Source) {
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
        let mut is_partial = false;
        let bytes: &mut [u8] = match source {
            Source::Buffer(buffer) => self.ring.bytes_mut(buffer),
            Source::Input => &mut connection.input,
        };
        let end = bytes.len();
        while at < end && !blocked {
            // A request with long arguments is the only one of its pass.
            if COMMANDS_PER_PASS_MAX <= connection.planned || !connection.bodies.is_empty() && connection.planned != 0 {
                break;
            }
            if OUTSTANDING_MAX <= connection.replies.outstanding() || OUTPUT_PAUSE_BYTES <= connection.replies.bytes() {
                blocked = true; // Looked at again when replies went.
                break;
            }
            let consumed = match connection.parser.parse(&mut bytes[at..], &limits, &mut self.request_spans) {
                Ok(None) => {
                    blocked = true; // Incomplete: wait for more bytes.
                    is_partial = true;
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
                        batch: self.timing.next_batch(),
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
            let argument = |at: usize| match connection.bodies.iter().find(|(index, _)| *index as usize == at) {
                Some((_, body)) => body.as_bytes(),
                None => self.request_spans[at].of(request),
            };
            let what = match lookup::lookup(argument(0)) {
                None => What::Unknown,
                Some(row) if !row.subcommands.is_empty() => match self.request_spans.len() {
                    1 => What::Row(row),
                    _ => match lookup::lookup_sub(row, argument(1)) {
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
                batch: self.timing.next_batch(),
            };
            if let What::Row(row) = what {
                // What is refused anyhow is refused at once.
                if (self.shared.pause_mode.load(Ordering::Relaxed) != 0 || self.shared.persistence.holds())
                    && limits.authenticated
                    && row.accepts(self.request_spans.len())
                    && let args = arguments::<ArgSlices<'_>>(&self.request_spans, request, &connection.bodies)
                    && is_paused(&self.shared, row, &args, &connection.session, self.now_ms)
                {
                    connection.paused = true;
                    self.paused.push(index);
                    if !connection.bodies.is_empty() {
                        break; // It came as an array, and stays as it is.
                    }
                    // It is read again when the pause ends. An inline request was decoded in place, so that its bytes
                    // mean something else now: it waits in the other form.
                    held_back = Some((consumed, encode_request(&args)));
                    break;
                }
                if row.accepts(self.request_spans.len()) {
                    match row.command.keys {
                        Keys::Range { first: 1, last: 1, .. } => {
                            let key = argument(1);
                            let shard = self.map.shard_of(key);
                            planned.place = Place::One(shard);
                            planned.hash = self.hasher.hash(key);
                        }
                        // Those that ask all cores, and those that may change how requests are read.
                        Keys::None => {
                            blocked = match row.run {
                                Run::Session(_) => row.flags.contains(Flags::ADMIN),
                                Run::Container
                                | Run::Keyspace(_)
                                | Run::Blocking(_)
                                | Run::Joint(_)
                                | Run::Subscription { .. } => false,
                                Run::Everywhere { .. } => true,
                            };
                        }
                        _ => {
                            let args: ArgSlices<'_> = arguments(&self.request_spans, request, &connection.bodies);
                            planned.place = place(self.map, row.command, &args);
                        }
                    }
                }
            }
            self.spans.append(&mut self.request_spans);
            self.planned.push(planned);
            connection.planned += 1;
            at += consumed;
            // After an AUTH other limits hold for what follows.
            let may_authenticate = matches!(what, What::Row(row) if row.flags.contains(Flags::NO_AUTH));
            blocked |= !limits.authenticated && may_authenticate || !connection.bodies.is_empty();
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
        // Behind commands of this pass that may be held back, and so come in front of it again, it has to wait.
        if is_partial && connection.planned == 0 {
            connection.set_aside();
        }
        let waits_since = std::mem::take(&mut connection.waits_since);
        if 0 < connection.planned {
            if self.stats.is_tracking() || self.config.slowlog_stages {
                self.timing.read(waits_since, self.clock.raw());
            }
            self.active.push(index);
        }
        if at < end && !is_partial {
            connection.waits_since =
                if connection.planned == 0 && waits_since != 0 { waits_since } else { self.clock.raw() };
        }
        // Whole commands may be left: look again after this pass.
        if at < end && (!blocked || connection.planned != 0) && connection.protocol_error.is_none() {
            list_once(&mut self.again, &mut connection.again, index);
        }
    }
}

/// Whether a client's next command has to wait: for others, for other cores, or for the client to take its replies; not
/// for its own end.
fn is_stalled(connection: &Connection) -> bool {
    connection.is_held()
        || OUTSTANDING_MAX <= connection.replies.outstanding()
        || OUTPUT_PAUSE_BYTES <= connection.replies.bytes()
}

/// Whether a client has sent so much more than was run that nothing more is received from it for now. Of a command
/// that has not all arrived everything is received.
fn is_behind(connection: &Connection, is_limited: bool) -> bool {
    let bytes_max = if is_limited { INPUT_PAUSE_LIMITED_BYTES } else { INPUT_PAUSE_BYTES };
    (is_stalled(connection) || connection.again) && bytes_max < connection.unplanned_bytes()
}

/// Whether what is received next may have to wait: a multishot receive would bring all that the client has sent before
/// it could be cancelled. Of a long argument much is received at once, for it is needed as a whole.
fn is_ahead(connection: &Connection) -> bool {
    let missing = connection.arriving.as_ref().map_or(0, Arriving::missing_bytes);
    0 < connection.unplanned_bytes() && missing < BURST_BUFFERS * RECEIVE_BUFFER_BYTES
}

/// How much of a receive buffer is filled at most under this limit.
pub(super) fn fill_bytes(limit_bytes: u64, cores: usize) -> usize {
    match limit_bytes {
        0 => RECEIVE_BUFFER_BYTES,
        _ => (limit_bytes / RECEIVED_PART / (cores as u64 * u64::from(RECEIVE_BUFFERS))) as usize,
    }
}

/// A planned request as it came, to be read again; `None`: it was decoded in place.
pub(super) fn raw_request<'a>(bytes: &'a [u8], planned: &Planned, spans: &[Span]) -> Option<&'a [u8]> {
    let request = &bytes[planned.base..];
    let last = spans.last()?;
    let end = (last.start + last.len) as usize + b"\r\n".len();
    (request.first() == Some(&b'*') && end <= request.len()).then(|| &request[..end])
}

/// A request as an array of bulks.
pub(super) fn encode_request(args: &Args<'_>) -> Vec<u8> {
    let mut encoded = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        encoded.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        encoded.extend_from_slice(arg);
        encoded.extend_from_slice(b"\r\n");
    }
    encoded
}

/// Whether `CLIENT PAUSE` holds this command back, or a snapshot does.
pub(super) fn is_paused(shared: &Shared, row: &'static Row, args: &Args<'_>, session: &Session, now_ms: u64) -> bool {
    let holds_all = shared.persistence.holds_all();
    let is_paused = now_ms < shared.pause_until_ms.load(Ordering::Relaxed);
    if !is_paused && !shared.persistence.holds() {
        return false;
    }
    let all = holds_all || is_paused && shared.pause_mode.load(Ordering::Relaxed) == 2;
    let does_write = |row: &Row, args: &Args<'_>| {
        row.flags.may_change()
            && !matches!(row.command.run, Run::Joint(Joint::Script(call)) if shared.scripts.only_reads(call, args))
    };
    let queued = &session.transaction;
    let is_write_queued = |at: usize| {
        let args: ArgSlices<'_> = queued.args(at).collect();
        does_write(lookup::find_by_index(queued.command(at) as usize), &args)
    };
    let writes = does_write(row, args)
        || matches!(row.command.run, Run::Joint(Joint::Exec)) && (0..queued.len()).any(is_write_queued);
    // CLIENT itself must stay usable, or nobody could unpause.
    (all && !row.command.flags.contains(Flags::ALLOW_BUSY)) || writes
}
