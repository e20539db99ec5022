//! A report as files: JSON, CSV, a CSV over time, percentile distributions (`.hgrm`), HTML.

use super::html;
use super::model::{Distribution, PERCENTILES, Report};
use super::number::percentile;
use crate::cli::STDOUT;
use crate::console::say;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where a report goes. What is `None` is not written; `-` is the output.
#[derive(Debug, Clone, Default)]
pub struct Places {
    pub json: Option<PathBuf>,
    pub csv: Option<PathBuf>,
    pub series_csv: Option<PathBuf>,
    pub html: Option<PathBuf>,
    /// A path to which `_all.hgrm`, `_GET.hgrm` and so on are added.
    pub hgrm_prefix: Option<PathBuf>,
}

impl Places {
    /// All of them in one folder.
    pub fn folder(folder: &Path) -> Places {
        Places {
            json: Some(folder.join("result.json")),
            csv: Some(folder.join("result.csv")),
            series_csv: Some(folder.join("series.csv")),
            html: Some(folder.join("report.html")),
            hgrm_prefix: Some(folder.join("latency")),
        }
    }

    /// Writes the files, and makes their folders; tells which files were written.
    pub fn write(&self, report: &Report) -> Result<Vec<PathBuf>, String> {
        let mut files: Vec<(PathBuf, String)> = Vec::new();
        let json = || serde_json::to_string_pretty(report).expect("a report has no maps with odd keys") + "\n";
        files.extend(self.json.iter().map(|path| (path.clone(), json())));
        files.extend(self.csv.iter().map(|path| (path.clone(), csv(report))));
        files.extend(self.series_csv.iter().map(|path| (path.clone(), series_csv(report))));
        files.extend(self.html.iter().map(|path| (path.clone(), html::page(report))));
        if let Some(prefix) = &self.hgrm_prefix {
            let is_one = report.runs.len() == 1;
            for (at, run) in report.runs.iter().enumerate() {
                for row in &run.rows {
                    let name = if is_one { plain(&row.name) } else { format!("{}_{}", at + 1, plain(&row.name)) };
                    let mut path = prefix.clone().into_os_string();
                    path.push(format!("_{name}.hgrm"));
                    files.push((PathBuf::from(path), hgrm(&row.latency)));
                }
            }
        }
        let (printed, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|(path, _)| path.as_os_str() == STDOUT);
        for (path, text) in &files {
            let says = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder).map_err(says)?;
            }
            std::fs::write(path, text).map_err(says)?;
        }
        // Last: an output that nobody takes keeps no file from being written.
        for (_, text) in &printed {
            say(format_args!("{text}"))?;
        }
        Ok(files.into_iter().map(|(path, _)| path).collect())
    }
}

/// A name that suits a file.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}

fn cell(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.3}"))
}

/// A line for each command of each run, with names of columns above. Times are microseconds.
pub fn csv(report: &Report) -> String {
    let mut out = String::from("run,command,count,requests_per_s,offered_per_s,null_replies,min_us,mean_us,stdev_us");
    for at in PERCENTILES {
        let _ = write!(out, ",p{}_us", percentile(*at));
    }
    out += ",max_us,requests_per_cpu_s\n";
    for run in &report.runs {
        for (at, row) in run.rows.iter().enumerate() {
            let latency = &row.latency;
            let whole = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
            let offered = if at == 0 { run.offered_per_s } else { None };
            let _ = write!(
                out,
                "{},{},{},{},{},{},{},{},{}",
                quoted(&run.name),
                quoted(&row.name),
                whole(latency.count),
                cell(row.per_s),
                cell(offered),
                whole(row.nils),
                cell(latency.min_us),
                cell(latency.mean_us),
                cell(latency.stdev_us)
            );
            for at in PERCENTILES {
                let _ = write!(out, ",{}", cell(latency.at(*at)));
            }
            let per_cpu = if at == 0 { run.cpu.and_then(|cpu| cpu.per_cpu_second()) } else { None };
            let _ = writeln!(out, ",{},{}", cell(latency.max_us), cell(per_cpu));
        }
    }
    out
}

/// A line for each interval of each run.
pub fn series_csv(report: &Report) -> String {
    let mut out = String::from("run,at_s,requests_per_s,p50_us,p99_us,p99.9_us,max_us\n");
    for run in &report.runs {
        for moment in &run.series {
            let _ = writeln!(
                out,
                "{},{:.3},{:.1},{},{},{},{}",
                quoted(&run.name),
                moment.at_s,
                moment.per_s,
                cell(moment.p50_us),
                cell(moment.p99_us),
                cell(moment.p999_us),
                cell(moment.max_us)
            );
        }
    }
    out
}

/// A percentile distribution in milliseconds, as HdrHistogram's plotters read it.
pub fn hgrm(distribution: &Distribution) -> String {
    let mut out = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    for point in &distribution.curve {
        let part = point.percentile / 100.0;
        let _ = write!(out, "{:12.6} {:.12} {:10}", point.us / 1e3, part, point.count);
        let _ =
            if part < 1.0 { writeln!(out, " {:14.2}", 1.0 / (1.0 - part)) } else { writeln!(out, "            inf") };
    }
    let ms = |us: Option<f64>| us.unwrap_or(0.0) / 1e3;
    let _ = writeln!(
        out,
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]",
        ms(distribution.mean_us),
        ms(distribution.stdev_us)
    );
    let count = distribution.count.unwrap_or(0);
    let _ = writeln!(out, "#[Max     = {:12.6}, Total count    = {count:12}]", ms(distribution.max_us));
    let _ = writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]", 32, 2048);
    out
}

#[cfg(test)]
mod tests {
    use super::super::model::{Row, Run};
    use super::*;
    use crate::engine::record::histogram;

    fn report() -> Report {
        let mut values = histogram();
        (1..=1000u64).for_each(|us| values.saturating_record(us * 1000));
        let row = Row { name: "GET \"x\", y".into(), latency: Distribution::of(&values), ..Row::default() };
        Report { runs: vec![Run { name: "a,b".into(), rows: vec![row], ..Run::default() }], ..Report::default() }
    }

    #[test]
    fn tables_have_the_same_columns_in_every_line() {
        let text = csv(&report());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].split(',').count(), 18);
        assert!(lines[1].starts_with("\"a,b\",\"GET \"\"x\"\", y\",1000,"), "{text}");
        assert_eq!(lines[1].split(',').count(), 18 + 2, "two commas are quoted");
    }

    #[test]
    fn a_distribution_is_written_as_plotters_read_it() {
        let text = hgrm(&report().runs[0].rows[0].latency);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("Value") && lines[1].is_empty());
        let last = lines.iter().rposition(|line| !line.starts_with('#')).unwrap();
        let words: Vec<&str> = lines[last].split_whitespace().collect();
        assert_eq!((words[1], words[2], words[3]), ("1.000000000000", "1000", "inf"));
        assert!((words[0].parse::<f64>().unwrap() - 1.0).abs() < 0.001, "a millisecond is the longest");
        assert!(text.contains("Total count    =         1000]"));
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let places = Places { csv: Some("/proc/no/such".into()), ..Places::default() };
        assert!(places.write(&report()).unwrap_err().contains("/proc/no/such"));
    }
}
