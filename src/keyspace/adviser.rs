//! The sizing adviser: what hit ratio to expect with more or less memory, and under other policies; learnt from a
//! sample of the keys while the cache works.
//!
//! Sampled are keys by their hash, so that of a sampled key every access is seen (Waldspurger and others: "Efficient
//! MRC Construction with SHARDS", FAST 2015). They go through two kinds of models of a cache that is as much smaller as
//! the sample is:
//!
//! ```text
//! reads, writes ──▶ hash below the threshold? ──no──▶ nothing more          (a multiplication and a comparison)
//!                        │ yes: some thousand keys
//!                        ├──▶ stack: the bytes used since this key was used last ──▶ LRU at every size, at once
//!                        └──▶ small caches: each other policy at each of six sizes ("Cache Modeling and Optimization
//!                             using Miniature Simulations", ATC 2017)
//! ```
//! A read counts as in `keyspace_hits`; a key enters a model when it is written, as clients do after a miss. A read of
//! a key that is not there although it was used a moment ago (deleted, expired) is a miss at any size.
//!
//! Not here: how large the cache is (the runtime says so, by [`Adviser::set_capacity`]), and words
//! ([`crate::command`]).

mod mini;
mod stack;

use super::{AccessPolicy, KeyspaceStats};
use mini::Mini;
use stack::Stack;

/// Sizes that are told of, as multiples of `maxmemory`.
pub const FACTORS: [f64; 6] = [0.5, 0.75, 1.0, 1.5, 2.0, 4.0];
const ONE: usize = 2;

/// What the small caches do. LRU comes from the stack.
pub const POLICIES: [Simulated; 4] = [Simulated::Lhd, Simulated::Lfu, Simulated::Lrm, Simulated::Random];

/// A policy that is told of besides LRU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simulated {
    /// `allkeys-lhd`
    Lhd,
    /// `allkeys-lfu`
    Lfu,
    /// `allkeys-lrm`
    Lrm,
    /// `allkeys-random`
    Random,
}

impl Simulated {
    /// The policy's name.
    pub fn name(self) -> &'static str {
        match self {
            Simulated::Lhd => "allkeys-lhd",
            Simulated::Lfu => "allkeys-lfu",
            Simulated::Lrm => "allkeys-lrm",
            Simulated::Random => "allkeys-random",
        }
    }
}

/// The stack remembers as many bytes as a cache of so many times the size would hold.
const STACK_FACTOR: f64 = 8.0;
/// The threshold at which every key is sampled.
const EVERY: u32 = 1 << 24;
/// Sampled reads for each sampled key after which what was counted begins to fade.
const READS_PER_KEY: f64 = 64.0;
/// Beyond its payload, a key takes its part of the table.
const TABLE_BYTES: usize = 10;

/// The adviser of one shard.
pub struct Adviser {
    /// Keys are sampled whose mixed hash is below it, of [`EVERY`].
    threshold: u32,
    /// The sample is made smaller when the cache would hold more than so many of it.
    keys_max: usize,
    stack: Stack,
    minis: Vec<Mini>,
    /// By factor: what the shard could hold, in bytes.
    capacity: [u64; FACTORS.len()],
    /// Sampled reads; fading, as all counts.
    reads: f64,
    /// How many they should be by the reads of all keys, and how many of those were hits.
    expected: f64,
    real_hits: f64,
    /// The counters of all keys when they were looked at last.
    seen: KeyspaceStats,
}

/// What one shard, or the server, knows. Sums over shards.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Advice {
    /// Reads that this is based on, as far as they have not faded.
    pub reads: f64,
    /// Of those, hits in the real cache.
    pub real_hits: f64,
    /// Keys that are followed.
    pub keys: usize,
    /// Hits of LRU by factor.
    pub lru_hits: [f64; FACTORS.len()],
    /// Hits of the others, by policy and factor.
    pub hits: [[f64; FACTORS.len()]; POLICIES.len()],
    /// Hits of LRU with so many bytes for entries or less; bytes rising.
    pub lru_curve: Vec<(u64, f64)>,
    /// What there is for entries now, in bytes.
    pub capacity_bytes: u64,
}

impl Adviser {
    /// Follows about so many of the keys that the cache holds.
    pub fn new(keys_max: usize, lfu: AccessPolicy, seed: u64) -> Adviser {
        let mini = |(at, policy): (usize, Simulated)| {
            (0..FACTORS.len()).map(move |factor| Mini::new(policy, lfu, seed ^ (at * 16 + factor) as u64))
        };
        Adviser {
            threshold: EVERY,
            keys_max,
            stack: Stack::default(),
            minis: POLICIES.into_iter().enumerate().flat_map(mini).collect(),
            capacity: [0; FACTORS.len()],
            reads: 0.0,
            expected: 0.0,
            real_hits: 0.0,
            seen: KeyspaceStats::default(),
        }
    }

    /// Says what the shard can hold in bytes, and how much more it could for as much again of the limit.
    pub fn set_capacity(&mut self, now_bytes: u64, step_bytes: u64) {
        for (capacity, factor) in self.capacity.iter_mut().zip(FACTORS) {
            *capacity = (now_bytes as f64 + (factor - 1.0) * step_bytes as f64).max(0.0) as u64;
        }
    }

    /// Whether accesses of a key with this hash are wanted.
    #[inline]
    pub fn wants(&self, hash: u64) -> bool {
        mix(hash) < self.threshold
    }

    /// A key that is wanted is read: it is there and takes so many bytes, or it is not there. `stats` counts the reads
    /// of all keys.
    pub fn read(&mut self, hash: u64, bytes: Option<usize>, now_ms: u64, stats: &KeyspaceStats) {
        let rate = self.rate();
        // A sample with or without the hottest key of all has more or fewer reads than it should; the difference is
        // hits at any size (SHARDS calls this its adjustment).
        let more = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now) as f64 * rate;
        let hits = more(stats.hits, self.seen.hits);
        self.expected += hits + more(stats.misses, self.seen.misses);
        self.real_hits += hits;
        self.seen = *stats;
        self.reads += 1.0;
        match (self.stack.distance(hash), bytes) {
            (Some(distance), None) if distance as f64 / rate < 0.5 * self.capacity[ONE] as f64 => {
                // So near to the top it cannot have been evicted: it was deleted, or it has expired.
                self.stack.remove(hash);
                self.minis.iter_mut().for_each(|mini| mini.remove(hash));
                return;
            }
            (distance, _) => self.stack.count(distance.map(|distance| distance as f64 / rate)),
        }
        if let Some(bytes) = bytes {
            self.stack.touch(hash, bytes + TABLE_BYTES);
        } else {
            self.stack.touch_known(hash);
        }
        for (at, mini) in self.minis.iter_mut().enumerate() {
            let is_hit = mini.read(hash, now_ms);
            if let (false, Some(bytes)) = (is_hit, bytes) {
                // Here it is, so that nobody writes it; there it would have been written now.
                let capacity = (self.capacity[at % FACTORS.len()] as f64 * rate) as usize;
                mini.write(hash, bytes + TABLE_BYTES, capacity, now_ms);
            }
        }
        self.keep_small();
    }

    /// A key that is wanted is written, and takes so many bytes.
    pub fn write(&mut self, hash: u64, bytes: usize, now_ms: u64) {
        let bytes = bytes + TABLE_BYTES;
        self.stack.touch(hash, bytes);
        let rate = self.rate();
        for (at, mini) in self.minis.iter_mut().enumerate() {
            let capacity = (self.capacity[at % FACTORS.len()] as f64 * rate) as usize;
            mini.write(hash, bytes, capacity, now_ms);
        }
        self.keep_small();
    }

    /// What is known so far.
    pub fn advice(&self) -> Advice {
        let rate = self.rate();
        let adjusted = |hits: f64| (hits + self.expected - self.reads).clamp(0.0, self.expected);
        let lru_hits = self.capacity.map(|capacity| adjusted(self.stack.hits_within(capacity)));
        let mut hits = [[0.0; FACTORS.len()]; POLICIES.len()];
        for (at, mini) in self.minis.iter().enumerate() {
            hits[at / FACTORS.len()][at % FACTORS.len()] = adjusted(mini.hits);
        }
        let lru_curve = self.stack.curve().into_iter().map(|(bytes, hits)| (bytes, adjusted(hits))).collect();
        // Each shard counts for the reads it has, not for those it samples.
        let advice = Advice {
            reads: self.expected,
            real_hits: self.real_hits,
            keys: self.stack.len(),
            lru_hits,
            hits,
            lru_curve,
            capacity_bytes: self.capacity[ONE],
        };
        advice.scaled(1.0 / rate)
    }

    /// Bytes of heap, about.
    pub fn memory_bytes(&self) -> usize {
        self.stack.memory_bytes() + self.minis.iter().map(Mini::memory_bytes).sum::<usize>()
    }

    fn rate(&self) -> f64 {
        f64::from(self.threshold) / f64::from(EVERY)
    }

    /// Lets go what is too far down, makes the sample smaller, lets old counts fade.
    fn keep_small(&mut self) {
        let bytes_max = STACK_FACTOR * self.capacity[ONE] as f64 * self.rate();
        self.stack.trim(bytes_max as u64);
        let is_thinned = self.keys_max * STACK_FACTOR as usize <= self.stack.len()
            || self.keys_max + self.keys_max / 4 < self.minis[ONE].len();
        if is_thinned {
            self.threshold /= 2;
            let threshold = self.threshold;
            let wants = |hash: u64| mix(hash) < threshold;
            self.stack.retain(wants);
            self.minis.iter_mut().for_each(|mini| mini.retain(wants));
        }
        // What was counted with twice as many keys counts for half as much.
        if is_thinned || READS_PER_KEY * self.keys_max as f64 <= self.reads {
            for count in [&mut self.reads, &mut self.expected, &mut self.real_hits] {
                *count /= 2.0;
            }
            self.stack.fade();
            self.minis.iter_mut().for_each(|mini| mini.hits /= 2.0);
        }
    }
}

/// 24 bits of a hash that the table's own places do not depend on alone.
#[inline]
fn mix(hash: u64) -> u32 {
    (hash.wrapping_mul(0xd6e8_feb8_6659_fd93) >> 40) as u32
}

impl Advice {
    /// Every count times this.
    fn scaled(mut self, by: f64) -> Advice {
        let counts = [&mut self.reads, &mut self.real_hits].into_iter().chain(&mut self.lru_hits);
        counts.chain(self.hits.iter_mut().flatten()).for_each(|count| *count *= by);
        self.lru_curve.iter_mut().for_each(|(_, hits)| *hits *= by);
        self
    }

    /// What all shards know together; none: nobody learns.
    pub fn sum(parts: impl Iterator<Item = Option<Advice>>) -> Option<Advice> {
        parts.flatten().reduce(|mut sum, part| {
            sum.add(&part);
            sum
        })
    }

    /// Every policy that is told of, with its hits by factor.
    pub fn policies(&self) -> Vec<(&'static str, [f64; FACTORS.len()])> {
        let simulated = POLICIES.iter().zip(self.hits).map(|(policy, hits)| (policy.name(), hits));
        std::iter::once(("allkeys-lru", self.lru_hits)).chain(simulated).collect()
    }

    /// The limit with which LRU would reach this hit ratio, in bytes, where it is `limit_bytes` now; none: with none
    /// that was seen.
    pub fn limit_for(&self, ratio: f64, limit_bytes: u64) -> Option<u64> {
        let bytes = self.bytes_for(ratio)?;
        Some((limit_bytes + bytes).saturating_sub(self.capacity_bytes))
    }

    /// Adds what another shard knows.
    pub fn add(&mut self, other: &Advice) {
        self.reads += other.reads;
        self.real_hits += other.real_hits;
        self.keys += other.keys;
        self.capacity_bytes += other.capacity_bytes;
        self.lru_hits.iter_mut().zip(other.lru_hits).for_each(|(sum, more)| *sum += more);
        for (sums, more) in self.hits.iter_mut().zip(&other.hits) {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        self.lru_curve = add_curves(&self.lru_curve, &other.lru_curve);
    }

    /// Moves all that is foretold by what is known to be wrong with it: of the policy in force it is known how often it
    /// hits at today's size. A sample with more of the hottest keys than it should have is too hopeful at every size.
    pub fn anchored(mut self, policy_in_force: &str) -> Advice {
        let policies = self.policies();
        let Some((_, foretold)) = policies.iter().find(|(name, _)| *name == policy_in_force) else { return self };
        let (error, reads) = (foretold[ONE] - self.real_hits, self.reads);
        let hits = self.lru_hits.iter_mut().chain(self.hits.iter_mut().flatten());
        hits.chain(self.lru_curve.iter_mut().map(|(_, hits)| hits))
            .for_each(|hits| *hits = (*hits - error).clamp(0.0, reads));
        self
    }

    /// A share of the reads; 0 while there are none.
    pub fn ratio(&self, hits: f64) -> f64 {
        if self.reads == 0.0 { 0.0 } else { (hits / self.reads).clamp(0.0, 1.0) }
    }

    /// The bytes of entries with which LRU would reach this hit ratio; none: with no size that was seen.
    pub fn bytes_for(&self, ratio: f64) -> Option<u64> {
        self.lru_curve.iter().find(|(_, hits)| ratio * self.reads <= *hits).map(|(bytes, _)| *bytes)
    }
}

/// Two shards with so much memory each: their curves side by side, where both have the same share of hits to come.
/// Shards get as many bytes each, as keys are spread evenly.
fn add_curves(a: &[(u64, f64)], b: &[(u64, f64)]) -> Vec<(u64, f64)> {
    if a.is_empty() || b.is_empty() {
        return if a.is_empty() { b.to_vec() } else { a.to_vec() };
    }
    let total = |curve: &[(u64, f64)]| curve.last().map_or(0.0, |(_, hits)| *hits);
    let sum = total(a) + total(b);
    let bytes_at = |curve: &[(u64, f64)], share: f64| {
        let wanted = share * total(curve);
        curve.iter().find(|(_, hits)| wanted <= *hits).map_or(0, |(bytes, _)| *bytes)
    };
    (1..=STEPS)
        .map(|step| step as f64 / STEPS as f64)
        .map(|share| (bytes_at(a, share) + bytes_at(b, share), share * sum))
        .collect()
}

/// Points of a curve that was added up.
const STEPS: usize = 1000;

#[cfg(test)]
mod tests;
