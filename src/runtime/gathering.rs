//! Commands that involve several cores: split by key, asked of every core, or answered when all have taken a change.
//! Their client waits behind a barrier until the last contribution makes the reply.

use super::core::Core;
use super::execute::{call_of, flags_of, need_of};
use super::lend::Borrowing;
use super::mailbox::Control;
use super::read::{Planned, Source};
use super::slow;
use super::walk::Walk;
use crate::command::lookup::Row;
use crate::command::{Args, Clients, CoreView, Gather, Keys, Part, Run, SessionView, Spread, key_positions, slowlog};
use crate::connection::Connection;
use crate::resp::Reply;
use crate::route::gather;
use crate::route::parcel::{ArgSlices, RequestHeader, flags};
use crate::session::{Mode, Session};
use crate::shard::{Waiter, finish};
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

impl Core {
    /// Sends the parts of a command to the shards that share it; their replies are merged later.
    pub(super) fn spread(&mut self, planned: &Planned, row: &'static Row, started: u64) -> u64 {
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
    pub(super) fn ask_everywhere(&mut self, index: u32, row: &'static Row, args: Vec<Vec<u8>>, started: u64) {
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
    pub(super) fn reconfigure(&mut self, index: u32, row: &'static Row, reply: Vec<u8>, started: u64) {
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
    pub(super) fn part(&mut self, row: &'static Row, db: usize, client: u64, args: &[Vec<u8>]) -> Part {
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
    pub(super) fn gathered(&mut self, gathering: usize, core: usize, take: impl FnOnce(&mut Kind, usize)) {
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
                let session = &self.connections[done.connection as usize].session;
                let kept = || match row_splits {
                    true => done.args.to_vec(),
                    false => {
                        let args: ArgSlices<'_> = done.args.iter().map(|arg| arg.as_slice()).collect();
                        slowlog::kept(done.row, &args)
                    }
                };
                slow::record(&self.shared, &self.config, done.row, kept, nanoseconds, session);
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
}

/// The shard that a SCAN cursor points into.
pub(super) fn cursor_shard(args: &Args<'_>, shards: usize) -> usize {
    let cursor = args.get(1).and_then(|arg| std::str::from_utf8(arg).ok()).and_then(|text| text.parse::<u64>().ok());
    cursor.map_or(0, |cursor| (cursor % shards as u64) as usize)
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
