//! How often a cache hits: traces are replayed through the real keyspace with its real eviction, at several sizes,
//! beside exact LRU, exact LFU and Belady's optimum computed for the same bytes.
//!
//! usage: `cargo bench --bench hits -- [--requests N] [--out DIR] [--only NAME] [FILE …]`
//!
//! Without files: traces made from a seed, so that every run gives the same numbers. A FILE ending in `.bin` or
//! `.oracleGeneral` is read as libCacheSim's oracleGeneral (24 bytes a request: time, id, size, next), any other as a
//! list, one key a line, with the size behind a comma or a space if there is one.
//!
//! A read that misses is followed by a write, as clients do. The size of the cache is that of its entries, keys and
//! headers included. Requests come at the rate of a busy server, 100,000 a second, so that the small caches turn over
//! within a second; for LFU and LHD at 100 a second, since LFU's counters decay by minutes.
//!
//! DIR gets `hits.tsv` and one plot (SVG) a trace: hit ratio over size.

mod exact;
mod plot;
mod traces;

use corering::keyspace::eviction::Judge;
use corering::keyspace::{AccessPolicy, Eviction, Expiry, Keyspace};
use std::io::Write;
use std::path::PathBuf;
use traces::{Request, Trace};

const START_MS: u64 = 1_700_000_000_000;
const SEED: u64 = 5;
/// Sizes, as parts of what all objects of the trace take.
const SIZES: [f64; 6] = [0.005, 0.01, 0.03, 0.1, 0.2, 0.4];

/// One way to run the keyspace.
struct Way {
    name: &'static str,
    policy: AccessPolicy,
    judge: Judge,
    samples: usize,
    requests_per_s: u64,
}

const LFU: AccessPolicy = AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 };

const WAYS: [Way; 5] = [
    Way { name: "allkeys-lru", policy: AccessPolicy::Lru, judge: Judge::Access, samples: 5, requests_per_s: 100_000 },
    Way {
        name: "allkeys-lru 10",
        policy: AccessPolicy::Lru,
        judge: Judge::Access,
        samples: 10,
        requests_per_s: 100_000,
    },
    Way { name: "allkeys-lfu", policy: LFU, judge: Judge::Access, samples: 5, requests_per_s: 100 },
    Way { name: "allkeys-lhd", policy: AccessPolicy::Lhd, judge: Judge::Access, samples: 5, requests_per_s: 100 },
    Way { name: "allkeys-random", policy: AccessPolicy::Lru, judge: Judge::Lot, samples: 5, requests_per_s: 100_000 },
];

fn key_of(id: u64) -> [u8; 16] {
    let mut key = [0; 16];
    write!(&mut key[..], "{id:016x}").expect("16 digits");
    key
}

/// Share of requests that hit.
fn replay(way: &Way, trace: &Trace, limit_bytes: u64) -> f64 {
    let mut keyspace = Keyspace::new(1, SEED);
    keyspace.set_policy(way.policy);
    keyspace.set_evicting(true);
    let eviction = Eviction { judge: way.judge, is_volatile: false, samples: way.samples };
    let value = vec![b'v'; trace.requests.iter().map(|request| request.bytes).max().unwrap_or(0) as usize];
    let mut hits = 0u64;
    for (index, &Request { id, bytes }) in trace.requests.iter().enumerate() {
        keyspace.begin(START_MS + index as u64 * 1000 / way.requests_per_s, true);
        let key = key_of(id);
        if keyspace.read(0, &key).is_some() {
            hits += 1;
            continue;
        }
        keyspace.set_string(0, &key, &value[..bytes as usize], Expiry::Clear);
        loop {
            let used = (keyspace.memory_bytes() - keyspace.table_bytes()) as u64;
            let Some(over) = used.checked_sub(limit_bytes).filter(|over| 0 < *over) else { break };
            if keyspace.evict_some(eviction, over as usize, 16).keys == 0 {
                break;
            }
        }
    }
    hits as f64 / trace.requests.len() as f64
}

/// What an object takes in the keyspace, in bytes.
fn entry_bytes(request: Request) -> u64 {
    let mut keyspace = Keyspace::new(1, SEED);
    keyspace.begin(START_MS, true);
    keyspace.set_string(0, &key_of(request.id), &vec![b'v'; request.bytes as usize], Expiry::Clear);
    (keyspace.memory_bytes() - keyspace.table_bytes()) as u64
}

fn main() {
    let (mut requests, mut out, mut only, mut files) = (400_000, None, None, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--bench" => {} // Cargo's.
            "--requests" => requests = value().parse().expect("a number of requests"),
            "--out" => out = Some(PathBuf::from(value())),
            "--only" => only = Some(value()),
            _ => files.push(PathBuf::from(word)),
        }
    }
    let all = if files.is_empty() {
        traces::generated(requests)
    } else {
        files.iter().map(|file| traces::read(file)).collect()
    };
    let names: Vec<&str> = ["LRU", "LFU", "Belady"].into_iter().chain(WAYS.iter().map(|way| way.name)).collect();
    let mut table = format!("trace\tsize\tbytes\t{}\n", names.join("\t"));
    let mut points = Vec::new();
    for trace in all.iter().filter(|trace| only.as_ref().is_none_or(|only| trace.name.contains(only.as_str()))) {
        let costs = exact::costs(trace, entry_bytes);
        let mut of_trace = Vec::new();
        for size in SIZES {
            let limit_bytes = (costs.total as f64 * size) as u64;
            let mut ratios = vec![
                exact::lru(trace, &costs, limit_bytes),
                exact::lfu(trace, &costs, limit_bytes),
                exact::belady(trace, &costs, limit_bytes),
            ];
            ratios.extend(WAYS.iter().map(|way| replay(way, trace, limit_bytes)));
            let texts: Vec<String> = ratios.iter().map(|ratio| format!("{:.2}", 100.0 * ratio)).collect();
            let line = format!("{}\t{size}\t{limit_bytes}\t{}\n", trace.name, texts.join("\t"));
            print!("{line}");
            table.push_str(&line);
            of_trace.push((size, ratios));
        }
        if let Some(out) = &out {
            std::fs::create_dir_all(out).expect("a folder for the results");
            let file = out.join(format!("{}.svg", trace.name.replace(['/', ' '], "-")));
            std::fs::write(file, plot::svg(&trace.name, &names, &of_trace)).expect("the plot is written");
        }
        points.extend(of_trace.into_iter().map(|(_, ratios)| ratios));
    }
    if let Some(out) = &out {
        std::fs::write(out.join("hits.tsv"), &table).expect("the table is written");
    }
    summary(&names, &points);
}

/// Each column beside exact LRU, over all points.
fn summary(names: &[&str], points: &[Vec<f64>]) {
    println!("\n| | hit ratio at least LRU's | misses, LRU's = 1 | farthest below LRU | farthest above |");
    println!("|---|---:|---:|---:|---:|");
    for (at, name) in names.iter().enumerate() {
        let differences: Vec<f64> = points.iter().map(|ratios| 100.0 * (ratios[at] - ratios[0])).collect();
        // The same to a hundredth of a point is the same.
        let not_worse = differences.iter().filter(|difference| -0.01 < **difference).count();
        let misses = points.iter().map(|ratios| (1.0 - ratios[at]) / (1.0 - ratios[0])).sum::<f64>();
        println!(
            "| {name} | {:.0} % | {:.3} | {:.2} | {:.2} |",
            100.0 * not_worse as f64 / points.len() as f64,
            misses / points.len() as f64,
            differences.iter().copied().fold(f64::INFINITY, f64::min),
            differences.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        );
    }
}
