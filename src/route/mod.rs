//! From a key to the core that owns it, and from a command with many keys to the cores that share it. The only code
//! that counts shards.

pub mod gather;
pub mod locks;
pub mod parcel;
pub mod slot;
pub mod walk;

use crate::command::{Args, Command, Keys};
use slot::{SLOTS, slot_of};

/// Which shard owns which slot: contiguous ranges of (nearly) equal size, so that a cluster view is one range a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotMap {
    shards: u32,
}

impl SlotMap {
    /// A map for this many shards.
    pub fn new(shards: usize) -> SlotMap {
        assert!(0 < shards && shards <= SHARDS_MAX);
        SlotMap { shards: shards as u32 }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards as usize
    }

    /// The shard that owns a slot.
    pub fn shard_of_slot(&self, slot: u16) -> usize {
        (slot as u32 * self.shards / SLOTS as u32) as usize
    }

    /// The shard that owns a key. A server with one shard hashes nothing.
    #[inline]
    pub fn shard_of(&self, key: &[u8]) -> usize {
        if self.shards == 1 { 0 } else { self.shard_of_slot(slot_of(key)) }
    }

    /// The slots of a shard: first and last, both included.
    pub fn slots_of(&self, shard: usize) -> (u16, u16) {
        let first = |shard: u32| (shard * SLOTS as u32).div_ceil(self.shards);
        (first(shard as u32) as u16, (first(shard as u32 + 1) - 1) as u16)
    }
}

/// Most shards one server may have: a SCAN cursor gives the shard 10 bits.
pub const SHARDS_MAX: usize = 1024;

/// Where a command on keys has to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It names no keys.
    Anywhere,
    /// All its keys are on this shard.
    One(usize),
    /// Its keys are on several shards.
    Several,
}

/// Finds the place of a call. The arity was checked before.
#[inline]
pub fn place(map: SlotMap, command: &Command, args: &Args<'_>) -> Place {
    match command.keys {
        Keys::None => Place::Anywhere,
        Keys::Range { first: 1, last: 1, .. } => Place::One(map.shard_of(args[1])),
        _ if map.shards == 1 => Place::One(0),
        _ if command.derived.is_some_and(|derived| (derived.is_used)(args)) => Place::Several,
        _ => {
            let mut positions = Vec::new();
            if crate::command::key_positions(command, args, &mut positions).is_err() || positions.is_empty() {
                // The command's own code says what is wrong with the arguments.
                return Place::Anywhere;
            }
            let shard = map.shard_of(args[positions[0]]);
            if positions.iter().all(|&at| map.shard_of(args[at]) == shard) { Place::One(shard) } else { Place::Several }
        }
    }
}

/// The shard that a SCAN cursor points into.
pub fn cursor_shard(args: &Args<'_>, shards: usize) -> usize {
    let cursor = args.get(1).and_then(|arg| std::str::from_utf8(arg).ok()).and_then(|text| text.parse::<u64>().ok());
    cursor.map_or(0, |cursor| (cursor % shards as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_shard_and_ranges_meet() {
        for shards in [1, 2, 3, 4, 7, 12, 64, 1000, SHARDS_MAX] {
            let map = SlotMap::new(shards);
            let mut next = 0;
            for shard in 0..shards {
                let (first, last) = map.slots_of(shard);
                assert_eq!(first, next);
                assert!(first <= last);
                assert!((first..=last).all(|slot| map.shard_of_slot(slot) == shard));
                next = last + 1;
            }
            assert_eq!(next as usize, SLOTS);
        }
    }
}
