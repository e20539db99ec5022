//! The command lines of the server and of `corering-check`. Their help, manual pages and shell completions come from
//! here, those of directives from the rows of [`crate::config`]: see `tests/pages.rs`.

use crate::check::time;
use crate::config::{Directive, Flags, Kind};
use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory, Parser, ValueHint};
use std::path::PathBuf;

const MORE_OF_SERVER: &str = "\
Examples:
  corering
  corering /etc/redis/redis.conf
  corering /etc/redis/redis.conf --port 7000 --loglevel verbose
  echo 'maxmemory 128mb' | corering -

Exit status:
  0    ended in order: by SHUTDOWN, SIGTERM or SIGINT
  1    did not start, or could not save at the end; the reason is in the log";

/// A Redis-compatible in-memory data store: one pinned thread per core, io_uring everywhere.
///
/// Without arguments: serves on port 6379 on every CPU that the process may use. A configuration file has the syntax of
/// redis.conf; every directive may also be given as `--name value`.
#[derive(Parser)]
#[command(name = "corering", version, disable_version_flag = true, disable_help_subcommand = true)]
#[command(after_long_help = MORE_OF_SERVER)]
pub struct ServerArguments {
    /// Configuration file; `-` reads directives from standard input.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Directives, such as `--port 7000 --save "" --maxmemory 80%`; each of redis.conf, and `--shards N`.
    #[arg(value_name = "--DIRECTIVE VALUE", trailing_var_arg = true, allow_hyphen_values = true)]
    pub directives: Vec<String>,
    /// Tells the version.
    #[arg(short = 'v', long, help_heading = "Instead of serving")]
    pub version: bool,
    /// Tells what of this machine and of its limits should be mended, for the configuration that follows: exit status 1
    /// where something should.
    #[arg(long, help_heading = "Instead of serving")]
    pub check_system: bool,
    /// Writes and reads so much memory in patterns.
    #[arg(long, value_name = "MEGABYTES", help_heading = "Instead of serving")]
    pub test_memory: Option<usize>,
}

/// The server's command line with every directive as an option of its own, for completions.
pub fn server_with_directives() -> Command {
    let rows = Directive::all().filter(|row| !row.flags.contains(Flags::HIDDEN));
    let command = ServerArguments::command().mut_arg("directives", |directives| directives.hide(true));
    rows.fold(command, |command, row| {
        let option = Arg::new(row.name).long(row.name).help(row.summary());
        command.arg(match row.kind {
            Kind::YesNo => option.value_parser(PossibleValuesParser::new(["yes", "no"])),
            Kind::Choice(names) | Kind::Choices(names) => option.value_parser(PossibleValuesParser::new(names)),
            _ if row.name == "dir" => option.value_hint(ValueHint::DirPath),
            _ if row.name.ends_with("file") || row.name == "unixsocket" => option.value_hint(ValueHint::FilePath),
            _ => option.value_hint(ValueHint::Other),
        })
    })
}

const MORE_OF_CHECK: &str = "\
PATH may be:
  a snapshot (RDB, versions 1 to 14, of Redis, Valkey or Corering)
  a log in one file (AOF), also one that begins with a snapshot
  the directory of a log (appendonlydir), or its manifest
  a server's directory, in which all of these are looked for

A log that a server uses is refused: stop the server, or check a copy.

Repairing: what is lost is shown before, and the question is asked. New files are written beside the old ones and
synced; then they take their names, and the old files stay as *.bak-N. If anything fails, everything is as it was. The
lanes of a log (one for each core) are cut at the same moment, so that no transaction is there by half. What can be read
behind damage in the middle is lost too: that is said, and --yes alone does not do it.

Exit status:
  0  whole, or made whole
  1  damaged; with --fix or --truncate-to-time: nothing was changed, because the answer was no
  2  it cannot be read, or not be done; the reason is on standard error

Examples:
  corering-check /var/lib/redis/dump.rdb
  corering-check /var/lib/redis/appendonlydir --json
  corering-check /var/lib/redis/appendonlydir --fix
  corering-check appendonlydir --truncate-to-time 2026-11-21T20:00:00Z";

/// Checks snapshots (RDB) and append-only files (AOF) of Redis and Corering, describes them, and repairs them.
#[derive(Parser)]
#[command(name = "corering-check", version, after_long_help = MORE_OF_CHECK)]
pub struct CheckArguments {
    /// File or directory.
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub path: PathBuf,
    /// Tells what was found as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Repairs: keeps all that stands before what is damaged.
    #[arg(long)]
    pub fix: bool,
    /// Takes back all that is later than this: unix seconds or RFC 3339. Needs `aof-timestamp-enabled`.
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "fix")]
    pub truncate_to_time: Option<u64>,
    /// Answers yes where only what is broken, or what is later than the time, is lost.
    #[arg(long)]
    pub yes: bool,
    /// With --yes: also where what can be read behind the damage is lost.
    #[arg(long, requires = "yes")]
    pub lose_what_follows: bool,
}

fn parse_time(text: &str) -> Result<u64, String> {
    time::parse(text).ok_or_else(|| "neither unix seconds nor a time like 2026-11-21T20:00:00Z".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_hold_together() {
        server_with_directives().debug_assert();
        CheckArguments::command().debug_assert();
        let named = server_with_directives();
        assert!(named.get_arguments().any(|option| option.get_long() == Some("appendfsync")));
        assert!(CheckArguments::try_parse_from(["corering-check", "x", "--truncate-to-time", "soon"]).is_err());
    }
}
