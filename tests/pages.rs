//! The manual pages in `doc/man` and the shell completions in `doc/completions`: made from the tables of the command
//! lines and of the directives, and compared with what is checked in. To write them:
//! `CORERING_WRITE_PAGES=1 cargo test --workspace pages`. Those of `corering-bench` are made by its own test, with
//! `tests/pages/program.rs` too.

mod program;

use clap::CommandFactory;
use corering::cli::{CheckArguments, ServerArguments, server_with_directives};
use corering::config::{Directive, Flags};
use program::{Page, compare, completions, offered_by_bash, plain, program};
use std::collections::BTreeMap;
use std::path::Path;

/// corering.conf(5)
fn directives() -> String {
    let mut page = Page::new("corering.conf", 5, "configuration of corering");
    page.section("Description");
    page.text(
        "A line holds the name of a directive, in any case, and its value. Lines that begin with # are comments; a \
         comment may also follow a value after a space. Later lines win, and what stands on the command line of \
         corering(1) wins over the file.\n\n\
         Text with spaces stands in quotes; in \"double\" ones \\n, \\r, \\t, \\xHH and the like mean what they do in \
         C. Sizes: 1k = 1000, 1kb = 1024, 1m = 1000000, 1mb = 1024*1024, 1g and 1gb likewise, in any case. The line \
         \"include PATH\" reads another file, or all that a pattern with wildcards names.\n\n\
         Every directive of Redis 7.0 is known. CONFIG SET changes them while the server runs, unless \"only at \
         start\" is said here; CONFIG REWRITE writes the file anew.",
    );
    page.section("Directives");
    page.text("Each with its default.");
    let mut group = "";
    for row in Directive::all().filter(|row| !row.flags.contains(Flags::HIDDEN)) {
        if group != row.group {
            group = row.group;
            page.heading(group);
        }
        let mut text = row.describe();
        if !row.aliases.is_empty() {
            text += &format!(" Also: {}.", row.aliases.join(", "));
        }
        page.item(&format!("\\fB{}\\fR {}", plain(row.name), plain(&row.default_in_file())), &text);
    }
    page.section("Files");
    page.item("\\fI/etc/corering/corering.conf\\fR", "What the unit of systemd and the package read.");
    page.section("See also");
    page.line("corering(1), corering\\-check(1)");
    page.0
}

/// Every file that is made, by its path.
fn files() -> BTreeMap<String, String> {
    let more = ["corering.conf(5)", "corering-check(1)", "corering-bench(1)", "redis-cli(1)"];
    let mut files = BTreeMap::from([
        ("doc/man/corering.1".to_string(), program(ServerArguments::command(), &more)),
        ("doc/man/corering-check.1".to_string(), program(CheckArguments::command(), &["corering(1)"])),
        ("doc/man/corering.conf.5".to_string(), directives()),
    ]);
    for command in [server_with_directives(), CheckArguments::command()] {
        files.extend(completions(command));
    }
    files
}

#[test]
fn pages_and_completions_are_those_of_the_tables() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = files();
    compare(root, &made);
    for folder in ["doc/man", "doc/completions"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("it is there").flatten() {
            let path = format!("{folder}/{}", entry.file_name().display());
            let is_made = made.contains_key(&path) || path.contains("corering-bench");
            assert!(is_made, "{path}: nothing makes it any more");
        }
    }
}

#[test]
fn bash_completes_options_and_values() {
    let offered = |words: &[&str]| offered_by_bash(Path::new(env!("CARGO_MANIFEST_DIR")), words);
    assert_eq!(offered(&["corering", "--appendfsync", ""]), ["everysec", "always", "no"]);
    assert_eq!(offered(&["corering", "--maxmemory-s"]), ["--maxmemory-samples"]);
    assert_eq!(offered(&["corering-check", "--truncate"]), ["--truncate-to-time"]);
}

#[test]
fn roff_shows_text_unchanged() {
    assert_eq!(plain(".a-b'c\\d"), "\\&.a\\-b\\(aqc\\ed");
    let page = directives();
    assert!(page.contains("\n.TP\n\\fBmaxmemory\\-policy\\fR noeviction\n"), "{page}");
}
