//! Zipf's law: rank k of n with a probability in proportion to k^-theta, in constant time and without a table.
//!
//! Rejection-inversion after W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from monotone
//! discrete distributions" (1996): the integral of x^-theta is inverted, and what the steps of the histogram leave out
//! is rejected; less than one draw in ten is, whatever theta and n.

/// Ranks from 1 to `ranks`.
#[derive(Debug, Clone, Copy)]
pub struct Zipf {
    ranks: f64,
    theta: f64,
    integral_first: f64,
    integral_last: f64,
    accepted_below: f64,
}

impl Zipf {
    /// `theta` is not negative; 0 is the uniform distribution.
    pub fn new(ranks: u64, theta: f64) -> Zipf {
        assert!(0 < ranks);
        assert!(0.0 <= theta);
        let mut zipf =
            Zipf { ranks: ranks as f64, theta, integral_first: 0.0, integral_last: 0.0, accepted_below: 0.0 };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(zipf.ranks + 0.5);
        zipf.accepted_below = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    /// A rank.
    pub fn sample(&self, random: &mut fastrand::Rng) -> u64 {
        loop {
            let area = self.integral_last + random.f64() * (self.integral_first - self.integral_last);
            let x = self.inverse(area);
            let rank = x.round().clamp(1.0, self.ranks);
            if rank - x <= self.accepted_below || self.integral(rank + 0.5) - self.density(rank) <= area {
                return rank as u64;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.theta * x.ln()).exp()
    }

    /// The integral of the density from 1 to x. Near theta = 1 it is a logarithm; `exp_m1` keeps the digits there.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let power = (1.0 - self.theta) * log;
        if power.abs() < 1e-8 { log * (1.0 + power / 2.0) } else { power.exp_m1() / (1.0 - self.theta) }
    }

    fn inverse(&self, area: f64) -> f64 {
        let power = (area * (1.0 - self.theta)).max(-1.0);
        let log = if power.abs() < 1e-8 { area * (1.0 - power / 2.0) } else { power.ln_1p() / (1.0 - self.theta) };
        log.exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pearson's statistic of the frequencies against the law, ranks above the first 200 taken together.
    fn chi_squared(ranks: u64, theta: f64, draws: u32) -> (f64, f64) {
        let zipf = Zipf::new(ranks, theta);
        let mut random = fastrand::Rng::with_seed(11);
        let classes = 201.min(usize::try_from(ranks).unwrap());
        let class = |rank: u64| usize::try_from(rank - 1).unwrap().min(classes - 1);
        let mut expected = vec![0.0; classes];
        for rank in 1..=ranks {
            expected[class(rank)] += (rank as f64).powf(-theta);
        }
        let sum: f64 = expected.iter().sum();
        let mut seen = vec![0.0; classes];
        for _ in 0..draws {
            let rank = zipf.sample(&mut random);
            assert!((1..=ranks).contains(&rank));
            seen[class(rank)] += 1.0;
        }
        let statistic = seen.iter().zip(&expected).map(|(seen, expected): (&f64, &f64)| {
            let expected = expected / sum * f64::from(draws);
            (seen - expected).powi(2) / expected
        });
        (statistic.sum(), classes as f64 - 1.0)
    }

    #[test]
    fn frequencies_are_those_of_the_law() {
        for (ranks, theta) in [(100_000, 0.99), (100_000, 1.0), (1_000, 0.0), (1_000, 0.5), (5_000, 2.0), (10, 1.2)] {
            let (statistic, freedom) = chi_squared(ranks, theta, 400_000);
            // Four standard deviations above the mean of chi-squared.
            let most = freedom + 4.0 * (2.0 * freedom).sqrt();
            assert!(statistic < most, "theta {theta}, {ranks} ranks: {statistic} of at most {most}");
        }
        // The test can fail: another theta is told apart.
        let zipf = Zipf::new(1_000, 0.9);
        let mut random = fastrand::Rng::with_seed(11);
        let first = (0..400_000).filter(|_| zipf.sample(&mut random) == 1).count() as f64 / 400_000.0;
        let sum: f64 = (1..=1_000).map(|rank| f64::from(rank).powf(-0.99)).sum();
        assert!(0.02 < (first - 1.0 / sum).abs());
    }

    #[test]
    fn one_rank_is_always_the_first() {
        let mut random = fastrand::Rng::with_seed(1);
        assert!((0..100).all(|_| Zipf::new(1, 0.99).sample(&mut random) == 1));
    }
}
