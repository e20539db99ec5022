//! Reads results of other tools, and our own, into a report: what a file is, its content tells.
//!
//! | File | From |
//! |---|---|
//! | `result.json` | corering-bench |
//! | JSON with `ALL STATS`, or `BEST RUN RESULTS` and others | memtier_benchmark `--json-out-file`, with `--run-count` |
//! | CSV with `"test","rps",…`, or those two without a head | redis-benchmark `--csv`, valkey-benchmark `--csv`; before 6.2 |
//! | a percentile distribution | HdrHistogram, wrk2, memtier_benchmark's `.txt`, our `.hgrm`: in milliseconds |
//! | an interval log (`HISTF…` in each line) | HdrHistogram, memtier_benchmark's `.hgrm`: in microseconds |
//!
//! These tools are closed loops that take the time from the sending of a request; the report says so.

use super::model::{Counts, Distribution, FORMAT, Moment, Point, Report, Row, Run};
use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde_json::Value;
use std::path::Path;

/// The longest file that is read.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

const CLOSED: &str = "from the sending of a request to its reply, in a closed loop: while the server stalls nothing is sent, so stalls are under-represented";
const UNKNOWN: &str = "as the file has them; what was measured it does not say";

/// The runs of a file.
pub fn read(path: &Path) -> Result<Vec<Run>, String> {
    let says = |what: String| format!("{}: {what}", path.display());
    let bytes = std::fs::metadata(path).map_err(|error| says(error.to_string()))?.len();
    if FILE_BYTES_MAX < bytes {
        return Err(says(format!("{bytes} bytes are more than {FILE_BYTES_MAX}")));
    }
    let content = std::fs::read(path).map_err(|error| says(error.to_string()))?;
    let name = path.file_stem().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
    parse(&String::from_utf8_lossy(&content), &name).map_err(says)
}

/// The runs of a file's content; `name` is that of runs which have none.
pub fn parse(text: &str, name: &str) -> Result<Vec<Run>, String> {
    let begin = text.trim_start();
    if begin.starts_with('{') {
        let json: Value = serde_json::from_str(text).map_err(|error| format!("no valid JSON: {error}"))?;
        if let Some(stats) = json.get("ALL STATS") {
            return memtier_json(&json, stats, name).map(|run| vec![run]);
        }
        // With --run-count it tells of the best, the worst, and the mean of all.
        let several = json
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| key.contains("RUN RESULTS") || key.contains("AVERAGE RESULTS"));
        let several =
            several.map(|(key, stats)| memtier_json(&json, stats, &format!("{name}, {}", key.to_lowercase())));
        let several = several.collect::<Result<Vec<Run>, String>>()?;
        if !several.is_empty() {
            return Ok(several);
        }
        if json.get("format").is_some() && json.get("runs").is_some() {
            return own_json(json);
        }
        return Err("JSON of an unknown kind: want result.json or memtier_benchmark's".into());
    }
    // With --cluster, redis-benchmark tells of the nodes before.
    if let Some(head) = text.lines().position(|line| line.starts_with('"') && line.contains("\"rps\"")) {
        return benchmark_csv(text.lines().skip(head), name).map(|run| vec![run]);
    }
    // Before Redis 6.2 it wrote no head, and rates alone.
    if let Some(first) = text.lines().position(is_bare_rate) {
        let head = std::iter::once("\"test\",\"rps\"");
        return benchmark_csv(head.chain(text.lines().skip(first)), name).map(|run| vec![run]);
    }
    if text.lines().any(|line| line.contains("Value") && line.contains("Percentile") && line.contains("TotalCount")) {
        return distribution(text, name).map(|run| vec![run]);
    }
    if text.contains("HISTF") || text.contains("HISTE") {
        return interval_log(text, name).map(|run| vec![run]);
    }
    Err("of no known kind: want result.json, redis-benchmark's CSV, memtier_benchmark's JSON, .hgrm or .txt".into())
}

fn own_json(json: Value) -> Result<Vec<Run>, String> {
    let format = json.get("format").and_then(Value::as_u64).unwrap_or(0);
    if u64::from(FORMAT) < format {
        return Err(format!("format {format} is newer than {FORMAT}, which this version reads"));
    }
    let report: Report = serde_json::from_value(json).map_err(|error| format!("no valid result.json: {error}"))?;
    Ok(report.runs)
}

/// Whether a line is a name and a number, both in quotes.
fn is_bare_rate(line: &str) -> bool {
    let quotes = line.trim_end().matches('"').count();
    let fields = csv_fields(line);
    line.starts_with('"') && quotes == 4 && fields.len() == 2 && fields[1].parse::<f64>().is_ok()
}

fn benchmark_csv<'a>(lines: impl Iterator<Item = &'a str>, name: &str) -> Result<Run, String> {
    let mut lines = lines.filter(|line| !line.trim().is_empty());
    let columns = csv_fields(lines.next().expect("looked at"));
    let mut rows = Vec::new();
    for line in lines {
        let fields = csv_fields(line);
        if fields.len() != columns.len() {
            return Err(format!("`{line}` has {} fields, the head {}", fields.len(), columns.len()));
        }
        let field = |wanted: &str| {
            let at = columns.iter().position(|column| column == wanted)?;
            fields[at].parse::<f64>().ok()
        };
        let us = |wanted: &str| field(wanted).map(|ms| ms * 1e3);
        let marks =
            [(0.0, "min_latency_ms"), (50.0, "p50_latency_ms"), (95.0, "p95_latency_ms"), (99.0, "p99_latency_ms")];
        let marks = marks.iter().chain(&[(100.0, "max_latency_ms")]);
        let curve =
            marks.filter_map(|(percentile, column)| Some(Point { percentile: *percentile, us: us(column)?, count: 0 }));
        let latency = Distribution {
            min_us: us("min_latency_ms"),
            mean_us: us("avg_latency_ms"),
            max_us: us("max_latency_ms"),
            curve: curve.collect(),
            ..Distribution::default()
        };
        rows.push(Row { name: fields[0].clone(), per_s: field("rps"), latency, ..Row::default() });
    }
    if rows.is_empty() {
        return Err("no test is in it".into());
    }
    Ok(Run { name: name.into(), latency_means: CLOSED.into(), rows, ..Run::default() })
}

/// Fields of a line of CSV; a quote within quotes is written twice.
fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = line.trim_end().chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut().expect("one at least");
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    fields
}

/// `stats`: of one run, or the mean of several; `json`: all that the file has.
fn memtier_json(json: &Value, stats: &Value, name: &str) -> Result<Run, String> {
    let stats = stats.as_object().ok_or("no statistics are in it")?;
    let mut rows = Vec::new();
    let number = |value: &Value, field: &str| value.get(field).and_then(Value::as_f64);
    for (key, of_command) in stats {
        let count = number(of_command, "Count").unwrap_or(0.0);
        if key == "Runtime" || count == 0.0 {
            continue;
        }
        let latencies = of_command.get("Percentile Latencies");
        let compressed =
            latencies.and_then(|all| all.get("Histogram log format")?.get("Compressed Histogram")?.as_str());
        let mut latency = match compressed {
            Some(text) => of_microseconds(&decode(text)?),
            None => Distribution::default(),
        };
        if latency.curve.is_empty()
            && let Some(all) = latencies.and_then(Value::as_object)
        {
            let points = all.iter().filter_map(|(key, ms)| {
                Some(Point { percentile: key.strip_prefix('p')?.parse().ok()?, us: ms.as_f64()? * 1e3, count: 0 })
            });
            latency.curve = points.collect();
            latency.curve.sort_by(|a, b| a.percentile.total_cmp(&b.percentile));
            latency.count = None;
        }
        latency.mean_us =
            number(of_command, "Average Latency").filter(|ms| 0.0 < *ms).map(|ms| ms * 1e3).or(latency.mean_us);
        let is_all = key == "Totals";
        let title = match key.as_str() {
            "Totals" => "all",
            "Sets" => "SET",
            "Gets" => "GET",
            other => other,
        };
        let per_s = number(of_command, "Ops/sec");
        let row = Row { name: title.into(), per_s, latency, ..Row::default() };
        if is_all { rows.insert(0, row) } else { rows.push(row) }
    }
    if rows.is_empty() {
        return Err("no request was counted".into());
    }
    let totals = stats.get("Totals");
    // memtier_benchmark leaves the mean of all at 0 and tells those of the commands, which are exact.
    if rows[0].name == "all" && totals.and_then(|all| number(all, "Average Latency")).is_none_or(|ms| ms <= 0.0) {
        let of_commands = stats.iter().filter(|(key, _)| !["Runtime", "Waits", "Totals"].contains(&key.as_str()));
        let (mut sum_ms, mut count) = (0.0, 0.0);
        for (_, of_command) in of_commands {
            let own = number(of_command, "Count").unwrap_or(0.0);
            sum_ms += own * number(of_command, "Average Latency").unwrap_or(0.0);
            count += own;
        }
        if 0.0 < sum_ms && totals.and_then(|all| number(all, "Count")) == Some(count) {
            rows[0].latency.mean_us = Some(1e3 * sum_ms / count);
        }
    }
    let mut series = Vec::new();
    if let Some(seconds) = totals.and_then(|all| all.get("Time-Serie")?.as_object()) {
        for (second, of_second) in seconds {
            let us = |field: &str| number(of_second, field).map(|ms| ms * 1e3);
            series.push(Moment {
                at_s: second.parse().unwrap_or(0.0),
                per_s: number(of_second, "Count").unwrap_or(0.0),
                p50_us: us("p50.00"),
                p99_us: us("p99.00"),
                p999_us: us("p99.90"),
                max_us: us("Max Latency"),
            });
        }
        series.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    }
    let run_time = stats.get("Runtime").and_then(|runtime| number(runtime, "Total duration"));
    let answered = totals.and_then(|all| number(all, "Count")).unwrap_or(0.0) as u64;
    let mut settings = Vec::new();
    if let Some(configuration) = json.get("configuration").and_then(Value::as_object) {
        let wanted = ["server", "port", "threads", "clients", "pipeline", "ratio", "data_size", "key_pattern"];
        for key in wanted {
            if let Some(value) = configuration.get(key) {
                settings.push((key.replace('_', " "), value.to_string().trim_matches('"').to_string()));
            }
        }
    }
    Ok(Run {
        name: name.into(),
        settings,
        latency_means: CLOSED.into(),
        achieved_per_s: totals.and_then(|all| number(all, "Ops/sec")),
        seconds: run_time.map(|ms| ms / 1e3),
        counts: Some(Counts { planned: answered, answered, ..Counts::default() }),
        rows,
        series,
        ..Run::default()
    })
}

fn distribution(text: &str, name: &str) -> Result<Run, String> {
    let mut latency = Distribution::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [value, part, count, _] | [value, part, count] = words[..]
            && let (Ok(ms), Ok(part), Ok(count)) = (value.parse::<f64>(), part.parse::<f64>(), count.parse::<u64>())
        {
            if !(0.0..=1.0).contains(&part) || !ms.is_finite() {
                return Err(format!("`{}` is no line of a percentile distribution", line.trim()));
            }
            latency.curve.push(Point { percentile: part * 100.0, us: ms * 1e3, count });
        }
        let value_of = |mark: &str| {
            let (_, behind) = line.split_once(mark)?;
            behind.trim_start_matches([' ', '=']).split([',', ']']).next()?.trim().parse::<f64>().ok()
        };
        latency.mean_us = value_of("#[Mean").map(|ms| ms * 1e3).or(latency.mean_us);
        latency.stdev_us = value_of("StdDeviation").map(|ms| ms * 1e3).or(latency.stdev_us);
        latency.max_us = value_of("#[Max").map(|ms| ms * 1e3).or(latency.max_us);
        latency.count = value_of("Total count").map(|count| count as u64).or(latency.count);
    }
    if latency.curve.is_empty() {
        return Err("the percentile distribution has no lines".into());
    }
    latency.curve.sort_by(|a, b| a.percentile.total_cmp(&b.percentile));
    latency.count = latency.count.or(latency.curve.last().map(|point| point.count));
    let rows = vec![Row { name: "all".into(), latency, ..Row::default() }];
    Ok(Run { name: name.into(), latency_means: UNKNOWN.into(), rows, ..Run::default() })
}

fn interval_log(text: &str, name: &str) -> Result<Run, String> {
    let mut sum: Option<Histogram<u64>> = None;
    let mut series = Vec::new();
    let mut first_s = None;
    for line in text.lines() {
        let Some(at) = line.find("HISTF").or_else(|| line.find("HISTE")) else { continue };
        let of_line = decode(line[at..].trim_end_matches(['"', ' ']))?;
        let mut fields = line[..at].split(',').filter(|field| !field.starts_with("Tag="));
        let begin_s: Option<f64> = fields.next().and_then(|field| field.parse().ok());
        // The second column is the interval's length, or (memtier_benchmark) its end.
        let second: Option<f64> = fields.next().and_then(|field| field.parse().ok());
        if let (Some(begin_s), Some(second)) = (begin_s, second) {
            let length_s = if begin_s <= second && 1e6 < begin_s { second - begin_s } else { second };
            let first_s = *first_s.get_or_insert(begin_s);
            let us = |quantile| Some(of_line.value_at_quantile(quantile) as f64).filter(|_| !of_line.is_empty());
            series.push(Moment {
                at_s: begin_s - first_s,
                per_s: if 0.0 < length_s { of_line.len() as f64 / length_s } else { 0.0 },
                p50_us: us(0.5),
                p99_us: us(0.99),
                p999_us: us(0.999),
                max_us: us(1.0),
            });
        }
        match &mut sum {
            None => {
                let mut first = of_line;
                first.auto(true);
                sum = Some(first);
            }
            Some(sum) => sum.add(&of_line).map_err(|_| "its histograms do not fit together".to_string())?,
        }
    }
    let latency = of_microseconds(&sum.ok_or("no histogram is in it")?);
    if series.len() < 2 {
        series.clear();
    }
    let rows = vec![Row { name: "all".into(), latency, ..Row::default() }];
    Ok(Run { name: name.into(), latency_means: UNKNOWN.into(), rows, series, ..Run::default() })
}

/// A histogram in base64, in its own unit.
fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| format!("no valid base64: {error}"))?;
    Deserializer::new().deserialize(&mut &bytes[..]).map_err(|error| format!("no valid histogram: {error:?}"))
}

/// From a histogram of microseconds. Percentiles are the upper ends of its steps, as everywhere; mean and deviation are
/// taken from their middles, since its steps may be wide.
fn of_microseconds(read: &Histogram<u64>) -> Distribution {
    let mut scaled = crate::engine::record::histogram();
    for step in read.iter_recorded() {
        scaled.saturating_record_n(step.value_iterated_to().saturating_mul(1_000), step.count_at_value());
    }
    let mut distribution = Distribution::of(&scaled);
    if !read.is_empty() {
        distribution.mean_us = Some(read.mean());
        distribution.stdev_us = Some(read.stdev());
    }
    distribution
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\"SET\",\"64102.56\",\"0.560\",\"0.072\",\"0.335\",\"1.903\",\"2.935\",\"3.183\"\n\"MSET (10 keys)\",\"59523.81\",\"0.578\",\"0.064\",\"0.263\",\"2.607\",\"4.231\",\"5.039\"\n";
    const COMPRESSED: &str = "HISTFAAAAJB4nJNpmSzMwMBQzAABTFCaC0QoH3ZjsP8AEWA0u8ByTaRNuUmzS/wSzxPWB8yTmOYwmqh5GEjwiImxiEhIyahpSPHwMHKJsbDxCHBxsbCxcDCysDCysTMxcTMxMTGzFANJcxZtJlYWFmkmdSZGJiYWRiYWJmsmJkYWDhZVJlYgx5mJl4ltLSNQkpENAH8cEXA=";

    #[test]
    fn redis_benchmark_is_read() {
        let runs = parse(CSV, "debian").unwrap();
        let rows = &runs[0].rows;
        assert_eq!((rows.len(), rows[1].name.as_str(), rows[0].per_s), (2, "MSET (10 keys)", Some(64102.56)));
        assert_eq!((rows[0].latency.at(99.0), rows[0].latency.max_us), (Some(2935.0), Some(3183.0)));
        assert_eq!(rows[0].latency.at(99.9), None, "it does not say");
        let of_cluster = format!("Cluster has 2 master nodes:\n\nMaster 0: 5ab2 127.0.0.1:7001\n\n{CSV}");
        assert_eq!(parse(&of_cluster, "debian").unwrap()[0].rows.len(), 2);
    }

    #[test]
    fn memtier_benchmark_is_read_in_every_form() {
        let json = format!(
            "{{\"configuration\": {{\"threads\": 4}}, \"ALL STATS\": {{\"Runtime\": {{\"Total duration\": 119}},
              \"Waits\": {{\"Count\": 0}},
              \"Totals\": {{\"Count\": 10000, \"Ops/sec\": 83671.51, \"Time-Serie\": {{\"1\": {{\"Count\": 5}}, \"0\": {{\"Count\": 10, \"p99.00\": 0.271}}}},
                \"Percentile Latencies\": {{\"p50.00\": 0.047, \"Histogram log format\": {{\"Compressed Histogram\": \"{COMPRESSED}\"}}}}}}}}}}"
        );
        let run = &parse(&json, "m").unwrap()[0];
        assert_eq!((run.rows[0].name.as_str(), run.rows[0].latency.count), ("all", Some(10_000)));
        let p50 = run.rows[0].latency.at(50.0).unwrap();
        assert!((46.0..=48.5).contains(&p50), "memtier says 0.047 ms, not {p50} µs");
        assert_eq!((run.series[0].per_s, run.series[0].p99_us), (10.0, Some(271.0)));

        let log = format!(
            "#[x]\n\"StartTimestamp\",\"EndTimestamp\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n1795278223.480,1795278223.600,5439.0,{COMPRESSED}\n"
        );
        let run = &parse(&log, "m").unwrap()[0];
        assert_eq!(run.rows[0].latency.at(50.0), Some(p50));
        let max = run.rows[0].latency.max_us.unwrap();
        assert!((max / 5439.0 - 1.0).abs() < 0.01, "{max}");
    }

    #[test]
    fn memtier_benchmark_is_read_where_it_measured_several_times() {
        let of = |rate: f64| format!("{{\"Totals\": {{\"Count\": 10, \"Ops/sec\": {rate}}}}}");
        let json = format!(
            "{{\"configuration\": {{\"run_count\": 2}}, \"BEST RUN RESULTS\": {}, \"WORST RUN RESULTS\": {},
              \"AGGREGATED AVERAGE RESULTS (2 runs)\": {}}}",
            of(3.0),
            of(1.0),
            of(2.0)
        );
        let runs = parse(&json, "m").unwrap();
        let mut told: Vec<(&str, f64)> =
            runs.iter().map(|run| (run.name.as_str(), run.achieved_per_s.unwrap())).collect();
        told.sort_by(|a, b| a.1.total_cmp(&b.1));
        let wanted = [
            ("m, worst run results", 1.0),
            ("m, aggregated average results (2 runs)", 2.0),
            ("m, best run results", 3.0),
        ];
        assert_eq!(told, wanted);
        assert!(parse("{\"BEST RUN RESULTS\": 5}", "m").is_err());
    }

    #[test]
    fn an_old_redis_benchmark_is_read() {
        let rows =
            &parse("\"SET\",\"100000.00\"\n\"LRANGE_100 (first 100 elements)\",\"5.50\"\n", "old").unwrap()[0].rows;
        assert_eq!((rows[0].per_s, rows[1].per_s, rows[1].latency.count), (Some(1e5), Some(5.5), None));
        assert!(parse("\"SET\",\"fast\"\n", "old").is_err());
    }

    #[test]
    fn the_mean_of_all_is_that_of_the_commands() {
        let of = |count: u64, ms: f64| {
            format!(
                "{{\"Count\": {count}, \"Ops/sec\": 1.0, \"Average Latency\": {ms}, \"Percentile Latencies\":
                  {{\"p50.00\": 0.047, \"Histogram log format\": {{\"Compressed Histogram\": \"{COMPRESSED}\"}}}}}}"
            )
        };
        let json = |gets: u64| {
            let (sets, gets, waits) = (of(1_000, 0.187), of(gets, 0.173), of(0, 0.0));
            let all = of(10_000, 0.0);
            format!("{{\"ALL STATS\": {{\"Sets\": {sets}, \"Gets\": {gets}, \"Waits\": {waits}, \"Totals\": {all}}}}}")
        };
        let mean = |json: &str| parse(json, "m").unwrap()[0].rows[0].latency.mean_us.unwrap();
        assert!((mean(&json(9_000)) - 174.4).abs() < 0.01, "{}", mean(&json(9_000)));
        // If the commands are not all of it, the histogram tells, from the middles of its steps.
        let read = decode(COMPRESSED).unwrap();
        assert!((mean(&json(5)) - read.mean()).abs() < 0.01);
        let upper = read.iter_recorded().map(|step| (step.value_iterated_to() * step.count_at_value()) as f64);
        assert!(mean(&json(5)) < upper.sum::<f64>() / read.len() as f64);
    }

    #[test]
    fn a_distribution_that_was_written_is_read_back() {
        let mut values = crate::engine::record::histogram();
        (1..=100_000u64).for_each(|us| values.saturating_record(us * 1000));
        let written = Distribution::of(&values);
        let run = &parse(&super::super::files::hgrm(&written), "x").unwrap()[0];
        let read = &run.rows[0].latency;
        assert_eq!(read.count, written.count);
        for percentile in [50.0, 99.0, 99.9, 99.99] {
            assert!(
                (read.at(percentile).unwrap() / written.at(percentile).unwrap() - 1.0).abs() < 0.001,
                "{percentile}"
            );
        }
        assert!((read.max_us.unwrap() - written.max_us.unwrap()).abs() < 0.01);
    }

    #[test]
    fn what_is_no_result_is_refused() {
        let broken = COMPRESSED.replace('n', "!");
        let bad =
            ["", "hello", "{", "{}", "{\"ALL STATS\": {}}", "{\"ALL STATS\": 5}", "{\"format\": 99, \"runs\": []}"];
        let logs = [format!("1,2,3,{broken}"), "1,2,3,HISTFAAAA".to_string()];
        for bad in bad.into_iter().chain(logs.iter().map(String::as_str)) {
            assert!(parse(bad, "x").is_err(), "{bad}");
        }
        assert!(parse(&CSV.replace("\"3.183\"", ""), "x").is_ok(), "a field may be empty");
        assert!(parse(&CSV.replace(",\"3.183\"", ""), "x").is_err(), "but not missing");
        assert!(parse("Value Percentile TotalCount 1/(1-Percentile)\n\n", "x").is_err());
        assert!(parse("Value Percentile TotalCount\n1 7.0 5 1\n", "x").is_err());
    }
}
