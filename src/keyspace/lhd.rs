//! Least hit density: entries are judged by the hits to be expected of them, for the bytes and the time they will take
//! (Beckmann, Chen, Cidon: "LHD: Improving Cache Hit Rate by Maximizing Hit Density", NSDI 2018). How likely a hit is
//! and when it comes is learnt from the hits and evictions of the last while, by class of entry and by age.
//!
//! Not here: sizes, and who is looked at (see [`super::eviction`]). As in the paper are the densities; the classes, the
//! coarse logarithmic ages and the memory of who left are ours.
//!
//! ```text
//! clock  23                         8 7      4 3      0
//!       ┌────────────────────────────┬────────┬────────┐
//!       │ virtual time, last access  │ uses   │ reuse  │   uses: up to 15, those before it left included
//!       └────────────────────────────┴────────┴────────┘   reuse: logarithm of the age at the last hit
//!
//! density[class][age] =  hits that came at this age or later  ÷  time that all those took until hit or evicted
//!
//!   never used, aged 5   ▕██
//!   used twice, aged 5   ▕██████████
//!   used twice, aged 800 ▕█▌              ◀── goes before a new one: a scan or a key of yesterday
//! ```
//! Virtual time is counted in accesses, all shards together, so that entries can move between shards; a step is as many
//! accesses as it takes for evicted entries to be some hundred steps old. An age beyond 65,535 steps looks young again,
//! but no entry gets there: before that every entry has been looked at hundreds of times.
//!
//! Costs: 24 KiB a shard, two bytes an entry for the memory of who left, an addition at every access, and every so many
//! accesses as there are entries 2048 steps to learn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ages, logarithmic: four to a doubling.
const AGES: usize = 64;
const USES: usize = 4;
const REUSES: usize = 8;
const CLASSES: usize = USES * REUSES;

/// What is left of earlier events each time that densities are learnt.
const DECAY: f32 = 0.9;
/// Accesses between two lessons, at least.
const LESSON_ACCESSES_MIN: u64 = 4000;
/// Mean age of the evicted, in steps of virtual time: outside of this, steps become longer or shorter.
const EVICTED_AGE: std::ops::RangeInclusive<u64> = 128..=1024;
/// While nothing is evicted: steps in which all entries are accessed once, at most.
const STEPS_PER_ROUND: u64 = 256;

const USES_MAX: u32 = 15;
/// The reuse of what was never used.
const REUSE_NEW: u32 = 3;

/// The virtual time of all shards.
pub type VirtualTime = Arc<AtomicU32>;

/// What one shard has learnt.
pub struct Lhd {
    time: VirtualTime,
    /// Accesses since the last step of time …
    accesses: u64,
    /// … and how many make a step.
    step: u64,
    /// Accesses since the last lesson.
    since_lesson: u64,
    hits: Box<[[f32; AGES]; CLASSES]>,
    evictions: Box<[[f32; AGES]; CLASSES]>,
    density: Box<[[f32; AGES]; CLASSES]>,
    evicted: u64,
    evicted_age_sum: u64,
    /// By hash: 12 bits of the hash of one that left, and its uses; 0: nobody.
    departed: Vec<u16>,
    lessons: u64,
}

#[inline]
fn age_bucket(age: u32) -> usize {
    if age < 4 {
        return age as usize;
    }
    let power = age.ilog2();
    (((power - 1) * 4 + (age >> (power - 2) & 3)) as usize).min(AGES - 1)
}

/// The first age of a bucket.
fn age_of(bucket: usize) -> f64 {
    if bucket < 4 {
        return bucket as f64;
    }
    (4 + bucket % 4) as f64 * f64::powi(2.0, (bucket / 4) as i32 - 1)
}

#[inline]
fn class_of(clock: u32) -> usize {
    let uses = match clock >> 4 & 15 {
        0 => return 0,
        1 => 1,
        2 | 3 => 2,
        _ => 3,
    };
    // The clock of another policy, which the key has kept since before the switch, may say anything.
    uses * REUSES + (clock & 15) as usize % REUSES
}

/// Uses of a clock.
pub fn uses(clock: u32) -> u8 {
    (clock >> 4 & 15) as u8
}

impl Lhd {
    /// Nothing is known yet: who was used more, and more recently, is worth more.
    pub fn new(time: VirtualTime) -> Lhd {
        let mut density = Box::new([[0.0; AGES]; CLASSES]);
        for (class, density) in density.iter_mut().enumerate() {
            for (bucket, density) in density.iter_mut().enumerate() {
                *density = guess(class, bucket);
            }
        }
        Lhd {
            time,
            accesses: 0,
            step: 1,
            since_lesson: 0,
            hits: Box::new([[0.0; AGES]; CLASSES]),
            evictions: Box::new([[0.0; AGES]; CLASSES]),
            density,
            evicted: 0,
            evicted_age_sum: 0,
            departed: Vec::new(),
            lessons: 0,
        }
    }

    /// A key comes into being among so many; its clock.
    pub fn enter(&mut self, hash: u64, len: usize) -> u32 {
        let now = self.tick(len);
        let mut uses = 0;
        if !self.departed.is_empty() {
            let (place, mark) = self.place_of(hash);
            if self.departed[place] & 0xfff0 == mark && self.departed[place] & 15 != 0 {
                uses = u32::from(std::mem::take(&mut self.departed[place]) & 15);
            }
        }
        now << 8 | uses << 4 | REUSE_NEW
    }

    /// A key is used, among so many; its new clock.
    pub fn touch(&mut self, clock: u32, len: usize) -> u32 {
        let now = self.tick(len);
        let age = age_at(now, clock);
        self.hits[class_of(clock)][age_bucket(age)] += 1.0;
        let reuse = (age.max(1).ilog2() * 7 / 10).min(REUSES as u32 - 1);
        now << 8 | (u32::from(uses(clock)) + 1).min(USES_MAX) << 4 | reuse
    }

    /// A key is evicted.
    pub fn leave(&mut self, clock: u32, hash: u64) {
        let age = age_at(self.now(), clock);
        self.evictions[class_of(clock)][age_bucket(age)] += 1.0;
        self.evicted += 1;
        self.evicted_age_sum += u64::from(age);
        if !self.departed.is_empty() {
            let (place, mark) = self.place_of(hash);
            self.departed[place] = mark | (u32::from(uses(clock)) + 1).min(USES_MAX) as u16;
        }
    }

    /// The hits to be expected of an entry for each step of time.
    #[inline]
    pub fn density(&self, clock: u32) -> f32 {
        self.density[class_of(clock)][age_bucket(age_at(self.now(), clock))]
    }

    /// How often densities were learnt: with each lesson entries are judged otherwise.
    pub fn lessons(&self) -> u64 {
        self.lessons
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        3 * size_of::<[[f32; AGES]; CLASSES]>() + self.departed.capacity() * 2
    }

    fn now(&self) -> u32 {
        self.time.load(Ordering::Relaxed) & 0xffff
    }

    /// Where one that left is remembered, and as what.
    fn place_of(&self, hash: u64) -> (usize, u16) {
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 20) as usize & (self.departed.len() - 1), (mixed >> 52) as u16 * 16)
    }

    /// Counts an access; the time.
    fn tick(&mut self, len: usize) -> u32 {
        self.accesses += 1;
        self.since_lesson += 1;
        if self.step <= self.accesses {
            self.accesses = 0;
            self.time.fetch_add(1, Ordering::Relaxed);
        }
        if LESSON_ACCESSES_MIN.max(len as u64) <= self.since_lesson {
            self.learn(len);
        }
        self.now()
    }

    #[cold]
    fn learn(&mut self, len: usize) {
        self.since_lesson = 0;
        self.lessons += 1;
        match self.evicted_age_sum.checked_div(self.evicted) {
            None => self.step = self.step.max(len as u64 / STEPS_PER_ROUND).max(1),
            Some(age) if *EVICTED_AGE.end() < age => self.step *= 2,
            Some(age) if age < *EVICTED_AGE.start() => self.step = (self.step / 2).max(1),
            Some(_) => {}
        }
        if self.evicted != 0 && (self.departed.len() < len || 4 * len < self.departed.len()) {
            self.departed = vec![0; len.next_power_of_two()];
        }
        (self.evicted, self.evicted_age_sum) = (0, 0);
        for class in 0..CLASSES {
            let (hits, evictions) = (&mut self.hits[class], &mut self.evictions[class]);
            let density = &mut self.density[class];
            let (mut hit_sum, mut event_sum, mut time_sum) = (0.0, 0.0, 0.0);
            for bucket in (0..AGES).rev() {
                hit_sum += f64::from(hits[bucket]);
                event_sum += f64::from(hits[bucket] + evictions[bucket]);
                time_sum += event_sum * (age_of(bucket + 1) - age_of(bucket));
                density[bucket] = if 1e-6 < event_sum { (hit_sum / time_sum) as f32 } else { -1.0 };
            }
            // Ages that none has reached: a little worse than the one before.
            for bucket in 0..AGES {
                if density[bucket] < 0.0 {
                    density[bucket] = if bucket == 0 { 0.1 * guess(class, 0) } else { 0.9 * density[bucket - 1] };
                }
                hits[bucket] *= DECAY;
                evictions[bucket] *= DECAY;
            }
        }
    }
}

/// A density before anything is known.
fn guess(class: usize, bucket: usize) -> f32 {
    (1 + class / REUSES) as f32 / (1.0 + age_of(bucket)) as f32
}

#[inline]
fn age_at(now: u32, clock: u32) -> u32 {
    now.wrapping_sub(clock >> 8) & 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_fall_into_buckets_that_follow_each_other() {
        let mut last = 0;
        for age in 0..=0xffffu32 {
            let bucket = age_bucket(age);
            assert!(bucket == last || bucket == last + 1, "{age}");
            assert!(age_of(bucket) <= f64::from(age) && f64::from(age) < age_of(bucket + 1));
            last = bucket;
        }
        assert!(last < AGES);
    }

    #[test]
    fn who_is_hit_soon_is_worth_more_than_who_is_never_hit() {
        const LEN: usize = 1000;
        let mut lhd = Lhd::new(VirtualTime::default());
        // Half of the entries come for nothing; the others are hit every hundred accesses.
        let mut hot = [0; 100];
        hot.iter_mut().for_each(|clock| *clock = lhd.enter(1, LEN));
        let mut cold = std::collections::VecDeque::new();
        for round in 0..50_000 {
            let at = round % hot.len();
            hot[at] = lhd.touch(hot[at], LEN);
            cold.push_back(lhd.enter(round as u64, LEN));
            if LEN < cold.len() {
                lhd.leave(cold.pop_front().expect("some"), round as u64);
            }
        }
        assert!(10 < lhd.lessons());
        let worth = |clock| lhd.density(clock);
        let coldest = cold.iter().copied().map(worth).fold(0.0, f32::max);
        assert!(hot.iter().all(|&clock| 10.0 * coldest < worth(clock)), "{coldest} {}", worth(hot[0]));
    }

    #[test]
    fn who_comes_back_is_remembered() {
        let mut lhd = Lhd::new(VirtualTime::default());
        let clock = lhd.enter(77, 100);
        assert_eq!(uses(clock), 0);
        lhd.leave(clock, 77);
        // The memory is made with the first lesson after evictions.
        for hash in 0..LESSON_ACCESSES_MIN {
            lhd.enter(1000 + hash, 100);
        }
        let clock = lhd.enter(78, 100);
        let clock = (0..3).fold(clock, |clock, _| lhd.touch(clock, 100));
        assert_eq!(uses(clock), 3);
        lhd.leave(clock, 78);
        assert_eq!(uses(lhd.enter(78, 100)), 4);
        assert_eq!(uses(lhd.enter(78, 100)), 0, "once");
        assert_eq!(lhd.memory_bytes(), 3 * 4 * AGES * CLASSES + 2 * 128);
    }

    #[test]
    fn steps_grow_until_the_evicted_are_not_too_old() {
        let mut lhd = Lhd::new(VirtualTime::default());
        const LEN: usize = 20_000;
        let mut queue = std::collections::VecDeque::new();
        for hash in 0..400_000u64 {
            queue.push_back(lhd.enter(hash, LEN));
            if LEN < queue.len() {
                lhd.leave(queue.pop_front().expect("some"), hash);
            }
        }
        assert!((16..=256).contains(&lhd.step), "{}", lhd.step);
    }
}
