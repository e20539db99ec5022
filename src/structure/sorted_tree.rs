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
mod leaf;
#[cfg(test)]
mod tests;

use super::allocation::allocated_bytes;
use super::table::{Drain, Table};
use arena::Arena;
use leaf::{ENTRY_BYTES, INLINE_LEN_MAX, Leaf, NONE, Stored};
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

/// A new neighbour of a node.
struct Sibling {
    branch: Branch,
    is_left: bool,
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
        let end = start + leaf.partition_scores(|other| other <= score) - start;
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

    /// Puts an entry into its leaf, and makes the way there right; the leaf. The table is the caller's concern.
    fn attach(&mut self, hash: u64, score: f64, member: &[u8], stored: Stored<'_>) -> u32 {
        assert!(!score.is_nan());
        if self.root == NONE {
            let leaf = Leaf::new();
            self.block_bytes += leaf.block_bytes();
            self.root = self.leaves.add(leaf);
        }
        let (path, number) = self.descend(score, member);
        let leaf = self.leaves.get(number);
        let index = self.position_in(leaf, score, member);
        let bytes = ENTRY_BYTES
            + match stored {
                Stored::Inline(bytes) => bytes.len(),
                Stored::Long(_) => size_of::<u32>(),
            };
        let bytes_max = if self.leaves.span() < LEAVES_MANY { LEAF_BYTES_MAX } else { LEAF_BYTES_MAX_OF_MANY };
        let (number_of_new, index, sibling) =
            if leaf.used_bytes() + bytes <= bytes_max { (number, index, None) } else { self.make_room(number, index) };
        let leaf = self.leaves.get_mut(number_of_new);
        let bytes_before = leaf.block_bytes();
        leaf.insert(index, score, fingerprint(hash), stored);
        self.block_bytes = self.block_bytes - bytes_before + leaf.block_bytes();
        self.len += 1;
        let sibling = sibling.map(|(child, is_left)| {
            let leaf = self.leaves.get(child);
            Sibling { branch: Branch { score: leaf.score(0), child, members: leaf.len() as u32 }, is_left }
        });
        let first = self.leaves.get(number).score(0);
        self.grow_way(&path, first, sibling);
        number_of_new
    }

    /// Makes room in a leaf for an entry at an index: in which leaf, at which index, and the leaf that is new, if it
    /// lies left of the old one.
    fn make_room(&mut self, number: u32, index: usize) -> (u32, usize, Option<(u32, bool)>) {
        let leaf = self.leaves.get(number);
        let (next, prev, len) = (leaf.next(), leaf.prev(), leaf.len());
        if index == len && next == NONE {
            let new = self.add_leaf(Leaf::new(), number, NONE);
            return (new, 0, Some((new, false)));
        }
        if index == 0 && prev == NONE {
            let new = self.add_leaf(Leaf::new(), NONE, number);
            return (new, 0, Some((new, true)));
        }
        let middle = leaf.middle();
        let leaf = self.leaves.get_mut(number);
        let bytes_before = leaf.block_bytes();
        let right = leaf.split_off(middle);
        self.block_bytes = self.block_bytes - bytes_before + leaf.block_bytes();
        let new = self.add_leaf(right, number, next);
        set_leaves(&self.leaves, &self.longs, &mut self.members, hash_of::<H>, new, number, new);
        if index <= middle { (number, index, Some((new, false))) } else { (new, index - middle, Some((new, false))) }
    }

    /// Puts a leaf between two others.
    fn add_leaf(&mut self, mut leaf: Leaf, prev: u32, next: u32) -> u32 {
        leaf.set_prev(prev);
        leaf.set_next(next);
        self.block_bytes += leaf.block_bytes();
        let number = self.leaves.add(leaf);
        self.link(prev, number);
        self.link(number, next);
        number
    }

    /// Makes two leaves neighbours; either may be none.
    fn link(&mut self, left: u32, right: u32) {
        if left != NONE {
            self.leaves.get_mut(left).set_next(right);
        }
        if right != NONE {
            self.leaves.get_mut(right).set_prev(left);
        }
    }

    /// One member more lies at the end of a way: below a child whose first score is `first` now, or below the child's
    /// new sibling.
    fn grow_way(&mut self, path: &[Step], mut first: f64, mut sibling: Option<Sibling>) {
        for step in path.iter().rev() {
            let inner = self.inners.get_mut(step.inner);
            let bytes_before = inner.heap_bytes();
            let branch = &mut inner.0[step.index];
            branch.score = first;
            branch.members += 1;
            if let Some(Sibling { branch: new, is_left }) = sibling.take() {
                branch.members -= new.members;
                inner.0.insert(step.index + usize::from(!is_left), new);
                if BRANCHES_MAX < inner.0.len() {
                    let right = Inner(inner.0.split_off(BRANCHES_MAX / 2));
                    let (score, members) = (right.0[0].score, right.members());
                    inner.0.shrink_to(BRANCHES_MAX);
                    self.block_bytes += right.heap_bytes();
                    sibling = Some(Sibling { branch: Branch { score, child: NONE, members }, is_left: false });
                    first = inner.0[0].score;
                    self.block_bytes = self.block_bytes - bytes_before + inner.heap_bytes();
                    let child = self.inners.add(right);
                    sibling = sibling.map(|of| Sibling { branch: Branch { child, ..of.branch }, ..of });
                    continue;
                }
            }
            first = inner.0[0].score;
            self.block_bytes = self.block_bytes - bytes_before + inner.heap_bytes();
        }
        if let Some(Sibling { branch: new, is_left }) = sibling {
            let members = u32::try_from(self.len).expect("fewer than 2^32 members") - new.members;
            let old = Branch { score: first, child: self.root, members };
            let root = Inner(if is_left { vec![new, old] } else { vec![old, new] });
            self.block_bytes += root.heap_bytes();
            self.root = self.inners.add(root);
            self.depth += 1;
        }
    }

    /// Takes the entry of a member with this score out of its leaf; the leaf, and the number of a long member. The
    /// table is the caller's concern.
    fn detach(&mut self, score: f64, member: &[u8]) -> (u32, Option<u32>) {
        let (path, number) = self.descend(score, member);
        let leaf = self.leaves.get(number);
        let index = self.position_in(leaf, score, member);
        assert!(resolve(&self.longs, leaf.stored(index)) == member);
        (number, self.detach_at(&path, number, index))
    }

    /// The same at the end of a known way; the number of a long member.
    fn detach_at(&mut self, path: &[Step], number: u32, index: usize) -> Option<u32> {
        let leaf = self.leaves.get_mut(number);
        let long = match leaf.stored(index) {
            Stored::Inline(_) => None,
            Stored::Long(long) => Some(long),
        };
        let bytes_before = leaf.block_bytes();
        leaf.remove(index);
        self.block_bytes = self.block_bytes - bytes_before + leaf.block_bytes();
        self.len -= 1;
        let mut is_gone = leaf.len() == 0;
        let mut first = 0.0;
        if is_gone {
            let (prev, next) = (leaf.prev(), leaf.next());
            self.link(prev, next);
            self.block_bytes -= self.leaves.take(number).block_bytes();
        } else {
            first = leaf.score(0);
        }
        for (level, step) in path.iter().rev().enumerate() {
            let inner = self.inners.get_mut(step.inner);
            if is_gone {
                inner.0.remove(step.index);
                is_gone = inner.0.is_empty();
                if is_gone {
                    let inner = self.inners.take(step.inner);
                    self.block_bytes -= inner.heap_bytes();
                    continue;
                }
            } else {
                let branch = &mut inner.0[step.index];
                branch.score = first;
                branch.members -= 1;
                self.join_small(step.inner, step.index, level as u32);
            }
            first = self.inners.get(step.inner).0[0].score;
        }
        if is_gone {
            self.root = NONE;
            self.depth = 0;
            self.leaves = Arena::new();
            self.inners = Arena::new();
        }
        while 0 < self.depth && self.inners.get(self.root).0.len() == 1 {
            let root = self.inners.take(self.root);
            self.block_bytes -= root.heap_bytes();
            self.root = root.0[0].child;
            self.depth -= 1;
        }
        long
    }

    /// Joins a child of a node with a neighbour if it has become small and both fit into one. `depth` is that of the
    /// child, 0 for a leaf.
    fn join_small(&mut self, parent: u32, index: usize, depth: u32) {
        let branches = &self.inners.get(parent).0;
        let size = |index: usize| match depth {
            0 => self.leaves.get(branches[index].child).used_bytes(),
            _ => self.inners.get(branches[index].child).0.len(),
        };
        let (min, joined_max) =
            if depth == 0 { (LEAF_BYTES_MIN, LEAF_BYTES_JOINED_MAX) } else { (BRANCHES_MIN, BRANCHES_JOINED_MAX) };
        let own = size(index);
        if min <= own {
            return;
        }
        let fits = |other: usize| own + size(other) <= joined_max;
        let left = if index + 1 < branches.len() && fits(index + 1) {
            index
        } else if 0 < index && fits(index - 1) {
            index - 1
        } else {
            return;
        };
        let (a, b) = (branches[left], branches[left + 1]);
        let child = if depth == 0 { self.join_leaves(a.child, b.child) } else { self.join_inners(a.child, b.child) };
        let branches = &mut self.inners.get_mut(parent).0;
        branches[left] = Branch { score: a.score, child, members: a.members + b.members };
        branches.remove(left + 1);
    }

    /// Joins two neighbours; the one with more members keeps its number, which is returned.
    fn join_leaves(&mut self, left: u32, right: u32) -> u32 {
        let (a, b) = (self.leaves.get(left), self.leaves.get(right));
        let (prev, next) = (a.prev(), b.next());
        let (keep, give) = if a.len() < b.len() { (right, left) } else { (left, right) };
        let joined = a.joined(b);
        let bytes_before = a.block_bytes() + b.block_bytes();
        set_leaves(&self.leaves, &self.longs, &mut self.members, hash_of::<H>, give, give, keep);
        self.block_bytes = self.block_bytes - bytes_before + joined.block_bytes();
        self.leaves.take(give);
        *self.leaves.get_mut(keep) = joined;
        self.link(prev, keep);
        self.link(keep, next);
        keep
    }

    fn join_inners(&mut self, left: u32, right: u32) -> u32 {
        let right = self.inners.take(right);
        self.block_bytes -= right.heap_bytes();
        let inner = self.inners.get_mut(left);
        self.block_bytes -= inner.heap_bytes();
        inner.0.extend(right.0);
        self.block_bytes += inner.heap_bytes();
        left
    }

    // Order

    /// The rank of a member, from 0, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let place = self.find(member).place?;
        let mut node = self.root;
        let mut rank = place.index;
        for depth in (1..=self.depth).rev() {
            let inner = self.inners.get(node);
            let index = self.branch_for(inner, depth, place.score, member);
            rank += members_before(inner, index);
            node = inner.0[index].child;
        }
        assert!(node == place.leaf);
        Some((rank, place.score))
    }

    /// The number of members whose scores are as `is_before` says, which is true up to some score and false from there
    /// on.
    pub fn count_by_score(&self, is_before: impl Fn(f64) -> bool) -> usize {
        if self.root == NONE {
            return 0;
        }
        let (mut node, mut rank) = (self.root, 0);
        for _ in 0..self.depth {
            let inner = self.inners.get(node);
            let index = inner.0.partition_point(|branch| is_before(branch.score)).saturating_sub(1);
            rank += members_before(inner, index);
            node = inner.0[index].child;
        }
        rank + self.leaves.get(node).partition_scores(is_before)
    }

    /// The number of members that are as `is_before` says, which is true up to some member and false from there on:
    /// for sets of one score.
    pub fn count_by_member(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        if self.root == NONE {
            return 0;
        }
        let (mut node, mut rank) = (self.root, 0);
        for depth in (0..self.depth).rev() {
            let inner = self.inners.get(node);
            let before = inner.0.partition_point(|branch| is_before(self.first_member(branch.child, depth)));
            let index = before.saturating_sub(1);
            rank += members_before(inner, index);
            node = inner.0[index].child;
        }
        let leaf = self.leaves.get(node);
        rank + leaf.partition_members(0..leaf.len(), |stored| is_before(resolve(&self.longs, stored)))
    }

    /// The member of a rank.
    pub fn nth(&self, rank: usize) -> Option<(&[u8], f64)> {
        self.iter_from(rank).next()
    }

    /// All members from a rank on, rising.
    pub fn iter_from(&self, rank: usize) -> Iter<'_, H> {
        let (leaf, index) = match rank < self.len {
            true => {
                let (_, leaf, index) = self.descend_to_rank(rank);
                (leaf, index)
            }
            false => (NONE, 0),
        };
        let offset = if leaf == NONE { 0 } else { self.leaves.get(leaf).offset(index) };
        Iter { tree: self, leaf, index, offset }
    }

    /// All members from a rank on, falling.
    pub fn iter_back_from(&self, rank: usize) -> IterBack<'_, H> {
        let (leaf, index) = match rank < self.len {
            true => {
                let (_, leaf, index) = self.descend_to_rank(rank);
                (leaf, index + 1)
            }
            false => (NONE, 0),
        };
        let offset = if leaf == NONE { 0 } else { self.leaves.get(leaf).offset(index) };
        IterBack { tree: self, leaf, index, offset }
    }

    /// All members, rising.
    pub fn iter(&self) -> Iter<'_, H> {
        self.iter_from(0)
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

fn members_before(inner: &Inner, index: usize) -> usize {
    inner.0[..index].iter().map(|branch| branch.members as usize).sum()
}

/// The member with this hash went from one leaf to another. (Should two members of a leaf share all bits of their
/// hashes, their slots are the same, and either may be changed.)
fn set_leaf(members: &mut Table, hash: u64, from: u32, to: u32) {
    let payload = payload_of(from, hash);
    let position = members.find(hash, |other| other == payload).expect("every member has a slot");
    members.set_payload(position, payload_of(to, hash));
}

/// The members that `leaf` holds went from one leaf to another.
fn set_leaves(
    leaves: &Arena<Leaf>,
    longs: &Arena<Box<[u8]>>,
    members: &mut Table,
    hash_of: impl Fn(&[u8]) -> u64,
    leaf: u32,
    from: u32,
    to: u32,
) {
    let leaf = leaves.get(leaf);
    let mut offset = leaf.offset(0);
    let mut hashes: SmallVec<[u64; 96]> = SmallVec::new();
    for index in 0..leaf.len() {
        let hash = hash_of(resolve(longs, leaf.stored_at(index, offset)));
        members.prefetch(hash);
        hashes.push(hash);
        offset += leaf.stored_bytes(index);
    }
    for hash in hashes {
        set_leaf(members, hash, from, to);
    }
}

/// Members from a rank on, rising.
pub struct Iter<'a, H> {
    tree: &'a SortedTree<H>,
    leaf: u32,
    index: usize,
    offset: usize,
}

impl<'a, H: MemberHash> Iterator for Iter<'a, H> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<(&'a [u8], f64)> {
        if self.leaf == NONE {
            return None;
        }
        let leaf = self.tree.leaves.get(self.leaf);
        let item = (resolve(&self.tree.longs, leaf.stored_at(self.index, self.offset)), leaf.score(self.index));
        self.offset += leaf.stored_bytes(self.index);
        self.index += 1;
        if self.index == leaf.len() {
            self.leaf = leaf.next();
            self.index = 0;
            if self.leaf != NONE {
                self.offset = self.tree.leaves.get(self.leaf).offset(0);
            }
        }
        Some(item)
    }
}

/// Members from a rank on, falling.
pub struct IterBack<'a, H> {
    tree: &'a SortedTree<H>,
    leaf: u32,
    /// One beyond the next, never 0 …
    index: usize,
    /// … and where its bytes end.
    offset: usize,
}

impl<'a, H: MemberHash> Iterator for IterBack<'a, H> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<(&'a [u8], f64)> {
        if self.leaf == NONE {
            return None;
        }
        let leaf = self.tree.leaves.get(self.leaf);
        self.index -= 1;
        self.offset -= leaf.stored_bytes(self.index);
        let item = (resolve(&self.tree.longs, leaf.stored_at(self.index, self.offset)), leaf.score(self.index));
        if self.index == 0 {
            self.leaf = leaf.prev();
            if self.leaf != NONE {
                let leaf = self.tree.leaves.get(self.leaf);
                self.index = leaf.len();
                self.offset = leaf.used_bytes();
            }
        }
        Some(item)
    }
}
