//! A walk records what was there when it began, whatever happens meanwhile.

use super::*;
use crate::keyspace::eviction::Judge;
use crate::keyspace::{Event, Eviction, Expiry, Keyspace};
use crate::value::hash::{self, Deadline, Hash};
use crate::value::{StringRef, Value};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

const START_MS: u64 = 1_700_000_000_000;
const DATABASES: usize = 3;
const LIMITS: hash::Limits = hash::Limits { listpack_len_max: 128, listpack_bytes_max: 64, seed: 1 };

/// By database and key: deadline, and the value as text.
type Content = BTreeMap<(usize, Vec<u8>), (Option<u64>, String)>;

/// Collects entries as text; those in slices count their elements anew in each.
struct Collector {
    db: usize,
    content: Arc<Mutex<Content>>,
    begun: Option<(Vec<u8>, String, usize)>,
    has_ended: Arc<Mutex<usize>>,
}

fn text(view: EntryRef<'_>) -> String {
    match view.value() {
        ValueRef::Hash(hash) => {
            let mut fields: Vec<String> =
                hash.iter(0).map(|field| format!("{:?}={:?}", field.name, field.value)).collect();
            fields.sort();
            fields.join(",")
        }
        value => format!("{value:?}"),
    }
}

impl Collector {
    fn add(&mut self, key: Vec<u8>, deadline_ms: Option<u64>, text: String) {
        let before = self.content.lock().insert((self.db, key.clone()), (deadline_ms, text));
        assert!(before.is_none(), "{} was recorded twice", key.escape_ascii());
    }
}

impl Recorder for Collector {
    fn record(&mut self, view: EntryRef<'_>) -> usize {
        self.add(view.key().to_vec(), view.deadline_ms(), text(view));
        view.key().len() + 20
    }

    fn begin(&mut self, view: EntryRef<'_>) {
        assert!(self.begun.is_none(), "one at a time");
        self.begun = Some((view.key().to_vec(), text(view), 4));
    }

    fn step(&mut self, view: EntryRef<'_>, bytes: usize) -> (usize, bool) {
        let (key, first, left) = self.begun.take().expect("it began");
        assert_eq!((view.key(), text(view)), (&key[..], first.clone()), "changed while it was recorded");
        if bytes < usize::MAX && 0 < left {
            self.begun = Some((key, first, left - 1));
            return (bytes, true);
        }
        self.add(key, view.deadline_ms(), first);
        (1, false)
    }

    fn end(&mut self) {
        assert!(self.begun.is_none());
        *self.has_ended.lock() += 1;
    }
}

fn content_of(keyspace: &Keyspace) -> Content {
    let mut content = Content::new();
    for db in 0..DATABASES {
        keyspace.for_each(db, |view| {
            content.insert((db, view.key().to_vec()), (view.deadline_ms(), text(view)));
        });
    }
    content
}

fn key(number: u64) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

fn large_hash(fields: usize) -> Value<'static> {
    let mut hash = Hash::new();
    for field in 0..fields {
        hash.set(format!("field:{field}").as_bytes(), &[b'v'; 50], Deadline::Clear, 0, &LIMITS);
    }
    hash.into()
}

/// Does something at random.
fn disturb(keyspace: &mut Keyspace, random: &mut fastrand::Rng, keys: u64, now_ms: &mut u64) {
    let db = random.usize(..DATABASES);
    let name = key(random.u64(..keys));
    let other = key(random.u64(..keys));
    keyspace.begin(*now_ms, true);
    match random.u32(..200) {
        0..60 => keyspace.set_string(db, &name, format!("new {}", random.u32(..)).as_bytes(), Expiry::Clear),
        60..70 => keyspace.set_string(db, &name, b"timed", Expiry::At(*now_ms + random.u64(1..50))),
        70..80 => keyspace.set_string(db, &name, &vec![b'x'; random.usize(..40_000)], Expiry::Keep),
        80..100 => {
            keyspace.delete(db, &name);
        }
        100..115 => {
            let _ = keyspace.append(db, &name, b"more");
        }
        115..130 => {
            if let Ok(Some(mut hash)) = keyspace.container_mut::<Hash>(db, &name) {
                hash.set(b"field:1", b"changed", Deadline::Clear, 0, &LIMITS);
            }
        }
        130..140 => {
            keyspace.rename(db, &name, &other, true);
        }
        140..150 => {
            keyspace.relocate(&name, db, (db + 1) % DATABASES);
        }
        150..160 => {
            let _ = (keyspace.read(db, &name).is_some(), keyspace.persist(db, &other));
        }
        160..170 => {
            keyspace.set_deadline(db, &name, *now_ms + random.u64(1..100));
        }
        170..180 => {
            let eviction = Eviction { judge: Judge::Lot, is_volatile: false, samples: 5 };
            keyspace.evict_some(eviction, usize::MAX, 2);
        }
        180..190 => {
            *now_ms += 5;
            keyspace.expire_cycle(*now_ms, 100);
        }
        190..195 => {
            // A loan: it comes back changed.
            let mut overlay = keyspace.sibling();
            overlay.begin(*now_ms, false);
            keyspace.lend(&name, |db, entry| overlay.adopt(db, entry));
            overlay.set_string(db, &name, b"changed elsewhere", Expiry::Keep);
            overlay.lend(&name, |db, entry| keyspace.adopt(db, entry));
            keyspace.absorb(&mut overlay);
        }
        195..197 => keyspace.swap(db, (db + 1) % DATABASES),
        197 => {
            keyspace.flush(db);
        }
        _ => {
            keyspace.record_next(db, &name);
            keyspace.free_some(50);
        }
    }
}

/// Fills a keyspace, walks it while it is disturbed so often between two slices, and compares.
fn check(seed: u64, disturbances: usize, slice: Slice) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut keyspace = Keyspace::new(DATABASES, seed);
    let (mut now_ms, keys) = (START_MS, 1 + random.u64(..3000));
    for _ in 0..keys * 2 {
        disturb(&mut keyspace, &mut random, keys, &mut now_ms);
    }
    for number in 0..random.u64(..4) {
        keyspace.put(random.usize(..DATABASES), &key(number), large_hash(4000), Expiry::Clear, Event::HSET);
    }
    // Twice: the second walk begins with what the first left.
    for _ in 0..2 {
        let (content, has_ended) = (Arc::new(Mutex::new(Content::new())), Arc::new(Mutex::new(0)));
        keyspace.begin(now_ms, true);
        let begun_ms = now_ms;
        let expected = content_of(&keyspace);
        let databases = (0..DATABASES).filter(|&db| keyspace.len(db) != 0).count();
        keyspace.begin_walk(|db| {
            let (content, has_ended) = (content.clone(), has_ended.clone());
            Box::new(Collector { db, content, begun: None, has_ended })
        });
        while keyspace.step_walk(slice) {
            for _ in 0..disturbances {
                disturb(&mut keyspace, &mut random, keys, &mut now_ms);
            }
        }
        assert!(!keyspace.is_walked());
        assert_eq!(*has_ended.lock(), databases, "every recorder is told of the end");
        let mut content = std::mem::take(&mut *content.lock());
        // What had expired before it began, and what expired before its turn came, may be there or not.
        content.retain(|_, (deadline_ms, _)| deadline_ms.is_none_or(|deadline_ms| begun_ms < deadline_ms));
        for (key, value) in &expected {
            match content.remove(key) {
                Some(recorded) => assert_eq!(recorded, *value, "{} of {}", key.1.escape_ascii(), key.0),
                None => {
                    assert!(value.0.is_some_and(|deadline_ms| deadline_ms <= now_ms), "{key:?} {value:?} is missing")
                }
            }
        }
        assert!(content.is_empty(), "{content:?} was not there");
    }
}

#[test]
fn what_was_there_is_recorded_once_as_it_was() {
    for seed in 0..40 {
        for (disturbances, slice) in [
            (0, Slice { entries: 100, bytes: 10_000 }),
            (1, Slice { entries: 8, bytes: 1 }),
            (40, Slice { entries: 16, bytes: 400 }),
            (300, Slice { entries: 64, bytes: 4000 }),
        ] {
            check(seed, disturbances, slice);
        }
    }
}

#[test]
fn a_walk_that_is_given_up_leaves_no_trace() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut keyspace = Keyspace::new(DATABASES, seed);
        let mut now_ms = START_MS;
        (0..3000).for_each(|_| disturb(&mut keyspace, &mut random, 1000, &mut now_ms));
        keyspace.put(0, b"large", large_hash(4000), Expiry::Clear, Event::HSET);
        let (content, has_ended) = (Arc::new(Mutex::new(Content::new())), Arc::new(Mutex::new(0)));
        let collector = |db| -> Box<dyn Recorder> {
            Box::new(Collector { db, content: content.clone(), begun: None, has_ended: has_ended.clone() })
        };
        keyspace.begin_walk(collector);
        for _ in 0..random.u32(..50) {
            keyspace.step_walk(Slice { entries: 16, bytes: 1000 });
            disturb(&mut keyspace, &mut random, 1000, &mut now_ms);
        }
        keyspace.give_up_walk();
        let told = (content.lock().len(), *has_ended.lock());
        while keyspace.step_walk(Slice { entries: 100, bytes: 1 }) {
            disturb(&mut keyspace, &mut random, 1000, &mut now_ms);
        }
        assert_eq!((content.lock().len(), *has_ended.lock()), told);
        content.lock().clear();
        keyspace.begin(now_ms, true);
        let expected = content_of(&keyspace);
        keyspace.begin_walk(collector);
        while keyspace.step_walk(Slice { entries: 1000, bytes: 100_000 }) {}
        content.lock().retain(|_, (deadline_ms, _)| deadline_ms.is_none_or(|deadline_ms| now_ms < deadline_ms));
        assert_eq!(*content.lock(), expected);
    }
}

#[test]
fn who_waits_for_a_large_value_need_not_wait_for_others() {
    let mut keyspace = Keyspace::new(1, 1);
    keyspace.begin(START_MS, true);
    for number in 0..2000 {
        keyspace.set_string(0, &key(number), b"v", Expiry::Clear);
    }
    keyspace.put(0, b"large", large_hash(4000), Expiry::Clear, Event::HSET);
    assert!(!keyspace.is_unrecorded_large(0, b"large"), "nothing is recorded yet");
    let content = Arc::new(Mutex::new(Content::new()));
    let has_ended = Arc::new(Mutex::new(0));
    keyspace.begin_walk(|db| {
        Box::new(Collector { db, content: content.clone(), begun: None, has_ended: has_ended.clone() })
    });
    assert!(keyspace.is_unrecorded_large(0, b"large") && !keyspace.is_unrecorded_large(0, &key(1)));
    keyspace.record_next(0, b"large");
    let slices = (1..).find(|_| {
        assert!(keyspace.step_walk(Slice { entries: 8, bytes: 100 }));
        !keyspace.is_unrecorded_large(0, b"large")
    });
    assert!(slices.unwrap() < 10);
    assert!(content.lock().len() < 20);
    let eviction = Eviction { judge: Judge::Lot, is_volatile: false, samples: 5 };
    keyspace.evict_some(eviction, usize::MAX, 10_000);
    assert!(matches!(keyspace.read_string(0, b"large"), Ok(None) | Err(_) | Ok(Some(StringRef::Bytes(_)))));
    while keyspace.step_walk(Slice { entries: 1000, bytes: 100_000 }) {}
    assert_eq!(content.lock().len(), 2001);
}

#[test]
fn a_flushed_database_is_freed_when_it_is_recorded() {
    let mut keyspace = Keyspace::new(2, 1);
    keyspace.begin(START_MS, true);
    for number in 0..1000 {
        keyspace.set_string(1, &key(number), &[b'v'; 100], Expiry::Clear);
    }
    let content = Arc::new(Mutex::new(Content::new()));
    let has_ended = Arc::new(Mutex::new(0));
    keyspace.begin_walk(|db| {
        Box::new(Collector { db, content: content.clone(), begun: None, has_ended: has_ended.clone() })
    });
    let before = keyspace.memory_bytes();
    assert_eq!(keyspace.flush(1), 1000);
    assert_eq!((keyspace.len(1), keyspace.has_garbage()), (0, false));
    assert!(before * 9 / 10 < keyspace.memory_bytes(), "it is there still");
    keyspace.set_string(1, &key(1), b"new", Expiry::Clear);
    while keyspace.step_walk(Slice { entries: 100, bytes: 10_000 }) {}
    assert_eq!(content.lock().len(), 1000);
    assert!(keyspace.has_garbage());
    while keyspace.free_some(1000) {}
    assert!(keyspace.memory_bytes() < before / 10);
}
