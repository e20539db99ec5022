//! The keyspace as its users see it: against a model of plain maps, then the single promises.

use super::*;
use crate::value::probe::Probe;
use crate::value::{LongString, StringRef};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const START_MS: u64 = 1_700_000_000_000;

fn keyspace() -> Keyspace {
    let mut keyspace = Keyspace::new(4, 1);
    keyspace.begin(START_MS, true);
    keyspace
}

fn text(keyspace: &mut Keyspace, key: &[u8]) -> Option<Vec<u8>> {
    keyspace.read_string(0, key).expect("a string").map(StringRef::to_vec)
}

/// The events since the last call, as `name key`, with the database before it if it is not 0.
fn events(keyspace: &mut Keyspace) -> String {
    let event = |effect: Effect| {
        let db = if effect.db == 0 { String::new() } else { format!("{}:", effect.db) };
        format!("{} {db}{}", effect.event.name, effect.key.escape_ascii())
    };
    keyspace.effects.take().map(event).collect::<Vec<_>>().join(" | ")
}

/// Cycles until nothing is due.
fn expire_all(keyspace: &mut Keyspace, now_ms: u64) {
    let mut cycles = 0;
    keyspace.expire_cycle(now_ms, 10);
    while keyspace.next_deadline_ms().is_some_and(|next_ms| next_ms <= now_ms) {
        keyspace.expire_cycle(now_ms, 10);
        cycles += 1;
        assert!(cycles < 100_000);
    }
}

/// The sums kept by the way against those counted now.
fn check_sums(keyspace: &Keyspace) {
    for database in &keyspace.databases {
        let (mut len, mut due_len, mut volatile_len, mut bytes, mut deadline_sum_ms) = (0, 0, 0, 0, 0u128);
        database.entries().for_each(|view| {
            len += 1;
            due_len += usize::from(view.due_ms().is_some());
            bytes += view.memory_bytes();
            if let Some(deadline_ms) = view.deadline_ms() {
                volatile_len += 1;
                deadline_sum_ms += u128::from(deadline_ms);
            }
        });
        assert_eq!(database.len(), len);
        assert_eq!(database.due_len(), due_len);
        assert_eq!(database.volatile_len(), volatile_len);
        assert_eq!(database.memory_bytes() - database.table_bytes(), bytes);
        let mean_ms = deadline_sum_ms.checked_div(volatile_len as u128).unwrap_or(0);
        assert_eq!(u128::from(database.avg_ttl_ms(0)), mean_ms);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Set(Vec<u8>, Vec<u8>, Expiry),
    SetInteger(Vec<u8>, i64),
    SetLong(Vec<u8>, usize),
    Append(Vec<u8>, Vec<u8>),
    SetRange(Vec<u8>, usize, Vec<u8>),
    Delete(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>, bool),
    Copy(Vec<u8>, usize, Vec<u8>, bool),
    Relocate(Vec<u8>, usize),
    Deadline(Vec<u8>, i64),
    Persist(Vec<u8>),
    Adopt(Vec<u8>, Vec<u8>),
    Random(u64),
    Flush(usize),
    Swap(usize, usize),
    FreeSome,
    /// A cycle with a small budget.
    Cycle(usize),
    /// All that is due, and then the clock goes back.
    Back(u64),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0..12u8).prop_map(|index| vec![b'k', index]),
        1 => Just(Vec::new()),
        1 => (250..260usize, any::<bool>()).prop_map(|(len, high)| vec![if high { 0xff } else { 0 }; len]),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..60),
        2 => any::<i64>().prop_map(|integer| integer.to_string().into_bytes()),
        1 => Just(b"007".to_vec()),
        1 => prop_oneof![16_300..16_500usize, 40_000..50_000usize].prop_map(|len| vec![b'x'; len]),
    ]
}

/// Relative to the start: around the time that passes.
fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        3 => Just(Expiry::Clear),
        2 => Just(Expiry::Keep),
        3 => (1..2000u64).prop_map(|ahead_ms| Expiry::At(START_MS + ahead_ms)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..200u64).prop_map(Step::Pass),
        8 => (key(), bytes(), expiry()).prop_map(|(key, bytes, expiry)| Step::Set(key, bytes, expiry)),
        2 => (key(), any::<i64>()).prop_map(|(key, integer)| Step::SetInteger(key, integer)),
        1 => (key(), 0..40_000usize).prop_map(|(key, len)| Step::SetLong(key, len)),
        4 => (key(), bytes()).prop_map(|(key, bytes)| Step::Append(key, bytes)),
        3 => (key(), 0..20_000usize, prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(key, offset, bytes)| Step::SetRange(key, offset, bytes)),
        3 => key().prop_map(Step::Delete),
        3 => (key(), key(), any::<bool>()).prop_map(|(from, to, replace)| Step::Rename(from, to, replace)),
        2 => (key(), 0..4usize, key(), any::<bool>())
            .prop_map(|(from, db, to, replace)| Step::Copy(from, db, to, replace)),
        2 => (key(), 1..4usize).prop_map(|(key, db)| Step::Relocate(key, db)),
        4 => (key(), -100..2000i64).prop_map(|(key, ahead_ms)| Step::Deadline(key, ahead_ms)),
        2 => key().prop_map(Step::Persist),
        1 => (key(), key()).prop_map(|(from, to)| Step::Adopt(from, to)),
        1 => any::<u64>().prop_map(Step::Random),
        1 => (0..4usize).prop_map(Step::Flush),
        1 => (0..4usize, 0..4usize).prop_map(|(a, b)| Step::Swap(a, b)),
        2 => Just(Step::FreeSome),
        4 => (0..4usize).prop_map(Step::Cycle),
        1 => (1001..100_000u64).prop_map(Step::Back),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Plain {
    text: Vec<u8>,
    encoding: &'static str,
    deadline_ms: Option<u64>,
}

impl Plain {
    fn new(text: Vec<u8>, deadline_ms: Option<u64>) -> Plain {
        let is_integer = std::str::from_utf8(&text)
            .is_ok_and(|text| text.parse::<i64>().is_ok_and(|integer| integer.to_string() == text));
        let encoding = if is_integer {
            "int"
        } else if text.len() <= 44 {
            "embstr"
        } else {
            "raw"
        };
        Plain { text, encoding, deadline_ms }
    }
}

/// The same with maps. Expired keys go as soon as time passes.
#[derive(Default)]
struct Model {
    databases: [BTreeMap<Vec<u8>, Plain>; 4],
}

impl Model {
    fn pass(&mut self, now_ms: u64) {
        for database in &mut self.databases {
            database.retain(|_, plain| plain.deadline_ms.is_none_or(|deadline_ms| now_ms < deadline_ms));
        }
    }

    fn set(&mut self, key: Vec<u8>, text: Vec<u8>, expiry: Expiry) {
        let deadline_ms = match expiry {
            Expiry::Keep => self.databases[0].get(&key).and_then(|plain| plain.deadline_ms),
            Expiry::Clear => None,
            Expiry::At(deadline_ms) => Some(deadline_ms),
        };
        self.databases[0].insert(key, Plain::new(text, deadline_ms));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keys_behave_as_in_plain_maps(steps in prop::collection::vec(step(), 1..120)) {
        let mut keyspace = keyspace();
        let mut model = Model::default();
        let mut now_ms = START_MS;
        for step in steps {
            keyspace.begin(now_ms, now_ms.is_multiple_of(2));
            match step {
                Step::Pass(ms) => now_ms += ms,
                Step::Set(key, bytes, expiry) => {
                    keyspace.set_string(0, &key, &bytes, expiry);
                    model.set(key, bytes, expiry);
                }
                Step::SetInteger(key, integer) => {
                    keyspace.set_integer(0, &key, integer);
                    model.set(key, integer.to_string().into_bytes(), Expiry::Keep);
                }
                Step::SetLong(key, len) => {
                    keyspace.set_long_string(0, &key, vec![b'l'; len], Expiry::Clear);
                    model.set(key, vec![b'l'; len], Expiry::Clear);
                }
                Step::Append(key, bytes) => {
                    let len = keyspace.append(0, &key, &bytes).expect("a string");
                    match model.databases[0].get_mut(&key) {
                        Some(plain) => {
                            plain.text.extend_from_slice(&bytes);
                            plain.encoding = "raw";
                        }
                        None => model.set(key.clone(), bytes, Expiry::Clear),
                    }
                    prop_assert_eq!(len, model.databases[0][&key].text.len());
                }
                Step::SetRange(key, offset, bytes) => {
                    let len = keyspace.set_range(0, &key, offset, &bytes).expect("a string");
                    let plain = model.databases[0].entry(key).or_insert(Plain::new(Vec::new(), None));
                    let end = offset + bytes.len();
                    plain.text.resize(plain.text.len().max(end), 0);
                    plain.text[offset..end].copy_from_slice(&bytes);
                    plain.encoding = "raw";
                    prop_assert_eq!(len, plain.text.len());
                }
                Step::Delete(key) => {
                    prop_assert_eq!(keyspace.delete(0, &key), model.databases[0].remove(&key).is_some());
                }
                Step::Rename(from, to, replace) => {
                    let database = &model.databases[0];
                    let expected = match (database.contains_key(&from), database.contains_key(&to)) {
                        (false, _) => Passage::NoSource,
                        (true, true) if !replace => Passage::Occupied,
                        (true, _) => {
                            let plain = model.databases[0].remove(&from).expect("seen");
                            model.databases[0].insert(to.clone(), plain);
                            Passage::Done
                        }
                    };
                    prop_assert_eq!(keyspace.rename(0, &from, &to, replace), expected);
                }
                Step::Copy(from, db, to, replace) => {
                    if db == 0 && from == to {
                        continue;
                    }
                    let expected = match (model.databases[0].get(&from), model.databases[db].contains_key(&to)) {
                        (None, _) => Passage::NoSource,
                        (Some(_), true) if !replace => Passage::Occupied,
                        (Some(plain), _) => {
                            let plain = plain.clone();
                            model.databases[db].insert(to.clone(), plain);
                            Passage::Done
                        }
                    };
                    prop_assert_eq!(keyspace.copy((0, &from), (db, &to), replace), expected);
                }
                Step::Relocate(key, db) => {
                    let expected = match (model.databases[0].get(&key), model.databases[db].contains_key(&key)) {
                        (None, _) => Passage::NoSource,
                        (Some(_), true) => Passage::Occupied,
                        (Some(_), false) => {
                            let plain = model.databases[0].remove(&key).expect("seen");
                            model.databases[db].insert(key.clone(), plain);
                            Passage::Done
                        }
                    };
                    prop_assert_eq!(keyspace.relocate(&key, 0, db), expected);
                }
                Step::Deadline(key, ahead_ms) => {
                    let deadline_ms = now_ms.saturating_add_signed(ahead_ms);
                    let existed = keyspace.set_deadline(0, &key, deadline_ms);
                    prop_assert_eq!(existed, model.databases[0].contains_key(&key));
                    if let Some(plain) = model.databases[0].get_mut(&key) {
                        plain.deadline_ms = Some(deadline_ms);
                    }
                }
                Step::Persist(key) => {
                    let had = model.databases[0].get_mut(&key).and_then(|plain| plain.deadline_ms.take()).is_some();
                    prop_assert_eq!(keyspace.persist(0, &key), had);
                }
                Step::Adopt(from, to) => {
                    if let Some(entry) = keyspace.take(0, &from) {
                        keyspace.adopt(1, entry.with_key(&to));
                        let plain = model.databases[0].remove(&from).expect("in both");
                        model.databases[1].insert(to, plain);
                    } else {
                        prop_assert!(!model.databases[0].contains_key(&from));
                    }
                }
                Step::Random(seed) => {
                    let mut state = seed;
                    let found = keyspace.random(0, || split_mix(&mut state)).map(|view| view.key().to_vec());
                    match found {
                        Some(key) => prop_assert!(model.databases[0].contains_key(&key)),
                        None => prop_assert!(model.databases[0].is_empty()),
                    }
                }
                Step::Flush(db) => {
                    keyspace.flush(db);
                    model.databases[db].clear();
                }
                Step::Swap(a, b) => {
                    keyspace.swap(a, b);
                    model.databases.swap(a, b);
                }
                Step::FreeSome => {
                    keyspace.free_some(3);
                }
                Step::Cycle(budget) => {
                    keyspace.expire_cycle(now_ms, budget);
                }
                Step::Back(ms) => {
                    // A deadline that was past already when it was set comes in the next millisecond.
                    expire_all(&mut keyspace, now_ms + 1);
                    model.pass(now_ms + 1);
                    now_ms -= ms;
                }
            }
            keyspace.begin(now_ms, true);
            model.pass(now_ms);
            for (db, plain) in model.databases.iter().enumerate() {
                let mut seen = BTreeMap::new();
                keyspace.for_each(db, |view| {
                    let plain = Plain {
                        text: view.string().expect("a string").to_vec(),
                        encoding: view.encoding_name(),
                        deadline_ms: view.deadline_ms(),
                    };
                    assert!(seen.insert(view.key().to_vec(), plain).is_none());
                });
                prop_assert_eq!(&seen, plain);
                for (key, plain) in plain {
                    let text = keyspace.peek_string(db, key).expect("a string").map(StringRef::to_vec);
                    prop_assert_eq!(text.as_ref(), Some(&plain.text));
                }
            }
            check_sums(&keyspace);
        }
        while keyspace.free_some(100) {}
        // A deadline that was past already when it was set comes in the next millisecond.
        now_ms += 1;
        model.pass(now_ms);
        expire_all(&mut keyspace, now_ms);
        for (db, plain) in model.databases.iter().enumerate() {
            prop_assert_eq!(keyspace.len(db), plain.len());
        }
        // Sleeping from deadline to deadline removes every key that has one, and none too early.
        let mut wakes = 0;
        while let Some(next_ms) = keyspace.next_deadline_ms() {
            now_ms = now_ms.max(next_ms);
            expire_all(&mut keyspace, now_ms);
            model.pass(now_ms);
            for (db, plain) in model.databases.iter().enumerate() {
                prop_assert_eq!(keyspace.len(db), plain.len());
            }
            wakes += 1;
            prop_assert!(wakes < 1000);
        }
        for (db, plain) in model.databases.iter().enumerate() {
            prop_assert_eq!(keyspace.volatile_len(db), 0);
            for key in plain.keys() {
                prop_assert!(keyspace.delete(db, key));
            }
        }
        while keyspace.free_some(100) {}
        check_sums(&keyspace);
        prop_assert_eq!(keyspace.graveyard.memory_bytes(), 0);
    }
}

#[test]
fn reads_count_and_expired_keys_are_misses() {
    let mut keyspace = keyspace();
    keyspace.set_string(0, b"k", b"v", Expiry::At(START_MS + 5));
    assert_eq!(text(&mut keyspace, b"k"), Some(b"v".to_vec()));
    assert!(keyspace.inspect(0, b"k").is_some());
    assert!(keyspace.peek(0, b"k").is_some() && keyspace.contains(0, b"k"));
    keyspace.begin(START_MS + 5, true);
    assert!(keyspace.peek(0, b"k").is_none());
    assert_eq!((keyspace.len(0), keyspace.stats.expired), (1, 0));
    assert_eq!(text(&mut keyspace, b"k"), None);
    assert!(keyspace.read(0, b"other").is_none() && !keyspace.contains(0, b"other"));
    assert_eq!(keyspace.stats, KeyspaceStats { hits: 2, misses: 2, expired: 1, ..KeyspaceStats::default() });
    assert_eq!(keyspace.len(0), 0);
}

#[test]
fn events_carry_redis_names_in_redis_order() {
    let mut keyspace = keyspace();
    keyspace.set_string(0, b"unheard", b"v", Expiry::Clear);
    keyspace.effects.listen(Class::all());
    assert_eq!(events(&mut keyspace), "");
    keyspace.set_string(0, b"a", b"1", Expiry::At(START_MS + 100));
    keyspace.set_integer(0, b"a", 2);
    keyspace.append(0, b"a", b"3").expect("a string");
    keyspace.set_range(0, b"b", 2, b"x").expect("a string");
    assert_eq!(events(&mut keyspace), "new a | set a | expire a | incrby a | append a | new b | setrange b");
    keyspace.set_deadline(0, b"b", START_MS + 100);
    keyspace.persist(0, b"b");
    keyspace.persist(0, b"b");
    keyspace.set_deadline(0, b"b", START_MS);
    assert_eq!(events(&mut keyspace), "expire b | persist b | del b");
    keyspace.rename(0, b"a", b"c", true);
    keyspace.copy((0, b"c"), (2, b"d"), false);
    keyspace.relocate(b"c", 0, 1);
    assert_eq!(
        events(&mut keyspace),
        "new c | rename_from a | rename_to c | new 2:d | copy_to 2:d | new 1:c | move_from c | move_to 1:c"
    );
    keyspace.begin(START_MS + 100, true);
    keyspace.read(1, b"c");
    keyspace.evict(0, b"unheard");
    keyspace.delete(0, b"unheard");
    keyspace.flush(2);
    keyspace.swap(0, 1);
    assert_eq!(
        events(&mut keyspace),
        "expired 1:c | keymiss 1:c | evicted unheard | flushed 2: | swapped  | swapped 1:"
    );
    keyspace.effects.listen(Class::GENERIC);
    keyspace.set_string(0, b"a", b"1", Expiry::Clear);
    keyspace.delete(0, b"a");
    assert_eq!(events(&mut keyspace), "del a");
}

#[test]
fn dirty_counts_changes_only() {
    let mut keyspace = keyspace();
    let mut added = |change: &mut dyn FnMut(&mut Keyspace)| {
        let before = keyspace.dirty;
        change(&mut keyspace);
        keyspace.dirty - before
    };
    assert_eq!(added(&mut |keyspace| keyspace.set_string(0, b"k", b"v", Expiry::At(START_MS + 9))), 1);
    assert_eq!(added(&mut |keyspace| _ = keyspace.read(0, b"k")), 0);
    assert_eq!(added(&mut |keyspace| _ = keyspace.delete(0, b"none")), 0);
    assert_eq!(added(&mut |keyspace| _ = keyspace.persist(0, b"k")), 1);
    assert_eq!(added(&mut |keyspace| _ = keyspace.rename(0, b"k", b"l", true)), 1);
    assert_eq!(added(&mut |keyspace| _ = keyspace.copy((0, b"l"), (0, b"m"), true)), 1);
    assert_eq!(added(&mut |keyspace| _ = keyspace.flush(0)), 2);
}

#[test]
fn clocks_stay_right_for_months_if_they_are_looked_through() {
    let idle_seconds = |keyspace: &mut Keyspace, db: usize, key: &[u8]| {
        let clock = keyspace.inspect(db, key).expect("there").clock();
        access::idle_ms(clock, keyspace.now_ms()) / 1000
    };
    let mut keyspace = keyspace();
    for number in 0..1000u32 {
        keyspace.set_string(number as usize % 2, &number.to_le_bytes(), b"v", Expiry::Clear);
    }
    let mut now_ms = START_MS;
    for round in 1..=10_000u64 {
        now_ms += access::AGING_PERIOD_MS;
        keyspace.begin(now_ms, true);
        assert!(keyspace.read(1, &1u32.to_le_bytes()).is_some());
        let steps = (1..).find(|_| keyspace.age_clocks(64)).expect("it ends");
        assert!((8..200).contains(&steps), "{steps}");
        if round.is_multiple_of(100) {
            let idle = idle_seconds(&mut keyspace, 0, &2u32.to_le_bytes());
            assert!((round * 900..round * 900 + 2).contains(&idle), "{round}: {idle}");
            assert_eq!(idle_seconds(&mut keyspace, 1, &1u32.to_le_bytes()), 0);
        }
    }
}

#[test]
fn accesses_touch_the_clock_unless_the_client_asks_for_no_touch() {
    let idle = |keyspace: &mut Keyspace| {
        let clock = keyspace.inspect(0, b"k").expect("there").clock();
        access::idle_ms(clock, keyspace.now_ms()) / 1000
    };
    let mut keyspace = keyspace();
    keyspace.set_string(0, b"k", b"v", Expiry::Clear);
    keyspace.begin(START_MS + 10_000, false);
    assert!(keyspace.read(0, b"k").is_some());
    assert_eq!(idle(&mut keyspace), 10);
    keyspace.begin(START_MS + 20_000, true);
    assert_eq!(idle(&mut keyspace), 20);
    assert!(keyspace.read(0, b"k").is_some());
    assert_eq!(idle(&mut keyspace), 0);
    keyspace.begin(START_MS + 30_000, false);
    keyspace.set_string(0, b"k", b"w", Expiry::Clear);
    assert_eq!(idle(&mut keyspace), 0);
}

#[test]
fn a_frequency_survives_overwriting() {
    let mut keyspace = keyspace();
    keyspace.set_policy(AccessPolicy::Lfu { log_factor: 0, decay_minutes: 1 });
    keyspace.set_string(0, b"k", b"v", Expiry::Clear);
    for _ in 0..10 {
        keyspace.read(0, b"k");
    }
    keyspace.set_string(0, b"k", b"w", Expiry::Clear);
    let clock = keyspace.inspect(0, b"k").expect("there").clock();
    assert_eq!(keyspace.policy().frequency(clock, START_MS), 5 + 11);
}

#[test]
fn an_overwrite_of_the_same_size_allocates_nothing() {
    let mut keyspace = keyspace();
    keyspace.set_string(0, b"0123456789abcdef", &[b'a'; 32], Expiry::Clear);
    let place = |keyspace: &mut Keyspace| match text_place(keyspace) {
        StringRef::Bytes(bytes) => bytes.as_ptr().addr(),
        StringRef::Integer(_) => panic!("not an integer"),
    };
    fn text_place(keyspace: &mut Keyspace) -> StringRef<'_> {
        keyspace.read_string(0, b"0123456789abcdef").expect("a string").expect("there")
    }
    let (before, bytes) = (place(&mut keyspace), keyspace.memory_bytes());
    keyspace.set_string(0, b"0123456789abcdef", &[b'b'; 32], Expiry::Clear);
    assert_eq!(place(&mut keyspace), before);
    assert_eq!(keyspace.memory_bytes(), bytes);
}

#[test]
fn a_hint_is_used_for_one_command_and_one_key() {
    let mut keyspace = keyspace();
    let (key, other) = (b"key".to_vec(), b"other".to_vec());
    keyspace.hint(&key, keyspace.hash(&key));
    keyspace.begin(START_MS, true);
    assert_eq!(keyspace.hash_of(&key), keyspace.hash(&key));
    keyspace.set_string(0, &key, b"1", Expiry::Clear);
    keyspace.set_string(0, &other, b"2", Expiry::Clear);
    assert_eq!(text(&mut keyspace, &other), Some(b"2".to_vec()));
    // The same bytes of memory hold another key in the next command.
    let mut key = key;
    key.copy_from_slice(b"abc");
    keyspace.begin(START_MS, true);
    keyspace.set_string(0, &key, b"3", Expiry::Clear);
    assert_eq!(keyspace.hash_of(&key), keyspace.hash(b"abc"));
    keyspace.begin(START_MS, true);
    assert_eq!(text(&mut keyspace, b"abc"), Some(b"3".to_vec()));
    assert_eq!(text(&mut keyspace, b"key"), Some(b"1".to_vec()));
}

#[test]
fn a_wrong_type_is_told_and_nothing_changes() {
    let alive = Arc::new(());
    let mut keyspace = keyspace();
    keyspace.put(0, b"probe", Probe::new(&alive, 7).into(), Expiry::Clear, Event::SET);
    keyspace.set_string(0, b"string", b"s", Expiry::Clear);
    let dirty = keyspace.dirty;
    assert_eq!(keyspace.read_string(0, b"probe"), Err(WrongType));
    assert_eq!(keyspace.peek_string(0, b"probe"), Err(WrongType));
    assert_eq!(keyspace.string_for_write(0, b"probe"), Err(WrongType));
    assert_eq!(keyspace.append(0, b"probe", b"x"), Err(WrongType));
    assert_eq!(keyspace.set_range(0, b"probe", 0, b"x"), Err(WrongType));
    assert!(matches!(keyspace.read_container::<Probe>(0, b"string"), Err(WrongType)));
    assert!(matches!(keyspace.peek_container::<Probe>(0, b"string"), Err(WrongType)));
    assert!(matches!(keyspace.container_mut::<Probe>(0, b"string"), Err(WrongType)));
    assert!(matches!(keyspace.container_mut::<Probe>(0, b"none"), Ok(None)));
    assert_eq!(keyspace.dirty, dirty);
    check_sums(&keyspace);
}

#[test]
fn a_container_changed_in_place_keeps_the_sums() {
    let alive = Arc::new(());
    let mut keyspace = keyspace();
    keyspace.put(0, b"probe", Probe::new(&alive, 7).into(), Expiry::At(START_MS + 1000), Event::SET);
    let bytes = keyspace.memory_bytes();
    let mut probe = keyspace.container_mut::<Probe>(0, b"probe").expect("a probe").expect("there");
    probe.heap_bytes = 1007;
    drop(probe);
    assert_eq!(keyspace.memory_bytes(), bytes + 1000);
    check_sums(&keyspace);
    assert_eq!(keyspace.copy((0, b"probe"), (3, b"probe"), false), Passage::Done);
    assert_eq!(keyspace.peek_container::<Probe>(3, b"probe").expect("a probe").expect("there").heap_bytes, 1007);
    assert_eq!(Arc::strong_count(&alive), 3);
    drop(keyspace);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn heavy_values_are_freed_when_nobody_waits() {
    let alive = Arc::new(());
    let mut keyspace = keyspace();
    for key in [b"deleted", b"written", b"expired", b"renamed"] {
        let probe = Probe { heavy: true, ..Probe::new(&alive, 1 << 20) };
        keyspace.put(0, key, probe.into(), Expiry::At(START_MS + 50), Event::SET);
    }
    keyspace.set_string(0, b"light", b"v", Expiry::Clear);
    let bytes = keyspace.memory_bytes();
    keyspace.delete(0, b"deleted");
    keyspace.set_string(0, b"written", b"v", Expiry::Clear);
    keyspace.rename(0, b"light", b"renamed", true);
    keyspace.begin(START_MS + 50, true);
    assert!(keyspace.read(0, b"expired").is_none());
    assert_eq!(keyspace.pending_free_len(), 4);
    assert_eq!(Arc::strong_count(&alive), 5);
    assert!(bytes < keyspace.memory_bytes() + 1000);
    // A probe gives back 1024 bytes an allocation: three slices of 400 for each of the four.
    let mut slices = 1;
    let mut bytes_before = keyspace.memory_bytes();
    while keyspace.free_some(400) {
        assert!(keyspace.memory_bytes() < bytes_before && bytes_before - keyspace.memory_bytes() <= 400 * 1024);
        bytes_before = keyspace.memory_bytes();
        slices += 1;
    }
    assert_eq!((slices, Arc::strong_count(&alive)), (4 * 3, 1));
    assert_eq!(keyspace.stats.lazily_freed, 4);
    assert!(keyspace.memory_bytes() < 5000);
    check_sums(&keyspace);
}

#[test]
fn heavy_values_of_a_flushed_database_are_freed_in_slices_too() {
    let alive = Arc::new(());
    let mut keyspace = keyspace();
    for key in 0..10u8 {
        let probe = Probe { heavy: true, ..Probe::new(&alive, 1 << 20) };
        keyspace.put(0, &[key], probe.into(), Expiry::Clear, Event::SET);
    }
    keyspace.flush(0);
    let mut slices = 0;
    let mut bytes_before = keyspace.memory_bytes();
    while keyspace.free_some(100) {
        assert!(bytes_before - keyspace.memory_bytes() <= 100 * 1024 + 5000);
        bytes_before = keyspace.memory_bytes();
        slices += 1;
    }
    assert!(100 < slices, "{slices}");
    assert_eq!((keyspace.memory_bytes(), Arc::strong_count(&alive)), (0, 1));
    assert_eq!(keyspace.stats.lazily_freed, 10, "each counts once");
}

#[test]
fn a_little_is_freed_at_once() {
    let mut keyspace = keyspace();
    for (keys, left, expiry) in [(2000, 0, Expiry::At(START_MS + 1000)), (10_000, 6000, Expiry::Clear)] {
        for index in 0..keys {
            keyspace.set_string(0, format!("key:{index}").as_bytes(), b"v", expiry);
        }
        keyspace.flush(0);
        keyspace.free_at_once();
        assert!(keyspace.pending_free_len() <= left, "{} of {keys}", keyspace.pending_free_len());
        assert!(left == 0 || left - 200 < keyspace.pending_free_len(), "of many most are left");
    }
    assert_eq!(keyspace.stats.lazily_freed, 0);
}

#[test]
fn a_flushed_database_is_freed_in_slices() {
    let mut keyspace = keyspace();
    for index in 0..5000 {
        keyspace.set_string(1, format!("key:{index}").as_bytes(), b"value of some length", Expiry::Clear);
    }
    let bytes = keyspace.memory_bytes();
    assert_eq!(keyspace.flush(1), 5000);
    assert_eq!((keyspace.len(1), keyspace.pending_free_len()), (0, 5000));
    assert_eq!(keyspace.memory_bytes(), bytes);
    let mut slices = 0;
    loop {
        let before = keyspace.pending_free_len();
        let more = keyspace.free_some(100);
        assert!(before - keyspace.pending_free_len() <= 110);
        slices += 1;
        if !more {
            break;
        }
    }
    assert!((40..=51).contains(&slices), "{slices}");
    assert_eq!((keyspace.pending_free_len(), keyspace.memory_bytes()), (0, 0));
}

#[test]
fn a_reply_can_hold_a_long_value_while_the_key_changes() {
    let mut keyspace = keyspace();
    let buffer = vec![b'a'; 100_000];
    let start = buffer.as_ptr().addr();
    keyspace.set_long_string(0, b"k", buffer, Expiry::Clear);
    let reply: LongString = keyspace.read(0, b"k").and_then(EntryRef::long_string).expect("a long string").clone();
    assert_eq!(reply.as_bytes().as_ptr().addr(), start);
    keyspace.append(0, b"k", b"tail").expect("a string");
    keyspace.set_range(0, b"k", 0, b"head").expect("a string");
    assert_eq!(reply.as_bytes(), vec![b'a'; 100_000]);
    assert_eq!(text(&mut keyspace, b"k").map(|text| text[..6].to_vec()), Some(b"headaa".to_vec()));
}

#[test]
fn scanning_passes_over_the_expired_and_meets_all_others() {
    let mut keyspace = keyspace();
    for index in 0..2000 {
        let expiry = if index % 2 == 0 { Expiry::At(START_MS + 1) } else { Expiry::Clear };
        keyspace.set_string(0, format!("{index}").as_bytes(), b"v", expiry);
    }
    keyspace.begin(START_MS + 1, true);
    let (mut cursor, mut steps, mut seen) = (0, 0, Vec::new());
    loop {
        cursor = keyspace.scan(0, cursor, 10, |view| seen.push(view.key().to_vec()));
        steps += 1;
        if cursor == 0 {
            break;
        }
    }
    seen.sort();
    let mut expected: Vec<Vec<u8>> = (0..1000).map(|index| (2 * index + 1).to_string().into_bytes()).collect();
    expected.sort();
    assert_eq!(seen, expected);
    assert!(100 < steps, "{steps}");
}

#[test]
fn keys_expire_in_their_millisecond_though_nobody_looks() {
    let mut keyspace = keyspace();
    keyspace.effects.listen(Class::EXPIRED);
    for index in 0..1000u64 {
        let key = format!("{index}");
        keyspace.set_string((index % 3) as usize, key.as_bytes(), b"v", Expiry::At(START_MS + 1 + index * 7));
    }
    for now_ms in START_MS..START_MS + 7001 {
        keyspace.expire_cycle(now_ms, 100);
        let mut names = keyspace.effects.take().map(|effect| String::from_utf8(effect.key.to_vec()).expect("digits"));
        let index = (now_ms - START_MS).div_ceil(7);
        let due = (index * 7 == now_ms - START_MS + 6 && 7 <= now_ms - START_MS + 6).then(|| (index - 1).to_string());
        assert_eq!(names.next(), due);
        assert_eq!(names.next(), None);
    }
    assert_eq!((keyspace.stats.expired, keyspace.len(0), keyspace.len(1)), (1000, 0, 0));
    assert_eq!(keyspace.next_deadline_ms(), None);
    assert_eq!(keyspace.dirty, 1000);
}

#[test]
fn records_of_keys_that_stay_for_ever_go_long_before_their_time() {
    const COUNT: usize = 20_000;
    let mut keyspace = keyspace();
    for index in 0..COUNT {
        keyspace.set_string(0, &index.to_le_bytes(), b"v", Expiry::At(START_MS + 900_000_000));
    }
    expire_all(&mut keyspace, START_MS);
    let bytes = keyspace.database_stats(0).wheel_bytes;
    for index in 0..COUNT {
        assert!(keyspace.persist(0, &index.to_le_bytes()));
    }
    expire_all(&mut keyspace, START_MS);
    while keyspace.free_some(1000) {}
    let left = keyspace.database_stats(0).wheel_bytes;
    assert!(left < bytes / 3, "{left} bytes of {bytes}");
    assert!(keyspace.set_deadline(0, &7_usize.to_le_bytes(), START_MS + 5));
    expire_all(&mut keyspace, START_MS + 5);
    assert_eq!(keyspace.stats.expired, 1);
}

#[test]
fn many_keys_due_at_once_are_removed_in_slices() {
    const COUNT: usize = 100_000;
    let mut keyspace = keyspace();
    for index in 0..COUNT {
        keyspace.set_string(0, &index.to_le_bytes(), b"v", Expiry::At(START_MS + 5000));
    }
    assert_eq!(keyspace.expire_cycle(START_MS + 4999, COUNT), 0);
    let mut slices = 0;
    while keyspace.next_deadline_ms().is_some() {
        // A key is removed before its turn if the record of one that looks like it comes.
        assert!(keyspace.expire_cycle(START_MS + 5000, 200) <= 210);
        slices += 1;
    }
    assert!((COUNT / 200..COUNT / 200 * 4).contains(&slices), "{slices}");
    assert_eq!((keyspace.len(0), keyspace.memory_bytes()), (0, keyspace.table_bytes()));
}

/// What the wheels hold.
fn records(keyspace: &Keyspace) -> usize {
    keyspace.databases.iter().map(Database::record_len).sum()
}

#[test]
fn a_deadline_put_off_again_and_again_has_one_record() {
    let mut keyspace = keyspace();
    for round in 0..1000 {
        keyspace.begin(START_MS + round, true);
        keyspace.set_string(0, b"session", b"v", Expiry::Clear);
        keyspace.set_deadline(0, b"session", START_MS + round + 60_000);
        keyspace.persist(0, b"session");
        keyspace.set_string(0, b"session", b"w", Expiry::At(START_MS + round + 60_000));
    }
    assert_eq!(records(&keyspace), 1);
    expire_all(&mut keyspace, START_MS + 60_998);
    assert_eq!((keyspace.len(0), records(&keyspace)), (1, 1));
    expire_all(&mut keyspace, START_MS + 60_999);
    assert_eq!((keyspace.len(0), records(&keyspace)), (0, 0));
}

#[test]
fn records_of_deadlines_that_became_earlier_do_not_pile_up() {
    const COUNT: usize = 20_000;
    let mut keyspace = keyspace();
    keyspace.begin(START_MS, true);
    let key = |index: usize| format!("session:{index}");
    for index in 0..COUNT {
        keyspace.set_string(0, key(index).as_bytes(), b"v", Expiry::At(START_MS + 900_000_000));
    }
    for round in 1..=4 {
        for index in 0..COUNT {
            keyspace.set_deadline(
                0,
                key(index).as_bytes(),
                START_MS + 900_000_000 - (round * 50_000_000 + index) as u64,
            );
        }
        loop {
            keyspace.expire_cycle(START_MS, 200);
            if keyspace.next_deadline_ms() != Some(0) {
                break;
            }
        }
        assert!(records(&keyspace) <= COUNT * 5 / 4, "{} records of {COUNT} keys", records(&keyspace));
    }
    for index in 0..COUNT {
        keyspace.persist(0, key(index).as_bytes());
        keyspace.delete(0, key(index).as_bytes());
    }
    check_sums(&keyspace);
}

#[test]
fn records_of_removed_keys_do_not_pile_up() {
    let mut keyspace = keyspace();
    for index in 0..3000u32 {
        keyspace.set_string(0, format!("plain:{index}").as_bytes(), b"v", Expiry::Clear);
        keyspace.set_string(0, format!("volatile:{index}").as_bytes(), b"v", Expiry::At(START_MS + 7_200_000));
    }
    // Locks are taken and given back.
    let mut records_max = 0;
    for round in 0..100_000u64 {
        let now_ms = START_MS + round / 100;
        keyspace.begin(now_ms, true);
        keyspace.set_string(0, b"lock", b"v", Expiry::At(now_ms + 3_600_000));
        keyspace.delete(0, b"lock");
        if round % 10 == 0 {
            keyspace.expire_cycle(now_ms, 100);
            keyspace.free_some(100);
        }
        records_max = records_max.max(records(&keyspace));
    }
    assert!(records_max < 2 * (3000 + 4096), "{records_max}");
    check_sums(&keyspace);
    // Nothing was lost on the way.
    expire_all(&mut keyspace, START_MS + 7_199_999);
    assert_eq!(keyspace.volatile_len(0), 3000);
    expire_all(&mut keyspace, START_MS + 7_200_000);
    assert_eq!((keyspace.volatile_len(0), keyspace.len(0), records(&keyspace)), (0, 3000, 0));
}

#[test]
fn keys_expire_in_time_after_the_clock_was_put_back() {
    let mut keyspace = keyspace();
    keyspace.set_string(0, b"before", b"v", Expiry::At(START_MS + 10_000_000));
    keyspace.expire_cycle(START_MS + 9_000_000, 100);
    let now_ms = START_MS + 1000;
    keyspace.begin(now_ms, true);
    keyspace.set_string(0, b"after", b"v", Expiry::At(now_ms + 500));
    expire_all(&mut keyspace, now_ms);
    assert_eq!(keyspace.next_deadline_ms().map(|next_ms| now_ms < next_ms), Some(true));
    expire_all(&mut keyspace, now_ms + 499);
    assert_eq!(keyspace.len(0), 2);
    expire_all(&mut keyspace, now_ms + 500);
    assert_eq!(keyspace.len(0), 1);
    expire_all(&mut keyspace, START_MS + 9_999_999);
    assert_eq!(keyspace.len(0), 1);
    expire_all(&mut keyspace, START_MS + 10_000_000);
    assert_eq!(keyspace.len(0), 0);
}

#[test]
fn an_entry_on_loan_comes_home_with_its_deadline() {
    let mut home = keyspace();
    home.effects.listen(Class::all());
    home.set_string(0, b"k", b"v", Expiry::At(START_MS + 1000));
    home.set_string(3, b"k", b"w", Expiry::Clear);
    let mut sibling = home.sibling();
    home.lend(b"k", |db, entry| sibling.adopt(db, entry));
    assert_eq!((home.len(0), home.len(3), sibling.len(0), sibling.len(3)), (0, 0, 1, 1));
    // Its record comes and finds nothing.
    expire_all(&mut home, START_MS + 500);
    events(&mut home);
    sibling.begin(START_MS + 500, true);
    assert_eq!(sibling.peek_string(0, b"k"), Ok(Some(StringRef::Bytes(b"v"))));
    sibling.set_deadline(0, b"k", START_MS + 800);
    sibling.lend(b"k", |db, entry| home.adopt(db, entry));
    home.absorb(&mut sibling);
    assert_eq!(events(&mut home), "expire k");
    check_sums(&home);
    expire_all(&mut home, START_MS + 799);
    assert_eq!(home.len(0), 1);
    expire_all(&mut home, START_MS + 800);
    assert_eq!(events(&mut home), "expired k");
    assert_eq!((home.len(0), home.len(3)), (0, 1));
}

#[test]
fn fields_of_a_hash_expire_by_themselves_and_when_somebody_looks() {
    use crate::value::hash::{Deadline, Hash, Limits};
    let limits = Limits { listpack_len_max: 10, listpack_bytes_max: 64, seed: 1 };
    let hash_of = |fields: u64, deadline_ms: u64| {
        let mut hash = Hash::new();
        for field in 0..fields {
            hash.set(field.to_string().as_bytes(), b"v", Deadline::At(deadline_ms), 0, &limits);
        }
        hash.set(b"stays", b"v", Deadline::Clear, 0, &limits);
        hash
    };
    let len = |keyspace: &Keyspace, key: &[u8]| keyspace.peek_container::<Hash>(0, key).expect("a hash").map(Hash::len);
    let mut keyspace = keyspace();
    keyspace.effects.listen(Class::HASH | Class::GENERIC);
    for (key, fields) in [(&b"small"[..], 3), (b"large", 50)] {
        keyspace.put(0, key, hash_of(fields, START_MS + 100).into(), Expiry::Clear, Event::HSET);
    }
    // A deadline set later, through the guard.
    keyspace.put(0, b"late", hash_of(0, 0).into(), Expiry::Clear, Event::HSET);
    let mut late = keyspace.container_mut::<Hash>(0, b"late").expect("a hash").expect("there");
    assert!(late.set_deadline(b"stays", Some(START_MS + 50), START_MS));
    drop(late);
    keyspace.effects.take().for_each(drop);
    assert!(keyspace.next_deadline_ms().is_some_and(|due_ms| due_ms <= START_MS + 50));
    check_sums(&keyspace);

    // By themselves: the last field takes the key along.
    keyspace.begin(START_MS + 50, true);
    assert_eq!(keyspace.expire_cycle(START_MS + 50, 1000), 0);
    let events: Vec<&str> = keyspace.effects.take().map(|effect| effect.event.name).collect();
    assert_eq!(events, ["hexpired", "del"]);
    assert!(keyspace.peek(0, b"late").is_none());
    assert!(keyspace.next_deadline_ms().is_some_and(|due_ms| START_MS + 50 < due_ms));

    // When somebody looks, before they go by themselves.
    keyspace.begin(START_MS + 100, true);
    assert_eq!(keyspace.read_container::<Hash>(0, b"small").map(|hash| hash.map(Hash::len)), Ok(Some(1)));
    assert_eq!(len(&keyspace, b"large"), Some(51));
    while keyspace.next_deadline_ms().is_some_and(|due_ms| due_ms <= START_MS + 100) {
        keyspace.expire_cycle(START_MS + 100, 8);
    }
    assert_eq!(len(&keyspace, b"large"), Some(1));
    check_sums(&keyspace);

    // A key with a deadline of its own, copied, renamed, overwritten and flushed.
    let expiry = Expiry::At(START_MS + 10_000);
    keyspace.put(0, b"small", hash_of(3, START_MS + 200).into(), expiry, Event::HSET);
    assert_eq!(keyspace.copy((0, b"small"), (0, b"copy"), false), Passage::Done);
    assert_eq!(keyspace.rename(0, b"small", b"renamed", false), Passage::Done);
    keyspace.put(0, b"gone", hash_of(3, START_MS + 200).into(), expiry, Event::HSET);
    keyspace.set_string(0, b"gone", b"v", Expiry::Clear);
    check_sums(&keyspace);
    keyspace.begin(START_MS + 200, true);
    while keyspace.next_deadline_ms().is_some_and(|due_ms| due_ms <= START_MS + 200) {
        keyspace.expire_cycle(START_MS + 200, 1000);
    }
    assert_eq!((len(&keyspace, b"copy"), len(&keyspace, b"renamed")), (Some(1), Some(1)));
    check_sums(&keyspace);
    keyspace.put(0, b"more", hash_of(3, START_MS + 300).into(), expiry, Event::HSET);
    keyspace.flush(0);
    check_sums(&keyspace);
}

/// A key with a hash of so many fields that are due at a time, and one that stays.
pub(crate) fn put_timed_hash(keyspace: &mut Keyspace, key: &[u8], fields: usize, deadline_ms: u64) {
    use crate::value::hash::{Deadline, Hash, Limits};
    let limits = Limits { listpack_len_max: 10, listpack_bytes_max: 64, seed: 1 };
    let mut hash = Hash::new();
    for field in 0..fields {
        hash.set(field.to_string().as_bytes(), b"v", Deadline::At(deadline_ms), 0, &limits);
    }
    hash.set(b"stays", b"v", Deadline::Clear, 0, &limits);
    keyspace.put(0, key, hash.into(), Expiry::Clear, Event::HSET);
}

#[test]
fn many_fields_due_at_once_go_in_their_millisecond_whatever_else_has_a_deadline() {
    const BUDGET: usize = 200;
    const FIELDS: usize = 50_000;
    let due_ms = START_MS + 100;
    for keys in [0, 10, 5_000] {
        let mut keyspace = keyspace();
        put_timed_hash(&mut keyspace, b"large", FIELDS, due_ms);
        for index in 0..keys {
            // Half of them are due while the fields go, half in an hour.
            let deadline_ms = if index % 2 == 0 { due_ms + 1 } else { START_MS + 3_600_000 };
            keyspace.set_string(0, format!("k{index}").as_bytes(), b"v", Expiry::At(deadline_ms));
        }
        assert_eq!(keyspace.expire_cycle(due_ms - 1, BUDGET), 0);
        let (mut slices, mut fields_max, mut now_ms) = (0, 0, due_ms);
        while keyspace.next_deadline_ms().is_some_and(|next_ms| next_ms <= now_ms) {
            let before = keyspace.stats;
            keyspace.expire_cycle(now_ms, BUDGET);
            slices += 1;
            let fields = keyspace.stats.expired_fields - before.expired_fields;
            fields_max = fields_max.max(fields);
            if 5 < slices && keys == 5_000 && slices < 15 {
                assert!(0 < fields && before.expired < keyspace.stats.expired, "both go on: {:?}", keyspace.stats);
            }
            if slices == 5 {
                now_ms += 1;
            }
        }
        assert_eq!(now_ms, due_ms + 1);
        let gone = (keyspace.stats.expired, keyspace.stats.expired_fields);
        assert_eq!(gone, (keys / 2, FIELDS as u64), "beside {keys} keys, in {slices} slices");
        assert!(slices <= 2 * (FIELDS + keys as usize) / BUDGET, "{slices}");
        assert!(fields_max <= 4 * BUDGET as u64, "{fields_max}");
        check_sums(&keyspace);
    }
}

#[test]
fn hashes_with_many_fields_due_take_turns() {
    let due_ms = START_MS + 100;
    let mut keyspace = keyspace();
    keyspace.set_string(0, b"other", b"v", Expiry::At(START_MS + 3_600_000));
    let names: Vec<String> = (0..300).map(|number| format!("hash:{number}")).collect();
    names.iter().for_each(|name| put_timed_hash(&mut keyspace, name.as_bytes(), 100, due_ms));
    let mut slices = 0;
    keyspace.expire_cycle(due_ms, 200);
    while keyspace.next_deadline_ms().is_some_and(|next_ms| next_ms <= due_ms) {
        // Who looks meanwhile finds what is there, and files nothing anew.
        keyspace.begin(due_ms, true);
        keyspace.read_container::<crate::value::hash::Hash>(0, names[slices % 300].as_bytes()).expect("a hash");
        keyspace.expire_cycle(due_ms, 200);
        slices += 1;
        assert!(records(&keyspace) <= names.len() + 1, "{}", records(&keyspace));
    }
    assert_eq!((keyspace.stats.expired_fields, keyspace.len(0), records(&keyspace)), (30_000, 301, 1));
    assert!(slices < 600, "{slices}");
    check_sums(&keyspace);
}

#[test]
fn what_is_kept_neither_expires_nor_is_evicted() {
    let mut keyspace = Keyspace::new(1, 1);
    keyspace.begin(1000, true);
    keyspace.set_string(0, b"k", b"v", Expiry::At(2000));
    keyspace.keep(0, b"k");
    keyspace.keep(0, b"k");
    assert!(!keyspace.evict(0, b"k"));
    keyspace.begin(3000, true);
    for _ in 0..2 {
        assert!(keyspace.read(0, b"k").is_none() && keyspace.peek(0, b"k").is_none());
        assert!(keyspace.peek_kept(0, b"k").is_some_and(|view| view.key() == b"k"));
        assert_eq!(keyspace.random(0, || 1).map(|view| view.key().to_vec()), Some(b"k".to_vec()));
        assert_eq!((keyspace.len(0), keyspace.stats.expired), (1, 0));
        keyspace.let_go(0, b"k");
    }
    assert!(keyspace.read(0, b"k").is_none());
    assert_eq!((keyspace.len(0), keyspace.stats.expired), (0, 1));
}

#[test]
fn a_random_key_is_found_in_bounded_time() {
    let mut keyspace = Keyspace::new(1, 1);
    keyspace.begin(1_000, false);
    for key in 0..10_000u32 {
        keyspace.set_string(0, &key.to_le_bytes(), b"v", Expiry::At(1_001));
    }
    keyspace.begin(2_000, false);
    let mut random = fastrand::Rng::with_seed(1);
    assert!(keyspace.random(0, || random.u64(..)).is_some());
    assert_eq!(keyspace.len(0), 9_000);
    (0..8).for_each(|_| assert!(keyspace.random(0, || random.u64(..)).is_some()));
    assert!(keyspace.random(0, || random.u64(..)).is_none());
}

#[test]
fn keys_that_are_used_do_not_go_for_others() {
    let mut keyspace = Keyspace::new(1, 7);
    keyspace.begin(START_MS, true);
    let names: Vec<String> = (0..200).map(|number| format!("key:{number}")).collect();
    for name in &names {
        keyspace.set_string(0, name.as_bytes(), b"v", Expiry::Clear);
    }
    let mut used: ahash::AHashSet<u64> = names[..20].iter().map(|name| keyspace.hash(name.as_bytes())).collect();
    let eviction = Eviction { judge: eviction::Judge::Lot, is_volatile: false, samples: 5 };
    for _ in 0..1000 {
        keyspace.evict_others(eviction, usize::MAX, 16, &mut used);
    }
    assert_eq!((keyspace.len(0), used.len()), (20, 20));
    assert!(names[..20].iter().all(|name| keyspace.peek(0, name.as_bytes()).is_some()));
    assert_eq!(keyspace.evict_some(eviction, usize::MAX, 100).keys, 20, "only then");
}
