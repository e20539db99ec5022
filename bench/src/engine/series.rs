//! A run over time: for each interval how many replies came, and how long requests planned in it took.
//!
//! Latencies stand where a request was planned, not where it was answered: a stall then shows as the ramp that users
//! met, not as a gap and a spike. A run that lasts longer than expected gets fewer, longer intervals.

use hdrhistogram::Histogram;

/// The most intervals that are kept; beyond, two become one.
pub const INTERVALS_MAX: usize = 720;

/// One interval.
#[derive(Debug, Clone)]
pub struct Interval {
    /// Replies that came in it.
    pub answered: u64,
    /// Nanoseconds of those planned (in a closed loop: sent) in it, to two digits.
    pub latency: Histogram<u32>,
}

impl Default for Interval {
    fn default() -> Interval {
        let latency = Histogram::new_with_bounds(1_000, super::record::LATENCY_NS_MAX, 2).expect("valid bounds");
        Interval { answered: 0, latency }
    }
}

/// Intervals from the begin of the measured time on.
#[derive(Debug, Clone)]
pub struct Series {
    interval_ns: u64,
    intervals: Vec<Interval>,
}

impl Series {
    /// Empty, with intervals of this length at first.
    pub fn new(interval_ns: u64) -> Series {
        assert!(0 < interval_ns);
        Series { interval_ns, intervals: Vec::new() }
    }

    /// Nanoseconds of an interval.
    pub fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// The intervals so far, the first first.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// Counts a reply that came `at_ns` after the begin.
    pub fn note_reply(&mut self, at_ns: u64) {
        self.at(at_ns).answered += 1;
    }

    /// Records the latency of a request planned `at_ns` after the begin.
    pub fn note_latency(&mut self, at_ns: u64, latency_ns: u64) {
        self.at(at_ns).latency.saturating_record(latency_ns);
    }

    fn at(&mut self, at_ns: u64) -> &mut Interval {
        while INTERVALS_MAX as u64 <= at_ns / self.interval_ns {
            self.halve();
        }
        let index = (at_ns / self.interval_ns) as usize;
        if self.intervals.len() <= index {
            self.intervals.resize_with(index + 1, Interval::default);
        }
        &mut self.intervals[index]
    }

    /// Makes one interval of two.
    fn halve(&mut self) {
        self.interval_ns *= 2;
        let mut odd = false;
        let mut halved: Vec<Interval> = Vec::new();
        for interval in self.intervals.drain(..) {
            if odd {
                let last = halved.last_mut().expect("an even one came before");
                last.answered += interval.answered;
                last.latency.add(&interval.latency).expect("same bounds");
            } else {
                halved.push(interval);
            }
            odd = !odd;
        }
        self.intervals = halved;
    }

    /// Adds those of another thread, which began at the same time with the same interval.
    pub fn add(&mut self, other: &Series) {
        let mut other = other.clone();
        while self.interval_ns < other.interval_ns {
            self.halve();
        }
        while other.interval_ns < self.interval_ns {
            other.halve();
        }
        if self.intervals.len() < other.intervals.len() {
            self.intervals.resize_with(other.intervals.len(), Interval::default);
        }
        for (ours, theirs) in self.intervals.iter_mut().zip(&other.intervals) {
            ours.answered += theirs.answered;
            ours.latency.add(&theirs.latency).expect("same bounds");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_have_longer_intervals_and_lose_nothing() {
        let mut series = Series::new(10);
        for at in 0..100_000 {
            series.note_reply(at);
            series.note_latency(at, at + 5_000);
        }
        assert_eq!(series.interval_ns(), 160);
        assert_eq!(series.intervals().len(), 625);
        assert!(series.intervals().iter().all(|one| one.answered == 160 && one.latency.len() == 160));

        let mut short = Series::new(10);
        short.note_reply(170);
        short.add(&series);
        assert_eq!((short.interval_ns(), short.intervals()[1].answered), (160, 161));
        series.add(&Series::new(10));
        assert_eq!(series.intervals().iter().map(|one| one.answered).sum::<u64>(), 100_000);
    }
}
