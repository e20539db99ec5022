//! Who goes, and who may not go, under each policy.

use super::*;
use crate::keyspace::{Class, Expiry};
use crate::value::Value;

const START_MS: u64 = 1_700_000_000_000;

fn keyspace(databases: usize) -> Keyspace {
    let mut keyspace = Keyspace::new(databases, 7);
    keyspace.begin(START_MS, true);
    keyspace
}

fn eviction(judge: Judge, is_volatile: bool) -> Eviction {
    Eviction { judge, is_volatile, samples: 5 }
}

fn name(number: usize) -> String {
    format!("key:{number}")
}

/// Evicts so many, and tells which went, in order.
fn evicted(keyspace: &mut Keyspace, eviction: Eviction, count: usize) -> Vec<String> {
    keyspace.effects.listen(Class::EVICTED | Class::EXPIRED);
    let gone = keyspace.evict_some(eviction, usize::MAX, count);
    let names: Vec<String> =
        keyspace.effects.take().map(|effect| String::from_utf8(effect.key.to_vec()).unwrap()).collect();
    assert_eq!(gone.keys, names.len());
    names
}

#[test]
fn who_was_used_last_stays_longest() {
    let mut keyspace = keyspace(1);
    for number in 0..1000 {
        keyspace.begin(START_MS + number as u64 * 1000, true);
        keyspace.set_string(0, name(number).as_bytes(), b"v", Expiry::Clear);
    }
    keyspace.begin(START_MS + 2_000_000, true);
    (0..100).for_each(|number| assert!(keyspace.read(0, name(number).as_bytes()).is_some()));
    let gone = evicted(&mut keyspace, eviction(Judge::Access, false), 300);
    let places: Vec<usize> = gone.iter().map(|name| name[4..].parse().unwrap()).collect();
    assert!(places.iter().all(|place| 100 <= *place), "those just read stay");
    // By the exact order it would be 100 to 399.
    let wrong = places.iter().filter(|place| 400 <= **place).count();
    assert!(wrong < 80, "{wrong} of 300 are not among the oldest");
}

#[test]
fn who_was_used_a_moment_ago_stays_in_a_cache_that_turns_over_within_a_second() {
    let mut keyspace = keyspace(1);
    keyspace.set_evicting(true);
    // Ten new entries a millisecond push out as many; twenty are used every ten milliseconds.
    let mut now_ms = START_MS;
    let mut next = 0;
    for round in 0..2000 {
        now_ms += 1;
        keyspace.begin(now_ms, true);
        for _ in 0..10 {
            keyspace.set_string(0, name(next).as_bytes(), b"v", Expiry::Clear);
            next += 1;
        }
        if round % 10 == 9 {
            for number in 0..20.min(next) {
                assert!(keyspace.read(0, name(number).as_bytes()).is_some(), "{number} after {round} ms");
            }
        }
        if 100 <= round {
            keyspace.evict_some(eviction(Judge::Access, false), usize::MAX, 10);
        }
    }
    assert_eq!(keyspace.len(0), 1000);
}

#[test]
fn a_loop_that_just_fits_stays() {
    const ROOM: usize = 5500;
    const LOOP: usize = 5000;
    let mut keyspace = keyspace(1);
    keyspace.set_evicting(true);
    // Round and round, with one in twenty that never comes again: by the exact order none of the loop would go.
    let (mut missed, mut others, count) = (0, 0, 60_000);
    for request in 0..count {
        keyspace.begin(START_MS + request as u64 / 100, true);
        let mut keys = vec![request % LOOP];
        if request % 20 == 0 {
            others += 1;
            keys.push(1_000_000 + others);
        }
        for key in keys {
            if keyspace.read(0, name(key).as_bytes()).is_some() {
                continue;
            }
            missed += usize::from(key < LOOP && LOOP <= request);
            keyspace.set_string(0, name(key).as_bytes(), b"v", Expiry::Clear);
            if ROOM < keyspace.len(0) {
                keyspace.evict_some(eviction(Judge::Access, false), usize::MAX, 1);
            }
        }
    }
    // With ten entries by lot for each that goes: 6 %.
    assert!(missed < count * 35 / 1000, "{missed} of {count}");
}

#[test]
fn candidates_that_are_gone_do_no_harm() {
    let mut keyspace = keyspace(3);
    for round in 0..20 {
        for number in 0..1000 {
            keyspace.begin(START_MS + round * 10_000 + number as u64, true);
            keyspace.set_string(number % 3, name(number).as_bytes(), b"v", Expiry::Clear);
        }
        assert_eq!(evicted(&mut keyspace, eviction(Judge::Access, false), 100).len(), 100);
        match round % 4 {
            0 => (0..900).for_each(|number| {
                keyspace.delete(number % 3, name(number).as_bytes());
            }),
            1 => assert!(0 < keyspace.flush(1)),
            2 => keyspace.swap(0, 2),
            _ => {}
        }
        let left: usize = (0..3).map(|db| keyspace.len(db)).sum();
        let gone = evicted(&mut keyspace, eviction(Judge::Access, false), left).len();
        assert_eq!(gone, left, "all that is there can go");
        assert!(keyspace.evict_some(eviction(Judge::Access, false), usize::MAX, 1).keys == 0);
    }
}

#[test]
fn who_was_changed_last_stays_longest_whatever_is_read() {
    let mut keyspace = keyspace(1);
    keyspace.set_policy(AccessPolicy::Lrm);
    for number in 0..200 {
        keyspace.begin(START_MS + number as u64 * 1000, true);
        keyspace.set_string(0, name(number).as_bytes(), b"v", Expiry::Clear);
    }
    keyspace.begin(START_MS + 1_000_000, true);
    (0..100).for_each(|number| assert!(keyspace.read(0, name(number).as_bytes()).is_some()));
    let gone = evicted(&mut keyspace, eviction(Judge::Access, false), 50);
    let read = gone.iter().filter(|name| name[4..].parse::<usize>().unwrap() < 100).count();
    assert!(40 < read, "only {read} of 50 are of the older half");
}

#[test]
fn who_was_used_seldom_goes_first() {
    let mut keyspace = keyspace(1);
    keyspace.set_policy(AccessPolicy::Lfu { log_factor: 0, decay_minutes: 1 });
    for number in 0..500 {
        keyspace.set_string(0, name(number).as_bytes(), b"v", Expiry::Clear);
        (0..number / 10).for_each(|_| assert!(keyspace.read(0, name(number).as_bytes()).is_some()));
    }
    let gone = evicted(&mut keyspace, eviction(Judge::Access, false), 100);
    let wrong = gone.iter().filter(|name| 150 < name[4..].parse::<usize>().unwrap()).count();
    assert!(wrong < 10, "{wrong}");
}

#[test]
fn only_those_with_a_deadline_go_and_the_nearest_first() {
    for (judge, count) in [(Judge::Access, 30), (Judge::Lot, 30), (Judge::Deadline, 30)] {
        // Few among many, most, and all.
        for others in [0, 10, 5000] {
            let mut keyspace = keyspace(3);
            for number in 0..30 {
                let deadline_ms = START_MS + 1_000_000 - number as u64 * 10_000;
                keyspace.set_string(1, name(number).as_bytes(), b"v", Expiry::At(deadline_ms));
            }
            (100..100 + others).for_each(|number| {
                keyspace.set_string(number % 3, name(number).as_bytes(), b"v", Expiry::Clear);
            });
            let eviction = eviction(judge, true);
            assert_eq!(keyspace.evictable_len(eviction), 30);
            let gone = evicted(&mut keyspace, eviction, count);
            assert_eq!(gone.len(), 30, "{judge:?} {others}");
            if judge == Judge::Deadline {
                let numbers: Vec<usize> = gone.iter().map(|name| name[4..].parse().unwrap()).collect();
                assert!(numbers.is_sorted_by(|a, b| b < a), "{numbers:?}");
            }
            assert!(!keyspace.has_evictable(eviction));
            assert_eq!(evicted(&mut keyspace, eviction, 1), Vec::<String>::new());
            assert_eq!((0..3).map(|db| keyspace.len(db)).sum::<usize>(), others);
            assert_eq!(keyspace.stats.evicted, 30);
        }
    }
}

#[test]
fn far_deadlines_go_in_their_order_whichever_was_set_first() {
    // One slot of the wheel holds them all, some hours wide; the later ones were set last.
    for far_ms in [40_000_000, 400_000_000] {
        let mut keyspace = keyspace(1);
        for number in 0..4000 {
            let later_ms = if number < 2000 { 0 } else { 3_000_000 };
            keyspace.set_string(0, name(number).as_bytes(), b"v", Expiry::At(START_MS + far_ms + later_ms));
        }
        let gone = evicted(&mut keyspace, eviction(Judge::Deadline, true), 1500);
        let is_sooner = |key: &&String| (0..2000).any(|number| **key == name(number));
        let sooner = gone.iter().filter(is_sooner).count();
        assert!(1450 <= sooner, "{sooner} of 1500 were of those that end sooner");
    }
}

#[test]
fn deadlines_that_were_put_off_or_cleared_are_seen() {
    let mut keyspace = keyspace(1);
    let ttl = eviction(Judge::Deadline, true);
    for number in 0..100 {
        keyspace.set_string(0, name(number).as_bytes(), b"v", Expiry::At(START_MS + 1000 + number as u64));
    }
    (0..50).for_each(|number| assert!(keyspace.set_deadline(0, name(number).as_bytes(), START_MS + 9_000_000)));
    (50..80).for_each(|number| assert!(keyspace.persist(0, name(number).as_bytes())));
    let gone = evicted(&mut keyspace, ttl, 20);
    assert_eq!(gone, (80..100).map(name).collect::<Vec<_>>());
    assert_eq!(evicted(&mut keyspace, ttl, 100).len(), 50);
    assert_eq!(keyspace.len(0), 30);
    // Those that stayed can have deadlines again.
    keyspace.set_deadline(0, name(60).as_bytes(), START_MS + 500);
    assert_eq!(evicted(&mut keyspace, ttl, 100), [name(60)]);
    keyspace.set_deadline(0, name(61).as_bytes(), START_MS + 500);
    while keyspace.next_deadline_ms().is_some_and(|next_ms| next_ms <= START_MS + 600) {
        keyspace.expire_cycle(START_MS + 600, 100);
    }
    assert_eq!(keyspace.len(0), 28);
}

#[test]
fn what_has_expired_goes_first_and_counts_as_expired() {
    let mut keyspace = keyspace(1);
    (0..50).for_each(|number| keyspace.set_string(0, name(number).as_bytes(), b"v", Expiry::Clear));
    keyspace.set_string(0, b"key:99", b"v", Expiry::At(START_MS + 1));
    keyspace.begin(START_MS + 1, true);
    let gone = evicted(&mut keyspace, Eviction { samples: 64, ..eviction(Judge::Access, false) }, 1);
    assert_eq!(gone, ["key:99"]);
    assert_eq!((keyspace.stats.expired, keyspace.stats.evicted), (1, 0));
}

#[test]
fn lots_fall_on_every_database_and_every_entry() {
    let mut keyspace = keyspace(4);
    for number in 0..400 {
        keyspace.set_string(number % 4, name(number).as_bytes(), b"v", Expiry::Clear);
    }
    let gone = evicted(&mut keyspace, eviction(Judge::Lot, false), 200);
    for db in 0..4 {
        let of_db = gone.iter().filter(|name| name[4..].parse::<usize>().unwrap() % 4 == db).count();
        assert!((25..75).contains(&of_db), "{of_db} of database {db}");
    }
    assert_eq!(evicted(&mut keyspace, eviction(Judge::Lot, false), 1000).len(), 200);
}

#[test]
fn bytes_are_a_bound_and_are_what_the_entries_took() {
    let mut keyspace = keyspace(1);
    (0..100).for_each(|number| keyspace.set_string(0, name(number).as_bytes(), &[b'v'; 100], Expiry::Clear));
    let before = keyspace.memory_bytes() - keyspace.table_bytes();
    let gone = keyspace.evict_some(eviction(Judge::Access, false), 1000, 100);
    assert_eq!(keyspace.memory_bytes() - keyspace.table_bytes(), before - gone.bytes);
    assert!((1000..1200).contains(&gone.bytes), "{gone:?}");
    assert_eq!(keyspace.evict_some(eviction(Judge::Access, false), 0, 100).keys, 0);
}

#[test]
fn policies_follow_each_other_in_any_order() {
    let lfu = AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 };
    let policies = [AccessPolicy::Lru, AccessPolicy::Lrm, lfu, AccessPolicy::Lhd];
    for first in policies {
        for second in policies {
            let mut keyspace = keyspace(1);
            keyspace.set_policy(first);
            for number in 0..500 {
                keyspace.begin(START_MS + number as u64 * 1009, true);
                keyspace.set_string(0, name(number).as_bytes(), b"v", Expiry::Clear);
                (0..number % 20).for_each(|_| assert!(keyspace.read(0, name(number).as_bytes()).is_some()));
            }
            keyspace.set_policy(second);
            let read = (0..500).filter(|number| number % 3 == 0);
            read.for_each(|number| assert!(keyspace.read(0, name(number).as_bytes()).is_some()));
            for (number, told) in [(None, None), (Some(100), None), (None, Some(200))].into_iter().enumerate() {
                let clock = keyspace.policy().told_clock(START_MS, told.0, told.1);
                keyspace.restore(0, name(number).as_bytes(), Value::String(b"w"), None, clock);
            }
            evicted(&mut keyspace, eviction(Judge::Access, false), 250);
            assert_eq!(keyspace.len(0), 250, "{first:?}, then {second:?}");
        }
    }
}
