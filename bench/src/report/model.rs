//! What a report says, whoever measured it: the shape of `result.json`, from which every other form is made.
//!
//! Times are microseconds, with fractions; rates are per second. What a source does not tell is absent, never 0.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Version of this shape; a reader refuses a newer one.
pub const FORMAT: u32 = 1;
/// Percentiles that tables show.
pub const PERCENTILES: &[f64] = &[50.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999];
/// Steps of a curve for each halving of the distance to 100 %.
const CURVE_STEPS: u32 = 8;

/// A report: one run or several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    pub title: String,
    /// When it was made.
    pub date: String,
    /// What made it, with version.
    pub tool: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    pub runs: Vec<Run>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// The machine on which the load was made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cpus: usize,
    pub kernel: String,
}

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub name: String,
    /// Names and values of what was set, for people.
    #[serde(default)]
    pub settings: Vec<(String, String)>,
    /// What latencies are, in a sentence.
    pub latency_means: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_per_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved_per_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// The first is of all commands together.
    pub rows: Vec<Row>,
    #[serde(default)]
    pub series: Vec<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<Generator>,
    /// Error texts and how often they came.
    #[serde(default)]
    pub errors: Vec<(String, u64)>,
    /// What the reader should know before he believes the figures.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What became of the requests planned within the measured time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    pub planned: u64,
    pub answered: u64,
    /// Answered with an error; among `answered`.
    pub error_replies: u64,
    pub unanswered: u64,
    pub unsent: u64,
    pub lost: u64,
    pub connections_closed: u64,
    pub redirections: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

/// Latencies of a command, or of all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    /// Replies within the measured time: the rows' are together what their run achieved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_s: Option<f64>,
    /// Answers that were null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nils: Option<u64>,
    /// What the tables show: response times of an open loop, service times of a closed one.
    pub latency: Distribution,
    /// The other one: service times of an open loop; of a closed one its corrected response times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<(String, Distribution)>,
}

/// A distribution of latencies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdev_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_us: Option<f64>,
    /// Rising: percentile, microseconds, how many were not longer (0 if unknown).
    pub curve: Vec<Point>,
}

/// A point of a percentile curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub percentile: f64,
    pub us: f64,
    #[serde(default)]
    pub count: u64,
}

impl Distribution {
    /// From a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Distribution {
        if histogram.is_empty() {
            return Distribution { count: Some(0), ..Distribution::default() };
        }
        let mut percentiles: Vec<f64> = PERCENTILES.to_vec();
        let count = histogram.len();
        // Down to where a single sample decides, and not below.
        let mut distance = 100.0;
        'steps: loop {
            for step in 0..CURVE_STEPS {
                let rest = distance * (1.0 - f64::from(step) / f64::from(CURVE_STEPS) / 2.0);
                if rest / 100.0 * (count as f64) < 1.0 {
                    break 'steps;
                }
                percentiles.push(100.0 - rest);
            }
            distance /= 2.0;
        }
        percentiles.push(100.0);
        percentiles.sort_by(f64::total_cmp);
        percentiles.dedup();
        let point = |percentile: f64| {
            let ns = histogram.value_at_quantile(percentile / 100.0);
            Point { percentile, us: ns as f64 / 1e3, count: histogram.count_between(0, ns) }
        };
        Distribution {
            count: Some(count),
            min_us: Some(histogram.min() as f64 / 1e3),
            mean_us: Some(histogram.mean() / 1e3),
            stdev_us: Some(histogram.stdev() / 1e3),
            max_us: Some(histogram.max() as f64 / 1e3),
            curve: percentiles.into_iter().map(point).collect(),
        }
    }

    /// Microseconds at a percentile: of the first point that reaches it. `None` where the source does not go so far.
    pub fn at(&self, percentile: f64) -> Option<f64> {
        let reached = self.curve.iter().find(|point| percentile <= point.percentile + 1e-9)?;
        let is_sparse = self.count.is_none() && 1e-6 < reached.percentile - percentile;
        if is_sparse { None } else { Some(reached.us) }
    }

    /// Whether so few samples lie above a percentile that it says little.
    pub fn is_thin_at(&self, percentile: f64) -> bool {
        self.count.is_some_and(|count| (count as f64) * (1.0 - percentile / 100.0) < 10.0)
    }
}

/// A run at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Begin, in seconds since that of the measured time.
    pub at_s: f64,
    pub per_s: f64,
    /// Of requests planned in it; `None` if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p999_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_us: Option<f64>,
}

/// What the server's process used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    pub user_s: f64,
    pub system_s: f64,
    pub over_s: f64,
    pub operations: u64,
}

impl Cpu {
    /// Operations for each second of CPU.
    pub fn per_cpu_second(&self) -> Option<f64> {
        let seconds = self.user_s + self.system_s;
        (0.0 < seconds).then(|| self.operations as f64 / seconds)
    }
}

/// How the load generator did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    pub threads: usize,
    pub connections: usize,
    /// Share of the measured time in which its threads did not wait for the server, 0 to 1.
    pub busy: f64,
    /// Share in which they waited for a CPU, 0 to 1.
    pub run_queue: f64,
    /// From the moment at which a request could have been sent until it was.
    pub lateness: Distribution,
}

/// Runs at rising rates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// Index into the report's runs of each step, in order of the rate.
    pub steps: Vec<usize>,
    /// Operations per second in a closed loop, if that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_per_s: Option<f64>,
    /// The highest rate that was held, and why the next one was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knee_per_s: Option<f64>,
    pub knee_reason: String,
}

/// Two servers, one against the other.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub name_a: String,
    pub name_b: String,
    pub rounds: usize,
    pub confidence: f64,
    pub metrics: Vec<Metric>,
}

/// A figure of two servers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    pub name: String,
    pub unit: String,
    pub is_more_better: bool,
    /// Medians.
    pub a: f64,
    pub b: f64,
    /// B over A, and A over A: median of the rounds and bounds of its interval.
    pub ratio: Interval,
    pub control: Interval,
    pub verdict: String,
    /// Of each round: A, B, A again.
    pub rounds: Vec<[f64; 3]>,
}

/// A ratio with its interval of confidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::histogram;

    #[test]
    fn a_distribution_is_that_of_its_histogram() {
        let mut values = histogram();
        for value in 1..=100_000u64 {
            values.saturating_record(value * 1_000);
        }
        let distribution = Distribution::of(&values);
        for percentile in PERCENTILES {
            let us = distribution.at(*percentile).unwrap();
            assert!((us / (1_000.0 * percentile) - 1.0).abs() < 0.002, "{percentile}: {us}");
        }
        assert!(distribution.curve.windows(2).all(|pair| pair[0].percentile < pair[1].percentile));
        assert!(distribution.curve.windows(2).all(|pair| pair[0].us <= pair[1].us));
        assert_eq!(distribution.curve.last().unwrap().count, 100_000);
        assert!(!distribution.is_thin_at(99.9) && distribution.is_thin_at(99.999));
        assert_eq!(Distribution::of(&histogram()).at(50.0), None);
    }

    #[test]
    fn a_report_survives_its_json() {
        let run = Run { name: "one".into(), offered_per_s: Some(5.0), ..Run::default() };
        let report = Report { format: FORMAT, runs: vec![run], sweep: Some(Sweep::default()), ..Report::default() };
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
