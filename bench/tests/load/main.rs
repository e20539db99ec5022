//! The built load generator against servers that tests make up.

#![allow(clippy::disallowed_methods, reason = "tests are the world outside: they read clocks")]

mod fake;
mod honest;
mod hostile;
mod modes;
mod pages;

use corering_bench::report::model::{Report, Run};
use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("corering-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Folder(path)
    }

    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the tool; arguments are separated by blanks, and a blank within one is written `~`.
pub fn bench(line: &str) -> Output {
    let words = line.split_whitespace().map(|word| word.replace('~', " "));
    let mut command = Command::new(env!("CARGO_BIN_EXE_corering-bench"));
    command.args(words).output().expect("the tool was built")
}

/// How often something is tried that is about the clock.
const TRIES: usize = 5;

/// Runs a test that is about rates and delays, where the machine may stand still for a second at any time: what holds
/// on none of some tries does not hold. Each try says on the error stream why it failed.
pub fn on_some_try(mut attempt: impl FnMut()) {
    for _ in 1..TRIES {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut attempt)).is_ok() {
            return;
        }
    }
    attempt();
}

/// What a run said on its error stream.
pub fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn status(output: &Output) -> i32 {
    output.status.code().expect("no signal ended it")
}

/// Runs `run` with these arguments, expects this status, and reads the result.
pub fn measured(name: &str, line: &str, expected: i32) -> Run {
    let folder = Folder::new(name);
    let output = bench(&format!("run {line} --json {}", folder.file("result.json")));
    assert_eq!(status(&output), expected, "{}\n{}", complaint(&output), String::from_utf8_lossy(&output.stdout));
    let report: Report = serde_json::from_str(&folder.read("result.json")).expect("valid JSON");
    let run = report.runs.into_iter().next().expect("one run");
    check_sums(&run);
    run
}

/// Every planned request is in the counts once, and in the histograms; and rates agree wherever they stand.
pub fn check_sums(run: &Run) {
    let counts = run.counts.expect("counted");
    assert_eq!(counts.planned, counts.answered + counts.unanswered + counts.unsent + counts.lost, "{counts:?}");
    let all = &run.rows[0];
    assert_eq!(all.per_s, run.achieved_per_s, "the row of all has the rate of the run");
    let (sum, all_per_s) = (run.rows[1..].iter().filter_map(|row| row.per_s).sum::<f64>(), all.per_s.unwrap_or(0.0));
    assert!((sum - all_per_s).abs() <= all_per_s * 1e-9, "rows have {sum}/s together, the run {all_per_s}/s");
    let of_commands: u64 = run.rows[1..].iter().map(|row| row.latency.count.expect("counted")).sum();
    if run.offered_per_s.is_some() {
        assert_eq!(all.latency.count, Some(counts.answered + counts.unanswered + counts.unsent));
        assert_eq!(Some(of_commands), all.latency.count, "the rows of commands leave nothing out either");
        assert_eq!(all.other.as_ref().expect("service times").1.count, Some(counts.answered));
    } else {
        assert_eq!(all.latency.count, Some(counts.answered));
        assert_eq!(of_commands, counts.answered);
    }
}
