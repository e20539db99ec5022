//! The manual page and the shell completions of `corering-bench`, compared with what is checked in.

#[path = "../../../tests/pages/program.rs"]
mod program;

use clap::CommandFactory;
use corering_bench::cli::Arguments;
use std::collections::BTreeMap;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn pages_and_completions_are_those_of_the_table() {
    let page = program::program(Arguments::command(), &["corering(1)", "redis-benchmark(1)"]);
    let mut made = BTreeMap::from([("doc/man/corering-bench.1".to_string(), page)]);
    made.extend(program::completions(Arguments::command()));
    program::compare(Path::new(ROOT), &made);
}

#[test]
fn bash_completes_commands_options_and_values() {
    let offered = |words: &[&str]| program::offered_by_bash(Path::new(ROOT), words);
    assert_eq!(offered(&["corering-bench", "sw"]), ["sweep"]);
    for action in ["run", "sweep", "compare"] {
        assert_eq!(offered(&["corering-bench", action, "--arr"]), ["--arrivals"], "{action}");
        assert_eq!(offered(&["corering-bench", action, "--arrivals", ""]), ["constant", "poisson"], "{action}");
        assert_eq!(offered(&["corering-bench", action, "--rate", "5", "--clu"]), ["--cluster"], "{action}");
    }
    assert_eq!(offered(&["corering-bench", "fill", "--key-"]), ["--key-prefix"]);
    assert_eq!(offered(&["corering-bench", "report", "--ti"]), ["--title"]);
}
