//! The server's process: reads the configuration, starts the cores, ends with their exit code.

use clap::{CommandFactory, Parser};
use corering::config::{CommandLine, Config, Host, LoadError, Loader, Place};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;

/// A Redis-compatible in-memory data store: one pinned thread per core, io_uring everywhere.
///
/// Without arguments: serves on port 6379 on every CPU that the process may use. A configuration file has the syntax of
/// redis.conf; every directive may also be given as `--name value`.
#[derive(Parser)]
#[command(name = "corering", version, disable_help_subcommand = true)]
struct Arguments {
    /// Configuration file; `-` reads directives from standard input.
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// Directives, such as `--port 7000 --save "" --maxmemory 80%`; each of redis.conf, and `--shards N`.
    #[arg(value_name = "--DIRECTIVE VALUE", trailing_var_arg = true, allow_hyphen_values = true)]
    directives: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = std::env::args_os().skip(1).map(|argument| argument.into_vec()).collect();
    // Directives look like options that clap does not know, so it only answers for the options of the process itself.
    match arguments.first().map(Vec::as_slice) {
        Some(b"-v" | b"--version") if arguments.len() == 1 => {
            println!("{}", version());
            return ExitCode::SUCCESS;
        }
        Some(b"-h" | b"--help") => {
            let _ = Arguments::command().print_long_help();
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let config = match load(&arguments) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match corering::runtime::serve(config) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{error}");
            eprintln!("corering: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `v=` is what clients' test suites read.
fn version() -> String {
    let word_bits = usize::BITS;
    format!("Corering server v={} sha=00000000:0 malloc=mimalloc bits={word_bits}", env!("CARGO_PKG_VERSION"))
}

fn load(arguments: &[Vec<u8>]) -> Result<Config, LoadError> {
    let line = CommandLine::parse(arguments);
    let host = Host {
        read_file: &|path| std::fs::read(path),
        expand: &expand,
        resolve_directory: &|path| std::fs::canonicalize(path),
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
