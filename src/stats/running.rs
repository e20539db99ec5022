//! What is counted of the running second, of all commands and stages: a table of groups of counters, each of them a
//! cache line.
//!
//! ```text
//! key      ─ hash ─▶ place, or the next free one          key = command │ stage │ number of the group
//! block    │ key │ counter │ counter │ … 15 of them │     64 bytes
//! ```
//! What recording costs is that line: latencies of a load are all over some hundreds of buckets, and keys and values
//! drive them out of the caches. There is nothing to look up before it, so it can be fetched in time.
//!
//! A table has room for what is counted and no more than [`BLOCKS_MAX`] blocks, however many commands there are in
//! however many stages: if it is full, what it holds is taken out before the second is over.

use super::histogram::{GROUP_BUCKETS, Group, place_of};
use super::stages::{LANES, Lane};
use crate::command::lookup::{COMMAND_COUNT, CommandId};
use crate::structure::cache::prefetch;

/// Blocks of a table: 512 KiB.
pub const BLOCKS_MAX: usize = 8192;
/// Blocks of the smallest one.
const BLOCKS_MIN: usize = 64;
/// 2^32 by the golden ratio: the upper bits of its products with neighbouring numbers, as those of a stage's groups,
/// are as far from each other as they can be.
const MULTIPLIER: u32 = 0x9e37_79b1;

const GROUP_BITS: u32 = 11;
const LANE_BITS: u32 = 4;
const _: () = assert!(LANES <= 1 << LANE_BITS && COMMAND_COUNT < 1 << (u32::BITS - LANE_BITS - GROUP_BITS - 1));

/// Counters of a group.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Block {
    key: u32,
    counts: Group<u32>,
}

const _: () = assert!(size_of::<Block>() == 64);

/// The key of a block that is free.
const FREE: u32 = u32::MAX;
const FREE_BLOCK: Block = Block { key: FREE, counts: [0; GROUP_BUCKETS] };

/// A group of some command's stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Of {
    /// The command's index.
    pub command: usize,
    /// The stage.
    pub lane: Lane,
    /// Which group.
    pub number: u16,
}

impl Of {
    fn from_key(key: u32) -> Of {
        let (number, rest) = (key & ((1 << GROUP_BITS) - 1), key >> GROUP_BITS);
        let lane = Lane::from_index((rest & ((1 << LANE_BITS) - 1)) as u8);
        Of { command: (rest >> LANE_BITS) as usize, lane, number: number as u16 }
    }
}

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// A power of two of them, or none.
    blocks: Box<[Block]>,
    used: usize,
    /// What leaves of a product the bits that are a place.
    shift: u32,
}

/// The key of a latency's group, and the bucket in it.
#[inline]
fn place(command: CommandId, lane: Lane, nanoseconds: u64) -> (u32, usize) {
    let place = place_of(nanoseconds, lane.digits());
    let (number, bucket) = ((place / GROUP_BUCKETS) as u32, place % GROUP_BUCKETS);
    let lanes = (command.index() as u32) << LANE_BITS | lane.index() as u32;
    (lanes << GROUP_BITS | number, bucket)
}

impl Running {
    /// Where a key's search begins.
    #[inline]
    fn home(&self, key: u32) -> usize {
        (key.wrapping_mul(MULTIPLIER) >> self.shift) as usize
    }

    /// The block of a key.
    #[inline]
    fn find(&mut self, key: u32) -> Option<&mut Block> {
        let mut at = self.home(key);
        loop {
            match self.blocks.get(at)?.key {
                found if found == key => return self.blocks.get_mut(at),
                FREE => return None,
                _ => at = (at + 1) & (self.blocks.len() - 1),
            }
        }
    }

    /// Counts so many events. False: there is no room, and nothing was counted.
    #[inline]
    #[must_use]
    pub fn record(&mut self, command: CommandId, lane: Lane, nanoseconds: u64, count: u64) -> bool {
        let (key, bucket) = place(command, lane, nanoseconds);
        let Some(block) = self.find(key) else { return self.open(key, bucket, count) };
        let counter = &mut block.counts[bucket];
        *counter = counter.saturating_add(count.min(u32::MAX.into()) as u32);
        true
    }

    /// Asks the processor for the counter of a latency that is to be recorded soon.
    #[inline]
    pub fn prefetch(&self, command: CommandId, lane: Lane, nanoseconds: u64) {
        let (key, _) = place(command, lane, nanoseconds);
        if let Some(block) = self.blocks.get(self.home(key)) {
            prefetch((&raw const *block).cast());
        }
    }

    #[cold]
    fn open(&mut self, key: u32, bucket: usize, count: u64) -> bool {
        let len = self.blocks.len();
        if len == BLOCKS_MAX && len * 3 <= self.used * 4 {
            return false;
        }
        // Half of them free: a search that ends at its first block is one whose end the processor foresees.
        if len < BLOCKS_MAX && len <= self.used * 2 {
            let old = self.resize((len * 2).max(BLOCKS_MIN));
            self.used = 0;
            old.iter().filter(|block| block.key != FREE).for_each(|block| self.put(*block));
        }
        let mut block = Block { key, ..FREE_BLOCK };
        block.counts[bucket] = count.min(u32::MAX.into()) as u32;
        self.put(block);
        true
    }

    /// Makes it empty, with so many blocks; what it had.
    fn resize(&mut self, len: usize) -> Box<[Block]> {
        self.shift = u32::BITS - len.max(2).ilog2();
        std::mem::replace(&mut self.blocks, vec![FREE_BLOCK; len].into())
    }

    fn put(&mut self, block: Block) {
        let mut at = self.home(block.key);
        while self.blocks[at].key != FREE {
            at = (at + 1) & (self.blocks.len() - 1);
        }
        self.blocks[at] = block;
        self.used += 1;
    }

    /// Forgets so many events of a group's buckets, those that are here.
    pub fn take_back(&mut self, command: CommandId, lane: Lane, number: u16, counts: &Group<u64>) {
        let lanes = (command.index() as u32) << LANE_BITS | lane.index() as u32;
        let Some(block) = self.find(lanes << GROUP_BITS | u32::from(number)) else { return };
        for (counter, &count) in block.counts.iter_mut().zip(counts) {
            *counter = counter.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// All groups, in no order.
    pub fn groups(&self) -> impl Iterator<Item = (Of, Group<u64>)> + '_ {
        let used = self.blocks.iter().filter(|block| block.key != FREE);
        used.map(|block| (Of::from_key(block.key), block.counts.map(u64::from)))
    }

    /// Takes everything out, by command and stage, in the order of these and of the groups; a table that was much too
    /// large becomes smaller.
    pub fn take_all(&mut self, mut take: impl FnMut(usize, Lane, &[(u16, Group<u64>)])) {
        let len = self.blocks.len();
        let used = self.blocks.iter().enumerate().filter(|(_, block)| block.key != FREE);
        let mut keys: Vec<(u32, u32)> = used.map(|(at, block)| (block.key, at as u32)).collect();
        keys.sort_unstable();
        let mut groups = Vec::new();
        for keys in keys.chunk_by(|(one, _), (next, _)| one >> GROUP_BITS == next >> GROUP_BITS) {
            groups.clear();
            groups.extend(keys.iter().map(|&(key, at)| {
                let block = std::mem::replace(&mut self.blocks[at as usize], FREE_BLOCK);
                (Of::from_key(key).number, block.counts.map(u64::from))
            }));
            let Of { command, lane, .. } = Of::from_key(keys[0].0);
            take(command, lane, &groups);
        }
        if self.used * 8 <= len {
            let fewer = if len == BLOCKS_MIN && self.used == 0 { 0 } else { (len / 2).max(BLOCKS_MIN).min(len) };
            if fewer < len {
                self.resize(fewer);
            }
        }
        self.used = 0;
    }

    /// The memory it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stages::{Stage, Way};
    use super::*;
    use crate::command::lookup::lookup;

    const EXECUTE: Lane = Lane::of(Way::Local, Stage::Execute);

    #[test]
    fn what_goes_in_comes_out_in_order_and_the_table_is_bounded() {
        let ids = [b"get".as_slice(), b"set", b"incr"].map(|name| lookup(name).expect("a row").id);
        let mut running = Running::default();
        assert_eq!(running.bytes(), 0);
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..4 {
            let (mut recorded, mut is_full) = (0, false);
            while !is_full {
                let (id, lane) = (ids[random.usize(..3)], Lane::from_index(random.u8(..LANES as u8)));
                is_full = !running.record(id, lane, 1 << random.u32(..36) | random.u64(..1 << 20), 2);
                recorded += u64::from(!is_full) * 2;
                assert!(running.bytes() <= BLOCKS_MAX * 64 && running.used * 4 <= running.blocks.len() * 3);
            }
            let of_all: u64 = running.groups().map(|(_, counts)| counts.iter().sum::<u64>()).sum();
            let (mut sum, mut last) = (0, None);
            running.take_all(|command, lane, groups| {
                for (number, counts) in groups {
                    let key = (command, lane, *number);
                    assert!(last < Some(key), "{last:?} {key:?}");
                    last = Some(key);
                    sum += counts.iter().sum::<u64>();
                }
            });
            assert_eq!((sum, of_all), (recorded, recorded));
        }
        // Nothing happens any more: its memory goes.
        (0..10).for_each(|_| running.take_all(|_, _, _| unreachable!()));
        assert_eq!(running.bytes(), 0);
    }

    #[test]
    fn counters_end_at_their_largest_and_are_taken_back() {
        let get = lookup(b"get").expect("a row").id;
        let mut running = Running::default();
        assert!(running.record(get, EXECUTE, 100, 7) && running.record(get, EXECUTE, 101, u64::MAX));
        assert!(running.record(get, EXECUTE, 101, 1));
        let (of, counts) = running.groups().next().expect("one");
        assert_eq!((of.command, of.lane, counts.iter().sum::<u64>()), (get.index(), EXECUTE, 7 + u64::from(u32::MAX)));
        running.take_back(get, EXECUTE, of.number, &counts);
        running.take_back(get, EXECUTE, of.number + 1, &counts);
        assert_eq!(running.groups().next().expect("one").1, [0; GROUP_BUCKETS]);
    }
}
