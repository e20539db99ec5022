//! Commands that need several shards at one moment, and transactions: run at once on the engines if those are free, or
//! soon will be, on borrowed keys if not. How that makes everything atomic: see [`crate::shard::union`].
//!
//! ```text
//!   engines free      hold 0, 2 ─▶ run ─▶ let go                                   (this file)
//!   one is busy       next pass, some times                                        (this file)
//!   one stays busy    borrow from 0 ─▶ borrow from 2 ─▶ run ─▶ home                (`lend`)
//!   EXEC with INFO    borrow … ─▶ run ─▶ ask all cores ─▶ run on ─▶ home           (`lend`, `gathering`)
//! ```

use super::accept::CLOSING;
use super::aof_share::Told;
use super::attempt::{Attempt, names_database};
use super::block::Noted;
use super::core::Core;
use super::execute::{call_of, discards};
use super::gathering::{Gathering, Kind};
use super::lend::{Ground, Loan};
use super::mailbox::Control;
use super::monitor;
use super::needs::{Needs, linked_keys, rising, shards_of};
use super::pubsub::remember_read;
use super::read::{Planned, Source, raw_request};
use super::script::{Before, Ran, ScriptWork};
use super::send::list_once;
use super::slow;
use super::timing::Fate;
use super::trial::Message;
use super::visit::{DEFERRALS_MAX, end_visit_to_lender, hold_several};
use crate::command::lookup::{self, Row};
use crate::command::pubsub::audience_of;
use crate::command::slowlog::Split;
use crate::command::{
    Args, Flags, Gather, Joint, Keys, Part, Run, ScriptCall, SessionView, Spread, key_positions, slowlog,
};
use crate::connection::arguments;
use crate::keyspace::Effect;
use crate::mutant::Mutant;
use crate::resp::{Error, Output, Protocol, Reply};
use crate::route::parcel::ArgSlices;
use crate::session::{Mode, Transaction, Watched};
use crate::shard::{Call, Request, Shard, Ticket, fail, finish};
use crate::stats::stages::Arrival;
use crate::sync::Flag;
use ahash::AHashSet;
use bytes::Bytes;
use smallvec::SmallVec;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A call with more arguments keeps engines of other cores too long: it borrows.
const ARGS_AT_ONCE_MAX: usize = 256;
/// So does a transaction of more calls. One with scripts that has more, or names so many keys, holds every shard.
const CALLS_AT_ONCE_MAX: usize = 64;
/// So does one with scripts of which more was queued: what may begin again is freed only at the end.
const QUEUED_BYTES_MAX: usize = 1 << 20;

/// What has to be done when everything borrowed is there.
pub(super) enum Work {
    /// The gathering's command.
    Command,
    /// Nothing: its keys are watched from now on.
    Watch,
    /// A transaction.
    Exec(Box<Exec>),
    /// A script.
    Script(Box<ScriptWork>),
    /// The call of a client that waits, for its key of this number.
    Retry(Arc<Ticket>, usize),
}

/// A transaction on its way.
pub(super) struct Exec {
    pub(super) transaction: Transaction,
    /// Its last command's name as the client wrote it, where somebody wants to see it.
    pub(super) name: Vec<u8>,
    /// The next call.
    pub(super) next: usize,
    /// The time of all its calls, also of those behind one for which every core is asked; 0: none has run.
    pub(super) now_ms: u64,
    /// Hashes of the keys that its calls name: they stay while others go for it.
    pub(super) used_keys: AHashSet<u64>,
    /// The replies so far.
    pub(super) out: Output,
    /// A call changed the configuration: every core has to take it before the reply leaves.
    pub(super) is_reconfigured: bool,
    /// What came before it ran.
    pub(super) split: Split,
    /// Some of its calls run scripts: it runs in an attempt.
    pub(super) has_scripts: bool,
    pub(super) attempt: Option<Box<Attempt>>,
    /// No call from this one on can make it begin again.
    pub(super) risks_until: usize,
    /// What is known of scripts of these calls, where it has begun again: the one that wanted more, and those that
    /// somebody has ended, which end at once then.
    pub(super) before: SmallVec<[(usize, Before); 1]>,
}

impl Exec {
    /// Its attempt, if it may have to begin again.
    fn trial(attempt: &mut Option<Box<Attempt>>) -> Option<&mut Attempt> {
        attempt.as_deref_mut().filter(|attempt| !attempt.holds_everything)
    }
}

/// How far the calls of a transaction went.
pub(super) enum Calls {
    /// All have run.
    Done,
    /// The next one asks all cores.
    Asks,
    /// It needs more than it holds, and begins again.
    Roams,
}

/// What is borrowed for it.
pub(super) struct Borrowing {
    pub(super) call: Call,
    /// By shard, in rising order.
    pub(super) requests: Vec<(usize, Request)>,
    /// What came, in the same order.
    pub(super) loans: Vec<Loan>,
    pub(super) work: Work,
    /// How its command came to its turn; none: that has been noted.
    pub(super) arrival: Option<Arrival>,
}

/// Whether a call ends soon enough to run in engines of other cores. Scripts may not, and let go of the engines then.
fn is_brief(row: &'static Row, argc: usize) -> bool {
    // They only take tables away; what was in them is freed later.
    let is_flush = matches!(row.command.spread, Spread::Every(_)) && row.flags.contains(Flags::WRITE);
    let is_split = matches!(row.command.spread, Spread::Split(_)) && argc <= ARGS_AT_ONCE_MAX;
    row.is_quick
        || is_flush
        || is_split
        || matches!(row.command.run, Run::Session(_) | Run::Blocking(_) | Run::Subscription { .. })
        || matches!(row.command.run, Run::Joint(Joint::Script(what)) if what.runs() || what == ScriptCall::Load)
}

/// Whether what a call of a transaction does can be undone: values, as long as they are not too large, and what is only
/// told at the end.
fn can_be_undone(row: &'static Row, args: &Args<'_>) -> bool {
    match row.command.run {
        Run::Keyspace(_) | Run::Blocking(_) => {
            let is_on_all = matches!(row.command.keys, Keys::None) && row.flags.contains(Flags::WRITE);
            !is_on_all && !names_database(row, args)
        }
        Run::Session(_) => audience_of(row.command).is_some(),
        Run::Joint(Joint::Script(what)) => what.runs() || what == ScriptCall::Load,
        Run::Joint(_) | Run::Everywhere { .. } | Run::Subscription { .. } | Run::Container => false,
    }
}

impl Core {
    /// Runs a command with keys on several shards, or on all of them, or with keys for which somebody waits who would
    /// fill others.
    pub(super) fn run_on_several(&mut self, planned: &Planned, row: &'static Row, started: u64) -> u64 {
        let connection =
            &mut **self.connections.get_mut(planned.connection as usize).expect("planned connections are open");
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let request = &bytes[planned.base..];
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let args: ArgSlices<'_> = arguments(spans, request, &connection.bodies);
        let call = call_of(&connection.session);
        let linked = linked_keys(&self.shared.links, row, &args);
        let mut shards = shards_of(self.map, row, &args);
        if !linked.is_empty() {
            shards = rising(shards.into_iter().chain(linked.iter().map(|key| self.map.shard_of(key))));
        }
        let needs = OnceCell::new();
        let needs_of_call = || {
            let mut needs = Needs::of_call(self.map, row, &args);
            linked.iter().for_each(|key| needs.add(key));
            needs
        };
        if Mutant::SplitCommandsLetGo.is_on() && matches!(row.command.spread, Spread::Split(Gather::Ok)) {
            let owned: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
            drop(args);
            return self.run_apart(planned.connection, row, call, &owned);
        }
        // At once only if nothing this client sent before is still on its way.
        if connection.replies.outstanding() == 0
            && is_brief(row, args.len())
            && hold_several(&mut self.shard, &mut self.visited, &shards, |shard, engine| {
                needs.get_or_init(needs_of_call).is_clear(shard, engine)
            })
        {
            let engines = (&mut self.shard, &mut self.visited[..]);
            let (now_ms, stats, overlay, config) = (self.now_ms, &mut self.stats, &mut self.overlay, &self.config);
            let mut wait = None;
            connection.replies.write(|out| {
                let wait = Some(&mut wait);
                Ground::Engines.run(engines, overlay, config, wait, row, call, &args, now_ms, stats, out)
            });
            list_once(&mut self.dirty, &mut connection.dirty, planned.connection);
            connection.deferrals = 0;
            let ended = self.clock.raw();
            let nanoseconds = self.clock.delta_as_nanos(started, ended);
            self.stats.record(row.id, nanoseconds);
            self.stats.counters.commands_visiting += 1;
            let mut noted = None;
            if wait.is_some() {
                let split = self.timing.split(planned.batch, started, &self.clock);
                noted = Noted::new(&self.config, row, &args, nanoseconds, split);
            } else if self.slow_nanoseconds <= nanoseconds {
                let kept = || slowlog::kept(row, &args);
                let split = self.timing.split(planned.batch, started, &self.clock);
                slow::record(&self.shared, &self.config, row, kept, nanoseconds, split, &connection.session);
            }
            let told = self.holds.then(|| Told::of_call(row, &args));
            drop(args);
            if let Some(wait) = wait {
                self.wait_on_engines(planned.connection, row, call, wait, noted);
            }
            self.look_for_emptied(planned.connection, &mut Ground::Engines);
            self.settle_engines();
            if let Some(told) = told {
                self.hold_for(planned.connection, &told);
            }
            return ended;
        }
        // An engine was busy, which soon it is not, and nothing of the call has been done yet, not even what the modes
        // of its client ask for: it has its turn in the next pass, and what the client sent after it with it.
        if self.shard.is_impatient()
            && connection.replies.outstanding() == 0
            && connection.deferrals < DEFERRALS_MAX
            && is_brief(row, args.len())
            && connection.session.mode.is_empty()
            && connection.bodies.is_empty()
            && self.shared.monitors.load(Ordering::Relaxed) == 0
            && let Some(raw) = raw_request(bytes, planned, spans)
        {
            connection.held_back.extend_from_slice(raw);
            connection.deferrals += 1;
            connection.session.commands -= 1;
            return self.clock.raw();
        }
        connection.deferrals = 0;
        let needs = needs.into_inner().unwrap_or_else(needs_of_call);
        let owned: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
        drop(args);
        let arrival = self.timing.arrival(planned.batch, started, &self.clock);
        self.borrow_for(planned.connection, row, owned, call, needs.into_requests(None), Work::Command, arrival);
        self.clock.raw()
    }

    /// Begins to borrow. The client waits; its reply has its place.
    #[expect(clippy::too_many_arguments, reason = "all that is known of a call")]
    pub(super) fn borrow_for(
        &mut self,
        index: u32,
        row: &'static Row,
        args: Vec<Vec<u8>>,
        call: Call,
        mut requests: Vec<(usize, Request)>,
        work: Work,
        arrival: Arrival,
    ) {
        if let Some(busy) = self.shared.scripts.refusal() {
            // It would wait for a script that may never end, and others behind it.
            self.refuse_to(index, row, busy);
            self.forget_work(work);
            return self.forget_watched(requests.into_iter().flat_map(|(_, request)| request.watched).collect());
        }
        let connection = &mut *self.connections[index as usize];
        connection.barrier = true;
        let sequence = connection.replies.reserve();
        // Those of a transaction, or script, are remembered when it runs.
        if matches!(work, Work::Command) && row.flags.contains(Flags::READONLY) && connection.session.tracking.is_some()
        {
            requests.iter_mut().for_each(|(_, request)| request.reader = call.actor.client);
        }
        self.stats.counters.commands_forwarded += 1;
        let gathering = self.gatherings.insert(Gathering {
            connection: index,
            sequence,
            row,
            args: Arc::new(args),
            missing: 0,
            kind: Kind::Borrowing(Box::new(Borrowing {
                call,
                requests,
                loans: Vec::new(),
                work,
                arrival: Some(arrival),
            })),
            started: arrival.at,
            split: Split::default(),
        });
        self.borrow(gathering as u32);
        self.timing.fate = Fate::Waits;
    }

    /// Commands ran on engines by [`Ground::run`]: those who listen are told, owners are told of deadlines.
    pub(super) fn settle_engines(&mut self) {
        self.settle_held();
        self.serve_own();
        let has_limit = self.has_limit();
        for owner in 0..self.visited.len() {
            self.serve_visited(owner);
            let Some(peer) = &mut self.visited[owner] else { continue };
            if has_limit && peer.keyspace.has_garbage() {
                self.shared.budget.set_garbage(owner, true);
            }
            if peer.wants_owner() {
                self.mailbox.control(owner, Control::Sooner);
            }
        }
        self.end_visits_to_lenders();
    }

    /// The first half of it: before anybody is served.
    pub(super) fn settle_held(&mut self) {
        if self.shard.keyspace.records.is_on {
            self.log_ground(&mut Ground::Engines);
        }
        let has_effects = |engine: &Shard| !engine.keyspace.effects.is_empty();
        if !has_effects(&self.shard) && !self.visited.iter().flatten().any(|peer| has_effects(peer)) {
            return;
        }
        self.tell_of(&mut Ground::Engines);
        if has_effects(&self.shard) {
            self.shard.settle();
        }
        for peer in self.visited.iter_mut().flatten().filter(|peer| has_effects(peer)) {
            peer.settle();
        }
    }

    /// See [`Mutant::SplitCommandsLetGo`].
    #[cold]
    fn run_apart(&mut self, index: u32, row: &'static Row, call: Call, args: &[Vec<u8>]) -> u64 {
        let mut out = Output::default();
        for pair in args[1..].chunks(2) {
            let shard = [self.map.shard_of(&pair[0])];
            while !hold_several(&mut self.shard, &mut self.visited, &shard, |_, engine| engine.locks.is_free()) {
                self.end_visits();
                self.shard.let_go();
                std::thread::yield_now();
            }
            out.truncate(0);
            let args: ArgSlices<'_> = std::iter::once(&args[0]).chain(pair).map(Vec::as_slice).collect();
            let (now_ms, stats) = (self.now_ms, &mut self.stats);
            let engines = (&mut self.shard, &mut self.visited[..]);
            let (overlay, config) = (&mut self.overlay, &self.config);
            Ground::Engines.run(engines, overlay, config, None, row, call, &args, now_ms, stats, &mut out);
            self.settle_engines();
            self.end_visits();
            self.shard.let_go();
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        self.shard.take();
        let connection = &mut *self.connections[index as usize];
        let sequence = connection.replies.reserve();
        connection.barrier = true;
        self.finish_gathering(index, sequence, out);
        self.clock.raw()
    }

    /// See [`Mutant::TransactionsLetGo`].
    #[cold]
    fn let_go_between_calls(&mut self) {
        self.settle_engines();
        let held: Vec<usize> =
            (0..self.visited.len()).filter(|&shard| shard == self.core || self.visited[shard].is_some()).collect();
        self.end_visits();
        self.shard.let_go();
        std::thread::sleep(std::time::Duration::from_micros(200));
        while !hold_several(&mut self.shard, &mut self.visited, &held, |_, engine| engine.locks.is_free()) {
            self.end_visits();
            self.shard.let_go();
            std::thread::yield_now();
        }
    }

    /// Subscribers and caches are told what has happened so far, in that order over all keyspaces, whoever else is told
    /// at the end.
    pub(super) fn tell_of(&mut self, ground: &mut Ground) {
        self.tell_in_order(ground, Vec::new());
    }

    /// The same, with messages among it.
    pub(super) fn tell_in_order(&mut self, ground: &mut Ground, messages: Vec<Message>) {
        let notifications = self.shard.notifications();
        let mut effects: Vec<&mut Effect> = match ground {
            Ground::Engines => {
                let visited = self.visited.iter_mut().flatten().map(|engine| &mut **engine);
                let engines = std::iter::once(&mut *self.shard).chain(visited);
                engines.flat_map(|engine| engine.keyspace.effects.untold()).collect()
            }
            Ground::Entries(overlay) => overlay.effects.untold().collect(),
            Ground::Whole(keyspaces) => keyspaces.iter_mut().flat_map(|keyspace| keyspace.effects.untold()).collect(),
        };
        effects.sort_by_key(|effect| effect.rank);
        let pubsub = &self.shared.pubsub;
        let publish = |message: Message| pubsub.publish(message.audience, &message.channel, &message.text);
        let mut messages = messages.into_iter().peekable();
        for effect in effects {
            while let Some(message) = messages.next_if(|message| message.rank <= effect.rank) {
                publish(message);
            }
            pubsub.tell(effect, notifications);
            effect.is_told = true;
        }
        messages.for_each(|message| {
            publish(message);
        });
    }

    // Queueing

    /// Queues a command of a client between `MULTI` and `EXEC`.
    pub(super) fn queue(&mut self, planned: &Planned, row: &'static Row) -> u64 {
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
        if !session.transaction.is_spoiled {
            let args: ArgSlices<'_> = arguments(spans, request, &connection.bodies);
            session.transaction.push(row.id.index() as u16, args.iter().copied());
        }
        connection.replies.write(|out| Reply::new(&mut *out, Protocol::Resp2).simple("QUEUED"));
        list_once(&mut self.dirty, &mut connection.dirty, planned.connection);
        self.clock.raw()
    }

    /// Runs `WATCH` and `EXEC`.
    pub(super) fn run_joint(&mut self, joint: Joint, planned: &Planned, row: &'static Row, started: u64) -> u64 {
        match joint {
            Joint::Watch => self.watch(planned, row, started),
            Joint::Exec => self.exec(planned, row, started),
            Joint::WaitAof => self.wait_for_log(planned, row, started),
            Joint::Script(what) => self.run_script(planned, row, what, started),
        }
        self.clock.raw()
    }

    // Watching

    fn watch(&mut self, planned: &Planned, row: &'static Row, started: u64) {
        let connection =
            &mut **self.connections.get_mut(planned.connection as usize).expect("planned connections are open");
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let request = &bytes[planned.base..];
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let session = &mut connection.session;
        if session.mode.contains(Mode::IN_TRANSACTION) {
            connection.replies.write(|out| fail(&mut self.stats, row, &Error::WATCH_IN_MULTI, out.len(), out));
            self.stats.record(row.id, self.clock.delta_as_nanos(started, self.clock.raw()));
            list_once(&mut self.dirty, &mut connection.dirty, planned.connection);
            return;
        }
        let db = session.db;
        // One for all that it watches.
        let flag = session.watched.first().map_or_else(Flag::default, |watched| watched.flag.clone());
        let is_known = |key: &[u8]| session.watched.iter().any(|watched| watched.db == db && watched.key == key);
        let mut needs = Needs::new(self.map);
        let args: ArgSlices<'_> = arguments(spans, request, &connection.bodies);
        args[1..].iter().copied().filter(|key| !is_known(key)).for_each(|key| needs.add(key));
        drop(args);
        if connection.replies.outstanding() == 0
            && hold_several(&mut self.shard, &mut self.visited, &needs.shards(), |shard, engine| {
                needs.is_clear(shard, engine)
            })
        {
            needs.keys.sort_unstable();
            needs.keys.dedup();
            for (owner, key) in needs.keys {
                let engine = if owner == self.core {
                    &mut *self.shard
                } else {
                    self.visited[owner].as_mut().expect("held above")
                };
                session.watched.push(engine.watch(db, &key, &flag, self.now_ms));
            }
            self.visited.iter_mut().for_each(end_visit_to_lender);
            connection.replies.write(|out| Reply::new(&mut *out, Protocol::Resp2).ok());
            list_once(&mut self.dirty, &mut connection.dirty, planned.connection);
            self.stats.record(row.id, self.clock.delta_as_nanos(started, self.clock.raw()));
            return;
        }
        let call = call_of(session);
        let requests = needs.into_requests(Some((db, flag)));
        let arrival = self.timing.arrival(planned.batch, started, &self.clock);
        self.borrow_for(planned.connection, row, Vec::new(), call, requests, Work::Watch, arrival);
    }

    /// Tells the shards what a client watches no more.
    pub(super) fn tell_unwatched(&mut self, index: u32) {
        let unwatched = std::mem::take(&mut self.connections[index as usize].session.unwatched);
        self.forget_watched(unwatched);
    }

    /// The same for keys on any shards.
    pub(super) fn forget_watched(&mut self, unwatched: Vec<Watched>) {
        let mut by_shard: BTreeMap<usize, Vec<Watched>> = BTreeMap::new();
        for watched in unwatched {
            by_shard.entry(self.map.shard_of(&watched.key)).or_default().push(watched);
        }
        for (owner, unwatched) in by_shard {
            if owner == self.core {
                self.unwatch(&unwatched);
            } else if let Some(peer) = &mut self.visited[owner] {
                unwatched.iter().for_each(|watched| peer.unwatch(watched));
            } else {
                self.mailbox.control(owner, Control::Unwatch(unwatched));
            }
        }
    }

    /// Keys of this shard are watched by one client less.
    pub(super) fn unwatch(&mut self, unwatched: &[Watched]) {
        self.shard.take();
        unwatched.iter().for_each(|watched| self.shard.unwatch(watched));
    }

    // Transactions

    fn exec(&mut self, planned: &Planned, row: &'static Row, started: u64) {
        let index = planned.connection;
        let connection = &mut *self.connections[index as usize];
        let name = || {
            let bytes = match planned.source {
                Source::Buffer(buffer) => self.ring.bytes(buffer),
                Source::Input => &connection.input[..],
            };
            self.spans[planned.first_span as usize].of(&bytes[planned.base..]).to_vec()
        };
        // As `MONITOR` shows it.
        let name = if self.shared.monitors.load(Ordering::Relaxed) == 0 { Vec::new() } else { name() };
        let session = &mut connection.session;
        let error = if !session.mode.contains(Mode::IN_TRANSACTION) {
            Some(Error::EXEC_WITHOUT_MULTI)
        } else if session.transaction.is_spoiled {
            session.discard();
            Some(Error::EXEC_ABORT)
        } else {
            None
        };
        if let Some(error) = error {
            let is_over = error == Error::EXEC_ABORT;
            connection.replies.write(|out| fail(&mut self.stats, row, &error, out.len(), out));
            list_once(&mut self.dirty, &mut connection.dirty, index);
            self.stats.record(row.id, self.clock.delta_as_nanos(started, self.clock.raw()));
            if is_over {
                self.show_to_monitors(index, row, &[&name]); // They saw its MULTI.
            }
            return self.tell_unwatched(index);
        }
        session.mode.remove(Mode::IN_TRANSACTION);
        let transaction = std::mem::take(&mut session.transaction);
        let watched = std::mem::take(&mut session.watched);
        let mut needs = Needs::new(self.map);
        let mut is_brief_all = transaction.len() <= CALLS_AT_ONCE_MAX;
        let mut asks_all_cores = false;
        let mut subscribes = false;
        let (mut has_scripts, mut can_begin_again, mut risks_until) = (false, is_brief_all, 0);
        for at in 0..transaction.len() {
            let row = lookup::find_by_index(transaction.command(at) as usize);
            let args: ArgSlices<'_> = transaction.args(at).collect();
            needs.add_call(row, &args);
            is_brief_all &= is_brief(row, args.len());
            subscribes |= matches!(row.command.run, Run::Subscription { .. });
            asks_all_cores |= matches!(row.command.run, Run::Everywhere { .. });
            can_begin_again &= can_be_undone(row, &args);
            let runs = match row.command.run {
                Run::Joint(Joint::Script(what)) if what.runs() => {
                    can_begin_again = can_begin_again && !self.is_thought_wide(what, &args);
                    true
                }
                _ => false,
            };
            has_scripts |= runs;
            if runs || audience_of(row.command).is_some() {
                risks_until = at + 1;
            }
        }
        can_begin_again &= needs.keys.len() <= ARGS_AT_ONCE_MAX && transaction.memory_bytes() <= QUEUED_BYTES_MAX;
        // Who holds nothing would not be in the way of those who change what it calls: see `ScriptCall::runs`.
        if has_scripts && (!can_begin_again || needs.keys.is_empty()) {
            needs.widen();
        }
        needs.add_linked(&self.shared.links);
        needs.add_watched(&watched);
        let shards = needs.shards();
        let connection = &mut *self.connections[index as usize];
        if let &[shard] = &shards[..]
            && shard != self.core
            && self.config.connection_steering
            && !connection.session.is_node
            && (0..transaction.len() + 2).any(|_| connection.following.note(shard, connection.session.commands))
        {
            self.followers.push((index, shard));
        }
        let arrival = self.timing.arrival(planned.batch, started, &self.clock);
        let mut exec = Exec {
            transaction,
            name,
            next: 0,
            now_ms: 0,
            used_keys: AHashSet::new(),
            out: Output::default(),
            is_reconfigured: false,
            split: arrival.into(),
            has_scripts,
            attempt: None,
            risks_until,
            before: SmallVec::new(),
        };
        loop {
            let shards = needs.shards();
            let may_be_at_once = is_brief_all || shards.iter().all(|&shard| shard == self.core);
            // Until it has ended, where it may begin again.
            let keeps_watched = has_scripts && !needs.is_everything();
            let connection = &mut *self.connections[index as usize];
            let is_held = connection.replies.outstanding() == 0
                && may_be_at_once
                && (!asks_all_cores || self.map.shards() == 1)
                && hold_several(&mut self.shard, &mut self.visited, &shards, |shard, engine| {
                    needs.is_clear(shard, engine)
                });
            if !is_held {
                let call = call_of(&connection.session);
                let mut requests = needs.into_requests(None);
                requests.iter_mut().for_each(|(_, request)| request.keeps_watched = keeps_watched);
                let work = Work::Exec(Box::new(exec));
                return self.borrow_for(index, row, Vec::new(), call, requests, work, arrival);
            }
            let mut is_unchanged = true;
            for watched in &watched {
                let owner = self.map.shard_of(&watched.key);
                let engine = if owner == self.core {
                    &mut *self.shard
                } else {
                    self.visited[owner].as_mut().expect("held above")
                };
                let is_looked_at = owner == self.core || !Mutant::ExecLooksAtOwnKeysOnly.is_on();
                is_unchanged &= !is_looked_at || engine.is_unchanged(watched, self.now_ms);
                if !keeps_watched {
                    engine.unwatch(watched);
                }
            }
            // Messages that come to the client meanwhile wait for the reply.
            let sequence = subscribes.then(|| connection.replies.reserve());
            let mut ground = Ground::Engines;
            if is_unchanged || Mutant::ExecIgnoresWatch.is_on() {
                if has_scripts {
                    let holds_everything = needs.is_everything() && self.holds_everything(&ground);
                    let named = std::mem::take(&mut needs.keys);
                    exec.attempt = Some(Box::new(Attempt::new(holds_everything, started, named)));
                    self.begin_attempt();
                }
                match self.run_calls(index, &mut exec, &mut ground) {
                    Calls::Done => {}
                    Calls::Asks => panic!("no call asks other cores"),
                    Calls::Roams => {
                        self.begin_exec_again(index, &mut exec, &mut ground);
                        self.settle_engines();
                        needs.widen();
                        continue;
                    }
                }
                if keeps_watched {
                    self.forget_watched(watched);
                }
                if let Some(attempt) = exec.attempt.take() {
                    let told = self.holds.then(|| match needs.is_everything() {
                        true => Told::All,
                        false => Told::Keys(attempt.keys().map(<[u8]>::to_vec).collect()),
                    });
                    self.end_attempt(index, *attempt, &mut ground, told);
                    self.settle_engines();
                    if self.map.shards() == 1 && !self.shard.locks.is_free() {
                        self.serve_waiting(); // One in front of them may have been told that the script is busy.
                    }
                } else {
                    self.look_for_emptied(index, &mut ground);
                    self.settle_engines();
                    if self.holds {
                        self.hold_for(index, &needs.told());
                    }
                }
            } else {
                if keeps_watched {
                    self.forget_watched(watched);
                }
                self.write_unchanged_failure(index, &mut exec.out);
                self.end_visits_to_lenders();
            }
            self.stats.record(row.id, self.clock.delta_as_nanos(started, self.clock.raw()));
            return self.finish_exec(index, row, sequence, exec, started);
        }
    }

    /// A transaction needs more than it holds, and begins again with every shard: nothing of it has happened.
    pub(super) fn begin_exec_again(&mut self, index: u32, exec: &mut Exec, ground: &mut Ground) {
        let attempt = exec.attempt.take().expect("only one with scripts may have to");
        self.take_back(*attempt, ground);
        (exec.next, exec.now_ms, exec.out) = (0, 0, Output::default());
        self.connections[index as usize].session.mode.remove(Mode::DENY_BLOCKING);
        self.stats.counters.scripts_widened += 1;
    }

    /// A watched key has changed: the reply is a null array.
    pub(super) fn write_unchanged_failure(&self, index: u32, out: &mut Output) {
        Reply::new(&mut *out, self.connections[index as usize].session.protocol).null_array();
    }

    /// Runs the calls of a transaction that are left, on what is held for it.
    pub(super) fn run_calls(&mut self, index: u32, exec: &mut Exec, ground: &mut Ground) -> Calls {
        if exec.now_ms == 0 {
            exec.now_ms = self.now_ms;
        }
        let now_ms = std::mem::replace(&mut self.now_ms, exec.now_ms);
        let used_before = self.begin_to_use(exec);
        let calls = self.run_calls_now(index, exec, ground);
        exec.used_keys = self.end_use(used_before);
        self.now_ms = now_ms.max(self.now_ms);
        calls
    }

    fn run_calls_now(&mut self, index: u32, exec: &mut Exec, ground: &mut Ground) -> Calls {
        let Exec { transaction, next, out, is_reconfigured, split, attempt, risks_until, before, .. } = exec;
        let session = &mut self.connections[index as usize].session;
        session.mode.insert(Mode::DENY_BLOCKING);
        if *next == 0 {
            Reply::new(&mut *out, session.protocol).array(transaction.len());
        }
        while *next < transaction.len() {
            let row = lookup::find_by_index(transaction.command(*next) as usize);
            let args: ArgSlices<'_> = transaction.args(*next).collect();
            let started = self.clock.raw();
            if let Run::Everywhere { .. } = row.command.run
                && 1 < self.map.shards()
            {
                return Calls::Asks;
            }
            let mut trial = Exec::trial(attempt);
            match &mut trial {
                Some(trial) => trial.shown.extend(self.line_for_monitors(index, row, &args)),
                None => self.show_to_monitors(index, row, &args),
            }
            let (start, found) = (out.len(), trial.as_ref().map(|_| self.found_on(ground)));
            let session = &mut self.connections[index as usize].session;
            // Who has killed itself sees that, and nothing after it.
            let is_leaving = session.mode.contains(Mode::CLOSE_AFTER_REPLY);
            remember_read(&self.shared.pubsub, &self.config, session, row, &args);
            let call = call_of(session);
            // What a call before this one set is there for this one, though the cores take it only afterwards.
            let newest = is_reconfigured.then(|| self.shared.config());
            let mut view = SessionView {
                session,
                config: newest.as_ref().unwrap_or(&self.config),
                shared: &self.shared,
                now_ms: self.now_ms,
                reconfigured: false,
            };
            let barred = row.command.permission.and_then(|permission| permission(view.config, view.session).err());
            match row.command.run {
                Run::Keyspace(_) | Run::Blocking(_) => {
                    let mut positions = Vec::new();
                    if let Some(trial) = &mut trial
                        && *next < *risks_until
                        && row.flags.may_change()
                        && key_positions(row.command, &args, &mut positions).is_ok() // The command says what is wrong.
                        && !self.save(trial, ground, row, call.db, &args, &positions)
                    {
                        return Calls::Roams;
                    }
                    self.keep_room_within(ground, row, call.db, &args);
                    let engines = (&mut self.shard, &mut self.visited[..]);
                    let (now_ms, stats) = (self.now_ms, &mut self.stats);
                    ground.run(engines, &mut self.overlay, &self.config, None, row, call, &args, now_ms, stats, out);
                    if trial.is_none() {
                        self.tell_of(ground);
                    }
                    if Mutant::TransactionsLetGo.is_on() && matches!(ground, Ground::Engines) {
                        self.let_go_between_calls();
                    }
                }
                Run::Session(run) => match (&mut trial, audience_of(row.command)) {
                    (Some(trial), Some(audience)) => {
                        if !trial.trial.note_message(audience, args[1], args[2]) {
                            return Calls::Roams;
                        }
                        let receivers = self.shared.pubsub.receivers(audience, args[1]);
                        Reply::new(&mut *out, call.protocol).integer(receivers as i64);
                    }
                    _ => {
                        let result = run(&mut view, &args, &mut Reply::new(&mut *out, call.protocol));
                        *is_reconfigured |= view.reconfigured;
                        finish(result, &mut self.stats, row, start, out);
                    }
                },
                Run::Everywhere { check, merge, .. } => match check(&view, &args) {
                    Err(error) => fail(&mut self.stats, row, &error, start, out),
                    Ok(()) => {
                        let (db, client) = (view.session.db, view.session.id);
                        let owned: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
                        let part = self.part(row, db, client, &owned);
                        self.merge_parts(index, row, merge, &args, vec![part], out);
                    }
                },
                Run::Subscription { audience, joins } => {
                    let names: Vec<Vec<u8>> = args[1..].iter().map(|name| name.to_vec()).collect();
                    let mut confirmations = Vec::new();
                    let result = self.change_subscriptions(index, audience, joins, &names, Some(&mut confirmations));
                    out.extend_from_slice(&confirmations);
                    finish(result, &mut self.stats, row, start, out);
                }
                // What a call before it has forbidden.
                Run::Joint(Joint::Script(_)) if barred.is_some() => {
                    let error = barred.as_ref().expect("the guard has seen it");
                    fail(&mut self.stats, row, error, start, out);
                }
                Run::Joint(Joint::Script(what)) => {
                    let mut unneeded = Attempt::new(true, started, Vec::new()); // Nothing is run, only loaded, say.
                    let attempt = attempt.as_deref_mut().unwrap_or(&mut unneeded);
                    let known = before.iter().position(|(at, _)| *at == *next).map(|at| before.remove(at).1);
                    let ran = self.run_script_of_transaction(index, row, what, &args, ground, attempt, known, out);
                    if attempt.holds_everything {
                        self.show_attempt(attempt);
                    }
                    if let Some(known) = attempt.killed.take() {
                        before.push((*next, known));
                    }
                    if let Ran::Roams(known) = ran {
                        before.push((*next, known));
                        return Calls::Roams;
                    }
                }
                Run::Joint(Joint::WaitAof) => {
                    let result = self.tell_of_log(&args, ground, out);
                    finish(result, &mut self.stats, row, start, out);
                }
                Run::Joint(_) | Run::Container => panic!("{} is not queued", row.full_name()),
            }
            let trial = Exec::trial(attempt);
            let is_trial = trial.is_some();
            if let (Some(trial), Some(found)) = (trial, found) {
                // What a script has done is noted by itself.
                let is_script = matches!(row.command.run, Run::Joint(_)) && barred.is_none();
                let failed = out.bytes().get(start..).filter(|reply| !is_script && reply.first() == Some(&b'-'));
                let (hits, misses) = if is_script { found } else { self.found_on(ground) };
                let nanoseconds = self.clock.delta_as_nanos(started, self.clock.raw());
                trial.trial.note_call(row.id, nanoseconds, (hits - found.0, misses - found.1), failed);
                self.stats.record(row.id, nanoseconds);
                if self.slow_nanoseconds <= nanoseconds {
                    let kept = || slowlog::kept(row, &args);
                    let entry = slow::entry(&self.shared, &self.config, row, kept, nanoseconds, *split);
                    trial.trial.note_slow(entry, self.config.slowlog_max_len);
                }
            } else {
                self.note_call(index, row, &args, started, *split);
            }
            let session = &self.connections[index as usize].session;
            if discards(session.mode) || is_leaving {
                out.truncate(start);
            }
            drop(args);
            *next += 1;
            if !is_trial {
                transaction.free_before(*next);
            }
        }
        Calls::Done
    }

    /// The parts of all cores became there; the call that asked for them has its reply.
    pub(super) fn take_parts(&mut self, index: u32, exec: &mut Exec, parts: Vec<Part>) {
        let Exec { transaction, next, out, split, .. } = exec;
        let row = lookup::find_by_index(transaction.command(*next) as usize);
        let args: ArgSlices<'_> = transaction.args(*next).collect();
        let Run::Everywhere { merge, .. } = row.command.run else { panic!("parts of a call that asks nobody") };
        let started = self.clock.raw();
        let start = out.len();
        let is_leaving = self.connections[index as usize].session.mode.contains(Mode::CLOSE_AFTER_REPLY);
        self.merge_parts(index, row, merge, &args, parts, out);
        if discards(self.connections[index as usize].session.mode) || is_leaving {
            out.truncate(start);
        }
        self.note_call(index, row, &args, started, *split);
        *next += 1;
    }

    pub(super) fn merge_parts(
        &mut self,
        index: u32,
        row: &'static Row,
        merge: crate::command::Merge,
        args: &Args<'_>,
        parts: Vec<Part>,
        out: &mut Output,
    ) {
        let session = &mut self.connections[index as usize].session;
        let (start, protocol) = (out.len(), session.protocol);
        let mut view = SessionView {
            session,
            config: &self.config,
            shared: &self.shared,
            now_ms: self.now_ms,
            reconfigured: false,
        };
        let result = merge(&mut view, args, parts, &mut Reply::new(&mut *out, protocol));
        assert!(!view.reconfigured, "a merge does not change the configuration");
        finish(result, &mut self.stats, row, start, out);
    }

    /// Counts a call of a transaction. `split`: what came before the transaction ran.
    fn note_call(&mut self, index: u32, row: &'static Row, args: &Args<'_>, started: u64, split: Split) {
        let nanoseconds = self.clock.delta_as_nanos(started, self.clock.raw());
        self.stats.record(row.id, nanoseconds);
        if self.slow_nanoseconds <= nanoseconds {
            let session = &self.connections[index as usize].session;
            let kept = || slowlog::kept(row, args);
            slow::record(&self.shared, &self.config, row, kept, nanoseconds, split, session);
        }
    }

    /// What those in `MONITOR` see of a call, if there are any.
    fn line_for_monitors(&self, index: u32, row: &'static Row, args: &Args<'_>) -> Option<Bytes> {
        let is_shown = !row.flags.intersects(Flags::SKIP_MONITOR.union(Flags::ADMIN));
        (is_shown && self.shared.monitors.load(Ordering::Relaxed) != 0).then(|| {
            let session = &self.connections[index as usize].session;
            monitor::line(session, &monitor::arguments(&slowlog::redacted(row, args)))
        })
    }

    fn show_to_monitors(&mut self, index: u32, row: &'static Row, args: &Args<'_>) {
        if let Some(line) = self.line_for_monitors(index, row, args) {
            self.feed_monitors(line);
        }
    }

    /// Answers `EXEC`; `sequence`: the place that its reply has already.
    pub(super) fn finish_exec(
        &mut self,
        index: u32,
        row: &'static Row,
        sequence: Option<u32>,
        exec: Exec,
        started: u64,
    ) {
        let Exec { mut transaction, name, out, is_reconfigured, before, .. } = exec;
        self.forget_runs(before); // It has not come to that call again.
        let name: &[u8] = if name.is_empty() { b"EXEC" } else { &name }; // Somebody has come meanwhile.
        self.show_to_monitors(index, row, &[name]);
        let connection = &mut *self.connections[index as usize];
        connection.session.mode.remove(Mode::DENY_BLOCKING);
        transaction.clear();
        connection.session.transaction = transaction; // With the room that it has.
        if connection.session.mode.intersects(CLOSING) {
            self.closing.push(index);
        }
        if is_reconfigured {
            let sequence = sequence.unwrap_or_else(|| connection.replies.reserve());
            self.acknowledge(index, row, sequence, out, started);
        } else if let Some(sequence) = sequence {
            self.finish_gathering(index, sequence, out);
        } else {
            connection.replies.write(|replies| replies.append(out));
            list_once(&mut self.dirty, &mut connection.dirty, index);
        }
        self.tell_unwatched(index);
    }
}
