//! What all cores counted of every stage since the start, put together of their seconds.

use super::board::Second;
use crate::command::lookup::{CommandId, find_by_id};
use crate::stats::stages::{Lane, Stage};
use std::collections::BTreeMap;

/// Counts by bucket of two digits: see [`crate::stats::histogram::coarse_bounds`].
pub type Counts = BTreeMap<u16, u64>;

/// See the module's page.
#[derive(Debug, Default)]
pub struct Totals {
    counts: BTreeMap<(CommandId, Lane), Counts>,
    /// How often counting has begun anew, as far as was heard of.
    resets: u64,
}

impl Totals {
    /// Adds a second of a core. After `CONFIG RESETSTAT` everything begins anew, once: with the first core that tells
    /// of it. Others have been reset too, and tell of it when they have counted something again, be it hours later.
    pub fn add(&mut self, second: &Second) {
        if second.resets < self.resets {
            return; // Counted before.
        }
        if self.resets < second.resets {
            self.resets = second.resets;
            self.counts.clear();
        }
        for counted in &second.slice.counted {
            let counts = self.counts.entry((counted.command, counted.lane)).or_default();
            for (place, count) in counted.buckets.iter() {
                *counts.entry(place).or_default() += u64::from(count);
            }
        }
    }

    /// Adds so many events of a lane.
    #[cfg(test)]
    pub fn add_event(&mut self, command: CommandId, lane: Lane, nanoseconds: u64, count: u64) {
        *self
            .counts
            .entry((command, lane))
            .or_default()
            .entry(crate::stats::histogram::coarse_place(nanoseconds))
            .or_default() += count;
    }

    /// The sums over all commands, by lane.
    pub fn by_lane(&self) -> BTreeMap<Lane, Counts> {
        let mut sums: BTreeMap<Lane, Counts> = BTreeMap::new();
        for ((_, lane), counts) in &self.counts {
            let sum = sums.entry(*lane).or_default();
            counts.iter().for_each(|(place, count)| *sum.entry(*place).or_default() += count);
        }
        sums
    }

    /// How long calls ran, wherever they did, by the command's name.
    pub fn executions(&self) -> Vec<(String, Counts)> {
        let mut sums: BTreeMap<CommandId, Counts> = BTreeMap::new();
        for ((command, _), counts) in self.counts.iter().filter(|((_, lane), _)| lane.stage() == Stage::Execute) {
            let sum = sums.entry(*command).or_default();
            counts.iter().for_each(|(place, count)| *sum.entry(*place).or_default() += count);
        }
        sums.into_iter().map(|(command, counts)| (find_by_id(command).full_name(), counts)).collect()
    }

    /// The commands with the most calls, by name, with their lanes.
    pub fn busiest(&self, commands_max: usize) -> Vec<(String, Lane, &Counts)> {
        let mut calls: BTreeMap<CommandId, u64> = BTreeMap::new();
        for ((command, _), counts) in self.counts.iter().filter(|((_, lane), _)| lane.stage() == Stage::Execute) {
            *calls.entry(*command).or_default() += counts.values().sum::<u64>();
        }
        let mut order: Vec<(u64, CommandId)> = calls.into_iter().map(|(command, calls)| (calls, command)).collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        order.truncate(commands_max);
        let is_busy = |command: CommandId| order.iter().any(|(_, busy)| *busy == command);
        let lanes = self.counts.iter().filter(|((command, _), _)| is_busy(*command));
        lanes.map(|((command, lane), counts)| (find_by_id(*command).full_name(), *lane, counts)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup::lookup;
    use crate::stats::stages::{Counted, Slice, Way};
    use std::sync::Arc;

    const EXECUTE: Lane = Lane::of(Way::Local, Stage::Execute);

    fn id(name: &str) -> CommandId {
        lookup(name.as_bytes()).expect("a row").id
    }

    fn second(core: usize, resets: u64, name: &str, count: u32) -> Second {
        let counted = Counted { command: id(name), lane: EXECUTE, buckets: [(700, count)].into_iter().collect() };
        Second { unix_s: 0, core, resets, slice: Arc::new(Slice { second: 7, counted: vec![counted] }) }
    }

    #[test]
    fn seconds_add_up_until_they_are_reset() {
        let mut totals = Totals::default();
        totals.add(&second(0, 0, "get", 5));
        totals.add(&second(1, 0, "get", 2));
        totals.add(&second(1, 0, "set", 9));
        assert_eq!(totals.by_lane(), BTreeMap::from([(EXECUTE, Counts::from([(700, 16)]))]));
        let busiest = totals.busiest(1);
        assert_eq!((busiest.len(), busiest[0].0.as_str(), busiest[0].2), (1, "set", &Counts::from([(700, 9)])));
        assert_eq!(totals.busiest(9).len(), 2);
        totals.add(&second(1, 1, "get", 1));
        assert_eq!(totals.by_lane()[&EXECUTE], Counts::from([(700, 1)]));
        totals.add(&second(0, 0, "get", 4));
        assert_eq!(totals.by_lane()[&EXECUTE], Counts::from([(700, 1)]), "what came before the reset");
        totals.add(&second(0, 1, "get", 1));
        assert_eq!(totals.by_lane()[&EXECUTE], Counts::from([(700, 2)]), "another core is heard of later");
        totals.add(&second(1, 3, "get", 1));
        assert_eq!(totals.by_lane()[&EXECUTE], Counts::from([(700, 1)]), "it was reset twice more");
    }
}
