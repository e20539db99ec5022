//! How many requests it is worth waiting for before a core wakes up.
//!
//! A busy core that wakes for each request by itself pays a system call and a context switch for each. When requests
//! come quickly, the next few are only microseconds away: the core can ask the kernel to be woken for all of them at
//! once. When they come slowly, it never waits: the batch is then 1. Nor does it where few clients ask: each of them
//! waits for its reply before it asks again, so that soon all of them would wait for a core that waits for them.
//!
//! Waiting costs latency, and a timer, which is dear where a hypervisor has to be asked for each. So a core waits only
//! where that has been seen to save CPU time: one that is busy tries both by turns now and then, and keeps to what was
//! cheaper. One that sleeps for half of the time answers at once.
//!
//! ```text
//!   asleep for half of the time ──▶ at once
//!   busy ──▶ by turns: wait, at once, wait … ──▶ wait, if that was cheaper by a twentieth; at once otherwise
//!                      ▲                                       │
//!                      └─ 0.25 s later, then 0.5 s, … 8 s ◀────┘ while it ends alike
//! ```
//! Measured, CPU µs per GET of a closed loop of 50, 20, 10 and 5 clients on an Intel processor (one server core, one
//! client core, others busy beside; Valkey 8.0: 5.7, 6.1, 6.5, 7.5). Never waiting: 6.0, 6.7, 7.1, 7.9. Waiting for
//! half of what the rate promises, however few the clients: 5.1, 5.6, 6.4, 10.8. For all of it: 4.7, 5.5, –, 14. For
//! twice as much: 4.6, 6.2, –, 13. Waiting longer (100 µs) gains nothing and costs latency. On a virtual machine of an
//! AMD processor waiting costs 3 % (50 clients) and 6 % (200) instead, and in an open loop of 40,000, 60,000 and 90,000
//! requests a second 16, 9 and 3 %, with 83, 89 and 93 µs at p50 where answering at once takes 70, 67 and 68.

use crate::sys::ring::BATCH_US;
use quanta::Instant;
use std::time::Duration;

/// Most receives waited for.
const BATCH_MAX: f32 = 16.0;
/// Share of the requests expected within the longest wait that is waited for.
const PATIENCE: f32 = 1.0;
/// One request is waited for of so many clients.
const CLIENTS_PER_REQUEST: u32 = 8;
/// A stretch, after which it is counted anew how many clients asked and what that cost, has so many receives, …
const STRETCH_RECEIVES: u32 = 256;
/// … or passes.
const STRETCH_PASSES: u32 = 256;
/// A core whose CPU time is a smaller share of a stretch answers at once; one that waits goes on down to half of it.
const BUSY_MIN: f64 = 0.5;
/// Stretches of a trial, every other one with waiting.
const TRIAL_STRETCHES: u32 = 16;
/// Share of the CPU time that waiting has to save.
const SAVING_MIN: f64 = 0.05;
/// From the end of a trial to the next one, where it ended otherwise than the last one, …
const TRIAL_GAP_MIN: Duration = Duration::from_millis(250);
/// … and at most, twice as long after each that ended alike.
const TRIAL_GAP_MAX: Duration = Duration::from_secs(8);
/// Weight of the newest pass in the averages.
const NEWEST: f32 = 1.0 / 16.0;

/// The recent rate of receives, as exponential averages per pass, and what waiting for them is worth.
#[derive(Debug, Default)]
pub struct Pace {
    receives: f32,
    microseconds: f32,
    last: Option<Instant>,
    /// Clients that asked in the last stretch.
    clients: u32,
    stretch: Stretch,
    /// The number of the stretch.
    census: u32,
    /// More than one receive may be waited for.
    waits: bool,
    choice: Choice,
}

/// What was counted in a stretch so far.
#[derive(Debug, Default)]
struct Stretch {
    clients: u32,
    receives: u32,
    passes: u32,
    /// When it began, and the CPU time then, in nanoseconds.
    since: Option<(Instant, u64)>,
}

/// Whether waiting pays, as far as that is known.
#[derive(Debug, Default)]
struct Choice {
    /// It did in the last trial.
    pays: bool,
    /// When the next one is due, and how long after the last one that is; `None`: there was none.
    due: Option<Instant>,
    gap: Duration,
    trial: Option<Trial>,
}

/// Stretches of a trial so far, and what they cost: those without waiting, and those with it.
#[derive(Debug, Default)]
struct Trial {
    stretches: u32,
    costs: [Cost; 2],
}

#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    nanoseconds: u64,
    receives: u64,
}

impl Cost {
    fn per_receive(self) -> f64 {
        self.nanoseconds as f64 / self.receives.max(1) as f64
    }
}

impl Pace {
    /// A client's bytes came; `seen` is what this wrote there before.
    #[inline]
    pub fn see(&mut self, seen: &mut u32) {
        self.stretch.receives += 1;
        if *seen != self.census {
            *seen = self.census;
            self.stretch.clients += 1;
        }
    }

    /// A pass ended at `now` that took in so many receives. `cpu_nanoseconds`: the thread's CPU time, asked for rarely.
    #[inline]
    pub fn note(&mut self, receives: u32, now: Instant, cpu_nanoseconds: impl FnOnce() -> u64) {
        if let Some(last) = self.last {
            // An idle second must not make the core slow to notice that requests come quickly again, nor the reverse.
            let microseconds = (now.duration_since(last).as_nanos() as f32 / 1000.0).min(1000.0);
            self.receives += (receives as f32 - self.receives) * NEWEST;
            self.microseconds += (microseconds - self.microseconds) * NEWEST;
        }
        self.last = Some(now);
        self.stretch.passes += 1;
        if STRETCH_RECEIVES <= self.stretch.receives || STRETCH_PASSES <= self.stretch.passes {
            self.end_stretch(now, cpu_nanoseconds());
        }
    }

    /// How many receives to wait for: 1 unless more are likely within the longest wait, and waiting for them pays.
    #[inline]
    pub fn batch(&self) -> usize {
        if self.waits { self.likely() } else { 1 }
    }

    /// How many receives are likely within the longest wait.
    fn likely(&self) -> usize {
        let expected = self.receives / self.microseconds.max(1.0) * BATCH_US as f32 * PATIENCE;
        let likely = (self.clients / CLIENTS_PER_REQUEST).max(1) as usize;
        likely.min(expected.round().clamp(1.0, BATCH_MAX) as usize)
    }

    fn end_stretch(&mut self, now: Instant, cpu: u64) {
        let ended = std::mem::take(&mut self.stretch);
        self.stretch.since = Some((now, cpu));
        self.clients = ended.clients;
        self.census = self.census.wrapping_add(1);
        if let Some((since, cpu_before)) = ended.since {
            let cost = Cost { nanoseconds: cpu.saturating_sub(cpu_before), receives: ended.receives.into() };
            self.choose(cost, now.duration_since(since), now);
        }
    }

    /// Chooses how the next stretch is to be, after one that cost so much and took so long.
    fn choose(&mut self, cost: Cost, took: Duration, now: Instant) {
        let likely = self.likely();
        let busy_min = if self.waits { BUSY_MIN / 2.0 } else { BUSY_MIN };
        let is_busy = busy_min * took.as_nanos() as f64 <= cost.nanoseconds as f64;
        let choice = &mut self.choice;
        if !is_busy || likely == 1 {
            self.waits = false;
            if choice.trial.take().is_some() {
                choice.due = Some(now + TRIAL_GAP_MIN);
            }
            return;
        }
        let Some(trial) = &mut choice.trial else {
            let is_due = choice.due.is_none_or(|due| due <= now);
            choice.trial = is_due.then(Trial::default);
            self.waits = is_due || choice.pays;
            return;
        };
        let of_kind = &mut trial.costs[usize::from(self.waits)];
        of_kind.nanoseconds += cost.nanoseconds;
        of_kind.receives += cost.receives;
        trial.stretches += 1;
        if trial.stretches < TRIAL_STRETCHES {
            self.waits = !self.waits;
            return;
        }
        let [at_once, waiting] = trial.costs.map(Cost::per_receive);
        self.waits = waiting < (1.0 - SAVING_MIN) * at_once;
        let is_as_before = choice.due.is_some() && choice.pays == self.waits;
        let gap = if is_as_before { (2 * choice.gap).min(TRIAL_GAP_MAX) } else { TRIAL_GAP_MIN };
        *choice = Choice { pays: self.waits, due: Some(now + gap), gap, trial: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quanta::{Clock, Mock};
    use std::sync::Arc;

    /// A core that so many clients ask, so many of them in each pass, and passes so often.
    struct Load {
        clients: usize,
        receives: u32,
        interval_us: u64,
        /// Share of the time for which it is busy, if it answers at once, and if it waits.
        busy: [f64; 2],
    }

    struct Run {
        pace: Pace,
        clock: Clock,
        mock: Arc<Mock>,
        cpu: f64,
        seen: Vec<u32>,
        next: usize,
    }

    impl Run {
        fn new() -> Run {
            let (clock, mock) = Clock::mock();
            Run { pace: Pace::default(), clock, mock, cpu: 0.0, seen: vec![u32::MAX; 1000], next: 0 }
        }

        /// Goes on for so long: what is waited for at the end, and in which share of the passes more than one was.
        fn go(&mut self, load: &Load, milliseconds: u64) -> (usize, f64) {
            let passes = milliseconds * 1000 / load.interval_us;
            let mut waited = 0;
            for _ in 0..passes {
                self.mock.increment(Duration::from_micros(load.interval_us));
                for _ in 0..load.receives {
                    self.pace.see(&mut self.seen[self.next % load.clients]);
                    self.next += 1;
                }
                self.cpu += load.interval_us as f64 * 1000.0 * load.busy[usize::from(self.pace.waits)];
                waited += u64::from(self.pace.waits);
                let cpu = self.cpu as u64;
                self.pace.note(load.receives, self.clock.now(), || cpu);
            }
            (self.pace.batch(), waited as f64 / passes as f64)
        }
    }

    const PAYS: [f64; 2] = [0.9, 0.8];
    const DOES_NOT_PAY: [f64; 2] = [0.9, 0.88];

    fn batch_of(clients: usize, receives: u32, interval_us: u64) -> usize {
        Run::new().go(&Load { clients, receives, interval_us, busy: PAYS }, 200).0
    }

    #[test]
    fn only_quick_requests_are_waited_for() {
        assert_eq!(batch_of(1000, 0, 100), 1);
        assert_eq!(batch_of(1000, 1, 60), 1, "one client that waits for each reply is served at once");
        assert_eq!(batch_of(1000, 1, 10), 5);
        assert_eq!(batch_of(1000, 5, 50), 5);
        assert_eq!(batch_of(1000, 200, 50), 16);
        assert_eq!(batch_of(1000, 1, 100_000), 1);
    }

    #[test]
    fn few_clients_are_not_waited_for() {
        for (clients, batch) in [(1, 1), (5, 1), (15, 1), (16, 2), (50, 6), (100, 12), (200, 16)] {
            assert_eq!(batch_of(clients, 20, 50), batch, "{clients} clients");
        }
    }

    #[test]
    fn a_core_waits_where_that_has_been_seen_to_pay() {
        let load = |busy| Load { clients: 100, receives: 5, interval_us: 50, busy };
        let mut run = Run::new();
        assert_eq!(run.go(&load(DOES_NOT_PAY), 1000).0, 1);
        let (batch, waited) = run.go(&load(DOES_NOT_PAY), 60_000);
        assert!(batch == 1 && waited < 0.01, "{batch}, {waited}: trials become rare");
        let (batch, waited) = run.go(&load(PAYS), 60_000);
        assert!(batch == 5 && 0.85 < waited, "{batch}, {waited}: times change");
        assert_eq!(run.go(&load(DOES_NOT_PAY), 9_000).0, 1);
    }

    #[test]
    fn a_core_that_sleeps_for_half_of_the_time_answers_at_once() {
        let load = |busy| Load { clients: 100, receives: 5, interval_us: 50, busy };
        let mut run = Run::new();
        assert_eq!(run.go(&load([0.45, 0.3]), 10_000), (1, 0.0));
        assert_eq!(run.go(&load([0.55, 0.3]), 1000).0, 5);
        assert_eq!(run.go(&load([0.4, 0.2]), 100).0, 1);
    }
}
