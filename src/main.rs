//! The server's process: reads the configuration, starts the cores, ends with their exit code.

use clap::CommandFactory;
use corering::cli::ServerArguments;
use corering::command::{info, lookup};
use corering::config::{CommandLine, Config, Host, LoadError, Loader, Place};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = std::env::args_os().skip(1).map(|argument| argument.into_vec()).collect();
    // Directives look like options that clap does not know, so it only answers for the options of the process itself.
    let has_word = |word: &[u8]| arguments.first().is_some_and(|first| first == word);
    if has_word(b"-v") || has_word(b"--version") {
        println!("{}", version());
        return ExitCode::SUCCESS;
    }
    if has_word(b"-h") || has_word(b"--help") {
        let _ = ServerArguments::command().print_long_help();
        return ExitCode::SUCCESS;
    }
    if has_word(b"--test-memory") {
        return test_memory(&arguments[1..]);
    }
    if arguments.iter().any(|argument| argument == b"--sentinel") || is_called("redis-sentinel") {
        eprintln!("corering: this version cannot be a Sentinel: run a redis-sentinel or valkey-sentinel");
        return ExitCode::FAILURE;
    }
    // The rest of the line is the configuration to check for.
    let checks_only = has_word(b"--check-system");
    let config = match load(&arguments[usize::from(checks_only)..]) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if checks_only {
        return if corering::runtime::check_system(&config) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match corering::runtime::serve(config) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{error}");
            corering::log::flush();
            if !corering::log::is_on_stderr() {
                eprintln!("corering: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether the program was started by this name, through a link.
fn is_called(name: &str) -> bool {
    let path = std::env::args_os().next().unwrap_or_default();
    Path::new(&path).file_name().is_some_and(|file| file == name)
}

/// `--test-memory MEGABYTES`
fn test_memory(arguments: &[Vec<u8>]) -> ExitCode {
    let megabytes = match arguments {
        [word] => std::str::from_utf8(word).ok().and_then(|word| word.parse::<usize>().ok()),
        _ => None,
    };
    let Some(bytes) = megabytes.filter(|megabytes| 0 < *megabytes).and_then(|megabytes| megabytes.checked_mul(1 << 20))
    else {
        eprintln!("Please specify the amount of memory to test in megabytes.");
        eprintln!("Example: corering --test-memory 4096\n");
        return ExitCode::FAILURE;
    };
    match corering::runtime::test_memory(bytes, &mut |step| println!("{step}")) {
        Ok(()) => {
            println!("\nYour memory passed this test.");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("\n{why}");
            ExitCode::FAILURE
        }
    }
}

/// The line of `redis-server --version`. Clients and test suites choose features by `v=`, so it says the version of
/// Redis that the server speaks as, like `redis_version` in INFO; the program's own version stands at the end.
fn version() -> String {
    format!(
        "Corering server v={} sha=00000000:0 malloc=mimalloc bits={} build={} corering={}",
        info::REDIS_VERSION,
        usize::BITS,
        info::build_id(),
        env!("CARGO_PKG_VERSION"),
    )
}

fn load(arguments: &[Vec<u8>]) -> Result<Config, LoadError> {
    let line = CommandLine::parse(arguments);
    let host = Host {
        read_file: &|path| std::fs::read(path),
        expand: &expand,
        resolve_directory: &corering::runtime::resolve_directory,
        check_renames: &|renames| lookup::check_renames(renames).map_err(|error| error.to_string()),
        machine_memory_bytes: corering::sys::process::memory_bytes(),
    };
    let failed = |place: Place, error: std::io::Error| LoadError { place, line: None, reason: error.to_string() };
    let mut loader = Loader::new(&host).map_err(|error| failed(Place::CommandLine, error))?;
    if let Some(file) = &line.file {
        loader.main_file(file)?;
    }
    if line.reads_stdin {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).map_err(|error| failed(Place::Stdin, error))?;
        loader.text(&text, &Place::Stdin)?;
    }
    loader.text(&line.lines, &Place::CommandLine)?;
    loader.finish(Place::CommandLine)
}

/// The files that a pattern in the last part of a path stands for, sorted.
fn expand(pattern: &Path) -> Vec<std::path::PathBuf> {
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name()) else { return Vec::new() };
    let matches =
        |file: &std::ffi::OsStr| corering::structure::glob::matches(name.as_encoded_bytes(), file.as_encoded_bytes());
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> =
        entries.flatten().filter(|entry| matches(&entry.file_name())).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
