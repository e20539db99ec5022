//! A script, or a transaction with scripts in it, that holds the keys it named and nothing else, and so may have to
//! begin again with every shard: what is kept meanwhile so that it can, and how it is told, or taken back. Not here:
//! when that is, and what begins again (`script`, `joint`).
//!
//! ```text
//!                       ends                                  begins again
//!  values it wrote      stay                                  as they were found (a copy of each, made before)
//!  counts, lines …      told, in their order                  never were: see `trial`
//!  local variables      stay                                  as they were found: see `crate::script::locals`
//!  what it holds        let go: engines, or a loan's way home
//! ```
//! Where everything is held anyhow nothing of that is kept, but for what is held.

use super::aof_share::{Told, records_of};
use super::core::Core;
use super::joint::{Borrowing, Work};
use super::lend::{Ground, Lent, Loan};
use super::needs::Needs;
use super::script::Before;
use super::trial::Trial;
use crate::command::Args;
use crate::command::lookup::Row;
use crate::keyspace::{Class, Effects, Entry, Keyspace, Records};
use crate::mutant::Mutant;
use crate::route::locks::Need;
use crate::script::{Sha, locals};
use crate::shard::{Call, Request, Shard};
use bytes::Bytes;
use smallvec::SmallVec;

/// A run that may have to begin again uses so many keys that it did not name; then it does begin again.
const KEYS_MAX: usize = 1024;

/// See the module's page.
#[derive(Default)]
pub(super) struct Attempt {
    /// Everything is held: there is nothing else to begin again with. Without it, it may have to.
    pub(super) holds_everything: bool,
    /// When a transaction began, as the clock reads.
    pub(super) started: u64,
    /// The keys that a transaction has named, all its calls together; a script's own are among its arguments.
    pub(super) named: Vec<(usize, Vec<u8>)>,
    /// It was ended because the server ends, and had written: what it did by half does not go into the log.
    pub(super) is_cut: bool,
    /// Everything is held, and it used something beyond what it named.
    pub(super) has_used_all: bool,
    /// Keys that it used without having named them, on engines that were held.
    extra: Vec<Vec<u8>>,
    undo: Vec<Saved>,
    pub(super) trial: Trial,
    /// Scripts that a transaction has called and that nobody knew: somebody's `EVAL` may make them known meanwhile.
    pub(super) unknown: Vec<Sha>,
    /// Lines for those in `MONITOR`.
    pub(super) shown: Vec<Bytes>,
    pub(super) locals: Vec<locals::Saved>,
    /// What is known of the script that has just run, if somebody has ended it.
    pub(super) killed: Option<Before>,
    /// What it holds, if that has become a loan.
    lent: Option<Box<Borrowing>>,
}

/// A value as it was found.
struct Saved {
    db: usize,
    key: Vec<u8>,
    entry: Option<Entry>,
}

impl Attempt {
    /// One of a script, or of a transaction that has named these keys.
    pub(super) fn new(holds_everything: bool, started: u64, named: Vec<(usize, Vec<u8>)>) -> Attempt {
        Attempt { holds_everything, started, named, ..Attempt::default() }
    }

    /// What its reply may tell of, beside what else its caller knows.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.named.iter().map(|(_, key)| &key[..]).chain(self.extra.iter().map(Vec::as_slice))
    }
}

/// Whether a call writes into a database that it names: what it finds there is not saved.
pub(super) fn names_database(row: &'static Row, args: &Args<'_>) -> bool {
    match row.command.name {
        "MOVE" => true,
        "COPY" => args.iter().any(|arg| arg.eq_ignore_ascii_case(b"db")),
        _ => false,
    }
}

impl Core {
    /// Whether everything is held on this ground by one that asked for it.
    pub(super) fn holds_everything(&self, ground: &Ground) -> bool {
        match ground {
            Ground::Whole(_) => true,
            Ground::Entries(_) => false,
            Ground::Engines => {
                let is_free = |shard| self.held_engine(shard).is_some_and(|engine| engine.locks.is_free());
                (0..self.map.shards()).all(is_free)
            }
        }
    }

    /// One begins on engines. What keys did by themselves before is none of its doing.
    pub(super) fn begin_attempt(&mut self) {
        if self.shared.log.is_on() {
            self.shard.log_loose();
            self.visited.iter_mut().flatten().for_each(|engine| engine.log_loose());
        }
    }

    /// An engine, if it is held.
    pub(super) fn held_engine(&self, shard: usize) -> Option<&Shard> {
        if shard == self.core { Some(&*self.shard) } else { self.visited[shard].as_deref() }
    }

    /// One that is.
    pub(super) fn held_engine_mut(&mut self, shard: usize) -> &mut Shard {
        if shard == self.core { &mut self.shard } else { self.visited[shard].as_mut().expect("it is held") }
    }

    /// Whether the engine of a key is held, and nothing keeps others from the key.
    fn holds_clear(&self, key: &[u8]) -> bool {
        let is_clear = |engine: &Shard| !engine.locks.conflicts_with_keys(std::iter::once(key));
        self.held_engine(self.map.shard_of(key)).is_some_and(is_clear)
    }

    /// Whether a key may be used that the script has not named.
    pub(super) fn may_use(&self, attempt: &mut Attempt, ground: &Ground, key: &[u8]) -> bool {
        if attempt.keys().any(|known| known == key) {
            return true;
        }
        if KEYS_MAX <= attempt.extra.len() {
            return false;
        }
        match ground {
            Ground::Whole(_) => true,
            Ground::Entries(_) => false,
            Ground::Engines => {
                // And what those would fill who wait for it.
                let linked = self.shared.links.reached_from(std::iter::once(key));
                let is_clear =
                    std::iter::once(key).chain(linked.iter().map(Vec::as_slice)).all(|key| self.holds_clear(key));
                if is_clear {
                    attempt.extra.push(key.to_vec());
                }
                is_clear
            }
        }
    }

    /// Where a key is that is held.
    pub(super) fn keyspace_on<'a>(&'a mut self, ground: &'a mut Ground, key: &[u8]) -> &'a mut Keyspace {
        let shard = self.map.shard_of(key);
        match ground {
            Ground::Engines => &mut self.held_engine_mut(shard).keyspace,
            Ground::Entries(overlay) => overlay,
            Ground::Whole(keyspaces) => &mut keyspaces[shard],
        }
    }

    /// Copies what a call that may change something ([`crate::command::Flags::may_change`]) may be the first to write,
    /// of the keys at these positions. False: something cannot be brought back.
    pub(super) fn save(
        &mut self,
        attempt: &mut Attempt,
        ground: &mut Ground,
        row: &'static Row,
        db: usize,
        args: &Args<'_>,
        positions: &[usize],
    ) -> bool {
        if names_database(row, args) {
            return false;
        }
        let now_ms = self.now_ms;
        for &at in positions {
            let key = args[at];
            if attempt.undo.iter().any(|saved| saved.db == db && saved.key == key) {
                continue;
            }
            let keyspace = self.keyspace_on(ground, key);
            keyspace.begin(now_ms, false);
            let found = keyspace.peek(db, key);
            if found.is_some_and(|view| view.is_heavy()) {
                return false;
            }
            let entry = found.map(|view| Entry::duplicate(view, key, view.clock()));
            attempt.undo.push(Saved { db, key: key.to_vec(), entry });
        }
        true
    }

    /// How many keys reading commands have found, and not found.
    pub(super) fn found_on(&self, ground: &Ground) -> (u64, u64) {
        let of = |keyspace: &Keyspace| (keyspace.stats.hits, keyspace.stats.misses);
        let counts: SmallVec<[(u64, u64); 8]> = match ground {
            Ground::Engines => {
                let held = (0..self.map.shards()).filter_map(|shard| self.held_engine(shard));
                held.map(|engine| of(&engine.keyspace)).collect()
            }
            Ground::Entries(overlay) => SmallVec::from_elem(of(overlay), 1),
            Ground::Whole(keyspaces) => keyspaces.iter().map(of).collect(),
        };
        counts.into_iter().fold((0, 0), |sum, (hits, misses)| (sum.0 + hits, sum.1 + misses))
    }

    /// What is held becomes a loan; the engines are free again. `keys`: those that the script has named.
    pub(super) fn lend_held(&mut self, attempt: &mut Attempt, ground: &mut Ground, keys: &[&[u8]], call: Call) {
        self.shard.keyspace.records.is_gathering = false;
        let (mut requests, mut loans) = (Vec::new(), Vec::new());
        let loan = |need: Need, engine: &Shard| Loan {
            waiting: engine.waiting_for(&need),
            need,
            lent: Lent::Entries(Vec::new()),
            listened: engine.keyspace.effects.listened(),
            effects: Vec::new(),
            is_unchanged: true,
            watched: Vec::new(),
            blocked: None,
            unknocked: None,
        };
        if attempt.holds_everything {
            let mut keyspaces = Vec::new();
            for shard in 0..self.map.shards() {
                let engine = self.held_engine_mut(shard);
                engine.locks.hold(&Need::Everything);
                loans.push(loan(Need::Everything, engine));
                keyspaces.push(*engine.part_with_keyspace());
                requests.push((shard, Request::new(Need::Everything)));
            }
            *ground = Ground::Whole(keyspaces);
        } else {
            let mut overlay = self.overlay.take().unwrap_or_else(|| Box::new(self.shard.keyspace.sibling()));
            overlay.begin(self.now_ms, false);
            let keys = || keys.iter().copied().chain(attempt.keys());
            let mut linked = self.shared.links.reached_from(keys());
            linked.retain(|key| self.holds_clear(key));
            let keys = keys().chain(linked.iter().map(Vec::as_slice));
            let mut listened = Class::empty();
            for (shard, request) in Needs::of_keys(self.map, keys, false).into_requests(None) {
                let now_ms = self.now_ms;
                let engine = self.held_engine_mut(shard);
                let Need::Keys(keys) = &request.need else { panic!("keys were asked for") };
                engine.locks.hold(&request.need);
                engine.keyspace.begin(now_ms, false);
                keys.iter().for_each(|key| engine.keyspace.lend(key, |db, entry| overlay.adopt(db, entry)));
                overlay.records.adopt_all(&mut engine.keyspace.records);
                listened |= engine.keyspace.effects.listened();
                loans.push(loan(request.need.clone(), engine));
                engine.keyspace.effects.take_all().into_iter().for_each(|effect| overlay.effects.push(effect));
                requests.push((shard, request));
            }
            overlay.effects.listen(listened);
            *ground = Ground::Entries(overlay);
        }
        self.end_visits();
        self.shard.let_go();
        attempt.lent = Some(Box::new(Borrowing { call, requests, loans, work: Work::Command, arrival: None }));
    }

    /// It has ended: tells all that was kept back.
    pub(super) fn tell_attempt(&mut self, index: u32, attempt: &mut Attempt, ground: &mut Ground) {
        self.end_locals(attempt, false);
        let mut trial = std::mem::take(&mut attempt.trial);
        let messages = trial.take_messages();
        if !messages.is_empty() {
            self.tell_in_order(ground, messages);
        }
        trial.tell(&self.shared, &self.config, &self.connections[index as usize].session);
        self.show_attempt(attempt);
    }

    /// Shows its lines to those in `MONITOR`.
    pub(super) fn show_attempt(&mut self, attempt: &mut Attempt) {
        for line in attempt.shown.drain(..) {
            self.feed_monitors(line);
        }
    }

    /// The same for one that began on engines, or holds all by what others lent: all that it did goes into the log, at
    /// once, and its reply waits for that, and for what it may tell of. What became a loan goes home.
    pub(super) fn end_attempt(&mut self, index: u32, mut attempt: Attempt, ground: &mut Ground, told: Option<Told>) {
        self.tell_attempt(index, &mut attempt, ground);
        if attempt.holds_everything {
            self.look_for_emptied(index, ground);
        }
        if attempt.is_cut {
            let recorded = records_of(&mut self.shard, &mut self.visited, ground);
            recorded.into_iter().for_each(Records::clear);
        } else if self.shared.log.is_on() {
            self.log_ground(ground);
        }
        if let Some(told) = told {
            self.hold_for(index, &told);
        }
        self.send_lent_home(attempt, ground);
    }

    /// It begins again: nothing of it has happened. What became a loan goes home.
    pub(super) fn take_back(&mut self, mut attempt: Attempt, ground: &mut Ground) {
        self.end_locals(&mut attempt, true);
        std::mem::take(&mut attempt.trial).take_back(&mut self.stats);
        let undo = std::mem::take(&mut attempt.undo);
        self.undo(ground, if Mutant::ScriptsKeepTheirFirstTry.is_on() { Vec::new() } else { undo });
        self.send_lent_home(attempt, ground);
    }

    fn send_lent_home(&mut self, attempt: Attempt, ground: &mut Ground) {
        if let Some(borrowing) = attempt.lent {
            let ground = std::mem::replace(ground, Ground::Engines);
            self.send_home(*borrowing, ground);
        }
    }

    fn end_locals(&mut self, attempt: &mut Attempt, begins_again: bool) {
        if attempt.locals.is_empty() {
            return;
        }
        let engine = &mut self.scripting.as_mut().expect("a function has run").engine;
        attempt.locals.drain(..).rev().for_each(|saved| engine.end_trial(saved, begins_again));
    }

    /// Brings back what it found, in the opposite order, and forgets what was told of its changes.
    fn undo(&mut self, ground: &mut Ground, undo: Vec<Saved>) {
        let now_ms = self.now_ms;
        for Saved { db, key, entry } in undo.into_iter().rev() {
            let keyspace = self.keyspace_on(ground, &key);
            keyspace.begin(now_ms, false);
            match entry {
                Some(entry) => keyspace.adopt(db, entry),
                None => drop(keyspace.take(db, &key)),
            }
        }
        let forget = |effects: &mut Effects| {
            let kept = effects.take_all().into_iter().filter(|effect| Class::EXPIRED.contains(effect.event.class));
            kept.for_each(|effect| effects.push(effect));
        };
        match ground {
            Ground::Engines => {
                forget(&mut self.shard.keyspace.effects);
                self.visited.iter_mut().flatten().for_each(|engine| forget(&mut engine.keyspace.effects));
            }
            Ground::Entries(overlay) => forget(&mut overlay.effects),
            Ground::Whole(_) => panic!("who holds everything undoes nothing"),
        }
        records_of(&mut self.shard, &mut self.visited, ground).into_iter().for_each(Records::clear);
    }
}
