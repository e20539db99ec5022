//! The built binary over loopback.
//!
//! `transcripts/` holds what clients send and must see (the notation is described in `transcript.rs`). Every transcript
//! is played for 1, 2 and 4 shards, in RESP2 and RESP3, command by command, pipelined in one write, and cut at odd
//! places; those marked `oracle` also against Debian's redis-server, which proves that the expectation is Redis' own.
//! A fixed bug gets the smallest transcript that shows it. `behaviour.rs` holds what a transcript can't say, `cores.rs`
//! what cores owe each other.
//!
//! `CORERING_TEST_SERVER` names another binary to test, `CORERING_TEST_REDIS` another redis-server,
//! `CORERING_TEST_TRANSCRIPT` plays only the files whose name contains it.
#![allow(clippy::disallowed_methods, reason = "tests wait and measure by the clock")]

mod abandoned;
mod admin;
mod again;
mod atomic;
mod behaviour;
mod busy;
mod check;
mod client;
mod cluster;
mod cores;
mod disk;
mod dump;
mod extra;
mod follow;
mod info;
mod listed;
mod log;
mod long;
mod memory;
mod newer;
mod operation;
mod process;
mod pubsub;
mod scratch;
mod settings;
mod snapshot;
mod stages;
mod survey;
mod transcript;

use process::{Kind, Server};
use std::collections::BTreeMap;
use std::path::Path;
use transcript::{Delivery, Differences, Transcript};

/// More differences than this tell nothing new.
const SHOWN_MAX: usize = 40;

fn transcripts() -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/transcripts");
    let mut all = transcript::load_all(&folder);
    if let Ok(part) = std::env::var("CORERING_TEST_TRANSCRIPT") {
        all.retain(|transcript| transcript.name.contains(&part));
        assert!(!all.is_empty(), "no transcript's name contains {part}");
    }
    all
}

/// Plays transcripts against one kind of server; files with the same arguments share a server.
fn play(kind: Kind, transcripts: &[Transcript], deliveries: &[Delivery]) {
    let mut groups: BTreeMap<&[String], Vec<&Transcript>> = BTreeMap::new();
    for transcript in transcripts {
        groups.entry(&transcript.arguments).or_default().push(transcript);
    }
    let mut differences = Differences::new();
    for (arguments, transcripts) in groups {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut server = Server::start(kind, &arguments);
        for transcript in transcripts {
            for &protocol in &transcript.protocols {
                for &delivery in deliveries {
                    transcript::play(transcript, &mut server, protocol, delivery, &mut differences);
                    if !server.is_alive() {
                        server = Server::start(kind, &arguments);
                    }
                }
            }
        }
    }
    if !differences.is_empty() {
        let texts: Vec<String> = differences
            .iter()
            .take(SHOWN_MAX)
            .map(|(text, places)| format!("{text}\n  in:       {}", places.join(", ")))
            .collect();
        panic!("{}: {} differences:\n\n{}\n", kind.name(), differences.len(), texts.join("\n\n"));
    }
}

#[test]
fn redis_itself_passes_the_oracle_transcripts() {
    let oracle: Vec<Transcript> = transcripts().into_iter().filter(|transcript| transcript.oracle).collect();
    play(Kind::Redis, &oracle, &[Delivery::OneByOne, Delivery::Pipelined, Delivery::Cut]);
}

#[test]
fn transcripts_on_one_shard() {
    play(Kind::Corering { shards: 1 }, &transcripts(), &[Delivery::OneByOne, Delivery::Pipelined]);
}

#[test]
fn transcripts_on_two_shards() {
    play(Kind::Corering { shards: 2 }, &transcripts(), &[Delivery::OneByOne, Delivery::Pipelined, Delivery::Cut]);
}

#[test]
fn transcripts_on_four_shards() {
    play(Kind::Corering { shards: 4 }, &transcripts(), &[Delivery::OneByOne, Delivery::Pipelined]);
}
