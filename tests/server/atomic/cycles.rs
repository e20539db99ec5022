//! Transactions over several keys that append to strings and read them. Each appended word is unique, so what a read
//! shows tells which appends came before it, in which order. From that, and from real time, follows what must come
//! before what; if that is a circle, no order of whole transactions explains the history.

use super::faults::Fault;
use super::record::{Operation, Random, array, clients, now, text};
use super::{SHARDS, rounds, start};
use crate::client::{Client, Value, encode};
use std::collections::BTreeMap;
use std::time::Instant;

const CLIENTS: usize = 6;
/// Few keys, on all shards, so that transactions meet.
const KEYS: usize = 6;
/// Transactions in one write, where pipelined.
const PIPELINE: usize = 4;

/// A step of a transaction: key, word appended or words read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Appends a word.
    Append(usize, String),
    /// Sees these words.
    Read(usize, Vec<String>),
}

/// A transaction that happened.
pub type Steps = Vec<Step>;

/// What is wrong with a history, if anything; `last` is what was read when all was over.
pub fn find_fault(history: &[Operation<Steps>], last: &[Vec<String>]) -> Option<String> {
    // Who appended what, and where it stands.
    let mut appender: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, operation) in history.iter().enumerate() {
        for step in &operation.what {
            if let Step::Append(_, word) = step {
                appender.insert(word, index);
            }
        }
    }
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    for (key, words) in last.iter().enumerate() {
        for (at, word) in words.iter().enumerate() {
            if place.insert(word, at).is_some() {
                return Some(format!("key {key} has {word} twice"));
            }
            if !appender.contains_key(word.as_str()) {
                return Some(format!("key {key} has {word}, which nobody appended"));
            }
        }
    }
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); 2 * history.len()];
    for (index, operation) in history.iter().enumerate() {
        let mut own: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for step in &operation.what {
            match step {
                Step::Append(key, word) => {
                    let Some(&at) = place.get(word.as_str()) else {
                        return Some(format!("{word} was appended to key {key} and is lost"));
                    };
                    if let Some(before) = at.checked_sub(1) {
                        edges[appender[last[*key][before].as_str()]].push(index);
                    }
                    own.entry(*key).or_default().push(word);
                }
                Step::Read(key, words) => {
                    if !last[*key].starts_with(words) {
                        return Some(format!("key {key} was read as {words:?}, which it never was"));
                    }
                    let own = own.get(key).map_or(&[][..], Vec::as_slice);
                    if !own.iter().rev().zip(words.iter().rev()).all(|(own, read)| own == read)
                        || words.len() < own.len()
                    {
                        return Some(format!("key {key} was read as {words:?} after its own {own:?}"));
                    }
                    if let Some(word) = words.last() {
                        edges[appender[word.as_str()]].push(index);
                    }
                    if let Some(next) = last[*key].get(words.len()) {
                        edges[index].push(appender[next.as_str()]);
                    }
                }
            }
        }
    }
    // Real time: one that ended before another began comes before it. Moments form a chain behind the operations.
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (index, operation) in history.iter().enumerate() {
        moments.push((operation.start, true, index));
        moments.push((operation.end, false, index));
    }
    moments.sort_unstable();
    // The moment of an operation's end is a node of its own; begins hang on the last end before them.
    let mut last_end: Option<usize> = None;
    for (_, begins, index) in moments {
        if begins {
            if let Some(end) = last_end {
                edges[end].push(index);
            }
        } else {
            let end = history.len() + index;
            edges[index].push(end);
            if let Some(before) = last_end {
                edges[before].push(end);
            }
            last_end = Some(end);
        }
    }
    for (index, edges) in edges.iter_mut().enumerate() {
        edges.retain(|&to| to != index);
    }
    let circle = find_circle(&edges)?;
    let shown: Vec<String> =
        circle.iter().filter(|&&node| node < history.len()).map(|&node| format!("{:?}", history[node])).collect();
    Some(format!("a circle of {}:\n{}", shown.len(), shown.join("\n")))
}

/// Nodes that lead to each other in a circle.
fn find_circle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    // 0: not seen, 1: on the way, 2: done.
    let mut marks = vec![0_u8; edges.len()];
    for root in 0..edges.len() {
        if marks[root] != 0 {
            continue;
        }
        let mut way = vec![(root, 0)];
        marks[root] = 1;
        while let Some((node, next)) = way.last_mut() {
            let node = *node;
            let Some(&to) = edges[node].get(*next) else {
                marks[node] = 2;
                way.pop();
                continue;
            };
            *next += 1;
            match marks[to] {
                0 => {
                    marks[to] = 1;
                    way.push((to, 0));
                }
                1 => {
                    let from = way.iter().position(|(on_way, _)| *on_way == to).expect("it is on the way");
                    return Some(way[from..].iter().map(|(on_way, _)| *on_way).collect());
                }
                _ => {}
            }
        }
    }
    None
}

fn key_name(key: usize) -> String {
    format!("log:{key}")
}

fn words(value: &Value) -> Vec<String> {
    let text = String::from_utf8(text(value)).expect("words");
    text.split_terminator(' ').map(str::to_string).collect()
}

/// Sends a command and returns the reply.
fn call(client: &mut Client, words: &[String]) -> Value {
    client.call(words).expect("the server answers")
}

fn command(text: &str) -> Vec<String> {
    text.split('|').map(str::to_string).collect()
}

/// The steps of a transaction without what reads show, as they are drawn.
fn draw(index: usize, unique: usize, random: &mut Random) -> Steps {
    (0..1 + random.below(4))
        .map(|step| {
            let key = random.below(KEYS);
            if random.below(2) == 0 {
                Step::Append(key, format!("{index}.{unique}.{step}"))
            } else {
                Step::Read(key, Vec::new())
            }
        })
        .collect()
}

fn command_of(step: &Step) -> Vec<String> {
    match step {
        Step::Append(key, word) => command(&format!("APPEND|{}|{word} ", key_name(*key))),
        Step::Read(key, _) => command(&format!("GET|{}", key_name(*key))),
    }
}

fn fill_in(steps: &mut Steps, replies: &[Value]) {
    for (step, reply) in steps.iter_mut().zip(replies) {
        if let Step::Read(_, seen) = step {
            *seen = words(reply);
        }
    }
}

/// One client's transactions, one at a time: MULTI, MGET, WATCH and single commands.
fn run_client(index: usize, client: &mut Client, started: Instant, fault: Fault) -> Vec<Operation<Steps>> {
    let mut random = Random(77 + index as u64);
    let mut history: Vec<Operation<Steps>> = Vec::new();
    for round in 0..rounds() {
        let mut steps = draw(index, round, &mut random);
        let start = now(started);
        match random.below(4) {
            0 => {
                // All reads at once.
                let keys: Vec<usize> = (0..2 + random.below(KEYS - 2)).map(|_| random.below(KEYS)).collect();
                steps = keys.iter().map(|key| Step::Read(*key, Vec::new())).collect();
                let replies = if fault == Fault::TornReads {
                    steps
                        .iter()
                        .map(|step| {
                            fault.pause();
                            call(client, &command_of(step))
                        })
                        .collect()
                } else {
                    let names: Vec<String> = keys.iter().map(|key| key_name(*key)).collect();
                    array(call(client, &[command("MGET"), names].concat())).expect("as many as keys")
                };
                fill_in(&mut steps, &replies);
            }
            1 => {
                // Read one, append to others if it has not changed.
                let key = random.below(KEYS);
                if fault != Fault::NoWatch {
                    call(client, &command(&format!("WATCH|{}", key_name(key))));
                }
                let seen = words(&call(client, &command(&format!("GET|{}", key_name(key)))));
                if fault == Fault::NoWatch {
                    fault.pause();
                }
                call(client, &command("MULTI"));
                steps.retain(|step| matches!(step, Step::Append(..)));
                steps.push(Step::Append(key, format!("{index}.{round}.watched")));
                steps.iter().for_each(|step| drop(call(client, &command_of(step))));
                if array(call(client, &command("EXEC"))).is_none() {
                    continue; // It changed: nothing has happened.
                }
                steps.insert(0, Step::Read(key, seen));
            }
            _ if fault == Fault::TornTransactions => {
                let replies: Vec<Value> = steps
                    .iter()
                    .map(|step| {
                        fault.pause();
                        call(client, &command_of(step))
                    })
                    .collect();
                fill_in(&mut steps, &replies);
            }
            _ => {
                call(client, &command("MULTI"));
                steps.iter().for_each(|step| drop(call(client, &command_of(step))));
                let replies = array(call(client, &command("EXEC"))).expect("nothing is watched");
                fill_in(&mut steps, &replies);
            }
        }
        fault.change(&mut steps, &history, round);
        history.push(Operation { start, end: now(started), what: steps });
    }
    history
}

/// The same, several transactions in one write.
fn run_pipelined(index: usize, client: &mut Client, started: Instant) -> Vec<Operation<Steps>> {
    let mut random = Random(177 + index as u64);
    let mut history = Vec::new();
    for round in 0..rounds().div_ceil(PIPELINE) {
        let mut bytes = Vec::new();
        let mut batch = Vec::new();
        for at in 0..PIPELINE {
            let steps = draw(index, round * PIPELINE + at, &mut random);
            bytes.extend(encode(&["MULTI"]));
            steps.iter().for_each(|step| bytes.extend(encode(&command_of(step))));
            bytes.extend(encode(&["EXEC"]));
            batch.push(steps);
        }
        let start = now(started);
        client.send_raw(&bytes).expect("the server reads");
        for mut steps in batch {
            for _ in 0..steps.len() + 1 {
                client.read().expect("OK and QUEUED");
            }
            let replies = array(client.read().expect("the server answers")).expect("nothing is watched");
            fill_in(&mut steps, &replies);
            history.push(Operation { start, end: now(started), what: steps });
        }
    }
    history
}

/// Plays a history and looks for what is wrong with it.
pub fn play(port: u16, is_pipelined: bool, fault: Fault) -> Option<String> {
    let mut reader = Client::connect(port).expect("the server accepts");
    call(&mut reader, &command("FLUSHALL"));
    let history = clients(port, CLIENTS, |index, client, started| {
        if is_pipelined { run_pipelined(index, client, started) } else { run_client(index, client, started, fault) }
    });
    let last: Vec<Vec<String>> =
        (0..KEYS).map(|key| words(&call(&mut reader, &command(&format!("GET|{}", key_name(key)))))).collect();
    find_fault(&history, &last)
}

#[test]
fn transactions_are_strictly_serializable() {
    for shards in SHARDS {
        let server = start(shards);
        for is_pipelined in [false, true] {
            if let Some(fault) = play(server.port, is_pipelined, Fault::None) {
                panic!("{shards} shards, pipelined: {is_pipelined}: {fault}");
            }
        }
    }
}

fn history(transactions: &[(u64, u64, &[Step])]) -> Vec<Operation<Steps>> {
    transactions.iter().map(|(start, end, what)| Operation { start: *start, end: *end, what: what.to_vec() }).collect()
}

fn append(key: usize, word: &str) -> Step {
    Step::Append(key, word.into())
}

fn read(key: usize, words: &[&str]) -> Step {
    Step::Read(key, words.iter().map(|word| word.to_string()).collect())
}

fn last(keys: &[&[&str]]) -> Vec<Vec<String>> {
    keys.iter().map(|words| words.iter().map(|word| word.to_string()).collect()).collect()
}

#[test]
fn the_checker_knows_right_from_wrong() {
    let both = [append(0, "a"), append(1, "b")];
    let whole = last(&[&["a"], &["b"]]);
    let seen = |first: &[&str], second: &[&str]| [read(0, first), read(1, second)];
    assert_eq!(
        find_fault(&history(&[(0, 9, &both), (1, 2, &seen(&[], &[])), (3, 4, &seen(&["a"], &["b"]))]), &whole),
        None
    );
    // Half of it seen; seen and then not; not seen though it had ended.
    for wrong in [
        history(&[(0, 9, &both), (1, 2, &seen(&["a"], &[]))]),
        history(&[(0, 9, &both), (1, 2, &seen(&["a"], &["b"])), (3, 4, &seen(&[], &[]))]),
        history(&[(0, 1, &both), (2, 3, &seen(&[], &[]))]),
    ] {
        assert!(find_fault(&wrong, &whole).is_some_and(|fault| fault.starts_with("a circle")));
    }
    // Each saw the other's key before the other's append.
    let skew = history(&[(0, 9, &[read(0, &[]), append(1, "b")]), (0, 9, &[read(1, &[]), append(0, "a")])]);
    assert!(find_fault(&skew, &whole).is_some());
    let lost = history(&[(0, 1, &both)]);
    assert!(find_fault(&lost, &last(&[&["a"], &[]])).is_some_and(|fault| fault.contains("lost")));
    assert!(find_fault(&lost, &last(&[&["a", "a"], &["b"]])).is_some_and(|fault| fault.contains("twice")));
    assert!(find_fault(&lost, &last(&[&["a"], &["b", "c"]])).is_some_and(|fault| fault.contains("nobody")));
    let own = history(&[(0, 1, &[append(0, "a"), read(0, &[]), append(1, "b")])]);
    assert!(find_fault(&own, &whole).is_some());
}
