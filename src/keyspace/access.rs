//! The access clock: 24 bits an entry, from which `OBJECT IDLETIME`, `OBJECT FREQ` and eviction judge it.
//!
//! Not here: who is evicted.
//!
//! ```text
//! LRU   23                                   0      LFU   23                    8 7            0
//!      ┌──────────────────────────────────────┐          ┌───────────────────────┬──────────────┐
//!      │ second of the last access mod 2^24   │          │ minute mod 2^16       │ log counter  │
//!      └──────────────────────────────────────┘          └───────────────────────┴──────────────┘
//!       turns around after 194 days                       of the last decay: after 45 days
//! ```
//!
//! The numbers and the arithmetic are Redis' (evict.c), since clients compare them and tune the two LFU directives by
//! what Redis' documentation says about them. As there, switching between the policies leaves clocks of the other kind
//! behind, which mean nothing until the keys are touched again.

use super::entry::CLOCK_MODULUS;

/// Where the counter of a new key starts, so that it is not evicted before it had a chance.
pub const LFU_COUNTER_NEW: u8 = 5;

/// What the access clock counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessPolicy {
    /// When the key was used last.
    #[default]
    Lru,
    /// When the key was changed last: the clock of LRU, which reads leave alone.
    Lrm,
    /// What [`super::lhd`] knows of the key.
    Lhd,
    /// How often the key was used of late.
    Lfu {
        /// `lfu-log-factor`: how slowly the counter fills.
        log_factor: u32,
        /// `lfu-decay-time` in minutes: how long one count lasts; 0: for ever.
        decay_minutes: u32,
    },
}

impl AccessPolicy {
    /// The clock of a key made now. Not for LHD.
    pub fn new_clock(self, now_ms: u64) -> u32 {
        match self {
            AccessPolicy::Lhd => panic!("its clocks are made by what it knows"),
            AccessPolicy::Lru | AccessPolicy::Lrm => seconds(now_ms),
            AccessPolicy::Lfu { .. } => minutes(now_ms) << 8 | u32::from(LFU_COUNTER_NEW),
        }
    }

    /// The clock of a key used now. `random` is uniform over all values. Not for LHD.
    pub fn touched_clock(self, clock: u32, now_ms: u64, random: impl FnOnce() -> u64) -> u32 {
        match self {
            AccessPolicy::Lhd => panic!("its clocks are made by what it knows"),
            AccessPolicy::Lru | AccessPolicy::Lrm => seconds(now_ms),
            AccessPolicy::Lfu { log_factor, .. } => {
                let counter = self.frequency(clock, now_ms);
                let above_new = counter.saturating_sub(LFU_COUNTER_NEW);
                let chance = 1.0 / (f64::from(above_new) * f64::from(log_factor) + 1.0);
                // 53 random bits are a uniform number in [0, 1).
                let counts = (random() >> 11) as f64 / (1u64 << 53) as f64 <= chance;
                minutes(now_ms) << 8 | u32::from(counter.saturating_add(u8::from(counts)))
            }
        }
    }

    /// The LRU clock of a key that was not used for so many seconds, as Redis computes it: what is more than the clock
    /// can say wraps around.
    pub fn idle_clock(self, now_ms: u64, idle_seconds: i64) -> u32 {
        let idle_seconds = idle_seconds.wrapping_mul(1000) / 1000;
        let clock = i64::from(seconds(now_ms)).wrapping_sub(idle_seconds);
        let clock = if clock < 0 { clock + i64::from(CLOCK_MODULUS - 1) } else { clock };
        clock as u32 % CLOCK_MODULUS
    }

    /// The LFU clock of a key whose counter is known.
    pub fn frequency_clock(self, now_ms: u64, counter: u8) -> u32 {
        minutes(now_ms) << 8 | u32::from(counter)
    }

    /// Minutes since the last access. Only for LFU clocks.
    pub fn idle_minutes(self, clock: u32, now_ms: u64) -> u32 {
        // As in Redis, a turn of the clock counts one minute less than it is.
        let (now, then) = (minutes(now_ms), clock >> 8);
        if then <= now { now - then } else { 0xffff - then + now }
    }

    /// The logarithmic counter, less what has decayed since it was written. Only for LFU clocks.
    pub fn frequency(self, clock: u32, now_ms: u64) -> u8 {
        let counter = clock as u8;
        let AccessPolicy::Lfu { decay_minutes, .. } = self else { return counter };
        match self.idle_minutes(clock, now_ms).checked_div(decay_minutes) {
            Some(periods) => counter.saturating_sub(u8::try_from(periods).unwrap_or(u8::MAX)),
            None => counter,
        }
    }
}

/// Seconds since the last access. Only for LRU clocks.
pub fn idle_seconds(clock: u32, now_ms: u64) -> u64 {
    let now = seconds(now_ms);
    // As in Redis, a turn of the clock counts one second less than it is.
    u64::from(if clock <= now { now - clock } else { now + (CLOCK_MODULUS - 1 - clock) })
}

fn seconds(now_ms: u64) -> u32 {
    (now_ms / 1000 % u64::from(CLOCK_MODULUS)) as u32
}

fn minutes(now_ms: u64) -> u32 {
    (now_ms / 60_000 % (1 << 16)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    fn lfu(log_factor: u32, decay_minutes: u32) -> AccessPolicy {
        AccessPolicy::Lfu { log_factor, decay_minutes }
    }

    #[test]
    fn idle_time_counts_seconds_over_the_turn_of_the_clock() {
        let now_ms = 1_700_000_000_999;
        let clock = AccessPolicy::Lru.new_clock(now_ms);
        assert_eq!(idle_seconds(clock, now_ms), 0);
        assert_eq!(idle_seconds(clock, now_ms + 10_000), 10);
        let turn_ms = u64::from(CLOCK_MODULUS) * 1000;
        assert_eq!(idle_seconds(clock, now_ms + turn_ms), 0);
        let before_turn_ms = 4 * turn_ms - 5_000;
        assert_eq!(idle_seconds(AccessPolicy::Lru.new_clock(before_turn_ms), before_turn_ms + 8_000), 7);
    }

    #[test]
    fn a_frequency_decays_by_one_each_period() {
        let now_ms = 1_700_000_040_000;
        let clock = lfu(10, 1).new_clock(now_ms);
        assert_eq!(lfu(10, 1).frequency(clock, now_ms), 5);
        assert_eq!(lfu(10, 1).frequency(clock, now_ms + 3 * MINUTE_MS), 2);
        assert_eq!(lfu(10, 2).frequency(clock, now_ms + 3 * MINUTE_MS), 4);
        assert_eq!(lfu(10, 1).frequency(clock, now_ms + 300 * MINUTE_MS), 0);
        assert_eq!(lfu(10, 0).frequency(clock, now_ms + 300 * MINUTE_MS), 5);
    }

    #[test]
    fn a_frequency_grows_like_a_logarithm() {
        // The table in redis.conf for lfu-log-factor 10: 100 hits 10, 1000 hits 18, 100k hits 142; for factor 0
        // every hit counts.
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state ^ state >> 32
        };
        let mut counter_after = |hits: u32, log_factor: u32| {
            let policy = lfu(log_factor, 1);
            let clock = (0..hits).fold(policy.new_clock(0), |clock, _| policy.touched_clock(clock, 0, &mut random));
            policy.frequency(clock, 0)
        };
        assert_eq!(counter_after(7, 0), 12);
        assert_eq!(counter_after(1000, 0), 255);
        assert!((7..=14).contains(&counter_after(100, 10)));
        assert!((14..=23).contains(&counter_after(1_000, 10)));
        assert!((125..=160).contains(&counter_after(100_000, 10)));
    }
}
