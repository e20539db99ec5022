//! Every boundary number in every place of every row, every command with too few and too many words, and every
//! container with subcommands that it does not have.
//!
//! The random run meets these too, but by chance; here each is met. A case begins with an empty keyspace, makes a key
//! or none, sends one command and reads the keys back.

use crate::client::Value;
use crate::compare::Mode;
use crate::generate::{FLOATS, Generator, INTEGERS, Random, Row, Step, WORDS, own_words};
use crate::grammar::FAMILIES;
use crate::process::Kind;
use crate::{COMPARABLE, Duel, Party, reading_step};
use std::collections::BTreeSet;

/// Commands drawn of each row; every place of each is swept.
const DRAWS_PER_ROW: usize = 3;

/// Times between these, in whatever unit, could pass while a case runs.
const SOON: std::ops::RangeInclusive<i64> = 1..=100_000;

/// Different bugs shown per run.
const DIFFERENCES_MAX: usize = 12;

/// The keys that a case makes and reads back.
const KEYS: [&[u8]; 2] = [b"k0", b"{t}a"];

/// What a key holds when a case begins, beside what the family gives.
const GIVENS: [&str; 2] = ["", "SET KEY abc"];

fn step(words: &[&[u8]], mode: Mode) -> Step {
    Step { arguments: words.iter().map(|word| word.to_vec()).collect(), mode, expiring: false }
}

/// What may stand in the place of a thing.
fn substitutes(thing: Option<&str>) -> Vec<&'static [u8]> {
    match thing {
        // A literal word: nothing, or one that fits nowhere.
        None => vec![b"", b"BOGUS", b"0"],
        Some("key") => vec![b"", KEYS[0], KEYS[1], b"\x00\xff\r\n"],
        Some("word" | "pattern" | "text") => [WORDS, &[b"", b"-9223372036854775808", b"nan"]].concat(),
        Some(name) => {
            if let Some(words) = own_words(name) {
                return [words, &[b"", b"abc", b"1.5", b"nan", b"9223372036854775808"]].concat();
            }
            let passing = ["seconds", "ms", "until", "until_ms", "at", "at_ms"].contains(&name);
            let soon = |word: &[u8]| {
                let number = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
                number.is_some_and(|number: i64| SOON.contains(&number))
            };
            [INTEGERS, FLOATS].concat().into_iter().filter(|word| !(passing && soon(word))).collect()
        }
    }
}

/// The commands of a row with one word replaced.
fn variants(row: &Row, random: &mut Random) -> Vec<Vec<Vec<u8>>> {
    let mut all = BTreeSet::new();
    for _ in 0..DRAWS_PER_ROW {
        let mut words = row.words(random);
        for (key, (word, _)) in words.iter_mut().filter(|(_, thing)| *thing == Some("key")).enumerate() {
            *word = KEYS[key % KEYS.len()].to_vec();
        }
        let plain: Vec<Vec<u8>> = words.iter().map(|(word, _)| word.clone()).collect();
        for (index, (_, thing)) in words.iter().enumerate().skip(1) {
            for word in substitutes(*thing) {
                let mut variant = plain.clone();
                variant[index] = word.to_vec();
                all.insert(variant);
            }
            all.insert(plain[..index].to_vec());
        }
        let longer = [plain.as_slice(), &[b"0".to_vec()]].concat();
        all.extend([longer, plain]);
    }
    all.into_iter().collect()
}

impl Duel {
    /// Sends a case and counts what differs.
    fn sweep_case(&mut self, steps: &[Step], reports: &mut Vec<String>, known: &mut BTreeSet<(Vec<u8>, String)>) {
        self.history.clear();
        let connection = self.commands % 2;
        let Err(difference) = self.send(connection, steps) else { return };
        if self.is_loss(&difference) {
            return;
        }
        let verb = self.history.last().map(|sent| sent.step.arguments[0].to_ascii_uppercase()).unwrap_or_default();
        if known.insert((verb, difference.ours.chars().take(16).collect())) {
            let report = self.report(&difference);
            eprintln!("{report}\n");
            reports.push(report);
        }
        self.begin_again();
    }

    fn sweep_rows(&mut self) -> Vec<String> {
        let generator = Generator::new();
        let mut random = Random::new(1);
        let (mut reports, mut known) = (Vec::new(), BTreeSet::new());
        self.reset();
        for row in generator.rows.iter().filter(|row| !row.expiring) {
            let family = FAMILIES[row.family];
            let mut readings: Vec<(&str, Mode)> = vec![("GET KEY", Mode::Exact)];
            readings.extend(family.values.iter().map(|(_, reading, mode)| (*reading, *mode)));
            readings.extend([("TYPE KEY", Mode::Exact), ("OBJECT ENCODING KEY", Mode::Exact)]);
            readings.push(("PTTL KEY", Mode::Time));
            for given in GIVENS.iter().chain(family.givens) {
                for arguments in variants(row, &mut random) {
                    // Cut short it may be another command, whose reply is each server's own; errors are not.
                    let is_cut = arguments.len() < 3 && matches!(row.mode, Mode::Exact | Mode::AnyOrder);
                    let mode = if is_cut { Mode::Kind } else { row.mode };
                    let mut steps = vec![step(&[b"SELECT", b"0"], Mode::Exact), step(&[b"FLUSHALL"], Mode::Exact)];
                    for key in KEYS.iter().filter(|_| !given.is_empty()) {
                        steps.push(reading_step(given, key, Mode::Exact));
                    }
                    steps.extend(Step { arguments, mode, expiring: false }.accompanied());
                    for key in KEYS {
                        steps.extend(readings.iter().map(|(text, mode)| reading_step(text, key, *mode)));
                    }
                    self.sweep_case(&steps, &mut reports, &mut known);
                    if reports.len() >= DIFFERENCES_MAX {
                        return reports;
                    }
                }
            }
        }
        reports
    }
}

#[test]
fn boundary_numbers_everywhere() {
    let parties = vec![
        Party::start(Kind::Redis, COMPARABLE),
        Party::start(Kind::Corering { shards: 1 }, COMPARABLE),
        Party::start(Kind::Corering { shards: 2 }, COMPARABLE),
    ];
    let mut duel = Duel::new(parties);
    let reports = duel.sweep_rows();
    eprintln!("{} commands compared, {} differences", duel.commands, reports.len());
    assert!(reports.is_empty(), "{} differences:\n\n{}\n", reports.len(), reports.join("\n\n"));
}

/// Commands that end, block or silence a connection or a server, or that make it another server's replica.
const LEFT_OUT: &[&str] = &[
    "shutdown",
    "debug",
    "monitor",
    "quit",
    "reset",
    // What is queued is checked against the arity of each server's own version.
    "multi",
    "sync",
    "psync",
    "replicaof",
    "slaveof",
    "failover",
    // These are answered once per channel; see `grammar/pubsub.rs`.
    "subscribe",
    "psubscribe",
    "ssubscribe",
    "unsubscribe",
    "punsubscribe",
    "sunsubscribe",
    "client|reply",
    "client|pause",
    "client|kill",
    "client|no-evict",
    "client|tracking",
    "config|rewrite",
    "bgsave",
    "save",
    "bgrewriteaof",
    // There is no debugger of scripts, and in a pipeline Redis says something else than outside.
    "script|debug",
    "module",
    "acl",
    "cluster",
    "asking",
    "readonly",
    "readwrite",
];

/// Words to call a command with: nothing, a key, a number, a word, too many.
const CALLS: &[&[&[u8]]] = &[
    &[],
    &[b"k0"],
    &[b""],
    &[b"9223372036854775808"],
    &[b"k0", b"1"],
    &[b"k0", b"-1"],
    &[b"k0", b"abc"],
    &[b"k0", b"", b""],
    &[b"k0", b"nan", b"inf"],
    &[b"k0", b"0", b"abc"],
    &[b"1", b"k0", b"BOGUS"],
    &[b"0", b"k0", b"k1"],
    &[b"-9223372036854775808", b"k0", b"k1"],
    &[b"k0", b"1", b"abc", b"BOGUS"],
    &[b"k0", b"k1", b"k2", b"k3", b"k4"],
    &[b"1", b"2", b"3", b"4", b"5", b"6", b"7"],
];

/// The names of the commands and subcommands that both servers have, as `config|get`.
fn common_commands(duel: &mut Duel) -> Vec<Vec<Vec<u8>>> {
    let mut lists = Vec::new();
    for party in &mut duel.parties {
        let reply = party.connections[0].call(&["COMMAND"]).expect("COMMAND is answered");
        let mut names = BTreeSet::new();
        collect_names(&reply, &mut names);
        lists.push(names);
    }
    let theirs = lists.remove(0);
    let common = theirs.into_iter().filter(|name| lists.iter().all(|ours| ours.contains(name)));
    let left_out = |name: &String| LEFT_OUT.iter().any(|out| name == out || name.starts_with(&format!("{out}|")));
    common
        .filter(|name| !left_out(name))
        .map(|name| name.split('|').map(|word| word.as_bytes().to_vec()).collect())
        .collect()
}

/// A command's description begins with its name, and its subcommands are described within it.
fn collect_names(value: &Value, names: &mut BTreeSet<String>) {
    let Value::Array(items) = value else { return };
    if let [Value::Bulk(name), Value::Integer(_), ..] = items.as_slice() {
        names.insert(String::from_utf8_lossy(name).to_lowercase());
    }
    items.iter().for_each(|item| collect_names(item, names));
}

impl Duel {
    fn sweep_commands(&mut self) -> Vec<String> {
        let (mut reports, mut known) = (Vec::new(), BTreeSet::new());
        self.reset();
        let commands = common_commands(self);
        assert!(commands.len() > 60, "only {} commands in common", commands.len());
        for command in &commands {
            // A container has subcommands, and those it lacks are refused.
            let container = commands.iter().any(|other| other.len() > 1 && other[0] == command[0]);
            let mut calls: Vec<Vec<&[u8]>> = CALLS.iter().map(|call| call.to_vec()).collect();
            if container && command.len() == 1 {
                calls.extend([
                    vec![b"bogus".as_slice()],
                    vec![b"BOGUS", b"1", b"2"],
                    vec![b"HELP", b"me"],
                    vec![b"help"],
                ]);
            }
            for given in GIVENS {
                for call in &calls {
                    let mut steps = vec![step(&[b"SELECT", b"0"], Mode::Exact), step(&[b"FLUSHALL"], Mode::Exact)];
                    if !given.is_empty() {
                        steps.push(reading_step(given, b"k0", Mode::Exact));
                    }
                    let words = command.iter().map(Vec::as_slice).chain(call.iter().copied());
                    steps.push(step(&words.collect::<Vec<_>>(), Mode::Kind));
                    steps.push(step(&[b"PING"], Mode::Exact));
                    self.sweep_case(&steps, &mut reports, &mut known);
                    if reports.len() >= DIFFERENCES_MAX {
                        return reports;
                    }
                }
            }
        }
        reports
    }
}

#[test]
fn too_few_and_too_many_words() {
    let parties = vec![Party::start(Kind::Redis, &[]), Party::start(Kind::Corering { shards: 2 }, &[])];
    let mut duel = Duel::new(parties);
    let reports = duel.sweep_commands();
    eprintln!("{} commands compared, {} differences", duel.commands, reports.len());
    assert!(reports.is_empty(), "{} differences:\n\n{}\n", reports.len(), reports.join("\n\n"));
}

/// The sweep can fail: a server without SETRANGE is told apart.
#[test]
fn planted_differences_are_swept_up() {
    let crippled = Party::start(Kind::Redis, &[COMPARABLE, &["--rename-command", "SETRANGE", ""]].concat());
    let reports = Duel::new(vec![Party::start(Kind::Redis, COMPARABLE), crippled]).sweep_rows();
    assert!(reports.iter().any(|report| report.contains("SETRANGE")), "a missing command was not noticed: {reports:?}");
}
