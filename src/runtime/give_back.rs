//! Gives memory back to the system that the allocator holds and nobody uses. One thread, which steps back behind all
//! others.
//!
//! ```text
//! every 0.1 s: what the process has in memory, less what is in use: the waste
//!   it has grown, or 1 to 10 s have gone by ──▶ every core looks through its heap, in slices between passes
//!                                           ──▶ 0.2 s later free pages go back ([`crate::memory::pages::purge`])
//!                                           ──▶ what is left is free blocks between used ones
//!   it is much                              ──▶ cores give back what lies in large ones of them too, in slices, if
//!                                               they stay free ([`crate::memory::pages::thin_some`])
//! ```
//! Free pages stay for a moment, since a server that frees much mostly needs as much again, and the kernel clears each
//! page that is taken again. Waste that was left the last time is no reason to look again soon.
//!
//! Where the limit is a share of the machine's memory (`maxmemory 80%`), it is looked more often as it comes near:
//! beyond all of its memory the kernel ends the process. Small blocks that lie between used ones (values of one size
//! after those of another) cannot be given back, and do not count against the limit: evicting for them took half of a
//! cache away before its pages were empty.

use crate::config::{Config, MaxmemoryPolicy, MemoryLimit};
use crate::memory;
use crate::memory::pages;
use crate::shared::Shared;
use crate::sys::process;
use std::sync::Arc;
use std::time::Duration;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);
/// Looks from one purge to the next: where there is nothing to win, at most, …
const LOOKS_CALM: u32 = 100;
/// … where the last one brought something, waste has grown, or the limit, which is a share, is near, …
const LOOKS_GROWN: u32 = 10;
/// … and where it has grown there, or the limit is passed.
const LOOKS_SHORT: u32 = 1;
/// Looks from the cores' being asked to the purge.
const LOOKS_COLLECTING: u32 = 2;
/// Waste has grown if it is more than this part of what is used, or, where the limit is near, of the limit …
const GROWN_PART: u64 = 16;
const GROWN_PART_SHORT: u64 = 64;
/// … and than so many bytes, above what the last purge left.
const GROWN_BYTES_MIN: u64 = 4 << 20;
/// Where waste is more than this part of what is used, and than so many bytes, what lies in free blocks goes back too.
const THIN_PART: u64 = 8;
const THIN_BYTES_MIN: u64 = 8 << 20;
/// The limit is near from the last of so many parts on.
const SHORT_PART: u64 = 8;
/// What the process has beside what is used, as a part of a limit that is a share: it counts as near from there.
const BESIDE_PART: u64 = 8;

/// What is to be done at a look.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// Free blocks too, if so.
    Collect {
        thins: bool,
    },
    Purge,
}

/// When memory is given back.
struct Schedule {
    /// Looks since the last purge.
    looks: u32,
    /// Cores have been asked; so many looks to the purge.
    purge_in: Option<u32>,
    /// Waste that the last purge left, and that is still there.
    left_bytes: u64,
    /// Waste before the purge.
    waste_bytes: u64,
    /// Looks to the next purge if nothing happens: twice as many each time that there is nothing to win.
    looks_calm: u32,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule { looks: 0, purge_in: None, left_bytes: 0, waste_bytes: 0, looks_calm: LOOKS_CALM }
    }
}

impl Schedule {
    /// What to do now that so many bytes are in use and so many in memory; `limit`: what the latter may come to.
    fn look(&mut self, used: u64, resident: u64, limit: Option<u64>) -> Step {
        let waste = resident.saturating_sub(used);
        self.left_bytes = self.left_bytes.min(waste);
        self.waste_bytes = waste;
        self.looks = self.looks.saturating_add(1);
        if let Some(looks) = self.purge_in {
            self.purge_in = (1 < looks).then(|| looks - 1);
            return if self.purge_in.is_some() { Step::Nothing } else { Step::Purge };
        }
        let near = limit.filter(|limit| limit - limit / SHORT_PART < resident);
        let growth = near.map_or(used / GROWN_PART, |limit| limit / GROWN_PART_SHORT).max(GROWN_BYTES_MIN);
        let has_grown = self.left_bytes + growth < waste;
        // Waste that stays as it is may be other waste: entries go, and their pages are empty in the end.
        let looks = match near {
            Some(limit) if has_grown || limit < resident => LOOKS_SHORT,
            None if !has_grown => self.looks_calm,
            _ => LOOKS_GROWN,
        };
        if self.looks < looks {
            return Step::Nothing;
        }
        self.purge_in = Some(LOOKS_COLLECTING);
        Step::Collect { thins: (used / THIN_PART).max(THIN_BYTES_MIN) < waste }
    }

    /// What could be given back has been, and this is left; so many bytes in free blocks may go the next time.
    fn purged(&mut self, used: u64, resident: u64, marked: u64) {
        self.looks = 0;
        self.left_bytes = resident.saturating_sub(used);
        // What is freed slice by slice, and collected so, comes bit by bit too.
        let is_won = GROWN_BYTES_MIN <= marked || self.left_bytes + GROWN_BYTES_MIN <= self.waste_bytes;
        self.looks_calm = if is_won { LOOKS_GROWN } else { (self.looks_calm * 2).min(LOOKS_CALM) };
    }
}

/// The limit, if it is a share of the machine's memory and entries go at it: then it matters how soon they leave room.
fn share(config: &Config) -> Option<u64> {
    let evicts = config.maxmemory_policy != MaxmemoryPolicy::Noeviction;
    let is_share = matches!(config.maxmemory.limit, MemoryLimit::Percent(_));
    (evicts && is_share).then_some(config.maxmemory.bytes)
}

/// Starts the thread. It ends with the process.
pub(super) fn watch(shared: &Arc<Shared>) {
    let shared = shared.clone();
    let started = std::thread::Builder::new().name("give-back".into()).spawn(move || {
        process::step_back();
        pages::keep();
        let mut schedule = Schedule::default();
        loop {
            std::thread::sleep(LOOK);
            look(&shared, &mut schedule);
        }
    });
    if let Err(error) = started {
        tracing::warn!("cannot start a thread that gives memory back: {error}");
    }
}

fn look(shared: &Shared, schedule: &mut Schedule) {
    let sums = || process::anonymous_bytes().map(|resident| (memory::used_bytes(), resident));
    let Ok((used, resident)) = sums() else { return };
    let limit = share(&shared.config());
    match schedule.look(used, resident, limit.map(|limit| limit + limit / BESIDE_PART)) {
        Step::Nothing => {}
        Step::Collect { thins } => shared.budget.ask_to_collect(thins),
        Step::Purge => {
            pages::purge();
            let Ok((used, resident)) = sums() else { return };
            schedule.purged(used, resident, shared.budget.take_marked());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const COLLECT: Step = Step::Collect { thins: false };
    /// It is much.
    const THIN: Step = Step::Collect { thins: true };

    /// Looks until something is to be done: how many it takes, and what is done.
    fn next(schedule: &mut Schedule, used: u64, resident: u64, limit: Option<u64>) -> (u32, Step) {
        (1..)
            .map(|looks| (looks, schedule.look(used, resident, limit)))
            .find(|(_, step)| *step != Step::Nothing)
            .unwrap()
    }

    #[test]
    fn memory_goes_back_soon_where_there_is_much_and_some_time_elsewhere() {
        let mut schedule = Schedule::default();
        assert_eq!(next(&mut schedule, 100 * MIB, 104 * MIB, None), (LOOKS_CALM, COLLECT));
        assert_eq!(next(&mut schedule, 100 * MIB, 104 * MIB, None), (LOOKS_COLLECTING, Step::Purge));
        schedule.purged(100 * MIB, 104 * MIB, 0);
        assert_eq!(next(&mut schedule, 100 * MIB, 300 * MIB, None), (LOOKS_GROWN, THIN));
        assert_eq!(next(&mut schedule, 100 * MIB, 300 * MIB, None), (LOOKS_COLLECTING, Step::Purge));
        // Where something was won there may be more; what could not be given back is tried ever more seldom, …
        schedule.purged(100 * MIB, 200 * MIB, 0);
        for looks in [1, 2, 4, 8].map(|times| LOOKS_GROWN * times).into_iter().chain([LOOKS_CALM; 2]) {
            assert_eq!(next(&mut schedule, 100 * MIB, 203 * MIB, None), (looks, THIN));
            assert_eq!(next(&mut schedule, 100 * MIB, 203 * MIB, None), (LOOKS_COLLECTING, Step::Purge));
            schedule.purged(100 * MIB, 203 * MIB, 0);
        }
        // … but soon where blocks have been seen that may be free still, …
        schedule.purged(100 * MIB, 203 * MIB, 5 * MIB);
        assert_eq!(next(&mut schedule, 100 * MIB, 203 * MIB, None), (LOOKS_GROWN, THIN));
        assert_eq!(next(&mut schedule, 100 * MIB, 203 * MIB, None), (LOOKS_COLLECTING, Step::Purge));
        schedule.purged(100 * MIB, 203 * MIB, 3 * MIB);
        assert_eq!(next(&mut schedule, 100 * MIB, 203 * MIB, None), (2 * LOOKS_GROWN, THIN));
        assert_eq!(next(&mut schedule, 100 * MIB, 203 * MIB, None), (LOOKS_COLLECTING, Step::Purge));
        schedule.purged(100 * MIB, 203 * MIB, 0);
        // … and what comes after it has gone down.
        assert_eq!(schedule.look(180 * MIB, 203 * MIB, None), Step::Nothing);
        assert_eq!(next(&mut schedule, 100 * MIB, 203 * MIB, None), (LOOKS_GROWN - 1, THIN));
    }

    #[test]
    fn near_a_share_memory_goes_back_at_once() {
        let mut schedule = Schedule::default();
        let limit = Some(400 * MIB);
        assert_eq!(next(&mut schedule, 300 * MIB, 340 * MIB, limit), (LOOKS_GROWN, THIN));
        assert_eq!(next(&mut schedule, 300 * MIB, 340 * MIB, limit), (LOOKS_COLLECTING, Step::Purge));
        schedule.purged(300 * MIB, 340 * MIB, 0);
        assert_eq!(next(&mut schedule, 340 * MIB, 390 * MIB, limit), (LOOKS_SHORT, THIN));
        assert_eq!(next(&mut schedule, 340 * MIB, 390 * MIB, limit), (LOOKS_COLLECTING, Step::Purge));
        // Waste that could not be given back may be other waste now: soon, and above the limit at once.
        schedule.purged(340 * MIB, 390 * MIB, 0);
        assert_eq!(next(&mut schedule, 340 * MIB, 390 * MIB, limit), (LOOKS_GROWN, THIN));
        assert_eq!(next(&mut schedule, 340 * MIB, 390 * MIB, limit), (LOOKS_COLLECTING, Step::Purge));
        schedule.purged(200 * MIB, 450 * MIB, 0);
        assert_eq!(next(&mut schedule, 200 * MIB, 450 * MIB, limit), (LOOKS_SHORT, THIN));
    }

    #[test]
    fn only_a_share_of_the_machine_where_entries_go_is_a_limit_to_hurry_for() {
        let config = |limit: MemoryLimit, maxmemory_policy| {
            let bytes = limit.bytes(1000 * MIB);
            Config { maxmemory: crate::config::Budget { limit, bytes }, maxmemory_policy, ..Config::default() }
        };
        let lru = MaxmemoryPolicy::AllkeysLru;
        assert_eq!(share(&config(MemoryLimit::Percent(80), lru)), Some(800 * MIB));
        assert_eq!(share(&config(MemoryLimit::Percent(80), MaxmemoryPolicy::Noeviction)), None);
        assert_eq!(share(&config(MemoryLimit::Bytes(800 * MIB), lru)), None);
    }
}
