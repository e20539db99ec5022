//! The sizing adviser: what hit ratio to expect with more or less memory, and under other policies; learnt from a
//! sample of the keys while the cache works.
//!
//! Sampled are keys by their hash, so that of a sampled key every access is seen (Waldspurger and others: "Efficient
//! MRC Construction with SHARDS", FAST 2015). They go through two kinds of models of a cache that is as much smaller as
//! the sample is:
//!
//! ```text
//! reads, writes ──▶ hash below the threshold? ──no──▶ nothing more          (a multiplication and a comparison)
//!                        │ yes: of what the cache holds, one key for each 128 KiB, at most 2,048
//!                        ├──▶ stack: the bytes used since this key was used last ──▶ LRU at every size, at once
//!                        └──▶ small caches: each other policy at each of six sizes ("Cache Modeling and Optimization
//!                             using Miniature Simulations", ATC 2017)
//! ```
//! The first reads of a cache are misses whatever its size, and no sign of what more memory would bring. So each size
//! is judged by the reads that can tell of it: LRU's as [`stack`] says, a small cache's from when it was full. What is
//! not known yet is not told ([`Advice::ratio`]).
//!
//! A read counts as in `keyspace_hits`; a key enters a model when it is written, as clients do after a miss. A read of
//! a key that is not there although it was used a moment ago (deleted, expired) is a miss at any size.
//!
//! Not here: how large the cache is (the runtime says so, by [`Adviser::set_capacity`]), and words
//! ([`crate::command`]).

mod mini;
mod stack;

use super::{AccessPolicy, KeyspaceStats};
use mini::Mini;
use stack::{ERROR_MAX, Stack, is_certain};

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
    /// The same since the cache was full.
    settled: f64,
    settled_hits: f64,
    /// Something had to go.
    is_full: bool,
    /// When counting began, Unix milliseconds; 0: it has not.
    since_ms: u64,
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
    /// Reads since the cache was full, and hits among them.
    settled: (f64, f64),
    /// Reads of keys that are followed, since counting began or as far as they have not faded, …
    pub sampled_reads: f64,
    /// … and when that was, Unix milliseconds; 0: there was none.
    pub since_ms: u64,
    /// Keys that are followed.
    pub keys: usize,
    /// Hits of LRU by factor; not a number: it is too early to tell.
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
            settled: 0.0,
            settled_hits: 0.0,
            is_full: false,
            since_ms: 0,
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
        let expected = hits + more(stats.misses, self.seen.misses);
        self.expected += expected;
        self.real_hits += hits;
        self.is_full |= stats.evicted != 0;
        if self.is_full {
            self.settled += expected;
            self.settled_hits += hits;
        }
        self.seen = *stats;
        self.reads += 1.0;
        if self.since_ms == 0 {
            self.since_ms = now_ms;
        }
        match (self.stack.distance(hash), bytes) {
            (Some(distance), None) if distance as f64 / rate < 0.5 * self.capacity[ONE] as f64 => {
                // So near to the top it cannot have been evicted: it was deleted, or it has expired.
                self.stack.remove(hash);
                self.stack.count_never();
                for mini in &mut self.minis {
                    mini.remove(hash);
                    mini.count_read();
                }
                return;
            }
            (distance, _) => self.stack.count(hash, distance, bytes.is_some(), rate),
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
        self.stack.write(hash, bytes);
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
        let adjusted = |share: f64| (share * self.reads + self.expected - self.reads).clamp(0.0, self.expected);
        let shares = self.stack.shares();
        let lru_hits = self.capacity.map(|capacity| shares.within(capacity).map_or(f64::NAN, adjusted));
        let mut hits = [[0.0; FACTORS.len()]; POLICIES.len()];
        for (at, mini) in self.minis.iter().enumerate() {
            let factor = at % FACTORS.len();
            hits[at / FACTORS.len()][factor] = if mini.has_room() {
                lru_hits[factor] // They do not differ before something goes.
            } else if is_certain(mini.hits, mini.reads) {
                adjusted(mini.hits / mini.reads)
            } else {
                f64::NAN
            };
        }
        let lru_curve = shares.curve().into_iter().map(|(bytes, share)| (bytes, adjusted(share))).collect();
        let settled =
            if is_certain(self.settled_hits, self.settled) { (self.settled, self.settled_hits) } else { (0.0, 0.0) };
        // Each shard counts for the reads it has, not for those it samples.
        let advice = Advice {
            reads: self.expected,
            real_hits: self.real_hits,
            settled,
            sampled_reads: self.reads,
            since_ms: self.since_ms,
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
            self.fade(0.5);
        }
    }

    /// Counts anew, with all that the models know.
    pub fn reset(&mut self) {
        self.fade(0.0);
        self.since_ms = 0;
    }

    /// Every count times this.
    fn fade(&mut self, by: f64) {
        let Adviser { reads, expected, real_hits, settled, settled_hits, .. } = self;
        for count in [reads, expected, real_hits, settled, settled_hits] {
            *count *= by;
        }
        self.stack.fade(by);
        for mini in &mut self.minis {
            mini.reads *= by;
            mini.hits *= by;
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
        let (settled, settled_hits) = &mut self.settled;
        let counts =
            [&mut self.reads, &mut self.real_hits, settled, settled_hits].into_iter().chain(&mut self.lru_hits);
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
        self.settled = (self.settled.0 + other.settled.0, self.settled.1 + other.settled.1);
        self.sampled_reads += other.sampled_reads;
        self.since_ms = [self.since_ms, other.since_ms].into_iter().filter(|&ms| ms != 0).min().unwrap_or(0);
        self.keys += other.keys;
        self.capacity_bytes += other.capacity_bytes;
        self.lru_hits.iter_mut().zip(other.lru_hits).for_each(|(sum, more)| *sum += more);
        for (sums, more) in self.hits.iter_mut().zip(&other.hits) {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        self.lru_curve = add_curves(&self.lru_curve, &other.lru_curve);
    }

    /// Moves all that is foretold by what is known to be wrong with it: of the policy in force it is known how often it
    /// hits at today's size, once the cache is full. A sample with more of the hottest keys than it should have is too
    /// hopeful at every size. What is further off than a sample of that many reads may be is so for another reason: it
    /// steps up at a slightly different size, and is right elsewhere.
    pub fn anchored(mut self, policy_in_force: &str) -> Advice {
        let ((settled, settled_hits), reads) = (self.settled, self.reads);
        let Some(at) = self.policies().iter().position(|(name, _)| *name == policy_in_force) else { return self };
        if settled == 0.0 {
            return self;
        }
        let real_hits = settled_hits / settled * reads;
        let foretold = self.policies()[at].1[ONE];
        if !foretold.is_nan() {
            let error = (foretold - real_hits).clamp(-ERROR_MAX * reads, ERROR_MAX * reads);
            let hits = self.lru_hits.iter_mut().chain(self.hits.iter_mut().flatten());
            hits.chain(self.lru_curve.iter_mut().map(|(_, hits)| hits))
                .for_each(|hits| *hits = (*hits - error).clamp(0.0, reads));
        }
        let of_policy = if at == 0 { &mut self.lru_hits } else { &mut self.hits[at - 1] };
        of_policy[ONE] = real_hits;
        self
    }

    /// A share of the reads, 0 while there are none; none: it is too early to tell.
    pub fn ratio(&self, hits: f64) -> Option<f64> {
        let ratio = if self.reads == 0.0 { 0.0 } else { (hits / self.reads).clamp(0.0, 1.0) };
        (!hits.is_nan()).then_some(ratio)
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
