//! How long a huge value keeps others waiting when it goes, or is read as a whole: every step of deleting, expiring,
//! flushing, overwriting, replying with and dumping a list, set, hash and sorted set of 10 million elements, and of
//! combining sets as large. And likewise, what concerns every key of a database of 10 million: a survey (`KEYS`),
//! flushing, swapping, a random key, their number.
//!
//! usage: `cargo bench --bench stalls` (elements and rounds: CORERING_STALL_ELEMENTS, CORERING_STALL_ROUNDS)
//!
//! A step is what runs between two commands of other clients: the command itself, a slice of expiry, of freeing, of a
//! long reply. As in `growth.rs`, the same work is done by several fresh processes, and of each step the quickest
//! counts: what the work costs comes every time, what the machine does to a process does not. Wall time, in nanoseconds.
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use corering::command::long_reply::{self, Combination, LongReply, What};
use corering::command::survey::STEP_KEYS;
use corering::keyspace::{Event, Expiry, Keyspace};
use corering::resp::Protocol;
use corering::shard::{EXPIRE_SLICE, FREE_SLICE};
use corering::value::Value;
use corering::value::hash::{self, Deadline, Hash};
use corering::value::list::{Fill, List};
use corering::value::set::{self, Set};
use corering::value::sorted_set::{self, SortedSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

const NOW_MS: u64 = 1_700_000_000_000;
const SEED: u64 = 20;
const KEY: &[u8] = b"huge";
const TYPES: &[&str] = &["list", "set", "intset", "hash", "sorted set"];
const WAYS: &[&str] =
    &["delete", "expire", "flush", "overwrite", "reply", "dump", "union", "intersection", "difference"];
/// Of these so many are for sets alone.
const WAYS_OF_SETS: usize = 3;
/// Of a database.
const KEYS: &str = "keys";
const WAYS_OF_KEYS: &[&str] = &["survey", "flush", "swap", "random", "count"];
/// Steps of those that are the same each time.
const REPEATS: usize = 1000;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// A value of so many elements of ten bytes.
fn value(name: &str, elements: usize) -> Value<'static> {
    let texts = (0..elements).map(|index| format!("m{index:09}"));
    match name {
        "list" => {
            let mut list = List::new();
            texts.for_each(|text| list.push_back(text.as_bytes(), Fill::default()));
            list.into()
        }
        "set" | "intset" => {
            let is_large = name == "set";
            let integers_max = if is_large { 512 } else { usize::MAX };
            let limits = set::Limits { integers_max, listpack_len_max: 0, listpack_member_bytes_max: 64, seed: SEED };
            let mut set = Set::new();
            if is_large {
                texts.for_each(|text| _ = set.add(text.as_bytes(), &limits));
            } else {
                (0..elements).for_each(|index| _ = set.add((index * 1000).to_string().as_bytes(), &limits));
            }
            set.into()
        }
        "hash" => {
            let limits = hash::Limits { listpack_len_max: 512, listpack_bytes_max: 64, seed: SEED };
            let mut hash = Hash::new();
            texts.for_each(|text| _ = hash.set(text.as_bytes(), text.as_bytes(), Deadline::Clear, 0, &limits));
            hash.into()
        }
        _ => {
            let limits = sorted_set::Limits { members_max: 128, member_bytes_max: 64 };
            let mut set = SortedSet::new(limits, 10);
            let score = |index: usize| (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as f64;
            texts.enumerate().for_each(|(index, text)| set.set(text.as_bytes(), score(index), limits));
            set.into()
        }
    }
}

/// Does it, and writes how long each step took to standard output: 32 bits, native order, ns.
fn child(name: &str, way: &str, elements: usize) {
    // As the server does.
    corering::sys::process::disable_huge_pages();
    let mut keyspace = Keyspace::new(1, SEED);
    keyspace.begin(NOW_MS, true);
    keyspace.put(0, KEY, value(name, elements), Expiry::Clear, Event::SET);
    if way == "expire" {
        keyspace.set_deadline(0, KEY, NOW_MS + 1);
    }
    let bytes_before = keyspace.memory_bytes();
    assert!(elements < bytes_before, "the value was not made");
    let mut times_ns = Vec::new();
    if let Some(mut reply) = long_reply(name, way, elements) {
        let args = ["COMMAND".into(), KEY.to_vec(), KEY.to_vec()];
        let args = if WAYS[WAYS.len() - WAYS_OF_SETS..].contains(&way) { &args[..] } else { &args[..2] };
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        keyspace.keep(0, KEY);
        loop {
            let mut out = Vec::new();
            let start = Instant::now();
            let is_more = reply.step(&keyspace, 0, args, Protocol::Resp2, &mut out).expect("it is kept");
            times_ns.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
            pieces.push(out);
            if !is_more {
                break;
            }
        }
        let bytes: usize = pieces.iter().map(Vec::len).sum();
        assert!(if way == "difference" { bytes == 0 } else { 2 * elements < bytes }, "{bytes} bytes");
        if let Some(remains) = reply.into_remains() {
            keyspace.discard_value(Some(remains));
            let mut is_more = true;
            while is_more {
                let start = Instant::now();
                is_more = keyspace.free_some(FREE_SLICE);
                times_ns.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
        }
        return write_out(&times_ns);
    }
    let mut step = |keyspace: &mut Keyspace, work: &dyn Fn(&mut Keyspace) -> bool| {
        let start = Instant::now();
        let is_more = work(keyspace);
        times_ns.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
        is_more
    };
    step(&mut keyspace, &|keyspace| {
        keyspace.begin(NOW_MS + 2, true);
        match way {
            "delete" => keyspace.delete(0, KEY),
            "expire" => 0 < keyspace.expire_cycle(NOW_MS + 2, EXPIRE_SLICE),
            "flush" => 0 < keyspace.flush(0),
            _ => {
                keyspace.set_string(0, KEY, b"short", Expiry::Clear);
                true
            }
        }
    });
    while step(&mut keyspace, &|keyspace| keyspace.free_some(FREE_SLICE)) {}
    assert!(keyspace.memory_bytes() < bytes_before / 100, "something was not freed");
    write_out(&times_ns);
}

/// The same of a database of so many keys.
fn child_of_keys(way: &str, keys: usize) {
    corering::sys::process::disable_huge_pages();
    let mut keyspace = Keyspace::new(2, SEED);
    keyspace.begin(NOW_MS, true);
    (0..keys).for_each(|index| keyspace.set_string(0, format!("key:{index}").as_bytes(), b"value", Expiry::Clear));
    assert_eq!(keyspace.len(0), keys);
    let (mut times_ns, mut position, mut told, mut step) = (Vec::new(), 0, 0, 0);
    loop {
        let mut out: Vec<u8> = Vec::new();
        let start = Instant::now();
        let is_more = match way {
            "survey" => {
                position = keyspace.survey(0, position, STEP_KEYS, |view| {
                    out.extend_from_slice(view.key());
                    told += 1;
                });
                position != 0
            }
            "flush" if step == 0 => 0 < keyspace.flush(0),
            "flush" => keyspace.free_some(FREE_SLICE),
            "swap" => {
                keyspace.swap(0, 1);
                step < REPEATS
            }
            "random" => {
                let mut seed = step as u64;
                _ = keyspace.random(0, || {
                    seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
                    seed
                });
                step < REPEATS
            }
            _ => {
                told = keyspace.len(0);
                step < REPEATS
            }
        };
        times_ns.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
        step += 1;
        if !is_more {
            break;
        }
    }
    assert!(!matches!(way, "survey" | "count") || told == keys, "{told} of {keys} keys");
    assert!(way != "flush" || keyspace.memory_bytes() < keys, "something was not freed");
    write_out(&times_ns);
}

fn write_out(times_ns: &[u32]) {
    let mut out = std::io::stdout().lock();
    out.write_all(&times_ns.iter().flat_map(|time_ns| time_ns.to_ne_bytes()).collect::<Vec<_>>()).expect("a pipe");
}

/// The reply with all of a value, or with what two of it make together; `None` for ways that are no reply.
fn long_reply(name: &str, way: &str, elements: usize) -> Option<LongReply> {
    let mut reply = None;
    let slot = &mut Some(&mut reply);
    let limits = set::Limits { integers_max: 512, listpack_len_max: 0, listpack_member_bytes_max: 64, seed: SEED };
    let how = match way {
        "union" => Some(Combination::Union),
        "intersection" => Some(Combination::Intersection { smallest: 0 }),
        "difference" => Some(Combination::Difference),
        _ => None,
    };
    let what = match name {
        "list" => What::Elements { first: 0 },
        "set" | "intset" => What::Members,
        "hash" => What::Fields { names: true, values: true },
        _ => What::Ranked { start: 0, is_back: false, with_scores: true },
    };
    let is_left = match (way, how) {
        ("reply", _) => long_reply::leave(slot, elements, what),
        ("dump", _) => long_reply::leave_payload(slot, elements, true),
        (_, Some(how)) => long_reply::leave_combination(slot, (2, elements), how, limits),
        (_, None) => return None,
    };
    assert!(is_left, "it is too short to be one");
    reply
}

fn main() {
    let elements = number("CORERING_STALL_ELEMENTS", 10_000_000);
    let words: Vec<String> = std::env::args().collect();
    if let Some(at) = words.iter().position(|word| word == "child") {
        return match words[at + 1].as_str() {
            KEYS => child_of_keys(&words[at + 2], elements),
            name => child(name, &words[at + 2], elements),
        };
    }
    let rounds = number("CORERING_STALL_ROUNDS", 3);
    println!("{elements} elements, {rounds} rounds; µs of wall time for one step\n");
    println!("| value | way | steps | p50 | p99 | first | longest | above 1 ms |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    for name in TYPES.iter().chain([&KEYS]) {
        // An intset is one allocation: half a million integers are as many as one would ever allow.
        let elements = if *name == "intset" { elements / 20 } else { elements };
        let ways = match *name {
            KEYS => WAYS_OF_KEYS,
            "set" | "intset" => WAYS,
            _ => &WAYS[..WAYS.len() - WAYS_OF_SETS],
        };
        for way in ways {
            let mut quickest: Vec<u32> = Vec::new();
            for round in 1..=rounds {
                let program = std::env::current_exe().expect("the path of this program");
                let mut command = Command::new(program);
                command.args(["child", name, way]).env("CORERING_STALL_ELEMENTS", elements.to_string());
                let output = command.stderr(Stdio::inherit()).output().expect("a process");
                assert!(output.status.success(), "round {round} of {name}, {way} failed");
                let times_ns = output.stdout.chunks_exact(4);
                let times_ns: Vec<u32> =
                    times_ns.map(|bytes| u32::from_ne_bytes(bytes.try_into().expect("4 bytes"))).collect();
                assert!(quickest.is_empty() || quickest.len() == times_ns.len(), "the same work has the same steps");
                quickest.resize(times_ns.len(), u32::MAX);
                quickest.iter_mut().zip(times_ns).for_each(|(best, time_ns)| *best = time_ns.min(*best));
            }
            let first = f64::from(quickest[0]) / 1000.0;
            quickest.sort_unstable();
            let at = |share: f64| f64::from(quickest[((quickest.len() - 1) as f64 * share) as usize]) / 1000.0;
            let slow = quickest.iter().filter(|time_ns| 1_000_000 < **time_ns).count();
            println!(
                "| {name} | {way} | {} | {:.1} | {:.1} | {first:.1} | {:.1} | {slow} |",
                quickest.len(),
                at(0.5),
                at(0.99),
                at(1.0)
            );
        }
    }
}
