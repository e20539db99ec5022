//! How large values are: one size, a range, a log-normal distribution, or a list of sizes with weights.

use std::fmt;
use std::str::FromStr;

/// The largest value that is ever sent: Redis' own limit of a string.
pub const SIZE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Where the tail of a log-normal distribution is cut unless the option says otherwise.
pub const LOGNORMAL_BYTES_MAX: u64 = 1024 * 1024;

/// A distribution of sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Sizes {
    Fixed(u64),
    /// Every size from the first to the second is as likely.
    Range(u64, u64),
    /// e^(ln(median) + sigma · z) with z normal, cut at `max`.
    LogNormal {
        median: f64,
        sigma: f64,
        max: u64,
    },
    /// Sizes and their weights.
    List(Vec<(u64, u64)>),
}

impl Sizes {
    /// A size in bytes.
    pub fn sample(&self, random: &mut fastrand::Rng) -> usize {
        let bytes = match self {
            Sizes::Fixed(bytes) => *bytes,
            Sizes::Range(low, high) => random.u64(*low..=*high),
            Sizes::LogNormal { median, sigma, max } => {
                // Box and Muller's transformation; 1 - [0, 1) is never 0.
                let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * random.f64()).cos();
                ((median.ln() + sigma * normal).exp().round() as u64).min(*max)
            }
            Sizes::List(list) => {
                let sum: u64 = list.iter().map(|(_, weight)| weight).sum();
                let mut at = random.u64(0..sum);
                let found = list.iter().find(|(_, weight)| {
                    let is_here = at < *weight;
                    at = at.saturating_sub(*weight);
                    is_here
                });
                found.expect("below the sum of the weights").0
            }
        };
        usize::try_from(bytes).expect("sizes are bounded")
    }
}

/// `64`, `4k`, `1M`: bytes, with powers of 1024.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1024,
        "m" | "mb" | "mib" => 1024 * 1024,
        _ => return Err(format!("`{text}` is no size: want bytes such as 64, 4k or 1M")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is no size: want bytes such as 64, 4k or 1M"))?;
    match number.checked_mul(factor) {
        Some(bytes) if bytes <= SIZE_BYTES_MAX => Ok(bytes),
        _ => Err(format!("`{text}` is more than 512 MiB, the largest string there is")),
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        if let Some(rest) = text.strip_prefix("lognormal:") {
            let parts: Vec<&str> = rest.split(':').collect();
            let ([median, sigma] | [median, sigma, _]) = parts[..] else {
                return Err(format!("`{text}`: want lognormal:MEDIAN:SIGMA or lognormal:MEDIAN:SIGMA:MAX"));
            };
            let max = parts.get(2).map_or(Ok(LOGNORMAL_BYTES_MAX), |max| parse_bytes(max))?;
            let median = parse_bytes(median)?;
            let sigma: f64 = sigma.parse().map_err(|_| format!("`{sigma}` is no number"))?;
            if !(0.0..=10.0).contains(&sigma) || median == 0 {
                return Err(format!("`{text}`: the median is at least 1, sigma from 0 to 10"));
            }
            return Ok(Sizes::LogNormal { median: median as f64, sigma, max });
        }
        if text.contains(':') {
            let mut list = Vec::new();
            for item in text.split(',') {
                let (size, weight) = item.split_once(':').ok_or_else(|| format!("`{item}`: want SIZE:WEIGHT"))?;
                let weight: u32 = weight.parse().map_err(|_| format!("`{weight}` is no weight"))?;
                list.push((parse_bytes(size)?, u64::from(weight)));
            }
            if list.iter().all(|(_, weight)| *weight == 0) {
                return Err(format!("`{text}`: no size has a weight"));
            }
            return Ok(Sizes::List(list));
        }
        if let Some((low, high)) = text.split_once('-') {
            let (low, high) = (parse_bytes(low)?, parse_bytes(high)?);
            if high < low {
                return Err(format!("`{text}`: the range is empty"));
            }
            return Ok(Sizes::Range(low, high));
        }
        Ok(Sizes::Fixed(parse_bytes(text)?))
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Sizes::Fixed(bytes) => write!(f, "{bytes} B"),
            Sizes::Range(low, high) => write!(f, "{low}–{high} B, uniform"),
            Sizes::LogNormal { median, sigma, max } => {
                write!(f, "log-normal, median {median} B, sigma {sigma}, at most {max} B")
            }
            Sizes::List(list) => {
                let items: Vec<String> = list.iter().map(|(size, weight)| format!("{size} B × {weight}")).collect();
                write!(f, "{}", items.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(text: &str) -> Vec<usize> {
        let sizes: Sizes = text.parse().expect(text);
        let mut random = fastrand::Rng::with_seed(3);
        let mut all: Vec<usize> = (0..100_000).map(|_| sizes.sample(&mut random)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn sizes_follow_their_distribution() {
        assert!(samples("64").iter().all(|&size| size == 64));
        let range = samples("10-19");
        assert_eq!((range[0], range[99_999]), (10, 19));
        assert!((range.iter().sum::<usize>() as f64 / 1e5 - 14.5).abs() < 0.05);

        let log = samples("lognormal:1000:0.5");
        assert!((log[50_000] as f64 - 1000.0).abs() < 15.0, "median {}", log[50_000]);
        // One standard deviation above the median: e^0.5 times it.
        assert!((log[84_134] as f64 / 1000.0 - 0.5f64.exp()).abs() < 0.03, "{}", log[84_134]);
        assert_eq!(*samples("lognormal:1000:3:2k").last().unwrap(), 2048);

        let list = samples("64:9,1k:1");
        let large = list.iter().filter(|&&size| size == 1024).count();
        assert!(list.iter().all(|&size| size == 64 || size == 1024));
        assert!((large as f64 - 10_000.0).abs() < 500.0, "{large}");
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for bad in ["", "x", "-5", "5-", "9-3", "1G", "600M", "64:", "64:x", "64:0", "lognormal:", "lognormal:5:x"] {
            assert!(bad.parse::<Sizes>().is_err(), "{bad:?}");
        }
        assert!("lognormal:0:1".parse::<Sizes>().is_err());
        assert!("lognormal:5:1:2:3".parse::<Sizes>().is_err());
    }
}
