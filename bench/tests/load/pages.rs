//! The manual page and the shell completions of `corering-bench`, compared with what is checked in.

#[path = "../../../tests/pages/program.rs"]
mod program;

use clap::CommandFactory;
use corering_bench::cli::Arguments;
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn pages_and_completions_are_those_of_the_table() {
    let page = program::program(Arguments::command(), &["corering(1)", "redis-benchmark(1)"]);
    let mut made = BTreeMap::from([("doc/man/corering-bench.1".to_string(), page)]);
    made.extend(program::completions(Arguments::command()));
    program::compare(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")), &made);
}
