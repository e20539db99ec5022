//! The chunks between the two ends of a quicklist: a counted B+tree, so that an index is found, and a chunk added or
//! removed anywhere, in logarithmic time and without moving the others.
//!
//! Not here: what is in a chunk, and how many elements it may have.
//!
//! Every leaf is equally far from the root. Chunks that come at the ends fill leaves completely; a leaf that overflows
//! in its middle becomes two halves. A node that is empty goes; nodes that are merely thin stay, since lists are used
//! at their ends.
#![deny(unsafe_code)]

use super::Fill;
use super::chunk::Chunk;
use crate::structure::allocation::allocated_bytes;

/// Most chunks of a leaf, and children of an inner node.
pub(super) const ORDER: usize = 64;

/// One end of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Front,
    Back,
}

#[derive(Debug)]
enum Children {
    Leaf(Vec<Chunk>),
    Inner(Vec<Tree>),
}

/// A tree, or a part of one.
#[derive(Debug)]
pub(super) struct Tree {
    /// Elements in all chunks.
    len: u64,
    /// Bytes allocated by chunks and nodes.
    heap_bytes: usize,
    /// The number of chunks.
    chunks: usize,
    children: Children,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { len: 0, heap_bytes: 0, chunks: 0, children: Children::Leaf(Vec::new()) }
    }
}

impl Tree {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    /// The number of chunks.
    pub(super) fn chunks(&self) -> usize {
        self.chunks
    }

    fn is_empty(&self) -> bool {
        match &self.children {
            Children::Leaf(chunks) => chunks.is_empty(),
            Children::Inner(nodes) => nodes.is_empty(),
        }
    }

    fn leaf(chunks: Vec<Chunk>) -> Tree {
        Tree { children: Children::Leaf(chunks), ..Tree::default() }.counted()
    }

    fn inner(nodes: Vec<Tree>) -> Tree {
        Tree { children: Children::Inner(nodes), ..Tree::default() }.counted()
    }

    fn counted(mut self) -> Tree {
        self.count();
        self
    }

    /// Adds up the sums of the children.
    fn count(&mut self) {
        (self.len, self.heap_bytes, self.chunks) = match &self.children {
            Children::Leaf(chunks) => (
                chunks.iter().map(|chunk| chunk.len() as u64).sum(),
                vector_bytes(chunks) + chunks.iter().map(Chunk::heap_bytes).sum::<usize>(),
                chunks.len(),
            ),
            Children::Inner(nodes) => (
                nodes.iter().map(Tree::len).sum(),
                vector_bytes(nodes) + nodes.iter().map(Tree::heap_bytes).sum::<usize>(),
                nodes.iter().map(Tree::chunks).sum(),
            ),
        };
    }

    /// A copy that shares nothing.
    pub(super) fn duplicate(&self) -> Tree {
        match &self.children {
            Children::Leaf(chunks) => Tree::leaf(chunks.clone()),
            Children::Inner(nodes) => Tree::inner(nodes.iter().map(Tree::duplicate).collect()),
        }
    }

    /// The chunk that holds the element with an index, and the element's index in it.
    pub(super) fn find(&self, index: u64) -> (&Chunk, usize) {
        assert!(index < self.len);
        let (mut node, mut index) = (self, index);
        loop {
            match &node.children {
                Children::Leaf(chunks) => {
                    let at = locate(chunks.iter().map(|chunk| chunk.len() as u64), &mut index);
                    return (&chunks[at], index as usize);
                }
                Children::Inner(nodes) => {
                    let at = locate(nodes.iter().map(Tree::len), &mut index);
                    node = &nodes[at];
                }
            }
        }
    }

    // The ends

    /// Adds a chunk, not empty, at an end.
    pub(super) fn push(&mut self, end: End, chunk: Chunk) {
        assert!(!chunk.is_empty());
        if let Some(sibling) = self.push_within(end, chunk) {
            let old = std::mem::take(self);
            *self = Tree::inner(match end {
                End::Front => vec![sibling, old],
                End::Back => vec![old, sibling],
            });
        }
    }

    /// The same for a part of a tree; gives what became its neighbour at that end, if it is full.
    fn push_within(&mut self, end: End, chunk: Chunk) -> Option<Tree> {
        let (len, heap_bytes) = (chunk.len() as u64, chunk.heap_bytes());
        match &mut self.children {
            Children::Leaf(chunks) if chunks.len() == ORDER => return Some(Tree::leaf(vec![chunk])),
            Children::Leaf(chunks) => {
                let before = vector_bytes(chunks);
                push_at(chunks, end, chunk);
                self.len += len;
                self.chunks += 1;
                self.heap_bytes += heap_bytes + vector_bytes(chunks) - before;
            }
            Children::Inner(nodes) => {
                let child = at_end(nodes, end).expect("no inner node is empty");
                let sibling = child.push_within(end, chunk);
                match sibling {
                    Some(sibling) if nodes.len() == ORDER => return Some(Tree::inner(vec![sibling])),
                    Some(sibling) => push_at(nodes, end, sibling),
                    None => {}
                }
                self.count();
            }
        }
        None
    }

    /// Takes the chunk at an end away.
    pub(super) fn pop(&mut self, end: End) -> Option<Chunk> {
        let chunk = self.pop_within(end);
        self.lower();
        chunk
    }

    fn pop_within(&mut self, end: End) -> Option<Chunk> {
        let chunk = match &mut self.children {
            Children::Leaf(chunks) => pop_at(chunks, end)?,
            Children::Inner(nodes) => {
                let child = at_end(nodes, end)?;
                let chunk = child.pop_within(end)?;
                if child.is_empty() {
                    pop_at(nodes, end);
                }
                chunk
            }
        };
        // At most `ORDER` sums are added up, once in hundreds of elements.
        self.count();
        Some(chunk)
    }

    /// Takes away roots that have a single child, or none.
    fn lower(&mut self) {
        while let Children::Inner(nodes) = &mut self.children
            && nodes.len() <= 1
        {
            *self = nodes.pop().unwrap_or_default();
        }
    }

    // The middle

    /// Changes the chunk that holds the element with an index; `change` is handed the element's index in it as well,
    /// and a place for chunks, none of them empty, that are to follow it. A chunk that is empty afterwards goes; one
    /// that is small joins its neighbour.
    pub(super) fn change<R>(
        &mut self,
        index: u64,
        fill: Fill,
        change: impl FnOnce(&mut Chunk, usize, &mut Vec<Chunk>) -> R,
    ) -> R {
        assert!(index < self.len);
        let (result, sibling) = self.change_within(index, fill, change);
        if let Some(sibling) = sibling {
            let old = std::mem::take(self);
            *self = Tree::inner(vec![old, sibling]);
        }
        self.lower();
        result
    }

    fn change_within<R>(
        &mut self,
        mut index: u64,
        fill: Fill,
        change: impl FnOnce(&mut Chunk, usize, &mut Vec<Chunk>) -> R,
    ) -> (R, Option<Tree>) {
        let (result, sibling) = match &mut self.children {
            Children::Leaf(chunks) => {
                let at = locate(chunks.iter().map(|chunk| chunk.len() as u64), &mut index);
                let mut more = Vec::new();
                let len_before = chunks[at].len();
                let heap_bytes_before = chunks[at].heap_bytes();
                chunks[at].expand();
                let result = change(&mut chunks[at], index as usize, &mut more);
                if more.is_empty() && !chunks[at].is_empty() && len_before <= chunks[at].len() {
                    // Nothing came or went among the chunks.
                    if fill.compress_depth != 0 {
                        chunks[at].compress();
                    }
                    self.len += (chunks[at].len() - len_before) as u64;
                    self.heap_bytes = self.heap_bytes - heap_bytes_before + chunks[at].heap_bytes();
                    return (result, None);
                }
                let touched = at.saturating_sub(1)..at + 2 + more.len();
                if chunks[at].is_empty() && more.is_empty() {
                    chunks.remove(at);
                } else {
                    chunks.splice(at + 1..at + 1, more);
                    join(chunks, at, fill);
                }
                if fill.compress_depth != 0 {
                    let end = touched.end.min(chunks.len());
                    chunks[touched.start.min(end)..end].iter_mut().for_each(Chunk::compress);
                }
                let half = (ORDER < chunks.len()).then(|| Tree::leaf(chunks.split_off(chunks.len() / 2)));
                (result, half)
            }
            Children::Inner(nodes) => {
                let at = locate(nodes.iter().map(Tree::len), &mut index);
                let (result, sibling) = nodes[at].change_within(index, fill, change);
                if nodes[at].is_empty() {
                    nodes.remove(at);
                }
                if let Some(sibling) = sibling {
                    nodes.insert(at + 1, sibling);
                }
                let half = (ORDER < nodes.len()).then(|| Tree::inner(nodes.split_off(nodes.len() / 2)));
                (result, half)
            }
        };
        self.count();
        (result, sibling)
    }

    /// Removes up to `count` elements at an end. What went as a whole is gathered in `removed`, so that it can be freed
    /// at leisure; it is in no useful order.
    pub(super) fn cut(&mut self, end: End, count: u64, removed: &mut Removed) {
        if count == 0 || self.len == 0 {
            return;
        }
        if self.len <= count {
            removed.nodes.push(std::mem::take(self));
            return;
        }
        self.cut_within(end, count, removed);
        self.lower();
    }

    fn cut_within(&mut self, end: End, mut count: u64, removed: &mut Removed) {
        match &mut self.children {
            Children::Leaf(chunks) => {
                while let Some(chunk) = at_end(chunks, end)
                    && chunk.len() as u64 <= count
                {
                    count -= chunk.len() as u64;
                    removed.chunks.extend(pop_at(chunks, end));
                }
                if count != 0 {
                    let chunk = at_end(chunks, end).expect("fewer are removed than there are");
                    let first = if end == End::Front { 0 } else { chunk.len() - count as usize };
                    chunk.expand();
                    chunk.remove(first, count as usize);
                }
            }
            Children::Inner(nodes) => {
                while let Some(node) = at_end(nodes, end)
                    && node.len <= count
                {
                    count -= node.len;
                    removed.nodes.extend(pop_at(nodes, end));
                }
                if count != 0 {
                    let node = at_end(nodes, end).expect("fewer are removed than there are");
                    node.cut_within(end, count, removed);
                }
            }
        }
        self.count();
    }

    /// Compresses the chunk that has so many others before it, seen from an end, and is there.
    pub(super) fn compress(&mut self, end: End, before: usize) {
        match &mut self.children {
            Children::Leaf(chunks) => {
                let at = if end == End::Front { before } else { chunks.len() - 1 - before };
                chunks[at].compress();
            }
            Children::Inner(nodes) => {
                let lens = nodes.iter().map(|node| node.chunks as u64);
                let mut index = before as u64;
                let at = match end {
                    End::Front => locate(lens, &mut index),
                    End::Back => nodes.len() - 1 - locate(lens.rev(), &mut index),
                };
                nodes[at].compress(end, index as usize);
            }
        }
        self.count();
    }

    /// Visits all chunks, front to back.
    pub(super) fn for_each(&self, visit: &mut impl FnMut(&Chunk)) {
        match &self.children {
            Children::Leaf(chunks) => chunks.iter().for_each(visit),
            Children::Inner(nodes) => nodes.iter().for_each(|node| node.for_each(visit)),
        }
    }

    /// What must be true of it: sums, depths, no empty part.
    #[cfg(test)]
    pub(super) fn check(&self) {
        fn depth(node: &Tree, is_root: bool) -> usize {
            assert!(is_root || !node.is_empty());
            match &node.children {
                Children::Leaf(chunks) => {
                    assert!(chunks.len() <= ORDER && chunks.iter().all(|chunk| !chunk.is_empty()));
                    let heap_bytes = vector_bytes(chunks) + chunks.iter().map(Chunk::heap_bytes).sum::<usize>();
                    assert_eq!(node.heap_bytes, heap_bytes);
                    assert_eq!(node.chunks, chunks.len());
                    assert_eq!(node.len, chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>());
                    0
                }
                Children::Inner(nodes) => {
                    assert!(nodes.len() <= ORDER && (!is_root || 1 < nodes.len()));
                    let heap_bytes = vector_bytes(nodes) + nodes.iter().map(Tree::heap_bytes).sum::<usize>();
                    assert_eq!(node.heap_bytes, heap_bytes);
                    assert_eq!(node.chunks, nodes.iter().map(Tree::chunks).sum::<usize>());
                    assert_eq!(node.len, nodes.iter().map(Tree::len).sum::<u64>());
                    let depths: Vec<usize> = nodes.iter().map(|node| depth(node, false)).collect();
                    assert!(depths.windows(2).all(|pair| pair[0] == pair[1]), "{depths:?}");
                    depths[0] + 1
                }
            }
        }
        depth(self, true);
    }
}

/// What was cut off trees.
#[derive(Debug, Default)]
pub(super) struct Removed {
    nodes: Vec<Tree>,
    chunks: Vec<Chunk>,
}

impl Removed {
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.chunks.is_empty()
    }

    pub(super) fn push(&mut self, chunk: Chunk) {
        self.chunks.push(chunk);
    }

    /// The number of chunks.
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len() + self.nodes.iter().map(Tree::chunks).sum::<usize>()
    }

    /// Bytes still allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Chunk::heap_bytes).sum();
        let nodes: usize = self.nodes.iter().map(Tree::heap_bytes).sum();
        chunks + nodes + vector_bytes(&self.chunks) + vector_bytes(&self.nodes)
    }

    /// Frees up to `budget` chunks. Whether some are left.
    pub(super) fn free_some(&mut self, budget: usize) -> bool {
        for _ in 0..budget {
            if self.chunks.pop().is_some() {
                continue;
            }
            let Some(node) = self.nodes.last_mut() else { return false };
            match &mut node.children {
                Children::Leaf(chunks) => {
                    if chunks.pop().is_none() {
                        self.nodes.pop();
                    }
                }
                Children::Inner(nodes) => {
                    let inner = std::mem::take(nodes);
                    self.nodes.pop();
                    self.nodes.extend(inner);
                }
            }
        }
        !self.is_empty()
    }
}

/// Which of several neighbours, whose numbers of elements these are, has the element with an index; the index becomes
/// that in it.
#[inline]
fn locate(lens: impl Iterator<Item = u64>, index: &mut u64) -> usize {
    for (at, len) in lens.enumerate() {
        if *index < len {
            return at;
        }
        *index -= len;
    }
    unreachable!("the sums say that it is there")
}

/// Joins a chunk with its neighbours where both are small.
fn join(chunks: &mut Vec<Chunk>, at: usize, fill: Fill) {
    for left in [Some(at), at.checked_sub(1)].into_iter().flatten() {
        if let [first, second, ..] = &mut chunks[left..]
            && first.may_join(second, fill)
        {
            first.expand();
            second.expand();
            first.append(second);
            chunks.remove(left + 1);
        }
    }
}

fn at_end<T>(items: &mut [T], end: End) -> Option<&mut T> {
    match end {
        End::Front => items.first_mut(),
        End::Back => items.last_mut(),
    }
}

fn push_at<T>(items: &mut Vec<T>, end: End, item: T) {
    match end {
        End::Front => items.insert(0, item),
        End::Back => items.push(item),
    }
}

fn pop_at<T>(items: &mut Vec<T>, end: End) -> Option<T> {
    match end {
        End::Front => (!items.is_empty()).then(|| items.remove(0)),
        End::Back => items.pop(),
    }
}

fn vector_bytes<T>(vector: &Vec<T>) -> usize {
    allocated_bytes(vector.capacity() * size_of::<T>())
}
