//! Whose engine a core holds: its own while it has work for it, and for one window of commands those of other cores
//! that are free.

use super::core::Core;
use super::read::{Planned, What};
use crate::mutant::Mutant;
use crate::route::Place;
use crate::shard::{Held, Shard};
use std::sync::{Mutex, MutexGuard};

/// How often a core looks whether another's engine is free before it sends a message instead: a few microseconds, about
/// what the message would cost.
const VISIT_SPINS: usize = 60;
/// Arguments of a command that a visitor runs: what is quick with few keys (`MGET`, `DEL`) is not with thousands.
pub(super) const VISIT_ARGUMENTS_MAX: usize = 64;

/// How often a core looks for each engine that it needs together with others, before it borrows instead: what borrowing
/// would cost at least.
const UNION_SPINS: usize = 400;

/// Takes hold of the engines of several shards, given in rising order, and of the own one. False: one is busy, or has
/// something lent, and only the own one is held.
pub(super) fn hold_several(
    core: usize,
    shards: &'static [Mutex<Shard>],
    own: &mut Held,
    visited: &mut [Option<MutexGuard<'static, Shard>>],
    wanted: &[usize],
) -> bool {
    // Of one that is visited nothing is lent: that was seen when it was taken hold of.
    let is_held = |shard: &usize| *shard == core || visited[*shard].is_some();
    if !(own.is_held() && wanted.iter().all(is_held)) {
        visited.iter_mut().for_each(|visited| *visited = None);
        own.let_go();
        if !take_several(core, shards, own, visited, wanted) {
            visited.iter_mut().for_each(|visited| *visited = None);
            own.take();
            return false;
        }
    }
    !wanted.contains(&core) || own.locks.is_free() || Mutant::LentKeysLookFree.is_on()
}

fn take_several(
    core: usize,
    shards: &'static [Mutex<Shard>],
    own: &mut Held,
    visited: &mut [Option<MutexGuard<'static, Shard>>],
    wanted: &[usize],
) -> bool {
    let (below, above) = wanted.split_at(wanted.partition_point(|&shard| shard < core));
    below.iter().all(|&shard| visit(shards, visited, shard, UNION_SPINS))
        && (0..UNION_SPINS).any(|_| own.try_take())
        && above.iter().filter(|&&shard| shard != core).all(|&shard| visit(shards, visited, shard, UNION_SPINS))
}

/// Takes hold of another core's engine, unless that is busy all the time or has something lent.
pub(super) fn visit(
    shards: &'static [Mutex<Shard>],
    visited: &mut [Option<MutexGuard<'static, Shard>>],
    shard: usize,
    spins: usize,
) -> bool {
    for _ in 0..spins {
        if let Ok(peer) = shards[shard].try_lock() {
            if peer.locks.is_free() || Mutant::LentKeysLookFree.is_on() {
                visited[shard] = Some(peer);
            }
            break;
        }
        std::hint::spin_loop();
    }
    visited[shard].is_some()
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
        self.shard.let_go();
        self.shard.take();
        for command in window {
            let (Place::One(shard), What::Row(row)) = (command.place, command.what) else { continue };
            if shard == self.core || !row.is_quick || self.visited[shard].is_some() {
                continue;
            }
            visit(self.shards, &mut self.visited, shard, VISIT_SPINS);
        }
    }

    /// Lets go of the engines of other cores: their owners must not wait for what else this core does.
    pub(super) fn end_visits(&mut self) {
        self.visited.fill_with(|| None);
    }

    /// Lets visitors in, between commands. A server with one shard never has any.
    pub(super) fn let_go(&mut self) {
        if !self.shard.is_held() {
            return;
        }
        self.serve_own();
        self.shard_due_ms = self.shard.next_due_ms();
        if self.evicts {
            self.shared.budget.set_garbage(self.core, self.shard.keyspace.has_garbage());
        }
        if 1 < self.map.shards() {
            let back_ms = self.now_ms + self.idle_ms();
            self.shard.leave(back_ms);
            self.shard.let_go();
        }
    }
}
