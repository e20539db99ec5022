//! How long one insertion may take because the keyspace grows: every single SET from empty to 20 million keys.
//!
//! usage: `cargo bench --bench growth` (keys and rounds: CORERING_GROWTH_KEYS, CORERING_GROWTH_ROUNDS)
//!
//! One run of a shared machine shows the machine: other processes and the hypervisor stop it for milliseconds, at
//! random. So the same insertions (same keys, same seed, so that the same insertion splits the same block) are done by
//! several fresh processes, which also meet fresh memory each time, and of each insertion the quickest counts: what
//! growth costs comes every time, what the machine does does not. Wall time, in nanoseconds.
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use corering::keyspace::{Expiry, Keyspace};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

const NOW_MS: u64 = 1_700_000_000_000;
const SEED: u64 = 20;
const VALUE: &[u8] = b"xxxxxxxx";

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Inserts, and writes the time of each insertion to standard output: 32 bits, native order, ns.
fn child(keys: usize) {
    // As the server does.
    corering::sys::process::disable_huge_pages();
    let mut times_ns = vec![0u32; keys];
    let mut keyspace = Keyspace::new(1, SEED);
    for (index, time_ns) in times_ns.iter_mut().enumerate() {
        let key = format!("key:{index:012}");
        let start = Instant::now();
        keyspace.begin(NOW_MS, true);
        keyspace.set_string(0, key.as_bytes(), VALUE, Expiry::Clear);
        *time_ns = u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX);
    }
    assert_eq!(keyspace.len(0), keys);
    let mut out = std::io::stdout().lock();
    for part in times_ns.chunks(1 << 16) {
        out.write_all(&part.iter().flat_map(|time_ns| time_ns.to_ne_bytes()).collect::<Vec<_>>()).expect("a pipe");
    }
    out.flush().expect("a pipe");
    // Nobody waits for the keys to be freed one by one.
    std::process::exit(0);
}

fn percentile(sorted: &[u32], share: f64) -> f64 {
    f64::from(sorted[((sorted.len() - 1) as f64 * share) as usize]) / 1000.0
}

fn row(name: &str, mut times_ns: Vec<u32>) {
    times_ns.sort_unstable();
    let slow = times_ns.iter().filter(|time_ns| 1_000_000 < **time_ns).count();
    let at = |share| percentile(&times_ns, share);
    println!(
        "| {name} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} | {:.1} | {slow} |",
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        at(0.99999),
        at(1.0)
    );
}

fn main() {
    let keys = number("CORERING_GROWTH_KEYS", 20_000_000);
    if std::env::args().any(|word| word == "child") {
        child(keys);
    }
    let rounds = number("CORERING_GROWTH_ROUNDS", 5);
    println!("{keys} insertions from empty, {rounds} rounds; µs of wall time for one insertion\n");
    println!("| | p50 | p99 | p99.9 | p99.99 | p99.999 | max | above 1 ms |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let mut quickest = vec![u32::MAX; keys];
    for round in 1..=rounds {
        let program = std::env::current_exe().expect("the path of this program");
        let output = Command::new(program).arg("child").stderr(Stdio::inherit()).output().expect("a process");
        assert!(output.status.success() && output.stdout.len() == 4 * keys, "round {round} failed");
        let times_ns: Vec<u32> =
            output.stdout.chunks_exact(4).map(|bytes| u32::from_ne_bytes(bytes.try_into().expect("4 bytes"))).collect();
        for (best, time_ns) in quickest.iter_mut().zip(&times_ns) {
            *best = (*best).min(*time_ns);
        }
        row(&format!("round {round}"), times_ns);
    }
    row("quickest of each insertion", quickest);
}
