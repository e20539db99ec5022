//! The access clock: 24 bits an entry, from which `OBJECT IDLETIME`, `OBJECT FREQ` and eviction judge it.
//!
//! Not here: who is evicted.
//!
//! ```text
//! LRU   23   22                              0      LFU   23                    8 7            0
//!      ┌────┬─────────────────────────────────┐          ┌───────────────────────┬──────────────┐
//! fresh│ 1  │ millisecond mod 2^23: 2.3 hours │          │ minute mod 2^16       │ log counter  │
//!      ├────┼─────────────────────────────────┤          └───────────────────────┴──────────────┘
//! old  │ 0  │ pair of seconds: 194 days       │           of the last decay: turns around after 45 days
//!      └────┴─────────────────────────────────┘
//!       of the last access
//! ```
//!
//! Redis counts seconds in its 24 bits of LRU. Where a cache turns over within some of them, nearly all entries are as
//! old as each other by that clock, and who goes is a matter of luck. Hence milliseconds, and before they turn around
//! [`Keyspace::age_clocks`](super::Keyspace::age_clocks) writes the clocks of what was not used meanwhile in pairs of
//! seconds, which are exact enough for what is that old. An access is only noted where it makes a difference
//! ([`AccessPolicy::touched_clock`]), so that reads seldom write.
//!
//! LFU's numbers and arithmetic are Redis' (evict.c), since its users tune the two directives by what Redis'
//! documentation says about them. As there, switching between the policies leaves clocks of the other kind behind,
//! which mean nothing until the keys are touched again.

/// Set in an LRU clock that counts milliseconds.
const FRESH: u32 = 1 << 23;
/// What both kinds of LRU clocks count modulo 2^23.
const COUNT_MASK: u64 = (1 << 23) - 1;
/// What an old LRU clock counts, in ms.
const OLD_UNIT_MS: u64 = 2000;
/// A fresh clock of this age is old from now on, in ms.
pub const FRESH_MS_MAX: u64 = 20 * 60 * 1000;
/// How often clocks are looked through for those, in ms. Twice this and [`FRESH_MS_MAX`] are less than half a turn of
/// the clock, so that what seems older than half a turn is of the future: the time was put back.
pub const AGING_PERIOD_MS: u64 = 15 * 60 * 1000;
const _: () = assert!(FRESH_MS_MAX + 2 * AGING_PERIOD_MS < COUNT_MASK / 2);

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
            AccessPolicy::Lru | AccessPolicy::Lrm => fresh_clock(now_ms),
            AccessPolicy::Lfu { .. } => minutes(now_ms) << 8 | u32::from(LFU_COUNTER_NEW),
        }
    }

    /// The clock of a key used now. `random` is uniform over all values. An LRU clock stays as it is if it is not
    /// behind by more than `slack_ms`. Not for LHD.
    #[inline]
    pub fn touched_clock(self, clock: u32, now_ms: u64, slack_ms: u64, random: impl FnOnce() -> u64) -> u32 {
        match self {
            AccessPolicy::Lhd => panic!("its clocks are made by what it knows"),
            AccessPolicy::Lru | AccessPolicy::Lrm => {
                let touched = fresh_clock(now_ms);
                let is_recent = clock & FRESH != 0 && u64::from(touched.wrapping_sub(clock)) <= slack_ms;
                if is_recent { clock } else { touched }
            }
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

    /// The LRU clock of a key that was not used for so many seconds: what is more than 194 days wraps around.
    pub fn idle_clock(self, now_ms: u64, idle_seconds: i64) -> u32 {
        let idle_ms = idle_seconds.wrapping_mul(1000);
        if idle_ms < 0 {
            // As Redis has what goes beyond its arithmetics: as long ago as can be.
            return (now_ms / OLD_UNIT_MS).wrapping_sub(COUNT_MASK) as u32 & COUNT_MASK as u32;
        }
        let then_ms = (now_ms as i64).wrapping_sub(idle_ms);
        if (0..FRESH_MS_MAX as i64).contains(&idle_ms) {
            return fresh_clock(then_ms as u64);
        }
        then_ms.div_euclid(OLD_UNIT_MS as i64) as u32 & COUNT_MASK as u32
    }

    /// The LFU clock of a key whose counter is known.
    pub fn frequency_clock(self, now_ms: u64, counter: u8) -> u32 {
        minutes(now_ms) << 8 | u32::from(counter)
    }

    /// The clock of a key of which somebody says how long it was not used, or how often it was. `None`: that says
    /// nothing to this policy, and the key counts as new.
    pub fn told_clock(self, now_ms: u64, idle_seconds: Option<i64>, frequency: Option<u8>) -> Option<u32> {
        match self {
            AccessPolicy::Lru | AccessPolicy::Lrm => idle_seconds.map(|seconds| self.idle_clock(now_ms, seconds)),
            AccessPolicy::Lfu { .. } => frequency.map(|counter| self.frequency_clock(now_ms, counter)),
            AccessPolicy::Lhd => None,
        }
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

/// Milliseconds since the last access; those of what is old are some too many. Only for LRU clocks.
#[inline]
pub fn idle_ms(clock: u32, now_ms: u64) -> u64 {
    if clock & FRESH != 0 {
        let age_ms = now_ms.wrapping_sub(u64::from(clock)) & COUNT_MASK;
        return if age_ms <= COUNT_MASK / 2 { age_ms } else { 0 };
    }
    let age = (now_ms / OLD_UNIT_MS).wrapping_sub(u64::from(clock)) & COUNT_MASK;
    age * OLD_UNIT_MS + now_ms % OLD_UNIT_MS
}

/// The same clock in the other count, if it is fresh and no longer young.
pub fn aged_clock(clock: u32, now_ms: u64) -> Option<u32> {
    let idle_ms = idle_ms(clock, now_ms);
    let is_due = clock & FRESH != 0 && FRESH_MS_MAX <= idle_ms;
    is_due.then(|| ((now_ms.saturating_sub(idle_ms) / OLD_UNIT_MS) & COUNT_MASK) as u32)
}

#[inline]
fn fresh_clock(now_ms: u64) -> u32 {
    FRESH | (now_ms & COUNT_MASK) as u32
}

fn minutes(now_ms: u64) -> u32 {
    (now_ms / 60_000 % (1 << 16)) as u32
}

#[cfg(test)]
mod tests {
    use super::super::entry::CLOCK_MODULUS;
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    fn lfu(log_factor: u32, decay_minutes: u32) -> AccessPolicy {
        AccessPolicy::Lfu { log_factor, decay_minutes }
    }

    #[test]
    fn a_fresh_clock_is_exact_over_its_turn_and_of_the_future_where_time_went_back() {
        for now_ms in [1_700_000_000_999, COUNT_MASK, 3 * (COUNT_MASK + 1) - 1] {
            let clock = AccessPolicy::Lru.new_clock(now_ms);
            for age_ms in [0, 1, 999, 60_000, FRESH_MS_MAX + 2 * AGING_PERIOD_MS] {
                assert_eq!(idle_ms(clock, now_ms + age_ms), age_ms);
            }
            assert_eq!(idle_ms(clock, now_ms - 60_000), 0);
        }
    }

    #[test]
    fn what_is_old_is_known_to_two_seconds_for_half_a_year() {
        let then_ms = 1_700_000_001_234;
        let fresh = AccessPolicy::Lru.new_clock(then_ms);
        assert_eq!(aged_clock(fresh, then_ms + FRESH_MS_MAX - 1), None);
        let old = aged_clock(fresh, then_ms + FRESH_MS_MAX).expect("it is due");
        assert_eq!(aged_clock(old, then_ms + 2 * FRESH_MS_MAX), None);
        for age_ms in [FRESH_MS_MAX, 7_777_777, 190 * 24 * 60 * MINUTE_MS] {
            let idle_ms = idle_ms(old, then_ms + age_ms);
            assert!((age_ms..age_ms + OLD_UNIT_MS).contains(&idle_ms), "{age_ms}: {idle_ms}");
        }
    }

    #[test]
    fn an_idle_time_beyond_all_is_the_longest() {
        let now_ms = 1_700_000_000_000;
        let clock = AccessPolicy::Lru.idle_clock(now_ms, i64::MAX);
        assert_eq!(idle_ms(clock, now_ms) / 1000, 16_777_214);
    }

    #[test]
    fn an_idle_time_is_read_as_it_was_given() {
        let now_ms = 1_700_000_001_234;
        for idle_seconds in [0, 1, 1000, 1199, 1200, 100_000, 16_000_000] {
            let clock = AccessPolicy::Lru.idle_clock(now_ms, idle_seconds);
            let read = idle_ms(clock, now_ms) / 1000;
            assert!((idle_seconds as u64..idle_seconds as u64 + 2).contains(&read), "{idle_seconds}: {read}");
        }
        for idle_seconds in [i64::MAX, i64::MAX / 1000, i64::MIN, -1] {
            assert!(AccessPolicy::Lru.idle_clock(now_ms, idle_seconds) < CLOCK_MODULUS);
        }
    }

    #[test]
    fn an_access_is_noted_where_it_makes_a_difference() {
        let now_ms = 1_700_000_000_000;
        let clock = AccessPolicy::Lru.new_clock(now_ms);
        let touched = |clock, now_ms, slack_ms| AccessPolicy::Lru.touched_clock(clock, now_ms, slack_ms, || 0);
        assert_eq!(touched(clock, now_ms + 8, 8), clock);
        assert_eq!(touched(clock, now_ms + 9, 8), AccessPolicy::Lru.new_clock(now_ms + 9));
        let old = AccessPolicy::Lru.idle_clock(now_ms, 5000);
        assert_eq!(touched(old, now_ms, 500), clock);
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
            let clock = (0..hits).fold(policy.new_clock(0), |clock, _| policy.touched_clock(clock, 0, 0, &mut random));
            policy.frequency(clock, 0)
        };
        assert_eq!(counter_after(7, 0), 12);
        assert_eq!(counter_after(1000, 0), 255);
        assert!((7..=14).contains(&counter_after(100, 10)));
        assert!((14..=23).contains(&counter_after(1_000, 10)));
        assert!((125..=160).contains(&counter_after(100_000, 10)));
    }
}
