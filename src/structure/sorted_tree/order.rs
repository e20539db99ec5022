//! Ranks, and members in their order.

use super::*;

impl<H: MemberHash> SortedTree<H> {
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
}

fn members_before(inner: &Inner, index: usize) -> usize {
    // Without checks for overflow: the sum is at most `len`.
    inner.0[..index].iter().fold(0, |sum: usize, branch| sum.wrapping_add(branch.members as usize))
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
