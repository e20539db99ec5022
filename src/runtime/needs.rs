//! What commands and transactions need, of which shards: all of it is held before the first step. Not here: holding it
//! (`joint`, `lend`).

use super::aof_share::Told;
use crate::command::lookup::Row;
use crate::command::{Args, Flags, Joint, Keys, Run, Spread, key_positions};
use crate::route::SlotMap;
use crate::route::locks::Need;
use crate::session::Watched;
use crate::shard::{Request, Shard};
use crate::shared::Links;
use crate::sync::Flag;
use smallvec::SmallVec;

/// Numbers of shards, rising.
pub(super) type Shards = SmallVec<[usize; 8]>;

/// What is needed, of which shards.
pub(super) struct Needs {
    map: SlotMap,
    is_everything: bool,
    /// With their shards, in any order and perhaps twice: most needs are met at once, and nobody asks for an order.
    pub(super) keys: Vec<(usize, Vec<u8>)>,
    watched: Vec<(usize, Watched)>,
}

impl Needs {
    pub(super) fn new(map: SlotMap) -> Needs {
        Needs { map, is_everything: false, keys: Vec::new(), watched: Vec::new() }
    }

    /// What one call needs.
    pub(super) fn of_call(map: SlotMap, row: &'static Row, args: &Args<'_>) -> Needs {
        let mut needs = Needs::new(map);
        needs.add_call(row, args);
        needs
    }

    /// What a script needs that names these keys, or everything.
    pub(super) fn of_keys<'k>(map: SlotMap, keys: impl Iterator<Item = &'k [u8]>, is_everything: bool) -> Needs {
        let mut needs = Needs { is_everything, ..Needs::new(map) };
        keys.for_each(|key| needs.add(key));
        needs
    }

    pub(super) fn add(&mut self, key: &[u8]) {
        self.keys.push((self.map.shard_of(key), key.to_vec()));
    }

    pub(super) fn add_call(&mut self, row: &'static Row, args: &Args<'_>) {
        if matches!(row.command.run, Run::Everywhere { .. }) {
            self.is_everything = true; // What the transaction has changed is part of the answer.
            return;
        }
        if !matches!(row.command.run, Run::Keyspace(_) | Run::Blocking(_) | Run::Joint(_)) {
            return;
        }
        if let Run::Joint(Joint::Script(what)) = row.command.run
            && !(what.runs() && 1 < self.map.shards())
        {
            self.is_everything = true;
            return;
        }
        if matches!(row.command.keys, Keys::None) {
            self.is_everything |= !matches!(row.command.spread, Spread::Owner);
            return;
        }
        self.is_everything |= row.command.derived.is_some_and(|derived| (derived.is_used)(args));
        let mut positions = Vec::new();
        // If the keys cannot be found, the command's own code says what is wrong, and touches none.
        if key_positions(row.command, args, &mut positions).is_ok() {
            positions.into_iter().for_each(|at| self.add(args[at]));
        }
    }

    /// From now on everything is needed.
    pub(super) fn widen(&mut self) {
        self.is_everything = true;
    }

    /// Whether it is.
    pub(super) fn is_everything(&self) -> bool {
        self.is_everything
    }

    /// What clients who wait for these keys would fill.
    pub(super) fn add_linked(&mut self, links: &Links) {
        if !self.is_everything {
            let linked = links.reached_from(self.keys.iter().map(|(_, key)| key.as_slice()));
            linked.iter().for_each(|key| self.add(key));
        }
    }

    pub(super) fn add_watched(&mut self, watched: &[Watched]) {
        for key in watched {
            self.add(&key.key);
            self.watched.push((self.map.shard_of(&key.key), key.clone()));
        }
    }

    /// Whether nothing of it is away from a shard, or waited for there, nor has to be recorded by a snapshot before.
    pub(super) fn is_clear(&self, shard: usize, engine: &Shard) -> bool {
        let keys = || self.keys.iter().filter(|&&(owner, _)| owner == shard).map(|(_, key)| key.as_slice());
        let is_free = engine.locks.is_free();
        (is_free || !self.is_everything && !engine.locks.conflicts_with_keys(keys()))
            && !(engine.keyspace.is_walked() && keys().any(|key| engine.has_to_record(key)))
    }

    /// What a reply about it tells of.
    pub(super) fn told(&self) -> Told {
        if self.is_everything { Told::All } else { Told::Keys(self.keys.iter().map(|(_, key)| key.clone()).collect()) }
    }

    pub(super) fn shards(&self) -> Shards {
        if self.is_everything {
            (0..self.map.shards()).collect()
        } else {
            rising(self.keys.iter().map(|&(shard, _)| shard))
        }
    }

    /// What to ask of each shard.
    pub(super) fn into_requests(mut self, watches_in: Option<(usize, Flag)>) -> Vec<(usize, Request)> {
        let shards = self.shards();
        self.keys.sort_unstable();
        self.keys.dedup();
        let (mut keys, mut watched) = (self.keys.into_iter().peekable(), self.watched);
        let mut request = |shard: usize| {
            let mut own = Vec::new();
            while let Some((_, key)) = keys.next_if(|&(owner, _)| owner == shard) {
                own.push(key);
            }
            let need = if self.is_everything { Need::Everything } else { Need::Keys(own) };
            let watched = watched.extract_if(.., |(owner, _)| *owner == shard).map(|(_, watched)| watched).collect();
            (shard, Request { watched, watches_in: watches_in.clone(), ..Request::new(need) })
        };
        shards.into_iter().map(&mut request).collect()
    }
}

/// The keys that clients who wait for those of a call would fill.
pub(super) fn linked_keys(links: &Links, row: &'static Row, args: &Args<'_>) -> Vec<Vec<u8>> {
    let mut positions = Vec::new();
    if !links.is_any()
        || !row.flags.contains(Flags::WRITE)
        || matches!(row.command.keys, Keys::None)
        || key_positions(row.command, args, &mut positions).is_err()
    {
        return Vec::new();
    }
    links.reached_from(positions.into_iter().map(|at| args[at]))
}

/// Shards in rising order, each once.
pub(super) fn rising(shards: impl Iterator<Item = usize>) -> Shards {
    let mut shards: Shards = shards.collect();
    shards.sort_unstable();
    shards.dedup();
    shards
}

/// The shards that a call with keys on several of them, or on all, needs; none if its keys cannot be found.
pub(super) fn shards_of(map: SlotMap, row: &'static Row, args: &Args<'_>) -> Shards {
    if matches!(row.command.keys, Keys::None) {
        return (0..map.shards()).collect();
    }
    let mut positions = Vec::new();
    if key_positions(row.command, args, &mut positions).is_err() {
        return Shards::new(); // The command's own code says what is wrong.
    }
    rising(positions.into_iter().map(|at| map.shard_of(args[at])))
}
