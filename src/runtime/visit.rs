//! Whose engine a core holds: its own while it has work for it, and for one window of commands those of other cores
//! that are free.

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
        self.end_visits();
        self.windows = self.windows.wrapping_add(1);
        if self.windows.is_multiple_of(FAIR_WINDOWS) {
            self.shard.hand_over();
        } else {
            self.shard.let_go();
        }
        self.shard.take();
        for command in window {
            let (Place::One(shard), What::Row(row)) = (command.place, command.what) else { continue };
            if shard == self.core || !row.is_quick || self.visited[shard].is_some() {
                continue;
            }
            visit(&self.shard, &mut self.visited, shard, VISIT_SPINS);
        }
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
        if self.evicts {
            self.shared.budget.set_garbage(self.core, self.shard.keyspace.has_garbage());
        }
        if 1 < self.map.shards() || self.obstacles & obstacle::LOADING != 0 {
            let back_ms = self.now_ms + self.idle_ms();
            self.shard.leave(back_ms);
            self.shard.let_go();
        }
    }
}
