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
//!                                      └ none may go: -OOM
//! ```
//! There is one budget: [`crate::memory::used_bytes`] of the process, against `maxmemory`. No core refuses or evicts
//! while the sum has room, however uneven the cores are.
//!
//! How far the sum may pass the limit: by the leases ([`crate::memory::LEASES_BYTES_MAX`]), and by half of
//! [`slack_bytes`] while entries go more slowly than commands bring new ones; beyond that a command waits until enough
//! have gone, however long that takes. Where a limit was lowered, the sum is held where it was
//! ([`crate::shared::Budget`]'s ceiling) and goes down from there in slices, beside the commands.

use super::core::Core;
use crate::command::Flags;
use crate::command::lookup::Row;
use crate::config::MaxmemoryPolicy;
use crate::memory;
use crate::session::Session;
use crate::shard::held::visit;

/// Entries that go between two looks at the sum and at the clock: some ten microseconds.
const EVICT_KEYS: usize = 16;
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

/// For how long entries go in one pass where no command asks for room, and while a lowered limit is not reached, in
/// nanoseconds: a client waits for what is left of one such slice and for the next.
const SLICE_NANOSECONDS_MAX: u64 = 100_000;

/// For how long a core whose own shard has nothing to spare spins for the engine of one that has, in nanoseconds; …
const SPIN_NANOSECONDS_MAX: u64 = 1_000_000;
/// … and for how long it waits in all where the command would pass the slack too. Only then is a command refused
/// although something could go.
const WAIT_NANOSECONDS_MAX: u64 = 100_000_000;

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

/// Whether a command is refused when there is no room.
#[inline]
pub(super) fn needs_room(row: &'static Row) -> bool {
    row.command.flags.contains(Flags::DENYOOM)
}

/// The same for a client in a transaction: what is queued takes memory itself, and an EXEC needs what its calls need.
#[cold]
pub(super) fn transaction_needs_room(session: &Session, row: &'static Row) -> bool {
    use crate::command::lookup::find_by_index;
    use crate::command::{Joint, Run};
    if matches!(row.command.run, Run::Joint(Joint::Exec)) {
        let transaction = &session.transaction;
        return (0..transaction.len()).any(|at| needs_room(find_by_index(transaction.command(at) as usize)));
    }
    !row.command.is_immediate
}

impl Core {
    /// What counts against the limit, in bytes.
    fn counted_bytes(&self) -> u64 {
        memory::used_bytes().saturating_sub(self.shared.uncounted_bytes())
    }

    /// Whether there is room for a command with a request of so many bytes.
    #[inline]
    pub(super) fn has_room(&mut self, request_bytes: usize) -> bool {
        memory::is_within_lease(request_bytes) || self.make_room(request_bytes)
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

    /// Asks for the sum, takes a lease, lets entries go. True: there is room for so many bytes, or will be. The own
    /// engine is held.
    #[cold]
    #[inline(never)]
    pub(super) fn make_room(&mut self, more: usize) -> bool {
        self.is_short_of_room = false;
        let limit = self.config.maxmemory.bytes;
        if limit == 0 {
            memory::take_lease(u64::MAX);
            return true;
        }
        let (more, cores) = (more as u64, self.map.shards());
        let goal = limit.saturating_sub(more);
        let mut used = self.counted_bytes();
        if used <= goal {
            self.shared.budget.is_within(self.now_ms);
            memory::take_lease(memory::lease_bytes(limit, used, cores));
            return true;
        }
        memory::end_lease();
        if !self.evicts {
            if limit < used {
                self.shared.budget.is_exceeded(self.now_ms);
            }
            return used <= limit && used + more <= limit + slack_bytes(limit);
        }
        let batch = memory::lease_bytes(limit, 0, cores) / 4;
        let (enough, mut evicted) = ((used - goal + batch) as usize, 0);
        let started = self.clock.raw();
        let held_at = self.shared.budget.ceiling(limit);
        let is_held = limit < held_at;
        let slice = if more == 0 || is_held { SLICE_NANOSECONDS_MAX } else { u64::MAX };
        let nanoseconds_max = evict_nanoseconds_max(self.config.maxmemory_eviction_tenacity)
            .min(slice)
            .saturating_sub(self.evicting_nanoseconds);
        if is_held && nanoseconds_max == 0 && 0 < self.evicting_nanoseconds {
            // What this pass can do for a lowered limit has been done. So that the sum goes down whatever comes, twice
            // as much goes as this command brings, unless it is hardly above where it was.
            if held_at + TOLERANCE_BYTES < used + more {
                self.spare(2 * more as usize);
                used = self.counted_bytes();
                self.shared.budget.sink_to(used);
            }
            if used + more <= held_at + slack_bytes(limit) / 2 {
                self.is_short_of_room = true;
                return true;
            }
        }
        loop {
            let spared = self.spare((used - goal + batch) as usize);
            evicted += spared.unwrap_or(0);
            let is_progress = spared.is_some();
            // Another core may have what this one lacks, and be at work: it lets others in soon.
            let is_waiting = !is_progress && self.shared.budget.has_evictable(self.core);
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
            let ceiling = self.shared.budget.ceiling(limit) + slack_bytes(limit) / 2;
            let nanoseconds = self.clock.delta_as_nanos(started, self.clock.raw());
            if is_waiting && nanoseconds < SPIN_NANOSECONDS_MAX {
                std::hint::spin_loop();
                continue;
            }
            if !is_progress {
                if used + more <= ceiling {
                    self.evicting_nanoseconds += nanoseconds;
                    self.is_short_of_room = is_waiting && limit < used;
                    return is_waiting || used <= limit;
                }
                if is_waiting && nanoseconds < WAIT_NANOSECONDS_MAX {
                    // The other core may want this very CPU.
                    std::thread::yield_now();
                    continue;
                }
                return false;
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
        true
    }

    /// Lets some entries go that have so many bytes, or frees some of what has gone. How many bytes went;
    /// none: none may go.
    fn spare(&mut self, bytes: usize) -> Option<usize> {
        if self.shard.keyspace.has_garbage() {
            self.shard.keyspace.free_some(FREE_ALLOCATIONS);
            return Some(0);
        }
        let own = self.core;
        if let Some(shard) = self.shared.budget.with_garbage().filter(|&shard| shard != own)
            && let Some(evicted) = self.spare_of(shard, bytes)
        {
            return Some(evicted);
        }
        let draws = self.shard.draws_lots();
        let lot = self.shard.random.u64(..);
        let first = self.shared.budget.donor(own, draws.then_some(lot));
        let others = (0..self.map.shards()).filter(|&shard| shard != own && shard != first);
        let second = (first != own).then_some(own);
        [first].into_iter().chain(second).chain(others).find_map(|shard| self.spare_of(shard, bytes))
    }

    /// The same on one shard. None: none may go there, or its owner is at work.
    fn spare_of(&mut self, shard: usize, bytes: usize) -> Option<usize> {
        let now_ms = self.now_ms;
        let is_own = shard == self.core;
        let engine = if is_own {
            &mut *self.shard
        } else {
            if self.visited[shard].is_none() && !visit(&self.shard, &mut self.visited, shard, DONOR_SPINS) {
                return None;
            }
            self.visited[shard].as_mut().expect("visited just now")
        };
        let spared = if !is_own && engine.keyspace.has_garbage() {
            engine.keyspace.free_some(FREE_ALLOCATIONS);
            Some(0)
        } else {
            let evicted = engine.evict(now_ms, bytes, EVICT_KEYS);
            self.shared.budget.set_garbage(shard, false);
            self.shared.budget.note_donor(shard, engine.evictable_len(), evicted.rank);
            (0 < evicted.keys).then_some(evicted.bytes)
        };
        if is_own {
            self.serve_own();
        } else {
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
        if self.config.maxmemory.bytes != 0 && self.shard.try_take() {
            self.shared.budget.set_evictable(self.core, self.shard.evictable_len());
            let used = self.counted_bytes();
            self.shard.note_room(used);
        }
    }

    /// The limit or the policy has changed.
    pub(super) fn take_limit(&mut self, old_limit: u64) {
        memory::end_lease();
        let limit = self.config.maxmemory.bytes;
        self.evicts = limit != 0 && self.config.maxmemory_policy != MaxmemoryPolicy::Noeviction;
        if limit != 0 && (old_limit == 0 || limit < old_limit) {
            self.shared.budget.hold_at(self.counted_bytes());
        }
        self.shared.budget.forget_rank(self.core);
        self.tell_evictable();
        // What is in use for this very change is no reason for entries to go.
        self.is_short_of_room = self.evicts && limit + TOLERANCE_BYTES < self.counted_bytes();
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
    fn slack_is_a_hundredth_or_sixteen_mebibytes() {
        assert_eq!(slack_bytes(1 << 20), 16 << 20);
        assert_eq!(slack_bytes(100 << 30), 1 << 30);
    }
}
