//! Members with scores, in order: the large form of a sorted set.
//!
//! Wanted: the score of a member in two cache misses; rank, score and place in each other's terms in logarithmic time;
//! ranges that are read in the order in which they lie in memory; few bytes a member; no call that takes longer because
//! the set is large, be it for growth or for freeing; an iteration with the full guarantee of SCAN; members that are
//! drawn at random with exactly the same probability. Not wanted: texts of scores, limits, replies.
//!
//! # Layout
//!
//! ```text
//!   by member                                       by score and rank
//!
//!   structure::table                                 inner     ┌─────────┬─────────┬─────────┐   a branch: 16 bytes
//!   one slot a member                                          │ 1.5 · 70│ 3.0 · 68│ 9.0 · 71│   first score, leaf,
//!   ┌─────────┬──────┬─────────┐                               └────┬────┴────┬────┴────┬────┘   members below it
//!   │ tag  16 │ leaf │ bits  20│                      leaves ┌──────┴──┐ ┌────┴────┐ ┌──┴──────┐
//!   └─────────┴──┬───┴─────────┘                             │ 1.5 ann │⇄│ 3.0 bob │⇄│ 9.0 eve │   blocks of up to
//!                │                                           │ 2.0 cat │ │ 3.0 dan │ │ …       │   1 KiB, some forty
//!                └─────────────────────────────────────────▶ │ …       │ │ …       │ │         │   members in each
//!                                                            └─────────┘ └─────────┘ └─────────┘
//! ```
//!
//! The order is that of scores; members of one score are ordered by their bytes. The leaves hold scores and members
//! themselves (see `leaf.rs`), so a range is read without a jump per member, and a member costs no allocation of its
//! own. Only members beyond 127 bytes have one.
//!
//! A slot of the table says in which leaf its member is, and 36 bits of the member's hash: sixteen as the table's tag,
//! twenty in the payload, the lowest eight of which are also the member's fingerprint in the leaf. So a lookup reads
//! the table's line, then the leaf's fingerprints; a wrong leaf is looked at in one lookup of thousands. The key by
//! which the table finds a segment is made of those twenty bits too, so that it grows without looking at any member.
//! When a leaf is divided, or joined with its neighbour, the slots of the members that change their leaf are written
//! anew: one slot per insertion on average, none where members come in rising or falling order.
//!
//! # Arithmetic
//!
//! A member of 10 bytes takes 8 + 1 + 1 + 10 = 20 bytes in a leaf, of which 6 % are free: 21.3. Leaf's header, arena
//! entry and branch are 44 bytes for some 36 members: 1.2. The slot in the table: 9.6. Together 32 bytes.
//! Redis' skiplist of the same member: a node of 8 + 8 + 1.33 × 16 bytes, a string of its own of 16, an entry of the
//! dictionary of 24 and its share of the buckets, 8 to 16: about 85 to 100 with the allocator's rounding.
//!
//! # Costs
//!
//! Bytes a member (of ten digits): 33.1 for a million with random scores, 32 where they come in order; Redis 7.0.15
//! takes 109.8 (`used_memory`). Freeing a million: no slice above 25 µs.
//!
//! Instructions (counted by callgrind, which counts no cache misses, of which there are fewer here: a leaf's lines lie
//! together, Redis compares members one jump each), 100,000 members with random scores, beside what Redis spends on the
//! same command beyond one on a missing key:
//!
//! | operation | here | Redis 7.0.15 |
//! |---|---:|---:|
//! | add a member | 2,570 | 1,970 |
//! | score of a member | 530 | – |
//! | rank of a member | 1,090 | 1,270 |
//! | change a score | 4,470 | – |
//! | take out the first member | 1,790 | – |
//! | read 100 members in order | 10,200 | – |
//!
//! # Growth, shrinking, freeing
//!
//! A leaf that would exceed 1 KiB is divided in two halves of equal size; at either end of the set a new leaf is begun
//! instead, so that rising scores fill their leaves. Below 256 bytes it is joined with a neighbour of the same parent
//! if both fit into 768. Inner nodes have at most 128 branches, and are joined likewise below 32.
//! Nothing moves as a whole: arenas grow by chunks, the table by segments. A set that is gone is freed in slices. The
//! arenas' own arrays, 20 bytes for a leaf that was there once, are given back with the last member.
//!
//! # Bounds
//!
//! Of 2^25 leaves there are names for in a slot. Beyond 2^24 leaves (some 600 million members) leaves may take 16 KiB.

mod arena;
mod change;
mod leaf;
mod order;
#[cfg(test)]
mod tests;

use super::allocation::allocated_bytes;
use super::table::{Drain, Table};
use arena::Arena;
use change::set_leaf;
use leaf::{INLINE_LEN_MAX, Leaf, NONE, Stored};
pub use order::{Iter, IterBack};
use smallvec::SmallVec;
use std::marker::PhantomData;

/// Largest leaf in bytes …
const LEAF_BYTES_MAX: usize = 1024;
/// … and where leaves are many.
const LEAF_BYTES_MAX_OF_MANY: usize = 16 * 1024;
/// So many are many.
const LEAVES_MANY: u32 = 1 << 24;
/// Names for leaves in a slot.
const LEAVES_MAX: u32 = (1 << 25) - 1;
/// A smaller leaf is joined with a neighbour …
const LEAF_BYTES_MIN: usize = 256;
/// … unless both together have more.
const LEAF_BYTES_JOINED_MAX: usize = 768;
/// Most branches of an inner node.
const BRANCHES_MAX: usize = 128;
/// A node of fewer is joined with a neighbour …
const BRANCHES_MIN: usize = 32;
/// … unless both together have more.
const BRANCHES_JOINED_MAX: usize = 96;

/// How members are hashed: by a function that nobody outside can compute, lest they make members that collide.
pub trait MemberHash: 'static {
    /// 64 bits, all of them good.
    fn hash(member: &[u8]) -> u64;
}

/// Members with scores, in order.
pub struct SortedTree<H> {
    leaves: Arena<Leaf>,
    inners: Arena<Inner>,
    /// Members that are too long for a leaf.
    longs: Arena<Box<[u8]>>,
    members: Table,
    /// An inner node if `depth` is not 0, else a leaf, or [`NONE`].
    root: u32,
    /// Levels of inner nodes.
    depth: u32,
    len: usize,
    /// Of leaves' blocks, branches and long members.
    block_bytes: usize,
    /// Of a set that is gone: what was in `members`.
    slots: Option<Drain>,
    hash: PhantomData<fn() -> H>,
}

#[derive(Default)]
struct Inner(Vec<Branch>);

impl Inner {
    fn heap_bytes(&self) -> usize {
        allocated_bytes(self.0.capacity() * size_of::<Branch>())
    }

    fn members(&self) -> u32 {
        self.0.iter().map(|branch| branch.members).sum()
    }
}

#[derive(Clone, Copy)]
struct Branch {
    /// Of the first member below it.
    score: f64,
    /// A leaf or an inner node.
    child: u32,
    /// How many members there are below it.
    members: u32,
}

/// A step on the way from the root to a leaf.
#[derive(Clone, Copy)]
struct Step {
    inner: u32,
    index: usize,
}

type Path = SmallVec<[Step; 8]>;

/// What is known of a member after looking for it; until the set is changed.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    hash: u64,
    place: Option<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    leaf: u32,
    index: usize,
    score: f64,
}

impl Found {
    /// The member's score, if it is there.
    pub fn score(self) -> Option<f64> {
        self.place.map(|place| place.score)
    }
}

/// The bits of a hash that are used: the upper 20 and the lower 16, which are not 0.
fn canonical(hash: u64) -> u64 {
    hash >> 44 << 44 | (hash & 0xffff).max(1)
}

/// What the table knows of a member.
fn payload_of(leaf: u32, hash: u64) -> u64 {
    assert!(leaf < LEAVES_MAX);
    u64::from(leaf + 1) << 23 | hash >> 44 << 3
}

fn leaf_of(payload: u64) -> u32 {
    (payload >> 23) as u32 - 1
}

/// The upper bits of the hash, at their place.
fn upper_bits(payload: u64) -> u64 {
    payload << 41 & 0xfffff << 44
}

fn fingerprint(hash: u64) -> u8 {
    (hash >> 44) as u8
}

fn resolve<'a>(longs: &'a Arena<Box<[u8]>>, stored: Stored<'a>) -> &'a [u8] {
    match stored {
        Stored::Inline(bytes) => bytes,
        Stored::Long(number) => longs.get(number),
    }
}

impl<H: MemberHash> SortedTree<H> {
    /// An empty set, without memory of its own.
    pub const fn new() -> SortedTree<H> {
        SortedTree {
            leaves: Arena::new(),
            inners: Arena::new(),
            longs: Arena::new(),
            members: Table::new(),
            root: NONE,
            depth: 0,
            len: 0,
            block_bytes: 0,
            slots: None,
            hash: PhantomData,
        }
    }

    /// Members.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of heap, the allocator's rounding included. In constant time.
    pub fn heap_bytes(&self) -> usize {
        let arenas = self.leaves.memory_bytes() + self.inners.memory_bytes() + self.longs.memory_bytes();
        self.block_bytes + arenas + self.members.memory_bytes() + self.slots.as_ref().map_or(0, Drain::memory_bytes)
    }

    // One member

    /// Looks for a member.
    pub fn find(&self, member: &[u8]) -> Found {
        let hash = canonical(H::hash(member));
        let mut place = None;
        self.members.get(hash, |payload| {
            if upper_bits(payload) != hash >> 44 << 44 {
                return false;
            }
            let leaf = leaf_of(payload);
            place = self.index_in(leaf, hash, member).map(|index| {
                let score = self.leaves.get(leaf).score(index);
                Place { leaf, index, score }
            });
            place.is_some()
        });
        Found { hash, place }
    }

    fn index_in(&self, leaf: u32, hash: u64, member: &[u8]) -> Option<usize> {
        let leaf = self.leaves.get(leaf);
        leaf.matches(fingerprint(hash)).find(|&index| resolve(&self.longs, leaf.stored(index)) == member)
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.find(member).score()
    }

    /// Gives a member a score, whether it is there or not; its score before.
    pub fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let found = self.find(member);
        match found.place {
            None => self.insert(found, member, score),
            Some(_) => self.change_score(found, member, score),
        }
        found.score()
    }

    /// Adds a member that was looked for and not found.
    pub fn insert(&mut self, found: Found, member: &[u8], score: f64) {
        assert!(found.place.is_none());
        let stored = if member.len() <= INLINE_LEN_MAX {
            Stored::Inline(member)
        } else {
            self.block_bytes += allocated_bytes(member.len());
            Stored::Long(self.longs.add(member.into()))
        };
        let leaf = self.attach(found.hash, score, member, stored);
        self.members.insert(found.hash, payload_of(leaf, found.hash), upper_bits);
    }

    /// Gives a member that was looked for and found another score.
    pub fn change_score(&mut self, found: Found, member: &[u8], score: f64) {
        assert!(!score.is_nan());
        let place = found.place.expect("found");
        if self.stays(place, member, score) {
            self.leaves.get_mut(place.leaf).set_score(place.index, score);
            return;
        }
        let (_, number) = self.detach(place.score, member);
        let stored = number.map_or(Stored::Inline(member), Stored::Long);
        let leaf = self.attach(found.hash, score, member, stored);
        if leaf != place.leaf {
            set_leaf(&mut self.members, found.hash, place.leaf, leaf);
        }
    }

    /// Whether a member with another score would still be between its neighbours, and not the first of its leaf.
    fn stays(&self, place: Place, member: &[u8], score: f64) -> bool {
        let leaf = self.leaves.get(place.leaf);
        let is_before = |index: usize| {
            let other = leaf.score(index);
            other < score || other == score && resolve(&self.longs, leaf.stored(index)) < member
        };
        0 < place.index && place.index + 1 < leaf.len() && is_before(place.index - 1) && !is_before(place.index + 1)
    }

    /// Takes a member out; its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let found = self.find(member);
        let place = found.place?;
        self.remove_slot(found.hash, place.leaf);
        let (_, number) = self.detach(place.score, member);
        self.free_long(number);
        Some(place.score)
    }

    fn remove_slot(&mut self, hash: u64, leaf: u32) {
        let payload = payload_of(leaf, hash);
        let position = self.members.find(hash, |other| other == payload).expect("every member has a slot");
        self.members.remove(position);
    }

    fn free_long(&mut self, number: Option<u32>) {
        if let Some(number) = number {
            self.block_bytes -= allocated_bytes(self.longs.take(number).len());
            if self.is_empty() {
                self.longs = Arena::new();
            }
        }
    }

    // Places

    /// The branch of a node of level `depth` (1: its children are leaves) below which (score, member) belongs.
    fn branch_for(&self, inner: &Inner, depth: u32, score: f64, member: &[u8]) -> usize {
        let branches = &inner.0[..];
        let end = branches.partition_point(|branch| branch.score <= score);
        if end == 0 || branches[end - 1].score < score {
            return end.saturating_sub(1);
        }
        let start = branches[..end].partition_point(|branch| branch.score < score);
        let ties = &branches[start..end];
        let before = ties.partition_point(|branch| self.first_member(branch.child, depth - 1) <= member);
        (start + before).saturating_sub(1)
    }

    /// The first member below a node.
    fn first_member(&self, mut node: u32, depth: u32) -> &[u8] {
        for _ in 0..depth {
            node = self.inners.get(node).0[0].child;
        }
        resolve(&self.longs, self.leaves.get(node).stored(0))
    }

    /// The way to the leaf to which (score, member) belongs.
    fn descend(&self, score: f64, member: &[u8]) -> (Path, u32) {
        let mut path = Path::new();
        let mut node = self.root;
        for depth in (1..=self.depth).rev() {
            let inner = self.inners.get(node);
            let index = self.branch_for(inner, depth, score, member);
            path.push(Step { inner: node, index });
            node = inner.0[index].child;
        }
        (path, node)
    }

    /// The number of entries of a leaf that come before (score, member).
    fn position_in(&self, leaf: &Leaf, score: f64, member: &[u8]) -> usize {
        let start = leaf.partition_scores(|other| other < score);
        if start == leaf.len() || leaf.score(start) != score {
            return start;
        }
        let end = leaf.partition_scores(|other| other <= score);
        leaf.partition_members(start..end, |stored| resolve(&self.longs, stored) < member)
    }

    /// The way to the entry of a rank, which is below `len`.
    fn descend_to_rank(&self, rank: usize) -> (Path, u32, usize) {
        assert!(rank < self.len);
        let mut path = Path::new();
        let (mut node, mut left) = (self.root, rank);
        for _ in 0..self.depth {
            let branches = &self.inners.get(node).0;
            let mut index = 0;
            while branches[index].members as usize <= left {
                left -= branches[index].members as usize;
                index += 1;
            }
            path.push(Step { inner: node, index });
            node = branches[index].child;
        }
        (path, node, left)
    }

    /// Takes out `count` members from a rank on, or as many as there are, and hands each out before.
    pub fn remove_range(&mut self, rank: usize, count: usize, mut visit: impl FnMut(&[u8], f64)) -> usize {
        let count = count.min(self.len.saturating_sub(rank));
        for _ in 0..count {
            let (path, number, index) = self.descend_to_rank(rank);
            let leaf = self.leaves.get(number);
            let member = resolve(&self.longs, leaf.stored(index));
            let hash = hash_of::<H>(member);
            visit(member, leaf.score(index));
            self.remove_slot(hash, number);
            let long = self.detach_at(&path, number, index);
            self.free_long(long);
        }
        count
    }

    /// One step of an iteration with the guarantee of SCAN over about `budget` members, from cursor 0 until it returns
    /// 0: see [`Table::scan`]. Their order is that of the table.
    pub fn scan(&self, cursor: u64, budget: usize, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        self.members.scan(cursor, budget, |payload| {
            let leaf = self.leaves.get(leaf_of(payload));
            let bits = upper_bits(payload);
            for index in leaf.matches(fingerprint(bits)) {
                let member = resolve(&self.longs, leaf.stored(index));
                if canonical(H::hash(member)) >> 44 << 44 == bits {
                    visit(member, leaf.score(index));
                }
            }
        })
    }

    /// A copy, with full leaves.
    pub fn duplicate(&self) -> SortedTree<H> {
        let mut copy = SortedTree::new();
        for (member, score) in self.iter() {
            let hash = hash_of::<H>(member);
            copy.insert(Found { hash, place: None }, member, score);
        }
        copy
    }

    /// Allocations, about.
    pub fn allocations(&self) -> usize {
        (self.leaves.span() + self.inners.span() + self.longs.span()) as usize
    }

    /// Gives back about `budget` allocations of a set that is gone, and says whether there are more. After the first
    /// call nothing else may be asked but [`SortedTree::heap_bytes`], which stays true.
    pub fn free_some(&mut self, budget: usize) -> bool {
        /// Slots are freed by blocks of several hundred; what is looked at of them for one allocation of the budget.
        const SLOTS_PER_ALLOCATION: usize = 32;
        let slots = self.slots.get_or_insert_with(|| self.members.take());
        let (long_bytes, is_more_longs) = self.longs.drop_some(budget, |long| allocated_bytes(long.len()));
        self.block_bytes -= long_bytes;
        if is_more_longs {
            return true;
        }
        let (leaf_bytes, is_more_leaves) = self.leaves.drop_some(budget, Leaf::block_bytes);
        self.block_bytes -= leaf_bytes;
        if is_more_leaves {
            return true;
        }
        let (inner_bytes, is_more_inners) = self.inners.drop_some(budget, Inner::heap_bytes);
        self.block_bytes -= inner_bytes;
        is_more_inners || slots.step(budget.saturating_mul(SLOTS_PER_ALLOCATION), |_| ())
    }
}

impl<H: MemberHash> Default for SortedTree<H> {
    fn default() -> Self {
        SortedTree::new()
    }
}

impl<H: MemberHash> std::fmt::Debug for SortedTree<H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_map()
            .entries(self.iter().map(|(member, score)| (member.escape_ascii().to_string(), score)))
            .finish()
    }
}

fn hash_of<H: MemberHash>(member: &[u8]) -> u64 {
    canonical(H::hash(member))
}
