//! The two forms against each other, limits, and bytes from outside.

use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits { members_max: 8, member_bytes_max: 20 };
const ALWAYS_LARGE: Limits = Limits { members_max: 0, member_bytes_max: 0 };

/// What it holds, rising.
fn content(set: &SortedSet) -> Vec<(Vec<u8>, f64)> {
    let mut all = Vec::new();
    set.visit_all(|member, score| all.push((member.to_vec(), score)));
    all
}

fn set_of(limits: Limits, members: &[(&str, f64)]) -> SortedSet {
    let mut set = SortedSet::new(limits, 1);
    members.iter().for_each(|(member, score)| set.set(member.as_bytes(), *score, limits));
    set
}

/// The two forms say the same of everything.
#[track_caller]
fn check_alike(small: &SortedSet, large: &SortedSet) {
    assert_eq!((small.encoding_name(), large.encoding_name()), ("listpack", "skiplist"));
    assert_eq!(content(small), content(large));
    let len = small.len();
    for (rank, (member, score)) in content(large).into_iter().enumerate() {
        for set in [small, large] {
            assert_eq!(set.rank(&member), Some((rank, score)));
            assert_eq!(set.score(&member), Some(score));
        }
        let range = ScoreRange { min: score, min_exclusive: true, max: f64::INFINITY, max_exclusive: false };
        assert_eq!(small.score_range(&range), large.score_range(&range));
        for (start, count, is_back) in [(rank, len - rank, false), (0, rank + 1, true), (rank, 1, true)] {
            let visited = [small, large].map(|set| {
                let mut visited = Vec::new();
                set.visit(start, count, is_back, |member, _| visited.push(member.to_vec()));
                visited
            });
            assert_eq!(visited[0].len(), count);
            assert_eq!(visited[0], visited[1]);
        }
    }
}

proptest! {
    #[test]
    fn both_forms_are_alike(
        changes in prop::collection::vec((0u8..12, -3i32..3, any::<bool>()), 0..40),
        removed in (0usize..9, 0usize..9),
    ) {
        let roomy = Limits { members_max: 100, member_bytes_max: 100 };
        let (mut small, mut large) = (SortedSet::new(roomy, 1), SortedSet::new(ALWAYS_LARGE, 1));
        for (name, score, is_removal) in changes {
            // Numbers among them, which a listpack keeps as integers.
            let member = if name < 6 { name.to_string() } else { format!("m{name}") };
            let score = f64::from(score) / 2.0;
            if is_removal {
                assert_eq!(small.remove(member.as_bytes()), large.remove(member.as_bytes()));
            } else {
                small.set(member.as_bytes(), score, roomy);
                large.set(member.as_bytes(), score, ALWAYS_LARGE);
            }
        }
        check_alike(&small, &large);
        check_alike(&small.duplicate(), &large.duplicate());
        assert_eq!(small.remove_range(removed.0, removed.1), large.remove_range(removed.0, removed.1));
        check_alike(&small, &large);
        let rebuilt = |limits| SortedSet::from_listpack(small.as_listpack().expect("small").clone(), limits);
        prop_assert_eq!(rebuilt(roomy).is_none(), small.is_empty());
        for limits in [roomy, LIMITS, ALWAYS_LARGE] {
            if let Some(rebuilt) = rebuilt(limits) {
                assert_eq!(content(&rebuilt), content(&small));
                assert_eq!(rebuilt.as_listpack().is_some(), small.len() <= limits.members_max);
            }
        }
    }

    #[test]
    fn ranges_of_members_are_alike_where_there_is_one_score(
        members in prop::collection::btree_set("[a-c]{0,3}", 0..20),
        bounds in (0u8..4, "[a-c]{0,2}", 0u8..4, "[a-c]{0,2}"),
    ) {
        let bound = |kind, text: &'static str| match kind {
            0 => LexBound::Lowest,
            1 => LexBound::Highest,
            2 => LexBound::Inclusive(text.as_bytes()),
            _ => LexBound::Exclusive(text.as_bytes()),
        };
        let range = LexRange { min: bound(bounds.0, bounds.1.leak()), max: bound(bounds.2, bounds.3.leak()) };
        let roomy = Limits { members_max: 100, member_bytes_max: 100 };
        let (mut small, mut large) = (SortedSet::new(roomy, 1), SortedSet::new(ALWAYS_LARGE, 1));
        for member in &members {
            small.set(member.as_bytes(), 1.0, roomy);
            large.set(member.as_bytes(), 1.0, ALWAYS_LARGE);
        }
        let is_within = |member: &&String| !range.is_below(member.as_bytes()) && range.is_up_to_max(member.as_bytes());
        let expected = members.iter().filter(is_within).count();
        for from_back in [false, true] {
            let (start, count) = small.lex_range(&range, from_back);
            assert_eq!(count, expected);
            let of_large = large.lex_range(&range, from_back);
            assert!(of_large == (start, count) || count == 0 && of_large.1 == 0);
        }
    }
}

#[test]
fn a_small_set_becomes_large_at_its_limits() {
    let mut set = SortedSet::new(LIMITS, 20);
    for number in 0..8 {
        set.set(format!("{number}").as_bytes(), 1.5, LIMITS);
    }
    assert_eq!(set.encoding_name(), "listpack");
    set.set(b"3", 7.0, LIMITS);
    set.set(b"a member that is too long", 1.0, LIMITS);
    assert_eq!((set.encoding_name(), set.len()), ("skiplist", 9));
    let mut set = set_of(LIMITS, &[("a", 1.0)]);
    (0..8).for_each(|number| set.set(format!("{number}").as_bytes(), 1.5, LIMITS));
    assert_eq!((set.encoding_name(), set.len()), ("skiplist", 9));
    assert_eq!(SortedSet::new(LIMITS, 21).encoding_name(), "skiplist");
    assert_eq!(SortedSet::new(ALWAYS_LARGE, 0).encoding_name(), "skiplist");

    let members: Vec<(Vec<u8>, f64)> = content(&set);
    let sorted = || members.iter().map(|(member, score)| (member.as_slice(), *score));
    assert_eq!(SortedSet::from_sorted(sorted(), LIMITS).encoding_name(), "skiplist");
    assert_eq!(content(&SortedSet::from_sorted(sorted(), LIMITS)), members);
    let few = SortedSet::from_sorted(sorted().take(8), LIMITS);
    assert_eq!((few.encoding_name(), content(&few)), ("listpack", members[..8].to_vec()));
}

#[test]
fn a_score_that_does_not_change_stays_as_it_is() {
    for limits in [LIMITS, ALWAYS_LARGE] {
        let mut set = set_of(limits, &[("a", -0.0)]);
        set.set(b"a", 0.0, limits);
        // As an integer zero has no sign.
        assert_eq!(set.score(b"a").expect("there").is_sign_negative(), limits == ALWAYS_LARGE);
        set.update(b"a", limits, |old| old.map(|_| 3.25));
        set.update(b"b", limits, |old| old.map(|_| 3.25));
        set.update(b"a", limits, |_| None);
        assert_eq!(content(&set), [(b"a".to_vec(), 3.25)]);
    }
}

#[test]
fn bytes_that_are_no_sorted_set_are_refused() {
    let pack = |elements: &[&str]| {
        let mut listpack = Listpack::new();
        elements.iter().for_each(|element| listpack.push_back(element.as_bytes()));
        [LIMITS, ALWAYS_LARGE].map(|limits| SortedSet::from_listpack(listpack.clone(), limits))
    };
    for set in pack(&["a", "1", "7", "inf"]) {
        assert_eq!(content(&set.expect("valid")), [(b"a".to_vec(), 1.0), (b"7".to_vec(), f64::INFINITY)]);
    }
    for bad in
        [&["a"][..], &["a", "x"], &["a", "nan"], &["a", "2", "b", "1"], &["b", "1", "a", "1"], &["a", "1", "a", "2"]]
    {
        assert!(pack(bad).iter().all(Option::is_none), "{bad:?}");
    }
}
