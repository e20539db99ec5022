//! Messages of other cores: commands of their clients, replies to ours, and everything rarer.

use super::core::Core;
use super::execute::{PREFETCH_COMMANDS, need_of};
use super::gathering::Kind;
use super::long::Reader;
use super::mailbox::{Control, Message};
use super::room::needs_room;
use super::slow;
use crate::command::long_reply::LongReply;
use crate::command::lookup::Row;
use crate::command::slowlog::Split;
use crate::command::{Args, Flags, Spread, lookup, slowlog};
use crate::resp::{Error, Protocol, Reply};
use crate::route::parcel::{ArgSlices, Parcel, ReplyHeader, RequestHeader, flags};
use crate::shard::{Call, Waiter};
use crate::stats::stages::{Lane, Stage, Way};
use crate::value::LongString;

/// Messages of one core taken in one pass.
const MESSAGES_PER_PASS_MAX: usize = 16;

impl Core {
    pub(super) fn read_mail(&mut self) {
        for from in 0..self.map.shards() {
            // Bounded, so that a busy peer cannot keep this core from its own clients.
            for _ in 0..MESSAGES_PER_PASS_MAX {
                match self.mailbox.receive(from) {
                    None => break,
                    Some(Message::Requests(parcel)) => self.run_requests(from, parcel),
                    Some(Message::Replies(parcel)) => self.take_replies(from, parcel),
                    Some(Message::Control(control)) => self.obey(from, *control),
                }
            }
        }
    }

    /// Runs the commands of other cores' clients.
    pub(super) fn run_requests(&mut self, from: usize, parcel: Parcel) {
        self.shard.take();
        let mut ahead = 0;
        let mut ahead_args = ArgSlices::new();
        let mut args = ArgSlices::new();
        let mut offset = 0;
        let mut started = self.clock.raw();
        while let Some((header, next)) = parcel.request(offset, &mut args) {
            if ahead <= offset {
                ahead = offset;
                for _ in 0..PREFETCH_COMMANDS {
                    let Some((header, next)) = parcel.request(ahead, &mut ahead_args) else { break };
                    if let Some(key) = ahead_args.get(1) {
                        let hash = self.hasher.hash(key);
                        self.shard.keyspace.prefetch_bucket(header.db as usize, hash);
                    }
                    ahead = next;
                }
            }
            started = self.run_sent(from, header, &args, started);
            offset = next;
        }
        drop(args);
        drop(ahead_args);
        self.mailbox.recycle(parcel);
    }

    /// Runs a command of another core's client, and answers: with the reply, or that it comes later, if the command
    /// leaves one to be written bit by bit.
    #[inline]
    pub(super) fn execute_sent(
        &mut self,
        from: usize,
        header: &RequestHeader,
        row: &'static Row,
        args: &Args<'_>,
    ) -> Option<LongReply> {
        let reply = ReplyHeader {
            target: header.target,
            sequence: header.sequence,
            flags: header.flags & flags::GATHER,
            command: header.command,
            handed: 0,
        };
        let (shard, stats, now_ms) = (&mut self.shard, &mut self.stats, self.now_ms);
        let holds = self.holds && header.flags & flags::GATHER == 0;
        let mut long = None;
        self.mailbox.reply(from, reply, |out| {
            let succeeds = shard.execute_or_leave(row, Call::of(header), args, now_ms, stats, out, Some(&mut long));
            let mut gated = 0;
            if holds && shard.told != 0 && long.is_none() {
                out.extend_from_slice(&shard.told.to_le_bytes());
                gated = flags::GATED;
            }
            match (&long, succeeds) {
                (Some(_), _) => flags::LATER,
                (None, true) => gated,
                (None, false) => gated | flags::FAILED,
            }
        });
        long
    }

    /// Tells another core, for its client or the gathering that asked, that a command cannot run.
    pub(super) fn refuse_sent(&mut self, from: usize, header: &RequestHeader, error: &Error) {
        let RequestHeader { target, sequence, command, .. } = *header;
        let reply = ReplyHeader { target, sequence, flags: header.flags & flags::GATHER, command, handed: 0 };
        self.stats.rejected(lookup::find_by_index(command as usize).id, error.prefix());
        self.mailbox.reply(from, reply, |out| {
            Reply::new(out, Protocol::Resp2).error(error);
            flags::FAILED
        });
    }

    /// Runs a command of another core's client; `started` and the result are readings of the clock.
    #[inline]
    fn run_sent(&mut self, from: usize, header: RequestHeader, args: &Args<'_>, started: u64) -> u64 {
        let row = lookup::find_by_index(header.command as usize);
        if header.flags & flags::GATHER != 0 && matches!(row.command.spread, Spread::Survey(..)) {
            self.take_step(from, header, args.iter().map(|arg| arg.to_vec()).collect());
            return started;
        }
        if needs_room(row) {
            self.make_room_for_sent(row, header.db as usize, args);
        }
        if self.shard.keyspace.is_walked() {
            self.shard.record_before(row, header.db as usize, args);
        }
        if !self.shard.locks.is_free()
            && let need = need_of(row, args)
            && self.shard.locks.conflicts_with(&need, row.flags.contains(Flags::READONLY))
        {
            if let Some(busy) = self.shared.scripts.refusal() {
                self.refuse_sent(from, &header, &busy);
                return started;
            }
            let args = args.iter().map(|arg| arg.to_vec()).collect();
            self.shard.locks.wait(need, Waiter::Sent { from, header, args, at: started });
            return started;
        }
        let long = self.execute_sent(from, &header, row, args);
        if let Some(long) = long {
            let args = args.iter().map(|arg| arg.to_vec()).collect();
            let split = self.note_hop(&header, row, started, 0);
            self.begin_long(long, Reader::Sent { from, header }, (row, Call::of(&header)), args, started, split);
            return self.clock.raw();
        }
        self.serve_own();
        let ended = self.clock.raw();
        self.note_sent(from, &header, row, args, (started, ended), 0);
        ended
    }

    /// Counts a command of another core's client that has run from then to then, and whose reply is packed; for so long
    /// it had waited here for keys.
    #[inline]
    pub(super) fn note_sent(
        &mut self,
        from: usize,
        header: &RequestHeader,
        row: &'static Row,
        args: &Args<'_>,
        (started, ended): (u64, u64),
        held: u64,
    ) {
        // Parts of a spread command are counted where the command came in.
        if header.flags & flags::GATHER != 0 {
            return;
        }
        let nanoseconds = self.clock.delta_as_nanos(started, ended);
        self.mailbox.stamp_reply(from, ended);
        self.stats.record_run(row.id, Way::Forwarded, nanoseconds);
        let split = self.note_hop(header, row, started, held);
        if self.is_slow(nanoseconds, held) {
            let kept = || slowlog::kept(row, args);
            if let Some(entry) = slow::entry(&self.shared, &self.config, row, kept, nanoseconds, split) {
                let RequestHeader { target, sequence, .. } = *header;
                self.mailbox.control_before_reply(from, Control::Slow { connection: target, sequence, entry });
            }
        }
    }

    /// A command of another core's client begins to run then, having waited here for so long.
    #[inline]
    pub(super) fn note_hop(&mut self, header: &RequestHeader, row: &'static Row, started: u64, held: u64) -> Split {
        let hop = self.clock.delta_as_nanos(header.handed, started);
        self.stats.record_stage(row.id, Lane::of(Way::Forwarded, Stage::Hop), hop, 1);
        Split { hop: Some(hop), held, ..Split::default() }
    }

    /// Runs a command with long arguments, which came apart from the others.
    fn run_long(&mut self, from: usize, header: RequestHeader, args: &[Vec<u8>], bodies: Vec<(u32, LongString)>) {
        self.shard.take();
        let mut slices: ArgSlices<'_> = args.iter().map(|arg| arg.as_slice()).collect();
        for (index, body) in &bodies {
            slices[*index as usize] = body.as_bytes();
        }
        self.shard.keyspace.bring(bodies.iter().map(|(_, body)| body.clone()).collect());
        self.run_sent(from, header, &slices, self.clock.raw());
        self.shard.keyspace.bring(Vec::new());
    }

    /// Hands replies of another core to the clients and gatherings that wait for them.
    pub(super) fn take_replies(&mut self, from: usize, mut parcel: Parcel) {
        let now = self.clock.raw();
        let mut offset = 0;
        while let Some((_, _, next)) = parcel.reply(offset) {
            let long = parcel.take_long(offset, next);
            let (header, mut resp, _) = parcel.reply(offset).expect("seen above");
            offset = next;
            if header.flags & flags::GATED != 0 {
                let (reply, position) = resp.split_last_chunk().expect("eight bytes behind the reply");
                resp = reply;
                self.hold_reply(header.target, from, u64::from_le_bytes(*position));
            }
            if header.flags & flags::GATHER != 0 {
                self.shard_answered(header.target, from, resp);
                continue;
            }
            self.fill(header.target, header.sequence, resp, long);
            if header.handed != 0 {
                let row = lookup::find_by_index(header.command as usize);
                self.note_returned(header.target, row.id, header.handed, now);
            }
        }
        self.mailbox.recycle(parcel);
    }

    pub(super) fn obey(&mut self, from: usize, control: Control) {
        match control {
            Control::Serve { socket, .. } => self.serve(socket),
            Control::Adopt(connection) => self.adopt(connection),
            Control::Ask { gathering, command, db, client, args, mut keyspace } => {
                let row = lookup::find_by_index(command as usize);
                let part = self.part_of_lent(&mut keyspace, row, db, client, &args);
                self.mailbox.control(from, Control::Answer { gathering, part, keyspace });
            }
            Control::Answer { gathering, part, keyspace } => {
                self.gathered(gathering as usize, from, |kind, core| match kind {
                    Kind::Parts(parts) => parts[core] = Some(part),
                    Kind::Asking(asking) => asking.take(core, part, keyspace),
                    Kind::Acknowledged { .. } => {}
                    Kind::Survey(_) | Kind::Borrowing(_) | Kind::Moving | Kind::Walk(_) => {
                        panic!("a part for a gathering of replies")
                    }
                });
            }
            Control::Lend { gathering, request } => {
                if let Some(loan) = self.lend(from, gathering, request) {
                    self.mailbox.control(from, Control::Lent { gathering, loan });
                }
            }
            Control::Lent { gathering, loan } => self.borrowed(gathering, loan),
            Control::Refused { gathering } => self.refuse_gathering(gathering),
            Control::Busy => self.refuse_waiting(true),
            Control::Home(loan) => self.come_home(loan),
            Control::Unblocked { ticket, reply, nanoseconds } => self.end_wait(&ticket, reply, Some(nanoseconds)),
            Control::Knock { ticket, at } => self.knocks.push((ticket, at)),
            Control::Unblock(ticket) => self.forget_ticket(&ticket),
            Control::Unwatch(unwatched) => self.unwatch(&unwatched),
            Control::Reconfigure { gathering } => {
                self.take_config();
                self.mailbox.control(from, Control::Answer { gathering, part: Box::new(()), keyspace: None });
            }
            Control::Flush => self.writer.is_asked = true,
            Control::Synced => {}                 // What waits for it is looked at in every pass.
            Control::Sooner => self.shard.take(), // Letting go of it tells when to be back.
            Control::Request { header, args, bodies } => self.run_long(from, header, &args, bodies),
            Control::Slow { connection, sequence, mut entry } => {
                let connection = &self.connections[connection as usize];
                if let Some(sent) = connection.sent.as_ref().and_then(|sent| sent.find(sequence)) {
                    entry.split.read = Some(sent.read);
                    entry.split.queue = Some(sent.queue);
                }
                slow::log(&self.shared, &self.config, entry, &connection.session);
            }
            Control::Snapshot(job) => self.begin_part(job),
            Control::Monitor(line) => self.feed_own_monitors(&line),
        }
    }
}
