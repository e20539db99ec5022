//! Hashes in every form against a plain map.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

fn limits(listpack_len_max: usize) -> Limits {
    Limits { listpack_len_max, listpack_bytes_max: 20, seed: 5 }
}

fn check(hash: &Hash, model: &Model, now_ms: u64) {
    let live: Model = model
        .iter()
        .filter(|(_, (_, deadline_ms))| deadline_ms.is_none_or(|deadline_ms| now_ms < deadline_ms))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let of_field = |field: Field<'_>| (field.name.to_vec(), (field.value.to_vec(), field.deadline_ms));
    assert_eq!(hash.iter(now_ms).map(of_field).collect::<Model>(), live);
    let mut scanned = Model::new();
    let mut cursor = 0;
    loop {
        cursor = hash.scan(cursor, 3, now_ms, |field| {
            let (name, rest) = of_field(field);
            assert!(scanned.insert(name, rest).is_none());
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(scanned, live);
    for (name, (value, deadline_ms)) in model {
        let found = hash.field(name, now_ms).map(of_field);
        let expected = live.contains_key(name).then(|| (name.clone(), (value.clone(), *deadline_ms)));
        assert_eq!(found, expected);
    }
    let first_ms = live.values().filter_map(|(_, deadline_ms)| *deadline_ms).min();
    assert!(first_ms.is_none_or(|first_ms| hash.due_ms().is_some_and(|due_ms| due_ms <= first_ms)));
}

#[derive(Debug, Clone)]
enum Change {
    Set(String, String, Deadline),
    Deadline(String, Option<u64>),
    Remove(String),
    RemoveDue(usize),
    Wait(u64),
}

fn change() -> impl Strategy<Value = Change> {
    let name = || prop_oneof![4 => "[a-z0-9]{1,2}", 1 => "x{19,22}"];
    let deadline = prop_oneof![Just(Deadline::Clear), Just(Deadline::Keep), (1u64..100).prop_map(Deadline::At)];
    prop_oneof![
        8 => (name(), "-?[0-9]{0,4}|[a-z]{0,22}", deadline).prop_map(|(n, v, d)| Change::Set(n, v, d)),
        2 => (name(), proptest::option::of(1u64..100)).prop_map(|(n, d)| Change::Deadline(n, d)),
        3 => name().prop_map(Change::Remove),
        1 => (1usize..4).prop_map(Change::RemoveDue),
        1 => (0u64..10).prop_map(Change::Wait),
    ]
}

proptest! {
    #[test]
    fn it_is_a_map_in_every_form(
        listpack_len_max in 0usize..40,
        changes in proptest::collection::vec(change(), 0..200),
    ) {
        let limits = limits(listpack_len_max);
        let (mut hash, mut model, mut now_ms) = (Hash::new(), Model::new(), 0);
        let mut is_table = false;
        for change in changes {
            let is_live = |model: &Model, name: &str| {
                model.get(name.as_bytes()).is_some_and(|(_, due_ms)| due_ms.is_none_or(|due_ms| now_ms < due_ms))
            };
            match change {
                Change::Set(name, value, deadline) => {
                    let was_live = is_live(&model, &name);
                    is_table |= 20 < name.len() || 20 < value.len();
                    let old_ms = model.get(name.as_bytes()).and_then(|(_, due_ms)| *due_ms).filter(|_| was_live);
                    let deadline_ms = match deadline {
                        Deadline::Clear => None,
                        Deadline::Keep => old_ms,
                        Deadline::At(deadline_ms) => Some(deadline_ms),
                    };
                    let is_new = hash.set(name.as_bytes(), value.as_bytes(), deadline, now_ms, &limits);
                    prop_assert_eq!(is_new, !was_live);
                    model.insert(name.into_bytes(), (value.into_bytes(), deadline_ms));
                }
                Change::Deadline(name, deadline_ms) => {
                    let was_live = is_live(&model, &name);
                    prop_assert_eq!(hash.set_deadline(name.as_bytes(), deadline_ms, now_ms), was_live);
                    if was_live {
                        model.get_mut(name.as_bytes()).expect("it is there").1 = deadline_ms;
                    }
                }
                Change::Remove(name) => {
                    prop_assert_eq!(hash.remove(name.as_bytes(), now_ms), is_live(&model, &name));
                    model.remove(name.as_bytes());
                }
                Change::RemoveDue(budget) => {
                    let len_before = hash.len();
                    let removed = hash.remove_due(now_ms, budget);
                    prop_assert_eq!(removed.count, len_before - hash.len());
                    prop_assert_eq!(removed.is_empty, hash.is_empty());
                    let is_gone = |name: &Vec<u8>| hash.iter(0).all(|field| !field.name.is_text(name));
                    model.retain(|name, (_, due_ms)| due_ms.is_none_or(|due_ms| now_ms < due_ms) || !is_gone(name));
                }
                Change::Wait(ms) => now_ms += ms,
            }
            is_table |= listpack_len_max < hash.len();
            prop_assert_eq!(hash.len(), model.len());
            prop_assert_eq!(hash.timed_len(), model.values().filter(|(_, due_ms)| due_ms.is_some()).count());
            prop_assert_eq!(hash.encoding_name() == "hashtable", is_table);
            check(&hash, &model, now_ms);
        }
        check(&hash.duplicate(), &model, now_ms);
        if let Some(pairs) = hash.listpack().filter(|pairs| !pairs.is_empty()) {
            check(&Hash::from_listpack(pairs.clone(), &limits).expect("its own pairs"), &model, now_ms);
        }
        while hash.due_ms().is_some_and(|due_ms| due_ms <= 100) {
            hash.remove_due(100, 1);
        }
        model.retain(|_, (_, due_ms)| due_ms.is_none());
        check(&hash, &model, 100);
    }
}

#[test]
fn fields_of_a_listpack_stay_in_their_order() {
    let mut hash = Hash::new();
    for name in ["b", "a", "c", "a"] {
        hash.set(name.as_bytes(), b"v", Deadline::Clear, 0, &limits(9));
    }
    let names = |hash: &Hash| hash.iter(0).map(|field| field.name.to_vec()).collect::<Vec<_>>().concat();
    assert_eq!((names(&hash), hash.encoding_name()), (b"bac".to_vec(), "listpack"));
    hash.set_deadline(b"a", Some(5), 0);
    assert_eq!((names(&hash), hash.encoding_name()), (b"bac".to_vec(), "listpackex"));
    hash.set_deadline(b"a", None, 0);
    assert_eq!((hash.due_ms(), hash.encoding_name()), (None, "listpackex"));
}

#[test]
fn pairs_that_are_none_are_refused() {
    let pairs = |elements: &[&[u8]]| {
        let mut pairs = Listpack::new();
        elements.iter().for_each(|&element| pairs.push_back(element));
        Hash::from_listpack(pairs, &limits(9)).map(|hash| hash.len())
    };
    assert_eq!(pairs(&[b"a", b"1", b"b", b"2"]), Some(2));
    assert_eq!(pairs(&[b"a", b"1", b"b"]), None);
    assert_eq!(pairs(&[b"a", b"1", b"a", b"2"]), None);
}

#[test]
fn random_fields_are_uniform_in_every_form() {
    for (len, listpack_len_max) in [(20u32, 100), (20, 0), (300, 0)] {
        let mut hash = Hash::new();
        for number in 0..len {
            hash.set(number.to_string().as_bytes(), b"v", Deadline::Clear, 0, &limits(listpack_len_max));
        }
        let (mut state, mut counts) = (1u64, vec![0u32; len as usize]);
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state ^ state >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        for _ in 0..len * 1000 {
            let field = hash.random(&mut draw).expect("not empty");
            counts[field.name.integer().expect("a number") as usize] += 1;
        }
        // A thousand each, with a deviation of 32.
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{len}: {counts:?}");
    }
}

#[test]
fn a_field_takes_few_bytes() {
    for (len, bytes_max) in [(10, 26.0), (100, 26.0), (1000, 29.0), (100_000, 28.0)] {
        let mut hash = Hash::new();
        for number in 0..len {
            let (name, value) = (format!("f{number:09}"), format!("v{number:09}"));
            hash.set(name.as_bytes(), value.as_bytes(), Deadline::Clear, 0, &limits(512));
        }
        let bytes = hash.heap_bytes() as f64 / f64::from(len);
        assert!(bytes < bytes_max, "{bytes} bytes for each of {len}");
    }
}
