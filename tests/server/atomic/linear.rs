//! Single keys: is there an order of the operations that a sequential key would have answered the same way, in which
//! none comes before one that had ended when it began? (Wing and Gong's search, with Lowe's memory of what failed.)

use super::record::{Operation, Random, clients, integer, now, text};
use super::{SHARDS, rounds, start};
use crate::client::{Client, Value, encode};
use std::collections::BTreeSet;
use std::time::Instant;

/// Clients on one key.
const CLIENTS: usize = 6;
/// Keys of a history; their shards differ.
const KEYS: usize = 4;
/// Commands in one write, where pipelined.
const PIPELINE: usize = 5;

/// What was asked of a key, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `SET`
    Set(Vec<u8>),
    /// `GET`; empty: none.
    Get(Vec<u8>),
    /// `GETSET`: the new value, and the old one.
    Swap(Vec<u8>, Vec<u8>),
    /// `INCRBY`: by how much, and the sum.
    Add(i64, i64),
    /// `APPEND`: what, and the length.
    Append(Vec<u8>, i64),
    /// `SADD` of a member, and how many were new.
    Insert(u8, i64),
    /// `SREM`, and how many went.
    Remove(u8, i64),
    /// `SISMEMBER`
    Contains(u8, i64),
    /// `SCARD`
    Count(i64),
}

/// The key after a call, if it would have given that answer. The empty state is an absent key.
fn apply(state: &[u8], call: &Call) -> Option<Vec<u8>> {
    let number = || std::str::from_utf8(state).ok().and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0);
    let member = |member: &u8| state.iter().position(|known| known == member);
    match call {
        Call::Set(value) => Some(value.clone()),
        Call::Get(value) => (state == value).then(|| state.to_vec()),
        Call::Swap(new, old) => (state == old).then(|| new.clone()),
        Call::Add(by, sum) => (number() + by == *sum).then(|| sum.to_string().into_bytes()),
        Call::Append(what, len) => {
            let after = [state, what].concat();
            (after.len() as i64 == *len).then_some(after)
        }
        Call::Insert(what, count) => match member(what) {
            Some(_) => (*count == 0).then(|| state.to_vec()),
            None => (*count == 1).then(|| {
                let mut after = [state, &[*what]].concat();
                after.sort_unstable();
                after
            }),
        },
        Call::Remove(what, count) => match member(what) {
            None => (*count == 0).then(|| state.to_vec()),
            Some(at) => (*count == 1).then(|| [&state[..at], &state[at + 1..]].concat()),
        },
        Call::Contains(what, count) => (i64::from(member(what).is_some()) == *count).then(|| state.to_vec()),
        Call::Count(count) => (state.len() as i64 == *count).then(|| state.to_vec()),
    }
}

/// Whether a history of one key, absent at first, is linearizable.
pub fn is_linearizable(history: &[Operation<Call>]) -> bool {
    let mut operations: Vec<&Operation<Call>> = history.iter().collect();
    operations.sort_by_key(|operation| operation.start);
    let mut done = vec![0_u64; operations.len().div_ceil(64)];
    let mut failed: BTreeSet<(Vec<u64>, Vec<u8>)> = BTreeSet::new();
    // What is tried next at each depth, and the way back.
    let mut states: Vec<Vec<u8>> = vec![Vec::new()];
    let mut chosen: Vec<usize> = Vec::new();
    let mut next = 0;
    loop {
        if chosen.len() == operations.len() {
            return true;
        }
        let is_done = |done: &[u64], at: usize| done[at / 64] >> (at % 64) & 1 == 1;
        let first_open = (0..operations.len()).find(|&at| !is_done(&done, at)).expect("some are left");
        // Nobody may come before one that had ended when it began.
        let limit = operations[first_open..]
            .iter()
            .enumerate()
            .filter(|(at, _)| !is_done(&done, first_open + at))
            .map(|(_, operation)| operation.end)
            .min()
            .expect("some are left");
        let mut found = None;
        for at in next.max(first_open)..operations.len() {
            if limit < operations[at].start {
                break;
            }
            if is_done(&done, at) {
                continue;
            }
            if let Some(state) = apply(states.last().expect("the first is always there"), &operations[at].what) {
                done[at / 64] |= 1 << (at % 64);
                if failed.insert((done.clone(), state.clone())) {
                    found = Some((at, state));
                    break;
                }
                done[at / 64] &= !(1 << (at % 64));
            }
        }
        if let Some((at, state)) = found {
            states.push(state);
            chosen.push(at);
            next = 0;
        } else {
            let Some(at) = chosen.pop() else { return false };
            states.pop();
            done[at / 64] &= !(1 << (at % 64));
            next = at + 1;
        }
    }
}

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Values that are set and read.
    Register,
    /// A sum.
    Counter,
    /// Members that come and go.
    Set,
    /// A string that grows.
    List,
}

/// A call of this kind, without its answer, and the command for it.
fn draw(sort: Sort, key: &str, unique: usize, random: &mut Random) -> (Call, Vec<Vec<u8>>) {
    let value = format!("v{unique}").into_bytes();
    let member = b'a' + random.below(4) as u8;
    let call = match (sort, random.below(4)) {
        (Sort::Register, 0 | 1) => Call::Get(Vec::new()),
        (Sort::Register, 2) => Call::Set(value),
        (Sort::Register, _) => Call::Swap(value, Vec::new()),
        (Sort::Counter, 0) => Call::Get(Vec::new()),
        (Sort::Counter, _) => Call::Add(1 + random.below(9) as i64, 0),
        (Sort::Set, 0) => Call::Insert(member, 0),
        (Sort::Set, 1) => Call::Remove(member, 0),
        (Sort::Set, 2) => Call::Contains(member, 0),
        (Sort::Set, _) => Call::Count(0),
        (Sort::List, 0) => Call::Get(Vec::new()),
        (Sort::List, _) => Call::Append(value, 0),
    };
    let key = key.as_bytes();
    let words: Vec<&[u8]> = match &call {
        Call::Set(value) => vec![b"SET", key, value],
        Call::Get(_) => vec![b"GET", key],
        Call::Swap(value, _) => vec![b"GETSET", key, value],
        Call::Add(..) => vec![b"INCRBY", key],
        Call::Append(what, _) => vec![b"APPEND", key, what],
        Call::Insert(..) => vec![b"SADD", key],
        Call::Remove(..) => vec![b"SREM", key],
        Call::Contains(..) => vec![b"SISMEMBER", key],
        Call::Count(_) => vec![b"SCARD", key],
    };
    let mut words: Vec<Vec<u8>> = words.into_iter().map(<[u8]>::to_vec).collect();
    match &call {
        Call::Add(by, _) => words.push(by.to_string().into_bytes()),
        Call::Insert(member, _) | Call::Remove(member, _) | Call::Contains(member, _) => words.push(vec![*member]),
        _ => {}
    }
    (call, words)
}

/// The call with its answer.
fn answered(call: Call, reply: &Value) -> Call {
    match call {
        Call::Set(value) => Call::Set(value),
        Call::Get(_) => Call::Get(text(reply)),
        Call::Swap(new, _) => Call::Swap(new, text(reply)),
        Call::Add(by, _) => Call::Add(by, integer(reply)),
        Call::Append(what, _) => Call::Append(what, integer(reply)),
        Call::Insert(member, _) => Call::Insert(member, integer(reply)),
        Call::Remove(member, _) => Call::Remove(member, integer(reply)),
        Call::Contains(member, _) => Call::Contains(member, integer(reply)),
        Call::Count(_) => Call::Count(integer(reply)),
    }
}

/// One client's part of histories on several keys; `fault` may change an answer before it is recorded.
pub fn run_client(
    sort: Sort,
    index: usize,
    pipeline: usize,
    client: &mut Client,
    started: Instant,
    mut fault: impl FnMut(usize, Call) -> Call,
) -> Vec<Operation<(usize, Call)>> {
    let mut random = Random(index as u64 + 1);
    let mut history = Vec::new();
    for round in 0..rounds().div_ceil(pipeline) {
        let mut bytes = Vec::new();
        let mut asked = Vec::new();
        for step in 0..pipeline {
            let key = random.below(KEYS);
            let unique = index * 1_000_000 + round * pipeline + step;
            let (call, words) = draw(sort, &format!("{sort:?}{key}"), unique, &mut random);
            bytes.extend(encode(&words));
            asked.push((key, call));
        }
        let start = now(started);
        client.send_raw(&bytes).expect("the server reads");
        for (key, call) in asked {
            let reply = client.read().expect("the server answers");
            let call = fault(key, answered(call, &reply));
            history.push(Operation { start, end: now(started), what: (key, call) });
        }
    }
    history
}

/// The histories of the single keys.
pub fn by_key(history: Vec<Operation<(usize, Call)>>) -> Vec<Vec<Operation<Call>>> {
    let mut keys = vec![Vec::new(); KEYS];
    for Operation { start, end, what: (key, call) } in history {
        keys[key].push(Operation { start, end, what: call });
    }
    keys
}

/// Plays a history against a server and looks at every key.
pub fn holds(port: u16, sort: Sort, pipeline: usize, fault: impl Fn(usize, usize, Call) -> Call + Sync) -> bool {
    let history = clients(port, CLIENTS, |index, client, started| {
        run_client(sort, index, pipeline, client, started, |key, call| fault(index, key, call))
    });
    by_key(history).iter().all(|history| is_linearizable(history))
}

#[test]
fn single_keys_are_linearizable() {
    for shards in SHARDS {
        let server = start(shards);
        for sort in [Sort::Register, Sort::Counter, Sort::Set, Sort::List] {
            for pipeline in [1, PIPELINE] {
                let mut client = Client::connect(server.port).expect("the server accepts");
                client.call(&["FLUSHALL"]).expect("the server answers");
                let holds = holds(server.port, sort, pipeline, |_, _, call| call);
                assert!(holds, "{sort:?} on {shards} shards, {pipeline} commands at a time");
            }
        }
    }
}

fn history(calls: &[(u64, u64, Call)]) -> Vec<Operation<Call>> {
    calls.iter().map(|(start, end, what)| Operation { start: *start, end: *end, what: what.clone() }).collect()
}

#[test]
fn the_checker_knows_right_from_wrong() {
    let set = |value: &str| Call::Set(value.as_bytes().to_vec());
    let get = |value: &str| Call::Get(value.as_bytes().to_vec());
    // Two at the same time, in either order; the later read decides.
    assert!(is_linearizable(&history(&[(0, 9, set("a")), (1, 8, set("b")), (10, 11, get("a"))])));
    assert!(is_linearizable(&history(&[(0, 9, set("a")), (1, 8, set("b")), (10, 11, get("b"))])));
    assert!(is_linearizable(&history(&[(0, 9, set("a")), (1, 2, get("")), (3, 4, get("a"))])));
    // A value read back after a newer one was, or before it was written, or never written.
    let flicker = [(0, 20, set("a")), (1, 2, get("a")), (3, 4, get(""))];
    assert!(!is_linearizable(&history(&flicker)));
    assert!(!is_linearizable(&history(&[(0, 1, get("a")), (2, 3, set("a"))])));
    assert!(!is_linearizable(&history(&[(0, 1, set("a")), (2, 3, set("b")), (4, 5, get("a"))])));
    // A sum seen twice, an increment lost.
    assert!(!is_linearizable(&history(&[(0, 5, Call::Add(1, 1)), (1, 4, Call::Add(1, 1))])));
    assert!(is_linearizable(&history(&[(0, 5, Call::Add(1, 2)), (1, 4, Call::Add(1, 1))])));
    // A member inserted anew by both.
    assert!(!is_linearizable(&history(&[(0, 5, Call::Insert(1, 1)), (1, 4, Call::Insert(1, 1))])));
    assert!(is_linearizable(&history(&[(0, 5, Call::Insert(1, 1)), (1, 4, Call::Count(0)), (6, 7, Call::Count(1))])));
    // An append that is not there afterwards.
    let lost = [(0, 1, Call::Append(b"x".to_vec(), 1)), (2, 3, Call::Append(b"y".to_vec(), 1))];
    assert!(!is_linearizable(&history(&lost)));
}
