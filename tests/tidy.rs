//! The rules of the house, as tests: what the architecture page and the README say must be true of the tree.
//!
//! A check reads text and returns what is wrong with it, so that each is tried on a planted offence too: a check that
//! cannot fail is none. Rust is not parsed: comments and literals are told from code, words from each other, and that
//! is enough. What the compiler, rustfmt or clippy hold is not here.
//!
//! `CORERING_WRITE_README=1 cargo test --test tidy` writes the README's table of commands anew.

mod pages;

use corering::command::lookup;
use corering::command::{Command, Run};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest line of source text, in characters.
const COLUMNS_MAX: usize = 120;

/// Files and folders with unsafe code; the architecture page names the same.
const UNSAFE: &[&str] = &["src/sys/", "src/structure/", "src/keyspace/entry", "src/memory"];

/// Words that only some files may use: words, files, why the others may not.
const RESERVED: &[(&[&str], &[&str], &str)] = &[
    (
        &["Instant::now", "SystemTime::now", "quanta"],
        // TIME and INFO tell the time, to the microsecond; a line of the log begins with it.
        &["src/runtime/", "src/sys/", "src/log.rs", "src/command/server.rs", "src/command/info.rs", "tests/"],
        "time is handed in",
    ),
    (
        &["Rng::new", "fastrand::u64", "fastrand::u32", "fastrand::bool", "RandomState::new"],
        &["src/runtime/", "tests/"],
        "randomness is handed in",
    ),
    // The bell is what glommio hears of a ring.
    (&["async", "await", "glommio"], &["src/runtime/", "src/sys/bell.rs"], "only the runtime suspends"),
    (
        &["Mutex", "RwLock", "Condvar", "RefCell", "AtomicBool", "AtomicUsize", "AtomicU64", "AtomicI64", "AtomicU8"],
        &[
            "src/runtime/",
            "src/shard/answering.rs",    // Who answers a client that waits on several shards.
            "src/sync.rs",               // What such protocols are made of.
            "src/aof/log.rs",            // Any core appends, the owner writes.
            "src/sys/disk/simulated.rs", // A disk in memory, for proofs.
            "src/shared.rs",
            "src/shared/budget.rs",
            "src/shared/persistence.rs",  // Saving and loading, in which all cores take part.
            "src/shared/scripts.rs",      // What every core may run, and what runs long.
            "src/snapshot/output.rs",     // Pieces of a file, from every core to the one that writes it.
            "src/keyspace/walk/tests.rs", // What a recorder was told.
            "src/shared/steering.rs",
            "src/shared/links.rs", // What would be filled by whom: looked at by who fills, on any core.
            "src/shared/gate.rs",  // Who asks for all clients, and who moves.
            "src/pubsub/",         // Who is told what; by any core.
            "src/command/slowlog.rs", // One log for all cores.
            "src/command/latency.rs", // One monitor for all cores.
            "src/log.rs",
            "src/memory.rs",
            "src/memory/mapped.rs",
            "tests/",
        ],
        "an entry is touched by the core that holds its engine; what cores share is listed on the architecture page",
    ),
];

/// Macros that stand for work not done.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];
/// Marks of the same, in comments too. Taken apart, so that this file has none.
const MARKS: &[&str] = &[concat!("FIX", "ME"), concat!("X", "XX")];

// What a text is made of

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    /// A string or a character.
    Literal,
}

/// Tells for each character of Rust source what it belongs to.
fn kinds(text: &[char]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; text.len()];
    let starts = |at: usize, word: &str| word.chars().enumerate().all(|(i, c)| text.get(at + i) == Some(&c));
    let mut at = 0;
    while at < text.len() {
        let (kind, end) = if starts(at, "//") {
            (Kind::Comment, (at..text.len()).find(|&i| text[i] == '\n').unwrap_or(text.len()))
        } else if starts(at, "/*") {
            let (mut depth, mut end) = (0, at);
            while end < text.len() {
                let change = i32::from(starts(end, "/*")) - i32::from(starts(end, "*/"));
                depth += change;
                end += if change == 0 { 1 } else { 2 };
                if depth == 0 {
                    break;
                }
            }
            (Kind::Comment, end)
        } else if text[at] == '"' {
            let mut end = at + 1;
            while end < text.len() && text[end] != '"' {
                end += if text[end] == '\\' { 2 } else { 1 };
            }
            (Kind::Literal, end + 1)
        } else if text[at] == 'r' && (starts(at + 1, "\"") || starts(at + 1, "#")) && !(0 < at && is_word(text[at - 1]))
        {
            let hashes = text[at + 1..].iter().take_while(|&&c| c == '#').count();
            if text.get(at + 1 + hashes) == Some(&'"') {
                let close = format!("\"{}", "#".repeat(hashes));
                let end = (at + 2 + hashes..text.len()).find(|&i| starts(i, &close)).unwrap_or(text.len());
                (Kind::Literal, end + close.len())
            } else {
                (Kind::Code, at + 1) // A raw identifier.
            }
        } else if text[at] == '\'' && (starts(at + 1, "\\") || starts(at + 2, "'")) {
            let from = if starts(at + 1, "\\") { at + 3 } else { at + 2 };
            (Kind::Literal, (from..text.len()).find(|&i| text[i] == '\'').unwrap_or(text.len()) + 1)
        } else {
            (Kind::Code, at + 1)
        };
        let end = end.min(text.len());
        kinds[at..end].fill(kind);
        at = end;
    }
    kinds
}

/// The source with all but the code blanked, line by line.
fn code_of(text: &str) -> String {
    let text: Vec<char> = text.chars().collect();
    let kinds = kinds(&text);
    let blanked = |(&c, &kind): (&char, &Kind)| if kind == Kind::Code || c == '\n' { c } else { ' ' };
    text.iter().zip(&kinds).map(blanked).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Numbers of the lines, from 1, in which `word` stands by itself.
fn lines_with(text: &str, word: &str) -> Vec<usize> {
    let alone = |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            let joins = word.ends_with(is_word) && after.is_some_and(is_word);
            !joins && !before.is_some_and(is_word)
        })
    };
    text.lines().enumerate().filter(|(_, line)| alone(line)).map(|(at, _)| at + 1).collect()
}

// The tree

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Paths of all files under these folders, from the root of the tree, sorted. What building and testing leaves behind
/// (`.gitignore`) is no part of the tree.
fn paths(folders: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("listed").path();
            let name = path.file_name().expect("entries have names").to_string_lossy().into_owned();
            if name.starts_with('.') || ["target", "corpus", "artifacts", "__pycache__"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// Runs a check over files; what is wrong comes back as `path:line: what`.
fn over(folders: &[&str], ending: &str, check: impl Fn(&str, &str) -> Vec<(usize, String)>) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in paths(folders).iter().filter(|path| path.ends_with(ending)) {
        let bytes = fs::read(root().join(path)).expect("listed");
        let found = check(path, &String::from_utf8_lossy(&bytes));
        wrong.extend(found.into_iter().map(|(line, what)| format!("{path}:{line}: {what}")));
    }
    wrong
}

fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} offences:\n{}", wrong.len(), wrong.join("\n"));
}

// Files and lines

fn check_head(_: &str, text: &str) -> Vec<(usize, String)> {
    let first = text.lines().next().unwrap_or("");
    let says = first.strip_prefix("//! ").is_some_and(|words| words.split_whitespace().count() >= 2);
    if says { Vec::new() } else { vec![(1, "the file does not begin with `//!` and what it is".into())] }
}

#[test]
fn every_file_begins_with_what_it_is() {
    none(over(&["src", "tests", "bench"], ".rs", check_head));
    assert!(check_head("", "//! What it is.\nfn f() {}\n").is_empty());
    for bad in ["", "fn f() {}\n", "//!\n", "//! \n//! More.\n", "// What it is.\n"] {
        assert_eq!(check_head("", bad).len(), 1, "{bad:?}");
    }
}

fn check_columns(_: &str, text: &str) -> Vec<(usize, String)> {
    let all: Vec<char> = text.chars().collect();
    let kinds = kinds(&all);
    let mut wrong = Vec::new();
    let mut start = 0;
    for (at, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        // Data stands in one line: a row of a table, a text that clients see.
        let is_table = line.trim_start().trim_start_matches(['/', '!']).trim_start().starts_with('|');
        let is_literal = kinds[start..start + columns].contains(&Kind::Literal);
        if COLUMNS_MAX < columns && !is_table && !is_literal {
            wrong.push((at + 1, format!("{columns} columns are more than {COLUMNS_MAX}")));
        }
        start += columns + 1;
    }
    wrong
}

#[test]
fn lines_fit_a_screen() {
    none(over(&["src", "tests", "bench"], ".rs", check_columns));
    let long = "word ".repeat(30);
    assert_eq!(check_columns("", &format!("// {long}\n\nlet x = {long};")).len(), 2);
    assert!(check_columns("", &format!("//! | {long}|\nlet x = \"{long}\n{long}\";")).is_empty());
    assert!(check_columns("", &"é".repeat(COLUMNS_MAX)).is_empty());
}

fn check_unfinished(path: &str, text: &str) -> Vec<(usize, String)> {
    let mut wrong = Vec::new();
    if path.ends_with(".rs") {
        let code = code_of(text);
        for word in UNFINISHED {
            wrong.extend(lines_with(&code, word).into_iter().map(|line| (line, word.to_string())));
        }
    }
    for mark in MARKS {
        wrong.extend(lines_with(text, mark).into_iter().map(|line| (line, mark.to_string())));
    }
    wrong
}

#[test]
fn nothing_is_left_unfinished() {
    none(over(&["src", "tests", "bench", "benches", "tuning"], "", check_unfinished));
    let mark = MARKS[0];
    let planted = format!("fn f() {{ todo!() }}\n// {mark}: later\nlet x = dbg!(1);\nunimplemented!(\"{mark}\");\n");
    assert_eq!(check_unfinished("a.rs", &planted).len(), 5);
    assert_eq!(check_unfinished("run", &format!("# {mark}\n")).len(), 1);
    assert!(check_unfinished("a.rs", "// todo! is a macro\nlet x = \"dbg!\"; let todo = todos!();").is_empty());
}

// Who may do what

fn check_unsafe(path: &str, text: &str) -> Vec<(usize, String)> {
    if UNSAFE.iter().any(|allowed| path.starts_with(allowed)) {
        return Vec::new();
    }
    let code = code_of(text);
    let lines = ["unsafe", "unsafe_code"].into_iter().flat_map(|word| lines_with(&code, word));
    lines.map(|line| (line, "unsafe code does not belong here".to_string())).collect()
}

#[test]
fn unsafe_code_stands_where_the_page_says() {
    none(over(&["src", "bench"], ".rs", check_unsafe));
    let page = page();
    for allowed in UNSAFE {
        assert!(page.contains(&format!("`{allowed}")), "the architecture page does not name {allowed}");
        let is_used = paths(&["src"]).iter().any(|path| {
            path.starts_with(allowed)
                && path.ends_with(".rs")
                && !lines_with(&code_of(&read(path)), "unsafe").is_empty()
        });
        assert!(is_used, "nothing in {allowed} is unsafe");
    }
    for bad in ["unsafe { f() }", "#![allow(unsafe_code)]", "/* */ unsafe fn f() {}", "let c = '\"'; unsafe {}"] {
        assert_eq!(check_unsafe("src/route/mod.rs", bad).len(), 1, "{bad}");
        assert!(check_unsafe("src/sys/ring.rs", bad).is_empty(), "{bad}");
    }
    assert!(check_unsafe("src/route/mod.rs", "// unsafe\nlet x = \"unsafe\"; let r = r#\"\"unsafe\"#;").is_empty());
}

fn check_reserved(path: &str, text: &str) -> Vec<(usize, String)> {
    let code = code_of(text);
    let mut wrong = Vec::new();
    for (words, allowed, why) in RESERVED {
        if allowed.iter().any(|allowed| path.starts_with(allowed)) {
            continue;
        }
        for word in *words {
            wrong.extend(lines_with(&code, word).into_iter().map(|line| (line, format!("{word}: {why}"))));
        }
    }
    wrong
}

#[test]
fn clocks_randomness_and_sharing_stay_where_they_belong() {
    none(over(&["src"], ".rs", |path, text| check_reserved(path, without_tests(text).as_str())));
    for (words, allowed, _) in RESERVED {
        for word in *words {
            assert_eq!(check_reserved("src/keyspace/mod.rs", &format!("let x = {word}();")).len(), 1, "{word}");
        }
        for allowed in allowed.iter().filter(|allowed| allowed.ends_with(".rs")) {
            let code = code_of(&read(allowed));
            assert!(words.iter().any(|word| !lines_with(&code, word).is_empty()), "{allowed} needs no exception");
        }
    }
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\n    b\n}\nc"), "a\n#[cfg(test)]\n\n\n\nc");
}

/// The source without its module of tests; the numbers of lines stay.
fn without_tests(text: &str) -> String {
    let mut out = Vec::new();
    let mut inside = false;
    let mut before = "";
    for line in text.lines() {
        inside |= before == "#[cfg(test)]" && line.starts_with("mod ") && line.ends_with('{');
        out.push(if inside { "" } else { line });
        inside &= line != "}";
        before = line;
    }
    out.join("\n")
}

// The architecture page

/// The page's text: the comment at the head of `src/lib.rs`.
fn page() -> String {
    let text = read("src/lib.rs");
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn cells(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(line.split('|').map(|cell| cell.trim().to_string()).collect())
}

/// The rows of the table with this header.
fn table(page: &str, header: &[&str]) -> Vec<Vec<String>> {
    let mut lines = page.lines().skip_while(|line| cells(line).as_deref().is_none_or(|cells| cells != header)).skip(2);
    let rows: Vec<Vec<String>> = lines.by_ref().map_while(cells).collect();
    assert!(!rows.is_empty(), "no table {header:?}");
    rows
}

/// The words in `` ` ` `` of a text.
fn ticked(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Who may import whom.
struct Rules {
    layers: BTreeMap<String, usize>,
    allowed: BTreeMap<String, BTreeSet<String>>,
    exceptions: BTreeMap<String, BTreeSet<String>>,
}

impl Rules {
    fn of(page: &str) -> Rules {
        let mut rules = Rules { layers: BTreeMap::new(), allowed: BTreeMap::new(), exceptions: BTreeMap::new() };
        let names = |cell: &str| ticked(cell).into_iter().map(str::to_string).collect::<BTreeSet<String>>();
        for row in table(page, &["Layer", "Module", "may import"]) {
            let module = ticked(&row[1])[0].to_string();
            rules.layers.insert(module.clone(), row[0].parse().expect("a layer is a number"));
            rules.allowed.insert(module, names(&row[2]));
        }
        for row in table(page, &["Module", "imports", "because"]) {
            assert!(!row[2].is_empty(), "an exception has a reason");
            rules.exceptions.entry(ticked(&row[0])[0].to_string()).or_default().append(&mut names(&row[1]));
        }
        rules
    }
}

/// The module of the tree's top level that a file belongs to.
fn module_of(path: &str) -> &str {
    let path = path.strip_prefix("src/").unwrap_or(path);
    path.split('/').next().expect("a path has a first part").trim_end_matches(".rs")
}

/// The modules that a file imports: those behind `crate::`, alone or in braces.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let word = |text: &str| text.chars().take_while(|&c| is_word(c)).collect::<String>();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = code[at + prefix.len()..].trim_start();
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, c) in group.char_indices() {
            if begins && depth == 0 && is_word(c) {
                found.insert(word(&group[at..]));
            }
            begins = c == ',' || (begins && c.is_whitespace());
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    found
}

/// What modules import, against the rules: what is forbidden, and what is allowed but not used.
fn check_imports(rules: &Rules, found: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    let layer = |module: &str| rules.layers.get(module).copied();
    for (module, allowed) in &rules.allowed {
        for import in allowed {
            if layer(import).is_none_or(|below| layer(module) <= Some(below)) {
                wrong.push(format!("{module} may import {import}, which is in no lower layer"));
            }
        }
    }
    for (module, imports) in found {
        let Some(allowed) = rules.allowed.get(module) else {
            wrong.push(format!("{module} stands in no layer"));
            continue;
        };
        let excepted = rules.exceptions.get(module).cloned().unwrap_or_default();
        for import in imports.iter().filter(|import| *import != module) {
            if !allowed.contains(import) && !excepted.contains(import) {
                wrong.push(format!("{module} imports {import}"));
            }
        }
        for import in allowed.union(&excepted).filter(|import| !imports.contains(*import)) {
            wrong.push(format!("{module} may import {import} but does not: take it off the page"));
        }
    }
    wrong.extend(rules.allowed.keys().filter(|m| !found.contains_key(*m)).map(|m| format!("there is no module {m}")));
    wrong
}

#[test]
fn modules_import_from_lower_layers_only() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in paths(&["src"]).iter().filter(|path| path.ends_with(".rs")) {
        let module = module_of(path);
        if !["lib", "main", "bin", "runtime"].contains(&module) {
            found.entry(module.to_string()).or_default().append(&mut imports(&code_of(&read(path))));
        }
    }
    let page = page();
    none(check_imports(&Rules::of(&page), &found));

    let planted = "use crate::a::B;\nuse crate::{c::{D, e}, f, g as h};\n// crate::comment\nlet x = crate::i::f();";
    assert_eq!(imports(&code_of(planted)).into_iter().collect::<Vec<_>>(), ["a", "c", "f", "g", "i"]);
    let rules = "| Layer | Module | may import |\n|---|---|---|\n| 0 | `low` | – |\n| 1 | `high` | `low` |\n\n\
                 | Module | imports | because |\n|---|---|---|\n| `low` | `odd` | it must |\n";
    let with = |low: &[&str], high: &[&str]| {
        let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
        let found = BTreeMap::from([("low".to_string(), set(low)), ("high".to_string(), set(high))]);
        check_imports(&Rules::of(rules), &found).len()
    };
    assert_eq!(with(&["odd"], &["low", "high"]), 0);
    assert_eq!(with(&["odd", "high"], &["low"]), 1, "against the direction");
    assert_eq!(with(&["odd"], &["low", "runtime"]), 1, "nobody imports the runtime");
    assert_eq!(with(&[], &[]), 2, "allowed and not used");
    let circle = rules.replace("| 0 | `low` | – |", "| 0 | `low` | `high` |");
    assert!(!check_imports(&Rules::of(&circle), &BTreeMap::new()).is_empty(), "a table with a circle");
}

/// Modules declared in `src/lib.rs` against the page's map: the same, in the same order.
fn check_map(page: &str, source: &str) -> Vec<String> {
    let map: Vec<String> =
        table(page, &["Module", "What it is"]).iter().map(|row| row[0].trim_matches(['[', ']', '`']).into()).collect();
    let code = code_of(source);
    let declared: Vec<&str> =
        code.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    if map == declared { Vec::new() } else { vec![format!("the map says {map:?}, the file {declared:?}")] }
}

#[test]
fn the_map_shows_every_module() {
    none(check_map(&page(), &read("src/lib.rs")));
    let map = "| Module | What it is |\n|---|---|\n| [`a`] | one |\n| [`b`] | two |";
    assert!(check_map(map, "pub mod a;\n\npub mod b;\n").is_empty());
    for bad in ["pub mod b;\npub mod a;\n", "pub mod a;\n", "pub mod a;\npub mod b;\npub mod c;\n"] {
        assert_eq!(check_map(map, bad).len(), 1, "{bad}");
    }
}

/// The page's bounds against the constants in the files.
fn check_bounds(page: &str, read: impl Fn(&str) -> String) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in table(page, &["Constant", "File", "Value", "Beyond it"]) {
        let (name, file, value) = (ticked(&row[0])[0], ticked(&row[1])[0], ticked(&row[2])[0]);
        let code = code_of(&read(file));
        let is_said = lines_with(&code, name).into_iter().any(|line| {
            let line = code.lines().nth(line - 1).expect("a line of the file");
            line.contains(&format!("const {name}:")) && line.ends_with(&format!(" = {value};"))
        });
        if !is_said {
            wrong.push(format!("{file} has no `const {name}` of {value}"));
        }
    }
    wrong
}

#[test]
fn the_bounds_are_those_of_the_code() {
    none(check_bounds(&page(), read));
    let page = "| Constant | File | Value | Beyond it |\n|---|---|---|---|\n| `A_MAX` | `f` | `2 * 3` | nothing |";
    let with = |file: &'static str| check_bounds(page, |_| file.to_string()).len();
    assert_eq!(with("pub const A_MAX: u32 = 2 * 3;"), 0);
    for bad in ["const A_MAX: u32 = 2;", "const AA_MAX: u32 = 2 * 3;", "// const A_MAX: u32 = 2 * 3;"] {
        assert_eq!(with(bad), 1, "{bad}");
    }
}

/// The paths that a text names in `` ` ` `` and that are not there. `…` stands for what has no name yet.
fn check_paths(text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let is_path = |word: &&str| {
        let is_plain = word.chars().all(|c| is_word(c) || "./-".contains(c));
        let below = ["src/", "tests/", "bench/", "benches/", "tuning/", "bench-results/", "doc/"];
        let is_below = below.iter().any(|folder| word.starts_with(folder));
        is_plain && (word.ends_with('/') || word.ends_with(".rs") || is_below)
    };
    ticked(text).into_iter().filter(is_path).filter(|word| !exists(word)).map(str::to_string).collect()
}

/// Whether a path is there, said from the root, from `src`, or (a file of the map) from a folder of `src`.
fn is_there(path: &str) -> bool {
    let folders = ["", "src", "src/runtime", "src/command"];
    folders.iter().any(|folder| root().join(folder).join(path).exists())
}

#[test]
fn what_the_pages_name_is_there() {
    // Fences would put the ticks out of step.
    let unfenced = |text: &str| text.replace("```", "");
    none(check_paths(&unfenced(&page()), is_there));
    none(check_paths(&unfenced(&read("README.md")), is_there));
    let missing =
        check_paths("`src/no.rs` and `no/` and `src/lib.rs` and `redis.conf` and `no.rs`, `tests/no`", is_there);
    assert_eq!(missing, ["src/no.rs", "no/", "no.rs", "tests/no"]);
}

// The rows of the command table

/// Commands that take arguments and do nothing with them, as in Redis.
const DEAF: &[&str] = &["QUIT", "COMMAND"];

/// What a row fails to say of itself.
fn check_row(command: &Command, is_subcommand: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut say = |what: &str| wrong.push(format!("{}: {what}", command.name));
    let is_sentence = command.summary.ends_with('.') && command.summary.starts_with(|c: char| c.is_uppercase());
    if !is_sentence {
        say("the summary is no sentence");
    }
    let version = command.since.strip_prefix("Valkey ").unwrap_or(command.since);
    let numbers: Vec<&str> = version.split('.').collect();
    if numbers.len() < 2 || numbers.iter().any(|number| number.parse::<u32>().is_err()) {
        say("no version since when it is known");
    }
    if !["O(", "Depends on "].iter().any(|start| command.complexity.starts_with(start)) {
        say("no complexity");
    }
    let alone = if is_subcommand { 2 } else { 1 };
    let takes_arguments = command.arity != alone && !matches!(command.run, Run::Container);
    if takes_arguments && command.syntax.is_empty() && !DEAF.contains(&command.name) {
        say("it takes arguments, but has no syntax");
    }
    if command.arity == alone && !command.syntax.is_empty() {
        say("it has a syntax, but takes no arguments");
    }
    wrong
}

#[test]
fn every_row_says_what_it_is() {
    let rows = lookup::rows().iter();
    none(rows.flat_map(|row| check_row(row.command, row.container.is_some())).collect());

    let good = |name| {
        let command = Command::new(name, Run::Container).arity(1).complexity("O(1)");
        command.docs(corering::command::Group::String, "7.0.0", "Does it.")
    };
    assert!(check_row(&good("X"), false).is_empty());
    let runs = lookup::find_row(&[b"GET", b"k"]).expect("there is GET").command.run;
    let docs = |since, summary| good("X").docs(corering::command::Group::String, since, summary);
    let bad = [
        docs("7.0.0", ""),
        docs("7.0.0", "does it."),
        docs("", "Does it."),
        docs("soon", "Does it."),
        good("X").complexity(""),
        good("X").syntax("key"),
        Command { run: runs, ..good("X").arity(2) },
        Command { run: runs, ..good("X").arity(-1) },
    ];
    for command in bad {
        assert_eq!(check_row(&command, false).len(), 1, "{} {:?}", command.arity, command.summary);
    }
}

// The README

/// Where the README's table of commands begins and ends.
const TABLE_BEGINS: &str = "<!-- commands: written by CORERING_WRITE_README=1 cargo test --test tidy -->\n";
const TABLE_ENDS: &str = "<!-- end of commands -->\n";

/// Titles of the groups, in the order of the table.
const GROUPS: &[(&str, &str)] = &[
    ("string", "Strings"),
    ("generic", "Keys"),
    ("connection", "Connection"),
    ("server", "Server"),
    ("list", "Lists"),
    ("hash", "Hashes"),
    ("set", "Sets"),
    ("sorted-set", "Sorted sets"),
    ("bitmap", "Bitmaps"),
    ("hyperloglog", "HyperLogLog"),
    ("geo", "Geo"),
    ("stream", "Streams"),
    ("pubsub", "Pub/Sub"),
    ("transactions", "Transactions"),
    ("scripting", "Scripts"),
    ("cluster", "Cluster"),
    ("sentinel", "Sentinel"),
];

/// A command for the table of the README: its group, its name and first version.
type Known = BTreeMap<String, BTreeMap<String, String>>;

/// The commands of Redis 7.0, those of subcommands among them, by group.
fn of_redis() -> Known {
    let mut known = Known::new();
    for line in read("tests/facts/redis-7.0-commands.tsv").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        known.entry(fields[9].to_string()).or_default().insert(fields[0].to_string(), fields[10].to_string());
    }
    known
}

/// Those of this server.
fn of_rows() -> Known {
    let mut known = Known::new();
    for row in lookup::rows() {
        let words = format!("{:?}", row.group);
        let group = match words.as_str() {
            "SortedSet" => "sorted-set".to_string(),
            group => group.to_ascii_lowercase(),
        };
        assert!(GROUPS.iter().any(|(name, _)| *name == group), "{group} has no title");
        known.entry(group).or_default().insert(row.full_name(), row.since.to_string());
    }
    known
}

/// `` `GET` `SET` `CLIENT` (`ID` `LIST`) ``: commands in order, those of a container behind it.
fn listed<'a>(names: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let mut commands: BTreeMap<&str, (String, Vec<String>)> = BTreeMap::new();
    for (name, since) in names {
        let is_newer = ["7.2", "7.4", "8.", "Valkey"].iter().any(|version| since.starts_with(version));
        let newer = if is_newer { format!(" <sup>{}</sup>", since.trim_end_matches(".0")) } else { String::new() };
        match name.split_once('|') {
            None => commands.entry(name).or_default().0 = newer,
            Some((container, word)) => {
                commands.entry(container).or_default().1.push(format!("`{}`{newer}", word.to_ascii_uppercase()));
            }
        }
    }
    let texts = commands.into_iter().map(|(name, (newer, subcommands))| {
        let behind = if subcommands.is_empty() { String::new() } else { format!(" ({})", subcommands.join(" ")) };
        format!("`{}`{newer}{behind}", name.to_ascii_uppercase())
    });
    texts.collect::<Vec<_>>().join(" ")
}

/// The README's table, without its marks.
fn command_table(ours: &Known, theirs: &Known) -> String {
    let empty = BTreeMap::new();
    let mut text = String::from("| Group | Here | Redis 7.0 has, not here yet |\n|---|---|---|\n");
    for (group, title) in GROUPS {
        let (ours, theirs) = (ours.get(*group).unwrap_or(&empty), theirs.get(*group).unwrap_or(&empty));
        if ours.is_empty() && theirs.is_empty() {
            continue;
        }
        let missing = theirs.iter().filter(|(name, _)| !ours.contains_key(*name));
        text += &format!("| {title} | {} | {} |\n", listed(ours.iter()), listed(missing));
    }
    text
}

/// The README with another table of commands.
fn with_table(readme: &str, table: &str) -> Option<String> {
    let (before, rest) = readme.split_once(TABLE_BEGINS)?;
    let (_, after) = rest.split_once(TABLE_ENDS)?;
    Some([before, TABLE_BEGINS, table, TABLE_ENDS, after].concat())
}

#[test]
fn the_readme_lists_the_commands_of_the_table() {
    let readme = read("README.md");
    let expected = with_table(&readme, &command_table(&of_rows(), &of_redis())).expect("the README has the marks");
    if std::env::var_os("CORERING_WRITE_README").is_some() {
        fs::write(root().join("README.md"), &expected).expect("written");
        return;
    }
    assert!(readme == expected, "the README's table of commands is not that of the rows: {TABLE_BEGINS}");

    let known = |names: &[(&str, &str)]| {
        let names = names.iter().map(|(name, since)| (name.to_string(), since.to_string())).collect();
        Known::from([("server".to_string(), names)])
    };
    let table = command_table(&known(&[("a|b", "7.2.0"), ("a", "1.0.0")]), &known(&[("a", "1.0.0"), ("c", "1.0.0")]));
    assert!(table.ends_with("| Server | `A` (`B` <sup>7.2</sup>) | `C` |\n"), "{table}");
    let planted = format!("x\n{TABLE_BEGINS}old\n{TABLE_ENDS}y\n");
    assert_ne!(with_table(&planted, &table), Some(planted.clone()));
    assert_eq!(with_table("no marks", &table), None);
}
