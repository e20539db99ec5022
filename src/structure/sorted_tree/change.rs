//! Changes of the tree: entries put into their leaves and taken out, leaves and nodes divided and joined.
//!
//! ```text
//! attach   down to the leaf ─▶ divide it if it is full ─▶ put the entry in ─▶ up again: first scores, sums, divisions
//! detach   down to the leaf ─▶ take the entry out ─▶ up again: first scores, sums, what is empty, what is to be joined
//! ```
//!
//! The slots of members that change their leaf are written anew here; that of the member itself is the caller's.

use super::arena::Arena;
use super::leaf::{ENTRY_BYTES, Leaf, NONE, Stored};
use super::*;

/// A new neighbour of a node.
struct Sibling {
    branch: Branch,
    is_left: bool,
}

impl<H: MemberHash> SortedTree<H> {
    /// Puts an entry into its leaf, and makes the way there right; the leaf. The table is the caller's concern.
    pub(super) fn attach(&mut self, hash: u64, score: f64, member: &[u8], stored: Stored<'_>) -> u32 {
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
    pub(super) fn detach(&mut self, score: f64, member: &[u8]) -> (u32, Option<u32>) {
        let (path, number) = self.descend(score, member);
        let leaf = self.leaves.get(number);
        let index = self.position_in(leaf, score, member);
        assert!(resolve(&self.longs, leaf.stored(index)) == member);
        (number, self.detach_at(&path, number, index))
    }

    /// The same at the end of a known way; the number of a long member.
    pub(super) fn detach_at(&mut self, path: &[Step], number: u32, index: usize) -> Option<u32> {
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
}

/// The member with this hash went from one leaf to another. (Should two members of a leaf share all bits of their
/// hashes, their slots are the same, and either may be changed.)
pub(super) fn set_leaf(members: &mut Table, hash: u64, from: u32, to: u32) {
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
