//! When requests are due in an open loop: at a constant pace or as a Poisson process, at one rate or along a ramp.
//!
//! A schedule knows neither the server nor the clock. It is a list of moments that goes on for ever, drawn one by one;
//! whether anybody keeps them is measured by who reads it. A late server therefore never moves a planned moment.
//!
//! Both processes count in *expected arrivals* and turn the count into time by the inverse of the integrated rate, so
//! a ramp needs no case of its own: the constant pace steps by one, a Poisson process by a unit exponential.

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Process {
    /// At equal distances
    Constant,
    /// At random, independent of each other: the sum of many independent clients
    Poisson,
}

/// Requests per second over time: a line from `from` to `to` for `ramp_s` seconds, then `to`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub from_per_s: f64,
    pub to_per_s: f64,
    pub ramp_s: f64,
}

impl Rate {
    /// The same rate all the time.
    pub fn steady(per_s: f64) -> Rate {
        Rate { from_per_s: per_s, to_per_s: per_s, ramp_s: 0.0 }
    }

    /// Seconds after which `count` arrivals are expected.
    pub fn seconds_of(&self, count: f64) -> f64 {
        let of_ramp = (self.from_per_s + self.to_per_s) / 2.0 * self.ramp_s;
        if of_ramp <= count {
            return self.ramp_s + (count - of_ramp) / self.to_per_s;
        }
        if count <= 0.0 {
            return 0.0;
        }
        // The root of (to - from) / 2T · t² + from · t = count, in the form that loses no digits for small slopes.
        let slope = (self.to_per_s - self.from_per_s) / self.ramp_s;
        let discriminant = (self.from_per_s * self.from_per_s + 2.0 * slope * count).max(0.0);
        2.0 * count / (self.from_per_s + discriminant.sqrt())
    }
}

/// The arrivals of one thread: its share of those of all threads.
#[derive(Debug, Clone)]
pub struct Schedule {
    process: Process,
    rate: Rate,
    /// Threads that share the rate.
    threads: f64,
    random: fastrand::Rng,
    /// Expected arrivals of all threads until the next one of this.
    count: f64,
}

impl Schedule {
    /// The schedule of thread `index` of `threads`. `rate` is that of all threads together.
    pub fn new(process: Process, rate: Rate, index: usize, threads: usize, seed: u64) -> Schedule {
        assert!(index < threads);
        assert!(0.0 < rate.to_per_s);
        let mut schedule =
            Schedule { process, rate, threads: threads as f64, random: fastrand::Rng::with_seed(seed), count: 0.0 };
        match process {
            Process::Constant => schedule.count = index as f64,
            Process::Poisson => schedule.advance(),
        }
        schedule
    }

    /// Nanoseconds from the schedule's begin until the next arrival.
    pub fn next_ns(&self) -> u64 {
        (self.rate.seconds_of(self.count) * 1e9) as u64
    }

    /// Goes on to the arrival after it.
    pub fn advance(&mut self) {
        self.count += match self.process {
            Process::Constant => self.threads,
            // 1 - [0, 1) is never 0, so the logarithm is finite.
            Process::Poisson => -(1.0 - self.random.f64()).ln() * self.threads,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals_ns(process: Process, rate: Rate, threads: usize, until_ns: u64) -> Vec<u64> {
        let mut all = Vec::new();
        for index in 0..threads {
            let mut schedule = Schedule::new(process, rate, index, threads, 7 + index as u64);
            while schedule.next_ns() < until_ns {
                all.push(schedule.next_ns());
                schedule.advance();
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn a_constant_pace_is_even_over_all_threads() {
        for threads in [1, 3] {
            let all = arrivals_ns(Process::Constant, Rate::steady(1e6), threads, 100_000_000);
            assert_eq!(all.len(), 100_000);
            assert!(all.windows(2).all(|pair| (999..=1001).contains(&(pair[1] - pair[0]))));
        }
    }

    /// Mean and variance of the number of arrivals per millisecond, and the gaps' squared coefficient of variation.
    fn moments(all: &[u64], until_ns: u64) -> (f64, f64, f64) {
        let bins = usize::try_from(until_ns / 1_000_000).unwrap();
        let mut counts = vec![0.0f64; bins];
        for at in all {
            counts[usize::try_from(at / 1_000_000).unwrap()] += 1.0;
        }
        let mean = counts.iter().sum::<f64>() / bins as f64;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / (bins - 1) as f64;
        let gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let gap = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let gap_variance = gaps.iter().map(|g| (g - gap).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean, variance, gap_variance / (gap * gap))
    }

    #[test]
    fn a_poisson_process_has_the_rate_and_the_variance() {
        for threads in [1, 4] {
            let until_ns = 10_000_000_000;
            let all = arrivals_ns(Process::Poisson, Rate::steady(50_000.0), threads, until_ns);
            let (mean, variance, gaps) = moments(&all, until_ns);
            // 500,000 arrivals: their number has a standard deviation of 707, that of the estimates is about 1.4 %.
            assert!((mean - 50.0).abs() < 0.3, "mean {mean}");
            assert!((variance / mean - 1.0).abs() < 0.06, "index of dispersion {}", variance / mean);
            assert!((gaps - 1.0).abs() < 0.03, "exponential gaps have a coefficient of variation of 1, not {gaps}");
        }
        let even = arrivals_ns(Process::Constant, Rate::steady(50_000.0), 1, 1_000_000_000);
        assert!(moments(&even, 1_000_000_000).1 < 0.5, "a constant pace has no such variance");
    }

    #[test]
    fn a_ramp_rises_in_a_line_and_stays_on_top() {
        let rate = Rate { from_per_s: 0.0, to_per_s: 10_000.0, ramp_s: 2.0 };
        for process in [Process::Constant, Process::Poisson] {
            let all = arrivals_ns(process, rate, 2, 4_000_000_000);
            let within = |from: f64, to: f64| {
                all.iter().filter(|&&at| from * 1e9 <= at as f64 && (at as f64) < to * 1e9).count() as f64
            };
            for (from, to, expected) in [(0.0, 1.0, 2_500.0), (1.0, 2.0, 7_500.0), (2.0, 4.0, 20_000.0)] {
                let got = within(from, to);
                assert!((got - expected).abs() < 5.0 * f64::sqrt(expected), "{process:?} {from}-{to}: {got}");
            }
        }
        let down = Rate { from_per_s: 100.0, to_per_s: 50.0, ramp_s: 2.0 };
        assert!((down.seconds_of(150.0) - 2.0).abs() < 1e-9);
        assert!((down.seconds_of(200.0) - 3.0).abs() < 1e-9);
    }
}
