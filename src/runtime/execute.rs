//! From commands to replies: the planned commands of a pass run in windows, whose memory is asked for ahead.

use super::accept::CLOSING;
use super::aof_share::disk_error;
use super::core::{Core, unix_ms};
use super::lend::Ground;
use super::long::Reader;
use super::mailbox::Control;
use super::monitor;
use super::needs::linked_keys;
use super::pubsub::{begin_tracked, remember_read};
use super::read::{OUTPUT_PAUSE_BYTES, Planned, Source, What, encode_request, raw_request};
use super::room::{Room, needs_room, transaction_needs_room};
use super::send::list_once;
use super::slow;
use super::snapshot::Noted;
use super::timing::Fate;
use super::visit::VISIT_ARGUMENTS_MAX;
use crate::command::lookup::Row;
use crate::command::{Args, Flags, Joint, Keys, Run, SessionView, Spread, key_positions, persistence, slowlog};
use crate::config::Config;
use crate::connection::{Connection, Sent, arguments};
use crate::keyspace::{Actor, Keyspace};
use crate::memory;
use crate::mutant::Mutant;
use crate::resp::{Error, Output, Protocol, Reply};
use crate::route::Place;
use crate::route::locks::Need;
use crate::route::parcel::{ArgSlices, RequestHeader, flags};
use crate::session::{Mode, Session};
use crate::shard::{Call, Shard, Waiter, fail, finish};
use std::sync::atomic::Ordering;

/// Commands whose memory is prefetched before the first of them runs.
pub(super) const PREFETCH_COMMANDS: usize = 16;

/// What an entry takes beside what its command said, in bytes, about: counted here when another core makes it.
const ENTRY_BYTES: usize = 64;

impl Core {
    pub(super) fn run_planned(&mut self) {
        if self.planned.is_empty() {
            return;
        }
        let mut planned = std::mem::take(&mut self.planned);
        let mut clock = self.clock.raw();
        let mut window = 0;
        let mut at = 0;
        while at < planned.len() {
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
                if self.key_sample.is_some() {
                    self.sample_keys(&planned[window..next]);
                }
                window = next;
            }
            let ended = match planned[at].what {
                // A script that runs for too long answers those that come after it.
                What::Row(row) if matches!(row.command.run, Run::Joint(_)) => {
                    let command = planned[at];
                    (self.planned, self.planned_next) = (planned, at + 1);
                    let ended = self.run_one(&command, clock);
                    planned = std::mem::take(&mut self.planned);
                    self.planned_next = 0;
                    ended
                }
                _ => self.run_one(&planned[at], clock),
            };
            self.note_run(&planned[at], clock, ended);
            clock = ended;
            self.deliver_mail();
            at += 1;
        }
        self.end_visits();
        planned.clear();
        self.planned = planned;
        self.spans.clear();
        for index in std::mem::take(&mut self.active) {
            self.consume_planned(index);
        }
    }

    /// The commands of a client that were planned in this pass have run, or are held back.
    pub(super) fn consume_planned(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let is_held_back = !connection.held_back.is_empty() || connection.planned == 0;
        connection.consume_planned();
        connection.session.active_ms = self.now_ms;
        // Missing replies will bring it back themselves.
        if is_held_back && connection.replies.outstanding() == 0 {
            list_once(&mut self.again, &mut connection.again, index);
        }
    }

    /// Why a client's command is refused although nothing is wrong with it: what it writes could not be kept, or keys
    /// are still being loaded.
    #[cold]
    pub(super) fn refuses_to_write(&self, index: u32, row: &'static Row, args: &Args<'_>) -> Option<Error> {
        let session = &self.connections[index as usize].session;
        let needs_disk = || persistence::needs_disk(&self.shared, row, args, session);
        let refused = persistence::refused(self.obstacles, row, &self.config, needs_disk);
        let failed = || disk_error(&self.shared.log, session).filter(|_| self.denies_writes && needs_disk());
        refused.or_else(failed)
    }

    /// The same of a command as it came.
    #[cold]
    fn refuses_planned(&self, planned: &Planned, row: &'static Row) -> Option<Error> {
        let connection = &*self.connections[planned.connection as usize];
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let args: ArgSlices<'_> = arguments(spans, &bytes[planned.base..], &connection.bodies);
        self.refuses_to_write(planned.connection, row, &args)
    }

    /// Asks for memory that a window of commands will need, wherever their keys are and this core may look.
    pub(super) fn prefetch(&self, window: &[Planned], ask: impl Fn(&Keyspace, usize, u64)) {
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
    pub(super) fn run_one(&mut self, planned: &Planned, started: u64) -> u64 {
        self.bound_arguments(planned.connection);
        let connection =
            &mut **self.connections.get_mut(planned.connection as usize).expect("planned connections are open");
        if connection.broken || connection.session.mode.intersects(Mode::CLOSE_NOW | Mode::CLOSE_AFTER_REPLY) {
            return started;
        }
        if OUTPUT_PAUSE_BYTES <= connection.replies.bytes()
            || connection.barrier
            || !connection.held_back.is_empty()
            || 0 < connection.replies.outstanding() && waits_for_replies(planned, connection)
        {
            self.hold_back(planned);
            return started;
        }
        // Before anything of it is done, also what the modes of its client ask for.
        let room = self.room_for_planned(planned);
        if room == Room::Later {
            self.hold_back(planned);
            return started;
        }
        let connection = &mut *self.connections[planned.connection as usize];
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let request = &bytes[planned.base..];
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let slices = || -> ArgSlices<'_> { arguments(spans, request, &connection.bodies) };

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
                connection.replies.output.truncate(0); // Not a word to them.
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
                What::UnknownSubcommand(row) => {
                    let args = slices();
                    let known = row.command.absent.and_then(|absent| absent(&self.config, &args));
                    known.unwrap_or_else(|| Error::unknown_subcommand(row.name, args[1]))
                }
                _ => Error::unknown_command(&slices()),
            };
            connection.session.last_command = None;
            begin_tracked(&mut connection.session, None);
            connection.session.spoil_transaction();
            connection.replies.write(|out| Reply::new(out, Protocol::Resp2).error(&error));
            self.stats.error(error.prefix());
            list_once(&mut self.dirty, &mut connection.dirty, planned.connection);
            return self.clock.raw();
        };
        if connection.session.mode.contains(Mode::TRACKING) {
            begin_tracked(&mut connection.session, Some(row));
        }
        if (!connection.session.mode.is_empty() || !row.accepts(spans.len()))
            && let Some(error) = refused(&self.config, &connection.session, row, spans.len())
        {
            return self.refuse(planned, row, error);
        }
        if (self.obstacles != 0 || self.denies_writes)
            && let Some(error) = self.refuses_planned(planned, row)
        {
            return self.refuse(planned, row, error);
        }
        if room == Room::Lacking {
            return self.refuse(planned, row, self.shared.scripts.refusal().unwrap_or(Error::OUT_OF_MEMORY));
        }
        self.run_admitted(planned, row, started)
    }

    /// Its client's next commands wait behind this one, which has its turn in a later pass.
    fn hold_back(&mut self, planned: &Planned) {
        let connection = &mut *self.connections[planned.connection as usize];
        if !connection.bodies.is_empty() {
            // It is the only one of this pass, in the input: copied, what is long would be there twice.
            connection.keep_planned();
            return;
        }
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        if matches!(planned.what, What::ProtocolError) {
            // Its bytes are read again behind the others.
            connection.protocol_error = None;
            let end = match planned.source {
                Source::Buffer(_) => bytes.len(),
                Source::Input => connection.input_start + connection.planned_bytes,
            };
            connection.held_back.extend_from_slice(&bytes[planned.base..end]);
        } else {
            match raw_request(bytes, planned, spans) {
                Some(raw) => connection.held_back.extend_from_slice(raw),
                None => {
                    let slices: ArgSlices<'_> = arguments(spans, &bytes[planned.base..], &[]);
                    connection.held_back.append(&mut encode_request(&slices));
                }
            }
        }
    }

    /// Whether there is room for a command, if it needs any.
    #[inline]
    fn room_for_planned(&mut self, planned: &Planned) -> Room {
        let What::Row(row) = planned.what else { return Room::Made };
        let session = &self.connections[planned.connection as usize].session;
        let is_queued = !session.mode.is_empty() && session.mode.contains(Mode::IN_TRANSACTION);
        if !(needs_room(row) || is_queued && transaction_needs_room(session, row)) {
            let runs_script = matches!(row.command.run, Run::Joint(Joint::Script(call)) if call.runs());
            return if runs_script { self.room_for_script() } else { Room::Made };
        }
        let request_bytes = self.bytes_of_planned(planned, row);
        let room = self.room_for(request_bytes);
        if !matches!(planned.place, Place::One(shard) if shard == self.core) {
            memory::spend_lease(request_bytes + ENTRY_BYTES);
        }
        // Who holds what could go may never let go of it.
        if room == Room::Later && self.shared.scripts.is_any_busy() { Room::Lacking } else { room }
    }

    /// Runs a command that is not refused: at once, or when its transaction does.
    #[inline]
    fn run_admitted(&mut self, planned: &Planned, row: &'static Row, started: u64) -> u64 {
        let connection =
            &mut **self.connections.get_mut(planned.connection as usize).expect("planned connections are open");
        if connection.session.mode.contains(Mode::IN_TRANSACTION) && !row.command.is_immediate {
            return self.queue(planned, row);
        }
        let is_tracked = connection.session.mode.contains(Mode::TRACKING);
        let is_shown = !row.flags.intersects(Flags::SKIP_MONITOR.union(Flags::ADMIN));
        let is_shown = is_shown && !matches!(row.command.run, Run::Joint(Joint::Exec)); // Shown after its commands.
        let is_shown = is_shown && self.shared.monitors.load(Ordering::Relaxed) != 0;
        let mut shown = None;
        if is_tracked || is_shown {
            let bytes = match planned.source {
                Source::Buffer(buffer) => self.ring.bytes(buffer),
                Source::Input => &connection.input[..],
            };
            let request = &bytes[planned.base..];
            let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
            let args: ArgSlices<'_> = arguments(spans, request, &connection.bodies);
            if is_tracked {
                remember_read(&self.shared.pubsub, &self.config, &connection.session, row, &args);
            }
            shown = is_shown.then(|| monitor::arguments(&slowlog::redacted(row, &args)));
        }
        let ended = self.run_row(planned, row, started);
        if is_tracked && !row.flags.contains(Flags::READONLY) {
            self.note_own_write(planned.connection);
        }
        if let Some(shown) = shown {
            // Behind the reply: who left with RESET does not see it, and SELECT is shown in the database it chose.
            let line = monitor::line(&self.connections[planned.connection as usize].session, &shown);
            self.feed_monitors(line);
        }
        ended
    }

    /// A client that tracks has written, perhaps on another core: see [`waits_for_replies`].
    #[cold]
    fn note_own_write(&mut self, index: u32) {
        let connection = &mut *self.connections[index as usize];
        let place = connection.replies.next_place();
        if let Some(choice) = &mut connection.session.tracking {
            choice.writes_until = (!connection.replies.are_filled_before(place)).then_some(place);
        }
    }

    /// Refuses a command before it runs, and the transaction it belongs to.
    #[cold]
    pub(super) fn refuse(&mut self, planned: &Planned, row: &'static Row, error: Error) -> u64 {
        self.refuse_to(planned.connection, row, error)
    }

    /// The same to a client whose command was taken apart already.
    pub(super) fn refuse_to(&mut self, index: u32, row: &'static Row, error: Error) -> u64 {
        let connection = &mut **self.connections.get_mut(index as usize).expect("planned connections are open");
        let session = &mut connection.session;
        session.last_command = Some(row.id.index() as u16);
        session.spoil_transaction();
        let mut said = error;
        if matches!(row.command.run, Run::Joint(Joint::Exec)) {
            session.discard();
            said = Error::exec_abort(&said);
        }
        connection.replies.write(|out| Reply::new(out, Protocol::Resp2).error(&said));
        self.stats.rejected(row.id, said.prefix());
        list_once(&mut self.dirty, &mut connection.dirty, index);
        self.tell_unwatched(index);
        self.clock.raw()
    }

    /// Runs a command whose client may run it.
    #[inline]
    pub(super) fn run_row(&mut self, planned: &Planned, row: &'static Row, started: u64) -> u64 {
        if !row.is_quick && planned.place != Place::Several && 1 < self.map.shards() {
            self.end_visits();
        }
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
        if !matches!(row.command.run, Run::Keyspace(_))
            && let Some(last) = spans.last()
        {
            // For listings, which show it of those whose command is under way: up to the end of the last argument.
            session.query_bytes = last.start + last.len + b"\r\n".len() as u32;
        }
        match row.command.run {
            Run::Keyspace(_) => {
                let args: ArgSlices<'_> = arguments(spans, request, &connection.bodies);
                let to = match (planned.place, row.command.spread) {
                    // Who waits for its keys is to be served with it.
                    (Place::One(_), _)
                        if self.shared.links.is_any() && !linked_keys(&self.shared.links, row, &args).is_empty() =>
                    {
                        drop(args);
                        return self.run_on_several(planned, row, started);
                    }
                    (Place::One(shard), _) => shard,
                    (Place::Anywhere, Spread::Survey(how, limit)) => {
                        drop(args);
                        if let Some(busy) = self.shared.scripts.refusal() {
                            return self.refuse(planned, row, busy);
                        }
                        return self.start_survey(planned, row, (how, limit), started);
                    }
                    _ if session.is_node && row.asks_all_shards() => self.core,
                    _ if self.map.shards() == 1 => 0,
                    (Place::Anywhere, Spread::Owner | Spread::Split(_)) => self.core,
                    (Place::Anywhere, Spread::Cursor) => {
                        drop(args);
                        if let Some(busy) = self.shared.scripts.refusal() {
                            return self.refuse(planned, row, busy);
                        }
                        return self.start_walk(planned, row, started);
                    }
                    _ => {
                        drop(args);
                        return self.run_on_several(planned, row, started);
                    }
                };
                let call = call_of(session);
                if to != self.core {
                    if self.config.connection_steering
                        && !session.is_node
                        && connection.following.note(to, session.commands)
                    {
                        self.followers.push((planned.connection, to));
                    }
                    // Only if nothing this client sent before is still on its way there.
                    if let Some(peer) = &mut self.visited[to]
                        && row.is_quick
                        && args.len() <= VISIT_ARGUMENTS_MAX
                        && (connection.replies.outstanding() == 0 || Mutant::VisitsOvertake.is_on())
                        && may_visit(peer, row, call.db, &args)
                    {
                        peer.keyspace.hint(args[1], planned.hash);
                        if !connection.bodies.is_empty() {
                            peer.keyspace.bring(connection.bodies.iter().map(|(_, body)| body.clone()).collect());
                        }
                        connection
                            .replies
                            .write(|out| peer.execute(row, call, &args, self.now_ms, &mut self.stats, out));
                        if !connection.bodies.is_empty() {
                            peer.keyspace.bring(Vec::new());
                        }
                        if peer.wants_owner() {
                            self.mailbox.control(to, Control::Sooner);
                        }
                        let told = peer.told;
                        list_once(&mut self.dirty, &mut connection.dirty, planned.connection);
                        let ended = self.clock.raw();
                        let nanoseconds = self.clock.delta_as_nanos(started, ended);
                        self.stats.record(row.id, nanoseconds);
                        self.stats.counters.commands_visiting += 1;
                        if self.slow_nanoseconds <= nanoseconds {
                            let kept = || slowlog::kept(row, &args);
                            let split = self.timing.split(planned.batch, started, &self.clock);
                            let session = &connection.session;
                            slow::record(&self.shared, &self.config, row, kept, nanoseconds, split, session);
                        }
                        drop(args);
                        if self.holds && told != 0 {
                            self.hold_reply(planned.connection, to, told);
                        }
                        self.serve_visited(to);
                        return ended;
                    }
                    // What comes after must not overtake this one.
                    self.timing.fate = Fate::Forwarded;
                    let header = RequestHeader {
                        target: planned.connection,
                        sequence: connection.replies.reserve(),
                        command: row.id.index() as u16,
                        db: call.db as u16,
                        flags: flags_of(call),
                        client: call.actor.client,
                        handed: started,
                    };
                    if self.config.slowlog_stages
                        && let Some((read, queue)) = self.timing.before(planned.batch, started, &self.clock)
                    {
                        let sent = Sent { sequence: header.sequence, read, queue };
                        connection.sent.get_or_insert_default().note(sent, &connection.replies);
                    }
                    if connection.bodies.is_empty() {
                        self.mailbox.request(to, header, &args);
                    } else {
                        let bodies = connection.bodies.clone();
                        let is_long = |at: usize| bodies.iter().any(|(index, _)| *index as usize == at);
                        let short = |at| if is_long(at) { Vec::new() } else { spans[at].of(request).to_vec() };
                        let args = (0..spans.len()).map(short).collect();
                        self.mailbox.control(to, Control::Request { header, args, bodies });
                    }
                    self.stats.counters.commands_forwarded += 1;
                    return self.clock.raw();
                }
                if self.shard.keyspace.is_walked() {
                    self.shard.record_before(row, call.db, &args);
                }
                if !self.shard.locks.is_free()
                    && let need = need_of(row, &args)
                    && self.shard.locks.conflicts_with(&need, row.flags.contains(Flags::READONLY))
                {
                    if let Some(busy) = self.shared.scripts.refusal() {
                        drop(args);
                        return self.refuse(planned, row, busy);
                    }
                    self.timing.fate = Fate::Waits;
                    let sequence = connection.replies.reserve();
                    let args = args.iter().map(|arg| arg.to_vec()).collect();
                    let (connection, arrival) =
                        (planned.connection, self.timing.arrival(planned.batch, started, &self.clock));
                    self.shard.locks.wait(need, Waiter::Own { connection, sequence, row, call, args, arrival });
                    return self.clock.raw();
                }
                if planned.hash != 0 {
                    self.shard.keyspace.hint(args[1], planned.hash);
                }
                if !connection.bodies.is_empty() {
                    self.shard.keyspace.bring(connection.bodies.iter().map(|(_, body)| body.clone()).collect());
                }
                let mut long = None;
                connection.replies.write(|out| {
                    let slot = Some(&mut long);
                    self.shard.execute_or_leave(row, call, &args, self.now_ms, &mut self.stats, out, slot)
                });
                if !connection.bodies.is_empty() {
                    self.shard.keyspace.bring(Vec::new());
                }
                let told = self.shard.told;
                if let Some(long) = long {
                    self.timing.fate = Fate::Unanswered;
                    let (connection, sequence) = (planned.connection, connection.replies.reserve());
                    let owned = args.iter().map(|arg| arg.to_vec()).collect();
                    drop(args);
                    if self.holds && told != 0 {
                        self.hold_reply(connection, self.core, told);
                    }
                    let split = self.timing.split(planned.batch, started, &self.clock);
                    self.begin_long(long, Reader::Own { connection, sequence }, (row, call), owned, started, split);
                    return self.clock.raw();
                }
                list_once(&mut self.dirty, &mut connection.dirty, planned.connection);
                let ended = self.clock.raw();
                let nanoseconds = self.clock.delta_as_nanos(started, ended);
                self.stats.record(row.id, nanoseconds);
                if self.slow_nanoseconds <= nanoseconds {
                    let split = self.timing.split(planned.batch, started, &self.clock);
                    let (kept, session) = (|| slowlog::kept(row, &args), &connection.session);
                    slow::record(&self.shared, &self.config, row, kept, nanoseconds, split, session);
                    self.now_ms = unix_ms();
                }
                drop(args);
                if self.holds && told != 0 {
                    self.hold_reply(planned.connection, self.core, told);
                }
                if !row.is_quick {
                    self.look_for_emptied(planned.connection, &mut Ground::Engines);
                }
                self.serve_own();
                ended
            }
            Run::Blocking(_) => self.run_on_several(planned, row, started),
            Run::Session(_) => self.run_session(planned, row, started),
            Run::Joint(joint) => self.run_joint(joint, planned, row, started),
            Run::Subscription { audience, joins } => {
                let args: ArgSlices<'_> = arguments(spans, request, &connection.bodies);
                let names: Vec<Vec<u8>> = args[1..].iter().map(|name| name.to_vec()).collect();
                drop(args);
                self.run_subscription(planned.connection, row, audience, joins, names, started)
            }
            Run::Everywhere { check, .. } => {
                let args: ArgSlices<'_> = arguments(spans, request, &connection.bodies);
                let view = SessionView {
                    session,
                    config: &self.config,
                    shared: &self.shared,
                    now_ms: self.now_ms,
                    reconfigured: false,
                };
                if let Err(error) = check(&view, &args) {
                    connection.replies.write(|out| fail(&mut self.stats, row, &error, out.len(), out));
                    self.stats.record(row.id, self.clock.delta_as_nanos(started, self.clock.raw()));
                    list_once(&mut self.dirty, &mut connection.dirty, planned.connection);
                    return self.clock.raw();
                }
                let owned: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
                drop(args);
                let split = self.timing.split(planned.batch, started, &self.clock);
                self.ask_everywhere(planned.connection, row, owned, started, split);
                self.clock.raw()
            }
            Run::Container => {
                let error = Error::wrong_arity(&row.full_name());
                connection.replies.write(|out| Reply::new(out, Protocol::Resp2).error(&error));
                list_once(&mut self.dirty, &mut connection.dirty, planned.connection);
                self.clock.raw()
            }
        }
    }

    /// Runs a command on what is remembered of its client.
    pub(super) fn run_session(&mut self, planned: &Planned, row: &'static Row, started: u64) -> u64 {
        let Run::Session(run) = row.command.run else { panic!("{} is no session command", row.full_name()) };
        let connection =
            &mut **self.connections.get_mut(planned.connection as usize).expect("planned connections are open");
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let request = &bytes[planned.base..];
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let args: ArgSlices<'_> = arguments(spans, request, &connection.bodies);
        let mut view = SessionView {
            session: &mut connection.session,
            config: &self.config,
            shared: &self.shared,
            now_ms: self.now_ms,
            reconfigured: false,
        };
        let stats = &mut self.stats;
        let mut held_back = Output::default();
        // CLIENT REPLY decides about its own reply too.
        connection.replies.discard = false;
        connection.replies.write(|out| {
            let start = out.len();
            let protocol = view.session.protocol;
            let result = run(&mut view, &args, &mut Reply::new(&mut *out, protocol));
            stats.counters.denied_authentications += u64::from(result == Err(Error::WRONG_PASSWORD));
            finish(result, stats, row, start, out);
            if view.reconfigured {
                held_back.extend_from_slice(&out.bytes()[start..]);
                out.truncate(start);
            }
            if discards(view.session.mode) {
                out.truncate(start);
            }
        });
        let reconfigured = view.reconfigured;
        let ended = self.clock.raw();
        let nanoseconds = self.clock.delta_as_nanos(started, ended);
        let deferred = connection.session.deferred.take().map(|deferred| {
            let split = self.timing.split(planned.batch, started, &self.clock);
            (*deferred, Noted { row, started, split, args: slowlog::kept(row, &args) })
        });
        // What is not done yet is counted when it is.
        if deferred.is_none() {
            self.stats.record(row.id, nanoseconds);
        }
        // A command that changes the configuration is judged by what it set.
        let newest = reconfigured.then(|| self.shared.config());
        let threshold = newest.as_deref().map_or(self.slow_nanoseconds, slow::threshold_nanoseconds);
        if threshold <= nanoseconds && deferred.is_none() {
            let kept = || slowlog::kept(row, &args);
            let config = newest.as_deref().unwrap_or(&self.config);
            let split = self.timing.split(planned.batch, started, &self.clock);
            slow::record(&self.shared, config, row, kept, nanoseconds, split, &connection.session);
        }
        drop(args);
        list_once(&mut self.dirty, &mut connection.dirty, planned.connection);
        if connection.session.mode.intersects(CLOSING) {
            self.closing.push(planned.connection);
        }
        if let Some(subscriptions) = connection.session.unsubscribed.take() {
            self.forget_subscriptions(planned.connection, subscriptions);
        }
        let connection = &mut *self.connections[planned.connection as usize];
        if !connection.session.unwatched.is_empty() {
            self.tell_unwatched(planned.connection);
        }
        if reconfigured {
            self.reconfigure(planned.connection, row, held_back, started);
        }
        if let Some((deferred, noted)) = deferred {
            self.defer(deferred, planned.connection, noted);
        }
        if self.shared.persistence.has_wish() {
            self.tend_saving(); // At once, so that the moment is before the reply.
        }
        ended
    }
}

/// Whether a command may not overtake its client's commands on other cores. One that does not touch keys: who is told
/// of a change finds it made. A read of one who tracks: its own write before, told of after, would have it forgotten.
#[inline]
fn waits_for_replies(planned: &Planned, connection: &Connection) -> bool {
    let What::Row(row) = planned.what else { return false };
    let writes_until = || connection.session.tracking.as_ref()?.writes_until;
    row.flags.contains(Flags::PUBSUB)
        || writes_until().is_some_and(|place| !connection.replies.are_filled_before(place))
}

/// Whether a visitor may run a command there: not if it has to wait for a snapshot.
#[inline]
fn may_visit(engine: &mut Shard, row: &'static Row, db: usize, args: &Args<'_>) -> bool {
    if engine.keyspace.is_walked() {
        engine.record_before(row, db, args);
        return engine.locks.is_free();
    }
    true
}

/// What a command needs of the shard it runs on.
pub(super) fn need_of(row: &'static Row, args: &Args<'_>) -> Need {
    let mut positions = Vec::new();
    if matches!(row.command.keys, Keys::None) || key_positions(row.command, args, &mut positions).is_err() {
        return Need::Everything;
    }
    Need::Keys(positions.into_iter().map(|at| args[at].to_vec()).collect())
}

pub(super) fn call_of(session: &Session) -> Call {
    let actor = Actor { client: session.id, call: session.commands as u32, is_script: false };
    Call {
        db: session.db,
        protocol: session.protocol,
        touch: !session.mode.contains(Mode::NO_TOUCH),
        actor,
        is_replayed: false,
    }
}

pub(super) fn flags_of(call: Call) -> u32 {
    let resp3 = if call.protocol == Protocol::Resp3 { flags::RESP3 } else { 0 };
    let no_touch = if call.touch { 0 } else { flags::NO_TOUCH };
    resp3 | no_touch
}

/// Words that a browser sends first when a web page makes it talk to this port: the connection is closed at once, as
/// Redis does.
pub(super) fn is_cross_protocol(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// `CLIENT REPLY SKIP` covers exactly the next command.
pub(super) fn advance_reply_mode(session: &mut Session) {
    let skips = session.mode.contains(Mode::REPLY_SKIP_NEXT);
    session.mode.remove(Mode::REPLY_SKIP_NEXT);
    session.mode.set(Mode::REPLY_SKIP, skips);
}

/// Why a client in a special state, or with too few arguments, may not run this command.
pub(super) fn refused(config: &Config, session: &Session, row: &'static Row, argc: usize) -> Option<Error> {
    if !row.accepts(argc) {
        return Some(Error::wrong_arity(&row.full_name()));
    }
    if session.mode.contains(Mode::UNAUTHENTICATED) && !row.command.flags.contains(Flags::NO_AUTH) {
        return Some(Error::NOT_AUTHENTICATED);
    }
    if session.mode.contains(Mode::IN_TRANSACTION) && row.flags.contains(Flags::NO_MULTI) {
        return Some(Error::fixed("ERR Command not allowed inside a transaction"));
    }
    if let Some(permission) = row.command.permission
        && let Err(error) = permission(config, session)
    {
        return Some(error);
    }
    // As a replica of Redis: it is only fed.
    let touches_keys = row.flags.contains(Flags::READONLY) || row.flags.may_change();
    if session.mode.contains(Mode::MONITOR) && touches_keys {
        return Some(Error::fixed("ERR Replica can't interact with the keyspace"));
    }
    let is_resp2_subscriber = session.mode.contains(Mode::SUBSCRIBED) && session.protocol == Protocol::Resp2;
    if is_resp2_subscriber && !row.command.is_for_subscribers {
        return Some(Error::not_for_subscribers(&row.full_name()));
    }
    None
}

pub(super) fn discards(mode: Mode) -> bool {
    mode.intersects(Mode::REPLY_OFF | Mode::REPLY_SKIP)
}
