//! A shard and the log of writes: what a command did goes into the shard's lane before anybody else may look at its
//! keys, and a reply is told how far that lane has to be synced before it may leave.

use super::Shard;
use crate::aof::log::{Global, Log, Phase, Record};
use crate::command::lookup::Row;
use crate::command::{Args, Flags, Keys, journal, key_positions};
use crate::keyspace::{Keyspace, Records};
use crate::mutant::Mutant;
use crate::route::SlotMap;
use smallvec::SmallVec;
use std::collections::BTreeMap;

impl Shard {
    /// A command has run here: what it changed goes into the log, and [`Shard::told`] says what its reply waits for.
    /// `old_keys`: see [`Shard::keys_before`].
    #[inline(never)]
    pub(super) fn log_call(
        &mut self,
        row: &'static Row,
        db: usize,
        args: &Args<'_>,
        dirty: u64,
        old_keys: Option<Vec<(usize, Vec<u8>)>>,
        succeeds: bool,
    ) {
        if let Some(old_keys) = old_keys {
            if self.keyspace.dirty != dirty {
                self.record_all(old_keys);
            }
        } else {
            journal::record_if_changed(&mut self.keyspace, row, db, args, self.shards, dirty, succeeds);
        }
        self.told = if self.keyspace.records.is_gathering {
            0
        } else if !self.keyspace.records.is_empty() {
            self.commit(true)
        } else if self.log.holds_replies() {
            self.position_of(row, args)
        } else {
            0
        };
    }

    /// What is known of all keys before a command on all keys runs on this shard alone, though there are others: the
    /// log has no word for that, and says of every key how it is afterwards. `None`: it is another command.
    pub(super) fn keys_before(&self, row: &'static Row) -> Option<Vec<(usize, Vec<u8>)>> {
        let is_on_all = matches!(row.command.keys, Keys::None) && row.command.flags.contains(Flags::WRITE);
        (is_on_all && 1 < self.shards).then(|| all_keys(&self.keyspace))
    }

    #[cold]
    fn record_all(&mut self, mut keys: Vec<(usize, Vec<u8>)>) {
        keys.extend(all_keys(&self.keyspace));
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().for_each(|(db, key)| journal::write_state(&mut self.keyspace, db, &key));
    }

    /// What went by itself goes into the log.
    #[inline]
    pub fn log_loose(&mut self) {
        if !self.keyspace.records.is_empty() {
            self.commit(false);
        }
    }

    /// Puts all records into the shard's lane; `is_whole`: none without the rest. Returns the lane's position.
    fn commit(&mut self, is_whole: bool) -> u64 {
        let Shard { keyspace, log, index, .. } = self;
        let hashed = |key: &&[u8]| keyspace.hash(key);
        let records: SmallVec<[Record<'_>; 4]> = keyspace
            .records
            .iter()
            .map(|record| Record {
                db: record.db,
                bytes: record.bytes,
                hashes: record.keys.iter().map(hashed).collect(),
            })
            .collect();
        let position = log.append(*index, &records, is_whole);
        drop(records);
        keyspace.records.clear();
        position
    }

    /// Up to where the lane has to be synced before a reply to this command may leave.
    pub fn position_of(&self, row: &'static Row, args: &Args<'_>) -> u64 {
        if matches!(row.command.keys, Keys::None) {
            return self.log.position_of_all(self.index);
        }
        let map = SlotMap::new(self.shards);
        let mut positions = Vec::new();
        if key_positions(row.command, args, &mut positions).is_err() {
            return 0;
        }
        let own = positions.into_iter().map(|at| args[at]).filter(|key| map.shard_of(key) == self.index);
        self.log.position_of(self.index, own.map(|key| self.keyspace.hash(key)))
    }
}

fn all_keys(keyspace: &Keyspace) -> Vec<(usize, Vec<u8>)> {
    let mut keys = Vec::new();
    for db in 0..keyspace.databases() {
        keyspace.for_each(db, |entry| keys.push((db, entry.key().to_vec())));
    }
    keys
}

/// Puts what was recorded in several keyspaces at one moment into the lanes of the keys' shards; what it did is there
/// as a whole after a crash, or not at all. `hash`: that of a key. Returns the shards concerned.
pub fn commit_shared(log: &Log, recorded: &mut [&mut Records], hash: impl Fn(&[u8]) -> u64) -> Vec<usize> {
    let map = SlotMap::new(log.lanes());
    // One that found nothing to change anywhere is written nowhere: it would take a file of each lane. Each keyspace
    // has the same commands on all keys, in the same order.
    let globals_of = |records: &Records| {
        records.iter().filter(|record| record.keys.is_empty()).map(|record| record.is_idle).collect::<Vec<_>>()
    };
    let mut idle: Vec<bool> = Vec::new();
    for records in recorded.iter() {
        let own = globals_of(records);
        if idle.len() < own.len() {
            idle.resize(own.len(), true);
        }
        idle.iter_mut().zip(own).for_each(|(idle, own)| *idle &= own);
    }
    let mut phases: Vec<BTreeMap<usize, Vec<Record<'_>>>> = vec![BTreeMap::new()];
    let mut globals: Vec<Global<'_>> = Vec::new();
    for records in recorded.iter() {
        // A command on all keys is among the records of each of them, once.
        let (mut phase, mut global) = (0, 0);
        for record in records.iter() {
            if record.keys.is_empty() {
                global += 1;
                if idle[global - 1] {
                    continue;
                }
            }
            let hashes = record.keys.iter().map(|key| hash(key)).collect();
            let told = Record { db: record.db, bytes: record.bytes, hashes };
            match record.keys.first() {
                Some(key) => phases[phase].entry(map.shard_of(key)).or_default().push(told),
                None if map.shards() == 1 => phases[phase].entry(0).or_default().push(told),
                None => {
                    if globals.len() == phase {
                        globals.push(Global { record: told, is_flush_all: record.is_flush_all });
                        phases.push(BTreeMap::new());
                    }
                    phase += 1;
                }
            }
        }
    }
    let mut globals = globals.into_iter();
    let phases: Vec<Phase<'_>> =
        phases.into_iter().map(|parts| Phase { parts: parts.into_iter().collect(), global: globals.next() }).collect();
    let is_nothing = phases.iter().all(|phase| phase.parts.is_empty() && phase.global.is_none());
    let mut touched = Vec::new();
    if Mutant::LogsInHalves.is_on() && phases.iter().all(|phase| phase.global.is_none()) {
        for (lane, records) in phases.iter().flat_map(|phase| &phase.parts) {
            log.append(*lane, records, true);
            touched.push(*lane);
        }
    } else if !is_nothing {
        log.append_shared(&phases, &mut touched);
    }
    drop(phases);
    recorded.iter_mut().for_each(|records| records.clear());
    touched
}
