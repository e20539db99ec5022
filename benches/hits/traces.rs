//! Traces: made from a seed, or read from files.

use ahash::AHashMap;
use std::path::Path;

/// One read.
#[derive(Clone, Copy)]
pub struct Request {
    /// Which object.
    pub id: u64,
    /// Bytes of its value.
    pub bytes: u32,
}

/// Reads in their order.
pub struct Trace {
    pub name: String,
    pub requests: Vec<Request>,
}

/// Bytes of a value where the trace says nothing.
const BYTES: u32 = 32;
/// Larger values would say more about memory than about eviction.
const BYTES_MAX: u32 = 1 << 20;

/// Draws ranks by Zipf's law.
struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    fn new(objects: usize, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let add = |rank: usize| {
            sum += (rank as f64).powf(-exponent);
            sum
        };
        Zipf { sums: (1..=objects).map(add).collect() }
    }

    fn draw(&self, random: &mut fastrand::Rng) -> u64 {
        let sum = self.sums.last().expect("there are objects");
        let lot = random.f64() * sum;
        self.sums.partition_point(|below| *below < lot) as u64
    }
}

/// Ids of objects that are asked for once, or round and round, begin here.
const OTHERS: u64 = 1 << 32;

/// The traces, of so many requests each.
pub fn generated(len: usize) -> Vec<Trace> {
    let mut traces = Vec::new();
    let mut add = |name: &str, seed: u64, next: &mut dyn FnMut(usize, &mut fastrand::Rng) -> u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        let requests = (0..len).map(|at| Request { id: next(at, &mut random), bytes: BYTES }).collect();
        traces.push(Trace { name: name.into(), requests });
    };
    for (name, exponent) in [("zipf 0.7", 0.7), ("zipf 0.99", 0.99), ("zipf 1.2", 1.2)] {
        let zipf = Zipf::new(100_000, exponent);
        add(name, 1, &mut |_, random| zipf.draw(random));
    }
    let zipf = Zipf::new(50_000, 0.9);
    // Every third request belongs to a scan of ten thousand new objects.
    add("scan", 2, &mut |at, random| if at % 30_000 < 20_000 { zipf.draw(random) } else { OTHERS + at as u64 });
    add("one-hit wonders", 3, &mut |at, random| {
        if random.f64() < 0.3 { OTHERS + at as u64 } else { zipf.draw(random) }
    });
    add("loop", 4, &mut |at, _| at as u64 % 30_000);
    let mut place = 0;
    add("zipf and loop", 5, &mut |_, random| {
        if random.f64() < 0.3 {
            place = (place + 1) % 40_000;
            return OTHERS + place;
        }
        zipf.draw(random)
    });
    add("drift", 6, &mut |at, random| zipf.draw(random) + at as u64 / 20);
    // Other objects are popular in each quarter.
    add("phases", 7, &mut |at, random| (zipf.draw(random) * 31 + (4 * at / len) as u64 * 7919) % 50_000);
    let mut history: Vec<u64> = Vec::new();
    // An object is asked for again, the sooner the likelier.
    add("recency", 8, &mut |at, random| {
        let back = 1 + (-8000.0 * (1.0 - random.f64()).ln()) as usize;
        let id = if random.f64() < 0.2 || at < back { OTHERS + at as u64 } else { history[at - back] };
        history.push(id);
        id
    });
    // Sizes from 50 bytes to 50 kB that have nothing to do with popularity.
    let size_of = |id: u64| {
        let share = fastrand::Rng::with_seed(id).f64();
        (50.0 * 1000f64.powf(share)) as u32
    };
    let mut random = fastrand::Rng::with_seed(9);
    let next = |_| zipf.draw(&mut random);
    let requests = (0..len / 2).map(next).map(|id| Request { id, bytes: size_of(id) }).collect();
    traces.push(Trace { name: "zipf, sizes".into(), requests });
    traces
}

/// A trace from a file.
pub fn read(path: &Path) -> Trace {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let is_binary = path.extension().is_some_and(|end| end == "bin" || end == "oracleGeneral");
    let requests = if is_binary { oracle_general(&bytes) } else { list(&String::from_utf8_lossy(&bytes)) };
    Trace { name, requests }
}

/// libCacheSim: time (32 bits), id (64), size (32), next access (64), little endian, packed.
fn oracle_general(bytes: &[u8]) -> Vec<Request> {
    let (records, _) = bytes.as_chunks::<24>();
    records
        .iter()
        .map(|record| Request {
            id: u64::from_le_bytes(record[4..12].try_into().expect("8 bytes")),
            bytes: u32::from_le_bytes(record[12..16].try_into().expect("4 bytes")).clamp(1, BYTES_MAX),
        })
        .collect()
}

fn list(text: &str) -> Vec<Request> {
    let mut ids: AHashMap<String, u64> = AHashMap::default();
    let mut requests = Vec::new();
    for line in text.lines() {
        let mut words = line.split([',', ' ', '\t']).filter(|word| !word.is_empty());
        let Some(key) = words.next() else { continue };
        let next = ids.len() as u64;
        let id = *ids.entry(key.to_string()).or_insert(next);
        let bytes = words.next().and_then(|word| word.parse().ok()).unwrap_or(BYTES);
        requests.push(Request { id, bytes: bytes.clamp(1, BYTES_MAX) });
    }
    requests
}
