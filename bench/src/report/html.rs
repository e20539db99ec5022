//! A report as one page: no script, nothing from elsewhere, readable in light, dark and print.

use super::chart::{Axis, Chart, Line, RatioRow, escape, nines, ratios};
use super::model::{Comparison, Distribution, PERCENTILES, Report, Row, Run};
use super::number::{grouped, percentile, rate, short, significant, time};
use super::text::figure;
use std::fmt::Write;

/// The most lines of a chart that can be told apart.
const LINES_MAX: usize = 12;

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn page(report: &Report) -> String {
    let title = escape(&report.title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>{title}</h1><p class=\"where\">{}</p></header>\n<main>\n",
        escape(&head(report))
    );
    if let Some(comparison) = &report.comparison {
        out += &compared(comparison);
    } else {
        if report.sweep.is_some() {
            out += &swept(report);
        }
        if let [run] = &report.runs[..] {
            out += &cards(run);
        }
        out += &warnings(&report.runs);
        out += &curves(report);
        out += &over_time(report);
        for run in &report.runs {
            out += &details(run, report.runs.len() == 1);
        }
    }
    out + "</main>\n</body>\n</html>\n"
}

fn head(report: &Report) -> String {
    let machine = report.machine.as_ref().map(|machine| {
        let plural = if machine.cpus == 1 { "CPU" } else { "CPUs" };
        format!("{}, {} {plural}, Linux {}", machine.cpu, machine.cpus, machine.kernel)
    });
    let parts = [Some(report.date.clone()), Some(report.tool.clone()), machine];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

fn section(title: &str, note: &str, body: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!("<p class=\"note\">{}</p>", escape(note)) };
    format!("<section>\n<h2>{}</h2>\n{note}{body}\n</section>\n", escape(title))
}

fn card(title: &str, value: &str, note: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!("<small>{}</small>", escape(note)) };
    format!("<div class=\"card\"><span>{}</span><strong>{}</strong>{note}</div>", escape(title), escape(value))
}

fn cards(run: &Run) -> String {
    let mut out = String::new();
    if let Some(achieved) = run.achieved_per_s {
        let note = run.offered_per_s.map_or("closed loop".into(), |offered| format!("of {} offered", rate(offered)));
        out += &card("requests/s", &rate(achieved), &note);
    }
    if let Some(all) = run.rows.first() {
        for at in [50.0, 99.0, 99.9] {
            if let Some(us) = all.latency.at(at) {
                let note = if all.latency.is_thin_at(at) { "few samples" } else { "" };
                out += &card(&format!("p{}", percentile(at)), &time(us), note);
            }
        }
        if let Some(us) = all.latency.max_us {
            out += &card("longest", &time(us), "");
        }
    }
    if let Some(per_s) = run.cpu.and_then(|cpu| cpu.per_cpu_second()) {
        out += &card("per CPU second", &rate(per_s), "of the server");
    }
    if let Some(counts) = &run.counts {
        let bad = counts.error_replies + counts.unanswered + counts.unsent + counts.lost;
        let note = format!("of {}", grouped(counts.planned));
        out += &card("failed or unsent", &grouped(bad), &note);
    }
    format!("<div class=\"cards\">{out}</div>\n")
}

fn warnings(runs: &[Run]) -> String {
    let many = 1 < runs.len();
    let items = runs.iter().flat_map(|run| run.warnings.iter().map(move |warning| (run, warning)));
    let mut out = String::new();
    for (run, warning) in items {
        let name = if many { format!("<b>{}:</b> ", escape(&run.name)) } else { String::new() };
        let _ = write!(out, "<li>{name}{}</li>", escape(warning));
    }
    if out.is_empty() {
        out
    } else {
        format!("<div class=\"warning\"><b>Before you believe the figures</b><ul>{out}</ul></div>\n")
    }
}

/// What the curves of a report show: each run's total, or, of a single run, its commands too.
fn curves(report: &Report) -> String {
    let mut shown: Vec<(String, &Distribution, usize, usize)> = Vec::new();
    if let [run] = &report.runs[..] {
        for (at, row) in run.rows.iter().enumerate() {
            // With one command the total is the same line.
            if run.rows.len() == 2 && at == 1 {
                continue;
            }
            shown.push((row.name.clone(), &row.latency, at, 0));
            if at == 0
                && let Some((name, other)) = &row.other
            {
                shown.push((format!("{}, {name}", row.name), other, 0, 1));
            }
        }
    } else {
        for run in &report.runs {
            let many = 1 < run.rows.len() && run.rows[0].name != "all";
            for row in run.rows.iter().take(if many { run.rows.len() } else { 1 }) {
                let name = if many { format!("{}: {}", run.name, row.name) } else { run.name.clone() };
                shown.push((name, &row.latency, 0, 0));
            }
        }
    }
    shown.retain(|(_, distribution, ..)| 1 < distribution.curve.len());
    if 1 < report.runs.len() {
        // Each line looks different, those of one run too.
        shown.iter_mut().enumerate().for_each(|(at, (_, _, colour, dash))| (*colour, *dash) = (at, at / 8));
    }
    let left_out: Vec<String> = shown.drain(LINES_MAX.min(shown.len())..).map(|(name, ..)| name).collect();
    if shown.is_empty() {
        return String::new();
    }
    let mut most = 0.0f64;
    let (mut low, mut high) = (f64::MAX, 0.0f64);
    let lines = shown.iter().map(|(name, distribution, colour, dash)| {
        let last = distribution.curve.iter().rposition(|point| point.percentile < 100.0 - 1e-9).unwrap_or(0);
        // The longest of n stands at the percentile that one of n is above.
        let of_last = match distribution.count {
            Some(count) if 1 < count => 100.0 * (1.0 - 1.0 / count as f64),
            _ => distribution.curve[last].percentile,
        };
        let points = distribution.curve.iter().filter(|point| distribution.count.is_some() || point.percentile < 100.0);
        let points = points.map(|point| (nines(point.percentile.min(of_last)), point.us));
        let points: Vec<Option<(f64, f64)>> = points.map(Some).collect();
        for (_, us) in points.iter().flatten() {
            low = low.min(*us);
            high = high.max(*us);
        }
        most = most.max(of_last);
        let has_dots = distribution.count.is_none();
        Line { name: name.clone(), points, has_dots, colour: *colour, dash: *dash }
    });
    let lines: Vec<Line> = lines.collect();
    let chart = Chart {
        description: "Latency by percentile".into(),
        x: Axis::nines(most),
        y: Axis::log("latency", low.max(1.0), high.max(2.0), time_tick),
        lines,
        marks: Vec::new(),
    };
    let note = match &by_run(&report.runs, |run| run.latency_means.clone())[..] {
        [] => String::new(),
        [(means, _)] => format!("Latency is {means}."),
        several => {
            let of = |(means, names): &(String, Vec<&str>)| format!("Latency of {} is {means}.", names.join(", "));
            several.iter().map(of).collect::<Vec<_>>().join(" ")
        }
    };
    let note = if note.is_empty() {
        note
    } else {
        format!("{note} Each nine of the percentile is as wide as the one before; both axes are logarithmic.")
    };
    let note = note + &no_room_for(&left_out);
    section("Latency by percentile", &note, &chart.svg())
}

/// What a plot has no room for, in a sentence.
fn no_room_for(left_out: &[String]) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    format!(" There is room for {LINES_MAX} lines; left out: {}.", left_out.join(", "))
}

/// What is said of each run, and the names of those of which the same is said.
fn by_run<'a>(runs: impl IntoIterator<Item = &'a Run>, of: impl Fn(&Run) -> String) -> Vec<(String, Vec<&'a str>)> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for run in runs {
        let text = of(run);
        match groups.iter_mut().find(|(known, _)| *known == text) {
            Some((_, names)) => names.push(&run.name),
            None => groups.push((text, vec![&run.name])),
        }
    }
    groups.retain(|(text, _)| !text.is_empty());
    groups
}

/// The length of a run's intervals: the least step, since a source may leave out intervals without requests.
fn interval_s(run: &Run) -> f64 {
    run.series.windows(2).map(|pair| pair[1].at_s - pair[0].at_s).fold(f64::MAX, f64::min)
}

/// `50 µs`, `1 ms`: a round time on an axis.
fn time_tick(us: f64) -> String {
    match us {
        us if us < 0.999 => format!("{} ns", short(us * 1e3)),
        us if us < 999.9 => format!("{} µs", short(us)),
        us if us < 999_999.0 => format!("{} ms", short(us / 1e3)),
        us => format!("{} s", short(us / 1e6)),
    }
}

fn over_time(report: &Report) -> String {
    let mut runs: Vec<&Run> = report.runs.iter().filter(|run| 1 < run.series.len()).collect();
    let left_out: Vec<String> = runs.drain(LINES_MAX.min(runs.len())..).map(|run| run.name.clone()).collect();
    if runs.is_empty() || report.sweep.is_some() {
        return String::new();
    }
    let is_one = report.runs.len() == 1;
    let end_s = runs.iter().filter_map(|run| Some(run.series.last()?.at_s + interval_s(run))).fold(0.0, f64::max);
    let x = || Axis::up_to("time, s", end_s, short);
    let mut lines: Vec<Line> = Vec::new();
    let mut rates: Vec<Line> = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        // A moment stands in the middle of what it is of.
        let half_s = interval_s(run) / 2.0;
        type Pick = fn(&super::model::Moment) -> Option<f64>;
        let picks: &[(&str, Pick)] = if is_one {
            &[("p50", |m| m.p50_us), ("p99", |m| m.p99_us), ("p99.9", |m| m.p999_us), ("longest", |m| m.max_us)]
        } else {
            &[("p99", |m| m.p99_us)]
        };
        for (number, (name, pick)) in picks.iter().enumerate() {
            let points = run.series.iter().map(|moment| Some((moment.at_s + half_s, pick(moment)?)));
            let name = if is_one { (*name).to_string() } else { format!("{}, {name}", run.name) };
            // The longest often lies on p99.9: both are seen if one has gaps.
            let (colour, dash) = if is_one { (number, if number == 3 { 2 } else { 0 }) } else { (at, at / 8) };
            lines.push(Line { name, points: points.collect(), has_dots: false, colour, dash });
        }
        let points = run.series.iter().map(|moment| Some((moment.at_s + half_s, moment.per_s)));
        rates.push(Line {
            name: run.name.clone(),
            points: points.collect(),
            has_dots: false,
            colour: at,
            dash: at / 8,
        });
    }
    lines.retain(|line| line.points.iter().any(Option::is_some));
    let bounds = |lines: &[Line]| {
        let values = lines.iter().flat_map(|line| line.points.iter().flatten().map(|(_, y)| *y));
        values.fold((f64::MAX, 0.0f64), |(low, high), y| (low.min(y), high.max(y)))
    };
    let mut out = String::new();
    if !lines.is_empty() {
        let (low, high) = bounds(&lines);
        let chart = Chart {
            description: "Latency over time".into(),
            x: x(),
            y: Axis::log("latency", low.max(1.0), high.max(2.0), time_tick),
            lines,
            marks: Vec::new(),
        };
        let lengths = by_run(runs.iter().copied(), |run| format!("{} s", significant(interval_s(run))));
        let lengths = match &lengths[..] {
            [(length, _)] => format!("of {length}"),
            several => {
                let of = |(length, names): &(String, Vec<&str>)| format!("of {length} in {}", names.join(", "));
                several.iter().map(of).collect::<Vec<_>>().join(", ")
            }
        };
        let whose = if is_one || 1 < runs.len() { String::new() } else { format!(" The p99 of {}.", runs[0].name) };
        let left_out = no_room_for(&left_out);
        let note = format!("Of the requests that were planned in each interval, {lengths}.{whose}{left_out}");
        out += &section("Latency over time", &note, &chart.svg());
    }
    let (_, high) = bounds(&rates);
    let marks = Vec::new();
    let offered = runs[0].offered_per_s.filter(|_| is_one);
    if let Some(offered) = offered {
        let points = vec![Some((0.0, offered)), Some((end_s, offered))];
        rates.push(Line { name: "offered".into(), points, has_dots: false, colour: 1, dash: 1 });
    }
    if let Some(line) = rates.first_mut().filter(|_| is_one) {
        line.name = "answered".into();
    }
    let y = Axis::linear("requests per second", high.max(offered.unwrap_or(0.0)), short);
    let chart = Chart { description: "Throughput over time".into(), x: x(), y, lines: rates, marks };
    let whose = if is_one || 1 < runs.len() { String::new() } else { format!("Of {}.", runs[0].name) };
    out + &section("Throughput over time", &(whose + &no_room_for(&left_out)), &chart.svg())
}

fn swept(report: &Report) -> String {
    let sweep = report.sweep.as_ref().expect("asked for");
    let steps: Vec<&Run> = sweep.steps.iter().map(|step| &report.runs[*step]).collect();
    let offered: Vec<f64> = steps.iter().map(|run| run.offered_per_s.unwrap_or(0.0)).collect();
    let most = offered.iter().copied().fold(0.0, f64::max);
    let knee = sweep.knee_per_s.map(|knee| (knee, format!("knee: {}/s", short(knee))));
    let mut out = String::from("<div class=\"cards\">");
    out += &card(
        "held up to",
        &sweep.knee_per_s.map_or("–".into(), |knee| format!("{}/s", rate(knee))),
        &sweep.knee_reason,
    );
    if let Some(peak) = sweep.peak_per_s {
        out += &card("closed loop", &format!("{}/s", rate(peak)), "");
    }
    out += "</div>\n";
    if steps.is_empty() {
        return out;
    }
    let achieved = steps.iter().zip(&offered).map(|(run, offered)| Some((*offered, run.achieved_per_s?)));
    let line = |name: &str, points: Vec<Option<(f64, f64)>>, has_dots, colour, dash| Line {
        name: name.into(),
        points,
        has_dots,
        colour,
        dash,
    };
    let chart = Chart {
        description: "Achieved over offered rate".into(),
        x: Axis::linear("offered, requests per second", most, short),
        y: Axis::linear("achieved, requests per second", most, short),
        lines: vec![
            line("achieved", achieved.collect(), true, 0, 0),
            line("all that was offered", vec![Some((0.0, 0.0)), Some((most, most))], false, 1, 1),
        ],
        marks: knee.iter().cloned().collect(),
    };
    out += &section("Throughput over rate", "", &chart.svg());
    let mut lines = Vec::new();
    for (colour, at) in [50.0, 99.0, 99.9].into_iter().enumerate() {
        let points =
            steps.iter().zip(&offered).map(|(run, offered)| Some((*offered, run.rows.first()?.latency.at(at)?)));
        lines.push(line(&format!("p{}", percentile(at)), points.collect(), true, colour, 0));
    }
    let values = || lines.iter().flat_map(|line| line.points.iter().flatten().map(|(_, y)| *y));
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(1.0, f64::max));
    let chart = Chart {
        description: "Latency over offered rate".into(),
        x: Axis::linear("offered, requests per second", most, short),
        y: Axis::log("response time", low.max(1.0), high.max(2.0), time_tick),
        lines: lines.clone(),
        marks: knee.into_iter().collect(),
    };
    out + &section("Latency over rate", "", &chart.svg())
}

fn compared(comparison: &Comparison) -> String {
    let mut out = format!(
        "<p class=\"note\">A is <b>{}</b>, B is <b>{}</b>. {} rounds of A, B and A again; medians of the rounds, intervals of {:.0} % by bootstrap over the rounds. The control compares A with itself: a difference within its spread is noise.</p>\n",
        escape(&comparison.name_a),
        escape(&comparison.name_b),
        comparison.rounds,
        100.0 * comparison.confidence
    );
    let three = |interval: &super::model::Interval| (interval.median, interval.low, interval.high);
    let rows: Vec<RatioRow> = comparison
        .metrics
        .iter()
        .map(|metric| RatioRow {
            name: format!(
                "{} ({})",
                metric.name,
                if metric.is_more_better { "more is better" } else { "less is better" }
            ),
            ratio: three(&metric.ratio),
            control: three(&metric.control),
            text: format!("{:.3} ({:.3}–{:.3})", metric.ratio.median, metric.ratio.low, metric.ratio.high),
        })
        .map(|mut row| {
            row.name = row.name.replace(" (more is better)", " ↑").replace(" (less is better)", " ↓");
            row
        })
        .collect();
    let svg = ratios("Ratios of B to A with their intervals", "ratio, logarithmic", &rows);
    out += &section("B over A", "↑ more is better, ↓ less is better.", &svg);
    let mut body = String::from(
        "<table><thead><tr><th></th><th>A</th><th>B</th><th>B / A</th><th>interval</th><th>control</th><th class=\"words\">verdict</th></tr></thead><tbody>",
    );
    for metric in &comparison.metrics {
        let _ = write!(
            body,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.3}–{:.3}</td><td>{:.3}–{:.3}</td><td class=\"words\">{}</td></tr>",
            escape(&metric.name),
            figure(metric.a, &metric.unit),
            figure(metric.b, &metric.unit),
            metric.ratio.median,
            metric.ratio.low,
            metric.ratio.high,
            metric.control.low,
            metric.control.high,
            escape(&metric.verdict)
        );
    }
    out + &section("In figures", "", &(body + "</tbody></table>"))
}

fn table(rows: &[Row]) -> String {
    let has = |pick: &dyn Fn(&Row) -> bool| rows.iter().any(pick);
    let (counts, rates) = (has(&|row| row.latency.count.is_some()), has(&|row| row.per_s.is_some()));
    let (nils, means) = (has(&|row| row.nils.is_some()), has(&|row| row.latency.mean_us.is_some()));
    let marks: Vec<f64> = PERCENTILES.iter().copied().filter(|at| has(&|row| row.latency.at(*at).is_some())).collect();
    let mut out = String::from("<div class=\"wide\"><table><thead><tr><th></th>");
    let titles = [(counts, "count"), (rates, "per second"), (nils, "null"), (means, "mean")];
    for (_, title) in titles.iter().filter(|(is_shown, _)| *is_shown) {
        let _ = write!(out, "<th>{title}</th>");
    }
    for at in &marks {
        let _ = write!(out, "<th>p{}</th>", percentile(*at));
    }
    out += "<th>longest</th></tr></thead><tbody>";
    for row in rows {
        let latency = &row.latency;
        let _ = write!(out, "<tr><th>{}</th>", escape(&row.name));
        let dash = || "–".to_string();
        let cells = [
            (counts, latency.count.map_or_else(dash, grouped)),
            (rates, row.per_s.map_or_else(dash, rate)),
            (nils, row.nils.map_or_else(dash, grouped)),
            (means, latency.mean_us.map_or_else(dash, time)),
        ];
        for (_, text) in cells.iter().filter(|(is_shown, _)| *is_shown) {
            let _ = write!(out, "<td>{text}</td>");
        }
        for at in &marks {
            let class = if latency.is_thin_at(*at) {
                " class=\"thin\" title=\"fewer than ten samples lie above it\""
            } else {
                ""
            };
            let _ = write!(out, "<td{class}>{}</td>", latency.at(*at).map_or_else(dash, time));
        }
        let _ = write!(out, "<td>{}</td></tr>", latency.max_us.map_or_else(dash, time));
    }
    out + "</tbody></table></div>"
}

fn details(run: &Run, is_only: bool) -> String {
    let mut body = table(&run.rows);
    if let Some((name, other)) = run.rows.first().and_then(|row| row.other.as_ref()) {
        let row = Row { name: "all".into(), latency: other.clone(), ..Row::default() };
        let _ = write!(body, "<h3>{}</h3>{}", escape(&capital(name)), table(&[row]));
    }
    let mut facts: Vec<(String, String)> = run.settings.clone();
    let mut fact = |name: &str, value: String| facts.push((name.into(), value));
    if let (Some(offered), Some(achieved)) = (run.offered_per_s, run.achieved_per_s) {
        fact(
            "achieved",
            format!("{} of {} requests/s offered ({:.1} %)", rate(achieved), rate(offered), 100.0 * achieved / offered),
        );
    }
    if let Some(seconds) = run.seconds {
        fact("measured for", format!("{} s", significant(seconds)));
    }
    if let Some(counts) = &run.counts {
        let text = format!(
            "{} planned: {} answered ({} with an error), {} unanswered, {} unsent, {} lost with their connection",
            grouped(counts.planned),
            grouped(counts.answered),
            grouped(counts.error_replies),
            grouped(counts.unanswered),
            grouped(counts.unsent),
            grouped(counts.lost)
        );
        fact("requests", text);
        if 0 < counts.bytes_sent {
            fact(
                "traffic",
                format!("{} bytes sent, {} received", grouped(counts.bytes_sent), grouped(counts.bytes_received)),
            );
        }
        if 0 < counts.connections_closed + counts.redirections {
            fact("connections", format!("{} closed, {} redirections", counts.connections_closed, counts.redirections));
        }
    }
    if let Some(cpu) = &run.cpu {
        let per_s = cpu.per_cpu_second().map_or("–".into(), rate);
        fact(
            "server CPU",
            format!(
                "{:.2} s user, {:.2} s system over {:.1} s: {per_s} requests per CPU second",
                cpu.user_s, cpu.system_s, cpu.over_s
            ),
        );
    }
    if let Some(generator) = &run.generator {
        let late = |at: f64| generator.lateness.at(at).map_or("–".into(), time);
        let text = format!(
            "{} thread(s), {} connections; busy {:.0} %, waited for a CPU {:.1} %; own lateness p50 {}, p99 {}, p99.9 {}",
            generator.threads,
            generator.connections,
            100.0 * generator.busy,
            100.0 * generator.run_queue,
            late(50.0),
            late(99.0),
            late(99.9)
        );
        fact("load generator", text);
    }
    for (text, count) in &run.errors {
        fact("error reply", format!("{} × {text}", grouped(*count)));
    }
    if !facts.is_empty() {
        body += "<table class=\"facts\"><tbody>";
        for (name, value) in &facts {
            let _ = write!(body, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
        }
        body += "</tbody></table>";
    }
    let note = format!("Latency is {}.", run.latency_means);
    let note = if run.latency_means.is_empty() || is_only { "" } else { note.as_str() };
    section(if is_only { "Figures" } else { &run.name }, note, &body)
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::super::model::{Counts, Interval, Metric, Moment, Sweep};
    use super::*;
    use crate::engine::record::histogram;

    fn run(name: &str, offered_per_s: f64) -> Run {
        let mut values = histogram();
        (1..=5_000u64).for_each(|us| values.saturating_record(us * 1000));
        let latency = Distribution::of(&values);
        let row = |name: &str| Row { name: name.into(), latency: latency.clone(), ..Row::default() };
        let moment =
            |at| Moment { at_s: at as f64, per_s: 10.0, p99_us: (at != 1).then_some(5.0), ..Moment::default() };
        Run {
            name: name.into(),
            offered_per_s: Some(offered_per_s),
            achieved_per_s: Some(offered_per_s * 0.9),
            counts: Some(Counts::default()),
            rows: vec![row("all"), row("GET"), row("<b>")],
            series: (0..5).map(moment).collect(),
            warnings: vec!["a <warning>".into()],
            ..Run::default()
        }
    }

    /// Every element that was opened is closed, in order.
    fn check_nesting(html: &str) {
        let html = &html[html.find("<body>").expect("a body")..];
        let mut open: Vec<&str> = Vec::new();
        for piece in html.split('<').skip(1) {
            let tag = piece.split('>').next().unwrap();
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
            if tag.starts_with('/') {
                assert!(open.pop() == Some(name) || name == "html", "</{name}> closes something else");
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?} stay open");
    }

    #[test]
    fn pages_are_whole_and_from_nowhere_else() {
        let one = Report { title: "one & only".into(), runs: vec![run("a", 100.0)], ..Report::default() };
        let sweep = Sweep { steps: vec![0, 1], knee_per_s: Some(100.0), ..Sweep::default() };
        let runs = vec![run("a", 100.0), run("b", 200.0)];
        let swept = Report { runs: runs.clone(), sweep: Some(sweep), ..Report::default() };
        let metric = Metric {
            name: "p99".into(),
            unit: "µs".into(),
            ratio: Interval { median: 1.0, low: 0.9, high: 1.1 },
            ..Metric::default()
        };
        let comparison = Comparison { metrics: vec![metric], ..Comparison::default() };
        let compared = Report { comparison: Some(comparison), ..Report::default() };
        // Interrupted before the first step was measured.
        let no_steps = Report { runs: runs.clone(), sweep: Some(Sweep::default()), ..Report::default() };
        let several = Report { runs, ..Report::default() };
        for report in [one, swept, no_steps, compared, several, Report::default()] {
            let page = page(&report);
            check_nesting(&page);
            for forbidden in ["<script", "src=", "href=", "url(", "@import", "NaN", "inf,"] {
                assert!(!page.contains(forbidden), "{forbidden}");
            }
            assert!(!page.contains("<b>:") && !page.contains("<warning>"), "texts are escaped");
        }
    }

    /// Two runs of four seconds, in which the last second but one was slow: by seconds, and by half seconds.
    #[test]
    fn runs_of_other_intervals_stand_at_their_own_times() {
        let of = |name: &str, steps: u32, length_s: f64, means: &str| {
            let moment = |at: u32| Moment {
                at_s: f64::from(at) * length_s,
                per_s: 10.0,
                p99_us: Some(if (2.0..3.0).contains(&(f64::from(at) * length_s)) { 5_000.0 } else { 50.0 }),
                ..Moment::default()
            };
            Run { series: (0..steps).map(moment).collect(), latency_means: means.into(), ..run(name, 10.0) }
        };
        let open = of("open", 8, 0.5, "response time");
        let (closed, alone) = (of("closed", 4, 1.0, "service time"), of("alone", 8, 0.5, "response time"));
        let page_of = |runs: &[&Run]| {
            page(&Report { runs: runs.iter().map(|run| (*run).clone()).collect(), ..Report::default() })
        };
        // The places of a line of the chart over time: those of its run alone, whoever stands beside it.
        let places = |page: &str, at: usize| {
            let chart = &page[page.find("<h2>Latency over time").expect("the chart")..];
            let line = chart.split("<path class=\"line").nth(at + 1).expect("a line");
            let path = line.split(" d=\"").nth(1).expect("its way").split('"').next().unwrap().to_string();
            let x = |pair: &str| pair.split_whitespace().next().unwrap().parse::<f64>().expect("a number");
            path.split(['M', 'L']).filter(|pair| !pair.trim().is_empty()).map(x).collect::<Vec<f64>>()
        };
        let both = page_of(&[&closed, &open]);
        let (long, short) = (places(&both, 0), places(&both, 1));
        assert_eq!((long.len(), short.len()), (4, 8));
        // The first half second stands at a quarter of a second, which is half of where the first second stands.
        let zero = 2.0 * short[0] - (short[0] + short[1]) / 2.0;
        assert!(((short[0] - zero) * 2.0 - (long[0] - zero)).abs() < 0.3, "{long:?} {short:?}");
        assert_eq!(places(&page_of(&[&open, &closed]), 0), short, "whoever comes first");
        assert!(both.contains("of 1.00 s in closed, of 0.50 s in open."), "{both}");
        assert!(both.contains("Latency of closed is service time. Latency of open is response time."));
        let same = page_of(&[&open, &alone]);
        assert!(same.contains("each interval, of 0.50 s.") && same.contains("Latency is response time."));
    }

    #[test]
    fn what_a_plot_leaves_out_is_named_and_lines_are_told_apart() {
        let names: Vec<String> = (0..LINES_MAX + 2).map(|at| format!("r{at}")).collect();
        let many = Report { runs: names.iter().map(|name| run(name, 1.0)).collect(), ..Report::default() };
        let wanted = "There is room for 12 lines; left out: r12, r13.";
        assert_eq!(page(&many).matches(wanted).count(), 3, "curves, latency and throughput over time");

        // As redis-benchmark's: rows and no sum, and no series.
        let rows = ["SET", "GET", "INCR"].map(|name| Row { name: name.into(), ..run("x", 1.0).rows.swap_remove(0) });
        let csv = Run { rows: rows.into(), series: Vec::new(), ..run("csv", 1.0) };
        let page = page(&Report { runs: vec![csv, run("own", 1.0)], ..Report::default() });
        let chart = &page[page.find("<h2>Latency by percentile").expect("the chart")..];
        let chart = &chart[..chart.find("</section>").expect("its end")];
        let looks = chart.split("<path class=\"line").skip(1).map(|line| line.split(" d=\"").next().unwrap());
        assert_eq!(looks.collect::<std::collections::BTreeSet<&str>>().len(), 4, "{chart}");
        assert!(page.contains("The p99 of own.") && page.contains("Of own."), "whose the only line over time is");
    }

    #[test]
    fn a_page_shows_what_was_measured() {
        let page = page(&Report { title: "t".into(), runs: vec![run("a", 100.0)], ..Report::default() });
        for wanted in
            ["Latency by percentile", "Latency over time", "Throughput over time", "5,000", "4.95 ms", "99.9 %"]
        {
            assert!(page.contains(wanted), "{wanted}");
        }
    }
}
