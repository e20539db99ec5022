//! The log against a map from ids to pairs, and bytes that are no node.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Debug, Clone)]
enum Change {
    Push { ms: u64, seq: u64, fields: u8, value: u16 },
    Delete(u16),
    Trim(Keep, Thorough),
}

fn change() -> impl Strategy<Value = Change> {
    let keep = prop_oneof![
        (0..60_u64).prop_map(Keep::Last),
        (0..200_u64, 0..4_u64).prop_map(|(ms, seq)| Keep::From(Id::new(ms, seq))),
    ];
    let thorough = prop_oneof![Just(Thorough::Exactly), (0..40_u64).prop_map(Thorough::WholeNodes)];
    prop_oneof![
        20 => (0..3_u64, any::<u64>(), 0..6_u8, any::<u16>())
            .prop_map(|(ms, seq, fields, value)| Change::Push { ms, seq, fields, value }),
        6 => any::<u16>().prop_map(Change::Delete),
        1 => (keep, thorough).prop_map(|(keep, thorough)| Change::Trim(keep, thorough)),
    ]
}

/// Few sets of fields, so that entries share those of their node, or do not.
fn pairs(fields: u8, value: u16) -> Pairs {
    let names: &[&[u8]] = match fields {
        0 => &[b"f"],
        1 | 2 => &[b"name", b"7"],
        3 => &[b"7", b"name"],
        4 => &[b"name", b"name"],
        _ => &[b"", b"-0", b"long field name that is not an integer at all, and so on"],
    };
    names.iter().map(|name| (name.to_vec(), vec![b'1' + (value % 7) as u8; usize::from(value % 40)])).collect()
}

fn borrowed(pairs: &[(Vec<u8>, Vec<u8>)]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    pairs.iter().map(|(field, value)| (&field[..], &value[..]))
}

fn owned(entry: &Entry<'_>) -> (Id, Pairs) {
    let pairs = entry.pairs();
    assert_eq!(pairs.len(), entry.len());
    (entry.id, pairs.map(|(field, value)| (field.to_vec(), value.to_vec())).collect())
}

/// What a trim to whole nodes removes is no more than it may, and nothing that is to stay.
fn check_trim(before: &BTreeMap<Id, Pairs>, log: &StreamLog, keep: Keep, thorough: Thorough, removed: u64) {
    let wanted = match keep {
        Keep::Last(len) => (before.len() as u64).saturating_sub(len),
        Keep::From(id) => before.range(..id).count() as u64,
    };
    match thorough {
        Thorough::Exactly => assert_eq!(removed, wanted),
        Thorough::WholeNodes(limit) => {
            assert!(removed <= wanted && (limit == 0 || removed <= limit));
            // The next node could not go: too many would, or it ends behind what is to go, be it with deleted entries.
            if let Some((master, node)) = log.nodes.first().map(|place| log.nodes.at(place)) {
                let reaches = node.last(master).map(|last| last.id);
                assert!(
                    wanted < removed + node.live()
                        || limit != 0 && limit < removed + node.live()
                        || wanted == removed
                        || matches!(keep, Keep::From(id) if reaches.is_some_and(|last| id <= last))
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn it_is_a_map_from_ids_to_pairs(
        changes in proptest::collection::vec(change(), 1..300),
        node_bytes_max in prop_oneof![Just(0_usize), Just(100), Just(4096)],
        node_entries_max in prop_oneof![Just(0_u64), Just(1), Just(5), Just(100)],
        far in any::<bool>(),
    ) {
        let limits = Limits { node_bytes_max, node_entries_max };
        let mut log = StreamLog::new();
        let mut model: BTreeMap<Id, Pairs> = BTreeMap::new();
        let mut last = Id::MIN;
        for change in changes {
            match change {
                Change::Push { ms, seq, fields, value } => {
                    let seq = if far { seq } else { seq % 4 };
                    let seq = if ms == 0 { last.seq.saturating_add(1 + seq % 3) } else { seq };
                    let mut id = Id::new(last.ms + ms, seq);
                    if id <= last {
                        id = Id::new(last.ms + 1, seq);
                    }
                    last = id;
                    let pairs = pairs(fields, value);
                    log.push(id, borrowed(&pairs), limits);
                    model.insert(id, pairs);
                }
                Change::Delete(index) => {
                    let id = model.keys().nth(usize::from(index) % model.len().max(1)).copied();
                    let id = id.unwrap_or(Id::new(u64::from(index), 0));
                    prop_assert_eq!(log.delete(id), model.remove(&id).is_some());
                    prop_assert!(!log.delete(id));
                }
                Change::Trim(keep, thorough) => {
                    let (removed, mut gone) = log.trim(keep, thorough);
                    check_trim(&model, &log, keep, thorough, removed);
                    for _ in 0..removed {
                        model.pop_first();
                    }
                    while gone.free_some(3) {}
                    prop_assert_eq!((gone.heap_bytes(), gone.len()), (0, 0));
                }
            }
            prop_assert_eq!(log.len(), model.len() as u64);
            prop_assert_eq!(log.first_id(), model.keys().next().copied().unwrap_or(Id::MIN));
            prop_assert_eq!(log.last_id(), model.keys().next_back().copied());
        }
        log.check();
        let all: Vec<(Id, Pairs)> = log.range(Id::MIN, Id::MAX).map(|entry| owned(&entry)).collect();
        prop_assert!(all.iter().map(|(id, pairs)| (id, pairs)).eq(model.iter()));
        let ids: Vec<Id> = model.keys().copied().collect();
        for (index, id) in ids.iter().enumerate() {
            let end = ids[(index + 7).min(ids.len() - 1)];
            for start in [*id, id.previous().unwrap_or(*id), id.next().unwrap_or(*id)] {
                let forth: Vec<Id> = log.range(start, end).map(|entry| entry.id).collect();
                let mut back: Vec<Id> = log.range_back(start, end).map(|entry| entry.id).collect();
                back.reverse();
                let mut expected: Vec<Id> = Vec::new();
                    if start <= end {
                        expected.extend(model.range(start..=end).map(|(id, _)| *id));
                    }
                prop_assert_eq!(&forth, &expected);
                prop_assert_eq!(&back, &expected);
            }
            prop_assert_eq!(log.get(*id).map(|entry| owned(&entry)), Some((*id, model[id].clone())));
        }
        let mut away = log;
        while away.free_some(5) {}
        prop_assert_eq!(away.heap_bytes(), 0);
    }

    #[test]
    fn hostile_nodes_are_refused_or_hold_together(
        mut elements in proptest::collection::vec(prop_oneof![
            (0..6_i64).prop_map(Some), any::<i64>().prop_map(Some), Just(None)
        ], 0..30),
        entries in 0..4_u8, spoiled in any::<proptest::sample::Index>(),
    ) {
        // Half of them begin as good ones.
        if 0 < entries {
            let mut log = StreamLog::new();
            for seq in 0..entries {
                let limits = Limits { node_bytes_max: 0, node_entries_max: 0 };
                log.push(Id::new(1, u64::from(seq) + 1), borrowed(&pairs(seq, 1)), limits);
            }
            let (_, listpack) = log.nodes().next().expect("one node");
            let good: Vec<Option<i64>> = listpack.iter().map(|element| element.integer()).collect();
            let at = spoiled.index(good.len());
            let spoil = elements.pop();
            elements = good;
            if let Some(spoil) = spoil {
                elements[at] = spoil;
            }
        }
        let mut listpack = Listpack::new();
        listpack.push_all(elements.iter().map(|element| element.map_or(
            crate::structure::listpack::Element::Bytes(b"text"), crate::structure::listpack::Element::Integer)));
        let mut log = StreamLog::new();
        if log.push_node(Id::new(1, 1), listpack).is_ok() {
            log.check();
            let ids: Vec<Id> = log.range(Id::MIN, Id::MAX).map(|entry| { let (id, _) = owned(&entry); id }).collect();
            prop_assert_eq!(ids.len() as u64, log.len());
            for id in ids {
                prop_assert!(log.delete(id));
            }
        }
    }
}

#[test]
fn a_node_is_what_redis_makes_of_the_same_entries() {
    let limits = Limits { node_bytes_max: 4096, node_entries_max: 100 };
    let mut log = StreamLog::new();
    let pairs = |text: &'static str| {
        text.split(' ').collect::<Vec<_>>().chunks(2).map(|pair| (pair[0].into(), pair[1].into())).collect::<Pairs>()
    };
    log.push(Id::new(100, 5), borrowed(&pairs("a 1 b 2")), limits);
    log.push(Id::new(100, 7), borrowed(&pairs("a 3 b 4")), limits);
    log.push(Id::new(103, 0), borrowed(&pairs("c 5")), limits);
    assert!(log.delete(Id::new(100, 7)));
    let (id, listpack) = log.nodes().next().expect("one node");
    assert_eq!(id, Id::new(100, 5));
    let elements: Vec<String> =
        listpack.iter().map(|element| String::from_utf8(element.to_vec()).expect("text")).collect();
    assert_eq!(elements.join(" "), "2 1 2 a b 0 2 0 0 1 2 5 3 0 2 3 4 5 0 3 -5 1 c 5 6");
}

#[test]
fn nodes_are_full_when_redis_says_so() {
    let nodes = |node_bytes_max, node_entries_max, count: u64| {
        let mut log = StreamLog::new();
        for seq in 1..=count {
            log.push(
                Id::new(0, seq),
                [(&b"f"[..], &b"0123456789"[..])].into_iter(),
                Limits { node_bytes_max, node_entries_max },
            );
        }
        log.nodes_len()
    };
    assert_eq!((nodes(0, 100, 100), nodes(0, 100, 101), nodes(0, 0, 5000)), (1, 2, 1));
    assert_eq!(nodes(1, 100, 7), 7);
}

#[test]
fn a_node_that_a_trim_to_an_id_empties_stays_and_is_filled_further() {
    let limits = Limits { node_bytes_max: 4096, node_entries_max: 100 };
    let id = |ms| Id { ms, seq: 0 };
    let mut log = StreamLog::new();
    let add = |log: &mut StreamLog, ms| log.push(id(ms), [(&b"a"[..], &b"b"[..])].into_iter(), limits);
    add(&mut log, 13);
    add(&mut log, 20);
    log.delete(id(20));
    let (removed, gone) = log.trim(Keep::From(id(14)), Thorough::Exactly);
    assert_eq!((removed, gone.nodes_len()), (1, 0));
    assert_eq!((log.nodes_len(), log.len(), log.first_id(), log.last_id()), (1, 0, Id::MIN, None));
    log.check();
    add(&mut log, 30);
    assert_eq!((log.nodes_len(), log.first_id(), log.last_id()), (1, id(30), Some(id(30))));
    assert_eq!(log.nodes().next().map(|(master, _)| master), Some(id(13)));
    log.check();
    assert!(log.delete(id(30)));
    assert_eq!(log.nodes_len(), 0, "the last living entry, deleted by its id, takes its node along");
}
