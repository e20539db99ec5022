//! The fuzz targets' checks on the corpus and on seeded mutations of it, without a fuzzer: a few seconds in every run
//! of the tests. `run` (beside this file) does the coverage-guided form for as long as one likes.
//!
//! `CORERING_FUZZ_SECONDS` sets the seconds per target (default 4), `CORERING_FUZZ_SEED` the seed,
//! `CORERING_FUZZ_TARGET` the only target. What breaks a check is written to `CARGO_TARGET_TMPDIR` and named.
#![allow(clippy::disallowed_methods, reason = "it ends by the clock")]
#![allow(clippy::duplicate_mod, reason = "a target has one check, and here are all of them")]

#[path = "checks/cjson.rs"]
mod cjson;
#[path = "checks/cmsgpack.rs"]
mod cmsgpack;
#[path = "checks/config_line.rs"]
mod config_line;
#[path = "checks/hyperloglog.rs"]
mod hyperloglog;
#[path = "checks/intset.rs"]
mod intset;
#[path = "checks/listpack.rs"]
mod listpack;
#[path = "checks/payload.rs"]
mod payload;
#[path = "checks/quicklist.rs"]
mod quicklist;
#[path = "checks/resp_reply.rs"]
mod resp_reply;
#[path = "checks/resp_request.rs"]
mod resp_request;
#[path = "checks/script.rs"]
mod script;
#[path = "checks/snapshot.rs"]
mod snapshot;
#[path = "checks/structs.rs"]
mod structs;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SECONDS_DEFAULT: u64 = 4;

/// Longer inputs tell nothing new.
const INPUT_BYTES_MAX: usize = 600;

/// Changes made to one input at most.
const CHANGES_MAX: usize = 6;

fn number_of(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a listed file").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a file of the corpus can be read")).collect()
}

/// The quoted words of a dictionary, with `\xNN` for any byte.
fn dictionary(path: &Path) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(path).expect("the dictionary can be read");
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let words: Vec<Vec<u8>> = quoted
        .map(|word| {
            let mut bytes = Vec::new();
            let mut rest = word.as_bytes();
            while let [first, behind @ ..] = rest {
                let (byte, behind) = match (first, behind) {
                    (b'\\', [b'x', high, low, behind @ ..]) => {
                        let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("a hexadecimal digit") as u8;
                        (digit(high) * 16 + digit(low), behind)
                    }
                    (b'\\', [escaped, behind @ ..]) => (*escaped, behind),
                    (first, behind) => (*first, behind),
                };
                bytes.push(byte);
                rest = behind;
            }
            bytes
        })
        .collect();
    assert!(!words.is_empty(), "{} has no words", path.display());
    words
}

/// One input made of two others.
fn mutate(random: &mut fastrand::Rng, corpus: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.usize(..corpus.len())].clone();
    for _ in 0..random.usize(1..=CHANGES_MAX) {
        let at = random.usize(0..=input.len());
        let end = (at + random.usize(0..8)).min(input.len());
        match random.usize(0..8) {
            0 if at < input.len() => input[at] ^= 1 << random.usize(0..8),
            1 if at < input.len() => input[at] = random.u8(..),
            2 => drop(input.drain(at..end)),
            3 => input.insert(at, random.u8(..)),
            4 | 5 => drop(input.splice(at..end, words[random.usize(..words.len())].iter().copied())),
            6 => {
                let other = &corpus[random.usize(..corpus.len())];
                let from = random.usize(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let piece = input[at..end].to_vec();
                drop(input.splice(at..at, piece));
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn fuzz(name: &str, dictionary_file: &str, check: fn(&[u8])) {
    if std::env::var("CORERING_FUZZ_TARGET").is_ok_and(|only| only != name) {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let corpus = files(&folder.join("corpus").join(name));
    let words = dictionary(&folder.join(dictionary_file));
    corpus.iter().for_each(|input| check(input));
    let mut random = fastrand::Rng::with_seed(number_of("CORERING_FUZZ_SEED", 1));
    let end = Instant::now() + Duration::from_secs(number_of("CORERING_FUZZ_SECONDS", SECONDS_DEFAULT));
    // Written before each check, for a panic ends the process.
    let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-last-input"));
    let kept = last.clone();
    std::panic::set_hook(Box::new(move |panic| eprintln!("{panic}\nthe input is kept in {}", kept.display())));
    let mut inputs = 0_u64;
    // One at least, however long the machine stood still.
    while inputs == 0 || Instant::now() < end {
        let input = mutate(&mut random, &corpus, &words);
        std::fs::write(&last, &input).expect("the target's folder can be written");
        check(&input);
        inputs += 1;
    }
    println!("{name}: {inputs} inputs");
}

#[test]
fn every_target_stands_its_corpus_and_mutations() {
    fuzz("resp_request", "resp.dict", resp_request::check);
    fuzz("resp_reply", "resp.dict", resp_reply::check);
    fuzz("config_line", "config.dict", config_line::check);
    fuzz("listpack", "value.dict", listpack::check);
    fuzz("intset", "value.dict", intset::check);
    fuzz("quicklist", "value.dict", quicklist::check);
    fuzz("hyperloglog", "value.dict", hyperloglog::check);
    fuzz("payload", "value.dict", payload::check);
    fuzz("snapshot", "value.dict", snapshot::check);
    fuzz("script", "lua.dict", script::check);
    fuzz("cjson", "lua.dict", cjson::check);
    fuzz("cmsgpack", "lua.dict", cmsgpack::check);
    fuzz("structs", "lua.dict", structs::check);
}

/// The mutations reach the checks: one that refuses a certain byte is caught soon.
#[test]
fn a_planted_mistake_is_found() {
    let corpus = vec![b"*1\r\n$4\r\nPING\r\n".to_vec()];
    let words = vec![b"$-1\r\n".to_vec()];
    let mut random = fastrand::Rng::with_seed(1);
    let found = (0..100_000).any(|_| {
        let input = mutate(&mut random, &corpus, &words);
        input.windows(8).any(|window| window == b"$-1\r\n$-1")
    });
    assert!(found, "no mutation had the word twice");
}
