//! Faults planted between client and server, one for each way in which a server could break its promise: the checkers
//! must find every one.

use super::cycles::{Step, Steps, play};
use super::linear::{Call, Sort, holds};
use super::record::Operation;
use super::start;
use crate::extra::PATIENCE;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The commands of a transaction run one by one.
    TornTransactions,
    /// The keys of an MGET are read one by one.
    TornReads,
    /// EXEC does not look at watched keys.
    NoWatch,
    /// A read shows what an earlier one of the client showed.
    StaleReads,
    /// An append is answered, and never was.
    LostAppends,
}

impl Fault {
    /// Gives others the time to come in between.
    pub fn pause(self) {
        std::thread::sleep(Duration::from_micros(200));
    }

    /// Changes what came back.
    pub fn change(self, steps: &mut Steps, before: &[Operation<Steps>], round: usize) {
        if round % 10 != 9 {
            return;
        }
        match self {
            Fault::StaleReads => {
                for step in steps {
                    let Step::Read(key, words) = step else { continue };
                    let earlier = before.iter().rev().skip(20).flat_map(|operation| &operation.what);
                    let same = earlier.filter_map(|step| match step {
                        Step::Read(of, words) if of == key => Some(words),
                        _ => None,
                    });
                    if let Some(stale) = same.clone().next() {
                        words.clone_from(stale);
                    }
                }
            }
            Fault::LostAppends => steps.push(Step::Append(0, format!("lost.{round}.{}", before.len()))),
            _ => {}
        }
    }
}

#[test]
fn every_planted_fault_of_transactions_is_found() {
    let server = start(2);
    for fault in [Fault::TornTransactions, Fault::TornReads, Fault::NoWatch, Fault::StaleReads, Fault::LostAppends] {
        // A race may not come up in one history, nor in a few where others have the machine.
        let started = Instant::now();
        while play(server.port, false, fault).is_none() {
            assert!(started.elapsed() < PATIENCE, "{fault:?} goes unnoticed");
        }
    }
}

#[test]
fn every_planted_fault_of_single_keys_is_found() {
    let server = start(2);
    let flush = || {
        let mut client = crate::client::Client::connect(server.port).expect("the server accepts");
        client.call(&["FLUSHALL"]).expect("the server answers");
    };
    // A reply that is an old one now and then.
    let seen: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    flush();
    assert!(!holds(server.port, Sort::Register, 1, |_, _, call| match call {
        Call::Get(value) => {
            let mut seen = seen.lock().expect("no reader panicked");
            seen.push(value.clone());
            if seen.len() % 50 == 49 { Call::Get(seen[0].clone()) } else { Call::Get(value) }
        }
        other => other,
    }));
    // An increment counted twice, once.
    flush();
    assert!(!holds(server.port, Sort::Counter, 1, |_, _, call| match call {
        Call::Add(by, sum) if sum % 97 == 0 => Call::Add(by, sum + by),
        other => other,
    }));
    // A member that is said to be new, though it was there.
    flush();
    let count = Mutex::new(0);
    assert!(!holds(server.port, Sort::Set, 1, |_, _, call| match call {
        Call::Insert(member, 0) => {
            let mut count = count.lock().expect("no reader panicked");
            *count += 1;
            Call::Insert(member, i64::from(*count % 20 == 0))
        }
        other => other,
    }));
    // An append whose length is that of before.
    flush();
    assert!(!holds(server.port, Sort::List, 1, |_, key, call| match call {
        Call::Append(what, len) if key == 1 && 100 < len => Call::Append(what.clone(), len - what.len() as i64),
        other => other,
    }));
}
