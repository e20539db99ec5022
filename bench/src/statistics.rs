//! Medians, and how sure one can be of a ratio: the bootstrap over rounds.

use crate::report::model::Interval;

/// Samples that the bootstrap draws.
pub const RESAMPLES: usize = 10_000;

/// The middle of some figures; of an even number the mean of both.
pub fn median(figures: &[f64]) -> f64 {
    assert!(!figures.is_empty());
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

/// The median of ratios with its interval: rounds are drawn again and again with putting back, and the interval holds
/// that share of the medians. Rounds are taken to be independent of each other; drifts within a round cancel.
pub fn bootstrap(ratios: &[f64], confidence: f64, seed: u64) -> Interval {
    assert!(ratios.iter().all(|ratio| 0.0 < *ratio));
    let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| median(&logs.iter().map(|_| logs[random.usize(0..logs.len())]).collect::<Vec<_>>()))
        .collect();
    medians.sort_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    let at = |part: f64| medians[((part * RESAMPLES as f64) as usize).min(RESAMPLES - 1)].exp();
    Interval { median: median(&logs).exp(), low: at(tail), high: at(1.0 - tail) }
}

/// What a ratio and its control allow to say.
pub fn verdict(ratio: &Interval, control: &Interval, is_more_better: bool, rounds: usize) -> String {
    if rounds < 5 {
        return format!("{rounds} rounds are too few to tell");
    }
    let noise = control.low.ln().abs().max(control.high.ln().abs());
    let effect = ratio.median.ln();
    if ratio.low <= 1.0 && 1.0 <= ratio.high {
        return "no difference shown".into();
    }
    if effect.abs() <= noise {
        return format!("within the noise: A differs from itself by up to {:.1} %", 100.0 * noise.exp_m1());
    }
    let is_better = (0.0 < effect) == is_more_better;
    let percent = 100.0 * (ratio.median - 1.0).abs();
    let word = if is_better { "better" } else { "worse" };
    format!("B is {word}: {percent:.1} % {}", if 0.0 < effect { "higher" } else { "lower" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    /// How often the interval of `rounds` noisy ratios around `truth` holds it.
    fn coverage(truth: f64, rounds: usize) -> f64 {
        let mut random = fastrand::Rng::with_seed(5);
        let trials = 60;
        let held = (0..trials).filter(|trial| {
            let noise = |random: &mut fastrand::Rng| (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
            let ratios: Vec<f64> = (0..rounds).map(|_| truth * (0.05 * noise(&mut random)).exp()).collect();
            let interval = bootstrap(&ratios, 0.95, *trial);
            interval.low <= truth && truth <= interval.high
        });
        held.count() as f64 / f64::from(trials as u32)
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_say() {
        let share = coverage(1.3, 15);
        assert!((0.88..=1.0).contains(&share), "{share}");
    }

    #[test]
    fn verdicts_heed_the_control() {
        let interval = |median, low, high| Interval { median, low, high };
        let quiet = interval(1.0, 0.99, 1.01);
        assert!(verdict(&interval(1.2, 1.1, 1.3), &quiet, true, 10) == "B is better: 20.0 % higher");
        assert!(verdict(&interval(1.2, 1.1, 1.3), &quiet, false, 10) == "B is worse: 20.0 % higher");
        assert!(verdict(&interval(0.8, 0.7, 0.9), &quiet, false, 10) == "B is better: 20.0 % lower");
        assert_eq!(verdict(&interval(1.2, 0.9, 1.3), &quiet, true, 10), "no difference shown");
        let noisy = interval(1.1, 0.9, 1.3);
        assert!(verdict(&interval(1.2, 1.1, 1.3), &noisy, true, 10).starts_with("within the noise"));
        assert!(verdict(&interval(1.2, 1.1, 1.3), &quiet, true, 3).contains("too few"));
    }
}
