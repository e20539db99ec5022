//! A sorted map in blocks: for keys that come in rising order and go from the front, and now and then from anywhere.
//!
//! Wanted: adding behind the last and taking the first in constant time, finding in logarithmic time, little more
//! memory than the items, nothing that takes long because the map is long. Ids of a stream are like that: its nodes,
//! and what consumers have not acknowledged. Not wanted: speed for keys in random order; [`super::sorted_tree`] has
//! that.
//!
//! # Layout
//!
//! ```text
//! ring of blocks, by their first keys     ┌───────────┬───────────┬───────────┐
//!                                         │ first key │ first key │ first key │
//!                                         │ items 24  │ items 24  │ items 24  │
//!                                         └─────┬─────┴─────┬─────┴─────┬─────┘
//! up to 64 items each, sorted                   ▼           ▼           ▼
//!                                         ┌───────────┐ ┌───────┐ ┌──────────┐
//!                                         │ key value │ │ …     │ │ …        │
//!                                         └───────────┘ └───────┘ └──────────┘
//! ```
//! Keys in rising order fill blocks completely. A block that overflows in its middle becomes two halves; thin
//! neighbours are joined. What is not constant or logarithmic moves block handles: with ten million items 156,000 of 40
//! bytes, once in 64 removals in the middle.
#![deny(unsafe_code)]

use super::allocation::allocated_bytes;
use std::collections::VecDeque;

/// Most items of a block.
pub const BLOCK_LEN_MAX: usize = 64;
/// A block with fewer items is joined with a neighbour, if both together have no more than [`JOINED_LEN_MAX`].
const THIN_LEN: usize = BLOCK_LEN_MAX / 4;
/// A block that was joined has room for others.
const JOINED_LEN_MAX: usize = BLOCK_LEN_MAX * 3 / 4;
/// Allocations of fewer items are not made smaller.
const SHRINK_LEN_MIN: usize = 8;

/// Where an item is. Holds until the map is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    block: usize,
    item: usize,
}

#[derive(Debug)]
struct Block<K, V> {
    first: K,
    /// Never empty.
    items: Vec<(K, V)>,
}

/// See the page of this module.
#[derive(Debug)]
pub struct SortedBlocks<K, V> {
    blocks: VecDeque<Block<K, V>>,
    len: usize,
    /// Bytes allocated by the blocks' items.
    item_bytes: usize,
}

impl<K, V> Default for SortedBlocks<K, V> {
    fn default() -> Self {
        SortedBlocks { blocks: VecDeque::new(), len: 0, item_bytes: 0 }
    }
}

impl<K: Ord + Copy, V: Clone> Clone for SortedBlocks<K, V> {
    fn clone(&self) -> Self {
        let mut copy = SortedBlocks::new();
        copy.blocks.reserve_exact(self.blocks.len());
        for block in &self.blocks {
            let items = block.items.clone();
            copy.item_bytes += bytes_of(&items);
            copy.blocks.push_back(Block { first: block.first, items });
        }
        copy.len = self.len;
        copy
    }
}

fn bytes_of<K, V>(items: &Vec<(K, V)>) -> usize {
    allocated_bytes(items.capacity() * size_of::<(K, V)>())
}

impl<K: Ord + Copy, V> SortedBlocks<K, V> {
    /// An empty one, which allocates nothing.
    pub fn new() -> Self {
        SortedBlocks::default()
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Bytes allocated here, the allocator's rounding included; what the values own is not counted.
    pub fn heap_bytes(&self) -> usize {
        allocated_bytes(self.blocks.capacity() * size_of::<Block<K, V>>()) + self.item_bytes
    }

    // Finding

    /// The item at a place.
    #[inline]
    pub fn at(&self, place: Place) -> (K, &V) {
        let (key, value) = &self.blocks[place.block].items[place.item];
        (*key, value)
    }

    /// The value at a place.
    #[inline]
    pub fn at_mut(&mut self, place: Place) -> &mut V {
        &mut self.blocks[place.block].items[place.item].1
    }

    /// The first item.
    pub fn first(&self) -> Option<Place> {
        (self.len != 0).then_some(Place { block: 0, item: 0 })
    }

    /// The last item.
    #[inline]
    pub fn last(&self) -> Option<Place> {
        let block = self.blocks.len().checked_sub(1)?;
        Some(Place { block, item: self.blocks[block].items.len() - 1 })
    }

    /// The item behind another.
    #[inline]
    pub fn next(&self, place: Place) -> Option<Place> {
        if place.item + 1 < self.blocks[place.block].items.len() {
            return Some(Place { item: place.item + 1, ..place });
        }
        (place.block + 1 < self.blocks.len()).then_some(Place { block: place.block + 1, item: 0 })
    }

    /// The item before another.
    #[inline]
    pub fn previous(&self, place: Place) -> Option<Place> {
        if 0 < place.item {
            return Some(Place { item: place.item - 1, ..place });
        }
        let block = place.block.checked_sub(1)?;
        Some(Place { block, item: self.blocks[block].items.len() - 1 })
    }

    /// The last item with a key of at most this.
    #[inline]
    pub fn floor(&self, key: K) -> Option<Place> {
        let block = self.block_for(key)?;
        let items = &self.blocks[block].items;
        // The block's first key is no greater, so that there is one.
        Some(Place { block, item: items.partition_point(|(item, _)| *item <= key) - 1 })
    }

    /// The first item with a key of at least this.
    pub fn ceiling(&self, key: K) -> Option<Place> {
        match self.floor(key) {
            None => self.first(),
            Some(place) if self.at(place).0 == key => Some(place),
            Some(place) => self.next(place),
        }
    }

    /// The item with this key.
    #[inline]
    pub fn find(&self, key: K) -> Option<Place> {
        self.floor(key).filter(|place| self.at(*place).0 == key)
    }

    /// The value of a key.
    pub fn get(&self, key: K) -> Option<&V> {
        self.find(key).map(|place| self.at(place).1)
    }

    /// The last block whose first key is at most this.
    #[inline]
    fn block_for(&self, key: K) -> Option<usize> {
        match self.blocks.back() {
            // Most questions are about the end.
            Some(last) if last.first <= key => Some(self.blocks.len() - 1),
            _ => self.blocks.partition_point(|block| block.first <= key).checked_sub(1),
        }
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> + '_ {
        self.blocks.iter().flat_map(|block| block.items.iter().map(|(key, value)| (*key, value)))
    }

    /// The items from a place on.
    pub fn iter_from(&self, place: Option<Place>) -> impl Iterator<Item = (K, &V)> + '_ {
        let mut place = place;
        std::iter::from_fn(move || {
            let here = place?;
            place = self.next(here);
            Some(self.at(here))
        })
    }

    // Changing

    /// Gives a key a value; gives back the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(last) = self.last() else {
            self.push_block(key, value, 1);
            return None;
        };
        if self.at(last).0 < key {
            self.push_back(key, value);
            return None;
        }
        let Some(place) = self.floor(key) else {
            self.insert_at(Place { block: 0, item: 0 }, key, value);
            return None;
        };
        if self.at(place).0 == key {
            return Some(std::mem::replace(self.at_mut(place), value));
        }
        self.insert_at(Place { item: place.item + 1, ..place }, key, value);
        None
    }

    /// Adds an item behind the last, which has a lesser key.
    #[inline]
    pub fn push_back(&mut self, key: K, value: V) {
        let blocks = self.blocks.len();
        let Some(last) = self.blocks.back_mut() else { return self.push_block(key, value, 1) };
        assert!(last.items.last().expect("no block is empty").0 < key);
        if last.items.len() == BLOCK_LEN_MAX {
            return self.push_block(key, value, BLOCK_LEN_MAX);
        }
        if last.items.len() == last.items.capacity() {
            let bytes_before = bytes_of(&last.items);
            let capacity = if blocks == 1 { 2 * last.items.len() } else { BLOCK_LEN_MAX };
            last.items.reserve_exact(capacity.min(BLOCK_LEN_MAX) - last.items.len());
            self.item_bytes = self.item_bytes - bytes_before + bytes_of(&last.items);
        }
        last.items.push((key, value));
        self.len += 1;
    }

    #[cold]
    fn push_block(&mut self, key: K, value: V, capacity: usize) {
        if self.blocks.capacity() == 0 {
            self.blocks.reserve_exact(1);
        }
        let mut items = Vec::with_capacity(capacity);
        items.push((key, value));
        self.item_bytes += bytes_of(&items);
        self.blocks.push_back(Block { first: key, items });
        self.len += 1;
    }

    /// Inserts before a place, or behind the last of a block.
    fn insert_at(&mut self, mut place: Place, key: K, value: V) {
        if self.blocks[place.block].items.len() == BLOCK_LEN_MAX {
            let block = &mut self.blocks[place.block];
            let bytes_before = bytes_of(&block.items);
            let mut upper = block.items.split_off(BLOCK_LEN_MAX / 2);
            block.items.shrink_to(BLOCK_LEN_MAX / 2);
            upper.reserve_exact(BLOCK_LEN_MAX / 4);
            self.item_bytes = self.item_bytes - bytes_before + bytes_of(&block.items) + bytes_of(&upper);
            self.blocks.insert(place.block + 1, Block { first: upper[0].0, items: upper });
            if BLOCK_LEN_MAX / 2 < place.item {
                place = Place { block: place.block + 1, item: place.item - BLOCK_LEN_MAX / 2 };
            }
        }
        let block = &mut self.blocks[place.block];
        let bytes_before = bytes_of(&block.items);
        block.items.insert(place.item, (key, value));
        block.first = block.items[0].0;
        self.item_bytes = self.item_bytes - bytes_before + bytes_of(&block.items);
        self.len += 1;
    }

    /// Removes an item; gives its value.
    pub fn remove(&mut self, key: K) -> Option<V> {
        self.find(key).map(|place| self.remove_at(place))
    }

    /// Removes the item at a place; gives its value.
    pub fn remove_at(&mut self, place: Place) -> V {
        let block = &mut self.blocks[place.block];
        let bytes_before = bytes_of(&block.items);
        let (_, value) = block.items.remove(place.item);
        self.len -= 1;
        if block.items.is_empty() {
            self.item_bytes -= bytes_before;
            self.blocks.remove(place.block);
            self.shrink_ring();
            return value;
        }
        block.first = block.items[0].0;
        if SHRINK_LEN_MIN < block.items.capacity() && block.items.len() * 4 <= block.items.capacity() {
            block.items.shrink_to(block.items.len() * 2);
        }
        let is_thin = block.items.len() < THIN_LEN;
        self.item_bytes = self.item_bytes - bytes_before + bytes_of(&block.items);
        // A block at the front that is eaten up goes by itself.
        if is_thin && 0 < place.block {
            self.join(place.block);
        }
        value
    }

    /// Joins a block with the next or the one before, if both fit in one.
    fn join(&mut self, block: usize) {
        let len = self.blocks[block].items.len();
        let fits = |other: usize| self.blocks.get(other).is_some_and(|other| other.items.len() + len <= JOINED_LEN_MAX);
        let left = if fits(block + 1) {
            block
        } else if fits(block - 1) {
            block - 1
        } else {
            return;
        };
        let right = self.blocks.remove(left + 1).expect("seen above");
        let joined = &mut self.blocks[left].items;
        self.item_bytes -= bytes_of(joined) + bytes_of(&right.items);
        joined.reserve_exact(right.items.len());
        joined.extend(right.items);
        self.item_bytes += bytes_of(joined);
        self.shrink_ring();
    }

    /// Takes the first block away, to be freed at leisure.
    fn pop_block(&mut self) -> Option<Block<K, V>> {
        let block = self.blocks.pop_front()?;
        self.item_bytes -= bytes_of(&block.items);
        self.len -= block.items.len();
        Some(block)
    }

    /// Takes the items before a place away, as a map of their own.
    pub fn split_front(&mut self, end: Option<Place>) -> SortedBlocks<K, V> {
        let mut front = SortedBlocks::new();
        let end = end.unwrap_or(Place { block: self.blocks.len(), item: 0 });
        for _ in 0..end.block {
            let block = self.pop_block().expect("the place is within");
            front.item_bytes += bytes_of(&block.items);
            front.len += block.items.len();
            front.blocks.push_back(block);
        }
        if 0 < end.item {
            let block = &mut self.blocks[0];
            let bytes_before = bytes_of(&block.items);
            let items: Vec<(K, V)> = block.items.drain(..end.item).collect();
            block.items.shrink_to(2 * block.items.len());
            block.first = block.items[0].0;
            self.item_bytes = self.item_bytes - bytes_before + bytes_of(&block.items);
            self.len -= items.len();
            front.item_bytes += bytes_of(&items);
            front.len += items.len();
            front.blocks.push_back(Block { first: items[0].0, items });
        }
        self.shrink_ring();
        front
    }

    /// Gives all items away, block by block: up to `budget` of them, rounded up to whole blocks.
    pub fn drain_some(&mut self, budget: usize) -> impl Iterator<Item = (K, V)> {
        let mut drained = Vec::new();
        while drained.len() < budget
            && let Some(block) = self.pop_block()
        {
            drained.extend(block.items);
        }
        if self.is_empty() {
            self.blocks = VecDeque::new();
        }
        drained.into_iter()
    }

    fn shrink_ring(&mut self) {
        if self.blocks.is_empty() {
            self.blocks = VecDeque::new();
        } else if SHRINK_LEN_MIN < self.blocks.capacity() && self.blocks.len() * 4 <= self.blocks.capacity() {
            self.blocks.shrink_to(self.blocks.len() * 2);
        }
    }

    /// What must be true of it.
    #[cfg(test)]
    fn check(&self) {
        let mut last = None;
        for (key, _) in self.iter() {
            assert!(last < Some(key));
            last = Some(key);
        }
        assert_eq!(self.iter().count(), self.len);
        assert_eq!(self.blocks.iter().map(|block| bytes_of(&block.items)).sum::<usize>(), self.item_bytes);
        for block in &self.blocks {
            assert!(!block.items.is_empty() && block.items.len() <= BLOCK_LEN_MAX);
            assert!(block.first == block.items[0].0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    enum Change {
        Insert(u16, u8),
        Push(u8),
        Remove(u16),
        RemoveNth(u16),
        PopFront(u8),
        SplitFront(u16),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => (0..600_u16, any::<u8>()).prop_map(|(key, value)| Change::Insert(key, value)),
            8 => (1..200_u8).prop_map(Change::Push),
            2 => (0..600_u16).prop_map(Change::Remove),
            6 => any::<u16>().prop_map(Change::RemoveNth),
            1 => (1..100_u8).prop_map(Change::PopFront),
            1 => any::<u16>().prop_map(Change::SplitFront),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(changes in proptest::collection::vec(change(), 1..60)) {
            let mut map: SortedBlocks<u32, u8> = SortedBlocks::new();
            let mut model: BTreeMap<u32, u8> = BTreeMap::new();
            for change in changes {
                match change {
                    Change::Insert(key, value) => {
                        prop_assert_eq!(map.insert(key.into(), value), model.insert(key.into(), value));
                    }
                    Change::Push(count) => for _ in 0..count {
                        let key = model.last_key_value().map_or(0, |(key, _)| key + 3);
                        map.push_back(key, count);
                        model.insert(key, count);
                    },
                    Change::Remove(key) => prop_assert_eq!(map.remove(key.into()), model.remove(&key.into())),
                    Change::RemoveNth(index) => for step in 0..20 {
                        let nth = (usize::from(index) + 7 * step) % model.len().max(1);
                        let Some(key) = model.keys().nth(nth) else { break };
                        let key = *key;
                        prop_assert_eq!(map.remove(key), model.remove(&key));
                    },
                    Change::PopFront(count) => for _ in 0..count {
                        let first = map.first().map(|place| map.remove_at(place));
                        prop_assert_eq!(first, model.pop_first().map(|(_, value)| value));
                    },
                    Change::SplitFront(key) => {
                        let front = map.split_front(map.ceiling(key.into()));
                        front.check();
                        let behind = model.split_off(&u32::from(key));
                        prop_assert!(front.iter().eq(model.iter().map(|(key, value)| (*key, value))));
                        model = behind;
                    }
                }
                map.check();
                prop_assert!(map.iter().eq(model.iter().map(|(key, value)| (*key, value))));
            }
            for key in 0..700 {
                let floor = map.floor(key).map(|place| map.at(place).0);
                prop_assert_eq!(floor, model.range(..=key).next_back().map(|(key, _)| *key));
                let ceiling = map.ceiling(key).map(|place| map.at(place).0);
                prop_assert_eq!(ceiling, model.range(key..).next().map(|(key, _)| *key));
                prop_assert_eq!(map.get(key), model.get(&key));
            }
            let mut place = map.last();
            for (key, value) in model.iter().rev() {
                let here = place.expect("as many as there");
                prop_assert_eq!(map.at(here), (*key, value));
                place = map.previous(here);
            }
            prop_assert!(place.is_none());
            let drained: Vec<(u32, u8)> = std::iter::from_fn(|| {
                let some: Vec<(u32, u8)> = map.drain_some(10).collect();
                (!some.is_empty()).then_some(some)
            }).flatten().collect();
            prop_assert!(drained.into_iter().eq(model));
            prop_assert_eq!(map.heap_bytes(), 0);
        }
    }

    #[test]
    fn rising_keys_fill_blocks_and_queues_give_memory_back() {
        let mut map = SortedBlocks::new();
        for key in 0..100_000_u64 {
            map.push_back(key, key);
        }
        let bytes = 100_000 * size_of::<(u64, u64)>();
        assert!(map.heap_bytes() < bytes + bytes / 10, "{}", map.heap_bytes());
        for key in 0..99_990 {
            assert_eq!(map.remove(key), Some(key));
        }
        assert!(map.heap_bytes() < 2500, "{}", map.heap_bytes());
        assert_eq!(map.len(), 10);
    }

    #[test]
    fn what_is_left_of_random_removals_is_joined() {
        let mut map = SortedBlocks::new();
        for key in 0..64_000_u64 {
            map.push_back(key, ());
        }
        for key in (0..64_000).filter(|key| key % 50 != 0) {
            map.remove(key);
        }
        assert!(map.blocks() < 150, "{}", map.blocks());
        map.check();
    }
}
