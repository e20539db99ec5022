//! How many requests it is worth waiting for before a core wakes up.
//!
//! A busy core that wakes for each request by itself pays a system call and a context switch for each. When requests
//! come quickly, the next few are only microseconds away: the core asks the kernel to be woken for all of them at once.
//! When they come slowly, it never waits: the batch is then 1. Nor does it where few clients ask: each of them waits
//! for its reply before it asks again, so that soon all of them would wait for a core that waits for them.
//!
//! Measured, CPU µs per GET of a closed loop of 50, 20, 10 and 5 clients (one server core, one client core, others busy
//! beside; Valkey 8.0: 5.7, 6.1, 6.5, 7.5). Never waiting: 6.0, 6.7, 7.1, 7.9. Waiting for half of what the rate
//! promises, however few the clients: 5.1, 5.6, 6.4, 10.8. For all of it: 4.7, 5.5, –, 14. For twice as much: 4.6, 6.2,
//! –, 13. Waiting longer (100 µs) gains nothing and costs latency.

use crate::sys::ring::BATCH_US;
use quanta::Instant;

/// Most receives waited for.
const BATCH_MAX: f32 = 16.0;
/// Share of the requests expected within the longest wait that is waited for.
const PATIENCE: f32 = 1.0;
/// One request is waited for of so many clients.
const CLIENTS_PER_REQUEST: u32 = 8;
/// Receives after which it is counted anew how many clients they came from, …
const CENSUS_RECEIVES: u32 = 256;
/// … or passes.
const CENSUS_PASSES: u32 = 256;
/// Weight of the newest pass in the averages.
const NEWEST: f32 = 1.0 / 16.0;

/// The recent rate of receives, as exponential averages per pass.
#[derive(Debug, Default)]
pub struct Pace {
    receives: f32,
    microseconds: f32,
    last: Option<Instant>,
    /// Clients that asked, as counted last, and as far as they are counted now.
    clients: u32,
    counted_clients: u32,
    counted_receives: u32,
    counted_passes: u32,
    /// The number of the count.
    census: u32,
}

impl Pace {
    /// A client's bytes came; `seen` is what this wrote there before.
    #[inline]
    pub fn see(&mut self, seen: &mut u32) {
        self.counted_receives += 1;
        if *seen != self.census {
            *seen = self.census;
            self.counted_clients += 1;
        }
    }

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
        self.counted_passes += 1;
        if CENSUS_RECEIVES <= self.counted_receives || CENSUS_PASSES <= self.counted_passes {
            self.clients = self.counted_clients;
            (self.counted_clients, self.counted_receives, self.counted_passes) = (0, 0, 0);
            self.census = self.census.wrapping_add(1);
        }
    }

    /// How many receives to wait for: 1 unless more are likely within the longest wait.
    #[inline]
    pub fn batch(&self) -> usize {
        let expected = self.receives / self.microseconds.max(1.0) * BATCH_US as f32 * PATIENCE;
        let likely = (self.clients / CLIENTS_PER_REQUEST).max(1) as usize;
        likely.min(expected.round().clamp(1.0, BATCH_MAX) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quanta::{Clock, Mock};
    use std::sync::Arc;
    use std::time::Duration;

    fn pace_of(receives: u32, interval_us: u64) -> usize {
        pace_with(1000, receives, interval_us)
    }

    fn pace_with(clients: usize, receives: u32, interval_us: u64) -> usize {
        let mut seen = vec![u32::MAX; clients];
        let mut next = 0;
        let (clock, mock): (Clock, Arc<Mock>) = Clock::mock();
        let mut pace = Pace::default();
        for _ in 0..600 {
            mock.increment(Duration::from_micros(interval_us));
            for _ in 0..receives {
                pace.see(&mut seen[next % clients]);
                next += 1;
            }
            pace.note(receives, clock.now());
        }
        pace.batch()
    }

    #[test]
    fn only_quick_requests_are_waited_for() {
        assert_eq!(pace_of(0, 100), 1);
        assert_eq!(pace_of(1, 60), 1, "one client that waits for each reply is served at once");
        assert_eq!(pace_of(1, 10), 5);
        assert_eq!(pace_of(5, 50), 5);
        assert_eq!(pace_of(200, 50), 16);
        assert_eq!(pace_of(1, 1_000_000), 1);
    }

    #[test]
    fn few_clients_are_not_waited_for() {
        for (clients, batch) in [(1, 1), (5, 1), (15, 1), (16, 2), (50, 6), (100, 12), (200, 16)] {
            assert_eq!(pace_with(clients, 20, 50), batch, "{clients} clients");
        }
    }
}
