//! Room: what `maxmemory` means for a core. A command that takes memory runs if there is room for it; if there is none,
//! entries go, of the shard whose entries can be spared best; if none may go, the command is refused.
//!
//! ```text
//!   command that takes memory ──▶ within this core's lease? ──yes──▶ runs                       (two loads)
//!                                      │ no
//!                                      ▼
//!                     sum over all threads below maxmemory? ──yes──▶ a new lease, runs
//!                                      │ no
//!                                      ▼
//!            entries go: own shard, or a visit to another ──▶ enough: a lease, runs
//!                                      │ time is up: runs, the rest goes in the next passes
//!                                      ├ all shards were looked at, and none may go: -OOM
//!                                      └ not all could be looked at: within the slack runs, else its turn comes later
//! ```
//! There is one budget: [`crate::memory::used_bytes`] of the process, against `maxmemory`. No core refuses or evicts
//! while the sum has room, however uneven the cores are.
//!
//! How far the sum may pass the limit: by the leases ([`crate::memory::LEASES_BYTES_MAX`]), and by half of
//! [`slack_bytes`] while entries go more slowly than commands bring new ones; beyond that a command waits until enough
//! have gone, however long that takes. Where a limit was lowered, the sum is held where it was
//! ([`crate::shared::Budget`]'s ceiling) and goes down from there in slices, beside the commands.
//!
//! # Whose turn comes later
//!
//! What could go may be out of reach for a while: an engine is another core's, a keyspace is lent to a script, and
//! comes home by a message to this very core. So nobody waits for it here, with an engine held and messages unread. The
//! core waits for each engine once a pass and with a limit, as for any command on several shards; if that was in vain,
//! the command is put off until the next pass, with all that its client has sent after it ([`Room::Later`]). A refusal
//! means that every shard was looked at. Only where something stays out of reach for [`WAIT_MS_MAX`] is a command
//! refused nevertheless.
//!
//! # What a command brings
//!
//! What it was sent, and where its row tells more ([`crate::command::Grows`]: `SETRANGE`, `SETBIT`, `BITOP`), what it
//! makes of that. What is in use already does not count twice: a long argument, which becomes the value or is freed
//! behind it, and what a transaction has queued, which is freed as its calls run. So `EXEC` brings what keys grow to
//! beyond what its calls were sent. What other commands make (`SUNIONSTORE`, `COPY`) is known when they have run: by
//! so much one command on each core may pass the limit.
//!
//! # What is refused
//!
//! What brings so much that it would not fit if everything had gone that may go ([`Core::is_hopeless`]): that is found
//! out before anything goes. What brings less than [`LARGE_BYTES_MIN`] is refused when nothing is left that may go.
//! Nobody is refused while something is left that has gone and is not freed: a flush frees its entries in slices, and
//! who needs their room frees them, as much as it needs.
//!
//! # In the middle of a transaction or script
//!
//! Redis looks for room when one begins, and never after: a script that writes 30 MB passes the limit by 30 MB. Here
//! entries go between its calls too, where the sum has passed the limit by a part of the slack, so that small ones
//! never meet this. Not those that it uses: what a transaction names anywhere, what a script has touched so far. So
//! nobody can tell that others went in the middle rather than before it began, and that is how they are logged and
//! told of: before what it does, even if a script is undone and begins again. Who looks at all keys in a transaction
//! (`DBSIZE`, `KEYS`, `SCAN`, keys by pattern) sees them go.
//!
//! What has begun ends: no call in the middle is refused, as in Redis, for half a transaction is worse than too much
//! memory for a moment. So what one transaction or script itself makes may pass the limit, if it cannot be told
//! before: that is the one way to do so.

use super::core::Core;
use super::joint::Exec;
use super::lend::Ground;
use super::needs::Shards;
use super::read::{Planned, Source, fill_bytes};
use super::visit::{end_visit_to_lender, hold_several};
use crate::command::lookup::{Row, find_by_index, key_positions};
use crate::command::{Args, Flags, Growth, Joint, Keys, Run};
use crate::config::MaxmemoryPolicy;
use crate::connection::arguments;
use crate::keyspace::{EntryRef, Keyspace};
use crate::memory;
use crate::route::Place;
use crate::route::parcel::ArgSlices;
use crate::session::{Mode, Session, Transaction};
use crate::shard::Shard;
use crate::shard::held::visit_if;
use ahash::{AHashMap, AHashSet};

/// Entries that go between two looks at the sum and at the clock: some ten microseconds.
const EVICT_KEYS: usize = 16;
/// How much goes ahead of the commands that need it: the blocks of what has gone are still in the cache when they are
/// taken again.
const BATCH_BYTES_MAX: u64 = 128 << 10;
/// How often a core looks for the engine of another whose entries can be spared better.
const DONOR_SPINS: usize = 100;
/// Allocations of a heavy value that are freed between two looks: as many as [`EVICT_KEYS`] entries may cost.
const FREE_ALLOCATIONS: usize = 100;

/// What passes the limit between commands, by no more than these bytes, is left to the next command that needs room, …
const TOLERANCE_BYTES: u64 = 256 << 10;
/// … unless no core has seen less for so long: what `INFO` or a large reply takes for a moment makes no key go.
const TOLERANCE_MS: u64 = 200;
/// How soon what is evicted between commands is thought to have been told to all whom it concerns.
const MESSAGES_MS: u64 = 50;

/// A command that finds no room frees what has gone. Where so much is in use still that this would take longer than
/// the commands of a pass may evict for, it waits, unless less than this is missing.
const HELPS_BYTES_MAX: u64 = 64 << 20;

/// Of the slack this part is used before entries go in the middle of a transaction or script.
const SLACK_PART_WITHIN: u64 = 4;

/// For how long entries go in one pass where no command asks for room, and while a lowered limit is not reached, in
/// nanoseconds: a client waits for what is left of one such slice and for the next.
const SLICE_NANOSECONDS_MAX: u64 = 100_000;

/// For how long commands are put off because what could go is out of reach, in milliseconds: then they are refused.
const WAIT_MS_MAX: u64 = 5_000;

/// What came of asking for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There is, or will be at once.
    Made,
    /// Something may go that is out of reach now.
    Later,
    /// There is none, and nothing that may go.
    Lacking,
}

/// What came of letting entries go.
enum Spared {
    /// So many bytes went.
    Bytes(usize),
    /// All was looked at, and nothing may go.
    Nothing,
    /// Something could not be looked at.
    OutOfReach,
}

/// What brings more bytes at once has all but a quarter of the slack made free before: others may bring as much.
const LARGE_BYTES_MIN: u64 = 1 << 20;

/// By how much the sum may pass the limit, in bytes: a hundredth, or 16 MiB if that is more.
fn slack_bytes(limit_bytes: u64) -> u64 {
    (limit_bytes / 100).max(16 << 20)
}

/// For how long entries may go in one pass so that its commands run, in nanoseconds, by `maxmemory-eviction-tenacity`:
/// 50 µs a step up to 10, then 15 % more each; 100: as long as it takes. Redis takes as long before each command, and
/// so a pipeline that comes while a limit is lowered holds up everybody else.
fn evict_nanoseconds_max(tenacity: u32) -> u64 {
    match tenacity {
        0..=10 => 50_000 * u64::from(tenacity),
        100.. => u64::MAX,
        _ => (500_000.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64,
    }
}

/// Whether a shard that let nothing go may have something to let go later: away from it, kept for who reads it, or not
/// found in some thousand looks.
fn may_have_more(engine: &Shard) -> bool {
    !engine.locks.is_all_home() || 0 < engine.evictable_len()
}

/// Whether a command is refused when there is no room.
#[inline]
pub(super) fn needs_room(row: &'static Row) -> bool {
    row.command.flags.contains(Flags::DENYOOM)
}

/// The same for a client in a transaction: what is queued takes memory itself, and an EXEC needs what its calls need.
#[cold]
pub(super) fn transaction_needs_room(session: &Session, row: &'static Row) -> bool {
    if matches!(row.command.run, Run::Joint(Joint::Exec)) {
        let transaction = &session.transaction;
        return (0..transaction.len()).any(|at| needs_room(find_by_index(transaction.command(at) as usize)));
    }
    !row.command.is_immediate
}

/// How many bytes a call will add at least, as its row says.
fn growth_of(row: &'static Row, args: &Args<'_>, len_max: u64, bytes_of: &dyn Fn(&[u8]) -> usize) -> Option<Growth> {
    let grows = row.command.grows.filter(|_| row.accepts(args.len()))?;
    grows(args, bytes_of).filter(|growth| growth.bytes as u64 <= len_max)
}

/// How many bytes a call brings: what it was sent, or what it makes of that, if that is more.
fn bytes_of_call(row: &'static Row, args: &Args<'_>, len_max: u64, bytes_of: &dyn Fn(&[u8]) -> usize) -> usize {
    let sent = args.iter().map(|arg| arg.len()).sum();
    let growth = growth_of(row, args, len_max, bytes_of);
    growth.map_or(sent, |growth| sent.max(growth.bytes.saturating_sub(bytes_of(args[growth.key]))))
}

/// What the calls of a transaction bring, together: what keys grow to beyond what the calls were sent, as far as that
/// can be told before. A key that a call may empty grows anew.
fn bytes_of_calls(transaction: &Transaction, len_max: u64) -> usize {
    let mut lens: AHashMap<&[u8], usize> = AHashMap::new();
    let (mut sent, mut grown, mut most) = (0, 0, 0);
    let mut positions = Vec::new();
    for at in 0..transaction.len() {
        let row = find_by_index(transaction.command(at) as usize);
        if !row.flags.contains(Flags::WRITE) {
            continue;
        }
        let args: ArgSlices<'_> = transaction.args(at).collect();
        let growth = growth_of(row, &args, len_max, &|key| lens.get(key).copied().unwrap_or(0));
        if let Some(Growth { key, bytes }) = growth {
            let len = lens.entry(args[key]).or_default();
            grown += bytes.saturating_sub(*len);
            *len = bytes.max(*len);
            sent += args.iter().map(|arg| arg.len()).sum::<usize>();
        } else if matches!(row.command.keys, Keys::None) {
            lens.clear();
            grown = 0;
        } else if !lens.is_empty() {
            positions.clear();
            if key_positions(row.command, &args, &mut positions).is_ok() {
                grown -= positions.iter().filter_map(|&at| lens.remove(args[at])).sum::<usize>();
            }
        }
        most = most.max(grown.saturating_sub(sent));
    }
    most
}

/// How many bytes a key has, with all that belongs to it.
fn bytes_of_key(keyspace: Option<&Keyspace>, db: usize, key: &[u8]) -> usize {
    keyspace.and_then(|keyspace| keyspace.peek(db, key)).map_or(0, EntryRef::memory_bytes)
}

impl Core {
    /// What counts against the limit, in bytes.
    pub(super) fn counted_bytes(&self) -> u64 {
        memory::used_bytes().saturating_sub(self.shared.uncounted_bytes())
    }

    /// Whether there is a limit.
    #[inline]
    pub(super) fn has_limit(&self) -> bool {
        self.config.maxmemory.bytes != 0
    }

    /// Whether there is room for a command with a request of so many bytes.
    #[inline]
    pub(super) fn room_for(&mut self, request_bytes: usize) -> Room {
        if memory::is_within_lease(request_bytes) { Room::Made } else { self.make_room(request_bytes) }
    }

    /// The same for a script: it is put off, but never refused here.
    pub(super) fn room_for_script(&mut self) -> Room {
        match self.room_for(1) {
            Room::Lacking => Room::Made,
            room => room,
        }
    }

    /// How many bytes a client's command brings, as far as that can be told here.
    pub(super) fn bytes_of_planned(&self, planned: &Planned, row: &'static Row) -> usize {
        let spans = &self.spans[planned.first_span as usize..][..planned.span_count as usize];
        let request_bytes = spans.last().map_or(0, |last| (last.start + last.len) as usize);
        let connection = &*self.connections[planned.connection as usize];
        let len_max = self.config.proto_max_bulk_len;
        if self.config.maxmemory.bytes == 0 {
            return request_bytes;
        }
        if matches!(row.command.run, Run::Joint(Joint::Exec)) {
            return bytes_of_calls(&connection.session.transaction, len_max);
        }
        if connection.session.mode.contains(Mode::IN_TRANSACTION) && !row.command.is_immediate {
            return request_bytes; // It is queued; what it makes, `EXEC` brings.
        }
        let Place::One(shard) = planned.place else { return request_bytes };
        let engine = if shard == self.core { Some(&*self.shard) } else { self.visited[shard].as_deref() };
        let (Some(_), Some(engine)) = (row.command.grows, engine) else { return request_bytes };
        let bytes = match planned.source {
            Source::Buffer(buffer) => self.ring.bytes(buffer),
            Source::Input => &connection.input[..],
        };
        let args: ArgSlices<'_> = arguments(spans, &bytes[planned.base..], &connection.bodies);
        let db = connection.session.db;
        // Long arguments are in use already.
        let bytes = bytes_of_call(row, &args, len_max, &|key| bytes_of_key(Some(&engine.keyspace), db, key));
        let long_bytes: usize = connection.bodies.iter().map(|(_, body)| body.as_bytes().len()).sum();
        request_bytes.max(bytes.saturating_sub(long_bytes))
    }

    /// Makes room for what a command of another core's client makes here: its core has said yes already.
    pub(super) fn make_room_for_sent(&mut self, row: &'static Row, db: usize, args: &Args<'_>) {
        self.keep_room();
        if row.command.grows.is_some() && self.has_limit() {
            let keyspace = Some(&self.shard.keyspace);
            let len_max = self.config.proto_max_bulk_len;
            let more = bytes_of_call(row, args, len_max, &|key| bytes_of_key(keyspace, db, key));
            if !memory::is_within_lease(more) {
                self.end_visits();
                self.make_room(more);
                self.end_visits();
            }
        }
    }

    /// Looks after memory that is taken otherwise than by commands: buffers of clients, what other cores' commands
    /// took. To be called between commands; best when the replies to those of the last pass have left.
    #[inline]
    pub(super) fn keep_room(&mut self) {
        if self.evicts && !memory::is_within_lease(0) && (self.is_short_of_room || self.is_too_much()) {
            self.end_visits(); // One who waits for the own engine holds no other.
            self.shard.take();
            self.make_room(0);
            self.end_visits();
        }
    }

    /// Enough has been evicted between commands, and more than the limit is in use still: messages about what went, to
    /// clients that track it or listen, which leave with the next passes. To evict more would bring more of them.
    fn waits_for_messages(&self, used: u64) -> bool {
        let limit = self.config.maxmemory.bytes;
        used <= limit + slack_bytes(limit) / 2 && self.now_ms.abs_diff(self.evicted_enough_ms) < MESSAGES_MS
    }

    /// To be called before anything is done in a pass, when replies to what was asked before have left.
    #[inline]
    pub(super) fn look_at_room(&mut self) {
        if self.evicts
            && TOLERANCE_MS / 10 <= self.shared.budget.since_within_ms(self.now_ms)
            && self.counted_bytes() <= self.config.maxmemory.bytes
        {
            self.shared.budget.is_within(self.now_ms);
        }
    }

    /// Whether more is in use between commands than entries may stay for.
    fn is_too_much(&mut self) -> bool {
        // Clients that are too large go before any key does.
        let used = self.counted_bytes().saturating_sub(self.clients_excess_bytes());
        if self.waits_for_messages(used) {
            return false;
        }
        if used <= self.config.maxmemory.bytes {
            self.shared.budget.is_within(self.now_ms);
            return false;
        }
        self.config.maxmemory.bytes + TOLERANCE_BYTES < used
            || TOLERANCE_MS <= self.shared.budget.since_within_ms(self.now_ms)
    }

    /// Asks for the sum, takes a lease, lets entries go, so that there is room for so many bytes. The own engine is
    /// held.
    #[cold]
    #[inline(never)]
    pub(super) fn make_room(&mut self, more: usize) -> Room {
        let room = self.look_for_room(more);
        self.end_visits_to_lenders();
        if room != Room::Later {
            self.lacks_room_since_ms = None;
            return room;
        }
        let now_ms = self.clocks.steady_ms();
        let since_ms = *self.lacks_room_since_ms.get_or_insert(now_ms);
        if now_ms - since_ms < WAIT_MS_MAX { Room::Later } else { Room::Lacking }
    }

    fn look_for_room(&mut self, more: usize) -> Room {
        self.is_short_of_room = false;
        let limit = self.config.maxmemory.bytes;
        if limit == 0 {
            memory::take_lease(u64::MAX);
            return Room::Made;
        }
        let (more, cores) = (more as u64, self.map.shards());
        let goal = limit.saturating_sub(more);
        let mut used = self.counted_bytes();
        if used <= goal {
            self.shared.budget.is_within(self.now_ms);
            memory::take_lease(memory::lease_bytes(limit, used, cores));
            return Room::Made;
        }
        memory::end_lease();
        if !self.evicts {
            return self.free_for(more);
        }
        // Between commands less: clients may send as much again before the next pass.
        let part = if (1..LARGE_BYTES_MIN).contains(&more) { 2 } else { SLACK_PART_WITHIN };
        let ceiling_of = |sum: u64| sum + slack_bytes(limit) / part;
        let mut may_be_hopeless = LARGE_BYTES_MIN <= more;
        let batch = (memory::lease_bytes(limit, 0, cores) / 4).min(BATCH_BYTES_MAX);
        let (enough, mut evicted) = ((used - goal + batch) as usize, 0);
        let started = self.clock.raw();
        let held_at = self.shared.budget.ceiling(limit);
        let is_held = limit < held_at;
        let slice = if more == 0 || is_held { SLICE_NANOSECONDS_MAX } else { u64::MAX };
        let nanoseconds_max = evict_nanoseconds_max(self.config.maxmemory_eviction_tenacity)
            .min(slice)
            .saturating_sub(self.evicting_nanoseconds);
        let may_sink = self.has_garbage() || self.shared.budget.has_evictable();
        if is_held && may_sink && nanoseconds_max == 0 && 0 < self.evicting_nanoseconds {
            // What this pass can do for a lowered limit has been done. So that the sum goes down whatever comes, twice
            // as much goes as this command brings, unless it is hardly above where it was.
            if held_at + TOLERANCE_BYTES < used + more {
                self.spare(2 * more as usize);
                used = self.counted_bytes();
                self.shared.budget.sink_to(used);
            }
            if used + more <= ceiling_of(held_at) {
                self.is_short_of_room = true;
                return Room::Made;
            }
        }
        let mut has_waited = false;
        loop {
            if may_be_hopeless && !self.has_garbage() {
                if self.is_hopeless(more, ceiling_of(limit)) {
                    return Room::Lacking;
                }
                may_be_hopeless = false;
            }
            let spared = self.spare((used - goal + batch) as usize);
            let now = self.counted_bytes();
            self.shared.budget.sink_to(now);
            used = now;
            if used <= goal {
                self.shared.budget.is_within(self.now_ms);
                memory::take_lease(memory::lease_bytes(limit, used, cores));
                break;
            }
            if limit < used {
                self.shared.budget.is_exceeded(self.now_ms);
            }
            let ceiling = ceiling_of(self.shared.budget.ceiling(limit));
            let nanoseconds = self.clock.delta_as_nanos(started, self.clock.raw());
            match spared {
                Spared::Bytes(bytes) => evicted += bytes,
                Spared::Nothing => {
                    self.evicting_nanoseconds += nanoseconds;
                    return if used <= limit && used + more <= ceiling { Room::Made } else { Room::Lacking };
                }
                Spared::OutOfReach
                    if !has_waited && (0 < more || self.shared.budget.has_evictable()) && self.reach_all() =>
                {
                    has_waited = true;
                    continue;
                }
                Spared::OutOfReach => {
                    self.evicting_nanoseconds += nanoseconds;
                    if used + more <= ceiling && self.shared.budget.has_evictable() {
                        self.is_short_of_room = limit < used;
                        return Room::Made;
                    }
                    return Room::Later;
                }
            }
            // With enough evicted, what is still too much has to be freed yet, or tells clients of what went, and is
            // about to leave: more evictions would only bring more of it.
            if (nanoseconds_max <= nanoseconds || enough <= evicted) && used + more <= ceiling {
                self.is_short_of_room = limit < used && evicted < enough;
                self.evicted_enough_ms = if evicted < enough { 0 } else { self.now_ms };
                break;
            }
        }
        self.evicting_nanoseconds += self.note_eviction(started);
        Room::Made
    }

    /// The same where nothing may go: frees what has gone. The slack is used when nothing is left of that.
    fn free_for(&mut self, more: u64) -> Room {
        let limit = self.config.maxmemory.bytes;
        let nanoseconds_max = evict_nanoseconds_max(self.config.maxmemory_eviction_tenacity);
        let started = self.clock.raw();
        loop {
            let used = self.counted_bytes();
            if used + more <= limit {
                return Room::Made;
            }
            if limit < used {
                self.shared.budget.is_exceeded(self.now_ms);
            }
            let is_late = nanoseconds_max < self.clock.delta_as_nanos(started, self.clock.raw());
            // What is large would be read and copied again in every pass.
            let may_wait = more < LARGE_BYTES_MIN && limit + HELPS_BYTES_MAX < used;
            if is_late && may_wait && self.has_garbage() {
                self.lacks_room_since_ms = None; // It has not been for nothing.
                return Room::Later;
            }
            let fits = used <= limit && used + more <= limit + slack_bytes(limit);
            match self.free_some() {
                Spared::Bytes(_) => {}
                _ if fits => return Room::Made,
                Spared::OutOfReach => return Room::Later,
                Spared::Nothing => return Room::Lacking,
            }
        }
    }

    /// Whether something has gone and is not freed yet, as far as is known here.
    fn has_garbage(&self) -> bool {
        self.shard.keyspace.has_garbage() || self.shared.budget.with_garbage(self.core).is_some()
    }

    /// Frees some of what has gone, of whichever shard.
    fn free_some(&mut self) -> Spared {
        if self.shard.keyspace.has_garbage() {
            self.shard.keyspace.free_some(FREE_ALLOCATIONS);
            return Spared::Bytes(0);
        }
        let Some(shard) = self.shared.budget.with_garbage(self.core) else { return Spared::Nothing };
        if !self.reach(shard) {
            return Spared::OutOfReach;
        }
        let engine = self.visited[shard].as_mut().expect("visited just now");
        let has_garbage = engine.keyspace.has_garbage() && engine.keyspace.free_some(FREE_ALLOCATIONS);
        self.shared.budget.set_garbage(shard, has_garbage);
        end_visit_to_lender(&mut self.visited[shard]);
        Spared::Bytes(0)
    }

    /// Whether so many bytes would not fit below this if everything had gone that may go. Only one who can look at
    /// every shard can say so; and of entries with a deadline it is not known how many bytes they have, but whether
    /// there are any.
    fn is_hopeless(&mut self, more: u64, ceiling: u64) -> bool {
        if !self.reach_all() {
            return false;
        }
        let own = self.core;
        let bytes_of = |shard: &Shard| if shard.evictable_len() == 0 { 0 } else { shard.keyspace.entry_bytes() };
        let others = self.visited.iter().enumerate().filter(|&(shard, _)| shard != own);
        let may_go = others.filter_map(|(_, engine)| engine.as_deref()).map(bytes_of).sum::<usize>();
        let may_go = (may_go + bytes_of(&self.shard)) as u64;
        ceiling < self.counted_bytes().saturating_sub(may_go) + more
    }

    /// Takes hold of all engines, or only of the own one as before: then something is busy or away.
    fn reach_all(&mut self) -> bool {
        let shards: Shards = (0..self.map.shards()).collect();
        hold_several(&mut self.shard, &mut self.visited, &shards, |_, engine| engine.locks.is_whole())
    }

    /// Takes hold of another core's engine, unless that is busy or its keyspace away. Entries that are lent are not
    /// there, so they do not go.
    fn reach(&mut self, shard: usize) -> bool {
        self.visited[shard].is_some()
            || visit_if(&self.shard, &mut self.visited, shard, DONOR_SPINS, |engine| engine.locks.is_whole())
    }

    /// Lets some entries go that have so many bytes, or frees some of what has gone.
    fn spare(&mut self, bytes: usize) -> Spared {
        if let Spared::Bytes(bytes) = self.free_some() {
            return Spared::Bytes(bytes);
        }
        let own = self.core;
        let draws = self.shard.draws_lots();
        let lot = self.shard.random.u64(..);
        let first = self.shared.budget.donor(own, draws.then_some(lot));
        let others = (0..self.map.shards()).filter(|&shard| shard != own && shard != first);
        let second = (first != own).then_some(own);
        let mut result = Spared::Nothing;
        for shard in [first].into_iter().chain(second).chain(others) {
            match self.spare_of(shard, bytes) {
                Spared::Bytes(evicted) => return Spared::Bytes(evicted),
                Spared::OutOfReach => result = Spared::OutOfReach,
                Spared::Nothing => {}
            }
        }
        result
    }

    /// The same on one shard.
    fn spare_of(&mut self, shard: usize, bytes: usize) -> Spared {
        let now_ms = self.now_ms;
        let is_own = shard == self.core;
        let engine = if is_own {
            &mut *self.shard
        } else {
            if !self.reach(shard) {
                return Spared::OutOfReach;
            }
            self.visited[shard].as_mut().expect("visited just now")
        };
        let spared = if !is_own && engine.keyspace.has_garbage() {
            engine.keyspace.free_some(FREE_ALLOCATIONS);
            Spared::Bytes(0)
        } else {
            let evicted = engine.evict(now_ms, bytes, EVICT_KEYS);
            self.shared.budget.set_garbage(shard, false);
            if engine.locks.is_whole() {
                self.shared.budget.note_donor(shard, engine.evictable_len(), evicted.rank);
            }
            match evicted.keys {
                0 if may_have_more(engine) => Spared::OutOfReach,
                0 => Spared::Nothing,
                _ => Spared::Bytes(evicted.bytes),
            }
        };
        if is_own {
            self.serve_own();
        } else {
            end_visit_to_lender(&mut self.visited[shard]); // Its owner serves who waits there.
            self.serve_visited(shard);
        }
        spared
    }

    /// Notes for `LATENCY` how long it took, in nanoseconds.
    fn note_eviction(&mut self, started: u64) -> u64 {
        let took = self.clock.delta(started, self.clock.raw());
        super::slow::note_event(&self.shared, &self.config, "eviction-cycle", took);
        took.as_nanos() as u64
    }

    /// Tells other cores how many entries may go here, and the adviser how large this shard can be.
    pub(super) fn tell_evictable(&mut self) {
        if self.config.maxmemory.bytes != 0 && self.shard.try_take() && self.shard.locks.is_whole() {
            self.shared.budget.set_evictable(self.core, self.shard.evictable_len());
            let used = self.counted_bytes();
            self.shard.note_room(used);
        }
    }

    /// The limit or the policy has changed.
    pub(super) fn take_limit(&mut self, old_limit: u64) {
        memory::end_lease();
        let limit = self.config.maxmemory.bytes;
        self.ring.fill_at_most(fill_bytes(limit, self.map.shards()));
        self.evicts = limit != 0 && self.config.maxmemory_policy != MaxmemoryPolicy::Noeviction;
        if limit != 0 && (old_limit == 0 || limit < old_limit) {
            self.shared.budget.hold_at(self.counted_bytes());
        }
        self.shared.budget.forget_rank(self.core);
        self.tell_evictable();
        // What is in use for this very change is no reason for entries to go.
        self.is_short_of_room = self.evicts && limit + TOLERANCE_BYTES < self.counted_bytes();
    }

    // Within transactions and scripts

    /// A transaction begins or goes on, and uses its keys, where entries may go for it. Returns what was used before.
    pub(super) fn begin_to_use(&mut self, exec: &mut Exec) -> AHashSet<u64> {
        let before = std::mem::replace(&mut self.used_keys, std::mem::take(&mut exec.used_keys));
        if self.evicts && exec.next == 0 {
            let transaction = &exec.transaction;
            let mut positions = Vec::new();
            for at in 0..transaction.len() {
                let row = find_by_index(transaction.command(at) as usize);
                let args: ArgSlices<'_> = transaction.args(at).collect();
                positions.clear();
                if key_positions(row.command, &args, &mut positions).is_ok() {
                    self.used_keys.extend(positions.iter().map(|&at| self.hasher.hash(args[at])));
                }
            }
        }
        before
    }

    /// It has ended, or waits for other cores. Returns what it uses.
    pub(super) fn end_use(&mut self, before: AHashSet<u64>) -> AHashSet<u64> {
        if std::mem::take(&mut self.has_raised_lease) {
            memory::end_lease();
        }
        std::mem::replace(&mut self.used_keys, before)
    }

    /// Before a call of a transaction or script, on the ground that it runs on: frees what has gone, and lets entries
    /// of others go, so that the sum stays within the slack, whatever it does. It runs in any case: half of it is worse
    /// than too much of it.
    #[inline]
    pub(super) fn keep_room_within(&mut self, ground: &mut Ground, row: &'static Row, db: usize, args: &Args<'_>) {
        if self.has_limit() && needs_room(row) {
            self.make_room_within(ground, row, db, args);
        }
    }

    fn make_room_within(&mut self, ground: &mut Ground, row: &'static Row, db: usize, args: &Args<'_>) {
        let held = &*ground;
        let bytes_of = |key: &[u8]| {
            let shard = self.map.shard_of(key);
            let keyspace = match held {
                Ground::Engines if shard == self.core => Some(&self.shard.keyspace).filter(|_| self.shard.is_held()),
                Ground::Engines => self.visited[shard].as_ref().map(|engine| &engine.keyspace),
                Ground::Entries(overlay) => Some(&**overlay),
                Ground::Whole(keyspaces) => keyspaces.get(shard),
            };
            bytes_of_key(keyspace, db, key)
        };
        let more = bytes_of_call(row, args, self.config.proto_max_bulk_len, &bytes_of);
        if !memory::is_within_lease(more) {
            self.let_others_go(ground, more as u64);
        }
    }

    /// Whether so much is in use that entries would go between the calls of a transaction, had any been left.
    pub(super) fn is_short_within(&self) -> bool {
        let limit = self.config.maxmemory.bytes;
        self.shared.budget.ceiling(limit) + slack_bytes(limit) / SLACK_PART_WITHIN < self.counted_bytes()
    }

    #[cold]
    #[inline(never)]
    fn let_others_go(&mut self, ground: &mut Ground, more: u64) {
        let (limit, cores) = (self.config.maxmemory.bytes, self.map.shards());
        let ceiling = self.shared.budget.ceiling(limit) + slack_bytes(limit) / SLACK_PART_WITHIN;
        let batch = memory::lease_bytes(limit, 0, cores) / 4;
        let mut used = self.counted_bytes();
        let (enough, mut evicted) = ((used + more + batch).saturating_sub(ceiling), 0);
        self.shard.take();
        let mut used_keys = std::mem::take(&mut self.used_keys);
        let started = self.clock.raw();
        let is_short = ceiling < used + more;
        while ceiling < used + more && evicted < enough {
            if !self.free_within(ground) {
                let Some(bytes) = self.spare_others(ground, &mut used_keys, (enough - evicted) as usize) else { break };
                evicted += bytes as u64;
            }
            used = self.counted_bytes();
        }
        self.used_keys = used_keys;
        if is_short {
            self.note_eviction(started);
        }
        memory::take_lease(more + memory::lease_bytes(ceiling, used + more, cores));
        self.has_raised_lease = true;
    }

    /// As [`Core::free_some`], in the middle of a transaction or script. False: nothing of the kind is within reach.
    fn free_within(&mut self, ground: &mut Ground) -> bool {
        let borrowed = match ground {
            Ground::Engines => &mut [][..],
            Ground::Entries(overlay) => std::slice::from_mut(&mut **overlay),
            Ground::Whole(keyspaces) => keyspaces,
        };
        if let Some(keyspace) = borrowed.iter_mut().find(|keyspace| keyspace.has_garbage()) {
            keyspace.free_some(FREE_ALLOCATIONS);
            return true;
        }
        let own = self.core;
        let is_own = |shard: usize| shard == own;
        if self.shard.keyspace.has_garbage() {
            self.shard.keyspace.free_some(FREE_ALLOCATIONS);
            return true;
        }
        let held = self.visited.iter_mut().enumerate().filter(|&(shard, _)| !is_own(shard));
        for (shard, engine) in held {
            let Some(engine) = engine else { continue };
            if engine.keyspace.has_garbage() {
                engine.keyspace.free_some(FREE_ALLOCATIONS);
                return true;
            }
            self.shared.budget.set_garbage(shard, false);
        }
        let Some(shard) = self.shared.budget.with_garbage(own).filter(|&shard| self.visited[shard].is_none()) else {
            return false;
        };
        if !self.reach(shard) {
            return false;
        }
        let freed = self.free_some();
        self.visited[shard] = None;
        matches!(freed, Spared::Bytes(_))
    }

    /// As [`Core::spare`], in the middle of a transaction or script: nothing that it uses, and nobody who waits for
    /// keys is served. None: nothing goes.
    fn spare_others(&mut self, ground: &mut Ground, used_keys: &mut AHashSet<u64>, bytes: usize) -> Option<usize> {
        let (own, now_ms, shards) = (self.core, self.now_ms, self.map.shards());
        let lot = if self.shard.draws_lots() { Some(self.shard.random.u64(..)) } else { None };
        let first = self.shared.budget.donor(own, lot);
        for shard in std::iter::once(first).chain((0..shards).filter(|&shard| shard != first)) {
            if let Ground::Whole(keyspaces) = ground {
                let (keyspace, eviction) = (&mut keyspaces[shard], self.shard.eviction?);
                keyspace.begin(now_ms, false);
                let evicted = keyspace.evict_others(eviction, bytes, EVICT_KEYS, used_keys);
                if 0 < evicted.keys {
                    return Some(evicted.bytes);
                }
                continue;
            }
            let is_held = shard == own || self.visited[shard].is_some();
            if !is_held && !self.reach(shard) {
                continue;
            }
            let engine = match &mut self.visited[shard] {
                Some(engine) if shard != own => &mut **engine,
                _ => &mut *self.shard,
            };
            let evicted = engine.evict_within(now_ms, bytes, EVICT_KEYS, used_keys);
            let spared = (0 < evicted.keys).then_some(evicted.bytes);
            if !is_held {
                self.shared.budget.set_garbage(shard, engine.keyspace.has_garbage());
                self.visited[shard] = None;
            }
            if spared.is_some() {
                return spared;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenacity_is_counted_as_in_redis() {
        assert_eq!(evict_nanoseconds_max(0), 0);
        assert_eq!(evict_nanoseconds_max(10), 500_000);
        assert!((570_000..580_000).contains(&evict_nanoseconds_max(11)));
        assert!(60_000_000_000 < evict_nanoseconds_max(99), "minutes");
        assert_eq!(evict_nanoseconds_max(100), u64::MAX);
    }

    #[test]
    fn a_transaction_brings_what_keys_grow_to_beyond_what_its_calls_were_sent() {
        let bytes_of = |calls: &[&str]| {
            let mut transaction = Transaction::default();
            for call in calls {
                let args: Vec<&[u8]> = call.split(' ').map(str::as_bytes).collect();
                let row = crate::command::lookup::find_row(&args).expect("a command");
                transaction.push(row.id.index() as u16, args.iter().copied());
            }
            bytes_of_calls(&transaction, 1 << 29)
        };
        let sent = |calls: &[&str]| calls.iter().map(|call| call.len() - call.matches(' ').count()).sum::<usize>();
        assert_eq!(bytes_of(&["GET k", "DEL k", "PING"]), 0);
        assert_eq!(bytes_of(&["SET k v", "GET k"]), 0, "it has been queued, and goes when it has run");
        let twice = ["SETRANGE a 999 x", "SETRANGE a 99 x", "SETBIT b 79999 1"];
        assert_eq!(bytes_of(&twice), 1000 + 10_000 - sent(&twice), "each key once, as long as it becomes");
        let combined = ["SETRANGE a 999 x", "BITOP NOT b a"];
        assert_eq!(bytes_of(&combined), 2000 - sent(&combined));
        let anew = ["SETRANGE a 999 x", "DEL a", "SETRANGE b 799 x"];
        assert_eq!(bytes_of(&anew), 1000 - sent(&["SETRANGE a 999 x"]), "what is there at the same time");
        let all = ["SETRANGE a 999 x", "FLUSHALL", "SETRANGE b 1999 x"];
        assert_eq!(bytes_of(&all), 2000 - sent(&[all[0], all[2]]));
        let wrong = ["SETRANGE a 99999999999 x", "SETRANGE a", "SETRANGE a -1 x", "SETRANGE a 5 "];
        assert_eq!(bytes_of(&wrong), 0, "they make nothing");
    }

    #[test]
    fn slack_is_a_hundredth_or_sixteen_mebibytes() {
        assert_eq!(slack_bytes(1 << 20), 16 << 20);
        assert_eq!(slack_bytes(100 << 30), 1 << 30);
    }
}
