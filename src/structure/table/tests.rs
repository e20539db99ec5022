//! The table against plain models: an entry is a number, its payload eight times that, its hash what a test makes of
//! it.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A hash worth the name.
fn good(entry: u64) -> u64 {
    let mut state = entry;
    next_random(&mut state)
}

/// Hash functions from good to hostile.
const HASHES: [fn(u64) -> u64; 7] = [
    good,
    // All tags equal.
    |entry| good(entry) & !0xffff | 0x1234,
    // Tags 0 and 1 only: one and the same after `tag_of`.
    |entry| good(entry) & !0xfffe,
    // All directory bits equal.
    |entry| good(entry) & 0xffff,
    // Two hashes.
    |entry| if entry % 3 == 0 { 0 } else { u64::MAX },
    // One hash.
    |_| 0xdead_beef_dead_beef,
    // The entry itself: only tags differ.
    |entry| entry,
];

/// A table with its model.
struct Pair {
    table: Table,
    model: BTreeSet<u64>,
    hash: fn(u64) -> u64,
    rehashed: usize,
    rehashed_max: usize,
}

impl Pair {
    fn new(hash: fn(u64) -> u64) -> Pair {
        Pair { table: Table::new(), model: BTreeSet::new(), hash, rehashed: 0, rehashed_max: 0 }
    }

    fn insert(&mut self, entry: u64) {
        if !self.model.insert(entry) {
            return;
        }
        let mut rehashed = 0;
        self.table.insert((self.hash)(entry), entry * 8, |payload| {
            assert!(payload != entry * 8, "asked for the hash of the new entry");
            rehashed += 1;
            (self.hash)(payload / 8)
        });
        self.rehashed += rehashed;
        self.rehashed_max = self.rehashed_max.max(rehashed);
    }

    fn remove(&mut self, entry: u64) {
        let found = self.table.find((self.hash)(entry), |payload| payload == entry * 8);
        assert_eq!(found.is_some(), self.model.remove(&entry));
        if let Some(position) = found {
            assert_eq!(self.table.remove(position), entry * 8);
        }
    }

    fn contains(&self, entry: u64) -> bool {
        let found = self.table.get((self.hash)(entry), |payload| payload == entry * 8);
        assert_eq!(found.is_some(), self.model.contains(&entry));
        let locator = Table::locator((self.hash)(entry));
        let located = self.table.find_by_locator(locator, |payload| payload == entry * 8);
        assert_eq!(located.map(|(_, payload)| payload), found);
        assert!(located.is_none_or(|(position, payload)| self.table.payload(position) == payload));
        found.is_some()
    }

    fn bytes_per_entry(&self) -> f64 {
        self.table.memory_bytes() as f64 / self.model.len() as f64
    }

    /// Everything that always holds of a table.
    fn check(&self) {
        let table = &self.table;
        let mut entries = BTreeSet::new();
        let mut buckets_all = 0;
        let mut bytes_all = 0;
        let mut key = 0;
        while key < width_of(0) && table.buckets != 0 {
            let segment = table.directory.get(key);
            let depth = segment.depth();
            assert!(depth <= table.directory.depth());
            assert_eq!(start_of(key, depth), key);
            assert!(table.directory.get(key + width_of(depth) - 1) == segment);
            let homes = segment.homes();
            for index in 0..segment.buckets() {
                // SAFETY: a bucket of a live block.
                let bucket = unsafe { segment.bucket(index) };
                let used = bucket.used();
                assert!(bucket.slots[..used].iter().all(|&slot| slot != 0));
                assert!(bucket.slots[used..].iter().all(|&slot| slot == 0));
                for &slot in &bucket.slots[..used] {
                    let payload = slot & PAYLOAD_MASK;
                    assert!(payload != 0 && entries.insert(payload / 8));
                    let hash = (self.hash)(payload / 8);
                    assert_eq!(tag_of(hash), tag_of_slot(slot));
                    assert_eq!(start_of(key_of(hash), depth), key);
                    let home = home_of(tag_of_slot(slot), homes);
                    if index != home && index != home + 1 {
                        assert!(segment.stash().contains(&index));
                        // SAFETY: a bucket of a live block.
                        let bucket = unsafe { segment.bucket(home) };
                        assert!(bucket.used() == SLOTS && bucket.is_marked());
                    }
                    let bits = key_of(hash) << depth >> (KEY_BITS - 2) & 3;
                    assert!([0b100 | bits, 0b010 | bits >> 1, 0b001].contains(&(slot & 7)));
                }
            }
            buckets_all += segment.buckets();
            bytes_all += bytes_of(segment.buckets());
            key += width_of(depth);
        }
        for stray in &table.overflow {
            assert!(entries.insert(stray.payload / 8));
            assert_eq!(stray.hash, (self.hash)(stray.payload / 8));
        }
        assert_eq!((table.buckets, table.block_bytes), (buckets_all, bytes_all));
        assert_eq!(table.len(), self.model.len());
        assert!(entries == self.model);
        // However hostile the hashes: so many bytes an entry, and then a small block and a directory, or two.
        let free = 2048 + 2 * DIRECTORY_WORDS_FREE * size_of::<u64>();
        assert!(table.memory_bytes() <= free + 64 * table.len(), "{} for {}", table.memory_bytes(), table.len());
    }
}

#[test]
fn an_empty_table_has_no_memory() {
    let empty = const { Table::new() };
    assert_eq!(empty.memory_bytes(), 0);
    empty.prefetch(good(1));
    assert!(empty.first_match(good(1)).is_none() && empty.get(good(1), |_| true).is_none());
    assert!(empty.random(good(1)).is_none() && empty.sample(good(1), &mut [0; 4]) == 0);
    assert_eq!(empty.scan(0, 10, |_| unreachable!()), 0);
    let mut table = Table::new();
    assert!(!table.take().step(10, |_| unreachable!()));
    // A few entries cost little, and nothing when they are gone.
    let mut pair = Pair::new(good);
    (1..=8).for_each(|entry| pair.insert(entry));
    assert!(pair.table.memory_bytes() <= 136);
    (1..=8).for_each(|entry| pair.remove(entry));
    assert_eq!(pair.table.memory_bytes(), 0);
}

#[test]
fn entries_come_and_go() {
    for hash in HASHES {
        for len in [1, 2, 8, 16, 17, 40, 100, 1000] {
            let mut pair = Pair::new(hash);
            for entry in 1..=len {
                pair.insert(entry);
            }
            pair.check();
            for entry in 1..=2 * len {
                assert_eq!(pair.contains(entry), entry <= len);
            }
            for entry in 1..=len {
                pair.remove(entry);
                if entry % 64 == 0 {
                    pair.check();
                }
            }
            pair.check();
            // Nearly everything is given back; a lopsided directory may take longer than there were entries.
            assert!(pair.table.memory_bytes() < 2048);
        }
    }
}

#[test]
fn a_position_reads_and_replaces_the_payload() {
    for hash in HASHES {
        let mut table = Table::new();
        for entry in 1..=300 {
            table.insert(hash(entry), entry * 8, |payload| hash(payload / 8));
        }
        for entry in 1..=300 {
            let position = table.find(hash(entry), |payload| payload == entry * 8).unwrap();
            assert_eq!(table.payload(position), entry * 8);
            table.set_payload(position, (entry + 1000) * 8);
            assert_eq!(table.payload(position), (entry + 1000) * 8);
        }
        let mut entries = BTreeSet::new();
        table.for_each(|payload| assert!(entries.insert(payload / 8)));
        assert!(entries.into_iter().eq(1001..=1300));
    }
}

#[test]
#[should_panic]
fn a_payload_that_is_no_multiple_of_eight_is_refused() {
    Table::new().insert(1, 12, |_| unreachable!());
}

#[test]
#[should_panic]
fn a_payload_above_48_bits_is_refused() {
    Table::new().insert(1, 1 << 48, |_| unreachable!());
}

#[test]
#[should_panic]
fn a_position_of_a_removed_entry_is_refused() {
    let mut table = Table::new();
    table.insert(1, 8, |_| unreachable!());
    let position = table.find(1, |_| true).unwrap();
    table.remove(position);
    table.payload(position);
}

/// Bytes an entry at all sizes; no insertion asks for many hashes; the same on the way back.
#[test]
fn memory_and_work_are_bounded_at_every_size() {
    let len_max = if cfg!(miri) { 5_000 } else { 2_000_000 };
    let mut pair = Pair::new(good);
    let mut marks = Vec::new();
    let mut mark = 2_000.0;
    while mark < len_max as f64 {
        marks.push(mark as u64);
        mark *= 1.1;
    }
    let mut bytes_all = 0.0;
    for entry in 1..=len_max {
        pair.insert(entry);
        if marks.contains(&entry) {
            let bytes = pair.bytes_per_entry();
            assert!(bytes <= if entry < 10_000 { 11.0 } else { 9.9 }, "{bytes:.2} bytes at {entry} entries");
            bytes_all += bytes;
        }
    }
    let mean = bytes_all / marks.len() as f64;
    assert!(mean <= 9.75, "{mean:.2} bytes on average");
    pair.check();
    assert!(pair.table.overflow.is_empty());
    // A split asks for about a quarter of the entries of a segment, and all together ask for about half of all.
    assert!(pair.rehashed_max <= 400, "{} hashes for one insertion", pair.rehashed_max);
    assert!(pair.rehashed as u64 <= len_max * 6 / 10, "{} hashes", pair.rehashed);

    for entry in (1..=len_max).rev() {
        pair.remove(entry);
        if marks.contains(&entry) {
            let bytes = pair.bytes_per_entry();
            assert!(bytes <= 12.0, "{bytes:.2} bytes when shrunk to {entry} entries");
        }
        if entry == len_max / 2 || entry == len_max / 50 {
            pair.check();
        }
    }
    assert_eq!(pair.table.memory_bytes(), 0);
}

/// Room that was made beforehand is what so many entries need, wherever their keys are dense, and hardly grows.
#[test]
fn room_is_made_for_entries_to_come() {
    for len in if cfg!(miri) { [0, 4095, 5000, 6000] } else { [0, 4095, 100_000, 1_000_000] } {
        let mut pair = Pair::new(good);
        pair.table = Table::with_room(len);
        let room = pair.table.memory_bytes();
        assert_eq!(room == 0, len < ROOM_LEN_MIN);
        assert!(pair.table.is_empty() && pair.table.find(good(1), |_| true).is_none());
        assert_eq!(pair.table.scan(0, usize::MAX, |_| panic!("there is nothing")), 0);
        for entry in 1..=len as u64 {
            pair.insert(entry);
        }
        pair.check();
        if room != 0 {
            let (bytes, more) = (pair.bytes_per_entry(), pair.table.memory_bytes() as f64 / room as f64);
            assert!(bytes <= 11.0, "{bytes:.2} bytes an entry");
            assert!(more <= 1.03, "{len} entries needed {more:.3} of the room");
            assert!(pair.rehashed <= len / 20, "{} hashes for {len} entries", pair.rehashed);
        }
    }
}

/// Room that is not needed is given back as entries come and go, like that of entries that were removed.
#[test]
fn room_that_is_not_used_is_given_back() {
    let mut pair = Pair::new(good);
    pair.table = Table::with_room(if cfg!(miri) { 5_000 } else { 100_000 });
    for entry in 1..=2_000_u64 {
        pair.insert(entry);
    }
    for turn in 0..20 {
        (1..=2_000).for_each(|entry| pair.remove(entry + turn * 2_000));
        (1..=2_000).for_each(|entry| pair.insert(entry + (turn + 1) * 2_000));
    }
    pair.check();
    let bytes = pair.bytes_per_entry();
    assert!(bytes <= 16.0, "{bytes:.2} bytes an entry");
}

/// What is asked for ahead of a scan is what it comes to soon after, nearly all of it.
#[test]
fn a_look_ahead_sees_what_a_scan_visits_next() {
    let mut pair = Pair::new(good);
    for entry in 1..=if cfg!(miri) { 3_000_u64 } else { 50_000 } {
        pair.insert(entry);
    }
    let (mut cursor, mut ahead, mut hits, mut visited) = (0, VecDeque::new(), 0, 0);
    loop {
        let mut seen = BTreeSet::new();
        pair.table.look_ahead(cursor, 2, |payload| {
            seen.insert(payload);
        });
        assert!(seen.len() <= SLOTS);
        ahead.push_back(seen);
        if 4 < ahead.len() {
            ahead.pop_front();
        }
        cursor = pair.table.scan(cursor, 1, |payload| {
            visited += 1;
            hits += usize::from(ahead.iter().any(|seen| seen.contains(&payload)));
        });
        if cursor == 0 {
            break;
        }
    }
    assert!(visited * 95 <= hits * 100, "{hits} of {visited}");
    Table::new().look_ahead(0, 3, |_| panic!("there is nothing"));
}

/// Entries replaced by others, as a full cache does: blocks must not creep up, and a few lookups must not get slow.
#[test]
fn memory_is_bounded_under_replacement() {
    let len = if cfg!(miri) { 3_000 } else { 60_000 };
    let mut pair = Pair::new(good);
    (1..=len).for_each(|entry| pair.insert(entry));
    for round in 1..=10 {
        for entry in 1..=len {
            pair.remove((round - 1) * len + entry);
            pair.insert(round * len + entry);
        }
        let bytes = pair.bytes_per_entry();
        assert!(bytes <= 11.5, "{bytes:.2} bytes after {round} rounds");
    }
    pair.check();
}

/// A directory deep enough to be replaced in slices, there and back.
#[test]
#[cfg_attr(miri, ignore)]
fn lookups_go_on_while_the_directory_moves() {
    let mut pair = Pair::new(good);
    let (mut moves, mut random) = (0, 7);
    let len = 1_200_000;
    for entry in 1..=len {
        pair.insert(entry);
        if pair.table.directory.is_moving() {
            moves += 1;
            assert!(pair.contains(next_random(&mut random) % entry + 1));
        }
    }
    assert!(4 <= moves, "the directory never moved in slices");
    pair.check();
    moves = 0;
    for entry in 1..=len {
        pair.remove(entry);
        if pair.table.directory.is_moving() {
            moves += 1;
            let other = next_random(&mut random) % len + 1;
            assert_eq!(pair.contains(other), entry < other);
            // Growth in between.
            if moves % 3 == 0 {
                pair.insert(len + entry);
            }
        }
    }
    assert!(4 <= moves, "the directory never moved back in slices");
    pair.check();
}

#[test]
fn a_drain_hands_everything_out_in_steps() {
    for hash in HASHES {
        let mut table = Table::new();
        for entry in 1..=1500u64 {
            table.insert(hash(entry), entry * 8, |payload| hash(payload / 8));
        }
        let mut drain = table.take();
        assert!(table.is_empty() && table.memory_bytes() == 0);
        table.insert(hash(1), 8, |_| unreachable!());
        let mut entries = BTreeSet::new();
        loop {
            let (mut taken, bytes, len) = (0, drain.memory_bytes(), drain.len());
            let is_more = drain.step(10, |payload| {
                taken += 1;
                assert!(entries.insert(payload / 8));
            });
            assert!(taken <= 18 && drain.len() == len - taken && drain.memory_bytes() <= bytes);
            if !is_more {
                break;
            }
        }
        assert!(drain.is_empty() && entries.into_iter().eq(1..=1500));
        assert_eq!(table.len(), 1);
    }
    // One that is dropped half-way.
    let mut table = Table::new();
    for entry in 1..=5000u64 {
        table.insert(good(entry), entry * 8, |payload| good(payload / 8));
    }
    let mut drain = table.take();
    assert!(drain.step(2000, |_| ()));
}

#[test]
fn random_entries_are_nearly_uniform() {
    for (hash, len) in [(good as fn(u64) -> u64, 1), (good, 5), (good, 300), (good, 4000), (|_| 3, 40), (|e| e, 200)] {
        let mut table = Table::new();
        (1..=len).for_each(|entry| table.insert(hash(entry), entry * 8, |payload| hash(payload / 8)));
        let draws_each = 100;
        let mut single = BTreeMap::new();
        let mut several = BTreeMap::new();
        let mut random = 42;
        for _ in 0..len * draws_each {
            let payload = table.random(next_random(&mut random)).unwrap();
            *single.entry(payload / 8).or_insert(0u64) += 1;
            let mut payloads = [0; 4];
            let filled = table.sample(next_random(&mut random), &mut payloads);
            assert_eq!(filled as u64, len.clamp(1, 4).min(len));
            let different: BTreeSet<u64> = payloads[..filled].iter().copied().collect();
            assert_eq!(different.len(), filled);
            different.into_iter().for_each(|payload| *several.entry(payload / 8).or_insert(0u64) += 1);
        }
        // With 100 draws each: 10 is the standard deviation of a fair draw. Counts of 30 to 200 leave room for
        // segments that have a tenth more or less than their share.
        assert_eq!(single.len() as u64, len);
        let (low, high) = (single.values().min().unwrap(), single.values().max().unwrap());
        assert!(30 <= *low && *high <= 200, "{low} to {high} draws instead of {draws_each}, {len} entries");
        assert_eq!(several.len() as u64, len);
        let fair = draws_each * len.min(4);
        let (low, high) = (several.values().min().unwrap(), several.values().max().unwrap());
        assert!(fair / 8 <= *low && *high <= fair * 4, "{low} to {high} samples instead of {fair}, {len} entries");
    }
}

/// Every cursor that a client may make up is served.
#[test]
fn any_cursor_is_served() {
    let mut pair = Pair::new(good);
    (1..=3000).for_each(|entry| pair.insert(entry));
    let mut random = 1;
    for shift in 0..64 {
        for _ in 0..20 {
            let mut cursor = next_random(&mut random) >> shift;
            for step in 0.. {
                cursor = pair.table.scan(cursor, 100, |payload| assert!(pair.model.contains(&(payload / 8))));
                assert!(cursor >> CURSOR_BITS == 0 && step < 3000);
                if cursor == 0 {
                    break;
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert { first: u64, count: u64 },
    Remove { first: u64, count: u64 },
    Contains(u64),
    Check,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = || (1..400u64, prop_oneof![3 => 1..10u64, 1 => 1..300u64]);
    let step = prop_oneof![
        6 => range().prop_map(|(first, count)| Step::Insert { first, count }),
        5 => range().prop_map(|(first, count)| Step::Remove { first, count }),
        2 => (1..800u64).prop_map(Step::Contains),
        1 => Just(Step::Check),
    ];
    prop::collection::vec(step, 1..60)
}

/// Steps of an iteration between which the table grows and shrinks: `(budget, change)`, positive to insert.
fn phases() -> impl Strategy<Value = Vec<(usize, i64)>> {
    let change = prop_oneof![4 => -50..50i64, 2 => -3000..3000i64, 1 => Just(0)];
    prop::collection::vec((prop_oneof![1..4usize, 5..300usize], change), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 200 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn behaves_as_a_set(which in 0..HASHES.len(), scale in 1..20u64, steps in steps()) {
        let mut pair = Pair::new(HASHES[which]);
        // Hostile hashes make lists of strays, with which everything takes its time.
        let scale = if which == 0 { scale } else { 1 };
        for step in steps {
            match step {
                Step::Insert { first, count } => (first..first + count * scale).for_each(|entry| pair.insert(entry)),
                Step::Remove { first, count } => (first..first + count * scale).for_each(|entry| pair.remove(entry)),
                Step::Contains(entry) => { pair.contains(entry); },
                Step::Check => pair.check(),
            }
        }
        pair.check();
        prop_assert!(pair.rehashed_max <= 888);
        let all: Vec<u64> = pair.model.iter().copied().collect();
        for entry in all {
            prop_assert!(pair.contains(entry));
            pair.remove(entry);
        }
        pair.check();
    }

    #[test]
    fn scan_visits_what_stays(which in 0..HASHES.len(), len in 0..5000u64, phases in phases(), seed in any::<u64>()) {
        let len = if which == 0 { len } else { len % 300 };
        let mut pair = Pair::new(HASHES[which]);
        (1..=len).for_each(|entry| pair.insert(entry));
        let mut random = seed;
        let mut next = len;
        // What is there from the first step to the last.
        let mut staying = pair.model.clone();
        let mut visited = BTreeSet::new();
        let mut cursor = 0;
        let mut phase = phases.iter().cycle();
        for step in 0.. {
            let &(budget, change) = phase.next().unwrap();
            let mut in_step = 0;
            cursor = pair.table.scan(cursor, budget, |payload| {
                assert!(pair.model.contains(&(payload / 8)));
                visited.insert(payload / 8);
                in_step += 1;
            });
            if which == 0 {
                prop_assert!(in_step <= budget + 900);
            }
            if cursor == 0 {
                break;
            }
            let change = if which == 0 { change } else { change % 100 };
            if 0 < change && pair.model.len() < 20_000 {
                for _ in 0..change {
                    next += 1;
                    pair.insert(next);
                }
            }
            for _ in change..0 {
                let from = next_random(&mut random) % next.max(1);
                let Some(&entry) = pair.model.range(from..).next() else { continue };
                pair.remove(entry);
                staying.remove(&entry);
            }
            prop_assert!(step < 30_000, "the iteration does not end");
        }
        prop_assert!(staying.is_subset(&visited));
        pair.check();
    }

    #[test]
    fn a_survey_visits_what_stays_once(
        which in 0..HASHES.len(),
        len in 0..5000u64,
        phases in phases(),
        seed in any::<u64>(),
    ) {
        let hash = HASHES[which];
        let len = if which == 0 { len } else { len % 300 };
        let mut pair = Pair::new(hash);
        (1..=len).for_each(|entry| pair.insert(entry));
        let mut random = seed;
        let mut next = len;
        // What is there from the first step to the last.
        let mut staying = pair.model.clone();
        let mut visited = BTreeSet::new();
        let mut position = 0;
        for &(budget, change) in phases.iter().cycle() {
            let mut in_step = 0;
            let before = position;
            position = pair.table.survey(position, budget, |payload| hash(payload / 8), |payload| {
                assert!(pair.model.contains(&(payload / 8)));
                assert!(visited.insert(payload / 8), "{} was visited twice", payload / 8);
                in_step += 1;
            });
            if which == 0 {
                prop_assert!(in_step <= budget + 900);
            }
            if position == 0 {
                break;
            }
            prop_assert!(before < position);
            let change = if which == 0 { change } else { change % 100 };
            if 0 < change && pair.model.len() < 20_000 {
                for _ in 0..change {
                    next += 1;
                    pair.insert(next);
                }
            }
            for _ in change..0 {
                let from = next_random(&mut random) % next.max(1);
                let Some(&entry) = pair.model.range(from..).next() else { continue };
                pair.remove(entry);
                staying.remove(&entry);
            }
        }
        prop_assert!(staying.is_subset(&visited));
    }
}

/// As when a walk of one database fills another: at first all entries begin alike.
#[test]
fn entries_in_the_order_of_a_walk_find_their_places() {
    let mut entries: Vec<u64> = (1..=300_000).collect();
    entries.sort_unstable_by_key(|&entry| key_of(good(entry)));
    let mut table = Table::new();
    let mut strays_max = 0;
    for &entry in &entries {
        table.insert(good(entry), entry * 8, |payload| good(payload / 8));
        strays_max = strays_max.max(table.overflow.len());
    }
    // The directory follows within some hundred insertions; who had no place meanwhile finds one later.
    assert!(strays_max < 2000 && table.overflow.len() < 100, "{strays_max}, then {}", table.overflow.len());
    assert!(table.memory_bytes() < 12 * table.len() + DIRECTORY_WORDS_FREE * 8, "{}", table.memory_bytes());
}
