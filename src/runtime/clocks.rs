//! The two clocks of a core. Deadlines of keys follow the wall clock, as in Redis, whichever way it is set; what the
//! server does by itself (rates, timeouts, looking after its clients) follows one that only goes forward.
//!
//! Not here: reading them, which the caller does once a pass.

/// A difference between the clocks that is no drift: somebody set the wall clock.
const STEP_MS_MIN: u64 = 1000;

/// What the clocks said last.
#[derive(Debug, Default)]
pub struct Clocks {
    wall_ms: u64,
    steady_ms: u64,
}

impl Clocks {
    /// Notes a reading of both, in milliseconds: since 1970, and since some moment. Returns by how much the wall clock
    /// was set since the last reading, if it was.
    #[inline]
    pub fn note(&mut self, wall_ms: u64, steady_ms: u64) -> Option<i64> {
        let last = std::mem::replace(self, Clocks { wall_ms, steady_ms });
        let step_ms = (wall_ms as i64 - last.wall_ms as i64) - (steady_ms as i64 - last.steady_ms as i64);
        (STEP_MS_MIN <= step_ms.unsigned_abs() && last.wall_ms != 0).then_some(step_ms)
    }

    /// What the steady clock said last.
    #[inline]
    pub fn steady_ms(&self) -> u64 {
        self.steady_ms
    }
}

/// A time noted by the wall clock before it was set, as the new setting would have said it.
pub fn moved(unix_ms: u64, step_ms: i64) -> u64 {
    unix_ms.saturating_add_signed(step_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_drifts() {
        let mut clocks = Clocks::default();
        assert_eq!(clocks.note(1_700_000_000_000, 5), None, "the first reading is no step");
        assert_eq!(clocks.note(1_700_000_100_400, 100_005), None, "drift, or seconds asleep");
        assert_eq!(clocks.note(1_700_000_000_400, 100_005), Some(-100_000));
        assert_eq!(clocks.note(1_700_000_000_500, 100_105), None, "told once");
        assert_eq!(clocks.note(1_800_000_000_600, 100_205), Some(100_000_000_000));
        assert_eq!(clocks.steady_ms(), 100_205);
        assert_eq!((moved(7, -9), moved(7, 9)), (0, 16));
    }
}
