//! Commands that look at every key (`KEYS`, `CLUSTER GETKEYSINSLOT`), a step at a time: what a step is stands in
//! `src/command/survey.rs`.
//!
//! ```text
//!   start ─▶ step here ─▶ is the call in order? ─▶ a step on every shard, and the next when it is answered ─▶ reply
//! ```
//! A core runs one step a pass, whoever asks, so that other clients wait for one step at most however many surveys are
//! under way. The parts are collected in pieces, which count as unread replies of the client (`CLIENT LIST`,
//! `client-output-buffer-limit`, `maxmemory-clients`) and are sent from where they lie. A client that is gone ends its
//! survey with the steps that are under way.

use super::core::Core;
use super::execute::flags_of;
use super::gathering::{Gathering, Kind};
use super::read::Planned;
use super::send::passes_output_limit;
use crate::command::lookup::{self, Row};
use crate::command::{Gather, slowlog};
use crate::resp::decode::{Elements, Head};
use crate::resp::{Output, Reply};
use crate::route::locks::Need;
use crate::route::parcel::{ArgSlices, ReplyHeader, RequestHeader, flags};
use crate::session::Mode;
use crate::shard::{Call, Waiter};
use bytes::Bytes;
use std::sync::Arc;

/// Parts are joined to pieces of about so many bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// A step that a shard has yet to run.
pub(super) struct Step {
    from: usize,
    header: RequestHeader,
    args: Vec<Vec<u8>>,
}

/// A survey on its way.
pub(super) struct Survey {
    call: Call,
    how: Gather,
    /// Elements wanted at most.
    limit: usize,
    /// The other shards have yet to be asked.
    is_first: bool,
    /// Only this core's shard is asked.
    stays: bool,
    /// Elements, or the sum, so far.
    total: i64,
    pieces: Vec<Bytes>,
    /// The last piece, as far as it is there.
    bytes: Vec<u8>,
    /// In all pieces.
    held_bytes: usize,
    /// What a shard answered instead of a part.
    error: Option<Vec<u8>>,
}

impl Core {
    /// Begins to look at all keys, of all shards or, for a client of this core's own port, of this one.
    pub(super) fn start_survey(
        &mut self,
        planned: &Planned,
        row: &'static Row,
        (how, limit): (Gather, Option<usize>),
        started: u64,
    ) -> u64 {
        let (call, args, sequence) = self.begin_barrier(planned);
        let limit = limit.and_then(|at| std::str::from_utf8(&args[at]).ok()?.parse().ok()).unwrap_or(usize::MAX);
        let stays = self.connections[planned.connection as usize].session.is_node && row.asks_all_shards();
        let survey = Survey {
            call,
            how,
            limit,
            is_first: true,
            stays,
            total: 0,
            pieces: Vec::new(),
            bytes: Vec::new(),
            held_bytes: 0,
            error: None,
        };
        let gathering = self.gatherings.insert(Gathering {
            connection: planned.connection,
            sequence,
            row,
            args: Arc::new(args),
            missing: 1,
            kind: Kind::Survey(Box::new(survey)),
            started,
            split: self.timing.split(planned.batch, started, &self.clock),
        });
        self.ask_step(gathering as u32, self.core, 0);
        self.clock.raw()
    }

    /// Asks a shard for the step at a position.
    fn ask_step(&mut self, gathering: u32, shard: usize, position: u64) {
        let waiting = &self.gatherings[gathering as usize];
        let Kind::Survey(survey) = &waiting.kind else { panic!("a step for a gathering of something else") };
        let header = RequestHeader {
            target: gathering,
            sequence: survey.call.actor.call,
            command: waiting.row.id.index() as u16,
            db: survey.call.db as u16,
            flags: flags_of(survey.call) | flags::GATHER,
            client: survey.call.actor.client,
            handed: 0,
        };
        let mut args = waiting.args.to_vec();
        args.push(position.to_string().into_bytes());
        if shard == self.core {
            return self.steps.push_back(Step { from: shard, header, args });
        }
        let slices: ArgSlices<'_> = args.iter().map(Vec::as_slice).collect();
        self.mailbox.request(shard, header, &slices);
    }

    /// Takes a step of another core's survey in, for this pass or a later one.
    pub(super) fn take_step(&mut self, from: usize, header: RequestHeader, args: Vec<Vec<u8>>) {
        self.steps.push_back(Step { from, header, args });
    }

    /// Runs the step whose turn it is.
    pub(super) fn run_step(&mut self) {
        let Some(Step { from, header, args }) = self.steps.pop_front() else { return };
        self.shard.take();
        if self.shard.locks.conflicts_with_reader(&Need::Everything) {
            // Entries that are away would be missing.
            let waiter = Waiter::Sent { from, header, args, at: self.clock.raw() };
            if let Some(busy) = self.shared.scripts.refusal() {
                return self.refuse_waiter(waiter, &busy);
            }
            return self.shard.locks.wait(Need::Everything, waiter);
        }
        let row = lookup::find_by_index(header.command as usize);
        let slices: ArgSlices<'_> = args.iter().map(Vec::as_slice).collect();
        let (shard, stats, now_ms, call) = (&mut self.shard, &mut self.stats, self.now_ms, Call::of(&header));
        if from == self.core {
            let mut out = Output::default();
            shard.execute(row, call, &slices, now_ms, stats, &mut out);
            return self.surveyed(header.target, from, out.bytes());
        }
        let RequestHeader { target, sequence, command, .. } = header;
        let reply = ReplyHeader { target, sequence, flags: flags::GATHER, command, handed: 0 };
        self.mailbox.reply(from, reply, |out| {
            if shard.execute(row, call, &slices, now_ms, stats, out) { 0 } else { flags::FAILED }
        });
    }

    /// A shard answered a step: on with its next one, or with the reply when all are done.
    pub(super) fn surveyed(&mut self, gathering: u32, shard: usize, reply: &[u8]) {
        let waiting = &mut self.gatherings[gathering as usize];
        let index = waiting.connection;
        let Kind::Survey(survey) = &mut waiting.kind else { panic!("a part for a gathering of something else") };
        let next = survey.take(reply);
        let is_first = std::mem::take(&mut survey.is_first) && survey.error.is_none() && !survey.stays;
        let connection = &mut *self.connections[index as usize];
        let is_gone = connection.broken || connection.session.mode.contains(Mode::CLOSE_NOW);
        if is_gone {
            survey.pieces = Vec::new();
            survey.bytes = Vec::new();
            survey.held_bytes = 0;
        }
        connection.replies.gathered_bytes = survey.held_bytes;
        if !is_gone && passes_output_limit(connection, &self.config, self.now_ms, &mut self.stats) {
            connection.session.mode |= Mode::CLOSE_NOW;
            self.closing.push(index);
        }
        if is_first && !is_gone {
            waiting.missing = self.map.shards();
            let own = self.core;
            (0..self.map.shards()).filter(|&other| other != own).for_each(|other| self.ask_step(gathering, other, 0));
        }
        self.note_client(index);
        if next != 0 && !is_gone {
            return self.ask_step(gathering, shard, next);
        }
        let waiting = &mut self.gatherings[gathering as usize];
        waiting.missing -= 1;
        if waiting.missing == 0 {
            self.end_survey(gathering);
        }
    }

    fn end_survey(&mut self, gathering: u32) {
        let done = self.gatherings.remove(gathering as usize);
        let Kind::Survey(survey) = done.kind else { panic!("the end of a survey that was none") };
        self.record_gathered(done.connection, done.row, (done.started, done.split), || {
            slowlog::kept(done.row, &done.args.iter().map(Vec::as_slice).collect::<ArgSlices<'_>>())
        });
        self.connections[done.connection as usize].replies.gathered_bytes = 0;
        self.finish_gathering(done.connection, done.sequence, survey.finish());
    }
}

impl Survey {
    /// Takes in a part, and returns where the shard goes on; 0: nowhere.
    fn take(&mut self, reply: &[u8]) -> u64 {
        let Some((Head::Array(2), mut parts)) = Elements::within(reply) else {
            self.error = Some(reply.to_vec());
            return 0;
        };
        let next = match parts.next().and_then(Elements::within) {
            Some((Head::Integer(next), _)) => next as u64,
            other => panic!("a step is answered with a position, not {:?}", other.map(|(head, _)| head)),
        };
        match (self.how, Elements::within(parts.rest())) {
            (Gather::Sum, Some((Head::Integer(number), _))) => self.total += number,
            (Gather::Concat, Some((Head::Array(len), elements))) => {
                let wanted = self.limit - self.total as usize;
                let len_before = self.bytes.len();
                if len <= wanted {
                    self.bytes.extend_from_slice(elements.rest());
                } else {
                    elements.take(wanted).for_each(|element| self.bytes.extend_from_slice(element));
                }
                self.held_bytes += self.bytes.len() - len_before;
                self.total += len.min(wanted) as i64;
                if PIECE_BYTES <= self.bytes.len() {
                    self.pieces.push(std::mem::take(&mut self.bytes).into());
                }
            }
            (how, part) => panic!("{how:?} of a part that is {:?}", part.map(|(head, _)| head)),
        }
        if self.total as usize == self.limit { 0 } else { next }
    }

    /// The reply.
    fn finish(self) -> Output {
        if let Some(error) = self.error {
            return error.into();
        }
        let mut head = Vec::new();
        let mut reply = Reply::new(&mut head, self.call.protocol);
        if self.how == Gather::Sum {
            reply.integer(self.total);
            return head.into();
        }
        reply.array(self.total as usize);
        if self.pieces.is_empty() {
            head.extend_from_slice(&self.bytes);
            return head.into();
        }
        let pieces = std::iter::once(head.into()).chain(self.pieces).chain(std::iter::once(self.bytes.into()));
        Output::of_pieces(pieces.filter(|piece: &Bytes| !piece.is_empty()).collect())
    }
}
