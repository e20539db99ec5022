//! Whose engine a core holds: its own while it has work for it, and for one window of commands those of other cores
//! that are free.
//!
//! # Pipelines of commands on several shards
//!
//! Where every core has pipelines of `MGET` over all shards, every core wants every engine all the time. What is lost
//! then is not lost by the commands but between them: an engine that is let go after each window and taken again at
//! once wakes who waits for it in vain, and who has waited too long borrows, which costs as much as ten commands, and
//! whose client's next commands are read again each time. So
//!
//! ```text
//!   core 0   [0,1: window, window, …, 200 µs] ─▶ hands over ·········· waits ············ [0,1: …
//!   core 1   ·············· waits ··············· [0,1: window, window, …, 200 µs] ─▶ hands over ·····
//! ```
//! a core keeps the engines from window to window while such commands follow one another, for a fraction of a
//! millisecond, and then hands them to who waits: one exchange for hundreds of commands. One who waits in vain
//! nevertheless (the holder was put aside by the kernel, or runs something slow) reads its commands again in the next
//! pass, and borrows only if that was so several times. The order of a client's commands stays: what it sent after one
//! that is put off is put off with it.
//!
//! Going further would be to send a run of such commands to one core that holds all, in one parcel, instead of waiting
//! for the engines. It must take the run as a whole or refuse it as a whole (a key is lent), or the client's commands
//! change places; and what the log and slow commands ask for has to travel with the replies.

use super::core::Core;
use super::read::{Planned, What};
use crate::route::Place;
use crate::shard::held::{self, visit};
use crate::shard::{Held, Shard};
use crate::shared::persistence::obstacle;
use crate::sync::EngineGuard;
use std::time::Duration;

/// How often a core looks whether another's engine is free before it sends a message instead: a few microseconds, about
/// what the message would cost.
const VISIT_SPINS: usize = 60;
/// Arguments of a command that a visitor runs: what is quick with few keys (`MGET`, `DEL`) is not with thousands.
pub(super) const VISIT_ARGUMENTS_MAX: usize = 64;

/// For how long a core waits for each engine that it needs together with others, before it borrows instead. One who
/// holds it hands it over after [`FAIR_WINDOWS`]; only a slow command makes others wait longer.
const WAIT_MAX: Duration = Duration::from_micros(500);

/// Windows of commands after which a core hands its engine to one who waits for it. In each of them it may be taken by
/// one who happens to look.
const FAIR_WINDOWS: u32 = 8;

/// For how long a core keeps engines of others from window to window while commands on several shards follow one
/// another; then it hands them over. Half of [`WAIT_MAX`], and the last window comes on top: who waits has its turn.
/// Without it cores that all run such commands woke one another after every window, in vain more often than not.
const KEPT_NANOSECONDS_MAX: u64 = 200_000;

/// How often a client's command on several shards that finds an engine busy waits for the next pass, before the core
/// borrows for it. Others of the core are served in between.
pub(super) const DEFERRALS_MAX: u8 = 4;

/// Engines of other cores that a core holds, by core.
pub(super) type Visited = held::Visited<Shard>;

/// See [`held::hold_several`].
pub(super) fn hold_several(
    own: &mut Held,
    visited: &mut Visited,
    wanted: &[usize],
    is_clear: impl Fn(usize, &Shard) -> bool,
) -> bool {
    held::hold_several(own, visited, wanted, WAIT_MAX, is_clear)
}

/// See [`Core::end_visits_to_lenders`].
pub(super) fn end_visit_to_lender(visited: &mut Option<EngineGuard<'static, Shard>>) {
    if visited.as_ref().is_some_and(|engine| !engine.locks.is_free()) {
        *visited = None;
    }
}

impl Core {
    /// Takes hold of the engines that a window of commands needs: the own one, and those of other cores unless their
    /// owners are at work longer than it takes to send a message. Only ever tries for those, so that nobody waits for
    /// one who waits.
    pub(super) fn hold(&mut self, window: &[Planned]) {
        if self.map.shards() == 1 {
            return self.shard.take();
        }
        let now = self.clock.raw();
        let visits = self.visited.iter().any(Option::is_some);
        let is_kept = visits
            && window.iter().any(|command| command.place == Place::Several)
            && self.clock.delta_as_nanos(self.held_since, now) < KEPT_NANOSECONDS_MAX;
        if !is_kept {
            self.windows = self.windows.wrapping_add(1);
            if std::mem::take(&mut self.keeps_visits) || self.windows.is_multiple_of(FAIR_WINDOWS) {
                self.hand_over_engines();
            } else {
                self.end_visits();
                self.shard.let_go();
            }
            self.held_since = now;
        }
        self.keeps_visits = is_kept;
        self.shard.take();
        for command in window {
            let (Place::One(shard), What::Row(row)) = (command.place, command.what) else { continue };
            if shard == self.core || !row.is_quick || self.visited[shard].is_some() {
                continue;
            }
            visit(&self.shard, &mut self.visited, shard, VISIT_SPINS);
        }
    }

    /// Lets go of all engines, the highest first, so that who waits for the lowest one finds the others free; who has
    /// waited longest has them next.
    fn hand_over_engines(&mut self) {
        let (below, above) = self.visited.split_at_mut(self.core);
        above.iter_mut().rev().filter_map(Option::take).for_each(EngineGuard::unlock_fair);
        self.shard.hand_over();
        below.iter_mut().rev().filter_map(Option::take).for_each(EngineGuard::unlock_fair);
    }

    /// Lets go of those of which something is lent: a command of one key does not ask.
    pub(super) fn end_visits_to_lenders(&mut self) {
        self.visited.iter_mut().for_each(end_visit_to_lender);
    }

    /// Lets go of the engines of other cores: their owners must not wait for what else this core does.
    pub(super) fn end_visits(&mut self) {
        self.visited.fill_with(|| None);
    }

    /// Lets visitors in, between commands. A server with one shard has none, but for the threads that load keys.
    pub(super) fn let_go(&mut self) {
        if !self.shard.is_held() {
            return;
        }
        self.serve_own();
        self.shard_due_ms = self.shard.next_due_ms();
        if self.has_limit() {
            self.shared.budget.set_garbage(self.core, self.shard.keyspace.has_garbage());
        }
        if 1 < self.map.shards() || self.obstacles & obstacle::LOADING != 0 {
            let back_ms = self.now_ms + self.idle_ms();
            self.shard.leave(back_ms);
            self.shard.let_go();
        }
    }
}
