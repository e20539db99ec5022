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

/// A cache with its adviser, beside what LRU does at each factor.
struct Run<D> {
    adviser: Adviser,
    caches: Vec<Lru>,
    draw: D,
    random: fastrand::Rng,
    stats: KeyspaceStats,
    now_ms: u64,
}

impl<D: FnMut(&mut fastrand::Rng) -> u64> Run<D> {
    /// A cache for so many keys.
    fn new(len: usize, keys_max: usize, draw: D) -> Run<D> {
        let mut adviser = Adviser::new(keys_max, LFU, 7);
        let bytes = len as u64 * STORED_BYTES;
        adviser.set_capacity(bytes, bytes);
        let caches = FACTORS.iter().map(|factor| Lru::new((len as f64 * factor) as usize)).collect();
        let random = fastrand::Rng::with_seed(11);
        Run { adviser, caches, draw, random, stats: KeyspaceStats::default(), now_ms: 1_700_000_000_000 }
    }

    /// Reads so often, and writes what is not there; what LRU hit meanwhile at each factor.
    fn access(&mut self, accesses: u64) -> Vec<f64> {
        self.caches.iter_mut().for_each(|cache| cache.hits = 0);
        for _ in 0..accesses {
            let key = (self.draw)(&mut self.random);
            let mut is_there = false;
            for (at, cache) in self.caches.iter_mut().enumerate() {
                let is_hit = cache.access(key);
                is_there |= at == ONE && is_hit;
            }
            self.stats.hits += u64::from(is_there);
            self.stats.misses += u64::from(!is_there);
            self.stats.evicted = (self.stats.misses as usize).saturating_sub(self.caches[ONE].len_max) as u64;
            self.now_ms += 1;
            let hash = hash_of(key);
            if self.adviser.wants(hash) {
                self.adviser.read(hash, is_there.then_some(KEY_BYTES), self.now_ms, &self.stats);
                if !is_there {
                    self.adviser.write(hash, KEY_BYTES, self.now_ms);
                }
            }
        }
        self.caches.iter().map(|cache| cache.hits as f64 / accesses as f64).collect()
    }
}

/// Runs a cache for so many keys with its adviser; the adviser, and what LRU hits at each factor once it is warm.
fn run(len: usize, keys_max: usize, draw: impl FnMut(&mut fastrand::Rng) -> u64) -> (Adviser, Vec<f64>) {
    let mut run = Run::new(len, keys_max, draw);
    run.access(300_000);
    let exact = run.access(300_000);
    (run.adviser, exact)
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
            let foretold = advice.ratio(advice.lru_hits[at]).expect("it is known by now");
            let error = (foretold - exact[at]).abs();
            println!("factor {factor}: {foretold:.4} for {:.4}", exact[at]);
            assert!(error < 0.03, "exponent {exponent}, factor {factor}: {foretold} for {}", exact[at]);
        }
        let observed = advice.ratio(advice.real_hits).expect("it is counted");
        assert!((observed - exact[ONE]).abs() < 0.02, "{observed} for {}", exact[ONE]);
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
    let ratio = |hits| advice.ratio(hits).expect("it is known by now");
    let lru = ratio(advice.lru_hits[ONE]);
    assert!((lru - exact[ONE]).abs() < 0.03, "{lru} {}", exact[ONE]);
    let of = |policy| {
        let at = POLICIES.iter().position(|&known| known == policy).expect("it is one");
        ratio(advice.hits[at][ONE])
    };
    println!("LRU {lru:.4}, LHD {:.4}, random {:.4}", of(Simulated::Lhd), of(Simulated::Random));
    assert!(lru + 0.05 < of(Simulated::Random), "{lru} {}", of(Simulated::Random));
    assert!(lru + 0.05 < of(Simulated::Lhd), "{lru} {}", of(Simulated::Lhd));
    // Four times the size holds all of it.
    assert!(0.95 < ratio(advice.lru_hits[5]), "{:?}", advice.lru_hits);
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
    let is_half = |hits| advice.ratio(hits).is_some_and(|ratio| (ratio - 0.5).abs() < 0.01);
    assert!(advice.lru_hits.into_iter().all(is_half), "{advice:?}");
    assert!(advice.hits.into_iter().flatten().all(is_half), "{advice:?}");
}

#[test]
fn shards_add_up() {
    let (one, _) = run(4000, 250, zipf(50_000, 0.9));
    let mut both = one.advice();
    both.add(&one.advice());
    let one = one.advice();
    assert_eq!((both.reads, both.capacity_bytes, both.keys), (2.0 * one.reads, 2 * one.capacity_bytes, 2 * one.keys));
    let (of_both, of_one) = (both.ratio(both.lru_hits[0]).unwrap(), one.ratio(one.lru_hits[0]).unwrap());
    assert!((of_both - of_one).abs() < 1e-9);
    let (alone, together) = (one.bytes_for(0.5).unwrap(), both.bytes_for(0.5).unwrap());
    assert!((alone * 19 / 10..=alone * 21 / 10).contains(&together), "{alone} {together}");
}

#[test]
fn a_young_cache_is_judged_by_the_reads_that_can_tell_of_a_size() {
    // The first reads of every key are misses, whatever the size.
    let mut run = Run::new(7000, 500, zipf(20_000, 0.9));
    run.access(1000);
    let advice = run.adviser.advice();
    assert_eq!(advice.ratio(advice.lru_hits[5]), None, "so large a cache has not been seen");
    run.access(100_000);
    let young = run.adviser.advice().anchored("allkeys-lru");
    run.access(150_000);
    let exact = run.access(150_000);
    let of_lhd = POLICIES.iter().position(|&policy| policy == Simulated::Lhd).expect("it is one");
    for (at, factor) in FACTORS.iter().enumerate() {
        let foretold = young.ratio(young.lru_hits[at]);
        println!("factor {factor}: {foretold:?} for {:.4}, LHD {:?}", exact[at], young.ratio(young.hits[of_lhd][at]));
        assert!(foretold.is_some() || ONE < at, "factor {factor}");
        let error = foretold.map_or(0.0, |ratio| (ratio - exact[at]).abs());
        assert!(error < 0.03, "factor {factor}: {foretold:?} for {}", exact[at]);
        let worse = young.ratio(young.hits[of_lhd][at]).map_or(0.0, |ratio| exact[at] - ratio);
        assert!(worse < 0.03, "factor {factor}: LHD is {worse} worse than LRU");
    }
    // What was counted before a reset counts no more, what is known stays.
    run.adviser.reset();
    let advice = run.adviser.advice();
    assert_eq!((advice.reads, advice.sampled_reads, advice.since_ms), (0.0, 0.0, 0));
    let exact = run.access(100_000);
    let advice = run.adviser.advice().anchored("allkeys-lru");
    for (at, exact) in exact.into_iter().enumerate() {
        let foretold = advice.ratio(advice.lru_hits[at]).expect("it is known");
        println!("factor {}: {foretold} for {exact}", FACTORS[at]);
        assert!((foretold - exact).abs() < 0.05, "{foretold} for {exact}");
    }
    assert!(1_700_000_400_000 < advice.since_ms);
}

#[test]
fn keys_that_nobody_writes_are_no_reason_for_more_memory() {
    let mut adviser = Adviser::new(100, LFU, 7);
    adviser.set_capacity(1 << 20, 1 << 20);
    let mut stats = KeyspaceStats::default();
    for round in 0..2000 {
        let hash = hash_of(round % 50);
        adviser.write(hash, 100, 0);
        stats.hits += 1;
        adviser.read(hash, Some(100), 0, &stats);
        stats.misses += 1;
        adviser.read(hash_of(1000 + round), None, 0, &stats);
    }
    let advice = adviser.advice();
    for hits in advice.lru_hits {
        assert!(advice.ratio(hits).is_some_and(|ratio| (ratio - 0.5).abs() < 0.03), "{advice:?}");
    }
}
