//! The packed table against a plain map.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

/// Deterministic random numbers.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// The sums of the table, made from scratch.
fn check_sums<const VALUES: bool>(table: &Packed<VALUES>) {
    let blobs = || table.chunks.iter().flat_map(|chunk| &chunk.blobs);
    assert_eq!(table.buckets, blobs().count());
    assert_eq!(table.blob_bytes, blobs().map(Blob::byte_len).sum::<usize>());
    assert_eq!(table.allocated, blobs().map(Blob::allocated_bytes).sum::<usize>());
    assert_eq!(table.chunk_bytes, table.chunks.iter().map(Chunk::heap_bytes).sum::<usize>());
    assert_eq!(table.len, blobs().map(Blob::len).sum::<usize>());
    assert!(blobs().all(|blob| blob.len() <= table.count_max));
    assert_eq!(table.timed_len, table.iter().filter(|entry| entry.deadline_ms.is_some()).count());
    for bucket in 0..table.buckets {
        let first_ms = table.blob(bucket).iter().filter_map(|entry| entry.deadline_ms).min().unwrap_or(NEVER_MS);
        assert!(table.due_of(bucket) <= first_ms && table.due_ms <= first_ms);
        assert!(table.chunks[bucket / CHUNK_LEN].first_due_ms <= first_ms);
        for entry in table.blob(bucket).iter() {
            assert_eq!(table.bucket_of(table.hash(entry.key)), bucket);
        }
    }
}

fn check<const VALUES: bool>(table: &Packed<VALUES>, model: &Model) {
    assert_eq!(table.len(), model.len());
    let found: Model =
        table.iter().map(|entry| (entry.key.to_vec(), (entry.value.to_vec(), entry.deadline_ms))).collect();
    assert_eq!(&found, model);
    for (key, (value, deadline_ms)) in model {
        assert_eq!(table.get(key), Some(Entry { key, value, deadline_ms: *deadline_ms }));
    }
    check_sums(table);
}

#[derive(Debug, Clone)]
enum Change {
    Put(Vec<u8>, Vec<u8>, Option<u64>),
    Deadline(Vec<u8>, Option<u64>),
    Remove(Vec<u8>),
    RemoveDue(u64, usize),
    RemoveRandom(u64),
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u16..200).prop_map(|number| number.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..3),
        1 => (120usize..135, 0u8..3).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (bytes(), bytes(), proptest::option::weighted(0.2, 0u64..100))
            .prop_map(|(key, value, deadline_ms)| Change::Put(key, value, deadline_ms)),
        2 => (bytes(), proptest::option::of(0u64..100)).prop_map(|(key, due)| Change::Deadline(key, due)),
        4 => bytes().prop_map(Change::Remove),
        1 => (0u64..100, 0usize..5).prop_map(|(now_ms, budget)| Change::RemoveDue(now_ms, budget)),
        2 => any::<u64>().prop_map(Change::RemoveRandom),
    ]
}

fn apply<const VALUES: bool>(table: &mut Packed<VALUES>, model: &mut Model, change: Change) {
    match change {
        Change::Put(key, value, deadline_ms) => {
            let value = if VALUES { value } else { Vec::new() };
            match table.find(&key) {
                Some(_) if !VALUES => return,
                Some(place) => {
                    table.set_value(place, &value);
                    let place = table.find(&key).expect("it is there");
                    table.set_deadline(place, deadline_ms);
                }
                None => table.insert(Entry { key: &key, value: &value, deadline_ms }),
            }
            model.insert(key, (value, deadline_ms));
        }
        Change::Deadline(key, deadline_ms) => {
            let place = table.find(&key);
            assert_eq!(place.is_some(), model.contains_key(&key));
            if let Some(place) = place {
                table.set_deadline(place, deadline_ms);
                model.get_mut(&key).expect("seen above").1 = deadline_ms;
            }
        }
        Change::Remove(key) => {
            let place = table.find(&key);
            assert_eq!(place.is_some(), model.remove(&key).is_some());
            if let Some(place) = place {
                table.remove(place);
            }
        }
        Change::RemoveDue(now_ms, budget) => {
            let mut told = Vec::new();
            table.remove_due(now_ms, budget, |key| told.push(key.to_vec()));
            for key in told {
                let (_, deadline_ms) = model.remove(&key).expect("it was there");
                assert!(deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms));
            }
            let left = model.values().filter_map(|(_, deadline_ms)| *deadline_ms).filter(|&ms| ms <= now_ms).count();
            assert!(left == 0 || table.due_ms().is_some_and(|due_ms| due_ms <= now_ms));
        }
        Change::RemoveRandom(seed) => {
            let mut state = seed;
            let place = table.random(|| split_mix(&mut state));
            assert_eq!(place.is_some(), !model.is_empty());
            if let Some(place) = place {
                assert!(model.remove(table.at(place).key).is_some());
                table.remove(place);
            }
        }
    }
}

proptest! {
    #[test]
    fn it_is_a_map(seed in any::<u64>(), changes in proptest::collection::vec(change(), 0..400)) {
        let (mut table, mut model) = (Packed::<true>::new(seed), Model::new());
        for (step, change) in changes.into_iter().enumerate() {
            apply(&mut table, &mut model, change);
            if step % 16 == 0 {
                check(&table, &model);
            }
        }
        check(&table, &model);
        check(&table.clone(), &model);
    }

    #[test]
    fn it_is_a_set(seed in any::<u64>(), changes in proptest::collection::vec(change(), 0..400)) {
        let (mut table, mut model) = (Packed::<false>::new(seed), Model::new());
        changes.into_iter().for_each(|change| apply(&mut table, &mut model, change));
        check(&table, &model);
        check(&table.clone(), &model);
    }

    #[test]
    fn a_scan_visits_what_stays(
        seed in any::<u64>(),
        start in 0usize..3000,
        changes in proptest::collection::vec((-400i32..400, 1usize..50), 0..60),
    ) {
        let mut table = Packed::<false>::new(seed);
        let insert = |table: &mut Packed<false>, number: usize| {
            table.insert(Entry { key: number.to_string().as_bytes(), value: b"", deadline_ms: None });
        };
        // The last numbers come and go.
        let (mut len, mut len_min) = (start, start);
        (0..len).for_each(|number| insert(&mut table, number));
        let mut visited = BTreeSet::new();
        let (mut cursor, mut changes) = (0, changes.into_iter());
        loop {
            let (change, budget) = changes.next().unwrap_or((0, 100));
            cursor = table.scan(cursor, budget, |entry| {
                visited.insert(String::from_utf8_lossy(entry.key).parse::<usize>().expect("a number"));
            });
            if cursor == 0 {
                break;
            }
            for _ in 0..change {
                insert(&mut table, len);
                len += 1;
            }
            for _ in change..0 {
                if let Some(place) = len.checked_sub(1).and_then(|last| table.find(last.to_string().as_bytes())) {
                    table.remove(place);
                    len -= 1;
                }
            }
            len_min = len_min.min(len);
        }
        prop_assert!((0..len_min).all(|number| visited.contains(&number)));
    }

    #[test]
    fn any_cursor_is_served(len in 0usize..500, cursor in any::<u64>()) {
        let mut table = Packed::<false>::new(1);
        for number in 0..len {
            table.insert(Entry { key: number.to_string().as_bytes(), value: b"", deadline_ms: None });
        }
        let mut cursor = table.scan(cursor, 10, |_| {});
        for _ in 0..len + 10 {
            if cursor == 0 {
                break;
            }
            cursor = table.scan(cursor, 10, |_| {});
        }
        prop_assert_eq!(cursor, 0);
    }
}

#[test]
fn random_entries_are_uniform() {
    let mut table = Packed::<false>::new(7);
    let (len, draws) = (1000, 1_000_000);
    for number in 0..len {
        table.insert(Entry { key: number.to_string().as_bytes(), value: b"", deadline_ms: None });
    }
    let (mut counts, mut state) = (vec![0u32; len], 1);
    for _ in 0..draws {
        let place = table.random(|| split_mix(&mut state)).expect("not empty");
        let number: usize = std::str::from_utf8(table.at(place).key).expect("digits").parse().expect("a number");
        counts[number] += 1;
    }
    // Chi square with 999 degrees of freedom: mean 999, deviation 44.7.
    let mean = f64::from(draws) / len as f64;
    let chi_square: f64 = counts.iter().map(|&count| (f64::from(count) - mean).powi(2) / mean).sum();
    assert!((800.0..1230.0).contains(&chi_square), "{chi_square}");
}

#[test]
fn bytes_and_work_are_bounded_at_every_size() {
    let mut table = Packed::<false>::new(3);
    let mut key = *b"member0000";
    for number in 0..300_000u32 {
        key[6..].copy_from_slice(&number.to_le_bytes());
        let buckets_before = table.buckets;
        table.insert(Entry { key: &key, value: b"", deadline_ms: None });
        assert!(table.buckets <= buckets_before + 1);
        if 1000 < number {
            let bytes = table.heap_bytes() as f64 / f64::from(number);
            assert!(bytes < 18.5, "{bytes} bytes each of {number}");
        }
    }
    let bytes = table.heap_bytes() as f64 / 300_000.0;
    assert!(bytes < 16.0, "{bytes}");
    assert!(table.count_max < 128, "{}", table.count_max);
    for number in 0..299_990u32 {
        key[6..].copy_from_slice(&number.to_le_bytes());
        let place = table.find(&key).expect("it is there");
        table.remove(place);
    }
    assert!(table.buckets < 5 && table.heap_bytes() < 2000, "{} {}", table.buckets, table.heap_bytes());
    check_sums(&table);
}

#[test]
fn it_is_freed_in_slices() {
    let mut table = Packed::<true>::new(3);
    for number in 0..50_000u32 {
        let value = vec![b'v'; if number % 10 == 0 { 300 } else { 10 }];
        table.insert(Entry { key: &number.to_le_bytes(), value: &value, deadline_ms: None });
    }
    let mut bytes_before = table.heap_bytes();
    let mut slices = 0;
    while table.free_some(100) {
        assert!(bytes_before - table.heap_bytes() < 100 * 600 + 8192);
        bytes_before = table.heap_bytes();
        slices += 1;
    }
    assert!(50 < slices && bytes_before < 70_000, "{slices} {bytes_before}");
}

#[test]
fn deadlines_cost_nothing_where_there_are_none_and_come_in_slices() {
    let mut table = Packed::<true>::new(3);
    for number in 0..100_000u32 {
        let deadline_ms = number.is_multiple_of(2).then_some(u64::from(number) / 100);
        table.insert(Entry { key: &number.to_le_bytes(), value: b"", deadline_ms });
    }
    assert_eq!(table.timed_len(), 50_000);
    let (mut removed, mut slices) = (0, 0);
    while table.due_ms().is_some_and(|due_ms| due_ms <= 500) {
        let before = removed;
        table.remove_due(500, 20, |_| removed += 1);
        assert!(removed - before <= 20 * table.count_max);
        slices += 1;
    }
    assert!(removed == 25_050 && 50 < slices, "{removed} {slices}");
    assert!(table.due_ms().is_some_and(|due_ms| due_ms == 501), "{:?}", table.due_ms());
    table.remove_due(u64::MAX - 1, usize::MAX, |_| {});
    assert_eq!((table.len(), table.due_ms()), (50_000, None));
    check_sums(&table);
}
