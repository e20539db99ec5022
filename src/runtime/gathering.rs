//! Commands that involve several cores: split by key, asked of every core, or answered when all have taken a change.
//! Their client waits behind a barrier until the last contribution makes the reply.

use super::aof_share::LogWait;
use super::block::Waiting;
use super::core::Core;
use super::execute::call_of;
use super::joint::{Borrowing, Work};
use super::lend::Ground;
use super::mailbox::Control;
use super::read::{Planned, Source};
use super::send::list_once;
use super::slow;
use super::snapshot::{Client, Noted};
use super::survey::Survey;
use super::walk::Scan;
use crate::command::lookup::Row;
use crate::command::slowlog::Split;
use crate::command::{Clients, CoreView, Part, Run, SessionView, slowlog};
use crate::connection::{Arriving, Connection, arguments};
use crate::keyspace::Keyspace;
use crate::resp::{Output, Reply};
use crate::route::cursor_shard;
use crate::route::parcel::ArgSlices;
use crate::session::{Mode, Session};
use crate::shard::{Call, finish};
use crate::stats::stages::Way;
use ahash::AHashMap;
use slab::Slab;
use std::sync::Arc;

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
    /// What came before that.
    pub(super) split: Split,
}

/// What all cores are asked: for which gathering, which command, its arguments.
pub(super) type Question = (u32, &'static Row, Arc<Vec<Vec<u8>>>);

/// What it waits for.
pub(super) enum Kind {
    /// What several shards lend.
    Borrowing(Box<Borrowing>),
    /// Contributions of every core, for a call of a transaction or script that goes on afterwards.
    Asking(Box<Asking>),
    /// Nothing: it is being worked on.
    Moving,
    /// One shard after the other.
    Walk(Scan),
    /// All shards side by side, step after step.
    Survey(Box<Survey>),
    /// Contributions of every core.
    Parts(Vec<Option<Part>>),
    /// The reply is there already; every core has to acknowledge first.
    Acknowledged { reply: Output },
}

/// A call of a transaction or script that asks every core. It holds all keyspaces: they travel with the questions, so
/// that every core tells of what is there, and come back with the answers.
pub(super) struct Asking {
    pub(super) asker: Asker,
    keyspaces: Vec<Option<Box<Keyspace>>>,
    parts: Vec<Option<Part>>,
}

/// What goes on when all cores have answered.
pub(super) enum Asker {
    Exec(Box<Borrowing>),
    /// One that waits for it with its Lua on the stack, and takes the answers itself.
    Script,
}

impl Asking {
    pub(super) fn new(asker: Asker, ground: Ground) -> Box<Asking> {
        let Ground::Whole(keyspaces) = ground else { panic!("who asks every core holds everything") };
        let parts = keyspaces.iter().map(|_| None).collect();
        Box::new(Asking {
            asker,
            keyspaces: keyspaces.into_iter().map(|keyspace| Some(Box::new(keyspace))).collect(),
            parts,
        })
    }

    /// One core's answer.
    pub(super) fn take(&mut self, core: usize, part: Part, keyspace: Option<Box<Keyspace>>) {
        assert!(keyspace.is_some() && self.keyspaces[core].is_none(), "what came with the question comes back");
        (self.parts[core], self.keyspaces[core]) = (Some(part), keyspace);
    }

    /// All answers, and what it holds.
    pub(super) fn end(self) -> (Asker, Vec<Part>, Ground) {
        let parts = self.parts.into_iter().map(|part| part.expect("every core answered")).collect();
        let keyspaces = self.keyspaces.into_iter().map(|keyspace| *keyspace.expect("it came with the answer"));
        (self.asker, parts, Ground::Whole(keyspaces.collect()))
    }
}

impl Core {
    /// Begins a walk from shard to shard.
    pub(super) fn start_walk(&mut self, planned: &Planned, row: &'static Row, started: u64) -> u64 {
        let (call, args, sequence) = self.begin_barrier(planned);
        let stays = self.connections[planned.connection as usize].session.is_node;
        let shard = match stays {
            true => self.core,
            false => cursor_shard(&args.iter().map(Vec::as_slice).collect::<ArgSlices<'_>>(), self.map.shards()),
        };
        let args = Arc::new(args);
        let gathering = self.gatherings.insert(Gathering {
            connection: planned.connection,
            sequence,
            row,
            kind: Kind::Walk(Scan::new(call, shard, stays, args.clone())),
            args,
            missing: 0,
            started,
            split: self.timing.split(planned.batch, started, &self.clock),
        });
        self.walk(gathering as u32);
        self.clock.raw()
    }

    /// The client waits from now on; the reply to the command has its place. What is known of the call.
    pub(super) fn begin_barrier(&mut self, planned: &Planned) -> (Call, Vec<Vec<u8>>, u32) {
        let connection =
            &mut **self.connections.get_mut(planned.connection as usize).expect("planned connections are open");
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let request = &bytes[planned.base..];
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let args: ArgSlices<'_> = arguments(spans, request, &connection.bodies);
        let args = args.iter().map(|arg| arg.to_vec()).collect();
        connection.barrier = true;
        (call_of(&connection.session), args, connection.replies.reserve())
    }

    /// This core's own reply for a command that several shards share.
    pub(super) fn own_part(&mut self, gathering: u32, reply: Output) {
        self.shard_answered(gathering, self.core, reply.bytes());
    }

    /// A shard's reply for a command that several shards share.
    pub(super) fn shard_answered(&mut self, gathering: u32, shard: usize, reply: &[u8]) {
        match self.gatherings[gathering as usize].kind {
            Kind::Walk(_) => self.walked(gathering, reply),
            Kind::Survey(_) => self.surveyed(gathering, shard, reply),
            _ => panic!("a reply for a gathering of something else"),
        }
    }

    /// Asks every core for its part of a command.
    pub(super) fn ask_everywhere(
        &mut self,
        index: u32,
        row: &'static Row,
        args: Vec<Vec<u8>>,
        started: u64,
        split: Split,
    ) {
        let args = Arc::new(args);
        let cores = self.map.shards();
        let connection = &mut *self.connections[index as usize];
        connection.barrier = true;
        let sequence = connection.replies.reserve();
        let gathering = self.gatherings.insert(Gathering {
            connection: index,
            sequence,
            row,
            args: args.clone(),
            missing: cores,
            kind: Kind::Parts((0..cores).map(|_| None).collect()),
            started,
            split,
        });
        self.ask_cores(gathering as u32, row, args);
    }

    /// Asks every core for its part of a command, for a gathering that waits for them. Not while a client is on its way
    /// from core to core: it would be counted twice, or not at all.
    pub(super) fn ask_cores(&mut self, gathering: u32, row: &'static Row, args: Arc<Vec<Vec<u8>>>) {
        if self.map.shards() == 1 || self.shared.steering.gate.begin_question() {
            self.put_question(gathering, row, args);
        } else {
            self.questions.push((gathering, row, args));
        }
    }

    /// Asks what had to wait, if it need not any more.
    pub(super) fn put_questions(&mut self) {
        if !self.questions.is_empty() && self.shared.steering.gate.may_ask() {
            for (gathering, row, args) in std::mem::take(&mut self.questions) {
                self.put_question(gathering, row, args);
            }
        }
    }

    fn put_question(&mut self, gathering: u32, row: &'static Row, args: Arc<Vec<Vec<u8>>>) {
        let session = &self.connections[self.gatherings[gathering as usize].connection as usize].session;
        let (db, client) = (session.db, session.id);
        let mut keyspaces = match &mut self.gatherings[gathering as usize].kind {
            Kind::Asking(asking) => asking.keyspaces.iter_mut().map(Option::take).collect(),
            _ => (0..self.map.shards()).map(|_| None).collect::<Vec<_>>(),
        };
        for core in (0..self.map.shards()).filter(|&core| core != self.core) {
            let (args, keyspace) = (args.clone(), keyspaces[core].take());
            let command = row.id.index() as u16;
            self.mailbox.control(core, Control::Ask { gathering, command, db, client, args, keyspace });
        }
        let mut keyspace = keyspaces[self.core].take();
        let part = self.part_of_lent(&mut keyspace, row, db, client, &args);
        self.gathered(gathering as usize, self.core, |kind, core| match kind {
            Kind::Parts(parts) => parts[core] = Some(part),
            Kind::Asking(asking) => asking.take(core, part, keyspace),
            _ => panic!("a part for a gathering of something else"),
        });
    }

    /// Asks every core for a call of a script that holds everything. The gathering's number, for
    /// [`Core::answers_to_script`].
    pub(super) fn ask_for_script(&mut self, index: u32, row: &'static Row, args: Vec<Vec<u8>>, ground: Ground) -> u32 {
        let args = Arc::new(args);
        let gathering = self.gatherings.insert(Gathering {
            connection: index,
            sequence: 0,
            row,
            args: args.clone(),
            missing: self.map.shards(),
            kind: Kind::Asking(Asking::new(Asker::Script, ground)),
            started: self.clock.raw(),
            split: Split::default(),
        });
        self.ask_cores(gathering as u32, row, args);
        gathering as u32
    }

    /// A pass of a narrower kind, for a script that waits for other cores: what they sent is taken in, theirs and ours
    /// leave. Then the answers, once all are there, and what the script holds.
    pub(super) fn answers_to_script(&mut self, gathering: u32) -> Option<(Vec<Part>, Ground)> {
        self.read_mail();
        self.put_questions();
        self.shard.let_go();
        let (ring, pubsub) = (&mut self.ring, &self.shared.pubsub);
        self.mailbox.flush(|core| pubsub.has_mail(core), |peer| ring.wake(peer));
        self.ring.submit();
        if 0 < self.gatherings[gathering as usize].missing {
            return None;
        }
        let Kind::Asking(asking) = self.gatherings.remove(gathering as usize).kind else { panic!("it asks") };
        let (_, parts, ground) = asking.end();
        Some((parts, ground))
    }

    /// Holds a reply back until every core took the new configuration.
    pub(super) fn reconfigure(&mut self, index: u32, row: &'static Row, reply: Output, started: u64) {
        let sequence = self.connections[index as usize].replies.reserve();
        self.acknowledge(index, row, sequence, reply, started);
    }

    /// The same for a reply that has its place already.
    pub(super) fn acknowledge(&mut self, index: u32, row: &'static Row, sequence: u32, reply: Output, started: u64) {
        let cores = self.map.shards();
        self.connections[index as usize].barrier = true;
        let gathering = self.gatherings.insert(Gathering {
            connection: index,
            sequence,
            row,
            args: Arc::default(),
            missing: cores,
            kind: Kind::Acknowledged { reply },
            started,
            split: Split::default(),
        });
        for core in (0..cores).filter(|&core| core != self.core) {
            self.mailbox.control(core, Control::Reconfigure { gathering: gathering as u32 });
        }
        self.take_config();
        self.gathered(gathering, self.core, |_, _| {});
    }

    /// This core's part of a command that asks all of them.
    pub(super) fn part(&mut self, row: &'static Row, db: usize, client: u64, args: &[Vec<u8>]) -> Part {
        self.make_part(row, db, client, args, true)
    }

    /// The same where the asker may bring along what this core has lent to it. What goes meanwhile by itself is for the
    /// asker to log, behind what it has done.
    pub(super) fn part_of_lent(
        &mut self,
        lent: &mut Option<Box<Keyspace>>,
        row: &'static Row,
        db: usize,
        client: u64,
        args: &[Vec<u8>],
    ) -> Part {
        let Some(keyspace) = lent else { return self.part(row, db, client, args) };
        self.shard.take();
        std::mem::swap(&mut self.shard.keyspace, keyspace);
        let part = self.make_part(row, db, client, args, false);
        self.shard.take();
        std::mem::swap(&mut self.shard.keyspace, keyspace);
        part
    }

    fn make_part(&mut self, row: &'static Row, db: usize, client: u64, args: &[Vec<u8>], logs: bool) -> Part {
        let Run::Everywhere { part, .. } = row.command.run else {
            panic!("{} does not ask every core", row.full_name());
        };
        self.shard.take();
        let args: ArgSlices<'_> = args.iter().map(|arg| arg.as_slice()).collect();
        let now_ms = self.now_ms;
        let (mut unblocked, first_closing) = (Vec::new(), self.closing.len());
        let mut clients = ClientsOfCore {
            connections: &mut self.connections,
            closing: &mut self.closing,
            waits: &self.waits,
            log_waits: &mut self.log_waits,
            unblocked: &mut unblocked,
        };
        self.shard.keyspace.begin(now_ms, true);
        let part = part(
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
        );
        if logs {
            self.shard.log_loose();
        }
        self.end_unblocked(unblocked);
        // Whoever is killed gets nothing that happens after the reply to the one who killed it.
        for at in first_closing..self.closing.len() {
            let index = self.closing[at];
            self.cancel_wait(index, None);
            self.tell_no_more(index);
        }
        part
    }

    /// Takes in what one core contributed; the last contribution makes the reply.
    pub(super) fn gathered(&mut self, gathering: usize, core: usize, take: impl FnOnce(&mut Kind, usize)) {
        let waiting = &mut self.gatherings[gathering];
        take(&mut waiting.kind, core);
        waiting.missing -= 1;
        if 0 < waiting.missing {
            return;
        }
        if 1 < self.map.shards() && matches!(waiting.kind, Kind::Parts(_) | Kind::Asking(_)) {
            self.shared.steering.gate.end_question();
        }
        if let Kind::Asking(asking) = &waiting.kind {
            if matches!(asking.asker, Asker::Script) {
                return; // It looks itself.
            }
            let index = waiting.connection;
            let Kind::Asking(asking) = std::mem::replace(&mut waiting.kind, Kind::Moving) else {
                unreachable!("seen above");
            };
            let (Asker::Exec(mut borrowing), parts, ground) = asking.end() else { unreachable!("seen above") };
            let Work::Exec(exec) = &mut borrowing.work else { panic!("a transaction that is none") };
            self.take_parts(index, exec, parts);
            return self.exec_borrowed(gathering as u32, borrowing, ground);
        }
        let done = self.gatherings.remove(gathering);
        let connection = &mut *self.connections[done.connection as usize];
        let protocol = connection.session.protocol;
        let mut out = Output::default();
        let mut deferred = None;
        match done.kind {
            Kind::Acknowledged { reply } => out = reply,
            Kind::Borrowing(_) | Kind::Asking(_) | Kind::Moving | Kind::Survey(_) | Kind::Walk(_) => {
                panic!("these count no contributions")
            }
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
                deferred = view.session.deferred.take().map(|deferred| *deferred);
                finish(result, &mut self.stats, done.row, 0, &mut out);
            }
        }
        let Gathering { connection, sequence, row, started, split, .. } = done;
        let kept = || slowlog::kept(row, &done.args.iter().map(Vec::as_slice).collect::<ArgSlices<'_>>());
        if let Some(deferred) = deferred {
            let noted = Noted { row, started, split, args: kept() };
            return self.defer_at(deferred, Client { connection, sequence, noted });
        }
        if !matches!(row.command.run, Run::Session(_) | Run::Joint(_)) {
            self.record_gathered(connection, row, (started, split), kept);
        }
        self.finish_gathering(done.connection, done.sequence, out);
    }

    /// Counts a command that several cores worked on, and notes it if it was slow; `kept` is what the slow log shows.
    pub(super) fn record_gathered(
        &mut self,
        connection: u32,
        row: &'static Row,
        (started, split): (u64, Split),
        kept: impl FnOnce() -> Vec<Vec<u8>>,
    ) {
        let ended = self.clock.raw();
        let nanoseconds = self.clock.delta_as_nanos(started, ended);
        self.stats.record(row.id, nanoseconds);
        if self.slow_nanoseconds <= nanoseconds {
            let session = &self.connections[connection as usize].session;
            slow::record(&self.shared, &self.config, row, kept, nanoseconds, split, session);
        }
        self.note_reply(connection, row.id, Way::Local, ended);
    }

    /// Answers a command that several cores worked on; its client's next commands may run.
    pub(super) fn finish_gathering(&mut self, index: u32, sequence: u32, reply: Output) {
        let connection = &mut *self.connections[index as usize];
        connection.barrier = false;
        if 0 < connection.unplanned_bytes() {
            list_once(&mut self.again, &mut connection.again, index);
        }
        self.fill_with(index, sequence, reply);
    }
}

/// The clients of this core, for listings and kills.
struct ClientsOfCore<'a> {
    connections: &'a mut Slab<Box<Connection>>,
    closing: &'a mut Vec<u32>,
    waits: &'a AHashMap<u32, Waiting>,
    log_waits: &'a mut Vec<LogWait>,
    /// Those whose tickets were closed, and whether they get an error.
    unblocked: &'a mut Vec<(u32, bool)>,
}

impl Clients for ClientsOfCore<'_> {
    fn for_each(&mut self, visit: &mut dyn FnMut(&mut Session)) {
        for (index, connection) in self.connections.iter_mut() {
            if connection.broken {
                continue;
            }
            let arriving_bytes = connection.arriving.as_ref().map_or(0, Arriving::bytes);
            let unread_bytes = connection.input.len() - connection.input_start + arriving_bytes;
            let told = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
            connection.session.query_bytes = if connection.barrier {
                told(unread_bytes).max(connection.session.query_bytes) // The command under way has left the buffer.
            } else {
                told(unread_bytes)
            };
            let held_bytes = connection.input.capacity() + connection.held_back.capacity() + connection.long_bytes();
            connection.session.query_room_bytes = told(held_bytes.saturating_sub(unread_bytes));
            connection.session.is_blocked = connection.paused;
            connection.session.pending_bytes = connection.replies.bytes();
            let index_of = |wait: &LogWait| wait.connection as usize == index;
            let is_waiting =
                connection.paused || self.waits.contains_key(&(index as u32)) || self.log_waits.iter().any(index_of);
            connection.session.mode.set(Mode::BLOCKED, is_waiting);
            visit(&mut connection.session);
            if connection.session.mode.contains(Mode::CLOSE_NOW) {
                self.closing.push(index as u32);
            }
        }
    }
    fn shared_bytes(&self) -> usize {
        self.connections.iter().map(|(_, connection)| connection.replies.shared_bytes()).sum()
    }

    fn unblock(&mut self, id: u64, is_error: bool) -> bool {
        let mut clients = self.connections.iter();
        let Some((index, _)) = clients.find(|(_, connection)| connection.session.id == id) else { return false };
        if let Some(wait) = self.log_waits.iter_mut().find(|wait| wait.connection as usize == index) {
            return wait.unblocked.replace(is_error).is_none(); // It is answered at the end of the pass.
        }
        if !self.waits.contains_key(&(index as u32)) {
            return false;
        }
        let ticket = &self.waits[&(index as u32)].ticket;
        if !ticket.try_to_answer() {
            return false;
        }
        ticket.close();
        self.unblocked.push((index as u32, is_error));
        true
    }
}
