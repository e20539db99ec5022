//! What is foretold, beside what exact simulations of other sizes give.

use super::*;
use ahash::AHashMap;
use std::collections::BTreeMap;

const KEY_BYTES: usize = 90;
const STORED_BYTES: u64 = (KEY_BYTES + TABLE_BYTES) as u64;
const LFU: AccessPolicy = AccessPolicy::Lfu { log_factor: 10, decay_minutes: 1 };

/// LRU, exactly.
struct Lru {
    len_max: usize,
    used: AHashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
    accesses: u64,
    hits: u64,
}

impl Lru {
    fn new(len_max: usize) -> Lru {
        Lru { len_max, used: AHashMap::default(), order: BTreeMap::new(), accesses: 0, hits: 0 }
    }

    /// Reads a key, and writes it if it is not there; whether it was.
    fn access(&mut self, key: u64) -> bool {
        self.accesses += 1;
        let before = self.used.insert(key, self.accesses);
        if let Some(before) = before {
            self.order.remove(&before);
            self.hits += 1;
        }
        self.order.insert(self.accesses, key);
        if self.len_max < self.used.len() {
            let (_, oldest) = self.order.pop_first().expect("more than none");
            self.used.remove(&oldest);
        }
        before.is_some()
    }
}

/// Draws keys of so many with Zipf's law.
fn zipf(keys: usize, exponent: f64) -> impl FnMut(&mut fastrand::Rng) -> u64 {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    move |random| sums.partition_point(|&below| below < random.f64() * sum) as u64
}

fn hash_of(key: u64) -> u64 {
    let mut state = key;
    super::super::split_mix(&mut state) & super::super::HASH_MASK
}

/// Runs a cache for so many keys with its adviser; the adviser, and what LRU hits at each factor.
fn run(len: usize, keys_max: usize, mut draw: impl FnMut(&mut fastrand::Rng) -> u64) -> (Adviser, Vec<f64>) {
    const ACCESSES: u64 = 600_000;
    let mut adviser = Adviser::new(keys_max, LFU, 7);
    let bytes = len as u64 * STORED_BYTES;
    adviser.set_capacity(bytes, bytes);
    let mut caches: Vec<Lru> = FACTORS.iter().map(|factor| Lru::new((len as f64 * factor) as usize)).collect();
    let mut random = fastrand::Rng::with_seed(11);
    let mut stats = KeyspaceStats::default();
    for access in 0..ACCESSES {
        let key = draw(&mut random);
        let mut is_there = false;
        for (at, cache) in caches.iter_mut().enumerate() {
            let is_hit = cache.access(key);
            is_there |= at == ONE && is_hit;
        }
        stats.hits += u64::from(is_there);
        stats.misses += u64::from(!is_there);
        let (hash, now_ms) = (hash_of(key), 1_700_000_000_000 + access);
        if adviser.wants(hash) {
            adviser.read(hash, is_there.then_some(KEY_BYTES), now_ms, &stats);
            if !is_there {
                adviser.write(hash, KEY_BYTES, now_ms);
            }
        }
    }
    (adviser, caches.iter().map(|cache| cache.hits as f64 / ACCESSES as f64).collect())
}

#[test]
fn lru_is_foretold_at_every_size() {
    for exponent in [0.7, 0.9, 1.1] {
        let (adviser, exact) = run(8000, 500, zipf(100_000, exponent));
        let advice = adviser.advice().anchored("allkeys-lru");
        assert!(adviser.threshold < EVERY / 4, "a sample");
        assert!((250..8 * 500).contains(&advice.keys), "{}", advice.keys);
        println!("exponent {exponent}: {} bytes, {} keys", adviser.memory_bytes(), advice.keys);
        for (at, factor) in FACTORS.iter().enumerate() {
            let foretold = advice.ratio(advice.lru_hits[at]);
            let error = (foretold - exact[at]).abs();
            println!("factor {factor}: {foretold:.4} for {:.4}", exact[at]);
            assert!(error < 0.03, "exponent {exponent}, factor {factor}: {foretold} for {}", exact[at]);
        }
        let observed = advice.ratio(advice.real_hits);
        assert!((observed - exact[ONE]).abs() < 0.01, "{observed} for {}", exact[ONE]);
        assert!(adviser.memory_bytes() < 2_500_000, "{}", adviser.memory_bytes());
    }
}

#[test]
fn policies_that_know_better_are_foretold_to_do_better() {
    // Nine reads of ten go round in a circle that is larger than the cache: LRU hits none of them.
    let mut at = 0;
    let (adviser, exact) = run(5000, 500, |random| {
        if random.u32(..10) == 0 {
            return 1_000_000 + random.u64(..100);
        }
        at = (at + 1) % 12_000;
        at
    });
    let advice = adviser.advice();
    let lru = advice.ratio(advice.lru_hits[ONE]);
    assert!((lru - exact[ONE]).abs() < 0.03, "{lru} {}", exact[ONE]);
    let of = |policy| {
        let at = POLICIES.iter().position(|&known| known == policy).expect("it is one");
        advice.ratio(advice.hits[at][ONE])
    };
    println!("LRU {lru:.4}, LHD {:.4}, random {:.4}", of(Simulated::Lhd), of(Simulated::Random));
    assert!(lru + 0.05 < of(Simulated::Random), "{lru} {}", of(Simulated::Random));
    assert!(lru + 0.05 < of(Simulated::Lhd), "{lru} {}", of(Simulated::Lhd));
    // Four times the size holds all of it.
    assert!(0.95 < advice.ratio(advice.lru_hits[5]), "{:?}", advice.lru_hits);
    let needed = advice.bytes_for(0.95).expect("it was seen");
    let holds_all = 12_100 * STORED_BYTES;
    assert!((holds_all * 8 / 10..holds_all * 12 / 10).contains(&needed), "{needed} for {holds_all}");
    assert_eq!(advice.bytes_for(1.0), None);
}

#[test]
fn keys_that_were_deleted_are_no_reason_for_more_memory() {
    let mut adviser = Adviser::new(100, LFU, 7);
    adviser.set_capacity(1 << 20, 1 << 20);
    let mut stats = KeyspaceStats::default();
    for round in 0..1000 {
        // Written, used once, deleted, asked for.
        let hash = hash_of(round % 50);
        adviser.write(hash, 100, 0);
        stats.hits += 1;
        adviser.read(hash, Some(100), 0, &stats);
        stats.misses += 1;
        adviser.read(hash, None, 0, &stats);
    }
    let advice = adviser.advice();
    for hits in advice.lru_hits {
        assert!((advice.ratio(hits) - 0.5).abs() < 0.01, "{advice:?}");
    }
    assert!(advice.hits.iter().flatten().all(|&hits| (advice.ratio(hits) - 0.5).abs() < 0.01));
}

#[test]
fn shards_add_up() {
    let (one, _) = run(4000, 250, zipf(50_000, 0.9));
    let mut both = one.advice();
    both.add(&one.advice());
    let one = one.advice();
    assert_eq!((both.reads, both.capacity_bytes, both.keys), (2.0 * one.reads, 2 * one.capacity_bytes, 2 * one.keys));
    assert!((both.ratio(both.lru_hits[0]) - one.ratio(one.lru_hits[0])).abs() < 1e-9);
    let (alone, together) = (one.bytes_for(0.5).unwrap(), both.bytes_for(0.5).unwrap());
    assert!((alone * 19 / 10..=alone * 21 / 10).contains(&together), "{alone} {together}");
}
