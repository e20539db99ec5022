//! A small cache of one policy and one size, to see how often it would hit.

use super::super::lhd::{Lhd, VirtualTime};
use super::super::split_mix;
use super::Simulated;
use crate::keyspace::AccessPolicy;
use ahash::{AHashMap, RandomState};

/// Entries looked at for one that goes: the pool of the real sampler sees about as many.
const SAMPLES: usize = 16;
/// LHD draws by lot now and then, as the real one.
const LOT_EVERY: u64 = 64;

struct Kept {
    hash: u64,
    bytes: u32,
    clock: u32,
    /// In accesses of this cache.
    used: u64,
}

pub(super) struct Mini {
    policy: Simulated,
    lfu: AccessPolicy,
    lhd: Option<Lhd>,
    kept: Vec<Kept>,
    places: AHashMap<u64, usize>,
    bytes: usize,
    accesses: u64,
    random: u64,
    /// The key that was read last, if it was there and nothing was written since.
    read_last: Option<u64>,
    /// It was full once: before, it tells what a cache does that has just begun.
    is_full: bool,
    /// Reads since; fading.
    pub reads: f64,
    /// Of those, hits.
    pub hits: f64,
}

impl Mini {
    pub fn new(policy: Simulated, lfu: AccessPolicy, seed: u64) -> Mini {
        Mini {
            policy,
            lfu,
            lhd: (policy == Simulated::Lhd).then(|| Lhd::new(VirtualTime::default())),
            kept: Vec::new(),
            places: AHashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)),
            bytes: 0,
            accesses: 0,
            random: seed,
            read_last: None,
            is_full: false,
            reads: 0.0,
            hits: 0.0,
        }
    }

    /// Whether the key is there.
    pub fn read(&mut self, hash: u64, now_ms: u64) -> bool {
        self.accesses += 1;
        self.count_read();
        let Some(&place) = self.places.get(&hash) else { return false };
        self.hits += f64::from(u8::from(self.is_full));
        self.read_last = Some(hash);
        if self.policy != Simulated::Lrm {
            self.touch(place, now_ms);
        }
        true
    }

    /// A read, a hit or not.
    pub fn count_read(&mut self) {
        self.reads += f64::from(u8::from(self.is_full));
    }

    /// Whether nothing has had to go yet.
    pub fn has_room(&self) -> bool {
        !self.is_full
    }

    pub fn write(&mut self, hash: u64, bytes: usize, capacity: usize, now_ms: u64) {
        self.accesses += 1;
        let bytes = bytes.min(u32::MAX as usize);
        // Who found it here would not have written it.
        let is_refill = self.read_last.take() == Some(hash);
        if let Some(&place) = self.places.get(&hash) {
            if !is_refill {
                self.touch(place, now_ms);
            }
            self.bytes = self.bytes - self.kept[place].bytes as usize + bytes;
            self.kept[place].bytes = bytes as u32;
        } else {
            // As a command does, room is made first.
            self.shrink(capacity, now_ms);
            let clock = match &mut self.lhd {
                Some(lhd) => lhd.enter(hash, self.kept.len()),
                None => self.lfu.new_clock(now_ms),
            };
            self.places.insert(hash, self.kept.len());
            self.kept.push(Kept { hash, bytes: bytes as u32, clock, used: self.accesses });
            self.bytes += bytes;
        }
        self.shrink(capacity.max(bytes), now_ms);
    }

    fn shrink(&mut self, capacity: usize, now_ms: u64) {
        while capacity < self.bytes && !self.kept.is_empty() {
            let place = self.choose(now_ms);
            let Kept { hash, clock, .. } = self.kept[place];
            if let Some(lhd) = &mut self.lhd {
                lhd.leave(clock, hash);
            }
            self.remove(hash);
            self.is_full = true;
        }
    }

    fn choose(&mut self, now_ms: u64) -> usize {
        let len = self.kept.len() as u64;
        let first = split_mix(&mut self.random) % len;
        let is_lot = match self.policy {
            Simulated::Random => true,
            Simulated::Lhd => split_mix(&mut self.random).is_multiple_of(LOT_EVERY),
            Simulated::Lfu | Simulated::Lrm => false,
        };
        if is_lot {
            return first as usize;
        }
        let mut best = (f64::INFINITY, 0);
        for _ in 0..SAMPLES {
            let place = (split_mix(&mut self.random) % len) as usize;
            let kept = &self.kept[place];
            let worth = match (&self.lhd, self.policy) {
                (Some(lhd), _) => f64::from(lhd.density(kept.clock)) / f64::from(kept.bytes),
                (None, Simulated::Lfu) => f64::from(self.lfu.frequency(kept.clock, now_ms)) * 1e12 + kept.used as f64,
                (None, _) => kept.used as f64,
            };
            if worth < best.0 {
                best = (worth, place);
            }
        }
        best.1
    }

    fn touch(&mut self, place: usize, now_ms: u64) {
        let len = self.kept.len();
        let kept = &mut self.kept[place];
        kept.used = self.accesses;
        kept.clock = match &mut self.lhd {
            Some(lhd) => lhd.touch(kept.clock, len),
            None => self.lfu.touched_clock(kept.clock, now_ms, 0, || split_mix(&mut self.random)),
        };
    }

    pub fn remove(&mut self, hash: u64) {
        let Some(place) = self.places.remove(&hash) else { return };
        let gone = self.kept.swap_remove(place);
        self.bytes -= gone.bytes as usize;
        if let Some(moved) = self.kept.get(place) {
            self.places.insert(moved.hash, place);
        }
    }

    pub fn retain(&mut self, wants: impl Fn(u64) -> bool) {
        let gone: Vec<u64> = self.kept.iter().map(|kept| kept.hash).filter(|&hash| !wants(hash)).collect();
        gone.into_iter().for_each(|hash| self.remove(hash));
        self.kept.shrink_to_fit();
        self.places.shrink_to_fit();
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn memory_bytes(&self) -> usize {
        let lhd = self.lhd.as_ref().map_or(0, Lhd::memory_bytes);
        self.kept.capacity() * size_of::<Kept>() + self.places.capacity() * 17 + lhd
    }
}
