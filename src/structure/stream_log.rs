//! The entries of a stream: pairs of texts by rising ids, packed into nodes.
//!
//! Wanted: little more than the bytes of the entries; adding at the end, cutting off the front and finding an id
//! without regard to the length; the bytes of Redis, so that a stream is written down by copying its nodes. Not here:
//! groups of consumers, the counters of a stream, time.
//!
//! # Layout
//!
//! ```text
//! nodes by their first ids, in blocks of 64          (super::sorted_blocks)
//! ┌────────────┬──────────┬──────┬─────────┬─ ─
//! │ first id   │ listpack │ live │ deleted │
//! │ 16         │ 24       │ 4    │ 4       │
//! └────────────┴────┬─────┴──────┴─────────┴─ ─
//!                   ▼
//!            up to `stream-node-max-entries` entries, `stream-node-max-bytes` bytes: see `node.rs`
//! ```
//! How many entries live in a node is kept beside its pointer, so that trimming passes over nodes without touching
//! them.
//!
//! # Costs
//!
//! | What | Time |
//! |---|---|
//! | add | constant |
//! | find an id | logarithmic in nodes, linear in one node |
//! | delete an entry | the same; it stays in its node, marked, until the last of the node goes (but see `trim_node`) |
//! | trim | constant for each node; nodes that go as a whole are handed out, to be freed at leisure |
#![deny(unsafe_code)]

mod id;
mod node;
#[cfg(test)]
mod tests;

use super::listpack::{Listpack, Malformed};
use super::sorted_blocks::{Place, SortedBlocks};
pub use id::{ID_TEXT_BYTES_MAX, Id};
pub use node::Entry;
use node::Node;

/// How much a node may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `stream-node-max-bytes`; 0: [`ENTRY_BYTES_MAX`].
    pub node_bytes_max: usize,
    /// `stream-node-max-entries`, deleted ones included; 0: no limit.
    pub node_entries_max: u64,
}

/// No entry, and no node, is larger than this, in bytes.
pub const ENTRY_BYTES_MAX: usize = 1 << 30;

/// What remains after a trim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The last so many entries.
    Last(u64),
    /// Those from an id on.
    From(Id),
}

/// How thorough a trim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thorough {
    /// All that is to go goes.
    Exactly,
    /// Whole nodes go, and no more than so many entries; 0: as many as there are.
    WholeNodes(u64),
}

/// See the page of this module.
#[derive(Debug, Default)]
pub struct StreamLog {
    nodes: SortedBlocks<Id, Node>,
    len: u64,
    /// Of the first living entry, if there is one.
    first_id: Id,
    /// Bytes allocated by the nodes.
    node_bytes: usize,
}

impl Clone for StreamLog {
    fn clone(&self) -> StreamLog {
        let nodes = self.nodes.clone();
        // A copied buffer is as large as what is in it.
        let node_bytes = nodes.iter().map(|(_, node)| node.heap_bytes()).sum();
        StreamLog { nodes, node_bytes, ..*self }
    }
}

/// A node that holds this many bytes when it is full has its successor begin as large.
const PREALLOCATED_BYTES_MAX: usize = 8 * 1024;

impl StreamLog {
    /// An empty log, which allocates nothing.
    pub fn new() -> StreamLog {
        StreamLog::default()
    }

    /// Entries that live.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no entry lives.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of nodes.
    pub fn nodes_len(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes allocated, the allocator's rounding included.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        self.nodes.heap_bytes() + self.node_bytes
    }

    /// The id of the first entry; `0-0` if there is none.
    pub fn first_id(&self) -> Id {
        self.first_id
    }

    /// The id of the last entry.
    pub fn last_id(&self) -> Option<Id> {
        self.range_back(Id::MIN, Id::MAX).next().map(|entry| entry.id)
    }

    // Adding

    /// Adds an entry behind all others.
    pub fn push<'a>(&mut self, id: Id, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, limits: Limits) {
        let bytes: usize = pairs.clone().map(|(field, value)| field.len() + value.len()).sum();
        assert!(bytes <= ENTRY_BYTES_MAX, "who adds has asked");
        let place = self.place_with_room(bytes, id, pairs.clone(), limits);
        let (master, _) = self.nodes.at(place);
        let node = self.nodes.at_mut(place);
        let bytes_before = node.heap_bytes();
        node.push(master, id, pairs);
        let bytes_after = node.heap_bytes();
        self.node_bytes = self.node_bytes - bytes_before + bytes_after;
        self.len += 1;
        if self.len == 1 {
            self.first_id = id;
        }
    }

    /// The last node, or a new one if it has no room for so many bytes.
    fn place_with_room<'a>(
        &mut self,
        bytes: usize,
        id: Id,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        limits: Limits,
    ) -> Place {
        let node_bytes_max = match limits.node_bytes_max {
            0 => ENTRY_BYTES_MAX,
            bytes_max => bytes_max.min(ENTRY_BYTES_MAX),
        };
        let mut capacity = 0;
        if let Some(last) = self.nodes.last() {
            let node = self.nodes.at_mut(last);
            let is_full = node.byte_len() + bytes >= node_bytes_max
                || limits.node_entries_max != 0 && node.len() >= limits.node_entries_max;
            if !is_full {
                return last;
            }
            let bytes_before = node.heap_bytes();
            node.seal();
            capacity = node.byte_len().min(PREALLOCATED_BYTES_MAX);
            self.node_bytes = self.node_bytes - bytes_before + node.heap_bytes();
        }
        let node = Node::new(pairs, capacity);
        self.node_bytes += node.heap_bytes();
        self.nodes.push_back(id, node);
        self.nodes.last().expect("just added")
    }

    // Reading

    /// The entries from one id to another, both included.
    pub fn range(&self, start: Id, end: Id) -> Range<'_> {
        let mut range = Range { log: self, place: None, entry: None, end };
        if end < start || self.is_empty() || end < self.first_id {
            return range;
        }
        let place = self.nodes.floor(start).or_else(|| self.nodes.first());
        range.place = place;
        range.entry = place.and_then(|place| self.first_from(place, start));
        range.skip_deleted();
        range
    }

    /// The first entry of a node with an id of at least this, deleted or not.
    fn first_from(&self, place: Place, start: Id) -> Option<Entry<'_>> {
        let (master, node) = self.nodes.at(place);
        if let Some(last) = node.last(master).filter(|_| master < start) {
            if last.id < start {
                return None;
            }
            // Who reads on reads the end most often: look from there if the time says that it is nearer.
            if last.id.ms.saturating_sub(start.ms) < start.ms.saturating_sub(master.ms) / 2 || last.id == start {
                let mut entry = last;
                while let Some(before) = node.previous(master, &entry).filter(|before| start <= before.id) {
                    entry = before;
                }
                return Some(entry);
            }
        }
        let mut entry = node.first(master);
        while let Some(here) = entry.take_if(|entry| entry.id < start) {
            entry = node.next(master, &here);
        }
        entry
    }

    /// The entries from one id to another, both included, from the last to the first.
    pub fn range_back(&self, start: Id, end: Id) -> RangeBack<'_> {
        let mut range = RangeBack { log: self, place: None, entry: None, start };
        if end < start || self.is_empty() {
            return range;
        }
        range.place = self.nodes.floor(end);
        range.entry = range.place.and_then(|place| {
            let (master, node) = self.nodes.at(place);
            let mut entry = node.last(master);
            while let Some(here) = entry.take_if(|entry| end < entry.id) {
                entry = node.previous(master, &here);
            }
            entry
        });
        range.skip_deleted();
        range
    }

    /// The entry with an id.
    pub fn get(&self, id: Id) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// Whether there is an entry with an id.
    pub fn contains(&self, id: Id) -> bool {
        self.get(id).is_some()
    }

    // Removing

    /// Removes the entry with an id. Whether there was one.
    pub fn delete(&mut self, id: Id) -> bool {
        let Some(place) = self.nodes.floor(id) else { return false };
        let found = self.first_from(place, id).filter(|entry| entry.id == id && !entry.is_deleted);
        let Some(position) = found.map(|entry| entry.position) else { return false };
        let node = self.nodes.at_mut(place);
        if node.live() == 1 {
            self.drop_node(place);
        } else {
            let bytes_before = node.heap_bytes();
            node.delete(&[position]);
            self.node_bytes = self.node_bytes - bytes_before + node.heap_bytes();
        }
        self.len -= 1;
        if id == self.first_id {
            self.find_first();
        }
        true
    }

    fn drop_node(&mut self, place: Place) {
        let node = self.nodes.remove_at(place);
        self.node_bytes -= node.heap_bytes();
    }

    fn find_first(&mut self) {
        self.first_id = Id::MIN;
        let first = self.range(Id::MIN, Id::MAX).next().map(|entry| entry.id);
        self.first_id = first.unwrap_or(Id::MIN);
    }

    /// Removes entries at the front. How many there were, and the nodes that went as a whole.
    pub fn trim(&mut self, keep: Keep, thorough: Thorough) -> (u64, StreamLog) {
        let mut removed = 0;
        let mut end = self.nodes.first();
        let mut gone_bytes = 0;
        while let Some(place) = end {
            if matches!(keep, Keep::Last(len) if self.len <= len) {
                break;
            }
            let (_, node) = self.nodes.at(place);
            let live = node.live();
            if matches!(thorough, Thorough::WholeNodes(limit) if limit != 0 && limit < removed + live) {
                break;
            }
            if !self.goes_whole(place, keep) {
                break;
            }
            gone_bytes += node.heap_bytes();
            self.len -= live;
            removed += live;
            end = self.nodes.next(place);
        }
        let gone =
            StreamLog { nodes: self.nodes.split_front(end), len: removed, first_id: Id::MIN, node_bytes: gone_bytes };
        self.node_bytes -= gone_bytes;
        if thorough == Thorough::Exactly {
            removed += self.trim_node(keep);
        }
        if removed != 0 || self.is_empty() {
            self.find_first();
        }
        (removed, gone)
    }

    /// Whether no entry of a node remains after a trim.
    fn goes_whole(&self, place: Place, keep: Keep) -> bool {
        let (master, node) = self.nodes.at(place);
        match keep {
            Keep::Last(len) => len <= self.len - node.live(),
            Keep::From(id) => {
                // Where the next node begins, this one has ended.
                let next = self.nodes.next(place).map(|next| self.nodes.at(next).0);
                next.is_some_and(|next| next <= id) || master < id && node.last(master).is_none_or(|last| last.id < id)
            }
        }
    }

    /// Removes entries at the front of the first node. How many there were. It may lose its last living entry so, where
    /// a deleted one behind it has an id that stays: then it stays too, as in Redis, and is filled further if it is the
    /// last.
    fn trim_node(&mut self, keep: Keep) -> u64 {
        let Some(place) = self.nodes.first() else { return 0 };
        let (master, node) = self.nodes.at(place);
        let mut going = Vec::new();
        let mut entry = node.first(master);
        while let Some(here) = entry {
            let stays = match keep {
                Keep::Last(len) => self.len - going.len() as u64 <= len,
                Keep::From(id) => id <= here.id,
            };
            if stays {
                break;
            }
            if !here.is_deleted {
                going.push(here.position);
            }
            entry = node.next(master, &here);
        }
        let node = self.nodes.at_mut(place);
        let bytes_before = node.heap_bytes();
        node.delete(&going);
        self.node_bytes = self.node_bytes - bytes_before + node.heap_bytes();
        self.len -= going.len() as u64;
        going.len() as u64
    }

    // Writing down, and away

    /// The nodes in order: the id that their entries are counted from, and their bytes in Redis' format.
    pub fn nodes(&self) -> impl Iterator<Item = (Id, &Listpack)> + '_ {
        self.nodes.iter().map(|(id, node)| (id, node.listpack()))
    }

    /// Adds a node from outside behind all others.
    ///
    /// # Errors
    /// It is not as Redis writes one, or its ids do not rise, from those that are there and from `master` on.
    pub fn push_node(&mut self, master: Id, listpack: Listpack) -> Result<(), Malformed> {
        let node = Node::from_listpack(listpack, master)?;
        if let Some(last) = self.nodes.last() {
            let (before, last) = self.nodes.at(last);
            if last.last(before).map_or(before, |last| last.id) >= master {
                return Err(Malformed);
            }
        }
        self.node_bytes += node.heap_bytes();
        self.len = self.len.checked_add(node.live()).ok_or(Malformed)?;
        self.nodes.push_back(master, node);
        if self.len == self.nodes.at(self.nodes.last().expect("just added")).1.live() {
            self.find_first();
        }
        Ok(())
    }

    /// Frees up to about `budget` nodes of a log that nobody needs any more. Whether some are left.
    pub fn free_some(&mut self, budget: usize) -> bool {
        for (_, node) in self.nodes.drain_some(budget) {
            self.node_bytes -= node.heap_bytes();
            self.len -= node.live();
        }
        !self.nodes.is_empty()
    }

    /// What must be true of it.
    #[cfg(test)]
    fn check(&self) {
        assert_eq!(self.nodes.iter().map(|(_, node)| node.live()).sum::<u64>(), self.len);
        assert_eq!(self.nodes.iter().map(|(_, node)| node.heap_bytes()).sum::<usize>(), self.node_bytes);
        let mut copy = StreamLog::new();
        for (master, listpack) in self.nodes() {
            let listpack = Listpack::from_bytes(listpack.as_bytes().to_vec()).expect("a listpack");
            copy.push_node(master, listpack).expect("a node");
        }
        assert_eq!((copy.len, copy.first_id), (self.len, self.first_id));
    }
}

/// Entries towards the end.
#[derive(Debug, Clone)]
pub struct Range<'a> {
    log: &'a StreamLog,
    place: Option<Place>,
    entry: Option<Entry<'a>>,
    end: Id,
}

impl Range<'_> {
    /// Goes on to a living entry, in other nodes too.
    #[inline]
    fn skip_deleted(&mut self) {
        while let Some(place) = self.place {
            match &self.entry {
                Some(entry) if self.end < entry.id => (self.place, self.entry) = (None, None),
                Some(entry) if !entry.is_deleted => return,
                Some(entry) => {
                    let (master, node) = self.log.nodes.at(place);
                    self.entry = node.next(master, entry);
                }
                None => {
                    self.place = self.log.nodes.next(place);
                    self.entry = self.place.and_then(|place| {
                        let (master, node) = self.log.nodes.at(place);
                        node.first(master)
                    });
                }
            }
        }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let entry = self.entry.clone()?;
        let (master, node) = self.log.nodes.at(self.place?);
        self.entry = node.next(master, &entry);
        self.skip_deleted();
        Some(entry)
    }
}

/// Entries towards the front.
#[derive(Debug, Clone)]
pub struct RangeBack<'a> {
    log: &'a StreamLog,
    place: Option<Place>,
    entry: Option<Entry<'a>>,
    start: Id,
}

impl RangeBack<'_> {
    fn skip_deleted(&mut self) {
        while let Some(place) = self.place {
            match &self.entry {
                Some(entry) if entry.id < self.start => (self.place, self.entry) = (None, None),
                Some(entry) if !entry.is_deleted => return,
                Some(entry) => {
                    let (master, node) = self.log.nodes.at(place);
                    self.entry = node.previous(master, entry);
                }
                None => {
                    self.place = self.log.nodes.previous(place);
                    self.entry = self.place.and_then(|place| {
                        let (master, node) = self.log.nodes.at(place);
                        node.last(master)
                    });
                }
            }
        }
    }
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let entry = self.entry.clone()?;
        let (master, node) = self.log.nodes.at(self.place?);
        self.entry = node.previous(master, &entry);
        self.skip_deleted();
        Some(entry)
    }
}
