//! Against the plainest model, with good hashes and with colliding ones; memory; freeing.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A hash as good as any.
struct Good;

impl MemberHash for Good {
    fn hash(member: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64(member)
    }
}

/// A hash of few values: members collide in all bits that are looked at.
struct Poor;

impl MemberHash for Poor {
    fn hash(member: &[u8]) -> u64 {
        (Good::hash(member) % 37).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// A score that can be a key of a map; -0 and 0 are one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score(f64);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Score) -> std::cmp::Ordering {
        self.0.partial_cmp(&other.0).expect("never NaN")
    }
}

/// The plainest sorted set.
#[derive(Default)]
struct Model {
    scores: BTreeMap<Vec<u8>, f64>,
    order: BTreeSet<(Score, Vec<u8>)>,
}

impl Model {
    fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let old = self.remove(member);
        self.scores.insert(member.to_vec(), score);
        self.order.insert((Score(score), member.to_vec()));
        old
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let old = self.scores.remove(member)?;
        assert!(self.order.remove(&(Score(old), member.to_vec())));
        Some(old)
    }
}

impl<H: MemberHash> SortedTree<H> {
    /// Everything that always holds.
    #[track_caller]
    fn check(&self) {
        let mut bytes = 0;
        let mut leaves = Vec::new();
        let members =
            if self.root == NONE { 0 } else { self.check_node(self.root, self.depth, &mut bytes, &mut leaves) };
        assert_eq!(members, self.len);
        assert_eq!(self.members.len(), self.len);
        for (index, &number) in leaves.iter().enumerate() {
            let leaf = self.leaves.get(number);
            assert_eq!(leaf.prev(), index.checked_sub(1).map_or(NONE, |index| leaves[index]));
            assert_eq!(leaf.next(), leaves.get(index + 1).copied().unwrap_or(NONE));
        }
        let mut last: Option<(&[u8], f64)> = None;
        for (member, score) in self.iter() {
            if member.len() > INLINE_LEN_MAX {
                bytes += allocated_bytes(member.len());
            }
            if let Some((last_member, last_score)) = last {
                assert!(last_score < score || last_score == score && last_member < member);
            }
            last = Some((member, score));
        }
        assert_eq!(bytes, self.block_bytes);
        assert!(!self.is_empty() || self.heap_bytes() < 2048 && self.depth == 0 && self.root == NONE);
    }

    fn check_node(&self, node: u32, depth: u32, bytes: &mut usize, leaves: &mut Vec<u32>) -> usize {
        if depth == 0 {
            let leaf = self.leaves.get(node);
            assert!(0 < leaf.len() && leaf.used_bytes() <= LEAF_BYTES_MAX);
            assert_eq!(leaf.offset(leaf.len()), leaf.used_bytes());
            *bytes += leaf.block_bytes();
            leaves.push(node);
            return leaf.len();
        }
        let inner = self.inners.get(node);
        assert!(!inner.0.is_empty() && inner.0.len() <= BRANCHES_MAX);
        *bytes += inner.heap_bytes();
        let mut sum = 0;
        for branch in &inner.0 {
            let first_leaf = leaves.len();
            let members = self.check_node(branch.child, depth - 1, bytes, leaves);
            assert_eq!(branch.members as usize, members);
            assert_eq!(branch.score, self.leaves.get(leaves[first_leaf]).score(0));
            sum += members;
        }
        sum
    }
}

#[track_caller]
fn check_same<H: MemberHash>(tree: &SortedTree<H>, model: &Model) {
    tree.check();
    let ours: Vec<(Vec<u8>, u64)> = tree.iter().map(|(member, score)| (member.to_vec(), score.to_bits())).collect();
    let theirs: Vec<(Vec<u8>, u64)> =
        model.order.iter().map(|(_, member)| (member.clone(), model.scores[member].to_bits())).collect();
    assert_eq!(ours, theirs);
    for (rank, (member, score)) in theirs.iter().enumerate() {
        assert_eq!(tree.rank(member).map(|(rank, score)| (rank, score.to_bits())), Some((rank, *score)));
        assert_eq!(tree.score(member).map(f64::to_bits), Some(*score));
    }
    let mut scanned = BTreeSet::new();
    let mut cursor = 0;
    loop {
        cursor = tree.scan(cursor, 7, |member, _| _ = scanned.insert(member.to_vec()));
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(scanned, model.scores.keys().cloned().collect());
}

#[derive(Debug, Clone)]
enum Operation {
    Set(Vec<u8>, f64),
    SetMany(u16, u8),
    Remove(Vec<u8>),
    RemoveRange(u16, u16),
    CountByScore(f64),
    CountByMember(Vec<u8>),
    Back(u16),
    Duplicate,
}

fn members() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u16..2000).prop_map(|number| format!("member:{number}").into_bytes()),
        2 => prop::collection::vec(any::<u8>(), 0..6),
        1 => (0u8..20, 120usize..140).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn scores() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-20i32..20).prop_map(f64::from),
        2 => any::<i32>().prop_map(f64::from),
        1 => prop::sample::select(vec![0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e-300, 0.1]),
    ]
}

fn operations() -> impl Strategy<Value = Operation> {
    prop_oneof![
        20 => (members(), scores()).prop_map(|(member, score)| Operation::Set(member, score)),
        6 => (any::<u16>(), any::<u8>()).prop_map(|(start, kind)| Operation::SetMany(start, kind)),
        10 => members().prop_map(Operation::Remove),
        2 => (any::<u16>(), any::<u16>()).prop_map(|(rank, count)| Operation::RemoveRange(rank, count)),
        3 => scores().prop_map(Operation::CountByScore),
        1 => members().prop_map(Operation::CountByMember),
        2 => any::<u16>().prop_map(Operation::Back),
        1 => Just(Operation::Duplicate),
    ]
}

fn run<H: MemberHash>(operations: &[Operation]) {
    let mut tree = SortedTree::<H>::new();
    let mut model = Model::default();
    for operation in operations {
        match operation {
            Operation::Set(member, score) => assert_eq!(tree.set(member, *score), model.set(member, *score)),
            Operation::SetMany(start, kind) => {
                for number in 0..100 {
                    let number = f64::from(*start) + f64::from(number);
                    let member = format!("member:{number}").into_bytes();
                    let score = [number, -number, 1.0, number % 7.0][usize::from(kind % 4)];
                    assert_eq!(tree.set(&member, score), model.set(&member, score));
                }
            }
            Operation::Remove(member) => assert_eq!(tree.remove(member), model.remove(member)),
            Operation::RemoveRange(rank, count) => {
                let rank = usize::from(*rank) % (tree.len() + 1);
                let count = usize::from(*count) % 300;
                let expected: Vec<Vec<u8>> =
                    model.order.iter().skip(rank).take(count).map(|(_, member)| member.clone()).collect();
                let mut removed = Vec::new();
                let number = tree.remove_range(rank, count, |member, _| removed.push(member.to_vec()));
                assert_eq!((number, &removed), (expected.len(), &expected));
                for member in expected {
                    model.remove(&member);
                }
            }
            Operation::CountByScore(score) => {
                let below = model.order.iter().filter(|(other, _)| other.0 < *score).count();
                let up_to = model.order.iter().filter(|(other, _)| other.0 <= *score).count();
                assert_eq!(tree.count_by_score(|other| other < *score), below);
                assert_eq!(tree.count_by_score(|other| other <= *score), up_to);
            }
            Operation::CountByMember(member) => {
                let mut flat = SortedTree::<H>::new();
                for other in model.scores.keys() {
                    flat.set(other, 1.5);
                }
                let below = model.scores.keys().filter(|other| *other < member).count();
                assert_eq!(flat.count_by_member(|other| other < member.as_slice()), below);
            }
            Operation::Back(rank) => {
                let rank = usize::from(*rank) % (tree.len() + 1);
                let ours: Vec<&[u8]> = tree.iter_back_from(rank).map(|(member, _)| member).collect();
                let mut theirs: Vec<&[u8]> = model.order.iter().map(|(_, member)| member.as_slice()).collect();
                theirs.truncate(if rank < theirs.len() { rank + 1 } else { 0 });
                theirs.reverse();
                assert_eq!(ours, theirs);
            }
            Operation::Duplicate => tree = tree.duplicate(),
        }
        tree.check();
    }
    check_same(&tree, &model);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn it_does_what_a_plain_model_does(operations in prop::collection::vec(operations(), 1..80)) {
        run::<Good>(&operations);
    }

    #[test]
    fn colliding_hashes_change_nothing(operations in prop::collection::vec(operations(), 1..30)) {
        run::<Poor>(&operations);
    }
}

/// As many as need three levels of inner nodes.
const MANY: u64 = 300_000;

fn mixed(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20)
}

fn filled(score: impl Fn(u64) -> f64) -> SortedTree<Good> {
    let mut tree = SortedTree::new();
    for number in 0..MANY {
        assert_eq!(tree.set(format!("{number:010}").as_bytes(), score(number)), None);
    }
    tree.check();
    tree
}

#[test]
fn large_sets_grow_shrink_and_stay_in_order() {
    let mut tree = filled(|number| (mixed(number) >> 40) as f64);
    assert!(1 < tree.depth);
    for number in (0..MANY).step_by(1013) {
        let member = format!("{number:010}");
        let (rank, score) = tree.rank(member.as_bytes()).expect("it is there");
        assert_eq!(tree.nth(rank), Some((member.as_bytes(), score)));
        assert!(tree.count_by_score(|other| other < score) <= rank);
    }
    // Every second one gets another score, every third one goes.
    for number in (0..MANY).step_by(2) {
        tree.set(format!("{number:010}").as_bytes(), number as f64);
    }
    tree.check();
    for number in (0..MANY).step_by(3) {
        assert!(tree.remove(format!("{number:010}").as_bytes()).is_some());
    }
    tree.check();
    assert_eq!(tree.len() as u64, MANY - MANY / 3);
    let len = tree.len();
    assert_eq!(tree.remove_range(10, len - 20, |_, _| ()), len - 20);
    tree.check();
    assert_eq!((tree.len(), tree.depth), (20, 0));
    assert_eq!(tree.remove_range(0, usize::MAX, |_, _| ()), 20);
    tree.check();
}

/// The page's arithmetic, for members of ten bytes.
#[test]
fn a_member_takes_some_32_bytes() {
    let check = |tree: &SortedTree<Good>, bytes_max: f64| {
        let bytes = tree.heap_bytes() as f64 / tree.len() as f64;
        assert!(bytes < bytes_max, "{bytes}");
    };
    check(&filled(|number| (mixed(number) >> 20) as f64), 33.5);
    check(&filled(|number| number as f64), 32.5);
    check(&filled(|number| -(number as f64)), 32.5);
    check(&filled(|_| 0.0), 32.5);
}

#[test]
fn what_is_gone_is_freed_in_slices() {
    let mut tree = filled(|number| number as f64);
    tree.set(&[7; 1000], 1.0);
    let allocations = tree.allocations();
    let (mut slices, mut bytes) = (1, tree.heap_bytes());
    while tree.free_some(100) {
        slices += 1;
        assert!(tree.heap_bytes() <= bytes);
        bytes = tree.heap_bytes();
    }
    assert!(allocations / 100 < slices && slices < 3 * allocations / 100, "{slices} slices for {allocations}");
    assert!(tree.heap_bytes() < 10_000, "{}", tree.heap_bytes());
}
