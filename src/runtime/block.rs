//! Clients that wait in a blocking command: their deadlines, their answers, and how they are woken otherwise. The
//! queues of waiting clients are the shards' (see [`crate::shard::Ticket`]); this is the side of their homes.
//!
//! ```text
//!   BLPOP k     hold k's shard ─▶ nothing there ─▶ ticket on the shard          connection: barrier, place reserved
//!   LPUSH k     any core ─▶ runs on k's shard ─▶ ticket answered there ─▶ reply ─▶ home ─▶ its place
//! ```
//! One who waits for keys of several shards, or whose keys are borrowed, leaves the ticket with each shard before that
//! lets anybody near its keys.
//!
//! ```text
//!   BLMOVE k d  hold both ─▶ nothing there ─▶ ticket on k's shard, link k ─▶ d for all to see
//!   LPUSH k     any core ─▶ links of k: d ─▶ hold both, as a command on both ─▶ run ─▶ answer ─▶ let go ─▶ reply
//! ```

use super::core::{Core, unix_ms};
use super::gathering::{Gathering, Kind};
use super::joint::{Borrowing, Work};
use super::lend::Ground;
use super::mailbox::Control;
use super::needs::{Needs, rising};
use super::slow;
use super::visit::hold_several;
use crate::command::lookup::Row;
use crate::command::slowlog::Split;
use crate::command::{Args, Wait, slowlog};
use crate::config::Config;
use crate::mutant::Mutant;
use crate::resp::{Error, Output, Protocol, Reply};
use crate::session::Mode;
use crate::shard::{Answer, Call, Shard, Ticket};
use std::sync::Arc;

/// A client of this core that waits.
pub(super) struct Waiting {
    pub(super) ticket: Arc<Ticket>,
    /// By the steady clock, milliseconds; 0: for ever.
    deadline_ms: u64,
    /// When it is looked at next: then, or earlier if it polls.
    next_ms: u64,
    noted: Option<Noted>,
}

impl Waiting {
    /// When it is looked at after this time: at its end, or before that if it polls; 0: never.
    fn next_ms_after(&self, steady_ms: u64) -> u64 {
        match self.ticket.wait.polls_ms.map(|polls_ms| steady_ms + polls_ms) {
            Some(next_ms) if self.deadline_ms == 0 || next_ms < self.deadline_ms => next_ms,
            _ => self.deadline_ms,
        }
    }
}

/// What the slow log may want of a command that waits: it is noted when it is answered, as one call.
pub(super) struct Noted {
    /// How long it ran before it waited.
    nanoseconds: u64,
    /// What came before that.
    split: Split,
    /// Its arguments as the log keeps them.
    args: Vec<Vec<u8>>,
}

impl Noted {
    /// Of a command that waits from now on; `None`: nothing is noted.
    pub(super) fn new(config: &Config, row: &Row, args: &Args<'_>, nanoseconds: u64, split: Split) -> Option<Noted> {
        let is_noted = slow::threshold_nanoseconds(config) != u64::MAX;
        is_noted.then(|| Noted { nanoseconds, split, args: slowlog::kept(row, args) })
    }
}

impl Core {
    /// A client waits from now on, with its reply's place. The shards have yet to get the ticket.
    pub(super) fn start_waiting(
        &mut self,
        index: u32,
        sequence: u32,
        row: &'static Row,
        call: Call,
        wait: Wait,
        noted: Option<Noted>,
    ) -> Arc<Ticket> {
        let timeout_ms = wait.timeout_ms;
        let ticket = Arc::new(Ticket::new(self.core, index, sequence, row, call, wait));
        ticket.links().for_each(|(from, to)| self.shared.links.add(from, to));
        let connection = &mut *self.connections[index as usize];
        connection.barrier = true;
        connection.session.mode.insert(Mode::BLOCKED);
        let deadline_ms = if timeout_ms == 0 { 0 } else { self.clocks.steady_ms().saturating_add(timeout_ms) };
        let mut waiting = Waiting { ticket: ticket.clone(), deadline_ms, next_ms: deadline_ms, noted };
        waiting.next_ms = waiting.next_ms_after(self.clocks.steady_ms());
        if waiting.next_ms != 0 {
            self.wait_deadlines.insert((waiting.next_ms, index));
        }
        self.waits.insert(index, waiting);
        // As Redis does with a client that closed its side and waits. And with one that broke while it borrowed: who
        // looked after it then found a command under way, and would not look again.
        if connection.broken || connection.session.mode.intersects(Mode::INPUT_ENDED | Mode::CLOSE_NOW) {
            self.closing.push(index);
        }
        ticket
    }

    /// The same for a command that ran on engines that are held still.
    pub(super) fn wait_on_engines(
        &mut self,
        index: u32,
        row: &'static Row,
        call: Call,
        wait: Wait,
        noted: Option<Noted>,
    ) {
        let sequence = self.connections[index as usize].replies.reserve();
        let ticket = self.start_waiting(index, sequence, row, call, wait, noted);
        if Mutant::WaitersLookAway.is_on() {
            let shards = self.shards_waited_for(&ticket);
            self.settle_engines();
            self.end_visits();
            self.shard.let_go();
            std::thread::sleep(std::time::Duration::from_micros(200));
            while !hold_several(&mut self.shard, &mut self.visited, &shards, |_, engine| engine.locks.is_free()) {
                self.end_visits();
                self.shard.let_go();
                std::thread::yield_now();
            }
        }
        for shard in self.shards_waited_for(&ticket) {
            if shard == self.core {
                self.shard.block(&ticket);
            } else {
                self.visited[shard].as_mut().expect("held for the command").block(&ticket);
            }
        }
    }

    fn shards_waited_for(&self, ticket: &Ticket) -> Vec<usize> {
        let mut shards: Vec<usize> = ticket.wait.retries.iter().map(|retry| self.map.shard_of(&retry.key)).collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    /// Serves who waits for keys of the own shard, after a command ran there.
    #[inline]
    pub(super) fn serve_own(&mut self) {
        if self.shard.has_ready() {
            self.serve_held();
        }
    }

    /// The same on the shard of another core, whose engine is held.
    #[inline]
    pub(super) fn serve_visited(&mut self, shard: usize) {
        if self.visited[shard].as_ref().is_some_and(|peer| peer.has_ready()) {
            self.serve_held();
        }
    }

    /// Serves who waits for keys of any shard whose engine is held: what happened first is served first, wherever.
    #[cold]
    fn serve_held(&mut self) {
        // What has come to its end since this pass began is nobody's any more.
        self.now_ms = unix_ms();
        loop {
            let own = if self.shard.is_held() { self.shard.ready_rank() } else { None };
            let visited = self.visited.iter().enumerate();
            let visited = visited.filter_map(|(shard, peer)| Some((peer.as_ref()?.ready_rank()?, shard)));
            let Some((_, shard)) = visited.chain(own.map(|rank| (rank, self.core))).min() else { return };
            let started = self.clock.raw();
            let answers = match &mut self.visited[shard] {
                Some(peer) => peer.serve_first(self.now_ms, &mut self.stats),
                None => self.shard.serve_first(self.now_ms, &mut self.stats),
            };
            self.hand_over(answers, shard, started);
        }
    }

    /// Takes answers of a shard to the homes of those who waited. What making them took, from `started` on, is shared
    /// out evenly.
    #[cold]
    fn hand_over(&mut self, answers: Vec<Answer>, shard: usize, started: u64) {
        let nanoseconds = self.clock.delta_as_nanos(started, self.clock.raw()) / answers.len().max(1) as u64;
        for answer in answers {
            match answer {
                Answer::Reply(ticket, reply) => self.bring_answer(ticket, reply, nanoseconds),
                Answer::Needs(ticket, at, rank) => self.answer_or_knock(ticket, at, shard, rank),
            }
        }
    }

    /// Takes an answer to the home of one who waited.
    pub(super) fn bring_answer(&mut self, ticket: Arc<Ticket>, reply: Output, nanoseconds: u64) {
        if ticket.core == self.core {
            self.end_wait(&ticket, reply, Some(nanoseconds));
        } else {
            self.mailbox.control(ticket.core, Control::Unblocked { ticket, reply, nanoseconds });
        }
    }

    /// Runs a call for a key of this shard that needs keys of others, where they are held, as they are by who knew of
    /// it before. Else its home is told.
    fn answer_or_knock(&mut self, ticket: Arc<Ticket>, at: usize, shard: usize, rank: u64) {
        let may_change = |key: &[u8]| {
            self.held_engine(self.map.shard_of(key)).is_some_and(|engine| {
                !(engine.locks.is_held(key) || engine.keyspace.is_walked() && engine.has_to_record(key))
            })
        };
        if !(self.shard.is_held() && ticket.keys_of_call(at).all(may_change)) {
            if self.held_engine_mut(shard).knock(&ticket, at) {
                if ticket.core == self.core {
                    self.knocks.push((ticket, at));
                } else {
                    self.mailbox.control(ticket.core, Control::Knock { ticket, at });
                }
            }
            return;
        }
        let started = self.clock.raw();
        let reply = self.retry(&ticket, at, &mut Ground::Engines);
        let nanoseconds = self.clock.delta_as_nanos(started, self.clock.raw());
        self.held_engine_mut(shard).went_on(&ticket, at, rank, !ticket.is_open());
        self.settle_held();
        if let Some(reply) = reply {
            self.bring_answer(ticket, reply, nanoseconds);
        }
    }

    /// A client of this core waits no more: it gets its reply, and its next commands may run. The ticket is closed.
    /// `nanoseconds`: what the answer took to make; `None`: it is one without need to note it.
    pub(super) fn end_wait(&mut self, ticket: &Arc<Ticket>, reply: Output, nanoseconds: Option<u64>) {
        let waiting = self.waits.remove(&ticket.connection).expect("one who is answered waited");
        self.wait_deadlines.remove(&(waiting.next_ms, ticket.connection));
        ticket.links().for_each(|(from, to)| self.shared.links.remove(from, to));
        let session = &mut self.connections[ticket.connection as usize].session;
        session.mode.remove(Mode::BLOCKED);
        if let (Some(noted), Some(nanoseconds)) = (waiting.noted, nanoseconds)
            && let total = noted.nanoseconds + nanoseconds
            && self.slow_nanoseconds <= total
        {
            slow::record(&self.shared, &self.config, ticket.row, || noted.args, total, noted.split, session);
        }
        if self.holds {
            let retries = 0..ticket.wait.retries.len();
            let shards = rising(retries.flat_map(|at| ticket.keys_of_call(at)).map(|key| self.map.shard_of(key)));
            shards.into_iter().for_each(|shard| self.hold_for_all(ticket.connection, shard));
        }
        for shard in self.shards_waited_for(ticket) {
            if shard == self.core {
                self.forget_ticket(ticket);
            } else {
                self.mailbox.control(shard, Control::Unblock(ticket.clone()));
            }
        }
        self.finish_gathering(ticket.connection, ticket.sequence, reply);
    }

    /// A ticket leaves the queues of this shard. Those behind it are served before this core lets go of the engine.
    pub(super) fn forget_ticket(&mut self, ticket: &Arc<Ticket>) {
        self.shard.take();
        self.shard.unblock(ticket);
    }

    /// Ends the waiting of a client with an error, or as its timeout would; false: it is answered otherwise already.
    pub(super) fn cancel_wait(&mut self, index: u32, error: Option<&Error>) -> bool {
        let Some(ticket) = self.waits.get(&index).map(|waiting| waiting.ticket.clone()) else { return false };
        if !ticket.try_to_answer() {
            return false;
        }
        ticket.close();
        self.end_cancelled(&ticket, error);
        true
    }

    fn end_cancelled(&mut self, ticket: &Arc<Ticket>, error: Option<&Error>) {
        let mut out = Output::default();
        match error {
            Some(error) => {
                self.stats.failed(ticket.row.id, Some(error.prefix()));
                Reply::new(&mut out, Protocol::Resp2).error(error);
            }
            None => ticket.wait.refused.write_late(&mut Reply::new(&mut out, ticket.call.protocol)),
        }
        self.end_wait(ticket, out, error.map(|_| 0));
    }

    /// Clients that `CLIENT UNBLOCK` closed the tickets of.
    pub(super) fn end_unblocked(&mut self, unblocked: Vec<(u32, bool)>) {
        for (index, is_error) in unblocked {
            let ticket = self.waits[&index].ticket.clone();
            self.end_cancelled(&ticket, is_error.then_some(&Error::UNBLOCKED));
        }
    }

    /// When the first of those who wait has waited long enough.
    pub(super) fn wait_due_ms(&self) -> u64 {
        self.wait_deadlines.first().map_or(u64::MAX, |(deadline_ms, _)| *deadline_ms)
    }

    /// Ends the waiting of those who have waited long enough.
    pub(super) fn end_waits(&mut self) {
        while let Some(&(deadline_ms, index)) = self.wait_deadlines.first()
            && deadline_ms <= self.clocks.steady_ms()
        {
            self.wait_deadlines.pop_first();
            if !self.poll_wait(index) {
                self.cancel_wait(index, None);
            }
        }
    }

    /// Runs the calls again of one who polls and may wait on. False: its time is over.
    fn poll_wait(&mut self, index: u32) -> bool {
        let steady_ms = self.clocks.steady_ms();
        let Some(waiting) = self.waits.get_mut(&index) else { return false };
        if waiting.deadline_ms != 0 && waiting.deadline_ms <= steady_ms {
            return false;
        }
        waiting.next_ms = waiting.next_ms_after(steady_ms);
        self.wait_deadlines.insert((waiting.next_ms, index));
        let ticket = waiting.ticket.clone();
        self.knocks.extend((0..ticket.wait.retries.len()).map(|at| (ticket.clone(), at)));
        true
    }

    // Calls that need keys of several shards

    /// Runs the calls of waiting clients for which their shard alone was not enough.
    pub(super) fn answer_knocks(&mut self) {
        if self.knocks.is_empty() {
            return;
        }
        for (ticket, at) in std::mem::take(&mut self.knocks) {
            self.answer_knock(ticket, at);
        }
        self.end_visits();
    }

    fn answer_knock(&mut self, ticket: Arc<Ticket>, at: usize) {
        let (row, call) = (ticket.row, ticket.call);
        let args: Vec<&[u8]> = ticket.wait.retries[at].args.iter().map(Vec::as_slice).collect();
        if !ticket.is_open() {
            return;
        }
        let mut needs = Needs::of_call(self.map, row, &args);
        needs.add_linked(&self.shared.links);
        let is_clear = |shard, engine: &Shard| needs.is_clear(shard, engine);
        if !hold_several(&mut self.shard, &mut self.visited, &needs.shards(), is_clear) {
            let mut requests = needs.into_requests(None);
            requests.iter_mut().for_each(|(_, request)| request.is_patient = true);
            let gathering = self.gatherings.insert(Gathering {
                connection: ticket.connection,
                sequence: ticket.sequence,
                row,
                args: Arc::new(ticket.wait.retries[at].args.clone()),
                missing: 0,
                started: self.clock.raw(),
                split: Split::default(),
                kind: Kind::Borrowing(Box::new(Borrowing {
                    call,
                    requests,
                    loans: Vec::new(),
                    work: Work::Retry(ticket, at),
                    arrival: None,
                })),
            });
            return self.borrow(gathering as u32);
        }
        let started = self.clock.raw();
        let reply = self.retry(&ticket, at, &mut Ground::Engines);
        let nanoseconds = self.clock.delta_as_nanos(started, self.clock.raw());
        let owner = self.map.shard_of(&ticket.wait.retries[at].key);
        if reply.is_none() {
            match &mut self.visited[owner] {
                Some(peer) => peer.unknock(&ticket, at),
                None => self.shard.unknock(&ticket, at),
            }
        }
        self.settle_engines();
        if let Some(reply) = reply {
            self.end_wait(&ticket, reply, Some(nanoseconds));
        }
    }

    /// Runs the call of a waiting client on what is held for it. `None`: it waits on, or has been answered.
    pub(super) fn retry(&mut self, ticket: &Ticket, at: usize, ground: &mut Ground) -> Option<Output> {
        if !ticket.try_to_answer() {
            return None;
        }
        self.now_ms = unix_ms();
        let mut wait = None;
        let mut out = Output::default();
        let args: Vec<&[u8]> = ticket.wait.retries[at].args.iter().map(Vec::as_slice).collect();
        let engines = (&mut self.shard, &mut self.visited[..]);
        let (now_ms, stats) = (self.now_ms, &mut self.stats);
        let (overlay, config) = (&mut self.overlay, &self.config);
        ground.run(engines, overlay, config, Some(&mut wait), ticket.row, ticket.call, &args, now_ms, stats, &mut out);
        if wait.is_some() {
            ticket.give_up();
            return None;
        }
        ticket.close();
        // What it needed is gone: told as to one who is served where the key is.
        if let Some(orphaned) = &ticket.wait.orphaned
            && out.bytes().starts_with(b"-")
        {
            let is_other_type = out.bytes().starts_with(b"-WRONGTYPE");
            let error = if is_other_type { &orphaned.no_key } else { &orphaned.failed };
            out = Output::default();
            Reply::new(&mut out, Protocol::Resp2).error(error);
        }
        Some(out)
    }
}
