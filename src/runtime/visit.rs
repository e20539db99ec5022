//! Whose engine a core holds: its own while it has work for it, and for one window of commands those of other cores
//! that are free.

use super::core::Core;
use super::read::{Planned, What};
use crate::route::Place;

/// How often a core looks whether another's engine is free before it sends a message instead: a few microseconds, about
/// what the message would cost.
const VISIT_SPINS: usize = 60;
/// Arguments of a command that a visitor runs: what is quick with few keys (`MGET`, `DEL`) is not with thousands.
pub(super) const VISIT_ARGUMENTS_MAX: usize = 64;

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
            for _ in 0..VISIT_SPINS {
                if let Ok(peer) = self.shards[shard].try_lock() {
                    if peer.locks.is_free() {
                        self.visited[shard] = Some(peer);
                    }
                    break;
                }
                std::hint::spin_loop();
            }
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
        self.shard_due_ms = self.shard.next_due_ms();
        if 1 < self.map.shards() {
            let back_ms = self.due_ms();
            self.shard.leave(back_ms);
            self.shard.let_go();
        }
    }
}
