//! Borrowing: the owners lend entries, or their whole keyspaces; the command or transaction runs here on a keyspace, or
//! a union of keyspaces, made of them, and everything goes home. The code of a command never knows. See
//! [`crate::route::locks`] for why nobody waits for ever.
//!
//! ```text
//!   borrower (the client's core)          owner 0          owner 2
//!        ├── lend k1 ───────────────────────▶ hold k1
//!        ◀── entry of k1 ────────────────────┤
//!        ├── lend k2, k3 ─────────────────────────────────────▶ hold k2, k3 (waits its turn)
//!        ◀── entries of k2, k3 ───────────────────────────────┤
//!      run on { k1, k2, k3 }
//!        ├── entries home ─────────────────▶ release, wake waiters
//!        ├── entries home ────────────────────────────────────▶ release, wake waiters
//!      reply
//! ```
//! The reply may leave before the entries are home: whoever asks an owner for them waits until they are.

use super::aof_share::Told;
use super::attempt::Attempt;
use super::block::Noted;
use super::core::Core;
use super::gathering::{Asker, Asking, Kind};
use super::joint::{Borrowing, Calls, Work};
use super::long::Reader;
use super::mailbox::Control;
use super::needs::Needs;
use super::slow;
use super::visit::Visited;
use crate::command::lookup::{self, Row};
use crate::command::slowlog::Split;
use crate::command::{Args, Run, Wait, slowlog};
use crate::config::Config;
use crate::keyspace::{Class, Effect, Entry, Keyspace};
use crate::mutant::Mutant;
use crate::resp::{Output, Protocol, Reply};
use crate::route::locks::Need;
use crate::session::Watched;
use crate::shard::union::{Parts, Union};
use crate::shard::{Call, Held, Queued, Request, Shard, Ticket, Waiter, fail};
use crate::stats::Stats;
use crate::stats::stages::Way;
use ahash::AHashMap;
use std::sync::Arc;

/// What one shard lends.
pub enum Lent {
    /// The entries of the keys that are held, with their databases.
    Entries(Vec<(usize, Entry)>),
    /// All there is.
    Whole(Box<Keyspace>),
}

/// Something away from home.
pub struct Loan {
    /// What is held for it.
    pub need: Need,
    /// What was there.
    pub lent: Lent,
    /// Events that somebody at home listens to …
    pub listened: Class,
    /// … and those that happened.
    pub effects: Vec<Effect>,
    /// Whether the watched keys of the request were as they had been.
    pub is_unchanged: bool,
    /// Keys that are watched from now on.
    pub watched: Vec<Watched>,
    /// Clients that wait for keys of the loan.
    pub waiting: Vec<Queued>,
    /// A client waits for keys of the loan from now on.
    pub blocked: Option<Arc<Ticket>>,
    /// A client that was knocked at found nothing, for its key of this number.
    pub unknocked: Option<(Arc<Ticket>, usize)>,
}

/// What a command or transaction runs on.
pub(super) enum Ground {
    /// Engines that this core holds.
    Engines,
    /// Borrowed entries of any shards, in one keyspace.
    Entries(Box<Keyspace>),
    /// The borrowed keyspaces of all shards.
    Whole(Vec<Keyspace>),
}

/// The engines that a core may hold: its own, those of others.
type Engines<'a> = (&'a mut Held, &'a mut Visited);

impl Ground {
    /// Runs a command. True: it succeeded.
    #[expect(clippy::too_many_arguments, reason = "all that a command may see")]
    pub(super) fn run(
        &mut self,
        (own, visited): Engines<'_>,
        overlay: &mut Option<Box<Keyspace>>,
        config: &Config,
        wait: Option<&mut Option<Wait>>,
        row: &'static Row,
        call: Call,
        args: &Args<'_>,
        now_ms: u64,
        stats: &mut Stats,
        out: &mut Output,
    ) -> bool {
        own.take();
        let (core, shards) = (own.core(), visited.len());
        let Shard { keyspace, random, .. } = &mut **own;
        let parts: Parts<'_> = match self {
            Ground::Engines => {
                let mut parts: Parts<'_> =
                    visited.iter_mut().map(|peer| peer.as_mut().map(|peer| &mut peer.keyspace)).collect();
                parts[core] = Some(keyspace);
                parts
            }
            Ground::Entries(borrowed) => std::iter::once(Some(&mut **borrowed)).collect(),
            Ground::Whole(borrowed) => borrowed.iter_mut().map(Some).collect(),
        };
        let mut union = Union::new(shards, parts, overlay, config, random);
        if let Some(wait) = wait {
            union = union.may_wait(wait);
        }
        union.execute(row, call, args, now_ms, stats, out)
    }

    /// Whose turn comes by events of higher ranks than this, in their order.
    fn turns(&mut self, by_key: &AHashMap<(usize, &[u8]), usize>, seen: Option<u64>) -> Vec<(u64, Turn)> {
        let keyspaces: Vec<&mut Keyspace> = match self {
            Ground::Engines => panic!("engines are not borrowed"),
            Ground::Entries(overlay) => vec![overlay],
            Ground::Whole(keyspaces) => keyspaces.iter_mut().collect(),
        };
        let effects = keyspaces.into_iter().flat_map(|keyspace| &*keyspace.effects.after(0));
        let turn_of = |effect: &Effect| {
            if Some(effect.rank) <= seen || !effect.event.may_serve() {
                return None;
            }
            let turn = match effect.event.class {
                Class::DATABASE => Turn::Database(effect.db),
                _ => Turn::Key(*by_key.get(&(effect.db, &*effect.key))?),
            };
            Some((effect.rank, turn))
        };
        let mut turns: Vec<(u64, Turn)> = effects.filter_map(turn_of).collect();
        turns.sort_unstable_by_key(|(rank, _)| *rank);
        turns
    }
}

/// Who may be served now.
enum Turn {
    /// Those of this queue.
    Key(usize),
    /// Those who wait for any key of the database.
    Database(usize),
}

impl Core {
    /// Asks the shards, one after the other, for what is still missing.
    pub(super) fn borrow(&mut self, gathering: u32) {
        if self.borrowing(gathering).loans.is_empty()
            && self.shared.persistence.holds_loans.load(std::sync::atomic::Ordering::Acquire)
        {
            if self.shared.scripts.is_any_busy() && !self.borrowing(gathering).is_patient() {
                return self.refuse_gathering(gathering); // That moment may never come.
            }
            return self.saving.held_gatherings.push(gathering); // A moment is waited for at which nothing is lent.
        }
        loop {
            let borrowing = self.borrowing(gathering);
            let Some((owner, request)) = borrowing.requests.get(borrowing.loans.len()) else {
                return self.run_borrowed(gathering);
            };
            let (owner, request) = (*owner, request.clone());
            if owner != self.core {
                return self.mailbox.control(owner, Control::Lend { gathering, request });
            }
            match self.lend(self.core, gathering, request) {
                Some(loan) => self.borrowing(gathering).loans.push(loan),
                None => return, // In the queue of this very shard, or refused.
            }
        }
    }

    fn borrowing(&mut self, gathering: u32) -> &mut Borrowing {
        match &mut self.gatherings[gathering as usize].kind {
            Kind::Borrowing(borrowing) => borrowing,
            _ => panic!("a loan for a gathering that borrows nothing"),
        }
    }

    /// A loan came from another core, or from this one's queue.
    pub(super) fn borrowed(&mut self, gathering: u32, loan: Loan) {
        self.borrowing(gathering).loans.push(loan);
        self.borrow(gathering);
    }

    /// Hands entries out, or queues the borrower, or refuses it: then it may be gone.
    pub(super) fn lend(&mut self, from: usize, gathering: u32, request: Request) -> Option<Loan> {
        self.shard.take();
        if self.shard.keyspace.is_walked()
            && let Need::Keys(keys) = &request.need
        {
            self.shard.record_keys(keys);
        }
        if self.shard.locks.conflicts(&request.need) {
            if !request.is_patient && self.shared.scripts.is_any_busy() {
                self.refuse_borrower(from, gathering);
                return None;
            }
            let need = request.need.clone();
            self.shard.locks.wait(need, Waiter::Borrower { from, gathering, request });
            return None;
        }
        Some(self.hand_out(request))
    }

    fn hand_out(&mut self, request: Request) -> Loan {
        let Request { need, watched, keeps_watched, watches_in, reader, .. } = request;
        let now_ms = self.now_ms;
        let shard = &mut *self.shard;
        shard.locks.hold(&need);
        let mut is_unchanged = true;
        for watched in &watched {
            is_unchanged &= shard.is_unchanged(watched, now_ms);
            if !keeps_watched {
                shard.unwatch(watched);
            }
        }
        let mut watched = Vec::new();
        shard.keyspace.begin(now_ms, false);
        shard.keyspace.effects.reader = reader;
        let lent = match &need {
            Need::Keys(keys) => {
                let mut entries = Vec::new();
                for key in keys {
                    if let Some((db, flag)) = &watches_in {
                        watched.push(shard.watch(*db, key, flag, now_ms));
                    } else {
                        shard.keyspace.lend(key, |db, entry| entries.push((db, entry)));
                    }
                }
                Lent::Entries(entries)
            }
            Need::Everything => Lent::Whole(shard.part_with_keyspace()),
        };
        shard.log_loose();
        if !shard.keyspace.effects.is_empty() {
            shard.settle(); // Some had expired.
        }
        let listened = shard.keyspace.effects.listened();
        let (effects, waiting) = (Vec::new(), shard.waiting_for(&need));
        Loan { need, lent, listened, effects, is_unchanged, watched, waiting, blocked: None, unknocked: None }
    }

    /// Entries are home: everybody who waited for them, and needs wait no longer, has their turn.
    pub(super) fn come_home(&mut self, loan: Loan) {
        self.shard.take();
        match loan.lent {
            Lent::Entries(entries) => {
                for (db, entry) in entries {
                    if Mutant::LoansAreLost.is_on() && self.stats.counters.commands_forwarded % 8 == 7 {
                        continue;
                    }
                    self.shard.keyspace.adopt(db, entry);
                }
                for effect in loan.effects {
                    self.shard.keyspace.effects.push(effect);
                }
                if !self.shard.keyspace.effects.is_empty() {
                    self.shard.keyspace.begin(self.now_ms, false);
                    self.shard.settle();
                }
            }
            Lent::Whole(keyspace) => self.shard.take_keyspace_back(keyspace),
        }
        if let Some(ticket) = &loan.blocked
            && ticket.is_open()
        {
            self.shard.block(ticket);
        }
        if let Some((ticket, at)) = &loan.unknocked {
            self.shard.unknock(ticket, *at);
        }
        self.shard.locks.release(&loan.need);
        if let Need::Keys(keys) = &loan.need {
            self.shard.look_for_blocked(keys);
        }
        self.serve_waiting();
    }

    /// Runs, or hands out, what those wait for who need wait no longer.
    pub(super) fn serve_waiting(&mut self) {
        self.serve_own();
        while let Some((_, waiter)) = self.shard.locks.next_ready() {
            match waiter {
                Waiter::Own { connection, sequence, row, call, args, arrival } => {
                    let (mut out, mut long, started) = (Output::default(), None, self.clock.raw());
                    let split = self.note_wait_over(row.id, arrival, started);
                    let slices: Vec<&[u8]> = args.iter().map(|arg| arg.as_slice()).collect();
                    let (stats, slot) = (&mut self.stats, Some(&mut long));
                    self.shard.execute_or_leave(row, call, &slices, self.now_ms, stats, &mut out, slot);
                    if let Some(long) = long {
                        self.begin_long(long, Reader::Own { connection, sequence }, (row, call), args, started, split);
                        continue;
                    }
                    let ended = self.clock.raw();
                    let nanoseconds = self.clock.delta_as_nanos(started, ended);
                    self.stats.record(row.id, nanoseconds);
                    self.note_reply(connection, row.id, Way::Local, ended);
                    if self.is_slow(nanoseconds, split.held) {
                        let session = &self.connections[connection as usize].session;
                        let kept = || slowlog::kept(row, &slices);
                        slow::record(&self.shared, &self.config, row, kept, nanoseconds, split, session);
                    }
                    if self.holds && self.shard.told != 0 {
                        self.hold_reply(connection, self.core, self.shard.told);
                    }
                    if !row.is_quick {
                        self.look_for_emptied(connection, &mut Ground::Engines);
                    }
                    self.fill_with(connection, sequence, out);
                    self.serve_own();
                }
                Waiter::Sent { from, header, args, at } => {
                    let row = lookup::find_by_index(header.command as usize);
                    let slices: Vec<&[u8]> = args.iter().map(|arg| arg.as_slice()).collect();
                    if from == self.core {
                        let mut out = Output::default();
                        self.shard.execute(row, Call::of(&header), &slices, self.now_ms, &mut self.stats, &mut out);
                        self.own_part(header.target, out);
                        continue;
                    }
                    let started = self.clock.raw();
                    let held = self.clock.delta_as_nanos(at, started);
                    let long = self.execute_sent(from, &header, row, &slices);
                    if let Some(long) = long {
                        let split = self.note_hop(&header, row, started, held);
                        let reader = Reader::Sent { from, header };
                        self.begin_long(long, reader, (row, Call::of(&header)), args, started, split);
                        continue;
                    }
                    let ended = self.clock.raw();
                    self.note_sent(from, &header, row, &slices, (started, ended), held);
                    self.serve_own();
                }
                Waiter::Borrower { from, gathering, request } => {
                    let loan = self.hand_out(request);
                    if from == self.core {
                        self.ready.push_back((gathering, loan));
                    } else {
                        self.mailbox.control(from, Control::Lent { gathering, loan });
                    }
                }
            }
        }
        self.go_on();
    }

    /// Lets this core's own borrowers go on that got their turn. One may end and so give others theirs: they join the
    /// same queue, however many there are.
    fn go_on(&mut self) {
        if std::mem::replace(&mut self.going_on, true) {
            return;
        }
        while let Some((gathering, loan)) = self.ready.pop_front() {
            self.borrowed(gathering, loan);
        }
        self.going_on = false;
    }

    /// Everything is here: does what it was borrowed for.
    fn run_borrowed(&mut self, gathering: u32) {
        self.end_visits();
        self.shard.take();
        if let Work::Retry(ticket, at) = &self.borrowing(gathering).work {
            let (ticket, at) = (ticket.clone(), *at);
            return self.retry_borrowed(gathering, ticket, at);
        }
        if self.serving_beside && matches!(self.borrowing(gathering).work, Work::Exec(_) | Work::Script(_)) {
            return self.refuse_gathering(gathering); // A script within a script might be another one without an end.
        }
        let began = self.clock.raw(); // What it has waited for is no part of its run.
        let (command, arrival) = (self.gatherings[gathering as usize].row.id, self.borrowing(gathering).arrival.take());
        let split = arrival.map(|arrival| self.note_wait_over(command, arrival, began));
        let waiting = &mut self.gatherings[gathering as usize];
        (waiting.started, waiting.split) = (began, split.unwrap_or(waiting.split));
        let split = waiting.split;
        let (index, row, args) = (waiting.connection, waiting.row, waiting.args.clone());
        let Kind::Borrowing(mut borrowing) = std::mem::replace(&mut waiting.kind, Kind::Moving) else {
            panic!("a gathering that borrows nothing");
        };
        let mut ground = self.settle_in(&mut borrowing.loans);
        match &mut borrowing.work {
            Work::Command => {
                let mut out = Output::default();
                let started = self.clock.raw();
                let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_slice()).collect();
                let engines = (&mut self.shard, &mut self.visited[..]);
                let (call, now_ms, stats) = (borrowing.call, self.now_ms, &mut self.stats);
                let (overlay, config) = (&mut self.overlay, &self.config);
                let mut wait = None;
                let slot = Some(&mut wait);
                ground.run(engines, overlay, config, slot, row, call, &args, now_ms, stats, &mut out);
                let ended = self.clock.raw();
                let nanoseconds = self.clock.delta_as_nanos(started, ended);
                self.stats.record(row.id, nanoseconds);
                if wait.is_none() {
                    self.note_reply(index, row.id, Way::Local, ended);
                }
                if wait.is_none() && self.is_slow(nanoseconds, split.held) {
                    let session = &self.connections[index as usize].session;
                    let kept = || slowlog::kept(row, &args);
                    slow::record(&self.shared, &self.config, row, kept, nanoseconds, split, session);
                }
                let done = self.gatherings.remove(gathering as usize);
                match wait {
                    None => self.finish_gathering(done.connection, done.sequence, out),
                    Some(wait) => {
                        let noted = Noted::new(&self.config, row, &args, nanoseconds, split);
                        let ticket = self.start_waiting(index, done.sequence, row, call, wait, noted);
                        borrowing.loans.iter_mut().for_each(|loan| loan.blocked = Some(ticket.clone()));
                    }
                }
            }
            Work::Retry(..) => panic!("done above"),
            Work::Script(_) => return self.run_borrowed_script(gathering, *borrowing, ground),
            Work::Watch => {
                let mut out = Output::default();
                Reply::new(&mut out, Protocol::Resp2).ok();
                let watched = borrowing.loans.iter_mut().flat_map(|loan| loan.watched.drain(..));
                self.connections[index as usize].session.watched.extend(watched);
                self.stats.record(row.id, self.clock.delta_as_nanos(began, self.clock.raw()));
                let done = self.gatherings.remove(gathering as usize);
                self.finish_gathering(done.connection, done.sequence, out);
            }
            Work::Exec(exec) => {
                exec.split = Split { held: 0, ..split }; // It is no call's own.
                if borrowing.loans.iter().all(|loan| loan.is_unchanged) || Mutant::ExecIgnoresWatch.is_on() {
                    return self.exec_borrowed(gathering, borrowing, ground);
                }
                self.write_unchanged_failure(index, &mut exec.out);
                return self.end_borrowed_exec(gathering, *borrowing, ground);
            }
        }
        self.look_for_emptied(index, &mut ground);
        self.log_ground(&mut ground);
        if self.holds {
            self.hold_for(index, &Told::of_requests(&borrowing.requests));
        }
        self.send_home(*borrowing, ground);
    }

    /// Runs the call of a client that waits.
    fn retry_borrowed(&mut self, gathering: u32, ticket: Arc<Ticket>, at: usize) {
        let done = self.gatherings.remove(gathering as usize);
        let Kind::Borrowing(mut borrowing) = done.kind else { panic!("seen before") };
        let mut ground = self.settle_in(&mut borrowing.loans);
        let started = self.clock.raw();
        let reply = self.retry(&ticket, at, &mut ground);
        let nanoseconds = self.clock.delta_as_nanos(started, self.clock.raw());
        if reply.is_none() {
            let owner = self.map.shard_of(&ticket.wait.retries[at].key);
            let place = borrowing.requests.iter().position(|(of, _)| *of == owner).expect("its key was borrowed");
            borrowing.loans[place].unknocked = Some((ticket.clone(), at));
        }
        self.log_ground(&mut ground);
        if self.holds {
            self.hold_for(ticket.connection, &Told::of_requests(&borrowing.requests));
        }
        self.send_home(*borrowing, ground);
        if let Some(reply) = reply {
            self.end_wait(&ticket, reply, Some(nanoseconds));
        }
    }

    /// Runs a transaction on what is borrowed, as far as it goes without other cores.
    pub(super) fn exec_borrowed(&mut self, gathering: u32, mut borrowing: Box<Borrowing>, mut ground: Ground) {
        self.shard.take();
        let waiting = &self.gatherings[gathering as usize];
        let (index, started) = (waiting.connection, waiting.started);
        let Borrowing { work: Work::Exec(exec), requests, .. } = &mut *borrowing else {
            panic!("a transaction that is none")
        };
        if exec.has_scripts && exec.attempt.is_none() {
            let holds_everything = self.holds_everything(&ground);
            let keys = requests.iter().filter(|_| !holds_everything).flat_map(|(shard, request)| match &request.need {
                Need::Keys(keys) => keys.iter().map(|key| (*shard, key.clone())).collect::<Vec<_>>(),
                Need::Everything => Vec::new(),
            });
            exec.attempt = Some(Box::new(Attempt::new(holds_everything, started, keys.collect())));
        }
        loop {
            match self.run_calls(index, exec, &mut ground) {
                Calls::Done => return self.end_borrowed_exec(gathering, *borrowing, ground),
                Calls::Roams => return self.borrow_everything(gathering, *borrowing, ground),
                Calls::Asks => {}
            }
            let row = lookup::find_by_index(exec.transaction.command(exec.next) as usize);
            let args: Vec<Vec<u8>> = exec.transaction.args(exec.next).map(<[u8]>::to_vec).collect();
            if let Err(error) = self.check_everywhere(index, row, &args) {
                fail(&mut self.stats, row, &error, exec.out.len(), &mut exec.out);
                exec.next += 1;
                continue;
            }
            let waiting = &mut self.gatherings[gathering as usize];
            waiting.missing = self.map.shards();
            waiting.kind = Kind::Asking(Asking::new(Asker::Exec(borrowing), ground));
            return self.ask_cores(gathering, row, Arc::new(args));
        }
    }

    /// A transaction that needs more than it has borrowed begins again with everything; its keys are watched on.
    fn borrow_everything(&mut self, gathering: u32, mut borrowing: Borrowing, mut ground: Ground) {
        let index = self.gatherings[gathering as usize].connection;
        let mut work = std::mem::replace(&mut borrowing.work, Work::Command);
        let Work::Exec(exec) = &mut work else { panic!("a transaction that is none") };
        self.begin_exec_again(index, exec, &mut ground);
        let mut needs = Needs::of_keys(self.map, std::iter::empty(), true);
        borrowing.requests.iter().for_each(|(_, request)| needs.add_watched(&request.watched));
        let (call, requests) = (borrowing.call, needs.into_requests(None));
        self.send_home(borrowing, ground);
        let borrowing = Borrowing { call, requests, loans: Vec::new(), work, arrival: None };
        self.gatherings[gathering as usize].kind = Kind::Borrowing(Box::new(borrowing));
        self.borrow(gathering);
    }

    /// Whether a command that asks every core may do so.
    fn check_everywhere(&mut self, index: u32, row: &'static Row, args: &[Vec<u8>]) -> crate::command::CommandResult {
        let Run::Everywhere { check, .. } = row.command.run else { panic!("it asks nobody") };
        let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_slice()).collect();
        let view = crate::command::SessionView {
            session: &mut self.connections[index as usize].session,
            config: &self.config,
            shared: &self.shared,
            now_ms: self.now_ms,
            reconfigured: false,
        };
        check(&view, &args)
    }

    fn end_borrowed_exec(&mut self, gathering: u32, mut borrowing: Borrowing, mut ground: Ground) {
        let Work::Exec(mut exec) = std::mem::replace(&mut borrowing.work, Work::Command) else {
            panic!("a transaction that is none")
        };
        let index = self.gatherings[gathering as usize].connection;
        if let Some(attempt) = &mut exec.attempt {
            self.tell_attempt(index, attempt, &mut ground);
        }
        self.look_for_emptied(index, &mut ground);
        self.log_ground(&mut ground);
        let kept = borrowing.requests.iter_mut().filter(|(_, request)| request.keeps_watched);
        let watched = kept.flat_map(|(_, request)| std::mem::take(&mut request.watched)).collect();
        self.forget_watched(watched);
        let done = self.gatherings.remove(gathering as usize);
        let ended = self.clock.raw();
        self.stats.record(done.row.id, self.clock.delta_as_nanos(done.started, ended));
        self.note_reply(done.connection, done.row.id, Way::Local, ended);
        if self.holds {
            self.hold_for(done.connection, &Told::of_requests(&borrowing.requests));
        }
        self.finish_exec(done.connection, done.row, Some(done.sequence), *exec, done.started);
        self.send_home(borrowing, ground);
    }

    /// Makes ground of loans.
    fn settle_in(&mut self, loans: &mut [Loan]) -> Ground {
        if loans.iter().any(|loan| matches!(loan.lent, Lent::Whole(_))) {
            let whole =
                loans.iter_mut().map(|loan| match std::mem::replace(&mut loan.lent, Lent::Entries(Vec::new())) {
                    Lent::Whole(keyspace) => *keyspace,
                    Lent::Entries(_) => panic!("all shards are borrowed as a whole, or none"),
                });
            return Ground::Whole(whole.collect());
        }
        let mut overlay = self.overlay.take().unwrap_or_else(|| Box::new(self.shard.keyspace.sibling()));
        overlay.begin(self.now_ms, false);
        let mut listened = Class::empty();
        for loan in loans {
            listened |= loan.listened;
            if let Lent::Entries(entries) = &mut loan.lent {
                entries.drain(..).for_each(|(db, entry)| overlay.adopt(db, entry));
            }
        }
        overlay.effects.listen(listened);
        Ground::Entries(overlay)
    }

    /// Serves who waits for what is borrowed, as [`Core::serve_own`] does where it is at home.
    fn serve_borrowed(
        &mut self,
        requests: &[(usize, Request)],
        loans: &mut [Loan],
        ground: &mut Ground,
    ) -> Vec<(Arc<Ticket>, Output, u64)> {
        let mut served = Vec::new();
        let queues: Vec<Queued> = loans.iter_mut().flat_map(|loan| std::mem::take(&mut loan.waiting)).collect();
        if queues.is_empty() {
            return served;
        }
        let by_key = queues.iter().enumerate().map(|(at, queue)| ((queue.db, &queue.key[..]), at)).collect();
        let mut seen = None; // Up to this rank.
        loop {
            let before = served.len();
            for (rank, turn) in ground.turns(&by_key, seen) {
                seen = Some(rank);
                match turn {
                    Turn::Key(at) => self.serve_queue(&queues[at], requests, ground, &mut served),
                    Turn::Database(db) => queues
                        .iter()
                        .filter(|queue| queue.db == db)
                        .for_each(|queue| self.serve_queue(queue, requests, ground, &mut served)),
                }
                if before < served.len() {
                    break; // Others may have their turn by it.
                }
            }
            if before == served.len() {
                break;
            }
        }
        if !served.is_empty() {
            self.log_ground(ground);
        }
        served
    }

    /// Serves who waits for one key.
    fn serve_queue(
        &mut self,
        queue: &Queued,
        requests: &[(usize, Request)],
        ground: &mut Ground,
        served: &mut Vec<(Arc<Ticket>, Output, u64)>,
    ) {
        let is_here = |key: &[u8]| {
            requests.iter().any(|(_, request)| match &request.need {
                Need::Everything => true,
                Need::Keys(keys) => keys.iter().any(|known| known == key),
            })
        };
        for (ticket, at) in queue.tickets.iter().filter(|(ticket, _)| ticket.is_open()) {
            let shard = self.map.shard_of(&queue.key);
            let keyspace = match ground {
                Ground::Engines => panic!("engines are not borrowed"),
                Ground::Entries(overlay) => &mut **overlay,
                Ground::Whole(keyspaces) => &mut keyspaces[shard],
            };
            // Who is told that the key is gone is told at home.
            let Some(value_type) = keyspace.peek(queue.db, &queue.key).map(|entry| entry.value_type()) else { return };
            if value_type != ticket.wait.value_type {
                continue;
            }
            if !ticket.keys_of_call(*at).all(is_here) {
                return; // Nor is it run here, nor are those behind it.
            }
            let started = self.clock.raw();
            if let Some(reply) = self.retry(ticket, *at, ground) {
                served.push((ticket.clone(), reply, self.clock.delta_as_nanos(started, self.clock.raw())));
            }
        }
    }

    /// Serves who waits for it, and sends everything home.
    pub(super) fn send_home(&mut self, borrowing: Borrowing, mut ground: Ground) {
        let Borrowing { requests, mut loans, .. } = borrowing;
        let served = self.serve_borrowed(&requests, &mut loans, &mut ground);
        self.tell_of(&mut ground); // The owners may come to it only after the reply.
        match ground {
            Ground::Engines => panic!("engines are not borrowed"),
            Ground::Entries(mut overlay) => {
                overlay.begin(self.now_ms, false);
                for loan in &mut loans {
                    if let (Need::Keys(keys), Lent::Entries(entries)) = (&loan.need, &mut loan.lent) {
                        keys.iter().for_each(|key| overlay.lend(key, |db, entry| entries.push((db, entry))));
                    }
                }
                for effect in overlay.effects.take_all() {
                    let owner = self.map.shard_of(&effect.key);
                    let at = requests.iter().position(|(of, _)| *of == owner);
                    let loan = &mut loans[at.expect("a command touches no key that it does not name")];
                    if loan.listened.intersects(effect.event.class) {
                        loan.effects.push(effect);
                    }
                }
                self.shard.keyspace.absorb(&mut overlay);
                self.overlay = Some(overlay);
            }
            Ground::Whole(keyspaces) => {
                for (owner, (loan, keyspace)) in loans.iter_mut().zip(keyspaces).enumerate() {
                    if self.has_limit() && keyspace.has_garbage() {
                        self.shared.budget.set_garbage(owner, true); // Who needs room now waits until it is at home.
                    }
                    loan.lent = Lent::Whole(Box::new(keyspace));
                }
            }
        }
        for ((owner, _), loan) in requests.into_iter().zip(loans) {
            if owner == self.core {
                self.come_home(loan);
            } else {
                self.mailbox.control(owner, Control::Home(loan));
            }
        }
        served.into_iter().for_each(|(ticket, reply, nanoseconds)| self.bring_answer(ticket, reply, nanoseconds));
    }
}
