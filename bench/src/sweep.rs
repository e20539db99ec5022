//! A load at rising rates: where does the server stop keeping up, and what does it cost before?

use crate::arrival::{Process, Rate};
use crate::console::complain;
use crate::engine::plan::{Extent, Pace};
use crate::report::model::{Run, Sweep};
use crate::report::number::{grouped, rate, short, time};
use crate::session::{Ask, Measured, Session};
use std::sync::atomic::Ordering;

/// A rate is held if at most this share of its requests stays without an answer in time.
pub const LEFT_SHARE_MAX: f64 = 0.01;
/// Without a limit of its own: p99 may be so many times that of the lowest rate.
pub const P99_FACTOR: f64 = 10.0;
/// After so many rates in a row that were not held, higher ones are not tried.
pub const NOT_HELD_MAX: usize = 2;

/// What is swept.
pub struct SweepPlan<'a> {
    pub server: &'a str,
    pub pid: Option<&'a str>,
    /// Rising.
    pub rates: Vec<f64>,
    /// Percentages of the peak, if no rates are given.
    pub of_peak: Vec<f64>,
    pub process: Process,
    pub p99_max_us: Option<f64>,
    pub warmup_s: f64,
    pub duration_s: f64,
}

/// What came of a sweep: also of one that was given up.
pub struct Swept {
    pub runs: Vec<Run>,
    pub sweep: Sweep,
    pub failure: Option<String>,
    pub is_clean: bool,
}

/// Sweeps. An error means that there is nothing to tell.
pub fn sweep(session: &Session, plan: &SweepPlan) -> Result<Swept, String> {
    let mut swept = Swept { runs: Vec::new(), sweep: Sweep::default(), failure: None, is_clean: true };
    let extent = Extent::TimeNs((plan.duration_s * 1e9) as u64);
    let ask = |name: String, pace: Pace| Ask {
        name,
        server: plan.server,
        pid: plan.pid,
        pace,
        warmup_s: plan.warmup_s,
        extent,
    };
    let mut rates = plan.rates.clone();
    if rates.is_empty() {
        let measured = session.measure(&ask("closed loop".into(), Pace::Closed))?;
        let peak = measured.run.achieved_per_s.filter(|peak| 0.0 < *peak).ok_or("the closed loop got no answer")?;
        if let Some(failure) = measured.failure {
            return Err(failure);
        }
        swept.sweep.peak_per_s = Some(peak);
        rates = plan.of_peak.iter().map(|percent| peak * percent / 100.0).collect();
    }
    rates.retain(|rate| 0.0 < *rate);
    rates.sort_by(f64::total_cmp);
    let mut judge = Judge::new(plan.p99_max_us);
    for offered in rates {
        if session.interrupted.load(Ordering::Relaxed) || judge.has_seen_enough() {
            break;
        }
        let measured: Measured = match session
            .measure(&ask(format!("{}/s", short(offered)), Pace::Open(plan.process, Rate::steady(offered))))
        {
            Ok(measured) => measured,
            Err(error) if swept.runs.is_empty() => return Err(error),
            Err(error) => {
                swept.failure = Some(error);
                break;
            }
        };
        if !session.is_quiet {
            let all = &measured.run.rows[0].latency;
            let at = |percentile| all.at(percentile).map_or("–".into(), time);
            complain(format_args!(
                "{}: {}/s  p50 {}  p99 {}\n",
                measured.run.name,
                rate(measured.run.achieved_per_s.unwrap_or(0.0)),
                at(50.0),
                at(99.0)
            ));
        }
        // Beyond the knee requests are left over: that is what a sweep looks for, no fault of the run.
        swept.is_clean &= measured.run.counts.is_some_and(|counts| counts.error_replies == 0 && counts.lost == 0);
        // What was cut short says nothing of its rate: it is told among the runs, and is no step.
        if !measured.is_interrupted {
            judge.judge(&measured.run);
            swept.sweep.steps.push(swept.runs.len());
        }
        swept.runs.push(measured.run);
        if let Some(failure) = measured.failure {
            swept.failure = Some(failure);
            break;
        }
    }
    swept.sweep.knee_per_s = judge.knee_per_s;
    let is_interrupted = session.interrupted.load(Ordering::Relaxed);
    let else_reason = if is_interrupted { "interrupted before the end" } else { "every rate was held" };
    swept.sweep.knee_reason = judge.reason.unwrap_or_else(|| else_reason.into());
    Ok(swept)
}

/// Decides which rates were held. The knee is the highest rate below the first that was not.
struct Judge {
    p99_max_us: Option<f64>,
    knee_per_s: Option<f64>,
    reason: Option<String>,
    not_held: usize,
}

impl Judge {
    fn new(p99_max_us: Option<f64>) -> Judge {
        Judge { p99_max_us, knee_per_s: None, reason: None, not_held: 0 }
    }

    fn has_seen_enough(&self) -> bool {
        NOT_HELD_MAX <= self.not_held
    }

    fn judge(&mut self, run: &Run) {
        let offered = run.offered_per_s.expect("a sweep is an open loop");
        let counts = run.counts.unwrap_or_default();
        let p99_us = run.rows.first().and_then(|all| all.latency.at(99.0)).unwrap_or(f64::INFINITY);
        let left = (counts.unsent + counts.unanswered + counts.lost) as f64 / counts.planned.max(1) as f64;
        let limit_us = *self.p99_max_us.get_or_insert(P99_FACTOR * p99_us);
        let why = if LEFT_SHARE_MAX < left {
            let closed = match counts.connections_closed {
                0 => String::new(),
                closed => format!(", and the server closed {} connections", grouped(closed)),
            };
            Some(format!("at {}/s {:.1} % of the requests were left over{closed}", short(offered), 100.0 * left))
        } else if limit_us < p99_us {
            Some(format!("at {}/s p99 was {}, more than {}", short(offered), time(p99_us), time(limit_us)))
        } else {
            None
        };
        match why {
            None => self.not_held = 0,
            Some(_) => self.not_held += 1,
        }
        if self.reason.is_none() {
            match why {
                None => self.knee_per_s = Some(offered),
                Some(_) => self.reason = why,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{Counts, Distribution, Point, Row};

    fn step(offered: f64, p99_us: f64, unsent: u64) -> Run {
        let curve = vec![Point { percentile: 99.0, us: p99_us, count: 99 }];
        let latency = Distribution { count: Some(100), curve, ..Distribution::default() };
        Run {
            offered_per_s: Some(offered),
            counts: Some(Counts { planned: 1000, unsent, ..Counts::default() }),
            rows: vec![Row { latency, ..Row::default() }],
            ..Run::default()
        }
    }

    fn knee(p99_max_us: Option<f64>, steps: &[(f64, f64, u64)]) -> (Option<f64>, String, usize) {
        let mut judge = Judge::new(p99_max_us);
        let mut tried = 0;
        for (offered, p99_us, unsent) in steps {
            if judge.has_seen_enough() {
                break;
            }
            judge.judge(&step(*offered, *p99_us, *unsent));
            tried += 1;
        }
        (judge.knee_per_s, judge.reason.unwrap_or_default(), tried)
    }

    #[test]
    fn the_knee_is_the_last_rate_that_was_held() {
        let rising = [(1e3, 100.0, 0), (2e3, 150.0, 0), (3e3, 1_200.0, 0), (4e3, 9e5, 300), (5e3, 9e5, 500)];
        let (at, reason, tried) = knee(None, &rising);
        assert_eq!((at, tried), (Some(2e3), 4));
        assert!(reason.contains("p99 was 1.20 ms, more than 1.00 ms"), "{reason}");
        assert_eq!(knee(Some(2_000.0), &rising).0, Some(3e3));
        assert!(knee(Some(2_000.0), &rising).1.contains("30.0 % of the requests were left over"));
        assert_eq!(knee(Some(50.0), &rising).0, None);
        // A server that goes is no server that is too slow.
        let mut judge = Judge::new(None);
        let mut gone = step(1e3, 100.0, 300);
        gone.counts.as_mut().unwrap().connections_closed = 50;
        judge.judge(&gone);
        assert_eq!(
            judge.reason.unwrap(),
            "at 1k/s 30.0 % of the requests were left over, and the server closed 50 connections"
        );
        // One rate that was disturbed does not end the sweep, but the knee is below it.
        assert_eq!(
            knee(None, &[(1e3, 100.0, 0), (2e3, 5e3, 0), (3e3, 100.0, 0)]),
            (Some(1e3), "at 2k/s p99 was 5.00 ms, more than 1.00 ms".into(), 3)
        );
    }
}
