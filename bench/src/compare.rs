//! Two servers in turns. Each round measures A, B and A again, in an order that turns with the rounds, so that drifts
//! of the machine meet all three alike. A again over A is the control: what differs there is noise.

use crate::console::complain;
use crate::engine::plan::{Extent, Pace};
use crate::report::model::{Comparison, Metric, Run};
use crate::report::number::{rate, time};
use crate::session::{Ask, Session};
use crate::statistics::{bootstrap, median, verdict};
use std::sync::atomic::Ordering;

/// What is compared.
pub struct ComparePlan<'a> {
    pub servers: [&'a str; 2],
    pub pids: [Option<&'a str>; 2],
    pub rounds: usize,
    pub confidence: f64,
    pub pace: Pace,
    pub warmup_s: f64,
    pub duration_s: f64,
}

/// What came of it: also of one that was given up.
pub struct Compared {
    /// None: not even the first round came to its end.
    pub comparison: Option<Comparison>,
    /// Of the first round: all that was measured in it.
    pub runs: Vec<Run>,
    pub failure: Option<String>,
    pub is_clean: bool,
}

/// The figures of a run that are compared; those that a run does not have are left out of all.
type Figure = (&'static str, &'static str, bool, fn(&Run) -> Option<f64>);

const FIGURES: &[Figure] = &[
    ("requests per second", "/s", true, |run| if run.offered_per_s.is_none() { run.achieved_per_s } else { None }),
    ("requests per CPU second", "/s", true, |run| run.cpu?.per_cpu_second()),
    ("mean latency", "µs", false, |run| run.rows.first()?.latency.mean_us),
    ("p50 latency", "µs", false, |run| run.rows.first()?.latency.at(50.0)),
    ("p99 latency", "µs", false, |run| run.rows.first()?.latency.at(99.0)),
    ("p99.9 latency", "µs", false, |run| {
        let latency = &run.rows.first()?.latency;
        if latency.is_thin_at(99.9) { None } else { latency.at(99.9) }
    }),
];

/// The order of round `number`: 0 is A, 1 is B, 2 is A again.
fn order(number: usize) -> [usize; 3] {
    [[0, 1, 2], [1, 2, 0], [2, 0, 1]][number % 3]
}

/// What was measured of a round.
#[derive(Default)]
struct Round {
    /// By place; the last one that is there may have been cut short.
    runs: [Option<Run>; 3],
    failure: Option<String>,
    is_clean: bool,
    /// All of it.
    is_whole: bool,
}

/// Measures round `number`, until it is over or cannot go on.
fn measure_round(session: &Session, plan: &ComparePlan, number: usize) -> Round {
    let mut round = Round { is_clean: true, ..Round::default() };
    for place in order(number) {
        if session.interrupted.load(Ordering::Relaxed) {
            return round;
        }
        let server = usize::from(place == 1);
        let ask = Ask {
            name: format!("round {}, {}", number + 1, ["A", "B", "A again"][place]),
            server: plan.servers[server],
            pid: plan.pids[server],
            pace: plan.pace,
            warmup_s: plan.warmup_s,
            extent: Extent::TimeNs((plan.duration_s * 1e9) as u64),
        };
        match session.measure(&ask) {
            Ok(measured) => {
                round.is_clean &= measured.is_clean();
                round.runs[place] = Some(measured.run);
                if measured.failure.is_some() || measured.is_interrupted {
                    round.failure = measured.failure;
                    return round;
                }
            }
            Err(error) => {
                round.failure = Some(error);
                return round;
            }
        }
    }
    round.is_whole = true;
    round
}

/// Compares. An error means that there is nothing to tell.
pub fn compare(session: &Session, plan: &ComparePlan) -> Result<Compared, String> {
    let mut rounds: Vec<[Run; 3]> = Vec::new();
    let mut cut_short = None;
    let mut is_clean = true;
    for number in 0..plan.rounds {
        let round = measure_round(session, plan, number);
        is_clean &= round.is_clean;
        if !round.is_whole {
            cut_short = Some(round);
            break;
        }
        let runs = round.runs.map(|run| run.expect("all three were measured"));
        if !session.is_quiet {
            let shown = |run: &Run| {
                let p99 = run.rows[0].latency.at(99.0).map_or("–".into(), time);
                format!("{}/s p99 {p99}", rate(run.achieved_per_s.unwrap_or(0.0)))
            };
            complain(format_args!(
                "round {}: A {}, B {}, A again {}\n",
                number + 1,
                shown(&runs[0]),
                shown(&runs[1]),
                shown(&runs[2])
            ));
        }
        rounds.push(runs);
    }
    let name = |run: &Run| run.settings.first().map_or(String::new(), |(_, value)| value.clone());
    let comparison = rounds.first().map(|first| Comparison {
        name_a: name(&first[0]),
        name_b: name(&first[1]),
        rounds: rounds.len(),
        confidence: plan.confidence,
        metrics: FIGURES.iter().filter_map(|figure| metric(figure, &rounds, plan.confidence)).collect(),
    });
    let (failure, unfinished) = cut_short.map_or((None, None), |round| (round.failure, Some(round.runs)));
    // One round stands for the settings and the curves.
    let mut runs: Vec<Run> = match (rounds.is_empty(), &unfinished) {
        (true, Some(_)) => unfinished.iter().flatten().flatten().cloned().collect(),
        (true, None) => Vec::new(),
        (false, _) => rounds.swap_remove(0).into(),
    };
    let Some(first) = runs.first_mut() else {
        return Err(failure.unwrap_or_else(|| "interrupted before anything was measured".into()));
    };
    match &comparison {
        _ if unfinished.is_none() => {}
        None => first.warnings.push(
            "the comparison ended within its first round: nothing is compared, this is what was measured until then"
                .into(),
        ),
        Some(Comparison { rounds, .. }) => first.warnings.push(format!(
            "the comparison ended after {rounds} of {} rounds; what was measured of the next is left out",
            plan.rounds
        )),
    }
    Ok(Compared { comparison, runs, failure, is_clean })
}

fn metric(figure: &Figure, rounds: &[[Run; 3]], confidence: f64) -> Option<Metric> {
    let (name, unit, is_more_better, pick) = *figure;
    let mut figures: Vec<[f64; 3]> = Vec::new();
    for round in rounds {
        let of = |place: usize| pick(&round[place]).filter(|value| 0.0 < *value);
        figures.push([of(0)?, of(1)?, of(2)?]);
    }
    let ratios = |over: usize| figures.iter().map(|round| round[over] / round[0]).collect::<Vec<f64>>();
    let ratio = bootstrap(&ratios(1), confidence, 1);
    let control = bootstrap(&ratios(2), confidence, 2);
    let column = |place: usize| median(&figures.iter().map(|round| round[place]).collect::<Vec<f64>>());
    Some(Metric {
        name: name.into(),
        unit: unit.into(),
        is_more_better,
        a: column(0),
        b: column(1),
        ratio,
        control,
        verdict: verdict(&ratio, &control, is_more_better, figures.len()),
        rounds: figures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_stands_as_often_in_every_place() {
        for place in 0..3 {
            let mut seen: Vec<usize> = (0..3).map(|number| order(number)[place]).collect();
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2]);
        }
    }

    #[test]
    fn figures_become_ratios() {
        let run = |per_s: f64| Run { achieved_per_s: Some(per_s), ..Run::default() };
        let rounds: Vec<[Run; 3]> = (0..8).map(|at| [run(100.0), run(130.0), run(99.0 + f64::from(at % 3))]).collect();
        let metric = super::metric(&FIGURES[0], &rounds, 0.95).unwrap();
        assert!((metric.ratio.median - 1.3).abs() < 1e-9 && (metric.control.median - 1.0).abs() < 0.011);
        assert_eq!(metric.verdict, "B is better: 30.0 % higher");
        assert!(super::metric(&FIGURES[1], &rounds, 0.95).is_none(), "nobody told the CPU time");
    }
}
