//! A report on a terminal.

use super::model::{Comparison, Distribution, PERCENTILES, Report, Row, Run};
use super::number::{grouped, percentile, rate, significant, time};
use std::fmt::Write;

/// The whole report.
pub fn report(report: &Report) -> String {
    let mut out = String::new();
    if let Some(comparison) = &report.comparison {
        out += &compared(comparison);
        return out;
    }
    if let Some(sweep) = &report.sweep {
        out += &swept(report);
        match sweep.knee_per_s {
            Some(knee) => {
                let _ = writeln!(out, "\nHeld up to {} requests/s; {}.", rate(knee), sweep.knee_reason);
            }
            None => {
                let _ = writeln!(out, "\nNo rate was held: {}.", sweep.knee_reason);
            }
        }
        if let Some(peak) = sweep.peak_per_s {
            let _ = writeln!(out, "Closed loop: {} requests/s.", rate(peak));
        }
        for run in &report.runs {
            for warning in &run.warnings {
                let _ = writeln!(out, "warning: {}: {warning}", run.name);
            }
        }
        return out;
    }
    for (at, one) in report.runs.iter().enumerate() {
        if 0 < at {
            out.push('\n');
        }
        out += &run(one);
    }
    out
}

/// One run.
pub fn run(run: &Run) -> String {
    let mut out = format!("{}\n", run.name);
    if let Some(achieved) = run.achieved_per_s {
        let _ = write!(out, "  {} requests/s", rate(achieved));
        if let Some(offered) = run.offered_per_s {
            let _ = write!(out, " of {} offered ({:.1} %)", rate(offered), 100.0 * achieved / offered);
        }
        if let Some(seconds) = run.seconds {
            let _ = write!(out, " over {} s", significant(seconds));
        }
        out.push('\n');
    }
    if let Some(counts) = &run.counts {
        let _ = write!(out, "  {} planned: {} answered", grouped(counts.planned), grouped(counts.answered));
        let others = [
            (counts.error_replies, "of them with an error"),
            (counts.unanswered, "unanswered"),
            (counts.unsent, "unsent"),
            (counts.lost, "lost with their connection"),
        ];
        for (count, what) in others.iter().filter(|(count, _)| 0 < *count) {
            let _ = write!(out, ", {} {what}", grouped(*count));
        }
        out.push('\n');
        if 0 < counts.connections_closed || 0 < counts.redirections {
            let (closed, moved) = (grouped(counts.connections_closed), grouped(counts.redirections));
            let _ = writeln!(out, "  {closed} connections closed, {moved} redirections");
        }
    }
    if let Some(cpu) = &run.cpu {
        let _ = write!(
            out,
            "  server CPU {:.2} s user + {:.2} s system over {:.1} s",
            cpu.user_s, cpu.system_s, cpu.over_s
        );
        if let Some(per_s) = cpu.per_cpu_second() {
            let _ = write!(out, ": {} requests per CPU second", rate(per_s));
        }
        out.push('\n');
    }
    if !run.latency_means.is_empty() {
        let _ = writeln!(out, "  latency: {}", run.latency_means);
    }
    out.push('\n');
    out += &table(&run.rows);
    if let Some((name, other)) = run.rows.first().and_then(|row| row.other.as_ref()) {
        let _ = writeln!(out, "\n  all, {name}:");
        out += &table(&[Row { name: "all".into(), latency: other.clone(), ..Row::default() }]);
    }
    if let Some(generator) = &run.generator {
        let late = |percentile: f64| generator.lateness.at(percentile).map_or("–".into(), time);
        let _ = writeln!(
            out,
            "\n  generator: {} thread(s), {} connections, busy {:.0} %, waited for a CPU {:.1} %, own lateness p50 {} p99 {} max {}",
            generator.threads,
            generator.connections,
            100.0 * generator.busy,
            100.0 * generator.run_queue,
            late(50.0),
            late(99.0),
            generator.lateness.max_us.map_or("–".into(), time),
        );
    }
    for (text, count) in &run.errors {
        let _ = writeln!(out, "  error × {}: {text}", grouped(*count));
    }
    for warning in &run.warnings {
        let _ = writeln!(out, "  warning: {warning}");
    }
    out
}

fn cell(distribution: &Distribution, at: f64) -> String {
    match distribution.at(at) {
        None => "–".into(),
        // So few samples lie above it that the figure is one of them by chance.
        Some(us) if distribution.is_thin_at(at) => format!("({})", time(us)),
        Some(us) => time(us),
    }
}

/// A table of rows; columns are as wide as they must be.
fn table(rows: &[Row]) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut head = vec![String::new(), "count".into(), "requests/s".into(), "null".into(), "mean".into()];
    head.extend(PERCENTILES.iter().map(|at| format!("p{}", percentile(*at))));
    head.push("max".into());
    lines.push(head);
    for row in rows {
        let latency = &row.latency;
        let mut line = vec![
            row.name.clone(),
            latency.count.map_or("–".into(), grouped),
            row.per_s.map_or("–".into(), rate),
            row.nils.map_or("–".into(), grouped),
            latency.mean_us.map_or("–".into(), time),
        ];
        line.extend(PERCENTILES.iter().map(|at| cell(latency, *at)));
        line.push(latency.max_us.map_or("–".into(), time));
        lines.push(line);
    }
    let is_empty = |column: usize| lines[1..].iter().all(|line| line[column] == "–");
    let columns: Vec<usize> = (0..lines[0].len()).filter(|column| *column == 0 || !is_empty(*column)).collect();
    aligned(&lines.iter().map(|line| columns.iter().map(|at| line[*at].clone()).collect()).collect::<Vec<_>>())
}

fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for line in lines {
        out.push_str("  ");
        for (column, text) in line.iter().enumerate() {
            let width = width(column);
            let _ = if column == 0 { write!(out, "{text:<width$}") } else { write!(out, "  {text:>width$}") };
        }
        let end = out.trim_end().len();
        out.truncate(end);
        out.push('\n');
    }
    out
}

fn swept(report: &Report) -> String {
    let sweep = report.sweep.as_ref().expect("asked for");
    let head = ["offered/s", "achieved/s", "p50", "p99", "p99.9", "max", "per CPU s", ""];
    let mut lines = vec![head.map(String::from).to_vec()];
    for step in &sweep.steps {
        let run = &report.runs[*step];
        let Some(all) = run.rows.first() else { continue };
        lines.push(vec![
            run.offered_per_s.map_or("–".into(), rate),
            run.achieved_per_s.map_or("–".into(), rate),
            cell(&all.latency, 50.0),
            cell(&all.latency, 99.0),
            cell(&all.latency, 99.9),
            all.latency.max_us.map_or("–".into(), time),
            run.cpu.and_then(|cpu| cpu.per_cpu_second()).map_or("–".into(), rate),
            if run.offered_per_s <= sweep.knee_per_s { "held".into() } else { "not held".into() },
        ]);
    }
    aligned(&lines)
}

/// A figure with its unit.
pub fn figure(value: f64, unit: &str) -> String {
    if unit == "µs" { time(value) } else { rate(value) }
}

fn compared(comparison: &Comparison) -> String {
    let mut out = format!(
        "A: {}\nB: {}\n{} rounds of A, B and A again; {:.0} % intervals by bootstrap over rounds\n\n",
        comparison.name_a,
        comparison.name_b,
        comparison.rounds,
        100.0 * comparison.confidence
    );
    let mut lines = vec![["", "A", "B", "B/A", "interval", "control A/A", "verdict"].map(String::from).to_vec()];
    for metric in &comparison.metrics {
        lines.push(vec![
            metric.name.clone(),
            figure(metric.a, &metric.unit),
            figure(metric.b, &metric.unit),
            format!("{:.3}", metric.ratio.median),
            format!("{:.3}–{:.3}", metric.ratio.low, metric.ratio.high),
            format!("{:.3}–{:.3}", metric.control.low, metric.control.high),
            metric.verdict.clone(),
        ]);
    }
    out += &aligned(&lines);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::histogram;

    #[test]
    fn a_table_says_what_is_known_and_no_more() {
        let mut values = histogram();
        values.saturating_record_n(50_000, 995);
        values.saturating_record_n(2_000_000, 5);
        let row = Row { name: "GET".into(), latency: Distribution::of(&values), ..Row::default() };
        let text = table(&[row]);
        assert!(text.contains("p99.999") && text.contains("1,000") && text.contains("50.0 µs"), "{text}");
        assert!(text.contains("(2.00 ms)"), "five samples are few: {text}");
        assert!(!text.contains("null"), "nobody counted them: {text}");
    }
}
