//! Scripts and functions: which shards one runs on, how what it calls is run there, and what happens to one that does
//! not end. Lua itself: [`crate::script`].
//!
//! # Where a script runs
//!
//! As a transaction does, of calls that are not known before: on the engines of the shards of its keys, or on what it
//! borrows ([`crate::shard::union`]). Nobody sees it half done.
//!
//! ```text
//!  keys on shards 0, 2    hold 0, 2 ─▶ run ─▶ settle ─▶ let go            (borrow k1, k2 where one is busy)
//!  touches another        … undo what it wrote ─▶ let go ─▶ hold all, or borrow all ─▶ run from the beginning
//! ```
//! A script may use keys that it did not name (BullMQ, Sidekiq and Dramatiq do). It finds that out by the first call
//! for a key that is not held: then it ends there, all that it has written is undone, and it begins again with every
//! shard. Nobody has seen anything: what it wrote is undone before anything is let go; events are told when it has
//! ended, and so is what it publishes, each message in its place among them (it is told how many would get it now); and
//! before it would do what cannot be undone (change a value too large to be copied, a command on all keys) it begins
//! again with every shard too. With every shard there is nothing that it does not hold. Which scripts do so is
//! remembered ([`Habit`]): those begin with every shard at once. `scripts_widened` of `INFO` counts.
//!
//! What such a run keeps meanwhile is its [`Attempt`]: a copy of every value that it is the first to write, counts,
//! what it publishes, and so on. It is not kept where everything is held anyhow, as on a server with one shard.
//!
//! A transaction with scripts in it is the same on a larger scale: it holds the keys that all its calls name, its
//! other calls leave what they do in the attempt as well, and where one of its scripts needs more the transaction
//! begins again from its first call. One whose other calls cannot be undone (what changes the session, the
//! configuration, libraries; `MOVE`), or are too many, holds every shard from the beginning: see `Core::exec`.
//!
//! A call that asks every core (`INFO`, `MEMORY STATS`) wants every shard as well: then all that the script holds
//! becomes a loan, each keyspace goes with the question to its own core, and comes back with the answer.
//!
//! # A script that takes long
//!
//! Lua ticks every 100,000 instructions. From a millisecond on others can see the script, and end it; and it lets go of
//! the engines: what it holds becomes a loan, so that the other cores, and their clients, go on with all other keys.
//! From `busy-reply-threshold` on nobody waits for it, and its own core serves as well: see `busy`. One that begins
//! again is the same to others: it has been running since it began first, and who ended it has ended it.

use super::aof_share::{Told, log_reason};
use super::attempt::Attempt;
use super::core::{Core, unix_ms};
use super::execute::{call_of, discards};
use super::joint::{Borrowing, Work};
use super::lend::Ground;
use super::libraries::{LoadCaller, log, logs};
use super::monitor;
use super::needs::{Needs, rising};
use super::read::{Planned, Source};
use super::room::Room;
use super::send::list_once;
use super::slow;
use super::visit::hold_several;
use crate::command::info::REDIS_VERSION;
use crate::command::lookup::{self, Row};
use crate::command::pubsub::audience_of;
use crate::command::script::flush_scripts;
use crate::command::slowlog::Split;
use crate::command::{
    Args, Flags, Joint, Keys, Part, Run, ScriptCall, SessionView, Spread, key_positions, persistence, slowlog,
};
use crate::connection::arguments;
use crate::memory;
use crate::resp::{Error, Output, Protocol, Reply};
use crate::route::parcel::ArgSlices;
use crate::route::{Place, place};
use crate::script::flags::{library_shebang, script_shebang};
use crate::script::{Answer, Caller, Engine, Failed, Invocation, ScriptFlags, Sha, sha1_hex};
use crate::session::{Mode, Transaction};
use crate::shard::{Call, fail, finish};
use crate::shared::scripts::{Habit, Library, Run as LongRun, Script};
use crate::stats::stages::{Arrival, Way};
use crate::value::number::parse_integer;
use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use smallvec::SmallVec;
use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A script that has been running for so long can be seen by others, and ended.
const LONG_NANOSECONDS: u64 = 1_000_000;

/// By how much the bytes of Lua that are told may be wrong.
const TOLD_BYTES: u64 = 16 << 10;

/// What a core has compiled.
pub(super) struct Scripting {
    pub(super) engine: Engine,
    /// The state of [`crate::shared::Scripts`] that this is of.
    generation: u64,
    scripts: AHashMap<Sha, (i32, Arc<Script>)>,
    /// Libraries by name, with the references of their functions.
    pub(super) libraries: AHashMap<String, (Arc<Library>, Vec<i32>)>,
    /// Functions by name in lower case: their library, and their number in it.
    functions: AHashMap<Vec<u8>, (String, usize)>,
    /// Bytes of Lua, as everybody was told.
    told_bytes: u64,
    /// Something was forgotten, and is freed by and by.
    is_collecting: bool,
}

impl Scripting {
    fn new() -> Scripting {
        Scripting {
            engine: Engine::new(REDIS_VERSION),
            generation: 0,
            scripts: AHashMap::new(),
            libraries: AHashMap::new(),
            functions: AHashMap::new(),
            told_bytes: 0,
            is_collecting: false,
        }
    }

    /// Tells everybody what Lua takes, if that is another number by now.
    fn tell_bytes(&mut self, scripts: &crate::shared::Scripts) {
        let bytes = self.engine.used_bytes() as u64;
        if TOLD_BYTES <= bytes.abs_diff(self.told_bytes) {
            scripts.note_vm(bytes, self.told_bytes);
            self.told_bytes = bytes;
        }
    }
}

/// Whose text runs.
#[derive(Clone)]
enum Origin {
    Script(Arc<Script>),
    Function(Arc<Library>, usize),
}

impl Origin {
    fn habit(&self) -> &Habit {
        match self {
            Origin::Script(script) => &script.habit,
            Origin::Function(library, index) => &library.habits[*index],
        }
    }
}

/// What a script holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The keys that it has named.
    Keys,
    /// Every shard.
    All,
}

/// A call of a script that is ready to run.
struct Prepared {
    reference: i32,
    origin: Origin,
    flags: ScriptFlags,
    is_readonly: bool,
    /// Its keys, among the arguments: from this one on, so many.
    first_key: usize,
    keys: usize,
    /// There was no room when it began.
    is_short: bool,
}

impl Prepared {
    fn is_function(&self) -> bool {
        matches!(self.origin, Origin::Function(..))
    }

    /// What error texts call it.
    fn name(&self) -> &str {
        match &self.origin {
            Origin::Script(script) => std::str::from_utf8(&script.sha).expect("hexadecimal digits"),
            Origin::Function(library, at) => &library.functions[*at].name,
        }
    }
}

/// Which script runs, for whom and with what.
#[derive(Clone, Copy)]
struct Called<'a> {
    /// The connection.
    index: u32,
    row: &'static Row,
    prepared: &'a Prepared,
    args: &'a Args<'a>,
}

/// A call of a script that waits for what it borrows.
pub(super) struct ScriptWork {
    what: ScriptCall,
    /// One call.
    args: Transaction,
    is_wide: bool,
    /// It has begun already.
    pub(super) before: Option<Before>,
}

/// What is known of a script that begins again.
pub(super) struct Before {
    /// When it began, as the clock reads.
    started: u64,
    /// What others see of it, if it has been running for long.
    long: Option<Arc<LongRun>>,
}

/// What came of a run.
pub(super) enum Ran {
    /// The reply is written.
    Ended,
    /// It wants a key that is not held; once its attempt is taken back, nothing has happened.
    Roams(Before),
}

const WRONG_ARITY: Error = Error::fixed("ERR Wrong number of args calling Redis command from script");
pub(super) const NOT_ALLOWED: Error = Error::fixed("ERR This Redis command is not allowed from script");

/// The ending of a run that begins again.
const ROAMS: &str = "the script uses keys that are not held";
/// That of one that somebody has ended; functions, too.
const KILLED: &str = "Script killed by user with SCRIPT KILL...";
/// … and of one that is in the way of the server's end.
const STOPPING: &str = "the server is shutting down";

/// A script that waits for other cores' answers looks so often before it sleeps between two looks, …
const LOOKS_MAX: usize = 1000;
/// … for so long.
const LOOK: Duration = Duration::from_micros(50);

impl Core {
    /// Runs a script, or changes what there is of them.
    pub(super) fn run_script(&mut self, planned: &Planned, row: &'static Row, what: ScriptCall, started: u64) {
        let connection =
            &mut **self.connections.get_mut(planned.connection as usize).expect("planned connections are open");
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let request = &bytes[planned.base..];
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let slices: ArgSlices<'_> = arguments(spans, request, &connection.bodies);
        let mut args = std::mem::take(&mut self.script_args);
        args.clear();
        args.push(row.id.index() as u16, slices.iter().copied());
        drop(slices);
        let arrival = self.timing.arrival(planned.batch, started, &self.clock);
        self.begin_script(planned.connection, row, ScriptWork { what, args, is_wide: false, before: None }, arrival);
    }

    fn begin_script(&mut self, index: u32, row: &'static Row, mut work: ScriptWork, arrival: Arrival) {
        let began = (arrival.at, arrival.into());
        let args: ArgSlices<'_> = work.args.args(0).collect();
        let mut out = Output::default();
        // `None`: what changes what others run is looked at when nobody runs anything.
        let mut prepared = None;
        loop {
            if prepared.is_none() && work.what.runs() {
                match self.make_ready(index, row, work.what, &args, &mut out) {
                    Ok(ready) => prepared = Some(ready),
                    Err(is_call) => {
                        drop(args);
                        return self.end_script(index, row, work.args, out, None, is_call.then_some(began));
                    }
                }
            }
            let is_thought_wide = |prepared: &Prepared| 1 < self.map.shards() && prepared.origin.habit().is_wide();
            let is_wide = work.is_wide || prepared.as_ref().is_none_or(is_thought_wide);
            let named_by = |prepared: &Prepared| args[prepared.first_key..][..prepared.keys].iter().copied();
            let named = || prepared.iter().flat_map(named_by);
            let linked = if is_wide { Vec::new() } else { self.shared.links.reached_from(named()) };
            let keys = || named().chain(linked.iter().map(Vec::as_slice));
            let shards = match is_wide {
                true => (0..self.map.shards()).collect(),
                false => rising(keys().map(|key| self.map.shard_of(key))),
            };
            let needs = OnceCell::new();
            let needs_of_script = || Needs::of_keys(self.map, keys(), is_wide);
            let connection = &mut *self.connections[index as usize];
            let is_free = connection.replies.outstanding() == 0
                && hold_several(&mut self.shard, &mut self.visited, &shards, |shard, engine| {
                    needs.get_or_init(needs_of_script).is_clear(shard, engine)
                });
            if !is_free {
                let needs = needs.into_inner().unwrap_or_else(needs_of_script);
                drop(args);
                let call = call_of(&self.connections[index as usize].session);
                let requests = needs.into_requests(None);
                let work = Work::Script(Box::new(work));
                return self.borrow_for(index, row, Vec::new(), call, requests, work, arrival);
            }
            let Some(ready) = &prepared else {
                let changed = self.make_ready(index, row, work.what, &args, &mut out);
                self.settle_engines();
                let is_call = changed.err().expect("what changes scripts runs none");
                drop(args);
                return self.end_script(index, row, work.args, out, None, is_call.then_some(began));
            };
            if self.has_stale_scripts() {
                // Somebody has changed what it is since it was looked up: from now on nobody can.
                self.settle_engines();
                prepared = None;
                continue;
            }
            let mut ground = Ground::Engines;
            let before = work.before.take();
            let reach = if is_wide || self.map.shards() == 1 { Reach::All } else { Reach::Keys };
            let called = Called { index, row, prepared: ready, args: &args };
            let ran = self.run_alone(&called, &mut ground, reach, before, &mut out);
            self.settle_engines();
            if self.map.shards() == 1 && !self.shard.locks.is_free() {
                self.serve_waiting(); // One in front of them may have been told that the script is busy.
            }
            match ran {
                Ran::Ended => {
                    drop(args);
                    return self.end_script(index, row, work.args, out, None, Some(began));
                }
                Ran::Roams(before) => {
                    work.before = Some(before);
                    self.stats.counters.scripts_widened += 1;
                    ready.origin.habit().roams();
                    assert!(!std::mem::replace(&mut work.is_wide, true), "with every shard there is nothing else");
                }
            }
        }
    }

    /// Prepares a call. `Err`: nothing is to be run, and the reply is written; whether that was a call.
    fn make_ready(
        &mut self,
        index: u32,
        row: &'static Row,
        what: ScriptCall,
        args: &Args<'_>,
        out: &mut Output,
    ) -> Result<Prepared, bool> {
        match self.prepare(index, what, args, out) {
            Ok(prepared) => prepared.ok_or(true),
            Err(error) => {
                if let Some(line) = self.line_of_unrun(index, row, args, &error) {
                    self.feed_monitors(line);
                }
                Err(self.fail_unrun(row, &error, out))
            }
        }
    }

    /// Runs a script on what was borrowed for it.
    pub(super) fn run_borrowed_script(&mut self, gathering: u32, mut borrowing: Borrowing, mut ground: Ground) {
        let waiting = &self.gatherings[gathering as usize];
        let (index, row, sequence) = (waiting.connection, waiting.row, waiting.sequence);
        let mut began = Some((waiting.started, waiting.split));
        let Work::Script(mut work) = std::mem::replace(&mut borrowing.work, Work::Command) else {
            panic!("a script that is none")
        };
        let args: ArgSlices<'_> = work.args.args(0).collect();
        let mut out = Output::default();
        // Again: it may have been forgotten meanwhile.
        let ran = match self.make_ready(index, row, work.what, &args, &mut out) {
            Ok(prepared) => {
                let before = work.before.take();
                let reach = if matches!(ground, Ground::Whole(_)) { Reach::All } else { Reach::Keys };
                let called = Called { index, row, prepared: &prepared, args: &args };
                let ran = self.run_alone(&called, &mut ground, reach, before, &mut out);
                if matches!(ran, Ran::Roams(_)) {
                    prepared.origin.habit().roams();
                }
                ran
            }
            Err(is_call) => {
                began = began.filter(|_| is_call);
                Ran::Ended
            }
        };
        drop(args);
        self.forget_run(work.before.take());
        self.send_home(borrowing, ground);
        match ran {
            Ran::Ended => {
                self.gatherings.remove(gathering as usize);
                self.end_script(index, row, work.args, out, Some(sequence), began);
            }
            Ran::Roams(before) => {
                work.before = Some(before);
                assert!(!std::mem::replace(&mut work.is_wide, true), "with every shard there is nothing else");
                self.stats.counters.scripts_widened += 1;
                let requests = Needs::of_keys(self.map, std::iter::empty(), true).into_requests(None);
                let call = call_of(&self.connections[index as usize].session);
                let work = Work::Script(work);
                let borrowing = Borrowing { call, requests, loans: Vec::new(), work, arrival: None };
                self.gatherings[gathering as usize].kind = super::gathering::Kind::Borrowing(Box::new(borrowing));
                self.borrow(gathering);
            }
        }
    }

    /// Runs a script that is a call of a transaction, in the transaction's attempt. `before`: what is known of it, if
    /// the transaction has begun again.
    #[expect(clippy::too_many_arguments, reason = "all that a script runs with")]
    pub(super) fn run_script_of_transaction(
        &mut self,
        index: u32,
        row: &'static Row,
        what: ScriptCall,
        args: &Args<'_>,
        ground: &mut Ground,
        attempt: &mut Attempt,
        before: Option<Before>,
        out: &mut Output,
    ) -> Ran {
        let start = out.len();
        let sha = match what {
            ScriptCall::EvalSha { .. } => args[1].to_ascii_lowercase().as_slice().try_into().ok(),
            ScriptCall::Eval { .. } if !attempt.unknown.is_empty() => Some(sha1_hex(args[1])),
            ScriptCall::Load if !attempt.unknown.is_empty() => Some(sha1_hex(args[2])),
            _ => None,
        };
        let is_called = matches!(what, ScriptCall::EvalSha { .. });
        let prepared = if is_called && sha.is_some_and(|sha| attempt.unknown.contains(&sha)) {
            Err(Error::NO_SCRIPT)
        } else {
            self.prepare(index, what, args, out)
        };
        match sha {
            Some(sha) if is_called && matches!(&prepared, Err(error) if *error == Error::NO_SCRIPT) => {
                attempt.unknown.push(sha);
            }
            Some(sha) if prepared.is_ok() => attempt.unknown.retain(|unknown| *unknown != sha),
            _ => {}
        }
        let prepared = match prepared {
            Ok(Some(prepared)) => prepared,
            Ok(None) => {
                self.forget_run(before);
                return Ran::Ended;
            }
            Err(error) => {
                self.forget_run(before);
                if let Some(line) = self.line_of_unrun(index, row, args, &error) {
                    attempt.shown.push(line);
                }
                fail(&mut self.stats, row, &error, start, out);
                if !attempt.holds_everything {
                    attempt.trial.note_failure(row.id, Some(error.prefix()));
                }
                return Ran::Ended;
            }
        };
        if matches!(ground, Ground::Engines)
            && 1 < self.map.shards()
            && LONG_NANOSECONDS <= self.clock.delta_as_nanos(attempt.started, self.clock.raw())
        {
            // Many short ones keep engines as long as one that takes long.
            let call = call_of(&self.connections[index as usize].session);
            self.lend_held(attempt, ground, &[], call);
            self.shard.take();
        }
        let called = Called { index, row, prepared: &prepared, args };
        let ran = self.run_prepared(&called, ground, attempt, true, before, out);
        if matches!(ran, Ran::Roams(_)) {
            prepared.origin.habit().roams();
        }
        ran
    }

    /// Whether a script of a transaction is thought to use keys that it does not name.
    pub(super) fn is_thought_wide(&self, what: ScriptCall, args: &Args<'_>) -> bool {
        if self.map.shards() == 1 {
            return false;
        }
        let scripting = self.scripting.as_ref();
        let is_wide = |sha: Sha| match scripting.and_then(|scripting| scripting.scripts.get(&sha)) {
            Some((_, script)) => script.habit.is_wide(),
            None => self.shared.scripts.find(&sha).is_some_and(|script| script.habit.is_wide()),
        };
        match what {
            ScriptCall::Eval { .. } => is_wide(sha1_hex(args[1])),
            ScriptCall::EvalSha { .. } => {
                let sha: Result<Sha, _> = args[1].to_ascii_lowercase().as_slice().try_into();
                sha.is_ok_and(is_wide)
            }
            ScriptCall::Function { .. } => scripting.is_some_and(|scripting| {
                let function = scripting.functions.get(&args[1].to_ascii_lowercase());
                function.is_some_and(|(library, at)| {
                    let library = scripting.libraries.get(library);
                    library.is_some_and(|(library, _)| library.habits[*at].is_wide())
                })
            }),
            _ => false,
        }
    }

    /// What those in `MONITOR` see of a call of a script that cannot be run; nothing of one that is refused.
    fn line_of_unrun(&self, index: u32, row: &'static Row, args: &Args<'_>, error: &Error) -> Option<Bytes> {
        let is_shown = row.flags.contains(Flags::SKIP_MONITOR) && *error != Error::OUT_OF_MEMORY;
        if !is_shown || self.shared.monitors.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let shown = monitor::arguments(&slowlog::redacted(row, args));
        Some(monitor::line(&self.connections[index as usize].session, &shown))
    }

    /// Those of a transaction.
    pub(super) fn forget_runs(&mut self, before: SmallVec<[(usize, Before); 1]>) {
        before.into_iter().for_each(|(_, before)| self.forget_run(Some(before)));
    }

    /// A script that had begun does not begin again.
    pub(super) fn forget_run(&mut self, before: Option<Before>) {
        if let Some(long) = before.and_then(|before| before.long) {
            self.shared.scripts.end_long(&long);
        }
    }

    /// Answers a call of a script that cannot be run. False: that is no call, but a command that is refused, as every
    /// other one for which there is no room.
    fn fail_unrun(&mut self, row: &'static Row, error: &Error, out: &mut Output) -> bool {
        let is_refused = *error == Error::OUT_OF_MEMORY;
        if is_refused {
            Reply::new(out, Protocol::Resp2).error(error);
            self.stats.rejected(row.id, error.prefix());
        } else {
            fail(&mut self.stats, row, error, 0, out);
        }
        !is_refused
    }

    /// Hands the reply to the client, and counts the call; `began`: when that was, if it is one.
    fn end_script(
        &mut self,
        index: u32,
        row: &'static Row,
        args: Transaction,
        out: Output,
        sequence: Option<u32>,
        began: Option<(u64, Split)>,
    ) {
        let ended = self.clock.raw();
        let took = began.map(|(started, split)| (self.clock.delta_as_nanos(started, ended), split));
        took.inspect(|(nanoseconds, _)| self.stats.record(row.id, *nanoseconds));
        let slow = took.filter(|(nanoseconds, split)| self.is_slow(*nanoseconds, split.held));
        let connection = &mut *self.connections[index as usize];
        if let Some((nanoseconds, split)) = slow {
            let slices: ArgSlices<'_> = args.args(0).collect();
            let kept = || slowlog::kept(row, &slices);
            slow::record(&self.shared, &self.config, row, kept, nanoseconds, split, &connection.session);
            self.now_ms = unix_ms();
        }
        self.script_args = args;
        match sequence {
            Some(sequence) => {
                self.note_reply(index, row.id, Way::Local, ended);
                self.finish_gathering(index, sequence, out);
            }
            None => {
                connection.replies.write(|replies| replies.append(out));
                list_once(&mut self.dirty, &mut connection.dirty, index);
            }
        }
    }

    // What is to be run

    /// Finds, or compiles, what a call wants. `None`: there is nothing to run, and the reply is written.
    fn prepare(
        &mut self,
        index: u32,
        what: ScriptCall,
        args: &Args<'_>,
        out: &mut Output,
    ) -> Result<Option<Prepared>, Error> {
        let protocol = self.connections[index as usize].session.protocol;
        if let ScriptCall::DeleteLibrary | ScriptCall::FlushLibraries | ScriptCall::FlushScripts = what {
            // Without Lua: suites and clients flush functions of servers that never had any.
            match what {
                ScriptCall::FlushScripts => flush_scripts(&self.shared.scripts, args)?,
                _ => self.drop_libraries(index, what, args)?,
            }
            Reply::new(out, protocol).ok();
            return Ok(None);
        }
        let mut scripting = self.scripting.take().unwrap_or_else(|| Box::new(Scripting::new()));
        self.forget_stale(&mut scripting);
        let prepared = match what {
            ScriptCall::Load => self.load_script(&mut scripting, args[2]).map(|script| {
                Reply::new(out, protocol).bulk(script.sha);
                None
            }),
            ScriptCall::DeleteLibrary | ScriptCall::FlushLibraries | ScriptCall::FlushScripts => panic!("done above"),
            ScriptCall::LoadLibrary => self.load_library(index, &mut scripting, args).map(|name| {
                Reply::new(out, protocol).bulk(name);
                None
            }),
            ScriptCall::RestoreLibraries => self.restore_libraries(index, &mut scripting, args).map(|()| {
                Reply::new(out, protocol).ok();
                None
            }),
            ScriptCall::Eval { is_readonly } => keys_of(args)
                .and_then(|keys| Ok((keys, self.find_eval(&mut scripting, args[1])?)))
                .map(|(keys, (reference, script))| Some(Prepared::of_script(reference, script, keys, is_readonly))),
            // As in Redis: what cannot be a name is told before all else.
            ScriptCall::EvalSha { .. } if args[1].len() != size_of::<Sha>() => Err(Error::NO_SCRIPT),
            ScriptCall::EvalSha { is_readonly } => keys_of(args)
                .and_then(|keys| Ok((keys, self.find_sha(&mut scripting, args[1])?)))
                .map(|(keys, (reference, script))| Some(Prepared::of_script(reference, script, keys, is_readonly))),
            ScriptCall::Function { is_readonly } => self.find_function(&mut scripting, args, is_readonly),
        };
        if !what.runs() {
            scripting.tell_bytes(&self.shared.scripts); // After a run it is told anyway.
        }
        self.scripting = Some(scripting);
        let Some(mut prepared) = prepared? else { return Ok(None) };
        let limit = self.config.maxmemory.bytes;
        if limit != 0 && !memory::is_within_lease(0) {
            // Within a transaction entries go between its calls, not here.
            let runs_on = self.connections[index as usize].session.mode.contains(Mode::DENY_BLOCKING);
            prepared.is_short = if runs_on { self.is_short_within() } else { self.room_for(0) == Room::Lacking };
            let minds = !prepared
                .flags
                .intersects(ScriptFlags::COMPATIBLE.union(ScriptFlags::NO_WRITES).union(ScriptFlags::ALLOW_OOM));
            if prepared.is_short && minds && !runs_on {
                return Err(Error::OUT_OF_MEMORY); // As for any command with that flag, before all else.
            }
        }
        self.admit(&prepared)?;
        Ok(Some(prepared))
    }

    /// Whether a script with flags may run now.
    fn admit(&self, prepared: &Prepared) -> Result<(), Error> {
        if prepared.flags.contains(ScriptFlags::COMPATIBLE) {
            return Ok(());
        }
        if !prepared.flags.contains(ScriptFlags::NO_WRITES) {
            if persistence::is_unsaved(self.obstacles, &self.config) {
                return Err(Error::fixed(
                    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                     Writable scripts are blocked. Use 'no-writes' flag for read only scripts.",
                ));
            }
            if let Some(reason) = log_reason(&self.shared.log).filter(|_| self.denies_writes) {
                return Err(Error::new(format!(
                    "MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk. \
                     Writable scripts are blocked. Use 'no-writes' flag for read only scripts. AOF error: {reason}"
                )));
            }
            if prepared.is_readonly {
                return Err(Error::fixed("ERR Can not execute a script with write flag using *_ro command."));
            }
            if prepared.is_short && !prepared.flags.contains(ScriptFlags::ALLOW_OOM) {
                return Err(Error::fixed(
                    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
                ));
            }
        }
        Ok(())
    }

    /// Frees what others have made this core forget, where no script comes that would.
    pub(super) fn tend_scripts(&mut self) {
        let Some(mut scripting) = self.scripting.take() else { return };
        self.forget_stale(&mut scripting);
        if scripting.is_collecting {
            scripting.is_collecting = !scripting.engine.collect_some();
            scripting.tell_bytes(&self.shared.scripts);
        }
        self.scripting = Some(scripting);
    }

    /// Whether what was compiled here may be out of date.
    fn has_stale_scripts(&self) -> bool {
        self.scripting.as_ref().is_some_and(|scripting| scripting.generation != self.shared.scripts.generation())
    }

    /// Forgets what was compiled of scripts that are known no more.
    pub(super) fn forget_stale(&mut self, scripting: &mut Scripting) {
        let generation = self.shared.scripts.generation();
        if scripting.generation == generation {
            return;
        }
        scripting.generation = generation;
        scripting.is_collecting = true;
        let engine = &mut scripting.engine;
        scripting.scripts.retain(|_, (reference, script)| {
            let is_alive = script.is_alive();
            if !is_alive {
                engine.forget(*reference);
            }
            is_alive
        });
        let libraries = self.shared.scripts.libraries();
        let is_current = |name: &String, library: &Arc<Library>| {
            libraries.get(name).is_some_and(|current| Arc::ptr_eq(current, library))
        };
        scripting.libraries.retain(|name, (library, references)| {
            let is_current = is_current(name, library);
            if !is_current {
                references.iter().for_each(|reference| engine.forget(*reference));
            }
            is_current
        });
        scripting.functions.clear();
        for (name, library) in libraries.iter() {
            for (at, function) in library.functions.iter().enumerate() {
                scripting.functions.insert(function.name.to_ascii_lowercase().into_bytes(), (name.clone(), at));
            }
        }
    }

    fn load_script(&mut self, scripting: &mut Scripting, body: &[u8]) -> Result<Arc<Script>, Error> {
        let shebang = script_shebang(body)?;
        let (skipped, flags) = shebang.map_or((0, ScriptFlags::COMPATIBLE), |shebang| (shebang.len, shebang.flags));
        let script = Arc::new(Script::new(body, skipped, flags));
        if let Some((_, known)) = scripting.scripts.get(&script.sha) {
            return Ok(self.shared.scripts.add(known.clone(), true));
        }
        let reference = scripting.engine.compile(&script.text)?;
        let script = self.shared.scripts.add(script, true);
        scripting.scripts.insert(script.sha, (reference, script.clone()));
        Ok(script)
    }

    fn find_eval(&mut self, scripting: &mut Scripting, body: &[u8]) -> Result<(i32, Arc<Script>), Error> {
        let sha = sha1_hex(body);
        if let Some((reference, script)) = scripting.scripts.get(&sha) {
            self.shared.scripts.note_use(script);
            return Ok((*reference, script.clone()));
        }
        let shebang = script_shebang(body)?;
        let (skipped, flags) = shebang.map_or((0, ScriptFlags::COMPATIBLE), |shebang| (shebang.len, shebang.flags));
        let script = Arc::new(Script::new(body, skipped, flags));
        let reference = scripting.engine.compile(&script.text)?;
        let script = self.shared.scripts.add(script, false);
        scripting.scripts.insert(sha, (reference, script.clone()));
        Ok((reference, script))
    }

    fn find_sha(&mut self, scripting: &mut Scripting, word: &[u8]) -> Result<(i32, Arc<Script>), Error> {
        let mut sha: Sha = word.try_into().map_err(|_| Error::NO_SCRIPT)?;
        sha.make_ascii_lowercase();
        if let Some((reference, script)) = scripting.scripts.get(&sha) {
            self.shared.scripts.note_use(script);
            return Ok((*reference, script.clone()));
        }
        let script = self.shared.scripts.find(&sha).ok_or(Error::NO_SCRIPT)?;
        self.shared.scripts.note_use(&script);
        let reference = scripting.engine.compile(&script.text)?;
        scripting.scripts.insert(sha, (reference, script.clone()));
        Ok((reference, script))
    }

    fn find_function(
        &mut self,
        scripting: &mut Scripting,
        args: &Args<'_>,
        is_readonly: bool,
    ) -> Result<Option<Prepared>, Error> {
        let Some((library, at)) = scripting.functions.get(&args[1].to_ascii_lowercase()).cloned() else {
            return Err(Error::fixed("ERR Function not found"));
        };
        let keys = count_keys(args)?;
        if !scripting.libraries.contains_key(&library) {
            let known = self.shared.scripts.libraries().get(&library).cloned();
            let known = known.ok_or(Error::fixed("ERR Function not found"))?;
            let shebang = library_shebang(&known.code)?;
            let mut caller = LoadCaller::new(&self.clock);
            let functions = scripting.engine.load_library(&known.code[shebang.len..], &mut caller)?;
            let by_name = |name: &str| functions.iter().find(|function| function.name == name);
            let references: Option<Vec<i32>> =
                known.functions.iter().map(|function| Some(by_name(&function.name)?.reference)).collect();
            let references = references.ok_or(Error::fixed("ERR the library registers other functions than it did"))?;
            scripting.libraries.insert(library.clone(), (known, references));
        }
        let (library, references) = &scripting.libraries[&library];
        let function = &library.functions[at];
        Ok(Some(Prepared {
            reference: references[at],
            flags: function.flags,
            origin: Origin::Function(library.clone(), at),
            is_readonly,
            first_key: 3,
            keys,
            is_short: false,
        }))
    }

    // Running

    /// Runs a script that is no transaction's.
    fn run_alone(
        &mut self,
        called: &Called<'_>,
        ground: &mut Ground,
        reach: Reach,
        before: Option<Before>,
        out: &mut Output,
    ) -> Ran {
        let start = out.len();
        // Not where its keys happen to be on all shards: they are all that it keeps from others when it takes long.
        let mut attempt = Attempt::new(reach != Reach::Keys && self.holds_everything(ground), 0, Vec::new());
        if matches!(ground, Ground::Engines) {
            self.begin_attempt();
        }
        let ran = self.run_prepared(called, ground, &mut attempt, false, before, out);
        if let Ran::Roams(_) = ran {
            out.truncate(start);
            self.take_back(attempt, ground);
            return ran;
        }
        let told = self.holds.then(|| {
            if attempt.has_used_all {
                return Told::All;
            }
            let named = called.args[called.prepared.first_key..][..called.prepared.keys].iter().copied();
            Told::Keys(named.chain(attempt.keys()).map(<[u8]>::to_vec).collect())
        });
        self.end_attempt(called.index, attempt, ground, told);
        ran
    }

    fn run_prepared(
        &mut self,
        called: &Called<'_>,
        ground: &mut Ground,
        attempt: &mut Attempt,
        is_in_transaction: bool,
        before: Option<Before>,
        out: &mut Output,
    ) -> Ran {
        let Called { index, row, prepared, args } = *called;
        let start = out.len();
        // In a transaction its calls are the transaction's.
        let used_before = (!is_in_transaction).then(|| std::mem::take(&mut self.used_keys));
        let mut scripting = self.scripting.take().expect("made when it was prepared");
        let (keys, others) = args[prepared.first_key..].split_at(prepared.keys);
        let mut call = call_of(&self.connections[index as usize].session);
        call.actor.is_script = true;
        let Before { started, long } = before.unwrap_or_else(|| Before { started: self.clock.raw(), long: None });
        let holds_everything = attempt.holds_everything;
        // What a library's local variables hold now, they hold again if this run is not the last one.
        let is_trial = !holds_everything && prepared.is_function();
        let locals = if is_trial { scripting.engine.begin_trial(prepared.reference) } else { Ok(None) };
        let Ok(locals) = locals else {
            self.scripting = Some(scripting);
            used_before.into_iter().for_each(|before| drop(self.end_use(before)));
            return Ran::Roams(Before { started, long }); // There is too much of it.
        };
        attempt.locals.extend(locals);
        let is_readonly = prepared.is_readonly || prepared.flags.contains(ScriptFlags::NO_WRITES);
        let allows_full = prepared.flags.contains(ScriptFlags::ALLOW_OOM);
        if self.shared.log.is_on() {
            self.shard.keyspace.records.is_gathering = matches!(ground, Ground::Engines);
        }
        // Those in `MONITOR` see a script before what it calls.
        if self.shared.monitors.load(Ordering::Relaxed) != 0 {
            let line = monitor::arguments(&slowlog::redacted(row, args));
            attempt.shown.push(monitor::line(&self.connections[index as usize].session, &line));
        }
        let mut runner = Runner {
            may_lend: 1 < self.map.shards(),
            core: self,
            ground,
            attempt,
            index,
            row,
            has_failed: false,
            call,
            prepared,
            args,
            keys,
            is_readonly,
            is_short: prepared.is_short && !allows_full,
            has_written: false,
            roams: false,
            needed_more: false,
            started,
            long,
            reads: AHashSet::new(),
            took_nanoseconds: 0,
        };
        let invocation = Invocation {
            reference: prepared.reference,
            name: prepared.name(),
            is_function: prepared.is_function(),
            keys,
            args: others,
            protocol: call.protocol,
        };
        let error = scripting.engine.run(&invocation, &mut runner, out);
        let Runner { roams, needed_more, long, .. } = runner;
        if let Some(long) = &long {
            match roams {
                true => self.shared.scripts.begin_again(long),
                false => self.shared.scripts.end_long(long),
            }
        }
        used_before.into_iter().for_each(|before| drop(self.end_use(before)));
        self.shard.take();
        self.shard.keyspace.records.is_gathering = false;
        scripting.tell_bytes(&self.shared.scripts);
        self.scripting = Some(scripting);
        if roams {
            return Ran::Roams(Before { started, long });
        }
        // Should a later call make the transaction begin again, this one does not run again.
        let is_killed = |long: &Arc<LongRun>| is_in_transaction && long.is_killed.load(Ordering::Relaxed);
        attempt.killed = long.filter(is_killed).map(|long| Before { started, long: Some(long) });
        attempt.has_used_all |= holds_everything && needed_more;
        if holds_everything && 1 < self.map.shards() && !needed_more {
            prepared.origin.habit().stays();
        }
        if let Some(Failed { error, is_counted }) = error {
            let prefix = (!is_counted).then(|| error.prefix());
            self.stats.failed(row.id, prefix);
            if !holds_everything {
                attempt.trial.note_failure(row.id, prefix);
            }
        }
        if discards(self.connections[index as usize].session.mode) {
            out.truncate(start);
        }
        Ran::Ended
    }
}

impl Prepared {
    fn of_script(reference: i32, script: Arc<Script>, keys: usize, is_readonly: bool) -> Prepared {
        Prepared {
            reference,
            flags: script.flags,
            origin: Origin::Script(script),
            is_readonly,
            first_key: 3,
            keys,
            is_short: false,
        }
    }
}

/// How many keys a call of a script names.
pub(super) fn keys_of(args: &Args<'_>) -> Result<usize, Error> {
    let keys = parse_integer(args[2]).ok_or(Error::NOT_INTEGER)?;
    if ((args.len() - 3) as i64) < keys {
        return Err(Error::NUMKEYS_TOO_BIG);
    }
    usize::try_from(keys).map_err(|_| Error::fixed("ERR Number of keys can't be negative"))
}

/// The same of a function.
pub(super) fn count_keys(args: &Args<'_>) -> Result<usize, Error> {
    let keys = parse_integer(args[2]).ok_or(Error::fixed("ERR Bad number of keys provided"))?;
    if ((args.len() - 3) as i64) < keys {
        return Err(Error::NUMKEYS_TOO_BIG);
    }
    usize::try_from(keys).map_err(|_| Error::fixed("ERR Number of keys can't be negative"))
}

/// Who runs the calls of a script.
struct Runner<'a> {
    core: &'a mut Core,
    ground: &'a mut Ground,
    attempt: &'a mut Attempt,
    index: u32,
    row: &'static Row,
    /// An error that it returns is counted as its own.
    has_failed: bool,
    call: Call,
    prepared: &'a Prepared,
    args: &'a Args<'a>,
    /// The keys it has named.
    keys: &'a [&'a [u8]],
    is_readonly: bool,
    /// There was no room when it began, and it minds.
    is_short: bool,
    has_written: bool,
    /// It has to begin again with every shard.
    roams: bool,
    /// It used something beyond what it named.
    needed_more: bool,
    started: u64,
    long: Option<Arc<LongRun>>,
    /// What it holds may become a loan.
    may_lend: bool,
    /// Keys that its client, who tracks, has read with it and not written since.
    reads: AHashSet<Vec<u8>>,
    /// What the last call took.
    took_nanoseconds: u64,
}

impl Runner<'_> {
    fn is_named(&self, key: &[u8]) -> bool {
        self.keys.contains(&key)
    }

    /// Whether a key may be used.
    fn is_held(&mut self, key: &[u8]) -> bool {
        if self.is_named(key) {
            return true;
        }
        self.needed_more = true;
        self.core.may_use(self.attempt, self.ground, key)
    }

    /// What is held becomes a loan; the engines are free again.
    fn let_go(&mut self) {
        self.core.lend_held(self.attempt, self.ground, self.keys, self.call);
    }

    /// Makes sure that what a call touches is held, and can be brought back. False: it begins again.
    fn secure(&mut self, row: &'static Row, args: &Args<'_>) -> bool {
        if matches!(row.command.keys, Keys::None) {
            let is_own = matches!(row.command.spread, Spread::Owner) && !row.flags.contains(Flags::WRITE);
            self.needed_more |= !is_own;
            return self.attempt.holds_everything || is_own;
        }
        if row.command.derived.is_some_and(|derived| (derived.is_used)(args)) {
            self.needed_more = true;
            return self.attempt.holds_everything;
        }
        let mut positions = Vec::new();
        if key_positions(row.command, args, &mut positions).is_err() {
            return true; // The command's own code says what is wrong, and touches no key.
        }
        if self.core.evicts {
            let core = &mut *self.core;
            core.used_keys.extend(positions.iter().map(|&at| core.hasher.hash(args[at])));
        }
        if self.attempt.holds_everything {
            if !self.needed_more {
                self.needed_more = positions.iter().any(|&at| !self.is_named(args[at]));
            }
            return true;
        }
        if !positions.iter().all(|&at| self.is_held(args[at])) {
            return false;
        }
        !row.flags.may_change() || self.core.save(self.attempt, self.ground, row, self.call.db, args, &positions)
    }

    fn refuse(&mut self, row: Option<&'static Row>, error: Error) -> Answer {
        match row {
            Some(row) => self.core.stats.rejected(row.id, error.prefix()),
            None => self.core.stats.error(error.prefix()),
        }
        if !self.attempt.holds_everything {
            self.attempt.trial.note_refusal(row.map(|row| row.id), error.prefix());
        }
        Answer::Refused(error)
    }

    /// Refuses what the command's own code refuses in Redis: there it has been called, and has failed.
    fn fail_call(&mut self, row: &'static Row, error: Error) -> Answer {
        self.core.stats.failed(row.id, Some(error.prefix()));
        self.core.stats.record(row.id, 0);
        if !self.attempt.holds_everything {
            let reply = [b"-", error.as_bytes()].concat();
            self.attempt.trial.note_call(row.id, 0, (0, 0), Some(&reply));
        }
        Answer::Refused(error)
    }

    fn begin_again(&mut self) -> Answer {
        assert!(!self.attempt.holds_everything, "with every shard there is nothing else");
        if self.long.as_ref().is_some_and(|long| long.is_killed.load(Ordering::Relaxed)) {
            return Answer::Ends(KILLED);
        }
        self.roams = true;
        Answer::Ends(ROAMS)
    }

    /// Notes what a client that tracks has read, among what its script has changed. All keys that the script has named
    /// count as read with the first that is, as in Redis 7.0, and so does what it reads without having named it.
    fn note_read(&mut self, row: &'static Row, args: &Args<'_>) {
        let choice = &self.core.connections[self.index as usize].session.tracking;
        if !choice.as_ref().is_some_and(|choice| choice.remembers()) {
            return;
        }
        let mut positions = Vec::new();
        let has_keys = key_positions(row.command, args, &mut positions).is_ok();
        if !row.flags.contains(Flags::READONLY) {
            if positions.is_empty() {
                self.reads.clear(); // It may have changed any, as FLUSHALL does.
            }
            for at in positions {
                self.reads.remove(args[at]);
            }
            return;
        }
        if !has_keys {
            return;
        }
        let named = if positions.is_empty() { &[] } else { self.keys };
        for key in named.iter().copied().chain(positions.into_iter().map(|at| args[at])) {
            if !self.reads.contains(key) {
                self.reads.insert(key.to_vec());
                let (db, actor) = (self.call.db, self.call.actor);
                let effects = &mut self.core.keyspace_on(self.ground, key).effects;
                effects.actor = actor;
                effects.note_read(db, key);
            }
        }
    }

    /// What every core contributes to a call. What the script holds becomes a loan and goes along with the questions:
    /// so every core's engine is free, and the others answer as they answer anybody; they wait for nothing of this one.
    /// This core takes in meanwhile what others send, so that two who wait for each other have their answers. None: the
    /// server ends, and others do not answer any more.
    fn ask_every_core(&mut self, row: &'static Row, args: Vec<Vec<u8>>) -> Option<Vec<Part>> {
        if matches!(self.ground, Ground::Engines) {
            self.let_go();
        }
        // What is there for the script's own calls, until it is back.
        let ground = std::mem::replace(self.ground, Ground::Whole(Vec::new()));
        let gathering = self.core.ask_for_script(self.index, row, args, ground);
        let mut looks = 0;
        loop {
            if let Some((parts, ground)) = self.core.answers_to_script(gathering) {
                *self.ground = ground;
                return Some(parts);
            }
            if self.core.shared.ended.load(Ordering::Relaxed) != 0 {
                let keyspaces = (0..self.core.map.shards()).map(|_| self.core.shard.keyspace.sibling());
                *self.ground = Ground::Whole(keyspaces.collect());
                return None;
            }
            looks += 1;
            if looks < LOOKS_MAX {
                std::thread::yield_now();
            } else {
                let _ = self.tick(); // Who is killed ends when it has its answer.
                std::thread::sleep(LOOK);
            }
        }
    }

    /// Runs a call that is not refused.
    fn run(&mut self, row: &'static Row, call: Call, args: &Args<'_>, out: &mut Output) -> Option<Answer> {
        let core = &mut *self.core;
        match row.command.run {
            Run::Keyspace(_) | Run::Blocking(_) => {
                let tracks = core.connections[self.index as usize].session.tracking.is_some();
                let is_plain = self.attempt.holds_everything && matches!(self.ground, Ground::Engines);
                if is_plain
                    && matches!(row.command.run, Run::Keyspace(_))
                    && matches!(place(core.map, row.command, args), Place::One(shard) if shard == core.core)
                {
                    core.shard.execute(row, call, args, core.now_ms, &mut core.stats, out);
                } else {
                    let engines = (&mut core.shard, &mut core.visited[..]);
                    let (now_ms, stats) = (core.now_ms, &mut core.stats);
                    self.ground.run(
                        engines,
                        &mut core.overlay,
                        &core.config,
                        None,
                        row,
                        call,
                        args,
                        now_ms,
                        stats,
                        out,
                    );
                    if self.attempt.holds_everything {
                        core.tell_of(self.ground);
                    }
                }
                if tracks {
                    self.note_read(row, args);
                }
                None
            }
            Run::Session(run) => {
                if !self.attempt.holds_everything
                    && let Some(audience) = audience_of(row.command)
                {
                    if !self.attempt.trial.note_message(audience, args[1], args[2]) {
                        return Some(self.begin_again());
                    }
                    let receivers = core.shared.pubsub.receivers(audience, args[1]);
                    Reply::new(out, call.protocol).integer(receivers as i64);
                    return None;
                }
                let session = &mut core.connections[self.index as usize].session;
                let (db, protocol) = (session.db, session.protocol);
                session.db = call.db;
                let mut view = SessionView {
                    session,
                    config: &core.config,
                    shared: &core.shared,
                    now_ms: core.now_ms,
                    reconfigured: false,
                };
                let start = out.len();
                let result = run(&mut view, args, &mut Reply::new(&mut *out, call.protocol));
                assert!(!view.reconfigured, "a script does not change the configuration");
                let session = &mut core.connections[self.index as usize].session;
                self.call.db = session.db;
                (session.db, session.protocol) = (db, protocol);
                finish(result, &mut core.stats, row, start, out);
                None
            }
            Run::Everywhere { check, merge, .. } => {
                let session = &mut core.connections[self.index as usize].session;
                let (db, client, protocol, mode) = (session.db, session.id, session.protocol, session.mode);
                session.protocol = call.protocol;
                session.mode.insert(Mode::DENY_BLOCKING);
                let view = SessionView {
                    session,
                    config: &core.config,
                    shared: &core.shared,
                    now_ms: core.now_ms,
                    reconfigured: false,
                };
                let answer = match check(&view, args) {
                    Err(error) => {
                        fail(&mut core.stats, row, &error, out.len(), out);
                        None
                    }
                    Ok(()) => {
                        let owned: Vec<Vec<u8>> = args.iter().map(|arg| arg.to_vec()).collect();
                        let parts = match core.map.shards() {
                            1 => Some(vec![core.part(row, db, client, &owned)]),
                            _ => self.ask_every_core(row, owned),
                        };
                        let core = &mut *self.core;
                        match parts {
                            Some(parts) => {
                                core.merge_parts(self.index, row, merge, args, parts, out);
                                None
                            }
                            None => {
                                self.attempt.is_cut |= self.has_written;
                                Some(Answer::Ends(STOPPING))
                            }
                        }
                    }
                };
                let session = &mut self.core.connections[self.index as usize].session;
                (session.protocol, session.mode) = (protocol, mode);
                answer
            }
            Run::Joint(Joint::WaitAof) => {
                let start = out.len();
                let result = core.tell_of_log(args, self.ground, out);
                finish(result, &mut core.stats, row, start, out);
                None
            }
            Run::Joint(_) | Run::Subscription { .. } | Run::Container => Some(self.refuse(Some(row), NOT_ALLOWED)),
        }
    }
}

/// The row of what a script calls; or why it may not, with the row if there is one. `may_call` says which it may of
/// those that scripts may not.
pub(super) fn row_of_call(
    args: &Args<'_>,
    is_readonly: bool,
    may_call: impl FnOnce(&Row) -> bool,
) -> Result<&'static Row, (Option<&'static Row>, Error)> {
    let Some(row) = lookup::find_row(args) else {
        let error = match lookup::find_absent(args) {
            None => Error::fixed("ERR Unknown Redis command called from script"),
            Some(false) => WRONG_ARITY,
            Some(true) => NOT_ALLOWED,
        };
        return Err((None, error));
    };
    if !row.accepts(args.len()) {
        return Err((Some(row), WRONG_ARITY));
    }
    if row.flags.contains(Flags::NOSCRIPT) && !may_call(row) {
        return Err((Some(row), NOT_ALLOWED));
    }
    if row.flags.may_change() && is_readonly {
        return Err((Some(row), Error::fixed("ERR Write commands are not allowed from read-only scripts.")));
    }
    Ok(row)
}

/// What a script is told whose call asks to wait.
pub(super) fn waits_in_script(args: &Args<'_>) -> Error {
    Error::quoting("ERR ", args[0], " command is not allowed with BLOCK option from scripts")
}

impl Caller for Runner<'_> {
    fn call(&mut self, args: &[&[u8]], protocol: Protocol, out: &mut Output) -> Answer {
        if self.roams {
            return Answer::Ends(ROAMS);
        }
        // Suites let scripts call more; of what concerns the whole server only DEBUG, which waits for no other core.
        let scripts = &self.core.shared.scripts;
        let may_call =
            |row: &Row| scripts.allows_all() && (!row.flags.contains(Flags::ADMIN) || row.command.name == "DEBUG");
        let row = match row_of_call(args, self.is_readonly, may_call) {
            Ok(row) => row,
            Err((row, error)) => return self.refuse(row, error),
        };
        let is_write = row.flags.contains(Flags::WRITE);
        if is_write && let Some(error) = self.core.refuses_to_write(self.index, row, args) {
            return self.refuse(Some(row), error);
        }
        if (row.command.asks_to_wait)(args) {
            return self.fail_call(row, waits_in_script(args));
        }
        if self.is_short && !self.has_written && row.flags.contains(Flags::DENYOOM) {
            return self.refuse(Some(row), Error::OUT_OF_MEMORY);
        }
        let asks_others = matches!(row.command.run, Run::Everywhere { .. }) && 1 < self.core.map.shards();
        if asks_others && !self.attempt.holds_everything {
            return self.begin_again();
        }
        self.needed_more |= asks_others;
        if matches!(row.command.run, Run::Keyspace(_) | Run::Blocking(_)) && !self.secure(row, args) {
            return self.begin_again();
        }
        if is_write && !self.has_written {
            if let Some(long) = &self.long
                && !self.core.shared.scripts.begin_to_write(long)
            {
                return Answer::Ends(KILLED);
            }
            self.has_written = true;
        }
        self.core.keep_room_within(self.ground, row, self.call.db, args);
        let (started, start) = (self.core.clock.raw(), out.len());
        let found = if self.attempt.holds_everything { (0, 0) } else { self.core.found_on(self.ground) };
        let call = Call { protocol, ..self.call };
        let answer = self.run(row, call, args, out);
        let core = &mut *self.core;
        let nanoseconds = core.clock.delta_as_nanos(started, core.clock.raw());
        self.took_nanoseconds = nanoseconds;
        core.stats.record(row.id, nanoseconds);
        let entry = if core.slow_nanoseconds <= nanoseconds {
            let kept = || slowlog::kept(row, args);
            slow::entry(&core.shared, &core.config, row, kept, nanoseconds, Split::default())
        } else {
            None
        };
        if core.shared.monitors.load(Ordering::Relaxed) != 0
            && !row.flags.intersects(Flags::SKIP_MONITOR.union(Flags::ADMIN))
        {
            // In the database it chose, if it did.
            let shown = monitor::arguments(&slowlog::redacted(row, args));
            self.attempt.shown.push(monitor::script_line(self.call.db, &shown));
        }
        if self.attempt.holds_everything {
            if let Some(entry) = entry {
                slow::log(&core.shared, &core.config, entry, &core.connections[self.index as usize].session);
            }
        } else {
            let failed = out.bytes().get(start..).filter(|reply| reply.first() == Some(&b'-'));
            let (hits, misses) = self.core.found_on(self.ground);
            let found = (hits - found.0, misses - found.1);
            self.attempt.trial.note_call(row.id, nanoseconds, found, failed);
            self.attempt.trial.note_slow(entry, self.core.config.slowlog_max_len);
        }
        answer.unwrap_or(Answer::Replied)
    }

    fn took_nanoseconds(&mut self) -> u64 {
        self.took_nanoseconds
    }

    fn may_call(&mut self, args: &[&[u8]]) -> Option<bool> {
        lookup::find_row(args).map(|_| true)
    }

    fn logs(&mut self, level: usize) -> bool {
        logs(level)
    }

    fn log(&mut self, level: usize, line: &[u8]) -> Option<&'static str> {
        if self.roams {
            return Some(ROAMS);
        }
        if self.attempt.holds_everything {
            log(level, line);
        } else if !self.attempt.trial.note_line(level, line)
            && let Answer::Ends(text) = self.begin_again()
        {
            return Some(text);
        }
        None
    }

    fn tick(&mut self) -> Option<&'static str> {
        let core = &mut *self.core;
        let nanoseconds = core.clock.delta_as_nanos(self.started, core.clock.raw());
        if nanoseconds < LONG_NANOSECONDS {
            return None;
        }
        let long = self.long.get_or_insert_with(|| {
            let long = Arc::new(LongRun {
                is_function: self.prepared.is_function(),
                name: self.prepared.name().to_owned(),
                command: self.args.iter().map(|arg| arg.to_vec()).collect(),
                started_ms: unix_ms() - nanoseconds / 1_000_000,
                is_killed: AtomicBool::new(false),
                has_written: AtomicBool::new(self.has_written),
                is_busy: AtomicBool::new(false),
            });
            core.shared.scripts.begin_long(long.clone());
            long
        });
        if long.is_killed.load(Ordering::Relaxed) {
            return Some(KILLED);
        }
        if core.shared.stopping.load(Ordering::Relaxed) {
            self.attempt.is_cut |= self.has_written;
            return Some(STOPPING);
        }
        let threshold_ms = core.config.busy_reply_threshold;
        let is_busy = threshold_ms != 0 && threshold_ms <= nanoseconds / 1_000_000;
        let (is_new, busy) = (is_busy && core.shared.scripts.begin_busy(long), long.refusal());
        if self.may_lend && matches!(self.ground, Ground::Engines) {
            self.let_go();
        }
        if is_busy {
            // Others may use this core's engine, unless something is half done on it.
            let is_engine_free = !matches!(self.ground, Ground::Engines);
            if is_new {
                self.core.tell_busy(is_engine_free);
            }
            self.core.serve_beside(self.index, &busy, is_engine_free);
        }
        if !matches!(self.ground, Ground::Engines) && 1 < self.core.map.shards() {
            self.core.shard.let_go(); // Visitors come in until the next call.
        }
        None
    }

    fn returns_error(&mut self, error: &Error, is_counted: bool) {
        // As in Redis: it has failed once by all errors of its own, and once by each of a command.
        let (stats, id) = (&mut self.core.stats, self.row.id);
        let is_new = !is_counted && !std::mem::replace(&mut self.has_failed, true);
        let is_kept = !self.attempt.holds_everything;
        if is_counted {
            stats.failed(id, None);
        } else if is_new {
            stats.failed(id, Some(error.prefix()));
        } else {
            stats.error(error.prefix());
        }
        if is_kept && (is_counted || is_new) {
            self.attempt.trial.note_failure(id, is_new.then(|| error.prefix()));
        } else if is_kept {
            self.attempt.trial.note_refusal(None, error.prefix());
        }
    }

    fn cpu_seconds(&mut self) -> f64 {
        let (user, system) = crate::sys::process::cpu_seconds(crate::sys::process::CpuOf::Process);
        user + system
    }
}
