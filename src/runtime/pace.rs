//! How many requests it is worth waiting for before a core wakes up.
//!
//! A busy core that wakes for each request by itself pays a system call and a context switch for each. When requests
//! come quickly, the next few are only microseconds away: the core asks the kernel to be woken for all of them at once.
//! When they come slowly, it never waits: the batch is then 1.

use crate::sys::ring::BATCH_US;
use quanta::Instant;

/// Most receives waited for.
const BATCH_MAX: f32 = 16.0;
/// Share of the requests expected within the longest wait that is waited for, so that the wait mostly ends early.
const PATIENCE: f32 = 0.5;
/// Weight of the newest pass in the averages.
const NEWEST: f32 = 1.0 / 16.0;

/// The recent rate of receives, as exponential averages per pass.
#[derive(Debug, Default)]
pub struct Pace {
    receives: f32,
    microseconds: f32,
    last: Option<Instant>,
}

impl Pace {
    /// A pass ended at `now` that took in so many receives.
    #[inline]
    pub fn note(&mut self, receives: u32, now: Instant) {
        if let Some(last) = self.last {
            // An idle second must not make the core slow to notice that requests come quickly again, nor the reverse.
            let microseconds = (now.duration_since(last).as_nanos() as f32 / 1000.0).min(1000.0);
            self.receives += (receives as f32 - self.receives) * NEWEST;
            self.microseconds += (microseconds - self.microseconds) * NEWEST;
        }
        self.last = Some(now);
    }

    /// How many receives to wait for: 1 unless more are likely within the longest wait.
    #[inline]
    pub fn batch(&self) -> usize {
        let expected = self.receives / self.microseconds.max(1.0) * BATCH_US as f32 * PATIENCE;
        expected.clamp(1.0, BATCH_MAX) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quanta::{Clock, Mock};
    use std::sync::Arc;
    use std::time::Duration;

    fn pace_of(receives: u32, interval_us: u64) -> usize {
        let (clock, mock): (Clock, Arc<Mock>) = Clock::mock();
        let mut pace = Pace::default();
        for _ in 0..200 {
            mock.increment(Duration::from_micros(interval_us));
            pace.note(receives, clock.now());
        }
        pace.batch()
    }

    #[test]
    fn only_quick_requests_are_waited_for() {
        assert_eq!(pace_of(0, 100), 1);
        assert_eq!(pace_of(1, 30), 1, "one client that waits for each reply is served at once");
        assert_eq!(pace_of(1, 5), 5);
        assert_eq!(pace_of(10, 50), 5);
        assert_eq!(pace_of(200, 50), 16);
        assert_eq!(pace_of(1, 1_000_000), 1);
    }
}
