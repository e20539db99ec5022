//! Sorted sets: members with scores, ordered by score, members of one score by their bytes.
//!
//! | `OBJECT ENCODING` | what it is | while |
//! |---|---|---|
//! | `listpack` | [`Listpack`] of pairs, in Redis' format | few and short members: [`Limits`] |
//! | `skiplist` | [`SortedTree`], which is none: Redis' name for what is large | afterwards |
//!
//! A small set becomes a large one when a member is added that the limits do not allow, and never goes back, save where
//! Redis does it too: results that a command stores.
//!
//! Members are handed to visitors rather than iterated over, for those of a listpack may be integers, whose text exists
//! nowhere.

mod range;
mod small;
#[cfg(test)]
mod tests;

use super::member_hash::member_hash;
use super::number::format_double;
use super::{Container, HEAVY_ALLOCATIONS_MIN};
use crate::structure::listpack::{Element, Listpack};
use crate::structure::sorted_tree::{MemberHash, SortedTree};
pub use range::{LexBound, LexRange, ScoreRange};
use small::Small;

/// How large a small set may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members at most: `zset-max-listpack-entries`.
    pub members_max: usize,
    /// Bytes of a member at most: `zset-max-listpack-value`.
    pub member_bytes_max: usize,
}

/// Members are hashed with the key of the process.
#[derive(Debug)]
pub enum Keyed {}

impl MemberHash for Keyed {
    fn hash(member: &[u8]) -> u64 {
        member_hash(member)
    }
}

/// A sorted set.
#[derive(Debug)]
pub struct SortedSet(Form);

#[derive(Debug)]
enum Form {
    Small(Small),
    Large(Box<SortedTree<Keyed>>),
}

/// Bytes beside a member at most: heads and lengths of two elements, and the digits of a score.
const BESIDE_BYTES_MAX: usize = 64;

/// Bytes that a member and its score take in a listpack, at most.
fn bytes_at_most(member: &[u8]) -> usize {
    member.len() + BESIDE_BYTES_MAX
}

/// A small set of members that come in order, none twice, if the limits allow it for all of them.
fn small_of<'a, I: Iterator<Item = (&'a [u8], f64)>>(members: impl Fn() -> I, limits: Limits) -> Option<Small> {
    let mut small = Small::default();
    let (mut count, mut bytes) = (0, 0);
    let is_small = members().all(|(member, _)| {
        count += 1;
        bytes += bytes_at_most(member);
        count <= limits.members_max && member.len() <= limits.member_bytes_max && small.0.can_add(bytes)
    });
    is_small.then(|| {
        members().for_each(|(member, score)| small.push(member, score));
        small
    })
}

impl SortedSet {
    /// An empty set, for a first member of so many bytes.
    pub fn new(limits: Limits, member_bytes: usize) -> SortedSet {
        if limits.members_max == 0 || limits.member_bytes_max < member_bytes {
            SortedSet(Form::Large(Box::default()))
        } else {
            SortedSet(Form::Small(Small::default()))
        }
    }

    /// A set of members that come in order, none twice: small if the limits allow it for all of them.
    pub fn from_sorted<'a>(members: impl Iterator<Item = (&'a [u8], f64)> + Clone, limits: Limits) -> SortedSet {
        if let Some(small) = small_of(|| members.clone(), limits) {
            return SortedSet(Form::Small(small));
        }
        let mut tree = SortedTree::new();
        members.for_each(|(member, score)| _ = tree.set(member, score));
        SortedSet(Form::Large(Box::new(tree)))
    }

    /// An empty set that stays large whatever it gets, until [`SortedSet::settle`]. For members in any order, of whose
    /// number and length nothing is known yet: a small set on the way would make 0 of the score -0.
    pub fn gathering() -> SortedSet {
        SortedSet(Form::Large(Box::default()))
    }

    /// Small now, if the limits allow it for all members.
    pub fn settle(self, limits: Limits) -> SortedSet {
        let small = match &self.0 {
            Form::Large(tree) => small_of(|| tree.iter(), limits),
            Form::Small(_) => None,
        };
        small.map_or(self, |small| SortedSet(Form::Small(small)))
    }

    /// A set from a listpack of members and scores in turn, which is taken over unless it has too many members. `None`
    /// if there are none, one has no score that is a number, one comes twice, or they are not in order.
    pub fn from_listpack(listpack: Listpack, limits: Limits) -> Option<SortedSet> {
        let count = listpack.len();
        if count == 0 || !count.is_multiple_of(2) {
            return None;
        }
        let is_small = count / 2 <= limits.members_max;
        let mut tree = SortedTree::new();
        let mut last: Option<(f64, Element<'_>)> = None;
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
        let mut elements = listpack.iter();
        while let (Some(member), Some(score)) = (elements.next(), elements.next()) {
            let score = match score {
                Element::Integer(integer) => integer as f64,
                Element::Bytes(text) => super::number::parse_double(text)?,
            };
            let [one, other] = &mut digits;
            let text = member.bytes(one);
            if let Some((last_score, last)) = last
                && (score, text) <= (last_score, last.bytes(other))
            {
                return None;
            }
            if !is_small && tree.set(text, score).is_some() {
                return None;
            }
            last = Some((score, member));
        }
        if !is_small {
            return Some(SortedSet(Form::Large(Box::new(tree))));
        }
        listpack.is_distinct(2).then_some(SortedSet(Form::Small(Small(listpack))))
    }

    /// The bytes of a small set.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Form::Small(small) => Some(&small.0),
            Form::Large(_) => None,
        }
    }

    /// Members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Small(small) => small.len(),
            Form::Large(tree) => tree.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Form::Small(small) => small.find(member).map(|(_, score)| score),
            Form::Large(tree) => tree.score(member),
        }
    }

    /// The rank of a member, from 0 at the lowest score, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.0 {
            Form::Small(small) => small.rank(member),
            Form::Large(tree) => tree.rank(member),
        }
    }

    /// Looks at a member's score, if it is there, and gives it the one that `decide` says, if it says one. The score
    /// is a number.
    pub fn update(&mut self, member: &[u8], limits: Limits, decide: impl FnOnce(Option<f64>) -> Option<f64>) {
        match &mut self.0 {
            Form::Small(small) => match small.find(member) {
                Some((at, old)) => {
                    if let Some(score) = decide(Some(old))
                        && score != old
                    {
                        small.remove(at);
                        small.insert(member, score);
                    }
                }
                None => {
                    let Some(score) = decide(None) else { return };
                    if limits.members_max <= small.len()
                        || limits.member_bytes_max < member.len()
                        || !small.0.can_add(bytes_at_most(member))
                    {
                        self.enlarge().set(member, score);
                    } else {
                        small.insert(member, score);
                    }
                }
            },
            Form::Large(tree) => {
                let found = tree.find(member);
                match (found.score(), decide(found.score())) {
                    (None, Some(score)) => tree.insert(found, member, score),
                    (Some(old), Some(score)) if score != old => tree.change_score(found, member, score),
                    _ => {}
                }
            }
        }
    }

    /// Gives a member a score, whether it is there or not.
    pub fn set(&mut self, member: &[u8], score: f64, limits: Limits) {
        self.update(member, limits, |_| Some(score));
    }

    #[cold]
    fn enlarge(&mut self) -> &mut SortedTree<Keyed> {
        if let Form::Small(small) = &self.0 {
            let mut tree = SortedTree::new();
            small.visit(0, small.len(), false, |member, score| _ = tree.set(member, score));
            self.0 = Form::Large(Box::new(tree));
        }
        match &mut self.0 {
            Form::Large(tree) => tree,
            Form::Small(_) => unreachable!("enlarged above"),
        }
    }

    /// Takes a member out; its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Form::Small(small) => {
                let (at, score) = small.find(member)?;
                small.remove(at);
                Some(score)
            }
            Form::Large(tree) => tree.remove(member),
        }
    }

    /// Takes out `count` members from a rank on, or as many as there are; how many.
    pub fn remove_range(&mut self, start: usize, count: usize) -> usize {
        let count = count.min(self.len().saturating_sub(start));
        match &mut self.0 {
            Form::Small(small) => _ = small.0.remove_range(2 * start as i64, 2 * count),
            Form::Large(tree) => _ = tree.remove_range(start, count, |_, _| ()),
        }
        count
    }

    /// Visits `count` members from a rank on, all of which are there; from the last to the first if `is_back`.
    pub fn visit(&self, start: usize, count: usize, is_back: bool, mut visit: impl FnMut(&[u8], f64)) {
        assert!(start + count <= self.len());
        match &self.0 {
            Form::Small(small) => small.visit(start, count, is_back, visit),
            Form::Large(tree) if is_back && 0 < count => {
                let members = tree.iter_back_from(start + count - 1);
                members.take(count).for_each(|(member, score)| visit(member, score));
            }
            Form::Large(tree) => tree.iter_from(start).take(count).for_each(|(member, score)| visit(member, score)),
        }
    }

    /// Visits all members, rising.
    pub fn visit_all(&self, visit: impl FnMut(&[u8], f64)) {
        self.visit(0, self.len(), false, visit);
    }

    /// The members with scores in a range: the rank of the first, and how many there are.
    pub fn score_range(&self, range: &ScoreRange) -> (usize, usize) {
        let count = |is_before: &dyn Fn(f64) -> bool| match &self.0 {
            Form::Small(small) => small.count_while(|_, score| is_before(score)),
            Form::Large(tree) => tree.count_by_score(is_before),
        };
        let start = count(&|score| range.is_below(score));
        let end = count(&|score| range.is_up_to_max(score));
        (start, end.saturating_sub(start))
    }

    /// The members in a range of members: the rank of the first, and how many there are. Meant for sets of one score.
    /// If there are several, what is found in a small set is what Redis finds: it looks from the front, or from the
    /// back.
    pub fn lex_range(&self, range: &LexRange<'_>, from_back: bool) -> (usize, usize) {
        const NOTHING: (usize, usize) = (0, 0);
        if range.is_empty() || self.is_empty() {
            return NOTHING;
        }
        match &self.0 {
            Form::Small(small) => {
                let len = small.len();
                let (mut first_fits, mut last_fits) = (false, false);
                small.visit(0, 1, false, |member, _| first_fits = range.is_up_to_max(member));
                small.visit(len - 1, 1, false, |member, _| last_fits = !range.is_below(member));
                if !first_fits || !last_fits {
                    return NOTHING;
                }
                let mut is_passing = true;
                if from_back {
                    let mut above = 0;
                    let up_to_first = small.count_back_while(|member, _| {
                        is_passing &= !range.is_up_to_max(member);
                        above += usize::from(is_passing);
                        is_passing || !range.is_below(member)
                    });
                    (len - up_to_first, up_to_first - above)
                } else {
                    let mut below = 0;
                    let up_to_last = small.count_while(|member, _| {
                        is_passing &= range.is_below(member);
                        below += usize::from(is_passing);
                        is_passing || range.is_up_to_max(member)
                    });
                    (below, up_to_last - below)
                }
            }
            Form::Large(tree) => {
                let start = tree.count_by_member(|member| range.is_below(member));
                let end = tree.count_by_member(|member| range.is_up_to_max(member));
                (start, end.saturating_sub(start))
            }
        }
    }

    /// One step of an iteration with the guarantee of SCAN; a small set is visited in one step. Scores come as Redis
    /// writes them there: those of a small set as they are stored.
    pub fn scan(&self, cursor: u64, budget: usize, mut visit: impl FnMut(&[u8], &[u8])) -> u64 {
        match &self.0 {
            Form::Small(small) => {
                small.visit_texts(visit);
                0
            }
            Form::Large(tree) => {
                tree.scan(cursor, budget, |member, score| visit(member, format_double(score).as_bytes()))
            }
        }
    }
}

impl Container for SortedSet {
    fn encoding_name(&self) -> &'static str {
        match self.0 {
            Form::Small(_) => "listpack",
            Form::Large(_) => "skiplist",
        }
    }

    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Small(small) => small.0.heap_bytes(),
            Form::Large(tree) => super::allocation::allocated_bytes(size_of_val(&**tree)) + tree.heap_bytes(),
        }
    }

    fn duplicate(&self) -> SortedSet {
        SortedSet(match &self.0 {
            Form::Small(small) => Form::Small(small.clone()),
            Form::Large(tree) => Form::Large(Box::new(tree.duplicate())),
        })
    }

    fn is_heavy(&self) -> bool {
        matches!(&self.0, Form::Large(tree) if HEAVY_ALLOCATIONS_MIN <= tree.allocations())
    }

    fn free_some(&mut self, budget: usize) -> bool {
        match &mut self.0 {
            Form::Small(_) => false,
            Form::Large(tree) => tree.free_some(budget),
        }
    }
}
